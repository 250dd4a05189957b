/* SPDX-License-Identifier: Apache-2.0 */
#include "appliance/device/vdisk_io.h"
#include "fabric/base/guard.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

COUNTERS_DEFINE(vdisk_io, VDISK_IO_COUNTERS)
_Static_assert(VDISK_IO_refused_no_data_room - VDISK_IO_refused_no_status ==
			       BLK_R_no_data_room - BLK_R_no_status &&
		       (int)BLK_NREFUSALS == BLK_R_no_data_room + 1,
	       "each refusal has its counter, in the same order");

/* A request at the backend. */
struct vdisk_slot {
	struct bdev_io io;
	struct iovec iov;
	struct vdisk_io *d;
	struct vqt_req *r;
	uint64_t since;
	struct list node; /* on the free list */
};

/* A FIFO of requests, linked through priv[0]; priv[1] is the time of arrival. */
struct req_list {
	struct vqt_req *head, **tail;
	unsigned count;
};

struct vdisk_io {
	struct vdisk_io_cfg cfg;
	struct blk_volume vol;
	struct req_list waiting;
	struct req_list kept;
	struct list free; /* slots */
	struct vdisk_slot *slots;
	unsigned outstanding;
	bool stopped;
	uint64_t counters[VDISK_IO_NCOUNTERS];
};

_Static_assert(sizeof(void *) == sizeof(uint64_t), "times are kept in a pointer");

static void list_reset(struct req_list *l)
{
	l->head = NULL;
	l->tail = &l->head;
	l->count = 0;
}

static void req_push(struct req_list *l, struct vqt_req *r, uint64_t since)
{
	r->priv[0] = NULL;
	r->priv[1] = (void *)(uintptr_t)since;
	*l->tail = r;
	l->tail = (struct vqt_req **)&r->priv[0];
	l->count++;
}

static void req_push_front(struct req_list *l, struct vqt_req *r)
{
	r->priv[0] = l->head;
	if (!l->head)
		l->tail = (struct vqt_req **)&r->priv[0];
	l->head = r;
	l->count++;
}

static struct vqt_req *req_pop(struct req_list *l)
{
	struct vqt_req *r = l->head;

	if (!r)
		return NULL;
	l->head = r->priv[0];
	if (!l->head)
		l->tail = &l->head;
	l->count--;
	return r;
}

static void count(struct vdisk_io *d, enum vdisk_io_counter c, uint64_t n)
{
	counter_add(&d->counters[c], n);
}

void vdisk_io_volume(const struct bdev_info *info, uint16_t queues, const char serial[BLK_ID_LEN],
		     struct blk_volume *out)
{
	*out = (struct blk_volume){
		.size = info->size,
		.block = info->block,
		.phys_block = info->phys_block,
		.opt_io = info->opt_io,
		.queues = queues,
		.read_only = info->read_only,
		.can_discard = info->can_discard,
		.can_write_zeroes = info->can_write_zeroes,
		.write_cache = info->write_cache,
	};
	memcpy(out->serial, serial, BLK_ID_LEN);
}

struct vdisk_io *vdisk_io_create(const struct vdisk_io_cfg *cfg, int *err)
{
	struct vdisk_io *d;

	*err = -EINVAL;
	if (!cfg->bdev || !cfg->fence || !cfg->complete || !cfg->owner || cfg->queues < 1 || cfg->depth < 1 ||
	    cfg->depth > 1024)
		return NULL;
	*err = -ENOMEM;
	d = calloc(1, sizeof(*d));
	if (!d)
		return NULL;
	d->slots = calloc(cfg->depth, sizeof(*d->slots));
	if (!d->slots) {
		free(d);
		return NULL;
	}
	d->cfg = *cfg;
	vdisk_io_volume(&cfg->bdev->info, cfg->queues, cfg->serial, &d->vol);
	list_reset(&d->waiting);
	list_reset(&d->kept);
	list_init(&d->free);
	for (unsigned i = 0; i < cfg->depth; i++) {
		d->slots[i].d = d;
		list_add_tail(&d->free, &d->slots[i].node);
	}
	*err = vdisk_io_set_acked(d, cfg->acked);
	if (*err) {
		vdisk_io_destroy(d);
		return NULL;
	}
	return d;
}

void vdisk_io_destroy(struct vdisk_io *d)
{
	if (!d)
		return;
	assert(vdisk_io_idle(d));
	free(d->slots);
	free(d);
}

int vdisk_io_set_acked(struct vdisk_io *d, uint64_t acked)
{
	int err = blk_features_check(&d->vol, acked);

	if (!err)
		d->cfg.acked = acked;
	return err;
}

void vdisk_io_resized(struct vdisk_io *d)
{
	d->vol.size = d->cfg.bdev->info.size;
}

/* The answer: the last `sent` bytes of r->in with the status as the very last. `written` is the number of
 * bytes from the start of the writable part that are certain (virtio 1.2 section 2.7.8.2). Last act on r. */
static void answer(struct vdisk_io *d, struct vqt_req *r, uint8_t status, bool data, uint64_t now)
{
	uint32_t sent = data ? r->in_len : 1;

	r->in[r->in_len - 1] = status;
	d->cfg.complete(r, sent, sent == r->in_len ? sent : 0, now);
}

static void keep(struct vdisk_io *d, struct vqt_req *r)
{
	count(d, VDISK_IO_kept, 1);
	req_push(&d->kept, r, 0);
}

/* Anything, but never a success: the request was not done, and nobody listens. */
static void discard_request(struct vdisk_io *d, struct vqt_req *r, uint64_t now)
{
	if (r->in_len)
		answer(d, r, BLK_S_IOERR, false, now);
	else
		d->cfg.complete(r, 0, 0, now);
}

static void count_result(struct vdisk_io *d, const struct vdisk_slot *s, uint64_t now)
{
	count(d, VDISK_IO_latency_ns, now > s->since ? now - s->since : 0);
	switch (s->io.result) {
	case 0:
		if (s->io.op == BDEV_READ)
			count(d, VDISK_IO_read_bytes, s->io.length);
		else if (s->io.op == BDEV_WRITE)
			count(d, VDISK_IO_write_bytes, s->io.length);
		break;
	case -EIO:
		count(d, VDISK_IO_errors_io, 1);
		break;
	case -ENOSPC:
	case -EDQUOT:
		count(d, VDISK_IO_errors_space, 1);
		break;
	case -ETIMEDOUT:
		count(d, VDISK_IO_errors_timeout, 1);
		break;
	case -EOPNOTSUPP:
		count(d, VDISK_IO_errors_unsupported, 1);
		break;
	default:
		count(d, VDISK_IO_errors_other, 1);
		break;
	}
}

static void io_done(struct bdev_io *io)
{
	struct vdisk_slot *s = container_of(io, struct vdisk_slot, io);
	struct vdisk_io *d = s->d;
	struct vqt_req *r = s->r;
	uint64_t now = bdev_group_now(d->cfg.bdev->group);
	bool read = io->op == BDEV_READ;
	int result = io->result;

	count_result(d, s, now);
	list_add_head(&d->free, &s->node);
	d->outstanding--;
	if (!GUARD(late_completion, blk_fence_end(d->cfg.fence, d->cfg.epoch)) && !d->stopped)
		keep(d, r);
	else
		answer(d, r, blk_status(result), read && result == 0, now);
}

static void fill(struct vdisk_slot *s, struct vqt_req *r, const struct blk_plan *plan)
{
	static const enum bdev_op ops[] = {
		[BLK_DO_READ] = BDEV_READ,
		[BLK_DO_WRITE] = BDEV_WRITE,
		[BLK_DO_FLUSH] = BDEV_FLUSH,
		[BLK_DO_DISCARD] = BDEV_DISCARD,
		[BLK_DO_WRITE_ZEROES] = BDEV_WRITE_ZEROES,
	};

	s->r = r;
	s->io = (struct bdev_io){
		.op = ops[plan->what],
		.flags = (plan->fua ? BDEV_F_FUA : 0) | (plan->unmap ? BDEV_F_UNMAP : 0),
		.offset = plan->offset,
		.length = plan->length,
		.done = io_done,
	};
	if (plan->what == BLK_DO_READ)
		s->iov.iov_base = r->in;
	else if (plan->what == BLK_DO_WRITE)
		s->iov.iov_base = r->out + plan->data_at;
	else
		return;
	s->iov.iov_len = plan->length;
	s->io.iov = &s->iov;
	s->io.niov = 1;
}

static void count_taken(struct vdisk_io *d, enum bdev_op op)
{
	static const enum vdisk_io_counter names[BDEV_NOPS] = {
		[BDEV_READ] = VDISK_IO_reads,
		[BDEV_WRITE] = VDISK_IO_writes,
		[BDEV_FLUSH] = VDISK_IO_flushes,
		[BDEV_DISCARD] = VDISK_IO_discards,
		[BDEV_WRITE_ZEROES] = VDISK_IO_write_zeroes,
	};

	count(d, names[op], 1);
}

/* To the backend, if the fence lets it: 0, or -EAGAIN and r must wait. Otherwise r is dealt with. */
static int submit(struct vdisk_io *d, struct vqt_req *r, const struct blk_plan *plan, uint64_t since,
		  uint64_t now)
{
	struct vdisk_slot *s;
	int err;

	if (list_empty(&d->free))
		return -EAGAIN;
	err = blk_fence_admit(d->cfg.fence, d->cfg.owner, d->cfg.epoch);
	if (err == -EAGAIN)
		return err;
	if (err) {
		keep(d, r);
		return 0;
	}
	s = container_of(list_pop(&d->free), struct vdisk_slot, node);
	fill(s, r, plan);
	s->since = since;
	err = bdev_submit(d->cfg.bdev, &s->io);
	if (!err) {
		d->outstanding++;
		count_taken(d, s->io.op);
		return 0;
	}
	list_add_head(&d->free, &s->node);
	blk_fence_end(d->cfg.fence, d->cfg.epoch);
	if (err == -EAGAIN)
		return err;
	count(d, err == -EOPNOTSUPP ? VDISK_IO_errors_unsupported : VDISK_IO_errors_other, 1);
	answer(d, r, blk_status(err), false, now);
	return 0;
}

/* 0: dealt with. -EAGAIN: must wait. */
static int run(struct vdisk_io *d, struct vqt_req *r, uint64_t since, uint64_t now)
{
	uint32_t head_len = r->out_len < BLK_HEAD_LEN ? r->out_len : BLK_HEAD_LEN;
	struct blk_plan plan;

	blk_plan(&d->vol, d->cfg.acked, r->out, head_len, r->out_len, r->in_len, &plan);
	if (plan.refusal != BLK_R_none)
		count(d, VDISK_IO_refused_no_status + (plan.refusal - BLK_R_no_status), 1);
	switch (plan.what) {
	case BLK_DO_NOTHING:
		d->cfg.complete(r, 0, 0, now);
		return 0;
	case BLK_DO_STATUS:
		answer(d, r, plan.status, false, now);
		return 0;
	case BLK_DO_ID:
		/* The whole part goes out: nothing of what the memory held before may. */
		memset(r->in, 0, r->in_len);
		memcpy(r->in, d->vol.serial, plan.id_len);
		answer(d, r, BLK_S_OK, true, now);
		return 0;
	default:
		/* Only the backend knows when all is stable. */
		if (plan.what == BLK_DO_FLUSH && GUARD(flush, false)) {
			answer(d, r, BLK_S_OK, false, now);
			return 0;
		}
		return submit(d, r, &plan, since, now);
	}
}

void vdisk_io_request(struct vdisk_io *d, struct vqt_req *r, uint64_t now)
{
	count(d, VDISK_IO_requests, 1);
	if (d->stopped) {
		discard_request(d, r, now);
		return;
	}
	if (!d->waiting.count && run(d, r, now, now) == 0)
		return;
	count(d, VDISK_IO_waited, 1);
	req_push(&d->waiting, r, now);
}

unsigned vdisk_io_service(struct vdisk_io *d, uint64_t now)
{
	struct vqt_req *r;

	/* Unlinked first: a request that is dealt with is no longer ours. */
	while ((r = req_pop(&d->waiting))) {
		uint64_t since = (uint64_t)(uintptr_t)r->priv[1];

		if (run(d, r, since, now) != 0) {
			req_push_front(&d->waiting, r);
			break;
		}
	}
	return d->waiting.count;
}

unsigned vdisk_io_waiting(const struct vdisk_io *d)
{
	return d->waiting.count;
}

unsigned vdisk_io_outstanding(const struct vdisk_io *d)
{
	return d->outstanding;
}

void vdisk_io_stop(struct vdisk_io *d, uint64_t now)
{
	struct vqt_req *r;

	d->stopped = true;
	while ((r = req_pop(&d->waiting)) || (r = req_pop(&d->kept)))
		discard_request(d, r, now);
}

bool vdisk_io_idle(const struct vdisk_io *d)
{
	return !d->outstanding && !d->waiting.count && !d->kept.count;
}

const uint64_t *vdisk_io_counters(const struct vdisk_io *d)
{
	return d->counters;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The split ring (virtio 1.2 section 2.7), device side.
 *
 * Sleeping: pop() that finds nothing publishes "kick me at the first chain that is not there yet"
 * (avail_event, or the flags field), passes a full fence and looks once more. unpop() leaves that alone: the
 * chains put back are there already, and an index rewound to them would be one the guest has passed and will
 * not kick for again.
 *
 * Where a start goes on: used->idx, plus what the inflight region marks. Chains of a net queue that were
 * taken and not completed are so taken again; frames may be sent twice, never lost in the ring.
 */
#include "hostagent/vhost/vhost_int.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* virtio 1.2 section 2.7.10: has `now` passed `event` since `old`? */
static bool need_event(uint16_t event, uint16_t now, uint16_t old)
{
	return (uint16_t)(now - event - 1) < (uint16_t)(now - old);
}

static volatile uint16_t *used_event(struct vhost_ring *r)
{
	return &r->avail->ring[r->num];
}
static volatile uint16_t *avail_event(struct vhost_ring *r)
{
	return (volatile uint16_t *)&r->used->ring[r->num];
}

int split_remap(struct vhost_ring *r)
{
	const struct vhost_mem *m = r->v->mem;
	uint64_t n = r->num, event = r->event_idx ? 2 : 0;
	void *desc = vhost_mem_uva(m, r->desc_uva, n * sizeof(struct vring_desc));
	void *avail = vhost_mem_uva(m, r->avail_uva, sizeof(struct vring_avail) + n * 2 + event);
	void *used = vhost_mem_uva(m, r->used_uva,
				   sizeof(struct vring_used) + n * sizeof(struct vring_used_elem) + event);

	if (!desc || !avail || !used)
		return -EFAULT;
	/* Section 2.7: 16, 2, 4. Our own mapping keeps a page's alignment, so ours are what count. */
	if ((uintptr_t)desc % 16 || (uintptr_t)avail % 2 || (uintptr_t)used % 4)
		return -EINVAL;
	r->desc = desc;
	r->avail = avail;
	r->used = used;
	return 0;
}

static int alloc_lists(struct vhost_ring *r)
{
	if (r->alloc_num != r->num) {
		free(r->held);
		free(r->taken);
		r->alloc_num = 0;
		r->held = calloc(r->num, sizeof(struct vhost_mem *));
		r->taken = calloc(r->num, sizeof(*r->taken));
		if (!r->held || !r->taken)
			return -ENOMEM;
		r->alloc_num = r->num;
	}
	return 0;
}

int split_start(struct vhost_ring *r)
{
	uint64_t f = r->v->acked;
	int err;

	r->event_idx = f & VIRTIO_RING_F_EVENT_IDX;
	r->indirect = f & VIRTIO_RING_F_INDIRECT;
	r->pad = r->v->cfg.net && !(f & (VIRTIO_F_VERSION_1 | VIRTIO_NET_F_MRG_RXBUF)) ? 2 : 0;
	err = split_remap(r);
	if (!err)
		err = alloc_lists(r);
	if (err)
		return err;
	r->used_idx = le16toh(r->used->idx);
	r->last_avail = r->used_idx;
	err = inflight_start(r);
	if (err)
		return err;
	r->avail_seen = r->last_avail;
	r->signalled = r->used_idx;
	r->npopped = 0;
	r->armed = true;
	r->first_signal = true;
	if (!r->event_idx)
		r->used->flags = 0;
	return 0;
}

static void release(struct vhost_ring *r, uint16_t head)
{
	vhost_mem_put(r->held[head]);
	r->held[head] = NULL;
}

void split_stop(struct vhost_ring *r)
{
	for (uint16_t i = 0; i < r->alloc_num; i++)
		release(r, i);
	/* With marks, those count as taken; without, what is not completed is not taken. */
	r->base = r->inflight ? r->last_avail : r->used_idx;
	r->desc = NULL;
	r->avail = NULL;
	r->used = NULL;
	r->inflight = NULL;
}

void split_free(struct vhost_ring *r)
{
	free(r->held);
	free(r->taken);
	free(r->resub);
	r->held = NULL;
	r->taken = NULL;
	r->resub = NULL;
	r->alloc_num = 0;
}

static int fail(struct vhost_ring *r, const char *reason)
{
	ring_break(r, reason);
	return -EBADMSG;
}

/* The device is lost when the file behind one of its mappings shrank. */
static bool memory_lost(struct vhost_ring *r)
{
	struct vhost *v = r->v;

	if (!vhost_faulted(v))
		return false;
	if (!v->fault_told) {
		v->fault_told = true;
		vhost_count(v, VHOST_C_memory_faults);
		v->fx->fault(v->fx_arg);
	}
	return true;
}

static uint16_t load_avail(struct vhost_ring *r)
{
	return le16toh(__atomic_load_n(&r->avail->idx, __ATOMIC_ACQUIRE));
}

/* Ask for a kick at the first chain not there yet. */
static void arm(struct vhost_ring *r)
{
	if (r->event_idx)
		*avail_event(r) = htole16(r->last_avail);
	else
		r->used->flags = 0;
	r->armed = true;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static void disarm(struct vhost_ring *r)
{
	/* With event indexes a passed avail_event keeps the guest quiet by itself. */
	if (!r->event_idx)
		r->used->flags = htole16(VRING_USED_NO_NOTIFY);
	r->armed = false;
}

/* Take head; an -EBADMSG leaves it untaken. */
static int take(struct vhost_ring *r, uint16_t head, struct vqt_chain *c)
{
	const char *err;

	if (head >= r->num)
		return fail(r, "head outside the ring");
	if (r->held[head])
		return fail(r, "head made available while in use");
	err = split_walk(r, head, c);
	if (err)
		return fail(r, err);
	r->held[head] = vhost_mem_ref(r->v->mem);
	vhost_count(r->v, VHOST_C_chains);
	return 1;
}

static int split_pop(void *ring, struct vqt_chain *c)
{
	struct vhost_ring *r = ring;
	uint16_t head, slot;
	int got;

	if (r->broken)
		return -EBADMSG;
	if (r->state != RING_RUNNING)
		return 0;
	if (memory_lost(r))
		return fail(r, "guest memory vanished");
	if (r->resub_at < r->resub_n) {
		got = take(r, r->resub[r->resub_at], c);
		if (got == 1) {
			r->resub_at++;
			vhost_count(r->v, VHOST_C_chains_resubmitted);
		}
		return got;
	}
	if (r->avail_seen == r->last_avail) {
		r->avail_seen = load_avail(r);
		if (r->avail_seen == r->last_avail) {
			arm(r);
			r->avail_seen = load_avail(r);
		}
		if (r->avail_seen == r->last_avail)
			return 0;
		if ((uint16_t)(r->avail_seen - r->last_avail) > r->num)
			return fail(r, "more chains than the ring holds");
	}
	if (r->armed)
		disarm(r);
	slot = r->last_avail & (uint16_t)(r->num - 1);
	head = le16toh(r->avail->ring[slot]);
	got = take(r, head, c);
	if (got != 1)
		return got;
	r->taken[slot] = head;
	if (r->inflight)
		inflight_take(r, head);
	r->last_avail++;
	r->npopped++;
	return 1;
}

static void split_unpop(void *ring, unsigned n)
{
	struct vhost_ring *r = ring;

	if (r->state == RING_IDLE)
		return;
	for (; n; n--) {
		uint16_t head;

		if (r->npopped) {
			r->npopped--;
			r->last_avail--;
			head = r->taken[r->last_avail & (uint16_t)(r->num - 1)];
			if (r->inflight)
				inflight_untake(r, head);
		} else if (r->resub_at) {
			/* Stays marked: it was in flight before this start. */
			head = r->resub[--r->resub_at];
		} else {
			return;
		}
		release(r, head);
	}
}

static void split_push(void *ring, const struct vqt_chain *c, uint32_t written)
{
	struct vhost_ring *r = ring;
	volatile struct vring_used_elem *e;

	if (r->state == RING_IDLE || c->token >= r->num || !r->held[c->token])
		return;
	release(r, (uint16_t)c->token);
	/* A broken ring is the guest's to reset: it gets nothing more from us. */
	if (r->broken)
		return;
	if (r->pad && !(r->index % 2))
		written = written >= 12 ? written - 2 : written > 10 ? 10 : written;
	e = &r->used->ring[r->used_idx & (uint16_t)(r->num - 1)];
	e->id = htole32(c->token);
	e->len = htole32(written);
	r->used_idx++;
	if (!r->inflight)
		return; /* flush() publishes */
	r->inflight->last_batch_head = htole16((uint16_t)c->token);
	__atomic_store_n(&r->used->idx, htole16(r->used_idx), __ATOMIC_RELEASE);
	__atomic_thread_fence(__ATOMIC_RELEASE);
	inflight_untake(r, (uint16_t)c->token);
	__atomic_store_n(&r->inflight->used_idx, htole16(r->used_idx), __ATOMIC_RELEASE);
}

static void call_guest(struct vhost_ring *r)
{
	if (r->call_fd < 0)
		return;
	r->v->sys->signal(r->v->sys_arg, r->call_fd);
	vhost_count(r->v, VHOST_C_calls);
}

void split_signal_start(struct vhost_ring *r)
{
	if (!r->first_signal || r->call_fd < 0)
		return;
	r->first_signal = false;
	call_guest(r);
}

static void split_flush(void *ring)
{
	struct vhost_ring *r = ring;
	bool call;

	if (r->state == RING_IDLE || r->broken || r->used_idx == r->signalled)
		return;
	__atomic_store_n(&r->used->idx, htole16(r->used_idx), __ATOMIC_RELEASE);
	/* The guest writes used_event or flags, then looks at used->idx: one of us sees the other. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (r->event_idx)
		call = need_event(le16toh(*used_event(r)), r->used_idx, r->signalled);
	else
		call = !(le16toh(r->avail->flags) & VRING_AVAIL_NO_INTERRUPT);
	r->signalled = r->used_idx;
	if (call)
		call_guest(r);
	else
		vhost_count(r->v, VHOST_C_calls_suppressed);
}

const struct vqt_ring_ops vhost_ring_ops = {split_pop, split_unpop, split_push, split_flush};

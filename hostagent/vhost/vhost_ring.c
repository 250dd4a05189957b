/* SPDX-License-Identifier: Apache-2.0 */
/* What split and packed rings share: the door's entries, lists, notification of the guest. */
#include "hostagent/vhost/vhost_int.h"

#include <errno.h>
#include <stdlib.h>

static int alloc_lists(struct vhost_ring *r)
{
	if (r->alloc_num != r->num) {
		ring_free(r);
		r->held = calloc(r->num, sizeof(struct vhost_mem *));
		r->taken = calloc(r->num, sizeof(*r->taken));
		if (!r->held || !r->taken)
			return -ENOMEM;
		r->alloc_num = r->num;
	}
	if (r->layout == &ring_packed && !r->slots) {
		r->slots = calloc(r->num, sizeof(*r->slots));
		if (!r->slots)
			return -ENOMEM;
	}
	return 0;
}

int ring_start(struct vhost_ring *r)
{
	uint64_t f = r->v->acked;
	int err;

	r->layout = f & VIRTIO_F_RING_PACKED ? &ring_packed : &ring_split;
	r->event_idx = f & VIRTIO_RING_F_EVENT_IDX;
	r->indirect = f & VIRTIO_RING_F_INDIRECT;
	r->pad = r->v->cfg.net && !(f & (VIRTIO_F_VERSION_1 | VIRTIO_NET_F_MRG_RXBUF)) ? 2 : 0;
	r->resub_n = r->resub_at = 0;
	r->counter = 0;
	r->npopped = 0;
	r->armed = true;
	r->first_signal = true;
	err = r->layout->remap(r);
	if (!err)
		err = alloc_lists(r);
	return err ? err : r->layout->start(r);
}

int ring_remap(struct vhost_ring *r)
{
	return r->layout->remap(r);
}

void ring_stop(struct vhost_ring *r)
{
	for (uint16_t i = 0; i < r->alloc_num; i++)
		ring_release(r, i);
	r->layout->stop(r);
}

void ring_free(struct vhost_ring *r)
{
	free(r->held);
	free(r->taken);
	free(r->slots);
	free(r->resub);
	free(r->own_saved);
	r->held = NULL;
	r->taken = NULL;
	r->slots = NULL;
	r->resub = NULL;
	r->own_saved = NULL;
	r->alloc_num = 0;
}

int ring_fail(struct vhost_ring *r, const char *reason)
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

static void call_guest(struct vhost_ring *r)
{
	if (r->call_fd < 0)
		return;
	r->v->sys->signal(r->v->sys_arg, r->call_fd);
	vhost_count(r->v, VHOST_C_calls);
}

void ring_signal_start(struct vhost_ring *r)
{
	if (!r->first_signal || r->call_fd < 0)
		return;
	r->first_signal = false;
	call_guest(r);
}

void ring_call(struct vhost_ring *r, bool wanted)
{
	r->signalled = r->used_idx;
	if (wanted)
		call_guest(r);
	else
		vhost_count(r->v, VHOST_C_calls_suppressed);
}

/* ---- the door ---- */

static int door_pop(void *ring, struct vqt_chain *c)
{
	struct vhost_ring *r = ring;

	if (r->broken)
		return -EBADMSG;
	if (r->state != RING_RUNNING)
		return 0;
	if (memory_lost(r))
		return ring_fail(r, "guest memory vanished");
	return r->layout->pop(r, c);
}

static void door_unpop(void *ring, unsigned n)
{
	struct vhost_ring *r = ring;

	if (r->state != RING_IDLE)
		r->layout->unpop(r, n);
}

static void door_push(void *ring, const struct vqt_chain *c, uint32_t written)
{
	struct vhost_ring *r = ring;

	if (r->state == RING_IDLE || c->token >= r->num || !r->held[c->token])
		return;
	log_data(r, c, written);
	ring_release(r, (uint16_t)c->token);
	/* A broken ring is the guest's to reset: it gets nothing more from us. */
	if (r->broken)
		return;
	if (r->pad && !(r->index % 2))
		written = written >= 12 ? written - 2 : written > 10 ? 10 : written;
	r->layout->push(r, (uint16_t)c->token, written);
}

static unsigned door_pop_burst(void *ring, struct vqt_piece *p, unsigned n, bool in, uint32_t max)
{
	struct vhost_ring *r = ring;

	/* What is rare goes one by one. */
	if (r->broken || r->state != RING_RUNNING || vhost_faulted(r->v) || r->pad || r->inflight ||
	    r->pinflight || r->resub_at < r->resub_n || r->v->log_map.at)
		return 0;
	return r->layout->pop_burst(r, p, n, in, max);
}

static void door_push_burst(void *ring, const struct vqt_piece *p, unsigned n)
{
	struct vhost_ring *r = ring;

	for (unsigned i = 0; i < n && r->state != RING_IDLE; i++) {
		if (p[i].token >= r->num || !r->held[p[i].token])
			continue;
		ring_release(r, (uint16_t)p[i].token);
		if (!r->broken)
			r->layout->push(r, (uint16_t)p[i].token, p[i].written);
	}
}

static void door_flush(void *ring)
{
	struct vhost_ring *r = ring;

	if (r->state != RING_IDLE && !r->broken && r->used_idx != r->signalled)
		r->layout->flush(r);
	log_tell(r->v);
}

const struct vqt_ring_ops vhost_ring_ops = {door_pop,	door_unpop,	door_push,
					    door_flush, door_pop_burst, door_push_burst};

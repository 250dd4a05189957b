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
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static volatile uint16_t *used_event(struct vhost_ring *r)
{
	return &r->avail->ring[r->num];
}
static volatile uint16_t *avail_event(struct vhost_ring *r)
{
	return (volatile uint16_t *)&r->used->ring[r->num];
}

static void put_flags(struct vhost_ring *r, uint16_t flags)
{
	r->used->flags = htole16(flags);
	log_used(r, offsetof(struct vring_used, flags), sizeof(flags));
}

static void put_idx(struct vhost_ring *r)
{
	__atomic_store_n(&r->used->idx, htole16(r->used_idx), __ATOMIC_RELEASE);
	log_used(r, offsetof(struct vring_used, idx), sizeof(r->used->idx));
}

static int split_remap(struct vhost_ring *r)
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

static int split_start(struct vhost_ring *r)
{
	int err;

	r->used_idx = le16toh(r->used->idx);
	r->last_avail = r->used_idx;
	err = inflight_start(r);
	if (err)
		return err;
	r->avail_seen = r->last_avail;
	r->signalled = r->used_idx;
	if (!r->event_idx)
		put_flags(r, 0);
	return 0;
}

static void split_stop(struct vhost_ring *r)
{
	/* With marks, those count as taken; without, what is not completed is not taken. */
	r->base = r->inflight ? r->last_avail : r->used_idx;
	r->desc = NULL;
	r->avail = NULL;
	r->used = NULL;
	r->inflight = NULL;
}

static uint16_t load_avail(struct vhost_ring *r)
{
	return le16toh(__atomic_load_n(&r->avail->idx, __ATOMIC_ACQUIRE));
}

/* Ask for a kick at the first chain not there yet. */
static void arm(struct vhost_ring *r)
{
	if (r->event_idx) {
		*avail_event(r) = htole16(r->last_avail);
		log_used(r, sizeof(struct vring_used) + r->num * sizeof(struct vring_used_elem), 2);
	} else {
		put_flags(r, 0);
	}
	r->armed = true;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static void disarm(struct vhost_ring *r)
{
	/* With event indexes a passed avail_event keeps the guest quiet by itself. */
	if (!r->event_idx)
		put_flags(r, VRING_USED_NO_NOTIFY);
	r->armed = false;
}

/* Take head; an -EBADMSG leaves it untaken. */
static int take(struct vhost_ring *r, uint16_t head, struct vqt_chain *c)
{
	struct walk_desc first;
	const char *err;

	if (head >= r->num)
		return ring_fail(r, "head outside the ring");
	if (r->held[head])
		return ring_fail(r, "head made available while in use");
	first = ring_desc(&r->desc[head]);
	c->token = head;
	err = walk_one(r, c, &first) ? NULL : split_walk(r, head, c);
	if (err)
		return ring_fail(r, err);
	ring_hold(r, head);
	return 1;
}

static inline void look_ahead(const struct vhost_ring *r)
{
	uint16_t at = r->last_avail + RING_AHEAD, head;

	if ((uint16_t)(r->avail_seen - r->last_avail) <= RING_AHEAD)
		return;
	head = le16toh(r->avail->ring[at & (uint16_t)(r->num - 1)]);
	if (head < r->num)
		ring_fetch(r, le64toh(r->desc[head].addr));
}

static int split_pop(struct vhost_ring *r, struct vqt_chain *c)
{
	uint16_t head, slot;
	int got;

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
			return ring_fail(r, "more chains than the ring holds");
	}
	if (r->armed)
		disarm(r);
	look_ahead(r);
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

/* How many chains are there, of n asked for. */
static unsigned ready(struct vhost_ring *r, unsigned n)
{
	uint16_t have = (uint16_t)(r->avail_seen - r->last_avail), now;

	if (have < n) {
		now = load_avail(r);
		have = (uint16_t)(now - r->last_avail);
		if (have > r->num) /* pop() will say so */
			return 0;
		r->avail_seen = now;
	}
	return have < n ? have : n;
}

/* A hint: large frames are no pieces, and nothing of theirs is to be looked up for nothing. */
static bool begins_piece(const struct vhost_ring *r)
{
	uint16_t head = le16toh(r->avail->ring[r->last_avail & (uint16_t)(r->num - 1)]);

	return head < r->num && !(le16toh(r->desc[head].flags) & (VRING_DESC_NEXT | VRING_DESC_INDIRECT));
}

static unsigned split_pop_burst(struct vhost_ring *r, struct vqt_piece *p, unsigned n, bool in, uint32_t max)
{
	uint16_t mask = (uint16_t)(r->num - 1), heads[VQT_BURST];
	unsigned i;

	n = ready(r, n);
	if (!n || !begins_piece(r))
		return 0;
	/* Whatever a guest wrote lies in the cache of its processor: all of it is asked for at once. */
	for (i = 0; i < n; i++) {
		heads[i] = le16toh(r->avail->ring[(r->last_avail + i) & mask]);
		if (heads[i] < r->num)
			__builtin_prefetch((const void *)(uintptr_t)&r->desc[heads[i]]);
	}
	for (i = 0; i < n; i++) {
		struct walk_desc d;

		if (heads[i] >= r->num || r->held[heads[i]])
			break;
		d = ring_desc(&r->desc[heads[i]]);
		if (!walk_piece(r, &d, in, max, &p[i]))
			break;
		piece_fetch(&p[i], in);
		p[i].token = heads[i];
		r->held[heads[i]] = r->v->mem;
		r->taken[(r->last_avail + i) & mask] = heads[i];
	}
	if (!i)
		return 0;
	if (r->armed)
		disarm(r);
	r->last_avail = (uint16_t)(r->last_avail + i);
	ring_hold_burst(r, i);
	return i;
}

static void split_unpop(struct vhost_ring *r, unsigned n)
{
	for (; n; n--) {
		uint16_t head;

		if (r->npopped) {
			head = r->taken[(uint16_t)(r->last_avail - 1) & (uint16_t)(r->num - 1)];
			/* Completed already: not to be had again. */
			if (!r->held[head])
				return;
			r->npopped--;
			r->last_avail--;
			if (r->inflight)
				inflight_untake(r, head);
		} else if (r->resub_at) {
			/* Stays marked: it was in flight before this start. */
			head = r->resub[r->resub_at - 1];
			if (!r->held[head])
				return;
			r->resub_at--;
		} else {
			return;
		}
		ring_release(r, head);
	}
}

static void split_push(struct vhost_ring *r, uint16_t head, uint32_t written)
{
	uint16_t slot = r->used_idx & (uint16_t)(r->num - 1);
	volatile struct vring_used_elem *e = &r->used->ring[slot];

	e->id = htole32(head);
	e->len = htole32(written);
	log_used(r, sizeof(struct vring_used) + slot * sizeof(*e), sizeof(*e));
	r->used_idx++;
	if (!r->inflight)
		return; /* flush() publishes */
	r->inflight->last_batch_head = htole16(head);
	put_idx(r);
	__atomic_thread_fence(__ATOMIC_RELEASE);
	inflight_untake(r, head);
	__atomic_store_n(&r->inflight->used_idx, htole16(r->used_idx), __ATOMIC_RELEASE);
}

static void split_flush(struct vhost_ring *r)
{
	bool call;

	put_idx(r);
	/* The guest writes used_event or flags, then looks at used->idx: one of us sees the other. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (r->event_idx)
		call = ring_need_event(le16toh(*used_event(r)), r->used_idx, r->signalled);
	else
		call = !(le16toh(r->avail->flags) & VRING_AVAIL_NO_INTERRUPT);
	ring_call(r, call);
}

const struct ring_layout ring_split = {split_remap, split_start, split_stop,	  split_pop,
				       split_unpop, split_push,	 split_pop_burst, split_flush};

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The packed ring (virtio 1.2 section 2.8), device side.
 *
 * Positions are free-running counts of descriptors: the low bits are the slot, the bit above them tells odd
 * from even rounds and so is the (inverted) wrap counter. What is taken and not completed lies in
 * [used_idx, last_avail), at most one ring's size; used descriptors are written there only, so a chain that
 * was put back is still whole. Each used descriptor is one store of 64 bits: nobody, and no death of ours,
 * ever sees half of one.
 *
 * Sleeping is as in the split ring: publish "kick me at the first descriptor that is not there yet", full
 * fence, look again. Our event structure is never all zero while the ring runs: that is how a ring the
 * guest has set up anew is told from the old one (vhost_saved.c).
 *
 * Where a start goes on: the base the front-end tells, unless the inflight region (block) or what a
 * predecessor saved (net) knows better. QEMU's base is that of the last orderly stop, so stale after a crash.
 */
#include "hostagent/vhost/vhost_int.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* off_wrap of our event structure where the driver does not look at it; not 0. */
#define OFF_WRAP_UNUSED 0xffffu

static int packed_remap(struct vhost_ring *r)
{
	const struct vhost_mem *m = r->v->mem;
	void *desc = vhost_mem_uva(m, r->desc_uva, r->num * sizeof(struct vring_packed_desc));
	void *driver = vhost_mem_uva(m, r->avail_uva, sizeof(struct vring_packed_event));
	void *device = vhost_mem_uva(m, r->used_uva, sizeof(struct vring_packed_event));

	if (!desc || !driver || !device)
		return -EFAULT;
	/* Section 2.8: 16, 4, 4. */
	if ((uintptr_t)desc % 16 || (uintptr_t)driver % 4 || (uintptr_t)device % 4)
		return -EINVAL;
	r->pdesc = desc;
	r->driver = driver;
	r->device = device;
	return 0;
}

bool packed_available(const struct vhost_ring *r, uint16_t pos)
{
	uint16_t flags = le16toh(__atomic_load_n(&r->pdesc[packed_slot(r, pos)].flags, __ATOMIC_ACQUIRE));
	bool wrap = packed_wrap(r, pos);

	return !!(flags & VRING_DESC_AVAIL) == wrap && !!(flags & VRING_DESC_USED) != wrap;
}

void packed_put_used(struct vhost_ring *r, uint16_t pos, uint16_t id, uint32_t len)
{
	volatile uint64_t *rest = (volatile uint64_t *)((volatile uint8_t *)&r->pdesc[packed_slot(r, pos)] +
							8);
	uint64_t flags = packed_wrap(r, pos) ? VRING_DESC_AVAIL | VRING_DESC_USED : 0;

	if (len)
		flags |= VRING_DESC_WRITE;
	__atomic_store_n(rest, htole64(len | (uint64_t)id << 32 | flags << 48), __ATOMIC_RELEASE);
	log_desc(r, rest, sizeof(*rest));
}

static void put_event(struct vhost_ring *r, uint16_t off_wrap, uint16_t flags)
{
	*(volatile uint32_t *)r->device = htole32(off_wrap | (uint32_t)flags << 16);
	log_used(r, 0, sizeof(*r->device));
}

static void arm(struct vhost_ring *r)
{
	uint16_t at = (uint16_t)(packed_slot(r, r->last_avail) | packed_wrap(r, r->last_avail) << 15);

	if (r->event_idx)
		put_event(r, at, VRING_EVENT_DESC);
	else
		put_event(r, OFF_WRAP_UNUSED, VRING_EVENT_ENABLE);
	r->armed = true;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static void disarm(struct vhost_ring *r)
{
	put_event(r, OFF_WRAP_UNUSED, VRING_EVENT_DISABLE);
	r->armed = false;
}

static int packed_start(struct vhost_ring *r)
{
	uint16_t slot = r->base & 0x7fff;
	int err;

	if (slot >= r->num)
		return -ERANGE;
	/* The base's upper half, the used index, equals the lower one where nothing is in flight. */
	r->used_idx = packed_pos(r, slot, r->base >> 15 & 1);
	r->last_avail = r->used_idx;
	for (uint16_t i = 0; i < r->num; i++)
		r->slots[i] = (struct packed_slot){.next = (uint16_t)(i + 1)};
	r->free_slot = 0;
	r->pinflight = NULL;
	r->saved = NULL;
	err = r->v->cfg.net ? saved_start(r) : pinflight_start(r);
	if (err)
		return err;
	r->signalled = r->used_idx;
	arm(r);
	return 0;
}

static void packed_stop(struct vhost_ring *r)
{
	uint16_t used = r->used_idx, avail = r->pinflight ? r->last_avail : used;

	r->base = (uint32_t)(packed_slot(r, avail) | packed_wrap(r, avail) << 15) |
		  (uint32_t)(packed_slot(r, used) | packed_wrap(r, used) << 15) << 16;
	r->pdesc = NULL;
	r->driver = NULL;
	r->device = NULL;
	r->pinflight = NULL;
	r->saved = NULL;
}

/* Two single loads: what is checked is what is used. */
static struct walk_desc load_desc(const struct vhost_ring *r, uint16_t pos)
{
	const volatile uint64_t *w = (const volatile uint64_t *)&r->pdesc[packed_slot(r, pos)];
	uint64_t addr = le64toh(w[0]), rest = le64toh(w[1]);

	return (struct walk_desc){addr, (uint32_t)rest, (uint16_t)(rest >> 48), (uint16_t)(rest >> 32)};
}

/* Section 2.8.7: entries one after the other; of their flags only WRITE means something. */
static const char *walk_indirect(const struct vhost_ring *r, const struct walk_desc *at, struct vqt_chain *c)
{
	struct vring_packed_desc table[INDIRECT_MAX];
	uint32_t n;
	const char *err = walk_table(r, at, table, &n);

	for (uint32_t i = 0; !err && i < n; i++) {
		struct walk_desc d = {le64toh(table[i].addr), le32toh(table[i].len), le16toh(table[i].flags),
				      0};

		if (d.flags & VRING_DESC_INDIRECT)
			return "indirect table in an indirect table";
		err = walk_add(r->v->mem, c, &d);
	}
	return err;
}

static const char *add_desc(const struct vhost_ring *r, const struct walk_desc *d, struct vqt_chain *c)
{
	return d->flags & VRING_DESC_INDIRECT ? walk_indirect(r, d, c) : walk_add(r->v->mem, c, d);
}

static void begin_chain(struct vqt_chain *c, uint16_t token)
{
	c->token = token;
	c->nout = c->nin = 0;
	c->out_len = c->in_len = 0;
}

/* The chain at last_avail, into slots from free_slot on. */
static const char *walk_new(struct vhost_ring *r, struct vqt_chain *c)
{
	/* What was pushed and not published is the ring's still: no well-behaved driver has used it again. */
	uint16_t since = r->saved ? r->signalled : r->used_idx;
	uint16_t room = (uint16_t)(r->num - (uint16_t)(r->last_avail - since));
	uint16_t head = r->free_slot, at = head, n = 0;

	begin_chain(c, head);
	for (;;) {
		struct walk_desc d;
		const char *err;

		/* The slots of one ring: what is in flight leaves this many descriptors. */
		if (n == room)
			return n ? "chain longer than the ring" : "more chains than the ring holds";
		d = load_desc(r, (uint16_t)(r->last_avail + n));
		err = !n && walk_one(r, c, &d) ? NULL : add_desc(r, &d, c);
		if (err)
			return err;
		if (r->pinflight)
			pinflight_note(r, at, &d);
		n++;
		if (!(d.flags & VRING_DESC_NEXT)) {
			r->slots[head].id = d.next;
			break;
		}
		at = r->slots[at].next;
	}
	r->slots[head].num = n;
	r->slots[head].last = at;
	r->free_slot = r->slots[at].next;
	walk_end(r, c);
	return NULL;
}

/* A chain that a predecessor took: its descriptors stand in the inflight region, the ring's may have been
 * overwritten. */
static const char *walk_again(struct vhost_ring *r, uint16_t head, struct vqt_chain *c)
{
	uint16_t at = head;

	begin_chain(c, head);
	for (uint16_t n = 0; n < r->slots[head].num; n++) {
		struct walk_desc d = pinflight_desc(r, at);
		const char *err = add_desc(r, &d, c);

		if (err)
			return err;
		at = r->slots[at].next;
	}
	walk_end(r, c);
	return NULL;
}

static int packed_pop(struct vhost_ring *r, struct vqt_chain *c)
{
	const char *err;

	if (r->resub_at < r->resub_n) {
		err = walk_again(r, r->resub[r->resub_at], c);
		if (err)
			return ring_fail(r, err);
		r->resub_at++;
		ring_hold(r, (uint16_t)c->token);
		vhost_count(r->v, VHOST_C_chains_resubmitted);
		return 1;
	}
	if (!packed_available(r, r->last_avail)) {
		arm(r);
		if (!packed_available(r, r->last_avail))
			return 0;
	}
	if (r->armed)
		disarm(r);
	if (packed_available(r, r->last_avail + RING_AHEAD))
		ring_fetch(r, le64toh(r->pdesc[packed_slot(r, r->last_avail + RING_AHEAD)].addr));
	err = walk_new(r, c);
	if (err)
		return ring_fail(r, err);
	if (r->pinflight)
		pinflight_take(r, (uint16_t)c->token);
	ring_hold(r, (uint16_t)c->token);
	r->last_avail = (uint16_t)(r->last_avail + r->slots[c->token].num);
	r->taken[r->npopped++ & (r->num - 1u)] = (uint16_t)c->token;
	return 1;
}

static unsigned packed_pop_burst(struct vhost_ring *r, struct vqt_piece *p, unsigned n, bool in, uint32_t max)
{
	uint16_t since = r->saved ? r->signalled : r->used_idx;
	uint16_t room = (uint16_t)(r->num - (uint16_t)(r->last_avail - since));
	unsigned i;

	if (n > room)
		n = room;
	for (i = 0; i < n; i++) {
		uint16_t pos = (uint16_t)(r->last_avail + i), head = r->free_slot;
		struct walk_desc d;

		if (!packed_available(r, pos))
			break;
		d = load_desc(r, pos);
		if (!walk_piece(r, &d, in, max, &p[i]))
			break;
		piece_fetch(&p[i], in);
		p[i].token = head;
		r->free_slot = r->slots[head].next;
		r->slots[head].num = 1;
		r->slots[head].last = head;
		r->slots[head].id = d.next;
		r->held[head] = r->v->mem;
		r->taken[(r->npopped + i) & (r->num - 1u)] = head;
	}
	if (!i)
		return 0;
	if (r->armed)
		disarm(r);
	r->last_avail = (uint16_t)(r->last_avail + i);
	ring_hold_burst(r, i);
	return i;
}

static void free_chain(struct vhost_ring *r, uint16_t head)
{
	r->slots[r->slots[head].last].next = r->free_slot;
	r->free_slot = head;
}

static void packed_unpop(struct vhost_ring *r, unsigned n)
{
	for (; n; n--) {
		uint16_t head;

		if (r->npopped) {
			head = r->taken[(r->npopped - 1) & (r->num - 1u)];
			/* Completed already: not to be had again. */
			if (!r->held[head])
				return;
			r->npopped--;
			r->last_avail = (uint16_t)(r->last_avail - r->slots[head].num);
			if (r->pinflight)
				pinflight_untake(r, head);
			free_chain(r, head);
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

static void packed_push(struct vhost_ring *r, uint16_t head, uint32_t written)
{
	const struct packed_slot *s = &r->slots[head];
	uint16_t used = (uint16_t)(r->used_idx + s->num);

	if (r->saved) {
		saved_push(r, s->id, s->num, written); /* flush() publishes */
	} else {
		if (r->pinflight)
			pinflight_completing(r, head, used);
		packed_put_used(r, r->used_idx, s->id, written);
		if (r->pinflight)
			pinflight_completed(r, head, used);
	}
	r->used_idx = used;
	free_chain(r, head);
}

/* Section 2.8.10: does the driver want to hear of the descriptors used since the last time? */
static bool call_wanted(const struct vhost_ring *r)
{
	uint32_t event = le32toh(*(const volatile uint32_t *)r->driver);
	uint16_t off = event & 0x7fff, flags = event >> 16 & VRING_EVENT_MASK;
	uint16_t now = packed_slot(r, r->used_idx), n = (uint16_t)(r->used_idx - r->signalled);

	if (flags == VRING_EVENT_DISABLE)
		return false;
	if (flags != VRING_EVENT_DESC || !r->event_idx)
		return true;
	if ((event >> 15 & 1) != packed_wrap(r, r->used_idx))
		off = (uint16_t)(off - r->num);
	return ring_need_event(off, now, (uint16_t)(now - n));
}

static void packed_flush(struct vhost_ring *r)
{
	if (r->saved)
		saved_publish(r);
	/* The driver writes its event structure, then looks at the next descriptor: one of us sees the other.
	 */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	ring_call(r, call_wanted(r));
}

const struct ring_layout ring_packed = {packed_remap, packed_start, packed_stop,      packed_pop,
					packed_unpop, packed_push,  packed_pop_burst, packed_flush};

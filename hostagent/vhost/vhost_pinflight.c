/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inflight region of a packed block queue (QEMU docs/interop/vhost-user.rst, "Inflight I/O tracking").
 * Unlike a split ring's it holds the descriptors themselves, since used descriptors overwrite the ring's, and
 * the used index, which stands nowhere else.
 *
 * Order of a completion: (1) the free list with the chain in front, (2) the used index, both beside their old
 * values; (3) the used descriptor, (4) clear the mark, (5) the old values. Who starts after a death between
 * (2) and (5) looks whether the descriptor at the old used index is still available: then (3) did not
 * happen and the old values hold, else the new ones. A mark found set in the free list is a death before (4),
 * or in the middle of taking a chain. The pairs of (1), (2) and (5) lie together, and are one store each.
 *
 * The region is shared with the front-end: it is read at a start, into private slots, each value once and
 * bounded; from then on it is written alone, but for the descriptors of chains taken again.
 */
#include "hostagent/vhost/vhost_int.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static uint16_t load16(const uint16_t *p)
{
	return le16toh(*(const volatile uint16_t *)p);
}

static void put_free(struct inflight_packed *q, uint16_t now, uint16_t old)
{
	_Static_assert(offsetof(struct inflight_packed, free_head) == 12, "one store of 32 bits");
	__atomic_store_n((uint32_t *)(void *)&q->free_head, htole32(now | (uint32_t)old << 16),
			 __ATOMIC_RELEASE);
}

static void put_used(struct vhost_ring *r, uint16_t now, uint16_t old)
{
	struct inflight_packed *q = r->pinflight;
	uint64_t wraps = packed_wrap(r, now) | (uint64_t)packed_wrap(r, old) << 8;
	uint64_t all = packed_slot(r, now) | (uint64_t)packed_slot(r, old) << 16 | wraps << 32;

	_Static_assert(offsetof(struct inflight_packed, used_idx) == 16, "one store of 64 bits");
	__atomic_store_n((uint64_t *)(void *)&q->used_idx, htole64(all), __ATOMIC_RELEASE);
}

void pinflight_note(struct vhost_ring *r, uint16_t slot, const struct walk_desc *d)
{
	struct inflight_packed_desc *e = &r->pinflight->desc[slot];

	e->addr = htole64(d->addr);
	e->len = htole32(d->len);
	e->flags = htole16(d->flags);
	e->id = htole16(d->next);
	e->next = htole16(r->slots[slot].next);
}

struct walk_desc pinflight_desc(const struct vhost_ring *r, uint16_t slot)
{
	const volatile struct inflight_packed_desc *e = &r->pinflight->desc[slot];

	return (struct walk_desc){le64toh(e->addr), le32toh(e->len), le16toh(e->flags), le16toh(e->id)};
}

void pinflight_take(struct vhost_ring *r, uint16_t head)
{
	struct inflight_packed *q = r->pinflight;
	struct inflight_packed_desc *e = &q->desc[head];

	e->last = htole16(r->slots[head].last);
	e->num = htole16(r->slots[head].num);
	e->counter = htole64(++r->counter);
	__atomic_store_n(&e->inflight, 1, __ATOMIC_RELEASE);
	put_free(q, r->free_slot, r->free_slot);
}

/* The chain goes back to the front of the free list. */
static void link_back(struct vhost_ring *r, uint16_t head)
{
	r->pinflight->desc[r->slots[head].last].next = htole16(r->free_slot);
}

void pinflight_untake(struct vhost_ring *r, uint16_t head)
{
	link_back(r, head);
	__atomic_store_n(&r->pinflight->desc[head].inflight, 0, __ATOMIC_RELEASE);
	put_free(r->pinflight, head, head);
}

void pinflight_completing(struct vhost_ring *r, uint16_t head, uint16_t used)
{
	link_back(r, head);
	put_free(r->pinflight, head, r->free_slot);
	put_used(r, used, r->used_idx);
}

void pinflight_completed(struct vhost_ring *r, uint16_t head, uint16_t used)
{
	__atomic_store_n(&r->pinflight->desc[head].inflight, 0, __ATOMIC_RELEASE);
	put_free(r->pinflight, head, head);
	put_used(r, used, used);
}

/* ---- start ---- */

static void make_fresh(struct vhost_ring *r, uint64_t size)
{
	struct inflight_packed *q = r->pinflight;

	memset(q, 0, size);
	for (uint16_t i = 0; i < r->num; i++)
		q->desc[i].next = htole16((uint16_t)(i + 1));
	q->desc_num = htole16(r->v->inflight_qsize);
	put_used(r, r->used_idx, r->used_idx);
	__atomic_store_n(&q->version, htole16(INFLIGHT_VERSION), __ATOMIC_RELEASE);
}

/* Finish or take back a completion that was under way. */
static int settle(struct vhost_ring *r)
{
	struct inflight_packed *q = r->pinflight;
	uint16_t slot = load16(&q->used_idx), old = load16(&q->old_used_idx);
	bool wrap = *(volatile uint8_t *)&q->used_wrap & 1,
	     old_wrap = *(volatile uint8_t *)&q->old_used_wrap & 1;
	uint16_t head = load16(&q->free_head), old_head = load16(&q->old_free_head);
	uint16_t now, then;

	if (slot >= r->num || old >= r->num)
		return -EPROTO;
	now = packed_pos(r, slot, wrap);
	then = packed_pos(r, old, old_wrap);
	if (now != then && !packed_available(r, then)) {
		old_head = head;
		then = now;
	}
	put_free(q, old_head, old_head);
	put_used(r, then, then);
	r->used_idx = then;
	/* Free entries are not in flight. The list ends at the first entry that makes no sense. */
	for (uint16_t i = 0, at = old_head; i < r->num && at < r->num; i++) {
		q->desc[at].inflight = 0;
		at = load16(&q->desc[at].next);
	}
	return 0;
}

/* One marked chain into the private slots; used[] says which slots are taken. */
static int adopt(struct vhost_ring *r, uint16_t head, uint8_t *used)
{
	struct inflight_packed_desc *d = r->pinflight->desc;
	uint16_t n = load16(&d[head].num), at = head;

	if (n == 0)
		return -EPROTO;
	r->slots[head].num = n;
	for (uint16_t i = 1;; i++) {
		if (used[at])
			return -EPROTO;
		used[at] = 1;
		if (i == n)
			break;
		r->slots[at].next = load16(&d[at].next);
		at = r->slots[at].next;
		if (at >= r->num)
			return -EPROTO;
	}
	r->slots[head].last = at;
	r->slots[head].id = load16(&d[at].id);
	return 0;
}

static int adopt_all(struct vhost_ring *r, struct inflight_mark *marks, uint8_t *used)
{
	struct inflight_packed *q = r->pinflight;
	unsigned n = 0, taken = 0;
	uint16_t next = r->num;

	for (uint16_t i = 0; i < r->num; i++) {
		int err;

		if (*(volatile uint8_t *)&q->desc[i].inflight != 1)
			continue;
		err = adopt(r, i, used);
		if (err)
			return err;
		taken += r->slots[i].num;
		marks[n].counter = le64toh(*(volatile uint64_t *)&q->desc[i].counter);
		marks[n++].head = i;
	}
	for (uint16_t i = r->num; i-- > 0;) {
		if (used[i])
			continue;
		r->slots[i].next = next;
		q->desc[i].next = htole16(next);
		next = i;
	}
	r->free_slot = next;
	put_free(q, next, next);
	r->last_avail = (uint16_t)(r->used_idx + taken);
	return inflight_resubmit(r, marks, n);
}

int pinflight_start(struct vhost_ring *r)
{
	struct inflight_mark *marks;
	uint8_t *used;
	uint64_t size;
	void *part;
	int err = inflight_part(r, &part, &size);

	if (err || !part)
		return err;
	r->pinflight = part;
	if (!r->pinflight->version) {
		make_fresh(r, size);
		return 0;
	}
	if (load16(&r->pinflight->version) != INFLIGHT_VERSION ||
	    load16(&r->pinflight->desc_num) != r->v->inflight_qsize)
		return -EPROTO;
	err = settle(r);
	if (err)
		return err;
	marks = malloc(r->num * sizeof(*marks));
	used = calloc(r->num, 1);
	err = marks && used ? adopt_all(r, marks, used) : -ENOMEM;
	free(marks);
	free(used);
	return err;
}

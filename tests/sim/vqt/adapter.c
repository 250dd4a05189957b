/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The adapters of both ends: frames are fetched from the guest's memory and placed there, or in the stage,
 * some time after they were asked for, unless that fails.
 *
 * What fails may happen all the same, later, until the agent has closed the connection it went over; and what
 * the appliance gave up may, until the agent has taken its keys back. So bytes that anybody lets in too early
 * are seen: a guest fills what is its own again, and looks whether it stays so (guest_check()).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/vqt/vqt_sim.h"

#define SLOTS	  96u
#define SLOT_SIZE 65600u
#define PATH	  1u

struct move {
	struct list node; /* on world.moves */
	struct world *w;
	bool place, dropped, failed;
	uint32_t keys, host, qpn; /* what it depends on, as it was */
	struct vqt_bulk_end end;
	struct buf *slot;
	uint32_t len, pos, stage_len;
	uint8_t *stage; /* NULL: by pieces */
	unsigned n;
	struct vqt_seg seg[VQT_PLACE_SEGS];
};

static void over(struct move *m)
{
	list_del(&m->node);
	buf_put(m->slot);
	free(m);
}

/* Nobody took back what it reads or writes. */
static bool reaches(const struct move *m)
{
	if (m->stage)
		return m->host == m->w->incarnation && !m->dropped;
	return m->keys == m->w->keys;
}

static void copy(struct move *m)
{
	uint32_t at = m->place ? 0 : m->len;

	for (unsigned i = 0; !m->place && i < m->n; i++)
		at -= m->seg[i].len; /* the head is there */
	for (unsigned i = 0; i < m->n; i++) {
		uint8_t *theirs = (uint8_t *)(uintptr_t)m->seg[i].off, *ours = m->slot->base + at;

		memcpy(m->place ? theirs : ours, m->place ? ours : theirs, m->seg[i].len);
		at += m->seg[i].len;
	}
	for (uint32_t i = 0; m->stage && i < m->len; i++)
		m->stage[(m->pos + i) % m->stage_len] = m->slot->base[i];
}

static void moved(struct sim *s, void *ctx, uint64_t arg)
{
	struct move *m = (struct move *)(uintptr_t)arg;
	struct vqt_fence fence = {PATH, m->qpn};
	struct frame *f = NULL;

	(void)ctx;
	if (m->failed || m->dropped || (reaches(m) && !rng_chance(&s->rng, 30000))) {
		if (reaches(m))
			copy(m);
		if (!m->failed && !m->dropped)
			m->end.done(m->end.arg, true, NULL, NULL);
		over(m);
		return;
	}
	m->failed = true;
	m->w->adapter_faults++;
	if (m->place) {
		f = frame_get(m->w->frames);
		sim_check(s, f && !frame_add(f, m->slot->base, m->len, m->slot), "out of frames");
	}
	m->end.done(m->end.arg, false, &fence, f);
	sim_at(s, s->now + rng_below(&s->rng, 2 * MSEC), moved, m->w, arg);
}

static struct move *start(struct world *w, uint32_t len, const struct vqt_bulk_end *end, void **op)
{
	/* A failed placing needs a frame of its own. */
	struct buf *slot = frame_pool_available(w->frames) > 256 ? buf_get(w->slots) : NULL;
	struct move *m = slot ? calloc(1, sizeof(*m)) : NULL;

	if (!m)
		return NULL;
	m->w = w;
	m->keys = w->keys;
	m->host = w->incarnation;
	m->qpn = ++w->qpn;
	m->end = *end;
	m->slot = slot;
	m->len = len;
	list_add_tail(&w->moves, &m->node);
	sim_at(&w->s, w->s.now + rng_below(&w->s.rng, 200 * USEC), moved, w, (uintptr_t)m);
	*op = m;
	return m;
}

static int fetch(void *ctx, uint16_t dev, struct frame *f, const struct vqt_lent *k, const uint8_t *head,
		 const struct vqt_bulk_end *end, void **op)
{
	struct move *m = start(ctx, k->len, end, op);

	(void)dev;
	if (!m)
		return -EAGAIN;
	memcpy(m->slot->base, head, k->head);
	memcpy(m->seg, k->key, k->n * sizeof(k->key[0]));
	m->n = k->n;
	frame_add(f, m->slot->base, k->len, m->slot);
	return 0;
}

static int place(void *ctx, uint16_t dev, uint16_t pair, uint32_t pos, const struct frame *f,
		 const struct vqt_seg *seg, unsigned n, const struct vqt_bulk_end *end, void **op)
{
	struct world *w = ctx;
	struct move *m;

	(void)dev;
	/* Regions that were taken back are known here soon. */
	for (unsigned i = 0; i < n; i++)
		if (seg[i].region != w->keys)
			return -ENOTCONN;
	m = rng_chance(&w->s.rng, 20000) ? NULL : start(w, f->len, end, op);
	if (!m)
		return -ENOTCONN;
	m->place = true;
	m->pos = pos;
	m->n = n;
	if (n)
		memcpy(m->seg, seg, n * sizeof(*seg));
	else
		m->stage = vqt_hdev_stage(w->hnet, pair, &m->stage_len);
	frame_read(f, 0, m->slot->base, f->len);
	return 0;
}

static void drop(void *ctx, void *op)
{
	(void)ctx;
	((struct move *)op)->dropped = true;
}

static const struct vqt_bulk_ops bulk_ops = {fetch, place, drop};

static unsigned pieces(void *user, const struct iovec *iov, unsigned n, struct vqt_seg *out, unsigned max)
{
	struct world *w = user;

	if (n > max || rng_chance(&w->s.rng, 300))
		return 0;
	for (unsigned i = 0; i < n; i++)
		out[i] = (struct vqt_seg){w->keys, (uint32_t)iov[i].iov_len, (uintptr_t)iov[i].iov_base};
	return n;
}

static void revoke(void *user)
{
	((struct world *)user)->keys++;
}

static void fence(void *user, unsigned path, uint32_t qpn)
{
	struct world *w = user;

	sim_check(&w->s, path == PATH, "fence of path %u", path);
	list_for_each_safe (it, &w->moves) {
		struct move *m = container_of(it, struct move, node);

		if (m->qpn == qpn)
			m->keys = m->host = 0; /* reaches nothing */
	}
}

static const struct vqt_key_ops key_ops = {pieces, revoke, fence};

void adapter_init(struct world *w)
{
	list_init(&w->moves);
	w->keys = w->incarnation = 1;
	if (!w->by_key)
		return;
	w->slots = buf_pool_create(SLOTS, SLOT_SIZE);
	sim_check(&w->s, w->slots, "out of memory");
	w->key_ops = &key_ops;
	w->bulk = (struct vqt_bulk){&bulk_ops, w};
}

void adapter_fini(struct world *w)
{
	while (!list_empty(&w->moves))
		over(container_of(w->moves.next, struct move, node));
	buf_pool_destroy(w->slots);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames that RDMA adapters move: the door of vqt_bulk.h for one session.
 *
 * A frame lies in one slot, whole: what was fetched from one guest is placed for another from where it is, by
 * reference, in as many pieces as the guests have on either side, or one or two of a stage. Frames that
 * lie elsewhere (an uplink's, those of hosts without RDMA) are copied into a slot, once, and counted.
 *
 * Slots are the worker's and registered with each of its ports once. Ports share receive queues among their
 * peers, so there is one protection domain per port and not one per session; no peer reaches anything through
 * it, as nothing here is registered for peers (link_verbs_cfg.serves). A session may hold half of the slots.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "appliance/dataplane/worker_impl.h"
#include "fabric/base/log.h"

#define SLOTS	  512u
#define SLOT_SIZE ((FRAME_MAX + 4095u) & ~4095u)
#define SHARE	  (SLOTS / 2)
#define MOVES	  1024u

struct bulk_move {
	struct verbs_move v; /* first */
	struct list node;    /* on worker_bulk.free */
	struct worker_bulk *b;
	struct wsession *s; /* NULL: dropped */
	struct vqt_bulk_end end;
	struct buf *slot;
	struct frame *f; /* placing: what to give back if it fails */
	unsigned path;
	struct verbs_seg seg[VQT_PLACE_SEGS];
};

struct worker_bulk {
	struct worker *w;
	struct buf_pool *slots;
	struct verbs_mem *mem[EP_LINKS];
	struct bulk_move *moves;
	struct list free;
};

int worker_bulk_open(struct worker *w)
{
	struct worker_bulk *b;
	char why[256];
	size_t len;
	uint8_t *at;
	bool any = false;

	for (unsigned i = 0; i < EP_LINKS; i++)
		any |= w->verbs[i] && link_verbs_moves(w->verbs[i]);
	if (!any)
		return 0;
	w->bulk = b = calloc(1, sizeof(*b));
	if (!b)
		return -ENOMEM;
	b->w = w;
	list_init(&b->free);
	b->slots = buf_pool_create(SLOTS, SLOT_SIZE);
	b->moves = calloc(MOVES, sizeof(*b->moves));
	if (!b->slots || !b->moves)
		return -ENOMEM;
	for (unsigned i = 0; i < MOVES; i++) {
		b->moves[i].b = b;
		list_add_tail(&b->free, &b->moves[i].node);
	}
	at = buf_pool_memory(b->slots, &len);
	for (unsigned i = 0; i < EP_LINKS; i++)
		if (w->verbs[i] && link_verbs_moves(w->verbs[i]) &&
		    link_verbs_mem_add(w->verbs[i], at, len, VERBS_MEM_LOCAL, 0, &b->mem[i], why,
				       sizeof(why)))
			log_warn("frames are copied, not moved by the RDMA adapter: %s", why);
	return 0;
}

void worker_bulk_close(struct worker *w)
{
	if (!w->bulk)
		return;
	buf_pool_destroy(w->bulk->slots);
	free(w->bulk->moves);
	free(w->bulk);
	w->bulk = NULL;
}

const struct buf_pool *worker_bulk_slots(const struct worker *w)
{
	return w->bulk ? w->bulk->slots : NULL;
}

/* ---- slots and moves ---- */

static void wait_for_slots(struct wsession *s)
{
	if (list_empty(&s->starved))
		list_add_tail(&s->w->starved, &s->starved);
}

/* A move, and slot (or a fresh one, NULL: by reference); NULL: none now. */
static struct bulk_move *take(struct wsession *s, struct buf *slot, const struct vqt_bulk_end *end)
{
	struct worker_bulk *b = s->w->bulk;
	struct list *it = s->slots < SHARE ? list_pop(&b->free) : NULL;
	struct bulk_move *m = it ? container_of(it, struct bulk_move, node) : NULL;

	if (m && slot)
		buf_ref(slot);
	else if (m)
		slot = buf_get(b->slots);
	if (m && slot) {
		m->s = s;
		m->slot = slot;
		m->f = NULL;
		m->end = *end;
		s->slots++;
		return m;
	}
	if (m)
		list_add_head(&b->free, &m->node);
	wait_for_slots(s);
	return NULL;
}

static void give_back(struct bulk_move *m)
{
	if (m->s)
		m->s->slots--;
	frame_put(m->f);
	buf_put(m->slot);
	m->f = NULL;
	m->slot = NULL;
	list_add_head(&m->b->free, &m->node);
}

static void over(struct verbs_move *v, int err)
{
	struct bulk_move *m = (struct bulk_move *)v;
	struct wsession *s = m->s;
	struct vqt_fence fence = {m->path, v->qpn};
	struct vqt_bulk_end end = m->end;
	struct frame *f = err ? m->f : NULL;

	if (s && err)
		m->f = NULL;
	give_back(m);
	if (!s)
		return;
	end.done(end.arg, !err, &fence, f);
	worker_mark(s);
}

static void drop(void *ctx, void *op)
{
	struct bulk_move *m = op;

	(void)ctx;
	m->s->slots--;
	m->s = NULL;
}

/* ---- the door ---- */

static const struct guest_region *region(const struct wsession *s, uint16_t dev, uint32_t id)
{
	const struct wregion *g = idmap_get(&s->regions, (uint64_t)dev << 32 | id);

	return g ? &g->r : NULL;
}

/* The n pieces as path reaches them; false: not all of them. */
static bool pieces(const struct wsession *s, uint16_t dev, const struct vqt_seg *seg, unsigned n,
		   unsigned path, struct verbs_seg *out)
{
	for (unsigned i = 0; i < n; i++) {
		const struct vqt_seg *key = &seg[i];
		const struct guest_region *r = region(s, dev, key->region);

		if (!r || r->stage || !(r->paths >> path & 1) || key->off > r->length ||
		    key->len > r->length - key->off)
			return false;
		out[i] = (struct verbs_seg){r->key[path].base + key->off, r->key[path].rkey, key->len};
	}
	return true;
}

static int fetch(void *ctx, uint16_t dev, struct frame *f, const struct vqt_lent *k, const uint8_t *head,
		 const struct vqt_bulk_end *end, void **op)
{
	struct wsession *s = ctx;
	struct bulk_move *m = take(s, NULL, end);
	int r = -ENOTCONN;

	if (!m)
		return -EAGAIN;
	m->v = (struct verbs_move){.local = m->slot->base + k->head, .n = k->n, .seg = m->seg, .done = over};
	for (m->path = 0; m->path < RT_PATHS; m->path++)
		if (s->verbs[m->path] && pieces(s, dev, k->key, k->n, m->path, m->seg)) {
			r = link_verbs_move(s->verbs[m->path], s->id, &m->v);
			if (!r)
				break;
		}
	if (r) {
		give_back(m);
		return r;
	}
	if (k->head)
		memcpy(m->slot->base, head, k->head);
	frame_add(f, m->slot->base, k->len, m->slot);
	*op = m;
	return 0;
}

/* The slot that f lies in whole; NULL: it does not. */
static struct buf *slot_of(const struct worker_bulk *b, const struct frame *f)
{
	struct buf *slot = f->nseg == 1 ? f->seg[0].buf : NULL;

	return slot && slot->owner == b->slots ? slot : NULL;
}

/* Where [pos, pos + len) is in a stage, as path reaches it. */
static unsigned stage_pieces(const struct guest_region *r, unsigned path, uint32_t pos, uint32_t len,
			     struct verbs_seg out[2])
{
	uint64_t at = pos & (r->length - 1), first = r->length - at < len ? r->length - at : len;

	out[0] = (struct verbs_seg){r->key[path].base + at, r->key[path].rkey, (uint32_t)first};
	out[1] = (struct verbs_seg){r->key[path].base, r->key[path].rkey, (uint32_t)(len - first)};
	return first < len ? 2 : 1;
}

/* The frame of m, in its slot: where it is, or copied. */
static uint8_t *settle(struct bulk_move *m, const struct frame *f, bool there)
{
	uint8_t *at = there ? (uint8_t *)(uintptr_t)f->seg[0].data : m->slot->base;

	m->f = frame_get(m->b->w->frames);
	if (!m->f)
		return NULL;
	if (!there) {
		frame_read(f, 0, at, f->len);
		counter_add(&m->b->w->counters[WORKER_C_bulk_copied_bytes], f->len);
	}
	frame_add(m->f, at, f->len, m->slot);
	return at;
}

static int place(void *ctx, uint16_t dev, uint16_t pair, uint32_t pos, const struct frame *f,
		 const struct vqt_seg *seg, unsigned n, const struct vqt_bulk_end *end, void **op)
{
	struct wsession *s = ctx;
	const struct guest_region *r = n ? NULL : region(s, dev, worker_stage_id(pair));
	struct buf *slot = slot_of(s->w->bulk, f);
	struct bulk_move *m = n || (r && r->length >= FRAME_MAX) ? take(s, slot, end) : NULL;
	int err = -ENOTCONN;

	if (!m)
		return -ENOTCONN;
	m->v = (struct verbs_move){
		.write = true, .n = n, .seg = m->seg, .done = over, .local = settle(m, f, slot != NULL)};
	for (m->path = 0; m->v.local && m->path < RT_PATHS; m->path++) {
		if (!s->verbs[m->path])
			continue;
		if (n ? !pieces(s, dev, seg, n, m->path, m->seg) : !(r->paths >> m->path & 1))
			continue;
		if (!n)
			m->v.n = stage_pieces(r, m->path, pos, f->len, m->seg);
		err = link_verbs_move(s->verbs[m->path], s->id, &m->v);
		if (!err)
			break;
	}
	if (err)
		give_back(m);
	*op = m;
	return err;
}

static const struct vqt_bulk_ops ops = {fetch, place, drop};

struct vqt_bulk worker_bulk_door(struct wsession *s)
{
	bool any = false;

	for (unsigned i = 0; i < RT_PATHS; i++)
		any |= s->verbs[i] != NULL;
	return (struct vqt_bulk){s->w->bulk && any ? &ops : NULL, s};
}

void worker_bulk_serve(struct worker *w)
{
	struct list *it;

	while (w->bulk && !list_empty(&w->bulk->free) && buf_pool_available(w->bulk->slots) &&
	       (it = list_pop(&w->starved)) != NULL)
		worker_mark(container_of(it, struct wsession, starved));
}

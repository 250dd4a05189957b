/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest to appliance: frames in stream order, from pieces in any order.
 *
 * A frame in one piece, next in order, is passed on at once. Others stand in the peer's table of
 * pending frames, found by (pair, position). The table is bounded: when it is full the pair that needs a
 * place gives its oldest gap up early. What never came is known as on the host end (vqt_host_rx.c): from a
 * piece of a later frame whose packet is settled.
 */
#include "fabric/vqt/vqt_dev_int.h"

/* A frame never spans more packets than this. */
#define FRAME_PACKETS (FRAME_MAX / (RT_CHUNK_MIN / 2) + 2)
/* The transport's window bounds how far a sender can be ahead; more than this is no honest position. */
#define AHEAD_MAX (1u << 30)

void pair_init(struct vqt_pair *q, struct vqt_dev *d, unsigned index)
{
	q->dev = d;
	q->index = (uint16_t)index;
	q->rx_next = q->tx_pos = q->marked = d->cfg.pos_start;
	q->tx_limit = q->tx_pos + d->cfg.window;
	list_init(&q->pending);
	list_init(&q->gaps);
	list_init(&q->room);
	list_init(&q->attention);
	list_init(&q->lent);
	list_init(&q->places);
	list_init(&q->free_places);
}

/* ---- the table ---- */

static struct pending **bucket(const struct vqt_pair *q, uint32_t pos)
{
	struct vqt_peer *p = q->dev->peer;
	uint64_t who = (uint64_t)q->dev->cfg.wire * VQT_QUEUES_MAX + q->index;

	return &p->buckets[(vqt_cover_mix(p->cfg.seed + who, pos) >> 32) & p->bucket_mask];
}

struct pending *pair_find(const struct vqt_pair *q, uint32_t pos)
{
	struct pending *e;

	if (list_empty(&q->pending))
		return NULL;
	for (e = *bucket(q, pos); e && (e->pair != q || e->pos != pos); e = e->hash)
		;
	return e;
}

static void del(struct pending *e)
{
	struct vqt_pair *q = e->pair;
	struct pending **at = bucket(q, e->pos);

	while (*at != e)
		at = &(*at)->hash;
	*at = e->hash;
	list_del(&e->link);
	list_add_head(&q->dev->peer->free_pending, &e->link);
	if (list_empty(&q->pending))
		list_del(&q->gaps);
}

/* The earliest pending frame at or after from; NULL: none. Only looked for when something was lost. */
static struct pending *first_from(const struct vqt_pair *q, uint32_t from)
{
	struct pending *best = NULL;

	list_for_each (it, &q->pending) {
		struct pending *e = container_of(it, struct pending, link);

		if (!vqt_before(e->pos, from) && (!best || vqt_before(e->pos, best->pos)))
			best = e;
	}
	return best;
}

/* ---- moving on ---- */

static void deliver(struct vqt_pair *q, struct frame *f)
{
	struct vqt_dev *d = q->dev;

	d_count(d, VQT_D_rx_frames, 1);
	d_count(d, VQT_D_rx_bytes, f->len);
	if (f->len > VQT_FRAME_SUPER)
		d_count(d, VQT_D_frames_super, 1);
	d->ops->frame(d->cfg.user, q->index, f);
}

/* Each of FRAMES by itself, as a reference to where it lies. */
static void deliver_many(struct vqt_pair *q, const struct frame *run)
{
	struct vqt_dev *d = q->dev;
	uint8_t head[VQT_SMALL_LEN];
	uint32_t n;

	for (uint32_t at = 0; at < run->len; at += VQT_SMALL_LEN + n) {
		struct frame *f;

		n = frame_read(run, at, head, sizeof(head)) == sizeof(head)
			    ? vqt_small_len(head, run->len - at)
			    : 0;
		if (!n) {
			d_count(d, VQT_D_drop_rx_malformed, 1);
			return;
		}
		f = frame_get(d->peer->cfg.frames);
		if (!f) {
			d_count(d, VQT_D_drop_rx_no_frame, 1);
			continue;
		}
		frame_part(f, run, at + VQT_SMALL_LEN, n);
		deliver(q, f);
	}
}

/* The same of a message in one piece: the common case. */
static void deliver_run(struct vqt_pair *q, const uint8_t *data, uint32_t len, struct buf *owner)
{
	struct vqt_dev *d = q->dev;
	uint32_t n;

	for (uint32_t at = 0; at < len; at += VQT_SMALL_LEN + n) {
		struct frame *f;

		n = vqt_small_len(data + at, len - at);
		if (!n) {
			d_count(d, VQT_D_drop_rx_malformed, 1);
			return;
		}
		f = piece_whole(d, data + at + VQT_SMALL_LEN, n, owner);
		if (f)
			deliver(q, f);
	}
}

static bool done(const struct pending *e)
{
	if (e->state == PEND_PIECES || e->state == PEND_ASKED)
		return e->cover.got == e->total;
	return e->state == PEND_READY;
}

/* Everything complete from rx_next on. */
void pair_drain(struct vqt_pair *q)
{
	struct pending *e;

	while ((e = pair_find(q, q->rx_next)) != NULL && done(e)) {
		struct frame *f = e->frame;
		bool many = e->many;

		q->rx_next += e->span;
		if (e->state != PEND_PIECES)
			net_lent_passed(q);
		del(e);
		if (f && many) {
			deliver_many(q, f);
			frame_put(f);
		} else if (f) {
			deliver(q, f);
		}
	}
}

void pair_drop(struct pending *e, enum vqt_dev_counter why)
{
	net_lent_forget(e);
	d_count(e->pair->dev, why, 1);
	frame_put(e->frame);
	del(e);
}

/* Forget frames that overlap what was delivered: an honest agent has none. */
static void drop_stale(struct vqt_pair *q)
{
	list_for_each_safe (it, &q->pending) {
		struct pending *e = container_of(it, struct pending, link);

		if (vqt_before(e->pos, q->rx_next))
			pair_drop(e, VQT_D_drop_rx_malformed);
	}
}

/* Give up what is missing first: the partial head, or all before the earliest pending frame. False: it comes.
 */
static bool skip(struct vqt_pair *q, enum vqt_dev_counter gap, enum vqt_dev_counter partial)
{
	struct pending *e = pair_find(q, q->rx_next);

	if (e && e->state >= PEND_WAIT)
		return false;
	if (e) {
		q->rx_next += e->span;
		if (e->state != PEND_PIECES)
			net_lent_passed(q);
		pair_drop(e, partial);
	} else {
		e = first_from(q, q->rx_next);
		if (e) {
			q->rx_next = e->pos;
			d_count(q->dev, gap, 1);
		}
	}
	drop_stale(q);
	pair_drain(q);
	return true;
}

struct pending *pair_add(struct vqt_pair *q, const struct rt_rec *rec, uint32_t psn, uint32_t span)
{
	struct vqt_peer *p = q->dev->peer;
	struct pending *e;
	struct pending **at;
	struct list *it;

	while (list_empty(&p->free_pending) && !list_empty(&q->pending) &&
	       skip(q, VQT_D_drop_rx_pending, VQT_D_drop_rx_pending))
		;
	it = vqt_before(rec->id, q->rx_next) ? NULL : list_pop(&p->free_pending);
	if (!it) {
		d_count(q->dev, VQT_D_drop_rx_pending, 1);
		return NULL;
	}
	e = container_of(it, struct pending, link);
	*e = (struct pending){.pair = q, .pos = rec->id, .total = rec->total, .span = span, .psn = psn};
	e->frame = frame_get(p->cfg.frames);
	if (!e->frame)
		d_count(q->dev, VQT_D_drop_rx_no_frame, 1);
	at = bucket(q, e->pos);
	e->hash = *at;
	*at = e;
	list_add_tail(&q->pending, &e->link);
	if (list_empty(&q->gaps))
		list_add_tail(&p->gaps, &q->gaps);
	return e;
}

/* ---- arrivals ---- */

static void add_piece(struct pending *e, uint32_t psn, const struct rt_rec *rec, const uint8_t *data,
		      struct buf *owner)
{
	struct vqt_pair *q = e->pair;
	uint64_t seed = q->dev->peer->cfg.seed;

	if (vqt_before(psn, e->psn))
		e->psn = psn;
	if (rec->offset + rec->len == rec->total) {
		e->has_last = true;
		e->last_psn = psn;
	}
	vqt_cover_add(&e->cover, seed, rec->offset, rec->len);
	if (e->cover.got > e->total ||
	    (e->cover.got == e->total && !vqt_cover_full(&e->cover, seed, e->total))) {
		pair_drop(e, VQT_D_drop_rx_malformed);
		return;
	}
	if (e->frame)
		piece_add(q->dev, e, rec->offset, data, rec->len, owner);
	if (e->pos == q->rx_next)
		pair_drain(q);
}

bool pair_believable(struct vqt_pair *q, const struct rt_rec *rec)
{
	bool formed = !(rec->id % VQT_POS_ALIGN) && rec->len && rec->offset <= rec->total &&
		      rec->len <= rec->total - rec->offset;

	if (formed && rec->id - q->rx_next <= AHEAD_MAX)
		return true;
	d_count(q->dev,
		formed && vqt_before(rec->id, q->rx_next) ? VQT_D_drop_rx_late : VQT_D_drop_rx_malformed, 1);
	return false;
}

void pair_frame(struct vqt_pair *q, uint32_t psn, const struct rt_rec *rec, const uint8_t *data,
		struct buf *owner)
{
	struct vqt_dev *d = q->dev;
	bool many = rec->kind == VQT_FRAMES;
	struct pending *e;

	if (rec->total < VQT_FRAME_MIN || rec->total > (many ? RT_CHUNK_MAX : FRAME_MAX)) {
		d_count(d, VQT_D_drop_rx_malformed, 1);
		return;
	}
	if (!pair_believable(q, rec))
		return;
	e = pair_find(q, rec->id);
	if (!e && rec->id == q->rx_next && rec->len == rec->total) {
		struct frame *f = many ? NULL : piece_whole(d, data, rec->len, owner);

		q->rx_next += vqt_span(rec->total);
		if (many)
			deliver_run(q, data, rec->len, owner);
		else if (f)
			deliver(q, f);
		if (!list_empty(&q->pending))
			pair_drain(q);
		return;
	}
	if (!e) {
		e = pair_add(q, rec, psn, vqt_span(rec->total));
		if (!e)
			return;
		e->many = many;
	}
	if (e->total != rec->total || e->many != many || (e->state != PEND_PIECES && e->state != PEND_ASKED))
		d_count(d, VQT_D_drop_rx_malformed, 1);
	else
		add_piece(e, psn, rec, data, owner);
}

/* ---- what never came ---- */

/* The rest of the head, or all before the earliest pending frame, will not come. */
static bool lost(const struct vqt_pair *q, uint32_t base)
{
	const struct pending *head = pair_find(q, q->rx_next), *later;

	if (head && head->state >= PEND_WAIT)
		return false;
	if (head && ((head->has_last && vqt_before(head->last_psn, base)) ||
		     vqt_before(head->psn + FRAME_PACKETS, base)))
		return true;
	later = first_from(q, q->rx_next + (head ? VQT_POS_ALIGN : 0));
	return later && vqt_before(later->psn, base);
}

void pair_settled(struct vqt_pair *q, uint32_t base)
{
	while (!list_empty(&q->pending) && lost(q, base))
		(void)skip(q, VQT_D_drop_rx_lost, VQT_D_drop_rx_partial);
}

void pair_go_on(struct vqt_pair *q)
{
	const struct vqt_peer *p = q->dev->peer;

	pair_drain(q);
	if (p->settles)
		pair_settled(q, p->settled);
}

void pair_reset(struct vqt_pair *q)
{
	while (!list_empty(&q->pending)) {
		struct pending *e = container_of(q->pending.next, struct pending, link);

		net_lent_forget(e);
		frame_put(e->frame);
		del(e);
	}
	place_fini(q);
	posts_fini(q);
	list_del(&q->room);
	list_del(&q->attention);
	list_del(&q->lent);
}

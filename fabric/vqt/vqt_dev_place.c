/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Appliance to guest, into buffers that the guest posted, or into the agent's stage: the adapter writes, and
 * when it has said that all of it is there the agent is told, so that no path can be faster than the bytes.
 *
 * Order is the agent's to keep, by position. It takes a gap for a loss once the transport has settled
 * anything behind it; so nothing is said of a position while an earlier one is under way of which the agent
 * knows nothing yet: RESERVED goes first. Bulk alone comes in order, and needs none of it.
 */
#include <errno.h>
#include <stdlib.h>

#include "fabric/base/guard.h"
#include "fabric/vqt/vqt_dev_int.h"

/* Smaller frames are copied: one more write and its completion cost more than the bytes. */
#define PLACE_MIN 2048u

int place_init(struct vqt_pair *q)
{
	q->place = calloc(VQT_PLACES, sizeof(*q->place));
	for (unsigned i = 0; q->place && i < VQT_PLACES; i++)
		list_add_tail(&q->free_places, &q->place[i].link);
	return q->place ? 0 : -ENOMEM;
}

static void release(struct vqt_pair *q, struct place *e)
{
	frame_put(e->frame);
	e->frame = NULL;
	list_del(&e->link);
	list_add_head(&q->free_places, &e->link);
}

void place_fini(struct vqt_pair *q)
{
	const struct vqt_bulk *b = &q->dev->peer->cfg.bulk;

	while (!list_empty(&q->places)) {
		struct place *e = container_of(q->places.next, struct place, link);

		if (e->state == PLACE_MOVING)
			b->ops->drop(b->ctx, e->op);
		release(q, e);
	}
	free(q->place);
	q->place = NULL;
}

static void placed(void *arg, bool ok, const struct vqt_fence *fence, struct frame *f)
{
	struct place *e = arg;

	e->op = NULL;
	e->state = ok ? PLACE_DONE : PLACE_FAILED;
	if (!ok) {
		e->fence = *fence;
		e->frame = f;
		d_count(e->pair->dev, VQT_D_tx_place_failed, 1);
	}
	pair_attend(e->pair);
}

int place_start(struct vqt_pair *q, const struct frame *f, const struct posts_take *t)
{
	const struct vqt_bulk *b = &q->dev->peer->cfg.bulk;
	struct list *it = f->len >= PLACE_MIN ? list_pop(&q->free_places) : NULL;
	struct place *e = it ? container_of(it, struct place, link) : NULL;
	struct vqt_bulk_end m = {placed, e};
	uint16_t wire = q->dev->cfg.wire;
	int rc = -ENOTCONN;

	if (!e)
		return -EAGAIN;
	*e = (struct place){.pair = q, .pos = q->tx_pos, .len = f->len, .posted = t->n, .piece = t->first};
	if (t->n)
		rc = b->ops->place(b->ctx, wire, q->index, e->pos, f, t->seg, t->n, &m, &e->op);
	if (rc) {
		e->posted = false;
		rc = b->ops->place(b->ctx, wire, q->index, e->pos, f, NULL, 0, &m, &e->op);
	}
	if (rc) {
		list_add_head(&q->free_places, &e->link);
		return rc;
	}
	list_add_tail(&q->places, &e->link);
	d_count(q->dev, VQT_D_tx_placed, 1);
	d_count(q->dev, VQT_D_tx_placed_bytes, f->len);
	d_count(q->dev, VQT_D_tx_posted, e->posted);
	return 0;
}

static int say(struct place *e, enum vqt_place_state state, uint64_t now)
{
	struct vqt_placed p = {.len = e->len, .state = state, .fence = e->fence, .piece = e->piece};
	struct rt_rec rec = {
		.kind = VQT_PLACED, .queue = (uint8_t)e->pair->index, .id = e->pos, .total = VQT_PLACED_LEN};
	uint8_t bytes[VQT_PLACED_LEN];
	struct iovec iov = {bytes, sizeof(bytes)};

	vqt_placed_put(bytes, &p);
	return dev_rt_send(e->pair->dev, RT_NET, RT_REL_FULL, &rec, &iov, 1, now);
}

int place_reserve(struct vqt_pair *q, uint32_t pos, uint64_t now)
{
	list_for_each (it, &q->places) {
		struct place *e = container_of(it, struct place, link);

		if (GUARD(place_order, !vqt_before(e->pos, pos)))
			break;
		if (e->reserved)
			continue;
		if (say(e, VQT_PLACE_RESERVED, now))
			return -EAGAIN;
		e->reserved = true;
		d_count(q->dev, VQT_D_tx_place_reserved, 1);
	}
	return 0;
}

/* The bytes of a frame that was not placed. */
static int resend(struct place *e, uint64_t now)
{
	struct rt_rec rec = {
		.kind = VQT_RESENT, .queue = (uint8_t)e->pair->index, .id = e->pos, .total = e->len};
	struct iovec iov[FRAME_SEGS];
	int rc;

	for (uint32_t i = 0; i < e->frame->nseg; i++)
		iov[i] = (struct iovec){(void *)(uintptr_t)e->frame->seg[i].data, e->frame->seg[i].len};
	rc = dev_rt_send(e->pair->dev, RT_NET, RT_REL_FULL, &rec, iov, e->frame->nseg, now);
	if (!rc)
		d_count(e->pair->dev, VQT_D_tx_copied_bytes, e->len);
	return rc;
}

/* True: all is said of e. */
static bool finish(struct place *e, uint64_t now)
{
	if (e->state == PLACE_DONE)
		return !say(e, e->posted ? VQT_PLACE_POSTED : VQT_PLACE_DONE, now);
	if (e->state == PLACE_FAILED && !say(e, VQT_PLACE_FAILED, now))
		e->state = PLACE_RESENDING;
	return e->state == PLACE_RESENDING && !resend(e, now);
}

int place_serve(struct vqt_pair *q, uint64_t now)
{
	list_for_each_safe (it, &q->places) {
		struct place *e = container_of(it, struct place, link);

		if (e->state == PLACE_MOVING)
			continue;
		if (place_reserve(q, e->pos, now) || !finish(e, now))
			return -EAGAIN;
		release(q, e);
	}
	return 0;
}

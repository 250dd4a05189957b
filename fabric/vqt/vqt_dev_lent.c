/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest to appliance by key: a LENT stands in the table of pending frames like a frame in pieces; when it is
 * complete the bytes are fetched, whatever its turn, and the frame is delivered in its turn. TAKEN follows
 * the delivery, once per service.
 */
#include <errno.h>
#include <string.h>

#include "fabric/vqt/vqt_dev_int.h"

static void attend(struct vqt_pair *q)
{
	if (list_empty(&q->lent))
		list_add_tail(&q->dev->peer->lent, &q->lent);
}

void net_lent_passed(struct vqt_pair *q)
{
	q->owe_taken = true;
	attend(q);
}

void net_lent_forget(struct pending *e)
{
	const struct vqt_bulk *b = &e->pair->dev->peer->cfg.bulk;

	if (e->state == PEND_FETCH)
		b->ops->drop(b->ctx, e->op);
	e->op = NULL;
}

/* The frame cannot be fetched: it is to come as a message. */
static void ask(struct pending *e)
{
	struct vqt_dev *d = e->pair->dev;

	d_count(d, VQT_D_rx_fetch_failed, 1);
	frame_put(e->frame);
	e->frame = frame_get(d->peer->cfg.frames);
	if (!e->frame)
		d_count(d, VQT_D_drop_rx_no_frame, 1);
	e->state = PEND_ASK;
	attend(e->pair);
}

static void fetched(void *arg, bool ok, const struct vqt_fence *fence, struct frame *f)
{
	struct pending *e = arg;
	struct vqt_pair *q = e->pair;

	(void)fence;
	(void)f;
	e->op = NULL;
	if (!ok) {
		ask(e);
		return;
	}
	e->state = PEND_READY;
	d_count(q->dev, VQT_D_rx_fetched, 1);
	d_count(q->dev, VQT_D_rx_fetched_bytes, e->frame->len);
	if (e->pos == q->rx_next)
		pair_go_on(q);
}

static void fetch(struct pending *e)
{
	struct vqt_dev *d = e->pair->dev;
	const struct vqt_bulk *b = &d->peer->cfg.bulk;
	struct vqt_bulk_end m = {fetched, e};
	const uint8_t *head;
	struct vqt_lent k;
	int rc;

	vqt_lent_get(e->lent, e->total, &k, &head);
	if (!e->frame)
		e->frame = frame_get(d->peer->cfg.frames);
	/* Without adapters of our own nothing is fetched, whatever the agent has. */
	rc = !b->ops	? -ENOTCONN
	     : e->frame ? b->ops->fetch(b->ctx, d->cfg.wire, e->frame, &k, head, &m, &e->op)
			: -EAGAIN;
	if (!rc) {
		e->state = PEND_FETCH;
		d_count(d, VQT_D_rx_copied_bytes, k.head);
		return;
	}
	if (rc != -EAGAIN) {
		ask(e);
		return;
	}
	d_count(d, VQT_D_rx_fetch_waited, 1);
	frame_put(e->frame);
	e->frame = NULL;
	attend(e->pair);
}

void net_lent_piece(struct vqt_pair *q, uint32_t psn, const struct rt_rec *rec, const uint8_t *data)
{
	struct vqt_peer *p = q->dev->peer;
	const uint8_t *head;
	struct vqt_lent k;
	struct pending *e;

	if (rec->total < VQT_LENT_FIXED || rec->total > VQT_LENT_MSG) {
		d_count(q->dev, VQT_D_drop_rx_malformed, 1);
		return;
	}
	if (!pair_believable(q, rec))
		return;
	e = pair_find(q, rec->id);
	if (!e) {
		e = pair_add(q, rec, psn, vqt_span(rec->total));
		if (e)
			e->state = PEND_KEYS;
	}
	if (!e)
		return;
	if (e->state != PEND_KEYS || e->total != rec->total) {
		d_count(q->dev, VQT_D_drop_rx_malformed, 1);
		return;
	}
	if (vqt_before(psn, e->psn))
		e->psn = psn;
	memcpy(e->lent + rec->offset, data, rec->len);
	vqt_cover_add(&e->cover, p->cfg.seed, rec->offset, rec->len);
	if (e->cover.got < e->total)
		return;
	if (!vqt_cover_full(&e->cover, p->cfg.seed, e->total) ||
	    !vqt_lent_get(e->lent, e->total, &k, &head) || k.len < VQT_FRAME_MIN || k.len > FRAME_MAX) {
		pair_drop(e, VQT_D_drop_rx_malformed);
		return;
	}
	e->state = PEND_WAIT;
	fetch(e);
}

void net_lent_gone(struct vqt_pair *q, const struct rt_rec *rec)
{
	struct pending *e = pair_find(q, rec->id);

	if (rec->total || !e || e->state != PEND_ASKED) {
		d_count(q->dev, VQT_D_drop_cancel, 1);
		return;
	}
	d_count(q->dev, VQT_D_drop_rx_gone, 1);
	frame_put(e->frame);
	e->frame = NULL;
	e->state = PEND_READY;
	if (e->pos == q->rx_next)
		pair_go_on(q);
}

/* ---- service ---- */

static int say(struct vqt_pair *q, uint8_t kind, uint32_t pos, uint64_t now)
{
	struct rt_rec rec = {.kind = kind, .queue = (uint8_t)q->index, .id = pos};

	return dev_rt_send(q->dev, RT_CTL, RT_REL_FULL, &rec, NULL, 0, now);
}

/* AGAIN: from now on the frame is one in pieces, but for its span. */
static int send_ask(struct pending *e, uint64_t now)
{
	const uint8_t *head;
	struct vqt_lent k;
	int rc = say(e->pair, VQT_AGAIN, e->pos, now);

	if (rc)
		return rc;
	vqt_lent_get(e->lent, e->total, &k, &head);
	e->state = PEND_ASKED;
	e->total = k.len;
	e->cover = (struct vqt_cover){0};
	e->copied = e->has_last = false;
	return 0;
}

static void serve(struct vqt_pair *q, uint64_t now)
{
	list_for_each_safe (it, &q->pending) {
		struct pending *e = container_of(it, struct pending, link);

		if (e->state == PEND_WAIT)
			fetch(e);
		if (e->state == PEND_ASK && send_ask(e, now))
			attend(q);
	}
	if (!q->owe_taken)
		return;
	if (say(q, VQT_TAKEN, q->rx_next, now))
		attend(q);
	else
		q->owe_taken = false;
}

void net_lent_serve(struct vqt_peer *p, uint64_t now)
{
	struct list todo, *it;

	list_init(&todo);
	while ((it = list_pop(&p->lent)) != NULL)
		list_add_tail(&todo, it);
	while ((it = list_pop(&todo)) != NULL)
		serve(container_of(it, struct vqt_pair, lent), now);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The host end: lives of devices and queues, who is served when, and the way of a record to its queue. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fabric/base/guard.h"
#include "fabric/vqt/vqt_host_int.h"

COUNTERS_DEFINE(vqt_hdev, VQT_HDEV_COUNTERS)
COUNTERS_DEFINE(vqt_host, VQT_HOST_COUNTERS)

/* ---- who waits for what ---- */

/* q has something to do, unless it is stopped. What it is blocked on it finds out itself. */
void vq_ready(struct vqt_vq *q)
{
	if (list_empty(&q->ready))
		list_add_tail(&q->dev->host->ready, &q->ready);
}

void vq_dirty(struct vqt_vq *q)
{
	if (list_empty(&q->dirty))
		list_add_tail(&q->dev->host->dirty, &q->dirty);
}

void vq_flush(struct vqt_vq *q)
{
	if (list_empty(&q->dirty))
		return;
	list_del(&q->dirty);
	q->dev->cfg.ring_ops->flush(q->ring);
}

void vq_block(struct vqt_vq *q, enum rt_class cls)
{
	if (!list_empty(&q->blocked[cls]))
		return;
	list_add_tail(&q->dev->host->blocked[cls], &q->blocked[cls]);
	hd_count(q->dev, VQT_HD_tx_blocked, 1);
}

static void vq_unlink(struct vqt_vq *q)
{
	list_del(&q->ready);
	list_del(&q->starved);
	for (int c = 0; c < RT_NCLASS; c++)
		list_del(&q->blocked[c]);
}

/* Nothing of q may touch its ring or the guest's memory after this. */
static void vq_fence(struct vqt_vq *q, enum vq_state state)
{
	q->state = state;
	q->more = false;
	list_del(&q->dirty);
	if (q->rx) {
		posts_fence(q);
		rx_stop(q);
	}
	if (q->tx)
		lent_fence(q);
	if (q->bq)
		bq_fence(q);
}

void vq_stopped(struct vqt_vq *q)
{
	vq_flush(q);
	vq_fence(q, VQ_STOPPED);
	q->dev->host->ops->stopped(q->dev->cfg.user, q->index);
}

void vq_broken(struct vqt_vq *q, const char *reason)
{
	hd_count(q->dev, VQT_HD_broken, 1);
	vq_fence(q, VQ_BROKEN);
	q->dev->host->ops->broken(q->dev->cfg.user, q->index, reason);
}

int hd_send(struct vqt_vq *q, enum rt_class cls, enum rt_rel rel, struct rt_rec *rec, const struct iovec *iov,
	    unsigned n)
{
	struct vqt_host *h = q->dev->host;
	int rc;

	rec->dev = q->dev->b.wire;
	if (!rec->aux)
		rec->aux = (uint16_t)q->dev->b.epoch;
	rc = rt_send(h->rt, cls, rel, rec, iov, (int)n, h->now);
	if (!rc)
		h->unflushed = true;
	else if (rc == -EAGAIN)
		vq_block(q, cls);
	return rc;
}

uint8_t *hd_growth(struct vqt_vq *q, enum rt_class cls, struct rt_rec *rec, uint32_t *room)
{
	rec->dev = q->dev->b.wire;
	return rt_growth(q->dev->host->rt, cls, rec, room);
}

uint8_t *hd_grow(struct vqt_vq *q, enum rt_class cls, struct rt_rec *rec, uint32_t len)
{
	struct vqt_host *h = q->dev->host;
	uint8_t *at;

	rec->dev = q->dev->b.wire;
	at = rt_grow(h->rt, cls, rec, len);
	h->unflushed |= at != NULL;
	return at;
}

int hd_begin(struct vqt_vq *q, enum rt_class cls, enum rt_rel rel, struct rt_rec *rec, uint32_t len,
	     uint8_t **at)
{
	struct vqt_host *h = q->dev->host;
	int rc;

	rec->dev = q->dev->b.wire;
	rec->aux = (uint16_t)q->dev->b.epoch;
	rc = rt_begin(h->rt, cls, rel, rec, len, at);
	if (!rc)
		h->unflushed = true;
	else if (rc == -EAGAIN)
		vq_block(q, cls);
	return rc;
}

/* ---- the host ---- */

struct vqt_host *vqt_host_create(const struct vqt_host_ops *ops, uint64_t seed)
{
	struct vqt_host *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	h->ops = ops;
	h->seed = seed;
	list_init(&h->devs);
	list_init(&h->ready);
	list_init(&h->dirty);
	list_init(&h->pending);
	for (int c = 0; c < RT_NCLASS; c++)
		list_init(&h->blocked[c]);
	return h;
}

void vqt_host_destroy(struct vqt_host *h)
{
	if (!h)
		return;
	while (!list_empty(&h->devs))
		vqt_host_detach(container_of(h->devs.next, struct vqt_hdev, link));
	free(h);
}

const uint64_t *vqt_host_counters(const struct vqt_host *h)
{
	return h->counters;
}

/* ---- devices ---- */

static bool cfg_valid(const struct vqt_hdev_cfg *c)
{
	if (!c->ring_ops || !c->rings || !c->nvq || c->nvq > VQT_QUEUES_MAX)
		return false;
	if (c->type == VQT_BLK)
		return c->depth && c->depth <= VQT_DEPTH_MAX;
	return c->type == VQT_NET && c->nvq % 2 == 0 &&
	       (!c->window || (c->window >= VQT_WINDOW_MIN && c->window <= VQT_WINDOW_MAX &&
			       !(c->window & (c->window - 1))));
}

static void vq_init(struct vqt_vq *q, struct vqt_hdev *d, unsigned i)
{
	q->dev = d;
	q->ring = d->cfg.rings[i];
	q->index = (uint16_t)i;
	list_init(&q->ready);
	list_init(&q->starved);
	list_init(&q->dirty);
	for (int c = 0; c < RT_NCLASS; c++)
		list_init(&q->blocked[c]);
}

struct vqt_hdev *vqt_host_attach(struct vqt_host *h, const struct vqt_hdev_cfg *cfg, int *err)
{
	struct vqt_hdev *d;

	if (!cfg_valid(cfg)) {
		*err = -EINVAL;
		return NULL;
	}
	d = calloc(1, sizeof(*d) + cfg->nvq * sizeof(struct vqt_vq));
	*err = d ? 0 : -ENOMEM;
	if (!d)
		return NULL;
	d->host = h;
	d->cfg = *cfg;
	if (!d->cfg.window)
		d->cfg.window = VQT_WINDOW;
	list_init(&d->starved);
	list_add_tail(&h->devs, &d->link);
	for (unsigned i = 0; i < cfg->nvq; i++)
		vq_init(&d->vq[i], d, i);
	d->cfg.rings = NULL; /* not ours to keep */
	for (unsigned i = 0; i < cfg->nvq && !*err; i++) {
		if (cfg->type == VQT_BLK)
			*err = bq_create(&d->vq[i], cfg->depth);
		else if (i % 2 == 0)
			*err = rx_create(&d->vq[i], d->cfg.window, cfg->keys != NULL);
		else if (cfg->keys)
			*err = lent_create(&d->vq[i]);
	}
	if (*err) {
		vqt_host_detach(d);
		return NULL;
	}
	return d;
}

void vqt_host_detach(struct vqt_hdev *d)
{
	for (unsigned i = 0; i < d->cfg.nvq; i++) {
		struct vqt_vq *q = &d->vq[i];

		vq_unlink(q);
		list_del(&q->dirty);
		rx_destroy(q);
		lent_destroy(q);
		bq_destroy(q);
	}
	if (d->bound)
		d->host->wire[d->b.wire] = NULL;
	list_del(&d->link);
	free(d);
}

void vqt_host_leave(struct vqt_hdev *d)
{
	vqt_hdev_unbind(d);
	for (unsigned i = 0; i < d->cfg.nvq; i++) {
		vq_unlink(&d->vq[i]);
		vq_flush(&d->vq[i]);
	}
	list_del(&d->link);
	d->host = NULL;
}

void vqt_host_join(struct vqt_host *h, struct vqt_hdev *d)
{
	d->host = h;
	list_add_tail(&h->devs, &d->link);
}

const uint64_t *vqt_hdev_counters(const struct vqt_hdev *d)
{
	return d->counters;
}

bool vqt_hdev_news(struct vqt_hdev *d)
{
	bool news = d->news;

	d->news = false;
	return news;
}

unsigned vqt_hdev_inflight(const struct vqt_hdev *d)
{
	return d->ninflight + d->nlent + d->nrecalled;
}

uint8_t *vqt_hdev_stage(struct vqt_hdev *d, unsigned pair, uint32_t *len)
{
	struct vqt_rx *rx = pair < d->cfg.nvq / 2 ? d->vq[2 * pair].rx : NULL;

	*len = rx ? rx->window : 0;
	return rx ? rx->stage : NULL;
}

unsigned vqt_hdev_inflight_vq(const struct vqt_hdev *d, unsigned vq)
{
	return vq < d->cfg.nvq && d->vq[vq].bq ? d->vq[vq].bq->ninflight : 0;
}

/* ---- sessions ---- */

void vqt_hdev_unbind(struct vqt_hdev *d)
{
	if (!d->bound)
		return;
	d->bound = false;
	d->host->wire[d->b.wire] = NULL;
	for (unsigned i = 0; i < d->cfg.nvq; i++) {
		vq_unlink(&d->vq[i]);
		if (d->vq[i].rx) {
			rx_reset(&d->vq[i], 0);
			posts_lost(&d->vq[i]);
		}
		if (d->vq[i].tx)
			lent_lost(&d->vq[i]);
		if (d->vq[i].bq)
			bq_session_lost(&d->vq[i]);
	}
	d->inflight_bytes = 0;
}

void vqt_host_session(struct vqt_host *h, struct rt *rt)
{
	list_for_each (it, &h->devs)
		vqt_hdev_unbind(container_of(it, struct vqt_hdev, link));
	h->rt = rt;
	h->unflushed = h->settles = false;
}

int vqt_hdev_bind(struct vqt_hdev *d, const struct vqt_bind *b)
{
	struct vqt_host *h = d->host;

	if (!h->rt)
		return -ENOTCONN;
	if (d->bound)
		return -EALREADY;
	if (b->wire >= VQT_WIRE_MAX || b->rel > RT_REL_FULL || b->pos_start % VQT_POS_ALIGN ||
	    (d->cfg.type == VQT_BLK && b->max_inflight < VQT_INFLIGHT_MIN))
		return -EINVAL;
	if (h->wire[b->wire])
		return -EEXIST;
	d->b = *b;
	d->bound = true;
	h->wire[b->wire] = d;
	for (unsigned i = 0; i < d->cfg.nvq; i++) {
		d->vq[i].tx_pos = b->pos_start;
		d->vq[i].run_len = 0;
		if (d->vq[i].rx)
			rx_reset(&d->vq[i], b->pos_start);
		vq_ready(&d->vq[i]);
	}
	return 0;
}

/* ---- queues ---- */

int vqt_host_queue_start(struct vqt_hdev *d, unsigned vq, bool mergeable)
{
	struct vqt_vq *q;

	if (vq >= d->cfg.nvq)
		return -EINVAL;
	q = &d->vq[vq];
	if (q->state == VQ_DRAINING)
		return -EBUSY;
	q->state = VQ_RUNNING;
	q->mergeable = mergeable;
	vq_ready(q);
	return 0;
}

void vqt_host_queue_stop(struct vqt_hdev *d, unsigned vq, enum vqt_stop how)
{
	struct vqt_vq *q;

	if (vq >= d->cfg.nvq)
		return;
	q = &d->vq[vq];
	if (how == VQT_STOP_DRAIN && q->state == VQ_RUNNING)
		vq_flush(q);
	if (how == VQT_STOP_DRAIN &&
	    ((q->bq && q->bq->ninflight) || (q->tx && q->tx->nlive) || (q->rx && posts_stop(q)))) {
		q->state = VQ_DRAINING;
		if (q->rx)
			rx_stop(q);
		return;
	}
	vq_fence(q, VQ_STOPPED);
	d->host->ops->stopped(d->cfg.user, vq);
}

void vqt_host_kick(struct vqt_hdev *d, unsigned vq)
{
	if (vq < d->cfg.nvq && d->vq[vq].state == VQ_RUNNING)
		vq_ready(&d->vq[vq]);
}

/* ---- records ---- */

/* The queue a record is for: of this type, at index vq; NULL: counted. */
static struct vqt_vq *rec_queue(struct vqt_host *h, const struct rt_rec *rec, enum vqt_type type)
{
	struct vqt_hdev *d = rec->dev < VQT_WIRE_MAX ? h->wire[rec->dev] : NULL;
	unsigned vq = type == VQT_NET ? rec->queue * 2u : rec->queue;

	if (!d) {
		counter_add(&h->counters[VQT_HOST_drop_unknown_dev], 1);
		return NULL;
	}
	if (d->cfg.type != type || vq >= d->cfg.nvq) {
		hd_count(d, VQT_HD_drop_queue, 1);
		return NULL;
	}
	if (!GUARD(completion_epoch, rec->kind == VQT_GRANT || rec->aux == (uint16_t)d->b.epoch)) {
		hd_count(d, VQT_HD_drop_epoch, 1);
		return NULL;
	}
	return &d->vq[vq];
}

void vqt_host_record(struct vqt_host *h, enum rt_class cls, uint32_t psn, const struct rt_rec *rec,
		     const uint8_t *data)
{
	bool lent = cls == RT_CTL && (rec->kind == VQT_TAKEN || rec->kind == VQT_AGAIN);
	bool net = lent || (cls == RT_NET &&
			    (rec->kind == VQT_FRAME || rec->kind == VQT_MARK || rec->kind == VQT_PLACED ||
			     rec->kind == VQT_RESENT || rec->kind == VQT_FRAMES || rec->kind == VQT_CHAINS));
	bool blk = (cls == RT_CTL && rec->kind == VQT_GRANT) || (cls == RT_DATA && rec->kind == VQT_CPL);
	struct vqt_vq *q;

	counter_add(&h->counters[VQT_HOST_records], 1);
	if (!net && !blk) {
		counter_add(&h->counters[VQT_HOST_drop_kind], 1);
		return;
	}
	q = rec_queue(h, rec, net ? VQT_NET : VQT_BLK);
	if (!q)
		return;
	if (lent && !q[1].tx)
		hd_count(q->dev, VQT_HD_drop_queue, 1);
	else if (rec->kind == VQT_TAKEN)
		lent_taken(q + 1, rec);
	else if (rec->kind == VQT_AGAIN)
		lent_asked(q + 1, rec);
	else if (rec->kind == VQT_PLACED)
		rx_placed(q, psn, rec, data);
	else if (rec->kind == VQT_CHAINS)
		rx_chains(q, psn, rec, data);
	else if (rec->kind == VQT_FRAME || rec->kind == VQT_RESENT || rec->kind == VQT_FRAMES)
		rx_frame(q, psn, rec, data);
	else if (rec->kind == VQT_MARK)
		rx_mark(q, psn, rec);
	else if (rec->kind == VQT_GRANT)
		bq_grant(q, rec);
	else
		bq_completion(q, rec, data);
}

void vqt_host_settled(struct vqt_host *h, enum rt_class cls, uint32_t base)
{
	struct list todo, *it;

	if (cls != RT_NET)
		return;
	h->settles = true;
	h->settled = base;
	if (list_empty(&h->pending))
		return;
	it = h->pending.next;
	if (it->next == &h->pending) { /* one guest's frame, and for each of its packets: the common case */
		rx_settled(container_of(it, struct vqt_rx, pending)->vq, base);
		return;
	}
	/* A callback may stop other queues: walk by popping, so that none is held while it is left. */
	list_init(&todo);
	while ((it = list_pop(&h->pending)) != NULL)
		list_add_tail(&todo, it);
	while ((it = list_pop(&todo)) != NULL) {
		list_add_tail(&h->pending, it);
		rx_settled(container_of(it, struct vqt_rx, pending)->vq, base);
	}
}

void vqt_host_writable(struct vqt_host *h, enum rt_class cls)
{
	struct list *it;

	while ((it = list_pop(&h->blocked[cls])) != NULL)
		vq_ready(container_of(it - cls, struct vqt_vq, blocked[0]));
}

static void op_record(void *ctx, enum rt_class cls, uint32_t psn, const struct rt_rec *rec,
		      const uint8_t *data, struct buf *owner)
{
	(void)owner;
	vqt_host_record(ctx, cls, psn, rec, data);
}

static void op_settled(void *ctx, enum rt_class cls, uint32_t base)
{
	vqt_host_settled(ctx, cls, base);
}

static void op_writable(void *ctx, enum rt_class cls)
{
	vqt_host_writable(ctx, cls);
}

const struct rt_ops vqt_host_rt_ops = {.record = op_record, .settled = op_settled, .writable = op_writable};

/* ---- service ---- */

static unsigned vq_turn(struct vqt_vq *q)
{
	if (!q->dev->bound)
		return 0;
	if (q->bq)
		return bq_turn(q);
	return q->rx ? rx_turn(q) : tx_turn(q);
}

bool vqt_host_service(struct vqt_host *h, unsigned budget, uint64_t now)
{
	unsigned done = 0;
	struct list *it;

	h->now = now;
	counter_add(&h->counters[VQT_HOST_services], 1);
	while (done < budget && (it = list_pop(&h->ready)) != NULL)
		done += 1 + vq_turn(container_of(it, struct vqt_vq, ready));
	while (!list_empty(&h->dirty))
		vq_flush(container_of(h->dirty.next, struct vqt_vq, dirty));
	/* While more is ready the last chunk stays open: a short one inside a train costs the most. */
	if (h->rt && h->unflushed && list_empty(&h->ready)) {
		h->unflushed = false;
		rt_flush(h->rt, now);
	}
	return !list_empty(&h->ready);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The device end: lives of peers and devices, the way of a record to its queue, service. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fabric/base/guard.h"
#include "fabric/vqt/vqt_dev_int.h"

COUNTERS_DEFINE(vqt_dev, VQT_DEV_COUNTERS)
COUNTERS_DEFINE(vqt_peer, VQT_PEER_COUNTERS)

void peer_bad(struct vqt_peer *p, const char *why)
{
	if (!p->bad)
		p->bad = why;
}

int dev_rt_send(struct vqt_dev *d, enum rt_class cls, enum rt_rel rel, struct rt_rec *rec,
		const struct iovec *iov, unsigned n, uint64_t now)
{
	int rc;

	rec->dev = d->cfg.wire;
	if (rec->kind != VQT_GRANT)
		rec->aux = (uint16_t)d->cfg.epoch;
	rc = rt_send(d->peer->cfg.rt, cls, rel, rec, iov, (int)n, now);
	if (!rc)
		d->peer->unflushed = true;
	else if (rc == -EAGAIN)
		d->peer->full[cls] = true;
	return rc;
}

int dev_rt_begin(struct vqt_dev *d, enum rt_class cls, enum rt_rel rel, struct rt_rec *rec, uint32_t len,
		 uint8_t **at)
{
	int rc;

	rec->dev = d->cfg.wire;
	rec->aux = (uint16_t)d->cfg.epoch;
	rc = rt_begin(d->peer->cfg.rt, cls, rel, rec, len, at);
	if (!rc)
		d->peer->unflushed = true;
	else if (rc == -EAGAIN)
		d->peer->full[cls] = true;
	return rc;
}

uint8_t *dev_rt_grow(struct vqt_dev *d, enum rt_class cls, struct rt_rec *rec, uint32_t len)
{
	uint8_t *at;

	rec->dev = d->cfg.wire;
	at = rt_grow(d->peer->cfg.rt, cls, rec, len);
	d->peer->unflushed |= at != NULL;
	return at;
}

/* ---- the peer ---- */

static int alloc_pendings(struct vqt_peer *p)
{
	uint32_t n = p->cfg.net_pending, buckets = 1;

	while (buckets < n)
		buckets *= 2;
	p->bucket_mask = buckets - 1;
	p->pendings = calloc(n, sizeof(*p->pendings));
	p->buckets = calloc(buckets, sizeof(*p->buckets));
	if (!p->pendings || !p->buckets)
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++)
		list_add_tail(&p->free_pending, &p->pendings[i].link);
	return 0;
}

struct vqt_peer *vqt_peer_create(const struct vqt_peer_cfg *cfg, int *err)
{
	struct vqt_peer *p = NULL;

	*err = -EINVAL;
	if (!cfg->ops || !cfg->rt || !cfg->frames || !cfg->bufs || !cfg->mem.get || !cfg->mem.put ||
	    cfg->mem_max < 4ull * VQT_REQ_MAX || cfg->net_pending > 1u << 20)
		return NULL;
	p = calloc(1, sizeof(*p));
	*err = -ENOMEM;
	if (!p)
		return NULL;
	p->cfg = *cfg;
	if (!p->cfg.net_pending)
		p->cfg.net_pending = VQT_PENDING_DEFAULT;
	list_init(&p->devs);
	list_init(&p->gaps);
	list_init(&p->attention);
	list_init(&p->room);
	list_init(&p->lent);
	list_init(&p->waiting);
	list_init(&p->granting);
	list_init(&p->sending);
	list_init(&p->free_pending);
	*err = alloc_pendings(p);
	if (*err) {
		vqt_peer_destroy(p);
		return NULL;
	}
	return p;
}

void vqt_peer_destroy(struct vqt_peer *p)
{
	if (!p)
		return;
	while (!list_empty(&p->devs))
		vqt_peer_detach(container_of(p->devs.next, struct vqt_dev, link));
	free(p->pendings);
	free(p->buckets);
	free(p);
}

const uint64_t *vqt_peer_counters(const struct vqt_peer *p)
{
	return p->counters;
}

const char *vqt_peer_bad(const struct vqt_peer *p)
{
	return p->bad;
}

/* ---- devices ---- */

static bool cfg_valid(const struct vqt_dev_cfg *c)
{
	if (c->wire >= VQT_WIRE_MAX || !c->nvq || c->nvq > VQT_QUEUES_MAX || c->rel > RT_REL_FULL ||
	    c->pos_start % VQT_POS_ALIGN)
		return false;
	if (c->type == VQT_BLK)
		return c->depth && c->depth <= VQT_DEPTH_MAX && c->max_inflight >= VQT_INFLIGHT_MIN;
	return c->type == VQT_NET && c->nvq % 2 == 0 &&
	       (!c->window || (c->window >= VQT_WINDOW_MIN && c->window <= VQT_WINDOW_MAX &&
			       !(c->window & (c->window - 1))));
}

static int alloc_queues(struct vqt_dev *d)
{
	unsigned pairs = d->cfg.nvq / 2;

	if (d->cfg.type == VQT_BLK) {
		uint32_t n = d->cfg.nvq * d->cfg.depth;

		d->slots = calloc(n, sizeof(*d->slots));
		for (uint32_t i = 0; d->slots && i < n; i++)
			list_init(&d->slots[i].link);
		return d->slots ? 0 : -ENOMEM;
	}
	d->pairs = calloc(pairs, sizeof(*d->pairs));
	for (unsigned i = 0; d->pairs && i < pairs; i++)
		pair_init(&d->pairs[i], d, i);
	for (unsigned i = 0; d->pairs && i < pairs; i++)
		if (d->peer->cfg.bulk.ops && (place_init(&d->pairs[i]) || posts_init(&d->pairs[i])))
			return -ENOMEM;
	return d->pairs ? 0 : -ENOMEM;
}

void dev_free(struct vqt_dev *d)
{
	free(d->pairs);
	free(d->slots);
	free(d);
}

struct vqt_dev *vqt_peer_attach(struct vqt_peer *p, const struct vqt_dev_cfg *cfg, int *err)
{
	struct vqt_dev *d;

	*err = -EINVAL;
	if (!cfg_valid(cfg))
		return NULL;
	*err = -EEXIST;
	if (p->wire[cfg->wire])
		return NULL;
	d = calloc(1, sizeof(*d));
	*err = -ENOMEM;
	if (!d)
		return NULL;
	d->peer = p;
	d->cfg = *cfg;
	if (!d->cfg.window)
		d->cfg.window = VQT_WINDOW;
	d->ops = p->cfg.ops;
	d->mem = p->cfg.mem;
	if (alloc_queues(d)) {
		for (unsigned i = 0; d->pairs && i < d->cfg.nvq / 2; i++)
			pair_reset(&d->pairs[i]);
		dev_free(d);
		return NULL;
	}
	*err = 0;
	list_add_tail(&p->devs, &d->link);
	p->wire[cfg->wire] = d;
	return d;
}

unsigned vqt_peer_detach(struct vqt_dev *d)
{
	unsigned left = d->outstanding;

	for (unsigned i = 0; d->pairs && i < d->cfg.nvq / 2; i++)
		pair_reset(&d->pairs[i]);
	for (uint32_t i = 0; d->slots && i < d->cfg.nvq * d->cfg.depth; i++) {
		struct req_slot *s = &d->slots[i];

		if (s->state == REQ_BACKEND || s->state == REQ_FETCHING || s->state == REQ_PLACING) {
			/* Its memory is no longer this session's to count. */
			d->peer->mem_used -= s->held;
			s->held = 0;
		} else if (s->state != REQ_FREE) {
			req_free(s);
		}
	}
	d->peer->wire[d->cfg.wire] = NULL;
	list_del(&d->link);
	d->peer = NULL;
	if (!left)
		dev_free(d);
	return left;
}

const uint64_t *vqt_dev_counters(const struct vqt_dev *d)
{
	return d->counters;
}

unsigned vqt_dev_outstanding(const struct vqt_dev *d)
{
	return d->outstanding;
}

/* ---- records ---- */

/* The device a record is for; NULL: counted. */
static struct vqt_dev *rec_dev(struct vqt_peer *p, const struct rt_rec *rec, enum vqt_type type)
{
	struct vqt_dev *d = rec->dev < VQT_WIRE_MAX ? p->wire[rec->dev] : NULL;
	unsigned queues;

	if (!d) {
		counter_add(&p->counters[VQT_PEER_drop_unknown_dev], 1);
		return NULL;
	}
	queues = type == VQT_NET ? d->cfg.nvq / 2 : d->cfg.nvq;
	if (d->cfg.type != type || rec->queue >= queues) {
		d_count(d, VQT_D_drop_queue, 1);
		return NULL;
	}
	if (!GUARD(request_epoch, rec->aux == (uint16_t)d->cfg.epoch)) {
		d_count(d, VQT_D_drop_epoch, 1);
		return NULL;
	}
	return d;
}

/* The class a kind travels in when an agent sends it; RT_NCLASS: an agent does not. */
static enum rt_class class_of(uint8_t kind)
{
	switch (kind) {
	case VQT_FRAME:
	case VQT_FRAMES:
	case VQT_LENT:
		return RT_NET;
	case VQT_CREDIT:
	case VQT_GONE:
	case VQT_POSTED:
	case VQT_RECALL:
	case VQT_CANCEL:
		return RT_CTL;
	case VQT_REQ:
	case VQT_KEYED:
		return RT_CMD;
	case VQT_REQDATA:
		return RT_DATA;
	default:
		return RT_NCLASS;
	}
}

void vqt_peer_record(struct vqt_peer *p, enum rt_class cls, uint32_t psn, const struct rt_rec *rec,
		     const uint8_t *data, struct buf *owner)
{
	bool net = rec->kind == VQT_FRAME || rec->kind == VQT_FRAMES || rec->kind == VQT_CREDIT ||
		   rec->kind == VQT_LENT || rec->kind == VQT_GONE || rec->kind == VQT_POSTED ||
		   rec->kind == VQT_RECALL;
	struct vqt_dev *d;

	counter_add(&p->counters[VQT_PEER_records], 1);
	if (p->bad || class_of(rec->kind) != cls) {
		counter_add(&p->counters[VQT_PEER_drop_kind], 1);
		return;
	}
	d = rec_dev(p, rec, net ? VQT_NET : VQT_BLK);
	if (!d)
		return;
	if (rec->kind == VQT_FRAME || rec->kind == VQT_FRAMES)
		pair_frame(&d->pairs[rec->queue], psn, rec, data, owner);
	else if (rec->kind == VQT_LENT)
		net_lent_piece(&d->pairs[rec->queue], psn, rec, data);
	else if (rec->kind == VQT_GONE)
		net_lent_gone(&d->pairs[rec->queue], rec);
	else if (rec->kind == VQT_CREDIT)
		pair_credit(&d->pairs[rec->queue], rec);
	else if (rec->kind == VQT_POSTED)
		posts_posted(&d->pairs[rec->queue], rec, data);
	else if (rec->kind == VQT_RECALL)
		posts_recall(&d->pairs[rec->queue], rec);
	else if (rec->kind == VQT_CANCEL)
		req_cancel(d, rec);
	else
		req_piece(d, rec, data);
}

void vqt_peer_settled(struct vqt_peer *p, enum rt_class cls, uint32_t base)
{
	struct list todo, *it;

	if (cls != RT_NET)
		return;
	p->settles = true;
	p->settled = base;
	list_init(&todo);
	while ((it = list_pop(&p->gaps)) != NULL)
		list_add_tail(&todo, it);
	while ((it = list_pop(&todo)) != NULL) {
		list_add_tail(&p->gaps, it);
		pair_settled(container_of(it, struct vqt_pair, gaps), base);
	}
}

void vqt_peer_writable(struct vqt_peer *p, enum rt_class cls)
{
	p->full[cls] = false;
	if (cls == RT_NET)
		pair_room(p);
}

static void op_record(void *ctx, enum rt_class cls, uint32_t psn, const struct rt_rec *rec,
		      const uint8_t *data, struct buf *owner)
{
	vqt_peer_record(ctx, cls, psn, rec, data, owner);
}

static void op_settled(void *ctx, enum rt_class cls, uint32_t base)
{
	vqt_peer_settled(ctx, cls, base);
}

static void op_writable(void *ctx, enum rt_class cls)
{
	vqt_peer_writable(ctx, cls);
}

const struct rt_ops vqt_peer_rt_ops = {.record = op_record, .settled = op_settled, .writable = op_writable};

/* ---- service ---- */

void vqt_peer_service(struct vqt_peer *p, uint64_t now)
{
	struct list todo, *it;

	/* Completions first: they give memory back to those who wait. */
	req_serve_sending(p, now);
	req_serve_waiting(p);
	req_serve_granting(p, now);
	net_lent_serve(p, now);
	list_init(&todo);
	while ((it = list_pop(&p->attention)) != NULL)
		list_add_tail(&todo, it);
	while ((it = list_pop(&todo)) != NULL)
		pair_service(container_of(it, struct vqt_pair, attention), now);
	if (p->unflushed) {
		p->unflushed = false;
		rt_flush(p->cfg.rt, now);
	}
}

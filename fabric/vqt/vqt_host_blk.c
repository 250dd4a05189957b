/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests: a chain is so many readable and so many writable bytes, and is answered once.
 *
 * A request stays in its slot, chain and all, from pop() to push(), whatever becomes of sessions in
 * between. A slot that was sent in this session belongs to the appliance too, until the
 * completion came or the session ended: when the guest goes away meanwhile the slot is fenced, and
 * while a device has fenced slots nothing new is taken from its rings. Else an old write, still at the
 * backend, could land after a newer one of the guest's next life.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fabric/base/guard.h"
#include "fabric/vqt/vqt_host_int.h"

#define PIECE_MAX (64u << 10)

int bq_create(struct vqt_vq *q, uint32_t depth)
{
	struct vqt_bq *b = calloc(1, sizeof(*b));

	if (!b)
		return -ENOMEM;
	q->bq = b;
	list_init(&b->inflight);
	list_init(&b->work);
	/* A slot is 4 KiB of iovecs; the free list is a stack, so only as many are ever touched as were in
	 * flight. */
	b->slots = calloc(depth, sizeof(*b->slots));
	b->free = calloc(depth, sizeof(*b->free));
	if (!b->slots || !b->free)
		return -ENOMEM;
	for (uint32_t i = depth; i-- > 0;)
		b->free[b->nfree++] = (uint16_t)i;
	return 0;
}

void bq_destroy(struct vqt_vq *q)
{
	if (!q->bq)
		return;
	free(q->bq->slots);
	free(q->bq->free);
	free(q->bq);
	q->bq = NULL;
}

static uint32_t msg_len(const struct vqt_slot *s)
{
	return VQT_HEAD + s->chain.out_len;
}

static uint32_t id_of(const struct vqt_bq *b, const struct vqt_slot *s)
{
	return VQT_ID(s - b->slots, s->gen);
}

/* Who could not go on for lack of a slot or of unscheduled bytes may now. */
static void wake(struct vqt_hdev *d)
{
	struct list *it;

	while ((it = list_pop(&d->starved)) != NULL)
		vq_ready(container_of(it, struct vqt_vq, starved));
}

static void uncharge(struct vqt_hdev *d, struct vqt_slot *s)
{
	d->inflight_bytes -= s->charge;
	s->charge = 0;
}

/* The slot is free; its chain is forgotten. */
static void slot_free(struct vqt_vq *q, struct vqt_slot *s)
{
	struct vqt_bq *b = q->bq;
	struct vqt_hdev *d = q->dev;
	bool fenced = s->state == SLOT_FENCED;

	b->nunsent -= s->state == SLOT_UNSENT;
	uncharge(d, s);
	list_del(&s->work);
	list_del(&s->order);
	s->state = SLOT_FREE;
	b->free[b->nfree++] = (uint16_t)(s - b->slots);
	if (!fenced) {
		b->ninflight--;
		d->ninflight--;
	} else if (--d->nfenced == 0) {
		for (unsigned i = 0; i < d->cfg.nvq; i++)
			vq_ready(&d->vq[i]);
	}
	wake(d);
	if (q->more)
		vq_ready(q);
}

/* After the last of them: tell those who wait for it. */
static void check_done(struct vqt_vq *q)
{
	struct vqt_hdev *d = q->dev;

	if (q->state == VQ_DRAINING && !q->bq->ninflight) {
		vq_flush(q);
		q->state = VQ_STOPPED;
		d->host->ops->stopped(d->cfg.user, q->index);
	}
	if (!d->ninflight)
		d->host->ops->idle(d->cfg.user);
}

/* ---- sending ---- */

/* Start s in this session: the head and the unscheduled bytes. false: not now. */
static bool send_request(struct vqt_vq *q, struct vqt_slot *s)
{
	struct vqt_hdev *d = q->dev;
	uint8_t bytes[VQT_KEYED_BYTES];
	uint32_t keyed = keyed_message(q, s, bytes), len = keyed ? keyed : vqt_unsched(s->chain.out_len);
	struct vqt_req_head head = {d->b.epoch, s->chain.out_len, s->chain.in_len, 0};
	struct rt_rec rec = {.kind = keyed ? VQT_KEYED : VQT_REQ,
			     .queue = (uint8_t)q->index,
			     .total = keyed ? keyed : msg_len(s)};
	struct iovec *iov = d->host->iov;
	unsigned n;

	if (len > d->b.max_inflight - d->inflight_bytes) {
		if (list_empty(&q->starved))
			list_add_tail(&d->starved, &q->starved);
		return false;
	}
	s->gen++;
	s->out_at = s->in_at = (struct vqt_at){0, 0};
	s->cpl = s->cancel = false;
	rec.id = id_of(q->bq, s);
	iov[0] = (struct iovec){bytes, keyed ? keyed : VQT_HEAD};
	n = 1;
	if (!keyed) {
		vqt_req_head_put(bytes, &head);
		n += vqt_iov_slice(s->chain.iov, s->chain.nout, &s->out_at, 0, len - VQT_HEAD, iov + 1);
	}
	if (hd_send(q, RT_CMD, RT_REL_FULL, &rec, iov, n))
		return false;
	s->keyed = keyed > 0;
	hd_count(d, VQT_HD_requests_keyed, s->keyed);
	s->granted = s->sent = keyed ? VQT_HEAD + VQT_LEAD : len;
	hd_count(d, VQT_HD_request_copied_bytes,
		 s->sent > VQT_HEAD + VQT_LEAD ? s->sent - VQT_HEAD - VQT_LEAD : 0);
	s->charge = len;
	d->inflight_bytes += len;
	s->state = SLOT_SENT;
	q->bq->nunsent--;
	hd_count(d, VQT_HD_request_bytes, len);
	return true;
}

/* Requests kept over a lost session, in their order; true: none is left. */
static bool resend(struct vqt_vq *q, unsigned *done)
{
	struct vqt_bq *b = q->bq;

	if (b->nunsent && list_empty(&q->blocked[RT_CMD])) {
		list_for_each (it, &b->inflight) {
			struct vqt_slot *s = container_of(it, struct vqt_slot, order);

			if (s->state != SLOT_UNSENT)
				continue;
			if (!send_request(q, s))
				return false;
			hd_count(q->dev, VQT_HD_requests_resent, s->again);
			(*done)++;
		}
	}
	return !b->nunsent;
}

/* One piece of granted bytes, or a cancel; false: the transport is full. */
static bool work_one(struct vqt_vq *q, struct vqt_slot *s)
{
	struct vqt_hdev *d = q->dev;
	struct rt_rec rec = {.queue = (uint8_t)q->index, .id = id_of(q->bq, s)};
	uint32_t len = s->granted - s->sent;
	unsigned n;

	if (s->cancel) {
		rec.kind = VQT_CANCEL;
		if (hd_send(q, RT_CTL, RT_REL_FULL, &rec, NULL, 0))
			return false;
		s->cancel = false;
		hd_count(d, VQT_HD_cancels, 1);
		return true;
	}
	if (len > PIECE_MAX)
		len = PIECE_MAX;
	rec.kind = VQT_REQDATA;
	rec.total = msg_len(s);
	rec.offset = s->sent;
	n = vqt_iov_slice(s->chain.iov, s->chain.nout, &s->out_at, s->sent - VQT_HEAD, len, d->host->iov);
	if (hd_send(q, RT_DATA, RT_REL_FULL, &rec, d->host->iov, n))
		return false;
	s->sent += len;
	hd_count(d, VQT_HD_request_bytes, len);
	hd_count(d, VQT_HD_request_copied_bytes, len);
	return true;
}

/* Granted bytes, a piece of each request in turn. */
static unsigned send_work(struct vqt_vq *q)
{
	struct vqt_bq *b = q->bq;
	uint32_t bytes = 0;
	unsigned n = 0;

	while (!list_empty(&b->work) && bytes < VQT_TURN_BYTES && list_empty(&q->blocked[RT_DATA]) &&
	       list_empty(&q->blocked[RT_CTL])) {
		struct vqt_slot *s = container_of(b->work.next, struct vqt_slot, work);

		if (!work_one(q, s))
			return n;
		list_del(&s->work);
		if (s->state == SLOT_SENT && s->sent < s->granted)
			list_add_tail(&b->work, &s->work);
		bytes += PIECE_MAX;
		n++;
	}
	if (!list_empty(&b->work) && bytes >= VQT_TURN_BYTES)
		vq_ready(q);
	return n;
}

/* Take one chain from the ring into a slot; 0: none, or the ring is broken. */
static int take(struct vqt_vq *q)
{
	struct vqt_bq *b = q->bq;
	struct vqt_slot *s = &b->slots[b->free[b->nfree - 1]];
	int rc = q->dev->cfg.ring_ops->pop(q->ring, &s->chain);

	if (rc < 0)
		vq_broken(q, "request ring: malformed");
	if (rc <= 0)
		return 0;
	if (!vqt_req_fits(s->chain.out_len, s->chain.in_len)) {
		vq_broken(q, "request longer than the device takes");
		return 0;
	}
	b->nfree--;
	s->state = SLOT_UNSENT;
	s->again = s->keyed = false;
	b->nunsent++;
	list_init(&s->work);
	list_add_tail(&b->inflight, &s->order);
	b->ninflight++;
	q->dev->ninflight++;
	hd_count(q->dev, VQT_HD_requests, 1);
	return 1;
}

/* New requests. A chain taken stays taken: if it cannot be sent yet, it is the queue's oldest unsent. */
static unsigned send_new(struct vqt_vq *q)
{
	struct vqt_bq *b = q->bq;
	uint32_t bytes = 0;
	unsigned n;

	q->more = true;
	for (n = 0; n < VQT_TURN_CHAINS && bytes < VQT_TURN_BYTES; n++) {
		struct vqt_slot *s;

		if (q->state != VQ_RUNNING || !GUARD(fenced_slots, !q->dev->nfenced) || !b->nfree)
			return n;
		if (!take(q)) {
			q->more = false;
			return n;
		}
		s = container_of(b->inflight.prev, struct vqt_slot, order);
		if (!send_request(q, s))
			return n + 1;
		bytes += s->charge;
	}
	vq_ready(q);
	return n;
}

unsigned bq_turn(struct vqt_vq *q)
{
	unsigned n = 0;

	/* What the transport or the limit held back goes first, in order. */
	if (resend(q, &n) && list_empty(&q->blocked[RT_CMD]))
		n += send_new(q);
	else
		q->more = true;
	return n + send_work(q);
}

/* ---- records ---- */

/* The slot of a request of this session; NULL: unknown. */
static struct vqt_slot *find(struct vqt_vq *q, uint32_t id)
{
	uint32_t i = VQT_ID_SLOT(id);
	struct vqt_slot *s = i < q->dev->cfg.depth ? &q->bq->slots[i] : NULL;

	return s && (s->state == SLOT_SENT || s->state == SLOT_FENCED) && id_of(q->bq, s) == id ? s : NULL;
}

void bq_grant(struct vqt_vq *q, const struct rt_rec *rec)
{
	struct vqt_slot *s = find(q, rec->id);
	uint64_t limit = VQT_HEAD + (uint64_t)rec->aux * VQT_GRANT_UNIT;

	if (s && limit > msg_len(s))
		limit = msg_len(s);
	if (!s || limit <= s->granted) {
		hd_count(q->dev, VQT_HD_drop_grant, 1);
		return;
	}
	hd_count(q->dev, VQT_HD_grants, 1);
	s->granted = (uint32_t)limit;
	s->cancel = s->state == SLOT_FENCED;
	if (list_empty(&s->work))
		list_add_tail(&q->bq->work, &s->work);
	vq_ready(q);
}

/* The bytes of one piece of a completion. */
static void place(struct vqt_slot *s, const struct rt_rec *rec, const uint8_t *data)
{
	uint32_t off = rec->offset, len = rec->len;
	uint32_t in_off = s->chain.in_len - (rec->total - VQT_HEAD);

	if (off < VQT_HEAD) {
		uint32_t n = VQT_HEAD - off < len ? VQT_HEAD - off : len;

		memcpy(s->head + off, data, n);
		off += n;
		data += n;
		len -= n;
	}
	if (len && s->state == SLOT_SENT)
		vqt_iov_write(s->chain.iov + s->chain.nout, s->chain.nin, &s->in_at, in_off + off - VQT_HEAD,
			      data, len);
}

/* All of it came: is it true? */
static bool cpl_valid(struct vqt_hdev *d, const struct vqt_slot *s, const struct vqt_cpl_head *h)
{
	if (!vqt_cover_full(&s->cover, d->host->seed, s->cpl_total) ||
	    (h->flags && !(s->keyed && VQT_CPL_IS_TORN(h->flags))) || h->sent != s->cpl_total - VQT_HEAD ||
	    h->written > s->chain.in_len) {
		hd_count(d, VQT_HD_drop_cpl_malformed, 1);
		return false;
	}
	if (!GUARD(completion_epoch, h->epoch == d->b.epoch)) {
		hd_count(d, VQT_HD_drop_cpl_epoch, 1);
		return false;
	}
	return true;
}

static void complete(struct vqt_vq *q, struct vqt_slot *s)
{
	struct vqt_hdev *d = q->dev;
	struct vqt_cpl_head h;

	vqt_cpl_head_get(s->head, &h);
	s->cpl = false;
	if (!cpl_valid(d, s, &h))
		return;
	if (s->state == SLOT_FENCED) {
		hd_count(d, VQT_HD_drop_cpl_fenced, 1);
		slot_free(q, s);
		return;
	}
	if (!GUARD(torn_fence, !h.flags)) {
		hd_count(d, VQT_HD_completions_torn, 1);
		d->cfg.keys->fence(d->cfg.user, VQT_CPL_PATH(h.flags), VQT_CPL_QPN(h.flags));
	}
	d->cfg.ring_ops->push(q->ring, &s->chain, h.written);
	vq_dirty(q);
	hd_count(d, VQT_HD_completions, 1);
	hd_count(d, VQT_HD_completion_bytes, h.sent);
	hd_count(d, VQT_HD_completion_copied_bytes, h.sent > VQT_TAIL ? h.sent - VQT_TAIL : 0);
	slot_free(q, s);
	check_done(q);
}

void bq_completion(struct vqt_vq *q, const struct rt_rec *rec, const uint8_t *data)
{
	struct vqt_slot *s = find(q, rec->id);

	if (!s) {
		hd_count(q->dev, VQT_HD_drop_cpl_unknown, 1);
		return;
	}
	if (rec->total < VQT_HEAD || rec->total - VQT_HEAD > s->chain.in_len || !rec->len ||
	    rec->offset > rec->total || rec->len > rec->total - rec->offset ||
	    (s->cpl && rec->total != s->cpl_total)) {
		hd_count(q->dev, VQT_HD_drop_cpl_malformed, 1);
		return;
	}
	if (!s->cpl) {
		s->cpl = true;
		s->cpl_total = rec->total;
		s->cover = (struct vqt_cover){0, 0};
	}
	vqt_cover_add(&s->cover, q->dev->host->seed, rec->offset, rec->len);
	place(s, rec, data);
	if (s->cover.got >= s->cpl_total)
		complete(q, s);
}

/* ---- lost sessions, gone guests ---- */

void bq_session_lost(struct vqt_vq *q)
{
	struct vqt_bq *b = q->bq;

	keyed_revoke(q);
	list_for_each_safe (it, &b->inflight) {
		struct vqt_slot *s = container_of(it, struct vqt_slot, order);

		if (s->state == SLOT_FENCED) {
			slot_free(q, s);
			continue;
		}
		if (s->state == SLOT_SENT) {
			b->nunsent++;
			s->again = true;
		}
		s->state = SLOT_UNSENT;
		s->cancel = s->cpl = false;
		list_del(&s->work);
		uncharge(q->dev, s);
	}
}

void bq_fence(struct vqt_vq *q)
{
	struct vqt_bq *b = q->bq;

	keyed_revoke(q);
	list_for_each_safe (it, &b->inflight) {
		struct vqt_slot *s = container_of(it, struct vqt_slot, order);

		if (s->state == SLOT_UNSENT) {
			slot_free(q, s);
		} else if (s->state == SLOT_SENT) {
			s->state = SLOT_FENCED;
			b->ninflight--;
			q->dev->ninflight--;
			q->dev->nfenced++;
			/* The appliance waits for the rest of what it granted. */
			s->cancel = s->sent < s->granted;
			if (s->cancel)
				vq_ready(q);
			else
				list_del(&s->work);
		}
	}
}

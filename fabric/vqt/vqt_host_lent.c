/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest to appliance, by key: the chain stays with us until the appliance has fetched its bytes.
 *
 * Chains go back to the guest in the order they were taken, so those that were copied wait behind those that
 * are lent. A queue that is fenced forgets its chains, not their positions: for those the appliance may still
 * ask, and is told that they are gone.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fabric/vqt/vqt_host_int.h"

/* Smaller frames are copied: a fetch costs the agent a longer message, and holds the guest's buffer for a
 * round trip. */
#define LENT_MIN 2048u

static struct tx_lent *at(const struct vqt_tx *t, unsigned i)
{
	return (struct tx_lent *)(uintptr_t)&t->lent[(t->first + i) % VQT_LENT_MAX];
}

static void not_out(struct vqt_vq *q, struct tx_lent *l)
{
	if (l->by_key && l->state != LENT_DONE) {
		q->tx->bytes -= l->len;
		q->dev->host->nout--;
	}
	if (l->state == LENT_AGAIN)
		q->tx->nagain--;
	l->state = LENT_DONE;
}

int lent_create(struct vqt_vq *q)
{
	q->tx = calloc(1, sizeof(*q->tx));
	return q->tx ? 0 : -ENOMEM;
}

void lent_destroy(struct vqt_vq *q)
{
	for (unsigned i = 0; q->tx && i < q->tx->count; i++)
		not_out(q, at(q->tx, i));
	free(q->tx);
	q->tx = NULL;
}

bool lent_full(struct vqt_vq *q)
{
	struct vqt_tx *t = q->tx;

	if (t->count == VQT_LENT_MAX || t->bytes > VQT_LENT_BYTES - FRAME_MAX)
		t->waits = true;
	return t->waits;
}

/* ---- out ---- */

/* The first iovecs that fit into the message: headers that the guest keeps apart. */
static unsigned head_of(const struct vqt_chain *c, uint32_t *bytes)
{
	unsigned n = 0;

	for (*bytes = 0; n + 1u < c->nout && *bytes + c->iov[n].iov_len <= VQT_HEAD_MAX; n++)
		*bytes += (uint32_t)c->iov[n].iov_len;
	return n;
}

static struct tx_lent *hold(struct vqt_vq *q, const struct vqt_chain *c, enum lent_state state)
{
	struct tx_lent *l = at(q->tx, q->tx->count++);

	l->state = state;
	l->by_key = state == LENT_OUT;
	l->dead = false;
	l->token = c->token;
	l->len = c->out_len;
	l->pos = q->tx_pos;
	l->niov = c->nout < VQT_LENT_IOV ? c->nout : VQT_LENT_IOV;
	memcpy(l->iov, c->iov, l->niov * sizeof(struct iovec));
	q->tx->nlive++;
	q->dev->nlent++;
	return l;
}

/* Is the chain worth fetching, and may one more be lent? */
static bool worth(const struct vqt_vq *q, const struct vqt_chain *c)
{
	return c->out_len >= LENT_MIN && c->nout <= VQT_LENT_IOV && q->dev->host->nout < VQT_LENT_ALL;
}

int lent_send(struct vqt_vq *q, const struct vqt_chain *c)
{
	struct vqt_hdev *d = q->dev;
	uint8_t fixed[VQT_LENT_MSG];
	struct iovec iov[VQT_LENT_IOV + 1];
	struct vqt_lent k = {.len = c->out_len};
	struct rt_rec rec = {.kind = VQT_LENT, .queue = (uint8_t)(q->index / 2), .id = q->tx_pos};
	uint32_t head;
	unsigned n;
	int rc;

	if (!worth(q, c))
		return 0;
	n = head_of(c, &head);
	for (unsigned i = n; i < c->nout; i++)
		if (!c->iov[i].iov_len)
			return 0;
	k.head = (uint16_t)head;
	k.n = (uint16_t)d->cfg.keys->pieces(d->cfg.user, c->iov + n, c->nout - n, k.key, VQT_KEYS_MAX);
	if (!k.n)
		return 0;
	iov[0] = (struct iovec){fixed, vqt_lent_put(fixed, &k)};
	memcpy(iov + 1, c->iov, n * sizeof(struct iovec));
	rec.total = (uint32_t)iov[0].iov_len + head;
	rc = hd_send(q, RT_NET, RT_REL_FULL, &rec, iov, n + 1);
	if (rc)
		return rc == -EAGAIN ? rc : 0;
	hold(q, c, LENT_OUT);
	q->tx->bytes += c->out_len;
	d->host->nout++;
	q->tx_pos += vqt_span(rec.total);
	hd_count(d, VQT_HD_tx_frames, 1);
	hd_count(d, VQT_HD_tx_bytes, c->out_len);
	hd_count(d, VQT_HD_tx_lent, 1);
	hd_count(d, VQT_HD_tx_lent_bytes, c->out_len - head);
	hd_count(d, VQT_HD_tx_copied_bytes, head);
	if (c->out_len > VQT_FRAME_SUPER)
		hd_count(d, VQT_HD_frames_super, 1);
	return 1;
}

void lent_push(struct vqt_vq *q, const struct vqt_chain *c)
{
	if (q->tx && q->tx->count) {
		hold(q, c, LENT_DONE);
		return;
	}
	q->dev->cfg.ring_ops->push(q->ring, c, 0);
	vq_dirty(q);
}

/* ---- back ---- */

static void give_back(struct vqt_vq *q, const struct tx_lent *l)
{
	struct vqt_chain *c = &q->dev->host->chain;

	c->token = l->token;
	c->nout = l->niov;
	c->nin = 0;
	c->out_len = l->len;
	c->in_len = 0;
	memcpy(c->iov, l->iov, l->niov * sizeof(struct iovec));
	q->dev->cfg.ring_ops->push(q->ring, c, 0);
	vq_dirty(q);
}

/* Everything at the front that is done; then perhaps the queue, and the device. */
static void settle(struct vqt_vq *q)
{
	struct vqt_tx *t = q->tx;
	struct vqt_hdev *d = q->dev;
	const struct vqt_host_ops *ops = d->host->ops;

	for (; t->count && at(t, 0)->state == LENT_DONE; t->count--) {
		struct tx_lent *l = at(t, 0);

		if (!l->dead) {
			give_back(q, l);
			t->nlive--;
			d->nlent--;
		}
		t->first = (t->first + 1) % VQT_LENT_MAX;
	}
	if (t->waits) {
		t->waits = false;
		vq_ready(q);
	}
	if (t->nlive)
		return;
	if (q->state == VQ_DRAINING) {
		vq_flush(q);
		q->state = VQ_STOPPED;
		ops->stopped(d->cfg.user, q->index);
	}
	if (!d->nlent)
		ops->idle(d->cfg.user);
}

void lent_taken(struct vqt_vq *q, const struct rt_rec *rec)
{
	struct vqt_tx *t = q->tx;
	bool any = false;

	for (unsigned i = 0; i < t->count; i++) {
		struct tx_lent *l = at(t, i);

		if (!vqt_before(l->pos, rec->id))
			break;
		any |= l->state != LENT_DONE;
		not_out(q, l);
	}
	if (any)
		settle(q);
}

void lent_asked(struct vqt_vq *q, const struct rt_rec *rec)
{
	for (unsigned i = 0; i < q->tx->count; i++) {
		struct tx_lent *l = at(q->tx, i);

		if (l->pos != rec->id || !l->by_key || l->state != LENT_OUT)
			continue;
		l->state = LENT_AGAIN;
		q->tx->nagain++;
		vq_ready(q);
		return;
	}
	hd_count(q->dev, VQT_HD_drop_grant, 1);
}

/* 0: it is done. */
static int send_again(struct vqt_vq *q, struct tx_lent *l)
{
	struct rt_rec rec = {.kind = VQT_GONE, .queue = (uint8_t)(q->index / 2), .id = l->pos};
	int rc;

	if (l->dead)
		return hd_send(q, RT_CTL, RT_REL_FULL, &rec, NULL, 0);
	rc = tx_message(q, RT_REL_FULL, l->pos, l->iov, l->niov, l->len);
	if (!rc)
		hd_count(q->dev, VQT_HD_tx_again, 1);
	return rc;
}

bool lent_again(struct vqt_vq *q)
{
	struct vqt_tx *t = q->tx;

	if (!t->nagain)
		return true;
	for (unsigned i = 0; i < t->count && t->nagain; i++) {
		struct tx_lent *l = at(t, i);

		if (l->state != LENT_AGAIN)
			continue;
		if (send_again(q, l))
			return false;
		not_out(q, l);
	}
	settle(q);
	return true;
}

/* Nobody fetches any more what the guest gets back without the appliance's word. */
static void revoke(struct vqt_vq *q)
{
	for (unsigned i = 0; i < q->tx->count; i++)
		if (at(q->tx, i)->state == LENT_OUT) {
			q->dev->cfg.keys->revoke(q->dev->cfg.user);
			return;
		}
}

void lent_fence(struct vqt_vq *q)
{
	struct vqt_tx *t = q->tx;

	revoke(q);
	for (unsigned i = 0; i < t->count; i++)
		at(t, i)->dead = true;
	q->dev->nlent -= t->nlive;
	t->nlive = 0;
	/* Those that nobody will ask for. */
	for (; t->count && at(t, 0)->state == LENT_DONE; t->count--)
		t->first = (t->first + 1) % VQT_LENT_MAX;
}

void lent_lost(struct vqt_vq *q)
{
	revoke(q);
	for (unsigned i = 0; i < q->tx->count; i++)
		not_out(q, at(q->tx, i));
	if (q->tx->count)
		settle(q);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests that say where their bytes are, vqt_msg.h: what goes by key is decided anew whenever a
 * request is sent, for keys come and go with paths, sessions and the guest's own memory.
 */
#include <string.h>

#include "fabric/base/guard.h"
#include "fabric/vqt/vqt_host_int.h"

/* Pieces of [off, off + len) of n iovecs; 0: not by key. */
static unsigned pieces(struct vqt_hdev *d, const struct iovec *iov, unsigned n, uint32_t off, uint32_t len,
		       struct vqt_seg *out, unsigned max)
{
	struct vqt_at at = {0, 0};
	struct iovec *part = d->host->iov;

	return d->cfg.keys->pieces(d->cfg.user, part, vqt_iov_slice(iov, n, &at, off, len, part), out, max);
}

/* The guest's command, read once. */
static void take_lead(struct vqt_hdev *d, const struct vqt_chain *c, uint8_t lead[VQT_LEAD])
{
	struct vqt_at at = {0, 0};
	unsigned n = vqt_iov_slice(c->iov, c->nout, &at, 0, VQT_LEAD, d->host->iov);

	for (unsigned i = 0; i < n; i++) {
		memcpy(lead, d->host->iov[i].iov_base, d->host->iov[i].iov_len);
		lead += d->host->iov[i].iov_len;
	}
}

uint32_t keyed_message(struct vqt_vq *q, struct vqt_slot *s, uint8_t bytes[VQT_KEYED_BYTES])
{
	struct vqt_hdev *d = q->dev;
	const struct vqt_chain *c = &s->chain;
	uint32_t out = c->out_len > VQT_LEAD ? c->out_len - VQT_LEAD : 0;
	uint32_t in = c->in_len > VQT_IN_SMALL ? c->in_len - VQT_TAIL : 0;
	struct vqt_seg seg[VQT_SEGS_MAX];
	struct vqt_req_head head = {d->b.epoch, c->out_len, c->in_len, 0};
	unsigned nout = 0, nin = 0;

	if (!d->cfg.keys || c->out_len < VQT_LEAD || (out < VQT_KEYED_MIN && in < VQT_KEYED_MIN))
		return 0;
	if (out)
		nout = pieces(d, c->iov, c->nout, VQT_LEAD, out, seg, VQT_SEGS_MAX);
	if (out && !nout)
		return 0;
	if (in)
		nin = pieces(d, c->iov + c->nout, c->nin, 0, in, seg + nout, VQT_SEGS_MAX - nout);
	if (nout + nin == 0)
		return 0;
	head.flags = VQT_KEYED_FLAGS(nout, nin);
	vqt_req_head_put(bytes, &head);
	take_lead(d, c, bytes + VQT_HEAD);
	for (unsigned i = 0; i < nout + nin; i++)
		vqt_seg_put(bytes + VQT_HEAD + VQT_LEAD + i * VQT_SEG, &seg[i]);
	return VQT_HEAD + VQT_LEAD + (nout + nin) * VQT_SEG;
}

void keyed_revoke(struct vqt_vq *q)
{
	bool any = false;

	list_for_each (it, &q->bq->inflight) {
		struct vqt_slot *s = container_of(it, struct vqt_slot, order);

		any |= s->state == SLOT_SENT && s->keyed;
	}
	if (!GUARD(key_revoke, !any))
		q->dev->cfg.keys->revoke(q->dev->cfg.user);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Guest to appliance: each transmit chain is one frame; its bytes are copied into the transport and the
 * chain goes back at once (virtio 1.2 section 5.1.6.2). */
#include <errno.h>

#include "fabric/vqt/vqt_host_int.h"

/* Why this chain is no frame; VQT_HDEV_NCOUNTERS: it is one. */
static enum vqt_hdev_counter refuse(const struct vqt_chain *c)
{
	if (c->nin)
		return VQT_HD_drop_tx_writable;
	if (c->out_len < VQT_FRAME_MIN)
		return VQT_HD_drop_tx_short;
	return c->out_len > FRAME_MAX ? VQT_HD_drop_tx_long : VQT_HDEV_NCOUNTERS;
}

/* 0, or -EAGAIN: nothing happened. */
static int send_frame(struct vqt_vq *q, const struct vqt_chain *c)
{
	struct vqt_hdev *d = q->dev;
	struct rt_rec rec = {
		.kind = VQT_FRAME, .queue = (uint8_t)(q->index / 2), .id = q->tx_pos, .total = c->out_len};
	enum vqt_hdev_counter why = refuse(c);
	int rc;

	if (why != VQT_HDEV_NCOUNTERS) {
		hd_count(d, why, 1);
		return 0;
	}
	rc = hd_send(q, RT_NET, d->b.rel, &rec, c->iov, c->nout);
	if (rc == -EAGAIN)
		return rc;
	if (rc) {
		/* The iovecs do not add up to what the chain says. */
		hd_count(d, VQT_HD_drop_tx_long, 1);
		return 0;
	}
	q->tx_pos += vqt_span(c->out_len);
	hd_count(d, VQT_HD_tx_frames, 1);
	hd_count(d, VQT_HD_tx_bytes, c->out_len);
	if (c->out_len > VQT_FRAME_SUPER)
		hd_count(d, VQT_HD_frames_super, 1);
	return 0;
}

unsigned tx_turn(struct vqt_vq *q)
{
	const struct vqt_ring_ops *ops = q->dev->cfg.ring_ops;
	struct vqt_chain *c = &q->dev->host->chain;
	uint32_t bytes = 0;
	unsigned n;

	for (n = 0; n < VQT_TURN_CHAINS && bytes < VQT_TURN_BYTES; n++) {
		int rc;

		if (q->state != VQ_RUNNING || !list_empty(&q->blocked[RT_NET]))
			return vqt_cost(n, bytes);
		rc = ops->pop(q->ring, c);
		if (rc < 0)
			vq_broken(q, "transmit ring: malformed");
		if (rc <= 0)
			return vqt_cost(n, bytes);
		if (send_frame(q, c)) {
			ops->unpop(q->ring, 1);
			return vqt_cost(n, bytes);
		}
		ops->push(q->ring, c, 0);
		vq_dirty(q);
		bytes += c->out_len;
	}
	vq_ready(q);
	return vqt_cost(n, bytes);
}

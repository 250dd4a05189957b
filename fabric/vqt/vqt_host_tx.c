/* SPDX-License-Identifier: Apache-2.0 */
/* Guest to appliance: each transmit chain is one frame; its bytes are copied into the transport and the
 * chain goes back at once (virtio 1.2 section 5.1.6.2), or it is lent (vqt_host_lent.c). */
#include <errno.h>
#include <string.h>

#include "fabric/vqt/vqt_host_int.h"

#define ETHER_MIN 60u /* shortest Ethernet frame, without FCS */

/* Why this chain is no frame; VQT_HDEV_NCOUNTERS: it is one. */
static enum vqt_hdev_counter refuse(const struct vqt_chain *c)
{
	if (c->nin)
		return VQT_HD_drop_tx_writable;
	if (c->out_len < VQT_FRAME_MIN)
		return VQT_HD_drop_tx_short;
	return c->out_len > FRAME_MAX ? VQT_HD_drop_tx_long : VQT_HDEV_NCOUNTERS;
}

int tx_message(struct vqt_vq *q, enum rt_rel rel, uint32_t pos, const struct iovec *iov, unsigned n,
	       uint32_t len)
{
	struct rt_rec rec = {.kind = VQT_FRAME, .queue = (uint8_t)(q->index / 2), .id = pos, .total = len};
	int rc = hd_send(q, RT_NET, rel, &rec, iov, n);

	if (!rc)
		hd_count(q->dev, VQT_HD_tx_copied_bytes, len);
	return rc;
}

/* rt_send()'s error: nothing happened. */
static int send_bytes(struct vqt_vq *q, const struct iovec *iov, unsigned n, uint32_t len)
{
	struct vqt_hdev *d = q->dev;
	int rc = tx_message(q, d->b.rel, q->tx_pos, iov, n, len);

	if (rc)
		return rc;
	q->tx_pos += vqt_span(len);
	hd_count(d, VQT_HD_tx_frames, 1);
	hd_count(d, VQT_HD_tx_bytes, len);
	if (len > VQT_FRAME_SUPER)
		hd_count(d, VQT_HD_frames_super, 1);
	return 0;
}

/* The bytes of a small chain, with others in one message. */
static int send_small(struct vqt_vq *q, const struct vqt_chain *c)
{
	struct vqt_hdev *d = q->dev;
	struct rt_rec rec = {.kind = VQT_FRAMES, .queue = (uint8_t)(q->index / 2), .id = q->run_pos};
	uint32_t need = VQT_SMALL_LEN + c->out_len;
	uint8_t *at = q->run_len ? hd_grow(q, RT_NET, &rec, need) : NULL;
	int rc;

	if (!at) {
		rec.id = q->tx_pos;
		rc = hd_begin(q, RT_NET, d->b.rel, &rec, need, &at);
		if (rc)
			return rc;
		q->run_pos = q->tx_pos;
		q->run_len = 0;
	}
	q->run_len += need;
	q->tx_pos = q->run_pos + vqt_span(q->run_len);
	vqt_small_put_len(at, c->out_len);
	at += VQT_SMALL_LEN;
	for (unsigned i = 0; i < c->nout; i++) {
		memcpy(at, c->iov[i].iov_base, c->iov[i].iov_len);
		at += c->iov[i].iov_len;
	}
	hd_count(d, VQT_HD_tx_frames, 1);
	hd_count(d, VQT_HD_tx_bytes, c->out_len);
	hd_count(d, VQT_HD_tx_copied_bytes, c->out_len);
	return 0;
}

/* Its iovecs add up to what it says: their memory is the front-end's word. */
static bool small(const struct vqt_chain *c)
{
	size_t sum = 0;

	if (c->out_len > VQT_SMALL)
		return false;
	for (unsigned i = 0; i < c->nout; i++)
		sum += c->iov[i].iov_len;
	return sum == c->out_len;
}

/* 0: the chain is done with; 1: it is lent; -EAGAIN: nothing happened. */
static int send_frame(struct vqt_vq *q, const struct vqt_chain *c)
{
	enum vqt_hdev_counter why = refuse(c);
	int rc = 0;

	if (why == VQT_HDEV_NCOUNTERS) {
		rc = q->tx ? lent_send(q, c) : 0;
		if (rc > 0)
			return rc;
		if (!rc)
			rc = small(c) ? send_small(q, c) : send_bytes(q, c->iov, c->nout, c->out_len);
	}
	if (rc == -EAGAIN)
		return rc;
	if (rc) /* the iovecs do not add up to what the chain says */
		why = VQT_HD_drop_tx_long;
	if (why != VQT_HDEV_NCOUNTERS)
		hd_count(q->dev, why, 1);
	return 0;
}

void vqt_host_announce(struct vqt_hdev *d, const uint8_t mac[6])
{
	/* RFC 903, "request reverse", to all; sender and target are the guest, whose address is not known. */
	static const uint8_t rarp[] = {0x80, 0x35, 0, 1, 8, 0, 6, 4, 0, 3};
	uint8_t frame[VQT_NET_HDR + ETHER_MIN] = {0}, *eth = frame + VQT_NET_HDR;
	struct iovec iov = {frame, sizeof(frame)};

	if (!d->bound || d->cfg.type != VQT_NET)
		return;
	memset(eth, 0xff, 6);
	memcpy(eth + 6, mac, 6);
	memcpy(eth + 12, rarp, sizeof(rarp));
	memcpy(eth + 22, mac, 6);
	memcpy(eth + 32, mac, 6);
	if (!send_bytes(&d->vq[1], &iov, 1, sizeof(frame)))
		hd_count(d, VQT_HD_announced, 1);
}

unsigned tx_turn(struct vqt_vq *q)
{
	const struct vqt_ring_ops *ops = q->dev->cfg.ring_ops;
	struct vqt_chain *c = &q->dev->host->chain;
	uint32_t bytes = 0;
	unsigned n;

	for (n = 0; n < VQT_TURN_CHAINS && bytes < VQT_TURN_BYTES; n++) {
		int rc;

		if (!list_empty(&q->blocked[RT_NET]) || (q->tx && !lent_again(q)) || q->state != VQ_RUNNING ||
		    (q->tx && lent_full(q)))
			return vqt_cost(n, bytes);
		rc = ops->pop(q->ring, c);
		if (rc < 0)
			vq_broken(q, "transmit ring: malformed");
		if (rc <= 0)
			return vqt_cost(n, bytes);
		rc = send_frame(q, c);
		if (rc < 0) {
			ops->unpop(q->ring, 1);
			return vqt_cost(n, bytes);
		}
		if (rc)
			continue; /* and was touched by nobody */
		lent_push(q, c);
		bytes += c->out_len;
	}
	vq_ready(q);
	return vqt_cost(n, bytes);
}

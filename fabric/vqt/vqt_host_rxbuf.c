/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's receive buffers for the one frame that is next in order.
 *
 * All chains a frame needs are taken before its first byte is placed, as its length is known from any
 * piece; so pieces may come in any order, num_buffers is known, and a frame that is given up leaves the
 * ring as it was. Chains are kept in a compact form: a struct vqt_chain each would be half a megabyte
 * per queue.
 */
#include <errno.h>
#include <string.h>

#include "fabric/base/guard.h"
#include "fabric/vqt/vqt_host_int.h"

/* Keep a chain for the frame; false: no place. */
static bool keep(struct vqt_rx *rx, uint32_t token, uint32_t in_len, const struct iovec *iov, uint16_t nin)
{
	struct rx_chain *k = &rx->chains[rx->nchains];

	if (rx->nchains == VQT_RX_CHAINS || nin > VQT_RX_IOV - rx->niov)
		return false;
	*k = (struct rx_chain){token, in_len, nin, (uint16_t)rx->niov};
	memcpy(&rx->iov[rx->niov], iov, nin * sizeof(struct iovec));
	rx->niov += nin;
	rx->nchains++;
	return true;
}

static void forget(struct vqt_rx *rx)
{
	rx->nchains = rx->niov = rx->nposted = 0;
	rx->at = (struct vqt_at){0, 0};
}

/* Those of the ring, and n popped since. */
static int give_back(struct vqt_vq *q, unsigned n, int err)
{
	n += q->rx->nchains - q->rx->nposted;
	if (n)
		q->dev->cfg.ring_ops->unpop(q->ring, n);
	forget(q->rx);
	return err;
}

/* One more chain: 0, or its length in *len; see rx_reserve(). */
static int reserve_one(struct vqt_vq *q, uint32_t *len)
{
	struct vqt_chain *c = &q->dev->host->chain;
	struct vqt_rx *rx = q->rx;
	const struct rx_post *k = posts_at(rx->posts, rx->nposted);
	int rc;

	if (!GUARD(posted_first, !k)) {
		if (!keep(rx, k->token, k->in_len, posts_iov(rx->posts, k), k->nin))
			return give_back(q, 0, -E2BIG);
		rx->nposted++;
		*len = k->in_len;
		return 0;
	}
	rc = q->dev->cfg.ring_ops->pop(q->ring, c);
	if (rc < 0) {
		forget(rx);
		vq_broken(q, "receive ring: malformed");
		return -EBADMSG;
	}
	if (!rc)
		return give_back(q, 0, -EAGAIN);
	if (!keep(rx, c->token, c->in_len, &c->iov[c->nout], c->nin))
		return give_back(q, 1, -E2BIG);
	*len = c->in_len;
	return 0;
}

int rx_reserve(struct vqt_vq *q, uint32_t total)
{
	uint64_t have = 0;
	uint32_t len = 0;

	forget(q->rx);
	while (have < total) {
		int rc = reserve_one(q, &len);

		if (rc)
			return rc;
		have += len;
		if (!q->mergeable && have < total)
			return give_back(q, 0, -EMSGSIZE);
	}
	return 0;
}

void rx_unreserve(struct vqt_vq *q)
{
	/* Of a queue that does not run, chains are void already. */
	if (q->state == VQ_RUNNING)
		give_back(q, 0, 0);
	else
		forget(q->rx);
}

void rx_write(struct vqt_rx *rx, uint32_t off, const uint8_t *data, uint32_t len)
{
	vqt_iov_write(rx->iov, rx->niov, &rx->at, off, data, len);
}

uint32_t rx_give_burst(struct vqt_vq *q, const uint8_t *data, uint32_t len, uint32_t *frames, uint32_t *bytes)
{
	const struct vqt_ring_ops *ops = q->dev->cfg.ring_ops;
	struct vqt_piece p[VQT_BURST];
	uint32_t at = 0, one;
	unsigned n = 0, i;

	if (!ops->pop_burst || q->state != VQ_RUNNING || posts_at(q->rx->posts, 0))
		return 0;
	for (; n < VQT_BURST && at < len && (one = vqt_small_len(data + at, len - at)); n++)
		at += VQT_SMALL_LEN + one;
	n = n ? ops->pop_burst(q->ring, p, n, true, INT32_MAX) : 0;
	for (at = i = 0; i < n; i++, at += VQT_SMALL_LEN + one) {
		one = vqt_small_len(data + at, len - at);
		if (p[i].len < one)
			break;
		vqt_copy_short(p[i].at, data + at + VQT_SMALL_LEN, one);
		p[i].at[VQT_NUM_BUFFERS] = 1;
		p[i].at[VQT_NUM_BUFFERS + 1] = 0;
		p[i].written = one;
		*bytes += one;
	}
	if (i < n)
		ops->unpop(q->ring, n - i);
	if (i)
		ops->push_burst(q->ring, p, i);
	*frames += i;
	return at;
}

int rx_give(struct vqt_vq *q, const uint8_t *data, uint32_t len)
{
	struct vqt_chain *c = &q->dev->host->chain;
	bool ahead = posts_at(q->rx->posts, 0) != NULL;
	int rc = ahead ? 0 : q->dev->cfg.ring_ops->pop(q->ring, c);

	/* One buffer, in one piece, that holds it: what drivers post. */
	if (rc == 1 && c->nin == 1 && c->iov[c->nout].iov_len >= len) {
		uint8_t *at = c->iov[c->nout].iov_base;

		memcpy(at, data, VQT_NUM_BUFFERS);
		at[VQT_NUM_BUFFERS] = 1;
		at[VQT_NUM_BUFFERS + 1] = 0;
		memcpy(at + VQT_NET_HDR, data + VQT_NET_HDR, len - VQT_NET_HDR);
		q->dev->cfg.ring_ops->push(q->ring, c, len);
		return 0;
	}
	if (!rc && !ahead)
		return -EAGAIN;
	if (rc == 1)
		q->dev->cfg.ring_ops->unpop(q->ring, 1);
	rc = rx_reserve(q, len);
	if (rc)
		return rc;
	rx_write(q->rx, 0, data, len);
	rx_commit(q, len);
	return 0;
}

/* The frame stands in the chains: complete them in order (virtio 1.2 section 5.1.6.4). */
void rx_commit(struct vqt_vq *q, uint32_t total)
{
	struct vqt_chain *c = &q->dev->host->chain;
	struct vqt_rx *rx = q->rx;
	unsigned n = q->mergeable ? rx->nchains : 1;
	uint8_t num_buffers[2] = {(uint8_t)n, (uint8_t)(n >> 8)};

	rx->at = (struct vqt_at){0, 0};
	rx_write(rx, VQT_NUM_BUFFERS, num_buffers, sizeof(num_buffers));
	for (unsigned i = 0; i < rx->nchains; i++) {
		const struct rx_chain *k = &rx->chains[i];
		uint32_t written = k->in_len < total ? k->in_len : total;

		c->token = k->token;
		c->nout = 0;
		c->nin = k->nin;
		c->out_len = 0;
		c->in_len = k->in_len;
		memcpy(c->iov, &rx->iov[k->iov], k->nin * sizeof(struct iovec));
		q->dev->cfg.ring_ops->push(q->ring, c, written);
		total -= written;
	}
	posts_used(q, rx->nposted);
	forget(rx);
	vq_dirty(q);
}

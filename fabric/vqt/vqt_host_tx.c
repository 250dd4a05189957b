/* SPDX-License-Identifier: Apache-2.0 */
/* Guest to appliance: each transmit chain is one frame; its bytes are copied into the transport and the
 * chain goes back at once (virtio 1.2 section 5.1.6.2), or it is lent (vqt_host_lent.c). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fabric/vqt/vqt_host_int.h"

#define ETHER_MIN 60u /* shortest Ethernet frame, without FCS */

/* What is taken in bursts: a burst is no more than a turn. */
#define PIECE_MAX (VQT_TURN_BYTES / VQT_TURN_CHAINS)

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

/* Small frames of a turn that stand one behind the other in the message that grows: the transport and the
 * counters hear of all of them at once. */
struct run {
	uint8_t *at;		/* of the next */
	uint32_t room;		/* from there */
	uint32_t told, len;	/* bytes that the transport knows of; bytes in all */
	uint32_t frames, bytes; /* of guests */
};

static struct rt_rec run_rec(const struct vqt_vq *q, uint32_t pos)
{
	return (struct rt_rec){.kind = VQT_FRAMES, .queue = (uint8_t)(q->index / 2), .id = pos};
}

static void run_end(struct vqt_vq *q, struct run *r)
{
	struct rt_rec rec = run_rec(q, q->run_pos);
	struct vqt_hdev *d = q->dev;

	if (r->len > r->told) {
		if (!hd_grow(q, RT_NET, &rec, r->len - r->told)) /* cannot be: hd_growth() said so */
			abort();
		q->run_len += r->len - r->told;
		q->tx_pos = q->run_pos + vqt_span(q->run_len);
	}
	if (r->frames) {
		hd_count(d, VQT_HD_tx_frames, r->frames);
		hd_count(d, VQT_HD_tx_bytes, r->bytes);
		hd_count(d, VQT_HD_tx_copied_bytes, r->bytes);
	}
	*r = (struct run){.at = NULL};
}

/* Room for need bytes: in the message that is open, or in a new one. */
static int run_next(struct vqt_vq *q, struct run *r, uint32_t need)
{
	struct rt_rec rec;
	uint32_t more;
	int rc;

	run_end(q, r);
	rec = run_rec(q, q->run_pos);
	if (q->run_len)
		r->at = hd_growth(q, RT_NET, &rec, &r->room);
	if (r->at && r->room >= need)
		return 0;
	rec.id = q->tx_pos;
	r->room = 0;
	rc = hd_begin(q, RT_NET, q->dev->b.rel, &rec, need, &r->at);
	if (rc)
		return rc;
	q->run_pos = q->tx_pos;
	q->run_len = need;
	q->tx_pos += vqt_span(need);
	r->told = r->room = need;
	if (hd_growth(q, RT_NET, &rec, &more))
		r->room += more;
	return 0;
}

/* The bytes of a small chain, with others in one message. */
static inline int send_small(struct vqt_vq *q, const struct iovec *iov, unsigned n, uint32_t len,
			     struct run *r)
{
	uint32_t need = VQT_SMALL_LEN + len;
	uint8_t *at;

	if (r->room < need) {
		int rc = run_next(q, r, need);

		if (rc)
			return rc;
	}
	vqt_small_put_len(r->at, len);
	at = r->at + VQT_SMALL_LEN;
	for (unsigned i = 0; i < n; i++) {
		memcpy(at, iov[i].iov_base, iov[i].iov_len);
		at += iov[i].iov_len;
	}
	r->at = at;
	r->room -= need;
	r->len += need;
	r->frames++;
	r->bytes += len;
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
static int send_frame(struct vqt_vq *q, const struct vqt_chain *c, struct run *r)
{
	enum vqt_hdev_counter why = refuse(c);
	int rc = 0;

	if (why == VQT_HDEV_NCOUNTERS) {
		rc = q->tx ? lent_send(q, c) : 0;
		if (rc > 0)
			return rc;
		if (!rc && small(c)) {
			rc = send_small(q, c->iov, c->nout, c->out_len, r);
			if (q->tx) /* what is lent is sent in between */
				run_end(q, r);
		} else if (!rc) {
			run_end(q, r);
			rc = send_bytes(q, c->iov, c->nout, c->out_len);
		}
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

/* A frame in one piece. 0: it is done with; -EAGAIN: nothing happened. */
static inline int send_piece(struct vqt_vq *q, const struct vqt_piece *p, struct run *r)
{
	struct iovec iov = {p->at, p->len};

	if (p->len < VQT_FRAME_MIN) {
		hd_count(q->dev, VQT_HD_drop_tx_short, 1);
		return 0;
	}
	if (p->len <= VQT_SMALL)
		return send_small(q, &iov, 1, p->len, r);
	run_end(q, r);
	return send_bytes(q, &iov, 1, p->len);
}

/* Frames in one piece each that are not large: most are. 1: there may be more; 0: none of these is next;
 * -EAGAIN.
 */
static int take_burst(struct vqt_vq *q, struct run *run, unsigned *n, uint32_t *bytes)
{
	const struct vqt_ring_ops *ops = q->dev->cfg.ring_ops;
	struct vqt_piece p[VQT_BURST];
	unsigned got, i;
	int rc = 0;

	if (q->tx || !ops->pop_burst)
		return 0;
	got = VQT_TURN_CHAINS - *n < VQT_BURST ? VQT_TURN_CHAINS - *n : VQT_BURST;
	got = ops->pop_burst(q->ring, p, got, false, PIECE_MAX);
	for (i = 0; i < got; i++) {
		rc = send_piece(q, &p[i], run);
		if (rc)
			break;
		*bytes += p[i].len;
		p[i].written = 0;
	}
	if (i < got)
		ops->unpop(q->ring, got - i);
	if (i) {
		ops->push_burst(q->ring, p, i);
		vq_dirty(q);
	}
	*n += i;
	return rc ? rc : got > 0;
}

/* True: there may be more. */
static bool take_chains(struct vqt_vq *q, struct run *run, unsigned *n, uint32_t *bytes)
{
	const struct vqt_ring_ops *ops = q->dev->cfg.ring_ops;
	struct vqt_chain *c = &q->dev->host->chain;

	while (*n < VQT_TURN_CHAINS && *bytes < VQT_TURN_BYTES) {
		int rc;

		if (!list_empty(&q->blocked[RT_NET]) || (q->tx && !lent_again(q)) || q->state != VQ_RUNNING ||
		    (q->tx && lent_full(q)))
			return false;
		rc = take_burst(q, run, n, bytes);
		if (rc < 0)
			return false;
		if (rc)
			continue;
		rc = ops->pop(q->ring, c);
		if (rc < 0) {
			run_end(q, run);
			vq_broken(q, "transmit ring: malformed");
		}
		if (rc <= 0)
			return false;
		rc = send_frame(q, c, run);
		if (rc < 0) {
			ops->unpop(q->ring, 1);
			return false;
		}
		++*n;
		if (rc)
			continue; /* and was touched by nobody */
		lent_push(q, c);
		*bytes += c->out_len;
	}
	return true;
}

unsigned tx_turn(struct vqt_vq *q)
{
	struct run run = {.at = NULL};
	uint32_t bytes = 0;
	unsigned n = 0;

	if (take_chains(q, &run, &n, &bytes))
		vq_ready(q);
	run_end(q, &run);
	return vqt_cost(n, bytes);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "appliance/device/vnic.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>

#include "appliance/device/shape.h"

COUNTERS_DEFINE(vnic, VNIC_COUNTERS)

#define KEPT_FREE 256u /* buffers of vnic_world.kept that frames which wait leave alone */

struct vqueue {
	struct frame *head, *tail; /* waiting for credit or room: copies, see vnic_world.waiting */
	uint32_t frames, bytes, bufs;
};

struct vnic {
	struct device dev; /* first */
	struct vnic_cfg cfg;
	struct vnic_world world;
	struct vqt_dev *tun; /* NULL: not bound */
	void *session;
	uint64_t features; /* of the guest */
	unsigned pairs;	   /* that receive */
	struct vqueue q[VNIC_PAIRS];
	uint64_t now; /* of the last delivery, for what is sent from callbacks */
	uint64_t counters[VNIC_NCOUNTERS];
	uint64_t tunnel[VQT_DEV_NCOUNTERS];	 /* published: all attachments */
	uint64_t tunnel_base[VQT_DEV_NCOUNTERS]; /* of former ones */
};

uint64_t vnic_features(const struct vnic_cfg *cfg)
{
	uint64_t f = 1ull << VIRTIO_NET_F_CSUM | 1ull << VIRTIO_NET_F_GUEST_CSUM |
		     1ull << VIRTIO_NET_F_HOST_TSO4 | 1ull << VIRTIO_NET_F_HOST_TSO6 |
		     1ull << VIRTIO_NET_F_HOST_ECN | 1ull << VIRTIO_NET_F_GUEST_TSO4 |
		     1ull << VIRTIO_NET_F_GUEST_TSO6 | 1ull << VIRTIO_NET_F_GUEST_ECN |
		     1ull << VIRTIO_NET_F_MRG_RXBUF | 1ull << VIRTIO_NET_F_MAC | 1ull << VIRTIO_NET_F_STATUS |
		     1ull << VIRTIO_NET_F_MTU | 1ull << VIRTIO_NET_F_GUEST_ANNOUNCE |
		     1ull << VIRTIO_F_IN_ORDER | 1ull << VIRTIO_RING_F_INDIRECT_DESC |
		     1ull << VIRTIO_RING_F_EVENT_IDX | 1ull << VIRTIO_F_VERSION_1 |
		     1ull << VIRTIO_F_RING_PACKED;

	if (cfg->pairs > 1)
		f |= 1ull << VIRTIO_NET_F_MQ;
	return f;
}

void vnic_config(const struct vnic_cfg *cfg, bool link_up, uint8_t out[VNIC_CONFIG_LEN])
{
	memcpy(out, cfg->mac, 6);
	out[6] = link_up ? VIRTIO_NET_S_LINK_UP : 0;
	out[7] = 0;
	out[8] = (uint8_t)cfg->pairs;
	out[9] = 0;
	out[10] = (uint8_t)cfg->mtu;
	out[11] = (uint8_t)(cfg->mtu >> 8);
}

static void count(struct vnic *v, enum vnic_counter c, uint64_t n)
{
	counter_add(&v->counters[c], n);
}

/* An Ethernet frame longer than this is a super-frame. */
static uint32_t whole(const struct vnic *v)
{
	return v->cfg.mtu + 14 + 4;
}

static void from_guest(struct device *d, unsigned pair, struct frame *f)
{
	struct vnic *v = (struct vnic *)d;
	uint32_t len = f->len - VQT_NET_HDR;

	(void)pair;
	count(v, VNIC_C_tx_frames, 1);
	count(v, VNIC_C_tx_bytes, len);
	if (len > whole(v))
		count(v, VNIC_C_tx_super, 1);
	v->world.forward(v->world.ctx, v->cfg.port, f);
}

/* 0: sent or dropped; -EAGAIN: the frame stays with the caller. */
static int try_send(struct vnic *v, unsigned pair, struct frame *f)
{
	uint32_t len = f->len - VQT_NET_HDR;
	int r = vqt_dev_send(v->tun, pair, f, v->now);

	v->world.touched(v->session); /* if it is refused, there may be something to say of that */
	if (r == -EAGAIN)
		return r;
	if (r) {
		count(v, VNIC_C_drop_rx_too_long, 1);
	} else {
		count(v, VNIC_C_rx_frames, 1);
		count(v, VNIC_C_rx_bytes, len);
		if (len > whole(v))
			count(v, VNIC_C_rx_super, 1);
	}
	frame_put(f);
	return 0;
}

static void drain(struct device *d, unsigned pair)
{
	struct vnic *v = (struct vnic *)d;
	struct vqueue *q = &v->q[pair];

	while (q->head && v->tun) {
		struct frame *f = q->head, *next = f->next;
		uint32_t len = f->len, bufs = f->nseg;

		f->next = NULL;
		if (try_send(v, pair, f)) {
			f->next = next;
			return;
		}
		q->head = next;
		q->frames--;
		q->bytes -= len;
		q->bufs -= bufs;
	}
}

/* It may wait where it is: there is enough of that for others. */
static bool may_stay(const struct vnic *v, const struct frame *f)
{
	const struct buf_pool *kept = v->world.kept;

	return kept && f->nseg == 1 && f->seg[0].buf && f->seg[0].buf->owner == kept &&
	       buf_pool_available(kept) > KEPT_FREE;
}

/* The same bytes in buffers made for waiting; NULL: this queue has its share of them. */
static struct frame *copy_to_wait(struct vnic *v, const struct vqueue *q, const struct frame *f)
{
	struct buf_pool *bufs = v->world.waiting;
	struct frame *g = NULL;

	if (q->frames < frame_pool_available(v->world.frames) / 4)
		g = frame_get(v->world.frames);
	if (g && may_stay(v, f)) {
		frame_add(g, f->seg[0].data, f->len, f->seg[0].buf);
		return g;
	}
	count(v, VNIC_C_rx_wait_copied_bytes, f->len);
	for (uint32_t at = 0; g && at < f->len;) {
		struct buf *b = q->bufs + g->nseg < buf_pool_available(bufs) / 4 ? buf_get(bufs) : NULL;

		if (!b) {
			frame_put(g);
			return NULL;
		}
		at += frame_read(f, at, b->base, b->size);
		if (frame_add(g, b->base, at - g->len, b)) {
			buf_put(b);
			frame_put(g);
			return NULL;
		}
		buf_put(b);
	}
	return g;
}

static void send_or_queue(struct vnic *v, unsigned pair, struct frame *in)
{
	struct vqueue *q = &v->q[pair];
	struct frame *f;

	if (!q->head && !try_send(v, pair, in))
		return;
	if (q->frames == VNIC_QUEUE_MAX || q->bytes + in->len > VNIC_QUEUE_BYTES) {
		count(v, VNIC_C_drop_rx_queue_full, 1);
		frame_put(in);
		return;
	}
	f = copy_to_wait(v, q, in);
	frame_put(in);
	if (!f) {
		count(v, VNIC_C_drop_rx_no_memory, 1);
		return;
	}
	count(v, VNIC_C_rx_queued, 1);
	f->next = NULL;
	if (q->head)
		q->tail->next = f;
	else
		q->head = f;
	q->tail = f;
	q->frames++;
	q->bytes += f->len;
	q->bufs += f->nseg;
}

struct shaped {
	struct vnic *v;
	unsigned pair;
};

static void shaped_out(void *ctx, struct frame *f)
{
	struct shaped *s = ctx;

	send_or_queue(s->v, s->pair, f);
}

/* Queue pair by the hash of the addresses, so that a flow stays in order. */
static unsigned pick_pair(const struct vnic *v, const struct frame *f)
{
	uint8_t h[64];
	uint32_t n, hash = 2166136261u;

	if (v->pairs == 1)
		return 0;
	/* IPv4 addresses and ports, or most of the IPv6 addresses: constant within a flow. */
	n = frame_read(f, VQT_NET_HDR, h, sizeof(h));
	for (uint32_t i = 26; i < n && i < 38; i++)
		hash = (hash ^ h[i]) * 16777619u;
	return hash % v->pairs;
}

void vnic_deliver(struct vnic *v, struct frame *f, uint64_t now)
{
	struct shaped s = {.v = v};
	enum shape_result r;

	v->now = now;
	if (!v->tun || !v->pairs) {
		count(v, VNIC_C_drop_rx_detached, 1);
		frame_put(f);
		return;
	}
	s.pair = pick_pair(v, f);
	r = shape_for_guest(f, v->features, v->cfg.mtu, v->world.frames, v->world.bufs, shaped_out, &s);
	switch (r) {
	case SHAPE_AS_IT_IS:
		send_or_queue(v, s.pair, f);
		return;
	case SHAPE_CHECKSUMMED:
		count(v, VNIC_C_rx_checksummed, 1);
		break;
	case SHAPE_SEGMENTED:
		count(v, VNIC_C_rx_segmented, 1);
		break;
	case SHAPE_FAILED:
		count(v, VNIC_C_drop_rx_offload, 1);
		break;
	}
	frame_put(f);
}

static void drained(struct device *d)
{
	(void)d; /* a network device has nothing at a backend */
}

static void request(struct device *d, struct vqt_req *r)
{
	(void)d;
	vqt_dev_complete(r, 0, 0, 0); /* cannot come on a network device; the tunnel refuses it */
}

static const struct device_ops vnic_ops = {
	.frame = from_guest,
	.writable = drain,
	.request = request,
	.drained = drained,
};

struct vnic *vnic_create(const struct vnic_cfg *cfg)
{
	struct vnic *v = calloc(1, sizeof(*v));

	if (!v)
		return NULL;
	v->dev.ops = &vnic_ops;
	v->cfg = *cfg;
	return v;
}

void vnic_destroy(struct vnic *v)
{
	free(v);
}

const uint64_t *vnic_counters(const struct vnic *v)
{
	return v->counters;
}

const uint64_t *vnic_tunnel_counters(const struct vnic *v)
{
	return v->tunnel;
}

int vnic_bind(struct vnic *v, const struct vnic_world *world, struct vqt_peer *peer, void *session,
	      uint16_t wire, uint32_t epoch, uint32_t window, enum rt_rel rel)
{
	struct vqt_dev_cfg c = {
		.type = VQT_NET,
		.user = &v->dev,
		.wire = wire,
		.epoch = epoch,
		.nvq = 2 * v->cfg.pairs,
		.window = window,
		.rel = rel,
	};
	int r;

	if (v->tun)
		return -EALREADY;
	v->world = *world;
	v->session = session;
	v->tun = vqt_peer_attach(peer, &c, &r);
	return v->tun ? 0 : r;
}

void vnic_publish(struct vnic *v)
{
	const uint64_t *c = v->tun ? vqt_dev_counters(v->tun) : NULL;

	for (unsigned i = 0; c && i < VQT_DEV_NCOUNTERS; i++)
		counter_add(&v->tunnel[i], v->tunnel_base[i] + c[i] - v->tunnel[i]);
}

void vnic_unbind(struct vnic *v)
{
	if (!v->tun)
		return;
	vnic_publish(v);
	memcpy(v->tunnel_base, v->tunnel, sizeof(v->tunnel_base));
	for (unsigned i = 0; i < VNIC_PAIRS; i++) {
		while (v->q[i].head) {
			struct frame *f = v->q[i].head;

			v->q[i].head = f->next;
			f->next = NULL;
			count(v, VNIC_C_drop_rx_detached, 1);
			frame_put(f);
		}
		v->q[i] = (struct vqueue){0};
	}
	vqt_peer_detach(v->tun);
	v->tun = NULL;
	v->session = NULL;
	v->pairs = 0;
	v->features = 0;
}

void vnic_guest(struct vnic *v, uint64_t features, unsigned pairs)
{
	v->features = features;
	v->pairs = pairs < v->cfg.pairs ? pairs : v->cfg.pairs;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "appliance/port/port_dpdk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_ethdev.h>

#include "appliance/port/offload/offload.h"
#include "fabric/dpdk/ethdev.h"
#include "fabric/dpdk/mbuf.h"

#define MACS	   12u
#define ETHER	   14u
#define TAG	   4u
#define ETH_8021Q  0x8100u
#define VID	   0x0fffu
#define DATA_VALID 2u /* VIRTIO_NET_HDR_F_DATA_VALID: virtio 1.2, 5.1.6 */

struct port_dpdk {
	struct port base;
	struct ethdev dev;
	struct frame_pool *frames;
	unsigned ntx;
	struct rte_mbuf *rx[ETHDEV_BURST];
	struct rte_mbuf *tx[ETHDEV_BURST];
};

/* struct virtio_net_hdr_v1 of a received frame: no offloads, num_buffers 1 (little-endian). */
static const uint8_t hdr_plain[PORT_VNET_HDR] = {[10] = 1};
static const uint8_t hdr_valid[PORT_VNET_HDR] = {DATA_VALID, [10] = 1};

static void count(struct port_dpdk *d, enum port_counter c, uint64_t n)
{
	counter_add(&d->base.counters[c], n);
}

/* Takes the outermost tag out of the frame. A device that has done so already says it in the flags;
 * af_packet puts the tag back into the frame and sets RX_VLAN all the same, so that flag alone means nothing.
 */
static uint16_t take_vlan(struct rte_mbuf *m)
{
	uint8_t *frame = rte_pktmbuf_mtod(m, uint8_t *);
	uint16_t tci;

	if (m->ol_flags & RTE_MBUF_F_RX_VLAN_STRIPPED)
		return m->vlan_tci & VID;
	if (m->data_len < ETHER + TAG || (frame[12] << 8 | frame[13]) != ETH_8021Q)
		return PORT_VLAN_NONE;
	tci = (uint16_t)(frame[14] << 8 | frame[15]);
	memmove(frame + TAG, frame, MACS);
	rte_pktmbuf_adj(m, TAG);
	return tci & VID;
}

/* The virtio header in the mbuf's headroom, or as a piece of its own where there is no room. */
static int add_header(struct frame *f, struct rte_mbuf *m)
{
	const uint64_t good = m->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK;
	const uint8_t *hdr = good == RTE_MBUF_F_RX_L4_CKSUM_GOOD ? hdr_valid : hdr_plain;
	char *room = rte_pktmbuf_prepend(m, PORT_VNET_HDR);

	if (room) {
		memcpy(room, hdr, PORT_VNET_HDR);
		return 0;
	}
	return frame_add(f, hdr, PORT_VNET_HDR, NULL);
}

/* Every piece of the chain becomes a piece of the frame, with a reference of its own. Takes the chain. */
static int add_pieces(struct frame *f, struct rte_mbuf *m)
{
	int err = 0;

	while (m) {
		struct rte_mbuf *next = m->next;
		struct buf *b;

		m->next = NULL;
		m->nb_segs = 1;
		b = mbuf_wrap(m);
		if (!err && m->data_len)
			err = frame_add(f, rte_pktmbuf_mtod(m, uint8_t *), m->data_len, b);
		buf_put(b); /* the frame holds it now, or nobody */
		m = next;
	}
	return err;
}

/* One received mbuf as a frame; NULL: dropped and counted. Takes the mbuf. */
static struct frame *take(struct port_dpdk *d, struct rte_mbuf *m, uint16_t *vlan)
{
	uint32_t bytes = m->pkt_len;
	struct frame *f = NULL;
	enum port_counter why;
	int err;

	if (m->data_len < ETHER) {
		why = PORT_C_drop_rx_short;
	} else if (memcmp(rte_pktmbuf_mtod(m, uint8_t *) + 6, d->dev.mac, 6) == 0) {
		why = PORT_C_drop_rx_loop;
	} else {
		f = frame_get(d->frames);
		why = PORT_C_drop_rx_noframe;
	}
	if (!f) {
		count(d, why, 1);
		rte_pktmbuf_free(m);
		return NULL;
	}
	*vlan = take_vlan(m);
	err = add_header(f, m);
	if (add_pieces(f, m) || err) {
		count(d, PORT_C_drop_rx_pieces, 1);
		frame_put(f);
		return NULL;
	}
	count(d, PORT_C_rx_frames, 1);
	count(d, PORT_C_rx_bytes, bytes);
	return f;
}

static int dpdk_recv(struct port *p, struct port_rx *rx, int max)
{
	struct port_dpdk *d = (struct port_dpdk *)p;
	int n = 0;

	while (n < max) {
		uint16_t want = max - n < ETHDEV_BURST ? (uint16_t)(max - n) : ETHDEV_BURST;
		uint16_t got = rte_eth_rx_burst(d->dev.port_id, 0, d->rx, want);

		for (uint16_t i = 0; i < got; i++) {
			rx[n].frame = take(d, d->rx[i], &rx[n].vlan);
			n += rx[n].frame != NULL;
		}
		if (got < want)
			break;
	}
	return n;
}

static void flush(struct port_dpdk *d)
{
	uint16_t sent;

	if (!d->ntx)
		return;
	sent = rte_eth_tx_burst(d->dev.port_id, 0, d->tx, (uint16_t)d->ntx);
	count(d, PORT_C_tx_packets, sent);
	for (unsigned i = sent; i < d->ntx; i++) {
		count(d, PORT_C_drop_tx_full, 1);
		rte_pktmbuf_free(d->tx[i]);
	}
	d->ntx = 0;
}

static enum port_counter drop_name(int err)
{
	switch (err) {
	case -EINVAL:
		return PORT_C_drop_tx_short;
	case -EPERM:
		return PORT_C_drop_tx_tagged;
	case -EMSGSIZE:
		return PORT_C_drop_tx_oversize;
	default:
		return PORT_C_drop_tx_header;
	}
}

/* The packets of one frame. False: none or not all were queued, counted. */
static bool send_one(struct port_dpdk *d, const struct port_tx *tx)
{
	struct offload o;
	uint32_t longest;
	int err = offload_plan(&o, tx->frame, d->base.mtu, tx->vlan);

	if (err) {
		count(d, drop_name(err), 1);
		return false;
	}
	if (o.kind != OFFLOAD_PLAIN)
		count(d, o.kind == OFFLOAD_CSUM ? PORT_C_tx_checksummed : PORT_C_tx_segmented, 1);
	longest = offload_longest(&o);
	for (uint32_t i = 0; i < o.packets; i++) {
		struct rte_mbuf *m = rte_pktmbuf_alloc(d->dev.pool);
		uint32_t len;

		if (!m || longest > rte_pktmbuf_tailroom(m)) {
			rte_pktmbuf_free(m);
			count(d, PORT_C_drop_tx_nobuf, 1);
			return false;
		}
		len = offload_write(&o, tx->frame, i, rte_pktmbuf_mtod(m, uint8_t *));
		m->data_len = (uint16_t)len;
		m->pkt_len = len;
		count(d, PORT_C_tx_bytes, len);
		d->tx[d->ntx++] = m;
		if (d->ntx == ETHDEV_BURST)
			flush(d);
	}
	return true;
}

static int dpdk_send(struct port *p, const struct port_tx *tx, int n)
{
	struct port_dpdk *d = (struct port_dpdk *)p;
	int taken = 0;

	for (int i = 0; i < n; i++)
		taken += send_one(d, &tx[i]);
	flush(d);
	count(d, PORT_C_tx_frames, (uint64_t)n);
	return taken;
}

static void dpdk_mac(const struct port *p, uint8_t mac[6])
{
	memcpy(mac, ((const struct port_dpdk *)p)->dev.mac, 6);
}

static bool dpdk_link_up(const struct port *p)
{
	return ethdev_link_up(&((const struct port_dpdk *)p)->dev);
}

static void dpdk_destroy(struct port *p)
{
	struct port_dpdk *d = (struct port_dpdk *)p;

	ethdev_close(&d->dev);
	free(d);
}

static const struct port_ops dpdk_ops = {
	.recv = dpdk_recv,
	.send = dpdk_send,
	.mac = dpdk_mac,
	.link_up = dpdk_link_up,
	.destroy = dpdk_destroy,
};

struct port *port_dpdk_create(const struct port_dpdk_cfg *cfg, int *err, char *why, size_t why_len)
{
	/* Guests have MAC addresses of their own. */
	struct ethdev_cfg dev = {.dev = cfg->dev, .mtu = cfg->mtu, .mbufs = cfg->mbufs, .promiscuous = true};
	struct port_dpdk *d = calloc(1, sizeof(*d));

	if (!d) {
		*err = -ENOMEM;
		snprintf(why, why_len, "%s: no memory", cfg->dev);
		return NULL;
	}
	*err = ethdev_open(&d->dev, &dev, why, why_len);
	if (*err) {
		free(d);
		return NULL;
	}
	d->base.ops = &dpdk_ops;
	d->base.name = d->dev.devname;
	d->base.mtu = d->dev.mtu;
	d->frames = cfg->frames;
	return &d->base;
}

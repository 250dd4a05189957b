/* SPDX-License-Identifier: Apache-2.0 */
#include "fabric/link/dpdk/link_dpdk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_ethdev.h>

#include "fabric/base/counter.h"
#include "fabric/dpdk/ethdev.h"
#include "fabric/dpdk/mbuf.h"
#include "fabric/link/dpdk/packet.h"

#define IP_UDP_V4 (PACKET_HEADERS_V4 - 14)
#define IP_UDP_V6 (PACKET_HEADERS_V6 - 14)

struct link_dpdk {
	struct link base;
	struct ethdev dev;
	struct link_addr local;
	uint32_t headers;
	uint32_t max_payload;
	struct hops hops;
	unsigned ntx;
	struct rte_mbuf *tx[ETHDEV_BURST];
	struct rte_mbuf *rx[ETHDEV_BURST];
};

static void count(struct link_dpdk *d, enum link_counter c, uint64_t n)
{
	counter_add(&d->base.counters[c], n);
}

static bool take(struct link_dpdk *d, struct rte_mbuf *m, struct link_rx *rx)
{
	uint8_t *frame = rte_pktmbuf_mtod(m, uint8_t *);
	struct packet p;

	/* One piece each: no receive queue of ours scatters. */
	if (m->nb_segs != 1 || !packet_parse(&p, frame, m->data_len, d->dev.mac, &d->local)) {
		count(d, LINK_C_drop_rx_malformed, 1);
		rte_pktmbuf_free(m);
		return false;
	}
	*rx = (struct link_rx){
		.data = frame + p.off, .len = p.len, .buf = mbuf_wrap(m), .from = p.from, .ce = p.ce};
	count(d, LINK_C_rx_packets, 1);
	count(d, LINK_C_rx_bytes, p.len);
	return true;
}

static int dpdk_recv(struct link *l, struct link_rx *rx, int max)
{
	struct link_dpdk *d = (struct link_dpdk *)l;
	int n = 0;

	while (n < max) {
		uint16_t want = max - n < ETHDEV_BURST ? (uint16_t)(max - n) : ETHDEV_BURST;
		uint16_t got = rte_eth_rx_burst(d->dev.port_id, 0, d->rx, want);

		count(d, LINK_C_rx_calls, 1);
		for (uint16_t i = 0; i < got; i++)
			n += take(d, d->rx[i], &rx[n]);
		if (got < want)
			break;
	}
	return n;
}

static int flush(struct link_dpdk *d)
{
	unsigned sent;

	if (!d->ntx)
		return 0;
	sent = rte_eth_tx_burst(d->dev.port_id, 0, d->tx, (uint16_t)d->ntx);
	count(d, LINK_C_tx_calls, 1);
	count(d, LINK_C_tx_packets, sent);
	for (unsigned i = sent; i < d->ntx; i++) {
		count(d, LINK_C_drop_tx_full, 1);
		rte_pktmbuf_free(d->tx[i]);
	}
	d->ntx = 0;
	return (int)sent;
}

/* Counts and says why not. */
static bool may_send(struct link_dpdk *d, const struct link_tx *tx, const uint8_t **hop)
{
	if (tx->len == 0 || tx->len > d->max_payload) {
		count(d, LINK_C_drop_tx_error, 1);
		return false;
	}
	*hop = link_addr_is_v4(&tx->to) == link_addr_is_v4(&d->local) ? hops_get(&d->hops, tx->to.ip) : NULL;
	if (!*hop)
		count(d, LINK_C_drop_tx_noroute, 1);
	return *hop != NULL;
}

static int dpdk_send(struct link *l, const struct link_tx *tx, int n)
{
	struct link_dpdk *d = (struct link_dpdk *)l;
	int taken = 0;

	for (int i = 0; i < n; i++) {
		const uint8_t *hop;
		struct rte_mbuf *m;
		uint8_t *out;

		if (!may_send(d, &tx[i], &hop))
			continue;
		m = rte_pktmbuf_alloc(d->dev.pool);
		out = m ? (uint8_t *)rte_pktmbuf_append(m, (uint16_t)(d->headers + tx[i].len)) : NULL;
		if (!out) {
			count(d, LINK_C_drop_tx_full, 1);
			rte_pktmbuf_free(m);
			continue;
		}
		memcpy(out + d->headers, tx[i].data, tx[i].len);
		packet_write(out, d->dev.mac, hop, &d->local, &tx[i].to, tx[i].len);
		count(d, LINK_C_tx_bytes, tx[i].len);
		d->tx[d->ntx++] = m;
		if (d->ntx == ETHDEV_BURST)
			taken += flush(d);
	}
	return taken + flush(d);
}

static int dpdk_fd(struct link *l)
{
	(void)l;
	return -1;
}

static void dpdk_local(struct link *l, struct link_addr *addr, uint32_t *max_payload)
{
	const struct link_dpdk *d = (const struct link_dpdk *)l;

	*addr = d->local;
	*max_payload = d->max_payload;
}

static void dpdk_confirm(struct link *l, const struct link_rx *rx)
{
	struct link_dpdk *d = (struct link_dpdk *)l;
	struct rte_mbuf *m = mbuf_of(rx->buf);

	/* The payload's headers still stand before it: bytes 6 to 11 are who handed it to us. */
	if (m)
		hops_set(&d->hops, rx->from.ip, rte_pktmbuf_mtod(m, const uint8_t *) + PACKET_MAC);
}

static void dpdk_destroy(struct link *l)
{
	struct link_dpdk *d = (struct link_dpdk *)l;

	ethdev_close(&d->dev);
	free(d);
}

static const struct link_ops dpdk_ops = {
	.recv = dpdk_recv,
	.send = dpdk_send,
	.fd = dpdk_fd,
	.local = dpdk_local,
	.destroy = dpdk_destroy,
	.confirm = dpdk_confirm,
};

struct link *link_dpdk_create(const struct link_dpdk_cfg *cfg, int *err, char *why, size_t why_len)
{
	bool four = link_addr_is_v4(&cfg->local);
	uint32_t around = four ? IP_UDP_V4 : IP_UDP_V6;
	struct ethdev_cfg dev = {
		.dev = cfg->dev,
		.xdp_prog = cfg->xdp_prog,
		.mtu = ethdev_interface_mtu(cfg->dev),
		.mbufs = cfg->mbufs,
	};
	struct link_dpdk *d = calloc(1, sizeof(*d));

	if (!d) {
		*err = -ENOMEM;
		snprintf(why, why_len, "%s: no memory", cfg->dev);
		return NULL;
	}
	/* The MTU of a kernel interface is its owner's; that of a NIC is ours. */
	if (!dev.mtu && cfg->max_payload)
		dev.mtu = cfg->max_payload + around;
	*err = ethdev_open(&d->dev, &dev, why, why_len);
	if (*err) {
		free(d);
		return NULL;
	}
	d->base.ops = &dpdk_ops;
	d->base.name = "dpdk";
	d->local = cfg->local;
	d->headers = four ? PACKET_HEADERS_V4 : PACKET_HEADERS_V6;
	d->max_payload = d->dev.mtu - around;
	return &d->base;
}

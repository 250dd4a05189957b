/* SPDX-License-Identifier: Apache-2.0 */
/* Frames of the bench's guests: UDP up to 1514 bytes, TCP super-frames above; RFC 768, RFC 793, virtio 1.2
 * section 5.1.6. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fabric/base/clock.h"
#include "fabric/base/inet_csum.h"
#include "tests/bench/guest/guest.h"

#define VNET_HDR  12u
#define ETH_HDR	  14u
#define L4	  (ETH_HDR + 20u)
#define UDP_DATA  (L4 + 8u)
#define TCP_DATA  (L4 + 20u)
#define MTU_FRAME 1514u
#define PORT	  7777u

#define F_CSUM	     (1ull << 0)
#define NEEDS_CSUM   1
#define GSO_TCPV4    1
#define PAGE_FRAG    32768u /* of Linux' allocator: what a driver's descriptor spans at most */
#define TABLE_BYTES  128u
#define STRIDE_SMALL 256u

#define PATIENCE_NS 50000000u /* after which what was not acknowledged counts as lost */

enum kind { K_DATA = 1, K_WANT_ACK, K_ACK, K_PING, K_ECHO, K_HELLO };

/* After the headers of every frame. */
struct stamp {
	uint64_t kind_seq; /* kind in the upper 8 bits */
	uint64_t ns;
} __attribute__((packed));

static uint32_t data_at(uint32_t len)
{
	return len > MTU_FRAME ? TCP_DATA : UDP_DATA;
}

static void put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

/* The virtio-net header and the headers of a frame of len bytes. */
static void build(const struct guest *g, uint8_t *at, uint32_t len, bool broadcast)
{
	bool tso = len > MTU_FRAME, csum = g->front.features & F_CSUM;
	uint8_t *eth = at + VNET_HDR, *ip = eth + ETH_HDR, *l4 = eth + L4;

	memset(at, 0, VNET_HDR + data_at(len));
	if (csum) {
		at[0] = NEEDS_CSUM;
		at[6] = L4;
		at[8] = tso ? 16 : 6;
	}
	if (tso) {
		at[1] = GSO_TCPV4;
		at[2] = TCP_DATA;
		at[4] = (uint8_t)g->mss;
		at[5] = (uint8_t)(g->mss >> 8);
	}
	if (broadcast)
		memset(eth, 0xff, 6);
	else
		memcpy(eth, g->peer_mac, 6);
	memcpy(eth + 6, g->mac, 6);
	put16(eth + 12, 0x0800);
	ip[0] = 0x45;
	put16(ip + 2, len - ETH_HDR);
	ip[6] = 0x40;
	ip[8] = 64;
	ip[9] = tso ? 6 : 17;
	memcpy(ip + 12, g->ip, 4);
	memcpy(ip + 16, g->peer_ip, 4);
	if (broadcast)
		memset(ip + 16, 0xff, 4);
	inet_put(ip + 10, inet_fold(inet_sum(0, ip, 20)));
	put16(l4, PORT);
	put16(l4 + 2, PORT);
	if (tso) {
		l4[12] = 0x50;
		l4[13] = 0x10;
		put16(l4 + 14, 0xffff);
	} else {
		put16(l4 + 4, len - L4);
	}
}

void traffic_init(struct guest *g)
{
	struct vfront *f = &g->front;

	g->rx_mem = vfront_alloc(f, (uint64_t)g->rx.num * g->buf_len, 4096);
	g->tables = vfront_alloc(f, (uint64_t)g->tx.num * TABLE_BYTES, 4096);
	g->tx_mem = vfront_alloc(f, (uint64_t)g->tx.num * (GUEST_FRAME_MAX + STRIDE_SMALL), 4096);
	while (gring_room(&g->rx)) {
		uint16_t slot = gring_take(&g->rx);

		gring_put(&g->rx, slot, g->rx_mem + (uint64_t)slot * g->buf_len, g->buf_len,
			  VRING_DESC_WRITE);
	}
	gring_publish(&g->rx);
}

#define LAYOUT_NS 10000000000ull

/* One entry of an indirect table; a packed ring's table is as long as it is, without links. */
static void table_put(const struct guest *g, struct vring_desc *t, unsigned i, uint64_t gpa, uint32_t len,
		      bool more)
{
	t[i] = (struct vring_desc){gpa, len, more ? VRING_DESC_NEXT : 0, (uint16_t)(more ? i + 1 : 0)};
	if (vfront_packed(&g->front))
		*(struct vring_packed_desc *)&t[i] = (struct vring_packed_desc){gpa, len, 0, 0};
}

/* Slots that the device has not given back still lie where the last length put them: wait for them. */
static void layout(struct guest *g, uint32_t len)
{
	uint64_t patience = clock_now_ns() + LAYOUT_NS;
	uint16_t slot;
	uint32_t used;

	g->sending = g->pinging = false;
	while (gring_room(&g->tx) < g->tx.num) {
		(void)gring_used(&g->tx, &slot, &used);
		if (clock_now_ns() > patience) {
			fprintf(stderr, "bench_guest: the device keeps what was sent\n");
			exit(1);
		}
	}
	g->len = len;
	g->stride = (VNET_HDR + len + STRIDE_SMALL - 1) / STRIDE_SMALL * STRIDE_SMALL;
	for (unsigned i = 0; i < g->tx.num; i++) {
		uint64_t gpa = g->tx_mem + (uint64_t)i * g->stride;
		struct vring_desc *t = vfront_ptr(&g->front, g->tables + (uint64_t)i * TABLE_BYTES);
		uint32_t at = VNET_HDR + data_at(len);
		unsigned n = 1;

		build(g, vfront_ptr(&g->front, gpa), len, false);
		table_put(g, t, 0, gpa, at, true);
		for (uint32_t part; at < VNET_HDR + len; at += part, n++) {
			part = VNET_HDR + len - at < PAGE_FRAG ? VNET_HDR + len - at : PAGE_FRAG;
			table_put(g, t, n, gpa + at, part, at + part < VNET_HDR + len);
		}
		g->table_len = n * (uint32_t)sizeof(*t);
	}
}

void traffic_send(struct guest *g, uint32_t len, uint64_t pps, uint64_t burst_ns, uint64_t now)
{
	layout(g, len);
	g->sending = true;
	g->pps = pps;
	g->burst_ns = burst_ns;
	g->started = g->due_at = g->acked_at = now;
	g->acked = g->seq;
	g->owed = 0;
}

void traffic_ping(struct guest *g, uint64_t gap_ns, uint64_t now)
{
	layout(g, 64);
	g->pinging = true;
	g->waiting = 0;
	g->gap_ns = gap_ns;
	g->due_at = now;
}

static struct stamp *stamp_of(uint8_t *frame, uint32_t len)
{
	return (struct stamp *)(frame + VNET_HDR + data_at(len));
}

static void put_frame(struct guest *g, uint16_t slot, enum kind kind, uint64_t seq, uint64_t now)
{
	uint64_t gpa = g->tx_mem + (uint64_t)slot * g->stride;
	uint64_t table = g->tables + (uint64_t)slot * TABLE_BYTES;

	*stamp_of(vfront_ptr(&g->front, gpa), g->len) = (struct stamp){(uint64_t)kind << 56 | seq, now};
	if (g->len <= MTU_FRAME)
		gring_put(&g->tx, slot, gpa, VNET_HDR + g->len, 0);
	else
		gring_put(&g->tx, slot, table, g->table_len, VRING_DESC_INDIRECT);
	g->tx_frames++;
	g->tx_bytes += g->len;
}

void traffic_hello(struct guest *g, uint64_t now)
{
	uint16_t slot;

	layout(g, 64);
	slot = gring_take(&g->tx);
	build(g, vfront_ptr(&g->front, g->tx_mem + (uint64_t)slot * g->stride), 64, true);
	put_frame(g, slot, K_HELLO, 0, now);
	gring_publish(&g->tx);
}

static void reply(struct guest *g, enum kind kind, uint64_t seq, uint64_t ns)
{
	uint16_t slot;

	if (!gring_room(&g->tx))
		return;
	if (!g->len)
		layout(g, 64);
	slot = gring_take(&g->tx);
	put_frame(g, slot, kind, seq, ns);
}

static void came(struct guest *g, uint8_t *at, uint64_t bytes, uint64_t now)
{
	uint8_t *eth = at + VNET_HDR;
	uint32_t data = eth[ETH_HDR + 9] == 6 ? TCP_DATA : UDP_DATA;
	struct stamp s;
	uint64_t seq;

	if (eth[12] != 8 || eth[13] || eth[L4] != PORT >> 8 || eth[L4 + 1] != (uint8_t)PORT ||
	    bytes < data + sizeof(s)) {
		g->rx_other++;
		return;
	}
	memcpy(&s, eth + data, sizeof(s));
	seq = s.kind_seq & 0xffffffffffffffull;
	switch (s.kind_seq >> 56) {
	case K_PING:
		reply(g, K_ECHO, seq, now);
		break;
	case K_ECHO:
		if (seq == g->waiting) {
			hist_add(&g->round_trip, now - g->pinged_at, 1);
			g->waiting = 0;
			g->due_at = now + g->gap_ns;
		}
		break;
	case K_ACK:
		g->acked = seq > g->acked ? seq : g->acked;
		g->acked_at = now;
		break;
	case K_WANT_ACK:
		g->ack = true;
		/* fallthrough */
	case K_DATA:
		if (seq > g->expect)
			g->rx_lost += seq - g->expect;
		g->expect = seq + 1;
		g->rx_frames++;
		g->rx_bytes += bytes;
		hist_add(&g->one_way, now - s.ns, 1);
		break;
	default:
		g->rx_other++;
	}
}

/* Everything that came, and the buffers back; true: something came. A segment cut by the host counts as a
 * frame. */
static bool receive(struct guest *g, uint64_t now)
{
	uint16_t slot;
	uint32_t len;
	bool any = false;

	while (gring_used(&g->rx, &slot, &len)) {
		uint8_t *at = vfront_ptr(&g->front, g->rx_mem + (uint64_t)slot * g->buf_len);

		any = true;
		if (g->more) {
			g->more--;
			g->rx_bytes += len;
			continue;
		}
		g->more = (unsigned)(at[10] | at[11] << 8);
		g->more -= g->more > 0;
		came(g, at, len - VNET_HDR, now);
	}
	while (any && gring_room(&g->rx)) {
		slot = gring_take(&g->rx);
		gring_put(&g->rx, slot, g->rx_mem + (uint64_t)slot * g->buf_len, g->buf_len,
			  VRING_DESC_WRITE);
	}
	gring_publish(&g->rx);
	if (g->ack)
		reply(g, K_ACK, g->expect, now);
	g->ack = false;
	return any;
}

static void reap(struct guest *g)
{
	uint16_t slot;
	uint32_t len;

	while (gring_used(&g->tx, &slot, &len))
		;
}

static uint64_t allowed(struct guest *g, uint64_t now)
{
	uint64_t due;

	if (!g->pps) {
		uint64_t window = GUEST_WINDOW / g->len, out;

		if (now > g->acked_at + PATIENCE_NS)
			g->acked = g->seq;
		out = g->seq - g->acked;
		return out < window ? window - out : 0;
	}
	if (now < g->due_at)
		return 0;
	due = (uint64_t)((double)(now - g->started) * (double)g->pps / 1e9) - g->owed;
	g->due_at = now - (now - g->started) % g->burst_ns + g->burst_ns;
	return due;
}

static bool transmit(struct guest *g, uint64_t now)
{
	uint64_t n = 0, may = allowed(g, now);

	for (; n < may && gring_room(&g->tx); n++)
		put_frame(g, gring_take(&g->tx), g->pps ? K_DATA : K_WANT_ACK, g->seq++, now);
	/* What the ring had no room for is not made up for later: an offered load, not a debt. */
	g->owed += g->pps ? may : n;
	gring_publish(&g->tx);
	return n > 0;
}

bool traffic_turn(struct guest *g, uint64_t now)
{
	bool any = receive(g, now);

	reap(g);
	if (g->pinging && now >= g->due_at) {
		/* An answer that did not come within 100 ms will not. */
		g->due_at = now + 100000000;
		if (gring_room(&g->tx)) {
			g->waiting = ++g->seq;
			g->pinged_at = now;
			put_frame(g, gring_take(&g->tx), K_PING, g->seq, now);
		}
	}
	if (g->sending)
		any |= transmit(g, now);
	gring_publish(&g->tx);
	return any;
}

uint64_t traffic_due(const struct guest *g)
{
	if (g->sending && !g->pps)
		return g->acked_at + PATIENCE_NS + 1;
	return g->pinging || g->sending ? g->due_at : UINT64_MAX;
}

bool traffic_sleep(struct guest *g)
{
	unsigned out = g->tx.num - gring_room(&g->tx);
	bool full = g->sending && !g->pps;

	/* Only a full ring waits for transmitted frames; else they are taken back in passing. */
	if (full && gring_arm(&g->tx, (uint16_t)(out * 3 / 4)))
		return false;
	return !gring_arm(&g->rx, 0);
}

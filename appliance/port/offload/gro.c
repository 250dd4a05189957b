/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A packet is looked at once, into a struct packet; what a stream's held frame must know of its last packet
 * stands in a struct flow. Streams are in a table without chains: who finds another in his place sends
 * it out.
 */
#include "appliance/port/offload/gro.h"

#include <stdlib.h>
#include <string.h>

#include "appliance/port/offload/offload_impl.h"
#include "fabric/base/counter.h"
#include "fabric/base/inet_csum.h"

#define F_NEEDS_CSUM 1u
#define F_DATA_VALID 2u
#define GSO_TCPV4    1u
#define GSO_TCPV6    4u

#define ETH_TYPE 12u
#define ETH_IP4	 0x0800u
#define ETH_IP6	 0x86ddu

#define TCP_ACK 0x10u
#define TCP_PSH 0x08u

#define IP_MAX 65535u
#define IP4_DF 0x40u /* in the byte of the flags */

/* A TCP packet; lengths in bytes, offsets from the start of the virtio header. */
struct packet {
	uint8_t *at;
	bool six;
	bool joins; /* it may become part of a super-frame */
	uint16_t vlan;
	uint32_t l4, headers; /* up to the payload */
	uint32_t payload;
};

struct flow {
	struct frame *frame; /* NULL: unused */
	struct packet first; /* payload: that of every packet but the last */
	uint32_t next_seq, packets;
	uint64_t since;
};

struct gro {
	struct gro_cfg cfg;
	unsigned nheld;
	struct flow flows[GRO_FLOWS];
};

struct gro *gro_create(const struct gro_cfg *cfg)
{
	struct gro *g = calloc(1, sizeof(*g));

	if (g)
		g->cfg = *cfg;
	return g;
}

void gro_destroy(struct gro *g)
{
	if (!g)
		return;
	for (unsigned i = 0; i < GRO_FLOWS; i++)
		frame_put(g->flows[i].frame);
	free(g);
}

/* ---- one packet ---- */

static uint64_t pseudo(const struct packet *p, uint32_t tcp_len)
{
	const uint8_t *ip = p->at + VNET_HDR + OFFLOAD_ETHER;
	uint8_t tail[8] = {0};
	uint64_t sum = p->six ? inet_sum(0, ip + 8, 32) : inet_sum(0, ip + 12, 8);

	put32(tail, tcp_len);
	tail[7] = IPPROTO_TCP_;
	return inet_sum(sum, tail, sizeof(tail));
}

static bool checksums_right(const struct packet *p)
{
	const uint8_t *ip = p->at + VNET_HDR + OFFLOAD_ETHER;
	uint32_t len = p->headers - p->l4 + p->payload;

	if (!p->six && inet_fold(inet_sum(0, ip, IP4_BYTES)))
		return false;
	return p->at[0] & F_DATA_VALID || !inet_fold(inet_sum(pseudo(p, len), p->at + p->l4, len));
}

/* The IP packet's length if it is TCP without anything unusual before that; 0: it is not. */
static uint32_t ip_length(struct packet *p, uint32_t room)
{
	const uint8_t *ip = p->at + VNET_HDR + OFFLOAD_ETHER;
	uint32_t type = get16(p->at + VNET_HDR + ETH_TYPE);

	if (type == ETH_IP4 && room >= IP4_BYTES + TCP_BYTES && ip[0] == 0x45 && !(get16(ip + 6) & 0x3fff) &&
	    ip[9] == IPPROTO_TCP_) {
		p->l4 = VNET_HDR + OFFLOAD_ETHER + IP4_BYTES;
		return get16(ip + 2);
	}
	if (type == ETH_IP6 && room >= IP6_BYTES + TCP_BYTES && ip[0] >> 4 == 6 && ip[6] == IPPROTO_TCP_) {
		p->six = true;
		p->l4 = VNET_HDR + OFFLOAD_ETHER + IP6_BYTES;
		return IP6_BYTES + get16(ip + 4);
	}
	return 0;
}

/* False: not TCP, or not to be understood: it has no stream. */
static bool look(struct packet *p, const struct frame *f, uint16_t vlan)
{
	uint32_t have = f->seg[0].len, room, len, hdr;

	*p = (struct packet){.at = (uint8_t *)(uintptr_t)f->seg[0].data, .vlan = vlan};
	if (have < VNET_HDR + OFFLOAD_ETHER + IP4_BYTES + TCP_BYTES)
		return false;
	room = f->len - VNET_HDR - OFFLOAD_ETHER;
	len = ip_length(p, have - VNET_HDR - OFFLOAD_ETHER);
	if (!len || len > room)
		return false;
	hdr = (uint32_t)(p->at[p->l4 + 12] >> 4) * 4;
	p->headers = p->l4 + hdr;
	/* One piece, no padding behind the packet, nothing left to be done to it. */
	if (hdr < TCP_BYTES || p->headers >= f->len || f->nseg != 1 || len != room ||
	    p->at[0] & F_NEEDS_CSUM || p->at[1])
		return true;
	p->payload = f->len - p->headers;
	p->joins = (p->at[p->l4 + TCP_FLAGS] | TCP_PSH) == (TCP_ACK | TCP_PSH) && !(p->at[p->l4 + 12] & 15) &&
		   checksums_right(p);
	return true;
}

/* Bytes [12, l4) and the ports say which stream it is; of those, length, identification and checksum of IPv4
 * and the length of IPv6 differ from packet to packet. */
static bool same_stream(const struct packet *a, const struct packet *b)
{
	const uint8_t *x = a->at + VNET_HDR, *y = b->at + VNET_HDR;
	uint32_t addrs = OFFLOAD_ETHER + (a->six ? 8 : 12), n = a->six ? 32 : 8;

	return a->six == b->six && a->vlan == b->vlan && !memcmp(x, y, OFFLOAD_ETHER) &&
	       !memcmp(x + addrs, y + addrs, n) && !memcmp(a->at + a->l4, b->at + b->l4, 4);
}

static uint32_t hash(const struct packet *p)
{
	const uint8_t *ip = p->at + VNET_HDR + OFFLOAD_ETHER;
	uint32_t h = get32(p->at + p->l4) * 0x9e3779b1u;

	h = (h ^ get32(ip + (p->six ? 20 : 12))) * 0x85ebca6bu;
	h = (h ^ get32(ip + (p->six ? 36 : 16))) * 0xc2b2ae35u;
	return (h >> 16) & (GRO_FLOWS - 1);
}

/* Would a receiver of the super-frame, cut again, see this packet as it is? */
static bool alike(const struct flow *w, const struct packet *p)
{
	const uint8_t *x = w->first.at, *y = p->at, *ipx = x + VNET_HDR + OFFLOAD_ETHER,
		      *ipy = y + VNET_HDR + OFFLOAD_ETHER;
	uint32_t l4 = p->l4;

	if (p->headers != w->first.headers || get32(y + l4 + 4) != w->next_seq)
		return false;
	/* Acknowledgement, window, urgent pointer; options. */
	if (memcmp(x + l4 + 8, y + l4 + 8, 4) || memcmp(x + l4 + 14, y + l4 + 14, 2) ||
	    memcmp(x + l4 + 18, y + l4 + 18, p->headers - l4 - 18))
		return false;
	/* Class, flow label, hop limit; type of service, time to live, don't fragment, identification. */
	if (p->six)
		return !memcmp(ipx, ipy, 4) && ipx[7] == ipy[7];
	return ipx[1] == ipy[1] && ipx[8] == ipy[8] && !memcmp(ipx + 6, ipy + 6, 2) &&
	       (ipy[6] & IP4_DF || get16(ipy + 4) == (uint16_t)(get16(ipx + 4) + w->packets));
}

/* ---- streams ---- */

/* The headers of a frame of several packets. */
static void finish(const struct flow *w)
{
	const struct packet *p = &w->first;
	uint8_t *ip = p->at + VNET_HDR + OFFLOAD_ETHER, *h = p->at;
	uint32_t ip_len = w->frame->len - VNET_HDR - OFFLOAD_ETHER;
	uint16_t sum = (uint16_t)~inet_fold(pseudo(p, w->frame->len - p->l4));

	if (p->six) {
		put16(ip + 4, ip_len - IP6_BYTES);
	} else {
		put16(ip + 2, ip_len);
		put16(ip + 10, 0);
		inet_put(ip + 10, inet_fold(inet_sum(0, ip, IP4_BYTES)));
	}
	inet_put(p->at + p->l4 + TCP_CSUM, sum);
	h[0] = F_NEEDS_CSUM;
	h[1] = p->six ? GSO_TCPV6 : GSO_TCPV4;
	/* Little-endian: hdr_len, gso_size, csum_start, csum_offset. */
	h[2] = (uint8_t)(p->headers - VNET_HDR);
	h[3] = 0;
	h[4] = (uint8_t)p->payload;
	h[5] = (uint8_t)(p->payload >> 8);
	h[6] = (uint8_t)(p->l4 - VNET_HDR);
	h[7] = 0;
	h[8] = TCP_CSUM;
	h[9] = 0;
}

static void give_out(struct gro *g, struct flow *w)
{
	struct frame *f = w->frame;

	if (w->packets > 1) {
		finish(w);
		counter_add(g->cfg.super, 1);
	}
	w->frame = NULL;
	g->nheld--;
	g->cfg.out(g->cfg.ctx, f, w->first.vlan);
}

static void begin(struct gro *g, struct flow *w, const struct packet *p, struct frame *f, uint64_t now)
{
	*w = (struct flow){.frame = f,
			   .first = *p,
			   .next_seq = get32(p->at + p->l4 + 4) + p->payload,
			   .packets = 1,
			   .since = now};
	g->nheld++;
}

static bool join(struct gro *g, struct flow *w, const struct packet *p, struct frame *f)
{
	struct frame *into = w->frame;

	if (!alike(w, p) || p->payload > w->first.payload ||
	    into->len + p->payload - VNET_HDR - OFFLOAD_ETHER > IP_MAX ||
	    frame_add(into, p->at + p->headers, p->payload, f->seg[0].buf))
		return false;
	w->next_seq += p->payload;
	w->packets++;
	w->first.at[w->first.l4 + TCP_FLAGS] |= p->at[p->l4 + TCP_FLAGS] & TCP_PSH;
	counter_add(g->cfg.merged, 1);
	return true;
}

/* Nothing follows a short segment, or one that is pushed. */
static bool ends(const struct flow *w, const struct packet *p)
{
	return p->payload < w->first.payload || p->at[p->l4 + TCP_FLAGS] & TCP_PSH;
}

void gro_take(struct gro *g, struct frame *f, uint16_t vlan, uint64_t now)
{
	struct packet p;
	struct flow *w;

	if (!look(&p, f, vlan)) {
		g->cfg.out(g->cfg.ctx, f, vlan);
		return;
	}
	w = &g->flows[hash(&p)];
	if (w->frame && p.joins && same_stream(&w->first, &p) && join(g, w, &p, f)) {
		bool end = ends(w, &p);

		frame_put(f);
		if (end)
			give_out(g, w);
		return;
	}
	if (w->frame)
		give_out(g, w);
	if (!p.joins || p.at[p.l4 + TCP_FLAGS] & TCP_PSH)
		g->cfg.out(g->cfg.ctx, f, vlan);
	else
		begin(g, w, &p, f, now);
}

bool gro_flush(struct gro *g, bool all, uint64_t now)
{
	for (unsigned i = 0; g->nheld && i < GRO_FLOWS; i++)
		if (g->flows[i].frame && (all || now - g->flows[i].since >= g->cfg.hold_ns))
			give_out(g, &g->flows[i]);
	return g->nheld;
}

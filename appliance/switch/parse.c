/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The head of a frame: a bounded private copy, and the judgement of its virtio_net_hdr.
 *
 * The virtio_net_hdr is an order to whoever finishes the frame: "put a checksum there", "cut it
 * like this". A wrong one must not reach a segmenter, and a checksum that is put into an address
 * field would change the address after it was checked. So csum_start has to lie behind the
 * network header, and protocols without such a checksum may not ask for one.
 */
#include <string.h>

#include "appliance/switch/internal.h"

/* virtio 1.2, 5.1.6: all fields little endian. */
#define VNET_NEEDS_CSUM 1u
#define GSO_NONE	0u
#define GSO_TCPV4	1u
#define GSO_UDP		3u
#define GSO_TCPV6	4u
#define GSO_UDP_L4	5u
#define GSO_ECN		0x80u

#define IPPROTO_TCP_ 6u

static uint16_t le16(const uint8_t *p)
{
	return (uint16_t)(p[1] << 8 | p[0]);
}

enum sw_counter sw_packet_read(struct sw_packet *p, const struct frame *f)
{
	if (f->len < SW_VNET_HDR + ETH_HDR)
		return SW_C_drop_short;
	if (f->len > FRAME_MAX)
		return SW_C_drop_long;
	p->f = f;
	p->len = f->len - SW_VNET_HDR;
	p->head = frame_read(f, 0, p->b, SW_HEAD);
	if (p->head < SW_VNET_HDR + ETH_HDR)
		return SW_C_drop_short;
	p->eth = p->b + SW_VNET_HDR;
	p->ethertype = sw_be16(p->eth + 12);
	p->gso = p->b[1] != GSO_NONE;
	return SW_NCOUNTERS;
}

bool sw_packet_peek(const struct sw_packet *p, uint32_t off, void *dst, uint32_t n)
{
	if (off > p->len || n > p->len - off)
		return false;
	if (SW_VNET_HDR + off + n <= p->head) {
		memcpy(dst, p->eth + off, n);
		return true;
	}
	return frame_read(p->f, SW_VNET_HDR + off, dst, n) == n;
}

/* Where a checksummed payload may begin at the earliest; UINT32_MAX: nowhere. */
static uint32_t payload_start(const struct sw_packet *p)
{
	uint32_t ihl;

	switch (p->ethertype) {
	case ETHERTYPE_IPV4:
		if (p->len < ETH_HDR + IPV4_HDR)
			return UINT32_MAX;
		ihl = (p->eth[ETH_HDR] & 15u) * 4u;
		return ihl < IPV4_HDR ? UINT32_MAX : ETH_HDR + ihl;
	case ETHERTYPE_IPV6:
		return ETH_HDR + IPV6_HDR;
	case ETHERTYPE_ARP:
	case ETHERTYPE_RARP:
		return UINT32_MAX;
	default:
		return ETH_HDR;
	}
}

/* The kind of segmentation asked for must be the kind of packet that is there. */
static bool gso_fits(const struct sw_packet *p, uint8_t kind)
{
	uint8_t proto;

	switch (kind) {
	case GSO_TCPV4:
		return p->ethertype == ETHERTYPE_IPV4 && sw_packet_peek(p, ETH_HDR + 9, &proto, 1) &&
		       proto == IPPROTO_TCP_;
	case GSO_TCPV6:
		return p->ethertype == ETHERTYPE_IPV6;
	case GSO_UDP:
	case GSO_UDP_L4:
		return p->ethertype == ETHERTYPE_IPV4 || p->ethertype == ETHERTYPE_IPV6;
	default:
		return false;
	}
}

enum sw_counter sw_packet_offload(const struct sw_packet *p)
{
	const uint8_t *h = p->b;
	uint32_t hdr_len = le16(h + 2), gso_size = le16(h + 4);
	uint32_t csum_start = le16(h + 6), csum_offset = le16(h + 8);

	if (h[0] & VNET_NEEDS_CSUM) {
		if (csum_start < payload_start(p) || csum_start + csum_offset + 2 > p->len)
			return SW_C_drop_bad_offload;
	}
	if (!p->gso)
		return SW_NCOUNTERS;
	if (gso_size == 0 || hdr_len > p->len || !gso_fits(p, h[1] & (uint8_t)~GSO_ECN))
		return SW_C_drop_bad_offload;
	return SW_NCOUNTERS;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a NIC would do for a guest's frame before it goes on a wire without such a NIC: completes the
 * checksum that the guest left out (VIRTIO_NET_HDR_F_NEEDS_CSUM) and cuts TCPv4, TCPv6 and UDP
 * super-frames (virtio 1.2, 5.1.6.2). A pure core; the frame comes from a guest and is believed in nothing:
 * every field is checked against the frame's length first.
 *
 *	struct offload o;
 *	if (offload_plan(&o, frame, mtu, vlan)) drop;
 *	for (i = 0; i < o.packets; i++) len = offload_write(&o, frame, i, out);
 *
 * Cutting is as RFC 9293 wants the segments: sequence numbers advance, FIN and PSH are on the last alone,
 * CWR on the first alone (RFC 3168, 6.1.2), the IPv4 identification counts up (RFC 6864), lengths and
 * checksums are made anew.
 */
#ifndef OUTRIGGER_PORT_OFFLOAD_H
#define OUTRIGGER_PORT_OFFLOAD_H

#include "fabric/buf/buf.h"

/* Longest Ethernet + IP + TCP headers that are cut; RFC 8200 has no bound on extension headers. */
#define OFFLOAD_HEADERS 256u
/* More packets than this out of one frame are refused: a tiny gso_size makes a guest an amplifier. */
#define OFFLOAD_PACKETS_MAX 256u
#define OFFLOAD_ETHER	    14u
#define OFFLOAD_TAG	    4u

enum offload_kind {
	OFFLOAD_PLAIN, /* as it is */
	OFFLOAD_CSUM,  /* one packet, checksum to be completed */
	OFFLOAD_TCP4,
	OFFLOAD_TCP6,
	OFFLOAD_UDP4,
	OFFLOAD_UDP6,
};

/* How one frame becomes packets. Lengths in bytes, offsets from the start of the Ethernet header. */
struct offload {
	enum offload_kind kind;
	uint32_t packets;
	uint16_t vlan;	     /* 0: no tag is added */
	uint32_t len;	     /* Ethernet frame without virtio header and tag */
	uint32_t l3, l4;     /* of a super-frame */
	uint32_t headers;    /* repeated before each part of a super-frame */
	uint32_t part;	     /* payload bytes of each packet but the last */
	uint32_t csum_start; /* OFFLOAD_CSUM */
	uint32_t csum_field;
	uint8_t head[OFFLOAD_HEADERS]; /* private copy of the headers of a super-frame */
};

/* 0; -EINVAL: too short for the two headers; -EPROTO: offload fields that cannot be true, or an offload that
 * was never offered; -EMSGSIZE: longer than the MTU and not to be cut; -EPERM: it is to go untagged and
 * begins with a tag of the guest's own, which the network would believe. */
int offload_plan(struct offload *o, const struct frame *f, uint32_t mtu, uint16_t vlan);

/* Bytes of the longest packet of this plan. */
uint32_t offload_longest(const struct offload *o);

/* Packet i < o->packets of the frame that was planned, into out, which has room for offload_longest() bytes;
 * its length. */
uint32_t offload_write(const struct offload *o, const struct frame *f, uint32_t i, uint8_t *out);

#endif

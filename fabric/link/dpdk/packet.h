/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ethernet, IP and UDP headers of a fabric datagram, and the table of next hops. Pure: no DPDK here.
 */
#ifndef OUTRIGGER_LINK_DPDK_PACKET_H
#define OUTRIGGER_LINK_DPDK_PACKET_H

#include "fabric/link/link.h"

#define PACKET_MAC	  6u
#define PACKET_HEADERS_V4 42u /* 14 + 20 + 8 */
#define PACKET_HEADERS_V6 62u /* 14 + 40 + 8 */

/* What a received frame says. */
struct packet {
	struct link_addr from;
	uint32_t off, len; /* of the UDP payload */
	bool ce;
};

/* A frame of len bytes that came in, addressed to mac and local. False: it is not a whole datagram for us.
 * Checksums are not looked at. */
bool packet_parse(struct packet *p, const uint8_t *frame, uint32_t len, const uint8_t mac[PACKET_MAC],
		  const struct link_addr *local);

/* Headers of a datagram before `payload` bytes that already stand at out + their length. Both addresses are
 * of one family. Returns the headers' length. */
uint32_t packet_write(uint8_t *out, const uint8_t src_mac[PACKET_MAC], const uint8_t dst_mac[PACKET_MAC],
		      const struct link_addr *from, const struct link_addr *to, uint32_t payload);

/* MAC addresses by IP address. Fixed size: where all places for an address are taken, the one
 * confirmed longest ago gives way. */
#define HOPS_SETS 256u
#define HOPS_WAYS 8u

struct hops {
	struct hop {
		uint8_t ip[16];
		uint8_t mac[PACKET_MAC];
		uint64_t used; /* 0: empty; else the turn of its last confirmation */
	} hop[HOPS_SETS][HOPS_WAYS];
	uint64_t turn;
};

void hops_set(struct hops *h, const uint8_t ip[16], const uint8_t mac[PACKET_MAC]);
const uint8_t *hops_get(const struct hops *h, const uint8_t ip[16]); /* NULL: not known */

#endif

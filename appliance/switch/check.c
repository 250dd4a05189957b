/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a vNIC may claim to be: MAC, ARP (RFC 826), IPv4, IPv6 and neighbour discovery (RFC 4861).
 *
 * A claim that cannot be read is refused: a truncated ARP, ND behind more extension headers than
 * we follow, ND in fragments (RFC 6980 tells receivers to ignore it, not all do).
 */
#include <string.h>

#include "appliance/switch/internal.h"

#define ARP_LEN	       28u
#define MAX_EXTENSIONS 8
#define MAX_ND_OPTIONS 32

#define NH_HOP_BY_HOP  0
#define NH_ROUTING     43
#define NH_FRAGMENT    44
#define NH_AUTH	       51
#define NH_ICMPV6      58
#define NH_DESTINATION 60

#define ND_ROUTER_SOL	133
#define ND_ROUTER_ADV	134
#define ND_NEIGHBOR_SOL 135
#define ND_NEIGHBOR_ADV 136
#define ND_REDIRECT	137

#define ND_OPT_SOURCE_LL 1
#define ND_OPT_TARGET_LL 2

static bool all_zero(const uint8_t *a, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		if (a[i])
			return false;
	return true;
}

static bool prefix_match(const uint8_t *a, const uint8_t *b, uint32_t bits)
{
	uint32_t whole = bits / 8, rest = bits % 8;
	uint8_t mask = (uint8_t)(0xff00u >> rest);

	if (memcmp(a, b, whole))
		return false;
	return rest == 0 || ((a[whole] ^ b[whole]) & mask) == 0;
}

static bool listed(const struct port_slot *port, uint8_t family, const uint8_t *addr)
{
	for (uint32_t i = 0; i < port->naddrs; i++) {
		const struct sw_addr *a = &port->addrs[i];

		if (a->family == family && prefix_match(a->bytes, addr, a->prefix))
			return true;
	}
	return false;
}

/* fe80::/64 with the modified EUI-64 of this MAC (RFC 4291, appendix A). */
static bool own_link_local(const uint8_t *addr, const uint8_t *mac)
{
	const uint8_t want[16] = {0xfe,	      0x80,   0,      0,    0,	  0,	  0,	  0,
				  mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]};

	return memcmp(addr, want, sizeof want) == 0;
}

static bool own_ipv4(const struct port_slot *port, const uint8_t *addr)
{
	return port->naddrs == 0 || listed(port, 4, addr);
}

static bool own_ipv6(const struct port_slot *port, const uint8_t *addr, const uint8_t *mac)
{
	return port->naddrs == 0 || own_link_local(addr, mac) || listed(port, 6, addr);
}

/* ARP and RARP: hardware type, protocol type, lengths, operation, then sender MAC and address. */
static enum sw_counter check_arp(const struct sw_packet *p, const struct port_slot *port)
{
	static const uint8_t ethernet_ipv4[6] = {0, 1, 8, 0, 6, 4};
	const uint8_t *src = p->eth + 6;
	uint8_t arp[ARP_LEN];

	if (!sw_packet_peek(p, ETH_HDR, arp, sizeof arp) || memcmp(arp, ethernet_ipv4, 6))
		return SW_C_drop_spoof_arp;
	if (memcmp(arp + 8, src, 6))
		return SW_C_drop_spoof_arp;
	/* 0.0.0.0: a probe for a duplicate (RFC 5227), a hypervisor's announcement. */
	if (!all_zero(arp + 14, 4) && !own_ipv4(port, arp + 14))
		return SW_C_drop_spoof_arp;
	return SW_NCOUNTERS;
}

static enum sw_counter check_ipv4(const struct sw_packet *p, const struct port_slot *port)
{
	uint8_t ip[IPV4_HDR];

	if (port->naddrs == 0)
		return SW_NCOUNTERS;
	if (!sw_packet_peek(p, ETH_HDR, ip, sizeof ip) || ip[0] >> 4 != 4)
		return SW_C_drop_spoof_ipv4;
	if (!all_zero(ip + 12, 4) && !own_ipv4(port, ip + 12))
		return SW_C_drop_spoof_ipv4;
	return SW_NCOUNTERS;
}

/* Link-layer address options must name the sender; an option of length 0 makes the packet invalid. */
static bool nd_options_own(const struct sw_packet *p, uint32_t off, const uint8_t *mac)
{
	for (int i = 0; off < p->len; i++) {
		uint8_t opt[8];

		if (i == MAX_ND_OPTIONS || !sw_packet_peek(p, off, opt, sizeof opt) || opt[1] == 0)
			return false;
		if ((opt[0] == ND_OPT_SOURCE_LL || opt[0] == ND_OPT_TARGET_LL) && memcmp(opt + 2, mac, 6))
			return false;
		off += opt[1] * 8u;
	}
	return true;
}

/* off: the ICMPv6 header. */
static enum sw_counter check_nd(const struct sw_packet *p, const struct port_slot *port, uint32_t off,
				bool fragment)
{
	const uint8_t *src = p->eth + 6;
	uint8_t type, target[16];
	uint32_t options;

	if (!sw_packet_peek(p, off, &type, 1))
		return SW_C_drop_spoof_nd;
	switch (type) {
	case ND_ROUTER_SOL:
		options = 8;
		break;
	case ND_ROUTER_ADV:
		options = 16;
		break;
	case ND_NEIGHBOR_SOL:
		options = 24;
		break;
	case ND_NEIGHBOR_ADV:
		options = 24;
		if (!sw_packet_peek(p, off + 8, target, sizeof target) || !own_ipv6(port, target, src))
			return SW_C_drop_spoof_nd;
		break;
	case ND_REDIRECT: /* speaks for a router and names somebody else's MAC */
		return SW_C_drop_spoof_nd;
	default:
		return SW_NCOUNTERS;
	}
	if (fragment || !nd_options_own(p, off + options, src))
		return SW_C_drop_spoof_nd;
	/* An unfinished checksum would be written into what was just checked. */
	if (p->b[0] & 1)
		return SW_C_drop_bad_offload;
	return SW_NCOUNTERS;
}

/* Follow the extension headers (RFC 8200, section 4) to ICMPv6. */
static enum sw_counter find_nd(const struct sw_packet *p, const struct port_slot *port, uint8_t next)
{
	uint32_t off = ETH_HDR + IPV6_HDR;
	bool fragment = false;

	for (int i = 0; i < MAX_EXTENSIONS; i++) {
		uint8_t ext[8];

		if (next == NH_ICMPV6)
			return check_nd(p, port, off, fragment);
		if (next != NH_HOP_BY_HOP && next != NH_ROUTING && next != NH_FRAGMENT && next != NH_AUTH &&
		    next != NH_DESTINATION)
			return SW_NCOUNTERS;
		if (!sw_packet_peek(p, off, ext, sizeof ext))
			return SW_C_drop_spoof_nd;
		if (next == NH_FRAGMENT) {
			/* A later fragment begins with no header of its own. */
			if ((ext[2] << 8 | ext[3]) >> 3)
				return SW_NCOUNTERS;
			fragment = true;
			off += 8;
		} else {
			off += next == NH_AUTH ? (ext[1] + 2u) * 4u : (ext[1] + 1u) * 8u;
		}
		next = ext[0];
	}
	return SW_C_drop_spoof_nd;
}

static enum sw_counter check_ipv6(const struct sw_packet *p, const struct port_slot *port)
{
	const uint8_t *src = p->eth + 6;
	uint8_t ip[IPV6_HDR];

	if (!sw_packet_peek(p, ETH_HDR, ip, sizeof ip) || ip[0] >> 4 != 6)
		return SW_C_drop_spoof_ipv6;
	/* "::" asks whether an address is free (RFC 4862, 5.4). */
	if (!all_zero(ip + 8, 16) && !own_ipv6(port, ip + 8, src))
		return SW_C_drop_spoof_ipv6;
	return find_nd(p, port, ip[6]);
}

enum sw_counter sw_source_check(const struct sw_packet *p, const struct port_slot *port)
{
	switch (p->ethertype) {
	case ETHERTYPE_ARP:
	case ETHERTYPE_RARP:
		return check_arp(p, port);
	case ETHERTYPE_IPV4:
		return check_ipv4(p, port);
	case ETHERTYPE_IPV6:
		return check_ipv6(p, port);
	default:
		return SW_NCOUNTERS;
	}
}

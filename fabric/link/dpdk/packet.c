/* SPDX-License-Identifier: Apache-2.0 */
#include "fabric/link/dpdk/packet.h"

#include <string.h>

#include "fabric/base/crc32c.h"
#include "fabric/base/inet_csum.h"

#define ETHER	  14u
#define IP4	  20u
#define IP6	  40u
#define UDP	  8u
#define PROTO_UDP 17u
#define TTL	  64u
#define ECT0	  2u /* RFC 3168, 5 */
#define ECN_CE	  3u
#define DF	  0x40u

static uint32_t get16(const uint8_t *p)
{
	return (uint32_t)p[0] << 8 | p[1];
}

static void put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static bool parse_ip4(struct packet *p, const uint8_t *ip, uint32_t len, const struct link_addr *local)
{
	if (len < IP4 + UDP || ip[0] != 0x45 || (get16(ip + 6) & 0x3fff) || ip[9] != PROTO_UDP)
		return false;
	if (get16(ip + 2) < IP4 + UDP || get16(ip + 2) > len || memcmp(ip + 16, local->ip + 12, 4))
		return false;
	p->from = (struct link_addr){.ip = {[10] = 0xff, [11] = 0xff}};
	memcpy(p->from.ip + 12, ip + 12, 4);
	p->ce = (ip[1] & 3) == ECN_CE;
	p->off = ETHER + IP4;
	p->len = get16(ip + 2) - IP4;
	return true;
}

static bool parse_ip6(struct packet *p, const uint8_t *ip, uint32_t len, const struct link_addr *local)
{
	if (len < IP6 + UDP || ip[0] >> 4 != 6 || ip[6] != PROTO_UDP)
		return false;
	if (get16(ip + 4) < UDP || get16(ip + 4) > len - IP6 || memcmp(ip + 24, local->ip, 16))
		return false;
	memcpy(p->from.ip, ip + 8, 16);
	if (link_addr_is_v4(&p->from))
		return false; /* never on a wire (RFC 4942, 2.2), and no answer could go there */
	p->ce = (ip[1] >> 4 & 3) == ECN_CE;
	p->off = ETHER + IP6;
	p->len = get16(ip + 4);
	return true;
}

bool packet_parse(struct packet *p, const uint8_t *frame, uint32_t len, const uint8_t mac[PACKET_MAC],
		  const struct link_addr *local)
{
	bool four = link_addr_is_v4(local);
	const uint8_t *udp;

	if (len < ETHER || memcmp(frame, mac, PACKET_MAC))
		return false;
	if (get16(frame + 12) != (four ? 0x0800 : 0x86dd))
		return false;
	if (!(four ? parse_ip4 : parse_ip6)(p, frame + ETHER, len - ETHER, local))
		return false;
	udp = frame + p->off;
	if (get16(udp + 2) != local->port || get16(udp + 4) <= UDP || get16(udp + 4) > p->len)
		return false;
	p->from.port = (uint16_t)get16(udp);
	p->len = get16(udp + 4) - UDP;
	p->off += UDP;
	return true;
}

static void write_ip4(uint8_t *ip, const struct link_addr *from, const struct link_addr *to, uint32_t udp_len)
{
	memset(ip, 0, IP4);
	ip[0] = 0x45;
	ip[1] = ECT0;
	put16(ip + 2, IP4 + udp_len);
	ip[6] = DF; /* never a fragment, so the identification may stay 0: RFC 6864, 4.1 */
	ip[8] = TTL;
	ip[9] = PROTO_UDP;
	memcpy(ip + 12, from->ip + 12, 4);
	memcpy(ip + 16, to->ip + 12, 4);
	inet_put(ip + 10, inet_fold(inet_sum(0, ip, IP4)));
}

static void write_ip6(uint8_t *ip, const struct link_addr *from, const struct link_addr *to, uint32_t udp_len)
{
	memset(ip, 0, 4);
	ip[0] = 0x60;
	ip[1] = ECT0 << 4;
	put16(ip + 4, udp_len);
	ip[6] = PROTO_UDP;
	ip[7] = TTL;
	memcpy(ip + 8, from->ip, 16);
	memcpy(ip + 24, to->ip, 16);
}

/* RFC 8200, 8.1: over IPv6 there must be one, and it is not 0. */
static uint16_t udp6_csum(const uint8_t *ip, const uint8_t *udp, uint32_t len)
{
	uint8_t tail[8] = {0};
	uint16_t csum;

	put16(tail + 2, len);
	tail[7] = PROTO_UDP;
	csum = inet_fold(inet_sum(inet_sum(inet_sum(0, ip + 8, 32), tail, sizeof(tail)), udp, len));
	return csum ? csum : 0xffff;
}

uint32_t packet_write(uint8_t *out, const uint8_t src_mac[PACKET_MAC], const uint8_t dst_mac[PACKET_MAC],
		      const struct link_addr *from, const struct link_addr *to, uint32_t payload)
{
	bool four = link_addr_is_v4(to);
	uint8_t *ip = out + ETHER, *udp = ip + (four ? IP4 : IP6);

	memcpy(out, dst_mac, PACKET_MAC);
	memcpy(out + PACKET_MAC, src_mac, PACKET_MAC);
	put16(out + 12, four ? 0x0800 : 0x86dd);
	put16(udp, from->port);
	put16(udp + 2, to->port);
	put16(udp + 4, UDP + payload);
	put16(udp + 6, 0);
	if (four) {
		write_ip4(ip, from, to, UDP + payload);
		return PACKET_HEADERS_V4;
	}
	write_ip6(ip, from, to, UDP + payload);
	inet_put(udp + 6, udp6_csum(ip, udp, UDP + payload));
	return PACKET_HEADERS_V6;
}

static uint32_t set_of(const uint8_t ip[16])
{
	return crc32c(0, ip, 16) % HOPS_SETS;
}

void hops_set(struct hops *h, const uint8_t ip[16], const uint8_t mac[PACKET_MAC])
{
	struct hop *set = h->hop[set_of(ip)], *at = &set[0];

	for (unsigned i = 0; i < HOPS_WAYS; i++) {
		if (set[i].used && memcmp(set[i].ip, ip, 16) == 0) {
			at = &set[i];
			break;
		}
		if (set[i].used < at->used)
			at = &set[i];
	}
	memcpy(at->ip, ip, 16);
	memcpy(at->mac, mac, PACKET_MAC);
	at->used = ++h->turn;
}

const uint8_t *hops_get(const struct hops *h, const uint8_t ip[16])
{
	const struct hop *set = h->hop[set_of(ip)];

	for (unsigned i = 0; i < HOPS_WAYS; i++)
		if (set[i].used && memcmp(set[i].ip, ip, 16) == 0)
			return set[i].mac;
	return NULL;
}

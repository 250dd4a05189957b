/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "appliance/port/offload/offload_impl.h"
#include "fabric/base/inet_csum.h"

#define MACS	12u
#define TCP_FIN 0x01u
#define TCP_PSH 0x08u
#define TCP_CWR 0x80u

/* RFC 768: a UDP checksum that comes out as 0 is sent as all ones, which for the others is the same number.
 */
static uint16_t never_zero(uint16_t csum)
{
	return csum ? csum : 0xffff;
}

static void finish_ip4(const struct offload *o, uint8_t *pkt, uint32_t i, uint32_t len)
{
	uint8_t *ip = pkt + o->l3;
	uint32_t ihl = o->l4 - o->l3;

	put16(ip + 2, len - o->l3);
	put16(ip + 4, get16(ip + 4) + i);
	put16(ip + 10, 0);
	inet_put(ip + 10, inet_fold(inet_sum(0, ip, ihl)));
}

/* Pseudo header (RFC 9293, 3.1; RFC 8200, 8.1) and the l4 packet; its checksum field is 0. */
static uint16_t l4_csum(const struct offload *o, const uint8_t *pkt, uint32_t len, uint32_t proto)
{
	const uint8_t *ip = pkt + o->l3;
	uint8_t tail[8] = {0};
	uint64_t sum;

	put32(tail, len - o->l4);
	tail[7] = (uint8_t)proto;
	if (o->kind == OFFLOAD_TCP4 || o->kind == OFFLOAD_UDP4)
		sum = inet_sum(0, ip + 12, 8);
	else
		sum = inet_sum(0, ip + 8, 32);
	sum = inet_sum(sum, tail, sizeof(tail));
	return never_zero(inet_fold(inet_sum(sum, pkt + o->l4, len - o->l4)));
}

static void finish_tcp(const struct offload *o, uint8_t *pkt, uint32_t i, uint32_t len)
{
	uint8_t *tcp = pkt + o->l4;

	put32(tcp + 4, get32(tcp + 4) + i * o->part);
	if (i > 0)
		tcp[TCP_FLAGS] &= (uint8_t)~TCP_CWR;
	if (i + 1 < o->packets)
		tcp[TCP_FLAGS] &= (uint8_t) ~(TCP_FIN | TCP_PSH);
	put16(tcp + TCP_CSUM, 0);
	inet_put(tcp + TCP_CSUM, l4_csum(o, pkt, len, IPPROTO_TCP_));
}

static void finish_udp(const struct offload *o, uint8_t *pkt, uint32_t len)
{
	uint8_t *udp = pkt + o->l4;

	put16(udp + 4, len - o->l4);
	put16(udp + UDP_CSUM, 0);
	inet_put(udp + UDP_CSUM, l4_csum(o, pkt, len, IPPROTO_UDP_));
}

/* Writes the packet without tag; its length. */
static uint32_t write_part(const struct offload *o, const struct frame *f, uint32_t i, uint8_t *pkt)
{
	uint32_t off = o->headers + i * o->part;
	uint32_t payload = o->len - off < o->part ? o->len - off : o->part;
	uint32_t len = o->headers + payload;

	memcpy(pkt, o->head, o->headers);
	frame_read(f, VNET_HDR + off, pkt + o->headers, payload);
	if (o->kind == OFFLOAD_TCP4 || o->kind == OFFLOAD_UDP4)
		finish_ip4(o, pkt, i, len);
	else
		put16(pkt + o->l3 + 4, len - o->l3 - IP6_BYTES);
	if (o->kind == OFFLOAD_TCP4 || o->kind == OFFLOAD_TCP6)
		finish_tcp(o, pkt, i, len);
	else
		finish_udp(o, pkt, len);
	return len;
}

uint32_t offload_write(const struct offload *o, const struct frame *f, uint32_t i, uint8_t *out)
{
	/* Made behind the place for the tag; the addresses then move in front of it. */
	uint32_t tag = o->vlan ? OFFLOAD_TAG : 0, len;
	uint8_t *pkt = out + tag;

	if (o->kind == OFFLOAD_PLAIN || o->kind == OFFLOAD_CSUM) {
		len = frame_read(f, VNET_HDR, pkt, o->len);
		if (o->kind == OFFLOAD_CSUM) {
			uint64_t sum = inet_sum(0, pkt + o->csum_start, len - o->csum_start);

			inet_put(pkt + o->csum_field, never_zero(inet_fold(sum)));
		}
	} else {
		len = write_part(o, f, i, pkt);
	}
	if (tag) {
		memmove(out, pkt, MACS);
		put16(out + MACS, 0x8100);
		put16(out + MACS + 2, o->vlan);
	}
	return len + tag;
}

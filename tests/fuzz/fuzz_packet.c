/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz-rooms: fabric/link */
/*
 * Frames from the fabric's Ethernet, as a DPDK port takes them. Input: byte 0: bit 0 IPv6, bit 1 the rest is
 * laid over headers that are right (xor), else it is the frame. What is taken lies in the frame, and headers
 * made anew from what was read are taken as the same.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "fabric/link/dpdk/packet.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t mac[PACKET_MAC] = {2, 0, 0, 0, 0, 1}, peer_mac[PACKET_MAC] = {2, 0, 0, 0, 0, 2};

static void address(struct link_addr *a, bool six, uint8_t last)
{
	*a = (struct link_addr){.port = LINK_FABRIC_PORT};
	if (six)
		a->ip[0] = 0xfd;
	else
		memcpy(a->ip + 10, (const uint8_t[]){0xff, 0xff, 10}, 3);
	a->ip[15] = last;
}

static void taken(const uint8_t *frame, size_t len, const struct packet *p, const struct link_addr *local)
{
	struct packet again;
	uint32_t n, headers = PACKET_HEADERS_V6;
	uint8_t *out;

	assert(p->len && (size_t)p->off + p->len <= len);
	assert(link_addr_is_v4(&p->from) == link_addr_is_v4(local));
	out = malloc(headers + p->len);
	assert(out);
	memset(out, 0, headers + p->len);
	n = link_addr_is_v4(local) ? PACKET_HEADERS_V4 : PACKET_HEADERS_V6;
	memcpy(out + n, frame + p->off, p->len);
	assert(packet_write(out, peer_mac, mac, &p->from, local, p->len) == n);
	assert(packet_parse(&again, out, n + p->len, mac, local));
	assert(again.off == n && again.len == p->len && link_addr_equal(&again.from, &p->from));
	free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct link_addr local, from;
	struct packet p;
	uint8_t *frame;
	size_t len;

	if (size < 2 || size > 9000)
		return 0;
	address(&local, data[0] & 1, 1);
	address(&from, data[0] & 1, 2);
	len = size - 1;
	frame = calloc(1, len);
	assert(frame);
	if (data[0] & 2 && len > PACKET_HEADERS_V6)
		packet_write(frame, peer_mac, mac, &from, &local,
			     (uint32_t)len - (data[0] & 1 ? PACKET_HEADERS_V6 : PACKET_HEADERS_V4));
	for (size_t i = 0; i < len; i++)
		frame[i] ^= data[1 + i];
	if (packet_parse(&p, frame, (uint32_t)len, mac, &local))
		taken(frame, len, &p, &local);
	free(frame);
	return 0;
}

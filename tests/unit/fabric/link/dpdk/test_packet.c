/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "fabric/base/rng.h"
#include "fabric/link/dpdk/packet.h"

static const uint8_t mac_a[6] = {2, 0, 0, 0, 0, 0xa}, mac_b[6] = {2, 0, 0, 0, 0, 0xb};

static struct link_addr addr(const char *text)
{
	struct link_addr a;

	assert_int_equal(link_addr_parse(&a, text, LINK_FABRIC_PORT), 0);
	return a;
}

static uint32_t add_words(uint32_t sum, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i += 2) {
		sum += (uint32_t)p[i] << 8 | (i + 1 < n ? p[i + 1] : 0u);
		sum = (sum & 0xffff) + (sum >> 16);
	}
	return sum;
}

/* 10.0.0.1:4793 -> 10.0.0.2:1000, "hi": every byte is known. */
static void packet_write__known_bytes(void **state)
{
	static const uint8_t want[44] = {
		2,  0, 0,  0, 0,    0xb,  2,	0,    0,  0,	0,    0xa, 8,	0,   0x45,
		2,  0, 30, 0, 0,    0x40, 0,	64,   17, 0x26, 0xcb, 10,  0,	0,   1,
		10, 0, 0,  2, 0x12, 0xb9, 0x03, 0xe8, 0,  10,	0,    0,   'h', 'i',
	};
	struct link_addr from = addr("10.0.0.1"), to = addr("10.0.0.2:1000");
	uint8_t out[44];

	(void)state;
	memcpy(out + 42, "hi", 2);
	assert_int_equal(packet_write(out, mac_a, mac_b, &from, &to, 2), 42);
	assert_memory_equal(out, want, sizeof(want));
}

static void packet__reads_what_it_writes(void **state)
{
	static const char *const pairs[2][2] = {{"10.0.0.1", "10.0.0.2"}, {"[fd00::1]", "[fd00::2]"}};
	uint8_t out[1600];
	struct rng r;

	(void)state;
	rng_init(&r, 1);
	for (int i = 0; i < 2000; i++) {
		struct link_addr from = addr(pairs[i & 1][0]), to = addr(pairs[i & 1][1]);
		uint32_t headers = i & 1 ? PACKET_HEADERS_V6 : PACKET_HEADERS_V4;
		uint32_t n = 1 + (uint32_t)rng_below(&r, 1400), len = headers + n;
		struct packet p;

		from.port = (uint16_t)rng_u64(&r);
		for (uint32_t k = 0; k < n; k++)
			out[headers + k] = (uint8_t)rng_u64(&r);
		assert_int_equal(packet_write(out, mac_a, mac_b, &from, &to, n), headers);
		if (i & 1) {
			uint8_t tail[4] = {0, 17, (uint8_t)((8 + n) >> 8), (uint8_t)(8 + n)};

			assert_int_equal(
				add_words(add_words(add_words(0, out + 22, 32), tail, 4), out + 54, 8 + n),
				0xffff);
		} else {
			assert_int_equal(add_words(0, out + 14, 20), 0xffff);
		}
		/* Ethernet padding behind it is not payload. */
		assert_true(packet_parse(&p, out, len + (i % 3 ? 0 : 20), mac_b, &to));
		assert_int_equal(p.off, headers);
		assert_int_equal(p.len, n);
		assert_true(link_addr_equal(&p.from, &from));
		assert_false(p.ce);
		out[15] |= i & 1 ? 0x30 : 3;
		assert_true(packet_parse(&p, out, len, mac_b, &to));
		assert_true(p.ce);
		assert_false(packet_parse(&p, out, len - 1, mac_b, &to));
		assert_false(packet_parse(&p, out, len, mac_a, &to));
		assert_false(packet_parse(&p, out, len, mac_b, &from));
		to.port++;
		assert_false(packet_parse(&p, out, len, mac_b, &to));
	}
}

/* One byte changed at a time: refused, or read within the frame. */
static void packet_parse__hostile_headers(void **state)
{
	static const struct {
		uint32_t at;
		uint8_t value;
	} bad4[] = {{12, 0x81}, {14, 0x46}, {14, 0x55}, {16, 1}, {17, 27},
		    {20, 0x60}, {21, 1},    {23, 6},	{38, 1}, {39, 8}},
	  bad6[] = {{12, 0x08}, {14, 0x50}, {18, 1}, {19, 7}, {20, 44}, {58, 1}, {59, 8}};
	struct link_addr a4 = addr("10.0.0.1"), b4 = addr("10.0.0.2"), a6 = addr("[fd00::1]"),
			 b6 = addr("[fd00::2]");
	uint8_t good4[100], good6[100], pkt[100];
	struct packet p;

	(void)state;
	memset(good4, 7, sizeof(good4));
	memset(good6, 7, sizeof(good6));
	packet_write(good4, mac_a, mac_b, &a4, &b4, 100 - PACKET_HEADERS_V4);
	packet_write(good6, mac_a, mac_b, &a6, &b6, 100 - PACKET_HEADERS_V6);
	for (size_t i = 0; i < sizeof(bad4) / sizeof(bad4[0]); i++) {
		memcpy(pkt, good4, 100);
		pkt[bad4[i].at] = bad4[i].value;
		assert_false(packet_parse(&p, pkt, 100, mac_b, &b4));
	}
	for (size_t i = 0; i < sizeof(bad6) / sizeof(bad6[0]); i++) {
		memcpy(pkt, good6, 100);
		pkt[bad6[i].at] = bad6[i].value;
		assert_false(packet_parse(&p, pkt, 100, mac_b, &b6));
	}
	for (int six = 0; six < 2; six++)
		for (uint32_t at = 0; at < 62; at++)
			for (unsigned v = 0; v < 256; v++) {
				memcpy(pkt, six ? good6 : good4, 100);
				pkt[at] = (uint8_t)v;
				if (packet_parse(&p, pkt, 100, mac_b, six ? &b6 : &b4))
					assert_true(p.len > 0 && p.off + p.len <= 100);
			}
	for (uint32_t len = 0; len < 100; len++) {
		assert_false(packet_parse(&p, good4, len, mac_b, &b4));
		assert_false(packet_parse(&p, good6, len, mac_b, &b6));
	}
}

static void hops__remembers_and_replaces_the_oldest(void **state)
{
	static struct hops h;
	uint8_t ip[16] = {0xfd}, mac[6] = {2};
	unsigned known = 0;

	(void)state;
	memset(&h, 0, sizeof(h));
	assert_null(hops_get(&h, ip));
	hops_set(&h, ip, mac_a);
	assert_memory_equal(hops_get(&h, ip), mac_a, 6);
	hops_set(&h, ip, mac_b);
	assert_memory_equal(hops_get(&h, ip), mac_b, 6);
	for (unsigned i = 1; i < 1000; i++) {
		ip[14] = (uint8_t)(i >> 8);
		ip[15] = mac[5] = (uint8_t)i;
		hops_set(&h, ip, mac);
		assert_memory_equal(hops_get(&h, ip), mac, 6);
	}
	for (unsigned i = 1; i < 1000; i++) {
		ip[14] = (uint8_t)(i >> 8);
		ip[15] = (uint8_t)i;
		if (hops_get(&h, ip)) {
			known++;
			assert_int_equal(hops_get(&h, ip)[5], (uint8_t)i);
		}
	}
	assert_in_range(known, 900, 999);
	for (unsigned i = 0; i < 100000; i++) {
		ip[12] = (uint8_t)(i >> 16);
		ip[14] = (uint8_t)(i >> 8);
		ip[15] = mac[5] = (uint8_t)i;
		hops_set(&h, ip, mac);
		assert_memory_equal(hops_get(&h, ip), mac, 6);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(packet_write__known_bytes),
		cmocka_unit_test(packet__reads_what_it_writes),
		cmocka_unit_test(packet_parse__hostile_headers),
		cmocka_unit_test(hops__remembers_and_replaces_the_oldest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

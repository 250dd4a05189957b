/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What comes out is read back by a naive receiver: it parses each packet by itself, checks lengths
 * and checksums word by word, and joins the payloads.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <cmocka.h>

#include "appliance/port/offload/offload.h"
#include "fabric/base/rng.h"

#define VNET	   12u
#define NEEDS_CSUM 1
#define TCPV4	   1
#define UFO	   3
#define TCPV6	   4
#define UDP_L4	   5
#define ECN	   0x80

static uint8_t frame_bytes[FRAME_MAX + 64];
static struct frame_pool *frames;

static void be16(uint8_t *p, unsigned v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static unsigned rd16(const uint8_t *p)
{
	return (unsigned)p[0] << 8 | p[1];
}

static uint32_t rd32(const uint8_t *p)
{
	return (uint32_t)rd16(p) << 16 | rd16(p + 2);
}

static uint32_t add_words(uint32_t sum, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i += 2) {
		sum += (uint32_t)p[i] << 8 | (i + 1 < n ? p[i + 1] : 0u);
		sum = (sum & 0xffff) + (sum >> 16);
	}
	return sum;
}

struct shape {
	bool six, udp;
	unsigned tags;	   /* of the guest's own */
	unsigned options;  /* bytes of TCP options */
	unsigned ip_extra; /* IPv4 options, or an IPv6 destination options header, bytes */
	uint32_t payload;
	unsigned gso_size; /* 0: no super-frame */
	unsigned flags;	   /* TCP */
	bool partial;	   /* checksum left to us */
};

struct built {
	uint32_t len; /* with virtio header */
	uint32_t l3, l4, headers;
};

/* A guest's frame in frame_bytes. */
static struct built build(const struct shape *s, struct rng *r)
{
	struct built b = {.l3 = 14 + 4 * s->tags};
	uint8_t *e = frame_bytes + VNET, *ip, *l4;
	unsigned iplen = (s->six ? 40 : 20) + s->ip_extra;
	unsigned field = s->udp ? 6 : 16, proto = s->udp ? 17 : 6;
	uint32_t l4len;

	b.l4 = b.l3 + iplen;
	b.headers = b.l4 + (s->udp ? 8 : 20 + s->options);
	b.len = VNET + b.headers + s->payload;
	l4len = b.len - VNET - b.l4;
	for (uint32_t i = 0; i < b.len; i++)
		frame_bytes[i] = (uint8_t)rng_u64(r);
	for (unsigned i = 0; i < s->tags; i++)
		be16(e + 12 + 4 * i, i ? 0x8100 : 0x88a8);
	be16(e + b.l3 - 2, s->six ? 0x86dd : 0x0800);
	ip = e + b.l3;
	l4 = e + b.l4;
	if (s->six) {
		ip[0] = 0x60;
		be16(ip + 4, (l4len + s->ip_extra) & 0xffff);
		ip[6] = (uint8_t)(s->ip_extra ? 60 : proto);
		if (s->ip_extra) {
			ip[40] = (uint8_t)proto;
			ip[41] = (uint8_t)(s->ip_extra / 8 - 1);
		}
	} else {
		ip[0] = (uint8_t)(0x40 | iplen / 4);
		be16(ip + 2, (l4len + iplen) & 0xffff);
		be16(ip + 6, 0x4000);
		ip[9] = (uint8_t)proto;
	}
	if (!s->udp) {
		l4[12] = (uint8_t)((20 + s->options) / 4 << 4);
		l4[13] = (uint8_t)s->flags;
	}
	memset(frame_bytes, 0, VNET);
	frame_bytes[10] = 1;
	if (s->partial || s->gso_size) {
		uint8_t tail[4];
		uint32_t sum;

		/* The guest leaves the pseudo header's sum in the field (virtio 1.2, 5.1.6.2). */
		be16(tail, (l4len >> 16));
		be16(tail + 2, l4len & 0xffff);
		sum = s->six ? add_words(0, ip + 8, 32) : add_words(0, ip + 12, 8);
		sum = add_words(sum + proto, tail, 4);
		be16(l4 + field, sum);
		frame_bytes[0] = NEEDS_CSUM;
		frame_bytes[6] = (uint8_t)b.l4;
		frame_bytes[7] = (uint8_t)(b.l4 >> 8);
		frame_bytes[8] = (uint8_t)field;
		frame_bytes[9] = 0;
	}
	if (s->gso_size) {
		frame_bytes[1] = s->udp ? UDP_L4 : s->six ? TCPV6 : TCPV4;
		frame_bytes[4] = (uint8_t)s->gso_size;
		frame_bytes[5] = (uint8_t)(s->gso_size >> 8);
	}
	return b;
}

/* frame_bytes as a frame in pieces of random size. */
static struct frame *frame_of(uint32_t len, struct rng *r)
{
	struct frame *f = frame_get(frames);
	uint32_t at = 0;

	while (at < len) {
		uint32_t n = f->nseg < FRAME_SEGS - 1 ? 1 + (uint32_t)rng_below(r, f->nseg < 20 ? 40 : 3000)
						      : len;

		n = n < len - at ? n : len - at;
		assert_int_equal(frame_add(f, frame_bytes + at, n, NULL), 0);
		at += n;
	}
	return f;
}

/* Is the l4 checksum of one packet right, and its lengths? */
static void check_packet(const struct shape *s, const struct built *b, const uint8_t *e, uint32_t len)
{
	const uint8_t *ip = e + b->l3;
	uint32_t l4len = len - b->l4, sum;
	uint8_t tail[4] = {0, 0, (uint8_t)(l4len >> 8), (uint8_t)l4len};

	if (s->six) {
		assert_int_equal(rd16(ip + 4), len - b->l3 - 40);
		sum = add_words(0, ip + 8, 32);
	} else {
		assert_int_equal(rd16(ip + 2), len - b->l3);
		if (s->gso_size)
			assert_int_equal(add_words(0, ip, b->l4 - b->l3), 0xffff);
		sum = add_words(0, ip + 12, 8);
	}
	sum = add_words(sum + (s->udp ? 17 : 6), tail, 4);
	sum = add_words(sum, e + b->l4, l4len);
	assert_int_equal(sum, 0xffff);
	if (s->udp) {
		if (s->gso_size)
			assert_int_equal(rd16(e + b->l4 + 4), l4len);
		assert_int_not_equal(rd16(e + b->l4 + 6), 0);
	}
}

static void check_tcp(const struct shape *s, const struct built *b, const uint8_t *e, uint32_t done,
		      bool last)
{
	const uint8_t *was = frame_bytes + VNET + b->l4, *is = e + b->l4;
	unsigned flags = s->flags;

	if (!last)
		flags &= ~0x09u;
	if (done)
		flags &= ~0x80u;
	assert_int_equal(rd32(is + 4), (uint32_t)(rd32(was + 4) + done));
	assert_int_equal(is[13], flags);
	assert_memory_equal(is, was, 4);
	assert_memory_equal(is + 8, was + 8, 5);
	assert_memory_equal(is + 14, was + 14, 2);
	assert_memory_equal(is + 18, was + 18, 2 + s->options);
}

/* Sends s through and reads it back. */
static void through(const struct shape *s, uint32_t mtu, uint16_t vlan, struct rng *r)
{
	static uint8_t out[70000];
	struct built b = build(s, r);
	struct frame *f = frame_of(b.len, r);
	uint32_t done = 0, tag = vlan ? 4 : 0;
	struct offload o;

	assert_int_equal(offload_plan(&o, f, mtu, vlan), 0);
	for (uint32_t i = 0; i < o.packets; i++) {
		uint32_t len, n, longest = offload_longest(&o);

		memset(out, 0xaa, longest + 8);
		len = offload_write(&o, f, i, out);
		assert_in_range(len, b.headers + tag, longest);
		assert_int_equal(out[longest], 0xaa);
		if (vlan) {
			assert_int_equal(rd16(out + 12), 0x8100);
			assert_int_equal(rd16(out + 14), vlan);
			memmove(out + 4, out, 12);
		}
		len -= tag;
		assert_in_range(len, 0, mtu + b.l3);
		assert_memory_equal(out + tag, frame_bytes + VNET, b.l3);
		check_packet(s, &b, out + tag, len);
		if (!s->six && s->gso_size)
			assert_int_equal(rd16(out + tag + b.l3 + 4),
					 (rd16(frame_bytes + VNET + b.l3 + 4) + i) & 0xffff);
		if (!s->udp)
			check_tcp(s, &b, out + tag, done, i + 1 == o.packets);
		n = len - b.headers;
		assert_memory_equal(out + tag + b.headers, frame_bytes + VNET + b.headers + done, n);
		done += n;
	}
	assert_int_equal(done, s->payload);
	frame_put(f);
}

static void offload__plain_frame_is_untouched(void **state)
{
	struct shape s = {.payload = 1460, .flags = 0x18};
	struct rng r;
	struct offload o;
	uint8_t out[1600];

	(void)state;
	rng_init(&r, 1);
	for (unsigned vlan = 0; vlan < 4095; vlan += 4094) {
		struct built b = build(&s, &r);
		struct frame *f = frame_of(b.len, &r);

		assert_int_equal(offload_plan(&o, f, 1500, (uint16_t)vlan), 0);
		assert_int_equal(o.packets, 1);
		assert_int_equal(offload_write(&o, f, 0, out), 1514 + (vlan ? 4 : 0));
		assert_memory_equal(out, frame_bytes + VNET, 12);
		if (vlan)
			assert_memory_equal(out + 12, "\x81\x00\x0f\xfe", 4);
		assert_memory_equal(out + (vlan ? 16 : 12), frame_bytes + VNET + 12, 1502);
		frame_put(f);
	}
}

/* A segment whose checksum was worked out by hand: 10.0.0.1:1 -> 10.0.0.2:2, seq 1, "ab", FIN PSH ACK. */
static void offload__known_bytes(void **state)
{
	static const uint8_t in[] =
		{
			1,    TCPV4, 0,	 0,  1,	   0,	 34,   0,   16, 0, 1, 0,	/* gso_size 1 */
			2,    2,     2,	 2,  2,	   2,	 4,    4,   4,	4, 4, 4, 8,  0, /* Ethernet */
			0x45, 0,     0,	 42, 0x12, 0x34, 0x40, 0,   64, 6, 0, 0, 10, 0,
			0,    1,     10, 0,  0,	   2,	 0,    1,   0,	2, 0, 0, 0,  1,
			0,    0,     0,	 0,  0x50, 0x99, 0,    100, 0,	0, 0, 0, /* CWR ACK PSH FIN */
			'a',  'b',
		};
	static const uint8_t want[2][55] = {
		{2,    2,    2, 2,  2, 2,    4,	   4,  4,    4,	   4, 4,   8,	 0,    0x45, 0, 0,  41, 0x12,
		 0x34, 0x40, 0, 64, 6, 0x14, 0x99, 10, 0,    0,	   1, 10,  0,	 0,    2,    0, 1,  0,	2,
		 0,    0,    0, 1,  0, 0,    0,	   0,  0x50, 0x90, 0, 100, 0x39, 0xe9, 0,    0, 'a'},
		{2,    2,    2, 2,  2, 2,    4,	   4,  4,    4,	   4, 4,   8,	 0,    0x45, 0, 0,  41, 0x12,
		 0x35, 0x40, 0, 64, 6, 0x14, 0x98, 10, 0,    0,	   1, 10,  0,	 0,    2,    0, 1,  0,	2,
		 0,    0,    0, 2,  0, 0,    0,	   0,  0x50, 0x19, 0, 100, 0x39, 0x5f, 0,    0, 'b'},
	};
	struct frame *f = frame_get(frames);
	struct offload o;
	uint8_t out[64];

	(void)state;
	frame_add(f, in, sizeof(in), NULL);
	assert_int_equal(offload_plan(&o, f, 1500, 0), 0);
	assert_int_equal(o.packets, 2);
	for (uint32_t i = 0; i < 2; i++) {
		assert_int_equal(offload_write(&o, f, i, out), 55);
		assert_memory_equal(out, want[i], 55);
	}
	frame_put(f);
}

static void offload__completes_checksums(void **state)
{
	struct rng r;

	(void)state;
	rng_init(&r, 2);
	for (int i = 0; i < 4000; i++) {
		struct shape s = {.six = i & 1,
				  .udp = i & 2,
				  .partial = true,
				  .flags = 0x99,
				  .payload = (uint32_t)rng_below(&r, 1380)};

		through(&s, 1500, i & 4 ? 100 : 0, &r);
	}
}

static void offload__cuts_anything_and_a_receiver_reads_it(void **state)
{
	struct rng r;

	(void)state;
	rng_init(&r, 3);
	for (int i = 0; i < 1500; i++) {
		struct shape s = {.six = i & 1,
				  .udp = i % 5 == 0,
				  .flags = (unsigned)rng_below(&r, 256),
				  .tags = (unsigned)rng_below(&r, 3)};
		uint32_t mtu = 1280 + (uint32_t)rng_below(&r, 8000);

		s.options = s.udp ? 0 : 4 * (unsigned)rng_below(&r, 11);
		s.ip_extra = rng_below(&r, 4) ? 0 : 8;
		s.payload = (uint32_t)rng_below(&r, i % 3 ? 65400 : 3000);
		s.gso_size = 260 + (unsigned)rng_below(&r, 1000 - 260);
		through(&s, mtu, (uint16_t)(s.tags ? 1 + rng_below(&r, 4094) : rng_below(&r, 4095)), &r);
	}
}

static void offload__tcp_parts_shrink_to_the_mtu_udp_does_not(void **state)
{
	struct shape s = {.payload = 60000, .gso_size = 8948, .flags = 0x10};
	struct offload o;
	struct frame *f;
	struct rng r;

	(void)state;
	rng_init(&r, 4);
	through(&s, 1500, 7, &r);
	s.udp = true;
	f = frame_of(build(&s, &r).len, &r);
	assert_int_equal(offload_plan(&o, f, 1500, 0), -EMSGSIZE);
	assert_int_equal(offload_plan(&o, f, 9000, 0), 0);
	frame_put(f);
}

static void offload__mtu_edges(void **state)
{
	struct offload o;
	struct rng r;

	(void)state;
	rng_init(&r, 5);
	for (uint32_t payload = 1459; payload < 1463; payload++) {
		struct shape s = {.payload = payload};
		struct frame *f = frame_of(build(&s, &r).len, &r);

		assert_int_equal(offload_plan(&o, f, 1500, 9), payload <= 1460 ? 0 : -EMSGSIZE);
		frame_put(f);
		s.tags = 1;
		f = frame_of(build(&s, &r).len, &r);
		assert_int_equal(offload_plan(&o, f, 1500, 9), payload <= 1460 ? 0 : -EMSGSIZE);
		frame_put(f);
	}
}

/* One wrong field at a time in a frame that is good otherwise. */
static void offload__refuses_what_cannot_be_true(void **state)
{
	static const struct {
		unsigned at;
		uint8_t value;
		int err;
		const char *what;
	} bad[] = {
		{0, 0, -EPROTO, "gso without NEEDS_CSUM"},
		{1, 2, -EPROTO, "unknown gso_type"},
		{1, UFO, -EPROTO, "UFO was not offered"},
		{1, TCPV6, -EPROTO, "TCPv6 on IPv4"},
		{1, UDP_L4, -EPROTO, "UDP on TCP"},
		{4, 1, -EPROTO, "more packets than allowed"},
		{6, 33, -EPROTO, "csum_start before TCP"},
		{7, 0xff, -EPROTO, "csum_start beyond the frame"},
		{8, 6, -EPROTO, "csum_offset is not TCP's"},
		{9, 0xff, -EPROTO, "csum_offset beyond the frame"},
		{VNET + 12, 0x86, -EPROTO, "not IPv4"},
		{VNET + 14, 0x55, -EPROTO, "version 5"},
		{VNET + 14, 0x44, -EPROTO, "ihl 4"},
		{VNET + 14, 0x46, -EPROTO, "ihl does not lead to csum_start"},
		{VNET + 20, 0x20, -EPROTO, "more fragments"},
		{VNET + 21, 0x01, -EPROTO, "fragment offset"},
		{VNET + 23, 17, -EPROTO, "UDP, says IP"},
		{VNET + 46, 0x40, -EPROTO, "doff 4"},
		{VNET + 46, 0xf0, 0, "doff 15 is fine here: the payload gives the options"},
	};
	struct shape s = {.payload = 4000, .gso_size = 0x100};
	struct offload o;
	struct rng r;

	(void)state;
	rng_init(&r, 6);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct built b = build(&s, &r);
		struct frame *f;

		if (bad[i].at == 4)
			frame_bytes[5] = 0;
		frame_bytes[bad[i].at] = bad[i].value;
		f = frame_of(b.len, &r);
		if (offload_plan(&o, f, 1500, 0) != bad[i].err)
			fail_msg("%s", bad[i].what);
		frame_put(f);
	}
	/* gso_size 0, and headers that leave no room in the MTU. */
	build(&s, &r);
	frame_bytes[4] = frame_bytes[5] = 0;
	{
		struct frame *f = frame_of(4000, &r);

		assert_int_equal(offload_plan(&o, f, 1500, 0), -EPROTO);
		frame_bytes[5] = 1;
		assert_int_equal(offload_plan(&o, f, 40, 0), -EMSGSIZE);
		frame_put(f);
	}
}

/* Headers as long as fit the private copy are cut; one step longer is refused. */
static void offload__header_lengths(void **state)
{
	unsigned good = 0;
	struct rng r;

	(void)state;
	rng_init(&r, 9);
	for (unsigned extra = 8; extra <= 256; extra += 8)
		for (unsigned options = 0; options <= 40; options += 4)
			for (int udp = 0; udp < 2; udp++) {
				struct shape s = {.six = true,
						  .udp = udp,
						  .ip_extra = extra,
						  .options = udp ? 0 : options,
						  .payload = 3000,
						  .gso_size = 900};
				struct built b = build(&s, &r);
				struct frame *f = frame_of(b.len, &r);
				struct offload o;

				assert_int_equal(offload_plan(&o, f, 1500, 0),
						 b.headers <= OFFLOAD_HEADERS ? 0 : -EPROTO);
				frame_put(f);
				if (b.headers <= OFFLOAD_HEADERS) {
					through(&s, 1500, 0, &r);
					good++;
				}
			}
	assert_in_range(good, 200, 600);
}

static void offload__checksum_fields_stay_in_the_frame(void **state)
{
	struct offload o;
	uint8_t out[100];

	(void)state;
	for (uint32_t len = 14; len < 60; len++)
		for (unsigned start = 0; start < 70; start++)
			for (unsigned off = 0; off < 70; off++) {
				struct frame *f = frame_get(frames);
				int err;

				memset(frame_bytes, 0, VNET + len);
				frame_bytes[0] = NEEDS_CSUM;
				frame_bytes[6] = (uint8_t)start;
				frame_bytes[8] = (uint8_t)off;
				frame_add(f, frame_bytes, VNET + len, NULL);
				err = offload_plan(&o, f, 1500, 0);
				assert_int_equal(err, start >= 14 && start + off + 2 <= len ? 0 : -EPROTO);
				if (!err) {
					memset(out, 0, sizeof(out));
					assert_int_equal(offload_write(&o, f, 0, out), len);
					assert_int_equal(rd16(out + start + off), 0xffff);
				}
				frame_put(f);
			}
}

static void offload__own_tag_does_not_go_out_as_the_outermost(void **state)
{
	struct shape s = {.payload = 100, .tags = 1};
	struct offload o;
	struct frame *f;
	struct rng r;

	(void)state;
	rng_init(&r, 8);
	for (int super = 0; super < 2; super++) {
		s.gso_size = super ? 50 : 0;
		for (unsigned tpid = 0; tpid < 2; tpid++) {
			struct built b = build(&s, &r);

			be16(frame_bytes + VNET + 12, tpid ? 0x8100 : 0x88a8);
			f = frame_of(b.len, &r);
			assert_int_equal(offload_plan(&o, f, 1500, 0), -EPERM);
			assert_int_equal(offload_plan(&o, f, 1500, 1), 0);
			frame_put(f);
		}
	}
}

static void offload__short_frames(void **state)
{
	struct offload o;

	(void)state;
	memset(frame_bytes, 0, 64);
	for (uint32_t len = 0; len < 26; len++) {
		struct frame *f = frame_get(frames);

		frame_add(f, frame_bytes, len, NULL);
		assert_int_equal(offload_plan(&o, f, 1500, 0), -EINVAL);
		frame_put(f);
	}
}

/* Bytes by chance in the headers: whatever is planned stays within its own bounds. */
static void offload__random_headers_stay_in_bounds(void **state)
{
	static uint8_t out[70000];
	unsigned good = 0;
	struct rng r;

	(void)state;
	rng_init(&r, 7);
	for (int i = 0; i < 60000; i++) {
		struct shape s = {.six = i & 1,
				  .udp = i % 3 == 0,
				  .payload = (uint32_t)rng_below(&r, 3000),
				  .gso_size = 100 + (unsigned)rng_below(&r, 1400),
				  .ip_extra = i % 7 ? 0 : 8};
		struct built b = build(&s, &r);
		uint32_t len = b.len - (rng_below(&r, 4) ? 0 : (uint32_t)rng_below(&r, b.len));
		struct frame *f;
		struct offload o;

		for (uint64_t n = rng_below(&r, 3); n; n--)
			frame_bytes[rng_below(&r, VNET + 60)] = (uint8_t)rng_u64(&r);
		f = frame_of(len, &r);
		if (offload_plan(&o, f, 1500, i % 2 ? 5 : 0) == 0) {
			uint32_t longest = offload_longest(&o);

			good++;
			assert_in_range(longest, 14, 1500 + 14 + 4 + 4 + 8);
			for (uint32_t k = 0; k < o.packets; k++) {
				out[longest] = 0x77;
				assert_in_range(offload_write(&o, f, k, out), 14, longest);
				assert_int_equal(out[longest], 0x77);
			}
		}
		frame_put(f);
	}
	assert_in_range(good, 5000, 60000);
}

static int open_pool(void **state)
{
	(void)state;
	frames = frame_pool_create(16);
	return 0;
}

static int close_pool(void **state)
{
	(void)state;
	frame_pool_destroy(frames);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(offload__plain_frame_is_untouched),
		cmocka_unit_test(offload__known_bytes),
		cmocka_unit_test(offload__completes_checksums),
		cmocka_unit_test(offload__cuts_anything_and_a_receiver_reads_it),
		cmocka_unit_test(offload__tcp_parts_shrink_to_the_mtu_udp_does_not),
		cmocka_unit_test(offload__mtu_edges),
		cmocka_unit_test(offload__refuses_what_cannot_be_true),
		cmocka_unit_test(offload__header_lengths),
		cmocka_unit_test(offload__checksum_fields_stay_in_the_frame),
		cmocka_unit_test(offload__own_tag_does_not_go_out_as_the_outermost),
		cmocka_unit_test(offload__short_frames),
		cmocka_unit_test(offload__random_headers_stay_in_bounds),
	};

	return cmocka_run_group_tests(tests, open_pool, close_pool);
}

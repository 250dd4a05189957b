/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams in, super-frames out; cut again by offload they are the packets that came, and whatever else passes
 * is as it was.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "appliance/port/offload/gro.h"
#include "appliance/port/offload/offload.h"
#include "fabric/base/inet_csum.h"
#include "fabric/base/rng.h"

#define US	1000ull
#define PACKETS 4096
#define ROOM	2048
#define VNET	12u
#define MSS	1428u /* fits IPv6 and timestamps */

#define FIN 0x01
#define PSH 0x08
#define ACK 0x10

static struct frame_pool *frames;
static struct buf_pool *bufs;
static struct gro *gro;
static uint64_t now, merged, super;

/* What came out, in order, cut again. */
static struct {
	uint32_t len;
	uint16_t vlan;
	uint8_t bytes[1600];
} out[PACKETS];
static unsigned nout, nframes;

/* A stream's packets. */
struct stream {
	bool six;
	uint16_t vlan, port, id;
	uint32_t seq, ack;
	uint8_t ttl;
};

static uint32_t be(uint8_t *p, uint32_t v, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		p[i] = (uint8_t)(v >> 8 * (bytes - 1 - i));
	return bytes;
}

static uint16_t tcp_sum(const uint8_t *eth, bool six, uint32_t tcp_len)
{
	const uint8_t *ip = eth + 14, *tcp = ip + (six ? 40 : 20);
	uint8_t tail[8] = {[7] = 6};

	be(tail, tcp_len, 4);
	return inet_fold(
		inet_sum(inet_sum(inet_sum(0, six ? ip + 8 : ip + 12, six ? 32 : 8), tail, 8), tcp, tcp_len));
}

/* The next packet, with a timestamp option, in a frame of one piece; the stream moves on. */
static struct frame *packet(struct stream *s, uint32_t payload, uint8_t flags)
{
	uint32_t ip_bytes = s->six ? 40 : 20, len = 14 + ip_bytes + 32 + payload;
	struct frame *f = frame_get(frames);
	struct buf *b = buf_get(bufs);
	uint8_t *eth = b->base + VNET, *ip = eth + 14, *tcp = ip + ip_bytes;

	memset(b->base, 0, VNET + 14 + ip_bytes + 32);
	b->base[10] = 1;
	memset(eth, 0x52, 12);
	if (s->six) {
		be(eth + 12, 0x86dd, 2);
		ip[0] = 0x60;
		be(ip + 4, 32 + payload, 2);
		ip[6] = 6;
		ip[7] = s->ttl;
		memset(ip + 8, 0xfd, 32);
	} else {
		be(eth + 12, 0x0800, 2);
		ip[0] = 0x45;
		be(ip + 2, ip_bytes + 32 + payload, 2);
		be(ip + 4, s->id++, 2);
		ip[8] = s->ttl;
		ip[9] = 6;
		memset(ip + 12, 10, 8);
		inet_put(ip + 10, inet_fold(inet_sum(0, ip, 20)));
	}
	be(tcp, s->port, 2);
	be(tcp + 2, 5201, 2);
	be(tcp + 4, s->seq, 4);
	be(tcp + 8, s->ack, 4);
	tcp[12] = 0x80;
	tcp[13] = flags;
	be(tcp + 14, 501, 2);
	memcpy(tcp + 20, "\1\1\x8\xa\1\2\3\4\5\6\7\x8", 12);
	for (uint32_t i = 0; i < payload; i++)
		tcp[32 + i] = (uint8_t)(s->seq + i);
	inet_put(tcp + 16, tcp_sum(eth, s->six, 32 + payload));
	s->seq += payload;
	assert_int_equal(frame_add(f, b->base, VNET + len, b), 0);
	buf_put(b);
	return f;
}

static void on_out(void *ctx, struct frame *f, uint16_t vlan)
{
	struct offload o;

	(void)ctx;
	nframes++;
	assert_int_equal(offload_plan(&o, f, 1500, 1), 0);
	o.vlan = 0;
	for (uint32_t i = 0; i < o.packets; i++) {
		assert_true(nout < PACKETS && offload_longest(&o) <= sizeof(out[0].bytes));
		out[nout].len = offload_write(&o, f, i, out[nout].bytes);
		out[nout++].vlan = vlan;
	}
	frame_put(f);
}

/* What must come out in the end. */
static struct {
	uint32_t len;
	uint8_t bytes[1600];
} want[PACKETS];
static unsigned nwant;

static int setup(void **state)
{
	struct gro_cfg cfg = {.hold_ns = 20 * US, .out = on_out, .merged = &merged, .super = &super};

	(void)state;
	frames = frame_pool_create(PACKETS);
	bufs = buf_pool_create(PACKETS, ROOM);
	gro = gro_create(&cfg);
	now = 1000 * US;
	merged = super = 0;
	nout = nframes = nwant = 0;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	gro_destroy(gro);
	assert_int_equal(frame_pool_available(frames), PACKETS);
	assert_int_equal(buf_pool_available(bufs), PACKETS);
	frame_pool_destroy(frames);
	buf_pool_destroy(bufs);
	return 0;
}

static void give(struct stream *s, uint32_t payload, uint8_t flags)
{
	struct frame *f = packet(s, payload, flags);

	want[nwant].len = f->len - VNET;
	frame_read(f, VNET, want[nwant++].bytes, f->len - VNET);
	gro_take(gro, f, s->vlan, now);
}

static void all_came_in_order(void)
{
	gro_flush(gro, true, now);
	assert_int_equal(nout, nwant);
	for (unsigned i = 0; i < nout; i++) {
		assert_int_equal(out[i].len, want[i].len);
		assert_memory_equal(out[i].bytes, want[i].bytes, want[i].len);
	}
	nwant = 0;
}

static void a_run_becomes_one_frame(void **state)
{
	(void)state;
	for (int six = 0; six < 2; six++) {
		struct stream s = {.six = six, .port = 1000, .id = 65530, .seq = 0xffffff00, .ttl = 64};

		setup(state);
		for (int i = 0; i < 20; i++)
			give(&s, MSS, ACK);
		give(&s, 700, ACK); /* short: the last */
		assert_int_equal(nframes, 1);
		assert_int_equal(merged, 20);
		assert_int_equal(super, 1);
		give(&s, MSS, ACK);
		give(&s, MSS, ACK | PSH);
		assert_int_equal(nframes, 2);
		all_came_in_order();
		if (!six)
			teardown(state);
	}
}

/* 64 pieces, 64 KiB: a longer run becomes several. */
static void a_frame_has_its_bounds(void **state)
{
	struct stream s = {.port = 1, .ttl = 64}, small = {.port = 2, .ttl = 64};

	(void)state;
	for (int i = 0; i < 200; i++)
		give(&s, MSS, ACK);
	all_came_in_order();
	assert_int_equal(nframes, 5); /* 45 each */
	nframes = nout = 0;
	for (int i = 0; i < 130; i++)
		give(&small, 100, ACK);
	all_came_in_order();
	assert_int_equal(nframes, 3);
}

static void what_differs_begins_anew(void **state)
{
	struct stream s = {.port = 7, .ttl = 64, .ack = 5};

	(void)state;
	give(&s, MSS, ACK);
	s.ack++;
	give(&s, MSS, ACK);
	s.ttl--;
	give(&s, MSS, ACK);
	s.id += 3;
	give(&s, MSS, ACK);
	s.seq += 10; /* a hole */
	give(&s, MSS, ACK);
	s.seq -= MSS; /* again */
	give(&s, MSS, ACK);
	s.id++;
	give(&s, 100, ACK);
	give(&s, MSS, ACK); /* longer than the first */
	give(&s, MSS, ACK | FIN);
	give(&s, 0, ACK);
	give(&s, MSS, ACK | PSH);
	assert_int_equal(merged, 0);
	all_came_in_order();
}

/* Streams side by side, on two VLANs, with what is no stream between them. */
static void streams_do_not_mix(void **state)
{
	struct stream s[3] = {{.port = 10, .ttl = 64, .vlan = 1},
			      {.port = 10, .ttl = 64, .vlan = 2, .seq = 77},
			      {.port = 11, .ttl = 64, .vlan = 1, .six = true}};
	struct frame *arp = frame_get(frames);
	static uint8_t bytes[VNET + 60] = {[VNET + 12] = 8, [VNET + 13] = 6};

	(void)state;
	for (int i = 0; i < 10; i++)
		for (int k = 0; k < 3; k++)
			give(&s[k], 1000, ACK);
	assert_int_equal(frame_add(arp, bytes, sizeof(bytes), NULL), 0);
	gro_take(gro, arp, 3, now);
	assert_true(nout >= 1);
	gro_flush(gro, true, now);
	assert_int_equal(nout, 31);
	for (int k = 0; k < 3; k++) { /* each in its own order, all of it */
		unsigned at = 0;

		for (unsigned i = 0; i < nout; i++) {
			unsigned w = at * 3 + (unsigned)k;

			if (at < 10 && out[i].vlan == s[k].vlan && out[i].len == want[w].len &&
			    !memcmp(out[i].bytes, want[w].bytes, want[w].len))
				at++;
		}
		assert_int_equal(at, 10);
	}
	nwant = 0;
}

static void nothing_is_held_for_long(void **state)
{
	struct stream s = {.port = 9, .ttl = 64};

	(void)state;
	give(&s, MSS, ACK);
	assert_true(gro_flush(gro, false, now + 19 * US));
	assert_int_equal(nout, 0);
	assert_false(gro_flush(gro, false, now + 20 * US));
	assert_int_equal(nout, 1);
	give(&s, MSS, ACK);
	now += 10 * US;
	give(&s, MSS, ACK);
	assert_false(gro_flush(gro, false, now + 10 * US)); /* from the first */
	all_came_in_order();
}

/* A wrong checksum must not be made right. */
static void the_damaged_pass_alone(void **state)
{
	struct stream s = {.port = 9, .ttl = 64};

	(void)state;
	for (uint32_t at = 0; at < 14 + 20 + 32 + 100; at++) {
		struct frame *f;
		uint8_t was[400];

		nout = 0;
		give(&s, 100, ACK);
		f = packet(&s, 100, ACK);
		((uint8_t *)(uintptr_t)f->seg[0].data)[VNET + at] ^= 0x10;
		frame_read(f, VNET, was, 166);
		gro_take(gro, f, 0, now);
		gro_flush(gro, true, now);
		assert_int_equal(nout, 2);
		assert_true(!memcmp(out[0].bytes, was, 166) || !memcmp(out[1].bytes, was, 166));
	}
	assert_int_equal(merged, 0);
	nwant = 0;
}

/* Headers of all kinds of nonsense: every frame comes out, those that were not merged untouched. */
static void nonsense(void **state)
{
	struct rng r;
	uint32_t in = 0;

	(void)state;
	rng_init(&r, 3);
	for (int i = 0; i < 20000; i++) {
		struct stream s = {
			.six = rng_chance(&r, 500000), .port = (uint16_t)rng_below(&r, 3), .ttl = 64};
		struct frame *f;
		uint8_t *p;

		s.seq = (uint32_t)rng_below(&r, 3) * 50;
		f = packet(&s, (uint32_t)rng_below(&r, 51),
			   (uint8_t)(ACK | (rng_chance(&r, 100000) ? FIN : 0)));
		p = (uint8_t *)(uintptr_t)f->seg[0].data;
		p[0] = rng_chance(&r, 800000) ? 2 : 0; /* the NIC says that it is right */
		for (uint64_t n = rng_below(&r, 4); n; n--)
			p[VNET + 12 + rng_below(&r, f->len - VNET - 12)] = (uint8_t)rng_u64(&r);
		f->seg[0].len = (uint32_t)(VNET + 14 + rng_below(&r, f->len - VNET - 14) + 1);
		f->len = f->seg[0].len;
		in++;
		gro_take(gro, f, 0, now);
		now += rng_below(&r, 10) * US;
		gro_flush(gro, false, now);
		if (nout > PACKETS - 100)
			nout = 0;
	}
	gro_flush(gro, true, now);
	assert_int_equal(nframes + merged, in);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(a_run_becomes_one_frame, teardown),
		T(a_frame_has_its_bounds),
		T(what_differs_begins_anew),
		T(streams_do_not_mix),
		T(nothing_is_held_for_long),
		T(the_damaged_pass_alone),
		T(nonsense),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

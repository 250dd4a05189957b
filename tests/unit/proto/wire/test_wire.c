/* SPDX-License-Identifier: Apache-2.0 */
/* Golden bytes, round trips and refusals of every header. The golden bytes are the protocol: a change here
 * is a change of WIRE_VERSION. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "proto/wire/wire.h"

static const struct wire_hdr HDR = {
	.type = WIRE_DATA,
	.flags = WIRE_F_ACK_NOW | WIRE_F_ACKS,
	.cls = 3,
	.path = 1,
	.spi = 0x01020304,
	.txn = 0x1112131415161718,
	.psn = 0x21222324,
	.cum_ack = 0x31323334,
	.floor = 0x41424344,
	.rwnd = 0x5152,
	.ce = 0x6162,
};

static const uint8_t HDR_BYTES[WIRE_HDR_LEN] = {
	0x11, 0x05, 0x03, 0x01, 0x01, 0x02, 0x03, 0x04, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18,
	0x21, 0x22, 0x23, 0x24, 0x31, 0x32, 0x33, 0x34, 0x41, 0x42, 0x43, 0x44, 0x51, 0x52, 0x61, 0x62,
};

static void hdr_golden(void **state)
{
	struct wire_hdr h = {0};
	uint8_t out[WIRE_HDR_LEN];

	(void)state;
	wire_hdr_encode(&HDR, out);
	assert_memory_equal(out, HDR_BYTES, sizeof(out));
	assert_int_equal(wire_hdr_decode(&h, HDR_BYTES, sizeof(HDR_BYTES)), 0);
	assert_memory_equal(&h, &HDR, sizeof(h));
}

static void hdr_refused(void **state)
{
	static const struct {
		const char *what;
		uint8_t at, value;
		int err;
	} rows[] = {
		{"version 0", 0, 0x01, -EPROTONOSUPPORT},
		{"version 2", 0, 0x21, -EPROTONOSUPPORT},
		{"type 0", 0, 0x10, -ENOMSG},
		{"type 5", 0, 0x15, -ENOMSG},
		{"type 15", 0, 0x1f, -ENOMSG},
		{"unknown flag", 1, 0x40, -ENOMSG},
		{"all flags", 1, 0xff, -ENOMSG},
		{"class 4", 2, 4, -ECHRNG},
		{"class 255", 2, 255, -ECHRNG},
		{"path 4", 3, 4, -ECHRNG},
		{"path 255", 3, 255, -ECHRNG},
	};
	struct wire_hdr h;
	uint8_t b[WIRE_HDR_LEN];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		memcpy(b, HDR_BYTES, sizeof(b));
		b[rows[i].at] = rows[i].value;
		if (wire_hdr_decode(&h, b, sizeof(b)) != rows[i].err)
			fail_msg("%s", rows[i].what);
	}
	memcpy(b, HDR_BYTES, sizeof(b));
	memset(b + 8, 0, 8);
	assert_int_equal(wire_hdr_decode(&h, b, sizeof(b)), -EBADMSG);
	for (uint32_t n = 0; n < WIRE_HDR_LEN; n++)
		assert_int_equal(wire_hdr_decode(&h, HDR_BYTES, n), -EBADMSG);
}

static void slice_golden(void **state)
{
	static const struct {
		uint8_t bytes[WIRE_SLICE_LEN];
		uint32_t len;
		int err;
	} rows[] = {
		{{6, 7, 0, 0}, 4, 0},	     {{15, 16, 0, 0}, 4, 0},	     {{0, 1, 0, 0}, 3, -EBADMSG},
		{{0, 0, 0, 0}, 4, -EBADMSG}, {{7, 7, 0, 0}, 4, -EBADMSG},    {{3, 17, 0, 0}, 4, -EBADMSG},
		{{0, 1, 1, 0}, 4, -EBADMSG}, {{0, 1, 0, 0x80}, 4, -EBADMSG},
	};
	uint8_t out[WIRE_SLICE_LEN];
	unsigned index, count;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(wire_slice_decode(&index, &count, rows[i].bytes, rows[i].len), rows[i].err);
		if (rows[i].err)
			continue;
		assert_int_equal(index, rows[i].bytes[0]);
		assert_int_equal(count, rows[i].bytes[1]);
		wire_slice_encode(index, count, out);
		assert_memory_equal(out, rows[i].bytes, sizeof(out));
	}
}

static void rec_golden(void **state)
{
	static const struct wire_rec in = {.kind = 1,
					   .queue = 2,
					   .dev = 0x0304,
					   .len = 3,
					   .aux = 0x0506,
					   .id = 0x0708090a,
					   .total = 0x00010003,
					   .offset = 0x00010000};
	static const uint8_t bytes[] = {1, 2, 3, 4, 0, 3, 5, 6, 7,   8,	  9,  10,
					0, 1, 0, 3, 0, 1, 0, 0, 'a', 'b', 'c'};
	struct wire_rec r;
	struct cur_r c;
	const uint8_t *data;
	uint8_t out[WIRE_REC_LEN];

	(void)state;
	wire_rec_encode(&in, out);
	assert_memory_equal(out, bytes, sizeof(out));
	cur_r_init(&c, bytes, sizeof(bytes));
	assert_int_equal(wire_rec_next(&c, &r, &data), 1);
	assert_memory_equal(&r, &in, sizeof(r));
	assert_memory_equal(data, "abc", 3);
	assert_int_equal(wire_rec_next(&c, &r, &data), 0);
}

static void rec_grows(void **state)
{
	struct wire_rec r = {1, 2, 3, 4, 5, 6, 4, 0};
	uint8_t grown[WIRE_REC_LEN], whole[WIRE_REC_LEN];

	(void)state;
	wire_rec_encode(&r, grown);
	wire_rec_grow(grown, 0x1234);
	r.len = 0x1234;
	r.total = 0x1234;
	wire_rec_encode(&r, whole);
	assert_memory_equal(grown, whole, sizeof(whole));
}

static void rec_limits(void **state)
{
	static const struct {
		uint16_t len;
		uint32_t total, offset;
		uint32_t bytes; /* behind the header */
		int want;
	} rows[] = {
		{0, 0, 0, 0, 1},
		{0, 1, 0, 0, 1},
		{0, 1, 1, 0, 1},
		{0, 0, 1, 0, -EBADMSG},
		{1, 1, 0, 1, 1},
		{1, 1, 0, 0, -EBADMSG},
		{1, 0, 0, 1, -EBADMSG},
		{1, 1, 1, 1, -EBADMSG},
		{8, 0xffffffff, 0xfffffff7, 8, 1},
		{8, 0xffffffff, 0xfffffff8, 8, -EBADMSG},
		{8, 0xffffffff, 0xffffffff, 8, -EBADMSG},
		{8, 7, 0xffffffff, 8, -EBADMSG},
		{0xffff, 0xffffffff, 0, 64, -EBADMSG},
	};
	uint8_t b[WIRE_REC_LEN + 64];
	struct cur_r c;
	const uint8_t *data;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct wire_rec r = {.len = rows[i].len, .total = rows[i].total, .offset = rows[i].offset};

		memset(b, 0, sizeof(b));
		wire_rec_encode(&r, b);
		cur_r_init(&c, b, WIRE_REC_LEN + rows[i].bytes);
		if (wire_rec_next(&c, &r, &data) != rows[i].want)
			fail_msg("row %zu", i);
	}
	/* Fewer bytes than a header are padding, whatever they are. */
	memset(b, 0xff, sizeof(b));
	for (uint32_t n = 0; n < WIRE_REC_LEN; n++) {
		struct wire_rec r;

		cur_r_init(&c, b, n);
		assert_int_equal(wire_rec_next(&c, &r, &data), 0);
	}
}

static void ack_golden(void **state)
{
	static const struct wire_ack in = {.cls = 2,
					   .path = 1,
					   .nwords = 2,
					   .rwnd = 0x0102,
					   .delay_us = 0x0304,
					   .cum_ack = 0x05060708,
					   .largest_txn = 0x1112131415161718};
	static const uint8_t bytes[] = {
		2,    1,    0,	  2, 1, 2, 3, 4, 5, 6, 7, 8, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16,
		0x17, 0x18, 0x80, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0,	   0,	 0,    0,    0,	   2,
	};
	uint8_t out[sizeof(bytes)];
	struct cur_w w;
	struct cur_r c;
	struct wire_ack a;

	(void)state;
	cur_w_init(&w, out, sizeof(out));
	assert_true(wire_ack_encode(&w, &in));
	wire_ack_put_word(&w, 0x8000000000000001);
	wire_ack_put_word(&w, 2);
	assert_false(w.bad);
	assert_memory_equal(out, bytes, sizeof(bytes));
	cur_r_init(&c, bytes, sizeof(bytes));
	assert_int_equal(wire_ack_next(&c, &a), 1);
	assert_int_equal(a.cls, 2);
	assert_int_equal(a.path, 1);
	assert_int_equal(a.rwnd, 0x0102);
	assert_int_equal(a.delay_us, 0x0304);
	assert_int_equal(a.cum_ack, 0x05060708);
	assert_true(a.largest_txn == 0x1112131415161718);
	assert_true(wire_ack_word(&a, 0) == 0x8000000000000001);
	assert_true(wire_ack_word(&a, 1) == 2);
	assert_true(wire_ack_word(&a, 2) == 0);
	assert_int_equal(wire_ack_next(&c, &a), 0);
}

static void ack_refused(void **state)
{
	uint8_t b[WIRE_ACK_LEN + 8 * (WIRE_ACK_WORDS + 1)] = {0};
	struct wire_ack a = {.cls = 0, .nwords = 3};
	struct cur_w w;
	struct cur_r c;

	(void)state;
	cur_w_init(&w, b, WIRE_ACK_LEN + 23);
	assert_false(wire_ack_encode(&w, &a)); /* its words would not fit */
	cur_w_init(&w, b, sizeof(b));
	assert_true(wire_ack_encode(&w, &a));
	for (uint32_t n = 1; n < WIRE_ACK_LEN + 24; n++) {
		cur_r_init(&c, b, n);
		assert_int_equal(wire_ack_next(&c, &a), -EBADMSG);
		assert_int_equal(wire_ack_next(&c, &a), -EBADMSG);
	}
	static const struct {
		uint8_t at, value;
	} bad[] = {{0, 4}, {0, 255}, {1, 4}, {1, 255}, {2, 1}, {3, WIRE_ACK_WORDS + 1}};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		memset(b, 0, sizeof(b));
		b[bad[i].at] = bad[i].value;
		cur_r_init(&c, b, sizeof(b));
		assert_int_equal(wire_ack_next(&c, &a), -EBADMSG);
	}
	memset(b, 0, sizeof(b));
	b[3] = WIRE_ACK_WORDS;
	cur_r_init(&c, b, WIRE_ACK_LEN + 8 * WIRE_ACK_WORDS);
	assert_int_equal(wire_ack_next(&c, &a), 1);
}

static void ack_area(void **state)
{
	uint8_t b[10] = {1, 2, 3, 4, 5, 6, 7, 8, 0, 3};
	struct cur_r c;
	uint32_t len = 10;

	(void)state;
	assert_int_equal(wire_ack_area(b, &len, &c), 0);
	assert_int_equal(len, 5);
	assert_ptr_equal(c.p, b + 5);
	assert_int_equal(c.left, 3);
	b[9] = 8;
	len = 10;
	assert_int_equal(wire_ack_area(b, &len, &c), 0);
	assert_int_equal(len, 0);
	b[9] = 9;
	len = 10;
	assert_int_equal(wire_ack_area(b, &len, &c), -EBADMSG);
	b[8] = 0xff;
	assert_int_equal(wire_ack_area(b, &len, &c), -EBADMSG);
	len = 1;
	assert_int_equal(wire_ack_area(b, &len, &c), -EBADMSG);
	len = 0;
	assert_int_equal(wire_ack_area(b, &len, &c), -EBADMSG);
}

static void probe(void **state)
{
	static const struct wire_probe in = {.stamp = 0x0102030405060708, .usable = true};
	static const uint8_t bytes[WIRE_PROBE_LEN] = {1, 2, 3, 4, 5, 6, 7, 8, 1, 0, 0, 0};
	uint8_t b[WIRE_PROBE_LEN + 4] = {0};
	struct wire_probe p;

	(void)state;
	wire_probe_encode(&in, b);
	assert_memory_equal(b, bytes, sizeof(bytes));
	assert_int_equal(wire_probe_decode(&p, b, WIRE_PROBE_LEN), 0);
	assert_true(p.stamp == in.stamp && p.usable);
	assert_int_equal(wire_probe_decode(&p, b, sizeof(b)), 0); /* padding may follow */
	assert_int_equal(wire_probe_decode(&p, b, WIRE_PROBE_LEN - 1), -EBADMSG);
	for (uint32_t i = 8; i < WIRE_PROBE_LEN; i++) {
		memcpy(b, bytes, sizeof(bytes));
		b[i] = 2;
		assert_int_equal(wire_probe_decode(&p, b, WIRE_PROBE_LEN), -EBADMSG);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hdr_golden),  cmocka_unit_test(hdr_refused), cmocka_unit_test(slice_golden),
		cmocka_unit_test(rec_golden),  cmocka_unit_test(rec_limits),  cmocka_unit_test(ack_golden),
		cmocka_unit_test(ack_refused), cmocka_unit_test(ack_area),    cmocka_unit_test(probe),
		cmocka_unit_test(rec_grows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* blk: every check of a request as a table, config bytes, statuses, hostile fields. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "appliance/block/blk.h"
#include "fabric/base/rng.h"

#define MIB (1u << 20)

static const struct blk_volume disk = {
	.size = 64 * MIB,
	.block = 512,
	.phys_block = 4096,
	.opt_io = 65536,
	.queues = 4,
	.can_discard = true,
	.can_write_zeroes = true,
	.write_cache = true,
	.serial = "vol-1",
};

static struct blk_volume variant(char kind)
{
	struct blk_volume v = disk;

	if (kind == 'r') {
		v.read_only = true;
	} else if (kind == '4') {
		v.block = 4096;
	} else if (kind == 'n') {
		v.can_discard = false;
		v.can_write_zeroes = false;
	} else if (kind == 's') {
		v.write_cache = false;
	}
	return v;
}

static void le(uint8_t *p, uint64_t v, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		p[i] = (uint8_t)(v >> 8 * i);
}

static void head(uint8_t h[BLK_HEAD_LEN], uint32_t type, uint64_t sector)
{
	memset(h, 0, BLK_HEAD_LEN);
	le(h, type, 4);
	le(h + 8, sector, 8);
}

static struct blk_plan plan(const struct blk_volume *v, uint64_t acked, const uint8_t *h, uint32_t readable,
			    uint32_t writable)
{
	struct blk_plan p;
	uint32_t n = readable < BLK_HEAD_LEN ? readable : BLK_HEAD_LEN;

	blk_plan(v, acked, h, n, readable, writable, &p);
	return p;
}

#define LAST (64ull * MIB / 512) /* capacity in sectors */

static void transfers(void **state)
{
	static const struct {
		const char *name;
		char vol;
		uint32_t type;
		uint64_t sector;
		uint32_t readable, writable;
		enum blk_refusal why;
		enum blk_do what;
	} t[] = {
		{"read one sector", 'd', BLK_T_IN, 0, 16, 513, BLK_R_none, BLK_DO_READ},
		{"read the last sector", 'd', BLK_T_IN, LAST - 1, 16, 513, BLK_R_none, BLK_DO_READ},
		{"read over the end", 'd', BLK_T_IN, LAST - 1, 16, 1025, BLK_R_out_of_range, BLK_DO_STATUS},
		{"read at the end", 'd', BLK_T_IN, LAST, 16, 513, BLK_R_out_of_range, BLK_DO_STATUS},
		{"read behind the end", 'd', BLK_T_IN, LAST + 1, 16, 513, BLK_R_out_of_range, BLK_DO_STATUS},
		{"sector * 512 overflows", 'd', BLK_T_IN, 1ull << 55, 16, 513, BLK_R_out_of_range,
		 BLK_DO_STATUS},
		{"sector * 512 is 0 mod 2^64", 'd', BLK_T_OUT, 1ull << 56, 528, 1, BLK_R_out_of_range,
		 BLK_DO_STATUS},
		{"largest sector", 'd', BLK_T_IN, UINT64_MAX, 16, 513, BLK_R_out_of_range, BLK_DO_STATUS},
		{"read nothing", 'd', BLK_T_IN, 0, 16, 1, BLK_R_bad_length, BLK_DO_STATUS},
		{"read half a sector", 'd', BLK_T_IN, 0, 16, 257, BLK_R_misaligned, BLK_DO_STATUS},
		{"read with data", 'd', BLK_T_IN, 0, 528, 513, BLK_R_bad_length, BLK_DO_STATUS},
		{"read 1 MiB", 'd', BLK_T_IN, 0, 16, MIB + 1, BLK_R_none, BLK_DO_READ},
		{"read more", 'd', BLK_T_IN, 0, 16, MIB + 513, BLK_R_bad_length, BLK_DO_STATUS},
		{"read, read-only", 'r', BLK_T_IN, 0, 16, 513, BLK_R_none, BLK_DO_READ},
		{"write one sector", 'd', BLK_T_OUT, 0, 528, 1, BLK_R_none, BLK_DO_WRITE},
		{"write 1 MiB", 'd', BLK_T_OUT, 8, MIB + 16, 1, BLK_R_none, BLK_DO_WRITE},
		{"write more", 'd', BLK_T_OUT, 8, MIB + 16 + 512, 1, BLK_R_bad_length, BLK_DO_STATUS},
		{"write nothing", 'd', BLK_T_OUT, 0, 16, 1, BLK_R_bad_length, BLK_DO_STATUS},
		{"write a byte too many", 'd', BLK_T_OUT, 0, 529, 1, BLK_R_misaligned, BLK_DO_STATUS},
		{"write with room for data", 'd', BLK_T_OUT, 0, 528, 513, BLK_R_bad_length, BLK_DO_STATUS},
		{"write over the end", 'd', BLK_T_OUT, LAST - 1, 16 + 1024, 1, BLK_R_out_of_range,
		 BLK_DO_STATUS},
		{"write, read-only", 'r', BLK_T_OUT, 0, 528, 1, BLK_R_read_only, BLK_DO_STATUS},
		{"4096: aligned", '4', BLK_T_OUT, 8, 16 + 4096, 1, BLK_R_none, BLK_DO_WRITE},
		{"4096: sector between", '4', BLK_T_OUT, 1, 16 + 4096, 1, BLK_R_misaligned, BLK_DO_STATUS},
		{"4096: one sector", '4', BLK_T_IN, 0, 16, 513, BLK_R_misaligned, BLK_DO_STATUS},
		{"no header", 'd', BLK_T_IN, 0, 0, 513, BLK_R_short_header, BLK_DO_STATUS},
		{"15 bytes of header", 'd', BLK_T_IN, 0, 15, 513, BLK_R_short_header, BLK_DO_STATUS},
		{"no status byte", 'd', BLK_T_IN, 0, 16, 0, BLK_R_no_status, BLK_DO_NOTHING},
		{"nothing at all", 'd', BLK_T_IN, 0, 0, 0, BLK_R_no_status, BLK_DO_NOTHING},
		{"flush", 'd', BLK_T_FLUSH, 0, 16, 1, BLK_R_none, BLK_DO_FLUSH},
		{"flush with a wild sector", 'd', BLK_T_FLUSH, UINT64_MAX, 16, 1, BLK_R_none, BLK_DO_FLUSH},
		{"flush, read-only", 'r', BLK_T_FLUSH, 0, 16, 1, BLK_R_none, BLK_DO_FLUSH},
		{"id", 'd', BLK_T_GET_ID, 0, 16, 21, BLK_R_none, BLK_DO_ID},
		{"id without room", 'd', BLK_T_GET_ID, 0, 16, 1, BLK_R_no_data_room, BLK_DO_STATUS},
		{"scsi", 'd', 2, 0, 16, 1, BLK_R_bad_type, BLK_DO_STATUS},
		{"legacy barrier", 'd', 0x80000000u | BLK_T_OUT, 0, 528, 1, BLK_R_bad_type, BLK_DO_STATUS},
		{"lifetime", 'd', 10, 0, 16, 1, BLK_R_bad_type, BLK_DO_STATUS},
		{"secure erase", 'd', 14, 0, 32, 1, BLK_R_bad_type, BLK_DO_STATUS},
		{"largest type", 'd', UINT32_MAX, 0, 16, 1, BLK_R_bad_type, BLK_DO_STATUS},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
		struct blk_volume v = variant(t[i].vol);
		uint8_t h[BLK_HEAD_LEN];
		struct blk_plan p;

		head(h, t[i].type, t[i].sector);
		p = plan(&v, BLK_F_FLUSH, h, t[i].readable, t[i].writable);
		if (p.what != t[i].what || p.refusal != t[i].why)
			fail_msg("%s: what %d, refusal %s", t[i].name, p.what, blk_refusal_names[p.refusal]);
		if (p.what == BLK_DO_STATUS)
			assert_int_equal(p.status, p.refusal == BLK_R_bad_type ? BLK_S_UNSUPP : BLK_S_IOERR);
		if (p.what == BLK_DO_READ || p.what == BLK_DO_WRITE) {
			assert_int_equal(p.offset, t[i].sector * 512);
			assert_int_equal(p.length,
					 p.what == BLK_DO_READ ? t[i].writable - 1 : t[i].readable - 16);
			assert_int_equal(p.data_at, 16);
		}
		if (t[i].writable)
			assert_int_equal(p.status_at, t[i].writable - 1);
	}
}

static void segments(void **state)
{
	static const struct {
		const char *name;
		char vol;
		uint32_t type;
		uint64_t sector;
		uint32_t sectors, flags, data;
		enum blk_refusal why;
		uint8_t status;
	} t[] = {
		{"discard", 'd', BLK_T_DISCARD, 8, 16, 0, 16, BLK_R_none, 0},
		{"discard all", 'd', BLK_T_DISCARD, 0, LAST, 0, 16, BLK_R_none, 0},
		{"discard over the end", 'd', BLK_T_DISCARD, 1, LAST, 0, 16, BLK_R_out_of_range, 1},
		{"discard, sector overflows", 'd', BLK_T_DISCARD, UINT64_MAX, 1, 0, 16, BLK_R_out_of_range,
		 1},
		{"discard nothing", 'd', BLK_T_DISCARD, 0, 0, 0, 16, BLK_R_bad_length, 1},
		{"discard beyond the limit", 'd', BLK_T_DISCARD, 0, (1u << 21) + 1, 0, 16, BLK_R_bad_length,
		 1},
		{"discard most sectors", 'd', BLK_T_DISCARD, 0, UINT32_MAX, 0, 16, BLK_R_bad_length, 1},
		{"discard with unmap", 'd', BLK_T_DISCARD, 0, 8, 1, 16, BLK_R_bad_flags, 2},
		{"discard, unknown flag", 'd', BLK_T_DISCARD, 0, 8, 2, 16, BLK_R_bad_flags, 2},
		{"discard, two segments", 'd', BLK_T_DISCARD, 0, 8, 0, 32, BLK_R_bad_segments, 1},
		{"discard, no segment", 'd', BLK_T_DISCARD, 0, 8, 0, 0, BLK_R_bad_segments, 1},
		{"discard, cut segment", 'd', BLK_T_DISCARD, 0, 8, 0, 15, BLK_R_bad_segments, 1},
		{"discard, a megabyte of segments", 'd', BLK_T_DISCARD, 0, 8, 0, MIB, BLK_R_bad_segments, 1},
		{"discard, read-only", 'r', BLK_T_DISCARD, 0, 8, 0, 16, BLK_R_read_only, 1},
		{"discard, not offered", 'n', BLK_T_DISCARD, 0, 8, 0, 16, BLK_R_bad_type, 2},
		{"discard, 4096 misaligned", '4', BLK_T_DISCARD, 8, 7, 0, 16, BLK_R_misaligned, 1},
		{"zeroes", 'd', BLK_T_WRITE_ZEROES, 8, 16, 0, 16, BLK_R_none, 0},
		{"zeroes with unmap", 'd', BLK_T_WRITE_ZEROES, 8, 16, 1, 16, BLK_R_none, 0},
		{"zeroes, unknown flag", 'd', BLK_T_WRITE_ZEROES, 8, 16, 0x80000000u, 16, BLK_R_bad_flags, 2},
		{"zeroes at the limit", 'd', BLK_T_WRITE_ZEROES, 0, 1u << 16, 0, 16, BLK_R_none, 0},
		{"zeroes beyond the limit", 'd', BLK_T_WRITE_ZEROES, 0, (1u << 16) + 1, 0, 16,
		 BLK_R_bad_length, 1},
		{"zeroes, not offered", 'n', BLK_T_WRITE_ZEROES, 0, 8, 0, 16, BLK_R_bad_type, 2},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
		struct blk_volume v = variant(t[i].vol);
		uint8_t h[BLK_HEAD_LEN];
		struct blk_plan p;

		head(h, t[i].type, UINT64_MAX); /* the header's sector means nothing here */
		le(h + 16, t[i].sector, 8);
		le(h + 24, t[i].sectors, 4);
		le(h + 28, t[i].flags, 4);
		p = plan(&v, BLK_F_FLUSH, h, 16 + t[i].data, 1);
		if (p.refusal != t[i].why || p.status != t[i].status)
			fail_msg("%s: refusal %s, status %d", t[i].name, blk_refusal_names[p.refusal],
				 p.status);
		if (t[i].why != BLK_R_none) {
			assert_int_equal(p.what, BLK_DO_STATUS);
			continue;
		}
		assert_int_equal(p.offset, t[i].sector * 512);
		assert_int_equal(p.length, t[i].sectors * 512ull);
		assert_int_equal(p.unmap, t[i].flags == 1);
	}
}

/* Write-through unless the driver has FLUSH; no FUA where nothing is volatile. */
static void durability(void **state)
{
	static const struct {
		char vol;
		uint64_t acked;
		bool fua;
	} t[] = {{'d', 0, true}, {'d', BLK_F_FLUSH, false}, {'d', BLK_F_MQ, true}, {'s', 0, false}};

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
		struct blk_volume v = variant(t[i].vol);
		uint8_t h[BLK_HEAD_LEN];

		head(h, BLK_T_OUT, 0);
		assert_int_equal(plan(&v, t[i].acked, h, 528, 1).fua, t[i].fua);
		head(h, BLK_T_IN, 0);
		assert_false(plan(&v, t[i].acked, h, 16, 513).fua);
		head(h, BLK_T_WRITE_ZEROES, 0);
		le(h + 24, 8, 4);
		assert_int_equal(plan(&v, t[i].acked, h, 32, 1).fua, t[i].fua);
	}
}

static uint64_t rd(const uint8_t *p, unsigned n)
{
	uint64_t v = 0;

	while (n--)
		v = v << 8 | p[n];
	return v;
}

static void config_space(void **state)
{
	struct blk_volume v = disk;
	uint8_t c[BLK_CONFIG_LEN];

	(void)state;
	blk_config(&v, c);
	assert_int_equal(rd(c, 8), LAST);
	assert_int_equal(rd(c + 8, 4), 8192);
	assert_int_equal(rd(c + 12, 4), 126);
	assert_int_equal(rd(c + 20, 4), 512);
	assert_int_equal(c[24], 3);
	assert_int_equal(c[25], 0);
	assert_int_equal(rd(c + 26, 2), 8);
	assert_int_equal(rd(c + 28, 4), 128);
	assert_int_equal(c[32], 1);
	assert_int_equal(rd(c + 34, 2), 4);
	assert_int_equal(rd(c + 36, 4), 1u << 21);
	assert_int_equal(rd(c + 40, 4), 1);
	assert_int_equal(rd(c + 44, 4), 8);
	assert_int_equal(rd(c + 48, 4), 1u << 16);
	assert_int_equal(rd(c + 52, 4), 1);
	assert_int_equal(c[56], 1);
	/* A whole request of a driver that keeps to the limits fits the largest one we take. */
	assert_true((uint64_t)BLK_SIZE_MAX * BLK_SEG_MAX <= BLK_DATA_MAX);
	v = variant('r');
	blk_config(&v, c);
	assert_int_equal(rd(c + 36, 8), 0);
	assert_int_equal(rd(c + 48, 8), 0);
}

static void features(void **state)
{
	struct blk_volume v = disk;
	const uint64_t base = BLK_F_SIZE_MAX | BLK_F_SEG_MAX | BLK_F_BLK_SIZE | BLK_F_FLUSH | BLK_F_TOPOLOGY;

	(void)state;
	assert_int_equal(blk_features(&v), base | BLK_F_MQ | BLK_F_DISCARD | BLK_F_WRITE_ZEROES);
	v.queues = 1;
	v.can_discard = false;
	assert_int_equal(blk_features(&v), base | BLK_F_WRITE_ZEROES);
	v = variant('r');
	assert_int_equal(blk_features(&v), base | BLK_F_MQ | BLK_F_RO);
	assert_int_equal(blk_features_check(&v, BLK_F_RO | BLK_F_FLUSH), 0);
	assert_int_equal(blk_features_check(&v, 1ull << 11), -EINVAL); /* CONFIG_WCE */
	assert_int_equal(blk_features_check(&v, BLK_F_DISCARD), -EINVAL);
}

static void statuses(void **state)
{
	(void)state;
	assert_int_equal(blk_status(0), BLK_S_OK);
	assert_int_equal(blk_status(-EOPNOTSUPP), BLK_S_UNSUPP);
	for (int e = 1; e < 200; e++)
		assert_int_not_equal(blk_status(-e), BLK_S_OK);
	/* A positive value is a backend's mistake, and no success. */
	assert_int_equal(blk_status(1), BLK_S_IOERR);
}

/* Whatever stands in the fields, a plan never leaves the volume or the request. */
static void plan_is_inside(const struct blk_volume *v, const struct blk_plan *p, uint32_t readable,
			   uint32_t writable)
{
	if (p->what == BLK_DO_READ || p->what == BLK_DO_WRITE || p->what == BLK_DO_DISCARD ||
	    p->what == BLK_DO_WRITE_ZEROES) {
		assert_true(p->length > 0 && p->length <= v->size && p->offset <= v->size - p->length);
		assert_true(p->offset % v->block == 0 && p->length % v->block == 0);
		assert_true(p->what == BLK_DO_READ || !v->read_only);
	}
	if (p->what == BLK_DO_READ)
		assert_true(p->length <= p->status_at);
	if (p->what == BLK_DO_WRITE)
		assert_true(p->data_at + p->length == readable);
	if (p->what == BLK_DO_ID)
		assert_true(p->id_len <= p->status_at && p->id_len <= BLK_ID_LEN);
	if (p->what != BLK_DO_NOTHING)
		assert_true(p->status_at == writable - 1);
	if (p->what == BLK_DO_STATUS)
		assert_int_not_equal(p->status, BLK_S_OK);
}

/* Each field at 0, 1, 2^n - 1, 2^n, max, in all pairs with each type and length. */
static void extremes(void **state)
{
	static const uint32_t types[] = {0, 1, 4, 8, 11, 13, 2, 14, 0x80000001u, UINT32_MAX};
	static const uint32_t lens[] = {
		0,   1,	  15,  16,   17,  31,	   32,	     33,       511,	  512,	      513,
		527, 528, 529, 4112, MIB, MIB + 1, MIB + 16, MIB + 17, MIB + 512, MIB + 4096, UINT32_MAX};
	uint64_t values[200];
	unsigned n = 0;

	(void)state;
	values[n++] = 0;
	values[n++] = UINT64_MAX;
	for (unsigned b = 0; b < 64; b++) {
		values[n++] = (1ull << b) - 1;
		values[n++] = 1ull << b;
		values[n++] = LAST - (b & 1) + (b & 2);
	}
	for (size_t t = 0; t < sizeof(types) / sizeof(*types); t++) {
		for (unsigned i = 0; i < n; i++) {
			for (size_t l = 0; l < sizeof(lens) / sizeof(*lens); l++) {
				const char *kind = "dr4ns";
				struct blk_volume v = variant(kind[(i + l) % 5]);
				uint8_t h[BLK_HEAD_LEN];
				struct blk_plan p;

				head(h, types[t], values[i]);
				le(h + 16, values[i], 8);
				le(h + 24, values[(i * 7 + l) % n], 8);
				p = plan(&v, 0, h, lens[l], 513);
				plan_is_inside(&v, &p, lens[l], 513);
				p = plan(&v, UINT64_MAX, h, 32, lens[l]);
				plan_is_inside(&v, &p, 32, lens[l]);
			}
		}
	}
}

static void random_requests(void **state)
{
	struct rng r;
	unsigned taken = 0;

	(void)state;
	rng_init(&r, 5);
	for (int i = 0; i < 200000; i++) {
		struct blk_volume v = variant("dr4ns"[rng_below(&r, 5)]);
		uint32_t readable = (uint32_t)(rng_below(&r, 4) ? 16 + 512 * rng_below(&r, 9)
								: rng_below(&r, 64));
		uint32_t writable = (uint32_t)(rng_below(&r, 4) ? 1 + 512 * rng_below(&r, 9)
								: rng_below(&r, 64));
		uint8_t h[BLK_HEAD_LEN];
		struct blk_plan p;

		head(h, (uint32_t)rng_below(&r, 16),
		     rng_below(&r, 2) ? rng_below(&r, LAST + 8) : rng_u64(&r));
		le(h + 16, rng_below(&r, LAST + 8), 8);
		le(h + 24, rng_below(&r, 1u << 17), 4);
		p = plan(&v, rng_u64(&r), h, readable, writable);
		plan_is_inside(&v, &p, readable, writable);
		taken += p.what < BLK_DO_STATUS;
	}
	assert_true(taken > 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(transfers),  cmocka_unit_test(segments),
		cmocka_unit_test(durability), cmocka_unit_test(config_space),
		cmocka_unit_test(features),   cmocka_unit_test(statuses),
		cmocka_unit_test(extremes),   cmocka_unit_test(random_requests),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

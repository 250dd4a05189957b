/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <errno.h>
#include <string.h>
#include <cmocka.h>

#include "fabric/base/rng.h"
#include "fabric/buf/buf.h"

static void frame__holds_and_drops_references(void **state)
{
	struct buf_pool *bp = buf_pool_create(2, 64);
	struct frame_pool *fp = frame_pool_create(1);
	struct frame *f = frame_get(fp);
	struct buf *b = buf_get(bp);

	(void)state;
	assert_null(frame_get(fp));
	assert_int_equal(frame_add(f, b->base, 10, b), 0);
	assert_int_equal(frame_add(f, b->base + 10, 20, b), 0);
	assert_int_equal(frame_add(f, (const uint8_t *)"static", 6, NULL), 0);
	assert_int_equal(f->len, 36);
	assert_int_equal(f->nseg, 3);
	assert_int_equal(b->refs, 3);
	buf_put(b);
	frame_put(f);
	frame_put(NULL);
	assert_int_equal(buf_pool_available(bp), 2);
	assert_int_equal(frame_pool_available(fp), 1);
	frame_pool_destroy(fp);
	buf_pool_destroy(bp);
}

static void frame_add__limit(void **state)
{
	struct buf_pool *bp = buf_pool_create(1, 64);
	struct frame_pool *fp = frame_pool_create(1);
	struct frame *f = frame_get(fp);
	struct buf *b = buf_get(bp);

	(void)state;
	assert_int_equal(frame_add(f, b->base, 0, b), 0); /* an empty piece takes no place */
	assert_int_equal(f->nseg, 0);
	for (int i = 0; i < FRAME_SEGS; i++)
		assert_int_equal(frame_add(f, b->base, 1, b), 0);
	assert_int_equal(frame_add(f, b->base, 1, b), -E2BIG);
	assert_int_equal(f->len, FRAME_SEGS);
	assert_int_equal(b->refs, 1 + FRAME_SEGS);
	frame_put(f);
	buf_put(b);
	frame_pool_destroy(fp);
	buf_pool_destroy(bp);
}

static void frame_clone__shares_bytes_and_counts(void **state)
{
	struct buf_pool *bp = buf_pool_create(1, 64);
	struct frame_pool *fp = frame_pool_create(2);
	struct frame *f = frame_get(fp), *c;
	struct buf *b = buf_get(bp);
	uint8_t out[16];

	(void)state;
	memcpy(b->base, "0123456789", 10);
	frame_add(f, b->base, 4, b);
	frame_add(f, b->base + 4, 6, b);
	buf_put(b);
	c = frame_clone(f);
	assert_non_null(c);
	assert_null(frame_clone(f)); /* pool empty */
	assert_int_equal(b->refs, 4);
	frame_put(f);
	assert_int_equal(frame_read(c, 0, out, 16), 10);
	assert_memory_equal(out, "0123456789", 10);
	frame_put(c);
	assert_int_equal(buf_pool_available(bp), 1);
	frame_pool_destroy(fp);
	buf_pool_destroy(bp);
}

static void frame_read__agrees_with_flat_bytes(void **state)
{
	struct frame_pool *fp = frame_pool_create(1);
	uint8_t flat[500], out[600];
	struct rng r;

	(void)state;
	rng_init(&r, 9);
	for (size_t i = 0; i < sizeof(flat); i++)
		flat[i] = (uint8_t)rng_u64(&r);
	for (int i = 0; i < 3000; i++) {
		struct frame *f = frame_get(fp);
		uint32_t len = 0, off, n, want;

		while (f->nseg < 1 + (uint32_t)i % 20 && len < 400) {
			uint32_t piece = 1 + (uint32_t)rng_below(&r, 30);

			frame_add(f, flat + len, piece, NULL);
			len += piece;
		}
		off = (uint32_t)rng_below(&r, 520);
		n = (uint32_t)rng_below(&r, 600);
		want = off >= len ? 0 : n < len - off ? n : len - off;
		memset(out, 0xee, sizeof(out));
		assert_int_equal(frame_read(f, off, out, n), want);
		if (want)
			assert_memory_equal(out, flat + off, want);
		if (want < sizeof(out))
			assert_int_equal(out[want], 0xee);
		frame_put(f);
	}
	frame_pool_destroy(fp);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frame__holds_and_drops_references),
		cmocka_unit_test(frame_add__limit),
		cmocka_unit_test(frame_clone__shares_bytes_and_counts),
		cmocka_unit_test(frame_read__agrees_with_flat_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

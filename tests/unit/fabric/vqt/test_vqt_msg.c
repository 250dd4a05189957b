/* SPDX-License-Identifier: Apache-2.0 */
/* The heads' bytes, positions, and the proof that pieces tile a message. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "fabric/base/rng.h"
#include "fabric/vqt/vqt_msg.h"

static void heads_are_big_endian_words(void **state)
{
	static const uint8_t want[16] = {1, 2, 3, 4, 0, 0x10, 0x10, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff};
	struct vqt_req_head r = {0x01020304, 0x101000, 1, 0xffffffff}, r2;
	struct vqt_cpl_head c = {0x01020304, 0x101000, 1, 0xffffffff}, c2;
	uint8_t got[16];

	(void)state;
	vqt_req_head_put(got, &r);
	assert_memory_equal(got, want, 16);
	vqt_req_head_get(got, &r2);
	assert_memory_equal(&r, &r2, sizeof(r));
	vqt_cpl_head_put(got, &c);
	assert_memory_equal(got, want, 16);
	vqt_cpl_head_get(got, &c2);
	assert_memory_equal(&c, &c2, sizeof(c));
	assert_int_equal(VQT_CPL, 8);
}

static void spans_and_order(void **state)
{
	(void)state;
	assert_int_equal(vqt_span(26), 64);
	assert_int_equal(vqt_span(64), 64);
	assert_int_equal(vqt_span(65), 128);
	assert_int_equal(vqt_span(FRAME_MAX), 65600);
	assert_true(vqt_before(0xffffffc0u, 0));
	assert_false(vqt_before(0, 0));
	assert_false(vqt_before(64, 0));
	assert_int_equal(vqt_unsched(0), 16);
	assert_int_equal(vqt_unsched(65536), 65552);
	assert_int_equal(vqt_unsched(65537), 65552);
	assert_true(vqt_req_fits(65536, VQT_REQ_MAX));
	assert_false(vqt_req_fits(65536, VQT_REQ_MAX + 1));
	assert_false(vqt_req_fits(VQT_REQ_MAX + 1, 0));
	assert_true(vqt_req_fits(65537, 256));
	assert_false(vqt_req_fits(65537, 257));
	assert_false(vqt_req_fits(0xffffffffu, 0xffffffffu));
}

/* Any cutting in any order is a tiling; move, stretch, double or leave out a piece and it is none. */
static void only_tilings_pass(void **state)
{
	struct rng rng;
	unsigned refused = 0;

	(void)state;
	rng_init(&rng, 7);
	for (int round = 0; round < 2000; round++) {
		uint32_t total = 1 + (uint32_t)rng_below(&rng, 5000), off[64], len[64], n = 0, at = 0;
		struct vqt_cover c = {0, 0}, bad = {0, 0};
		uint64_t seed = rng_u64(&rng);

		while (at < total && n < 63) {
			off[n] = at;
			len[n] = 1 + (uint32_t)rng_below(&rng, total - at);
			at += len[n++];
		}
		if (at < total) {
			off[n] = at;
			len[n++] = total - at;
		}
		for (uint32_t i = n; i-- > 0;)
			vqt_cover_add(&c, seed, off[i], len[i]);
		assert_true(vqt_cover_full(&c, seed, total));
		/* The same lengths, one piece elsewhere: the sum of lengths is right, the tiling is not. */
		for (uint32_t i = 0; i < n; i++) {
			uint32_t o = i == n / 2 && n > 1 ? (off[i] ? off[i] - 1 : 1) : off[i];

			vqt_cover_add(&bad, seed, o, len[i]);
		}
		assert_int_equal(bad.got, total);
		if (n > 1) {
			assert_false(vqt_cover_full(&bad, seed, total));
			refused++;
		}
	}
	assert_true(refused > 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(heads_are_big_endian_words),
		cmocka_unit_test(spans_and_order),
		cmocka_unit_test(only_tilings_pass),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

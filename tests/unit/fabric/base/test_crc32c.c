/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "fabric/base/crc32c.h"
#include "fabric/base/crc32c_impl.h"
#include "fabric/base/rng.h"

/* RFC 3720 B.4, all five examples. */
static void crc32c__rfc3720_vectors(void **state)
{
	static const uint8_t read_pdu[48] = {
		0x01, 0xc0, 0, 0,    0, 0, 0, 0,    0,	  0, 0, 0, 0, 0, 0, 0, 0x14, 0, 0, 0, 0, 0, 0x04, 0,
		0,    0,    0, 0x14, 0, 0, 0, 0x18, 0x28, 0, 0, 0, 0, 0, 0, 0, 0x02, 0, 0, 0, 0, 0, 0,	  0,
	};
	uint8_t b[32];

	(void)state;
	memset(b, 0, sizeof(b));
	assert_int_equal(crc32c(0, b, 32), 0x8a9136aau);
	memset(b, 0xff, sizeof(b));
	assert_int_equal(crc32c(0, b, 32), 0x62a8ab43u);
	for (unsigned i = 0; i < 32; i++)
		b[i] = (uint8_t)i;
	assert_int_equal(crc32c(0, b, 32), 0x46dd794eu);
	for (unsigned i = 0; i < 32; i++)
		b[i] = (uint8_t)(31 - i);
	assert_int_equal(crc32c(0, b, 32), 0x113fdb5cu);
	assert_int_equal(crc32c(0, read_pdu, 48), 0xd9963a56u);
	assert_int_equal(crc32c(0, "", 0), 0);
}

/* Bit by bit, as the definition has it. */
static uint32_t naive(const uint8_t *p, size_t n)
{
	uint32_t c = 0xffffffffu;

	while (n--) {
		c ^= *p++;
		for (int i = 0; i < 8; i++)
			c = c & 1 ? c >> 1 ^ 0x82f63b78u : c >> 1;
	}
	return ~c;
}

static void crc32c__ways_agree_at_any_length_offset_and_cut(void **state)
{
	static uint8_t b[3200]; /* two rounds of the longest lanes, and odd ends */
	struct rng r;

	(void)state;
	rng_init(&r, 1);
	for (size_t i = 0; i < sizeof(b); i++)
		b[i] = (uint8_t)rng_u64(&r);
	for (int i = 0; i < 2000; i++) {
		size_t off = rng_below(&r, 20), n = rng_below(&r, sizeof(b) - 20);
		size_t cut = n ? rng_below(&r, n) : 0;
		uint32_t want = naive(b + off, n);

		assert_int_equal(crc32c_table(0, b + off, n), want);
		assert_int_equal(crc32c(0, b + off, n), want);
		assert_int_equal(crc32c(crc32c(0, b + off, cut), b + off + cut, n - cut), want);
		if (crc32c_have_sse42())
			assert_int_equal(crc32c_sse42(0, b + off, n), want);
		if (crc32c_have_fold()) {
			assert_int_equal(crc32c_fold(0, b + off, n), want);
			assert_int_equal(crc32c_fold(crc32c_fold(0, b + off, cut), b + off + cut, n - cut),
					 want);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(crc32c__rfc3720_vectors),
		cmocka_unit_test(crc32c__ways_agree_at_any_length_offset_and_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "fabric/base/inet_csum.h"
#include "fabric/base/rng.h"

/* RFC 1071, 3: the sum of 0001 f203 f4f5 f6f7 is ddf2 after folding, so the checksum is 220d. */
static void inet_csum__rfc1071_example(void **state)
{
	static const uint8_t b[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
	uint8_t out[2];

	(void)state;
	inet_put(out, inet_fold(inet_sum(0, b, sizeof(b))));
	assert_int_equal(out[0], 0x22);
	assert_int_equal(out[1], 0x0d);
}

static uint16_t naive(const uint8_t *p, size_t n)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < n; i += 2) {
		sum += (uint32_t)p[i] << 8 | (i + 1 < n ? p[i + 1] : 0u);
		sum = (sum & 0xffff) + (sum >> 16);
	}
	return (uint16_t)~sum;
}

static void inet_csum__agrees_with_word_by_word(void **state)
{
	static uint8_t b[70000];
	struct rng r;

	(void)state;
	rng_init(&r, 1);
	for (size_t i = 0; i < sizeof(b); i++)
		b[i] = (uint8_t)(rng_below(&r, 4) ? 0xff : rng_u64(&r));
	for (int i = 0; i < 3000; i++) {
		size_t off = rng_below(&r, 9), n = rng_below(&r, i % 10 ? 200 : 65535);
		size_t cut = rng_below(&r, n / 2 + 1) * 2;
		uint8_t out[2];

		inet_put(out, inet_fold(inet_sum(inet_sum(0, b + off, cut), b + off + cut, n - cut)));
		assert_int_equal(out[0] << 8 | out[1], naive(b + off, n));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(inet_csum__rfc1071_example),
		cmocka_unit_test(inet_csum__agrees_with_word_by_word),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

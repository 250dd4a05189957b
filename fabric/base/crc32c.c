/* SPDX-License-Identifier: Apache-2.0 */
#include "fabric/base/crc32c.h"

#include <string.h>

#include "fabric/base/crc32c_impl.h"

#define POLY 0x82f63b78u /* 0x1edc6f41 (RFC 3720 B.4), bits reversed */

/* Entry n of the table for a 4-bit step, worked out by the compiler. */
#define STEP(c)	  (((c) >> 1) ^ (((c)&1u) ? POLY : 0u))
#define NIBBLE(n) STEP(STEP(STEP(STEP((uint32_t)(n)))))

static const uint32_t nibbles[16] = {
	NIBBLE(0), NIBBLE(1), NIBBLE(2),  NIBBLE(3),  NIBBLE(4),  NIBBLE(5),  NIBBLE(6),  NIBBLE(7),
	NIBBLE(8), NIBBLE(9), NIBBLE(10), NIBBLE(11), NIBBLE(12), NIBBLE(13), NIBBLE(14), NIBBLE(15),
};

uint32_t crc32c_table(uint32_t crc, const void *p, size_t len)
{
	const uint8_t *at = p;

	crc = ~crc;
	while (len--) {
		crc ^= *at++;
		crc = crc >> 4 ^ nibbles[crc & 15];
		crc = crc >> 4 ^ nibbles[crc & 15];
	}
	return ~crc;
}

#if defined(__x86_64__)
#include <nmmintrin.h>

__attribute__((target("sse4.2"))) uint32_t crc32c_sse42(uint32_t crc, const void *p, size_t len)
{
	const uint8_t *at = p;
	uint64_t c = ~crc;

	for (; len >= 8; len -= 8, at += 8) {
		uint64_t v;

		memcpy(&v, at, 8);
		c = _mm_crc32_u64(c, v);
	}
	while (len--)
		c = _mm_crc32_u8((uint32_t)c, *at++);
	return ~(uint32_t)c;
}

int crc32c_have_sse42(void)
{
	return __builtin_cpu_supports("sse4.2");
}

#else

uint32_t crc32c_sse42(uint32_t crc, const void *p, size_t len)
{
	return crc32c_table(crc, p, len);
}

int crc32c_have_sse42(void)
{
	return 0;
}

#endif

uint32_t crc32c(uint32_t crc, const void *p, size_t len)
{
	return crc32c_have_sse42() ? crc32c_sse42(crc, p, len) : crc32c_table(crc, p, len);
}

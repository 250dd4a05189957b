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
#include <immintrin.h>

/*
 * The instruction takes three cycles and could start every cycle: three lanes side by side are three times
 * as fast. The sums of the first two are then moved over what follows them: times x^(8 n) for n bytes, as a
 * product without carries, which the instruction reduces. By lane length: x^(8 n - 33) for one lane and for
 * two, bits reversed. A packet's chunk of 1344 bytes is one round of the long lanes.
 */
#define LANE_LONG  448u
#define LANE_SHORT 64u

struct lane {
	size_t len;
	uint64_t over_one, over_two;
};

static const struct lane lanes[] = {
	{LANE_LONG, 0x1b03397fu, 0x68bce87au},
	{LANE_SHORT, 0x9e4addf8u, 0x0d3b6092u},
};

__attribute__((target("sse4.2,pclmul"))) static inline uint64_t moved(uint64_t crc, uint64_t by)
{
	return (uint64_t)_mm_cvtsi128_si64(
		_mm_clmulepi64_si128(_mm_cvtsi64_si128((int64_t)crc), _mm_cvtsi64_si128((int64_t)by), 0));
}

__attribute__((target("sse4.2,pclmul"))) static uint64_t three_lanes(uint64_t a, const uint8_t *at,
								     const struct lane *lane)
{
	uint64_t b = 0, c = 0;

	for (size_t i = 0; i < lane->len; i += 8) {
		uint64_t v[3];

		memcpy(&v[0], at + i, 8);
		memcpy(&v[1], at + lane->len + i, 8);
		memcpy(&v[2], at + 2 * lane->len + i, 8);
		a = _mm_crc32_u64(a, v[0]);
		b = _mm_crc32_u64(b, v[1]);
		c = _mm_crc32_u64(c, v[2]);
	}
	return _mm_crc32_u64(0, moved(a, lane->over_two) ^ moved(b, lane->over_one)) ^ c;
}

__attribute__((target("sse4.2"))) uint32_t crc32c_sse42(uint32_t crc, const void *p, size_t len)
{
	const uint8_t *at = p;
	uint64_t c = ~crc;

	if (len >= 3 * LANE_SHORT && __builtin_cpu_supports("pclmul"))
		for (size_t i = 0; i < 2; i++)
			for (; len >= 3 * lanes[i].len; len -= 3 * lanes[i].len, at += 3 * lanes[i].len)
				c = three_lanes(c, at, &lanes[i]);
	for (; len >= 8; len -= 8, at += 8) {
		uint64_t v;

		memcpy(&v, at, 8);
		c = _mm_crc32_u64(c, v);
	}
	if (len >= 4) { /* a nonce has 12 bytes */
		uint32_t v;

		memcpy(&v, at, 4);
		c = _mm_crc32_u32((uint32_t)c, v);
		len -= 4;
		at += 4;
	}
	while (len--)
		c = _mm_crc32_u8((uint32_t)c, *at++);
	return ~(uint32_t)c;
}

int crc32c_have_sse42(void)
{
	return __builtin_cpu_supports("sse4.2");
}

/*
 * Four registers of 64 bytes side by side. A register's 16-byte parts are moved over the bytes up to their
 * next: each half times a power of x, and added to what is there. What is left of all, 64 bytes with the same
 * remainder, is summed up as data is. Powers, bits reversed: for n bits x^(n + 31) for the half that comes
 * first, x^(n - 33) for the other.
 */
#define FAR_FIRST   0xdcb17aa4 /* 2048 bits */
#define FAR_SECOND  0xb9e02b86
#define NEAR_FIRST  0x740eef02 /* 512 bits */
#define NEAR_SECOND 0x9e4addf8

#define FOLDS __attribute__((target("avx512f,vpclmulqdq,sse4.2")))

FOLDS static inline __m512i folded(__m512i part, __m512i by, __m512i onto)
{
	return _mm512_ternarylogic_epi64(_mm512_clmulepi64_epi128(part, by, 0x00),
					 _mm512_clmulepi64_epi128(part, by, 0x11), onto, 0x96);
}

/* At least CRC32C_FOLD_MIN bytes. */
FOLDS static uint32_t fold(uint32_t crc, const void *p, size_t len)
{
	const __m512i far = _mm512_broadcast_i32x4(_mm_set_epi64x(FAR_SECOND, FAR_FIRST));
	const __m512i near = _mm512_broadcast_i32x4(_mm_set_epi64x(NEAR_SECOND, NEAR_FIRST));
	const uint8_t *at = p;
	uint64_t left[8], c = 0;
	__m512i v0, v1, v2, v3;

	v0 = _mm512_xor_si512(_mm512_loadu_si512(at), _mm512_zextsi128_si512(_mm_cvtsi32_si128((int)~crc)));
	v1 = _mm512_loadu_si512(at + 64);
	v2 = _mm512_loadu_si512(at + 128);
	v3 = _mm512_loadu_si512(at + 192);
	at += CRC32C_FOLD_MIN;
	len -= CRC32C_FOLD_MIN;
	for (; len >= CRC32C_FOLD_MIN; len -= CRC32C_FOLD_MIN, at += CRC32C_FOLD_MIN) {
		v0 = folded(v0, far, _mm512_loadu_si512(at));
		v1 = folded(v1, far, _mm512_loadu_si512(at + 64));
		v2 = folded(v2, far, _mm512_loadu_si512(at + 128));
		v3 = folded(v3, far, _mm512_loadu_si512(at + 192));
	}
	v3 = folded(folded(folded(v0, near, v1), near, v2), near, v3);
	for (; len >= 64; len -= 64, at += 64)
		v3 = folded(v3, near, _mm512_loadu_si512(at));
	_mm512_storeu_si512(left, v3);
	/* By hand: before a call in place of a return the compiler leaves it out, and with the upper halves
	 * in use all SSE code of the program takes two to three times as long. */
	_mm256_zeroupper();
	for (size_t i = 0; i < 8; i++)
		c = _mm_crc32_u64(c, left[i]);
	return crc32c_sse42(~(uint32_t)c, at, len);
}

uint32_t crc32c_fold(uint32_t crc, const void *p, size_t len)
{
	return len < CRC32C_FOLD_MIN ? crc32c_sse42(crc, p, len) : fold(crc, p, len);
}

int crc32c_have_fold(void)
{
	return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("vpclmulqdq") &&
	       crc32c_have_sse42();
}

#else

uint32_t crc32c_fold(uint32_t crc, const void *p, size_t len)
{
	return crc32c_table(crc, p, len);
}

int crc32c_have_fold(void)
{
	return 0;
}

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
	if (len >= CRC32C_FOLD_MIN && crc32c_have_fold())
		return crc32c_fold(crc, p, len);
	return crc32c_have_sse42() ? crc32c_sse42(crc, p, len) : crc32c_table(crc, p, len);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The two implementations of AES-128-GCM are one: the same bytes out, the same packets refused. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <cmocka.h>

#include "fabric/aead/aead.h"
#include "fabric/base/rng.h"

#define MAX 8192u

static struct {
	const struct aead_ops *mb;
	struct aead_key *ours, *theirs; /* libipsec-mb's and OpenSSL's, of one key */
	struct rng rng;
	uint8_t plain[MAX];
} t;

static int setup(void **state)
{
	uint8_t key[AEAD_KEY_LEN];

	(void)state;
	t.mb = aead_gcm_mb();
	if (!t.mb)
		return 0;
	rng_init(&t.rng, 11);
	for (size_t i = 0; i < sizeof(key); i++)
		key[i] = (uint8_t)rng_u64(&t.rng);
	for (size_t i = 0; i < sizeof(t.plain); i++)
		t.plain[i] = (uint8_t)rng_u64(&t.rng);
	t.ours = t.mb->create(key);
	t.theirs = aead_gcm.create(key);
	return t.ours && t.theirs ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	if (!t.mb)
		return 0;
	t.mb->destroy(t.ours);
	t.mb->destroy(NULL);
	aead_gcm.destroy(t.theirs);
	return 0;
}

/* One packet both ways at a random alignment; nothing beyond it is touched. */
static void cross(size_t len, size_t hdr_len)
{
	static uint8_t a[MAX + 128], b[MAX + 128];
	uint8_t nonce[AEAD_NONCE_LEN], hdr[64];
	size_t at = rng_below(&t.rng, 64), end = at + len + 16;
	uint8_t *pa = a + at, *pb = b + at;

	for (size_t i = 0; i < sizeof(nonce); i++)
		nonce[i] = (uint8_t)rng_u64(&t.rng);
	for (size_t i = 0; i < hdr_len; i++)
		hdr[i] = (uint8_t)rng_u64(&t.rng);
	memset(a, 0x5a, end + 32);
	memset(b, 0x5a, end + 32);
	memcpy(pa, t.plain, len);
	memcpy(pb, t.plain, len);
	t.mb->seal(t.ours, nonce, hdr, hdr_len, pa, len, pa + len);
	aead_gcm.seal(t.theirs, nonce, hdr, hdr_len, pb, len, pb + len);
	assert_memory_equal(a, b, end + 32);
	assert_int_equal(aead_gcm.open(t.theirs, nonce, hdr, hdr_len, pa, len, pa + len), 0);
	assert_int_equal(t.mb->open(t.ours, nonce, hdr, hdr_len, pb, len, pb + len), 0);
	assert_memory_equal(pa, t.plain, len);
	assert_memory_equal(a, b, end + 32);
}

static void gcm_mb__the_same_bytes_at_every_length(void **state)
{
	(void)state;
	if (!t.mb)
		skip();
	for (size_t len = 0; len <= 1400; len++)
		cross(len, 32);
	for (size_t hdr_len = 0; hdr_len <= 64; hdr_len++)
		cross(40, hdr_len);
	for (size_t len = MAX - 64; len <= MAX; len++)
		cross(len, 32);
}

static void gcm_mb__the_same_packets_are_refused(void **state)
{
	/* nonce, header, 8192 bytes, tag */
	static uint8_t good[12 + 32 + MAX + 16], bad[sizeof(good)];

	(void)state;
	if (!t.mb)
		skip();
	memcpy(good + 12 + 32, t.plain, MAX);
	aead_gcm.seal(t.theirs, good, good + 12, 32, good + 44, MAX, good + 44 + MAX);
	/* Every bit of what surrounds the payload, some of the payload itself. */
	for (size_t bit = 0; bit < sizeof(good) * 8; bit++) {
		bool inside = bit >= 44 * 8 && bit < (44 + MAX) * 8;

		if (inside && bit % 97)
			continue;
		memcpy(bad, good, sizeof(bad));
		bad[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_equal(t.mb->open(t.ours, bad, bad + 12, 32, bad + 44, MAX, bad + 44 + MAX),
				 -EBADMSG);
	}
	memcpy(bad, good, sizeof(bad));
	assert_int_equal(t.mb->open(t.ours, bad, bad + 12, 32, bad + 44, MAX, bad + 44 + MAX), 0);
	assert_memory_equal(bad + 44, t.plain, MAX);
}

static void gcm_best__is_the_fast_one_where_there_is_one(void **state)
{
	(void)state;
	assert_ptr_equal(aead_gcm_best(), t.mb ? t.mb : &aead_gcm);
	assert_int_equal(aead_gcm_best()->tag_len, aead_gcm.tag_len);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gcm_mb__the_same_bytes_at_every_length),
		cmocka_unit_test(gcm_mb__the_same_packets_are_refused),
		cmocka_unit_test(gcm_best__is_the_fast_one_where_there_is_one),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}

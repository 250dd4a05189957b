/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <errno.h>
#include <string.h>
#include <cmocka.h>

#include "fabric/aead/aead.h"
#include "fabric/base/rng.h"

static size_t unhex(uint8_t *out, const char *hex)
{
	size_t n = strlen(hex) / 2;

	for (size_t i = 0; i < 2 * n; i++) {
		int d = hex[i] <= '9' ? hex[i] - '0' : hex[i] - 'a' + 10;

		out[i / 2] = (uint8_t)(i % 2 ? out[i / 2] | d : d << 4);
	}
	return n;
}

/* McGrew and Viega, "The Galois/Counter Mode of Operation", appendix B, cases 1 to 4; then of NIST's CAVP,
 * gcmEncryptExtIV128, the first of each of three groups. */
static const struct vector {
	const char *key, *iv, *aad, *plain, *cipher, *tag;
} vectors[] = {
	{"00000000000000000000000000000000", "000000000000000000000000", "", "", "",
	 "58e2fccefa7e3061367f1d57a4e7455a"},
	{"00000000000000000000000000000000", "000000000000000000000000", "",
	 "00000000000000000000000000000000", "0388dace60b6a392f328c2b971b2fe78",
	 "ab6e47d42cec13bdf53a67b21257bddf"},
	{"feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888", "",
	 "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
	 "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255",
	 "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e"
	 "21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091473f5985",
	 "4d5c2af327cd64a62cf35abd2ba6fab4"},
	{"feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888",
	 "feedfacedeadbeeffeedfacedeadbeefabaddad2",
	 "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
	 "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
	 "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e"
	 "21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091",
	 "5bc94fbc3221a5db94fae95ae7121a47"},
	{"11754cd72aec309bf52f7687212e8957", "3c819d9a9bed087615030b65", "", "", "",
	 "250327c674aaf477aef2675748cf6971"},
	{"77be63708971c4e240d1cb79e8d77feb", "e0e00f19fed7ba0136a797f3", "7a43ec1d9c0a5a78a0b16533a6213cab",
	 "", "", "209fcc8d3675ed938e9c7166709dd946"},
	{"7fddb57453c241d03efbed3ac44e371c", "ee283a3fc75575e33efd4887", "",
	 "d5de42b461646c255c87bd2962d3b9a2", "2ccda4a5415cb91e135c2a0f78c9b2fd",
	 "b36d1df9b9d5e596f83e8b7f52971cb3"},
};

static void check_vector(const struct aead_ops *o, const struct vector *v)
{
	uint8_t key[16], iv[12], aad[64], data[64], plain[64], cipher[64], want[16], tag[16];
	size_t aad_len, len;
	struct aead_key *k;

	unhex(key, v->key);
	unhex(iv, v->iv);
	unhex(want, v->tag);
	unhex(cipher, v->cipher);
	aad_len = unhex(aad, v->aad);
	len = unhex(plain, v->plain);
	memcpy(data, plain, len);
	k = o->create(key);
	assert_non_null(k);
	/* Twice: the context is reused and must not carry anything over. */
	for (int again = 0; again < 2; again++) {
		o->seal(k, iv, aad, aad_len, data, len, tag);
		assert_memory_equal(data, cipher, len);
		assert_memory_equal(tag, want, 16);
		assert_int_equal(o->open(k, iv, aad, aad_len, data, len, tag), 0);
		assert_memory_equal(data, plain, len);
	}
	o->destroy(k);
}

static void aead_gcm__known_vectors(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
		check_vector(&aead_gcm, &vectors[i]);
		if (aead_gcm_mb())
			check_vector(aead_gcm_mb(), &vectors[i]);
	}
}

/* Without the library, or on a processor it does not help, the first stands twice. */
static const struct aead_ops *all[] = {&aead_gcm, &aead_crc, NULL};
#define NALL (sizeof(all) / sizeof(all[0]))

static int setup(void **state)
{
	(void)state;
	all[2] = aead_gcm_best();
	return 0;
}

static void aead__every_flipped_bit_is_seen(void **state)
{
	uint8_t key[AEAD_KEY_LEN] = "0123456789abcde", pkt[12 + 32 + 40 + AEAD_TAG_MAX], sealed[sizeof(pkt)];

	(void)state;
	for (size_t i = 0; i < NALL; i++) {
		const struct aead_ops *o = all[i];
		struct aead_key *k = o->create(key);
		size_t total = 12 + 32 + 40 + o->tag_len;

		for (size_t j = 0; j < sizeof(sealed); j++)
			sealed[j] = (uint8_t)(j * 7);
		o->seal(k, sealed, sealed + 12, 32, sealed + 44, 40, sealed + 84);
		for (size_t bit = 0; bit < total * 8; bit++) {
			memcpy(pkt, sealed, sizeof(pkt));
			pkt[bit / 8] ^= (uint8_t)(1 << bit % 8);
			assert_int_equal(o->open(k, pkt, pkt + 12, 32, pkt + 44, 40, pkt + 84), -EBADMSG);
		}
		/* A failure leaves the context good. */
		memcpy(pkt, sealed, sizeof(pkt));
		assert_int_equal(o->open(k, pkt, pkt + 12, 32, pkt + 44, 40, pkt + 84), 0);
		o->destroy(k);
	}
}

static void aead__other_key_and_other_length_are_refused(void **state)
{
	uint8_t ka[AEAD_KEY_LEN] = {1}, kb[AEAD_KEY_LEN] = {2}, iv[12] = {0}, d[64 + 16] = {5}, e[64 + 16];

	(void)state;
	for (size_t i = 0; i < NALL; i++) {
		const struct aead_ops *o = all[i];
		struct aead_key *a = o->create(ka), *b = o->create(kb);

		o->seal(a, iv, (const uint8_t *)"hdr", 3, d, 64, d + 64);
		memcpy(e, d, sizeof(e));
		assert_int_equal(o->open(b, iv, (const uint8_t *)"hdr", 3, e, 64, e + 64), -EBADMSG);
		memcpy(e, d, sizeof(e));
		assert_int_equal(o->open(a, iv, (const uint8_t *)"hdr", 2, e, 64, e + 64), -EBADMSG);
		memcpy(e, d, sizeof(e));
		assert_int_equal(o->open(a, iv, (const uint8_t *)"hdr", 3, e, 63, e + 64), -EBADMSG);
		o->destroy(a);
		o->destroy(b);
		o->destroy(NULL);
	}
}

static void aead__round_trip_at_any_length(void **state)
{
	uint8_t key[AEAD_KEY_LEN] = {3}, plain[1500], data[1500], iv[12] = {0}, tag[AEAD_TAG_MAX];
	struct rng r;

	(void)state;
	rng_init(&r, 4);
	for (size_t i = 0; i < sizeof(plain); i++)
		plain[i] = (uint8_t)rng_u64(&r);
	for (size_t i = 0; i < NALL; i++) {
		struct aead_key *k = all[i]->create(key);

		for (size_t len = 0; len <= sizeof(plain); len += 1 + len / 8) {
			iv[11]++;
			memcpy(data, plain, len);
			all[i]->seal(k, iv, plain, 32, data, len, tag);
			if (all[i] != &aead_crc && len >= 16)
				assert_memory_not_equal(data, plain, len);
			assert_int_equal(all[i]->open(k, iv, plain, 32, data, len, tag), 0);
			assert_memory_equal(data, plain, len);
		}
		all[i]->destroy(k);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(aead_gcm__known_vectors),
		cmocka_unit_test(aead__every_flipped_bit_is_seen),
		cmocka_unit_test(aead__other_key_and_other_length_are_refused),
		cmocka_unit_test(aead__round_trip_at_any_length),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}

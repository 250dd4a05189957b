/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <cmocka.h>

#include "fabric/aead/aead.h"
#include "fabric/aead/kdf.h"

/* PSP Architecture Specification, "Examples of key derivation": two master keys, three keys. */
static const uint8_t masters[2][KDF_MASTER_LEN] = {
	{0x34, 0x44, 0x8a, 0x06, 0x42, 0x92, 0x60, 0x1b, 0x11, 0xa0, 0x97, 0x8f, 0x56, 0xa2, 0xd3, 0x4c,
	 0xf3, 0xfc, 0x35, 0xed, 0xe1, 0xa6, 0xbc, 0x04, 0xf8, 0xdb, 0x3e, 0x52, 0x43, 0xa2, 0xb0, 0xca},
	{0x56, 0x39, 0x52, 0x56, 0x5d, 0x3a, 0x78, 0xae, 0x77, 0x3e, 0xc1, 0xb7, 0x79, 0xf2, 0xf2, 0xd9,
	 0x9f, 0x4a, 0x7f, 0x53, 0xa6, 0xfb, 0xb9, 0xb0, 0x7d, 0x5b, 0x71, 0xf3, 0x93, 0x64, 0xd7, 0x39},
};

static const struct {
	uint32_t spi;
	enum kdf_version version;
	size_t len;
	uint8_t key[KDF_KEY_MAX];
} vectors[] = {
	{0x12345678,
	 KDF_GCM_128,
	 16,
	 {0x96, 0xc2, 0x2d, 0xc7, 0x99, 0x19, 0x80, 0x90, 0xb7, 0x4b, 0x70, 0xae, 0x46, 0x8e, 0x4e, 0x30}},
	{0x9a345678,
	 KDF_GCM_128,
	 16,
	 {0x39, 0x46, 0xda, 0x25, 0x54, 0xea, 0xe4, 0x6a, 0xd1, 0xef, 0x77, 0xa6, 0x43, 0x72, 0xed, 0xc4}},
	{0x12345678, KDF_GCM_256, 32, {0x2b, 0x7d, 0x72, 0x07, 0x4e, 0x42, 0xca, 0x33, 0x44, 0x87, 0xf2,
				       0x99, 0x0e, 0x3f, 0x8c, 0x40, 0x37, 0xe4, 0x36, 0xf3, 0x82, 0x83,
				       0x44, 0x9b, 0x76, 0x46, 0x3e, 0x9b, 0x7f, 0xb2, 0xe3, 0xde}},
};

static void kdf__vectors_of_the_specification(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
		uint8_t key[KDF_KEY_MAX + 1];

		memset(key, 0x5a, sizeof(key));
		assert_int_equal(
			kdf_derive(key, masters[vectors[i].spi >> 31], vectors[i].spi, vectors[i].version),
			0);
		assert_memory_equal(key, vectors[i].key, vectors[i].len);
		assert_int_equal(key[vectors[i].len], 0x5a);
	}
}

static void kdf__no_other_version(void **state)
{
	uint8_t key[KDF_KEY_MAX];

	(void)state;
	assert_int_equal(kdf_derive(key, masters[0], 1, (enum kdf_version)2), -EINVAL);
}

static void kdf__the_top_bit_chooses_the_master(void **state)
{
	struct kdf_masters m;
	uint8_t key[AEAD_KEY_LEN];

	(void)state;
	kdf_masters_init(&m, &masters[0][0]);
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(kdf_masters_key(&m, vectors[i].spi, key), 0);
		assert_memory_equal(key, vectors[i].key, sizeof(key));
	}
}

static void kdf__each_bit_of_the_spi_and_of_the_master_counts(void **state)
{
	uint8_t keys[1 + 32 + KDF_MASTER_LEN * 8][AEAD_KEY_LEN];
	size_t n = 0;

	(void)state;
	assert_int_equal(kdf_derive(keys[n++], masters[0], 7, KDF_GCM_128), 0);
	for (uint32_t bit = 0; bit < 32; bit++)
		assert_int_equal(kdf_derive(keys[n++], masters[0], 7 ^ 1u << bit, KDF_GCM_128), 0);
	for (size_t bit = 0; bit < KDF_MASTER_LEN * 8; bit++) {
		uint8_t master[KDF_MASTER_LEN];

		memcpy(master, masters[0], sizeof(master));
		master[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_equal(kdf_derive(keys[n++], master, 7, KDF_GCM_128), 0);
	}
	for (size_t i = 0; i < n; i++)
		for (size_t j = i + 1; j < n; j++)
			assert_memory_not_equal(keys[i], keys[j], AEAD_KEY_LEN);
}

static bool same_key(const struct kdf_masters *m, uint32_t spi, const uint8_t *want)
{
	uint8_t key[AEAD_KEY_LEN];

	assert_int_equal(kdf_masters_key(m, spi, key), 0);
	return !memcmp(key, want, sizeof(key));
}

static void kdf__a_key_outlives_one_rotation_and_not_two(void **state)
{
	uint8_t fresh[3][KDF_MASTER_LEN] = {{1}, {2}, {3}}, old[AEAD_KEY_LEN], next[AEAD_KEY_LEN];
	struct kdf_masters m;
	uint32_t spi, later;

	(void)state;
	kdf_masters_init(&m, &masters[0][0]);
	for (size_t round = 0; round < 3; round++) {
		spi = m.issue | 42;
		assert_int_equal(kdf_masters_key(&m, spi, old), 0);
		kdf_masters_rotate(&m, fresh[round]);
		later = m.issue | 42;
		assert_int_not_equal(spi, later);
		assert_true(same_key(&m, spi, old));
		assert_int_equal(kdf_derive(next, fresh[round], later, KDF_GCM_128), 0);
		assert_true(same_key(&m, later, next));
	}
	kdf_masters_rotate(&m, masters[0]);
	assert_false(same_key(&m, spi, old));
	assert_true(same_key(&m, later, next));
}

static void kdf__wiping_leaves_nothing(void **state)
{
	struct kdf_masters m, zero;

	(void)state;
	memset(&zero, 0, sizeof(zero));
	kdf_masters_init(&m, &masters[0][0]);
	kdf_masters_wipe(&m);
	assert_memory_equal(&m, &zero, sizeof(m));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(kdf__vectors_of_the_specification),
		cmocka_unit_test(kdf__no_other_version),
		cmocka_unit_test(kdf__the_top_bit_chooses_the_master),
		cmocka_unit_test(kdf__each_bit_of_the_spi_and_of_the_master_counts),
		cmocka_unit_test(kdf__a_key_outlives_one_rotation_and_not_two),
		cmocka_unit_test(kdf__wiping_leaves_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

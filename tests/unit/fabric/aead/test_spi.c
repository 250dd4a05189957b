/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "fabric/aead/spi.h"

static void never_twice_and_keys_differ(void **state)
{
	struct spi_issuer s;
	uint8_t key[64][AEAD_KEY_LEN];
	uint32_t spi[64];

	(void)state;
	assert_int_equal(spi_issuer_init(&s), 0);
	for (int i = 0; i < 64; i++) {
		assert_int_equal(spi_issue(&s, &spi[i], key[i]), 0);
		assert_int_not_equal(spi[i], 0);
		for (int k = 0; k < i; k++) {
			assert_int_not_equal(spi[i], spi[k]);
			assert_memory_not_equal(key[i], key[k], AEAD_KEY_LEN);
		}
	}
	spi_issuer_fini(&s);
}

/* Another boot gives other keys to the same SPIs. */
static void boots_differ(void **state)
{
	struct spi_issuer a, b;
	uint8_t ka[AEAD_KEY_LEN], kb[AEAD_KEY_LEN];
	uint32_t sa, sb;

	(void)state;
	assert_int_equal(spi_issuer_init(&a), 0);
	assert_int_equal(spi_issuer_init(&b), 0);
	assert_int_equal(spi_issue(&a, &sa, ka), 0);
	assert_int_equal(spi_issue(&b, &sb, kb), 0);
	assert_int_equal(sa & ~KDF_SPI_MASTER, sb & ~KDF_SPI_MASTER);
	assert_memory_not_equal(ka, kb, AEAD_KEY_LEN);
	spi_issuer_fini(&a);
	spi_issuer_fini(&b);
}

static void masters_rotate_when_half_is_used(void **state)
{
	struct spi_issuer s;
	uint8_t key[AEAD_KEY_LEN], again[AEAD_KEY_LEN];
	uint32_t last, next;

	(void)state;
	assert_int_equal(spi_issuer_init(&s), 0);
	s.next = (1u << 30) - 1;
	assert_int_equal(spi_issue(&s, &last, key), 0);
	assert_int_equal(spi_issue(&s, &next, again), 0);
	assert_int_not_equal(last & KDF_SPI_MASTER, next & KDF_SPI_MASTER);
	/* One issued before the rotation keeps its key. */
	assert_int_equal(kdf_masters_key(&s.masters, last, again), 0);
	assert_memory_equal(key, again, AEAD_KEY_LEN);
	spi_issuer_fini(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(never_twice_and_keys_differ),
		cmocka_unit_test(boots_differ),
		cmocka_unit_test(masters_rotate_when_half_is_used),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

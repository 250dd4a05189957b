/* SPDX-License-Identifier: Apache-2.0 */
#include "fabric/aead/spi.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>

/* SPIs of one master key before the next takes its place: those issued before the last rotation stay good. */
#define SPI_PER_MASTER (1u << 30)

int spi_issuer_init(struct spi_issuer *s)
{
	uint8_t random[2 * KDF_MASTER_LEN];

	s->next = 0;
	if (RAND_bytes(random, sizeof(random)) != 1)
		return -EIO;
	kdf_masters_init(&s->masters, random);
	OPENSSL_cleanse(random, sizeof(random));
	return 0;
}

void spi_issuer_fini(struct spi_issuer *s)
{
	kdf_masters_wipe(&s->masters);
}

int spi_issue(struct spi_issuer *s, uint32_t *spi, uint8_t key[AEAD_KEY_LEN])
{
	uint8_t random[KDF_MASTER_LEN];

	if (s->next == SPI_PER_MASTER) {
		if (RAND_bytes(random, sizeof(random)) != 1)
			return -EIO;
		kdf_masters_rotate(&s->masters, random);
		OPENSSL_cleanse(random, sizeof(random));
		s->next = 0;
	}
	*spi = s->masters.issue | ++s->next;
	return kdf_masters_key(&s->masters, *spi, key);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "fabric/aead/aead.h"
#include "fabric/aead/kdf.h"

#define BLOCK 16u

static void put_u32(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 24);
	p[1] = (uint8_t)(v >> 16);
	p[2] = (uint8_t)(v >> 8);
	p[3] = (uint8_t)v;
}

int kdf_derive(uint8_t *key, const uint8_t master[KDF_MASTER_LEN], uint32_t spi, enum kdf_version version)
{
	uint32_t len = version == KDF_GCM_128 ? 16 : 32;
	uint8_t in[BLOCK] = {0, 0, 0, 0, 'P', 'v', (uint8_t)('0' + version), 0};

	if (version != KDF_GCM_128 && version != KDF_GCM_256)
		return -EINVAL;
	put_u32(in + 8, spi);
	put_u32(in + 12, len * 8);
	for (uint32_t i = 0; i < len / BLOCK; i++) {
		size_t n;

		put_u32(in, i + 1);
		if (!EVP_Q_mac(NULL, "CMAC", NULL, "AES-256-CBC", NULL, master, KDF_MASTER_LEN, in, BLOCK,
			       key + i * BLOCK, BLOCK, &n) ||
		    n != BLOCK) {
			OPENSSL_cleanse(key, len);
			return -EIO;
		}
	}
	return 0;
}

void kdf_masters_init(struct kdf_masters *m, const uint8_t *random)
{
	memcpy(m->key, random, sizeof(m->key));
	m->issue = 0;
}

void kdf_masters_rotate(struct kdf_masters *m, const uint8_t *random)
{
	m->issue ^= KDF_SPI_MASTER;
	memcpy(m->key[m->issue != 0], random, KDF_MASTER_LEN);
}

void kdf_masters_wipe(struct kdf_masters *m)
{
	OPENSSL_cleanse(m, sizeof(*m));
}

int kdf_masters_key(const struct kdf_masters *m, uint32_t spi, uint8_t *key)
{
	_Static_assert(AEAD_KEY_LEN == 16, "the key of KDF_GCM_128");

	return kdf_derive(key, m->key[(spi & KDF_SPI_MASTER) != 0], spi, KDF_GCM_128);
}

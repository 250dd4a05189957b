/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/nonce.h"

#include <stdlib.h>
#include <string.h>

struct nonce_key {
	struct aead_key *key;
	uint8_t last[AEAD_NONCE_LEN];
	bool sealed;
};

static struct sim *fails;

void nonce_world(struct sim *s)
{
	fails = s;
}

static struct aead_key *create(const struct aead_ops *ops, const uint8_t *key)
{
	struct nonce_key *k = calloc(1, sizeof(*k));

	if (!k)
		abort();
	k->key = ops->create(key);
	return (struct aead_key *)k;
}

static void destroy(const struct aead_ops *ops, struct aead_key *key)
{
	struct nonce_key *k = (struct nonce_key *)key;

	if (k)
		ops->destroy(k->key);
	free(k);
}

static struct aead_key *sealing(struct aead_key *key, const uint8_t *nonce)
{
	struct nonce_key *k = (struct nonce_key *)key;

	/* Big-endian: bytes compare like numbers. */
	if (k->sealed)
		sim_check(fails, !memcmp(nonce, k->last, 4) && memcmp(nonce, k->last, AEAD_NONCE_LEN) > 0,
			  "a nonce was used twice");
	memcpy(k->last, nonce, AEAD_NONCE_LEN);
	k->sealed = true;
	return k->key;
}

#define NONCE_OPS(name)                                                                                      \
	static struct aead_key *name##_create(const uint8_t *key)                                            \
	{                                                                                                    \
		return create(&aead_##name, key);                                                            \
	}                                                                                                    \
	static void name##_destroy(struct aead_key *key)                                                     \
	{                                                                                                    \
		destroy(&aead_##name, key);                                                                  \
	}                                                                                                    \
	static void name##_seal(struct aead_key *key, const uint8_t *nonce, const uint8_t *hdr,              \
				size_t hdr_len, uint8_t *data, size_t len, uint8_t *tag)                     \
	{                                                                                                    \
		aead_##name.seal(sealing(key, nonce), nonce, hdr, hdr_len, data, len, tag);                  \
	}                                                                                                    \
	static int name##_open(struct aead_key *key, const uint8_t *nonce, const uint8_t *hdr,               \
			       size_t hdr_len, uint8_t *data, size_t len, const uint8_t *tag)                \
	{                                                                                                    \
		return aead_##name.open(((struct nonce_key *)key)->key, nonce, hdr, hdr_len, data, len,      \
					tag);                                                                \
	}

NONCE_OPS(crc)
NONCE_OPS(gcm)

const struct aead_ops nonce_crc = {"checked CRC", 4, crc_create, crc_destroy, crc_seal, crc_open};
const struct aead_ops nonce_gcm = {"checked GCM", 16, gcm_create, gcm_destroy, gcm_seal, gcm_open};

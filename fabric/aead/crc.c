/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Integrity against accidents alone. The key is not secret enough to matter here, but key and
 * nonce go into the sum, so that a packet of another path, or of an earlier boot, does not pass.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

#include "fabric/aead/aead.h"
#include "fabric/base/crc32c.h"
#include "fabric/base/guard.h"

#define TAG_LEN 4

struct aead_key {
	uint32_t start; /* sum of the key */
};

static struct aead_key *crc_create(const uint8_t *key)
{
	struct aead_key *k = malloc(sizeof(*k));

	if (k)
		k->start = crc32c(0, key, AEAD_KEY_LEN);
	return k;
}

static void crc_destroy(struct aead_key *k)
{
	if (k)
		OPENSSL_cleanse(k, sizeof(*k));
	free(k);
}

static void make_tag(const struct aead_key *k, const uint8_t *nonce, const uint8_t *hdr, size_t hdr_len,
		     const uint8_t *data, size_t len, uint8_t tag[TAG_LEN])
{
	uint32_t crc = crc32c(k->start, nonce, AEAD_NONCE_LEN);

	crc = crc32c(crc, hdr, hdr_len);
	crc = crc32c(crc, data, len);
	tag[0] = (uint8_t)(crc >> 24);
	tag[1] = (uint8_t)(crc >> 16);
	tag[2] = (uint8_t)(crc >> 8);
	tag[3] = (uint8_t)crc;
}

static void crc_seal(struct aead_key *k, const uint8_t nonce[AEAD_NONCE_LEN], const uint8_t *hdr,
		     size_t hdr_len, uint8_t *data, size_t len, uint8_t *tag)
{
	make_tag(k, nonce, hdr, hdr_len, data, len, tag);
}

static int crc_open(struct aead_key *k, const uint8_t nonce[AEAD_NONCE_LEN], const uint8_t *hdr,
		    size_t hdr_len, uint8_t *data, size_t len, const uint8_t *tag)
{
	uint8_t want[TAG_LEN];

	make_tag(k, nonce, hdr, hdr_len, data, len, want);
	return GUARD(integrity, !memcmp(want, tag, TAG_LEN)) ? 0 : -EBADMSG;
}

const struct aead_ops aead_crc = {
	.name = "crc32c",
	.tag_len = TAG_LEN,
	.create = crc_create,
	.destroy = crc_destroy,
	.seal = crc_seal,
	.open = crc_open,
};

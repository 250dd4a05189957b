/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AES-128-GCM. One cipher context per direction keeps the key schedule and the hash tables; a
 * packet costs one IV set. Separate contexts for sealing and opening: changing a context's
 * direction throws the key schedule away.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "fabric/aead/aead.h"

#define TAG_LEN 16

struct aead_key {
	EVP_CIPHER_CTX *enc;
	EVP_CIPHER_CTX *dec;
};

static EVP_CIPHER_CTX *make_ctx(const uint8_t *key, int enc)
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();

	if (ctx && EVP_CipherInit_ex(ctx, EVP_aes_128_gcm(), NULL, key, NULL, enc) == 1)
		return ctx;
	EVP_CIPHER_CTX_free(ctx);
	return NULL;
}

static void gcm_destroy(struct aead_key *k)
{
	if (!k)
		return;
	EVP_CIPHER_CTX_free(k->enc); /* cleanses what it holds */
	EVP_CIPHER_CTX_free(k->dec);
	free(k);
}

static struct aead_key *gcm_create(const uint8_t *key)
{
	struct aead_key *k = calloc(1, sizeof(*k));

	if (!k)
		return NULL;
	k->enc = make_ctx(key, 1);
	k->dec = make_ctx(key, 0);
	if (k->enc && k->dec)
		return k;
	gcm_destroy(k);
	return NULL;
}

/* Everything but the tag. The direction is the context's own (-1). */
static int run(EVP_CIPHER_CTX *ctx, const uint8_t *nonce, const uint8_t *hdr, size_t hdr_len, uint8_t *data,
	       size_t len)
{
	int n;

	if (hdr_len > INT_MAX || len > INT_MAX)
		return -EINVAL;
	if (EVP_CipherInit_ex(ctx, NULL, NULL, NULL, nonce, -1) != 1)
		return -EIO;
	if (hdr_len && EVP_CipherUpdate(ctx, NULL, &n, hdr, (int)hdr_len) != 1)
		return -EIO;
	if (len && EVP_CipherUpdate(ctx, data, &n, data, (int)len) != 1)
		return -EIO;
	return 0;
}

static void gcm_seal(struct aead_key *k, const uint8_t nonce[AEAD_NONCE_LEN], const uint8_t *hdr,
		     size_t hdr_len, uint8_t *data, size_t len, uint8_t *tag)
{
	uint8_t none[16];
	int n;

	/* A cipher that fails here is a broken library: sending clear text or a weak tag instead is no
	 * option. */
	if (run(k->enc, nonce, hdr, hdr_len, data, len) || EVP_CipherFinal_ex(k->enc, none, &n) != 1 ||
	    EVP_CIPHER_CTX_ctrl(k->enc, EVP_CTRL_AEAD_GET_TAG, TAG_LEN, tag) != 1)
		abort();
}

static int gcm_open(struct aead_key *k, const uint8_t nonce[AEAD_NONCE_LEN], const uint8_t *hdr,
		    size_t hdr_len, uint8_t *data, size_t len, const uint8_t *tag)
{
	uint8_t want[TAG_LEN], none[16];
	int n;

	memcpy(want, tag, TAG_LEN);
	if (run(k->dec, nonce, hdr, hdr_len, data, len) ||
	    EVP_CIPHER_CTX_ctrl(k->dec, EVP_CTRL_AEAD_SET_TAG, TAG_LEN, want) != 1 ||
	    EVP_CipherFinal_ex(k->dec, none, &n) != 1)
		return -EBADMSG;
	return 0;
}

const struct aead_ops aead_gcm = {
	.name = "aes-128-gcm",
	.tag_len = TAG_LEN,
	.create = gcm_create,
	.destroy = gcm_destroy,
	.seal = gcm_seal,
	.open = gcm_open,
};

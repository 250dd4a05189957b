/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AES-128-GCM through libipsec-mb's direct calls: one call per packet, no job queue. With VAES one
 * packet fills the vector units by itself, so that queueing packets to work on several at once
 * would win nothing and cost latency.
 *
 * The library's manager is only its table of functions here; all state of a key is in the key.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include <openssl/crypto.h>

#include "fabric/aead/aead.h"

#ifdef HAVE_IPSEC_MB

#include <intel-ipsec-mb.h>

#define TAG_LEN 16
#define ALIGN	64

struct aead_key {
	struct gcm_key_data key;	 /* schedule and powers of the hash key */
	struct gcm_context_data scratch; /* of the packet at hand */
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static IMB_MGR *mb; /* written once; NULL: this processor has nothing that OpenSSL does not use as well */

static void look(void)
{
	const uint64_t vectors = IMB_FEATURE_AESNI | IMB_FEATURE_PCLMULQDQ | IMB_FEATURE_AVX2;
	IMB_MGR *m = alloc_mb_mgr(0);
	IMB_ARCH arch = IMB_ARCH_NONE;

	if (!m)
		return;
	init_mb_mgr_auto(m, &arch);
	if (imb_get_errno(m) == 0 && (m->features & vectors) == vectors &&
	    !(m->features & IMB_FEATURE_AESNI_EMU))
		mb = m; /* lives as long as the process */
	else
		free_mb_mgr(m);
}

static void mb_destroy(struct aead_key *k)
{
	if (k)
		OPENSSL_cleanse(k, sizeof(*k));
	free(k);
}

static struct aead_key *mb_create(const uint8_t *key)
{
	struct aead_key *k = aligned_alloc(ALIGN, (sizeof(*k) + ALIGN - 1) / ALIGN * ALIGN);

	if (k)
		IMB_AES128_GCM_PRE(mb, key, &k->key);
	return k;
}

static void mb_seal(struct aead_key *k, const uint8_t nonce[AEAD_NONCE_LEN], const uint8_t *hdr,
		    size_t hdr_len, uint8_t *data, size_t len, uint8_t *tag)
{
	IMB_AES128_GCM_ENC(mb, &k->key, &k->scratch, data, data, len, nonce, hdr, hdr_len, tag, TAG_LEN);
}

static int mb_open(struct aead_key *k, const uint8_t nonce[AEAD_NONCE_LEN], const uint8_t *hdr,
		   size_t hdr_len, uint8_t *data, size_t len, const uint8_t *tag)
{
	uint8_t want[TAG_LEN];

	IMB_AES128_GCM_DEC(mb, &k->key, &k->scratch, data, data, len, nonce, hdr, hdr_len, want, TAG_LEN);
	return CRYPTO_memcmp(want, tag, TAG_LEN) ? -EBADMSG : 0;
}

static const struct aead_ops ops = {
	.name = "aes-128-gcm (ipsec-mb)",
	.tag_len = TAG_LEN,
	.create = mb_create,
	.destroy = mb_destroy,
	.seal = mb_seal,
	.open = mb_open,
};

const struct aead_ops *aead_gcm_mb(void)
{
	pthread_once(&once, look);
	return mb ? &ops : NULL;
}

#else

const struct aead_ops *aead_gcm_mb(void)
{
	return NULL;
}

#endif

const struct aead_ops *aead_gcm_best(void)
{
	const struct aead_ops *o = aead_gcm_mb();

	return o ? o : &aead_gcm;
}

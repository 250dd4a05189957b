/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packet protection: one small door with three implementations.
 *
 *	aead_gcm	AES-128-GCM (NIST SP 800-38D), 16-byte tag, through OpenSSL
 *	aead_gcm_mb()	the same bytes through libipsec-mb, several times faster where the processor has
 *			AVX2 or AVX-512 with VAES; NULL where it has not, or in a build without the library
 *	aead_crc	no secrecy: CRC32C over header and payload, 4-byte tag; for isolated fabrics
 *
 * Whoever wants encryption takes aead_gcm_best(): what one of the first two seals the other opens.
 *
 * Seal and open work in place on one datagram: `hdr` is authenticated, `data` is encrypted, the
 * tag is written behind data. The nonce is 12 bytes: spi || txn (big-endian); the caller never
 * repeats one under the same key. A key context belongs to one thread. Tags of GCM are compared in
 * constant time; destroying a key wipes it.
 *
 * There is no operation that encrypts while copying: from guest memory in one piece it would spare a
 * third of copy and cipher (cold memory; nothing when it is warm), but a chunk is at least a record's
 * header and a piece of guest memory, and begun, continued and finished in pieces GCM costs as much
 * again as the copy.
 */
#ifndef OUTRIGGER_AEAD_AEAD_H
#define OUTRIGGER_AEAD_AEAD_H

#include <stddef.h>
#include <stdint.h>

#define AEAD_KEY_LEN   16
#define AEAD_NONCE_LEN 12
#define AEAD_TAG_MAX   16

struct aead_key; /* one direction of one path */

struct aead_ops {
	const char *name;
	uint32_t tag_len; /* bytes behind the payload */
	/* NULL: no memory or the library refused. key: AEAD_KEY_LEN bytes, copied. */
	struct aead_key *(*create)(const uint8_t *key);
	void (*destroy)(struct aead_key *k); /* wipes; NULL is fine */
	void (*seal)(struct aead_key *k, const uint8_t nonce[AEAD_NONCE_LEN], const uint8_t *hdr,
		     size_t hdr_len, uint8_t *data, size_t len, uint8_t *tag);
	/* 0, or -EBADMSG when the tag does not match; data is then undefined. */
	int (*open)(struct aead_key *k, const uint8_t nonce[AEAD_NONCE_LEN], const uint8_t *hdr,
		    size_t hdr_len, uint8_t *data, size_t len, const uint8_t *tag);
};

extern const struct aead_ops aead_gcm;
extern const struct aead_ops aead_crc;

/* Any thread. The first call looks at the processor. */
const struct aead_ops *aead_gcm_mb(void);
const struct aead_ops *aead_gcm_best(void);

#endif

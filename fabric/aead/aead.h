/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packet protection: one small door with two implementations.
 *
 *	aead_gcm    AES-128-GCM (NIST SP 800-38D), 16-byte tag, through OpenSSL
 *	aead_crc    no secrecy: CRC32C over header and payload, 4-byte tag; for isolated fabrics
 *
 * Seal and open work in place on one datagram: `hdr` is authenticated, `data` is encrypted, the
 * tag is written behind data. The nonce is 12 bytes: spi || txn (big-endian); the caller never
 * repeats one under the same key. A key context belongs to one thread.
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

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Key derivation: the key of an SPI from a master key, so that who hands out SPIs needs no table of keys.
 *
 * As in the PSP Security Protocol (Google, "PSP Architecture Specification", Key Derivation): NIST
 * SP 800-108 in counter mode with AES-256-CMAC (RFC 4493 over AES-256) as its function:
 *
 *	CMAC(master, counter (4 B, from 1) || "Pv0" or "Pv1" || 0 || spi (4 B) || bits of the key (4 B))
 *
 * everything big-endian. Two master keys exist at a time; the top bit of an SPI says which is
 * meant. Rotating makes the older one new and the other half of the SPI space the one to issue
 * from, so SPIs issued before the last rotation still have their keys and those before the last two
 * have not: what holds such an SPI must be rekeyed in between. An SPI is issued once per life of
 * its master key: the same SPI again would be the same key again, and nonces would repeat.
 *
 * Thread rule: none here, a struct kdf_masters is its owner's. Random bytes are arguments.
 */
#ifndef OUTRIGGER_AEAD_KDF_H
#define OUTRIGGER_AEAD_KDF_H

#include <stdint.h>

#define KDF_MASTER_LEN 32
#define KDF_KEY_MAX    32

#define KDF_SPI_MASTER 0x80000000u /* this bit of an SPI chooses the master key */

enum kdf_version {
	KDF_GCM_128, /* PSP version 0: 16 bytes of key, for AES-128-GCM */
	KDF_GCM_256, /* PSP version 1: 32 bytes, for AES-256-GCM */
};

/* Writes the 16 or 32 bytes that version has. 0; -EIO: the library refused, and key is zero; -EINVAL: no
 * such version. */
int kdf_derive(uint8_t *key, const uint8_t master[KDF_MASTER_LEN], uint32_t spi, enum kdf_version version);

struct kdf_masters {
	uint8_t key[2][KDF_MASTER_LEN];
	uint32_t issue; /* the top bit of SPIs to be issued now: 0 or KDF_SPI_MASTER */
};

/* random: 2 * KDF_MASTER_LEN bytes, of this boot alone: a key of an earlier one must not be derived again. */
void kdf_masters_init(struct kdf_masters *m, const uint8_t *random);
/* random: KDF_MASTER_LEN bytes. */
void kdf_masters_rotate(struct kdf_masters *m, const uint8_t *random);
void kdf_masters_wipe(struct kdf_masters *m);
/* The key of a path that was issued spi: AEAD_KEY_LEN bytes. As kdf_derive(). */
int kdf_masters_key(const struct kdf_masters *m, uint32_t spi, uint8_t *key);

#endif

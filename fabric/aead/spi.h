/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Issues SPIs with their keys: each receiver names its own paths (PSP: the SPI is the receiver's choice) and
 * derives their keys from master keys of this boot (kdf.h), so a packet of an earlier incarnation
 * can never be taken for one of this.
 *
 * SPIs count up and are never issued twice under one master key; when half the space of a master is used,
 * the masters rotate. The key goes to the peer inside TLS and nowhere else.
 *
 * Thread rule: one thread per issuer.
 */
#ifndef OUTRIGGER_AEAD_SPI_H
#define OUTRIGGER_AEAD_SPI_H

#include <stdint.h>

#include "fabric/aead/aead.h"
#include "fabric/aead/kdf.h"

struct spi_issuer {
	struct kdf_masters masters;
	uint32_t next; /* low 31 bits of the last SPI issued */
};

/* Takes random bytes from the TLS library. -EIO: it has none to give. */
int spi_issuer_init(struct spi_issuer *s);
void spi_issuer_fini(struct spi_issuer *s); /* wipes */
/* A fresh SPI, never 0, and its key. -EIO: the library refused. */
int spi_issue(struct spi_issuer *s, uint32_t *spi, uint8_t key[AEAD_KEY_LEN]);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the pki_*.c files alone. */
#ifndef OUTRIGGER_CHAN_PKI_IMPL_H
#define OUTRIGGER_CHAN_PKI_IMPL_H

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "fabric/chan/pki.h"

struct pki {
	EVP_PKEY *key;
	X509 *cert;
	char *pem;
	bool made;
};

/* Writes the line (with OpenSSL's newest reason, if it has one) and returns err. */
int pki_fail(struct pki_why *why, int err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

X509 *pki_parse_cert(const char *pem, size_t len);
char *pki_cert_to_pem(X509 *cert);   /* malloc'ed */
char *pki_key_to_pem(EVP_PKEY *key); /* malloc'ed, wipe it */
void pki_fingerprint(X509 *cert, uint8_t out[PKI_FINGERPRINT_LEN]);
void pki_wipe_free(char *secret); /* NULL is fine */

#endif

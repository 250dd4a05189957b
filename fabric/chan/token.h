/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Enrolment tokens: what an administrator carries from the appliance to a new host.
 *
 *	ort1.SECRET.CA        SECRET, CA: 32 bytes each in base64url without padding (RFC 4648 section 5)
 *
 * SECRET proves to the appliance which host may enrol; the appliance keeps its SHA-256 alone. CA is the
 *SHA-256 of the appliance's CA certificate: by it the host knows the appliance before it tells the secret.
 * Pure but for the random bytes, which are an argument.
 */
#ifndef OUTRIGGER_CHAN_TOKEN_H
#define OUTRIGGER_CHAN_TOKEN_H

#include <stdint.h>

#define TOKEN_SECRET_LEN 32
#define TOKEN_HASH_LEN	 32
#define TOKEN_TEXT_SIZE	 128 /* with the terminator */

struct token_parts {
	uint8_t hash[TOKEN_HASH_LEN]; /* SHA-256 of the secret's bytes */
	uint8_t ca[TOKEN_HASH_LEN];   /* SHA-256 of the CA certificate */
};

void token_format(const uint8_t secret[TOKEN_SECRET_LEN], const uint8_t ca[TOKEN_HASH_LEN],
		  char out[TOKEN_TEXT_SIZE]);
int token_parse(const char *text, struct token_parts *out); /* -EINVAL: not of this form */

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#include "fabric/chan/token.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/sha.h>

#define PREFIX	   "ort1."
#define PREFIX_LEN 5
#define PART_CHARS 43 /* 32 bytes in base64 without padding */

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static void encode32(const uint8_t in[32], char out[PART_CHARS])
{
	uint32_t acc = 0;
	unsigned bits = 0, n = 0;

	for (unsigned i = 0; i < 32; i++) {
		acc = acc << 8 | in[i];
		for (bits += 8; bits >= 6; bits -= 6)
			out[n++] = digits[acc >> (bits - 6) & 63];
	}
	out[n] = digits[acc << (6 - bits) & 63];
}

static int decode32(const char in[PART_CHARS], uint8_t out[32])
{
	uint32_t acc = 0;
	unsigned bits = 0, n = 0;

	for (unsigned i = 0; i < PART_CHARS; i++) {
		const char *d = in[i] ? strchr(digits, in[i]) : NULL;

		if (!d)
			return -EINVAL;
		acc = acc << 6 | (uint32_t)(d - digits);
		bits += 6;
		if (bits >= 8) {
			bits -= 8;
			out[n++] = (uint8_t)(acc >> bits);
		}
	}
	/* One text per token: the unused bits are zero. */
	return acc & ((1u << bits) - 1) ? -EINVAL : 0;
}

void token_format(const uint8_t secret[TOKEN_SECRET_LEN], const uint8_t ca[TOKEN_HASH_LEN],
		  char out[TOKEN_TEXT_SIZE])
{
	memcpy(out, PREFIX, PREFIX_LEN);
	encode32(secret, out + PREFIX_LEN);
	out[PREFIX_LEN + PART_CHARS] = '.';
	encode32(ca, out + PREFIX_LEN + PART_CHARS + 1);
	out[PREFIX_LEN + 2 * PART_CHARS + 1] = '\0';
}

int token_parse(const char *text, struct token_parts *out)
{
	uint8_t secret[TOKEN_SECRET_LEN];
	int err;

	if (strlen(text) != PREFIX_LEN + 2 * PART_CHARS + 1 || memcmp(text, PREFIX, PREFIX_LEN) != 0 ||
	    text[PREFIX_LEN + PART_CHARS] != '.')
		return -EINVAL;
	err = decode32(text + PREFIX_LEN, secret);
	if (!err)
		err = decode32(text + PREFIX_LEN + PART_CHARS + 1, out->ca);
	if (!err)
		SHA256(secret, sizeof(secret), out->hash);
	OPENSSL_cleanse(secret, sizeof(secret));
	return err;
}

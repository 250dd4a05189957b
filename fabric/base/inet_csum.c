/* SPDX-License-Identifier: Apache-2.0 */
#include "fabric/base/inet_csum.h"

uint64_t inet_sum(uint64_t sum, const void *p, size_t len)
{
	const uint8_t *at = p;
	uint32_t word;

	/* 32-bit words into 64 bits: folding them later gives the same as 16-bit words would. */
	for (; len >= 16; len -= 16, at += 16) {
		uint32_t w[4];

		memcpy(w, at, sizeof(w));
		sum += (uint64_t)w[0] + w[1] + w[2] + w[3];
	}
	for (; len >= 4; len -= 4, at += 4) {
		memcpy(&word, at, sizeof(word));
		sum += word;
	}
	word = 0;
	memcpy(&word, at, len);
	return sum + word;
}

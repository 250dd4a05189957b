/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Internet checksum (RFC 1071): ones' complement sum of big-endian 16-bit words. Sums are kept in
 * memory order and folded at the end, so the host's byte order does not matter (RFC 1071, 2 B).
 *
 *	uint64_t sum = inet_sum(0, pseudo, 12);
 *	sum = inet_sum(sum, segment, len);
 *	inet_put(field, inet_fold(sum));
 */
#ifndef OUTRIGGER_BASE_INET_CSUM_H
#define OUTRIGGER_BASE_INET_CSUM_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Adds len bytes to sum. An odd length is padded with a zero byte, so only the last part may be odd.
 * Sums of up to 2^32 bytes do not overflow. */
uint64_t inet_sum(uint64_t sum, const void *p, size_t len);

/* The checksum of a sum, in memory order: the complement of its 16-bit fold. */
static inline uint16_t inet_fold(uint64_t sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

static inline void inet_put(uint8_t *field, uint16_t csum)
{
	memcpy(field, &csum, sizeof(csum));
}

#endif

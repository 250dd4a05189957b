/* SPDX-License-Identifier: Apache-2.0 */
/* CRC32C (Castagnoli, RFC 3720 B.4): integrity of clear packets, and of stored test patterns. */
#ifndef OUTRIGGER_BASE_CRC32C_H
#define OUTRIGGER_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* crc of what came before (0 at the start) extended by len bytes; SSE4.2 or AVX-512 when present. */
uint32_t crc32c(uint32_t crc, const void *p, size_t len);

#endif

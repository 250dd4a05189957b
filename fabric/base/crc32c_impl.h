/* SPDX-License-Identifier: Apache-2.0 */
/* The two ways to compute crc32c(), apart, so that a test can hold one against the other. */
#ifndef OUTRIGGER_BASE_CRC32C_IMPL_H
#define OUTRIGGER_BASE_CRC32C_IMPL_H

#include <stddef.h>
#include <stdint.h>

uint32_t crc32c_table(uint32_t crc, const void *p, size_t len);
/* Only where crc32c_have_sse42() is not 0. */
uint32_t crc32c_sse42(uint32_t crc, const void *p, size_t len);
int crc32c_have_sse42(void);

#endif

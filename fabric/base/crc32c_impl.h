/* SPDX-License-Identifier: Apache-2.0 */
/* The ways to compute crc32c(), apart, so that a test can hold each against the others. */
#ifndef OUTRIGGER_BASE_CRC32C_IMPL_H
#define OUTRIGGER_BASE_CRC32C_IMPL_H

#include <stddef.h>
#include <stdint.h>

uint32_t crc32c_table(uint32_t crc, const void *p, size_t len);
/* Only where crc32c_have_sse42() is not 0. */
uint32_t crc32c_sse42(uint32_t crc, const void *p, size_t len);
int crc32c_have_sse42(void);
/* Only where crc32c_have_fold() is not 0: AVX-512 with VPCLMULQDQ. Worth it from so many bytes on. */
#define CRC32C_FOLD_MIN 256u
uint32_t crc32c_fold(uint32_t crc, const void *p, size_t len);
int crc32c_have_fold(void);

#endif

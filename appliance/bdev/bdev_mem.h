/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A volume in memory, zeroed at open and gone at close: for scratch disks and tests. Pages are
 * taken when first written. Requests complete at the next poll. Never volatile in the sense of
 * bdev.h (write_cache is false), since a power cut leaves nothing of it.
 */
#ifndef OUTRIGGER_BDEV_BDEV_MEM_H
#define OUTRIGGER_BDEV_BDEV_MEM_H

#include "appliance/bdev/bdev.h"

/* size: bytes, a positive multiple of block (512 or 4096); -EINVAL, -ENOMEM. */
int bdev_mem_open(uint64_t size, uint32_t block, struct bdev **out);
/* The bytes, info.size of them, for tests. */
uint8_t *bdev_mem_bytes(struct bdev *b);

#endif

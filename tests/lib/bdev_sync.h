/* SPDX-License-Identifier: Apache-2.0 */
/* One backend request at a time, waited for with a timeout: what most tests want. */
#ifndef OUTRIGGER_TESTS_BDEV_SYNC_H
#define OUTRIGGER_TESTS_BDEV_SYNC_H

#include "appliance/bdev/bdev.h"

/* Submits (again while -EAGAIN) and polls until done, sleeping on the group's descriptor. The request's
 * result, what submit refused it with, or -ETIME when it took over 20 s. */
int bdev_sync(struct bdev *b, enum bdev_op op, uint32_t flags, uint64_t offset, void *buf, uint64_t length);
/* The same over a list. */
int bdev_sync_iov(struct bdev *b, enum bdev_op op, uint32_t flags, uint64_t offset, const struct iovec *iov,
		  unsigned niov, uint64_t length);
/* Poll and sleep until nothing of b is outstanding: 0, or -ETIME. */
int bdev_sync_drain(struct bdev *b);

#endif

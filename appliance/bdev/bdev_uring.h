/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A raw file or block device through io_uring; all volumes of a worker share one ring.
 *
 * O_DIRECT is used where the file system says (statx, STATX_DIOALIGN) that direct I/O works at the
 * volume's logical block; elsewhere I/O is buffered, and on a file system of memory (tmpfs) a transfer is
 * done inside submit: nothing has to be waited for. Memory that direct I/O cannot take as it stands is
 * bounced. FLUSH is fdatasync, FUA is RWF_DSYNC. Short transfers are continued; a read that meets the end of
 * the file inside the volume is -EIO, for the file has shrunk.
 *
 * The lock as a fence. open() takes an exclusive flock (flock(2)) on its open file
 * description; a second open of the same file, by this or another process, gives -EBUSY and the
 * caller waits and tries again. The kernel releases the lock when the last reference to the open file
 * description goes, and every io_uring request in flight holds one. So when a
 * daemon is killed, its lock lasts until its last request has ended: a successor that holds the
 * lock cannot be overtaken by a write of its predecessor. (It fences incarnations on one
 * machine. It is advisory: who does not ask is not kept out.)
 */
#ifndef OUTRIGGER_BDEV_BDEV_URING_H
#define OUTRIGGER_BDEV_BDEV_URING_H

#include "appliance/bdev/bdev.h"

struct bdev_uring_cfg {
	const char *path;
	uint32_t block; /* logical block, 512 or 4096; 0: 512, or what the device has */
	bool read_only; /* takes a shared lock instead: several readers, or one writer */
	bool buffered;	/* never O_DIRECT */
	bool no_unmap;	/* keep space allocated: no DISCARD */
};

/* *out joins a group later. -EBUSY: another open holds the volume. -EINVAL: size no multiple of
 * block, or 0, or neither file nor block device. -ENOENT, -EACCES, ... of open(2).
 * bdev_join() gives -ENOSYS when the kernel has no io_uring, -EPERM when it is switched off
 * (sysctl kernel.io_uring_disabled, seccomp). Blocks on the file system. */
int bdev_uring_open(const struct bdev_uring_cfg *cfg, struct bdev **out);

/* Whether I/O is O_DIRECT: for logs and tests. */
bool bdev_uring_is_direct(const struct bdev *b);

#endif

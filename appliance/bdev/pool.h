/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The embedded storage pool: a directory of raw volumes, one sparse file each.
 *
 *	DIR/volumes/NAME.raw	the bytes of volume NAME, size = the volume's size
 *	DIR/trash/		what is being deleted; emptied at open
 *
 * A change is durable when the call returns: the file and its directory are synced. After a power cut
 * a volume is there whole or not at all (it is made under a temporary name and renamed).
 *
 * Space: volumes are sparse, but each reserves its whole size, so a pool never promises
 * more than it has: reserved <= capacity. The capacity is given, or the file system's size at
 * open. What the file system has left can be less when others use it too: free says so.
 *
 * Names: 1..63 of [A-Za-z0-9._-], first a letter or digit. Everything else is -EINVAL, so no
 * name leaves the directory.
 *
 * Thread rule: one thread, not a worker: all calls block on the file system.
 */
#ifndef OUTRIGGER_BDEV_POOL_H
#define OUTRIGGER_BDEV_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define POOL_NAME_MAX	63
#define POOL_VOLUME_MAX (1ull << 50) /* bytes */

struct pool;

struct pool_volume {
	char name[POOL_NAME_MAX + 1];
	uint64_t size;	    /* bytes the volume has */
	uint64_t allocated; /* bytes it uses in the file system */
};

struct pool_space {
	uint64_t capacity; /* bytes that may be promised */
	uint64_t reserved; /* promised: sum of the volumes' sizes */
	uint64_t used;	   /* really allocated by the volumes */
	uint64_t free;	   /* what the file system can still take */
	unsigned volumes;
};

/* The directory is created if missing (not its parents). capacity 0: the size of the file system.
 * -EBUSY: another process has the pool, and a second was not enough for it to go. -ENOTDIR, -EACCES, -ENOMEM,
 * ... */
int pool_open(const char *dir, uint64_t capacity, struct pool **out);
void pool_close(struct pool *p); /* volumes that are open elsewhere stay open; NULL is fine */

bool pool_name_ok(const char *name);

/* size: bytes, positive multiple of 512. -EINVAL name or size; -EEXIST; -ENOSPC: the pool cannot promise
 * that much; -EIO, ... . Nothing is left behind on error. */
int pool_create(struct pool *p, const char *name, uint64_t size);
/* Gone at once for everybody who asks by name; the space is given back when the last open of it is closed.
 * -ENOENT; -EBUSY: a bdev has it open. */
int pool_delete(struct pool *p, const char *name);
/* Grows only: -EINVAL when size is smaller or no multiple of 512; the same size is 0. -ENOSPC, -ENOENT. An
 * open bdev sees it after bdev_refresh(). */
int pool_resize(struct pool *p, const char *name, uint64_t size);
/* The file of a volume for bdev_uring_open(). -ENOENT, -EINVAL, -ENAMETOOLONG. */
int pool_path(const struct pool *p, const char *name, char *buf, size_t size);
int pool_stat(const struct pool *p, const char *name, struct pool_volume *out);
int pool_space(const struct pool *p, struct pool_space *out);

#endif

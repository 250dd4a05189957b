/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pools and volumes as the control thread knows them: implements the API's volume door
 * (control/doors.h) over directory pools (bdev/pool.h) and memory pools, and opens volumes for
 * virtual disks.
 *
 * A volume of a memory pool lives from its create to its remove, across virtual disks that come and
 * go; after a restart of the appliance it is there again, empty.
 *
 * Thread rule: the control thread; calls block on the file system.
 */
#ifndef OUTRIGGER_STORAGE_STORAGE_H
#define OUTRIGGER_STORAGE_STORAGE_H

#include "appliance/bdev/bdev.h"
#include "appliance/control/doors.h"

struct storage;

struct storage *storage_create(void); /* NULL: no memory */
/* No volume may be open. NULL is fine. */
void storage_destroy(struct storage *s);
struct volume_ops storage_volume_ops(struct storage *s);

/* Open a volume for its virtual disk. -EBUSY: another process still has I/O in flight on it, try again
 * soon; -ENOENT; other errors of the backend. size: as configured (memory volumes are made of it). */
int storage_open(struct storage *s, const char *pool, const char *volume, uint64_t size, bool read_only,
		 struct bdev **out);
/* Not joined to a group any more. */
void storage_release(struct storage *s, struct bdev *b);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk with a volatile write cache that remembers everything, so that a test can cut its power at any
 * instant and look at what may be left.
 *
 * It is a filter over any bdev: what is submitted to it and what completes are events, in order. At an
 * instant (a number of events) a write is
 *	stable	 if it has completed and was FUA, or a flush that was submitted after its completion
 *		 has completed;
 *	volatile otherwise, if it was submitted: it may be there, not be there, or be torn.
 * Sectors of 512 bytes are atomic. The cache writes back in any order, but of two writes to one
 * sector of which one completed before the other was submitted, the later one wins.
 *
 * crash_disk_replay() visits, for every instant, these states: nothing volatile is there; all of it; each
 * volatile write alone, and alone missing, whole and torn at each sector from both sides; each pair
 * of them alone and alone missing.
 */
#ifndef OUTRIGGER_TESTS_CRASH_DISK_H
#define OUTRIGGER_TESTS_CRASH_DISK_H

#include "appliance/bdev/bdev.h"

/* A disk that lies: what a device or a kernel with a bug does. For tests of the test. */
enum crash_disk_lie {
	CRASH_HONEST,
	CRASH_FUA_IGNORED,   /* FUA writes stay volatile until a flush */
	CRASH_FLUSH_IGNORED, /* flushes complete and do nothing */
	CRASH_FLUSH_EARLY,   /* a flush covers only what had completed one event before the last completion */
};

/* Onto lower, which it owns. depth as for filters; at most max_writes are remembered (more: -ENOSPC). */
int crash_disk_open(struct bdev *lower, unsigned depth, unsigned max_writes, enum crash_disk_lie lie,
		    struct bdev **out);
/* Instants so far; a test stamps its own acknowledgements with it. */
unsigned crash_disk_now(const struct bdev *b);

/* check() gets the bytes of the whole disk after a power cut at `instant`; 0, or not 0 to end the replay,
 * which is then the result. *states counts the visited ones. */
int crash_disk_replay(const struct bdev *b, int (*check)(void *ctx, unsigned instant, const uint8_t *image),
		      void *ctx, uint64_t *states);

#endif

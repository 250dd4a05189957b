/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Filters: bdevs that stand on another one and change how it behaves. A filter owns what it
 * stands on: closing the top closes all. Tests and fault drills use the same ones.
 *
 * Each opens onto `lower`, which must not be joined; on error lower stays the caller's. depth:
 * requests it carries at once (1..4096), beyond which it gives -EAGAIN.
 */
#ifndef OUTRIGGER_BDEV_BDEV_FILTER_H
#define OUTRIGGER_BDEV_BDEV_FILTER_H

#include "appliance/bdev/bdev.h"

/* What a struck request suffers. */
enum bdev_fault_kind {
	BDEV_FAULT_ERROR,   /* completes with -err; the backend never saw it */
	BDEV_FAULT_SHORT,   /* READ, WRITE: the first half (whole blocks) takes effect, completes with -err;
			       others as ERROR */
	BDEV_FAULT_AFTER,   /* takes effect, and completes with -err all the same (a lost reply) */
	BDEV_FAULT_TIMEOUT, /* completes with -ETIMEDOUT after timeout_ns; the backend never saw it */
	BDEV_FAULT_BUSY,    /* submit gives -EAGAIN */
};

struct bdev_fault_cfg {
	enum bdev_fault_kind kind;
	unsigned nth;	/* 1: the next request of a struck kind; 0: none */
	unsigned count; /* how many in a row from the nth on; 0 counts as 1 */
	uint32_t ops;	/* bit per bdev_op that counts; 0: all */
	int err;	/* positive errno; 0: EIO */
	uint64_t timeout_ns;
};

int bdev_fault_open(struct bdev *lower, unsigned depth, struct bdev **out);
/* Arm: counting starts anew. Worker. */
void bdev_fault_set(struct bdev *b, const struct bdev_fault_cfg *cfg);
uint64_t bdev_fault_hits(const struct bdev *b); /* requests struck since open */
uint64_t bdev_fault_seen(const struct bdev *b); /* requests that counted since the last bdev_fault_set() */

/* Completions are held back by min_ns + a uniform part of spread_ns, so that they also come
 * in another order; seed makes it repeatable. */
int bdev_delay_open(struct bdev *lower, unsigned depth, uint64_t min_ns, uint64_t spread_ns, uint64_t seed,
		    struct bdev **out);

#endif

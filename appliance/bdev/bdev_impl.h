/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For implementations of a bdev: how requests end, and how an engine with its own source of
 * completions (an io_uring) hangs on a group. Users of volumes need bdev.h only.
 *
 * Thread rule: the group's worker.
 */
#ifndef OUTRIGGER_BDEV_BDEV_IMPL_H
#define OUTRIGGER_BDEV_BDEV_IMPL_H

#include "appliance/bdev/bdev.h"

/* The request has ended: done() is called by the current or next poll. Safe inside submit. */
void bdev_complete(struct bdev_io *io, int result);
/* The same, not before `due` (absolute, nanoseconds; compared to the now of poll). Takes O(requests that
 * wait) time: for tests and fault drills. */
void bdev_complete_at(struct bdev_io *io, int result, uint64_t due);

/* A source of completions. */
struct bdev_engine {
	const struct bdev_engine_ops *ops;
	struct list node;
	bool more; /* its next poll completes requests, whatever else happens */
};

struct bdev_engine_ops {
	/* Submit what is queued, reap at most max, bdev_complete() each. */
	void (*poll)(struct bdev_engine *e, int max);
	/* Submit what is queued, arm the group's eventfd; false: completions are there. */
	bool (*arm)(struct bdev_engine *e);
	void (*destroy)(struct bdev_engine *e);
};

void bdev_group_add_engine(struct bdev_group *g, struct bdev_engine *e);
/* The engine with these ops, or NULL. */
struct bdev_engine *bdev_group_engine(struct bdev_group *g, const struct bdev_engine_ops *ops);
unsigned bdev_group_depth(const struct bdev_group *g);

/* Copies between a flat range and an iovec list, from byte `at` of the list. */
void bdev_iov_gather(void *dst, const struct iovec *iov, unsigned niov, uint64_t at, uint64_t n);
void bdev_iov_scatter(const struct iovec *iov, unsigned niov, uint64_t at, const void *src, uint64_t n);

#endif

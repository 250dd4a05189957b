/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every filter needs: a fixed number of requests of its own to send below, each tied to the
 * one above. Internal to the filters. Thread rule: the group's worker.
 */
#ifndef OUTRIGGER_BDEV_FILTER_H
#define OUTRIGGER_BDEV_FILTER_H

#include "appliance/bdev/bdev_impl.h"

/* Pieces of memory a filter can list anew for one request, when it does not pass the caller's list. */
#define FILTER_IOV 256u

struct filter_io {
	struct bdev_io low;
	struct bdev_io *upper;
	struct list node; /* on the free list */
};

struct filter {
	struct bdev b;
	struct bdev *lower;
	struct filter_io *ios;
	struct iovec (*iovs)[FILTER_IOV]; /* one list per request */
	struct list free;
};

static inline struct filter *filter_of(struct bdev *b)
{
	return container_of(b, struct filter, b);
}
static inline struct bdev_io *filter_upper(struct bdev_io *low)
{
	return container_of(low, struct filter_io, low)->upper;
}

/* -EINVAL depth, -EBUSY lower is joined, -ENOMEM. Takes over lower on success. */
int filter_init(struct filter *f, const struct bdev_ops *ops, struct bdev *lower, unsigned depth);
void filter_fini(struct filter *f); /* closes lower */

/* bdev_ops of a plain filter. */
int filter_join(struct bdev *b);
void filter_leave(struct bdev *b);
int filter_refresh(struct bdev *b);

/* A request for below, filled like upper; NULL: all are in use. */
struct bdev_io *filter_take(struct filter *f, struct bdev_io *upper, void (*done)(struct bdev_io *low));
struct iovec *filter_iov(struct bdev_io *low); /* its own FILTER_IOV entries */
/* Submit below. On -EAGAIN low is free again. Any other refusal ends upper with it, and gives 0. */
int filter_pass(struct bdev_io *low);
void filter_drop(struct bdev_io *low); /* free again without having been passed */
/* From done: frees low and ends upper. */
void filter_end(struct bdev_io *low, int result);
void filter_end_at(struct bdev_io *low, int result, uint64_t due);

#endif

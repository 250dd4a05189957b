/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>

#include "appliance/bdev/bdev_filter.h"
#include "appliance/bdev/filter.h"
#include "fabric/base/rng.h"

struct delay {
	struct filter f;
	uint64_t min_ns, spread_ns;
	struct rng rng;
};

static struct delay *delay_of(struct bdev *b)
{
	return container_of(filter_of(b), struct delay, f);
}

static void delay_done(struct bdev_io *low)
{
	struct bdev_io *io = filter_upper(low);
	struct delay *d = delay_of(io->bdev);
	uint64_t due = bdev_group_now(io->bdev->group) + d->min_ns;

	if (d->spread_ns)
		due += rng_below(&d->rng, d->spread_ns);
	filter_end_at(low, low->result, due);
}

static int delay_submit(struct bdev *b, struct bdev_io *io)
{
	struct bdev_io *low = filter_take(filter_of(b), io, delay_done);

	return low ? filter_pass(low) : -EAGAIN;
}

static void delay_close(struct bdev *b)
{
	struct delay *d = delay_of(b);

	filter_fini(&d->f);
	free(d);
}

static const struct bdev_ops delay_ops = {
	.name = "delay",
	.submit = delay_submit,
	.join = filter_join,
	.leave = filter_leave,
	.refresh = filter_refresh,
	.close = delay_close,
};

int bdev_delay_open(struct bdev *lower, unsigned depth, uint64_t min_ns, uint64_t spread_ns, uint64_t seed,
		    struct bdev **out)
{
	struct delay *d = calloc(1, sizeof(*d));
	int err;

	if (!d)
		return -ENOMEM;
	err = filter_init(&d->f, &delay_ops, lower, depth);
	if (err) {
		free(d);
		return err;
	}
	d->min_ns = min_ns;
	d->spread_ns = spread_ns;
	rng_init(&d->rng, seed);
	*out = &d->f.b;
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>

#include "appliance/bdev/filter.h"

static struct filter_io *fio_of(struct bdev_io *low)
{
	return container_of(low, struct filter_io, low);
}

static struct filter *owner_of(struct bdev_io *low)
{
	return filter_of(fio_of(low)->upper->bdev);
}

int filter_init(struct filter *f, const struct bdev_ops *ops, struct bdev *lower, unsigned depth)
{
	if (depth < 1 || depth > 4096)
		return -EINVAL;
	if (lower->group)
		return -EBUSY;
	f->ios = calloc(depth, sizeof(*f->ios));
	f->iovs = calloc(depth, sizeof(*f->iovs));
	if (!f->ios || !f->iovs) {
		free(f->ios);
		free(f->iovs);
		return -ENOMEM;
	}
	list_init(&f->free);
	for (unsigned i = 0; i < depth; i++)
		list_add_tail(&f->free, &f->ios[i].node);
	f->lower = lower;
	f->b.ops = ops;
	f->b.info = lower->info;
	return 0;
}

void filter_fini(struct filter *f)
{
	bdev_close(f->lower);
	free(f->ios);
	free(f->iovs);
}

int filter_join(struct bdev *b)
{
	return bdev_join(filter_of(b)->lower, b->group);
}

void filter_leave(struct bdev *b)
{
	bdev_leave(filter_of(b)->lower);
}

int filter_refresh(struct bdev *b)
{
	struct filter *f = filter_of(b);
	int err = bdev_refresh(f->lower);

	b->info.size = f->lower->info.size;
	return err;
}

struct bdev_io *filter_take(struct filter *f, struct bdev_io *upper, void (*done)(struct bdev_io *low))
{
	struct list *node = list_pop(&f->free);
	struct filter_io *fio;

	if (!node)
		return NULL;
	fio = container_of(node, struct filter_io, node);
	fio->upper = upper;
	fio->low = (struct bdev_io){
		.op = upper->op,
		.flags = upper->flags,
		.offset = upper->offset,
		.length = upper->length,
		.iov = upper->iov,
		.niov = upper->niov,
		.done = done,
	};
	return &fio->low;
}

struct iovec *filter_iov(struct bdev_io *low)
{
	struct filter *f = owner_of(low);

	return f->iovs[fio_of(low) - f->ios];
}

void filter_drop(struct bdev_io *low)
{
	list_add_head(&owner_of(low)->free, &fio_of(low)->node);
}

int filter_pass(struct bdev_io *low)
{
	struct bdev_io *upper = fio_of(low)->upper;
	int err = bdev_submit(owner_of(low)->lower, low);

	if (!err)
		return 0;
	filter_drop(low);
	if (err == -EAGAIN)
		return err;
	bdev_complete(upper, err);
	return 0;
}

void filter_end(struct bdev_io *low, int result)
{
	struct bdev_io *upper = fio_of(low)->upper;

	filter_drop(low);
	bdev_complete(upper, result);
}

void filter_end_at(struct bdev_io *low, int result, uint64_t due)
{
	struct bdev_io *upper = fio_of(low)->upper;

	filter_drop(low);
	bdev_complete_at(upper, result, due);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <poll.h>

#include "fabric/base/clock.h"
#include "tests/lib/bdev_sync.h"

#define PATIENCE (60 * NSEC_PER_SEC)

static void done(struct bdev_io *io)
{
	*(int *)io->ctx = 1;
}

static void turn(struct bdev_group *g)
{
	uint64_t now = clock_now_ns(), due;
	struct pollfd p = {.fd = bdev_group_fd(g), .events = POLLIN};

	if (bdev_group_poll(g, now, 64) || !bdev_group_arm(g))
		return;
	due = bdev_group_deadline(g);
	poll(&p, 1, due > now + NSEC_PER_SEC ? 1000 : due > now ? (int)((due - now) / NSEC_PER_MSEC) + 1 : 0);
}

int bdev_sync_iov(struct bdev *b, enum bdev_op op, uint32_t flags, uint64_t offset, const struct iovec *iov,
		  unsigned niov, uint64_t length)
{
	int finished = 0, err;
	struct bdev_io io = {.op = op,
			     .flags = flags,
			     .offset = offset,
			     .length = length,
			     .iov = iov,
			     .niov = niov,
			     .done = done,
			     .ctx = &finished};
	uint64_t end = clock_now_ns() + PATIENCE;

	while ((err = bdev_submit(b, &io)) == -EAGAIN && clock_now_ns() < end)
		turn(b->group);
	if (err)
		return err == -EAGAIN ? -ETIME : err;
	while (!finished && clock_now_ns() < end)
		turn(b->group);
	return finished ? io.result : -ETIME;
}

int bdev_sync(struct bdev *b, enum bdev_op op, uint32_t flags, uint64_t offset, void *buf, uint64_t length)
{
	struct iovec iov = {buf, length};

	return bdev_sync_iov(b, op, flags, offset, &iov, 1, length);
}

int bdev_sync_drain(struct bdev *b)
{
	uint64_t end = clock_now_ns() + PATIENCE;

	while (bdev_outstanding(b) && clock_now_ns() < end)
		turn(b->group);
	return bdev_outstanding(b) ? -ETIME : 0;
}

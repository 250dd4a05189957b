/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "appliance/bdev/bdev_impl.h"

/* Completions come from three places: engines (the kernel), `ready` (ended inside submit or inside
 * another completion) and `timed` (not before an instant). Only engines can add one while the worker
 * sleeps, so only they touch the eventfd. */
struct bdev_group {
	struct list ready;   /* bdev_io.node, in order of their end */
	struct list timed;   /* bdev_io.node, by due time; priv holds it */
	struct list engines; /* bdev_engine.node */
	uint64_t now;
	unsigned depth;
	unsigned joined;
	int fd;
};

const char *const bdev_op_names[BDEV_NOPS] = {"read", "write", "flush", "discard", "write_zeroes"};

static bool iov_adds_up(const struct bdev_io *io)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < io->niov; i++) {
		if (io->iov[i].iov_len > BDEV_IO_MAX)
			return false;
		sum += io->iov[i].iov_len;
	}
	return sum == io->length;
}

static int check_range(const struct bdev_info *info, const struct bdev_io *io)
{
	if (io->length == 0 || io->length % info->block || io->offset % info->block)
		return -EINVAL;
	if (io->offset > info->size || io->length > info->size - io->offset)
		return -EINVAL;
	return 0;
}

static int check(const struct bdev *b, const struct bdev_io *io)
{
	const struct bdev_info *info = &b->info;
	int err;

	if (io->op >= BDEV_NOPS || !io->done || io->flags & ~(BDEV_F_FUA | BDEV_F_UNMAP))
		return -EINVAL;
	if (io->op == BDEV_FLUSH)
		return io->length || io->offset ? -EINVAL : 0;
	err = check_range(info, io);
	if (err)
		return err;
	if (io->op != BDEV_READ && info->read_only)
		return -EROFS;
	if (io->op == BDEV_DISCARD)
		return info->can_discard ? 0 : -EOPNOTSUPP;
	if (io->op == BDEV_WRITE_ZEROES)
		return info->can_write_zeroes ? 0 : -EOPNOTSUPP;
	if (io->length > BDEV_IO_MAX || io->niov > BDEV_IOV_MAX || !iov_adds_up(io))
		return -EINVAL;
	return 0;
}

int bdev_submit(struct bdev *b, struct bdev_io *io)
{
	int err = check(b, io);

	if (err)
		return err;
	assert(b->group);
	io->bdev = b;
	io->result = 0;
	b->outstanding++;
	err = b->ops->submit(b, io);
	if (err)
		b->outstanding--;
	return err;
}

int bdev_join(struct bdev *b, struct bdev_group *g)
{
	int err;

	if (b->group)
		return -EBUSY;
	b->group = g;
	err = b->ops->join ? b->ops->join(b) : 0;
	if (err)
		b->group = NULL;
	else
		g->joined++;
	return err;
}

void bdev_leave(struct bdev *b)
{
	if (!b->group)
		return;
	assert(b->outstanding == 0);
	if (b->ops->leave)
		b->ops->leave(b);
	b->group->joined--;
	b->group = NULL;
}

void bdev_close(struct bdev *b)
{
	if (!b)
		return;
	assert(!b->group && b->outstanding == 0);
	b->ops->close(b);
}

int bdev_refresh(struct bdev *b)
{
	return b->ops->refresh ? b->ops->refresh(b) : -EOPNOTSUPP;
}

void bdev_complete(struct bdev_io *io, int result)
{
	io->result = result;
	list_add_tail(&io->bdev->group->ready, &io->node);
}

/* A timed request keeps its due time in priv: 64-bit hosts only, as DPDK's own x86_64 and arm64 are. */
_Static_assert(sizeof(void *) == sizeof(uint64_t), "due times are kept in a pointer");

static struct bdev_io *io_of(struct list *node)
{
	return container_of(node, struct bdev_io, node);
}

static uint64_t due_of(struct list *node)
{
	return (uint64_t)(uintptr_t)io_of(node)->priv;
}

void bdev_complete_at(struct bdev_io *io, int result, uint64_t due)
{
	struct list *timed = &io->bdev->group->timed;
	struct list *at = timed->prev;

	io->result = result;
	io->priv = (void *)(uintptr_t)due;
	while (at != timed && due_of(at) > due)
		at = at->prev;
	list_add_head(at, &io->node);
}

struct bdev_group *bdev_group_create(unsigned depth, int *err)
{
	struct bdev_group *g;

	*err = -EINVAL;
	if (depth < 1 || depth > 4096)
		return NULL;
	*err = -ENOMEM;
	g = calloc(1, sizeof(*g));
	if (!g)
		return NULL;
	list_init(&g->ready);
	list_init(&g->timed);
	list_init(&g->engines);
	g->depth = depth;
	g->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (g->fd < 0) {
		*err = -errno;
		free(g);
		return NULL;
	}
	*err = 0;
	return g;
}

void bdev_group_destroy(struct bdev_group *g)
{
	if (!g)
		return;
	assert(g->joined == 0 && list_empty(&g->ready) && list_empty(&g->timed));
	while (!list_empty(&g->engines)) {
		struct bdev_engine *e = container_of(g->engines.next, struct bdev_engine, node);

		list_del(&e->node);
		e->ops->destroy(e);
	}
	close(g->fd);
	free(g);
}

int bdev_group_poll(struct bdev_group *g, uint64_t now, int max)
{
	int n = 0;

	g->now = now;
	list_for_each (e, &g->engines) {
		struct bdev_engine *engine = container_of(e, struct bdev_engine, node);

		engine->ops->poll(engine, max);
	}
	while (!list_empty(&g->timed) && due_of(g->timed.next) <= now)
		list_add_tail(&g->ready, list_pop(&g->timed));
	for (; n < max && !list_empty(&g->ready); n++) {
		struct bdev_io *io = io_of(list_pop(&g->ready));

		io->bdev->outstanding--;
		io->done(io);
	}
	return n;
}

bool bdev_group_more(const struct bdev_group *g)
{
	bool more = !list_empty(&g->ready);

	list_for_each (e, &g->engines)
		more |= container_of(e, struct bdev_engine, node)->more;
	return more;
}

int bdev_group_fd(const struct bdev_group *g)
{
	return g->fd;
}

static void drain_eventfd(const struct bdev_group *g)
{
	uint64_t n;

	/* EAGAIN when nothing was signalled: the worker woke for another reason. */
	if (read(g->fd, &n, sizeof(n)) < 0)
		assert(errno == EAGAIN || errno == EINTR);
}

bool bdev_group_arm(struct bdev_group *g)
{
	bool quiet = list_empty(&g->ready);

	/* Before the engines look: what ends after their look signals again. */
	drain_eventfd(g);
	list_for_each (e, &g->engines) {
		struct bdev_engine *engine = container_of(e, struct bdev_engine, node);

		/* Every engine is asked, or what it has queued would never reach the kernel. */
		quiet = engine->ops->arm(engine) && quiet;
	}
	return quiet;
}

uint64_t bdev_group_deadline(const struct bdev_group *g)
{
	if (!list_empty(&g->ready))
		return g->now;
	return list_empty(&g->timed) ? UINT64_MAX : due_of(g->timed.next);
}

void bdev_group_add_engine(struct bdev_group *g, struct bdev_engine *e)
{
	list_add_tail(&g->engines, &e->node);
}

struct bdev_engine *bdev_group_engine(struct bdev_group *g, const struct bdev_engine_ops *ops)
{
	list_for_each (e, &g->engines) {
		struct bdev_engine *engine = container_of(e, struct bdev_engine, node);

		if (engine->ops == ops)
			return engine;
	}
	return NULL;
}

unsigned bdev_group_depth(const struct bdev_group *g)
{
	return g->depth;
}

uint64_t bdev_group_now(const struct bdev_group *g)
{
	return g->now;
}

void bdev_iov_gather(void *dst, const struct iovec *iov, unsigned niov, uint64_t at, uint64_t n)
{
	uint8_t *to = dst;

	for (unsigned i = 0; i < niov && n; i++) {
		uint64_t len = iov[i].iov_len;

		if (at >= len) {
			at -= len;
			continue;
		}
		len = len - at < n ? len - at : n;
		memcpy(to, (const uint8_t *)iov[i].iov_base + at, len);
		to += len;
		n -= len;
		at = 0;
	}
}

void bdev_iov_scatter(const struct iovec *iov, unsigned niov, uint64_t at, const void *src, uint64_t n)
{
	const uint8_t *from = src;

	for (unsigned i = 0; i < niov && n; i++) {
		uint64_t len = iov[i].iov_len;

		if (at >= len) {
			at -= len;
			continue;
		}
		len = len - at < n ? len - at : n;
		memcpy((uint8_t *)iov[i].iov_base + at, from, len);
		from += len;
		n -= len;
		at = 0;
	}
}

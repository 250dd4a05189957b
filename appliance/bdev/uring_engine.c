/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include "appliance/bdev/uring_engine.h"

/* Bounce buffers: each takes the largest request; pages are touched, so memory is used, only as far as
 * requests need it. The last buffer freed is the next one taken. */
#define BOUNCE_MAX 32u
/* A kernel short of memory answers EAGAIN; so often a step is tried before the request fails. */
#define RETRIES 16u
#define REAP	64u
/* Bytes of transfers in memory per poll: what is done with them goes on while they are in the nearest cache,
 * and the other end of the wire works on the first while the next are read. */
#define QUICK_BYTES (128u << 10)

enum step { STEP_TRANSFER, STEP_PUNCH, STEP_ZERO_RANGE, STEP_ZERO_WRITE, STEP_SYNC };

/* A request in flight. Slots are as many as the ring has entries, and each has at most one
 * submission, so neither queue can overflow. */
struct uring_op {
	struct list node; /* on the free list */
	struct uring_volume *v;
	struct bdev_io *io;
	uint8_t *bounce; /* NULL: the caller's memory is used as it stands */
	uint64_t moved;	 /* bytes transferred, or zeroed by writing */
	enum step step;
	unsigned retries;
};

struct uring_engine {
	struct bdev_engine e;
	struct io_uring ring;
	struct uring_op *ops;
	struct list free;
	struct list quick; /* bdev_io.node: transfers that need not wait for anything */
	uint8_t *bounce_mem;
	uint8_t *bounce_free[BOUNCE_MAX];
	unsigned bounces;    /* all */
	unsigned nbounce;    /* free */
	const uint8_t *zero; /* BDEV_IO_MAX bytes of zeroes, never written */
};

static struct uring_engine *engine_of(struct bdev_engine *e)
{
	return container_of(e, struct uring_engine, e);
}

static bool is_write(const struct uring_op *op)
{
	return op->io->op != BDEV_READ;
}

/* What is left of a transfer whose first part has been moved: the rest of one piece of memory. The
 * slow way, one piece at a time; whole transfers go as a vector. */
static struct iovec rest(const struct uring_op *op)
{
	const struct bdev_io *io = op->io;
	uint64_t at = op->moved;
	unsigned i = 0;

	if (op->bounce)
		return (struct iovec){op->bounce + at, io->length - at};
	while (at >= io->iov[i].iov_len)
		at -= io->iov[i++].iov_len;
	return (struct iovec){(uint8_t *)io->iov[i].iov_base + at, io->iov[i].iov_len - at};
}

static void prep_transfer(struct io_uring_sqe *sqe, const struct uring_op *op)
{
	const struct bdev_io *io = op->io;
	uint64_t offset = io->offset + op->moved;
	int fd = op->v->fd;

	if (op->moved == 0 && !op->bounce && io->niov > 1) {
		if (is_write(op))
			io_uring_prep_writev(sqe, fd, io->iov, io->niov, offset);
		else
			io_uring_prep_readv(sqe, fd, io->iov, io->niov, offset);
	} else {
		struct iovec r = rest(op);

		if (is_write(op))
			io_uring_prep_write(sqe, fd, r.iov_base, (unsigned)r.iov_len, offset);
		else
			io_uring_prep_read(sqe, fd, r.iov_base, (unsigned)r.iov_len, offset);
	}
	if (io->flags & BDEV_F_FUA && is_write(op))
		sqe->rw_flags = RWF_DSYNC;
}

static void prep(struct uring_engine *u, struct uring_op *op)
{
	/* Cannot be NULL: entries >= slots, and each slot has one submission at most. */
	struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);
	const struct bdev_io *io = op->io;
	uint64_t left = io->length - op->moved;
	int fd = op->v->fd;

	switch (op->step) {
	case STEP_TRANSFER:
		prep_transfer(sqe, op);
		break;
	case STEP_PUNCH:
		io_uring_prep_fallocate(sqe, fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
					(off_t)io->offset, (off_t)io->length);
		break;
	case STEP_ZERO_RANGE:
		io_uring_prep_fallocate(sqe, fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
					(off_t)io->offset, (off_t)io->length);
		break;
	case STEP_ZERO_WRITE:
		io_uring_prep_write(sqe, fd, u->zero, (unsigned)(left < BDEV_IO_MAX ? left : BDEV_IO_MAX),
				    io->offset + op->moved);
		break;
	case STEP_SYNC:
		io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC);
		break;
	}
	io_uring_sqe_set_data(sqe, op);
}

/* The next step after one that ended well: true, or false when the request is done. */
static bool advance(struct uring_op *op, int res)
{
	switch (op->step) {
	case STEP_TRANSFER:
		op->moved += (unsigned)res;
		return op->moved < op->io->length;
	case STEP_ZERO_WRITE:
		op->moved += (unsigned)res;
		if (op->moved < op->io->length)
			return true;
		break;
	case STEP_SYNC:
		return false;
	default:
		break;
	}
	if (!(op->io->flags & BDEV_F_FUA))
		return false;
	op->step = STEP_SYNC;
	return true;
}

/* After a step that failed with err: true when there is another way. */
static bool other_way(struct uring_op *op, int err)
{
	if ((err == -EAGAIN || err == -EINTR) && op->retries < RETRIES) {
		op->retries++;
		return true;
	}
	if (err != -EOPNOTSUPP || op->io->op != BDEV_WRITE_ZEROES)
		return false;
	if (op->step == STEP_PUNCH)
		op->step = STEP_ZERO_RANGE;
	else if (op->step == STEP_ZERO_RANGE)
		op->step = STEP_ZERO_WRITE;
	else
		return false;
	return true;
}

static void end(struct uring_engine *u, struct uring_op *op, int result)
{
	struct bdev_io *io = op->io;

	if (op->bounce) {
		if (!is_write(op) && result == 0)
			bdev_iov_scatter(io->iov, io->niov, 0, op->bounce, io->length);
		u->bounce_free[u->nbounce++] = op->bounce;
	}
	list_add_head(&u->free, &op->node);
	bdev_complete(io, result);
}

static void completed(struct uring_engine *u, struct uring_op *op, int res)
{
	bool moves = op->step == STEP_TRANSFER || op->step == STEP_ZERO_WRITE;

	/* Nothing moved: a read behind the end of a file that has shrunk, a write that met no space. */
	if (res == 0 && moves)
		res = is_write(op) ? -ENOSPC : -EIO;
	if (res < 0 ? other_way(op, res) : advance(op, res))
		prep(u, op);
	else
		end(u, op, res < 0 ? res : 0);
}

/* Errors of submission leave the entries queued; they go with the next poll. */
static void submit_queued(struct uring_engine *u)
{
	if (io_uring_sq_ready(&u->ring))
		io_uring_submit(&u->ring);
}

static bool needs_bounce(const struct uring_volume *v, const struct bdev_io *io)
{
	uint64_t bits = 0;

	if (!v->direct || (io->op != BDEV_READ && io->op != BDEV_WRITE))
		return false;
	for (unsigned i = 0; i < io->niov; i++) {
		bits |= (uintptr_t)io->iov[i].iov_base & (v->mem_align - 1);
		bits |= io->iov[i].iov_len & (v->len_align - 1);
	}
	return bits != 0;
}

static enum step first_step(const struct uring_volume *v, const struct bdev_io *io)
{
	switch (io->op) {
	case BDEV_FLUSH:
		return STEP_SYNC;
	case BDEV_DISCARD:
		return STEP_PUNCH;
	case BDEV_WRITE_ZEROES:
		/* A hole reads as zeroes on every file system that can punch one. */
		return io->flags & BDEV_F_UNMAP && v->b.info.can_discard ? STEP_PUNCH : STEP_ZERO_RANGE;
	default:
		return STEP_TRANSFER;
	}
}

/* The whole of a transfer, done: where nothing has to be waited for, a thread of the kernel's to wait is the
 * greater part of the cost. */
static bool in_place(const struct uring_volume *v, const struct bdev_io *io)
{
	int flags = io->flags & BDEV_F_FUA ? RWF_DSYNC : 0;
	ssize_t n = -1;

	if (io->op == BDEV_READ)
		n = preadv(v->fd, io->iov, (int)io->niov, (off_t)io->offset);
	else
		n = pwritev2(v->fd, io->iov, (int)io->niov, (off_t)io->offset, flags);
	return n >= 0 && (uint64_t)n == io->length;
}

/* Queues the first step; -EAGAIN: no room now. */
static int begin(struct uring_engine *u, struct uring_volume *v, struct bdev_io *io)
{
	bool bounce = needs_bounce(v, io);
	struct uring_op *op;

	if (list_empty(&u->free) || (bounce && u->nbounce == 0))
		return -EAGAIN;
	op = container_of(list_pop(&u->free), struct uring_op, node);
	*op = (struct uring_op){.v = v, .io = io, .step = first_step(v, io)};
	if (bounce) {
		op->bounce = u->bounce_free[--u->nbounce];
		if (io->op == BDEV_WRITE)
			bdev_iov_gather(op->bounce, io->iov, io->niov, 0, io->length);
	}
	prep(u, op);
	return 0;
}

static void run_quick(struct uring_engine *u)
{
	for (uint64_t bytes = 0; bytes < QUICK_BYTES && !list_empty(&u->quick);) {
		struct bdev_io *io = container_of(list_pop(&u->quick), struct bdev_io, node);
		struct uring_volume *v = container_of(io->bdev, struct uring_volume, b);

		bytes += io->length;
		/* What did not come to its end there is done again, in steps and with its errors. */
		if (in_place(v, io)) {
			bdev_complete(io, 0);
		} else if (begin(u, v, io)) {
			list_add_head(&u->quick, &io->node);
			break;
		}
	}
	u->e.more = !list_empty(&u->quick);
}

static void engine_poll(struct bdev_engine *e, int max)
{
	struct uring_engine *u = engine_of(e);
	struct io_uring_cqe *cqes[REAP];

	run_quick(u);
	submit_queued(u);
	while (max > 0) {
		unsigned want = (unsigned)max < REAP ? (unsigned)max : REAP;
		unsigned n = io_uring_peek_batch_cqe(&u->ring, cqes, want);

		for (unsigned i = 0; i < n; i++)
			completed(u, io_uring_cqe_get_data(cqes[i]), cqes[i]->res);
		io_uring_cq_advance(&u->ring, n);
		max -= (int)n;
		if (n < want)
			break;
	}
	/* Later steps of what has just been reaped: a burst of their own. */
	submit_queued(u);
}

static bool engine_arm(struct bdev_engine *e)
{
	struct uring_engine *u = engine_of(e);
	struct io_uring_cqe *cqe;

	submit_queued(u);
	/* The group drained the eventfd just before: what ends from now on signals it again. */
	return list_empty(&u->quick) && io_uring_sq_ready(&u->ring) == 0 &&
	       io_uring_peek_cqe(&u->ring, &cqe) != 0;
}

static void engine_free(struct uring_engine *u)
{
	if (u->bounce_mem)
		munmap(u->bounce_mem, (size_t)u->bounces * BDEV_IO_MAX);
	if (u->zero)
		munmap((void *)(uintptr_t)u->zero, BDEV_IO_MAX);
	free(u->ops);
	free(u);
}

static void engine_destroy(struct bdev_engine *e)
{
	struct uring_engine *u = engine_of(e);

	io_uring_queue_exit(&u->ring);
	engine_free(u);
}

static const struct bdev_engine_ops engine_ops = {
	.poll = engine_poll,
	.arm = engine_arm,
	.destroy = engine_destroy,
};

static void *map(size_t size, int prot)
{
	void *p = mmap(NULL, size, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static struct uring_engine *engine_alloc(unsigned depth)
{
	struct uring_engine *u = calloc(1, sizeof(*u));

	if (!u)
		return NULL;
	u->e.ops = &engine_ops;
	list_init(&u->free);
	list_init(&u->quick);
	u->bounces = depth < BOUNCE_MAX ? depth : BOUNCE_MAX;
	u->ops = calloc(depth, sizeof(*u->ops));
	u->bounce_mem = map((size_t)u->bounces * BDEV_IO_MAX, PROT_READ | PROT_WRITE);
	u->zero = map(BDEV_IO_MAX, PROT_READ);
	if (!u->ops || !u->bounce_mem || !u->zero) {
		engine_free(u);
		return NULL;
	}
	for (unsigned i = 0; i < depth; i++)
		list_add_tail(&u->free, &u->ops[i].node);
	for (unsigned i = 0; i < u->bounces; i++)
		u->bounce_free[u->nbounce++] = u->bounce_mem + (size_t)i * BDEV_IO_MAX;
	return u;
}

static int ring_init(struct uring_engine *u, unsigned depth, int eventfd)
{
	/* Completions wait for our next system call instead of interrupting us (Linux 5.19). */
	struct io_uring_params p = {.flags = IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG};
	int err = io_uring_queue_init_params(depth, &u->ring, &p);

	if (err == -EINVAL) {
		p = (struct io_uring_params){0};
		err = io_uring_queue_init_params(depth, &u->ring, &p);
	}
	if (err < 0)
		return err;
	err = io_uring_register_eventfd(&u->ring, eventfd);
	if (err < 0)
		io_uring_queue_exit(&u->ring);
	return err;
}

int uring_engine_of(struct bdev_group *g, struct uring_engine **out)
{
	struct bdev_engine *e = bdev_group_engine(g, &engine_ops);
	struct uring_engine *u;
	int err;

	if (e) {
		*out = engine_of(e);
		return 0;
	}
	u = engine_alloc(bdev_group_depth(g));
	if (!u)
		return -ENOMEM;
	err = ring_init(u, bdev_group_depth(g), bdev_group_fd(g));
	if (err < 0) {
		engine_free(u);
		return err;
	}
	bdev_group_add_engine(g, &u->e);
	*out = u;
	return 0;
}

int uring_engine_submit(struct uring_engine *u, struct uring_volume *v, struct bdev_io *io)
{
	if (!v->in_memory || (io->op != BDEV_READ && io->op != BDEV_WRITE))
		return begin(u, v, io);
	list_add_tail(&u->quick, &io->node);
	return 0;
}

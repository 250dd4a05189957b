/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The door to a backend volume: submit and poll.
 *
 * A `struct bdev` is one open volume. A request is a `struct bdev_io` that the caller owns; from
 * a submit that gave 0 until done() it, its iovec array and the memory that points to belong to
 * the backend. A request is completed exactly once; none is ever dropped. A full queue is
 * back-pressure: submit gives -EAGAIN, nothing was taken, and the caller tries again after the
 * next completion of the group.
 *
 * A `struct bdev_group` gathers the volumes of one worker: one poll completes requests of all of
 * them, one descriptor wakes the worker for all of them.
 *
 *	control thread				worker
 *	bdev_uring_open(path) -> b
 *		--- mailbox --->		bdev_join(b, group)
 *						bdev_submit(b, io)*	queued, no system call yet
 *						bdev_group_poll(g, now, max)	one system call a burst
 *						   io->done(io)
 *						bdev_group_arm(g), then sleep on bdev_group_fd(g)
 *						... bdev_outstanding(b) == 0: bdev_leave(b)
 *		<--- mailbox ---
 *	bdev_close(b)
 *
 * Durability: with info.write_cache a completed WRITE, WRITE_ZEROES or DISCARD may be lost at a
 * power cut until a FLUSH submitted after its completion has completed; with BDEV_F_FUA it is
 * stable when it completes. A FLUSH says nothing of requests that had not completed when it was
 * submitted. Requests in flight together are not ordered.
 *
 * Filters (bdev_filter.h) are bdevs that stand on another one.
 *
 * Thread rule: open and close on any one thread (they may block); everything else on the worker
 * that owns the group. Errors are 0 or -errno.
 */
#ifndef OUTRIGGER_BDEV_BDEV_H
#define OUTRIGGER_BDEV_BDEV_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "fabric/base/list.h"

enum bdev_op { BDEV_READ, BDEV_WRITE, BDEV_FLUSH, BDEV_DISCARD, BDEV_WRITE_ZEROES, BDEV_NOPS };
extern const char *const bdev_op_names[BDEV_NOPS];

#define BDEV_F_FUA   1u /* WRITE, WRITE_ZEROES: stable when completed */
#define BDEV_F_UNMAP 2u /* WRITE_ZEROES: the space may be given back; without it, it stays allocated */

/* Limits of one request; more is -EINVAL. The iovec bound is below the kernel's UIO_MAXIOV. */
#define BDEV_IO_MAX  (1u << 20) /* bytes of a READ or WRITE; DISCARD and WRITE_ZEROES: up to the volume */
#define BDEV_IOV_MAX 1024u

struct bdev;
struct bdev_group;

struct bdev_io {
	/* Filled by the caller. offset and length are bytes, multiples of info.block. */
	enum bdev_op op;
	uint32_t flags;
	uint64_t offset;
	uint64_t length;	 /* 0 for FLUSH; > 0 otherwise */
	const struct iovec *iov; /* READ, WRITE: sum of iov_len == length */
	unsigned niov;
	void (*done)(struct bdev_io *io); /* on the worker, from bdev_group_poll(), never from inside submit;
					     may submit again, this io too */
	void *ctx;			  /* the caller's */
	/* Valid in done(): 0, or -errno. Never a partial success. */
	int result;
	/* Of the door and the backend between submit and done. */
	struct bdev *bdev;
	struct list node;
	void *priv;
};

struct bdev_info {
	uint64_t size;	     /* bytes; a multiple of block */
	uint32_t block;	     /* logical block, 512 or 4096 */
	uint32_t phys_block; /* preferred alignment, >= block, power of 2 */
	uint32_t opt_io;     /* preferred transfer, bytes, or 0 */
	bool read_only;	     /* anything but READ and FLUSH gives -EROFS */
	bool can_discard;
	bool can_write_zeroes;
	bool write_cache; /* completed writes are volatile until FLUSH, see above */
};

/* What a backend implements. bdev_submit() has checked the request against info before submit
 * is called, counts what is outstanding, and completes through bdev_complete(). */
struct bdev_ops {
	const char *name;
	/* Take the request: 0, or -EAGAIN and it was not taken. Any other fault of the backend is a
	 * completion with an error. Required. */
	int (*submit)(struct bdev *b, struct bdev_io *io);
	/* The worker's group is now b->group; 0 or -errno. Optional. */
	int (*join)(struct bdev *b);
	/* The opposite; nothing is outstanding. Optional. */
	void (*leave)(struct bdev *b);
	/* Read the volume's size again after it has grown; sets b->info.size. Worker. Optional. */
	int (*refresh)(struct bdev *b);
	/* Free b and what it holds; a filter closes what it stands on. Not joined. Required. */
	void (*close)(struct bdev *b);
};

struct bdev {
	const struct bdev_ops *ops;
	struct bdev_info info;
	struct bdev_group *group; /* NULL: not joined */
	unsigned outstanding;	  /* taken and not yet done() */
};

int bdev_join(struct bdev *b, struct bdev_group *g); /* -EBUSY: in a group already */
void bdev_leave(struct bdev *b); /* outstanding must be 0 (asserted); not joined is fine */
void bdev_close(struct bdev *b); /* leave first; NULL is fine */

/* 0: taken, done() will follow. -EAGAIN: no room now. -EINVAL: outside the volume, misaligned,
 * over a limit, or iov does not add up. -EROFS. -EOPNOTSUPP: info says that b cannot.
 * Anything but 0 means: not taken, done() will not be called. */
int bdev_submit(struct bdev *b, struct bdev_io *io);

/* Requests taken and not done: 0 means that nothing of this open volume can change the backend
 * any more (the drain of rule E4: before another owner's first I/O). */
static inline unsigned bdev_outstanding(const struct bdev *b)
{
	return b->outstanding;
}

int bdev_refresh(struct bdev *b); /* 0, or -EOPNOTSUPP */

/* ---- group ---- */

/* One per worker, created and destroyed there. depth: requests in flight inside the kernel for all
 * volumes together (1..4096). NULL and *err: -ENOMEM, -EMFILE. */
struct bdev_group *bdev_group_create(unsigned depth, int *err);
void bdev_group_destroy(struct bdev_group *g); /* no bdev joined (asserted); NULL is fine */

/* Hand queued requests to the kernel, then complete at most max; the number completed. */
int bdev_group_poll(struct bdev_group *g, uint64_t now, int max);

/* After a poll: the next one completes requests that are ready already. */
bool bdev_group_more(const struct bdev_group *g);

/* The now of the last poll: what done() may use. */
uint64_t bdev_group_now(const struct bdev_group *g);

/* Readable when something may have completed since the last bdev_group_arm(), which clears it: so every
 * sleep is preceded by arm. A wait on it may also end with EINTR (the kernel's own work
 * for a ring interrupts it); poll and arm again. Belongs to the group. */
int bdev_group_fd(const struct bdev_group *g);
/* About to sleep: hands queued requests over and clears the descriptor. False: there is work now, poll again
 * instead of sleeping. */
bool bdev_group_arm(struct bdev_group *g);
/* When poll must be called at the latest (delays, retries); UINT64_MAX: never. */
uint64_t bdev_group_deadline(const struct bdev_group *g);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#include "hostagent/vhost/vhost_signal.h"

#include <linux/aio_abi.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#define EVENTS	   64u
#define RING_MAGIC 0xa10a10a1u

/* What io_setup() maps: results are taken by moving head, without a system call. */
struct ring {
	uint32_t id, nr, head, tail, magic;
};

struct context {
	enum { NEW, READY, NONE } state;
	aio_context_t aio;
	bool holding;
	unsigned nheld;
	int held[EVENTS];
};

static _Thread_local struct context context;

static bool open_context(struct context *c)
{
	struct ring *r;

	if (c->state != NEW)
		return c->state == READY;
	c->state = NONE;
	if (syscall(SYS_io_setup, EVENTS, &c->aio))
		return false;
	r = (void *)(uintptr_t)c->aio;
	if (r->magic == RING_MAGIC)
		c->state = READY;
	return c->state == READY;
}

/* Those that the kernel took, from the first on. */
static unsigned signal_async(struct context *c, const int *fd, unsigned n)
{
	static uint8_t nothing;
	struct iocb cb[EVENTS], *list[EVENTS];
	struct ring *r = (void *)(uintptr_t)c->aio;
	long took;

	/* An eventfd refuses a read of less than 8 bytes at once; that is a completion as good as any. It is
	 * over when this returns, and its result is dropped unseen. */
	for (unsigned i = 0; i < n; i++) {
		cb[i] = (struct iocb){
			.aio_fildes = (uint32_t)fd[i],
			.aio_lio_opcode = IOCB_CMD_PREAD,
			.aio_buf = (uintptr_t)&nothing,
			.aio_flags = IOCB_FLAG_RESFD,
			.aio_resfd = (uint32_t)fd[i],
		};
		list[i] = &cb[i];
	}
	took = syscall(SYS_io_submit, c->aio, (long)n, list);
	if (took <= 0)
		return 0;
	__atomic_store_n(&r->head, __atomic_load_n(&r->tail, __ATOMIC_ACQUIRE), __ATOMIC_RELEASE);
	return (unsigned)took;
}

static void signal_plain(int fd)
{
	struct pollfd p = {fd, POLLOUT, 0};
	uint64_t one = 1;
	ssize_t n;

	/* A full counter means that a notification is pending already. */
	if (poll(&p, 1, 0) != 1 || !(p.revents & POLLOUT))
		return;
	n = write(fd, &one, sizeof(one));
	(void)n;
}

static void signal_all(const int *fd, unsigned n)
{
	bool async = open_context(&context);

	/* The kernel stops at the first it does not like. */
	for (unsigned i = 0; i < n;) {
		unsigned took = async ? signal_async(&context, fd + i, n - i) : 0;

		if (!took)
			signal_plain(fd[i]);
		i += took ? took : 1;
	}
}

void vhost_signal_hold(void)
{
	context.holding = true;
}

void vhost_signal_go(void)
{
	unsigned n = context.nheld;

	context.holding = false;
	context.nheld = 0;
	signal_all(context.held, n);
}

void vhost_signal(int fd)
{
	if (!context.holding) {
		signal_all(&fd, 1);
		return;
	}
	for (unsigned i = 0; i < context.nheld; i++)
		if (context.held[i] == fd)
			return;
	context.held[context.nheld++] = fd;
	if (context.nheld == EVENTS) {
		vhost_signal_go();
		context.holding = true;
	}
}

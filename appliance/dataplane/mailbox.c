/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A multi-producer single-consumer queue after Dmitry Vyukov's intrusive design: producers
 * swing `head` with one exchange and then link the old head to the new letter. Between these two
 * steps the chain is cut for an instant; the consumer then sees "empty" and the producer's
 * eventfd write, which comes after the link, wakes it again.
 */
#include "appliance/dataplane/mailbox.h"

#include <errno.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

int mailbox_init(struct mailbox *mb)
{
	atomic_store(&mb->rest.next, NULL);
	atomic_store(&mb->head, &mb->rest);
	mb->tail = &mb->rest;
	mb->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	return mb->fd < 0 ? -errno : 0;
}

void mailbox_fini(struct mailbox *mb)
{
	close(mb->fd);
	mb->fd = -1;
}

static void put(struct mailbox *mb, struct mail *m)
{
	struct mail *prev;

	atomic_store_explicit(&m->next, NULL, memory_order_relaxed);
	prev = atomic_exchange_explicit(&mb->head, m, memory_order_acq_rel);
	atomic_store_explicit(&prev->next, m, memory_order_release);
}

void mailbox_send(struct mailbox *mb, struct mail *m)
{
	uint64_t one = 1;

	put(mb, m);
	/* EAGAIN means the counter is at its top: readable anyway. */
	if (write(mb->fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
		return;
}

static struct mail *take(struct mailbox *mb)
{
	struct mail *tail = mb->tail;
	struct mail *next = atomic_load_explicit(&tail->next, memory_order_acquire);

	if (tail == &mb->rest) {
		if (!next)
			return NULL;
		mb->tail = next;
		tail = next;
		next = atomic_load_explicit(&next->next, memory_order_acquire);
	}
	if (next) {
		mb->tail = next;
		return tail;
	}
	if (tail != atomic_load_explicit(&mb->head, memory_order_acquire))
		return NULL; /* a sender is between its two steps */
	put(mb, &mb->rest);
	next = atomic_load_explicit(&tail->next, memory_order_acquire);
	if (!next)
		return NULL;
	mb->tail = next;
	return tail;
}

unsigned mailbox_drain(struct mailbox *mb)
{
	struct mail *m;
	unsigned n = 0;

	for (; (m = take(mb)); n++)
		m->run(m);
	return n;
}

bool mailbox_empty(const struct mailbox *mb)
{
	return mb->tail == &mb->rest && !atomic_load_explicit(&mb->rest.next, memory_order_acquire);
}

int mailbox_fd(const struct mailbox *mb)
{
	return mb->fd;
}

void mailbox_clear(struct mailbox *mb)
{
	uint64_t n;

	while (read(mb->fd, &n, sizeof(n)) > 0)
		;
}

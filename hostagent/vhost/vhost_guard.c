/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table is an array of pointers that only grows to its high-water mark; slots are claimed
 * with one atomic exchange, so the handler can walk it at any instant. The mapping a thread faults
 * on was added by that thread before and is not removed while it runs the handler.
 */
#include "hostagent/vhost/vhost_guard.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>

static _Atomic(struct vhost_map *) guards[VHOST_GUARDS_MAX];
/* What they cover: [from, to). A guard of another thread may be taken away while the handler looks, so
 * nothing of a map is read before its own range is known to hold the address, which makes it this thread's.
 */
static struct {
	atomic_uintptr_t from, to;
} covers[VHOST_GUARDS_MAX];
static atomic_uint guards_used; /* slots below this were used at least once */
static struct sigaction before;
static atomic_flag installing = ATOMIC_FLAG_INIT; /* threads may make devices at once */

static struct vhost_map *find(const uint8_t *addr)
{
	unsigned n = atomic_load(&guards_used);

	for (unsigned i = 0; i < n; i++) {
		uintptr_t from = atomic_load(&covers[i].from), to = atomic_load(&covers[i].to);

		/* Looked at twice: meanwhile the slot may have become another's. */
		if ((uintptr_t)addr >= from && (uintptr_t)addr < to && from == atomic_load(&covers[i].from))
			return atomic_load(&guards[i]);
	}
	return NULL;
}

static void pass_on(int sig, siginfo_t *info, void *context)
{
	if (before.sa_flags & SA_SIGINFO && before.sa_sigaction) {
		before.sa_sigaction(sig, info, context);
	} else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) {
		before.sa_handler(sig);
	} else {
		/* Returning repeats the access with nobody to catch it. */
		signal(sig, SIG_DFL);
	}
}

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	int saved = errno;
	struct vhost_map *m = find(info->si_addr);

	if (!m || mmap(m->base, m->base_len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) == MAP_FAILED)
		pass_on(sig, info, context);
	else
		__atomic_store_n(m->fault, true, __ATOMIC_RELAXED);
	errno = saved;
}

static int install(void)
{
	struct sigaction sa = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO}, now;

	if (sigaction(SIGBUS, NULL, &now))
		return -errno;
	if (now.sa_flags & SA_SIGINFO && now.sa_sigaction == on_sigbus)
		return 0;
	before = now;
	sigemptyset(&sa.sa_mask);
	return sigaction(SIGBUS, &sa, NULL) ? -errno : 0;
}

int vhost_guard_install(void)
{
	int r;

	while (atomic_flag_test_and_set(&installing))
		;
	r = install();
	atomic_flag_clear(&installing);
	return r;
}

int vhost_guard_add(struct vhost_map *m)
{
	for (unsigned i = 0; i < VHOST_GUARDS_MAX; i++) {
		struct vhost_map *none = NULL;
		unsigned used = atomic_load(&guards_used);

		if (!atomic_compare_exchange_strong(&guards[i], &none, m))
			continue;
		atomic_store(&covers[i].from, (uintptr_t)m->base);
		atomic_store(&covers[i].to, (uintptr_t)m->base + m->base_len);
		while (used <= i && !atomic_compare_exchange_weak(&guards_used, &used, i + 1))
			;
		return 0;
	}
	return -ENOSPC;
}

void vhost_guard_remove(struct vhost_map *m)
{
	unsigned n = atomic_load(&guards_used);

	for (unsigned i = 0; i < n; i++) {
		if (atomic_load(&guards[i]) != m)
			continue;
		atomic_store(&covers[i].to, 0);
		atomic_store(&covers[i].from, 0);
		atomic_store(&guards[i], NULL);
		return;
	}
}

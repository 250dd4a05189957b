/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table is an array of pointers that only grows to its high-water mark; slots are claimed and
 * freed with one atomic exchange, so the handler can walk it at any instant. The mapping a thread faults
 * on was added by that thread before and is not removed while it runs the handler.
 */
#include "hostagent/vhost/vhost_guard.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>

static _Atomic(struct vhost_map *) guards[VHOST_GUARDS_MAX];
static atomic_uint guards_used; /* slots below this were used at least once */
static struct sigaction before;
static atomic_flag installing = ATOMIC_FLAG_INIT; /* threads may make devices at once */

static struct vhost_map *find(const uint8_t *addr)
{
	unsigned n = atomic_load(&guards_used);

	for (unsigned i = 0; i < n; i++) {
		struct vhost_map *m = atomic_load(&guards[i]);

		if (m && addr >= m->base && addr < m->base + m->base_len)
			return m;
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
		struct vhost_map *is = m;

		if (atomic_compare_exchange_strong(&guards[i], &is, NULL))
			return;
	}
}

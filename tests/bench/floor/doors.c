/* SPDX-License-Identifier: Apache-2.0 */
/* Guests at their doors: one process kicks eventfds in turn, a tick's worth at a time, the other sleeps on
 * all of them and interrupts, and does nothing else. What a request of its own guest costs beyond one that
 * came together with others. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fabric/base/clock.h"
#include "hostagent/vhost/vhost_signal.h"
#include "tests/bench/floor/floor.h"

#define DOORS  1024u
#define EVENTS 256

static int kick[DOORS], call[DOORS][2];

/* The agent: edge-triggered, so that no kick is read; the interrupts of a turn with one call. */
static void agent(void)
{
	struct epoll_event ev[EVENTS];
	int ep = epoll_create1(EPOLL_CLOEXEC);

	for (unsigned i = 0; i < cfg.doors; i++) {
		ev[0] = (struct epoll_event){EPOLLIN | EPOLLET, {.u32 = i}};
		if (epoll_ctl(ep, EPOLL_CTL_ADD, kick[i], &ev[0]))
			die("epoll");
	}
	__atomic_store_n(&shared->turn, 1, __ATOMIC_RELEASE);
	for (;;) {
		int n = epoll_wait(ep, ev, EVENTS, -1);

		vhost_signal_hold();
		for (int i = 0; i < n; i++)
			for (unsigned k = 0; k < cfg.signals; k++)
				vhost_signal(call[ev[i].data.u32][k]);
		vhost_signal_go();
		floor_tell();
	}
}

/* Kicks until `end`, each door in turn; how many. With one door a tick is one kick, whatever it stands for.
 */
static uint64_t kicks(uint64_t end)
{
	static unsigned at;
	uint64_t done = 0, next = clock_now_ns(), now;

	while ((now = clock_now_ns()) < end) {
		uint64_t due = cfg.pps * cfg.burst_ns / NSEC_PER_SEC, one = 1;

		for (uint64_t i = 0; i < due && i < cfg.doors; i++, at++)
			if (write(kick[at % cfg.doors], &one, sizeof(one)) != sizeof(one))
				die("kick");
		done += due;
		next += cfg.burst_ns;
		if (next > now)
			usleep((useconds_t)((next - now) / 1000));
		else
			next = now;
	}
	return done;
}

static uint64_t agent_cpu(void)
{
	uint32_t asked = __atomic_add_fetch(&shared->asked, 1, __ATOMIC_RELEASE);

	while (__atomic_load_n(&shared->told, __ATOMIC_ACQUIRE) != asked)
		(void)kicks(clock_now_ns() + cfg.burst_ns);
	return shared->cpu_ns;
}

void doors_run(void)
{
	struct rlimit files;
	uint64_t cpu, done;
	int interrupt = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	pid_t pid;

	if (!getrlimit(RLIMIT_NOFILE, &files)) {
		files.rlim_cur = files.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &files);
	}
	for (unsigned i = 0; i < cfg.doors; i++) {
		kick[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		for (unsigned k = 0; k < cfg.signals; k++)
			call[i][k] = dup(interrupt);
		if (kick[i] < 0 || call[i][0] < 0)
			die("eventfd");
	}
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		agent();
	}
	while (!__atomic_load_n(&shared->turn, __ATOMIC_ACQUIRE))
		usleep(1000);
	(void)kicks(clock_now_ns() + (uint64_t)(cfg.warm * 1e9));
	cpu = agent_cpu();
	done = kicks(clock_now_ns() + (uint64_t)(cfg.seconds * 1e9));
	cpu = agent_cpu() - cpu;
	kill(pid, SIGKILL);
	wait(NULL);
	printf("{\"host_us\": %.3f}\n", (double)cpu / 1e3 / (double)done);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "hostagent/io_threads.h"

#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fabric/base/log.h"
#include "hostagent/engine/lanes.h"

struct io_thread {
	struct event_base *base; /* NULL: the caller's */
	struct agent_session *session;
	pthread_t thread;
	struct lane_letter *stop; /* for its end, which must not want for memory */
	bool runs;
	int cpu;
};

struct io_threads {
	struct lanes *lanes;
	unsigned n;
	struct io_thread thread[LANES_MAX];
};

static int pin(int cpu)
{
	cpu_set_t set;

	if (cpu < 0)
		return 0;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (!sched_setaffinity(0, sizeof(set), &set))
		return 0;
	log_err("--cpu %d: %s", cpu,
		errno == EINVAL ? "no such processor, or not allowed here" : strerror(errno));
	return -errno;
}

/* What a thread made it takes down itself, but for the loop: a device on its way to another lane knows it. */
static void *run(void *arg)
{
	struct io_thread *t = arg;

	pin(t->cpu);
	event_base_dispatch(t->base);
	agent_session_destroy(t->session);
	t->session = NULL;
	/* libevent closes a connection's socket in a turn after the one that let go of it. */
	event_base_loop(t->base, EVLOOP_NONBLOCK);
	return NULL;
}

/* Signals are for the first thread's loop. */
static int begin(struct io_thread *t, unsigned lane)
{
	sigset_t all, before;
	char name[16];
	int r;

	t->stop = lanes_letter(LANE_STOP, 0, "");
	if (!t->stop)
		return -ENOMEM;
	sigfillset(&all);
	sigdelset(&all, SIGBUS);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&t->thread, NULL, run, t);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r)
		return -r;
	t->runs = true;
	snprintf(name, sizeof(name), "io-%u", lane);
	pthread_setname_np(t->thread, name);
	return 0;
}

static int add(struct io_threads *t, const struct agent_session_cfg *like, unsigned lane, int cpu)
{
	struct agent_session_cfg cfg = *like;
	struct io_thread *i = &t->thread[lane];
	int r;

	i->cpu = cpu;
	cfg.lanes = t->lanes;
	cfg.lane = lane;
	if (lane) {
		cfg.base = i->base = event_base_new();
		if (!i->base)
			return -ENOMEM;
	}
	r = agent_session_create(&cfg, &i->session);
	if (r)
		return r;
	t->n++;
	return lane ? begin(i, lane) : 0;
}

int io_threads_start(const struct agent_session_cfg *cfg, unsigned n, const int *cpus,
		     struct io_threads **out)
{
	struct io_threads *t = calloc(1, sizeof(*t));
	int r = t ? 0 : -ENOMEM;
	bool said = false; /* what is wrong */

	if (!r && n > 1) {
		t->lanes = lanes_create(n);
		r = t->lanes ? 0 : -ENOMEM;
	}
	/* All of them once, so that a wrong one is said at the start; the first is this thread's, at last. */
	for (unsigned i = n; !r && i-- > 0;) {
		r = pin(cpus[i]);
		said = r;
	}
	for (unsigned i = 0; !r && i < n; i++)
		r = add(t, cfg, i, cpus[i]);
	if (r) {
		if (!said)
			log_err("cannot start: %s", strerror(-r));
		io_threads_stop(t);
		return r;
	}
	*out = t;
	return 0;
}

void io_threads_stop(struct io_threads *t)
{
	if (!t)
		return;
	for (unsigned i = 1; i < LANES_MAX; i++) {
		if (t->thread[i].runs)
			lanes_post(t->lanes, i, t->thread[i].stop);
		else
			free(t->thread[i].stop);
	}
	for (unsigned i = 1; i < LANES_MAX; i++) {
		if (t->thread[i].runs)
			pthread_join(t->thread[i].thread, NULL);
	}
	for (unsigned i = 0; i < LANES_MAX; i++)
		agent_session_destroy(t->thread[i].session);
	for (unsigned i = 1; i < LANES_MAX; i++) {
		if (t->thread[i].base)
			event_base_free(t->thread[i].base);
	}
	lanes_destroy(t->lanes);
	free(t);
}

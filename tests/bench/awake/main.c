/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_awake: keeps every processor that it may use awake, as other work of a host would, until it is
 * killed or its parent ends. One thread each under SCHED_IDLE: whatever wants the processor has it at once.
 *
 * A virtual processor that halts is woken by an exit to the hypervisor, which whoever wakes it pays as time
 * of its own: several microseconds a wake-up here, more where hypervisors are nested. That is the price of
 * neither the agent nor its peers, and it changes from minute to minute with what the machine's neighbours
 * do.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static void die(const char *what, int error)
{
	fprintf(stderr, "bench_awake: %s: %s\n", what, strerror(error));
	exit(1);
}

/* A chain of multiplications: each waits for the one before, so that a sibling thread of the same core has
 * most of what the core can do. No `pause`: many in a row are an exit to the hypervisor too. */
static void *stay(void *cpu)
{
	unsigned long x = (unsigned long)(size_t)cpu | 1;

	for (;;)
		__asm__ volatile("imul %0, %0\n\timul %0, %0\n\timul %0, %0\n\timul %0, %0" : "+r"(x));
	return NULL;
}

int main(void)
{
	const struct sched_param none = {0};
	cpu_set_t ours;
	int r;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() == 1)
		return 0;
	CPU_ZERO(&ours);
	if (sched_getaffinity(0, sizeof(ours), &ours))
		die("sched_getaffinity", errno);
	if (sched_setscheduler(0, SCHED_IDLE, &none))
		die("SCHED_IDLE", errno);
	for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		pthread_attr_t attr;
		pthread_t thread;
		cpu_set_t one;

		if (!CPU_ISSET(cpu, &ours))
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		pthread_attr_init(&attr);
		r = pthread_attr_setaffinity_np(&attr, sizeof(one), &one);
		if (!r)
			r = pthread_create(&thread, &attr, stay, (void *)cpu);
		if (r)
			die("thread", r);
		pthread_attr_destroy(&attr);
	}
	pause();
	return 0;
}

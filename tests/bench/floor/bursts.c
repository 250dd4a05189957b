/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest, agent, appliance, agent, guest: each sleeps, is woken for a burst, passes it on and sleeps again.
 *
 * Between a guest and its agent is what a virtqueue comes to: two counters of bytes, and on each side a word
 * by which who sleeps asks to be woken (an event index). Agents sleep in epoll_wait() with a kick and a
 * socket, since both directions are theirs; edge-triggered, so that no kick is read.
 */
#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fabric/base/clock.h"
#include "tests/bench/floor/floor.h"

#define APPLIANCE_PORT 7795
#define AGENT_PORT     7796 /* of the first host; the other's is the next */
#define TRAINS	       8u   /* taken with one call */
#define WINDOW	       (1u << 20)
#define SAMPLES	       65536u

/* At the begin of each frame. */
struct stamp {
	uint64_t place, ns;
};

struct counter {
	uint64_t n;
	uint64_t pad[7];
} __attribute__((aligned(64)));

/* One direction of one vNIC. Counters are of bytes since the start. */
struct door {
	struct counter given, taken;
	struct counter agent_asleep; /* whoever gives shall kick */
	struct counter guest_asleep; /* interrupt when all is taken but so many bytes, + 1; 0: never */
	int kick, call;		     /* eventfds */
};

struct both {
	struct door tx, rx;
	struct counter window_asleep; /* the sending guest waits for the receiving one */
	uint32_t ready;		      /* bit per agent */
	uint64_t trains, datagrams, lost, samples;
	uint32_t us[SAMPLES]; /* one way, in units of 0.1 us */
};
static struct both *both;
static uint8_t *tx_mem, *rx_mem;
static uint32_t unit; /* bytes of a frame */

static void ring_bell(int fd)
{
	uint64_t one = 1;

	if (write(fd, &one, sizeof(one)) != sizeof(one))
		die("eventfd");
}

static void await(int fd)
{
	uint64_t n;

	if (read(fd, &n, sizeof(n)) != sizeof(n))
		die("eventfd");
}

static uint64_t load(const struct counter *c)
{
	return __atomic_load_n(&c->n, __ATOMIC_SEQ_CST);
}

static void store(struct counter *c, uint64_t n)
{
	__atomic_store_n(&c->n, n, __ATOMIC_SEQ_CST);
}

static void door_init(struct door *d)
{
	d->kick = eventfd(0, EFD_CLOEXEC);
	d->call = eventfd(0, EFD_CLOEXEC);
	if (d->kick < 0 || d->call < 0)
		die("eventfd");
}

/* ---- guests ---- */

/* Frames that may go now: what is due (what found no room is not made up for), or all there is room for. */
static uint64_t allowed(uint64_t room, uint64_t start, uint64_t *owed)
{
	uint64_t due, out;

	if (cfg.pps) {
		due = (uint64_t)((double)(clock_now_ns() - start) * (double)cfg.pps / 1e9) - *owed;
		*owed += due;
		return due < room ? due : room;
	}
	out = both->tx.given.n - load(&both->rx.taken);
	due = out < WINDOW ? (WINDOW - out) / unit : 0;
	return due < room ? due : room;
}

/* Until the next burst, or until there is room in the ring or in the window. */
static void rest(uint64_t *due)
{
	struct door *d = &both->tx;
	uint64_t out = d->given.n - load(&d->taken);

	if (cfg.pps) {
		struct timespec until;

		*due += cfg.burst_ns;
		until = (struct timespec){(time_t)(*due / NSEC_PER_SEC), (long)(*due % NSEC_PER_SEC)};
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
		return;
	}
	if (out / unit == cfg.ring) {
		store(&d->guest_asleep, (uint64_t)cfg.ring / 4 * unit + 1);
		if (d->given.n - load(&d->taken) < (uint64_t)cfg.ring * unit)
			store(&d->guest_asleep, 0);
		else
			await(d->call);
	} else {
		store(&both->window_asleep, 1);
		if (d->given.n - load(&both->rx.taken) + unit <= WINDOW)
			store(&both->window_asleep, 0);
		else
			await(d->call);
	}
}

static void giver(void)
{
	struct door *d = &both->tx;
	uint64_t start = clock_now_ns(), due = start, owed = 0;

	for (;;) {
		uint64_t room = cfg.ring - (d->given.n - load(&d->taken)) / unit, end = d->given.n;
		uint64_t n = allowed(room, start, &owed), now = clock_now_ns();

		for (uint64_t i = 0; i < n; i++, end += unit)
			*(struct stamp *)(tx_mem + end % cfg.memory) = (struct stamp){end, now};
		store(&d->given, end);
		if (n && load(&d->agent_asleep)) {
			store(&d->agent_asleep, 0);
			ring_bell(d->kick);
		}
		if (cfg.pps || !n)
			rest(&due);
	}
}

static void frame_came(uint64_t place)
{
	struct stamp s = *(const struct stamp *)(rx_mem + place % cfg.memory);
	uint64_t now = clock_now_ns();

	if (s.place != place) {
		both->lost++;
		return;
	}
	both->us[both->samples % SAMPLES] = (uint32_t)((now - s.ns) / 100);
	both->samples++;
}

static void taker(void)
{
	struct door *d = &both->rx;

	for (;;) {
		uint64_t given = load(&d->given), at = d->taken.n;

		for (; at + unit <= given; at += unit)
			frame_came(at);
		store(&d->taken, at);
		if (load(&both->tx.given) - at <= WINDOW / 2 && load(&both->window_asleep)) {
			store(&both->window_asleep, 0);
			ring_bell(both->tx.call);
		}
		store(&d->guest_asleep, 1);
		if (load(&d->given) >= at + unit)
			store(&d->guest_asleep, 0);
		else
			await(d->call);
	}
}

/* ---- agents ---- */

static int agent_socket(uint16_t port)
{
	int fd;

	floor_enter(cfg.tx_ns);
	cfg.to.sin_port = htons(APPLIANCE_PORT);
	fd = floor_socket(port, &cfg.to);
	if (send(fd, "", 1, 0) != 1) /* the appliance learns where it is */
		die("send");
	return fd;
}

static void sleep_on(int ep)
{
	struct epoll_event ev[2];

	if (epoll_wait(ep, ev, 2, -1) < 0)
		die("epoll_wait");
}

static int doors_of(int kick, int fd)
{
	struct epoll_event ev = {EPOLLIN | EPOLLET, {.u32 = 0}};
	int ep = epoll_create1(EPOLL_CLOEXEC);

	if (epoll_ctl(ep, EPOLL_CTL_ADD, kick, &ev) || epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev))
		die("epoll");
	return ep;
}

static void first_agent(void)
{
	struct door *d = &both->tx;
	int fd = agent_socket(AGENT_PORT), ep = doors_of(d->kick, fd);
	uint64_t at = 0;

	for (;;) {
		uint64_t given, asleep;

		store(&d->agent_asleep, 0);
		while ((given = load(&d->given)) != at) {
			(void)train_send(fd, tx_mem, &at, given - at);
			store(&d->taken, at);
			asleep = load(&d->guest_asleep);
			if (asleep && load(&d->given) - at < asleep) {
				store(&d->guest_asleep, 0);
				ring_bell(d->call);
			}
		}
		store(&d->agent_asleep, 1);
		if (load(&d->given) == at)
			sleep_on(ep);
	}
}

/* The trains that wait in the socket, with one call; how many. */
static int take(int fd, struct mmsghdr mh[TRAINS], int flags)
{
	static uint8_t buf[TRAINS][FLOOR_DATAGRAM];
	static struct sockaddr_in from[TRAINS];
	static union train_control control[TRAINS];
	static struct iovec iov[TRAINS];

	for (unsigned i = 0; i < TRAINS; i++) {
		iov[i] = (struct iovec){buf[i], sizeof(buf[i])};
		mh[i].msg_hdr = (struct msghdr){.msg_name = &from[i],
						.msg_namelen = sizeof(from[i]),
						.msg_iov = &iov[i],
						.msg_iovlen = 1,
						.msg_control = &control[i],
						.msg_controllen = sizeof(control[i])};
	}
	return recvmmsg(fd, mh, TRAINS, flags, NULL);
}

static void second_agent(void)
{
	struct door *d = &both->rx;
	int fd = agent_socket(AGENT_PORT + 1), ep = doors_of(d->kick, fd), n;
	struct train_place came = {.bytes = 0};
	struct mmsghdr mh[TRAINS];

	for (;;) {
		do {
			n = take(fd, mh, MSG_DONTWAIT);
			for (int i = 0; i < n; i++)
				train_place(&mh[i].msg_hdr, mh[i].msg_len, rx_mem, &came);
			if (n <= 0)
				break;
			both->trains += (uint64_t)n;
			both->datagrams = came.datagrams;
			store(&d->given, came.end);
			if (load(&d->guest_asleep) && came.end - load(&d->taken) >= unit) {
				store(&d->guest_asleep, 0);
				ring_bell(d->call);
			}
		} while (n == (int)TRAINS);
		sleep_on(ep);
	}
}

static void appliance(void)
{
	struct sockaddr_in at[2];
	struct mmsghdr mh[TRAINS];
	int fd, n;

	floor_enter(cfg.rx_ns);
	fd = floor_socket(APPLIANCE_PORT, NULL);
	__atomic_store_n(&shared->turn, 1, __ATOMIC_RELEASE);
	for (;;) {
		n = take(fd, mh, MSG_WAITFORONE);
		for (int i = 0; i < n; i++) {
			struct msghdr *m = &mh[i].msg_hdr;
			const struct sockaddr_in *from = m->msg_name;
			unsigned who = ntohs(from->sin_port) - AGENT_PORT;

			if (mh[i].msg_len == 1 && who < 2) {
				at[who] = *from;
				__atomic_or_fetch(&both->ready, 1u << who, __ATOMIC_RELEASE);
			} else if (sendto(fd, m->msg_iov->iov_base, mh[i].msg_len, 0,
					  (struct sockaddr *)&at[1], sizeof(at[1])) < 0) {
				die("the appliance's send");
			}
		}
	}
}

/* ---- figures ---- */

static pid_t start(void (*run)(void))
{
	pid_t pid = fork();

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		run();
		_exit(1);
	}
	if (pid < 0)
		die("fork");
	return pid;
}

static void wait_for(const uint32_t *word, uint32_t value)
{
	for (int i = 0; __atomic_load_n(word, __ATOMIC_ACQUIRE) != value; i++, usleep(1000))
		if (i == 3000)
			die("a process does not start");
}

struct figures {
	uint64_t agents_ns, appliance_ns, sleeps, lost, samples, trains, datagrams, at;
};

/* pids: the agents, then the appliance. */
static struct figures look(const pid_t pids[3])
{
	return (struct figures){.agents_ns = floor_cpu_of(pids[0]) + floor_cpu_of(pids[1]),
				.appliance_ns = floor_cpu_of(pids[2]),
				.sleeps = floor_sleeps_of(pids[0]) + floor_sleeps_of(pids[1]),
				.lost = both->lost,
				.samples = both->samples,
				.trains = both->trains,
				.datagrams = both->datagrams,
				.at = clock_now_ns()};
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static void say(const struct figures *a, const struct figures *b)
{
	static uint32_t us[SAMPLES];
	uint64_t n = b->samples - a->samples < SAMPLES ? b->samples - a->samples : SAMPLES;
	double s = (double)(b->at - a->at) / 1e9, frames = (double)(b->samples - a->samples);
	double bytes = frames * unit, host = (double)(b->agents_ns - a->agents_ns),
	       gateway = (double)(b->appliance_ns - a->appliance_ns);

	if (!n)
		die("nothing arrived");
	for (uint64_t i = 0; i < n; i++)
		us[i] = both->us[(b->samples - n + i) % SAMPLES];
	qsort(us, n, sizeof(us[0]), by_value);
	printf("{\"gbps\": %.3f, \"mpps\": %.4f, \"lost\": %lu, \"per_gb\": %.4f, \"per_mpkt\": %.4f, "
	       "\"appliance_per_gb\": %.4f, \"appliance_per_mpkt\": %.4f, ",
	       bytes * 8e-9 / s, frames / s / 1e6, b->lost - a->lost, host / bytes, host / frames / 1e3,
	       gateway / bytes, gateway / frames / 1e3);
	printf("\"wakeups_per_m\": %.0f, \"train\": %.1f, \"p50\": %.1f, \"p99\": %.1f}\n",
	       (double)(b->sleeps - a->sleeps) / (bytes / 1500) * 1e6,
	       (double)(b->datagrams - a->datagrams) / (double)(b->trains - a->trains), us[n / 2] / 10.0,
	       us[n * 99 / 100] / 10.0);
}

void bursts_run(void)
{
	pid_t pids[3], guests[2];
	struct figures a, b;

	unit = cfg.frame ? cfg.frame : SUPER_FRAME;
	/* So much that nothing is overwritten before the guest has seen it. */
	cfg.memory = (size_t)unit * (cfg.ring * unit > WINDOW ? cfg.ring : (WINDOW + unit - 1) / unit);
	both = mmap(NULL, sizeof(*both), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (both == MAP_FAILED)
		die("memory");
	tx_mem = floor_memory(cfg.memory);
	rx_mem = floor_memory(cfg.memory);
	door_init(&both->tx);
	door_init(&both->rx);
	pids[2] = start(appliance);
	wait_for(&shared->turn, 1);
	pids[0] = start(first_agent);
	pids[1] = start(second_agent);
	wait_for(&both->ready, 3);
	guests[1] = start(taker);
	guests[0] = start(giver);
	usleep((useconds_t)(cfg.warm * 1e6));
	a = look(pids);
	usleep((useconds_t)(cfg.seconds * 1e6));
	b = look(pids);
	for (int i = 0; i < 3; i++)
		kill(pids[i], SIGKILL);
	for (int i = 0; i < 2; i++)
		kill(guests[i], SIGKILL);
	while (wait(NULL) > 0)
		;
	say(&a, &b);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* A token on its way from guest to guest: each process wakes up, passes it on and sleeps again. With one host
 * it turns round at the appliance, as a disk's request does; with two it goes on to the other host's guest.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fabric/base/clock.h"
#include "tests/bench/floor/floor.h"

#define APPLIANCE_PORT 7790
#define AGENT_PORT     7791 /* of the first host; the other's is the next */
#define SAMPLES	       65536u
#define PROCESSES      4u

struct host {
	int kick, call; /* eventfds: guest to agent, agent to guest */
};

static uint8_t token[4096];
static pid_t child[PROCESSES];
static unsigned nchild;

static void pass_on(int fd)
{
	uint64_t one = 1;

	if (write(fd, &one, sizeof(one)) != sizeof(one))
		die("eventfd");
}

static void await(int fd)
{
	struct pollfd p = {fd, POLLIN, 0};
	uint64_t n;

	if (poll(&p, 1, 3000) != 1 || read(fd, &n, sizeof(n)) != sizeof(n))
		die("no token");
}

/* Agent to guest, and the guest's side of it. */
static void answer(const struct host *h, uint16_t port)
{
	if (cfg.poll && port == AGENT_PORT)
		__atomic_add_fetch(&shared->answers, 1, __ATOMIC_RELEASE);
	else
		pass_on(h->call);
}

static void await_answer(const struct host *h)
{
	static uint32_t seen;
	uint64_t until;

	if (!cfg.poll) {
		await(h->call);
		return;
	}
	until = clock_now_ns() + 3000000000ull;
	while (__atomic_load_n(&shared->answers, __ATOMIC_ACQUIRE) == seen)
		if (clock_now_ns() > until)
			die("no token");
	seen++;
}

static void start(void (*run)(const struct host *h, uint16_t port), const struct host *h, uint16_t port)
{
	pid_t pid = fork();

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		run(h, port);
		_exit(0);
	}
	if (pid < 0)
		die("fork");
	child[nchild++] = pid;
}

/* For a kick or a datagram, with some patience before sleep. */
static void watch(struct pollfd p[2])
{
	uint64_t until = cfg.spin_us ? clock_now_ns() + cfg.spin_us * 1000ull : 0;
	int n;

	do
		n = poll(p, 2, 0);
	while (!n && clock_now_ns() < until);
	if (!n)
		n = poll(p, 2, -1);
	if (n < 0)
		die("poll");
}

static void agent(const struct host *h, uint16_t port)
{
	struct pollfd p[2] = {{h->kick, POLLIN, 0}, {-1, POLLIN, 0}};

	floor_enter(cfg.tx_ns);
	cfg.to.sin_port = htons(APPLIANCE_PORT);
	p[1].fd = floor_socket(port, &cfg.to);
	if (send(p[1].fd, token, 1, 0) != 1) /* the appliance learns where it is */
		die("send");
	for (;;) {
		watch(p);
		if (p[0].revents) {
			await(h->kick);
			if (send(p[1].fd, token, cfg.size, 0) < 0)
				die("send");
		}
		if (p[1].revents && recv(p[1].fd, token, sizeof(token), MSG_DONTWAIT) > 0)
			answer(h, port);
		if (port == AGENT_PORT)
			floor_tell();
	}
}

static void appliance(const struct host *h, uint16_t port)
{
	struct sockaddr_in at[2], from;
	socklen_t len = sizeof(from);
	unsigned known = 0;
	int fd;

	(void)h;
	floor_enter(cfg.rx_ns);
	fd = floor_socket(port, NULL);
	__atomic_store_n(&shared->turn, 1, __ATOMIC_RELEASE);
	for (;;) {
		ssize_t n = recvfrom(fd, token, sizeof(token), cfg.busy ? MSG_DONTWAIT : 0,
				     (struct sockaddr *)&from, &len);
		unsigned who = ntohs(from.sin_port) - AGENT_PORT;

		if (n < 0 && cfg.busy && errno == EAGAIN)
			continue;

		if (n < 0 || who > 1)
			die("nobody says anything");
		at[who] = from;
		if (n == 1) {
			known |= 1u << who;
			__atomic_store_n(&shared->got, known, __ATOMIC_RELEASE);
			continue;
		}
		if (sendto(fd, token, (size_t)n, 0, (struct sockaddr *)&at[cfg.hosts == 2 ? !who : who],
			   len) < 0)
			die("send");
	}
}

/* The other host's: what comes goes back. */
static void echo(const struct host *h, uint16_t port)
{
	(void)port;
	for (;;) {
		await(h->call);
		pass_on(h->kick);
	}
}

/* Until the processes of `hosts` agents have found each other. */
static void gather(void)
{
	for (int i = 0; i < 3000; i++, usleep(1000))
		if (__atomic_load_n(&shared->got, __ATOMIC_ACQUIRE) == (1u << cfg.hosts) - 1)
			return;
	die("the appliance has not heard of all");
}

static uint32_t us[SAMPLES]; /* the last round trips, in units of 0.1 us */

/* How many tokens came back until `end`. */
static uint64_t tokens(const struct host *h, uint64_t end)
{
	uint64_t n = 0, at;

	while ((at = clock_now_ns()) < end) {
		pass_on(h->kick);
		await_answer(h);
		us[n++ % SAMPLES] = (uint32_t)((clock_now_ns() - at) / 100);
		if (cfg.gap_us)
			usleep(cfg.gap_us);
	}
	return n;
}

/* The agent tells after its next token. */
static uint64_t agent_cpu(const struct host *h)
{
	uint32_t asked = __atomic_add_fetch(&shared->asked, 1, __ATOMIC_RELEASE);

	while (__atomic_load_n(&shared->told, __ATOMIC_ACQUIRE) != asked)
		(void)tokens(h, clock_now_ns() + 1000);
	return shared->cpu_ns;
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

void relay_run(void)
{
	struct host h[2];
	uint64_t cpu, start_at, n, samples;
	double s;

	for (unsigned i = 0; i < 2; i++)
		h[i] = (struct host){eventfd(0, EFD_CLOEXEC), eventfd(0, EFD_CLOEXEC)};
	start(appliance, h, APPLIANCE_PORT);
	while (!__atomic_load_n(&shared->turn, __ATOMIC_ACQUIRE))
		usleep(1000);
	start(agent, &h[0], AGENT_PORT);
	if (cfg.hosts == 2) {
		start(agent, &h[1], AGENT_PORT + 1);
		start(echo, &h[1], 0);
	}
	gather();
	(void)tokens(h, clock_now_ns() + (uint64_t)(cfg.warm * 1e9));
	cpu = agent_cpu(h);
	start_at = clock_now_ns();
	n = tokens(h, start_at + (uint64_t)(cfg.seconds * 1e9));
	s = (double)(clock_now_ns() - start_at) / 1e9;
	samples = n < SAMPLES ? n : SAMPLES;
	qsort(us, samples, sizeof(us[0]), by_value);
	printf("{\"iops\": %.0f, \"p50_us\": %.1f, \"p99_us\": %.1f, ", (double)n / s, us[samples / 2] / 10.0,
	       us[samples * 99 / 100] / 10.0);
	printf("\"host_us\": %.3f}\n", (double)(agent_cpu(h) - cpu) / 1e3 / (double)n);
	for (unsigned i = 0; i < nchild; i++)
		kill(child[i], SIGKILL);
	while (wait(NULL) > 0)
		;
}

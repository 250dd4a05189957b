/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_udp: what the kernel's UDP can do at best, as the limit of every tunnel over it: bytes from one
 * process's memory to another's, in trains of UDP_SEGMENT and UDP_GRO, without headers, loss or order.
 *
 *	bench_udp NETNS-TX NETNS-RX ADDRESS [chunk=1376] [train=47] [memory=16777216] [rate=BIT/S]
 *[seconds=1.5] [warm=0.4]
 *
 * Two processes, each in its namespace, each going round its own `memory`. The receiver tells through a
 *shared page what it has got; the sender keeps 4 MiB under way at most and sleeps when it may not go on. With
 *a rate, one train is due at a time. Prints a line of JSON: CPU time is that of both processes
 *(/proc/self/schedstat), the kernel's work in their name inside.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/udp.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fabric/base/clock.h"

#define PORT	 7778
#define WINDOW	 (4u << 20)
#define DATAGRAM 65507u
#define RCVBUF	 (16 << 20)

static struct {
	const char *tx_ns, *rx_ns;
	struct sockaddr_in to;
	unsigned chunk, train;
	size_t memory;
	double rate, seconds, warm;
} cfg = {.chunk = 1376, .train = 47, .memory = 16 << 20, .seconds = 1.5, .warm = 0.4};

/* Between the two; each field has one writer. */
static struct {
	uint64_t got; /* receiver: bytes */
	uint64_t sent;
	uint32_t turn;	  /* receiver: counts wake-ups it gave */
	uint32_t waiting; /* sender */
	uint32_t ready, done;
	uint64_t tx_cpu_ns, tx_sleeps;
	uint64_t tx_mark; /* the receiver asks: the sender's CPU time at start and end of the window */
} * shared;

static void die(const char *what)
{
	fprintf(stderr, "bench_udp: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t cpu_ns(void)
{
	char text[64] = "";
	int fd = open("/proc/self/schedstat", O_RDONLY | O_CLOEXEC);

	if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
		die("/proc/self/schedstat");
	close(fd);
	return strtoull(text, NULL, 10);
}

static uint64_t sleeps(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (uint64_t)u.ru_nvcsw;
}

static void enter(const char *name)
{
	char path[256];
	int fd;

	(void)snprintf(path, sizeof(path), "/run/netns/%s", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || setns(fd, CLONE_NEWNET))
		die(path);
	close(fd);
}

static uint8_t *memory(void)
{
	uint8_t *p = mmap(NULL, cfg.memory + DATAGRAM, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
			  0);

	if (p == MAP_FAILED)
		die("memory");
	memset(p, 0x5a, cfg.memory + DATAGRAM);
	return p;
}

static void wait_room(void)
{
	uint32_t turn = __atomic_load_n(&shared->turn, __ATOMIC_ACQUIRE);
	struct timespec patience = {0, 20000000};

	__atomic_store_n(&shared->waiting, 1, __ATOMIC_SEQ_CST);
	if (shared->sent - __atomic_load_n(&shared->got, __ATOMIC_SEQ_CST) > WINDOW / 2 &&
	    syscall(SYS_futex, &shared->turn, FUTEX_WAIT, turn, &patience, NULL, 0) && errno == ETIMEDOUT)
		shared->sent = __atomic_load_n(&shared->got, __ATOMIC_ACQUIRE); /* lost */
	__atomic_store_n(&shared->waiting, 0, __ATOMIC_RELAXED);
}

static void publish_cpu(void)
{
	shared->tx_cpu_ns = cpu_ns();
	__atomic_store_n(&shared->tx_sleeps, sleeps(), __ATOMIC_RELEASE);
}

static void sender(void)
{
	uint8_t *mem = memory();
	size_t at = 0, len = (size_t)cfg.chunk * cfg.train;
	int fd, segment = (int)cfg.chunk;
	uint64_t mark = 0, due = clock_now_ns(),
		 step = cfg.rate > 0 ? (uint64_t)((double)len * 8e9 / cfg.rate) : 0;

	prctl(PR_SET_TIMERSLACK, 1);
	enter(cfg.tx_ns);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &segment, sizeof(segment)) ||
	    connect(fd, (struct sockaddr *)&cfg.to, sizeof(cfg.to)))
		die("sender's socket");
	while (!__atomic_load_n(&shared->done, __ATOMIC_ACQUIRE)) {
		if (mark != __atomic_load_n(&shared->tx_mark, __ATOMIC_ACQUIRE)) {
			publish_cpu();
			mark++;
			__atomic_store_n(&shared->ready, (uint32_t)mark + 1, __ATOMIC_RELEASE);
		}
		if (step) {
			struct timespec until = {(time_t)(due / NSEC_PER_SEC), (long)(due % NSEC_PER_SEC)};

			clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
			due += step;
		} else if (shared->sent - __atomic_load_n(&shared->got, __ATOMIC_ACQUIRE) > WINDOW) {
			wait_room();
			continue;
		}
		if (send(fd, mem + at, len, 0) < 0)
			die("send");
		shared->sent += len;
		at = (at + len) % cfg.memory;
	}
	exit(0);
}

/* The sender's CPU time as of now, to a turn of its loop. */
static void ask_sender(uint64_t *cpu, uint64_t *slept)
{
	uint32_t want = (uint32_t)++shared->tx_mark + 1;

	for (int i = 0; i < 2000 && __atomic_load_n(&shared->ready, __ATOMIC_ACQUIRE) != want; i++)
		usleep(50);
	*cpu = shared->tx_cpu_ns;
	*slept = shared->tx_sleeps;
}

static int rx_socket(void)
{
	struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons(PORT)};
	struct timeval patience = {2, 0};
	int fd, one = 1, room = RCVBUF;

	enter(cfg.rx_ns);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, IPPROTO_UDP, UDP_GRO, &one, sizeof(one)) ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room)) ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) ||
	    bind(fd, (struct sockaddr *)&own, sizeof(own)))
		die("receiver's socket");
	return fd;
}

static uint64_t calls; /* that receive() needed */

/* Receives until `end`; bytes. */
static uint64_t receive(int fd, uint8_t *mem, uint64_t end)
{
	static size_t at;
	uint64_t bytes = 0;

	calls = 0;
	while (clock_now_ns() < end) {
		ssize_t n = recv(fd, mem + at, DATAGRAM, 0);

		if (n < 0)
			die("nothing comes");
		at = (at + (size_t)n) % cfg.memory;
		bytes += (uint64_t)n;
		calls++;
		__atomic_store_n(&shared->got, shared->got + (uint64_t)n, __ATOMIC_SEQ_CST);
		if (__atomic_load_n(&shared->waiting, __ATOMIC_SEQ_CST) &&
		    shared->sent - shared->got <= WINDOW / 2) {
			__atomic_add_fetch(&shared->turn, 1, __ATOMIC_RELEASE);
			syscall(SYS_futex, &shared->turn, FUTEX_WAKE, 1, NULL, NULL, 0);
		}
	}
	return bytes;
}

static void receiver(void)
{
	uint8_t *mem = memory();
	uint64_t own, slept, tx_cpu, tx_slept, cpu_end, slept_end, start, bytes;
	double s;
	int fd = rx_socket();

	if (!fork())
		sender();
	(void)receive(fd, mem, clock_now_ns() + (uint64_t)(cfg.warm * 1e9));
	ask_sender(&tx_cpu, &tx_slept);
	own = cpu_ns();
	slept = sleeps();
	start = clock_now_ns();
	bytes = receive(fd, mem, start + (uint64_t)(cfg.seconds * 1e9));
	s = (double)(clock_now_ns() - start) / 1e9;
	own = cpu_ns() - own;
	slept = sleeps() - slept;
	ask_sender(&cpu_end, &slept_end);
	__atomic_store_n(&shared->done, 1, __ATOMIC_RELEASE);
	wait(NULL);
	printf("{\"gbps\": %.3f, \"bytes\": %lu, \"cpu_s\": %.6f, \"per_gb\": %.4f, \"wakeups_per_m\": "
	       "%.0f, \"train\": %.1f}\n",
	       (double)bytes * 8e-9 / s, bytes, (double)(own + cpu_end - tx_cpu) / 1e9,
	       (double)(own + cpu_end - tx_cpu) / (double)bytes,
	       (double)(slept + slept_end - tx_slept) / ((double)bytes / 1500) * 1e6,
	       (double)bytes / (double)calls / cfg.chunk);
}

int main(int argc, char **argv)
{
	if (argc < 4 || inet_pton(AF_INET, argv[3], &cfg.to.sin_addr) != 1) {
		fprintf(stderr, "usage: bench_udp NETNS-TX NETNS-RX ADDRESS [chunk=N] [train=N] [memory=N] "
				"[rate=N]\n");
		return 2;
	}
	cfg.tx_ns = argv[1];
	cfg.rx_ns = argv[2];
	cfg.to.sin_family = AF_INET;
	cfg.to.sin_port = htons(PORT);
	for (int i = 4; i < argc; i++) {
		(void)sscanf(argv[i], "chunk=%u", &cfg.chunk);
		(void)sscanf(argv[i], "train=%u", &cfg.train);
		(void)sscanf(argv[i], "memory=%zu", &cfg.memory);
		(void)sscanf(argv[i], "rate=%lf", &cfg.rate);
		(void)sscanf(argv[i], "seconds=%lf", &cfg.seconds);
		(void)sscanf(argv[i], "warm=%lf", &cfg.warm);
	}
	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		die("memory");
	shared->ready = 1;
	receiver();
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/floor/floor.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/udp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "fabric/base/clock.h"

#define RCVBUF (16 << 20)

struct floor_cfg cfg = {.pass = "copy",
			.chunk = 1376,
			.train = 47,
			.depth = 32,
			.size = 4096,
			.hosts = 1,
			.doors = 256,
			.signals = 1,
			.ring = 256,
			.memory = 16 << 20,
			.burst_ns = 100000,
			.seconds = 1,
			.warm = 0.3};
struct floor_shared *shared;

void die(const char *what)
{
	fprintf(stderr, "bench_floor: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void read_text(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);

	if (n <= 0)
		die(path);
	text[n] = '\0';
	close(fd);
}

uint64_t floor_cpu_of(pid_t pid)
{
	char path[64], text[64];

	(void)snprintf(path, sizeof(path), "/proc/%d/schedstat", pid);
	read_text(path, text, sizeof(text));
	return strtoull(text, NULL, 10);
}

uint64_t floor_sleeps_of(pid_t pid)
{
	static const char word[] = "\nvoluntary_ctxt_switches:";
	char path[64], text[4096];
	const char *at;

	(void)snprintf(path, sizeof(path), "/proc/%d/status", pid);
	read_text(path, text, sizeof(text));
	at = strstr(text, word);
	return at ? strtoull(at + strlen(word), NULL, 10) : 0;
}

uint64_t floor_cpu_ns(void)
{
	return floor_cpu_of(getpid());
}

uint64_t floor_sleeps(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (uint64_t)u.ru_nvcsw;
}

uint8_t *floor_memory(size_t len)
{
	uint8_t *p = mmap(NULL, len + FLOOR_GUARD, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		die("memory");
	memset(p, 0x5a, len + FLOOR_GUARD);
	return p;
}

void floor_enter(const char *netns)
{
	char path[256];
	int fd;

	(void)snprintf(path, sizeof(path), "/run/netns/%s", netns);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || setns(fd, CLONE_NEWNET))
		die(path);
	close(fd);
}

int floor_socket(uint16_t port, const struct sockaddr_in *peer)
{
	struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct timeval patience = {3, 0};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), one = 1, room = RCVBUF,
	    segment = (int)cfg.chunk;

	if (fd < 0 || setsockopt(fd, IPPROTO_UDP, UDP_GRO, &one, sizeof(one)) ||
	    setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &segment, sizeof(segment)) ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room)) ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room)) ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) ||
	    bind(fd, (struct sockaddr *)&own, sizeof(own)) ||
	    (peer && connect(fd, (const struct sockaddr *)peer, sizeof(*peer))))
		die("socket");
	return fd;
}

void floor_tell(void)
{
	uint32_t asked = __atomic_load_n(&shared->asked, __ATOMIC_ACQUIRE);

	if (asked == shared->told)
		return;
	shared->cpu_ns = floor_cpu_ns();
	shared->sleeps = floor_sleeps();
	__atomic_store_n(&shared->told, asked, __ATOMIC_RELEASE);
}

void floor_ask(uint64_t *cpu, uint64_t *slept)
{
	uint32_t asked = shared->asked + 1;

	__atomic_store_n(&shared->asked, asked, __ATOMIC_RELEASE);
	for (int i = 0; i < 4000 && __atomic_load_n(&shared->told, __ATOMIC_ACQUIRE) != asked; i++)
		usleep(50);
	*cpu = shared->cpu_ns;
	*slept = shared->sleeps;
}

static void option(const char *word)
{
	unsigned long n;
	unsigned u;

	(void)sscanf(word, "chunk=%u", &cfg.chunk);
	(void)sscanf(word, "train=%u", &cfg.train);
	(void)sscanf(word, "frame=%u", &cfg.frame);
	(void)sscanf(word, "depth=%u", &cfg.depth);
	(void)sscanf(word, "size=%u", &cfg.size);
	(void)sscanf(word, "hosts=%u", &cfg.hosts);
	(void)sscanf(word, "gap_us=%u", &cfg.gap_us);
	(void)sscanf(word, "spin_us=%u", &cfg.spin_us);
	(void)sscanf(word, "doors=%u", &cfg.doors);
	(void)sscanf(word, "signals=%u", &cfg.signals);
	(void)sscanf(word, "ring=%u", &cfg.ring);
	(void)sscanf(word, "memory=%zu", &cfg.memory);
	(void)sscanf(word, "seconds=%lf", &cfg.seconds);
	(void)sscanf(word, "warm=%lf", &cfg.warm);
	if (sscanf(word, "pps=%lu", &n) == 1)
		cfg.pps = n;
	if (sscanf(word, "burst_us=%lu", &n) == 1)
		cfg.burst_ns = n * 1000;
	if (sscanf(word, "write=%u", &u) == 1)
		cfg.write = u;
	if (sscanf(word, "busy=%u", &u) == 1)
		cfg.busy = u;
	if (sscanf(word, "poll=%u", &u) == 1)
		cfg.poll = u;
	if (!strncmp(word, "pass=", 5))
		cfg.pass = word + 5;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} modes[] = {{"stream", stream_run}, {"bursts", bursts_run}, {"store", store_run},
		     {"relay", relay_run},   {"idle", idle_run},     {"doors", doors_run}};
	void (*run)(void) = NULL;

	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
		if (argc > 1 && !strcmp(argv[1], modes[i].name))
			run = modes[i].run;
	if (argc < 5 || !run || inet_pton(AF_INET, argv[4], &cfg.to.sin_addr) != 1) {
		fprintf(stderr,
			"usage: bench_floor stream|bursts|store|relay|idle|doors NETNS-TX NETNS-RX ADDRESS "
			"[OPTION=VALUE]...\n");
		return 2;
	}
	cfg.tx_ns = argv[2];
	cfg.rx_ns = argv[3];
	cfg.to.sin_family = AF_INET;
	for (int i = 5; i < argc; i++)
		option(argv[i]);
	if (cfg.train * cfg.chunk > FLOOR_DATAGRAM || cfg.chunk < 256 || cfg.frame > 1024 || cfg.depth < 1 ||
	    cfg.depth > 256 || cfg.size < 8 || cfg.size > 1 << 20 || cfg.hosts < 1 || cfg.hosts > 2 ||
	    (run == relay_run && cfg.size > 4096) || cfg.doors < 1 || cfg.doors > 1024 || cfg.signals < 1 ||
	    cfg.signals > 2 || cfg.ring < 2 || cfg.ring > 1024 || (cfg.frame && cfg.frame < 64)) {
		fprintf(stderr, "bench_floor: these sizes do not go together\n");
		return 2;
	}
	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		die("memory");
	prctl(PR_SET_TIMERSLACK, 1);
	pass_init();
	run();
	return 0;
}

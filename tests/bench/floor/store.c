/* SPDX-License-Identifier: Apache-2.0 */
/* Requests and answers as two streams of bytes over trains: a head of 32 bytes, and its data on the way that
 * has them. */
#include <errno.h>
#include <linux/udp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fabric/base/clock.h"
#include "fabric/base/rng.h"
#include "tests/bench/floor/floor.h"

#define CLIENT_PORT 7780
#define SERVER_PORT 7781
#define FILE_BYTES  (256u << 20)
#define SAMPLES	    65536u

struct head {
	uint32_t id, bytes; /* of data behind it */
	uint64_t at;
	uint64_t pad[2];
};

/* What goes out: collected, and sent as a train when there is one. */
static struct {
	int fd;
	size_t len;
	uint8_t bytes[FLOOR_DATAGRAM];
} out;

static void out_flush(void)
{
	if (out.len && send(out.fd, out.bytes, out.len, 0) < 0)
		die("send");
	out.len = 0;
}

static void out_put(const void *from, size_t n)
{
	const uint8_t *p = from;

	while (n) {
		size_t room = (size_t)cfg.chunk * cfg.train - out.len, part = n < room ? n : room;

		memcpy(out.bytes + out.len, p, part);
		out.len += part;
		p += part;
		n -= part;
		if (out.len == (size_t)cfg.chunk * cfg.train)
			out_flush();
	}
}

/* What comes in: a head, then its data straight to its place. */
static struct {
	struct head head;
	uint32_t got;  /* of the head */
	uint32_t left; /* of the data */
	uint8_t *to;
	uint8_t *(*place)(const struct head *h);
	void (*done)(const struct head *h);
} in;

static void in_bytes(const uint8_t *p, size_t n)
{
	while (n) {
		size_t want = in.left ? in.left : sizeof(in.head) - in.got, part = n < want ? n : want;

		memcpy(in.left ? in.to : (uint8_t *)&in.head + in.got, p, part);
		p += part;
		n -= part;
		if (in.left) {
			in.to += part;
			in.left -= (uint32_t)part;
		} else {
			in.got += (uint32_t)part;
			if (in.got < sizeof(in.head))
				return;
			in.left = in.head.bytes;
			if (in.left > 1 << 20)
				die("a head is not what was sent: lost datagrams");
			in.to = in.place(&in.head);
		}
		if (!in.left) {
			in.done(&in.head);
			in.got = 0;
		}
	}
}

/* All that is there, asleep for the first; false: nobody sends any more. */
static bool in_all(int fd)
{
	static uint8_t buf[FLOOR_DATAGRAM];
	ssize_t n = recv(fd, buf, sizeof(buf), 0);

	if (n < 0)
		return false;
	do {
		in_bytes(buf, (size_t)n);
		n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
	} while (n > 0);
	return true;
}

/* ---- server ---- */

static uint8_t *file;

static uint8_t *server_place(const struct head *h)
{
	return file + h->at % (FILE_BYTES - (1 << 20));
}

static void server_done(const struct head *h)
{
	struct head answer = {h->id, h->bytes ? 0 : cfg.size, h->at, {0, 0}};

	out_put(&answer, sizeof(answer));
	if (answer.bytes)
		out_put(server_place(&answer), answer.bytes);
}

static void server(void)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(CLIENT_PORT)};
	struct sockaddr_in from;
	socklen_t len = sizeof(from);
	char first;
	int fd;

	file = floor_memory(FILE_BYTES);
	floor_enter(cfg.rx_ns);
	fd = floor_socket(SERVER_PORT, NULL);
	__atomic_store_n(&shared->turn, 1, __ATOMIC_RELEASE);
	if (recvfrom(fd, &first, 1, 0, (struct sockaddr *)&from, &len) != 1)
		die("the client says nothing");
	to.sin_addr = from.sin_addr;
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)))
		die("connect");
	out.fd = fd;
	in.place = server_place;
	in.done = server_done;
	while (in_all(fd)) {
		out_flush();
		floor_tell();
	}
	exit(0);
}

/* ---- client ---- */

static struct {
	uint8_t *mem;
	uint32_t free[256];
	uint32_t nfree;
	uint64_t sent_at[256], done;
	uint32_t us[SAMPLES]; /* the last latencies, in units of 0.1 us */
	struct rng rng;
} client;

static uint8_t *client_place(const struct head *h)
{
	return client.mem + (size_t)(h->id % cfg.depth) * cfg.size;
}

static void client_done(const struct head *h)
{
	client.us[client.done++ % SAMPLES] = (uint32_t)((clock_now_ns() - client.sent_at[h->id % 256]) / 100);
	client.free[client.nfree++] = h->id;
}

static void client_fill(void)
{
	while (client.nfree) {
		struct head h = {client.free[--client.nfree],
				 cfg.write ? cfg.size : 0,
				 rng_u64(&client.rng) / cfg.size * cfg.size % (FILE_BYTES / 2),
				 {0, 0}};

		client.sent_at[h.id % 256] = clock_now_ns();
		out_put(&h, sizeof(h));
		if (h.bytes)
			out_put(client_place(&h), h.bytes);
	}
	out_flush();
}

/* Requests until `end`; how many were done. */
static uint64_t client_run(int fd, uint64_t end)
{
	uint64_t before = client.done;

	while (clock_now_ns() < end) {
		client_fill();
		if (!in_all(fd))
			die("the server says nothing");
	}
	return client.done - before;
}

struct told {
	uint64_t cpu_ns, done;
};

/* The server tells after the next of its turns: requests go on meanwhile. */
static void ask_server(int fd, struct told *t)
{
	uint32_t asked = __atomic_add_fetch(&shared->asked, 1, __ATOMIC_RELEASE);

	while (__atomic_load_n(&shared->told, __ATOMIC_ACQUIRE) != asked)
		(void)client_run(fd, clock_now_ns() + 100000);
	t->cpu_ns = shared->cpu_ns;
	t->done = client.done;
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

void store_run(void)
{
	uint64_t own, slept, start, n, samples;
	struct told from, to;
	double s;
	pid_t pid = fork();
	int fd;

	if (!pid)
		server();
	client.mem = floor_memory((size_t)cfg.depth * cfg.size);
	floor_enter(cfg.tx_ns);
	cfg.to.sin_port = htons(SERVER_PORT);
	fd = out.fd = floor_socket(CLIENT_PORT, &cfg.to);
	rng_init(&client.rng, 1);
	in.place = client_place;
	in.done = client_done;
	for (; client.nfree < cfg.depth; client.nfree++)
		client.free[client.nfree] = client.nfree;
	while (!__atomic_load_n(&shared->turn, __ATOMIC_ACQUIRE))
		usleep(1000);
	if (send(fd, "", 1, 0) != 1)
		die("send");
	usleep(10000);
	(void)client_run(fd, clock_now_ns() + (uint64_t)(cfg.warm * 1e9));
	ask_server(fd, &from);
	own = floor_cpu_ns();
	slept = floor_sleeps();
	start = clock_now_ns();
	n = client_run(fd, start + (uint64_t)(cfg.seconds * 1e9));
	s = (double)(clock_now_ns() - start) / 1e9;
	own = floor_cpu_ns() - own;
	slept = floor_sleeps() - slept;
	ask_server(fd, &to);
	kill(pid, SIGKILL);
	wait(NULL);
	samples = n < SAMPLES ? n : SAMPLES;
	qsort(client.us, samples, sizeof(client.us[0]), by_value);
	printf("{\"iops\": %.0f, \"gbps\": %.3f, \"host_us\": %.3f, \"gateway_us\": %.3f, \"wakeups\": %.4f, "
	       "\"p50_us\": %.1f, \"p99_us\": %.1f}\n",
	       (double)n / s, (double)n * cfg.size / s / 1e9, (double)own / 1e3 / (double)n,
	       (double)(to.cpu_ns - from.cpu_ns) / 1e3 / (double)(to.done - from.done),
	       (double)slept / (double)n, client.us[samples / 2] / 10.0,
	       client.us[samples * 99 / 100] / 10.0);
}

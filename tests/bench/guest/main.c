/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fabric/base/clock.h"
#include "tests/bench/guest/guest.h"
#include "tests/lib/vhost_sock.h"

/* What Linux' virtio_net takes: CSUM, GUEST_CSUM, GUEST_TSO4/6, HOST_TSO4/6, MRG_RXBUF; rings as offered. */
#define NET_FEATURES (1ull << 0 | 1ull << 1 | 1ull << 7 | 1ull << 8 | 1ull << 11 | 1ull << 12 | 1ull << 15)
#define RINGS                                                                                                \
	(VIRTIO_F_VERSION_1 | VIRTIO_RING_F_INDIRECT | VIRTIO_RING_F_EVENT_IDX | VHOST_F_PROTOCOL_FEATURES)
#define RX 0
#define TX 1

static struct guest guest;

void hist_add(struct hist *h, uint64_t ns, uint32_t times)
{
	unsigned log = ns < HIST_STEPS ? 0 : 63u - (unsigned)__builtin_clzll(ns / HIST_STEPS);
	unsigned at = ns < HIST_STEPS ? (unsigned)ns
				      : (log + 1) * HIST_STEPS + (unsigned)(ns >> log) % HIST_STEPS;

	h->count[at < HIST_SIZE ? at : HIST_SIZE - 1] += times;
	h->n += times;
}

double hist_us(const struct hist *h, double quantile)
{
	uint64_t want = (uint64_t)ceil(quantile * (double)h->n), sum = 0;

	if (!h->n)
		return 0;
	for (unsigned i = 0; i < HIST_SIZE; i++) {
		unsigned log = i < 2 * HIST_STEPS ? 0 : i / HIST_STEPS - 1;
		uint64_t low = i < 2 * HIST_STEPS ? i : (uint64_t)(HIST_STEPS + i % HIST_STEPS) << log;

		sum += h->count[i];
		if (sum >= want)
			return ((double)low + (double)(1ull << log) / 2) / 1e3;
	}
	return 0;
}

static void say_stats(struct guest *g)
{
	printf("{\"tx_frames\": %lu, \"tx_bytes\": %lu, \"rx_frames\": %lu, \"rx_bytes\": %lu, \"rx_lost\": "
	       "%lu, "
	       "\"rx_other\": %lu, \"wakes\": %lu, \"kicks\": %lu, \"rx_calls\": %lu, \"tx_calls\": %lu, "
	       "\"one_way_n\": %lu, "
	       "\"one_way_p50\": %.1f, \"one_way_p99\": %.1f, \"rtt_n\": %lu, \"rtt_p50\": %.1f, "
	       "\"rtt_p99\": %.1f}\n",
	       g->tx_frames, g->tx_bytes, g->rx_frames, g->rx_bytes, g->rx_lost, g->rx_other, g->wakes,
	       g->rx.kicks + g->tx.kicks, g->rx.calls, g->tx.calls, g->one_way.n, hist_us(&g->one_way, 0.5),
	       hist_us(&g->one_way, 0.99), g->round_trip.n, hist_us(&g->round_trip, 0.5),
	       hist_us(&g->round_trip, 0.99));
	memset(&g->one_way, 0, sizeof(g->one_way));
	memset(&g->round_trip, 0, sizeof(g->round_trip));
}

static void obey(struct guest *g, const char *line)
{
	unsigned long len = 0, pps = 0, us = 0;
	uint64_t now = clock_now_ns();

	if (sscanf(line, "send %lu %lu %lu", &len, &pps, &us) >= 1 && len >= 64 && len <= GUEST_FRAME_MAX) {
		traffic_send(g, (uint32_t)len, pps, (us ? us : 100) * 1000, now);
	} else if (sscanf(line, "ping %lu", &us) == 1) {
		traffic_ping(g, us * 1000, now);
	} else if (!strcmp(line, "hello\n")) {
		traffic_hello(g, now);
	} else if (!strcmp(line, "stop\n")) {
		g->sending = g->pinging = false;
	} else if (!strcmp(line, "stats\n")) {
		say_stats(g);
		return;
	} else {
		printf("{\"error\": \"not understood\"}\n");
		return;
	}
	printf("{}\n");
}

static void serve(struct guest *g)
{
	struct pollfd fds[3] = {
		{0, POLLIN, 0}, {g->front.q[RX].call, POLLIN, 0}, {g->front.q[TX].call, POLLIN, 0}};
	char line[128];

	for (unsigned turn = 1;; turn++) {
		uint64_t now = clock_now_ns(), due;
		struct timespec wait = {0, 0}, *until = &wait;

		if (!traffic_turn(g, now) && traffic_sleep(g)) {
			due = traffic_due(g);
			if (due == UINT64_MAX)
				until = NULL;
			else if (due > now)
				wait = (struct timespec){(time_t)((due - now) / 1000000000),
							 (long)((due - now) % 1000000000)};
			g->wakes++;
		} else if (turn % 64) {
			continue; /* awake: commands are looked for every 64th turn, the call would cost more
				     than the turn */
		}
		if (ppoll(fds, 3, until, NULL) <= 0)
			continue;
		gring_called(&g->rx);
		gring_called(&g->tx);
		if (fds[0].revents) {
			if (!fgets(line, sizeof(line), stdin))
				return;
			obey(g, line);
			fflush(stdout);
		}
	}
}

static void no_pump(void *arg)
{
	(void)arg;
	usleep(100);
}

static void connect_device(struct guest *g, const char *path, bool packed, unsigned rx, unsigned tx)
{
	static struct vhost_sock sock = {.fd = -1, .pump = no_pump};
	struct vfront_wire wire = vhost_sock_wire(&sock);
	int lfd = vhost_sock_listen(path);
	struct pollfd p = {lfd, POLLIN, 0};

	printf("listening\n");
	fflush(stdout);
	if (poll(&p, 1, 30000) <= 0 || (sock.fd = accept4(lfd, NULL, NULL, SOCK_CLOEXEC)) < 0) {
		fprintf(stderr, "bench_guest: nobody connects to %s\n", path);
		exit(1);
	}
	vfront_init_sized(&g->front, &wire, GUEST_MEMORY);
	vfront_negotiate(&g->front, NET_FEATURES | RINGS | (packed ? VIRTIO_F_RING_PACKED : 0), VHOST_PF_MQ);
	if (packed != vfront_packed(&g->front)) {
		fprintf(stderr, "bench_guest: no packed rings\n");
		exit(1);
	}
	vfront_mem_table(&g->front);
	vfront_queue_up(&g->front, RX, (uint16_t)rx, true);
	vfront_queue_up(&g->front, TX, (uint16_t)tx, true);
	gring_init(&g->rx, &g->front, RX);
	gring_init(&g->tx, &g->front, TX);
}

static bool read_mac(const char *text, uint8_t mac[6])
{
	return sscanf(text, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &mac[0], &mac[1], &mac[2], &mac[3], &mac[4],
		      &mac[5]) == 6;
}

int main(int argc, char **argv)
{
	struct guest *g = &guest;
	unsigned rx = 256, tx = 256;
	bool packed = false;

	if (argc < 6 || !read_mac(argv[2], g->mac) || inet_pton(AF_INET, argv[3], g->ip) != 1 ||
	    !read_mac(argv[4], g->peer_mac) || inet_pton(AF_INET, argv[5], g->peer_ip) != 1) {
		fprintf(stderr, "usage: bench_guest SOCKET MAC IP PEER-MAC PEER-IP [packed] [rx=N] [tx=N] "
				"[buf=N] [mss=N]\n");
		return 2;
	}
	g->buf_len = 4096;
	g->mss = 1448;
	for (int i = 6; i < argc; i++) {
		packed |= !strcmp(argv[i], "packed");
		(void)sscanf(argv[i], "rx=%u", &rx);
		(void)sscanf(argv[i], "tx=%u", &tx);
		(void)sscanf(argv[i], "buf=%u", &g->buf_len);
		(void)sscanf(argv[i], "mss=%u", &g->mss);
	}
	prctl(PR_SET_TIMERSLACK, 1);
	setvbuf(stdin, NULL, _IONBF, 0);
	connect_device(g, argv[1], packed, rx, tx);
	traffic_init(g);
	printf("ready\n");
	fflush(stdout);
	serve(g);
	return 0;
}

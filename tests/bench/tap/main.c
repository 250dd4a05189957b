/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_tap: a VM's NIC on a TAP, as QEMU and vhost-net do it, for peers that are Linux bridges:
 *
 *	bench_tap DIR NAME TAP
 *
 * Connects to the guest's vhost-user socket DIR/NAME.sock and makes the interface TAP. A frame costs one
 * writev() from the guest's memory or one readv() into it; a wake-up drains the ring, or the TAP, in turns
 * of 64; the guest is notified once per burst. Segmentation and checksums are left to the TAP's other side.
 */
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "hostagent/frontend/frontend.h"

#define RX	   0
#define TX	   1
#define QUEUE_SIZE 1024
#define BURST	   64
#define FRAME_MAX  (65536u + 12u)
#define HELD	   64 /* receive buffers taken for one frame at most */

/* CSUM, GUEST_CSUM, GUEST_TSO4/6, HOST_TSO4/6, MRG_RXBUF; INDIRECT, EVENT_IDX, VERSION_1, packed. */
#define FEATURES                                                                                             \
	(1ull << 0 | 1ull << 1 | 1ull << 7 | 1ull << 8 | 1ull << 11 | 1ull << 12 | 1ull << 15 | 1ull << 28 | \
	 1ull << 29 | 1ull << 32 | 1ull << 34)

static struct event_base *base;
static struct fe *fe;
static struct fe_queue queues[2];
static bool started[2];
static int tap;
static struct event *readable, *writable;
/* Receive buffers that were taken and not yet filled. */
static struct vqt_chain held[HELD];
static unsigned nheld;
static uint32_t room;

static void serve_tx(void)
{
	static struct vqt_chain c;
	struct fe_queue *q = &queues[TX];
	unsigned n = 0;

	for (; n < BURST && started[TX] && q->ops->pop(q->ring, &c) > 0; n++) {
		if (writev(tap, c.iov, c.nout) < 0 && errno == EAGAIN) {
			q->ops->unpop(q->ring, 1);
			event_add(writable, NULL);
			break;
		}
		q->ops->push(q->ring, &c, 0);
	}
	if (started[TX])
		q->ops->flush(q->ring);
	if (n == BURST)
		event_active(writable, EV_WRITE, 0);
}

static void give_back(void)
{
	if (nheld && started[RX])
		queues[RX].ops->unpop(queues[RX].ring, nheld);
	nheld = 0;
	room = 0;
}

static bool take_room(void)
{
	struct fe_queue *q = &queues[RX];

	while (started[RX] && room < FRAME_MAX && nheld < HELD && q->ops->pop(q->ring, &held[nheld]) > 0)
		room += held[nheld++].in_len;
	return room >= FRAME_MAX;
}

/* One frame is read over the buffers held; those that it fills go to the guest. */
static bool receive(void)
{
	struct iovec iov[HELD];
	unsigned niov = 0, used = 0;
	ssize_t n;

	for (unsigned i = 0; i < nheld; i++)
		iov[niov++] = held[i].iov[held[i].nout];
	n = readv(tap, iov, (int)niov);
	if (n < 12)
		return false;
	for (ssize_t left = n; left > 0; left -= (ssize_t)held[used++].in_len)
		;
	((uint8_t *)iov[0].iov_base)[10] = (uint8_t)used;
	((uint8_t *)iov[0].iov_base)[11] = 0;
	for (unsigned i = 0; i < used; i++) {
		uint32_t part = n < held[i].in_len ? (uint32_t)n : held[i].in_len;

		queues[RX].ops->push(queues[RX].ring, &held[i], part);
		room -= held[i].in_len;
		n -= part;
	}
	nheld -= used;
	memmove(held, held + used, nheld * sizeof(held[0]));
	return true;
}

static void serve_rx(void)
{
	unsigned n = 0;

	while (n < BURST && take_room() && receive())
		n++;
	if (started[RX])
		queues[RX].ops->flush(queues[RX].ring);
	/* Without room the next kick goes on: pop() has asked for it. */
	if (started[RX] && !take_room())
		event_del(readable);
	else
		event_add(readable, NULL);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	serve_rx();
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	serve_tx();
}

static void up_attached(void *arg, const struct fe_queue *q, unsigned n)
{
	(void)arg;
	memcpy(queues, q, n * sizeof(*q));
}

static void up_features(void *arg, uint64_t acked)
{
	(void)arg;
	(void)acked;
}

static void serve(unsigned q)
{
	if (q == TX)
		serve_tx();
	else
		serve_rx();
}

static void up_start(void *arg, unsigned q)
{
	(void)arg;
	started[q] = true;
	serve(q);
}

static void up_stop(void *arg, unsigned q)
{
	(void)arg;
	if (q == RX)
		give_back();
	started[q] = false;
	fe_queue_drained(fe, q);
}

static void up_kick(void *arg, unsigned q)
{
	(void)arg;
	serve(q);
}

static void up_broken(void *arg, unsigned q, const char *reason)
{
	(void)arg;
	fprintf(stderr, "bench_tap: queue %u: %s\n", q, reason);
}

static void up_gone(void *arg)
{
	(void)arg;
	started[RX] = started[TX] = false;
	nheld = 0;
	room = 0;
}

static const struct fe_up up = {up_attached, up_features, up_start, up_stop,
				up_kick,     up_broken,	  up_gone,  NULL};

static int open_tap(const char *name)
{
	struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
	unsigned offload = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6;
	int hdr = 12;

	tap = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (tap < 0)
		return -1;
	(void)snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	if (ioctl(tap, TUNSETIFF, &ifr) || ioctl(tap, TUNSETVNETHDRSZ, &hdr) ||
	    ioctl(tap, TUNSETOFFLOAD, offload))
		return -1;
	return 0;
}

int main(int argc, char **argv)
{
	struct fe_config cfg = {.kind = FE_NET, .nqueues = 2, .queue_size = QUEUE_SIZE, .features = FEATURES};
	int err;

	if (argc != 4) {
		fprintf(stderr, "usage: bench_tap DIR NAME TAP\n");
		return 2;
	}
	(void)signal(SIGPIPE, SIG_IGN);
	cfg.dir = argv[1];
	cfg.name = argv[2];
	base = event_base_new();
	if (!base || open_tap(argv[3])) {
		perror("bench_tap");
		return 1;
	}
	readable = event_new(base, tap, EV_READ | EV_PERSIST, on_readable, NULL);
	writable = event_new(base, tap, EV_WRITE, on_writable, NULL);
	err = fe_create(&fe_vhost_user, &fe, base, &cfg, &up, NULL);
	if (err) {
		fprintf(stderr, "bench_tap: %s/%s.sock: %s\n", argv[1], argv[2], strerror(-err));
		return 1;
	}
	printf("ready\n");
	fflush(stdout);
	event_base_dispatch(base);
	return 0;
}

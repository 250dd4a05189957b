/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_hops: where the time of a ping between two guests (tests/bench/guest) goes on its way through two
 *hosts and an appliance. It listens beside the daemons, on their fabric interfaces, and knows the ping by the
 *guest's own frame inside the packet: of sessions with --integrity-only, whose packets can be read. The
 *daemons know nothing of it.
 *
 *	bench_hops SECONDS MAC-OF-SENDER NETNS/INTERFACE-OF-SENDER NETNS/INTERFACE-OF-APPLIANCE
 *NETNS/INTERFACE-OF-ECHO
 *
 * One line of JSON: medians in us of each part of the way there, from the time that the guest wrote into its
 *frame to the time that the other guest wrote into its answer, and how many pings were seen whole.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fabric/base/clock.h"

#define SEEN	 4096u /* pings remembered, by number */
#define STAMP_AT 42u   /* behind Ethernet, IPv4 and UDP: kind and number, time */
#define PING	 4u
#define ECHO	 5u

enum point { GUEST, HOST_OUT, APP_IN, APP_OUT, HOST_IN, ANSWER, POINTS };
static const char *const parts[POINTS - 1] = {"sender", "wire_in", "appliance", "wire_out", "receiver"};

static struct {
	uint64_t number;
	uint64_t at[POINTS];
} seen[SEEN];
static uint8_t sender[6];

static void die(const char *what)
{
	fprintf(stderr, "bench_hops: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* place: NETNS/INTERFACE */
static int listen_on(const char *place)
{
	char path[256];
	const char *slash = strchr(place, '/');
	struct sockaddr_ll any = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
	int ns, fd, one = 1, room = 4 << 20;

	if (!slash)
		die("NETNS/INTERFACE is wanted");
	(void)snprintf(path, sizeof(path), "/run/netns/%.*s", (int)(slash - place), place);
	ns = open(path, O_RDONLY | O_CLOEXEC);
	if (ns < 0 || setns(ns, CLONE_NEWNET))
		die(path);
	close(ns);
	any.sll_ifindex = (int)if_nametoindex(slash + 1);
	fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	if (!any.sll_ifindex || fd < 0 || setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &one, sizeof(one)) ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room)) ||
	    bind(fd, (struct sockaddr *)&any, sizeof(any)))
		die(place);
	return fd;
}

/* The guests' frame inside a packet: its kind, number and time; false: there is none. */
static bool find(const uint8_t *p, size_t len, bool from_sender, unsigned *kind, uint64_t *number,
		 uint64_t *ns)
{
	while (len > STAMP_AT + 16) {
		const uint8_t *mac = memmem(p, len, sender, sizeof(sender));
		const uint8_t *frame;
		uint64_t kind_seq;

		if (!mac)
			return false;
		len -= (size_t)(mac + 1 - p);
		p = mac + 1;
		/* Destination, source, type. */
		frame = from_sender ? mac - 6 : mac;
		if (len < STAMP_AT + 16 || frame[12] != 8 || frame[13])
			continue;
		memcpy(&kind_seq, frame + STAMP_AT, sizeof(kind_seq));
		memcpy(ns, frame + STAMP_AT + 8, sizeof(*ns));
		*kind = (unsigned)(kind_seq >> 56);
		*number = kind_seq & 0xffffffffffffffull;
		if (*kind == (from_sender ? PING : ECHO))
			return true;
	}
	return false;
}

static void note(enum point point, uint64_t number, uint64_t at, uint64_t sent)
{
	if (seen[number % SEEN].number != number) {
		memset(&seen[number % SEEN], 0, sizeof(seen[0]));
		seen[number % SEEN].number = number;
	}
	if (sent)
		seen[number % SEEN].at[GUEST] = sent;
	if (!seen[number % SEEN].at[point])
		seen[number % SEEN].at[point] = at;
}

/* realtime: how far that clock, which packets are stamped with, is ahead of the guests'. */
static void hear(int fd, unsigned where, uint64_t realtime)
{
	static uint8_t buf[65536 + 64];
	char control[256] __attribute__((aligned(__alignof__(struct cmsghdr))));
	struct sockaddr_ll from;
	struct iovec iov = {buf, sizeof(buf)};
	struct msghdr mh = {.msg_name = &from,
			    .msg_namelen = sizeof(from),
			    .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = control,
			    .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(fd, &mh, MSG_DONTWAIT);
	uint64_t number, sent, at = 0;
	struct timespec ts;
	unsigned kind;
	bool out;

	if (n <= 0)
		return;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&mh); c; c = CMSG_NXTHDR(&mh, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_TIMESTAMPNS)
			continue;
		memcpy(&ts, CMSG_DATA(c), sizeof(ts));
		at = (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec - realtime;
	}
	out = from.sll_pkttype == PACKET_OUTGOING;
	if (find(buf, (size_t)n, true, &kind, &number, &sent)) {
		if (where == 0 && out)
			note(HOST_OUT, number, at, sent);
		else if (where == 1)
			note(out ? APP_OUT : APP_IN, number, at, 0);
		else if (where == 2 && !out)
			note(HOST_IN, number, at, 0);
	} else if (where == 2 && out && find(buf, (size_t)n, false, &kind, &number, &sent)) {
		note(ANSWER, number, sent, 0);
	}
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void say(void)
{
	static double us[POINTS - 1][SEEN];
	unsigned n = 0;

	for (unsigned i = 0; i < SEEN; i++) {
		bool whole = true;

		for (unsigned k = 0; k + 1 < POINTS; k++)
			whole &= seen[i].at[k] && seen[i].at[k + 1] >= seen[i].at[k];
		for (unsigned k = 0; whole && k + 1 < POINTS; k++)
			us[k][n] = (double)(seen[i].at[k + 1] - seen[i].at[k]) / 1e3;
		n += whole;
	}
	printf("{\"pings\": %u", n);
	for (unsigned k = 0; n && k + 1 < POINTS; k++) {
		qsort(us[k], n, sizeof(us[k][0]), by_value);
		printf(", \"%s\": %.1f", parts[k], us[k][n / 2]);
	}
	printf("}\n");
}

int main(int argc, char **argv)
{
	struct pollfd fds[3];
	struct timespec real;
	uint64_t end, realtime;

	if (argc != 6 || sscanf(argv[2], "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &sender[0], &sender[1], &sender[2],
				&sender[3], &sender[4], &sender[5]) != 6) {
		fprintf(stderr,
			"usage: bench_hops SECONDS MAC NETNS/INTERFACE NETNS/INTERFACE NETNS/INTERFACE\n");
		return 2;
	}
	for (unsigned i = 0; i < 3; i++)
		fds[i] = (struct pollfd){listen_on(argv[3 + i]), POLLIN, 0};
	clock_gettime(CLOCK_REALTIME, &real);
	realtime = (uint64_t)real.tv_sec * NSEC_PER_SEC + (uint64_t)real.tv_nsec - clock_now_ns();
	end = clock_now_ns() + (uint64_t)(atof(argv[1]) * 1e9);
	/* Looks in now and then: what it hears waits in the sockets, and the daemons have the processors. */
	while (clock_now_ns() < end) {
		usleep(5000);
		while (poll(fds, 3, 0) > 0)
			for (unsigned i = 0; i < 3; i++)
				if (fds[i].revents)
					hear(fds[i].fd, i, realtime);
	}
	say();
	return 0;
}

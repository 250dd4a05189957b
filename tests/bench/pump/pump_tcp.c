/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <linux/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fabric/base/clock.h"
#include "tests/bench/pump/pump.h"

static uint8_t message[PUMP_MESSAGE];

__attribute__((noreturn)) static void die(const char *what)
{
	fprintf(stderr, "pump: %s: %s\n", what, strerror(errno));
	exit(1);
}

static struct sockaddr_in6 address(const struct link_addr *a)
{
	struct sockaddr_in6 s = {.sin6_family = AF_INET6, .sin6_port = htons(a->port)};

	memcpy(&s.sin6_addr, a->ip, sizeof(s.sin6_addr));
	return s;
}

static int open_socket(const struct pump *p)
{
	struct sockaddr_in6 a = address(&p->own);
	int on = 1, fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) ||
	    bind(fd, (struct sockaddr *)&a, sizeof(a)))
		die("bind");
	return fd;
}

static void report(int fd)
{
	struct tcp_info i;
	socklen_t len = sizeof(i);

	memset(&i, 0, sizeof(i));
	getsockopt(fd, IPPROTO_TCP, TCP_INFO, &i, &len);
	printf("{\"rtt_us\":%u,\"cwnd\":%u,\"sent_again\":%u,\"sent\":%u}\n", i.tcpi_rtt, i.tcpi_snd_cwnd,
	       i.tcpi_total_retrans, i.tcpi_segs_out);
}

static void send_all(struct pump *p)
{
	struct sockaddr_in6 a = address(&p->peer);
	int fd = open_socket(p);

	if (p->cc && setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, p->cc, (socklen_t)strlen(p->cc)))
		die(p->cc);
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)))
		die("connect");
	while (!pump_stopped && write(fd, message, sizeof(message)) > 0)
		;
	report(fd);
	close(fd);
}

static void receive_all(struct pump *p)
{
	int fd, listener = open_socket(p);
	struct pollfd wait;
	uint64_t now = 0;

	if (listen(listener, 1))
		die("listen");
	puts("ready");
	fflush(stdout);
	fd = accept(listener, NULL, NULL);
	if (fd < 0)
		die("accept");
	wait = (struct pollfd){fd, POLLIN, 0};
	while (!pump_done(p, now)) {
		ssize_t n = recv(fd, message, sizeof(message), MSG_DONTWAIT);

		now = clock_now_ns();
		if (n > 0)
			pump_count(p, (uint64_t)n, now);
		else if (n == 0 || errno != EAGAIN)
			break;
		else
			poll(&wait, 1, 100);
	}
	close(fd);
	close(listener);
}

void pump_tcp(struct pump *p)
{
	if (p->sender)
		send_all(p);
	else
		receive_all(p);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* A process that is woken now and then, says one datagram and sleeps again. */
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "fabric/base/clock.h"
#include "tests/bench/floor/floor.h"

void idle_run(void)
{
	uint64_t ns = 1000000000ull / (cfg.pps ? cfg.pps : 2), start, cpu, slept, n;
	struct itimerspec each = {{(time_t)(ns / 1000000000), (long)(ns % 1000000000)}, {0, 1}};
	struct epoll_event ev = {EPOLLIN, {.u32 = 0}};
	int ep = epoll_create1(EPOLL_CLOEXEC), timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC), fd;
	uint8_t said[128] = {0};
	double s;

	floor_enter(cfg.tx_ns);
	cfg.to.sin_port = htons(7789);
	fd = floor_socket(7789, &cfg.to);
	if (ep < 0 || timer < 0 || epoll_ctl(ep, EPOLL_CTL_ADD, timer, &ev) ||
	    timerfd_settime(timer, 0, &each, NULL))
		die("timer");
	start = clock_now_ns();
	cpu = floor_cpu_ns();
	slept = floor_sleeps();
	do {
		if (epoll_wait(ep, &ev, 1, -1) != 1 || read(timer, &n, sizeof(n)) != sizeof(n))
			die("timer");
		(void)!send(fd, said, sizeof(said), MSG_DONTWAIT); /* nobody listens: refused now and then */
		(void)!recv(fd, said, sizeof(said), MSG_DONTWAIT);
	} while (clock_now_ns() - start < (uint64_t)(cfg.seconds * 1e9));
	s = (double)(clock_now_ns() - start) / 1e9;
	printf("{\"cpu\": %.4f, \"wakeups\": %.2f}\n", (double)(floor_cpu_ns() - cpu) / 1e7 / s,
	       (double)(floor_sleeps() - slept) / s);
}

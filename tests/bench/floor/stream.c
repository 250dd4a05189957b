/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <linux/futex.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fabric/base/clock.h"
#include "tests/bench/floor/floor.h"

#define PORT   7779
#define WINDOW (4u << 20)

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

static void sender(void)
{
	uint8_t *mem = floor_memory(cfg.memory);
	uint64_t at = 0;
	int fd;

	floor_enter(cfg.tx_ns);
	cfg.to.sin_port = htons(PORT);
	fd = floor_socket(0, &cfg.to);
	while (!__atomic_load_n(&shared->done, __ATOMIC_ACQUIRE)) {
		floor_tell();
		if (shared->sent - __atomic_load_n(&shared->got, __ATOMIC_ACQUIRE) > WINDOW)
			wait_room();
		else
			shared->sent += train_send(fd, mem, &at, UINT64_MAX);
	}
	exit(0);
}

static uint64_t calls, datagrams;

/* One train: its bytes of guests. */
static uint64_t receive_train(int fd, uint8_t *mem)
{
	static uint8_t buf[FLOOR_DATAGRAM];
	union train_control control;
	struct iovec iov = {buf, sizeof(buf)};
	struct msghdr mh = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(fd, &mh, 0);
	struct train_place placed = {.bytes = 0};

	if (n < 0)
		die("nothing comes");
	train_place(&mh, (size_t)n, mem, &placed);
	datagrams += placed.datagrams;
	return placed.bytes;
}

/* Receives until `end`; bytes of guests. */
static uint64_t receive(int fd, uint8_t *mem, uint64_t end)
{
	uint64_t bytes = 0;

	calls = datagrams = 0;
	while (clock_now_ns() < end) {
		uint64_t n = receive_train(fd, mem);

		bytes += n;
		calls++;
		__atomic_store_n(&shared->got, shared->got + n, __ATOMIC_SEQ_CST);
		if (__atomic_load_n(&shared->waiting, __ATOMIC_SEQ_CST) &&
		    shared->sent - shared->got <= WINDOW / 2) {
			__atomic_add_fetch(&shared->turn, 1, __ATOMIC_RELEASE);
			syscall(SYS_futex, &shared->turn, FUTEX_WAKE, 1, NULL, NULL, 0);
		}
	}
	return bytes;
}

void stream_run(void)
{
	uint64_t cpu[2], slept[2], own, own_slept, start, bytes;
	uint8_t *mem = floor_memory(cfg.memory);
	double s, total;
	int fd;

	floor_enter(cfg.rx_ns);
	fd = floor_socket(PORT, NULL);
	if (!fork())
		sender();
	(void)receive(fd, mem, clock_now_ns() + (uint64_t)(cfg.warm * 1e9));
	floor_ask(&cpu[0], &slept[0]);
	own = floor_cpu_ns();
	own_slept = floor_sleeps();
	start = clock_now_ns();
	bytes = receive(fd, mem, start + (uint64_t)(cfg.seconds * 1e9));
	s = (double)(clock_now_ns() - start) / 1e9;
	own = floor_cpu_ns() - own;
	own_slept = floor_sleeps() - own_slept;
	floor_ask(&cpu[1], &slept[1]);
	__atomic_store_n(&shared->done, 1, __ATOMIC_RELEASE);
	wait(NULL);
	total = (double)(own + cpu[1] - cpu[0]);
	printf("{\"gbps\": %.3f, \"mpps\": %.4f, \"bytes\": %lu, \"per_gb\": %.4f, \"per_mpkt\": %.4f, "
	       "\"wakeups_per_m\": %.0f, \"train\": %.1f}\n",
	       (double)bytes * 8e-9 / s, cfg.frame ? (double)bytes / cfg.frame / s / 1e6 : 0, bytes,
	       total / (double)bytes, cfg.frame ? total / ((double)bytes / cfg.frame) / 1e3 : 0,
	       (double)(own_slept + slept[1] - slept[0]) / ((double)bytes / 1500) * 1e6,
	       (double)datagrams / (double)calls);
}

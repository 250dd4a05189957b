/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <linux/futex.h>
#include <linux/udp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fabric/base/clock.h"
#include "tests/bench/floor/floor.h"

#define PORT	    7779
#define WINDOW	    (4u << 20)
#define RECORD	    16u	   /* length and virtio-net header before each frame */
#define SUPER_FRAME 65226u /* headers and 45 segments of 1448 */

static uint8_t train[FLOOR_DATAGRAM + 64];

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

static void send_train(int fd, size_t len)
{
	if (send(fd, train, len, 0) < 0)
		die("send");
}

/* At most `most` bytes of one stream as a train; how many. */
static uint64_t send_bytes(int fd, const uint8_t *mem, size_t *at, uint64_t most)
{
	uint32_t room = cfg.chunk - pass_extra();
	uint64_t bytes = 0;
	size_t len = 0;

	for (unsigned n = 0; n < cfg.train && bytes < most; n++) {
		uint32_t part = most - bytes < room ? (uint32_t)(most - bytes) : room;

		len += pass_out(train + len, mem + *at, part);
		*at = (*at + part) % cfg.memory;
		bytes += part;
	}
	send_train(fd, len);
	return bytes;
}

/* At most `most` frames as a train; how many. */
static uint64_t send_frames(int fd, const uint8_t *mem, size_t *at, uint64_t most)
{
	uint32_t room = cfg.chunk - pass_extra();
	uint64_t frames = 0;
	size_t len = 0;

	for (unsigned n = 0; n < cfg.train && frames < most; n++) {
		uint8_t *data = train + len + PASS_HDR;
		uint32_t used = 0;

		for (; used + RECORD + cfg.frame <= room && frames < most; frames++) {
			memset(data + used, 0, RECORD);
			memcpy(data + used, &cfg.frame, sizeof(cfg.frame));
			memcpy(data + used + RECORD, mem + *at, cfg.frame);
			*at = (*at + cfg.frame) % cfg.memory;
			used += RECORD + cfg.frame;
		}
		/* Whole datagrams of one size are what a train is made of. */
		if (frames < most && used < room) {
			memset(data + used, 0, room - used);
			used = room;
		}
		len += pass_out(train + len, data, used);
	}
	send_train(fd, len);
	return frames;
}

/* One burst or one train; bytes of guests. */
static uint64_t send_some(int fd, const uint8_t *mem, size_t *at, uint64_t *frames)
{
	uint64_t unit = cfg.frame ? cfg.frame : SUPER_FRAME, sent = 0, left = *frames;

	if (!cfg.pps) {
		if (cfg.frame)
			return send_frames(fd, mem, at, UINT64_MAX) * unit;
		return send_bytes(fd, mem, at, UINT64_MAX);
	}
	if (!cfg.frame)
		left *= unit;
	while (left) {
		uint64_t n = cfg.frame ? send_frames(fd, mem, at, left) : send_bytes(fd, mem, at, left);

		left -= n;
		sent += cfg.frame ? n * unit : n;
	}
	*frames = 0;
	return sent;
}

static void sender(void)
{
	uint8_t *mem = floor_memory(cfg.memory);
	uint64_t start = clock_now_ns(), due = start, given = 0;
	size_t at = 0;
	int fd;

	floor_enter(cfg.tx_ns);
	cfg.to.sin_port = htons(PORT);
	fd = floor_socket(0, &cfg.to);
	while (!__atomic_load_n(&shared->done, __ATOMIC_ACQUIRE)) {
		uint64_t frames = 0;

		floor_tell();
		if (cfg.pps) {
			struct timespec until = {(time_t)(due / NSEC_PER_SEC), (long)(due % NSEC_PER_SEC)};

			clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
			due += cfg.burst_ns;
			frames = (uint64_t)((double)(clock_now_ns() - start) * (double)cfg.pps / 1e9) - given;
			given += frames;
			if (!frames)
				continue;
		} else if (shared->sent - __atomic_load_n(&shared->got, __ATOMIC_ACQUIRE) > WINDOW) {
			wait_room();
			continue;
		}
		shared->sent += send_some(fd, mem, &at, &frames);
	}
	exit(0);
}

static uint64_t calls, datagrams;

/* Frames of a datagram to their places; bytes of guests. */
static uint64_t place_frames(const uint8_t *data, uint32_t len, uint8_t *mem, size_t *at)
{
	uint64_t bytes = 0;
	uint32_t frame;

	for (uint32_t used = 0; used + RECORD <= len; used += RECORD + frame) {
		memcpy(&frame, data + used, sizeof(frame));
		if (!frame)
			break;
		if (frame > len - used - RECORD)
			die("a frame is longer than its datagram");
		memcpy(mem + *at, data + used + RECORD, frame);
		*at = (*at + frame) % cfg.memory;
		bytes += frame;
	}
	return bytes;
}

/* One train: its bytes of guests. */
static uint64_t receive_train(int fd, uint8_t *mem, size_t *at)
{
	static uint8_t buf[FLOOR_DATAGRAM], plain[FLOOR_DATAGRAM];
	char control[CMSG_SPACE(sizeof(int))] __attribute__((aligned(__alignof__(struct cmsghdr))));
	struct iovec iov = {buf, sizeof(buf)};
	struct msghdr mh = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(fd, &mh, 0);
	struct cmsghdr *c = n >= 0 ? CMSG_FIRSTHDR(&mh) : NULL;
	int segment = (int)n;
	uint64_t bytes = 0;

	if (n < 0)
		die("nothing comes");
	if (c && c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO)
		memcpy(&segment, CMSG_DATA(c), sizeof(segment));
	for (size_t off = 0; off < (size_t)n; off += (size_t)segment) {
		uint32_t len = (size_t)n - off < (size_t)segment ? (uint32_t)((size_t)n - off)
								 : (uint32_t)segment;

		datagrams++;
		if (cfg.frame) {
			bytes += place_frames(plain, pass_in(plain, buf + off, len), mem, at);
		} else {
			uint32_t got = pass_in(mem + *at, buf + off, len);

			*at = (*at + got) % cfg.memory;
			bytes += got;
		}
	}
	return bytes;
}

/* Receives until `end`; bytes of guests. */
static uint64_t receive(int fd, uint8_t *mem, uint64_t end)
{
	static size_t at;
	uint64_t bytes = 0;

	calls = datagrams = 0;
	while (clock_now_ns() < end) {
		uint64_t n = receive_train(fd, mem, &at);

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

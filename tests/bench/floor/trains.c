/* SPDX-License-Identifier: Apache-2.0 */
#include <linux/udp.h>
#include <string.h>

#include "tests/bench/floor/floor.h"

#define RECORD 16u /* length and virtio-net header before each frame */

static uint8_t train[FLOOR_DATAGRAM + 64];

/* Datagrams of one stream of bytes; their length. They end where memory does. */
static size_t pack_bytes(const uint8_t *mem, uint64_t *at, uint64_t most)
{
	uint64_t round = cfg.memory - *at % cfg.memory, left = most < round ? most : round;
	uint32_t room = cfg.chunk - pass_extra();
	size_t len = 0;

	for (unsigned n = 0; n < cfg.train && left; n++) {
		uint32_t part = left < room ? (uint32_t)left : room;

		len += pass_out(train + len, mem + *at % cfg.memory, part, *at);
		*at += part;
		left -= part;
	}
	return len;
}

/* Datagrams of whole frames; their length. */
static size_t pack_frames(const uint8_t *mem, uint64_t *at, uint64_t most)
{
	uint32_t room = cfg.chunk - pass_extra();
	size_t len = 0;

	for (unsigned n = 0; n < cfg.train && most >= cfg.frame; n++) {
		uint8_t *data = train + len + PASS_HDR;
		uint64_t place = *at;
		uint32_t used = 0;

		for (; used + RECORD + cfg.frame <= room && most >= cfg.frame; most -= cfg.frame) {
			memset(data + used, 0, RECORD);
			memcpy(data + used, &cfg.frame, sizeof(cfg.frame));
			memcpy(data + used + RECORD, mem + *at % cfg.memory, cfg.frame);
			*at += cfg.frame;
			used += RECORD + cfg.frame;
		}
		/* Whole datagrams of one size are what a train is made of. */
		if (most >= cfg.frame && used < room) {
			memset(data + used, 0, room - used);
			used = room;
		}
		len += pass_out(train + len, data, used, place);
	}
	return len;
}

uint64_t train_send(int fd, const uint8_t *mem, uint64_t *at, uint64_t most)
{
	uint64_t began = *at;
	size_t len = cfg.frame ? pack_frames(mem, at, most) : pack_bytes(mem, at, most);

	if (send(fd, train, len, 0) < 0)
		die("send");
	return *at - began;
}

/* Frames of a datagram to their places; bytes of guests. */
static uint64_t place_frames(const uint8_t *data, uint32_t len, uint8_t *mem, uint64_t at)
{
	uint64_t began = at;
	uint32_t frame;

	for (uint32_t used = 0; used + RECORD <= len; used += RECORD + frame) {
		memcpy(&frame, data + used, sizeof(frame));
		if (!frame)
			break;
		if (frame > len - used - RECORD)
			die("a frame is longer than its datagram");
		memcpy(mem + at % cfg.memory, data + used + RECORD, frame);
		at += frame;
	}
	return at - began;
}

void train_place(struct msghdr *m, size_t n, uint8_t *mem, struct train_place *out)
{
	static uint8_t plain[FLOOR_DATAGRAM];
	const uint8_t *buf = m->msg_iov->iov_base;
	struct cmsghdr *c = CMSG_FIRSTHDR(m);
	int segment = (int)n;

	if (c && c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO)
		memcpy(&segment, CMSG_DATA(c), sizeof(segment));
	for (size_t off = 0; off < n; off += (size_t)segment) {
		uint32_t len = n - off < (size_t)segment ? (uint32_t)(n - off) : (uint32_t)segment;
		uint64_t place = pass_place(buf + off, len), bytes;

		if (cfg.frame)
			bytes = place_frames(plain, pass_in(plain, buf + off, len), mem, place);
		else
			bytes = pass_in(mem + place % cfg.memory, buf + off, len);
		out->datagrams++;
		out->bytes += bytes;
		if (place + bytes > out->end)
			out->end = place + bytes;
	}
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A VM with a disk, in QEMU's place at its socket: writes and reads, and knows what each block must hold.
 *
 *	disk_guest SOCKET STATUS	goes on until it is killed; STATUS is a file with one line,
 *					"name=number ..."
 *
 * SIGUSR1: a new memory table, of the same memory, under I/O (as a VM whose memory is changed).
 *
 * The agent may be killed and come back: the VM connects again and shows it the inflight region. The buffers
 * are written over as soon as they are the VM's again, and looked at before they are used anew: what an
 * adapter writes too late is seen, as is what it writes beside a buffer.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fabric/base/rng.h"
#include "tests/lib/guest.h"

#define SLOTS	  8u
#define RING	  256u
#define BLOCK	  4096u
#define BLOCKS	  64u /* of a slot's own part of the disk */
#define LEN_MAX	  (16u * BLOCK)
#define MARGIN	  4096u /* around a buffer */
#define BLK_READ  0u
#define BLK_WRITE 1u

struct slot {
	bool busy, write;
	uint32_t first, n;	     /* blocks */
	uint64_t head, status, data; /* guest-physical */
	uint32_t version[BLOCKS];
};

static struct vhost_sock sock = {.fd = -1};
static struct vfront front;
static struct slot slots[SLOTS];
static struct rng rng;
static uint64_t reads, writes, connects, tables, remap_after;
static volatile sig_atomic_t new_table;

static void on_usr1(int sig)
{
	(void)sig;
	new_table = 1;
}

/* A failure is the last line of standard error and the exit status. */
static void wrong(const char *what, unsigned slot, uint64_t value)
{
	fprintf(stderr, "disk_guest: slot %u: %s (%llu) after %llu reads, %llu writes\n", slot, what,
		(unsigned long long)value, (unsigned long long)reads, (unsigned long long)writes);
	exit(1);
}

static void pattern(uint64_t *to, unsigned slot, uint32_t block, uint32_t version)
{
	struct rng r;

	rng_init(&r, (uint64_t)slot << 48 | (uint64_t)block << 32 | version);
	for (unsigned i = 0; i < BLOCK / 8; i++)
		to[i] = version ? rng_u64(&r) : 0;
}

/* ---- the buffers ---- */

/* [from, to) of the buffer, margins included at -MARGIN and LEN_MAX + MARGIN. */
static void untouched(unsigned i, long from, long to)
{
	long at = guest_touched(&front, slots[i].data, from, to);

	if (at != to)
		wrong("memory was written that is not a buffer now", i, (uint64_t)at);
}

static void verify(unsigned i)
{
	const struct slot *s = &slots[i];
	uint64_t want[BLOCK / 8];

	for (uint32_t b = 0; b < s->n; b++) {
		pattern(want, i, s->first + b, s->version[s->first + b]);
		if (memcmp(want, vfront_ptr(&front, s->data + b * BLOCK), BLOCK))
			wrong("a block holds something else", i, s->first + b);
	}
}

/* ---- requests ---- */

static void le(uint8_t *p, uint64_t v, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		p[i] = (uint8_t)(v >> 8 * i);
}

/* Each slot has descriptors of its own, so one that waits long keeps them. */
static void submit(unsigned i)
{
	struct slot *s = &slots[i];
	struct vring_desc *d = &front.q[0].desc[4 * i];
	uint8_t *head = vfront_ptr(&front, s->head);
	uint16_t at = (uint16_t)(4 * i), old = front.q[0].avail_idx;

	untouched(i, -(long)MARGIN, LEN_MAX + MARGIN);
	s->write = rng_below(&rng, 2);
	s->first = (uint32_t)rng_below(&rng, BLOCKS);
	s->n = 1 + (uint32_t)rng_below(&rng, LEN_MAX / BLOCK);
	if (s->n > BLOCKS - s->first)
		s->n = BLOCKS - s->first;
	for (uint32_t b = 0; s->write && b < s->n; b++)
		pattern(vfront_ptr(&front, s->data + b * BLOCK), i, s->first + b, ++s->version[s->first + b]);
	memset(head, 0, 16);
	le(head, s->write ? BLK_WRITE : BLK_READ, 4);
	le(head + 8, (uint64_t)(i * BLOCKS + s->first) * (BLOCK / 512), 8);
	*(uint8_t *)vfront_ptr(&front, s->status) = 0xff;
	d[0] = (struct vring_desc){s->head, 16, VRING_DESC_NEXT, (uint16_t)(at + 1)};
	d[1] = (struct vring_desc){s->data, s->n * BLOCK,
				   (uint16_t)(VRING_DESC_NEXT | (s->write ? 0 : VRING_DESC_WRITE)),
				   (uint16_t)(at + 2)};
	d[2] = (struct vring_desc){s->status, 1, VRING_DESC_WRITE, 0};
	s->busy = true;
	vfront_publish(&front, 0, at);
	vfront_kick(&front, 0, old);
}

/* true: something was completed. */
static bool complete(void)
{
	uint32_t head, len;
	struct slot *s;

	if (!vfront_used(&front, 0, &head, &len))
		return false;
	if (head % 4 || head / 4 >= SLOTS || !slots[head / 4].busy)
		wrong("a completion of nothing", head / 4, head);
	s = &slots[head / 4];
	if (*(uint8_t *)vfront_ptr(&front, s->status))
		wrong("an error", head / 4, *(uint8_t *)vfront_ptr(&front, s->status));
	if (!s->write)
		verify(head / 4);
	untouched(head / 4, -(long)MARGIN, 0);
	untouched(head / 4, (long)(s->n * BLOCK), LEN_MAX + MARGIN);
	s->busy = false;
	reads += !s->write;
	writes += s->write;
	guest_clean(&front, s->data, LEN_MAX, MARGIN);
	return true;
}

/* ---- the connection ---- */

static void meet(const char *path)
{
	bool again = connects > 0;

	/* An agent that is being killed may still take a connection, and leaves it. */
	do {
		if (sock.fd >= 0)
			close(sock.fd);
		sock.fd = vhost_sock_connect(path);
		usleep(100000);
	} while (sock.fd < 0 || guest_left(&sock));
	while (again && complete())
		;
	vfront_negotiate(&front, VIRTIO_F_VERSION_1 | VHOST_F_PROTOCOL_FEATURES,
			 VHOST_PF_REPLY_ACK | VHOST_PF_MQ | VHOST_PF_INFLIGHT);
	if (!again)
		vfront_inflight_get(&front, 1, RING);
	vfront_inflight_set(&front); /* the agent marks nothing in what it gave until it is shown it */
	vfront_mem_table(&front);
	vfront_queue_up(&front, 0, RING, !again);
	connects++;
}

static void make_memory(void)
{
	struct vfront_wire wire = vhost_sock_wire(&sock);

	vfront_init(&front, &wire);
	vfront_alloc(&front, 65536, 4096); /* the ring's */
	for (unsigned i = 0; i < SLOTS; i++) {
		slots[i].head = vfront_alloc(&front, 16, 64);
		slots[i].status = vfront_alloc(&front, 1, 64);
	}
	guest_payload(&front);
	for (unsigned i = 0; i < SLOTS; i++)
		slots[i].data = guest_buffer(&front, LEN_MAX, MARGIN);
}

static void tell(const char *path)
{
	guest_tell(path, "reads=%llu writes=%llu connects=%llu tables=%llu after_table=%llu\n",
		   (unsigned long long)reads, (unsigned long long)writes, (unsigned long long)connects,
		   (unsigned long long)tables,
		   (unsigned long long)(tables ? reads + writes - remap_after : 0));
}

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;
	signal(SIGUSR1, on_usr1);
	signal(SIGPIPE, SIG_IGN);
	sock.pump = guest_wait;
	rng_init(&rng, 1);
	make_memory();
	for (;;) {
		if (sock.fd < 0 || guest_left(&sock))
			meet(argv[1]);
		if (new_table) {
			new_table = 0;
			vfront_mem_table(&front);
			tables++;
			remap_after = reads + writes;
		}
		while (complete())
			;
		for (unsigned i = 0; i < SLOTS; i++)
			if (!slots[i].busy)
				submit(i);
		tell(argv[2]);
		usleep(500);
	}
}

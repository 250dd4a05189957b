/* SPDX-License-Identifier: Apache-2.0 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "fabric/base/clock.h"
#include "tests/bench/vms/vms.h"

/* virtio 1.2 section 5.2.6. */
#define BLK_IN	0u
#define BLK_OUT 1u

#define RING 256u

static void pump(void *arg)
{
	struct pollfd p = {*(int *)arg, POLLIN, 0};

	poll(&p, 1, 1);
}

/* What a Linux guest takes: indirect requests, event index; the region that QEMU keeps for the back-end. */
#define FEATURES                                                                                             \
	(VIRTIO_F_VERSION_1 | VIRTIO_RING_F_EVENT_IDX | VIRTIO_RING_F_INDIRECT | VHOST_F_PROTOCOL_FEATURES)
#define PROTOCOL (VHOST_PF_MQ | VHOST_PF_REPLY_ACK | VHOST_PF_CONFIG | VHOST_PF_INFLIGHT)

/* The slot's indirect table in a form of the packed ring (virtio 1.2, 2.8.8): only its place in the ring is
 * new with each request. */
static void prepare_packed(struct disk *d, unsigned i, uint64_t table, uint64_t head, uint64_t data,
			   uint64_t status)
{
	struct vring_packed_desc *t = vfront_ptr(&d->f, table);
	uint16_t in = d->cfg.write ? 0 : VRING_DESC_WRITE;

	t[0] = (struct vring_packed_desc){head, 16, 0, 0};
	t[1] = (struct vring_packed_desc){data, d->cfg.size, 0, in};
	t[2] = (struct vring_packed_desc){status, 1, 0, VRING_DESC_WRITE};
	d->slots[i].table = table;
}

/* Everything that stays the same of a slot: its indirect table and where its parts lie. */
static void prepare(struct disk *d, unsigned i)
{
	struct vfront *f = &d->f;
	struct disk_slot *s = &d->slots[i];
	uint64_t table = vfront_alloc(f, 3 * sizeof(struct vring_desc), 16);
	uint64_t head = vfront_alloc(f, 16, 16), status = vfront_alloc(f, 16, 16);
	uint64_t data = vfront_alloc(f, d->cfg.size, 4096);
	struct vring_desc *t = vfront_ptr(f, table);
	uint16_t in = d->cfg.write ? 0 : VRING_DESC_WRITE;

	s->head = vfront_ptr(f, head);
	s->data = vfront_ptr(f, data);
	s->status = vfront_ptr(f, status);
	d->free[d->nfree++] = (uint16_t)i;
	if (vfront_packed(f)) {
		prepare_packed(d, i, table, head, data, status);
		return;
	}
	t[0] = (struct vring_desc){head, 16, VRING_DESC_NEXT, 1};
	t[1] = (struct vring_desc){data, d->cfg.size, (uint16_t)(in | VRING_DESC_NEXT), 2};
	t[2] = (struct vring_desc){status, 1, VRING_DESC_WRITE, 0};
	f->q[0].desc[i] = (struct vring_desc){table, 3 * sizeof(*t), VRING_DESC_INDIRECT, 0};
}

void disk_open(struct disk *d, const struct disk_cfg *cfg, uint64_t seed)
{
	struct vfront_wire wire;

	memset(d, 0, sizeof(*d));
	d->cfg = *cfg;
	d->random = seed * 0x9e3779b97f4a7c15ull + 1;
	d->sock = (struct vhost_sock){vhost_sock_connect(cfg->path), pump, &d->sock.fd};
	if (d->sock.fd < 0)
		die("cannot connect", cfg->path);
	wire = vhost_sock_wire(&d->sock);
	vfront_init_sized(&d->f, &wire, VFRONT_MEM + (cfg->depth * (cfg->size + 8192ull) & ~8191ull));
	vfront_negotiate(&d->f, FEATURES | (cfg->packed ? VIRTIO_F_RING_PACKED : 0), PROTOCOL);
	if (cfg->packed && !vfront_packed(&d->f))
		die("no packed ring at", cfg->path);
	vfront_mem_table(&d->f);
	if (d->f.proto & VHOST_PF_INFLIGHT) {
		vfront_inflight_get(&d->f, 1, RING);
		vfront_inflight_set(&d->f);
	}
	d->f.q[0].kick = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	d->f.q[0].call = dup(cfg->call);
	vfront_queue_up(&d->f, 0, RING, true);
	for (unsigned i = cfg->depth; i-- > 0;)
		prepare(d, i);
}

void disk_close(struct disk *d)
{
	vfront_queue_down(&d->f, 0);
	close(d->sock.fd);
	vfront_fini(&d->f);
}

static uint64_t next_block(struct disk *d)
{
	uint64_t blocks = d->cfg.span / d->cfg.size;

	if (d->cfg.sequential)
		return d->next++ % blocks;
	d->random ^= d->random << 13;
	d->random ^= d->random >> 7;
	d->random ^= d->random << 17;
	return d->random % blocks;
}

static void work(uint64_t ns)
{
	uint64_t end = clock_now_ns() + ns;

	while (clock_now_ns() < end)
		;
}

static void publish(struct disk *d, uint16_t i)
{
	struct vfront_queue *q = &d->f.q[0];
	struct vring_packed_desc *at;

	if (!vfront_packed(&d->f)) {
		vfront_publish(&d->f, 0, i);
		return;
	}
	at = &q->pdesc[q->avail_idx % q->num];
	at->addr = d->slots[i].table;
	at->len = 3 * sizeof(*at);
	at->id = i;
	__atomic_store_n(&at->flags, (uint16_t)(vfront_packed_flags(q, q->avail_idx) | VRING_DESC_INDIRECT),
			 __ATOMIC_RELEASE);
	q->ndesc[i] = 1;
	q->avail_idx++;
}

unsigned disk_submit(struct disk *d, unsigned n, uint64_t now)
{
	struct vfront_queue *q = &d->f.q[0];
	uint16_t old = q->avail_idx;
	unsigned made = 0;

	for (; made < n && d->nfree; made++) {
		uint16_t i;
		struct disk_slot *s;
		uint64_t sector;

		if (d->cfg.think_ns) {
			work(d->cfg.think_ns);
			now = clock_now_ns();
			disk_reap(d, now);
		}
		i = d->free[--d->nfree];
		s = &d->slots[i];
		s->block = next_block(d);
		s->at = now;
		sector = s->block * (d->cfg.size / 512);
		s->head[0] = d->cfg.write ? BLK_OUT : BLK_IN;
		memcpy(s->head + 2, &sector, sizeof(sector));
		for (uint32_t at = 0; d->cfg.write && at < d->cfg.size; at += DISK_STAMP)
			s->data[at / 8] = (s->block * d->cfg.size + at) / DISK_STAMP;
		*s->status = 0xff;
		publish(d, i);
		if (d->cfg.think_ns) {
			d->kicks += vfront_kick(&d->f, 0, old);
			old = q->avail_idx;
		}
	}
	if (q->avail_idx != old)
		d->kicks += vfront_kick(&d->f, 0, old);
	return made;
}

static void check(struct disk *d, const struct disk_slot *s)
{
	if (*s->status) {
		d->errors++;
		return;
	}
	for (uint32_t at = 0; d->cfg.verify && at < d->cfg.size; at += DISK_STAMP)
		d->errors += s->data[at / 8] != (s->block * d->cfg.size + at) / DISK_STAMP;
}

unsigned disk_reap(struct disk *d, uint64_t now)
{
	unsigned n = 0;
	uint32_t id, len;

	while (vfront_used(&d->f, 0, &id, &len)) {
		struct disk_slot *s = &d->slots[id];

		check(d, s);
		if (d->cfg.hist)
			hist_add(d->cfg.hist, now - s->at);
		d->free[d->nfree++] = (uint16_t)id;
		n++;
	}
	d->done += n;
	/* vfront_used() has set the event index: the next completion interrupts. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return n;
}

bool disk_ready(const struct disk *d)
{
	const struct vfront_queue *q = &d->f.q[0];
	uint16_t flags;

	if (!vfront_packed(&d->f))
		return __atomic_load_n(&q->used->idx, __ATOMIC_ACQUIRE) != q->used_seen;
	flags = __atomic_load_n(&q->pdesc[q->used_seen % q->num].flags, __ATOMIC_ACQUIRE);
	return (flags & (VRING_DESC_AVAIL | VRING_DESC_USED)) ==
	       (q->used_seen & q->num ? 0 : VRING_DESC_AVAIL | VRING_DESC_USED);
}

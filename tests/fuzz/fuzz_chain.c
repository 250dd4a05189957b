/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz-rooms: hostagent/vhost */
/*
 * Chains of a hostile guest: a running ring, split or packed, whose descriptors, avail ring and indirect
 * tables are the input. Guest memory is two heap blocks, so that the address sanitizer sees any byte outside;
 * what is popped must lie in them and add up.
 *
 * Input: byte 0: bits 0 net, 1 INDIRECT, 2 EVENT_IDX, 3 VERSION_1, 4 MRG_RXBUF, 5 inflight region;
 * 6 the queue (net), 7 packed; byte 1: avail->idx; then the first region's bytes: descriptor table, avail
 * ring (at 0x400), tables and the rest.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hostagent/vhost/vhost.h"

#define NUM    32
#define REGION 4096u
#define AVAIL  0x400u
#define USED   0x480u

static uint8_t *blocks[3]; /* two regions, and the inflight region */
#define INFLIGHT 1088u
static const uint32_t lens[3] = {REGION, REGION, INFLIGHT};

static int fake_map(void *arg, int fd, uint64_t off, uint64_t len, struct vhost_map *m)
{
	(void)arg;
	if (off || len > lens[fd])
		return -ERANGE;
	m->at = blocks[fd];
	return 0;
}
static void fake_unmap(void *arg, struct vhost_map *m)
{
	(void)arg;
	(void)m;
}
static int fake_memfd(void *arg, uint64_t len)
{
	(void)arg;
	(void)len;
	return -ENOMEM;
}
static void fake_fd(void *arg, int fd)
{
	(void)arg;
	(void)fd;
}
static int fake_event(void *arg, int fd)
{
	(void)arg;
	(void)fd;
	return 0;
}
static int fake_send(void *arg, int fd, const void *bytes, size_t len)
{
	(void)arg;
	(void)fd;
	(void)bytes;
	(void)len;
	return 0;
}
static const struct vhost_sys sys = {fake_map,	 fake_unmap, fake_memfd, fake_fd,
				     fake_event, fake_fd,    fake_send};

static void fx_reply(void *arg, const void *msg, size_t len, int fd)
{
	(void)arg;
	(void)msg;
	(void)len;
	(void)fd;
}
static void fx_features(void *arg, uint64_t acked)
{
	(void)arg;
	(void)acked;
}
static void fx_kick_fd(void *arg, unsigned q, int fd)
{
	(void)arg;
	(void)q;
	(void)fd;
}
static void fx_queue(void *arg, unsigned q)
{
	(void)arg;
	(void)q;
}
static void fx_broken(void *arg, unsigned q, const char *reason)
{
	(void)arg;
	(void)q;
	(void)reason;
}
static void fx_rarp(void *arg, const uint8_t mac[6])
{
	(void)arg;
	(void)mac;
}
static void fx_fault(void *arg)
{
	(void)arg;
}
static const struct vhost_fx fx = {fx_reply, fx_features, fx_kick_fd, fx_queue,
				   fx_queue, fx_broken,	  fx_rarp,    fx_fault};

static void tell(struct vhost *v, uint32_t request, const void *payload, uint32_t size, const int *fds,
		 unsigned nfds)
{
	struct vhost_hdr h = {request, VHOST_FLAG_VERSION, size};
	uint8_t m[VHOST_MSG_MAX];
	int err;

	memcpy(m, &h, sizeof(h));
	memcpy(m + sizeof(h), payload, size);
	err = vhost_message(v, m, sizeof(h) + size, fds, nfds);
	assert(!err);
}

static void start(struct vhost *v, uint8_t how, unsigned q)
{
	uint64_t u = (how & 2 ? VIRTIO_RING_F_INDIRECT : 0) | (how & 4 ? VIRTIO_RING_F_EVENT_IDX : 0) |
		     (how & 8 ? VIRTIO_F_VERSION_1 : 0) | (how & 16 ? VIRTIO_NET_F_MRG_RXBUF : 0) |
		     (how & 128 ? VIRTIO_F_RING_PACKED : 0);
	struct vhost_mem_desc mem = {.nregions = 2,
				     .regions = {{0, REGION, 0, 0}, {REGION, REGION, 1ull << 32, 0}}};
	struct vhost_inflight_desc inflight = {.mmap_size = INFLIGHT, .num_queues = 1, .queue_size = NUM};
	struct vhost_vring_addr addr = {.index = q, .desc_uva = 0, .avail_uva = AVAIL, .used_uva = USED};
	int fds[3] = {0, 1, 2};

	tell(v, VHOST_SET_FEATURES, &u, 8, NULL, 0);
	tell(v, VHOST_SET_MEM_TABLE, &mem, 72, fds, 2);
	if (how & 32 && !(how & 1)) {
		u = VHOST_PF_INFLIGHT;
		tell(v, VHOST_SET_PROTOCOL_FEATURES, &u, 8, NULL, 0);
		tell(v, VHOST_SET_INFLIGHT_FD, &inflight, sizeof(inflight), &fds[2], 1);
	}
	tell(v, VHOST_SET_VRING_NUM, &(struct vhost_vring_state){q, NUM}, 8, NULL, 0);
	tell(v, VHOST_SET_VRING_BASE, &(struct vhost_vring_state){q, how & 128 ? 0x80008000 : 0}, 8, NULL, 0);
	tell(v, VHOST_SET_VRING_ADDR, &addr, sizeof(addr), NULL, 0);
	u = q;
	tell(v, VHOST_SET_VRING_KICK, &u, 8, fds, 1);
}

static void check(const struct vqt_chain *c)
{
	uint64_t out = 0, in = 0;

	for (unsigned i = 0; i < (unsigned)c->nout + c->nin; i++) {
		volatile uint8_t *p = c->iov[i].iov_base;

		(void)p[0];
		(void)p[c->iov[i].iov_len - 1];
		if (i < c->nout)
			out += c->iov[i].iov_len;
		else
			in += c->iov[i].iov_len;
	}
	assert(out == c->out_len && in == c->in_len);
	assert(c->token < NUM);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t how = size ? data[0] : 0;
	unsigned q = how & 1 ? how >> 6 & 1 : 0;
	struct vhost_config cfg = {.net = how & 1,
				   .nqueues = 2,
				   .queue_size = NUM,
				   .features = VIRTIO_RING_F_EVENT_IDX | VIRTIO_RING_F_INDIRECT |
					       VIRTIO_F_VERSION_1 | VIRTIO_NET_F_MRG_RXBUF |
					       VIRTIO_F_RING_PACKED};
	struct vhost *v = vhost_create(&cfg, &sys, NULL, &fx, NULL);
	static struct vqt_chain held[NUM];
	unsigned n = 0;

	assert(v);
	for (int i = 0; i < 3; i++)
		blocks[i] = calloc(1, lens[i]);
	if (how & 32 && size > 8)
		memcpy(blocks[2], data + size / 2, size / 2 < INFLIGHT ? size / 2 : INFLIGHT);
	start(v, how, q);
	if (size > 2)
		memcpy(blocks[0], data + 2, size - 2 < REGION ? size - 2 : REGION);
	memset(blocks[0] + USED, 0, 4);
	if (!(how & 128)) {
		blocks[0][AVAIL + 2] = size > 1 ? data[1] : 0;
		blocks[0][AVAIL + 3] = 0;
	}
	while (n < NUM && vhost_ring_ops.pop(vhost_ring(v, q), &held[n]) == 1)
		check(&held[n++]);
	vhost_ring_ops.unpop(vhost_ring(v, q), n / 3);
	n -= n / 3;
	for (unsigned i = 0; i < n; i++)
		vhost_ring_ops.push(vhost_ring(v, q), &held[n - 1 - i], i);
	vhost_ring_ops.flush(vhost_ring(v, q));
	vhost_destroy(v);
	for (int i = 0; i < 3; i++)
		free(blocks[i]);
	return 0;
}

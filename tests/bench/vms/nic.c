/* SPDX-License-Identifier: Apache-2.0 */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "tests/bench/vms/vms.h"

#define NET_HDR	   12u /* struct virtio_net_hdr with num_buffers, virtio 1.2 section 5.1.6 */
#define RX_SIZE	   1536u
#define RX_BUFFERS (NIC_RING / 2)
#define TX_BUFFERS (NIC_RING / 4)
#define RX	   0u
#define TX	   1u

#define FEATURES                                                                                             \
	(VIRTIO_F_VERSION_1 | VIRTIO_RING_F_EVENT_IDX | VIRTIO_RING_F_INDIRECT | VIRTIO_NET_F_MRG_RXBUF |    \
	 VHOST_F_PROTOCOL_FEATURES)
#define PROTOCOL (VHOST_PF_MQ | VHOST_PF_REPLY_ACK)

static void pump(void *arg)
{
	struct pollfd p = {*(int *)arg, POLLIN, 0};

	poll(&p, 1, 1);
}

void nic_listen(struct nic *n, const struct nic_cfg *cfg)
{
	memset(n, 0, sizeof(*n));
	n->cfg = *cfg;
	unlink(cfg->path);
	n->listener = vhost_sock_listen(cfg->path);
}

/* Frames of a protocol that nobody has (IEEE 802's local experimental EtherType 1). */
static void fill_frame(const struct nic *n, uint8_t *at)
{
	memset(at, 0, NET_HDR + n->cfg.frame);
	memcpy(at + NET_HDR, n->cfg.peer, 6);
	memcpy(at + NET_HDR + 6, n->cfg.mac, 6);
	at[NET_HDR + 12] = 0x88;
	at[NET_HDR + 13] = 0xb5;
}

static void prepare(struct nic *n)
{
	struct vfront *f = &n->f;

	for (uint16_t i = 0; i < RX_BUFFERS; i++) {
		f->q[RX].desc[i] = (struct vring_desc){vfront_alloc(f, RX_SIZE, 64), RX_SIZE,
						       VRING_DESC_WRITE, 0};
		vfront_publish(f, RX, i);
	}
	for (uint16_t i = 0; i < TX_BUFFERS; i++) {
		uint64_t at = vfront_alloc(f, NET_HDR + n->cfg.frame, 64);

		fill_frame(n, vfront_ptr(f, at));
		f->q[TX].desc[i] = (struct vring_desc){at, NET_HDR + n->cfg.frame, 0, 0};
	}
	n->tx_free = TX_BUFFERS;
}

void nic_open(struct nic *n)
{
	struct vfront_wire wire;

	n->sock = (struct vhost_sock){-1, pump, &n->sock.fd};
	n->sock.fd = n->listener; /* what pump() waits on until somebody connects */
	n->sock.fd = vhost_sock_accept(&n->sock, n->listener);
	if (n->sock.fd < 0)
		die("nobody connects to", n->cfg.path);
	close(n->listener);
	wire = vhost_sock_wire(&n->sock);
	vfront_init(&n->f, &wire);
	vfront_negotiate(&n->f, FEATURES, PROTOCOL);
	vfront_mem_table(&n->f);
	for (unsigned q = 0; q < 2; q++) {
		n->f.q[q].kick = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		n->f.q[q].call = dup(n->cfg.call);
	}
	vfront_queue_up(&n->f, RX, NIC_RING, true);
	vfront_queue_up(&n->f, TX, NIC_RING, true);
	prepare(n);
	vfront_kick(&n->f, RX, 0);
}

void nic_close(struct nic *n)
{
	vfront_queue_down(&n->f, RX);
	vfront_queue_down(&n->f, TX);
	close(n->sock.fd);
	vfront_fini(&n->f);
	unlink(n->cfg.path);
}

/* Buffers go round the ring: the tunnel uses frames up in order. */
unsigned nic_submit(struct nic *n, unsigned frames)
{
	struct vfront_queue *q = &n->f.q[TX];
	uint16_t old = q->avail_idx;
	unsigned made = 0;

	for (; made < frames && n->tx_free; made++, n->tx_free--)
		vfront_publish(&n->f, TX, (uint16_t)(q->avail_idx % TX_BUFFERS));
	if (made)
		n->kicks += vfront_kick(&n->f, TX, old);
	n->sent += made;
	return made;
}

unsigned nic_reap(struct nic *n)
{
	uint16_t old = n->f.q[RX].avail_idx;
	uint32_t id, len;
	unsigned got = 0;

	while (n->tx_free < TX_BUFFERS && vfront_used(&n->f, TX, &id, &len))
		n->tx_free++;
	while (vfront_used(&n->f, RX, &id, &len)) {
		n->errors += len != NET_HDR + n->cfg.frame;
		n->received_bytes += len - NET_HDR;
		vfront_publish(&n->f, RX, (uint16_t)id);
		got++;
	}
	if (got)
		n->kicks += vfront_kick(&n->f, RX, old);
	n->received += got;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return got;
}

bool nic_ready(const struct nic *n)
{
	const struct vfront_queue *q = &n->f.q[RX];

	return __atomic_load_n(&q->used->idx, __ATOMIC_ACQUIRE) != q->used_seen;
}

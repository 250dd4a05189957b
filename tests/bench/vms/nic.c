/* SPDX-License-Identifier: Apache-2.0 */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "fabric/base/clock.h"
#include "fabric/base/inet_csum.h"
#include "tests/bench/vms/vms.h"

#define NET_HDR	     12u /* struct virtio_net_hdr with num_buffers, virtio 1.2 section 5.1.6 */
#define NUM_BUFFERS  10u /* where that is in it */
#define L4	     (14u + 20u)
#define HEADERS	     (NET_HDR + L4 + 20u) /* of a super-frame, apart from its payload */
#define MSS	     1448u
#define RX_SIZE	     1536u
#define RX_BUFFERS   (NIC_RING / 2)
#define TX_BUFFERS   (NIC_RING / 4)
#define RX_LARGE     16384u /* a super-frame takes several */
#define TX_LARGE     16u
#define MEMORY_LARGE (8ull << 20)
#define LOST_NS	     NSEC_PER_SEC /* a question without an answer is asked again */
#define RX	     0u
#define TX	     1u

#define FEATURES                                                                                             \
	(VIRTIO_F_VERSION_1 | VIRTIO_RING_F_EVENT_IDX | VIRTIO_RING_F_INDIRECT | VIRTIO_NET_F_MRG_RXBUF |    \
	 VHOST_F_PROTOCOL_FEATURES)
#define OFFLOADS                                                                                             \
	(1ull << 0 /* CSUM */ | 1ull << 1 /* GUEST_CSUM */ | 1ull << 7 /* GUEST_TSO4 */ |                    \
	 1ull << 11 /* HOST_TSO4 */)
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

static bool large(const struct nic *n)
{
	return n->cfg.frame > NIC_FRAME;
}

static void addresses(const struct nic *n, uint8_t *eth, unsigned type)
{
	memcpy(eth, n->cfg.peer, 6);
	memcpy(eth + 6, n->cfg.mac, 6);
	eth[12] = (uint8_t)(type >> 8);
	eth[13] = (uint8_t)type;
}

/* Frames of a protocol that nobody has (IEEE 802's local experimental EtherType 1). */
static void fill_frame(const struct nic *n, uint8_t *at)
{
	memset(at, 0, NET_HDR + n->cfg.frame);
	addresses(n, at + NET_HDR, 0x88b5);
}

static void put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

/* The headers of a super-frame: virtio-net's (virtio 1.2, 5.1.6), Ethernet, IPv4, TCP. */
static void fill_headers(const struct nic *n, uint8_t *at)
{
	uint8_t *ip = at + NET_HDR + 14, *tcp = at + NET_HDR + L4;

	memset(at, 0, HEADERS);
	at[0] = 1; /* NEEDS_CSUM */
	at[1] = 1; /* GSO_TCPV4 */
	at[2] = L4 + 20;
	at[4] = (uint8_t)MSS;
	at[5] = (uint8_t)(MSS >> 8);
	at[6] = L4;
	at[8] = 16;
	addresses(n, at + NET_HDR, 0x0800);
	ip[0] = 0x45;
	put16(ip + 2, n->cfg.frame - 14);
	ip[8] = 64;
	ip[9] = 6;
	memcpy(ip + 12, (const uint8_t[]){10, 20, 2, n->cfg.mac[5], 10, 20, 2, n->cfg.peer[5]}, 8);
	inet_put(ip + 10, inet_fold(inet_sum(0, ip, 20)));
	put16(tcp, 7777);
	put16(tcp + 2, 7777);
	tcp[12] = 0x50;
	tcp[13] = 0x10;
}

/* Frame i of the transmit ring: one descriptor, or headers and payload. */
static void prepare_tx(struct nic *n, uint16_t i)
{
	struct vfront *f = &n->f;
	struct vring_desc *d = f->q[TX].desc;
	uint64_t at = vfront_alloc(f, large(n) ? HEADERS : NET_HDR + n->cfg.frame, 64);
	uint32_t payload;

	if (!large(n)) {
		fill_frame(n, vfront_ptr(f, at));
		d[i] = (struct vring_desc){at, NET_HDR + n->cfg.frame, 0, 0};
		return;
	}
	fill_headers(n, vfront_ptr(f, at));
	payload = NET_HDR + n->cfg.frame - HEADERS;
	d[2 * i] = (struct vring_desc){at, HEADERS, VRING_DESC_NEXT, (uint16_t)(2 * i + 1)};
	d[2 * i + 1] = (struct vring_desc){vfront_alloc(f, payload, 4096), payload, 0, 0};
}

static void prepare(struct nic *n)
{
	uint32_t size = large(n) ? RX_LARGE : RX_SIZE;
	struct vfront *f = &n->f;

	for (uint16_t i = 0; i < RX_BUFFERS; i++) {
		f->q[RX].desc[i] = (struct vring_desc){vfront_alloc(f, size, 64), size, VRING_DESC_WRITE, 0};
		vfront_publish(f, RX, i);
	}
	n->tx_buffers = n->tx_free = large(n) ? TX_LARGE : TX_BUFFERS;
	for (uint16_t i = 0; i < n->tx_buffers; i++)
		prepare_tx(n, i);
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
	vfront_init_sized(&n->f, &wire, large(n) ? MEMORY_LARGE : VFRONT_MEM);
	vfront_negotiate(&n->f, FEATURES | (large(n) ? OFFLOADS : 0), PROTOCOL);
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

	for (; made < frames && n->tx_free; made++, n->tx_free--) {
		unsigned i = q->avail_idx % n->tx_buffers;

		vfront_publish(&n->f, TX, (uint16_t)(large(n) ? 2 * i : i));
	}
	if (made)
		n->kicks += vfront_kick(&n->f, TX, old);
	n->sent += made;
	return made;
}

static void reap_sent(struct nic *n)
{
	uint32_t id, len;

	while (n->tx_free < n->tx_buffers && vfront_used(&n->f, TX, &id, &len))
		n->tx_free++;
}

/* A buffer that came back; whether a frame ends in it. */
static bool take(struct nic *n, uint32_t id, uint32_t len)
{
	const uint8_t *at = vfront_ptr(&n->f, n->f.q[RX].desc[id].addr);

	if (!len) /* given back unused */
		return false;
	if (!n->parts) {
		n->parts = (uint16_t)(at[NUM_BUFFERS] | at[NUM_BUFFERS + 1] << 8);
		n->got = 0;
	}
	n->got += len;
	if (n->parts && --n->parts)
		return false;
	n->errors += n->got != NET_HDR + n->cfg.frame;
	n->received_bytes += n->got - NET_HDR;
	return true;
}

unsigned nic_reap(struct nic *n)
{
	uint16_t old = n->f.q[RX].avail_idx;
	uint32_t id, len;
	unsigned got = 0;

	reap_sent(n);
	while (vfront_used(&n->f, RX, &id, &len)) {
		got += take(n, id, len);
		vfront_publish(&n->f, RX, (uint16_t)id);
	}
	if (n->f.q[RX].avail_idx != old)
		n->kicks += vfront_kick(&n->f, RX, old);
	n->received += got;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return got;
}

/* The next interrupt when three quarters of what is under way are back, as Linux's driver asks for it. */
bool nic_flood(struct nic *n)
{
	struct vfront_queue *q = &n->f.q[TX];
	unsigned some = nic_reap(n);
	uint16_t far;

	some += nic_submit(n, NIC_RING);
	far = (uint16_t)((n->tx_buffers - n->tx_free) * 3 / 4);
	*(volatile uint16_t *)&q->avail->ring[q->num] = (uint16_t)(q->used_seen + far);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return some || (uint16_t)(__atomic_load_n(&q->used->idx, __ATOMIC_ACQUIRE) - q->used_seen) > far;
}

bool nic_ping(struct nic *n, uint64_t now)
{
	unsigned got = nic_reap(n);

	if (n->asked && !got && now - n->asked < LOST_NS)
		return false;
	if (got)
		hist_add(n->cfg.hist, now - n->asked);
	else if (n->asked)
		n->errors++;
	n->asked = now;
	return nic_submit(n, 1) > 0;
}

bool nic_answer(struct nic *n)
{
	unsigned got = nic_reap(n);

	return got && nic_submit(n, got) > 0;
}

bool nic_ready(const struct nic *n)
{
	const struct vfront_queue *q = &n->f.q[RX];

	return __atomic_load_n(&q->used->idx, __ATOMIC_ACQUIRE) != q->used_seen;
}

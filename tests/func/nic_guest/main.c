/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A VM with a network adapter, in QEMU's place at its socket: sends super-frames to another, and looks at
 * each byte of what that one sent.
 *
 *	nic_guest SOCKET MAC PEER-MAC STATUS	goes on until it is killed; STATUS is a file with one line,
 *						"name=number ..."
 *
 * SIGUSR1: a new memory table, of the same memory, under traffic (as a VM whose memory is changed).
 * SIGUSR2: its receive queue is stopped and started, as for a guest that is paused.
 *
 * Frames may be lost (the network is a bounded class), but none comes twice, out of order, or with another
 * byte. Headers are apart from payload, as a driver may post them. Buffers are written over as soon as they
 * are the VM's again, and what was received stays so for a while before it is posted anew: what an adapter
 * reads or writes too late is seen, as is what it writes beside a buffer.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fabric/base/inet_csum.h"
#include "fabric/base/rng.h"
#include "tests/lib/guest.h"

#define RX	    0u
#define TX	    1u
#define RING	    64u
#define RX_BUFS	    24u
#define TX_BUFS	    6u
#define REST	    8u /* received buffers that are not posted again yet */
#define PAYLOAD_MAX (40u << 10)
#define PAYLOAD_MIN 4096u
#define RX_PIECE    (16u << 10) /* of a receive buffer: a large frame takes several */
#define MARGIN	    1024u	/* around payload */

#define VNET_HDR 12u
#define L4	 (14u + 20u)
#define HEADERS	 (VNET_HDR + L4 + 20u)
#define MSS	 1448u
#define FEATURES                                                                                             \
	(1ull << 0 /* CSUM */ | 1ull << 1 /* GUEST_CSUM */ | 1ull << 7 /* GUEST_TSO4 */ |                    \
	 1ull << 11 /* HOST_TSO4 */ | 1ull << 15 /* MRG_RXBUF */)

struct tx_buf {
	bool busy;
	uint64_t head, data; /* guest-physical */
};

struct rx_buf {
	bool posted;
	uint64_t head, data; /* HEADERS bytes, then RX_PIECE */
	uint32_t got;
};

static struct vhost_sock sock = {.fd = -1};
static struct vfront front;
static struct tx_buf tx[TX_BUFS];
static struct rx_buf rx[RX_BUFS];
static unsigned rest[REST], nrest, rest_at;
static unsigned parts[RX_BUFS], nparts, want_parts; /* of the frame that is being received */
static uint8_t mac[6], peer[6];
static uint64_t sent, received, bytes, lost, others, connects, tables, stops, next_seq, expect;
static volatile sig_atomic_t new_table, stop_rx;

static void on_signal(int sig)
{
	if (sig == SIGUSR1)
		new_table = 1;
	else
		stop_rx = 1;
}

/* A failure is the last line of standard error and the exit status. */
static void wrong(const char *what, uint64_t value)
{
	fprintf(stderr, "nic_guest: %s (%llu) after %llu frames sent, %llu received\n", what,
		(unsigned long long)value, (unsigned long long)sent, (unsigned long long)received);
	exit(1);
}

/* ---- payload: its number, then what follows from that ---- */

static uint64_t word_of(uint64_t seq, uint32_t i)
{
	return i ? (seq << 20 | i) * 0x9e3779b97f4a7c15ull : seq;
}

static uint32_t len_of(uint64_t seq)
{
	struct rng r;

	rng_init(&r, seq);
	return PAYLOAD_MIN + 8 * (uint32_t)rng_below(&r, (PAYLOAD_MAX - PAYLOAD_MIN) / 8);
}

/* [from, to) of a buffer, margins included at -MARGIN and its length + MARGIN. */
static void untouched(uint64_t data, long from, long to)
{
	long at = guest_touched(&front, data, from, to);

	if (at != to)
		wrong("memory was written that is not a buffer now", (uint64_t)at);
}

/* ---- sending ---- */

static void put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

/* virtio-net header (virtio 1.2, 5.1.6), Ethernet, IPv4 and TCP of a super-frame. */
static void build(uint8_t *at, uint32_t payload)
{
	uint8_t *eth = at + VNET_HDR, *ip = eth + 14, *tcp = eth + L4;

	memset(at, 0, HEADERS);
	at[0] = 1; /* NEEDS_CSUM */
	at[1] = 1; /* GSO_TCPV4 */
	at[2] = L4 + 20;
	at[4] = (uint8_t)MSS;
	at[5] = (uint8_t)(MSS >> 8);
	at[6] = L4;
	at[8] = 16;
	memcpy(eth, peer, 6);
	memcpy(eth + 6, mac, 6);
	put16(eth + 12, 0x0800);
	ip[0] = 0x45;
	put16(ip + 2, 40 + payload);
	ip[8] = 64;
	ip[9] = 6;
	memcpy(ip + 12, (const uint8_t[]){10, 20, 1, mac[5], 10, 20, 1, peer[5]}, 8);
	inet_put(ip + 10, inet_fold(inet_sum(0, ip, 20)));
	put16(tcp, 7777);
	put16(tcp + 2, 7777);
	tcp[12] = 0x50;
	tcp[13] = 0x10;
}

static void send_one(unsigned i)
{
	struct tx_buf *b = &tx[i];
	struct vring_desc *d = &front.q[TX].desc[2 * i];
	uint64_t *data = vfront_ptr(&front, b->data);
	uint32_t len = len_of(next_seq);
	uint16_t old = front.q[TX].avail_idx;

	build(vfront_ptr(&front, b->head), len);
	for (uint32_t k = 0; k < len / 8; k++)
		data[k] = word_of(next_seq, k);
	d[0] = (struct vring_desc){b->head, HEADERS, VRING_DESC_NEXT, (uint16_t)(2 * i + 1)};
	d[1] = (struct vring_desc){b->data, len, 0, 0};
	b->busy = true;
	next_seq++;
	sent++;
	vfront_publish(&front, TX, (uint16_t)(2 * i));
	vfront_kick(&front, TX, old);
}

/* What comes back is written over at once: a late READ is seen by the other. */
static void sent_back(void)
{
	uint32_t head, len;

	while (vfront_used(&front, TX, &head, &len)) {
		if (head % 2 || head / 2 >= TX_BUFS || !tx[head / 2].busy)
			wrong("a sent frame came back that was not sent", head);
		tx[head / 2].busy = false;
		guest_clean(&front, tx[head / 2].data, PAYLOAD_MAX, MARGIN);
		memset(vfront_ptr(&front, tx[head / 2].head), AFTER, HEADERS);
	}
}

/* ---- receiving ---- */

static void post(unsigned i)
{
	struct rx_buf *b = &rx[i];
	struct vring_desc *d = &front.q[RX].desc[2 * i];
	uint16_t old = front.q[RX].avail_idx;

	untouched(b->data, -(long)MARGIN, RX_PIECE + MARGIN);
	d[0] = (struct vring_desc){b->head, HEADERS, VRING_DESC_NEXT | VRING_DESC_WRITE,
				   (uint16_t)(2 * i + 1)};
	d[1] = (struct vring_desc){b->data, RX_PIECE, VRING_DESC_WRITE, 0};
	b->posted = true;
	vfront_publish(&front, RX, (uint16_t)(2 * i));
	vfront_kick(&front, RX, old);
}

static void lay_to_rest(unsigned i)
{
	guest_clean(&front, rx[i].data, RX_PIECE, MARGIN);
	memset(vfront_ptr(&front, rx[i].head), AFTER, HEADERS);
	if (nrest == REST)
		post(rest[rest_at]);
	else
		nrest++;
	rest[rest_at] = i;
	rest_at = (rest_at + 1) % REST;
}

/* The frame in parts[], in one piece behind its headers; how long that is. */
static uint32_t gather(uint64_t *to)
{
	uint8_t *at = (uint8_t *)to;

	for (unsigned k = 0; k < nparts; k++) {
		const struct rx_buf *b = &rx[parts[k]];
		uint32_t in_head = b->got < HEADERS ? b->got : HEADERS;

		if (k) {
			memcpy(at, vfront_ptr(&front, b->head), in_head);
			at += in_head;
		}
		memcpy(at, vfront_ptr(&front, b->data), b->got - in_head);
		at += b->got - in_head;
	}
	return (uint32_t)(at - (uint8_t *)to);
}

static void verify(void)
{
	const uint8_t *head = vfront_ptr(&front, rx[parts[0]].head), *eth = head + VNET_HDR;
	static uint64_t words[RX_BUFS * (HEADERS + RX_PIECE) / 8 + 1];
	uint32_t len = gather(words), want;
	uint64_t seq = words[0];

	/* Not of ours: what switches and agents say by themselves. */
	if (len < PAYLOAD_MIN || memcmp(eth, mac, 6) || memcmp(eth + 6, peer, 6)) {
		others++;
		return;
	}
	want = len_of(seq);
	if (len != want)
		wrong("a frame has another length", len);
	if (seq < expect)
		wrong("a frame came twice, or late", seq);
	for (uint32_t i = 1; i < want / 8; i++)
		if (words[i] != word_of(seq, i))
			wrong("a frame holds something else", i);
	lost += seq - expect;
	expect = seq + 1;
	received++;
	bytes += want;
}

static bool receive(void)
{
	uint32_t head, len;
	struct rx_buf *b;

	if (!vfront_used(&front, RX, &head, &len))
		return false;
	b = head % 2 || head / 2 >= RX_BUFS ? NULL : &rx[head / 2];
	if (!b || !b->posted || len > HEADERS + RX_PIECE)
		wrong("a buffer came that was not posted", head);
	b->posted = false;
	b->got = len;
	if (!len) { /* given back unused */
		if (nparts)
			wrong("a frame ends in the middle", nparts);
		lay_to_rest(head / 2);
		return true;
	}
	if (!nparts) {
		if (len < HEADERS)
			wrong("a frame without headers", len);
		want_parts = *((uint8_t *)vfront_ptr(&front, b->head) + 10);
	}
	/* What lies behind the frame in its last buffer is anybody's: a frame that failed was written there.
	 */
	untouched(b->data, -(long)MARGIN, 0);
	untouched(b->data, RX_PIECE, RX_PIECE + MARGIN);
	parts[nparts++] = head / 2;
	if (nparts < want_parts)
		return true;
	verify();
	for (unsigned k = 0; k < nparts; k++)
		lay_to_rest(parts[k]);
	nparts = 0;
	return true;
}

/* ---- the connection ---- */

static void post_all(void)
{
	nparts = nrest = rest_at = 0;
	for (unsigned i = 0; i < RX_BUFS; i++) {
		guest_clean(&front, rx[i].data, RX_PIECE, MARGIN);
		rx[i].posted = false;
	}
	for (unsigned i = 0; i < RX_BUFS - REST; i++)
		post(i);
	for (unsigned i = RX_BUFS - REST; i < RX_BUFS; i++)
		lay_to_rest(i);
}

/* A network's rings start anew with each connection: the agent before may be dead. */
static void meet(int lfd)
{
	do {
		if (sock.fd >= 0)
			close(sock.fd);
		sock.fd = accept4(lfd, NULL, NULL, SOCK_CLOEXEC);
		usleep(100000);
	} while (sock.fd < 0 || guest_left(&sock));
	vfront_negotiate(&front, FEATURES | VIRTIO_F_VERSION_1 | VHOST_F_PROTOCOL_FEATURES,
			 VHOST_PF_REPLY_ACK | VHOST_PF_MQ);
	vfront_mem_table(&front);
	vfront_queue_up(&front, RX, RING, true);
	vfront_queue_up(&front, TX, RING, true);
	for (unsigned i = 0; i < TX_BUFS; i++)
		tx[i].busy = false;
	post_all();
	connects++;
}

/* Of all that is posted. */
static uint64_t posted_sum(void)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < RX_BUFS; i++) {
		const uint64_t *p = vfront_ptr(&front, rx[i].data - MARGIN);

		for (unsigned k = 0; rx[i].posted && k < (RX_PIECE + 2 * MARGIN) / 8; k++)
			sum = (sum ^ p[k]) * 0x9e3779b97f4a7c15ull;
	}
	return sum;
}

/* As for a guest that is paused and goes on: nothing is written meanwhile, and buffers are not lost. */
static void pause_rx(void)
{
	uint32_t base = vfront_queue_down(&front, RX);
	uint64_t sum;

	while (receive())
		;
	sum = posted_sum();
	usleep(100000);
	if (sum != posted_sum())
		wrong("memory was written while the queue was stopped", base);
	vfront_queue_up(&front, RX, RING, false);
	stops++;
}

static void make_memory(void)
{
	struct vfront_wire wire = vhost_sock_wire(&sock);

	vfront_init(&front, &wire);
	vfront_alloc(&front, 65536, 4096); /* the rings' */
	for (unsigned i = 0; i < TX_BUFS; i++)
		tx[i].head = vfront_alloc(&front, 128, 64);
	for (unsigned i = 0; i < RX_BUFS; i++)
		rx[i].head = vfront_alloc(&front, 128, 64);
	guest_payload(&front);
	for (unsigned i = 0; i < TX_BUFS; i++)
		tx[i].data = guest_buffer(&front, PAYLOAD_MAX, MARGIN);
	for (unsigned i = 0; i < RX_BUFS; i++)
		rx[i].data = guest_buffer(&front, RX_PIECE, MARGIN);
}

static void tell(const char *path)
{
	guest_tell(path,
		   "sent=%llu received=%llu bytes=%llu lost=%llu others=%llu connects=%llu tables=%llu "
		   "stops=%llu\n",
		   (unsigned long long)sent, (unsigned long long)received, (unsigned long long)bytes,
		   (unsigned long long)lost, (unsigned long long)others, (unsigned long long)connects,
		   (unsigned long long)tables, (unsigned long long)stops);
}

static bool read_mac(const char *text, uint8_t out[6])
{
	return sscanf(text, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &out[0], &out[1], &out[2], &out[3], &out[4],
		      &out[5]) == 6;
}

int main(int argc, char **argv)
{
	int lfd;

	if (argc != 5 || !read_mac(argv[2], mac) || !read_mac(argv[3], peer)) {
		fprintf(stderr, "usage: nic_guest SOCKET MAC PEER-MAC STATUS\n");
		return 2;
	}
	signal(SIGUSR1, on_signal);
	signal(SIGUSR2, on_signal);
	signal(SIGPIPE, SIG_IGN);
	sock.pump = guest_wait;
	make_memory();
	unlink(argv[1]);
	lfd = vhost_sock_listen(argv[1]);
	for (;;) {
		if (sock.fd < 0 || guest_left(&sock))
			meet(lfd);
		if (new_table) {
			new_table = 0;
			vfront_mem_table(&front);
			tables++;
		}
		if (stop_rx) {
			stop_rx = 0;
			pause_rx();
		}
		while (receive())
			;
		sent_back();
		for (unsigned i = 0; i < TX_BUFS; i++) {
			if (tx[i].busy)
				continue;
			send_one(i); /* one a turn: the other looks at what comes no faster */
			break;
		}
		tell(argv[4]);
		usleep(3000);
	}
}

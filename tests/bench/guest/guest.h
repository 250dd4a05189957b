/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_guest: a VM's virtio-net driver without the VM, for figures that an emulated processor cannot give.
 *
 *	bench_guest SOCKET MAC IP PEER-MAC PEER-IP [packed] [rx=256] [tx=256] [buf=4096] [mss=1448]
 *
 * It listens on SOCKET as QEMU does, negotiates what Linux' driver would, prints "ready" once the queues
 * run, and obeys lines on standard input, one line of JSON for each:
 *
 *	hello				one broadcast frame, so that switches learn the address
 *	send LEN [PPS [BURST-US]]	frames of LEN bytes; over 1514 they are super-frames with TSO. PPS 0:
 *flat out, asleep only while the ring is full; else what is due, every BURST-US ping GAP-US
 *one frame and its echo after the other stop				send no more
 *	stats				counters since the start, and the latencies since the last stats:
 *					one way of what came, round trips of what was echoed
 *
 * What is sent flat out is acknowledged by the receiver, one small frame for each burst that came, and
 * GUEST_WINDOW bytes at most are under way: as TCP would have it, without TCP's own work.
 *
 * What is pinged is echoed by any bench_guest. Every frame has a number and the time of its sending, an echo
 * those of its own; both
 * guests run on one machine and one clock. One thread: it sleeps in poll() as a guest halts.
 */
#ifndef OUTRIGGER_BENCH_GUEST_H
#define OUTRIGGER_BENCH_GUEST_H

#include "tests/bench/guest/gring.h"

#define GUEST_FRAME_MAX 65226u	    /* Ethernet header and the longest IPv4 packet in whole segments */
#define GUEST_MEMORY	(80u << 20) /* buffers for rings of 1024; pages that are not used cost nothing */
#define GUEST_WINDOW	(1u << 20)

/* Times in classes of 1/16 of their size: up to 2^40 ns. */
#define HIST_STEPS 16u
#define HIST_SIZE  (40u * HIST_STEPS)
struct hist {
	uint64_t n;
	uint32_t count[HIST_SIZE];
};
void hist_add(struct hist *h, uint64_t ns, uint32_t times);
double hist_us(const struct hist *h, double quantile); /* 0: empty */

struct guest {
	struct vfront front;
	struct gring rx, tx;
	uint8_t mac[6], peer_mac[6];
	uint8_t ip[4], peer_ip[4];
	uint32_t buf_len; /* of each receive buffer */
	uint32_t mss;	  /* of super-frames */
	uint64_t rx_mem, tx_mem, tables;

	/* Sending. */
	bool sending, pinging;
	uint32_t len, stride;
	uint32_t table_len;			 /* of each indirect table */
	uint64_t pps, burst_ns, started, due_at; /* of the next burst */
	uint64_t owed;				 /* frames given since `started` */
	uint64_t gap_ns;
	uint64_t waiting; /* number of the ping that is under way; 0: none */
	uint64_t pinged_at;

	/* Receiving: what is left of a frame in several buffers. */
	unsigned more;
	uint64_t seq, expect;
	bool ack;	/* owed to the sender */
	uint64_t acked; /* of own frames: the next one that the peer expects */
	uint64_t acked_at;

	uint64_t tx_frames, tx_bytes, rx_frames, rx_bytes, rx_lost, rx_other, wakes;
	struct hist one_way, round_trip;
};

/* traffic.c. now: ns of CLOCK_MONOTONIC. */
void traffic_init(struct guest *g);
void traffic_send(struct guest *g, uint32_t len, uint64_t pps, uint64_t burst_ns, uint64_t now);
void traffic_hello(struct guest *g, uint64_t now);
void traffic_ping(struct guest *g, uint64_t gap_ns, uint64_t now);
/* One turn: receive everything, send what is due. False: nothing was to do. */
bool traffic_turn(struct guest *g, uint64_t now);
/* When the next turn is due without a notification; UINT64_MAX: never. */
uint64_t traffic_due(const struct guest *g);
/* Ask for notifications; false: there is work already. */
bool traffic_sleep(struct guest *g);

#endif

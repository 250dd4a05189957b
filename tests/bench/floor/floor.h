/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_floor: the least that anyone can pay for what the agent does, over the kernel's UDP on this machine:
 * guest memory on one side, guest memory on the other, one pass over the bytes on each, whole trains
 * (UDP_SEGMENT, UDP_GRO), and nothing else: no ring, no tunnel, no acknowledgement, no second host between.
 *
 *	bench_floor stream NETNS-TX NETNS-RX ADDRESS [pass=copy] [frame=0] [pps=0] [burst_us=100] OPTIONS
 *	bench_floor store NETNS-TX NETNS-RX ADDRESS [depth=32] [size=4096] [write=0] OPTIONS
 *	bench_floor relay NETNS-TX NETNS-RX ADDRESS [hosts=1] [gap_us=0] [size=4096] OPTIONS
 *	bench_floor doors NETNS-TX NETNS-RX ADDRESS [doors=256] [signals=1] [pps=20000] [burst_us=1000]
 *OPTIONS
 *
 *	OPTIONS: [chunk=1376] [train=47] [memory=16777216] [seconds=1] [warm=0.3]
 *
 * stream: `frame` 0 moves one stream of bytes; else frames of so many bytes, each with the 16 bytes of
 * headers that a tunnel needs, packed into datagrams one by one as they would come from descriptors. pass is
 * copy, crc (CRC32C and copy) or aes (AES-128-GCM from memory to memory). pps 0 is flat out, with 4 MiB under
 * way at most; else what is due each burst_us; without frame, super-frames of 65226 bytes.
 *
 * store: requests of 32 bytes and answers of 32 bytes with `size` bytes of data, packed into trains; the
 * server answers from memory, the client keeps `depth` under way and is guest and agent in one.
 *
 * relay: one token of `size` bytes, gap_us after it came back the next, through processes that sleep and do
 * nothing else: guest and agent (eventfds between them), appliance (UDP), with two hosts the other agent and
 * guest, and back. What waking up costs on this machine and no program can do without, as long as it sleeps.
 *
 * doors: pps requests a second, those of each burst_us at once, by guests that take turns, with one kick
 * each: an eventfd, and `signals` interrupts for it, by a process that sleeps on all of them and does nothing
 * else.
 *
 * Processes in two namespaces. One line of JSON; CPU time is the scheduler's (/proc/self/schedstat).
 */
#ifndef OUTRIGGER_BENCH_FLOOR_H
#define OUTRIGGER_BENCH_FLOOR_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FLOOR_DATAGRAM 65507u /* bytes of a train at most */
#define FLOOR_GUARD    65536u /* behind memory that is used round and round */

struct floor_cfg {
	const char *tx_ns, *rx_ns;
	struct sockaddr_in to;
	const char *pass;
	unsigned chunk, train, frame, depth, size, hosts, gap_us, doors, signals;
	bool write;
	size_t memory;
	uint64_t pps, burst_ns;
	double seconds, warm;
};
extern struct floor_cfg cfg;

/* Between the two processes; each field has one writer, or is atomic. */
struct floor_shared {
	uint64_t got, sent; /* stream: bytes of guests */
	uint32_t turn;	    /* futex of the sender that waits for room */
	uint32_t waiting;
	uint32_t asked, told; /* the receiver asks, the sender tells its figures */
	uint32_t done;
	uint64_t cpu_ns, sleeps; /* the sender's */
};
extern struct floor_shared *shared;

void die(const char *what) __attribute__((noreturn));
uint64_t floor_cpu_ns(void);
uint64_t floor_sleeps(void);
uint8_t *floor_memory(size_t len);
void floor_enter(const char *netns);
/* One end of UDP between the two, in the namespace the process is in. peer: whom it sends to; NULL: nobody.
 */
int floor_socket(uint16_t port, const struct sockaddr_in *peer);
/* For the sender: if the other has asked, tell it what was spent. */
void floor_tell(void);
void floor_ask(uint64_t *cpu, uint64_t *sleeps);

#define PASS_HDR 16u /* a number, and room for what a tunnel says of a packet; authenticated */

/* pass.c: the one pass over the bytes of a datagram. */
void pass_init(void);
uint32_t pass_extra(void); /* bytes of a datagram that are not the guests' */
/* A datagram of len bytes of guests at from into to; their places may be the same. Its length. */
uint32_t pass_out(uint8_t *to, const uint8_t *from, uint32_t len);
/* The bytes of guests of a datagram of len bytes at from into to; how many. Dies if it is not what was sent.
 */
uint32_t pass_in(uint8_t *to, const uint8_t *from, uint32_t len);

void stream_run(void); /* stream.c */
void store_run(void);  /* store.c */
void relay_run(void);  /* relay.c */
void doors_run(void);  /* doors.c */

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_floor: the least that anyone can pay for what the agent does, over the kernel's UDP on this machine:
 * guest memory on one side, guest memory on the other, one pass over the bytes on each, whole trains
 * (UDP_SEGMENT, UDP_GRO), and nothing else: no ring, no tunnel, no acknowledgement, no second host between.
 *
 *	bench_floor stream NETNS-TX NETNS-RX ADDRESS [pass=copy] [frame=0] OPTIONS
 *	bench_floor bursts NETNS-TX NETNS-RX ADDRESS [pass=copy] [frame=0] [pps=0] [ring=256] OPTIONS
 *	bench_floor store NETNS-TX NETNS-RX ADDRESS [depth=32] [size=4096] [write=0] OPTIONS
 *	bench_floor relay NETNS-TX NETNS-RX ADDRESS [hosts=1] [gap_us=0] [size=4096] [spin_us=0] [busy=0]
 *		[poll=0] OPTIONS
 *	bench_floor idle NETNS-TX NETNS-RX ADDRESS [pps=2] OPTIONS
 *	bench_floor doors NETNS-TX NETNS-RX ADDRESS [doors=256] [signals=1] [pps=20000] OPTIONS
 *
 *	OPTIONS: [chunk=1376] [train=47] [memory=16777216] [burst_us=100] [seconds=1] [warm=0.3]
 *
 * stream: `frame` 0 moves one stream of bytes; else frames of so many bytes, each with the 16 bytes of
 * headers that a tunnel needs, packed into datagrams one by one as they would come from descriptors. pass is
 * copy, crc (CRC32C and copy) or aes (AES-128-GCM from memory to memory). Flat out, with 4 MiB under way at
 * most; sender and receiver are guest and agent in one, and nobody has to be woken for a burst.
 *
 * bursts: the same work by agents that are woken for it: guest, agent, appliance, agent, guest, each a
 * process that sleeps. Every burst_us a guest gives what is due of pps frames of `frame` bytes (0:
 * super-frames of 65226 bytes) and kicks its agent if that sleeps; the agent takes all there is, packs and
 * sends it and sleeps again; the appliance passes trains on as they came; the other agent takes all that
 * came, puts it in its place and interrupts its guest if that sleeps. Bursts further apart than the 50 us
 * that an agent may hold an arrival have to be woken for one by one, at both hosts, by whoever sleeps
 * between them; those that come while an agent is awake are taken along: no more wake-ups than that. pps 0:
 * the guest gives as much as its ring of `ring` frames takes, sleeps while it is full until three quarters
 * are done, and has 1 MiB under way at most, as bench_guest. CPU and wake-ups are the two agents'.
 *
 * store: requests of 32 bytes and answers of 32 bytes with `size` bytes of data, packed into trains; the
 * server answers from memory, the client keeps `depth` under way and is guest and agent in one.
 *
 * relay: one token of `size` bytes, gap_us after it came back the next, through processes that sleep and do
 * nothing else: guest and agent (eventfds between them), appliance (UDP), with two hosts the other agent and
 * guest, and back. What waking up costs on this machine and no program can do without, as long as it sleeps.
 * spin_us: an agent that passed it on looks for so long before it sleeps. busy: the appliance never sleeps.
 * poll: nor does the first guest, which looks at its memory for the answer.
 *
 * idle: a process that a timer wakes pps times a second, that sends one datagram and sleeps again.
 *
 * doors: pps requests a second, those of each burst_us at once, by guests that take turns, with one kick
 * each: an eventfd, and `signals` interrupts for it, by a process that sleeps on all of them and does nothing
 * else.
 *
 * Processes in two namespaces. One line of JSON; CPU time is the scheduler's (/proc/PID/schedstat).
 */
#ifndef OUTRIGGER_BENCH_FLOOR_H
#define OUTRIGGER_BENCH_FLOOR_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#define FLOOR_DATAGRAM 65507u /* bytes of a train at most */
#define FLOOR_GUARD    65536u /* behind memory that is used round and round */
#define SUPER_FRAME    65226u /* headers and 45 segments of 1448 */

struct floor_cfg {
	const char *tx_ns, *rx_ns;
	struct sockaddr_in to;
	const char *pass;
	unsigned chunk, train, frame, depth, size, hosts, gap_us, spin_us, doors, signals, ring;
	bool write, busy, poll;
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
	uint32_t answers;	 /* relay, to the guest that polls */
	uint64_t cpu_ns, sleeps; /* the sender's */
};
extern struct floor_shared *shared;

void die(const char *what) __attribute__((noreturn));
uint64_t floor_cpu_ns(void); /* own */
uint64_t floor_sleeps(void);
uint64_t floor_cpu_of(pid_t pid);
uint64_t floor_sleeps_of(pid_t pid);
uint8_t *floor_memory(size_t len);
void floor_enter(const char *netns);
/* One end of UDP between the two, in the namespace the process is in. peer: whom it sends to; NULL: nobody.
 */
int floor_socket(uint16_t port, const struct sockaddr_in *peer);
/* For the sender: if the other has asked, tell it what was spent. */
void floor_tell(void);
void floor_ask(uint64_t *cpu, uint64_t *sleeps);

#define PASS_HDR 16u /* number and place: what a tunnel says of a packet; authenticated */

/* pass.c: the one pass over the bytes of a datagram. */
void pass_init(void);
uint32_t pass_extra(void); /* bytes of a datagram that are not the guests' */
/* A datagram of len bytes of guests at from, which belong to `place`, into to; their places may be the same.
 * Its length. */
uint32_t pass_out(uint8_t *to, const uint8_t *from, uint32_t len, uint64_t place);
/* Where the bytes of guests of a datagram belong, as it says; not yet authenticated. */
uint64_t pass_place(const uint8_t *from, uint32_t len);
/* The bytes of guests of a datagram of len bytes at from into to; how many. Dies if it is not what was sent.
 */
uint32_t pass_in(uint8_t *to, const uint8_t *from, uint32_t len);

/*
 * trains.c: guests' bytes as trains, and back to their places. A place is a number of bytes since the start;
 * it lies at place % cfg.memory. Frames (cfg.frame) go whole, else bytes as they are.
 */
/* One train of at most `most` bytes from *at on, which moves; how many. */
uint64_t train_send(int fd, const uint8_t *mem, uint64_t *at, uint64_t most);
union train_control {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(sizeof(int))];
};
struct train_place {
	uint64_t bytes, datagrams; /* more of them */
	uint64_t end;		   /* behind the furthest place */
};
/* A received train of n bytes in the only piece of m, with its control messages. */
void train_place(struct msghdr *m, size_t n, uint8_t *mem, struct train_place *out);

void stream_run(void); /* stream.c */
void bursts_run(void); /* bursts.c */
void store_run(void);  /* store.c */
void relay_run(void);  /* relay.c */
void idle_run(void);   /* idle.c */
void doors_run(void);  /* doors.c */

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * link: the door to the fabric's carriers. A link moves bursts of datagrams and knows nothing
 * of what is in them.
 *
 *	link/udp     kernel UDP sockets, UDP_SEGMENT and UDP_GRO
 *	link/dpdk    a DPDK port; only the fabric's UDP port is DPDK's, the kernel keeps the rest
 *	link/loop    two ends in memory, for tests
 *	link/impair  stacks on any of them: drop, duplicate, reorder, delay, corrupt; seeded
 *
 * Thread rule: a link belongs to one thread.
 */
#ifndef OUTRIGGER_LINK_LINK_H
#define OUTRIGGER_LINK_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "fabric/buf/buf.h"

/* An IP address and UDP port. IPv4 is kept as IPv4-mapped IPv6 (::ffff:a.b.c.d). */
struct link_addr {
	uint8_t ip[16];
	uint16_t port; /* host byte order */
};

struct link_rx {
	uint8_t *data; /* one datagram's payload; writable */
	uint32_t len;
	struct buf *buf; /* holds data; the receiver owns one reference per entry and must buf_put() it */
	struct link_addr from;
	bool ce;      /* ECN Congestion Experienced */
	uint64_t lay; /* ns that it lay here before recv() took it; 0 if the link cannot tell */
};

struct link_tx {
	const uint8_t *data; /* one datagram's payload, the caller's until send() returns */
	uint32_t len;
	struct link_addr to;
};

struct link;

struct link_ops {
	/* Up to max datagrams; 0: none now. A train stays one run of entries in order. -errno: the link is
	 * broken. Required. */
	int (*recv)(struct link *l, struct link_rx *rx, int max);
	/* Sends in order; consecutive entries to one address are one train. Returns the number
	 * taken; what was not taken is dropped and counted by the link. Required. */
	int (*send)(struct link *l, const struct link_tx *tx, int n);
	/* A descriptor that polls readable when recv() has something, or -1: it must be polled by calling
	 * recv(). Required. */
	int (*fd)(struct link *l);
	/* Absolute time at which recv() or send() wants to be called although fd is quiet (impair's
	 * delayed datagrams); UINT64_MAX: never. Optional: NULL means never. */
	uint64_t (*deadline)(struct link *l);
	/* Local address, and the largest payload that fits the MTU (unfragmented). Required. */
	void (*local)(struct link *l, struct link_addr *addr, uint32_t *max_payload);
	void (*destroy)(struct link *l); /* Required. */
	/* The layer above has verified that this datagram is its sender's (by key), so the link may learn
	 * from it how that address is reached. Called while the entry's reference is still held: an address
	 * alone would not do, the next datagram may claim the same one. Optional. */
	void (*confirm)(struct link *l, const struct link_rx *rx);
};

#define LINK_COUNTERS(X)                                                                                     \
	X(rx_packets)                                                                                        \
	X(rx_bytes)                                                                                          \
	X(rx_calls)                                                                                          \
	X(tx_packets)                                                                                        \
	X(tx_bytes)                                                                                          \
	X(tx_calls)                                                                                          \
	X(drop_tx_full)                                                                                      \
	X(drop_tx_error)                                                                                     \
	X(drop_rx_nobuf) X(drop_rx_truncated) X(drop_rx_malformed) X(drop_tx_noroute) X(drop_impaired)

#define LINK_COUNTER_ENUM(name) LINK_C_##name,
enum link_counter { LINK_COUNTERS(LINK_COUNTER_ENUM) LINK_NCOUNTERS };
extern const char *const link_counter_names[LINK_NCOUNTERS];

struct link {
	const struct link_ops *ops;
	const char *name;
	uint64_t counters[LINK_NCOUNTERS];
};

/* "10.0.0.1:4793", "[fd00::1]:4793"; without a port ("10.0.0.1", "fd00::1", "[fd00::1]") it is default_port.
 * No names, no zones. 0, or -EINVAL and *a untouched. out of link_addr_format: LINK_ADDR_STR bytes. */
#define LINK_ADDR_STR 56
int link_addr_parse(struct link_addr *a, const char *text, uint16_t default_port);
void link_addr_format(const struct link_addr *a, char out[LINK_ADDR_STR]);
bool link_addr_equal(const struct link_addr *a, const struct link_addr *b);
bool link_addr_is_v4(const struct link_addr *a); /* IPv4-mapped; the address itself is ip + 12 */

#define LINK_FABRIC_PORT 4793

#endif

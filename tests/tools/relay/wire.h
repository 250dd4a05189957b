/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A network interface of the relay, by an AF_PACKET socket that sees every frame that comes in by it.
 * Checksums that a sender left to its device cross as they are (PACKET_VNET_HDR). A frame that is
 * still to be segmented is dropped and counted: it would be lost or kept as a whole, which no wire does.
 */
#ifndef OUTRIGGER_RELAY_WIRE_H
#define OUTRIGGER_RELAY_WIRE_H

#include "tests/tools/relay/lane.h"

#define WIRE_BURST 64

struct wire {
	const char *ifname;
	int fd;
	uint64_t super, overrun, refused; /* dropped: to be segmented; not read in time; not sent */
};

/* 0, -errno. */
int wire_open(struct wire *w, const char *ifname);
/* One burst into the lane. Number of frames, -errno. */
int wire_receive(struct wire *w, struct lane *l, uint64_t now);
/* All that is due from the lane. */
void wire_send(struct wire *w, struct lane *l, uint64_t now);
/* Brings the counters up to date. */
void wire_count(struct wire *w);

#endif

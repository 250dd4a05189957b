/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Coalescing of what an uplink brings: packets of one TCP stream, in order and alike but for what must
 * differ, become one super-frame as a guest would have sent it (virtio_net_hdr with gso_type, gso_size and a
 * checksum to be completed). A host then pays for a burst, not for each packet; who cannot take super-frames
 * gets the packets back as they were (appliance/device/shape, offload.h), but for an identification that
 * means nothing, that of a packet which must not be fragmented (RFC 6864).
 *
 * A pure core, by reference: no byte of payload is copied, headers are written in place. A packet joins only
 * if its checksums are right, as the super-frame will claim that they are. A frame is held for hold_ns at
 * most, and no longer than its stream runs: a short segment, PSH, or any other flag ends it. Order within a
 * stream is kept.
 *
 * Frames are as ports give them (port.h), in one piece up to the payload. IPv4 without options and IPv6
 * without extension headers; all else goes through untouched.
 *
 * Thread rule: one worker. Sources: RFC 9293, RFC 791, RFC 8200, virtio 1.2 5.1.6.4.
 */
#ifndef OUTRIGGER_PORT_GRO_H
#define OUTRIGGER_PORT_GRO_H

#include <stdbool.h>

#include "fabric/buf/buf.h"

#define GRO_FLOWS 32u /* streams held at once; a power of 2 */

struct gro;

struct gro_cfg {
	uint64_t hold_ns; /* 0: gro_flush() after each burst gives out everything */
	/* A frame that is complete. It owns f. */
	void (*out)(void *ctx, struct frame *f, uint16_t vlan);
	void *ctx;
	uint64_t *merged; /* counts packets that became part of a frame before them */
	uint64_t *super;  /* counts frames made of more than one */
};

/* NULL: no memory. */
struct gro *gro_create(const struct gro_cfg *cfg);
/* Frames still held are dropped. NULL is fine. */
void gro_destroy(struct gro *g);
/* Takes f. */
void gro_take(struct gro *g, struct frame *f, uint16_t vlan, uint64_t now);
/* Gives out what was held for hold_ns; all: everything. True: something is still held. */
bool gro_flush(struct gro *g, bool all, uint64_t now);

#endif

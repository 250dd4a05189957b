/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A virtqueue as a fast driver keeps it: the queue of a struct vfront, driven in bursts. A buffer is one slot
 * of the ring and takes one descriptor (an indirect one may stand for more). Slots are handed out in the
 * order in which they came back, so that the whole ring's memory is gone through.
 *
 * Suppression as Linux' driver does it: the device is kicked once per burst and only if it asked; it
 * is told when to interrupt by gring_arm() alone, before the driver sleeps. One thread.
 * Source: virtio 1.2 sections 2.7 and 2.8.
 */
#ifndef OUTRIGGER_BENCH_GRING_H
#define OUTRIGGER_BENCH_GRING_H

#include "tests/lib/vhost_front.h"

struct gring {
	struct vfront *f;
	struct vfront_queue *vq;
	unsigned q;
	bool packed, event_idx;
	uint16_t num;
	uint16_t avail, told; /* free-running: filled, and made known */
	uint16_t seen;	      /* used by the device and taken back */
	uint16_t free[VHOST_QSIZE_MAX];
	uint32_t taken, freed; /* free-running places of free[] */
	uint64_t kicks, calls;
};

/* The queue is up. */
void gring_init(struct gring *r, struct vfront *f, unsigned q);
static inline unsigned gring_room(const struct gring *r)
{
	return r->num - (r->taken - r->freed);
}
/* A free slot; there must be room. */
static inline uint16_t gring_take(struct gring *r)
{
	return r->free[r->taken++ % r->num];
}
/* Fill the next descriptor with a slot's buffer. flags: VRING_DESC_WRITE or VRING_DESC_INDIRECT. */
void gring_put(struct gring *r, uint16_t slot, uint64_t gpa, uint32_t len, uint16_t flags);
/* What was put since the last time: make it known, and kick if the device wants it. */
void gring_publish(struct gring *r);
/* The next slot that the device is done with; it is free again. */
bool gring_used(struct gring *r, uint16_t *slot, uint32_t *len);
/* Interrupt after `more` further slots were used. True: they have been already, do not sleep. */
bool gring_arm(struct gring *r, uint16_t more);
/* After a sleep: take the notifications off. */
void gring_called(struct gring *r);

#endif

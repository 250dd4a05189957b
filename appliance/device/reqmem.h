/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory of block requests: size classes with a bounded stock of free pieces each, so that a
 * worker under load asks the C library for nothing. What exceeds the stock goes back to it.
 * The total is bounded by the tunnel (vqt_peer_cfg.mem_max and the unscheduled bytes per device).
 *
 * Thread rule: one worker. It must outlive every request.
 */
#ifndef OUTRIGGER_DEVICE_REQMEM_H
#define OUTRIGGER_DEVICE_REQMEM_H

#include <stdint.h>

#include "fabric/vqt/vqt_dev.h"

#define REQMEM_CLASSES 4

struct reqmem {
	struct reqmem_class {
		uint32_t size;	/* bytes of a piece */
		uint32_t stock; /* free pieces kept at most */
		uint32_t nfree;
		void *free; /* linked through their first word */
	} cls[REQMEM_CLASSES];
	uint64_t out; /* pieces handed out */
	uint8_t *arena;
	size_t arena_len;
};

void reqmem_init(struct reqmem *m);
/* All pieces of the stocks at once, in one range that does not move: what adapters are to reach must be known
 * to them (link_verbs_mem_add()). Pieces beyond the stock still come from the C library. -ENOMEM. */
int reqmem_arena(struct reqmem *m);
/* Nothing may be handed out (asserted). */
void reqmem_fini(struct reqmem *m);
/* The door for vqt_peer_cfg.mem. */
struct vqt_mem reqmem_door(struct reqmem *m);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One direction of an impaired wire: a frame that is offered is lost, or stands in the bottleneck's
 * queue, travels, and can be taken when it is due. Seeded: the same seed and the same frames are lost in
 * the same places. No clock: `now` is nanoseconds, monotonic.
 *
 *	loss, duplication, reordering, corruption, delay, jitter	as in link_impair.h
 *	rate	the bottleneck: a frame takes its bytes and LANE_FRAME_EXTRA of them for so long
 *	queue	frames that find more bytes than this before them are dropped
 */
#ifndef OUTRIGGER_RELAY_LANE_H
#define OUTRIGGER_RELAY_LANE_H

#include <linux/virtio_net.h>
#include <stdbool.h>
#include <stdint.h>

#include "fabric/base/list.h"
#include "fabric/base/rng.h"
#include "fabric/link/link_impair.h"

#define LANE_FRAME	 9234u /* bytes of the longest frame */
#define LANE_FRAMES	 8192u /* under way at once */
#define LANE_FRAME_EXTRA 24u   /* preamble, check sequence and gap of Ethernet: IEEE 802.3 section 3 */

struct lane_frame {
	struct list at;
	uint64_t due;
	uint32_t len; /* of data */
	struct virtio_net_hdr vnet;
	uint8_t data[LANE_FRAME];
};

struct lane_cfg {
	struct link_impair_cfg impair;
	uint64_t rate_bps;    /* 0: none */
	uint64_t queue_bytes; /* 0: no limit */
	bool cut;
};

struct lane_stats {
	uint64_t frames, bytes, lost, queue_full, cut, duplicated, reordered, corrupted, delivered, no_room;
};

struct lane {
	struct lane_cfg cfg;
	struct rng rng;
	uint64_t free_at; /* the bottleneck has sent all that stands before it */
	struct list queue, unused;
	struct lane_frame *frames;
	struct lane_stats stats;
};

int lane_init(struct lane *l, const struct lane_cfg *cfg); /* 0, -ENOMEM */
void lane_fini(struct lane *l);
/* What is under way arrives as it would have. The seed is taken anew if it is another. */
void lane_set(struct lane *l, const struct lane_cfg *cfg);

/* Where the next frame may be received into; NULL: LANE_FRAMES are under way. */
struct lane_frame *lane_blank(struct lane *l);
/* A blank that was not used. */
void lane_return(struct lane *l, struct lane_frame *f);
/* It has len and data now. */
void lane_offer(struct lane *l, struct lane_frame *f, uint64_t now);
/* The next frame that is due, to be given back by lane_return(); NULL: none is. */
struct lane_frame *lane_take(struct lane *l, uint64_t now);
uint64_t lane_due(const struct lane *l); /* UINT64_MAX: nothing is under way */

#endif

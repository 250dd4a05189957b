/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Both ends of the tunnel over two real transports joined in memory, with virtual time.
 *
 * end 0 is the agent's transport (vqt_host), end 1 the appliance's (vqt_peer). vw_run() moves datagrams
 * and services both until nothing is left to do; a hook may drop or reorder them. What the device end
 * delivers is kept for the test to look at.
 */
#ifndef OUTRIGGER_TESTS_VQT_WORLD_H
#define OUTRIGGER_TESTS_VQT_WORLD_H

#include "fabric/base/rng.h"
#include "fabric/vqt/vqt_dev.h"
#include "fabric/vqt/vqt_host.h"
#include "tests/lib/fake_ring.h"
#include "tests/lib/vqt_adapter.h"

#define VW_FRAMES 4096
#define VW_LOG	  4096

struct vw_datagram {
	uint32_t len;
	unsigned from;
	struct buf *buf;
};

#define VW_MOVES 1024

/* A move of the world's adapter, see vw_cfg.bulk. */
struct vw_move {
	bool dropped;
	struct vqt_bulk_end m;
	struct frame *frame; /* own: what is fetched into, or placed */
	struct vqt_lent keys;
	bool place;
	uint8_t *stage; /* placing: the stage, its size and the position; NULL: in the guest's own memory */
	uint32_t stage_len, pos;
	unsigned nseg, keys_of; /* where, by keys of so many revocations ago */
	struct vqt_seg seg[VQT_PLACE_SEGS];
};

struct vw {
	uint64_t now;
	struct rt *rt[2];
	struct vqt_host *host;
	struct vqt_peer *peer;
	struct frame_pool *frames;
	struct buf_pool *bufs;	    /* copies */
	struct buf_pool *datagrams; /* what is on the wire */
	struct rng rng;
	uint32_t loss[2], reorder; /* ppm; loss[end]: of datagrams sent by end */
	bool cut;
	struct adapter *adapter;
	bool no_owner; /* datagrams are given to the device end without an owner */
	/* Memory of requests. */
	uint64_t mem_live;
	unsigned mem_gets, mem_fail_after; /* fail the n-th get and later; 0: never */
	/* The adapter. */
	bool bulk;
	struct vw_move *moves[VW_MOVES]; /* under way, oldest first */
	unsigned nmoves;
	bool moves_wait;	   /* until vw_moves() */
	unsigned moves_fail;	   /* the next so many that end */
	int moves_refuse;	   /* what fetch() and place() give, if not 0 */
	bool no_keys, no_posts;	   /* the host has none; the appliance reaches the stage alone */
	unsigned places_posted;	   /* pieces of them in all */
	struct vqt_hdev *stage_of; /* whose stage place() writes to */
	unsigned fences, revoked;
	struct vqt_fence fence; /* the last */
	/* What happened. */
	struct frame *got[VW_FRAMES]; /* from guests, in order */
	unsigned ngot;
	struct vqt_req *reqs[VW_LOG]; /* delivered, not yet completed by the test */
	unsigned nreqs;
	unsigned writable, drained, idle;
	char log[VW_LOG]; /* of the host's callbacks: "stopped 0; broken 1 ...; " */
};

struct vw_cfg {
	uint32_t chunk; /* 0: default */
	uint64_t mem_max;
	uint32_t net_pending;
	bool no_door;			   /* with bulk: the appliance has no adapter */
	bool bulk;			   /* frames by key, over an adapter in memory */
	struct adapter *adapter;	   /* requests may go by key: the test's; NULL: none */
	const struct vqt_dev_ops *dev_ops; /* NULL: the world's own, which keep what is delivered */
};

void vw_init(struct vw *w, const struct vw_cfg *cfg);
void vw_fini(struct vw *w);
/* The session is lost at both ends; then a new one. Devices must be attached and bound again. */
void vw_session_down(struct vw *w);
/* Another host end, without a session. */
struct vqt_host *vw_host(uint64_t seed);
void vw_session_up(struct vw *w, const struct vw_cfg *cfg);
extern const struct vqt_key_ops vw_bulk_keys; /* vqt_hdev_cfg.keys of such a world */
/* Ends the oldest n moves; their number. */
unsigned vw_moves(struct vw *w, unsigned n);
/* Until both transports are idle, or `ns` have passed. */
void vw_run(struct vw *w, uint64_t ns);
/* Free the frames got so far. */
void vw_forget(struct vw *w);
uint64_t vw_hd(const struct vqt_hdev *d, enum vqt_hdev_counter c);
uint64_t vw_d(const struct vqt_dev *d, enum vqt_dev_counter c);

/* For vqt_hdev_cfg.keys, user being the world. */
extern const struct vqt_key_ops vw_keys;

/* A frame of len bytes whose content follows from seed, header included. */
void vw_pattern(uint8_t *p, uint32_t len, uint32_t seed);
/* A frame for vqt_dev_send(); in own memory, frame_put() it. */
struct frame *vw_frame(struct vw *w, const uint8_t *p, uint32_t len);

#endif

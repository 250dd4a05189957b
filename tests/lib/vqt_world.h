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

#define VW_FRAMES 4096
#define VW_LOG	  4096

struct vw_datagram {
	uint32_t len;
	unsigned from;
	struct buf *buf;
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
	bool no_owner; /* datagrams are given to the device end without an owner */
	/* Memory of requests. */
	uint64_t mem_live;
	unsigned mem_gets, mem_fail_after; /* fail the n-th get and later; 0: never */
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
	const struct vqt_dev_ops *dev_ops; /* NULL: the world's own, which keep what is delivered */
};

void vw_init(struct vw *w, const struct vw_cfg *cfg);
void vw_fini(struct vw *w);
/* The session is lost at both ends; then a new one. Devices must be attached and bound again. */
void vw_session_down(struct vw *w);
void vw_session_up(struct vw *w, const struct vw_cfg *cfg);
/* Until both transports are idle, or `ns` have passed. */
void vw_run(struct vw *w, uint64_t ns);
/* Free the frames got so far. */
void vw_forget(struct vw *w);
uint64_t vw_hd(const struct vqt_hdev *d, enum vqt_hdev_counter c);
uint64_t vw_d(const struct vqt_dev *d, enum vqt_dev_counter c);

/* A frame of len bytes whose content follows from seed, header included. */
void vw_pattern(uint8_t *p, uint32_t len, uint32_t seed);
/* A frame for vqt_dev_send(); in own memory, frame_put() it. */
struct frame *vw_frame(struct vw *w, const uint8_t *p, uint32_t len);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The data plane: a worker thread on an lcore of its own that runs to completion, burst by
 * burst: fabric links, transport, tunnel, switch, uplinks, backends. It takes no lock and, apart from its
 *links' system calls, calls nobody; it sleeps only when idle and allowed to.
 *
 * The control thread changes it by calls: letters (mailbox.h) whose `fn` runs on the worker
 * between two bursts and whose `done` runs on the control thread afterwards:
 *
 *	struct my_call { struct dp_call call; ... } *c = calloc(...);
 *	c->call.fn = on_worker; c->call.done = back_on_control;
 *	dp_call(dp, &c->call);
 *
 * fn may keep the letter and send it back later with dp_reply() (a drain), by returning DP_LATER.
 *
 * Thread rule: the control thread, unless a function says "worker".
 */
#ifndef OUTRIGGER_DATAPLANE_DATAPLANE_H
#define OUTRIGGER_DATAPLANE_DATAPLANE_H

#include <stdbool.h>
#include <stdint.h>

#include "appliance/dataplane/mailbox.h"
#include "appliance/dataplane/publish.h"
#include "fabric/ep/ep.h"
#include "fabric/link/link.h"

struct dp;     /* the data plane, seen from the control thread */
struct worker; /* the same, seen from its own thread (worker.h) */

enum dp_verdict { DP_DONE, DP_LATER };

struct dp_call {
	struct mail mail;					    /* first */
	enum dp_verdict (*fn)(struct worker *w, struct dp_call *c); /* worker */
	void (*done)(struct dp_call *c);			    /* control; owns c */
	struct dp *dp;
};

#define WORKER_COUNTERS(X)                                                                                   \
	X(loops)                                                                                             \
	X(busy_loops)                                                                                        \
	X(sleeps)                                                                                            \
	X(frames_in)	     /* into the switch */                                                           \
	X(frames_out)	     /* to uplinks */                                                                \
	X(gro_merged)	     /* packets of uplinks that became part of the frame before them */              \
	X(gro_super)	     /* frames made of them */                                                       \
	X(bulk_copied_bytes) /* of frames that an RDMA adapter then moved: they lay elsewhere */             \
	X(drop_no_frame)     /* flooding met an empty frame pool */                                          \
	X(drop_uplink_gone)

#define WORKER_COUNTER_ENUM(name) WORKER_C_##name,
enum worker_counter { WORKER_COUNTERS(WORKER_COUNTER_ENUM) WORKER_NCOUNTERS };
extern const char *const worker_counter_names[WORKER_NCOUNTERS];

/* wsession_cfg.link of the path inside the control channel. */
#define DP_CARRIER UINT32_MAX

struct dp_cfg {
	unsigned lcore;	 /* DPDK lcore id of the worker; the EAL runs already */
	bool sleep_idle; /* sleep when idle instead of polling for ever */
	/* A packet of an uplink waits for the next of its TCP stream for so long at most; 0: none waits, they
	 * stay single. */
	uint64_t gro_hold_ns;
	/* The fabric links, one per path of a session; taken over. */
	struct link *link[EP_LINKS];
	unsigned nlinks;
	struct link
		*verbs[EP_LINKS]; /* of link[], the RDMA ports, without what is stacked on them; else NULL */
	/* Where the link's received datagrams are kept. When it runs low, frames are copied instead of
	 * keeping them. NULL: not known. */
	const struct buf_pool *rx_bufs;
	const struct buf_pool *rdma_bufs[EP_LINKS]; /* likewise, of RDMA ports; up to the first NULL */
	struct sw_limits limits;
	/* A packet of the worker for the control channel of a session to carry. Control thread. */
	void (*carry)(void *ctx, uint64_t session_id, const uint8_t *data, uint32_t len);
	/* A session is over: its transport was silent for too long, or its host broke the protocol. Control
	 * thread; reason is constant. */
	void (*session_lost)(void *ctx, uint64_t session_id, const char *reason);

	void *ctx;
};

/* Starts the worker. NULL and *err (-errno) when it cannot. */
struct dp *dp_start(const struct dp_cfg *cfg, int *err);
/* Stops the worker and frees what it owns. Every session, vNIC and vDisk must have been removed. */
void dp_stop(struct dp *dp);

/* A packet came out of the control channel of a session. Copied; dropped when too many are on their way. */
void dp_carried(struct dp *dp, uint64_t session_id, const uint8_t *data, size_t len);

void dp_call(struct dp *dp, struct dp_call *c);
/* Worker: send a letter back that fn kept with DP_LATER. */
void dp_reply(struct dp_call *c);

/* The control thread's own mailbox: poll this fd, then call dp_control_drain(). */
int dp_control_fd(struct dp *dp);
void dp_control_drain(struct dp *dp);

const uint64_t *dp_counters(const struct dp *dp);	     /* worker_counter */
const uint64_t *dp_ep_counters(const struct dp *dp);	     /* ep_counter */
const struct link *dp_link(const struct dp *dp, unsigned i); /* counters only; NULL: no such */
/* verbs_counter of link i; NULL: it is no RDMA port. */
const uint64_t *dp_rdma_counters(const struct dp *dp, unsigned i);
/* For ports that are to be published: the pool that their received frames come from. */
struct frame_pool *dp_frames(struct dp *dp);

#endif

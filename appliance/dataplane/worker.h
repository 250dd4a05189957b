/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The worker as the functions of a dp_call see it: sessions, devices and the published
 * configuration. All of this runs on the worker's thread, between two bursts.
 *
 * Ownership: the control thread allocates sessions' transports, vNICs and vDisks; from the call that
 * hands one over until the call that takes it back it is the worker's.
 */
#ifndef OUTRIGGER_DATAPLANE_WORKER_H
#define OUTRIGGER_DATAPLANE_WORKER_H

#include "appliance/bdev/bdev.h"
#include "appliance/dataplane/dataplane.h"
#include "fabric/link/verbs/verbs.h"
#include "fabric/rt/rt.h"

struct vdisk;
struct vnic;
struct wsession;

/* Adopt a snapshot; the one before comes back (NULL: there was none). -errno of sw_apply(): nothing changed.
 */
int worker_publish(struct worker *w, const struct dp_config *next, const struct dp_config **prev);

struct wsession_cfg {
	uint64_t id;	  /* not 0 */
	struct rt_cfg rt; /* ops and ctx are filled in here */
	unsigned npaths;
	unsigned path[RT_PATHS]; /* numbers, the same at both ends */
	unsigned link[RT_PATHS]; /* of dp_cfg, that the path begins on; DP_CARRIER: the control channel */
	struct rt_path_cfg keys[RT_PATHS];
	uint8_t rank[RT_PATHS]; /* rt_path_cfg.backup */
	uint64_t seed;		/* random */
};
/* A session begins. -ENOMEM, -EEXIST: an SPI is in use, choose others. */
int worker_session_add(struct worker *w, const struct wsession_cfg *cfg, struct wsession **out);
/* It ends; every device must have been unbound. */
void worker_session_del(struct worker *w, struct wsession *s);
/* ep_session_rekey() of its path; the agent has the keys already. */
int worker_session_rekey(struct worker *w, struct wsession *s, unsigned path, const struct rt_path_cfg *next);
/* The session's end of an RDMA path is being connected to the agent's. The caller's until done() was called,
 * on the worker: err 0 or -errno. */
struct rdma_wait {
	struct list node;
	struct wsession *s; /* must not end meanwhile */
	unsigned path;	    /* one at a time of each */
	void (*done)(struct rdma_wait *wait, int err);
};
/* Begins; the old connection, if any, is gone. psn: random. -ENOENT: no such path; errors of
 * link_verbs_open() and link_verbs_connect(); then done() is not called. */
int worker_session_rdma(struct worker *w, struct rdma_wait *wait, const struct verbs_end *theirs,
			uint32_t psn, struct verbs_end *ours);

/* A region of a guest's memory, as its agent announced it: reached under key[path] if that path is in paths.
 */
struct guest_region {
	uint32_t id;
	unsigned stage; /* 0: a guest's memory; else where frames for pair stage - 1 are placed, a power of 2
			 */
	uint64_t length;
	unsigned paths; /* bit per path */
	struct verbs_key key[RT_PATHS];
};
#define GUEST_REGIONS 16u /* of one device: 8 of its guest, 8 stages */

/* The regions of device dev (wire id) are these from now on. -ENOSPC: the session's devices have too many. */
int worker_session_memory(struct worker *w, struct wsession *s, uint32_t dev,
			  const struct guest_region *regions, unsigned n);

struct rt *wsession_rt(struct wsession *s);
const uint64_t *wsession_tunnel_counters(const struct wsession *s); /* VQT_PEER_NCOUNTERS of vqt_dev.h */
bool wsession_peer(const struct wsession *s, unsigned path, struct link_addr *peer);

int worker_vnic_bind(struct worker *w, struct wsession *s, struct vnic *v, uint16_t wire, uint32_t epoch,
		     uint32_t window, enum rt_rel rel);
void worker_vnic_unbind(struct worker *w, struct vnic *v);

/* The disk is served by this worker from now on. */
int worker_vdisk_add(struct worker *w, struct vdisk *d);
void worker_vdisk_del(struct worker *w, struct vdisk *d); /* unbound */
int worker_vdisk_bind(struct worker *w, struct wsession *s, struct vdisk *d, uint16_t wire, uint32_t epoch);
int worker_vdisk_unbind(struct worker *w, struct vdisk *d, void (*unbound)(void *arg), void *arg);

/* Copies every counter that the worker keeps in its devices to where readers see it. */
void worker_counters(struct worker *w);
/* The switch's counters of a port or network (NULL: not known); read from any thread while configured. */
const uint64_t *worker_switch_counters(struct worker *w, uint32_t port);
const uint64_t *worker_network_counters(struct worker *w, uint32_t network);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the data plane share; nobody else includes this. */
#ifndef OUTRIGGER_DATAPLANE_WORKER_IMPL_H
#define OUTRIGGER_DATAPLANE_WORKER_IMPL_H

#include "appliance/dataplane/worker.h"
#include "appliance/device/reqmem.h"
#include "appliance/device/vdisk.h"
#include "appliance/device/vnic.h"
#include "appliance/port/port.h"
#include "appliance/switch/switch.h"
#include "fabric/base/idmap.h"
#include "fabric/base/list.h"
#include "fabric/ep/ep.h"

#define WORKER_DISKS 4096u
#define UPLINK_BURST 64

/* Frames of this turn for one uplink. */
struct uplink_tx {
	uint32_t n;
	struct port_tx tx[UPLINK_BURST];
};

/* A guest's memory as its agent announced it. */
struct wregion {
	struct list node; /* on wsession->region_list */
	uint32_t dev;
	struct guest_region r;
};

struct wsession {
	struct list node;   /* on worker->sessions */
	struct list marked; /* on worker->marked, or alone */
	struct worker *w;
	uint64_t id;
	struct rt *rt;
	struct vqt_peer *peer;
	struct ep_session *eps;
	/* What its agent leaves unfinished stands in these: it can use up only its own. */
	struct frame_pool *frames;
	struct buf_pool *bufs;
	struct link *verbs[RT_PATHS]; /* by path: its RDMA port; NULL: none */
	struct idmap regions;	      /* guests' memory, by device and id: struct wregion */
	struct list region_list;      /* the same */
	struct list moves;	      /* under way: struct wmove */
	unsigned move_turn;	      /* the path that is tried first */
	struct list starved;	      /* on worker->starved: waits for slots of the bulk */
	unsigned slots;		      /* of them, held by moves under way */
	bool given_up;		      /* control was told */
	bool mtu_said;		      /* that its packets are too large for the network */
};

/* One move between the arena of requests and a guest. */
struct wmove {
	struct list node; /* on wsession->moves, or worker->free_moves */
	struct verbs_move vm;
	struct vqt_move *of;
	struct worker *w;
	struct wsession *s;
	unsigned path;
	struct verbs_seg seg[VERBS_SEGS_MAX];
};

struct worker {
	struct dp *dp;
	struct mailbox down;
	bool stop; /* worker: set by a letter */
	bool sleep_idle;
	bool polled;	  /* a fabric link has no descriptor */
	bool has_uplinks; /* ports have none either */
	bool link_broken;
	uint64_t now; /* of this turn */
	uint64_t tick_at, port_wait;
	int epoll;
	struct ep *ep;
	struct link *verbs[EP_LINKS]; /* as dp_cfg.verbs */
	struct list rdma_waits;
	struct link *pipe; /* the carrier inside control channels; the ep's */
	unsigned pipe_index;
	struct buf_pool *pipe_bufs;
	struct sw *sw;
	const struct dp_config *config; /* NULL: nothing published yet */
	struct frame_pool *frames;
	struct buf_pool *waiting, *shape_bufs;
	/* Of the fabric links; up to the first NULL. */
	const struct buf_pool *rx_bufs[EP_LINKS + 2];
	struct reqmem reqmem;
	struct wmove *moves; /* NULL: no RDMA port reaches the arena */
	struct list free_moves;
	bool moved; /* some are over: disks may wait for that */
	struct bdev_group *bdevs;
	struct list needy; /* disks that vdisk_service() is for */
	struct vdisk *disks[WORKER_DISKS];
	unsigned ndisks;
	struct list sessions, marked, starved;
	struct worker_bulk *bulk; /* NULL: no RDMA port */
	struct uplink_tx uplink_tx[DP_UPLINKS];
	struct uplink_rx {
		struct worker *w;
		uint32_t index;
		struct gro *gro; /* NULL: off */
	} uplink_rx[DP_UPLINKS];
	uint64_t counters[WORKER_NCOUNTERS];
};

/* A frame into the switch, from a port of it; takes f. */
void worker_forward(struct worker *w, uint32_t from, uint16_t vlan, struct frame *f);

/* uplink.c */
int uplinks_open(struct worker *w, uint64_t gro_hold_ns);
void uplinks_close(struct worker *w);
int uplinks_in(struct worker *w); /* frames received */
void uplinks_out(struct worker *w);
/* What waits for more of its stream goes on: all of it, or what has waited long enough. */
void uplinks_release(struct worker *w, bool all);
/* To be sent at the end of the turn; takes f. */
void uplink_send(struct worker *w, uint32_t port, uint16_t vlan, struct frame *f);

int worker_init(struct worker *w, const struct dp_cfg *cfg, struct dp *dp, uint64_t seed);
void worker_fini(struct worker *w);
int worker_main(void *arg);

/* worker_rdma.c */
/* Queue pairs of the session go. */
void worker_rdma_close(struct wsession *s);
/* With each tick of the worker, and with each turn while somebody waits. */
void worker_rdma_news(struct worker *w);

/* worker_bulk.c */
int worker_bulk_open(struct worker *w);	  /* after the ports are known */
void worker_bulk_close(struct worker *w); /* after they are gone */
struct vqt_bulk worker_bulk_door(struct wsession *s);
/* Where frames that adapters moved are; NULL: nowhere. */
const struct buf_pool *worker_bulk_slots(const struct worker *w);
/* Sessions that waited for slots go on, if there are some. */
void worker_bulk_serve(struct worker *w);

/* worker.c */
/* The session is served at the end of this turn. */
void worker_mark(struct wsession *s);

/* worker_memory.c */
/* The arena of requests, known to all RDMA ports. Without it payload goes in messages, and a line says why.
 */
void worker_arena_open(struct worker *w, uint64_t seed);
void worker_arena_close(struct worker *w);	    /* links are gone */
int worker_move(void *session, struct vqt_move *m); /* vqt_move_door.start */
/* What the stage of a pair is called among a device's regions: no guest's memory is called so. */
static inline uint32_t worker_stage_id(unsigned pair)
{
	return 1u << 31 | pair;
}
void worker_memory_init(struct wsession *s, uint64_t seed);
void worker_memory_fini(struct wsession *s);

/* dataplane.c, callable on the worker: tells the control thread. reason is constant. */
bool dp_carry(void *dp, const struct link_addr *to, const uint8_t *data, uint32_t len);
void dp_session_over(struct dp *dp, uint64_t session_id, const char *reason);

#endif

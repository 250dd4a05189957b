/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the engine share; nobody else includes this. */
#ifndef OUTRIGGER_HOSTAGENT_ENGINE_IMPL_H
#define OUTRIGGER_HOSTAGENT_ENGINE_IMPL_H

#include <event2/event.h>

#include "fabric/base/counter.h"
#include "fabric/base/list.h"
#include "fabric/ep/ep.h"
#include "fabric/vqt/vqt_host.h"
#include "hostagent/engine/engine.h"
#include "hostagent/engine/lanes.h"

/* virtio 1.2, 5.1.3. */
#define NET_F_MRG_RXBUF (1ull << 15)

/* A region of a guest's memory, registered with the RDMA paths of the session. */
struct emem {
	struct list node; /* on edev->mem */
	uint8_t *at;
	uint64_t len;
	unsigned stage; /* 0: a guest's; else of receive pair stage - 1, ours */
	uint32_t id;	/* of the registration under way; 0: there is none */
	struct verbs_mem *on[RT_PATHS];
};

/* One device: a front-end and its end of the tunnel. */
struct edev {
	struct list node; /* on engine->devs */
	struct engine *e;
	char *uid, *name;
	uint32_t dev;	/* wire id in the session; only while `known` */
	bool known;	/* attached in this session */
	bool told;	/* engine_stats() gave its counters in this session; again, when they have changed */
	bool detaching; /* draining; up->detached() follows */
	uint64_t left;	/* not `known`: engine.round as it ceased to be */
	bool report;	/* its state changed: up->device_state() is due */
	bool connected;
	uint64_t features; /* accepted by the guest */
	uint64_t running;  /* bit per virtqueue */
	uint64_t stopping; /* likewise: the front-end waits for fe_queue_drained() */
	char broken[128];
	struct list mem;		/* regions */
	uint32_t mem_serial, mem_taken; /* the last list made, the last that the appliance took */
	bool mem_news;			/* the list is to be made and told anew */
	bool mem_said;			/* a failure was logged */
	struct fe *fe;
	struct vqt_hdev *hdev; /* NULL until a user first came */
	struct vqt_bind bind;
	enum fe_kind kind;
	bool tap;
	char tap_name[FE_NAME_MAX];
	uint8_t mac[6];
	uint16_t nqueues, queue_size, mtu, config_len;
	uint64_t offered;
	uint32_t credit;
	uint8_t config[FE_CONFIG_MAX];
};

/* Of the agent as a whole. */
#define ENGINE_COUNTERS(X)                                                                                   \
	X(runs)	       /* of the loop that moves bursts: wake-ups, and turns of work that goes on */         \
	X(polls_empty) /* of those, without work: see engine_cfg.poll_ns */                                  \
	X(cpu_us)      /* of this thread */
#define ENGINE_COUNTER_ENUM(name) ENGINE_C_##name,
enum engine_counter { ENGINE_COUNTERS(ENGINE_COUNTER_ENUM) ENGINE_NCOUNTERS };
extern const char *const engine_counter_names[ENGINE_NCOUNTERS];

struct engine {
	struct event_base *base;
	char *run_dir;
	gid_t group;
	const struct engine_up *up;
	void *ctx;
	struct link_impair_cfg impair;
	bool impaired;
	struct vqt_host *host;
	struct buf_pool *bufs;
	struct ep *ep; /* NULL: no session */
	struct ep_session *session;
	struct event *link_ev[EP_LINKS];
	struct link *pipe; /* of the carrier path; the ep's, NULL: none */
	struct buf_pool *pipe_bufs;
	struct verbs_port rdma_port[ENGINE_RDMA_PORTS];
	unsigned nrdma;
	struct link *rdma[RT_PATHS]; /* by path, without what is stacked on it; NULL: not RDMA */
	struct buf_pool *rdma_bufs[RT_PATHS];
	unsigned rdma_up;    /* bit per path: connected */
	struct event *work;  /* made active by hand: there is something to do in this turn of the loop */
	struct event *timer; /* ep_deadline() */
	uint64_t timer_at;
	struct event *soon; /* likewise, of a near one */
	int soon_fd;
	uint64_t soon_at;	/* when it will be active; a past time: it will not */
	uint32_t told_offloads; /* bit per path */
	bool kicked;		/* since the last run */
	uint64_t poll_ns, poll_until, worked_at;
	uint64_t counters[ENGINE_NCOUNTERS];
	bool lost; /* up->lost() was called for this session */
	struct list devs;
	bool unsettled;	     /* a device has something for engine_settle() */
	struct lanes *lanes; /* NULL: this is the only one */
	unsigned lane;
	uint64_t round; /* the last heard */
	struct event *letters;
};

/* There is work: run once, after the other events of this turn. Not from the run. */
void engine_wake(struct engine *e);

/* engine.c: takes over l, whatever becomes of it. peer: the address that the path's packets go to. */
int engine_link_up(struct engine *e, struct link *l, const struct engine_path *p,
		   const struct link_addr *peer, uint64_t now);

/* engine_rdma.c */
int engine_rdma_up(struct engine *e, const struct engine_path *p, uint64_t now);
void engine_rdma_down(struct engine *e); /* the links are gone */
/* As engine_stats(): of all RDMA ports together. */
void engine_rdma_stats(const struct engine *e,
		       void (*fn)(void *arg, uint32_t dev, const char *name, uint64_t value), void *arg);
void engine_rdma_settle(struct engine *e); /* tells the news; from the run alone */

/* engine_mem.c */
/* From a front-end: see fe_config.memory; arg is the edev. */
void emem_memory(void *arg, void *at, uint64_t len, bool there);
/* The stages of the device's receive queues are memory of it too. */
void emem_stages(struct edev *d);
/* No device reaches the guest's memory when this returns; it is registered afresh later. */
void emem_revoke(struct edev *d);
void emem_free(struct edev *d);
/* Nor does any adapter reach the stages: the device leaves a session that goes on. */
void emem_withdraw(struct edev *d);
/* The session begins (attached in it) or has ended, and its links with it. */
void emem_session(struct edev *d, bool up);
/* From the run: registers what is not yet, and makes the list; true: it is to be told. */
bool emem_settle(struct edev *d);

extern const struct vqt_key_ops emem_keys;
/* engine_rdma.c: the path's queue pair is destroyed if it has that number. */
void engine_rdma_fence(struct engine *e, unsigned path, uint32_t qpn);

/* engine_lane.c */
int engine_lane_up(struct engine *e);
void engine_lane_down(struct engine *e);
/* 0: no other lane has the device; -EINPROGRESS: one has, and was asked: up->came() follows. */
int engine_fetch(struct engine *e, const char *uid);

/* engine_dev.c */
struct edev *edev_find(const struct engine *e, uint32_t dev);
struct edev *edev_find_uid(const struct engine *e, const char *uid);
/* No longer of the session, which goes on; it waits for the next that takes it up. */
void edev_release(struct edev *d);
/* From one engine to another, with its front-end. join: an error of fe_join(), and it is to be destroyed. */
void edev_leave(struct edev *d);
int edev_join(struct engine *e, struct edev *d);
/* Devices that no lane was told of, when that round came, go. */
void engine_purge(struct engine *e, uint64_t round);
void edev_destroy(struct edev *d);
void edev_session_down(struct edev *d);
/* Reports and removals that were put off; from the run alone. */
void engine_settle(struct engine *e);
extern const struct vqt_host_ops edev_tunnel_calls;

#endif

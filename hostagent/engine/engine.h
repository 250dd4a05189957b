/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent's engine: one event loop that moves bursts between front-ends and the fabric.
 *
 *	kick or datagrams -> vqt_host -> rt -> link        (one wake-up drains everything ready)
 *
 * It knows devices (front-end + tunnel end) by uid, and at most one session at a time. Devices
 * outlive sessions: without one the guests' rings just wait. The control session (session.h) tells
 * it what to attach; it never looks inside a frame or a request.
 *
 * Idle, it sleeps in epoll with one timer, the transport's keepalive. With poll_ns it goes on looking for so
 * long after work, while work comes at least so often: fewer wake-ups for a core that burns meanwhile.
 *
 * An agent may have several engines, each with a thread, an event base and a session of its own (lanes.h).
 *
 * Thread rule: the event base's thread. Errors: 0 / -errno.
 */
#ifndef OUTRIGGER_HOSTAGENT_ENGINE_H
#define OUTRIGGER_HOSTAGENT_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fabric/link/link.h"
#include "fabric/link/link_impair.h"
#include "fabric/link/verbs/verbs.h"
#include "fabric/rt/rt.h"
#include "hostagent/frontend/frontend.h"

struct event_base;
struct engine;
struct lanes;

/* Calls up, from inside the loop, never from inside an engine_*() call. All required, came() and opened() of
 * a lane of several. */
struct engine_up {
	/* What the guest did to a device; also once after each attach. */
	void (*device_state)(void *ctx, uint32_t dev);
	/* engine_detach() has come to its end: nothing of the device is in flight. */
	void (*detached)(void *ctx, uint32_t dev);
	/* The transport heard nothing of the appliance for too long, or its link broke. */
	void (*lost)(void *ctx, const char *reason);
	/* A packet for the control channel to carry. False: it cannot now. May be called from inside engine
	 * calls. */
	bool (*carry)(void *ctx, const uint8_t *data, uint32_t len);
	/* What of a device's memory RDMA peers may reach has changed: engine_memory() says it. */
	void (*memory)(void *ctx, uint32_t dev);
	/* Of an RDMA path: after VERBS_BROKEN engine_rdma_open() makes another connection. */
	void (*rdma_news)(void *ctx, unsigned path, const struct verbs_news *news);
	/* engine_attach() of this device gave -EINPROGRESS: it is to be called again. */
	void (*came)(void *ctx, const char *uid);
	/* The appliance takes this lane too. */
	void (*opened)(void *ctx);
};

struct engine_cfg {
	struct event_base *base;
	const char *run_dir;		      /* of the guests' sockets */
	gid_t group;			      /* of socket files; 0: the process's */
	const struct link_impair_cfg *impair; /* NULL: none */
	uint64_t poll_ns;		      /* 0: never poll */
	const struct verbs_port *rdma;	      /* RDMA ports; copied */
	unsigned nrdma;
	struct lanes *lanes; /* NULL: this engine is the only one of the agent */
	unsigned lane;	     /* this one, from 0 */
	const struct engine_up *up;
	void *ctx;
};

#define ENGINE_RDMA_PORTS 3u

struct engine_path {
	unsigned index;
	unsigned rdma_port; /* from 1: of engine_cfg.rdma; peer is not used; 0: not RDMA */
	bool carrier;	    /* inside the control channel; peer is not used */
	struct link_addr peer;
	struct rt_path_cfg keys;
};

struct engine_session {
	const struct aead_ops *aead;
	uint32_t chunk, chunk_max;
	uint64_t keepalive_ns, lost_ns;
	unsigned npaths;
	struct engine_path path[RT_PATHS];
};

struct engine_dev_cfg {
	uint32_t dev; /* wire id in this session */
	const char *uid, *name, *tap_name;
	enum fe_kind kind;
	bool tap;
	uint16_t nqueues; /* virtqueues */
	uint16_t queue_size;
	uint64_t features;
	const uint8_t *config;
	uint16_t config_len;
	uint8_t mac[6];
	uint16_t mtu;
	uint32_t epoch;
	uint32_t credit; /* NET: bytes per queue */
	uint32_t max_inflight;
	enum rt_rel rel;
};

struct engine_dev_state {
	bool connected;
	uint64_t features;
	uint64_t running;   /* bit n: virtqueue n */
	const char *broken; /* "": it is well */
};

/* Memory of a device that the appliance may READ and WRITE over RDMA, with a key per path. */
#define ENGINE_STAGES  8u
#define ENGINE_REGIONS (8u + ENGINE_STAGES)
struct engine_region {
	uint32_t id;	/* never used twice by a device of this process */
	unsigned stage; /* 0: a guest's memory; else what the appliance places for receive pair stage - 1 */
	uint64_t length;
	unsigned nkeys;
	struct {
		unsigned path;
		struct verbs_key key;
	} key[RT_PATHS];
};

/* Can a session have a path over this port, now or when it is up? A sentence in why if not: no device, locked
 * memory, ... */
int engine_rdma_check(const struct verbs_port *port, char *why, size_t why_len);

int engine_create(const struct engine_cfg *cfg, struct engine **out);
/* Front-ends go, sockets are removed. NULL is fine. */
void engine_destroy(struct engine *e);

/* A session begins (one must not be up). Devices of the last one wait until they are attached again. */
int engine_session_up(struct engine *e, const struct engine_session *cfg);
/* It ended: keys, transport and sockets of the fabric go; devices and what is in flight stay. */
void engine_session_down(struct engine *e);

/* Fresh SPIs and keys for a path. -ENOTCONN, or ep_session_rekey()'s errors. */
int engine_rekey(struct engine *e, unsigned path, const struct rt_path_cfg *next);
/* This end of an RDMA path, a fresh one, and the other; a path carries nothing before that. -ENOENT: no such
 * path; errors of link_verbs_open() and link_verbs_connect(), whose end rdma_news() tells. */
int engine_rdma_open(struct engine *e, unsigned path, uint32_t psn, struct verbs_end *ours);
int engine_rdma_connect(struct engine *e, unsigned path, const struct verbs_end *theirs);
/* All regions of a device, and the number of this list; -ENOENT: no such device. Requests name them when the
 * appliance has taken the list of that number, engine_memory_taken(), and not before. */
int engine_memory(const struct engine *e, uint32_t dev, struct engine_region out[ENGINE_REGIONS], unsigned *n,
		  uint32_t *serial);
void engine_memory_taken(struct engine *e, uint32_t dev, uint32_t serial);
/* The control channel is a new one: lists not known to be taken are to be told again, by up->memory(). */
void engine_memory_again(struct engine *e);
/* A packet came out of the control channel. */
void engine_carried(struct engine *e, const uint8_t *data, size_t len);

/* Make a device, or take up the one with this uid again under a new wire id and epoch. endpoint
 * gets the socket path or TAP name. On error why has a line that says what to do. -EINPROGRESS: another lane
 * has it, see up->came(). */
int engine_attach(struct engine *e, const struct engine_dev_cfg *cfg, char endpoint[128], char why[256]);
/* Ends in up->detached(). -ENOENT. */
int engine_detach(struct engine *e, uint32_t dev);
/* The device leaves the session but stays on the host, as it is and with what is in flight, until it is
 * attached again, here or by another lane. -ENOENT. */
int engine_release(struct engine *e, uint32_t dev);
/* Everything there is has been attached: devices that were not are removed (by lanes: when each of them has
 * heard the same round). */
void engine_synced(struct engine *e, uint64_t round);
int engine_configure(struct engine *e, uint32_t dev, const uint8_t *config, uint16_t len);
int engine_state(const struct engine *e, uint32_t dev, struct engine_dev_state *out);

/* Calls fn for each counter of the fabric, dev is UINT32_MAX for those, and for those of each device of which
 * one has changed since the last call or since it was attached: an idle host says next to nothing. */
void engine_stats(struct engine *e, void (*fn)(void *arg, uint32_t dev, const char *name, uint64_t value),
		  void *arg);

#endif

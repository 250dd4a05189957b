/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connecting the RDMA paths of a session, over its control channel: at the start each path, later each whose
 * connection broke. One at a time; what fails or gets no answer is tried again, with back-off.
 *
 * Thread rule: the event base's thread.
 */
#ifndef OUTRIGGER_HOSTAGENT_SESSION_RDMA_H
#define OUTRIGGER_HOSTAGENT_SESSION_RDMA_H

#include <event2/event.h>
#include <stdbool.h>

#include "fabric/base/rng.h"
#include "fabric/chan/chan.h"
#include "hostagent/engine/engine.h"
#include "proto/session/session.h"

struct session_rdma {
	struct engine *engine;
	/* Puts a message on the control channel; false: there is none. */
	bool (*say)(void *ctx, Outrigger__Session__V1__Message *m);
	void *ctx;
	struct event *timer;
	struct chan_backoff backoff;
	struct rng rng;
	unsigned due;  /* bit per path: not connected */
	bool asked;    /* an answer is awaited */
	unsigned path; /* for which */
	bool told;     /* the last failure was logged */
};

/* seed: random. -ENOMEM. */
int session_rdma_init(struct session_rdma *r, struct event_base *base, uint64_t seed);
void session_rdma_fini(struct session_rdma *r);
/* A session is up with these RDMA paths (a bit each), or has a new channel (its paths as they were). */
void session_rdma_start(struct session_rdma *r, unsigned paths);
void session_rdma_again(struct session_rdma *r);
/* It is over. */
void session_rdma_stop(struct session_rdma *r);
void session_rdma_broken(struct session_rdma *r, unsigned path);
/* NULL, or what was wrong with the message. */
const char *session_rdma_opened(struct session_rdma *r, const Outrigger__Session__V1__RdmaOpened *m);

#endif

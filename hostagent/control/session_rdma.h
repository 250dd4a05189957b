/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connecting the RDMA paths of a session, over its control channel: at the start each path, later each whose
 * connection broke; rdma_paths.h says when.
 *
 * Thread rule: the event base's thread.
 */
#ifndef OUTRIGGER_HOSTAGENT_SESSION_RDMA_H
#define OUTRIGGER_HOSTAGENT_SESSION_RDMA_H

#include <event2/event.h>
#include <stdbool.h>

#include "hostagent/control/rdma_paths.h"
#include "hostagent/engine/engine.h"
#include "proto/session/session.h"

struct session_rdma {
	struct engine *engine;
	/* Puts a message on the control channel; false: there is none. */
	bool (*say)(void *ctx, Outrigger__Session__V1__Message *m);
	void *ctx;
	struct event *timer;
	struct rdma_paths paths;
};

/* seed: random. -ENOMEM. */
int session_rdma_init(struct session_rdma *r, struct event_base *base, uint64_t seed);
void session_rdma_fini(struct session_rdma *r);
/* A session is up with these RDMA paths (a bit each), or has a new channel (its paths as they were). */
void session_rdma_start(struct session_rdma *r, unsigned paths);
void session_rdma_again(struct session_rdma *r);
/* It is over. */
void session_rdma_stop(struct session_rdma *r);
/* As engine_up.rdma_news. */
void session_rdma_news(struct session_rdma *r, unsigned path, const struct verbs_news *news);
/* NULL, or what was wrong with the message. */
const char *session_rdma_opened(struct session_rdma *r, const Outrigger__Session__V1__RdmaOpened *m);

#endif

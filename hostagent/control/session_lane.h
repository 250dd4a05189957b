/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A session's part in lanes.h: what it says of the agent's lanes, when it may begin, and the attaches that
 * wait for a device that another lane holds. Private to this room. Thread rule: the session's.
 */
#ifndef OUTRIGGER_HOSTAGENT_SESSION_LANE_H
#define OUTRIGGER_HOSTAGENT_SESSION_LANE_H

#include <stdbool.h>

#include "fabric/base/list.h"
#include "hostagent/engine/lanes.h"
#include "proto/session/session.h"

struct session_lane {
	struct lanes *lanes; /* NULL: there is but one */
	unsigned lane;
	bool shut; /* the appliance is not known to take this lane */
	struct list awaited;
};

void session_lane_init(struct session_lane *l, struct lanes *lanes, unsigned lane);
/* The session is over: nothing is awaited any more. */
void session_lane_down(struct session_lane *l);
/* Into h, until session_lane_hello_done(). Without memory it says less. */
void session_lane_hello(struct session_lane *l, Outrigger__Session__V1__Hello *h);
void session_lane_hello_done(Outrigger__Session__V1__Hello *h);
/* NULL, or why this lane has no session with that appliance: it waits for lane 0 to find a better one. */
const char *session_lane_welcome(struct session_lane *l, const Outrigger__Session__V1__Welcome *w);
bool session_lane_shut(const struct session_lane *l);
/* True: it was shut. */
bool session_lane_opened(struct session_lane *l);

/* Keeps a copy; -ENOMEM. */
int session_lane_await(struct session_lane *l, const Outrigger__Session__V1__Attach *a);
/* That attach, to be freed, and no longer awaited; NULL: none. */
Outrigger__Session__V1__Attach *session_lane_came(struct session_lane *l, const char *uid);
void session_lane_forget(struct session_lane *l, uint32_t dev);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Telling the appliance the counters it asks for. Thread rule: the event base's thread. */
#ifndef OUTRIGGER_HOSTAGENT_SESSION_STATS_H
#define OUTRIGGER_HOSTAGENT_SESSION_STATS_H

#include "hostagent/engine/engine.h"
#include "proto/session/session.h"

/* Gives the messages that answer request id to say. Without memory it says nothing: the next request may find
 * some. */
void session_stats_tell(struct engine *e, uint64_t id,
			bool (*say)(void *ctx, Outrigger__Session__V1__Message *m), void *ctx);

#endif

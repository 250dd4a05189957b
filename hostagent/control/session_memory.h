/* SPDX-License-Identifier: Apache-2.0 */
/* Telling the appliance what memory of a guest it may reach over RDMA. Thread rule: the event base's thread.
 */
#ifndef OUTRIGGER_HOSTAGENT_SESSION_MEMORY_H
#define OUTRIGGER_HOSTAGENT_SESSION_MEMORY_H

#include "hostagent/engine/engine.h"
#include "proto/session/session.h"

/* Gives the message with the device's list to say. A list that is not said or lost with its channel is made
 * again by engine_memory_again(). */
void session_memory_tell(const struct engine *e, uint32_t dev,
			 bool (*say)(void *ctx, Outrigger__Session__V1__Message *m), void *ctx);

#endif

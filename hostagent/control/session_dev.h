/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A session's devices: what the appliance asks of them, as the engine has it done, and what it is told of
 * them. Private to this room. Thread rule: the event base's thread.
 */
#ifndef OUTRIGGER_HOSTAGENT_SESSION_DEV_H
#define OUTRIGGER_HOSTAGENT_SESSION_DEV_H

#include <stdbool.h>
#include <stdint.h>

#include "hostagent/control/session_lane.h"
#include "hostagent/engine/engine.h"
#include "proto/session/session.h"

struct session_dev {
	struct engine *engine;
	struct session_lane *lane;
	/* Puts a message on the control channel, or ends that; false: there is none to say it on. */
	bool (*say)(void *ctx, Outrigger__Session__V1__Message *m);
	void *ctx;
};

/* Says how it went and how the device is, unless another lane holds it: then a copy waits for
 * session_lane_came(). */
void session_dev_attach(const struct session_dev *d, const Outrigger__Session__V1__Attach *a);
void session_dev_detach(const struct session_dev *d, const Outrigger__Session__V1__Detach *m);
/* NULL, or what was wrong with the message. */
const char *session_dev_configure(const struct session_dev *d, const Outrigger__Session__V1__Configure *m);
/* Says how the device is, or that nothing of it is in flight any more. */
void session_dev_state(const struct session_dev *d, uint32_t dev);
void session_dev_detached(const struct session_dev *d, uint32_t dev);

#endif

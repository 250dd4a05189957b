/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A struct vhost under test, with a vhost_front wired straight into it: real memory, no socket. What the core
 * does is appended to a log of text, one word group per effect, to be compared as one string.
 */
#ifndef OUTRIGGER_TESTS_VHOST_ENV_H
#define OUTRIGGER_TESTS_VHOST_ENV_H

#include "tests/lib/vhost_front.h"

struct vhost_env {
	struct vhost *v;
	struct vfront front;
	char log[4096];
	uint8_t reply[VHOST_MSG_MAX]; /* the last one, until received */
	size_t reply_len;
	int reply_fd;
	int error; /* of the last vhost_message() */
	uint64_t acked;
};

void vhost_env_init(struct vhost_env *e, const struct vhost_config *cfg);
void vhost_env_fini(struct vhost_env *e);
/* The effects since last asked, ended with "; " each; valid until the next one. */
const char *vhost_env_log(struct vhost_env *e);
/* Negotiate everything offered, memory, and queues 0 .. n) of num descriptors. */
void vhost_env_run(struct vhost_env *e, uint64_t features, unsigned n, uint16_t num);
/* The front-end goes away and comes back to a new struct vhost, as after the agent's death. */
void vhost_env_restart(struct vhost_env *e, const struct vhost_config *cfg);
unsigned vhost_env_fds(void); /* open file descriptors of this process */

#endif

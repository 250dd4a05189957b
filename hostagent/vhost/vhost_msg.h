/* SPDX-License-Identifier: Apache-2.0 */
/* One message under way, between the dispatcher and the handlers. Private to this room. */
#ifndef OUTRIGGER_VHOST_MSG_H
#define OUTRIGGER_VHOST_MSG_H

#include "hostagent/vhost/vhost_int.h"

struct vhost_call {
	struct vhost_hdr hdr; /* private copies */
	union vhost_payload p;
	int fds[VHOST_FDS_MAX];
	unsigned nfds;
};

/* Take fd 0 out of the call, or -1: the rest is closed by the dispatcher. */
static inline int call_take_fd(struct vhost_call *c)
{
	int fd = c->nfds ? c->fds[0] : -1;

	c->fds[0] = -1;
	return fd;
}

/* Reply to request with size bytes of payload. */
void vhost_reply(struct vhost *v, uint32_t request, const void *payload, uint32_t size, int fd);

/* Handlers of vhost_vring.c: 0 or -errno. */
int vring_num(struct vhost *v, struct vhost_call *c);
int vring_addr(struct vhost *v, struct vhost_call *c);
int vring_base(struct vhost *v, struct vhost_call *c);
int vring_get_base(struct vhost *v, struct vhost_call *c);
int vring_kick(struct vhost *v, struct vhost_call *c);
int vring_call(struct vhost *v, struct vhost_call *c);
int vring_err(struct vhost *v, struct vhost_call *c);
int vring_enable(struct vhost *v, struct vhost_call *c);

#endif

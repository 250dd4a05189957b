/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A vhost_front's wire over a unix socket whose other end runs in this very thread: every wait turns the
 * caller's event loop, with a deadline.
 */
#ifndef OUTRIGGER_TESTS_VHOST_SOCK_H
#define OUTRIGGER_TESTS_VHOST_SOCK_H

#include "tests/lib/vhost_front.h"

struct vhost_sock {
	int fd; /* -1: closed */
	void (*pump)(void *arg);
	void *pump_arg;
};

struct vfront_wire vhost_sock_wire(struct vhost_sock *s);
int vhost_sock_listen(const char *path);
/* Connect, or accept from lfd while pumping: the new fd, -1 after five seconds. */
int vhost_sock_connect(const char *path);
int vhost_sock_accept(struct vhost_sock *s, int lfd);
/* Pump until the peer closed; false after five seconds. */
bool vhost_sock_closed(struct vhost_sock *s);
/* Pump until cond(arg); false after five seconds. */
bool vhost_sock_until(struct vhost_sock *s, bool (*cond)(void *arg), void *arg);

#endif

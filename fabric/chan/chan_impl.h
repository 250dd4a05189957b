/* SPDX-License-Identifier: Apache-2.0 */
/* Between chan.c (one channel) and chan_listen.c (the accepting side). */
#ifndef OUTRIGGER_CHAN_IMPL_H
#define OUTRIGGER_CHAN_IMPL_H

#include <event2/bufferevent.h>
#include <event2/event.h>

#include "fabric/base/list.h"
#include "fabric/chan/chan.h"

#define CHAN_HEADER 4

enum chan_state {
	CHAN_HANDSHAKE,
	CHAN_UP,
	CHAN_DEAD, /* down was called; freed when no callback of it runs */
};

struct chan {
	struct list link;		/* in listener->channels */
	struct chan_listener *listener; /* NULL: made by chan_connect() */
	struct bufferevent *bev;
	SSL *ssl;	     /* owned by bev */
	struct event *timer; /* ends a handshake that takes too long */
	const struct chan_ops *ops;
	void *ctx;
	void *user;
	const char *role;
	enum chan_state state;
	unsigned depth; /* callbacks running on this channel */
	unsigned stall_ms;
	size_t queue_max;
	char address[64];
};

struct chan_listener {
	struct event_base *base;
	struct evconnlistener *ev;
	struct event *resume; /* accepts again after running out of descriptors */
	SSL_CTX *tls;
	struct chan_listen_cfg cfg; /* defaults filled in */
	struct list channels;
	unsigned handshaking, count;
	uint16_t port;
	unsigned refusals; /* in the period since period_start */
	uint64_t period_start;
	uint64_t counters[CHAN_NCOUNTERS];
};

/* fd (connected or connecting, non-blocking) is taken, also on error. -ENOMEM. */
int chan_start(struct event_base *base, int fd, SSL_CTX *tls, bool server, unsigned handshake_ms,
	       struct chan *c);
struct chan *chan_alloc(const struct chan_ops *ops, void *ctx, const char *role, unsigned stall_ms,
			size_t queue_max);
void chan_discard(struct chan *c); /* without a word to the user */
/* The listener's books: the handshake is over, well or not; the channel is gone. */
void chan_listener_handshake_over(struct chan_listener *l, struct chan *c, bool up, const char *reason);
void chan_listener_gone(struct chan_listener *l, struct chan *c);

#endif

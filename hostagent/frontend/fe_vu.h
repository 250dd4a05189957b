/* SPDX-License-Identifier: Apache-2.0 */
/* The vhost-user front-end's parts: fe_vu.c (device, effects), fe_sock.c (socket). Private to this room. */
#ifndef OUTRIGGER_FE_VU_H
#define OUTRIGGER_FE_VU_H

#include <event2/event.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "fabric/base/counter.h"
#include "hostagent/frontend/fe_saved.h"
#include "hostagent/frontend/fe_watch.h"
#include "hostagent/frontend/frontend.h"
#include "hostagent/vhost/vhost.h"

#define FE_VU_COUNTERS(X)                                                                                    \
	X(connections)                                                                                       \
	X(connections_refused)                                                                               \
	X(accepts_put_off) /* no descriptor was left for one that connects */                                \
	X(protocol_errors)                                                                                   \
	X(kicks)                                                                                             \
	X(kicks_idle)	   /* of a queue that does not run */                                                \
	X(kicks_useless)   /* without a chain since the one before */                                        \
	X(kicks_muted)	   /* times a queue was not listened to for a while: too many of those */            \
	X(rings_not_saved) /* no file for them: see fe_saved.h */
#define FE_VU_COUNTER_ENUM(name) FE_VU_C_##name,
enum fe_vu_counter { FE_VU_COUNTERS(FE_VU_COUNTER_ENUM) FE_VU_NCOUNTERS };

struct fe_vu {
	struct fe fe;
	struct event_base *base;
	const struct fe_up *up;
	void (*memory)(void *arg, void *at, uint64_t len, bool there); /* up; NULL: nobody asks */
	void *arg;
	enum fe_kind kind;
	unsigned nqueues;
	struct vhost *v;
	struct fe_saved saved; /* its records of packed rings */
	struct fe_queue queues[FE_QUEUES_MAX];
	struct event *kick_ev[FE_QUEUES_MAX];
	struct kick_arg {
		struct fe_vu *f;
		unsigned q;
		uint32_t chains;  /* vhost_chains() at the last kick */
		unsigned useless; /* in a row */
		uint64_t since;	  /* the first of them */
	} kick_arg[FE_QUEUES_MAX];
	uint32_t muted; /* queues whose kicks nobody listens to until listen_again_ev */
	struct event *listen_again_ev;

	/* Calls up and into the core nest: what cannot be done inside is noted and done by settle(). */
	unsigned depth;
	uint32_t running; /* queues between queue_start() and queue_stop() */
	uint32_t drained; /* fe_queue_drained() came while the core was busy */
	uint32_t broken;  /* up->broken() is owed */
	const char *reason[FE_QUEUES_MAX];
	bool doomed; /* the connection must go */
	struct event *settle_ev;

	/* fe_sock.c */
	char device[FE_NAME_MAX];
	char name[FE_NAME_MAX + 8]; /* file name of the socket */
	char dir[sizeof(((struct sockaddr_un *)0)->sun_path)];
	struct sockaddr_un addr;
	gid_t group;		 /* of the socket file; 0: the process's */
	int fd, listen_fd;	 /* -1: none */
	struct stat listen_stat; /* of the socket file we bound, to unlink no other */
	struct event *read_ev, *hup_ev, *listen_ev, *retry_ev, *stall_ev;
	struct fe_watcher watcher;
	unsigned retry_ms;
	bool paused; /* not reading: the core owes a reply */
	uint8_t buf[VHOST_MSG_MAX];
	size_t got;
	int fds[VHOST_FDS_MAX]; /* came with the message under way */
	unsigned nfds;
	bool too_many_fds;

	bool news; /* a counter has changed */
	uint64_t counters[FE_VU_NCOUNTERS];
};

static inline void fe_vu_count(struct fe_vu *f, enum fe_vu_counter c)
{
	counter_add(&f->counters[c], 1);
	f->news = true;
}

/* fe_vu.c */
void fe_vu_connected(struct fe_vu *f);
/* One message is complete in buf; its descriptors become the core's. Non-zero: drop the connection. */
int fe_vu_message(struct fe_vu *f);
void fe_vu_disconnected(struct fe_vu *f);

/* fe_sock.c */
int fe_sock_open(struct fe_vu *f);
void fe_sock_close(struct fe_vu *f); /* for good */
/* To another loop: f->base is that of join. */
void fe_sock_leave(struct fe_vu *f);
int fe_sock_join(struct fe_vu *f);
void fe_sock_drop(struct fe_vu *f); /* this connection; goes on to wait for the next */
int fe_sock_send(struct fe_vu *f, const void *msg, size_t len, int fd);
void fe_sock_resume(struct fe_vu *f); /* read again, or stop reading while the core is blocked */

#endif

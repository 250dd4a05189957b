/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attach: where a device is, and the steps that bring it to where it should be. A pure core.
 *
 * A device (vNIC, vDisk) is desired at one host or nowhere. It is bound to at most one session, and
 * moves only through an unbind that ends when nothing of the old owner is in flight any more
 * (rules E2, E4: the new owner's epoch is raised, durably, after the old owner's last I/O and
 * before its own first):
 *
 *	IDLE --bind--> BINDING --bound--> BOUND --detach--> DETACHING --detached--> UNBINDING --unbound-->
 *IDLE |                   |                       ^
 *	                                    +--- session down --+-----------------------+
 *
 * Events come in through attach_*(); each returns the one step to take next, which the glue
 * carries out and reports back by the next event. Sessions are named by id; 0 is none. A session
 * that comes back has a new id.
 */
#ifndef OUTRIGGER_HOSTS_ATTACH_H
#define OUTRIGGER_HOSTS_ATTACH_H

#include <stdbool.h>
#include <stdint.h>

enum attach_state { ATTACH_IDLE, ATTACH_BINDING, ATTACH_BOUND, ATTACH_DETACHING, ATTACH_UNBINDING };

enum attach_step {
	ATTACH_NOTHING,
	ATTACH_BIND,	    /* raise the epoch, bind to `session`, then attach_bound() */
	ATTACH_SEND_ATTACH, /* tell the agent of `session` */
	ATTACH_SEND_DETACH, /* tell the agent; attach_detached() when it answers or is late */
	ATTACH_UNBIND,	    /* drain and unbind from `session`, then attach_unbound() */
	ATTACH_FREE,	    /* the device was removed and is nowhere: forget it */
};

struct attach {
	enum attach_state state;
	uint64_t session; /* bound to (or on the way); 0 when IDLE */
	uint64_t want;	  /* session it should be at now; 0: none */
	bool again;	  /* its parameters changed: detach and attach once more */
	bool removed;	  /* no longer configured */
};

void attach_init(struct attach *a);

/* The session of the host where it is desired changed: its id, or 0 when it is desired nowhere
 * or that host has no session. */
enum attach_step attach_want(struct attach *a, uint64_t session);
/* Parameters that only an attach carries have changed. */
enum attach_step attach_changed(struct attach *a);
enum attach_step attach_remove(struct attach *a);
/* A session ended, whatever the reason. */
enum attach_step attach_session_down(struct attach *a, uint64_t session);
enum attach_step attach_bound(struct attach *a, bool ok);
enum attach_step attach_detached(struct attach *a, uint64_t session);
enum attach_step attach_unbound(struct attach *a);

/* Nothing is under way: it is where it should be, or nowhere because nobody is there to take it. */
bool attach_settled(const struct attach *a);

#endif

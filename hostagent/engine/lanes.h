/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lanes: the I/O threads of one agent. Each has an engine and a session of its own with the appliance, with
 * transport, sockets and buffers, and shares nothing with the others where bursts move. What they do share is
 * here: which lane holds which device, and letters by which a device goes from one to another.
 *
 *	lane B is told to attach a device that A holds:   B --WANT--> A, A --GIVE--> B
 *	WANT that finds nothing (it went meanwhile) is answered by a GIVE without a device
 *
 * The appliance says which lane a device is attached to. It speaks to each lane over a channel of its own, so
 * what it says to two of them may arrive in either order; nothing depends on that, but for one thing: which
 * devices no lane was told of, and so are to go. It says SYNCED to all lanes with one number, a round; when
 *each has heard the same round, each has heard of all its devices, and has asked for those that others hold.
 *
 * Thread rule: any thread, except where a lane is named as the caller's own. A lock is held for moments, and
 * taken when devices or sessions come and go, never for a burst.
 */
#ifndef OUTRIGGER_HOSTAGENT_LANES_H
#define OUTRIGGER_HOSTAGENT_LANES_H

#include <stdbool.h>
#include <stdint.h>

#include "fabric/base/list.h"

#define LANES_MAX 16u

struct edev;
struct lanes;

enum lane_letter_kind {
	LANE_WANT,  /* lane `from` asks for the device uid */
	LANE_GIVE,  /* here it is; dev NULL: nobody has it */
	LANE_PURGE, /* all lanes have heard round `round` */
	LANE_OPEN,  /* the appliance takes so many lanes: connect */
	LANE_STOP,  /* leave the event loop */
};

struct lane_letter {
	struct list node;
	enum lane_letter_kind kind;
	unsigned from;
	uint64_t round;
	struct edev *dev;
	char uid[];
};

/* n: 2 to LANES_MAX. NULL: no memory, or no descriptors. */
struct lanes *lanes_create(unsigned n);
/* Every lane is closed. NULL is fine. */
void lanes_destroy(struct lanes *l);
unsigned lanes_count(const struct lanes *l);
/* 16 bytes, the same for all lanes of a process: Hello.boot_id. */
const uint8_t *lanes_boot_id(const struct lanes *l);

/* An eventfd, readable while letters may be there. */
int lanes_fd(const struct lanes *l, unsigned own);
/* The next letter of one's own, to be freed; NULL: none. Reads the eventfd. */
struct lane_letter *lanes_next(struct lanes *l, unsigned own);
/* NULL: no memory. */
struct lane_letter *lanes_letter(enum lane_letter_kind kind, unsigned from, const char *uid);
/* 0: it is the other lane's. -ESHUTDOWN: that lane is closed, and the letter still the caller's. */
int lanes_post(struct lanes *l, unsigned to, struct lane_letter *m);
/* No letter comes any more; those that are there stay to be taken. */
void lanes_close(struct lanes *l, unsigned own);

/* Who holds the device; -1: nobody. A device on its way is its next lane's. */
int lanes_holder(struct lanes *l, const char *uid);
int lanes_hold(struct lanes *l, const char *uid, unsigned own); /* -ENOMEM */
/* Nobody does, if it was this lane. */
void lanes_let_go(struct lanes *l, const char *uid, unsigned own);
/* Calls fn for each device with its lane; fn must not call back. */
void lanes_each(struct lanes *l, void (*fn)(void *arg, const char *uid, unsigned lane), void *arg);

/* The appliance takes the first n lanes. */
void lanes_open(struct lanes *l, unsigned n);
/* Lane own has heard that round; true: so have all that are open. */
bool lanes_heard(struct lanes *l, unsigned own, uint64_t round);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When to connect which RDMA path of a session. Every path is by itself: what one waits for, or how often it
 * failed, is nothing to another.
 *
 *	DUE ---- asked() --> ASKED -- answered() --> CONNECTING -- connected() --> UP
 *	 ^                     |                         |                          |
 *	 +---------------------+-------- failed() -------+------- broken() ---------+
 *
 * What failed is due again after a pause that doubles, 50 ms to a second, a random quarter off: a second is
 * what a wire that came back is waited for at the most. A connection that had worked, and a port that came
 * up, begin with the shortest.
 *
 * Pure: `now` in ns, from any origin.
 */
#ifndef OUTRIGGER_HOSTAGENT_RDMA_PATHS_H
#define OUTRIGGER_HOSTAGENT_RDMA_PATHS_H

#include <stdbool.h>
#include <stdint.h>

#include "fabric/base/rng.h"
#include "fabric/chan/chan.h"
#include "hostagent/engine/engine.h"

#define RDMA_RETRY_MIN_MS 50u
#define RDMA_RETRY_MAX_MS 1000u
#define RDMA_ANSWER_NS	  5000000000ull /* no answer in this time: asked once more */
#define RDMA_WORKED_NS	  2000000000ull /* a connection that lived so long had worked */
#define RDMA_NEVER	  UINT64_MAX

struct rdma_paths {
	struct rng rng;
	struct rdma_path {
		enum { RDMA_NONE, RDMA_DUE, RDMA_ASKED, RDMA_CONNECTING, RDMA_UP } state;
		uint64_t at;  /* DUE: when; ASKED: until when; UP: since when */
		uint32_t qpn; /* of the end that was told */
		bool told;    /* the last failure was logged */
		struct chan_backoff backoff;
	} path[RT_PATHS];
};

void rdma_paths_init(struct rdma_paths *p, uint64_t seed); /* seed: random */
/* A session begins with these paths, a bit each: due at once. */
void rdma_paths_start(struct rdma_paths *p, unsigned paths, uint64_t now);
void rdma_paths_stop(struct rdma_paths *p); /* it is over */
/* There is a new channel: no answer comes over the old one, and who waited for one is due. */
void rdma_paths_again(struct rdma_paths *p, uint64_t now);

/* A path that is due, or whose answer is overdue, or -1. */
int rdma_paths_due(const struct rdma_paths *p, uint64_t now);
/* The moment when rdma_paths_due() finds one; RDMA_NEVER. */
uint64_t rdma_paths_deadline(const struct rdma_paths *p);

/* The peer was told of an end with this number. */
void rdma_paths_asked(struct rdma_paths *p, unsigned path, uint32_t qpn, uint64_t now);
/* It could not be told: there is no channel. Due when rdma_paths_again() says. */
void rdma_paths_unheard(struct rdma_paths *p, unsigned path);
/* Whether this is the answer that is awaited; others are to be thrown away. */
bool rdma_paths_answered(struct rdma_paths *p, unsigned path, uint32_t qpn);
void rdma_paths_connected(struct rdma_paths *p, unsigned path, uint64_t now);
/* It could not be opened, told, or connected. True: the first time since it worked, worth a line. */
bool rdma_paths_failed(struct rdma_paths *p, unsigned path, uint64_t now);
/* It was connected, and broke. */
void rdma_paths_broken(struct rdma_paths *p, unsigned path, uint64_t now);
void rdma_paths_port_up(struct rdma_paths *p, unsigned path, uint64_t now);

#endif

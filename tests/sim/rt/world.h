/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two production rt ends in the deterministic world, joined by up to RT_PATHS pairs of links, with a
 * checker between them:
 *
 *	end 0 (active) ==> link[0][path] ==> end 1
 *	end 0	       <== link[1][path] <== end 1
 *
 * Each end sends numbered messages of a known pattern in any class. The checker holds, at every
 * event: each byte of a message arrives at most once and unchanged; nothing numbered below a
 * settled base arrives, and what was settled without arriving is of class NET alone and counted;
 * every buffer comes back. world_finish() adds: all of the reliable classes did arrive.
 */
#ifndef OUTRIGGER_SIM_RT_WORLD_H
#define OUTRIGGER_SIM_RT_WORLD_H

#include "fabric/buf/buf.h"
#include "fabric/rt/rt.h"
#include "tests/sim/sim.h"

#define MESSAGES 32768u /* outstanding per class and direction, at most */

struct message {
	uint32_t id, total, got;
	uint64_t *map; /* a bit per byte that arrived */
	bool open;
};

/* One direction of one class, as the checker sees it. */
struct stream {
	struct message *msg; /* MESSAGES of them, by id; their memory goes from world to world */
	uint32_t next_id;    /* of the sender */
	uint32_t open;	     /* messages not complete */
	uint64_t sent, complete, bytes, dropped;
	uint32_t settled; /* receiver's base */
	uint64_t skipped;
	uint64_t arrived[RT_PATHS * 1024 / 64 * 2]; /* bit per psn, a ring of 8192 */
	uint64_t last_at, longest_gap;		    /* between new bytes, while something was open */
	bool blocked;
};

struct end {
	struct world *w;
	unsigned side;
	struct rt *rt;
	struct stream in[RT_NCLASS];
	struct buf_pool *pool;
	struct {
		struct buf *buf;
		uint32_t len;
		bool ce;
	} rxq[4096];
	uint32_t nrx;
	bool drain_set;
	uint64_t wake_at;
	struct buf *held[64]; /* taken by reference, as a device would */
	uint32_t nheld;
	uint64_t rx_nobuf, drains;
};

struct traffic {
	uint32_t weight[RT_NCLASS]; /* chance of each class for the next message */
	uint32_t len_max[RT_NCLASS];
	enum rt_rel rel; /* of NET */
	bool saturate;	 /* keep the ring of every class with a weight full */
	uint64_t gap_ns; /* mean time between bursts otherwise */
	uint32_t burst;	 /* messages */
};

struct world_cfg {
	struct rt_cfg rt; /* ops, ctx, active are filled in */
	unsigned npaths;
	struct sim_link_cfg link[2];
	struct traffic traffic[2];
	uint32_t mtu[RT_PATHS]; /* of datagrams, both directions; 0: none */
	bool backup;		/* the last path is one */
	uint64_t poll_ns;	/* from an arrival to the drain that takes it */
	bool verbose;
};

struct world {
	struct sim s;
	struct world_cfg cfg;
	struct end end[2];
	struct sim_link link[2][RT_PATHS];
	uint64_t packets; /* put on links */
	uint64_t cuts, rekeys, bounces;
	uint32_t spi;			      /* last one given out */
	struct rt_path_cfg next[RT_PATHS][2]; /* keys on their way */
	bool changing[RT_PATHS];
	bool stop; /* no more messages */
	/* Sees every datagram as it came: before an end has it, and again if it was taken. NULL: nobody. */
	void (*tap)(struct end *e, const uint8_t *data, uint32_t len, bool taken);
	uint64_t forged; /* datagrams given to an end that nobody sent */
	bool hostile;	 /* what an end is given now is none of its peer's: nothing may come of it */
	uint8_t *pattern;
};

void world_init(struct world *w, uint64_t seed, const struct world_cfg *cfg, const char *replay);
/* Until packets were sent or the clock shows until. */
void world_run(struct world *w, uint64_t packets, uint64_t until);
/* Stop sending, heal all links, wait until both ends are idle, check that nothing is missing. */
void world_finish(struct world *w);
void world_fini(struct world *w);

/* Glue: fresh keys for a path at both ends, the second end later; a path away and back. */
void world_rekey(struct world *w, unsigned path);
void world_bounce(struct world *w, unsigned path);

/* check.c */
bool check_send(struct world *w, struct end *from, unsigned cls, uint32_t len, enum rt_rel rel);
void check_record(struct end *to, enum rt_class cls, uint32_t psn, const struct rt_rec *rec,
		  const uint8_t *data);
void check_settled(struct end *to, enum rt_class cls, uint32_t base);
/* The rt's own books: lists, counts, edges. O(window). */
void check_rt(struct world *w, struct end *e);
void check_end(struct world *w);

#endif

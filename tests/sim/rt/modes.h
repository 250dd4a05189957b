/* SPDX-License-Identifier: Apache-2.0 */
/* What sim-rt can do, by option; each prints one line of JSON per figure. */
#ifndef OUTRIGGER_SIM_RT_MODES_H
#define OUTRIGGER_SIM_RT_MODES_H

#include "tests/sim/rt/world.h"

struct options {
	uint64_t seed, seeds, packets;
	int loss;		     /* ppm, or -1: drawn */
	bool verbose, gobackn, data; /* data: of the goodput that of class DATA alone */
	const char *kept;	     /* file of seeds */
};

extern struct world world; /* large; one at a time */
extern char replay[256];

/* main.c: a world of the seed, and what goes wrong in it. */
void draw_world(struct world_cfg *c, const struct options *o, struct rng *r);
void meddle(struct sim *s, void *world, uint64_t arg);

/* bench.c: one class at full rate over 25 Gb/s, MTU 1500, 30 us round trip. */
void mode_goodput(const struct options *o);
void mode_stall(const struct options *o);
void mode_frames(const struct options *o);
void mode_failover(const struct options *o);
/* hostile.c: what an attacker on the cable sends leaves no trace. */
void mode_hostile(const struct options *o);
/* many.c: sessions that share a bottleneck. */
void mode_fair(const struct options *o);
void mode_incast(const struct options *o);
void mode_stream(const struct options *o);
/* gobackn.c. Gb/s of a go-back-N sender over `span` after `warm_up`. */
double gobackn_run(uint64_t seed, uint64_t rate_bps, uint64_t delay_ns, uint32_t overhead, uint32_t loss,
		   uint64_t warm_up, uint64_t span, uint64_t *gap);
/* sleepy.c: ends on busy processors. */
void mode_sleepy(const struct options *o);
/* narrow.c: paths that change their MTU. */
void mode_narrow(const struct options *o);
/* codec.c: what a packet costs. */
void mode_codec(const struct options *o);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The deterministic world: a virtual clock, one heap of events, one seed, links that misbehave.
 * Nothing in it reads a real clock or an address as a number, so one seed gives one history, on every
 * compiler; sim.trace is its hash.
 *
 *	sim_init(); sim_link_init()*; sim_at()*; while (sim_step(&s)) check invariants; sim_fini()
 *
 * A broken invariant calls sim_fail(), which prints how to replay the seed, keeps that command as a line of
 * build/sim-failed (or of the file that SIM_FAILED names) and exits with 1.
 */
#ifndef OUTRIGGER_SIM_SIM_H
#define OUTRIGGER_SIM_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fabric/base/rng.h"

struct sim;
struct parcel;
typedef void sim_fn(struct sim *s, void *ctx, uint64_t arg);

struct sim_event {
	uint64_t when, seq; /* seq: events of one instant happen in the order they were made */
	sim_fn *fn;
	void *ctx;
	uint64_t arg;
};

struct sim {
	uint64_t now; /* ns */
	uint64_t seed, seq, steps, trace;
	struct rng rng;
	struct sim_event *heap;
	size_t count, room;
	struct parcel *spare; /* datagrams that arrived: their memory is used again */
	const char *replay;   /* printed by sim_fail(); format with one %llu for the seed */
};

/* replay: for example "build/gcc/bin/sim-rt --seed %llu". */
void sim_init(struct sim *s, uint64_t seed, const char *replay);
void sim_fini(struct sim *s); /* events that remain are forgotten */
void sim_at(struct sim *s, uint64_t when, sim_fn *fn, void *ctx, uint64_t arg);
/* The next event; false when there is none or it is after `until` (now is then until). */
bool sim_step(struct sim *s, uint64_t until);
/* Into the trace hash. */
void sim_note(struct sim *s, const void *p, size_t n);
void sim_fail(struct sim *s, const char *fmt, ...) __attribute__((format(printf, 2, 3), noreturn));
/* Says and keeps how to replay the seed. */
void sim_replay(const struct sim *s);
#define sim_check(s, cond, ...)                                                                              \
	do {                                                                                                 \
		if (!(cond))                                                                                 \
			sim_fail(s, __VA_ARGS__);                                                            \
	} while (0)

/* One direction of a cable. All chances in parts per million. */
struct sim_link_cfg {
	uint64_t rate_bps;		 /* bottleneck; 0: infinite */
	uint64_t delay_ns;		 /* propagation */
	uint64_t jitter_ns;		 /* uniform, added; keeps order unless reorder says otherwise */
	uint32_t queue_bytes;		 /* before the bottleneck; more is dropped; 0: infinite */
	uint32_t ecn_bytes;		 /* queue above which packets are marked; 0: never */
	uint32_t loss, burst, burst_len; /* burst: chance that a run of burst_len losses starts */
	uint32_t reorder;		 /* chance of an extra delay, which overtakes nothing */
	uint64_t reorder_ns;
	uint32_t dup, corrupt;
	uint64_t dup_ns;   /* how late a duplicate comes, at most; 0: 100 us */
	uint32_t overhead; /* bytes per datagram on the cable that it does not see */
	uint32_t mtu;	   /* larger datagrams are lost without a word; 0: none is */
	bool cut;	   /* everything is lost; may be changed while it runs */
};

/* What fell on the cable. */
struct sim_link_stats {
	uint64_t packets, bytes, lost, queued_out, reordered, duplicated, corrupted, marked, too_large;
};

struct sim_link {
	struct sim_link_cfg cfg;
	struct sim_link_stats stats;
	struct sim *s;
	/* A datagram arrived; data is the callee's to change during the call. */
	void (*deliver)(void *ctx, uint8_t *data, uint32_t len, bool ce);
	void *ctx;
	uint64_t free_at, last_at; /* of the bottleneck; of the last delivery in order */
	uint32_t burst_left;
	uint64_t in_flight;
};

void sim_link_init(struct sim_link *l, struct sim *s, const struct sim_link_cfg *cfg,
		   void (*deliver)(void *ctx, uint8_t *data, uint32_t len, bool ce), void *ctx);
/* What the cable did to datagrams. */
uint64_t sim_link_faults(const struct sim_link *l);
void sim_link_send(struct sim_link *l, const uint8_t *data, uint32_t len);

#endif

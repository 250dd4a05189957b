/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Faults on purpose: stacks on any link and drops, duplicates, reorders, delays and corrupts
 * datagrams in both directions, each independently, from one seeded sequence: the same seed and the
 * same calls give the same faults. It ships in both daemons, so that what is tested is what runs.
 *
 * It reads no clock: tell it the time by link_impair_set_now() before each recv() and send(). What
 * it holds back leaves at the first recv() or send() at or after deadline().
 *
 *	drop	 the datagram is not passed on
 *	dup	 it is passed on twice; the copy comes a little later
 *	reorder	 it is held back by up to IMPAIR_REORDER_NS longer than the others
 *	corrupt	 one bit of it is flipped
 *	delay	 each datagram is held for so long, plus a random part of jitter
 *
 * It holds at most IMPAIR_HELD datagrams of at most IMPAIR_DATAGRAM bytes per link; those beyond are
 * dropped as drop_tx_full or drop_rx_nobuf. Deliberate drops are counted as drop_impaired.
 */
#ifndef OUTRIGGER_LINK_IMPAIR_H
#define OUTRIGGER_LINK_IMPAIR_H

#include <stddef.h>

#include "fabric/link/link.h"

#define IMPAIR_HELD	  4096u
#define IMPAIR_DATAGRAM	  9216u
#define IMPAIR_REORDER_NS 1000000u
#define IMPAIR_DELAY_MAX  10000000000ull /* 10 s */

struct link_impair_cfg {
	uint32_t drop_ppm, dup_ppm, reorder_ppm, corrupt_ppm; /* per million datagrams */
	uint64_t delay_ns, jitter_ns;
	uint64_t seed;
};

/*
 * "drop=1%,dup=0.1%,reorder=1%,corrupt=0.01%,delay=2ms,jitter=500us,seed=7": any of these, each once. A
 * share ends in % or ppm; a time in ns, us, ms or s. 0, or -EINVAL with a sentence in why (NULL: not
 * wanted); *cfg is then untouched.
 */
int link_impair_parse(struct link_impair_cfg *cfg, const char *text, char *why, size_t why_len);

/* What was done on purpose, by direction. */
struct link_impair_stats {
	uint64_t dropped, duplicated, reordered, corrupted, delayed;
};

/* Takes ownership of inner (unless it fails): destroying this destroys inner too. NULL: no memory. */
struct link *link_impair_create(struct link *inner, const struct link_impair_cfg *cfg);
/* Nanoseconds, monotonic; on another kind of link it does nothing. */
void link_impair_set_now(struct link *l, uint64_t now);
/* Changes the faults from here on; the sequence starts at the new seed. */
void link_impair_set(struct link *l, const struct link_impair_cfg *cfg);
void link_impair_get_stats(const struct link *l, struct link_impair_stats *rx, struct link_impair_stats *tx);

#endif

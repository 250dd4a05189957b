/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Congestion window of a path, in packets. Delay is the signal (Swift, SIGCOMM'20): below the
 * target the window grows, above it it is cut in proportion, once per round trip. An ECN mark
 * counts as delay above the target.
 *
 * Loss alone says little on a fabric that drops at random, and halving for it would give away
 * most of the rate at 1 %. Only a round that lost a large part of its packets, as a queue too
 * short to show delay does, cuts.
 */
#include "fabric/rt/impl.h"

#define CC_ONE	     256u
#define CC_START     (64 * CC_ONE)
#define CC_FLOOR     (16 * CC_ONE)
#define CC_CEILING   (RT_WINDOW_MAX * CC_ONE)
#define CC_LOSSY_PCT 30u /* of a round, to be held for congestion */
#define CC_LOSSY_MIN 16u

void cc_init(struct cc *cc, uint64_t spare)
{
	*cc = (struct cc){.cwnd = CC_START, .slow_start = true, .spare = spare};
}

static uint64_t base_rtt(const struct path *p)
{
	if (!p->min_rtt_old)
		return p->min_rtt;
	return p->min_rtt < p->min_rtt_old ? p->min_rtt : p->min_rtt_old;
}

/* keep: what is kept, in 1/256. At most once per round trip. */
static void cut(struct path *p, uint32_t keep, uint64_t now)
{
	struct cc *cc = &p->cc;
	uint64_t next;

	if (now - cc->cut_at < p->srtt)
		return;
	next = (uint64_t)cc->cwnd * keep / 256;
	cc->cwnd = next < CC_FLOOR ? CC_FLOOR : (uint32_t)next;
	cc->cut_at = now;
	cc->slow_start = false;
}

static void grow(struct path *p, uint32_t packets)
{
	struct cc *cc = &p->cc;
	uint32_t step;

	if (p->inflight + packets < cc_window(cc) / 2)
		return; /* the window is not what limits */
	if (cc->slow_start)
		step = packets * CC_ONE;
	else /* 1/32 of the window, and a packet, per round trip */
		step = packets * (CC_ONE / 32) + packets * CC_ONE / (cc_window(cc) + 1);
	cc->cwnd = cc->cwnd + step < CC_CEILING ? cc->cwnd + step : CC_CEILING;
}

void cc_acked(struct path *p, uint32_t packets, uint64_t rtt, uint64_t now)
{
	struct cc *cc = &p->cc;
	uint64_t base = base_rtt(p);
	uint64_t target = base + (base > cc->spare ? base : cc->spare);

	cc->round_acked += packets;
	if (!rtt)
		return;
	if (rtt <= target) {
		grow(p, packets);
		return;
	}
	/* Swift: 1 - beta (delay - target) / delay, beta 0.8, no more than half at once. */
	uint64_t off = (rtt - target) * 205 / rtt;
	cut(p, off < 128 ? 256 - (uint32_t)off : 128, now);
}

void cc_echo(struct path *p, uint64_t txn, uint64_t now)
{
	struct cc *cc = &p->cc;
	uint32_t all = cc->round_acked + cc->round_lost;

	if (txn < cc->round_txn)
		return;
	if (cc->round_lost >= CC_LOSSY_MIN && cc->round_lost * 100 > all * CC_LOSSY_PCT)
		cut(p, 192, now);
	cc->round_acked = cc->round_lost = 0;
	cc->round_txn = p->txn;
}

void cc_ce(struct path *p, uint64_t now)
{
	cut(p, 205, now);
}

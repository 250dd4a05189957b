/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Congestion window of a path, in packets, and its pacing.
 *
 * Delay is the signal (Swift, SIGCOMM'20): below the target the window grows by a part of its square
 * root per round trip, above it it is cut in proportion, once per round trip. The square root
 * makes small windows grow relatively faster than large ones, which is what brings sessions that
 * share a bottleneck to equal shares. ECN marks cut by the smoothed share of marked packets (DCTCP,
 * RFC 8257), whatever the delay says.
 *
 * Loss says little on a fabric that drops at random, and halving for it would give away most of the
 * rate at 1 %. What congests is loss that comes and goes with the window: only rounds that lose
 * clearly more than the path lost at its best lately cut. A path that always loses half of its packets
 * keeps its window.
 *
 * A delay target is only as fair as the base round trip it stands on: who comes when a queue stands
 * takes the queue for distance. So everyone who was limited by the window pauses for a round trip at the
 * same time, often enough to matter and too rarely to cost (RT_PHASE_NS), probes the empty path, and
 * goes on. "The same time" is the receiver's clock (WIRE_F_PHASE), which all senders into one port see,
 * and the sender's own, which all sessions out of one port share.
 *
 * Windows go below one packet: then one packet goes every 1/window round trips. Pacing is on for a
 * while after a cut; an uncongested path is never paced.
 */
#include "fabric/rt/impl.h"

#define CC_START     (64 * CC_ONE)
#define CC_FLOOR     (CC_ONE / 4)
#define CC_CEILING   (RT_WINDOW_MAX * CC_ONE)
#define CC_LOSS_MORE (65536u / 6) /* above the path's best: congestion; in 1/65536 */
#define CC_LOSS_MIN  8u		  /* packets of a round */
#define CC_LOSS_AGE  64u	  /* rounds that the best is remembered, at least */
#define CC_PACED_RTT 32u	  /* round trips after a cut */
#define CC_TRAIN     32u	  /* packets that a paced path may send at once, at most */

void cc_init(struct cc *cc, uint64_t spare)
{
	*cc = (struct cc){
		.cwnd = CC_START, .slow_start = true, .spare = spare, .step = CC_ONE, .round_rtt = RT_NEVER};
}

static uint64_t target(const struct path *p)
{
	uint64_t base = path_base_rtt(p), spare = p->cc.spare;

	return base + (base / 2 > spare ? base / 2 : spare);
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
	cc->paced = true;
	cc->round_cut = true;
}

static void grow(struct path *p, uint32_t packets)
{
	struct cc *cc = &p->cc;
	uint64_t add;

	if (2 * (p->inflight + packets) < cc_window(cc))
		return; /* the window is not what limits */
	cc->limited = true;
	if (cc->round_ce)
		return;
	add = (uint64_t)packets * CC_ONE;
	if (!cc->slow_start)
		add = add * cc->step / cc->cwnd;
	add += cc->cwnd;
	cc->cwnd = add < CC_CEILING ? (uint32_t)add : CC_CEILING;
}

void cc_acked(struct path *p, uint32_t packets, uint64_t rtt, uint64_t now)
{
	struct cc *cc = &p->cc;
	uint64_t aim;

	cc->round_acked += packets;
	if (!rtt)
		return;
	if (rtt < cc->round_rtt)
		cc->round_rtt = rtt;
	aim = target(p);
	if (rtt <= aim) {
		grow(p, packets);
		return;
	}
	cc->limited = true;
	/* Swift: 1 - beta (delay - target) / delay, beta 0.8, no more than half at once. */
	uint64_t off = (rtt - aim) * 205 / rtt;
	cut(p, off < 128 ? 256 - (uint32_t)off : 128, now);
}

static void round_loss(struct path *p, uint64_t now)
{
	struct cc *cc = &p->cc;
	uint32_t all = cc->round_acked + cc->round_lost, limit, part;

	if (!all)
		return;
	part = (uint32_t)((uint64_t)cc->round_lost * 65536 / all);
	if (!cc->loss_known) {
		cc->loss = cc->loss_best = cc->loss_best_old = part;
		cc->loss_known = true;
	}
	/* An average over about 256 packets, however many a round has. */
	cc->loss = (uint32_t)((int64_t)cc->loss +
			      ((int64_t)part - (int64_t)cc->loss) * (int64_t)all / (int64_t)(all + 256));
	if (cc->loss < cc->loss_best)
		cc->loss_best = cc->loss;
	if (++cc->loss_rounds >= CC_LOSS_AGE) {
		cc->loss_rounds = 0;
		cc->loss_best_old = cc->loss_best;
		cc->loss_best = cc->loss;
	}
	limit = (cc->loss_best < cc->loss_best_old ? cc->loss_best : cc->loss_best_old) + CC_LOSS_MORE;
	if (cc->round_lost >= CC_LOSS_MIN && cc->loss > limit && part > limit)
		cut(p, 192, now);
}

static void round_ecn(struct path *p, uint64_t now)
{
	struct cc *cc = &p->cc;
	uint32_t part = 0;

	if (cc->round_ce)
		part = cc->round_ce < cc->round_acked ? cc->round_ce * 256 / cc->round_acked : 256;
	cc->ce_part = (7 * cc->ce_part + part) / 8;
	if (part)
		cut(p, 256 - (cc->slow_start ? 128 : cc->ce_part / 2), now);
}

/* Growth per round trip from here on: half a packet and a quarter of the window's root; a sixteenth of
 * the window while the path is clearly empty. */
static void round_step(struct path *p)
{
	struct cc *cc = &p->cc;
	uint32_t w = cc_window(cc), root = 1;

	while ((root + 1) * (root + 1) <= w && root < 64)
		root++;
	cc->step = CC_ONE / 2 + root * (CC_ONE / 4);
	if (cc->round_rtt < path_base_rtt(p) + cc->spare / 4 && cc->step < cc->cwnd / 16)
		cc->step = cc->cwnd / 16;
}

void cc_echo(struct path *p, uint64_t txn, uint64_t now)
{
	struct cc *cc = &p->cc;

	if (txn < cc->round_txn)
		return;
	round_ecn(p, now);
	round_loss(p, now);
	round_step(p);
	cc->hot = cc->round_cut ? cc->hot + 1 : cc->hot / 2;
	if (cc->paced && now - cc->cut_at > CC_PACED_RTT * p->srtt && cc->cwnd >= 2 * CC_ONE)
		cc->paced = false;
	cc->round_acked = cc->round_lost = cc->round_ce = 0;
	cc->round_rtt = RT_NEVER;
	cc->round_cut = false;
	cc->round_txn = p->txn;
}

void cc_sent(struct path *p, uint64_t now)
{
	struct cc *cc = &p->cc;
	uint64_t gap = p->srtt * CC_ONE / cc->cwnd;
	uint64_t train = cc_window(cc) / 4 < CC_TRAIN ? cc_window(cc) / 4 : CC_TRAIN;

	if (cc->pace_at + train * gap < now)
		cc->pace_at = now - train * gap;
	cc->pace_at += gap;
}

void cc_pause(struct path *p, uint64_t now)
{
	struct cc *cc = &p->cc;

	if (!cc->limited || now - cc->paused_at < 64 * p->srtt)
		return;
	cc->limited = false;
	cc->paused_at = now;
	cc->empty_at = now + p->srtt;
	cc->pause_until = cc->empty_at + path_base_rtt(p);
}

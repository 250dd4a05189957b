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
 * rate at 1 %. What congests is loss that comes and goes with the window: rounds that lose clearly more
 * than the path lost at its best lately cut. How much a bad path loses without anybody's fault can be
 * learned only while nobody loads it: a path that loses much is tried, right after a pause, with two
 * packets at a time; all who suffer from the same queue do so at the same time.
 *
 * The target falls with the logarithm of the window, so that a small error of the base round trip makes
 * a small difference of shares only. And a target is only as fair as the base round trip it stands on: who
 * comes when a queue stands takes the queue for distance. So everyone who was limited by the window pauses
 * for a round trip at the same time, often enough to matter and too rarely to cost (RT_PHASE_NS), probes the
 * empty path, and goes on. "The same time" is the receiver's clock (WIRE_F_PHASE), which all senders into one
 * port see, and the sender's own, which all sessions out of one port share.
 *
 * Windows go below one packet: then one packet goes every 1/window round trips. Pacing is on for a
 * while after a cut; an uncongested path is never paced.
 */
#include "fabric/rt/impl.h"

#define CC_START   (64 * CC_ONE)
#define CC_FLOOR   (CC_ONE / 4)
#define CC_CEILING (RT_WINDOW_MAX * CC_ONE)
/* Above the path's best, in 1/65536. Averages over some 256 packets tell much, over 2048 more. */
#define CC_LOSS_MUCH   (65536u / 6)
#define CC_LOSS_MORE   (65536u / 100)
#define CC_LOSS_BEST   (65536u / 12) /* more is not held for chance without a trial */
#define CC_TRIAL       32u	     /* packets */
#define CC_TRIAL_AGE   (1000000000ull)
#define CC_LOSS_LEAVES (16 * CC_ONE)	 /* of the window, while it is not much; */
#define CC_LOSS_FLOOR  (2 * CC_ONE)	 /* and in any case: one packet at a time would wait for timeouts */
#define CC_LOSS_MIN    2u		 /* packets of a round */
#define CC_BEST_AGE    (20 * 1000000ull) /* the best is remembered for once or twice this */
#define CC_PACED_RTT   32u		 /* round trips after a cut */
#define CC_TRAIN       32u		 /* packets that a paced path may send at once, at most */

void cc_init(struct cc *cc, uint64_t spare)
{
	*cc = (struct cc){
		.cwnd = CC_START, .slow_start = true, .spare = spare, .step = CC_ONE, .round_rtt = RT_NEVER};
}

/* 3/2 of the spare delay for a window of one packet, 1/2 for one of 4096. */
static uint64_t target(const struct path *p)
{
	uint32_t w = p->cc.cwnd < CC_ONE ? CC_ONE : p->cc.cwnd;
	uint32_t whole = 31 - (uint32_t)__builtin_clz(w);
	uint32_t log = 256 * (whole - 8) + ((w << (31 - whole) >> 23) & 255); /* of base 2, in 1/256 */
	uint64_t base = path_base_rtt(p), spare = p->cc.spare;

	if (base / 2 > spare)
		spare = base / 2;
	return base + spare * (18 * 256 - log) / (12 * 256);
}

/* keep: what is kept, in 1/256. At most once per round trip. */
static void cut(struct path *p, uint32_t keep, uint64_t now)
{
	struct cc *cc = &p->cc;
	uint64_t next;

	cc->limited = true;
	if (now - cc->cut_at < p->srtt || cc->trial)
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
	if (cc->round_ce || cc->lossy || cc->trial)
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
	/* Swift: 1 - beta (delay - target) / delay, beta 0.8, no more than half at once. */
	uint64_t off = (rtt - aim) * 205 / rtt;
	cut(p, off < 128 ? 256 - (uint32_t)off : 128, now);
}

/* Something waits on this path. */
static bool queued(const struct path *p)
{
	return p->srtt > path_base_rtt(p) + p->cc.spare / 4;
}

static void average(uint32_t *avg, uint32_t part, uint32_t n, uint32_t over)
{
	*avg = (uint32_t)((int64_t)*avg + ((int64_t)part - (int64_t)*avg) * (int64_t)n / (int64_t)(n + over));
}

static void round_loss(struct path *p, uint64_t now)
{
	struct cc *cc = &p->cc;
	uint32_t all = cc->round_acked + cc->round_lost, best, part, much;

	if (!all)
		return;
	part = (uint32_t)((uint64_t)cc->round_lost * 65536 / all);
	if (!cc->best_at) {
		cc->loss = cc->loss_long = cc->best = cc->best_old = part;
		cc->best_at = now;
	}
	average(&cc->loss, part, all, 256);
	average(&cc->loss_long, part, all, 2048);
	if (cc->loss_long < cc->best)
		cc->best = cc->loss_long;
	if (now - cc->best_at > CC_BEST_AGE && now - cc->best_at > 64 * p->srtt) {
		cc->best_at = now;
		cc->best_old = cc->best;
		cc->best = cc->loss_long;
	}
	best = cc->best < cc->best_old ? cc->best : cc->best_old;
	if (best > CC_LOSS_BEST)
		best = CC_LOSS_BEST;
	if (cc->loss_tried > best)
		best = cc->loss_tried;
	much = best + best / 8 + CC_LOSS_MUCH;
	cc->lossy = cc->loss > much;
	if (cc->round_lost >= CC_LOSS_MIN && cc->lossy && part > much && cc->cwnd > CC_LOSS_FLOOR)
		cut(p, 192, now);
	else if (cc->round_lost && best <= CC_LOSS_BEST && cc->loss_long > best + best / 8 + CC_LOSS_MORE &&
		 cc->cwnd > CC_LOSS_LEAVES && queued(p))
		cut(p, 240, now);
}

static void trial_start(struct path *p, uint64_t now)
{
	struct cc *cc = &p->cc;
	bool old = cc->loss_tried && now - cc->tried_at > CC_TRIAL_AGE;

	if (!old && cc->loss < CC_LOSS_MUCH + cc->loss_tried)
		return;
	cc->trial = true;
	cc->trial_all = cc->trial_lost = 0;
	cc->trial_txn = p->txn;
	cc->tried_cwnd = cc->cwnd;
	cc->tried_at = now;
	cc->cwnd = 2 * CC_ONE;
	cc->paced = false;
}

static void trial_round(struct path *p)
{
	struct cc *cc = &p->cc;

	if (!cc->trial || cc->trial_all < CC_TRIAL)
		return;
	cc->trial = false;
	if (queued(p))
		return; /* there is a queue: others load it, this says nothing */
	cc->loss_tried = cc->trial_lost * 65536 / cc->trial_all;
	if (cc->loss_tried < CC_LOSS_BEST)
		cc->loss_tried = 0;
	if (cc->loss > cc->loss_tried + CC_LOSS_MUCH)
		return;	       /* it was congestion: grow from here */
	cc->slow_start = true; /* that was all, and the cuts were wrong */
	if (cc->tried_cwnd > cc->cwnd)
		cc->cwnd = cc->tried_cwnd;
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
	trial_round(p);
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
	trial_start(p, now);
	cc->paused_at = now;
	cc->empty_at = now + p->srtt;
	cc->pause_until = cc->empty_at + path_base_rtt(p);
}

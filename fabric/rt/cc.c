/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Congestion window of a path, in packets. It is looked at once per round: the time until what was sent last
 * is echoed.
 *
 * Delay is the signal (Swift, SIGCOMM'20): below the target the window grows by a part of its square
 * root per round trip, above it it is cut in proportion. The square root makes small windows grow relatively
 * faster than large ones, which is what brings sessions that share a bottleneck to equal shares. The
 * delay of a round is its shortest: the rest of it is what schedulers and interrupts added, and one packet
 * that came through quickly proves that there is no queue. ECN marks cut by the smoothed share of marked
 * packets (DCTCP, RFC 8257), whatever the delay says.
 *
 * Loss alone says little on a fabric that drops at random, and halving for it would give away most of the
 * rate at 1 %. A loss in a round that saw a queue is another matter: it is taken for the sign that the queue
 * is shorter than the delay allowed for. The cut is three times the part that was lost, and small windows are
 * cut in each such round: where many share a short queue all of them lose something all the time, and
 * only how much tells large windows from small ones. Neighbours lost are a
 * sign too, of a train that was longer than the queue, which the shortest round trip does not show. Without
 * either only loss beyond all chance cuts.
 *
 * The target falls with the logarithm of the window, so that a small error of the base round trip makes
 * a small difference of shares only. And a target is only as fair as the base round trip it stands on: who
 * comes when a queue stands takes the queue for distance. So everyone who was limited by the window pauses
 * for a round trip at the same time, often enough to matter and too rarely to cost (RT_PHASE_NS), probes the
 * empty path, and goes on. "The same time" is the receiver's clock (WIRE_F_PHASE), which all senders into one
 * port see, and the sender's own, which all sessions out of one port share.
 *
 * A window that is not used up made no queue: what its round trips are longer is the work of others, or of
 * the hosts, and it is left as it is.
 *
 * Round trips are the path's own: what packets wait at a host for a process to wake up is taken off where the
 * link can tell (rt_input_late()), else a busy processor would look like a queue, and a session that is woken
 * late would be left with a window of next to nothing. If that wait exceeds the spare delay too, packets wait
 * for each other at the peer: that cuts large windows only.
 *
 * Windows go below one packet: then one packet goes every 1/window round trips. Those of a few packets are
 * paced too: whose packets find room in a shallow port would else be decided by who is a few metres nearer to
 * it; and not evenly, or equal paces would stay in step with the queue and with each other (Floyd and
 * Jacobson, 1992). Larger ones are not: the acknowledgements clock them, and a train costs no more than a
 * packet.
 */
#include "fabric/rt/impl.h"

#define CC_START      (64 * CC_ONE)
#define CC_FLOOR      (CC_ONE / 4)
#define CC_CEILING    (RT_WINDOW_MAX * CC_ONE)
#define CC_LOSS_MUCH  (65536u * 3 / 5)	/* smoothed part of lost packets that is beyond chance */
#define CC_LOSS_MANY  (65536u * 9 / 20) /* more than queues make that senders keep full */
#define CC_LOSS_FLOOR (8 * CC_ONE)	/* it leaves: one packet at a time would wait for timeouts */
#define CC_PAIRS      2u		/* neighbours lost in a round, at least, that are not chance */
#define CC_ROW	      8u		/* lost in a row, more than chance does whatever the rate */
#define CC_OVER	      8u		/* round trips above the target, in a row, that end a slow start */
#define CC_HOSTS      (64 * CC_ONE)	/* what hosts add to round trips leaves so much */
#define CC_QUIET      16u		/* rounds without a cut: nobody else is short of room */

void cc_init(struct cc *cc, uint64_t spare)
{
	*cc = (struct cc){.cwnd = CC_START,
			  .slow_start = true,
			  .calm = true,
			  .spare = spare,
			  .step = CC_ONE,
			  .round_rtt = RT_NEVER,
			  .round_all = RT_NEVER};
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

/* The shortest round trip that shows a queue, and not only what hosts do to packets. */
static uint64_t queued(const struct path *p)
{
	uint64_t base = path_base_rtt(p);

	return base + base + 2 * p->cc.noise;
}

/* keep: what is kept, in 1/256. */
static void cut(struct path *p, uint32_t keep)
{
	struct cc *cc = &p->cc;
	uint64_t next = (uint64_t)cc->cwnd * keep / 256;

	cc->cwnd = next < CC_FLOOR ? CC_FLOOR : (uint32_t)next;
	cc->slow_start = false;
	cc->cut = true;
}

/* What is kept when a round trip took too long: Swift's 1 - beta (delay - aim) / delay, beta 0.8, no less
 * than least. */
static uint32_t keep_of(uint64_t rtt, uint64_t aim, uint32_t least)
{
	uint32_t off = (uint32_t)((rtt - aim) * 205 / rtt);

	return off < 256 - least ? 256 - off : least;
}

/* A window that doubles cannot wait for the end of its round, and half of it was added after what is measured
 * now was sent. */
static void slow_start_over(struct path *p, uint64_t rtt)
{
	struct cc *cc = &p->cc;

	cc->over = rtt > target(p) ? cc->over + 1 : 0;
	if (cc->over == CC_OVER)
		cut(p, 128);
}

void cc_acked(struct path *p, uint32_t packets, uint64_t rtt)
{
	struct cc *cc = &p->cc;
	uint64_t add = (uint64_t)packets * CC_ONE;
	bool limits = 2 * (p->inflight + packets) >= cc_window(cc);

	cc->round_acked += packets;
	if (rtt && rtt < cc->round_rtt)
		cc->round_rtt = rtt;
	if (rtt && p->rtt_all < cc->round_all)
		cc->round_all = p->rtt_all;
	if (!limits)
		return;
	if (rtt && cc->slow_start)
		slow_start_over(p, rtt);
	cc->limited = cc->round_limited = true;
	if (!cc->calm || cc->cut || cc->round_ce)
		return;
	if (!cc->slow_start)
		add = add * cc->step / cc->cwnd;
	add += cc->cwnd;
	cc->cwnd = add < CC_CEILING ? (uint32_t)add : CC_CEILING;
}

void cc_lost(struct path *p, uint64_t txn)
{
	struct cc *cc = &p->cc;

	cc->round_lost++;
	cc->round_pairs += txn == cc->lost_txn + 1;
	cc->lost_txn = txn;
}

static void average(uint32_t *avg, uint32_t part, uint32_t n, uint32_t over)
{
	*avg = (uint32_t)((int64_t)*avg + ((int64_t)part - (int64_t)*avg) * (int64_t)n / (int64_t)(n + over));
}

/* More neighbours are lost than chance makes of so many, by a quarter: of half of all lost at random half
 * stand beside another, and of a few of them often all: then that tells nothing. Or many, and hardly one
 * alone. */
static bool row_lost(const struct cc *cc, uint32_t all)
{
	uint64_t pairs = cc->round_pairs, lost = cc->round_lost;

	if (pairs < CC_PAIRS || 2 * pairs <= lost)
		return false;
	return (cc->loss < CC_LOSS_MANY && 4 * pairs * all > 5 * lost * lost) ||
	       (lost > CC_ROW && 16 * pairs > 15 * lost);
}

static void round_loss(struct path *p)
{
	struct cc *cc = &p->cc;
	uint32_t all = cc->round_acked + cc->round_lost;

	if (all)
		average(&cc->loss, (uint32_t)((uint64_t)cc->round_lost * 65536 / all), all, 256);
	if (!cc->round_lost || cc->cut || (cc->was_cut && !cc_paced(cc)))
		return;
	if (cc->round_limited && cc->rtt > queued(p) && cc->loss < CC_LOSS_MANY)
		cut(p, 6 * cc->round_lost < all ? 256 - 3 * 256 * cc->round_lost / all : 128);
	else if (cc->was_cut)
		return;
	else if (row_lost(cc, all))
		cut(p, 2 * cc->round_lost < all ? 256 - 256 * cc->round_lost / all : 128);
	else if (cc->round_limited && cc->rtt > queued(p))
		cut(p, keep_of(cc->rtt, queued(p), 205));
	else if (cc->loss > CC_LOSS_MUCH && cc->cwnd > CC_LOSS_FLOOR)
		cut(p, 192);
}

static void round_delay(struct path *p)
{
	struct cc *cc = &p->cc;
	uint64_t change, aim = target(p);

	if (cc->round_rtt == RT_NEVER)
		return;
	change = cc->round_rtt > cc->rtt ? cc->round_rtt - cc->rtt : cc->rtt - cc->round_rtt;
	if (cc->rtt)
		cc->noise = (7 * cc->noise + change) / 8;
	cc->rtt = cc->round_rtt;
	if (cc->round_limited && cc->rtt > aim && !cc->cut && !cc->was_cut)
		cut(p, keep_of(cc->rtt, aim, 128));
}

/* Packets that lie at hosts wait for a processor: fewer of them help only as far as they wait for each
 * other, and a few never do. */
static void round_hosts(struct path *p)
{
	struct cc *cc = &p->cc;
	uint64_t aim = path_base_rtt(p) + cc->spare;

	if (cc->round_all == RT_NEVER || cc->cwnd <= CC_HOSTS || cc->cut || cc->was_cut)
		return;
	if (cc->round_limited && cc->round_all > aim)
		cut(p, keep_of(cc->round_all, aim, 205));
}

static void round_ecn(struct path *p)
{
	struct cc *cc = &p->cc;
	uint32_t part = 0;

	if (cc->round_ce)
		part = cc->round_ce < cc->round_acked ? cc->round_ce * 256 / cc->round_acked : 256;
	cc->ce_part = (7 * cc->ce_part + part) / 8;
	if (part && !cc->was_cut)
		cut(p, 256 - (cc->slow_start ? 128 : cc->ce_part / 2));
}

/* Growth per round trip from here on: half a packet and a quarter of the window's root; a sixteenth of
 * the window while the path is clearly empty and was not full lately: equal shares come of growth that is not
 * in proportion. */
static void round_step(struct path *p)
{
	struct cc *cc = &p->cc;
	uint32_t w = cc_window(cc), root = 1;

	while ((root + 1) * (root + 1) <= w && root < 64)
		root++;
	cc->step = CC_ONE / 2 + root * (CC_ONE / 4);
	if (cc->quiet >= CC_QUIET && cc->round_rtt < path_base_rtt(p) + cc->spare / 4 &&
	    cc->step < cc->cwnd / 16)
		cc->step = cc->cwnd / 16;
}

void cc_echo(struct path *p, uint64_t txn)
{
	struct cc *cc = &p->cc;

	if (txn < cc->round_txn)
		return;
	/* After a cut a round goes by that tells only what was before it. */
	cc->was_cut = cc->cut;
	cc->cut = false;
	round_ecn(p);
	round_delay(p);
	round_hosts(p);
	round_loss(p);
	cc->hot = cc->cut ? cc->hot + 1 : cc->was_cut ? cc->hot : cc->hot / 2;
	cc->quiet = cc->cut ? 0 : cc->quiet + 1;
	cc->calm = !cc->cut && cc->rtt <= target(p);
	round_step(p);
	cc->round_limited = false;
	cc->round_acked = cc->round_lost = cc->round_ce = cc->round_pairs = 0;
	cc->round_rtt = cc->round_all = RT_NEVER;
	cc->round_txn = p->txn;
}

void cc_sent(struct path *p, uint64_t now)
{
	uint64_t gap = p->srtt * CC_ONE / p->cc.cwnd;
	uint32_t mix = ((uint32_t)p->txn * 2654435761u) ^ (p->tx_spi * 2246822519u);

	mix = (mix ^ mix >> 15) * 2246822519u;
	p->cc.pace_at = now + gap / 2 + (gap * (mix >> 22) >> 10);
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

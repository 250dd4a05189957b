/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Paths: state, round-trip time, probes, choice.
 *
 *	PROBING	 added; the active end probes, the passive end waits for a packet
 *	UP	 answers; the one with the best round trip carries the data
 *	SUSPECT	 RT_PROBE_SUSPECT probes, or timeouts of data (loss.c), without an
 *		 answer: data moves to another path if there is one; probed every
 *		 RT_PROBE_GAP by the end that suspects it. Where the other is a mere
 *		 backup, only after RT_BACKUP_NS of silence: a host whose processor was
 *		 elsewhere for so long is busy, not cut off, and a worse path does not help it
 *	DOWN	 RT_PROBE_DEAD probes without an answer: carries nothing; the active end
 *		 probes on, ever more rarely, up to once a keepalive
 *
 * A path may work in one direction only, so arrivals alone never clear a suspicion: an answered
 * probe does. The active end's probes say whether it holds the path for usable, and the passive end
 * follows: it cannot know better, and two ends with opinions of their own would never agree. Alone
 * it suspects a path too (nobody acknowledges), until its own probe or the active end's word.
 *
 * The active end sends one probe per path and keepalive, all at one moment; where nothing else was sent since
 * the last one, the next comes after two: a host that idles is woken for them and nothing else.
 */
#include "fabric/rt/impl.h"

#define MIN_RTT_NS (1000000000ull) /* a base round trip is believed for one to two of these */

static void min_rtt(struct path *p, uint64_t rtt, uint64_t now)
{
	if (!p->min_rtt || now - p->min_rtt_at > MIN_RTT_NS) {
		p->min_rtt_old = p->min_rtt;
		p->min_rtt = rtt;
		p->min_rtt_at = now;
	} else if (rtt < p->min_rtt) {
		p->min_rtt = rtt;
	}
}

uint64_t path_rtt(struct path *p, uint64_t rtt, uint64_t hosts, uint64_t now)
{
	uint64_t net;

	if (!rtt)
		rtt = 1;
	net = rtt > hosts ? rtt - hosts : 1;
	p->rtt_all = rtt;
	min_rtt(p, net, now);
	if (!p->srtt) { /* RFC 6298 */
		p->srtt = rtt;
		p->rttvar = rtt / 2;
	} else {
		uint64_t d = rtt > p->srtt ? rtt - p->srtt : p->srtt - rtt;

		p->rttvar = (3 * p->rttvar + d) / 4;
		p->srtt = (7 * p->srtt + rtt) / 8;
	}
	return net;
}

int path_other(const struct rt *rt, int path)
{
	int best = -1;

	for (int i = 0; i < RT_PATHS; i++) {
		const struct path *p = &rt->path[i];

		if (i == path || !p->used || p->state != RT_PATH_UP)
			continue;
		if (best < 0 || p->backup < rt->path[best].backup ||
		    (p->backup == rt->path[best].backup && p->srtt < rt->path[best].srtt))
			best = i;
	}
	return best;
}

/* Stays where it is while that is not clearly worse: a path under load always looks slower than an idle one.
 */
void path_choose(struct rt *rt)
{
	const struct path *now = rt->primary >= 0 ? &rt->path[rt->primary] : NULL;
	int best = path_other(rt, -1);

	if (best >= 0) {
		if (!now || now->state != RT_PATH_UP || now->backup != rt->path[best].backup ||
		    now->srtt > 2 * rt->path[best].srtt + 100000)
			rt->primary = best;
		return;
	}
	if (now && path_usable(now))
		return;
	rt->primary = -1;
	for (int i = 0; i < RT_PATHS && rt->primary < 0; i++)
		if (path_usable(&rt->path[i]))
			rt->primary = i;
}

void path_repath(struct rt *rt, unsigned path)
{
	struct path *p = &rt->path[path];
	int other = path_other(rt, (int)path);

	p->cc.hot = 0;
	if (rt->primary == (int)path && other >= 0 && rt->path[other].backup == p->backup &&
	    rt->path[other].srtt + p->cc.spare / 2 < p->srtt)
		rt->primary = other;
}

/* A path works again: what flew on paths that do not must fly again, and clocks start anew. */
static void resume(struct rt *rt, unsigned path, bool was_down, uint64_t now)
{
	for (unsigned i = 0; i < RT_PATHS; i++)
		if (rt->path[i].used && (i == path ? was_down : !path_usable(&rt->path[i])))
			loss_move(rt, i, now);
	for (unsigned c = 0; c < RT_NCLASS; c++) {
		rt->tx[c].backoff = 0;
		rt->tx[c].pto_from = now;
	}
}

void path_state(struct rt *rt, unsigned path, enum rt_path_state state, uint64_t now)
{
	struct path *p = &rt->path[path];
	enum rt_path_state old = p->state;
	int was = rt->primary;

	if (old == state)
		return;
	p->state = (uint8_t)state;
	path_choose(rt);
	mtu_update(rt);
	if (state == RT_PATH_UP) {
		if (was < 0 || old == RT_PATH_DOWN)
			resume(rt, path, old == RT_PATH_DOWN, now);
		/* What flies on a mere backup may take seconds there, and all windows would wait for it. */
		if (was >= 0 && rt->path[was].backup > rt->path[rt->primary].backup)
			loss_move(rt, (unsigned)was, now);
	} else if (rt->primary >= 0 && rt->primary != (int)path) {
		loss_move(rt, path, now);
	}
	if (rt->cfg.ops->path)
		rt->cfg.ops->path(rt->cfg.ctx, path, state);
}

void path_suspect(struct rt *rt, unsigned path, uint64_t now)
{
	struct path *p = &rt->path[path];

	path_state(rt, path, RT_PATH_SUSPECT, now);
	if (!p->stamp)
		p->probe_due = true;
}

void path_awake(struct rt *rt, unsigned path, uint64_t now)
{
	struct path *p = &rt->path[path];

	if (!rt->cfg.active && p->state == RT_PATH_PROBING)
		path_state(rt, path, RT_PATH_UP, now);
	else if (rt->cfg.active && p->state == RT_PATH_DOWN && now - p->stamp >= RT_PROBE_GAP)
		p->probe_at = now; /* it may be back: ask at once */
}

static void probing_ends(struct path *p)
{
	p->stamp = 0;
	p->misses = 0;
	p->probe_at = RT_NEVER;
	p->probe_due = false;
	p->probe_gap = RT_PROBE_GAP;
}

void path_probe(struct rt *rt, unsigned path, const struct wire_probe *b, bool reply, uint64_t now)
{
	struct path *p = &rt->path[path];

	if (!reply) {
		p->reply_due = true;
		p->reply_stamp = b->stamp;
		if (!rt->cfg.active) { /* the peer knows better than our own probes */
			probing_ends(p);
			if (b->usable)
				path_state(rt, path, RT_PATH_UP, now);
			else if (p->state == RT_PATH_UP)
				path_state(rt, path, RT_PATH_SUSPECT, now);
		}
		return;
	}
	if (mtu_reply(rt, path, b->stamp, now) || !p->stamp || b->stamp < p->stamp_first ||
	    b->stamp > p->stamp)
		return; /* an answer to nothing that we asked lately */
	path_rtt(p, now - b->stamp, rt->lay, now);
	probing_ends(p);
	if (p->state != RT_PATH_UP) {
		p->probe_due = p->state != RT_PATH_PROBING; /* tells the peer that the suspicion is over */
		path_state(rt, path, RT_PATH_UP, now);
	}
}

uint64_t path_deadline(const struct rt *rt)
{
	uint64_t at = rt->keep_at;

	for (unsigned i = 0; i < RT_PATHS; i++) {
		if (rt->path[i].used && rt->path[i].probe_at < at)
			at = rt->path[i].probe_at;
		if (rt->path[i].used && rt->path[i].wipe_at < at)
			at = rt->path[i].wipe_at;
	}
	if (!rt->lost && rt->last_rx + rt->cfg.lost_ns < at)
		at = rt->last_rx + rt->cfg.lost_ns;
	return at;
}

bool path_spared(const struct rt *rt, unsigned path, uint64_t asked, uint64_t now)
{
	const struct path *p = &rt->path[path];
	int other = path_other(rt, (int)path);

	return other >= 0 && rt->path[other].backup > p->backup &&
	       now - (asked > p->last_rx ? asked : p->last_rx) < RT_BACKUP_NS;
}

static void probe_missed(struct rt *rt, unsigned path, uint64_t now)
{
	struct path *p = &rt->path[path];

	if (p->acked_at > p->stamp_first) { /* the probe fell, the path works */
		if (p->state == RT_PATH_UP)
			probing_ends(p);
		p->stamp_first = p->acked_at;
		p->misses = 0;
		return;
	}
	if (++p->misses >= RT_PROBE_DEAD && p->state == RT_PATH_SUSPECT)
		path_state(rt, path, RT_PATH_DOWN, now);
	else if (p->misses >= RT_PROBE_SUSPECT && p->state == RT_PATH_UP &&
		 !path_spared(rt, path, p->stamp_first, now))
		path_state(rt, path, RT_PATH_SUSPECT, now);
	if (p->state == RT_PATH_DOWN || p->state == RT_PATH_PROBING) {
		p->probe_gap *= 2;
		if (p->probe_gap > rt->cfg.keepalive_ns)
			p->probe_gap = rt->cfg.keepalive_ns;
	}
}

/* Returns whether no more was sent since the last keepalive than that one itself. */
static bool shares(struct rt *rt)
{
	uint64_t sum = 0;
	unsigned used = 0;

	for (unsigned i = 0; i < RT_PATHS; i++) {
		sum += rt->path[i].tx_packets - rt->path[i].tx_mark;
		used += rt->path[i].used;
	}
	for (unsigned i = 0; i < RT_PATHS; i++) {
		struct path *p = &rt->path[i];

		p->share_permille = sum ? (uint32_t)((p->tx_packets - p->tx_mark) * 1000 / sum) : 0;
		p->tx_mark = p->tx_packets;
	}
	return sum <= used;
}

/* The passive end hears of each path at every keepalive of the active one: a path that was silent for two and
 * a half of them, while others were heard, is dead, though nothing was sent there that could have shown it.
 */
static bool gone_silent(const struct rt *rt, const struct path *p, uint64_t now)
{
	uint64_t limit = rt->cfg.keepalive_ns * 5 / 2 * (rt->quiet ? 2 : 1);

	return !rt->cfg.active && p->used && p->state == RT_PATH_UP && now - p->last_rx > limit &&
	       now - rt->last_rx < limit * 3 / 5;
}

static void keepalive(struct rt *rt, uint64_t now)
{
	uint64_t gap;

	/* Not where two of them come near to what passes for a lost session. */
	rt->quiet = shares(rt) && 3 * rt->cfg.keepalive_ns <= rt->cfg.lost_ns;
	gap = rt->cfg.keepalive_ns * (rt->quiet ? 2 : 1);
	rt->keep_at += gap;
	if (rt->keep_at <= now)
		rt->keep_at = now + gap;
	for (unsigned i = 0; i < RT_PATHS; i++) {
		struct path *p = &rt->path[i];

		/* The passive end sends nothing on a path that it does not use, but shows its round trip too.
		 */
		if ((rt->cfg.active || !p->srtt) && p->used && p->state == RT_PATH_UP && !p->stamp)
			p->probe_due = true;
		if (gone_silent(rt, p, now))
			path_state(rt, i, RT_PATH_DOWN, now);
		if (!p->reo_recent)
			p->reo_mult /= 2;
		p->reo_recent = false;
	}
	path_choose(rt);
}

void path_tick(struct rt *rt, uint64_t now)
{
	for (unsigned i = 0; i < RT_PATHS; i++) {
		struct path *p = &rt->path[i];

		if (p->used)
			key_tick(rt, i, now);
		if (!p->used || p->probe_at > now)
			continue;
		if (p->stamp)
			probe_missed(rt, i, now);
		if (p->state == RT_PATH_UP && !p->stamp)
			continue;
		p->probe_at = RT_NEVER;
		p->probe_due = rt->cfg.active || p->state != RT_PATH_DOWN;
		if (!p->probe_due)
			p->stamp = 0;
	}
	if (rt->keep_at <= now)
		keepalive(rt, now);
	if (now - rt->last_rx >= rt->cfg.lost_ns)
		rt->lost = true;
}

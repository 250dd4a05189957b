/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Acknowledgements. Written from rx windows; checked as a whole before any of it is applied to tx
 * rings, so that a forged or garbled one changes nothing.
 *
 * Bitmap words are aligned to psn & ~63 at both ends, so that a word of the peer's window is a
 * word of our ring's `done`: finding what is new costs one AND per 64 packets.
 *
 * Wait or not. At the end of a burst its acknowledgement goes at once, or waits ack_delay_ns for company: a
 * packet to ride on, or other bursts to be acknowledged with. What was seen decides, by three rules, as each
 * kind of traffic is misjudged by the others:
 *	gaps	bursts that come at least twice in the delay (the larger of the last two gaps counts) wait,
 *		always, and go with the last that comes in time, so that no timer is needed. The only rule for
 *		traffic one way, where nothing comes to ride on; of bursts that are rarer it knows nothing.
 *	hurry	after a wait that ended with the timer, alone, bursts do not wait for a while: waiting cost a
 *		wake-up instead of saving one. Until then they do, as requests and answers come too rarely for
 *		the first rule and have company almost always.
 *	vain	times in a row that it was so double that while, or rare bursts one way would pay for every
 *		16th of them without end. One wait that is worth it begins anew.
 * What is urgent (w->soon) waits by none of them.
 */
#include "fabric/rt/impl.h"

/* Bursts that do not wait after one that did in vain; doubled up to so many times. */
#define ACK_HURRY    16u
#define ACK_VAIN_MAX 4u

static uint16_t delay_us(uint64_t since, uint64_t now)
{
	uint64_t us = now > since ? (now - since) / 1000 : 0;

	return us < UINT16_MAX ? (uint16_t)us : UINT16_MAX;
}

static void block_for(const struct rx_win *w, unsigned cls, unsigned path, uint64_t now, struct wire_ack *a)
{
	*a = (struct wire_ack){.cls = (uint8_t)cls,
			       .path = (uint8_t)path,
			       .rwnd = (uint16_t)w->window,
			       .cum_ack = w->cum,
			       .largest_txn = w->echo[path]};
	if (a->largest_txn)
		a->delay_us = delay_us(w->echo_at[path], now);
}

static void put_bitmap(const struct rx_win *w, struct cur_w *out, uint32_t nwords)
{
	uint32_t psn = w->cum & ~63u;
	uint32_t end = w->cum + w->window;

	for (uint32_t i = 0; i < nwords; i++, psn += 64) {
		uint64_t bits = w->bits[(psn & w->mask) >> 6];

		/* The first and the last word may be the same word of the ring. */
		if (i == 0)
			bits &= ~0ull << (w->cum & 63);
		if (psn_diff(end, psn) < 64)
			bits &= (1ull << (end & 63)) - 1;
		wire_ack_put_word(out, bits);
	}
}

/* The block of cls with its bitmap, then one without for each other path that carried something. */
static bool write_class(struct rt *rt, unsigned cls, struct cur_w *out, uint64_t now)
{
	struct rx_win *w = &rt->rx[cls];
	struct wire_ack a;
	uint32_t extra = (uint32_t)__builtin_popcount(w->fresh & ~(1u << w->last_path));

	block_for(w, cls, w->last_path, now, &a);
	if (w->high != w->cum)
		a.nwords = (uint16_t)((w->high - (w->cum & ~63u) + 63) / 64);
	if (out->left < WIRE_ACK_LEN * (1 + extra) + 8u * a.nwords)
		return false;
	wire_ack_encode(out, &a);
	put_bitmap(w, out, a.nwords);
	for (unsigned p = 0; p < RT_PATHS; p++) {
		if (p == w->last_path || !(w->fresh >> p & 1))
			continue;
		block_for(w, cls, p, now, &a);
		wire_ack_encode(out, &a);
	}
	w->fresh = 0;
	w->owed = 0;
	w->due = w->soon = false;
	return true;
}

unsigned ack_write(struct rt *rt, struct cur_w *out, bool due, uint64_t now)
{
	unsigned written = 0;

	for (unsigned c = 0; c < RT_NCLASS; c++) {
		struct rx_win *w = &rt->rx[c];

		if ((w->due || (!due && w->owed)) && write_class(rt, c, out, now))
			written |= 1u << c;
	}
	if (rt->ack_at != RT_NEVER && !ack_any_owed(rt)) {
		rt->ack_at = RT_NEVER;
		rt->ack_vain = 0;
	}
	return written;
}

/* A burst came: how far apart they are, the larger gap of the last two. */
static void burst(struct rt *rt, uint64_t now)
{
	uint64_t gap = now - rt->burst_at;

	rt->burst_fed = false;
	rt->burst_gap = gap > rt->burst_last ? gap : rt->burst_last;
	rt->burst_last = gap;
	rt->burst_at = now;
	if (rt->ack_at != RT_NEVER)
		rt->ack_bursts++;
}

void ack_settle(struct rt *rt, uint64_t now)
{
	uint64_t delay = rt->cfg.ack_delay_ns;
	bool fed = rt->burst_fed, wait, last;

	if (fed)
		burst(rt, now);
	wait = delay && (!rt->ack_hurry || rt->burst_gap <= delay / 2);
	/* The next burst would be too late for them: with this one they cost no wake-up. */
	last = fed && rt->ack_at != RT_NEVER && now + rt->burst_last >= rt->ack_at;
	for (unsigned c = 0; c < RT_NCLASS; c++) {
		struct rx_win *w = &rt->rx[c];

		if (!w->owed)
			continue;
		if (w->soon || !wait || last) {
			w->due = true;
		} else if (rt->ack_at == RT_NEVER) {
			rt->ack_at = now + delay;
			rt->ack_bursts = 1;
		}
	}
	if (fed && !wait && rt->ack_hurry)
		rt->ack_hurry--;
}

void ack_tick(struct rt *rt, uint64_t now)
{
	if (now < rt->ack_at)
		return;
	rt->ack_at = RT_NEVER;
	if (rt->ack_bursts > 1) {
		rt->ack_vain = 0;
	} else {
		rt->ack_hurry = ACK_HURRY << rt->ack_vain;
		if (rt->ack_vain < ACK_VAIN_MAX)
			rt->ack_vain++;
	}
	for (unsigned c = 0; c < RT_NCLASS; c++)
		rt->rx[c].due |= rt->rx[c].owed > 0;
}

bool ack_any_due(const struct rt *rt)
{
	for (unsigned c = 0; c < RT_NCLASS; c++)
		if (rt->rx[c].due)
			return true;
	return false;
}

bool ack_any_owed(const struct rt *rt)
{
	for (unsigned c = 0; c < RT_NCLASS; c++)
		if (rt->rx[c].owed || rt->rx[c].due)
			return true;
	return false;
}

bool ack_blocks_ok(const struct rt *rt, struct cur_r c)
{
	struct wire_ack a;
	int r;

	while ((r = wire_ack_next(&c, &a)) == 1) {
		const struct tx_ring *t = &rt->tx[a.cls];
		const struct path *p = &rt->path[a.path];
		uint32_t psn = a.cum_ack & ~63u;

		if (psn_diff(a.cum_ack, t->next) > 0 || a.rwnd == 0 || a.nwords > t->window / 64 + 1)
			return false;
		if (a.largest_txn && a.largest_txn >= p->txn) /* the path itself may be gone since */
			return false;
		for (uint32_t i = 0; i < a.nwords; i++, psn += 64) {
			int32_t sent = psn_diff(t->next, psn);
			uint64_t may = sent >= 64 ? ~0ull : sent <= 0 ? 0 : (1ull << sent) - 1;

			if (wire_ack_word(&a, i) & ~may)
				return false;
		}
	}
	return r == 0;
}

/* What one acknowledgement brought, per path. */
struct harvest {
	uint32_t packets[RT_PATHS];
	uint64_t largest[RT_PATHS];
	uint64_t echo_sent; /* time of the transmission that was echoed, if this is the first news of it */
	uint8_t reordered;  /* bit per path */
};

static void harvest_slot(struct rt *rt, struct tx_ring *t, uint32_t idx, unsigned echo_path, uint64_t echo,
			 struct harvest *h)
{
	struct tx_slot *s = &t->slots[idx];
	unsigned p = s->path;

	h->packets[p]++;
	if (s->len > rt->cfg.chunk && !s->sliced) {
		rt->path[p].big_lost = 0;
		rt->path[p].big_from = rt->path[p].txn;
	}
	if (s->txn > h->largest[p])
		h->largest[p] = s->txn;
	if (p == echo_path && s->txn == echo)
		h->echo_sent = s->sent;
	/* The network reorders if this was sent earlier than something acknowledged before, if it is an
	 * earlier transmission than the last that arrived, or if it was already held for lost. */
	if (s->state == SLOT_LOST || (!s->rexmits && s->txn < t->acked[p]) ||
	    (s->rexmits && p == echo_path && echo && s->txn > echo))
		h->reordered |= (uint8_t)(1u << p);
}

static void harvest_cum(struct rt *rt, struct tx_ring *t, uint32_t cum, unsigned echo_path, uint64_t echo,
			struct harvest *h)
{
	if (psn_diff(cum, t->base) <= 0)
		return;
	for (uint32_t psn = t->base; psn != cum; psn++) {
		uint32_t idx = psn & t->mask;

		if (t->slots[idx].state == SLOT_DONE)
			continue;
		harvest_slot(rt, t, idx, echo_path, echo, h);
		tx_landed(rt, t, idx);
	}
	tx_done_to(t, cum);
}

static void harvest_bitmap(struct rt *rt, struct tx_ring *t, const struct wire_ack *a, struct harvest *h)
{
	uint32_t psn = a->cum_ack & ~63u;

	for (uint32_t i = 0; i < a->nwords; i++, psn += 64) {
		uint64_t bits = wire_ack_word(a, i);
		int32_t past = psn_diff(t->base, psn);

		if (past >= 64)
			continue;
		if (past > 0)
			bits &= ~0ull << past;
		bits &= ~t->done[(psn & t->mask) >> 6]; /* all of them are in [base, next): ack_blocks_ok() */
		t->done[(psn & t->mask) >> 6] |= bits;
		for (; bits; bits &= bits - 1) {
			uint32_t idx = (psn + (uint32_t)__builtin_ctzll(bits)) & t->mask;

			harvest_slot(rt, t, idx, a->path, a->largest_txn, h);
			tx_landed(rt, t, idx);
		}
	}
	tx_done_to(t, t->base);
}

static void window_update(struct tx_ring *t, uint32_t cum, uint16_t rwnd)
{
	if (psn_diff(cum, t->peer_cum) < 0)
		return;
	t->peer_cum = cum;
	t->peer_rwnd = rwnd;
	if (psn_diff(t->base, cum) <= 0)
		t->floor_owed = t->floor_asked = false;
}

static void settle(struct rt *rt, struct tx_ring *t, unsigned cls, const struct harvest *h,
		   unsigned echo_path, uint64_t rtt, uint64_t now)
{
	bool progress = false;

	for (unsigned p = 0; p < RT_PATHS; p++) {
		if (h->packets[p] || (p == echo_path && rtt))
			cc_acked(&rt->path[p], h->packets[p], p == echo_path ? rtt : 0);
		if (h->largest[p] > t->acked[p])
			t->acked[p] = h->largest[p];
		if (h->packets[p]) {
			progress = true;
			rt->path[p].acked_at = now;
		}
		if (h->reordered >> p & 1) {
			rt->path[p].reo_recent = true;
			if (rt->path[p].reo_mult < RT_REO_MAX)
				rt->path[p].reo_mult++;
		}
	}
	if (progress) {
		t->backoff = 0;
		t->pto_from = now;
	}
	for (unsigned p = 0; p < RT_PATHS; p++)
		if (t->echo[p] && t->flight[p].head != SLOT_NIL)
			loss_detect(rt, cls, p, now);
}

void ack_hdr_apply(struct rt *rt, const struct wire_hdr *hd, uint64_t now)
{
	struct tx_ring *t = &rt->tx[hd->cls];
	struct harvest h = {.echo_sent = 0};

	harvest_cum(rt, t, hd->cum_ack, RT_PATHS, 0, &h);
	window_update(t, hd->cum_ack, hd->rwnd);
	settle(rt, t, hd->cls, &h, RT_PATHS, 0, now);
}

/* The peer took so long to acknowledge, beyond the round trip: probe timeouts allow for it, within reason. */
static void waited(const struct rt *rt, struct path *p, uint64_t delay)
{
	if (delay > 2 * rt->cfg.rto_floor_ns)
		delay = 2 * rt->cfg.rto_floor_ns;
	if (delay > p->ack_wait)
		p->ack_wait = delay;
	else
		p->ack_wait -= (p->ack_wait - delay) / 8;
}

void ack_blocks_apply(struct rt *rt, struct cur_r c, uint64_t now)
{
	struct wire_ack a;

	while (wire_ack_next(&c, &a) == 1) {
		struct tx_ring *t = &rt->tx[a.cls];
		struct path *p = &rt->path[a.path];
		struct harvest h = {.echo_sent = 0};
		uint64_t rtt = 0;

		harvest_cum(rt, t, a.cum_ack, a.path, a.largest_txn, &h);
		harvest_bitmap(rt, t, &a, &h);
		window_update(t, a.cum_ack, a.rwnd);
		if (h.echo_sent)
			waited(rt, p, a.delay_us * 1000ull);
		if (h.echo_sent && a.delay_us != UINT16_MAX)
			rtt = path_rtt(p, now - h.echo_sent, a.delay_us * 1000ull + rt->lay, now);
		if (a.largest_txn > t->echo[a.path])
			t->echo[a.path] = a.largest_txn;
		if (a.largest_txn)
			cc_echo(p, a.largest_txn);
		if (p->cc.hot >= RT_REPATH_ROUNDS)
			path_repath(rt, a.path);
		settle(rt, t, a.cls, &h, a.path, rtt, now);
	}
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loss detection per class and path, and what follows.
 *
 * RACK (RFC 8985) by echoed stamps: an acknowledgement names the largest transmission number
 * (txn) that arrived, so a retransmission is never taken for the original. flight[path] is
 * in txn order; what stands before the echoed number was overtaken. It is lost at once if
 * RT_REO_PACKETS were sent after it and arrived, unless the path was seen to reorder; else
 * when a round trip and the reordering allowance have passed since it was sent.
 *
 * The probe timeout (RFC 9002 section 6.2, here one per class) covers what no echo tells: the
 * oldest packet goes again and asks for an answer. The second also questions the path: if nothing
 * was heard on it meanwhile and another one, as good, works, all moves there. What is only a backup
 * takes over when the timeouts have grown as far as they do and the path was silent for long (path_spared()).
 */
#include "fabric/rt/impl.h"

static const struct tx_slot *head_of(const struct tx_ring *t, unsigned path)
{
	uint32_t idx = t->flight[path].head;

	return idx == SLOT_NIL ? NULL : &t->slots[idx];
}

/* Path with the transmission longest ago, or -1. */
static int oldest(const struct tx_ring *t)
{
	int best = -1;

	for (unsigned p = 0; p < RT_PATHS; p++) {
		const struct tx_slot *s = head_of(t, p);

		if (s && (best < 0 || s->sent < head_of(t, (unsigned)best)->sent))
			best = (int)p;
	}
	return best;
}

/* For an answer to what was sent on path (-1: none is up) just now. */
static uint64_t patience(const struct rt *rt, int path, uint64_t wait)
{
	if (path < 0 || !rt->path[path].srtt)
		wait = RT_RTO_UNKNOWN;
	if (wait < rt->cfg.rto_floor_ns)
		wait = rt->cfg.rto_floor_ns;
	return path >= 0 ? wait + rt->path[path].ack_wait : wait;
}

/* What timeouts send goes on the primary path: it is what the next one waits for. */
static int waited_for(const struct rt *rt, const struct tx_ring *t)
{
	int p = t->backoff ? -1 : oldest(t);

	return p >= 0 ? p : rt->primary;
}

/* Without what timeouts in a row add. */
static uint64_t first_rto(const struct rt *rt, int p)
{
	return patience(rt, p, p >= 0 ? 2 * rt->path[p].srtt + rt->path[p].rttvar : 0);
}

/* Whether the next timeout without a word moves all from path p to another. */
static bool doubtful(const struct rt *rt, const struct tx_ring *t, int p)
{
	int other = p >= 0 && rt->path[p].last_rx <= t->pto_from ? path_other(rt, p) : -1;

	if (other < 0)
		return false;
	return rt->path[other].backup <= rt->path[p].backup ? t->backoff >= 1 : t->backoff == RT_BACKOFF_MAX;
}

uint64_t loss_rto(const struct rt *rt, const struct tx_ring *t)
{
	int p = waited_for(rt, t);

	/* The packet of the first timeout asked for an answer and met no queue: nothing went before it. */
	if (t->backoff == 1 && doubtful(rt, t, p)) {
		const struct path *q = &rt->path[p];
		uint64_t wait = 2 * q->min_rtt + 4 * q->rttvar;

		return patience(rt, p, wait < q->srtt ? wait : q->srtt);
	}
	return first_rto(rt, p) << t->backoff;
}

/* A clock would not do instead of the count: a loss shows a probe timeout late, and how long that is depends
 * on how late the peers' processors run them. */
static bool give_up(const struct tx_slot *s)
{
	return s->rel == RT_REL_NONE || (s->rel == RT_REL_BOUNDED && s->rexmits >= RT_NET_RETRIES);
}

/* From the flight to what is sent again. */
static void to_lost(struct rt *rt, struct tx_ring *t, uint32_t idx)
{
	struct tx_slot *s = &t->slots[idx];

	list_unlink(t, &t->flight[s->path], idx);
	rt->path[s->path].inflight--;
	t->flying--;
	s->state = SLOT_LOST;
	list_push(t, &t->lost, idx);
}

/* What is too large for path will not arrive: it goes in slices, at once. */
static void lose_large(struct rt *rt, unsigned path)
{
	for (unsigned c = 0; c < RT_NCLASS; c++) {
		struct tx_ring *t = &rt->tx[c];
		uint16_t idx = t->flight[path].head, next;

		for (; idx != SLOT_NIL; idx = next) {
			struct tx_slot *s = &t->slots[idx];

			next = s->next;
			if (s->sliced || s->len <= rt->path[path].proven || s->rel == RT_REL_NONE)
				continue;
			s->rexmits = 0;
			to_lost(rt, t, idx);
		}
	}
}

/* The packet at idx, in flight, is lost: send it again, or give it up. True: given up. */
static bool lose(struct rt *rt, struct tx_ring *t, uint32_t idx, bool timeout, uint64_t now)
{
	struct tx_slot *s = &t->slots[idx];
	unsigned path = s->path;
	bool gone = give_up(s);
	bool narrow = s->len > rt->cfg.chunk && !s->sliced && s->txn >= rt->path[path].big_from &&
		      mtu_big_lost(rt, path, timeout, now);

	cc_lost(&rt->path[path], s->txn);
	if (gone) {
		tx_done(rt, t, idx);
		count(rt, RT_C_tx_abandoned);
		t->floor_owed = true;
	} else {
		to_lost(rt, t, idx);
	}
	if (narrow)
		lose_large(rt, path);
	return gone;
}

void loss_detect(struct rt *rt, unsigned cls, unsigned path, uint64_t now)
{
	struct tx_ring *t = &rt->tx[cls];
	const struct path *p = &rt->path[path];
	uint64_t wait = p->srtt + p->srtt / 4 * (p->reo_mult ? p->reo_mult : 1);
	const struct tx_slot *s;

	t->reo_at[path] = RT_NEVER;
	while ((s = head_of(t, path)) && s->txn < t->echo[path]) {
		bool overtaken = !p->reo_mult && t->echo[path] - s->txn >= RT_REO_PACKETS;

		if (!overtaken && now < s->sent + wait) {
			t->reo_at[path] = s->sent + wait;
			break;
		}
		lose(rt, t, t->flight[path].head, false, now);
	}
}

void loss_move(struct rt *rt, unsigned path, uint64_t now)
{
	for (unsigned c = 0; c < RT_NCLASS; c++) {
		struct tx_ring *t = &rt->tx[c];
		uint32_t idx;

		while ((idx = t->flight[path].head) != SLOT_NIL) {
			t->slots[idx].rexmits = 0; /* the path failed, not the packet */
			lose(rt, t, idx, false, now);
		}
		t->reo_at[path] = RT_NEVER;
	}
}

/* Something was sent and no answer says yet that all is well. */
static bool waiting(const struct tx_ring *t)
{
	return t->flying || t->peer_cum != t->base;
}

/* Questions the primary path and those that something flies on, where nothing was heard: the answers that are
 * missing may all have been on their way over the same one. False: there is no such path. */
static bool leave_silent(struct rt *rt, const struct tx_ring *t, uint64_t now)
{
	bool left = false;

	for (int i = 0; i <= RT_PATHS; i++) {
		int p = i ? i - 1 : rt->primary;

		if ((!i || head_of(t, (unsigned)p)) && doubtful(rt, t, p) &&
		    !path_spared(rt, (unsigned)p, t->unheard_from, now)) {
			path_suspect(rt, (unsigned)p, now);
			left = true;
		}
	}
	return left;
}

static void probe_timeout(struct rt *rt, unsigned cls, uint64_t now)
{
	struct tx_ring *t = &rt->tx[cls];
	uint64_t rto = first_rto(rt, waited_for(rt, t));
	int p = oldest(t);
	bool moved;

	if (!t->backoff)
		t->unheard_from = t->pto_from;
	moved = p >= 0 && leave_silent(rt, t, now);
	t->pto_from = now;
	if (moved) {
		t->backoff = 0; /* other paths have clocks of their own */
		t->probes = 1;
		return;
	}
	if (t->backoff < RT_BACKOFF_MAX)
		t->backoff++;
	if (p < 0) { /* nothing flies: it is the floor that was not confirmed */
		t->floor_owed = t->floor_asked = true;
		return;
	}
	/* Packets that are not sent again need no timeout each. */
	while (p >= 0 && lose(rt, t, t->flight[p].head, true, now)) {
		t->floor_asked = true;
		p = oldest(t);
		if (p >= 0 && now < head_of(t, (unsigned)p)->sent + rto)
			return;
	}
	if (t->lost.head != SLOT_NIL)
		t->probes = t->backoff > 1 ? 2 : 1; /* something new too: the old may have arrived, unheard */
}

uint64_t loss_deadline(const struct rt *rt)
{
	uint64_t at = RT_NEVER;

	if (rt->primary < 0)
		return at; /* nothing could be sent: a path that comes up starts it all again */
	for (unsigned c = 0; c < RT_NCLASS; c++) {
		const struct tx_ring *t = &rt->tx[c];

		if (!waiting(t))
			continue;
		if (t->pto_from + loss_rto(rt, t) < at)
			at = t->pto_from + loss_rto(rt, t);
		for (unsigned p = 0; t->flying && p < RT_PATHS; p++)
			if (t->reo_at[p] < at)
				at = t->reo_at[p];
	}
	return at;
}

void loss_tick(struct rt *rt, uint64_t now)
{
	for (unsigned c = 0; c < RT_NCLASS; c++) {
		struct tx_ring *t = &rt->tx[c];

		for (unsigned p = 0; p < RT_PATHS; p++)
			if (t->reo_at[p] <= now)
				loss_detect(rt, c, p, now);
		if (rt->primary >= 0 && waiting(t) && t->pto_from + loss_rto(rt, t) <= now)
			probe_timeout(rt, c, now);
	}
}

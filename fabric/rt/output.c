/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which datagram goes next, and its sealing.
 *
 * Order: probes, control, then the other classes in turns of QUANTUM packets, in each the lost ones
 * first. Acknowledgements go last when little else is queued, so that they can ride in the room
 * that the last chunk of a burst leaves; else first, so that they do not wait behind a train.
 *
 * A packet is sealed in place. To send it again it is opened with its old transmission number and sealed with
 * the new one, which spares the hot path a copy.
 */
#include <stdlib.h>
#include <string.h>

#include "fabric/rt/impl.h"

#define QUANTUM	     32
#define RUN_AHEAD    2u		    /* packets whose headers are fetched into the cache before their turn */
#define ACKS_FIRST   4u		    /* packets queued */
#define ACK_AREA_LEN 2u		    /* its length field */
#define CTL_BEYOND   RT_CTL_RESERVE /* control packets in flight whatever the window says */

struct batch {
	struct rt *rt;
	uint64_t now;
	struct rt_tx *out;
	int max, n;
	uint64_t bytes;
	uint8_t phase; /* WIRE_F_PHASE or 0 */
};

/* Header, cipher and tag of the datagram at data with len payload bytes; into the batch. */
static inline void seal(struct batch *b, const struct path *p, const struct wire_hdr *h, uint8_t *data,
			uint32_t len)
{
	uint32_t tag = b->rt->tag;

	wire_hdr_encode(h, data);
	b->rt->cfg.aead->seal(p->tx_key, key_nonce(data), data, WIRE_HDR_LEN, data + WIRE_HDR_LEN, len,
			      data + WIRE_HDR_LEN + len);
	len += WIRE_HDR_LEN + tag;
	b->out[b->n++] = (struct rt_tx){.data = data, .len = len, .path = h->path};
	b->bytes += len;
}

/* All of a header but the numbers of its packet. */
static inline struct wire_hdr header(const struct batch *b, unsigned path, uint8_t type, uint8_t flags,
				     unsigned cls)
{
	const struct rt *rt = b->rt;

	return (struct wire_hdr){.type = type,
				 .flags = flags | b->phase,
				 .cls = (uint8_t)cls,
				 .path = (uint8_t)path,
				 .spi = rt->path[path].tx_spi,
				 .cum_ack = rt->rx[cls].cum,
				 .floor = rt->tx[cls].base,
				 .rwnd = (uint16_t)rt->rx[cls].window,
				 .ce = rt->path[path].ce_seen};
}

static void emit(struct batch *b, unsigned path, uint8_t *data, uint32_t len, uint8_t type, uint8_t flags,
		 unsigned cls, uint32_t psn)
{
	struct path *p = &b->rt->path[path];
	struct wire_hdr h = header(b, path, type, flags, cls);

	h.txn = p->txn++;
	h.psn = psn;
	p->tx_packets++;
	seal(b, p, &h, data, len);
}

static uint8_t *scratch(struct batch *b)
{
	struct rt *rt = b->rt;

	if (b->n == b->max || rt->scratch_used == RT_SCRATCH)
		return NULL;
	return rt->scratch + (size_t)rt->scratch_used++ * rt->scratch_stride;
}

static void out_probe(struct batch *b, unsigned path, bool reply)
{
	struct rt *rt = b->rt;
	struct path *p = &rt->path[path];
	uint8_t *data = scratch(b);
	struct wire_probe body = {.stamp = p->reply_stamp, .usable = p->state == RT_PATH_UP};

	if (!data)
		return;
	if (reply) {
		p->reply_due = false;
	} else {
		uint64_t gap = p->probe_gap > 2 * p->srtt ? p->probe_gap : 2 * p->srtt;

		body.stamp = b->now ? b->now : 1;
		body.usable |= p->state == RT_PATH_PROBING;
		if (!p->stamp)
			p->stamp_first = body.stamp;
		p->stamp = body.stamp;
		p->probe_due = false;
		p->probe_at = b->now + gap;
	}
	wire_probe_encode(&body, data + WIRE_HDR_LEN);
	emit(b, path, data, WIRE_PROBE_LEN, reply ? WIRE_PROBE_REPLY : WIRE_PROBE, 0, RT_CTL,
	     rt->tx[RT_CTL].next);
}

/* A probe of a packet size; its stamp is no round-trip time. */
static void out_mtu_probe(struct batch *b, unsigned path)
{
	struct rt *rt = b->rt;
	struct wire_probe body = {.usable = true};
	uint32_t len;
	uint8_t *data;

	if (rt->path[path].mtu_at > b->now || rt->path[path].state != RT_PATH_UP)
		return;
	data = scratch(b);
	if (!data)
		return;
	len = mtu_probe(rt, path, b->now, &body.stamp);
	if (!len)
		return;
	memset(data + WIRE_HDR_LEN, 0, len);
	wire_probe_encode(&body, data + WIRE_HDR_LEN);
	emit(b, path, data, len, WIRE_PROBE, 0, RT_CTL, rt->tx[RT_CTL].next);
}

static void out_probes(struct batch *b)
{
	for (unsigned i = 0; i < b->rt->npath; i++) {
		if (b->rt->path[i].reply_due)
			out_probe(b, i, true);
		if (b->rt->path[i].probe_due)
			out_probe(b, i, false);
		out_mtu_probe(b, i);
	}
}

/* An acknowledgement goes back on the path that brought what it is about: that one worked a moment ago. */
static int ack_path(const struct rt *rt)
{
	for (unsigned c = 0; c < RT_NCLASS; c++)
		if (rt->rx[c].due && path_usable(&rt->path[rt->rx[c].last_path]))
			return rt->rx[c].last_path;
	return rt->primary;
}

static void out_acks(struct batch *b)
{
	struct rt *rt = b->rt;

	while (ack_any_due(rt)) {
		int path = ack_path(rt);
		struct cur_w w;
		unsigned wrote, cls;
		uint8_t flags = 0, *data = path < 0 ? NULL : scratch(b);

		if (!data)
			return;
		cur_w_init(&w, data + WIRE_HDR_LEN, rt->cfg.chunk);
		wrote = ack_write(rt, &w, true, b->now);
		if (!wrote) /* cannot be: rt_create() made room for the longest block */
			abort();
		cls = (unsigned)__builtin_ctz(wrote);
		if (rt->tx[cls].floor_asked)
			flags |= WIRE_F_ACK_NOW;
		rt->tx[cls].floor_owed = rt->tx[cls].floor_asked = false;
		emit(b, (unsigned)path, data, (uint32_t)(w.p - data) - WIRE_HDR_LEN, WIRE_ACK, flags, cls,
		     rt->tx[cls].next);
		count(rt, RT_C_tx_acks);
	}
}

/* Given-up packets whose numbers no data packet reported. */
static void out_floors(struct batch *b)
{
	struct rt *rt = b->rt;

	for (unsigned c = 0; c < RT_NCLASS; c++) {
		struct tx_ring *t = &rt->tx[c];
		uint8_t *data;

		if (!t->floor_owed || rt->primary < 0)
			continue;
		data = scratch(b);
		if (!data)
			return;
		emit(b, (unsigned)rt->primary, data, 0, WIRE_ACK, t->floor_asked ? WIRE_F_ACK_NOW : 0, c,
		     t->next);
		t->floor_owed = t->floor_asked = false;
	}
}

/* The packet does not pass path in one piece, or must not any more. */
static bool too_large(const struct rt *rt, const struct tx_slot *s, unsigned path)
{
	return s->sliced || s->len > rt->path[path].proven;
}

/* How many packets, from psn on, may go until so much is in flight that an acknowledgement that takes its
 * time would be waited for. */
static inline uint32_t unhurried(const struct tx_ring *t, const struct path *p, uint32_t psn)
{
	uint32_t most = 3 * cc_window(&p->cc) / 4, half = (t->peer_rwnd + 1) / 2, sent = psn - t->peer_cum;

	if (p->inflight >= most || sent >= half || 2 * (t->tail - t->base) >= t->window)
		return 0;
	return most - p->inflight < half - sent ? most - p->inflight : half - sent;
}

/* The packet at idx flies on path, with its next transmission number. */
static inline void book(const struct batch *b, struct tx_ring *t, uint32_t idx, unsigned path)
{
	struct tx_slot *s = &t->slots[idx];
	struct path *p = &b->rt->path[path];

	s->txn = p->txn;
	s->sent = b->now;
	s->path = (uint8_t)path;
	s->gen = p->gen;
	s->plain = false;
	s->state = SLOT_FLIGHT;
	list_push(t, &t->flight[path], idx);
	t->flying++;
	p->inflight++;
}

/* Books the packet at psn as flying on path; the flags that its datagrams take. */
static uint8_t fly(struct batch *b, unsigned cls, uint32_t psn, unsigned path, uint8_t flags)
{
	struct rt *rt = b->rt;
	struct tx_ring *t = &rt->tx[cls];
	struct path *p = &rt->path[path];

	if (!t->flying && t->peer_cum == t->base)
		t->pto_from = b->now;
	if (t->probes) {
		t->probes--;
		flags |= WIRE_F_ACK_NOW;
	}
	if (t->floor_asked || psn + 1 - t->peer_cum >= t->peer_rwnd)
		flags |= WIRE_F_ACK_NOW;
	if (!unhurried(t, p, psn))
		flags |= WIRE_F_ACK_SOON;
	t->floor_owed = t->floor_asked = false;
	book(b, t, psn & t->mask, path);
	if (cc_paced(&p->cc))
		cc_sent(p, b->now);
	return flags;
}

/* The packet at psn, unsealed, in slices: its slot keeps the records as they are. */
static void out_slices(struct batch *b, unsigned cls, uint32_t psn, unsigned path, uint8_t flags)
{
	struct rt *rt = b->rt;
	struct tx_ring *t = &rt->tx[cls];
	struct tx_slot *s = &t->slots[psn & t->mask];
	const uint8_t *payload = tx_mem(t, psn) + WIRE_HDR_LEN;
	unsigned n = slice_count(payload, s->len, slice_room(rt));
	struct slicer at;

	s->txn += n - 1; /* the last of them: what is echoed before it says nothing of the packet */
	s->plain = s->sliced = true;
	count(rt, RT_C_tx_sliced);
	slice_begin(&at, payload, s->len);
	for (unsigned i = 0; i < n; i++) {
		uint8_t *data = scratch(b);
		uint32_t len = slice_next(&at, data + WIRE_HDR_LEN + WIRE_SLICE_LEN, slice_room(rt));

		wire_slice_encode(i, n, data + WIRE_HDR_LEN);
		emit(b, path, data, WIRE_SLICE_LEN + len, WIRE_DATA, flags | WIRE_F_SLICE, cls, psn);
	}
}

/* Sends the packet at psn, unsealed in its slot, on path. */
static void out_slot(struct batch *b, unsigned cls, uint32_t psn, unsigned path, uint8_t flags)
{
	struct tx_ring *t = &b->rt->tx[cls];
	struct tx_slot *s = &t->slots[psn & t->mask];

	flags = fly(b, cls, psn, path, flags);
	if (too_large(b->rt, s, path))
		out_slices(b, cls, psn, path, flags);
	else
		emit(b, path, tx_mem(t, psn), s->sealed, WIRE_DATA, flags, cls, psn);
}

static void out_again(struct batch *b, unsigned cls, unsigned path)
{
	struct rt *rt = b->rt;
	struct tx_ring *t = &rt->tx[cls];
	uint32_t idx = t->lost.head, psn = tx_psn(t, idx);
	struct tx_slot *s = &t->slots[idx];

	list_unlink(t, &t->lost, idx);
	key_reopen(rt, t, psn);
	s->sealed = s->len;
	if (s->rexmits < UINT8_MAX)
		s->rexmits++;
	rt->path[path].retransmits++;
	count(rt, RT_C_tx_retransmits);
	out_slot(b, cls, psn, path, WIRE_F_RETRANSMIT);
}

/* Acknowledgements owed, in the room behind the records of the packet at psn. */
static uint8_t out_ride(struct batch *b, const struct tx_ring *t, struct tx_slot *s, uint32_t psn)
{
	uint8_t *at = tx_mem(t, psn) + WIRE_HDR_LEN + s->len;
	struct cur_w w;
	uint32_t n;

	if (s->cap < s->len + WIRE_ACK_LEN + ACK_AREA_LEN || !ack_any_owed(b->rt))
		return 0;
	cur_w_init(&w, at, s->cap - s->len - ACK_AREA_LEN);
	if (!ack_write(b->rt, &w, false, b->now))
		return 0;
	n = (uint32_t)(w.p - at);
	w.left += ACK_AREA_LEN;
	cur_put_u16(&w, (uint16_t)n);
	s->sealed = (uint16_t)(s->len + n + ACK_AREA_LEN);
	return WIRE_F_ACKS;
}

static void out_new(struct batch *b, unsigned cls, unsigned path)
{
	struct tx_ring *t = &b->rt->tx[cls];
	uint32_t psn = t->next;
	struct tx_slot *s = &t->slots[psn & t->mask];
	uint8_t flags = 0;

	if (psn == t->tail)
		tx_close_tail(t, false);
	s->sealed = s->len;
	if (t->next + 1 == t->tail && !too_large(b->rt, s, path))
		flags = out_ride(b, t, s, psn);
	out_slot(b, cls, psn, path, flags);
	t->next++;
}

/* May a packet go on path now? If only time is missing, rt_deadline() will say when. */
static bool path_takes(struct batch *b, const struct path *p)
{
	uint64_t at = cc_when(&p->cc);

	if (!cc_room(p))
		return false;
	if (at <= b->now)
		return true;
	if (at < b->rt->pace_at)
		b->rt->pace_at = at;
	return false;
}

/* The path for the next packet of cls: the primary one, or, while that has no room, one that is about as
 * good. A packet of len bytes that was cut when chunks were larger goes where they still are. -1: none has
 * room. */
static int path_for(struct batch *b, unsigned cls, uint32_t len)
{
	struct rt *rt = b->rt;
	const struct tx_ring *t = &rt->tx[cls];
	const struct path *first = &rt->path[rt->primary];

	if (len > first->proven)
		for (int i = 0; i < RT_PATHS; i++)
			if (path_usable(&rt->path[i]) && rt->path[i].proven >= len)
				return i;
	/* Control does not wait for the window of the rest, and a probe must be able to go. */
	if (t->probes || (cls == RT_CTL && t->flying < CTL_BEYOND) || path_takes(b, first))
		return rt->primary;
	for (int i = 0; i < RT_PATHS; i++) {
		const struct path *p = &rt->path[i];

		if (i == rt->primary || !p->used || p->state != RT_PATH_UP || p->backup != first->backup)
			continue;
		if (p->srtt <= 2 * first->srtt + first->cc.spare && path_takes(b, p))
			return i;
	}
	return -1;
}

/* There is room for the slices of any packet; if not, there is at the next call. */
static bool slices_fit(const struct batch *b)
{
	return b->max - b->n >= RT_OUTPUT_MIN && !b->rt->scratch_used;
}

/* How many new packets of cls in a row may go on the primary path as they are: full, not the last queued (it
 * takes acknowledgements along), within all windows, with nothing to ask the peer for. */
static uint32_t run_room(const struct batch *b, const struct tx_ring *t, const struct path *p, uint32_t most)
{
	uint32_t sent = t->next - t->peer_cum, n = t->tail - t->next;

	if (!n || t->lost.head != SLOT_NIL || t->probes || t->floor_asked || sent + 1 >= t->peer_rwnd ||
	    p->inflight >= cc_window(&p->cc) || cc_paced(&p->cc) || p->cc.pause_until > b->now)
		return 0;
	n = n - 1 < most ? n - 1 : most;
	if (t->peer_rwnd - 1 - sent < n)
		n = t->peer_rwnd - 1 - sent;
	return cc_window(&p->cc) - p->inflight < n ? cc_window(&p->cc) - p->inflight : n;
}

/* Most packets of a bulk are alike: what they have in common is looked at once. Returns their number. */
static int out_run(struct batch *b, unsigned cls, int most)
{
	struct rt *rt = b->rt;
	struct tx_ring *t = &rt->tx[cls];
	struct path *p = &rt->path[rt->primary];
	uint32_t n = run_room(b, t, p, (uint32_t)(most < b->max - b->n ? most : b->max - b->n)), i;
	uint32_t soon = unhurried(t, p, t->next);
	struct wire_hdr h;

	if (!n)
		return 0;
	if (!t->flying && t->peer_cum == t->base)
		t->pto_from = b->now;
	h = header(b, (unsigned)rt->primary, WIRE_DATA, 0, cls);
	for (i = 0; i < n; i++) {
		uint32_t idx = t->next & t->mask;
		struct tx_slot *s = &t->slots[idx];

		if (too_large(rt, s, (unsigned)rt->primary))
			break;
		__builtin_prefetch(t->mem + t->slots[(idx + RUN_AHEAD) & t->mask].off, 1);
		book(b, t, idx, (unsigned)rt->primary);
		s->sealed = s->len;
		if (i >= soon)
			h.flags |= WIRE_F_ACK_SOON;
		h.txn = p->txn++;
		h.psn = t->next++;
		seal(b, p, &h, t->mem + s->off, s->len);
	}
	p->tx_packets += i;
	if (i)
		t->floor_owed = false;
	return (int)i;
}

/* One packet of cls, a lost one first. False: none is to go, or may. */
static bool out_one(struct batch *b, unsigned cls)
{
	struct rt *rt = b->rt;
	struct tx_ring *t = &rt->tx[cls];
	bool again = t->lost.head != SLOT_NIL;
	const struct tx_slot *s = &t->slots[again ? t->lost.head : t->next & t->mask];
	bool whole = again || t->next != t->tail; /* else it is being filled, and not too large */
	int path;

	if (!again && !(tx_has_new(t) && t->next - t->peer_cum < t->peer_rwnd))
		return false;
	path = path_for(b, cls, whole && !s->sliced ? s->len : 0);
	if (path < 0 || (whole && too_large(rt, s, (unsigned)path) && !slices_fit(b)))
		return false;
	if (again)
		out_again(b, cls, (unsigned)path);
	else
		out_new(b, cls, (unsigned)path);
	return true;
}

/* Up to quantum packets of cls. Returns their number. */
static int out_class(struct batch *b, unsigned cls, int quantum)
{
	const struct tx_ring *t = &b->rt->tx[cls];
	int n = 0, run;

	if (b->rt->primary < 0 || (t->lost.head == SLOT_NIL && !tx_has_new(t)))
		return 0;
	for (; n < quantum && b->n < b->max; n += run) {
		run = cls != RT_CTL ? out_run(b, cls, quantum - n) : 0;
		if (!run)
			run = out_one(b, cls);
		if (!run)
			break;
	}
	return n;
}

/* The moments when queues are left to run empty, and the probes that see them empty. */
static void pauses(struct batch *b)
{
	struct rt *rt = b->rt;
	uint8_t phase = b->now / RT_PHASE_NS & 1;

	b->phase = phase ? WIRE_F_PHASE : 0;
	rt->pace_at = RT_NEVER;
	for (unsigned i = 0; i < rt->npath; i++) {
		struct path *p = &rt->path[i];

		if (phase != rt->phase && p->used)
			cc_pause(p, b->now);
		if (!p->cc.empty_at)
			continue;
		if (p->cc.empty_at <= b->now) {
			p->cc.empty_at = 0;
			p->probe_due |= p->state == RT_PATH_UP && !p->stamp;
		} else if (p->cc.empty_at < rt->pace_at) {
			rt->pace_at = p->cc.empty_at;
		}
	}
	rt->phase = phase;
}

static uint32_t backlog(const struct rt *rt)
{
	uint32_t n = 0;

	for (unsigned c = 0; c < RT_NCLASS; c++)
		n += rt->tx[c].tail - rt->tx[c].next + (rt->tx[c].lost.head != SLOT_NIL ? ACKS_FIRST : 0);
	return n;
}

int rt_output(struct rt *rt, uint64_t now, struct rt_tx *out, int max)
{
	struct batch b = {.rt = rt, .now = now, .out = out, .max = max};
	bool acks_first = backlog(rt) > ACKS_FIRST;
	int sent;

	rt->scratch_used = 0;
	pauses(&b);
	out_probes(&b);
	if (acks_first)
		out_acks(&b);
	out_class(&b, RT_CTL, max);
	do { /* who was served last is last next time */
		uint32_t first = rt->turn;

		sent = 0;
		for (uint32_t i = 0; i < RT_NCLASS - 1; i++) {
			uint32_t k = first + i < RT_NCLASS - 1 ? first + i : first + i - (RT_NCLASS - 1);
			int n = out_class(&b, RT_CMD + k, QUANTUM);

			if (n)
				rt->turn = k + 1 < RT_NCLASS - 1 ? k + 1 : 0;
			sent += n;
		}
	} while (sent);
	out_acks(&b);
	out_floors(&b);
	counter_add(&rt->counters[RT_C_tx_packets], (uint64_t)b.n);
	counter_add(&rt->counters[RT_C_tx_bytes], b.bytes);
	return b.n;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One datagram in: believed only after the tag and the replay window, then checked as a whole,
 * then applied. Whatever fails a check is counted under its name and leaves no other trace.
 */
#include <errno.h>

#include "fabric/rt/impl.h"

uint32_t rt_peek_spi(const uint8_t *data, uint32_t len)
{
	struct cur_r c;

	if (len < WIRE_HDR_LEN)
		return 0;
	cur_r_init(&c, data + 4, 4);
	return cur_u32(&c);
}

static int drop(struct rt *rt, enum rt_counter why)
{
	count(rt, why);
	return -EBADMSG;
}

static enum rt_counter why_header(int err)
{
	switch (err) {
	case -EPROTONOSUPPORT:
		return RT_C_drop_version;
	case -ENOMSG:
		return RT_C_drop_type;
	case -ECHRNG:
		return RT_C_drop_class;
	}
	return RT_C_drop_replay; /* number 0 is older than any */
}

static bool records_ok(const uint8_t *data, uint32_t len)
{
	struct cur_r c;
	struct wire_rec r;
	int st;

	cur_r_init(&c, data, len);
	while ((st = wire_rec_next(&c, &r, &data)) == 1)
		;
	return st == 0;
}

static void deliver(struct rt *rt, const struct wire_hdr *h, const uint8_t *data, uint32_t len,
		    struct buf *owner)
{
	struct cur_r c;
	struct wire_rec w;

	cur_r_init(&c, data, len);
	while (wire_rec_next(&c, &w, &data) == 1) {
		struct rt_rec r = {.kind = w.kind,
				   .queue = w.queue,
				   .dev = w.dev,
				   .len = w.len,
				   .aux = w.aux,
				   .id = w.id,
				   .total = w.total,
				   .offset = w.offset};

		if (!w.len && w.total)
			continue; /* filler */
		rt->cfg.ops->record(rt->cfg.ctx, (enum rt_class)h->cls, h->psn, &r, data, owner);
	}
}

static void settle(struct rt *rt, unsigned cls, const struct rx_win *w, uint32_t before)
{
	if (w->cum != before)
		rt->cfg.ops->settled(rt->cfg.ctx, (enum rt_class)cls, w->cum);
}

/* A datagram's place in its packet: the whole of it has count 0. */
struct slice {
	unsigned index, count;
};

/* What a whole packet is, of which slices may have come. */
static enum rx_verdict look_whole(const struct rx_win *w, uint32_t psn)
{
	enum rx_verdict v = rx_look(w, psn);

	return v == RX_NEW && w->slices && w->slices[psn & w->mask] ? RX_DUPLICATE : v;
}

/* The packet's numbers, after all of it was checked. */
static void take_data(struct rt *rt, struct rx_win *w, const struct wire_hdr *h, const struct slice *part,
		      const uint8_t *data, uint32_t len, struct buf *owner)
{
	bool gap = false, all = true;

	switch (part->count ? slice_take(w, h->psn, part->index, part->count, &all) : look_whole(w, h->psn)) {
	case RX_NEW:
		gap = all && rx_take(w, h->psn);
		deliver(rt, h, data, len, owner);
		break;
	case RX_DUPLICATE:
		count(rt, RT_C_drop_duplicate);
		gap = true; /* the peer did not hear that we have it */
		break;
	case RX_OUTSIDE:
		count(rt, RT_C_drop_window);
		gap = true;
		break;
	}
	w->owed++;
	rt->burst_fed = true;
	if (gap || w->owed >= w->owed_max)
		w->due = true;
}

/* The peer's clock crossed the moment when all who send to it pause. */
static void phase_seen(struct path *p, uint8_t phase, uint64_t now)
{
	if (phase == p->phase_peer)
		return;
	if (p->phase_peer < 2)
		cc_pause(p, now);
	p->phase_peer = phase;
}

/* Header fields that every type carries. */
static void take_header(struct rt *rt, struct rx_win *w, const struct wire_hdr *h, struct path *p, bool ce,
			uint64_t now)
{
	if (ce)
		p->ce_seen++;
	if (h->ce != p->ce_peer && (int16_t)(h->ce - p->ce_peer) > 0) {
		p->cc.round_ce += (uint16_t)(h->ce - p->ce_peer);
		p->ce_peer = h->ce;
	}
	if (h->txn == p->replay.top) /* not one that was overtaken */
		phase_seen(p, h->flags & WIRE_F_PHASE ? 1 : 0, now);
	if (psn_diff(h->floor, w->cum) > 0) {
		counter_add(&rt->counters[RT_C_rx_skipped], rx_floor(w, h->floor));
		w->owed++; /* the peer's window waits for us to confirm it */
		rt->burst_fed = true;
	}
	if (h->flags & WIRE_F_ACK_NOW)
		w->due = true;
	if (h->flags & WIRE_F_ACK_SOON)
		w->soon = true;
	if (h->type == WIRE_DATA || h->flags & WIRE_F_ACK_NOW)
		rx_echo(w, h->path, h->txn, now - rt->lay);
}

static bool hdr_ok(const struct rt *rt, const struct rx_win *w, const struct wire_hdr *h)
{
	uint32_t edge = psn_diff(h->floor, w->cum) > 0 ? h->floor : w->cum;

	/* A packet from before the floor that we know is late, not false; what it says is old news. */
	return psn_diff(h->cum_ack, rt->tx[h->cls].next) <= 0 && rx_floor_ok(w, h->floor) &&
	       h->psn - h->floor <= RT_WINDOW_MAX && psn_diff(h->psn, edge) <= (int32_t)w->window &&
	       h->rwnd > 0;
}

static int take(struct rt *rt, const struct wire_hdr *h, uint8_t *data, uint32_t len, struct buf *owner,
		bool ce, uint64_t now)
{
	struct path *p = &rt->path[h->path];
	struct rx_win *w = &rt->rx[h->cls];
	uint32_t before = w->cum;
	struct slice part = {0, 0};
	struct wire_probe probe;
	struct cur_r acks;

	cur_r_init(&acks, data, 0);
	if (!hdr_ok(rt, w, h))
		return drop(rt, RT_C_drop_window);
	switch (h->type) {
	case WIRE_DATA:
		if (h->flags & WIRE_F_ACKS && wire_ack_area(data, &len, &acks))
			return drop(rt, RT_C_drop_ack);
		if (h->flags & WIRE_F_SLICE) {
			if (!w->slices || wire_slice_decode(&part.index, &part.count, data, len))
				return drop(rt, RT_C_drop_record);
			data += WIRE_SLICE_LEN;
			len -= WIRE_SLICE_LEN;
		}
		if (!records_ok(data, len))
			return drop(rt, RT_C_drop_record);
		break;
	case WIRE_ACK:
		cur_r_init(&acks, data, len);
		break;
	default:
		if (wire_probe_decode(&probe, data, len))
			return drop(rt, RT_C_drop_type);
	}
	if (acks.left && !ack_blocks_ok(rt, acks))
		return drop(rt, RT_C_drop_ack);
	take_header(rt, w, h, p, ce, now);
	if (acks.left) {
		count(rt, RT_C_rx_acks);
		ack_blocks_apply(rt, acks, now);
	}
	/* Says less than a block of the same packet: after it. */
	if (psn_diff(h->cum_ack, rt->tx[h->cls].peer_cum) > 0)
		ack_hdr_apply(rt, h, now);
	if (h->type == WIRE_DATA)
		take_data(rt, w, h, &part, data, len, owner);
	else if (h->type != WIRE_ACK)
		path_probe(rt, h->path, &probe, h->type == WIRE_PROBE_REPLY, now);
	settle(rt, h->cls, w, before);
	tx_wake(rt);
	return h->path;
}

int rt_input(struct rt *rt, uint8_t *data, uint32_t len, struct buf *owner, bool ce, uint64_t now)
{
	return rt_input_late(rt, data, len, owner, ce, 0, now);
}

int rt_input_late(struct rt *rt, uint8_t *data, uint32_t len, struct buf *owner, bool ce, uint64_t lay,
		  uint64_t now)
{
	struct wire_hdr h;
	struct aead_key *key;
	struct path *p;
	int r;

	if (len < WIRE_HDR_LEN + rt->tag || len > WIRE_HDR_LEN + RT_CHUNK_MAX + rt->tag)
		return drop(rt, RT_C_drop_short);
	r = wire_hdr_decode(&h, data, len);
	if (r)
		return drop(rt, why_header(r));
	p = &rt->path[h.path];
	key = key_find(p, h.spi);
	if (!key)
		return drop(rt, RT_C_drop_spi);
	len -= WIRE_HDR_LEN + rt->tag;
	if (rt->cfg.aead->open(key, key_nonce(data), data, WIRE_HDR_LEN, data + WIRE_HDR_LEN, len,
			       data + WIRE_HDR_LEN + len))
		return drop(rt, RT_C_drop_auth);
	if (!replay_fresh(&p->replay, h.txn))
		return drop(rt, RT_C_drop_replay);
	replay_update(&p->replay, h.txn);
	count(rt, RT_C_rx_packets);
	counter_add(&rt->counters[RT_C_rx_bytes], len + WIRE_HDR_LEN + rt->tag);
	if (h.spi != p->rx_spi)
		key_heard(rt, p, h.spi, now);
	path_heard(rt, h.path, now);
	rt->lay = lay < now ? lay : 0;
	return take(rt, &h, data + WIRE_HDR_LEN, len, owner, ce, now);
}

void rt_input_end(struct rt *rt, uint64_t now)
{
	ack_settle(rt, now);
}

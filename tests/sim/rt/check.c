/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fabric/rt/impl.h"
#include "tests/sim/rt/modes.h"

#define PATTERN_MASK 0xffffu /* where in the pattern a message begins */
#define RING_BITS    8192u

static const char *const class_name[RT_NCLASS] = {"CTL", "CMD", "DATA", "NET"};

static const uint8_t *pattern_of(const struct world *w, unsigned side, unsigned cls, uint32_t id)
{
	return w->pattern + ((id * 2654435761u + side * 977 + cls * 131) & PATTERN_MASK);
}

static struct stream *stream_to(struct world *w, unsigned side, unsigned cls)
{
	return &w->end[side].in[cls];
}

static void close_message(struct stream *st, struct message *m)
{
	free(m->map);
	m->map = NULL;
	m->open = false;
	st->open--;
}

bool check_send(struct world *w, struct end *from, unsigned cls, uint32_t len, enum rt_rel rel)
{
	struct stream *st = stream_to(w, !from->side, cls);
	struct message *m = &st->msg[st->next_id % MESSAGES];
	struct rt_rec rec = {.kind = (uint8_t)(cls + 1),
			     .queue = (uint8_t)(st->next_id * 3),
			     .dev = (uint16_t)(st->next_id * 7),
			     .aux = (uint16_t)(st->next_id * 13),
			     .id = st->next_id,
			     .total = len};
	struct iovec iov[2];
	uint32_t cut = len / 3;
	int r;

	/* Long frames only: the window has gone far beyond this one, what is missing was given up. */
	if (m->open && cls == RT_NET && w->cfg.traffic[from->side].saturate) {
		st->dropped++;
		close_message(st, m);
	}
	if (m->open)
		return false;
	iov[0].iov_base = (void *)(uintptr_t)pattern_of(w, from->side, cls, st->next_id);
	iov[0].iov_len = cut;
	iov[1].iov_base = (uint8_t *)iov[0].iov_base + cut;
	iov[1].iov_len = len - cut;
	uint32_t room = rt_room(from->rt, (enum rt_class)cls);
	r = rt_send(from->rt, (enum rt_class)cls, rel, &rec, iov, 2, w->s.now);
	sim_check(&w->s, r == 0 || r == -EAGAIN, "rt_send: %d", r);
	sim_check(&w->s, !(r && len && len <= room), "rt_room() said %u, rt_send() refused %u", room, len);
	sim_check(&w->s, !(!r && room < RT_SEND_MAX && len > room + RT_PIECE_MIN + WIRE_REC_LEN),
		  "rt_room() said %u, rt_send() took %u", room, len);
	if (r) {
		st->blocked = true;
		return false;
	}
	*m = (struct message){.id = st->next_id++, .total = len, .open = true};
	if (!st->open++)
		st->last_at = w->s.now;
	st->sent++;
	return true;
}

/* Marks bytes [off, off + len), none of which may be marked yet. */
static bool mark(struct message *m, uint32_t off, uint32_t len)
{
	if (!m->map)
		m->map = calloc(m->total / 64 + 1, 8);
	if (!m->map)
		abort();
	while (len) {
		uint32_t at = off & 63, n = 64 - at < len ? 64 - at : len;
		uint64_t bits = (n == 64 ? ~0ull : (1ull << n) - 1) << at;

		if (m->map[off >> 6] & bits)
			return false;
		m->map[off >> 6] |= bits;
		off += n;
		len -= n;
	}
	return true;
}

void check_record(struct end *to, enum rt_class cls, uint32_t psn, const struct rt_rec *rec,
		  const uint8_t *data)
{
	struct world *w = to->w;
	struct stream *st = &to->in[cls];
	struct message *m = &st->msg[rec->id % MESSAGES];
	uint64_t *word = &st->arrived[psn % RING_BITS / 64];

	sim_check(&w->s, psn_diff(psn, st->settled) >= 0, "%s: %u arrived, %u was settled", class_name[cls],
		  psn, st->settled);
	*word |= 1ull << (psn & 63);
	sim_check(&w->s, rec->kind == cls + 1, "%s: kind %u", class_name[cls], rec->kind);
	sim_check(&w->s, m->open && m->id == rec->id, "%s: piece of message %u, which is not open",
		  class_name[cls], rec->id);
	sim_check(&w->s,
		  rec->total == m->total && rec->queue == (uint8_t)(rec->id * 3) &&
			  rec->dev == (uint16_t)(rec->id * 7) && rec->aux == (uint16_t)(rec->id * 13),
		  "%s: fields of message %u changed", class_name[cls], rec->id);
	sim_check(&w->s, rec->offset <= rec->total && rec->len <= rec->total - rec->offset,
		  "piece beyond message");
	sim_check(&w->s, rec->offset || rec->len >= RT_PIECE_MIN || rec->len == rec->total,
		  "%s: the head of message %u was cut", class_name[cls], rec->id);
	sim_check(&w->s, rec->len || !rec->total, "an empty piece");
	sim_check(&w->s, mark(m, rec->offset, rec->len), "%s: bytes of message %u twice", class_name[cls],
		  rec->id);
	sim_check(&w->s, !memcmp(data, pattern_of(w, !to->side, cls, rec->id) + rec->offset, rec->len),
		  "%s: bytes of message %u changed", class_name[cls], rec->id);
	if (w->s.now - st->last_at > st->longest_gap)
		st->longest_gap = w->s.now - st->last_at;
	st->last_at = w->s.now;
	m->got += rec->len;
	st->bytes += rec->len;
	if (m->got == m->total) {
		st->complete++;
		close_message(st, m);
	}
}

void check_settled(struct end *to, enum rt_class cls, uint32_t base)
{
	struct world *w = to->w;
	struct stream *st = &to->in[cls];

	sim_check(&w->s, psn_diff(base, st->settled) > 0, "%s: settled went from %u to %u", class_name[cls],
		  st->settled, base);
	for (; st->settled != base; st->settled++) {
		uint64_t *word = &st->arrived[st->settled % RING_BITS / 64], bit = 1ull << (st->settled & 63);

		if (!(*word & bit)) {
			sim_check(&w->s, cls == RT_NET, "%s: %u settled, never arrived", class_name[cls],
				  st->settled);
			st->skipped++;
		}
		*word &= ~bit;
	}
}

static void check_ring(struct world *w, const struct rt *rt, const struct tx_ring *t, uint32_t *inflight)
{
	uint32_t flying = 0, lost = 0, listed = 0;

	sim_check(&w->s, t->next - t->base <= t->window && t->tail - t->next <= t->window,
		  "edges out of order");
	sim_check(&w->s, t->tail - t->base <= t->window, "ring overfull");
	sim_check(&w->s, psn_diff(t->base, t->peer_cum) >= 0, "base behind the peer");
	for (uint32_t psn = t->base; psn != t->next; psn++) {
		const struct tx_slot *s = &t->slots[psn & t->mask];
		bool done = t->done[(psn & t->mask) >> 6] >> (psn & 63) & 1;

		sim_check(&w->s, done == (s->state == SLOT_DONE), "done bit of %u", psn);
		sim_check(&w->s, psn != t->base || !done, "base stands on a done slot");
		flying += s->state == SLOT_FLIGHT;
		lost += s->state == SLOT_LOST;
		if (s->state == SLOT_FLIGHT)
			inflight[s->path]++;
	}
	sim_check(&w->s, flying == t->flying, "%u fly, %u counted", flying, t->flying);
	for (unsigned p = 0; p < RT_PATHS; p++) {
		uint64_t txn = 0;

		for (uint32_t i = t->flight[p].head; i != SLOT_NIL; i = t->slots[i].next, listed++) {
			sim_check(&w->s, t->slots[i].path == p && t->slots[i].txn > txn, "flight list order");
			txn = t->slots[i].txn;
			sim_check(&w->s, txn < rt->path[p].txn, "txn from the future");
		}
	}
	sim_check(&w->s, listed == flying, "flight lists");
	listed = 0;
	for (uint32_t i = t->lost.head; i != SLOT_NIL; i = t->slots[i].next)
		listed++;
	sim_check(&w->s, listed == lost, "lost list");
}

void check_rt(struct world *w, struct end *e)
{
	const struct rt *rt = e->rt;
	uint32_t inflight[RT_PATHS] = {0};

	for (unsigned c = 0; c < RT_NCLASS; c++)
		check_ring(w, rt, &rt->tx[c], inflight);
	for (unsigned p = 0; p < RT_PATHS; p++)
		sim_check(&w->s, inflight[p] == rt->path[p].inflight, "path %u: %u in flight, %u counted", p,
			  inflight[p], rt->path[p].inflight);
}

static void check_stream(struct world *w, struct end *e, unsigned c)
{
	struct stream *st = &e->in[c];

	if (c != RT_NET)
		sim_check(&w->s, !st->open, "%s to %u: %u messages missing", class_name[c], e->side,
			  st->open);
	for (uint32_t i = 0; i < MESSAGES && st->open; i++) {
		if (!st->msg[i].open)
			continue;
		st->dropped++;
		close_message(st, &st->msg[i]);
	}
	sim_check(&w->s, st->complete + st->dropped == st->sent, "%s: books", class_name[c]);
	sim_check(&w->s,
		  e->rt->rx[c].cum == w->end[!e->side].rt->tx[c].base && st->settled == e->rt->rx[c].cum,
		  "%s to %u: the ends do not agree where they are", class_name[c], e->side);
}

/* Changed keys lose nothing: who has all his bytes and whose path stays is never refused. */
static void check_keys(struct world *w, const uint64_t *counters)
{
	for (unsigned side = 0; side < 2; side++)
		for (unsigned p = 0; p < w->cfg.npaths; p++)
			if (w->forged || w->bounces || w->link[side][p].stats.corrupted)
				return;
	sim_check(&w->s, !counters[RT_C_drop_spi] && !counters[RT_C_drop_auth],
		  "an honest packet was not opened: spi %llu auth %llu, %llu rekeys",
		  (unsigned long long)counters[RT_C_drop_spi], (unsigned long long)counters[RT_C_drop_auth],
		  (unsigned long long)w->rekeys);
}

void check_end(struct world *w)
{
	for (unsigned i = 0; i < 2; i++) {
		struct end *e = &w->end[i];
		const uint64_t *mine = rt_counters(e->rt), *peer = rt_counters(w->end[!i].rt);

		for (unsigned c = 0; c < RT_NCLASS; c++)
			check_stream(w, e, c);
		check_keys(w, mine);
		/* Some slices of a packet that was given up may have come. */
		sim_check(&w->s,
			  e->in[RT_NET].skipped == mine[RT_C_rx_skipped] ||
				  (peer[RT_C_tx_sliced] && e->in[RT_NET].skipped < mine[RT_C_rx_skipped]),
			  "skipped: %llu counted %llu", (unsigned long long)e->in[RT_NET].skipped,
			  (unsigned long long)mine[RT_C_rx_skipped]);
		/* What the sender gave up may have arrived all the same; what is missing was given up. */
		sim_check(&w->s, mine[RT_C_rx_skipped] <= peer[RT_C_tx_abandoned],
			  "more skipped than given up");
		sim_check(&w->s,
			  (w->forged || !mine[RT_C_drop_short]) && !mine[RT_C_drop_record] &&
				  !mine[RT_C_drop_ack] && !mine[RT_C_drop_window],
			  "an honest packet was refused: short %llu record %llu ack %llu window %llu",
			  (unsigned long long)mine[RT_C_drop_short],
			  (unsigned long long)mine[RT_C_drop_record], (unsigned long long)mine[RT_C_drop_ack],
			  (unsigned long long)mine[RT_C_drop_window]);
		while (e->nheld)
			buf_put(e->held[--e->nheld]);
		sim_check(&w->s, buf_pool_available(e->pool) == sizeof(e->rxq) / sizeof(e->rxq[0]),
			  "buffers missing");
	}
}

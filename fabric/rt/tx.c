/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fabric/rt/impl.h"

/* Bytes of the ring for a window of chunks, and one more. */
static uint32_t size_for(const struct tx_ring *t, uint32_t chunk)
{
	return (t->window + 1) * (chunk + t->around);
}

int tx_init(struct tx_ring *t, uint32_t window, uint32_t chunk, uint32_t chunk_max, uint32_t tag,
	    uint32_t psn)
{
	t->window = window;
	t->mask = window - 1;
	t->chunk = chunk;
	t->around = WIRE_HDR_LEN + tag;
	t->base = t->next = t->tail = t->peer_cum = psn;
	t->peer_rwnd = RT_WINDOW_MIN; /* until the peer says more */
	t->lost = (struct slot_list){SLOT_NIL, SLOT_NIL};
	for (unsigned p = 0; p < RT_PATHS; p++) {
		t->flight[p] = t->lost;
		t->reo_at[p] = RT_NEVER;
	}
	t->chunk_next = chunk;
	t->size = size_for(t, chunk);
	/* Not touched before use: an idle session keeps none of it resident. */
	t->mem = calloc(window + 1, chunk_max + t->around);
	t->slots = calloc(window, sizeof(*t->slots));
	t->done = calloc(window / 64, sizeof(*t->done));
	return t->mem && t->slots && t->done ? 0 : -ENOMEM;
}

void tx_fini(struct tx_ring *t)
{
	free(t->mem);
	free(t->slots);
	free(t->done);
}

uint32_t tx_avail(const struct tx_ring *t)
{
	return t->window - (t->tail - t->base) - (t->used ? 1 : 0);
}

uint32_t tx_need(const struct tx_ring *t, uint32_t len, uint32_t *first)
{
	uint32_t left = t->used ? t->chunk - t->used : 0;
	uint32_t per = t->chunk - WIRE_REC_LEN;

	*first = 0;
	if (left >= WIRE_REC_LEN + (len < RT_PIECE_MIN ? len : RT_PIECE_MIN)) {
		*first = left - WIRE_REC_LEN < len ? left - WIRE_REC_LEN : len;
		if (*first == len)
			return 0;
	}
	len -= *first;
	return len ? (len + per - 1) / per : 1;
}

/* Fills the chunk at tail up. */
static void __attribute__((noinline)) pad_tail(struct tx_ring *t)
{
	static const struct wire_rec filler = {.total = 1}; /* without bytes, of a message that has some */
	uint8_t *at = tx_mem(t, t->tail) + WIRE_HDR_LEN + t->used;
	uint32_t left = t->chunk - t->used;

	memset(at, 0, left);
	while (left >= WIRE_REC_LEN) {
		wire_rec_encode(&filler, at);
		at += WIRE_REC_LEN;
		left -= WIRE_REC_LEN;
	}
	t->used = t->chunk;
}

void tx_close_tail(struct tx_ring *t, bool pad)
{
	struct tx_slot *s = &t->slots[t->tail & t->mask];

	if (!t->used)
		return;
	if (pad && t->used < t->chunk)
		pad_tail(t);
	s->len = (uint16_t)t->used;
	s->rel = t->tail_rel;
	s->state = SLOT_EMPTY;
	s->rexmits = 0;
	t->tail++;
	t->used = t->open = 0;
	t->tail_rel = RT_REL_NONE;
	t->flushed = false;
}

/* Takes the size that was asked for. More of the ring can be used only while what is in it stands in one
 * piece: what is added is not where the free bytes are. */
static void adopt(struct tx_ring *t)
{
	uint32_t size = size_for(t, t->chunk_next);
	const struct tx_slot *first = &t->slots[t->base & t->mask],
			     *last = &t->slots[(t->tail - 1) & t->mask];

	if (t->used || (size > t->size && t->base != t->tail && first->off > last->off))
		return;
	if (size > t->size)
		t->size = size;
	t->chunk = t->chunk_next;
}

void tx_resize(struct tx_ring *t, uint32_t chunk)
{
	tx_close_tail(t, false);
	t->chunk_next = chunk;
	adopt(t);
}

/* Reads n bytes of an iovec array in order. */
struct iov_at {
	const struct iovec *iov;
	size_t off;
};

static void iov_copy(struct iov_at *at, uint8_t *dst, uint32_t n)
{
	while (n) {
		size_t k = at->iov->iov_len - at->off;

		if (k > n)
			k = n;
		if (k)
			memcpy(dst, (const uint8_t *)at->iov->iov_base + at->off, k);
		dst += k;
		n -= (uint32_t)k;
		at->off += k;
		if (at->off == at->iov->iov_len) {
			at->iov++;
			at->off = 0;
		}
	}
}

/* Finds the place of a chunk: behind the one before, or at the start of the ring. There is room: what is used
 * of the ring has one slot of the largest size in it more than its window. */
static void begin(struct tx_ring *t)
{
	struct tx_slot *s = &t->slots[t->tail & t->mask];

	if (t->base == t->tail)
		t->size = size_for(t, t->chunk);
	if (t->base == t->tail || t->size - t->end < t->chunk + t->around)
		t->end = 0;
	s->sliced = false;
	s->off = t->end;
	s->cap = (uint16_t)t->chunk;
	t->end += t->chunk + t->around;
}

static void put_piece(struct tx_ring *t, struct wire_rec *r, struct iov_at *at, uint32_t n)
{
	uint8_t *out;

	if (!t->used)
		begin(t);
	out = tx_mem(t, t->tail) + WIRE_HDR_LEN + t->used;
	r->len = (uint16_t)n;
	wire_rec_encode(r, out);
	if (n)
		iov_copy(at, out + WIRE_REC_LEN, n);
	r->offset += n;
	t->used += WIRE_REC_LEN + n;
}

int tx_put(struct tx_ring *t, enum rt_rel rel, const struct rt_rec *rec, const struct iovec *iov,
	   uint32_t len)
{
	struct wire_rec r = {.kind = rec->kind,
			     .queue = rec->queue,
			     .dev = rec->dev,
			     .aux = rec->aux,
			     .id = rec->id,
			     .total = rec->total,
			     .offset = rec->offset};
	struct iov_at at = {iov, 0};
	uint32_t first, need = tx_need(t, len, &first);

	if (need > t->window)
		return -EMSGSIZE;
	if (need > tx_avail(t)) {
		t->want = need;
		return -EAGAIN;
	}
	t->open = 0;
	if (need && t->used && !first)
		tx_close_tail(t, true);
	for (bool again = true; again;) {
		uint32_t n = t->chunk - t->used - WIRE_REC_LEN;

		if (n > len)
			n = len;
		put_piece(t, &r, &at, n);
		if (rel > t->tail_rel)
			t->tail_rel = (uint8_t)rel;
		len -= n;
		again = len;
		if (t->chunk - t->used <= WIRE_REC_LEN || again)
			tx_close_tail(t, true);
	}
	if (t->used)
		t->flushed = false; /* more came: the burst is not over */
	return 0;
}

uint8_t *tx_begin(struct tx_ring *t, enum rt_rel rel, const struct rt_rec *rec, uint32_t len)
{
	struct wire_rec r = {.kind = rec->kind,
			     .queue = rec->queue,
			     .dev = rec->dev,
			     .aux = rec->aux,
			     .id = rec->id,
			     .len = (uint16_t)len,
			     .total = len};
	uint8_t *at;

	if (!t->used || t->chunk - t->used < WIRE_REC_LEN + len) {
		if (!tx_avail(t)) {
			t->want = 1;
			return NULL;
		}
		tx_close_tail(t, true);
		begin(t);
	}
	at = tx_mem(t, t->tail) + WIRE_HDR_LEN + t->used;
	wire_rec_encode(&r, at);
	t->open = t->used + 1;
	t->open_key = tx_key(rec);
	t->used += WIRE_REC_LEN + len;
	if (rel > t->tail_rel)
		t->tail_rel = (uint8_t)rel;
	t->flushed = false;
	if (t->chunk - t->used <= WIRE_REC_LEN)
		tx_close_tail(t, true);
	return at + WIRE_REC_LEN;
}

/* Moves base over slots that are done, a word of bits at a time. */
static void advance_base(struct tx_ring *t)
{
	while (t->base != t->next) {
		uint64_t *word = &t->done[(t->base & t->mask) >> 6];
		uint32_t at = t->base & 63;
		uint64_t open = ~*word >> at;
		uint32_t run = open ? (uint32_t)__builtin_ctzll(open) : 64 - at;

		if (run > t->next - t->base)
			run = t->next - t->base;
		if (!run)
			return;
		*word &= ~((run == 64 ? ~0ull : (1ull << run) - 1) << at);
		t->base += run;
	}
}

void tx_done(struct rt *rt, struct tx_ring *t, uint32_t idx)
{
	tx_landed(rt, t, idx);
	t->done[idx >> 6] |= 1ull << (idx & 63);
	if (idx == (t->base & t->mask))
		advance_base(t);
	if (t->chunk != t->chunk_next)
		adopt(t);
}

void tx_done_to(struct tx_ring *t, uint32_t psn)
{
	while (t->base != psn) {
		uint32_t at = t->base & 63, run = psn - t->base;
		uint64_t *word = &t->done[(t->base & t->mask) >> 6];

		if (run > 64 - at)
			run = 64 - at;
		*word &= ~((run == 64 ? ~0ull : (1ull << run) - 1) << at);
		t->base += run;
	}
	advance_base(t);
	if (t->chunk != t->chunk_next)
		adopt(t);
}

void tx_wake_wanted(struct rt *rt)
{
	rt->wanted = false;
	for (unsigned c = 0; c < RT_NCLASS; c++) {
		struct tx_ring *t = &rt->tx[c];
		uint32_t room = t->window / 8; /* not for every single slot: a wake-up has its price */

		if (!t->want)
			continue;
		if (tx_avail(t) < (t->want > room ? t->want : room)) {
			rt->wanted = true;
			continue;
		}
		t->want = 0;
		rt->cfg.ops->writable(rt->cfg.ctx, (enum rt_class)c);
	}
}

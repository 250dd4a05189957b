/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/sim.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WAYS   4    /* of the heap: flatter, and the children of one event are neighbours in memory */
#define PARCEL 1536 /* bytes; smaller ones are used again */

void sim_init(struct sim *s, uint64_t seed, const char *replay)
{
	*s = (struct sim){.seed = seed, .replay = replay, .trace = 0xcbf29ce484222325ull};
	/* Not the seed itself: the generator steps by a constant, and neighbours must not be each other's
	 * tail. */
	rng_init(&s->rng, seed);
	rng_init(&s->rng, rng_u64(&s->rng));
}

/* Kept for whoever mends it: one command per line. */
static void keep(const char *replay)
{
	const char *path = getenv("SIM_FAILED");
	FILE *f = fopen(path ? path : "build/sim-failed", "a");

	if (!f)
		return;
	fprintf(f, "%s\n", replay);
	fclose(f);
}

void sim_replay(const struct sim *s)
{
	char line[512];

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	snprintf(line, sizeof(line), s->replay, (unsigned long long)s->seed);
#pragma GCC diagnostic pop
	fprintf(stderr, "\nreplay: %s\n", line);
	keep(line);
}

void sim_fail(struct sim *s, const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	fprintf(stderr, "FAILED at %llu ns, step %llu: ", (unsigned long long)s->now,
		(unsigned long long)s->steps);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	sim_replay(s);
	exit(1);
}

static bool before(const struct sim_event *a, const struct sim_event *b)
{
	return a->when != b->when ? a->when < b->when : a->seq < b->seq;
}

void sim_at(struct sim *s, uint64_t when, sim_fn *fn, void *ctx, uint64_t arg)
{
	struct sim_event e = {when < s->now ? s->now : when, s->seq++, fn, ctx, arg};
	size_t i;

	if (s->count == s->room) {
		s->room = s->room ? 2 * s->room : 1024;
		s->heap = realloc(s->heap, s->room * sizeof(*s->heap));
		if (!s->heap)
			sim_fail(s, "out of memory");
	}
	for (i = s->count++; i && before(&e, &s->heap[(i - 1) / WAYS]); i = (i - 1) / WAYS)
		s->heap[i] = s->heap[(i - 1) / WAYS];
	s->heap[i] = e;
}

static struct sim_event pop(struct sim *s)
{
	struct sim_event top = s->heap[0], last = s->heap[--s->count];
	size_t i = 0, kid;

	while ((kid = WAYS * i + 1) < s->count) {
		size_t end = kid + WAYS < s->count ? kid + WAYS : s->count;

		for (size_t k = kid + 1; k < end; k++)
			if (before(&s->heap[k], &s->heap[kid]))
				kid = k;
		if (!before(&s->heap[kid], &last))
			break;
		s->heap[i] = s->heap[kid];
		i = kid;
	}
	s->heap[i] = last;
	return top;
}

bool sim_step(struct sim *s, uint64_t until)
{
	struct sim_event e;

	if (!s->count || s->heap[0].when > until) {
		s->now = until > s->now ? until : s->now;
		return false;
	}
	e = pop(s);
	s->now = e.when;
	s->steps++;
	e.fn(s, e.ctx, e.arg);
	return true;
}

void sim_note(struct sim *s, const void *p, size_t n)
{
	const uint8_t *b = p;
	uint64_t h = s->trace, word;

	for (; n >= 8; n -= 8, b += 8) {
		memcpy(&word, b, 8);
		h = (h ^ word) * 0x9e3779b97f4a7c15ull;
		h ^= h >> 29;
	}
	for (; n; n--)
		h = (h ^ *b++) * 0x100000001b3ull;
	s->trace = h;
}

struct parcel {
	struct sim_link *l;
	struct parcel *next; /* a spare one */
	uint32_t len;
	bool ce;
	uint8_t data[];
};

static struct parcel *parcel_get(struct sim *s, uint32_t len)
{
	struct parcel *p = s->spare;

	if (len > PARCEL || !p)
		p = malloc(sizeof(*p) + (len > PARCEL ? len : PARCEL));
	else
		s->spare = p->next;
	if (!p)
		sim_fail(s, "out of memory");
	p->len = len;
	return p;
}

static void parcel_put(struct sim *s, struct parcel *p)
{
	if (p->len > PARCEL) {
		free(p);
		return;
	}
	p->next = s->spare;
	s->spare = p;
}

/* Frees what sim_fini() finds undelivered, too: told by its function. */
static void arrive(struct sim *s, void *ctx, uint64_t arg)
{
	struct parcel *p = ctx;

	(void)arg;
	p->l->in_flight--;
	if (!p->l->cfg.cut)
		p->l->deliver(p->l->ctx, p->data, p->len, p->ce);
	parcel_put(s, p);
}

void sim_fini(struct sim *s)
{
	for (size_t i = 0; i < s->count; i++)
		if (s->heap[i].fn == arrive)
			free(s->heap[i].ctx);
	for (struct parcel *p = s->spare, *next; p; p = next) {
		next = p->next;
		free(p);
	}
	s->spare = NULL;
	free(s->heap);
	s->heap = NULL;
	s->count = s->room = 0;
}

void sim_link_init(struct sim_link *l, struct sim *s, const struct sim_link_cfg *cfg,
		   void (*deliver)(void *ctx, uint8_t *data, uint32_t len, bool ce), void *ctx)
{
	*l = (struct sim_link){.cfg = *cfg, .s = s, .deliver = deliver, .ctx = ctx};
}

static bool falls(struct sim_link *l)
{
	struct rng *r = &l->s->rng;

	if (l->cfg.cut)
		return true;
	if (l->burst_left) {
		l->burst_left--;
		return true;
	}
	if (l->cfg.burst && rng_chance(r, l->cfg.burst)) {
		l->burst_left = l->cfg.burst_len;
		return true;
	}
	return l->cfg.loss && rng_chance(r, l->cfg.loss);
}

static void dispatch(struct sim_link *l, uint64_t when, const uint8_t *data, uint32_t len, bool ce)
{
	struct rng *r = &l->s->rng;
	struct parcel *p = parcel_get(l->s, len);

	p->l = l;
	p->ce = ce;
	memcpy(p->data, data, len);
	if (l->cfg.corrupt && rng_chance(r, l->cfg.corrupt)) {
		p->data[rng_below(r, len)] ^= (uint8_t)(1u << rng_below(r, 8));
		l->stats.corrupted++;
	}
	if (l->cfg.jitter_ns)
		when += rng_below(r, l->cfg.jitter_ns + 1);
	if (l->cfg.reorder && rng_chance(r, l->cfg.reorder)) {
		when += rng_below(r, l->cfg.reorder_ns + 1);
		l->stats.reordered++;
	} else {
		when = when > l->last_at ? when : l->last_at;
		l->last_at = when;
	}
	l->in_flight++;
	sim_at(l->s, when, arrive, p, 0);
}

void sim_link_send(struct sim_link *l, const uint8_t *data, uint32_t len)
{
	uint64_t start = l->free_at > l->s->now ? l->free_at : l->s->now;
	uint64_t queued = l->cfg.rate_bps ? (start - l->s->now) * l->cfg.rate_bps / 8000000000ull : 0;
	bool ce = l->cfg.ecn_bytes && queued > l->cfg.ecn_bytes;

	l->stats.packets++;
	if (l->cfg.mtu && len > l->cfg.mtu) {
		l->stats.too_large++;
		return;
	}
	l->stats.bytes += len;
	if (l->cfg.queue_bytes && queued > l->cfg.queue_bytes) {
		l->stats.queued_out++;
		return;
	}
	if (l->cfg.rate_bps)
		start += (uint64_t)(len + l->cfg.overhead) * 8000000000ull / l->cfg.rate_bps;
	l->free_at = start;
	if (falls(l)) {
		l->stats.lost++;
		return;
	}
	l->stats.marked += ce;
	dispatch(l, start + l->cfg.delay_ns, data, len, ce);
	if (l->cfg.dup && rng_chance(&l->s->rng, l->cfg.dup)) {
		l->stats.duplicated++;
		dispatch(l,
			 start + l->cfg.delay_ns +
				 rng_below(&l->s->rng, l->cfg.dup_ns ? l->cfg.dup_ns : 100000),
			 data, len, ce);
	}
}

uint64_t sim_link_faults(const struct sim_link *l)
{
	const struct sim_link_stats *s = &l->stats;

	return s->lost + s->queued_out + s->reordered + s->duplicated + s->corrupted + s->marked +
	       s->too_large;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/rt/world.h"

#include <stdlib.h>
#include <string.h>

#include "fabric/rt/impl.h"
#include "tests/sim/nonce.h"

#define RXQ (sizeof(((struct end *)0)->rxq) / sizeof(((struct end *)0)->rxq[0]))

/* Large, and all zero between worlds. */
static struct message *messages[2][RT_NCLASS];

static void on_record(void *ctx, enum rt_class cls, uint32_t psn, const struct rt_rec *rec,
		      const uint8_t *data, struct buf *owner)
{
	struct end *e = ctx;

	sim_check(&e->w->s, !e->w->hostile, "a piece came out of a forged packet");
	check_record(e, cls, psn, rec, data);
	if (rng_chance(&e->w->s.rng, 20000)) {
		if (e->nheld == 64) /* give the oldest half back */
			while (e->nheld > 32)
				buf_put(e->held[--e->nheld]);
		buf_ref(owner);
		e->held[e->nheld++] = owner;
	}
}

static void on_settled(void *ctx, enum rt_class cls, uint32_t base)
{
	sim_check(&((struct end *)ctx)->w->s, !((struct end *)ctx)->w->hostile, "a forged packet settles");
	check_settled(ctx, cls, base);
}

static void on_writable(void *ctx, enum rt_class cls)
{
	struct end *e = ctx;

	e->w->end[!e->side].in[cls].blocked = false;
}

static const struct rt_ops ops = {.record = on_record, .settled = on_settled, .writable = on_writable};

static uint32_t draw_len(struct world *w, const struct traffic *t, unsigned cls)
{
	struct rng *r = &w->s.rng;
	uint32_t max = t->len_max[cls];

	if (t->saturate)
		return max;
	if (rng_chance(r, 30000))
		return 0;
	return 1 + (uint32_t)rng_below(r, rng_chance(r, 500000) ? (max < 300 ? max : 300) : max);
}

static void fill(struct world *w, struct end *e)
{
	const struct traffic *t = &w->cfg.traffic[e->side];

	for (unsigned c = 0; c < RT_NCLASS && !w->stop && t->saturate; c++)
		while (t->weight[c] && !w->end[!e->side].in[c].blocked)
			if (!check_send(w, e, c, draw_len(w, t, c), t->rel))
				break;
}

static void wake(struct sim *s, void *ctx, uint64_t arg);

/* What the glue does after anything happened to an end. */
static void pump(struct world *w, struct end *e)
{
	struct rt_tx out[64];
	uint64_t at;
	int n;

	fill(w, e);
	rt_flush(e->rt, w->s.now);
	while ((n = rt_output(e->rt, w->s.now, out, 64)) > 0) {
		for (int i = 0; i < n; i++) {
			sim_note(&w->s, &w->s.now, sizeof(w->s.now));
			sim_note(&w->s, out[i].data, WIRE_HDR_LEN);
			sim_link_send(&w->link[e->side][out[i].path], out[i].data, out[i].len);
		}
		w->packets += (uint64_t)n;
	}
	at = rt_deadline(e->rt);
	if (at < e->wake_at) {
		e->wake_at = at;
		sim_at(&w->s, at, wake, e, at);
	}
}

static void wake(struct sim *s, void *ctx, uint64_t arg)
{
	struct end *e = ctx;

	if (arg != e->wake_at)
		return; /* another was set since */
	e->wake_at = RT_NEVER;
	if (rt_deadline(e->rt) <= s->now)
		rt_tick(e->rt, s->now);
	pump(e->w, e);
}

static void take(struct end *e, struct buf *b, uint32_t len, bool ce)
{
	static uint8_t copy[WIRE_HDR_LEN + RT_CHUNK_MAX + AEAD_TAG_MAX];
	struct world *w = e->w;

	if (w->tap) {
		memcpy(copy, b->base, len);
		w->tap(e, copy, len, false);
	}
	if (rt_input(e->rt, b->base, len, b, ce, w->s.now) >= 0 && w->tap)
		w->tap(e, copy, len, true);
	buf_put(b);
}

static void drain(struct sim *s, void *ctx, uint64_t arg)
{
	struct end *e = ctx;

	(void)arg;
	e->drain_set = false;
	e->drains++;
	for (uint32_t i = 0; i < e->nrx; i++)
		take(e, e->rxq[i].buf, e->rxq[i].len, e->rxq[i].ce);
	e->nrx = 0;
	rt_input_end(e->rt, s->now);
	if (e->drains % 64 == 0)
		check_rt(e->w, e);
	pump(e->w, e);
}

static void deliver(void *ctx, uint8_t *data, uint32_t len, bool ce)
{
	struct end *e = ctx;
	struct buf *b = e->nrx < RXQ ? buf_get(e->pool) : NULL;

	if (!b) {
		e->rx_nobuf++;
		return;
	}
	sim_check(&e->w->s, len <= b->size, "datagram of %u bytes", len);
	memcpy(b->base, data, len);
	e->rxq[e->nrx].buf = b;
	e->rxq[e->nrx].len = len;
	e->rxq[e->nrx++].ce = ce;
	if (e->drain_set)
		return;
	e->drain_set = true;
	sim_at(&e->w->s, e->w->s.now + e->w->cfg.poll_ns, drain, e, 0);
}

static void burst(struct sim *s, void *ctx, uint64_t arg)
{
	struct end *e = ctx;
	struct world *w = e->w;
	const struct traffic *t = &w->cfg.traffic[e->side];
	uint32_t sum = 0, n = 1 + (uint32_t)rng_below(&s->rng, t->burst);

	(void)arg;
	if (w->stop)
		return;
	for (unsigned c = 0; c < RT_NCLASS; c++)
		sum += t->weight[c];
	while (n--) {
		uint32_t pick = (uint32_t)rng_below(&s->rng, sum);
		unsigned c = 0;

		while (pick >= t->weight[c])
			pick -= t->weight[c++];
		enum rt_rel rel = t->rel == RT_REL_FULL ? (enum rt_rel)rng_below(&s->rng, 3) : t->rel;
		check_send(w, e, c, draw_len(w, t, c), rel);
	}
	pump(w, e);
	sim_at(s, s->now + 1 + rng_below(&s->rng, 2 * t->gap_ns), burst, e, 0);
}

/* Fresh SPIs and keys for both ends of a path. */
static void draw_keys(struct world *w, unsigned path)
{
	struct rt_path_cfg *c = w->next[path];

	memset(c, 0, 2 * sizeof(*c));
	c[0].tx_spi = c[1].rx_spi = ++w->spi;
	c[1].tx_spi = c[0].rx_spi = ++w->spi;
	memcpy(c[0].tx_key, &c[0].tx_spi, sizeof(c[0].tx_spi));
	memcpy(c[1].tx_key, &c[1].tx_spi, sizeof(c[1].tx_spi));
	memcpy(c[0].rx_key, c[1].tx_key, sizeof(c[0].rx_key));
	memcpy(c[1].rx_key, c[0].tx_key, sizeof(c[1].rx_key));
	c[0].backup = c[1].backup = path && path + 1 == w->cfg.npaths && w->cfg.backup;
}

/* The answer came: this end knows that the other has the keys. */
static void rekey_answer(struct sim *s, void *ctx, uint64_t arg)
{
	struct end *e = ctx;

	sim_check(s, !rt_path_rekey(e->rt, (unsigned)arg, &e->w->next[arg][e->side], s->now),
		  "rt_path_rekey");
	sim_check(s, !rt_path_rekey_send(e->rt, (unsigned)arg, s->now), "rt_path_rekey_send");
	e->w->changing[arg] = false;
	pump(e->w, e);
}

void world_rekey(struct world *w, unsigned path)
{
	unsigned first = (unsigned)rng_below(&w->s.rng, 2);
	struct rt_path_info i[2];

	rt_path_info(w->end[0].rt, path, &i[0]);
	rt_path_info(w->end[1].rt, path, &i[1]);
	if (w->changing[path] || i[0].rekeying || i[1].rekeying)
		return;
	w->changing[path] = true;
	w->rekeys++;
	draw_keys(w, path);
	sim_check(&w->s, !rt_path_rekey(w->end[first].rt, path, &w->next[path][first], w->s.now),
		  "rt_path_rekey");
	sim_at(&w->s, w->s.now + rng_below(&w->s.rng, 1000000), rekey_answer, &w->end[!first], path);
}

static void path_away(struct sim *s, void *ctx, uint64_t arg)
{
	struct end *e = ctx;

	sim_check(s, !rt_path_del(e->rt, (unsigned)arg, s->now), "rt_path_del");
	pump(e->w, e);
}

static void path_back(struct sim *s, void *ctx, uint64_t arg)
{
	struct end *e = ctx;

	sim_check(s, !rt_path_add(e->rt, (unsigned)arg, &e->w->next[arg][e->side], s->now), "rt_path_add");
	if (e->side)
		e->w->changing[arg] = false;
	pump(e->w, e);
}

void world_bounce(struct world *w, unsigned path)
{
	if (w->changing[path])
		return;
	w->changing[path] = true;
	w->bounces++;
	draw_keys(w, path);
	for (unsigned side = 0; side < 2; side++) {
		sim_at(&w->s, w->s.now + rng_below(&w->s.rng, 1000000), path_away, &w->end[side], path);
		sim_at(&w->s, w->s.now + 1000000 + side * 1000 + rng_below(&w->s.rng, 1000), path_back,
		       &w->end[side], path);
	}
}

static void init_end(struct world *w, unsigned side)
{
	struct end *e = &w->end[side];
	struct rt_cfg cfg = w->cfg.rt;
	int err;

	e->w = w;
	e->side = side;
	e->wake_at = RT_NEVER;
	cfg.ops = &ops;
	cfg.ctx = e;
	cfg.active = side == 0;
	e->rt = rt_create(&cfg, w->s.now, &err);
	sim_check(&w->s, e->rt, "rt_create: %d", err);
	e->pool = buf_pool_create(RXQ,
				  WIRE_HDR_LEN + (cfg.chunk_max ? cfg.chunk_max : cfg.chunk) + AEAD_TAG_MAX);
	sim_check(&w->s, e->pool, "out of memory");
	for (unsigned c = 0; c < RT_NCLASS; c++) {
		e->in[c].settled = cfg.psn_start;
		if (!messages[side][c])
			messages[side][c] = calloc(MESSAGES, sizeof(struct message));
		e->in[c].msg = messages[side][c];
		sim_check(&w->s, e->in[c].msg, "out of memory");
	}
	for (unsigned p = 0; p < w->cfg.npaths; p++) {
		if (!side)
			draw_keys(w, p);
		sim_check(&w->s, !rt_path_add(e->rt, p, &w->next[p][side], w->s.now), "rt_path_add");
	}
}

void world_init(struct world *w, uint64_t seed, const struct world_cfg *cfg, const char *replay)
{
	memset(w, 0, sizeof(*w));
	sim_init(&w->s, seed, replay);
	nonce_world(&w->s);
	w->s.now = 1000000000ull;
	w->cfg = *cfg;
	w->pattern = malloc(256u << 10);
	sim_check(&w->s, w->pattern, "out of memory");
	for (uint32_t i = 0; i < 256u << 10; i += 8) {
		uint64_t v = rng_u64(&w->s.rng);

		memcpy(w->pattern + i, &v, 8);
	}
	for (unsigned side = 0; side < 2; side++) {
		init_end(w, side);
		for (unsigned p = 0; p < cfg->npaths; p++) {
			sim_link_init(&w->link[side][p], &w->s, &cfg->link[side], deliver, &w->end[!side]);
			w->link[side][p].cfg.mtu = cfg->mtu[p];
		}
	}
	for (unsigned side = 0; side < 2; side++) {
		if (cfg->traffic[side].gap_ns)
			sim_at(&w->s, w->s.now, burst, &w->end[side], 0);
		pump(w, &w->end[side]);
	}
}

void world_run(struct world *w, uint64_t packets, uint64_t until)
{
	while (w->packets < packets && sim_step(&w->s, until))
		;
}

static bool quiet(struct world *w)
{
	if (!rt_idle(w->end[0].rt) || !rt_idle(w->end[1].rt) || w->end[0].nrx || w->end[1].nrx)
		return false;
	for (unsigned side = 0; side < 2; side++)
		for (unsigned p = 0; p < w->cfg.npaths; p++)
			if (w->link[side][p].in_flight)
				return false;
	return true;
}

void world_finish(struct world *w)
{
	uint64_t limit = w->s.now + 60 * 1000000000ull;

	w->stop = true;
	for (unsigned side = 0; side < 2; side++)
		for (unsigned p = 0; p < w->cfg.npaths; p++) {
			struct sim_link_cfg *c = &w->link[side][p].cfg;

			c->cut = false;
			c->loss = c->burst = c->corrupt = 0;
		}
	while (!quiet(w) && sim_step(&w->s, limit))
		;
	sim_check(&w->s, quiet(w), "not idle a minute after the last message");
	for (unsigned side = 0; side < 2; side++)
		check_rt(w, &w->end[side]);
	check_end(w);
}

void world_fini(struct world *w)
{
	sim_fini(&w->s);
	for (unsigned side = 0; side < 2; side++) {
		struct end *e = &w->end[side];

		rt_destroy(e->rt);
		while (e->nheld)
			buf_put(e->held[--e->nheld]);
		while (e->nrx)
			buf_put(e->rxq[--e->nrx].buf);
		buf_pool_destroy(e->pool);
		for (unsigned c = 0; c < RT_NCLASS; c++) {
			struct stream *st = &e->in[c];
			uint32_t n = st->next_id < MESSAGES ? st->next_id : MESSAGES;

			for (uint32_t i = 0; i < n; i++)
				free(st->msg[i].map);
			memset(st->msg, 0, n * sizeof(*st->msg));
		}
	}
	free(w->pattern);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Paths whose MTU changes under load, each direction for itself, without a word to anybody: packets cut for a
 * wide path meet a narrow one all the time. Nothing may be lost or come twice, and the session lives.
 */
#include <stdio.h>

#include "fabric/rt/impl.h"
#include "tests/sim/nonce.h"
#include "tests/sim/rt/modes.h"

static void change(struct sim *s, void *ctx, uint64_t arg)
{
	static const uint32_t mtu[] = {0, 1472, 1472, 2400, 4472, 8972};
	struct world *w = ctx;
	struct sim_link *l = &w->link[rng_below(&s->rng, 2)][rng_below(&s->rng, w->cfg.npaths)];

	(void)arg;
	if (w->stop)
		return;
	l->cfg.mtu = mtu[rng_below(&s->rng, sizeof(mtu) / sizeof(mtu[0]))];
	/* Nobody asks a path that was found narrow again so soon: now and then the world does. */
	for (unsigned side = 0; side < 2; side++)
		for (unsigned p = 0; p < w->cfg.npaths && rng_chance(&s->rng, 300000); p++)
			if (w->end[side].rt->path[p].state == RT_PATH_UP)
				w->end[side].rt->path[p].mtu_at = s->now;
	sim_at(s, s->now + 1 + rng_below(&s->rng, 60000000), change, w, 0);
}

static void draw(struct world_cfg *c, struct rng *r)
{
	static const uint32_t loss[] = {0, 1000, 10000, 50000, 200000};

	*c = (struct world_cfg){.npaths = 1 + (unsigned)rng_below(r, 3), .poll_ns = rng_below(r, 20000)};
	c->rt.chunk = rng_chance(r, 200000) ? 1024 : RT_CHUNK_DEFAULT;
	c->rt.chunk_max = RT_CHUNK_JUMBO;
	c->rt.aead = &nonce_crc;
	c->rt.rto_floor_ns = rng_chance(r, 500000) ? 200000 : 1000000;
	c->rt.ack_delay_ns = c->poll_ns & 1 ? c->rt.rto_floor_ns / 4 : 0;
	if (rng_chance(r, 200000))
		c->rt.psn_start = -(uint32_t)rng_below(r, 5000);
	for (unsigned i = 0; i < 2; i++) {
		struct traffic *t = &c->traffic[i];

		c->link[i] = (struct sim_link_cfg){
			.delay_ns = 1000 + rng_below(r, 100000),
			.rate_bps = 1000000000ull + rng_below(r, 20000000000ull),
			.loss = loss[rng_below(r, sizeof(loss) / sizeof(loss[0]))],
			.reorder = rng_chance(r, 300000) ? (uint32_t)rng_below(r, 200000) : 0,
			.reorder_ns = 1000 + rng_below(r, 300000),
			.dup = rng_chance(r, 300000) ? (uint32_t)rng_below(r, 100000) : 0,
		};
		t->gap_ns = 20000 + rng_below(r, 300000);
		t->burst = 1 + (uint32_t)rng_below(r, 10);
		t->rel = rng_chance(r, 500000) ? RT_REL_BOUNDED : RT_REL_FULL;
		for (unsigned k = 0; k < RT_NCLASS; k++) {
			t->weight[k] = 1 + (uint32_t)rng_below(r, 9);
			t->len_max[k] = k == RT_CTL ? 64 : RT_SEND_MAX;
		}
	}
}

void mode_narrow(const struct options *o)
{
	uint64_t packets = 0, sliced = 0, lowered = 0, raised = 0, too_large = 0;

	for (uint64_t i = 0; i < o->seeds; i++) {
		struct world_cfg c;
		struct rng r;

		rng_init(&r, o->seed + i);
		draw(&c, &r);
		world_init(&world, o->seed + i, &c, replay);
		sim_at(&world.s, world.s.now + 5000000, change, &world, 0);
		world_run(&world, o->packets ? o->packets : 10000, world.s.now + 20 * 1000000000ull);
		world_finish(&world);
		packets += world.packets;
		for (unsigned side = 0; side < 2; side++) {
			const uint64_t *n = rt_counters(world.end[side].rt);

			sim_check(&world.s, !rt_lost(world.end[side].rt), "the session is lost");
			sliced += n[RT_C_tx_sliced];
			lowered += n[RT_C_mtu_lowered];
			raised += n[RT_C_mtu_raised];
			for (unsigned p = 0; p < c.npaths; p++)
				too_large += world.link[side][p].stats.too_large;
		}
		world_fini(&world);
	}
	printf("{\"sim\":\"rt-narrow\",\"seeds\":%llu,\"first_seed\":%llu,\"packets\":%llu,\"too_large\":%"
	       "llu,"
	       "\"lowered\":%llu,\"raised\":%llu,\"sliced\":%llu,\"violations\":0}\n",
	       (unsigned long long)o->seeds, (unsigned long long)o->seed, (unsigned long long)packets,
	       (unsigned long long)too_large, (unsigned long long)lowered, (unsigned long long)raised,
	       (unsigned long long)sliced);
}

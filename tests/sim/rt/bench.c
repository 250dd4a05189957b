/* SPDX-License-Identifier: Apache-2.0 */
/* One class at full rate over 25 Gb/s, MTU 1500, 30 us round trip: how much arrives, how long nothing does.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fabric/rt/impl.h"
#include "tests/sim/rt/modes.h"

/* One class at full rate over 25 Gb/s, MTU 1500, 30 us round trip. */
static void bulk(struct world_cfg *c, unsigned cls, uint32_t loss, unsigned paths)
{
	*c = (struct world_cfg){.npaths = paths, .poll_ns = 1000};
	c->rt.chunk = RT_CHUNK_DEFAULT;
	c->rt.aead = &aead_crc;
	c->rt.rto_floor_ns = 200000;
	for (unsigned i = 0; i < 2; i++)
		c->link[i] = (struct sim_link_cfg){
			.rate_bps = 25000000000ull, .delay_ns = 14000, .loss = loss, .overhead = 42 + 24};
	c->traffic[0].saturate = true;
	c->traffic[0].rel = RT_REL_BOUNDED;
	c->traffic[0].weight[cls] = 1;
	c->traffic[0].len_max[cls] = 65562;
}

static uint64_t delivered(const struct world *w, unsigned cls)
{
	return w->end[1].in[cls].bytes;
}

void mode_goodput(const struct options *o)
{
	static const uint32_t loss[] = {0, 1000, 10000, 50000, 200000, 500000};
	double base[RT_NCLASS] = {0};

	for (unsigned k = 0; k < 2; k++) {
		unsigned cls = k ? RT_NET : RT_DATA;

		for (unsigned i = 0; i < sizeof(loss) / sizeof(loss[0]); i++) {
			struct world_cfg c;
			uint64_t from, start, sent, drop;
			double gbps;

			bulk(&c, cls, loss[i], 1);
			world_init(&world, o->seed, &c, replay);
			world_run(&world, UINT64_MAX, world.s.now + 110000000);
			from = delivered(&world, cls);
			start = world.s.now;
			world.end[1].in[cls].longest_gap = 0;
			world_run(&world, UINT64_MAX, world.s.now + 50000000);
			gbps = (double)(delivered(&world, cls) - from) * 8 / (double)(world.s.now - start);
			uint64_t gap = world.end[1].in[cls].longest_gap;
			world_finish(&world);
			sent = world.end[1].in[cls].sent;
			drop = world.end[1].in[cls].dropped;
			if (!i)
				base[cls] = gbps;
			printf("{\"bench\":\"goodput\",\"class\":\"%s\",\"loss_pct\":%.1f,\"gbps\":%.2f,"
			       "\"kept_pct\":%.1f,"
			       "\"longest_gap_us\":%.0f,\"messages_dropped_pct\":%.3f}\n",
			       k ? "NET" : "DATA", loss[i] / 10000.0, gbps, 100 * gbps / base[cls],
			       (double)gap / 1e3, sent ? 100.0 * (double)drop / (double)sent : 0);
			world_fini(&world);
		}
	}
}

void mode_failover(const struct options *o)
{
	uint64_t worst = 0, sum = 0;

	for (uint64_t i = 0; i < o->seeds; i++) {
		struct world_cfg c;
		uint64_t gap;
		unsigned path;

		bulk(&c, RT_DATA, 0, 2);
		world_init(&world, o->seed + i, &c, replay);
		world_run(&world, UINT64_MAX, world.s.now + 1000000 + rng_below(&world.s.rng, 1000000));
		path = (unsigned)world.end[0].rt->primary;
		world.link[0][path].cfg.cut = true;
		if (i & 1)
			world.link[1][path].cfg.cut = true;
		world.end[1].in[RT_DATA].longest_gap = 0;
		world_run(&world, UINT64_MAX, world.s.now + 20000000);
		gap = world.end[1].in[RT_DATA].longest_gap;
		worst = gap > worst ? gap : worst;
		sum += gap;
		world_finish(&world);
		world_fini(&world);
	}
	printf("{\"bench\":\"failover\",\"runs\":%llu,\"mean_us\":%.0f,\"worst_us\":%.0f}\n",
	       (unsigned long long)o->seeds, (double)sum / (double)o->seeds / 1e3, (double)worst / 1e3);
}

void mode_stall(const struct options *o)
{
	(void)o;
}

void mode_frames(const struct options *o)
{
	(void)o;
}

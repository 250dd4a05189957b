/* SPDX-License-Identifier: Apache-2.0 */
/* One class at full rate over 25 Gb/s, MTU 1500, 30 us round trip: how much arrives, how long nothing does.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fabric/rt/impl.h"
#include "tests/sim/rt/modes.h"
#include "tests/sim/seeds.h"

#define MS	   1000000ull
#define SEEDS_MAX  20000u
#define LINE_BPS   25000000000ull
#define ONE_WAY_NS 14000
#define OVERHEAD   (42 + 24) /* Ethernet, IPv4, UDP; preamble, gap, FCS */

/* As long as a checksum, and costs no time. */
static struct aead_key *nothing_create(const uint8_t *key)
{
	(void)key;
	return malloc(1);
}

static void nothing_destroy(struct aead_key *k)
{
	free(k);
}

static void nothing_seal(struct aead_key *k, const uint8_t *nonce, const uint8_t *hdr, size_t hdr_len,
			 uint8_t *data, size_t len, uint8_t *tag)
{
	(void)k, (void)nonce, (void)hdr, (void)hdr_len, (void)data, (void)len;
	memset(tag, 0, 4);
}

static int nothing_open(struct aead_key *k, const uint8_t *nonce, const uint8_t *hdr, size_t hdr_len,
			uint8_t *data, size_t len, const uint8_t *tag)
{
	(void)k, (void)nonce, (void)hdr, (void)hdr_len, (void)data, (void)len, (void)tag;
	return 0;
}

static const struct aead_ops nothing = {"nothing",    4,	   nothing_create, nothing_destroy,
					nothing_seal, nothing_open};

static void bulk(struct world_cfg *c, unsigned cls, uint32_t loss, unsigned paths)
{
	*c = (struct world_cfg){.npaths = paths, .poll_ns = 1000};
	c->rt.chunk = RT_CHUNK_DEFAULT;
	c->rt.aead = &nothing; /* links of these worlds damage no bytes */
	c->rt.rto_floor_ns = 200000;
	for (unsigned i = 0; i < 2; i++)
		c->link[i] = (struct sim_link_cfg){
			.rate_bps = LINE_BPS, .delay_ns = ONE_WAY_NS, .loss = loss, .overhead = OVERHEAD};
	c->traffic[0].saturate = true;
	c->traffic[0].rel = RT_REL_BOUNDED;
	c->traffic[0].weight[cls] = 1;
	c->traffic[0].len_max[cls] = 65562;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double *values(uint64_t n)
{
	double *v = n && n <= SEEDS_MAX ? calloc(n, sizeof(*v)) : NULL;

	if (!v) {
		fprintf(stderr, "sim-rt: 1 to %u seeds\n", SEEDS_MAX);
		exit(2);
	}
	return v;
}

/* Time until the congestion control has made up its mind about a loss rate. */
static uint64_t warm_up(uint32_t loss)
{
	return loss > 150000 ? 250 * MS : 5 * MS;
}

/* Gb/s over `span`, and the longest gap in it. */
static double stream(const struct options *o, uint64_t seed, unsigned cls, uint32_t loss, uint64_t span,
		     uint64_t *gap)
{
	struct world_cfg c;
	struct stream *in = &world.end[1].in[cls];
	uint64_t from;

	if (o->gobackn)
		return gobackn_run(seed, LINE_BPS, ONE_WAY_NS, OVERHEAD, loss, warm_up(loss), span, gap);
	bulk(&c, cls, 0, 1);
	world_init(&world, seed, &c, replay);
	world_run(&world, UINT64_MAX, world.s.now + MS); /* the path is up */
	world.link[0][0].cfg.loss = world.link[1][0].cfg.loss = loss;
	world_run(&world, UINT64_MAX, world.s.now + warm_up(loss));
	from = in->bytes;
	in->longest_gap = 0;
	in->last_at = world.s.now;
	world_run(&world, UINT64_MAX, world.s.now + span);
	*gap = world.s.now - in->last_at > in->longest_gap ? world.s.now - in->last_at : in->longest_gap;
	return (double)(in->bytes - from) * 8 / (double)span;
}

void mode_goodput(const struct options *o)
{
	static const uint32_t all[] = {0, 100, 1000, 10000, 50000, 100000, 200000, 300000, 500000};
	double *v = values(o->seeds), *gaps = values(o->seeds), base[RT_NCLASS] = {0};

	for (unsigned k = 0; k < (o->gobackn || o->data ? 1u : 2u); k++) {
		unsigned cls = k ? RT_NET : RT_DATA;

		for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
			uint64_t gap, span = all[i] > 200000 ? 100 * MS : 20 * MS;

			if (i && o->loss >= 0 && all[i] != (uint32_t)o->loss)
				continue;
			for (uint64_t n = 0; n < (i ? o->seeds : 1); n++) {
				v[n] = stream(o, o->seed + n, cls, all[i], span, &gap);
				gaps[n] = (double)gap / 1e3;
				if (!o->gobackn)
					world_fini(&world);
				sim_progress("sim-rt, goodput", n + 1, o->seeds);
			}
			qsort(v, i ? o->seeds : 1, sizeof(*v), by_value);
			qsort(gaps, i ? o->seeds : 1, sizeof(*v), by_value);
			if (!i)
				base[cls] = v[0];
			printf("{\"bench\":\"goodput\",\"scheme\":\"%s\",\"class\":\"%s\",\"loss_pct\":%.2f,"
			       "\"seeds\":%llu,\"gbps_p50\":%.2f,\"kept_pct_p50\":%.1f,\"kept_pct_worst\":%"
			       ".1f,"
			       "\"longest_gap_us\":%.0f,\"longest_gap_us_p99\":%.0f}\n",
			       o->gobackn ? "go-back-N" : "rt", k ? "NET" : "DATA", all[i] / 10000.0,
			       (unsigned long long)(i ? o->seeds : 1), v[i ? o->seeds / 2 : 0],
			       100 * v[i ? o->seeds / 2 : 0] / base[cls], 100 * v[0] / base[cls],
			       gaps[i ? o->seeds - 1 : 0], gaps[i ? (o->seeds * 99 + 99) / 100 - 1 : 0]);
			fflush(stdout);
		}
	}
	free(gaps);
	free(v);
}

void mode_stall(const struct options *o)
{
	static const uint32_t loss[] = {10000, 50000, 300000, 500000};
	double *v = values(o->seeds);

	for (unsigned i = 0; i < sizeof(loss) / sizeof(loss[0]); i++) {
		if (o->loss >= 0 && loss[i] != (uint32_t)o->loss)
			continue;
		for (uint64_t n = 0; n < o->seeds; n++) {
			uint64_t gap;

			stream(o, o->seed + n, RT_DATA, loss[i], loss[i] > 100000 ? 100 * MS : 20 * MS, &gap);
			v[n] = (double)gap / 1e3;
			if (!o->gobackn)
				world_fini(&world);
		}
		qsort(v, o->seeds, sizeof(*v), by_value);
		printf("{\"bench\":\"stall\",\"scheme\":\"%s\",\"loss_pct\":%.0f,\"seeds\":%llu,\"longest_"
		       "gap_us_"
		       "p50\":%.0f,\"longest_gap_us_p99\":%.0f,\"longest_gap_us_worst\":%.0f}\n",
		       o->gobackn ? "go-back-N" : "rt", loss[i] / 10000.0, (unsigned long long)o->seeds,
		       v[o->seeds / 2], v[(o->seeds * 99 + 99) / 100 - 1], v[o->seeds - 1]);
		fflush(stdout);
	}
	free(v);
}

/* NET frames of 64 KiB, bounded reliability. A settled base that went back, or a piece of what was settled,
 * fails the run: order is what the receiver makes of them. */
void mode_frames(const struct options *o)
{
	static const uint32_t loss[] = {1000, 10000, 50000};
	uint64_t frames = o->packets ? o->packets : 50000;

	for (unsigned i = 0; i < sizeof(loss) / sizeof(loss[0]); i++) {
		struct stream *in = &world.end[1].in[RT_NET];
		struct world_cfg c;

		if (o->loss >= 0 && loss[i] != (uint32_t)o->loss)
			continue;
		bulk(&c, RT_NET, loss[i], 1);
		world_init(&world, o->seed, &c, replay);
		while (in->sent < frames) {
			world_run(&world, UINT64_MAX, world.s.now + MS);
			sim_progress("sim-rt, frames", in->sent, frames);
		}
		world_finish(&world);
		printf("{\"bench\":\"frames\",\"loss_pct\":%.1f,\"frames\":%llu,\"frame_bytes\":65562,"
		       "\"lost\":%"
		       "llu,"
		       "\"lost_pct\":%.4f,\"seconds\":%.3f}\n",
		       loss[i] / 10000.0, (unsigned long long)in->sent, (unsigned long long)in->dropped,
		       100.0 * (double)in->dropped / (double)in->sent,
		       (double)(world.s.now - 1000 * MS) / 1e9);
		fflush(stdout);
		world_fini(&world);
	}
}

/* Two to four paths between two racks: some hundred metres, a switch or three, a little loss. */
static void draw_fabric(struct world_cfg *c, struct rng *r)
{
	static const uint64_t rate[] = {10000000000ull, 25000000000ull, 25000000000ull};
	static const uint32_t loss[] = {0, 0, 100, 1000};
	uint64_t delay = 3000 + rng_below(r, 40000), rated = rate[rng_below(r, 3)];

	bulk(c, RT_DATA, loss[rng_below(r, 4)], 2 + (unsigned)rng_below(r, RT_PATHS - 1));
	for (unsigned side = 0; side < 2; side++) {
		c->link[side].delay_ns = delay;
		c->link[side].rate_bps = rated;
		c->link[side].jitter_ns = rng_below(r, 5000);
	}
}

void mode_failover(const struct options *o)
{
	double *v = values(o->seeds);

	for (uint64_t i = 0; i < o->seeds; i++) {
		struct stream *in = &world.end[1].in[RT_DATA];
		struct world_cfg c;
		struct rng r;
		unsigned path;

		rng_init(&r, o->seed + i);
		draw_fabric(&c, &r);
		world_init(&world, o->seed + i, &c, replay);
		world_run(&world, UINT64_MAX, world.s.now + 1000000 + rng_below(&world.s.rng, 1000000));
		path = (unsigned)world.end[0].rt->primary;
		sim_check(&world.s, path < RT_PATHS, "no path is up");
		world.link[0][path].cfg.cut = true;
		if (i & 1)
			world.link[1][path].cfg.cut = true;
		in->longest_gap = 0;
		world_run(&world, UINT64_MAX, world.s.now + 4 * MS);
		v[i] = (double)(world.s.now - in->last_at > in->longest_gap ? world.s.now - in->last_at
									    : in->longest_gap) /
		       1e3;
		world_finish(&world);
		world_fini(&world);
		sim_progress("sim-rt, failover", i + 1, o->seeds);
	}
	qsort(v, o->seeds, sizeof(*v), by_value);
	printf("{\"bench\":\"failover\",\"seeds\":%llu,\"p50_us\":%.0f,\"p99_us\":%.0f,\"worst_us\":%.0f}\n",
	       (unsigned long long)o->seeds, v[o->seeds / 2], v[(o->seeds * 99 + 99) / 100 - 1],
	       v[o->seeds - 1]);
	free(v);
}

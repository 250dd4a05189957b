/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim-rt: the transport alone. Without a mode, each seed draws a world (paths, impairments, cuts,
 * windows, counters near their wrap), runs mixed traffic through it and checks; the modes measure.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fabric/rt/impl.h"
#include "tests/sim/nonce.h"
#include "tests/sim/rt/modes.h"
#include "tests/sim/seeds.h"

struct world world;
char replay[256];

static void draw_link(struct rng *r, struct sim_link_cfg *l, const struct options *o)
{
	static const uint32_t loss[] = {0, 0, 1000, 10000, 50000, 100000, 200000, 300000, 500000};

	*l = (struct sim_link_cfg){
		.delay_ns = 1000 + rng_below(r, 200000),
		.rate_bps = rng_chance(r, 500000) ? 1000000000ull + rng_below(r, 99000000000ull) : 0,
		.jitter_ns = rng_chance(r, 500000) ? rng_below(r, 50000) : 0,
		.loss = o->loss >= 0 ? (uint32_t)o->loss : loss[rng_below(r, sizeof(loss) / sizeof(loss[0]))],
		.burst = rng_chance(r, 300000) ? 2000 : 0,
		.burst_len = 1 + (uint32_t)rng_below(r, 100),
		.reorder = rng_chance(r, 400000) ? (uint32_t)rng_below(r, 300000) : 0,
		.reorder_ns = 1000 + rng_below(r, 500000),
		.dup = rng_chance(r, 400000) ? (uint32_t)rng_below(r, 200000) : 0,
		.corrupt = rng_chance(r, 300000) ? (uint32_t)rng_below(r, 20000) : 0,
	};
	if (l->rate_bps && rng_chance(r, 500000)) {
		l->queue_bytes = 50000 + (uint32_t)rng_below(r, 1000000);
		l->ecn_bytes = rng_chance(r, 500000) ? l->queue_bytes / 4 : 0;
	}
}

void draw_world(struct world_cfg *c, const struct options *o, struct rng *r)
{
	static const uint32_t chunk[] = {256, 512, 1344, 1344, 1344, 8192};

	*c = (struct world_cfg){.npaths = 1 + (unsigned)rng_below(r, RT_PATHS),
				.poll_ns = rng_below(r, 20000)};
	c->rt.chunk = chunk[rng_below(r, sizeof(chunk) / sizeof(chunk[0]))];
	for (unsigned i = 0; i < RT_NCLASS; i++)
		c->rt.window[i] = rng_chance(r, 500000) ? 0 : 64u << rng_below(r, 5);
	if (c->rt.chunk < RT_CHUNK_JUMBO && rng_chance(r, 300000)) {
		static const uint32_t mtu[] = {0, 1472, 2400, 4472, 8972};

		c->rt.chunk_max = rng_chance(r, 500000) ? RT_CHUNK_JUMBO : 3000;
		for (unsigned i = 0; i < RT_PATHS; i++)
			c->mtu[i] = mtu[rng_below(r, sizeof(mtu) / sizeof(mtu[0]))];
	}
	c->rt.aead = &nonce_crc;
	c->backup = rng_chance(r, 300000);
	c->rt.rto_floor_ns = rng_chance(r, 500000) ? 200000 : 1000000;
	c->rt.ack_delay_ns = c->poll_ns & 1 ? c->rt.rto_floor_ns / 4 : 0;
	c->rt.keepalive_ns = rng_chance(r, 500000) ? 0 : 1000000 + rng_below(r, 100000000);
	if (rng_chance(r, 100000)) {
		static const unsigned psn[] = {16, 31, 32, 32}, txn[] = {16, 32, 32, 48, 63};
		uint32_t before = rng_chance(r, 500000) ? 100 : (uint32_t)rng_below(r, 5000);

		c->rt.psn_start = (uint32_t)(1ull << psn[rng_below(r, 4)]) - before;
		c->rt.txn_start = (1ull << txn[rng_below(r, 5)]) - before;
	}
	for (unsigned i = 0; i < 2; i++) {
		struct traffic *t = &c->traffic[i];

		draw_link(r, &c->link[i], o);
		t->gap_ns = 1000 + rng_below(r, 300000);
		t->burst = 1 + (uint32_t)rng_below(r, 40);
		t->rel = (enum rt_rel)rng_below(r, 3);
		for (unsigned k = 0; k < RT_NCLASS; k++) {
			t->weight[k] = (uint32_t)rng_below(r, 10);
			t->len_max[k] = k == RT_CTL ? 64 : rng_chance(r, 500000) ? RT_SEND_MAX : 4096;
		}
		t->weight[RT_NET]++;
	}
}

/* Cuts and heals paths at random, the last one too; changes their keys, removes and adds them. */
void meddle(struct sim *s, void *ctx, uint64_t arg)
{
	struct world *w = ctx;
	struct sim_link *l = &w->link[rng_below(&s->rng, 2)][rng_below(&s->rng, w->cfg.npaths)];

	(void)arg;
	if (w->stop)
		return;
	switch (rng_below(&s->rng, 4)) {
	case 0:
		world_rekey(w, (unsigned)rng_below(&s->rng, w->cfg.npaths));
		break;
	case 1:
		world_bounce(w, (unsigned)rng_below(&s->rng, w->cfg.npaths));
		break;
	default:
		l->cfg.cut = !l->cfg.cut;
		w->cuts++;
	}
	sim_at(s, s->now + 1 + rng_below(&s->rng, l->cfg.cut ? 30000000 : 100000000), meddle, w, 0);
}

static void say(const struct world *w, uint64_t seed)
{
	const uint64_t *a = rt_counters(w->end[0].rt), *b = rt_counters(w->end[1].rt);
	uint64_t done = 0, open = 0, lost = 0;

	for (unsigned side = 0; side < 2; side++)
		for (unsigned c = 0; c < RT_NCLASS; c++) {
			done += w->end[side].in[c].complete;
			open += w->end[side].in[c].dropped;
			for (unsigned p = 0; !c && p < w->cfg.npaths; p++)
				lost += w->link[side][p].stats.lost + w->link[side][p].stats.queued_out;
		}
	printf("seed %llu: %.3f s, %llu packets (%llu fell, %llu sent again, %llu given up), %llu messages, "
	       "%llu "
	       "dropped, %llu cuts, %llu rekeys, %llu paths away, trace %016llx\n",
	       (unsigned long long)seed, (double)(w->s.now - 1000000000ull) / 1e9,
	       (unsigned long long)w->packets, (unsigned long long)lost,
	       (unsigned long long)(a[RT_C_tx_retransmits] + b[RT_C_tx_retransmits]),
	       (unsigned long long)(a[RT_C_tx_abandoned] + b[RT_C_tx_abandoned]), (unsigned long long)done,
	       (unsigned long long)open, (unsigned long long)w->cuts, (unsigned long long)w->rekeys,
	       (unsigned long long)w->bounces, (unsigned long long)w->s.trace);
}

static uint64_t faults(const struct world *w)
{
	uint64_t n = w->cuts + w->rekeys + w->bounces;

	for (unsigned side = 0; side < 2; side++)
		for (unsigned p = 0; p < w->cfg.npaths; p++)
			n += sim_link_faults(&w->link[side][p]);
	return n;
}

struct totals {
	const struct options *o;
	uint64_t seeds, packets, faults, trace;
};

static void run_seed(void *ctx, uint64_t seed, const char *rest)
{
	struct totals *t = ctx;
	const struct options *o = t->o;
	struct world_cfg c;
	struct rng r;

	(void)rest;
	rng_init(&r, seed);
	draw_world(&c, o, &r);
	world_init(&world, seed, &c, replay);
	if (rng_chance(&r, 500000))
		sim_at(&world.s, world.s.now + 1000000, meddle, &world, 0);
	world_run(&world, o->packets ? o->packets : 20000, world.s.now + 100 * 1000000000ull);
	world_finish(&world);
	if (o->verbose)
		say(&world, seed);
	t->trace = t->trace * 31 + world.s.trace;
	t->packets += world.packets;
	t->faults += faults(&world);
	t->seeds++;
	world_fini(&world);
}

static void run_mixed(const struct options *o)
{
	struct timespec a, b;
	struct totals t = {.o = o};

	clock_gettime(CLOCK_MONOTONIC, &a);
	if (o->kept)
		sim_kept(o->kept, run_seed, &t);
	for (uint64_t i = 0; i < o->seeds; i++) {
		run_seed(&t, o->seed + i, "");
		sim_progress("sim-rt", i + 1, o->seeds);
	}
	clock_gettime(CLOCK_MONOTONIC, &b);
	printf("sim-rt: %llu seeds from %llu passed\n", (unsigned long long)t.seeds,
	       (unsigned long long)o->seed);
	printf("{\"sim\":\"rt\",\"seeds\":%llu,\"first_seed\":%llu,\"packets\":%llu,\"faults\":%llu,"
	       "\"trace\":\"%"
	       "016llx\",\"seconds\":%.1f,\"violations\":0}\n",
	       (unsigned long long)t.seeds, (unsigned long long)o->seed, (unsigned long long)t.packets,
	       (unsigned long long)t.faults, (unsigned long long)t.trace,
	       (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9);
}

/* name of the option, what it runs, seeds if not said */
static const struct mode {
	const char *name;
	void (*run)(const struct options *o);
	uint64_t seeds;
} modes[] = {
	{"mixed", run_mixed, 1},    {"bench", mode_goodput, 5},	      {"stall", mode_stall, 40},
	{"frames", mode_frames, 1}, {"failover", mode_failover, 300}, {"fair", mode_fair, 1},
	{"incast", mode_incast, 1}, {"codec", mode_codec, 1},	      {"hostile", mode_hostile, 300},
	{"sleepy", mode_sleepy, 1}, {"narrow", mode_narrow, 60},      {"stream", mode_stream, 1},
};
#define MODES (sizeof(modes) / sizeof(modes[0]))

static void usage(void)
{
	puts("sim-rt [--seed S] [--seeds N] [--packets N] [--loss PPM] [--kept FILE] [--gobackn] [--verbose] "
	     "[MODE]\n"
	     "MODE:\n"
	     "  --mixed     all is drawn from the seed, but --packets and --loss; the default\n"
	     "  --bench     goodput under loss, median of the seeds, and the longest gaps; with --gobackn of "
	     "a\n"
	     "              go-back-N sender, with --data of class DATA alone\n"
	     "  --stall     longest gap of a stream under loss, over the seeds\n"
	     "  --frames    64 KiB frames lost at 1 % loss, their order; --packets frames\n"
	     "  --failover  a path is cut under load, per seed\n"
	     "  --fair      64 sessions, one greedy, before one port\n"
	     "  --incast    100 sessions into one port\n"
	     "  --codec     what a packet costs, both ends\n"
	     "  --hostile   every flipped bit of --seeds packets, every replay of a trace of --packets\n"
	     "  --sleepy    frames lost between ends that wake late; --packets frames\n"
	     "  --narrow    paths whose MTU changes under load, per seed\n"
	     "  --stream    what arrives between ends that wake late, through a port with little room");
	exit(2);
}

int main(int argc, char **argv)
{
	static const struct option base[] = {{"seed", 1, NULL, 's'},	{"seeds", 1, NULL, 'n'},
					     {"packets", 1, NULL, 'p'}, {"loss", 1, NULL, 'l'},
					     {"kept", 1, NULL, 'k'},	{"verbose", 0, NULL, 'v'},
					     {"gobackn", 0, NULL, 'g'}, {"data", 0, NULL, 'd'}};
	struct option longs[sizeof(base) / sizeof(base[0]) + MODES + 1] = {0};
	struct options o = {.seed = 1, .loss = -1};
	const struct mode *mode = &modes[0];
	int ch, at = 0;

	memcpy(longs, base, sizeof(base));
	for (size_t i = 0; i < MODES; i++)
		longs[sizeof(base) / sizeof(base[0]) + i] = (struct option){modes[i].name, 0, NULL,
									    0x100 + (int)i};
	while ((ch = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (ch) {
		case 's':
			o.seed = strtoull(optarg, NULL, 0);
			break;
		case 'n':
			o.seeds = strtoull(optarg, NULL, 0);
			break;
		case 'p':
			o.packets = strtoull(optarg, NULL, 0);
			break;
		case 'l':
			o.loss = atoi(optarg);
			break;
		case 'k':
			o.kept = optarg;
			break;
		case 'v':
			o.verbose = true;
			break;
		case 'd':
			o.data = true;
			break;
		case 'g':
			o.gobackn = true;
			break;
		default:
			if (ch < 0x100)
				usage();
			mode = &modes[ch - 0x100];
		}
	}
	if (optind != argc)
		usage();
	if (!o.seeds)
		o.seeds = mode->seeds;
	at = snprintf(replay, sizeof(replay), "%s --%s --seed %%llu --verbose", argv[0], mode->name);
	if (o.packets)
		at += snprintf(replay + at, sizeof(replay) - (size_t)at, " --packets %llu",
			       (unsigned long long)o.packets);
	if (o.loss >= 0)
		snprintf(replay + at, sizeof(replay) - (size_t)at, " --loss %d", o.loss);
	mode->run(&o);
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim-rt: the transport alone. Without a mode, each seed draws a world (paths, impairments, cuts,
 * windows, counters near their wrap), runs mixed traffic through it and checks; --bench measures
 * goodput under loss; --failover how long a cut path stops the flow, --codec
 * what a packet costs.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fabric/rt/impl.h"
#include "tests/sim/rt/world.h"

struct options {
	uint64_t seed, seeds, packets;
	bool bench, failover, codec, verbose;
	int loss; /* ppm, or -1: drawn */
};

static struct world world; /* large; one at a time */
static char replay[256];

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

static void draw_world(struct world_cfg *c, const struct options *o, struct rng *r)
{
	static const uint32_t chunk[] = {256, 512, 1344, 1344, 1344, 8192};

	*c = (struct world_cfg){.npaths = 1 + (unsigned)rng_below(r, RT_PATHS),
				.poll_ns = rng_below(r, 20000)};
	c->rt.chunk = chunk[rng_below(r, sizeof(chunk) / sizeof(chunk[0]))];
	for (unsigned i = 0; i < RT_NCLASS; i++)
		c->rt.window[i] = rng_chance(r, 500000) ? 0 : 64u << rng_below(r, 5);
	c->rt.aead = &aead_crc;
	c->rt.rto_floor_ns = rng_chance(r, 500000) ? 200000 : 1000000;
	c->rt.keepalive_ns = rng_chance(r, 500000) ? 0 : 1000000 + rng_below(r, 100000000);
	if (rng_chance(r, 100000)) {
		c->rt.psn_start = -(uint32_t)rng_below(r, 5000);
		c->rt.txn_start = 0xffffffffull - rng_below(r, 5000);
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

/* Cuts and heals paths at random, the last one too. */
static void meddle(struct sim *s, void *ctx, uint64_t arg)
{
	struct world *w = ctx;
	struct sim_link *l = &w->link[rng_below(&s->rng, 2)][rng_below(&s->rng, w->cfg.npaths)];

	(void)arg;
	if (w->stop)
		return;
	l->cfg.cut = !l->cfg.cut;
	w->cuts++;
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
	       "dropped, %llu cuts, trace %016llx\n",
	       (unsigned long long)seed, (double)(w->s.now - 1000000000ull) / 1e9,
	       (unsigned long long)w->packets, (unsigned long long)lost,
	       (unsigned long long)(a[RT_C_tx_retransmits] + b[RT_C_tx_retransmits]),
	       (unsigned long long)(a[RT_C_tx_abandoned] + b[RT_C_tx_abandoned]), (unsigned long long)done,
	       (unsigned long long)open, (unsigned long long)w->cuts, (unsigned long long)w->s.trace);
}

static uint64_t run_seed(const struct options *o, uint64_t seed, uint64_t *trace)
{
	struct world_cfg c;
	struct rng r;
	uint64_t packets;

	rng_init(&r, seed);
	draw_world(&c, o, &r);
	world_init(&world, seed, &c, replay);
	if (rng_chance(&r, 300000))
		sim_at(&world.s, world.s.now + 1000000, meddle, &world, 0);
	world_run(&world, o->packets, world.s.now + 100 * 1000000000ull);
	world_finish(&world);
	if (o->verbose)
		say(&world, seed);
	*trace = *trace * 31 + world.s.trace;
	packets = world.packets;
	world_fini(&world);
	return packets;
}

static void run_mixed(const struct options *o)
{
	struct timespec a, b;
	uint64_t packets = 0, trace = 0;

	clock_gettime(CLOCK_MONOTONIC, &a);
	for (uint64_t i = 0; i < o->seeds; i++)
		packets += run_seed(o, o->seed + i, &trace);
	clock_gettime(CLOCK_MONOTONIC, &b);
	printf("sim-rt: %llu seeds from %llu passed, %llu packets, trace %016llx, %.1f s\n",
	       (unsigned long long)o->seeds, (unsigned long long)o->seed, (unsigned long long)packets,
	       (unsigned long long)trace,
	       (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9);
}

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

static void run_bench(const struct options *o)
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
			world_run(&world, UINT64_MAX, world.s.now + 5000000);
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

static void run_failover(const struct options *o)
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

/* The price of a packet without its bytes' cipher: two ends, back to back, in this thread. */
static void null_seal(struct aead_key *k, const uint8_t *nonce, const uint8_t *hdr, size_t hdr_len,
		      uint8_t *data, size_t len, uint8_t *tag)
{
	(void)k, (void)nonce, (void)hdr, (void)hdr_len, (void)data, (void)len, (void)tag;
}

static int null_open(struct aead_key *k, const uint8_t *nonce, const uint8_t *hdr, size_t hdr_len,
		     uint8_t *data, size_t len, const uint8_t *tag)
{
	(void)k, (void)nonce, (void)hdr, (void)hdr_len, (void)data, (void)len, (void)tag;
	return 0;
}

static uint64_t codec_bytes;

static void codec_record(void *ctx, enum rt_class cls, uint32_t psn, const struct rt_rec *rec,
			 const uint8_t *data, struct buf *owner)
{
	(void)ctx, (void)cls, (void)psn, (void)data, (void)owner;
	codec_bytes += rec->len;
}

static void codec_settled(void *ctx, enum rt_class cls, uint32_t base)
{
	(void)ctx, (void)cls, (void)base;
}

static void codec_writable(void *ctx, enum rt_class cls)
{
	(void)ctx, (void)cls;
}

struct codec {
	struct rt *rt[2];
	uint64_t now, packets;
	struct rng rng;
	uint32_t loss;
	bool cipher;
};

/* What from has to send now, to the other end, a burst at a time. */
static bool codec_move(struct codec *k, unsigned from)
{
	struct rt_tx out[64];
	int n = rt_output(k->rt[from], k->now, out, 64);

	for (int i = 0; i < n; i++) {
		static uint8_t copy[2048];

		if (k->loss && rng_chance(&k->rng, k->loss))
			continue;
		if (k->cipher) /* opened in place, and the sender may want it again */
			memcpy(copy, out[i].data, out[i].len);
		rt_input(k->rt[!from], k->cipher ? copy : out[i].data, out[i].len, NULL, false, k->now);
	}
	k->packets += (uint64_t)n;
	return n > 0;
}

static double codec_run(struct codec *k, uint64_t packets, uint32_t len)
{
	static uint8_t bytes[RT_SEND_MAX];
	struct rt_rec rec = {.total = len};
	struct iovec iov = {bytes, len};
	struct timespec a, b;

	k->packets = 0;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &a);
	while (k->packets < packets) {
		while (rt_send(k->rt[0], RT_DATA, RT_REL_FULL, &rec, &iov, 1, k->now) == 0)
			rec.id++;
		for (int i = 0; i < 4 && codec_move(k, 0); i++)
			;
		k->now += 10000;
		rt_input_end(k->rt[1], k->now);
		codec_move(k, 1);
		k->now += 10000;
		rt_input_end(k->rt[0], k->now);
		if (rt_deadline(k->rt[0]) <= k->now)
			rt_tick(k->rt[0], k->now);
	}
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &b);
	return ((double)(b.tv_sec - a.tv_sec) * 1e9 + (double)(b.tv_nsec - a.tv_nsec)) / (double)k->packets;
}

static void run_codec(void)
{
	static const struct rt_ops ops = {
		.record = codec_record, .settled = codec_settled, .writable = codec_writable};
	static const uint32_t loss[] = {0, 10000, 50000};

	for (unsigned i = 0; i < sizeof(loss) / sizeof(loss[0]); i++)
		for (unsigned j = 0; j < 2; j++) {
			struct aead_ops none = {"none",		  0,	     aead_crc.create,
						aead_crc.destroy, null_seal, null_open};
			struct codec k = {.now = 1000000000ull, .loss = loss[i], .cipher = j};
			int err;

			rng_init(&k.rng, 1);
			for (unsigned side = 0; side < 2; side++) {
				struct rt_cfg c = {.ops = &ops,
						   .aead = j ? &aead_gcm : &none,
						   .chunk = RT_CHUNK_DEFAULT,
						   .rto_floor_ns = 200000,
						   .active = !side};
				struct rt_path_cfg pc = {.tx_spi = 2 - side, .rx_spi = 1 + side};

				k.rt[side] = rt_create(&c, k.now, &err);
				if (!k.rt[side] || rt_path_add(k.rt[side], 0, &pc, k.now))
					exit(1);
			}
			codec_move(&k, 0);
			codec_move(&k, 1);
			codec_run(&k, 200000, 65562);
			printf("{\"bench\":\"codec\",\"cipher\":\"%s\",\"loss_pct\":%.0f,\"ns_per_packet_"
			       "both_ends\":%.0f}\n",
			       j ? "aes-128-gcm" : "none", loss[i] / 10000.0, codec_run(&k, 2000000, 65562));
			rt_destroy(k.rt[0]);
			rt_destroy(k.rt[1]);
		}
}

static void usage(void)
{
	puts("sim-rt [--seed S] [--seeds N] [--packets N] [--loss PPM] [--verbose] [--bench | --failover | "
	     "--codec]\n"
	     "  --packets  per seed; without a mode all else is drawn from the seed");
	exit(2);
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {
		{"seed", 1, NULL, 's'},	    {"seeds", 1, NULL, 'n'},   {"packets", 1, NULL, 'p'},
		{"loss", 1, NULL, 'l'},	    {"verbose", 0, NULL, 'v'}, {"bench", 0, NULL, 'b'},
		{"failover", 0, NULL, 'f'}, {"codec", 0, NULL, 'c'},   {NULL, 0, NULL, 0}};
	struct options o = {.seed = 1, .seeds = 1, .packets = 20000, .loss = -1};
	int ch;

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
		case 'v':
			o.verbose = true;
			break;
		case 'b':
			o.bench = true;
			break;
		case 'c':
			o.codec = true;
			break;
		case 'f':
			o.failover = true;
			break;
		default:
			usage();
		}
	}
	snprintf(replay, sizeof(replay), "%s --seed %%llu --packets %llu%s --verbose", argv[0],
		 (unsigned long long)o.packets,
		 o.bench      ? " --bench"
		 : o.failover ? " --failover"
			      : "");
	if (o.loss >= 0)
		snprintf(replay + strlen(replay), sizeof(replay) - strlen(replay), " --loss %d", o.loss);
	if (o.bench)
		run_bench(&o);
	else if (o.failover)
		run_failover(&o);
	else if (o.codec)
		run_codec();
	else
		run_mixed(&o);
	return 0;
}

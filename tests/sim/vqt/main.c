/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim-vqt: the tunnel alone. Each seed draws a cable, limits and a life of cuts, lost sessions, agents killed
 * and guests that go and come back; every read must give the last completed write, every request ends
 * exactly once, frames stay whole and in order.
 */
#include <getopt.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/seeds.h"
#include "tests/sim/vqt/vqt_sim.h"

struct options {
	const char *name;
	uint64_t seed, seeds, ms, oracle, frames;
	bool skip_drain;
};

static struct world world;
static char replay[256];

static void usage(void)
{
	puts("sim-vqt [--seed S] [--seeds N] [--ms T] [--oracle N] [--frames N] [--skip-drain]\n"
	     "  --seeds       worlds of T (60) ms where everything goes wrong; 1\n"
	     "  --oracle      scripts that are run over datagrams and over the bring-up carrier: what the\n"
	     "                guest sees must be the same; 0\n"
	     "  --frames      instead: so many frames both ways at 1 % loss, none out of order\n"
	     "  --skip-drain  break one rule of the appliance's (old I/O is over before a new epoch's\n"
	     "                begins): a checker with teeth then fails");
	exit(2);
}

/* How often it was killed or cut off is counted as faults; requests in all. */
static void run_worlds(const struct options *o)
{
	uint64_t frames = 0, ios = 0, resent = 0, faults = 0, carried = 0, posted = 0, trace = 0;
	struct world_cfg cfg = {.skip_drain = o->skip_drain};
	struct world *w = &world;

	for (uint64_t i = 0; i < o->seeds; i++) {
		world_init(w, o->seed + i, replay, &cfg);
		world_run(w, o->ms * MSEC);
		world_finish(w);
		frames += w->g.received + w->rx_count;
		ios += w->g.done[0] + w->g.done[1];
		resent += w->resent;
		faults += w->cuts + w->kills + w->fences + w->stops + w->adapter_faults +
			  sim_link_faults(&w->link[0]) + sim_link_faults(&w->link[1]);
		trace = trace * 31 + w->s.trace;
		world_fini(w);
		posted += w->posted;
		sim_progress("sim-vqt", i + 1, o->seeds);
	}
	snprintf(replay, sizeof(replay), "%s --seeds 0 --oracle 1 --seed %%llu", o->name);
	for (uint64_t i = 0; i < o->oracle; i++)
		carried += oracle_run(w, o->seed + i, replay);
	printf("{\"sim\":\"vqt\",\"seeds\":%llu,\"frames\":%llu,\"requests\":%llu,\"resent\":%llu,"
	       "\"frames_posted\":%llu,\"faults\":%llu,\"oracle_scripts\":%llu,\"oracle_carried\":%llu,"
	       "\"trace\":\"%016llx\","
	       "\"violations\":0}\n",
	       (unsigned long long)o->seeds, (unsigned long long)frames, (unsigned long long)ios,
	       (unsigned long long)resent, (unsigned long long)posted, (unsigned long long)faults,
	       (unsigned long long)o->oracle, (unsigned long long)carried, (unsigned long long)trace);
}

/* Worlds of limited length: the rings of a test keep every chain. */
static void run_frames(const struct options *o)
{
	uint64_t got = 0, sent = 0, packets = 0, lost = 0, trace = 0;
	struct world_cfg cfg = {.flood = true};
	struct world *w = &world;

	for (uint64_t i = 0; got < o->frames; i++) {
		world_init(w, o->seed + i, replay, &cfg);
		while (w->g.received + w->rx_count < 50000)
			world_run(w, 20 * USEC);
		world_finish(w);
		world_run(w, 20 * MSEC); /* what is on its way arrives */
		got += w->g.received + w->rx_count;
		sent += (uint64_t)w->g.tx + w->tx;
		for (unsigned e = 0; e < 2; e++) {
			packets += w->link[e].stats.packets;
			lost += w->link[e].stats.lost;
		}
		trace = trace * 31 + w->s.trace;
		world_fini(w);
		sim_progress("sim-vqt, frames", got, o->frames);
	}
	printf("{\"sim\":\"frames\",\"frames\":%llu,\"sent\":%llu,\"packets\":%llu,\"packets_lost\":%llu,"
	       "\"frames_lost_pct\":%.4f,\"out_of_order\":0,\"trace\":\"%016llx\",\"violations\":0}\n",
	       (unsigned long long)got, (unsigned long long)sent, (unsigned long long)packets,
	       (unsigned long long)lost, 100.0 * (double)(sent - got) / (double)sent,
	       (unsigned long long)trace);
}

int main(int argc, char **argv)
{
	static const struct option opts[] = {{"seed", 1, NULL, 's'},   {"seeds", 1, NULL, 'n'},
					     {"ms", 1, NULL, 'm'},     {"skip-drain", 0, NULL, 'd'},
					     {"oracle", 1, NULL, 'o'}, {"frames", 1, NULL, 'f'},
					     {NULL, 0, NULL, 0}};
	struct options o = {.name = argv[0], .seed = 1, .seeds = 1, .ms = 60};
	int c;

	mallopt(M_TRIM_THRESHOLD, 1 << 30);
	mallopt(M_TOP_PAD, 64 << 20);
	while ((c = getopt_long(argc, argv, "", opts, NULL)) != -1) {
		switch (c) {
		case 's':
			o.seed = strtoull(optarg, NULL, 0);
			break;
		case 'n':
			o.seeds = strtoull(optarg, NULL, 0);
			break;
		case 'm':
			o.ms = strtoull(optarg, NULL, 0);
			break;
		case 'o':
			o.oracle = strtoull(optarg, NULL, 0);
			break;
		case 'f':
			o.frames = strtoull(optarg, NULL, 0);
			break;
		case 'd':
			o.skip_drain = true;
			break;
		default:
			usage();
		}
	}
	if (optind != argc)
		usage();
	snprintf(replay, sizeof(replay), "%s --seed %%llu --ms %llu%s%s", argv[0], (unsigned long long)o.ms,
		 o.skip_drain ? " --skip-drain" : "", o.frames ? " --frames 1" : "");
	if (o.frames)
		run_frames(&o);
	else
		run_worlds(&o);
	return 0;
}

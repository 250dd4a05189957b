/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim-vqt: the tunnel alone. Each seed draws a cable, limits and a life of cuts, lost sessions, agents killed
 * and guests that go and come back; every read must give the last completed write, every request ends
 * exactly once, frames stay whole and in order.
 *
 * --skip-drain breaks one rule of the appliance's (old I/O is over before a new epoch's begins): a checker
 * with teeth then fails.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/sim/vqt/vqt_sim.h"

static struct world world;

int main(int argc, char **argv)
{
	static const struct option opts[] = {{"seed", 1, NULL, 's'},
					     {"seeds", 1, NULL, 'n'},
					     {"ms", 1, NULL, 'm'},
					     {"skip-drain", 0, NULL, 'd'},
					     {NULL, 0, NULL, 0}};
	uint64_t seed = 1, seeds = 1, ms = 60, frames = 0, ios = 0, resent = 0, faults = 0, trace = 0;
	bool skip_drain = false;
	int c;

	while ((c = getopt_long(argc, argv, "", opts, NULL)) != -1) {
		if (c == 's')
			seed = strtoull(optarg, NULL, 0);
		else if (c == 'n')
			seeds = strtoull(optarg, NULL, 0);
		else if (c == 'm')
			ms = strtoull(optarg, NULL, 0);
		else if (c == 'd')
			skip_drain = true;
		else
			return 2;
	}
	for (uint64_t i = 0; i < seeds; i++) {
		struct world *w = &world;

		world_init(w, seed + i, "sim-vqt --seed %llu", skip_drain);
		world_run(w, ms * MSEC);
		world_finish(w);
		frames += w->g.received + w->rx_count;
		ios += w->g.done[0] + w->g.done[1];
		resent += w->resent;
		faults += w->cuts + w->kills + w->fences;
		trace = trace * 31 + w->s.trace;
		world_fini(w);
	}
	printf("sim-vqt: %llu seeds from %llu passed, %llu frames, %llu requests (%llu sent again), %llu "
	       "faults, trace "
	       "%016llx\n",
	       (unsigned long long)seeds, (unsigned long long)seed, (unsigned long long)frames,
	       (unsigned long long)ios, (unsigned long long)resent, (unsigned long long)faults,
	       (unsigned long long)trace);
	return 0;
}

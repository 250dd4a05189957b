/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One script over both carriers. What a guest sees may not depend on what its packets went through: over a
 * cable that loses, repeats and delays datagrams, with sessions that end and agents that die, each request
 * gives what it gives over the ordered stream where nothing happens; of the frames none is changed or
 * overtakes another, and while the session lives each arrives.
 */
#include <string.h>

#include "tests/sim/vqt/vqt_sim.h"

static const struct run {
	const char *name;
	struct world_cfg cfg;
} runs[] = {
	{"carrier", {.steady = true, .over = CARRIER}}, /* the oracle */
	{"datagrams", {.steady = true, .over = DATAGRAMS}},
	{"both, datagrams blocked at times", {.steady = true, .over = SWITCHING}},
	{"datagrams, ends and deaths", {.over = DATAGRAMS}},
};
#define RUNS (sizeof(runs) / sizeof(runs[0]))

static void compare(struct world *w, const struct script *oracle, const struct run *run)
{
	const struct script *t = w->script;

	for (uint32_t lba = 0; lba < LBAS; lba++)
		for (uint32_t k = 0; k < SCRIPT_OPS; k++)
			sim_check(&w->s, t->seen[lba][k] == oracle->seen[lba][k],
				  "%s: request %u of block %u gave %llx, over the carrier %llx", run->name, k,
				  lba, (unsigned long long)t->seen[lba][k],
				  (unsigned long long)oracle->seen[lba][k]);
	for (unsigned to = 0; to < 2; to++)
		for (uint32_t i = 0; i < SCRIPT_FRAMES; i++)
			sim_check(&w->s, oracle->frame[to][i] && (t->frame[to][i] || !run->cfg.steady),
				  "%s: frame %u to the %s did not arrive", run->name, i,
				  to ? "guest" : "appliance");
}

uint64_t oracle_run(struct world *w, uint64_t seed, const char *replay)
{
	static struct script seen[RUNS];
	uint64_t carried = 0;

	for (unsigned i = 0; i < RUNS; i++) {
		struct world_cfg cfg = runs[i].cfg;
		uint64_t limit;

		memset(&seen[i], 0, sizeof(seen[i]));
		seen[i].seed = seed;
		cfg.script = &seen[i];
		world_init(w, seed, replay, &cfg);
		limit = w->s.now + 20000 * MSEC;
		while (!guest_done(w) && w->s.now < limit)
			world_run(w, MSEC);
		sim_check(&w->s, guest_done(w), "%s: the script does not end", runs[i].name);
		world_finish(w);
		compare(w, &seen[0], &runs[i]);
		if (cfg.over == CARRIER)
			sim_check(&w->s, w->carried_packets > SCRIPT_FRAMES, "the carrier carries nothing");
		carried += w->carried_packets;
		world_fini(w);
	}
	return carried;
}

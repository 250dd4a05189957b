/* SPDX-License-Identifier: Apache-2.0 */
/* sim-product: one world per seed. See product.h. */
#include <getopt.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "tests/sim/product/product.h"
#include "tests/sim/seeds.h"

static struct world world; /* large; one at a time */
static char replay[512];

/* An assertion of a core, or worse: the seed has to be known then, too. */
static void on_crash(int sig)
{
	fflush(stdout);
	fprintf(stderr, "\nFAILED at %llu ns, step %llu: signal %d", (unsigned long long)world.s.now,
		(unsigned long long)world.s.steps, sig);
	sim_replay(&world.s);
	signal(sig, SIG_DFL);
	raise(sig);
}

static const char *const level_names[] = {"calm", "lossy", "full"};

static void usage(FILE *f)
{
	fprintf(f,
		"usage: sim-product [--seed S] [--seeds N] [--faults calm|lossy|full|mix] [--ms T] "
		"[--small]\n"
		"                   [--lanes] [--kept FILE] [-v]\n"
		"Runs worlds of seeds S (1), S+1, ... N (1) of them, each T (40) ms of virtual time and "
		"then\n"
		"until all is at rest. mix (the default): of ten seeds one is calm, two are lossy, the rest\n"
		"have everything: daemons die, volumes move, guests reset, the power is cut. --small: worlds "
		"of\n"
		"two guests and T (20) ms, bad cables, something fails every other millisecond. --lanes: "
		"agents have\n"
		"two I/O threads, devices go from one to the other. --kept: first the seeds of a file, a "
		"line "
		"each.\n");
}

static enum level level_of(const char *name, uint64_t seed)
{
	for (unsigned i = 0; i < 3; i++)
		if (!strcmp(name, level_names[i]))
			return (enum level)i;
	if (strcmp(name, "mix")) {
		usage(stderr);
		exit(2);
	}
	return seed % 10 == 0 ? CALM : seed % 10 < 3 ? LOSSY : FULL;
}

struct options {
	uint64_t seed, seeds, ms;
	const char *faults, *kept;
	bool verbose, small, lanes;
};

static void parse(int argc, char **argv, struct options *o)
{
	static const struct option opts[] = {
		{"seed", required_argument, NULL, 's'},	  {"seeds", required_argument, NULL, 'n'},
		{"faults", required_argument, NULL, 'f'}, {"ms", required_argument, NULL, 'm'},
		{"small", no_argument, NULL, 'S'},	  {"lanes", no_argument, NULL, 'l'},
		{"kept", required_argument, NULL, 'k'},	  {"verbose", no_argument, NULL, 'v'},
		{"help", no_argument, NULL, 'h'},	  {NULL, 0, NULL, 0},
	};
	int c;

	while ((c = getopt_long(argc, argv, "vh", opts, NULL)) != -1) {
		switch (c) {
		case 's':
			o->seed = strtoull(optarg, NULL, 0);
			break;
		case 'n':
			o->seeds = strtoull(optarg, NULL, 0);
			break;
		case 'f':
			o->faults = optarg;
			break;
		case 'm':
			o->ms = strtoull(optarg, NULL, 0);
			break;
		case 'S':
			o->small = true;
			break;
		case 'l':
			o->lanes = true;
			break;
		case 'k':
			o->kept = optarg;
			break;
		case 'v':
			o->verbose = true;
			break;
		default:
			usage(c == 'h' ? stdout : stderr);
			exit(c == 'h' ? 0 : 2);
		}
	}
}

static double cpu(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)u.ru_utime.tv_sec + (double)u.ru_utime.tv_usec / 1e6;
}

struct totals {
	const struct options *o;
	uint64_t seeds, sum[S_COUNT], trace;
};

static void run_seed(void *ctx, uint64_t seed, const char *rest)
{
	struct totals *t = ctx;
	enum level level = level_of(t->o->faults, seed);

	(void)rest;
	world_run(&world, seed, level, t->o->small, t->o->lanes, t->o->ms * MSEC, replay);
	for (unsigned i = 0; i < S_COUNT; i++)
		t->sum[i] += world.stat[i];
	t->trace = (t->trace ^ world.s.trace) * 0x100000001b3ull;
	t->seeds++;
	if (t->o->verbose)
		printf("seed %llu %s: %llu events, trace %016llx\n", (unsigned long long)seed,
		       level_names[level], (unsigned long long)world.s.steps,
		       (unsigned long long)world.s.trace);
}

int main(int argc, char **argv)
{
	struct options o = {.seed = 1, .seeds = 1, .faults = "mix"};
	struct totals t = {.o = &o};

	/* Every world takes and gives back the same large pieces: they need not come from the kernel. */
	mallopt(M_MMAP_THRESHOLD, 1 << 30);
	mallopt(M_TRIM_THRESHOLD, 1 << 30);
	mallopt(M_TOP_PAD, 64 << 20);
	parse(argc, argv, &o);
	o.ms = o.ms ? o.ms : o.small ? 20 : 40;
	signal(SIGABRT, on_crash);
#ifndef __SANITIZE_ADDRESS__ /* which tells more */
	signal(SIGSEGV, on_crash);
#endif
	snprintf(replay, sizeof(replay), "%s --seed %%llu --faults %s --ms %llu%s%s", argv[0], o.faults,
		 (unsigned long long)o.ms, o.small ? " --small" : "", o.lanes ? " --lanes" : "");
	if (o.kept)
		sim_kept(o.kept, run_seed, &t);
	for (uint64_t i = 0; i < o.seeds; i++) {
		run_seed(&t, o.seed + i, "");
		sim_progress("sim-product", i + 1, o.seeds);
	}
	printf("{\"sim\":\"product\",\"seeds\":%llu", (unsigned long long)t.seeds);
	for (unsigned i = 0; i < S_COUNT; i++)
		printf(",\"%s\":%llu", product_counter_names[i], (unsigned long long)t.sum[i]);
	printf(",\"trace\":\"%016llx\",\"cpu_s\":%.1f,\"violations\":0}\n", (unsigned long long)t.trace,
	       cpu());
	return 0;
}

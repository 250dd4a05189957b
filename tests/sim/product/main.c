/* SPDX-License-Identifier: Apache-2.0 */
/* sim-product: one world per seed. See product.h. */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "tests/sim/product/product.h"

static struct world world; /* large; one at a time */
static char replay[512];

/* An assertion of a core, or worse: the seed has to be known then, too. */
static void on_crash(int sig)
{
	fflush(stdout);
	fprintf(stderr, "\nFAILED at %llu ns, step %llu: signal %d\n", (unsigned long long)world.s.now,
		(unsigned long long)world.s.steps, sig);
	fprintf(stderr, "replay: ");
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	fprintf(stderr, replay, (unsigned long long)world.s.seed);
#pragma GCC diagnostic pop
	fprintf(stderr, "\n");
	signal(sig, SIG_DFL);
	raise(sig);
}

static const char *const level_names[] = {"calm", "lossy", "full"};

static void usage(FILE *f)
{
	fprintf(f,
		"usage: sim-product [--seed S] [--seeds N] [--faults calm|lossy|full|mix] [--ms T] [-v]\n"
		"Runs worlds of seeds S (1), S+1, ... N (1) of them, each T (40) ms of virtual time and "
		"then\n"
		"until all is at rest. mix (the default): of ten seeds one is calm, two are lossy, the rest\n"
		"have everything: daemons die, volumes move, guests reset, the power is cut.\n");
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
	const char *faults;
	bool verbose;
};

static void parse(int argc, char **argv, struct options *o)
{
	static const struct option opts[] = {
		{"seed", required_argument, NULL, 's'},
		{"seeds", required_argument, NULL, 'n'},
		{"faults", required_argument, NULL, 'f'},
		{"ms", required_argument, NULL, 'm'},
		{"verbose", no_argument, NULL, 'v'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
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

int main(int argc, char **argv)
{
	struct options o = {.seed = 1, .seeds = 1, .ms = 40, .faults = "mix"};
	uint64_t sum[S_COUNT] = {0}, trace = 0;

	parse(argc, argv, &o);
	signal(SIGABRT, on_crash);
#ifndef __SANITIZE_ADDRESS__ /* which tells more */
	signal(SIGSEGV, on_crash);
#endif
	snprintf(replay, sizeof(replay), "%s --seed %%llu --faults %s --ms %llu", argv[0], o.faults,
		 (unsigned long long)o.ms);
	for (uint64_t seed = o.seed; seed < o.seed + o.seeds; seed++) {
		enum level level = level_of(o.faults, seed);

		world_run(&world, seed, level, o.ms * MSEC, replay);
		for (unsigned i = 0; i < S_COUNT; i++)
			sum[i] += world.stat[i];
		trace = (trace ^ world.s.trace) * 0x100000001b3ull;
		if (o.verbose)
			printf("seed %llu %s: %llu events, trace %016llx\n", (unsigned long long)seed,
			       level_names[level], (unsigned long long)world.s.steps,
			       (unsigned long long)world.s.trace);
	}
	printf("{\"sim\":\"product\",\"seeds\":%llu", (unsigned long long)o.seeds);
	for (unsigned i = 0; i < S_COUNT; i++)
		printf(",\"%s\":%llu", product_counter_names[i], (unsigned long long)sum[i]);
	printf(",\"trace\":\"%016llx\",\"cpu_s\":%.1f}\n", (unsigned long long)trace, cpu());
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/seeds.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define EVERY_S 10

void sim_kept(const char *file, void (*run)(void *ctx, uint64_t seed, const char *rest), void *ctx)
{
	char line[256], *rest;
	FILE *f = fopen(file, "r");

	if (!f) {
		perror(file);
		exit(2);
	}
	while (fgets(line, sizeof(line), f))
		if (line[0] >= '0' && line[0] <= '9') {
			uint64_t seed = strtoull(line, &rest, 0);

			run(ctx, seed, rest);
		}
	fclose(f);
}

void sim_progress(const char *what, uint64_t done, uint64_t of)
{
	static time_t begun, last;
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	if (!begun)
		begun = last = t.tv_sec;
	if (t.tv_sec - last < EVERY_S || !done)
		return;
	last = t.tv_sec;
	fprintf(stderr, "%s: %llu of %llu, %lld s, about %lld s to go\n", what, (unsigned long long)done,
		(unsigned long long)of, (long long)(t.tv_sec - begun),
		(long long)((double)(t.tv_sec - begun) * (double)(of - done) / (double)done));
}

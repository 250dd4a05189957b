/* SPDX-License-Identifier: Apache-2.0 */
/* What the programs around the world share: seeds that are kept, progress. They may read the real clock. */
#ifndef OUTRIGGER_SIM_SEEDS_H
#define OUTRIGGER_SIM_SEEDS_H

#include <stdint.h>

/* Calls run(ctx, seed, rest) for each line of the file that begins with a number; rest: what stands behind
 * it. Exits with 2 if there is no such file. */
void sim_kept(const char *file, void (*run)(void *ctx, uint64_t seed, const char *rest), void *ctx);
/* On stderr, every ten seconds at most. */
void sim_progress(const char *what, uint64_t done, uint64_t of);

#endif

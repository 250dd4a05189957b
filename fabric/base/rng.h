/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Seeded generator (SplitMix64) for simulation, impairment and jitter. Not for keys: keys come
 * from the TLS library. Same seed, same sequence, on every compiler and machine.
 */
#ifndef OUTRIGGER_BASE_RNG_H
#define OUTRIGGER_BASE_RNG_H

#include <stdint.h>

struct rng {
	uint64_t state;
};

static inline void rng_init(struct rng *r, uint64_t seed)
{
	r->state = seed;
}

static inline uint64_t rng_u64(struct rng *r)
{
	uint64_t z = (r->state += 0x9e3779b97f4a7c15ull);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

/* Uniform in [0, n); n must not be 0. The bias is below n / 2^64. */
static inline uint64_t rng_below(struct rng *r, uint64_t n)
{
	return (uint64_t)(((unsigned __int128)rng_u64(r) * n) >> 64);
}

/* True with probability ppm / 1 000 000. */
static inline int rng_chance(struct rng *r, uint32_t ppm)
{
	return rng_below(r, 1000000) < ppm;
}

#endif

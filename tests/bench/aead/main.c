/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_aead: what sealing and opening a packet costs on one core, the implementations in turns, so that what
 * else the machine does meets all of them. A line of JSON per implementation, operation and length:
 * nanoseconds per packet, the median of the rounds, the least and the most.
 *
 *	bench_aead [ROUNDS [MILLISECONDS OF EACH]]
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fabric/aead/aead.h"

#define HDR	32u /* the base header, authenticated and not encrypted */
#define SLOTS	16u /* packets sealed in turns: a train in the second level cache */
#define TAG	16u
#define LONGEST 8192u
#define ROUNDS	64
#define BATCH	256
#define LENGTHS 3
#define IMPLS	3

static const uint32_t lengths[LENGTHS] = {64, 1376, LONGEST};
static const struct aead_ops *impls[IMPLS];
static const char *const names[IMPLS] = {"openssl", "ipsec-mb", "crc32c"};
static uint8_t memory[SLOTS * (HDR + LONGEST + TAG)];
static double ns[IMPLS][LENGTHS][2][ROUNDS];

static double cpu(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* One after the other, as a train has them. */
static uint8_t *packet(uint32_t i, uint32_t len)
{
	return memory + i % SLOTS * (HDR + len + TAG);
}

static void seal(const struct aead_ops *o, struct aead_key *k, uint32_t len, uint32_t i)
{
	uint8_t *p = packet(i, len), nonce[AEAD_NONCE_LEN] = {0};

	memcpy(nonce + 8, &i, sizeof(i));
	o->seal(k, nonce, p, HDR, p + HDR, len, p + HDR + len);
}

static void open_all(const struct aead_ops *o, struct aead_key *k, uint32_t len)
{
	for (uint32_t i = 0; i < SLOTS; i++) {
		uint8_t *p = packet(i, len), nonce[AEAD_NONCE_LEN] = {0};

		memcpy(nonce + 8, &i, sizeof(i));
		if (o->open(k, nonce, p, HDR, p + HDR, len, p + HDR + len))
			abort();
	}
}

/* Sealing, for about budget ns; then sealing and opening, less the sealing. */
static void measure(unsigned impl, unsigned at, unsigned round, double budget)
{
	const struct aead_ops *o = impls[impl];
	const uint8_t key[AEAD_KEY_LEN] = {1, 2, 3};
	struct aead_key *k = o->create(key);
	uint32_t len = lengths[at], n = 0, m = 0;
	double from = cpu(), to;

	if (!k)
		exit(1);
	do {
		for (unsigned i = 0; i < BATCH; i++)
			seal(o, k, len, n++);
		to = cpu();
	} while (to - from < budget);
	ns[impl][at][0][round] = (to - from) / n;
	from = cpu();
	do {
		for (uint32_t i = 0; i < SLOTS; i++)
			seal(o, k, len, i);
		open_all(o, k, len);
		m += SLOTS;
		to = cpu();
	} while (to - from < budget);
	ns[impl][at][1][round] = (to - from) / m - ns[impl][at][0][round];
	o->destroy(k);
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void say(unsigned impl, unsigned at, bool open, unsigned rounds)
{
	double *v = ns[impl][at][open];
	double median;

	qsort(v, rounds, sizeof(v[0]), by_value);
	median = v[rounds / 2];
	printf("{\"impl\":\"%s\",\"op\":\"%s\",\"len\":%u,\"ns\":%.1f,\"ns_least\":%.1f,\"ns_most\":%.1f,"
	       "\"gbps\":%.1f}\n",
	       names[impl], open ? "open" : "seal", lengths[at], median, v[0], v[rounds - 1],
	       lengths[at] * 8 / median);
}

int main(int argc, char **argv)
{
	unsigned rounds = argc > 1 ? (unsigned)atoi(argv[1]) : 9;
	double budget = (argc > 2 ? atof(argv[2]) : 10) * 1e6;

	if (!rounds || rounds > ROUNDS)
		return 2;
	impls[0] = &aead_gcm;
	impls[1] = aead_gcm_mb();
	impls[2] = &aead_crc;
	for (unsigned r = 0; r < rounds; r++)
		for (unsigned at = 0; at < LENGTHS; at++)
			for (unsigned i = 0; i < IMPLS; i++)
				if (impls[i])
					measure(i, at, r, budget);
	for (unsigned at = 0; at < LENGTHS; at++)
		for (unsigned i = 0; i < IMPLS; i++)
			for (unsigned open = 0; impls[i] && open < 2; open++)
				say(i, at, open, rounds);
	return 0;
}

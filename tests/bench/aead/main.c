/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_aead: what sealing and opening a packet costs on one core, the implementations in turns, so that what
 * else the machine does meets all of them. A line of JSON per implementation, operation and length:
 * nanoseconds per packet, the median of the rounds, the least and the most.
 *
 * A round is many trains of packets, each timed by itself, and gives their median: a train that was
 *interrupted or met a jump of the clock tells nothing about a cipher.
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
#define SLOTS	64u /* packets of a train: in the second level cache, and long beside reading the clock */
#define TAG	16u
#define LONGEST 8192u
#define ROUNDS	64
#define TRAINS	8192
#define LENGTHS 3
#define IMPLS	3

static const uint32_t lengths[LENGTHS] = {64, 1376, LONGEST};
static const struct aead_ops *impls[IMPLS];
static const char *const names[IMPLS] = {"openssl", "ipsec-mb", "crc32c"};
static uint8_t memory[SLOTS * (HDR + LONGEST + TAG)];
static double ns[IMPLS][LENGTHS][2][ROUNDS];

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* One after the other, as a train has them. */
static uint8_t *packet(uint32_t i, uint32_t len)
{
	return memory + i * (HDR + len + TAG);
}

static void seal_all(const struct aead_ops *o, struct aead_key *k, uint32_t len)
{
	for (uint32_t i = 0; i < SLOTS; i++) {
		uint8_t *p = packet(i, len), nonce[AEAD_NONCE_LEN] = {0};

		memcpy(nonce + 8, &i, sizeof(i));
		o->seal(k, nonce, p, HDR, p + HDR, len, p + HDR + len);
	}
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

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *v, unsigned n)
{
	qsort(v, n, sizeof(v[0]), by_value);
	return v[n / 2];
}

/* Trains sealed and opened in turns, for about budget ns. */
static void measure(unsigned impl, unsigned at, unsigned round, double budget)
{
	static double sealed[TRAINS], opened[TRAINS];
	const struct aead_ops *o = impls[impl];
	const uint8_t key[AEAD_KEY_LEN] = {1, 2, 3};
	struct aead_key *k = o->create(key);
	double from = now(), until = from + budget;
	unsigned n = 0;

	if (!k)
		exit(1);
	while (n < TRAINS && (from < until || !n)) {
		double mid, to;

		from = now();
		seal_all(o, k, lengths[at]);
		mid = now();
		open_all(o, k, lengths[at]);
		to = now();
		sealed[n] = (mid - from) / SLOTS;
		opened[n++] = (to - mid) / SLOTS;
	}
	ns[impl][at][0][round] = median(sealed, n);
	ns[impl][at][1][round] = median(opened, n);
	o->destroy(k);
}

static void say(unsigned impl, unsigned at, bool open, unsigned rounds)
{
	double *v = ns[impl][at][open];
	double middle = median(v, rounds);

	printf("{\"impl\":\"%s\",\"op\":\"%s\",\"len\":%u,\"ns\":%.1f,\"ns_least\":%.1f,\"ns_most\":%.1f,"
	       "\"gbps\":%.1f}\n",
	       names[impl], open ? "open" : "seal", lengths[at], middle, v[0], v[rounds - 1],
	       lengths[at] * 8 / middle);
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

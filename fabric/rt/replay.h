/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Anti-replay window over transmission numbers, after RFC 4303 section 3.4.3 and appendix A2, kept
 * as a ring of words (RFC 6479) so that moving it shifts nothing.
 *
 * Look before the packet is believed, update only after it was authenticated. Number 0 is never
 * valid. Pure; one thread.
 */
#ifndef OUTRIGGER_RT_REPLAY_H
#define OUTRIGGER_RT_REPLAY_H

#include <stdbool.h>
#include <stdint.h>

#include "fabric/base/guard.h"

#define REPLAY_WINDOW 4096u
#define REPLAY_WORDS  128u /* a power of 2, more than the window needs: words ahead of it can be cleared */

struct replay {
	uint64_t top; /* highest number seen */
	uint64_t bits[REPLAY_WORDS];
};

/* Neither seen nor older than the window. */
static inline bool replay_fresh(const struct replay *r, uint64_t n)
{
	if (n == 0)
		return false;
	if (n > r->top)
		return true;
	if (r->top - n >= REPLAY_WINDOW)
		return false;
	return GUARD(replay, !(r->bits[n / 64 % REPLAY_WORDS] >> (n % 64) & 1));
}

/* Marks n, which is fresh and authentic, as seen. */
static inline void replay_update(struct replay *r, uint64_t n)
{
	if (n > r->top) {
		uint64_t words = n / 64 - r->top / 64;

		if (words > REPLAY_WORDS)
			words = REPLAY_WORDS;
		for (uint64_t i = 0; i < words; i++)
			r->bits[(n / 64 - i) % REPLAY_WORDS] = 0;
		r->top = n;
	}
	r->bits[n / 64 % REPLAY_WORDS] |= 1ull << (n % 64);
}

#endif

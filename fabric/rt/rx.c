/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>

#include "fabric/rt/impl.h"

int rx_init(struct rx_win *w, uint32_t window, uint32_t psn, bool slices)
{
	w->window = window;
	w->mask = window - 1;
	w->cum = w->high = psn;
	w->owed_max = window / 4 < RT_ACK_EVERY ? window / 4 : RT_ACK_EVERY;
	w->bits = calloc(window / 64, sizeof(*w->bits));
	w->slices = slices ? calloc(window, sizeof(*w->slices)) : NULL;
	return w->bits && (w->slices || !slices) ? 0 : -ENOMEM;
}

void rx_fini(struct rx_win *w)
{
	free(w->bits);
	free(w->slices);
}

/* Moves cum over received numbers, a word of bits at a time, and forgets their bits. */
static void advance(struct rx_win *w)
{
	while (w->cum != w->high) {
		uint64_t *word = &w->bits[(w->cum & w->mask) >> 6];
		uint32_t at = w->cum & 63;
		uint64_t open = ~*word >> at;
		uint32_t run = open ? (uint32_t)__builtin_ctzll(open) : 64 - at;

		if (run > w->high - w->cum)
			run = w->high - w->cum;
		if (!run)
			return;
		*word &= ~((run == 64 ? ~0ull : (1ull << run) - 1) << at);
		w->cum += run;
	}
}

uint32_t rx_floor(struct rx_win *w, uint32_t floor)
{
	uint32_t missing = 0;

	if (psn_diff(floor, w->cum) <= 0)
		return 0;
	while (w->cum != floor) {
		uint64_t bit = 1ull << (w->cum & 63);
		uint64_t *word = &w->bits[(w->cum & w->mask) >> 6];

		missing += !(*word & bit);
		*word &= ~bit;
		if (w->slices)
			w->slices[w->cum & w->mask] = 0;
		w->cum++;
	}
	if (psn_diff(w->high, w->cum) < 0)
		w->high = w->cum;
	advance(w);
	return missing;
}

bool rx_take_gap(struct rx_win *w, uint32_t psn)
{
	bool gap = psn != w->high; /* it opens a gap, or it closes (part of) one */

	if (psn_diff(psn, w->high) >= 0)
		w->high = psn + 1;
	w->bits[(psn & w->mask) >> 6] |= 1ull << (psn & 63);
	if (psn == w->cum)
		advance(w);
	return gap;
}

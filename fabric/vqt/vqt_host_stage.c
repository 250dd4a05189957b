/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Appliance to guest: what has come and is not the guest's yet.
 *
 * Byte p of the stream is staged at p % window. Credit keeps all positions within one window of `next`, so
 * the stage never overflows, needs no allocator, and a frame's entry is found by its position. FRAMES do not
 * wrap: the stage is longer than its window by the longest of them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fabric/vqt/vqt_host_int.h"

int stage_create(struct vqt_rx *rx, uint32_t window)
{
	uint32_t n = window / VQT_POS_ALIGN;

	rx->window = window;
	/* Untouched pages cost nothing: a guest that keeps up never has its stage written. */
	rx->stage = calloc(1, window + RT_CHUNK_MAX);
	rx->entries = calloc(n, sizeof(*rx->entries));
	rx->present = calloc(n / 64, sizeof(*rx->present));
	return rx->stage && rx->entries && rx->present ? 0 : -ENOMEM;
}

void stage_destroy(struct vqt_rx *rx)
{
	free(rx->stage);
	free(rx->entries);
	free(rx->present);
}

/* ---- entries ---- */

struct rx_entry *stage_add(struct vqt_rx *rx, uint32_t pos, uint32_t total, uint32_t psn)
{
	uint32_t i = stage_slot(rx, pos);

	rx->present[i / 64] |= 1ull << (i % 64);
	rx->npending++;
	rx->entries[i] = (struct rx_entry){.total = total, .psn = psn};
	if (list_empty(&rx->pending))
		list_add_tail(&rx->vq->dev->host->pending, &rx->pending);
	return &rx->entries[i];
}

void stage_del(struct vqt_rx *rx, uint32_t pos)
{
	uint32_t i = stage_slot(rx, pos);

	rx->present[i / 64] &= ~(1ull << (i % 64));
	rx->npending--;
	if (!rx->npending && !rx->mark)
		list_del(&rx->pending);
}

bool stage_first(const struct vqt_rx *rx, uint32_t from, uint32_t *pos)
{
	uint32_t slots = rx->window / VQT_POS_ALIGN;
	uint32_t k = (from - rx->next) / VQT_POS_ALIGN, base = stage_slot(rx, rx->next);
	/* Most often there is the head alone, its last pieces on their way: that is no reason to search. */
	unsigned left = rx->npending - (k && stage_at(rx, rx->next) ? 1 : 0);

	while (left && k < slots) {
		uint32_t i = (base + k) & (slots - 1);
		uint64_t bits = rx->present[i / 64] >> (i % 64);

		if (bits) {
			k += (uint32_t)__builtin_ctzll(bits);
			if (k >= slots)
				break;
			*pos = rx->next + k * VQT_POS_ALIGN;
			return true;
		}
		k += 64 - i % 64;
	}
	return false;
}

/* ---- bytes ---- */

void stage_put(struct vqt_rx *rx, uint32_t pos, uint32_t off, bool many, const uint8_t *data, uint32_t len)
{
	uint32_t at = many ? (pos & (rx->window - 1)) + off : (pos + off) & (rx->window - 1);
	uint32_t first = many || rx->window - at > len ? len : rx->window - at;

	hd_count(rx->vq->dev, VQT_HD_rx_copied_bytes, len);
	memcpy(rx->stage + at, data, first);
	memcpy(rx->stage, data + first, len - first);
}

void stage_to_guest(struct vqt_rx *rx, uint32_t pos, uint32_t total)
{
	uint32_t at = pos & (rx->window - 1);
	uint32_t first = rx->window - at < total ? rx->window - at : total;

	hd_count(rx->vq->dev, VQT_HD_rx_copied_bytes, total);
	rx_write(rx, 0, rx->stage + at, first);
	if (first < total)
		rx_write(rx, first, rx->stage, total - first);
}

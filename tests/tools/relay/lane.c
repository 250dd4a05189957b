/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fabric/base/inet_csum.h"
#include "tests/tools/relay/lane.h"

#define ETHERNET_HEADER 14u

int lane_init(struct lane *l, const struct lane_cfg *cfg)
{
	memset(l, 0, sizeof(*l));
	list_init(&l->queue);
	list_init(&l->unused);
	l->frames = malloc(LANE_FRAMES * sizeof(l->frames[0]));
	if (!l->frames)
		return -ENOMEM;
	for (unsigned i = LANE_FRAMES; i--;)
		list_add_head(&l->unused, &l->frames[i].at);
	l->cfg = *cfg;
	rng_init(&l->rng, cfg->impair.seed);
	return 0;
}

void lane_fini(struct lane *l)
{
	free(l->frames);
}

void lane_set(struct lane *l, const struct lane_cfg *cfg)
{
	if (cfg->impair.seed != l->cfg.impair.seed)
		rng_init(&l->rng, cfg->impair.seed);
	l->cfg = *cfg;
}

struct lane_frame *lane_blank(struct lane *l)
{
	struct list *n = list_pop(&l->unused);

	return n ? container_of(n, struct lane_frame, at) : NULL;
}

/* Last in, first out: the memory is warm. */
void lane_return(struct lane *l, struct lane_frame *f)
{
	list_add_head(&l->unused, &f->at);
}

/* The sender left the checksum to its device; once the frame is damaged that device would hide it. */
static void finish_checksum(struct lane_frame *f)
{
	uint32_t start = f->vnet.csum_start, at = start + f->vnet.csum_offset;
	uint16_t csum;

	if (!(f->vnet.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) || at + 2 > f->len)
		return;
	csum = inet_fold(inet_sum(0, f->data + start, f->len - start));
	inet_put(f->data + at, csum ? csum : 0xffff);
	f->vnet.flags = 0;
}

static bool chance(struct lane *l, uint32_t ppm)
{
	return ppm && rng_chance(&l->rng, ppm);
}

static void corrupt(struct lane *l, struct lane_frame *f)
{
	uint64_t bit;

	if (f->len <= ETHERNET_HEADER)
		return;
	finish_checksum(f);
	bit = 8 * ETHERNET_HEADER + rng_below(&l->rng, 8ull * (f->len - ETHERNET_HEADER));
	f->data[bit / 8] ^= (uint8_t)(1u << bit % 8);
	l->stats.corrupted++;
}

/* When the frame leaves the bottleneck, or UINT64_MAX when its queue is full. */
static uint64_t depart(struct lane *l, const struct lane_frame *f, uint64_t now)
{
	const struct lane_cfg *c = &l->cfg;
	uint64_t from = l->free_at > now ? l->free_at : now;

	if (!c->rate_bps)
		return now;
	if (c->queue_bytes && (from - now) * (c->rate_bps / 8) / 1000000000ull > c->queue_bytes)
		return UINT64_MAX;
	l->free_at = from + (f->len + LANE_FRAME_EXTRA) * 8000000000ull / c->rate_bps;
	return l->free_at;
}

static void insert(struct lane *l, struct lane_frame *f, uint64_t due)
{
	struct list *after = l->queue.prev;

	f->due = due;
	while (after != &l->queue && container_of(after, struct lane_frame, at)->due > due)
		after = after->prev;
	list_add_between(&f->at, after, after->next);
}

static void duplicate(struct lane *l, const struct lane_frame *f, uint64_t due)
{
	struct lane_frame *twin = lane_blank(l);

	if (!twin)
		return;
	twin->len = f->len;
	twin->vnet = f->vnet;
	memcpy(twin->data, f->data, f->len);
	insert(l, twin, due);
	l->stats.duplicated++;
}

void lane_offer(struct lane *l, struct lane_frame *f, uint64_t now)
{
	const struct link_impair_cfg *c = &l->cfg.impair;
	bool lost = chance(l, c->drop_ppm);
	uint64_t due;

	l->stats.frames++;
	l->stats.bytes += f->len;
	if (l->cfg.cut || lost) {
		*(l->cfg.cut ? &l->stats.cut : &l->stats.lost) += 1;
		lane_return(l, f);
		return;
	}
	due = depart(l, f, now);
	if (due == UINT64_MAX) {
		l->stats.queue_full++;
		lane_return(l, f);
		return;
	}
	due += c->delay_ns;
	if (c->jitter_ns)
		due += rng_below(&l->rng, c->jitter_ns);
	if (chance(l, c->reorder_ppm)) {
		due += 1 + rng_below(&l->rng, IMPAIR_REORDER_NS);
		l->stats.reordered++;
	}
	if (chance(l, c->corrupt_ppm))
		corrupt(l, f);
	if (chance(l, c->dup_ppm))
		duplicate(l, f, due + 1);
	insert(l, f, due);
}

struct lane_frame *lane_take(struct lane *l, uint64_t now)
{
	struct lane_frame *f = container_of(l->queue.next, struct lane_frame, at);

	if (list_empty(&l->queue) || f->due > now)
		return NULL;
	list_del(&f->at);
	l->stats.delivered++;
	return f;
}

uint64_t lane_due(const struct lane *l)
{
	return list_empty(&l->queue) ? UINT64_MAX : container_of(l->queue.next, struct lane_frame, at)->due;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The size of chunks, found per path and direction by padded probes with DF set (after RFC 8899).
 *
 * cfg.chunk is what every path is said to carry. A path that came up is asked for more: the
 * candidates from the top, each MTU_TRIES times; the first that is answered is proven. Chunks have
 * the least size proven on any path that ever worked, so that a failover never meets a path
 * too narrow. A path that loses only large packets is held for narrow again, and asked anew; what was sent
 * before a large packet was last acknowledged says nothing: a full queue drops many in a row, too.
 * What failed is tried again every MTU_AGAIN_NS.
 *
 * A packet keeps its number: what was cut large and met a narrow path goes by another that is wide enough, or
 * in slices (slice.c).
 */
#include "fabric/rt/impl.h"

#define MTU_TRIES     4u
#define MTU_GAP_NS    (10 * 1000000ull)
#define MTU_AGAIN_NS  (600 * 1000000000ull)
#define MTU_BIG_LOST  16u	   /* large packets in a row, and no large one acknowledged, */
#define MTU_TIMEOUTS  4u	   /* or so many timeouts */
#define MTU_STAMP_BIT (1ull << 63) /* told from the stamps of other probes */

/* Payloads for MTU 9000, 4500 (and IPv6 over 4 KiB pages), 2304. */
static const uint32_t candidates[] = {8192, 4096, 2048};
#define CANDIDATES (sizeof(candidates) / sizeof(candidates[0]))

/* Number i of the sizes worth asking for, the largest first; 0: no more. */
static uint32_t candidate(const struct rt *rt, uint32_t i)
{
	if (rt->cfg.chunk_max <= rt->cfg.chunk)
		return 0;
	if (!i)
		return rt->cfg.chunk_max;
	for (uint32_t k = 0; k < CANDIDATES; k++)
		if (candidates[k] < rt->cfg.chunk_max && candidates[k] > rt->cfg.chunk && !--i)
			return candidates[k];
	return 0;
}

void mtu_update(struct rt *rt)
{
	uint32_t chunk = 0;

	for (unsigned i = 0; i < RT_PATHS; i++) {
		const struct path *p = &rt->path[i];

		if (p->used && p->state != RT_PATH_PROBING && (!chunk || p->proven < chunk))
			chunk = p->proven;
	}
	if (!chunk || chunk == rt->chunk)
		return;
	rt->chunk = chunk;
	for (unsigned c = 0; c < RT_NCLASS; c++)
		tx_resize(&rt->tx[c], chunk);
}

void mtu_start(struct rt *rt, unsigned path, uint64_t now)
{
	struct path *p = &rt->path[path];

	p->proven = rt->cfg.chunk;
	p->mtu_next = p->mtu_tries = p->big_lost = 0;
	p->mtu_stamp = 0;
	p->mtu_at = candidate(rt, 0) ? now : RT_NEVER;
}

bool mtu_big_lost(struct rt *rt, unsigned path, bool timeout, uint64_t now)
{
	struct path *p = &rt->path[path];

	p->big_lost += timeout ? MTU_BIG_LOST / MTU_TIMEOUTS : 1;
	if (p->proven == rt->cfg.chunk || p->big_lost < MTU_BIG_LOST)
		return false;
	count(rt, RT_C_mtu_lowered);
	mtu_start(rt, path, now);
	mtu_update(rt);
	return true;
}

bool mtu_reply(struct rt *rt, unsigned path, uint64_t stamp, uint64_t now)
{
	struct path *p = &rt->path[path];

	if (!(stamp & MTU_STAMP_BIT))
		return false;
	if (!p->mtu_stamp || stamp != p->mtu_stamp)
		return true;
	p->proven = candidate(rt, p->mtu_next);
	p->mtu_at = p->mtu_next ? now + MTU_AGAIN_NS : RT_NEVER;
	p->mtu_stamp = 0;
	p->mtu_next = 0;
	p->mtu_tries = MTU_TRIES - 1;
	p->big_lost = 0;
	count(rt, RT_C_mtu_raised);
	mtu_update(rt);
	return true;
}

uint64_t mtu_deadline(const struct rt *rt)
{
	uint64_t at = RT_NEVER;

	for (unsigned i = 0; i < RT_PATHS; i++) {
		const struct path *p = &rt->path[i];

		/* The next attempt in ten minutes waits for a keepalive. */
		if (p->used && p->state == RT_PATH_UP && (p->mtu_stamp || !p->mtu_tries) && p->mtu_at < at)
			at = p->mtu_at;
	}
	return at;
}

uint32_t mtu_probe(struct rt *rt, unsigned path, uint64_t now, uint64_t *stamp)
{
	struct path *p = &rt->path[path];
	uint32_t size;

	if (p->mtu_tries == MTU_TRIES) {
		p->mtu_next++;
		p->mtu_tries = 0;
	}
	size = candidate(rt, p->mtu_next);
	if (!size || size <= p->proven) {
		p->mtu_next = 0;
		p->mtu_tries = MTU_TRIES - 1; /* once in ten minutes, the largest only */
		p->mtu_stamp = 0;
		p->mtu_at = now + MTU_AGAIN_NS;
		return 0;
	}
	p->mtu_tries++;
	p->mtu_at = now + (2 * p->srtt > MTU_GAP_NS ? 2 * p->srtt : MTU_GAP_NS);
	p->mtu_stamp = *stamp = now | MTU_STAMP_BIT;
	return size;
}

uint32_t rt_chunk(const struct rt *rt)
{
	return rt->chunk;
}

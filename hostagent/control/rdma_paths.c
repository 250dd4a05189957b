/* SPDX-License-Identifier: Apache-2.0 */
#include "hostagent/control/rdma_paths.h"

#include <string.h>

#include "fabric/base/clock.h"

static void due(struct rdma_path *p, uint64_t at)
{
	p->state = RDMA_DUE;
	p->at = at;
}

static void later(struct rdma_paths *p, struct rdma_path *path, uint64_t now)
{
	due(path, now + chan_backoff_next(&path->backoff, &p->rng) * NSEC_PER_MSEC);
}

void rdma_paths_init(struct rdma_paths *p, uint64_t seed)
{
	memset(p, 0, sizeof(*p));
	rng_init(&p->rng, seed);
	for (unsigned i = 0; i < RT_PATHS; i++)
		chan_backoff_init(&p->path[i].backoff, RDMA_RETRY_MIN_MS, RDMA_RETRY_MAX_MS);
}

void rdma_paths_start(struct rdma_paths *p, unsigned paths, uint64_t now)
{
	for (unsigned i = 0; i < RT_PATHS; i++) {
		struct rdma_path *path = &p->path[i];

		path->state = RDMA_NONE;
		path->told = false;
		chan_backoff_reset(&path->backoff);
		if (paths & 1u << i)
			due(path, now);
	}
}

void rdma_paths_stop(struct rdma_paths *p)
{
	rdma_paths_start(p, 0, 0);
}

void rdma_paths_again(struct rdma_paths *p, uint64_t now)
{
	for (unsigned i = 0; i < RT_PATHS; i++)
		if (p->path[i].state == RDMA_ASKED || p->path[i].state == RDMA_DUE)
			due(&p->path[i], now);
}

static bool waits(const struct rdma_path *path)
{
	return path->state == RDMA_DUE || path->state == RDMA_ASKED;
}

int rdma_paths_due(const struct rdma_paths *p, uint64_t now)
{
	for (unsigned i = 0; i < RT_PATHS; i++)
		if (waits(&p->path[i]) && p->path[i].at <= now)
			return (int)i;
	return -1;
}

uint64_t rdma_paths_deadline(const struct rdma_paths *p)
{
	uint64_t at = RDMA_NEVER;

	for (unsigned i = 0; i < RT_PATHS; i++)
		if (waits(&p->path[i]) && p->path[i].at < at)
			at = p->path[i].at;
	return at;
}

void rdma_paths_asked(struct rdma_paths *p, unsigned path, uint32_t qpn, uint64_t now)
{
	p->path[path].state = RDMA_ASKED;
	p->path[path].at = now + RDMA_ANSWER_NS;
	p->path[path].qpn = qpn;
}

void rdma_paths_unheard(struct rdma_paths *p, unsigned path)
{
	due(&p->path[path], RDMA_NEVER);
}

bool rdma_paths_answered(struct rdma_paths *p, unsigned path, uint32_t qpn)
{
	if (path >= RT_PATHS || p->path[path].state != RDMA_ASKED || p->path[path].qpn != qpn)
		return false;
	p->path[path].state = RDMA_CONNECTING;
	return true;
}

void rdma_paths_connected(struct rdma_paths *p, unsigned path, uint64_t now)
{
	if (p->path[path].state != RDMA_CONNECTING)
		return;
	p->path[path].state = RDMA_UP;
	p->path[path].at = now;
	p->path[path].told = false;
}

bool rdma_paths_failed(struct rdma_paths *p, unsigned path, uint64_t now)
{
	bool first = !p->path[path].told;

	if (p->path[path].state == RDMA_NONE)
		return false;
	p->path[path].told = true;
	later(p, &p->path[path], now);
	return first;
}

void rdma_paths_broken(struct rdma_paths *p, unsigned path, uint64_t now)
{
	struct rdma_path *at = &p->path[path];

	if (at->state == RDMA_NONE)
		return;
	/* One that breaks at once, again and again, must not be tried without pause. */
	if (at->state == RDMA_UP && now - at->at >= RDMA_WORKED_NS)
		chan_backoff_reset(&at->backoff);
	later(p, at, now);
}

void rdma_paths_port_up(struct rdma_paths *p, unsigned path, uint64_t now)
{
	chan_backoff_reset(&p->path[path].backoff);
	if (p->path[path].state == RDMA_DUE && p->path[path].at != RDMA_NEVER)
		due(&p->path[path], now);
}

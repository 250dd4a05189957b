/* SPDX-License-Identifier: Apache-2.0 */
/* Paths over RDMA: a link per path and session, so that what a session registered ends with it. */
#include <errno.h>
#include <stdio.h>

#include "fabric/base/log.h"
#include "hostagent/engine/engine_impl.h"

/* Nothing of a burst is kept here longer than the burst. */
#define RX_DEPTH 256u
#define RX_SPARE 32u
#define PEER	 1u /* there is one: the appliance */

static struct link *make_link(const struct verbs_port *port, struct buf_pool **pool, int *err, char *why,
			      size_t why_len)
{
	struct link_verbs_cfg vc = {.port = *port, .rx_depth = RX_DEPTH, .serves = !port->sealed};

	vc.pool = *pool = buf_pool_create(RX_DEPTH + RX_SPARE, VERBS_BUF_SIZE);
	if (vc.pool)
		return link_verbs_create(&vc, err, why, why_len);
	snprintf(why, why_len, "out of memory");
	*err = -ENOMEM;
	return NULL;
}

/* A port that is down may come up. */
int engine_rdma_check(const struct verbs_port *port, char *why, size_t why_len)
{
	struct buf_pool *pool;
	int r = 0;
	struct link *l = make_link(port, &pool, &r, why, why_len);

	if (l)
		l->ops->destroy(l);
	buf_pool_destroy(pool);
	return l ? 0 : r;
}

int engine_rdma_up(struct engine *e, const struct engine_path *p, uint64_t now)
{
	struct link_addr peer;
	char why[256];
	int r;

	if (p->rdma_port > e->nrdma || e->rdma_bufs[p->index])
		return -EINVAL;
	e->rdma[p->index] = make_link(&e->rdma_port[p->rdma_port - 1], &e->rdma_bufs[p->index], &r, why,
				      sizeof(why));
	if (!e->rdma[p->index]) {
		log_err("fabric: %s", why);
		return r;
	}
	if (r)
		log_warn("fabric: %s; path %u waits for it", why, p->index);
	link_verbs_address(&peer, PEER);
	r = engine_link_up(e, e->rdma[p->index], p, &peer, now);
	if (r)
		e->rdma[p->index] = NULL;
	return r;
}

void engine_rdma_down(struct engine *e)
{
	e->rdma_up = 0;
	for (unsigned i = 0; i < RT_PATHS; i++) {
		buf_pool_destroy(e->rdma_bufs[i]);
		e->rdma_bufs[i] = NULL;
		e->rdma[i] = NULL;
	}
}

static struct link *of_path(const struct engine *e, unsigned path)
{
	return path < RT_PATHS ? e->rdma[path] : NULL;
}

int engine_rdma_open(struct engine *e, unsigned path, uint32_t psn, struct verbs_end *ours)
{
	struct link *l = of_path(e, path);

	if (l)
		e->rdma_up &= ~(1u << path);
	return l ? link_verbs_open(l, PEER, psn, ours) : -ENOENT;
}

int engine_rdma_connect(struct engine *e, unsigned path, const struct verbs_end *theirs)
{
	struct link *l = of_path(e, path);
	int r = l ? link_verbs_connect(l, PEER, theirs) : -ENOENT;

	engine_wake(e);
	return r;
}

void engine_rdma_fence(struct engine *e, unsigned path, uint32_t qpn)
{
	struct link *l = of_path(e, path);

	if (l)
		link_verbs_fence(l, PEER, qpn);
}

void engine_rdma_settle(struct engine *e)
{
	struct verbs_news news;

	for (unsigned i = 0; i < RT_PATHS; i++)
		while (e->rdma[i] && link_verbs_news(e->rdma[i], &news)) {
			if (news.what == VERBS_CONNECTED)
				e->rdma_up |= 1u << i;
			else if (news.what == VERBS_BROKEN)
				e->rdma_up &= ~(1u << i);
			e->up->rdma_news(e->ctx, i, &news);
		}
}

void engine_rdma_stats(const struct engine *e,
		       void (*fn)(void *arg, uint32_t dev, const char *name, uint64_t value), void *arg)
{
#define NAME(n) "rdma_" #n,
	static const char *const names[] = {VERBS_COUNTERS(NAME)};
	uint64_t sum[VERBS_NCOUNTERS] = {0};
	bool any = false;

	for (unsigned i = 0; i < RT_PATHS; i++) {
		for (unsigned k = 0; e->rdma[i] && k < VERBS_NCOUNTERS; k++)
			sum[k] += link_verbs_counters(e->rdma[i])[k];
		any |= e->rdma[i] != NULL;
	}
	for (unsigned k = 0; any && k < VERBS_NCOUNTERS; k++)
		fn(arg, UINT32_MAX, names[k], sum[k]);
}

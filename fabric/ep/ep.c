/* SPDX-License-Identifier: Apache-2.0 */
#include "fabric/ep/ep.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "fabric/base/clock.h"
#include "fabric/base/idmap.h"
#include "fabric/base/list.h"
#include "fabric/link/link_impair.h"

#define BURST	     EP_BURST
#define FEW_SESSIONS 16
/* A session that still gets more to send keeps what does not fill a train for so long at most. */
#define HOLD_NS (50 * NSEC_PER_USEC)
/* A train of UDP_SEGMENT: so many bytes and datagrams at most (link/udp). */
#define TRAIN_BYTES	65507u
#define TRAIN_DATAGRAMS 64u

COUNTERS_DEFINE(ep, EP_COUNTERS)

struct ep_path {
	bool used;
	bool known; /* peer is set */
	bool learns;
	unsigned link;
	uint32_t rx_spi;
	uint32_t old_spi; /* before the last rekeying, while rt takes packets under it; 0: none */
	struct link_addr peer;
};

struct ep_session {
	struct list all;   /* on ep->sessions */
	struct list dirty; /* on ep->dirty, or alone */
	struct ep *ep;
	struct rt *rt;
	void *ctx;
	uint64_t deadline;
	uint64_t held_at; /* part of a train waits for more since then; 0: none does */
	struct ep_path path[RT_PATHS];
};

struct ep {
	struct link *link[EP_LINKS];
	unsigned nlink;
	struct idmap spi;
	struct list sessions;
	unsigned nsessions;
	struct list dirty;
	/* Not later than the earliest of the sessions', and that exactly while they are few: looking at every
	 * one after each burst is too much for many, and a needless wake-up too much for an idle agent. */
	uint64_t deadline;
	uint64_t (*clock)(void);
	uint64_t counters[EP_NCOUNTERS];
	struct link_rx rx[BURST];
	struct rt_tx out[BURST];
	struct link_tx tx[BURST];
};

struct ep *ep_create(uint64_t seed)
{
	struct ep *ep = calloc(1, sizeof(*ep));

	if (!ep)
		return NULL;
	idmap_init(&ep->spi, seed);
	list_init(&ep->sessions);
	list_init(&ep->dirty);
	ep->deadline = UINT64_MAX;
	return ep;
}

void ep_destroy(struct ep *ep)
{
	if (!ep)
		return;
	list_for_each_safe (it, &ep->sessions)
		ep_session_del(container_of(it, struct ep_session, all));
	for (unsigned i = 0; i < ep->nlink; i++)
		ep->link[i]->ops->destroy(ep->link[i]);
	idmap_fini(&ep->spi);
	free(ep);
}

int ep_link_add(struct ep *ep, struct link *l)
{
	if (ep->nlink == EP_LINKS)
		return -ENOSPC;
	ep->link[ep->nlink] = l;
	return (int)ep->nlink++;
}

struct link *ep_link(struct ep *ep, unsigned index)
{
	return index < ep->nlink ? ep->link[index] : NULL;
}

struct ep_session *ep_session_add(struct ep *ep, struct rt *rt, void *ctx)
{
	struct ep_session *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->ep = ep;
	s->rt = rt;
	s->ctx = ctx;
	s->deadline = UINT64_MAX;
	list_add_tail(&ep->sessions, &s->all);
	ep->nsessions++;
	list_init(&s->dirty);
	return s;
}

void ep_session_del(struct ep_session *s)
{
	if (!s)
		return;
	for (unsigned i = 0; i < RT_PATHS; i++)
		if (s->path[i].used)
			idmap_remove(&s->ep->spi, s->path[i].rx_spi);
	for (unsigned i = 0; i < RT_PATHS; i++)
		if (s->path[i].old_spi)
			idmap_remove(&s->ep->spi, s->path[i].old_spi);
	list_del(&s->all);
	s->ep->nsessions--;
	list_del(&s->dirty);
	rt_destroy(s->rt);
	free(s);
}

struct rt *ep_session_rt(struct ep_session *s)
{
	return s->rt;
}

void *ep_session_ctx(struct ep_session *s)
{
	return s->ctx;
}

int ep_session_path(struct ep_session *s, unsigned path, unsigned link, const struct rt_path_cfg *cfg,
		    const struct link_addr *peer, uint64_t now)
{
	struct ep_path *p;
	int r;

	if (path >= RT_PATHS || link >= s->ep->nlink)
		return -EINVAL;
	p = &s->path[path];
	if (p->used)
		return -EEXIST;
	r = idmap_insert(&s->ep->spi, cfg->rx_spi, s);
	if (r)
		return r;
	r = rt_path_add(s->rt, path, cfg, now);
	if (r) {
		idmap_remove(&s->ep->spi, cfg->rx_spi);
		return r;
	}
	*p = (struct ep_path){.used = true, .link = link, .rx_spi = cfg->rx_spi, .learns = !peer};
	if (peer) {
		p->peer = *peer;
		p->known = true;
	}
	ep_session_touch(s);
	return 0;
}

int ep_session_rekey(struct ep_session *s, unsigned path, const struct rt_path_cfg *next, bool sending,
		     uint64_t now)
{
	struct ep_path *p = path < RT_PATHS ? &s->path[path] : NULL;
	int r;

	if (!p || !p->used)
		return -ENOENT;
	if (p->old_spi)
		return -EBUSY;
	r = idmap_insert(&s->ep->spi, next->rx_spi, s);
	if (r)
		return r;
	r = rt_path_rekey(s->rt, path, next, now);
	if (r) {
		idmap_remove(&s->ep->spi, next->rx_spi);
		return r;
	}
	p->old_spi = p->rx_spi;
	p->rx_spi = next->rx_spi;
	if (sending)
		rt_path_rekey_send(s->rt, path, now);
	ep_session_touch(s);
	return 0;
}

/* SPIs that a finished rekeying has left behind. */
static void forget_old(struct ep_session *s)
{
	struct rt_path_info info;

	for (unsigned i = 0; i < RT_PATHS; i++) {
		if (!s->path[i].old_spi)
			continue;
		rt_path_info(s->rt, i, &info);
		if (info.rekeying)
			continue;
		idmap_remove(&s->ep->spi, s->path[i].old_spi);
		s->path[i].old_spi = 0;
	}
}

bool ep_session_peer(const struct ep_session *s, unsigned path, struct link_addr *peer)
{
	if (path >= RT_PATHS || !s->path[path].known)
		return false;
	*peer = s->path[path].peer;
	return true;
}

void ep_session_touch(struct ep_session *s)
{
	if (list_empty(&s->dirty))
		list_add_tail(&s->ep->dirty, &s->dirty);
}

/* An authentic packet came on this path: its sender is where the path's packets go. */
static void learn(struct ep_session *s, unsigned path, unsigned link, const struct link_rx *rx)
{
	struct ep_path *p = &s->path[path];
	struct link *l = s->ep->link[link];

	if (p->learns && (!p->known || p->link != link || !link_addr_equal(&p->peer, &rx->from))) {
		p->peer = rx->from;
		p->link = link;
		p->known = true;
	}
	if (l->ops->confirm)
		l->ops->confirm(l, rx);
}

static void input(struct ep *ep, unsigned link, struct link_rx *rx, uint64_t now)
{
	uint32_t spi = rt_peek_spi(rx->data, rx->len);
	struct ep_session *s;
	int path;

	if (!spi) {
		counter_add(&ep->counters[EP_C_drop_short], 1);
		return;
	}
	s = idmap_get(&ep->spi, spi);
	if (!s) {
		counter_add(&ep->counters[EP_C_drop_unknown_spi], 1);
		return;
	}
	path = rt_input_late(s->rt, rx->data, rx->len, rx->buf, rx->ce, rx->lay, now);
	if (path < 0) {
		counter_add(&ep->counters[EP_C_drop_auth], 1);
		return;
	}
	learn(s, (unsigned)path, link, rx);
	ep_session_touch(s);
}

static void tick(struct ep *ep, uint64_t now)
{
	ep->deadline = UINT64_MAX;
	list_for_each (it, &ep->sessions) {
		struct ep_session *s = container_of(it, struct ep_session, all);

		if (now < s->deadline) {
			ep->deadline = s->deadline < ep->deadline ? s->deadline : ep->deadline;
			continue;
		}
		rt_tick(s->rt, now);
		ep_session_touch(s); /* ep_flush() takes its next deadline into account */
	}
}

void ep_set_clock(struct ep *ep, uint64_t (*clock)(void))
{
	ep->clock = clock;
}

int ep_poll(struct ep *ep, uint64_t *now)
{
	int total = 0, broken = 0, n;
	unsigned nbroken = 0;

	for (unsigned i = 0; i < ep->nlink; i++) {
		link_impair_set_now(ep->link[i], *now);
		n = ep->link[i]->ops->recv(ep->link[i], ep->rx, BURST);
		if (n > 0 && ep->clock)
			*now = ep->clock();

		/* One carrier less: the others go on, and the transport finds out by itself. */
		if (n < 0) {
			broken = n;
			nbroken++;
		}
		for (int k = 0; k < n; k++) {
			input(ep, i, &ep->rx[k], *now);
			buf_put(ep->rx[k].buf);
		}
		total += n > 0 ? n : 0;
	}
	if (*now >= ep->deadline)
		tick(ep, *now);
	return nbroken && nbroken == ep->nlink ? broken : total;
}

/* Datagrams of a full train of this session. */
static unsigned train_of(const struct rt *rt)
{
	unsigned n = TRAIN_BYTES / rt_datagram(rt);

	return n < TRAIN_DATAGRAMS ? n : TRAIN_DATAGRAMS;
}

/* At most max datagrams. */
static void output(struct ep *ep, struct ep_session *s, unsigned max, uint64_t now)
{
	unsigned train = train_of(s->rt), whole = BURST / train * train;
	int n;

	while (max && (n = rt_output(s->rt, now, ep->out, (int)(max < whole ? max : whole))) > 0) {
		max -= (unsigned)n < max ? (unsigned)n : max;
		for (int i = 0; i < n;) {
			const struct ep_path *p = &s->path[ep->out[i].path];
			int k = 0;

			for (; i < n && &s->path[ep->out[i].path] == p; i++) {
				ep->tx[k].data = ep->out[i].data;
				ep->tx[k].len = ep->out[i].len;
				ep->tx[k].to = p->peer;
				k++;
			}
			if (!p->known)
				counter_add(&ep->counters[EP_C_drop_no_address], (uint64_t)k);
			else
				ep->link[p->link]->ops->send(ep->link[p->link], ep->tx, k);
		}
	}
}

/* More to send comes at once: only whole trains go. True: what is left may wait. */
static bool output_trains(struct ep *ep, struct ep_session *s, uint64_t now)
{
	unsigned train = train_of(s->rt);

	if (!s->held_at)
		s->held_at = now;
	if (now - s->held_at > HOLD_NS)
		return false;
	output(ep, s, rt_queued(s->rt) / train * train, now);
	return true;
}

void ep_flush(struct ep *ep, bool more, uint64_t now)
{
	struct list held, *it;

	if (list_empty(&ep->dirty))
		return;
	list_init(&held);
	while ((it = list_pop(&ep->dirty))) {
		struct ep_session *s = container_of(it, struct ep_session, dirty);

		if (more && output_trains(ep, s, now)) {
			list_add_tail(&held, &s->dirty);
			continue;
		}
		s->held_at = 0;
		rt_input_end(s->rt, now);
		rt_flush(s->rt, now);
		output(ep, s, UINT_MAX, now);
		s->deadline = rt_deadline(s->rt);
		if (s->deadline < ep->deadline)
			ep->deadline = s->deadline;
	}
	while ((it = list_pop(&held)))
		list_add_tail(&ep->dirty, it);
	if (more || ep->nsessions > FEW_SESSIONS)
		return;
	ep->deadline = UINT64_MAX;
	list_for_each (i, &ep->sessions) {
		struct ep_session *s = container_of(i, struct ep_session, all);

		if (s->deadline < ep->deadline)
			ep->deadline = s->deadline;
	}
}

uint64_t ep_deadline(const struct ep *ep)
{
	uint64_t at = ep->deadline;

	for (unsigned i = 0; i < ep->nlink; i++) {
		uint64_t d = ep->link[i]->ops->deadline ? ep->link[i]->ops->deadline(ep->link[i])
							: UINT64_MAX;

		if (d < at)
			at = d;
	}
	return at;
}

void ep_reap(struct ep *ep, void (*fn)(struct ep_session *s, void *arg), void *arg)
{
	list_for_each_safe (it, &ep->sessions) {
		struct ep_session *s = container_of(it, struct ep_session, all);

		forget_old(s);
		if (rt_lost(s->rt))
			fn(s, arg);
	}
}

const uint64_t *ep_counters(const struct ep *ep)
{
	return ep->counters;
}

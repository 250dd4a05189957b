/* SPDX-License-Identifier: Apache-2.0 */
#include "appliance/dataplane/dataplane.h"

#include <errno.h>
#include <openssl/rand.h>
#include <rte_launch.h>
#include <stdlib.h>
#include <string.h>

#include "appliance/dataplane/worker_impl.h"
#include "fabric/link/link_pipe.h"

struct dp {
	struct worker worker;
	struct mailbox up;
	_Atomic unsigned carried; /* packets between the threads, both ways */
	void (*carry)(void *ctx, uint64_t session_id, const uint8_t *data, uint32_t len);
	unsigned lcore;
	void (*session_lost)(void *ctx, uint64_t session_id, const char *reason);
	void *ctx;
};

struct news {
	struct mail mail; /* first */
	struct dp *dp;
	uint64_t session_id;
	const char *reason;
};

/* dp_call: its way down, on the worker. */
static void call_down(struct mail *m)
{
	struct dp_call *c = (struct dp_call *)m;

	if (c->fn(&c->dp->worker, c) == DP_DONE)
		dp_reply(c);
}

static void call_up(struct mail *m)
{
	struct dp_call *c = (struct dp_call *)m;

	c->done(c);
}

void dp_call(struct dp *dp, struct dp_call *c)
{
	c->dp = dp;
	c->mail.run = call_down;
	mailbox_send(&dp->worker.down, &c->mail);
}

void dp_reply(struct dp_call *c)
{
	c->mail.run = call_up;
	mailbox_send(&c->dp->up, &c->mail);
}

static void news_run(struct mail *m)
{
	struct news *n = (struct news *)m;

	n->dp->session_lost(n->dp->ctx, n->session_id, n->reason);
	free(n);
}

void dp_session_over(struct dp *dp, uint64_t session_id, const char *reason)
{
	struct news *n = calloc(1, sizeof(*n)); /* rare: the end of a session */

	if (!n)
		return;
	n->mail.run = news_run;
	n->dp = dp;
	n->session_id = session_id;
	n->reason = reason;
	mailbox_send(&dp->up, &n->mail);
}

/* ---- the carrier: packets between a worker and control channels ---- */

#define CARRIED_MAX 1024u

struct carried {
	struct mail mail; /* first */
	struct dp *dp;
	uint64_t id;
	uint32_t len;
	uint8_t bytes[];
};

static struct carried *carried_new(struct dp *dp, uint64_t id, const uint8_t *data, uint32_t len)
{
	struct carried *c;

	if (atomic_load(&dp->carried) >= CARRIED_MAX)
		return NULL;
	c = malloc(sizeof(*c) + len);
	if (!c)
		return NULL;
	atomic_fetch_add(&dp->carried, 1);
	c->dp = dp;
	c->id = id;
	c->len = len;
	if (len) /* an empty one may come without a place */
		memcpy(c->bytes, data, len);
	return c;
}

static void carried_free(struct carried *c)
{
	atomic_fetch_sub(&c->dp->carried, 1);
	free(c);
}

static void carried_up(struct mail *m)
{
	struct carried *c = (struct carried *)m;

	c->dp->carry(c->dp->ctx, c->id, c->bytes, c->len);
	carried_free(c);
}

static void carried_down(struct mail *m)
{
	struct carried *c = (struct carried *)m;
	struct link_addr from;

	link_pipe_address(&from, c->id);
	link_pipe_push(c->dp->worker.pipe, &from, c->bytes, c->len);
	carried_free(c);
}

bool dp_carry(void *ctx, const struct link_addr *to, const uint8_t *data, uint32_t len)
{
	struct dp *dp = ctx;
	struct carried *c = carried_new(dp, link_pipe_id(to), data, len);

	if (!c)
		return false;
	c->mail.run = carried_up;
	mailbox_send(&dp->up, &c->mail);
	return true;
}

void dp_carried(struct dp *dp, uint64_t session_id, const uint8_t *data, size_t len)
{
	struct carried *c = len <= RT_CHUNK_MAX + 64u ? carried_new(dp, session_id, data, (uint32_t)len)
						      : NULL;

	if (!c)
		return;
	c->mail.run = carried_down;
	mailbox_send(&dp->worker.down, &c->mail);
}

struct dp *dp_start(const struct dp_cfg *cfg, int *err)
{
	struct dp *dp = calloc(1, sizeof(*dp));
	uint64_t seed;

	*err = -ENOMEM;
	if (!dp)
		return NULL;
	RAND_bytes((uint8_t *)&seed, sizeof(seed));
	dp->session_lost = cfg->session_lost;
	dp->ctx = cfg->ctx;
	dp->carry = cfg->carry;
	dp->lcore = cfg->lcore;
	*err = mailbox_init(&dp->up);
	if (!*err)
		*err = worker_init(&dp->worker, cfg, dp, seed);
	if (!*err)
		*err = rte_eal_remote_launch(worker_main, &dp->worker, cfg->lcore);
	if (!*err)
		return dp;
	worker_fini(&dp->worker);
	mailbox_fini(&dp->up);
	free(dp);
	return NULL;
}

static enum dp_verdict stop(struct worker *w, struct dp_call *c)
{
	(void)c;
	w->stop = true;
	return DP_LATER;
}

void dp_stop(struct dp *dp)
{
	struct dp_call c = {.fn = stop};

	if (!dp)
		return;
	dp_call(dp, &c);
	rte_eal_wait_lcore(dp->lcore);
	mailbox_drain(&dp->up);
	worker_fini(&dp->worker);
	mailbox_fini(&dp->up);
	free(dp);
}

int dp_control_fd(struct dp *dp)
{
	return mailbox_fd(&dp->up);
}

void dp_control_drain(struct dp *dp)
{
	mailbox_clear(&dp->up);
	mailbox_drain(&dp->up);
}

const uint64_t *dp_counters(const struct dp *dp)
{
	return dp->worker.counters;
}

const uint64_t *dp_ep_counters(const struct dp *dp)
{
	return ep_counters(dp->worker.ep);
}

const uint64_t *dp_rdma_counters(const struct dp *dp, unsigned i)
{
	const struct link *l = i < EP_LINKS ? dp->worker.verbs[i] : NULL;

	return l ? link_verbs_counters(l) : NULL;
}

const struct link *dp_link(const struct dp *dp, unsigned i)
{
	return ep_link(dp->worker.ep, i);
}

struct frame_pool *dp_frames(struct dp *dp)
{
	return dp->worker.frames;
}

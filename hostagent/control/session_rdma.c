/* SPDX-License-Identifier: Apache-2.0 */
#include "hostagent/control/session_rdma.h"

#include <errno.h>
#include <openssl/rand.h>
#include <string.h>

#include "fabric/base/log.h"
#include "proto/session/rdma.h"

#define RETRY_MIN_MS 100u
#define RETRY_MAX_MS 5000u
#define ANSWER_S     5

static void ask(struct session_rdma *r);

static void later(struct session_rdma *r)
{
	uint32_t ms = chan_backoff_next(&r->backoff, &r->rng);
	struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = (ms % 1000) * 1000};

	evtimer_add(r->timer, &tv);
}

static void failed(struct session_rdma *r, unsigned path, const char *why)
{
	if (!r->told)
		log_warn("fabric: RDMA path %u is not connected: %s; trying again", path, why);
	r->told = true;
	later(r);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct session_rdma *r = arg;

	(void)fd;
	(void)what;
	r->asked = false;
	ask(r);
}

int session_rdma_init(struct session_rdma *r, struct event_base *base, uint64_t seed)
{
	r->timer = evtimer_new(base, on_timer, r);
	rng_init(&r->rng, seed);
	chan_backoff_init(&r->backoff, RETRY_MIN_MS, RETRY_MAX_MS);
	return r->timer ? 0 : -ENOMEM;
}

void session_rdma_fini(struct session_rdma *r)
{
	if (r->timer)
		event_free(r->timer);
}

static bool send_end(struct session_rdma *r, unsigned path, struct verbs_end *ours)
{
	Outrigger__Session__V1__Message m = OUTRIGGER__SESSION__V1__MESSAGE__INIT;
	Outrigger__Session__V1__RdmaOpen open = OUTRIGGER__SESSION__V1__RDMA_OPEN__INIT;
	Outrigger__Session__V1__RdmaEnd end;

	session_rdma_put(&end, ours);
	open.index = path;
	open.end = &end;
	m.body_case = OUTRIGGER__SESSION__V1__MESSAGE__BODY_RDMA_OPEN;
	m.rdma_open = &open;
	return r->say(r->ctx, &m);
}

/* The next path that is due, if none is under way: in turn, so that one that never comes up keeps no other.
 */
static void ask(struct session_rdma *r)
{
	struct timeval wait = {.tv_sec = ANSWER_S};
	unsigned after = r->due & ~((2u << r->path) - 1);
	struct verbs_end ours;
	uint32_t psn;
	int err;

	if (r->asked || !r->due)
		return;
	r->path = (unsigned)__builtin_ctz(after ? after : r->due);
	RAND_bytes((uint8_t *)&psn, sizeof(psn));
	err = engine_rdma_open(r->engine, r->path, psn, &ours);
	if (err) {
		failed(r, r->path, strerror(-err));
		return;
	}
	/* Without a channel the next one starts it again. */
	if (!send_end(r, r->path, &ours))
		return;
	r->asked = true;
	evtimer_add(r->timer, &wait);
}

void session_rdma_start(struct session_rdma *r, unsigned paths)
{
	r->due = paths;
	r->told = false;
	chan_backoff_reset(&r->backoff);
	session_rdma_again(r);
}

void session_rdma_again(struct session_rdma *r)
{
	evtimer_del(r->timer);
	r->asked = false;
	ask(r);
}

void session_rdma_stop(struct session_rdma *r)
{
	evtimer_del(r->timer);
	r->asked = false;
	r->due = 0;
}

void session_rdma_broken(struct session_rdma *r, unsigned path)
{
	log_warn("fabric: the connection of RDMA path %u broke; making another", path);
	r->due |= 1u << path;
	if (!r->asked && !evtimer_pending(r->timer, NULL))
		later(r);
}

const char *session_rdma_opened(struct session_rdma *r, const Outrigger__Session__V1__RdmaOpened *m)
{
	struct verbs_end theirs;
	int err;

	if (!r->asked || m->index != r->path)
		return NULL; /* the answer to one that was given up */
	evtimer_del(r->timer);
	r->asked = false;
	if (m->error[0]) {
		failed(r, r->path, m->error);
		return NULL;
	}
	if (session_rdma_get(m->end, &theirs))
		return "an RDMA end with a number, GID or MTU out of range";
	err = engine_rdma_connect(r->engine, r->path, &theirs);
	if (err) {
		failed(r, r->path, strerror(-err));
		return NULL;
	}
	log_info("fabric: RDMA path %u is connected", r->path);
	r->told = false;
	r->due &= ~(1u << r->path);
	ask(r);
	return NULL;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "hostagent/control/session_rdma.h"

#include <errno.h>
#include <openssl/rand.h>
#include <string.h>

#include "fabric/base/clock.h"
#include "fabric/base/log.h"
#include "proto/session/rdma.h"

static void arm(struct session_rdma *r)
{
	uint64_t at = rdma_paths_deadline(&r->paths), now = clock_now_ns();
	struct timeval tv = {0};

	evtimer_del(r->timer);
	if (at == RDMA_NEVER)
		return;
	if (at > now) {
		tv.tv_sec = (time_t)((at - now) / NSEC_PER_SEC);
		tv.tv_usec = (suseconds_t)((at - now) % NSEC_PER_SEC / 1000 + 1);
	}
	evtimer_add(r->timer, &tv);
}

static void failed(struct session_rdma *r, unsigned path, const char *why)
{
	if (rdma_paths_failed(&r->paths, path, clock_now_ns()))
		log_warn("fabric: RDMA path %u is not connected: %s; trying again", path, why);
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

static void ask(struct session_rdma *r, unsigned path)
{
	struct verbs_end ours;
	uint32_t psn;
	int err;

	RAND_bytes((uint8_t *)&psn, sizeof(psn));
	err = engine_rdma_open(r->engine, path, psn, &ours);
	if (err)
		failed(r, path, err == -ENETDOWN ? "its port is down" : strerror(-err));
	else if (send_end(r, path, &ours))
		rdma_paths_asked(&r->paths, path, ours.qpn, clock_now_ns());
	else
		rdma_paths_unheard(&r->paths, path);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct session_rdma *r = arg;
	uint64_t now = clock_now_ns();
	int path;

	(void)fd;
	(void)what;
	/* Each leaves this moment: it is asked for, or due later. */
	while ((path = rdma_paths_due(&r->paths, now)) >= 0)
		ask(r, (unsigned)path);
	arm(r);
}

int session_rdma_init(struct session_rdma *r, struct event_base *base, uint64_t seed)
{
	r->timer = evtimer_new(base, on_timer, r);
	rdma_paths_init(&r->paths, seed);
	return r->timer ? 0 : -ENOMEM;
}

void session_rdma_fini(struct session_rdma *r)
{
	if (r->timer)
		event_free(r->timer);
}

void session_rdma_start(struct session_rdma *r, unsigned paths)
{
	rdma_paths_start(&r->paths, paths, clock_now_ns());
	arm(r);
}

void session_rdma_again(struct session_rdma *r)
{
	rdma_paths_again(&r->paths, clock_now_ns());
	arm(r);
}

void session_rdma_stop(struct session_rdma *r)
{
	rdma_paths_stop(&r->paths);
	arm(r);
}

void session_rdma_news(struct session_rdma *r, unsigned path, const struct verbs_news *news)
{
	uint64_t now = clock_now_ns();

	if (news->what == VERBS_PORT_UP) {
		rdma_paths_port_up(&r->paths, path, now);
	} else if (news->what == VERBS_CONNECTED) {
		log_info("fabric: RDMA path %u is connected", path);
		rdma_paths_connected(&r->paths, path, now);
	} else if (news->err) {
		failed(r, path, strerror(-news->err));
	} else {
		if (news->unanswered)
			log_warn("fabric: RDMA path %u: packets of %u bytes had no answer, shorter ones had: "
				 "raise the network's MTU (4200 holds all), or set mtu= of the ports",
				 path, news->unanswered);
		log_warn("fabric: the connection of RDMA path %u broke; making another", path);
		rdma_paths_broken(&r->paths, path, now);
	}
	arm(r);
}

const char *session_rdma_opened(struct session_rdma *r, const Outrigger__Session__V1__RdmaOpened *m)
{
	struct verbs_end theirs;
	const char *bad = NULL;
	int err;

	/* Else the answer to one that was given up. */
	if (!rdma_paths_answered(&r->paths, m->index, m->qpn))
		return NULL;
	if (m->error[0]) {
		failed(r, m->index, m->error);
	} else if (session_rdma_get(m->end, &theirs)) {
		bad = "an RDMA end with a number, GID or MTU out of range";
	} else {
		err = engine_rdma_connect(r->engine, m->index, &theirs);
		if (err)
			failed(r, m->index, strerror(-err));
	}
	arm(r);
	return bad;
}

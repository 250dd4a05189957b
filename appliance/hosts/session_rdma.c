/* SPDX-License-Identifier: Apache-2.0 */
/* RDMA paths of a session: the agent tells its end, the worker makes ours, the agent hears of it. */
#include <errno.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

#include "appliance/hosts/hosts_impl.h"
#include "fabric/base/log.h"
#include "proto/session/rdma.h"

struct open_call {
	struct dp_call call; /* first */
	struct rdma_wait wait;
	struct session *s; /* lives while its `rekeying` counts this letter */
	unsigned path;
	uint32_t psn;
	struct verbs_end theirs, ours;
	int result;
};

static void w_connected(struct rdma_wait *wait, int err)
{
	struct open_call *o = container_of(wait, struct open_call, wait);

	o->result = err;
	dp_reply(&o->call);
}

static enum dp_verdict w_open(struct worker *w, struct dp_call *c)
{
	struct open_call *o = (struct open_call *)c;

	o->wait = (struct rdma_wait){.s = o->s->ws, .path = o->path, .done = w_connected};
	o->result = worker_session_rdma(w, &o->wait, &o->theirs, o->psn, &o->ours);
	return o->result ? DP_DONE : DP_LATER;
}

static void opened(struct dp_call *c)
{
	struct open_call *o = (struct open_call *)c;
	struct session *s = o->s;
	Outrigger__Session__V1__Message m = OUTRIGGER__SESSION__V1__MESSAGE__INIT;
	Outrigger__Session__V1__RdmaOpened reply = OUTRIGGER__SESSION__V1__RDMA_OPENED__INIT;
	Outrigger__Session__V1__RdmaEnd end;

	s->rekeying--;
	s->opening &= ~(1u << o->path);
	if (o->result && session_may_log(s))
		log_warn("host %s: RDMA path %u cannot be connected: %s", s->name, o->path,
			 strerror(-o->result));
	reply.index = o->path;
	reply.qpn = o->theirs.qpn;
	if (o->result) {
		reply.error = o->result == -ENOSPC ? "the appliance's RDMA port has as many hosts as it takes"
			      : o->result == -ENETDOWN ? "the appliance's RDMA port is down"
						       : strerror(-o->result);
	} else {
		session_rdma_put(&end, &o->ours);
		reply.end = &end;
	}
	m.body_case = OUTRIGGER__SESSION__V1__MESSAGE__BODY_RDMA_OPENED;
	m.rdma_opened = &reply;
	if (s->state == SESSION_LIVE)
		session_say(s, &m);
	hosts_wake(s->h);
	free(o);
}

const char *session_on_rdma_open(struct session *s, const Outrigger__Session__V1__RdmaOpen *m)
{
	struct open_call *o;
	unsigned i = 0;

	while (i < s->cfg.npaths && (s->cfg.path[i] != m->index || !s->rdma_port[i]))
		i++;
	if (i == s->cfg.npaths)
		return "an RDMA end for a path that is not one";
	/* It was given up there; the agent will ask once more. */
	if (s->opening & 1u << m->index)
		return NULL;
	o = calloc(1, sizeof(*o));
	if (!o)
		return "the appliance is out of memory";
	if (session_rdma_get(m->end, &o->theirs)) {
		free(o);
		return "an RDMA end with a number, GID or MTU out of range";
	}
	o->s = s;
	o->path = m->index;
	RAND_bytes((uint8_t *)&o->psn, sizeof(o->psn));
	s->opening |= 1u << o->path;
	s->rekeying++;
	o->call.fn = w_open;
	o->call.done = opened;
	dp_call(s->h->dp, &o->call);
	return NULL;
}

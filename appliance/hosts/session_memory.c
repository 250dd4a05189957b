/* SPDX-License-Identifier: Apache-2.0 */
/* Memory of guests that an agent announces: checked here, kept by the worker, acknowledged when it is. */
#include <stdlib.h>
#include <string.h>

#include "appliance/hosts/hosts_impl.h"
#include "fabric/base/log.h"

struct memory_call {
	struct dp_call call; /* first */
	struct session *s;   /* lives while its `rekeying` counts this letter */
	uint32_t dev, serial;
	unsigned n;
	struct guest_region region[GUEST_REGIONS];
	int result;
};

static enum dp_verdict w_memory(struct worker *w, struct dp_call *c)
{
	struct memory_call *mc = (struct memory_call *)c;

	mc->result = worker_session_memory(w, mc->s->ws, mc->dev, mc->region, mc->n);
	return DP_DONE;
}

static void memory_kept(struct dp_call *c)
{
	struct memory_call *mc = (struct memory_call *)c;
	struct session *s = mc->s;
	Outrigger__Session__V1__Message m = OUTRIGGER__SESSION__V1__MESSAGE__INIT;
	Outrigger__Session__V1__RdmaMemoryTaken reply = OUTRIGGER__SESSION__V1__RDMA_MEMORY_TAKEN__INIT;

	s->rekeying--;
	if (mc->result && session_may_log(s))
		log_warn("host %s: the memory of its guests cannot be kept in mind: %s; data is copied",
			 s->name, strerror(-mc->result));
	reply.dev = mc->dev;
	reply.serial = mc->serial;
	m.body_case = OUTRIGGER__SESSION__V1__MESSAGE__BODY_RDMA_MEMORY_TAKEN;
	m.rdma_memory_taken = &reply;
	if (s->state == SESSION_LIVE && !mc->result)
		session_say(s, &m);
	hosts_wake(s->h);
	free(mc);
}

static bool rdma_path(const struct session *s, uint32_t path)
{
	for (unsigned i = 0; i < s->cfg.npaths; i++)
		if (s->cfg.path[i] == path)
			return s->rdma_port[i] != 0;
	return false;
}

static bool take_region(const struct session *s, struct memory_call *mc,
			const Outrigger__Session__V1__RdmaRegion *m)
{
	struct guest_region *r = &mc->region[mc->n];

	*r = (struct guest_region){.id = m->id, .stage = m->stage, .length = m->length};
	if (!m->id || m->id >> 31 || !m->length || m->n_keys > RT_PATHS)
		return false;
	if (m->stage > VQT_QUEUES_MAX / 2 || (m->stage && m->length & (m->length - 1)))
		return false;
	for (size_t i = 0; i < m->n_keys; i++) {
		const Outrigger__Session__V1__RdmaKey *k = m->keys[i];

		if (!rdma_path(s, k->path) || r->paths >> k->path & 1 || k->address > UINT64_MAX - m->length)
			return false;
		r->paths |= 1u << k->path;
		r->key[k->path] = (struct verbs_key){.base = k->address, .rkey = k->rkey};
	}
	for (unsigned i = 0; i < mc->n; i++)
		if (mc->region[i].id == m->id || (m->stage && mc->region[i].stage == m->stage))
			return false;
	mc->n++;
	return true;
}

const char *session_on_rdma_memory(struct session *s, const Outrigger__Session__V1__RdmaMemory *m)
{
	const struct hdev *d = m->dev <= DEVICES_MAX ? s->h->slots[m->dev] : NULL;
	struct memory_call *mc;

	if (m->n_regions > GUEST_REGIONS)
		return "more regions of a guest's memory than a device has";
	/* It was taken from this session, and the agent will hear of it. */
	if (!d || d->a.session != s->id)
		return NULL;
	mc = calloc(1, sizeof(*mc));
	if (!mc)
		return "the appliance is out of memory";
	mc->s = s;
	mc->dev = m->dev;
	mc->serial = m->serial;
	for (size_t i = 0; i < m->n_regions; i++) {
		if (take_region(s, mc, m->regions[i]))
			continue;
		free(mc);
		return "a region of a guest's memory that is out of range or told twice";
	}
	s->rekeying++;
	mc->call.fn = w_memory;
	mc->call.done = memory_kept;
	dp_call(s->h->dp, &mc->call);
	return NULL;
}

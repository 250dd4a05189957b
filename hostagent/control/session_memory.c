/* SPDX-License-Identifier: Apache-2.0 */
#include "hostagent/control/session_memory.h"

/* One message, and what it refers to. */
struct list_message {
	Outrigger__Session__V1__RdmaMemory m;
	Outrigger__Session__V1__RdmaRegion region[ENGINE_REGIONS], *regions[ENGINE_REGIONS];
	Outrigger__Session__V1__RdmaKey key[ENGINE_REGIONS][RT_PATHS], *keys[ENGINE_REGIONS][RT_PATHS];
};

static void put_region(struct list_message *l, unsigned n, const struct engine_region *r)
{
	Outrigger__Session__V1__RdmaRegion *m = l->regions[n] = &l->region[n];

	outrigger__session__v1__rdma_region__init(m);
	m->id = r->id;
	m->length = r->length;
	m->stage = r->stage;
	m->keys = l->keys[n];
	for (; m->n_keys < r->nkeys; m->n_keys++) {
		Outrigger__Session__V1__RdmaKey *k = l->keys[n][m->n_keys] = &l->key[n][m->n_keys];

		outrigger__session__v1__rdma_key__init(k);
		k->path = r->key[m->n_keys].path;
		k->address = r->key[m->n_keys].key.base;
		k->rkey = r->key[m->n_keys].key.rkey;
	}
}

void session_memory_tell(const struct engine *e, uint32_t dev,
			 bool (*say)(void *ctx, Outrigger__Session__V1__Message *m), void *ctx)
{
	Outrigger__Session__V1__Message m = OUTRIGGER__SESSION__V1__MESSAGE__INIT;
	struct engine_region region[ENGINE_REGIONS];
	struct list_message l;
	uint32_t serial;
	unsigned n;

	if (engine_memory(e, dev, region, &n, &serial))
		return;
	outrigger__session__v1__rdma_memory__init(&l.m);
	l.m.dev = dev;
	l.m.serial = serial;
	l.m.regions = l.regions;
	for (; l.m.n_regions < n; l.m.n_regions++)
		put_region(&l, (unsigned)l.m.n_regions, &region[l.m.n_regions]);
	m.body_case = OUTRIGGER__SESSION__V1__MESSAGE__BODY_RDMA_MEMORY;
	m.rdma_memory = &l.m;
	say(ctx, &m);
}

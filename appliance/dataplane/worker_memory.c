/* SPDX-License-Identifier: Apache-2.0 */
/* What agents announced of their guests' memory: what a request may name. */
#include <errno.h>
#include <stdlib.h>

#include "appliance/dataplane/worker_impl.h"

#define REGIONS_MAX 8192u /* of a session: what a host of a thousand disks has */

static uint64_t key_of(uint32_t dev, uint32_t id)
{
	return (uint64_t)dev << 32 | id;
}

void worker_memory_init(struct wsession *s, uint64_t seed)
{
	idmap_init(&s->regions, seed);
	list_init(&s->region_list);
}

static void drop(struct wsession *s, struct wregion *g)
{
	idmap_remove(&s->regions, key_of(g->dev, g->r.id));
	list_del(&g->node);
	free(g);
}

void worker_memory_fini(struct wsession *s)
{
	list_for_each_safe (it, &s->region_list)
		drop(s, container_of(it, struct wregion, node));
	idmap_fini(&s->regions);
}

static int add(struct wsession *s, uint32_t dev, const struct guest_region *r)
{
	struct wregion *g;

	if (s->regions.count >= REGIONS_MAX)
		return -ENOSPC;
	g = calloc(1, sizeof(*g));
	if (!g || idmap_insert(&s->regions, key_of(dev, r->id), g)) {
		free(g);
		return -ENOMEM;
	}
	g->dev = dev;
	g->r = *r;
	list_add_tail(&s->region_list, &g->node);
	return 0;
}

int worker_session_memory(struct worker *w, struct wsession *s, uint32_t dev,
			  const struct guest_region *regions, unsigned n)
{
	int r = 0;

	(void)w;
	list_for_each_safe (it, &s->region_list) {
		struct wregion *g = container_of(it, struct wregion, node);

		if (g->dev == dev)
			drop(s, g);
	}
	for (unsigned i = 0; i < n && !r; i++)
		r = add(s, dev, &regions[i]);
	return r;
}

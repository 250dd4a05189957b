/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What agents announced of their guests' memory, and moving payload between it and the arena of requests.
 *
 * A request names pieces of regions; each is looked up and bounded here, so that an agent reaches through
 * our adapter what it announced of that device and nothing else. All pieces of a move go by one path, the
 * first that is connected and reaches them all.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "appliance/dataplane/worker_impl.h"
#include "fabric/base/log.h"

#define MOVES 1024u /* of all sessions together */

#define REGIONS_MAX 8192u /* of a session: what a host of a thousand disks has */

static uint64_t key_of(uint32_t dev, uint32_t id)
{
	return (uint64_t)dev << 32 | id;
}

static uint32_t name(const struct guest_region *r)
{
	return r->stage ? worker_stage_id(r->stage - 1) : r->id;
}

void worker_memory_init(struct wsession *s, uint64_t seed)
{
	idmap_init(&s->regions, seed);
	list_init(&s->region_list);
	list_init(&s->moves);
}

static void drop(struct wsession *s, struct wregion *g)
{
	idmap_remove(&s->regions, key_of(g->dev, name(&g->r)));
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
	if (!g || idmap_insert(&s->regions, key_of(dev, name(r)), g)) {
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

/* ---- the arena ---- */

static int reach_arena(struct worker *w, uint64_t seed, char *why, size_t why_len)
{
	struct verbs_mem *mem;
	int r = 0;

	for (unsigned i = 0; i < EP_LINKS && !r; i++)
		if (w->verbs[i] && link_verbs_moves(w->verbs[i]))
			r = link_verbs_mem_add(w->verbs[i], w->reqmem.arena, w->reqmem.arena_len,
					       VERBS_MEM_LOCAL, seed, &mem, why, why_len);
	return r;
}

void worker_arena_open(struct worker *w, uint64_t seed)
{
	char why[256] = "out of memory";
	bool any = false;

	for (unsigned i = 0; i < EP_LINKS; i++)
		any |= w->verbs[i] != NULL;
	if (!any)
		return;
	w->moves = calloc(MOVES, sizeof(*w->moves));
	if (!w->moves || reqmem_arena(&w->reqmem) || reach_arena(w, seed, why, sizeof(why))) {
		log_warn("fabric: disks' data crosses RDMA ports in messages, copied: %s", why);
		free(w->moves);
		w->moves = NULL;
		return;
	}
	for (unsigned i = 0; i < MOVES; i++)
		list_add_tail(&w->free_moves, &w->moves[i].node);
}

void worker_arena_close(struct worker *w)
{
	free(w->moves);
	w->moves = NULL;
}

/* ---- moves ---- */

/* The pieces as they are reached by a path; false: not all of them are. */
static bool aim(struct wmove *wm, const struct vqt_move *m, unsigned path)
{
	for (unsigned i = 0; i < m->n; i++) {
		const struct vqt_seg *from = &m->seg[i];
		const struct wregion *g = idmap_get(&wm->s->regions, key_of(m->wire, from->region));

		if (!g || from->len > g->r.length || from->off > g->r.length - from->len ||
		    !(g->r.paths >> path & 1))
			return false;
		wm->seg[i] = (struct verbs_seg){.addr = g->r.key[path].base + from->off,
						.rkey = g->r.key[path].rkey,
						.len = from->len};
	}
	return true;
}

static void moved(struct verbs_move *vm, int err)
{
	struct wmove *wm = container_of(vm, struct wmove, vm);
	struct vqt_move *m = wm->of;

	if (err) {
		m->path = wm->path;
		m->qpn = vm->qpn;
	}
	if (wm->s)
		worker_mark(wm->s);
	wm->w->moved = true;
	list_del(&wm->node);
	list_add_tail(&wm->w->free_moves, &wm->node);
	vqt_dev_moved(m, err);
}

static int try_path(struct wmove *wm, struct vqt_move *m, unsigned path)
{
	struct link *l = wm->s->verbs[path];

	if (!l || !aim(wm, m, path))
		return -ENOTCONN;
	wm->path = path;
	return link_verbs_move(l, wm->s->id, &wm->vm);
}

int worker_move(void *session, struct vqt_move *m)
{
	struct wsession *s = session;
	struct list *it = list_pop(&s->w->free_moves);
	struct wmove *wm = it ? container_of(it, struct wmove, node) : NULL;
	int r = -EAGAIN;

	if (!wm)
		return r;
	wm->vm = (struct verbs_move){
		.write = m->write, .local = m->local, .n = m->n, .seg = wm->seg, .done = moved};
	wm->of = m;
	wm->w = s->w;
	wm->s = s;
	s->move_turn++;
	for (unsigned i = 0; i < RT_PATHS && r; i++)
		r = try_path(wm, m, (s->move_turn + i) % RT_PATHS);
	list_add_tail(r ? &s->w->free_moves : &s->moves, &wm->node);
	return r;
}

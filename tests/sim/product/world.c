/* SPDX-License-Identifier: Apache-2.0 */
/* The world: its fabric, what goes wrong in it, how it begins and how it has to end. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/nonce.h"
#include "tests/sim/product/product.h"

COUNTERS_DEFINE(product, PRODUCT_STATS)

#define PATIENCE (20000 * MSEC)

/* ---- the fabric ---- */

static void deliver(void *ctx, uint8_t *data, uint32_t len, bool ce)
{
	struct path_end *e = ctx;

	if (e->to_app)
		app_input(&e->w->app, data, len, ce);
	else
		agent_input(&e->w->agent[e->at], data, len, ce);
}

void world_send(struct world *w, unsigned end, unsigned path, bool to_app, const uint8_t *data, uint32_t len)
{
	struct path *p = &w->path[end][path];
	unsigned dir = !to_app;

	stat_add(w, S_datagrams, 1);
	sim_note(&w->s, &w->s.now, sizeof(w->s.now));
	sim_note(&w->s, data, len < 32 ? len : 32);
	if (w->level != CALM && chance(w, 300000)) {
		unsigned i = (unsigned)below(w, HISTORY);

		p->seen[dir][i].data = realloc(p->seen[dir][i].data, len);
		sim_check(&w->s, p->seen[dir][i].data, "out of memory");
		memcpy(p->seen[dir][i].data, data, len);
		p->seen[dir][i].len = len;
	}
	sim_link_send(&p->link[dir], data, len);
}

/* Somebody on the cable sends again what went over it once. */
static void replay(struct world *w)
{
	struct path *p = &w->path[below(w, w->ends)][below(w, PATHS)];
	unsigned dir = (unsigned)below(w, 2);
	uint8_t copy[RT_CHUNK_MAX + 128];

	for (unsigned i = 0; i < HISTORY; i++) {
		if (!p->seen[dir][i].data || p->seen[dir][i].len > sizeof(copy))
			continue;
		memcpy(copy, p->seen[dir][i].data, p->seen[dir][i].len);
		deliver(&p->end[dir], copy, p->seen[dir][i].len, false);
		stat_add(w, S_replayed, 1);
	}
}

static void draw_link(struct world *w, struct sim_link_cfg *l)
{
	static const uint32_t loss[] = {0, 1000, 10000, 10000, 50000, 200000};
	static const uint32_t bad[] = {10000, 50000, 100000, 200000, 300000};

	*l = (struct sim_link_cfg){.rate_bps = 10000000000ull + below(w, 90000000000ull),
				   .delay_ns = 2000 + below(w, 50000),
				   .overhead = 66};
	if (w->level == CALM)
		return;
	if (chance(w, 300000)) /* a port that others press upon: its queue marks, then drops */
		l->queue_bytes = 100000 + (uint32_t)below(w, 500000);
	if (w->small) {
		l->loss = bad[below(w, sizeof(bad) / sizeof(bad[0]))];
		l->reorder = (uint32_t)below(w, 400000);
		l->reorder_ns = 1000 + below(w, 2 * MSEC);
		l->dup = (uint32_t)below(w, 400000);
		l->dup_ns = chance(w, 500000) ? 20 * MSEC : 0;
		l->corrupt = chance(w, 300000) ? (uint32_t)below(w, 20000) : 0;
		l->ecn_bytes = chance(w, 300000) ? 50000 : 0;
		return;
	}
	l->loss = loss[below(w, sizeof(loss) / sizeof(loss[0]))];
	l->jitter_ns = chance(w, 500000) ? below(w, 50000) : 0;
	l->burst = chance(w, 300000) ? 2000 : 0;
	l->burst_len = 1 + (uint32_t)below(w, 50);
	l->reorder = chance(w, 400000) ? (uint32_t)below(w, 200000) : 0;
	l->reorder_ns = 1000 + below(w, 500000);
	l->dup = chance(w, 400000) ? (uint32_t)below(w, 100000) : 0;
	l->corrupt = chance(w, 300000) ? (uint32_t)below(w, 10000) : 0;
	l->ecn_bytes = chance(w, 300000) ? 50000 : 0;
}

/* ---- what goes wrong ---- */

static void vm_again(struct sim *s, void *ctx, uint64_t arg)
{
	struct vm *vm = ctx;

	(void)s;
	if (!vm->running && arg == vm->life)
		vm_start(vm);
}

static void vm_start_later(struct vm *vm)
{
	sim_at(&vm->w->s, vm->w->s.now + below(vm->w, 3 * MSEC), vm_again, vm, vm->life);
}

static void agent_again(struct sim *s, void *ctx, uint64_t arg)
{
	struct agent *a = ctx;

	(void)s;
	for (unsigned i = 0; i < a->w->lanes; i++)
		if (!a[i].alive && a[i].boot == arg)
			agent_start(&a[i]);
}

static void kill_agent(struct agent *a)
{
	struct world *w = a->w;

	if (!a->alive)
		return;
	for (unsigned i = 0; i < w->lanes; i++)
		agent_stop(&a[i]);
	sim_at(&w->s, w->s.now + 100000 + below(w, 10 * MSEC), agent_again, a, a->boot);
	stat_add(w, S_agent_kills, 1);
}

static void app_again(struct sim *s, void *ctx, uint64_t arg)
{
	struct app *app = ctx;

	(void)s;
	if (!app->alive && app->boot == arg)
		app_start(app);
}

static void on_reset(struct sim *s, void *ctx, uint64_t arg)
{
	(void)s;
	agent_session_over(ctx, arg);
}

static void kill_app(struct world *w)
{
	if (!w->app.alive)
		return;
	app_stop(&w->app);
	for (unsigned h = 0; h < w->ends; h++)
		if (w->agent[h].session && chance(w, 700000))
			sim_at(&w->s, w->s.now + 50000 + below(w, MSEC), on_reset, &w->agent[h],
			       w->agent[h].session);
	sim_at(&w->s, w->s.now + 100000 + below(w, 10 * MSEC), app_again, &w->app, w->app.boot);
	stat_add(w, S_appliance_kills, 1);
}

/* Everything goes dark, guests too: to a guest that lived on, its disk would have lost its cache. */
static void power_cut(struct world *w)
{
	kill_app(w);
	for (unsigned v = 0; v < w->vms; v++) {
		vm_kill(&w->vm[v]);
		check_power_cut(&w->vm[v]);
		disk_power_cut(&w->disk[v]);
		vm_start_later(&w->vm[v]);
	}
	for (unsigned h = 0; h < w->hosts; h++)
		kill_agent(agent_of(w, h));
	stat_add(w, S_power_cuts, 1);
}

static void move(struct vm *vm)
{
	struct world *w = vm->w;

	if (w->hosts == 1)
		return;
	vm_kill(vm);
	w->home[vm->index] = vm->host = (vm->host + 1 + (unsigned)below(w, w->hosts - 1)) % w->hosts;
	for (unsigned k = 0; w->app.alive && k < 2; k++)
		appdev_refresh(&w->app.dev[vm->index][k]);
	vm_start_later(vm);
	stat_add(w, S_moves, 1);
}

static void heal(struct sim *s, void *ctx, uint64_t arg)
{
	struct path *p = ctx;

	(void)s;
	(void)arg;
	p->link[0].cfg.cut = p->link[1].cfg.cut = false;
}

static void cut(struct world *w)
{
	struct path *p = &w->path[below(w, w->ends)][below(w, PATHS)];

	p->link[0].cfg.cut = !chance(w, 200000);
	p->link[1].cfg.cut = !p->link[0].cfg.cut || !chance(w, 200000);
	sim_at(&w->s, w->s.now + MSEC + below(w, 60 * MSEC), heal, p, 0);
	stat_add(w, S_path_cuts, 1);
}

static void session_drop(struct world *w)
{
	struct asess *s = w->app.alive ? app_session_of(&w->app, (unsigned)below(w, w->ends)) : NULL;

	if (s)
		app_session_down(s);
}

static void rekey(struct world *w)
{
	struct asess *s = w->app.alive ? app_session_of(&w->app, (unsigned)below(w, w->ends)) : NULL;

	if (s)
		app_rekey(s, (unsigned)below(w, PATHS));
}

static void sicken(struct world *w)
{
	struct disk *d = &w->disk[below(w, w->vms)];

	d->sick_until = w->s.now + below(w, 10 * MSEC);
	d->fails = chance(w, 500000);
	stat_add(w, S_disks_sick, 1);
}

static void fault(struct sim *s, void *ctx, uint64_t arg)
{
	struct world *w = ctx;
	struct vm *vm = &w->vm[below(w, w->vms)];
	uint64_t k = below(w, 110);

	(void)arg;
	if (w->quiet)
		return;
	stat_add(w, S_events, 1);
	if (k < 15) {
		kill_agent(agent_of(w, (unsigned)below(w, w->hosts)));
	} else if (k < 25) {
		kill_app(w);
	} else if (k < 35) {
		cut(w);
	} else if (k < 43) {
		session_drop(w);
	} else if (k < 55) {
		move(vm);
	} else if (k < 65) {
		vm_kill(vm);
		vm_start_later(vm);
		stat_add(w, S_guest_kills, 1);
	} else if (k < 70) {
		vm_reboot(vm);
		stat_add(w, S_reboots, 1);
	} else if (k < 85) {
		appdev_reattach(&w->app.dev[vm->index][below(w, 2)]);
		stat_add(w, S_reattaches, 1);
	} else if (k < 97) {
		replay(w);
	} else if (k < 100) {
		power_cut(w);
	} else if (k < 107) {
		rekey(w);
	} else {
		sicken(w);
	}
	sim_at(s, s->now + (w->small ? 50000 + below(w, 3 * MSEC) : 100000 + below(w, 5 * MSEC)), fault, w,
	       0);
}

/* An administrator, or the load, wants a device on another I/O thread. */
static void shift(struct sim *s, void *ctx, uint64_t arg)
{
	struct world *w = ctx;
	unsigned v = (unsigned)below(w, w->vms), k = (unsigned)below(w, 2);

	(void)arg;
	if (w->quiet)
		return;
	w->lane[v][k] = (w->lane[v][k] + 1) % w->lanes;
	if (w->app.alive)
		appdev_refresh(&w->app.dev[v][k]);
	sim_at(s, s->now + 50000 + below(w, 2 * MSEC), shift, w, 0);
}

/* ---- begin and end ---- */

static void make(struct world *w)
{
	static const uint32_t chunks[] = {512, RT_CHUNK_DEFAULT, RT_CHUNK_DEFAULT, RT_CHUNK_JUMBO};

	w->hosts = 1 + (unsigned)below(w, w->small ? 2 : HOSTS);
	w->vms = w->small ? 2 : 2 + (unsigned)below(w, VMS - 1);
	w->ends = w->hosts * w->lanes;
	w->chunk = chunks[below(w, w->small ? 3 : 4)];
	w->aead = chance(w, w->small ? 20000 : 150000) ? &nonce_gcm : &nonce_crc;
	w->lost_ns = w->small ? (20 + below(w, 30)) * MSEC : (20 + below(w, 100)) * MSEC;
	if (chance(w, 100000)) {
		w->psn_start = 0u - 100;
		w->txn_start = (1ull << 32) - 100;
	}
	w->window = w->small ? 64 : 256;
	w->rto = chance(w, 500000) ? 200000 : MSEC;
	w->spi = 1000;
	for (unsigned h = 0; h < w->ends; h++) {
		w->agent[h] = (struct agent){.w = w, .index = h};
		for (unsigned p = 0; p < PATHS; p++) {
			struct path *path = &w->path[h][p];

			for (unsigned dir = 0; dir < 2; dir++) {
				struct sim_link_cfg l;

				draw_link(w, &l);
				path->end[dir] = (struct path_end){w, h, dir == 0};
				sim_link_init(&path->link[dir], &w->s, &l, deliver, &path->end[dir]);
			}
		}
	}
	for (unsigned v = 0; v < w->vms; v++) {
		w->home[v] = (unsigned)below(w, w->hosts);
		disk_init(&w->disk[v], w, v);
		vm_init(&w->vm[v], w, v);
	}
	w->app.w = w;
	app_start(&w->app);
	for (unsigned h = 0; h < w->ends; h++)
		agent_start(&w->agent[h]);
	for (unsigned v = 0; v < w->vms; v++)
		vm_start_later(&w->vm[v]);
}

/* Counters that move only when somebody broke the rules, which nobody here does. */
static void check_counters(struct world *w)
{
	static const enum vqt_hdev_counter zero[] = {
		VQT_HD_broken,		 VQT_HD_drop_tx_short,	VQT_HD_drop_tx_long,
		VQT_HD_drop_tx_writable, VQT_HD_drop_rx_credit, VQT_HD_drop_rx_malformed,
		VQT_HD_drop_rx_split,	 VQT_HD_drop_rx_small,	VQT_HD_drop_cpl_malformed,
		VQT_HD_drop_cpl_epoch,	 VQT_HD_drop_queue,
	};

	for (unsigned h = 0; h < w->ends; h++) {
		for (unsigned i = 0; i < sizeof(zero) / sizeof(zero[0]); i++)
			sim_check(&w->s, !w->agent[h].counters[zero[i]], "agent %u: %s is %llu", h,
				  vqt_hdev_counter_names[zero[i]],
				  (unsigned long long)w->agent[h].counters[zero[i]]);
		stat_add(w, S_resent, w->agent[h].counters[VQT_HD_requests_resent]);
	}
}

static void linger(struct world *w, uint64_t ns)
{
	uint64_t until = w->s.now + ns;

	while (sim_step(&w->s, until))
		;
}

static bool done(struct world *w)
{
	if (!app_settled(&w->app))
		return false;
	for (unsigned h = 0; h < w->ends; h++)
		if (!w->agent[h].alive || !w->agent[h].rt || !rt_idle(w->agent[h].rt))
			return false;
	for (unsigned v = 0; v < w->vms; v++) {
		struct vm *vm = &w->vm[v];

		if (!vm->running || vm->rebooting || vm->inflight)
			return false;
		for (unsigned q = 1; q < NETQ; q += 2)
			for (unsigned i = 0; i < RING; i++)
				if (vm->eth[q].slot[i].state != GS_FREE)
					return false;
	}
	return true;
}

static void check_undone(struct world *w)
{
	for (unsigned v = 0; v < w->vms; v++) {
		struct vm *vm = &w->vm[v];

		sim_check(&w->s, !vm->inflight, "vm %u on host %u: %u requests never end", v, vm->host,
			  vm->inflight);
		sim_check(&w->s, vm->running && !vm->rebooting, "vm %u never comes up", v);
	}
	sim_fail(&w->s, "the world does not come to rest");
}

/* Each sector once more, by whoever holds it: what the register allows. */
static void check_disks(struct world *w)
{
	for (unsigned v = 0; v < w->vms; v++)
		for (uint32_t lba = 0; lba < SECTORS; lba++) {
			const struct sector *s = &w->disk[v].s[lba];

			if (w->vm[v].reg[lba].n)
				check_read(&w->vm[v], lba, s->n ? s->v[s->n - 1].value : s->durable,
					   w->s.now + 1);
		}
}

/* Small worlds come to rest on bad cables. */
static void calm(struct world *w, struct sim_link_cfg *l)
{
	if (!w->small)
		*l = (struct sim_link_cfg){.delay_ns = 10000};
	l->cut = false;
	l->loss = l->loss < 100000 ? l->loss : 100000;
}

static void finish(struct world *w)
{
	uint64_t limit = w->s.now + PATIENCE;

	w->quiet = true;
	for (unsigned h = 0; h < w->ends; h++)
		for (unsigned p = 0; p < PATHS; p++)
			for (unsigned dir = 0; dir < 2; dir++)
				calm(w, &w->path[h][p].link[dir].cfg);
	while (!done(w) && w->s.now < limit)
		if (!sim_step(&w->s, limit))
			break;
	if (!done(w))
		check_undone(w);
}

static void check_frames(struct world *w)
{
	for (unsigned v = 0; w->level == CALM && v < w->vms; v++)
		for (unsigned to = 0; to < w->vms; to++)
			sim_check(&w->s, w->vm[v].sent_to[to] == w->vm[v].got_from[to],
				  "vm %u sent %llu frames to vm %u, %llu came", v,
				  (unsigned long long)w->vm[v].sent_to[to], to,
				  (unsigned long long)w->vm[v].got_from[to]);
}

static void unmake(struct world *w)
{
	for (unsigned v = 0; v < w->vms; v++)
		vm_kill(&w->vm[v]);
	for (unsigned h = 0; h < w->ends; h++)
		agent_stop(&w->agent[h]);
	app_stop(&w->app);
	check_counters(w);
	for (unsigned v = 0; v < w->vms; v++) {
		vm_fini(&w->vm[v]);
		disk_fini(&w->disk[v]);
	}
	for (unsigned h = 0; h < w->ends; h++)
		for (unsigned p = 0; p < PATHS; p++)
			for (unsigned dir = 0; dir < 2; dir++)
				for (unsigned i = 0; i < HISTORY; i++)
					free(w->path[h][p].seen[dir][i].data);
	sim_fini(&w->s);
}

/* All that went wrong: on cables, by attackers, with daemons, guests and disks. */
static void add_faults(struct world *w)
{
	stat_add(w, S_faults, w->stat[S_events] + w->stat[S_replayed]);
	for (unsigned h = 0; h < w->ends; h++)
		for (unsigned p = 0; p < PATHS; p++)
			for (unsigned dir = 0; dir < 2; dir++)
				stat_add(w, S_faults, sim_link_faults(&w->path[h][p].link[dir]));
}

void world_run(struct world *w, uint64_t seed, enum level level, bool small, bool lanes, uint64_t length,
	       const char *replay_by)
{
	memset(w, 0, offsetof(struct world, disk));
	sim_init(&w->s, seed, replay_by);
	nonce_world(&w->s);
	w->small = small;
	w->lanes = lanes ? LANES : 1;
	w->s.now = 1000 * MSEC;
	w->level = level;
	w->start = w->s.now;
	make(w);
	if (level == FULL)
		sim_at(&w->s, w->s.now + below(w, 5 * MSEC), fault, w, 0);
	if (lanes)
		shift(&w->s, w, 0);
	linger(w, length);
	finish(w);
	linger(w, 20 * MSEC);
	check_frames(w);
	check_disks(w);
	add_faults(w);
	unmake(w);
}

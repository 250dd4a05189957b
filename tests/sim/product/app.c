/* SPDX-License-Identifier: Apache-2.0 */
/* The appliance: what its worker and its sessions do around the cores. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/product/product.h"

#define FRAMES(w)    ((w)->small ? 384u : 4096u)
#define BUFS(w)	     ((w)->small ? 512u : 2048u)
#define WAITING(w)   ((w)->small ? 1024u : 4096u)
#define DATAGRAMS(w) ((w)->small ? 1536u : 6144u)

/* ---- frames ---- */

static void forward(void *ctx, uint32_t port, struct frame *f)
{
	struct app *app = ctx;
	struct world *w = app->w;
	struct sw_out out;
	uint32_t n = sw_input(app->sw, port, 0, f, w->s.now, &out);

	if (!n)
		frame_put(f);
	for (uint32_t i = 0; i < n; i++) {
		struct frame *copy = i + 1 < n ? frame_clone(f) : f;

		sim_check(&w->s, copy, "no frame left");
		vnic_deliver(app->dev[out.to[i].port][DEV_NET].vnic, copy, w->s.now);
	}
}

void app_mark(void *session)
{
	struct asess *s = session;

	if (list_empty(&s->marked))
		list_add_tail(&s->app->marked, &s->marked);
	app_wake(s->app, s->app->w->s.now);
}

const struct vnic_world app_vnic_world = {.forward = forward, .touched = app_mark};

static void make_switch(struct app *app)
{
	struct world *w = app->w;
	struct sw_limits limits = {.ports = VMS, .networks = 2, .addrs = VMS, .fdb = 64, .seed = 1};
	struct sw_network networks[2] = {{.id = 0, .uplink = SW_NO_PORT}, {.id = 1, .uplink = SW_NO_PORT}};
	struct sw_addr addrs[VMS];
	struct sw_port ports[VMS];
	struct sw_config config = {.networks = networks, .nnetworks = 2, .ports = ports, .nports = w->vms};
	int r;

	for (unsigned v = 0; v < w->vms; v++) {
		addrs[v] = (struct sw_addr){.family = 4, .prefix = 32, .bytes = {10, 0, 0, (uint8_t)(1 + v)}};
		ports[v] = (struct sw_port){.id = v,
					    .kind = SW_VNIC,
					    .up = true,
					    .network = w->vm[v].net,
					    .pinned = true,
					    .anti_spoof = true,
					    .addrs = &addrs[v],
					    .naddrs = 1};
		vm_mac(ports[v].mac, v);
	}
	app->sw = sw_create(&limits);
	sim_check(&w->s, app->sw, "sw_create");
	r = sw_apply(app->sw, &config);
	sim_check(&w->s, !r, "sw_apply: %d", r);
}

/* ---- sessions ---- */

struct asess *app_session(const struct app *app, uint64_t id)
{
	list_for_each (it, &app->sessions) {
		struct asess *s = container_of(it, struct asess, node);

		if (s->id == id)
			return s;
	}
	return NULL;
}

struct asess *app_session_of(const struct app *app, unsigned end)
{
	list_for_each (it, &app->sessions) {
		struct asess *s = container_of(it, struct asess, node);

		if (s->end == end && !s->ending)
			return s;
	}
	return NULL;
}

static void on_record(void *ctx, enum rt_class cls, uint32_t psn, const struct rt_rec *rec,
		      const uint8_t *data, struct buf *owner)
{
	struct asess *s = ctx;

	vqt_peer_record(s->peer, cls, psn, rec, data, owner);
	app_mark(s);
}

static void on_settled(void *ctx, enum rt_class cls, uint32_t base)
{
	struct asess *s = ctx;

	vqt_peer_settled(s->peer, cls, base);
	app_mark(s);
}

static void on_writable(void *ctx, enum rt_class cls)
{
	struct asess *s = ctx;

	vqt_peer_writable(s->peer, cls);
	app_mark(s);
}

static const struct rt_ops rt_calls = {.record = on_record, .settled = on_settled, .writable = on_writable};

static void draw_path(struct world *w, struct rt_path_cfg *here, struct rt_path_cfg *there)
{
	*here = (struct rt_path_cfg){0};
	here->rx_spi = ++w->spi;
	here->tx_spi = ++w->spi;
	for (unsigned i = 0; i < AEAD_KEY_LEN; i++) {
		here->rx_key[i] = (uint8_t)rng_u64(&w->s.rng);
		here->tx_key[i] = (uint8_t)rng_u64(&w->s.rng);
	}
	*there = (struct rt_path_cfg){.rx_spi = here->tx_spi, .tx_spi = here->rx_spi};
	memcpy(there->rx_key, here->tx_key, AEAD_KEY_LEN);
	memcpy(there->tx_key, here->rx_key, AEAD_KEY_LEN);
}

/* The keys reach the agent by the control session, after the appliance is ready. */
struct welcome {
	struct agent *a;
	uint32_t boot;
	uint64_t session;
	struct rt_path_cfg paths[PATHS];
};

static void on_welcome(struct sim *s, void *ctx, uint64_t arg)
{
	struct welcome *m = ctx;

	(void)s;
	(void)arg;
	if (m->a->alive && m->a->boot == m->boot && app_session(&m->a->w->app, m->session))
		agent_welcome(m->a, m->session, m->paths);
	free(m);
}

void app_hello(struct app *app, unsigned end)
{
	struct world *w = app->w;
	struct welcome *m;
	struct asess *s = app->alive ? app_session_of(app, end) : NULL;
	struct rt_path_cfg paths[PATHS];
	struct rt_cfg c = {.ops = &rt_calls,
			   .aead = w->aead,
			   .chunk = w->chunk,
			   .window = {64, w->window, w->window, w->window},
			   .psn_start = w->psn_start,
			   .txn_start = w->txn_start,
			   .rto_floor_ns = w->rto,
			   .ack_delay_ns = w->rto / 4,
			   .keepalive_ns = w->lost_ns / 5,
			   .lost_ns = w->lost_ns};
	struct vqt_peer_cfg pc = {.ops = &device_tunnel_ops,
				  .frames = app->frames,
				  .bufs = app->bufs,
				  .mem = reqmem_door(&app->mem),
				  .mem_max = 4 * VQT_REQ_MAX,
				  .seed = rng_u64(&w->s.rng)};
	int r;

	if (!app->alive)
		return;
	if (s)
		app_session_down(s);
	s = calloc(1, sizeof(*s));
	m = calloc(1, sizeof(*m));
	sim_check(&w->s, s && m, "out of memory");
	list_init(&s->marked);
	s->app = app;
	s->id = ++w->session;
	s->end = end;
	c.ctx = s;
	s->rt = rt_create(&c, w->s.now, &r);
	sim_check(&w->s, s->rt, "rt_create: %d", r);
	for (unsigned p = 0; p < PATHS; p++) {
		draw_path(w, &paths[p], &m->paths[p]);
		r = rt_path_add(s->rt, p, &paths[p], w->s.now);
		sim_check(&w->s, !r, "rt_path_add: %d", r);
		s->rx_spi[p][0] = s->rx_spi[p][1] = paths[p].rx_spi;
	}
	pc.rt = s->rt;
	s->peer = vqt_peer_create(&pc, &r);
	sim_check(&w->s, s->peer, "vqt_peer_create: %d", r);
	list_add_tail(&app->sessions, &s->node);
	m->a = &w->agent[end];
	m->boot = m->a->boot;
	m->session = s->id;
	s->ctl_at = w->s.now + 50000 + below(w, 300000);
	sim_at(&w->s, s->ctl_at, on_welcome, m, 0);
	stat_add(w, S_sessions, 1);
	for (unsigned v = 0; v < w->vms; v++)
		for (unsigned k = 0; k < 2; k++)
			appdev_refresh(&app->dev[v][k]);
	app_wake(app, w->s.now);
}

static void on_close(struct sim *s, void *ctx, uint64_t arg)
{
	(void)s;
	agent_session_over(ctx, arg);
}

/* Devices let go of it first. */
static void session_free_if_done(struct asess *s)
{
	for (unsigned v = 0; v < s->app->w->vms; v++)
		for (unsigned k = 0; k < 2; k++)
			if (s->app->dev[v][k].a.session == s->id)
				return;
	list_del(&s->node);
	list_del(&s->marked);
	vqt_peer_destroy(s->peer);
	rt_destroy(s->rt);
	free(s);
}

void app_session_down(struct asess *s)
{
	struct app *app = s->app;
	struct world *w = app->w;

	if (s->ending)
		return;
	s->ending = true;
	sim_at(&w->s, w->s.now + 50000 + below(w, MSEC), on_close, &w->agent[s->end], s->id);
	for (unsigned v = 0; v < w->vms; v++)
		for (unsigned k = 0; k < 2; k++)
			appdev_session_down(&app->dev[v][k], s->id);
	app_wake(app, w->s.now);
}

void app_session_over(struct app *app, uint64_t session)
{
	struct asess *s = app->alive ? app_session(app, session) : NULL;

	if (s)
		app_session_down(s);
}

/* ---- fresh keys ---- */

struct rekey {
	struct agent *a;
	uint64_t session;
	struct rt_path_cfg next;
};

static void on_rekey(struct sim *s, void *ctx, uint64_t path)
{
	struct rekey *m = ctx;

	(void)s;
	agent_rekey(m->a, m->session, (unsigned)path, &m->next);
	free(m);
}

void app_rekey(struct asess *s, unsigned path)
{
	struct world *w = s->app->w;
	struct agent *a = &w->agent[s->end];
	struct rt_path_info here, there;
	struct rt_path_cfg next;
	struct rekey *m;

	if (s->ending || a->session != s->id)
		return;
	rt_path_info(s->rt, path, &here);
	rt_path_info(a->rt, path, &there);
	if (here.rekeying || there.rekeying)
		return;
	m = calloc(1, sizeof(*m));
	sim_check(&w->s, m, "out of memory");
	m->a = a;
	m->session = s->id;
	draw_path(w, &next, &m->next);
	s->rx_spi[path][0] = s->rx_spi[path][1];
	s->rx_spi[path][1] = next.rx_spi;
	sim_check(&w->s, !rt_path_rekey(s->rt, path, &next, w->s.now), "session %llu: rekey",
		  (unsigned long long)s->id);
	s->ctl_at = (s->ctl_at > w->s.now ? s->ctl_at : w->s.now) + 20000 + below(w, 300000);
	sim_at(&w->s, s->ctl_at, on_rekey, m, path);
	stat_add(w, S_rekeys, 1);
}

void app_rekeyed(struct app *app, uint64_t session, unsigned path)
{
	struct asess *s = app->alive ? app_session(app, session) : NULL;
	struct rt_path_info i;

	if (!s || s->ending)
		return;
	rt_path_rekey_send(s->rt, path, app->w->s.now); /* unless the agent's packets were faster */
	rt_path_info(s->rt, path, &i);
	sim_check(&app->w->s, i.rekeying, "session %llu: path %u is not rekeying",
		  (unsigned long long)session, path);
	app_wake(app, app->w->s.now);
}

/* ---- the loop ---- */

static void output(struct asess *s)
{
	struct rt_tx out[64];
	int n;

	rt_flush(s->rt, s->app->w->s.now);
	while ((n = rt_output(s->rt, s->app->w->s.now, out, 64)) > 0)
		for (int i = 0; i < n && !s->app->killed; i++)
			world_send(s->app->w, s->end, out[i].path, false, out[i].data, out[i].len);
}

static void serve(struct app *app)
{
	struct list *it;

	while ((it = list_pop(&app->marked))) {
		struct asess *s = container_of(it, struct asess, marked);

		vqt_peer_service(s->peer, app->w->s.now);
		sim_check(&app->w->s, !vqt_peer_bad(s->peer), "session %llu: %s", (unsigned long long)s->id,
			  vqt_peer_bad(s->peer));
		output(s);
	}
}

static void backends(struct app *app)
{
	bdev_group_poll(app->group, app->w->s.now, 64);
	for (unsigned v = 0; v < app->w->vms; v++)
		if (app->dev[v][DEV_BLK].vdisk)
			vdisk_service(app->dev[v][DEV_BLK].vdisk, app->w->s.now);
}

static void turn(struct sim *sim, void *ctx, uint64_t arg)
{
	struct app *app = ctx;
	uint64_t next = FOREVER;

	if (arg != app->wake_at || !app->alive)
		return;
	app->wake_at = FOREVER;
	backends(app);
	list_for_each_safe (it, &app->sessions) {
		struct asess *s = container_of(it, struct asess, node);

		rt_input_end(s->rt, sim->now);
		if (rt_deadline(s->rt) <= sim->now)
			rt_tick(s->rt, sim->now);
		if (list_empty(&s->marked))
			list_add_tail(&app->marked, &s->marked);
	}
	serve(app);
	bdev_group_poll(app->group, sim->now, 64);
	serve(app);
	list_for_each_safe (it, &app->sessions) {
		struct asess *s = container_of(it, struct asess, node);

		if (!s->ending && rt_lost(s->rt))
			app_session_down(s);
		if (s->ending)
			session_free_if_done(s);
		else if (rt_deadline(s->rt) < next)
			next = rt_deadline(s->rt);
	}
	if (bdev_group_deadline(app->group) < next)
		next = bdev_group_deadline(app->group);
	sw_tick(app->sw, sim->now, 8);
	app_wake(app, next);
}

void app_wake(struct app *app, uint64_t when)
{
	if (!app->alive || when >= app->wake_at)
		return;
	app->wake_at = when > app->w->s.now ? when : app->w->s.now + 500;
	sim_at(&app->w->s, app->wake_at, turn, app, app->wake_at);
}

void app_input(struct app *app, uint8_t *data, uint32_t len, bool ce)
{
	uint32_t spi = rt_peek_spi(data, len);
	struct buf *b;

	if (!app->alive)
		return;
	list_for_each (it, &app->sessions) {
		struct asess *s = container_of(it, struct asess, node);

		for (unsigned p = 0; p < PATHS; p++) {
			if (s->rx_spi[p][0] != spi && s->rx_spi[p][1] != spi)
				continue;
			b = buf_get(app->datagrams);
			if (!b)
				return;
			sim_check(&app->w->s, len <= b->size, "a datagram of %u bytes", len);
			memcpy(b->base, data, len);
			rt_input(s->rt, b->base, len, b, ce, app->w->s.now);
			buf_put(b);
			app_wake(app, app->w->s.now + 1000);
			return;
		}
	}
}

/* ---- what agents say ---- */

void app_state(struct app *app, uint64_t session, unsigned vm, unsigned kind, uint64_t features,
	       unsigned pairs)
{
	struct appdev *d = &app->dev[vm][kind];

	if (!app->alive || d->a.state != ATTACH_BOUND || d->a.session != session)
		return;
	if (kind == DEV_NET)
		vnic_guest(d->vnic, features, pairs);
	else
		vdisk_guest(d->vdisk, features);
}

/* ---- life ---- */

void app_start(struct app *app)
{
	struct world *w = app->w;
	uint32_t size = RT_CHUNK_MAX + 128;
	int r;

	app->alive = true;
	app->killed = false;
	app->boot++;
	app->wake_at = FOREVER;
	list_init(&app->sessions);
	list_init(&app->marked);
	reqmem_init(&app->mem);
	app->frames = frame_pool_create(FRAMES(w));
	app->bufs = buf_pool_create(BUFS(w), 2048);
	app->shape = buf_pool_create(64, 66u << 10);
	app->waiting = buf_pool_create(WAITING(w), 2048);
	app->datagrams = buf_pool_create(DATAGRAMS(w), w->chunk + 128 < size ? w->chunk + 128 : size);
	app->group = bdev_group_create(1024, &r);
	sim_check(&w->s,
		  app->frames && app->bufs && app->shape && app->waiting && app->datagrams && app->group,
		  "out of memory");
	make_switch(app);
	for (unsigned v = 0; v < w->vms; v++)
		for (unsigned k = 0; k < 2; k++)
			appdev_init(app, v, k);
	app_wake(app, w->s.now);
}

/* The process is gone; its memory is given back in order only to see that all of it is there. */
void app_stop(struct app *app)
{
	struct world *w = app->w;

	if (!app->alive)
		return;
	app->killed = true;
	for (unsigned v = 0; v < w->vms; v++)
		disk_orphan(&w->disk[v]);
	list_for_each_safe (it, &app->sessions)
		app_session_down(container_of(it, struct asess, node));
	for (unsigned v = 0; v < w->vms; v++)
		for (unsigned k = 0; k < 2; k++)
			appdev_fini(&app->dev[v][k]);
	list_for_each_safe (it, &app->sessions)
		session_free_if_done(container_of(it, struct asess, node));
	sim_check(&w->s, list_empty(&app->sessions), "a session is held for ever");
	sim_check(&w->s, frame_pool_available(app->frames) == FRAMES(w), "%u frames are missing",
		  FRAMES(w) - frame_pool_available(app->frames));
	sim_check(&w->s, buf_pool_available(app->bufs) == BUFS(w), "buffers are missing");
	sim_check(&w->s, buf_pool_available(app->waiting) == WAITING(w),
		  "buffers of waiting frames are missing");
	sim_check(&w->s, buf_pool_available(app->datagrams) == DATAGRAMS(w), "%u datagrams are missing",
		  DATAGRAMS(w) - buf_pool_available(app->datagrams));
	sim_check(&w->s, app->mem.out == 0, "request memory is missing");
	bdev_group_destroy(app->group);
	sw_destroy(app->sw);
	frame_pool_destroy(app->frames);
	buf_pool_destroy(app->bufs);
	buf_pool_destroy(app->shape);
	buf_pool_destroy(app->waiting);
	buf_pool_destroy(app->datagrams);
	reqmem_fini(&app->mem);
	app->alive = false;
}

bool app_settled(const struct app *app)
{
	for (unsigned v = 0; app->alive && v < app->w->vms; v++)
		for (unsigned k = 0; k < 2; k++)
			if (app->dev[v][k].a.state != ATTACH_BOUND || !attach_settled(&app->dev[v][k].a))
				return false;
	return app->alive;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The host end: what the agent's engine and front-ends do around the tunnel's core. */
#include <errno.h>
#include <linux/virtio_net.h>
#include <string.h>

#include "tests/sim/product/product.h"

#define NET_FEATURES                                                                                         \
	(1ull << VIRTIO_NET_F_CSUM | 1ull << VIRTIO_NET_F_GUEST_CSUM | 1ull << VIRTIO_NET_F_GUEST_TSO4 |     \
	 1ull << VIRTIO_NET_F_HOST_TSO4)

static struct adev *dev_of(const struct agent *a, unsigned vm, unsigned kind)
{
	return &agent_of(a->w, a->index / a->w->lanes)->dev[vm][kind];
}

static struct gring *ring_at(struct adev *d, unsigned q)
{
	return d->kind == DEV_BLK ? &d->vm->blk[q] : &d->vm->eth[q];
}

/* ---- the control channel, towards the appliance ---- */

/* Messages of a session arrive in order, some time later; they die with the session. */
static uint64_t ctl_when(struct agent *a)
{
	uint64_t at = a->w->s.now + 20000 + below(a->w, 300000);

	a->ctl_at = at > a->ctl_at ? at : a->ctl_at;
	return a->ctl_at;
}

/* What is in arg: device, and for states whether the guest receives; 2: the session is over; 4: the path
 * that is in the device's place has its fresh keys. */
#define ARG(d, state) ((uint64_t)(d)->vm->index << 8 | (d)->kind << 4 | (state))

static void on_ctl(struct sim *s, void *ctx, uint64_t arg)
{
	struct agent *a = ctx;
	struct world *w = a->w;
	unsigned vm = arg >> 8 & 0xff, kind = arg >> 4 & 1, state = arg & 15;
	uint64_t session = arg >> 16;

	(void)s;
	if (state == 0)
		app_detached(&w->app, session, vm, kind);
	else if (state == 2)
		app_session_over(&w->app, session);
	else if (state == 4)
		app_rekeyed(&w->app, session, vm);
	else if (kind == DEV_BLK)
		app_state(&w->app, session, vm, kind,
			  w->vm[vm].write_through ? BLK_F_BLK_SIZE : BLK_F_BLK_SIZE | BLK_F_FLUSH, 0);
	else
		app_state(&w->app, session, vm, kind,
			  NET_FEATURES | (w->vm[vm].mergeable ? 1ull << VIRTIO_NET_F_MRG_RXBUF : 0),
			  state == 3 ? PAIRS : 0);
}

static void say(struct agent *a, uint64_t arg)
{
	sim_at(&a->w->s, ctl_when(a), on_ctl, a, a->session << 16 | arg);
}

static void report(struct adev *d)
{
	if (d->known && !d->detaching)
		say(d->a, ARG(d, d->connected ? 3u : 1u));
}

/* ---- devices ---- */

static void add_counters(struct adev *d)
{
	const uint64_t *c = vqt_hdev_counters(d->hdev);

	for (unsigned i = 0; i < VQT_HDEV_NCOUNTERS; i++)
		d->a->counters[i] += c[i];
}

static void fe_destroy(struct adev *d)
{
	if (d->hdev) {
		add_counters(d);
		vqt_host_detach(d->hdev);
	}
	for (unsigned q = 0; d->connected && q < d->nvq; q++)
		gring_connect(ring_at(d, q), NULL);
	d->hdev = NULL;
	d->fe = d->connected = d->known = d->detaching = d->mailed = false;
}

static void try_bind(struct adev *d)
{
	int r;

	if (!d->hdev || !d->known || !d->a->rt || d->detaching)
		return;
	r = vqt_hdev_bind(d->hdev, &d->bind);
	sim_check(&d->a->w->s, !r, "agent %u: bind: %d", d->a->index, r);
	agent_wake(d->a, d->a->w->s.now);
}

static void connect_dev(struct adev *d)
{
	struct world *w = d->a->w;
	void *rings[NETQ];
	struct vqt_hdev_cfg cfg = {.type = d->kind == DEV_BLK ? VQT_BLK : VQT_NET,
				   .user = d,
				   .ring_ops = &gring_ops,
				   .nvq = d->nvq,
				   .rings = rings,
				   .depth = d->kind == DEV_BLK ? RING : 0,
				   .window = d->kind == DEV_NET ? VQT_WINDOW_MIN : 0};
	int r;

	if (!d->a->alive || !d->fe || d->connected || d->detaching)
		return;
	for (unsigned q = 0; q < d->nvq; q++) {
		rings[q] = &d->port[q];
		gring_connect(ring_at(d, q), &d->port[q]);
	}
	d->connected = true;
	if (!d->hdev) {
		d->hdev = vqt_host_attach(d->a->host, &cfg, &r);
		sim_check(&w->s, d->hdev, "agent %u: attach: %d", d->a->index, r);
		try_bind(d);
	}
	for (unsigned q = 0; q < d->nvq; q++) {
		r = vqt_host_queue_start(d->hdev, q, d->vm->mergeable);
		sim_check(&w->s, !r, "agent %u: start: %d", d->a->index, r);
	}
	report(d);
	agent_wake(d->a, w->s.now);
}

/* A device is there. It was not looked at on its way. */
static void arrive(struct adev *d)
{
	if (!d->mailed)
		return;
	d->mailed = false;
	if (d->hdev)
		vqt_host_join(d->a->host, d->hdev);
	for (unsigned q = 0; d->connected && q < d->nvq; q++)
		vqt_host_kick(d->hdev, q);
	agent_wake(d->a, d->a->w->s.now);
}

void agent_connect(struct agent *a, struct vm *vm)
{
	for (unsigned k = 0; k < 2; k++) {
		arrive(dev_of(a, vm->index, k));
		connect_dev(dev_of(a, vm->index, k));
	}
}

void agent_gone(struct agent *a, struct vm *vm)
{
	for (unsigned k = 0; a->alive && k < 2; k++) {
		struct adev *d = dev_of(a, vm->index, k);

		if (!d->connected)
			continue;
		arrive(d);
		for (unsigned q = 0; q < d->nvq; q++) {
			vqt_host_queue_stop(d->hdev, q, VQT_STOP_FENCE);
			gring_connect(ring_at(d, q), NULL);
		}
		d->connected = false;
		report(d);
		agent_wake(d->a, a->w->s.now);
	}
}

bool agent_drain(struct agent *a, struct vm *vm)
{
	struct adev *d = dev_of(a, vm->index, DEV_BLK);

	a = d->a;
	if (!a->alive || !d->connected || !d->known || !a->rt || d->detaching)
		return false; /* a guest waits for its queues */
	for (unsigned q = 0; q < d->nvq; q++)
		vqt_host_queue_stop(d->hdev, q, VQT_STOP_DRAIN);
	agent_wake(a, a->w->s.now);
	return !vqt_hdev_inflight(d->hdev);
}

void agent_kick(struct agent *a, struct vm *vm, bool net, unsigned vq)
{
	struct adev *d = dev_of(a, vm->index, net ? DEV_NET : DEV_BLK);

	a = d->a;
	if (!a->alive || !d->connected || d->mailed)
		return;
	vqt_host_kick(d->hdev, vq);
	agent_wake(a, a->w->s.now + below(a->w, 5000));
}

/* ---- what the appliance says ---- */

void agent_rekey(struct agent *a, uint64_t session, unsigned path, const struct rt_path_cfg *next)
{
	struct world *w = a->w;

	if (!a->alive || !a->rt || a->session != session)
		return;
	a->rx_spi[path][0] = a->rx_spi[path][1];
	a->rx_spi[path][1] = next->rx_spi;
	sim_check(&w->s, !rt_path_rekey(a->rt, path, next, w->s.now), "agent %u: rekey", a->index);
	sim_check(&w->s, !rt_path_rekey_send(a->rt, path, w->s.now), "agent %u: rekey", a->index);
	say(a, path << 8 | 4);
	agent_wake(a, w->s.now);
}

static void release(struct adev *d)
{
	if (d->hdev)
		vqt_hdev_unbind(d->hdev);
	d->known = false;
}

/* What is in arg: device, and in which life of the agent. */
#define LETTER(a, vm, kind) ((uint64_t)(a)->boot << 8 | (vm) << 1 | (kind))

static void letter(struct agent *a, sim_fn *fn, uint64_t arg)
{
	sim_at(&a->w->s, a->w->s.now + 1000 + below(a->w, 100000), fn, a, arg);
}

/* An answer: the device, or that nobody has it any more. */
static void on_give(struct sim *s, void *ctx, uint64_t arg)
{
	struct agent *a = ctx;
	unsigned vm = arg >> 1 & 0x7f, kind = arg & 1;
	uint32_t epoch = a->awaited[vm][kind].epoch;

	(void)s;
	if (!a->alive || a->boot != arg >> 8)
		return;
	if (dev_of(a, vm, kind)->a == a)
		arrive(dev_of(a, vm, kind));
	a->awaited[vm][kind].epoch = 0;
	if (epoch)
		agent_attach(a, a->awaited[vm][kind].session, vm, kind, epoch);
}

/* Lane ctx asks for a device: front-end, rings, tunnel end and what is in flight go there as they are. */
static void on_want(struct sim *s, void *ctx, uint64_t arg)
{
	struct agent *a = ctx;
	struct adev *d = dev_of(a, arg >> 1 & 0x7f, arg & 1);

	(void)s;
	if (!a->alive || a->boot != arg >> 8)
		return;
	if (d->mailed) { /* behind it in its next lane's mail */
		letter(a, on_want, arg);
		return;
	}
	if (d->fe && d->detaching && d->a != a)
		fe_destroy(d);
	if (d->fe && d->a != a) {
		release(d);
		if (d->hdev)
			vqt_host_leave(d->hdev);
		d->a = a;
		d->mailed = true;
		stat_add(a->w, S_lane_moves, 1);
	}
	letter(a, on_give, arg);
}

void agent_attach(struct agent *a, uint64_t session, unsigned vm, unsigned kind, uint32_t epoch)
{
	struct adev *d = dev_of(a, vm, kind);

	if (!a->alive || !a->rt || a->session != session)
		return;
	if (d->fe && (d->a != a || d->mailed)) {
		a->awaited[vm][kind].session = session;
		a->awaited[vm][kind].epoch = epoch;
		if (d->a != a)
			letter(a, on_want, LETTER(a, vm, kind));
		return;
	}
	d->a = a;
	if (d->detaching)
		fe_destroy(d);
	if (d->known && d->hdev)
		vqt_hdev_unbind(d->hdev);
	d->known = d->fe = true;
	d->bind = (struct vqt_bind){.wire = WIRE(vm, kind),
				    .epoch = epoch,
				    .rel = RT_REL_BOUNDED,
				    .max_inflight = VDISK_MAX_INFLIGHT};
	try_bind(d);
	if (d->vm->running && d->vm->host == a->index / a->w->lanes)
		connect_dev(d);
	report(d);
}

void agent_detach(struct agent *a, uint64_t session, unsigned vm, unsigned kind, bool keep)
{
	struct adev *d = dev_of(a, vm, kind);

	if (!a->alive || !a->rt || a->session != session)
		return;
	if (a->awaited[vm][kind].epoch) {
		a->awaited[vm][kind].epoch = 0;
		say(a, ARG(d, 0u));
		return;
	}
	if (!d->known || d->a != a)
		return;
	if (keep && !d->detaching) {
		release(d);
		say(a, ARG(d, 0u));
		return;
	}
	d->detaching = true;
	for (unsigned q = 0; d->hdev && q < d->nvq; q++)
		vqt_host_queue_stop(d->hdev, q, VQT_STOP_DRAIN);
	agent_wake(a, a->w->s.now);
}

static void settle(struct agent *a)
{
	for (unsigned v = 0; v < a->w->vms; v++) {
		for (unsigned k = 0; k < 2; k++) {
			struct adev *d = dev_of(a, v, k);

			if (d->a != a || !d->detaching || (d->hdev && vqt_hdev_inflight(d->hdev)))
				continue;
			say(a, ARG(d, 0u));
			fe_destroy(d);
		}
	}
}

/* ---- sessions ---- */

static void session_down(struct agent *a)
{
	if (!a->rt)
		return;
	vqt_host_session(a->host, NULL);
	rt_destroy(a->rt);
	a->rt = NULL;
	a->session = 0;
	for (unsigned v = 0; v < a->w->vms; v++) {
		for (unsigned k = 0; k < 2; k++) {
			struct adev *d = dev_of(a, v, k);

			a->awaited[v][k].epoch = 0;
			if (d->a != a)
				continue;
			d->known = false;
			if (d->detaching)
				fe_destroy(d);
		}
	}
	agent_wake(a, a->w->s.now);
}

void agent_session_over(struct agent *a, uint64_t session)
{
	if (a->alive && a->session == session)
		session_down(a);
}

void agent_welcome(struct agent *a, uint64_t session, const struct rt_path_cfg *paths)
{
	struct world *w = a->w;
	struct rt_cfg c = {.ops = &vqt_host_rt_ops,
			   .ctx = a->host,
			   .aead = w->aead,
			   .chunk = w->chunk,
			   .window = {64, w->window, w->window, w->window},
			   .psn_start = w->psn_start,
			   .txn_start = w->txn_start,
			   .rto_floor_ns = w->rto,
			   .ack_delay_ns = w->rto / 4,
			   .keepalive_ns = w->lost_ns / 5,
			   .lost_ns = w->lost_ns,
			   .active = true};
	int r;

	session_down(a);
	a->rt = rt_create(&c, w->s.now, &r);
	sim_check(&w->s, a->rt, "rt_create: %d", r);
	for (unsigned p = 0; p < PATHS; p++) {
		r = rt_path_add(a->rt, p, &paths[p], w->s.now);
		sim_check(&w->s, !r, "rt_path_add: %d", r);
		a->rx_spi[p][0] = a->rx_spi[p][1] = paths[p].rx_spi;
	}
	a->session = session;
	a->ctl_at = 0;
	vqt_host_session(a->host, a->rt);
	agent_wake(a, w->s.now);
}

static void on_reconnect(struct sim *s, void *ctx, uint64_t arg)
{
	struct agent *a = ctx;

	if (arg != a->boot || !a->alive)
		return;
	if (!a->rt)
		app_hello(&a->w->app, a->index);
	sim_at(s, s->now + 2 * MSEC + below(a->w, 3 * MSEC), on_reconnect, a, a->boot);
}

/* ---- the loop ---- */

static void output(struct agent *a)
{
	struct rt_tx out[64];
	int n;

	while (a->rt && (n = rt_output(a->rt, a->w->s.now, out, 64)) > 0)
		for (int i = 0; i < n; i++)
			world_send(a->w, a->index, out[i].path, true, out[i].data, out[i].len);
}

static void turn(struct sim *s, void *ctx, uint64_t arg)
{
	struct agent *a = ctx;

	if (arg != a->wake_at || !a->alive)
		return;
	a->wake_at = FOREVER;
	if (a->rt) {
		rt_input_end(a->rt, s->now);
		if (rt_deadline(a->rt) <= s->now)
			rt_tick(a->rt, s->now);
	}
	while (vqt_host_service(a->host, 256, s->now))
		output(a);
	output(a);
	settle(a);
	if (!a->rt)
		return;
	if (rt_lost(a->rt)) {
		say(a, 2);
		session_down(a);
		return;
	}
	agent_wake(a, rt_deadline(a->rt));
}

void agent_wake(struct agent *a, uint64_t when)
{
	if (!a->alive || when >= a->wake_at)
		return;
	a->wake_at = when > a->w->s.now ? when : a->w->s.now;
	sim_at(&a->w->s, a->wake_at, turn, a, a->wake_at);
}

void agent_input(struct agent *a, uint8_t *data, uint32_t len, bool ce)
{
	uint32_t spi = rt_peek_spi(data, len);

	for (unsigned p = 0; a->alive && a->rt && p < PATHS; p++) {
		if (a->rx_spi[p][0] != spi && a->rx_spi[p][1] != spi)
			continue;
		rt_input(a->rt, data, len, NULL, ce, a->w->s.now);
		agent_wake(a, a->w->s.now + 1000);
		return;
	}
}

/* ---- life ---- */

static void on_broken(void *user, unsigned vq, const char *reason)
{
	struct adev *d = user;

	sim_fail(&d->a->w->s, "agent %u: queue %u of vm %u broken: %s", d->a->index, vq, d->vm->index,
		 reason);
}

static void on_stopped(void *user, unsigned vq)
{
	(void)vq;
	agent_wake(((struct adev *)user)->a, ((struct adev *)user)->a->w->s.now);
}

static void on_idle(void *user)
{
	on_stopped(user, 0);
}

static const struct vqt_host_ops ops = {.broken = on_broken, .stopped = on_stopped, .idle = on_idle};

void agent_start(struct agent *a)
{
	struct world *w = a->w;

	a->alive = true;
	a->boot++;
	a->wake_at = FOREVER;
	a->host = vqt_host_create(&ops, rng_u64(&w->s.rng));
	sim_check(&w->s, a->host, "out of memory");
	for (unsigned v = 0; v < w->vms; v++) {
		for (unsigned k = 0; k < 2; k++) {
			struct adev *d = &a->dev[v][k];

			a->awaited[v][k].epoch = 0;
			*d = (struct adev){
				.a = a, .vm = &w->vm[v], .kind = k, .nvq = k == DEV_BLK ? BLKQ : NETQ};
			for (unsigned q = 0; q < d->nvq; q++)
				d->port[q].ring = ring_at(d, q);
		}
	}
	sim_at(&w->s, w->s.now + below(w, MSEC), on_reconnect, a, a->boot);
}

static void on_notice(struct sim *s, void *ctx, uint64_t arg)
{
	(void)s;
	app_session_over(ctx, arg);
}

void agent_stop(struct agent *a)
{
	struct world *w = a->w;

	if (!a->alive)
		return;
	/* The kernel closes its connection. */
	if (a->rt)
		sim_at(&w->s, w->s.now + 100000 + below(w, MSEC), on_notice, &w->app, a->session);
	if (a->rt)
		vqt_host_session(a->host, NULL);
	rt_destroy(a->rt);
	a->rt = NULL;
	a->session = 0;
	for (unsigned v = 0; v < w->vms; v++)
		for (unsigned k = 0; k < 2; k++)
			if (dev_of(a, v, k)->a == a)
				fe_destroy(dev_of(a, v, k));
	vqt_host_destroy(a->host);
	a->host = NULL;
	a->alive = false;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Devices of the appliance: the attachment core, carried out. Letters between control and worker take
 * time here too, and each is answered before the next of its device.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/product/product.h"

static void step(struct appdev *d, enum attach_step todo);

/* A letter: which device, of which appliance's life, to which end. */
static void letter(struct appdev *d, sim_fn *fn, uint64_t detail)
{
	struct world *w = d->app->w;

	d->letters++;
	sim_at(&w->s, w->s.now + 1000 + below(w, 100000), fn, d, (uint64_t)d->app->boot << 32 | detail);
}

static bool arrived(struct appdev *d, uint64_t arg)
{
	if (!d->app->alive || d->app->boot != arg >> 32)
		return false;
	d->letters--;
	return true;
}

/* ---- bind ---- */

static void on_bound(struct sim *s, void *ctx, uint64_t arg)
{
	struct appdev *d = ctx;

	(void)s;
	if (arrived(d, arg))
		step(d, attach_bound(&d->a, (uint32_t)arg));
}

static int bind_now(struct appdev *d, uint32_t epoch)
{
	struct app *app = d->app;
	struct vdisk_world dw = {.touched = app_mark};
	struct vnic_world nw = app_vnic_world;
	struct asess *s = app_session(app, d->a.session);
	int r;

	if (d->kind == DEV_NET) {
		nw.ctx = app;
		nw.frames = app->frames;
		nw.bufs = app->shape;
		nw.waiting = app->waiting;
		return vnic_bind(d->vnic, &nw, s->peer, s, WIRE(d->vm, d->kind), epoch, VQT_WINDOW_MIN,
				 RT_REL_BOUNDED);
	}
	if (!d->joined) {
		r = vdisk_join(d->vdisk, app->group);
		if (r)
			return r;
		d->joined = true;
	}
	vdisk_service(d->vdisk, app->w->s.now);
	return vdisk_bind(d->vdisk, &dw, s->peer, s, s->id, WIRE(d->vm, d->kind), epoch);
}

static void on_bind(struct sim *s, void *ctx, uint64_t arg)
{
	struct appdev *d = ctx;
	int r;

	if (!arrived(d, arg))
		return;
	r = bind_now(d, (uint32_t)arg);
	sim_check(s, !r, "vm %u: bind: %d", d->vm, r);
	letter(d, on_bound, 1);
}

/* The epoch is durable before anybody can do anything in it. */
static void bind(struct appdev *d)
{
	struct asess *s = app_session(d->app, d->a.session);

	if (!s) {
		step(d, attach_bound(&d->a, false));
		return;
	}
	d->epoch = d->kind == DEV_NET ? ++d->app->net_epoch : (uint32_t)++d->app->w->epoch[d->vm];
	letter(d, on_bind, d->epoch);
}

/* ---- unbind ---- */

static void on_unbound(struct sim *s, void *ctx, uint64_t arg)
{
	struct appdev *d = ctx;

	(void)s;
	if (arrived(d, arg))
		step(d, attach_unbound(&d->a));
}

static void unbound(void *arg)
{
	letter(arg, on_unbound, 0);
}

static void on_unbind(struct sim *s, void *ctx, uint64_t arg)
{
	struct appdev *d = ctx;

	if (!arrived(d, arg))
		return;
	if (d->kind == DEV_BLK) {
		sim_check(s, !vdisk_unbind(d->vdisk, s->now, unbound, d), "vm %u: unbound twice", d->vm);
	} else {
		vnic_unbind(d->vnic);
		unbound(d);
	}
	app_wake(d->app, s->now);
}

/* ---- what the agent is told ---- */

struct attach_msg {
	struct agent *a;
	uint64_t session;
	unsigned vm, kind;
	uint32_t epoch; /* 0: detach */
	bool keep;
};

static void on_attach(struct sim *s, void *ctx, uint64_t arg)
{
	struct attach_msg *m = ctx;

	(void)s;
	(void)arg;
	if (m->epoch)
		agent_attach(m->a, m->session, m->vm, m->kind, m->epoch);
	else
		agent_detach(m->a, m->session, m->vm, m->kind, m->keep);
	free(m);
}

static void tell(struct appdev *d, uint32_t epoch)
{
	struct asess *s = app_session(d->app, d->a.session), *to = app_session(d->app, d->a.want);
	struct world *w = d->app->w;
	struct attach_msg *m;
	uint64_t at = w->s.now + 20000 + below(w, 300000);

	if (!s || s->ending)
		return;
	m = calloc(1, sizeof(*m));
	sim_check(&w->s, m, "out of memory");
	*m = (struct attach_msg){&w->agent[s->end], s->id, d->vm, d->kind, epoch, false};
	m->keep = w->lanes > 1 && to && to != s && to->end / w->lanes == s->end / w->lanes;
	s->ctl_at = at > s->ctl_at ? at : s->ctl_at;
	sim_at(&w->s, s->ctl_at, on_attach, m, 0);
}

void app_detached(struct app *app, uint64_t session, unsigned vm, unsigned kind)
{
	struct appdev *d = &app->dev[vm][kind];

	if (app->alive && d->a.session == session)
		step(d, attach_detached(&d->a, session));
}

/* ---- steps ---- */

static void step(struct appdev *d, enum attach_step todo)
{
	app_wake(d->app, d->app->w->s.now);
	switch (todo) {
	case ATTACH_BIND:
		bind(d);
		break;
	case ATTACH_SEND_ATTACH:
		tell(d, d->epoch);
		break;
	case ATTACH_SEND_DETACH:
		tell(d, 0);
		break;
	case ATTACH_UNBIND:
		letter(d, on_unbind, 0);
		break;
	case ATTACH_NOTHING:
	case ATTACH_FREE:
		break;
	}
}

static void on_retry(struct sim *s, void *ctx, uint64_t arg)
{
	struct appdev *d = ctx;

	(void)s;
	if (!d->app->alive || d->app->boot != arg)
		return;
	d->retrying = false;
	appdev_refresh(d);
}

/* While I/O of a dead process is under way its volume cannot be opened. */
static bool open_disk(struct appdev *d)
{
	struct world *w = d->app->w;
	char serial[BLK_ID_LEN] = {'d', (char)('0' + d->vm)};

	if (d->kind == DEV_NET || d->vdisk)
		return true;
	if (w->disk[d->vm].nreqs) {
		if (!d->retrying)
			sim_at(&w->s, w->s.now + 200000 + below(w, MSEC), on_retry, d, d->app->boot);
		d->retrying = true;
		return false;
	}
	d->bdev = disk_open(&w->disk[d->vm]);
	d->vdisk = vdisk_create(d->bdev, BLKQ, serial);
	sim_check(&w->s, d->vdisk, "out of memory");
	return true;
}

/* Of the lane where it is to be; as long as that has none it stays where it is. */
static struct asess *place(const struct appdev *d)
{
	struct world *w = d->app->w;
	unsigned home = w->home[d->vm];
	struct asess *s = app_session_of(d->app, home * w->lanes + w->lane[d->vm][d->kind]);

	if (s)
		return s;
	s = app_session(d->app, d->a.session);
	return s && !s->ending && s->end / w->lanes == home ? s : NULL;
}

void appdev_refresh(struct appdev *d)
{
	struct asess *s = place(d);

	if (d->app->killed)
		return;
	if (!open_disk(d))
		s = NULL;
	step(d, attach_want(&d->a, s ? s->id : 0));
}

void appdev_session_down(struct appdev *d, uint64_t session)
{
	step(d, attach_session_down(&d->a, session));
	appdev_refresh(d);
}

void appdev_reattach(struct appdev *d)
{
	uint64_t session = d->a.session;

	if (!d->app->alive || d->a.state != ATTACH_BOUND)
		return;
	/* As if the agent had answered already. */
	if (attach_changed(&d->a) == ATTACH_SEND_DETACH)
		step(d, attach_detached(&d->a, session));
}

/* ---- life ---- */

void appdev_init(struct app *app, unsigned vm, unsigned kind)
{
	struct appdev *d = &app->dev[vm][kind];
	struct vnic_cfg c = {.port = vm, .mtu = 1500, .pairs = PAIRS};

	*d = (struct appdev){.app = app, .vm = vm, .kind = kind};
	attach_init(&d->a);
	if (kind == DEV_NET) {
		vm_mac(c.mac, vm);
		d->vnic = vnic_create(&c);
		sim_check(&app->w->s, d->vnic, "out of memory");
	} else {
		open_disk(d);
	}
}

static void ignore(void *arg)
{
	(void)arg;
}

void appdev_fini(struct appdev *d)
{
	struct app *app = d->app;

	d->a = (struct attach){.state = ATTACH_IDLE};
	if (d->kind == DEV_NET) {
		vnic_unbind(d->vnic);
		vnic_destroy(d->vnic);
	}
	if (!d->vdisk)
		return;
	vdisk_unbind(d->vdisk, app->w->s.now, ignore, NULL);
	while (bdev_group_poll(app->group, app->w->s.now, 64))
		;
	vdisk_service(d->vdisk, app->w->s.now);
	vdisk_leave(d->vdisk);
	vdisk_destroy(d->vdisk);
	bdev_close(d->bdev);
	d->vdisk = NULL;
}

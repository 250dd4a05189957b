/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vhost-user front-end: joins the pure core (hostagent/vhost) to a socket and to the event loop.
 *
 * The core forbids being called from its own effects, and the layer above may answer a call at once
 * (fe_queue_drained() inside queue_stop()). Each entry therefore runs enter() ... leave(); what came up
 * meanwhile is noted and done when the outermost one leaves. Effects of ring operations (broken, fault),
 * which the layer above itself is in the middle of, are done from the loop.
 */
#include "hostagent/frontend/fe_vu.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fabric/base/clock.h"
#include "hostagent/vhost/vhost_guard.h"
#include "hostagent/vhost/vhost_signal.h"

/* A kick costs this host a wake-up whether or not there is work. A guest that kicks so often in a row for
 * nothing, within that time (a slow host takes long for them, and pays the more), is not heard for a while;
 * then its ring is looked at once. */
#define USELESS_KICKS 64u
#define USELESS_NS    (200 * NSEC_PER_MSEC)
#define MUTED_NS      (20 * NSEC_PER_MSEC)

static const COUNTERS_DEFINE(fe_vu, FE_VU_COUNTERS)

	static void enter(struct fe_vu *f)
{
	f->depth++;
}

static void settle_drained(struct fe_vu *f)
{
	while (f->drained) {
		unsigned q = (unsigned)__builtin_ctz(f->drained);

		f->drained &= ~(1u << q);
		vhost_drained(f->v, q);
	}
}

static void leave(struct fe_vu *f)
{
	if (f->depth == 1)
		settle_drained(f);
	f->depth--;
}

static void settle_later(struct fe_vu *f)
{
	event_active(f->settle_ev, EV_TIMEOUT, 0);
}

static void on_settle(evutil_socket_t fd, short what, void *arg)
{
	struct fe_vu *f = arg;

	(void)fd;
	(void)what;
	if (f->doomed) {
		fe_sock_drop(f);
		return;
	}
	while (f->broken) {
		unsigned q = (unsigned)__builtin_ctz(f->broken);

		f->broken &= ~(1u << q);
		f->up->broken(f->arg, q, f->reason[q]);
	}
}

/* --- effects of the core --- */

static void fx_reply(void *arg, const void *msg, size_t len, int fd)
{
	struct fe_vu *f = arg;

	if (fe_sock_send(f, msg, len, fd)) {
		f->doomed = true;
		settle_later(f);
	}
}

static void fx_features(void *arg, uint64_t acked)
{
	struct fe_vu *f = arg;

	f->up->features(f->arg, acked);
}

/* Notes a kick; true: enough of them. */
static bool kicks_for_nothing(struct kick_arg *k)
{
	uint32_t chains = vhost_chains(k->f->v, k->q);
	uint64_t now;

	if (chains != k->chains) {
		k->chains = chains;
		k->useless = 0;
		return false;
	}
	fe_vu_count(k->f, FE_VU_C_kicks_useless);
	now = clock_now_ns();
	if (!k->useless++)
		k->since = now;
	if (k->useless < USELESS_KICKS)
		return false;
	k->useless = 0;
	return now - k->since < USELESS_NS;
}

static void mute(struct fe_vu *f, unsigned q)
{
	struct timeval tv = {0, MUTED_NS / NSEC_PER_USEC};

	fe_vu_count(f, FE_VU_C_kicks_muted);
	event_del(f->kick_ev[q]);
	f->muted |= 1u << q;
	evtimer_add(f->listen_again_ev, &tv);
}

static void on_listen_again(evutil_socket_t fd, short what, void *arg)
{
	struct fe_vu *f = arg;
	uint32_t again = f->muted;

	(void)fd;
	(void)what;
	f->muted = 0;
	enter(f);
	for (; again; again &= again - 1) {
		unsigned q = (unsigned)__builtin_ctz(again);

		if (f->kick_ev[q])
			event_add(f->kick_ev[q], NULL);
		if (f->running & (1u << q))
			f->up->kick(f->arg, q);
	}
	leave(f);
	fe_sock_resume(f);
}

static void on_kick(evutil_socket_t fd, short what, void *arg)
{
	struct kick_arg *k = arg;
	struct fe_vu *f = k->f;

	(void)fd;
	(void)what;
	if (kicks_for_nothing(k))
		mute(f, k->q);
	if (!(f->running & (1u << k->q))) {
		fe_vu_count(f, FE_VU_C_kicks_idle);
		return;
	}
	fe_vu_count(f, FE_VU_C_kicks);
	enter(f);
	f->up->kick(f->arg, k->q);
	leave(f);
	fe_sock_resume(f);
}

static void fx_kick_fd(void *arg, unsigned q, int fd)
{
	struct fe_vu *f = arg;

	if (f->kick_ev[q])
		event_free(f->kick_ev[q]);
	f->kick_ev[q] = NULL;
	f->muted &= ~(1u << q);
	if (fd < 0)
		return;
	/* Edge-triggered: each kick is an event of its own, and the counter need not be read, which would
	 * cost a call for each, and would need care, as the front-end may make the file a blocking one. */
	f->kick_ev[q] = event_new(f->base, fd, EV_READ | EV_PERSIST | EV_ET, on_kick, &f->kick_arg[q]);
	if (!f->kick_ev[q] || event_add(f->kick_ev[q], NULL)) {
		f->doomed = true;
		settle_later(f);
	}
}

static void fx_start(void *arg, unsigned q)
{
	struct fe_vu *f = arg;

	f->running |= 1u << q;
	f->up->queue_start(f->arg, q);
}

static void fx_stop(void *arg, unsigned q)
{
	struct fe_vu *f = arg;

	f->running &= ~(1u << q);
	f->up->queue_stop(f->arg, q);
}

static void fx_broken(void *arg, unsigned q, const char *reason)
{
	struct fe_vu *f = arg;

	f->broken |= 1u << q;
	f->reason[q] = reason;
	settle_later(f);
}

static void fx_rarp(void *arg, const uint8_t mac[6])
{
	struct fe_vu *f = arg;

	if (f->up->rarp)
		f->up->rarp(f->arg, mac);
}

static void fx_fault(void *arg)
{
	struct fe_vu *f = arg;

	f->doomed = true;
	settle_later(f);
}

static void on_memory(void *arg, void *at, uint64_t len, bool there)
{
	struct fe_vu *f = arg;

	f->memory(f->arg, at, len, there);
}

static const struct vhost_fx effects = {fx_reply, fx_features, fx_kick_fd, fx_start,
					fx_stop,  fx_broken,   fx_rarp,	   fx_fault};

/* --- events of the socket --- */

void fe_vu_connected(struct fe_vu *f)
{
	f->up->attached(f->arg, f->queues, f->nqueues);
}

int fe_vu_message(struct fe_vu *f)
{
	int err;

	enter(f);
	err = vhost_message(f->v, f->buf, f->got, f->fds, f->nfds);
	leave(f);
	return err;
}

void fe_vu_disconnected(struct fe_vu *f)
{
	enter(f);
	f->running = 0;
	f->up->gone(f->arg);
	vhost_disconnect(f->v);
	f->doomed = false;
	f->drained = 0;
	f->broken = 0;
	leave(f);
}

/* --- the door --- */

static bool name_ok(const char *name)
{
	size_t n = name ? strlen(name) : 0;

	if (n == 0 || n >= FE_NAME_MAX || name[0] == '.')
		return false;
	for (const char *p = name; *p; p++) {
		if (!isalnum((unsigned char)*p) && !strchr("-_.", *p))
			return false;
	}
	return true;
}

static void vu_destroy(struct fe *fe)
{
	struct fe_vu *f = (struct fe_vu *)fe;
	bool used = f->fd >= 0;

	fe_sock_close(f);
	vhost_destroy(f->v);
	/* A guest that is there will come back to our successor, its rings as they are now. */
	fe_saved_close(&f->saved, f->dir, f->device, !used);
	if (f->settle_ev)
		event_free(f->settle_ev);
	if (f->listen_again_ev)
		event_free(f->listen_again_ev);
	free(f);
}

static int open_device(struct fe_vu *f, const struct fe_config *cfg)
{
	struct vhost_config vc = {.net = cfg->kind == FE_NET,
				  .nqueues = cfg->nqueues,
				  .queue_size = cfg->queue_size,
				  .mtu = cfg->mtu,
				  .features = cfg->features,
				  .memory = cfg->memory ? on_memory : NULL};
	int err = vhost_guard_install();

	if (err)
		return err;
	/* Without it the device works all the same; a crash costs a packed NIC's guest a driver reload. */
	if (vhost_saved_size(&vc) && fe_saved_open(&f->saved, f->dir, f->device, vhost_saved_size(&vc)))
		fe_vu_count(f, FE_VU_C_rings_not_saved);
	vc.saved = f->saved.at;
	f->v = vhost_create(&vc, &vhost_sys_linux, NULL, &effects, f);
	if (!f->v)
		return -EINVAL;
	if (cfg->config_len && vhost_set_config(f->v, cfg->config, cfg->config_len) == -EMSGSIZE)
		return -EINVAL;
	f->settle_ev = event_new(f->base, -1, 0, on_settle, f);
	f->listen_again_ev = evtimer_new(f->base, on_listen_again, f);
	if (!f->settle_ev || !f->listen_again_ev)
		return -ENOMEM;
	for (unsigned q = 0; q < f->nqueues; q++) {
		f->queues[q] = (struct fe_queue){&vhost_ring_ops, vhost_ring(f->v, q)};
		f->kick_arg[q] = (struct kick_arg){.f = f, .q = q};
	}
	return fe_sock_open(f);
}

static int vu_create(struct fe **out, struct event_base *base, const struct fe_config *cfg,
		     const struct fe_up *up, void *arg)
{
	struct fe_vu *f;
	int err;

	if (!name_ok(cfg->name) || cfg->nqueues > FE_QUEUES_MAX)
		return -EINVAL;
	f = calloc(1, sizeof(*f));
	if (!f)
		return -ENOMEM;
	f->fe.ops = &fe_vhost_user;
	f->base = base;
	f->up = up;
	f->memory = cfg->memory;
	f->arg = arg;
	f->kind = cfg->kind;
	f->nqueues = cfg->nqueues;
	f->group = cfg->group;
	f->fd = f->listen_fd = -1;
	snprintf(f->device, sizeof(f->device), "%s", cfg->name);
	snprintf(f->name, sizeof(f->name), "%s.sock", cfg->name);
	err = snprintf(f->dir, sizeof(f->dir), "%s", cfg->dir ? cfg->dir : "/run/outrigger") <
			      (int)sizeof(f->dir)
		      ? open_device(f, cfg)
		      : -ENAMETOOLONG;
	if (err) {
		vu_destroy(&f->fe);
		return err;
	}
	*out = &f->fe;
	return 0;
}

static void vu_leave(struct fe *fe)
{
	struct fe_vu *f = (struct fe_vu *)fe;

	for (unsigned q = 0; q < f->nqueues; q++)
		if (f->kick_ev[q])
			event_del(f->kick_ev[q]);
	event_del(f->settle_ev);
	event_del(f->listen_again_ev);
	fe_sock_leave(f);
}

static int vu_join(struct fe *fe, struct event_base *base)
{
	static const struct timeval now;
	struct fe_vu *f = (struct fe_vu *)fe;

	f->base = base;
	if (event_base_set(base, f->settle_ev) || event_base_set(base, f->listen_again_ev))
		return -EINVAL;
	/* A file that was kicked meanwhile, or ever, is an event as it is added: no kick is lost. */
	for (unsigned q = 0; q < f->nqueues; q++)
		if (f->kick_ev[q] && (event_base_set(base, f->kick_ev[q]) ||
				      (!(f->muted & 1u << q) && event_add(f->kick_ev[q], NULL))))
			return -ENOMEM;
	if (f->muted && evtimer_add(f->listen_again_ev, &now))
		return -ENOMEM;
	settle_later(f);
	return fe_sock_join(f);
}

static void vu_drained(struct fe *fe, unsigned q)
{
	struct fe_vu *f = (struct fe_vu *)fe;

	if (q >= f->nqueues)
		return;
	f->drained |= 1u << q;
	if (f->depth)
		return;
	enter(f);
	leave(f);
	fe_sock_resume(f);
}

static int vu_set_config(struct fe *fe, const void *config, uint16_t len)
{
	return vhost_set_config(((struct fe_vu *)fe)->v, config, len);
}

static const char *vu_counter(const struct fe *fe, unsigned n, uint64_t *value)
{
	const struct fe_vu *f = (const struct fe_vu *)fe;

	if (n < FE_VU_NCOUNTERS) {
		*value = counter_get(&f->counters[n]);
		return fe_vu_counter_names[n];
	}
	n -= FE_VU_NCOUNTERS;
	if (n >= VHOST_NCOUNTERS)
		return NULL;
	*value = counter_get(&vhost_counters(f->v)[n]);
	return vhost_counter_names[n];
}

static bool vu_news(struct fe *fe)
{
	struct fe_vu *f = (struct fe_vu *)fe;
	bool core = vhost_news(f->v), own = f->news;

	f->news = false;
	return core || own;
}

void fe_turn_begin(void)
{
	vhost_signal_hold();
}

void fe_turn_end(void)
{
	vhost_signal_go();
}

const struct fe_ops fe_vhost_user = {"vhost-user", vu_create,	  vu_destroy, vu_leave, vu_join,
				     vu_drained,   vu_set_config, vu_counter, vu_news};

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Devices of the engine: what a front-end says of its user, and what the appliance says of the
 * device, brought together.
 *
 * A device comes into being with its front-end, gets its tunnel end when a user first connects
 * (only then are its rings known), and is bound while the session has it attached. Callbacks may come
 * from inside calls of either neighbour, so nothing is destroyed and nobody outside is told
 * in them: they leave a mark, and engine_settle() does it at the end of the run.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fabric/base/guard.h"
#include "fabric/base/log.h"
#include "hostagent/engine/engine_impl.h"

static void report(struct edev *d)
{
	d->report = d->e->unsettled = true;
	engine_wake(d->e);
}

static void try_bind(struct edev *d)
{
	int r;

	if (!d->hdev || !d->known || !d->e->ep || d->detaching)
		return;
	r = vqt_hdev_bind(d->hdev, &d->bind);
	if (r)
		log_err("device %s: cannot be bound to the session (%s)", d->name, strerror(-r));
	engine_wake(d->e);
}

/* ---- from the front-end ---- */

static void fe_up_attached(void *arg, const struct fe_queue *queues, unsigned n)
{
	struct edev *d = arg;
	void *rings[FE_QUEUES_MAX];
	struct vqt_hdev_cfg cfg = {
		.type = d->kind == FE_NET ? VQT_NET : VQT_BLK,
		.user = d,
		.nvq = n,
		.rings = rings,
		.depth = d->kind == FE_BLK ? d->queue_size : 0,
		.window = d->kind == FE_NET ? d->credit : 0,
		.keys = d->e->nrdma ? &emem_keys : NULL,
	};
	int r;

	d->connected = true;
	d->broken[0] = '\0';
	report(d);
	if (d->hdev || !n || n > FE_QUEUES_MAX)
		return;
	cfg.ring_ops = queues[0].ops;
	for (unsigned i = 0; i < n; i++)
		rings[i] = queues[i].ring;
	d->hdev = vqt_host_attach(d->e->host, &cfg, &r);
	if (!d->hdev) {
		snprintf(d->broken, sizeof(d->broken), "no tunnel end for it (%s)", strerror(-r));
		log_err("device %s: %s", d->name, d->broken);
		return;
	}
	if (d->kind == FE_NET && d->e->nrdma)
		emem_stages(d);
	try_bind(d);
}

static void fe_up_features(void *arg, uint64_t acked)
{
	struct edev *d = arg;

	d->features = acked;
	report(d);
}

static void fe_up_start(void *arg, unsigned q)
{
	struct edev *d = arg;

	if (!d->hdev || d->detaching)
		return;
	if (vqt_host_queue_start(d->hdev, q, d->features & NET_F_MRG_RXBUF))
		return;
	d->running |= 1ull << q;
	report(d);
	engine_wake(d->e);
}

static void fe_up_stop(void *arg, unsigned q)
{
	struct edev *d = arg;

	d->running &= ~(1ull << q);
	report(d);
	if (!d->hdev) {
		fe_queue_drained(d->fe, q);
		return;
	}
	d->stopping |= 1ull << q;
	/* Without a session nothing would come back: give the requests up, the front-end keeps them. */
	vqt_host_queue_stop(d->hdev, q, d->e->ep && d->known ? VQT_STOP_DRAIN : VQT_STOP_FENCE);
	engine_wake(d->e);
}

static void fe_up_kick(void *arg, unsigned q)
{
	struct edev *d = arg;

	if (!d->hdev)
		return;
	d->e->kicked = true;
	vqt_host_kick(d->hdev, q);
	engine_wake(d->e);
}

static void fe_up_broken(void *arg, unsigned q, const char *reason)
{
	struct edev *d = arg;

	snprintf(d->broken, sizeof(d->broken), "queue %u: %s", q, reason);
	log_warn("device %s: the guest broke %s; this queue is dead until the guest resets it", d->name,
		 d->broken);
	if (d->hdev)
		vqt_host_queue_stop(d->hdev, q, VQT_STOP_FENCE);
	report(d);
}

static void fe_up_gone(void *arg)
{
	struct edev *d = arg;

	d->connected = false;
	d->running = 0;
	d->stopping = 0;
	emem_revoke(d);
	for (unsigned q = 0; d->hdev && q < d->nqueues; q++)
		vqt_host_queue_stop(d->hdev, q, VQT_STOP_FENCE);
	report(d);
}

static void fe_up_rarp(void *arg, const uint8_t mac[6])
{
	struct edev *d = arg;

	if (d->hdev)
		vqt_host_announce(d->hdev, mac);
	engine_wake(d->e);
}

static const struct fe_up fe_calls = {
	.attached = fe_up_attached,
	.features = fe_up_features,
	.queue_start = fe_up_start,
	.queue_stop = fe_up_stop,
	.kick = fe_up_kick,
	.broken = fe_up_broken,
	.gone = fe_up_gone,
	.rarp = fe_up_rarp,
};

/* ---- from the tunnel ---- */

static void tunnel_broken(void *user, unsigned vq, const char *reason)
{
	struct edev *d = user;

	snprintf(d->broken, sizeof(d->broken), "queue %u: %s", vq, reason);
	log_warn("device %s: the guest broke %s; this queue is dead until the guest resets it", d->name,
		 d->broken);
	report(d);
}

static void tunnel_stopped(void *user, unsigned vq)
{
	struct edev *d = user;

	if (d->stopping >> vq & 1) {
		d->stopping &= ~(1ull << vq);
		fe_queue_drained(d->fe, vq);
	}
	engine_wake(d->e);
}

static void tunnel_idle(void *user)
{
	struct edev *d = user;

	if (!d->detaching)
		return;
	d->e->unsettled = true;
	engine_wake(d->e);
}

const struct vqt_host_ops edev_tunnel_calls = {
	.broken = tunnel_broken,
	.stopped = tunnel_stopped,
	.idle = tunnel_idle,
};

/* ---- from the session ---- */

struct edev *edev_find(const struct engine *e, uint32_t dev)
{
	list_for_each (it, &e->devs) {
		struct edev *d = container_of(it, struct edev, node);

		if (d->known && d->dev == dev)
			return d;
	}
	return NULL;
}

struct edev *edev_find_uid(const struct engine *e, const char *uid)
{
	list_for_each (it, &e->devs) {
		struct edev *d = container_of(it, struct edev, node);

		if (!strcmp(d->uid, uid))
			return d;
	}
	return NULL;
}

/* Whether the guest's view of the device stays the same, so that it can be taken up as it is. */
static bool same_shape(const struct edev *d, const struct engine_dev_cfg *c)
{
	return !strcmp(d->name, c->name) && d->kind == c->kind && d->tap == c->tap &&
	       !strncmp(d->tap_name, c->tap_name, sizeof(d->tap_name) - 1) && !memcmp(d->mac, c->mac, 6) &&
	       d->nqueues == c->nqueues && d->queue_size == c->queue_size && d->offered == c->features &&
	       d->credit == c->credit && (!c->tap || d->mtu == c->mtu) && d->config_len == c->config_len;
}

static const char *fe_why(const struct engine_dev_cfg *c, int err)
{
	switch (err) {
	case -EPERM:
	case -EACCES:
		return c->tap ? "may not make a TAP: the agent needs CAP_NET_ADMIN and /dev/net/tun"
			      : "may not make its socket: look at the owner and mode of the run directory";
	case -ENOENT:
		return "the run directory is gone: the agent makes it at its start";
	case -EMFILE:
	case -ENFILE:
		return "no more open files: raise LimitNOFILE= (ulimit -Hn) and "
		       "fs.inotify.max_user_instances";
	case -EEXIST:
		return c->tap ? "a network interface of this name exists already: choose another tap_name"
			      : "another process listens on its socket";
	case -ENAMETOOLONG:
		return c->tap ? "its TAP's name is longer than 15 bytes: choose another tap_name"
			      : "its socket's path is longer than 107 bytes: choose a shorter run directory";
	default:
		return strerror(-err);
	}
}

static int make(struct engine *e, const struct engine_dev_cfg *c, struct edev **out, char why[256])
{
	struct fe_config fc = {
		.name = c->tap && c->tap_name[0] ? c->tap_name : c->name,
		.kind = c->kind,
		.dir = e->run_dir,
		.group = e->group,
		.nqueues = c->nqueues,
		.queue_size = c->queue_size,
		.features = c->features,
		.config = c->config,
		.config_len = c->config_len,
		.mtu = c->mtu,
		.memory = e->nrdma ? emem_memory : NULL,
	};
	struct edev *d = calloc(1, sizeof(*d));
	int r = -ENOMEM;

	if (!d)
		return r;
	memcpy(fc.mac, c->mac, 6);
	memcpy(d->mac, c->mac, 6);
	snprintf(d->tap_name, sizeof(d->tap_name), "%s", c->tap_name);
	list_init(&d->node);
	list_init(&d->mem);
	d->e = e;
	d->uid = strdup(c->uid);
	d->name = strdup(c->name);
	d->kind = c->kind;
	d->tap = c->tap;
	d->nqueues = c->nqueues;
	d->queue_size = c->queue_size;
	d->offered = c->features;
	d->credit = c->credit;
	d->mtu = c->mtu;
	d->config_len = c->config_len;
	if (c->config_len)
		memcpy(d->config, c->config, c->config_len);
	if (d->uid && d->name)
		r = e->lanes ? lanes_hold(e->lanes, d->uid, e->lane) : 0;
	if (!r)
		r = fe_create(c->tap ? &fe_tap : &fe_vhost_user, &d->fe, e->base, &fc, &fe_calls, d);
	if (r) {
		snprintf(why, 256, "%s", fe_why(c, r));
		edev_destroy(d);
		return r;
	}
	if (d->tap)
		fe_set_config(d->fe, d->config, d->config_len); /* its link may be down from the start */
	list_add_tail(&e->devs, &d->node);
	*out = d;
	return 0;
}

static void take_config(struct edev *d, const struct engine_dev_cfg *c)
{
	if (!c->config_len || !memcmp(d->config, c->config, c->config_len))
		return;
	memcpy(d->config, c->config, c->config_len);
	fe_set_config(d->fe, d->config, d->config_len);
}

/* Where the guest finds it. */
static void tell_endpoint(const struct edev *d, const struct engine_dev_cfg *c, char endpoint[128])
{
	if (d->tap)
		snprintf(endpoint, 128, "%s", c->tap_name[0] ? c->tap_name : c->name);
	else
		snprintf(endpoint, 128, "%s/%s.sock", d->e->run_dir, d->name);
}

int engine_attach(struct engine *e, const struct engine_dev_cfg *c, char endpoint[128], char why[256])
{
	struct edev *d = edev_find_uid(e, c->uid);
	int r;

	if (!e->ep)
		return -ENOTCONN;
	if (d && d->known && d->dev == c->dev && d->bind.epoch == c->epoch && !d->detaching &&
	    same_shape(d, c)) {
		/* Said again on a new channel of the same session; what changed meanwhile may be news. */
		take_config(d, c);
		tell_endpoint(d, c, endpoint);
		d->told = false;
		return 0;
	}
	if (c->dev >= VQT_WIRE_MAX || edev_find(e, c->dev)) {
		snprintf(why, 256, "device number %u is out of range or in use", c->dev);
		return -EINVAL;
	}
	if (d && (d->known || !same_shape(d, c))) {
		edev_destroy(d);
		d = NULL;
	}
	if (!d) {
		r = engine_fetch(e, c->uid);
		if (!r)
			r = make(e, c, &d, why);
		if (r)
			return r;
	} else {
		take_config(d, c);
	}
	d->dev = c->dev;
	d->known = e->unsettled = true;
	d->told = false;
	d->bind = (struct vqt_bind){
		.wire = (uint16_t)c->dev, .epoch = c->epoch, .rel = c->rel, .max_inflight = c->max_inflight};
	emem_session(d, true);
	try_bind(d);
	tell_endpoint(d, c, endpoint);
	return 0;
}

int engine_detach(struct engine *e, uint32_t dev)
{
	struct edev *d = edev_find(e, dev);

	if (!d)
		return -ENOENT;
	d->detaching = e->unsettled = true;
	for (unsigned q = 0; d->hdev && q < d->nqueues; q++)
		vqt_host_queue_stop(d->hdev, q, VQT_STOP_DRAIN);
	engine_wake(e);
	return 0;
}

void edev_release(struct edev *d)
{
	/* Before the guest's memory and the stages are used for anything else. */
	emem_withdraw(d);
	if (d->hdev)
		vqt_hdev_unbind(d->hdev);
	d->known = false;
	d->left = d->e->round;
	for (unsigned q = 0; d->hdev && q < d->nqueues; q++)
		if (d->stopping >> q & 1)
			vqt_host_queue_stop(d->hdev, q, VQT_STOP_FENCE);
}

int engine_release(struct engine *e, uint32_t dev)
{
	struct edev *d = edev_find(e, dev);

	if (!d || d->detaching)
		return d ? -EALREADY : -ENOENT;
	edev_release(d);
	engine_wake(e);
	return 0;
}

void edev_leave(struct edev *d)
{
	list_del(&d->node);
	fe_leave(d->fe);
	if (d->hdev)
		vqt_host_leave(d->hdev);
}

int edev_join(struct engine *e, struct edev *d)
{
	d->e = e;
	d->left = e->round;
	list_add_tail(&e->devs, &d->node);
	if (d->hdev)
		vqt_host_join(e->host, d->hdev);
	return fe_join(d->fe, e->base);
}

void engine_purge(struct engine *e, uint64_t round)
{
	/* Of an older round, while the next is on its way: it says nothing of what left since. */
	if (!GUARD(lane_purge, !e->lanes || e->round == round))
		return;
	list_for_each_safe (it, &e->devs) {
		struct edev *d = container_of(it, struct edev, node);

		/* What left after that round was said may be on its way to another lane. */
		if (d->known || !GUARD(lane_left, !e->lanes || d->left != round))
			continue;
		log_info("device %s: no longer on this host", d->name);
		edev_destroy(d);
	}
}

int engine_configure(struct engine *e, uint32_t dev, const uint8_t *config, uint16_t len)
{
	struct edev *d = edev_find(e, dev);

	if (!d || len > FE_CONFIG_MAX)
		return d ? -EMSGSIZE : -ENOENT;
	if (len)
		memcpy(d->config, config, len);
	d->config_len = len;
	return fe_set_config(d->fe, config, len);
}

int engine_state(const struct engine *e, uint32_t dev, struct engine_dev_state *out)
{
	const struct edev *d = edev_find(e, dev);

	if (!d)
		return -ENOENT;
	*out = (struct engine_dev_state){
		.connected = d->connected,
		.features = d->features,
		.running = d->running,
		.broken = d->broken,
	};
	return 0;
}

void edev_session_down(struct edev *d)
{
	d->known = false;
	d->left = d->e->round;
	emem_session(d, false);
	if (d->detaching) {
		/* The appliance wanted it gone; the next session will not ask for it, or attach it anew. */
		edev_destroy(d);
		return;
	}
	for (unsigned q = 0; d->hdev && q < d->nqueues; q++)
		if (d->stopping >> q & 1)
			vqt_host_queue_stop(d->hdev, q, VQT_STOP_FENCE);
}

void edev_destroy(struct edev *d)
{
	list_del(&d->node);
	emem_free(d);
	if (d->hdev)
		vqt_host_detach(d->hdev);
	fe_destroy(d->fe);
	emem_free(d);
	/* Not before its socket or TAP is gone: another lane may make it anew at once. */
	if (d->e->lanes && d->uid)
		lanes_let_go(d->e->lanes, d->uid, d->e->lane);
	free(d->uid);
	free(d->name);
	free(d);
}

/* One thing that was put off; the call up may end the session and so change the list. */
static bool settle_one(struct engine *e)
{
	list_for_each (it, &e->devs) {
		struct edev *d = container_of(it, struct edev, node);
		uint32_t dev = d->dev;

		if (d->report && d->known && !d->detaching) {
			d->report = false;
			e->up->device_state(e->ctx, dev);
			return true;
		}
		if (d->mem_news && d->known && !d->detaching) {
			if (emem_settle(d))
				e->up->memory(e->ctx, dev);
			return true;
		}
		if (d->detaching && (!d->hdev || !vqt_hdev_inflight(d->hdev))) {
			edev_destroy(d);
			e->up->detached(e->ctx, dev);
			return true;
		}
	}
	return false;
}

void engine_settle(struct engine *e)
{
	/* Few runs leave anything behind, and there may be hundreds of devices to ask. */
	while (e->unsettled)
		e->unsettled = settle_one(e);
}

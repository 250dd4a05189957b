/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Devices: carries out the steps of attach.h for each vNIC and vDisk of the model.
 *
 * A change that the guest would see as another device (its MAC, queues, front-end ...) is made as
 * remove and create: the new one waits until the old one has let go everything.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "appliance/hosts/hosts_impl.h"
#include "fabric/base/log.h"

#define DETACH_S   10 /* an agent that does not answer for so long loses its session */
#define RETRY_MS   200
#define QUEUE_SIZE 256u

struct device_call {
	struct dp_call call; /* first */
	struct hdev *d;
	struct wsession *ws;
	uint32_t epoch;
	uint64_t features;
	unsigned pairs;
	int result;
};

static void step(struct hdev *d, enum attach_step todo);

/* ---- letters ---- */

static int send_letter(struct hdev *d, struct device_call init,
		       enum dp_verdict (*fn)(struct worker *, struct dp_call *),
		       void (*done)(struct dp_call *))
{
	struct device_call *c = malloc(sizeof(*c));

	if (!c)
		return -ENOMEM;
	*c = init;
	c->d = d;
	c->call.fn = fn;
	c->call.done = done;
	d->letters++;
	dp_call(d->h->dp, &c->call);
	return 0;
}

static struct hdev *letter_back(struct dp_call *call, struct device_call *copy)
{
	struct device_call *c = (struct device_call *)call;

	*copy = *c;
	free(c);
	copy->d->letters--;
	hosts_wake(copy->d->h);
	return copy->d;
}

static void letter_forget(struct dp_call *call)
{
	struct device_call c;

	letter_back(call, &c);
}

static void retry(struct hdev *d);

static enum dp_verdict w_bind(struct worker *w, struct dp_call *call)
{
	struct device_call *c = (struct device_call *)call;
	struct hdev *d = c->d;

	if (d->kind == KIND_VNIC) {
		c->result = worker_vnic_bind(w, c->ws, d->vnic, d->slot, c->epoch, 0, RT_REL_BOUNDED);
		return DP_DONE;
	}
	c->result = 0;
	if (!d->joined)
		c->result = worker_vdisk_add(w, d->vdisk);
	if (!c->result) {
		d->joined = true;
		c->result = worker_vdisk_bind(w, c->ws, d->vdisk, d->slot, c->epoch);
	}
	return DP_DONE;
}

static void bound(struct dp_call *call)
{
	struct device_call c;
	struct hdev *d = letter_back(call, &c);

	if (c.result) {
		snprintf(d->error, sizeof(d->error), "cannot be bound to the session: %s",
			 strerror(-c.result));
		log_err("%s %s: %s; trying again", kind_info(d->kind)->name, d->name, d->error);
		retry(d);
	}
	step(d, attach_bound(&d->a, !c.result));
}

static void w_unbound(void *arg)
{
	dp_reply(arg);
}

static enum dp_verdict w_unbind(struct worker *w, struct dp_call *call)
{
	struct device_call *c = (struct device_call *)call;

	if (c->d->kind == KIND_VNIC) {
		worker_vnic_unbind(w, c->d->vnic);
		return DP_DONE;
	}
	worker_vdisk_unbind(w, c->d->vdisk, w_unbound, call); /* may reply at once */
	return DP_LATER;
}

static void unbound(struct dp_call *call)
{
	struct device_call c;
	struct hdev *d = letter_back(call, &c);

	d->connected = false;
	d->running = 0;
	step(d, attach_unbound(&d->a));
}

static enum dp_verdict w_guest(struct worker *w, struct dp_call *call)
{
	struct device_call *c = (struct device_call *)call;

	(void)w;
	if (c->d->kind == KIND_VNIC)
		vnic_guest(c->d->vnic, c->features, c->pairs);
	else
		vdisk_guest(c->d->vdisk, c->features);
	return DP_DONE;
}

static enum dp_verdict w_leave(struct worker *w, struct dp_call *call)
{
	struct device_call *c = (struct device_call *)call;

	worker_vdisk_del(w, c->d->vdisk);
	return DP_DONE;
}

static void left(struct dp_call *call)
{
	struct device_call c;

	letter_back(call, &c)->joined = false;
}

static enum dp_verdict w_refresh(struct worker *w, struct dp_call *call)
{
	struct device_call *c = (struct device_call *)call;

	(void)w;
	vdisk_refresh(c->d->vdisk);
	return DP_DONE;
}

/* ---- what the agent is told ---- */

static size_t config_of(const struct hdev *d, uint8_t out[FE_CONFIG_BYTES])
{
	if (d->kind == KIND_VNIC) {
		vnic_config(&d->vcfg, true, out);
		return VNIC_CONFIG_LEN;
	}
	vdisk_config(d->vdisk, out);
	return BLK_CONFIG_LEN;
}

static void refreshed(struct dp_call *call)
{
	struct device_call c;
	struct hdev *d = letter_back(call, &c);
	struct session *s = d->a.state == ATTACH_BOUND ? session_by_id(d->h, d->a.session) : NULL;
	Outrigger__Session__V1__Message m = OUTRIGGER__SESSION__V1__MESSAGE__INIT;
	Outrigger__Session__V1__Configure conf = OUTRIGGER__SESSION__V1__CONFIGURE__INIT;
	uint8_t bytes[FE_CONFIG_BYTES];

	if (!s)
		return;
	conf.dev = d->slot;
	conf.config.len = config_of(d, bytes);
	conf.config.data = bytes;
	m.body_case = OUTRIGGER__SESSION__V1__MESSAGE__BODY_CONFIGURE;
	m.configure = &conf;
	session_say(s, &m);
}

static void say_attach(struct hdev *d, struct session *s)
{
	Outrigger__Session__V1__Message m = OUTRIGGER__SESSION__V1__MESSAGE__INIT;
	Outrigger__Session__V1__Attach a = OUTRIGGER__SESSION__V1__ATTACH__INIT;
	uint8_t bytes[FE_CONFIG_BYTES];
	bool net = d->kind == KIND_VNIC;

	a.dev = d->slot;
	a.uid = d->uid;
	a.name = d->name;
	a.kind = net ? OUTRIGGER__SESSION__V1__DEVICE_KIND__NET : OUTRIGGER__SESSION__V1__DEVICE_KIND__BLOCK;
	a.frontend = d->tap ? OUTRIGGER__SESSION__V1__FRONTEND__TAP
			    : OUTRIGGER__SESSION__V1__FRONTEND__VHOST_USER;
	a.tap_name = d->tap_name;
	a.queues = net ? d->vcfg.pairs : d->queues;
	a.queue_size = net ? 1024 : QUEUE_SIZE;
	a.features = net ? vnic_features(&d->vcfg) : vdisk_features(d->vdisk);
	a.config.len = config_of(d, bytes);
	a.config.data = bytes;
	if (net) {
		a.mac.data = d->vcfg.mac;
		a.mac.len = 6;
		a.mtu = d->vcfg.mtu;
	}
	a.epoch = (uint32_t)d->epoch;
	a.credit_bytes = VQT_WINDOW;
	a.max_inflight = VDISK_MAX_INFLIGHT;
	m.body_case = OUTRIGGER__SESSION__V1__MESSAGE__BODY_ATTACH;
	m.attach = &a;
	session_say(s, &m);
}

static void say_detach(struct hdev *d, struct session *s)
{
	Outrigger__Session__V1__Message m = OUTRIGGER__SESSION__V1__MESSAGE__INIT;
	Outrigger__Session__V1__Detach det = OUTRIGGER__SESSION__V1__DETACH__INIT;

	det.dev = d->slot;
	m.body_case = OUTRIGGER__SESSION__V1__MESSAGE__BODY_DETACH;
	m.detach = &det;
	session_say(s, &m);
}

/* ---- steps ---- */

static void bind_device(struct hdev *d)
{
	struct session *s = session_by_id(d->h, d->a.session);
	struct device_call c = {.ws = s ? s->ws : NULL};
	int r = s && s->ws ? 0 : -ENOTCONN;

	if (!r && d->kind == KIND_VNIC) {
		d->epoch = ++d->h->net_epoch;
	} else if (!r) {
		r = store_epoch_raise(control_store(d->h->control), d->volume, &d->epoch);
		if (r) {
			snprintf(d->error, sizeof(d->error),
				 "the store cannot be written, so its epoch cannot be raised: %s",
				 store_error(control_store(d->h->control)));
			log_err("virtual disk %s: %s; trying again", d->name, d->error);
		}
	}
	c.epoch = (uint32_t)d->epoch;
	if (!r)
		r = send_letter(d, c, w_bind, bound);
	if (r) {
		retry(d);
		step(d, attach_bound(&d->a, false));
	}
}

static void step(struct hdev *d, enum attach_step todo)
{
	struct timeval late = {.tv_sec = DETACH_S};
	struct session *s;

	hosts_wake(d->h);
	switch (todo) {
	case ATTACH_NOTHING:
		return;
	case ATTACH_BIND:
		bind_device(d);
		return;
	case ATTACH_SEND_ATTACH:
		d->error[0] = '\0';
		s = session_by_id(d->h, d->a.session);
		if (s)
			say_attach(d, s);
		return;
	case ATTACH_SEND_DETACH:
		evtimer_add(d->late, &late);
		s = session_by_id(d->h, d->a.session);
		if (s)
			say_detach(d, s);
		return;
	case ATTACH_UNBIND:
		if (send_letter(d, (struct device_call){.result = 0}, w_unbind, unbound))
			retry(d);
		return;
	case ATTACH_FREE:
		d->freed = true;
		return;
	}
}

/* The live session of where the device should be, if everything it needs is there. */
static uint64_t wanted(struct hdev *d)
{
	struct session *s;

	if (d->removed || !d->host[0] || d->h->stopping)
		return 0;
	if (d->kind == KIND_VDISK && (!d->vdisk || !d->admin_up))
		return 0;
	list_for_each (it, &d->h->devs) {
		struct hdev *other = container_of(it, struct hdev, node);

		if (other != d && other->removed && !strcmp(other->uid, d->uid))
			return 0; /* its former self has not let go yet */
	}
	s = session_of_host(d->h, d->host);
	return s ? s->id : 0;
}

static int open_disk(struct hdev *d)
{
	int r;

	if (d->kind != KIND_VDISK || d->vdisk || d->removed)
		return 0;
	if (!d->bdev) {
		r = storage_open(d->h->cfg.storage, d->pool, d->volume, d->size, d->read_only, &d->bdev);
		if (r) {
			d->bdev = NULL;
			snprintf(d->error, sizeof(d->error), "volume %s cannot be opened: %s", d->volume,
				 r == -EBUSY ? "I/O of a former owner is still in flight, or another process "
					       "has it"
					     : strerror(-r));
			return r;
		}
	}
	d->vdisk = vdisk_create(d->bdev, d->queues, d->serial);
	if (!d->vdisk)
		return -ENOMEM;
	d->error[0] = '\0';
	return 0;
}

static void refresh_want(struct hdev *d)
{
	int r = open_disk(d);

	if (r) {
		if (r != -EBUSY)
			log_err("virtual disk %s: %s; trying again", d->name, d->error);
		retry(d);
	}
	step(d, attach_want(&d->a, wanted(d)));
}

/* The timer of a device: something is late, or is to be tried again. */
static void on_late(evutil_socket_t fd, short what, void *arg)
{
	struct hdev *d = arg;
	struct session *s = session_by_id(d->h, d->a.session);

	(void)fd;
	(void)what;
	if (d->a.state == ATTACH_DETACHING) {
		if (s)
			session_end(s, "its agent does not answer a detach");
		return;
	}
	if (d->a.state == ATTACH_UNBINDING && !d->letters) {
		step(d, ATTACH_UNBIND);
		return;
	}
	refresh_want(d);
}

static void retry(struct hdev *d)
{
	struct timeval tv = {.tv_usec = RETRY_MS * 1000};

	evtimer_add(d->late, &tv);
}

/* ---- events of sessions ---- */

void devices_refresh(struct hosts *h)
{
	list_for_each (it, &h->devs)
		refresh_want(container_of(it, struct hdev, node));
}

bool device_pending(const struct hdev *d)
{
	return d->a.state == ATTACH_BINDING || d->a.state == ATTACH_DETACHING ||
	       d->a.state == ATTACH_UNBINDING || (d->removed && !d->freed);
}

/* Synced follows the attach of the last device of the host; one whose volume is not there yet is waited for,
 * or the agent would take its socket away from a guest that waits. */
void devices_check_synced(struct session *s)
{
	Outrigger__Session__V1__Message m = OUTRIGGER__SESSION__V1__MESSAGE__INIT;
	Outrigger__Session__V1__Synced synced = OUTRIGGER__SESSION__V1__SYNCED__INIT;

	if (s->state != SESSION_LIVE || s->synced)
		return;
	list_for_each (it, &s->h->devs) {
		struct hdev *d = container_of(it, struct hdev, node);

		if (!d->removed && d->admin_up && !strcmp(d->host, s->name) &&
		    (d->a.state != ATTACH_BOUND || d->a.session != s->id))
			return;
	}
	s->synced = true;
	m.body_case = OUTRIGGER__SESSION__V1__MESSAGE__BODY_SYNCED;
	m.synced = &synced;
	session_say(s, &m);
}

void devices_session_up(struct session *s)
{
	devices_refresh(s->h);
	hosts_wake(s->h);
}

void devices_session_down(struct session *s)
{
	if (!s->id)
		return;
	list_for_each (it, &s->h->devs) {
		struct hdev *d = container_of(it, struct hdev, node);

		if (d->a.session == s->id)
			d->connected = false;
		step(d, attach_session_down(&d->a, s->id));
	}
	devices_refresh(s->h); /* a newer session of this host may be up already */
}

static struct hdev *device_of(struct session *s, uint32_t dev)
{
	struct hdev *d = dev <= DEVICES_MAX ? s->h->slots[dev] : NULL;

	return d && d->a.session == s->id ? d : NULL;
}

void device_on_attached(struct session *s, const Outrigger__Session__V1__Attached *m)
{
	struct hdev *d = device_of(s, m->dev);

	if (!d)
		return;
	snprintf(d->endpoint, sizeof(d->endpoint), "%s", m->endpoint);
	snprintf(d->error, sizeof(d->error), "%s", m->error);
	if (d->error[0])
		log_err("%s %s: host %s: %s", kind_info(d->kind)->name, d->name, s->name, d->error);
}

void device_on_detached(struct session *s, uint32_t dev)
{
	struct hdev *d = device_of(s, dev);

	if (!d)
		return;
	evtimer_del(d->late);
	step(d, attach_detached(&d->a, s->id));
}

void device_on_state(struct session *s, const Outrigger__Session__V1__DeviceState *m)
{
	struct hdev *d = device_of(s, m->dev);
	struct device_call c = {.features = m->features};

	if (!d || d->a.state != ATTACH_BOUND)
		return;
	d->connected = m->connected;
	d->features = m->features;
	d->running = m->queues_running;
	if (m->broken[0] && strcmp(d->broken, m->broken))
		log_warn("%s %s: its guest broke it: %s", kind_info(d->kind)->name, d->name, m->broken);
	snprintf(d->broken, sizeof(d->broken), "%s", m->broken);
	/* Receive queues are the even ones (virtio 1.2 section 5.1.2). */
	while (c.pairs < VNIC_PAIRS && m->queues_running >> (2 * c.pairs) & 1)
		c.pairs++;
	if (send_letter(d, c, w_guest, letter_forget))
		session_end(s, "the appliance is out of memory");
}

/* ---- the model ---- */

struct hdev *device_find(struct hosts *h, enum kind kind, const char *name)
{
	list_for_each (it, &h->devs) {
		struct hdev *d = container_of(it, struct hdev, node);

		if (d->kind == kind && !d->removed && !strcmp(d->name, name))
			return d;
	}
	return NULL;
}

bool device_free_if_done(struct hdev *d)
{
	if (!d->freed || d->letters || d->h->publishing)
		return false;
	if (d->joined) {
		send_letter(d, (struct device_call){.result = 0}, w_leave, left);
		return false;
	}
	list_del(&d->node);
	d->h->slots[d->slot] = NULL;
	vnic_destroy(d->vnic);
	vdisk_destroy(d->vdisk);
	if (d->bdev)
		storage_release(d->h->cfg.storage, d->bdev);
	event_free(d->late);
	free(d->remote);
	free(d);
	return true;
}

static struct hdev *device_new(struct hosts *h, enum kind kind, const char *name, const char *uid,
			       const char *shape)
{
	struct hdev *d = calloc(1, sizeof(*d));
	unsigned slot = 1;

	while (slot <= DEVICES_MAX && h->slots[slot])
		slot++;
	if (d)
		d->late = evtimer_new(h->cfg.base, on_late, d);
	if (!d || slot > DEVICES_MAX || !d->late) {
		free(d);
		return NULL;
	}
	d->h = h;
	d->kind = kind;
	d->slot = (uint16_t)slot;
	snprintf(d->name, sizeof(d->name), "%s", name);
	snprintf(d->uid, sizeof(d->uid), "%s", uid);
	snprintf(d->shape, sizeof(d->shape), "%s", shape);
	attach_init(&d->a);
	h->slots[slot] = d;
	list_add_tail(&h->devs, &d->node);
	return d;
}

static void device_remove(struct hdev *d)
{
	d->removed = true;
	step(d, attach_remove(&d->a));
}

static const char *host_of(const struct model *m, const char *profile)
{
	const Outrigger__V1__Profile *p = model_profile(m, profile);

	return p ? p->host : "";
}

static int apply_vnic(struct hosts *h, const struct model *m, const Outrigger__V1__VNic *v)
{
	struct hdev *d = device_find(h, KIND_VNIC, v->name);
	bool tap = v->frontend == OUTRIGGER__V1__VNIC_FRONTEND__VNIC_FRONTEND_TAP;
	char shape[256];

	snprintf(shape, sizeof(shape), "%s %s %u %u %d %s", v->uid, v->mac, v->mtu, v->queues, tap,
		 v->tap_name);
	if (d && strcmp(d->shape, shape)) {
		device_remove(d);
		d = NULL;
	}
	if (!d) {
		d = device_new(h, KIND_VNIC, v->name, v->uid, shape);
		if (!d)
			return -ENOSPC;
		d->tap = tap;
		snprintf(d->tap_name, sizeof(d->tap_name), "%s", v->tap_name);
		d->vcfg = (struct vnic_cfg){.port = d->slot, .mtu = v->mtu, .pairs = v->queues};
		for (int i = 0; i < 6; i++)
			d->vcfg.mac[i] = (uint8_t)strtoul(v->mac + 3 * i, NULL, 16);
		d->vnic = vnic_create(&d->vcfg);
		if (!d->vnic) {
			d->freed = true;
			return -ENOMEM;
		}
	}
	snprintf(d->host, sizeof(d->host), "%s", host_of(m, v->profile));
	snprintf(d->network, sizeof(d->network), "%s", v->network);
	d->admin_up = v->admin_state != OUTRIGGER__V1__ADMIN_STATE__ADMIN_STATE_DOWN;
	return 0;
}

static int apply_vdisk(struct hosts *h, const struct model *m, const Outrigger__V1__VDisk *v)
{
	struct hdev *d = device_find(h, KIND_VDISK, v->name);
	const Outrigger__V1__Volume *vol = model_volume(m, v->volume);
	char shape[256];

	if (!vol)
		return -ENOENT;
	snprintf(shape, sizeof(shape), "%s %s %d %u %s", v->uid, v->volume, v->read_only, v->queues,
		 v->serial);
	if (d && strcmp(d->shape, shape)) {
		device_remove(d);
		d = NULL;
	}
	if (!d) {
		d = device_new(h, KIND_VDISK, v->name, v->uid, shape);
		if (!d)
			return -ENOSPC;
		snprintf(d->pool, sizeof(d->pool), "%s", vol->pool);
		snprintf(d->volume, sizeof(d->volume), "%s", v->volume);
		snprintf(d->serial, sizeof(d->serial), "%s", v->serial);
		d->read_only = v->read_only;
		d->queues = v->queues;
	}
	if (d->size && d->size != vol->size_bytes && d->vdisk)
		send_letter(d, (struct device_call){.result = 0}, w_refresh, refreshed);
	d->size = vol->size_bytes;
	snprintf(d->host, sizeof(d->host), "%s", host_of(m, v->profile));
	d->admin_up = v->admin_state != OUTRIGGER__V1__ADMIN_STATE__ADMIN_STATE_DOWN;
	return 0;
}

int devices_apply(struct hosts *h, const struct model *m, char *why, size_t why_size)
{
	int r = 0;

	list_for_each (it, &h->devs) {
		struct hdev *d = container_of(it, struct hdev, node);

		if (!d->removed && !model_get(m, d->kind, d->name))
			device_remove(d);
	}
	for (size_t i = 0; !r && i < model_count(m, KIND_VNIC); i++)
		r = apply_vnic(h, m, model_vnic_at(m, i));
	for (size_t i = 0; !r && i < model_count(m, KIND_VDISK); i++)
		r = apply_vdisk(h, m, model_vdisk_at(m, i));
	if (r == -ENOSPC)
		snprintf(why, why_size, "an appliance has room for %u devices, and all are taken",
			 DEVICES_MAX);
	else if (r)
		snprintf(why, why_size, "%s", strerror(-r));
	if (!r)
		devices_refresh(h);
	return r;
}

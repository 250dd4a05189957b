/* SPDX-License-Identifier: Apache-2.0 */
/* Devices: carries out the steps of attach.h for each vNIC and vDisk of the model. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "appliance/hosts/hosts_impl.h"
#include "fabric/base/log.h"

#define DETACH_S     10 /* an agent that does not answer for so long loses its session */
#define RETRY_MIN_MS 50u
#define RETRY_MAX_MS 3200u
#define REFUSED_S    5 /* what an agent could not make is tried again so often */

struct device_call {
	struct dp_call call; /* first */
	struct hdev *d;
	struct wsession *ws;
	uint32_t epoch;
	enum rt_rel rel;
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

static void retry(struct hdev *d);

/* Trouble that is tried again: said in the log once, not with every try. */
static void trouble(struct hdev *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void trouble(struct hdev *d, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(d->error, sizeof(d->error), fmt, ap);
	va_end(ap);
	if (strcmp(d->said, d->error))
		log_err("%s %s: %s; trying again", kind_info(d->kind)->name, d->name, d->error);
	memcpy(d->said, d->error, sizeof(d->said));
}

static enum dp_verdict w_bind(struct worker *w, struct dp_call *call)
{
	struct device_call *c = (struct device_call *)call;
	struct hdev *d = c->d;

	if (d->kind == KIND_VNIC) {
		c->result = worker_vnic_bind(w, c->ws, d->vnic, d->slot, c->epoch, 0, c->rel);
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
		trouble(d, "cannot be bound to the session: %s", strerror(-c.result));
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
	int r;

	if (c->d->kind == KIND_VNIC) {
		worker_vnic_unbind(w, c->d->vnic);
		return DP_DONE;
	}
	r = worker_vdisk_unbind(w, c->d->vdisk, w_unbound,
				call); /* may reply at once: the letter is gone then */
	if (!r)
		return DP_LATER;
	c->result = r;
	return DP_DONE;
}

/* What the last agent said of it is no longer so. */
static void forget_agent(struct hdev *d)
{
	d->connected = d->refused = d->guest_changed = false;
	d->features = d->running = 0;
	d->endpoint[0] = d->broken[0] = '\0';
	free(d->remote);
	d->remote = NULL;
	d->nremote = 0;
}

static void unbound(struct dp_call *call)
{
	struct device_call c;
	struct hdev *d = letter_back(call, &c);

	d->unbinding = false;
	if (c.result) {
		retry(d);
		return;
	}
	forget_agent(d);
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

static void say_guest(struct hdev *d);

static void guest_said(struct dp_call *call)
{
	struct device_call c;
	struct hdev *d = letter_back(call, &c);

	d->guest_letter = false;
	if (d->guest_changed && d->a.state == ATTACH_BOUND)
		say_guest(d);
}

/* Tells the worker what the guest negotiated. One letter at a time, however often an agent changes its mind.
 */
static void say_guest(struct hdev *d)
{
	/* Without a running queue there is no driver: the next one may promise other things to its writes. */
	struct device_call c = {.features = d->running ? d->features : 0};

	d->guest_changed = d->guest_letter;
	if (d->guest_letter)
		return;
	/* Receive queues are the even ones (virtio 1.2 section 5.1.2). */
	while (c.pairs < VNIC_PAIRS && d->running >> (2 * c.pairs) & 1)
		c.pairs++;
	d->guest_letter = !send_letter(d, c, w_guest, guest_said);
	if (!d->guest_letter)
		session_end(session_by_id(d->h, d->a.session), "the appliance is out of memory");
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

static void refreshed(struct dp_call *call)
{
	struct device_call c;

	device_say_configure(letter_back(call, &c));
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
		/* Packets carry 32 bits of it, and none of them is 0. */
		do
			r = store_epoch_raise(control_store(d->h->control), d->volume, &d->epoch);
		while (!r && !(uint32_t)d->epoch);
		if (r)
			trouble(d, "the store cannot be written, so its epoch cannot be raised: %s",
				store_error(control_store(d->h->control)));
	}
	c.epoch = (uint32_t)d->epoch;
	c.rel = d->rel;
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
		d->retry_ms = 0;
		s = session_by_id(d->h, d->a.session);
		if (s)
			device_say_attach(d, s);
		return;
	case ATTACH_SEND_DETACH:
		evtimer_add(d->late, &late);
		s = session_by_id(d->h, d->a.session);
		if (s)
			device_say_detach(d, s);
		return;
	case ATTACH_UNBIND:
		evtimer_del(d->late);
		d->unbinding = !send_letter(d, (struct device_call){.result = 0}, w_unbind, unbound);
		if (!d->unbinding)
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
	/* Seldom: only while something removed is letting go. */
	for (struct list *it = d->h->devs.next; d->h->nremoved && it != &d->h->devs; it = it->next) {
		struct hdev *other = container_of(it, struct hdev, node);

		if (other != d && other->removed && !strcmp(other->uid, d->uid))
			return 0; /* its former self has not let go yet */
	}
	s = lanes_place(d);
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
			trouble(d, "volume %s cannot be opened: %s", d->volume,
				r == -EBUSY ? "I/O of a former owner is still in flight, or another process "
					      "has it"
					    : strerror(-r));
			return r;
		}
	}
	d->vdisk = vdisk_create(d->bdev, d->queues, d->serial);
	if (!d->vdisk)
		return -ENOMEM;
	d->error[0] = d->said[0] = '\0';
	d->retry_ms = 0;
	return 0;
}

void device_refresh(struct hdev *d)
{
	/* While a try is due the timer makes it: what others do must not make it more often. */
	if (!evtimer_pending(d->late, NULL) && open_disk(d))
		retry(d);
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
	if (d->a.state == ATTACH_UNBINDING) {
		if (!d->unbinding)
			step(d, ATTACH_UNBIND);
		return;
	}
	if (d->a.state == ATTACH_BOUND && d->refused) {
		d->refused = false;
		step(d, attach_changed(&d->a));
		return;
	}
	device_refresh(d);
}

static void retry(struct hdev *d)
{
	unsigned ms = d->retry_ms ? 2 * d->retry_ms : RETRY_MIN_MS;
	struct timeval tv;

	d->retry_ms = ms < RETRY_MAX_MS ? ms : RETRY_MAX_MS;
	tv = (struct timeval){.tv_sec = d->retry_ms / 1000, .tv_usec = d->retry_ms % 1000 * 1000};
	evtimer_add(d->late, &tv);
}

/* ---- events of sessions ---- */

void devices_refresh(struct hosts *h)
{
	list_for_each (it, &h->devs)
		device_refresh(container_of(it, struct hdev, node));
}

bool device_pending(const struct hdev *d)
{
	return d->a.state == ATTACH_BINDING || d->a.state == ATTACH_DETACHING ||
	       d->a.state == ATTACH_UNBINDING || d->removed;
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
	struct timeval later = {.tv_sec = REFUSED_S};
	struct hdev *d = device_of(s, m->dev);
	char error[sizeof(d->error)];

	if (!d || d->a.state != ATTACH_BOUND)
		return;
	session_text(d->endpoint, sizeof(d->endpoint), m->endpoint);
	session_text(error, sizeof(error), m->error);
	if (error[0] && strcmp(error, d->said) && session_may_log(s))
		log_err("%s %s: host %s: %s; trying again", kind_info(d->kind)->name, d->name, s->name,
			error);
	memcpy(d->error, error, sizeof(d->error));
	memcpy(d->said, error, sizeof(d->said));
	d->refused = error[0];
	if (d->refused)
		evtimer_add(d->late, &later);
}

void device_on_detached(struct session *s, uint32_t dev)
{
	struct hdev *d = device_of(s, dev);

	if (d && d->a.state == ATTACH_DETACHING)
		step(d, attach_detached(&d->a, s->id));
}

void device_on_state(struct session *s, const Outrigger__Session__V1__DeviceState *m)
{
	struct hdev *d = device_of(s, m->dev);
	char broken[sizeof(d->broken)];

	if (!d || d->a.state != ATTACH_BOUND)
		return;
	d->connected = m->connected;
	d->features = m->features;
	d->running = m->queues_running;
	session_text(broken, sizeof(broken), m->broken);
	if (broken[0] && strcmp(d->broken, broken) && session_may_log(s))
		log_warn("%s %s: its guest broke it: %s", kind_info(d->kind)->name, d->name, broken);
	memcpy(d->broken, broken, sizeof(d->broken));
	say_guest(d);
}

/* ---- for the model ---- */

void device_remove(struct hdev *d)
{
	d->removed = true;
	d->h->nremoved++;
	step(d, attach_remove(&d->a));
}

void device_grown(struct hdev *d)
{
	send_letter(d, (struct device_call){.result = 0}, w_refresh, refreshed);
}

void device_reattach(struct hdev *d)
{
	step(d, attach_changed(&d->a));
}

void device_leave(struct hdev *d)
{
	send_letter(d, (struct device_call){.result = 0}, w_leave, left);
}

struct event *device_timer(struct hdev *d)
{
	return evtimer_new(d->h->cfg.base, on_late, d);
}

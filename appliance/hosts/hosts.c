/* SPDX-License-Identifier: Apache-2.0 */
#include "appliance/hosts/hosts.h"

#include <errno.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "appliance/hosts/hosts_impl.h"
#include "fabric/base/log.h"

#define HELLO_S	      10u
#define CARRIED_QUEUE (1u << 20)
/* A change waits so long for devices to let go of their former places; then it is answered, and they go on
 * by themselves: a backend that hangs must not stop all other changes. */
#define APPLY_S 15u

void hosts_wake(struct hosts *h)
{
	event_active(h->settle, EV_TIMEOUT, 0);
}

uint32_t hosts_net_id(struct hosts *h, const char *name)
{
	struct netid *n;

	list_for_each (it, &h->nets) {
		n = container_of(it, struct netid, node);
		if (!strcmp(n->name, name))
			return n->id;
	}
	n = calloc(1, sizeof(*n));
	if (!n)
		return 0;
	snprintf(n->name, sizeof(n->name), "%s", name);
	n->id = ++h->next_net;
	list_add_tail(&h->nets, &n->node);
	return n->id;
}

static bool pending(const struct hosts *h)
{
	if (h->publishing)
		return true;
	/* What a refused change removed stays until another one is published. */
	if (h->apply_msg[0] || h->ticks - h->apply_tick > APPLY_S)
		return false;
	list_for_each (it, &h->devs)
		if (device_pending(container_of(it, struct hdev, node)))
			return true;
	return false;
}

/* The one place where things are freed and answers given: no caller up the stack holds any of them. */
static void settle(evutil_socket_t fd, short what, void *arg)
{
	struct hosts *h = arg;
	bool freed = false;

	(void)fd;
	(void)what;
	list_for_each_safe (it, &h->devs)
		freed |= device_free_if_done(container_of(it, struct hdev, node));
	if (freed)
		devices_refresh(h); /* successors of the same identity waited for this */
	list_for_each_safe (it, &h->sessions) {
		struct session *s = container_of(it, struct session, node);

		devices_check_synced(s);
		session_del_if_done(s);
	}
	if (h->apply_done && !pending(h)) {
		void (*done)(void *, int, const char *) = h->apply_done;

		h->apply_done = NULL;
		h->started = true;
		done(h->apply_arg, h->apply_msg[0] ? -EINVAL : 0, h->apply_msg);
	}
	if (h->stopping && h->shutdown_done && list_empty(&h->sessions) && list_empty(&h->devs) &&
	    !h->publishing) {
		void (*done)(void *) = h->shutdown_done;

		h->shutdown_done = NULL;
		done(h->shutdown_arg);
	}
}

/* Of the shutdown's own apply. */
static void unpublished(void *arg, int err, const char *msg)
{
	(void)arg;
	(void)err;
	(void)msg;
}

static int apply(void *ctx, const struct model *m, void (*done)(void *arg, int err, const char *msg),
		 void *arg)
{
	struct hosts *h = ctx;
	int r;

	if (h->stopping && done != unpublished)
		return -ESHUTDOWN;
	h->apply_msg[0] = '\0';
	r = publish_ports(h, m, h->apply_msg, sizeof(h->apply_msg));
	if (!r)
		r = devices_apply(h, m, h->apply_msg, sizeof(h->apply_msg));
	if (!r) {
		r = publish(h, m);
		if (r)
			snprintf(h->apply_msg, sizeof(h->apply_msg), "%s", strerror(-r));
	}
	h->apply_done = done;
	h->apply_arg = arg;
	h->apply_tick = h->ticks;
	hosts_wake(h);
	return 0;
}

static void host_revoked(void *ctx, const char *host)
{
	struct hosts *h = ctx;

	/* Whatever its state: one that has not said hello could do so later. */
	list_for_each (it, &h->sessions) {
		struct session *s = container_of(it, struct session, node);

		if (!strcmp(s->name, host))
			session_end(s, "its certificate was revoked");
	}
}

struct control_ops hosts_control_ops(struct hosts *h)
{
	return (struct control_ops){.ctx = h, .apply = apply, .host_revoked = host_revoked};
}

/* What the channel's queue has no room for is lost like any packet; most of the queue is kept for what must
 * not be. */
void hosts_carry(void *ctx, uint64_t session_id, const uint8_t *data, uint32_t len)
{
	struct session *s = session_by_id(ctx, session_id);
	Outrigger__Session__V1__Message m = OUTRIGGER__SESSION__V1__MESSAGE__INIT;
	Outrigger__Session__V1__Carrier c = OUTRIGGER__SESSION__V1__CARRIER__INIT;

	if (!s || !s->chan || s->state != SESSION_LIVE || chan_queued(s->chan) > CARRIED_QUEUE)
		return;
	c.packet.data = (uint8_t *)data;
	c.packet.len = len;
	m.body_case = OUTRIGGER__SESSION__V1__MESSAGE__BODY_CARRIER;
	m.carrier = &c;
	session_send(s->chan, &m);
}

void hosts_session_lost(void *ctx, uint64_t session_id, const char *reason)
{
	struct session *s = session_by_id(ctx, session_id);

	if (s)
		session_end(s, reason);
}

/* ---- once a second: what the worker knows, for status ---- */

struct tick_call {
	struct dp_call call; /* first */
	struct hosts *h;
};

static enum dp_verdict w_tick(struct worker *w, struct dp_call *call)
{
	worker_counters(w);
	(void)call;
	return DP_DONE;
}

static void ticked(struct dp_call *call)
{
	((struct tick_call *)call)->h->tick_letter = false;
	free(call);
}

struct path_call {
	struct dp_call call; /* first */
	struct hosts *h;
	uint64_t id;
	struct wsession *ws;
	unsigned npaths, number[RT_PATHS];
	struct session_path path[RT_PATHS];
};

static enum dp_verdict w_path(struct worker *w, struct dp_call *call)
{
	struct path_call *c = (struct path_call *)call;

	(void)w;
	for (unsigned i = 0; i < c->npaths; i++) {
		c->path[i].known = wsession_peer(c->ws, c->number[i], &c->path[i].peer);
		rt_path_info(wsession_rt(c->ws), c->number[i], &c->path[i].info);
	}
	return DP_DONE;
}

static void path_known(struct dp_call *call)
{
	struct path_call *c = (struct path_call *)call;
	struct session *s = session_by_id(c->h, c->id);

	if (s) {
		s->asked = false;
		memcpy(s->path, c->path, sizeof(s->path));
	}
	free(c);
}

static void ask_path(struct hosts *h, struct session *s)
{
	struct path_call *c = s->asked ? NULL : calloc(1, sizeof(*c));

	if (!c)
		return;
	s->asked = true;
	c->h = h;
	c->id = s->id;
	c->ws = s->ws;
	c->npaths = s->cfg.npaths;
	memcpy(c->number, s->cfg.path, sizeof(c->number));
	c->call.fn = w_path;
	c->call.done = path_known;
	dp_call(h->dp, &c->call);
}

static void tick(evutil_socket_t fd, short what, void *arg)
{
	struct hosts *h = arg;
	struct tick_call *c = h->tick_letter ? NULL : calloc(1, sizeof(*c));

	(void)fd;
	(void)what;
	if (c) {
		h->tick_letter = true;
		c->h = h;
		c->call.fn = w_tick;
		c->call.done = ticked;
		dp_call(h->dp, &c->call);
	}
	h->ticks++;
	list_for_each_safe (it, &h->sessions) {
		struct session *s = container_of(it, struct session, node);

		s->messages = s->bytes = s->lines = 0;
		if (s->state == SESSION_NEW && h->ticks - s->born > HELLO_S)
			session_end(s, "its agent says nothing");
		if (s->state != SESSION_LIVE)
			continue;
		ask_path(h, s);
		if (h->cfg.rekey_s && h->ticks - s->rekeyed >= h->cfg.rekey_s)
			session_rekey(s);
		if (h->ticks % STATS_EVERY == 0)
			session_poll_stats(s);
	}
	lanes_tick(h);
	if (h->apply_done)
		hosts_wake(h);
}

/* ---- life ---- */

int hosts_create(const struct hosts_cfg *cfg, struct hosts **out)
{
	struct hosts *h = calloc(1, sizeof(*h));

	if (!h)
		return -ENOMEM;
	h->cfg = *cfg;
	list_init(&h->devs);
	list_init(&h->sessions);
	list_init(&h->nets);
	RAND_bytes((uint8_t *)&h->net_epoch, sizeof(h->net_epoch));
	RAND_bytes((uint8_t *)&h->round, sizeof(h->round));
	if (spi_issuer_init(&h->issuer)) {
		free(h);
		return -EIO;
	}
	h->settle = event_new(cfg->base, -1, 0, settle, h);
	h->tick = event_new(cfg->base, -1, EV_PERSIST, tick, h);
	if (!h->settle || !h->tick) {
		hosts_destroy(h);
		return -ENOMEM;
	}
	*out = h;
	return 0;
}

static void on_dp(evutil_socket_t fd, short what, void *arg)
{
	struct hosts *h = arg;

	(void)fd;
	(void)what;
	dp_control_drain(h->dp);
}

void hosts_set_dp(struct hosts *h, struct dp *dp)
{
	struct timeval second = {.tv_sec = 1};

	h->dp = dp;
	h->dp_ev = event_new(h->cfg.base, dp_control_fd(dp), EV_READ | EV_PERSIST, on_dp, h);
	if (h->dp_ev)
		event_add(h->dp_ev, NULL);
	event_add(h->tick, &second);
}

void hosts_set_control(struct hosts *h, struct control *c)
{
	h->control = c;
}

int hosts_listen(struct hosts *h, const char *address, uint16_t port, SSL_CTX *tls)
{
	struct chan_listen_cfg cfg = {
		.base = h->cfg.base,
		.address = address,
		.port = port,
		.tls = tls,
		.ops = &session_chan_ops,
		.ctx = h,
	};

	int r;

	if (h->nlisteners == HOSTS_FABRICS)
		return -ENOSPC;
	r = chan_listen(&cfg, &h->listener[h->nlisteners]);
	if (!r)
		h->nlisteners++;
	return r;
}

static void free_listeners(struct hosts *h)
{
	while (h->nlisteners)
		chan_listener_free(h->listener[--h->nlisteners]);
}

void hosts_shutdown(struct hosts *h, void (*done)(void *arg), void *arg)
{
	static const struct model_env none;
	struct model *empty = NULL;

	h->stopping = true;
	h->shutdown_done = done;
	h->shutdown_arg = arg;
	free_listeners(h);
	list_for_each_safe (it, &h->sessions) {
		struct session *s = container_of(it, struct session, node);

		session_end(s, "the appliance stops");
	}
	evtimer_del(h->tick);
	/* Nothing is desired any more: everything lets go by the same steps as ever. */
	if (!model_new(&none, &empty)) {
		h->apply_done = NULL;
		apply(h, empty, unpublished, NULL);
		model_free(empty);
	}
	hosts_wake(h);
}

void hosts_destroy(struct hosts *h)
{
	if (!h)
		return;
	free_listeners(h);
	publish_forget(h);
	list_for_each_safe (it, &h->nets) {
		struct netid *n = container_of(it, struct netid, node);

		list_del(&n->node);
		free(n);
	}
	if (h->settle)
		event_free(h->settle);
	if (h->tick)
		event_free(h->tick);
	if (h->dp_ev)
		event_free(h->dp_ev);
	spi_issuer_fini(&h->issuer);
	free(h);
}

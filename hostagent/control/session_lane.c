/* SPDX-License-Identifier: Apache-2.0 */
#include "hostagent/control/session_lane.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

typedef Outrigger__Session__V1__Attach attach_msg;
typedef Outrigger__Session__V1__HeldDevice held_msg;

/* Of one Hello: 40 bytes each, far below CHAN_MESSAGE_MAX. An appliance has no more devices. */
#define HELD_MAX 4096u

struct awaited {
	struct list node;
	attach_msg *a;
};

void session_lane_init(struct session_lane *l, struct lanes *lanes, unsigned lane)
{
	*l = (struct session_lane){.lanes = lanes, .lane = lane, .shut = lane > 0};
	list_init(&l->awaited);
}

static void drop(struct awaited *w)
{
	list_del(&w->node);
	outrigger__session__v1__attach__free_unpacked(w->a, NULL);
	free(w);
}

void session_lane_down(struct session_lane *l)
{
	list_for_each_safe (it, &l->awaited)
		drop(container_of(it, struct awaited, node));
}

/* ---- the session's begin ---- */

static void add_held(void *arg, const char *uid, unsigned lane)
{
	Outrigger__Session__V1__Hello *h = arg;
	held_msg *d = h->n_held < HELD_MAX ? malloc(sizeof(*d)) : NULL;

	if (!d)
		return;
	outrigger__session__v1__held_device__init(d);
	d->uid = strdup(uid);
	d->lane = lane;
	if (d->uid)
		h->held[h->n_held++] = d;
	else
		free(d);
}

void session_lane_hello(struct session_lane *l, Outrigger__Session__V1__Hello *h)
{
	if (!l->lanes)
		return;
	h->lane = l->lane;
	h->lanes = lanes_count(l->lanes);
	h->held = calloc(HELD_MAX, sizeof(*h->held));
	if (h->held)
		lanes_each(l->lanes, add_held, h);
}

void session_lane_hello_done(Outrigger__Session__V1__Hello *h)
{
	for (size_t i = 0; i < h->n_held; i++) {
		free(h->held[i]->uid);
		free(h->held[i]);
	}
	free(h->held);
}

const char *session_lane_welcome(struct session_lane *l, const Outrigger__Session__V1__Welcome *w)
{
	if (l->lane && l->lane >= w->lanes) {
		l->shut = true;
		return "the appliance takes fewer I/O threads";
	}
	if (l->lanes && !l->lane)
		lanes_open(l->lanes, w->lanes);
	return NULL;
}

bool session_lane_shut(const struct session_lane *l)
{
	return l->shut;
}

bool session_lane_opened(struct session_lane *l)
{
	bool was = l->shut;

	l->shut = false;
	return was;
}

/* ---- devices that come from another lane ---- */

/* A copy that may be kept: messages know how to write and read themselves. */
static attach_msg *copy(const attach_msg *a)
{
	size_t len = outrigger__session__v1__attach__get_packed_size(a);
	uint8_t *bytes = malloc(len + 1);
	attach_msg *c;

	if (!bytes)
		return NULL;
	outrigger__session__v1__attach__pack(a, bytes);
	c = outrigger__session__v1__attach__unpack(NULL, len, bytes);
	free(bytes);
	return c;
}

int session_lane_await(struct session_lane *l, const attach_msg *a)
{
	struct awaited *w = calloc(1, sizeof(*w));

	session_lane_forget(l, a->dev);
	if (w)
		w->a = copy(a);
	if (!w || !w->a) {
		free(w);
		return -ENOMEM;
	}
	list_add_tail(&l->awaited, &w->node);
	return 0;
}

attach_msg *session_lane_came(struct session_lane *l, const char *uid)
{
	list_for_each (it, &l->awaited) {
		struct awaited *w = container_of(it, struct awaited, node);
		attach_msg *a = w->a;

		if (strcmp(a->uid, uid))
			continue;
		list_del(&w->node);
		free(w);
		return a;
	}
	return NULL;
}

void session_lane_forget(struct session_lane *l, uint32_t dev)
{
	list_for_each_safe (it, &l->awaited) {
		struct awaited *w = container_of(it, struct awaited, node);

		if (w->a->dev == dev)
			drop(w);
	}
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine as one lane of several (lanes.h): it takes letters from its loop, between bursts.
 *
 * A device is given away whole: front-end, rings, tunnel end and what is in flight. Nothing is waited for:
 * what the appliance may still answer is of an epoch that is over, and is asked again from the next lane.
 */
#include <errno.h>
#include <stdlib.h>

#include "fabric/base/guard.h"
#include "fabric/base/log.h"
#include "hostagent/engine/engine_impl.h"

int engine_fetch(struct engine *e, const char *uid)
{
	int holder = e->lanes ? lanes_holder(e->lanes, uid) : -1;
	struct lane_letter *m;

	if (holder < 0)
		return 0;
	if ((unsigned)holder == e->lane)
		return -EINPROGRESS; /* it is in the mail */
	m = lanes_letter(LANE_WANT, e->lane, uid);
	if (!m)
		return -ENOMEM;
	if (lanes_post(e->lanes, (unsigned)holder, m))
		free(m); /* the agent is leaving */
	return -EINPROGRESS;
}

static void give(struct engine *e, struct lane_letter *m)
{
	struct edev *d = edev_find_uid(e, m->uid);
	unsigned to = m->from;

	/* Its rings were told to stop for good. */
	if (d && !GUARD(lane_detaching, !d->detaching)) {
		edev_destroy(d);
		d = NULL;
	}
	if (d) {
		edev_release(d);
		edev_leave(d);
		lanes_hold(e->lanes, m->uid, to);
	}
	m->kind = LANE_GIVE;
	m->from = e->lane;
	m->dev = d;
	if (!lanes_post(e->lanes, to, m))
		return;
	if (d) {
		edev_destroy(d);
		lanes_let_go(e->lanes, m->uid, to);
	}
	free(m);
}

static void take(struct engine *e, struct lane_letter *m)
{
	if (m->dev && edev_join(e, m->dev)) {
		log_err("device %s: cannot change its I/O thread; it is made anew", m->dev->name);
		edev_destroy(m->dev);
	}
	e->up->came(e->ctx, m->uid);
}

static void on_letters(evutil_socket_t fd, short what, void *arg)
{
	struct engine *e = arg;
	struct lane_letter *m;

	(void)fd;
	(void)what;
	while ((m = lanes_next(e->lanes, e->lane)) != NULL) {
		if (m->kind == LANE_WANT) {
			give(e, m);
			continue;
		}
		if (m->kind == LANE_GIVE)
			take(e, m);
		else if (m->kind == LANE_PURGE)
			engine_purge(e, m->round);
		else if (m->kind == LANE_OPEN)
			e->up->opened(e->ctx);
		else
			event_base_loopbreak(e->base);
		free(m);
	}
}

int engine_lane_up(struct engine *e)
{
	if (!e->lanes)
		return 0;
	e->letters = event_new(e->base, lanes_fd(e->lanes, e->lane), EV_READ | EV_PERSIST, on_letters, e);
	return e->letters && !event_add(e->letters, NULL) ? 0 : -ENOMEM;
}

void engine_lane_down(struct engine *e)
{
	struct lane_letter *m;

	if (!e->lanes)
		return;
	lanes_close(e->lanes, e->lane);
	while ((m = lanes_next(e->lanes, e->lane)) != NULL) {
		if (m->kind == LANE_GIVE && m->dev) {
			m->dev->e = e;
			edev_destroy(m->dev);
		}
		free(m);
	}
	if (e->letters)
		event_free(e->letters);
}

void engine_synced(struct engine *e, uint64_t round)
{
	struct lane_letter *m;

	if (!e->lanes) {
		engine_purge(e, round);
		return;
	}
	e->round = round;
	if (!lanes_heard(e->lanes, e->lane, round))
		return;
	for (unsigned i = 0; i < lanes_count(e->lanes); i++) {
		m = lanes_letter(LANE_PURGE, e->lane, "");
		if (!m)
			return; /* another round will come */
		m->round = round;
		if (lanes_post(e->lanes, i, m))
			free(m);
	}
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lanes: the I/O threads of a host's agent, each with a session of its own, and which of them a device is
 * attached to. The appliance decides, since it attaches: a device goes to the lane with the fewest, or to the
 * one that its administrator says, and stays there. It is moved when that is changed, when one lane has too
 * much to do while another has time (lane_balance.h), or when its lane has been without a session for a
 * while. A move is made of the steps of any other (attach.h): the old session lets go, its I/O is drained,
 * the epoch is raised, the new one binds.
 */
#include <stdlib.h>
#include <string.h>

#include "appliance/hosts/hosts_impl.h"
#include "appliance/hosts/lane_balance.h"
#include "fabric/base/clock.h"
#include "fabric/base/log.h"

/* Ticks. A lane that comes back so soon finds its devices where they were. */
#define LANE_GRACE_S 3u
/* After a move the same device stays so long. */
#define LANE_STAY_S 60u

static struct session *lane_session(struct hosts *h, const char *host, unsigned lane)
{
	list_for_each (it, &h->sessions) {
		struct session *s = container_of(it, struct session, node);

		if (s->state == SESSION_LIVE && s->lane == lane && !strcmp(s->name, host))
			return s;
	}
	return NULL;
}

unsigned lanes_live(struct hosts *h, const char *host, struct session *out[LANES])
{
	unsigned n = 0;

	for (unsigned i = 0; i < LANES; i++) {
		out[n] = lane_session(h, host, i);
		n += out[n] != NULL;
	}
	return n;
}

/* The lane with the fewest devices of the host; of those that have a session, if live. */
static unsigned least(struct hdev *d, unsigned n, bool live)
{
	unsigned count[LANES] = {0}, best = LANES;

	list_for_each (it, &d->h->devs) {
		struct hdev *o = container_of(it, struct hdev, node);

		if (o != d && o->lane < n && !o->removed && !strcmp(o->host, d->host))
			count[o->lane]++;
	}
	for (unsigned i = 0; i < n; i++)
		if ((best == LANES || count[i] < count[best]) && (!live || lane_session(d->h, d->host, i)))
			best = i;
	return best;
}

struct session *lanes_place(struct hdev *d)
{
	struct session *any = session_of_host(d->h, d->host), *s;
	unsigned n = any ? any->lanes : 0;

	if (!any)
		return NULL;
	if (d->io_thread && d->io_thread <= n && d->lane != d->io_thread - 1) {
		d->lane = (uint8_t)(d->io_thread - 1);
		d->waits = 0;
	}
	if (d->lane >= n)
		d->lane = (uint8_t)least(d, n, false);
	s = lane_session(d->h, d->host, d->lane);
	if (s) {
		d->waits = 0;
		return s;
	}
	/* Until it is there: where the device is it stays, or its guest would lose it. */
	s = session_by_id(d->h, d->a.session);
	if (s && s->state == SESSION_LIVE && !strcmp(s->name, d->host)) {
		d->waits = 0;
		return s;
	}
	if (!d->waits)
		d->waits = d->h->ticks + 1;
	if (d->h->ticks + 1 - d->waits < LANE_GRACE_S)
		return NULL;
	/* Wherever it was to be: better served by another than not at all. */
	s = lane_session(d->h, d->host, least(d, n, true));
	if (!d->io_thread)
		d->lane = (uint8_t)s->lane;
	return s;
}

/* ---- what a hello says ---- */

const char *lanes_hello(struct session *s, const Outrigger__Session__V1__Hello *m)
{
	s->lanes = 1;
	if (!m->lanes)
		return NULL;
	if (m->lanes > LANES || m->lane >= m->lanes || m->boot_id.len != sizeof(s->boot_id))
		return "a hello with a lane out of range, or without its boot";
	s->lane = m->lane;
	s->lanes = m->lanes;
	memcpy(s->boot_id, m->boot_id.data, sizeof(s->boot_id));
	return NULL;
}

bool lanes_siblings(const struct session *a, const struct session *b)
{
	return a->lanes > 1 && a->lanes == b->lanes && a->lane != b->lane &&
	       !memcmp(a->boot_id, b->boot_id, sizeof(a->boot_id));
}

/* Where devices are that a former appliance attached: they stay. */
void lanes_held(struct session *s, const Outrigger__Session__V1__Hello *m)
{
	for (size_t i = 0; i < m->n_held && i < DEVICES_MAX; i++) {
		const Outrigger__Session__V1__HeldDevice *held = m->held[i];

		if (held->lane >= s->lanes)
			continue;
		list_for_each (it, &s->h->devs) {
			struct hdev *d = container_of(it, struct hdev, node);

			if (d->lane == LANES && !strcmp(d->uid, held->uid) && !strcmp(d->host, s->name))
				d->lane = (uint8_t)held->lane;
		}
	}
}

/* ---- load ---- */

static uint64_t counter(Outrigger__Session__V1__Counter **c, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (!strcmp(c[i]->name, name))
			return c[i]->value;
	return 0;
}

static uint64_t since(uint64_t *last, uint64_t now)
{
	uint64_t d = now > *last ? now - *last : 0;

	*last = now;
	return d;
}

/* A thread that polls is busy as far as it found something. */
static void lane_load(struct session *s, const Outrigger__Session__V1__Stats *m)
{
	uint64_t now = clock_now_ns(), us = since(&s->load.at, now) / NSEC_PER_USEC, cpu, runs, empty;

	cpu = since(&s->load.cpu_us, counter(m->fabric, m->n_fabric, "cpu_us"));
	runs = since(&s->load.runs, counter(m->fabric, m->n_fabric, "runs"));
	empty = since(&s->load.empty, counter(m->fabric, m->n_fabric, "polls_empty"));
	if (runs && empty < runs)
		cpu = (uint64_t)((double)cpu * (double)(runs - empty) / (double)runs);
	cpu = us ? cpu * 1000 / us : 0;
	s->load.busy = s->load.known ? (unsigned)(cpu < 1000 ? cpu : 1000) : 0;
	s->load.known = true;
}

/* In what costs the agent time: messages, and KiB. */
static void device_work(struct hdev *d, Outrigger__Session__V1__Counter **c, size_t n)
{
	uint64_t work = counter(c, n, "tx_frames") + counter(c, n, "rx_frames") +
			2 * counter(c, n, "requests") +
			(counter(c, n, "tx_bytes") + counter(c, n, "rx_bytes") +
			 counter(c, n, "request_bytes") + counter(c, n, "completion_bytes")) /
				1024;

	d->work = since(&d->work_total, work);
	d->work_tick = d->h->ticks;
}

void lanes_stats(struct session *s, const Outrigger__Session__V1__Stats *m)
{
	if (s->lanes < 2)
		return;
	if (m->n_fabric)
		lane_load(s, m);
	for (size_t i = 0; i < m->n_devices; i++) {
		uint32_t dev = m->devices[i]->dev;
		struct hdev *d = dev <= DEVICES_MAX ? s->h->slots[dev] : NULL;

		if (d && d->a.session == s->id)
			device_work(d, m->devices[i]->counters, m->devices[i]->n_counters);
	}
}

/* ---- balance ---- */

static struct hdev *pick(struct session *first, const unsigned *busy, unsigned n, unsigned *to)
{
	struct hosts *h = first->h;
	struct lane_device *devs = calloc(DEVICES_MAX, sizeof(*devs));
	struct hdev **at = calloc(DEVICES_MAX, sizeof(struct hdev *)), *found = NULL;
	unsigned ndevs = 0;
	int i = -1;

	list_for_each (it, &h->devs) {
		struct hdev *d = container_of(it, struct hdev, node);

		if (!devs || !at || d->a.state != ATTACH_BOUND || strcmp(d->host, first->name))
			continue;
		at[ndevs] = d;
		devs[ndevs].lane = d->lane;
		devs[ndevs].fixed = d->io_thread || (d->moved && h->ticks - d->moved < LANE_STAY_S);
		devs[ndevs].work = h->ticks - d->work_tick < 2 * STATS_EVERY ? d->work : 0;
		ndevs++;
	}
	if (ndevs)
		i = lane_balance(busy, n, devs, ndevs, to);
	if (i >= 0)
		found = at[i];
	free(devs);
	free(at);
	return found;
}

/* Of the host of this session, that of its first lane. */
static void balance(struct session *s)
{
	struct session *live[LANES];
	unsigned n = lanes_live(s->h, s->name, live), busy[LANES], to = 0;
	struct hdev *d = NULL;

	for (unsigned i = 0; i < n; i++)
		busy[i] = live[i]->load.busy;
	if (n == s->lanes)
		d = pick(s, busy, n, &to);
	s->load.hot = d ? s->load.hot + 1 : 0;
	if (s->load.hot < 2)
		return;
	s->load.hot = 0;
	log_info("%s %s: from I/O thread %u of host %s, which is %u %% busy, to %u, %u %%",
		 kind_info(d->kind)->name, d->name, d->lane + 1u, s->name, busy[d->lane] / 10, to + 1,
		 busy[to] / 10);
	lanes_move(d, to);
}

void lanes_move(struct hdev *d, unsigned lane)
{
	d->lane = (uint8_t)lane;
	d->waits = 0;
	d->moved = d->h->ticks;
	device_refresh(d);
}

void lanes_tick(struct hosts *h)
{
	list_for_each (it, &h->devs) {
		struct hdev *d = container_of(it, struct hdev, node);

		if (d->waits && h->ticks + 1 - d->waits >= LANE_GRACE_S)
			device_refresh(d);
	}
	/* Between two rounds of counters. */
	if (h->ticks % STATS_EVERY != STATS_EVERY / 2)
		return;
	list_for_each (it, &h->sessions) {
		struct session *s = container_of(it, struct session, node);

		if (s->state == SESSION_LIVE && s->lanes > 1 && !s->lane)
			balance(s);
	}
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "hostagent/control/session_dev.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "fabric/base/log.h"

void session_dev_state(const struct session_dev *d, uint32_t dev)
{
	Outrigger__Session__V1__Message m = OUTRIGGER__SESSION__V1__MESSAGE__INIT;
	Outrigger__Session__V1__DeviceState st = OUTRIGGER__SESSION__V1__DEVICE_STATE__INIT;
	struct engine_dev_state ds;

	if (engine_state(d->engine, dev, &ds))
		return;
	st.dev = dev;
	st.connected = ds.connected;
	st.features = ds.features;
	st.queues_running = ds.running;
	st.broken = (char *)ds.broken;
	m.body_case = OUTRIGGER__SESSION__V1__MESSAGE__BODY_DEVICE_STATE;
	m.device_state = &st;
	d->say(d->ctx, &m);
}

static enum rt_rel reliability(Outrigger__Session__V1__Reliability r)
{
	switch (r) {
	case OUTRIGGER__SESSION__V1__RELIABILITY__NONE:
		return RT_REL_NONE;
	case OUTRIGGER__SESSION__V1__RELIABILITY__FULL:
		return RT_REL_FULL;
	default:
		return RT_REL_BOUNDED;
	}
}

static void attach(const struct session_dev *d, const Outrigger__Session__V1__Attach *a)
{
	Outrigger__Session__V1__Message m = OUTRIGGER__SESSION__V1__MESSAGE__INIT;
	Outrigger__Session__V1__Attached reply = OUTRIGGER__SESSION__V1__ATTACHED__INIT;
	struct engine_dev_cfg c = {
		.dev = a->dev,
		.uid = a->uid,
		.name = a->name,
		.tap_name = a->tap_name,
		.kind = a->kind == OUTRIGGER__SESSION__V1__DEVICE_KIND__NET ? FE_NET : FE_BLK,
		.tap = a->frontend == OUTRIGGER__SESSION__V1__FRONTEND__TAP,
		.queue_size = (uint16_t)a->queue_size,
		.features = a->features,
		.config = a->config.data,
		.mtu = (uint16_t)a->mtu,
		.epoch = a->epoch,
		.credit = a->credit_bytes,
		.max_inflight = a->max_inflight,
		.rel = reliability(a->reliability),
	};
	char endpoint[128] = "", why[256] = "";
	int r;

	if (a->kind != OUTRIGGER__SESSION__V1__DEVICE_KIND__NET &&
	    a->kind != OUTRIGGER__SESSION__V1__DEVICE_KIND__BLOCK) {
		snprintf(why, sizeof(why), "this agent does not know device kind %d: upgrade it",
			 (int)a->kind);
	} else if (!a->queues || a->queues > FE_QUEUES_MAX / 2 || a->queue_size > FE_QSIZE_MAX ||
		   a->config.len > FE_CONFIG_MAX || a->mtu > 65535 || (a->mac.len && a->mac.len != 6)) {
		snprintf(why, sizeof(why), "queues, queue size, MTU, MAC or configuration out of range");
	} else {
		c.nqueues = (uint16_t)(c.kind == FE_NET ? 2 * a->queues : a->queues);
		c.config_len = (uint16_t)a->config.len;
		if (a->mac.len)
			memcpy(c.mac, a->mac.data, 6);
		r = engine_attach(d->engine, &c, endpoint, why);
		if (r == -EINPROGRESS && !session_lane_await(d->lane, a))
			return;
		if (r && !why[0])
			snprintf(why, sizeof(why), "the device could not be made");
	}
	if (why[0])
		log_err("device %s: %s", a->name, why);
	else
		log_info("device %s: attached as %s", a->name, endpoint);
	reply.dev = a->dev;
	reply.error = why;
	reply.endpoint = endpoint;
	m.body_case = OUTRIGGER__SESSION__V1__MESSAGE__BODY_ATTACHED;
	m.attached = &reply;
	d->say(d->ctx, &m);
}

void session_dev_attach(const struct session_dev *d, const Outrigger__Session__V1__Attach *a)
{
	attach(d, a);
	session_dev_state(d, a->dev);
}

void session_dev_detached(const struct session_dev *d, uint32_t dev)
{
	Outrigger__Session__V1__Message m = OUTRIGGER__SESSION__V1__MESSAGE__INIT;
	Outrigger__Session__V1__Detached detached = OUTRIGGER__SESSION__V1__DETACHED__INIT;

	detached.dev = dev;
	m.body_case = OUTRIGGER__SESSION__V1__MESSAGE__BODY_DETACHED;
	m.detached = &detached;
	d->say(d->ctx, &m);
}

void session_dev_detach(const struct session_dev *d, const Outrigger__Session__V1__Detach *m)
{
	int r;

	session_lane_forget(d->lane, m->dev);
	r = m->keep ? engine_release(d->engine, m->dev) : engine_detach(d->engine, m->dev);
	/* Unknown here (its attach failed): nothing is in flight, so say so. */
	if ((m->keep && !r) || r == -ENOENT)
		session_dev_detached(d, m->dev);
}

const char *session_dev_configure(const struct session_dev *d, const Outrigger__Session__V1__Configure *m)
{
	if (m->config.len > FE_CONFIG_MAX)
		return "a device configuration is too long";
	engine_configure(d->engine, m->dev, m->config.data, (uint16_t)m->config.len);
	return NULL;
}

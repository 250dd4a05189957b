/* SPDX-License-Identifier: Apache-2.0 */
/* What agents are told of their devices: attach, detach, configure, and that these were all. */
#include <string.h>

#include "appliance/hosts/hosts_impl.h"

#define QUEUE_SIZE 256u

static size_t config_of(const struct hdev *d, uint8_t out[FE_CONFIG_BYTES])
{
	if (d->kind == KIND_VNIC) {
		vnic_config(&d->vcfg, d->admin_up, out);
		return VNIC_CONFIG_LEN;
	}
	vdisk_config(d->vdisk, out);
	return BLK_CONFIG_LEN;
}

void device_say_configure(struct hdev *d)
{
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

void device_say_attach(struct hdev *d, struct session *s)
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
		a.reliability = d->rel == RT_REL_NONE	? OUTRIGGER__SESSION__V1__RELIABILITY__NONE
				: d->rel == RT_REL_FULL ? OUTRIGGER__SESSION__V1__RELIABILITY__FULL
							: OUTRIGGER__SESSION__V1__RELIABILITY__BOUNDED;
	}
	a.epoch = (uint32_t)d->epoch;
	a.credit_bytes = VQT_WINDOW;
	a.max_inflight = VDISK_MAX_INFLIGHT;
	m.body_case = OUTRIGGER__SESSION__V1__MESSAGE__BODY_ATTACH;
	m.attach = &a;
	session_say(s, &m);
}

void device_say_detach(struct hdev *d, struct session *s)
{
	Outrigger__Session__V1__Message m = OUTRIGGER__SESSION__V1__MESSAGE__INIT;
	Outrigger__Session__V1__Detach det = OUTRIGGER__SESSION__V1__DETACH__INIT;
	struct session *to = session_by_id(d->h, d->a.want), *lane[LANES];

	det.dev = d->slot;
	det.keep = to && to != s && !d->removed && !strcmp(to->name, s->name);
	/* Should it not come to that lane after all: the next Synced takes away what the agent keeps. */
	for (unsigned n = det.keep ? lanes_live(d->h, s->name, lane) : 0; n--;)
		lane[n]->synced = false;
	m.body_case = OUTRIGGER__SESSION__V1__MESSAGE__BODY_DETACH;
	m.detach = &det;
	session_say(s, &m);
}

/* Every device of the host is attached, to whichever lane. */
static bool all_there(struct hosts *h, const char *host)
{
	list_for_each (it, &h->devs) {
		struct hdev *d = container_of(it, struct hdev, node);
		struct session *s;

		/* A disk that is switched off is taken away, a network device only loses its link. */
		if (d->removed || strcmp(d->host, host) || (!d->admin_up && d->kind != KIND_VNIC))
			continue;
		s = d->a.state == ATTACH_BOUND ? session_by_id(h, d->a.session) : NULL;
		if (!s || strcmp(s->name, host))
			return false;
	}
	return true;
}

/* Synced follows the attach of the last device of the host; one whose volume is not there yet is waited for,
 * or the agent would take its socket away from a guest that waits. All lanes are told, with one number. */
void devices_check_synced(struct session *s)
{
	Outrigger__Session__V1__Message m = OUTRIGGER__SESSION__V1__MESSAGE__INIT;
	Outrigger__Session__V1__Synced synced = OUTRIGGER__SESSION__V1__SYNCED__INIT;
	struct session *lane[LANES];
	unsigned n;

	if (s->state != SESSION_LIVE || s->synced || !all_there(s->h, s->name))
		return;
	synced.round = ++s->h->round;
	m.body_case = OUTRIGGER__SESSION__V1__MESSAGE__BODY_SYNCED;
	m.synced = &synced;
	n = lanes_live(s->h, s->name, lane);
	for (unsigned i = 0; i < n; i++) {
		lane[i]->synced = true;
		session_say(lane[i], &m);
	}
}

void devices_say_again(struct session *s)
{
	list_for_each (it, &s->h->devs) {
		struct hdev *d = container_of(it, struct hdev, node);

		if (d->a.session != s->id)
			continue;
		if (d->a.state == ATTACH_BOUND)
			device_say_attach(d, s);
		else if (d->a.state == ATTACH_DETACHING)
			device_say_detach(d, s);
	}
	s->synced = false;
	hosts_wake(s->h);
}

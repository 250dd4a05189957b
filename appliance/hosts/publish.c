/* SPDX-License-Identifier: Apache-2.0 */
/* From the model to the data plane's configuration: ports are opened, a snapshot is made, the worker adopts
 * it. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "appliance/hosts/hosts_impl.h"
#include "appliance/port/port_dpdk.h"
#include "fabric/base/log.h"

/* ---- ports ---- */

static struct uplink *uplink_find(struct hosts *h, const char *name)
{
	for (unsigned i = 0; i < DP_UPLINKS; i++)
		if (h->uplinks[i].used && !strcmp(h->uplinks[i].name, name))
			return &h->uplinks[i];
	return NULL;
}

static int uplink_open(struct hosts *h, struct uplink *u, char *why, size_t why_size)
{
	struct port_dpdk_cfg cfg = {.dev = u->device, .mtu = u->mtu, .frames = dp_frames(h->dp)};
	int r = 0;

	u->port = port_dpdk_create(&cfg, &r, why, why_size);
	if (u->port)
		log_info("port %s: %s is up", u->name, u->device);
	return r;
}

static int uplink_add(struct hosts *h, const Outrigger__V1__Port *p, char *why, size_t why_size)
{
	struct uplink *u = NULL;
	int r;

	for (unsigned i = 0; i < DP_UPLINKS && !u; i++)
		if (!h->uplinks[i].used)
			u = &h->uplinks[i];
	if (!u) {
		snprintf(why, why_size, "an appliance has %u ports at most", DP_UPLINKS);
		return -ENOSPC;
	}
	*u = (struct uplink){.used = true, .wanted = true, .mtu = p->mtu};
	snprintf(u->name, sizeof(u->name), "%s", p->name);
	snprintf(u->device, sizeof(u->device), "%s", p->device);
	r = uplink_open(h, u, why, why_size);
	/* At start a port that is missing must not keep the rest from working; a new one is refused. */
	if (r && h->started)
		u->used = false;
	if (!r || h->started)
		return r;
	log_err("port %s: %s; the appliance goes on without it", p->name, why);
	why[0] = '\0';
	return 0;
}

int publish_ports(struct hosts *h, const struct model *m, char *why, size_t why_size)
{
	int r = 0;

	for (unsigned i = 0; i < DP_UPLINKS; i++)
		h->uplinks[i].wanted = false;
	for (size_t i = 0; !r && i < model_count(m, KIND_PORT); i++) {
		const Outrigger__V1__Port *p = model_port_at(m, i);
		struct uplink *u = uplink_find(h, p->name);

		if (u && u->mtu == p->mtu && !strcmp(u->device, p->device)) {
			char again[256];

			u->wanted = true;
			if (!u->port)
				uplink_open(h, u, again, sizeof(again)); /* it may have come meanwhile */
		} else if (u) {
			snprintf(why, why_size,
				 "port %s: device and MTU cannot be changed while it is in use: delete it "
				 "and create it again",
				 p->name);
			u->wanted = true;
			r = -EBUSY;
		} else {
			r = uplink_add(h, p, why, why_size);
		}
	}
	return r;
}

/* Ports that the configuration now in force does not name. */
void publish_close_ports(struct hosts *h)
{
	for (unsigned i = 0; i < DP_UPLINKS; i++) {
		struct uplink *u = &h->uplinks[i];

		if (!u->used || u->wanted)
			continue;
		if (u->port)
			u->port->ops->destroy(u->port);
		*u = (struct uplink){.used = false};
	}
}

/* ---- the snapshot ---- */

/* Everything of one configuration in one piece of memory. */
struct snapshot {
	struct dp_config c; /* first */
	struct sw_network *networks;
	struct sw_port *ports;
	struct sw_addr *addrs;
	/* Where the switch counts for ports[i] and networks[i]: filled in by the worker. */
	const uint64_t **port_counters, **net_counters;
};

static void snapshot_free(struct snapshot *s)
{
	if (!s)
		return;
	free(s->networks);
	free(s->ports);
	free(s->addrs);
	free(s->port_counters);
	free(s->net_counters);
	free(s->c.vnics);
	free(s);
}

static uint32_t network_uplink(struct hosts *h, const struct model *m, const Outrigger__V1__Network *n)
{
	const Outrigger__V1__UplinkGroup *g = n->uplink_group[0] ? model_uplink_group(m, n->uplink_group)
								 : NULL;

	/* The first port of the group that works: one active uplink. */
	for (size_t i = 0; g && i < g->n_ports; i++) {
		struct uplink *u = uplink_find(h, g->ports[i]);

		if (u && u->port)
			return DP_UPLINK_BASE + (uint32_t)(u - h->uplinks);
	}
	return SW_NO_PORT;
}

static bool parse_addr(const char *text, struct sw_addr *out)
{
	if (inet_pton(AF_INET, text, out->bytes) == 1) {
		out->family = 4;
		out->prefix = 32;
		return true;
	}
	if (inet_pton(AF_INET6, text, out->bytes) == 1) {
		out->family = 6;
		out->prefix = 128;
		return true;
	}
	return false;
}

static void add_vnic(struct hosts *h, struct snapshot *s, const Outrigger__V1__VNic *v, size_t *naddrs)
{
	struct hdev *d = device_find(h, KIND_VNIC, v->name);
	struct sw_port *p;

	if (!d)
		return;
	p = &s->ports[s->c.sw.nports++];
	p->id = d->slot;
	p->kind = SW_VNIC;
	p->up = d->admin_up;
	p->network = hosts_net_id(h, d->network);
	p->pinned = true;
	memcpy(p->mac, d->vcfg.mac, 6);
	p->anti_spoof = v->spoof_check != OUTRIGGER__V1__TOGGLE__TOGGLE_OFF;
	p->addrs = &s->addrs[*naddrs];
	for (size_t i = 0; i < v->n_ip_addresses; i++) {
		if (parse_addr(v->ip_addresses[i], &s->addrs[*naddrs])) {
			(*naddrs)++;
			p->naddrs++;
		}
	}
	s->c.vnics[d->slot] = d->vnic;
}

static struct snapshot *snapshot_make(struct hosts *h, const struct model *m)
{
	size_t nnet = model_count(m, KIND_NETWORK), nvnic = model_count(m, KIND_VNIC), naddr = 0, used = 0;
	struct snapshot *s = calloc(1, sizeof(*s));

	for (size_t i = 0; i < nvnic; i++)
		naddr += model_vnic_at(m, i)->n_ip_addresses;
	if (!s)
		return NULL;
	s->networks = calloc(nnet + 1, sizeof(*s->networks));
	s->ports = calloc(nvnic + DP_UPLINKS, sizeof(*s->ports));
	s->addrs = calloc(naddr + 1, sizeof(*s->addrs));
	s->port_counters = calloc(nvnic + DP_UPLINKS, sizeof(uint64_t *));
	s->net_counters = calloc(nnet + 1, sizeof(uint64_t *));
	s->c.vnics = calloc(DP_UPLINK_BASE, sizeof(struct vnic *));
	if (!s->networks || !s->ports || !s->addrs || !s->port_counters || !s->net_counters || !s->c.vnics) {
		snapshot_free(s);
		return NULL;
	}
	s->c.revision = model_revision(m);
	s->c.nvnics = DP_UPLINK_BASE;
	s->c.sw.networks = s->networks;
	s->c.sw.ports = s->ports;
	for (size_t i = 0; i < nnet; i++) {
		const Outrigger__V1__Network *n = model_network_at(m, i);
		uint32_t up = network_uplink(h, m, n);

		s->networks[s->c.sw.nnetworks++] = (struct sw_network){
			.id = hosts_net_id(h, n->name),
			.uplink = up,
			.vlan = up == SW_NO_PORT ? 0 : (uint16_t)n->vlan,
		};
	}
	for (unsigned i = 0; i < DP_UPLINKS; i++) {
		struct uplink *u = &h->uplinks[i];
		const Outrigger__V1__Port *p = u->used && u->wanted ? model_port(m, u->name) : NULL;

		if (!p || !u->port)
			continue;
		s->c.uplinks[i] = u->port;
		s->ports[s->c.sw.nports++] = (struct sw_port){
			.id = DP_UPLINK_BASE + i,
			.kind = SW_UPLINK,
			.up = p->admin_state != OUTRIGGER__V1__ADMIN_STATE__ADMIN_STATE_DOWN,
		};
	}
	for (size_t i = 0; i < nvnic; i++)
		add_vnic(h, s, model_vnic_at(m, i), &used);
	return s;
}

struct publish_call {
	struct dp_call call; /* first */
	struct hosts *h;
	struct snapshot *next;
	const struct dp_config *prev;
	int result;
};

static enum dp_verdict adopt(struct worker *w, struct dp_call *call)
{
	struct publish_call *c = (struct publish_call *)call;
	struct snapshot *s = c->next;

	c->result = worker_publish(w, &s->c, &c->prev);
	for (uint32_t i = 0; !c->result && i < s->c.sw.nports; i++)
		s->port_counters[i] = worker_switch_counters(w, s->ports[i].id);
	for (uint32_t i = 0; !c->result && i < s->c.sw.nnetworks; i++)
		s->net_counters[i] = worker_network_counters(w, s->networks[i].id);
	return DP_DONE;
}

/* Readers of status find the switch's counters through devices and networks. */
static void find_counters(struct hosts *h, const struct snapshot *s)
{
	list_for_each (it, &h->devs)
		container_of(it, struct hdev, node)->sw_counters = NULL;
	for (uint32_t i = 0; i < s->c.sw.nports; i++) {
		uint32_t id = s->ports[i].id;
		struct hdev *d = id <= DEVICES_MAX ? h->slots[id] : NULL;

		if (d)
			d->sw_counters = s->port_counters[i];
	}
	list_for_each (it, &h->nets) {
		struct netid *n = container_of(it, struct netid, node);

		n->counters = NULL;
		for (uint32_t i = 0; i < s->c.sw.nnetworks; i++)
			if (s->networks[i].id == n->id)
				n->counters = s->net_counters[i];
	}
}

static const char *sw_why(int r)
{
	switch (r) {
	case -ENOSPC:
		return "more ports, networks or addresses than this appliance was started for";
	case -EEXIST:
		return "two networks on one VLAN of an uplink, or one MAC twice in a network";
	default:
		return strerror(-r);
	}
}

static void adopted(struct dp_call *call)
{
	struct publish_call *c = (struct publish_call *)call;
	struct hosts *h = c->h;

	h->publishing--;
	if (c->result) {
		snprintf(h->apply_msg, sizeof(h->apply_msg), "the data plane refuses it: %s",
			 sw_why(c->result));
		snapshot_free(c->next);
	} else {
		snapshot_free((struct snapshot *)c->prev);
		h->published = &c->next->c;
		find_counters(h, c->next);
		if (!h->publishing)
			publish_close_ports(h);
	}
	free(c);
	hosts_wake(h);
}

int publish(struct hosts *h, const struct model *m)
{
	struct publish_call *c = calloc(1, sizeof(*c));

	if (c)
		c->next = snapshot_make(h, m);
	if (!c || !c->next) {
		free(c);
		return -ENOMEM;
	}
	c->h = h;
	c->call.fn = adopt;
	c->call.done = adopted;
	h->publishing++;
	dp_call(h->dp, &c->call);
	return 0;
}

/* A change that the data plane refused, or that was never published, leaves the worker with the configuration
 * before it: vNICs of that one must live on. */
bool publish_names(const struct hosts *h, const struct hdev *d)
{
	return h->publishing ||
	       (h->published && h->published->vnics[d->slot] && h->published->vnics[d->slot] == d->vnic);
}

void publish_forget(struct hosts *h)
{
	snapshot_free((struct snapshot *)h->published);
	h->published = NULL;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What is, for those who ask what was wanted: the status door of the API. */
#include <stdio.h>
#include <string.h>

#include "appliance/hosts/hosts_impl.h"
#include "fabric/base/clock.h"
#include "fabric/ep/ep.h"

static void path(struct hosts *h, const struct session *s, unsigned i, struct status_path *out)
{
	const struct session_path *p = &s->path[i];
	char text[LINK_ADDR_STR];

	if (s->cfg.link[i] == DP_CARRIER) {
		snprintf(out->local, sizeof(out->local), "control channel");
		snprintf(out->remote, sizeof(out->remote), "%.63s", s->chan ? s->address : "");
	} else if (s->rdma_port[i]) {
		snprintf(out->local, sizeof(out->local), "RDMA %s", h->cfg.rdma[s->cfg.link[i]]);
		snprintf(out->remote, sizeof(out->remote), "RDMA port %u", s->rdma_port[i]);
	} else {
		link_addr_format(&h->cfg.fabric[s->cfg.link[i]], text);
		snprintf(out->local, sizeof(out->local), "%s", text);
		if (p->known)
			link_addr_format(&p->peer, text);
		snprintf(out->remote, sizeof(out->remote), "%s", p->known ? text : "");
	}
	out->state = p->info.state == RT_PATH_UP	? STATUS_PATH_UP
		     : p->info.state == RT_PATH_PROBING ? STATUS_PATH_PROBING
		     : p->info.state == RT_PATH_SUSPECT ? STATUS_PATH_SUSPECT
							: STATUS_PATH_DOWN;
	out->rtt_us = (uint32_t)(p->info.srtt_ns / NSEC_PER_USEC);
	out->mtu = p->info.chunk;
	out->loss_ppm = p->info.loss_ppm;
	out->share_permille = p->info.share_permille;
	out->tx_packets = p->info.tx_packets;
	out->rx_packets = p->info.rx_packets;
	out->retransmits = p->info.retransmits;
}

static void threads(struct hosts *h, const struct session *first, struct status_host *out)
{
	struct session *live[LANES];
	unsigned n = first->lanes > 1 ? lanes_live(h, first->name, live) : 0;

	out->nthreads = n ? first->lanes : 0;
	for (unsigned i = 0; i < n; i++) {
		struct status_thread *t = &out->threads[live[i]->lane];

		t->connected = true;
		t->busy_permille = live[i]->load.busy;
		for (unsigned k = 0; k < live[i]->cfg.npaths; k++)
			t->paths_up += live[i]->path[k].info.state == RT_PATH_UP;
	}
}

static bool host(void *ctx, const char *name, struct status_host *out)
{
	struct hosts *h = ctx;
	struct session *s = session_of_host(h, name);

	if (!s)
		return false;
	out->connected = true;
	out->session_id = s->id;
	out->connected_since = s->since;
	snprintf(out->agent_version, sizeof(out->agent_version), "%s", s->agent_version);
	out->npaths = s->cfg.npaths;
	for (unsigned i = 0; i < s->cfg.npaths; i++)
		path(h, s, i, &out->paths[i]);
	threads(h, s, out);
	return true;
}

static bool device(struct hosts *h, enum kind kind, const char *name, struct status_device *out)
{
	struct hdev *d = device_find(h, kind, name);
	const struct session *s = d ? session_by_id(h, d->a.session) : NULL;
	bool up = d && d->a.state == ATTACH_BOUND && d->connected && d->running && d->admin_up;

	if (!d)
		return false;
	out->link = up ? STATUS_LINK_UP : STATUS_LINK_DOWN;
	if (d->a.state == ATTACH_BOUND) {
		snprintf(out->host, sizeof(out->host), "%s", d->host);
		snprintf(out->socket_path, sizeof(out->socket_path), "%.107s", d->endpoint);
		out->io_thread = s ? s->lane + 1u : 0;
	}
	return true;
}

static bool vnic(void *ctx, const char *name, struct status_device *out)
{
	return device(ctx, KIND_VNIC, name, out);
}

static bool vdisk(void *ctx, const char *name, struct status_device *out)
{
	return device(ctx, KIND_VDISK, name, out);
}

static struct uplink *uplink(struct hosts *h, const char *name)
{
	for (unsigned i = 0; i < DP_UPLINKS; i++)
		if (h->uplinks[i].used && h->uplinks[i].port && !strcmp(h->uplinks[i].name, name))
			return &h->uplinks[i];
	return NULL;
}

static bool port(void *ctx, const char *name, struct status_port *out)
{
	struct uplink *u = uplink(ctx, name);
	uint8_t mac[6];

	if (!u) {
		out->link = STATUS_LINK_DOWN;
		return true;
	}
	u->port->ops->mac(u->port, mac);
	out->link = u->port->ops->link_up(u->port) ? STATUS_LINK_UP : STATUS_LINK_DOWN;
	snprintf(out->mac, sizeof(out->mac), "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3],
		 mac[4], mac[5]);
	return true;
}

/* ---- counters ---- */

static void give(status_counter_fn fn, void *arg, const char *scope, const char *prefix,
		 const char *const *names, const uint64_t *values, unsigned n)
{
	char name[96];

	for (unsigned i = 0; values && i < n; i++) {
		snprintf(name, sizeof(name), "%s%s", prefix, names[i]);
		fn(arg, scope, name, counter_get(&values[i]));
	}
}

static void give_remote(status_counter_fn fn, void *arg, const char *prefix, const struct remote_counter *c,
			size_t n)
{
	char name[96];

	for (size_t i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "%s%s", prefix, c[i].name);
		fn(arg, NULL, name, c[i].value);
	}
}

/* The switch's rx is the guest's tx, and both are counted by the vNIC already: only its drops and events. */
static void give_switch(status_counter_fn fn, void *arg, const uint64_t *values)
{
	for (unsigned i = SW_C_fdb_learned; values && i < SW_NCOUNTERS; i++)
		fn(arg, NULL, sw_counter_names[i], counter_get(&values[i]));
}

static void device_counters(struct hdev *d, status_counter_fn fn, void *arg)
{
	if (d->kind == KIND_VNIC) {
		give(fn, arg, NULL, "", vnic_counter_names, vnic_counters(d->vnic), VNIC_NCOUNTERS);
		give_switch(fn, arg, d->sw_counters);
		give(fn, arg, NULL, "tunnel_", vqt_dev_counter_names, vnic_tunnel_counters(d->vnic),
		     VQT_DEV_NCOUNTERS);
	} else if (d->vdisk) {
		give(fn, arg, NULL, "", vdisk_io_counter_names, vdisk_counters(d->vdisk), VDISK_IO_NCOUNTERS);
		give(fn, arg, NULL, "tunnel_", vqt_dev_counter_names, vdisk_tunnel_counters(d->vdisk),
		     VQT_DEV_NCOUNTERS);
	}
	give_remote(fn, arg, "host_", d->remote, d->nremote);
}

static void appliance_counters(struct hosts *h, status_counter_fn fn, void *arg)
{
	const struct link *l;
	char scope[32];

	give(fn, arg, "worker/0", "", worker_counter_names, dp_counters(h->dp), WORKER_NCOUNTERS);
	give(fn, arg, "fabric", "", ep_counter_names, dp_ep_counters(h->dp), EP_NCOUNTERS);
	for (unsigned i = 0; (l = dp_link(h->dp, i)); i++) {
		snprintf(scope, sizeof(scope), "fabric/%u", i);
		give(fn, arg, scope, "", link_counter_names, l->counters, LINK_NCOUNTERS);
		give(fn, arg, scope, "rdma_", verbs_counter_names, dp_rdma_counters(h->dp, i),
		     VERBS_NCOUNTERS);
	}
	for (unsigned i = 0; i < h->nlisteners; i++) {
		snprintf(scope, sizeof(scope), "session/%u", i);
		give(fn, arg, scope, "", chan_counter_names, chan_listener_counters(h->listener[i]),
		     CHAN_NCOUNTERS);
	}
}

/* Lanes of one program list them alike. */
static uint64_t remote_value(const struct session *s, size_t i, const char *name)
{
	return i < s->nremote && !strcmp(s->remote[i].name, name) ? s->remote[i].value : 0;
}

static const uint64_t *transport_counters(const struct session *s)
{
	return rt_counters(wsession_rt(s->ws));
}

static const uint64_t *tunnel_counters(const struct session *s)
{
	return wsession_tunnel_counters(s->ws);
}

/* Of all lanes together. */
static void give_sums(struct session *const *lane, unsigned n, const char *prefix, const char *const *names,
		      unsigned ncounters, const uint64_t *(*of)(const struct session *s),
		      status_counter_fn fn, void *arg)
{
	char text[96];

	for (unsigned i = 0; n && i < ncounters; i++) {
		uint64_t sum = 0;

		for (unsigned k = 0; k < n; k++)
			sum += counter_get(&of(lane[k])[i]);
		snprintf(text, sizeof(text), "%s%s", prefix, names[i]);
		fn(arg, NULL, text, sum);
	}
}

/* Of all lanes together: each counter of the first, and what the others have under that name. */
static void host_counters(struct hosts *h, const char *name, status_counter_fn fn, void *arg)
{
	struct session *lane[LANES];
	unsigned n = lanes_live(h, name, lane);
	uint64_t sum;
	char text[96];

	give_sums(lane, n, "", rt_counter_names, RT_NCOUNTERS, transport_counters, fn, arg);
	give_sums(lane, n, "tunnel_", vqt_peer_counter_names, VQT_PEER_NCOUNTERS, tunnel_counters, fn, arg);
	for (size_t i = 0; n && i < lane[0]->nremote; i++) {
		sum = 0;
		for (unsigned k = 0; k < n; k++)
			sum += remote_value(lane[k], i, lane[0]->remote[i].name);
		snprintf(text, sizeof(text), "host_%s", lane[0]->remote[i].name);
		fn(arg, NULL, text, sum);
	}
}

static void counters(void *ctx, enum kind kind, const char *name, status_counter_fn fn, void *arg)
{
	struct hosts *h = ctx;
	struct uplink *u;
	struct hdev *d;

	switch (kind) {
	case KIND_NONE:
		appliance_counters(h, fn, arg);
		return;
	case KIND_VNIC:
	case KIND_VDISK:
		d = device_find(h, kind, name);
		if (d)
			device_counters(d, fn, arg);
		return;
	case KIND_PORT:
		u = uplink(h, name);
		if (u)
			give(fn, arg, NULL, "", port_counter_names, u->port->counters, PORT_NCOUNTERS);
		return;
	case KIND_HOST:
		host_counters(h, name, fn, arg);
		return;
	case KIND_NETWORK:
		list_for_each (it, &h->nets) {
			struct netid *n = container_of(it, struct netid, node);

			if (!strcmp(n->name, name))
				give(fn, arg, NULL, "", sw_counter_names, n->counters, SW_NCOUNTERS);
		}
		return;
	default:
		return;
	}
}

struct status_ops hosts_status_ops(struct hosts *h)
{
	return (struct status_ops){
		.ctx = h,
		.host = host,
		.vnic = vnic,
		.vdisk = vdisk,
		.port = port,
		.counters = counters,
	};
}

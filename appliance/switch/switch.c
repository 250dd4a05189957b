/* SPDX-License-Identifier: Apache-2.0 */
/* Life of a switch, and the way of one frame through it. */
#include <stdlib.h>
#include <string.h>

#include "appliance/switch/internal.h"
#include "fabric/base/guard.h"

COUNTERS_DEFINE(sw, SW_COUNTERS)

static int table_init(struct sw_table *t, const struct sw_limits *l)
{
	t->ports = calloc(l->ports, sizeof *t->ports);
	t->nets = calloc(l->networks, sizeof *t->nets);
	t->members = calloc(l->ports, sizeof *t->members);
	t->trunks = calloc((size_t)l->uplinks * TRUNK_SIZE + 1, sizeof *t->trunks);
	t->addrs = calloc((size_t)l->addrs + 1, sizeof *t->addrs);
	if (!t->ports || !t->nets || !t->members || !t->trunks || !t->addrs)
		return -1;
	if (sw_map_init(&t->port_ids, l->ports, l->seed) || sw_map_init(&t->net_ids, l->networks, l->seed))
		return -1;
	return sw_map_init(&t->pins, l->ports, l->seed);
}

static void table_fini(struct sw_table *t)
{
	free(t->ports);
	free(t->nets);
	free(t->members);
	free(t->trunks);
	free(t->addrs);
	sw_map_fini(&t->port_ids);
	sw_map_fini(&t->net_ids);
	sw_map_fini(&t->pins);
}

struct sw *sw_create(const struct sw_limits *l)
{
	uint32_t stations = 8;
	struct sw *sw;

	if (l->ports == 0 || l->ports > UINT16_MAX || l->networks == 0 || l->networks > UINT16_MAX ||
	    l->uplinks > l->ports || l->fdb > 1u << 24)
		return NULL;
	sw = calloc(1, sizeof *sw);
	if (!sw)
		return NULL;
	sw->limits = *l;
	if (sw->limits.age_ns == 0)
		sw->limits.age_ns = SW_AGE_DEFAULT;
	sw->cur = &sw->tables[0];
	sw->next = &sw->tables[1];
	while (stations < l->fdb)
		stations *= 2;
	sw->station_mask = stations - 1;
	sw->stations = calloc(stations, sizeof *sw->stations);
	sw->port_macs = calloc(l->ports, sizeof *sw->port_macs);
	sw->port_counters = calloc(l->ports, sizeof *sw->port_counters);
	sw->net_counters = calloc(l->networks, sizeof *sw->net_counters);
	sw->dests = calloc(l->ports, sizeof *sw->dests);
	if (table_init(&sw->tables[0], l) || table_init(&sw->tables[1], l) || !sw->stations ||
	    !sw->port_macs || !sw->port_counters || !sw->net_counters || !sw->dests) {
		sw_destroy(sw);
		return NULL;
	}
	return sw;
}

void sw_destroy(struct sw *sw)
{
	if (!sw)
		return;
	table_fini(&sw->tables[0]);
	table_fini(&sw->tables[1]);
	free(sw->stations);
	free(sw->port_macs);
	free(sw->port_counters);
	free(sw->net_counters);
	free(sw->dests);
	free(sw);
}

const uint64_t *sw_counters(const struct sw *sw)
{
	return sw->total;
}

const uint64_t *sw_port_counters(const struct sw *sw, uint32_t port)
{
	uint32_t slot = sw_map_get(&sw->cur->port_ids, sw_id_key(port));

	return slot == NO_VALUE ? NULL : sw->port_counters[slot];
}

const uint64_t *sw_network_counters(const struct sw *sw, uint32_t network)
{
	uint32_t slot = sw_map_get(&sw->cur->net_ids, sw_id_key(network));

	return slot == NO_VALUE ? NULL : sw->net_counters[slot];
}

/* The network a frame belongs to, NO_SLOT if its VLAN means nothing on this port. */
static uint16_t network_of(const struct sw_table *t, const struct port_slot *p, uint16_t vlan)
{
	if (!p->uplink)
		return vlan == 0 ? p->net : NO_SLOT;
	if (vlan > SW_VLAN_MAX)
		return NO_SLOT;
	return (uint16_t)(t->trunks[p->trunk * TRUNK_SIZE + vlan] - 1u);
}

/* One frame on its way. */
struct walk {
	struct sw *sw;
	const struct sw_packet *pkt;
	uint16_t in, net; /* slots */
	uint64_t now;
	struct sw_out *out;
};

/* Everything that can be said against a frame before asking where it goes; learns its source. */
static enum sw_counter admit(struct walk *w)
{
	static const uint8_t reserved[5] = {0x01, 0x80, 0xc2, 0, 0};
	const struct port_slot *p = &w->sw->cur->ports[w->in];
	const uint8_t *dst = w->pkt->eth, *src = w->pkt->eth + 6;
	uint16_t type = w->pkt->ethertype;
	uint64_t key = sw_station_key(w->net, src);
	enum sw_counter drop;
	uint32_t pin;

	if (src[0] & 1)
		return SW_C_drop_source_multicast;
	/* IEEE 802.1Q, table 8-1: these end at the first bridge. */
	if (memcmp(dst, reserved, sizeof reserved) == 0 && dst[5] < 16)
		return SW_C_drop_reserved;
	if (type == ETHERTYPE_CTAG || type == ETHERTYPE_STAG || type == ETHERTYPE_QINQ)
		return SW_C_drop_tagged;
	if (!GUARD(source_mac, !p->anti_spoof || !p->pinned || !memcmp(src, p->mac, 6)))
		return SW_C_drop_spoof_mac;
	pin = sw_map_get(&w->sw->cur->pins, key);
	if (pin != NO_VALUE && pin != w->in)
		return SW_C_drop_source_pinned;
	drop = sw_packet_offload(w->pkt);
	if (drop == SW_NCOUNTERS && !GUARD(source_address, !p->anti_spoof))
		drop = sw_source_check(w->pkt, p);
	if (drop == SW_NCOUNTERS && pin == NO_VALUE)
		sw_fdb_learn(w->sw, key, w->in, w->net, w->now);
	return drop;
}

static void output(struct walk *w, uint16_t slot)
{
	const struct sw_table *t = w->sw->cur;
	const struct port_slot *p = &t->ports[slot];

	w->sw->dests[w->out->n++] = (struct sw_dest){.port = p->id,
						     .vlan = p->uplink ? t->nets[w->net].vlan : 0};
	sw_count(w->sw, slot, w->net, SW_C_tx_frames, 1);
	sw_count(w->sw, slot, w->net, SW_C_tx_bytes, w->pkt->len);
	if (w->pkt->gso)
		sw_count(w->sw, slot, w->net, SW_C_tx_gso, 1);
}

/* To every member that is up; for an unknown station to those alone it could be behind. */
static void flood(struct walk *w, bool unknown)
{
	const struct sw_table *t = w->sw->cur;
	const struct net_slot *net = &t->nets[w->net];

	for (uint32_t i = 0; i < net->n; i++) {
		uint16_t slot = t->members[net->first + i];
		const struct port_slot *p = &t->ports[slot];

		if (GUARD(reflect, slot != w->in) && p->up && (p->learns || !unknown))
			output(w, slot);
	}
	if (net->uplink != NO_SLOT && net->uplink != w->in && t->ports[net->uplink].up)
		output(w, net->uplink);
	sw_count(w->sw, w->in, w->net, SW_C_rx_flooded, 1);
}

static enum sw_counter forward(struct walk *w)
{
	const uint8_t *dst = w->pkt->eth;
	uint64_t key = sw_station_key(w->net, dst);
	uint32_t pin;
	uint16_t to;

	if (dst[0] & 1) {
		flood(w, false);
		return w->out->n ? SW_NCOUNTERS : SW_C_drop_no_member;
	}
	pin = sw_map_get(&w->sw->cur->pins, key);
	to = pin != NO_VALUE ? (uint16_t)pin : sw_fdb_find(w->sw, key, w->now);
	if (to == NO_SLOT) {
		flood(w, true);
		return w->out->n ? SW_NCOUNTERS : SW_C_drop_unknown_unicast;
	}
	if (to == w->in)
		return SW_C_drop_hairpin;
	if (!w->sw->cur->ports[to].up)
		return SW_C_drop_egress_down;
	output(w, to);
	return SW_NCOUNTERS;
}

static uint32_t dropped(struct sw *sw, uint32_t port, uint16_t net, enum sw_counter why, struct sw_out *out)
{
	if (port == NO_VALUE)
		counter_add(&sw->total[why], 1);
	else
		sw_count(sw, (uint16_t)port, net, why, 1);
	out->drop = why;
	return 0;
}

uint32_t sw_input(struct sw *sw, uint32_t port, uint16_t vlan, const struct frame *f, uint64_t now,
		  struct sw_out *out)
{
	uint32_t in = sw_map_get(&sw->cur->port_ids, sw_id_key(port));
	struct sw_packet pkt;
	struct walk w = {.sw = sw, .pkt = &pkt, .in = (uint16_t)in, .now = now, .out = out};
	enum sw_counter drop;

	*out = (struct sw_out){.to = sw->dests, .drop = SW_NCOUNTERS};
	if (in == NO_VALUE)
		return dropped(sw, in, NO_SLOT, SW_C_drop_no_port, out);
	w.net = network_of(sw->cur, &sw->cur->ports[in], vlan);
	sw_count(sw, w.in, w.net, SW_C_rx_frames, 1);
	if (!sw->cur->ports[in].up)
		return dropped(sw, in, w.net, SW_C_drop_port_down, out);
	drop = sw_packet_read(&pkt, f);
	if (drop != SW_NCOUNTERS)
		return dropped(sw, in, w.net, drop, out);
	sw_count(sw, w.in, w.net, SW_C_rx_bytes, pkt.len);
	if (w.net == NO_SLOT)
		return dropped(sw, in, w.net, SW_C_drop_unknown_vlan, out);
	if (pkt.gso)
		sw_count(sw, w.in, w.net, SW_C_rx_gso, 1);
	drop = admit(&w);
	if (drop == SW_NCOUNTERS)
		drop = forward(&w);
	if (drop != SW_NCOUNTERS)
		return dropped(sw, in, w.net, drop, out);
	return out->n;
}

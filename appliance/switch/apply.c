/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A configuration becomes the next table, checked while it is built; only when nothing is wrong
 * with it are stations pruned and tables swapped.
 *
 * Slots: whoever was there keeps its slot; newcomers take what is free in the new table, which
 * may be the slot of one that goes away now. sw_fdb_prune() compares ids of both tables, so a
 * newcomer never inherits stations.
 */
#include <errno.h>
#include <string.h>

#include "appliance/switch/internal.h"

static int check_limits(const struct sw *sw, const struct sw_config *c)
{
	uint64_t uplinks = 0, addrs = 0;

	if (c->nports > sw->limits.ports || c->nnetworks > sw->limits.networks)
		return -ENOSPC;
	for (uint32_t i = 0; i < c->nports; i++) {
		uplinks += c->ports[i].kind == SW_UPLINK;
		addrs += c->ports[i].kind == SW_VNIC ? c->ports[i].naddrs : 0;
	}
	return uplinks > sw->limits.uplinks || addrs > sw->limits.addrs ? -ENOSPC : 0;
}

static void clear_table(struct sw *sw, struct sw_table *t)
{
	memset(t->ports, 0, sw->limits.ports * sizeof *t->ports);
	memset(t->nets, 0, sw->limits.networks * sizeof *t->nets);
	memset(t->trunks, 0, (size_t)sw->limits.uplinks * TRUNK_SIZE * sizeof *t->trunks);
	sw_map_clear(&t->port_ids);
	sw_map_clear(&t->net_ids);
	sw_map_clear(&t->pins);
}

static int place_networks(struct sw *sw, const struct sw_config *c)
{
	struct sw_table *t = sw->next;
	uint16_t fresh = 0;

	for (int pass = 0; pass < 2; pass++) {
		for (uint32_t i = 0; i < c->nnetworks; i++) {
			uint32_t slot = sw_map_get(&sw->cur->net_ids, sw_id_key(c->networks[i].id));

			/* First those that stay, then the newcomers. */
			if ((slot == NO_VALUE) != (pass == 1))
				continue;
			if (pass == 1) {
				while (t->nets[fresh].used)
					fresh++;
				slot = fresh;
			}
			if (sw_map_put(&t->net_ids, sw_id_key(c->networks[i].id), slot))
				return -EEXIST;
			t->nets[slot] = (struct net_slot){.used = true, .id = c->networks[i].id};
		}
	}
	return 0;
}

static int place_ports(struct sw *sw, const struct sw_config *c)
{
	struct sw_table *t = sw->next;
	uint16_t fresh = 0;

	for (int pass = 0; pass < 2; pass++) {
		for (uint32_t i = 0; i < c->nports; i++) {
			uint32_t slot = sw_map_get(&sw->cur->port_ids, sw_id_key(c->ports[i].id));

			if (c->ports[i].id == SW_NO_PORT)
				return -EINVAL;
			if ((slot == NO_VALUE) != (pass == 1))
				continue;
			if (pass == 1) {
				while (t->ports[fresh].used)
					fresh++;
				slot = fresh;
			}
			if (sw_map_put(&t->port_ids, sw_id_key(c->ports[i].id), slot))
				return -EEXIST;
			t->ports[slot] = (struct port_slot){.used = true, .id = c->ports[i].id};
		}
	}
	return 0;
}

static bool addr_valid(const struct sw_addr *a)
{
	return a->prefix >= 1 &&
	       ((a->family == 4 && a->prefix <= 32) || (a->family == 6 && a->prefix <= 128));
}

static int fill_vnic(struct sw_table *t, const struct sw_port *conf, struct port_slot *p, uint16_t slot,
		     uint32_t *addrs)
{
	static const uint8_t zero[6];
	uint32_t net = sw_map_get(&t->net_ids, sw_id_key(conf->network));

	if (net == NO_VALUE)
		return -ENOENT;
	p->net = (uint16_t)net;
	p->pinned = conf->pinned;
	p->anti_spoof = conf->anti_spoof;
	p->learns = !conf->pinned || !conf->anti_spoof;
	p->addrs = t->addrs + *addrs;
	p->naddrs = conf->naddrs;
	for (uint32_t i = 0; i < conf->naddrs; i++) {
		if (!addr_valid(&conf->addrs[i]))
			return -EINVAL;
		t->addrs[(*addrs)++] = conf->addrs[i];
	}
	t->nets[net].n++;
	if (!conf->pinned)
		return 0;
	if ((conf->mac[0] & 1) || memcmp(conf->mac, zero, 6) == 0)
		return -EINVAL;
	memcpy(p->mac, conf->mac, 6);
	return sw_map_put(&t->pins, sw_station_key(p->net, conf->mac), slot);
}

static int fill_ports(struct sw_table *t, const struct sw_config *c)
{
	uint32_t addrs = 0;
	uint16_t trunks = 0;

	for (uint32_t i = 0; i < c->nports; i++) {
		const struct sw_port *conf = &c->ports[i];
		uint16_t slot = (uint16_t)sw_map_get(&t->port_ids, sw_id_key(conf->id));
		struct port_slot *p = &t->ports[slot];
		int err;

		p->up = conf->up;
		p->max_macs = conf->max_macs;
		if (conf->kind == SW_UPLINK) {
			p->uplink = true;
			p->learns = true;
			p->trunk = trunks++;
			continue;
		}
		if (conf->kind != SW_VNIC)
			return -EINVAL;
		err = fill_vnic(t, conf, p, slot, &addrs);
		if (err)
			return err;
	}
	return 0;
}

static int fill_networks(struct sw_table *t, const struct sw_config *c)
{
	uint32_t members = 0;

	for (uint32_t i = 0; i < c->nnetworks; i++) {
		const struct sw_network *conf = &c->networks[i];
		uint16_t slot = (uint16_t)sw_map_get(&t->net_ids, sw_id_key(conf->id));
		struct net_slot *net = &t->nets[slot];
		uint32_t uplink = sw_map_get(&t->port_ids, sw_id_key(conf->uplink));
		uint16_t *trunk;

		net->first = members;
		members += net->n;
		net->uplink = NO_SLOT;
		if (conf->uplink == SW_NO_PORT)
			continue;
		if (uplink == NO_VALUE || !t->ports[uplink].uplink)
			return -ENOENT;
		if (conf->vlan > SW_VLAN_MAX)
			return -EINVAL;
		trunk = &t->trunks[t->ports[uplink].trunk * TRUNK_SIZE + conf->vlan];
		if (*trunk)
			return -EEXIST;
		*trunk = (uint16_t)(slot + 1);
		net->uplink = (uint16_t)uplink;
		net->vlan = conf->vlan;
	}
	return 0;
}

/* By slot, so that the order of flooding does not depend on the order of the configuration. */
static void fill_members(const struct sw *sw, struct sw_table *t)
{
	for (uint32_t i = 0; i < sw->limits.networks; i++)
		t->nets[i].n = 0;
	for (uint32_t i = 0; i < sw->limits.ports; i++) {
		const struct port_slot *p = &t->ports[i];
		struct net_slot *net = &t->nets[p->net];

		if (p->used && !p->uplink)
			t->members[net->first + net->n++] = (uint16_t)i;
	}
}

/* A slot that has a new owner counts from zero. */
static void reset_counters(struct sw *sw)
{
	for (uint32_t i = 0; i < sw->limits.ports; i++) {
		const struct port_slot *was = &sw->cur->ports[i], *is = &sw->next->ports[i];

		for (uint32_t c = 0; is->used && (!was->used || was->id != is->id) && c < SW_NCOUNTERS; c++)
			__atomic_store_n(&sw->port_counters[i][c], 0, __ATOMIC_RELAXED);
	}
	for (uint32_t i = 0; i < sw->limits.networks; i++) {
		const struct net_slot *was = &sw->cur->nets[i], *is = &sw->next->nets[i];

		for (uint32_t c = 0; is->used && (!was->used || was->id != is->id) && c < SW_NCOUNTERS; c++)
			__atomic_store_n(&sw->net_counters[i][c], 0, __ATOMIC_RELAXED);
	}
}

int sw_apply(struct sw *sw, const struct sw_config *c)
{
	struct sw_table *old = sw->cur;
	int err = check_limits(sw, c);

	if (err)
		return err;
	clear_table(sw, sw->next);
	err = place_networks(sw, c);
	if (!err)
		err = place_ports(sw, c);
	if (!err)
		err = fill_ports(sw->next, c);
	if (!err)
		err = fill_networks(sw->next, c);
	if (err)
		return err;
	fill_members(sw, sw->next);
	sw_fdb_prune(sw);
	reset_counters(sw);
	sw->cur = sw->next;
	sw->next = old;
	return 0;
}

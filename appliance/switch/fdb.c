/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Learned stations: a hash of slots, each key within FDB_WINDOW slots of its home or nowhere, so
 * that every look-up is bounded and deletion is "mark free". Pinned MACs are not in here.
 */
#include <string.h>

#include "appliance/switch/internal.h"

#define FDB_WINDOW 8u

static struct station *slot_at(const struct sw *sw, uint64_t key, uint32_t i)
{
	return &sw->stations[((uint32_t)sw_hash(key, sw->limits.seed) + i) & sw->station_mask];
}

static uint16_t net_of(uint64_t key)
{
	return (uint16_t)((key >> 48) - 1);
}

static bool aged(const struct sw *sw, const struct station *s, uint64_t now)
{
	return now > s->seen && now - s->seen > sw->limits.age_ns;
}

static void forget(struct sw *sw, struct station *s)
{
	sw->port_macs[s->port]--;
	sw->nstations--;
	s->key = 0;
}

static void age_out(struct sw *sw, struct station *s)
{
	sw_count(sw, s->port, net_of(s->key), SW_C_fdb_aged, 1);
	forget(sw, s);
}

static struct station *find(const struct sw *sw, uint64_t key)
{
	for (uint32_t i = 0; i < FDB_WINDOW; i++) {
		struct station *s = slot_at(sw, key, i);

		if (s->key == key)
			return s;
	}
	return NULL;
}

uint16_t sw_fdb_find(const struct sw *sw, uint64_t key, uint64_t now)
{
	const struct station *s = find(sw, key);

	return s && !aged(sw, s, now) ? s->port : NO_SLOT;
}

/* A free slot of the key's window, made free of an aged station if need be. */
static struct station *make_room(struct sw *sw, uint64_t key, uint64_t now)
{
	struct station *old = NULL;

	for (uint32_t i = 0; i < FDB_WINDOW; i++) {
		struct station *s = slot_at(sw, key, i);

		if (s->key == 0)
			return s;
		if (!old && aged(sw, s, now))
			old = s;
	}
	if (old)
		age_out(sw, old);
	return old;
}

void sw_fdb_learn(struct sw *sw, uint64_t key, uint16_t port, uint16_t net, uint64_t now)
{
	uint32_t max = sw->cur->ports[port].max_macs;
	struct station *s = find(sw, key);

	if (s && aged(sw, s, now)) {
		age_out(sw, s);
		s = NULL;
	}
	if (s && s->port == port) {
		s->seen = now;
		return;
	}
	if (max && sw->port_macs[port] >= max) {
		sw_count(sw, port, net, SW_C_fdb_limit, 1);
		return;
	}
	if (s) {
		sw_count(sw, port, net, SW_C_fdb_moved, 1);
		forget(sw, s);
	} else {
		s = make_room(sw, key, now);
		if (!s) {
			sw_count(sw, port, net, SW_C_fdb_full, 1);
			return;
		}
		sw_count(sw, port, net, SW_C_fdb_learned, 1);
	}
	*s = (struct station){.key = key, .seen = now, .port = port};
	sw->port_macs[port]++;
	sw->nstations++;
}

/* Does what was learned under `cur` still hold under `next`? */
static bool still_true(const struct sw *sw, const struct station *s)
{
	uint16_t n = net_of(s->key);
	const struct net_slot *net0 = &sw->cur->nets[n], *net1 = &sw->next->nets[n];
	const struct port_slot *port0 = &sw->cur->ports[s->port], *port1 = &sw->next->ports[s->port];

	if (!net1->used || net1->id != net0->id || !port1->used || port1->id != port0->id)
		return false;
	if (port1->uplink != port0->uplink || !port1->learns)
		return false;
	if (port1->uplink && (net1->uplink != s->port || net1->vlan != net0->vlan))
		return false;
	if (!port1->uplink && port1->net != n)
		return false;
	return sw_map_get(&sw->next->pins, s->key) == NO_VALUE;
}

void sw_fdb_prune(struct sw *sw)
{
	for (uint32_t i = 0; i <= sw->station_mask; i++) {
		struct station *s = &sw->stations[i];

		if (s->key && !still_true(sw, s))
			forget(sw, s);
	}
}

void sw_tick(struct sw *sw, uint64_t now, uint32_t budget)
{
	if (budget > sw->station_mask + 1)
		budget = sw->station_mask + 1;
	for (; budget; budget--) {
		struct station *s = &sw->stations[sw->sweep];

		sw->sweep = (sw->sweep + 1) & sw->station_mask;
		if (s->key && aged(sw, s, now))
			age_out(sw, s);
	}
}

void sw_flush(struct sw *sw, uint32_t port)
{
	uint32_t slot = sw_map_get(&sw->cur->port_ids, sw_id_key(port));

	if (port != SW_NO_PORT && slot == NO_VALUE)
		return;
	for (uint32_t i = 0; i <= sw->station_mask; i++) {
		struct station *s = &sw->stations[i];

		if (s->key && (port == SW_NO_PORT || s->port == slot))
			forget(sw, s);
	}
}

static void fill_row(const struct sw *sw, struct sw_fdb_row *row, uint64_t key, uint32_t port)
{
	row->network = sw->cur->nets[net_of(key)].id;
	row->port = sw->cur->ports[port].id;
	for (uint32_t i = 0; i < 6; i++)
		row->mac[i] = (uint8_t)(key >> (40 - 8 * i));
}

/* The cursor walks the slots of the pins, then those of the learned stations. */
uint32_t sw_fdb_dump(const struct sw *sw, uint32_t *cursor, struct sw_fdb_row *rows, uint32_t n, uint64_t now)
{
	const struct sw_map *pins = &sw->cur->pins;
	uint32_t got = 0;

	for (; got < n && *cursor <= pins->mask; ++*cursor) {
		if (pins->keys[*cursor] == 0)
			continue;
		rows[got] = (struct sw_fdb_row){.pinned = true};
		fill_row(sw, &rows[got++], pins->keys[*cursor], pins->values[*cursor]);
	}
	for (; got < n && *cursor - pins->mask - 1 <= sw->station_mask; ++*cursor) {
		const struct station *s = &sw->stations[*cursor - pins->mask - 1];

		if (s->key == 0 || aged(sw, s, now))
			continue;
		rows[got] = (struct sw_fdb_row){.age_ns = now > s->seen ? now - s->seen : 0};
		fill_row(sw, &rows[got++], s->key, s->port);
	}
	return got;
}

uint32_t sw_fdb_count(const struct sw *sw)
{
	return sw->nstations;
}

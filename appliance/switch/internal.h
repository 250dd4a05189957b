/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside the switch: the adopted configuration as tables of slots, and the station table.
 *
 * Ports and networks live in slots (small integers) that stay theirs across sw_apply(), so that
 * counters and learned stations can point at them. There are two tables: `cur` is used, `next`
 * is where sw_apply() builds before it swaps them; a refused configuration leaves `cur` as it was.
 */
#ifndef OUTRIGGER_SWITCH_INTERNAL_H
#define OUTRIGGER_SWITCH_INTERNAL_H

#include "appliance/switch/switch.h"

#define NO_SLOT	   UINT16_MAX
#define NO_VALUE   UINT32_MAX
#define TRUNK_SIZE 4096u /* network slot + 1 by VLAN, per uplink */

/* Map from a key (not 0) to a value, filled anew by each sw_apply(), at most half full. */
struct sw_map {
	uint64_t *keys;
	uint32_t *values;
	uint32_t mask;
	uint64_t seed;
};

int sw_map_init(struct sw_map *m, uint32_t max, uint64_t seed); /* -ENOMEM */
void sw_map_fini(struct sw_map *m);
void sw_map_clear(struct sw_map *m);
int sw_map_put(struct sw_map *m, uint64_t key, uint32_t value); /* -EEXIST */
uint32_t sw_map_get(const struct sw_map *m, uint64_t key);	/* NO_VALUE: not there */
uint64_t sw_hash(uint64_t key, uint64_t seed);

static inline uint64_t sw_id_key(uint32_t id)
{
	return (uint64_t)id + 1;
}

/* Stations are known by (network slot, MAC); never 0. */
static inline uint64_t sw_station_key(uint16_t net, const uint8_t mac[6])
{
	uint64_t key = (uint64_t)net + 1;

	for (int i = 0; i < 6; i++)
		key = key << 8 | mac[i];
	return key;
}

struct port_slot {
	bool used;
	bool up;
	bool uplink;
	bool pinned;
	bool anti_spoof;
	bool learns;	/* may have stations that configuration does not name */
	uint8_t mac[6]; /* if pinned */
	uint16_t net;	/* vNIC: its network's slot */
	uint16_t trunk; /* uplink: its row of trunks */
	uint32_t id;
	uint32_t max_macs;
	uint32_t naddrs;
	const struct sw_addr *addrs; /* in the same table */
};

struct net_slot {
	bool used;
	uint16_t uplink; /* port slot or NO_SLOT */
	uint16_t vlan;
	uint32_t id;
	uint32_t first, n; /* its vNICs: members[first .. first + n) */
};

struct sw_table {
	struct port_slot *ports;
	struct net_slot *nets;
	uint16_t *members; /* port slots of vNICs, by network */
	uint16_t *trunks;
	struct sw_addr *addrs;
	struct sw_map port_ids, net_ids;
	struct sw_map pins; /* station -> port slot */
};

/* A learned station. */
struct station {
	uint64_t key; /* 0: free */
	uint64_t seen;
	uint16_t port;
};

struct sw {
	struct sw_limits limits;
	struct sw_table tables[2];
	struct sw_table *cur, *next;
	uint64_t (*port_counters)[SW_NCOUNTERS]; /* by slot */
	uint64_t (*net_counters)[SW_NCOUNTERS];
	uint64_t total[SW_NCOUNTERS];
	struct sw_dest *dests; /* of the last sw_input() */

	struct station *stations;
	uint32_t station_mask;
	uint32_t nstations;
	uint32_t sweep;	     /* where sw_tick() goes on */
	uint32_t *port_macs; /* learned stations by port slot */
};

/* net NO_SLOT: not known yet. */
static inline void sw_count(struct sw *sw, uint16_t port, uint16_t net, enum sw_counter c, uint64_t n)
{
	counter_add(&sw->total[c], n);
	counter_add(&sw->port_counters[port][c], n);
	if (net != NO_SLOT)
		counter_add(&sw->net_counters[net][c], n);
}

/* fdb.c. The port slot, or NO_SLOT if nobody there was heard of within the ageing time. */
uint16_t sw_fdb_find(const struct sw *sw, uint64_t key, uint64_t now);
/* The station was heard on this port: remember, refresh or move it, or count why not. */
void sw_fdb_learn(struct sw *sw, uint64_t key, uint16_t port, uint16_t net, uint64_t now);
/* Forget what is not true any more when `next` replaces `cur`. */
void sw_fdb_prune(struct sw *sw);

/* The private copy of the head of a frame, and what was read from it once. */
#define SW_HEAD 128u

struct sw_packet {
	const struct frame *f;
	uint32_t len;  /* bytes from the Ethernet header on */
	uint32_t head; /* bytes in b */
	uint8_t b[SW_HEAD];
	const uint8_t *eth; /* in b */
	uint16_t ethertype;
	bool gso;
};

/* parse.c. These give SW_NCOUNTERS for a frame that may pass, else the drop. */
enum sw_counter sw_packet_read(struct sw_packet *p, const struct frame *f);
enum sw_counter sw_packet_offload(const struct sw_packet *p);
/* n bytes at off from the Ethernet header; false when the frame is shorter. */
bool sw_packet_peek(const struct sw_packet *p, uint32_t off, void *dst, uint32_t n);

/* check.c: the source policy of a vNIC with anti-spoof on. */
enum sw_counter sw_source_check(const struct sw_packet *p, const struct port_slot *port);

#define ETHERTYPE_IPV4 0x0800u
#define ETHERTYPE_ARP  0x0806u
#define ETHERTYPE_RARP 0x8035u
#define ETHERTYPE_CTAG 0x8100u
#define ETHERTYPE_IPV6 0x86ddu
#define ETHERTYPE_STAG 0x88a8u
#define ETHERTYPE_QINQ 0x9100u /* before 802.1ad had a number */

#define ETH_HDR	 14u
#define IPV4_HDR 20u
#define IPV6_HDR 40u

static inline uint16_t sw_be16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

#endif

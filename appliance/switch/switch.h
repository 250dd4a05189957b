/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The switch: a pure layer-2 core of (port, frame, now) -> outputs or a named drop.
 *
 * Networks are layer-2 segments. A vNIC port is a member of exactly one network and carries a
 * source policy; an uplink port is a trunk whose (port, VLAN) pairs map to networks. Frames are
 * `struct frame`: a 12-byte virtio_net_hdr (virtio 1.2, 5.1.6), then the Ethernet frame, possibly
 * scattered and possibly a TSO super-frame, which is passed on whole. The switch never changes
 * or keeps a frame: it says where it goes.
 *
 *	struct sw *sw = sw_create(&(struct sw_limits){.ports = 256, .uplinks = 2, ...});
 *	sw_apply(sw, &config);				whenever the configuration changed
 *	n = sw_input(sw, port, vlan, f, now, &out);	per frame
 *	for (i = 0; i < n; i++)
 *		send(out.to[i].port, out.to[i].vlan, i + 1 < n ? frame_clone(f) : f);
 *	sw_tick(sw, now, 64);				now and then, frees aged entries
 *
 * What is forwarded where:
 *  - group addresses: to every other member that is up, and to the uplink;
 *  - a pinned MAC (configuration) or a learned one: to that port;
 *  - unknown unicast: to the uplink, and to those vNICs alone that may have unknown stations
 *    behind them (no pinned MAC, or anti-spoof off). A vNIC with a pinned MAC and anti-spoof
 *    never sees a neighbour's unicast.
 * Never back to the port it came from. Pinned MACs are never learned and never move: a frame
 * that claims one from another port is dropped.
 *
 * Thread rule: a switch belongs to one worker; sw_apply() runs there too, or while the worker is
 * quiesced. The counter arrays may be read from any thread (counter.h). Nothing is allocated
 * after sw_create().
 */
#ifndef OUTRIGGER_SWITCH_SWITCH_H
#define OUTRIGGER_SWITCH_SWITCH_H

#include <stdbool.h>
#include <stdint.h>

#include "fabric/base/counter.h"
#include "fabric/buf/buf.h"

#define SW_VNET_HDR    12u	       /* bytes of virtio_net_hdr before the Ethernet header */
#define SW_NO_PORT     UINT32_MAX      /* a network without an uplink */
#define SW_VLAN_MAX    4094u	       /* 0: untagged */
#define SW_AGE_DEFAULT 300000000000ull /* ns; IEEE 802.1Q table 8-6 recommends 300 s */

/* rx: from the port into the switch; tx: out of the switch to the port. Bytes count the Ethernet
 * frame without the virtio_net_hdr. rx_frames counts what came, dropped or not; a network counts
 * what entered it and the copies that left it. */
#define SW_COUNTERS(X)                                                                                       \
	X(rx_frames)                                                                                         \
	X(rx_bytes)                                                                                          \
	X(rx_gso)     /* frames with a gso_type: TSO super-frames kept whole */                              \
	X(rx_flooded) /* frames to a group address or to an unknown station */                               \
	X(tx_frames)                                                                                         \
	X(tx_bytes)                                                                                          \
	X(tx_gso)                                                                                            \
	X(fdb_learned)	     /* stations learned on this port */                                             \
	X(fdb_moved)	     /* stations that moved to this port from another */                             \
	X(fdb_aged)	     /* stations forgotten after the ageing time */                                  \
	X(fdb_full)	     /* not learned: no room in the table; the frame went on */                      \
	X(fdb_limit)	     /* not learned: the port's max_macs reached; the frame went on */               \
	X(drop_no_port)	     /* ingress port unknown to the configuration */                                 \
	X(drop_port_down)    /* ingress port administratively down */                                        \
	X(drop_short)	     /* less than virtio_net_hdr + Ethernet header */                                \
	X(drop_long)	     /* more than FRAME_MAX */                                                       \
	X(drop_bad_offload)  /* virtio_net_hdr that does not describe this frame */                          \
	X(drop_unknown_vlan) /* VLAN of no network on this uplink, or a VLAN on a vNIC's frame */            \
	X(drop_source_multicast)                                                                             \
	X(drop_tagged)	      /* 802.1Q or 802.1ad tag inside the frame */                                   \
	X(drop_reserved)      /* to 01:80:c2:00:00:0x: link-local control, never forwarded */                \
	X(drop_source_pinned) /* source is the pinned MAC of another port */                                 \
	X(drop_spoof_mac)                                                                                    \
	X(drop_spoof_arp)                                                                                    \
	X(drop_spoof_ipv4)                                                                                   \
	X(drop_spoof_ipv6)                                                                                   \
	X(drop_spoof_nd)                                                                                     \
	X(drop_hairpin)		/* the destination is behind the ingress port */                             \
	X(drop_egress_down)	/* the destination's port is down */                                         \
	X(drop_unknown_unicast) /* unknown station and nobody to ask */                                      \
	X(drop_no_member)	/* group address and no other member up */

#define SW_COUNTER_ENUM(name) SW_C_##name,
enum sw_counter { SW_COUNTERS(SW_COUNTER_ENUM) SW_NCOUNTERS };
extern const char *const sw_counter_names[SW_NCOUNTERS];

/* Capacities, fixed for the life of a switch. */
struct sw_limits {
	uint32_t ports;	   /* vNICs and uplinks together; 1 .. 65535 */
	uint32_t uplinks;  /* of those; each takes 16 KiB */
	uint32_t networks; /* 1 .. 65535 */
	uint32_t addrs;	   /* allowed addresses of all vNICs together */
	uint32_t fdb;	   /* learned stations; rounded up to a power of two */
	uint64_t age_ns;   /* a station silent for longer is forgotten; 0: SW_AGE_DEFAULT */
	uint64_t seed;	   /* random: keeps guests from choosing colliding MACs */
};

struct sw_network {
	uint32_t id;
	uint32_t uplink; /* id of an uplink port, or SW_NO_PORT */
	uint16_t vlan;	 /* on the uplink: 1 .. SW_VLAN_MAX, or 0 for untagged */
};

/* One allowed address or prefix. */
struct sw_addr {
	uint8_t family;	   /* 4 or 6 */
	uint8_t prefix;	   /* bits that count: 1 .. 32 or 1 .. 128 (all: one address) */
	uint8_t bytes[16]; /* network order; IPv4 in the first four */
};

enum sw_port_kind { SW_VNIC, SW_UPLINK };

struct sw_port {
	uint32_t id; /* any value but SW_NO_PORT, unique over both kinds */
	enum sw_port_kind kind;
	bool up;	   /* down: its frames are dropped, nothing is sent to it */
	uint32_t max_macs; /* learned stations at most; 0: as the table holds */

	/* The rest is of vNICs alone. */
	uint32_t network;
	bool pinned; /* `mac` is its address; false: any, learned */
	uint8_t mac[6];
	/*
	 * Source checks. On: source MAC is `mac` if pinned; ARP and ND speak for no other MAC; with
	 * naddrs > 0, IPv4 and IPv6 sources, ARP senders and NA targets are in addrs, or 0.0.0.0, ::,
	 * or the fe80:: address made of the own MAC (RFC 4291, appendix A). Off: none of that, and
	 * stations behind a pinned vNIC are learned.
	 */
	bool anti_spoof;
	const struct sw_addr *addrs;
	uint32_t naddrs; /* 0: addresses are not checked */
};

/* The caller's, immutable during sw_apply(); everything is copied. */
struct sw_config {
	const struct sw_network *networks;
	uint32_t nnetworks;
	const struct sw_port *ports;
	uint32_t nports;
};

struct sw_dest {
	uint32_t port;
	uint16_t vlan; /* tag to put on, 0 for none; always 0 for vNICs */
};

/* Verdict on one frame. */
struct sw_out {
	uint32_t n;		  /* outputs; 0: dropped */
	const struct sw_dest *to; /* the switch's memory, valid until its next call */
	enum sw_counter drop;	  /* why, if n is 0; SW_NCOUNTERS if not */
};

struct sw_fdb_row {
	uint32_t network, port;
	uint8_t mac[6];
	bool pinned;
	uint64_t age_ns; /* since last seen as a source; 0 for pinned */
};

struct sw;

/* An empty switch. NULL: no memory, or a limit out of its range. */
struct sw *sw_create(const struct sw_limits *limits);
void sw_destroy(struct sw *sw); /* NULL is fine */

/*
 * Adopt a configuration, whole or not at all. Counters and learned stations of ports and networks
 * that stay are kept; stations of a port that went away, changed its network or may not have
 * any, and those now pinned, are forgotten.
 *
 * -ENOSPC: more than the limits. -EEXIST: an id, a network's (uplink, vlan), or a pinned MAC
 * within a network twice. -ENOENT: a network or an uplink that is not in the configuration.
 * -EINVAL: VLAN, MAC (group or zero), address family or prefix, or kind out of range.
 */
int sw_apply(struct sw *sw, const struct sw_config *config);

/*
 * Judge one frame from `port`. vlan is the 802.1Q tag an uplink took off, 0 if none; 0 for vNICs.
 * Returns out->n. The frame stays the caller's. `now` must not run backwards.
 */
uint32_t sw_input(struct sw *sw, uint32_t port, uint16_t vlan, const struct frame *f, uint64_t now,
		  struct sw_out *out);

/* Forget aged stations in the next `budget` slots of the table. */
void sw_tick(struct sw *sw, uint64_t now, uint32_t budget);
/* Forget all learned stations of a port (its link went down), or of every port with SW_NO_PORT. */
void sw_flush(struct sw *sw, uint32_t port);

/*
 * SW_NCOUNTERS values: of the whole switch, of a port, of a network (NULL: not configured). Call
 * from the owning thread; the array may then be read from any thread while the switch lives, and
 * is that port's or network's while it stays configured.
 */
const uint64_t *sw_counters(const struct sw *sw);
const uint64_t *sw_port_counters(const struct sw *sw, uint32_t port);
const uint64_t *sw_network_counters(const struct sw *sw, uint32_t network);

/*
 * Fill up to n rows from *cursor (0 at the start) and advance it; 0 rows means the end. Entries that
 * come and go between calls may be missed or seen twice.
 */
uint32_t sw_fdb_dump(const struct sw *sw, uint32_t *cursor, struct sw_fdb_row *rows, uint32_t n,
		     uint64_t now);
/* Learned stations at the moment, aged but not yet swept ones included. */
uint32_t sw_fdb_count(const struct sw *sw);

#endif

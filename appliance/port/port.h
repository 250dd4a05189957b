/* SPDX-License-Identifier: Apache-2.0 */
/*
 * port: the door between the switch and a physical network.
 *
 *	port/dpdk    any DPDK ethdev: a NIC, or af_packet and af_xdp on a kernel interface
 *
 * A frame inside the appliance begins with a virtio_net_hdr of 12 bytes (virtio 1.2, 5.1.6,
 * little-endian, num_buffers included), then comes the Ethernet frame without FCS. A port
 * speaks that on its inner side: received frames get a header (no offloads asked, num_buffers 1),
 * and what a sent frame's header asks for is done here: the checksum is completed, a TCP or UDP
 * super-frame is cut to the port's MTU (appliance/port/offload).
 *
 * The outermost 802.1Q tag is not in the frame but beside it: `vlan` is 1..4094, or 0 for a frame
 * without a tag (or with a priority tag, IEEE 802.1Q 9.6). A frame may carry further tags inside; they
 * are not looked at.
 *
 * Thread rule: created and destroyed by one thread while no other uses it; recv() and send() by one
 * worker; mac(), link_up() and counters by any thread.
 */
#ifndef OUTRIGGER_PORT_PORT_H
#define OUTRIGGER_PORT_PORT_H

#include <stdbool.h>
#include <stdint.h>

#include "fabric/base/counter.h"
#include "fabric/buf/buf.h"

#define PORT_VNET_HDR  12u /* bytes of virtio_net_hdr_v1 before each frame */
#define PORT_VLAN_NONE 0u
#define PORT_VLAN_MAX  4094u

struct port_rx {
	struct frame *frame; /* the receiver's, to be given to frame_put() */
	uint16_t vlan;
};

struct port_tx {
	const struct frame *frame; /* stays the caller's; copied before send() returns */
	uint16_t vlan;
};

struct port;

struct port_ops {
	/* Up to max frames; 0: none now; -errno: the port is broken. Required. */
	int (*recv)(struct port *p, struct port_rx *rx, int max);
	/* In order. The number of frames taken; the others are dropped and counted. Required. */
	int (*send)(struct port *p, const struct port_tx *tx, int n);
	void (*mac)(const struct port *p, uint8_t mac[6]); /* Required. */
	/* False: no carrier. A kernel interface behind af_packet or af_xdp is asked, not the driver, which
	 * always says yes. A system call: not for the data path. Required. */
	bool (*link_up)(const struct port *p);
	void (*destroy)(struct port *p); /* Every received frame must be back. Required. */
};

/*
 *	tx_frames	   as given to send()
 *	tx_packets	   as put on the wire; tx_bytes there, tag included, FCS not
 *	tx_segmented	   super-frames that were cut
 *	tx_checksummed	   checksums completed
 *	drop_rx_loop	   our own MAC as source: the host's own frame looped back by af_packet
 *	drop_rx_noframe	   the frame pool is empty
 *	drop_rx_pieces	   more pieces than a frame holds
 *	drop_tx_header	   offload fields that cannot be true
 *	drop_tx_tagged	   to go untagged, but begins with a tag of the guest's own
 *	drop_tx_oversize   longer than the MTU and not to be cut
 *	drop_tx_nobuf	   no packet buffer
 *	drop_tx_full	   the device's ring is full
 */
#define PORT_COUNTERS(X)                                                                                     \
	X(rx_frames)                                                                                         \
	X(rx_bytes)                                                                                          \
	X(tx_frames)                                                                                         \
	X(tx_packets)                                                                                        \
	X(tx_bytes)                                                                                          \
	X(tx_segmented)                                                                                      \
	X(tx_checksummed)                                                                                    \
	X(drop_rx_short)                                                                                     \
	X(drop_rx_loop)                                                                                      \
	X(drop_rx_noframe)                                                                                   \
	X(drop_rx_pieces)                                                                                    \
	X(drop_tx_short)                                                                                     \
	X(drop_tx_header)                                                                                    \
	X(drop_tx_tagged)                                                                                    \
	X(drop_tx_oversize) X(drop_tx_nobuf) X(drop_tx_full)

#define PORT_COUNTER_ENUM(name) PORT_C_##name,
enum port_counter { PORT_COUNTERS(PORT_COUNTER_ENUM) PORT_NCOUNTERS };
extern const char *const port_counter_names[PORT_NCOUNTERS];

struct port {
	const struct port_ops *ops;
	const char *name; /* the device, for people */
	uint32_t mtu;	  /* bytes of the largest IP packet; a tag comes on top */
	uint64_t counters[PORT_NCOUNTERS];
};

#endif

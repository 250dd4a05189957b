/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A port on a DPDK ethdev. eal_start() (eal.h) must have succeeded.
 *
 * The device is named as fabric/dpdk/ethdev.h says: "af_packet:IFACE", "af_xdp:IFACE", a PCI address, or
 * DPDK devargs. Received bytes are not copied: the mbuf becomes the frame's buf. Sent frames are
 * copied, cut and checksummed into one mbuf per packet, because af_xdp sends only the first piece of a
 * chain.
 *
 * On kernel interfaces (veth above all) the other end must compute its own checksums and cut its own
 * segments, nothing here can repair what it left out:
 *	ethtool -K PEER tx off tso off gso off txvlan off
 * af_packet leaves the frames to the kernel too: give the port an interface without addresses. It also
 * shows an 802.1ad tag (0x88a8) as an 802.1Q tag; af_xdp leaves it in the frame.
 */
#ifndef OUTRIGGER_PORT_DPDK_H
#define OUTRIGGER_PORT_DPDK_H

#include <stddef.h>

#include "appliance/port/port.h"

struct port_dpdk_cfg {
	const char *dev;
	uint32_t mtu;		   /* 0: 1500 */
	uint32_t mbufs;		   /* receive and transmit buffers; 0: 4095 */
	struct frame_pool *frames; /* where received frames come from; the worker's; outlives the port */
};

/* NULL, *err = -errno and a sentence in why. */
struct port *port_dpdk_create(const struct port_dpdk_cfg *cfg, int *err, char *why, size_t why_len);

#endif

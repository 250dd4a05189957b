/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One DPDK ethdev with one receive and one transmit queue and a pool of its own, for the fabric link
 * and the uplink port alike. eal_start() comes first.
 *
 * A device is named
 *	af_packet:IFACE	    kernel interface through AF_PACKET; any MTU, tags kept, the kernel sees all too
 *	af_xdp:IFACE	    kernel interface through AF_XDP; frames of at most ETHDEV_XDP_FRAME bytes
 *	0000:3b:00.0	    PCI address of a NIC bound to a DPDK driver
 *	anything else	    DPDK devargs, as "net_null0,size=64"
 *
 * An XDP program that a killed process left on an af_xdp interface is removed first: the driver would
 * refuse to attach its own. So the interface must be given to Outrigger alone.
 *
 * Thread rule: open and close by the thread that started the EAL; bursts by one worker.
 */
#ifndef OUTRIGGER_DPDK_ETHDEV_H
#define OUTRIGGER_DPDK_ETHDEV_H

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rte_mempool;

#define ETHDEV_BURST	 32
#define ETHDEV_MBUFS	 4095u /* 9 MiB; jumbo: half as many, 22 MiB; af_xdp: 16 MiB */
#define ETHDEV_XDP_FRAME 3300u /* a UMEM element is one page: what is left of it for a frame */

struct ethdev_cfg {
	const char *dev;
	const char *xdp_prog; /* af_xdp: object with the program to attach; NULL: all frames are ours */
	uint32_t mtu;	      /* 0: 1500 */
	uint32_t mbufs;	      /* 0: ETHDEV_MBUFS, or half of it for a jumbo MTU */
	bool promiscuous;     /* frames for other MAC addresses too */
};

struct ethdev {
	uint16_t port_id;
	struct rte_mempool *pool; /* of rx and tx; its elements carry a struct buf (mbuf.h) */
	uint32_t mtu;
	uint8_t mac[6];
	char ifname[IFNAMSIZ]; /* of a kernel interface; else "" */
	char devname[64];      /* DPDK's name of the device */
};

/* MTU of the kernel interface behind dev, as far as the driver carries it; 0: there is none. */
uint32_t ethdev_interface_mtu(const char *dev);
/* 0, or -errno and a sentence in why. */
int ethdev_open(struct ethdev *e, const struct ethdev_cfg *cfg, char *why, size_t why_len);
/* Stops and removes the device. Every mbuf must be back. */
void ethdev_close(struct ethdev *e);
/* Carrier: of the kernel interface when there is one (its DPDK drivers always say yes). */
bool ethdev_link_up(const struct ethdev *e);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fabric link on a DPDK port.
 *
 * On a kernel interface it runs on af_xdp with the program of fabric.bpf.c: only UDP datagrams to
 * port LINK_FABRIC_PORT go to DPDK, the kernel keeps ARP, neighbour discovery, ICMP and TCP, and the
 * address. So there is no IP stack here: what is known of a peer is the MAC address that its
 * datagrams came from. It is learned by confirm() alone, from a datagram proven authentic; a send to
 * an address not yet learned is dropped (drop_tx_noroute). The peer must speak first: agents do.
 *
 * Received datagrams are not copied: their mbuf is the buf. Received checksums are not checked (a veth
 * never fills them; the tunnel has its own integrity); sent ones are: IPv4 header always, UDP over
 * IPv6 always, UDP over IPv4 left out (0, RFC 768). Frames with an 802.1Q tag, IPv4 options, IPv6
 * extension headers or fragments are not for us: drop_rx_malformed.
 *
 * fd() is -1: poll recv(). An idle poll costs a memory read.
 */
#ifndef OUTRIGGER_LINK_DPDK_H
#define OUTRIGGER_LINK_DPDK_H

#include "fabric/link/link.h"

struct link_dpdk_cfg {
	const char *dev;	/* as fabric/dpdk/ethdev.h: "af_xdp:fab0" */
	const char *xdp_prog;	/* path of fabric.bpf.o, for af_xdp */
	struct link_addr local; /* an address of that interface; port LINK_FABRIC_PORT */
	uint32_t max_payload; /* wanted, of a datagram; 0: what the kernel interface's MTU carries, or 1500 */
	uint32_t mbufs;	      /* 0: ETHDEV_MBUFS */
};

/* NULL, *err = -errno and a sentence in why. The EAL must run. */
struct link *link_dpdk_create(const struct link_dpdk_cfg *cfg, int *err, char *why, size_t why_len);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fabric link on one kernel UDP socket.
 *
 * Sends runs of equal datagrams to one address with one UDP_SEGMENT send ("train": at most 64
 * datagrams and 65507 bytes, the last may be shorter), receives trains with UDP_GRO and cuts
 * them. A train costs about what one datagram costs, so the layer above should send long runs. Every
 * datagram is sent with DF and as ECT(0). Where the kernel or the NIC refuses UDP_SEGMENT, datagrams
 * are sent one by one.
 *
 * Receive buffers come from the caller's pool. One piece of LINK_UDP_RX_ROOM bytes is needed for
 * each receive, because a train may be that long; a buffer larger than that takes several small
 * trains before the next buffer is begun. The link keeps LINK_UDP_RX_SLOTS buffers. Buffers put
 * back by the receiver within the burst are filled again first, while they are warm.
 *
 * recv() should be called until it gives less than max. What a call could not give any more for want of
 * room in rx waits in the link; deadline() is then 0.
 *
 * Sources: udp(7), ip(7), ipv6(7), RFC 3168 (ECN), RFC 8899 (DF probes are the upper layer's).
 */
#ifndef OUTRIGGER_LINK_UDP_H
#define OUTRIGGER_LINK_UDP_H

#include <net/if.h>

#include "fabric/link/link.h"

#define LINK_UDP_RX_ROOM      65536u
#define LINK_UDP_RX_SLOTS     4
#define LINK_UDP_BUF_SIZE     (2 * LINK_UDP_RX_ROOM) /* a good size for the pool's buffers */
#define LINK_UDP_SOCKET_BYTES (16u << 20)	     /* wanted for SO_RCVBUF and SO_SNDBUF */

/* What the kernel gave. A host agent without gso or uso pays 3 to 13 times the CPU: say so in the log. */
struct link_udp_info {
	bool gso;	 /* UDP_SEGMENT known by the kernel and not yet refused */
	bool gro;	 /* UDP_GRO */
	bool uso;	 /* the NIC segments (or a veth passes trains on): ethtool tx-udp-segmentation */
	uint32_t rcvbuf; /* bytes granted, as SO_RCVBUF gives them (twice what was asked) */
	uint32_t sndbuf; /* bytes */
	char ifname[IFNAMSIZ]; /* of the NIC that has the local address; "" when none has it (wildcard) */
	bool nic_gro;	       /* the NIC gathers what it receives: ethtool generic-receive-offload */
};

/*
 * bind: local address; the wildcard ([::] takes IPv4 peers too) and port 0 (any) are allowed; local()
 * tells the port that was given. Bound to an IPv4 address the socket is AF_INET.
 * pool: outlives the link; buffers of at least LINK_UDP_RX_ROOM bytes.
 * NULL and *err: -EADDRINUSE, -EADDRNOTAVAIL, -EACCES, -EINVAL (buffers too small), -ENOMEM, ...
 */
struct link *link_udp_create(const struct link_addr *bind, struct buf_pool *pool, int *err);

/* Asks the kernel: not for the data path. peer: the NIC that leads there, as a wildcard socket has none of
 * its own; NULL: the one with the socket's address. */
void link_udp_get_info(const struct link *l, const struct link_addr *peer, struct link_udp_info *info);

#endif

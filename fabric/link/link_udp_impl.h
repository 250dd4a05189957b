/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of link/udp share; nobody else includes this. */
#ifndef OUTRIGGER_LINK_UDP_IMPL_H
#define OUTRIGGER_LINK_UDP_IMPL_H

#include <netinet/in.h>
#include <sys/socket.h>

#include "fabric/base/counter.h"
#include "fabric/link/link_udp.h"

#define UDP_TRAIN_DATAGRAMS 64	   /* UDP_MAX_SEGMENTS of every kernel that has UDP_SEGMENT */
#define UDP_TRAIN_BYTES	    65507u /* the largest IPv4 UDP payload */
#define UDP_TX_MSGS	    16	   /* trains, or single datagrams, per sendmmsg() */
#define UDP_TX_IOVS	    256	   /* pieces of memory per sendmmsg() */
#define UDP_CMSG_BYTES	    128	   /* UDP_GRO, TOS, TCLASS, a time stamp, with their headers */

/* One received train, or the place for the next. */
struct udp_slot {
	struct buf *buf; /* one reference is the slot's; NULL: the pool was empty */
	uint32_t at;	 /* where the next train goes */
	/* What is left to give of the train received last; left == 0: nothing. */
	uint32_t next;
	uint32_t left;
	uint32_t cut; /* bytes per datagram */
	struct link_addr from;
	bool ce;
	uint64_t lay; /* ns in the socket */
};

struct udp_tx_msg {
	struct sockaddr_storage to;
	int first; /* index in the caller's entries */
	int count; /* datagrams */
	uint32_t bytes;
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(uint16_t))];
	} control;
};

struct link_udp {
	struct link base;
	struct buf_pool *pool;
	int fd;
	int family; /* of the socket */
	bool gso, gro;
	unsigned slot_first, slot_count; /* slots with something left to give */
	struct udp_slot slots[LINK_UDP_RX_SLOTS];
	struct mmsghdr rx_hdrs[LINK_UDP_RX_SLOTS];
	struct iovec rx_iovs[LINK_UDP_RX_SLOTS];
	struct sockaddr_storage rx_from[LINK_UDP_RX_SLOTS];
	union {
		struct cmsghdr align;
		char bytes[UDP_CMSG_BYTES];
	} rx_control[LINK_UDP_RX_SLOTS];
	unsigned ntx, niov;
	struct udp_tx_msg tx[UDP_TX_MSGS];
	struct mmsghdr tx_hdrs[UDP_TX_MSGS];
	struct iovec tx_iovs[UDP_TX_IOVS];
};

int link_udp_recv(struct link *l, struct link_rx *rx, int max);
void link_udp_rx_fini(struct link_udp *u);
int link_udp_send(struct link *l, const struct link_tx *tx, int n);

struct link_udp_nic {
	char ifname[IFNAMSIZ];
	uint32_t mtu; /* 0: no NIC has the address */
	bool uso;     /* tx-udp-segmentation is on */
	bool gro;     /* rx-gro is on */
};
/* The NIC that has this address. */
void link_udp_nic(const uint8_t ip[16], struct link_udp_nic *nic);

static inline void udp_count(struct link_udp *u, enum link_counter c, uint64_t n)
{
	counter_add(&u->base.counters[c], n);
}

/* Bytes of the address; 0: the socket's family cannot reach it. */
socklen_t link_udp_to_sockaddr(int family, struct sockaddr_storage *ss, const struct link_addr *a);
void link_udp_from_sockaddr(struct link_addr *a, const struct sockaddr_storage *ss);

#endif

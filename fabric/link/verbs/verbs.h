/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fabric link on an RDMA device: InfiniBand, RoCEv2, through libibverbs.
 *
 * One link is one port of one device. It carries the same sealed datagrams as any other link, each as one
 *SEND of a reliable connection (RC); the transport above (fabric/rt) sees one more path, and keeps its
 *epochs, sequence and acknowledgements: RC alone is not exactly-once across a reconnect.
 *
 * Peers. RC has no ports to send to from nowhere: each peer is a queue pair, and both ends must know of each
 * other. What an end must tell (struct verbs_end) crosses the authenticated control session
 * (proto/session/session.proto, RdmaOpen and RdmaOpened), so nobody else gets one:
 *
 *	agent		link_verbs_open(id, &ours)  -> RdmaOpen
 *	appliance	link_verbs_open(id, &ours), link_verbs_connect(id, theirs)  -> RdmaOpened
 *	agent		link_verbs_connect(id, theirs); now it may send, and does so first
 *
 * Connecting and destroying wait, for an address to be resolved or given up: a thread does it, and
 * link_verbs_news() tells of the end.
 *
 * A datagram's address (link_addr) is the peer's id, chosen by the caller (link_verbs_address()).
 *
 * A broken queue pair (retries exhausted, a peer's breach, the port or the device gone) is a dead path,
 *nothing more: what is sent to it is dropped by name, link_verbs_news() tells of it once, and open +
 *connect replaces it. What was posted and not completed is lost like datagrams.
 *
 * A port that is down. Its link is made all the same, what is sent is dropped by name, and link_verbs_open()
 *gives -ENETDOWN until it is up, of which link_verbs_news() tells. Queue pairs outlive a short outage. Which
 *GID the port has is looked up at every link_verbs_open().
 *
 * Receiving. All peers share one receive queue (SRQ) over buffers of the caller's pool, registered once. A
 * message with an immediate, of no bytes, or a write with an immediate is a breach: that queue pair is
 *closed.
 *
 * Sending. A datagram is copied into a registered slot, or into the work request itself when it is short
 * (inline). One send in VERBS_SIGNAL asks for a completion; it frees the slots of all before it.
 *
 * Sleeping. fd() is readable when a message or an event of the device came. After news the link is polled
 * link_verbs_cfg.spins times in vain (deadline() is 0 meanwhile) before it arms the completion channel: under
 * load a poller asks for no interrupt. An agent, whose host's processors are its guests', does not spin.
 *
 * Memory that is registered is locked. A limit that is too low is found at creation, with a sentence that
 *says what to set.
 *
 * Memory that is not the link's own (a guest's, an arena of requests) is registered with
 * link_verbs_mem_add(): payload can then be moved by the adapter alone, see link_verbs_move().
 *
 * Flow control on the wire is the device's own business: nothing here needs a lossless fabric, RoCE devices
 * retransmit.
 *
 * Thread rule: as any link, one thread; those that wait are its own. Errors 0 / -errno.
 * Sources: libibverbs' manual pages (ibv_*(3)), InfiniBand Architecture Specification 1.3 chapters 9 to 11,
 * Annex A17 (RoCEv2).
 */
#ifndef OUTRIGGER_LINK_VERBS_H
#define OUTRIGGER_LINK_VERBS_H

#include <stddef.h>

#include "fabric/base/list.h"
#include "fabric/link/link.h"

struct verbs_api;
struct verbs_mem;

#define VERBS_BUF_SIZE 8448u /* of the pool's buffers: the largest sealed datagram, rounded up */
#define VERBS_SIGNAL   16u   /* sends per completion */
#define VERBS_SQ_DEPTH 256u  /* sends of a peer that are not known to be over */
#define VERBS_GID_AUTO (-1)

/* "DEVICE[/PORT[/GID]][,tc=N][,sl=N][,pkey=N][,mtu=N][,sealed=1]": GID is an index, pkey too; mtu in bytes.
 */
struct verbs_port {
	char device[64];
	uint8_t port; /* from 1 */
	int gid;      /* index; VERBS_GID_AUTO: RoCEv2 with an IPv4 address, else RoCEv2, else 0 */
	uint8_t traffic_class, sl;
	uint16_t pkey;
	uint16_t mtu; /* of RDMA, at most: 256, 512, .. 4096; 0: the port's */
	bool sealed;  /* nothing is moved by key: all bytes cross in sealed messages */
};

/* 0; or -EINVAL and a sentence. */
int verbs_port_parse(struct verbs_port *p, const char *text, char *why, size_t why_len);

struct link_verbs_cfg {
	const struct verbs_api *api; /* NULL: libibverbs; tests give their own */
	struct verbs_port port;
	struct buf_pool *pool; /* of received datagrams, VERBS_BUF_SIZE each; outlives the link */
	uint32_t rx_depth;     /* buffers posted; 0: half of the pool's */
	uint32_t tx_slots;     /* datagrams on their way that are not inline; 0: VERBS_SQ_DEPTH */
	uint32_t max_peers;    /* 0: 1 */
	uint32_t spins;	       /* polls in vain before the completion channel is armed */
	bool serves;	       /* peers may READ and WRITE the memory that is added as VERBS_MEM_PEERS */
};

/* NULL, *err = -errno and a sentence in why: -ENODEV, -ENOMEM (locked memory), -EINVAL. Not NULL: *err = 0,
 * or -ENETDOWN and a sentence (port not active, or without a GID). */
struct link *link_verbs_create(const struct link_verbs_cfg *cfg, int *err, char *why, size_t why_len);

/* One end of a connection, as the other must know it. */
struct verbs_end {
	uint32_t qpn, psn; /* 24 bits */
	uint8_t gid[16];
	uint16_t lid; /* InfiniBand; 0 on Ethernet */
	uint8_t mtu;  /* 1..5: 256..4096 bytes (enum ibv_mtu); the lower of both is used */
};

/* A fresh queue pair for peer id (not 0); one it had is closed. psn: random. -ENOSPC: max_peers; -EIO: the
 * device is gone; -ENETDOWN; errors of the device. */
int link_verbs_open(struct link *l, uint64_t id, uint32_t psn, struct verbs_end *ours);
/* Begins; VERBS_CONNECTED or VERBS_BROKEN follow. -ENOENT, -EALREADY (begun). Closed on -EINVAL (out of
 * range, or connected) and -EAGAIN (no thread). */
int link_verbs_connect(struct link *l, uint64_t id, const struct verbs_end *theirs);
void link_verbs_close(struct link *l, uint64_t id); /* unknown: nothing */
enum verbs_event {
	VERBS_CONNECTED, /* both directions are usable */
	VERBS_BROKEN,	 /* the queue pair is gone; err: why it could not be connected, 0: it had been */
	VERBS_PORT_UP,	 /* of no peer */
};
struct verbs_news {
	enum verbs_event what;
	uint64_t id;
	int err; /* -errno */
	/* VERBS_BROKEN: bytes of packets that had no answer where shorter ones had; 0: that is not why. The
	 * way may carry less than both ports do. */
	uint32_t unanswered;
};
/* What happened since last asked, a peer's last news alone; false: nothing. Look after every recv(). */
bool link_verbs_news(struct link *l, struct verbs_news *out);
void link_verbs_address(struct link_addr *a, uint64_t id);

/* ---- memory of others ---- */

enum verbs_mem_use {
	VERBS_MEM_LOCAL, /* this end's own sends and moves */
	VERBS_MEM_PEERS, /* a peer that knows the key reads and writes it (link_verbs_cfg.serves), and nobody
			  * else
			  */
};

/* What a peer must know to reach memory: byte i of it is at base + i. */
struct verbs_key {
	uint64_t base;
	uint32_t rkey;
};

/* Registers [at, at + len), which must not overlap what was added before and stay mapped until
 * link_verbs_mem_del(). It is locked, unless the device pages on demand. random: where its addresses begin
 * for a peer, so that one that was forgotten tells nothing of the next. -ENOMEM (locked memory), -EEXIST,
 * -EINVAL, errors of the device; with a sentence in why. */
int link_verbs_mem_add(struct link *l, void *at, size_t len, enum verbs_mem_use use, uint64_t random,
		       struct verbs_mem **out, char *why, size_t why_len);
/* Whether memory may be added and bytes moved: not if the port is `sealed`. */
bool link_verbs_moves(const struct link *l);
struct verbs_key link_verbs_mem_key(const struct verbs_mem *m);
/* No device touches it after this: a peer that still tries breaks its queue pair. NULL is fine. Destroying
 * the link does it for all of its memory. */
void link_verbs_mem_del(struct link *l, struct verbs_mem *m);

/* ---- moving payload between memories, without a message ---- */

#define VERBS_SEGS_MAX 64u

/* A piece of the peer's memory. */
struct verbs_seg {
	uint64_t addr;
	uint32_t rkey, len;
};

/* One move: READ from the peer's pieces into local memory, or WRITE to them from it. The caller's, and so
 * is the local memory, from link_verbs_move() until done(): the adapter touches it until then whatever
 * happens to the connection. */
struct verbs_move {
	bool write;
	uint8_t *local; /* inside memory of link_verbs_mem_add() */
	unsigned n;	/* pieces, up to VERBS_SEGS_MAX; each of 1 byte at least */
	const struct verbs_seg *seg;
	/* Once, from inside recv() or destroy() of the link. 0: done; what was written can be seen by the
	 * peer's processor, whichever way it hears of it. -EIO: the connection broke, and what was to
	 * be written may be, now or as long as the peer keeps its end. */
	void (*done)(struct verbs_move *m, int err);
	/* The link's. */
	uint32_t qpn; /* of the peer's end */
	struct list node;
	uint32_t last;
	int err;
};

/* 0: done() follows. -ENOTCONN: no such peer, or not connected; -EFAULT: not local memory that was added;
 * -EINVAL. */
int link_verbs_move(struct link *l, uint64_t id, struct verbs_move *m);
/* Destroys the queue pair of that number if the peer's is (still) that: nothing that the other end had under
 * way through it is carried out after this. It is a broken one then, link_verbs_broken() tells of it. */
void link_verbs_fence(struct link *l, uint64_t id, uint32_t qpn);

#define VERBS_COUNTERS(X)                                                                                    \
	X(tx_inline)	/* datagrams inside the work request */                                              \
	X(tx_copied)	/* datagrams copied into a slot */                                                   \
	X(tx_doorbells) /* posts of one or more sends */                                                     \
	X(tx_signalled)                                                                                      \
	X(rx_posts) /* posts of one or more receive buffers */                                               \
	X(wakeups)  /* events of the completion channel */                                                   \
	X(qp_opened)                                                                                         \
	X(qp_broken)                                                                                         \
	X(qp_breach) /* closed for what its peer sent */                                                     \
	X(rx_flushed)                                                                                        \
	X(port_down)                                                                                         \
	X(device_gone)                                                                                       \
	X(mem_regions) /* registered, ever */                                                                \
	X(mem_failed)  /* not registered: the copied path stays */                                           \
	X(tx_copied_bytes)                                                                                   \
	X(moves) /* of payload, by READ or WRITE */                                                          \
	X(reads) /* pieces */                                                                                \
	X(writes)                                                                                            \
	X(read_bytes)                                                                                        \
	X(write_bytes)                                                                                       \
	X(moves_failed)                                                                                      \
	X(qp_fenced)                                                                                         \
	X(qp_stuck) /* given up: the device did not say what became of its posts */

#define VERBS_COUNTER_ENUM(name) VERBS_C_##name,
enum verbs_counter { VERBS_COUNTERS(VERBS_COUNTER_ENUM) VERBS_NCOUNTERS };
extern const char *const verbs_counter_names[VERBS_NCOUNTERS];
const uint64_t *link_verbs_counters(const struct link *l);

#endif

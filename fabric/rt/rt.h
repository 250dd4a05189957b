/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rt: the reliable transport of one session, over lossy datagrams. A pure core.
 *
 * One `struct rt` is one end of one session between an agent and the appliance. It cuts messages
 * into packets ("chunks"), numbers, seals, acknowledges, retransmits and paces them, and hands
 * the pieces of the peer's messages to the layer above the moment they arrive, in any order,
 * each exactly once. It reads no clock (every call takes `now`, nanoseconds, monotonic), owns no
 * socket, takes no lock and allocates nothing after rt_create().
 *
 * A packet is a base header (proto/wire/wire.h), a run of records, and the AEAD's tag. Each record is a piece
 * of a message and says which bytes of which message it is, so any packet can be placed alone.
 * Chunks are filled to their full size whatever the message boundaries; only the last chunk of a
 * burst (rt_flush) is short. Chunks of a class stand one behind the other in blocks as long as a train
 * of UDP_SEGMENT: a run of new packets is one or two contiguous pieces of equal datagrams.
 *
 * Classes have their own packet number space, window and credit, so that none can block
 * another. RT_CTL always has room for RT_CTL_RESERVE messages.
 *
 * Use (glue):
 *	rt_send()* ; rt_flush()           queue messages
 *	rt_output() -> link send          until it gives 0
 *	link receive -> rt_input()        each datagram
 *	rt_deadline() -> timer -> rt_tick(); then rt_output() again
 *
 * Thread rule: one thread per rt. Sources: shared knowledge in RFC 8985 (RACK), RFC 9002, Swift
 * (SIGCOMM'20), IRN (SIGCOMM'18).
 */
#ifndef OUTRIGGER_RT_RT_H
#define OUTRIGGER_RT_RT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "fabric/aead/aead.h"
#include "fabric/base/counter.h"
#include "fabric/buf/buf.h"

/* Message classes. Who uses which is vqt's business; rt only keeps them apart. */
enum rt_class {
	RT_CTL,	 /* credits, grants, small and rare; reliable */
	RT_CMD,	 /* block requests and their unscheduled data; reliable */
	RT_DATA, /* completions, read data, granted write data; reliable */
	RT_NET,	 /* guests' frames; reliability per message, see rt_rel */
	RT_NCLASS
};

/* How hard a message of RT_NET is retransmitted. Other classes are always RT_REL_FULL. A chunk
 * shared by several messages gets the strongest of them. */
enum rt_rel {
	RT_REL_NONE,	/* never */
	RT_REL_BOUNDED, /* at most 3 retransmissions, so given up after 15 probe timeouts of the path at the
			   latest; counted anew after the path has failed */
	RT_REL_FULL,
};

/* One piece of a message. `kind`, `queue`, `dev`, `aux`, `id` are the upper layer's and cross
 * unchanged; rt cuts [offset, offset + len) itself. 20 bytes on the wire (wire.h). */
struct rt_rec {
	uint8_t kind;
	uint8_t queue;
	uint16_t dev;
	uint16_t len; /* bytes of this piece that follow the record header */
	uint16_t aux;
	uint32_t id;
	uint32_t total;	 /* bytes of the whole message; may be 0 (a record without bytes) */
	uint32_t offset; /* offset + len <= total, checked by rt before delivery */
};

#define RT_PATHS 4
/* Largest number of bytes one rt_send() takes; longer messages go in several calls by offset. */
#define RT_SEND_MAX    65600u
#define RT_CTL_RESERVE 64
/* The first RT_PIECE_MIN bytes given to one rt_send() (or all, if fewer) arrive in one piece: a header of an
 * upper layer at the start of a message is never cut. */
#define RT_PIECE_MIN	 64u
#define RT_CHUNK_DEFAULT 1344u /* payload bytes per packet at MTU 1500, IPv4 or IPv6, encrypted */
#define RT_CHUNK_JUMBO	 8192u
#define RT_CHUNK_MIN	 256u
#define RT_CHUNK_MAX	 8192u
#define RT_CHUNK_TIMES	 8u /* so that slices of a packet are at most WIRE_SLICES_MAX */
#define RT_OUTPUT_MIN	 16 /* datagrams that an rt_output() must be able to give, for all to go */

enum rt_path_state { RT_PATH_DOWN, RT_PATH_PROBING, RT_PATH_UP, RT_PATH_SUSPECT };

/* Called from inside rt_input(), rt_tick(), rt_output(). They may call rt_send(), rt_flush() of the same rt,
 * nothing else of it. */
struct rt_ops {
	/* A piece of a message; required. data: rec->len bytes, valid during the call, or longer if
	 * the callee takes a reference of owner (which may be NULL: then copy). Delivered exactly
	 * once per piece, in arrival order, which need not be sending order. psn is the number of
	 * the packet in its class. */
	void (*record)(void *ctx, enum rt_class cls, uint32_t psn, const struct rt_rec *rec,
		       const uint8_t *data, struct buf *owner);
	/* All packets of cls numbered below base (serial arithmetic) have been delivered or given up by the
	 * sender: what is missing from them will never come. Required. */
	void (*settled)(void *ctx, enum rt_class cls, uint32_t base);
	/* rt_send() gave -EAGAIN for cls and now there is room. Required. */
	void (*writable)(void *ctx, enum rt_class cls);
	/* A path came up or went down; optional. */
	void (*path)(void *ctx, unsigned path, enum rt_path_state state);
};

struct rt_cfg {
	const struct rt_ops *ops;
	void *ctx;
	const struct aead_ops *aead;
	uint32_t chunk;	    /* payload bytes per packet that every path carries, RT_CHUNK_MIN..RT_CHUNK_MAX */
	uint32_t chunk_max; /* probe paths for up to so many (links: DF set, receive buffers of that size), at
			       most RT_CHUNK_TIMES chunk; 0: chunk is used as it is. Both ends alike. */
	uint32_t window[RT_NCLASS]; /* packets in flight per class and direction; power of 2, 64..4096; 0:
				       default */
	uint64_t rto_floor_ns;	    /* 200 us between pollers, 1 ms where a peer sleeps; 0: 1 ms */
	/* Delay beyond the empty path's that is not taken for congestion. Where a peer sleeps or shares its
	 * processor, its wake-ups look like a queue: give as much as those take. 0: rto_floor_ns / 2. */
	uint64_t delay_spare_ns;
	/* Acknowledgements that nothing urges wait for so long for a packet to ride on, or for more bursts to
	 * acknowledge at once: a packet for the acknowledgement of each burst alone costs both ends a
	 * wake-up. Where bursts come closely they go with the last that comes in time. Who waited in vain
	 * does not for a while. Below the peer's rto_floor_ns. 0: they go at the end of each burst. */
	uint64_t ack_delay_ns;
	/* An authenticated packet at least this often on each path; every other time while idle, if lost_ns
	 * is three of these at least. 0: 1 s. */
	uint64_t keepalive_ns;
	uint64_t lost_ns;   /* no authenticated packet on any path for so long: rt_lost(); 0: 3 s */
	bool active;	    /* this end sends the idle probes (the agent); the other end answers */
	uint32_t psn_start; /* tests start counters near their wrap; both ends alike; 0 in production */
	uint64_t txn_start; /* likewise; 0 means 1 */
};

struct rt_path_cfg {
	uint32_t tx_spi; /* chosen by the peer: names session and path there */
	uint32_t rx_spi; /* chosen here */
	uint8_t tx_key[AEAD_KEY_LEN];
	uint8_t rx_key[AEAD_KEY_LEN];
	uint8_t backup; /* rank: carries data only while no path of a lower one is up; 0: always */
};

struct rt_tx {
	uint8_t *data; /* sealed datagram; valid until the next rt_send(), rt_flush() or rt_output() */
	uint32_t len;
	unsigned path;
};

struct rt_path_info {
	enum rt_path_state state;
	uint64_t srtt_ns, min_rtt_ns;
	uint64_t tx_packets, rx_packets, retransmits;
	uint64_t last_rx_ns;
	uint64_t base_rtt_ns;	 /* without queues, of the last one to two seconds */
	uint32_t loss_ppm;	 /* of what was sent here, lately */
	uint32_t share_permille; /* of what all paths carried between the last two keepalives */
	uint32_t window;	 /* congestion window, packets; 0: less than one */
	uint32_t chunk;		 /* payload bytes that were seen to get through */
	uint8_t backup;
	bool rekeying; /* old or new keys besides the present ones: both SPIs must reach this rt */
};

/* Every packet that is not delivered is counted under one of the drop_ names. */
/* clang-format off */
#define RT_COUNTERS(X) \
	X(tx_packets) X(tx_bytes) X(tx_retransmits) X(tx_acks) X(tx_abandoned) X(tx_sliced) \
	X(mtu_raised) X(mtu_lowered) \
	X(rx_packets) X(rx_bytes) X(rx_acks) X(rx_skipped) \
	X(drop_short) X(drop_version) X(drop_spi) X(drop_auth) X(drop_replay) X(drop_duplicate) \
	X(drop_window) X(drop_type) X(drop_class) X(drop_record) X(drop_ack)
/* clang-format on */

#define RT_COUNTER_ENUM(name) RT_C_##name,
enum rt_counter { RT_COUNTERS(RT_COUNTER_ENUM) RT_NCOUNTERS };
extern const char *const rt_counter_names[RT_NCOUNTERS];

struct rt;

/* NULL and *err = -EINVAL / -ENOMEM. All memory of the session is taken here (window x chunk per class). */
struct rt *rt_create(const struct rt_cfg *cfg, uint64_t now, int *err);
void rt_destroy(struct rt *rt); /* NULL is fine */

/* Add path number `path` (< RT_PATHS, not in use). It carries data once a probe was answered
 * (active end) or an authenticated packet arrived (passive end). -EEXIST, -EINVAL, -ENOMEM. */
int rt_path_add(struct rt *rt, unsigned path, const struct rt_path_cfg *cfg, uint64_t now);
/* Removes it; keys are wiped, what it carried goes elsewhere or waits. Both ends should. The number may be
 * added again with fresh SPIs. Not between an rt_output() and the sending of its datagrams. -ENOENT. */
int rt_path_del(struct rt *rt, unsigned path, uint64_t now);
/* Fresh SPIs and keys for a path under load; nothing is dropped. Received are both from now on: the glue maps
 * next->rx_spi to this rt before the peer learns of it. Sending changes with the first authentic packet under
 * the new rx_spi, or with rt_path_rekey_send(), which the end calls that knows the peer to have them (it got
 * the peer's SPI in the answer to its own). The old ones are wiped a second after both changed; until then
 * rt_path_info() says `rekeying`, and then the glue may forget the old rx_spi. Transmission numbers go on, so
 * that replay window and acknowledgements need not know. next->backup is ignored.
 * -ENOENT, -EINVAL, -EBUSY (under way), -EEXIST (rx_spi), -ENOMEM. */
int rt_path_rekey(struct rt *rt, unsigned path, const struct rt_path_cfg *next, uint64_t now);
int rt_path_rekey_send(struct rt *rt, unsigned path, uint64_t now); /* -ENOENT: nothing to change to */
void rt_path_info(const struct rt *rt, unsigned path, struct rt_path_info *info);

/* Queue bytes [rec->offset, rec->offset + sum of iov) of message rec->id. rec->len is ignored. All or
 * nothing: 0; -EAGAIN: no room, writable() will follow; -EMSGSIZE: over RT_SEND_MAX or beyond total;
 * -EINVAL: no bytes of a message that has some (total > 0). The bytes are copied: the caller's memory is free
 * on return. */
int rt_send(struct rt *rt, enum rt_class cls, enum rt_rel rel, const struct rt_rec *rec,
	    const struct iovec *iov, int niov, uint64_t now);
/* As rt_send() of a whole message of len bytes, which the caller writes to *at before it calls anything else
 * of the rt; all of them stand in one packet. Many small things in a row are one message then, which grows.
 * -EAGAIN; -EMSGSIZE: more than a packet holds, or nothing. rec: without total, offset and len. */
int rt_begin(struct rt *rt, enum rt_class cls, enum rt_rel rel, const struct rt_rec *rec, uint32_t len,
	     uint8_t **at);
/* The place of len further bytes of the message that rec began (the same kind, queue, dev and id), if it is
 * still the last of cls and its packet has room for them; else NULL, and nothing happened. Written at once,
 * likewise. */
uint8_t *rt_grow(struct rt *rt, enum rt_class cls, const struct rt_rec *rec, uint32_t len);
/* By how much rt_grow() would let it grow, and where: the caller may write that far before it says how much
 * it was, as long as it calls nothing else of the rt. NULL: as of rt_grow(). */
uint8_t *rt_growth(const struct rt *rt, enum rt_class cls, const struct rt_rec *rec, uint32_t *room);
/* Payload bytes per packet now: cfg.chunk, or more where all usable paths were proven to carry more. */
uint32_t rt_chunk(const struct rt *rt);
/* Bytes of a datagram with a full chunk, and how many such wait for rt_output(), of all classes. */
uint32_t rt_datagram(const struct rt *rt);
uint32_t rt_queued(const struct rt *rt);
/* Bytes that rt_send() would take now in one message of cls. */
uint32_t rt_room(const struct rt *rt, enum rt_class cls);
/* End of a burst: what stands in half-filled chunks may go. */
void rt_flush(struct rt *rt, uint64_t now);

/* Datagrams to be sent now: fills at most max, returns the number (packets in slices
 * go only where max is RT_OUTPUT_MIN or more). Call until 0. A
 * datagram the link could not take is simply lost. */
int rt_output(struct rt *rt, uint64_t now, struct rt_tx *out, int max);

/* The SPI of a datagram (for finding its rt), or 0 if it is too short to have one. */
uint32_t rt_peek_spi(const uint8_t *data, uint32_t len);

/* One received datagram; opened in place, so data is overwritten. owner: the buf that data is in,
 * or NULL. ce: it arrived with ECN Congestion Experienced. Returns the path number when the packet was
 * authentic (so that the glue may learn the peer's address from it), or -EBADMSG when it was dropped and
 * counted. */
int rt_input(struct rt *rt, uint8_t *data, uint32_t len, struct buf *owner, bool ce, uint64_t now);
/* As rt_input(), of a datagram that lay at this host for `lay` nanoseconds before it was taken: time of a
 * process that slept, which says nothing of the path. Where the link knows (a kernel's receive stamps). */
int rt_input_late(struct rt *rt, uint8_t *data, uint32_t len, struct buf *owner, bool ce, uint64_t lay,
		  uint64_t now);
/* The end of a receive burst: acknowledgements owed become due, now or after cfg.ack_delay_ns. */
void rt_input_end(struct rt *rt, uint64_t now);

/* When rt_tick() must be called next, absolute; UINT64_MAX: never (does not happen while paths exist). An
 * idle session has one deadline per two keepalive_ns. Times already past mean at once. */
uint64_t rt_deadline(const struct rt *rt);
void rt_tick(struct rt *rt, uint64_t now);
bool rt_lost(const struct rt *rt); /* nothing authentic heard for lost_ns */
bool rt_idle(const struct rt *rt); /* nothing queued, in flight or owed */

const uint64_t *rt_counters(const struct rt *rt); /* RT_NCOUNTERS values */

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device end of the virtqueue tunnel: what the appliance does with one session's devices. A pure core.
 *
 * A `struct vqt_peer` is one session with one agent. Frames of guests come out of it in order per queue,
 * built by reference to the received datagrams; requests come out when all their readable bytes are in one
 * buffer. Frames and completions go in. The peer is not trusted: everything it says is checked, what it may
 * hold of our memory is bounded, and a breach that an honest agent cannot commit marks the session
 * bad (vqt_peer_bad) so that control closes it.
 *
 * The glue calls vqt_peer_service() after each batch of rt input and ticks: grants, the rest of long
 * completions and the `writable` callback come from there alone.
 *
 * Thread rule: one worker per peer; its devices, requests and frames belong to it.
 */
#ifndef OUTRIGGER_VQT_DEV_H
#define OUTRIGGER_VQT_DEV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fabric/base/counter.h"
#include "fabric/buf/buf.h"
#include "fabric/rt/rt.h"
#include "fabric/vqt/vqt_bulk.h"
#include "fabric/vqt/vqt_host.h" /* enum vqt_type */
#include "fabric/vqt/vqt_msg.h"

struct vqt_peer;
struct vqt_dev;

/* One request, from request() until vqt_dev_complete(). The device model reads out, fills in. */
struct vqt_req {
	struct vqt_dev *dev;
	void *user;	/* vqt_dev_cfg.user */
	uint16_t queue; /* virtqueue index */
	uint32_t epoch; /* that it was issued under; equals the device's when delivered */
	uint8_t *out;	/* readable bytes; out + 16 is 4096-aligned when the door does so; NULL: none */
	uint32_t out_len;
	uint8_t *in; /* to be filled, 4096-aligned when the door does so; NULL: none */
	uint32_t in_len;
	void *priv[4]; /* the device model's, zero at first */
};

/* Memory for requests. It must outlive every request, also those orphaned by vqt_peer_detach(). */
struct vqt_mem {
	/* size bytes with (address + align_off) a multiple of 4096; NULL: none now. */
	void *(*get)(void *ctx, size_t size, size_t align_off);
	void (*put)(void *ctx, void *p, size_t size, size_t align_off);
	void *ctx;
};

/* Bytes between our memory and a guest's, by an adapter. */
struct vqt_move {
	bool write;	/* to the guest */
	uint16_t wire;	/* of the device */
	uint8_t *local; /* of vqt_mem */
	uint32_t len;
	unsigned n; /* pieces, in order; the call's alone */
	const struct vqt_seg *seg;
	/* The door's word when it failed: the path, and the agent's number of the queue pair, by which some
	 * of it may still be carried out. */
	unsigned path;
	uint32_t qpn;
};

/* Regions are those that the agent announced; the door checks each piece against them. */
struct vqt_move_door {
	/* 0: vqt_dev_moved() follows, not from inside. -errno: not now, nothing was done. The move and its
	 * local memory stay until then, also when the device is detached. */
	int (*start)(void *ctx, struct vqt_move *m);
	void *ctx;
};

/* Effects upward; user is vqt_dev_cfg.user. All required. They may call vqt_dev_send(), vqt_dev_complete() of
 * any device of this or another peer, not vqt_peer_detach(). */
struct vqt_dev_ops {
	/* A frame of a guest, virtio_net_hdr first; ownership passes. f->len is VQT_FRAME_MIN..FRAME_MAX. */
	void (*frame)(void *user, unsigned pair, struct frame *f);
	/* A request; to be answered by vqt_dev_complete() once, now or later. */
	void (*request)(void *user, struct vqt_req *r);
	/* vqt_dev_send() gave -EAGAIN for this pair and is worth trying again. */
	void (*writable)(void *user, unsigned pair);
	/* After vqt_peer_detach(): the last orphaned request was completed; the handle is gone. */
	void (*drained)(void *user);
};

struct vqt_peer_cfg {
	const struct vqt_dev_ops *ops;
	struct rt *rt;
	struct frame_pool *frames; /* outlives the peer */
	struct buf_pool *bufs; /* for pieces that cannot be referenced (no owner) or are too many; buffers of
				  any size >= 2048; outlives the peer */
	struct vqt_mem mem;
	struct vqt_move_door move; /* start NULL: there is none */
	uint64_t mem_max; /* bytes for granted writes and read buffers of this session, >= 4 * VQT_REQ_MAX */
	uint32_t net_pending; /* frames waiting for an earlier one, per session; 0: 1024 */
	uint64_t seed;	      /* random, secret from the peer */
	struct vqt_bulk bulk; /* none: every frame is a message */
};

struct vqt_dev_cfg {
	enum vqt_type type;
	void *user;
	uint16_t wire; /* < VQT_WIRE_MAX, not in use */
	uint32_t epoch;
	unsigned nvq;	       /* as at the host end */
	uint32_t window;       /* VQT_NET: first credit per pair; the same at both ends; 0: VQT_WINDOW */
	enum rt_rel rel;       /* VQT_NET */
	uint32_t depth;	       /* VQT_BLK: requests per vq; the same at both ends */
	uint32_t max_inflight; /* VQT_BLK: unscheduled bytes, the same at both ends */
	uint32_t pos_start;    /* tests start positions near their wrap; both ends alike; 0 in production */
};

#define VQT_DEV_COUNTERS(X)                                                                                  \
	X(rx_frames) /* from the guest */                                                                    \
	X(rx_bytes)                                                                                          \
	X(tx_frames) /* to the guest */                                                                      \
	X(tx_bytes)                                                                                          \
	X(frames_super) /* of both directions, longer than an MTU of 1500 allows */                          \
	X(rx_copied)	/* pieces copied because they could not be referenced */                             \
	X(rx_copied_bytes)                                                                                   \
	X(rx_fetched) /* of rx_frames, by key */                                                             \
	X(rx_fetched_bytes)                                                                                  \
	X(rx_fetch_waited) /* times a fetch could not begin at once */                                       \
	X(rx_fetch_failed) /* asked for as a message */                                                      \
	X(tx_copied_bytes) /* of tx_bytes, into messages */                                                  \
	X(tx_placed)	   /* of tx_frames, by an adapter */                                                 \
	X(tx_placed_bytes)                                                                                   \
	X(tx_posted)	     /* of those placed, in the guest's own buffers */                               \
	X(tx_posts_ended)    /* times that ended, for the agent asked for it */                              \
	X(tx_place_failed)   /* sent as a message instead */                                                 \
	X(tx_place_reserved) /* said to come, for something behind it went out first */                      \
	X(tx_no_credit)	     /* vqt_dev_send() refused: the guest has not consumed */                        \
	X(tx_no_chains)	     /* vqt_dev_send() refused: the guest has posted too little */                   \
	X(tx_no_room)	     /* vqt_dev_send() refused: the transport is full */                             \
	X(marks)                                                                                             \
	X(requests)                                                                                          \
	X(requests_keyed)                                                                                    \
	X(request_bytes)                                                                                     \
	X(request_copied_bytes) /* of those, payload that came in messages */                                \
	X(completions)                                                                                       \
	X(completion_bytes)                                                                                  \
	X(completion_copied_bytes) /* of those, payload in messages */                                       \
	X(moves_refused)	   /* not by key now: the bytes go in messages */                            \
	X(moves_failed)                                                                                      \
	X(grants)                                                                                            \
	X(grants_waited) /* requests that waited for memory */                                               \
	X(cancels)                                                                                           \
	X(orphans)	/* completed by the backend after the device was detached */                         \
	X(drop_rx_lost) /* gaps: frames of which nothing came */                                             \
	X(drop_rx_partial)                                                                                   \
	X(drop_rx_late)                                                                                      \
	X(drop_rx_malformed)                                                                                 \
	X(drop_rx_no_frame) /* frame pool empty */                                                           \
	X(drop_rx_no_buf)                                                                                    \
	X(drop_rx_pending)  /* given up early: too many frames were waiting behind */                        \
	X(drop_rx_gone)	    /* could not be fetched before its guest went */                                 \
	X(drop_posted_late) /* POSTED of chains that are not in use any more */                              \
	X(drop_posted)	    /* POSTED or RECALL that makes no sense now */                                   \
	X(drop_credit)	    /* CREDIT that makes no sense */                                                 \
	X(drop_req_epoch)                                                                                    \
	X(drop_req_duplicate)                                                                                \
	X(drop_req_malformed)                                                                                \
	X(drop_req_limit) /* more in flight than agreed */                                                   \
	X(drop_req_ungranted)                                                                                \
	X(drop_req_no_mem)                                                                                   \
	X(drop_cancel)                                                                                       \
	X(drop_epoch) /* records of another attachment */                                                    \
	X(drop_queue)

#define VQT_DEV_COUNTER_ENUM(name) VQT_D_##name,
enum vqt_dev_counter { VQT_DEV_COUNTERS(VQT_DEV_COUNTER_ENUM) VQT_DEV_NCOUNTERS };
extern const char *const vqt_dev_counter_names[VQT_DEV_NCOUNTERS];

#define VQT_PEER_COUNTERS(X)	    X(records) X(drop_unknown_dev) X(drop_kind)
#define VQT_PEER_COUNTER_ENUM(name) VQT_PEER_##name,
enum vqt_peer_counter { VQT_PEER_COUNTERS(VQT_PEER_COUNTER_ENUM) VQT_PEER_NCOUNTERS };
extern const char *const vqt_peer_counter_names[VQT_PEER_NCOUNTERS];

/* NULL and *err = -EINVAL, -ENOMEM. */
struct vqt_peer *vqt_peer_create(const struct vqt_peer_cfg *cfg, int *err);
/* Detaches what is left (see vqt_peer_detach). NULL is fine. */
void vqt_peer_destroy(struct vqt_peer *p);
const uint64_t *vqt_peer_counters(const struct vqt_peer *p);
/* The peer broke the protocol: a constant string saying how, or NULL. Nothing more is taken from it. */
const char *vqt_peer_bad(const struct vqt_peer *p);

/* NULL and *err = -EINVAL, -EEXIST, -ENOMEM. All memory of the device (but request buffers) is taken here. */
struct vqt_dev *vqt_peer_attach(struct vqt_peer *p, const struct vqt_dev_cfg *cfg, int *err);
/* Requests at the backend and on the move are orphaned: vqt_dev_complete() and vqt_dev_moved() only free.
 * Gives their number; 0: the handle is gone. Else it is gone after drained(), and old-epoch I/O is over then:
 * only now may the volume be attached under a new epoch. */
unsigned vqt_peer_detach(struct vqt_dev *d);
const uint64_t *vqt_dev_counters(const struct vqt_dev *d);
unsigned vqt_dev_outstanding(const struct vqt_dev *d); /* requests at the backend, or on the move */

/* rt_ops of the session's rt: the glue forwards, ctx being the peer (vqt_peer_rt_ops does just that). */
void vqt_peer_record(struct vqt_peer *p, enum rt_class cls, uint32_t psn, const struct rt_rec *rec,
		     const uint8_t *data, struct buf *owner);
void vqt_peer_settled(struct vqt_peer *p, enum rt_class cls, uint32_t base);
void vqt_peer_writable(struct vqt_peer *p, enum rt_class cls);
extern const struct rt_ops vqt_peer_rt_ops; /* ctx: struct vqt_peer; path is NULL */

/* Send grants, go on with completions, wake blocked senders, flush the rt. */
void vqt_peer_service(struct vqt_peer *p, uint64_t now);

/* A frame to the guest, virtio_net_hdr first. The bytes are copied, or kept by the door of the peer's bulk;
 * the frame stays the caller's. -EAGAIN: no credit, buffers or room, writable() follows; -EMSGSIZE; -EINVAL:
 * no such pair. The caller runs vqt_peer_service() (or rt_flush()) at the end of the burst. */
int vqt_dev_send(struct vqt_dev *d, unsigned pair, const struct frame *f, uint64_t now);
/* Stream bytes the agent accepts now (a frame takes vqt_span(len)). */
uint32_t vqt_dev_credit(const struct vqt_dev *d, unsigned pair);

/* The request is done: the last `sent` bytes of r->in go to the guest (all of in_len for a successful read, 1
 * for a status alone), `written` is what the used ring will say. Ownership of r and its memory passes; they
 * may be kept until the transport took all bytes. sent, written <= in_len (asserted). */
void vqt_dev_complete(struct vqt_req *r, uint32_t sent, uint32_t written, uint64_t now);

/* A move is over: 0, or -errno. vqt_peer_service() is due. May end in drained(). */
void vqt_dev_moved(struct vqt_move *m, int err);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host end of the virtqueue tunnel: everything the agent does with its guests' queues. A pure core.
 *
 * A `struct vqt_host` is one agent. Its devices live as long as their front-ends and outlast sessions: when
 * a session is lost network queues forget what was under way, and block requests in flight are kept and
 * sent again, in their order, when the device is bound to the next one. The host end does not look
 * inside chains: a network chain is a frame, any other chain is a request of so many readable and writable
 * bytes (vqt_msg.h has the messages).
 *
 * Life of a device:
 *	vqt_host_attach()			memory is taken here, and only here
 *	vqt_host_queue_start()			the guest's driver started a virtqueue (or resumed it)
 *	vqt_host_session(h, rt)			a session is up
 *	vqt_hdev_bind(dev, wire, epoch ...)	the appliance attached the device in it
 *	... kick, record, settled, writable, service ...
 *	vqt_host_session(h, NULL)		the session is lost; bind again in the next
 *	vqt_host_queue_stop()			the guest stopped or reset it, the front-end went away
 *	vqt_host_detach()
 *
 * The glue calls vqt_host_service() after each batch of kicks, received datagrams, rt ticks, queue starts
 * and binds: nothing is sent and no guest is notified anywhere else. While it gives true there is more to do
 * now; false means sleep until the next event.
 *
 * Thread rule: one thread per host, the engine's. Hosts share nothing.
 */
#ifndef OUTRIGGER_VQT_HOST_H
#define OUTRIGGER_VQT_HOST_H

#include <stdbool.h>
#include <stdint.h>

#include "fabric/base/counter.h"
#include "fabric/rt/rt.h"
#include "fabric/vqt/vqt_bulk.h"
#include "fabric/vqt/vqt_msg.h"
#include "fabric/vqt/vqt_ring.h"

struct vqt_host;
struct vqt_hdev;

/* Effects upward. Called from inside the functions below; they may call vqt_host_queue_start(),
 * vqt_host_queue_stop() and nothing else of the host. All required; user is
 * vqt_hdev_cfg.user. */
struct vqt_host_ops {
	/* The guest broke virtqueue vq: it is fenced (see vqt_host_queue_stop) until it is stopped and
	 * started again. reason is a constant string. */
	void (*broken)(void *user, unsigned vq, const char *reason);
	/* After vqt_host_queue_stop(): nothing of vq is in flight and its ring will not be touched. */
	void (*stopped)(void *user, unsigned vq);
	/* The last request in flight of the device was completed (and nothing is queued), or the last frame
	 * that was lent, or buffers that were called back are. */
	void (*idle)(void *user);
};

/* Guests' memory that the appliance's adapters reach. user is vqt_hdev_cfg.user. */
struct vqt_key_ops {
	/* The iovecs as pieces of regions that the appliance knows, at most max; their number. 0: it cannot
	 * reach them now. */
	unsigned (*pieces)(void *user, const struct iovec *iov, unsigned n, struct vqt_seg *out,
			   unsigned max);
	/* Requests, frames and buffers with the appliance are given up: no adapter touches memory of the
	 * device when this returns. */
	void (*revoke)(void *user);
	/* A queue pair may still carry out what is taken for failed: it is destroyed when this returns. */
	void (*fence)(void *user, unsigned path, uint32_t qpn);
};

enum vqt_type { VQT_NET, VQT_BLK };

struct vqt_hdev_cfg {
	enum vqt_type type;
	void *user; /* for ops */
	const struct vqt_ring_ops *ring_ops;
	unsigned nvq;	    /* 1..VQT_QUEUES_MAX; even for VQT_NET: vq 2n receives, 2n+1 transmits
			       (virtio 1.2 5.1.2) */
	void *const *rings; /* nvq ring pointers; the array is copied */
	uint32_t depth;	    /* VQT_BLK: requests in flight per vq, the ring's size; 1..VQT_DEPTH_MAX */
	const struct vqt_key_ops *keys; /* NULL: bytes cross in messages alone */
	uint32_t window; /* VQT_NET: staging bytes per pair, a power of 2, VQT_WINDOW_MIN..MAX; 0: VQT_WINDOW
			  */
};

/* What the appliance said when it attached the device in this session. */
struct vqt_bind {
	uint16_t wire;	       /* < VQT_WIRE_MAX, not in use */
	uint32_t epoch;	       /* requests carry it; completions of another are dropped */
	enum rt_rel rel;       /* VQT_NET: how hard frames are retransmitted */
	uint32_t max_inflight; /* VQT_BLK: unscheduled bytes in flight, >= VQT_INFLIGHT_MIN, the same at both
				  ends */
	uint32_t pos_start;    /* tests start positions near their wrap; both ends alike; 0 in production */
};

/* Per device. Names beginning with drop_ are frames or messages that went nowhere. */
#define VQT_HDEV_COUNTERS(X)                                                                                 \
	X(tx_frames) /* guest to appliance */                                                                \
	X(tx_bytes)                                                                                          \
	X(tx_copied_bytes) /* of tx_bytes, into messages */                                                  \
	X(tx_lent)	   /* of tx_frames, fetched by the appliance from where they are */                  \
	X(tx_lent_bytes)                                                                                     \
	X(tx_again)  /* of those, that went as a message after all */                                        \
	X(announced) /* of those, made for the guest: vqt_host_announce() */                                 \
	X(rx_frames) /* appliance to guest, given to the guest */                                            \
	X(rx_bytes)                                                                                          \
	X(frames_super) /* of both directions, longer than an MTU of 1500 allows */                          \
	X(rx_direct)	/* frames placed without staging */                                                  \
	X(rx_staged)                                                                                         \
	X(rx_posted)	     /* put into the guest's buffers by the adapter */                               \
	X(rx_placed)	     /* of staged and posted: the adapter brought them */                            \
	X(rx_chains_posted)  /* of the guest's, taken ahead for that */                                      \
	X(rx_chains_skipped) /* of those, given back empty: their frames were lost */                        \
	X(rx_recalls)	     /* times that ended */                                                          \
	X(rx_copied_bytes)   /* by the processor: from messages, and from the stage */                       \
	X(rx_fences)	     /* times a queue pair had to go before its memory is used again */              \
	X(rx_no_buffers)     /* times a frame waited for the guest's buffers */                              \
	X(tx_blocked)	     /* times a queue waited for the transport */                                    \
	X(credits)                                                                                           \
	X(requests)                                                                                          \
	X(requests_resent)                                                                                   \
	X(requests_keyed) /* of those sent, with places instead of bytes */                                  \
	X(request_bytes)                                                                                     \
	X(request_copied_bytes) /* of those, payload: behind the first VQT_LEAD */                           \
	X(completions)                                                                                       \
	X(completions_torn)                                                                                  \
	X(completion_bytes)                                                                                  \
	X(completion_copied_bytes) /* of those, payload: before the last VQT_TAIL */                         \
	X(grants)                                                                                            \
	X(cancels)                                                                                           \
	X(broken)                                                                                            \
	X(drop_tx_short) /* chain without a whole header */                                                  \
	X(drop_tx_long)                                                                                      \
	X(drop_tx_writable) /* transmit chain with a writable part */                                        \
	X(drop_rx_lost)	    /* gaps: frames of which nothing came */                                         \
	X(drop_rx_partial)  /* frames of which pieces never came */                                          \
	X(drop_rx_late)	    /* pieces of frames that were given up */                                        \
	X(drop_rx_credit)   /* beyond the credit, a fault of the peer */                                     \
	X(drop_rx_malformed)                                                                                 \
	X(drop_rx_posted)  /* placed in chains that are not the appliance's, a fault of the peer */          \
	X(drop_rx_split)   /* needs more of the guest's buffers than one frame may take */                   \
	X(drop_rx_small)   /* not mergeable, and the buffer is too small */                                  \
	X(drop_rx_stopped) /* the guest does not receive */                                                  \
	X(drop_rx_session) /* staged when the session was lost */                                            \
	X(drop_cpl_epoch)                                                                                    \
	X(drop_cpl_unknown) /* no such request, or completed already */                                      \
	X(drop_cpl_malformed)                                                                                \
	X(drop_cpl_fenced) /* of a request whose queue was fenced: not shown to the guest */                 \
	X(drop_grant)                                                                                        \
	X(drop_epoch) /* records of another attachment */                                                    \
	X(drop_queue) /* no such queue, or of the wrong type */

#define VQT_HDEV_COUNTER_ENUM(name) VQT_HD_##name,
enum vqt_hdev_counter { VQT_HDEV_COUNTERS(VQT_HDEV_COUNTER_ENUM) VQT_HDEV_NCOUNTERS };
extern const char *const vqt_hdev_counter_names[VQT_HDEV_NCOUNTERS];

/* Of the host: records that belong to no device. */
#define VQT_HOST_COUNTERS(X)	    X(records) X(services) X(drop_unknown_dev) X(drop_kind)
#define VQT_HOST_COUNTER_ENUM(name) VQT_HOST_##name,
enum vqt_host_counter { VQT_HOST_COUNTERS(VQT_HOST_COUNTER_ENUM) VQT_HOST_NCOUNTERS };
extern const char *const vqt_host_counter_names[VQT_HOST_NCOUNTERS];

/* seed: random, secret from the peer. NULL: no memory. */
struct vqt_host *vqt_host_create(const struct vqt_host_ops *ops, uint64_t seed);
void vqt_host_destroy(struct vqt_host *h); /* detaches what is left; NULL is fine */
const uint64_t *vqt_host_counters(const struct vqt_host *h);

/* NULL and *err = -EINVAL, -ENOMEM. The cfg need not outlive the call. */
struct vqt_hdev *vqt_host_attach(struct vqt_host *h, const struct vqt_hdev_cfg *cfg, int *err);
/* Forgets the device at once, requests in flight too (they stay in the front-end's inflight region); no
 * callback. */
void vqt_host_detach(struct vqt_hdev *d);
/* To another host, of another thread perhaps, with its queues as they are and what is in flight: unbound (as
 * by vqt_hdev_unbind()) it leaves the one and joins the other, where it is bound again. In between only its
 * counters may be read, and it may be detached. */
void vqt_host_leave(struct vqt_hdev *d);
void vqt_host_join(struct vqt_host *h, struct vqt_hdev *d);
const uint64_t *vqt_hdev_counters(const struct vqt_hdev *d); /* VQT_HDEV_NCOUNTERS values */
/* Whether any of them has changed since it was asked last: most devices of a host are quiet, and all the
 * counters of many are far from any cache. */
bool vqt_hdev_news(struct vqt_hdev *d);
/* Requests not yet completed to the guest, frames that are lent, pairs whose buffers are being called back.
 */
unsigned vqt_hdev_inflight(const struct vqt_hdev *d);
unsigned vqt_hdev_inflight_vq(const struct vqt_hdev *d, unsigned vq);

/* VQT_NET: the memory in which the appliance may place frames of a pair, *len bytes; NULL: no such pair.
 * Before a session ends, and before the device goes, nothing may be able to write there any more. */
uint8_t *vqt_hdev_stage(struct vqt_hdev *d, unsigned pair, uint32_t *len);

/* The session's transport, or NULL when it is lost. All devices become unbound. The rt must outlive its stay
 * here. */
void vqt_host_session(struct vqt_host *h, struct rt *rt);
/* -EINVAL, -EEXIST (wire id in use), -ENOTCONN (no session), -EALREADY (bound: unbind first). Requests in
 * flight are sent again before new ones are taken. */
int vqt_hdev_bind(struct vqt_hdev *d, const struct vqt_bind *b);
/* The appliance detached the device while the session lives: as a lost session, for this device. */
void vqt_hdev_unbind(struct vqt_hdev *d);

/* Start vq. mergeable (receive queues): VIRTIO_NET_F_MRG_RXBUF was negotiated. The ring is looked at
 * once without a kick. Started already: 0, nothing happens but the mode. -EINVAL; -EBUSY while stopping. */
int vqt_host_queue_start(struct vqt_hdev *d, unsigned vq, bool mergeable);

enum vqt_stop {
	/* Wait for requests in flight, and for what the appliance writes; needs a session for as long as
	 * there is any. */
	VQT_STOP_DRAIN,
	VQT_STOP_FENCE, /* now: their completions will be dropped, guest memory is not touched again */
};
/* Stop vq: no chain is taken from it from now on. stopped() is called when nothing is in flight,
 * perhaps before this returns; always so for VQT_STOP_FENCE. A drain may be followed by
 * a fence. A queue that is not started: stopped() at once. */
void vqt_host_queue_stop(struct vqt_hdev *d, unsigned vq, enum vqt_stop how);

/* The guest made chains available in vq (or receive buffers). */
void vqt_host_kick(struct vqt_hdev *d, unsigned vq);

/* Sends a RARP frame from mac in the name of a guest that arrived and cannot announce itself, so that
 * switches learn where it is now. Best effort: its host says it again a few times. */
void vqt_host_announce(struct vqt_hdev *d, const uint8_t mac[6]);

/* rt_ops of the session's rt: the glue forwards, ctx being the host (vqt_host_rt_ops does just that). */
void vqt_host_record(struct vqt_host *h, enum rt_class cls, uint32_t psn, const struct rt_rec *rec,
		     const uint8_t *data);
void vqt_host_settled(struct vqt_host *h, enum rt_class cls, uint32_t base);
void vqt_host_writable(struct vqt_host *h, enum rt_class cls);
extern const struct rt_ops vqt_host_rt_ops; /* ctx: struct vqt_host; path is NULL */

/* Move at most about `budget` chains and KiB of frames, fairly over the ready queues, publish to the guests,
 * flush the rt. true: more is ready now. The glue then runs rt_output(). */
bool vqt_host_service(struct vqt_host *h, unsigned budget, uint64_t now);

#endif

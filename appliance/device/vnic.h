/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtio-net device model: joins one switch port to one guest's queues, across sessions.
 *
 * From the guest: each frame goes to the `forward` door (the switch). To the guest: what the
 * guest negotiated decides the shape of a frame (a guest without checksum or segmentation
 * offload gets finished checksums and MTU-sized segments, virtio 1.2 5.1.6.4), then it is sent
 * through the tunnel, or waits in a bounded queue for the guest's credit, or is dropped with a name.
 *
 * Ownership: the control thread allocates, and frees after the worker has let go; in between it
 * belongs to the worker, except the counters, which anyone may read.
 */
#ifndef OUTRIGGER_DEVICE_VNIC_H
#define OUTRIGGER_DEVICE_VNIC_H

#include "appliance/device/device.h"
#include "fabric/base/counter.h"

#define VNIC_PAIRS	 8u
#define VNIC_QUEUE_BYTES (1u << 20) /* waiting for credit, per pair */
#define VNIC_QUEUE_MAX	 1024u	    /* frames, likewise */
#define VNIC_MTU_MIN	 576u
#define VNIC_MTU_MAX	 9000u

#define VNIC_COUNTERS(X)                                                                                     \
	X(tx_frames) /* from the guest */                                                                    \
	X(tx_bytes)                                                                                          \
	X(tx_super)  /* of those, larger than the MTU: crossed the tunnel whole */                           \
	X(rx_frames) /* to the guest */                                                                      \
	X(rx_bytes)                                                                                          \
	X(rx_super)                                                                                          \
	X(rx_queued) /* waited for the guest's credit */                                                     \
	X(rx_wait_copied_bytes)                                                                              \
	X(rx_segmented)	  /* super-frames cut for a guest without segmentation offload */                    \
	X(rx_checksummed) /* checksums finished for a guest without checksum offload */                      \
	X(drop_rx_queue_full)                                                                                \
	X(drop_rx_no_memory) /* too much waits already for guests, this one or others */                     \
	X(drop_rx_detached)  /* no host, or no guest that receives */                                        \
	X(drop_rx_offload)   /* cannot be brought into the guest's shape */                                  \
	X(drop_rx_too_long)  /* beyond the MTU and not to be segmented */

#define VNIC_COUNTER_ENUM(name) VNIC_C_##name,
enum vnic_counter { VNIC_COUNTERS(VNIC_COUNTER_ENUM) VNIC_NCOUNTERS };
extern const char *const vnic_counter_names[VNIC_NCOUNTERS];

struct vnic;

struct vnic_cfg {
	uint32_t port; /* id of its switch port */
	uint32_t mtu;
	unsigned pairs; /* 1..VNIC_PAIRS */
	uint8_t mac[6];
};

/* Features offered, and the configuration space (virtio 1.2 5.1.4) for them. */
uint64_t vnic_features(const struct vnic_cfg *cfg);
#define VNIC_CONFIG_LEN 12u
void vnic_config(const struct vnic_cfg *cfg, bool link_up, uint8_t out[VNIC_CONFIG_LEN]);

/* Control thread. NULL: no memory. */
struct vnic *vnic_create(const struct vnic_cfg *cfg);
void vnic_destroy(struct vnic *v); /* unbound; NULL is fine */
const uint64_t *vnic_counters(const struct vnic *v);
/* Of the tunnel end, over all attachments, as of the last vnic_publish(): VQT_DEV_NCOUNTERS values. */
const uint64_t *vnic_tunnel_counters(const struct vnic *v);

/* ---- worker ---- */

/* Where frames of guests go. forward() takes ownership. touched: the session of this peer has something to
 * send. */
struct vnic_world {
	void (*forward)(void *ctx, uint32_t port, struct frame *f);
	void (*touched)(void *session);
	void *ctx;
	struct frame_pool *frames;
	/* Frames in one buffer of it wait where they are; NULL: all are copied. */
	const struct buf_pool *kept;
	struct buf_pool *bufs; /* for finished checksums and segments; 64 KiB + each */
	/* Bytes of frames that wait for credit: copies, for what they came in belongs to a link or port that
	 * needs it back. No queue takes more than a quarter of what is left of this and of frames. */
	struct buf_pool *waiting;
};

/* Attach to a session's tunnel. 0, or vqt_peer_attach()'s error, -EALREADY. session is for touched(). */
int vnic_bind(struct vnic *v, const struct vnic_world *world, struct vqt_peer *peer, void *session,
	      uint16_t wire, uint32_t epoch, uint32_t window, enum rt_rel rel);
void vnic_unbind(struct vnic *v); /* queued frames are dropped; not bound is fine */
/* What the guest negotiated, and how many of its queue pairs, counted from the first, receive. */
void vnic_guest(struct vnic *v, uint64_t features, unsigned pairs);
/* Bring the tunnel counters up to date for readers of other threads. */
void vnic_publish(struct vnic *v);
/* A frame for the guest; takes ownership. */
void vnic_deliver(struct vnic *v, struct frame *f, uint64_t now);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shape: brings a frame into the form that its receiver negotiated (virtio 1.2 5.1.6.4): a guest
 * without VIRTIO_NET_F_GUEST_CSUM gets finished checksums, one without GUEST_TSO4/6 gets
 * MTU-sized segments. Pure; all offload fields are checked against the frame.
 */
#ifndef OUTRIGGER_DEVICE_SHAPE_H
#define OUTRIGGER_DEVICE_SHAPE_H

#include "fabric/buf/buf.h"

enum shape_result {
	SHAPE_AS_IT_IS,	   /* the frame fits; it stays the caller's and is to be sent */
	SHAPE_CHECKSUMMED, /* out() was called once with a new frame */
	SHAPE_SEGMENTED,   /* out() was called for each segment */
	SHAPE_FAILED,	   /* bad offload fields, or no buffers; nothing was given out, or not all */
};

/* features: what the receiver accepted. mtu: bytes of an IP packet. out() owns what it is given. f stays the
 * caller's in every case. */
enum shape_result shape_for_guest(const struct frame *f, uint64_t features, uint32_t mtu,
				  struct frame_pool *frames, struct buf_pool *bufs,
				  void (*out)(void *ctx, struct frame *f), void *ctx);

#endif

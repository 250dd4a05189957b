/* SPDX-License-Identifier: Apache-2.0 */
#include "appliance/device/shape.h"

#include <linux/virtio_net.h>
#include <stdbool.h>
#include <string.h>

#include "appliance/port/offload/offload.h"

#define VNET_HDR 12u

static bool has(uint64_t features, unsigned bit)
{
	return features >> bit & 1;
}

/* Whether a receiver with these features takes a frame with this header as it is. */
static bool takes(uint64_t features, const uint8_t hdr[VNET_HDR])
{
	uint8_t gso = hdr[1] & (uint8_t)~VIRTIO_NET_HDR_GSO_ECN;

	if (hdr[0] & VIRTIO_NET_HDR_F_NEEDS_CSUM && !has(features, VIRTIO_NET_F_GUEST_CSUM))
		return false;
	if (hdr[1] & VIRTIO_NET_HDR_GSO_ECN && !has(features, VIRTIO_NET_F_GUEST_ECN))
		return false;
	switch (gso) {
	case VIRTIO_NET_HDR_GSO_NONE:
		return true;
	case VIRTIO_NET_HDR_GSO_TCPV4:
		return has(features, VIRTIO_NET_F_GUEST_TSO4);
	case VIRTIO_NET_HDR_GSO_TCPV6:
		return has(features, VIRTIO_NET_F_GUEST_TSO6);
	default:
		return false;
	}
}

/* Packet i of the plan as a frame of its own, nothing left to offload. */
static struct frame *packet(const struct offload *o, const struct frame *f, uint32_t i,
			    struct frame_pool *frames, struct buf_pool *bufs)
{
	struct frame *g = frame_get(frames);
	struct buf *b = g ? buf_get(bufs) : NULL;
	uint32_t len;

	if (!b || VNET_HDR + offload_longest(o) > b->size) {
		if (b)
			buf_put(b);
		frame_put(g);
		return NULL;
	}
	memset(b->base, 0, VNET_HDR);
	b->base[10] = 1; /* num_buffers */
	len = offload_write(o, f, i, b->base + VNET_HDR);
	frame_add(g, b->base, VNET_HDR + len, b);
	buf_put(b);
	return g;
}

enum shape_result shape_for_guest(const struct frame *f, uint64_t features, uint32_t mtu,
				  struct frame_pool *frames, struct buf_pool *bufs,
				  void (*out)(void *ctx, struct frame *f), void *ctx)
{
	uint8_t hdr[VNET_HDR];
	struct offload o;

	if (frame_read(f, 0, hdr, VNET_HDR) != VNET_HDR)
		return SHAPE_FAILED;
	if (takes(features, hdr))
		return SHAPE_AS_IT_IS;
	if (offload_plan(&o, f, mtu, 0))
		return SHAPE_FAILED;
	for (uint32_t i = 0; i < o.packets; i++) {
		struct frame *g = packet(&o, f, i, frames, bufs);

		if (!g)
			return SHAPE_FAILED;
		out(ctx, g);
	}
	return o.packets > 1 ? SHAPE_SEGMENTED : SHAPE_CHECKSUMMED;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz-rooms: appliance/port/offload fabric/buf */
/*
 * A guest's frame on its way to a wire: whatever its headers say of checksums and segments, what comes out
 * fits the MTU and the room that was promised, and carries each payload byte once. Input: byte 0: MTU (128
 * more for each), byte 1: VLAN, byte 2: length of a segment of the frame, then virtio_net_hdr and frame.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "appliance/port/offload/offload.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void write_all(const struct offload *o, const struct frame *f, uint32_t mtu)
{
	uint32_t longest = offload_longest(o), payload = 0;

	assert(o->packets && o->packets <= OFFLOAD_PACKETS_MAX);
	assert(longest <= mtu + OFFLOAD_ETHER + OFFLOAD_TAG);
	for (uint32_t i = 0; i < o->packets; i++) {
		uint8_t *out = malloc(longest);
		uint32_t n;

		assert(out);
		n = offload_write(o, f, i, out);
		assert(n && n <= longest);
		if (o->kind >= OFFLOAD_TCP4)
			payload += n - o->headers - (o->vlan ? OFFLOAD_TAG : 0);
		free(out);
	}
	assert(o->kind < OFFLOAD_TCP4 || payload == o->len - o->headers);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct frame_pool *pool;
	struct offload o;
	struct frame *f;
	uint32_t mtu, step;
	uint8_t *bytes;

	if (size < 4 || size - 3 > FRAME_MAX)
		return 0;
	pool = pool ? pool : frame_pool_create(4);
	f = pool ? frame_get(pool) : NULL;
	assert(f);
	mtu = 68 + 128u * data[0];
	step = 1 + 8u * data[2];
	/* Each piece ends where its allocation does. */
	bytes = malloc(size - 3);
	assert(bytes);
	memcpy(bytes, data + 3, size - 3);
	for (size_t at = 0; at < size - 3;) {
		size_t n = size - 3 - at;

		if (n > step && f->nseg + 1 < FRAME_SEGS)
			n = step;
		assert(!frame_add(f, bytes + at, (uint32_t)n, NULL));
		at += n;
	}
	if (!offload_plan(&o, f, mtu, data[1]))
		write_all(&o, f, mtu);
	frame_put(f);
	free(bytes);
	return 0;
}

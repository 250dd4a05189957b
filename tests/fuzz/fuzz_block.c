/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz-rooms: appliance/device appliance/block appliance/bdev fabric/base */
/*
 * A guest's block requests, any bytes, through vdisk_io to a volume in memory whose backend sometimes fails.
 * Input: a byte of volume properties, a byte choosing the fault, then requests: le16 readable, le16 writable,
 * then up to 32 bytes of head. Each request must be completed once, with a status unless there was no room
 * for one, and the volume must not grow, shrink or be written when it is read-only.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "appliance/bdev/bdev_filter.h"
#include "appliance/bdev/bdev_mem.h"
#include "appliance/device/vdisk_io.h"
#include "tests/lib/blk_req.h"

#define SIZE (64u << 10)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void serve(struct vdisk_io *d, struct bdev_group *g, struct bdev *b, struct blk_req *q, bool room)
{
	uint64_t now = 1;

	vdisk_io_request(d, &q->r, now);
	while (bdev_outstanding(b) || vdisk_io_waiting(d)) {
		bdev_group_poll(g, ++now, 8);
		vdisk_io_service(d, now);
	}
	assert(q->completed == 1);
	assert(room ? blk_req_status(q) <= BLK_S_UNSUPP : q->sent == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct blk_req q;
	struct bdev *mem, *b;
	struct blk_fence fence;
	struct vdisk_io_cfg cfg;
	struct vdisk_io *d;
	struct bdev_group *g;
	uint64_t epoch;
	uint8_t kind;
	int err;

	if (size < 2)
		return 0;
	kind = data[0];
	g = bdev_group_create(4, &err);
	err = bdev_mem_open(SIZE, kind & 1 ? 4096 : 512, &mem);
	assert(g && !err);
	mem->info.read_only = kind & 2;
	mem->info.can_discard = !(kind & 4);
	mem->info.can_write_zeroes = !(kind & 8);
	mem->info.write_cache = kind & 16;
	err = bdev_fault_open(mem, 4, &b);
	assert(!err);
	err = bdev_join(b, g);
	assert(!err);
	bdev_fault_set(b,
		       &(struct bdev_fault_cfg){.kind = data[1] % 5, .nth = data[1] >> 4, .timeout_ns = 2});
	blk_fence_init(&fence, 0);
	blk_fence_claim(&fence, 1, &epoch);
	blk_fence_confirm(&fence, epoch);
	cfg = (struct vdisk_io_cfg){.bdev = b,
				    .fence = &fence,
				    .owner = 1,
				    .epoch = epoch,
				    .acked = kind & 32 ? BLK_F_FLUSH : 0,
				    .queues = 1,
				    .depth = 2,
				    .complete = blk_req_complete};
	d = vdisk_io_create(&cfg, &err);
	assert(d);
	for (data += 2, size -= 2; size >= 4;) {
		uint32_t readable = (data[0] | (uint32_t)data[1] << 8) % sizeof(q.out);
		uint32_t writable = (data[2] | (uint32_t)data[3] << 8) % sizeof(q.in);
		size_t n = size - 4 < BLK_HEAD_LEN ? size - 4 : BLK_HEAD_LEN;

		blk_req_init(&q, 0, 0, 0, 0);
		memcpy(q.out, data + 4, n);
		q.r.out_len = readable;
		q.r.in_len = writable;
		serve(d, g, b, &q, writable > 0);
		data += 4 + n;
		size -= 4 + n;
	}
	if (mem->info.read_only)
		for (unsigned i = 0; i < SIZE; i++)
			assert(bdev_mem_bytes(mem)[i] == 0);
	vdisk_io_destroy(d);
	bdev_leave(b);
	bdev_close(b);
	bdev_group_destroy(g);
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* A virtio-blk request as the tunnel's device end hands it out, and what became of it. */
#ifndef OUTRIGGER_TESTS_BLK_REQ_H
#define OUTRIGGER_TESTS_BLK_REQ_H

#include <assert.h>
#include <string.h>

#include "appliance/block/blk.h"
#include "fabric/vqt/vqt_dev.h"

#define BLK_REQ_DATA 8192u

struct blk_req {
	struct vqt_req r; /* first */
	uint8_t out[BLK_REQ_DATA + 64];
	uint8_t in[BLK_REQ_DATA + 64];
	unsigned completed; /* times */
	uint32_t sent, written;
	void (*done)(struct blk_req *q); /* NULL: none */
	void *ctx;
};

static inline void blk_req_le(uint8_t *p, uint64_t v, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		p[i] = (uint8_t)(v >> 8 * i);
}

/* Sizes as given, the rest empty; in is filled with 0xee to see what is written. */
static inline void blk_req_init(struct blk_req *q, uint32_t type, uint64_t sector, uint32_t out_data,
				uint32_t in_data)
{
	assert(out_data <= BLK_REQ_DATA && in_data <= BLK_REQ_DATA);
	memset(&q->r, 0, sizeof(q->r));
	memset(q->out, 0, BLK_HEAD_LEN);
	memset(q->in, 0xee, sizeof(q->in));
	blk_req_le(q->out, type, 4);
	blk_req_le(q->out + 8, sector, 8);
	q->r.out = q->out;
	q->r.out_len = BLK_HDR_LEN + out_data;
	q->r.in = q->in;
	q->r.in_len = in_data + 1;
	q->completed = 0;
	q->sent = q->written = 0;
	q->done = NULL;
}

/* For vdisk_io_cfg.complete. */
static inline void blk_req_complete(struct vqt_req *r, uint32_t sent, uint32_t written, uint64_t now)
{
	struct blk_req *q = (struct blk_req *)r;

	(void)now;
	assert(sent <= r->in_len && written <= r->in_len);
	q->completed++;
	q->sent = sent;
	q->written = written;
	if (q->done)
		q->done(q);
}

/* Completed once, with a status byte among what was sent. */
static inline uint8_t blk_req_status(const struct blk_req *q)
{
	assert(q->completed == 1 && q->sent >= 1);
	return q->in[q->r.in_len - 1];
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reference-counted buffers and frames.
 *
 * A `struct buf` owns bytes: a slab of a pool, or foreign memory (a DPDK mbuf) wrapped with its
 * own release function. A frame is a list of segments, each a piece of some buf, so that a frame
 * that arrived in 49 packets is passed on by reference. The frame holds one reference per segment.
 *
 * Thread rule: a buf, its pool and the frames made of it belong to one worker; counts are plain
 * integers. Pools never grow after init: buf_get() gives NULL when empty and the caller drops,
 * with a name.
 */
#ifndef OUTRIGGER_BUF_BUF_H
#define OUTRIGGER_BUF_BUF_H

#include <stddef.h>
#include <stdint.h>

struct buf_pool;

struct buf {
	uint8_t *base;			/* first byte of the memory */
	uint32_t size;			/* bytes at base */
	uint32_t refs;			/* > 0 while in use */
	void (*release)(struct buf *b); /* called when refs drops to 0 */
	void *owner;			/* for release: the pool, the mbuf */
	struct buf *next_free;
};

/* count buffers of size bytes each, 64-byte aligned. NULL: no memory. */
struct buf_pool *buf_pool_create(uint32_t count, uint32_t size);
/* Every buf must be back (asserted). NULL is fine. */
void buf_pool_destroy(struct buf_pool *p);
uint32_t buf_pool_available(const struct buf_pool *p);
/* Where all its buffers lie, for devices that must know beforehand; *len bytes. */
uint8_t *buf_pool_memory(const struct buf_pool *p, size_t *len);

/* A buf with one reference, or NULL when the pool is empty. */
struct buf *buf_get(struct buf_pool *p);
static inline void buf_ref(struct buf *b)
{
	b->refs++;
}
static inline void buf_put(struct buf *b)
{
	if (--b->refs == 0)
		b->release(b);
}

/* 64 KiB + headers over 1344-byte chunks is 51 pieces; more pieces than this are linearised or refused. */
#define FRAME_SEGS 64
/* virtio_net_hdr (12) + Ethernet + the largest TSO frame a guest may send. */
#define FRAME_MAX 65562u

struct seg {
	const uint8_t *data;
	uint32_t len;	 /* bytes; > 0 */
	struct buf *buf; /* owner of data, one reference held by the frame; NULL: memory outlives the frame */
};

struct frame {
	uint32_t len; /* sum of seg lengths */
	uint32_t nseg;
	struct frame_pool *pool;
	struct frame *next; /* for the queue the frame is on; NULL elsewhere */
	struct seg seg[FRAME_SEGS];
};

/* Frames come from a pool too; same thread rule. */
struct frame_pool *frame_pool_create(uint32_t count);
void frame_pool_destroy(struct frame_pool *p);
uint32_t frame_pool_available(const struct frame_pool *p);
struct frame *frame_get(struct frame_pool *p); /* empty frame or NULL */
void frame_put(struct frame *f);	       /* drops the segments' references too; NULL is fine */

/* Append a piece; takes a reference of b (if not NULL). -E2BIG when FRAME_SEGS are used. */
int frame_add(struct frame *f, const uint8_t *data, uint32_t len, struct buf *b);
/* A second frame of the same bytes (references, no copy), from the same pool; NULL: pool empty. */
struct frame *frame_clone(const struct frame *f);
/* Bytes [off, off + n) of from, as references, appended to f; both of one frame pool. -E2BIG when FRAME_SEGS
 * are used, -EINVAL beyond the end: what f has then is without sense. */
int frame_part(struct frame *f, const struct frame *from, uint32_t off, uint32_t n);
/* Copy n bytes from offset off to dst; the number copied (less when the frame ends). */
uint32_t frame_read(const struct frame *f, uint32_t off, void *dst, uint32_t n);

#endif

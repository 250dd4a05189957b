/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pieces to frames. A piece is linked, not copied: the frame holds a reference of the datagram's
 * buffer. Where that cannot be (no owner, or more pieces than a frame has segments) the frame is moved to
 * buffers of its own, which span it from the start, and pieces are copied to their offsets.
 */
#include <string.h>

#include "fabric/vqt/vqt_dev_int.h"

static void copied(struct vqt_dev *d, uint32_t bytes)
{
	d_count(d, VQT_D_rx_copied, 1);
	d_count(d, VQT_D_rx_copied_bytes, bytes);
}

/* A frame of own buffers that span total bytes; NULL: counted. */
static struct frame *own_frame(struct vqt_dev *d, uint32_t total)
{
	struct frame *f = frame_get(d->peer->cfg.frames);

	if (!f) {
		d_count(d, VQT_D_drop_rx_no_frame, 1);
		return NULL;
	}
	while (f->len < total) {
		struct buf *b = buf_get(d->peer->cfg.bufs);
		uint32_t left = total - f->len;
		int rc = b ? frame_add(f, b->base, left < b->size ? left : b->size, b) : -1;

		if (b)
			buf_put(b);
		if (rc) {
			d_count(d, VQT_D_drop_rx_no_buf, 1);
			frame_put(f);
			return NULL;
		}
	}
	return f;
}

static void own_write(struct frame *f, uint32_t off, const uint8_t *data, uint32_t len)
{
	uint32_t size = f->seg[0].buf->size;

	while (len) {
		struct buf *b = f->seg[off / size].buf;
		uint32_t at = off % size, n = size - at < len ? size - at : len;

		memcpy(b->base + at, data, n);
		off += n;
		data += n;
		len -= n;
	}
}

struct frame *piece_whole(struct vqt_dev *d, const uint8_t *data, uint32_t len, struct buf *owner)
{
	struct frame *f;

	if (!owner) {
		f = own_frame(d, len);
		if (f) {
			own_write(f, 0, data, len);
			copied(d, len);
		}
		return f;
	}
	f = frame_get(d->peer->cfg.frames);
	if (f)
		frame_add(f, data, len, owner);
	else
		d_count(d, VQT_D_drop_rx_no_frame, 1);
	return f;
}

/* From references to own buffers. */
static void convert(struct vqt_dev *d, struct pending *p)
{
	struct frame *f = own_frame(d, p->total);

	for (uint32_t i = 0; f && i < p->frame->nseg; i++) {
		own_write(f, p->off[i], p->frame->seg[i].data, p->frame->seg[i].len);
		copied(d, p->frame->seg[i].len);
	}
	frame_put(p->frame);
	p->frame = f;
	p->copied = true;
}

/* Append, then sink to the place its offset says: pieces come nearly in order. */
static void insert(struct pending *p, uint32_t off, const uint8_t *data, uint32_t len, struct buf *owner)
{
	struct frame *f = p->frame;
	uint32_t i = f->nseg;
	struct seg s;

	frame_add(f, data, len, owner);
	s = f->seg[i];
	for (; i > 0 && p->off[i - 1] > off; i--) {
		f->seg[i] = f->seg[i - 1];
		p->off[i] = p->off[i - 1];
	}
	f->seg[i] = s;
	p->off[i] = off;
}

void piece_add(struct vqt_dev *d, struct pending *p, uint32_t off, const uint8_t *data, uint32_t len,
	       struct buf *owner)
{
	if (!p->copied && (!owner || p->frame->nseg == FRAME_SEGS))
		convert(d, p);
	if (!p->frame)
		return;
	if (p->copied) {
		own_write(p->frame, off, data, len);
		copied(d, len);
	} else {
		insert(p, off, data, len, owner);
	}
}

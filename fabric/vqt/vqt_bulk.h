/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bulk: bytes that an adapter moves between the host's memory and the appliance's, and no processor touches.
 * The door that both ends of the tunnel see of it; over a fabric that cannot it is not there, and every frame
 * is a message.
 *
 * Memory of the host is named by region, a number that its agent has told the appliance together with what
 * the adapters call it (keys), and an offset in it. Only the appliance moves: it fetches a guest's frame, and
 * places one in buffers that the guest posted, or in the agent's stage. What the agent lends stays lent until
 * the appliance says so or the connections it was lent over are closed.
 *
 * Moves are not reliable: one that fails (its path broke) is reported once, and the bytes go as a message.
 * A move that was given up may still write to memory on the host until the queue pair it went over is closed
 * there: a failed placing says which that is (struct vqt_fence), and the agent closes it before the place is
 * used again.
 */
#ifndef OUTRIGGER_VQT_BULK_H
#define OUTRIGGER_VQT_BULK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "fabric/base/cursor.h"
#include "fabric/buf/buf.h"
#include "fabric/vqt/vqt_msg.h"

#define VQT_KEYS_MAX 16u /* of one frame */
/* First bytes of a lent frame that are in its message: headers that the guest keeps apart. */
#define VQT_HEAD_MAX   128u
#define VQT_LENT_FIXED 8u
#define VQT_LENT_MSG   (VQT_LENT_FIXED + VQT_KEYS_MAX * VQT_SEG + VQT_HEAD_MAX)
#define VQT_PLACED_LEN 20u
#define VQT_PLACE_SEGS 64u /* where one frame is placed, at most */

/* What LENT says: the frame is `head` bytes that follow, then those of n keys; len of all. */
struct vqt_lent {
	uint32_t len;
	uint16_t head, n;
	struct vqt_seg key[VQT_KEYS_MAX];
};

/* A queue pair of the agent over which a move may still come. */
struct vqt_fence {
	uint32_t path, qpn;
};

enum vqt_place_state {
	VQT_PLACE_DONE, /* it lies in the stage */
	VQT_PLACE_RESERVED,
	VQT_PLACE_FAILED,
	VQT_PLACE_POSTED, /* it lies in posted chains */
};

/* What PLACED says; fence: of a failed one; piece: the first one of its chains. */
struct vqt_placed {
	uint32_t len;
	uint32_t state; /* enum vqt_place_state */
	struct vqt_fence fence;
	uint32_t piece;
};

/* What CHAINS says: from here on frames use posted chains, or (not on) those that the agent takes. piece: the
 * first one that no frame before it used. */
struct vqt_chains {
	bool on;
	uint32_t piece;
};

/* How a move ended: the door calls done() once, unless drop() came first. Of a failed placing: *fence, and f,
 * the frame, whose ownership passes; it is made of nothing that belongs to a session. */
struct vqt_bulk_end {
	void (*done)(void *arg, bool ok, const struct vqt_fence *fence, struct frame *f);
	void *arg;
};

/* At the appliance, of one session. */
struct vqt_bulk_ops {
	/* The bytes of k, head first, appended to f as segments of the door's buffers, which are read only
	 * when done() said ok. *op names the move. 0; -EAGAIN: not now, try with the next service; else: not
	 * by key. */
	int (*fetch)(void *ctx, uint16_t dev, struct frame *f, const struct vqt_lent *k, const uint8_t *head,
		     const struct vqt_bulk_end *m, void **op);
	/* f to the n pieces, which add up to its length; n is 0: to the stage of (dev, pair), from position
	 * pos on. The caller may put f at once. As fetch. */
	int (*place)(void *ctx, uint16_t dev, uint16_t pair, uint32_t pos, const struct frame *f,
		     const struct vqt_seg *seg, unsigned n, const struct vqt_bulk_end *m, void **op);
	/* done() will not be called; memory is kept until the adapter is through with it. */
	void (*drop)(void *ctx, void *op);
};

struct vqt_bulk {
	const struct vqt_bulk_ops *ops; /* NULL: none */
	void *ctx;
};

/* out: VQT_LENT_FIXED + n * VQT_SEG bytes; their number. The head's bytes follow. */
static inline uint32_t vqt_lent_put(uint8_t *out, const struct vqt_lent *k)
{
	struct cur_w c;

	cur_w_init(&c, out, VQT_LENT_MSG);
	cur_put_u32(&c, k->len);
	cur_put_u16(&c, k->head);
	cur_put_u16(&c, k->n);
	for (unsigned i = 0; i < k->n; i++)
		vqt_seg_put(out + VQT_LENT_FIXED + i * VQT_SEG, &k->key[i]);
	return VQT_LENT_FIXED + k->n * VQT_SEG;
}

/* false: it is not what it says it is. *head: where the head's bytes are. */
static inline bool vqt_lent_get(const uint8_t *in, uint32_t len, struct vqt_lent *k, const uint8_t **head)
{
	struct cur_r c;
	uint64_t sum;

	if (len < VQT_LENT_FIXED)
		return false;
	cur_r_init(&c, in, len);
	k->len = cur_u32(&c);
	k->head = cur_u16(&c);
	k->n = cur_u16(&c);
	if (!k->n || k->n > VQT_KEYS_MAX || k->head > VQT_HEAD_MAX ||
	    len != VQT_LENT_FIXED + k->n * VQT_SEG + k->head)
		return false;
	sum = k->head;
	for (unsigned i = 0; i < k->n; i++) {
		vqt_seg_get(in + VQT_LENT_FIXED + i * VQT_SEG, &k->key[i]);
		if (!k->key[i].len)
			return false;
		sum += k->key[i].len;
	}
	*head = in + len - k->head;
	return sum == k->len;
}

static inline void vqt_placed_put(uint8_t out[VQT_PLACED_LEN], const struct vqt_placed *p)
{
	struct cur_w c;

	cur_w_init(&c, out, VQT_PLACED_LEN);
	cur_put_u32(&c, p->len);
	cur_put_u32(&c, p->state);
	cur_put_u32(&c, p->fence.path);
	cur_put_u32(&c, p->fence.qpn);
	cur_put_u32(&c, p->piece);
}

static inline void vqt_placed_get(const uint8_t in[VQT_PLACED_LEN], struct vqt_placed *p)
{
	struct cur_r c;

	cur_r_init(&c, in, VQT_PLACED_LEN);
	p->len = cur_u32(&c);
	p->state = cur_u32(&c);
	p->fence.path = cur_u32(&c);
	p->fence.qpn = cur_u32(&c);
	p->piece = cur_u32(&c);
}

static inline void vqt_chains_put(uint8_t out[VQT_CHAINS_LEN], const struct vqt_chains *p)
{
	struct cur_w c;

	cur_w_init(&c, out, VQT_CHAINS_LEN);
	cur_put_u32(&c, p->on);
	cur_put_u32(&c, p->piece);
}

/* false: neither on nor off. */
static inline bool vqt_chains_get(const uint8_t in[VQT_CHAINS_LEN], struct vqt_chains *p)
{
	struct cur_r c;
	uint32_t on;

	cur_r_init(&c, in, VQT_CHAINS_LEN);
	on = cur_u32(&c);
	p->on = on;
	p->piece = cur_u32(&c);
	return on <= 1;
}

#endif

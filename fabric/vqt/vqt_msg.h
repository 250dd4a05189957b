/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the two ends of the virtqueue tunnel say to each other: rt messages (fabric/rt/rt.h), told apart by
 * rec.kind. rec.dev is the device's wire id in the session. rec.aux is the low half of the device's
 * epoch (except GRANT), so that a record of an earlier attachment never meets a later one.
 *
 *	kind	class	 from	     rec.queue	 rec.id		 total		 bytes
 *	FRAME	RT_NET	 both	     pair	 position	 frame length	 virtio_net_hdr, then the
 *frame MARK	RT_NET	 appliance   pair	 position	 0		 none CREDIT	RT_CTL	 agent
 *pair	 limit position	 0		 none
 *	REQ	RT_CMD	 agent	     virtqueue	 request id	 16 + out_len	 head, first readable bytes
 *	GRANT	RT_CTL	 appliance   virtqueue	 request id	 0		 none; aux: limit, see below
 *	REQDATA RT_DATA	 agent	     virtqueue	 request id	 16 + out_len	 the readable bytes granted
 *	CANCEL	RT_CTL	 agent	     virtqueue	 request id	 0		 none
 *	CPL	RT_DATA	 appliance   virtqueue	 request id	 16 + sent	 head, last `sent` writable
 *bytes
 *	LENT	RT_NET	 agent	     pair	 position	 8 + 16n + head	 a frame that is to be fetched
 *	TAKEN	RT_CTL	 appliance   pair	 position	 0		 none
 *	AGAIN	RT_CTL	 appliance   pair	 position	 0		 none
 *	GONE	RT_CTL	 agent	     pair	 position	 0		 none
 *	PLACED	RT_NET	 appliance   pair	 position	 20		 a frame that was placed
 *	RESENT	RT_NET	 appliance   pair	 position	 frame length	 as FRAME
 *	KEYED	RT_CMD	 agent	     virtqueue	 request id	 32 + 16n	 head, 16 bytes, n pieces
 *	FRAMES	RT_NET	 both	     pair	 position	 sum of 2 + len	 {length, frame} ...
 *	POSTED	RT_CTL	 agent	     pair	 first piece	 16n		 n pieces of chains
 *	RECALL	RT_CTL	 agent	     pair	 0		 0		 none
 *	CHAINS	RT_NET	 appliance   pair	 position	 8		 use of what is posted
 *
 * FRAMES is a run of frames of VQT_SMALL bytes at most, each behind its length (16 bits), that stands in one
 *packet: one header, one position and one delivery for all of them. It takes its own length rounded up of the
 *stream, as a FRAME does. The sender closes it when another message of the class comes, or the packet is
 *full.
 *
 * Positions. Each (device, pair, direction) is a stream of frames; a frame takes its length rounded up to
 * VQT_POS_ALIGN bytes of it, and rec.id is the position, mod 2^32, of its first byte. Both start at 0 when
 * the device is bound. So a receiver knows order, gaps and how far the sender went from any single piece,
 * although frames may be lost. MARK (sent with RT_REL_FULL) says "my next frame starts here": a sender
 * that ran out of credit sends it, so that credit for frames that were all lost comes back.
 *
 * Credit. The agent lets the appliance send up to a position (at first the window, then CREDIT's) and so
 *needs no more staging memory than the window. There is no credit the other way: the appliance consumes at
 *once.
 *
 * Requests. Of [head, readable bytes] the first VQT_UNSCHED bytes go at once, as REQ. GRANT, sent when they
 * have all arrived, allows readable bytes up to aux * VQT_GRANT_UNIT. CPL carries the *last* `sent` bytes of
 *the writable part: all of it for a successful read, the status byte alone for the rest; `total` alone tells
 *where each piece goes. CANCEL answers a GRANT of a request whose guest has gone: the appliance forgets the
 *request and completes it with nothing.
 *
 * Frames by key (vqt_bulk.h), where a path of the session can move bytes without a processor. LENT takes the
 * place of FRAME: it names the guest's memory, the appliance fetches the bytes, and the guest gets its
 *buffers back with TAKEN, which says that every LENT before the position was fetched or dropped. What cannot
 *be fetched is asked for with AGAIN and comes as FRAME at the same position, or GONE: its guest is. PLACED
 *says that the bytes of a frame lie in the agent's stage, or (RESERVED) that they will: that goes out before
 * anything behind it, so that the gap is not taken for a loss, and is followed by PLACED, or by FAILED and
 *the bytes as RESENT. All but FRAME are sent with RT_REL_FULL. A LENT takes vqt_span() of its own length of
 *the stream.
 *
 * Posted chains. So that a frame is placed where its guest reads it, the agent takes chains of the receive
 * ring ahead, and POSTED says where they are: pieces, numbered one by one mod 2^32; VQT_POSTED_MORE in a
 * length says that the chain goes on with the next piece. A POSTED of no pieces asks whether that is wanted.
 * The answer is CHAINS, an element of the stream, of VQT_POS_ALIGN bytes. From there on all frames use
 * posted chains, whatever way they come: each takes, in their order, those that follow the chains of the
 * frame before it, as many as hold it. So both ends know which are a frame's, chains go back to the guest in
 * the order they were taken from its ring (of what is not back a successor of the agent takes all anew), and
 * small frames lack none. A frame that finds too few waits at the appliance, which says so with another
 * CHAINS. PLACED says with which piece a frame begins that lies in posted chains: those before it were of
 * frames that were lost, and go back to the guest empty. RECALL asks for an end, which is a CHAINS that says
 * so: what is posted and no earlier frame's is the agent's again. Numbers go on over all of this, so that a
 * late POSTED fits nowhere.
 *
 * By key. Where an adapter of the appliance can reach the guest's memory (RDMA), a request may say where its
 * bytes are, as KEYED: a kind of its own, so that its first piece alone tells what it takes to hold it. The
 * message has the first VQT_LEAD readable bytes (a command) and pieces of regions announced before: those of
 * the other readable bytes, if there are any, then those of the writable bytes but the last VQT_TAIL (a
 * status), if they are many. The appliance fetches the former before the request is delivered. If it cannot,
 * it sends GRANT, and they come as REQDATA from offset VQT_HEAD + VQT_LEAD on, by whatever path. It
 * places the latter before it sends CPL, which then has VQT_TAIL bytes. If it cannot, CPL has them all. When
 * it tried and failed, CPL says so (VQT_CPL_TORN): what was to be placed may still arrive through that
 * connection, which the agent destroys before the guest gets its buffers back. A lost session or
 * a fenced queue ends the keys themselves, so nothing of an earlier attachment reaches the guest.
 */
#ifndef OUTRIGGER_VQT_MSG_H
#define OUTRIGGER_VQT_MSG_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

#include "fabric/base/cursor.h"
#include "fabric/buf/buf.h"

enum vqt_kind {
	VQT_FRAME = 1,
	VQT_MARK,
	VQT_CREDIT,
	VQT_REQ,
	VQT_GRANT,
	VQT_REQDATA,
	VQT_CANCEL,
	VQT_CPL,
	VQT_LENT,
	VQT_TAKEN,
	VQT_AGAIN,
	VQT_GONE,
	VQT_PLACED,
	VQT_RESENT,
	VQT_KEYED,
	VQT_FRAMES,
	VQT_POSTED,
	VQT_RECALL,
	VQT_CHAINS,
	VQT_KIND_END
};

#define VQT_NET_HDR	12u		      /* struct virtio_net_hdr with num_buffers, virtio 1.2 5.1.6 */
#define VQT_NUM_BUFFERS 10u		      /* offset of num_buffers in it, little endian */
#define VQT_FRAME_MIN	(VQT_NET_HDR + 14u)   /* with an Ethernet header */
#define VQT_FRAME_SUPER (VQT_NET_HDR + 1514u) /* more than this crossed the tunnel whole */
#define VQT_SMALL	192u		      /* and below: frames go many in a message */
#define VQT_SMALL_LEN	2u		      /* bytes of a frame's length there */
#define VQT_SMALL_MIN	(VQT_SMALL_LEN + VQT_FRAME_MIN)
#define VQT_POS_ALIGN	64u	     /* frames start at multiples of this */
#define VQT_WINDOW_MIN	(256u << 10) /* a power of 2, > 2 frames, so that credit never dead-locks */
#define VQT_WINDOW_MAX	(16u << 20)
#define VQT_WINDOW	(1u << 20) /* default */

#define VQT_HEAD    16u			     /* bytes of both heads */
#define VQT_REQ_MAX ((1u << 20) + 4096u)     /* out_len, in_len at most */
#define VQT_UNSCHED (VQT_HEAD + (64u << 10)) /* bytes of a request's message sent without a grant */
/* A request with more than the unscheduled bytes to read has at most so many to write: a status, a sense. It
 * needs no second buffer then, see vqt_dev_blk.c. */
#define VQT_IN_SMALL	 256u
#define VQT_GRANT_UNIT	 (64u << 10)
#define VQT_INFLIGHT_MIN VQT_UNSCHED
#define VQT_WIRE_MAX	 4096u /* wire ids are below this */
#define VQT_QUEUES_MAX	 64u   /* virtqueues of a device */
#define VQT_DEPTH_MAX	 1024u /* requests in flight of a virtqueue */

#define VQT_LEAD      16u
#define VQT_TAIL      1u
#define VQT_SEGS_MAX  64u
#define VQT_SEG	      16u   /* bytes of a piece in a message */
#define VQT_KEYED_MIN 2048u /* bytes to move from which it pays */

/* A frame takes at most so many of the guest's chains, else it is dropped: 64 KiB over buffers of 1526 bytes
 * is 43. */
#define VQT_RX_CHAINS 128u

#define VQT_POSTED_MAX	  1024u /* pieces of a pair that are posted and not used */
#define VQT_POSTED_PIECES 64u	/* of a message, all in one packet */
/* Pieces of a frame, at most; no guest gets one in so many. Chains are posted whole, so that few of the last
 * places may stay empty: nobody waits for those. */
#define VQT_POSTED_FRAME (VQT_POSTED_MAX - VQT_POSTED_PIECES)
#define VQT_POSTED_MORE	 (1u << 31)
#define VQT_CHAINS_LEN	 8u

/* A piece of a guest's memory. */
struct vqt_seg {
	uint32_t region; /* as announced */
	uint32_t len;	 /* > 0 */
	uint64_t off;	 /* in the region */
};

/* A request id: slot in the queue's table, and a generation that changes with each use of it. */
#define VQT_ID(slot, gen) ((uint32_t)(slot) | (uint32_t)(gen) << 16)
#define VQT_ID_SLOT(id)	  ((id)&0xffffu)

/* The head of a REQ. */
struct vqt_req_head {
	uint32_t epoch;
	uint32_t out_len;
	uint32_t in_len;
	uint32_t flags; /* 0; KEYED: numbers of pieces, VQT_KEYED_FLAGS */
};

#define VQT_KEYED_FLAGS(nout, nin) ((uint32_t)(nout) | (uint32_t)(nin) << 8)
#define VQT_KEYED_NOUT(flags)	   ((flags)&0xffu)
#define VQT_KEYED_NIN(flags)	   ((flags) >> 8 & 0xffu)

/* In the flags of a CPL of a KEYED request: path of the session, and the agent's number of the queue pair. */
#define VQT_CPL_TORN(path, qpn) (1u << 31 | (uint32_t)(path) << 24 | (qpn))
#define VQT_CPL_IS_TORN(flags)	((flags) >> 31)
#define VQT_CPL_PATH(flags)	((flags) >> 24 & 0x7fu)
#define VQT_CPL_QPN(flags)	((flags)&0xffffffu)

/* The head of a CPL. */
struct vqt_cpl_head {
	uint32_t epoch;
	uint32_t flags;	  /* 0, or VQT_CPL_TORN */
	uint32_t written; /* for the used ring, <= in_len */
	uint32_t sent;	  /* bytes that follow, <= in_len */
};

static_assert(sizeof(struct vqt_req_head) == VQT_HEAD && sizeof(struct vqt_cpl_head) == VQT_HEAD,
	      "both heads are four words");

/* Of FRAMES, of which `left` bytes are left, from `in` on: the length of the first frame; 0: that is not one,
 * or not all of it is there. */
static inline uint32_t vqt_small_len(const uint8_t *in, uint32_t left)
{
	uint32_t n;

	if (left < VQT_SMALL_MIN)
		return 0;
	n = (uint32_t)in[0] << 8 | in[1];
	return n >= VQT_FRAME_MIN && n <= VQT_SMALL && n <= left - VQT_SMALL_LEN ? n : 0;
}

static inline void vqt_small_put_len(uint8_t *out, uint32_t n)
{
	out[0] = (uint8_t)(n >> 8);
	out[1] = (uint8_t)n;
}

static inline void vqt_put_words(uint8_t *p, const uint32_t w[4])
{
	struct cur_w c;

	cur_w_init(&c, p, VQT_HEAD);
	for (int i = 0; i < 4; i++)
		cur_put_u32(&c, w[i]);
}

static inline void vqt_get_words(const uint8_t *p, uint32_t w[4])
{
	struct cur_r c;

	cur_r_init(&c, p, VQT_HEAD);
	for (int i = 0; i < 4; i++)
		w[i] = cur_u32(&c);
}

static inline void vqt_req_head_put(uint8_t p[VQT_HEAD], const struct vqt_req_head *h)
{
	vqt_put_words(p, (const uint32_t[4]){h->epoch, h->out_len, h->in_len, h->flags});
}

static inline void vqt_req_head_get(const uint8_t p[VQT_HEAD], struct vqt_req_head *h)
{
	uint32_t w[4];

	vqt_get_words(p, w);
	*h = (struct vqt_req_head){w[0], w[1], w[2], w[3]};
}

static inline void vqt_cpl_head_put(uint8_t p[VQT_HEAD], const struct vqt_cpl_head *h)
{
	vqt_put_words(p, (const uint32_t[4]){h->epoch, h->flags, h->written, h->sent});
}

static inline void vqt_cpl_head_get(const uint8_t p[VQT_HEAD], struct vqt_cpl_head *h)
{
	uint32_t w[4];

	vqt_get_words(p, w);
	*h = (struct vqt_cpl_head){w[0], w[1], w[2], w[3]};
}

static inline void vqt_seg_put(uint8_t p[VQT_SEG], const struct vqt_seg *s)
{
	vqt_put_words(p, (const uint32_t[4]){s->region, s->len, (uint32_t)(s->off >> 32), (uint32_t)s->off});
}

static inline void vqt_seg_get(const uint8_t p[VQT_SEG], struct vqt_seg *s)
{
	uint32_t w[4];

	vqt_get_words(p, w);
	*s = (struct vqt_seg){w[0], w[1], (uint64_t)w[2] << 32 | w[3]};
}

/* Stream bytes that a frame of len bytes takes. */
static inline uint32_t vqt_span(uint32_t len)
{
	return (len + VQT_POS_ALIGN - 1) & ~(VQT_POS_ALIGN - 1);
}

/* Bytes of a request's message that go without a grant. */
static inline uint32_t vqt_unsched(uint32_t out_len)
{
	return out_len + VQT_HEAD < VQT_UNSCHED ? out_len + VQT_HEAD : VQT_UNSCHED;
}

static inline bool vqt_req_fits(uint32_t out_len, uint32_t in_len)
{
	return out_len <= VQT_REQ_MAX &&
	       in_len <= (out_len + VQT_HEAD > VQT_UNSCHED ? VQT_IN_SMALL : VQT_REQ_MAX);
}

/* a before b, serial arithmetic (RFC 1982). */
static inline bool vqt_before(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) < 0;
}

/*
 * Proof that pieces tile a message exactly. rt delivers each piece once, but a hostile peer may say
 * overlapping pieces whose lengths add up; what they leave uncovered would be somebody's old bytes.
 * Each piece adds h(end) - h(start), h a keyed mix. As every piece goes forward, the sum is
 * h(total) - h(0) only if the pieces form one chain from 0 to total: a tiling. Nobody who does not
 * know the seed can make other sums meet.
 */
static inline uint64_t vqt_cover_mix(uint64_t seed, uint32_t x)
{
	uint64_t z = seed + (uint64_t)(x + 1ull) * 0x9e3779b97f4a7c15ull;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	z ^= (z >> 31) ^ (seed << 7);
	return z * (seed | 1);
}

struct vqt_cover {
	uint64_t sum;
	uint32_t got;
};

static inline void vqt_cover_add(struct vqt_cover *c, uint64_t seed, uint32_t off, uint32_t len)
{
	c->sum += vqt_cover_mix(seed, off + len) - vqt_cover_mix(seed, off);
	c->got += len;
}

static inline bool vqt_cover_full(const struct vqt_cover *c, uint64_t seed, uint32_t total)
{
	return c->got == total && c->sum == vqt_cover_mix(seed, total) - vqt_cover_mix(seed, 0);
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* What the device end's files share; nobody else includes this. */
#ifndef OUTRIGGER_VQT_DEV_INT_H
#define OUTRIGGER_VQT_DEV_INT_H

#include "fabric/base/list.h"
#include "fabric/vqt/vqt_dev.h"

#define VQT_PENDING_DEFAULT 1024u
/* out + this is page-aligned: the data after struct virtio_blk_req's header. */
#define VQT_OUT_ALIGN_OFF 16u

enum pend_state {
	PEND_PIECES, /* of a FRAME */
	PEND_KEYS,   /* of a LENT */
	/* LENT is complete; such a frame is never taken for lost. */
	PEND_WAIT,  /* to be fetched */
	PEND_FETCH, /* being fetched */
	PEND_ASK,   /* AGAIN is to be sent */
	PEND_ASKED, /* it comes as pieces */
	PEND_READY,
};

/* A frame of a guest that is not complete, or not yet its turn. */
struct pending {
	struct list link;     /* on vqt_pair.pending, or the peer's free list */
	struct pending *hash; /* next in its bucket */
	struct vqt_pair *pair;
	enum pend_state state;
	uint32_t pos, total;
	uint32_t span;	   /* of the stream */
	uint32_t psn;	   /* lowest of its pieces' */
	uint32_t last_psn; /* of the piece with its last byte; valid with has_last */
	bool has_last;
	bool many;   /* FRAMES */
	bool copied; /* segments are own buffers that span the frame; else pieces by reference, sorted */
	struct vqt_cover cover;
	struct frame *frame; /* NULL: out of memory; its pieces are only counted */
	void *op;	     /* PEND_FETCH */
	union {
		uint32_t off[FRAME_SEGS];   /* of pieces */
		uint8_t lent[VQT_LENT_MSG]; /* until fetched */
	};
};

/* Frames on their way to an agent's stage, per pair. */
#define VQT_PLACES 128u

enum place_state { PLACE_MOVING, PLACE_DONE, PLACE_FAILED, PLACE_RESENDING };

struct place {
	struct list link; /* on vqt_pair.places in the order of positions, or .free_places */
	struct vqt_pair *pair;
	enum place_state state;
	bool reserved; /* the agent knows that it will come */
	bool posted;   /* to posted chains, from `piece` on */
	uint32_t piece;
	uint32_t pos, len;
	void *op; /* PLACE_MOVING */
	struct vqt_fence fence;
	struct frame *frame; /* of one that failed */
};

/* What a frame takes of the posted chains. */
struct posts_take {
	uint32_t first;	 /* piece */
	unsigned pieces; /* all of its chains; 0: none, they are not in use */
	unsigned n;	 /* where its bytes go; 0: in too many places */
	struct vqt_seg seg[VQT_PLACE_SEGS];
};

struct vqt_pair_posts;

struct vqt_pair {
	struct vqt_dev *dev;
	uint16_t index;
	/* From the guest. */
	uint32_t rx_next; /* position of the frame that is delivered next */
	struct list pending;
	struct list gaps; /* on vqt_peer.gaps while pending is not empty */
	/* To the guest. */
	uint32_t tx_pos, tx_limit;
	uint32_t run_pos, run_len; /* FRAMES that may still grow: its position and bytes; 0: none */
	uint32_t marked;	   /* tx_pos of the last MARK */
	bool want_mark;		   /* one is due */
	bool want_credit;	   /* vqt_dev_send() found none */
	bool wake;		   /* writable() is due */
	struct list room;	   /* on vqt_peer.room: the transport was full */
	struct list attention;	   /* on vqt_peer.attention: the next service has to do with it */
	/* By key. */
	struct list lent; /* on vqt_peer.lent: something to fetch, to ask for or to say TAKEN of */
	bool owe_taken;
	struct list places, free_places;
	struct place *place;	      /* VQT_PLACES; NULL: no bulk */
	struct vqt_pair_posts *posts; /* NULL likewise */
};

enum req_state {
	REQ_FREE,
	REQ_ARRIVING, /* unscheduled bytes */
	REQ_WAITING,  /* for memory */
	REQ_GRANTING, /* the GRANT is to be sent */
	REQ_GRANTED,  /* the rest arrives */
	REQ_FETCHING, /* bytes by key */
	REQ_BACKEND,  /* with the device model */
	REQ_PLACING,  /* bytes by key */
	REQ_SENDING,  /* completion */
};

struct req_slot {
	struct vqt_req pub; /* first */
	struct list link;   /* on one of the peer's lists: waiting, granting, sending */
	enum req_state state;
	uint32_t id;
	uint32_t total;	   /* message bytes */
	uint32_t out_size; /* bytes got for pub.out, 0: none */
	uint32_t in_size;  /* bytes got for pub.in, 0: none or small */
	uint32_t held;	   /* bytes counted in vqt_peer.mem_used */
	uint32_t charge;   /* unscheduled bytes counted in vqt_dev.inflight_bytes */
	uint32_t reply;	   /* bytes after the completion's head */
	uint32_t written;
	uint32_t reply_sent; /* message bytes of the completion sent */
	uint32_t cpl_flags;
	bool keyed;	   /* came as KEYED */
	bool fetched;	   /* all readable bytes are here */
	uint8_t nout, nin; /* pieces */
	struct vqt_move move;
	struct vqt_cover cover;
	uint8_t head[VQT_HEAD];
	uint8_t small[VQT_IN_SMALL];
	uint8_t places[VQT_LEAD + VQT_SEGS_MAX * VQT_SEG]; /* of a KEYED message, behind its head */
};

struct vqt_dev {
	struct list link;      /* vqt_peer.devs */
	struct vqt_peer *peer; /* NULL: detached, requests are orphans */
	struct vqt_dev_cfg cfg;
	const struct vqt_dev_ops *ops;
	struct vqt_mem mem;
	unsigned outstanding;	 /* requests at the backend */
	uint32_t inflight_bytes; /* unscheduled */
	uint64_t counters[VQT_DEV_NCOUNTERS];
	struct vqt_pair *pairs; /* VQT_NET: nvq / 2 */
	struct req_slot *slots; /* VQT_BLK: nvq * depth */
};

struct vqt_peer {
	struct vqt_peer_cfg cfg;
	const char *bad;
	uint64_t mem_used;
	bool unflushed;
	struct list devs;
	struct list gaps;      /* pairs with pending frames */
	bool settles;	       /* settled is known */
	uint32_t settled;      /* PSN of RT_NET up to which all is as complete as it will get */
	struct list attention; /* pairs */
	struct list waiting;   /* requests, for memory; first come first served */
	struct list granting;
	struct list sending;
	struct list room;     /* pairs */
	struct list lent;     /* pairs */
	bool full[RT_NCLASS]; /* rt_send() said -EAGAIN; until writable */
	struct list free_pending;
	struct pending *pendings;
	struct pending **buckets;
	uint32_t bucket_mask;
	uint64_t counters[VQT_PEER_NCOUNTERS];
	struct vqt_dev *wire[VQT_WIRE_MAX];
};

static inline void d_count(struct vqt_dev *d, enum vqt_dev_counter c, uint64_t n)
{
	counter_add(&d->counters[c], n);
}

/* vqt_peer.c */
void dev_free(struct vqt_dev *d);
void peer_bad(struct vqt_peer *p, const char *why);
int dev_rt_send(struct vqt_dev *d, enum rt_class cls, enum rt_rel rel, struct rt_rec *rec,
		const struct iovec *iov, unsigned n, uint64_t now);
/* rt_begin() and rt_grow(), likewise. */
int dev_rt_begin(struct vqt_dev *d, enum rt_class cls, enum rt_rel rel, struct rt_rec *rec, uint32_t len,
		 uint8_t **at);
uint8_t *dev_rt_grow(struct vqt_dev *d, enum rt_class cls, struct rt_rec *rec, uint32_t len);

/* vqt_dev_net.c: from the guest */
void pair_init(struct vqt_pair *q, struct vqt_dev *d, unsigned index);
void pair_reset(struct vqt_pair *q); /* drops what is pending */
void pair_frame(struct vqt_pair *q, uint32_t psn, const struct rt_rec *rec, const uint8_t *data,
		struct buf *owner);
void pair_settled(struct vqt_pair *q, uint32_t base);

/* A frame at pos takes its place in the table; NULL: counted. span: of the stream. */
struct pending *pair_add(struct vqt_pair *q, const struct rt_rec *rec, uint32_t psn, uint32_t span);
struct pending *pair_find(const struct vqt_pair *q, uint32_t pos);
void pair_drop(struct pending *e, enum vqt_dev_counter why);
void pair_drain(struct vqt_pair *q); /* delivers all that is complete and in order */
/* Likewise, where no packet brought what was awaited: then nobody tells of losses behind it. */
void pair_go_on(struct vqt_pair *q);
/* Is the piece where frames can be? Else it is counted. */
bool pair_believable(struct vqt_pair *q, const struct rt_rec *rec);

/* vqt_dev_keyed.c: frames by key */
void net_lent_piece(struct vqt_pair *q, uint32_t psn, const struct rt_rec *rec, const uint8_t *data);
void net_lent_gone(struct vqt_pair *q, const struct rt_rec *rec);
void net_lent_forget(struct pending *e);  /* its fetch, if there is one */
void net_lent_passed(struct vqt_pair *q); /* one was delivered or dropped: TAKEN is owed */
void net_lent_serve(struct vqt_peer *p, uint64_t now);

/* vqt_dev_place.c: frames into the guest's buffers, or the agent's stage */
int place_init(struct vqt_pair *q);
void place_fini(struct vqt_pair *q);
/* To the chains of t, or the stage. 0: under way; else the frame is to go as a message. */
int place_start(struct vqt_pair *q, const struct frame *f, const struct posts_take *t);
/* Says of all before pos that they will come; 0, or rt_send()'s -EAGAIN: nothing behind may be said. */
int place_reserve(struct vqt_pair *q, uint32_t pos, uint64_t now);
/* Says what is over; -EAGAIN: not all of it. */
int place_serve(struct vqt_pair *q, uint64_t now);

/* vqt_dev_posts.c: chains that the agent posted */
int posts_init(struct vqt_pair *q);
void posts_fini(struct vqt_pair *q);
void posts_posted(struct vqt_pair *q, const struct rt_rec *rec, const uint8_t *data);
void posts_recall(struct vqt_pair *q, const struct rt_rec *rec);
/* What a frame of len bytes would take; false: not enough is posted, posts_wait(). */
bool posts_take(struct vqt_pair *q, uint32_t len, struct posts_take *t);
void posts_taken(struct vqt_pair *q, const struct posts_take *t);
void posts_wait(struct vqt_pair *q);
/* Says CHAINS if it is due; -EAGAIN: no room; -ENOBUFS: no credit. */
int posts_serve(struct vqt_pair *q, uint64_t now);

/* vqt_dev_piece.c: pieces to frames */
/* A frame of one piece; NULL: no memory, counted. */
struct frame *piece_whole(struct vqt_dev *d, const uint8_t *data, uint32_t len, struct buf *owner);
/* Add a piece to p->frame; on lack of memory, or an overlap, p->frame becomes NULL (counted). */
void piece_add(struct vqt_dev *d, struct pending *p, uint32_t off, const uint8_t *data, uint32_t len,
	       struct buf *owner);

/* vqt_dev_tx.c: to the guest */
void pair_attend(struct vqt_pair *q);
void pair_credit(struct vqt_pair *q, const struct rt_rec *rec);
void pair_room(struct vqt_peer *p); /* RT_NET is writable */
void pair_service(struct vqt_pair *q, uint64_t now);

/* vqt_dev_blk.c: requests arriving */
void req_piece(struct vqt_dev *d, const struct rt_rec *rec, const uint8_t *data);
void req_cancel(struct vqt_dev *d, const struct rt_rec *rec);
void req_serve_waiting(struct vqt_peer *p);
void req_serve_granting(struct vqt_peer *p, uint64_t now);

/* vqt_dev_key.c: requests that say where their bytes are */
/* What a message of that length may be. */
bool keyed_total_valid(uint32_t total);
/* Do the head's lengths and numbers fit the places? */
bool keyed_valid(const struct req_slot *s);
/* Gets the readable bytes, or asks the agent for them; false: no memory now. */
bool keyed_fetch(struct req_slot *s);
/* Places `sent` bytes with the guest; false: they go in messages. */
bool keyed_place(struct req_slot *s, uint32_t sent, uint32_t written);

/* vqt_dev_blk.c, for the one above */
bool req_may_hold(const struct vqt_peer *p, uint32_t n);
void req_hold(struct req_slot *s, uint32_t n);
bool req_get_out(struct req_slot *s, uint32_t n);
void req_step_or_wait(struct req_slot *s);

/* vqt_dev_reply.c: completions, and the end of a request */
void req_free(struct req_slot *s);
/* Answer s: queued, sent by req_serve_sending(). */
void req_reply(struct req_slot *s, uint32_t sent, uint32_t written);
/* Readable bytes, and the agent's room for unscheduled ones, are given back. */
void req_release(struct req_slot *s);
/* One whose device is gone is over. */
void req_orphan_done(struct req_slot *s);
void req_serve_sending(struct vqt_peer *p, uint64_t now);

#endif

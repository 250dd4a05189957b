/* SPDX-License-Identifier: Apache-2.0 */
/* What the host end's files share; nobody else includes this. */
#ifndef OUTRIGGER_VQT_HOST_INT_H
#define OUTRIGGER_VQT_HOST_INT_H

#include "fabric/base/list.h"
#include "fabric/vqt/vqt_host.h"
#include "fabric/vqt/vqt_iov.h"

/* One turn of a queue before the next queue's: a TSO frame, or so many small ones. */
#define VQT_TURN_BYTES	(64u << 10)
#define VQT_TURN_CHAINS 32u

/* What a turn takes of the budget of a service: so that what is copied is still in the nearest cache when it
 * is sealed and sent, after each service. */
static inline unsigned vqt_cost(unsigned chains, uint32_t bytes)
{
	return chains + bytes / 1024;
}

/* And at most so many iovecs. */
#define VQT_RX_IOV 512u

enum vq_state {
	VQ_STOPPED,
	VQ_RUNNING,
	VQ_DRAINING, /* requests in flight; nothing is popped */
	VQ_BROKEN,
};

/* A frame that is not complete, or not yet its turn, or CHAINS. Its bytes are in the stage, or (the head
 * alone) in the guest's reserved chains, or in posted ones. */
struct rx_entry {
	uint32_t total;
	uint32_t psn;	   /* lowest of its pieces' */
	uint32_t last_psn; /* of the piece with its last byte; valid with has_last */
	bool has_last, direct, dead;
	bool many;    /* FRAMES */
	bool awaited; /* reserved: its end, PLACED or what comes instead, must be heard of first */
	bool posted;  /* it lies in posted chains, from piece `piece` on */
	bool chains;  /* CHAINS, on or not, from `piece` on */
	bool on;
	bool resent;	/* its pieces are younger than those of frames behind it */
	uint16_t given; /* of FRAMES: bytes that the guest has */
	uint32_t piece;
	struct vqt_cover cover;
};

/* One chain taken for the head frame. */
struct rx_chain {
	uint32_t token, in_len;
	uint16_t nin, iov; /* iovecs, the first of them in vqt_rx.iov */
};

struct vqt_vq;

#define VQT_POSTS     1024u /* chains taken ahead of a pair */
#define VQT_POSTS_IOV 2048u
#define VQT_POST_IOV  64u /* of one chain */

/* How far the two ends agree that frames use posted chains. */
enum posts_state {
	POSTS_OFF,
	POSTS_ASKED, /* the answer stands in the stream */
	POSTS_ON,
	POSTS_RECALLED, /* likewise */
};

/* A chain taken ahead. */
struct rx_post {
	uint32_t token, in_len;
	uint32_t piece; /* its first; of one that was said */
	uint16_t nin, iov;
};

/* Chains taken from a receive ring before there is a frame for them, in the order taken. They are the next to
 * be used, whatever the state. */
struct vqt_posts {
	enum posts_state state;
	bool recall;	       /* RECALL is to be sent */
	bool urgent;	       /* a frame waits at the appliance for more */
	uint32_t piece;	       /* number of the next that is said */
	unsigned first, count; /* of chain, a ring */
	unsigned said;	       /* the first so many of them were, and may be written */
	unsigned most;	       /* that were said at a time */
	uint32_t quiet;	       /* chains used since a frame that is worth it */
	uint32_t deaf;	       /* such frames yet to be let pass: the last attempt was in vain */
	uint16_t iov_next;     /* in iov */
	struct rx_post chain[VQT_POSTS];
	struct iovec iov[VQT_POSTS_IOV];
};

/* Appliance to guest, one pair. Positions of present entries lie in [next, next + window). */
struct vqt_rx {
	struct vqt_vq *vq;
	uint32_t next;	/* position of the frame that the guest gets next */
	uint32_t limit; /* credit given */
	uint32_t window;
	unsigned npending;
	uint8_t *stage;		  /* byte p of the stream at p % window; FRAMES do not wrap: that much more */
	struct rx_entry *entries; /* window / VQT_POS_ALIGN, that at position p at p / align % n */
	uint64_t *present;	  /* a bit per entry */
	struct list pending;	  /* on vqt_host.pending while npending or mark */
	bool mark;
	uint32_t mark_pos, mark_psn;
	struct vqt_posts *posts; /* NULL: no chain is ever posted */
	/* The chains reserved for the frame at next; the first nposted of them are the first of posts. */
	unsigned nchains, niov, nposted;
	struct vqt_at at;
	struct rx_chain chains[VQT_RX_CHAINS];
	struct iovec iov[VQT_RX_IOV];
};

enum slot_state {
	SLOT_FREE,
	SLOT_UNSENT, /* in this session */
	SLOT_SENT,
	SLOT_FENCED, /* sent; the guest is gone: nobody may touch its memory */
};

struct vqt_slot {
	struct list order; /* vqt_bq.inflight: in the order taken from the ring */
	struct list work;  /* vqt_bq.work: has granted bytes or a cancel to send */
	enum slot_state state;
	uint16_t gen;
	bool again;	    /* was sent in an earlier session */
	bool keyed;	    /* was sent with places: the appliance's adapters may touch them */
	bool cancel;	    /* a CANCEL has to be sent */
	bool cpl;	    /* a piece of its completion came */
	uint32_t charge;    /* unscheduled bytes, while sent */
	uint32_t granted;   /* message bytes that may be sent */
	uint32_t sent;	    /* message bytes that were */
	uint32_t cpl_total; /* message bytes of the completion */
	struct vqt_at out_at, in_at;
	struct vqt_cover cover;
	uint8_t head[VQT_HEAD]; /* of the completion */
	struct vqt_chain chain;
};

/* A request queue. */
struct vqt_bq {
	struct list inflight; /* slots by age */
	struct list work;
	unsigned ninflight; /* slots not free, fenced ones excepted */
	unsigned nunsent;
	unsigned nfree;
	uint16_t *free;
	struct vqt_slot *slots; /* depth */
};

struct vqt_vq {
	struct vqt_hdev *dev;
	void *ring;
	uint16_t index;
	enum vq_state state;
	bool mergeable;
	bool more;			/* the ring may hold chains for which no kick will come */
	struct list ready;		/* on vqt_host.ready */
	struct list blocked[RT_NCLASS]; /* on vqt_host.blocked[]: rt_send() said -EAGAIN */
	struct list starved;		/* on vqt_hdev.starved: max_inflight reached */
	struct list dirty;		/* on vqt_host.dirty: ring needs flush() */
	uint32_t tx_pos;
	uint32_t run_pos, run_len; /* FRAMES that may still grow: its position and bytes; 0: none */
	struct vqt_rx *rx;
	struct vqt_tx *tx; /* NULL: no frame is ever lent */
	struct vqt_bq *bq;
};

/* Frames by key of one transmit queue that may be lent at a time. */
#define VQT_LENT_MAX   256u
#define VQT_LENT_BYTES (2u << 20)
#define VQT_LENT_IOV   (VQT_KEYS_MAX + 8u)
/* Of all queues: fewer than the frames that the appliance lets wait, vqt_peer_cfg.net_pending. */
#define VQT_LENT_ALL 512u

enum lent_state {
	LENT_OUT,   /* until TAKEN or AGAIN */
	LENT_AGAIN, /* the bytes, or GONE, are to be sent */
	LENT_DONE,  /* goes back to the guest in its turn */
};

/* A chain that was taken from a transmit ring and not given back: it is lent, or it stands behind one that
 * is. */
struct tx_lent {
	enum lent_state state;
	bool by_key;
	bool dead; /* its queue was fenced: it is not given back, its memory not touched */
	uint16_t niov;
	uint32_t token, pos, len;
	struct iovec iov[VQT_LENT_IOV];
};

struct vqt_tx {
	unsigned first, count; /* of lent, a ring in the order taken */
	unsigned nlive;	       /* not dead */
	unsigned nagain;       /* LENT_AGAIN */
	bool waits;	       /* no more is taken until some are back */
	uint32_t bytes;	       /* of those by key that are out */
	struct tx_lent lent[VQT_LENT_MAX];
};

struct vqt_hdev {
	struct list link; /* vqt_host.devs */
	struct vqt_host *host;
	struct vqt_hdev_cfg cfg;
	bool bound;
	struct vqt_bind b;
	uint32_t inflight_bytes; /* unscheduled */
	unsigned ninflight;	 /* requests, fenced ones excepted */
	unsigned nfenced;
	unsigned nlent;	    /* chains in vqt_tx.lent that are not dead */
	unsigned nrecalled; /* pairs whose posted chains are not ours again yet */
	struct list starved;
	bool news; /* a counter has changed: vqt_hdev_news() */
	uint64_t counters[VQT_HDEV_NCOUNTERS];
	struct vqt_vq vq[];
};

struct vqt_host {
	const struct vqt_host_ops *ops;
	struct rt *rt;
	uint64_t seed;
	uint64_t now; /* of the service under way */
	bool unflushed;
	unsigned nout; /* frames that are out, of all devices */
	struct list devs;
	struct list ready;
	struct list blocked[RT_NCLASS];
	struct list dirty;
	struct list pending; /* receive queues that wait for pieces */
	bool settles;	     /* settled is known, of this session */
	uint32_t settled;    /* PSN of RT_NET up to which all is as complete as it will get */
	uint64_t counters[VQT_HOST_NCOUNTERS];
	struct vqt_chain chain; /* scratch */
	struct iovec iov[VQT_CHAIN_IOV + 1];
	struct vqt_hdev *wire[VQT_WIRE_MAX];
};

static inline void hd_count(struct vqt_hdev *d, enum vqt_hdev_counter c, uint64_t n)
{
	counter_add(&d->counters[c], n);
	d->news = true;
}

/* vqt_host.c */
void vq_stopped(struct vqt_vq *q); /* a drain has come to its end */
void vq_ready(struct vqt_vq *q);
void vq_dirty(struct vqt_vq *q);
void vq_flush(struct vqt_vq *q);
void vq_block(struct vqt_vq *q, enum rt_class cls);
void vq_broken(struct vqt_vq *q, const char *reason);
/* A message of len bytes that may grow: see rt_begin(), rt_grow() and rt_growth(). */
uint8_t *hd_grow(struct vqt_vq *q, enum rt_class cls, struct rt_rec *rec, uint32_t len);
uint8_t *hd_growth(struct vqt_vq *q, enum rt_class cls, struct rt_rec *rec, uint32_t *room);
int hd_begin(struct vqt_vq *q, enum rt_class cls, enum rt_rel rel, struct rt_rec *rec, uint32_t len,
	     uint8_t **at);
/* rt_send() of the device's record; 0, or -errno. */
int hd_send(struct vqt_vq *q, enum rt_class cls, enum rt_rel rel, struct rt_rec *rec, const struct iovec *iov,
	    unsigned n);

/* vqt_host_tx.c: each turn gives the number of chains moved (at least 1 if it did anything). */
unsigned tx_turn(struct vqt_vq *q);
/* The bytes of a frame at pos, as FRAME; 0, -EAGAIN, or what else rt_send() says. */
int tx_message(struct vqt_vq *q, enum rt_rel rel, uint32_t pos, const struct iovec *iov, unsigned n,
	       uint32_t len);

/* vqt_host_lent.c: frames by key */
int lent_create(struct vqt_vq *q);
void lent_destroy(struct vqt_vq *q);
bool lent_full(struct vqt_vq *q); /* of a queue with tx, as lent_again() */
/* Tries to send the chain by key; 1: it is lent; 0: it should go as a message; -EAGAIN: nothing happened. */
int lent_send(struct vqt_vq *q, const struct vqt_chain *c);
/* A chain whose bytes were sent: back to the guest, or behind those that are lent. */
void lent_push(struct vqt_vq *q, const struct vqt_chain *c);
/* What was asked for again; false: the transport is full. */
bool lent_again(struct vqt_vq *q);
void lent_taken(struct vqt_vq *q, const struct rt_rec *rec);
void lent_asked(struct vqt_vq *q, const struct rt_rec *rec);
void lent_fence(struct vqt_vq *q); /* all dead */
void lent_lost(struct vqt_vq *q);  /* the session is: all go back to the guest */

/* vqt_host_rx.c */
int rx_create(struct vqt_vq *q, uint32_t window, bool keys);
void rx_destroy(struct vqt_vq *q);
void rx_reset(struct vqt_vq *q, uint32_t pos); /* a new session */
void rx_stop(struct vqt_vq *q);		       /* the state is no longer RUNNING */
unsigned rx_turn(struct vqt_vq *q);
void rx_frame(struct vqt_vq *q, uint32_t psn, const struct rt_rec *rec, const uint8_t *data); /* or RESENT */
void rx_mark(struct vqt_vq *q, uint32_t psn, const struct rt_rec *rec);
void rx_placed(struct vqt_vq *q, uint32_t psn, const struct rt_rec *rec, const uint8_t *data);
void rx_chains(struct vqt_vq *q, uint32_t psn, const struct rt_rec *rec, const uint8_t *data);
void rx_settled(struct vqt_vq *q, uint32_t base);

/* vqt_host_stage.c: what has come and is not the guest's yet, by its position in the stream */
int stage_create(struct vqt_rx *rx, uint32_t window);
void stage_destroy(struct vqt_rx *rx);
struct rx_entry *stage_add(struct vqt_rx *rx, uint32_t pos, uint32_t total, uint32_t psn);
void stage_del(struct vqt_rx *rx, uint32_t pos);
/* The first entry at or after from, which lies in [next, next + window]; false: none. */
bool stage_first(const struct vqt_rx *rx, uint32_t from, uint32_t *pos);
/* Bytes of the frame at pos, or of FRAMES (many), from off on. */
void stage_put(struct vqt_rx *rx, uint32_t pos, uint32_t off, bool many, const uint8_t *data, uint32_t len);
/* The whole frame at pos, to the chains reserved for it. */
void stage_to_guest(struct vqt_rx *rx, uint32_t pos, uint32_t total);

static inline uint32_t stage_slot(const struct vqt_rx *rx, uint32_t pos)
{
	return (pos & (rx->window - 1)) / VQT_POS_ALIGN;
}

/* The entry at pos, or NULL. */
static inline struct rx_entry *stage_at(const struct vqt_rx *rx, uint32_t pos)
{
	uint32_t i = stage_slot(rx, pos);

	return rx->npending && rx->present[i / 64] >> (i % 64) & 1 ? &rx->entries[i] : NULL;
}

/* vqt_host_rxbuf.c: the guest's buffers for the head frame. */
/* Take chains for total bytes: 0, -EAGAIN (not enough posted), -E2BIG, -EMSGSIZE (not mergeable, too small),
 * -EBADMSG (and vq_broken() was called). On error none are held. */
int rx_reserve(struct vqt_vq *q, uint32_t total);
void rx_unreserve(struct vqt_vq *q);
void rx_write(struct vqt_rx *rx, uint32_t off, const uint8_t *data, uint32_t len);
void rx_commit(struct vqt_vq *q, uint32_t total);
/* All of that for one small frame, whose bytes are at hand; vq_dirty() is the caller's. */
int rx_give(struct vqt_vq *q, const uint8_t *data, uint32_t len);
/* Likewise of the first of FRAMES at data, as many as find buffers in one piece that hold them: the bytes of
 * these with their lengths. */
uint32_t rx_give_burst(struct vqt_vq *q, const uint8_t *data, uint32_t len, uint32_t *frames,
		       uint32_t *bytes);

static inline bool posts_recalled(const struct vqt_posts *p)
{
	return p && p->state == POSTS_RECALLED;
}

/* vqt_host_posts.c: chains of a receive ring, taken ahead for the appliance to write to */
int posts_create(struct vqt_vq *q);
void posts_destroy(struct vqt_vq *q);
/* The i-th chain that was taken ahead; NULL: no more. */
const struct rx_post *posts_at(const struct vqt_posts *p, unsigned i);
const struct iovec *posts_iov(const struct vqt_posts *p, const struct rx_post *k);
/* The first n went back to the guest. */
void posts_used(struct vqt_vq *q, unsigned n);
/* Does the frame of len bytes lie in chains that were said, from piece on? Those before it go back empty. */
bool posts_seek(struct vqt_vq *q, uint32_t piece, uint32_t len);
/* A frame that is worth it stands in the chains reserved. */
void posts_wanted(struct vqt_vq *q);
/* CHAINS, in its turn. */
void posts_switch(struct vqt_vq *q, bool on, uint32_t piece);
void posts_turn(struct vqt_vq *q);
/* A stop that drains: true: it has to wait for CHAINS. */
bool posts_stop(struct vqt_vq *q);
void posts_fence(struct vqt_vq *q); /* the chains are void, and written to no more */
void posts_lost(struct vqt_vq *q);  /* the session is: they are ours */

/* vqt_host_key.c */
#define VQT_KEYED_BYTES (VQT_HEAD + VQT_LEAD + VQT_SEGS_MAX * VQT_SEG)
/* The KEYED message of s; its length, 0: it goes as REQ. */
uint32_t keyed_message(struct vqt_vq *q, struct vqt_slot *s, uint8_t bytes[VQT_KEYED_BYTES]);
/* Requests that were sent are no longer waited for. */
void keyed_revoke(struct vqt_vq *q);

/* vqt_host_blk.c */
int bq_create(struct vqt_vq *q, uint32_t depth);
void bq_destroy(struct vqt_vq *q);
void bq_session_lost(struct vqt_vq *q);
void bq_fence(struct vqt_vq *q);
unsigned bq_turn(struct vqt_vq *q);
void bq_grant(struct vqt_vq *q, const struct rt_rec *rec);
void bq_completion(struct vqt_vq *q, const struct rt_rec *rec, const uint8_t *data);

#endif

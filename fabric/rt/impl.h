/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of rt; nobody outside this folder includes it (its unit tests apart).
 *
 *	rt.c	  life of an rt, door functions that only look
 *	tx.c	  rings of packets to send: filling, states, lists, the acknowledged edge
 *	output.c  which datagram goes next; sealing, resealing
 *	slice.c	  packets too large for the paths there are, in slices
 *	rx.c	  windows of received numbers: duplicates, gaps, the delivered edge
 *	ack.c	  acknowledgements: written from rx, checked and applied to tx
 *	loss.c	  which packets are lost (RACK, probe timeout), and what becomes of them
 *	cc.c	  congestion window of a path
 *	path.c	  states of paths, probes, round-trip times, choice and failover
 *	key.c	  keys of paths: found, changed, wiped
 *	mtu.c	  the size of chunks, found by probes
 *	replay.h  the window of transmission numbers already seen
 *	input.c	  one datagram in
 *
 * Numbers. Sequence numbers (psn) are 32 bits per class and compared in serial arithmetic (RFC 1982);
 * transmission numbers (txn) are 64 bits per path, start at 1 and never wrap.
 *
 * Invariant of a tx ring: base <= next <= tail <= base + window, base >= peer_cum. Slots [base, next) were
 * sent (FLIGHT, LOST or DONE; base itself is never DONE), [next, tail) are full and unsent, tail is being
 * filled.
 */
#ifndef OUTRIGGER_RT_IMPL_H
#define OUTRIGGER_RT_IMPL_H

#include "fabric/base/guard.h"
#include "fabric/rt/replay.h"
#include "fabric/rt/rt.h"
#include "proto/wire/wire.h"

#define RT_NEVER UINT64_MAX

#define RT_WINDOW_MIN 64u
#define RT_WINDOW_MAX 4096u
#define RT_ACK_EVERY  256u

#define RT_BACKOFF_MAX	 3u /* probe timeouts grow to 8 times: 64 times gave 90 ms stalls at 50 % loss */
#define RT_RTO_UNKNOWN	 (10 * 1000000ull) /* before the first round-trip time */
#define RT_NET_RETRIES	 3u /* 2 would lose 0.8 % of frames of 64 KiB at 5 % loss, 3 lose 0.04 % */
#define RT_REO_PACKETS	 3u /* sent later and arrived: lost, while no reordering was seen */
#define RT_REO_MAX	 8u /* quarters of a round trip */
#define RT_PROBE_GAP	 (10 * 1000000ull) /* between probes of a path that does not answer */
#define RT_PROBE_FIRST	 (1000000ull)	   /* between the first probes of a new path; doubles */
#define RT_PROBE_SUSPECT 2u		   /* unanswered probes */
#define RT_PROBE_DEAD	 5u
#define RT_BACKUP_NS	 (100 * 1000000ull) /* silence of a path after which all moves to a mere backup */
#define RT_REPATH_ROUNDS 8u		    /* congested ones */
#define RT_SCRATCH	 16u		    /* datagrams of acknowledgements and probes per rt_output() */

static inline int32_t psn_diff(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b);
}

enum slot_state { SLOT_EMPTY, SLOT_FLIGHT, SLOT_LOST, SLOT_DONE };

#define SLOT_NIL 0xffffu

/* What is known of one packet; the bytes are in tx_ring.mem. */
struct tx_slot {
	uint64_t txn;	     /* of the last transmission */
	uint64_t sent;	     /* time of it */
	uint32_t off;	     /* place in mem */
	uint16_t cap;	     /* bytes of payload that fit there */
	uint16_t len;	     /* bytes of records (zero padding included) */
	uint16_t sealed;     /* payload bytes of the last transmission: len and an ack area */
	uint16_t prev, next; /* on a list; slot indexes */
	uint8_t state;	     /* enum slot_state */
	uint8_t path;	     /* of the last transmission */
	uint8_t rel;	     /* enum rt_rel: the strongest of its messages */
	uint8_t rexmits;
	bool plain;  /* not sealed: the key that sealed it is gone, or it went in slices */
	bool sliced; /* goes in slices for ever */
	uint8_t gen; /* of the key that sealed it: path.gen */
};

/* Slots in order of transmission. */
struct slot_list {
	uint16_t head, tail;
};

/* Sending half of a class. */
struct tx_ring {
	uint8_t *mem;	       /* datagrams one behind the other: header, chunk, tag */
	struct tx_slot *slots; /* by psn & mask */
	uint64_t *done;	       /* bit psn & mask: SLOT_DONE, of [base, next) */
	uint32_t window, mask, chunk;
	uint32_t chunk_next; /* asked for, and taken as soon as there is room for it */

	uint32_t around; /* bytes besides the chunk in a datagram */
	uint32_t size;	 /* bytes of mem that are used: what a window of the present chunks needs, to keep
			    caches warm */
	uint32_t end;	 /* of them up to the last chunk */
	uint32_t base, next, tail;
	uint32_t used;	   /* bytes in the slot at tail */
	uint8_t tail_rel;  /* of the slot at tail */
	uint32_t open;	   /* where in the slot at tail the message that may grow begins, + 1; 0: none may */
	uint64_t open_key; /* of that message: tx_key() */
	bool flushed;	   /* the slot at tail may go although it is not full */
	uint32_t want;	   /* chunks that a refused rt_send() needed; 0: none was refused */
	uint32_t peer_cum, peer_rwnd;
	uint32_t flying; /* slots in SLOT_FLIGHT */
	struct slot_list flight[RT_PATHS], lost;
	uint64_t echo[RT_PATHS];   /* largest txn of this class that the peer saw per path */
	uint64_t acked[RT_PATHS];  /* largest txn of an acknowledged slot: to see reordering */
	uint64_t reo_at[RT_PATHS]; /* the head of flight[] will then have waited long enough */
	uint64_t pto_from;	   /* last progress, probe or first transmission */
	uint64_t unheard_from;	   /* pto_from before the first of the timeouts in a row */
	uint32_t backoff;
	uint32_t probes;  /* transmissions allowed beyond the congestion window, and asking for an answer */
	bool floor_owed;  /* base moved over given-up packets: the peer must be told */
	bool floor_asked; /* and must answer */
};

/* Receiving half of a class. */
struct rx_win {

	uint64_t *bits;	  /* bit psn & mask: received, of [cum, cum + window) */
	uint16_t *slices; /* by psn & mask: slices received of a packet that is not complete; NULL: none can
			     come */
	uint32_t window, mask;
	uint32_t cum;	   /* next number expected */
	uint32_t high;	   /* 1 + highest number received */
	uint32_t owed;	   /* packets since the last acknowledgement */
	uint32_t owed_max; /* so many are acknowledged at once */
	bool due;	   /* acknowledge now */
	bool soon;	   /* at the end of the burst: WIRE_F_ACK_SOON */
	uint8_t last_path;
	uint8_t fresh;		    /* bit per path: echo[] not reported yet */
	uint64_t echo[RT_PATHS];    /* largest txn received */
	uint64_t echo_at[RT_PATHS]; /* when */
};

#define CC_ONE	    256u
#define CC_PACED    (8 * CC_ONE)       /* smaller windows are */
#define RT_PHASE_NS (100 * 1000000ull) /* between the moments when busy senders let queues run empty */

/* Congestion control of a path: see cc.c. */
struct cc {
	uint32_t cwnd; /* packets, in 1/256 */
	uint32_t step; /* growth per round trip, likewise */
	bool slow_start;
	bool limited;	      /* since the last pause the window was what limited */
	bool round_limited;   /* likewise, in this round */
	bool calm;	      /* the last round gives leave to grow */
	bool cut, was_cut;    /* the last round ended with a cut, and the one before */
	uint64_t spare;	      /* delay above the base round trip that is aimed at */
	uint64_t rtt, noise;  /* of the last round; how much rounds differ */
	uint64_t pace_at;     /* when the next packet may go, if paced */
	uint64_t pause_until; /* nothing new before */
	uint64_t empty_at;    /* what was in flight before the pause has arrived: probe; 0: not pausing */
	uint64_t paused_at;   /* start of the last pause */
	uint64_t round_txn;   /* the round ends when this is echoed */
	uint64_t round_rtt;   /* least of it */
	uint64_t round_all;   /* least with all that hosts add */
	uint32_t round_acked, round_lost, round_ce;
	uint32_t over;	      /* round trips above the target, in a row, of the slow start */
	uint32_t round_pairs; /* lost ones whose predecessor was lost too */
	uint64_t lost_txn;    /* the last lost one */
	uint32_t ce_part;     /* smoothed part of marked packets, 1/256 */
	uint32_t loss;	      /* smoothed part of lost packets, 1/65536 */
	uint32_t hot;	      /* rounds with a cut, lately */
	uint32_t quiet;	      /* rounds since the last one */
};

struct path {
	bool used;
	uint8_t backup; /* rt_path_cfg.backup */
	uint8_t state;	/* enum rt_path_state */
	uint32_t tx_spi, rx_spi;
	struct aead_key *tx_key, *rx_key;
	/* Rekeying: new until the peer uses them (receive) or is known to have them (send), old until
	 * wipe_at. 0 and NULL: none. */
	struct path_keys {
		uint32_t tx_spi, rx_spi;
		struct aead_key *tx_key, *rx_key;
	} fresh, old;
	uint64_t wipe_at;
	uint8_t gen; /* counts changes of tx_key */

	uint64_t txn; /* of the next transmission; goes on for a path number's next keys and next life */
	struct replay replay;
	uint16_t ce_seen, ce_peer;
	uint8_t phase_peer; /* the peer's clock as last seen; 2: not yet */

	uint64_t ack_wait;     /* how long the peer takes to acknowledge, at most, lately */
	uint64_t srtt, rttvar; /* of round trips with all that hosts add: timers */
	uint64_t rtt_all;      /* the last of them */
	uint64_t min_rtt, min_rtt_old, min_rtt_at; /* without: the path's own */
	uint32_t proven;    /* payload that was seen to get through; at least cfg.chunk */
	uint64_t mtu_at;    /* next probe of a larger one, or RT_NEVER */
	uint64_t mtu_stamp; /* of the probe on its way; 0: none */
	uint32_t mtu_next, mtu_tries, big_lost;
	uint64_t big_from; /* txn: what was sent before flew together with a large packet that arrived */
	uint32_t reo_mult; /* quarters of srtt that reordering is given; 0: none was seen */
	bool reo_recent;
	uint32_t inflight;
	struct cc cc;

	uint64_t stamp_first, stamp; /* first and last of the probes that wait for an answer; 0: none */
	uint64_t probe_at;	     /* when to send the next, or RT_NEVER */
	uint64_t probe_gap;
	uint32_t misses;
	bool probe_due, reply_due;
	uint64_t reply_stamp;

	uint64_t last_rx, tx_packets, rx_packets, retransmits;
	uint64_t tx_mark;	 /* tx_packets at the last keepalive */
	uint32_t share_permille; /* of the data sent between the last two keepalives */
	uint64_t acked_at; /* when a packet sent here was last acknowledged: then both directions work */
};

struct rt {
	struct rt_cfg cfg;
	uint32_t tag;
	struct tx_ring tx[RT_NCLASS];
	struct rx_win rx[RT_NCLASS];
	struct path path[RT_PATHS];
	int primary;	     /* path that carries data, or -1 */
	unsigned npath;	     /* 1 + the highest number of a path there ever was: the others need no look */
	uint32_t turn;	     /* class that is served first by the next rt_output() */
	uint64_t keep_at;    /* next keepalive */
	bool quiet;	     /* nothing but keepalives was sent since the last but one */
	uint64_t ack_at;     /* acknowledgements that wait for company are due then; or RT_NEVER */
	uint32_t ack_vain;   /* times in a row that they waited in vain, ACK_VAIN_MAX at most */
	uint32_t ack_hurry;  /* bursts whose acknowledgements do not wait, after one that waited in vain */
	uint32_t ack_bursts; /* that the waiting ones are of */
	bool burst_fed;	     /* something to acknowledge came since the last end of a burst */
	uint64_t burst_at;   /* end of the last burst that brought something */
	uint64_t burst_last, burst_gap; /* before it; the larger of the last two gaps */
	uint64_t pace_at; /* something waits for this time only, since the last rt_output(); or RT_NEVER */
	uint8_t phase;	  /* own clock as last seen */
	uint64_t last_rx;
	uint64_t lay; /* how long the datagram that is being taken lay at this host */

	bool lost;
	bool wanted; /* a class refused a message (tx_ring.want): not looked for after each packet otherwise
		      */
	uint32_t chunk;	  /* of new packets */
	uint8_t *scratch; /* RT_SCRATCH slots of scratch_stride bytes */
	uint32_t scratch_stride, scratch_used;
	uint64_t counters[RT_NCOUNTERS];
};

static inline void count(struct rt *rt, enum rt_counter c)
{
	counter_add(&rt->counters[c], 1);
}

static inline bool path_usable(const struct path *p)
{
	return p->used && (p->state == RT_PATH_UP || p->state == RT_PATH_SUSPECT);
}

/* tx.c. idx: a slot index, psn & mask. */
int tx_init(struct tx_ring *t, uint32_t window, uint32_t chunk, uint32_t chunk_max, uint32_t tag,
	    uint32_t psn);
void tx_fini(struct tx_ring *t);
static inline uint32_t tx_psn(const struct tx_ring *t, uint32_t idx)
{
	return t->base + ((idx - t->base) & t->mask);
}
static inline uint8_t *tx_mem(const struct tx_ring *t, uint32_t psn)
{
	return t->mem + t->slots[psn & t->mask].off;
}
/* A packet that was never sent may go now. */
static inline bool tx_has_new(const struct tx_ring *t)
{
	return t->next != t->tail || (t->flushed && t->used);
}
static inline bool tx_empty(const struct tx_ring *t)
{
	return t->base == t->tail && !t->used;
}
/* Chunks that a message of len bytes takes beyond the one being filled; *first: bytes that go there. */
uint32_t tx_need(const struct tx_ring *t, uint32_t len, uint32_t *first);
/* Chunks that can still be begun. */
uint32_t tx_avail(const struct tx_ring *t);
int tx_put(struct tx_ring *t, enum rt_rel rel, const struct rt_rec *rec, const struct iovec *iov,
	   uint32_t len);
/* rt_begin(), rt_grow(): the place of the bytes; NULL: no room. */
uint8_t *tx_begin(struct tx_ring *t, enum rt_rel rel, const struct rt_rec *rec, uint32_t len);
static inline uint64_t tx_key(const struct rt_rec *rec)
{
	return (uint64_t)rec->kind << 56 | (uint64_t)rec->queue << 48 | (uint64_t)rec->dev << 32 | rec->id;
}
static inline uint8_t *tx_growth(const struct tx_ring *t, const struct rt_rec *rec, uint32_t *room)
{
	if (!t->open || t->open_key != tx_key(rec))
		return NULL;
	*room = t->chunk - t->used;
	return tx_mem(t, t->tail) + WIRE_HDR_LEN + t->used;
}
static inline uint8_t *tx_grow(struct tx_ring *t, const struct rt_rec *rec, uint32_t len)
{
	uint8_t *head, *at;

	if (!t->open || t->open_key != tx_key(rec) || len > t->chunk - t->used)
		return NULL;
	at = tx_mem(t, t->tail) + WIRE_HDR_LEN;
	head = at + t->open - 1;
	at += t->used;
	t->used += len;
	t->flushed = false;
	wire_rec_grow(head, (uint16_t)(at + len - head - WIRE_REC_LEN));
	return at;
}
/* Ends the chunk at tail, padded to full size; a no-op on an empty one. */
void tx_close_tail(struct tx_ring *t, bool pad);
/* Later chunks have this size. */
void tx_resize(struct tx_ring *t, uint32_t chunk);
static inline void list_push(struct tx_ring *t, struct slot_list *l, uint32_t idx)
{
	struct tx_slot *s = &t->slots[idx];

	s->next = SLOT_NIL;
	s->prev = l->tail;
	if (l->tail == SLOT_NIL)
		l->head = (uint16_t)idx;
	else
		t->slots[l->tail].next = (uint16_t)idx;
	l->tail = (uint16_t)idx;
}
static inline void list_unlink(struct tx_ring *t, struct slot_list *l, uint32_t idx)
{
	struct tx_slot *s = &t->slots[idx];

	if (s->prev == SLOT_NIL)
		l->head = s->next;
	else
		t->slots[s->prev].next = s->next;
	if (s->next == SLOT_NIL)
		l->tail = s->prev;
	else
		t->slots[s->next].prev = s->prev;
}
/* A sent slot needs no more transmission: off its list and out of the counts. tx_done_to() must follow. */
static inline void tx_landed(struct rt *rt, struct tx_ring *t, uint32_t idx)
{
	struct tx_slot *s = &t->slots[idx];

	if (s->state == SLOT_FLIGHT) {
		list_unlink(t, &t->flight[s->path], idx);
		rt->path[s->path].inflight--;
		t->flying--;
	} else {
		list_unlink(t, &t->lost, idx);
	}
	s->state = SLOT_DONE;
}
/* All slots below psn <= next are DONE: base moves there, and on. */
void tx_done_to(struct tx_ring *t, uint32_t psn);
/* Likewise one slot, wherever it is, and base moves if it was that. */
void tx_done(struct rt *rt, struct tx_ring *t, uint32_t idx);
/* Calls writable() for classes that refused a message and have room for it now. */
void tx_wake_wanted(struct rt *rt);
static inline void tx_wake(struct rt *rt)
{
	if (rt->wanted)
		tx_wake_wanted(rt);
}

/* rx.c */
int rx_init(struct rx_win *w, uint32_t window, uint32_t psn, bool slices);
void rx_fini(struct rx_win *w);
static inline bool rx_has(const struct rx_win *w, uint32_t psn)
{
	return w->bits[(psn & w->mask) >> 6] >> (psn & 63) & 1;
}
/* Is floor believable: not beyond the window? */
static inline bool rx_floor_ok(const struct rx_win *w, uint32_t floor)
{
	return psn_diff(floor, w->cum) <= (int32_t)w->window;
}
/* Everything missing below floor was given up. Returns how many were missing. */
uint32_t rx_floor(struct rx_win *w, uint32_t floor);
enum rx_verdict { RX_NEW, RX_DUPLICATE, RX_OUTSIDE };
static inline enum rx_verdict rx_look(const struct rx_win *w, uint32_t psn)
{
	int32_t d = psn_diff(psn, w->cum);

	if (!d)
		return RX_NEW; /* else cum were beyond it */
	if (d < 0)
		return RX_DUPLICATE;
	if (d >= (int32_t)w->window)
		return RX_OUTSIDE;
	return GUARD(dedupe, !rx_has(w, psn)) ? RX_NEW : RX_DUPLICATE;
}
/* Takes a psn that is RX_NEW, and not the next after all that came. True: it left a gap. */
bool rx_take_gap(struct rx_win *w, uint32_t psn);
/* Takes a psn that is RX_NEW. True: it left a gap. */
static inline bool rx_take(struct rx_win *w, uint32_t psn)
{
	if (psn != w->cum || psn != w->high)
		return rx_take_gap(w, psn);
	w->cum = w->high = psn + 1; /* in order, the common case: no bit is ever set */
	return false;
}
/* A packet of the class came on path with txn. */
static inline void rx_echo(struct rx_win *w, unsigned path, uint64_t txn, uint64_t now)
{
	w->last_path = (uint8_t)path;
	if (txn <= w->echo[path])
		return;
	w->echo[path] = txn;
	w->echo_at[path] = now;
	w->fresh |= (uint8_t)(1u << path);
}

/* slice.c */
struct slicer {
	struct cur_r c;
	struct wire_rec r; /* what is left of the record begun */
	const uint8_t *data;
	bool left;
};
/* Payload of a slice, so that its datagram is not larger than those of the least chunks. */
static inline uint32_t slice_room(const struct rt *rt)
{
	return rt->cfg.chunk - WIRE_SLICE_LEN;
}
void slice_begin(struct slicer *s, const uint8_t *payload, uint32_t len);
/* The records of the next slice, room bytes at most, to out (NULL: nowhere). Returns their bytes; 0: all
 * done. */
uint32_t slice_next(struct slicer *s, uint8_t *out, uint32_t room);
unsigned slice_count(const uint8_t *payload, uint32_t len, uint32_t room);
/* What a slice of psn is to the window; a new one is noted. *all: the packet is complete now, for rx_take().
 */
enum rx_verdict slice_take(struct rx_win *w, uint32_t psn, unsigned index, unsigned count, bool *all);

/* ack.c */
/* Appends what classes with something to report have to say, as far as it fits; due: only if it is due.
 * Returns a bit per class written. */
unsigned ack_write(struct rt *rt, struct cur_w *w, bool due, uint64_t now);
bool ack_any_due(const struct rt *rt);
bool ack_any_owed(const struct rt *rt);
/* The end of a burst. */
void ack_settle(struct rt *rt, uint64_t now);
void ack_tick(struct rt *rt, uint64_t now);
/* The header's cum_ack, which is beyond the last known. */
void ack_hdr_apply(struct rt *rt, const struct wire_hdr *h, uint64_t now);
/* Every block of c has the form, and names nothing that was not sent. */
bool ack_blocks_ok(const struct rt *rt, struct cur_r c);
void ack_blocks_apply(struct rt *rt, struct cur_r c, uint64_t now);

/* loss.c */
uint64_t loss_rto(const struct rt *rt, const struct tx_ring *t);
void loss_detect(struct rt *rt, unsigned cls, unsigned path, uint64_t now);
/* All that flies on path goes to the lost lists. */
void loss_move(struct rt *rt, unsigned path, uint64_t now);
uint64_t loss_deadline(const struct rt *rt);
void loss_tick(struct rt *rt, uint64_t now);

/* cc.c. rtt 0: no sample with this acknowledgement. */
void cc_init(struct cc *cc, uint64_t spare);
static inline uint32_t cc_window(const struct cc *cc)
{
	return cc->cwnd >> 8;
}
/* Another packet fits into the window. */
static inline bool cc_room(const struct path *p)
{
	return p->inflight < cc_window(&p->cc) || !p->inflight;
}
static inline bool cc_paced(const struct cc *cc)
{
	return cc->cwnd < CC_PACED;
}
/* When the next packet may go as far as time is concerned; a past time: now. */
static inline uint64_t cc_when(const struct cc *cc)
{
	return cc_paced(cc) && cc->pace_at > cc->pause_until ? cc->pace_at : cc->pause_until;
}
void cc_acked(struct path *p, uint32_t packets, uint64_t rtt);
void cc_lost(struct path *p, uint64_t txn);
void cc_echo(struct path *p, uint64_t txn);
void cc_sent(struct path *p, uint64_t now); /* of a paced path only */
/* Lets the path run empty if it was full. */
void cc_pause(struct path *p, uint64_t now);

/* key.c */
/* The nonce of a datagram stands in its header. */
static inline const uint8_t *key_nonce(const uint8_t *hdr)
{
	return hdr + WIRE_NONCE_AT;
}
/* The key of a datagram's SPI, of keys that change; NULL: none. */
struct aead_key *key_changing(const struct path *p, uint32_t spi);
/* The key of path p for a datagram's SPI; NULL: it has none. */
static inline struct aead_key *key_find(const struct path *p, uint32_t spi)
{
	return p->used && p->rx_spi == spi ? p->rx_key : key_changing(p, spi);
}
/* Is spi received, on any path? */
bool key_known(const struct rt *rt, uint32_t spi);
/* An authentic packet came under spi. */
void key_heard(struct rt *rt, struct path *p, uint32_t spi, uint64_t now);
/* The packet in slot psn, which is not DONE, as it was before it was sealed. */
void key_reopen(struct rt *rt, struct tx_ring *t, uint32_t psn);
void key_tick(struct rt *rt, unsigned path, uint64_t now);

/* mtu.c */
/* Chunks have the least size proven on a usable path. */
void mtu_update(struct rt *rt);
/* A path is as narrow as said, until probes say more. */
void mtu_start(struct rt *rt, unsigned path, uint64_t now);
/* A whole packet larger than cfg.chunk was lost there; timeout: nothing says that later ones arrived. True:
 * the path is held for narrow from now on. */
bool mtu_big_lost(struct rt *rt, unsigned path, bool timeout, uint64_t now);
/* The reply to a probe; false: not to one of size. */
bool mtu_reply(struct rt *rt, unsigned path, uint64_t stamp, uint64_t now);
uint64_t mtu_deadline(const struct rt *rt);
/* Payload of a probe to be sent now, or 0. */
uint32_t mtu_probe(struct rt *rt, unsigned path, uint64_t now, uint64_t *stamp);

/* path.c */
static inline uint64_t path_base_rtt(const struct path *p)
{
	return p->min_rtt_old && p->min_rtt_old < p->min_rtt ? p->min_rtt_old : p->min_rtt;
}
/* A round trip, of which packet and acknowledgement lay at the hosts for `hosts`; the path's part of it. */
uint64_t path_rtt(struct path *p, uint64_t rtt, uint64_t hosts, uint64_t now);
void path_state(struct rt *rt, unsigned path, enum rt_path_state state, uint64_t now);
/* Nothing came back on path although it should: prefer another. */
void path_suspect(struct rt *rt, unsigned path, uint64_t now);
/* Its silence since `asked`, when an answer was asked for, is no reason yet to move all to a mere backup. */
bool path_spared(const struct rt *rt, unsigned path, uint64_t asked, uint64_t now);
int path_other(const struct rt *rt, int path);
/* The first packet of a path that was not usable. */
void path_awake(struct rt *rt, unsigned path, uint64_t now);
/* An authentic packet came. */
static inline void path_heard(struct rt *rt, unsigned path, uint64_t now)
{
	struct path *p = &rt->path[path];

	p->last_rx = rt->last_rx = now;
	p->rx_packets++;
	rt->lost = false;
	if (p->state == RT_PATH_PROBING || p->state == RT_PATH_DOWN)
		path_awake(rt, path, now);
}
void path_probe(struct rt *rt, unsigned path, const struct wire_probe *b, bool reply, uint64_t now);
uint64_t path_deadline(const struct rt *rt);
void path_tick(struct rt *rt, uint64_t now);
void path_choose(struct rt *rt);
/* The path was congested for long: another one is primary from now on, if it looks better. */
void path_repath(struct rt *rt, unsigned path);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this room share. Nobody else includes it. */
#ifndef OUTRIGGER_VHOST_INT_H
#define OUTRIGGER_VHOST_INT_H

#include <endian.h>

#include "hostagent/vhost/vhost.h"
#include "hostagent/vhost/vhost_mem.h"

enum ring_state {
	RING_IDLE,     /* not started; messages may change it */
	RING_RUNNING,  /* the layer above pops it */
	RING_STOPPING, /* the layer above finishes what it holds */
};

struct vhost_ring;

/* What differs between split and packed rings. A table of the running ring, see vhost_ring.c. */
struct ring_layout {
	/* Find the ring in the current memory table. -EFAULT, -EINVAL (alignment). */
	int (*remap)(struct vhost_ring *r);
	/* Where to go on. -ENOMEM, -EPROTO (inflight region does not fit), -ERANGE (base). */
	int (*start)(struct vhost_ring *r);
	void (*stop)(struct vhost_ring *r); /* base := where a new start goes on */
	int (*pop)(struct vhost_ring *r, struct vqt_chain *c);
	void (*unpop)(struct vhost_ring *r, unsigned n);
	void (*push)(struct vhost_ring *r, uint16_t token, uint32_t written);
	/* As vqt_ring_ops.pop_burst(), of a ring without an inflight region or chains to take again. */
	unsigned (*pop_burst)(struct vhost_ring *r, struct vqt_piece *p, unsigned n, bool in, uint32_t max);
	void (*flush)(struct vhost_ring *r);
};
extern const struct ring_layout ring_split;  /* vhost_split.c */
extern const struct ring_layout ring_packed; /* vhost_packed.c */

/* A packed ring's private account of one descriptor that was taken. */
struct packed_slot {
	uint16_t next;	    /* of the chain, or of the free list */
	uint16_t last, num; /* of the chain; at its first slot alone */
	uint16_t id;	    /* buffer ID, likewise */
};

struct vhost_ring {
	struct vhost *v;
	uint16_t index;

	/* Told by messages. */
	uint16_t num; /* 0: not set */
	bool enabled;
	bool have_addr;
	uint64_t desc_uva, avail_uva, used_uva;
	uint32_t base;		      /* where the next start goes on */
	uint32_t told;		      /* the base as the front-end knows it */
	bool log_used;		      /* writes to the ring are to be logged */
	uint64_t log_gpa;	      /* where its used part counts as lying */
	int kick_fd, call_fd, err_fd; /* -1: none */

	enum ring_state state;
	bool broken;	   /* pop() gives -EBADMSG until the front-end sets the ring up again */
	bool reply_base;   /* a GET_VRING_BASE waits for the drain */
	bool first_signal; /* the one notification after a start is still owed */

	/* Valid from start to drained. Shared memory is written by the guest at any time. */
	const struct ring_layout *layout;
	bool event_idx, indirect;
	uint8_t pad;	 /* bytes to add to a short net header: 2 or 0 */
	uint8_t sink[2]; /* where num_buffers goes when the guest's header has no room for it; never read */
	const volatile struct vring_desc *desc; /* guest writes */
	volatile struct vring_avail *avail;	/* guest writes */
	volatile struct vring_used *used;	/* we write */
	struct inflight_queue *inflight;	/* we write, the front-end keeps; NULL: net */
	/* The same of a packed ring. */
	volatile struct vring_packed_desc *pdesc;	  /* both write */
	const volatile struct vring_packed_event *driver; /* guest writes */
	volatile struct vring_packed_event *device;	  /* we write */
	struct inflight_packed *pinflight;
	struct saved_ring *saved; /* net: chains pushed and not yet published */

	/* Free-running. Of a packed ring these count descriptors, and the bit above the slot number says
	 * which time round it is: see vhost_packed.c. */
	uint16_t last_avail; /* next to take */
	uint16_t avail_seen; /* avail->idx when last read */
	uint16_t used_idx;   /* next used element */
	uint16_t signalled;  /* used_idx when notification was last decided */
	bool armed;	     /* the guest was asked to kick */
	uint32_t chains;     /* ever taken */
	uint64_t npopped;    /* chains taken from the avail ring since the start, less those put back */
	uint64_t counter;    /* last inflight counter given */

	struct vhost_mem **held;      /* [num] by token: the table its chain points into; NULL: not taken */
	uint16_t *taken;	      /* [num] by avail index (packed: npopped): the token taken there */
	struct packed_slot *slots;    /* [num] of a packed ring; a chain's token is its first slot */
	uint16_t free_slot;	      /* first of the free list; num: none */
	struct saved_ring *own_saved; /* where nothing outlives us; NULL: not needed */
	uint16_t *resub;	      /* [resub_n] heads to take again, in their old order; NULL: none */
	uint16_t resub_n, resub_at;
	uint16_t alloc_num; /* size of held, taken and slots */
};

struct vhost {
	struct vhost_config cfg;
	uint8_t config[VHOST_CONFIG_MAX];
	uint16_t config_len;
	const struct vhost_sys *sys;
	void *sys_arg;
	const struct vhost_fx *fx;
	void *fx_arg;

	uint64_t acked;	      /* features, VHOST_F_PROTOCOL_FEATURES included */
	bool have_features;   /* SET_FEATURES came on this connection */
	uint64_t proto_acked; /* protocol features */
	int backend_fd;	      /* -1: none */
	struct vhost_mem *mem;
	bool fault; /* written by the SIGBUS handler */
	bool fault_told;

	struct vhost_map inflight_map; /* at == NULL: none */
	uint16_t inflight_queues, inflight_qsize;

	struct vhost_map log_map; /* dirty log; at == NULL: none */
	int log_fd;		  /* told of news in it; -1: none */
	bool log_news;		  /* marked since it was told */

	unsigned waiting; /* queues with reply_base */
	bool news;	  /* a counter has changed: vhost_news() */
	uint64_t counters[VHOST_NCOUNTERS];
	struct vhost_ring rings[];
};

static inline uint64_t vhost_offered(const struct vhost *v)
{
	return v->cfg.features | VHOST_F_PROTOCOL_FEATURES | VHOST_F_LOG_ALL;
}

static inline bool vhost_faulted(const struct vhost *v)
{
	return __atomic_load_n(&v->fault, __ATOMIC_RELAXED);
}

static inline void vhost_count(struct vhost *v, enum vhost_counter c)
{
	counter_add(&v->counters[c], 1);
	v->news = true;
}

/* vhost_ring.c: what both layouts share. */
/* Find the ring in the current memory table, and set up counters and lists; state is the caller's.
 * Errors of ring_layout's remap() and start(). */
int ring_start(struct vhost_ring *r);
int ring_remap(struct vhost_ring *r); /* after a new memory table, while running */
void ring_stop(struct vhost_ring *r); /* forget every chain held */
void ring_free(struct vhost_ring *r);
void ring_signal_start(struct vhost_ring *r); /* the one notification after a start */
void ring_break(struct vhost_ring *r, const char *reason);
/* For layouts. */
int ring_fail(struct vhost_ring *r, const char *reason); /* break it: -EBADMSG */
static inline void ring_hold(struct vhost_ring *r, uint16_t token)
{
	r->held[token] = vhost_mem_ref(r->v->mem);
	r->chains++;
	vhost_count(r->v, VHOST_C_chains);
}
/* Likewise n chains whose tokens are held already. */
static inline void ring_hold_burst(struct vhost_ring *r, unsigned n)
{
	r->v->mem->refs += n;
	r->chains += n;
	r->npopped += n;
	counter_add(&r->v->counters[VHOST_C_chains], n);
	r->v->news = true;
}
static inline void ring_release(struct vhost_ring *r, uint16_t token)
{
	vhost_mem_put(r->held[token]);
	r->held[token] = NULL;
}
/* A chain is about to be popped, so many after the next: its bytes lie in the cache of the processor that the
 * guest is on, and are on their way meanwhile. What the descriptor says is not believed, only looked up. */
#define RING_AHEAD 8u
static inline void ring_fetch(const struct vhost_ring *r, uint64_t gpa)
{
	const uint8_t *at = vhost_mem_at(r->v->mem, gpa, 128);

	if (at && r->index % 2) { /* of a vNIC: transmitted */
		__builtin_prefetch(at);
		__builtin_prefetch(at + 64);
	} else if (at) {
		__builtin_prefetch(at, 1);
		__builtin_prefetch(at + 64, 1);
	}
}
/* The burst is copied when all of it was popped: its bytes are on their way meanwhile, as above. */
static inline void piece_fetch(const struct vqt_piece *p, bool in)
{
	if (in) {
		__builtin_prefetch(p->at, 1);
		__builtin_prefetch(p->at + 64, 1);
	} else {
		__builtin_prefetch(p->at);
		__builtin_prefetch(p->at + 64);
	}
}
void ring_call(struct vhost_ring *r, bool wanted); /* after a burst: notify the guest if it wants to be */
/* virtio 1.2 section 2.7.10: has `now` passed `event` since `old`? */
static inline bool ring_need_event(uint16_t event, uint16_t now, uint16_t old)
{
	return (uint16_t)(now - event - 1) < (uint16_t)(now - old);
}

/* vhost_walk.c: one descriptor chain, validated on private copies. NULL, or what is wrong with it. */
const char *split_walk(struct vhost_ring *r, uint16_t head, struct vqt_chain *c);
/* One descriptor of either ring on its way into a chain. */
struct walk_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags;
	uint16_t next; /* packed: buffer ID */
};
/* Two single loads: what is checked is what is used. */
static inline struct walk_desc ring_desc(const volatile struct vring_desc *d)
{
	const volatile uint64_t *w = (const volatile uint64_t *)d;
	uint64_t addr = le64toh(w[0]), rest = le64toh(w[1]);

	return (struct walk_desc){addr, (uint32_t)rest, (uint16_t)(rest >> 32), (uint16_t)(rest >> 48)};
}
const char *walk_add(const struct vhost_mem *m, struct vqt_chain *c, const struct walk_desc *d);
/* Most chains are one descriptor in one region: true, and it is all of c. What is else, or wrong, walk_add()
 * finds. */
static inline bool walk_one(const struct vhost_ring *r, struct vqt_chain *c, const struct walk_desc *d)
{
	bool in = d->flags & VRING_DESC_WRITE;
	uint8_t *at;

	if (d->flags & (VRING_DESC_NEXT | VRING_DESC_INDIRECT) || r->pad || !d->len || d->len > INT32_MAX)
		return false;
	at = vhost_mem_at(r->v->mem, d->addr, d->len);
	if (!at)
		return false;
	c->nout = !in;
	c->nin = in;
	c->out_len = in ? 0 : d->len;
	c->in_len = in ? d->len : 0;
	c->iov[0] = (struct iovec){at, d->len};
	return true;
}
/* Is it all of a chain, of one piece in one region, of max bytes at most? */
static inline bool walk_piece(const struct vhost_ring *r, const struct walk_desc *d, bool in, uint32_t max,
			      struct vqt_piece *p)
{
	uint16_t kind = d->flags & (VRING_DESC_NEXT | VRING_DESC_INDIRECT | VRING_DESC_WRITE);

	if (kind != (in ? VRING_DESC_WRITE : 0) || !d->len || d->len > max)
		return false;
	p->len = d->len;
	p->at = vhost_mem_at(r->v->mem, d->addr, d->len);
	return p->at != NULL;
}
/* The indirect table that `at` points to: entries in `table`, how many in *n. */
#define INDIRECT_MAX 256u
const char *walk_table(const struct vhost_ring *r, const struct walk_desc *at, void *table, uint32_t *n);
void walk_end(struct vhost_ring *r,
	      struct vqt_chain *c); /* the chain is complete: widen a short net header */

/* vhost_inflight.c */
uint64_t inflight_queue_size(const struct vhost *v, uint16_t qsize); /* bytes of one queue's part */
/* Attach r to its part of the region, and take over what a predecessor left in flight. */
int inflight_start(struct vhost_ring *r);
void inflight_take(struct vhost_ring *r, uint16_t head);
void inflight_untake(struct vhost_ring *r, uint16_t head);
int inflight_get(struct vhost *v, struct vhost_inflight_desc *d); /* a new region's fd or -errno */
int inflight_set(struct vhost *v, const struct vhost_inflight_desc *d, int fd);
void inflight_drop(struct vhost *v);
/* Bytes of r's part of the region; NULL in *part: there is no region. -EPROTO: r is not in it. */
int inflight_part(const struct vhost_ring *r, void **part, uint64_t *size);
/* Requests to take again: an order to sort by, and a head. */
struct inflight_mark {
	uint64_t counter;
	uint16_t head;
};
int inflight_resubmit(struct vhost_ring *r, struct inflight_mark *marks, unsigned n); /* -ENOMEM */

/* vhost_pinflight.c: the same of a packed ring. */
int pinflight_start(struct vhost_ring *r);
void pinflight_note(struct vhost_ring *r, uint16_t slot,
		    const struct walk_desc *d);		    /* one descriptor taken */
void pinflight_take(struct vhost_ring *r, uint16_t head);   /* the chain is whole */
void pinflight_untake(struct vhost_ring *r, uint16_t head); /* and was not used after all */
struct walk_desc pinflight_desc(const struct vhost_ring *r, uint16_t slot);
/* A completion: before and after the used descriptor is written. */
void pinflight_completing(struct vhost_ring *r, uint16_t head, uint16_t used);
void pinflight_completed(struct vhost_ring *r, uint16_t head, uint16_t used);

/* vhost_packed.c, for the two above and below. */
static inline uint16_t packed_slot(const struct vhost_ring *r, uint16_t pos)
{
	return pos & (uint16_t)(r->num - 1);
}
/* The wrap counter starts as 1, virtio 1.2 section 2.8.1. */
static inline bool packed_wrap(const struct vhost_ring *r, uint16_t pos)
{
	return !(pos & r->num);
}
static inline uint16_t packed_pos(const struct vhost_ring *r, uint16_t slot, bool wrap)
{
	return wrap ? slot : (uint16_t)(slot + r->num);
}
bool packed_available(const struct vhost_ring *r, uint16_t pos); /* the driver made it so, nobody used it */
void packed_put_used(struct vhost_ring *r, uint16_t pos, uint16_t id, uint32_t len);

/* vhost_log.c: pages that we write, for a migration. Nothing happens while the front-end does not ask. */
int log_set(struct vhost *v, const struct vhost_log_desc *d, int fd); /* errors of sys->map; none is left */
void log_drop(struct vhost *v);
/* What the chain, still held, got from its device. */
void log_chain(struct vhost_ring *r, const struct vqt_chain *c, uint32_t written);
static inline void log_data(struct vhost_ring *r, const struct vqt_chain *c, uint32_t written)
{
	if (r->v->log_map.at)
		log_chain(r, c, written);
}
/* Bytes off and on of the used ring, or of the device event structure. */
void log_ring(struct vhost_ring *r, uint64_t off, uint64_t len);
static inline void log_used(struct vhost_ring *r, uint64_t off, uint64_t len)
{
	if (r->log_used)
		log_ring(r, off, len);
}
void log_desc(struct vhost_ring *r, const volatile void *at, uint64_t len); /* of a packed ring */
void log_tell(struct vhost *v);						    /* at the end of a burst */

/* vhost_saved.c: where a packed net ring goes on after our death. */
int saved_start(struct vhost_ring *r); /* sets r->saved; moves used_idx where it stands. -ENOMEM */
void saved_push(struct vhost_ring *r, uint16_t id, uint16_t ndesc, uint32_t len);
void saved_publish(struct vhost_ring *r);

/* vhost_vring.c: life of a queue, and the messages about it. */
struct vhost_call; /* vhost_msg.h */
void ring_init(struct vhost *v, uint16_t index);
void ring_reset(struct vhost_ring *r); /* as after ring_init(), everything released */
void ring_eval(struct vhost_ring *r);  /* start or stop it if the state of things asks for it */
bool ring_any_active(const struct vhost *v);

#endif

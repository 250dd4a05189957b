/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this room share. Nobody else includes it. */
#ifndef OUTRIGGER_VHOST_INT_H
#define OUTRIGGER_VHOST_INT_H

#include "hostagent/vhost/vhost.h"
#include "hostagent/vhost/vhost_mem.h"

enum ring_state {
	RING_IDLE,     /* not started; messages may change it */
	RING_RUNNING,  /* the layer above pops it */
	RING_STOPPING, /* the layer above finishes what it holds */
};

struct vhost_ring {
	struct vhost *v;
	uint16_t index;

	/* Told by messages. */
	uint16_t num; /* 0: not set */
	bool enabled;
	bool have_addr;
	uint64_t desc_uva, avail_uva, used_uva;
	uint16_t base;
	int kick_fd, call_fd, err_fd; /* -1: none */

	enum ring_state state;
	bool broken;	   /* pop() gives -EBADMSG until the front-end sets the ring up again */
	bool reply_base;   /* a GET_VRING_BASE waits for the drain */
	bool first_signal; /* the one notification after a start is still owed */

	/* Valid from start to drained. Shared memory is written by the guest at any time. */
	bool event_idx, indirect;
	uint8_t pad;	 /* bytes to add to a short net header: 2 or 0 */
	uint8_t sink[2]; /* where num_buffers goes when the guest's header has no room for it; never read */
	const volatile struct vring_desc *desc; /* guest writes */
	volatile struct vring_avail *avail;	/* guest writes */
	volatile struct vring_used *used;	/* we write */
	struct inflight_queue *inflight;	/* we write, the front-end keeps; NULL: net */

	uint16_t last_avail; /* next to take */
	uint16_t avail_seen; /* avail->idx when last read */
	uint16_t used_idx;   /* next used element */
	uint16_t signalled;  /* used_idx when notification was last decided */
	bool armed;	     /* the guest was asked to kick */
	uint64_t npopped;    /* chains taken from the avail ring since the start, less those put back */
	uint64_t counter;    /* last inflight counter given */

	struct vhost_mem **held; /* [num] by head: the table its chain points into; NULL: not taken */
	uint16_t *taken;	 /* [num] by avail index: the head taken there */
	uint16_t *resub;	 /* [resub_n] heads to take again, in their old order; NULL: none */
	uint16_t resub_n, resub_at;
	uint16_t alloc_num; /* size of held and taken */
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

	unsigned waiting; /* queues with reply_base */
	uint64_t counters[VHOST_NCOUNTERS];
	struct vhost_ring rings[];
};

static inline uint64_t vhost_offered(const struct vhost *v)
{
	return v->cfg.features | VHOST_F_PROTOCOL_FEATURES;
}

static inline bool vhost_faulted(const struct vhost *v)
{
	return __atomic_load_n(&v->fault, __ATOMIC_RELAXED);
}

static inline void vhost_count(struct vhost *v, enum vhost_counter c)
{
	counter_add(&v->counters[c], 1);
}

/* vhost_split.c: the ring in memory. */
/* Find the ring in the current memory table, and set up counters and lists; state is the caller's.
 * -EFAULT, -EINVAL (alignment), -ENOMEM, -EPROTO (inflight region does not fit). */
int split_start(struct vhost_ring *r);
int split_remap(struct vhost_ring *r); /* after a new memory table, while running */
void split_stop(struct vhost_ring *r); /* forget every chain held; base := where a new start goes on */
void split_free(struct vhost_ring *r);
void split_signal_start(struct vhost_ring *r); /* the one notification after a start */
void ring_break(struct vhost_ring *r, const char *reason);

/* vhost_walk.c: one descriptor chain, validated on private copies. NULL, or what is wrong with it. */
const char *split_walk(struct vhost_ring *r, uint16_t head, struct vqt_chain *c);

/* vhost_inflight.c */
uint64_t inflight_queue_size(uint16_t qsize); /* bytes of one queue's part */
/* Attach r to its part of the region, and take over what a predecessor left in flight. */
int inflight_start(struct vhost_ring *r);
void inflight_take(struct vhost_ring *r, uint16_t head);
void inflight_untake(struct vhost_ring *r, uint16_t head);
int inflight_get(struct vhost *v, struct vhost_inflight_desc *d); /* a new region's fd or -errno */
int inflight_set(struct vhost *v, const struct vhost_inflight_desc *d, int fd);
void inflight_drop(struct vhost *v);

/* vhost_vring.c: life of a queue, and the messages about it. */
struct vhost_call; /* vhost_msg.h */
void ring_init(struct vhost *v, uint16_t index);
void ring_reset(struct vhost_ring *r); /* as after ring_init(), everything released */
void ring_eval(struct vhost_ring *r);  /* start or stop it if the state of things asks for it */
bool ring_any_active(const struct vhost *v);

#endif

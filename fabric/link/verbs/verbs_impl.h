/* SPDX-License-Identifier: Apache-2.0 */
/* What link/verbs' files share; nobody else includes this. */
#ifndef OUTRIGGER_LINK_VERBS_IMPL_H
#define OUTRIGGER_LINK_VERBS_IMPL_H

#include <stdatomic.h>

#include "fabric/base/counter.h"
#include "fabric/base/idmap.h"
#include "fabric/base/list.h"
#include "fabric/link/verbs/verbs.h"
#include "fabric/link/verbs/verbs_api.h"

#define NO_SLOT UINT16_MAX

/* Memory of others, registered with the link's protection domain. */
struct verbs_mem {
	uint8_t *at;
	size_t len;
	struct ibv_mr *mr;
	uint64_t base; /* of its first byte, for peers */
};

/* An opened device and what is known of its port. */
struct verbs_dev {
	const struct verbs_api *api;
	struct ibv_context *ctx;
	struct verbs_port port;
	struct ibv_device_attr attr;
	struct ibv_port_attr pattr;
	struct ibv_gid_entry gid;
	bool odp;	      /* memory need not be locked */
	bool ethernet, found; /* found: gid, in the table */
};

enum vqp_state {
	VQP_OPEN,	/* made; the other end is not known yet */
	VQP_CONNECTING, /* a thread does it */
	VQP_READY,	/* connected */
	VQP_DYING,	/* in error; what was posted comes back */
	VQP_LEAVING,	/* a thread destroys it */
};

/* What link_verbs_news() has to tell of a peer; outlives the queue pair. */
struct vqp_note {
	struct list node; /* on link_verbs.news while queued */
	struct verbs_news news;
	struct vqp *q; /* NULL: gone; who reads it frees it */
	bool queued;
};

/* One peer's queue pair. Positions count its posted sends; entry p of the queue is sq[p % VERBS_SQ_DEPTH]. */
struct vqp {
	struct list node; /* on link_verbs.peers, .dying or, while a thread has it, .busy */
	enum vqp_state state;
	uint64_t id;
	uint32_t gen; /* tells its completions from those of others that had its number */
	uint32_t posted, done;
	uint32_t asked;	 /* the last position that a completion was asked for */
	uint32_t seen;	 /* done, at the last sweep */
	unsigned silent; /* sweeps in a row that something was awaited, and nothing came */
	uint32_t psn;
	struct ibv_qp *qp;
	uint32_t qpn, dest;	      /* the other end's number */
	struct list running, waiting; /* moves: posted, in their order; for room */
	struct link_addr addr;
	uint16_t sq[VERBS_SQ_DEPTH];	 /* slot, or NO_SLOT */
	uint16_t packet[VERBS_SQ_DEPTH]; /* the largest of its packets, bytes; of responses too */
	uint16_t answered;		 /* the largest that had an answer */
	uint16_t unanswered;		 /* verbs_news.unanswered */
	struct vqp_note *note;		 /* NULL: nothing more is told */
	/* While a thread has it, qp, to, mask and result are the thread's. */
	struct link_verbs *link;
	pthread_t thread;
	atomic_bool ended;
	struct ibv_qp_attr to[2]; /* ready to receive, to send */
	int mask[2], result;
	bool closed, breached; /* meanwhile */
};

struct link_verbs {
	struct link base; /* first */
	struct verbs_dev dev;
	struct buf_pool *pool;
	struct ibv_pd *pd;
	struct ibv_comp_channel *channel;
	struct ibv_cq *rcq, *scq;
	struct ibv_srq *srq;
	struct ibv_mr *rx_mr, *tx_mr;
	int epoll;
	bool armed, sends_armed, dead, port_down, came_up;
	bool moves_armed;  /* sends_armed, for all completions */
	uint32_t nmoves;   /* running and waiting, of all peers */
	struct list moved; /* moves whose done() is due */
	uint64_t sweep_at; /* ns: when vqp_sweep() looks next */
	uint32_t spins;
	uint32_t idle;	/* polls in vain, in a row */
	uint32_t polls; /* all of them */
	uint32_t max_inline, max_peers, nqps;
	/* Receiving: buffers posted, by index. */
	uint32_t rx_depth, nposted;
	struct buf **posted;
	uint32_t *free_index;
	/* Sending. */
	uint8_t *tx_memory;
	uint32_t tx_slots, nfree_slots;
	uint16_t *free_slot;
	struct list peers, dying, busy, news;
	int wake;	      /* eventfd: counts threads that are through */
	atomic_uint finished; /* likewise */
	uint32_t reaped;
	struct idmap by_id, by_gen, by_qpn;
	uint32_t next_gen;
	/* Memory of others, by address. */
	struct verbs_mem **mem;
	uint32_t nmem, mem_room;
	bool serves;
	uint64_t counters[VERBS_NCOUNTERS];
};

static inline struct link_verbs *verbs_of(const struct link *l)
{
	return (struct link_verbs *)(uintptr_t)l;
}

static inline void v_count(struct link_verbs *v, enum verbs_counter c, uint64_t n)
{
	counter_add(&v->counters[c], n);
}

static inline void l_count(struct link_verbs *v, enum link_counter c, uint64_t n)
{
	counter_add(&v->base.counters[c], n);
}

/* verbs_port.c */
/* -ENETDOWN: it is open, and its port may come up. */
int vdev_open(struct verbs_dev *d, const struct verbs_api *api, const struct verbs_port *port, char *why,
	      size_t why_len);
/* How the port is now: 0, -ENETDOWN, -EIO, -EINVAL. */
int vdev_look(struct verbs_dev *d, char *why, size_t why_len);
void vdev_close(struct verbs_dev *d);

/* verbs_qp.c */
/* The queue pair is not usable any more; it is freed when what was posted came back. */
void vqp_break(struct link_verbs *v, struct vqp *q);
void vqp_free(struct link_verbs *v, struct vqp *q);
/* It is out of the device. */
void vqp_gone(struct link_verbs *v, struct vqp *q);
/* A thread ended connecting it. */
void vqp_connected(struct link_verbs *v, struct vqp *q);
void vqp_free_all(struct link_verbs *v);
/* At every look at the link, and once a second something is done: what a device has forgotten to complete
 * ends. It wakes nobody: while there are peers, their sessions' keepalives have the link looked at. */
void vqp_sweep(struct link_verbs *v);
/* Bytes after the slots of tx_memory, that a move reads to be sure of its writes. */
#define FLUSH_ROOM 64u

static inline uint8_t *v_flush_room(const struct link_verbs *v)
{
	return v->tx_memory + (size_t)v->tx_slots * VERBS_BUF_SIZE;
}

/* The next position of its send queue is a send of so many bytes, from that slot; what to call it there. */
uint64_t vqp_push(struct vqp *q, uint16_t slot, uint32_t len);
/* Sends up to position pos had their answers; before vqp_release(). */
void vqp_answered(struct vqp *q, uint32_t pos);
/* The send at position pos ended its tries without an answer. */
void vqp_unanswered(struct vqp *q, uint32_t pos);
/* Sends up to position pos are over. */
void vqp_release(struct link_verbs *v, struct vqp *q, uint32_t pos);

/* verbs_mem.c */
/* The memory that all of [at, at + len) lies in; NULL: none, or not in one. */
const struct verbs_mem *vmem_find(const struct link_verbs *v, const void *at, size_t len);
void vmem_free_all(struct link_verbs *v);
/* Says what was needed and what the limit is. */
void vmem_say_locked(char *why, size_t why_len, size_t need);

/* verbs_job.c */
/* Begins to connect, or to destroy, on a thread; vjob_reap() or vjob_drain() hears of the end. -errno: no
 * thread, and nothing has changed. */
int vjob_connect(struct link_verbs *v, struct vqp *q);
void vjob_destroy(struct link_verbs *v, struct vqp *q);
void vjob_reap(struct link_verbs *v);
void vjob_take(struct link_verbs *v, struct vqp *q); /* waits for that one */
void vjob_drain(struct link_verbs *v);		     /* waits for all */
/* verbs_move.c */
/* Posted positions up to pos are over, and well. */
void vmove_over(struct link_verbs *v, struct vqp *q, uint32_t pos);
/* Those that wait for room, as far as there is some. */
void vmove_start(struct link_verbs *v, struct vqp *q);
/* The queue pair is destroyed: nothing of it touches memory now. */
void vmove_fail(struct link_verbs *v, struct vqp *q);
/* Calls done() of those that are over; their number. */
int vmove_tell(struct link_verbs *v);

/* verbs_io.c */
int vio_recv(struct link *l, struct link_rx *rx, int max);
int vio_send(struct link *l, const struct link_tx *tx, int n);
uint64_t vio_deadline(struct link *l);
void vio_refill(struct link_verbs *v);
void vio_poll_sends(struct link_verbs *v);

#endif

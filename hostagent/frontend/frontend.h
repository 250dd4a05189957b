/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The door to whatever uses a device on this host: a VM through vhost-user, or the host's own
 * network stack through a TAP. A front-end owns the socket or the TAP, the guest memory and the
 * rings; it hands virtqueues up as `struct vqt_ring_ops` and knows nothing of tunnels.
 *
 * Life of a device, as the layer above sees it (all calls on the event loop's thread):
 *
 *	fe_create()			the device exists; nothing is connected yet
 *	up->attached(queues, n)		a user is there (QEMU connected; the TAP is up)
 *	up->features(acked)		before the first start, and again if the user changes its mind
 *	up->queue_start(q)		pop the ring now, without waiting for a kick
 *	up->kick(q)			the user added chains since a pop() gave 0
 *	up->queue_stop(q)		stop popping; complete or give up what was popped, then
 *	fe_queue_drained(q)		  say so: the chains still held are void from here on
 *	up->queue_start(q) ...		may follow again (driver reload, guest reset, migration back)
 *	up->broken(q, reason)		the user broke this ring: pop() gives -EBADMSG until a new start;
 *					queue_stop() follows when the user resets the queue
 *	up->gone()			the user left: every queue is stopped, every chain held is void,
 *					no fe_queue_drained() is expected; attached() may follow
 *	fe_destroy()			no call comes up from here on
 *
 * "Void" means: never push() or unpop() it, never touch its iovecs; the memory may be unmapped. In
 * queue_stop() it is right to call fe_queue_drained() at once when nothing is in flight. A block device
 * must complete (not give up) its requests before it says drained, unless the session itself is lost:
 * requests given up then are popped again first, in their order, after the next start (inflight region).
 * A net queue pushes in the order it popped, and may give up what it holds: chains not pushed are popped
 * again after the next start.
 *
 * Nobody waits: every file descriptor is non-blocking, a silent or hostile user holds up only itself.
 * Calls up may come from inside any fe_*() call except fe_create(); never from a vqt_ring_ops call.
 *fe_destroy() must not be called from inside a call up.
 *
 * A front-end may change its loop, and with it its thread: fe_leave() in the one, fe_join() in the other.
 *What its user does in between is found afterwards.
 *
 * Thread rule: one thread, the event base's. Sources: QEMU docs/interop/vhost-user.rst; virtio 1.2.
 */
#ifndef OUTRIGGER_FRONTEND_H
#define OUTRIGGER_FRONTEND_H

#include <stdbool.h>
#include <stdint.h>

#include "fabric/vqt/vqt_ring.h"

struct event_base;

enum fe_kind { FE_NET, FE_BLK };

#define FE_NAME_MAX   64  /* bytes of a device name, terminator included */
#define FE_CONFIG_MAX 256 /* bytes of device configuration space a front-end serves */
#define FE_QUEUES_MAX 32
#define FE_QSIZE_MAX  1024

struct fe_config {
	const char *name; /* socket DIR/NAME.sock, or the TAP's name; letters, digits, '-', '_', '.' */
	enum fe_kind kind;
	const char *dir;     /* vhost-user: socket directory, must exist; NULL: /run/outrigger */
	gid_t group;	     /* vhost-user blk: group of the socket file; 0: the process's */
	uint16_t nqueues;    /* virtqueues; net: even, 2i receives (device to guest), 2i + 1 transmits */
	uint16_t queue_size; /* largest ring the user may set up; a power of two */
	uint64_t features;   /* VIRTIO_F_*, VIRTIO_NET_F_*, VIRTIO_BLK_F_* offered */
	const void *config;  /* device configuration space, little endian; copied */
	uint16_t config_len;
	uint8_t mac[6]; /* TAP only: set when not all zero */
	/* Memory at [at, at + len) of this process: iovecs of chains may lie in it from now
	 * on (there), or are over and it is about to be unmapped. A call up with fe_create()'s arg; the one
	 * that may come from a vqt_ring_ops call. NULL: nobody asks. */
	void (*memory)(void *arg, void *at, uint64_t len, bool there);
	uint16_t mtu; /* TAP: set when not 0. vhost-user: upper limit of what the user may set */
};

struct fe_queue {
	const struct vqt_ring_ops *ops; /* the same for all queues of a device */
	void *ring;			/* first argument of the ops; valid until fe_destroy() */
};

/* Calls up. All required except rarp. */
struct fe_up {
	void (*attached)(void *arg, const struct fe_queue *queues, unsigned n);
	void (*features)(void *arg, uint64_t acked);
	void (*queue_start)(void *arg, unsigned q);
	void (*queue_stop)(void *arg, unsigned q);
	void (*kick)(void *arg, unsigned q);
	void (*broken)(void *arg, unsigned q, const char *reason);
	void (*gone)(void *arg);
	/* The VM arrived by migration and its guest cannot announce itself: make the network learn mac. */
	void (*rarp)(void *arg, const uint8_t mac[6]);
};

/* What every front-end starts with; the rest is its own. */
struct fe {
	const struct fe_ops *ops;
};

struct fe_ops {
	const char *name;
	int (*create)(struct fe **out, struct event_base *base, const struct fe_config *cfg,
		      const struct fe_up *up, void *arg);
	void (*destroy)(struct fe *fe);
	void (*leave)(struct fe *fe);
	int (*join)(struct fe *fe, struct event_base *base);
	void (*queue_drained)(struct fe *fe, unsigned q);
	int (*set_config)(struct fe *fe, const void *config, uint16_t len);
	/* Counter n: its name and value; NULL past the last. Values accumulate over the fe's life. */
	const char *(*counter)(const struct fe *fe, unsigned n, uint64_t *value);
	bool (*news)(struct fe *fe); /* whether one has changed since this was asked last */
};

extern const struct fe_ops fe_vhost_user; /* QEMU and anything that speaks vhost-user */
extern const struct fe_ops fe_tap;	  /* FE_NET; needs CAP_NET_ADMIN */

/*
 * 0, or -EINVAL (configuration), -ENAMETOOLONG (socket path over 107 bytes), -EEXIST (another process listens
 * there, or the TAP's name is taken), -ENOENT (no such directory), -EACCES/-EPERM, -ENOMEM.
 * Nothing is called up before the loop runs.
 */
static inline int fe_create(const struct fe_ops *ops, struct fe **out, struct event_base *base,
			    const struct fe_config *cfg, const struct fe_up *up, void *arg)
{
	return ops->create(out, base, cfg, up, arg);
}

/* Closes and unlinks the socket, or removes the TAP. Chains held are void. NULL is fine. */
static inline void fe_destroy(struct fe *fe)
{
	if (fe)
		fe->ops->destroy(fe);
}

/* Not from a call up, and between leave and join nothing but fe_counter() and fe_destroy(). join: 0, or
 * -ENOMEM and errors of the directory's watch: it is to be destroyed then. */
static inline void fe_leave(struct fe *fe)
{
	fe->ops->leave(fe);
}

static inline int fe_join(struct fe *fe, struct event_base *base)
{
	return fe->ops->join(fe, base);
}

/* Answers queue_stop(). Extra calls are ignored. */
static inline void fe_queue_drained(struct fe *fe, unsigned q)
{
	fe->ops->queue_drained(fe, q);
}

/* New configuration bytes (a disk resized, a link going down); tells the user. -EMSGSIZE: longer than
 * FE_CONFIG_MAX. -ENOTSUP: this user will see it only after a reset (the bytes are taken all the same). */
static inline int fe_set_config(struct fe *fe, const void *config, uint16_t len)
{
	return fe->ops->set_config(fe, config, len);
}

/* Around a turn over the rings of many guests: whoever is to be notified is, at its end, with one call for
 * all. */
void fe_turn_begin(void);
void fe_turn_end(void);

static inline const char *fe_counter(const struct fe *fe, unsigned n, uint64_t *value)
{
	return fe->ops->counter(fe, n, value);
}

static inline bool fe_news(struct fe *fe)
{
	return fe->ops->news(fe);
}

#endif

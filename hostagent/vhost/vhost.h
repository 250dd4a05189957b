/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The back-end half of vhost-user for one device, without its socket: whole messages and file descriptors
 * in; state, replies and effects out. It opens nothing, waits for nothing and reads no clock; memory
 * is mapped through `struct vhost_sys`, so that tests and fuzzers can give it any.
 *
 * A queue runs when it has a size, addresses, memory, a kick descriptor and is enabled; each queue by
 * itself, for a guest may use one of many. fx->start() says so; the rings are then popped with
 * vhost_ring_ops. GET_VRING_BASE, or a disable, calls fx->stop(); its reply leaves after vhost_drained().
 * Until then vhost_blocked() holds and no message may be given: the socket's owner stops reading.
 *
 * Everything a front-end or a guest writes is taken over once and judged on the copy. A bad message
 * costs the connection (or an error reply when the front-end asked for one); a bad chain costs
 * its queue; memory cut off under our feet (SIGBUS, vhost_guard.h) costs the device.
 *
 * Messages are control plane: they may allocate. Rings do not.
 * Thread rule: one thread per struct vhost. Source: QEMU docs/interop/vhost-user.rst; virtio 1.2 sections
 * 2.7 and 2.8.
 */
#ifndef OUTRIGGER_VHOST_H
#define OUTRIGGER_VHOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fabric/base/counter.h"
#include "fabric/vqt/vqt_ring.h"
#include "hostagent/vhost/vhost_proto.h"

#define VHOST_COUNTERS(X)                                                                                    \
	X(messages)                                                                                          \
	X(messages_refused)                                                                                  \
	X(chains)                                                                                            \
	X(chains_resubmitted)                                                                                \
	X(rings_recovered) /* packed net rings that went on where a predecessor died */                      \
	X(queues_broken)                                                                                     \
	X(memory_faults)                                                                                     \
	X(pages_beyond_log) /* written, but the front-end's dirty log is too short for them */               \
	X(calls)                                                                                             \
	X(calls_suppressed)
#define VHOST_COUNTER_ENUM(name) VHOST_C_##name,
enum vhost_counter { VHOST_COUNTERS(VHOST_COUNTER_ENUM) VHOST_NCOUNTERS };
extern const char *const vhost_counter_names[];

#define VHOST_QUEUES_MAX 32
#define VHOST_QSIZE_MAX	 1024

/* A piece of a file in our address space. Its address must stay put while it is mapped. */
struct vhost_map {
	uint8_t *at; /* the byte at the offset asked for */
	uint64_t len;
	uint8_t *base; /* the implementation's: what to unmap */
	uint64_t base_len;
	bool *fault; /* set (atomically) when the file turned out shorter than it was */
};

/* What the core needs of the system. Each gets the arg of vhost_create(). */
struct vhost_sys {
	/* Map [off, off + len) of fd, shared, read-write. The fd stays the caller's. -ERANGE: the file is
	 * shorter; -EINVAL: not a file that can be mapped; or mmap's error. m->fault is set by the caller. */
	int (*map)(void *arg, int fd, uint64_t off, uint64_t len, struct vhost_map *m);
	void (*unmap)(void *arg, struct vhost_map *m);
	/* A new zeroed file of len bytes that cannot shrink: fd or -errno. */
	int (*memfd)(void *arg, uint64_t len);
	void (*close)(void *arg, int fd);
	/* 0 if fd is an eventfd; -EINVAL: anything else. */
	int (*event)(void *arg, int fd);
	/* Add 1 to an eventfd; errors are the peer's loss. Must not wait, whatever the peer did to it. */
	void (*signal)(void *arg, int fd);
	/* Bytes on the front-end's back channel, best effort. */
	int (*send)(void *arg, int fd, const void *bytes, size_t len);
};
extern const struct vhost_sys vhost_sys_linux; /* arg unused; vhost_guard_install() first */

/* What comes out. Called from vhost_message(), vhost_drained() and vhost_disconnect(); broken() and
 * fault() also from ring operations. They must not call back into this struct vhost. */
struct vhost_fx {
	/* Send one whole message; fd (or -1) goes along and stays the core's. */
	void (*reply)(void *arg, const void *msg, size_t len, int fd);
	void (*features)(void *arg, uint64_t acked);
	/* Watch fd for kicks of queue q from now on; -1: stop watching (before the fd is closed). */
	void (*kick_fd)(void *arg, unsigned q, int fd);
	void (*start)(void *arg, unsigned q);
	void (*stop)(void *arg, unsigned q);
	void (*broken)(void *arg, unsigned q, const char *reason);
	void (*rarp)(void *arg, const uint8_t mac[6]);
	/* Guest memory vanished: drop the connection (not from within this call). */
	void (*fault)(void *arg);
};

struct vhost_config {
	bool net;	     /* else block */
	uint16_t nqueues;    /* virtqueues, 1 to VHOST_QUEUES_MAX; net: even */
	uint16_t queue_size; /* largest ring, a power of two up to VHOST_QSIZE_MAX */
	uint16_t mtu;	     /* net: upper limit for NET_SET_MTU; 0: none */
	uint64_t features;   /* offered; LOG_ALL comes with every device, not from here */
	/* vhost_saved_size() bytes, 64-aligned, that outlive this process: a file mapped shared. Zeroed
	 * when new, else as a predecessor of the same device left it: a packed net ring then goes on where it
	 * died. NULL: it does not survive us. The caller's, until vhost_destroy(). */
	void *saved;
	/* Guest memory [at, at + len) is mapped: chains may lie in it from now on (there), or will not be
	 * touched again and it is about to be unmapped. Gets fx_arg; may come from any call, from ring
	 * operations too, and must not call back into this struct vhost. NULL: nobody asks. */
	void (*memory)(void *arg, void *at, uint64_t len, bool there);
};
/* 0: nothing to save. Depends on net, nqueues, queue_size and features. */
size_t vhost_saved_size(const struct vhost_config *cfg);

struct vhost;
struct vhost_ring;

/* NULL: bad configuration or no memory. sys, fx and their args must outlive it. */
struct vhost *vhost_create(const struct vhost_config *cfg, const struct vhost_sys *sys, void *sys_arg,
			   const struct vhost_fx *fx, void *fx_arg);
void vhost_destroy(struct vhost *v); /* as vhost_disconnect(); NULL is fine */

/*
 * One whole message. The fds become the core's whatever happens. 0: go on. -errno: the front-end broke the
 * protocol; close the connection and call vhost_disconnect(). Undefined while vhost_blocked().
 */
int vhost_message(struct vhost *v, const void *msg, size_t len, const int *fds, unsigned nfds);
bool vhost_blocked(const struct vhost *v);

/* The layer above holds nothing of q any more. Ignored when q is not stopping. */
void vhost_drained(struct vhost *v, unsigned q);
/* The connection ended: rings stop without fx->stop() (kick_fd(-1) alone is called), nothing stays mapped,
 * nothing open. */
void vhost_disconnect(struct vhost *v);

/* New configuration bytes. 0: the front-end was told; -ENOTSUP: it has no channel for it; -EMSGSIZE. */
int vhost_set_config(struct vhost *v, const void *config, size_t len);

struct vhost_ring *vhost_ring(struct vhost *v, unsigned q);
/* Chains ever taken from q, mod 2^32: did a kick bring any? */
uint32_t vhost_chains(const struct vhost *v, unsigned q);
extern const struct vqt_ring_ops vhost_ring_ops;
const uint64_t *vhost_counters(const struct vhost *v); /* VHOST_NCOUNTERS of them */
bool vhost_news(struct vhost *v);		       /* whether one has changed since this was asked last */

#endif

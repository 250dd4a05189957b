/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small vhost-user front-end with the guest's driver in it: stands in for a VM in tests. Its rings are
 * packed if VIRTIO_F_RING_PACKED was negotiated, else split.
 *
 * Guest memory is one memfd told as two regions that touch in guest-physical space but lie in the file the
 * other way round: what crosses the middle needs two iovecs at the back-end. Guest-physical addresses
 * start at 0; front-end addresses are 1 << 32 above them, with a gap between the regions.
 *
 * Messages go through `struct vfront_wire`: straight into a struct vhost, or over a socket while the caller's
 * event loop is pumped. Every function asserts; a test never sees half an answer.
 */
#ifndef OUTRIGGER_TESTS_VHOST_FRONT_H
#define OUTRIGGER_TESTS_VHOST_FRONT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hostagent/vhost/vhost.h"

#define VFRONT_QUEUES 4
#define VFRONT_MEM    (4u << 20)
#define VFRONT_UVA    (1ull << 32)
#define VFRONT_GAP    (1ull << 30) /* between the regions, in the front-end's addresses */

struct vfront_wire {
	/* 0, or -1: the back-end closed the connection. The fds stay the caller's. */
	int (*send)(void *arg, const void *msg, size_t len, const int *fds, unsigned nfds);
	/* One whole reply: its length; *fd is -1 or belongs to the caller. -1: closed. */
	int (*recv)(void *arg, void *msg, size_t room, int *fd);
	void *arg;
};

struct vfront_queue {
	uint16_t num;
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	uint16_t avail_idx, used_seen;
	uint16_t next_free; /* descriptors are given out round the ring */
	int kick, call;
	/* Packed. Positions are free-running; avail_idx and used_seen above are such. */
	struct vring_packed_desc *pdesc;
	struct vring_packed_event *driver, *device;
	uint16_t ndesc[VHOST_QSIZE_MAX]; /* by buffer ID: descriptors of the chain; 0: free */
	uint32_t base;			 /* as last told or heard: stale after a crash, as QEMU's */
};

struct vfront {
	struct vfront_wire wire;
	int memfd;
	uint8_t *mem; /* by guest-physical address */
	uint64_t len; /* of guest memory, even pages */
	uint64_t brk; /* next free guest-physical byte */
	uint64_t features, proto;
	unsigned nqueues;
	struct vfront_queue q[VFRONT_QUEUES];
	int inflight_fd; /* -1: none */
	struct vhost_inflight_desc inflight;
	int log_fd;   /* dirty log; -1: none */
	uint8_t *log; /* of log_len bytes, a bit per page */
	uint64_t log_len;
	bool logging;
};

struct vfront_seg {
	uint64_t gpa;
	uint32_t len;
};

void vfront_init(struct vfront *f, const struct vfront_wire *wire); /* VFRONT_MEM bytes of guest memory */
void vfront_init_sized(struct vfront *f, const struct vfront_wire *wire, uint64_t len);
void vfront_fini(struct vfront *f);
void *vfront_ptr(struct vfront *f, uint64_t gpa);
uint64_t vfront_alloc(struct vfront *f, uint64_t len, uint64_t align);
uint64_t vfront_uva(uint64_t gpa); /* with VFRONT_MEM bytes of guest memory */

/* One message without waiting; flags besides the version. What wire.send gave. */
int vfront_send(struct vfront *f, uint32_t request, uint32_t flags, const void *payload, uint32_t size,
		const int *fds, unsigned nfds);
/* A request that has a reply of its own: bytes of payload, or -1: closed. */
int vfront_ask(struct vfront *f, uint32_t request, const void *payload, uint32_t size, void *reply,
	       uint32_t room, int *fd);
uint64_t vfront_ask_u64(struct vfront *f, uint32_t request);
/* A request without: with NEED_REPLY if REPLY_ACK is negotiated: the acknowledged value. */
uint64_t vfront_tell(struct vfront *f, uint32_t request, const void *payload, uint32_t size, const int *fds,
		     unsigned nfds);

/* Features and protocol features, masked by what the back-end offers; owner. */
void vfront_negotiate(struct vfront *f, uint64_t features, uint64_t proto);
uint64_t vfront_mem_table(struct vfront *f); /* the acknowledgement */
/* Ring memory, num, base, addresses, call, kick, enable. The ring restarts empty if `fresh`. */
void vfront_queue_up(struct vfront *f, unsigned q, uint16_t num, bool fresh);
uint32_t vfront_queue_down(struct vfront *f, unsigned q); /* GET_VRING_BASE */
void vfront_inflight_get(struct vfront *f, uint16_t queues, uint16_t qsize);
void vfront_inflight_set(struct vfront *f);

/* A dirty log of len bytes, all clear; the one before is forgotten. */
void vfront_log_set(struct vfront *f, uint64_t len);
/* LOG_ALL, and the flag at all queues that are up: as QEMU does it, while they run. */
void vfront_log_run(struct vfront *f, bool on);
bool vfront_log_dirty(const struct vfront *f, uint64_t gpa);

/* Make a chain of nout readable and nin writable pieces available, through an indirect table if asked; its
 * head. */
uint16_t vfront_add(struct vfront *f, unsigned q, const struct vfront_seg *segs, unsigned nout, unsigned nin,
		    bool indirect);
/* As vfront_add() of one buffer of out and one of in bytes, 0: none. */
uint16_t vfront_add1(struct vfront *f, unsigned q, uint64_t out, uint32_t nout, uint64_t in, uint32_t nin);
void vfront_publish(struct vfront *f, unsigned q, uint16_t head); /* split: put head in the avail ring */
bool vfront_packed(const struct vfront *f);
/* Flags that make a packed descriptor at position pos available. */
uint16_t vfront_packed_flags(const struct vfront_queue *vq, uint16_t pos);
/* Kick if the device wants it (old: avail_idx before what was added): whether it did. */
bool vfront_kick(struct vfront *f, unsigned q, uint16_t old);
/* The next used element: false: none. */
bool vfront_used(struct vfront *f, unsigned q, uint32_t *head, uint32_t *len);
unsigned vfront_calls(struct vfront *f, unsigned q); /* notifications since last asked */

#endif

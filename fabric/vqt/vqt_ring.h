/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The door to a virtqueue, as the tunnel's host end sees it. Front-ends (vhost-user, TAP, fake)
 * implement it; nothing here knows what a chain means.
 *
 * A chain is a list of readable bytes ("out": guest to device) followed by writable bytes ("in"), virtio 1.2
 * section 2.6/2.7. The front-end validates it on a private copy of the descriptors: every iovec
 * lies in the guest's memory when pop() returns and stays mapped until push() (the front-end
 * holds the mapping). The bytes themselves may change at any time: read each once.
 *
 * Network chains start with the 12-byte virtio_net_hdr (num_buffers included) whatever the guest negotiated:
 * a front-end whose guest uses another header length converts.
 *
 * Thread rule: the engine's thread alone.
 */
#ifndef OUTRIGGER_VQT_RING_H
#define OUTRIGGER_VQT_RING_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

/* A chain is at most as long as its ring (256), plus a few for ranges that cross the end of a
 * memory region. A chain that needs more is refused by the front-end as broken. */
#define VQT_CHAIN_IOV 288

struct vqt_chain {
	uint32_t token;	  /* the front-end's: head index, inflight slot */
	uint16_t nout;	  /* iov[0 .. nout) are readable */
	uint16_t nin;	  /* iov[nout .. nout + nin) are writable */
	uint32_t out_len; /* bytes */
	uint32_t in_len;
	struct iovec iov[VQT_CHAIN_IOV];
};

/* A chain that is one piece of memory, all of it readable or all of it writable. */
struct vqt_piece {
	uint32_t token;
	uint32_t len;
	uint32_t written; /* the caller's, for push_burst() */
	uint8_t *at;
};

#define VQT_BURST 32u

struct vqt_ring_ops {
	/* Take the next available chain. 1: taken. 0: none; the front-end has re-armed the guest's
	 * notification and looked again, so a later arrival is certain to kick. -EBADMSG: the guest
	 * broke the ring; the queue is dead until the guest resets the device. */
	int (*pop)(void *ring, struct vqt_chain *c);
	/* Give back the n chains taken last, unused (they will be popped again in the same order). */
	void (*unpop)(void *ring, unsigned n);
	/* Complete a chain with `written` bytes in its in part. Not visible to the guest before flush() at
	 * the latest. */
	void (*push)(void *ring, const struct vqt_chain *c, uint32_t written);
	/* End of a burst: publish what was pushed and notify the guest once, if it wants to be. */
	void (*flush)(void *ring);
	/* Both or neither, NULL: what most chains of small frames allow, at a fraction of the price of one by
	 * one. Takes the next chains, n (VQT_BURST at most) of them, as long as each is one piece of at most
	 * max bytes, writable (in) or readable. 0: there is none, or what is next is another kind or wrong:
	 * pop() knows. unpop() counts them too. */
	unsigned (*pop_burst)(void *ring, struct vqt_piece *p, unsigned n, bool in, uint32_t max);
	void (*push_burst)(void *ring, const struct vqt_piece *p, unsigned n);
};

#endif

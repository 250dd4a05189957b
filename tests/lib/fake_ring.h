/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A front-end's virtqueue in plain memory: implements struct vqt_ring_ops, and plays the guest.
 *
 * Every iovec is an allocation of its own, so that the sanitizers see any byte beyond it; writable bytes
 * start as FAKE_RING_FILL. The ring asserts the door's rules: only chains that were popped are pushed or
 * unpopped, once, unpop in reverse order, nothing at all while `closed`.
 */
#ifndef OUTRIGGER_TESTS_FAKE_RING_H
#define OUTRIGGER_TESTS_FAKE_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fabric/vqt/vqt_ring.h"

#define FAKE_RING_FILL 0xa5

enum fake_chain_state { FAKE_AVAIL, FAKE_TAKEN, FAKE_PUSHED, FAKE_USED };

struct fake_chain {
	uint32_t token;
	enum fake_chain_state state;
	uint16_t nout, nin;
	uint32_t out_len, in_len, written;
	struct iovec iov[VQT_CHAIN_IOV];
};

struct fake_ring {
	struct fake_chain **chains; /* every chain ever added, by token */
	uint32_t nchains, room;
	uint32_t *avail; /* tokens, [head, tail) */
	uint32_t head, tail, avail_room;
	uint32_t *used; /* tokens in the order pushed */
	uint32_t npushed, nused, used_room, seen;
	unsigned flushes, taken;
	bool closed;   /* the ring may not be touched */
	bool broken;   /* pop() gives -EBADMSG */
	unsigned good; /* broken after so many more pops; 0: not so */
};

extern const struct vqt_ring_ops fake_ring_ops, fake_ring_ops_single; /* single: without bursts */

void fake_ring_init(struct fake_ring *r);
void fake_ring_fini(struct fake_ring *r);

/* Make a chain available: out_len bytes of `out` cut into nout iovecs, and writable iovecs. Lengths may be 0;
 * they need not be filled. The sum of outs is read from `out`. */
struct fake_chain *fake_ring_add(struct fake_ring *r, const void *out, const uint32_t *outs, unsigned nout,
				 const uint32_t *ins, unsigned nin);
/* One readable and one writable iovec, each if not 0. */
struct fake_chain *fake_ring_add1(struct fake_ring *r, const void *out, uint32_t out_len, uint32_t in_len);

/* The next chain the guest sees as used; NULL: none. */
struct fake_chain *fake_ring_used(struct fake_ring *r);
/* All chains taken are given up by the front-end and will be popped again, in order (a lost agent, a gone
 * VM). */
void fake_ring_retake(struct fake_ring *r);
/* n writable bytes from off. */
void fake_chain_read(const struct fake_chain *c, uint32_t off, void *dst, uint32_t n);

#endif

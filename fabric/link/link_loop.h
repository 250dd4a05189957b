/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fabric link without a fabric: two ends in memory, for tests and simulation. What one end sends is
 * copied into a buffer of the other end's pool and waits there, in order, until it is received.
 * Nothing is lost, unless the queue or the pool is full.
 *
 * Both ends belong to one thread. There is no descriptor (fd() is -1): poll recv().
 */
#ifndef OUTRIGGER_LINK_LOOP_H
#define OUTRIGGER_LINK_LOOP_H

#include "fabric/link/link.h"

struct link_loop_end {
	struct link_addr addr;
	struct buf_pool *pool; /* where this end's received datagrams are kept; outlives the link */
};

struct link_loop_cfg {
	struct link_loop_end end[2];
	uint32_t depth;	      /* datagrams that may wait at each end */
	uint32_t max_payload; /* longer ones are dropped (drop_tx_error); not above the pools' buffer size */
};

/* 0: both ends in out; each is destroyed by itself, in any order; a send to an end that is gone is
 * dropped (drop_tx_noroute). -ENOMEM, -EINVAL. */
int link_loop_create(const struct link_loop_cfg *cfg, struct link *out[2]);

#endif

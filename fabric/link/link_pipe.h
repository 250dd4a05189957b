/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A link whose datagrams are carried by somebody else: what is sent goes to a callback, what
 * arrives is pushed in. The bring-up carrier stands on it: the same sealed packets inside the TLS control
 * channel, where UDP does not come through.
 *
 * One link serves many peers, told apart by address alone. There is no descriptor (fd() is -1) and nothing
 * to poll for: whoever pushes also wakes the loop that calls recv().
 *
 * Thread rule: one thread; push() too.
 */
#ifndef OUTRIGGER_LINK_PIPE_H
#define OUTRIGGER_LINK_PIPE_H

#include "fabric/link/link.h"

struct link_pipe_cfg {
	/* One datagram to carry. data is the caller's. False: not taken (drop_tx_full). */
	bool (*carry)(void *ctx, const struct link_addr *to, const uint8_t *data, uint32_t len);
	void *ctx;
	struct buf_pool *pool; /* of received datagrams; outlives the link */
	uint32_t depth;	       /* datagrams that may wait for recv() */
	uint32_t max_payload;  /* bytes; not above the pool's buffer size */
};

struct link *link_pipe_create(const struct link_pipe_cfg *cfg); /* NULL: no memory */
/* A datagram came; copied. Beyond depth, without a buffer or too long it is dropped and counted. */
void link_pipe_push(struct link *l, const struct link_addr *from, const uint8_t *data, uint32_t len);

/* An address that is the number of a session and nothing on a network. */
void link_pipe_address(struct link_addr *a, uint64_t id);
uint64_t link_pipe_id(const struct link_addr *a);

#endif

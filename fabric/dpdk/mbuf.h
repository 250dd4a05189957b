/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An mbuf seen as a struct buf, which lives in the mbuf's private area: pools are made with
 * MBUF_PRIV bytes of it. Dropping the last reference frees the mbuf's segment.
 */
#ifndef OUTRIGGER_DPDK_MBUF_H
#define OUTRIGGER_DPDK_MBUF_H

#include <rte_mbuf.h>

#include "fabric/buf/buf.h"

#define MBUF_PRIV RTE_ALIGN(sizeof(struct buf), RTE_MBUF_PRIV_ALIGN)

void mbuf_release(struct buf *b);

/* Takes over the segment m (m->next must be NULL); one reference. */
static inline struct buf *mbuf_wrap(struct rte_mbuf *m)
{
	struct buf *b = rte_mbuf_to_priv(m);

	*b = (struct buf){
		.base = m->buf_addr, .size = m->buf_len, .refs = 1, .release = mbuf_release, .owner = m};
	return b;
}

/* The mbuf behind b, or NULL if b is something else. */
static inline struct rte_mbuf *mbuf_of(const struct buf *b)
{
	return b->release == mbuf_release ? b->owner : NULL;
}

#endif

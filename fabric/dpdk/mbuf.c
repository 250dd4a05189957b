/* SPDX-License-Identifier: Apache-2.0 */
#include "fabric/dpdk/mbuf.h"

void mbuf_release(struct buf *b)
{
	rte_pktmbuf_free_seg(b->owner);
}

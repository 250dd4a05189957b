/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/session/rdma.h"

#include <errno.h>
#include <string.h>

void session_rdma_put(Outrigger__Session__V1__RdmaEnd *m, struct verbs_end *e)
{
	outrigger__session__v1__rdma_end__init(m);
	m->qpn = e->qpn;
	m->psn = e->psn;
	m->gid.data = e->gid;
	m->gid.len = sizeof(e->gid);
	m->lid = e->lid;
	m->mtu = e->mtu;
}

int session_rdma_get(const Outrigger__Session__V1__RdmaEnd *m, struct verbs_end *e)
{
	if (!m || m->qpn > 0xffffff || m->psn > 0xffffff || m->gid.len != sizeof(e->gid) ||
	    m->lid > UINT16_MAX || m->mtu < 1 || m->mtu > 5)
		return -EINVAL;
	*e = (struct verbs_end){
		.qpn = m->qpn, .psn = m->psn, .lid = (uint16_t)m->lid, .mtu = (uint8_t)m->mtu};
	memcpy(e->gid, m->gid.data, sizeof(e->gid));
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* An end of an RDMA connection (fabric/link/verbs/verbs.h) on the control session, the same at both ends. */
#ifndef OUTRIGGER_PROTO_SESSION_RDMA_H
#define OUTRIGGER_PROTO_SESSION_RDMA_H

#include "fabric/link/verbs/verbs.h"
#include "proto/session/session.pb-c.h"

/* The message refers to e, which must outlive it. */
void session_rdma_put(Outrigger__Session__V1__RdmaEnd *m, struct verbs_end *e);
/* 0; -EINVAL: not there, or out of range. */
int session_rdma_get(const Outrigger__Session__V1__RdmaEnd *m, struct verbs_end *e);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The door between link/verbs and libibverbs: just the calls that it makes, with the library's types, so
 * that tests can stand a device of their own below it (tests/lib/verbs_double.h) that breaks things on
 * purpose. Each entry behaves as the library's function of that name, ibv_NAME(3), unless said otherwise.
 */
#ifndef OUTRIGGER_LINK_VERBS_API_H
#define OUTRIGGER_LINK_VERBS_API_H

#include <infiniband/verbs.h>
#include <pthread.h>
#include <stdbool.h>

struct verbs_api {
	/* By name; NULL and *err = -ENODEV, -errno. Its event descriptors do not block. */
	struct ibv_context *(*open)(const char *name, int *err);
	int (*close)(struct ibv_context *c);
	/* Names of all devices, blank between, or "" */
	void (*list)(char *out, size_t size);
	int (*query_device)(struct ibv_context *c, struct ibv_device_attr *a);
	/* Whether reliable connections may send from, READ and WRITE memory that is not locked
	 * (ibv_query_device_ex(3), on-demand paging). */
	bool (*odp)(struct ibv_context *c);
	int (*query_port)(struct ibv_context *c, uint8_t port, struct ibv_port_attr *a);
	/* 0; or an errno: no such entry */
	int (*query_gid)(struct ibv_context *c, uint8_t port, uint32_t index, struct ibv_gid_entry *e);
	struct ibv_pd *(*alloc_pd)(struct ibv_context *c);
	int (*dealloc_pd)(struct ibv_pd *pd);
	struct ibv_mr *(*reg_mr)(struct ibv_pd *pd, void *addr, size_t len, uint64_t iova, unsigned access);
	int (*dereg_mr)(struct ibv_mr *mr);
	struct ibv_comp_channel *(*create_channel)(struct ibv_context *c);
	int (*destroy_channel)(struct ibv_comp_channel *ch);
	struct ibv_cq *(*create_cq)(struct ibv_context *c, int cqe, void *ctx, struct ibv_comp_channel *ch);
	int (*destroy_cq)(struct ibv_cq *cq);
	int (*poll_cq)(struct ibv_cq *cq, int n, struct ibv_wc *wc);
	int (*req_notify)(struct ibv_cq *cq, int solicited_only);
	int (*get_cq_event)(struct ibv_comp_channel *ch, struct ibv_cq **cq, void **ctx);
	void (*ack_cq_events)(struct ibv_cq *cq, unsigned n);
	struct ibv_srq *(*create_srq)(struct ibv_pd *pd, struct ibv_srq_init_attr *a);
	int (*destroy_srq)(struct ibv_srq *srq);
	int (*post_srq_recv)(struct ibv_srq *srq, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad);
	struct ibv_qp *(*create_qp)(struct ibv_pd *pd, struct ibv_qp_init_attr *a);
	int (*modify_qp)(struct ibv_qp *qp, struct ibv_qp_attr *a, int mask);
	int (*destroy_qp)(struct ibv_qp *qp);
	int (*post_send)(struct ibv_qp *qp, struct ibv_send_wr *wr, struct ibv_send_wr **bad);
	int (*get_async_event)(struct ibv_context *c, struct ibv_async_event *e);
	void (*ack_async_event)(struct ibv_async_event *e);
	/* A thread for a call that waits: pthread_create(3), every signal blocked; pthread_join(3). */
	int (*spawn)(pthread_t *t, void *(*fn)(void *arg), void *arg);
	int (*join)(pthread_t t);
	uint64_t (*now)(void); /* ns, monotonic */
};

extern const struct verbs_api verbs_api_ib; /* libibverbs */

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the double share; nobody else includes this. */
#ifndef OUTRIGGER_TESTS_VERBS_DOUBLE_INT_H
#define OUTRIGGER_TESTS_VERBS_DOUBLE_INT_H

#include "tests/lib/verbs_double.h"

#define QPS	  64
#define CQ_DEPTH  4096
#define SRQ_DEPTH 4096
#define HELD	  4096
#define EVENTS	  64
#define KEYS	  64
#define JOBS	  16
#define KEY_STEP  0x100u /* of a key's number, its place is the rest */

struct dev {
	struct ibv_context ctx; /* first */
	bool active, odp;
	unsigned ngids;
	uint64_t limit, locked;
	struct ibv_async_event events[EVENTS];
	unsigned nevents;
};

struct channel {
	struct ibv_comp_channel pub; /* first */
	struct cq *fired[8];
	unsigned nfired;
};

struct cq {
	struct ibv_cq pub; /* first */
	struct channel *channel;
	struct ibv_wc wc[CQ_DEPTH];
	unsigned first, count, room;
	int notify; /* 0: not, 1: any, 2: solicited or failed */
};

struct srq {
	struct ibv_srq pub; /* first */
	struct {
		uint64_t wr_id;
		struct ibv_sge sge;
	} wr[SRQ_DEPTH];
	unsigned first, count, room;
};

struct qp {
	struct ibv_qp pub; /* first */
	struct ibv_pd *pd;
	unsigned access, incarnation;
	bool used, gone;
	struct dev *dev;
	struct cq *scq, *rcq;
	struct srq *srq;
	uint32_t dest, max_inline, depth;
	uint32_t unsignalled; /* posted, and no completion asked for since */
};

struct held {
	struct cq *cq;
	struct ibv_wc wc;
	bool solicited;
};

struct vd_state {
	struct dev dev[VD_DEVICES];
	unsigned ndevs, objects;
	struct qp qp[QPS];
	struct {
		struct ibv_mr mr; /* first */
		bool used;
		unsigned access;
		uint64_t iova;
	} key[KEYS];
	uint32_t next_key; /* numbers are not used again */
	struct {
		bool armed, flying;
		uint32_t qpn;
		unsigned incarnation;
		struct ibv_send_wr wr;
		uint8_t data[65536];
		uint32_t len;
	} late;
	bool hold, fail;
	enum ibv_wc_status status;
	struct held held[HELD];
	unsigned nheld;
	uint32_t max_inline;
	void (*before_notify)(void *arg);
	void *before_arg;
	struct vd_counts counts;
	bool hold_jobs, unreachable;
	struct {
		void *(*fn)(void *arg);
		void *arg;
		uintptr_t number;
	} job[JOBS];
	unsigned njobs;
	uintptr_t jobs_made;
	uint64_t now;
};

extern struct vd_state vd;

/* The queue pair of that number, or NULL. */
struct qp *vd_qp(uint32_t qpn);

/* Of verbs_api; verbs_double_traffic.c. */
int vd_poll_cq(struct ibv_cq *pub, int n, struct ibv_wc *wc);
int vd_req_notify(struct ibv_cq *pub, int solicited_only);
int vd_get_cq_event(struct ibv_comp_channel *pub, struct ibv_cq **cq, void **ctx);
void vd_ack_cq_events(struct ibv_cq *cq, unsigned n);
int vd_post_srq_recv(struct ibv_srq *pub, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad);
int vd_post_send(struct ibv_qp *pub, struct ibv_send_wr *wr, struct ibv_send_wr **bad);
int vd_get_async_event(struct ibv_context *c, struct ibv_async_event *e);
void vd_ack_async_event(struct ibv_async_event *e);

#endif

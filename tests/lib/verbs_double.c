/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/verbs_double.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

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

static struct {
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
} w;

static void raise_fd(int fd)
{
	uint64_t one = 1;

	assert(write(fd, &one, sizeof(one)) == sizeof(one));
}

static void clear_fd(int fd)
{
	uint64_t n;

	assert(read(fd, &n, sizeof(n)) == sizeof(n) || errno == EAGAIN);
}

/* ---- the test's side ---- */

void vd_world(unsigned n)
{
	assert(n <= VD_DEVICES && !w.objects);
	memset(&w, 0, sizeof(w));
	w.ndevs = n;
	w.max_inline = 128;
	for (unsigned i = 0; i < n; i++) {
		w.dev[i].active = true;
		w.dev[i].ngids = 2;
	}
}

unsigned vd_leaks(void)
{
	return w.objects;
}

void vd_port(unsigned device, bool active, unsigned ngids)
{
	w.dev[device].active = active;
	w.dev[device].ngids = ngids;
}

void vd_memlock(unsigned device, uint64_t bytes)
{
	w.dev[device].limit = bytes;
}

void vd_odp(unsigned device, bool on)
{
	w.dev[device].odp = on;
}

void vd_max_inline(uint32_t bytes)
{
	w.max_inline = bytes;
}

void vd_hold(void)
{
	w.hold = true;
}

void vd_fail_next(enum ibv_wc_status status)
{
	w.fail = true;
	w.status = status;
}

void vd_before_notify(void (*fn)(void *arg), void *arg)
{
	w.before_notify = fn;
	w.before_arg = arg;
}

struct vd_counts vd_counts(void)
{
	return w.counts;
}

static struct qp *by_number(uint32_t qpn)
{
	return qpn && qpn <= QPS && w.qp[qpn - 1].used ? &w.qp[qpn - 1] : NULL;
}

void vd_vanish(uint32_t qpn)
{
	by_number(qpn)->gone = true;
}

void vd_async(unsigned device, enum ibv_event_type type, uint32_t qpn)
{
	struct dev *d = &w.dev[device];
	struct ibv_async_event e = {.event_type = type};

	assert(d->nevents < EVENTS);
	if (qpn)
		e.element.qp = &by_number(qpn)->pub;
	else if (type == IBV_EVENT_PORT_ERR || type == IBV_EVENT_PORT_ACTIVE)
		e.element.port_num = 1;
	d->events[d->nevents++] = e;
	raise_fd(d->ctx.async_fd);
}

/* ---- completions ---- */

static void deliver(struct cq *cq, const struct ibv_wc *wc, bool solicited)
{
	assert(cq->count < cq->room); /* an overrun breaks the queue on real devices */
	cq->wc[(cq->first + cq->count++) % CQ_DEPTH] = *wc;
	if (cq->notify == 1 || (cq->notify == 2 && (solicited || wc->status != IBV_WC_SUCCESS))) {
		cq->notify = 0;
		assert(cq->channel->nfired < 8);
		cq->channel->fired[cq->channel->nfired++] = cq;
		raise_fd(cq->channel->pub.fd);
	}
}

static void complete(struct cq *cq, const struct ibv_wc *wc)
{
	if (!w.hold) {
		deliver(cq, wc, false);
		return;
	}
	assert(w.nheld < HELD);
	w.held[w.nheld++] = (struct held){cq, *wc, false};
}

unsigned vd_release(unsigned n)
{
	unsigned done = 0;

	for (; done < n && done < w.nheld; done++)
		deliver(w.held[done].cq, &w.held[done].wc, false);
	memmove(w.held, w.held + done, (w.nheld - done) * sizeof(w.held[0]));
	w.nheld -= done;
	if (!w.nheld)
		w.hold = false;
	return done;
}

/* ---- objects ---- */

static struct ibv_context *vd_open(const char *name, int *err)
{
	unsigned i;

	*err = -ENODEV;
	if (sscanf(name, "vd%u", &i) != 1 || i >= w.ndevs)
		return NULL;
	*err = 0;
	w.dev[i].ctx.async_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC | EFD_SEMAPHORE);
	w.objects++;
	return &w.dev[i].ctx;
}

static int vd_close(struct ibv_context *c)
{
	close(c->async_fd);
	w.objects--;
	return 0;
}

static void vd_list(char *out, size_t size)
{
	size_t used = 0;

	*out = '\0';
	for (unsigned i = 0; i < w.ndevs && used < size; i++)
		used += (size_t)snprintf(out + used, size - used, "%svd%u", i ? " " : "", i);
}

static int vd_query_device(struct ibv_context *c, struct ibv_device_attr *a)
{
	(void)c;
	*a = (struct ibv_device_attr){.max_qp_rd_atom = 16,
				      .max_qp_init_rd_atom = 16,
				      .max_cqe = CQ_DEPTH,
				      .max_srq_wr = SRQ_DEPTH,
				      .max_qp = QPS};
	return 0;
}

static bool has_odp(struct ibv_context *c)
{
	return ((struct dev *)c)->odp;
}

static int vd_query_port(struct ibv_context *c, uint8_t port, struct ibv_port_attr *a)
{
	struct dev *d = (struct dev *)c;

	if (port != 1)
		return EINVAL;
	*a = (struct ibv_port_attr){.state = d->active ? IBV_PORT_ACTIVE : IBV_PORT_DOWN,
				    .active_mtu = IBV_MTU_4096,
				    .gid_tbl_len = (int)d->ngids,
				    .link_layer = IBV_LINK_LAYER_ETHERNET};
	return 0;
}

/* 0: RoCEv2, link-local; 1: RoCEv2, IPv4. */
static int vd_query_gid(struct ibv_context *c, uint8_t port, uint32_t index, struct ibv_gid_entry *e)
{
	struct dev *d = (struct dev *)c;

	(void)port;
	if (index >= d->ngids)
		return ENODATA;
	*e = (struct ibv_gid_entry){.gid_index = index, .port_num = 1, .gid_type = IBV_GID_TYPE_ROCE_V2};
	if (index == 1)
		e->gid.raw[10] = e->gid.raw[11] = 0xff;
	else
		e->gid.raw[0] = 0xfe;
	e->gid.raw[15] = (uint8_t)(d - w.dev + 1);
	return 0;
}

static struct ibv_pd *vd_alloc_pd(struct ibv_context *c)
{
	struct ibv_pd *pd = calloc(1, sizeof(*pd));

	pd->context = c;
	w.objects++;
	return pd;
}

static int forget(void *p)
{
	free(p);
	w.objects--;
	return 0;
}

static int vd_dealloc_pd(struct ibv_pd *pd)
{
	return forget(pd);
}

static struct ibv_mr *vd_reg_mr(struct ibv_pd *pd, void *addr, size_t len, uint64_t iova, unsigned access)
{
	struct dev *d = (struct dev *)pd->context;

	if (d->limit && !(access & IBV_ACCESS_ON_DEMAND) && d->locked + len > d->limit) {
		errno = ENOMEM;
		return NULL;
	}
	for (unsigned i = 0; i < KEYS; i++) {
		if (w.key[i].used)
			continue;
		w.key[i].used = true;
		w.key[i].access = access;
		w.key[i].iova = iova;
		w.next_key += KEY_STEP;
		w.key[i].mr = (struct ibv_mr){.context = pd->context,
					      .pd = pd,
					      .addr = addr,
					      .length = len,
					      .lkey = w.next_key + i,
					      .rkey = w.next_key + i};
		d->locked += access & IBV_ACCESS_ON_DEMAND ? 0 : len;
		w.objects++;
		return &w.key[i].mr;
	}
	errno = ENOMEM;
	return NULL;
}

static int vd_dereg_mr(struct ibv_mr *mr)
{
	struct dev *d = (struct dev *)mr->context;

	if (!(w.key[mr->lkey % KEY_STEP].access & IBV_ACCESS_ON_DEMAND))
		d->locked -= mr->length;
	w.key[mr->lkey % KEY_STEP].used = false;
	w.objects--;
	return 0;
}

static struct ibv_comp_channel *vd_create_channel(struct ibv_context *c)
{
	struct channel *ch = calloc(1, sizeof(*ch));

	ch->pub.context = c;
	ch->pub.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC | EFD_SEMAPHORE);
	w.objects++;
	return &ch->pub;
}

static int vd_destroy_channel(struct ibv_comp_channel *ch)
{
	close(ch->fd);
	return forget(ch);
}

static struct ibv_cq *vd_create_cq(struct ibv_context *c, int cqe, void *ctx, struct ibv_comp_channel *ch)
{
	struct cq *cq;

	assert(cqe > 0 && cqe <= CQ_DEPTH);
	cq = calloc(1, sizeof(*cq));
	cq->pub.context = c;
	cq->pub.cq_context = ctx;
	cq->channel = (struct channel *)ch;
	cq->room = (unsigned)cqe;
	w.objects++;
	return &cq->pub;
}

static int vd_destroy_cq(struct ibv_cq *cq)
{
	for (unsigned i = 0; i < QPS; i++)
		assert(!w.qp[i].used || (&w.qp[i].scq->pub != cq && &w.qp[i].rcq->pub != cq));
	return forget(cq);
}

static int vd_poll_cq(struct ibv_cq *pub, int n, struct ibv_wc *wc)
{
	struct cq *cq = (struct cq *)pub;
	int got = 0;

	for (; got < n && cq->count; got++) {
		wc[got] = cq->wc[cq->first];
		cq->first = (cq->first + 1) % CQ_DEPTH;
		cq->count--;
	}
	return got;
}

static int vd_req_notify(struct ibv_cq *pub, int solicited_only)
{
	void (*fn)(void *arg) = w.before_notify;

	w.before_notify = NULL;
	if (fn)
		fn(w.before_arg);
	((struct cq *)pub)->notify = solicited_only ? 2 : 1;
	w.counts.notifies++;
	return 0;
}

static int vd_get_cq_event(struct ibv_comp_channel *pub, struct ibv_cq **cq, void **ctx)
{
	struct channel *ch = (struct channel *)pub;

	if (!ch->nfired) {
		errno = EAGAIN;
		return -1;
	}
	clear_fd(pub->fd);
	*cq = &ch->fired[--ch->nfired]->pub;
	*ctx = (*cq)->cq_context;
	return 0;
}

static void vd_ack_cq_events(struct ibv_cq *cq, unsigned n)
{
	(void)cq;
	(void)n;
}

static struct ibv_srq *vd_create_srq(struct ibv_pd *pd, struct ibv_srq_init_attr *a)
{
	struct srq *s = calloc(1, sizeof(*s));

	s->pub.context = pd->context;
	s->pub.pd = pd;
	s->room = a->attr.max_wr;
	assert(s->room <= SRQ_DEPTH);
	w.objects++;
	return &s->pub;
}

static int vd_destroy_srq(struct ibv_srq *srq)
{
	return forget(srq);
}

/* The registration of that number; -1: none now. */
static int key_of(uint32_t key)
{
	unsigned i = key % KEY_STEP;

	return i < KEYS && w.key[i].used && w.key[i].mr.lkey == key ? (int)i : -1;
}

static bool key_covers(uint32_t lkey, uint64_t addr, uint32_t len)
{
	int i = key_of(lkey);
	const struct ibv_mr *mr = i < 0 ? NULL : &w.key[i].mr;

	/* Keys take the addresses they were registered with; what is local is used under those it has. */
	return mr && w.key[i].iova == (uintptr_t)mr->addr && addr >= w.key[i].iova && len <= mr->length &&
	       addr - (uintptr_t)mr->addr <= mr->length - len;
}

/* Where a peer's address lies, with that right; NULL: nowhere. */
static uint8_t *reach(const struct qp *to, uint32_t rkey, uint64_t addr, uint32_t len, unsigned right)
{
	int i = key_of(rkey);
	uint64_t off = i < 0 ? 0 : addr - w.key[i].iova;

	if (i < 0 || !(w.key[i].access & right) || !(to->access & right) || w.key[i].mr.pd != to->pd ||
	    addr < w.key[i].iova || len > w.key[i].mr.length || off > w.key[i].mr.length - len)
		return NULL;
	return (uint8_t *)w.key[i].mr.addr + off;
}

static int vd_post_srq_recv(struct ibv_srq *pub, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad)
{
	struct srq *s = (struct srq *)pub;

	w.counts.recv_posts++;
	for (; wr; wr = wr->next) {
		*bad = wr;
		if (s->count == s->room)
			return ENOMEM;
		assert(key_covers(wr->sg_list->lkey, wr->sg_list->addr, wr->sg_list->length));
		s->wr[(s->first + s->count) % SRQ_DEPTH].wr_id = wr->wr_id;
		s->wr[(s->first + s->count++) % SRQ_DEPTH].sge = *wr->sg_list;
	}
	return 0;
}

static struct ibv_qp *vd_create_qp(struct ibv_pd *pd, struct ibv_qp_init_attr *a)
{
	if (a->cap.max_inline_data > w.max_inline) {
		errno = EINVAL;
		return NULL;
	}
	for (unsigned i = 0; i < QPS; i++) {
		struct qp *q = &w.qp[i];
		unsigned incarnation = q->incarnation + 1;

		if (q->used)
			continue;
		memset(q, 0, sizeof(*q));
		q->used = true;
		q->pd = pd;
		q->incarnation = incarnation;
		q->dev = (struct dev *)pd->context;
		q->pub.context = pd->context;
		q->pub.qp_num = i + 1;
		q->pub.state = IBV_QPS_RESET;
		q->scq = (struct cq *)a->send_cq;
		q->rcq = (struct cq *)a->recv_cq;
		q->srq = (struct srq *)a->srq;
		q->max_inline = a->cap.max_inline_data;
		q->depth = a->cap.max_send_wr;
		w.objects++;
		return &q->pub;
	}
	errno = ENOMEM;
	return NULL;
}

static int vd_modify_qp(struct ibv_qp *pub, struct ibv_qp_attr *a, int mask)
{
	struct qp *q = (struct qp *)pub;
	static const int from[] = {
		[IBV_QPS_INIT] = IBV_QPS_RESET, [IBV_QPS_RTR] = IBV_QPS_INIT, [IBV_QPS_RTS] = IBV_QPS_RTR};

	assert(mask & IBV_QP_STATE);
	if (a->qp_state != IBV_QPS_ERR && a->qp_state != IBV_QPS_RESET &&
	    (int)pub->state != from[a->qp_state])
		return EINVAL;
	if (a->qp_state == IBV_QPS_RTR && w.unreachable) {
		w.unreachable = false;
		return ETIMEDOUT;
	}
	if (a->qp_state == IBV_QPS_RTR)
		q->dest = a->dest_qp_num;
	if (mask & IBV_QP_ACCESS_FLAGS)
		q->access = a->qp_access_flags;
	pub->state = a->qp_state;
	return 0;
}

static int vd_destroy_qp(struct ibv_qp *pub)
{
	struct qp *q = (struct qp *)pub;

	q->used = false;
	w.objects--;
	return 0;
}

/* ---- messages ---- */

static void take_recv(struct qp *q, const uint8_t *data, uint32_t len, struct ibv_wc wc)
{
	struct srq *s = q->srq;

	wc.wr_id = s->wr[s->first].wr_id;
	wc.qp_num = q->pub.qp_num;
	if (wc.status == IBV_WC_SUCCESS && len > s->wr[s->first].sge.length) {
		wc.status = IBV_WC_LOC_LEN_ERR;
		q->pub.state = IBV_QPS_ERR;
	} else if (wc.status == IBV_WC_SUCCESS && len && data) {
		memcpy((void *)(uintptr_t)s->wr[s->first].sge.addr, data, len);
	}
	wc.byte_len = len;
	s->first = (s->first + 1) % SRQ_DEPTH;
	s->count--;
	complete(q->rcq, &wc);
}

void vd_inject(uint32_t qpn, enum ibv_wc_opcode opcode, enum ibv_wc_status status, uint32_t len,
	       unsigned flags)
{
	struct qp *q = by_number(qpn);

	assert(q && q->srq->count);
	take_recv(q, NULL, len, (struct ibv_wc){.opcode = opcode, .status = status, .wc_flags = flags});
}

static bool alive(const struct qp *q, const struct qp *to)
{
	return to && !to->gone && to->dest == q->pub.qp_num &&
	       (to->pub.state == IBV_QPS_RTR || to->pub.state == IBV_QPS_RTS);
}

/* Refused by the other end, whose queue pair is broken by it too. */
static enum ibv_wc_status refused(struct qp *to)
{
	to->pub.state = IBV_QPS_ERR;
	vd_async((unsigned)(to->dev - w.dev), IBV_EVENT_QP_ACCESS_ERR, to->pub.qp_num);
	return IBV_WC_REM_ACCESS_ERR;
}

static enum ibv_wc_status move(struct qp *q, struct qp *to, const struct ibv_send_wr *wr)
{
	bool write = wr->opcode == IBV_WR_RDMA_WRITE;
	unsigned right = write ? IBV_ACCESS_REMOTE_WRITE : IBV_ACCESS_REMOTE_READ;
	uint32_t len = wr->sg_list->length;
	uint8_t *local = (uint8_t *)(uintptr_t)wr->sg_list->addr, *at;

	w.counts.reads += !write;
	w.counts.writes += write;
	if (!alive(q, to))
		return IBV_WC_RETRY_EXC_ERR;
	if (write && w.late.armed) {
		assert(len <= sizeof(w.late.data));
		w.late.armed = false;
		w.late.flying = true;
		w.late.qpn = to->pub.qp_num;
		w.late.incarnation = to->incarnation;
		w.late.wr = *wr;
		w.late.len = len;
		memcpy(w.late.data, local, len);
		return IBV_WC_RETRY_EXC_ERR;
	}
	at = reach(to, wr->wr.rdma.rkey, wr->wr.rdma.remote_addr, len, right);
	if (!at)
		return refused(to);
	memcpy(write ? at : local, write ? local : at, len);
	return IBV_WC_SUCCESS;
}

void vd_delay_write(void)
{
	w.late.armed = true;
}

bool vd_land(void)
{
	struct qp *to = by_number(w.late.qpn);
	uint8_t *at;

	assert(w.late.flying);
	w.late.flying = false;
	if (!to || to->incarnation != w.late.incarnation ||
	    (to->pub.state != IBV_QPS_RTR && to->pub.state != IBV_QPS_RTS))
		return false;
	at = reach(to, w.late.wr.wr.rdma.rkey, w.late.wr.wr.rdma.remote_addr, w.late.len,
		   IBV_ACCESS_REMOTE_WRITE);
	if (at)
		memcpy(at, w.late.data, w.late.len);
	return at != NULL;
}

enum ibv_wc_status vd_access(uint32_t qpn, bool write, uint64_t addr, uint32_t rkey, void *local,
			     uint32_t len)
{
	struct qp *q = by_number(qpn);
	struct ibv_sge sge = {(uintptr_t)local, len, 0};
	struct ibv_send_wr wr = {.sg_list = &sge,
				 .num_sge = 1,
				 .opcode = write ? IBV_WR_RDMA_WRITE : IBV_WR_RDMA_READ,
				 .wr.rdma = {.remote_addr = addr, .rkey = rkey}};

	return move(q, by_number(q->dest), &wr);
}

static enum ibv_wc_status carry(struct qp *q, const struct ibv_send_wr *wr)
{
	struct qp *to = by_number(q->dest);
	const struct ibv_sge *sge = wr->num_sge ? wr->sg_list : NULL;
	uint32_t len = sge ? sge->length : 0;

	if (w.fail) {
		w.fail = false;
		return w.status;
	}
	if (sge && !(wr->send_flags & IBV_SEND_INLINE) && !key_covers(sge->lkey, sge->addr, len))
		return IBV_WC_LOC_PROT_ERR;
	if (wr->opcode == IBV_WR_RDMA_READ || wr->opcode == IBV_WR_RDMA_WRITE)
		return move(q, to, wr);
	if (!alive(q, to))
		return IBV_WC_RETRY_EXC_ERR;
	if (!to->srq->count) {
		w.counts.rnr++;
		return IBV_WC_RNR_RETRY_EXC_ERR;
	}
	take_recv(to, sge ? (const uint8_t *)(uintptr_t)sge->addr : NULL, len,
		  (struct ibv_wc){.opcode = IBV_WC_RECV});
	return IBV_WC_SUCCESS;
}

static void end_send(struct qp *q, const struct ibv_send_wr *wr, enum ibv_wc_status status)
{
	struct ibv_wc wc = {
		.wr_id = wr->wr_id, .status = status, .opcode = IBV_WC_SEND, .qp_num = q->pub.qp_num};

	if (status != IBV_WC_SUCCESS)
		q->pub.state = IBV_QPS_ERR;
	if (status == IBV_WC_SUCCESS && !(wr->send_flags & IBV_SEND_SIGNALED)) {
		q->unsignalled++;
		return;
	}
	q->unsignalled = 0;
	complete(q->scq, &wc);
}

static int vd_post_send(struct ibv_qp *pub, struct ibv_send_wr *wr, struct ibv_send_wr **bad)
{
	struct qp *q = (struct qp *)pub;

	w.counts.posts++;
	for (; wr; wr = wr->next) {
		*bad = wr;
		if (pub->state != IBV_QPS_RTS && pub->state != IBV_QPS_ERR)
			return EINVAL;
		/* Without a completion nobody may know that a place is free. */
		assert(q->unsignalled < q->depth);
		w.counts.sends++;
		w.counts.signalled += !!(wr->send_flags & IBV_SEND_SIGNALED);
		if (wr->send_flags & IBV_SEND_INLINE) {
			assert(wr->sg_list->length <= q->max_inline);
			w.counts.inlined++;
		}
		end_send(q, wr, pub->state == IBV_QPS_ERR ? IBV_WC_WR_FLUSH_ERR : carry(q, wr));
	}
	return 0;
}

static int vd_get_async_event(struct ibv_context *c, struct ibv_async_event *e)
{
	struct dev *d = (struct dev *)c;

	if (!d->nevents) {
		errno = EAGAIN;
		return -1;
	}
	clear_fd(c->async_fd);
	*e = d->events[0];
	memmove(d->events, d->events + 1, --d->nevents * sizeof(*e));
	return 0;
}

static void vd_ack_async_event(struct ibv_async_event *e)
{
	(void)e;
}

/* ---- jobs ---- */

void vd_hold_jobs(void)
{
	w.hold_jobs = true;
}

void vd_unreachable(void)
{
	w.unreachable = true;
}

bool vd_run_job(void)
{
	if (!w.njobs)
		return false;
	w.job[0].fn(w.job[0].arg);
	memmove(w.job, w.job + 1, --w.njobs * sizeof(w.job[0]));
	return true;
}

static int vd_spawn(pthread_t *t, void *(*fn)(void *arg), void *arg)
{
	*t = (pthread_t)++w.jobs_made;
	if (!w.hold_jobs) {
		fn(arg);
		return 0;
	}
	if (w.njobs == JOBS)
		return EAGAIN;
	w.job[w.njobs].fn = fn;
	w.job[w.njobs].arg = arg;
	w.job[w.njobs++].number = w.jobs_made;
	return 0;
}

static int vd_join(pthread_t t)
{
	bool waits = true;

	while (waits) {
		waits = false;
		for (unsigned i = 0; i < w.njobs; i++)
			waits |= w.job[i].number == (uintptr_t)t;
		if (waits)
			vd_run_job();
	}
	return 0;
}

const struct verbs_api verbs_double = {
	.open = vd_open,
	.close = vd_close,
	.list = vd_list,
	.query_device = vd_query_device,
	.odp = has_odp,
	.query_port = vd_query_port,
	.query_gid = vd_query_gid,
	.alloc_pd = vd_alloc_pd,
	.dealloc_pd = vd_dealloc_pd,
	.reg_mr = vd_reg_mr,
	.dereg_mr = vd_dereg_mr,
	.create_channel = vd_create_channel,
	.destroy_channel = vd_destroy_channel,
	.create_cq = vd_create_cq,
	.destroy_cq = vd_destroy_cq,
	.poll_cq = vd_poll_cq,
	.req_notify = vd_req_notify,
	.get_cq_event = vd_get_cq_event,
	.ack_cq_events = vd_ack_cq_events,
	.create_srq = vd_create_srq,
	.destroy_srq = vd_destroy_srq,
	.post_srq_recv = vd_post_srq_recv,
	.create_qp = vd_create_qp,
	.modify_qp = vd_modify_qp,
	.destroy_qp = vd_destroy_qp,
	.post_send = vd_post_send,
	.get_async_event = vd_get_async_event,
	.ack_async_event = vd_ack_async_event,
	.spawn = vd_spawn,
	.join = vd_join,
};

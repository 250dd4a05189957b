/* SPDX-License-Identifier: Apache-2.0 */
/* What goes between queue pairs, and what their devices say of it: completions and events. */
#include "tests/lib/verbs_double_int.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

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
	if (!vd.hold) {
		deliver(cq, wc, false);
		return;
	}
	assert(vd.nheld < HELD);
	vd.held[vd.nheld++] = (struct held){cq, *wc, false};
}

unsigned vd_release(unsigned n)
{
	unsigned done = 0;

	for (; done < n && done < vd.nheld; done++)
		deliver(vd.held[done].cq, &vd.held[done].wc, false);
	memmove(vd.held, vd.held + done, (vd.nheld - done) * sizeof(vd.held[0]));
	vd.nheld -= done;
	if (!vd.nheld)
		vd.hold = false;
	return done;
}

int vd_poll_cq(struct ibv_cq *pub, int n, struct ibv_wc *wc)
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

int vd_req_notify(struct ibv_cq *pub, int solicited_only)
{
	void (*fn)(void *arg) = vd.before_notify;

	vd.before_notify = NULL;
	if (fn)
		fn(vd.before_arg);
	((struct cq *)pub)->notify = solicited_only ? 2 : 1;
	vd.counts.notifies++;
	return 0;
}

int vd_get_cq_event(struct ibv_comp_channel *pub, struct ibv_cq **cq, void **ctx)
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

void vd_ack_cq_events(struct ibv_cq *cq, unsigned n)
{
	(void)cq;
	(void)n;
}

/* ---- memory ---- */

/* The registration of that number; -1: none now. */
static int key_of(uint32_t key)
{
	unsigned i = key % KEY_STEP;

	return i < KEYS && vd.key[i].used && vd.key[i].mr.lkey == key ? (int)i : -1;
}

static bool key_covers(uint32_t lkey, uint64_t addr, uint32_t len)
{
	int i = key_of(lkey);
	const struct ibv_mr *mr = i < 0 ? NULL : &vd.key[i].mr;

	/* Keys take the addresses they were registered with; what is local is used under those it has. */
	return mr && vd.key[i].iova == (uintptr_t)mr->addr && addr >= vd.key[i].iova && len <= mr->length &&
	       addr - (uintptr_t)mr->addr <= mr->length - len;
}

/* Where a peer's address lies, with that right; NULL: nowhere. */
static uint8_t *reach(const struct qp *to, uint32_t rkey, uint64_t addr, uint32_t len, unsigned right)
{
	int i = key_of(rkey);
	uint64_t off = i < 0 ? 0 : addr - vd.key[i].iova;

	if (i < 0 || !(vd.key[i].access & right) || !(to->access & right) || vd.key[i].mr.pd != to->pd ||
	    addr < vd.key[i].iova || len > vd.key[i].mr.length || off > vd.key[i].mr.length - len)
		return NULL;
	return (uint8_t *)vd.key[i].mr.addr + off;
}

int vd_post_srq_recv(struct ibv_srq *pub, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad)
{
	struct srq *s = (struct srq *)pub;

	vd.counts.recv_posts++;
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
	struct qp *q = vd_qp(qpn);

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
	vd_async((unsigned)(to->dev - vd.dev), IBV_EVENT_QP_ACCESS_ERR, to->pub.qp_num);
	return IBV_WC_REM_ACCESS_ERR;
}

static enum ibv_wc_status move(struct qp *q, struct qp *to, const struct ibv_send_wr *wr)
{
	bool write = wr->opcode == IBV_WR_RDMA_WRITE;
	unsigned right = write ? IBV_ACCESS_REMOTE_WRITE : IBV_ACCESS_REMOTE_READ;
	uint32_t len = wr->sg_list->length;
	uint8_t *local = (uint8_t *)(uintptr_t)wr->sg_list->addr, *at;

	vd.counts.reads += !write;
	vd.counts.writes += write;
	if (!alive(q, to))
		return IBV_WC_RETRY_EXC_ERR;
	if (write && vd.late.armed) {
		assert(len <= sizeof(vd.late.data));
		vd.late.armed = false;
		vd.late.flying = true;
		vd.late.qpn = to->pub.qp_num;
		vd.late.incarnation = to->incarnation;
		vd.late.wr = *wr;
		vd.late.len = len;
		memcpy(vd.late.data, local, len);
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
	vd.late.armed = true;
}

bool vd_land(void)
{
	struct qp *to = vd_qp(vd.late.qpn);
	uint8_t *at;

	assert(vd.late.flying);
	vd.late.flying = false;
	if (!to || to->incarnation != vd.late.incarnation ||
	    (to->pub.state != IBV_QPS_RTR && to->pub.state != IBV_QPS_RTS))
		return false;
	at = reach(to, vd.late.wr.wr.rdma.rkey, vd.late.wr.wr.rdma.remote_addr, vd.late.len,
		   IBV_ACCESS_REMOTE_WRITE);
	if (at)
		memcpy(at, vd.late.data, vd.late.len);
	return at != NULL;
}

enum ibv_wc_status vd_access(uint32_t qpn, bool write, uint64_t addr, uint32_t rkey, void *local,
			     uint32_t len)
{
	struct qp *q = vd_qp(qpn);
	struct ibv_sge sge = {(uintptr_t)local, len, 0};
	struct ibv_send_wr wr = {.sg_list = &sge,
				 .num_sge = 1,
				 .opcode = write ? IBV_WR_RDMA_WRITE : IBV_WR_RDMA_READ,
				 .wr.rdma = {.remote_addr = addr, .rkey = rkey}};

	return move(q, vd_qp(q->dest), &wr);
}

static enum ibv_wc_status carry(struct qp *q, const struct ibv_send_wr *wr)
{
	struct qp *to = vd_qp(q->dest);
	const struct ibv_sge *sge = wr->num_sge ? wr->sg_list : NULL;
	uint32_t len = sge ? sge->length : 0;

	if (vd.fail) {
		vd.fail = false;
		return vd.status;
	}
	if (sge && !(wr->send_flags & IBV_SEND_INLINE) && !key_covers(sge->lkey, sge->addr, len))
		return IBV_WC_LOC_PROT_ERR;
	if (wr->opcode == IBV_WR_RDMA_READ || wr->opcode == IBV_WR_RDMA_WRITE)
		return move(q, to, wr);
	if (!alive(q, to))
		return IBV_WC_RETRY_EXC_ERR;
	if (!to->srq->count) {
		vd.counts.rnr++;
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

int vd_post_send(struct ibv_qp *pub, struct ibv_send_wr *wr, struct ibv_send_wr **bad)
{
	struct qp *q = (struct qp *)pub;

	vd.counts.posts++;
	for (; wr; wr = wr->next) {
		*bad = wr;
		if (pub->state != IBV_QPS_RTS && pub->state != IBV_QPS_ERR)
			return EINVAL;
		/* Without a completion nobody may know that a place is free. */
		assert(q->unsignalled < q->depth);
		vd.counts.sends++;
		vd.counts.signalled += !!(wr->send_flags & IBV_SEND_SIGNALED);
		if (wr->send_flags & IBV_SEND_INLINE) {
			assert(wr->sg_list->length <= q->max_inline);
			vd.counts.inlined++;
		}
		end_send(q, wr, pub->state == IBV_QPS_ERR ? IBV_WC_WR_FLUSH_ERR : carry(q, wr));
	}
	return 0;
}

/* ---- events ---- */

void vd_async(unsigned device, enum ibv_event_type type, uint32_t qpn)
{
	struct dev *d = &vd.dev[device];
	struct ibv_async_event e = {.event_type = type};

	assert(d->nevents < EVENTS);
	if (qpn)
		e.element.qp = &vd_qp(qpn)->pub;
	else if (type == IBV_EVENT_PORT_ERR || type == IBV_EVENT_PORT_ACTIVE)
		e.element.port_num = 1;
	d->events[d->nevents++] = e;
	raise_fd(d->ctx.async_fd);
}

int vd_get_async_event(struct ibv_context *c, struct ibv_async_event *e)
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

void vd_ack_async_event(struct ibv_async_event *e)
{
	(void)e;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/verbs_double_int.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct vd_state vd;

/* ---- the test's side ---- */

void vd_world(unsigned n)
{
	assert(n <= VD_DEVICES && !vd.objects);
	memset(&vd, 0, sizeof(vd));
	vd.ndevs = n;
	vd.max_inline = 128;
	for (unsigned i = 0; i < n; i++) {
		vd.dev[i].active = true;
		vd.dev[i].ngids = 2;
	}
}

unsigned vd_leaks(void)
{
	return vd.objects;
}

void vd_port(unsigned device, bool active, unsigned ngids)
{
	vd.dev[device].active = active;
	vd.dev[device].ngids = ngids;
}

void vd_memlock(unsigned device, uint64_t bytes)
{
	vd.dev[device].limit = bytes;
}

void vd_odp(unsigned device, bool on)
{
	vd.dev[device].odp = on;
}

void vd_max_inline(uint32_t bytes)
{
	vd.max_inline = bytes;
}

void vd_hold(void)
{
	vd.hold = true;
}

void vd_fail_next(enum ibv_wc_status status)
{
	vd.fail = true;
	vd.status = status;
}

void vd_before_notify(void (*fn)(void *arg), void *arg)
{
	vd.before_notify = fn;
	vd.before_arg = arg;
}

struct vd_counts vd_counts(void)
{
	return vd.counts;
}

void vd_vanish(uint32_t qpn)
{
	vd_qp(qpn)->gone = true;
}

/* ---- objects ---- */

static struct ibv_context *vd_open(const char *name, int *err)
{
	unsigned i;

	*err = -ENODEV;
	if (sscanf(name, "vd%u", &i) != 1 || i >= vd.ndevs)
		return NULL;
	*err = 0;
	vd.dev[i].ctx.async_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC | EFD_SEMAPHORE);
	vd.objects++;
	return &vd.dev[i].ctx;
}

static int vd_close(struct ibv_context *c)
{
	close(c->async_fd);
	vd.objects--;
	return 0;
}

static void vd_list(char *out, size_t size)
{
	size_t used = 0;

	*out = '\0';
	for (unsigned i = 0; i < vd.ndevs && used < size; i++)
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
	e->gid.raw[15] = (uint8_t)(d - vd.dev + 1);
	return 0;
}

static struct ibv_pd *vd_alloc_pd(struct ibv_context *c)
{
	struct ibv_pd *pd = calloc(1, sizeof(*pd));

	pd->context = c;
	vd.objects++;
	return pd;
}

static int forget(void *p)
{
	free(p);
	vd.objects--;
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
		if (vd.key[i].used)
			continue;
		vd.key[i].used = true;
		vd.key[i].access = access;
		vd.key[i].iova = iova;
		vd.next_key += KEY_STEP;
		vd.key[i].mr = (struct ibv_mr){.context = pd->context,
					       .pd = pd,
					       .addr = addr,
					       .length = len,
					       .lkey = vd.next_key + i,
					       .rkey = vd.next_key + i};
		d->locked += access & IBV_ACCESS_ON_DEMAND ? 0 : len;
		vd.objects++;
		return &vd.key[i].mr;
	}
	errno = ENOMEM;
	return NULL;
}

static int vd_dereg_mr(struct ibv_mr *mr)
{
	struct dev *d = (struct dev *)mr->context;

	if (!(vd.key[mr->lkey % KEY_STEP].access & IBV_ACCESS_ON_DEMAND))
		d->locked -= mr->length;
	vd.key[mr->lkey % KEY_STEP].used = false;
	vd.objects--;
	return 0;
}

static struct ibv_comp_channel *vd_create_channel(struct ibv_context *c)
{
	struct channel *ch = calloc(1, sizeof(*ch));

	ch->pub.context = c;
	ch->pub.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC | EFD_SEMAPHORE);
	vd.objects++;
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
	vd.objects++;
	return &cq->pub;
}

static int vd_destroy_cq(struct ibv_cq *cq)
{
	for (unsigned i = 0; i < QPS; i++)
		assert(!vd.qp[i].used || (&vd.qp[i].scq->pub != cq && &vd.qp[i].rcq->pub != cq));
	return forget(cq);
}

static struct ibv_srq *vd_create_srq(struct ibv_pd *pd, struct ibv_srq_init_attr *a)
{
	struct srq *s = calloc(1, sizeof(*s));

	s->pub.context = pd->context;
	s->pub.pd = pd;
	s->room = a->attr.max_wr;
	assert(s->room <= SRQ_DEPTH);
	vd.objects++;
	return &s->pub;
}

static int vd_destroy_srq(struct ibv_srq *srq)
{
	return forget(srq);
}

struct qp *vd_qp(uint32_t qpn)
{
	return qpn && qpn <= QPS && vd.qp[qpn - 1].used ? &vd.qp[qpn - 1] : NULL;
}

static struct ibv_qp *vd_create_qp(struct ibv_pd *pd, struct ibv_qp_init_attr *a)
{
	if (a->cap.max_inline_data > vd.max_inline) {
		errno = EINVAL;
		return NULL;
	}
	for (unsigned i = 0; i < QPS; i++) {
		struct qp *q = &vd.qp[i];
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
		vd.objects++;
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
	if (a->qp_state == IBV_QPS_RTR && vd.unreachable) {
		vd.unreachable = false;
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
	vd.objects--;
	return 0;
}

/* ---- jobs ---- */

void vd_hold_jobs(void)
{
	vd.hold_jobs = true;
}

void vd_unreachable(void)
{
	vd.unreachable = true;
}

bool vd_run_job(void)
{
	if (!vd.njobs)
		return false;
	vd.job[0].fn(vd.job[0].arg);
	memmove(vd.job, vd.job + 1, --vd.njobs * sizeof(vd.job[0]));
	return true;
}

static int vd_spawn(pthread_t *t, void *(*fn)(void *arg), void *arg)
{
	*t = (pthread_t)++vd.jobs_made;
	if (!vd.hold_jobs) {
		fn(arg);
		return 0;
	}
	if (vd.njobs == JOBS)
		return EAGAIN;
	vd.job[vd.njobs].fn = fn;
	vd.job[vd.njobs].arg = arg;
	vd.job[vd.njobs++].number = vd.jobs_made;
	return 0;
}

static int vd_join(pthread_t t)
{
	bool waits = true;

	while (waits) {
		waits = false;
		for (unsigned i = 0; i < vd.njobs; i++)
			waits |= vd.job[i].number == (uintptr_t)t;
		if (waits)
			vd_run_job();
	}
	return 0;
}

static uint64_t vd_now(void)
{
	return vd.now;
}

void vd_pass(uint64_t ns)
{
	vd.now += ns;
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
	.now = vd_now,
};

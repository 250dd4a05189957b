/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Payload by READ and WRITE.
 *
 * A move is a chain of work requests behind one doorbell, and one completion. A READ is over with its
 * completion. A WRITE's completion says that the peer's adapter has it, not that the peer's processor can see
 * it: that is certain when a later message of the same queue pair has come (InfiniBand 9.7.5.1.6, and the
 * bus keeps writes before what follows them), but the answer that the caller is about to send may take
 * any path. So the last request of a move that writes READs one byte back: the responder carries it out after
 * the WRITEs (table 79), and reading pushes them through the bus. It costs no message and no further wait, as
 * its response acknowledges them all.
 *
 * A queue pair that broke leaves its moves undecided until it is destroyed or everything posted came back:
 * only then is the local memory the caller's again. What the peer's adapter may still do to the peer's memory
 * is for the peer to end, link_verbs_fence().
 */
#include <errno.h>
#include <string.h>

#include "fabric/link/verbs/verbs_impl.h"

/* Moves take so much of the send queue, messages always find the rest. */
#define MOVE_ROOM (VERBS_SQ_DEPTH / 4 * 3)

static unsigned places(const struct verbs_move *m)
{
	return m->n + m->write;
}

static bool room(const struct vqp *q, const struct verbs_move *m)
{
	return q->posted - q->done + places(m) <= MOVE_ROOM;
}

static void finish(struct link_verbs *v, struct verbs_move *m, int err)
{
	m->err = err;
	list_del(&m->node);
	list_add_tail(&v->moved, &m->node);
	v->nmoves--;
	v_count(v, VERBS_C_moves_failed, err != 0);
}

static void count_moved(struct link_verbs *v, const struct verbs_move *m, uint64_t bytes)
{
	v_count(v, VERBS_C_moves, 1);
	v_count(v, m->write ? VERBS_C_writes : VERBS_C_reads, m->n);
	v_count(v, m->write ? VERBS_C_write_bytes : VERBS_C_read_bytes, bytes);
	v_count(v, VERBS_C_tx_doorbells, 1);
	v_count(v, VERBS_C_tx_signalled, 1);
}

/* false: the queue pair is broken, perhaps gone. */
static bool post(struct link_verbs *v, struct vqp *q, struct verbs_move *m)
{
	struct ibv_send_wr wr[VERBS_SEGS_MAX + 1], *rest;
	struct ibv_sge sge[VERBS_SEGS_MAX + 1];
	const struct verbs_mem *mem = vmem_find(v, m->local, 1);
	unsigned n = places(m);
	uint64_t at = (uintptr_t)m->local, end = at;

	for (unsigned i = 0; i < n; i++) {
		bool flush = i == m->n;
		const struct verbs_seg *s = &m->seg[flush ? i - 1 : i];

		sge[i] = (struct ibv_sge){at, s->len, mem ? mem->mr->lkey : 0};
		if (flush)
			sge[i] = (struct ibv_sge){(uintptr_t)v_flush_room(v), 1, v->tx_mr->lkey};
		wr[i] = (struct ibv_send_wr){
			.sg_list = &sge[i],
			.num_sge = 1,
			.opcode = m->write && !flush ? IBV_WR_RDMA_WRITE : IBV_WR_RDMA_READ,
			.next = i + 1 < n ? &wr[i + 1] : NULL,
			.wr.rdma = {.remote_addr = s->addr, .rkey = s->rkey},
		};
		at += s->len;
		end = flush ? end : at;
		wr[i].wr_id = vqp_push(q, NO_SLOT, sge[i].length);
	}
	wr[n - 1].send_flags = IBV_SEND_SIGNALED;
	m->last = q->asked = q->posted;
	list_add_tail(&q->running, &m->node);
	count_moved(v, m, end - (uintptr_t)m->local);
	if (!v->dev.api->post_send(q->qp, wr, &rest))
		return true;
	vqp_break(v, q);
	return false;
}

void vmove_start(struct link_verbs *v, struct vqp *q)
{
	while (q->state == VQP_READY && !list_empty(&q->waiting)) {
		struct verbs_move *m = container_of(q->waiting.next, struct verbs_move, node);

		if (!room(q, m))
			return;
		list_del(&m->node);
		if (!post(v, q, m))
			return;
	}
}

void vmove_over(struct link_verbs *v, struct vqp *q, uint32_t pos)
{
	/* A device that says what was never posted is not believed. */
	if (pos - q->done > q->posted - q->done)
		return;
	while (!list_empty(&q->running)) {
		struct verbs_move *m = container_of(q->running.next, struct verbs_move, node);

		if ((int32_t)(m->last - pos) > 0)
			return;
		finish(v, m, 0);
	}
}

void vmove_fail(struct link_verbs *v, struct vqp *q)
{
	while (!list_empty(&q->running))
		finish(v, container_of(q->running.next, struct verbs_move, node), -EIO);
	while (!list_empty(&q->waiting))
		finish(v, container_of(q->waiting.next, struct verbs_move, node), -EIO);
}

int vmove_tell(struct link_verbs *v)
{
	struct list *it;
	int n = 0;

	for (; (it = list_pop(&v->moved)) != NULL; n++) {
		struct verbs_move *m = container_of(it, struct verbs_move, node);

		m->done(m, m->err);
	}
	return n;
}

int link_verbs_move(struct link *l, uint64_t id, struct verbs_move *m)
{
	struct link_verbs *v = verbs_of(l);
	struct vqp *q = idmap_get(&v->by_id, id);
	uint64_t len = 0;

	if (!q || q->state != VQP_READY || v->port_down || v->dead)
		return -ENOTCONN;
	if (!m->n || m->n > VERBS_SEGS_MAX)
		return -EINVAL;
	for (unsigned i = 0; i < m->n; i++) {
		if (!m->seg[i].len)
			return -EINVAL;
		len += m->seg[i].len;
	}
	if (!vmem_find(v, m->local, len))
		return -EFAULT;
	m->qpn = q->dest;
	v->nmoves++;
	list_add_tail(&q->waiting, &m->node);
	vmove_start(v, q);
	/* Asleep, the link would hear of failures alone. */
	if (v->sends_armed && !v->moves_armed) {
		v->dead |= v->dev.api->req_notify(v->scq, 0) != 0;
		v->moves_armed = true;
		vio_poll_sends(v);
	}
	return 0;
}

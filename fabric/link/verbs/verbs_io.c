/* SPDX-License-Identifier: Apache-2.0 */
/* Messages in and out, completions, events. */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

#include "fabric/base/log.h"
#include "fabric/link/verbs/verbs_impl.h"

#define WC_BURST   32
#define POST_BURST 32u
#define CHAIN_MAX  32
#define BUSY_POLLS 1024u /* what the device says by itself is heard under load too */
/* Armed and without messages, the events are looked at every so many polls. */
#define EVENT_POLLS	  64u
#define EVENT_POLLS_WOKEN 4u

/* ---- sends ---- */

static struct vqp *by_gen(struct link_verbs *v, uint64_t wr_id)
{
	return idmap_get(&v->by_gen, wr_id >> 32);
}

/* A completion tells of all posts before it, too. Of those that are flushed it is not known whether they were
 * carried out. */
static void send_over(struct link_verbs *v, struct vqp *q, const struct ibv_wc *wc)
{
	uint32_t pos = (uint32_t)wc->wr_id;
	bool good = wc->status == IBV_WC_SUCCESS;

	if (good || q->state == VQP_READY)
		vmove_over(v, q, good ? pos : pos - 1);
	if (good)
		vqp_answered(q, pos);
	else if (wc->status == IBV_WC_RETRY_EXC_ERR)
		vqp_unanswered(q, pos);
	vqp_release(v, q, pos);
	if (q->state == VQP_DYING && q->done == q->posted)
		vqp_free(v, q);
	else if (!good)
		vqp_break(v, q);
	else if (!list_empty(&q->waiting))
		vmove_start(v, q);
}

void vio_poll_sends(struct link_verbs *v)
{
	struct ibv_wc wc[WC_BURST];
	int n;

	do {
		n = v->dev.api->poll_cq(v->scq, WC_BURST, wc);
		for (int i = 0; i < n; i++) {
			struct vqp *q = by_gen(v, wc[i].wr_id);

			if (q)
				send_over(v, q, &wc[i]);
		}
	} while (n == WC_BURST);
	if (n < 0)
		v->dead = true;
}

static bool room(const struct vqp *q)
{
	/* One is kept for the last send of all. */
	return q->posted - q->done < VERBS_SQ_DEPTH - 1;
}

/* Fills one work request; false: no slot. */
static bool fill(struct link_verbs *v, struct vqp *q, const struct link_tx *tx, struct ibv_send_wr *wr,
		 struct ibv_sge *sge)
{
	uint16_t slot = NO_SLOT;

	*wr = (struct ibv_send_wr){.opcode = IBV_WR_SEND, .sg_list = sge, .num_sge = 1};
	*sge = (struct ibv_sge){.addr = (uintptr_t)tx->data, .length = tx->len};
	if (tx->len <= v->max_inline) {
		wr->send_flags = IBV_SEND_INLINE;
		v_count(v, VERBS_C_tx_inline, 1);
	} else {
		if (!v->nfree_slots)
			return false;
		slot = v->free_slot[--v->nfree_slots];
		sge->addr = (uintptr_t)(v->tx_memory + (size_t)slot * VERBS_BUF_SIZE);
		sge->lkey = v->tx_mr->lkey;
		memcpy((void *)(uintptr_t)sge->addr, tx->data, tx->len);
		v_count(v, VERBS_C_tx_copied, 1);
		v_count(v, VERBS_C_tx_copied_bytes, tx->len);
	}
	wr->wr_id = vqp_push(q, slot, tx->len);
	if (q->posted % VERBS_SIGNAL == 0 || v->nfree_slots < v->tx_slots / 4) {
		wr->send_flags |= IBV_SEND_SIGNALED;
		q->asked = q->posted;
		v_count(v, VERBS_C_tx_signalled, 1);
	}
	return true;
}

/* As many as fit of the n to one peer, with one doorbell; their number. */
static int send_chain(struct link_verbs *v, struct vqp *q, const struct link_tx *tx, int n)
{
	struct ibv_send_wr wr[CHAIN_MAX], *rest;
	struct ibv_sge sge[CHAIN_MAX];
	uint64_t bytes = 0;
	int k = 0;

	for (; k < n && k < CHAIN_MAX; k++) {
		if (!tx[k].len || tx[k].len > VERBS_BUF_SIZE) {
			l_count(v, LINK_C_drop_tx_error, 1);
			break;
		}
		if (!room(q) || !fill(v, q, &tx[k], &wr[k], &sge[k]))
			break;
		wr[k].next = NULL;
		if (k)
			wr[k - 1].next = &wr[k];
		bytes += tx[k].len;
	}
	if (!k)
		return 0;
	v_count(v, VERBS_C_tx_doorbells, 1);
	if (v->dev.api->post_send(q->qp, wr, &rest)) {
		l_count(v, LINK_C_drop_tx_error, (uint64_t)k);
		vqp_break(v, q);
		return 0;
	}
	l_count(v, LINK_C_tx_packets, (uint64_t)k);
	l_count(v, LINK_C_tx_bytes, bytes);
	return k;
}

static int send_run(struct link_verbs *v, struct vqp *q, const struct link_tx *tx, int n)
{
	int sent = 0;

	while (sent < n && q->state == VQP_READY) {
		int k = send_chain(v, q, tx + sent, n - sent);

		if (!k)
			break;
		sent += k;
	}
	return sent;
}

int vio_send(struct link *l, const struct link_tx *tx, int n)
{
	struct link_verbs *v = verbs_of(l);
	int taken = 0;

	l_count(v, LINK_C_tx_calls, 1);
	vio_poll_sends(v);
	for (int i = 0, k; i < n; i += k) {
		uint64_t id = 0;
		struct vqp *q;
		int sent;

		for (k = 1; i + k < n && link_addr_equal(&tx[i].to, &tx[i + k].to); k++)
			;
		for (int b = 8; b < 16; b++)
			id = id << 8 | tx[i].to.ip[b];
		q = idmap_get(&v->by_id, id);
		if (!q || q->state != VQP_READY || v->port_down || v->dead) {
			l_count(v, LINK_C_drop_tx_noroute, (uint64_t)k);
			continue;
		}
		sent = send_run(v, q, tx + i, k);
		taken += sent;
		if (sent < k)
			l_count(v, LINK_C_drop_tx_full, (uint64_t)(k - sent));
	}
	return taken;
}

/* ---- receives ---- */

void vio_refill(struct link_verbs *v)
{
	struct ibv_recv_wr wr[POST_BURST], *rest = NULL;
	struct ibv_sge sge[POST_BURST];

	while (v->nposted < v->rx_depth && !v->dead) {
		uint32_t n = 0;

		for (; n < POST_BURST && v->nposted + n < v->rx_depth; n++) {
			struct buf *b = buf_get(v->pool);
			uint32_t index = v->free_index[v->nposted + n];

			if (!b)
				break;
			v->posted[index] = b;
			sge[n] = (struct ibv_sge){(uintptr_t)b->base, VERBS_BUF_SIZE, v->rx_mr->lkey};
			wr[n] = (struct ibv_recv_wr){.wr_id = index, .sg_list = &sge[n], .num_sge = 1};
			if (n)
				wr[n - 1].next = &wr[n];
		}
		if (!n)
			return;
		v_count(v, VERBS_C_rx_posts, 1);
		v->nposted += n;
		if (v->dev.api->post_srq_recv(v->srq, wr, &rest)) {
			v->dead = true; /* it takes what it said it takes, or it is broken */
			return;
		}
	}
}

/* The buffer of a completion, back from the device; NULL: one that was never given. */
static struct buf *take_posted(struct link_verbs *v, uint64_t index)
{
	struct buf *b = index < v->rx_depth ? v->posted[index] : NULL;

	if (!b)
		return NULL;
	v->posted[index] = NULL;
	v->free_index[--v->nposted] = (uint32_t)index;
	return b;
}

static void breach(struct link_verbs *v, struct vqp *q)
{
	l_count(v, LINK_C_drop_rx_malformed, 1);
	v_count(v, VERBS_C_qp_breach, 1);
	vqp_break(v, q);
}

/* One completion of the receive queue: true: *rx is a datagram. */
static bool received(struct link_verbs *v, const struct ibv_wc *wc, struct link_rx *rx)
{
	struct buf *b = take_posted(v, wc->wr_id);
	struct vqp *q = idmap_get(&v->by_qpn, wc->qp_num);
	bool good = wc->status == IBV_WC_SUCCESS;

	if (!b)
		return false;
	if (!good) {
		v_count(v, VERBS_C_rx_flushed, 1);
		if (q && wc->status != IBV_WC_WR_FLUSH_ERR)
			breach(v, q); /* longer than a buffer, or not allowed */
	} else if (!q || q->state == VQP_DYING) {
		l_count(v, LINK_C_drop_rx_malformed, 1);
		good = false;
	} else if (wc->opcode != IBV_WC_RECV || wc->wc_flags & IBV_WC_WITH_IMM || !wc->byte_len ||
		   wc->byte_len > VERBS_BUF_SIZE) {
		breach(v, q);
		good = false;
	}
	if (!good) {
		buf_put(b);
		return false;
	}
	*rx = (struct link_rx){.data = b->base, .len = wc->byte_len, .buf = b, .from = q->addr};
	l_count(v, LINK_C_rx_packets, 1);
	l_count(v, LINK_C_rx_bytes, wc->byte_len);
	return true;
}

static int poll_receives(struct link_verbs *v, struct link_rx *rx, int max)
{
	struct ibv_wc wc[WC_BURST];
	int got = 0, n;

	do {
		n = v->dev.api->poll_cq(v->rcq, max - got < WC_BURST ? max - got : WC_BURST, wc);
		for (int i = 0; i < n; i++)
			got += received(v, &wc[i], &rx[got]);
	} while (n > 0 && got < max);
	if (n < 0)
		v->dead = true;
	return got;
}

/* ---- events ---- */

static void on_async(struct link_verbs *v, const struct ibv_async_event *e, uint32_t qpn)
{
	struct vqp *q;

	switch (e->event_type) {
	case IBV_EVENT_QP_FATAL:
	case IBV_EVENT_QP_REQ_ERR:
	case IBV_EVENT_QP_ACCESS_ERR:
		q = idmap_get(&v->by_qpn, qpn);
		if (q)
			vqp_break(v, q);
		break;
	case IBV_EVENT_PORT_ERR:
	case IBV_EVENT_PORT_ACTIVE:
		if (e->element.port_num != v->dev.port.port)
			break;
		if (v->port_down == (e->event_type == IBV_EVENT_PORT_ERR))
			break;
		v->port_down = !v->port_down;
		v->came_up |= !v->port_down;
		v_count(v, VERBS_C_port_down, v->port_down);
		log_warn("RDMA device %s: port %u is %s", v->dev.port.device, v->dev.port.port,
			 v->port_down ? "down" : "up again");
		break;
	case IBV_EVENT_DEVICE_FATAL:
	case IBV_EVENT_CQ_ERR:
	case IBV_EVENT_SRQ_ERR:
		if (!v->dead)
			log_err("RDMA device %s: gone or broken; its paths are dead", v->dev.port.device);
		v->dead = true;
		break;
	default:
		break;
	}
}

/* What made fd() readable. Queue pairs found broken are not freed before their events are acknowledged:
 * ibv_destroy_qp() waits for that, and breaking one only posts to it. */
static void take_events(struct link_verbs *v, bool messages)
{
	struct ibv_async_event e;
	struct ibv_cq *cq;
	void *ctx;

	v->armed = false;
	while (!v->dev.api->get_cq_event(v->channel, &cq, &ctx)) {
		v_count(v, VERBS_C_wakeups, 1);
		v->dev.api->ack_cq_events(cq, 1);
		if (cq == v->scq)
			v->sends_armed = v->moves_armed = false;
		else if (messages)
			return; /* it was that: whatever else there is wakes again */
	}
	while (!v->dead && !v->dev.api->get_async_event(v->dev.ctx, &e)) {
		struct ibv_async_event copy = e;
		bool of_qp = e.event_type == IBV_EVENT_QP_FATAL || e.event_type == IBV_EVENT_QP_REQ_ERR ||
			     e.event_type == IBV_EVENT_QP_ACCESS_ERR;
		/* Before it is acknowledged a queue pair cannot go. */
		uint32_t qpn = of_qp && e.element.qp ? e.element.qp->qp_num : 0;

		v->dev.api->ack_async_event(&e);
		on_async(v, &copy, qpn);
	}
}

static bool arm(struct link_verbs *v)
{
	/* Of sends only those that fail give an event, unless somebody waits for one. */
	bool moves = v->nmoves > 0;

	if (v->dev.api->req_notify(v->rcq, 0) ||
	    ((!v->sends_armed || (moves && !v->moves_armed)) && v->dev.api->req_notify(v->scq, !moves)))
		v->dead = true;
	v->armed = v->sends_armed = true;
	v->moves_armed |= moves;
	if (moves)
		vio_poll_sends(v); /* what came before gives no event */
	v->idle = 0;
	return !v->dead;
}

/* A device that is gone must not keep its owner awake. */
static int gone(struct link_verbs *v)
{
	if (!counter_get(&v->counters[VERBS_C_device_gone])) {
		v_count(v, VERBS_C_device_gone, 1);
		epoll_ctl(v->epoll, EPOLL_CTL_DEL, v->channel->fd, NULL);
		epoll_ctl(v->epoll, EPOLL_CTL_DEL, v->dev.ctx->async_fd, NULL);
		vqp_free_all(v);
	}
	vjob_reap(v);
	vmove_tell(v);
	return -ENODEV;
}

int vio_recv(struct link *l, struct link_rx *rx, int max)
{
	struct link_verbs *v = verbs_of(l);
	int n;

	vjob_reap(v);
	if (v->dead)
		return gone(v);
	l_count(v, LINK_C_rx_calls, 1);
	n = poll_receives(v, rx, max);
	vio_poll_sends(v);
	vqp_sweep(v);
	if (vmove_tell(v))
		v->idle = 0;
	/* Who does not spin was perhaps woken by an event; who spins must not pay for looking. */
	if (++v->polls % BUSY_POLLS == 0 ||
	    (v->armed && (n || ++v->idle % (v->spins ? EVENT_POLLS : EVENT_POLLS_WOKEN) == 0)))
		take_events(v, n > 0);
	if (n) {
		v->idle = 0;
	} else if (!v->armed && ++v->idle > v->spins && arm(v)) {
		/* What came before it was armed gives no event. */
		n = poll_receives(v, rx, max);
	}
	vio_refill(v);
	return v->dead && !n ? gone(v) : n;
}

uint64_t vio_deadline(struct link *l)
{
	const struct link_verbs *v = verbs_of(l);

	return (v->armed || v->dead) && list_empty(&v->moved) ? UINT64_MAX : 0;
}

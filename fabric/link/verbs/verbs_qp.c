/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Peers and their queue pairs: RESET -> INIT -> RTR -> RTS, and the way out.
 *
 * One that broke is put into the error state, where everything posted to it comes back as flushed; a last
 * send, posted behind all others, says when. Until then its slots may still be read by the device.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fabric/base/clock.h"
#include "fabric/base/log.h"
#include "fabric/link/verbs/verbs_impl.h"

#define ACK_TIMEOUT 14u /* 4.096 us x 2^14 = 67 ms for an acknowledgement */
#define RETRIES	    6u	/* 7 is for ever to some devices */
#define RNR_RETRIES 6u
#define RNR_TIMER   14u /* 1.28 ms before a sender that found no buffer tries again */
#define READ_DEPTH  16u /* RDMA READs under way per queue pair, if the device can */
#define QPN_MAX	    0xffffffu
#define HOP_LIMIT   64

/* An address that is the number of a peer and nothing on a network: of 100::/64, the discard prefix (RFC
 * 6666), with the first bit of the last half set apart by the port. */
void link_verbs_address(struct link_addr *a, uint64_t id)
{
	memset(a, 0, sizeof(*a));
	a->ip[0] = 1;
	a->port = 1;
	for (int i = 0; i < 8; i++)
		a->ip[8 + i] = (uint8_t)(id >> (56 - 8 * i));
}

static struct ibv_qp *make_qp(struct link_verbs *v)
{
	struct ibv_qp_init_attr a = {
		.send_cq = v->scq,
		.recv_cq = v->rcq,
		.srq = v->srq,
		.qp_type = IBV_QPT_RC,
		.cap = {.max_send_wr = VERBS_SQ_DEPTH, .max_send_sge = 1, .max_inline_data = v->max_inline},
	};
	struct ibv_qp *qp;

	errno = 0;
	qp = v->dev.api->create_qp(v->pd, &a);
	/* How much a device takes inline is known only by asking. */
	while (!qp && errno != ENOMEM && a.cap.max_inline_data) {
		a.cap.max_inline_data /= 2;
		qp = v->dev.api->create_qp(v->pd, &a);
	}
	if (qp && a.cap.max_inline_data < v->max_inline)
		v->max_inline = a.cap.max_inline_data;
	return qp;
}

static int to_init(struct link_verbs *v, struct ibv_qp *qp)
{
	struct ibv_qp_attr a = {
		.qp_state = IBV_QPS_INIT,
		.pkey_index = v->dev.port.pkey,
		.port_num = v->dev.port.port,
		.qp_access_flags = v->serves ? IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE : 0,
	};

	return v->dev.api->modify_qp(qp, &a,
				     IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS);
}

/* What connects it, made here as it reads what the link knows of its port. */
static void to_receive(const struct link_verbs *v, struct vqp *q, const struct verbs_end *to)
{
	uint32_t reads = (uint32_t)v->dev.attr.max_qp_rd_atom;
	struct ibv_qp_attr *a = &q->to[0];

	*a = (struct ibv_qp_attr){
		.qp_state = IBV_QPS_RTR,
		.path_mtu = to->mtu < v->dev.pattr.active_mtu ? (enum ibv_mtu)to->mtu
							      : v->dev.pattr.active_mtu,
		.dest_qp_num = to->qpn,
		.rq_psn = to->psn,
		.max_dest_rd_atomic = (uint8_t)(reads < READ_DEPTH ? reads : READ_DEPTH),
		.min_rnr_timer = RNR_TIMER,
		.ah_attr = {.dlid = to->lid,
			    .sl = v->dev.port.sl,
			    .port_num = v->dev.port.port,
			    .is_global = v->dev.ethernet},
	};

	memcpy(a->ah_attr.grh.dgid.raw, to->gid, 16);
	a->ah_attr.grh.sgid_index = (uint8_t)v->dev.gid.gid_index;
	a->ah_attr.grh.hop_limit = HOP_LIMIT;
	a->ah_attr.grh.traffic_class = v->dev.port.traffic_class;
	q->mask[0] = IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN |
		     IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER;
}

static void to_send(const struct link_verbs *v, struct vqp *q)
{
	uint32_t reads = (uint32_t)v->dev.attr.max_qp_init_rd_atom;

	q->to[1] = (struct ibv_qp_attr){
		.qp_state = IBV_QPS_RTS,
		.sq_psn = q->psn,
		.timeout = ACK_TIMEOUT,
		.retry_cnt = RETRIES,
		.rnr_retry = RNR_RETRIES,
		.max_rd_atomic = (uint8_t)(reads < READ_DEPTH ? reads : READ_DEPTH),
	};

	q->mask[1] = IBV_QP_STATE | IBV_QP_SQ_PSN | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY |
		     IBV_QP_MAX_QP_RD_ATOMIC;
}

/* ---- news ---- */

static void tell(struct link_verbs *v, struct vqp *q, enum verbs_event what, int err)
{
	struct vqp_note *note = q->note;

	if (!note)
		return;
	/* What is told last is what counts. */
	note->news = (struct verbs_news){.what = what, .id = q->id, .err = err, .unanswered = q->unanswered};
	if (!note->queued)
		list_add_tail(&v->news, &note->node);
	note->queued = true;
	if (what == VERBS_BROKEN) {
		note->q = NULL;
		q->note = NULL;
	}
}

static void drop_note(struct vqp_note *note)
{
	list_del(&note->node);
	note->queued = false;
	if (!note->q)
		free(note);
}

bool link_verbs_news(struct link *l, struct verbs_news *out)
{
	struct link_verbs *v = verbs_of(l);

	vjob_reap(v);
	if (v->came_up) {
		v->came_up = false;
		*out = (struct verbs_news){.what = VERBS_PORT_UP};
		return true;
	}
	if (list_empty(&v->news))
		return false;
	struct vqp_note *note = container_of(v->news.next, struct vqp_note, node);

	*out = note->news;
	drop_note(note);
	return true;
}

/* ---- the way out ---- */

static void forget(struct link_verbs *v, struct vqp *q)
{
	if (idmap_get(&v->by_id, q->id) == q)
		idmap_remove(&v->by_id, q->id);
}

/* The packets that its messages are cut into: enum ibv_mtu's 1 is 256 bytes. */
static uint32_t full_packet(const struct vqp *q)
{
	return 128u << q->to[0].path_mtu;
}

uint64_t vqp_push(struct vqp *q, uint16_t slot, uint32_t len)
{
	q->packet[q->posted % VERBS_SQ_DEPTH] = (uint16_t)(len < full_packet(q) ? len : full_packet(q));
	q->sq[q->posted++ % VERBS_SQ_DEPTH] = slot;
	return (uint64_t)q->gen << 32 | q->posted;
}

void vqp_answered(struct vqp *q, uint32_t pos)
{
	if (pos - q->done > q->posted - q->done)
		return;
	for (uint32_t i = q->done; i != pos && q->answered < full_packet(q); i++)
		if (q->packet[i % VERBS_SQ_DEPTH] > q->answered)
			q->answered = q->packet[i % VERBS_SQ_DEPTH];
}

void vqp_unanswered(struct vqp *q, uint32_t pos)
{
	uint16_t packet = q->packet[(pos - 1) % VERBS_SQ_DEPTH];

	if (pos - 1 - q->done >= q->posted - q->done)
		return;
	vqp_answered(q, pos - 1); /* they are in their order */
	if (q->answered && packet > q->answered)
		q->unanswered = packet;
}

void vqp_release(struct link_verbs *v, struct vqp *q, uint32_t pos)
{
	/* A device that says what was never posted is not believed. */
	if (pos - q->done > q->posted - q->done)
		return;
	for (; q->done != pos; q->done++) {
		uint16_t slot = q->sq[q->done % VERBS_SQ_DEPTH];

		if (slot != NO_SLOT)
			v->free_slot[v->nfree_slots++] = slot;
	}
}

/* Destroying may take long; what peers could still do to our memory ends now. */
static void reset(struct link_verbs *v, struct vqp *q)
{
	struct ibv_qp_attr a = {.qp_state = IBV_QPS_RESET};

	if (v->serves)
		v->dev.api->modify_qp(q->qp, &a, IBV_QP_STATE);
}

void vqp_free(struct link_verbs *v, struct vqp *q)
{
	list_del(&q->node);
	forget(v, q);
	idmap_remove(&v->by_gen, q->gen);
	if (q->note) {
		q->note->q = NULL;
		drop_note(q->note);
		q->note = NULL;
	}
	if (!q->qp) {
		vqp_gone(v, q);
		return;
	}
	if (idmap_get(&v->by_qpn, q->qpn) == q)
		idmap_remove(&v->by_qpn, q->qpn);
	/* The device is through with them if all came back; else when it is destroyed. */
	if (q->done == q->posted)
		vmove_fail(v, q);
	reset(v, q);
	vjob_destroy(v, q);
}

void vqp_gone(struct link_verbs *v, struct vqp *q)
{
	list_del(&q->node);
	/* Nothing reads them now. */
	vqp_release(v, q, q->posted);
	vmove_fail(v, q);
	v->nqps--;
	free(q);
}

void vqp_free_all(struct link_verbs *v)
{
	list_for_each_safe (it, &v->peers)
		vqp_free(v, container_of(it, struct vqp, node));
	list_for_each_safe (it, &v->dying)
		vqp_free(v, container_of(it, struct vqp, node));
}

/* The last send, which comes back when all others have. */
static int post_last(struct link_verbs *v, struct vqp *q)
{
	struct ibv_send_wr wr = {.opcode = IBV_WR_SEND, .send_flags = IBV_SEND_SIGNALED}, *out;

	wr.wr_id = vqp_push(q, NO_SLOT, 0);
	if (!v->dev.api->post_send(q->qp, &wr, &out))
		return 0;
	q->posted--;
	return -EIO;
}

static void die(struct link_verbs *v, struct vqp *q)
{
	struct ibv_qp_attr a = {.qp_state = IBV_QPS_ERR};
	bool posted = q->state == VQP_READY;

	q->state = VQP_DYING;
	q->silent = 0;
	list_del(&q->node);
	list_add_tail(&v->dying, &q->node);
	if (!posted || v->dev.api->modify_qp(q->qp, &a, IBV_QP_STATE) || post_last(v, q))
		vqp_free(v, q);
}

void vqp_break(struct link_verbs *v, struct vqp *q)
{
	if (q->state == VQP_CONNECTING) {
		q->breached = true; /* when the thread gives it back */
		return;
	}
	if (q->state == VQP_DYING || q->state == VQP_LEAVING)
		return;
	v_count(v, VERBS_C_qp_broken, 1);
	forget(v, q);
	tell(v, q, VERBS_BROKEN, 0);
	die(v, q);
}

/* Tries again and again for two seconds and a half at most (ACK_TIMEOUT, which a device may stretch four
 * times, and RETRIES), then says so: one that says nothing for ten has lost it. */
#define SWEEP_NS      NSEC_PER_SEC
#define SILENT_SWEEPS 10u
/* Flushing is the device's own work. */
#define DYING_SWEEPS 3u

/* Nothing came of what it waits for, so many times in a row? Sweeps are counted, not time: who was not run
 * for a while does not take that for the device's silence. */
static bool silent(struct vqp *q, bool waits, unsigned sweeps)
{
	bool moved = q->done != q->seen;

	q->seen = q->done;
	q->silent = waits && !moved ? q->silent + 1 : 0;
	return q->silent > sweeps;
}

void vqp_sweep(struct link_verbs *v)
{
	uint64_t now = v->dev.api->now();

	if (now < v->sweep_at)
		return;
	v->sweep_at = now + SWEEP_NS;
	list_for_each_safe (it, &v->dying) {
		struct vqp *q = container_of(it, struct vqp, node);

		if (!silent(q, true, DYING_SWEEPS))
			continue;
		v_count(v, VERBS_C_qp_stuck, 1);
		vqp_free(v, q);
	}
	list_for_each_safe (it, &v->peers) {
		struct vqp *q = container_of(it, struct vqp, node);

		if (!silent(q, (int32_t)(q->asked - q->done) > 0, SILENT_SWEEPS))
			continue;
		log_warn("RDMA device %s: queue pair %u does not say what became of its requests: giving it "
			 "up",
			 v->dev.port.device, q->qpn);
		v_count(v, VERBS_C_qp_stuck, 1);
		vqp_break(v, q);
	}
}

/* One that a thread destroys was reset before. One that a thread connects is waited for. */
void link_verbs_fence(struct link *l, uint64_t id, uint32_t qpn)
{
	struct link_verbs *v = verbs_of(l);
	struct vqp *q;

	list_for_each_safe (it, &v->dying) {
		q = container_of(it, struct vqp, node);
		if (q->id == id && q->qpn == qpn)
			vqp_free(v, q);
	}
	q = idmap_get(&v->by_id, id);
	if (!q || q->qpn != qpn)
		return;
	if (q->state == VQP_CONNECTING)
		vjob_take(v, q);
	q = idmap_get(&v->by_id, id);
	if (!q || q->qpn != qpn)
		return;
	v_count(v, VERBS_C_qp_fenced, 1);
	v_count(v, VERBS_C_qp_broken, 1);
	tell(v, q, VERBS_BROKEN, 0);
	vqp_free(v, q);
}

void vqp_connected(struct link_verbs *v, struct vqp *q)
{
	list_del(&q->node);
	list_add_tail(&v->peers, &q->node);
	if (q->closed) {
		vqp_free(v, q);
	} else if (q->result) {
		tell(v, q, VERBS_BROKEN, q->result);
		vqp_free(v, q);
	} else {
		q->state = VQP_READY;
		tell(v, q, VERBS_CONNECTED, 0);
		if (q->breached)
			vqp_break(v, q);
	}
}

static int add(struct link_verbs *v, struct vqp *q)
{
	int r = idmap_insert(&v->by_gen, q->gen, q);

	q->qpn = q->qp->qp_num;
	if (!r)
		r = idmap_insert(&v->by_qpn, q->qp->qp_num, q);
	return r ? r : idmap_insert(&v->by_id, q->id, q);
}

int link_verbs_open(struct link *l, uint64_t id, uint32_t psn, struct verbs_end *ours)
{
	struct link_verbs *v = verbs_of(l);
	struct vqp *q;
	int r;

	if (v->dead)
		return -EIO;
	link_verbs_close(l, id);
	r = vdev_look(&v->dev, NULL, 0);
	v->port_down = r == -ENETDOWN;
	if (r)
		return r;
	if (!id || v->by_id.count >= v->max_peers || v->nqps >= 2 * v->max_peers)
		return id ? -ENOSPC : -EINVAL;
	q = calloc(1, sizeof(*q));
	if (!q)
		return -ENOMEM;
	*q = (struct vqp){.state = VQP_OPEN, .id = id, .psn = psn & QPN_MAX, .gen = ++v->next_gen};
	link_verbs_address(&q->addr, id);
	list_init(&q->running);
	list_init(&q->waiting);
	list_add_tail(&v->peers, &q->node);
	v->nqps++;
	q->note = calloc(1, sizeof(*q->note));
	if (q->note) {
		list_init(&q->note->node);
		q->note->q = q;
	}
	q->qp = q->note ? make_qp(v) : NULL;
	r = q->qp ? add(v, q) : -ENOMEM;
	if (!r)
		r = -to_init(v, q->qp);
	if (r) {
		vqp_free(v, q);
		return r;
	}
	v_count(v, VERBS_C_qp_opened, 1);
	*ours = (struct verbs_end){.qpn = q->qp->qp_num,
				   .psn = q->psn,
				   .lid = v->dev.ethernet ? 0 : v->dev.pattr.lid,
				   .mtu = (uint8_t)v->dev.pattr.active_mtu};
	memcpy(ours->gid, v->dev.gid.gid.raw, 16);
	return 0;
}

int link_verbs_connect(struct link *l, uint64_t id, const struct verbs_end *to)
{
	struct link_verbs *v = verbs_of(l);
	struct vqp *q = idmap_get(&v->by_id, id);
	int r;

	if (!q)
		return -ENOENT;
	if (q->state == VQP_CONNECTING)
		return -EALREADY;
	if (q->state != VQP_OPEN || to->qpn > QPN_MAX || to->psn > QPN_MAX || to->mtu < IBV_MTU_256 ||
	    to->mtu > IBV_MTU_4096)
		r = -EINVAL;
	else {
		q->dest = to->qpn;
		to_receive(v, q, to);
		to_send(v, q);
		r = vjob_connect(v, q);
	}
	if (r)
		vqp_free(v, q);
	vjob_reap(v);
	return r;
}

void link_verbs_close(struct link *l, uint64_t id)
{
	struct link_verbs *v = verbs_of(l);
	struct vqp *q = idmap_get(&v->by_id, id);

	list_for_each_safe (it, &v->news) {
		struct vqp_note *note = container_of(it, struct vqp_note, node);

		if (note->news.id == id)
			drop_note(note);
	}
	if (q) {
		forget(v, q);
		if (q->state == VQP_CONNECTING)
			q->closed = true;
		else
			die(v, q);
	}
	vjob_reap(v);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls that wait, each on a thread of its own. Connecting resolves the peer's hardware address, up to a
 * second where nobody answers (RoCE: ARP, neighbour discovery); destroying waits until the kernel has sent or
 * given up what it queued for that address, seconds more. The link's owner serves guests meanwhile.
 *
 * A thread has its queue pair alone until it counted itself in `finished`; `wake` wakes the owner.
 */
#include <errno.h>
#include <unistd.h>

#include "fabric/link/verbs/verbs_impl.h"

static void *finish(struct vqp *q)
{
	struct link_verbs *v = q->link;
	uint64_t one = 1;

	atomic_store_explicit(&q->ended, true, memory_order_release);
	atomic_fetch_add_explicit(&v->finished, 1, memory_order_release);
	/* An eventfd takes 2^64 - 2 of them. */
	if (write(v->wake, &one, sizeof(one)) < 0)
		return NULL;
	return NULL;
}

static void *connect_it(void *arg)
{
	struct vqp *q = arg;
	const struct verbs_api *api = q->link->dev.api;

	q->result = 0;
	for (int i = 0; i < 2 && !q->result; i++)
		q->result = -api->modify_qp(q->qp, &q->to[i], q->mask[i]);
	return finish(q);
}

static void *destroy_it(void *arg)
{
	struct vqp *q = arg;

	q->link->dev.api->destroy_qp(q->qp);
	return finish(q);
}

static int start(struct link_verbs *v, struct vqp *q, enum vqp_state state, void *(*fn)(void *arg))
{
	enum vqp_state before = q->state;
	int r;

	q->state = state;
	q->link = v;
	atomic_store_explicit(&q->ended, false, memory_order_relaxed);
	r = v->dev.api->spawn(&q->thread, fn, q);
	if (r) {
		q->state = before;
		return -r;
	}
	list_del(&q->node);
	list_add_tail(&v->busy, &q->node);
	return 0;
}

int vjob_connect(struct link_verbs *v, struct vqp *q)
{
	return start(v, q, VQP_CONNECTING, connect_it);
}

void vjob_destroy(struct link_verbs *v, struct vqp *q)
{
	if (!start(v, q, VQP_LEAVING, destroy_it))
		return;
	/* Late is better than never. */
	v->dev.api->destroy_qp(q->qp);
	vqp_gone(v, q);
}

void vjob_take(struct link_verbs *v, struct vqp *q)
{
	uint64_t one;

	v->dev.api->join(q->thread);
	v->reaped++;
	/* It was there before the thread ended. */
	if (read(v->wake, &one, sizeof(one)) < 0 && errno != EAGAIN)
		v->dead = true;
	if (q->state == VQP_LEAVING)
		vqp_gone(v, q);
	else
		vqp_connected(v, q);
}

void vjob_reap(struct link_verbs *v)
{
	if (atomic_load_explicit(&v->finished, memory_order_acquire) == v->reaped)
		return;
	list_for_each_safe (it, &v->busy) {
		struct vqp *q = container_of(it, struct vqp, node);

		if (atomic_load_explicit(&q->ended, memory_order_acquire))
			vjob_take(v, q);
	}
}

void vjob_drain(struct link_verbs *v)
{
	while (!list_empty(&v->busy)) {
		struct vqp *q = container_of(v->busy.next, struct vqp, node);

		q->closed = true;
		vjob_take(v, q);
	}
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Completions on their way to the agent, and the end of a request. */
#include <assert.h>

#include "fabric/vqt/vqt_dev_int.h"

#define PIECE_MAX (64u << 10)

static void put_out(struct req_slot *s)
{
	struct vqt_mem *m = &s->pub.dev->mem;

	if (s->out_size)
		m->put(m->ctx, s->pub.out, s->out_size, VQT_OUT_ALIGN_OFF);
	s->out_size = 0;
	s->pub.out = NULL;
}

static void uncharge(struct req_slot *s)
{
	s->pub.dev->inflight_bytes -= s->charge;
	s->charge = 0;
}

void req_free(struct req_slot *s)
{
	struct vqt_dev *d = s->pub.dev;

	put_out(s);
	if (s->in_size)
		d->mem.put(d->mem.ctx, s->pub.in, s->in_size, 0);
	s->in_size = 0;
	s->pub.in = NULL;
	uncharge(s);
	if (d->peer)
		d->peer->mem_used -= s->held;
	s->held = 0;
	list_del(&s->link);
	s->state = REQ_FREE;
}

/* One piece of the completion; false: the transport is full. */
static bool send_piece(struct req_slot *s, uint64_t now)
{
	struct vqt_dev *d = s->pub.dev;
	struct vqt_cpl_head head = {d->cfg.epoch, s->cpl_flags, s->written, s->reply};
	struct rt_rec rec = {.kind = VQT_CPL,
			     .queue = (uint8_t)s->pub.queue,
			     .id = s->id,
			     .total = VQT_HEAD + s->reply,
			     .offset = s->reply_sent};
	uint32_t left = rec.total - rec.offset, len = left < PIECE_MAX ? left : PIECE_MAX;
	uint8_t bytes[VQT_HEAD];
	struct iovec iov[2];
	unsigned n = 0;

	if (!rec.offset) {
		vqt_cpl_head_put(bytes, &head);
		iov[n++] = (struct iovec){bytes, VQT_HEAD};
	}
	if (len > n * VQT_HEAD) {
		uint32_t skip = rec.offset ? rec.offset - VQT_HEAD : 0;

		iov[n] = (struct iovec){s->pub.in + (s->pub.in_len - s->reply) + skip, len - n * VQT_HEAD};
		n++;
	}
	if (dev_rt_send(d, RT_DATA, RT_REL_FULL, &rec, iov, n, now))
		return false;
	s->reply_sent += len;
	return true;
}

/* Send what the transport takes; true: all of it. */
static bool send_reply(struct req_slot *s, uint64_t now)
{
	struct vqt_dev *d = s->pub.dev;

	while (s->reply_sent < VQT_HEAD + s->reply)
		if (d->peer->full[RT_DATA] || !send_piece(s, now))
			return false;
	d_count(d, VQT_D_completions, 1);
	d_count(d, VQT_D_completion_bytes, s->reply);
	d_count(d, VQT_D_completion_copied_bytes, s->reply > VQT_TAIL ? s->reply - VQT_TAIL : 0);
	req_free(s);
	return true;
}

void req_release(struct req_slot *s)
{
	/* The agent's room for unscheduled bytes comes back with the completion; give ours back before. */
	uncharge(s);
	put_out(s);
}

void req_reply(struct req_slot *s, uint32_t sent, uint32_t written)
{
	req_release(s);
	s->reply = sent;
	s->written = written;
	s->reply_sent = 0;
	s->state = REQ_SENDING;
	list_add_tail(&s->pub.dev->peer->sending, &s->link);
}

void req_serve_sending(struct vqt_peer *p, uint64_t now)
{
	while (!list_empty(&p->sending))
		if (!send_reply(container_of(p->sending.next, struct req_slot, link), now))
			return;
}

void req_orphan_done(struct req_slot *s)
{
	struct vqt_dev *d = s->pub.dev;

	d_count(d, VQT_D_orphans, 1);
	req_free(s);
	if (d->outstanding)
		return;
	d->ops->drained(d->cfg.user);
	dev_free(d);
}

void vqt_dev_complete(struct vqt_req *r, uint32_t sent, uint32_t written, uint64_t now)
{
	struct req_slot *s = (struct req_slot *)r;
	struct vqt_dev *d = r->dev;

	assert(s->state == REQ_BACKEND && sent <= r->in_len && written <= r->in_len);
	if (d->peer && keyed_place(s, sent, written))
		return;
	d->outstanding--;
	if (!d->peer) {
		req_orphan_done(s);
		return;
	}
	req_reply(s, sent, written);
	req_serve_sending(d->peer, now);
}

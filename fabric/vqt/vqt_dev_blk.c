/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests arriving.
 *
 *	FREE -> ARRIVING (unscheduled bytes) -> [WAITING for memory -> GRANTING -> GRANTED] -> [WAITING] ->
 *BACKEND
 *	FREE -> ARRIVING (KEYED) -> [WAITING] -> [FETCHING, or as from GRANTING on] -> [WAITING] -> BACKEND
 *
 * Memory. Unscheduled bytes are always taken in: both ends know max_inflight, so they are bounded, and an
 * agent that sends more has broken the protocol. What goes beyond (the whole of a long write, the
 * buffer of a read) is counted against the session's mem_max, and a request that finds none waits, first
 * come first served. Those who wait hold only unscheduled bytes, and mem_max holds the largest request
 * several times; so whoever has memory can finish, and nobody waits for ever.
 */
#include <string.h>

#include "fabric/base/guard.h"
#include "fabric/vqt/vqt_dev_int.h"

static struct req_slot *slot_of(struct vqt_dev *d, const struct rt_rec *rec)
{
	uint32_t i = VQT_ID_SLOT(rec->id);

	return i < d->cfg.depth ? &d->slots[rec->queue * d->cfg.depth + i] : NULL;
}

/* A breach that an honest agent cannot commit. */
static void breach(struct vqt_dev *d, enum vqt_dev_counter c, const char *why)
{
	d_count(d, c, 1);
	peer_bad(d->peer, why);
}

bool req_may_hold(const struct vqt_peer *p, uint32_t n)
{
	return n <= p->cfg.mem_max - p->mem_used;
}

void req_hold(struct req_slot *s, uint32_t n)
{
	s->held += n;
	s->pub.dev->peer->mem_used += n;
}

/* A buffer for n readable bytes; data begins on a page after virtio-blk's 16-byte header (virtio 1.2 5.2.6).
 */
bool req_get_out(struct req_slot *s, uint32_t n)
{
	struct vqt_mem *m = &s->pub.dev->mem;

	s->pub.out = m->get(m->ctx, n, VQT_OUT_ALIGN_OFF);
	s->out_size = s->pub.out ? n : 0;
	return s->pub.out != NULL;
}

/* ---- memory, grants, delivery ---- */

/* Room for all readable bytes, moving what has arrived; false: none now. */
static bool grow(struct req_slot *s)
{
	struct vqt_dev *d = s->pub.dev;
	uint8_t *old = s->pub.out;
	uint32_t had = s->out_size;

	if (had >= s->pub.out_len)
		return true;
	if (!req_may_hold(d->peer, s->pub.out_len) || !req_get_out(s, s->pub.out_len)) {
		s->pub.out = old;
		s->out_size = had;
		return false;
	}
	req_hold(s, s->pub.out_len);
	memcpy(s->pub.out, old, VQT_UNSCHED - VQT_HEAD);
	d_count(d, VQT_D_request_copied_bytes, VQT_UNSCHED - VQT_HEAD - VQT_LEAD);
	d->mem.put(d->mem.ctx, old, had, VQT_OUT_ALIGN_OFF);
	return true;
}

static bool get_in(struct req_slot *s)
{
	struct vqt_dev *d = s->pub.dev;

	if (s->pub.in || !s->pub.in_len)
		return true;
	if (s->pub.in_len <= VQT_IN_SMALL) {
		s->pub.in = s->small;
		return true;
	}
	if (!req_may_hold(d->peer, s->pub.in_len))
		return false;
	s->pub.in = d->mem.get(d->mem.ctx, s->pub.in_len, 0);
	if (!s->pub.in)
		return false;
	s->in_size = s->pub.in_len;
	req_hold(s, s->in_size);
	return true;
}

static void deliver(struct req_slot *s)
{
	struct vqt_dev *d = s->pub.dev;

	s->state = REQ_BACKEND;
	d->outstanding++;
	d_count(d, VQT_D_requests, 1);
	d_count(d, VQT_D_request_bytes, s->pub.out_len);
	d->ops->request(d->cfg.user, &s->pub);
}

/* The next step of a request whose bytes so far have all come; false: no memory now. */
static bool step(struct req_slot *s)
{
	struct vqt_peer *p = s->pub.dev->peer;

	if (s->keyed && !s->fetched)
		return keyed_fetch(s);
	if (s->cover.got < s->total) {
		if (!grow(s))
			return false;
		s->state = REQ_GRANTING;
		list_add_tail(&p->granting, &s->link);
		return true;
	}
	if (!get_in(s))
		return false;
	deliver(s);
	return true;
}

void req_step_or_wait(struct req_slot *s)
{
	struct vqt_peer *p = s->pub.dev->peer;

	/* Nobody overtakes those who wait, but for what needs no memory. */
	bool small = s->cover.got == s->total && s->pub.in_len <= VQT_IN_SMALL && (!s->keyed || s->fetched);

	if ((list_empty(&p->waiting) || small) && step(s))
		return;
	s->state = REQ_WAITING;
	list_add_tail(&p->waiting, &s->link);
	d_count(s->pub.dev, VQT_D_grants_waited, 1);
}

void req_serve_waiting(struct vqt_peer *p)
{
	struct list *it;

	while ((it = list_pop(&p->waiting)) != NULL) {
		if (step(container_of(it, struct req_slot, link)))
			continue;
		list_add_head(&p->waiting, it);
		return;
	}
}

void req_serve_granting(struct vqt_peer *p, uint64_t now)
{
	while (!list_empty(&p->granting) && !p->full[RT_CTL]) {
		struct req_slot *s = container_of(p->granting.next, struct req_slot, link);
		uint32_t units = (s->pub.out_len + VQT_GRANT_UNIT - 1) / VQT_GRANT_UNIT;
		struct rt_rec rec = {.kind = VQT_GRANT,
				     .queue = (uint8_t)s->pub.queue,
				     .aux = (uint16_t)units,
				     .id = s->id};

		if (dev_rt_send(s->pub.dev, RT_CTL, RT_REL_FULL, &rec, NULL, 0, now))
			return;
		list_del(&s->link);
		s->state = REQ_GRANTED;
		d_count(s->pub.dev, VQT_D_grants, 1);
	}
}

/* ---- arrivals ---- */

/* The unscheduled bytes are here: what does the head say? false: the request is gone. */
static bool head_valid(struct req_slot *s)
{
	struct vqt_dev *d = s->pub.dev;
	struct vqt_req_head h;

	vqt_req_head_get(s->head, &h);
	if (!GUARD(request_epoch, h.epoch == d->cfg.epoch)) {
		d_count(d, VQT_D_drop_req_epoch, 1);
		return false;
	}
	if (s->keyed) {
		s->pub.out_len = h.out_len;
		s->nout = (uint8_t)VQT_KEYED_NOUT(h.flags);
		s->nin = (uint8_t)VQT_KEYED_NIN(h.flags);
		h.flags &= ~VQT_KEYED_FLAGS(0xff, 0xff);
	}
	s->pub.in_len = h.in_len;
	if (h.flags || h.out_len != s->pub.out_len || !vqt_req_fits(h.out_len, h.in_len) ||
	    (s->keyed && !keyed_valid(s))) {
		breach(d, VQT_D_drop_req_malformed, "request head contradicts its message");
		return false;
	}
	s->pub.epoch = h.epoch;
	return true;
}

/* A slot for a new request with so many unscheduled bytes: NULL: refused, counted. */
static struct req_slot *take_slot(struct vqt_dev *d, struct req_slot *s, const struct rt_rec *rec,
				  uint32_t charge)
{
	if (!GUARD(inflight_limit, charge <= d->cfg.max_inflight - d->inflight_bytes)) {
		breach(d, VQT_D_drop_req_limit, "more unscheduled bytes than agreed");
		return NULL;
	}
	memset(s, 0, offsetof(struct req_slot, small));
	list_init(&s->link);
	s->pub.dev = d;
	s->pub.user = d->cfg.user;
	s->pub.queue = rec->queue;
	s->id = rec->id;
	s->total = rec->total;
	s->charge = charge;
	d->inflight_bytes += charge;
	s->state = REQ_ARRIVING;
	return s;
}

/* First piece of a new request: NULL: refused, counted. */
static struct req_slot *begin(struct vqt_dev *d, struct req_slot *s, const struct rt_rec *rec)
{
	uint32_t out_len = rec->total - VQT_HEAD, now = vqt_unsched(out_len) - VQT_HEAD;

	if (rec->kind == VQT_KEYED) {
		s = take_slot(d, s, rec, rec->total);
		if (s)
			s->keyed = true;
		return s;
	}
	s = take_slot(d, s, rec, vqt_unsched(out_len));
	if (!s)
		return NULL;
	s->pub.out_len = out_len;
	/* A long request gets all its room at once where there is some, and need not be moved later. */
	if (out_len > now && list_empty(&d->peer->waiting) && req_may_hold(d->peer, out_len) &&
	    req_get_out(s, out_len)) {
		req_hold(s, out_len);
	} else if (now && !req_get_out(s, now)) {
		breach(d, VQT_D_drop_req_no_mem, "no memory for unscheduled bytes");
		req_free(s);
		return NULL;
	}
	return s;
}

static void copy_in(struct req_slot *s, uint32_t off, const uint8_t *data, uint32_t len)
{
	if (off < VQT_HEAD) {
		uint32_t n = VQT_HEAD - off < len ? VQT_HEAD - off : len;

		memcpy(s->head + off, data, n);
		off += n;
		data += n;
		len -= n;
	}
	if (!len)
		return;
	off -= VQT_HEAD;
	if (s->keyed && s->state == REQ_ARRIVING) {
		memcpy(s->places + off, data, len);
		return;
	}
	memcpy(s->pub.out + off, data, len);
	if (off + len > VQT_LEAD)
		d_count(s->pub.dev, VQT_D_request_copied_bytes,
			off + len - (off > VQT_LEAD ? off : VQT_LEAD));
}

/* What lies in the request's state at most: bytes [from, to) of its message. */
static bool in_range(const struct req_slot *s, const struct rt_rec *rec)
{
	uint32_t unsched = s->keyed ? VQT_HEAD + VQT_LEAD : vqt_unsched(s->pub.out_len);
	uint32_t end = rec->offset + rec->len;

	if (rec->kind != VQT_REQDATA)
		return s->state == REQ_ARRIVING && s->keyed == (rec->kind == VQT_KEYED) &&
		       (s->keyed || end <= unsched);
	return GUARD(grant, s->state == REQ_GRANTED && rec->offset >= unsched);
}

static void arrived(struct req_slot *s)
{
	struct vqt_dev *d = s->pub.dev;
	bool first = s->state == REQ_ARRIVING;
	uint32_t want = first && !s->keyed ? vqt_unsched(s->pub.out_len) : s->total;

	if (s->cover.got < want)
		return;
	if (!GUARD(request_cover, vqt_cover_full(&s->cover, d->peer->cfg.seed, want))) {
		breach(d, VQT_D_drop_req_malformed, "pieces of a request overlap");
		req_free(s);
	} else if (first && !head_valid(s)) {
		req_free(s);
	} else {
		req_step_or_wait(s);
	}
}

void req_piece(struct vqt_dev *d, const struct rt_rec *rec, const uint8_t *data)
{
	struct req_slot *s = slot_of(d, rec);

	if (!s || rec->total < VQT_HEAD || rec->total - VQT_HEAD > VQT_REQ_MAX || !rec->len ||
	    rec->offset > rec->total || rec->len > rec->total - rec->offset ||
	    (rec->kind == VQT_REQ && rec->offset + rec->len > VQT_UNSCHED) ||
	    (rec->kind == VQT_KEYED && !keyed_total_valid(rec->total))) {
		breach(d, VQT_D_drop_req_malformed, "request outside its bounds");
		return;
	}
	if (s->state == REQ_FREE && rec->kind != VQT_REQDATA)
		s = begin(d, s, rec);
	if (!s)
		return;
	if (s->state == REQ_FREE || s->id != rec->id) {
		/* Data after a CANCEL comes so, too. */
		d_count(d, rec->kind == VQT_REQDATA ? VQT_D_drop_req_ungranted : VQT_D_drop_req_duplicate, 1);
		return;
	}
	if (s->total != rec->total || !in_range(s, rec)) {
		d_count(d, rec->kind == VQT_REQDATA ? VQT_D_drop_req_ungranted : VQT_D_drop_req_duplicate, 1);
		return;
	}
	vqt_cover_add(&s->cover, d->peer->cfg.seed, rec->offset, rec->len);
	copy_in(s, rec->offset, data, rec->len);
	arrived(s);
}

void req_cancel(struct vqt_dev *d, const struct rt_rec *rec)
{
	struct req_slot *s = slot_of(d, rec);

	if (!s || s->id != rec->id || s->state != REQ_GRANTED) {
		d_count(d, VQT_D_drop_cancel, 1);
		return;
	}
	d_count(d, VQT_D_cancels, 1);
	req_reply(s, 0, 0);
}

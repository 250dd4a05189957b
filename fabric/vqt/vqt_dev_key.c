/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests that say where their bytes are (vqt_msg.h): the places are checked here on our own copy, and by
 * the door against what the agent announced.
 *
 * A move may fail when it is half done, or its end be unknown. Readable bytes are then asked for by GRANT,
 * as if they had never been fetched: nobody has seen them. Writable bytes go into the completion, which
 * names the connection: the agent ends that before the guest hears of it, so the request is completed once,
 * and what was under way cannot come after. A request on the move is held as one at the backend: its
 * memory is the adapter's, and a volume is not attached anew before it is done.
 */
#include <string.h>

#include "fabric/base/guard.h"
#include "fabric/vqt/vqt_dev_int.h"

bool keyed_total_valid(uint32_t total)
{
	uint32_t pieces = total - VQT_HEAD - VQT_LEAD;

	return total > VQT_HEAD + VQT_LEAD && pieces % VQT_SEG == 0 && pieces <= VQT_SEGS_MAX * VQT_SEG;
}

/* n pieces from the first; the sum of their lengths, 0: one is empty, or they are too long. */
static uint64_t read_segs(const struct req_slot *s, unsigned first, unsigned n, struct vqt_seg *seg)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < n; i++) {
		vqt_seg_get(s->places + VQT_LEAD + (first + i) * VQT_SEG, &seg[i]);
		if (!seg[i].len || seg[i].off > UINT64_MAX - seg[i].len)
			return 0;
		sum += seg[i].len;
	}
	return sum;
}

bool keyed_valid(const struct req_slot *s)
{
	struct vqt_seg seg[VQT_SEGS_MAX];
	uint32_t n = (s->total - VQT_HEAD - VQT_LEAD) / VQT_SEG;

	if (s->nout + s->nin != n || s->pub.out_len < VQT_LEAD || (s->nin && s->pub.in_len <= VQT_IN_SMALL))
		return false;
	return read_segs(s, 0, s->nout, seg) == s->pub.out_len - VQT_LEAD &&
	       read_segs(s, s->nout, s->nin, seg) == (s->nin ? s->pub.in_len - VQT_TAIL : 0);
}

static int start(struct req_slot *s, bool write, unsigned first, unsigned n, uint8_t *local)
{
	struct vqt_dev *d = s->pub.dev;
	const struct vqt_move_door *door = &d->peer->cfg.move;
	struct vqt_seg seg[VQT_SEGS_MAX];

	s->move = (struct vqt_move){.write = write, .wire = d->cfg.wire, .local = local, .n = n, .seg = seg};
	s->move.len = (uint32_t)read_segs(s, first, n, seg);
	if (door->start && !door->start(door->ctx, &s->move))
		return 0;
	d_count(d, VQT_D_moves_refused, 1);
	return -1;
}

/* The readable bytes but the first, by message: their sum starts anew. */
static void ask(struct req_slot *s)
{
	struct vqt_peer *p = s->pub.dev->peer;

	s->total = VQT_HEAD + s->pub.out_len;
	s->cover = (struct vqt_cover){0, 0};
	vqt_cover_add(&s->cover, p->cfg.seed, 0, VQT_HEAD + VQT_LEAD);
	s->fetched = true; /* or will be, once this is over */
	s->state = REQ_GRANTING;
	list_add_tail(&p->granting, &s->link);
}

bool keyed_fetch(struct req_slot *s)
{
	struct vqt_dev *d = s->pub.dev;

	if (!s->pub.out && !s->nout) {
		s->pub.out = s->places;
		d_count(d, VQT_D_requests_keyed, 1);
	} else if (!s->pub.out) {
		if (!req_may_hold(d->peer, s->pub.out_len) || !req_get_out(s, s->pub.out_len))
			return false;
		req_hold(s, s->pub.out_len);
		memcpy(s->pub.out, s->places, VQT_LEAD);
		d_count(d, VQT_D_requests_keyed, 1);
	}
	if (!s->nout) {
		s->fetched = true;
		req_step_or_wait(s);
	} else if (!start(s, false, 0, s->nout, s->pub.out + VQT_LEAD)) {
		s->state = REQ_FETCHING;
		d->outstanding++;
	} else {
		ask(s);
	}
	return true;
}

bool keyed_place(struct req_slot *s, uint32_t sent, uint32_t written)
{
	if (!s->nin || sent != s->pub.in_len || start(s, true, s->nout, s->nin, s->pub.in))
		return false;
	req_release(s);
	s->reply = sent;
	s->written = written;
	s->state = REQ_PLACING;
	return true;
}

static void placed(struct req_slot *s, int err)
{
	if (err)
		s->cpl_flags = VQT_CPL_TORN(s->move.path, s->move.qpn);
	req_reply(s, err ? s->reply : VQT_TAIL, s->written);
}

void vqt_dev_moved(struct vqt_move *m, int err)
{
	struct req_slot *s = container_of(m, struct req_slot, move);
	struct vqt_dev *d = s->pub.dev;

	d->outstanding--;
	d_count(d, VQT_D_moves_failed, err != 0);
	if (!d->peer) {
		req_orphan_done(s);
	} else if (s->state == REQ_PLACING) {
		placed(s, err);
	} else if (err) {
		ask(s);
	} else {
		s->fetched = true;
		req_step_or_wait(s);
	}
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Appliance to guest: frames in stream order into the guest's buffers.
 *
 * A piece of the frame at `next` goes straight to the guest's memory, if the guest has posted buffers for
 * the whole frame. Everything else is staged (vqt_host_stage.c), FRAMES as they came: they are split when the
 * guest gets them. What an adapter wrote to posted chains (vqt_host_posts.c) has an entry without bytes in
 * the stage.
 *
 * What never came. Frames go into packets one after the other; so once the transport has settled the
 * packet in which any piece of a later frame (or a MARK) stood, earlier ones are as complete as they
 * will get.
 */
#include <errno.h>
#include <stdlib.h>

#include "fabric/base/guard.h"
#include "fabric/vqt/vqt_host_int.h"

/* A frame never spans more packets than this. */
#define FRAME_PACKETS (FRAME_MAX / (RT_CHUNK_MIN / 2) + 2)

int rx_create(struct vqt_vq *q, uint32_t window, bool keys)
{
	struct vqt_rx *rx = calloc(1, sizeof(*rx));
	int rc;

	if (!rx)
		return -ENOMEM;
	q->rx = rx;
	rx->vq = q;
	list_init(&rx->pending);
	rc = stage_create(rx, window);
	return !rc && keys ? posts_create(q) : rc;
}

void rx_destroy(struct vqt_vq *q)
{
	struct vqt_rx *rx = q->rx;

	if (!rx)
		return;
	list_del(&rx->pending);
	posts_destroy(q);
	stage_destroy(rx);
	free(rx);
	q->rx = NULL;
}

/* ---- moving on ---- */

/* The guest has had, or will never get, what lies before pos. */
static void advance(struct vqt_vq *q, uint32_t pos)
{
	struct vqt_rx *rx = q->rx;
	uint32_t at;

	/* Entries inside a frame: a peer that numbers frames so gets them dropped. */
	while (stage_first(rx, rx->next, &at) && vqt_before(at, pos)) {
		stage_del(rx, at);
		hd_count(q->dev, VQT_HD_drop_rx_malformed, 1);
	}
	rx->next = pos;
	if (rx->next + rx->window - rx->limit >= rx->window / 4)
		vq_ready(q);
}

static void delivered(struct vqt_vq *q, uint32_t total, enum vqt_hdev_counter how)
{
	if (total >= VQT_KEYED_MIN)
		posts_wanted(q);
	rx_commit(q, total);
	hd_count(q->dev, how, 1);
	hd_count(q->dev, VQT_HD_rx_frames, 1);
	hd_count(q->dev, VQT_HD_rx_bytes, total);
	if (total > VQT_FRAME_SUPER)
		hd_count(q->dev, VQT_HD_frames_super, 1);
}

/* Why a frame that is complete and next cannot be delivered, ever; NCOUNTERS: it may later. */
static enum vqt_hdev_counter hopeless(const struct vqt_vq *q, int err)
{
	if (q->state != VQ_RUNNING)
		return VQT_HD_drop_rx_stopped;
	if (err == -E2BIG)
		return VQT_HD_drop_rx_split;
	return err == -EMSGSIZE ? VQT_HD_drop_rx_small : VQT_HDEV_NCOUNTERS;
}

/* FRAMES at next, whole, in data: those from *at on to the guest, as long as it has buffers; false: it has
 * none for the one at *at. */
static bool give_many(struct vqt_vq *q, const uint8_t *data, uint32_t len, uint32_t *at,
		      enum vqt_hdev_counter how)
{
	uint32_t pos = q->rx->next, n, frames = 0, bytes = 0;
	enum vqt_hdev_counter why = VQT_HDEV_NCOUNTERS;
	int rc = 0;

	for (; *at < len; *at += VQT_SMALL_LEN + n) {
		*at += rx_give_burst(q, data + *at, len - *at, &frames, &bytes);
		if (*at == len)
			break;
		n = vqt_small_len(data + *at, len - *at);
		if (!n) {
			why = VQT_HD_drop_rx_malformed;
			break;
		}
		rc = q->state == VQ_RUNNING ? rx_give(q, data + *at + VQT_SMALL_LEN, n) : -EBADMSG;
		if (!rc) {
			frames++;
			bytes += n;
			continue;
		}
		why = hopeless(q, rc);
		/* Broken just now, or stopped: so are all the others. */
		if (why == VQT_HDEV_NCOUNTERS || q->state != VQ_RUNNING)
			break;
		hd_count(q->dev, why, 1);
	}
	if (frames) {
		if (q->state == VQ_RUNNING) /* else it is fenced: its ring is not touched again */
			vq_dirty(q);
		hd_count(q->dev, how, frames);
		hd_count(q->dev, VQT_HD_rx_frames, frames);
		hd_count(q->dev, VQT_HD_rx_bytes, bytes);
		hd_count(q->dev, VQT_HD_rx_copied_bytes, bytes);
	}
	if (*at == len || q->rx->next != pos)
		return true;
	hd_count(q->dev, why == VQT_HDEV_NCOUNTERS ? VQT_HD_rx_no_buffers : why, 1);
	return why != VQT_HDEV_NCOUNTERS;
}

/* The complete staged FRAMES at next; false: what is left of them has to wait. */
static bool deliver_many(struct vqt_vq *q, struct rx_entry *e)
{
	struct vqt_rx *rx = q->rx;
	uint32_t at = e->given;
	bool done;

	if (e->dead) {
		hd_count(q->dev, VQT_HD_drop_rx_stopped, 1);
		return true;
	}
	done = give_many(q, rx->stage + (rx->next & (rx->window - 1)), e->total, &at, VQT_HD_rx_staged);
	e->given = (uint16_t)at;
	return done;
}

/* Give the guest the complete frame at next, which is in the stage, or in its buffers already; false: it has
 * to wait. */
static bool deliver_entry(struct vqt_vq *q, struct rx_entry *e)
{
	enum vqt_hdev_counter why;
	uint32_t pos = q->rx->next;
	int rc;

	if (e->many)
		return deliver_many(q, e);
	if (e->posted && !e->dead && q->state == VQ_RUNNING && !posts_seek(q, e->piece, e->total)) {
		/* Chains that a fence took are not the appliance's fault. */
		hd_count(q->dev,
			 posts_recalled(q->rx->posts) ? VQT_HD_drop_rx_stopped : VQT_HD_drop_rx_posted, 1);
		return true;
	}
	rc = q->state == VQ_RUNNING && !e->dead ? rx_reserve(q, e->total) : -EBADMSG;
	if (!rc) {
		if (!e->posted)
			stage_to_guest(q->rx, q->rx->next, e->total);
		delivered(q, e->total, e->posted ? VQT_HD_rx_posted : VQT_HD_rx_staged);
		return true;
	}
	/* The ring was broken just now: stopping the queue has dropped the frame. */
	if (q->rx->next != pos)
		return true;
	why = e->dead ? VQT_HD_drop_rx_stopped : hopeless(q, rc);
	hd_count(q->dev, why == VQT_HDEV_NCOUNTERS ? VQT_HD_rx_no_buffers : why, 1);
	return why != VQT_HDEV_NCOUNTERS;
}

static bool whole(const struct rx_entry *e)
{
	return e->cover.got == e->total && !e->awaited;
}

/* Everything complete from next on. */
static void drain(struct vqt_vq *q)
{
	struct vqt_rx *rx = q->rx;
	struct rx_entry *e;

	while ((e = stage_at(rx, rx->next)) != NULL && whole(e)) {
		uint32_t pos = rx->next, total = e->total;

		if (e->chains) {
			bool on = e->on;
			uint32_t piece = e->piece;

			stage_del(rx, pos);
			advance(q, pos + VQT_POS_ALIGN);
			posts_switch(q, on, piece);
			continue;
		}
		if (e->direct)
			delivered(q, total, VQT_HD_rx_direct);
		else if (!deliver_entry(q, e))
			return;
		/* A callback may have stopped the queue, and drained it. */
		if (rx->next != pos)
			return;
		stage_del(rx, pos);
		advance(q, pos + vqt_span(total));
	}
}

/* ---- arrivals ---- */

/* A whole frame, next in order: the common case. false: it must be staged. */
static bool place_whole(struct vqt_vq *q, const struct rt_rec *rec, const uint8_t *data)
{
	enum vqt_hdev_counter why;
	uint32_t pos = q->rx->next;
	int rc = q->state == VQ_RUNNING ? rx_reserve(q, rec->total) : -EBADMSG;

	if (!rc) {
		rx_write(q->rx, 0, data, rec->total);
		hd_count(q->dev, VQT_HD_rx_copied_bytes, rec->total);
		delivered(q, rec->total, VQT_HD_rx_direct);
	} else {
		why = hopeless(q, rc);
		if (why == VQT_HDEV_NCOUNTERS) {
			hd_count(q->dev, VQT_HD_rx_no_buffers, 1);
			return false;
		}
		hd_count(q->dev, why, 1);
	}
	advance(q, pos + vqt_span(rec->total));
	return true;
}

/* FRAMES, likewise; but what the guest has no buffers for is staged here. */
static void place_many(struct vqt_vq *q, uint32_t psn, const struct rt_rec *rec, const uint8_t *data)
{
	struct vqt_rx *rx = q->rx;
	uint32_t pos = rx->next, at = 0;
	struct rx_entry *e;

	if (!give_many(q, data, rec->total, &at, VQT_HD_rx_direct)) {
		e = stage_add(rx, pos, rec->total, psn);
		e->many = true;
		e->given = (uint16_t)at;
		e->cover.got = rec->total;
		stage_put(rx, pos, at, true, data + at, rec->total - at);
	} else if (rx->next == pos) {
		advance(q, pos + vqt_span(rec->total));
		drain(q);
	}
}

static void entry_drop(struct vqt_vq *q, uint32_t pos, struct rx_entry *e, enum vqt_hdev_counter why)
{
	if (e->direct)
		rx_unreserve(q);
	stage_del(q->rx, pos);
	hd_count(q->dev, why, 1);
}

static void add_piece(struct vqt_vq *q, struct rx_entry *e, uint32_t psn, const struct rt_rec *rec,
		      const uint8_t *data)
{
	uint64_t seed = q->dev->host->seed;

	if (vqt_before(psn, e->psn))
		e->psn = psn;
	if (rec->offset + rec->len == rec->total) {
		e->has_last = true;
		e->last_psn = psn;
	}
	vqt_cover_add(&e->cover, seed, rec->offset, rec->len);
	if (e->cover.got > e->total ||
	    (e->cover.got == e->total && !vqt_cover_full(&e->cover, seed, e->total))) {
		entry_drop(q, rec->id, e, VQT_HD_drop_rx_malformed);
		return;
	}
	if (e->direct) {
		rx_write(q->rx, rec->offset, data, rec->len);
		hd_count(q->dev, VQT_HD_rx_copied_bytes, rec->len);
	} else if (!e->dead) {
		stage_put(q->rx, rec->id, rec->offset, e->many, data, rec->len);
	}
	if (rec->id == q->rx->next)
		drain(q);
}

/* May a frame of len bytes stand at pos? Else it is counted. */
static bool in_window(struct vqt_vq *q, uint32_t pos, uint32_t len)
{
	const struct vqt_rx *rx = q->rx;

	if (len < VQT_FRAME_MIN || len > FRAME_MAX || pos % VQT_POS_ALIGN)
		hd_count(q->dev, VQT_HD_drop_rx_malformed, 1);
	else if (vqt_before(pos, rx->next))
		hd_count(q->dev, VQT_HD_drop_rx_late, 1);
	else if (pos - rx->next + vqt_span(len) > rx->limit - rx->next)
		hd_count(q->dev, VQT_HD_drop_rx_credit, 1);
	else
		return true;
	return false;
}

void rx_frame(struct vqt_vq *q, uint32_t psn, const struct rt_rec *rec, const uint8_t *data)
{
	struct vqt_rx *rx = q->rx;
	struct vqt_hdev *d = q->dev;
	bool resent = rec->kind == VQT_RESENT, many = rec->kind == VQT_FRAMES, next;
	struct rx_entry *e;

	if (!rec->len || rec->offset > rec->total || rec->len > rec->total - rec->offset ||
	    (many && rec->total > RT_CHUNK_MAX)) {
		hd_count(d, VQT_HD_drop_rx_malformed, 1);
		return;
	}
	if (!in_window(q, rec->id, rec->total))
		return;
	e = stage_at(rx, rec->id);
	next = !e && !resent && rec->id == rx->next && rec->len == rec->total;
	if (next && many) {
		place_many(q, psn, rec, data);
		return;
	}
	if (next && place_whole(q, rec, data)) {
		drain(q);
		return;
	}
	if (!e) {
		e = stage_add(rx, rec->id, rec->total, psn);
		e->awaited = e->resent = resent;
		e->dead = q->state != VQ_RUNNING;
		e->many = many;
		if (!e->dead && !resent && !many && rec->id == rx->next && rec->len < rec->total) {
			e->direct = rx_reserve(q, rec->total) == 0;
			e->dead = q->state != VQ_RUNNING;
		}
	}
	if (e->total != rec->total || e->many != many || e->chains) {
		hd_count(d, VQT_HD_drop_rx_malformed, 1);
		return;
	}
	add_piece(q, e, psn, rec, data);
}

/* The adapter's word for it, or that there will be one. */
void rx_placed(struct vqt_vq *q, uint32_t psn, const struct rt_rec *rec, const uint8_t *data)
{
	const struct vqt_key_ops *keys = q->dev->cfg.keys;
	struct vqt_rx *rx = q->rx;
	struct vqt_placed p;
	struct rx_entry *e;

	if (rec->total != VQT_PLACED_LEN || rec->len != rec->total) {
		hd_count(q->dev, VQT_HD_drop_rx_malformed, 1);
		return;
	}
	vqt_placed_get(data, &p);
	/* Before anything else can come to stand where it may still write. */
	if (!GUARD(placed_fence, p.state != VQT_PLACE_FAILED || !keys)) {
		hd_count(q->dev, VQT_HD_rx_fences, 1);
		keys->fence(q->dev->cfg.user, p.fence.path, p.fence.qpn);
	}
	if (!in_window(q, rec->id, p.len))
		return;
	e = stage_at(rx, rec->id);
	if (!e) {
		e = stage_add(rx, rec->id, p.len, psn);
		e->dead = q->state != VQ_RUNNING;
		e->awaited = true;
	}
	if (p.state == VQT_PLACE_RESERVED && e->total == p.len && !e->chains)
		return; /* known by now, or overtaken by what it says will come */
	if (!GUARD(placed_awaited, e->awaited && e->total == p.len)) {
		hd_count(q->dev, VQT_HD_drop_rx_malformed, 1);
		return;
	}
	if (p.state == VQT_PLACE_DONE || p.state == VQT_PLACE_POSTED) {
		e->awaited = false;
		e->cover.got = e->total;
		e->posted = p.state == VQT_PLACE_POSTED;
		e->piece = p.piece;
		hd_count(q->dev, VQT_HD_rx_placed, 1);
	} else if (p.state == VQT_PLACE_FAILED) {
		e->awaited = false;
		e->resent = true;
	}
	if (rec->id == rx->next)
		drain(q);
}

void rx_chains(struct vqt_vq *q, uint32_t psn, const struct rt_rec *rec, const uint8_t *data)
{
	struct vqt_rx *rx = q->rx;
	struct vqt_chains c;
	struct rx_entry *e;

	if (rec->total != VQT_CHAINS_LEN || rec->len != rec->total || !vqt_chains_get(data, &c)) {
		hd_count(q->dev, VQT_HD_drop_rx_malformed, 1);
		return;
	}
	if (!in_window(q, rec->id, VQT_POS_ALIGN))
		return;
	if (stage_at(rx, rec->id)) {
		hd_count(q->dev, VQT_HD_drop_rx_malformed, 1);
		return;
	}
	e = stage_add(rx, rec->id, VQT_POS_ALIGN, psn);
	e->chains = true;
	e->on = c.on;
	e->piece = c.piece;
	e->cover.got = e->total;
	if (rec->id == rx->next)
		drain(q);
}

void rx_mark(struct vqt_vq *q, uint32_t psn, const struct rt_rec *rec)
{
	struct vqt_rx *rx = q->rx;

	if (!vqt_before(rx->next, rec->id))
		return;
	if (rec->total || rec->len || rec->id % VQT_POS_ALIGN || rec->id - rx->next > rx->limit - rx->next) {
		hd_count(q->dev, VQT_HD_drop_rx_malformed, 1);
		return;
	}
	if (rx->mark && !vqt_before(rx->mark_pos, rec->id))
		return;
	rx->mark = true;
	rx->mark_pos = rec->id;
	rx->mark_psn = psn;
	if (list_empty(&rx->pending))
		list_add_tail(&q->dev->host->pending, &rx->pending);
}

/* ---- what never came ---- */

/* The first thing known at or after pos, and whether all before it is settled. */
static bool known_from(const struct vqt_rx *rx, uint32_t pos, uint32_t base, uint32_t *at, bool *settled)
{
	bool some = stage_first(rx, pos, at);
	uint32_t psn = some ? stage_at(rx, *at)->psn : 0;

	if (rx->mark && !vqt_before(rx->mark_pos, pos) && (!some || vqt_before(rx->mark_pos, *at))) {
		*at = rx->mark_pos;
		psn = rx->mark_psn;
		some = true;
	}
	*settled = some && vqt_before(psn, base);
	return some;
}

/* The head is there, not complete: will the rest come? */
static bool head_lost(const struct vqt_rx *rx, const struct rx_entry *e, uint32_t base)
{
	uint32_t at;
	bool settled;

	if (e->awaited || e->resent)
		return false;
	if ((e->has_last && vqt_before(e->last_psn, base)) || vqt_before(e->psn + FRAME_PACKETS, base))
		return true;
	return known_from(rx, rx->next + VQT_POS_ALIGN, base, &at, &settled) && settled;
}

void rx_settled(struct vqt_vq *q, uint32_t base)
{
	struct vqt_rx *rx = q->rx;
	uint32_t at;
	bool settled;

	for (;;) {
		struct rx_entry *e = stage_at(rx, rx->next);

		if (e && (whole(e) || !head_lost(rx, e, base)))
			break;
		if (e) {
			uint32_t end = rx->next + vqt_span(e->total);

			entry_drop(q, rx->next, e, VQT_HD_drop_rx_partial);
			advance(q, end);
		} else {
			if (!known_from(rx, rx->next, base, &at, &settled) || !settled || at == rx->next)
				break;
			hd_count(q->dev, VQT_HD_drop_rx_lost, 1);
			advance(q, at);
		}
		drain(q);
	}
	if (rx->mark && !vqt_before(rx->next, rx->mark_pos))
		rx->mark = false;
	if (!rx->npending && !rx->mark)
		list_del(&rx->pending);
}

/* ---- queue and session ---- */

/* What is under way was meant for a driver that goes. */
void rx_stop(struct vqt_vq *q)
{
	struct vqt_rx *rx = q->rx;
	uint32_t at = rx->next;

	while (stage_first(rx, at, &at)) {
		struct rx_entry *e = stage_at(rx, at);

		if (e->direct)
			rx_unreserve(q);
		e->direct = false;
		e->dead = true;
		at += VQT_POS_ALIGN;
	}
	drain(q);
	vq_ready(q); /* rx_turn() sees what stood behind it */
}

void rx_reset(struct vqt_vq *q, uint32_t pos)
{
	struct vqt_rx *rx = q->rx;
	uint32_t at;

	while (stage_first(rx, rx->next, &at))
		entry_drop(q, at, stage_at(rx, at), VQT_HD_drop_rx_session);
	rx->mark = false;
	list_del(&rx->pending);
	rx->next = pos;
	rx->limit = pos + rx->window;
}

static void send_credit(struct vqt_vq *q)
{
	struct vqt_rx *rx = q->rx;
	struct rt_rec rec = {
		.kind = VQT_CREDIT, .queue = (uint8_t)(q->index / 2), .id = rx->next + rx->window};

	if (rx->next + rx->window - rx->limit < rx->window / 4 || !list_empty(&q->blocked[RT_CTL]))
		return;
	if (hd_send(q, RT_CTL, RT_REL_FULL, &rec, NULL, 0))
		return;
	rx->limit = rec.id;
	hd_count(q->dev, VQT_HD_credits, 1);
}

unsigned rx_turn(struct vqt_vq *q)
{
	const struct vqt_host *h = q->dev->host;
	uint32_t before = q->rx->next;

	drain(q);
	/* What is next now was perhaps known to be lost when others waited before it. */
	if (h->settles && !list_empty(&q->rx->pending))
		rx_settled(q, h->settled);
	send_credit(q);
	posts_turn(q);
	return q->rx->next != before;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Appliance to guest: the chains that the agent posted, and what of them each frame takes (vqt_msg.h).
 *
 * Both ends count alike, in the order of the stream: so no chain is written that another frame's bytes went
 * to. The agent may be behind, where frames were lost, never ahead.
 *
 * Pieces come in messages of any order; each has its number and its place in a table, and chains are taken
 * from it in order. A frame that finds too few waits, like one without credit. Who never posts more holds up
 * the frames to his own guest.
 */
#include <errno.h>
#include <stdlib.h>

#include "fabric/base/guard.h"
#include "fabric/vqt/vqt_dev_int.h"

struct posted {
	struct vqt_seg seg; /* its length without VQT_POSTED_MORE */
	bool there, more;
};

struct vqt_pair_posts {
	bool on;	 /* said by the last CHAINS */
	bool begin, end; /* asked for */
	bool tell;	 /* how far we are is to be said: a frame waits */
	bool wants;	 /* likewise; until more is posted */
	uint32_t next;	 /* the first piece that no frame used */
	uint32_t told;	 /* next of the last CHAINS */
	/* Piece n at n % VQT_POSTED_MAX: those that are there are in [next, next + VQT_POSTED_MAX). */
	struct posted piece[VQT_POSTED_MAX];
};

int posts_init(struct vqt_pair *q)
{
	q->posts = calloc(1, sizeof(*q->posts));
	return q->posts ? 0 : -ENOMEM;
}

void posts_fini(struct vqt_pair *q)
{
	free(q->posts);
	q->posts = NULL;
}

static struct posted *at(struct vqt_pair_posts *p, uint32_t number)
{
	return &p->piece[number % VQT_POSTED_MAX];
}

/* ---- from the agent ---- */

static void drop(struct vqt_pair *q)
{
	d_count(q->dev, VQT_D_drop_posted, 1);
}

/* All of the message is what an honest agent may say now. */
static bool believable(struct vqt_pair_posts *p, const struct rt_rec *rec, const uint8_t *data)
{
	uint32_t n = rec->total / VQT_SEG, ahead = rec->id - p->next;
	struct vqt_seg s;

	if (rec->total % VQT_SEG || n > VQT_POSTED_PIECES || rec->len != rec->total ||
	    !GUARD(posted_bounds, ahead <= VQT_POSTED_MAX && n <= VQT_POSTED_MAX - ahead))
		return false;
	for (uint32_t i = 0; i < n; i++) {
		vqt_seg_get(data + i * VQT_SEG, &s);
		if (!GUARD(posted_empty, s.len & ~VQT_POSTED_MORE) ||
		    !GUARD(posted_twice, !at(p, rec->id + i)->there))
			return false;
	}
	return true;
}

void posts_posted(struct vqt_pair *q, const struct rt_rec *rec, const uint8_t *data)
{
	struct vqt_pair_posts *p = q->posts;

	if (p && !rec->total && !p->on && !p->begin) {
		p->begin = true;
		p->next = rec->id;
		pair_attend(q);
		return;
	}
	/* Overtaken by a RECALL, perhaps by what came after it. */
	if (p && rec->total && !GUARD(posted_late, p->on && !vqt_before(rec->id, p->next))) {
		d_count(q->dev, VQT_D_drop_posted_late, 1);
		return;
	}
	if (!p || !rec->total || !believable(p, rec, data)) {
		drop(q);
		return;
	}
	for (uint32_t i = 0; i < rec->total / VQT_SEG; i++) {
		struct posted *k = at(p, rec->id + i);

		vqt_seg_get(data + i * VQT_SEG, &k->seg);
		k->more = k->seg.len & VQT_POSTED_MORE;
		k->seg.len &= ~VQT_POSTED_MORE;
		k->there = true;
	}
	if (p->wants) {
		p->wants = p->tell = false;
		q->wake = true;
		pair_attend(q);
	}
}

void posts_recall(struct vqt_pair *q, const struct rt_rec *rec)
{
	if (rec->total || !q->posts || !GUARD(posted_recall, q->posts->on)) {
		drop(q);
		return;
	}
	q->posts->end = true;
	pair_attend(q);
}

/* ---- frames ---- */

/* One more piece for a frame, of which `left` bytes have no place yet. */
static void add(struct posts_take *t, const struct vqt_seg *s, uint32_t left)
{
	struct vqt_seg *last = t->n ? &t->seg[t->n - 1] : NULL;
	uint32_t len = s->len < left ? s->len : left;

	if (!len || t->n > VQT_PLACE_SEGS)
		return;
	if (last && last->region == s->region && last->off + last->len == s->off)
		last->len += len;
	else if (t->n++ < VQT_PLACE_SEGS)
		t->seg[t->n - 1] = (struct vqt_seg){s->region, len, s->off};
}

bool posts_take(struct vqt_pair *q, uint32_t len, struct posts_take *t)
{
	struct vqt_pair_posts *p = q->posts;
	uint32_t have = 0, chains = 0;

	t->first = t->n = t->pieces = 0;
	if (!p || !p->on)
		return true;
	t->first = p->next;
	while (have < len || at(p, p->next + t->pieces - 1)->more) {
		const struct posted *k = at(p, p->next + t->pieces);

		/* In so many the agent gives it to no guest: it takes none. */
		if (!GUARD(posted_split, t->pieces < VQT_POSTED_FRAME && chains < VQT_RX_CHAINS)) {
			t->n = t->pieces = 0;
			return true;
		}
		if (!GUARD(posted_there, k->there))
			return false;
		chains += !k->more;
		add(t, &k->seg, len - have);
		have += k->seg.len < len - have ? k->seg.len : len - have;
		t->pieces++;
	}
	if (t->n > VQT_PLACE_SEGS)
		t->n = 0;
	return true;
}

void posts_taken(struct vqt_pair *q, const struct posts_take *t)
{
	for (unsigned i = 0; i < t->pieces; i++)
		at(q->posts, q->posts->next++)->there = false;
}

void posts_wait(struct vqt_pair *q)
{
	struct vqt_pair_posts *p = q->posts;

	d_count(q->dev, VQT_D_tx_no_chains, 1);
	p->wants = true;
	if (p->told != p->next) {
		p->tell = true;
		pair_attend(q);
	}
}

/* ---- CHAINS ---- */

/* 0, -EAGAIN: no room; -ENOBUFS: no credit. */
static int say(struct vqt_pair *q, bool on, uint64_t now)
{
	struct vqt_chains c = {on, q->posts->next};
	struct rt_rec rec = {
		.kind = VQT_CHAINS, .queue = (uint8_t)q->index, .id = q->tx_pos, .total = VQT_CHAINS_LEN};
	uint8_t bytes[VQT_CHAINS_LEN];
	struct iovec iov = {bytes, sizeof(bytes)};
	int rc;

	if (!GUARD(credit, q->tx_limit - q->tx_pos >= VQT_POS_ALIGN))
		return -ENOBUFS;
	vqt_chains_put(bytes, &c);
	rc = place_reserve(q, q->tx_pos, now);
	if (!rc)
		rc = dev_rt_send(q->dev, RT_NET, RT_REL_FULL, &rec, &iov, 1, now);
	if (rc)
		return rc;
	q->tx_pos += VQT_POS_ALIGN;
	q->run_len = 0;
	q->posts->on = on;
	q->posts->told = c.piece;
	q->posts->begin = q->posts->tell = false;
	return 0;
}

static void ended(struct vqt_pair *q)
{
	struct vqt_pair_posts *p = q->posts;

	for (unsigned i = 0; i < VQT_POSTED_MAX; i++)
		if (!GUARD(posted_ended, !p->piece[i].there))
			p->piece[i].there = false;
	p->end = false;
	q->wake |= p->wants;
	p->wants = false;
	d_count(q->dev, VQT_D_tx_posts_ended, 1);
}

int posts_serve(struct vqt_pair *q, uint64_t now)
{
	struct vqt_pair_posts *p = q->posts;
	int rc = 0;

	if (!p)
		return 0;
	if (p->end) {
		rc = say(q, false, now);
		if (!rc)
			ended(q);
	} else if (p->begin || p->tell) {
		rc = say(q, true, now);
	}
	return rc;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Chains of a receive ring that are taken ahead, so that the appliance's adapters write frames where the
 * guest reads them. vqt_msg.h says what both ends agree on.
 *
 * Whoever sends no large frames is spared all of it: it begins with the first large frame, and ends when none
 * came for a while. The chains that are out are the next to be used, whatever a frame comes as, so the ring
 * is served in its order, and a stop or a successor finds it as if nothing had been taken ahead.
 *
 * Memory of the guest that was said may be written until its frame was heard of, CHAINS ended it, or the keys
 * are gone. So a polite stop waits for CHAINS, everything else revokes.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fabric/base/guard.h"
#include "fabric/vqt/vqt_host_int.h"

#define QUIET	  4096u /* chains used without a large frame: they are used for nothing */
#define DEAF	  32u	/* large frames before it is tried again, where it could not be */
#define PIECES_OK 14u	/* they fit the smallest packet */

int posts_create(struct vqt_vq *q)
{
	q->rx->posts = calloc(1, sizeof(*q->rx->posts));
	return q->rx->posts ? 0 : -ENOMEM;
}

void posts_destroy(struct vqt_vq *q)
{
	free(q->rx->posts);
	q->rx->posts = NULL;
}

/* ---- the chains ---- */

const struct rx_post *posts_at(const struct vqt_posts *p, unsigned i)
{
	return p && i < p->count ? &p->chain[(p->first + i) % VQT_POSTS] : NULL;
}

const struct iovec *posts_iov(const struct vqt_posts *p, const struct rx_post *k)
{
	return &p->iov[k->iov];
}

/* Where n iovecs have room in one piece; VQT_POSTS_IOV: nowhere now. */
static unsigned iov_room(const struct vqt_posts *p, unsigned n)
{
	unsigned used = p->count ? posts_at(p, 0)->iov : 0, at = p->count ? p->iov_next : 0;

	if (p->count && at < used)
		return n < used - at ? at : VQT_POSTS_IOV;
	if (at + n <= VQT_POSTS_IOV)
		return at;
	return n < used ? 0 : VQT_POSTS_IOV;
}

/* The next chain of the ring. 1: taken; 0: none, or no place; -EINVAL: none that can be posted; -EBADMSG (and
 * vq_broken() was called). */
static int take(struct vqt_vq *q)
{
	struct vqt_chain *c = &q->dev->host->chain;
	struct vqt_posts *p = q->rx->posts;
	struct rx_post *k;
	unsigned at;
	int rc;

	if (p->count == VQT_POSTS)
		return 0;
	rc = q->dev->cfg.ring_ops->pop(q->ring, c);
	if (rc < 0)
		vq_broken(q, "receive ring: malformed");
	if (rc <= 0)
		return rc;
	at = c->nin && c->nin <= VQT_POST_IOV ? iov_room(p, c->nin) : VQT_POSTS_IOV;
	if (at == VQT_POSTS_IOV) {
		q->dev->cfg.ring_ops->unpop(q->ring, 1);
		return c->nin && c->nin <= VQT_POST_IOV ? 0 : -EINVAL;
	}
	k = &p->chain[(p->first + p->count++) % VQT_POSTS];
	*k = (struct rx_post){.token = c->token, .in_len = c->in_len, .nin = c->nin, .iov = (uint16_t)at};
	memcpy(&p->iov[at], &c->iov[c->nout], c->nin * sizeof(struct iovec));
	p->iov_next = (uint16_t)(at + c->nin);
	return 1;
}

void posts_used(struct vqt_vq *q, unsigned n)
{
	struct vqt_posts *p = q->rx->posts;

	if (!p || !n)
		return;
	p->first = (p->first + n) % VQT_POSTS;
	p->count -= n;
	p->said -= n < p->said ? n : p->said;
	p->quiet += n;
	p->urgent = false;
	if (p->state == POSTS_ON && (p->said <= p->most / 2 || p->quiet >= QUIET))
		vq_ready(q);
}

/* The first n go back to the guest without a frame. */
static void skip(struct vqt_vq *q, unsigned n)
{
	struct vqt_chain *c = &q->dev->host->chain;
	struct vqt_posts *p = q->rx->posts;

	for (unsigned i = 0; i < n; i++) {
		const struct rx_post *k = posts_at(p, i);

		c->token = k->token;
		c->nout = 0;
		c->nin = k->nin;
		c->out_len = 0;
		c->in_len = k->in_len;
		memcpy(c->iov, posts_iov(p, k), k->nin * sizeof(struct iovec));
		q->dev->cfg.ring_ops->push(q->ring, c, 0);
	}
	if (!n)
		return;
	hd_count(q->dev, VQT_HD_rx_chains_skipped, n);
	vq_dirty(q);
	posts_used(q, n);
}

/* Which of those said begins with the piece; said: none. */
static unsigned find(const struct vqt_posts *p, uint32_t piece)
{
	unsigned i = 0;

	while (i < p->said && posts_at(p, i)->piece != piece)
		i++;
	return i;
}

bool posts_seek(struct vqt_vq *q, uint32_t piece, uint32_t len)
{
	struct vqt_posts *p = q->rx->posts;
	uint64_t have = 0;
	unsigned i;

	if (!p || !q->mergeable)
		return false;
	i = find(p, piece);
	for (unsigned k = i; k < p->said && have < len; k++)
		have += posts_at(p, k)->in_len;
	if (!GUARD(posted_piece, have >= len))
		return false;
	skip(q, i);
	return true;
}

/* ---- what is said ---- */

static void recall(struct vqt_vq *q)
{
	struct vqt_posts *p = q->rx->posts;

	if (p->state != POSTS_ON)
		return;
	p->state = POSTS_RECALLED;
	p->recall = true;
	q->dev->nrecalled++;
	vq_ready(q);
}

/* Pieces of k, of which the appliance reaches all; 0: it does not. */
static unsigned pieces_of(const struct vqt_vq *q, const struct rx_post *k, struct vqt_seg *seg, unsigned max)
{
	const struct vqt_hdev_cfg *cfg = &q->dev->cfg;
	unsigned n = cfg->keys->pieces(cfg->user, posts_iov(q->rx->posts, k), k->nin, seg, max);

	for (unsigned i = 0; i < n; i++)
		if (!seg[i].len || seg[i].len & VQT_POSTED_MORE)
			return 0;
	for (unsigned i = 0; i + 1 < n; i++)
		seg[i].len |= VQT_POSTED_MORE;
	return n;
}

/* The next chains that are not said, in one message of at most max pieces. Their number; 0: there are none,
 * or too much is out; -EFAULT: they are out of reach; or rt_begin()'s error. */
static int say_some(struct vqt_vq *q, unsigned max)
{
	struct vqt_posts *p = q->rx->posts;
	uint32_t room = VQT_POSTED_MAX - (p->said ? p->piece - posts_at(p, 0)->piece : 0);
	struct rt_rec rec = {.kind = VQT_POSTED, .queue = (uint8_t)(q->index / 2), .id = p->piece};
	struct vqt_seg seg[VQT_POSTED_PIECES];
	const struct rx_post *k;
	unsigned n = 0, chains = 0;
	uint8_t *at;
	int rc;

	while ((k = posts_at(p, p->said + chains)) != NULL && GUARD(posted_room, k->nin <= room - n) &&
	       n < max) {
		unsigned got = pieces_of(q, k, seg + n, max - n);

		if (!got && !n)
			return -EFAULT;
		if (!got)
			break;
		p->chain[(p->first + p->said + chains++) % VQT_POSTS].piece = p->piece + n;
		n += got;
	}
	if (!n)
		return 0;
	rc = hd_begin(q, RT_CTL, RT_REL_FULL, &rec, n * VQT_SEG, &at);
	if (rc)
		return rc;
	for (unsigned i = 0; i < n; i++)
		vqt_seg_put(at + i * VQT_SEG, &seg[i]);
	p->piece += n;
	p->said += chains;
	hd_count(q->dev, VQT_HD_rx_chains_posted, chains);
	return (int)chains;
}

/* All that the guest has given. */
static void refill(struct vqt_vq *q)
{
	struct vqt_posts *p = q->rx->posts;
	unsigned max = VQT_POSTED_PIECES;
	int rc;

	while ((rc = take(q)) > 0)
		;
	if (rc == -EBADMSG)
		return; /* and all is void */
	for (;;) {
		int n = say_some(q, max);

		if (n == -EMSGSIZE && max > PIECES_OK) {
			max = PIECES_OK;
			continue;
		}
		if (n < 0 && n != -EAGAIN)
			rc = n;
		if (n <= 0)
			break;
	}
	if (p->said > p->most)
		p->most = p->said;
	/* The appliance must not wait for chains that it will never hear of. */
	if (!GUARD(posted_reach, rc >= 0)) {
		p->deaf = DEAF;
		recall(q);
	}
}

static int say(struct vqt_vq *q, uint8_t kind, uint32_t id)
{
	struct rt_rec rec = {.kind = kind, .queue = (uint8_t)(q->index / 2), .id = id};

	return hd_send(q, RT_CTL, RT_REL_FULL, &rec, NULL, 0);
}

void posts_wanted(struct vqt_vq *q)
{
	const struct vqt_hdev_cfg *cfg = &q->dev->cfg;
	struct vqt_posts *p = q->rx->posts;
	struct vqt_seg seg;

	if (!p)
		return;
	p->quiet = 0;
	if (p->state != POSTS_OFF || !q->mergeable || !q->dev->bound || !list_empty(&q->blocked[RT_CTL]))
		return;
	if (p->deaf) {
		p->deaf--;
		return;
	}
	if (!cfg->keys->pieces(cfg->user, q->rx->iov, 1, &seg, 1))
		p->deaf = DEAF;
	else if (!say(q, VQT_POSTED, p->piece))
		p->state = POSTS_ASKED;
}

void posts_turn(struct vqt_vq *q)
{
	struct vqt_posts *p = q->rx->posts;

	if (!p || !list_empty(&q->blocked[RT_CTL]))
		return;
	if (p->state == POSTS_ON && q->state == VQ_RUNNING) {
		if (p->quiet >= QUIET)
			recall(q);
		else if (p->urgent || p->said <= p->most / 2)
			refill(q);
	}
	if (p->recall && !say(q, VQT_RECALL, 0)) {
		p->recall = false;
		hd_count(q->dev, VQT_HD_rx_recalls, 1);
	}
}

/* ---- what ends ---- */

/* All that is taken ahead is ours again. */
static void ours(struct vqt_vq *q)
{
	struct vqt_posts *p = q->rx->posts;
	struct vqt_hdev *d = q->dev;
	bool recalled = p->state == POSTS_RECALLED;

	p->state = POSTS_OFF;
	p->recall = p->urgent = false;
	p->said = 0;
	if (!recalled)
		return;
	d->nrecalled--;
	if (q->state == VQ_DRAINING)
		vq_stopped(q);
	if (!vqt_hdev_inflight(d))
		d->host->ops->idle(d->cfg.user);
}

/* It waits for chains, and takes those before piece for used. */
static void wanted(struct vqt_vq *q, uint32_t piece)
{
	struct vqt_posts *p = q->rx->posts;
	unsigned n = find(p, piece);

	if (!GUARD(posted_wanted, n < p->said || piece == p->piece)) {
		hd_count(q->dev, VQT_HD_drop_rx_malformed, 1);
		return;
	}
	skip(q, n);
	p->urgent = true;
}

void posts_switch(struct vqt_vq *q, bool on, uint32_t piece)
{
	struct vqt_posts *p = q->rx->posts;

	if (!p || !GUARD(posted_switch, !on || p->state == POSTS_ON || p->state == POSTS_RECALLED ||
						(p->state == POSTS_ASKED && piece == p->piece))) {
		hd_count(q->dev, VQT_HD_drop_rx_malformed, 1);
		return;
	}
	if (!on) {
		ours(q);
	} else if (p->state == POSTS_ASKED) {
		p->state = POSTS_ON;
		p->quiet = 0;
		/* Of these the appliance has none: a frame may wait for more than the guest has now. */
		p->urgent = true;
		if (q->state != VQ_RUNNING || !q->mergeable)
			recall(q);
	} else if (p->state == POSTS_ON) {
		wanted(q, piece);
	}
	vq_ready(q);
}

bool posts_stop(struct vqt_vq *q)
{
	struct vqt_posts *p = q->rx->posts;

	if (!p || !q->dev->bound || (q->state != VQ_RUNNING && q->state != VQ_DRAINING))
		return false;
	recall(q);
	return !GUARD(posted_drain, p->state != POSTS_RECALLED);
}

static void revoke(struct vqt_vq *q)
{
	const struct vqt_posts *p = q->rx->posts;

	if (!GUARD(posted_revoke, !p->said))
		q->dev->cfg.keys->revoke(q->dev->cfg.user);
}

void posts_fence(struct vqt_vq *q)
{
	struct vqt_posts *p = q->rx->posts;

	if (!p)
		return;
	revoke(q);
	recall(q);
	p->count = p->said = p->most = 0;
	p->urgent = false;
}

void posts_lost(struct vqt_vq *q)
{
	struct vqt_posts *p = q->rx->posts;

	if (!p)
		return;
	revoke(q);
	ours(q);
}

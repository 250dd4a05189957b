/* SPDX-License-Identifier: Apache-2.0 */
/* Appliance to guest: frames within the agent's credit. */
#include <errno.h>

#include "fabric/base/guard.h"
#include "fabric/vqt/vqt_dev_int.h"

void pair_attend(struct vqt_pair *q)
{
	if (list_empty(&q->attention))
		list_add_tail(&q->dev->peer->attention, &q->attention);
}

static void wait_room(struct vqt_pair *q)
{
	if (list_empty(&q->room))
		list_add_tail(&q->dev->peer->room, &q->room);
}

/* Out of credit, perhaps since frames were lost of which the agent cannot know: say how far we are. */
static void refuse_credit(struct vqt_pair *q)
{
	d_count(q->dev, VQT_D_tx_no_credit, 1);
	q->want_credit = true;
	if (q->marked != q->tx_pos) {
		q->want_mark = true;
		pair_attend(q);
	}
}

static int send_frame(struct vqt_pair *q, const struct frame *f, uint64_t now)
{
	struct rt_rec rec = {.kind = VQT_FRAME, .queue = (uint8_t)q->index, .id = q->tx_pos, .total = f->len};
	struct iovec iov[FRAME_SEGS];
	int rc = place_reserve(q, q->tx_pos, now);

	if (rc)
		return rc;
	for (uint32_t i = 0; i < f->nseg; i++)
		iov[i] = (struct iovec){(void *)(uintptr_t)f->seg[i].data, f->seg[i].len};
	rc = dev_rt_send(q->dev, RT_NET, q->dev->cfg.rel, &rec, iov, f->nseg, now);
	if (!rc)
		d_count(q->dev, VQT_D_tx_copied_bytes, f->len);
	return rc;
}

/* A small frame, with others in one message. 0; -EAGAIN: no room; -ENOBUFS: no credit. The chains it takes
 * are the caller's to count. */
static int send_small(struct vqt_pair *q, const struct frame *f, uint64_t now)
{
	struct rt_rec rec = {.kind = VQT_FRAMES, .queue = (uint8_t)q->index, .id = q->run_pos};
	uint32_t need = VQT_SMALL_LEN + f->len, room = q->tx_limit - q->tx_pos;
	uint8_t *at = NULL;

	if (q->run_len && q->run_pos + vqt_span(q->run_len + need) - q->tx_pos <= room)
		at = dev_rt_grow(q->dev, RT_NET, &rec, need);
	if (!at) {
		int rc;

		if (!GUARD(credit, vqt_span(need) <= room))
			return -ENOBUFS;
		rec.id = q->tx_pos;
		rc = place_reserve(q, q->tx_pos, now);
		if (!rc)
			rc = dev_rt_begin(q->dev, RT_NET, q->dev->cfg.rel, &rec, need, &at);
		if (rc)
			return rc;
		q->run_pos = q->tx_pos;
		q->run_len = 0;
	}
	q->run_len += need;
	q->tx_pos = q->run_pos + vqt_span(q->run_len);
	vqt_small_put_len(at, f->len);
	frame_read(f, 0, at + VQT_SMALL_LEN, f->len);
	d_count(q->dev, VQT_D_tx_copied_bytes, f->len);
	return 0;
}

/* Likewise any other. */
static int send_large(struct vqt_pair *q, const struct frame *f, const struct posts_take *t, uint64_t now)
{
	int rc;

	if (!GUARD(credit, vqt_span(f->len) <= q->tx_limit - q->tx_pos))
		return -ENOBUFS;
	rc = place_start(q, f, t);
	if (rc)
		rc = send_frame(q, f, now);
	if (rc)
		return rc;
	q->tx_pos += vqt_span(f->len);
	q->run_len = 0;
	return 0;
}

int vqt_dev_send(struct vqt_dev *d, unsigned pair, const struct frame *f, uint64_t now)
{
	struct posts_take t;
	struct vqt_pair *q;
	int rc;

	if (d->cfg.type != VQT_NET || pair >= d->cfg.nvq / 2)
		return -EINVAL;
	if (f->len < VQT_FRAME_MIN || f->len > FRAME_MAX)
		return -EMSGSIZE;
	q = &d->pairs[pair];
	if (!posts_take(q, f->len, &t)) {
		posts_wait(q);
		return -EAGAIN;
	}
	rc = f->len <= VQT_SMALL ? send_small(q, f, now) : send_large(q, f, &t, now);
	if (rc == -ENOBUFS) {
		refuse_credit(q);
		return -EAGAIN;
	}
	if (rc == -EAGAIN) {
		d_count(d, VQT_D_tx_no_room, 1);
		wait_room(q);
	}
	if (rc)
		return rc;
	if (!GUARD(posted_count, !t.pieces))
		posts_taken(q, &t);
	d_count(d, VQT_D_tx_frames, 1);
	d_count(d, VQT_D_tx_bytes, f->len);
	if (f->len > VQT_FRAME_SUPER)
		d_count(d, VQT_D_frames_super, 1);
	return 0;
}

uint32_t vqt_dev_credit(const struct vqt_dev *d, unsigned pair)
{
	if (d->cfg.type != VQT_NET || pair >= d->cfg.nvq / 2)
		return 0;
	return d->pairs[pair].tx_limit - d->pairs[pair].tx_pos;
}

void pair_credit(struct vqt_pair *q, const struct rt_rec *rec)
{
	bool newer = vqt_before(q->tx_limit, rec->id);

	/* The agent's window begins no later than where we are. */
	if (rec->total || rec->len || rec->id % VQT_POS_ALIGN ||
	    (newer && rec->id - q->tx_pos > q->dev->cfg.window)) {
		d_count(q->dev, VQT_D_drop_credit, 1);
		return;
	}
	if (!newer) /* overtaken by a later one */
		return;
	q->tx_limit = rec->id;
	if (q->want_credit) {
		q->want_credit = q->want_mark = false;
		q->wake = true;
		pair_attend(q);
	}
}

void pair_room(struct vqt_peer *p)
{
	struct list *it;

	while ((it = list_pop(&p->room)) != NULL) {
		struct vqt_pair *q = container_of(it, struct vqt_pair, room);

		q->wake = true;
		pair_attend(q);
	}
}

void pair_service(struct vqt_pair *q, uint64_t now)
{
	struct rt_rec rec = {.kind = VQT_MARK, .queue = (uint8_t)q->index};
	int rc;

	if (place_serve(q, now))
		wait_room(q);
	rc = posts_serve(q, now);
	if (rc == -ENOBUFS)
		refuse_credit(q);
	else if (rc)
		wait_room(q);
	rec.id = q->tx_pos;
	if (q->want_mark) {
		if (place_reserve(q, q->tx_pos, now) ||
		    dev_rt_send(q->dev, RT_NET, RT_REL_FULL, &rec, NULL, 0, now)) {
			wait_room(q);
		} else {
			q->want_mark = false;
			q->marked = q->tx_pos;
			d_count(q->dev, VQT_D_marks, 1);
		}
	}
	if (q->wake) {
		q->wake = false;
		q->dev->ops->writable(q->dev->cfg.user, q->index);
	}
}

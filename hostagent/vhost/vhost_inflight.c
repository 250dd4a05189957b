/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inflight region of block queues (QEMU docs/interop/vhost-user.rst, "Inflight I/O tracking"). It is a
 * file that the front-end keeps for us: what we mark there outlives our death, and a successor takes the
 * marked requests again first, in the order of their counters.
 *
 * Order of a completion: used element; last_batch_head; used->idx; clear the mark; used_idx of the region.
 * So at most one completion is between used->idx and its mark when we die, and last_batch_head names it:
 * completions are published one at a time.
 *
 * A split ring goes on at used->idx + marked requests, whatever base the front-end sends (after our
 * crash it sends a stale one). Where used->idx moved by more than that one completion, the ring is not the
 * one the marks belong to (the guest was reset meanwhile): they are dropped.
 */
#include "hostagent/vhost/vhost_int.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define QUEUE_ALIGN 64u

uint64_t inflight_queue_size(const struct vhost *v, uint16_t qsize)
{
	uint64_t n = v->acked & VIRTIO_F_RING_PACKED
			     ? sizeof(struct inflight_packed) +
				       (uint64_t)qsize * sizeof(struct inflight_packed_desc)
			     : sizeof(struct inflight_queue) + (uint64_t)qsize * sizeof(struct inflight_desc);

	return (n + QUEUE_ALIGN - 1) & ~(uint64_t)(QUEUE_ALIGN - 1);
}

static bool shape_ok(const struct vhost *v, const struct vhost_inflight_desc *d)
{
	return d->num_queues && d->num_queues <= v->cfg.nqueues && d->queue_size &&
	       d->queue_size <= v->cfg.queue_size;
}

int inflight_get(struct vhost *v, struct vhost_inflight_desc *d)
{
	if (!shape_ok(v, d))
		return -EINVAL;
	d->mmap_size = d->num_queues * inflight_queue_size(v, d->queue_size);
	d->mmap_offset = 0;
	return v->sys->memfd(v->sys_arg, d->mmap_size);
}

int inflight_set(struct vhost *v, const struct vhost_inflight_desc *d, int fd)
{
	struct vhost_map m = {.fault = &v->fault};
	int err;

	/* The alignment keeps the region's own fields aligned. */
	if (!shape_ok(v, d) || d->mmap_offset % 8 ||
	    d->mmap_size < d->num_queues * inflight_queue_size(v, d->queue_size))
		return -EINVAL;
	if (ring_any_active(v))
		return -EBUSY;
	inflight_drop(v);
	v->inflight_map = m;
	err = v->sys->map(v->sys_arg, fd, d->mmap_offset, d->mmap_size, &v->inflight_map);
	if (err) {
		v->inflight_map.at = NULL;
		return err;
	}
	v->inflight_queues = d->num_queues;
	v->inflight_qsize = d->queue_size;
	return 0;
}

void inflight_drop(struct vhost *v)
{
	if (v->inflight_map.at)
		v->sys->unmap(v->sys_arg, &v->inflight_map);
	v->inflight_map.at = NULL;
}

static int by_counter(const void *a, const void *b)
{
	const struct inflight_mark *x = a, *y = b;

	return x->counter < y->counter ? -1 : x->counter > y->counter;
}

int inflight_resubmit(struct vhost_ring *r, struct inflight_mark *marks, unsigned n)
{
	qsort(marks, n, sizeof(*marks), by_counter);
	free(r->resub);
	r->resub = n ? malloc(n * sizeof(*r->resub)) : NULL;
	if (n && !r->resub)
		return -ENOMEM;
	for (unsigned i = 0; i < n; i++) {
		r->resub[i] = marks[i].head;
		r->counter = marks[i].counter;
	}
	r->resub_n = (uint16_t)n;
	return 0;
}

/* Collect the marked heads in counter order. Heads and counters are read once. */
static int collect(struct vhost_ring *r)
{
	struct inflight_mark *marks = malloc(r->num * sizeof(*marks));
	unsigned n = 0;
	int err;

	if (!marks)
		return -ENOMEM;
	for (uint16_t i = 0; i < r->num; i++) {
		struct inflight_desc *d = &r->inflight->desc[i];

		if (*(volatile uint8_t *)&d->inflight != 1)
			continue;
		marks[n].counter = le64toh(*(volatile uint64_t *)&d->counter);
		marks[n++].head = i;
	}
	err = inflight_resubmit(r, marks, n);
	free(marks);
	return err;
}

int inflight_part(const struct vhost_ring *r, void **part, uint64_t *size)
{
	const struct vhost *v = r->v;

	*part = NULL;
	if (!v->inflight_map.at)
		return 0;
	/* The layout is that of the features acknowledged now, which may not be those it was made for. */
	*size = inflight_queue_size(v, v->inflight_qsize);
	if (r->index >= v->inflight_queues || r->num > v->inflight_qsize ||
	    (r->index + 1) * *size > v->inflight_map.len)
		return -EPROTO;
	*part = v->inflight_map.at + r->index * *size;
	return 0;
}

int inflight_start(struct vhost_ring *r)
{
	struct vhost *v = r->v;
	struct inflight_queue *q;
	uint64_t size;
	uint16_t gap;
	void *part;
	int err;

	r->inflight = NULL;
	err = inflight_part(r, &part, &size);
	if (err || !part)
		return err;
	q = part;
	if (q->version &&
	    (le16toh(q->version) != INFLIGHT_VERSION || le16toh(q->desc_num) != v->inflight_qsize))
		return -EPROTO;
	gap = (uint16_t)(r->used_idx - le16toh(q->used_idx));
	if (!q->version || gap > 1) {
		memset(q, 0, size);
		q->desc_num = htole16(v->inflight_qsize);
	} else if (gap == 1) {
		uint16_t head = le16toh(q->last_batch_head);

		if (head < v->inflight_qsize)
			q->desc[head].inflight = 0;
	}
	__atomic_thread_fence(__ATOMIC_RELEASE);
	q->used_idx = htole16(r->used_idx);
	q->version = htole16(INFLIGHT_VERSION);
	r->inflight = q;
	err = collect(r);
	if (err)
		return err;
	r->last_avail = (uint16_t)(r->used_idx + r->resub_n);
	return 0;
}

void inflight_take(struct vhost_ring *r, uint16_t head)
{
	struct inflight_desc *d = &r->inflight->desc[head];

	d->counter = htole64(++r->counter);
	__atomic_store_n(&d->inflight, 1, __ATOMIC_RELEASE);
}

void inflight_untake(struct vhost_ring *r, uint16_t head)
{
	__atomic_store_n(&r->inflight->desc[head].inflight, 0, __ATOMIC_RELEASE);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a packed net ring goes on after our death. Nothing in such a ring says how far the device is, and
 * the front-end keeps an inflight region for block devices alone; so each ring has a record in memory that
 * outlives the process (vhost_config.saved).
 *
 * A net queue completes in the order it takes, so one position tells it all: what lies before was
 * completed, what lies from there on is taken again. Used descriptors of a burst must appear to the driver
 * at once, since a frame may fill several buffers (virtio 1.2 section 5.1.6.4): they are written last to
 * first. To die in the middle of that, or between push() and flush(), the record holds the burst itself,
 * and its first descriptor tells whether it was published: it is still available, or not.
 *
 * The record is of this very ring if everything the front-end says is the same, its stale base included, and
 * our event structure is not zero: a driver that set the ring up anew has cleared it.
 */
#include "hostagent/vhost/vhost_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SAVED_MAGIC 0x31676e69722d676full

struct saved_used {
	uint32_t len;
	uint16_t id;
	uint16_t ndesc;
};

struct saved_ring {
	uint64_t magic; /* 0: nothing is saved */
	uint64_t features;
	uint64_t desc_uva, avail_uva, used_uva;
	uint32_t told; /* the base as the front-end knows it */
	uint32_t num;
	uint32_t state; /* in one store: position of the first of the burst, its length << 16 */
	uint32_t padding;
	struct saved_used burst[];
};

static size_t record_size(uint16_t queue_size)
{
	size_t n = sizeof(struct saved_ring) + queue_size * sizeof(struct saved_used);

	return (n + 63) & ~(size_t)63;
}

size_t vhost_saved_size(const struct vhost_config *cfg)
{
	bool wanted = cfg->net && cfg->features & VIRTIO_F_RING_PACKED;

	return wanted ? cfg->nqueues * record_size(cfg->queue_size) : 0;
}

static void set_state(struct saved_ring *s, uint16_t from, unsigned n)
{
	__atomic_store_n(&s->state, from | (uint32_t)n << 16, __ATOMIC_RELEASE);
}

/* Write used descriptors from `from` on, the first one last. */
static void publish(struct vhost_ring *r, uint16_t from, unsigned n)
{
	const struct saved_used *b = r->saved->burst;
	uint16_t pos = from;

	for (unsigned i = 0; i < n; i++)
		pos = (uint16_t)(pos + b[i].ndesc);
	while (n--) {
		pos = (uint16_t)(pos - b[n].ndesc);
		packed_put_used(r, pos, b[n].id, b[n].len);
	}
}

/* Descriptors of the burst, or -1: the record is nonsense. */
static int burst_length(const struct vhost_ring *r, unsigned n)
{
	unsigned sum = 0;

	if (n > r->num)
		return -1;
	for (unsigned i = 0; i < n; i++) {
		if (!r->saved->burst[i].ndesc)
			return -1;
		sum += r->saved->burst[i].ndesc;
	}
	return sum <= r->num ? (int)sum : -1;
}

static bool same_ring(const struct vhost_ring *r)
{
	const struct saved_ring *s = r->saved;

	return s->magic == SAVED_MAGIC && s->features == (r->v->acked & ~VHOST_F_LOG_ALL) &&
	       s->num == r->num && s->told == r->told && s->desc_uva == r->desc_uva &&
	       s->avail_uva == r->avail_uva && s->used_uva == r->used_uva &&
	       *(const volatile uint32_t *)r->device != 0;
}

static bool take_over(struct vhost_ring *r)
{
	uint32_t state = r->saved->state;
	uint16_t from = (uint16_t)state;
	int length;

	if (!same_ring(r))
		return false;
	length = burst_length(r, state >> 16);
	if (length < 0)
		return false;
	if (state >> 16 && packed_available(r, from))
		publish(r, from, state >> 16);
	r->used_idx = (uint16_t)(from + length);
	r->last_avail = r->used_idx;
	return true;
}

int saved_start(struct vhost_ring *r)
{
	struct vhost *v = r->v;
	struct saved_ring *s;

	if (v->cfg.saved) {
		r->saved = (void *)((uint8_t *)v->cfg.saved + r->index * record_size(v->cfg.queue_size));
	} else {
		if (!r->own_saved)
			r->own_saved = calloc(1, record_size(v->cfg.queue_size));
		r->saved = r->own_saved;
	}
	s = r->saved;
	if (!s)
		return -ENOMEM;
	if (take_over(r)) {
		vhost_count(v, VHOST_C_rings_recovered);
	} else {
		s->magic = 0;
		__atomic_thread_fence(__ATOMIC_RELEASE);
		s->features = v->acked & ~VHOST_F_LOG_ALL;
		s->desc_uva = r->desc_uva;
		s->avail_uva = r->avail_uva;
		s->used_uva = r->used_uva;
		s->told = r->told;
		s->num = r->num;
	}
	set_state(s, r->used_idx, 0);
	__atomic_store_n(&s->magic, SAVED_MAGIC, __ATOMIC_RELEASE);
	return 0;
}

void saved_push(struct vhost_ring *r, uint16_t id, uint16_t ndesc, uint32_t len)
{
	uint32_t state = r->saved->state;

	/* Never full: between two flushes no more is taken than the ring holds. */
	r->saved->burst[state >> 16] = (struct saved_used){len, id, ndesc};
	set_state(r->saved, (uint16_t)state, (state >> 16) + 1);
}

void saved_publish(struct vhost_ring *r)
{
	uint32_t state = r->saved->state;

	publish(r, (uint16_t)state, state >> 16);
	set_state(r->saved, r->used_idx, 0);
}

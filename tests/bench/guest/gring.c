/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/guest/gring.h"

#define BOTH ((uint16_t)(VRING_DESC_AVAIL | VRING_DESC_USED))

void gring_init(struct gring *r, struct vfront *f, unsigned q)
{
	*r = (struct gring){.f = f, .vq = &f->q[q], .q = q, .packed = vfront_packed(f)};
	r->event_idx = f->features & VIRTIO_RING_F_EVENT_IDX;
	r->num = r->vq->num;
	for (uint16_t i = 0; i < r->num; i++)
		r->free[i] = i;
	(void)gring_arm(r, 0);
}

void gring_put(struct gring *r, uint16_t slot, uint64_t gpa, uint32_t len, uint16_t flags)
{
	uint16_t at = r->avail % r->num;

	if (r->packed) {
		struct vring_packed_desc *d = &r->vq->pdesc[at];

		d->addr = gpa;
		d->len = len;
		d->id = slot;
		__atomic_store_n(&d->flags, flags | vfront_packed_flags(r->vq, r->avail), __ATOMIC_RELEASE);
	} else {
		r->vq->desc[slot] = (struct vring_desc){gpa, len, flags, 0};
		r->vq->avail->ring[at] = slot;
	}
	r->avail++;
}

void gring_publish(struct gring *r)
{
	if (r->told == r->avail)
		return;
	if (!r->packed)
		__atomic_store_n(&r->vq->avail->idx, r->avail, __ATOMIC_RELEASE);
	r->vq->avail_idx = r->avail;
	r->kicks += vfront_kick(r->f, r->q, r->told);
	r->told = r->avail;
}

static bool pending(const struct gring *r)
{
	uint16_t flags;

	if (!r->packed)
		return __atomic_load_n(&r->vq->used->idx, __ATOMIC_ACQUIRE) != r->seen;
	if (r->seen == r->avail)
		return false;
	flags = __atomic_load_n(&r->vq->pdesc[r->seen % r->num].flags, __ATOMIC_ACQUIRE);
	return (flags & BOTH) == (r->seen & r->num ? 0 : BOTH);
}

bool gring_used(struct gring *r, uint16_t *slot, uint32_t *len)
{
	uint16_t at = r->seen % r->num;

	if (!pending(r))
		return false;
	if (r->packed) {
		*slot = r->vq->pdesc[at].id;
		*len = r->vq->pdesc[at].len;
	} else {
		*slot = (uint16_t)r->vq->used->ring[at].id;
		*len = r->vq->used->ring[at].len;
	}
	r->seen++;
	r->free[r->freed++ % r->num] = *slot;
	return true;
}

bool gring_arm(struct gring *r, uint16_t more)
{
	uint16_t event = (uint16_t)(r->seen + more);

	if (r->packed) {
		struct vring_packed_event e = {(uint16_t)(event % r->num | (event & r->num ? 0 : 0x8000)),
					       r->event_idx ? VRING_EVENT_DESC : VRING_EVENT_ENABLE};

		*(volatile struct vring_packed_event *)r->vq->driver = e;
	} else if (r->event_idx) {
		*(volatile uint16_t *)&r->vq->avail->ring[r->num] = event;
	}
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!r->packed && more)
		return (uint16_t)(__atomic_load_n(&r->vq->used->idx, __ATOMIC_ACQUIRE) - r->seen) > more;
	return pending(r);
}

void gring_called(struct gring *r)
{
	r->calls += vfront_calls(r->f, r->q) > 0;
}

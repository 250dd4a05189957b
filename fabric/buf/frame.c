/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fabric/buf/buf.h"

struct frame_pool {
	struct frame *free;
	uint32_t available;
	uint32_t count;
	struct frame frames[];
};

struct frame_pool *frame_pool_create(uint32_t count)
{
	struct frame_pool *p = calloc(1, sizeof(*p) + count * sizeof(struct frame));

	if (!p)
		return NULL;
	p->count = p->available = count;
	for (uint32_t i = count; i-- > 0;) {
		p->frames[i].pool = p;
		p->frames[i].next = p->free;
		p->free = &p->frames[i];
	}
	return p;
}

void frame_pool_destroy(struct frame_pool *p)
{
	if (!p)
		return;
	assert(p->available == p->count);
	free(p);
}

uint32_t frame_pool_available(const struct frame_pool *p)
{
	return p->available;
}

struct frame *frame_get(struct frame_pool *p)
{
	struct frame *f = p->free;

	if (!f)
		return NULL;
	p->free = f->next;
	p->available--;
	f->next = NULL;
	f->len = 0;
	f->nseg = 0;
	return f;
}

void frame_put(struct frame *f)
{
	struct frame_pool *p;

	if (!f)
		return;
	for (uint32_t i = 0; i < f->nseg; i++)
		if (f->seg[i].buf)
			buf_put(f->seg[i].buf);
	p = f->pool;
	f->next = p->free;
	p->free = f;
	p->available++;
}

int frame_add(struct frame *f, const uint8_t *data, uint32_t len, struct buf *b)
{
	if (len == 0)
		return 0;
	if (f->nseg == FRAME_SEGS)
		return -E2BIG;
	if (b)
		buf_ref(b);
	f->seg[f->nseg++] = (struct seg){.data = data, .len = len, .buf = b};
	f->len += len;
	return 0;
}

struct frame *frame_clone(const struct frame *f)
{
	struct frame *c = frame_get(f->pool);

	if (!c)
		return NULL;
	c->len = f->len;
	c->nseg = f->nseg;
	for (uint32_t i = 0; i < f->nseg; i++) {
		c->seg[i] = f->seg[i];
		if (c->seg[i].buf)
			buf_ref(c->seg[i].buf);
	}
	return c;
}

int frame_part(struct frame *f, const struct frame *from, uint32_t off, uint32_t n)
{
	int r = 0;

	for (uint32_t i = 0; i < from->nseg && n && !r; i++) {
		const struct seg *s = &from->seg[i];
		uint32_t take;

		if (off >= s->len) {
			off -= s->len;
			continue;
		}
		take = s->len - off < n ? s->len - off : n;
		r = frame_add(f, s->data + off, take, s->buf);
		n -= take;
		off = 0;
	}
	return r ? r : n ? -EINVAL : 0;
}

uint32_t frame_read(const struct frame *f, uint32_t off, void *dst, uint32_t n)
{
	uint8_t *out = dst;
	uint32_t done = 0;

	for (uint32_t i = 0; i < f->nseg && done < n; i++) {
		const struct seg *s = &f->seg[i];
		uint32_t take;

		if (off >= s->len) {
			off -= s->len;
			continue;
		}
		take = s->len - off < n - done ? s->len - off : n - done;
		memcpy(out + done, s->data + off, take);
		done += take;
		off = 0;
	}
	return done;
}

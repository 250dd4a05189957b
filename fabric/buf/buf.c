/* SPDX-License-Identifier: Apache-2.0 */
#include "fabric/buf/buf.h"

#include <assert.h>
#include <stdlib.h>

#define SLAB_ALIGN 64u

/* Free buffers are kept as a stack: the one put back last is the warmest in cache. */
struct buf_pool {
	struct buf *free;
	uint32_t available;
	uint32_t count;
	uint8_t *memory;
	size_t len; /* bytes at memory */
	struct buf bufs[];
};

static void release_to_pool(struct buf *b)
{
	struct buf_pool *p = b->owner;

	b->next_free = p->free;
	p->free = b;
	p->available++;
}

struct buf_pool *buf_pool_create(uint32_t count, uint32_t size)
{
	size_t stride = ((size_t)size + SLAB_ALIGN - 1) & ~(size_t)(SLAB_ALIGN - 1);
	struct buf_pool *p = calloc(1, sizeof(*p) + count * sizeof(struct buf));

	if (!p)
		return NULL;
	/* Not touched here: pages of buffers never used stay unmapped. */
	p->memory = aligned_alloc(SLAB_ALIGN, stride && count ? stride * count : SLAB_ALIGN);
	if (!p->memory) {
		free(p);
		return NULL;
	}
	p->count = count;
	p->len = stride * count;
	for (uint32_t i = count; i-- > 0;) {
		p->bufs[i] = (struct buf){
			.base = p->memory + i * stride, .size = size, .release = release_to_pool, .owner = p};
		release_to_pool(&p->bufs[i]);
	}
	return p;
}

void buf_pool_destroy(struct buf_pool *p)
{
	if (!p)
		return;
	assert(p->available == p->count);
	free(p->memory);
	free(p);
}

uint32_t buf_pool_available(const struct buf_pool *p)
{
	return p->available;
}

uint8_t *buf_pool_memory(const struct buf_pool *p, size_t *len)
{
	*len = p->len;
	return p->memory;
}

struct buf *buf_get(struct buf_pool *p)
{
	struct buf *b = p->free;

	if (!b)
		return NULL;
	p->free = b->next_free;
	p->available--;
	b->next_free = NULL;
	b->refs = 1;
	return b;
}

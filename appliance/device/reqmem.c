/* SPDX-License-Identifier: Apache-2.0 */
#include "appliance/device/reqmem.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define PAGE 4096u

static const struct {
	uint32_t size, stock;
} classes[REQMEM_CLASSES] = {
	{4 * PAGE, 1024},	     /* the common 4 KiB request, shifted to alignment */
	{20 * PAGE, 256},	     /* unscheduled: 64 KiB */
	{68 * PAGE, 64},	     /* 256 KiB */
	{(1u << 20) + 4 * PAGE, 16}, /* VQT_REQ_MAX */
};

void reqmem_init(struct reqmem *m)
{
	*m = (struct reqmem){.out = 0};
	for (int i = 0; i < REQMEM_CLASSES; i++) {
		m->cls[i].size = classes[i].size;
		m->cls[i].stock = classes[i].stock;
	}
}

static bool in_arena(const struct reqmem *m, const void *p)
{
	return (size_t)((const uint8_t *)p - m->arena) < m->arena_len;
}

int reqmem_arena(struct reqmem *m)
{
	uint8_t *at;

	for (int i = 0; i < REQMEM_CLASSES; i++)
		m->arena_len += (size_t)m->cls[i].size * m->cls[i].stock;
	m->arena = at = aligned_alloc(PAGE, m->arena_len);
	if (!at) {
		m->arena_len = 0;
		return -ENOMEM;
	}
	for (int i = 0; i < REQMEM_CLASSES; i++) {
		struct reqmem_class *c = &m->cls[i];

		for (; c->nfree < c->stock; c->nfree++, at += c->size) {
			*(void **)(void *)at = c->free;
			c->free = at;
		}
		c->stock = 0; /* of others */
	}
	return 0;
}

void reqmem_fini(struct reqmem *m)
{
	assert(m->out == 0);
	for (int i = 0; i < REQMEM_CLASSES; i++) {
		while (m->cls[i].free) {
			void *p = m->cls[i].free;

			m->cls[i].free = *(void **)p;
			if (!in_arena(m, p))
				free(p);
		}
	}
	free(m->arena);
}

/* Bytes before the caller's, so that caller + align_off is a multiple of PAGE. */
static size_t shift(size_t align_off)
{
	return (PAGE - align_off % PAGE) % PAGE;
}

static struct reqmem_class *class_of(struct reqmem *m, size_t bytes)
{
	for (int i = 0; i < REQMEM_CLASSES; i++)
		if (bytes <= m->cls[i].size)
			return &m->cls[i];
	return NULL;
}

static void *get(void *ctx, size_t size, size_t align_off)
{
	struct reqmem *m = ctx;
	struct reqmem_class *c = class_of(m, size + shift(align_off));
	char *p;

	if (!c)
		return NULL;
	if (c->free) {
		p = c->free;
		c->free = *(void **)c->free;
		c->nfree--;
	} else {
		p = aligned_alloc(PAGE, c->size);
		if (!p)
			return NULL;
	}
	m->out++;
	return p + shift(align_off);
}

static void put(void *ctx, void *ptr, size_t size, size_t align_off)
{
	struct reqmem *m = ctx;
	struct reqmem_class *c = class_of(m, size + shift(align_off));
	char *p = (char *)ptr - shift(align_off);

	m->out--;
	if (c->nfree >= c->stock && !in_arena(m, p)) {
		free(p);
		return;
	}
	*(void **)(void *)p = c->free;
	c->free = p;
	c->nfree++;
}

struct vqt_mem reqmem_door(struct reqmem *m)
{
	return (struct vqt_mem){.get = get, .put = put, .ctx = m};
}

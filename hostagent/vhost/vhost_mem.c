/* SPDX-License-Identifier: Apache-2.0 */
#include "hostagent/vhost/vhost_mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool wraps(uint64_t start, uint64_t size)
{
	return size == 0 || start > UINT64_MAX - size;
}

static bool overlap(uint64_t a, uint64_t alen, uint64_t b, uint64_t blen)
{
	return a < b + blen && b < a + alen;
}

static bool table_ok(const struct vhost_mem_desc *d)
{
	if (d->nregions == 0 || d->nregions > VHOST_REGIONS_MAX)
		return false;
	for (uint32_t i = 0; i < d->nregions; i++) {
		const struct vhost_region_desc *r = &d->regions[i];

		if (wraps(r->gpa, r->size) || wraps(r->uva, r->size) || wraps(r->offset, r->size))
			return false;
		for (uint32_t j = 0; j < i; j++) {
			const struct vhost_region_desc *s = &d->regions[j];

			if (overlap(r->gpa, r->size, s->gpa, s->size) ||
			    overlap(r->uva, r->size, s->uva, s->size))
				return false;
		}
	}
	return true;
}

/* The place of d's region i when sorted by guest-physical address. */
static uint32_t rank(const struct vhost_mem_desc *d, uint32_t i)
{
	uint32_t before = 0;

	for (uint32_t j = 0; j < d->nregions; j++)
		before += d->regions[j].gpa < d->regions[i].gpa;
	return before;
}

int vhost_mem_create(struct vhost_mem **out, const struct vhost_mem_desc *d, const int *fds,
		     const struct vhost_sys *sys, void *sys_arg, bool *fault)
{
	struct vhost_mem *m;

	if (!table_ok(d))
		return -EINVAL;
	m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	m->refs = 1;
	m->n = d->nregions;
	m->sys = sys;
	m->sys_arg = sys_arg;
	for (uint32_t i = 0; i < d->nregions; i++) {
		const struct vhost_region_desc *from = &d->regions[i];
		struct vhost_region *r = &m->regions[rank(d, i)];
		int err;

		r->map.fault = fault;
		err = sys->map(sys_arg, fds[i], from->offset, from->size, &r->map);
		if (err) {
			r->map.at = NULL;
			vhost_mem_put(m);
			return err;
		}
		r->gpa = from->gpa;
		r->size = from->size;
		r->uva = from->uva;
	}
	*out = m;
	return 0;
}

void vhost_mem_tell(struct vhost_mem *m, void (*told)(void *arg, void *at, uint64_t len, bool there),
		    void *arg)
{
	m->told = told;
	m->told_arg = arg;
	for (uint32_t i = 0; told && i < m->n; i++)
		told(arg, m->regions[i].map.at, m->regions[i].size, true);
}

void vhost_mem_free(struct vhost_mem *m)
{
	for (uint32_t i = 0; i < m->n; i++) {
		if (!m->regions[i].map.at)
			continue;
		if (m->told)
			m->told(m->told_arg, m->regions[i].map.at, m->regions[i].size, false);
		m->sys->unmap(m->sys_arg, &m->regions[i].map);
	}
	free(m);
}

int vhost_mem_iov(const struct vhost_mem *m, uint64_t gpa, uint64_t len, struct iovec *iov, unsigned max)
{
	unsigned n = 0;

	for (uint32_t i = 0; len && i < m->n; i++) {
		const struct vhost_region *r = &m->regions[i];
		uint64_t off = gpa - r->gpa;
		uint64_t here;

		if (gpa < r->gpa || off >= r->size)
			continue;
		if (n == max)
			return -E2BIG;
		here = r->size - off < len ? r->size - off : len;
		iov[n].iov_base = r->map.at + off;
		iov[n].iov_len = here;
		n++;
		gpa += here; /* at most the region's end, which does not wrap */
		len -= here;
	}
	return len ? -EFAULT : (int)n;
}

void *vhost_mem_uva(const struct vhost_mem *m, uint64_t uva, uint64_t len)
{
	for (uint32_t i = 0; i < m->n; i++) {
		const struct vhost_region *r = &m->regions[i];
		uint64_t off = uva - r->uva;

		if (uva >= r->uva && off < r->size && len <= r->size - off)
			return r->map.at + off;
	}
	return NULL;
}

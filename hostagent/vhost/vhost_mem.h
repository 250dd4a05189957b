/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest memory as one SET_MEM_TABLE described it. A table is immutable and counted: the device holds
 * one reference, each chain in flight another, so that buffers outlive the table that named them when
 * the front-end replaces it under I/O (memory hot plug).
 *
 * Regions are sorted by guest-physical address and overlap in neither address space. A range of guest
 * memory may run over a region's end into the next: one descriptor can need several iovecs.
 */
#ifndef OUTRIGGER_VHOST_MEM_H
#define OUTRIGGER_VHOST_MEM_H

#include "hostagent/vhost/vhost.h"

struct vhost_region {
	uint64_t gpa;
	uint64_t size;
	uint64_t uva;
	struct vhost_map map;
};

struct vhost_mem {
	uint32_t refs;
	uint32_t n;
	const struct vhost_sys *sys;
	void *sys_arg;
	void (*told)(void *arg, void *at, uint64_t len, bool there); /* NULL: nobody */
	void *told_arg;
	struct vhost_region regions[VHOST_REGIONS_MAX];
};

/* Map every region; fds[i] belongs to region i and stays the caller's. *out has one reference.
 * -EINVAL: overlap, wrap-around, zero size or too many; -ENOMEM; or an error of sys->map. */
int vhost_mem_create(struct vhost_mem **out, const struct vhost_mem_desc *d, const int *fds,
		     const struct vhost_sys *sys, void *sys_arg, bool *fault);
/* Tells of each region now, and again before it is unmapped (vhost_config.memory). */
void vhost_mem_tell(struct vhost_mem *m, void (*told)(void *arg, void *at, uint64_t len, bool there),
		    void *arg);
static inline struct vhost_mem *vhost_mem_ref(struct vhost_mem *m)
{
	m->refs++;
	return m;
}
void vhost_mem_free(struct vhost_mem *m);	      /* nobody refers to it any more */
static inline void vhost_mem_put(struct vhost_mem *m) /* NULL is fine */
{
	if (m && !--m->refs)
		vhost_mem_free(m);
}

/* Our address of [gpa, gpa + len), within one region; NULL: not there, or not in one. */
static inline uint8_t *vhost_mem_at(const struct vhost_mem *m, uint64_t gpa, uint64_t len)
{
	for (uint32_t i = 0; i < m->n; i++) {
		const struct vhost_region *r = &m->regions[i];
		uint64_t off = gpa - r->gpa; /* of a lower gpa: beyond any size */

		if (off < r->size && len <= r->size - off)
			return r->map.at + off;
	}
	return NULL;
}

/* [gpa, gpa + len) as iovecs: how many (0 for len 0), -EFAULT: not all of it is guest memory,
 * -E2BIG: needs more than max. */
int vhost_mem_iov(const struct vhost_mem *m, uint64_t gpa, uint64_t len, struct iovec *iov, unsigned max);

/* Our address of [uva, uva + len) in the front-end's address space, within one region; NULL: not there. */
void *vhost_mem_uva(const struct vhost_mem *m, uint64_t uva, uint64_t len);

#endif

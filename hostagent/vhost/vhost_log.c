/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The dirty log of a live migration (QEMU docs/interop/vhost-user.rst, "Migration"): one bit for each page of
 * guest-physical memory that we wrote, in memory that the front-end shares with us and clears while we run.
 *
 * Everything of ours that ends in guest memory passes one of three doors: a chain's writable part, marked
 * when the chain is pushed (what a device wrote into a buffer that it still owns is nobody's yet); the used
 * ring or the device event structure, marked at the address that SET_VRING_ADDR named for it; the descriptors
 * of a packed ring, found in the memory table. A page is marked after it was written, with a locked
 * operation: the front-end clears the bit first and reads the page then, so that it sees the write or the
 * bit.
 *
 * The log's size is the front-end's word, checked against its file. A page beyond it is counted and not
 * marked: who keeps a log too short for its own memory loses its own migration.
 */
#include "fabric/base/guard.h"
#include "hostagent/vhost/vhost_int.h"

static void mark(struct vhost *v, uint64_t gpa, uint64_t len)
{
	uint8_t *log = v->log_map.at;
	uint64_t page = gpa / VHOST_LOG_PAGE, last;

	if (!len)
		return;
	last = len - 1 > UINT64_MAX - gpa ? UINT64_MAX / VHOST_LOG_PAGE : (gpa + len - 1) / VHOST_LOG_PAGE;
	for (; page <= last; page++) {
		if (page / 8 >= v->log_map.len) {
			vhost_count(v, VHOST_C_pages_beyond_log);
			return;
		}
		__atomic_fetch_or(&log[page / 8], (uint8_t)(1u << page % 8), __ATOMIC_SEQ_CST);
	}
	v->log_news = true;
}

/* Our own memory to guest-physical. What lies in no region is no guest's. */
static void mark_mapped(struct vhost *v, const struct vhost_mem *m, const void *at, uint64_t len)
{
	const uint8_t *p = at;

	for (uint32_t i = 0; i < m->n; i++) {
		const struct vhost_region *r = &m->regions[i];

		if (p < r->map.at || p >= r->map.at + r->size)
			continue;
		mark(v, r->gpa + (uint64_t)(p - r->map.at), len);
		return;
	}
}

void log_chain(struct vhost_ring *r, const struct vqt_chain *c, uint32_t written)
{
	struct vhost *v = r->v;
	/* A block device's status is the last byte, wherever the data before it ended. */
	uint64_t left = v->cfg.net ? written : UINT64_MAX;

	if (GUARD(dirty_log, !(v->acked & VHOST_F_LOG_ALL)))
		return;
	for (unsigned i = c->nout; i < (unsigned)c->nout + c->nin && left; i++) {
		uint64_t n = c->iov[i].iov_len < left ? c->iov[i].iov_len : left;

		mark_mapped(v, r->held[c->token], c->iov[i].iov_base, n);
		left -= n;
	}
}

void log_ring(struct vhost_ring *r, uint64_t off, uint64_t len)
{
	if (r->v->log_map.at && r->log_gpa <= UINT64_MAX - off)
		mark(r->v, r->log_gpa + off, len);
}

void log_desc(struct vhost_ring *r, const volatile void *at, uint64_t len)
{
	if (r->log_used && r->v->log_map.at)
		mark_mapped(r->v, r->v->mem, (const void *)(uintptr_t)at, len);
}

void log_tell(struct vhost *v)
{
	if (!v->log_news)
		return;
	v->log_news = false;
	if (v->log_fd >= 0)
		v->sys->signal(v->sys_arg, v->log_fd);
}

static void unmap(struct vhost *v)
{
	if (v->log_map.at)
		v->sys->unmap(v->sys_arg, &v->log_map);
	v->log_map.at = NULL;
}

int log_set(struct vhost *v, const struct vhost_log_desc *d, int fd)
{
	int err;

	/* What was marked stands in the old one, which is the front-end's to read. */
	unmap(v);
	v->log_map = (struct vhost_map){.fault = &v->fault};
	err = v->sys->map(v->sys_arg, fd, d->mmap_offset, d->mmap_size, &v->log_map);
	if (err)
		v->log_map.at = NULL;
	return err;
}

void log_drop(struct vhost *v)
{
	unmap(v);
	if (v->log_fd >= 0)
		v->sys->close(v->sys_arg, v->log_fd);
	v->log_fd = -1;
	v->log_news = false;
}

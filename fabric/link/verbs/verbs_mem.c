/* SPDX-License-Identifier: Apache-2.0 */
/* Memory of others in the link's protection domain, and finding it by address. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "fabric/link/verbs/verbs_impl.h"

/* Devices map memory in pages as large as both addresses allow: what a peer sees keeps its place in 1 GiB. */
#define BASE_ALIGN (1ull << 30)
#define BASE_BITS  46 /* of addresses that every device takes */

void vmem_say_locked(char *why, size_t why_len, size_t need)
{
	struct rlimit r = {0};

	/* The limit is the kernel's to judge (root may pass it); this says what it was. */
	getrlimit(RLIMIT_MEMLOCK, &r);
	snprintf(why, why_len,
		 "RDMA needs %zu KiB of locked memory and may lock %llu: set LimitMEMLOCK=infinity in the "
		 "systemd unit (ulimit -l unlimited in a shell)",
		 (need + 1023) / 1024, (unsigned long long)r.rlim_cur / 1024);
}

/* The first of those that end after at. */
static uint32_t after(const struct link_verbs *v, const uint8_t *at)
{
	uint32_t lo = 0, hi = v->nmem;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (v->mem[mid]->at + v->mem[mid]->len <= at)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

const struct verbs_mem *vmem_find(const struct link_verbs *v, const void *at, size_t len)
{
	const uint8_t *p = at;
	uint32_t i = after(v, p);
	const struct verbs_mem *m = i < v->nmem ? v->mem[i] : NULL;

	return m && p >= m->at && len <= m->len - (size_t)(p - m->at) ? m : NULL;
}

static int grow(struct link_verbs *v)
{
	uint32_t room = v->mem_room ? 2 * v->mem_room : 16;
	struct verbs_mem **p;

	if (v->nmem < v->mem_room)
		return 0;
	p = realloc(v->mem, room * sizeof(struct verbs_mem *));
	if (!p)
		return -ENOMEM;
	v->mem = p;
	v->mem_room = room;
	return 0;
}

static size_t registered(const struct link_verbs *v)
{
	size_t sum = 0;

	for (uint32_t i = 0; i < v->nmem; i++)
		sum += v->mem[i]->len;
	return sum;
}

static int reg(struct link_verbs *v, struct verbs_mem *m, enum verbs_mem_use use, char *why, size_t why_len)
{
	unsigned access = IBV_ACCESS_LOCAL_WRITE;
	int err;

	if (use == VERBS_MEM_PEERS)
		access |= IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE;
	if (v->dev.odp)
		access |= IBV_ACCESS_ON_DEMAND;
	errno = 0;
	m->mr = v->dev.api->reg_mr(v->pd, m->at, m->len, m->base, access);
	if (m->mr)
		return 0;
	err = errno ? -errno : -EIO;
	if (err == -ENOMEM)
		vmem_say_locked(why, why_len, registered(v) + m->len);
	else
		snprintf(why, why_len, "RDMA device %s does not take %zu KiB of memory: %s",
			 v->dev.port.device, m->len / 1024, strerror(-err));
	return err;
}

int link_verbs_mem_add(struct link *l, void *at, size_t len, enum verbs_mem_use use, uint64_t random,
		       struct verbs_mem **out, char *why, size_t why_len)
{
	struct link_verbs *v = verbs_of(l);
	uint32_t i = after(v, at);
	struct verbs_mem *m;
	int r;

	snprintf(why, why_len, "out of memory, or no such memory");
	if (!len || (uintptr_t)at > UINTPTR_MAX - len || (use == VERBS_MEM_PEERS && !v->serves))
		return -EINVAL;
	if (i < v->nmem && v->mem[i]->at < (uint8_t *)at + len)
		return -EEXIST;
	m = calloc(1, sizeof(*m));
	if (!m || grow(v)) {
		free(m);
		return -ENOMEM;
	}
	m->at = at;
	m->len = len;
	m->base = ((random & ((1ull << BASE_BITS) - 1)) | BASE_ALIGN) & ~(BASE_ALIGN - 1);
	m->base |= (uintptr_t)at & (BASE_ALIGN - 1);
	/* Our own requests name it by the addresses we know. */
	if (use == VERBS_MEM_LOCAL)
		m->base = (uintptr_t)at;
	r = v->dead ? -EIO : reg(v, m, use, why, why_len);
	if (r) {
		v_count(v, VERBS_C_mem_failed, 1);
		free(m);
		return r;
	}
	v_count(v, VERBS_C_mem_regions, 1);
	memmove(&v->mem[i + 1], &v->mem[i], (v->nmem - i) * sizeof(struct verbs_mem *));
	v->mem[i] = m;
	v->nmem++;
	*out = m;
	return 0;
}

bool link_verbs_moves(const struct link *l)
{
	return !verbs_of(l)->dev.port.sealed;
}

struct verbs_key link_verbs_mem_key(const struct verbs_mem *m)
{
	return (struct verbs_key){.base = m->base, .rkey = m->mr->rkey};
}

void link_verbs_mem_del(struct link *l, struct verbs_mem *m)
{
	struct link_verbs *v = verbs_of(l);
	uint32_t i = m ? after(v, m->at) : v->nmem;

	if (i == v->nmem || v->mem[i] != m)
		return;
	v->nmem--;
	memmove(&v->mem[i], &v->mem[i + 1], (v->nmem - i) * sizeof(struct verbs_mem *));
	v->dev.api->dereg_mr(m->mr);
	free(m);
}

void vmem_free_all(struct link_verbs *v)
{
	while (v->nmem)
		link_verbs_mem_del(&v->base, v->mem[v->nmem - 1]);
	free(v->mem);
	v->mem = NULL;
	v->mem_room = 0;
}

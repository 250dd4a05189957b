/* SPDX-License-Identifier: Apache-2.0 */
#include "appliance/storage/storage.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "appliance/bdev/bdev_mem.h"
#include "appliance/bdev/bdev_uring.h"
#include "appliance/bdev/pool.h"
#include "fabric/base/list.h"
#include "fabric/base/log.h"

#define MEM_BLOCK 512u

/* One volume of a memory pool. */
struct mem_volume {
	struct list node;
	char name[RESOURCE_NAME_MAX + 1];
	uint64_t size;
	struct bdev *bdev; /* made when first opened */
	bool open;
};

struct spool {
	struct list node;
	char name[RESOURCE_NAME_MAX + 1];
	struct pool *dir;  /* NULL: memory */
	uint64_t capacity; /* memory */
	struct list volumes;
};

struct storage {
	struct list pools;
};

struct storage *storage_create(void)
{
	struct storage *s = calloc(1, sizeof(*s));

	if (s)
		list_init(&s->pools);
	return s;
}

static struct spool *find_pool(const struct storage *s, const char *name)
{
	list_for_each (it, &s->pools) {
		struct spool *p = container_of(it, struct spool, node);

		if (!strcmp(p->name, name))
			return p;
	}
	return NULL;
}

static struct mem_volume *find_volume(const struct spool *p, const char *name)
{
	list_for_each (it, &p->volumes) {
		struct mem_volume *v = container_of(it, struct mem_volume, node);

		if (!strcmp(v->name, name))
			return v;
	}
	return NULL;
}

static uint64_t mem_used(const struct spool *p)
{
	uint64_t used = 0;

	list_for_each (it, &p->volumes)
		used += container_of(it, struct mem_volume, node)->size;
	return used;
}

static void volume_free(struct mem_volume *v)
{
	list_del(&v->node);
	bdev_close(v->bdev);
	free(v);
}

static void pool_free(struct spool *p)
{
	list_for_each_safe (it, &p->volumes)
		volume_free(container_of(it, struct mem_volume, node));
	pool_close(p->dir);
	list_del(&p->node);
	free(p);
}

void storage_destroy(struct storage *s)
{
	if (!s)
		return;
	list_for_each_safe (it, &s->pools)
		pool_free(container_of(it, struct spool, node));
	free(s);
}

static int do_pool_open(void *ctx, const Outrigger__V1__StoragePool *cfg, char *why, size_t why_size)
{
	struct storage *s = ctx;
	struct spool *p = calloc(1, sizeof(*p));
	int r = 0;

	if (!p)
		return -ENOMEM;
	list_init(&p->node);
	list_init(&p->volumes);
	snprintf(p->name, sizeof(p->name), "%s", cfg->name);
	if (cfg->kind_case == OUTRIGGER__V1__STORAGE_POOL__KIND_MEMORY) {
		p->capacity = cfg->memory->capacity_bytes;
	} else {
		r = pool_open(cfg->directory->path, 0, &p->dir);
		if (r)
			snprintf(why, why_size, "%s: %s", cfg->directory->path,
				 r == -EBUSY ? "another process uses this directory as a pool"
					     : strerror(-r));
	}
	if (r) {
		free(p);
		return r;
	}
	list_add_tail(&s->pools, &p->node);
	return 0;
}

static void do_pool_close(void *ctx, const char *name)
{
	struct spool *p = find_pool(ctx, name);

	if (p)
		pool_free(p);
}

static int do_pool_bytes(void *ctx, const char *name, struct pool_bytes *out)
{
	struct spool *p = find_pool(ctx, name);
	struct pool_space sp;
	int r;

	if (!p)
		return -ENOENT;
	if (p->dir) {
		r = pool_space(p->dir, &sp);
		if (r)
			return r;
		*out = (struct pool_bytes){.capacity = sp.capacity, .used = sp.used, .free = sp.free};
		return 0;
	}
	*out = (struct pool_bytes){.capacity = p->capacity, .used = mem_used(p)};
	out->free = out->capacity > out->used ? out->capacity - out->used : 0;
	return 0;
}

static int mem_create(struct spool *p, const char *name, uint64_t size, struct mem_volume **out)
{
	struct mem_volume *v = find_volume(p, name);

	if (v && v->size != size)
		return -EEXIST;
	if (!v) {
		/* Volumes that were not opened since the start are not known here: the desired state has been
		 * checked against the capacity, this is what memory there is. */
		if (size > p->capacity || mem_used(p) > p->capacity - size)
			return -ENOSPC;
		v = calloc(1, sizeof(*v));
		if (!v)
			return -ENOMEM;
		snprintf(v->name, sizeof(v->name), "%s", name);
		v->size = size;
		list_add_tail(&p->volumes, &v->node);
	}
	if (out)
		*out = v;
	return 0;
}

static int do_create(void *ctx, const char *pool, const char *name, uint64_t size)
{
	struct spool *p = find_pool(ctx, pool);
	struct pool_volume v;
	int r;

	if (!p)
		return -ENOENT;
	if (!p->dir)
		return mem_create(p, name, size, NULL);
	r = pool_create(p->dir, name, size);
	if (r == -EEXIST && !pool_stat(p->dir, name, &v) && v.size == size)
		return 0; /* made by a create whose answer a crash cut off */
	return r;
}

static int do_remove(void *ctx, const char *pool, const char *name)
{
	struct spool *p = find_pool(ctx, pool);
	struct mem_volume *v;

	if (!p)
		return -ENOENT;
	if (p->dir)
		return pool_delete(p->dir, name);
	v = find_volume(p, name);
	if (!v)
		return 0; /* never opened since the appliance started */
	if (v->open)
		return -EBUSY;
	volume_free(v);
	return 0;
}

static int do_resize(void *ctx, const char *pool, const char *name, uint64_t size)
{
	struct spool *p = find_pool(ctx, pool);
	struct mem_volume *v;

	if (!p)
		return -ENOENT;
	if (p->dir)
		return pool_resize(p->dir, name, size);
	v = find_volume(p, name);
	if (v && v->bdev)
		return -EOPNOTSUPP; /* memory in use does not grow */
	if (size > p->capacity || mem_used(p) - (v ? v->size : 0) > p->capacity - size)
		return -ENOSPC;
	if (v)
		v->size = size;
	return 0;
}

static int do_stat(void *ctx, const char *pool, const char *name, struct volume_bytes *out)
{
	struct spool *p = find_pool(ctx, pool);
	struct pool_volume pv;
	struct mem_volume *v;
	int r;

	if (!p)
		return -ENOENT;
	if (p->dir) {
		r = pool_stat(p->dir, name, &pv);
		if (r)
			return r;
		*out = (struct volume_bytes){.size = pv.size, .allocated = pv.allocated};
		return 0;
	}
	v = find_volume(p, name);
	*out = (struct volume_bytes){.size = v ? v->size : 0, .allocated = v && v->bdev ? v->size : 0};
	return 0;
}

struct volume_ops storage_volume_ops(struct storage *s)
{
	return (struct volume_ops){
		.ctx = s,
		.pool_open = do_pool_open,
		.pool_close = do_pool_close,
		.pool_bytes = do_pool_bytes,
		.create = do_create,
		.remove = do_remove,
		.resize = do_resize,
		.stat = do_stat,
	};
}

static int mem_open(struct spool *p, const char *volume, uint64_t size, bool read_only, struct bdev **out)
{
	struct mem_volume *v;
	int r = mem_create(p, volume, size, &v);

	if (r)
		return r;
	if (v->open)
		return -EBUSY;
	if (!v->bdev) {
		r = bdev_mem_open(v->size, MEM_BLOCK, &v->bdev);
		if (r)
			return r;
	}
	v->open = true;
	v->bdev->info.read_only = read_only; /* of this opener; nobody else has it */
	*out = v->bdev;
	return 0;
}

int storage_open(struct storage *s, const char *pool, const char *volume, uint64_t size, bool read_only,
		 struct bdev **out)
{
	struct spool *p = find_pool(s, pool);
	struct bdev_uring_cfg cfg = {.read_only = read_only};
	char path[4096];
	int r;

	if (!p)
		return -ENOENT;
	if (!p->dir)
		return mem_open(p, volume, size, read_only, out);
	r = pool_path(p->dir, volume, path, sizeof(path));
	if (r)
		return r;
	cfg.path = path;
	return bdev_uring_open(&cfg, out);
}

void storage_release(struct storage *s, struct bdev *b)
{
	list_for_each (it, &s->pools) {
		struct spool *p = container_of(it, struct spool, node);

		list_for_each (jt, &p->volumes) {
			struct mem_volume *v = container_of(jt, struct mem_volume, node);

			if (v->bdev == b) {
				v->open = false;
				return; /* its bytes live as long as the volume */
			}
		}
	}
	bdev_close(b);
}

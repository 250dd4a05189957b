/* SPDX-License-Identifier: Apache-2.0 */
/* Pools and the sizes of volumes. */
#include "appliance/control/model_impl.h"

#include <string.h>

#define VOLUME_ALIGN 4096u
#define VOLUME_MIN   (1ull << 20)
#define VOLUME_MAX   (1ull << 50)
#define PATH_LIMIT   1024

static int check_directory(const struct model *m, const Outrigger__V1__StoragePool *p, struct api_err *err)
{
	const char *path = p->directory->path;

	if (str_empty(path))
		return api_fail(err, API_INVALID_ARGUMENT, "directory.path: is missing");
	if (path[0] != '/' || strstr(path, "/../") || strlen(path) > PATH_LIMIT ||
	    (strlen(path) >= 3 && !strcmp(path + strlen(path) - 3, "/..")))
		return api_fail(err, API_INVALID_ARGUMENT,
				"directory.path: must be absolute, without \"..\", of at most %d bytes",
				PATH_LIMIT);
	for (size_t i = 0; i < model_count(m, KIND_POOL); i++) {
		const Outrigger__V1__StoragePool *o = model_pool_at(m, i);

		if (o->kind_case == OUTRIGGER__V1__STORAGE_POOL__KIND_DIRECTORY &&
		    strcmp(o->name, p->name) != 0 && !strcmp(o->directory->path, path))
			return api_fail(err, API_ALREADY_EXISTS,
					"directory.path: is already storage-pool \"%s\"", o->name);
	}
	return 0;
}

static int validate_pool(const struct model *m, const Outrigger__V1__StoragePool *p, struct api_err *err)
{
	uint64_t capacity;

	switch (p->kind_case) {
	case OUTRIGGER__V1__STORAGE_POOL__KIND_DIRECTORY:
		return check_directory(m, p, err);
	case OUTRIGGER__V1__STORAGE_POOL__KIND_MEMORY:
		capacity = p->memory->capacity_bytes;
		if (capacity < VOLUME_MIN || capacity > VOLUME_MAX)
			return api_fail(err, API_INVALID_ARGUMENT,
					"memory.capacity_bytes: %llu is out of range %llu..%llu",
					(unsigned long long)capacity, VOLUME_MIN, VOLUME_MAX);
		return 0;
	default:
		return api_fail(err, API_INVALID_ARGUMENT, "kind: one of directory and memory must be set");
	}
}

static int validate_volume(const struct model *m, const Outrigger__V1__Volume *v,
			   const Outrigger__V1__Volume *before, struct api_err *err)
{
	uint64_t had = before ? before->size_bytes : 0, available;
	int rc;

	if (v->size_bytes == 0)
		return api_fail(err, API_INVALID_ARGUMENT, "size_bytes: is missing");
	if (v->size_bytes < VOLUME_MIN || v->size_bytes > VOLUME_MAX || v->size_bytes % VOLUME_ALIGN)
		return api_fail(err, API_INVALID_ARGUMENT,
				"size_bytes: %llu is not a multiple of %u in range %llu..%llu",
				(unsigned long long)v->size_bytes, VOLUME_ALIGN, VOLUME_MIN, VOLUME_MAX);
	if (v->size_bytes < had)
		return api_fail(err, API_INVALID_ARGUMENT, "size_bytes: a volume cannot shrink (it has %llu)",
				(unsigned long long)had);
	if (v->size_bytes == had)
		return 0;
	rc = model_pool_available(m, v->pool, &available);
	if (rc)
		return api_fail(err, API_UNAVAILABLE, "pool: storage-pool \"%s\" cannot be used: %s", v->pool,
				strerror(-rc));
	if (v->size_bytes - had > available)
		return api_fail(
			err, API_FAILED_PRECONDITION,
			"size_bytes: %llu more bytes do not fit in storage-pool \"%s\", which has %llu free",
			(unsigned long long)(v->size_bytes - had), v->pool, (unsigned long long)available);
	return 0;
}

int validate_storage(const struct model *m, enum kind k, ProtobufCMessage *obj,
		     const ProtobufCMessage *before, struct api_err *err)
{
	if (k == KIND_POOL)
		return validate_pool(m, (const void *)obj, err);
	return validate_volume(m, (const void *)obj, (const void *)before, err);
}

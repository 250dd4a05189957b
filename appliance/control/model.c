/* SPDX-License-Identifier: Apache-2.0 */
#include "appliance/control/model_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int model_new(const struct model_env *env, struct model **out)
{
	struct model *m = calloc(1, sizeof(*m));

	if (!m)
		return -ENOMEM;
	m->env = *env;
	*out = m;
	return 0;
}

void model_free(struct model *m)
{
	if (!m)
		return;
	for (enum kind k = 0; k < NKINDS; k++) {
		for (size_t i = 0; i < m->tables[k].count; i++)
			obj_free(m->tables[k].rows[i]);
		free(m->tables[k].rows);
	}
	free(m);
}

uint64_t model_revision(const struct model *m)
{
	return m->revision;
}

void model_set_revision(struct model *m, uint64_t revision)
{
	m->revision = revision;
}

size_t model_count(const struct model *m, enum kind k)
{
	return m->tables[k].count;
}

const ProtobufCMessage *model_at(const struct model *m, enum kind k, size_t i)
{
	return i < m->tables[k].count ? m->tables[k].rows[i] : NULL;
}

/* Index of name, or where it would stand. */
static size_t find(const struct table *t, const char *name, bool *there)
{
	size_t lo = 0, hi = t->count;

	*there = false;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int c = strcmp(obj_name(t->rows[mid]), name);

		if (c == 0) {
			*there = true;
			return mid;
		}
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

const ProtobufCMessage *model_get(const struct model *m, enum kind k, const char *name)
{
	bool there;
	size_t i = find(&m->tables[k], name, &there);

	return there ? m->tables[k].rows[i] : NULL;
}

static int reserve(struct table *t)
{
	size_t room = t->room ? t->room * 2 : 16;
	ProtobufCMessage **rows;

	if (t->count < t->room)
		return 0;
	rows = reallocarray(t->rows, room, sizeof(*rows));
	if (!rows)
		return -ENOMEM;
	t->rows = rows;
	t->room = room;
	return 0;
}

static void insert(struct table *t, size_t at, ProtobufCMessage *obj)
{
	memmove(&t->rows[at + 1], &t->rows[at], (t->count - at) * sizeof(t->rows[0]));
	t->rows[at] = obj;
	t->count++;
}

int model_load(struct model *m, enum kind k, ProtobufCMessage *obj)
{
	bool there;
	size_t at = find(&m->tables[k], obj_name(obj), &there);

	if (there || reserve(&m->tables[k])) {
		obj_free(obj);
		return there ? -EEXIST : -ENOMEM;
	}
	insert(&m->tables[k], at, obj);
	return 0;
}

/* A version 4 UUID (RFC 4122). */
static int give_uid(const struct model *m, ProtobufCMessage *obj)
{
	uint8_t r[16];
	char uid[37];

	m->env.random(m->env.ctx, r, sizeof(r));
	r[6] = (uint8_t)((r[6] & 0x0f) | 0x40);
	r[8] = (uint8_t)((r[8] & 0x3f) | 0x80);
	snprintf(uid, sizeof(uid), "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
		 r[0], r[1], r[2], r[3], r[4], r[5], r[6], r[7], r[8], r[9], r[10], r[11], r[12], r[13],
		 r[14], r[15]);
	return obj_set_uid(obj, uid);
}

static int no_memory(struct change *chg, struct api_err *err)
{
	change_clear(chg);
	return api_fail(err, API_UNAVAILABLE, "out of memory");
}

static int refuse(struct change *chg)
{
	change_clear(chg);
	return -1;
}

static int begin(const struct model *m, enum kind k, const char *name, struct change *chg,
		 struct api_err *err)
{
	memset(chg, 0, sizeof(*chg));
	chg->kind = k;
	chg->revision = m->revision + 1;
	if (!resource_name_ok(name))
		return api_fail(err, API_INVALID_ARGUMENT,
				str_empty(name)
					? "name: is missing"
					: "name: must be 1 to 63 of a-z, 0-9 and -, and begin with a letter");
	snprintf(chg->name, sizeof(chg->name), "%s", name);
	return 0;
}

int model_prepare_create(struct model *m, enum kind k, const ProtobufCMessage *in, struct change *chg,
			 struct api_err *err)
{
	if (begin(m, k, obj_name(in), chg, err))
		return -1;
	if (model_get(m, k, chg->name))
		return api_fail(err, API_ALREADY_EXISTS, "name: %s \"%s\" already exists", kind_info(k)->name,
				chg->name);
	chg->after = obj_copy(in);
	if (!chg->after || reserve(&m->tables[k]) || give_uid(m, chg->after))
		return no_memory(chg, err);
	obj_drop_status(chg->after);
	obj_set_revision(chg->after, chg->revision);
	if (validate(m, k, chg->after, NULL, err))
		return refuse(chg);
	chg->install = obj_copy(chg->after);
	return chg->install ? 0 : no_memory(chg, err);
}

/* The present object, if it exists and has the revision that the caller has seen. */
static const ProtobufCMessage *present(const struct model *m, const struct change *chg, uint64_t revision,
				       struct api_err *err)
{
	const ProtobufCMessage *now = model_get(m, chg->kind, chg->name);

	if (!now)
		api_fail(err, API_NOT_FOUND, "name: %s \"%s\" does not exist", kind_info(chg->kind)->name,
			 chg->name);
	else if (revision && revision != obj_revision(now))
		api_fail(err, API_ABORTED,
			 "revision: %s \"%s\" has revision %llu now, not %llu: read it again",
			 kind_info(chg->kind)->name, chg->name, (unsigned long long)obj_revision(now),
			 (unsigned long long)revision);
	else
		return now;
	return NULL;
}

int model_prepare_update(const struct model *m, enum kind k, const ProtobufCMessage *in, const char *mask,
			 struct change *chg, struct api_err *err)
{
	const ProtobufCMessage *now;
	ProtobufCMessage *wish;
	int rc;

	if (begin(m, k, obj_name(in), chg, err))
		return -1;
	now = present(m, chg, obj_revision(in), err);
	if (!now)
		return -1;
	wish = obj_copy(in);
	chg->before = obj_copy(now);
	chg->after = obj_copy(now);
	if (!wish || !chg->before || !chg->after) {
		obj_free(wish);
		return no_memory(chg, err);
	}
	rc = mask_apply(k, chg->after, wish, mask, err);
	obj_free(wish);
	obj_set_revision(chg->after, chg->revision);
	if (rc || validate(m, k, chg->after, chg->before, err))
		return refuse(chg);
	chg->install = obj_copy(chg->after);
	return chg->install ? 0 : no_memory(chg, err);
}

/* Whether some object refers to (to, name); says so in err. */
static int check_unused(const struct model *m, enum kind to, const char *name, struct api_err *err)
{
	for (size_t r = 0; r < nreferences; r++) {
		const struct reference *ref = &references[r];

		for (size_t i = 0; ref->to == to && i < m->tables[ref->from].count; i++) {
			const ProtobufCMessage *obj = m->tables[ref->from].rows[i];
			const ProtobufCFieldDescriptor *f = field_find(obj->descriptor, ref->field,
								       strlen(ref->field));

			for (size_t j = 0; j < field_strings(obj, f); j++)
				if (!strcmp(field_string(obj, f, j), name))
					return api_fail(err, API_FAILED_PRECONDITION,
							"name: %s \"%s\" is used by %s \"%s\" (%s)",
							kind_info(to)->name, name, kind_info(ref->from)->name,
							obj_name(obj), ref->field);
		}
	}
	return 0;
}

int model_prepare_delete(const struct model *m, enum kind k, const char *name, uint64_t revision,
			 struct change *chg, struct api_err *err)
{
	const ProtobufCMessage *now;

	if (begin(m, k, name, chg, err))
		return -1;
	now = present(m, chg, revision, err);
	if (!now || check_unused(m, k, name, err))
		return -1;
	chg->before = obj_copy(now);
	return chg->before ? 0 : no_memory(chg, err);
}

void model_commit(struct model *m, struct change *chg)
{
	struct table *t = &m->tables[chg->kind];
	bool there;
	size_t at = find(t, chg->name, &there);

	if (there)
		obj_free(t->rows[at]);
	if (chg->install && there) {
		t->rows[at] = chg->install;
	} else if (chg->install) {
		insert(t, at, chg->install);
	} else if (there) {
		t->count--;
		memmove(&t->rows[at], &t->rows[at + 1], (t->count - at) * sizeof(t->rows[0]));
	}
	chg->install = NULL;
	if (chg->revision > m->revision)
		m->revision = chg->revision;
}

int change_invert(const struct change *chg, struct change *out)
{
	memset(out, 0, sizeof(*out));
	out->kind = chg->kind;
	memcpy(out->name, chg->name, sizeof(out->name));
	out->revision = chg->revision + 1;
	if (chg->after)
		out->before = obj_copy(chg->after);
	if (chg->before) {
		out->after = obj_copy(chg->before);
		out->install = obj_copy(chg->before);
	}
	if ((chg->after && !out->before) || (chg->before && (!out->after || !out->install))) {
		change_clear(out);
		return -ENOMEM;
	}
	return 0;
}

void change_clear(struct change *chg)
{
	obj_free(chg->before);
	obj_free(chg->after);
	obj_free(chg->install);
	memset(chg, 0, sizeof(*chg));
}

const Outrigger__V1__VDisk *model_volume_vdisk(const struct model *m, const char *volume)
{
	for (size_t i = 0; i < model_count(m, KIND_VDISK); i++)
		if (!strcmp(model_vdisk_at(m, i)->volume, volume))
			return model_vdisk_at(m, i);
	return NULL;
}

const Outrigger__V1__UplinkGroup *model_port_group(const struct model *m, const char *port)
{
	for (size_t i = 0; i < model_count(m, KIND_UPLINK_GROUP); i++) {
		const Outrigger__V1__UplinkGroup *g = model_uplink_group_at(m, i);

		for (size_t j = 0; j < g->n_ports; j++)
			if (!strcmp(g->ports[j], port))
				return g;
	}
	return NULL;
}

/* Sizes are checked when set, so their sum stays far below 2^64. */
int model_pool_available(const struct model *m, const char *pool, uint64_t *out)
{
	struct pool_bytes b;
	uint64_t promised = 0, by_capacity, by_space, later;
	int err = m->env.pool_bytes ? m->env.pool_bytes(m->env.ctx, pool, &b) : -ENODEV;

	*out = 0;
	if (err)
		return err;
	for (size_t i = 0; i < model_count(m, KIND_VOLUME); i++)
		if (!strcmp(model_volume_at(m, i)->pool, pool))
			promised += model_volume_at(m, i)->size_bytes;
	by_capacity = b.capacity > promised ? b.capacity - promised : 0;
	/* Promised but not yet allocated bytes will come out of what is free now. */
	later = promised > b.used ? promised - b.used : 0;
	by_space = b.free > later ? b.free - later : 0;
	*out = by_capacity < by_space ? by_capacity : by_space;
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Update masks: which fields of a request replace those of the object (google.aip.dev/134). */
#include "appliance/control/model_impl.h"

#include <string.h>

/* Given by the appliance; a request may carry them back but not change them. */
static bool is_server_field(const char *field)
{
	return !strcmp(field, "name") || !strcmp(field, "uid") || !strcmp(field, "revision") ||
	       !strcmp(field, "status");
}

static int take(enum kind k, ProtobufCMessage *obj, ProtobufCMessage *in, const ProtobufCFieldDescriptor *f,
		struct api_err *err)
{
	if (field_is_fixed(k, f->name) && !field_equal(obj, in, f))
		return api_fail(err, API_INVALID_ARGUMENT,
				"%s: cannot be changed after creation; delete and create", f->name);
	field_swap(obj, in, f);
	return 0;
}

/* The members of a oneof move together: by the one that is set, or by the first when none is. */
static bool speaks_for_oneof(const ProtobufCMessage *in, const ProtobufCFieldDescriptor *f)
{
	return !field_is_oneof(f) || field_is_set(in, f);
}

/* all: default values too, but a fixed field left out stays as it is. */
static int take_unnamed(enum kind k, ProtobufCMessage *obj, ProtobufCMessage *in, bool all,
			struct api_err *err)
{
	const ProtobufCMessageDescriptor *d = obj->descriptor;

	for (unsigned i = 0; i < d->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &d->fields[i];
		bool wanted = field_is_set(in, f) || (all && !field_is_fixed(k, f->name));

		if (is_server_field(f->name) || !wanted || !speaks_for_oneof(in, f))
			continue;
		if (take(k, obj, in, f, err))
			return -1;
	}
	return 0;
}

int mask_apply(enum kind k, ProtobufCMessage *obj, ProtobufCMessage *in, const char *mask,
	       struct api_err *err)
{
	const ProtobufCFieldDescriptor *taken[64];
	size_t ntaken = 0;

	if (str_empty(mask) || !strcmp(mask, "*"))
		return take_unnamed(k, obj, in, !str_empty(mask), err);
	for (const char *p = mask; *p;) {
		size_t len = strcspn(p, ",");
		const ProtobufCFieldDescriptor *f = field_find(obj->descriptor, p, len);
		bool again = false;

		if (!f)
			return api_fail(err, API_INVALID_ARGUMENT,
					"update_mask: \"%.*s\" is not a field of %s",
					(int)(len < 64 ? len : 64), p, kind_info(k)->name);
		if (is_server_field(f->name))
			return api_fail(err, API_INVALID_ARGUMENT, "update_mask: %s cannot be updated",
					f->name);
		/* Named twice, or two members of one oneof: a second exchange would undo the first. */
		for (size_t i = 0; i < ntaken; i++)
			again |= taken[i] == f ||
				 (field_is_oneof(f) && taken[i]->quantifier_offset == f->quantifier_offset);
		if (!again && ntaken < sizeof(taken) / sizeof(taken[0])) {
			taken[ntaken++] = f;
			if (take(k, obj, in, f, err))
				return -1;
		}
		p += len;
		p += *p == ',';
	}
	return 0;
}

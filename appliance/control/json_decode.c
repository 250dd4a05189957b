/* SPDX-License-Identifier: Apache-2.0 */
#include "appliance/control/json_impl.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Where we are, for messages: "vnic.ip_addresses[3]". */
struct walk {
	struct api_err *err;
	char path[200];
	unsigned depth;
};

static int decode_message(struct walk *w, const json_t *j, const ProtobufCMessageDescriptor *d,
			  ProtobufCMessage **out);

static int wrong(struct walk *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static int wrong(struct walk *w, const char *fmt, ...)
{
	char text[200];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return api_fail(w->err, API_INVALID_ARGUMENT, "%s%s%s", w->path, w->path[0] ? ": " : "", text);
}

/* Appends to the path and gives its old length back, to cut it again. */
static size_t enter(struct walk *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static size_t enter(struct walk *w, const char *fmt, ...)
{
	size_t n = strlen(w->path);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(w->path + n, sizeof(w->path) - n, fmt, ap);
	va_end(ap);
	return n;
}

static int decode_enum(struct walk *w, const json_t *j, const ProtobufCEnumDescriptor *d, void *at)
{
	const ProtobufCEnumValue *v;
	int64_t n;

	if (json_is_string(j)) {
		v = protobuf_c_enum_descriptor_get_value_by_name(d, json_string_value(j));
		if (!v)
			return wrong(w, "\"%.64s\" is not a value of %s", json_string_value(j),
				     d->short_name);
		n = v->value;
	} else if (!json_get_signed(j, INT32_MIN, INT32_MAX, &n)) {
		return wrong(w, "expected a value of %s", d->short_name);
	}
	memcpy(at, &(int32_t){(int32_t)n}, sizeof(int32_t));
	return 0;
}

static int decode_string(struct walk *w, const json_t *j, const ProtobufCFieldDescriptor *f, void *at)
{
	bool ok;

	if (!json_is_string(j))
		return wrong(w, "expected a string");
	if (f->type == PROTOBUF_C_TYPE_BYTES) {
		ProtobufCBinaryData *b = at;
		uint8_t *data = json_base64_decode(json_string_value(j), &b->len, &ok);

		if (!ok)
			return wrong(w, "is not base64");
		b->data = data;
		return 0;
	}
	*(char **)at = strdup(json_string_value(j));
	return *(char **)at ? 0 : wrong(w, "out of memory");
}

static int decode_integer(struct walk *w, const json_t *j, const ProtobufCFieldDescriptor *f, void *at)
{
	int64_t s = 0;
	uint64_t u = 0;
	bool ok;

	switch (f->type) {
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_SINT32:
	case PROTOBUF_C_TYPE_SFIXED32:
		ok = json_get_signed(j, INT32_MIN, INT32_MAX, &s);
		memcpy(at, &(int32_t){(int32_t)s}, sizeof(int32_t));
		break;
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_FIXED32:
		ok = json_get_unsigned(j, UINT32_MAX, &u);
		memcpy(at, &(uint32_t){(uint32_t)u}, sizeof(uint32_t));
		break;
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
		ok = json_get_unsigned(j, UINT64_MAX, &u);
		memcpy(at, &u, sizeof(u));
		break;
	default:
		ok = json_get_signed(j, INT64_MIN, INT64_MAX, &s);
		memcpy(at, &s, sizeof(s));
		break;
	}
	return ok ? 0
		  : wrong(w, "expected an integer in the range of %s",
			  f->type == PROTOBUF_C_TYPE_UINT32   ? "uint32"
			  : f->type == PROTOBUF_C_TYPE_UINT64 ? "uint64"
							      : "its type");
}

/* One value, not null, into zeroed memory. */
static int decode_value(struct walk *w, const json_t *j, const ProtobufCFieldDescriptor *f, void *at)
{
	double d;

	switch (f->type) {
	case PROTOBUF_C_TYPE_MESSAGE:
		return decode_message(w, j, f->descriptor, at);
	case PROTOBUF_C_TYPE_STRING:
	case PROTOBUF_C_TYPE_BYTES:
		return decode_string(w, j, f, at);
	case PROTOBUF_C_TYPE_ENUM:
		return decode_enum(w, j, f->descriptor, at);
	case PROTOBUF_C_TYPE_BOOL:
		if (!json_is_boolean(j))
			return wrong(w, "expected true or false");
		*(protobuf_c_boolean *)at = json_is_true(j);
		return 0;
	case PROTOBUF_C_TYPE_FLOAT:
	case PROTOBUF_C_TYPE_DOUBLE:
		if (!json_get_double(j, &d))
			return wrong(w, "expected a number");
		if (f->type == PROTOBUF_C_TYPE_FLOAT)
			*(float *)at = (float)d;
		else
			*(double *)at = d;
		return 0;
	default:
		return decode_integer(w, j, f, at);
	}
}

/* An array of n zeroed elements as the field's value; the count grows as elements are filled, so
 * that freeing the message at any time is right. */
static char *make_array(ProtobufCMessage *m, const ProtobufCFieldDescriptor *f, size_t n)
{
	char *items = calloc(n ? n : 1, field_width(f));

	*(char **)(void *)((char *)m + f->offset) = items;
	return items;
}

static size_t *array_count(ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
	return (size_t *)(void *)((char *)m + f->quantifier_offset);
}

static int decode_array(struct walk *w, const json_t *j, const ProtobufCFieldDescriptor *f,
			ProtobufCMessage *m)
{
	size_t n = json_array_size(j);
	char *items;

	if (!json_is_array(j))
		return wrong(w, "expected an array");
	if (n == 0)
		return 0;
	items = make_array(m, f, n);
	if (!items)
		return wrong(w, "out of memory");
	for (size_t i = 0; i < n; i++) {
		size_t cut = enter(w, "[%zu]", i);
		const json_t *e = json_array_get(j, i);

		if (json_is_null(e))
			return wrong(w, "null is not a value here");
		if (decode_value(w, e, f, items + i * field_width(f)))
			return -1;
		(*array_count(m, f))++;
		w->path[cut] = '\0';
	}
	return 0;
}

/* JSON keys are strings whatever the key's type. */
static int decode_key(struct walk *w, const char *key, const ProtobufCFieldDescriptor *f,
		      ProtobufCMessage *entry)
{
	json_t *j = f->type == PROTOBUF_C_TYPE_BOOL && (!strcmp(key, "true") || !strcmp(key, "false"))
			    ? json_boolean(key[0] == 't')
			    : json_string(key);
	int rc = j ? decode_value(w, j, f, (char *)entry + f->offset) : wrong(w, "out of memory");

	json_decref(j);
	return rc;
}

static ProtobufCMessage *new_message(const ProtobufCMessageDescriptor *d)
{
	ProtobufCMessage *m = calloc(1, d->sizeof_message);

	if (m)
		d->message_init(m);
	return m;
}

static int decode_map(struct walk *w, const json_t *j, const ProtobufCFieldDescriptor *f, ProtobufCMessage *m)
{
	const ProtobufCMessageDescriptor *d = f->descriptor;
	size_t i = 0;
	const char *key;
	json_t *value;
	ProtobufCMessage **entries;

	if (!json_is_object(j))
		return wrong(w, "expected an object");
	if (json_object_size(j) == 0)
		return 0;
	entries = (ProtobufCMessage **)(void *)make_array(m, f, json_object_size(j));
	if (!entries)
		return wrong(w, "out of memory");
	json_object_foreach((json_t *)j, key, value)
	{
		size_t cut = enter(w, "[\"%.32s\"]", key);

		if (json_is_null(value))
			return wrong(w, "null is not a value here");
		entries[i] = new_message(d);
		if (!entries[i])
			return wrong(w, "out of memory");
		(*array_count(m, f))++;
		if (decode_key(w, key, &d->fields[0], entries[i]) ||
		    decode_value(w, value, &d->fields[1], (char *)entries[i] + d->fields[1].offset))
			return -1;
		i++;
		w->path[cut] = '\0';
	}
	return 0;
}

static int decode_field(struct walk *w, const json_t *j, const ProtobufCFieldDescriptor *f,
			ProtobufCMessage *m)
{
	uint32_t *which = (uint32_t *)(void *)((char *)m + f->quantifier_offset);

	if (json_is_map(f))
		return decode_map(w, j, f, m);
	if (f->label == PROTOBUF_C_LABEL_REPEATED)
		return decode_array(w, j, f, m);
	if (field_is_oneof(f)) {
		if (*which)
			return wrong(w, "another member of the same oneof is set already");
		if (decode_value(w, j, f, (char *)m + f->offset))
			return -1;
		*which = f->id;
		return 0;
	}
	return decode_value(w, j, f, (char *)m + f->offset);
}

static int decode_fields(struct walk *w, const json_t *j, ProtobufCMessage *m)
{
	const ProtobufCMessageDescriptor *d = m->descriptor;
	uint64_t seen = 0;
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)j, key, value)
	{
		const ProtobufCFieldDescriptor *f = field_find(d, key, strlen(key));
		size_t cut;
		uint64_t bit;

		if (!f)
			return wrong(w, "unknown field \"%.64s\"", key);
		cut = enter(w, "%s%s", w->path[0] ? "." : "", f->name);
		bit = 1ull << ((unsigned)(f - d->fields) % 64);
		if (seen & bit)
			return wrong(w, "is there twice");
		seen |= bit;
		if (!json_is_null(value) && decode_field(w, value, f, m))
			return -1;
		w->path[cut] = '\0';
	}
	return 0;
}

static int decode_message(struct walk *w, const json_t *j, const ProtobufCMessageDescriptor *d,
			  ProtobufCMessage **out)
{
	ProtobufCMessage *m;

	if (!json_is_object(j))
		return wrong(w, "expected an object");
	if (w->depth >= JSON_DEPTH_MAX)
		return wrong(w, "nested too deep");
	m = new_message(d);
	if (!m)
		return wrong(w, "out of memory");
	w->depth++;
	if (decode_fields(w, j, m)) {
		protobuf_c_message_free_unpacked(m, NULL);
		return -1;
	}
	w->depth--;
	*out = m;
	return 0;
}

int json_decode(const char *text, size_t len, const ProtobufCMessageDescriptor *d, ProtobufCMessage **out,
		struct api_err *err)
{
	struct walk w = {.err = err};
	json_error_t where;
	json_t *j = json_loadb(text, len, JSON_REJECT_DUPLICATES, &where);
	int rc;

	*out = NULL;
	if (!j)
		return api_fail(err, API_INVALID_ARGUMENT, "the body is not JSON: line %d, column %d: %s",
				where.line, where.column, where.text);
	rc = decode_message(&w, j, d, out);
	json_decref(j);
	return rc;
}

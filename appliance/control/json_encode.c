/* SPDX-License-Identifier: Apache-2.0 */
#include "appliance/control/json_impl.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static json_t *encode_message(const ProtobufCMessage *m);

static json_t *encode_64(const void *at, bool is_signed)
{
	char text[24];

	if (is_signed)
		snprintf(text, sizeof(text), "%" PRId64, *(const int64_t *)at);
	else
		snprintf(text, sizeof(text), "%" PRIu64, *(const uint64_t *)at);
	return json_string(text);
}

static json_t *encode_double(double d)
{
	if (isnan(d))
		return json_string("NaN");
	if (isinf(d))
		return json_string(d > 0 ? "Infinity" : "-Infinity");
	return json_real(d);
}

static json_t *encode_bytes(const ProtobufCBinaryData *b)
{
	char *text = json_base64_encode(b->data, b->len);
	json_t *j = text ? json_string(text) : NULL;

	free(text);
	return j;
}

static json_t *encode_enum(const ProtobufCEnumDescriptor *d, int32_t v)
{
	const ProtobufCEnumValue *value = protobuf_c_enum_descriptor_get_value(d, v);

	return value ? json_string(value->name) : json_integer(v);
}

static json_t *encode_value(const ProtobufCFieldDescriptor *f, const void *at)
{
	switch (f->type) {
	case PROTOBUF_C_TYPE_MESSAGE:
		return encode_message(*(const ProtobufCMessage *const *)at);
	case PROTOBUF_C_TYPE_STRING:
		return json_string(*(const char *const *)at);
	case PROTOBUF_C_TYPE_BYTES:
		return encode_bytes(at);
	case PROTOBUF_C_TYPE_ENUM:
		return encode_enum(f->descriptor, *(const int32_t *)at);
	case PROTOBUF_C_TYPE_BOOL:
		return json_boolean(*(const protobuf_c_boolean *)at);
	case PROTOBUF_C_TYPE_FLOAT:
		return encode_double((double)*(const float *)at);
	case PROTOBUF_C_TYPE_DOUBLE:
		return encode_double(*(const double *)at);
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
		return encode_64(at, true);
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
		return encode_64(at, false);
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_FIXED32:
		return json_integer(*(const uint32_t *)at);
	default:
		return json_integer(*(const int32_t *)at);
	}
}

static json_t *encode_map(const ProtobufCFieldDescriptor *f, const ProtobufCMessage *const *entries, size_t n)
{
	const ProtobufCMessageDescriptor *d = f->descriptor;
	json_t *map = json_object();

	for (size_t i = 0; map && i < n; i++) {
		json_t *key = encode_value(&d->fields[0], (const char *)entries[i] + d->fields[0].offset);
		json_t *value = encode_value(&d->fields[1], (const char *)entries[i] + d->fields[1].offset);
		char text[24];
		const char *name = json_string_value(key);

		if (json_is_integer(key)) {
			snprintf(text, sizeof(text), "%lld", (long long)json_integer_value(key));
			name = text;
		} else if (json_is_boolean(key)) {
			name = json_is_true(key) ? "true" : "false";
		}
		if (!name || !value || json_object_set(map, name, value)) {
			json_decref(map);
			map = NULL;
		}
		json_decref(key);
		json_decref(value);
	}
	return map;
}

static json_t *encode_repeated(const ProtobufCFieldDescriptor *f, const char *items, size_t n)
{
	json_t *array;

	if (json_is_map(f))
		return encode_map(f, (const ProtobufCMessage *const *)(const void *)items, n);
	array = json_array();
	for (size_t i = 0; array && i < n; i++) {
		json_t *value = encode_value(f, items + i * field_width(f));

		if (!value || json_array_append_new(array, value)) {
			json_decref(array);
			return NULL;
		}
	}
	return array;
}

static json_t *encode_message(const ProtobufCMessage *m)
{
	json_t *obj = json_object();

	for (unsigned i = 0; obj && i < m->descriptor->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];
		const char *at = (const char *)m + f->offset;
		char name[FIELD_NAME_MAX];
		json_t *value;

		if (!field_is_set(m, f))
			continue;
		value = f->label == PROTOBUF_C_LABEL_REPEATED
				? encode_repeated(f, *(const char *const *)(const void *)at,
						  *(const size_t *)(const void *)((const char *)m +
										  f->quantifier_offset))
				: encode_value(f, at);
		field_camel(f->name, name);
		if (!value || json_object_set_new(obj, name, value)) {
			json_decref(obj);
			return NULL;
		}
	}
	return obj;
}

char *json_encode(const ProtobufCMessage *m)
{
	json_t *j = encode_message(m);
	char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;

	json_decref(j);
	return text;
}

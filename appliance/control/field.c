/* SPDX-License-Identifier: Apache-2.0 */
#include "appliance/control/field.h"

#include <ctype.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define AT(m, off)	 ((void *)((char *)(m) + (off)))
#define AT_CONST(m, off) ((const void *)((const char *)(m) + (off)))

void field_camel(const char *snake, char out[FIELD_NAME_MAX])
{
	size_t n = 0;
	bool up = false;

	for (; *snake && n < FIELD_NAME_MAX - 1; snake++) {
		if (*snake == '_') {
			up = true;
			continue;
		}
		out[n++] = up ? (char)toupper((unsigned char)*snake) : *snake;
		up = false;
	}
	out[n] = '\0';
}

const ProtobufCFieldDescriptor *field_find(const ProtobufCMessageDescriptor *d, const char *name, size_t len)
{
	for (unsigned i = 0; i < d->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &d->fields[i];
		char camel[FIELD_NAME_MAX];

		field_camel(f->name, camel);
		if ((strlen(f->name) == len && !memcmp(f->name, name, len)) ||
		    (strlen(camel) == len && !memcmp(camel, name, len)))
			return f;
	}
	return NULL;
}

size_t field_width(const ProtobufCFieldDescriptor *f)
{
	switch (f->type) {
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
	case PROTOBUF_C_TYPE_DOUBLE:
		return 8;
	case PROTOBUF_C_TYPE_STRING:
	case PROTOBUF_C_TYPE_MESSAGE:
		return sizeof(void *);
	case PROTOBUF_C_TYPE_BYTES:
		return sizeof(ProtobufCBinaryData);
	case PROTOBUF_C_TYPE_BOOL:
		return sizeof(protobuf_c_boolean);
	default:
		return 4;
	}
}

bool field_is_oneof(const ProtobufCFieldDescriptor *f)
{
	return f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF;
}

static uint32_t quantifier(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
	uint32_t v;

	memcpy(&v, AT_CONST(m, f->quantifier_offset), sizeof(v));
	return v;
}

static size_t repeated_count(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
	size_t n;

	memcpy(&n, AT_CONST(m, f->quantifier_offset), sizeof(n));
	return n;
}

bool field_is_set(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
	static const uint8_t zero[sizeof(ProtobufCBinaryData)];
	const void *at = AT_CONST(m, f->offset);

	if (field_is_oneof(f))
		return quantifier(m, f) == f->id;
	if (f->label == PROTOBUF_C_LABEL_REPEATED)
		return repeated_count(m, f) > 0;
	if (f->type == PROTOBUF_C_TYPE_STRING) {
		const char *s = *(const char *const *)at;

		return s && s[0];
	}
	if (f->type == PROTOBUF_C_TYPE_BYTES)
		return ((const ProtobufCBinaryData *)at)->len > 0;
	return memcmp(at, zero, field_width(f)) != 0;
}

static bool message_equal(const ProtobufCMessage *a, const ProtobufCMessage *b)
{
	size_t na, nb;
	uint8_t *buf;
	bool eq = false;

	if (!a || !b)
		return a == b;
	na = protobuf_c_message_get_packed_size(a);
	nb = protobuf_c_message_get_packed_size(b);
	if (na != nb)
		return false;
	buf = malloc(2 * na + 1);
	if (buf) {
		protobuf_c_message_pack(a, buf);
		protobuf_c_message_pack(b, buf + na);
		eq = !memcmp(buf, buf + na, na);
	}
	free(buf);
	return eq;
}

static bool value_equal(const void *a, const void *b, const ProtobufCFieldDescriptor *f)
{
	switch (f->type) {
	case PROTOBUF_C_TYPE_STRING: {
		const char *x = *(const char *const *)a, *y = *(const char *const *)b;

		return !strcmp(x ? x : "", y ? y : "");
	}
	case PROTOBUF_C_TYPE_MESSAGE:
		return message_equal(*(const ProtobufCMessage *const *)a,
				     *(const ProtobufCMessage *const *)b);
	case PROTOBUF_C_TYPE_BYTES: {
		const ProtobufCBinaryData *x = a, *y = b;

		return x->len == y->len && (x->len == 0 || !memcmp(x->data, y->data, x->len));
	}
	default:
		return !memcmp(a, b, field_width(f));
	}
}

bool field_equal(const ProtobufCMessage *a, const ProtobufCMessage *b, const ProtobufCFieldDescriptor *f)
{
	size_t n;

	if (field_is_oneof(f) && field_is_set(a, f) != field_is_set(b, f))
		return false;
	if (field_is_oneof(f) && !field_is_set(a, f))
		return true;
	if (f->label != PROTOBUF_C_LABEL_REPEATED)
		return value_equal(AT_CONST(a, f->offset), AT_CONST(b, f->offset), f);
	n = repeated_count(a, f);
	if (n != repeated_count(b, f))
		return false;
	for (size_t i = 0; i < n; i++) {
		const char *x = *(const char *const *)AT_CONST(a, f->offset);
		const char *y = *(const char *const *)AT_CONST(b, f->offset);

		if (!value_equal(x + i * field_width(f), y + i * field_width(f), f))
			return false;
	}
	return true;
}

static void swap_bytes(void *a, void *b, size_t n)
{
	uint8_t tmp[sizeof(ProtobufCBinaryData)];

	memcpy(tmp, a, n);
	memcpy(a, b, n);
	memcpy(b, tmp, n);
}

/* The members of a oneof are a union: the widest decides. */
static size_t oneof_width(const ProtobufCMessageDescriptor *d, const ProtobufCFieldDescriptor *f)
{
	size_t w = 0;

	for (unsigned i = 0; i < d->n_fields; i++)
		if (field_is_oneof(&d->fields[i]) && d->fields[i].quantifier_offset == f->quantifier_offset &&
		    field_width(&d->fields[i]) > w)
			w = field_width(&d->fields[i]);
	return w;
}

void field_swap(ProtobufCMessage *a, ProtobufCMessage *b, const ProtobufCFieldDescriptor *f)
{
	if (f->label == PROTOBUF_C_LABEL_REPEATED) {
		swap_bytes(AT(a, f->offset), AT(b, f->offset), sizeof(void *));
		swap_bytes(AT(a, f->quantifier_offset), AT(b, f->quantifier_offset), sizeof(size_t));
	} else if (field_is_oneof(f)) {
		swap_bytes(AT(a, f->offset), AT(b, f->offset), oneof_width(a->descriptor, f));
		swap_bytes(AT(a, f->quantifier_offset), AT(b, f->quantifier_offset), sizeof(uint32_t));
	} else {
		swap_bytes(AT(a, f->offset), AT(b, f->offset), field_width(f));
	}
}

size_t field_strings(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
	return f->label == PROTOBUF_C_LABEL_REPEATED ? repeated_count(m, f) : field_is_set(m, f);
}

const char *field_string(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f, size_t i)
{
	const void *at = AT_CONST(m, f->offset);

	return f->label == PROTOBUF_C_LABEL_REPEATED ? (*(char *const *const *)at)[i]
						     : *(const char *const *)at;
}

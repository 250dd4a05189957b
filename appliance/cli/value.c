/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "appliance/cli/cli.h"
#include "appliance/cli/value.h"

bool cli_field_is_size(const ProtobufCFieldDescriptor *f)
{
	size_t n = strlen(f->name);

	return f->type == PROTOBUF_C_TYPE_UINT64 && n > 6 && strcmp(f->name + n - 6, "_bytes") == 0;
}

unsigned cli_field_part(const ProtobufCFieldDescriptor *f)
{
	const char *unit = strrchr(f->name, '_');

	if (f->type != PROTOBUF_C_TYPE_UINT32 || !unit)
		return 0;
	return strcmp(unit, "_ppm") == 0 ? 1000000 : strcmp(unit, "_permille") == 0 ? 1000 : 0;
}

bool cli_field_is_map(const ProtobufCFieldDescriptor *f)
{
	const ProtobufCMessageDescriptor *d = f->descriptor;
	size_t n;

	if (f->type != PROTOBUF_C_TYPE_MESSAGE || f->label != PROTOBUF_C_LABEL_REPEATED)
		return false;
	/* protobuf-c keeps no map flag: the compiler's own entry messages are called so. */
	n = strlen(d->short_name);
	return n > 5 && strcmp(d->short_name + n - 5, "Entry") == 0 && d->n_fields == 2 &&
	       strcmp(d->fields[0].name, "key") == 0;
}

int cli_bool_parse(const char *text, bool *value)
{
	static const char *const yes[] = {"true", "yes", "on", "1"}, *const no[] = {"false", "no", "off",
										    "0"};

	for (int i = 0; i < 4; i++) {
		*value = strcmp(text, yes[i]) == 0;
		if (*value || strcmp(text, no[i]) == 0)
			return 0;
	}
	return -EINVAL;
}

static json_t *enum_value(const ProtobufCEnumDescriptor *e, const char *text, char *why, size_t size)
{
	char word[64], plain[64];
	size_t at = 0, i = 0;

	for (; text[i] && i + 1 < sizeof plain; i++)
		plain[i] = text[i] == '_' ? '-' : text[i];
	plain[i] = 0;
	for (unsigned v = 1; v < e->n_values; v++) {
		cli_enum_word(e, e->values[v].name, word, sizeof word);
		if (strcasecmp(word, plain) == 0 || strcasecmp(e->values[v].name, text) == 0)
			return json_string(e->values[v].name);
	}
	/* "" sets the default. */
	if (!*text && e->n_values)
		return json_string(e->values[0].name);
	at = (size_t)snprintf(why, size, "must be");
	for (unsigned v = 1; v < e->n_values && at < size; v++) {
		cli_enum_word(e, e->values[v].name, word, sizeof word);
		at += (size_t)snprintf(why + at, size - at, "%s %s", v > 1 ? " or" : "", word);
	}
	return NULL;
}

static json_t *number(const ProtobufCFieldDescriptor *f, const char *text, char *why, size_t size)
{
	bool wide = f->type == PROTOBUF_C_TYPE_UINT64 || f->type == PROTOBUF_C_TYPE_INT64;
	uint64_t max = f->type == PROTOBUF_C_TYPE_UINT64  ? UINT64_MAX
		       : wide				  ? INT64_MAX
		       : f->type == PROTOBUF_C_TYPE_INT32 ? INT32_MAX
							  : UINT32_MAX;
	char buf[24];
	uint64_t v;

	if (cli_field_is_size(f) ? cli_size_parse(text, &v) : cli_uint_parse(text, max, &v)) {
		snprintf(why, size, "%s",
			 cli_field_is_size(f) ? "must be a size: 512M, 10G, 1.5T, or bytes"
					      : "must be a number, in range");
		return NULL;
	}
	if (!wide)
		return json_integer((json_int_t)v);
	/* 64-bit numbers are strings in protobuf's JSON. */
	snprintf(buf, sizeof buf, "%" PRIu64, v);
	return json_string(buf);
}

static json_t *single(const ProtobufCFieldDescriptor *f, const char *text, char *why, size_t size)
{
	json_t *v;
	bool truth;

	switch (f->type) {
	case PROTOBUF_C_TYPE_STRING:
		v = json_string(text);
		if (!v)
			snprintf(why, size, "must be UTF-8");
		return v;
	case PROTOBUF_C_TYPE_BOOL:
		if (cli_bool_parse(text, &truth) == 0)
			return json_boolean(truth);
		snprintf(why, size, "must be true or false");
		return NULL;
	case PROTOBUF_C_TYPE_ENUM:
		return enum_value(f->descriptor, text, why, size);
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_INT64:
		return number(f, text, why, size);
	default:
		snprintf(why, size, "cannot be given on the command line");
		return NULL;
	}
}

/* One item of a list, or KEY=VALUE of a map, added to what is there. */
static int add_item(json_t *to, const ProtobufCFieldDescriptor *f, char *item, char *why, size_t size)
{
	const ProtobufCMessageDescriptor *entry = f->descriptor;
	char *equals = strchr(item, '=');
	json_t *v;

	if (!cli_field_is_map(f)) {
		v = single(f, item, why, size);
		return v ? json_array_append_new(to, v) : -EINVAL;
	}
	if (!equals || equals == item) {
		snprintf(why, size, "must be KEY=VALUE,...");
		return -EINVAL;
	}
	*equals = 0;
	v = single(&entry->fields[1], equals + 1, why, size);
	return v ? json_object_set_new(to, item, v) : -EINVAL;
}

static int set_repeated(json_t *object, const char *key, const ProtobufCFieldDescriptor *f, const char *text,
			char *why, size_t size)
{
	json_t *to = json_object_get(object, key);
	char *copy, *save;
	int ret = 0;

	if (!to || !*text) {
		json_object_set_new(object, key, cli_field_is_map(f) ? json_object() : json_array());
		to = json_object_get(object, key);
	}
	copy = strdup(text);
	if (!copy)
		return -ENOMEM;
	for (char *w = strtok_r(copy, ",", &save); w && ret == 0; w = strtok_r(NULL, ",", &save))
		ret = add_item(to, f, w, why, size);
	free(copy);
	return ret;
}

int cli_value_set(json_t *object, const char *key, const ProtobufCFieldDescriptor *f, const char *text,
		  char *why, size_t size)
{
	const ProtobufCMessageDescriptor *d = f->descriptor;
	json_t *v;

	if (f->label == PROTOBUF_C_LABEL_REPEATED)
		return set_repeated(object, key, f, text, why, size);
	if (f->type == PROTOBUF_C_TYPE_MESSAGE && d->n_fields == 1) {
		char inner[64];

		cli_json_name(d->fields[0].name, inner, sizeof inner);
		v = json_object();
		if (cli_value_set(v, inner, &d->fields[0], text, why, size)) {
			json_decref(v);
			return -EINVAL;
		}
		return json_object_set_new(object, key, v);
	}
	v = single(f, text, why, size);
	return v ? json_object_set_new(object, key, v) : -EINVAL;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers for people. What a value means follows from its type and name in the API: enums are
 * words, int64 are Unix seconds, *_bytes are sizes; so a new field is shown well without a word here.
 */
#include <ctype.h>
#include <err.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "appliance/cli/cli.h"
#include "appliance/cli/table.h"
#include "appliance/cli/value.h"

/* Text that grows. */
struct text {
	char *s;
	size_t n;
};

static void put(struct text *t, const char *s)
{
	size_t n = strlen(s);

	t->s = realloc(t->s, t->n + n + 1);
	if (!t->s)
		err(1, "text");
	memcpy(t->s + t->n, s, n + 1);
	t->n += n;
}

static int64_t number_of(const json_t *v)
{
	if (json_is_string(v))
		return (int64_t)strtoull(json_string_value(v), NULL, 10);
	return json_is_integer(v) ? json_integer_value(v) : 0;
}

static void put_number(struct text *t, const ProtobufCFieldDescriptor *f, const json_t *v,
		       const struct cli_style *s, bool brief)
{
	int64_t n = number_of(v);
	char buf[80];

	if (n == 0 && (f->type == PROTOBUF_C_TYPE_INT64 || strcmp(f->name, "vlan") == 0 ||
		       strcmp(f->name, "speed_mbps") == 0))
		return;
	if (cli_field_is_size(f))
		cli_size_text((uint64_t)n, buf, sizeof buf);
	else if (f->type == PROTOBUF_C_TYPE_INT64 && brief && n <= s->now)
		cli_span_text(s->now - n, buf, sizeof buf);
	else if (f->type == PROTOBUF_C_TYPE_INT64)
		cli_time_text(n, s->now, buf, sizeof buf);
	else if (strstr(f->name, "_seconds"))
		cli_span_text(n, buf, sizeof buf);
	else if (strcmp(f->name, "speed_mbps") == 0 && n % 1000 == 0)
		snprintf(buf, sizeof buf, "%" PRId64 "Gb/s", n / 1000);
	else if (strcmp(f->name, "speed_mbps") == 0)
		snprintf(buf, sizeof buf, "%" PRId64 "Mb/s", n);
	else if (strcmp(f->name, "rtt_us") == 0)
		snprintf(buf, sizeof buf, "%" PRId64 "us", n);
	else if (cli_field_part(f))
		snprintf(buf, sizeof buf, "%.*f%%", cli_field_part(f) > 1000 ? 2 : 1,
			 (double)n * 100 / (double)cli_field_part(f));
	else
		snprintf(buf, sizeof buf, "%" PRIu64, (uint64_t)n);
	put(t, buf);
	if (cli_field_is_size(f) && !brief && n >= 1024) {
		snprintf(buf, sizeof buf, " (%" PRIu64 " bytes)", (uint64_t)n);
		put(t, buf);
	}
}

static void put_value(struct text *t, const ProtobufCFieldDescriptor *f, const json_t *v,
		      const struct cli_style *s, bool brief);

static void put_map(struct text *t, const json_t *v)
{
	const char *key, *comma = "";
	json_t *item;

	json_object_foreach((json_t *)v, key, item)
	{
		char buf[32];

		snprintf(buf, sizeof buf, "%" PRId64, number_of(item));
		put(t, comma);
		put(t, key);
		put(t, "=");
		put(t, json_is_string(item) ? json_string_value(item) : buf);
		comma = ",";
	}
}

/* "local=... remote=... state=up", or the bare value of a message with one field. */
static void put_message(struct text *t, const ProtobufCMessageDescriptor *d, const json_t *v,
			const struct cli_style *s, bool brief)
{
	const char *blank = "";

	for (unsigned i = 0; i < d->n_fields; i++) {
		char key[64], option[64];
		const json_t *item;

		cli_json_name(d->fields[i].name, key, sizeof key);
		item = json_object_get(v, key);
		if (!item)
			continue;
		cli_field_option(&d->fields[i], option, sizeof option);
		put(t, blank);
		if (d->n_fields > 1) {
			put(t, option);
			put(t, "=");
		}
		put_value(t, &d->fields[i], item, s, brief);
		blank = " ";
	}
}

static void put_single(struct text *t, const ProtobufCFieldDescriptor *f, const json_t *v,
		       const struct cli_style *s, bool brief)
{
	const ProtobufCEnumDescriptor *e = f->descriptor;
	char word[64];

	switch (f->type) {
	case PROTOBUF_C_TYPE_STRING:
		put(t, json_is_string(v) ? json_string_value(v) : "");
		break;
	case PROTOBUF_C_TYPE_BOOL:
		put(t, json_is_true(v) ? "yes" : "no");
		break;
	case PROTOBUF_C_TYPE_ENUM:
		/* The value 0 means "not said". */
		if (!json_is_string(v) || strcmp(json_string_value(v), e->values[0].name) == 0)
			break;
		cli_enum_word(e, json_string_value(v), word, sizeof word);
		put(t, word);
		break;
	case PROTOBUF_C_TYPE_MESSAGE:
		put_message(t, f->descriptor, v, s, brief);
		break;
	default:
		put_number(t, f, v, s, brief);
	}
}

static void put_value(struct text *t, const ProtobufCFieldDescriptor *f, const json_t *v,
		      const struct cli_style *s, bool brief)
{
	const json_t *item;
	char count[24];
	size_t i;

	if (f->label != PROTOBUF_C_LABEL_REPEATED) {
		put_single(t, f, v, s, brief);
	} else if (cli_field_is_map(f)) {
		put_map(t, v);
	} else if (f->type == PROTOBUF_C_TYPE_MESSAGE && brief) {
		snprintf(count, sizeof count, "%zu", json_array_size(v));
		put(t, count);
	} else {
		json_array_foreach((json_t *)v, i, item)
		{
			put(t, i ? (f->type == PROTOBUF_C_TYPE_MESSAGE ? "; " : ",") : "");
			put_single(t, f, item, s, brief);
		}
	}
}

/* The field at "status.link" and its value, which may be NULL. */
static const ProtobufCFieldDescriptor *resolve(const ProtobufCMessageDescriptor *d, const char *path,
					       const json_t **v)
{
	const char *dot = strchr(path, '.');
	const ProtobufCFieldDescriptor *f;
	char name[64], key[64];

	snprintf(name, sizeof name, "%.*s", dot ? (int)(dot - path) : (int)strlen(path), path);
	f = protobuf_c_message_descriptor_get_field_by_name(d, name);
	if (!f)
		errx(1, "%s has no field %s", d->name, name);
	cli_json_name(name, key, sizeof key);
	*v = json_object_get(*v, key);
	return dot ? resolve(f->descriptor, dot + 1, v) : f;
}

static bool is_number(const ProtobufCFieldDescriptor *f)
{
	return f->label != PROTOBUF_C_LABEL_REPEATED &&
	       (f->type == PROTOBUF_C_TYPE_UINT32 || f->type == PROTOBUF_C_TYPE_UINT64);
}

void cli_show_list(FILE *out, const struct cli_noun *n, const json_t *items, const struct cli_style *s)
{
	unsigned columns = 0;
	const json_t *item;
	struct table *t;
	size_t i;

	for (const struct cli_column *c = n->columns; c->head; c++)
		columns += s->wide || !c->wide;
	t = table_new(columns, true);
	columns = 0;
	for (const struct cli_column *c = n->columns; c->head; c++) {
		const json_t *none = NULL;

		if (c->wide && !s->wide)
			continue;
		table_add(t, c->head);
		if (is_number(resolve(n->desc, c->path, &none)))
			table_right(t, columns);
		columns++;
	}
	json_array_foreach((json_t *)items, i, item)
	{
		for (const struct cli_column *c = n->columns; c->head; c++) {
			const json_t *v = item;
			const ProtobufCFieldDescriptor *f = resolve(n->desc, c->path, &v);
			struct text text = {0};

			if (c->wide && !s->wide)
				continue;
			put_value(&text, f, v, s, true);
			table_add(t, text.s);
			free(text.s);
		}
	}
	table_print(t, out, s->color);
	table_free(t);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The counters that are not 0, sorted. */
static void add_counters(struct table *t, const json_t *map)
{
	size_t n = 0, zero = 0, size = json_object_size(map);
	const char **names = calloc(size + 1, sizeof *names), *key;
	char buf[64];
	json_t *v;

	if (!names)
		err(1, "counters");
	json_object_foreach((json_t *)map, key, v)
	{
		if (number_of(v))
			names[n++] = key;
		else
			zero++;
	}
	qsort(names, n, sizeof *names, by_name);
	for (size_t i = 0; i < n; i++) {
		snprintf(buf, sizeof buf, "    %s", names[i]);
		table_add(t, buf);
		snprintf(buf, sizeof buf, "%" PRIu64, (uint64_t)number_of(json_object_get(map, names[i])));
		table_add(t, buf);
	}
	if (zero) {
		snprintf(buf, sizeof buf, "%zu more", zero);
		table_add(t, "    (at 0)");
		table_add(t, buf);
	}
	free(names);
}

static void add_fields(struct table *t, const ProtobufCMessageDescriptor *d, const json_t *item,
		       const struct cli_style *s, int indent);

/* Shown as an indented block of its own. */
static bool is_section(const ProtobufCFieldDescriptor *f)
{
	return f->type == PROTOBUF_C_TYPE_MESSAGE && f->label != PROTOBUF_C_LABEL_REPEATED &&
	       ((const ProtobufCMessageDescriptor *)f->descriptor)->n_fields > 1;
}

/* Rows of a table of their own, as values: a repeated message. */
static void add_rows(struct table *t, const char *label, const ProtobufCFieldDescriptor *field,
		     const json_t *rows, const struct cli_style *s)
{
	const ProtobufCMessageDescriptor *d = field->descriptor;
	struct table *inner = table_new(d->n_fields, true);
	char head[64], key[64], *lines, *line, *rest;
	const json_t *row;
	size_t size, i;
	FILE *out = open_memstream(&lines, &size);

	if (!out)
		err(1, "table");
	for (unsigned k = 0; k < d->n_fields; k++) {
		cli_field_option(&d->fields[k], head, sizeof head);
		for (char *p = head; *p; p++)
			*p = (char)toupper((unsigned char)*p);
		table_add(inner, head);
		if (is_number(&d->fields[k]))
			table_right(inner, k);
	}
	json_array_foreach((json_t *)rows, i, row)
	{
		for (unsigned k = 0; k < d->n_fields; k++) {
			struct text text = {0};

			cli_json_name(d->fields[k].name, key, sizeof key);
			put_value(&text, &d->fields[k], json_object_get(row, key), s, true);
			table_add(inner, text.s);
			free(text.s);
		}
	}
	table_print(inner, out, false);
	table_free(inner);
	fclose(out);
	for (line = strtok_r(lines, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		table_add(t, line == lines ? label : " ");
		table_add(t, line);
	}
	free(lines);
}

static void add_field(struct table *t, const ProtobufCFieldDescriptor *f, const json_t *v,
		      const struct cli_style *s, int indent)
{
	const ProtobufCMessageDescriptor *d = f->descriptor;
	char name[64], label[80], note[64];
	struct text text = {0};

	cli_field_option(f, name, sizeof name);
	snprintf(label, sizeof label, "%*s%s", indent, "", name);
	if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF && !v)
		return;
	if (strcmp(f->name, "counters") == 0 && cli_field_is_map(f)) {
		snprintf(note, sizeof note, "%zu (--counters shows them)", json_object_size(v));
		table_add(t, label);
		table_add(t, s->counters ? " " : json_object_size(v) ? note : "");
		if (s->counters)
			add_counters(t, v);
		return;
	}
	if (is_section(f)) {
		table_add(t, label);
		table_add(t, " ");
		add_fields(t, d, v, s, indent + 2);
		return;
	}
	if (f->type == PROTOBUF_C_TYPE_MESSAGE && !cli_field_is_map(f) && d->n_fields > 1 &&
	    json_array_size(v)) {
		add_rows(t, label, f, v, s);
		return;
	}
	put_value(&text, f, v, s, false);
	table_add(t, label);
	table_add(t, text.s);
	free(text.s);
}

static void add_fields(struct table *t, const ProtobufCMessageDescriptor *d, const json_t *item,
		       const struct cli_style *s, int indent)
{
	for (unsigned i = 0; i < 2 * d->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &d->fields[i % d->n_fields];
		char key[64];

		if (is_section(f) != (i >= d->n_fields)) /* sections come last */
			continue;
		cli_json_name(f->name, key, sizeof key);
		add_field(t, f, json_object_get(item, key), s, indent);
	}
}

void cli_show_message(FILE *out, const ProtobufCMessageDescriptor *d, const json_t *item,
		      const struct cli_style *s)
{
	struct table *t = table_new(2, false);

	add_fields(t, d, item, s, 0);
	table_print(t, out, s->color);
	table_free(t);
}

void cli_show_one(FILE *out, const struct cli_noun *n, const json_t *item, const struct cli_style *s)
{
	cli_show_message(out, n->desc, item, s);
}

void cli_show_counters(FILE *out, const json_t *counters, const struct cli_style *s)
{
	struct table *t = table_new(3, true);
	const json_t *c;
	char buf[32];
	size_t i;

	table_add(t, "SCOPE");
	table_add(t, "COUNTER");
	table_add(t, "VALUE");
	table_right(t, 2);
	json_array_foreach((json_t *)counters, i, c)
	{
		uint64_t v = (uint64_t)number_of(json_object_get(c, "value"));

		if (v == 0)
			continue;
		snprintf(buf, sizeof buf, "%" PRIu64, v);
		table_add(t, json_string_value(json_object_get(c, "scope")));
		table_add(t, json_string_value(json_object_get(c, "name")));
		table_add(t, buf);
	}
	table_print(t, out, s->color);
	table_free(t);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Names of fields and values, between the API's descriptors, JSON and the command line. */
#include <ctype.h>
#include <string.h>

#include "appliance/cli/cli.h"

bool cli_field_writable(const ProtobufCFieldDescriptor *f)
{
	static const char *const fixed[] = {"name", "uid", "revision", "status"};

	for (size_t i = 0; i < sizeof fixed / sizeof fixed[0]; i++)
		if (strcmp(f->name, fixed[i]) == 0)
			return false;
	return true;
}

const struct cli_field *cli_field_words(const struct cli_noun *n, const char *name)
{
	for (const struct cli_field *w = n->fields; w->name; w++)
		if (strcmp(w->name, name) == 0)
			return w;
	return NULL;
}

static void dashes(const char *name, char *out, size_t size)
{
	size_t i = 0;

	for (; name[i] && i + 1 < size; i++)
		out[i] = name[i] == '_' ? '-' : name[i];
	out[i] = 0;
}

void cli_field_option(const ProtobufCFieldDescriptor *f, char *out, size_t size)
{
	/* Units are given and shown with the value. */
	static const char *const units[] = {"-bytes", "-seconds", "-mbps", "-us", "-ppm", "-permille"};
	size_t n;

	dashes(f->name, out, size);
	n = strlen(out);
	for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
		size_t u = strlen(units[i]);

		if (n > u && strcmp(out + n - u, units[i]) == 0)
			out[n - u] = 0;
	}
}

const ProtobufCFieldDescriptor *cli_field_find(const struct cli_noun *n, const char *option)
{
	char want[64], is[64];

	dashes(option, want, sizeof want);
	for (unsigned i = 0; i < n->desc->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &n->desc->fields[i];
		const struct cli_field *words = cli_field_words(n, f->name);

		if (!cli_field_writable(f))
			continue;
		cli_field_option(f, is, sizeof is);
		if (strcmp(is, want) == 0)
			return f;
		dashes(f->name, is, sizeof is);
		if (strcmp(is, want) == 0 || (words && words->alias && strcmp(words->alias, want) == 0))
			return f;
	}
	return NULL;
}

void cli_json_name(const char *name, char *out, size_t size)
{
	size_t n = 0;

	for (; *name && n + 1 < size; name++) {
		if (*name == '_' && name[1])
			out[n++] = (char)toupper((unsigned char)*++name);
		else
			out[n++] = *name;
	}
	out[n] = 0;
}

void cli_enum_word(const ProtobufCEnumDescriptor *e, const char *name, char *out, size_t size)
{
	/* By the API's rule the value 0 is PREFIX_UNSPECIFIED, and every other has that prefix. */
	const char *zero = e->n_values ? e->values[0].name : "";
	const char *end = strstr(zero, "UNSPECIFIED");
	size_t n = 0, prefix = end ? (size_t)(end - zero) : 0;

	if (strncmp(name, zero, prefix) == 0)
		name += prefix;
	for (; name[n] && n + 1 < size; n++)
		out[n] = name[n] == '_' ? '-' : (char)tolower((unsigned char)name[n]);
	out[n] = 0;
}

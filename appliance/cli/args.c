/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Words -> struct cli_args. Options may stand anywhere; `--field value` and `--field=value` are
 * the same. A wrong word is named together with what would have been right.
 */
#include <err.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "appliance/cli/cli.h"
#include "appliance/cli/value.h"

/* The command line being read. */
struct reader {
	struct cli_args *a;
	char *const *words;
	int n, at;
	const char *inline_value; /* behind '=' */
	char *why;
	size_t why_size;
};

#define TIMEOUT_MAX 86400u

#define FAIL(r, ...) (snprintf((r)->why, (r)->why_size, __VA_ARGS__), CLI_USAGE)

/* The value of option `name`, from behind '=' or the next word; NULL: there is none. */
static const char *take_value(struct reader *r)
{
	if (r->inline_value)
		return r->inline_value;
	return r->at < r->n ? r->words[r->at++] : NULL;
}

static int read_output(struct reader *r, const char *v)
{
	static const char *const names[] = {"table", "wide", "json", "name"};

	for (unsigned i = 0; i < 4; i++) {
		if (strcmp(v, names[i]) == 0) {
			r->a->output = (enum cli_output)i;
			return 0;
		}
	}
	return FAIL(r, "--output %s: must be table, wide, json or name", v);
}

/* None of them has a use for 0. */
static int read_number(struct reader *r, const char *name, const char *v, uint64_t max, uint64_t *out)
{
	if (cli_uint_parse(v, max, out) || !*out)
		return FAIL(r, "%s %s: must be a number from 1 to %llu", name, v, (unsigned long long)max);
	return 0;
}

static int read_switch(struct reader *r, const struct cli_option *o)
{
	if (r->inline_value)
		return FAIL(r, "%s takes no value", o->name);
	if (strcmp(o->name, "--help") == 0)
		r->a->help = true;
	else if (strcmp(o->name, "--counters") == 0)
		r->a->counters = true;
	else if (strcmp(o->name, "--dry-run") == 0)
		r->a->dry_run = true;
	else
		r->a->no_color = true;
	return 0;
}

static int read_option(struct reader *r, const struct cli_option *o)
{
	struct cli_args *a = r->a;
	const struct {
		const char *name;
		const char **to;
	} texts[] = {
		{"--context", &a->context},
		{"--api", &a->api},
		{"--cert", &a->cert},
		{"--key", &a->key},
		{"--cacert", &a->cacert},
		{"--token", &a->token},
		{"--server-name", &a->server_name},
	};
	const char *v;
	uint64_t num;
	int err;

	if (!o->value)
		return read_switch(r, o);
	v = take_value(r);
	if (!v || !*v)
		return FAIL(r, "%s: %s is missing", o->name, o->value);
	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
		if (strcmp(o->name, texts[i].name) == 0) {
			*texts[i].to = v;
			return 0;
		}
	}
	if (strcmp(o->name, "--output") == 0)
		return read_output(r, v);
	if (strcmp(o->name, "--revision") == 0)
		return read_number(r, o->name, v, UINT64_MAX, &a->revision);
	if (strcmp(o->name, "--ttl") == 0) {
		err = read_number(r, o->name, v, UINT32_MAX, &num);
		a->ttl = err ? 0 : (uint32_t)num;
		return err;
	}
	err = read_number(r, o->name, v, TIMEOUT_MAX, &num);
	a->timeout = err ? 0 : (uint32_t)num;
	return err;
}

static const struct cli_option *find_option(const char *name)
{
	for (const struct cli_option *o = cli_options; o->name; o++)
		if (strcmp(o->name, name) == 0 || (o->brief && strcmp(o->brief, name) == 0))
			return o;
	return NULL;
}

static void add_to_mask(struct cli_args *a, const char *name)
{
	char *mask;

	if (a->mask) {
		char *copy = strdup(a->mask), *save;

		for (char *w = copy ? strtok_r(copy, ",", &save) : NULL; w; w = strtok_r(NULL, ",", &save)) {
			if (strcmp(w, name) == 0) {
				free(copy);
				return;
			}
		}
		free(copy);
	}
	if (asprintf(&mask, "%s%s%s", a->mask ? a->mask : "", a->mask ? "," : "", name) < 0)
		err(1, "mask");
	free(a->mask);
	a->mask = mask;
}

static int read_field(struct reader *r, const ProtobufCFieldDescriptor *f, const char *option)
{
	const char *v = r->inline_value;
	char key[64], reason[160];

	if (!v && f->type == PROTOBUF_C_TYPE_BOOL) {
		/* A switch: takes the next word only if it is a truth value. */
		bool truth;

		v = "true";
		if (r->at < r->n && cli_bool_parse(r->words[r->at], &truth) == 0)
			v = r->words[r->at++];
	}
	if (!v)
		v = take_value(r);
	if (!v)
		return FAIL(r, "--%s: a value is missing", option);
	cli_json_name(f->name, key, sizeof key);
	if (cli_value_set(r->a->fields, key, f, v, reason, sizeof reason))
		return FAIL(r, "--%s %s: %s", option, v, reason);
	add_to_mask(r->a, f->name);
	return 0;
}

static int unknown_option(struct reader *r, const char *name)
{
	const struct cli_noun *n = r->a->noun;
	const char *known[80], *near;
	static char names[48][64];
	size_t count = 0, kept = 0;

	for (const struct cli_option *o = cli_options; o->name; o++)
		known[count++] = o->name;
	for (unsigned i = 0; n && i < n->desc->n_fields && kept < 48; i++) {
		if (!cli_field_writable(&n->desc->fields[i]))
			continue;
		snprintf(names[kept], sizeof names[0], "--");
		cli_field_option(&n->desc->fields[i], names[kept] + 2, sizeof names[0] - 2);
		known[count++] = names[kept++];
	}
	near = cli_nearest(name, known, count);
	if (near)
		return FAIL(r, "unknown option %s: did you mean %s?", name, near);
	if (!n)
		return FAIL(r, "unknown option %s: see outriggerctl --help", name);
	return FAIL(r, "unknown option %s: see outriggerctl %s%s%s --help", name, n->name,
		    r->a->verb ? " " : "", r->a->verb ? r->a->verb->name : "");
}

static int read_dashed(struct reader *r, const char *word)
{
	const char *equals = strchr(word, '=');
	const struct cli_option *o;
	char name[96];

	snprintf(name, sizeof name, "%.*s", equals ? (int)(equals - word) : (int)strlen(word), word);
	r->inline_value = equals ? equals + 1 : NULL;
	/* -ojson */
	if (word[1] != '-' && word[1] && word[2]) {
		snprintf(name, sizeof name, "%.2s", word);
		r->inline_value = word + (word[2] == '=' ? 3 : 2);
	}
	o = find_option(name);
	if (o)
		return read_option(r, o);
	if (r->a->noun && strncmp(name, "--", 2) == 0) {
		const ProtobufCFieldDescriptor *f = cli_field_find(r->a->noun, name + 2);

		if (f && r->a->verb && !r->a->verb->fields)
			return FAIL(r, "%s %s takes no %s", r->a->noun->name, r->a->verb->name, name);
		if (f)
			return read_field(r, f, name + 2);
	}
	return unknown_option(r, name);
}

static int unknown_noun(struct reader *r, const char *word)
{
	const char *known[32], *near;
	size_t n = 0;

	for (const struct cli_noun *o = cli_nouns; o->name; o++)
		known[n++] = o->name;
	for (const struct cli_command *c = cli_commands; c->name; c++)
		known[n++] = c->name;
	near = cli_nearest(word, known, n);
	if (near)
		return FAIL(r, "unknown noun %s: did you mean %s?", word, near);
	return FAIL(r, "unknown noun %s: outriggerctl --help lists them", word);
}

static int unknown_verb(struct reader *r, const char *word)
{
	const char *known[CLI_NVERBS], *near;
	char list[128] = "";
	size_t n = 0, len = 0;

	for (const struct cli_verb *v = cli_verbs; v < cli_verbs + CLI_NVERBS; v++) {
		if (!(r->a->noun->verbs & 1u << v->id))
			continue;
		len += (size_t)snprintf(list + len, sizeof list - len, "%s%s", n ? ", " : "", v->name);
		known[n++] = v->name;
	}
	near = cli_nearest(word, known, n);
	if (near)
		return FAIL(r, "%s %s: unknown verb, did you mean %s?", r->a->noun->name, word, near);
	return FAIL(r, "%s %s: unknown verb, must be one of %s", r->a->noun->name, word, list);
}

static int read_plain(struct reader *r, const char *word)
{
	struct cli_args *a = r->a;

	if (!a->noun && !a->command) {
		a->noun = cli_noun_find(word);
		if (!a->noun && strcmp(word, "help") == 0) {
			a->help = true;
			return 0;
		}
		if (!a->noun)
			a->command = cli_command_find(word);
		return a->noun || a->command ? 0 : unknown_noun(r, word);
	}
	if (a->noun && !a->verb) {
		a->verb = cli_verb_find(a->noun, word);
		return a->verb ? 0 : unknown_verb(r, word);
	}
	if (a->nnames == CLI_NAMES_MAX)
		return FAIL(r, "more than %u names", CLI_NAMES_MAX);
	if (!*word)
		return FAIL(r, "a name is empty");
	a->names[a->nnames++] = word;
	return 0;
}

/* What a whole command must have. */
static int check(struct reader *r)
{
	const struct cli_args *a = r->a;
	const struct cli_verb *v = a->verb;

	if (a->help || a->command) {
		if (a->command && a->nnames > 1)
			return FAIL(r, "%s: one argument at most", a->command->name);
		return 0;
	}
	if (!v)
		return 0;
	if (a->nnames < v->names_min)
		return FAIL(r, "%s %s: NAME is missing", a->noun->name, v->name);
	if (a->nnames > v->names_max)
		return FAIL(r, "%s %s: what is %s? Fields are given as --FIELD VALUE", a->noun->name, v->name,
			    a->names[v->names_max]);
	if (v->id == CLI_SET && !a->mask)
		return FAIL(r, "%s set %s: nothing to change, give --FIELD VALUE", a->noun->name,
			    a->names[0]);
	if (v->id == CLI_MOVE && (!a->mask || strcmp(a->mask, "host")))
		return FAIL(r, "%s move %s: give --host HOST, and nothing else", a->noun->name, a->names[0]);
	if (a->revision && v->id != CLI_SET && v->id != CLI_DELETE && v->id != CLI_MOVE)
		return FAIL(r, "%s %s takes no --revision", a->noun->name, v->name);
	if (a->ttl && v->id != CLI_ENROLL_TOKEN)
		return FAIL(r, "%s %s takes no --ttl", a->noun->name, v->name);
	return 0;
}

int cli_args_parse(struct cli_args *a, int n, char *const *words, char *why, size_t why_size)
{
	struct reader r = {.a = a, .words = words, .n = n, .why = why, .why_size = why_size};
	bool only_names = false;

	*a = (struct cli_args){.fields = json_object(), .timeout = 30};
	while (r.at < r.n) {
		const char *word = r.words[r.at++];
		int status;

		r.inline_value = NULL;
		if (!only_names && strcmp(word, "--") == 0) {
			only_names = true;
			continue;
		}
		status = !only_names && word[0] == '-' && word[1] ? read_dashed(&r, word)
								  : read_plain(&r, word);
		if (status)
			return status;
	}
	return check(&r);
}

void cli_args_fini(struct cli_args *a)
{
	json_decref(a->fields);
	free(a->mask);
	a->fields = NULL;
	a->mask = NULL;
}

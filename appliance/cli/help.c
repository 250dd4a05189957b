/* SPDX-License-Identifier: Apache-2.0 */
/* Help, completion and the reference of the manual page, all out of the one table. */
#include <errno.h>
#include <string.h>

#include "appliance/cli/cli.h"

#define NEAR_MAX 3u /* edits at most between a mistyped word and what was meant */

/* Levenshtein's distance, words cut at 63 characters. */
static unsigned distance(const char *a, const char *b)
{
	unsigned row[64], n = (unsigned)strnlen(b, 63);

	for (unsigned j = 0; j <= n; j++)
		row[j] = j;
	for (unsigned i = 1; *a && i < 64; a++, i++) {
		unsigned diagonal = row[0];

		row[0] = i;
		for (unsigned j = 1; j <= n; j++) {
			unsigned swap = diagonal + (*a != b[j - 1]);

			diagonal = row[j];
			if (row[j - 1] + 1 < swap)
				swap = row[j - 1] + 1;
			row[j] = row[j] + 1 < swap ? row[j] + 1 : swap;
		}
	}
	return row[n];
}

const char *cli_nearest(const char *word, const char *const *known, size_t n)
{
	const char *best = NULL;
	/* Two letters in common at least: "xy" is not a mistyped "vm". */
	size_t letters = strlen(word) - strspn(word, "-");
	unsigned least = letters / 2 < NEAR_MAX ? (unsigned)letters / 2 : NEAR_MAX;

	for (size_t i = 0; i < n; i++) {
		unsigned d = distance(word, known[i]);

		if (d <= least && (!best || d < least)) {
			best = known[i];
			least = d;
		}
	}
	return best;
}

static void indented(FILE *out, const char *text)
{
	while (*text) {
		size_t n = strcspn(text, "\n");

		fprintf(out, "  %.*s\n", (int)n, text);
		text += n + (text[n] == '\n');
	}
}

static void options(FILE *out)
{
	for (const struct cli_option *o = cli_options; o->name; o++) {
		char left[64];

		snprintf(left, sizeof left, "%s%s%s%s%s", o->brief ? o->brief : "", o->brief ? ", " : "",
			 o->name, o->value ? " " : "", o->value ? o->value : "");
		/* What is too wide for the column gets a line of its own. */
		if (strlen(left) > 24)
			fprintf(out, "  %s\n  %-24s  %s\n", left, "", o->about);
		else
			fprintf(out, "  %-24s  %s\n", left, o->about);
	}
}

static void top(FILE *out)
{
	fprintf(out, "outriggerctl: manage an Outrigger appliance\n\n"
		     "  outriggerctl NOUN VERB [NAME] [--FIELD VALUE]...\n\nNouns:\n");
	for (const struct cli_noun *n = cli_nouns; n->name; n++)
		fprintf(out, "  %-12s  %s\n", n->name, n->about);
	fprintf(out, "\nVerbs of every noun: list, show, create, set, delete. Also:\n");
	for (const struct cli_noun *n = cli_nouns; n->name; n++)
		for (const struct cli_verb *v = cli_verbs + CLI_MOVE; v < cli_verbs + CLI_NVERBS; v++)
			if (n->verbs & 1u << v->id)
				fprintf(out, "  %s %s %s\n", n->name, v->name, v->usage);
	fprintf(out, "\nCommands:\n");
	for (const struct cli_command *c = cli_commands; c->name; c++)
		fprintf(out, "  %-12s  %s\n", c->name, c->about);
	fprintf(out, "\nOptions of every command:\n");
	options(out);
	fprintf(out, "\nA virtual machine from nothing:\n"
		     "  outriggerctl network create blue\n"
		     "  outriggerctl host create h1 && outriggerctl host enroll-token h1\n"
		     "  outriggerctl profile create vm1 --host h1\n"
		     "  outriggerctl vnic create web0 --profile vm1 --network blue\n"
		     "  outriggerctl volume create vol1 --pool default --size 10G\n"
		     "  outriggerctl vdisk create root1 --profile vm1 --volume vol1\n"
		     "\nMore: outriggerctl NOUN --help, outriggerctl NOUN VERB --help, outriggerctl(1)\n"
		     "Exit status: 0 done, 1 other, 2 usage, 3 not found, 4 exists or changed meanwhile,\n"
		     "  5 refused as invalid, 6 not allowed, 7 appliance not reached\n");
}

/* "--size SIZE" of a field, with its alias if it has one. */
static void field_left(const struct cli_noun *n, const ProtobufCFieldDescriptor *f, char *left, size_t size)
{
	const struct cli_field *w = cli_field_words(n, f->name);
	char option[64];

	cli_field_option(f, option, sizeof option);
	snprintf(left, size, "--%s%s%s", option, w && !*w->value ? "" : " ", w ? w->value : "VALUE");
}

static void fields(FILE *out, const struct cli_noun *n)
{
	for (unsigned i = 0; i < n->desc->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &n->desc->fields[i];
		const struct cli_field *w = cli_field_words(n, f->name);
		char left[96];

		if (!cli_field_writable(f))
			continue;
		field_left(n, f, left, sizeof left);
		fprintf(out, "  %-28s  %s", left, w ? w->about : "");
		fprintf(out, w && w->alias ? " (also --%s)\n" : "\n", w ? w->alias : "");
	}
}

static void about_noun(FILE *out, const struct cli_noun *n)
{
	fprintf(out, "outriggerctl %s: %s\n", n->name, n->about);
	if (n->more)
		fprintf(out, "\n%s\n", n->more);
	fprintf(out, "\nVerbs:\n");
	for (const struct cli_verb *v = cli_verbs; v < cli_verbs + CLI_NVERBS; v++) {
		char left[64];

		if (!(n->verbs & 1u << v->id))
			continue;
		snprintf(left, sizeof left, "%s %s", v->name, v->usage);
		fprintf(out, "  %-36s  %s\n", left, v->about);
	}
	fprintf(out, "\nFields, for create and set:\n");
	fields(out, n);
	fprintf(out, "\nExamples:\n");
	indented(out, n->examples);
}

static void about_verb(FILE *out, const struct cli_noun *n, const struct cli_verb *v)
{
	fprintf(out, "outriggerctl %s %s %s\n\n  %s\n", n->name, v->name, v->usage, v->about);
	if (v->fields && v->id != CLI_MOVE) {
		fprintf(out, "\nFields:\n");
		fields(out, n);
	}
	if (v->id == CLI_SET)
		fprintf(out, "\n  A field set to \"\" is emptied. With --revision N nothing is changed "
			     "unless N is\n"
			     "  the present revision.\n");
	fprintf(out, "\nExamples:\n");
	indented(out, n->examples);
	fprintf(out, "\nOptions of every command:\n");
	options(out);
}

void cli_help(FILE *out, const struct cli_args *a)
{
	if (a->noun && a->verb) {
		about_verb(out, a->noun, a->verb);
	} else if (a->noun) {
		about_noun(out, a->noun);
	} else if (a->command) {
		fprintf(out, "outriggerctl %s %s\n\n  %s\n\nExamples:\n", a->command->name, a->command->usage,
			a->command->about);
		indented(out, a->command->examples);
	} else {
		top(out);
	}
}

/* The option's fields of a noun, as a list of words. */
static void field_words(FILE *out, const struct cli_noun *n)
{
	char option[64];

	for (unsigned i = 0; i < n->desc->n_fields; i++) {
		if (!cli_field_writable(&n->desc->fields[i]))
			continue;
		cli_field_option(&n->desc->fields[i], option, sizeof option);
		fprintf(out, " --%s", option);
	}
}

static void enum_words(FILE *out)
{
	char option[64], word[64];

	for (const struct cli_noun *n = cli_nouns; n->name; n++) {
		for (unsigned i = 0; i < n->desc->n_fields; i++) {
			const ProtobufCFieldDescriptor *f = &n->desc->fields[i];
			const ProtobufCEnumDescriptor *e = f->descriptor;

			if (f->type != PROTOBUF_C_TYPE_ENUM || !cli_field_writable(f))
				continue;
			cli_field_option(f, option, sizeof option);
			fprintf(out, "\t%s:--%s) words=\"", n->name, option);
			for (unsigned v = 1; v < e->n_values; v++) {
				cli_enum_word(e, e->values[v].name, word, sizeof word);
				fprintf(out, "%s%s", v > 1 ? " " : "", word);
			}
			fprintf(out, "\" ;;\n");
		}
	}
}

int cli_completion(FILE *out, const char *shell)
{
	if (strcmp(shell, "bash"))
		return -EINVAL;
	fprintf(out, "# bash completion of outriggerctl; source <(outriggerctl completion bash)\n"
		     "_outriggerctl()\n{\n"
		     "\tlocal cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
		     "\tlocal noun=${COMP_WORDS[1]} verb=${COMP_WORDS[2]} words=\n"
		     "\tif [ \"$COMP_CWORD\" -eq 1 ]; then\n\t\twords=\"");
	for (const struct cli_noun *n = cli_nouns; n->name; n++)
		fprintf(out, "%s ", n->name);
	for (const struct cli_command *c = cli_commands; c->name; c++)
		fprintf(out, "%s ", c->name);
	fprintf(out, "--help\"\n\telif [ \"$COMP_CWORD\" -eq 2 ]; then\n\t\tcase $noun in\n");
	for (const struct cli_noun *n = cli_nouns; n->name; n++) {
		fprintf(out, "\t\t%s) words=\"", n->name);
		for (const struct cli_verb *v = cli_verbs; v < cli_verbs + CLI_NVERBS; v++)
			if (n->verbs & 1u << v->id)
				fprintf(out, "%s ", v->name);
		fprintf(out, "--help\" ;;\n");
	}
	fprintf(out, "\t\tcompletion) words=bash ;;\n\t\tesac\n\telse\n\t\tcase $noun:$prev in\n");
	enum_words(out);
	/* A field that is called as a noun takes its names. */
	fprintf(out, "\t*:--host|*:--profile|*:--network|*:--volume|*:--pool|*:--uplink)\n"
		     "\t\twords=$(outriggerctl \"${prev#--}\" list -o name 2>/dev/null) ;;\n"
		     "\t*:--uplink-group) words=$(outriggerctl uplink list -o name 2>/dev/null) ;;\n"
		     "\t*:--ports|*:--port) words=$(outriggerctl port list -o name 2>/dev/null) ;;\n"
		     "\t*:-o|*:--output) words=\"table wide json name\" ;;\n"
		     "\t*:--context|*:--cert|*:--key|*:--cacert|*:--directory)\n"
		     "\t\tCOMPREPLY=($(compgen -f -- \"$cur\")); return ;;\n"
		     "\t*:show|*:get|*:set|*:update|*:delete|*:rm|*:move|*:enroll-token|*:revoke)\n"
		     "\t\twords=$(outriggerctl \"$noun\" list -o name 2>/dev/null) ;;\n\t*)\n"
		     "\t\tcase $noun:$verb in\n");
	for (const struct cli_noun *n = cli_nouns; n->name; n++) {
		fprintf(out, "\t\t%s:create|%s:set) words=\"", n->name, n->name);
		field_words(out, n);
		fprintf(out, "\" ;;\n");
	}
	fprintf(out, "\t\tprofile:move) words=--host ;;\n\t\t*:show|*:delete)\n"
		     "\t\t\twords=$(outriggerctl \"$noun\" list -o name 2>/dev/null) "
		     ";;\n\t\tesac\n\t\twords=\"$words");
	for (const struct cli_option *o = cli_options; o->name; o++)
		fprintf(out, " %s", o->name);
	fprintf(out, "\" ;;\n\t\tesac\n\tfi\n\tCOMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n}\n"
		     "complete -F _outriggerctl outriggerctl\n");
	return 0;
}

/* Examples and the like: scdoc leaves what is between ``` alone. */
static void literal(FILE *out, const char *text)
{
	fprintf(out, "```\n%s\n```\n\n", text);
}

void cli_reference(FILE *out)
{
	fprintf(out, "# NOUNS\n\n");
	for (const struct cli_noun *n = cli_nouns; n->name; n++) {
		fprintf(out, "## %s\n\n%c%s.\n\n", n->name,
			n->about[0] - ('a' <= n->about[0] && n->about[0] <= 'z' ? 32 : 0), n->about + 1);
		if (n->more)
			fprintf(out, "%s\n\n", n->more);
		for (const struct cli_verb *v = cli_verbs; v < cli_verbs + CLI_NVERBS; v++)
			if (n->verbs & 1u << v->id)
				fprintf(out, "*%s %s* %s%s%s\n\t%s\n\n", n->name, v->name,
					*v->usage ? "" : "", v->usage, "", v->about);
		for (unsigned i = 0; i < n->desc->n_fields; i++) {
			const ProtobufCFieldDescriptor *f = &n->desc->fields[i];
			const struct cli_field *w = cli_field_words(n, f->name);
			char left[96];

			if (!cli_field_writable(f))
				continue;
			field_left(n, f, left, sizeof left);
			fprintf(out, "*%s*\n\t%s\n\n", left, w ? w->about : "A field of the API.");
		}
		literal(out, n->examples);
	}
	fprintf(out, "# OTHER COMMANDS\n\n");
	for (const struct cli_command *c = cli_commands; c->name; c++)
		fprintf(out, "*%s* %s\n\t%s\n\n", c->name, c->usage, c->about);
	fprintf(out, "# OPTIONS\n\n");
	for (const struct cli_option *o = cli_options; o->name; o++)
		fprintf(out, "*%s%s%s* %s\n\t%s\n\n", o->brief ? o->brief : "", o->brief ? ", " : "", o->name,
			o->value ? o->value : "", o->about);
}

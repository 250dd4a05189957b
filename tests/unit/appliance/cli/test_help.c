/* SPDX-License-Identifier: Apache-2.0 */
/* Help, completion and reference say all that the table has. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "appliance/cli/cli.h"

static char *help(const struct cli_args *a)
{
	char *text;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	cli_help(out, a);
	fclose(out);
	return text;
}

static void must_say(const char *text, const char *what)
{
	if (!strstr(text, what))
		fail_msg("\"%s\" is missing in\n%s", what, text);
}

static void every_level_teaches(void **state)
{
	struct cli_args a = {0};
	char *top = help(&a), *text;

	(void)state;
	for (const struct cli_option *o = cli_options; o->name; o++)
		must_say(top, o->name);
	for (const struct cli_noun *n = cli_nouns; n->name; n++) {
		must_say(top, n->about);
		a.noun = n;
		a.verb = NULL;
		text = help(&a);
		must_say(text, "Examples:\n  outriggerctl ");
		for (const struct cli_field *w = n->fields; w->name; w++)
			must_say(text, w->about);
		free(text);
		for (a.verb = cli_verbs; a.verb < cli_verbs + CLI_NVERBS; a.verb++) {
			text = help(&a);
			must_say(text, "Examples:\n  outriggerctl ");
			free(text);
		}
	}
	a = (struct cli_args){0};
	for (const struct cli_command *c = cli_commands; c->name; c++) {
		must_say(top, c->about);
		a.command = c;
		text = help(&a);
		must_say(text, c->about);
		free(text);
	}
	free(top);
}

/* Lines of help fit a terminal; examples may be as long as they are. */
static void help_fits(void **state)
{
	struct cli_args a = {0};

	(void)state;
	for (a.noun = cli_nouns; a.noun->name; a.noun++) {
		char *text = help(&a), *save;

		for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
			if (strlen(line) > 100)
				fail_msg("%zu characters: %s", strlen(line), line);
		free(text);
	}
}

static void completion_and_reference(void **state)
{
	char *text;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	(void)state;
	assert_int_equal(cli_completion(out, "fish"), -EINVAL);
	assert_int_equal(cli_completion(out, "bash"), 0);
	fclose(out);
	for (const struct cli_noun *n = cli_nouns; n->name; n++)
		must_say(text, n->name);
	must_say(text, "vnic:--frontend) words=\"vhost-user tap\" ;;");
	must_say(text, "host) words=\"list show create set delete enroll-token revoke --help\" ;;");
	free(text);
	out = open_memstream(&text, &size);
	cli_reference(out);
	fclose(out);
	must_say(text, "# NOUNS\n");
	must_say(text, "*--size SIZE*\n\t10G, 512M;");
	must_say(text, "*profile move* NAME --host HOST\n");
	free(text);
}

static void nearest(void **state)
{
	static const char *const words[] = {"vnic", "vdisk", "--network", "--mac"};

	(void)state;
	assert_string_equal(cli_nearest("vnci", words, 4), "vnic");
	assert_string_equal(cli_nearest("vdsk", words, 4), "vdisk");
	assert_string_equal(cli_nearest("--netwrk", words, 4), "--network");
	assert_null(cli_nearest("x", words, 4));
	assert_null(cli_nearest("", words, 4));
	assert_null(cli_nearest("something-else", words, 4));
	assert_null(cli_nearest("vnic", words, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_level_teaches),
		cmocka_unit_test(help_fits),
		cmocka_unit_test(completion_and_reference),
		cmocka_unit_test(nearest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "fabric/base/log.h"

/* Standard error of one call, as text. */
static void captured(char *out, size_t size, enum log_level level, const char *text)
{
	int fds[2], saved = dup(STDERR_FILENO);
	ssize_t n;

	assert_int_equal(pipe(fds), 0);
	dup2(fds[1], STDERR_FILENO);
	log_msg(level, "%s", text);
	dup2(saved, STDERR_FILENO);
	close(saved);
	close(fds[1]);
	n = read(fds[0], out, size - 1);
	close(fds[0]);
	out[n > 0 ? n : 0] = 0;
}

static void log__journal_prefix_and_one_line(void **state)
{
	char out[4096];

	(void)state;
	setenv("JOURNAL_STREAM", "8:1", 1);
	log_init("t", LOG_INFO);
	captured(out, sizeof(out), LOG_WARN, "a\nb\x1b[31mc");
	assert_string_equal(out, "<4>a b [31mc\n");
	captured(out, sizeof(out), LOG_DEBUG, "quiet");
	assert_string_equal(out, "");
}

static void log__time_stamp_otherwise(void **state)
{
	char out[4096];

	(void)state;
	unsetenv("JOURNAL_STREAM");
	log_init("prog", LOG_DEBUG);
	captured(out, sizeof(out), LOG_ERR, "disk on fire");
	assert_int_equal(out[10], 'T');
	assert_non_null(strstr(out, " prog["));
	assert_non_null(strstr(out, "error: disk on fire\n"));
}

static void log__overlong_is_cut_not_overrun(void **state)
{
	char text[8000], out[9000];

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = 0;
	captured(out, sizeof(out), LOG_ERR, text);
	assert_in_range(strlen(out), 1000, 2048);
	assert_int_equal(out[strlen(out) - 1], '\n');
}

static void levels_by_name(void **state)
{
	enum log_level l = LOG_ERR;

	(void)state;
	assert_int_equal(log_level_parse("debug", &l), 0);
	assert_int_equal(l, LOG_DEBUG);
	assert_int_equal(log_level_parse("warning", &l), 0);
	assert_int_equal(l, LOG_WARN);
	assert_int_equal(log_level_parse("warn", &l), -EINVAL);
	assert_int_equal(log_level_parse("", &l), -EINVAL);
	assert_int_equal(l, LOG_WARN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(levels_by_name),
		cmocka_unit_test(log__journal_prefix_and_one_line),
		cmocka_unit_test(log__time_stamp_otherwise),
		cmocka_unit_test(log__overlong_is_cut_not_overrun),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

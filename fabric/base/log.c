/* SPDX-License-Identifier: Apache-2.0 */
#include "fabric/base/log.h"

#include <errno.h>
#include <string.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES 2048

/* Written by log_init() alone, before threads exist. */
static struct {
	const char *program;
	enum log_level level;
	bool journal;
} state = {.program = "outrigger", .level = LOG_INFO};

static const struct {
	const char *prefix; /* syslog priority, sd-daemon(3) */
	const char *word;
} levels[] = {
	[LOG_ERR] = {"<3>", "error"},
	[LOG_WARN] = {"<4>", "warning"},
	[LOG_INFO] = {"<6>", "info"},
	[LOG_DEBUG] = {"<7>", "debug"},
};

void log_init(const char *program, enum log_level level)
{
	state.program = program;
	state.level = level;
	state.journal = getenv("JOURNAL_STREAM") != NULL;
}

static int put_head(char *line, size_t size, enum log_level level)
{
	struct timespec ts;
	struct tm tm;
	char when[32];

	if (state.journal)
		return snprintf(line, size, "%s", levels[level].prefix);
	clock_gettime(CLOCK_REALTIME, &ts);
	gmtime_r(&ts.tv_sec, &tm);
	strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &tm);
	return snprintf(line, size, "%s.%03ldZ %s[%d] %s: ", when, ts.tv_nsec / 1000000, state.program,
			(int)getpid(), levels[level].word);
}

void log_msg(enum log_level level, const char *fmt, ...)
{
	char line[LINE_MAX_BYTES];
	int saved = errno;
	va_list ap;
	int head, body;
	size_t len;

	if (level > state.level)
		return;
	head = put_head(line, sizeof(line), level);
	va_start(ap, fmt);
	body = vsnprintf(line + head, sizeof(line) - (size_t)head - 1, fmt, ap);
	va_end(ap);
	if (body < 0)
		body = 0;
	len = (size_t)head + (size_t)body;
	if (len > sizeof(line) - 2)
		len = sizeof(line) - 2;
	/* One event is one line, whatever a peer's text put into it. */
	for (size_t i = (size_t)head; i < len; i++)
		if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
			line[i] = ' ';
	line[len++] = '\n';
	/* When standard error is gone nobody is left to tell. */
	while (write(STDERR_FILENO, line, len) < 0 && errno == EINTR)
		;
	errno = saved;
}

int log_level_parse(const char *text, enum log_level *out)
{
	static const char *const names[] = {
		[LOG_ERR] = "error", [LOG_WARN] = "warning", [LOG_INFO] = "info", [LOG_DEBUG] = "debug"};

	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (!strcmp(text, names[i])) {
			*out = (enum log_level)i;
			return 0;
		}
	}
	return -EINVAL;
}

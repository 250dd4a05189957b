/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "appliance/cli/cli.h"

static const char units[] = "KMGTPE";

int cli_uint_parse(const char *text, uint64_t max, uint64_t *value)
{
	char *end;

	/* strtoull() would take blanks and a minus sign. */
	if (!isdigit((unsigned char)text[0]))
		return -EINVAL;
	errno = 0;
	*value = strtoull(text, &end, 10);
	if (*end)
		return -EINVAL;
	return errno || *value > max ? -ERANGE : 0;
}

/* The digits behind the point as a fraction of 10^n; nine of them are enough for anybody. */
static const char *fraction(const char *p, uint64_t *num, uint64_t *den)
{
	*num = 0;
	*den = 1;
	for (; isdigit((unsigned char)*p); p++) {
		if (*den >= 1000000000u)
			continue;
		*num = *num * 10 + (uint64_t)(*p - '0');
		*den *= 10;
	}
	return p;
}

int cli_size_parse(const char *text, uint64_t *bytes)
{
	uint64_t whole, num = 0, den = 1;
	unsigned __int128 total;
	const char *unit;
	unsigned shift = 0;
	char *p;

	if (!isdigit((unsigned char)text[0]))
		return -EINVAL;
	errno = 0;
	whole = strtoull(text, &p, 10);
	if (errno)
		return -ERANGE;
	if (*p == '.')
		p = (char *)fraction(p + 1, &num, &den);
	unit = *p ? strchr(units, toupper((unsigned char)*p)) : NULL;
	if (unit) {
		shift = 10u * (unsigned)(unit - units + 1);
		p++;
		if (*p == 'i')
			p++;
	}
	if (*p == 'B' || (shift == 0 && *p == 'b'))
		p++;
	if (*p || (den > 1 && shift == 0))
		return -EINVAL;
	total = ((unsigned __int128)whole << shift) + (((unsigned __int128)num << shift) / den);
	if (total > UINT64_MAX)
		return -ERANGE;
	*bytes = (uint64_t)total;
	return 0;
}

void cli_size_text(uint64_t bytes, char *out, size_t size)
{
	unsigned u = 0;
	uint64_t tenths;

	if (bytes < 1024) {
		snprintf(out, size, "%" PRIu64, bytes);
		return;
	}
	while (u < 5 && bytes >> (10 * (u + 2)))
		u++;
	tenths = (uint64_t)((((unsigned __int128)bytes * 10) + (1ull << (10 * (u + 1) - 1))) >>
			    (10 * (u + 1)));
	/* 1023.96 K rounds to 1024.0 K. */
	if (tenths >= 10240 && u < 5) {
		tenths = 10;
		u++;
	}
	if (tenths % 10 == 0)
		snprintf(out, size, "%" PRIu64 "%c", tenths / 10, units[u]);
	else
		snprintf(out, size, "%" PRIu64 ".%" PRIu64 "%c", tenths / 10, tenths % 10, units[u]);
}

void cli_span_text(int64_t s, char *out, size_t size)
{
	if (s < 0)
		s = 0;
	if (s < 60)
		snprintf(out, size, "%" PRId64 "s", s);
	else if (s < 3600)
		snprintf(out, size, "%" PRId64 "m%" PRId64 "s", s / 60, s % 60);
	else if (s < 86400)
		snprintf(out, size, "%" PRId64 "h%" PRId64 "m", s / 3600, s / 60 % 60);
	else
		snprintf(out, size, "%" PRId64 "d%" PRId64 "h", s / 86400, s / 3600 % 24);
}

void cli_time_text(int64_t t, int64_t now, char *out, size_t size)
{
	char at[32] = "?", span[32];
	time_t tt = (time_t)t;
	struct tm tm;

	if (gmtime_r(&tt, &tm))
		strftime(at, sizeof at, "%Y-%m-%d %H:%M:%SZ", &tm);
	cli_span_text(t > now ? t - now : now - t, span, sizeof span);
	if (t > now)
		snprintf(out, size, "%s (in %s)", at, span);
	else
		snprintf(out, size, "%s (%s ago)", at, span);
}

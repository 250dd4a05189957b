/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "fabric/link/link_impair.h"

enum kind { SHARE, TIME, NUMBER };

struct unit {
	const char *suffix;
	uint64_t scale; /* of one whole, in ppm, ns or ones */
};

static const struct unit shares[] = {{"%", 10000}, {"ppm", 1}, {NULL, 0}};
static const struct unit times[] = {{"ns", 1}, {"us", 1000}, {"ms", 1000000}, {"s", 1000000000}, {NULL, 0}};
static const struct unit numbers[] = {{"", 1}, {NULL, 0}};

static const struct {
	const struct unit *units;
	uint64_t max;
	const char *wants;
} kinds[] = {
	[SHARE] = {shares, 1000000, "a share of 0% to 100%, as 1%, 0.01% or 50ppm"},
	[TIME] = {times, IMPAIR_DELAY_MAX, "a time of at most 10s, as 2ms or 500us"},
	[NUMBER] = {numbers, UINT64_MAX, "a whole number"},
};

static const struct {
	const char *name;
	enum kind kind;
} fields[] = {
	{"drop", SHARE}, {"dup", SHARE},   {"reorder", SHARE}, {"corrupt", SHARE},
	{"delay", TIME}, {"jitter", TIME}, {"seed", NUMBER},
};
#define NFIELDS (sizeof(fields) / sizeof(fields[0]))

__attribute__((format(printf, 3, 4))) static int complain(char *why, size_t len, const char *fmt, ...)
{
	va_list ap;

	if (why && len) {
		va_start(ap, fmt);
		vsnprintf(why, len, fmt, ap);
		va_end(ap);
	}
	return -EINVAL;
}

/* digits[.digits]suffix, exactly; no more than the scale can hold behind the point. */
static int parse_value(uint64_t *out, const char *text, size_t len, enum kind kind)
{
	const struct unit *u = kinds[kind].units;
	uint64_t whole = 0, part = 0, unit = 1;
	size_t i = 0, digits = 0;

	for (; i < len && text[i] >= '0' && text[i] <= '9'; i++, digits++)
		if (__builtin_mul_overflow(whole, 10u, &whole) ||
		    __builtin_add_overflow(whole, (uint64_t)(text[i] - '0'), &whole))
			return -EINVAL;
	if (i < len && text[i] == '.')
		for (i++; i < len && text[i] >= '0' && text[i] <= '9' && unit < 1000000000; i++, unit *= 10)
			part = part * 10 + (uint64_t)(text[i] - '0');
	if (!digits)
		return -EINVAL;
	while (u->suffix && (strlen(u->suffix) != len - i || memcmp(u->suffix, text + i, len - i)))
		u++;
	if (!u->suffix || part * u->scale % unit)
		return -EINVAL;
	part = part * u->scale / unit;
	if (__builtin_mul_overflow(whole, u->scale, &whole) || __builtin_add_overflow(whole, part, out))
		return -EINVAL;
	return *out <= kinds[kind].max ? 0 : -EINVAL;
}

int link_impair_parse(struct link_impair_cfg *cfg, const char *text, char *why, size_t why_len)
{
	uint64_t v[NFIELDS] = {0};
	bool seen[NFIELDS] = {false};

	for (const char *at = text; *at || at == text;) {
		size_t len = strcspn(at, ","), key = strcspn(at, "=,"), f = 0;

		while (f < NFIELDS && (strlen(fields[f].name) != key || memcmp(fields[f].name, at, key)))
			f++;
		if (f == NFIELDS || key == len)
			return complain(
				why, why_len,
				"'%.*s' is none of drop=, dup=, reorder=, corrupt=, delay=, jitter=, seed=",
				(int)len, at);
		if (seen[f])
			return complain(why, why_len, "'%s' is given twice", fields[f].name);
		seen[f] = true;
		if (parse_value(&v[f], at + key + 1, len - key - 1, fields[f].kind))
			return complain(why, why_len, "'%.*s': %s wants %s", (int)len, at, fields[f].name,
					kinds[fields[f].kind].wants);
		at += len;
		if (*at == ',' && !*++at)
			return complain(why, why_len, "nothing follows the last comma");
	}
	*cfg = (struct link_impair_cfg){.drop_ppm = (uint32_t)v[0],
					.dup_ppm = (uint32_t)v[1],
					.reorder_ppm = (uint32_t)v[2],
					.corrupt_ppm = (uint32_t)v[3],
					.delay_ns = v[4],
					.jitter_ns = v[5],
					.seed = v[6]};
	return 0;
}

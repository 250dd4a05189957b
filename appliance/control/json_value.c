/* SPDX-License-Identifier: Apache-2.0 */
/* Single values of the JSON mapping: numbers, base64, strings. */
#include "appliance/control/json_impl.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

bool json_is_map(const ProtobufCFieldDescriptor *f)
{
	const ProtobufCMessageDescriptor *d = f->descriptor;
	size_t n;

	if (f->type != PROTOBUF_C_TYPE_MESSAGE || f->label != PROTOBUF_C_LABEL_REPEATED || d->n_fields != 2)
		return false;
	n = strlen(d->short_name);
	return n > 5 && !strcmp(d->short_name + n - 5, "Entry") && !strcmp(d->fields[0].name, "key") &&
	       !strcmp(d->fields[1].name, "value");
}

/* Digits alone after an optional sign: strtoll() would take blanks and "+". */
static bool is_decimal(const char *s, bool sign)
{
	if (sign && *s == '-')
		s++;
	return *s && strspn(s, "0123456789") == strlen(s);
}

bool json_get_signed(const json_t *j, int64_t min, int64_t max, int64_t *out)
{
	int64_t v;

	if (json_is_integer(j)) {
		v = json_integer_value(j);
	} else if (json_is_real(j)) {
		double d = json_real_value(j);

		/* 2^63 is exact as a double, 2^63 - 1 is not. */
		if (d != trunc(d) || d < -0x1p63 || d >= 0x1p63)
			return false;
		v = (int64_t)d;
	} else if (json_is_string(j) && is_decimal(json_string_value(j), true)) {
		errno = 0;
		v = strtoll(json_string_value(j), NULL, 10);
		if (errno)
			return false;
	} else {
		return false;
	}
	*out = v;
	return v >= min && v <= max;
}

bool json_get_unsigned(const json_t *j, uint64_t max, uint64_t *out)
{
	uint64_t v;

	if (json_is_integer(j)) {
		if (json_integer_value(j) < 0)
			return false;
		v = (uint64_t)json_integer_value(j);
	} else if (json_is_real(j)) {
		double d = json_real_value(j);

		if (d != trunc(d) || d < 0 || d >= 0x1p64)
			return false;
		v = (uint64_t)d;
	} else if (json_is_string(j) && is_decimal(json_string_value(j), false)) {
		errno = 0;
		v = strtoull(json_string_value(j), NULL, 10);
		if (errno)
			return false;
	} else {
		return false;
	}
	*out = v;
	return v <= max;
}

bool json_get_double(const json_t *j, double *out)
{
	const char *s = json_string_value(j);
	char *end;

	if (json_is_number(j)) {
		*out = json_number_value(j);
		return true;
	}
	if (!s)
		return false;
	if (!strcmp(s, "NaN") || !strcmp(s, "Infinity") || !strcmp(s, "-Infinity")) {
		*out = s[0] == 'N' ? NAN : s[0] == 'I' ? INFINITY : -INFINITY;
		return true;
	}
	if (!*s || strspn(s, "0123456789+-.eE") != strlen(s) || s[0] == '+')
		return false;
	*out = strtod(s, &end);
	return *end == '\0';
}

static int base64_digit(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' || c == '-' ? 62 : c == '/' || c == '_' ? 63 : -1;
}

uint8_t *json_base64_decode(const char *text, size_t *len, bool *ok)
{
	size_t n = strlen(text), out = 0, pad = 0;
	uint32_t acc = 0;
	uint8_t *buf;

	while (pad < 2 && n > 0 && text[n - 1] == '=')
		n--, pad++;
	*ok = n % 4 != 1 && (pad == 0 || (n + pad) % 4 == 0);
	buf = *ok ? malloc(n / 4 * 3 + 3) : NULL;
	*ok = buf != NULL;
	for (size_t i = 0; *ok && i < n; i++) {
		int d = base64_digit(text[i]);

		if (d < 0)
			*ok = false;
		acc = acc << 6 | (uint32_t)d;
		if (i % 4 == 3) {
			buf[out++] = (uint8_t)(acc >> 16);
			buf[out++] = (uint8_t)(acc >> 8);
			buf[out++] = (uint8_t)acc;
			acc = 0;
		}
	}
	if (!*ok) {
		free(buf);
		return NULL;
	}
	if (n % 4 == 2) {
		buf[out++] = (uint8_t)(acc >> 4);
	} else if (n % 4 == 3) {
		buf[out++] = (uint8_t)(acc >> 10);
		buf[out++] = (uint8_t)(acc >> 2);
	}
	*len = out;
	return buf;
}

char *json_base64_encode(const uint8_t *bytes, size_t len)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	char *text = malloc((len + 2) / 3 * 4 + 1), *p = text;

	if (!text)
		return NULL;
	for (size_t i = 0; i < len; i += 3) {
		size_t left = len - i;
		uint32_t v = (uint32_t)bytes[i] << 16 | (left > 1 ? (uint32_t)bytes[i + 1] << 8 : 0) |
			     (left > 2 ? bytes[i + 2] : 0);

		*p++ = digits[v >> 18];
		*p++ = digits[v >> 12 & 63];
		*p++ = left > 1 ? digits[v >> 6 & 63] : '=';
		*p++ = left > 2 ? digits[v & 63] : '=';
	}
	*p = '\0';
	return text;
}

/* Well-formed UTF-8 (RFC 3629) without C0 controls but tab and newline. */
static bool text_ok(const char *text)
{
	const uint8_t *s = (const uint8_t *)text;

	while (*s) {
		unsigned more = *s < 0x80 ? 0 : *s >= 0xc2 && *s < 0xe0 ? 1 : (*s & 0xf0) == 0xe0 ? 2 : 3;
		uint32_t c = more ? *s & (0x3fu >> more) : *s;

		if ((*s >= 0x80 && *s < 0xc2) || *s > 0xf4 || (*s < 0x20 && *s != '\t' && *s != '\n') ||
		    *s == 0x7f)
			return false;
		s++;
		for (unsigned i = 0; i < more; i++, s++) {
			if ((*s & 0xc0) != 0x80)
				return false;
			c = c << 6 | (*s & 0x3f);
		}
		if ((more == 2 && c < 0x800) || (more == 3 && c < 0x10000) || (c >= 0xd800 && c < 0xe000) ||
		    c > 0x10ffff)
			return false;
	}
	return true;
}

static int check_field(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f, struct api_err *err)
{
	const void *at = (const char *)m + f->offset;
	size_t n = f->label == PROTOBUF_C_LABEL_REPEATED ? field_strings(m, f) : field_is_set(m, f);

	for (size_t i = 0; i < n; i++) {
		if (f->type == PROTOBUF_C_TYPE_STRING && !text_ok(field_string(m, f, i)))
			return api_fail(err, API_INVALID_ARGUMENT, "%s: is not printable UTF-8 text",
					f->name);
		if (f->type == PROTOBUF_C_TYPE_MESSAGE &&
		    message_check_strings(f->label == PROTOBUF_C_LABEL_REPEATED
						  ? (*(ProtobufCMessage *const *const *)at)[i]
						  : *(ProtobufCMessage *const *)at,
					  err))
			return -1;
	}
	return 0;
}

int message_check_strings(const ProtobufCMessage *m, struct api_err *err)
{
	for (unsigned i = 0; i < m->descriptor->n_fields; i++)
		if (check_field(m, &m->descriptor->fields[i], err))
			return -1;
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "appliance/cli/http.h"

struct head {
	int status;
	size_t length; /* of the header block, blank line included */
	bool chunked;
	bool has_content;
	size_t content;
};

static int digit(char c)
{
	const char *hex = "0123456789abcdef", *at = c ? strchr(hex, tolower((unsigned char)c)) : NULL;

	return at ? (int)(at - hex) : -1;
}

/* Digits of a base up to `end`; -EPROTO for none or too many. */
static int read_length(const char *p, const char *end, int base, size_t *out)
{
	const char *start = p;

	for (*out = 0; p < end && digit(*p) >= 0 && digit(*p) < base; p++) {
		*out = *out * (size_t)base + (size_t)digit(*p);
		if (*out > HTTP_ANSWER_MAX)
			return -EPROTO;
	}
	while (p < end && (*p == ' ' || *p == '\t'))
		p++;
	return p > start && (p == end || *p == ';') ? 0 : -EPROTO;
}

static int read_header(struct head *h, const char *line, const char *end)
{
	static const char length[] = "content-length:", transfer[] = "transfer-encoding:";
	size_t n = (size_t)(end - line);

	if (n >= sizeof length - 1 && strncasecmp(line, length, sizeof length - 1) == 0) {
		line += sizeof length - 1;
		while (line < end && *line == ' ')
			line++;
		if (h->has_content)
			return -EPROTO;
		h->has_content = true;
		return read_length(line, end, 10, &h->content);
	}
	if (n >= sizeof transfer - 1 && strncasecmp(line, transfer, sizeof transfer - 1) == 0) {
		line += sizeof transfer - 1;
		while (line < end && *line == ' ')
			line++;
		if ((size_t)(end - line) != 7 || strncasecmp(line, "chunked", 7))
			return -EPROTO;
		h->chunked = true;
	}
	return 0;
}

static int read_head(const char *bytes, size_t n, struct head *h)
{
	const char *stop = memmem(bytes, n, "\r\n\r\n", 4), *line, *end;
	int ret;

	*h = (struct head){0};
	if (!stop)
		return n > 65536 ? -EPROTO : -EAGAIN;
	if (n < 12 || strncmp(bytes, "HTTP/1.", 7) || bytes[8] != ' ')
		return -EPROTO;
	for (int i = 9; i < 12; i++) {
		if (!isdigit((unsigned char)bytes[i]))
			return -EPROTO;
		h->status = h->status * 10 + bytes[i] - '0';
	}
	h->length = (size_t)(stop - bytes) + 4;
	for (line = memmem(bytes, n, "\r\n", 2); line < stop; line = end) {
		line += 2;
		end = memmem(line, (size_t)(stop + 2 - line), "\r\n", 2);
		ret = read_header(h, line, end);
		if (ret)
			return ret;
	}
	/* Both is how smuggling begins (RFC 9112, 6.3). */
	return h->chunked && h->has_content ? -EPROTO : 0;
}

static int read_chunks(const char *p, size_t n, struct http_answer *a)
{
	for (;;) {
		const char *eol = memmem(p, n, "\r\n", 2);
		size_t size, line;
		int ret;

		if (!eol)
			return n > 1024 ? -EPROTO : -EAGAIN;
		ret = read_length(p, eol, 16, &size);
		if (ret)
			return ret;
		line = (size_t)(eol - p) + 2;
		if (size == 0)
			return 0; /* trailers, if any, say nothing we need */
		if (n - line < size + 2)
			return -EAGAIN;
		memcpy(a->body + a->len, p + line, size);
		a->len += size;
		if (memcmp(p + line + size, "\r\n", 2))
			return -EPROTO;
		p += line + size + 2;
		n -= line + size + 2;
	}
}

int http_parse(const char *bytes, size_t n, bool eof, struct http_answer *a)
{
	struct head h;
	size_t left;
	int ret = read_head(bytes, n, &h);

	*a = (struct http_answer){0};
	if (ret)
		return ret == -EAGAIN && eof ? -EPROTO : ret;
	left = n - h.length;
	if (!h.chunked && h.has_content && left < h.content)
		return eof ? -EPROTO : -EAGAIN;
	if (!h.chunked && !h.has_content && !eof)
		return -EAGAIN;
	a->status = h.status;
	a->body = malloc(left + 1);
	if (!a->body)
		return -ENOMEM;
	if (h.chunked) {
		ret = read_chunks(bytes + h.length, left, a);
	} else {
		a->len = h.has_content ? h.content : left;
		memcpy(a->body, bytes + h.length, a->len);
	}
	a->body[a->len] = 0;
	if (ret)
		http_answer_fini(a);
	return ret == -EAGAIN && eof ? -EPROTO : ret;
}

void http_answer_fini(struct http_answer *a)
{
	free(a->body);
	*a = (struct http_answer){0};
}

char *http_request(const char *host, const char *method, const char *token, const char *body,
		   unsigned timeout_ms, size_t *len)
{
	char *text;
	int n = asprintf(&text,
			 "POST /%s HTTP/1.1\r\n"
			 "Host: %s\r\n"
			 "User-Agent: outriggerctl/" OUTRIGGER_VERSION "\r\n"
			 "Content-Type: application/json\r\n"
			 "Connect-Protocol-Version: 1\r\n"
			 "Connect-Timeout-Ms: %u\r\n"
			 "%s%s%s"
			 "Content-Length: %zu\r\n"
			 "Connection: close\r\n"
			 "\r\n"
			 "%s",
			 method, host, timeout_ms, token ? "Authorization: Bearer " : "", token ? token : "",
			 token ? "\r\n" : "", strlen(body), body);

	if (n < 0)
		return NULL;
	*len = (size_t)n;
	return text;
}

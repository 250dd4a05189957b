/* SPDX-License-Identifier: Apache-2.0 */
/* Answers, whole and in every piece; requests; addresses of the API. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "appliance/cli/https.h"

#define OK "HTTP/1.1 200 OK\r\n"

static const struct {
	const char *bytes;
	bool eof;	  /* only the connection's end ends it */
	int ret;	  /* with all bytes there */
	const char *body; /* if ret is 0 */
} rows[] = {
	{OK "Content-Length: 2\r\n\r\n{}", false, 0, "{}"},
	{OK "content-length:2\r\n\r\n{}", false, 0, "{}"},
	{OK "Content-Length: 0\r\n\r\n", false, 0, ""},
	{OK "Content-Length: 2\r\n\r\n{}more", false, 0, "{}"},
	{OK "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1;x=y\r\n}\r\n0\r\n\r\n", false, 0, "{}"},
	{OK "transfer-encoding: Chunked\r\n\r\nA\r\n0123456789\r\n0\r\n\r\n", false, 0, "0123456789"},
	{OK "\r\n{}", true, 0, "{}"},
	{OK "Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", false, -EPROTO, NULL},
	{OK "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", false, -EPROTO, NULL},
	{OK "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", false, -EPROTO, NULL},
	{OK "Content-Length: -2\r\n\r\n{}", false, -EPROTO, NULL},
	{OK "Content-Length: 2x\r\n\r\n{}", false, -EPROTO, NULL},
	{OK "Content-Length:\r\n\r\n{}", false, -EPROTO, NULL},
	{OK "Content-Length: 99999999999999999999999\r\n\r\n{}", false, -EPROTO, NULL},
	{OK "Transfer-Encoding: chunked\r\n\r\nx\r\n", false, -EPROTO, NULL},
	{OK "Transfer-Encoding: chunked\r\n\r\n1\r\n{}\r\n0\r\n\r\n", false, -EPROTO, NULL},
	{OK "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n{", false, -EPROTO, NULL},
	{"HTTP/2 200\r\n\r\n", false, -EPROTO, NULL},
	{"HTTP/1.1 2x0 OK\r\n\r\n", false, -EPROTO, NULL},
	{"SSH-2.0-OpenSSH\r\n\r\n", false, -EPROTO, NULL},
};

static void answers_in_every_piece(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		size_t n = strlen(rows[i].bytes);
		struct http_answer a;
		int ret = http_parse(rows[i].bytes, n, rows[i].eof, &a);

		if (ret != rows[i].ret || (!ret && (strcmp(a.body, rows[i].body) || a.status != 200)))
			fail_msg("row %zu: %d", i, ret);
		if (!ret)
			http_answer_fini(&a);
		/* Any shorter piece asks for more, or fails, or (surplus bytes) is whole; never crashes. */
		for (size_t part = 0; part < n; part++) {
			char *exact = malloc(part + 1);

			memcpy(exact, rows[i].bytes, part);
			ret = http_parse(exact, part, false, &a);
			if (!ret)
				http_answer_fini(&a);
			assert_true(ret == -EAGAIN || ret == rows[i].ret);
			/* Cut short by the connection's end is no answer. */
			ret = http_parse(exact, part, true, &a);
			if (!ret)
				http_answer_fini(&a);
			if (part < 19)
				assert_int_equal(ret, -EPROTO);
			free(exact);
		}
	}
}

static void cut_short_is_no_answer(void **state)
{
	static const char *const cut[] = {OK "Content-Length: 3\r\n\r\n{}",
					  OK "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", OK "Content-"};
	struct http_answer a;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(http_parse(cut[i], strlen(cut[i]), false, &a), -EAGAIN);
		assert_int_equal(http_parse(cut[i], strlen(cut[i]), true, &a), -EPROTO);
	}
}

static void request_text(void **state)
{
	size_t n;
	char *text = http_request("h:1", "a.B/C", "secret", "{}", 5000, &n);

	(void)state;
	assert_int_equal(n, strlen(text));
	assert_int_equal(strncmp(text, "POST /a.B/C HTTP/1.1\r\nHost: h:1\r\n", 33), 0);
	assert_non_null(strstr(text, "\r\nAuthorization: Bearer secret\r\nContent-Length: 2\r\n"));
	assert_non_null(strstr(text, "\r\nConnect-Timeout-Ms: 5000\r\n"));
	assert_string_equal(text + n - 6, "\r\n\r\n{}");
	free(text);
	text = http_request("h:1", "a.B/C", NULL, "{}", 5000, &n);
	assert_null(strstr(text, "Authorization"));
	free(text);
}

static void api_addresses(void **state)
{
	static const struct {
		const char *api, *host, *port;
	} good[] = {
		{"127.0.0.1:7443", "127.0.0.1", "7443"},
		{"appliance", "appliance", "7443"},
		{"https://appliance:1/", "appliance", "1"},
		{"https://appliance/x", "appliance", "7443"},
		{"[::1]:9", "::1", "9"},
		{"https://[fd00::1]", "fd00::1", "7443"},
	};
	static const char *const bad[] = {"",	 ":1",	       "h:",   "h:0",  "h:65536",
					  "h:x", "http://h:1", "[::1", "[]:1", "[::1]x"};
	struct context c;

	(void)state;
	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
		assert_int_equal(context_api(&c, good[i].api), 0);
		assert_string_equal(c.host, good[i].host);
		assert_string_equal(c.port, good[i].port);
	}
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		if (context_api(&c, bad[i]) == 0)
			fail_msg("%s passed", bad[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_in_every_piece),
		cmocka_unit_test(cut_short_is_no_answer),
		cmocka_unit_test(request_text),
		cmocka_unit_test(api_addresses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

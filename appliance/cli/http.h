/* SPDX-License-Identifier: Apache-2.0 */
/*
 * As much of HTTP/1.1 (RFC 9112) as one POST and its answer need, without a socket: bytes in,
 * answer out. Bodies by Content-Length, chunked, or up to the connection's end.
 */
#ifndef OUTRIGGER_CLI_HTTP_H
#define OUTRIGGER_CLI_HTTP_H

#include <stdbool.h>
#include <stddef.h>

#define HTTP_ANSWER_MAX (64u << 20) /* bytes, headers included */

struct http_answer {
	int status;
	char *body; /* owned; NUL-terminated for convenience */
	size_t len;
};

/*
 * Look at what has come so far; eof: nothing more will. 0: whole, *a filled. -EAGAIN: more must
 * come. -EPROTO: not an answer we understand, or cut short. -ENOMEM.
 */
int http_parse(const char *bytes, size_t n, bool eof, struct http_answer *a);
void http_answer_fini(struct http_answer *a);

/* The request: JSON to /method at host (as in the Host header); malloc'ed. token may be NULL. */
char *http_request(const char *host, const char *method, const char *token, const char *body,
		   unsigned timeout_ms, size_t *len);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#include "hostagent/control/https.h"

#include <errno.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "fabric/chan/pki.h"

#define REPLY_MAX (128u << 10)
#define TIMEOUT_S 15

struct request {
	const char *address;
	char host[256], port[8];
	char *why;
	size_t why_size;
	int fd;
	SSL *ssl;
};

static int fail(struct request *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static int fail(struct request *r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(r->why, r->why_size, fmt, ap);
	va_end(ap);
	return -1;
}

static int split(struct request *r, uint16_t default_port)
{
	const char *a = r->address, *end = a[0] == '[' ? strchr(a, ']') : NULL, *colon;
	const char *host = end ? a + 1 : a;
	size_t n;

	colon = strrchr(end ? end : a, ':');
	if (!end && colon && strchr(a, ':') != colon)
		colon = NULL; /* an IPv6 address without brackets has no port */
	n = end ? (size_t)(end - host) : colon ? (size_t)(colon - host) : strlen(host);
	if (n == 0 || n >= sizeof(r->host))
		return fail(r, "\"%.64s\" is not ADDRESS or ADDRESS:PORT", a);
	memcpy(r->host, host, n);
	r->host[n] = '\0';
	snprintf(r->port, sizeof(r->port), "%u", default_port);
	if (colon) {
		if (!colon[1] || strlen(colon + 1) > 5 ||
		    strspn(colon + 1, "0123456789") != strlen(colon + 1))
			return fail(r, "\"%.64s\" has no port number", a);
		snprintf(r->port, sizeof(r->port), "%s", colon + 1);
	}
	return 0;
}

static int dial(struct request *r)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
	struct timeval tv = {.tv_sec = TIMEOUT_S};
	int rc = getaddrinfo(r->host, r->port, &hints, &list), err = EHOSTUNREACH;

	if (rc)
		return fail(r, "%s: %s", r->host, gai_strerror(rc));
	for (struct addrinfo *ai = list; ai && r->fd < 0; ai = ai->ai_next) {
		r->fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (r->fd < 0)
			continue;
		setsockopt(r->fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)); /* connect(2) too */
		setsockopt(r->fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
		if (connect(r->fd, ai->ai_addr, ai->ai_addrlen) == 0)
			break;
		err = errno == EINPROGRESS ? ETIMEDOUT : errno;
		close(r->fd);
		r->fd = -1;
	}
	freeaddrinfo(list);
	return r->fd < 0 ? fail(r, "%s port %s: %s; is the appliance running and its API there?", r->host,
				r->port, strerror(err))
			 : 0;
}

static int handshake(struct request *r, const uint8_t ca_sha256[32])
{
	char name[65], role[65];
	uint8_t fp[PKI_FINGERPRINT_LEN];
	struct pki_why why;
	SSL_CTX *ctx = pki_pinned_ctx(ca_sha256, &why);

	if (!ctx)
		return fail(r, "%s", why.text);
	r->ssl = SSL_new(ctx);
	SSL_CTX_free(ctx);
	if (!r->ssl || !SSL_set_fd(r->ssl, r->fd))
		return fail(r, "TLS cannot be set up");
	if (SSL_connect(r->ssl) != 1) {
		unsigned long e = ERR_peek_last_error();

		if (SSL_get_verify_result(r->ssl) != X509_V_OK)
			return fail(r, "%s port %s is not the appliance that made this token", r->host,
				    r->port);
		return fail(r, "%s port %s: no TLS 1.3 connection: %s", r->host, r->port,
			    e ? ERR_reason_error_string(e) : "the peer closed or did not answer");
	}
	if (pki_peer(r->ssl, name, role, fp) || strcmp(role, PKI_ROLE_APPLIANCE) != 0)
		return fail(r, "%s port %s is not the appliance that made this token", r->host, r->port);
	return 0;
}

static int write_all(struct request *r, const void *bytes, size_t len)
{
	size_t n;

	/* Blocking, so all of it or an error. */
	if (len && SSL_write_ex(r->ssl, bytes, len, &n) != 1)
		return fail(r, "%s port %s: the request cannot be sent; is that the port of the API?",
			    r->host, r->port);
	return 0;
}

/* To the end of the connection: the request asked for Connection: close. */
static int read_all(struct request *r, char **out, size_t *len)
{
	char *buf = malloc(REPLY_MAX + 1);
	size_t n = 0, got;

	if (!buf)
		return fail(r, "no memory");
	while (n < REPLY_MAX && SSL_read_ex(r->ssl, buf + n, REPLY_MAX - n, &got) == 1)
		n += got;
	buf[n] = '\0';
	*out = buf;
	*len = n;
	return n == REPLY_MAX ? fail(r, "%s port %s: the answer is too long", r->host, r->port) : 0;
}

/* A status line, headers with a Content-Length that holds, a body. */
static int parse_reply(struct request *r, char *text, size_t len, struct https_reply *out)
{
	char *end = strstr(text, "\r\n\r\n"), *line;
	long want = -1;

	if (!end || sscanf(text, "HTTP/1.%*1d %3d", &out->status) != 1)
		return fail(r, "%s port %s does not answer as an appliance's API does", r->host, r->port);
	*end = '\0';
	for (line = strstr(text, "\r\n"); line; line = strstr(line + 2, "\r\n"))
		if (!strncasecmp(line + 2, "Content-Length:", 15))
			want = strtol(line + 17, NULL, 10);
	end += 4;
	if (want < 0 || (size_t)want != len - (size_t)(end - text))
		return fail(r, "%s port %s: the answer is cut short", r->host, r->port);
	out->body_len = (size_t)want;
	out->body = malloc(out->body_len + 1);
	if (!out->body)
		return fail(r, "no memory");
	memcpy(out->body, end, out->body_len);
	out->body[out->body_len] = '\0';
	return 0;
}

static int exchange(struct request *r, const char *path, const char *type, const void *body, size_t len,
		    struct https_reply *out)
{
	char head[700], *text = NULL;
	size_t n = 0;
	int rc;

	snprintf(head, sizeof(head),
		 "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
		 "Connect-Protocol-Version: 1\r\nConnection: close\r\n\r\n",
		 path, r->host, type, len);
	rc = write_all(r, head, strlen(head));
	if (!rc)
		rc = write_all(r, body, len);
	if (!rc)
		rc = read_all(r, &text, &n);
	if (!rc)
		rc = parse_reply(r, text, n, out);
	free(text);
	return rc;
}

int https_post(const char *address, uint16_t default_port, const uint8_t ca_sha256[32], const char *path,
	       const char *type, const void *body, size_t len, struct https_reply *out, char *why,
	       size_t why_size)
{
	struct request r = {.address = address, .why = why, .why_size = why_size, .fd = -1};
	int rc;

	memset(out, 0, sizeof(*out));
	ERR_clear_error();
	rc = split(&r, default_port);
	if (!rc)
		rc = dial(&r);
	if (!rc)
		rc = handshake(&r, ca_sha256);
	if (!rc)
		rc = exchange(&r, path, type, body, len, out);
	SSL_free(r.ssl);
	if (r.fd >= 0)
		close(r.fd);
	ERR_clear_error();
	return rc;
}

void https_reply_clear(struct https_reply *r)
{
	free(r->body);
	memset(r, 0, sizeof(*r));
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <arpa/inet.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "appliance/cli/https.h"

struct call {
	const struct context *c;
	int fd;
	SSL_CTX *ctx;
	SSL *ssl;
	int64_t deadline; /* ms */
	char *why;
	size_t size;
};

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static int late(struct call *k)
{
	snprintf(k->why, k->size, "no answer from %s port %s within %u s", k->c->host, k->c->port,
		 k->c->timeout);
	return -ETIMEDOUT;
}

/* 0 when the socket is ready for `events`. */
static int wait_for(struct call *k, short events)
{
	struct pollfd p = {.fd = k->fd, .events = events};

	for (;;) {
		int64_t left = k->deadline - now_ms();
		int n = left > 0 ? poll(&p, 1, (int)(left > 1000000 ? 1000000 : left)) : 0;

		if (n > 0)
			return 0;
		if (n == 0 && k->deadline <= now_ms())
			return late(k);
		if (n < 0 && errno != EINTR)
			return -errno;
	}
}

static int connect_one(struct call *k, const struct addrinfo *ai)
{
	int one = 1, err = 0, ret;
	socklen_t len = sizeof err;

	k->fd = socket(ai->ai_family, ai->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, ai->ai_protocol);
	if (k->fd < 0)
		return -errno;
	setsockopt(k->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	if (connect(k->fd, ai->ai_addr, ai->ai_addrlen) == 0)
		return 0;
	ret = -errno;
	if (ret == -EINPROGRESS) {
		ret = wait_for(k, POLLOUT);
		if (ret == 0 && getsockopt(k->fd, SOL_SOCKET, SO_ERROR, &err, &len) == 0)
			ret = -err;
	}
	if (ret) {
		close(k->fd);
		k->fd = -1;
	}
	return ret;
}

static int dial(struct call *k)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG}, *list;
	int ret = getaddrinfo(k->c->host, k->c->port, &hints, &list);

	/* A loopback address must work where no other is configured. */
	if (ret) {
		hints.ai_flags = 0;
		ret = getaddrinfo(k->c->host, k->c->port, &hints, &list);
	}
	if (ret) {
		snprintf(k->why, k->size, "%s: %s", k->c->host, gai_strerror(ret));
		return -EHOSTUNREACH;
	}
	for (const struct addrinfo *ai = list; ai; ai = ai->ai_next) {
		ret = connect_one(k, ai);
		if (ret == 0 || ret == -ETIMEDOUT)
			break;
	}
	freeaddrinfo(list);
	if (ret && ret != -ETIMEDOUT)
		snprintf(k->why, k->size, "%s port %s: %s. Is outriggerd running there?", k->c->host,
			 k->c->port, strerror(-ret));
	return ret;
}

static int tls_error(struct call *k, const char *what)
{
	unsigned long e = ERR_get_error();
	const char *reason = ERR_SYSTEM_ERROR(e) ? strerror(ERR_GET_REASON(e)) : ERR_reason_error_string(e);

	snprintf(k->why, k->size, "%s: %s", what, e && reason ? reason : "connection closed");
	return -EPROTO;
}

/* A file of ours that cannot be used is the command line's fault. */
static int file_error(struct call *k, const char *file, const char *is)
{
	char what[4200];

	snprintf(what, sizeof what, "%s: cannot be used as %s", file, is);
	tls_error(k, what);
	return -EINVAL;
}

static int load(struct call *k)
{
	const struct context *c = k->c;

	ERR_clear_error();
	k->ctx = SSL_CTX_new(TLS_client_method());
	if (!k->ctx || !SSL_CTX_set_min_proto_version(k->ctx, TLS1_3_VERSION))
		return tls_error(k, "TLS");
	SSL_CTX_set_verify(k->ctx, SSL_VERIFY_PEER, NULL);
	/* Only our appliance's own CA signs for it; the system's authorities do not count. */
	if (!SSL_CTX_load_verify_file(k->ctx, c->cacert))
		return file_error(k, c->cacert, "CA certificate");
	if (*c->cert && !SSL_CTX_use_certificate_chain_file(k->ctx, c->cert))
		return file_error(k, c->cert, "certificate");
	if (*c->cert && !SSL_CTX_use_PrivateKey_file(k->ctx, *c->key ? c->key : c->cert, SSL_FILETYPE_PEM))
		return file_error(k, *c->key ? c->key : c->cert, "its key");
	if (*c->cert && !SSL_CTX_check_private_key(k->ctx))
		return file_error(k, c->key, "its key");
	return 0;
}

static int set_name(struct call *k)
{
	const char *name = k->c->server_name;
	X509_VERIFY_PARAM *param = SSL_get0_param(k->ssl);
	unsigned char addr[16];

	if (inet_pton(AF_INET, name, addr) == 1 || inet_pton(AF_INET6, name, addr) == 1)
		return X509_VERIFY_PARAM_set1_ip_asc(param, name) ? 0 : -EINVAL;
	SSL_set_tlsext_host_name(k->ssl, name);
	return SSL_set1_host(k->ssl, name) ? 0 : -EINVAL;
}

/* Wait as the last SSL call wants; -EPROTO when it wants nothing. */
static int again(struct call *k, int ret, const char *what)
{
	int e = SSL_get_error(k->ssl, ret);

	if (e == SSL_ERROR_WANT_READ)
		return wait_for(k, POLLIN);
	if (e == SSL_ERROR_WANT_WRITE)
		return wait_for(k, POLLOUT);
	return tls_error(k, what);
}

static int handshake(struct call *k)
{
	long verified;
	int ret;

	k->ssl = SSL_new(k->ctx);
	if (!k->ssl || !SSL_set_fd(k->ssl, k->fd) || set_name(k))
		return tls_error(k, "TLS");
	for (;;) {
		ERR_clear_error();
		ret = SSL_connect(k->ssl);
		if (ret == 1)
			return 0;
		ret = again(k, ret, "TLS");
		if (ret)
			break;
	}
	verified = SSL_get_verify_result(k->ssl);
	if (verified == X509_V_ERR_HOSTNAME_MISMATCH || verified == X509_V_ERR_IP_ADDRESS_MISMATCH)
		snprintf(k->why, k->size,
			 "the certificate of %s port %s is not for \"%s\": give --server-name with a name it "
			 "has",
			 k->c->host, k->c->port, k->c->server_name);
	else if (verified != X509_V_OK)
		snprintf(k->why, k->size, "%s port %s is not the appliance of %s: %s", k->c->host, k->c->port,
			 k->c->cacert, X509_verify_cert_error_string(verified));
	return ret;
}

static int send_all(struct call *k, const char *p, size_t n)
{
	while (n) {
		size_t done = 0;
		int ret;

		ERR_clear_error();
		ret = SSL_write_ex(k->ssl, p, n, &done);
		if (!ret) {
			ret = again(k, ret, "sending");
			if (ret)
				return ret;
			continue;
		}
		p += done;
		n -= done;
	}
	return 0;
}

/* Room for more behind n bytes. */
static int grow(char **buf, size_t *room, size_t n)
{
	char *bigger;

	if (n < *room)
		return 0;
	if (*room >= HTTP_ANSWER_MAX)
		return -EMSGSIZE;
	bigger = realloc(*buf, *room ? *room * 2 : 65536);
	if (!bigger)
		return -ENOMEM;
	*room = *room ? *room * 2 : 65536;
	*buf = bigger;
	return 0;
}

static int receive(struct call *k, struct http_answer *a)
{
	char *buf = NULL;
	size_t n = 0, room = 0;
	bool eof = false;
	int ret;

	do {
		size_t got = 0;

		ret = grow(&buf, &room, n);
		if (ret)
			break;
		ERR_clear_error();
		if (SSL_read_ex(k->ssl, buf + n, room - n, &got)) {
			n += got;
		} else {
			int e = SSL_get_error(k->ssl, 0);

			eof = e == SSL_ERROR_ZERO_RETURN || e == SSL_ERROR_SYSCALL || e == SSL_ERROR_SSL;
			if (eof && n == 0) {
				/* In TLS 1.3 a refused client certificate shows here. */
				ret = tls_error(k, "the appliance hung up");
				break;
			}
			ret = eof ? 0 : again(k, 0, "receiving");
			if (ret)
				break;
		}
		ret = http_parse(buf, n, eof, a);
		if (ret == -EPROTO)
			snprintf(k->why, k->size, "%s port %s: not an answer of the API, or cut short",
				 k->c->host, k->c->port);
	} while (ret == -EAGAIN);
	free(buf);
	return ret;
}

int https_call(const struct context *c, const char *method, const char *body, struct http_answer *a,
	       char *why, size_t size)
{
	struct call k = {.c = c,
			 .fd = -1,
			 .deadline = now_ms() + (int64_t)c->timeout * 1000,
			 .why = why,
			 .size = size};
	char host[280], *request = NULL;
	size_t len = 0;
	int ret;

	snprintf(host, sizeof host, strchr(c->host, ':') ? "[%s]:%s" : "%s:%s", c->host, c->port);
	snprintf(why, size, "out of memory");
	request = http_request(host, method, *c->token ? c->token : NULL, body, c->timeout * 1000, &len);
	ret = request ? load(&k) : -ENOMEM;
	if (ret == 0)
		ret = dial(&k);
	if (ret == 0)
		ret = handshake(&k);
	if (ret == 0)
		ret = send_all(&k, request, len);
	if (ret == 0)
		ret = receive(&k, a);
	/* The request may hold a token. */
	if (request)
		OPENSSL_cleanse(request, len);
	free(request);
	SSL_free(k.ssl);
	SSL_CTX_free(k.ctx);
	if (k.fd >= 0)
		close(k.fd);
	return ret;
}

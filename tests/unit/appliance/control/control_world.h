/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The whole management side on a loopback port: a real TLS client in a thread, the event loop in the test,
 * the doors to the data plane and to storage played by the test. A program that includes it need not use all.
 */
#ifndef OUTRIGGER_TESTS_CONTROL_WORLD_H
#define OUTRIGGER_TESTS_CONTROL_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event.h>
#include <openssl/ssl.h>

#include "appliance/control/control.h"
#include "fabric/chan/pki.h"
#include "tests/lib/wait.h"

#define BODY_MAX (64 << 10)

static struct event_base *base;
static struct control *ctl;
static char dir[64], why[256], token[80];
static SSL_CTX *admin_tls, *bare_tls;
static char effects[512]; /* what was asked of the doors, in order */

/* How the fake data plane answers. */
static enum { APPLY_OK, APPLY_REFUSE, APPLY_LATER } apply_mode;
static void (*apply_done)(void *arg, int err, const char *msg);
static void *apply_arg;

static inline void effect(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static inline void effect(const char *fmt, ...)
{
	size_t n = strlen(effects);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(effects + n, sizeof(effects) - n, fmt, ap);
	va_end(ap);
}

static inline int fake_apply(void *ctx, const struct model *m,
			     void (*done)(void *arg, int err, const char *msg), void *arg)
{
	(void)ctx;
	effect("apply %zu; ", model_count(m, KIND_VOLUME));
	if (apply_mode == APPLY_LATER) {
		apply_done = done;
		apply_arg = arg;
	} else {
		bool refuse = apply_mode == APPLY_REFUSE;

		apply_mode = APPLY_OK; /* only once */
		done(arg, refuse ? -ENODEV : 0, refuse ? "the data plane says no" : NULL);
	}
	return 0;
}

static inline void fake_revoked(void *ctx, const char *host)
{
	(void)ctx;
	effect("revoked %s; ", host);
}

static inline int fake_pool_open(void *ctx, const Outrigger__V1__StoragePool *p, char *text, size_t size)
{
	(void)ctx;
	effect("open %s; ", p->name);
	if (p->kind_case == OUTRIGGER__V1__STORAGE_POOL__KIND_DIRECTORY) {
		snprintf(text, size, "no such disk");
		return -ENODEV;
	}
	return 0;
}

static inline void fake_pool_close(void *ctx, const char *pool)
{
	(void)ctx;
	effect("close %s; ", pool);
}

static inline int fake_pool_bytes(void *ctx, const char *pool, struct pool_bytes *out)
{
	(void)ctx, (void)pool;
	*out = (struct pool_bytes){.capacity = 64 << 20, .free = 64 << 20};
	return 0;
}

static inline int fake_create(void *ctx, const char *pool, const char *name, uint64_t size)
{
	(void)ctx, (void)pool;
	if (!strcmp(name, "adopted"))
		return -EEXIST;
	effect("create %s %llu; ", name, (unsigned long long)size);
	return 0;
}

static inline int fake_remove(void *ctx, const char *pool, const char *name)
{
	(void)ctx, (void)pool;
	effect("remove %s; ", name);
	return 0;
}

static inline int fake_resize(void *ctx, const char *pool, const char *name, uint64_t size)
{
	(void)ctx, (void)pool;
	effect("resize %s %llu; ", name, (unsigned long long)size);
	return 0;
}

static inline int fake_stat(void *ctx, const char *pool, const char *name, struct volume_bytes *out)
{
	(void)ctx, (void)pool, (void)name;
	*out = (struct volume_bytes){.size = 1 << 20, .allocated = 8192};
	return 0;
}

static inline bool fake_vnic(void *ctx, const char *name, struct status_device *out)
{
	(void)ctx;
	out->link = STATUS_LINK_UP;
	snprintf(out->host, sizeof(out->host), "h1");
	snprintf(out->socket_path, sizeof(out->socket_path), "/run/outrigger/%s.sock", name);
	return true;
}

static inline void fake_counters(void *ctx, enum kind kind, const char *name, status_counter_fn fn, void *arg)
{
	(void)ctx, (void)name;
	if (kind == KIND_VNIC)
		fn(arg, NULL, "drop_spoof_mac", 7);
	if (kind == KIND_NONE)
		fn(arg, "worker/0", "bursts", 9);
}

static inline char *slurp(const char *file)
{
	char path[128], *text = NULL;

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	if (pki_read_file(path, 1 << 16, &text, NULL, NULL))
		fail_msg("%s cannot be read", path);
	return text;
}

static inline const char *in_dir(const char *file)
{
	static char buf[4][128];
	static int slot;

	slot = (slot + 1) % 4;
	snprintf(buf[slot], sizeof(buf[slot]), "%s/%s", dir, file);
	return buf[slot];
}

static inline void start(void)
{
	struct control_cfg cfg = {
		.base = base,
		.state_dir = dir,
		.api_address = "127.0.0.1",
		.session_port = 7444,
		.ops = {.apply = fake_apply, .host_revoked = fake_revoked},
		.status = {.vnic = fake_vnic, .counters = fake_counters},
		.volumes = {.pool_open = fake_pool_open,
			    .pool_close = fake_pool_close,
			    .pool_bytes = fake_pool_bytes,
			    .create = fake_create,
			    .remove = fake_remove,
			    .resize = fake_resize,
			    .stat = fake_stat},
	};
	char *t;

	if (control_init(&cfg, &ctl, why, sizeof(why)) || control_listen(ctl, why, sizeof(why)))
		fail_msg("%s", why);
	t = slurp("admin/token");
	snprintf(token, sizeof(token), "%.64s", t);
	free(t);
	admin_tls = pki_client_ctx(in_dir("admin/ca.crt"), in_dir("admin/admin.crt"),
				   in_dir("admin/admin.key"), NULL);
	bare_tls = pki_client_ctx(in_dir("admin/ca.crt"), NULL, NULL, NULL);
	assert_non_null(admin_tls);
}

static inline void stop(void)
{
	control_fini(ctl);
	ctl = NULL;
	SSL_CTX_free(admin_tls);
	SSL_CTX_free(bare_tls);
}

static inline int setup(void **state)
{
	(void)state;
	signal(SIGPIPE, SIG_IGN);
	strcpy(dir, "/tmp/outrigger-control-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	effects[0] = '\0';
	apply_mode = APPLY_OK;
	base = event_base_new();
	start();
	return 0;
}

static inline int teardown(void **state)
{
	char cmd[100];

	(void)state;
	stop();
	event_base_free(base);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
	return system(cmd);
}

/* ---- the client ---- */

struct http {
	SSL_CTX *tls;
	const char *bytes; /* what is sent */
	size_t len;
	bool leave; /* does not wait for an answer: closes after sending */
	int status; /* -1: no answer */
	char body[BODY_MAX];
	size_t body_len;
	bool closed; /* the server closed after its answer */
	pthread_t thread;
	bool done;
};

static inline void read_answer(struct http *h, SSL *ssl)
{
	static __thread char text[BODY_MAX];
	size_t n = 0, got;
	char *end, *length;

	while (n < sizeof(text) - 1 && SSL_read_ex(ssl, text + n, sizeof(text) - 1 - n, &got) == 1)
		n += got;
	text[n] = '\0';
	h->closed = true; /* the requests say Connection: close, or the server does */
	end = strstr(text, "\r\n\r\n");
	if (!end || sscanf(text, "HTTP/1.1 %d", &h->status) != 1)
		return;
	length = strcasestr(text, "Content-Length:");
	h->body_len = n - (size_t)(end + 4 - text);
	if (length)
		assert_int_equal(strtoul(length + 15, NULL, 10), h->body_len);
	memcpy(h->body, end + 4, h->body_len + 1);
}

static inline void *client(void *arg)
{
	struct http *h = arg;
	struct sockaddr_in sin = {.sin_family = AF_INET,
				  .sin_port = htons(control_api_port(ctl)),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct timeval tv = {.tv_sec = PATIENCE_S};
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	SSL *ssl = SSL_new(h->tls);
	size_t n;

	h->status = -1;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	SSL_set_fd(ssl, fd);
	if (connect(fd, (struct sockaddr *)&sin, sizeof(sin)) == 0 && SSL_connect(ssl) == 1 &&
	    SSL_write_ex(ssl, h->bytes, h->len, &n) == 1 && !h->leave)
		read_answer(h, ssl);
	SSL_free(ssl);
	close(fd);
	__atomic_store_n(&h->done, true, __ATOMIC_RELEASE);
	return NULL;
}

static inline void send_request(struct http *h, SSL_CTX *tls, const void *bytes, size_t len, bool leave)
{
	memset(h, 0, sizeof(*h));
	h->leave = leave;
	h->tls = tls;
	h->bytes = bytes;
	h->len = len;
	assert_int_equal(pthread_create(&h->thread, NULL, client, h), 0);
}

static inline void begin(struct http *h, SSL_CTX *tls, const void *bytes, size_t len)
{
	send_request(h, tls, bytes, len, false);
}

static inline void begin_leaving(struct http *h, SSL_CTX *tls, const void *bytes, size_t len)
{
	send_request(h, tls, bytes, len, true);
}

static inline void end(struct http *h)
{
	wait_until(base, __atomic_load_n(&h->done, __ATOMIC_ACQUIRE));
	pthread_join(h->thread, NULL);
}

static struct http answer;

static inline int raw(SSL_CTX *tls, const char *bytes, size_t len)
{
	begin(&answer, tls, bytes, len);
	end(&answer);
	return answer.status;
}

static char request[BODY_MAX];

static inline size_t compose(const char *path, const char *type, const char *headers, const void *body,
			     size_t len)
{
	int n = snprintf(
		request, sizeof(request),
		"POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nConnection: close\r\n%sContent-Length: "
		"%zu\r\n\r\n",
		path, type, headers, len);

	memcpy(request + n, body, len);
	return (size_t)n + len;
}

static inline int call_as(SSL_CTX *tls, const char *headers, const char *method, const char *json)
{
	char path[128];

	snprintf(path, sizeof(path), "/outrigger.v1.%s", method);
	return raw(tls, request, compose(path, "application/json", headers, json, strlen(json)));
}

static inline int call(const char *method, const char *json)
{
	return call_as(admin_tls, "", method, json);
}

static inline bool says(const char *words)
{
	return strstr(answer.body, words) != NULL;
}

static inline void must(const char *method, const char *json)
{
	if (call(method, json) != 200)
		fail_msg("%s %s: %d %s", method, json, answer.status, answer.body);
}

/* A request that creates a host, whole. */
static inline size_t compose_host(const char *name, char out[600])
{
	char json[60];
	size_t len;

	snprintf(json, sizeof(json), "{\"host\":{\"name\":\"%s\"}}", name);
	len = compose("/outrigger.v1.HostService/CreateHost", "application/json", "", json, strlen(json));
	memcpy(out, request, len);
	return len;
}

/* A host with a vNIC, and a pool; nothing was asked of the doors yet. */
static inline void provision(void)
{
	must("HostService/CreateHost", "{\"host\":{\"name\":\"h1\"}}");
	must("ProfileService/CreateProfile", "{\"profile\":{\"name\":\"p1\",\"host\":\"h1\"}}");
	must("NetworkService/CreateNetwork", "{\"network\":{\"name\":\"n1\"}}");
	must("VNicService/CreateVNic", "{\"vnic\":{\"name\":\"v1\",\"profile\":\"p1\",\"network\":\"n1\"}}");
	must("StoragePoolService/CreateStoragePool",
	     "{\"storagePool\":{\"name\":\"s1\",\"memory\":{\"capacityBytes\":\"67108864\"}}}");
	effects[0] = '\0';
}

#define WORLD(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

#endif

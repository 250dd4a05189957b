/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The whole management side on a loopback port: a real TLS client in a thread, the event loop in the test,
 * the doors to the data plane and to storage played by the test.
 */
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
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <event2/event.h>
#include <openssl/ssl.h>

#include "appliance/control/control.h"
#include "fabric/base/clock.h"
#include "fabric/chan/pki.h"
#include "fabric/chan/token.h"
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

static void effect(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void effect(const char *fmt, ...)
{
	size_t n = strlen(effects);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(effects + n, sizeof(effects) - n, fmt, ap);
	va_end(ap);
}

static int fake_apply(void *ctx, const struct model *m, void (*done)(void *arg, int err, const char *msg),
		      void *arg)
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

static void fake_revoked(void *ctx, const char *host)
{
	(void)ctx;
	effect("revoked %s; ", host);
}

static int fake_pool_open(void *ctx, const Outrigger__V1__StoragePool *p, char *text, size_t size)
{
	(void)ctx;
	effect("open %s; ", p->name);
	if (p->kind_case == OUTRIGGER__V1__STORAGE_POOL__KIND_DIRECTORY) {
		snprintf(text, size, "no such disk");
		return -ENODEV;
	}
	return 0;
}

static void fake_pool_close(void *ctx, const char *pool)
{
	(void)ctx;
	effect("close %s; ", pool);
}

static int fake_pool_bytes(void *ctx, const char *pool, struct pool_bytes *out)
{
	(void)ctx, (void)pool;
	*out = (struct pool_bytes){.capacity = 64 << 20, .free = 64 << 20};
	return 0;
}

static int fake_create(void *ctx, const char *pool, const char *name, uint64_t size)
{
	(void)ctx, (void)pool;
	if (!strcmp(name, "adopted"))
		return -EEXIST;
	effect("create %s %llu; ", name, (unsigned long long)size);
	return 0;
}

static int fake_remove(void *ctx, const char *pool, const char *name)
{
	(void)ctx, (void)pool;
	effect("remove %s; ", name);
	return 0;
}

static int fake_resize(void *ctx, const char *pool, const char *name, uint64_t size)
{
	(void)ctx, (void)pool;
	effect("resize %s %llu; ", name, (unsigned long long)size);
	return 0;
}

static int fake_stat(void *ctx, const char *pool, const char *name, struct volume_bytes *out)
{
	(void)ctx, (void)pool, (void)name;
	*out = (struct volume_bytes){.size = 1 << 20, .allocated = 8192};
	return 0;
}

static bool fake_vnic(void *ctx, const char *name, struct status_device *out)
{
	(void)ctx;
	out->link = STATUS_LINK_UP;
	snprintf(out->host, sizeof(out->host), "h1");
	snprintf(out->socket_path, sizeof(out->socket_path), "/run/outrigger/%s.sock", name);
	return true;
}

static void fake_counters(void *ctx, enum kind kind, const char *name, status_counter_fn fn, void *arg)
{
	(void)ctx, (void)name;
	if (kind == KIND_VNIC)
		fn(arg, NULL, "drop_spoof_mac", 7);
	if (kind == KIND_NONE)
		fn(arg, "worker/0", "bursts", 9);
}

static char *slurp(const char *file)
{
	char path[128], *text = NULL;

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	if (pki_read_file(path, 1 << 16, &text, NULL, NULL))
		fail_msg("%s cannot be read", path);
	return text;
}

static const char *in_dir(const char *file)
{
	static char buf[4][128];
	static int slot;

	slot = (slot + 1) % 4;
	snprintf(buf[slot], sizeof(buf[slot]), "%s/%s", dir, file);
	return buf[slot];
}

static void start(void)
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

static void stop(void)
{
	control_fini(ctl);
	ctl = NULL;
	SSL_CTX_free(admin_tls);
	SSL_CTX_free(bare_tls);
}

static int setup(void **state)
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

static int teardown(void **state)
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

static void read_answer(struct http *h, SSL *ssl)
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

static void *client(void *arg)
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

static void send_request(struct http *h, SSL_CTX *tls, const void *bytes, size_t len, bool leave)
{
	memset(h, 0, sizeof(*h));
	h->leave = leave;
	h->tls = tls;
	h->bytes = bytes;
	h->len = len;
	assert_int_equal(pthread_create(&h->thread, NULL, client, h), 0);
}

static void begin(struct http *h, SSL_CTX *tls, const void *bytes, size_t len)
{
	send_request(h, tls, bytes, len, false);
}

static void begin_leaving(struct http *h, SSL_CTX *tls, const void *bytes, size_t len)
{
	send_request(h, tls, bytes, len, true);
}

static void end(struct http *h)
{
	wait_until(base, __atomic_load_n(&h->done, __ATOMIC_ACQUIRE));
	pthread_join(h->thread, NULL);
}

static struct http answer;

static int raw(SSL_CTX *tls, const char *bytes, size_t len)
{
	begin(&answer, tls, bytes, len);
	end(&answer);
	return answer.status;
}

static char request[BODY_MAX];

static size_t compose(const char *path, const char *type, const char *headers, const void *body, size_t len)
{
	int n = snprintf(
		request, sizeof(request),
		"POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nConnection: close\r\n%sContent-Length: "
		"%zu\r\n\r\n",
		path, type, headers, len);

	memcpy(request + n, body, len);
	return (size_t)n + len;
}

static int call_as(SSL_CTX *tls, const char *headers, const char *method, const char *json)
{
	char path[128];

	snprintf(path, sizeof(path), "/outrigger.v1.%s", method);
	return raw(tls, request, compose(path, "application/json", headers, json, strlen(json)));
}

static int call(const char *method, const char *json)
{
	return call_as(admin_tls, "", method, json);
}

static bool says(const char *words)
{
	return strstr(answer.body, words) != NULL;
}

static void must(const char *method, const char *json)
{
	if (call(method, json) != 200)
		fail_msg("%s %s: %d %s", method, json, answer.status, answer.body);
}

/* ---- tests ---- */

static mode_t mode_of(const char *file)
{
	struct stat st;

	assert_int_equal(stat(in_dir(file), &st), 0);
	return st.st_mode & 0777;
}

static void first_start_makes_what_is_needed(void **state)
{
	char *ca, *again, *api;
	char want[40];

	(void)state;
	assert_int_equal(mode_of("admin/admin.key"), 0600);
	assert_int_equal(mode_of("admin/token"), 0600);
	assert_int_equal(mode_of("pki/ca.key"), 0600);
	assert_int_equal(mode_of("pki/server.key"), 0600);
	assert_int_equal(mode_of("admin"), 0700);
	assert_int_equal(strlen(token), 64);
	api = slurp("admin/api");
	snprintf(want, sizeof(want), "127.0.0.1:%u\n", control_api_port(ctl));
	assert_string_equal(api, want);
	ca = slurp("admin/ca.crt");
	must("HostService/CreateHost", "{\"host\":{\"name\":\"h1\"}}");
	stop();
	start();
	again = slurp("admin/ca.crt");
	assert_string_equal(ca, again);
	must("HostService/GetHost", "{\"name\":\"h1\"}"); /* replayed */
	assert_true(says("HOST_STATE_PENDING"));
	free(ca);
	free(again);
	free(api);
}

static void who_may_call(void **state)
{
	char bearer[120];
	SSL_CTX *host;
	struct pki *p;

	(void)state;
	assert_int_equal(call("HostService/ListHosts", "{}"), 200);
	assert_string_equal(answer.body, "{}");
	assert_int_equal(call_as(bare_tls, "", "HostService/ListHosts", "{}"), 401);
	assert_true(says("\"code\":\"unauthenticated\""));
	snprintf(bearer, sizeof(bearer), "Authorization: Bearer %s\r\n", token);
	assert_int_equal(call_as(bare_tls, bearer, "HostService/ListHosts", "{}"), 200);
	bearer[30] ^= 1;
	assert_int_equal(call_as(bare_tls, bearer, "HostService/ListHosts", "{}"), 401);
	assert_int_equal(pki_open(in_dir("pki"), &p, NULL), 0);
	assert_int_equal(
		pki_issue_files(p, PKI_ROLE_HOST, "h1", NULL, 0, 1, in_dir("h.key"), in_dir("h.crt"), NULL),
		0);
	host = pki_client_ctx(in_dir("admin/ca.crt"), in_dir("h.crt"), in_dir("h.key"), NULL);
	assert_int_equal(call_as(host, "", "HostService/ListHosts", "{}"), 403);
	assert_true(says("permission_denied"));
	SSL_CTX_free(host);
	pki_close(p);
}

static void protocol_errors(void **state)
{
	static const struct {
		const char *path, *type, *headers, *body;
		int status;
	} cases[] = {
		{"/outrigger.v1.HostService/ListHosts", "application/json", "", "{}", 200},
		{"/outrigger.v1.HostService/ListHosts", "Application/JSON; charset=utf-8", "", "{}", 200},
		{"/outrigger.v1.HostService/ListHosts", "application/json", "Connect-Protocol-Version: 1\r\n",
		 "{}", 200},
		{"/outrigger.v1.HostService/ListHosts", "application/json", "connect-timeout-ms: 5000\r\n",
		 "{}", 200},
		{"/outrigger.v1.HostService/Nope", "application/json", "", "{}", 501},
		{"/outrigger.v1.Nope/ListHosts", "application/json", "", "{}", 501},
		{"/somewhere", "application/json", "", "{}", 404},
		{"/outrigger.v1.HostService/ListHosts", "text/plain", "", "{}", 415},
		{"/outrigger.v1.HostService/ListHosts", "application/jsonx", "", "{}", 415},
		{"/outrigger.v1.HostService/ListHosts", "application/json", "Content-Encoding: gzip\r\n",
		 "{}", 501},
		{"/outrigger.v1.HostService/ListHosts", "application/json", "Connect-Protocol-Version: 2\r\n",
		 "{}", 400},
		{"/outrigger.v1.HostService/ListHosts", "application/json", "Connect-Timeout-Ms: x\r\n", "{}",
		 400},
		{"/outrigger.v1.HostService/ListHosts", "application/json", "", "", 400},
		{"/outrigger.v1.HostService/ListHosts", "application/json", "", "{\"x\":1}", 400},
		{"/outrigger.v1.HostService/ListHosts", "application/proto", "", "{}", 400},
		{"/outrigger.v1.HostService/ListHosts", "application/proto", "", "", 200},
		/* The length told twice, or by a coding we do not take. */
		{"/outrigger.v1.HostService/ListHosts", "application/json", "Content-Length: 2\r\n", "{}",
		 400},
		{"/outrigger.v1.HostService/ListHosts", "application/json", "Content-Length: 0\r\n", "{}",
		 400},
		{"/outrigger.v1.HostService/ListHosts", "application/json", "Transfer-Encoding: chunked\r\n",
		 "{}", 400},
		{"/outrigger.v1.HostService/ListHosts", "application/json",
		 "Transfer-Encoding: gzip, chunked\r\n", "{}", 400},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int got = raw(admin_tls, request,
			      compose(cases[i].path, cases[i].type, cases[i].headers, cases[i].body,
				      strlen(cases[i].body)));

		if (got != cases[i].status)
			fail_msg("%zu: %s %s %s: %d %s", i, cases[i].path, cases[i].type, cases[i].headers,
				 got, answer.body);
	}
}

static void other_methods_and_chunks(void **state)
{
	static const char get[] = "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
	static const char other[] =
		"GET /outrigger.v1.HostService/ListHosts HTTP/1.1\r\nHost: x\r\nConnection: "
		"close\r\n\r\n";
	static const char chunked[] =
		"POST /outrigger.v1.HostService/ListHosts HTTP/1.1\r\nhost: x\r\ncontent-type: "
		"application/json\r\ntransfer-encoding: chunked\r\nconnection: "
		"close\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n";
	static const char large[] =
		"POST /outrigger.v1.HostService/ListHosts HTTP/1.1\r\nHost: x\r\nContent-Type: "
		"application/json\r\nContent-Length: 4194305\r\n\r\n{";

	(void)state;
	assert_int_equal(raw(bare_tls, get, strlen(get)), 200);
	assert_int_equal(raw(admin_tls, other, strlen(other)), 405);
	assert_int_equal(raw(admin_tls, chunked, strlen(chunked)), 200);
	assert_int_equal(raw(admin_tls, large, strlen(large)), 413);
}

static void binary_protobuf(void **state)
{
	Outrigger__V1__CreateHostRequest req = OUTRIGGER__V1__CREATE_HOST_REQUEST__INIT;
	Outrigger__V1__Host h = OUTRIGGER__V1__HOST__INIT, *got;
	uint8_t body[200];
	size_t len;

	(void)state;
	h.name = (char *)(uintptr_t) "h1";
	h.description = (char *)(uintptr_t) "a host";
	req.host = &h;
	len = outrigger__v1__create_host_request__pack(&req, body);
	assert_int_equal(
		raw(admin_tls, request,
		    compose("/outrigger.v1.HostService/CreateHost", "application/proto", "", body, len)),
		200);
	got = outrigger__v1__host__unpack(NULL, answer.body_len, (uint8_t *)answer.body);
	assert_non_null(got);
	assert_string_equal(got->description, "a host");
	assert_int_equal(got->revision, 1);
	assert_non_null(got->status);
	outrigger__v1__host__free_unpacked(got, NULL);
	/* Text that is not UTF-8 is refused in binary too. */
	h.name = (char *)(uintptr_t) "h2";
	h.description = (char *)(uintptr_t) "\xff";
	len = outrigger__v1__create_host_request__pack(&req, body);
	assert_int_equal(
		raw(admin_tls, request,
		    compose("/outrigger.v1.HostService/CreateHost", "application/proto", "", body, len)),
		400);
	assert_true(says("description"));
}

static void provision(void)
{
	must("HostService/CreateHost", "{\"host\":{\"name\":\"h1\"}}");
	must("ProfileService/CreateProfile", "{\"profile\":{\"name\":\"p1\",\"host\":\"h1\"}}");
	must("NetworkService/CreateNetwork", "{\"network\":{\"name\":\"n1\"}}");
	must("VNicService/CreateVNic", "{\"vnic\":{\"name\":\"v1\",\"profile\":\"p1\",\"network\":\"n1\"}}");
	must("StoragePoolService/CreateStoragePool",
	     "{\"storagePool\":{\"name\":\"s1\",\"memory\":{\"capacityBytes\":\"67108864\"}}}");
	effects[0] = '\0';
}

static void a_volume_comes_grows_and_goes(void **state)
{
	(void)state;
	provision();
	must("VolumeService/CreateVolume",
	     "{\"volume\":{\"name\":\"a\",\"pool\":\"s1\",\"sizeBytes\":\"1048576\"}}");
	assert_true(says("\"allocatedBytes\":\"8192\""));
	must("VolumeService/UpdateVolume",
	     "{\"volume\":{\"name\":\"a\",\"sizeBytes\":\"2097152\"},\"updateMask\":\"sizeBytes\"}");
	must("VDiskService/CreateVDisk", "{\"vdisk\":{\"name\":\"d1\",\"profile\":\"p1\",\"volume\":\"a\"}}");
	assert_int_equal(call("VolumeService/DeleteVolume", "{\"name\":\"a\"}"), 400);
	assert_true(says("failed_precondition") && says("vdisk \\\"d1\\\""));
	must("VDiskService/DeleteVDisk", "{\"name\":\"d1\"}");
	must("VolumeService/DeleteVolume", "{\"name\":\"a\"}");
	assert_string_equal(answer.body, "{}");
	must("StoragePoolService/DeleteStoragePool", "{\"name\":\"s1\"}");
	assert_string_equal(
		effects, "create a 1048576; apply 1; resize a 2097152; apply 1; apply 1; apply 1; apply 0; "
			 "remove a; apply 0; close s1; ");
}

static void what_apply_refuses_is_taken_back(void **state)
{
	(void)state;
	provision();
	apply_mode = APPLY_REFUSE;
	assert_int_equal(call("VolumeService/CreateVolume",
			      "{\"volume\":{\"name\":\"a\",\"pool\":\"s1\",\"sizeBytes\":\"1048576\"}}"),
			 400);
	assert_true(says("the data plane says no"));
	assert_string_equal(effects, "create a 1048576; apply 1; apply 0; remove a; ");
	/* Data that was there before is adopted, and stays when the change is taken back. */
	effects[0] = '\0';
	apply_mode = APPLY_REFUSE;
	assert_int_equal(
		call("VolumeService/CreateVolume",
		     "{\"volume\":{\"name\":\"adopted\",\"pool\":\"s1\",\"sizeBytes\":\"1048576\"}}"),
		400);
	assert_string_equal(effects, "apply 1; apply 0; ");
	apply_mode = APPLY_REFUSE;
	assert_int_equal(call("VNicService/DeleteVNic", "{\"name\":\"v1\"}"), 400);
	stop();
	start();
	assert_int_equal(call("VolumeService/GetVolume", "{\"name\":\"a\"}"), 404);
	must("VNicService/GetVNic", "{\"name\":\"v1\"}");
	assert_int_equal(
		call("VolumeService/CreateVolume",
		     "{\"volume\":{\"name\":\"adopted\",\"pool\":\"s1\",\"sizeBytes\":\"2097152\"}}"),
		400);
	assert_true(says("already holds data"));
}

static size_t compose_host(const char *name, char out[600])
{
	char json[60];
	size_t len;

	snprintf(json, sizeof(json), "{\"host\":{\"name\":\"%s\"}}", name);
	len = compose("/outrigger.v1.HostService/CreateHost", "application/json", "", json, strlen(json));
	memcpy(out, request, len);
	return len;
}

static void changes_wait_for_each_other_and_reads_do_not(void **state)
{
	struct http first, second;
	char text[2][600];
	size_t len[2] = {compose_host("h2", text[0]), compose_host("h3", text[1])};

	(void)state;
	provision();
	apply_mode = APPLY_LATER;
	begin(&first, admin_tls, text[0], len[0]);
	wait_until(base, apply_done);
	begin(&second, admin_tls, text[1], len[1]);
	must("HostService/ListHosts", "{}"); /* also gives the second time to arrive */
	assert_false(says("h3"));
	assert_string_equal(effects, "apply 0; ");
	apply_mode = APPLY_OK;
	apply_done(apply_arg, 0, NULL);
	end(&first);
	end(&second);
	assert_int_equal(first.status, 200);
	assert_int_equal(second.status, 200);
	apply_done = NULL;
}

static void a_client_that_leaves(void **state)
{
	struct http h;
	char text[600];
	size_t len = compose_host("h2", text);

	(void)state;
	apply_mode = APPLY_LATER;
	begin_leaving(&h, admin_tls, text, len);
	wait_until(base, apply_done);
	end(&h);
	apply_mode = APPLY_OK;
	apply_done(apply_arg, 0, NULL); /* answers nobody */
	apply_done = NULL;
	must("HostService/GetHost", "{\"name\":\"h2\"}");
}

static void a_server_that_stops(void **state)
{
	struct http h;
	char text[600];
	size_t len = compose_host("h4", text);

	(void)state;
	apply_mode = APPLY_LATER;
	begin(&h, admin_tls, text, len);
	wait_until(base, apply_done);
	stop();
	apply_done(apply_arg, 0, NULL); /* too late, and harmless */
	apply_mode = APPLY_OK;
	apply_done = NULL;
	end(&h);
	assert_true(h.status == 503 || h.status == -1);
	start();
	must("HostService/GetHost", "{\"name\":\"h4\"}"); /* it was stored */
}

static void a_store_that_cannot_be_written(void **state)
{
	struct rlimit old, full;

	(void)state;
	provision();
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &old);
	full = old;
	full.rlim_cur = 1;
	setrlimit(RLIMIT_FSIZE, &full);
	assert_int_equal(call("VolumeService/CreateVolume",
			      "{\"volume\":{\"name\":\"a\",\"pool\":\"s1\",\"sizeBytes\":\"1048576\"}}"),
			 503);
	assert_true(says("unavailable") && says("state.db"));
	assert_string_equal(effects, "create a 1048576; remove a; ");
	must("ApplianceService/GetAppliance", "{}");
	assert_true(says("storeError"));
	must("VNicService/GetVNic", "{\"name\":\"v1\"}"); /* traffic and reads go on */
	setrlimit(RLIMIT_FSIZE, &old);
	must("VolumeService/CreateVolume",
	     "{\"volume\":{\"name\":\"a\",\"pool\":\"s1\",\"sizeBytes\":\"1048576\"}}");
	must("ApplianceService/GetAppliance", "{}");
	assert_false(says("storeError"));
}

/* What a start needs is there already: a full disk does not keep the appliance from serving. */
static void a_start_with_a_full_store(void **state)
{
	struct rlimit old, full;

	(void)state;
	provision();
	stop();
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &old);
	full = old;
	full.rlim_cur = 1;
	setrlimit(RLIMIT_FSIZE, &full);
	start();
	must("VNicService/GetVNic", "{\"name\":\"v1\"}");
	setrlimit(RLIMIT_FSIZE, &old);
}

static void connections_without_a_descriptor_wait(void **state)
{
	struct sockaddr_in sin = {.sin_family = AF_INET,
				  .sin_port = htons(control_api_port(ctl)),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	struct rlimit old, low;
	const char *found;

	(void)state;
	getrlimit(RLIMIT_NOFILE, &old);
	low = old;
	low.rlim_cur = (rlim_t)dup(0);
	close((int)low.rlim_cur);
	assert_int_equal(connect(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	setrlimit(RLIMIT_NOFILE, &low);
	settle(base, 50);
	setrlimit(RLIMIT_NOFILE, &old);
	must("ApplianceService/ListCounters", "{\"prefix\":\"api/accepts_put_off\"}");
	found = strstr(answer.body, "\"value\":\"");
	assert_non_null(found);
	assert_in_range(strtoul(found + 9, NULL, 10), 1, 60); /* not as often as the loop turns */
	close(fd);
}

static void status_and_counters(void **state)
{
	(void)state;
	provision();
	must("VNicService/GetVNic", "{\"name\":\"v1\"}");
	assert_true(says("\"link\":\"LINK_STATE_UP\"") && says("\"socketPath\":\"/run/outrigger/v1.sock\"") &&
		    says("\"drop_spoof_mac\":\"7\""));
	must("ApplianceService/ListCounters", "{\"prefix\":\"vnic/\"}");
	assert_string_equal(
		answer.body,
		"{\"counters\":[{\"scope\":\"vnic/v1\",\"name\":\"drop_spoof_mac\",\"value\":\"7\"}]}");
	must("ApplianceService/ListCounters", "{}");
	assert_true(says("worker/0") && says("\"scope\":\"api\""));
	must("ProfileService/GetProfile", "{\"name\":\"p1\"}");
	assert_true(says("\"vnics\":[\"v1\"]"));
}

static void lists_come_in_pages(void **state)
{
	(void)state;
	must("HostService/CreateHost", "{\"host\":{\"name\":\"b\"}}");
	must("HostService/CreateHost", "{\"host\":{\"name\":\"a\"}}");
	must("HostService/CreateHost", "{\"host\":{\"name\":\"c\"}}");
	must("HostService/ListHosts", "{\"pageSize\":2}");
	assert_true(says("\"name\":\"a\"") && says("\"name\":\"b\"") && !says("\"name\":\"c\""));
	assert_true(says("\"nextPageToken\":\"b\""));
	must("HostService/ListHosts", "{\"pageSize\":2,\"pageToken\":\"b\"}");
	assert_true(says("\"name\":\"c\"") && !says("nextPageToken"));
}

static void a_pool_that_cannot_be_opened(void **state)
{
	(void)state;
	assert_int_equal(call("StoragePoolService/CreateStoragePool",
			      "{\"storagePool\":{\"name\":\"s1\",\"directory\":{\"path\":\"/x\"}}}"),
			 400);
	assert_true(says("no such disk"));
	assert_int_equal(call("StoragePoolService/GetStoragePool", "{\"name\":\"s1\"}"), 404);
}

/* ---- enrolment ---- */

static void get_token(const char *host, char out[TOKEN_TEXT_SIZE])
{
	char json[100], *t;

	snprintf(json, sizeof(json), "{\"host\":\"%s\"}", host);
	must("HostService/CreateEnrollToken", json);
	t = strstr(answer.body, "ort1.");
	assert_non_null(t);
	snprintf(out, TOKEN_TEXT_SIZE, "%.92s", t);
}

/* As an agent does, without a certificate. Fills cert_fp on success. */
static int enroll(const char *text, uint8_t cert_fp[32])
{
	Outrigger__V1__EnrollRequest req = OUTRIGGER__V1__ENROLL_REQUEST__INIT;
	Outrigger__V1__EnrollResponse *resp;
	char *key, *csr;
	uint8_t body[4096];
	size_t len;
	int status;

	assert_int_equal(pki_make_csr("whoever", &key, &csr, NULL), 0);
	req.token = (char *)(uintptr_t)text;
	req.csr = csr;
	len = outrigger__v1__enroll_request__pack(&req, body);
	status = raw(bare_tls, request,
		     compose("/outrigger.v1.EnrollService/Enroll", "application/proto", "", body, len));
	free(key);
	free(csr);
	if (status != 200)
		return status;
	resp = outrigger__v1__enroll_response__unpack(NULL, answer.body_len, (uint8_t *)answer.body);
	assert_non_null(resp);
	assert_string_equal(resp->host, "h1");
	assert_int_equal(resp->session_port, 7444);
	assert_int_equal(pki_pem_fingerprint(resp->certificate, strlen(resp->certificate), cert_fp), 0);
	outrigger__v1__enroll_response__free_unpacked(resp, NULL);
	return 200;
}

static void a_token_enrols_once(void **state)
{
	char t[TOKEN_TEXT_SIZE];
	uint8_t fp[32] = {0}, none[32] = {0};

	(void)state;
	provision();
	get_token("h1", t);
	assert_int_equal(control_host_check(ctl, "h1", none), -EACCES);
	assert_int_equal(enroll(t, fp), 200);
	assert_int_equal(control_host_check(ctl, "h1", fp), 0);
	assert_int_equal(control_host_check(ctl, "h2", fp), -ENOENT);
	assert_int_equal(enroll(t, fp), 401);
	assert_true(says("used already"));
	must("HostService/GetHost", "{\"name\":\"h1\"}");
	assert_true(says("HOST_STATE_ENROLLED"));
	assert_string_equal(effects, "revoked h1; ");
	must("HostService/RevokeHost", "{\"host\":\"h1\"}");
	assert_true(says("HOST_STATE_PENDING"));
	assert_int_equal(control_host_check(ctl, "h1", fp), -EACCES);
}

static void bad_tokens(void **state)
{
	char t[TOKEN_TEXT_SIZE], newer[TOKEN_TEXT_SIZE];
	uint8_t secret[32] = {1}, ca[32] = {2}, fp[32];

	(void)state;
	provision();
	assert_int_equal(enroll("rubbish", fp), 400);
	token_format(secret, ca, t);
	assert_int_equal(enroll(t, fp), 401);
	assert_true(says("another appliance"));
	get_token("h1", t);
	get_token("h1", newer);
	assert_int_equal(enroll(t, fp), 401); /* replaced */
	assert_true(says("not known"));
	must("HostService/RevokeHost", "{\"host\":\"h1\"}");
	assert_int_equal(enroll(newer, fp), 401);
	assert_int_equal(call("HostService/CreateEnrollToken", "{\"host\":\"nope\"}"), 404);
	assert_int_equal(call("HostService/CreateEnrollToken", "{\"host\":\"h1\",\"ttlSeconds\":59}"), 400);
	/* Expired: the store is told a time that has gone by. */
	get_token("h1", t);
	{
		struct token_parts parts;

		assert_int_equal(token_parse(t, &parts), 0);
		assert_int_equal(store_token_set(control_store(ctl), "h1", parts.hash, 1), 0);
	}
	assert_int_equal(enroll(t, fp), 401);
	assert_true(says("expired"));
	/* A good token with a bad request is not spent. */
	get_token("h1", t);
	snprintf(request + 20000, 400, "{\"token\":\"%s\",\"csr\":\"x\"}", t);
	assert_int_equal(call_as(bare_tls, "", "EnrollService/Enroll", request + 20000), 400);
	assert_true(says("csr: "));
	assert_int_equal(enroll(t, fp), 200);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(first_start_makes_what_is_needed),
		T(who_may_call),
		T(protocol_errors),
		T(other_methods_and_chunks),
		T(binary_protobuf),
		T(a_volume_comes_grows_and_goes),
		T(what_apply_refuses_is_taken_back),
		T(changes_wait_for_each_other_and_reads_do_not),
		T(a_client_that_leaves),
		T(a_server_that_stops),
		T(a_store_that_cannot_be_written),
		T(a_start_with_a_full_store),
		T(connections_without_a_descriptor_wait),
		T(status_and_counters),
		T(lists_come_in_pages),
		T(a_pool_that_cannot_be_opened),
		T(a_token_enrols_once),
		T(bad_tokens),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The API as its callers see it: who may call, HTTP and both encodings, clients and servers that go. */
#include "tests/unit/appliance/control/control_world.h"

#include <sys/resource.h>

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD(who_may_call),
		WORLD(protocol_errors),
		WORLD(other_methods_and_chunks),
		WORLD(binary_protobuf),
		WORLD(lists_come_in_pages),
		WORLD(a_client_that_leaves),
		WORLD(a_server_that_stops),
		WORLD(connections_without_a_descriptor_wait),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

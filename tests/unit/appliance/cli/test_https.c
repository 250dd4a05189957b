/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whole commands against a server of a few lines in a thread: who is trusted, who we say we are,
 * what each kind of answer becomes. Certificates are made on the spot.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "appliance/cli/cli.h"

static char dir[] = "/tmp/cli-https-XXXXXX";
static int listener;
static uint16_t port;

/* What the server says to the next client, and what it heard. */
static const char *reply, *next_reply;
static char heard[8192];
static char client_name[64];

/* ---- certificates ---- */

static EVP_PKEY *new_key(void)
{
	return EVP_EC_gen("P-256");
}

static void extend(X509 *cert, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *ext;

	X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
	ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	assert_non_null(ext);
	X509_add_ext(cert, ext, -1);
	X509_EXTENSION_free(ext);
}

/* Signed by issuer, or by itself as a CA. */
static X509 *new_cert(const char *name, EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key, const char *san)
{
	static long serial = 1;
	X509 *cert = X509_new();

	X509_set_version(cert, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(cert), serial++);
	X509_gmtime_adj(X509_getm_notBefore(cert), -60);
	X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_UTF8, (const void *)name, -1,
				   -1, 0);
	X509_set_issuer_name(cert, X509_get_subject_name(issuer ? issuer : cert));
	X509_set_pubkey(cert, key);
	extend(cert, issuer ? issuer : cert, NID_basic_constraints, issuer ? "CA:FALSE" : "critical,CA:TRUE");
	if (san)
		extend(cert, issuer, NID_subject_alt_name, san);
	assert_true(X509_sign(cert, issuer_key ? issuer_key : key, EVP_sha256()) > 0);
	return cert;
}

static void path_of(const char *file, char *path, size_t size)
{
	snprintf(path, size, "%s/%s", dir, file);
}

static void save(const char *file, X509 *cert, EVP_PKEY *key, const char *text)
{
	char path[128];
	FILE *f;

	path_of(file, path, sizeof path);
	f = fopen(path, "w");
	assert_non_null(f);
	if (cert)
		PEM_write_X509(f, cert);
	if (key)
		PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL);
	if (text)
		fputs(text, f);
	fclose(f);
}

/* ---- the server ---- */

static void serve(SSL *ssl)
{
	X509 *peer;
	size_t n = 0;
	int got;

	client_name[0] = 0;
	heard[0] = 0;
	if (SSL_accept(ssl) != 1)
		return;
	peer = SSL_get1_peer_certificate(ssl);
	if (peer)
		X509_NAME_get_text_by_NID(X509_get_subject_name(peer), NID_commonName, client_name,
					  sizeof client_name);
	X509_free(peer);
	/* All bodies here end with a brace, and no header does. */
	while (n < sizeof heard - 1 && (n == 0 || heard[n - 1] != '}') &&
	       (got = SSL_read(ssl, heard + n, (int)(sizeof heard - 1 - n))) > 0)
		n += (size_t)got;
	heard[n] = 0;
	if (strcmp(reply, "hang") == 0)
		SSL_read(ssl, heard + n, 1); /* until the client has enough */
	else
		SSL_write(ssl, reply, (int)strlen(reply));
	if (next_reply)
		reply = next_reply;
	next_reply = NULL;
	SSL_shutdown(ssl);
}

static void *server(void *arg)
{
	SSL_CTX *ctx = arg;

	for (;;) {
		int fd = accept(listener, NULL, NULL);
		SSL *ssl;

		if (fd < 0)
			return NULL;
		ssl = SSL_new(ctx);
		SSL_set_fd(ssl, fd);
		serve(ssl);
		SSL_free(ssl);
		close(fd);
	}
}

static pthread_t thread;
static SSL_CTX *server_ctx;

static int setup(void **state)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	EVP_PKEY *ca_key = new_key(), *key = new_key(), *admin_key = new_key(), *other_key = new_key();
	X509 *ca = new_cert("test CA", ca_key, NULL, NULL, NULL);
	X509 *cert = new_cert("appliance", key, ca, ca_key, "IP:127.0.0.1,DNS:appliance.test");
	X509 *admin = new_cert("admin", admin_key, ca, ca_key, NULL);
	X509 *other = new_cert("test CA", other_key, NULL, NULL, NULL);
	socklen_t len = sizeof a;
	char text[64];

	(void)state;
	assert_non_null(mkdtemp(dir));
	listener = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(bind(listener, (struct sockaddr *)&a, sizeof a), 0);
	assert_int_equal(listen(listener, 8), 0);
	getsockname(listener, (struct sockaddr *)&a, &len);
	port = ntohs(a.sin_port);
	snprintf(text, sizeof text, "127.0.0.1:%u\n", port);
	save("api", NULL, NULL, text);
	save("ca.crt", ca, NULL, NULL);
	save("other.crt", other, NULL, NULL);
	save("admin.crt", admin, NULL, NULL);
	save("admin.key", NULL, admin_key, NULL);
	save("token", NULL, NULL, "secret-of-a-file\n");
	server_ctx = SSL_CTX_new(TLS_server_method());
	SSL_CTX_use_certificate(server_ctx, cert);
	SSL_CTX_use_PrivateKey(server_ctx, key);
	SSL_CTX_set_verify(server_ctx, SSL_VERIFY_PEER, NULL);
	X509_STORE_add_cert(SSL_CTX_get_cert_store(server_ctx), ca);
	X509_free(ca);
	X509_free(cert);
	X509_free(admin);
	X509_free(other);
	EVP_PKEY_free(ca_key);
	EVP_PKEY_free(key);
	EVP_PKEY_free(admin_key);
	EVP_PKEY_free(other_key);
	return pthread_create(&thread, NULL, server, server_ctx);
}

static int teardown(void **state)
{
	static const char *const files[] = {"api", "ca.crt", "other.crt", "admin.crt", "admin.key", "token"};
	char path[128];

	(void)state;
	shutdown(listener, SHUT_RDWR);
	pthread_join(thread, NULL);
	close(listener);
	SSL_CTX_free(server_ctx);
	for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
		path_of(files[i], path, sizeof path);
		unlink(path);
	}
	return rmdir(dir);
}

/* ---- commands ---- */

static char out[16384], err[4096];

static int run(const char *answer, const char *line)
{
	struct cli_args a;
	char copy[512], why[256], *words[32], *save_ptr;
	FILE *fo = fmemopen(out, sizeof out, "w"), *fe = fmemopen(err, sizeof err, "w");
	int n = 0, status;

	out[0] = err[0] = 0;
	reply = answer;
	snprintf(copy, sizeof copy, "%s", line);
	words[n++] = "--context";
	words[n++] = dir;
	for (char *w = strtok_r(copy, " ", &save_ptr); w; w = strtok_r(NULL, " ", &save_ptr))
		words[n++] = w;
	assert_int_equal(cli_args_parse(&a, n, words, why, sizeof why), 0);
	status = cli_run(&a, fo, fe);
	cli_args_fini(&a);
	fclose(fo);
	fclose(fe);
	return status;
}

#define NOT_FOUND "HTTP/1.1 404 X\r\nContent-Length: 33\r\n\r\n{\"code\":\"not_found\",\"message\":\"\"}"

static int run_two(const char *first, const char *second, const char *line)
{
	next_reply = second;
	return run(first, line);
}

#define OK(body) "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n" body

static void a_good_call(void **state)
{
	(void)state;
	assert_int_equal(run(OK("{\"name\":\"h1\"}"), "host create h1 --description x"), 0);
	assert_string_equal(out, "host h1 created\n");
	assert_string_equal(client_name, "admin");
	assert_int_equal(strncmp(heard, "POST /outrigger.v1.HostService/CreateHost HTTP/1.1\r\n", 52), 0);
	assert_non_null(strstr(heard, "\r\n\r\n{\"host\":{\"name\":\"h1\",\"description\":\"x\"}}"));
	assert_null(strstr(heard, "Authorization"));
}

static void outputs(void **state)
{
	(void)state;
	assert_int_equal(run(OK("{\"hosts\":[{\"name\":\"h1\"},{\"name\":\"h2\"}]}"), "host list -o name"),
			 0);
	assert_string_equal(out, "h1\nh2\n");
	assert_int_equal(run(OK("{}"), "host list -o json"), 0);
	assert_string_equal(out, "{\n  \"hosts\": []\n}\n");
	assert_int_equal(run(OK("{}"), "host list"), 0);
	assert_string_equal(out, "");
	assert_string_equal(err, "no hosts yet: outriggerctl host create --help\n");
	assert_int_equal(run(OK("{\"name\":\"v\",\"novel\":[1]}"), "vnic show v -o json"), 0);
	assert_string_equal(out, "{\n  \"name\": \"v\",\n  \"novel\": [\n    1\n  ]\n}\n");
	assert_int_equal(run(OK("{\"name\":\"v\"}"), "vnic show v v -o json"), 0);
	assert_non_null(strstr(out, "\"vnics\": ["));
	/* One of two is a list still. */
	assert_int_equal(run_two(OK("{\"name\":\"v\"}"), NOT_FOUND, "vnic show v missing -o json"), 3);
	assert_string_equal(out, "{\n  \"vnics\": [\n    {\n      \"name\": \"v\"\n    }\n  ]\n}\n");
	assert_int_equal(run(OK("{\"version\":\"7\"}"), "version -o json"), 0);
	assert_string_equal(out,
			    "{\n  \"outriggerctl\": \"" OUTRIGGER_VERSION "\",\n  \"appliance\": \"7\"\n}\n");
	assert_int_equal(run(OK("{\"token\":\"t0\"}"), "host enroll-token h1"), 0);
	assert_string_equal(out, "t0\n");
	assert_int_equal(run("hang", "host delete h1 --dry-run"), 0);
	assert_non_null(strstr(out, "/outrigger.v1.HostService/DeleteHost\n{\n  \"name\": \"h1\"\n}\n"));
	assert_int_equal(run("hang", "host delete h1 --dry-run -o json"), 0);
	assert_string_equal(out, "{\n  \"name\": \"h1\"\n}\n");
}

static void errors_become_statuses(void **state)
{
	static const struct {
		const char *http, *body;
		int status;
		const char *said;
	} rows[] = {
		{"404", "{\"code\":\"not_found\",\"message\":\"name: no such host\"}", 3,
		 "outriggerctl: host show h1: name: no such host (not_found)\n"
		 "  outriggerctl host list shows what there is\n"},
		{"409", "{\"code\":\"already_exists\",\"message\":\"m\"}", 4,
		 "outriggerctl: host show h1: m (already_exists)\n"},
		{"409", "{\"code\":\"aborted\",\"message\":\"m\"}", 4, "(aborted)"},
		{"400", "{\"code\":\"invalid_argument\",\"message\":\"vlan: out of range\"}", 5,
		 "vlan: out of range (invalid_argument)"},
		{"401", "{\"code\":\"unauthenticated\",\"message\":\"m\"}", 6, "--context"},
		{"503", "{\"code\":\"unavailable\",\"message\":\"m\"}", 7, "(unavailable)"},
		{"500", "not JSON", 1, "outriggerctl: host show h1: the appliance answered HTTP 500\n"},
		{"200", "not JSON", 1, "not JSON"},
		{"200", "[]", 1, "not JSON"},
		{"200", "{\"a\":1,\"a\":2}", 1, "not JSON"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		char answer[256];

		snprintf(answer, sizeof answer, "HTTP/1.1 %s X\r\nContent-Length: %zu\r\n\r\n%s",
			 rows[i].http, strlen(rows[i].body), rows[i].body);
		assert_int_equal(run(answer, "host show h1"), rows[i].status);
		assert_string_equal(out, "");
		if (!strstr(err, rows[i].said))
			fail_msg("wanted %s\ngot %s", rows[i].said, err);
	}
}

#define TAKEN(m)                                                                                             \
	"HTTP/1.1 409 X\r\nConnection: close\r\n\r\n{\"code\":\"already_exists\",\"message\":\"" m "\"}"

/* What is told to be looked at must be there. */
static void advice_fits_the_error(void **state)
{
	(void)state;
	assert_int_equal(run(TAKEN("name: vnic v already exists"), "vnic create v"), CLI_CONFLICT);
	assert_non_null(strstr(err, "outriggerctl vnic show v"));
	assert_int_equal(run(TAKEN("mac: is already used by vnic w"), "vnic create v"), CLI_CONFLICT);
	assert_null(strstr(err, "vnic show v"));
}

static void who_we_are(void **state)
{
	char line[256];

	(void)state;
	/* A token given by hand goes instead of the certificate. */
	assert_int_equal(run(OK("{}"), "host list --token abc"), 0);
	assert_string_equal(client_name, "");
	assert_non_null(strstr(heard, "\r\nAuthorization: Bearer abc\r\n"));
	snprintf(line, sizeof line, "host list --token @%s/token", dir);
	assert_int_equal(run(OK("{}"), line), 0);
	assert_non_null(strstr(heard, "\r\nAuthorization: Bearer secret-of-a-file\r\n"));
	assert_int_equal(run(OK("{}"), "host list --token @/nonexistent/token"), CLI_USAGE);
	assert_int_equal(run(OK("{}"), "host list --cert /nonexistent/cert"), CLI_USAGE);
	assert_non_null(
		strstr(err, "/nonexistent/cert: cannot be used as certificate: No such file or directory"));
	/* The certificate without its key. */
	snprintf(line, sizeof line, "host list --key %s/ca.crt", dir);
	assert_int_equal(run(OK("{}"), line), CLI_USAGE);
}

static void who_is_trusted(void **state)
{
	char line[256];

	(void)state;
	/* Another CA of the same name. */
	snprintf(line, sizeof line, "host list --cacert %s/other.crt", dir);
	assert_int_equal(run(OK("{}"), line), CLI_NOWHERE);
	assert_non_null(strstr(err, "is not the appliance of"));
	assert_string_equal(heard, "");
	/* The right CA, for another name. */
	assert_int_equal(run(OK("{}"), "host list --server-name elsewhere"), CLI_NOWHERE);
	assert_non_null(strstr(err, "is not for \"elsewhere\""));
	assert_int_equal(run(OK("{}"), "host list --server-name 127.0.0.2"), CLI_NOWHERE);
	assert_int_equal(run(OK("{}"), "host list --server-name appliance.test"), 0);
	snprintf(line, sizeof line, "host list --api localhost:%u", port);
	assert_int_equal(run(OK("{}"), line), CLI_NOWHERE);
}

static void bad_servers(void **state)
{
	(void)state;
	assert_int_equal(run("hang", "host list --timeout 1"), CLI_NOWHERE);
	assert_non_null(strstr(err, "within 1 s"));
	assert_int_equal(run("", "host list"), CLI_NOWHERE);
	assert_int_equal(run("SSH-2.0-x\r\n\r\n", "host list"), CLI_NOWHERE);
	assert_int_equal(run("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}", "host list"), CLI_NOWHERE);
	assert_int_equal(run("", "host list --api 127.0.0.1:1"), CLI_NOWHERE);
	assert_non_null(strstr(err, "Is outriggerd running there?"));
	assert_int_equal(run("", "host list --api http://x"), CLI_USAGE);
	assert_int_equal(run("", "host list --context /nonexistent"), CLI_USAGE);
	assert_non_null(strstr(err, "OUTRIGGER_CONTEXT"));
}

static void the_first_failure_counts(void **state)
{
	(void)state;
	assert_int_equal(run("HTTP/1.1 404 X\r\n\r\n"
			     "{\"code\":\"not_found\",\"message\":\"gone\"}",
			     "host delete h1 h2"),
			 CLI_ABSENT);
	assert_non_null(strstr(err, "host delete h1: gone"));
	assert_non_null(strstr(err, "host delete h2: gone"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_good_call),
		cmocka_unit_test(outputs),
		cmocka_unit_test(errors_become_statuses),
		cmocka_unit_test(advice_fits_the_error),
		cmocka_unit_test(who_we_are),
		cmocka_unit_test(who_is_trusted),
		cmocka_unit_test(bad_servers),
		cmocka_unit_test(the_first_failure_counts),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, setup, teardown);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The control channel over loopback: who gets in, what comes through, what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event.h>

#include "fabric/base/clock.h"
#include "fabric/chan/chan.h"
#include "fabric/chan/pki.h"
#include "tests/lib/wait.h"

/* One end's view, as counts and the last text. */
struct end {
	int ups, downs, messages;
	size_t bytes;
	char last[64], reason[256];
	struct chan_peer peer;
	struct chan *chan;
	bool echo, close_on_message;
};

static struct event_base *base;
static struct chan_listener *listener;
static struct end server, client;
static struct pki *ca, *other_ca;
static char dir[64], other_dir[64];
static SSL_CTX *server_tls, *host_tls;

static const char *file(const char *d, const char *name)
{
	static char buf[8][128];
	static int slot;

	slot = (slot + 1) % 8;
	snprintf(buf[slot], sizeof(buf[slot]), "%s/%s", d, name);
	return buf[slot];
}

static void on_up(void *ctx, struct chan *c, const struct chan_peer *peer)
{
	struct end *e = ctx;

	e->ups++;
	e->chan = c;
	e->peer = *peer;
}

static void on_message(void *ctx, struct chan *c, const uint8_t *bytes, size_t len)
{
	struct end *e = ctx;

	e->messages++;
	e->bytes += len;
	snprintf(e->last, sizeof(e->last), "%.*s", (int)(len < 60 ? len : 60), (const char *)bytes);
	if (e->echo)
		assert_int_equal(chan_send(c, bytes, len), 0);
	if (e->close_on_message)
		chan_close(c);
}

static void on_down(void *ctx, struct chan *c, const char *reason)
{
	struct end *e = ctx;

	(void)c;
	e->downs++;
	e->chan = NULL;
	snprintf(e->reason, sizeof(e->reason), "%s", reason);
}

static const struct chan_ops ops = {on_up, on_message, on_down};

static void issue(struct pki *p, const char *d, const char *role, const char *name)
{
	static const char *const sans[] = {"127.0.0.1"};
	char key[32], crt[32];

	snprintf(key, sizeof(key), "%s.key", name);
	snprintf(crt, sizeof(crt), "%s.crt", name);
	assert_int_equal(pki_issue_files(p, role, name, sans, strcmp(role, PKI_ROLE_APPLIANCE) ? 0 : 1, 1,
					 file(d, key), file(d, crt), NULL),
			 0);
}

static SSL_CTX *client_tls(const char *ca_dir, const char *own_dir, const char *name)
{
	char key[32], crt[32];
	SSL_CTX *t;

	snprintf(key, sizeof(key), "%s.key", name ? name : "");
	snprintf(crt, sizeof(crt), "%s.crt", name ? name : "");
	t = pki_client_ctx(file(ca_dir, "ca.crt"), name ? file(own_dir, crt) : NULL,
			   name ? file(own_dir, key) : NULL, NULL);
	assert_non_null(t);
	return t;
}

static int group_setup(void **state)
{
	(void)state;
	signal(SIGPIPE, SIG_IGN);
	strcpy(dir, "/tmp/outrigger-chan-XXXXXX");
	strcpy(other_dir, "/tmp/outrigger-chan-XXXXXX");
	if (!mkdtemp(dir) || !mkdtemp(other_dir))
		return -1;
	assert_int_equal(pki_open(dir, &ca, NULL), 0);
	assert_int_equal(pki_open(other_dir, &other_ca, NULL), 0);
	issue(ca, dir, PKI_ROLE_APPLIANCE, "app");
	issue(ca, dir, PKI_ROLE_HOST, "h1");
	issue(ca, dir, PKI_ROLE_ADMIN, "adm");
	issue(other_ca, other_dir, PKI_ROLE_HOST, "h1");
	issue(other_ca, other_dir, PKI_ROLE_APPLIANCE, "app");
	server_tls = pki_server_ctx(file(dir, "ca.crt"), file(dir, "app.crt"), file(dir, "app.key"),
				    PKI_CLIENT_REQUIRED, NULL);
	host_tls = client_tls(dir, dir, "h1");
	return server_tls ? 0 : -1;
}

static int group_teardown(void **state)
{
	char cmd[200];

	(void)state;
	SSL_CTX_free(server_tls);
	SSL_CTX_free(host_tls);
	pki_close(ca);
	pki_close(other_ca);
	snprintf(cmd, sizeof(cmd), "rm -rf %s %s", dir, other_dir);
	return system(cmd);
}

static struct chan_listen_cfg listen_cfg(void)
{
	return (struct chan_listen_cfg){
		.base = base, .address = "127.0.0.1", .tls = server_tls, .ops = &ops, .ctx = &server};
}

static int setup(void **state)
{
	struct chan_listen_cfg cfg;

	(void)state;
	memset(&server, 0, sizeof(server));
	memset(&client, 0, sizeof(client));
	base = event_base_new();
	cfg = listen_cfg();
	return chan_listen(&cfg, &listener);
}

static int teardown(void **state)
{
	(void)state;
	if (client.chan)
		chan_close(client.chan);
	chan_listener_free(listener);
	event_base_free(base);
	return 0;
}

static void relisten(struct chan_listen_cfg cfg)
{
	chan_listener_free(listener);
	assert_int_equal(chan_listen(&cfg, &listener), 0);
}

static void dial(SSL_CTX *tls)
{
	struct chan_connect_cfg cfg = {.base = base,
				       .host = "127.0.0.1",
				       .port = chan_listener_port(listener),
				       .tls = tls,
				       .ops = &ops,
				       .ctx = &client};
	struct chan *c;

	assert_int_equal(chan_connect(&cfg, &c), 0);
}

static void both_up(void)
{
	dial(host_tls);
	wait_until(base, server.ups == 1 && client.ups == 1);
}

static uint64_t counter(enum chan_counter c)
{
	return chan_listener_counters(listener)[c];
}

static void both_ends_know_each_other(void **state)
{
	uint8_t fp[32];
	char *pem;
	size_t len;

	(void)state;
	both_up();
	assert_string_equal(server.peer.name, "h1");
	assert_string_equal(server.peer.role, "host");
	assert_string_equal(client.peer.role, "appliance");
	assert_int_equal(pki_read_file(file(dir, "h1.crt"), PKI_PEM_MAX, &pem, &len, NULL), 0);
	assert_int_equal(pki_pem_fingerprint(pem, len, fp), 0);
	free(pem);
	assert_memory_equal(fp, server.peer.fingerprint, 32);
	chan_close(client.chan);
	assert_int_equal(client.downs, 1);
	wait_until(base, server.downs == 1);
	assert_string_equal(server.reason, "closed by the peer");
}

static void messages_come_whole_and_in_order(void **state)
{
	static uint8_t big[CHAN_MESSAGE_MAX];

	(void)state;
	both_up();
	server.echo = true;
	memset(big, 'x', sizeof(big));
	assert_int_equal(chan_send(client.chan, "a", 1), 0);
	assert_int_equal(chan_send(client.chan, big, sizeof(big)), 0);
	assert_int_equal(chan_send(client.chan, "last", 4), 0);
	wait_until(base, client.messages == 3);
	assert_int_equal(client.bytes, 1 + sizeof(big) + 4);
	assert_string_equal(client.last, "last");
	assert_int_equal(chan_send(client.chan, big, 0), -EMSGSIZE);
	assert_int_equal(chan_send(client.chan, big, sizeof(big) + 1), -EMSGSIZE);
}

static void close_inside_a_message(void **state)
{
	(void)state;
	both_up();
	server.close_on_message = true;
	chan_send(client.chan, "1", 1);
	chan_send(client.chan, "2", 1);
	wait_until(base, server.downs == 1 && client.downs == 1);
	assert_int_equal(server.messages, 1);
	assert_string_equal(server.reason, "closed");
}

static void refused(SSL_CTX *tls, enum chan_counter which)
{
	uint64_t before = counter(which);

	dial(tls);
	wait_until(base, client.downs == 1 && counter(which) == before + 1);
	assert_int_equal(server.ups, 0);
	assert_int_equal(server.downs, 0);
}

static void no_certificate_is_refused(void **state)
{
	SSL_CTX *t = client_tls(dir, dir, NULL);

	(void)state;
	refused(t, CHAN_C_drop_handshake_failed);
	SSL_CTX_free(t);
}

static void another_ca_is_refused(void **state)
{
	SSL_CTX *t = client_tls(dir, other_dir, "h1");

	(void)state;
	refused(t, CHAN_C_drop_handshake_failed);
	SSL_CTX_free(t);
}

static void another_role_is_refused(void **state)
{
	SSL_CTX *t = client_tls(dir, dir, "adm");

	(void)state;
	refused(t, CHAN_C_drop_role);
	SSL_CTX_free(t);
}

/* The agent, too, knows a false appliance. */
static void appliance_of_another_ca_is_refused(void **state)
{
	SSL_CTX *t = client_tls(other_dir, dir, "h1");

	(void)state;
	dial(t);
	wait_until(base, client.downs == 1);
	assert_int_equal(client.ups, 0);
	assert_non_null(strstr(client.reason, "certificate"));
	SSL_CTX_free(t);
}

static void tls_1_2_is_refused(void **state)
{
	SSL_CTX *t = client_tls(dir, dir, "h1");

	(void)state;
	SSL_CTX_set_min_proto_version(t, TLS1_2_VERSION);
	SSL_CTX_set_max_proto_version(t, TLS1_2_VERSION);
	refused(t, CHAN_C_drop_handshake_failed);
	assert_int_equal(client.ups, 0);
	SSL_CTX_free(t);
}

static void nobody_listens(void **state)
{
	struct chan_connect_cfg cfg = {
		.base = base, .host = "127.0.0.1", .port = 1, .tls = host_tls, .ops = &ops, .ctx = &client};
	struct chan *c;

	(void)state;
	assert_int_equal(chan_connect(&cfg, &c), 0);
	assert_int_equal(client.downs, 0);
	wait_until(base, client.downs == 1);
	assert_string_equal(client.reason, "Connection refused");
}

/* A peer that can do TLS but not our framing: a raw OpenSSL client. */
struct raw {
	int fd;
	SSL *ssl;
};

static int tcp(void)
{
	struct sockaddr_in sin = {.sin_family = AF_INET,
				  .sin_port = htons(chan_listener_port(listener)),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(connect(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	return fd;
}

static void raw_connect(struct raw *r)
{
	int done = 0;

	r->fd = tcp();
	r->ssl = SSL_new(host_tls);
	SSL_set_fd(r->ssl, r->fd);
	SSL_set_connect_state(r->ssl);
	wait_until(base, (done = SSL_do_handshake(r->ssl)) == 1);
	wait_until(base, server.ups == 1);
}

static void raw_close(struct raw *r)
{
	SSL_free(r->ssl);
	close(r->fd);
}

static void length_out_of_range_ends_the_channel(void **state)
{
	static const uint8_t bad[][4] = {{0, 0, 0, 0}, {0, 0x10, 0, 1}, {0xff, 0xff, 0xff, 0xff}};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct raw r;

		memset(&server, 0, sizeof(server));
		raw_connect(&r);
		assert_int_equal(SSL_write(r.ssl, bad[i], 4), 4);
		wait_until(base, server.downs == 1);
		assert_int_equal(server.messages, 0);
		assert_string_equal(server.reason, "message length out of range");
		raw_close(&r);
	}
	assert_int_equal(counter(CHAN_C_drop_frame), 3);
}

static void half_a_message_is_dropped_in_time(void **state)
{
	struct chan_listen_cfg cfg = listen_cfg();
	struct raw r;

	(void)state;
	cfg.stall_ms = 100;
	relisten(cfg);
	raw_connect(&r);
	assert_int_equal(SSL_write(r.ssl, "\0\0\0\2ab\0\0\0\5x", 11), 11);
	wait_until(base, server.downs == 1);
	assert_int_equal(server.messages, 1);
	assert_string_equal(server.reason, "peer stopped within a message");
	raw_close(&r);
}

static void an_idle_channel_stays(void **state)
{
	struct chan_listen_cfg cfg = listen_cfg();
	uint64_t until;

	(void)state;
	cfg.stall_ms = 800; /* enough for the handshake, on a machine that does other things too */
	relisten(cfg);
	both_up();
	until = clock_now_ns() + 1000 * NSEC_PER_MSEC;
	wait_until(base, clock_now_ns() > until);
	assert_int_equal(server.downs, 0);
	assert_int_equal(chan_send(client.chan, "x", 1), 0);
	wait_until(base, server.messages == 1);
}

/* Tops the queue up; true once the channel has ended. */
static bool fill_until_down(int *last)
{
	static uint8_t chunk[64 << 10];

	while (server.chan && (*last = chan_send(server.chan, chunk, sizeof(chunk))) == 0)
		;
	return server.downs == 1;
}

/* Reads nothing: the queue fills to its bound and no further, then the peer is dropped. */
static void slow_reader_is_bounded_and_dropped(void **state)
{
	struct chan_listen_cfg cfg = listen_cfg();
	struct raw r;
	int rc = 0;

	(void)state;
	cfg.stall_ms = 300;
	cfg.queue_max = 1 << 20;
	relisten(cfg);
	raw_connect(&r);
	fill_until_down(&rc);
	assert_int_equal(rc, -ENOBUFS);
	assert_true(chan_queued(server.chan) <= 1 << 20);
	wait_until(base, fill_until_down(&rc));
	assert_string_equal(server.reason, "peer takes nothing off the connection");
	assert_int_equal(counter(CHAN_C_drop_stalled), 1);
	raw_close(&r);
}

static void silent_handshakes_are_capped_and_timed(void **state)
{
	struct chan_listen_cfg cfg = listen_cfg();
	int fd[3];

	(void)state;
	cfg.handshakes_max = 2;
	cfg.handshake_ms = 200;
	relisten(cfg);
	for (int i = 0; i < 3; i++)
		fd[i] = tcp();
	wait_until(base, counter(CHAN_C_accepted) == 3);
	assert_int_equal(counter(CHAN_C_drop_handshake_cap), 1);
	wait_until(base, counter(CHAN_C_drop_handshake_timeout) == 2);
	both_up(); /* there is room again */
	for (int i = 0; i < 3; i++)
		close(fd[i]);
	assert_int_equal(server.downs, 0);
}

static void channels_are_capped(void **state)
{
	struct chan_listen_cfg cfg = listen_cfg();
	struct end first;

	(void)state;
	cfg.channels_max = 1;
	relisten(cfg);
	both_up();
	first = client;
	memset(&client, 0, sizeof(client));
	dial(host_tls);
	wait_until(base, client.downs == 1);
	assert_int_equal(counter(CHAN_C_drop_channel_cap), 1);
	client = first;
}

static void listener_takes_its_channels_along(void **state)
{
	(void)state;
	both_up();
	chan_listener_free(listener);
	listener = NULL;
	assert_int_equal(server.downs, 1);
	wait_until(base, client.downs == 1);
}

static void port_in_use_is_said(void **state)
{
	struct chan_listen_cfg cfg = listen_cfg();
	struct chan_listener *l;

	(void)state;
	cfg.port = chan_listener_port(listener);
	assert_int_equal(chan_listen(&cfg, &l), -EADDRINUSE);
	cfg.address = "not an address";
	assert_int_equal(chan_listen(&cfg, &l), -EINVAL);
}

static void backoff_doubles_to_its_limit(void **state)
{
	static const uint32_t top[] = {100, 200, 400, 800, 1000, 1000};
	struct chan_backoff b;
	struct rng rng;

	(void)state;
	rng_init(&rng, 1);
	chan_backoff_init(&b, 100, 1000);
	for (size_t i = 0; i < sizeof(top) / sizeof(top[0]); i++) {
		uint32_t ms = chan_backoff_next(&b, &rng);

		assert_in_range(ms, top[i] * 3 / 4, top[i]);
	}
	chan_backoff_reset(&b);
	assert_in_range(chan_backoff_next(&b, &rng), 75, 100);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(both_ends_know_each_other),
		T(messages_come_whole_and_in_order),
		T(close_inside_a_message),
		T(no_certificate_is_refused),
		T(another_ca_is_refused),
		T(another_role_is_refused),
		T(appliance_of_another_ca_is_refused),
		T(tls_1_2_is_refused),
		T(nobody_listens),
		T(length_out_of_range_ends_the_channel),
		T(half_a_message_is_dropped_in_time),
		T(an_idle_channel_stays),
		T(slow_reader_is_bounded_and_dropped),
		T(silent_handshakes_are_capped_and_timed),
		T(channels_are_capped),
		T(listener_takes_its_channels_along),
		T(port_in_use_is_said),
		cmocka_unit_test(backoff_doubles_to_its_limit),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent's session against an appliance without manners, over a real TLS channel: every type of message in
 * every state. What does not belong there ends the session or is passed over, as session.c says; the device
 * of another's making stays what it was.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fabric/base/clock.h"
#include "fabric/base/log.h"
#include "fabric/chan/chan.h"
#include "fabric/chan/pki.h"
#include "fabric/rt/rt.h"
#include "hostagent/control/session.h"
#include "proto/session/session.h"
#include "tests/lib/wait.h"

#define M(x)  OUTRIGGER__SESSION__V1__MESSAGE__BODY_##x
#define TYPES 16u /* of message.body: NOT_SET, HELLO .. REKEYED */
#define DEV   5u

typedef Outrigger__Session__V1__Message message;

/* Of the session, as the appliance sees it. WAITING: its channel broke, and it asks to go on. */
enum st { CONNECTED, LIVE, ATTACHED, WAITING, STATES };
static const char *const names[STATES] = {"connected", "live", "attached", "waiting"};

static struct event_base *base;
static struct pki *pki;
static SSL_CTX *server_tls, *host_tls;
static struct chan_listener *listener;
static struct agent_session *agent;
static char dir[64], run_dir[80], sock[128];

/* What the played appliance has heard. */
static struct {
	struct chan *chan;
	unsigned ups, downs, seen[TYPES];
	uint64_t resume, stats, session;
	size_t devices;
	char error[256];
} A;

#define WAIT(cond) wait_until(base, cond)

static void on_up(void *ctx, struct chan *c, const struct chan_peer *peer)
{
	(void)ctx;
	assert_string_equal(peer->name, "h1");
	A.chan = c;
	A.ups++;
}

static void on_message(void *ctx, struct chan *c, const uint8_t *bytes, size_t len)
{
	message *m = session_unpack(bytes, len);

	(void)ctx, (void)c;
	assert_non_null(m);
	assert_in_range(m->body_case, 1, TYPES - 1);
	A.seen[m->body_case]++;
	if (m->body_case == M(HELLO))
		A.resume = m->hello->resume;
	if (m->body_case == M(STATS)) {
		A.stats = m->stats->id;
		A.devices = m->stats->n_devices;
	}
	if (m->body_case == M(ATTACHED))
		snprintf(A.error, sizeof(A.error), "%s", m->attached->error);
	outrigger__session__v1__message__free_unpacked(m, NULL);
}

static void on_down(void *ctx, struct chan *c, const char *reason)
{
	(void)ctx, (void)c, (void)reason;
	A.chan = NULL;
	A.downs++;
}

static const struct chan_ops ops = {on_up, on_message, on_down};

static void say_welcome(bool resumed)
{
	message m = OUTRIGGER__SESSION__V1__MESSAGE__INIT;
	Outrigger__Session__V1__Welcome w = OUTRIGGER__SESSION__V1__WELCOME__INIT;
	Outrigger__Session__V1__Path p = OUTRIGGER__SESSION__V1__PATH__INIT, *ps = &p;

	p.address = (char *)"127.0.0.1:9"; /* discard */
	p.rx_spi = 77;
	p.key.data = (uint8_t *)"sixteen bytes...";
	p.key.len = 16;
	w.version = SESSION_VERSION;
	w.session_id = A.session;
	w.n_paths = !resumed;
	w.paths = &ps;
	w.chunk = RT_CHUNK_DEFAULT;
	w.protection = OUTRIGGER__SESSION__V1__PROTECTION__AES_128_GCM;
	w.keepalive_ms = 1000;
	w.lost_ms = 600000;
	w.resumed = resumed;
	m.body_case = M(WELCOME);
	m.welcome = &w;
	assert_int_equal(session_send(A.chan, &m), 0);
}

static void say_attach(void)
{
	message m = OUTRIGGER__SESSION__V1__MESSAGE__INIT;
	Outrigger__Session__V1__Attach a = OUTRIGGER__SESSION__V1__ATTACH__INIT;
	static uint8_t config[60];

	a.dev = DEV;
	a.uid = (char *)"uid-of-disk";
	a.name = (char *)"disk";
	a.kind = OUTRIGGER__SESSION__V1__DEVICE_KIND__BLOCK;
	a.frontend = OUTRIGGER__SESSION__V1__FRONTEND__VHOST_USER;
	a.queues = 1;
	a.queue_size = 128;
	a.features = 1ull << 32;
	a.config.data = config;
	a.config.len = sizeof(config);
	a.epoch = 3;
	a.max_inflight = 1 << 20;
	m.body_case = M(ATTACH);
	m.attach = &a;
	assert_int_equal(session_send(A.chan, &m), 0);
}

/* A message of that type with nothing in it, as a peer may well form it. */
static void say_empty(unsigned type)
{
	const uint8_t known[] = {(uint8_t)(type << 3 | 2), 0}; /* that field of `body`, of length 0 */
	static const uint8_t later[] = {0xa0, 0x06, 1};	       /* field 100 */

	assert_int_equal(
		type ? chan_send(A.chan, known, sizeof(known)) : chan_send(A.chan, later, sizeof(later)), 0);
}

static void stats(uint64_t id)
{
	message m = OUTRIGGER__SESSION__V1__MESSAGE__INIT;
	Outrigger__Session__V1__StatsRequest r = OUTRIGGER__SESSION__V1__STATS_REQUEST__INIT;

	r.id = id;
	m.body_case = M(STATS_REQUEST);
	m.stats_request = &r;
	if (A.chan)
		session_send(A.chan, &m);
}

static void fresh(void)
{
	struct agent_session_cfg cfg = {.base = base,
					.target = {{"127.0.0.1", chan_listener_port(listener)}},
					.ntargets = 1,
					.tls = host_tls,
					.run_dir = run_dir};

	agent_session_destroy(agent);
	agent = NULL;
	WAIT(!A.chan);
	memset(&A, 0, sizeof(A));
	A.session = 0x1234;
	assert_int_equal(agent_session_create(&cfg, &agent), 0);
	WAIT(A.seen[M(HELLO)] == 1);
	assert_true(A.resume == 0);
}

static void reach(enum st st)
{
	fresh();
	if (st == CONNECTED)
		return;
	say_welcome(false);
	if (st == ATTACHED || st == WAITING) {
		say_attach();
		WAIT(A.seen[M(ATTACHED)]);
		assert_string_equal(A.error, "");
		assert_int_equal(access(sock, F_OK), 0);
	}
	stats(1);
	WAIT(A.stats == 1);
	if (st != WAITING)
		return;
	chan_close(A.chan);
	WAIT(A.seen[M(HELLO)] == 2);
	assert_true(A.resume == A.session);
}

enum fate { ENDS, STAYS, ANSWERED };

/* What an empty message of each type does. Only a session that is live takes any but the welcome. */
static enum fate expected(enum st st, unsigned type)
{
	if (st == CONNECTED || st == WAITING)
		return ENDS;
	switch (type) {
	case M(WELCOME): /* twice */
	case M(REFUSE):
	case M(REKEY): /* without SPI and key */
		return ENDS;
	case M(ATTACH):
	case M(DETACH):
	case M(STATS_REQUEST):
		return ANSWERED;
	default:
		return STAYS;
	}
}

static void one(enum st st, unsigned type)
{
	enum fate want = expected(st, type);
	unsigned before[TYPES];
	unsigned downs;

	reach(st);
	memcpy(before, A.seen, sizeof(before));
	downs = A.downs;
	say_empty(type);
	if (want == ENDS) {
		WAIT(A.downs > downs);
	} else {
		stats(99);
		WAIT(A.stats == 99 || A.downs > downs);
		if (A.downs > downs)
			fail_msg("%s: an empty message %u ends the session", names[st], type);
		for (unsigned i = 0; i < TYPES; i++) {
			unsigned more = A.seen[i] - before[i] - (i == M(STATS));
			bool answer = (type == M(ATTACH) && i == M(ATTACHED)) ||
				      (type == M(DETACH) && i == M(DETACHED)) ||
				      (type == M(STATS_REQUEST) && i == M(STATS));

			if (more != (want == ANSWERED && answer))
				fail_msg("%s: an empty message %u is answered by %u of %u", names[st], type,
					 more, i);
		}
		if (type == M(ATTACH))
			assert_string_not_equal(A.error, "");
	}
	/* The device is there, whatever came. */
	if (st == ATTACHED || st == WAITING)
		assert_int_equal(access(sock, F_OK), 0);
}

static void every_message_in_every_state(void **state)
{
	(void)state;
	for (enum st st = 0; st < STATES; st++)
		for (unsigned type = 0; type < TYPES; type++)
			one(st, type);
}

static void bytes_that_are_no_message(void **state)
{
	(void)state;
	for (enum st st = 0; st < STATES; st++) {
		unsigned downs;

		reach(st);
		downs = A.downs;
		assert_int_equal(chan_send(A.chan, "\xff\xff\xff", 3), 0);
		WAIT(A.downs > downs);
	}
}

/* A session that waits for its channel goes on, and only as itself. */
static void resumed(void **state)
{
	unsigned downs;

	(void)state;
	reach(WAITING);
	say_welcome(true);
	stats(7);
	WAIT(A.stats == 7);
	assert_int_equal(access(sock, F_OK), 0);
	reach(WAITING);
	A.session++;
	downs = A.downs;
	say_welcome(true);
	WAIT(A.downs > downs);
	reach(CONNECTED);
	say_welcome(true); /* it has none */
	WAIT(A.downs > 0);
}

/* A quiet device's counters are told once to whom has been told of the device. */
static void counters_are_told_when_they_have_changed(void **state)
{
	(void)state;
	reach(ATTACHED);
	assert_int_equal(A.devices, 1);
	stats(2);
	WAIT(A.stats == 2);
	assert_int_equal(A.devices, 0);
	say_attach();
	WAIT(A.seen[M(ATTACHED)] == 2);
	stats(3);
	WAIT(A.stats == 3);
	assert_int_equal(A.devices, 1);
}

static void fields_out_of_range(void **state)
{
	static const struct {
		uint32_t path, spi, key, config;
	} rows[] = {{RT_PATHS, 1, 16, 0}, {UINT32_MAX, 1, 16, 0}, {0, 0, 16, 0},
		    {0, 1, 15, 0},	  {0, 1, 17, 0},	  {0, 1, 0, 0}};
	static uint8_t bytes[4096];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		message m = OUTRIGGER__SESSION__V1__MESSAGE__INIT;
		Outrigger__Session__V1__Rekey k = OUTRIGGER__SESSION__V1__REKEY__INIT;

		reach(LIVE);
		k.index = rows[i].path;
		k.rx_spi = rows[i].spi;
		k.key.data = bytes;
		k.key.len = rows[i].key;
		m.body_case = M(REKEY);
		m.rekey = &k;
		assert_int_equal(session_send(A.chan, &m), 0);
		WAIT(A.downs == 1);
		assert_int_equal(A.seen[M(REKEYED)], 0);
	}
	for (size_t len = 0; len < sizeof(bytes); len = len ? len * 2 : 1) {
		message m = OUTRIGGER__SESSION__V1__MESSAGE__INIT;
		Outrigger__Session__V1__Carrier c = OUTRIGGER__SESSION__V1__CARRIER__INIT;

		reach(LIVE);
		c.packet.data = bytes;
		c.packet.len = len;
		m.body_case = M(CARRIER); /* there is no such path: passed over */
		m.carrier = &c;
		assert_int_equal(session_send(A.chan, &m), 0);
		stats(8);
		WAIT(A.stats == 8);
	}
}

static int group_setup(void **state)
{
	static const char *const sans[] = {"127.0.0.1"};
	struct chan_listen_cfg cfg = {.address = "127.0.0.1", .ops = &ops};
	char key[96], crt[96], ca[96];

	(void)state;
	signal(SIGPIPE, SIG_IGN);
	strcpy(dir, "/tmp/outrigger-session-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(run_dir, sizeof(run_dir), "%s/run", dir);
	snprintf(sock, sizeof(sock), "%s/disk.sock", run_dir);
	mkdir(run_dir, 0755);
	assert_int_equal(pki_open(dir, &pki, NULL), 0);
	snprintf(ca, sizeof(ca), "%s/ca.crt", dir);
	snprintf(key, sizeof(key), "%s/app.key", dir);
	snprintf(crt, sizeof(crt), "%s/app.crt", dir);
	assert_int_equal(pki_issue_files(pki, PKI_ROLE_APPLIANCE, "app", sans, 1, 1, key, crt, NULL), 0);
	server_tls = pki_server_ctx(ca, crt, key, PKI_CLIENT_REQUIRED, NULL);
	snprintf(key, sizeof(key), "%s/h1.key", dir);
	snprintf(crt, sizeof(crt), "%s/h1.crt", dir);
	assert_int_equal(pki_issue_files(pki, PKI_ROLE_HOST, "h1", NULL, 0, 1, key, crt, NULL), 0);
	host_tls = pki_client_ctx(ca, crt, key, NULL);
	base = event_base_new();
	assert_true(server_tls && host_tls && base);
	cfg.base = base;
	cfg.tls = server_tls;
	return chan_listen(&cfg, &listener);
}

static int group_teardown(void **state)
{
	char command[128];

	(void)state;
	agent_session_destroy(agent);
	chan_listener_free(listener);
	SSL_CTX_free(server_tls);
	SSL_CTX_free(host_tls);
	pki_close(pki);
	event_base_free(base);
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_message_in_every_state),
		cmocka_unit_test(bytes_that_are_no_message),
		cmocka_unit_test(resumed),
		cmocka_unit_test(counters_are_told_when_they_have_changed),
		cmocka_unit_test(fields_out_of_range),
	};

	log_init("test_session", LOG_ERR);
	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}

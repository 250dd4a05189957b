/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's `enroll` against the appliance's API, and a session with what it brought home. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <event2/event.h>

#include "appliance/control/control.h"
#include "fabric/base/clock.h"
#include "fabric/chan/chan.h"
#include "fabric/chan/pki.h"
#include "fabric/chan/token.h"
#include "hostagent/control/enroll.h"
#include "tests/lib/wait.h"

static struct event_base *base;
static struct control *ctl;
static char dir[64], state_dir[96], address[40], token[TOKEN_TEXT_SIZE];

static const char *in(const char *d, const char *file)
{
	static char buf[8][160];
	static int slot;

	slot = (slot + 1) % 8;
	snprintf(buf[slot], sizeof(buf[slot]), "%s/%s", d, file);
	return buf[slot];
}

/* As HostService/CreateEnrollToken makes them; ca_wrong: as another appliance would. */
static void make_token(bool ca_wrong)
{
	uint8_t secret[32], ca[32];
	struct token_parts parts;
	struct pki *p;

	memset(secret, 7, sizeof(secret));
	secret[0] = (uint8_t)clock_now_ns();
	assert_int_equal(pki_open(in(dir, "pki"), &p, NULL), 0);
	pki_ca_fingerprint(p, ca);
	pki_close(p);
	ca[0] ^= ca_wrong;
	token_format(secret, ca, token);
	assert_int_equal(token_parse(token, &parts), 0);
	assert_int_equal(store_token_set(control_store(ctl), "h1", parts.hash, time(NULL) + 3600), 0);
}

static void make_host(void)
{
	struct model *m = (struct model *)(uintptr_t)control_model(ctl);
	Outrigger__V1__Host h = OUTRIGGER__V1__HOST__INIT;
	struct change chg;
	struct api_err err;

	h.name = (char *)(uintptr_t) "h1";
	assert_int_equal(model_prepare_create(m, KIND_HOST, &h.base, &chg, &err), 0);
	model_commit(m, &chg);
	change_clear(&chg);
}

static int setup(void **state)
{
	struct control_cfg cfg = {.api_address = "127.0.0.1", .session_port = 7444};
	char why[256];

	(void)state;
	signal(SIGPIPE, SIG_IGN);
	strcpy(dir, "/tmp/outrigger-enroll-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	base = event_base_new();
	cfg.base = base;
	cfg.state_dir = dir;
	if (control_init(&cfg, &ctl, why, sizeof(why)) || control_listen(ctl, why, sizeof(why)))
		fail_msg("%s", why);
	make_host();
	snprintf(state_dir, sizeof(state_dir), "%s/agent", dir);
	snprintf(address, sizeof(address), "127.0.0.1:%u", control_api_port(ctl));
	make_token(false);
	return 0;
}

static int teardown(void **state)
{
	char cmd[100];

	(void)state;
	control_fini(ctl);
	event_base_free(base);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
	return system(cmd);
}

static int status;
static bool finished;

static void *run_agent(void *arg)
{
	status = agent_enroll(address, arg, state_dir);
	__atomic_store_n(&finished, true, __ATOMIC_RELEASE);
	return NULL;
}

static int enroll(char *text)
{
	pthread_t t;

	finished = false;
	assert_int_equal(pthread_create(&t, NULL, run_agent, text), 0);
	wait_until(base, __atomic_load_n(&finished, __ATOMIC_ACQUIRE));
	pthread_join(t, NULL);
	return status;
}

static bool exists(const char *file)
{
	return access(in(state_dir, file), F_OK) == 0;
}

static struct chan_peer seen;
static bool up, down;

static void on_up(void *ctx, struct chan *c, const struct chan_peer *peer)
{
	(void)c;
	if (ctx) {
		seen = *peer;
		up = true;
	}
}

static void on_message(void *ctx, struct chan *c, const uint8_t *bytes, size_t len)
{
	(void)ctx, (void)c, (void)bytes, (void)len;
}

static void on_down(void *ctx, struct chan *c, const char *reason)
{
	(void)c, (void)reason;
	if (!ctx) /* the agent's end */
		down = true;
}

static const struct chan_ops ops = {on_up, on_message, on_down};

static void an_enrolled_agent_is_known(void **state)
{
	char why[200];
	struct stat st;
	SSL_CTX *server, *client;
	struct chan_listen_cfg lc = {.base = base, .address = "127.0.0.1", .ops = &ops, .ctx = &up};
	struct chan_connect_cfg cc = {.base = base, .host = "127.0.0.1", .ops = &ops};
	struct chan_listener *l;
	struct chan *c;

	(void)state;
	up = down = false;
	assert_int_equal(enroll(token), 0);
	assert_int_equal(stat(in(state_dir, "host.key"), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	lc.tls = server = control_session_tls(ctl, why, sizeof(why));
	client = pki_client_ctx(in(state_dir, "ca.crt"), in(state_dir, "host.crt"), in(state_dir, "host.key"),
				NULL);
	assert_non_null(server);
	assert_non_null(client);
	assert_int_equal(chan_listen(&lc, &l), 0);
	cc.port = chan_listener_port(l);
	cc.tls = client;
	assert_int_equal(chan_connect(&cc, &c), 0);
	wait_until(base, up);
	assert_string_equal(seen.name, "h1");
	assert_int_equal(control_host_check(ctl, seen.name, seen.fingerprint), 0);
	chan_listener_free(l);
	wait_until(base, down);
	SSL_CTX_free(server);
	SSL_CTX_free(client);
}

static void a_used_token_brings_nothing(void **state)
{
	(void)state;
	assert_int_equal(enroll(token), 0);
	assert_int_equal(unlink(in(state_dir, "host.crt")), 0);
	assert_int_equal(enroll(token), 1);
	assert_false(exists("host.crt"));
}

/* The token is told only to the appliance that it names. */
static void another_appliance_is_not_told_the_token(void **state)
{
	struct token_parts parts;
	char host[64];
	int64_t expires;
	bool used;

	(void)state;
	make_token(true);
	assert_int_equal(enroll(token), 1);
	assert_false(exists("host.key"));
	assert_int_equal(token_parse(token, &parts), 0);
	assert_int_equal(store_token_find(control_store(ctl), parts.hash, host, &expires, &used), 0);
	assert_false(used);
}

static void what_is_wrong_here_does_not_spend_the_token(void **state)
{
	char rubbish[] = "rubbish";
	FILE *f;

	(void)state;
	assert_int_equal(enroll(rubbish), 1);
	f = fopen(state_dir, "w"); /* a file where the directory should be */
	fclose(f);
	assert_int_equal(enroll(token), 1);
	unlink(state_dir);
	snprintf(address, sizeof(address), "127.0.0.1:1");
	assert_int_equal(enroll(token), 1);
	snprintf(address, sizeof(address), "127.0.0.1:x");
	assert_int_equal(enroll(token), 1);
	snprintf(address, sizeof(address), "127.0.0.1:%u", control_api_port(ctl));
	assert_int_equal(enroll(token), 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(an_enrolled_agent_is_known),
		T(a_used_token_brings_nothing),
		T(another_appliance_is_not_told_the_token),
		T(what_is_wrong_here_does_not_spend_the_token),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

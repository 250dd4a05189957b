/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An appliance that a test plays to an agent's sessions, over real TLS channels on loopback: the certificates
 * of both, a listener, an event loop, and what such an appliance says. What it hears is the test's. Included
 * by one test program each.
 */
#ifndef OUTRIGGER_TESTS_PLAYED_APPLIANCE_H
#define OUTRIGGER_TESTS_PLAYED_APPLIANCE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fabric/chan/chan.h"
#include "fabric/chan/pki.h"
#include "fabric/rt/rt.h"
#include "hostagent/control/session.h"
#include "proto/session/session.h"
#include "tests/lib/wait.h"

#define M(x)	   OUTRIGGER__SESSION__V1__MESSAGE__BODY_##x
#define WAIT(cond) wait_until(base, cond)

typedef Outrigger__Session__V1__Message message;

static struct event_base *base;
static struct pki *pki;
static SSL_CTX *server_tls, *host_tls;
static struct chan_listener *listener;
static char dir[64], run_dir[80];

/* For the host h1, which this appliance knows. */
static struct agent_session_cfg agent_cfg(void)
{
	return (struct agent_session_cfg){.base = base,
					  .target = {{"127.0.0.1", chan_listener_port(listener)}},
					  .ntargets = 1,
					  .tls = host_tls,
					  .run_dir = run_dir};
}

/* ---- what it says ---- */

static void tell(struct chan *c, message *m)
{
	assert_int_equal(session_send(c, m), 0);
}

/* lanes: of the agent's, that it takes. */
static void tell_welcome(struct chan *c, uint64_t session, bool resumed, unsigned lanes)
{
	message m = OUTRIGGER__SESSION__V1__MESSAGE__INIT;
	Outrigger__Session__V1__Welcome w = OUTRIGGER__SESSION__V1__WELCOME__INIT;
	Outrigger__Session__V1__Path p = OUTRIGGER__SESSION__V1__PATH__INIT, *ps = &p;

	p.address = (char *)"127.0.0.1:9"; /* discard */
	p.rx_spi = 77;
	p.key.data = (uint8_t *)"sixteen bytes...";
	p.key.len = 16;
	w.version = SESSION_VERSION;
	w.session_id = session;
	w.n_paths = !resumed;
	w.paths = &ps;
	w.chunk = RT_CHUNK_DEFAULT;
	w.protection = OUTRIGGER__SESSION__V1__PROTECTION__AES_128_GCM;
	w.keepalive_ms = 1000;
	w.lost_ms = 600000;
	w.resumed = resumed;
	w.lanes = lanes;
	m.body_case = M(WELCOME);
	m.welcome = &w;
	tell(c, &m);
}

/* A disk. */
static void tell_attach(struct chan *c, uint32_t dev, const char *uid, const char *name, uint32_t epoch)
{
	message m = OUTRIGGER__SESSION__V1__MESSAGE__INIT;
	Outrigger__Session__V1__Attach a = OUTRIGGER__SESSION__V1__ATTACH__INIT;
	static uint8_t config[60];

	a.dev = dev;
	a.uid = (char *)uid;
	a.name = (char *)name;
	a.kind = OUTRIGGER__SESSION__V1__DEVICE_KIND__BLOCK;
	a.frontend = OUTRIGGER__SESSION__V1__FRONTEND__VHOST_USER;
	a.queues = 1;
	a.queue_size = 128;
	a.features = 1ull << 32;
	a.config.data = config;
	a.config.len = sizeof(config);
	a.epoch = epoch;
	a.max_inflight = 1 << 20;
	m.body_case = M(ATTACH);
	m.attach = &a;
	tell(c, &m);
}

/* session_send()'s: the channel may be gone. */
static int ask_stats(struct chan *c, uint64_t id)
{
	message m = OUTRIGGER__SESSION__V1__MESSAGE__INIT;
	Outrigger__Session__V1__StatsRequest r = OUTRIGGER__SESSION__V1__STATS_REQUEST__INIT;

	r.id = id;
	m.body_case = M(STATS_REQUEST);
	m.stats_request = &r;
	return session_send(c, &m);
}

/* ---- its life ---- */

static void certify(const char *role, const char *name, const char *const *sans, char key[96], char crt[96])
{
	snprintf(key, 96, "%s/%s.key", dir, name);
	snprintf(crt, 96, "%s/%s.crt", dir, name);
	assert_int_equal(pki_issue_files(pki, role, name, sans, sans ? 1 : 0, 1, key, crt, NULL), 0);
}

/* In a directory of its own below /tmp. ops: what it hears. */
static int appliance_begin(const struct chan_ops *ops)
{
	static const char *const sans[] = {"127.0.0.1"};
	struct chan_listen_cfg cfg = {.address = "127.0.0.1", .ops = ops};
	char key[96], crt[96], ca[96];

	signal(SIGPIPE, SIG_IGN);
	strcpy(dir, "/tmp/outrigger-agent-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(run_dir, sizeof(run_dir), "%s/run", dir);
	mkdir(run_dir, 0755);
	assert_int_equal(pki_open(dir, &pki, NULL), 0);
	snprintf(ca, sizeof(ca), "%s/ca.crt", dir);
	certify(PKI_ROLE_APPLIANCE, "app", sans, key, crt);
	server_tls = pki_server_ctx(ca, crt, key, PKI_CLIENT_REQUIRED, NULL);
	certify(PKI_ROLE_HOST, "h1", NULL, key, crt);
	host_tls = pki_client_ctx(ca, crt, key, NULL);
	base = event_base_new();
	assert_true(server_tls && host_tls && base);
	cfg.base = base;
	cfg.tls = server_tls;
	return chan_listen(&cfg, &listener);
}

static int appliance_end(void)
{
	char command[128];

	chan_listener_free(listener);
	SSL_CTX_free(server_tls);
	SSL_CTX_free(host_tls);
	pki_close(pki);
	event_base_free(base);
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command);
}

#endif

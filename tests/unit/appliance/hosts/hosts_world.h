/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The appliance from its control channel to the data plane in one process: a real store and CA, a real
 * worker on loopback UDP, hosts between them; agents are played by the test over real TLS channels.
 *
 * One world per program, for the EAL starts once in a process. Where it cannot start the tests skip.
 */
#ifndef OUTRIGGER_TESTS_HOSTS_WORLD_H
#define OUTRIGGER_TESTS_HOSTS_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <event2/event.h>
#include <openssl/rand.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "appliance/hosts/hosts_impl.h"
#include "appliance/port/eal.h"
#include "fabric/base/clock.h"
#include "fabric/base/log.h"
#include "fabric/chan/pki.h"
#include "fabric/link/link_udp.h"
#include "tests/lib/wait.h"

#define NETWORKS_MAX 8 /* of the data plane: one more is refused */
#define AGENT_DEVS   64
#define M(x)	     OUTRIGGER__SESSION__V1__MESSAGE__BODY_##x

typedef Outrigger__Session__V1__Message message;

/* Not in the tree of the test's own dir: made anew for each run. */
static struct world {
	bool ok; /* the EAL runs */
	char why[512], dir[64];
	struct event_base *base;
	struct event *nudge;
	struct buf_pool *bufs;
	struct storage *storage;
	struct hosts *h;
	struct dp *dp;
	struct control *ctl;
	struct control_ops ops;
	struct status_ops status;
	struct volume_ops volumes;
	struct pki *pki;
	uint16_t port;
	unsigned applied;
	int apply_err;
	char apply_msg[256];
	bool shut;
} W;

/* ---- the loop ---- */

static void nudged(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what, (void)arg;
}

#define WAIT(cond) wait_until(W.base, cond)

/* ---- the model ---- */

static inline void on_applied(void *arg, int err, const char *msg)
{
	(void)arg;
	W.applied++;
	W.apply_err = err;
	snprintf(W.apply_msg, sizeof(W.apply_msg), "%s", msg ? msg : "");
}

/* Begin, without waiting. */
static inline void begin_apply(const struct model *m)
{
	W.applied = 0;
	W.apply_err = W.ops.apply(W.ops.ctx, m, on_applied, NULL);
}

static inline int apply_model(const struct model *m)
{
	begin_apply(m);
	if (W.apply_err < 0)
		return W.apply_err;
	WAIT(W.applied);
	return W.apply_err;
}

static inline struct model *model(void)
{
	return (struct model *)(uintptr_t)control_model(W.ctl); /* the test is its API */
}

static inline void commit(struct change *chg)
{
	assert_int_equal(store_change(control_store(W.ctl), chg), 0);
	model_commit(model(), chg);
	change_clear(chg);
}

static inline void create(enum kind k, const void *in)
{
	struct api_err err = {0};
	struct change chg;

	if (model_prepare_create(model(), k, in, &chg, &err))
		fail_msg("%s", err.msg);
	commit(&chg);
}

static inline void update(enum kind k, const void *in, const char *mask)
{
	struct api_err err = {0};
	struct change chg;

	if (model_prepare_update(model(), k, in, mask, &chg, &err))
		fail_msg("%s", err.msg);
	commit(&chg);
}

static inline void drop(enum kind k, const char *name)
{
	struct api_err err = {0};
	struct change chg;

	if (model_prepare_delete(model(), k, name, 0, &chg, &err))
		fail_msg("%s", err.msg);
	commit(&chg);
}

static inline void apply_ok(void)
{
	if (apply_model(control_model(W.ctl)))
		fail_msg("%s", W.apply_msg);
}

static inline void make_profile(const char *name, const char *host)
{
	Outrigger__V1__Profile p = OUTRIGGER__V1__PROFILE__INIT;

	p.name = (char *)name;
	p.host = (char *)host;
	create(KIND_PROFILE, &p);
}

static inline void place_profile(const char *name, const char *host)
{
	Outrigger__V1__Profile p = OUTRIGGER__V1__PROFILE__INIT;

	p.name = (char *)name;
	p.host = (char *)host;
	update(KIND_PROFILE, &p, "host");
}

static inline void make_network(const char *name)
{
	Outrigger__V1__Network n = OUTRIGGER__V1__NETWORK__INIT;

	n.name = (char *)name;
	create(KIND_NETWORK, &n);
}

static inline void make_vnic(const char *name, const char *profile)
{
	Outrigger__V1__VNic v = OUTRIGGER__V1__VNIC__INIT;

	v.name = (char *)name;
	v.profile = (char *)profile;
	v.network = (char *)"net";
	create(KIND_VNIC, &v);
}

static inline void make_vdisk(const char *name, const char *profile, const char *pool)
{
	Outrigger__V1__Volume v = OUTRIGGER__V1__VOLUME__INIT;
	Outrigger__V1__VDisk d = OUTRIGGER__V1__VDISK__INIT;
	char volume[64];

	snprintf(volume, sizeof(volume), "%s-data", name);
	v.name = volume;
	v.pool = (char *)pool;
	v.size_bytes = 1 << 20;
	create(KIND_VOLUME, &v);
	assert_int_equal(W.volumes.create(W.volumes.ctx, pool, volume, v.size_bytes), 0);
	d.name = (char *)name;
	d.profile = (char *)profile;
	d.volume = volume;
	create(KIND_VDISK, &d);
}

static inline void make_pools(void)
{
	Outrigger__V1__StoragePool p = OUTRIGGER__V1__STORAGE_POOL__INIT;
	Outrigger__V1__MemoryPool mem = OUTRIGGER__V1__MEMORY_POOL__INIT;
	Outrigger__V1__DirectoryPool d = OUTRIGGER__V1__DIRECTORY_POOL__INIT;
	char path[128], why[128];

	p.name = (char *)"mem";
	p.kind_case = OUTRIGGER__V1__STORAGE_POOL__KIND_MEMORY;
	p.memory = &mem;
	mem.capacity_bytes = 64 << 20;
	assert_int_equal(W.volumes.pool_open(W.volumes.ctx, &p, why, sizeof(why)), 0);
	create(KIND_POOL, &p);
	snprintf(path, sizeof(path), "%s/pool", W.dir);
	p.name = (char *)"dir";
	p.kind_case = OUTRIGGER__V1__STORAGE_POOL__KIND_DIRECTORY;
	p.directory = &d;
	d.path = path;
	assert_int_equal(W.volumes.pool_open(W.volumes.ctx, &p, why, sizeof(why)), 0);
	create(KIND_POOL, &p);
}

/* ---- agents ---- */

struct agent_dev {
	char uid[64], name[64];
	bool net;
	uint32_t epoch;
	Outrigger__Session__V1__Reliability reliability;
	uint8_t config[64];
};

struct agent {
	char host[32];
	SSL_CTX *tls;
	struct chan *chan;
	bool up, welcomed, synced, gone;
	uint32_t chunk, chunk_max;
	uint64_t session;
	char refused[256];
	unsigned attaches, detaches, configures, stats;
	struct agent_dev devs[AGENT_DEVS]; /* by wire id */
	bool deaf;			   /* does not answer a detach */
	unsigned lane, lanes;		   /* of one agent; lanes 0: it has but one */
	uint64_t round;
	unsigned kept;	     /* detaches that leave the device on the host */
	const char *held[4]; /* devices that another lane is to have: say_hello() */
	unsigned held_lane;
	const char *attach_error; /* says this to every attach */
};

static inline void say(struct agent *a, message *m)
{
	if (a->chan)
		session_send(a->chan, m);
}

static inline void say_hello_(struct agent *a, uint32_t vmin, uint32_t vmax, uint32_t path, uint32_t spi,
			      uint32_t chunk)
{
	message m = OUTRIGGER__SESSION__V1__MESSAGE__INIT;
	Outrigger__Session__V1__Hello h = OUTRIGGER__SESSION__V1__HELLO__INIT;
	Outrigger__Session__V1__PathOffer o = OUTRIGGER__SESSION__V1__PATH_OFFER__INIT, *os = &o;

	o.index = path;
	o.rx_spi = spi;
	o.key.data = (uint8_t *)"sixteen bytes...";
	o.key.len = 16;
	h.version_min = vmin;
	h.version_max = vmax;
	h.software = (char *)"test\n\x01\xff";
	h.n_paths = 1;
	h.paths = &os;
	h.max_chunk = chunk;
	m.body_case = M(HELLO);
	m.hello = &h;
	say(a, &m);
}

/* Lanes of one process are those with the same number of its boot. */
static inline void say_lane(struct agent *a, uint8_t boot)
{
	message m = OUTRIGGER__SESSION__V1__MESSAGE__INIT;
	Outrigger__Session__V1__Hello h = OUTRIGGER__SESSION__V1__HELLO__INIT;
	Outrigger__Session__V1__PathOffer o = OUTRIGGER__SESSION__V1__PATH_OFFER__INIT, *os = &o;
	Outrigger__Session__V1__HeldDevice held[4], *helds[4];
	uint8_t id[16] = {boot};

	o.rx_spi = 4242 + a->lane;
	o.key.data = (uint8_t *)"sixteen bytes...";
	o.key.len = 16;
	h.version_min = SESSION_VERSION_MIN;
	h.version_max = SESSION_VERSION;
	h.software = (char *)"lanes";
	h.n_paths = 1;
	h.paths = &os;
	h.max_chunk = 1344;
	h.boot_id.data = id;
	h.boot_id.len = sizeof(id);
	h.lane = a->lane;
	h.lanes = a->lanes;
	h.held = helds;
	for (; h.n_held < 4 && a->held[h.n_held]; h.n_held++) {
		outrigger__session__v1__held_device__init(helds[h.n_held] = &held[h.n_held]);
		helds[h.n_held]->uid = (char *)a->held[h.n_held];
		helds[h.n_held]->lane = a->held_lane;
	}
	m.body_case = M(HELLO);
	m.hello = &h;
	say(a, &m);
}

static inline void say_hello(struct agent *a)
{
	say_hello_(a, SESSION_VERSION, SESSION_VERSION, 0, 4242, 1344);
}

static inline void say_state(struct agent *a, uint32_t dev, uint64_t running, const char *broken)
{
	message m = OUTRIGGER__SESSION__V1__MESSAGE__INIT;
	Outrigger__Session__V1__DeviceState s = OUTRIGGER__SESSION__V1__DEVICE_STATE__INIT;

	s.dev = dev;
	s.connected = true;
	s.queues_running = running;
	s.features = 1ull << 32;
	s.broken = (char *)broken;
	m.body_case = M(DEVICE_STATE);
	m.device_state = &s;
	say(a, &m);
}

static inline void say_attached(struct agent *a, uint32_t dev, const char *error)
{
	message m = OUTRIGGER__SESSION__V1__MESSAGE__INIT;
	Outrigger__Session__V1__Attached t = OUTRIGGER__SESSION__V1__ATTACHED__INIT;

	t.dev = dev;
	t.endpoint = (char *)"/run/x.sock";
	t.error = (char *)error;
	m.body_case = M(ATTACHED);
	m.attached = &t;
	say(a, &m);
}

static inline void say_detached(struct agent *a, uint32_t dev)
{
	message m = OUTRIGGER__SESSION__V1__MESSAGE__INIT;
	Outrigger__Session__V1__Detached t = OUTRIGGER__SESSION__V1__DETACHED__INIT;

	t.dev = dev;
	m.body_case = M(DETACHED);
	m.detached = &t;
	say(a, &m);
}

static inline void agent_attach(struct agent *a, const Outrigger__Session__V1__Attach *m)
{
	struct agent_dev *d;

	assert_in_range(m->dev, 1, AGENT_DEVS - 1);
	d = &a->devs[m->dev];
	assert_string_equal(d->uid, ""); /* its wire id was free */
	a->attaches++;
	snprintf(d->uid, sizeof(d->uid), "%s", m->uid);
	snprintf(d->name, sizeof(d->name), "%s", m->name);
	d->net = m->kind == OUTRIGGER__SESSION__V1__DEVICE_KIND__NET;
	d->epoch = m->epoch;
	d->reliability = m->reliability;
	assert_in_range(m->config.len, 1, sizeof(d->config));
	memcpy(d->config, m->config.data, m->config.len);
	say_attached(a, m->dev, a->attach_error ? a->attach_error : "");
	if (!a->attach_error)
		say_state(a, m->dev, d->net ? 3 : 1, "");
}

static inline void agent_message(void *ctx, struct chan *c, const uint8_t *bytes, size_t len)
{
	struct agent *a = ctx;
	message *m = session_unpack(bytes, len);

	(void)c;
	assert_non_null(m);
	switch (m->body_case) {
	case M(WELCOME):
		a->welcomed = true;
		a->session = m->welcome->session_id;
		a->chunk = m->welcome->chunk;
		a->chunk_max = m->welcome->chunk_max;
		break;
	case M(REFUSE):
		snprintf(a->refused, sizeof(a->refused), "%s", m->refuse->reason);
		break;
	case M(ATTACH):
		agent_attach(a, m->attach);
		break;
	case M(DETACH):
		a->detaches++;
		a->kept += m->detach->keep;
		if (a->deaf)
			break;
		memset(&a->devs[m->detach->dev], 0, sizeof(a->devs[0]));
		say_detached(a, m->detach->dev);
		break;
	case M(CONFIGURE):
		a->configures++;
		memcpy(a->devs[m->configure->dev].config, m->configure->config.data,
		       m->configure->config.len);
		break;
	case M(SYNCED):
		a->synced = true;
		a->round = m->synced->round;
		break;
	case M(STATS_REQUEST):
		a->stats++;
		break;
	default:
		break;
	}
	outrigger__session__v1__message__free_unpacked(m, NULL);
}

static inline void agent_up(void *ctx, struct chan *c, const struct chan_peer *peer)
{
	(void)c, (void)peer;
	((struct agent *)ctx)->up = true;
}

static inline void agent_down(void *ctx, struct chan *c, const char *reason)
{
	struct agent *a = ctx;

	(void)c, (void)reason;
	a->chan = NULL;
	a->gone = true;
}

static const struct chan_ops agent_ops = {.up = agent_up, .message = agent_message, .down = agent_down};

/* A new agent process of that host: it knows no device. */
static inline void agent_connect(struct agent *a)
{
	struct chan_connect_cfg cfg = {.base = W.base,
				       .host = "127.0.0.1",
				       .port = W.port,
				       .tls = a->tls,
				       .ops = &agent_ops,
				       .ctx = a};

	memset(a->devs, 0, sizeof(a->devs));
	a->up = a->welcomed = a->synced = a->gone = a->deaf = false;
	a->attach_error = NULL;
	a->refused[0] = '\0';
	a->round = 0;
	a->kept = a->attaches = a->detaches = a->configures = a->stats = 0;
	assert_int_equal(chan_connect(&cfg, &a->chan), 0);
	WAIT(a->up);
}

static inline void agent_live(struct agent *a)
{
	agent_connect(a);
	say_hello(a);
	WAIT(a->synced);
}

/* The agent goes, and so does its session: without waiting for the silence of the fabric. */
static inline void agent_quit(struct agent *a)
{
	struct session *s = session_of_host(W.h, a->host);

	if (s)
		session_end(s, "the test is done with it");
	WAIT(!a->chan);
}

/* The wire id of its device of that name; 0: it has none. */
static inline uint32_t agent_dev(const struct agent *a, const char *name)
{
	for (uint32_t i = 1; i < AGENT_DEVS; i++)
		if (!strcmp(a->devs[i].name, name))
			return i;
	return 0;
}

/* The host in the model, with a certificate as an enrolment gives it one. */
static inline void make_host(struct agent *a, const char *name)
{
	Outrigger__V1__Host h = OUTRIGGER__V1__HOST__INIT;
	char key[128], crt[128], ca[128], *pem;
	struct store_cert cert = {.serial = "1", .not_after = 4000000000};
	uint8_t hash[STORE_HASH_LEN];
	struct pki_why why = {.text = ""};
	size_t len;

	memset(a, 0, sizeof(*a));
	snprintf(a->host, sizeof(a->host), "%s", name);
	h.name = (char *)name;
	create(KIND_HOST, &h);
	snprintf(key, sizeof(key), "%s/%s.key", W.dir, name);
	snprintf(crt, sizeof(crt), "%s/%s.crt", W.dir, name);
	snprintf(ca, sizeof(ca), "%s/state/pki/ca.crt", W.dir);
	assert_int_equal(pki_issue_files(W.pki, PKI_ROLE_HOST, name, NULL, 0, 10, key, crt, &why), 0);
	assert_int_equal(pki_read_file(crt, PKI_PEM_MAX, &pem, &len, &why), 0);
	assert_int_equal(pki_pem_fingerprint(pem, len, cert.fingerprint), 0);
	free(pem);
	RAND_bytes(hash, sizeof(hash));
	assert_int_equal(store_token_set(control_store(W.ctl), name, hash, 4000000000), 0);
	assert_int_equal(store_enroll(control_store(W.ctl), name, hash, &cert), 0);
	a->tls = pki_client_ctx(ca, crt, key, &why);
	assert_non_null(a->tls);
}

/* ---- life ---- */

static inline int start_eal(void)
{
	struct eal_cfg ec = {.memory = EAL_MEMORY_PLAIN, .memory_mb = 64};
	char lcores[64];

	snprintf(lcores, sizeof(lcores), "(0-1)@(0-%ld)", sysconf(_SC_NPROCESSORS_ONLN) - 1);
	ec.lcores = lcores;
	return eal_start(&ec, W.why, sizeof(W.why));
}

static inline void start_dp(struct hosts_cfg *hc)
{
	struct dp_cfg dc = {
		.lcore = 1,
		.sleep_idle = true,
		.limits = {.ports = DP_UPLINK_BASE + DP_UPLINKS - 1,
			   .uplinks = DP_UPLINKS,
			   .networks = NETWORKS_MAX,
			   .addrs = 64,
			   .fdb = 1024},
		.session_lost = hosts_session_lost,
	};
	int r;

	assert_int_equal(link_addr_parse(&hc->fabric[0], "127.0.0.1:0", 0), 0);
	W.bufs = buf_pool_create(64, LINK_UDP_BUF_SIZE);
	dc.link[0] = link_udp_create(&hc->fabric[0], W.bufs, &r);
	dc.nlinks = hc->nfabrics = 1;
	assert_non_null(dc.link[0]);
	dc.link[0]->ops->local(dc.link[0], &hc->fabric[0], &hc->chunk);
	hc->chunk = RT_CHUNK_DEFAULT;
	hc->chunk_max = RT_CHUNK_JUMBO;
	assert_int_equal(hosts_create(hc, &W.h), 0);
	dc.ctx = W.h;
	W.dp = dp_start(&dc, &r);
	if (!W.dp)
		fail_msg("the worker cannot start: %s", strerror(-r));
	hosts_set_dp(W.h, W.dp);
}

static inline void start_control(void)
{
	struct control_cfg cc = {.base = W.base, .session_port = 1};
	char state[128], pki[128];
	struct pki_why why;

	snprintf(state, sizeof(state), "%s/state", W.dir);
	snprintf(pki, sizeof(pki), "%s/state/pki", W.dir);
	W.ops = cc.ops = hosts_control_ops(W.h);
	W.status = cc.status = hosts_status_ops(W.h);
	W.volumes = cc.volumes = storage_volume_ops(W.storage);
	cc.state_dir = state;
	if (control_init(&cc, &W.ctl, W.why, sizeof(W.why)))
		fail_msg("%s", W.why);
	hosts_set_control(W.h, W.ctl);
	assert_int_equal(pki_open(pki, &W.pki, &why), 0);
}

static inline void listen_to_agents(void)
{
	SSL_CTX *tls = control_session_tls(W.ctl, W.why, sizeof(W.why));

	assert_non_null(tls);
	assert_int_equal(hosts_listen(W.h, "127.0.0.1", 0, tls), 0);
	SSL_CTX_free(tls);
	W.port = chan_listener_port(W.h->listener[0]);
}

/* before: what the store holds when the appliance starts. */
static inline int world_start(void (*before)(void))
{
	struct hosts_cfg hc = {.lost_ms = 600000}; /* these agents have no fabric */
	struct timeval ms = {.tv_usec = 5000};

	signal(SIGPIPE, SIG_IGN);
	log_init("test", LOG_ERR);
	if (start_eal()) {
		print_message("skipped: DPDK cannot start here: %s\n", W.why);
		return 0;
	}
	W.ok = true;
	snprintf(W.dir, sizeof(W.dir), "/tmp/outrigger-hosts-XXXXXX");
	assert_non_null(mkdtemp(W.dir));
	W.base = event_base_new();
	W.nudge = event_new(W.base, -1, EV_PERSIST, nudged, NULL);
	event_add(W.nudge, &ms);
	W.storage = storage_create();
	hc.base = W.base;
	hc.storage = W.storage;
	start_dp(&hc);
	start_control();
	make_pools();
	make_network("net");
	if (before)
		before();
	assert_int_equal(apply_model(control_model(W.ctl)), 0);
	listen_to_agents();
	return 0;
}

static inline void on_shut(void *arg)
{
	(void)arg;
	W.shut = true;
}

/* As outriggerd does on SIGTERM; what is left behind, the sanitizers say. */
static inline void world_stop(void)
{
	char cmd[128];

	if (!W.ok)
		return;
	hosts_shutdown(W.h, on_shut, NULL);
	WAIT(W.shut);
	dp_stop(W.dp);
	control_fini(W.ctl);
	hosts_destroy(W.h);
	storage_destroy(W.storage);
	buf_pool_destroy(W.bufs);
	pki_close(W.pki);
	eal_stop();
	event_free(W.nudge);
	event_base_free(W.base);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", W.dir);
	if (system(cmd))
		print_message("%s stays\n", W.dir);
}

#define NEED_WORLD()                                                                                         \
	do {                                                                                                 \
		if (!W.ok)                                                                                   \
			skip();                                                                              \
	} while (0)

#endif

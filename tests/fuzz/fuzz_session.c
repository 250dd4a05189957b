/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz-rooms: appliance/control appliance/device appliance/bdev proto/session fabric/link fabric/aead */
/* fuzz-pkgs: libevent libcrypto libdpdk */
/*
 * Agents without manners: session messages and what is done with them, in any order.
 *
 * The input is a script: channels open and close, messages come (made here, or raw bytes of the input), the
 * desired state changes, letters to the worker and back arrive late. The room appliance/hosts is compiled in
 * here with its neighbours played: the channels, the store, the worker. The played worker checks the order of
 * things: a device is bound once, a disk under a new epoch each time, a session goes after its devices, and
 * nothing that the published configuration names is freed (it is touched with every letter). At the end
 * everything must have been given back.
 */
#include "tests/fuzz/fuzz_session_play.h"

static const uint8_t *input;
static size_t rest;

static uint8_t byte(void)
{
	return rest ? rest--, *input++ : 0;
}

/* ---- the desired state ---- */

static int some_bytes(void *ctx, const char *pool, struct pool_bytes *out)
{
	(void)ctx, (void)pool;
	*out = (struct pool_bytes){.capacity = 1ull << 30, .free = 1ull << 30};
	return 0;
}

static void some_random(void *ctx, void *buf, size_t len)
{
	static uint64_t x = 88172645463325252ull;

	(void)ctx;
	for (size_t i = 0; i < len; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		((uint8_t *)buf)[i] = (uint8_t)x;
	}
}

static void change(int rc, struct change *chg)
{
	if (!rc)
		model_commit(P.m, chg);
	change_clear(chg);
}

static void create(enum kind k, const void *obj)
{
	struct api_err err = {0};
	struct change chg = {0};

	change(model_prepare_create(P.m, k, obj, &chg, &err), &chg);
}

static void update(enum kind k, const void *obj, const char *mask)
{
	struct api_err err = {0};
	struct change chg = {0};

	change(model_prepare_update(P.m, k, obj, mask, &chg, &err), &chg);
}

static void drop(enum kind k, const char *name)
{
	struct api_err err = {0};
	struct change chg = {0};

	change(model_prepare_delete(P.m, k, name, 0, &chg, &err), &chg);
}

static const char *const host_names[] = {"a", "b", ""};

static void make_vnic(unsigned i)
{
	Outrigger__V1__VNic v = OUTRIGGER__V1__VNIC__INIT;
	char name[8];

	snprintf(name, sizeof(name), "v%u", i);
	v.name = name;
	v.profile = (char *)(i & 1 ? "pb" : "pa");
	v.network = (char *)"n";
	create(KIND_VNIC, &v);
}

static void make_vdisk(void)
{
	Outrigger__V1__VDisk d = OUTRIGGER__V1__VDISK__INIT;

	d.name = (char *)"d";
	d.profile = (char *)"pa";
	d.volume = (char *)"vol";
	create(KIND_VDISK, &d);
}

static void make_model(void)
{
	Outrigger__V1__Host h = OUTRIGGER__V1__HOST__INIT;
	Outrigger__V1__Profile p = OUTRIGGER__V1__PROFILE__INIT;
	Outrigger__V1__Network n = OUTRIGGER__V1__NETWORK__INIT;
	Outrigger__V1__StoragePool s = OUTRIGGER__V1__STORAGE_POOL__INIT;
	Outrigger__V1__MemoryPool mem = OUTRIGGER__V1__MEMORY_POOL__INIT;
	Outrigger__V1__Volume v = OUTRIGGER__V1__VOLUME__INIT;

	for (unsigned i = 0; i < 2; i++) {
		h.name = (char *)host_names[i];
		create(KIND_HOST, &h);
		p.name = (char *)(i ? "pb" : "pa");
		p.host = h.name;
		create(KIND_PROFILE, &p);
	}
	n.name = (char *)"n";
	create(KIND_NETWORK, &n);
	s.name = (char *)"mem";
	s.kind_case = OUTRIGGER__V1__STORAGE_POOL__KIND_MEMORY;
	s.memory = &mem;
	mem.capacity_bytes = 1 << 22;
	create(KIND_POOL, &s);
	v.name = (char *)"vol";
	v.pool = s.name;
	v.size_bytes = 1 << 20;
	create(KIND_VOLUME, &v);
	make_vnic(0);
	make_vnic(1);
	make_vdisk();
}

static void on_applied(void *arg, int err, const char *msg)
{
	(void)arg, (void)msg;
	assert(P.applying && (err == 0 || err == -EINVAL));
	P.applying = false;
}

static void apply_model(void)
{
	struct control_ops ops = hosts_control_ops(P.h);

	if (P.applying) /* one change at a time, as the API has it */
		return;
	P.applying = true;
	if (ops.apply(ops.ctx, P.m, on_applied, NULL) < 0)
		P.applying = false;
}

static void alter(uint8_t what)
{
	Outrigger__V1__Profile p = OUTRIGGER__V1__PROFILE__INIT;
	Outrigger__V1__VNic v = OUTRIGGER__V1__VNIC__INIT;
	Outrigger__V1__VDisk d = OUTRIGGER__V1__VDISK__INIT;
	char name[8], mac[20];

	if (P.applying)
		return;
	snprintf(name, sizeof(name), "v%u", what >> 4 & 3);
	v.name = name;
	d.name = (char *)"d";
	switch (what & 7) {
	case 0:
	case 1:
		p.name = (char *)(what & 1 ? "pb" : "pa");
		p.host = (char *)host_names[(what >> 3) % 3];
		update(KIND_PROFILE, &p, "host");
		break;
	case 2:
		make_vnic(what >> 4 & 3);
		break;
	case 3:
		drop(KIND_VNIC, name);
		break;
	case 4:
		snprintf(mac, sizeof(mac), "02:00:00:00:00:%02x", what);
		v.mac = mac;
		update(KIND_VNIC, &v, "mac");
		break;
	case 5:
		v.admin_state = d.admin_state = what & 8 ? OUTRIGGER__V1__ADMIN_STATE__ADMIN_STATE_DOWN
							 : OUTRIGGER__V1__ADMIN_STATE__ADMIN_STATE_UP;
		update(KIND_VNIC, &v, "admin_state");
		update(KIND_VDISK, &d, "admin_state");
		break;
	case 6:
		make_vdisk();
		break;
	default:
		drop(KIND_VDISK, "d");
		break;
	}
	apply_model();
}

/* ---- agents ---- */

static void connect_agent(unsigned i)
{
	struct chan_peer peer = {.role = "host", .address = "192.0.2.1:1"};
	struct chan *c;

	if (P.chan[i])
		return;
	c = calloc(1, sizeof(*c));
	c->up = true;
	c->host = i & 1;
	P.chan[i] = c;
	snprintf(peer.name, sizeof(peer.name), "%s", host_names[c->host]);
	P.in = c;
	session_chan_ops.up(P.h, c, &peer);
	P.in = NULL;
	if (!c->up)
		free(c);
}

static void deliver(unsigned i, const uint8_t *bytes, size_t len)
{
	struct chan *c = P.chan[i];
	uint8_t *own;

	if (!c || !len)
		return;
	own = malloc(len); /* its end is where the sanitizer watches */
	memcpy(own, bytes, len);
	P.in = c;
	session_chan_ops.message(P.h, c, own, len);
	P.in = NULL;
	free(own);
	if (!c->up)
		free(c);
}

static void speak(unsigned i, Outrigger__Session__V1__Message *m)
{
	uint8_t bytes[8192];
	size_t len = outrigger__session__v1__message__get_packed_size(m);

	assert(len <= sizeof(bytes));
	outrigger__session__v1__message__pack(m, bytes);
	deliver(i, bytes, len);
}

/* Of a device that there is, or that there is not. */
static const char *uid_of(unsigned n)
{
	list_for_each (it, &P.h->devs)
		if (!n--)
			return container_of(it, struct hdev, node)->uid;
	return "nobody's";
}

static void hello_of(unsigned i, uint8_t how)
{
	Outrigger__Session__V1__Message m = OUTRIGGER__SESSION__V1__MESSAGE__INIT;
	Outrigger__Session__V1__Hello h = OUTRIGGER__SESSION__V1__HELLO__INIT;
	Outrigger__Session__V1__PathOffer o[5], *os[5];
	Outrigger__Session__V1__HeldDevice held[4], *hs[4];
	uint8_t key[32] = {1}, boot[16] = {0};

	for (unsigned k = 0; k < 5; k++) {
		outrigger__session__v1__path_offer__init(&o[k]);
		o[k].index = how & 4 ? byte() : k;
		o[k].rx_spi = how & 8 ? byte() : k + 1;
		o[k].key.data = key;
		o[k].key.len = how & 8 ? byte() % 32 : AEAD_KEY_LEN;
		os[k] = &o[k];
	}
	h.version_min = SESSION_VERSION;
	h.version_max = how & 16 ? byte() : SESSION_VERSION;
	h.n_paths = how & 3 ? how & 3 : 5;
	h.paths = os;
	h.max_chunk = how & 32 ? (uint32_t)byte() << 8 : 1344;
	h.resume = how & 64 ? P.last_id : 0;
	h.rdma_ports = how >> 7;
	if ((how & 3) == 2) {
		uint8_t l = byte();

		h.lanes = l & 16 ? l : 1 + (l & 3);
		h.lane = l >> 2 & 3;
		boot[0] = l >> 5;
		h.boot_id.data = boot;
		h.boot_id.len = sizeof(boot) - (l >> 7);
		h.held = hs;
		for (uint8_t who = byte(); h.n_held < 4 && who >> 2 * h.n_held & 3; h.n_held++) {
			hs[h.n_held] = &held[h.n_held];
			outrigger__session__v1__held_device__init(&held[h.n_held]);
			held[h.n_held].uid = (char *)uid_of((who >> 2 * h.n_held & 3) - 1);
			held[h.n_held].lane = l >> h.n_held;
		}
	}
	m.body_case = OUTRIGGER__SESSION__V1__MESSAGE__BODY_HELLO;
	m.hello = &h;
	speak(i, &m);
}

static void rdma_open(unsigned i, uint8_t path)
{
	Outrigger__Session__V1__Message m = OUTRIGGER__SESSION__V1__MESSAGE__INIT;
	Outrigger__Session__V1__RdmaOpen o = OUTRIGGER__SESSION__V1__RDMA_OPEN__INIT;
	Outrigger__Session__V1__RdmaEnd e = OUTRIGGER__SESSION__V1__RDMA_END__INIT;
	uint8_t gid[16] = {0}, how = byte();

	e.qpn = how & 1 ? 1u << 24 : 7;
	e.gid.data = gid;
	e.gid.len = how & 2 ? byte() % 17 : 16;
	e.mtu = how & 4 ? byte() : 5;
	o.index = path;
	o.end = how & 8 ? NULL : &e;
	m.body_case = OUTRIGGER__SESSION__V1__MESSAGE__BODY_RDMA_OPEN;
	m.rdma_open = &o;
	speak(i, &m);
}

static void fresh_keys(unsigned i, uint8_t path)
{
	Outrigger__Session__V1__Message m = OUTRIGGER__SESSION__V1__MESSAGE__INIT;
	Outrigger__Session__V1__Rekeyed r = OUTRIGGER__SESSION__V1__REKEYED__INIT;
	uint8_t key[32] = {2}, how = byte();

	r.index = path;
	r.rx_spi = how & 15;
	r.key.data = key;
	r.key.len = how & 16 ? how >> 3 : AEAD_KEY_LEN;
	m.body_case = OUTRIGGER__SESSION__V1__MESSAGE__BODY_REKEYED;
	m.rekeyed = &r;
	speak(i, &m);
}

/* A list of regions: a guest's, or a stage. */
static void rdma_memory(unsigned i, uint32_t dev)
{
	Outrigger__Session__V1__Message m = OUTRIGGER__SESSION__V1__MESSAGE__INIT;
	Outrigger__Session__V1__RdmaMemory mem = OUTRIGGER__SESSION__V1__RDMA_MEMORY__INIT;
	Outrigger__Session__V1__RdmaRegion r[8], *rs[8];
	Outrigger__Session__V1__RdmaKey key[2], *ks[2];
	uint8_t how = byte();

	for (unsigned k = 0; k < 2; k++) {
		outrigger__session__v1__rdma_key__init(&key[k]);
		key[k].path = how & 8 ? byte() : k;
		key[k].address = how & 16 ? UINT64_MAX - 4096 : 4096;
		ks[k] = &key[k];
	}
	for (unsigned k = 0; k < 8; k++) {
		outrigger__session__v1__rdma_region__init(&r[k]);
		r[k].id = how & 32 ? byte() : k + 1;
		r[k].length = how & 64 ? (uint64_t)byte() << 56 : 1u << 20;
		r[k].stage = how & 128 ? byte() : 0;
		r[k].n_keys = k % 3;
		r[k].keys = ks;
		rs[k] = &r[k];
	}
	mem.dev = dev;
	mem.serial = byte();
	mem.n_regions = how & 7;
	mem.regions = rs;
	m.body_case = OUTRIGGER__SESSION__V1__MESSAGE__BODY_RDMA_MEMORY;
	m.rdma_memory = &mem;
	speak(i, &m);
}

static void canned(unsigned i, uint8_t what)
{
	Outrigger__Session__V1__Message m = OUTRIGGER__SESSION__V1__MESSAGE__INIT;
	Outrigger__Session__V1__Attached at = OUTRIGGER__SESSION__V1__ATTACHED__INIT;
	Outrigger__Session__V1__Detached de = OUTRIGGER__SESSION__V1__DETACHED__INIT;
	Outrigger__Session__V1__DeviceState st = OUTRIGGER__SESSION__V1__DEVICE_STATE__INIT;
	Outrigger__Session__V1__Stats ss = OUTRIGGER__SESSION__V1__STATS__INIT;
	Outrigger__Session__V1__DeviceStats ds = OUTRIGGER__SESSION__V1__DEVICE_STATS__INIT, *dsp = &ds;
	Outrigger__Session__V1__Counter c = OUTRIGGER__SESSION__V1__COUNTER__INIT, *cs[40];
	uint32_t dev = what >> 3 & 15;

	dev = dev == 15 ? 0xffffffff : dev == 14 ? 4096 : dev;
	switch (what & 3) {
	case 0:
		at.dev = dev;
		at.error = (char *)(what & 4 ? "no" : "");
		m.body_case = OUTRIGGER__SESSION__V1__MESSAGE__BODY_ATTACHED;
		m.attached = &at;
		break;
	case 1:
		if (what & 4) {
			rdma_open(i, dev & 7);
			return;
		}
		de.dev = dev;
		m.body_case = OUTRIGGER__SESSION__V1__MESSAGE__BODY_DETACHED;
		m.detached = &de;
		break;
	case 2:
		st.dev = dev;
		st.connected = what & 4;
		st.queues_running = (uint64_t)byte() * 0x0101010101010101ull;
		st.broken = (char *)(what & 4 ? "" : "\x01\xff%s%n");
		m.body_case = OUTRIGGER__SESSION__V1__MESSAGE__BODY_DEVICE_STATE;
		m.device_state = &st;
		break;
	default:
		if (what & 4) {
			if (what & 64)
				fresh_keys(i, dev & 7);
			else
				rdma_memory(i, dev);
			return;
		}
		for (int k = 0; k < 40; k++)
			cs[k] = &c;
		c.name = (char *)"a counter with a name that is longer than what is kept of such names";
		ds.dev = dev;
		ds.n_counters = byte() % 41;
		ds.counters = cs;
		ss.n_devices = 1;
		ss.devices = &dsp;
		ss.n_fabric = ds.n_counters;
		ss.fabric = cs;
		m.body_case = OUTRIGGER__SESSION__V1__MESSAGE__BODY_STATS;
		m.stats = &ss;
		break;
	}
	speak(i, &m);
}

static void raw(unsigned i)
{
	size_t n = byte();

	n = n < rest ? n : rest;
	deliver(i, input, n);
	input += n;
	rest -= n;
}

static void trouble_of(uint8_t t)
{
	P.send_fails = t & 1;
	P.store_fails = t & 2;
	P.open_fails = t & 4;
	P.bind_fails = t & 8;
	P.publish_fails = t & 16;
	P.host_refused = t & 32;
	P.slow_drain = t & 64;
	P.session_error = t & 128 ? (t & 1 ? -EEXIST : -ENOMEM) : 0;
}

static void fire(uint8_t n)
{
	list_for_each (it, &P.h->devs) {
		if (n--)
			continue;
		event_active(container_of(it, struct hdev, node)->late, EV_TIMEOUT, 0);
		return;
	}
}

static void one_step(void)
{
	uint8_t op = byte();
	unsigned i = op % CHANS;
	struct control_ops ops = hosts_control_ops(P.h);

	switch (op / CHANS % 16) {
	case 0:
		connect_agent(i);
		break;
	case 1:
		hello_of(i, byte());
		break;
	case 2:
		canned(i, byte());
		break;
	case 3:
		raw(i);
		break;
	case 4:
		f_chan_close(P.chan[i]);
		break;
	case 5:
		worker_step();
		break;
	case 6:
		control_step();
		break;
	case 7:
		run_all();
		break;
	case 8:
		alter(byte());
		break;
	case 9:
		trouble_of(byte());
		break;
	case 10:
		fire(byte() & 7);
		break;
	case 11:
		event_active(P.h->tick, EV_TIMEOUT, 0);
		break;
	case 12:
		hosts_session_lost(P.h, P.last_id, "silent");
		break;
	case 13:
		ops.host_revoked(ops.ctx, host_names[i & 1]);
		break;
	case 14:
		drain_backends();
		break;
	default:
		loop();
		break;
	}
}

static void on_shut(void *arg)
{
	(void)arg;
	P.shut = true;
}

static void finish(void)
{
	/* One that never closes its side is closed by the listener. */
	hosts_shutdown(P.h, on_shut, NULL);
	for (int i = 0; i < CHANS; i++)
		f_chan_close(P.chan[i]);
	trouble_of(0);
	for (int i = 0; i < 100 && !P.shut; i++) {
		drain_backends();
		run_all();
	}
	assert(P.shut && !P.sessions && !P.bdevs);
	hosts_destroy(P.h);
	model_free(P.m);
	event_base_free(P.base);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct model_env env = {.pool_bytes = some_bytes, .random = some_random};
	struct hosts_cfg hc = {.nfabrics = 2, .rdma = {NULL, "vd0"}, .chunk = 1344};

	input = data;
	rest = size < 4096 ? size : 4096;
	memset(&P, 0, sizeof(P));
	P.base = event_base_new();
	hc.base = P.base;
	assert(P.base && !model_new(&env, &P.m) && !hosts_create(&hc, &P.h));
	make_model();
	apply_model();
	run_all();
	assert(!P.applying);
	while (rest)
		one_step();
	finish();
	return 0;
}

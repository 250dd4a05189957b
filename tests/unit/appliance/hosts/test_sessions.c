/* SPDX-License-Identifier: Apache-2.0 */
/* Control sessions of honest and of hostile agents. */
#include "tests/unit/appliance/hosts/hosts_world.h"

static struct agent good, bad;

static void before(void)
{
	Outrigger__V1__Port p = OUTRIGGER__V1__PORT__INIT;

	/* A port that is not there must not keep the appliance from starting: world_start() would fail. */
	p.name = (char *)"missing";
	p.device = (char *)"net_af_packet9,iface=outrigger-none";
	create(KIND_PORT, &p);
	make_host(&good, "good");
	make_host(&bad, "bad");
	make_profile("pg", "good");
	make_profile("pb", "bad");
	make_vnic("vg", "pg");
	make_vdisk("dg", "pg", "mem");
	make_vnic("vb", "pb");
}

static struct hdev *dev(enum kind k, const char *name)
{
	struct hdev *d = device_find(W.h, k, name);

	assert_non_null(d);
	return d;
}

static unsigned sessions(const char *host, enum session_state state)
{
	unsigned n = 0;

	list_for_each (it, &W.h->sessions) {
		struct session *s = container_of(it, struct session, node);

		n += !strcmp(s->name, host) && s->state == state;
	}
	return n;
}

static void an_agent_gets_its_devices_and_no_others(void **state)
{
	struct status_device st = {0};
	struct status_host sh = {0};

	(void)state;
	NEED_WORLD();
	agent_live(&good);
	assert_int_equal(good.attaches, 2);
	assert_int_not_equal(agent_dev(&good, "vg"), 0);
	assert_int_not_equal(agent_dev(&good, "dg"), 0);
	assert_int_equal(agent_dev(&good, "vb"), 0);
	WAIT(W.status.vnic(W.status.ctx, "vg", &st) && st.link == STATUS_LINK_UP);
	assert_string_equal(st.host, "good");
	assert_true(W.status.host(W.status.ctx, "good", &sh));
	assert_string_equal(sh.agent_version, "test???"); /* text of a peer is made printable */
	agent_quit(&good);
	WAIT(!dev(KIND_VNIC, "vg")->a.session);
	WAIT(!dev(KIND_VDISK, "dg")->a.session);
}

#define OURS SESSION_VERSION

/* Every way to begin badly ends the channel. */
static void a_session_begins_with_one_good_hello(void **state)
{
	static const struct {
		uint32_t vmin, vmax, path, spi, chunk;
		const char *refused;
	} hellos[] = {
		{OURS, OURS, RT_PATHS, 1, 1344, ""},  {OURS, OURS, UINT32_MAX, 1, 1344, ""},
		{OURS, OURS, 0, 0, 1344, ""},	      {OURS, OURS, 0, 1, 0, ""},
		{OURS, OURS, 0, 1, 255, ""},	      {OURS + 1, 9, 0, 1, 1344, "upgrade"},
		{1, OURS - 1, 0, 1, 1344, "upgrade"},
	};

	(void)state;
	NEED_WORLD();
	for (size_t i = 0; i < sizeof(hellos) / sizeof(hellos[0]); i++) {
		agent_connect(&bad);
		say_hello_(&bad, hellos[i].vmin, hellos[i].vmax, hellos[i].path, hellos[i].spi,
			   hellos[i].chunk);
		WAIT(bad.gone);
		assert_false(bad.welcomed);
		assert_non_null(strstr(bad.refused, hellos[i].refused));
	}
	agent_connect(&bad);
	say_state(&bad, 1, 1, "");
	WAIT(bad.gone);
	agent_connect(&bad);
	chan_send(bad.chan, "\xff\xff\xff", 3);
	WAIT(bad.gone);
	agent_live(&bad);
	say_hello(&bad);
	WAIT(bad.gone);
	WAIT(!sessions("bad", SESSION_ENDING));
}

#define TYPES 16u /* of message.body: NOT_SET, HELLO .. REKEYED */

/* A message of that type with nothing in it, as a peer may well form it. */
static void say_empty(struct agent *a, unsigned type)
{
	const uint8_t known[] = {(uint8_t)(type << 3 | 2), 0}; /* that field of `body`, of length 0 */
	static const uint8_t later[] = {0xa0, 0x06, 1};	       /* field 100 */

	assert_int_equal(type ? chan_send(a->chan, known, sizeof(known))
			      : chan_send(a->chan, later, sizeof(later)),
			 0);
}

/* Before its hello an agent may say nothing else; after it, nothing of the appliance's, and no answer that
 * was not asked for. Whoever does is sent away, the others notice nothing. */
static void every_message_in_every_state(void **state)
{
	struct status_device st = {0};

	(void)state;
	NEED_WORLD();
	agent_live(&good);
	for (unsigned i = 0; i < 2 * TYPES; i++) {
		unsigned type = i % TYPES, live = i / TYPES;
		bool stays = live && (!type || type == M(ATTACHED) || type == M(DETACHED) ||
				      type == M(DEVICE_STATE) || type == M(STATS) || type == M(CARRIER));

		if (live)
			agent_live(&bad);
		else
			agent_connect(&bad);
		say_empty(&bad, type);
		if (stays) {
			say_state(&bad, agent_dev(&bad, "vb"), 1, "still here");
			WAIT(bad.gone || !strcmp(dev(KIND_VNIC, "vb")->broken, "still here"));
			if (bad.gone)
				fail_msg("message %u ends the session: %s", type, bad.refused);
			assert_int_equal(dev(KIND_VNIC, "vb")->a.state, ATTACH_BOUND);
			agent_quit(&bad);
		} else {
			WAIT(bad.gone);
			assert_int_equal(bad.welcomed, live);
		}
	}
	assert_true(W.status.vnic(W.status.ctx, "vg", &st));
	assert_int_equal(st.link, STATUS_LINK_UP);
	assert_int_equal(good.attaches, 2);
	assert_int_equal(good.detaches, 0);
	agent_quit(&good);
}

static void a_chunk_is_the_smaller_of_both_ends(void **state)
{
	(void)state;
	NEED_WORLD();
	agent_connect(&bad);
	say_hello_(&bad, 0, 99, 1, 77, 300);
	WAIT(bad.synced);
	assert_int_equal(bad.chunk, 300);
	assert_int_equal(bad.chunk_max, 300);
	agent_quit(&bad);
	agent_connect(&bad);
	say_hello_(&bad, OURS, OURS, 1, 77, UINT32_MAX);
	WAIT(bad.synced);
	assert_int_equal(bad.chunk, RT_CHUNK_DEFAULT);
	assert_int_equal(bad.chunk_max, RT_CHUNK_JUMBO);
	agent_quit(&bad);
}

static void an_agent_cannot_speak_for_others(void **state)
{
	static const uint32_t ids[] = {0, 1, 2, 3, 4, 63, 4094, 4095, 4096, 65535, 65536, UINT32_MAX};
	struct status_device st = {0};
	uint32_t mine;

	(void)state;
	NEED_WORLD();
	agent_live(&good);
	agent_live(&bad);
	mine = agent_dev(&bad, "vb");
	WAIT(W.status.vnic(W.status.ctx, "vg", &st) && st.link == STATUS_LINK_UP);
	for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
		if (ids[i] == mine)
			continue;
		say_state(&bad, ids[i], 0, "lies");
		say_attached(&bad, ids[i], "lies");
		say_detached(&bad, ids[i]);
	}
	/* A detached that nobody asked for, of its own, too. */
	say_detached(&bad, mine);
	say_state(&bad, mine, 1, "mine");
	WAIT(!strcmp(dev(KIND_VNIC, "vb")->broken, "mine"));
	assert_int_equal(dev(KIND_VNIC, "vb")->a.state, ATTACH_BOUND);
	st = (struct status_device){0};
	assert_true(W.status.vnic(W.status.ctx, "vg", &st));
	assert_int_equal(st.link, STATUS_LINK_UP);
	assert_string_equal(dev(KIND_VNIC, "vg")->broken, "");
	assert_string_equal(dev(KIND_VDISK, "dg")->error, "");
	assert_int_equal(good.detaches, 0);
	agent_quit(&good);
	agent_quit(&bad);
}

static void states_without_end_cost_one_letter(void **state)
{
	uint32_t mine;
	unsigned worst = 0;

	(void)state;
	NEED_WORLD();
	agent_live(&bad);
	mine = agent_dev(&bad, "vb");
	for (unsigned i = 0; i < 5000; i++) {
		say_state(&bad, mine, i % 4, i % 2 ? "a" : "b");
		event_base_loop(W.base, EVLOOP_NONBLOCK);
		if (dev(KIND_VNIC, "vb")->letters > worst)
			worst = dev(KIND_VNIC, "vb")->letters;
	}
	WAIT(dev(KIND_VNIC, "vb")->running == 3);
	WAIT(!dev(KIND_VNIC, "vb")->letters);
	assert_in_range(worst, 0, 1);
	assert_non_null(bad.chan);
	agent_quit(&bad);
}

static void a_flood_ends_the_session(void **state)
{
	(void)state;
	NEED_WORLD();
	agent_live(&bad);
	for (unsigned i = 0; i < 200000 && !bad.gone; i++) {
		say_attached(&bad, 1, "");
		if (i % 256 == 0)
			event_base_loop(W.base, EVLOOP_NONBLOCK);
	}
	WAIT(bad.gone);
	WAIT(!sessions("bad", SESSION_ENDING));
}

static void counters_are_bounded_in_number_and_name(void **state)
{
	enum { N = 4000 };
	message m = OUTRIGGER__SESSION__V1__MESSAGE__INIT;
	Outrigger__Session__V1__Stats s = OUTRIGGER__SESSION__V1__STATS__INIT;
	Outrigger__Session__V1__DeviceStats d = OUTRIGGER__SESSION__V1__DEVICE_STATS__INIT, *ds = &d;
	Outrigger__Session__V1__Counter c = OUTRIGGER__SESSION__V1__COUNTER__INIT, **cs;
	char name[200];
	struct hdev *h;

	(void)state;
	NEED_WORLD();
	agent_live(&bad);
	h = dev(KIND_VNIC, "vb");
	memset(name, 0x1b, sizeof(name));
	name[sizeof(name) - 1] = '\0';
	c.name = name;
	c.value = 7;
	cs = calloc(N, sizeof(*cs));
	for (int i = 0; i < N; i++)
		cs[i] = &c;
	d.dev = agent_dev(&bad, "vb");
	d.n_counters = N;
	d.counters = cs;
	s.n_devices = 1;
	s.devices = &ds;
	s.n_fabric = 1;
	s.fabric = cs;
	m.body_case = M(STATS);
	m.stats = &s;
	say(&bad, &m);
	WAIT(h->nremote);
	assert_int_equal(h->nremote, 256);
	assert_int_equal(strlen(h->remote[0].name), sizeof(h->remote[0].name) - 1);
	for (const char *p = h->remote[255].name; *p; p++)
		assert_int_equal(*p, '?');
	/* Of a device of somebody else, of none. */
	d.dev = dev(KIND_VNIC, "vg")->slot;
	say(&bad, &m);
	d.dev = UINT32_MAX;
	say(&bad, &m);
	say_state(&bad, h->slot, 0, "after");
	WAIT(!strcmp(h->broken, "after"));
	assert_int_equal(dev(KIND_VNIC, "vg")->nremote, 0);
	agent_quit(&bad);
	WAIT(!h->nremote); /* what an agent said ends with it */
	free(cs);
}

/* A host has one session, and so many channels that have not said hello as an agent has lanes. */
static void a_second_agent_of_a_host_replaces_the_first(void **state)
{
	static struct agent again[LANES], third;

	(void)state;
	NEED_WORLD();
	agent_live(&bad);
	third = bad;
	for (unsigned i = 0; i < LANES; i++) {
		again[i] = bad;
		agent_connect(&again[i]);
	}
	settle(W.base, 50);
	assert_false(bad.gone); /* talk alone replaces nobody */
	assert_false(again[0].gone);
	agent_connect(&third);
	WAIT(again[0].gone);
	assert_false(again[1].gone);
	assert_false(bad.gone);
	say_hello(&third);
	WAIT(bad.gone);
	for (unsigned i = 1; i < LANES; i++)
		WAIT(again[i].gone);
	WAIT(third.synced);
	assert_int_equal(sessions("bad", SESSION_LIVE), 1);
	assert_int_equal(third.attaches, 1);
	agent_quit(&third);
}

static void a_host_reconnects_without_pause(void **state)
{
	(void)state;
	NEED_WORLD();
	for (int i = 0; i < 30; i++) {
		agent_connect(&bad);
		say_hello(&bad);
		if (i % 3 == 0)
			WAIT(bad.welcomed);
		if (i % 3 == 1)
			WAIT(bad.attaches);
		chan_close(bad.chan);
	}
	agent_live(&bad);
	WAIT(!sessions("bad", SESSION_ENDING));
	assert_int_equal(sessions("bad", SESSION_LIVE), 1);
	agent_quit(&bad);
}

static void revoked_is_revoked_in_every_state(void **state)
{
	struct store_cert cert;

	(void)state;
	NEED_WORLD();
	assert_int_equal(store_cert_get(control_store(W.ctl), "bad", &cert), 0);
	/* One that waits to say hello. */
	agent_connect(&bad);
	settle(W.base, 20);
	assert_int_equal(store_revoke(control_store(W.ctl), "bad"), 0);
	W.ops.host_revoked(W.ops.ctx, "bad");
	WAIT(bad.gone);
	/* One that comes afterwards. */
	agent_connect(&bad);
	say_hello(&bad);
	WAIT(bad.gone);
	assert_false(bad.welcomed);
	assert_non_null(strstr(bad.refused, "revoked"));
	{
		uint8_t hash[STORE_HASH_LEN];

		RAND_bytes(hash, sizeof(hash));
		assert_int_equal(store_token_set(control_store(W.ctl), "bad", hash, 4000000000), 0);
		assert_int_equal(store_enroll(control_store(W.ctl), "bad", hash, &cert), 0);
	}
	agent_live(&bad);
	W.ops.host_revoked(W.ops.ctx, "bad");
	WAIT(bad.gone);
	WAIT(!sessions("bad", SESSION_ENDING));
}

static void who_says_nothing_is_sent_away(void **state)
{
	(void)state;
	NEED_WORLD();
	agent_connect(&bad);
	WAIT(sessions("bad", SESSION_NEW) == 1);
	list_for_each (it, &W.h->sessions)
		container_of(it, struct session, node)->born = W.h->ticks - 11;
	WAIT(bad.gone);
}

/* Its control channel lives, but no packet ever comes over the fabric. */
static void a_silent_fabric_ends_the_session(void **state)
{
	(void)state;
	NEED_WORLD();
	W.h->cfg.lost_ms = 1000;
	agent_live(&bad);
	WAIT(bad.gone);
	W.h->cfg.lost_ms = 600000;
	WAIT(!sessions("bad", SESSION_ENDING));
	WAIT(!dev(KIND_VNIC, "vb")->a.session);
}

static int start(void **state)
{
	(void)state;
	return world_start(before);
}

static int stop(void **state)
{
	(void)state;
	/* With a session up and its devices bound. */
	if (W.ok)
		agent_live(&good);
	world_stop();
	SSL_CTX_free(good.tls);
	SSL_CTX_free(bad.tls);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_agent_gets_its_devices_and_no_others),
		cmocka_unit_test(a_session_begins_with_one_good_hello),
		cmocka_unit_test(every_message_in_every_state),
		cmocka_unit_test(a_chunk_is_the_smaller_of_both_ends),
		cmocka_unit_test(an_agent_cannot_speak_for_others),
		cmocka_unit_test(states_without_end_cost_one_letter),
		cmocka_unit_test(a_flood_ends_the_session),
		cmocka_unit_test(counters_are_bounded_in_number_and_name),
		cmocka_unit_test(a_second_agent_of_a_host_replaces_the_first),
		cmocka_unit_test(a_host_reconnects_without_pause),
		cmocka_unit_test(revoked_is_revoked_in_every_state),
		cmocka_unit_test(who_says_nothing_is_sent_away),
		cmocka_unit_test(a_silent_fabric_ends_the_session),
	};

	return cmocka_run_group_tests(tests, start, stop);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The switch against a naive twin: a list of stations searched from end to end, and rules
 * written down again in the plainest way. Random frames, time and configurations from one seed;
 * every verdict and, now and then, the whole table must agree.
 */
#include "script.h"

#include "fabric/base/rng.h"

#define NETS	 3u
#define VNICS	 10u
#define UPLINK	 50u
#define STEPS	 40000u
#define STATIONS 40u

struct known {
	uint32_t net, port;
	uint8_t mac[6];
	uint64_t seen;
};

struct twin {
	struct sw_network nets[NETS];
	struct sw_port ports[VNICS + 1];
	uint32_t nports;
	struct known known[4096];
	uint32_t nknown;
};

static const struct sw_port *port_by_id(const struct twin *t, uint32_t id)
{
	for (uint32_t i = 0; i < t->nports; i++)
		if (t->ports[i].id == id)
			return &t->ports[i];
	return NULL;
}

static bool may_learn(const struct sw_port *p)
{
	return p->kind == SW_UPLINK || !p->pinned || !p->anti_spoof;
}

static uint32_t owner_of(const struct twin *t, uint32_t net, const uint8_t *mac)
{
	for (uint32_t i = 0; i < t->nports; i++)
		if (t->ports[i].kind == SW_VNIC && t->ports[i].network == net && t->ports[i].pinned &&
		    memcmp(t->ports[i].mac, mac, 6) == 0)
			return t->ports[i].id;
	return 0;
}

static struct known *twin_find(struct twin *t, uint32_t net, const uint8_t *mac, uint64_t now)
{
	for (uint32_t i = 0; i < t->nknown; i++) {
		struct known *k = &t->known[i];

		if (k->net == net && memcmp(k->mac, mac, 6) == 0 && now - k->seen <= SW_AGE_DEFAULT)
			return k;
	}
	return NULL;
}

static void twin_learn(struct twin *t, uint32_t net, const uint8_t *mac, uint32_t port, uint64_t now)
{
	struct known *k = twin_find(t, net, mac, now);

	if (!k) {
		assert_true(t->nknown < sizeof t->known / sizeof t->known[0]);
		k = &t->known[t->nknown++];
		k->net = net;
		memcpy(k->mac, mac, 6);
	}
	k->port = port;
	k->seen = now;
}

static uint32_t twin_net(const struct twin *t, const struct sw_port *p, uint16_t vlan)
{
	if (p->kind == SW_VNIC)
		return p->network;
	for (uint32_t i = 0; i < NETS; i++)
		if (t->nets[i].uplink == p->id && t->nets[i].vlan == vlan)
			return t->nets[i].id;
	return 0;
}

/* The set of outputs as a bit per port (bit 63: the uplink), 0 for any drop. */
static uint64_t twin_input(struct twin *t, uint32_t port, uint16_t vlan, const uint8_t *eth, uint64_t now)
{
	const struct sw_port *p = port_by_id(t, port);
	uint32_t net, owner, to;
	const struct known *k;
	uint64_t set = 0;

	if (!p || !p->up || !(net = twin_net(t, p, vlan)))
		return 0;
	owner = owner_of(t, net, eth + 6);
	if (owner ? owner != port : !may_learn(p))
		return 0;
	if (!owner)
		twin_learn(t, net, eth + 6, port, now);
	k = twin_find(t, net, eth, now);
	to = owner_of(t, net, eth);
	if (!to && k)
		to = k->port;
	for (uint32_t i = 0; i < t->nports; i++) {
		const struct sw_port *q = &t->ports[i];
		bool member = q->kind == SW_VNIC ? q->network == net : t->nets[net - 1].uplink == q->id;

		if (!member || !q->up || q->id == port)
			continue;
		if (to ? q->id == to : (eth[0] & 1) || may_learn(q))
			set |= 1ull << (q->kind == SW_UPLINK ? 63 : q->id);
	}
	return set;
}

static void draw_config(struct twin *t, struct rng *r)
{
	struct twin was = *t;

	t->nports = 0;
	for (uint32_t i = 0; i < NETS; i++)
		t->nets[i] = (struct sw_network){
			.id = i + 1,
			.uplink = rng_below(r, 4) ? UPLINK : SW_NO_PORT,
			.vlan = (uint16_t)(100 * (i + 1) + rng_below(r, 2)),
		};
	for (uint32_t i = 1; i <= VNICS; i++) {
		struct sw_port *p = &t->ports[t->nports];

		if (rng_below(r, 5) == 0)
			continue;
		*p = (struct sw_port){.id = i,
				      .up = rng_below(r, 8) != 0,
				      .network = i % NETS + 1,
				      .pinned = rng_below(r, 2),
				      .anti_spoof = rng_below(r, 2),
				      .mac = {2, 0, 0, 0, 0, (uint8_t)i}};
		if (rng_below(r, 10) == 0)
			p->network = (uint32_t)rng_below(r, NETS) + 1;
		t->nports++;
	}
	t->ports[t->nports++] = (struct sw_port){
		.id = UPLINK, .kind = SW_UPLINK, .up = rng_below(r, 10) != 0};
	/* What of the known is still true? */
	for (uint32_t i = 0; i < t->nknown; i++) {
		struct known *k = &t->known[i];
		const struct sw_port *p0 = port_by_id(&was, k->port), *p = port_by_id(t, k->port);
		const struct sw_network *n0 = &was.nets[k->net - 1], *n = &t->nets[k->net - 1];
		bool keep = p0 && p && may_learn(p) && !owner_of(t, k->net, k->mac);

		if (keep && p->kind == SW_VNIC)
			keep = p->network == k->net;
		if (keep && p->kind == SW_UPLINK)
			keep = n->uplink == p->id && n0->uplink == n->uplink && n0->vlan == n->vlan;
		if (!keep)
			t->known[i--] = t->known[--t->nknown];
	}
}

static void compare_tables(struct twin *t, const struct sw *sw, uint64_t now)
{
	struct sw_fdb_row row;
	uint32_t cursor = 0, learned = 0, want = 0;

	while (sw_fdb_dump(sw, &cursor, &row, 1, now)) {
		const struct known *k = twin_find(t, row.network, row.mac, now);

		if (row.pinned) {
			assert_int_equal(owner_of(t, row.network, row.mac), row.port);
			continue;
		}
		assert_non_null(k);
		assert_int_equal(k->port, row.port);
		assert_int_equal(now - k->seen, row.age_ns);
		learned++;
	}
	for (uint32_t i = 0; i < t->nknown; i++)
		want += now - t->known[i].seen <= SW_AGE_DEFAULT;
	assert_int_equal(learned, want);
	assert_true(sw_fdb_count(sw) >= learned);
}

static void draw_mac(struct rng *r, uint8_t mac[6])
{
	/* Few enough to meet again: pinned ones, strangers and now and then a group. */
	memcpy(mac, (uint8_t[]){2, 0, 0, 0, 0, (uint8_t)(1 + rng_below(r, STATIONS))}, 6);
	if (rng_below(r, 10) == 0)
		mac[0] = 3;
}

static void step(struct twin *t, struct sw *sw, struct rng *r, uint64_t now)
{
	uint32_t port = rng_below(r, 3) ? 1 + (uint32_t)rng_below(r, VNICS) : UPLINK;
	uint16_t vlan = port == UPLINK ? (uint16_t)(100 * (1 + rng_below(r, NETS)) + rng_below(r, 2)) : 0;
	uint8_t b[80] = {0};
	struct sw_out out;
	struct frame f;
	uint64_t got = 0, want;

	draw_mac(r, b + 12);
	do
		draw_mac(r, b + 18);
	while (b[18] & 1);
	b[24] = 0x88;
	b[25] = 0xb5;
	script_frame(&f, b, sizeof b, 0);
	want = twin_input(t, port, vlan, b + 12, now);
	sw_input(sw, port, vlan, &f, now, &out);
	for (uint32_t i = 0; i < out.n; i++) {
		uint64_t bit = 1ull << (out.to[i].port == UPLINK ? 63 : out.to[i].port);

		assert_false(got & bit);
		got |= bit;
	}
	assert_int_equal(got, want);
}

static void race(uint64_t seed)
{
	struct sw_limits l = {.ports = VNICS + 1, .uplinks = 1, .networks = NETS, .fdb = 4096, .seed = seed};
	struct sw *sw = sw_create(&l);
	struct twin *t = calloc(1, sizeof *t);
	struct rng r;
	uint64_t now = 0;

	rng_init(&r, seed);
	for (uint32_t i = 0; i < STEPS; i++) {
		if (i % 500 == 0) {
			struct sw_config c = {t->nets, NETS, t->ports, 0};

			draw_config(t, &r);
			c.nports = t->nports;
			assert_int_equal(sw_apply(sw, &c), 0);
		}
		now += rng_below(&r, 10) ? rng_below(&r, SCRIPT_SEC) : rng_below(&r, 60 * SCRIPT_SEC);
		if (rng_below(&r, 20) == 0)
			sw_tick(sw, now, (uint32_t)rng_below(&r, 100));
		step(t, sw, &r, now);
		if (i % 100 == 0)
			compare_tables(t, sw, now);
	}
	assert_int_equal(sw_counters(sw)[SW_C_fdb_full], 0);
	assert_true(sw_counters(sw)[SW_C_fdb_moved] > 100);
	assert_true(sw_counters(sw)[SW_C_fdb_aged] > 100);
	sw_destroy(sw);
	free(t);
}

static void same_as_the_twin(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 3; seed++)
		race(seed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(same_as_the_twin)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

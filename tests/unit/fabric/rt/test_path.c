/* SPDX-License-Identifier: Apache-2.0 */
/* Paths: coming up, keepalive, suspicion, death, return, failover; in exact virtual time. */
#include "pair.h"

static void coming_up(void **state)
{
	struct rt_cfg c = pair_cfg();

	(void)state;
	pair_open(&c, 2);
	assert_int_equal(put(0, RT_CTL, RT_REL_FULL, 1, 10), 0);
	rt_flush(pair.rt[0], pair.now);
	assert_int_equal(pair_take(1), 0); /* the passive end waits */
	assert_int_equal(pair_take(0), 2); /* probes, no data yet */
	assert_int_equal(pkts[0].h.type, WIRE_PROBE);
	assert_int_equal(pkts[1].h.type, WIRE_PROBE);
	pair.now += 30 * US;
	pair_give_all(1);
	assert_log(1, "path 0 up; path 1 up; ");
	pair_take(1);
	assert_int_equal(pkts[0].h.type, WIRE_PROBE_REPLY);
	pair.now += 30 * US;
	pair_give_all(0);
	assert_log(0, "path 0 up; path 1 up; ");
	assert_true(pair.rt[0]->path[0].srtt == 60 * US);
	assert_int_equal(pair_take(0), 1);
	assert_int_equal(pkts[0].h.type, WIRE_DATA);
}

/* A path that does not answer at first is asked after 1, 2, 4, ... ms, then once a keepalive. */
static void first_probes(void **state)
{
	static const uint64_t want[] = {1, 3, 7, 15, 31, 63, 127, 255, 511, 1023, 2023, 3023};
	struct rt_cfg c = pair_cfg();
	uint64_t start;

	(void)state;
	pair_open(&c, 1);
	start = pair.now;
	pair_take(0);
	for (size_t i = 0; i < sizeof(want) / sizeof(want[0]);) {
		uint64_t at = pair_tick(0);

		if (!pair_take(0))
			continue; /* keepalive or loss: nothing to say */
		assert_int_equal(at - start, want[i++] * MS);
		assert_int_equal(pkts[0].h.type, WIRE_PROBE);
	}
	assert_log(0, "");
	pair_give_all(1);
	pair_take(1);
	pair_give_all(0);
	assert_log(0, "path 0 up; ");
}

/* Idle, two paths: one deadline per two keepalives at each end, one probe per path from the active one. */
static void keepalive(void **state)
{
	struct rt_cfg c = pair_cfg();
	uint64_t last;

	(void)state;
	pair_up(&c, 2, 10 * US);
	last = pair.now = rt_deadline(pair.rt[0]);
	rt_tick(pair.rt[0], pair.now);
	rt_tick(pair.rt[1], pair.now);
	pair_take(1); /* once the other end asks too, for the round trip */
	pair.now += 10 * US;
	pair_give_all(0);
	pair_settle(10 * US);
	assert_true(pair.rt[1]->path[0].srtt && pair.rt[1]->path[1].srtt);
	for (int i = 0; i < 20; i++) {
		uint64_t at = rt_deadline(pair.rt[0]);

		assert_true(i <= 1 || at - last == 2000 * MS);
		assert_true(rt_deadline(pair.rt[1]) == at);
		last = at;
		pair.now = at;
		rt_tick(pair.rt[0], pair.now);
		rt_tick(pair.rt[1], pair.now);
		assert_int_equal(pair_take(1), 0);
		assert_int_equal(pair_take(0), 2);
		pair_give_all(1);
		assert_int_equal(pair_take(1), 2);
		pair_give_all(0);
		assert_int_equal(pair_take(0), 0);
		assert_true(rt_idle(pair.rt[0]) && rt_idle(pair.rt[1]));
	}
	assert_false(rt_lost(pair.rt[0]) || rt_lost(pair.rt[1]));
	assert_log(0, "");
	assert_log(1, "");
	/* What is sent ends the quiet: after the next keepalive there is one each time. */
	for (uint32_t i = 0; i < 4; i++)
		put(0, RT_DATA, RT_REL_FULL, i, 1324);
	pair_settle(10 * US);
	for (uint64_t gap = 1000 * MS; gap <= 2000 * MS; gap += 1000 * MS) {
		pair.now = pair.rt[0]->keep_at;
		rt_tick(pair.rt[0], pair.now);
		assert_int_equal(pair.rt[0]->keep_at - pair.now, gap);
		pair_settle(10 * US);
	}
}

/* Silence of one path of two, idle: suspect after 20 ms, down after 50 ms, both ends; back at the next
 * answer. */
static void dies_idle(void **state)
{
	struct rt_cfg c = pair_cfg();
	uint64_t cut;

	(void)state;
	pair_up(&c, 2, 10 * US);
	cut = pair_tick(0);
	for (int up = 0; !up;) {
		pair_take(0);
		for (int i = 0; i < npkts; i++)
			if (pkts[i].path)
				pair_give(1, &pkts[i]);
		pair_take(1);
		for (int i = 0; i < npkts; i++)
			if (pkts[i].path)
				pair_give(0, &pkts[i]);
		pair_tick(0);
		if (pair.now - cut < 20 * MS)
			assert_log(0, "");
		else if (pair.now - cut < 50 * MS)
			assert_log(0, "path 0 suspect; ");
		else
			up = 1;
	}
	assert_log(0, "path 0 suspect; path 0 down; ");
	assert_int_equal(pair.now - cut, 50 * MS);
	assert_int_equal(pair.rt[0]->primary, 1);
	pair_settle(10 * US); /* the next probe is answered */
	assert_log(0, "path 0 suspect; path 0 down; path 0 up; ");
	assert_log(1, "path 0 suspect; path 0 up; ");
}

/* Busy: with the second timeout all moves to the other path, given-up time limits included. */
static void fails_over(void **state)
{
	struct rt_cfg c = pair_cfg();
	uint64_t sent;
	unsigned dead;

	(void)state;
	pair_up(&c, 2, 10 * US);
	sent = pair.now;
	for (uint32_t i = 0; i < 10; i++)
		put(0, RT_DATA, RT_REL_FULL, i, 1324);
	put(0, RT_NET, RT_REL_BOUNDED, 10, 1324);
	pair_take(0);
	dead = pkts[0].path;
	assert_int_equal(npkts, 11);
	assert_int_equal(pair_tick(0) - sent, 200 * US);
	assert_int_equal(pair_take(0), 2); /* of each class, on the same path still */
	assert_int_equal(pkts[0].path, dead);
	assert_int_equal(pair_tick(0) - sent, 400 * US); /* does not grow: there is another path */
	assert_int_equal(pair_take(0), 12);		 /* all, and a probe of the dead path */
	for (int i = 0; i < npkts; i++)
		assert_int_equal(pkts[i].path, pkts[i].h.type == WIRE_PROBE ? dead : !dead);
	assert_int_equal(counter(0, RT_C_tx_abandoned), 0);
	assert_true(strstr(pair.log[0], "suspect") != NULL);
	pair_give_all(1);
	assert_int_equal(pair.rt[1]->rx[RT_DATA].cum, 10);
	assert_int_equal(pair.rt[1]->rx[RT_NET].cum, 1);
}

/* What flies on a path that works may wait for answers that are lost on another: both are questioned, the
 * third takes over at once. */
static void leaves_all_silent_paths(void **state)
{
	struct rt_cfg c = pair_cfg();
	uint64_t sent;

	(void)state;
	pair_up(&c, 3, 10 * US);
	sent = pair.now;
	for (int i = 0; i < 3; i++) {
		pair.rt[0]->primary = i / 2;
		put(0, RT_DATA, RT_REL_FULL, (uint32_t)i, 1324);
		assert_int_equal(pair_take(0), 1);
		assert_int_equal(pkts[0].path, i / 2);
	}
	assert_int_equal(pair_tick(0) - sent, 200 * US);
	assert_true(pair_take(0) > 0);
	assert_int_equal(pkts[0].path, 1);
	assert_int_equal(pair_tick(0) - sent, 400 * US);
	assert_int_equal(pair_take(0), 5); /* all, and probes of the paths that were left */
	for (int i = 0; i < npkts; i++)
		assert_true(pkts[i].h.type == WIRE_PROBE ? pkts[i].path < 2 : pkts[i].path == 2);
	assert_int_equal(pair.rt[0]->path[0].state, RT_PATH_SUSPECT);
	assert_int_equal(pair.rt[0]->path[1].state, RT_PATH_SUSPECT);
}

/* The answer to data goes back where the data came from, even if this end prefers another path. */
static void ack_path(void **state)
{
	struct rt_cfg c = pair_cfg();

	(void)state;
	pair_up(&c, 2, 10 * US);
	for (int p = 0; p < 2; p++) {
		pair.rt[0]->primary = p;
		put(0, RT_DATA, RT_REL_FULL, 1, 1324);
		pair_take(0);
		assert_int_equal(pkts[0].path, p);
		pair_give_all(1);
		assert_int_equal(pair_take(1), 1);
		assert_int_equal(pkts[0].path, p);
		pair_give_all(0);
		assert_true(rt_idle(pair.rt[0]));
	}
}

/* With one path only, nothing is given up: it goes on when the path comes back. */
static void only_path_returns(void **state)
{
	struct rt_cfg c = pair_cfg();

	(void)state;
	pair_up(&c, 1, 10 * US);
	put(0, RT_DATA, RT_REL_FULL, 1, 5 * 1324);
	pair_take(0);
	while (pair.rt[0]->path[0].state != RT_PATH_DOWN) {
		pair_tick(0);
		pair_take(0);
		assert_true(pair.now < 4000 * MS);
	}
	assert_true(rt_deadline(pair.rt[0]) > pair.now); /* no spinning on what cannot be sent */
	pair_tick(0);
	assert_int_equal(pair_take(0), 1);
	assert_int_equal(pkts[0].h.type, WIRE_PROBE);
	pair_give_all(1);
	pair_take(1);
	pair_give_all(0);
	assert_int_equal(pair.rt[0]->path[0].state, RT_PATH_UP);
	pair_settle(10 * US);
	assert_int_equal(pair.rt[1]->rx[RT_DATA].cum, 5);
	assert_true(rt_idle(pair.rt[0]));
}

/* Lost after 3 s of silence, by default, at both ends; found again by one packet. */
static void lost(void **state)
{
	struct rt_cfg c = pair_cfg();
	uint64_t heard;

	(void)state;
	pair_up(&c, 1, 10 * US);
	for (int side = 0; side < 2; side++) {
		heard = pair.rt[side]->last_rx;
		pair.now = heard;
		while (!rt_lost(pair.rt[side])) {
			pair_tick(side);
			pair_take(side);
			assert_true(pair.now <= heard + 3000 * MS);
		}
		assert_int_equal(pair.now - heard, 3000 * MS);
		assert_true(rt_deadline(pair.rt[side]) != RT_NEVER);
	}
	pair.now += 2000 * MS;
	rt_tick(pair.rt[0], pair.now);
	pair_settle(10 * US);
	assert_false(rt_lost(pair.rt[0]));
	assert_false(rt_lost(pair.rt[1]));
}

/* Ends that disagree about a path come to rest: no storm of probes. */
static void no_storm(void **state)
{
	struct rt_cfg c = pair_cfg();
	uint64_t before;

	(void)state;
	pair_up(&c, 2, 10 * US);
	path_suspect(pair.rt[1], 0, pair.now);
	path_suspect(pair.rt[0], 0, pair.now);
	pair_settle(10 * US);
	before = counter(0, RT_C_tx_packets) + counter(1, RT_C_tx_packets);
	for (int i = 0; i < 50; i++) {
		pair_settle(10 * US);
		pair.now += 1 * MS;
		rt_tick(pair.rt[0], pair.now);
		rt_tick(pair.rt[1], pair.now);
	}
	assert_int_equal(pair.rt[0]->path[0].state, RT_PATH_UP);
	assert_int_equal(pair.rt[1]->path[0].state, RT_PATH_UP);
	assert_true(counter(0, RT_C_tx_packets) + counter(1, RT_C_tx_packets) - before < 8);
}

static void info(void **state)
{
	struct rt_cfg c = pair_cfg();
	struct rt_path_info i;

	(void)state;
	pair_up(&c, 1, 10 * US);
	rt_path_info(pair.rt[0], 0, &i);
	assert_int_equal(i.state, RT_PATH_UP);
	assert_int_equal(i.srtt_ns, 20 * US);
	assert_int_equal(i.tx_packets, 1);
	assert_int_equal(i.rx_packets, 1);
	rt_path_info(pair.rt[0], 1, &i);
	assert_int_equal(i.state, RT_PATH_DOWN);
	rt_path_info(pair.rt[0], 99, &i);
	assert_int_equal(i.state, RT_PATH_DOWN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(coming_up),  cmocka_unit_test(first_probes),
		cmocka_unit_test(keepalive),  cmocka_unit_test(dies_idle),
		cmocka_unit_test(fails_over), cmocka_unit_test(leaves_all_silent_paths),
		cmocka_unit_test(ack_path),   cmocka_unit_test(only_path_returns),
		cmocka_unit_test(lost),	      cmocka_unit_test(no_storm),
		cmocka_unit_test(info),
	};

	return cmocka_run_group_tests(tests, NULL, pair_teardown);
}

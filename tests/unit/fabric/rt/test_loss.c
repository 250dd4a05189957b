/* SPDX-License-Identifier: Apache-2.0 */
/* What is lost and what becomes of it, in exact virtual time. */
#include "pair.h"

static void one(enum rt_class cls, enum rt_rel rel, uint32_t len)
{
	assert_int_equal(put(0, cls, rel, 6, len), 0);
	rt_flush(pair.rt[0], pair.now);
}

/* Probe timeouts: floor, doubling, cap of 8, reset by progress. */
static void timeouts(void **state)
{
	static const uint64_t want[] = {200, 600, 1400, 3000, 4600, 6200, 7800};
	struct rt_cfg c = pair_cfg();
	uint64_t start;

	(void)state;
	pair_up(&c, 1, 10 * US);
	start = pair.now;
	one(RT_CMD, RT_REL_FULL, 100);
	assert_int_equal(pair_take(0), 1);
	for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		assert_int_equal(pair_tick(0) - start, want[i] * US);
		assert_int_equal(pair_take(0), 1);
		assert_int_equal(pkts[0].h.flags, WIRE_F_RETRANSMIT | WIRE_F_ACK_NOW);
		assert_int_equal(pkts[0].h.psn, 0);
	}
	pair.now += 10 * US;
	pair_give_all(1);
	pair_take(1);
	pair.now += 10 * US;
	pair_give_all(0);
	assert_true(rt_idle(pair.rt[0]));
	assert_int_equal(pair.rt[0]->tx[RT_CMD].backoff, 0);
	assert_log(1, "rec 1:0 id 6 0+100/100; settled 1:1; ");
}

/* Nothing is due before its time. */
static void not_early(void **state)
{
	struct rt_cfg c = pair_cfg();

	(void)state;
	pair_up(&c, 1, 10 * US);
	one(RT_CMD, RT_REL_FULL, 100);
	pair_take(0);
	assert_true(rt_deadline(pair.rt[0]) == pair.now + 200 * US);
	pair.now += 200 * US - 1;
	rt_tick(pair.rt[0], pair.now);
	assert_int_equal(pair_take(0), 0);
	pair.now += 1;
	rt_tick(pair.rt[0], pair.now);
	assert_int_equal(pair_take(0), 1);
}

/* A slow round trip stretches the timeout: 2 srtt + rttvar. */
static void slow_path(void **state)
{
	struct rt_cfg c = pair_cfg();

	(void)state;
	pair_up(&c, 1, 5 * MS);
	one(RT_CMD, RT_REL_FULL, 100);
	pair_take(0);
	assert_true(rt_deadline(pair.rt[0]) ==
		    pair.now + 2 * pair.rt[0]->path[0].srtt + pair.rt[0]->path[0].rttvar);
	assert_true(pair.rt[0]->path[0].srtt == 10 * MS);
}

/* A hole with 3 later arrivals is filled at once, one with 2 after the reordering allowance. */
static void holes(void **state)
{
	struct rt_cfg c = pair_cfg();

	(void)state;
	pair_up(&c, 1, 50 * US);
	one(RT_CMD, RT_REL_FULL, 5 * 1324);
	assert_int_equal(pair_take(0), 5);
	uint64_t sent = pair.now;
	pair.now += 50 * US;
	for (int i = 0; i < 5; i++)
		if (i != 1 && i != 3)
			pair_give(1, &pkts[i]);
	rt_input_end(pair.rt[1], pair.now);
	pair_take(1);
	pair.now += 50 * US;
	pair_give_all(0);
	assert_int_equal(pair_take(0), 1);
	assert_int_equal(pkts[0].h.psn, 1);
	/* 100 us after it was sent, and a quarter of the round trip */
	assert_true(pair_tick(0) == sent + 125 * US);
	assert_int_equal(pair_take(0), 1);
	assert_int_equal(pkts[0].h.psn, 3);
	assert_int_equal(counter(0, RT_C_tx_retransmits), 2);
}

/* The echo names the transmission: a retransmission that is lost too is found by its own number. */
static void lost_again(void **state)
{
	struct rt_cfg c = pair_cfg();

	(void)state;
	pair_up(&c, 1, 50 * US);
	for (int round = 0; round < 6; round++) {
		one(RT_CMD, RT_REL_FULL, 4 * 1324);
		pair_take(0);
		assert_int_equal(npkts, round ? 5 : 4);
		pair.now += 50 * US;
		for (int i = 1; i < npkts; i++) /* the first again and again */
			pair_give(1, &pkts[i]);
		rt_input_end(pair.rt[1], pair.now);
		assert_int_equal(pkts[0].h.psn, 0);
		pair_take(1);
		pair.now += 50 * US;
		pair_give_all(0);
	}
	assert_int_equal(counter(0, RT_C_tx_retransmits), 5);
	assert_int_equal(counter(1, RT_C_drop_duplicate), 0);
	pair_settle(50 * US);
	assert_int_equal(pair.rt[1]->rx[RT_CMD].cum, 24);
}

/* Once the path was seen to reorder, three later arrivals prove nothing. */
static void reordering(void **state)
{
	struct rt_cfg c = pair_cfg();

	(void)state;
	pair_up(&c, 1, 50 * US);
	one(RT_CMD, RT_REL_FULL, 5 * 1324);
	pair_take(0);
	pair.now += 50 * US;
	for (int i = 0; i < 5; i++)
		if (i != 3)
			pair_give(1, &pkts[i]);
	rt_input_end(pair.rt[1], pair.now);
	struct pkt late = pkts[3];
	pair_take(1);
	pair_give_all(0);
	pair_give(1, &late);
	rt_input_end(pair.rt[1], pair.now);
	pair_take(1);
	pair_give_all(0);
	assert_true(pair.rt[0]->path[0].reo_mult > 0);
	one(RT_CMD, RT_REL_FULL, 6 * 1324);
	pair_take(0);
	for (int i = 1; i < 6; i++)
		pair_give(1, &pkts[i]);
	rt_input_end(pair.rt[1], pair.now);
	pair_take(1);
	pair.now += 20 * US;
	pair_give_all(0);
	assert_int_equal(pair_take(0), 0); /* would have gone at once before */
	pair_tick(0);
	assert_int_equal(pair_take(0), 1);
	/* and it is forgotten after quiet keepalives */
	for (int i = 0; i < 5; i++) {
		pair_settle(50 * US);
		pair.now += 1000 * MS;
		rt_tick(pair.rt[0], pair.now);
	}
	assert_int_equal(pair.rt[0]->path[0].reo_mult, 0);
}

/* RT_NET by reliability: how often the only packet goes, and when the peer learns that it never will. */
static void reliability(void **state)
{
	static const struct {
		enum rt_rel rel;
		int sent; /* until given up, of 6 timeouts */
	} rows[] = {{RT_REL_NONE, 1}, {RT_REL_BOUNDED, 4}, {RT_REL_FULL, 7}};
	struct rt_cfg c = pair_cfg();

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int sent = 1;

		pair_up(&c, 1, 10 * US);
		one(RT_NET, rows[i].rel, 100);
		pair_take(0);
		for (int k = 0; k < 6; k++) {
			pair_tick(0);
			for (int n = pair_take(0) - 1; n >= 0; n--)
				sent += pkts[n].h.type == WIRE_DATA;
		}
		assert_int_equal(sent, rows[i].sent);
		assert_int_equal(counter(0, RT_C_tx_abandoned), rows[i].rel != RT_REL_FULL);
		/* the floor is repeated until it is confirmed */
		pair_tick(0);
		assert_int_equal(pair_take(0), 1);
		assert_true(pkts[0].h.flags & WIRE_F_ACK_NOW);
		pair_give_all(1);
		assert_log(1, rows[i].rel == RT_REL_FULL ? "rec 3:0 id 6 0+100/100; settled 3:1; "
							 : "settled 3:1; ");
		assert_int_equal(counter(1, RT_C_rx_skipped), rows[i].rel != RT_REL_FULL);
		pair_take(1);
		pair_give_all(0);
		assert_true(rt_idle(pair.rt[0]));
	}
}

/* Of a fast path, three retransmissions are the bound; a chunk of mixed messages is as good as its best. */
static void bounded_count(void **state)
{
	struct rt_cfg c = pair_cfg();

	(void)state;
	for (int mixed = 0; mixed < 2; mixed++) {
		int sent = 0;

		pair_up(&c, 1, 5 * US);
		one(RT_NET, RT_REL_NONE, 100);
		one(RT_NET, mixed ? RT_REL_FULL : RT_REL_BOUNDED, 100);
		for (int round = 0; round < 6; round++) {
			one(RT_NET, RT_REL_NONE, 5 * 1324);
			pair_take(0);
			pair.now += 5 * US;
			for (int i = 0; i < npkts; i++) {
				if (pkts[i].h.type == WIRE_DATA && pkts[i].h.psn == 0)
					sent++;
				else
					pair_give(1, &pkts[i]);
			}
			rt_input_end(pair.rt[1], pair.now);
			pair_take(1);
			pair.now += 5 * US;
			pair_give_all(0);
		}
		assert_int_equal(sent, mixed ? 6 : 4);
		assert_int_equal(pair.rt[1]->rx[RT_NET].cum > 0, !mixed);
	}
}

/* However late its loss shows, it is sent again: nobody can help a processor that wakes late. */
static void bounded_late(void **state)
{
	struct rt_cfg c = pair_cfg();

	(void)state;
	for (int again = 0; again < 3; again++) {
		pair_up(&c, 1, 5 * US);
		one(RT_NET, RT_REL_BOUNDED, 100);
		pair_take(0);
		for (int i = 0; i <= again; i++) {
			pair.now += 200 * MS;
			rt_tick(pair.rt[0], pair.now);
			assert_int_equal(pair_take(0), 1);
			assert_int_equal(pkts[0].h.type, WIRE_DATA);
		}
		pair_give_all(1);
		assert_log(1, "rec 3:0 id 6 0+100/100; settled 3:1; ");
		assert_int_equal(counter(0, RT_C_tx_abandoned), 0);
	}
}

/* What a path swallowed before it was found dead does not count. */
static void bounded_moved(void **state)
{
	struct rt_cfg c = pair_cfg();
	unsigned dead;
	int sent = 0;

	(void)state;
	pair_up(&c, 2, 10 * US);
	dead = (unsigned)pair.rt[0]->primary;
	one(RT_NET, RT_REL_BOUNDED, 100);
	pair_take(0);
	while (pair.rt[0]->path[dead].state == RT_PATH_UP) {
		pair_tick(0);
		pair_take(0);
	}
	for (int i = 0; i < 8; i++) { /* and it is lost on the other too */
		for (int k = 0; k < npkts; k++)
			sent += pkts[k].h.type == WIRE_DATA && pkts[k].path != dead;
		pair_tick(0);
		pair_take(0);
	}
	assert_int_equal(sent, 3);
	assert_int_equal(counter(0, RT_C_tx_abandoned), 1);
}

/* A window of given-up packets costs one timeout, not one each. */
static void given_up_together(void **state)
{
	struct rt_cfg c = pair_cfg();

	(void)state;
	pair_up(&c, 1, 10 * US);
	one(RT_NET, RT_REL_NONE, 50000);
	pair_take(0);
	pair_tick(0);
	assert_int_equal(pair_take(0), 1);
	assert_int_equal(pkts[0].h.floor, 38);
	assert_int_equal(counter(0, RT_C_tx_abandoned), 38);
	pair_give_all(1);
	assert_int_equal(pair.rt[1]->rx[RT_NET].cum, 38);
	assert_log(1, "settled 3:38; ");
}

/* Numbers cross their wrap in the middle of loss. */
static void wrap(void **state)
{
	struct rt_cfg c = pair_cfg();

	(void)state;
	c.psn_start = 0xfffffff0;
	c.txn_start = 0xfffffff0;
	pair_up(&c, 1, 10 * US);
	for (int round = 0; round < 40; round++) {
		one(RT_CMD, RT_REL_FULL, 5 * 1324);
		pair_take(0);
		for (int i = 0; i < npkts; i++)
			if ((i + round) % 3)
				pair_give(1, &pkts[i]);
		rt_input_end(pair.rt[1], pair.now);
		pair_take(1);
		pair.now += 20 * US;
		pair_give_all(0);
	}
	for (int i = 0; i < 20 && !rt_idle(pair.rt[0]); i++) {
		pair_settle(10 * US);
		if (!rt_idle(pair.rt[0]))
			pair_tick(0);
	}
	assert_int_equal(pair.rt[1]->rx[RT_CMD].cum, 0xfffffff0 + 200);
	assert_int_equal(pair.rt[0]->tx[RT_CMD].base, 0xfffffff0 + 200);
	assert_true(pair.rt[0]->path[0].txn > 0x100000000ull);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(timeouts),	     cmocka_unit_test(not_early),
		cmocka_unit_test(slow_path),	     cmocka_unit_test(holes),
		cmocka_unit_test(lost_again),	     cmocka_unit_test(reordering),
		cmocka_unit_test(reliability),	     cmocka_unit_test(bounded_count),
		cmocka_unit_test(bounded_late),	     cmocka_unit_test(bounded_moved),
		cmocka_unit_test(given_up_together), cmocka_unit_test(wrap),
	};

	return cmocka_run_group_tests(tests, NULL, pair_teardown);
}

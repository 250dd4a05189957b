/* SPDX-License-Identifier: Apache-2.0 */
/* Acknowledgements from one end's window to the other's ring: exactly what arrived is known to have arrived.
 */
#include "pair.h"

#include "fabric/base/rng.h"

static const uint32_t starts[] = {0, 1, 31, 63, 64, 0x7fffffe0, 0xffffffc0, 0xffffffd5, 0xffffffff};

/* Sends a full window, delivers a random part of it, and compares what the sender then holds for done. */
static void one_window(uint32_t window, uint32_t start, uint32_t keep, struct rng *g)
{
	struct rt_cfg c = pair_cfg();
	static bool got[4096];
	uint32_t n = 0;

	c.window[RT_DATA] = window;
	c.psn_start = start;
	pair_up(&c, 1, 10 * US);
	struct tx_ring *t = &pair.rt[0]->tx[RT_DATA];
	t->peer_rwnd = window;
	pair.rt[0]->path[0].cc.cwnd = 4096 * 256;
	while (put(0, RT_DATA, RT_REL_FULL, n, 1324) == 0)
		n++;
	assert_int_equal(n, window);
	assert_int_equal(pair_take(0), window);
	for (uint32_t i = 0; i < window; i++) {
		got[i] = rng_chance(g, keep);
		if (got[i])
			pair_give(1, &pkts[i]);
	}
	rt_input_end(pair.rt[1], pair.now);
	pair_take(1);
	pair.log[1][0] = 0;
	if (npkts) { /* in clear: only the tag is CRC32C's */
		struct wire_ack a;
		struct cur_r r;

		cur_r_init(&r, pkts[0].data + WIRE_HDR_LEN, pkts[0].len - WIRE_HDR_LEN - 4);
		assert_int_equal(wire_ack_next(&r, &a), 1);
		assert_true((wire_ack_word(&a, 0) & ((1ull << (a.cum_ack & 63)) - 1)) == 0);
	}
	pair_give_all(0);
	for (uint32_t i = 0; i < window; i++) {
		uint32_t psn = start + i;
		bool done = psn_diff(psn, t->base) < 0 || t->slots[psn & t->mask].state == SLOT_DONE;

		if (done != got[i])
			fail_msg("window %u start %x: %u of it", window, start, i);
	}
	/* what is missing goes again, and then all is well */
	for (int i = 0; i < 30 && !rt_idle(pair.rt[0]); i++) {
		pair_settle(10 * US);
		if (!rt_idle(pair.rt[0]))
			pair_tick(0);
	}
	assert_int_equal(pair.rt[1]->rx[RT_DATA].cum, start + window);
	assert_int_equal(counter(1, RT_C_drop_duplicate), 0);
}

static void windows(void **state)
{
	static const uint32_t keep[] = {0, 10000, 500000, 990000, 1000000};
	struct rng g;

	(void)state;
	rng_init(&g, 11);
	for (uint32_t w = 64; w <= 4096; w *= 4)
		for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++)
			for (size_t k = 0; k < sizeof(keep) / sizeof(keep[0]); k++)
				one_window(w, starts[i], keep[k], &g);
}

/* What packets wait for at both hosts is part of the time that timers know, and no part of the path's. */
static void delay(void **state)
{
	struct rt_cfg c = pair_cfg();

	(void)state;
	pair_up(&c, 1, 50 * US);
	put(0, RT_DATA, RT_REL_FULL, 1, 1324);
	pair_take(0);
	pair.now += 50 * US + 300 * US;
	pair.lay = 300 * US; /* asleep */
	pair_give_all(1);
	pair.now += 5000 * US; /* busy elsewhere */
	pair_take(1);
	pair.now += 50 * US + 700 * US;
	pair.lay = 700 * US;
	pair_give_all(0);
	pair.lay = 0;
	assert_int_equal(pair.rt[0]->path[0].rtt_all, 6100 * US);
	assert_in_range(pair.rt[0]->path[0].srtt, 800 * US, 900 * US);
	assert_int_equal(path_base_rtt(&pair.rt[0]->path[0]), 100 * US);
	assert_int_equal(pair.rt[0]->path[0].cc.round_rtt, 100 * US);
	assert_int_equal(pair.rt[0]->path[0].cc.round_all, 6100 * US);
}

/* At once on a gap, on request, on a duplicate and after RT_ACK_EVERY packets; else at the end of a burst. */
static void when_due(void **state)
{
	struct rt_cfg c = pair_cfg();
	uint32_t n = 0;

	(void)state;
	pair_up(&c, 1, 10 * US);
	pair.rt[0]->path[0].cc.cwnd = 4096 * 256;
	pair.rt[0]->tx[RT_DATA].peer_rwnd = 1024;
	while (n < 600 && put(0, RT_DATA, RT_REL_FULL, n, 1324) == 0)
		n++;
	assert_int_equal(pair_take(0), 600);
	struct pkt *k = malloc(600 * sizeof(*k));
	assert_non_null(k);
	memcpy(k, pkts, 600 * sizeof(*k));
	for (uint32_t i = 0; i < 255; i++)
		pair_give(1, &k[i]);
	assert_int_equal(pair_take(1), 0);
	pair_give(1, &k[255]);
	assert_int_equal(pair_take(1), 1);
	pair_give(1, &k[256]);
	assert_int_equal(pair_take(1), 0);
	rt_input_end(pair.rt[1], pair.now);
	assert_int_equal(pair_take(1), 1);
	rt_input_end(pair.rt[1], pair.now);
	assert_int_equal(pair_take(1), 0); /* nothing new */
	pair_give(1, &k[258]);
	assert_int_equal(pair_take(1), 1); /* a gap */
	pair_give(1, &k[257]);
	assert_int_equal(pair_take(1), 1); /* it closes */
	free(k);
	/* a spurious retransmission: the peer must hear that it was one */
	pair_tick(0);
	pair_take(0);
	assert_int_equal(pkts[0].h.psn, 0);
	pair.rt[1]->rx[RT_DATA].due = false;
	pair_give(1, &pkts[0]);
	assert_int_equal(pair_take(1), 1);
}

/* A duplicate that asks for nothing is answered all the same. */
static void duplicate_answered(void **state)
{
	struct rt_cfg c = pair_cfg();

	(void)state;
	pair_up(&c, 1, 10 * US);
	put(0, RT_DATA, RT_REL_FULL, 1, 8 * 1324);
	pair_take(0);
	for (int i = 1; i < 8; i++)
		pair_give(1, &pkts[i]);
	struct pkt late = pkts[0];
	rt_input_end(pair.rt[1], pair.now);
	pair_take(1);
	pair_give_all(0);
	assert_int_equal(pair_take(0), 1);
	assert_int_equal(pkts[0].h.flags, WIRE_F_RETRANSMIT);
	struct pkt again = pkts[0];
	pair_give(1, &late);
	assert_int_equal(pair_take(1), 1);
	assert_false(pair.rt[1]->rx[RT_DATA].due);
	pair_give(1, &again);
	assert_int_equal(counter(1, RT_C_drop_duplicate), 1);
	assert_int_equal(pair_take(1), 1);
}

/* A full packet has no room for blocks: its header acknowledges what is in order. */
static void header_alone(void **state)
{
	struct rt_cfg c = pair_cfg();

	(void)state;
	pair_up(&c, 1, 10 * US);
	put(0, RT_DATA, RT_REL_FULL, 1, 3 * 1324);
	pair_take(0);
	for (int i = 0; i < 3; i++)
		pair_give(1, &pkts[i]);
	put(1, RT_DATA, RT_REL_FULL, 1, 1324);
	assert_int_equal(pair_take(1), 1);
	assert_int_equal(pkts[0].h.flags, 0);
	pair_give(0, &pkts[0]);
	assert_int_equal(pair.rt[0]->tx[RT_DATA].flying, 0);
	assert_int_equal(pair.rt[0]->tx[RT_DATA].peer_cum, 3);
}

/* Two paths: what came on the second is echoed too, so that its losses are found. */
static void both_paths(void **state)
{
	struct rt_cfg c = pair_cfg();

	(void)state;
	pair_up(&c, 2, 10 * US);
	for (int p = 0; p < 2; p++) {
		pair.rt[0]->primary = p;
		put(0, RT_DATA, RT_REL_FULL, 1, 6 * 1324);
		pair_take(0);
		for (int i = 1; i < npkts; i++)
			pair_give(1, &pkts[i]);
	}
	rt_input_end(pair.rt[1], pair.now);
	pair_take(1);
	pair_give_all(0);
	assert_int_equal(pair_take(0), 2);
	assert_int_equal(pkts[0].h.psn + pkts[1].h.psn, 6); /* 0 and 6, in any order */
	assert_int_not_equal(pkts[0].h.psn, pkts[1].h.psn);
}

/* A few packets are acknowledged by what goes back anyway, or when the delay is over. */
static void waits_for_company(void **state)
{
	struct rt_cfg c = pair_cfg();
	struct rt *rt;

	(void)state;
	c.ack_delay_ns = 50 * US;
	pair_up(&c, 1, 10 * US);
	rt = pair.rt[1];
	for (uint32_t i = 2; i-- > 0;) {
		uint64_t now;

		put(0, RT_DATA, RT_REL_FULL, i, 3 * 1324);
		pair_take(0);
		pair_give_all(1);
		assert_int_equal(rt_deadline(rt), pair.now + 50 * US);
		now = pair.now + 50 * US;
		pair.now += 20 * US;
		rt_input_end(rt, pair.now); /* another burst does not put it off */
		assert_int_equal(pair_take(1), 0);
		assert_int_equal(rt_deadline(rt), now);
		if (i) {
			put(1, RT_DATA, RT_REL_FULL, 1, 100);
			rt_flush(rt, pair.now);
			assert_int_equal(pair_take(1), 1);
			assert_true(pkts[0].h.flags & WIRE_F_ACKS);
		} else {
			assert_int_equal(pair_tick(1), now);
			assert_int_equal(pair_take(1), 1);
			assert_int_equal(pkts[0].h.type, WIRE_ACK);
		}
		assert_int_equal(rt->ack_at, RT_NEVER);
		pair_give_all(0);
		assert_int_equal(pair.rt[0]->tx[RT_DATA].flying, 0);
	}
	/* In vain: for a while it does not wait. */
	for (uint32_t i = 0; rt->ack_at == RT_NEVER; i++) {
		assert_true(i < 20);
		pair.now += 60 * US; /* bursts apart from each other */
		put(0, RT_DATA, RT_REL_FULL, i, 3 * 1324);
		pair_take(0);
		pair_give_all(1);
		assert_int_equal(pair_take(1), i < 16 ? 1 : 0);
		pair_give_all(0);
	}
	assert_in_range(pair.rt[0]->path[0].ack_wait, 1, 50 * US);
}

/* The more often in vain, the longer it does not wait. */
static void waits_less_and_less_in_vain(void **state)
{
	struct rt_cfg c = pair_cfg();
	struct rt *rt;

	(void)state;
	c.ack_delay_ns = 50 * US;
	pair_up(&c, 1, 10 * US);
	rt = pair.rt[1];
	for (uint32_t vain = 0, hurried; vain < 7; vain++) {
		for (hurried = 0; rt->ack_at == RT_NEVER; hurried++) {
			pair.now += 60 * US;
			put(0, RT_DATA, RT_REL_FULL, hurried, 3 * 1324);
			pair_take(0);
			pair_give_all(1);
			pair_take(1);
			pair_give_all(0);
		}
		assert_int_equal(hurried - 1, vain ? 16u << (vain < 5 ? vain - 1 : 4) : 0);
		pair_tick(1);
		assert_int_equal(pair_take(1), 1);
		pair_give_all(0);
	}
}

/* Bursts that follow each other closely are acknowledged together, by the last one before the delay is over;
 * waits that were in vain before do not count then. */
static void waits_for_bursts(void **state)
{
	struct rt_cfg c = pair_cfg();
	unsigned acks = 0;
	struct rt *rt;

	(void)state;
	c.ack_delay_ns = 100 * US;
	pair_up(&c, 1, 10 * US);
	rt = pair.rt[1];
	rt->ack_hurry = 1000;
	for (uint32_t i = 0; i < 44; i++) {
		int n;

		pair.now += 20 * US;
		assert_true(rt->ack_at == RT_NEVER || pair.now < rt->ack_at);
		put(0, RT_DATA, RT_REL_FULL, i, 3 * 1324);
		pair_take(0);
		pair_give_all(1);
		n = pair_take(1);
		acks += i > 1 ? (unsigned)n : 0; /* closely: so says the second gap */
		pair_give_all(0);
	}
	assert_int_equal(acks, 42 / 5);
	/* The stream ends: what waits is of several bursts, so the timer was no waste. */
	rt->ack_vain = 3;
	assert_true(rt->ack_bursts > 1);
	pair_tick(1);
	assert_int_equal(pair_take(1), 1);
	assert_int_equal(rt->ack_vain, 0);
	assert_int_equal(rt->ack_hurry, 1000 - 2);
}

/* Whose window is filling needs acknowledgements to go on: they come at the end of the burst. */
static void does_not_wait_when_asked(void **state)
{
	struct rt_cfg c = pair_cfg();

	(void)state;
	c.ack_delay_ns = 50 * US;
	pair_up(&c, 1, 10 * US);
	pair.rt[0]->path[0].cc.cwnd = 16 * CC_ONE;
	put(0, RT_DATA, RT_REL_FULL, 1, 12 * 1324);
	assert_int_equal(pair_take(0), 12);
	pair_give_all(1);
	assert_int_equal(pair_take(1), 0);
	put(0, RT_DATA, RT_REL_FULL, 2, 1324);
	assert_int_equal(pair_take(0), 1);
	pair_give_all(1);
	assert_int_equal(pair_take(1), 1);
	assert_int_equal(pkts[0].h.type, WIRE_ACK);
	pair_give_all(0);
	/* Those of one run that fill it, too: three quarters of the window go unhurried. */
	pair.rt[0]->path[0].cc.cwnd = 16 * CC_ONE;
	put(0, RT_DATA, RT_REL_FULL, 3, 16 * 1324);
	assert_int_equal(pair_take(0), 16);
	for (int i = 0; i < 16; i++)
		assert_int_equal(!!(pkts[i].h.flags & WIRE_F_ACK_SOON), i >= 12);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(windows),	     cmocka_unit_test(delay),
		cmocka_unit_test(when_due),	     cmocka_unit_test(duplicate_answered),
		cmocka_unit_test(both_paths),	     cmocka_unit_test(header_alone),
		cmocka_unit_test(waits_for_company), cmocka_unit_test(waits_less_and_less_in_vain),
		cmocka_unit_test(waits_for_bursts),  cmocka_unit_test(does_not_wait_when_asked),
	};

	return cmocka_run_group_tests(tests, NULL, pair_teardown);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Keys change under load and paths go: nothing is lost, no number is used twice. */
#include "pair.h"

static struct rt_path_cfg fresh_path(int side, unsigned path)
{
	struct rt_path_cfg c = pair_path(side, path);

	c.tx_spi += 0x100;
	c.rx_spi += 0x100;
	memset(c.tx_key, 0x40 + side, sizeof(c.tx_key));
	memset(c.rx_key, 0x41 - side, sizeof(c.rx_key));
	return c;
}

static bool rekeying(int side)
{
	struct rt_path_info i;

	rt_path_info(pair.rt[side], 0, &i);
	return i.rekeying;
}

/* In flight under the old SPI while both ends change; sent again under the new one; old keys go after 1 s. */
static void under_load(void **state)
{
	struct rt_cfg c = pair_cfg();
	struct rt_path_cfg k0 = fresh_path(0, 0), k1 = fresh_path(1, 0);
	struct pkt old[4];
	uint64_t txn;

	(void)state;
	pair_up(&c, 1, 50 * US);
	put(0, RT_DATA, RT_REL_FULL, 1, 4 * 1324);
	assert_int_equal(pair_take(0), 4);
	memcpy(old, pkts, sizeof(old));
	assert_int_equal(old[0].h.spi, pair_path(0, 0).tx_spi);

	assert_int_equal(rt_path_rekey(pair.rt[1], 0, &k1, pair.now), 0);
	assert_int_equal(rt_path_rekey(pair.rt[1], 0, &k1, pair.now), -EBUSY);
	assert_int_equal(rt_path_rekey(pair.rt[0], 0, &k0, pair.now), 0);
	assert_int_equal(rt_path_rekey_send(pair.rt[0], 0, pair.now), 0);
	assert_int_equal(rt_path_rekey_send(pair.rt[0], 0, pair.now), -ENOENT);
	assert_true(rekeying(0) && rekeying(1));

	pair.now += 50 * US;
	pair_give(1, &old[1]); /* late, under the old SPI */
	assert_int_equal(counter(1, RT_C_drop_spi), 0);
	pair_take(1);
	for (int i = 0; i < npkts; i++)
		assert_int_equal(pkts[i].h.spi, pair_path(1, 0).tx_spi); /* does not know yet */

	pair.now += 300 * US;
	rt_tick(pair.rt[0], pair.now);
	assert_true(pair_take(0) >= 1); /* a probe, and the oldest packet once more */
	for (int i = 0; i < npkts; i++) {
		assert_int_equal(pkts[i].h.spi, k0.tx_spi);
		assert_true(pkts[i].h.txn > old[3].h.txn);
	}
	txn = pkts[npkts - 1].h.txn;
	pair_give_all(1);
	assert_true(pair_take(1) >= 1);
	for (int i = 0; i < npkts; i++)
		assert_int_equal(pkts[i].h.spi, k1.tx_spi);
	pair_give_all(0);
	pair_settle(50 * US);
	assert_true(pair.rt[0]->path[0].txn > txn);
	assert_true(rekeying(0) && rekeying(1));
	for (int side = 0; side < 2; side++) {
		pair.now = pair.rt[side]->path[0].wipe_at;
		assert_true(rt_deadline(pair.rt[side]) <= pair.now);
		rt_tick(pair.rt[side], pair.now);
		assert_false(rekeying(side));
	}
	for (int i = 0; i < 5 && !rt_idle(pair.rt[0]); i++) {
		pair_tick(0);
		pair_settle(50 * US);
	}
	assert_int_equal(pair.rt[1]->rx[RT_DATA].cum, 4);
	pair_give(1, &old[0]);
	assert_int_equal(counter(1, RT_C_drop_spi), 1);
	assert_int_equal(rt_path_rekey(pair.rt[0], 0, &k0, pair.now), -EINVAL);
}

/* A packet sealed with keys that were wiped meanwhile is sent again under the new ones. */
static void outlives_its_key(void **state)
{
	struct rt_cfg c = pair_cfg();
	struct rt_path_cfg k0 = fresh_path(0, 0), k1 = fresh_path(1, 0);

	(void)state;
	pair_up(&c, 1, 50 * US);
	put(0, RT_DATA, RT_REL_FULL, 1, 1324);
	pair_take(0);
	rt_path_rekey(pair.rt[1], 0, &k1, pair.now);
	rt_path_rekey(pair.rt[0], 0, &k0, pair.now);
	rt_path_rekey_send(pair.rt[0], 0, pair.now);
	pair_take(0); /* the probe, lost too */
	key_heard(pair.rt[0], &pair.rt[0]->path[0], k0.rx_spi, pair.now);
	key_tick(pair.rt[0], 0, pair.rt[0]->path[0].wipe_at);
	assert_false(rekeying(0));
	pair_tick(0);
	pair_settle(50 * US);
	assert_int_equal(pair.rt[1]->rx[RT_DATA].cum, 1);
	assert_int_equal(counter(1, RT_C_drop_auth), 0);
}

static void refused(void **state)
{
	struct rt_cfg c = pair_cfg();
	struct rt_path_cfg k = fresh_path(0, 0);

	(void)state;
	pair_up(&c, 2, 50 * US);
	assert_int_equal(rt_path_rekey(pair.rt[0], 2, &k, pair.now), -ENOENT);
	assert_int_equal(rt_path_rekey(pair.rt[0], 99, &k, pair.now), -ENOENT);
	assert_int_equal(rt_path_rekey_send(pair.rt[0], 0, pair.now), -ENOENT);
	assert_int_equal(rt_path_rekey_send(pair.rt[0], 99, pair.now), -ENOENT);
	k.rx_spi = pair_path(0, 1).rx_spi;
	assert_int_equal(rt_path_rekey(pair.rt[0], 0, &k, pair.now), -EEXIST);
	k.rx_spi = 0;
	assert_int_equal(rt_path_rekey(pair.rt[0], 0, &k, pair.now), -EINVAL);
	assert_false(rekeying(0));
	assert_int_equal(rt_path_del(pair.rt[0], 2, pair.now), -ENOENT);
	assert_int_equal(rt_path_del(pair.rt[0], 99, pair.now), -ENOENT);
}

/* What a removed path carried goes on elsewhere; its number comes back with numbers that go on. */
static void removed(void **state)
{
	struct rt_cfg c = pair_cfg();
	struct rt_path_cfg k0, k1;
	unsigned gone;
	uint64_t txn;

	(void)state;
	pair_up(&c, 2, 50 * US);
	put(0, RT_DATA, RT_REL_FULL, 1, 4 * 1324);
	pair_take(0);
	gone = pkts[0].path;
	txn = pair.rt[0]->path[gone].txn;
	pair_give(1, &pkts[1]);
	assert_int_equal(rt_path_del(pair.rt[0], gone, pair.now), 0);
	assert_non_null(strstr(pair.log[0], gone ? "path 1 down" : "path 0 down"));
	assert_int_equal(pair_take(0), 4);
	for (int i = 0; i < npkts; i++)
		assert_int_equal(pkts[i].path, !gone);
	pair_give_all(1);
	pair_settle(50 * US);
	assert_int_equal(pair.rt[1]->rx[RT_DATA].cum, 4);
	assert_int_equal(counter(0, RT_C_drop_ack), 0); /* what is said of the removed path is no lie */
	assert_int_equal(rt_path_del(pair.rt[1], gone, pair.now), 0);
	k0 = fresh_path(0, gone);
	k1 = fresh_path(1, gone);
	assert_int_equal(rt_path_add(pair.rt[0], gone, &k0, pair.now), 0);
	assert_int_equal(rt_path_add(pair.rt[1], gone, &k1, pair.now), 0);
	assert_true(pair.rt[0]->path[gone].txn >= txn);
	pair_settle(50 * US);
	assert_int_equal(pair.rt[0]->path[gone].state, RT_PATH_UP);
	/* the last one too: nothing is lost, it waits */
	put(0, RT_DATA, RT_REL_FULL, 2, 1324);
	pair_take(0);
	rt_path_del(pair.rt[0], 0, pair.now);
	rt_path_del(pair.rt[0], 1, pair.now);
	assert_int_equal(pair_take(0), 0);
	assert_false(rt_idle(pair.rt[0]));
}

/* Path 0 is a mere backup of path 1. */
static void backup_up(const struct rt_cfg *c)
{
	pair_open(c, 0);
	for (unsigned p = 0; p < 2; p++)
		for (int side = 0; side < 2; side++) {
			struct rt_path_cfg k = pair_path(side, p);

			k.backup = p == 0;
			assert_int_equal(rt_path_add(pair.rt[side], p, &k, pair.now), 0);
		}
	pair_settle(10 * US);
}

/* A backup path carries data only while no other is up. */
static void backup(void **state)
{
	struct rt_cfg c = pair_cfg();
	struct rt_path_info info;
	uint64_t sent;

	(void)state;
	backup_up(&c);
	assert_int_equal(pair.rt[0]->primary, 1);
	assert_int_equal(pair.rt[1]->primary, 1);
	pair.rt[0]->path[1].srtt = 50 * MS; /* however slow the other */
	path_choose(pair.rt[0]);
	assert_int_equal(pair.rt[0]->primary, 1);
	path_suspect(pair.rt[0], 1, pair.now);
	assert_int_equal(pair.rt[0]->primary, 0);
	path_state(pair.rt[0], 1, RT_PATH_UP, pair.now);
	assert_int_equal(pair.rt[0]->primary, 1);
	rt_path_info(pair.rt[0], 0, &info);
	assert_true(info.backup);

	/* A peer that is slow to answer is not better off with it: the timeouts grow first. */
	pair.rt[0]->path[1].srtt = 10 * US;
	sent = pair.now;
	put(0, RT_DATA, RT_REL_FULL, 1, 1324);
	for (uint64_t us = 200; us < 3000; us = 2 * us + 200) {
		assert_true(pair_take(0) > 0);
		assert_int_equal(pkts[0].path, 1);
		assert_int_equal(pair_tick(0) - sent, us * US);
	}
	/* And it may be slow for long: its processor may have been elsewhere. */
	while (pair.now - sent < RT_BACKUP_NS) {
		assert_int_equal(pair.rt[0]->primary, 1);
		assert_true(pair_take(0) > 0);
		pair_tick(0);
	}
	assert_true(pair.now - sent < RT_BACKUP_NS + 2 * MS);
	assert_int_equal(pair.rt[0]->primary, 0);

	/* Back on the better path, nothing waits for what flies on the worse. */
	put(0, RT_DATA, RT_REL_FULL, 2, 1324);
	rt_flush(pair.rt[0], pair.now);
	pair_take(0);
	assert_int_equal(pair.rt[0]->path[0].inflight, 2);
	path_state(pair.rt[0], 1, RT_PATH_UP, pair.now);
	assert_int_equal(pair.rt[0]->path[0].inflight, 0);
	assert_true(pair_take(0) >= 2);
	assert_int_equal(pair.rt[0]->path[1].inflight, 2);
	pair_give_all(1);
	pair_settle(10 * US);
	assert_int_equal(pair.rt[0]->tx[RT_DATA].flying, 0);
}

/* Likewise when nothing but probes goes unanswered: they went out as ever, the path passes for good for
 * longer. */
static void backup_idle(void **state)
{
	struct rt_cfg c = pair_cfg();
	uint64_t asked;

	(void)state;
	backup_up(&c);
	asked = pair_tick(0); /* the keepalive */
	assert_true(asked - pair.rt[0]->path[1].last_rx > RT_BACKUP_NS);
	while (pair.rt[0]->primary == 1) {
		assert_int_equal(pair.rt[0]->path[1].state, RT_PATH_UP);
		pair_take(0);
		for (int i = 0; i < npkts; i++)
			if (!pkts[i].path)
				pair_give(1, &pkts[i]);
		pair_take(1);
		for (int i = 0; i < npkts; i++)
			if (!pkts[i].path)
				pair_give(0, &pkts[i]);
		pair_tick(0);
	}
	assert_int_equal(pair.now - asked, RT_BACKUP_NS);
	pair_settle(10 * US); /* the next probe is answered */
	assert_int_equal(pair.rt[0]->primary, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(under_load), cmocka_unit_test(outlives_its_key),
		cmocka_unit_test(refused),    cmocka_unit_test(removed),
		cmocka_unit_test(backup),     cmocka_unit_test(backup_idle),
	};

	return cmocka_run_group_tests(tests, NULL, pair_teardown);
}

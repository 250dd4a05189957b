/* SPDX-License-Identifier: Apache-2.0 */
/* The size of chunks: asked for, proven, given up. */
#include "pair.h"

static uint32_t mtu[RT_PATHS]; /* of datagrams; 0: any */

static void carry(int side)
{
	for (int i = 0; i < npkts; i++)
		if (!mtu[pkts[i].path] || pkts[i].len <= mtu[pkts[i].path])
			pair_give(!side, &pkts[i]);
	rt_input_end(pair.rt[!side], pair.now);
}

/* Until both have nothing more to do for some time. */
static void run(uint64_t span)
{
	uint64_t end = pair.now + span;

	while (pair.now < end) {
		uint64_t at = end;

		for (int side = 0; side < 2; side++) {
			rt_tick(pair.rt[side], pair.now);
			pair_take(side);
			carry(side);
		}
		for (int side = 0; side < 2; side++)
			if (rt_deadline(pair.rt[side]) < at)
				at = rt_deadline(pair.rt[side]);
		pair.now = at > pair.now + 10 * US ? at : pair.now + 10 * US;
	}
}

static void open_with(uint32_t max, uint32_t mtu0, uint32_t mtu1, unsigned paths)
{
	struct rt_cfg c = pair_cfg();

	c.chunk_max = max;
	mtu[0] = mtu0;
	mtu[1] = mtu1;
	pair_open(&c, paths);
}

/* The largest that gets through, on every path; nothing larger is ever sent but probes. */
static void found(void **state)
{
	static const struct {
		uint32_t max, mtu0, mtu1, paths, chunk;
	} rows[] = {
		{0, 0, 0, 1, 1344},	  {8192, 0, 0, 1, 8192},       {8192, 8972, 0, 1, 8192},
		{8192, 8227, 0, 1, 4096}, {8192, 8228, 0, 1, 8192},    {8192, 1472, 0, 1, 1344},
		{8192, 2400, 0, 1, 2048}, {8192, 8972, 4472, 2, 4096}, {8192, 8972, 1472, 2, 1344},
		{3000, 8972, 0, 1, 3000}, {3000, 2400, 0, 1, 2048},    {1344, 8972, 0, 1, 1344},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		open_with(rows[i].max, rows[i].mtu0, rows[i].mtu1, rows[i].paths);
		assert_int_equal(rt_chunk(pair.rt[0]), 1344);
		run(500 * MS);
		for (int side = 0; side < 2; side++)
			assert_int_equal(rt_chunk(pair.rt[side]), rows[i].chunk);
		/* idle again: one deadline per keepalive */
		assert_true(rt_deadline(pair.rt[0]) >= 2000 * MS ||
			    rt_deadline(pair.rt[0]) > pair.now + 400 * MS);
		put(0, RT_DATA, RT_REL_FULL, 1, 30000);
		rt_flush(pair.rt[0], pair.now);
		assert_int_equal(pair_take(0), (30000 + rows[i].chunk - 21) / (rows[i].chunk - 20));
		assert_int_equal(pkts[0].len, WIRE_HDR_LEN + rows[i].chunk + aead_crc.tag_len);
	}
}

/* Raised and lowered under load: every byte arrives once, trains stay contiguous. */
static void under_load(void **state)
{
	uint32_t id = 0;

	(void)state;
	open_with(8192, 1472, 0, 1);
	run(100 * MS);
	for (int round = 0; round < 200; round++) {
		struct rt_tx out[64];
		int n;

		if (round == 50) { /* wide from here on; asked anew */
			mtu[0] = 0;
			mtu_start(pair.rt[0], 0, pair.now);
		}
		if (round == 120) {
			assert_int_equal(rt_chunk(pair.rt[0]), 8192);
			mtu_start(pair.rt[0], 0, pair.now);
			mtu_update(pair.rt[0]);
			assert_int_equal(rt_chunk(pair.rt[0]), 1344);
		}
		while (id < 20000 && put(0, RT_DATA, RT_REL_FULL, id, 5000) == 0)
			id++;
		n = rt_output(pair.rt[0], pair.now, out, 64);
		for (int i = 0; i < n; i++) {
			static uint8_t copy[9000];

			assert_true(out[i].len <= WIRE_HDR_LEN + rt_chunk(pair.rt[0]) + 4 ||
				    (out[i].data[0] & 15) == WIRE_PROBE || round >= 120);
			if (i % 7 == 3) /* and some are lost */
				continue;
			memcpy(copy, out[i].data, out[i].len);
			rt_input(pair.rt[1], copy, out[i].len, NULL, false, pair.now);
		}
		rt_input_end(pair.rt[1], pair.now);
		pair_take(1);
		pair.now += 50 * US;
		carry(1);
		rt_tick(pair.rt[0], pair.now);
	}
	rt_flush(pair.rt[0], pair.now);
	run(50 * MS);
	for (int i = 0; i < 100 && !rt_idle(pair.rt[0]); i++)
		run(10 * MS);
	assert_true(rt_idle(pair.rt[0]));
	assert_int_equal(pair.rt[1]->rx[RT_DATA].cum, pair.rt[0]->tx[RT_DATA].base);
	assert_int_equal(counter(1, RT_C_drop_record), 0);
	assert_int_equal(rt_chunk(pair.rt[0]), 8192);
}

/* A path that turns narrow: lowered, other traffic goes on; packets too large to pass lose the session. */
static void black_hole(void **state)
{
	(void)state;
	open_with(8192, 0, 0, 1);
	run(100 * MS);
	assert_int_equal(rt_chunk(pair.rt[0]), 8192);
	mtu[0] = 1472;
	put(0, RT_DATA, RT_REL_FULL, 1, 60000);
	rt_flush(pair.rt[0], pair.now);
	run(500 * MS);
	assert_int_equal(rt_chunk(pair.rt[0]), 1344);
	assert_true(counter(0, RT_C_mtu_lowered) >= 1);
	put(0, RT_CMD, RT_REL_FULL, 2, 5000);
	rt_flush(pair.rt[0], pair.now);
	run(100 * MS);
	assert_int_equal(pair.rt[1]->rx[RT_CMD].cum, 4);
	assert_false(rt_lost(pair.rt[0]));
	run(4000 * MS);
	assert_true(rt_lost(pair.rt[0]));
}

/* With a wide path beside it, what was cut large goes there. */
static void wide_path_helps(void **state)
{
	unsigned narrow;

	(void)state;
	open_with(8192, 0, 0, 2);
	run(100 * MS);
	narrow = (unsigned)pair.rt[0]->primary;
	mtu[narrow] = 1472;
	put(0, RT_DATA, RT_REL_FULL, 1, 60000);
	put(0, RT_CMD, RT_REL_FULL, 1, 60000);
	put(0, RT_NET, RT_REL_FULL, 1, 60000);
	rt_flush(pair.rt[0], pair.now);
	run(1500 * MS);
	assert_true(rt_idle(pair.rt[0]));
	assert_int_equal(pair.rt[1]->rx[RT_DATA].cum, pair.rt[0]->tx[RT_DATA].base);
	assert_true(pair.rt[0]->tx[RT_DATA].base > 0);
}

static void refused(void **state)
{
	struct rt_cfg c = pair_cfg();
	int err;

	(void)state;
	c.chunk_max = RT_CHUNK_MAX + 1;
	assert_null(rt_create(&c, 0, &err));
	assert_int_equal(err, -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(found),	   cmocka_unit_test(under_load), cmocka_unit_test(black_hole),
		cmocka_unit_test(wide_path_helps), cmocka_unit_test(refused),
	};

	return cmocka_run_group_tests(tests, NULL, pair_teardown);
}

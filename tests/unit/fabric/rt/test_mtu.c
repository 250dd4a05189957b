/* SPDX-License-Identifier: Apache-2.0 */
/* The size of chunks: asked for, proven, given up. */
#include "pair.h"

#include "fabric/base/rng.h"

static uint32_t mtu[RT_PATHS]; /* of datagrams; 0: any */

static unsigned every, fallen; /* one in so many falls; 0: none */

static void carry(int side)
{
	for (int i = 0; i < npkts; i++)
		if ((!mtu[pkts[i].path] || pkts[i].len <= mtu[pkts[i].path]) &&
		    !(every && ++fallen % every == 0))
			pair_give(!side, &pkts[i]);
	rt_input_end(pair.rt[!side], pair.now);
}

/* Until both have nothing more to do for some time. */
static void run(uint64_t span)
{
	uint64_t end = pair.now + span;

	while (pair.now < end) {
		uint64_t at = end;
		int sent = 0;

		for (int side = 0; side < 2; side++) {
			rt_tick(pair.rt[side], pair.now);
			sent += pair_take(side);
			carry(side);
		}
		for (int side = 0; side < 2; side++)
			if (rt_deadline(pair.rt[side]) < at)
				at = rt_deadline(pair.rt[side]);
		pair.now = !sent && at > pair.now + 10 * US ? at : pair.now + 10 * US;
	}
}

/* What arrived of message id at the passive end, by its log. */
static uint32_t bytes_of(uint32_t id)
{
	uint32_t sum = 0, at, len, is;

	for (const char *p = pair.log[1]; (p = strstr(p, " id ")); p++)
		if (sscanf(p, " id %u %u+%u/", &is, &at, &len) == 3 && is == id)
			sum += len;
	return sum;
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

/* A path that turns narrow: lowered, and what was cut large arrives in slices, each byte once, whatever
 * falls. */
static void black_hole(void **state)
{
	static const enum rt_class cls[] = {RT_CMD, RT_DATA, RT_NET};

	(void)state;
	for (int lossy = 0; lossy < 2; lossy++) {
		open_with(8192, 0, 0, 1);
		run(100 * MS);
		assert_int_equal(rt_chunk(pair.rt[0]), 8192);
		mtu[0] = 1472;
		every = lossy ? 3 : 0;
		pair.log[1][0] = 0;
		for (unsigned i = 0; i < 3; i++)
			assert_int_equal(put(0, cls[i], RT_REL_FULL, 7, 20000), 0);
		rt_flush(pair.rt[0], pair.now);
		run(1500 * MS);
		every = 0;
		assert_int_equal(rt_chunk(pair.rt[0]), 1344);
		assert_true(counter(0, RT_C_mtu_lowered) >= 1);
		assert_true(counter(0, RT_C_tx_sliced) >= 3);
		assert_int_equal(put(0, RT_CMD, RT_REL_FULL, 8, 5000), 0);
		rt_flush(pair.rt[0], pair.now);
		run(100 * MS);
		assert_true(rt_idle(pair.rt[0]));
		assert_int_equal(bytes_of(7), 3 * 20000);
		assert_int_equal(bytes_of(8), 5000);
		run(4000 * MS);
		assert_false(rt_lost(pair.rt[0]));
	}
}

/* The whole of a packet is a duplicate once a slice of it came, and a slice once all or the whole came. */
static void slices_and_whole(void **state)
{
	static struct pkt whole, slice[WIRE_SLICES_MAX];
	int n;

	(void)state;
	open_with(8192, 0, 0, 1);
	run(100 * MS);
	put(0, RT_DATA, RT_REL_FULL, 7, 8000);
	rt_flush(pair.rt[0], pair.now);
	assert_int_equal(pair_take(0), 1);
	whole = pkts[0];
	mtu[0] = 1472;
	while (pair_take(0) < 2 || pkts[npkts - 1].h.type != WIRE_DATA ||
	       !(pkts[npkts - 1].h.flags & WIRE_F_SLICE))
		pair_tick(0);
	for (n = 0; n < npkts && !(pkts[n].h.flags & WIRE_F_SLICE); n++)
		;
	memcpy(slice, &pkts[n], (size_t)(npkts - n) * sizeof(*slice));
	n = npkts - n;
	assert_int_equal(n, 7);
	pair.log[1][0] = 0;
	for (int i = n - 1; i > 0; i--)
		assert_int_equal(pair_give(1, &slice[i]), 0);
	assert_true(pair_give(1, &whole) < 0 || counter(1, RT_C_drop_duplicate));
	assert_int_equal(pair.rt[1]->rx[RT_DATA].cum, 0);
	assert_int_equal(bytes_of(7), 8000 - 1320);
	assert_int_equal(pair_give(1, &slice[0]), 0);
	assert_int_equal(pair.rt[1]->rx[RT_DATA].cum, 1);
	assert_int_equal(bytes_of(7), 8000);
	for (int i = 0; i < n; i++)
		assert_true(pair.rt[1]->rx[RT_DATA].slices[i] == 0);
}

/* A slice that is given up with its packet leaves nothing behind for the packet that takes its place. */
static void floor_forgets_slices(void **state)
{
	struct rx_win w = {0};
	bool all;

	(void)state;
	assert_int_equal(rx_init(&w, 64, 0, true), 0);
	assert_int_equal(slice_take(&w, 3, 1, 2, &all), RX_NEW);
	assert_false(all);
	assert_int_equal(slice_take(&w, 3, 1, 2, &all), RX_DUPLICATE);
	assert_int_equal(rx_floor(&w, 4), 4);
	assert_int_equal(slice_take(&w, 3, 0, 2, &all), RX_DUPLICATE);
	assert_int_equal(slice_take(&w, 67, 0, 2, &all), RX_NEW);
	assert_false(all);
	assert_int_equal(slice_take(&w, 68, 0, 2, &all), RX_OUTSIDE);
	rx_fini(&w);
}

/* Every way to cut: records of all lengths come out whole, no piece of a head shorter than promised. */
static void cuts(void **state)
{
	static uint8_t in[RT_CHUNK_MAX], out[RT_CHUNK_MAX];
	struct rng r;

	(void)state;
	rng_init(&r, 5);
	for (int round = 0; round < 20000; round++) {
		uint32_t room = RT_CHUNK_MIN - WIRE_SLICE_LEN + (uint32_t)rng_below(&r, 1200);
		uint32_t limit = 8 * (room + WIRE_SLICE_LEN);
		uint32_t len = 0, sum = 0, got = 0, n, slices = 0;
		struct wire_rec rec;
		const uint8_t *data;
		struct slicer s;
		struct cur_r c;

		limit = limit < RT_CHUNK_MAX ? limit : RT_CHUNK_MAX;
		while (limit - len >= WIRE_REC_LEN) {
			uint32_t most = limit - len - WIRE_REC_LEN;
			uint32_t k = (uint32_t)rng_below(&r, rng_chance(&r, 500000) ? 100 : RT_CHUNK_MAX);
			struct wire_rec one = {.kind = 1, .id = sum};

			k = k < most ? k : most;
			one.len = (uint16_t)k;
			one.total = rng_chance(&r, 100000) ? k + 1
							   : k; /* some are filler, if they are empty */
			wire_rec_encode(&one, in + len);
			len += WIRE_REC_LEN + k;
			sum += k;
		}
		slice_begin(&s, in, len);
		while ((n = slice_next(&s, out, room))) {
			slices++;
			assert_true(n <= room);
			cur_r_init(&c, out, n);
			while (wire_rec_next(&c, &rec, &data) == 1) {
				assert_true(rec.offset || rec.len >= RT_PIECE_MIN ||
					    rec.len >= rec.total - 1 || !rec.total);
				got += rec.len;
			}
			assert_false(c.bad);
		}
		assert_int_equal(got, sum);
		assert_true(slices <= WIRE_SLICES_MAX);
		assert_int_equal(slices, slice_count(in, len, room));
	}
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
		cmocka_unit_test(found),
		cmocka_unit_test(under_load),
		cmocka_unit_test(black_hole),
		cmocka_unit_test(wide_path_helps),
		cmocka_unit_test(refused),
		cmocka_unit_test(slices_and_whole),
		cmocka_unit_test(floor_forgets_slices),
		cmocka_unit_test(cuts),
	};

	return cmocka_run_group_tests(tests, NULL, pair_teardown);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Filling and sending: limits, cutting, trains, classes that leave each other room. */
#include "pair.h"

static void create_limits(void **state)
{
	static const struct {
		const char *what;
		uint32_t chunk, window;
		int err;
	} rows[] = {
		{"smallest chunk", RT_CHUNK_MIN, 0, 0},
		{"chunk too small", RT_CHUNK_MIN - 1, 0, -EINVAL},
		{"largest chunk", RT_CHUNK_MAX, 0, 0},
		{"chunk too large", RT_CHUNK_MAX + 1, 0, -EINVAL},
		{"no chunk", 0, 0, -EINVAL},
		{"smallest window", 1344, 64, 0},
		{"window too small", 1344, 32, -EINVAL},
		{"largest window", 1344, 4096, 0},
		{"window too large", 1344, 8192, -EINVAL},
		{"not a power of 2", 1344, 100, -EINVAL},
		{"acknowledgement of the window does not fit a chunk", 256, 4096, -EINVAL},
		{"it does", 256, 1024, 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct rt_cfg c = pair_cfg();
		struct rt *rt;
		int err = 1;

		c.chunk = rows[i].chunk;
		c.window[RT_NET] = rows[i].window;
		rt = rt_create(&c, 0, &err);
		if (err != rows[i].err || !rt != !!err)
			fail_msg("%s: %d", rows[i].what, err);
		rt_destroy(rt);
	}
	rt_destroy(NULL);
}

static void path_limits(void **state)
{
	struct rt_cfg c = pair_cfg();
	struct rt_path_cfg pc = pair_path(0, 7);

	(void)state;
	pair_open(&c, 1);
	assert_int_equal(rt_path_add(pair.rt[0], RT_PATHS, &pc, 0), -EINVAL);
	assert_int_equal(rt_path_add(pair.rt[0], 0, &pc, 0), -EEXIST);
	pc.rx_spi = pair_path(0, 0).rx_spi;
	assert_int_equal(rt_path_add(pair.rt[0], 1, &pc, 0), -EEXIST);
	pc.rx_spi = 0;
	assert_int_equal(rt_path_add(pair.rt[0], 1, &pc, 0), -EINVAL);
}

static void send_limits(void **state)
{
	struct rt_cfg c = pair_cfg();
	static uint8_t b[RT_SEND_MAX + 1];
	struct iovec iov[2] = {{b, RT_SEND_MAX}, {b, 1}};
	struct rt_rec r = {.total = RT_SEND_MAX};

	(void)state;
	pair_up(&c, 1, 10 * US);
	struct rt *rt = pair.rt[0];
	assert_int_equal(rt_send(rt, RT_NET, RT_REL_FULL, &r, iov, 2, 0), -EMSGSIZE);
	assert_int_equal(rt_send(rt, RT_NET, RT_REL_FULL, &r, iov, 1, 0), 0);
	r.offset = 1;
	assert_int_equal(rt_send(rt, RT_NET, RT_REL_FULL, &r, iov, 1, 0), -EMSGSIZE);
	r.total = 0xffffffff;
	r.offset = 0xffffffff;
	assert_int_equal(rt_send(rt, RT_NET, RT_REL_FULL, &r, iov, 1, 0), -EMSGSIZE);
	assert_int_equal(rt_send(rt, RT_NET, RT_REL_FULL, &r, iov, 0, 0), -EINVAL); /* no bytes of some */
	assert_int_equal(rt_send(rt, RT_NCLASS, RT_REL_FULL, &r, iov, 0, 0), -EINVAL);
	r.offset = r.total = 0;
	assert_int_equal(rt_send(rt, RT_NET, RT_REL_FULL, &r, iov, 0, 0), 0);
}

/* A message of n bytes as one side sees it: its pieces, and the lengths of the datagrams. */
static void cuts(void **state)
{
	const uint32_t per = RT_CHUNK_DEFAULT - WIRE_REC_LEN, full = WIRE_HDR_LEN + RT_CHUNK_DEFAULT + 4;
	static const struct {
		uint32_t a, b; /* two messages in one burst */
		const char *log;
	} rows[] = {
		{1, 0, "rec 3:0 id 1 0+1/1; settled 3:1; "},
		{1324, 0, "rec 3:0 id 1 0+1324/1324; settled 3:1; "},
		{1325, 0, "rec 3:0 id 1 0+1324/1325; settled 3:1; rec 3:1 id 1 1324+1/1325; settled 3:2; "},
		{100, 100, "rec 3:0 id 1 0+100/100; rec 3:0 id 2 0+100/100; settled 3:1; "},
		/* 84 left: header and 64 bytes; the head of the second is whole */
		{1240, 200,
		 "rec 3:0 id 1 0+1240/1240; rec 3:0 id 2 0+64/200; settled 3:1; rec 3:1 id 2 64+136/200; "
		 "settled "
		 "3:2; "},
		{1241, 200, "rec 3:0 id 1 0+1241/1241; settled 3:1; rec 3:1 id 2 0+200/200; settled 3:2; "},
		/* 63 fit where 64 do not */
		{1241, 63, "rec 3:0 id 1 0+1241/1241; rec 3:0 id 2 0+63/63; settled 3:1; "},
		/* 20 left: filler */
		{1304, 5, "rec 3:0 id 1 0+1304/1304; settled 3:1; rec 3:1 id 2 0+5/5; settled 3:2; "},
	};
	struct rt_cfg c = pair_cfg();

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		pair_up(&c, 1, 10 * US);
		assert_int_equal(put(0, RT_NET, RT_REL_FULL, 1, rows[i].a), 0);
		if (rows[i].b)
			assert_int_equal(put(0, RT_NET, RT_REL_FULL, 2, rows[i].b), 0);
		rt_flush(pair.rt[0], pair.now);
		pair_take(0);
		for (int k = 0; k + 1 < npkts; k++)
			assert_int_equal(pkts[k].len, full);
		pair_give_all(1);
		assert_log(1, rows[i].log);
	}
	assert_int_equal(per, 1324);
}

/* New packets are one run of equal datagrams in memory, but for the last of the burst. */
static void trains(void **state)
{
	struct rt_cfg c = pair_cfg();
	struct rt_tx out[64];
	int n;

	(void)state;
	pair_up(&c, 1, 10 * US);
	for (uint32_t i = 0; i < 10; i++)
		assert_int_equal(put(0, RT_NET, RT_REL_FULL, i, 5000), 0);
	rt_flush(pair.rt[0], pair.now);
	n = rt_output(pair.rt[0], pair.now, out, 64);
	assert_int_equal(n, 38);
	for (int i = 1; i < n; i++) {
		assert_ptr_equal(out[i].data, out[i - 1].data + out[i - 1].len);
		assert_true(out[i - 1].len == WIRE_HDR_LEN + RT_CHUNK_DEFAULT + 4);
	}
	assert_true(out[n - 1].len <= out[0].len);
}

/* Before the flush only full chunks go. */
static void flush(void **state)
{
	struct rt_cfg c = pair_cfg();

	(void)state;
	pair_up(&c, 1, 10 * US);
	put(0, RT_NET, RT_REL_FULL, 1, 2000);
	assert_int_equal(pair_take(0), 1);
	assert_false(rt_idle(pair.rt[0]));
	put(0, RT_NET, RT_REL_FULL, 2, 100);
	assert_int_equal(pair_take(0), 0);
	rt_flush(pair.rt[0], pair.now);
	put(0, RT_NET, RT_REL_FULL, 3, 100); /* the burst goes on */
	assert_int_equal(pair_take(0), 0);
	rt_flush(pair.rt[0], pair.now);
	assert_int_equal(pair_take(0), 1);
}

/* It grows while it is the last of its class and its packet has room, and then is as any other. */
static void a_message_that_grows(void **state)
{
	const uint32_t most = RT_CHUNK_DEFAULT - WIRE_REC_LEN, full = WIRE_HDR_LEN + RT_CHUNK_DEFAULT + 4;
	struct rt_cfg c = pair_cfg();
	struct rt_rec r = {.kind = 9, .queue = 1, .dev = 2, .id = 5}, other = r;
	struct rt *rt;
	uint8_t *at;

	(void)state;
	c.window[RT_NET] = 64;
	pair_up(&c, 1, 10 * US);
	pair.log_data = true;
	rt = pair.rt[0];
	assert_null(rt_grow(rt, RT_NET, &r, 1));
	assert_int_equal(rt_begin(rt, RT_NET, RT_REL_FULL, &r, 0, &at), -EMSGSIZE);
	assert_int_equal(rt_begin(rt, RT_NET, RT_REL_FULL, &r, most + 1, &at), -EMSGSIZE);
	assert_int_equal(rt_begin(rt, RT_NET, RT_REL_FULL, &r, 3, &at), 0);
	memcpy(at, "abc", 3);
	for (other.id = 4; other.id < 6; other.id++)
		for (other.dev = 1; other.dev < 4; other.dev++)
			if (other.id != r.id || other.dev != r.dev)
				assert_null(rt_grow(rt, RT_NET, &other, 1));
	assert_null(rt_grow(rt, RT_CMD, &r, 1));
	assert_null(rt_grow(rt, RT_NET, &r, most - 2));
	rt_flush(rt, pair.now);
	at = rt_grow(rt, RT_NET, &r, 2);
	assert_non_null(at);
	memcpy(at, "de", 2);
	assert_int_equal(pair_take(0), 0); /* the burst goes on */
	put(0, RT_NET, RT_REL_FULL, 6, 1);
	assert_null(rt_grow(rt, RT_NET, &r, 1));
	rt_flush(rt, pair.now);
	pair_take(0);
	pair_give_all(1);
	assert_non_null(strstr(pair.log[1], "rec 3:0 id 5 0+5/5 'abcde'; rec 3:0 id 6 0+1/1"));
	/* Never cut: what does not fit begins a packet, and the one before it is filled up. */
	pair.log_data = false;
	pair.log[1][0] = 0;
	assert_int_equal(rt_begin(rt, RT_NET, RT_REL_FULL, &r, most - 100, &at), 0);
	memset(at, 1, most - 100);
	r.id = 7;
	assert_int_equal(rt_begin(rt, RT_NET, RT_REL_FULL, &r, 81, &at), 0);
	memset(at, 1, 81);
	rt_flush(rt, pair.now);
	assert_int_equal(pair_take(0), 2);
	assert_int_equal(pkts[0].len, full);
	assert_int_equal(pkts[1].len, WIRE_HDR_LEN + WIRE_REC_LEN + 81 + 4);
	pair_give_all(1);
	assert_log(1, "rec 3:1 id 5 0+1224/1224; settled 3:2; rec 3:2 id 7 0+81/81; settled 3:3; ");
	/* Sent is sent. */
	assert_null(rt_grow(rt, RT_NET, &r, 1));
	while (!rt_begin(rt, RT_NET, RT_REL_FULL, &r, most, &at))
		memset(at, 1, most);
	assert_int_equal(rt_begin(rt, RT_NET, RT_REL_FULL, &r, 1, &at), -EAGAIN);
	pair_settle(10 * US);
	assert_non_null(strstr(pair.log[0], "writable 3; "));
	assert_int_equal(rt_begin(rt, RT_NET, RT_REL_FULL, &r, 1, &at), 0);
	*at = 1;
	rt_flush(rt, pair.now);
	pair_settle(10 * US);
}

/* A ring that ran empty starts at its first slot again. */
static void same_memory(void **state)
{
	struct rt_cfg c = pair_cfg();
	uint8_t *at = NULL;

	(void)state;
	pair_up(&c, 1, 10 * US);
	for (uint32_t i = 0; i < 2000; i++) {
		struct rt_tx out[4];

		assert_int_equal(put(0, RT_CMD, RT_REL_FULL, i, 100), 0);
		rt_flush(pair.rt[0], pair.now);
		assert_int_equal(rt_output(pair.rt[0], pair.now, out, 4), 1);
		assert_true(!at || at == out[0].data);
		at = out[0].data;
		memcpy(pkts[0].data, at, out[0].len);
		pkts[0].len = out[0].len;
		pair_give(1, &pkts[0]);
		rt_input_end(pair.rt[1], pair.now);
		pair_take(1);
		pair_give_all(0);
		assert_true(rt_idle(pair.rt[0]));
	}
}

static void full_and_writable(void **state)
{
	struct rt_cfg c = pair_cfg();
	uint32_t n = 0;

	(void)state;
	c.window[RT_DATA] = 64;
	pair_up(&c, 1, 10 * US);
	while (put(0, RT_DATA, RT_REL_FULL, n, 1324) == 0)
		n++;
	assert_int_equal(n, 64);
	assert_int_equal(rt_room(pair.rt[0], RT_DATA), 0);
	/* Full means full for its own class only. */
	assert_int_equal(put(0, RT_NET, RT_REL_FULL, 1, 65562), 0);
	assert_int_equal(put(0, RT_CMD, RT_REL_FULL, 1, 65552), 0);
	assert_log(0, "");
	rt_flush(pair.rt[0], pair.now);
	pair_settle(10 * US);
	assert_non_null(strstr(pair.log[0], "writable 2; "));
	assert_null(strstr(pair.log[0], "writable 3; "));
	assert_true(rt_room(pair.rt[0], RT_DATA) == RT_SEND_MAX);
}

/* Control has room for its reserve whatever else is queued, each message in a burst of its own. */
static void control_reserve(void **state)
{
	struct rt_cfg c = pair_cfg();
	uint32_t first = 0;

	(void)state;
	pair_up(&c, 1, 10 * US);
	for (unsigned k = RT_CMD; k < RT_NCLASS; k++)
		while (put(0, (enum rt_class)k, RT_REL_FULL, 1, 65000) == 0)
			;
	rt_flush(pair.rt[0], pair.now);
	pair_take(0); /* all lost */
	for (uint32_t i = 0; i < RT_CTL_RESERVE; i++) {
		assert_int_equal(put(0, RT_CTL, RT_REL_FULL, i, 1300), 0);
		rt_flush(pair.rt[0], pair.now);
		assert_int_equal(pair_take(0), 1); /* and it goes, although the congestion window is full */
		first += pkts[0].h.cls == RT_CTL;
	}
	assert_int_equal(first, RT_CTL_RESERVE);
}

/* Classes that are all full share what the congestion window lets through. */
static void classes_share(void **state)
{
	struct rt_cfg c = pair_cfg();
	uint32_t got[RT_NCLASS] = {0};

	(void)state;
	pair_up(&c, 1, 10 * US);
	for (int round = 0; round < 40; round++) {
		for (unsigned k = RT_CMD; k < RT_NCLASS; k++)
			while (put(0, (enum rt_class)k, RT_REL_FULL, 1, 65000) == 0)
				;
		pair_take(0);
		for (int i = 0; i < npkts; i++)
			got[pkts[i].h.cls]++;
		pair.now += 50 * US;
		pair.rt[0]->path[0].cc.cwnd = 100 * 256;
		pair_give_all(1);
		pair_take(1);
		pair_give_all(0);
	}
	uint32_t sum = got[RT_CMD] + got[RT_DATA] + got[RT_NET];
	for (unsigned k = RT_CMD; k < RT_NCLASS; k++)
		assert_true(got[k] * 3 > sum * 9 / 10);
}

/* An end with a small window is not overrun by one with a large window. */
static void windows_differ(void **state)
{
	struct rt_cfg c = pair_cfg();
	struct rt_path_cfg pc = pair_path(1, 0);
	int err;

	(void)state;
	c.window[RT_DATA] = 1024;
	pair_open(&c, 1);
	rt_destroy(pair.rt[1]);
	c.window[RT_DATA] = 128;
	c.ctx = &pair_ctx[1];
	pair.rt[1] = rt_create(&c, pair.now, &err);
	rt_path_add(pair.rt[1], 0, &pc, pair.now);
	pair_settle(10 * US);
	while (put(0, RT_DATA, RT_REL_FULL, 1, 60000) == 0)
		;
	pair.rt[0]->path[0].cc.cwnd = 4096 * 256;
	assert_int_equal(pair_take(0), 64); /* until the peer has spoken of this class */
	pair_give_all(1);
	pair_take(1);
	pair_give_all(0);
	assert_int_equal(pair_take(0), 128);
	assert_true(pkts[127].h.flags & WIRE_F_ACK_NOW); /* its window is closed now */
	for (int i = 1; i < npkts; i++)			 /* the first is lost */
		pair_give(1, &pkts[i]);
	assert_int_equal(counter(1, RT_C_drop_window), 0);
}

/* The last chunk of a burst carries acknowledgements; its retransmission does not. */
static void acks_ride(void **state)
{
	struct rt_cfg c = pair_cfg();

	(void)state;
	pair_up(&c, 1, 10 * US);
	put(0, RT_CMD, RT_REL_FULL, 1, 100);
	rt_flush(pair.rt[0], pair.now);
	pair_take(0);
	pair_give_all(1);
	put(1, RT_DATA, RT_REL_FULL, 1, 100);
	rt_flush(pair.rt[1], pair.now);
	assert_int_equal(pair_take(1), 1);
	assert_int_equal(pkts[0].h.flags & WIRE_F_ACKS, WIRE_F_ACKS);
	assert_int_equal(pkts[0].len, WIRE_HDR_LEN + WIRE_REC_LEN + 100 + WIRE_ACK_LEN + 2 + 4);
	struct pkt first = pkts[0];
	pair_tick(1); /* lost: again */
	assert_int_equal(pair_take(1), 1);
	assert_int_equal(pkts[0].h.flags & WIRE_F_ACKS, 0);
	assert_int_equal(pkts[0].h.psn, first.h.psn);
	assert_int_equal(pkts[0].len, WIRE_HDR_LEN + WIRE_REC_LEN + 100 + 4);
	pair_give(0, &first);
	assert_int_equal(pair.rt[0]->tx[RT_CMD].flying, 0);
	assert_log(0, "rec 2:0 id 1 0+100/100; settled 2:1; ");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(create_limits),
		cmocka_unit_test(path_limits),
		cmocka_unit_test(send_limits),
		cmocka_unit_test(cuts),
		cmocka_unit_test(trains),
		cmocka_unit_test(flush),
		cmocka_unit_test(same_memory),
		cmocka_unit_test(full_and_writable),
		cmocka_unit_test(control_reserve),
		cmocka_unit_test(classes_share),
		cmocka_unit_test(windows_differ),
		cmocka_unit_test(acks_ride),
		cmocka_unit_test(a_message_that_grows),
	};

	return cmocka_run_group_tests(tests, NULL, pair_teardown);
}

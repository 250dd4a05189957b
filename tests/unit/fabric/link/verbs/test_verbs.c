/* SPDX-License-Identifier: Apache-2.0 */
/* The RDMA link over devices in memory that fail on purpose. */
#include "tests/unit/fabric/link/verbs/verbs_pair.h"

static void test_messages_cross(void **state)
{
	struct pair *p = *state;
	uint8_t data[VERBS_BUF_SIZE];
	struct link_rx rx[4];

	for (uint32_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7);
	for (uint32_t len = 1; len <= sizeof(data); len += len < 600 ? 1 : 977) {
		assert_int_equal(send_one(p, 0, data, len), 1);
		assert_int_equal(recv_some(p, 1, rx, 4), 1);
		assert_int_equal(rx[0].len, len);
		assert_memory_equal(rx[0].data, data, len);
		assert_true(link_addr_equal(&rx[0].from, &p->to[1]));
		buf_put(rx[0].buf);
	}
	assert_true(count(p, 0, VERBS_C_tx_inline) > 0 && count(p, 0, VERBS_C_tx_copied) > 0);
	assert_int_equal(send_one(p, 0, data, 0), 0);
	assert_int_equal(send_one(p, 1, "back", 4), 1);
	assert_int_equal(drain(p, 0), 1);
}

/* A train is one doorbell per 32, a completion per VERBS_SIGNAL, in order. */
static void test_trains_cost_few_doorbells(void **state)
{
	struct pair *p = *state;
	static uint8_t data[24][300];
	struct link_tx tx[24];
	struct link_rx rx[32];

	for (int round = 0; round < 50; round++) {
		for (int i = 0; i < 24; i++) {
			memset(data[i], i, sizeof(data[i]));
			tx[i] = (struct link_tx){.data = data[i], .len = sizeof(data[i]), .to = p->to[0]};
		}
		assert_int_equal(p->l[0]->ops->send(p->l[0], tx, 24), 24);
		assert_int_equal(recv_some(p, 1, rx, 32), 24);
		for (int i = 0; i < 24; i++) {
			assert_int_equal(rx[i].data[0], i);
			buf_put(rx[i].buf);
		}
	}
	assert_int_equal(vd_counts().posts, 50);
	assert_int_equal(vd_counts().signalled, 50 * 24 / VERBS_SIGNAL);
}

/* Completions that come late hold the queue up, and drop by name; nothing overflows. */
static void test_late_completions_fill_the_queue(void **state)
{
	struct pair *p = *state;
	uint8_t data[1000] = {0};
	unsigned sent = 0;

	vd_hold();
	for (int i = 0; i < 3 * (int)VERBS_SQ_DEPTH; i++) {
		/* Its receives are held too: as many as were posted. */
		if (sent == RX)
			break;
		sent += (unsigned)send_one(p, 0, data, sizeof(data));
	}
	assert_int_equal(sent, RX);
	assert_int_equal(drain(p, 1), 0);
	vd_release(1000);
	assert_int_equal(drain(p, 1), RX);
	assert_int_equal(send_one(p, 0, data, sizeof(data)), 1);
	assert_int_equal(drain(p, 1), 1);
}

static void test_slots_come_back(void **state)
{
	struct pair *p = *state;
	uint8_t data[1000] = {0};

	for (int i = 0; i < 10 * (int)VERBS_SQ_DEPTH; i++) {
		assert_int_equal(send_one(p, 0, data, sizeof(data)), 1);
		assert_int_equal(drain(p, 1), 1);
	}
	assert_int_equal(p->l[0]->counters[LINK_C_drop_tx_full], 0);
}

static void test_failed_sends_break_the_path_alone(void **state)
{
	static const enum ibv_wc_status kinds[] = {
		IBV_WC_RETRY_EXC_ERR, IBV_WC_RNR_RETRY_EXC_ERR, IBV_WC_REM_INV_REQ_ERR, IBV_WC_REM_ACCESS_ERR,
		IBV_WC_REM_OP_ERR,    IBV_WC_LOC_PROT_ERR,	IBV_WC_FATAL_ERR};
	struct pair *p = *state;

	for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		vd_fail_next(kinds[i]);
		assert_int_equal(send_one(p, 0, "lost", 4), 1);
		assert_int_equal(drain(p, 0), 0);
		assert_int_equal(broken(p->l[0]), ids[0]);
		assert_int_equal(broken(p->l[0]), 0);
		join(p);
		assert_int_equal(send_one(p, 0, "goes", 4), 1);
		assert_int_equal(drain(p, 1), 1);
	}
	assert_int_equal(count(p, 0, VERBS_C_qp_broken), sizeof(kinds) / sizeof(kinds[0]));
}

/* Why the first one's connection broke, as far as its packets go. */
static uint32_t unanswered(struct pair *p)
{
	struct verbs_news news = {0};

	while (link_verbs_news(p->l[0], &news))
		if (news.what == VERBS_BROKEN)
			break;
	assert_int_equal(news.what, VERBS_BROKEN);
	join(p);
	return news.unanswered;
}

/* An MTU on the way that is smaller than both ports': the long packet that has no answer is told. */
static void test_packets_that_are_too_large_for_the_way(void **state)
{
	static const struct {
		uint32_t before, last; /* bytes */
		enum ibv_wc_status status;
		uint32_t told;
	} rows[] = {
		{100, 8000, IBV_WC_RETRY_EXC_ERR, 4096},
		{1000, 2000, IBV_WC_RETRY_EXC_ERR, 2000},
		{2000, 2000, IBV_WC_RETRY_EXC_ERR, 0}, /* as long as one that passed */
		{4096, 8000, IBV_WC_RETRY_EXC_ERR, 0}, /* in packets of 4096 */
		{2000, 100, IBV_WC_RETRY_EXC_ERR, 0},
		{0, 8000, IBV_WC_RETRY_EXC_ERR, 0}, /* the first of all: the peer may be gone */
		{100, 8000, IBV_WC_REM_ACCESS_ERR, 0},
	};
	struct pair *p = *state;
	static uint8_t data[VERBS_BUF_SIZE];

	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		/* Most ask for no completion: the next one's tells of it. */
		if (rows[i].before)
			assert_int_equal(send_one(p, 0, data, rows[i].before), 1);
		vd_fail_next(rows[i].status);
		assert_int_equal(send_one(p, 0, data, rows[i].last), 1);
		assert_int_equal(drain(p, 0), 0);
		assert_int_equal(unanswered(p), rows[i].told);
		drain(p, 1);
	}
}

static void test_a_vanished_peer_is_a_dead_path(void **state)
{
	struct pair *p = *state;

	vd_vanish(p->end[1].qpn);
	assert_int_equal(send_one(p, 0, "x", 1), 1);
	assert_int_equal(drain(p, 0), 0);
	expect_broken(p, 0);
}

/* Nobody receives: the sender's tries end, and its path is dead; the receiver lives. */
static void test_receiver_not_ready(void **state)
{
	struct pair *p = *state;
	unsigned sent = 0;

	while (sent < 2 * BUFS && !broken(p->l[0])) {
		sent += (unsigned)send_one(p, 0, "x", 1);
		assert_int_equal(drain(p, 0), 0);
	}
	assert_int_equal(sent, RX + 1);
	assert_int_equal(vd_counts().rnr, 1);
	assert_int_equal(drain(p, 1), RX);
	join(p);
	assert_int_equal(send_one(p, 0, "x", 1), 1);
	assert_int_equal(drain(p, 1), 1);
}

static void test_breaches_close_the_queue_pair(void **state)
{
	static const struct {
		enum ibv_wc_opcode opcode;
		enum ibv_wc_status status;
		uint32_t len;
		unsigned flags;
	} bad[] = {
		{IBV_WC_RECV, IBV_WC_SUCCESS, 0, 0},
		{IBV_WC_RECV, IBV_WC_SUCCESS, 8, IBV_WC_WITH_IMM},
		{IBV_WC_RECV, IBV_WC_SUCCESS, VERBS_BUF_SIZE + 1, 0},
		{IBV_WC_RECV_RDMA_WITH_IMM, IBV_WC_SUCCESS, 8, IBV_WC_WITH_IMM},
		{IBV_WC_RECV_RDMA_WITH_IMM, IBV_WC_SUCCESS, 8, 0},
		{IBV_WC_RECV, IBV_WC_LOC_LEN_ERR, 9000, 0},
		{IBV_WC_RECV, IBV_WC_REM_INV_REQ_ERR, 8, 0},
	};
	struct pair *p = *state;

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		vd_inject(p->end[1].qpn, bad[i].opcode, bad[i].status, bad[i].len, bad[i].flags);
		assert_int_equal(drain(p, 1), 0);
		assert_int_equal(count(p, 1, VERBS_C_qp_breach), i + 1);
		assert_int_equal(broken(p->l[1]), ids[1]);
		join(p);
		assert_int_equal(send_one(p, 0, "goes", 4), 1);
		assert_int_equal(drain(p, 1), 1);
	}
}

/* Flushed receives and those of a queue pair that went are nobody's fault. */
static void test_flushes_are_counted(void **state)
{
	struct pair *p = *state;

	vd_inject(p->end[1].qpn, IBV_WC_RECV, IBV_WC_WR_FLUSH_ERR, 0, 0);
	assert_int_equal(drain(p, 1), 0);
	assert_int_equal(count(p, 1, VERBS_C_rx_flushed), 1);
	assert_int_equal(count(p, 1, VERBS_C_qp_broken), 0);
	assert_int_equal(send_one(p, 0, "goes", 4), 1);
	assert_int_equal(drain(p, 1), 1);
	/* One on its way when its queue pair is closed. */
	vd_hold();
	assert_int_equal(send_one(p, 0, "late", 4), 1);
	link_verbs_close(p->l[1], ids[1]);
	vd_release(100);
	assert_int_equal(drain(p, 1), 0);
	assert_int_equal(p->l[1]->counters[LINK_C_drop_rx_malformed], 1);
}

/* A queue pair that dies keeps its slots until the device says that it reads none of them. */
static void test_flushed_sends_come_back_late(void **state)
{
	struct pair *p = *state;
	uint8_t data[1000] = {0};

	vd_hold();
	for (int i = 0; i < 5; i++)
		assert_int_equal(send_one(p, 0, data, sizeof(data)), 1);
	vd_fail_next(IBV_WC_RETRY_EXC_ERR);
	for (int i = 0; i < 5; i++)
		assert_int_equal(send_one(p, 0, data, sizeof(data)), 1);
	vd_release(6);
	assert_int_equal(drain(p, 0), 0);
	assert_int_equal(broken(p->l[0]), ids[0]);
	/* A new one beside the dying. */
	join(p);
	assert_int_equal(send_one(p, 0, data, sizeof(data)), 1);
	vd_release(1000);
	assert_int_equal(drain(p, 0), 0);
	assert_int_equal(drain(p, 1) > 0, 1);
	assert_int_equal(send_one(p, 0, data, sizeof(data)), 1);
	assert_int_equal(drain(p, 1), 1);
	assert_int_equal(count(p, 0, VERBS_C_qp_broken), 1);
}

/* A device that never says what became of a send, nor flushes it: the path ends, and another can be made. */
static void test_a_device_that_forgets(void **state)
{
	struct pair *p = *state;
	uint8_t data[1000] = {0};

	vd_hold();
	for (unsigned i = 0; i < VERBS_SIGNAL; i++)
		assert_int_equal(send_one(p, 0, data, sizeof(data)), 1);
	seconds(p, 0, 9);
	assert_int_equal(count(p, 0, VERBS_C_qp_broken), 0);
	seconds(p, 0, 3);
	assert_int_equal(broken(p->l[0]), ids[0]);
	assert_int_equal(count(p, 0, VERBS_C_qp_stuck), 1);
	seconds(p, 0, 5);
	assert_int_equal(count(p, 0, VERBS_C_qp_stuck), 2); /* dying */
	join(p);
	/* What it says in the end is of nobody now. */
	vd_release(1000);
	assert_int_equal(drain(p, 0), 0);
	assert_int_equal(send_one(p, 0, data, sizeof(data)), 1);
	assert_int_equal(count(p, 0, VERBS_C_qp_broken), 1);
}

/* Quiet is not silent, nor is one that answers late; and who was stopped meanwhile breaks nothing. */
static void test_a_device_with_little_to_say(void **state)
{
	struct pair *p = *state;
	uint8_t data[1000] = {0};

	assert_int_equal(send_one(p, 0, data, sizeof(data)), 1); /* no completion is asked for */
	seconds(p, 0, 30);
	vd_hold();
	for (unsigned i = 1; i < 2 * VERBS_SIGNAL; i++)
		assert_int_equal(send_one(p, 0, data, sizeof(data)), 1);
	for (unsigned i = 0; i < 100; i++) /* often in a moment */
		drain(p, 0);
	seconds(p, 0, 8);
	vd_pass(100 * NSEC_PER_SEC);
	seconds(p, 0, 1);
	vd_release(1000);
	seconds(p, 0, 30);
	drain(p, 1);
	/* Always behind, but it goes on. */
	for (unsigned i = 0; i < 30; i++) {
		vd_hold();
		for (unsigned n = 0; n < VERBS_SIGNAL; n++)
			assert_int_equal(send_one(p, 0, data, sizeof(data)), 1);
		seconds(p, 0, 1);
		vd_release(1000);
		drain(p, 0);
		drain(p, 1);
	}
	assert_int_equal(count(p, 0, VERBS_C_qp_broken), 0);
	assert_int_equal(count(p, 0, VERBS_C_qp_stuck), 0);
}

static void test_sleeps_and_wakes(void **state)
{
	struct pair *p = *state;

	for (int round = 0; round < 3; round++) {
		fall_asleep(p, 1);
		assert_false(readable(p, 1));
		assert_int_equal(send_one(p, 0, "wake", 4), 1);
		assert_true(readable(p, 1));
		assert_int_equal(drain(p, 1), 1);
		assert_false(readable(p, 1));
		assert_int_equal(p->l[1]->ops->deadline(p->l[1]) == 0, spins > 0);
	}
	assert_int_equal(count(p, 1, VERBS_C_wakeups), 3);
}

static void send_from_0(void *arg)
{
	assert_int_equal(send_one(arg, 0, "now", 3), 1);
}

/* A message between the last look and the arming is not slept over. */
static void test_nothing_is_slept_over(void **state)
{
	struct pair *p = *state;
	struct link_rx rx[4];
	int n = 0;

	vd_before_notify(send_from_0, p);
	for (int i = 0; i < 1000 && !n && p->l[1]->ops->deadline(p->l[1]) == 0; i++)
		n = recv_some(p, 1, rx, 4);
	assert_int_equal(n, 1);
	buf_put(rx[0].buf);
}

/* A link goes while what a dead queue pair posted is still at the device. */
static void test_goes_with_the_dying(void **state)
{
	struct pair *p = *state;
	uint8_t data[1000] = {0};

	vd_hold();
	for (int i = 0; i < 3; i++)
		assert_int_equal(send_one(p, 0, data, sizeof(data)), 1);
	link_verbs_close(p->l[0], ids[0]);
	p->l[0]->ops->destroy(p->l[0]);
	p->l[0] = NULL;
	assert_int_equal(buf_pool_available(p->pool[0]), BUFS);
}

/* While messages keep coming no event is asked for. */
static void test_busy_is_polled(void **state)
{
	struct pair *p = *state;

	for (int i = 0; i < 200; i++) {
		assert_int_equal(send_one(p, 0, "busy", 4), 1);
		assert_int_equal(drain(p, 1), 1);
	}
	assert_int_equal(vd_counts().notifies, 0);
}

/* Turns until something that only an event tells was noticed. */
static void turn(struct pair *p, int at)
{
	fall_asleep(p, at);
	for (int i = 0; i < 200; i++)
		drain(p, at);
}

static void test_events(void **state)
{
	struct pair *p = *state;

	fall_asleep(p, 0);
	vd_async(0, IBV_EVENT_PORT_ERR, 0);
	assert_true(readable(p, 0));
	turn(p, 0);
	assert_false(readable(p, 0));
	assert_int_equal(send_one(p, 0, "x", 1), 0);
	assert_int_equal(p->l[0]->counters[LINK_C_drop_tx_noroute], 1);
	vd_async(0, IBV_EVENT_PORT_ACTIVE, 0);
	turn(p, 0);
	assert_int_equal(send_one(p, 0, "x", 1), 1);
	assert_int_equal(drain(p, 1), 1);
	vd_async(1, IBV_EVENT_QP_FATAL, p->end[1].qpn);
	turn(p, 1);
	assert_int_equal(broken(p->l[1]), ids[1]);
	assert_int_equal(count(p, 1, VERBS_C_qp_broken), 1);
}

static void test_a_device_that_goes(void **state)
{
	struct pair *p = *state;
	struct verbs_end end;

	fall_asleep(p, 0);
	vd_async(0, IBV_EVENT_DEVICE_FATAL, 0);
	for (int i = 0; i < 200 && drain(p, 0) == 0; i++)
		;
	assert_int_equal(drain(p, 0), -ENODEV);
	assert_int_equal(count(p, 0, VERBS_C_device_gone), 1);
	assert_false(readable(p, 0));
	assert_true(p->l[0]->ops->deadline(p->l[0]) == UINT64_MAX);
	assert_int_equal(send_one(p, 0, "x", 1), 0);
	assert_int_equal(link_verbs_open(p->l[0], 1, 1, &end), -EIO);
}

static void test_ends_out_of_range_are_refused(void **state)
{
	struct pair *p = *state;
	struct verbs_end bad[] = {{.qpn = 1u << 24, .psn = 1, .mtu = 5},
				  {.qpn = 1, .psn = 1u << 24, .mtu = 5},
				  {.qpn = 1, .psn = 1, .mtu = 0},
				  {.qpn = 1, .psn = 1, .mtu = 6}};
	struct verbs_end ours;

	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(link_verbs_open(p->l[0], 77, 5, &ours), 0);
		assert_int_equal(link_verbs_connect(p->l[0], 77, &bad[i]), -EINVAL);
		assert_int_equal(link_verbs_connect(p->l[0], 77, &p->end[1]), -ENOENT);
	}
	assert_int_equal(link_verbs_connect(p->l[0], ids[0], &p->end[1]), -EINVAL); /* is connected */
	assert_int_equal(link_verbs_open(p->l[0], 0, 5, &ours), -EINVAL);
}

static void test_peers_are_bounded(void **state)
{
	struct pair *p = *state;
	struct verbs_end end;

	assert_int_equal(link_verbs_open(p->l[0], 100, 1, &end), 0);
	assert_int_equal(link_verbs_open(p->l[0], 101, 1, &end), -ENOSPC);
	link_verbs_close(p->l[0], 100);
	assert_int_equal(link_verbs_open(p->l[0], 101, 1, &end), 0);
	/* Again and again, as an agent may ask. */
	for (int i = 0; i < 1000; i++) {
		assert_int_equal(link_verbs_open(p->l[0], 101, 1, &end), 0);
		assert_int_equal(drain(p, 0), 0);
	}
}

/* Random faults: what arrives is what was sent, in order per connection; nothing leaks. */
static void test_random_faults(void **state)
{
	struct pair *p = *state;
	struct rng rng;
	uint32_t next = 0, seen = 0;

	rng_init(&rng, 42);
	for (int i = 0; i < 20000; i++) {
		uint32_t what = (uint32_t)rng_below(&rng, 100);
		uint8_t data[600];
		struct link_rx rx[8];
		int n;

		if (what < 60) {
			memcpy(data, &next, 4);
			next += (uint32_t)send_one(p, 0, data, 4 + what * 9);
		} else if (what < 90) {
			n = recv_some(p, 1, rx, 8);
			assert_true(n >= 0);
			for (int k = 0; k < n; k++) {
				uint32_t v;

				memcpy(&v, rx[k].data, 4);
				assert_true(v >= seen);
				seen = v + 1;
				buf_put(rx[k].buf);
			}
		} else if (what < 92) {
			vd_fail_next(IBV_WC_RETRY_EXC_ERR);
		} else if (what < 94) {
			vd_hold();
		} else if (what < 97) {
			vd_release((unsigned)rng_below(&rng, 40));
		} else {
			drain(p, 0);
		}
		if (broken(p->l[0]) || broken(p->l[1])) {
			vd_release(100000);
			drain(p, 0);
			drain(p, 1);
			seen = next;
			join(p);
		}
	}
	vd_release(100000);
	drain(p, 1);
	assert_true(next > 5000);
	assert_true(count(p, 0, VERBS_C_qp_broken) > 50);
}

/* ---- creation ---- */

static void expect_error(const char *name, int wanted, const char *word)
{
	struct buf_pool *pool = buf_pool_create(BUFS, VERBS_BUF_SIZE);
	char why[200] = "";
	int err;

	assert_null(make(name, pool, &err, why, sizeof(why)));
	assert_int_equal(err, wanted);
	if (!strstr(why, word))
		fail_msg("no '%s' in: %s", word, why);
	assert_int_equal(buf_pool_available(pool), BUFS);
	buf_pool_destroy(pool);
	assert_int_equal(vd_leaks(), 0);
}

static void test_what_is_wrong_is_said(void **state)
{
	(void)state;
	vd_world(0);
	expect_error("vd0", -ENODEV, "there is no RDMA device vd0 here, nor any other");
	vd_world(2);
	expect_error("vd9", -ENODEV, "there is vd0 vd1");
	expect_error("vd0/3", -EINVAL, "no port 3");
	vd_memlock(0, 100000);
	expect_error("vd0", -ENOMEM, "LimitMEMLOCK=infinity");
}

/* Made all the same, with a sentence; usable once the port is. */
static void expect_waiting(const char *name, const char *word)
{
	struct buf_pool *pool = buf_pool_create(BUFS, VERBS_BUF_SIZE);
	char why[200] = "";
	struct verbs_news news;
	struct link_rx rx[8];
	struct verbs_end end;
	struct link *l;
	int err;

	l = make(name, pool, &err, why, sizeof(why));
	assert_non_null(l);
	assert_int_equal(err, -ENETDOWN);
	if (!strstr(why, word))
		fail_msg("no '%s' in: %s", word, why);
	assert_int_equal(link_verbs_open(l, 1, 1, &end), -ENETDOWN);
	assert_false(link_verbs_news(l, &news));
	vd_port(0, true, 6);
	vd_async(0, IBV_EVENT_PORT_ACTIVE, 0);
	for (int i = 0; i < 200; i++)
		l->ops->recv(l, rx, 8);
	assert_true(link_verbs_news(l, &news));
	assert_int_equal(news.what, VERBS_PORT_UP);
	assert_false(link_verbs_news(l, &news));
	assert_int_equal(link_verbs_open(l, 1, 1, &end), 0);
	assert_int_equal(end.gid[15], 1);
	l->ops->destroy(l);
	buf_pool_destroy(pool);
	assert_int_equal(vd_leaks(), 0);
}

static void test_a_port_that_is_down_is_waited_for(void **state)
{
	(void)state;
	vd_world(2);
	expect_waiting("vd0/1/5", "no GID 5");
	vd_port(0, true, 0);
	expect_waiting("vd0", "no RoCEv2 GID");
	vd_port(0, false, 2);
	expect_waiting("vd0", "not active");
}

/* An address that changed, and the port with it: the next end tells the new one. */
static void test_the_gid_is_looked_up_again(void **state)
{
	struct pair *p = *state;
	struct verbs_end end;

	vd_port(0, true, 1);
	assert_int_equal(link_verbs_open(p->l[0], 100, 1, &end), 0);
	assert_int_equal(end.gid[0], 0xfe);
	vd_port(0, true, 2);
	assert_int_equal(link_verbs_open(p->l[0], 100, 1, &end), 0);
	assert_int_equal(end.gid[10], 0xff);
	vd_port(0, false, 2);
	assert_int_equal(link_verbs_open(p->l[0], 100, 1, &end), -ENETDOWN);
}

/* ---- calls that wait ---- */

static struct verbs_news next_news(struct pair *p, int at)
{
	struct verbs_news news = {.id = 0};

	if (!link_verbs_news(p->l[at], &news))
		fail_msg("nothing is told");
	return news;
}

static void test_connecting_keeps_nobody(void **state)
{
	struct pair *p = *state;
	struct verbs_news news;
	struct verbs_end end;

	assert_int_equal(next_news(p, 0).what, VERBS_CONNECTED);
	assert_false(link_verbs_news(p->l[0], &news));
	assert_int_equal(link_verbs_open(p->l[0], ids[0], 5, &end), 0);
	vd_hold_jobs();
	assert_int_equal(link_verbs_connect(p->l[0], ids[0], &p->end[1]), 0);
	assert_int_equal(link_verbs_connect(p->l[0], ids[0], &p->end[1]), -EALREADY);
	assert_int_equal(drain(p, 0), 0);
	assert_false(link_verbs_news(p->l[0], &news));
	assert_int_equal(send_one(p, 0, "x", 1), 0);
	fall_asleep(p, 0);
	assert_false(readable(p, 0));
	assert_true(vd_run_job());
	assert_true(readable(p, 0));
	assert_int_equal(drain(p, 0), 0);
	assert_false(readable(p, 0));
	assert_int_equal(next_news(p, 0).what, VERBS_CONNECTED);
	assert_false(link_verbs_news(p->l[0], &news));
	assert_int_equal(send_one(p, 0, "x", 1), 1);
}

/* Given up while the thread still has it, and a fresh one in its place. */
static void test_closed_while_it_connects(void **state)
{
	struct pair *p = *state;
	struct verbs_news news;
	struct verbs_end end;

	while (link_verbs_news(p->l[0], &news))
		;
	assert_int_equal(link_verbs_open(p->l[0], ids[0], 5, &end), 0);
	vd_hold_jobs();
	assert_int_equal(link_verbs_connect(p->l[0], ids[0], &p->end[1]), 0);
	assert_int_equal(link_verbs_open(p->l[0], ids[0], 6, &end), 0);
	assert_int_equal(link_verbs_connect(p->l[0], ids[0], &p->end[1]), 0);
	assert_true(vd_run_job());
	assert_int_equal(drain(p, 0), 0);
	assert_false(link_verbs_news(p->l[0], &news));
	assert_true(vd_run_job());
	assert_int_equal(next_news(p, 0).what, VERBS_CONNECTED);
	/* The first one's way out; what is under way at the end is waited for. */
	assert_true(vd_run_job());
	assert_int_equal(link_verbs_open(p->l[0], 100, 6, &end), 0);
	assert_int_equal(link_verbs_connect(p->l[0], 100, &p->end[1]), 0);
}

static void test_nobody_answers(void **state)
{
	struct pair *p = *state;
	struct verbs_news news;
	struct verbs_end end;

	while (link_verbs_news(p->l[0], &news))
		;
	for (int i = 0; i < 10; i++) {
		assert_int_equal(link_verbs_open(p->l[0], ids[0], 5, &end), 0);
		vd_unreachable();
		assert_int_equal(link_verbs_connect(p->l[0], ids[0], &p->end[1]), 0);
		news = next_news(p, 0);
		assert_int_equal(news.what, VERBS_BROKEN);
		assert_int_equal(news.id, ids[0]);
		assert_int_equal(news.err, -ETIMEDOUT);
		assert_int_equal(send_one(p, 0, "x", 1), 0);
	}
	/* Not told of one that was closed since. */
	assert_int_equal(link_verbs_open(p->l[0], ids[0], 5, &end), 0);
	vd_unreachable();
	assert_int_equal(link_verbs_connect(p->l[0], ids[0], &p->end[1]), 0);
	link_verbs_close(p->l[0], ids[0]);
	assert_false(link_verbs_news(p->l[0], &news));
}

/* The device tells of its peer's breach while a thread connects it: it is broken when that is over. */
static void test_a_breach_while_it_connects(void **state)
{
	struct pair *p = *state;
	struct verbs_news news;
	struct verbs_end end;

	while (link_verbs_news(p->l[0], &news))
		;
	assert_int_equal(link_verbs_open(p->l[0], ids[0], 5, &end), 0);
	vd_hold_jobs();
	assert_int_equal(link_verbs_connect(p->l[0], ids[0], &p->end[1]), 0);
	vd_async(0, IBV_EVENT_QP_REQ_ERR, end.qpn);
	turn(p, 0);
	assert_false(link_verbs_news(p->l[0], &news));
	assert_true(vd_run_job());
	news = next_news(p, 0);
	assert_int_equal(news.what, VERBS_BROKEN);
	assert_int_equal(news.err, 0);
	assert_int_equal(send_one(p, 0, "x", 1), 0);
}

static void test_the_ipv4_gid_is_found(void **state)
{
	struct buf_pool *pool = buf_pool_create(BUFS, VERBS_BUF_SIZE);
	struct verbs_end end;
	struct link *l;
	char why[200];
	int err;

	(void)state;
	vd_world(1);
	l = make("vd0", pool, &err, why, sizeof(why));
	assert_non_null(l);
	assert_int_equal(link_verbs_open(l, 1, 1, &end), 0);
	assert_int_equal(end.gid[10], 0xff);
	assert_int_equal(end.mtu, 5);
	l->ops->destroy(l);
	l = make("vd0/1/0", pool, &err, why, sizeof(why));
	assert_int_equal(link_verbs_open(l, 1, 1, &end), 0);
	assert_int_equal(end.gid[0], 0xfe);
	l->ops->destroy(l);
	l = make("vd0,mtu=1024", pool, &err, why, sizeof(why));
	assert_int_equal(link_verbs_open(l, 1, 1, &end), 0);
	assert_int_equal(end.mtu, 3);
	l->ops->destroy(l);
	buf_pool_destroy(pool);
	assert_int_equal(vd_leaks(), 0);
}

static void test_inline_size_is_found(void **state)
{
	struct buf_pool *pool = buf_pool_create(BUFS, VERBS_BUF_SIZE);
	struct verbs_end end;
	struct link *l;
	char why[200];
	int err;

	(void)state;
	for (uint32_t size = 0; size <= 600; size += 100) {
		vd_world(1);
		vd_max_inline(size);
		l = make("vd0", pool, &err, why, sizeof(why));
		assert_non_null(l);
		assert_int_equal(link_verbs_open(l, 1, 1, &end), 0);
		l->ops->destroy(l);
		assert_int_equal(vd_leaks(), 0);
	}
	buf_pool_destroy(pool);
}

static void test_names(void **state)
{
	static const char *const bad[] = {"",	       "/1",	     "mlx5_0/",	  "mlx5_0/0",	"mlx5_0/x",
					  "mlx5_0/1/", "a/1/2/3",    "a/1/256",	  "a,",		"a,tc=256",
					  "a,sl=16",   "a,mtu=1000", "a,mtu=128", "a,mtu=8192", "a,foo=1",
					  "a/1,tc=",   "a,tc=1x",    "a/-1"};
	struct verbs_port p;
	char why[200];

	(void)state;
	assert_int_equal(verbs_port_parse(&p, "mlx5_0", why, sizeof(why)), 0);
	assert_string_equal(p.device, "mlx5_0");
	assert_int_equal(p.port, 1);
	assert_int_equal(p.gid, VERBS_GID_AUTO);
	assert_int_equal(
		verbs_port_parse(&p, "mlx5_1/2/3,tc=104,sl=3,pkey=1,mtu=1024,sealed=1", why, sizeof(why)), 0);
	assert_int_equal(p.port, 2);
	assert_int_equal(p.gid, 3);
	assert_int_equal(p.traffic_class, 104);
	assert_int_equal(p.sl, 3);
	assert_int_equal(p.pkey, 1);
	assert_int_equal(p.mtu, 1024);
	assert_true(p.sealed);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (verbs_port_parse(&p, bad[i], why, sizeof(why)) != -EINVAL)
			fail_msg("'%s' was taken", bad[i]);
	verbs_port_parse(&p, "a,tc=1,mtu=1000", why, sizeof(why));
	assert_non_null(strstr(why, "mtu is 256"));
	verbs_port_parse(&p, "a,foo=1", why, sizeof(why));
	assert_non_null(strstr(why, "an OPTION is"));
	verbs_port_parse(&p, "a/0", why, sizeof(why));
	assert_non_null(strstr(why, "PORT is 1"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD(test_messages_cross),
		WORLD(test_trains_cost_few_doorbells),
		WORLD(test_late_completions_fill_the_queue),
		WORLD(test_slots_come_back),
		WORLD(test_failed_sends_break_the_path_alone),
		WORLD(test_packets_that_are_too_large_for_the_way),
		WORLD(test_a_vanished_peer_is_a_dead_path),
		WORLD(test_receiver_not_ready),
		WORLD(test_breaches_close_the_queue_pair),
		WORLD(test_flushes_are_counted),
		WORLD(test_flushed_sends_come_back_late),
		WORLD(test_a_device_that_forgets),
		WORLD(test_a_device_with_little_to_say),
		WORLD(test_sleeps_and_wakes),
		WORLD(test_busy_is_polled),
		WORLD(test_nothing_is_slept_over),
		WORLD(test_goes_with_the_dying),
		WORLD(test_events),
		WORLD(test_a_device_that_goes),
		SLEEPERS(test_messages_cross),
		SLEEPERS(test_sleeps_and_wakes),
		SLEEPERS(test_nothing_is_slept_over),
		SLEEPERS(test_events),
		SLEEPERS(test_a_device_that_goes),
		SLEEPERS(test_random_faults),
		WORLD(test_ends_out_of_range_are_refused),
		WORLD(test_peers_are_bounded),
		WORLD(test_random_faults),
		WORLD(test_the_gid_is_looked_up_again),
		WORLD(test_connecting_keeps_nobody),
		WORLD(test_closed_while_it_connects),
		WORLD(test_nobody_answers),
		WORLD(test_a_breach_while_it_connects),
		cmocka_unit_test(test_what_is_wrong_is_said),
		cmocka_unit_test(test_a_port_that_is_down_is_waited_for),
		cmocka_unit_test(test_the_ipv4_gid_is_found),
		cmocka_unit_test(test_inline_size_is_found),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The congestion window: what a round of round-trip times, losses and marks makes of it. */
#include "tests/unit/fabric/rt/pair.h"

#define BASE  (500 * US)
#define SPARE (10 * MS)

static struct path path;
static uint64_t now;

/* A path out of its slow start, with a window of so many packets, all in flight. */
static void setup_window(uint32_t packets)
{
	memset(&path, 0, sizeof(path));
	now = 1000 * MS;
	path.txn = 1;
	cc_init(&path.cc, SPARE);
	path.cc.slow_start = false;
	path.cc.cwnd = packets * CC_ONE;
	path_rtt(&path, BASE, 0, now);
}

/* As many packets as the window has are sent, of which the last `lost` in a row, or every `nth`, fall. */
static void run_round(uint64_t rtt, uint32_t lost, uint32_t nth)
{
	uint32_t n = cc_window(&path.cc) ? cc_window(&path.cc) : 1;
	uint64_t first = path.txn;

	path.txn += n;
	path.inflight = n;
	now += rtt;
	for (uint32_t i = 0; i < n; i++) {
		if ((nth && i % nth == nth / 2) || i + 1 + lost > n)
			cc_lost(&path, first + i);
		else
			cc_acked(&path, 1, rtt);
	}
	cc_echo(&path, path.txn - 1);
	path.inflight = 0;
}

static uint32_t window_after(uint32_t packets, int rounds, uint64_t rtt, uint32_t nth)
{
	setup_window(packets);
	for (int i = 0; i < rounds; i++)
		run_round(rtt, 0, nth);
	return cc_window(&path.cc);
}

static void an_empty_path_lets_it_grow(void **state)
{
	(void)state;
	assert_in_range(window_after(100, 20, BASE, 0), 150, 400);
}

static void loss_without_a_queue_is_chance(void **state)
{
	(void)state;
	assert_true(window_after(100, 20, BASE, 20) >= 100); /* 5 % */
	assert_true(window_after(100, 20, BASE, 5) >= 100);  /* 20 % */
	assert_true(window_after(100, 100, BASE, 2) >= 100); /* 50 % */
}

static void loss_beyond_chance_is_not(void **state)
{
	(void)state;
	setup_window(100);
	for (int i = 0; i < 100; i++)
		run_round(BASE, cc_window(&path.cc) * 2 / 5, 2); /* 70 % */
	assert_in_range(cc_window(&path.cc), 5, 12);		 /* and leaves enough to go on */
}

static void loss_in_a_queue_drains_it(void **state)
{
	(void)state;
	setup_window(100);
	path.cc.rtt = 4 * BASE;	    /* below the target, and no noise */
	run_round(4 * BASE, 0, 50); /* 2 % */
	assert_in_range(cc_window(&path.cc), 93, 95);
	setup_window(100);
	path.cc.rtt = 4 * BASE;
	run_round(4 * BASE, 0, 10); /* 10 % */
	assert_in_range(cc_window(&path.cc), 68, 72);
	setup_window(100);
	path.cc.rtt = 4 * BASE;
	run_round(4 * BASE, 0, 3);
	assert_int_equal(cc_window(&path.cc), 50);
}

/* Of many that share a short queue each loses something in every round: who loses more has more. */
static void small_windows_are_cut_in_every_round(void **state)
{
	uint32_t once;

	(void)state;
	setup_window(6);
	path.cc.rtt = 4 * BASE;
	run_round(4 * BASE, 1, 0);
	once = path.cc.cwnd;
	assert_in_range(once, 3 * CC_ONE, 4 * CC_ONE);
	run_round(4 * BASE, 1, 0);
	assert_true(path.cc.cwnd < once);
	setup_window(6); /* but what is lost anyway is not lost by having more */
	path.cc.rtt = 4 * BASE;
	path.cc.loss = 65536 / 2;
	run_round(4 * BASE, 0, 2);
	once = path.cc.cwnd;
	assert_true(once >= 4 * CC_ONE);
	run_round(4 * BASE, 0, 2);
	assert_true(path.cc.cwnd >= once);
}

/* Growth in proportion to the window keeps shares as they are: only on a path that nobody fills. */
static void a_queue_seen_lately_bars_fast_growth(void **state)
{
	uint32_t after[2];

	(void)state;
	for (int full = 0; full < 2; full++) {
		setup_window(100);
		for (int i = 0; i < 20; i++)
			run_round(BASE, 0, 0);
		path.cc.cwnd = 400 * CC_ONE;
		path.cc.rtt = 4 * BASE;
		run_round(4 * BASE, 0, full ? 3 : 0);
		path.cc.cwnd = 400 * CC_ONE;
		for (int i = 0; i < 3; i++)
			run_round(BASE, 0, 0);
		after[full] = cc_window(&path.cc);
	}
	assert_true(after[0] > 440);
	assert_in_range(after[1], 401, 420);
}

/* What was in flight when the window was cut tells nothing new. */
static void one_cut_per_queue(void **state)
{
	uint32_t once;

	(void)state;
	setup_window(100);
	for (int i = 0; i < 32; i++)
		run_round(4 * BASE, 0, 0);
	run_round(4 * BASE, 0, 50);
	once = path.cc.cwnd;
	run_round(4 * BASE, 0, 10);
	assert_int_equal(path.cc.cwnd, once);
	run_round(4 * BASE, 0, 10);
	assert_true(path.cc.cwnd < once);
}

static void neighbours_lost_are_a_full_queue(void **state)
{
	(void)state;
	setup_window(100);
	run_round(BASE, 30, 0); /* the shortest round trip saw none */
	assert_in_range(cc_window(&path.cc), 68, 76);
	setup_window(100);
	run_round(BASE, 90, 0);
	assert_in_range(cc_window(&path.cc), 50, 56); /* by half at most */
	setup_window(10);
	run_round(BASE, 5, 0);
	assert_true(cc_window(&path.cc) < 8);
	setup_window(10); /* half is lost anyway: some of that in a row is chance */
	path.cc.loss = 65536 / 2;
	run_round(BASE, 5, 0);
	assert_true(cc_window(&path.cc) >= 10);
}

static void the_shortest_round_trip_counts(void **state)
{
	(void)state;
	setup_window(100);
	path.inflight = 100;
	for (int i = 0; i < 99; i++)
		cc_acked(&path, 1, 100 * MS);
	cc_acked(&path, 1, BASE);
	path.txn += 100;
	cc_echo(&path, path.txn - 1);
	assert_true(cc_window(&path.cc) >= 100);
	run_round(100 * MS, 0, 0);
	assert_in_range(cc_window(&path.cc), 50, 60);
}

static void a_window_that_is_not_used_is_left_alone(void **state)
{
	(void)state;
	setup_window(100);
	for (int i = 0; i < 20; i++) {
		path.inflight = 4;
		cc_acked(&path, 1, 100 * MS);
		cc_lost(&path, path.txn);
		path.txn += 4;
		cc_echo(&path, path.txn - 1);
	}
	assert_int_equal(cc_window(&path.cc), 100);
}

static void a_slow_start_ends_in_its_round(void **state)
{
	(void)state;
	setup_window(100);
	path.cc.slow_start = true;
	path.inflight = 100;
	for (int i = 0; i < 50; i++)
		cc_acked(&path, 1, 100 * MS);
	assert_false(path.cc.slow_start);
	assert_true(cc_window(&path.cc) < 100);
}

static void marks_cut_without_delay(void **state)
{
	(void)state;
	setup_window(100);
	for (int i = 0; i < 6; i++) {
		path.cc.round_ce = 100;
		run_round(BASE, 0, 0);
	}
	assert_true(cc_window(&path.cc) < 90);
}

static void small_windows_are_paced(void **state)
{
	uint64_t sum = 0, least = BASE;

	(void)state;
	setup_window(4);
	for (int i = 0; i < 1000; i++) {
		path.txn++;
		cc_sent(&path, now);
		assert_in_range(cc_when(&path.cc), now + BASE / 8, now + BASE * 3 / 8);
		sum += cc_when(&path.cc) - now;
		least = cc_when(&path.cc) - now < least ? cc_when(&path.cc) - now : least;
	}
	assert_in_range(sum / 1000, BASE / 4 - BASE / 100, BASE / 4 + BASE / 100);
	assert_true(least < BASE / 7); /* unevenly */
	setup_window(100);
	cc_sent(&path, now);
	assert_true(cc_when(&path.cc) <= now);
}

/* Whatever the peer says that packets waited for, a round trip takes time. */
static void what_hosts_take_is_not_the_paths(void **state)
{
	(void)state;
	setup_window(10);
	assert_int_equal(path_rtt(&path, BASE + 400 * US, 300 * US, now), BASE + 100 * US);
	assert_int_equal(path_base_rtt(&path), BASE);
	assert_int_equal(path_rtt(&path, 100 * US, 300 * US, now), 1);
	assert_int_equal(path_base_rtt(&path), 1);
}

static void run_rounds_at_hosts(int n)
{
	for (int i = 0; i < n; i++) {
		path.rtt_all = 50 * MS;
		run_round(BASE, 0, 0);
	}
}

/* A processor that wakes late is not a queue; packets that wait there for each other are, of a kind. */
static void busy_hosts_cut_large_windows_only(void **state)
{
	(void)state;
	setup_window(32);
	run_rounds_at_hosts(20);
	assert_true(cc_window(&path.cc) >= 32);
	setup_window(1000);
	run_rounds_at_hosts(40);
	assert_in_range(cc_window(&path.cc), 40, 100);
	setup_window(1000); /* a few packets of many that might be: they do not wait for each other */
	path.rtt_all = 50 * MS;
	path.inflight = 10;
	cc_acked(&path, 1, BASE);
	cc_echo(&path, path.txn);
	assert_int_equal(cc_window(&path.cc), 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_empty_path_lets_it_grow),
		cmocka_unit_test(loss_without_a_queue_is_chance),
		cmocka_unit_test(loss_beyond_chance_is_not),
		cmocka_unit_test(loss_in_a_queue_drains_it),
		cmocka_unit_test(small_windows_are_cut_in_every_round),
		cmocka_unit_test(a_queue_seen_lately_bars_fast_growth),
		cmocka_unit_test(one_cut_per_queue),
		cmocka_unit_test(neighbours_lost_are_a_full_queue),
		cmocka_unit_test(the_shortest_round_trip_counts),
		cmocka_unit_test(a_window_that_is_not_used_is_left_alone),
		cmocka_unit_test(a_slow_start_ends_in_its_round),
		cmocka_unit_test(marks_cut_without_delay),
		cmocka_unit_test(small_windows_are_paced),
		cmocka_unit_test(what_hosts_take_is_not_the_paths),
		cmocka_unit_test(busy_hosts_cut_large_windows_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

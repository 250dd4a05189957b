/* SPDX-License-Identifier: Apache-2.0 */
/* Which device leaves a thread that has too much to do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "appliance/hosts/lane_balance.h"
#include "fabric/base/rng.h"

#define MAX 64u

static unsigned to;

static int of(const unsigned *busy, unsigned n, const struct lane_device *d, unsigned nd)
{
	to = 99;
	return lane_balance(busy, n, d, nd, &to);
}

static void what_stays(void **state)
{
	struct lane_device d[] = {{0, 50, false}, {0, 50, false}, {1, 1, false}};
	unsigned calm[] = {LANE_HOT_PERMILLE - 1, 0}, all[] = {950, 900}, hot[] = {1000, 100};

	(void)state;
	assert_int_equal(of(calm, 2, d, 3), -1);
	assert_int_equal(of(all, 2, d, 3), -1);
	assert_int_equal(of(hot, 1, d, 3), -1);
	assert_int_equal(of(hot, 2, d, 0), -1);
	/* Those that may not, or do nothing. */
	d[0].fixed = d[1].fixed = true;
	assert_int_equal(of(hot, 2, d, 3), -1);
	d[0].fixed = d[1].fixed = false;
	d[0].work = d[1].work = 0;
	assert_int_equal(of(hot, 2, d, 3), -1);
	/* One that fills a thread alone would fill the next. */
	d[0].work = 100;
	assert_int_equal(of(hot, 2, d, 3), -1);
}

static void what_goes(void **state)
{
	struct lane_device two[] = {{1, 7, false}, {0, 50, false}, {0, 50, false}};
	struct lane_device many[] = {{0, 900, false}, {0, 60, false}, {0, 40, false}};
	unsigned hot[] = {1000, 100}, three[] = {300, 1000, 100};

	(void)state;
	assert_in_range(of(hot, 2, two, 3), 1, 2);
	assert_int_equal(to, 1);
	/* Beside one that is greedy: the greatest of the others that helps. */
	assert_int_equal(of(hot, 2, many, 3), -1); /* 6 % is too little */
	many[1].work = 120;
	assert_int_equal(of(hot, 2, many, 3), 1);
	assert_int_equal(of(three, 3, two, 3), -1); /* alone on thread 1 */
	two[1].lane = two[2].lane = 1;
	assert_in_range(of(three, 3, two, 3), 1, 2);
	assert_int_equal(to, 2);
}

/* Whatever the loads: a move makes the busier of both threads less busy, and moves come to an end. */
static void random_walk(void **state)
{
	struct rng r;

	(void)state;
	rng_init(&r, 5);
	for (unsigned round = 0; round < 2000; round++) {
		struct lane_device d[MAX] = {{.work = 0}};
		unsigned cost[MAX], n = 2 + (unsigned)rng_below(&r, 6), nd = 1 + (unsigned)rng_below(&r, MAX),
				    moves;

		for (unsigned i = 0; i < nd; i++) {
			cost[i] = (unsigned)rng_below(&r, 2 * 1000 * n / nd + 1);
			d[i] = (struct lane_device){(unsigned)rng_below(&r, n), cost[i],
						    rng_below(&r, 8) == 0};
		}
		for (moves = 0; moves < 10 * MAX; moves++) {
			unsigned busy[8] = {0}, before, after, from;
			int i;

			for (unsigned k = 0; k < nd; k++)
				busy[d[k].lane] += cost[k];
			i = of(busy, n, d, nd);
			if (i < 0)
				break;
			assert_in_range(i, 0, nd - 1);
			assert_false(d[i].fixed);
			from = d[i].lane;
			assert_true(to < n && to != from);
			before = busy[from];
			busy[from] -= cost[i];
			busy[to] += cost[i];
			after = busy[from] > busy[to] ? busy[from] : busy[to];
			assert_true(after + LANE_GAIN_PERMILLE - 2 <= before);
			d[i].lane = to;
		}
		assert_true(moves < 10 * MAX);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(what_stays), cmocka_unit_test(what_goes),
					   cmocka_unit_test(random_walk)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

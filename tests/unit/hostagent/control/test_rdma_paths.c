/* SPDX-License-Identifier: Apache-2.0 */
/* When which RDMA path is connected: each by itself, soon after it can be. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "fabric/base/clock.h"
#include "hostagent/control/rdma_paths.h"

#define MSEC NSEC_PER_MSEC
#define BOTH (1u << 1 | 1u << 2)

static struct rdma_paths p;
static uint64_t now;

static int setup(void **state)
{
	(void)state;
	now = 1000 * NSEC_PER_SEC;
	rdma_paths_init(&p, 1);
	rdma_paths_start(&p, BOTH, now);
	return 0;
}

/* The peer is told of every path that is due; a bit each. */
static unsigned ask_all(uint32_t qpn)
{
	unsigned asked = 0;
	int path;

	while ((path = rdma_paths_due(&p, now)) >= 0) {
		rdma_paths_asked(&p, (unsigned)path, qpn + (unsigned)path, now);
		asked |= 1u << path;
	}
	return asked;
}

static void connect_path(unsigned path, uint32_t qpn)
{
	assert_true(rdma_paths_answered(&p, path, qpn + path));
	rdma_paths_connected(&p, path, now);
}

/* The moment at which something is due; how long from now. */
static uint64_t pass(void)
{
	uint64_t at = rdma_paths_deadline(&p), before = now;

	assert_true(at != RDMA_NEVER && at >= now);
	now = at;
	assert_true(rdma_paths_due(&p, now) >= 0);
	return at - before;
}

static void test_all_at_once(void **state)
{
	(void)state;
	assert_int_equal(ask_all(10), BOTH);
	assert_int_equal(rdma_paths_deadline(&p), now + RDMA_ANSWER_NS);
	connect_path(2, 10);
	connect_path(1, 10);
	assert_true(rdma_paths_deadline(&p) == RDMA_NEVER);
	assert_int_equal(rdma_paths_due(&p, now + NSEC_PER_SEC), -1);
}

/* One that never comes up, for an hour, keeps no other: that is asked for soon after it broke. */
static void test_a_dead_path_keeps_no_other(void **state)
{
	uint64_t end = now + 3600 * NSEC_PER_SEC;
	unsigned tries = 0;

	(void)state;
	ask_all(10);
	connect_path(2, 10);
	assert_true(rdma_paths_answered(&p, 1, 11));
	assert_true(rdma_paths_failed(&p, 1, now));
	while (now < end) {
		assert_in_range(pass(), RDMA_RETRY_MIN_MS * MSEC / 2, RDMA_RETRY_MAX_MS * MSEC);
		assert_int_equal(rdma_paths_due(&p, now), 1);
		assert_false(rdma_paths_failed(&p, 1, now));
		tries++;
	}
	assert_in_range(tries, 3600, 3 * 3600);
	rdma_paths_broken(&p, 2, now);
	assert_true(rdma_paths_deadline(&p) <= now + RDMA_RETRY_MIN_MS * MSEC);
	now += RDMA_RETRY_MIN_MS * MSEC;
	assert_true(ask_all(20) & 1u << 2);
	connect_path(2, 20);
}

/* No answer, or one to an end that was given up. */
static void test_answers(void **state)
{
	(void)state;
	ask_all(10);
	connect_path(2, 10);
	assert_int_equal(pass(), RDMA_ANSWER_NS);
	assert_int_equal(ask_all(20), 1u << 1);
	assert_false(rdma_paths_answered(&p, 1, 11));
	assert_false(rdma_paths_answered(&p, 2, 12));
	assert_false(rdma_paths_answered(&p, 0, 10));
	assert_false(rdma_paths_answered(&p, RT_PATHS, 10));
	assert_true(rdma_paths_answered(&p, 1, 21));
	assert_false(rdma_paths_answered(&p, 1, 21));
}

/* What breaks at once is tried ever more rarely, what had worked is not made to pay for it. */
static void test_pauses(void **state)
{
	uint64_t wait = 0;

	(void)state;
	ask_all(10);
	connect_path(1, 10);
	for (uint32_t i = 1; i < 20; i++) {
		connect_path(2, 10 * i);
		now += RDMA_WORKED_NS / 4;
		rdma_paths_broken(&p, 2, now);
		wait = pass();
		assert_int_equal(ask_all(10 * (i + 1)), 1u << 2);
	}
	assert_in_range(wait, RDMA_RETRY_MAX_MS * MSEC / 2, RDMA_RETRY_MAX_MS * MSEC);
	connect_path(2, 200);
	now += RDMA_WORKED_NS;
	rdma_paths_broken(&p, 2, now);
	assert_in_range(pass(), 1, RDMA_RETRY_MIN_MS * MSEC);
}

static void test_a_port_that_came_up(void **state)
{
	(void)state;
	ask_all(10);
	connect_path(1, 10);
	rdma_paths_failed(&p, 2, now);
	for (int i = 0; i < 20; i++) {
		pass();
		rdma_paths_failed(&p, 2, now);
	}
	rdma_paths_port_up(&p, 1, now); /* it works: nothing is asked for */
	assert_int_equal(rdma_paths_due(&p, now), -1);
	rdma_paths_port_up(&p, 2, now);
	assert_int_equal(ask_all(20), 1u << 2);
	/* The other end's comes up a moment later. */
	assert_true(rdma_paths_answered(&p, 2, 22));
	rdma_paths_failed(&p, 2, now);
	assert_in_range(pass(), 1, RDMA_RETRY_MIN_MS * MSEC);
}

static void test_without_a_channel(void **state)
{
	(void)state;
	ask_all(10);
	rdma_paths_unheard(&p, 1);
	rdma_paths_port_up(&p, 1, now);
	connect_path(2, 10);
	assert_true(rdma_paths_deadline(&p) == RDMA_NEVER);
	rdma_paths_broken(&p, 2, now);
	pass();
	ask_all(20);
	rdma_paths_again(&p, now);
	assert_int_equal(ask_all(30), BOTH);
	connect_path(1, 30);
	connect_path(2, 30);
	rdma_paths_again(&p, now);
	assert_int_equal(ask_all(40), 0);
}

static void test_an_end(void **state)
{
	(void)state;
	ask_all(10);
	rdma_paths_stop(&p);
	assert_true(rdma_paths_deadline(&p) == RDMA_NEVER);
	assert_false(rdma_paths_answered(&p, 1, 11));
	/* News that were still on their way. */
	assert_false(rdma_paths_failed(&p, 1, now));
	rdma_paths_broken(&p, 2, now);
	rdma_paths_port_up(&p, 2, now);
	rdma_paths_connected(&p, 2, now);
	assert_true(rdma_paths_deadline(&p) == RDMA_NEVER);
	rdma_paths_start(&p, 1u << 2, now);
	assert_int_equal(ask_all(10), 1u << 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_all_at_once, setup),
		cmocka_unit_test_setup(test_a_dead_path_keeps_no_other, setup),
		cmocka_unit_test_setup(test_answers, setup),
		cmocka_unit_test_setup(test_pauses, setup),
		cmocka_unit_test_setup(test_a_port_that_came_up, setup),
		cmocka_unit_test_setup(test_without_a_channel, setup),
		cmocka_unit_test_setup(test_an_end, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

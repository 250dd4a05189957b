/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <errno.h>
#include <string.h>
#include <cmocka.h>

#include "fabric/link/link_loop.h"

static struct link_loop_cfg config(struct buf_pool *pool)
{
	struct link_loop_cfg cfg = {.depth = 4, .max_payload = 100};

	for (int i = 0; i < 2; i++) {
		cfg.end[i].pool = pool;
		link_addr_parse(&cfg.end[i].addr, i ? "10.0.0.2" : "10.0.0.1", 4793);
	}
	return cfg;
}

static void link_loop__in_order_and_counted(void **state)
{
	struct buf_pool *pool = buf_pool_create(6, 100);
	struct link_loop_cfg cfg = config(pool);
	struct link *l[2];
	struct link_rx rx[8];
	struct link_tx tx[6];
	struct link_addr addr;
	uint32_t max;

	(void)state;
	assert_int_equal(link_loop_create(&cfg, l), 0);
	l[0]->ops->local(l[0], &addr, &max);
	assert_true(link_addr_equal(&addr, &cfg.end[0].addr));
	assert_int_equal(max, 100);
	for (int i = 0; i < 6; i++)
		tx[i] = (struct link_tx){
			.data = (const uint8_t *)"abcdef" + i, .len = 1, .to = cfg.end[1].addr};
	assert_int_equal(l[0]->ops->send(l[0], tx, 6), 4);
	assert_int_equal(l[0]->counters[LINK_C_drop_tx_full], 2);
	assert_int_equal(l[1]->ops->recv(l[1], rx, 3), 3);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(rx[i].data[0], 'a' + i);
		assert_true(link_addr_equal(&rx[i].from, &addr));
		buf_put(rx[i].buf);
	}
	assert_int_equal(l[0]->ops->send(l[0], tx, 2), 2);
	assert_int_equal(l[1]->ops->recv(l[1], rx, 8), 3);
	assert_memory_equal(rx[0].data, "d", 1);
	assert_memory_equal(rx[2].data, "b", 1);
	for (int i = 0; i < 3; i++)
		buf_put(rx[i].buf);
	assert_int_equal(l[1]->ops->recv(l[1], rx, 8), 0);
	assert_int_equal(l[0]->ops->recv(l[0], rx, 8), 0);
	l[0]->ops->destroy(l[0]);
	l[1]->ops->destroy(l[1]);
	assert_int_equal(buf_pool_available(pool), 6);
	buf_pool_destroy(pool);
}

static void link_loop__refusals_have_names(void **state)
{
	struct buf_pool *pool = buf_pool_create(1, 100);
	struct link_loop_cfg cfg = config(pool);
	struct link *l[2];
	uint8_t bytes[101] = {0};
	struct link_tx tx = {.data = bytes, .len = 101, .to = cfg.end[1].addr};

	(void)state;
	assert_int_equal(link_loop_create(&cfg, l), 0);
	assert_int_equal(l[0]->ops->send(l[0], &tx, 1), 0);
	assert_int_equal(l[0]->counters[LINK_C_drop_tx_error], 1);
	tx.len = 100;
	tx.to.port++;
	assert_int_equal(l[0]->ops->send(l[0], &tx, 1), 0);
	assert_int_equal(l[0]->counters[LINK_C_drop_tx_noroute], 1);
	tx.to.port--;
	assert_int_equal(l[0]->ops->send(l[0], &tx, 1), 1);
	assert_int_equal(l[0]->ops->send(l[0], &tx, 1), 1); /* the pool has but one */
	assert_int_equal(l[1]->counters[LINK_C_drop_rx_nobuf], 1);
	l[1]->ops->destroy(l[1]);
	assert_int_equal(buf_pool_available(pool), 1);
	assert_int_equal(l[0]->ops->send(l[0], &tx, 1), 0);
	assert_int_equal(l[0]->counters[LINK_C_drop_tx_noroute], 2);
	l[0]->ops->destroy(l[0]);
	cfg.depth = 0;
	assert_int_equal(link_loop_create(&cfg, l), -EINVAL);
	buf_pool_destroy(pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(link_loop__in_order_and_counted),
		cmocka_unit_test(link_loop__refusals_have_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

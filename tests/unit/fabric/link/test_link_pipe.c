/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "fabric/link/link_pipe.h"

static struct buf_pool *pool;
static struct link *l;
static uint64_t carried_to;
static uint32_t carried;
static bool full;

static bool carry(void *ctx, const struct link_addr *to, const uint8_t *data, uint32_t len)
{
	(void)ctx;
	(void)data;
	if (full)
		return false;
	carried_to = link_pipe_id(to);
	carried += len;
	return true;
}

static int setup(void **state)
{
	struct link_pipe_cfg cfg = {.carry = carry, .depth = 3, .max_payload = 100};

	(void)state;
	cfg.pool = pool = buf_pool_create(4, 128);
	l = link_pipe_create(&cfg);
	full = false;
	carried = 0;
	return l ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	l->ops->destroy(l);
	buf_pool_destroy(pool);
	return 0;
}

static void what_is_pushed_comes_out_in_order(void **state)
{
	struct link_rx rx[4];
	struct link_addr from;
	uint8_t bytes[101] = {0};

	(void)state;
	link_pipe_address(&from, 0x1122334455667788ull);
	for (uint8_t i = 0; i < 5; i++) {
		bytes[0] = i;
		link_pipe_push(l, &from, bytes, 10u + i);
	}
	assert_int_equal(l->counters[LINK_C_drop_rx_nobuf], 2);
	link_pipe_push(l, &from, bytes, 101);
	link_pipe_push(l, &from, bytes, 0);
	assert_int_equal(l->counters[LINK_C_drop_rx_truncated], 2);
	assert_int_equal(l->ops->recv(l, rx, 2), 2);
	assert_int_equal(l->ops->recv(l, rx + 2, 2), 1);
	for (uint8_t i = 0; i < 3; i++) {
		assert_int_equal(rx[i].data[0], i);
		assert_int_equal(rx[i].len, 10 + i);
		assert_true(link_pipe_id(&rx[i].from) == 0x1122334455667788ull);
		buf_put(rx[i].buf);
	}
	assert_int_equal(l->ops->recv(l, rx, 4), 0);
	link_pipe_push(l, &from, bytes, 10); /* destroy() gives it back */
}

static void what_is_sent_is_carried(void **state)
{
	uint8_t bytes[50] = {0};
	struct link_tx tx[2] = {{.data = bytes, .len = 50}, {.data = bytes, .len = 20}};

	(void)state;
	link_pipe_address(&tx[0].to, 7);
	link_pipe_address(&tx[1].to, 9);
	assert_int_equal(l->ops->send(l, tx, 2), 2);
	assert_int_equal(carried, 70);
	assert_true(carried_to == 9);
	full = true;
	assert_int_equal(l->ops->send(l, tx, 2), 0);
	assert_int_equal(l->counters[LINK_C_drop_tx_full], 2);
	assert_int_equal(l->ops->fd(l), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_is_pushed_comes_out_in_order, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_sent_is_carried, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Filters: each kind of fault, counting, delays that reorder, limits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "appliance/bdev/bdev_filter.h"
#include "appliance/bdev/bdev_mem.h"
#include "tests/lib/bdev_sync.h"

#define SIZE (64u << 10)

struct fixture {
	struct bdev_group *g;
	struct bdev *mem, *top;
};

static int setup(void **state)
{
	static struct fixture f;
	int err;

	f.g = bdev_group_create(16, &err);
	assert_int_equal(bdev_mem_open(SIZE, 512, &f.mem), 0);
	assert_int_equal(bdev_fault_open(f.mem, 8, &f.top), 0);
	assert_int_equal(bdev_join(f.top, f.g), 0);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	bdev_leave(f->top);
	bdev_close(f->top);
	bdev_group_destroy(f->g);
	return 0;
}

static int write_byte(struct fixture *f, uint8_t v, uint64_t at, uint64_t len)
{
	static uint8_t buf[16384];

	memset(buf, v, len);
	return bdev_sync(f->top, BDEV_WRITE, 0, at, buf, len);
}

static void nth_and_count(void **state)
{
	struct fixture *f = *state;
	static const int want[] = {0, 0, -EIO, -EIO, 0, 0};

	bdev_fault_set(f->top, &(struct bdev_fault_cfg){.nth = 3, .count = 2});
	for (size_t i = 0; i < 6; i++)
		assert_int_equal(write_byte(f, 1, 0, 512), want[i]);
	assert_int_equal(bdev_fault_hits(f->top), 2);
	assert_int_equal(bdev_fault_seen(f->top), 6);
	bdev_fault_set(f->top, &(struct bdev_fault_cfg){.nth = 1, .err = ENOSPC, .ops = 1u << BDEV_FLUSH});
	assert_int_equal(write_byte(f, 1, 0, 512), 0);
	assert_int_equal(bdev_sync(f->top, BDEV_FLUSH, 0, 0, NULL, 0), -ENOSPC);
	assert_int_equal(bdev_sync(f->top, BDEV_FLUSH, 0, 0, NULL, 0), 0);
	bdev_fault_set(f->top, &(struct bdev_fault_cfg){.nth = 0});
	assert_int_equal(write_byte(f, 1, 0, 512), 0);
	assert_int_equal(bdev_outstanding(f->top), 0);
}

static void error_has_no_effect(void **state)
{
	struct fixture *f = *state;

	bdev_fault_set(f->top, &(struct bdev_fault_cfg){.nth = 1});
	assert_int_equal(write_byte(f, 9, 0, 4096), -EIO);
	assert_int_equal(bdev_mem_bytes(f->mem)[0], 0);
}

static void short_has_half_an_effect(void **state)
{
	struct fixture *f = *state;
	const uint8_t *m = bdev_mem_bytes(f->mem);
	uint8_t buf[4096];
	struct iovec iov[3] = {{buf, 100}, {buf + 100, 3000}, {buf + 3100, 996}};

	bdev_fault_set(f->top, &(struct bdev_fault_cfg){.kind = BDEV_FAULT_SHORT, .nth = 1, .count = 9});
	memset(buf, 7, sizeof(buf));
	assert_int_equal(bdev_sync_iov(f->top, BDEV_WRITE, 0, 0, iov, 3, 4096), -EIO);
	assert_int_equal(m[0], 7);
	assert_int_equal(m[2047], 7);
	assert_int_equal(m[2048], 0);
	assert_int_equal(write_byte(f, 8, 0, 512), -EIO); /* one block has no half */
	assert_int_equal(m[0], 7);
	assert_int_equal(bdev_sync(f->top, BDEV_FLUSH, 0, 0, NULL, 0), -EIO);
}

static void after_has_the_whole_effect(void **state)
{
	struct fixture *f = *state;

	bdev_fault_set(f->top, &(struct bdev_fault_cfg){.kind = BDEV_FAULT_AFTER, .nth = 1});
	assert_int_equal(write_byte(f, 5, 0, 4096), -EIO);
	assert_int_equal(bdev_mem_bytes(f->mem)[4095], 5);
}

static void done(struct bdev_io *io)
{
	++*(int *)io->ctx;
}

static void timeout_takes_its_time(void **state)
{
	struct fixture *f = *state;
	int n = 0;
	struct bdev_io io = {.op = BDEV_FLUSH, .done = done, .ctx = &n};

	bdev_group_poll(f->g, 1000, 1);
	bdev_fault_set(f->top,
		       &(struct bdev_fault_cfg){.kind = BDEV_FAULT_TIMEOUT, .nth = 1, .timeout_ns = 500});
	assert_int_equal(bdev_submit(f->top, &io), 0);
	assert_int_equal(bdev_group_deadline(f->g), 1500);
	bdev_group_poll(f->g, 1499, 64);
	assert_int_equal(n, 0);
	bdev_group_poll(f->g, 1500, 64);
	assert_int_equal(n, 1);
	assert_int_equal(io.result, -ETIMEDOUT);
}

static void busy_takes_nothing(void **state)
{
	struct fixture *f = *state;
	int n = 0;
	struct bdev_io io = {.op = BDEV_FLUSH, .done = done, .ctx = &n};

	bdev_fault_set(f->top, &(struct bdev_fault_cfg){.kind = BDEV_FAULT_BUSY, .nth = 1, .count = 2});
	assert_int_equal(bdev_submit(f->top, &io), -EAGAIN);
	assert_int_equal(bdev_submit(f->top, &io), -EAGAIN);
	assert_int_equal(bdev_outstanding(f->top), 0);
	assert_int_equal(bdev_submit(f->top, &io), 0);
	while (bdev_group_poll(f->g, 1, 64))
		;
	assert_int_equal(n, 1);
}

static void depth_pushes_back(void **state)
{
	struct fixture *f = *state;
	struct bdev_io io[9];
	int n = 0;

	for (int i = 0; i < 9; i++) {
		io[i] = (struct bdev_io){.op = BDEV_FLUSH, .done = done, .ctx = &n};
		assert_int_equal(bdev_submit(f->top, &io[i]), i < 8 ? 0 : -EAGAIN);
	}
	while (bdev_group_poll(f->g, 1, 64))
		;
	assert_int_equal(n, 8);
}

static char order[64];

static void note(struct bdev_io *io)
{
	strcat(order, io->ctx);
}

/* Completions come late, in an order that the seed alone decides, and after their effect. */
static void delay_reorders_repeatably(void **state)
{
	static char *names[] = {"a", "b", "c", "d", "e", "f", "g", "h"};
	char first[64] = "";

	(void)state;
	for (int round = 0; round < 2; round++) {
		struct bdev *mem, *top;
		struct bdev_io io[8];
		struct bdev_group *g;
		uint64_t now = 100;
		int err;

		order[0] = '\0';
		g = bdev_group_create(8, &err);
		assert_int_equal(bdev_mem_open(SIZE, 512, &mem), 0);
		assert_int_equal(bdev_delay_open(mem, 8, 1000, 1000, 42, &top), 0);
		assert_int_equal(bdev_join(top, g), 0);
		for (int i = 0; i < 8; i++) {
			io[i] = (struct bdev_io){.op = BDEV_FLUSH, .done = note, .ctx = names[i]};
			assert_int_equal(bdev_submit(top, &io[i]), 0);
		}
		bdev_group_poll(g, now, 64);
		bdev_group_poll(g, now + 999, 64);
		assert_string_equal(order, "");
		while (bdev_outstanding(top)) {
			now = bdev_group_deadline(g);
			assert_true(now <= 2100);
			bdev_group_poll(g, now, 64);
		}
		if (round == 0)
			strcpy(first, order);
		bdev_leave(top);
		bdev_close(top);
		bdev_group_destroy(g);
	}
	assert_string_equal(order, first);
	assert_string_not_equal(order, "abcdefgh");
	assert_int_equal(strlen(order), 8);
}

static void bad_arguments(void **state)
{
	struct fixture *f = *state;
	struct bdev *b;

	assert_int_equal(bdev_fault_open(f->mem, 8, &b), -EBUSY);
	bdev_leave(f->top);
	assert_int_equal(bdev_fault_open(f->top, 0, &b), -EINVAL);
	assert_int_equal(bdev_delay_open(f->top, 5000, 0, 0, 1, &b), -EINVAL);
	assert_int_equal(bdev_refresh(f->top), -EOPNOTSUPP);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(nth_and_count),
		T(error_has_no_effect),
		T(short_has_half_an_effect),
		T(after_has_the_whole_effect),
		T(timeout_takes_its_time),
		T(busy_takes_nothing),
		T(depth_pushes_back),
		T(bad_arguments),
		cmocka_unit_test(delay_reorders_repeatably),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* bdev: what the door checks and counts, on a volume in memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "appliance/bdev/bdev_impl.h"
#include "appliance/bdev/bdev_mem.h"
#include "fabric/base/rng.h"
#include "tests/lib/bdev_sync.h"

#define SIZE (1u << 20)

struct fixture {
	struct bdev_group *g;
	struct bdev *b;
};

static int setup(void **state)
{
	static struct fixture f;
	int err;

	f.g = bdev_group_create(16, &err);
	assert_non_null(f.g);
	assert_int_equal(bdev_mem_open(SIZE, 512, &f.b), 0);
	assert_int_equal(bdev_join(f.b, f.g), 0);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	bdev_leave(f->b);
	bdev_close(f->b);
	bdev_group_destroy(f->g);
	return 0;
}

static void done(struct bdev_io *io)
{
	++*(int *)io->ctx;
}

static void door_checks(void **state)
{
	static uint8_t buf[4096];
	static const struct {
		enum bdev_op op;
		uint32_t flags;
		uint64_t offset, length, iov_len;
		int gives;
	} t[] = {
		{BDEV_READ, 0, 0, 512, 512, 0},
		{BDEV_READ, 0, SIZE - 512, 512, 512, 0},
		{BDEV_READ, 0, SIZE, 512, 512, -EINVAL},
		{BDEV_READ, 0, SIZE - 512, 1024, 1024, -EINVAL},
		{BDEV_READ, 0, UINT64_MAX - 511, 512, 512, -EINVAL},
		{BDEV_READ, 0, 512, UINT64_MAX - 511, 512, -EINVAL},
		{BDEV_READ, 0, 0, 0, 0, -EINVAL},
		{BDEV_READ, 0, 1, 512, 512, -EINVAL},
		{BDEV_READ, 0, 0, 511, 511, -EINVAL},
		{BDEV_READ, 0, 0, 1024, 512, -EINVAL},
		{BDEV_READ, 0, 0, 512, 1024, -EINVAL},
		{BDEV_WRITE, BDEV_F_FUA, 0, 512, 512, 0},
		{BDEV_WRITE, 4, 0, 512, 512, -EINVAL},
		{BDEV_FLUSH, 0, 0, 0, 0, 0},
		{BDEV_FLUSH, 0, 0, 512, 512, -EINVAL},
		{BDEV_FLUSH, 0, 512, 0, 0, -EINVAL},
		{BDEV_DISCARD, 0, 0, SIZE, 0, 0},
		{BDEV_DISCARD, 0, 512, SIZE, 0, -EINVAL},
		{BDEV_WRITE_ZEROES, BDEV_F_UNMAP, 512, 1024, 0, 0},
		{BDEV_NOPS, 0, 0, 512, 512, -EINVAL},
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
		struct iovec iov = {buf, t[i].iov_len};

		if (bdev_sync_iov(f->b, t[i].op, t[i].flags, t[i].offset, &iov, 1, t[i].length) != t[i].gives)
			fail_msg("row %zu", i);
		assert_int_equal(bdev_outstanding(f->b), 0);
	}
	f->b->info.read_only = true;
	assert_int_equal(bdev_sync(f->b, BDEV_WRITE, 0, 0, buf, 512), -EROFS);
	assert_int_equal(bdev_sync(f->b, BDEV_DISCARD, 0, 0, NULL, 512), -EROFS);
	assert_int_equal(bdev_sync(f->b, BDEV_READ, 0, 0, buf, 512), 0);
	assert_int_equal(bdev_sync(f->b, BDEV_FLUSH, 0, 0, NULL, 0), 0);
	f->b->info.read_only = false;
	f->b->info.can_discard = false;
	assert_int_equal(bdev_sync(f->b, BDEV_DISCARD, 0, 0, NULL, 512), -EOPNOTSUPP);
	f->b->info.can_write_zeroes = false;
	assert_int_equal(bdev_sync(f->b, BDEV_WRITE_ZEROES, 0, 0, NULL, 512), -EOPNOTSUPP);
}

static void done_comes_from_poll_alone(void **state)
{
	struct fixture *f = *state;
	struct bdev_io io[5];
	int n = 0;

	for (int i = 0; i < 5; i++) {
		io[i] = (struct bdev_io){.op = BDEV_FLUSH, .done = done, .ctx = &n};
		assert_int_equal(bdev_submit(f->b, &io[i]), 0);
	}
	assert_int_equal(n, 0);
	assert_int_equal(bdev_outstanding(f->b), 5);
	assert_false(bdev_group_arm(f->g));
	assert_int_equal(bdev_group_poll(f->g, 1, 2), 2);
	assert_int_equal(n, 2);
	assert_int_equal(bdev_outstanding(f->b), 3);
	assert_int_equal(bdev_group_poll(f->g, 1, 64), 3);
	assert_true(bdev_group_arm(f->g));
	assert_true(bdev_group_deadline(f->g) == UINT64_MAX);
	assert_int_equal(bdev_group_now(f->g), 1);
}

static void again(struct bdev_io *io)
{
	if (++*(int *)io->ctx < 10)
		assert_int_equal(bdev_submit(io->bdev, io), 0);
}

static void done_may_submit_the_same_request(void **state)
{
	struct fixture *f = *state;
	int n = 0;
	struct bdev_io io = {.op = BDEV_FLUSH, .done = again, .ctx = &n};

	assert_int_equal(bdev_submit(f->b, &io), 0);
	assert_int_equal(bdev_group_poll(f->g, 1, 4), 4); /* max holds even so */
	while (bdev_group_poll(f->g, 1, 64))
		;
	assert_int_equal(n, 10);
}

static char order[64];

static void note(struct bdev_io *io)
{
	strcat(order, io->ctx);
}

static void timed_completions_come_in_order_of_time(void **state)
{
	struct fixture *f = *state;
	static const uint64_t due[] = {30, 10, 20, 10, 40};
	char *names[] = {"a", "b", "c", "d", "e"};
	struct bdev_io io[5];

	order[0] = '\0';
	for (int i = 0; i < 5; i++) {
		io[i] = (struct bdev_io){.bdev = f->b, .done = note, .ctx = names[i]};
		f->b->outstanding++;
		bdev_complete_at(&io[i], 0, due[i]);
	}
	assert_int_equal(bdev_group_deadline(f->g), 10);
	assert_int_equal(bdev_group_poll(f->g, 9, 64), 0);
	assert_int_equal(bdev_group_poll(f->g, 29, 64), 3);
	assert_string_equal(order, "bdc");
	assert_int_equal(bdev_group_deadline(f->g), 30);
	assert_int_equal(bdev_group_poll(f->g, 40, 64), 2);
	assert_string_equal(order, "bdcae");
}

/* Random requests over cut memory against a flat array. */
static void bytes_match_a_flat_array(void **state)
{
	static uint8_t twin[SIZE], buf[65536];
	struct fixture *f = *state;
	struct rng r;

	rng_init(&r, 3);
	memset(twin, 0, sizeof(twin));
	for (int i = 0; i < 3000; i++) {
		uint64_t len = 512 * (1 + rng_below(&r, 128)),
			 at = 512 * rng_below(&r, (SIZE - len) / 512 + 1);
		uint64_t cut = rng_below(&r, len + 1), cut2 = rng_below(&r, len - cut + 1);
		struct iovec iov[3] = {{buf, cut}, {buf + cut, cut2}, {buf + cut + cut2, len - cut - cut2}};

		switch (rng_below(&r, 5)) {
		case 0:
			assert_int_equal(bdev_sync_iov(f->b, BDEV_READ, 0, at, iov, 3, len), 0);
			assert_memory_equal(buf, twin + at, len);
			break;
		case 1:
		case 2:
			for (uint64_t k = 0; k < len; k++)
				twin[at + k] = buf[k] = (uint8_t)rng_u64(&r);
			assert_int_equal(bdev_sync_iov(f->b, BDEV_WRITE, 0, at, iov, 3, len), 0);
			break;
		case 3:
			memset(twin + at, 0, len);
			assert_int_equal(bdev_sync(f->b, BDEV_DISCARD, 0, at, NULL, len), 0);
			break;
		default:
			memset(twin + at, 0, len);
			assert_int_equal(
				bdev_sync(f->b, BDEV_WRITE_ZEROES, i % 2 ? BDEV_F_UNMAP : 0, at, NULL, len),
				0);
			break;
		}
	}
	assert_memory_equal(bdev_mem_bytes(f->b), twin, SIZE);
}

static void bad_arguments(void **state)
{
	struct fixture *f = *state;
	struct bdev *b;
	int err;

	assert_int_equal(bdev_mem_open(0, 512, &b), -EINVAL);
	assert_int_equal(bdev_mem_open(512, 4096, &b), -EINVAL);
	assert_int_equal(bdev_mem_open(4096, 1024, &b), -EINVAL);
	assert_int_equal(bdev_mem_open(UINT64_MAX - 511, 512, &b), -EINVAL);
	assert_null(bdev_group_create(0, &err));
	assert_null(bdev_group_create(4097, &err));
	assert_int_equal(err, -EINVAL);
	assert_int_equal(bdev_join(f->b, f->g), -EBUSY);
	assert_int_equal(bdev_refresh(f->b), -EOPNOTSUPP);
	bdev_close(NULL);
	bdev_group_destroy(NULL);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(door_checks),
		T(done_comes_from_poll_alone),
		T(done_may_submit_the_same_request),
		T(timed_completions_come_in_order_of_time),
		T(bytes_match_a_flat_array),
		T(bad_arguments),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

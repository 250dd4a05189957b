/* SPDX-License-Identifier: Apache-2.0 */
/*
 * blk_fence: each row of a story is one call and what it gives; then random stories against a naive twin
 * that remembers every I/O.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "appliance/block/blk_fence.h"
#include "fabric/base/rng.h"

/* Letters: c claim(a = owner, gives epoch), k confirm(a = epoch), x cancel, r release(a owner, b epoch),
 * a admit(a owner, b epoch), e end(a = epoch), gives bool. */
struct row {
	char call;
	uint64_t a, b;
	int64_t gives;
};

static void tell(const char *name, uint64_t stored, const struct row *rows, size_t n)
{
	struct blk_fence f;

	blk_fence_init(&f, stored);
	for (size_t i = 0; i < n; i++) {
		uint64_t epoch = 0;
		int64_t got = 0;

		switch (rows[i].call) {
		case 'c':
			got = blk_fence_claim(&f, rows[i].a, &epoch);
			got = got ? got : (int64_t)epoch;
			break;
		case 'k':
			got = blk_fence_confirm(&f, rows[i].a);
			break;
		case 'x':
			blk_fence_cancel(&f);
			break;
		case 'r':
			got = blk_fence_release(&f, rows[i].a, rows[i].b);
			break;
		case 'a':
			got = blk_fence_admit(&f, rows[i].a, rows[i].b);
			break;
		case 'e':
			got = blk_fence_end(&f, rows[i].a);
			break;
		}
		if (got != rows[i].gives)
			fail_msg("%s: row %zu (%c) gave %ld", name, i, rows[i].call, (long)got);
	}
}
#define TELL(stored, ...)                                                                                    \
	do {                                                                                                 \
		static const struct row rows_[] = {__VA_ARGS__};                                             \
		tell(__func__, stored, rows_, sizeof(rows_) / sizeof(*rows_));                               \
	} while (0)

static void first_owner(void **state)
{
	(void)state;
	TELL(7, {'a', 1, 7, -EPERM}, {'c', 0, 0, -EINVAL}, {'c', 1, 0, 8}, {'a', 1, 8, -EPERM},
	     {'k', 8, 0, 0}, {'a', 1, 8, 0}, {'e', 8, 0, 1});
}

static void other_epochs_and_owners_are_refused(void **state)
{
	(void)state;
	TELL(7, {'c', 1, 0, 8}, {'k', 8, 0, 0}, {'a', 1, 7, -ESTALE}, {'a', 1, 9, -ESTALE},
	     {'a', 2, 8, -EPERM}, {'a', 0, 8, -EPERM}, {'a', 1, 8, 0}, {'e', 8, 0, 1});
}

/* E4: the new owner waits for the old one's I/O, and the old one's completions reach nobody. */
static void takeover_drains(void **state)
{
	(void)state;
	TELL(0, {'c', 1, 0, 1}, {'k', 1, 0, 0}, {'a', 1, 1, 0}, {'a', 1, 1, 0}, {'c', 2, 0, 2},
	     /* not stored yet: the present owner goes on */
	     {'a', 1, 1, 0}, {'e', 1, 0, 1}, {'a', 2, 2, -EPERM}, {'k', 2, 0, 0}, {'a', 1, 1, -EPERM},
	     {'a', 2, 2, -EAGAIN}, {'e', 1, 0, 0}, {'a', 2, 2, -EAGAIN}, {'e', 1, 0, 0}, {'a', 2, 2, 0},
	     {'e', 2, 0, 1});
}

/* A second takeover while the first still drains. */
static void takeover_of_takeover(void **state)
{
	(void)state;
	TELL(0, {'c', 1, 0, 1}, {'k', 1, 0, 0}, {'a', 1, 1, 0}, {'c', 2, 0, 2}, {'k', 2, 0, 0},
	     {'c', 3, 0, 3}, {'k', 3, 0, 0}, {'a', 2, 2, -EPERM}, {'a', 3, 3, -EAGAIN}, {'e', 1, 0, 0},
	     {'a', 3, 3, 0}, {'e', 3, 0, 1});
}

static void same_session_attaches_again(void **state)
{
	(void)state;
	TELL(0, {'c', 1, 0, 1}, {'k', 1, 0, 0}, {'a', 1, 1, 0}, {'c', 1, 0, 2}, {'k', 2, 0, 0},
	     {'a', 1, 1, -ESTALE}, {'a', 1, 2, -EAGAIN}, {'e', 1, 0, 0}, {'a', 1, 2, 0}, {'e', 2, 0, 1});
}

static void store_fails(void **state)
{
	(void)state;
	TELL(0, {'c', 1, 0, 1}, {'k', 1, 0, 0}, {'c', 2, 0, 2}, {'c', 3, 0, -EALREADY}, {'x', 0, 0, 0},
	     {'k', 2, 0, -EINVAL}, {'a', 1, 1, 0}, {'e', 1, 0, 1}, {'c', 3, 0, 2}, {'k', 1, 0, -EINVAL},
	     {'k', 3, 0, -EINVAL}, {'k', 2, 0, 0}, {'a', 2, 2, -EPERM}, {'a', 3, 2, 0}, {'e', 2, 0, 1});
}

static void release(void **state)
{
	(void)state;
	TELL(0, {'r', 1, 0, -ESTALE}, {'r', 0, 0, -ESTALE}, {'c', 1, 0, 1}, {'k', 1, 0, 0}, {'a', 1, 1, 0},
	     {'r', 2, 1, -ESTALE}, {'r', 1, 2, -ESTALE}, {'r', 1, 1, 0}, {'a', 1, 1, -EPERM},
	     {'r', 1, 1, -ESTALE}, {'c', 2, 0, 2}, {'k', 2, 0, 0}, {'a', 2, 2, -EAGAIN}, {'e', 1, 0, 0},
	     {'a', 2, 2, 0}, {'e', 2, 0, 1});
	/* What ends after its owner let go reaches nobody. */
	TELL(0, {'c', 1, 0, 1}, {'k', 1, 0, 0}, {'a', 1, 1, 0}, {'r', 1, 1, 0}, {'e', 1, 0, 0});
}

static void epochs_end(void **state)
{
	(void)state;
	TELL(UINT64_MAX - 1, {'c', 1, 0, -1 /* UINT64_MAX */}, {'k', UINT64_MAX, 0, 0},
	     {'c', 1, 0, -EOVERFLOW}, {'a', 1, UINT64_MAX, 0}, {'e', UINT64_MAX, 0, 1});
}

static void readiness(void **state)
{
	struct blk_fence f;
	uint64_t e;

	(void)state;
	blk_fence_init(&f, 0);
	assert_false(blk_fence_ready(&f));
	assert_true(blk_fence_quiet(&f));
	blk_fence_claim(&f, 1, &e);
	blk_fence_confirm(&f, e);
	assert_true(blk_fence_ready(&f));
	blk_fence_admit(&f, 1, 1);
	assert_false(blk_fence_quiet(&f));
	blk_fence_claim(&f, 2, &e);
	assert_true(blk_fence_ready(&f));
	blk_fence_confirm(&f, e);
	assert_false(blk_fence_ready(&f));
	blk_fence_end(&f, 1);
	assert_true(blk_fence_ready(&f) && blk_fence_quiet(&f));
}

#define IOS 64

/* Invariant: whatever happens, I/O of two epochs is never at the backend together, once the newer one has
 * started; and only the present owner's completions are heard. */
static void random_stories(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 300; seed++) {
		uint64_t io_epoch[IOS] = {0}, handed[4] = {0}, claim = 0, owner = 0, epoch = 0, highest = 0;
		struct blk_fence f;
		struct rng r;

		rng_init(&r, seed);
		blk_fence_init(&f, 0);
		for (int step = 0; step < 2000; step++) {
			uint64_t who = 1 + rng_below(&r, 3), i = rng_below(&r, IOS);
			uint64_t old = 0;

			for (int k = 0; k < IOS; k++)
				old += io_epoch[k] && io_epoch[k] != epoch;
			switch (rng_below(&r, 8)) {
			case 0:
				if (blk_fence_claim(&f, who, &claim) == 0) {
					assert_true(claim > highest);
					handed[0] = who;
				}
				break;
			case 1:
				if (handed[0] && blk_fence_confirm(&f, claim) == 0) {
					owner = handed[0];
					handed[owner] = epoch = highest = claim;
				}
				handed[0] = 0;
				break;
			case 2:
				if (rng_below(&r, 4) == 0) {
					blk_fence_cancel(&f);
					handed[0] = 0;
				}
				break;
			case 3:
				if (rng_below(&r, 8) == 0 && blk_fence_release(&f, who, handed[who]) == 0) {
					assert_true(who == owner && handed[who] == epoch);
					owner = 0;
				}
				break;
			case 4:
			case 5:
				if (io_epoch[i] || !handed[who])
					break;
				if (blk_fence_admit(&f, who, handed[who]) == 0) {
					assert_true(who == owner && handed[who] == epoch && old == 0);
					io_epoch[i] = epoch;
				} else {
					assert_true(who != owner || handed[who] != epoch || old);
				}
				break;
			default:
				if (!io_epoch[i])
					break;
				assert_int_equal(blk_fence_end(&f, io_epoch[i]),
						 owner && io_epoch[i] == epoch);
				io_epoch[i] = 0;
				break;
			}
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(first_owner),
		cmocka_unit_test(other_epochs_and_owners_are_refused),
		cmocka_unit_test(takeover_drains),
		cmocka_unit_test(takeover_of_takeover),
		cmocka_unit_test(same_session_attaches_again),
		cmocka_unit_test(store_fails),
		cmocka_unit_test(release),
		cmocka_unit_test(epochs_end),
		cmocka_unit_test(readiness),
		cmocka_unit_test(random_stories),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

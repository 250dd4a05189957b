/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "fabric/base/rng.h"
#include "fabric/rt/replay.h"

static bool see(struct replay *r, uint64_t n)
{
	if (!replay_fresh(r, n))
		return false;
	replay_update(r, n);
	return true;
}

#define W REPLAY_WINDOW

static void table(void **state)
{
	static const struct {
		uint64_t n;
		bool fresh;
	} rows[] = {
		{0, false},
		{1, true},
		{1, false},
		{9, true},
		{8, true},
		{7, true},
		{7, false},
		{W, true},
		{W - 1, true},
		{W - 1, false},
		{W - 2, true},
		{2, true},
		{2, false},
		{W + 16, true},
		{16, false}, /* just outside */
		{17, true},  /* the last inside */
		{17, false},
		{W + 16, false},
		{W * 4, true},
		{W * 4 - (W - 1), true},
		{10, false},
		{W * 4 - W, false},
		{W * 4 - (W + 1), false},
		{W * 4 - (W - 2), true},
		{W * 4 + 1 - W, false},
		{0, false},
		{W * 4 + 64 * REPLAY_WORDS, true}, /* once round the ring */
		{W * 4, false},
		{W * 4 + 64 * REPLAY_WORDS - 1, true},
		{0xffffffffull, true},
		{0x100000000ull, true},
		{0xffffffffull, false},
		{0x100000000ull - (W - 1), true},
		{0x100000000ull - W, false},
		{UINT64_MAX - 1, true},
		{UINT64_MAX, true},
		{UINT64_MAX, false},
		{UINT64_MAX - (W - 1), true},
		{UINT64_MAX - W, false},
		{1, false},
	};
	static struct replay r;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (see(&r, rows[i].n) != rows[i].fresh)
			fail_msg("row %zu: %llu", i, (unsigned long long)rows[i].n);
}

static void sweeps(void **state)
{
	static struct replay up, down;

	(void)state;
	for (uint64_t n = 1; n <= 3 * W; n++)
		assert_true(see(&up, n));
	for (uint64_t n = 1; n <= 3 * W; n++)
		assert_false(see(&up, n));
	assert_true(see(&down, 3 * W));
	for (uint64_t n = 3 * W - 1; n > 2 * W; n--)
		assert_true(see(&down, n));
	for (uint64_t n = 2 * W; n > 0; n--)
		assert_false(see(&down, n));
}

/* A twin without cleverness: one byte per number. */
static void twin(void **state)
{
	enum { N = 100000 };
	uint8_t *seen = calloc(N, 1);
	static struct replay r;
	struct rng g;
	uint64_t top = 0, at = 1;

	(void)state;
	rng_init(&g, 7);
	for (int i = 0; i < 400000; i++) {
		uint64_t back = rng_below(&g, rng_chance(&g, 500000) ? 200 : 6000), n;

		at += rng_chance(&g, 300000) ? rng_below(&g, rng_chance(&g, 1000) ? 9000 : 3) : 0;
		n = at > back ? at - back : 0;
		if (n >= N)
			break;
		bool want = n && !seen[n] && (n > top || top - n < W);
		assert_true(see(&r, n) == want);
		if (want) {
			seen[n] = 1;
			top = n > top ? n : top;
		}
	}
	free(seen);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(table), cmocka_unit_test(sweeps),
					   cmocka_unit_test(twin)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

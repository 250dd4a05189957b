/* SPDX-License-Identifier: Apache-2.0 */
/* The receive window: duplicates, gaps, floor, edges, wrap; against a twin without bit tricks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "fabric/base/rng.h"
#include "fabric/rt/impl.h"

static const uint32_t starts[] = {0,	      1,	  63,	      64,	  1000,
				  0x7fffffc0, 0x7fffffff, 0x80000000, 0xffffffc1, 0xffffffff};

static void edges(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++) {
		struct rx_win w = {0};
		uint32_t s = starts[i];

		assert_int_equal(rx_init(&w, 64, s, false), 0);
		assert_int_equal(rx_look(&w, s), RX_NEW);
		assert_int_equal(rx_look(&w, s + 63), RX_NEW);
		assert_int_equal(rx_look(&w, s + 64), RX_OUTSIDE);
		assert_int_equal(rx_look(&w, s + 0x7fffffff), RX_OUTSIDE);
		assert_int_equal(rx_look(&w, s - 1), RX_DUPLICATE);
		assert_int_equal(rx_look(&w, s - 0x80000000), RX_DUPLICATE);
		assert_false(rx_take(&w, s)); /* in order: no gap */
		assert_int_equal(w.cum, s + 1);
		assert_int_equal(rx_look(&w, s), RX_DUPLICATE);
		assert_true(rx_take(&w, s + 2)); /* opens one */
		assert_int_equal(w.cum, s + 1);
		assert_int_equal(rx_look(&w, s + 2), RX_DUPLICATE);
		assert_true(rx_take(&w, s + 64)); /* the last of the window */
		assert_int_equal(rx_look(&w, s + 65), RX_OUTSIDE);
		assert_true(rx_take(&w, s + 1)); /* closes one */
		assert_int_equal(w.cum, s + 3);
		assert_int_equal(w.high, s + 65);
		for (uint32_t n = 3; n < 64; n++)
			rx_take(&w, s + n);
		assert_int_equal(w.cum, s + 65);
		assert_int_equal(w.bits[0], 0);
		rx_fini(&w);
	}
}

static void floors(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++) {
		struct rx_win w = {0};
		uint32_t s = starts[i];

		assert_int_equal(rx_init(&w, 128, s, false), 0);
		assert_true(rx_floor_ok(&w, s + 128));
		assert_false(rx_floor_ok(&w, s + 129));
		assert_true(rx_floor_ok(&w, s - 5)); /* old news */
		assert_int_equal(rx_floor(&w, s - 5), 0);
		assert_int_equal(w.cum, s);
		rx_take(&w, s + 1);
		rx_take(&w, s + 4);
		assert_int_equal(rx_floor(&w, s + 3), 2); /* 0 and 2 */
		assert_int_equal(w.cum, s + 3);
		assert_int_equal(rx_floor(&w, s + 4), 1); /* 3; 4 is there */
		assert_int_equal(w.cum, s + 5);
		assert_int_equal(rx_floor(&w, s + 128), 123);
		assert_int_equal(w.cum, s + 128);
		assert_int_equal(w.high, s + 128);
		assert_int_equal(w.bits[0] | w.bits[1], 0);
		assert_int_equal(rx_look(&w, s + 127), RX_DUPLICATE);
		assert_int_equal(rx_look(&w, s + 255), RX_NEW);
		rx_fini(&w);
	}
}

/* Numbers relative to the start, a byte each. */
struct naive {
	uint8_t have[40000];
	uint32_t cum, high;
};

static void twin_step(struct rx_win *w, struct naive *v, uint32_t start, struct rng *g)
{
	if (rng_chance(g, 20000)) {
		uint32_t f = v->cum + (uint32_t)rng_below(g, w->window + 1), missing = 0;

		for (; v->cum < f; v->cum++)
			missing += !v->have[v->cum];
		assert_int_equal(rx_floor(w, start + f), missing);
		v->high = v->high > v->cum ? v->high : v->cum;
	} else {
		uint32_t n = v->cum + (uint32_t)rng_below(g, w->window + 20) - (v->cum > 10 ? 10 : v->cum);
		enum rx_verdict want = n < v->cum		 ? RX_DUPLICATE
				       : n >= v->cum + w->window ? RX_OUTSIDE
				       : v->have[n]		 ? RX_DUPLICATE
								 : RX_NEW;

		assert_int_equal(rx_look(w, start + n), want);
		if (want != RX_NEW)
			return;
		assert_int_equal(rx_take(w, start + n), n != v->high);
		v->have[n] = 1;
		v->high = n >= v->high ? n + 1 : v->high;
	}
	while (v->have[v->cum])
		v->cum++;
	v->high = v->high > v->cum ? v->high : v->cum;
	assert_int_equal(w->cum, start + v->cum);
	assert_int_equal(w->high, start + v->high);
}

static void twin(void **state)
{
	static struct naive v;
	struct rng g;

	(void)state;
	rng_init(&g, 3);
	for (uint32_t window = 64; window <= 4096; window *= 2)
		for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++) {
			struct rx_win w = {0};

			memset(&v, 0, sizeof(v));
			assert_int_equal(rx_init(&w, window, starts[i], false), 0);
			while (v.cum < 20000 && v.cum < window * 20)
				twin_step(&w, &v, starts[i], &g);
			rx_fini(&w);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(edges), cmocka_unit_test(floors),
					   cmocka_unit_test(twin)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

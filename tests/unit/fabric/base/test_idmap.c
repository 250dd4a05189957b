/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <errno.h>
#include <cmocka.h>

#include "fabric/base/idmap.h"
#include "fabric/base/rng.h"

static void idmap__empty(void **state)
{
	struct idmap m;

	(void)state;
	idmap_init(&m, 7);
	assert_null(idmap_get(&m, 1));
	assert_null(idmap_remove(&m, 1));
	idmap_fini(&m);
	idmap_fini(&m);
}

static void idmap__key_zero_and_all_ones_are_keys(void **state)
{
	struct idmap m;
	int a, b;

	(void)state;
	idmap_init(&m, 7);
	assert_int_equal(idmap_insert(&m, 0, &a), 0);
	assert_int_equal(idmap_insert(&m, UINT64_MAX, &b), 0);
	assert_int_equal(idmap_insert(&m, 0, &b), -EEXIST);
	assert_ptr_equal(idmap_get(&m, 0), &a);
	assert_ptr_equal(idmap_get(&m, UINT64_MAX), &b);
	assert_ptr_equal(idmap_remove(&m, 0), &a);
	assert_null(idmap_get(&m, 0));
	assert_int_equal(m.count, 1);
	idmap_fini(&m);
}

/* The twin: an array indexed by the key. Few keys, so that inserts and removals collide a lot. */
#define KEYS 600

static void idmap__agrees_with_an_array(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 20; seed++) {
		void *twin[KEYS] = {0};
		size_t count = 0;
		struct idmap m;
		struct rng r;

		rng_init(&r, seed);
		idmap_init(&m, rng_u64(&r));
		for (int step = 0; step < 20000; step++) {
			/* Phases of growth and of shrinking. */
			int grow = (step / 2000) % 2 == 0;
			uint64_t key = rng_below(&r, KEYS);
			uint64_t wire = key * 0x100000001ull;
			void *v = (void *)(uintptr_t)(step + 1);

			if (rng_below(&r, 3) < (grow ? 2 : 1)) {
				assert_int_equal(idmap_insert(&m, wire, v), twin[key] ? -EEXIST : 0);
				count += !twin[key];
				twin[key] = twin[key] ? twin[key] : v;
			} else {
				assert_ptr_equal(idmap_remove(&m, wire), twin[key]);
				count -= twin[key] != NULL;
				twin[key] = NULL;
			}
			assert_int_equal(m.count, count);
			if (step % 500 == 0)
				for (uint64_t k = 0; k < KEYS; k++)
					assert_ptr_equal(idmap_get(&m, k * 0x100000001ull), twin[k]);
		}
		idmap_fini(&m);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(idmap__empty),
		cmocka_unit_test(idmap__key_zero_and_all_ones_are_keys),
		cmocka_unit_test(idmap__agrees_with_an_array),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

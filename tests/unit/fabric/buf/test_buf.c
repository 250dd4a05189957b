/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "fabric/base/rng.h"
#include "fabric/buf/buf.h"

static void buf_pool__gives_count_then_null(void **state)
{
	struct buf_pool *p = buf_pool_create(3, 100);
	struct buf *b[3];

	(void)state;
	for (int i = 0; i < 3; i++) {
		b[i] = buf_get(p);
		assert_non_null(b[i]);
		assert_int_equal(b[i]->refs, 1);
		assert_int_equal(b[i]->size, 100);
		assert_int_equal((uintptr_t)b[i]->base % 64, 0);
		memset(b[i]->base, i, 100);
	}
	assert_null(buf_get(p));
	assert_int_equal(buf_pool_available(p), 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(b[i]->base[99], i);
		buf_put(b[i]);
	}
	assert_int_equal(buf_pool_available(p), 3);
	buf_pool_destroy(p);
}

static void buf_pool__last_put_is_first_out(void **state)
{
	struct buf_pool *p = buf_pool_create(4, 64);
	struct buf *a = buf_get(p), *b = buf_get(p);

	(void)state;
	buf_put(a);
	buf_put(b);
	assert_ptr_equal(buf_get(p), b);
	buf_put(b);
	buf_pool_destroy(p);
}

static void buf__returns_at_the_last_reference(void **state)
{
	struct buf_pool *p = buf_pool_create(1, 64);
	struct buf *b = buf_get(p);

	(void)state;
	buf_ref(b);
	buf_put(b);
	assert_null(buf_get(p));
	buf_put(b);
	assert_int_equal(buf_pool_available(p), 1);
	buf_pool_destroy(p);
}

static uint32_t distinct(struct buf *const *held, uint32_t n)
{
	uint32_t count = 0;

	for (uint32_t j = 0; j < n; j++) {
		uint32_t k = 0;

		while (held[k] != held[j])
			k++;
		count += k == j;
	}
	return count;
}

static void buf_pool__conserves_buffers(void **state)
{
	struct buf_pool *p = buf_pool_create(50, 32);
	struct buf *held[200];
	uint32_t nheld = 0;
	struct rng r;

	(void)state;
	rng_init(&r, 3);
	for (int i = 0; i < 20000; i++) {
		struct buf *b;

		switch (rng_below(&r, 3)) {
		case 0:
			b = nheld < 200 ? buf_get(p) : NULL;
			if (b)
				held[nheld++] = b;
			break;
		case 1:
			if (nheld && nheld < 200) {
				b = held[rng_below(&r, nheld)];
				buf_ref(b);
				held[nheld++] = b;
			}
			break;
		default:
			if (nheld) {
				uint64_t at = rng_below(&r, nheld);

				buf_put(held[at]);
				held[at] = held[--nheld];
			}
		}
		if (i % 100 == 0)
			assert_int_equal(distinct(held, nheld) + buf_pool_available(p), 50);
	}
	while (nheld)
		buf_put(held[--nheld]);
	assert_int_equal(buf_pool_available(p), 50);
	buf_pool_destroy(p);
	buf_pool_destroy(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(buf_pool__gives_count_then_null),
		cmocka_unit_test(buf_pool__last_put_is_first_out),
		cmocka_unit_test(buf__returns_at_the_last_reference),
		cmocka_unit_test(buf_pool__conserves_buffers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

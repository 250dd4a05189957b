/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "fabric/base/cursor.h"

static void cursor__writes_what_it_reads(void **state)
{
	uint8_t b[15];
	struct cur_w w;
	struct cur_r r;

	(void)state;
	cur_w_init(&w, b, sizeof(b));
	cur_put_u8(&w, 1);
	cur_put_u16(&w, 0x0203);
	cur_put_u32(&w, 0x04050607);
	cur_put_u64(&w, 0x08090a0b0c0d0e0full);
	assert_false(w.bad);
	for (unsigned i = 0; i < sizeof(b); i++)
		assert_int_equal(b[i], i + 1);
	cur_r_init(&r, b, sizeof(b));
	assert_int_equal(cur_u8(&r), 1);
	assert_int_equal(cur_u16(&r), 0x0203);
	assert_int_equal(cur_u32(&r), 0x04050607);
	assert_true(cur_u64(&r) == 0x08090a0b0c0d0e0full);
	assert_true(cur_ok(&r));
}

static void cursor__end_is_a_wall(void **state)
{
	uint8_t b[4] = {1, 2, 3, 4};
	struct cur_w w;
	struct cur_r r;

	(void)state;
	cur_r_init(&r, b, 3);
	assert_int_equal(cur_u32(&r), 0);
	assert_false(cur_ok(&r));
	assert_int_equal(cur_u8(&r), 0); /* bad stays bad although a byte is left */
	cur_w_init(&w, b, 3);
	cur_put_u32(&w, 0xffffffff);
	cur_put_u8(&w, 0xff);
	assert_true(w.bad);
	assert_memory_equal(b, "\1\2\3\4", 4);
	cur_r_init(&r, b, 4);
	assert_null(cur_take(&r, SIZE_MAX));
	assert_null(cur_take(&r, 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cursor__writes_what_it_reads),
		cmocka_unit_test(cursor__end_is_a_wall),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

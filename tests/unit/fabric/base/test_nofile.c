/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <sys/resource.h>
#include <cmocka.h>

#include "fabric/base/nofile.h"

static void nofile__soft_limit_goes_up_to_the_hard_one(void **state)
{
	struct rlimit files;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
	files.rlim_cur = files.rlim_max / 2;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
	assert_int_equal(nofile_raise(), files.rlim_max);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
	assert_int_equal(files.rlim_cur, files.rlim_max);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(nofile__soft_limit_goes_up_to_the_hard_one)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

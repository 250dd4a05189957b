/* SPDX-License-Identifier: Apache-2.0 */
/* Sizes, spans and times as people write and read them. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "appliance/cli/cli.h"

#define K 1024ull

static void sizes_are_read(void **state)
{
	static const struct {
		const char *text;
		int ret;
		uint64_t bytes;
	} rows[] = {
		{"0", 0, 0},
		{"4096", 0, 4096},
		{"4096B", 0, 4096},
		{"1K", 0, K},
		{"1k", 0, K},
		{"1KiB", 0, K},
		{"512M", 0, 512 * K * K},
		{"512MB", 0, 512 * K * K},
		{"10G", 0, 10 * K * K * K},
		{"10Gi", 0, 10 * K * K * K},
		{"1.5T", 0, 3 * K * K * K * K / 2},
		{"0.25K", 0, 256},
		{"1.000000000000001M", 0, K * K},
		{"15E", 0, 15 * K * K * K * K * K * K},
		{"16E", -ERANGE, 0},
		{"18446744073709551615", 0, UINT64_MAX},
		{"18446744073709551616", -ERANGE, 0},
		{"18446744073709551615K", -ERANGE, 0},
		{"", -EINVAL, 0},
		{"G", -EINVAL, 0},
		{"-1", -EINVAL, 0},
		{" 1", -EINVAL, 0},
		{"+1", -EINVAL, 0},
		{"1.5", -EINVAL, 0},
		{"10X", -EINVAL, 0},
		{"10GG", -EINVAL, 0},
		{"10G ", -EINVAL, 0},
		{"0x10", -EINVAL, 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		uint64_t bytes = 0;
		int ret = cli_size_parse(rows[i].text, &bytes);

		if (ret != rows[i].ret || (!ret && bytes != rows[i].bytes))
			fail_msg("\"%s\": %d, %llu", rows[i].text, ret, (unsigned long long)bytes);
	}
}

static void sizes_are_written(void **state)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} rows[] = {
		{0, "0"},
		{1023, "1023"},
		{K, "1K"},
		{K + K / 2, "1.5K"},
		{1023 * K, "1023K"},
		{K * K - 1, "1M"},
		{10 * K * K * K, "10G"},
		{10 * K * K * K + 1, "10G"},
		{UINT64_MAX, "16E"},
	};
	char text[32];

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		cli_size_text(rows[i].bytes, text, sizeof text);
		assert_string_equal(text, rows[i].text);
	}
	/* What is written can be read, and is the same as far as it is exact. */
	for (uint64_t b = 1; b; b <<= 1) {
		uint64_t back;

		cli_size_text(b, text, sizeof text);
		assert_int_equal(cli_size_parse(text, &back), 0);
		assert_true(back == b);
	}
}

static void spans_and_times(void **state)
{
	char text[64];

	(void)state;
	cli_span_text(-5, text, sizeof text);
	assert_string_equal(text, "0s");
	cli_span_text(59, text, sizeof text);
	assert_string_equal(text, "59s");
	cli_span_text(3599, text, sizeof text);
	assert_string_equal(text, "59m59s");
	cli_span_text(86399, text, sizeof text);
	assert_string_equal(text, "23h59m");
	cli_span_text(90000, text, sizeof text);
	assert_string_equal(text, "1d1h");
	cli_time_text(1700000000, 1700000061, text, sizeof text);
	assert_string_equal(text, "2023-11-14 22:13:20Z (1m1s ago)");
	cli_time_text(1700000000, 1699999990, text, sizeof text);
	assert_string_equal(text, "2023-11-14 22:13:20Z (in 10s)");
}

static void numbers(void **state)
{
	uint64_t v;

	(void)state;
	assert_int_equal(cli_uint_parse("65535", 65535, &v), 0);
	assert_int_equal(cli_uint_parse("65536", 65535, &v), -ERANGE);
	assert_int_equal(cli_uint_parse("99999999999999999999", UINT64_MAX, &v), -ERANGE);
	assert_int_equal(cli_uint_parse("-1", UINT64_MAX, &v), -EINVAL);
	assert_int_equal(cli_uint_parse("1x", 9, &v), -EINVAL);
	assert_int_equal(cli_uint_parse("", 9, &v), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes_are_read),
		cmocka_unit_test(sizes_are_written),
		cmocka_unit_test(spans_and_times),
		cmocka_unit_test(numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

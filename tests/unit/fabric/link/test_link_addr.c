/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <errno.h>
#include <string.h>
#include <cmocka.h>

#include "fabric/link/link.h"

static void link_addr__parses_and_formats(void **state)
{
	static const struct {
		const char *text, *back;
	} good[] = {
		{"10.0.0.1:4793", "10.0.0.1:4793"},
		{"10.0.0.1", "10.0.0.1:7"},
		{"[fd00::1]:1", "[fd00::1]:1"},
		{"fd00::1", "[fd00::1]:7"},
		{"[fd00::1]", "[fd00::1]:7"},
		{"::", "[::]:7"},
		{"0.0.0.0:0", "0.0.0.0:0"},
		{"[::ffff:10.1.2.3]:65535", "10.1.2.3:65535"},
		{"[ff02:1234:5678:9abc:def0:1234:5678:9abc]:65535",
		 "[ff02:1234:5678:9abc:def0:1234:5678:9abc]:65535"},
	};
	struct link_addr a, b;
	char out[LINK_ADDR_STR];

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(link_addr_parse(&a, good[i].text, 7), 0);
		link_addr_format(&a, out);
		assert_string_equal(out, good[i].back);
		assert_int_equal(link_addr_parse(&b, out, 9), 0);
		assert_true(link_addr_equal(&a, &b));
		b.port ^= 1;
		assert_false(link_addr_equal(&a, &b));
		b.port ^= 1;
		b.ip[15] ^= 1;
		assert_false(link_addr_equal(&a, &b));
	}
}

static void link_addr__refuses(void **state)
{
	static const char *const bad[] = {
		"",
		":",
		"10.0.0.1:",
		"10.0.0.1:65536",
		"10.0.0.1:-1",
		"10.0.0.1:+1",
		"10.0.0:1",
		"10.0.0.256:1",
		"host:1",
		"[fd00::1",
		"[fd00::1]x",
		"[fd00::1]:",
		"[10.0.0.1]:1",
		"fd00::1%eth0",
		"[]:1",
		"[::1]:999999",
		"10.0.0.1:1:2",
		" 10.0.0.1",
		"[fd00:fd00:fd00:fd00:fd00:fd00:fd00:fd00:fd00:fd00:fd00]:1",
	};
	struct link_addr a, before;

	(void)state;
	memset(&a, 0x5a, sizeof(a));
	before = a;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(link_addr_parse(&a, bad[i], 7), -EINVAL);
		assert_memory_equal(&a, &before, sizeof(a));
	}
}

static void link__counters_have_names(void **state)
{
	(void)state;
	assert_string_equal(link_counter_names[LINK_C_rx_packets], "rx_packets");
	assert_string_equal(link_counter_names[LINK_NCOUNTERS - 1], "drop_impaired");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(link_addr__parses_and_formats),
		cmocka_unit_test(link_addr__refuses),
		cmocka_unit_test(link__counters_have_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The proto3 JSON mapping, both ways, and what it must refuse. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "appliance/control/json.h"
#include "appliance/control/json_impl.h"
#include "proto/api/outrigger.pb-c.h"

#define VNIC	(&outrigger__v1__vnic__descriptor)
#define PROFILE (&outrigger__v1__profile__descriptor)
#define POOL	(&outrigger__v1__storage_pool__descriptor)
#define VOLUME	(&outrigger__v1__volume__descriptor)
#define HSTATUS (&outrigger__v1__host_status__descriptor)

/* in -> message -> out */
static const struct {
	const ProtobufCMessageDescriptor *d;
	const char *in, *out;
} round_trips[] = {
	{VNIC, "{}", "{}"},
	{VNIC, "{\"name\":\"v1\",\"mtu\":1500}", "{\"name\":\"v1\",\"mtu\":1500}"},
	{VNIC, "{\"ip_addresses\":[\"10.0.0.1\",\"::1\"]}", "{\"ipAddresses\":[\"10.0.0.1\",\"::1\"]}"},
	{VNIC, "{\"ipAddresses\":[]}", "{}"},
	{VNIC, "{\"name\":null,\"mtu\":null,\"status\":null}", "{}"},
	{VNIC, "{\"mtu\":0,\"name\":\"\"}", "{}"},
	{VNIC, "{\"mtu\":\"1500\"}", "{\"mtu\":1500}"},
	{VNIC, "{\"mtu\":1.5e3}", "{\"mtu\":1500}"},
	{VNIC, "{\"frontend\":\"VNIC_FRONTEND_TAP\"}", "{\"frontend\":\"VNIC_FRONTEND_TAP\"}"},
	{VNIC, "{\"frontend\":2}", "{\"frontend\":\"VNIC_FRONTEND_TAP\"}"},
	{VNIC, "{\"frontend\":77}", "{\"frontend\":77}"},
	{VOLUME, "{\"sizeBytes\":\"18446744073709551615\"}", "{\"sizeBytes\":\"18446744073709551615\"}"},
	{VOLUME, "{\"size_bytes\":4096}", "{\"sizeBytes\":\"4096\"}"},
	{HSTATUS, "{\"connectedSince\":\"-9223372036854775808\"}",
	 "{\"connectedSince\":\"-9223372036854775808\"}"},
	{HSTATUS, "{\"paths\":[{\"local\":\"a\",\"rttUs\":7},{}]}",
	 "{\"paths\":[{\"local\":\"a\",\"rttUs\":7},{}]}"},
	{HSTATUS, "{\"counters\":{\"rx\":\"5\",\"tx\":6}}", "{\"counters\":{\"rx\":\"5\",\"tx\":\"6\"}}"},
	{PROFILE, "{\"labels\":{\"a\":\"b\",\"\":\"\"}}", "{\"labels\":{\"a\":\"b\",\"\":\"\"}}"},
	{POOL, "{\"directory\":{}}", "{\"directory\":{}}"},
	{POOL, "{\"memory\":{\"capacityBytes\":\"1\"},\"directory\":null}",
	 "{\"memory\":{\"capacityBytes\":\"1\"}}"},
	{VNIC, "{\"description\":\"\\u00fc \\\"x\\\"\"}", "{\"description\":\"\xc3\xbc \\\"x\\\"\"}"},
};

static void values_come_through(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(round_trips) / sizeof(round_trips[0]); i++) {
		ProtobufCMessage *m;
		struct api_err err = {.msg = ""};
		char *text;

		if (json_decode(round_trips[i].in, strlen(round_trips[i].in), round_trips[i].d, &m, &err))
			fail_msg("%s: %s", round_trips[i].in, err.msg);
		text = json_encode(m);
		assert_string_equal(text, round_trips[i].out);
		free(text);
		protobuf_c_message_free_unpacked(m, NULL);
	}
}

/* in -> error that has these words */
static const struct {
	const ProtobufCMessageDescriptor *d;
	const char *in, *words;
} bad[] = {
	{VNIC, "", "not JSON"},
	{VNIC, "{", "not JSON"},
	{VNIC, "{} x", "not JSON"},
	{VNIC, "{\"a\":\"\xff\"}", "not JSON"},
	{VNIC, "{\"name\":\"a\",\"name\":\"b\"}", "not JSON"},
	{VNIC, "[]", "expected an object"},
	{VNIC, "{\"mac_addr\":\"x\"}", "unknown field \"mac_addr\""},
	{VNIC, "{\"ip_addresses\":[],\"ipAddresses\":[]}", "ip_addresses: is there twice"},
	{VNIC, "{\"name\":5}", "name: expected a string"},
	{VNIC, "{\"mtu\":-1}", "mtu: expected an integer"},
	{VNIC, "{\"mtu\":4294967296}", "mtu: expected an integer"},
	{VNIC, "{\"mtu\":1.5}", "mtu: expected an integer"},
	{VNIC, "{\"mtu\":\" 1\"}", "mtu: expected an integer"},
	{VNIC, "{\"mtu\":\"0x10\"}", "mtu: expected an integer"},
	{VNIC, "{\"mtu\":\"\"}", "mtu: expected an integer"},
	{VNIC, "{\"mtu\":true}", "mtu: expected an integer"},
	{VNIC, "{\"frontend\":\"NOPE\"}", "frontend: \"NOPE\" is not a value of VNicFrontend"},
	{VNIC, "{\"ipAddresses\":\"10.0.0.1\"}", "ip_addresses: expected an array"},
	{VNIC, "{\"ipAddresses\":{\"a\":1}}", "ip_addresses: expected an array"},
	{VNIC, "{\"ipAddresses\":[\"a\",null]}", "ip_addresses[1]: null"},
	{VNIC, "{\"status\":{\"counters\":[]}}", "status.counters: expected an object"},
	{VNIC, "{\"status\":{\"counters\":{\"x\":\"y\"}}}", "status.counters[\"x\"]: expected an integer"},
	{VOLUME, "{\"sizeBytes\":\"18446744073709551616\"}", "size_bytes: expected an integer"},
	{VOLUME, "{\"sizeBytes\":\"-1\"}", "size_bytes: expected an integer"},
	{HSTATUS, "{\"connectedSince\":\"9223372036854775808\"}", "connected_since: expected an integer"},
	{HSTATUS, "{\"paths\":[{\"local\":\"a\"},{\"local\":3}]}", "paths[1].local: expected a string"},
	{POOL, "{\"directory\":{\"path\":\"/a\"},\"memory\":{}}", "memory: another member of the same oneof"},
};

static void bad_input_names_the_field(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		ProtobufCMessage *m = NULL;
		struct api_err err = {.msg = ""};

		if (json_decode(bad[i].in, strlen(bad[i].in), bad[i].d, &m, &err) == 0)
			fail_msg("was taken: %s", bad[i].in);
		assert_null(m);
		assert_int_equal(err.code, API_INVALID_ARGUMENT);
		if (!strstr(err.msg, bad[i].words))
			fail_msg("%s: no \"%s\" in: %s", bad[i].in, bad[i].words, err.msg);
	}
}

static void depth_of_text_is_bounded(void **state)
{
	enum { N = 100000 };
	char *text = malloc(N + 1);
	ProtobufCMessage *m;
	struct api_err err;

	(void)state;
	memset(text, '[', N);
	text[N] = '\0';
	assert_int_equal(json_decode(text, N, VNIC, &m, &err), -1);
	free(text);
}

static void base64_of_every_kind(void **state)
{
	static const struct {
		const char *text;
		int len; /* -1: refused */
	} cases[] = {{"", 0},	   {"AA==", 1},	 {"AA", 1},	{"AAA=", 2}, {"AAA", 2},
		     {"AAAA", 3},  {"-_-_", 3},	 {"+/+/", 3},	{"A", -1},   {"AA=", -1},
		     {"A===", -1}, {"A A=", -1}, {"AA==AA", -1}};
	bool ok;
	size_t len;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint8_t *b = json_base64_decode(cases[i].text, &len, &ok);

		assert_int_equal(ok, cases[i].len >= 0);
		if (ok)
			assert_int_equal(len, cases[i].len);
		free(b);
	}
	for (size_t n = 0; n < 8; n++) {
		static const uint8_t bytes[] = {0xff, 0, 0xfb, 1, 2, 0x80, 3, 4};
		char *text = json_base64_encode(bytes, n);
		uint8_t *back = json_base64_decode(text, &len, &ok);

		assert_true(ok);
		assert_int_equal(len, n);
		assert_memory_equal(back, bytes, n);
		free(text);
		free(back);
	}
}

static void strings_are_checked_text(void **state)
{
	static const struct {
		const char *text;
		bool ok;
	} cases[] = {{"plain\ttext\n", true},
		     {"\xc3\xbc\xe2\x82\xac\xf0\x9f\x98\x80", true},
		     {"\x80", false},
		     {"\xc0\x80", false},
		     {"\xe0\x80\x80", false},
		     {"\xed\xa0\x80", false},
		     {"\xf4\x90\x80\x80", false},
		     {"\xc3", false},
		     {"\x1b[31m", false},
		     {"\x7f", false}};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		Outrigger__V1__Profile p = OUTRIGGER__V1__PROFILE__INIT;
		Outrigger__V1__Profile__LabelsEntry e = OUTRIGGER__V1__PROFILE__LABELS_ENTRY__INIT,
						    *list[] = {&e};
		struct api_err err;

		e.key = (char *)(uintptr_t) "k";
		e.value = (char *)(uintptr_t)cases[i].text;
		p.labels = list;
		p.n_labels = 1;
		assert_int_equal(message_check_strings(&p.base, &err) == 0, cases[i].ok);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_come_through),	    cmocka_unit_test(bad_input_names_the_field),
		cmocka_unit_test(depth_of_text_is_bounded), cmocka_unit_test(base64_of_every_kind),
		cmocka_unit_test(strings_are_checked_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The rules of the desired state, as tables: a call in JSON, and the error it must give. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "appliance/control/json.h"
#include "appliance/control/model.h"

#define MIB (1ull << 20)

static struct model *m;
static struct pool_bytes space;
static int space_error;
static uint8_t dice; /* of the fake random bytes */

static int fake_pool_bytes(void *ctx, const char *pool, struct pool_bytes *out)
{
	(void)ctx, (void)pool;
	*out = space;
	return space_error;
}

static void fake_random(void *ctx, void *buf, size_t len)
{
	(void)ctx;
	memset(buf, dice++, len);
}

static ProtobufCMessage *parse(enum kind k, const char *json)
{
	ProtobufCMessage *in = NULL;
	struct api_err err;

	if (json_decode(json, strlen(json), kind_info(k)->desc, &in, &err))
		fail_msg("%s: %s", json, err.msg);
	return in;
}

static int create(enum kind k, const char *json, struct api_err *err)
{
	ProtobufCMessage *in = parse(k, json);
	struct change chg;
	int rc = model_prepare_create(m, k, in, &chg, err);

	if (!rc)
		model_commit(m, &chg);
	change_clear(&chg);
	obj_free(in);
	return rc;
}

static int update(enum kind k, const char *json, const char *mask, struct api_err *err)
{
	ProtobufCMessage *in = parse(k, json);
	struct change chg;
	int rc = model_prepare_update(m, k, in, mask, &chg, err);

	if (!rc)
		model_commit(m, &chg);
	change_clear(&chg);
	obj_free(in);
	return rc;
}

static int erase(enum kind k, const char *name, uint64_t revision, struct api_err *err)
{
	struct change chg;
	int rc = model_prepare_delete(m, k, name, revision, &chg, err);

	if (!rc)
		model_commit(m, &chg);
	change_clear(&chg);
	return rc;
}

static void must_create(enum kind k, const char *json)
{
	struct api_err err = {.msg = ""};

	if (create(k, json, &err))
		fail_msg("%s: %s", json, err.msg);
}

static void must_update(enum kind k, const char *json, const char *mask)
{
	struct api_err err = {.msg = ""};

	if (update(k, json, mask, &err))
		fail_msg("%s: %s", json, err.msg);
}

/* Everything there is, as text: to see that nothing changed. */
static char *snapshot(void)
{
	char *text = strdup("");

	for (enum kind k = 0; k < NKINDS; k++) {
		for (size_t i = 0; i < model_count(m, k); i++) {
			char *one = json_encode(model_at(m, k, i)), *more = NULL;

			assert_true(asprintf(&more, "%s%s\n", text, one) >= 0);
			free(text);
			free(one);
			text = more;
		}
	}
	return text;
}

static int setup(void **state)
{
	struct model_env env = {.pool_bytes = fake_pool_bytes, .random = fake_random};

	(void)state;
	space = (struct pool_bytes){.capacity = 64 * MIB, .used = 0, .free = 64 * MIB};
	space_error = 0;
	dice = 1;
	assert_int_equal(model_new(&env, &m), 0);
	must_create(KIND_HOST, "{\"name\":\"h1\"}");
	must_create(KIND_HOST, "{\"name\":\"h2\"}");
	must_create(KIND_PROFILE, "{\"name\":\"p1\",\"host\":\"h1\",\"labels\":{\"a\":\"b\"}}");
	must_create(KIND_PROFILE, "{\"name\":\"p2\",\"host\":\"h2\"}");
	must_create(KIND_PORT, "{\"name\":\"up0\",\"device\":\"net_null0\"}");
	must_create(KIND_PORT, "{\"name\":\"up1\",\"device\":\"net_null1\"}");
	must_create(KIND_UPLINK_GROUP, "{\"name\":\"lan\",\"ports\":[\"up0\"]}");
	must_create(KIND_NETWORK, "{\"name\":\"n1\",\"uplinkGroup\":\"lan\",\"vlan\":100}");
	must_create(KIND_NETWORK, "{\"name\":\"n2\"}");
	must_create(KIND_VNIC,
		    "{\"name\":\"v1\",\"profile\":\"p1\",\"network\":\"n1\",\"mac\":\"02:00:5E:00:00:01\"}");
	must_create(
		KIND_VNIC,
		"{\"name\":\"t1\",\"profile\":\"p1\",\"network\":\"n1\",\"frontend\":\"VNIC_FRONTEND_TAP\"}");
	must_create(
		KIND_VNIC,
		"{\"name\":\"t2\",\"profile\":\"p2\",\"network\":\"n1\",\"frontend\":\"VNIC_FRONTEND_TAP\","
		"\"tapName\":\"t1\"}");
	must_create(KIND_POOL, "{\"name\":\"s1\",\"directory\":{\"path\":\"/srv/p\"}}");
	must_create(KIND_VOLUME, "{\"name\":\"vol1\",\"pool\":\"s1\",\"sizeBytes\":\"33554432\"}");
	must_create(KIND_VOLUME, "{\"name\":\"vol2\",\"pool\":\"s1\",\"sizeBytes\":\"1048576\"}");
	must_create(KIND_VDISK, "{\"name\":\"d1\",\"profile\":\"p1\",\"volume\":\"vol1\"}");
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	model_free(m);
	return 0;
}

#define V "\"profile\":\"p1\",\"network\":\"n1\""
static const struct {
	enum kind k;
	const char *json;
	enum api_code code;
	const char *words; /* the message begins with the field */
} bad_creates[] = {
	{KIND_HOST, "{}", API_INVALID_ARGUMENT, "name: is missing"},
	{KIND_HOST, "{\"name\":\"H1\"}", API_INVALID_ARGUMENT, "name: must be"},
	{KIND_HOST, "{\"name\":\"1h\"}", API_INVALID_ARGUMENT, "name: must be"},
	{KIND_HOST, "{\"name\":\"a/b\"}", API_INVALID_ARGUMENT, "name: must be"},
	{KIND_HOST, "{\"name\":\"a2345678901234567890123456789012345678901234567890123456789012_4\"}",
	 API_INVALID_ARGUMENT, "name: must be"},
	{KIND_HOST, "{\"name\":\"h1\"}", API_ALREADY_EXISTS, "name: host \"h1\" already exists"},
	{KIND_PROFILE, "{\"name\":\"x\",\"host\":\"nope\"}", API_INVALID_ARGUMENT,
	 "host: host \"nope\" does not exist"},
	{KIND_PROFILE, "{\"name\":\"x\",\"labels\":{\"\":\"v\"}}", API_INVALID_ARGUMENT, "labels:"},
	{KIND_VNIC, "{\"name\":\"x\",\"network\":\"n1\"}", API_INVALID_ARGUMENT, "profile: is missing"},
	{KIND_VNIC, "{\"name\":\"x\",\"profile\":\"p1\"}", API_INVALID_ARGUMENT, "network: is missing"},
	{KIND_VNIC, "{\"name\":\"x\"," V ",\"mac\":\"02:00:5e:00:00:01\"}", API_ALREADY_EXISTS, "mac: "},
	{KIND_VNIC, "{\"name\":\"x\"," V ",\"mac\":\"01:00:5e:00:00:01\"}", API_INVALID_ARGUMENT, "mac: "},
	{KIND_VNIC, "{\"name\":\"x\"," V ",\"mac\":\"00:00:00:00:00:00\"}", API_INVALID_ARGUMENT, "mac: "},
	{KIND_VNIC, "{\"name\":\"x\"," V ",\"mac\":\"02:00:5e:00:00\"}", API_INVALID_ARGUMENT, "mac: "},
	{KIND_VNIC, "{\"name\":\"x\"," V ",\"mac\":\"02:00:5e:00:00:01:\"}", API_INVALID_ARGUMENT, "mac: "},
	{KIND_VNIC, "{\"name\":\"x\"," V ",\"ipAddresses\":[\"10.0.0.300\"]}", API_INVALID_ARGUMENT,
	 "ip_addresses: "},
	{KIND_VNIC, "{\"name\":\"x\"," V ",\"ipAddresses\":[\"::1\",\"0:0::1\"]}", API_INVALID_ARGUMENT,
	 "ip_addresses: ::1 is there twice"},
	{KIND_VNIC, "{\"name\":\"x\"," V ",\"mtu\":575}", API_INVALID_ARGUMENT,
	 "mtu: 575 is out of range 576..9000"},
	{KIND_VNIC, "{\"name\":\"x\"," V ",\"mtu\":9001}", API_INVALID_ARGUMENT, "mtu: "},
	{KIND_VNIC, "{\"name\":\"x\"," V ",\"queues\":9}", API_INVALID_ARGUMENT, "queues: "},
	{KIND_VNIC, "{\"name\":\"x\"," V ",\"frontend\":9}", API_INVALID_ARGUMENT, "frontend: "},
	{KIND_VNIC, "{\"name\":\"x\"," V ",\"tapName\":\"a\"}", API_INVALID_ARGUMENT, "tap_name: only"},
	{KIND_VNIC, "{\"name\":\"x\"," V ",\"frontend\":2,\"tapName\":\"a/b\"}", API_INVALID_ARGUMENT,
	 "tap_name: "},
	{KIND_VNIC, "{\"name\":\"x\"," V ",\"frontend\":2,\"tapName\":\"..\"}", API_INVALID_ARGUMENT,
	 "tap_name: "},
	{KIND_VNIC, "{\"name\":\"x-longer-than-15\"," V ",\"frontend\":2}", API_INVALID_ARGUMENT,
	 "tap_name: "},
	{KIND_VNIC, "{\"name\":\"x\"," V ",\"frontend\":2,\"tapName\":\"t1\"}", API_ALREADY_EXISTS,
	 "tap_name: "},
	{KIND_VDISK, "{\"name\":\"x\",\"profile\":\"p1\"}", API_INVALID_ARGUMENT, "volume: is missing"},
	{KIND_VDISK, "{\"name\":\"x\",\"profile\":\"p1\",\"volume\":\"vol1\"}", API_ALREADY_EXISTS,
	 "volume: \"vol1\""},
	{KIND_VDISK,
	 "{\"name\":\"x\",\"profile\":\"p1\",\"volume\":\"vol2\",\"serial\":\"123456789012345678901\"}",
	 API_INVALID_ARGUMENT, "serial: "},
	{KIND_VDISK, "{\"name\":\"x\",\"profile\":\"p1\",\"volume\":\"vol2\",\"serial\":\"a b\"}",
	 API_INVALID_ARGUMENT, "serial: "},
	{KIND_VOLUME, "{\"name\":\"x\",\"sizeBytes\":\"1048576\"}", API_INVALID_ARGUMENT, "pool: is missing"},
	{KIND_VOLUME, "{\"name\":\"x\",\"pool\":\"s1\"}", API_INVALID_ARGUMENT, "size_bytes: is missing"},
	{KIND_VOLUME, "{\"name\":\"x\",\"pool\":\"s1\",\"sizeBytes\":\"1048577\"}", API_INVALID_ARGUMENT,
	 "size_bytes: "},
	{KIND_VOLUME, "{\"name\":\"x\",\"pool\":\"s1\",\"sizeBytes\":\"4096\"}", API_INVALID_ARGUMENT,
	 "size_bytes: "},
	{KIND_VOLUME, "{\"name\":\"x\",\"pool\":\"s1\",\"sizeBytes\":\"18446744073709547520\"}",
	 API_INVALID_ARGUMENT, "size_bytes: "},
	{KIND_VOLUME, "{\"name\":\"x\",\"pool\":\"s1\",\"sizeBytes\":\"32509952\"}", API_FAILED_PRECONDITION,
	 "size_bytes: "},
	{KIND_POOL, "{\"name\":\"x\"}", API_INVALID_ARGUMENT, "kind: "},
	{KIND_POOL, "{\"name\":\"x\",\"directory\":{}}", API_INVALID_ARGUMENT, "directory.path: is missing"},
	{KIND_POOL, "{\"name\":\"x\",\"directory\":{\"path\":\"a\"}}", API_INVALID_ARGUMENT,
	 "directory.path: must"},
	{KIND_POOL, "{\"name\":\"x\",\"directory\":{\"path\":\"/a/../b\"}}", API_INVALID_ARGUMENT,
	 "directory.path: must"},
	{KIND_POOL, "{\"name\":\"x\",\"directory\":{\"path\":\"/a/..\"}}", API_INVALID_ARGUMENT,
	 "directory.path: must"},
	{KIND_POOL, "{\"name\":\"x\",\"directory\":{\"path\":\"/srv/p\"}}", API_ALREADY_EXISTS,
	 "directory.path: "},
	{KIND_POOL, "{\"name\":\"x\",\"memory\":{}}", API_INVALID_ARGUMENT, "memory.capacity_bytes: "},
	{KIND_NETWORK, "{\"name\":\"x\",\"uplinkGroup\":\"lan\",\"vlan\":4095}", API_INVALID_ARGUMENT,
	 "vlan: 4095"},
	{KIND_NETWORK, "{\"name\":\"x\",\"vlan\":5}", API_INVALID_ARGUMENT, "vlan: "},
	{KIND_NETWORK, "{\"name\":\"x\",\"uplinkGroup\":\"lan\",\"vlan\":100}", API_ALREADY_EXISTS,
	 "vlan: 100"},
	{KIND_NETWORK, "{\"name\":\"x\",\"uplinkGroup\":\"nope\"}", API_INVALID_ARGUMENT, "uplink_group: "},
	{KIND_UPLINK_GROUP, "{\"name\":\"x\",\"ports\":[\"up0\"]}", API_ALREADY_EXISTS, "ports: \"up0\""},
	{KIND_UPLINK_GROUP, "{\"name\":\"x\",\"ports\":[\"up1\",\"up1\"]}", API_INVALID_ARGUMENT,
	 "ports: \"up1\""},
	{KIND_UPLINK_GROUP, "{\"name\":\"x\",\"ports\":[\"nope\"]}", API_INVALID_ARGUMENT, "ports: "},
	{KIND_PORT, "{\"name\":\"x\"}", API_INVALID_ARGUMENT, "device: is missing"},
	{KIND_PORT, "{\"name\":\"x\",\"device\":\"a b\"}", API_INVALID_ARGUMENT, "device: "},
	{KIND_PORT, "{\"name\":\"x\",\"device\":\"net_null0\"}", API_ALREADY_EXISTS, "device: "},
};

static void bad_creates_change_nothing(void **state)
{
	char *before = snapshot(), *after;
	uint64_t revision = model_revision(m);

	(void)state;
	for (size_t i = 0; i < sizeof(bad_creates) / sizeof(bad_creates[0]); i++) {
		struct api_err err = {.msg = ""};

		if (create(bad_creates[i].k, bad_creates[i].json, &err) == 0)
			fail_msg("was taken: %s", bad_creates[i].json);
		if (err.code != bad_creates[i].code ||
		    strncmp(err.msg, bad_creates[i].words, strlen(bad_creates[i].words)))
			fail_msg("%s: %s: %s", bad_creates[i].json, api_code_name(err.code), err.msg);
	}
	after = snapshot();
	assert_string_equal(before, after);
	assert_int_equal(model_revision(m), revision);
	free(before);
	free(after);
}

static const struct {
	enum kind k;
	const char *json, *mask;
	enum api_code code;
	const char *words;
} bad_updates[] = {
	{KIND_VNIC, "{\"name\":\"nope\"}", "", API_NOT_FOUND, "name: "},
	{KIND_VNIC, "{\"name\":\"v1\",\"mtu\":1400}", "mtu,nope", API_INVALID_ARGUMENT,
	 "update_mask: \"nope\""},
	{KIND_VNIC, "{\"name\":\"v1\"}", "uid", API_INVALID_ARGUMENT, "update_mask: uid"},
	{KIND_VNIC, "{\"name\":\"v1\"}", "status", API_INVALID_ARGUMENT, "update_mask: status"},
	{KIND_VNIC, "{\"name\":\"v1\"}", ",", API_INVALID_ARGUMENT, "update_mask: "},
	{KIND_VNIC, "{\"name\":\"v1\"}", "profile", API_INVALID_ARGUMENT, "profile: is missing"},
	{KIND_VNIC, "{\"name\":\"v1\",\"frontend\":2}", "", API_INVALID_ARGUMENT,
	 "frontend: cannot be changed"},
	{KIND_VNIC, "{\"name\":\"v1\",\"revision\":\"1\",\"mtu\":1400}", "", API_ABORTED, "revision: "},
	{KIND_VDISK, "{\"name\":\"d1\",\"volume\":\"vol2\"}", "", API_INVALID_ARGUMENT,
	 "volume: cannot be changed"},
	{KIND_VOLUME, "{\"name\":\"vol1\",\"sizeBytes\":\"1048576\"}", "", API_INVALID_ARGUMENT,
	 "size_bytes: a volume cannot"},
	{KIND_VOLUME, "{\"name\":\"vol1\",\"sizeBytes\":\"67108864\"}", "", API_FAILED_PRECONDITION,
	 "size_bytes: "},
	{KIND_POOL, "{\"name\":\"s1\",\"memory\":{\"capacityBytes\":\"1048576\"}}", "", API_INVALID_ARGUMENT,
	 "memory: cannot"},
	{KIND_POOL, "{\"name\":\"s1\",\"directory\":{\"path\":\"/b\"}}", "directory", API_INVALID_ARGUMENT,
	 "directory: cannot"},
	{KIND_PORT, "{\"name\":\"up0\",\"device\":\"x\"}", "*", API_INVALID_ARGUMENT, "device: cannot"},
	{KIND_NETWORK, "{\"name\":\"n1\"}", "uplinkGroup", API_INVALID_ARGUMENT, "vlan: "},
	/* Moving p1 to h2 would make two interfaces t1 there. */
	{KIND_PROFILE, "{\"name\":\"p1\",\"host\":\"h2\"}", "host", API_FAILED_PRECONDITION,
	 "host: vnic \"t1\""},
};

static void bad_updates_change_nothing(void **state)
{
	char *before = snapshot(), *after;

	(void)state;
	for (size_t i = 0; i < sizeof(bad_updates) / sizeof(bad_updates[0]); i++) {
		struct api_err err = {.msg = ""};

		if (update(bad_updates[i].k, bad_updates[i].json, bad_updates[i].mask, &err) == 0)
			fail_msg("was taken: %s", bad_updates[i].json);
		if (err.code != bad_updates[i].code ||
		    strncmp(err.msg, bad_updates[i].words, strlen(bad_updates[i].words)))
			fail_msg("%s: %s: %s", bad_updates[i].json, api_code_name(err.code), err.msg);
	}
	after = snapshot();
	assert_string_equal(before, after);
	free(before);
	free(after);
}

static void defaults_are_shown(void **state)
{
	const Outrigger__V1__VNic *v = model_vnic(m, "v1");

	(void)state;
	assert_int_equal(v->mtu, 1500);
	assert_int_equal(v->queues, 1);
	assert_int_equal(v->frontend, OUTRIGGER__V1__VNIC_FRONTEND__VNIC_FRONTEND_VHOST_USER);
	assert_int_equal(v->spoof_check, OUTRIGGER__V1__TOGGLE__TOGGLE_ON);
	assert_int_equal(v->reliability, OUTRIGGER__V1__RELIABILITY__RELIABILITY_BOUNDED);
	assert_int_equal(v->admin_state, OUTRIGGER__V1__ADMIN_STATE__ADMIN_STATE_UP);
	assert_string_equal(v->mac, "02:00:5e:00:00:01");
	assert_int_equal(strlen(v->uid), 36);
	assert_int_equal(strlen(model_vdisk(m, "d1")->serial), 20);
	assert_string_equal(model_vnic(m, "t1")->tap_name, "t1");
	assert_int_equal(strlen(model_vnic(m, "t1")->mac), 17);
	assert_memory_equal(model_vnic(m, "t1")->mac, "02:4f:52:", 9);
	assert_true(strcmp(model_vnic(m, "t1")->mac, model_vnic(m, "t2")->mac) != 0);
}

/* Twice the same dice: the second draw meets the first and goes on. */
static void allotted_macs_are_unique(void **state)
{
	(void)state;
	dice = 100;
	must_create(KIND_VNIC, "{\"name\":\"a\"," V "}"); /* uid takes 100, mac 101 */
	dice = 100;
	must_create(KIND_VNIC, "{\"name\":\"b\"," V "}");
	assert_string_equal(model_vnic(m, "a")->mac, "02:4f:52:65:65:65");
	assert_string_equal(model_vnic(m, "b")->mac, "02:4f:52:66:66:66");
}

static void masks_choose_what_changes(void **state)
{
	(void)state;
	/* Named: also to the default. */
	must_update(KIND_VNIC, "{\"name\":\"v1\",\"ipAddresses\":[\"10.0.0.1\"],\"mtu\":9000}",
		    "ip_addresses,mtu");
	assert_int_equal(model_vnic(m, "v1")->n_ip_addresses, 1);
	must_update(KIND_VNIC, "{\"name\":\"v1\",\"mtu\":2000}", "ipAddresses");
	assert_int_equal(model_vnic(m, "v1")->n_ip_addresses, 0);
	assert_int_equal(model_vnic(m, "v1")->mtu, 9000);
	/* Named twice is named once. */
	must_update(KIND_VNIC, "{\"name\":\"v1\",\"mtu\":2000}", "mtu,mtu");
	assert_int_equal(model_vnic(m, "v1")->mtu, 2000);
	/* Empty: what is set. */
	must_update(KIND_PROFILE, "{\"name\":\"p2\",\"description\":\"x\"}", "");
	assert_string_equal(model_profile(m, "p2")->host, "h2");
	assert_string_equal(model_profile(m, "p2")->description, "x");
	/* Star: everything that may change. */
	must_update(KIND_PROFILE, "{\"name\":\"p2\"}", "*");
	assert_string_equal(model_profile(m, "p2")->host, "");
	assert_string_equal(model_profile(m, "p2")->description, "");
	must_update(KIND_VNIC, "{\"name\":\"v1\"," V "}", "*");
	assert_int_equal(model_vnic(m, "v1")->frontend,
			 OUTRIGGER__V1__VNIC_FRONTEND__VNIC_FRONTEND_VHOST_USER);
	assert_int_equal(model_vnic(m, "v1")->mtu, 1500);
	/* A fixed field that says what is already so does no harm. */
	must_update(KIND_POOL, "{\"name\":\"s1\",\"directory\":{\"path\":\"/srv/p\"},\"description\":\"d\"}",
		    "*");
	assert_string_equal(model_pool(m, "s1")->directory->path, "/srv/p");
}

static void revisions_grow_and_guard(void **state)
{
	uint64_t before = model_vnic(m, "v1")->revision, now = model_revision(m);
	char json[80];
	struct api_err err;

	(void)state;
	snprintf(json, sizeof(json), "{\"name\":\"v1\",\"revision\":\"%llu\",\"mtu\":1400}",
		 (unsigned long long)before);
	must_update(KIND_VNIC, json, "mtu");
	assert_int_equal(model_vnic(m, "v1")->revision, now + 1);
	assert_int_equal(update(KIND_VNIC, json, "mtu", &err), -1);
	assert_int_equal(err.code, API_ABORTED);
	assert_int_equal(erase(KIND_VNIC, "v1", before, &err), -1);
	assert_int_equal(err.code, API_ABORTED);
	assert_int_equal(erase(KIND_VNIC, "v1", now + 1, &err), 0);
	assert_null(model_vnic(m, "v1"));
}

static void what_is_used_cannot_be_deleted(void **state)
{
	static const struct {
		enum kind k;
		const char *name, *by;
	} used[] = {
		{KIND_HOST, "h1", "profile \"p1\""},	    {KIND_PROFILE, "p2", "vnic \"t2\""},
		{KIND_NETWORK, "n1", "vnic \"t1\""},	    {KIND_VOLUME, "vol1", "vdisk \"d1\""},
		{KIND_POOL, "s1", "volume \"vol1\""},	    {KIND_UPLINK_GROUP, "lan", "network \"n1\""},
		{KIND_PORT, "up0", "uplink-group \"lan\""},
	};
	struct api_err err;

	(void)state;
	for (size_t i = 0; i < sizeof(used) / sizeof(used[0]); i++) {
		assert_int_equal(erase(used[i].k, used[i].name, 0, &err), -1);
		assert_int_equal(err.code, API_FAILED_PRECONDITION);
		assert_non_null(strstr(err.msg, used[i].by));
	}
	assert_int_equal(erase(KIND_VDISK, "d1", 0, &err), 0);
	assert_int_equal(erase(KIND_VOLUME, "vol1", 0, &err), 0);
	assert_int_equal(erase(KIND_VOLUME, "vol1", 0, &err), -1);
	assert_int_equal(err.code, API_NOT_FOUND);
}

/* 33 MiB of 64 are promised. What others take from the file system counts too. */
static void space_is_promised_once(void **state)
{
	uint64_t left;
	struct api_err err;

	(void)state;
	assert_int_equal(model_pool_available(m, "s1", &left), 0);
	assert_int_equal(left, 31 * MIB);
	space = (struct pool_bytes){.capacity = 64 * MIB, .used = 30 * MIB, .free = 5 * MIB};
	assert_int_equal(model_pool_available(m, "s1", &left), 0);
	assert_int_equal(left, 2 * MIB); /* 3 MiB of what is promised are still to come out of the 5 */
	must_update(KIND_VOLUME, "{\"name\":\"vol2\",\"sizeBytes\":\"3145728\"}", "");
	assert_int_equal(update(KIND_VOLUME, "{\"name\":\"vol2\",\"sizeBytes\":\"4194304\"}", "", &err), -1);
	assert_int_equal(err.code, API_FAILED_PRECONDITION);
	space_error = -EIO;
	assert_int_equal(
		create(KIND_VOLUME, "{\"name\":\"x\",\"pool\":\"s1\",\"sizeBytes\":\"1048576\"}", &err), -1);
	assert_int_equal(err.code, API_UNAVAILABLE);
}

static void an_inverse_takes_a_change_back(void **state)
{
	char *before = snapshot(), *after;
	ProtobufCMessage *in = parse(KIND_VNIC, "{\"name\":\"v1\",\"mtu\":1400}");
	struct change chg, back;
	struct api_err err;

	(void)state;
	assert_int_equal(model_prepare_update(m, KIND_VNIC, in, "", &chg, &err), 0);
	model_commit(m, &chg);
	assert_int_equal(change_invert(&chg, &back), 0);
	model_commit(m, &back);
	change_clear(&chg);
	change_clear(&back);
	assert_int_equal(model_prepare_delete(m, KIND_VDISK, "d1", 0, &chg, &err), 0);
	model_commit(m, &chg);
	assert_null(model_vdisk(m, "d1"));
	assert_int_equal(change_invert(&chg, &back), 0);
	model_commit(m, &back);
	change_clear(&chg);
	change_clear(&back);
	after = snapshot();
	assert_string_equal(before, after);
	obj_free(in);
	free(before);
	free(after);
}

static void names_stay_sorted(void **state)
{
	struct api_err err;
	char json[40];

	(void)state;
	for (int i = 0; i < 100; i++) {
		snprintf(json, sizeof(json), "{\"name\":\"x%d\"}", i * 37 % 100);
		must_create(KIND_HOST, json);
	}
	assert_int_equal(model_count(m, KIND_HOST), 102);
	for (size_t i = 1; i < 102; i++)
		assert_true(strcmp(model_host_at(m, i - 1)->name, model_host_at(m, i)->name) < 0);
	assert_int_equal(erase(KIND_HOST, "x50", 0, &err), 0);
	assert_null(model_host(m, "x50"));
	assert_non_null(model_host(m, "x51"));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(bad_creates_change_nothing),
		T(bad_updates_change_nothing),
		T(defaults_are_shown),
		T(allotted_macs_are_unique),
		T(masks_choose_what_changes),
		T(revisions_grow_and_guard),
		T(what_is_used_cannot_be_deleted),
		T(space_is_promised_once),
		T(an_inverse_takes_a_change_back),
		T(names_stay_sorted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The first start, what changes do to the store, the data plane and the pools, what is told of them; with a
 * disk that is full as well. */
#include "tests/unit/appliance/control/control_world.h"

#include <sys/resource.h>
#include <sys/stat.h>

static mode_t mode_of(const char *file)
{
	struct stat st;

	assert_int_equal(stat(in_dir(file), &st), 0);
	return st.st_mode & 0777;
}

static void first_start_makes_what_is_needed(void **state)
{
	char *ca, *again, *api;
	char want[40];

	(void)state;
	assert_int_equal(mode_of("admin/admin.key"), 0600);
	assert_int_equal(mode_of("admin/token"), 0600);
	assert_int_equal(mode_of("pki/ca.key"), 0600);
	assert_int_equal(mode_of("pki/server.key"), 0600);
	assert_int_equal(mode_of("admin"), 0700);
	assert_int_equal(strlen(token), 64);
	api = slurp("admin/api");
	snprintf(want, sizeof(want), "127.0.0.1:%u\n", control_api_port(ctl));
	assert_string_equal(api, want);
	ca = slurp("admin/ca.crt");
	must("HostService/CreateHost", "{\"host\":{\"name\":\"h1\"}}");
	stop();
	start();
	again = slurp("admin/ca.crt");
	assert_string_equal(ca, again);
	must("HostService/GetHost", "{\"name\":\"h1\"}"); /* replayed */
	assert_true(says("HOST_STATE_PENDING"));
	free(ca);
	free(again);
	free(api);
}

static void a_volume_comes_grows_and_goes(void **state)
{
	(void)state;
	provision();
	must("VolumeService/CreateVolume",
	     "{\"volume\":{\"name\":\"a\",\"pool\":\"s1\",\"sizeBytes\":\"1048576\"}}");
	assert_true(says("\"allocatedBytes\":\"8192\""));
	must("VolumeService/UpdateVolume",
	     "{\"volume\":{\"name\":\"a\",\"sizeBytes\":\"2097152\"},\"updateMask\":\"sizeBytes\"}");
	must("VDiskService/CreateVDisk", "{\"vdisk\":{\"name\":\"d1\",\"profile\":\"p1\",\"volume\":\"a\"}}");
	assert_int_equal(call("VolumeService/DeleteVolume", "{\"name\":\"a\"}"), 400);
	assert_true(says("failed_precondition") && says("vdisk \\\"d1\\\""));
	must("VDiskService/DeleteVDisk", "{\"name\":\"d1\"}");
	must("VolumeService/DeleteVolume", "{\"name\":\"a\"}");
	assert_string_equal(answer.body, "{}");
	must("StoragePoolService/DeleteStoragePool", "{\"name\":\"s1\"}");
	assert_string_equal(
		effects, "create a 1048576; apply 1; resize a 2097152; apply 1; apply 1; apply 1; apply 0; "
			 "remove a; apply 0; close s1; ");
}

static void what_apply_refuses_is_taken_back(void **state)
{
	(void)state;
	provision();
	apply_mode = APPLY_REFUSE;
	assert_int_equal(call("VolumeService/CreateVolume",
			      "{\"volume\":{\"name\":\"a\",\"pool\":\"s1\",\"sizeBytes\":\"1048576\"}}"),
			 400);
	assert_true(says("the data plane says no"));
	assert_string_equal(effects, "create a 1048576; apply 1; apply 0; remove a; ");
	/* Data that was there before is adopted, and stays when the change is taken back. */
	effects[0] = '\0';
	apply_mode = APPLY_REFUSE;
	assert_int_equal(
		call("VolumeService/CreateVolume",
		     "{\"volume\":{\"name\":\"adopted\",\"pool\":\"s1\",\"sizeBytes\":\"1048576\"}}"),
		400);
	assert_string_equal(effects, "apply 1; apply 0; ");
	apply_mode = APPLY_REFUSE;
	assert_int_equal(call("VNicService/DeleteVNic", "{\"name\":\"v1\"}"), 400);
	stop();
	start();
	assert_int_equal(call("VolumeService/GetVolume", "{\"name\":\"a\"}"), 404);
	must("VNicService/GetVNic", "{\"name\":\"v1\"}");
	assert_int_equal(
		call("VolumeService/CreateVolume",
		     "{\"volume\":{\"name\":\"adopted\",\"pool\":\"s1\",\"sizeBytes\":\"2097152\"}}"),
		400);
	assert_true(says("already holds data"));
}

static void changes_wait_for_each_other_and_reads_do_not(void **state)
{
	struct http first, second;
	char text[2][600];
	size_t len[2] = {compose_host("h2", text[0]), compose_host("h3", text[1])};

	(void)state;
	provision();
	apply_mode = APPLY_LATER;
	begin(&first, admin_tls, text[0], len[0]);
	wait_until(base, apply_done);
	begin(&second, admin_tls, text[1], len[1]);
	must("HostService/ListHosts", "{}"); /* also gives the second time to arrive */
	assert_false(says("h3"));
	assert_string_equal(effects, "apply 0; ");
	apply_mode = APPLY_OK;
	apply_done(apply_arg, 0, NULL);
	end(&first);
	end(&second);
	assert_int_equal(first.status, 200);
	assert_int_equal(second.status, 200);
	apply_done = NULL;
}

static void a_store_that_cannot_be_written(void **state)
{
	struct rlimit old, full;

	(void)state;
	provision();
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &old);
	full = old;
	full.rlim_cur = 1;
	setrlimit(RLIMIT_FSIZE, &full);
	assert_int_equal(call("VolumeService/CreateVolume",
			      "{\"volume\":{\"name\":\"a\",\"pool\":\"s1\",\"sizeBytes\":\"1048576\"}}"),
			 503);
	assert_true(says("unavailable") && says("state.db"));
	assert_string_equal(effects, "create a 1048576; remove a; ");
	must("ApplianceService/GetAppliance", "{}");
	assert_true(says("storeError"));
	must("VNicService/GetVNic", "{\"name\":\"v1\"}"); /* traffic and reads go on */
	setrlimit(RLIMIT_FSIZE, &old);
	must("VolumeService/CreateVolume",
	     "{\"volume\":{\"name\":\"a\",\"pool\":\"s1\",\"sizeBytes\":\"1048576\"}}");
	must("ApplianceService/GetAppliance", "{}");
	assert_false(says("storeError"));
}

/* What a start needs is there already: a full disk does not keep the appliance from serving. */
static void a_start_with_a_full_store(void **state)
{
	struct rlimit old, full;

	(void)state;
	provision();
	stop();
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &old);
	full = old;
	full.rlim_cur = 1;
	setrlimit(RLIMIT_FSIZE, &full);
	start();
	must("VNicService/GetVNic", "{\"name\":\"v1\"}");
	setrlimit(RLIMIT_FSIZE, &old);
}

static void status_and_counters(void **state)
{
	(void)state;
	provision();
	must("VNicService/GetVNic", "{\"name\":\"v1\"}");
	assert_true(says("\"link\":\"LINK_STATE_UP\"") && says("\"socketPath\":\"/run/outrigger/v1.sock\"") &&
		    says("\"drop_spoof_mac\":\"7\""));
	must("ApplianceService/ListCounters", "{\"prefix\":\"vnic/\"}");
	assert_string_equal(
		answer.body,
		"{\"counters\":[{\"scope\":\"vnic/v1\",\"name\":\"drop_spoof_mac\",\"value\":\"7\"}]}");
	must("ApplianceService/ListCounters", "{}");
	assert_true(says("worker/0") && says("\"scope\":\"api\""));
	must("ProfileService/GetProfile", "{\"name\":\"p1\"}");
	assert_true(says("\"vnics\":[\"v1\"]"));
}

static void a_pool_that_cannot_be_opened(void **state)
{
	(void)state;
	assert_int_equal(call("StoragePoolService/CreateStoragePool",
			      "{\"storagePool\":{\"name\":\"s1\",\"directory\":{\"path\":\"/x\"}}}"),
			 400);
	assert_true(says("no such disk"));
	assert_int_equal(call("StoragePoolService/GetStoragePool", "{\"name\":\"s1\"}"), 404);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD(first_start_makes_what_is_needed),
		WORLD(a_volume_comes_grows_and_goes),
		WORLD(what_apply_refuses_is_taken_back),
		WORLD(changes_wait_for_each_other_and_reads_do_not),
		WORLD(a_store_that_cannot_be_written),
		WORLD(a_start_with_a_full_store),
		WORLD(status_and_counters),
		WORLD(a_pool_that_cannot_be_opened),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

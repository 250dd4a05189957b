/* SPDX-License-Identifier: Apache-2.0 */
/* Command lines: what they ask of the API, and what is said about wrong ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "appliance/cli/cli.h"

/* Parse a line; words are split at blanks, '' is the empty word. */
static int parse(struct cli_args *a, const char *line, char *why, size_t size)
{
	static char copy[1024];
	char *words[64], *save;
	int n = 0;

	snprintf(copy, sizeof copy, "%s", line);
	for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save))
		words[n++] = strcmp(w, "''") ? w : w + 2;
	return cli_args_parse(a, n, words, why, size);
}

/* "METHOD BODY" of a line's first name, sorted keys; or "! why". */
static void expect(const char *line, const char *want)
{
	struct cli_args a;
	char why[256] = "", method[160], got[2048];
	json_t *body = NULL;
	char *text = NULL;

	if (parse(&a, line, why, sizeof why)) {
		snprintf(got, sizeof got, "! %s", why);
	} else {
		cli_request(&a, a.nnames ? a.names[0] : NULL, method, sizeof method, &body);
		text = json_dumps(body, JSON_COMPACT);
		snprintf(got, sizeof got, "%s %s", method + strlen("outrigger.v1."), text);
	}
	if (strcmp(got, want))
		fail_msg("%s\n    wanted %s\n    got    %s", line, want, got);
	free(text);
	json_decref(body);
	cli_args_fini(&a);
}

static void requests(void **state)
{
	static const char *const rows[][2] = {
		{"vnic list", "VNicService/ListVNics {\"pageSize\":500}"},
		{"pools ls", "StoragePoolService/ListStoragePools {\"pageSize\":500}"},
		{"vnic show web0", "VNicService/GetVNic {\"name\":\"web0\"}"},
		{"uplink show lan", "UplinkGroupService/GetUplinkGroup {\"name\":\"lan\"}"},
		{"host delete h1", "HostService/DeleteHost {\"name\":\"h1\"}"},
		{"host rm h1 --revision 7", "HostService/DeleteHost {\"name\":\"h1\",\"revision\":\"7\"}"},
		{"host enroll-token h1", "HostService/CreateEnrollToken {\"host\":\"h1\"}"},
		{"host enroll-token h1 --ttl 60",
		 "HostService/CreateEnrollToken {\"host\":\"h1\",\"ttlSeconds\":60}"},
		{"host revoke h1", "HostService/RevokeHost {\"host\":\"h1\"}"},
		{"volume create v --pool p --size 10G",
		 "VolumeService/CreateVolume "
		 "{\"volume\":{\"name\":\"v\",\"pool\":\"p\",\"sizeBytes\":\"10737418240\"}}"},
		{"volume create v --size-bytes=4096",
		 "VolumeService/CreateVolume {\"volume\":{\"name\":\"v\",\"sizeBytes\":\"4096\"}}"},
		{"volume create v --size_bytes 4096",
		 "VolumeService/CreateVolume {\"volume\":{\"name\":\"v\",\"sizeBytes\":\"4096\"}}"},
		{"profile move vm1 --host h2",
		 "ProfileService/UpdateProfile "
		 "{\"profile\":{\"name\":\"vm1\",\"host\":\"h2\"},\"updateMask\":\"host\"}"},
		{"profile set vm1 --host ''",
		 "ProfileService/UpdateProfile "
		 "{\"profile\":{\"name\":\"vm1\",\"host\":\"\"},\"updateMask\":\"host\"}"},
		{"profile set vm1 --labels a=b,c=d=e",
		 "ProfileService/UpdateProfile "
		 "{\"profile\":{\"name\":\"vm1\",\"labels\":{\"a\":\"b\",\"c\":\"d=e\"}},"
		 "\"updateMask\":\"labels\"}"},
		{"vnic set w --ip 10.0.0.1,::1 --mtu 9000 --ip 10.0.0.2 --revision 3",
		 "VNicService/UpdateVNic {\"vnic\":{\"name\":\"w\",\"revision\":\"3\","
		 "\"ipAddresses\":[\"10.0.0.1\",\"::1\",\"10.0.0.2\"],\"mtu\":9000},"
		 "\"updateMask\":\"ip_addresses,mtu\"}"},
		{"vnic set w --ip-addresses ''",
		 "VNicService/UpdateVNic {\"vnic\":{\"name\":\"w\",\"ipAddresses\":[]},"
		 "\"updateMask\":\"ip_addresses\"}"},
		{"vnic create w --frontend TAP --state down --spoof-check OFF",
		 "VNicService/CreateVNic {\"vnic\":{\"name\":\"w\",\"frontend\":\"VNIC_FRONTEND_TAP\","
		 "\"adminState\":\"ADMIN_STATE_DOWN\",\"spoofCheck\":\"TOGGLE_OFF\"}}"},
		{"vnic create w --frontend vhost_user",
		 "VNicService/CreateVNic "
		 "{\"vnic\":{\"name\":\"w\",\"frontend\":\"VNIC_FRONTEND_VHOST_USER\"}}"},
		{"vnic set w --state ''",
		 "VNicService/UpdateVNic "
		 "{\"vnic\":{\"name\":\"w\",\"adminState\":\"ADMIN_STATE_UNSPECIFIED\"},"
		 "\"updateMask\":\"admin_state\"}"},
		{"vdisk create d --read-only --volume v",
		 "VDiskService/CreateVDisk {\"vdisk\":{\"name\":\"d\",\"readOnly\":true,\"volume\":\"v\"}}"},
		{"vdisk set d --read-only no",
		 "VDiskService/UpdateVDisk {\"vdisk\":{\"name\":\"d\",\"readOnly\":false},"
		 "\"updateMask\":\"read_only\"}"},
		{"vdisk create --read-only d",
		 "VDiskService/CreateVDisk {\"vdisk\":{\"name\":\"d\",\"readOnly\":true}}"},
		{"pool create p --directory /srv/x",
		 "StoragePoolService/CreateStoragePool {\"storagePool\":{\"name\":\"p\","
		 "\"directory\":{\"path\":\"/srv/x\"}}}"},
		{"pool create p --memory 1M",
		 "StoragePoolService/CreateStoragePool {\"storagePool\":{\"name\":\"p\","
		 "\"memory\":{\"capacityBytes\":\"1048576\"}}}"},
		{"network create n --uplink lan --vlan 100",
		 "NetworkService/CreateNetwork "
		 "{\"network\":{\"name\":\"n\",\"uplinkGroup\":\"lan\",\"vlan\":100}}"},
		{"port create p --device net_af_packet0,iface=eth1",
		 "PortService/CreatePort "
		 "{\"port\":{\"name\":\"p\",\"device\":\"net_af_packet0,iface=eth1\"}}"},
		{"host create -- --odd", "HostService/CreateHost {\"host\":{\"name\":\"--odd\"}}"},
		{"counters vnic/web0", "ApplianceService/ListCounters {\"prefix\":\"vnic/web0\"}"},
		{"appliance", "ApplianceService/GetAppliance {}"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
		expect(rows[i][0], rows[i][1]);
}

static void wrong_lines(void **state)
{
	static const char *const rows[][2] = {
		{"vnci list", "! unknown noun vnci: did you mean vnic?"},
		{"qqqqqqqq", "! unknown noun qqqqqqqq: outriggerctl --help lists them"},
		{"vnic lst", "! vnic lst: unknown verb, did you mean list?"},
		{"port xyzzy", "! port xyzzy: unknown verb, must be one of list, show, create, set, delete"},
		{"vnic move w --host h",
		 "! vnic move: unknown verb, must be one of list, show, create, set, delete"},
		{"vnic show", "! vnic show: NAME is missing"},
		{"vnic create", "! vnic create: NAME is missing"},
		{"vnic create ''", "! a name is empty"},
		{"vnic create a b", "! vnic create: what is b? Fields are given as --FIELD VALUE"},
		{"vnic list x", "! vnic list: what is x? Fields are given as --FIELD VALUE"},
		{"vnic set w", "! vnic set w: nothing to change, give --FIELD VALUE"},
		{"vnic create w --netwrok n", "! unknown option --netwrok: did you mean --network?"},
		{"vnic create w --zzzzzz n",
		 "! unknown option --zzzzzz: see outriggerctl vnic create --help"},
		{"vnic create w --uid 5", "! unknown option --uid: see outriggerctl vnic create --help"},
		{"vnic create w --mtu", "! --mtu: a value is missing"},
		{"vnic create w --mtu -1", "! --mtu -1: must be a number, in range"},
		{"vnic create w --mtu 4294967296", "! --mtu 4294967296: must be a number, in range"},
		{"vnic create w --state sideways", "! --state sideways: must be up or down"},
		{"vnic create w --state unspecified", "! --state unspecified: must be up or down"},
		{"volume create v --size big", "! --size big: must be a size: 512M, 10G, 1.5T, or bytes"},
		{"profile create p --labels a", "! --labels a: must be KEY=VALUE,..."},
		{"profile create p --labels =a", "! --labels =a: must be KEY=VALUE,..."},
		{"profile move p", "! profile move p: give --host HOST, and nothing else"},
		{"profile move p --host h --description x",
		 "! profile move p: give --host HOST, and nothing else"},
		{"vnic list --mtu 1500", "! vnic list takes no --mtu"},
		{"vnic show w --revision 3", "! vnic show takes no --revision"},
		{"vnic list -o yaml", "! --output yaml: must be table, wide, json or name"},
		{"vnic list -o", "! --output: table|wide|json|name is missing"},
		{"vnic list --api=", "! --api: HOST:PORT is missing"},
		{"vnic list --dry-run=1", "! --dry-run takes no value"},
		{"vnic set w --revision x --mtu 1",
		 "! --revision x: must be a number from 1 to 18446744073709551615"},
		{"vnic list --timeout 0", "! --timeout 0: must be a number from 1 to 86400"},
		{"vnic set v --mtu 1500 --revision 0",
		 "! --revision 0: must be a number from 1 to 18446744073709551615"},
		{"host enroll-token h --ttl 0", "! --ttl 0: must be a number from 1 to 4294967295"},
		{"host create h --ttl 60", "! host create takes no --ttl"},
		{"vnic list --timeout 86401", "! --timeout 86401: must be a number from 1 to 86400"},
		{"vnic list -x", "! unknown option -x: see outriggerctl vnic list --help"},
		{"counters a b", "! counters: one argument at most"},
		{"vdisk create d --read-only=maybe", "! --read-only maybe: must be true or false"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
		expect(rows[i][0], rows[i][1]);
}

static void options_anywhere(void **state)
{
	struct cli_args a;
	char why[256];

	(void)state;
	assert_int_equal(
		parse(&a, "-ojson --context /x vnic --counters show w1 w2 --timeout=5", why, sizeof why), 0);
	assert_int_equal(a.output, CLI_JSON);
	assert_string_equal(a.context, "/x");
	assert_true(a.counters);
	assert_int_equal(a.nnames, 2);
	assert_int_equal(a.timeout, 5);
	cli_args_fini(&a);
	assert_int_equal(parse(&a, "help vnic create", why, sizeof why), 0);
	assert_true(a.help);
	assert_string_equal(a.verb->name, "create");
	cli_args_fini(&a);
	/* Help about a command that is not whole. */
	assert_int_equal(parse(&a, "vnic create --help", why, sizeof why), 0);
	assert_true(a.help);
	cli_args_fini(&a);
	assert_int_equal(parse(&a, "", why, sizeof why), 0);
	assert_null(a.noun);
	assert_int_equal(a.timeout, 30);
	cli_args_fini(&a);
}

static void too_many_names(void **state)
{
	struct cli_args a;
	char *words[CLI_NAMES_MAX + 3], why[256];

	(void)state;
	words[0] = "vnic";
	words[1] = "show";
	for (unsigned i = 2; i < CLI_NAMES_MAX + 3; i++)
		words[i] = "w";
	assert_int_equal(cli_args_parse(&a, CLI_NAMES_MAX + 2, words, why, sizeof why), 0);
	cli_args_fini(&a);
	assert_int_equal(cli_args_parse(&a, CLI_NAMES_MAX + 3, words, why, sizeof why), CLI_USAGE);
	cli_args_fini(&a);
}

/* The table must agree with the API: every word about a field names one that is there and writable. */
static void table_agrees_with_the_api(void **state)
{
	(void)state;
	for (const struct cli_noun *n = cli_nouns; n->name; n++) {
		for (const struct cli_field *w = n->fields; w->name; w++) {
			const ProtobufCFieldDescriptor *f = protobuf_c_message_descriptor_get_field_by_name(
				n->desc, w->name);

			if (!f || !cli_field_writable(f))
				fail_msg("%s: no writable field %s", n->name, w->name);
			if (w->alias)
				assert_ptr_equal(cli_field_find(n, w->alias), f);
		}
		for (unsigned i = 0; i < n->desc->n_fields; i++) {
			char option[64];

			if (!cli_field_writable(&n->desc->fields[i]))
				continue;
			if (!cli_field_words(n, n->desc->fields[i].name))
				fail_msg("%s: nothing is said about %s", n->name, n->desc->fields[i].name);
			cli_field_option(&n->desc->fields[i], option, sizeof option);
			assert_ptr_equal(cli_field_find(n, option), &n->desc->fields[i]);
		}
	}
}

static void exit_statuses(void **state)
{
	(void)state;
	assert_int_equal(cli_exit_of("not_found"), 3);
	assert_int_equal(cli_exit_of("already_exists"), 4);
	assert_int_equal(cli_exit_of("aborted"), 4);
	assert_int_equal(cli_exit_of("invalid_argument"), 5);
	assert_int_equal(cli_exit_of("failed_precondition"), 5);
	assert_int_equal(cli_exit_of("unauthenticated"), 6);
	assert_int_equal(cli_exit_of("permission_denied"), 6);
	assert_int_equal(cli_exit_of("unavailable"), 7);
	assert_int_equal(cli_exit_of("internal"), 1);
	assert_int_equal(cli_exit_of("resource_exhausted"), 1);
	assert_int_equal(cli_exit_of(""), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests),
		cmocka_unit_test(wrong_lines),
		cmocka_unit_test(options_anywhere),
		cmocka_unit_test(too_many_names),
		cmocka_unit_test(table_agrees_with_the_api),
		cmocka_unit_test(exit_statuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

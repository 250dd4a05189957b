/* SPDX-License-Identifier: Apache-2.0 */
/* Where frames go: flooding, learning, VLANs, ageing, and what is never forwarded. */
#include "script.h"

static void group_addresses_flood(void **state)
{
	(void)state;
	script_run("net 1 9 100\n"
		   "net 2\n"
		   "vnic 1 1 a1\n"
		   "vnic 2 1 a2\n"
		   "vnic 3 1 any\n"
		   "vnic 4 1 a4 down\n"
		   "vnic 5 2 a5\n"
		   "uplink 9\n"
		   "apply\n"
		   "in 1 a1 bc raw 0x88b5 => 2 3 9:100\n"
		   "in 2 a2 01:00:5e:00:00:01 raw 0x88b5 => 1 3 9:100\n"
		   "in 9:100 x1 bc raw 0x88b5 => 1 2 3\n"
		   "in 5 a5 bc raw 0x88b5 => drop_no_member\n"
		   "count 1 rx_flooded => 1\n"
		   "count 9 tx_frames => 2\n"
		   "count 9 tx_bytes => 120\n"
		   "count 4 tx_frames => 0\n");
}

static void unicast_follows_learning(void **state)
{
	(void)state;
	script_run("net 1 9 100\n"
		   "vnic 1 1 a1\n"
		   "vnic 2 1 a2\n"
		   "vnic 3 1 any\n"
		   "uplink 9\n"
		   "apply\n"
		   "in 1 a1 a2 raw 0x88b5 => 2\n"
		   "in 1 a1 x7 raw 0x88b5 => 3 9:100 # unknown: not to the pinned neighbour\n"
		   "in 9:100 x7 a1 raw 0x88b5 => 1\n"
		   "in 1 a1 x7 raw 0x88b5 => 9:100\n"
		   "in 9:100 x8 x7 raw 0x88b5 => drop_hairpin\n"
		   "in 9:100 x8 xff raw 0x88b5 => 3\n"
		   "in 3 x9 x7 raw 0x88b5 => 9:100\n"
		   "in 1 a1 x9 raw 0x88b5 => 3\n"
		   "fdb => 1/a1=1* 1/a2=2* 1/x7=9 1/x8=9 1/x9=3\n"
		   "count 9 fdb_learned => 2\n"
		   "count 1 fdb_learned => 0\n");
}

static void unknown_unicast_with_nobody_to_ask(void **state)
{
	(void)state;
	script_run("net 1\n"
		   "vnic 1 1 a1\n"
		   "vnic 2 1 a2\n"
		   "apply\n"
		   "in 1 a1 x7 raw 0x88b5 => drop_unknown_unicast\n"
		   "count 1 drop_unknown_unicast => 1\n"
		   "count 2 tx_frames => 0\n");
}

static void stations_move(void **state)
{
	(void)state;
	script_run("net 1 9 0\n"
		   "vnic 1 1 a1\n"
		   "vnic 3 1 any\n"
		   "uplink 9\n"
		   "apply\n"
		   "in 9 x7 a1 raw 0x88b5 => 1\n"
		   "in 3 x7 a1 raw 0x88b5 => 1\n"
		   "in 1 a1 x7 raw 0x88b5 => 3\n"
		   "count 3 fdb_moved => 1\n"
		   "count 3 fdb_learned => 0\n"
		   "fdb => 1/a1=1* 1/x7=3\n");
}

static void stations_age(void **state)
{
	(void)state;
	script_run("net 1 9 0\n"
		   "vnic 1 1 a1\n"
		   "vnic 2 1 any\n"
		   "vnic 3 1 any\n"
		   "apply => ENOENT # no uplink 9\n"
		   "net 1\n"
		   "vnic 1 1 a1\n"
		   "vnic 2 1 any\n"
		   "vnic 3 1 any\n"
		   "apply\n"
		   "in 2 x7 a1 raw 0x88b5 => 1\n"
		   "wait 300\n"
		   "in 1 a1 x7 raw 0x88b5 => 2 # exactly 300 s: still there\n"
		   "wait 1\n"
		   "in 1 a1 x7 raw 0x88b5 => 2 3\n"
		   "fdb => 1/a1=1*\n"
		   "count 2 fdb_aged => 0\n"
		   "tick\n"
		   "count 2 fdb_aged => 1\n"
		   "in 2 x7 a1 raw 0x88b5 => 1\n"
		   "wait 200\n"
		   "in 2 x7 a1 raw 0x88b5 => 1 # refreshed\n"
		   "wait 200\n"
		   "in 1 a1 x7 raw 0x88b5 => 2\n"
		   "flush 3\n"
		   "fdb => 1/a1=1* 1/x7=2\n"
		   "flush 2\n"
		   "fdb => 1/a1=1*\n");
}

static void a_port_has_a_limit_of_stations(void **state)
{
	(void)state;
	script_run("net 1\n"
		   "vnic 1 1 any max 2\n"
		   "vnic 2 1 any\n"
		   "apply\n"
		   "in 1 x1 bc raw 0x88b5 => 2\n"
		   "in 1 x2 bc raw 0x88b5 => 2\n"
		   "in 1 x3 bc raw 0x88b5 => 2 # goes on, is not learned\n"
		   "count 1 fdb_limit => 1\n"
		   "fdb => 1/x1=1 1/x2=1\n"
		   "in 2 x3 bc raw 0x88b5 => 1\n"
		   "in 1 x3 bc raw 0x88b5 => 2\n"
		   "fdb => 1/x1=1 1/x2=1 1/x3=2\n"
		   "in 2 x1 bc raw 0x88b5 => 1 # moves away: room for one\n"
		   "in 1 x4 bc raw 0x88b5 => 2\n"
		   "fdb => 1/x1=2 1/x2=1 1/x3=2 1/x4=1\n");
}

static void a_full_table_forwards_still(void **state)
{
	struct sw_limits tiny = {.ports = 4, .networks = 1, .fdb = 8, .seed = 7};

	(void)state;
	script_run_limits(&tiny, "net 1\n"
				 "vnic 1 1 any\n"
				 "vnic 2 1 any\n"
				 "apply\n"
				 "in 1 x1 bc raw 0x88b5 => 2\n"
				 "in 1 x2 bc raw 0x88b5 => 2\n"
				 "in 1 x3 bc raw 0x88b5 => 2\n"
				 "in 1 x4 bc raw 0x88b5 => 2\n"
				 "in 1 x5 bc raw 0x88b5 => 2\n"
				 "in 1 x6 bc raw 0x88b5 => 2\n"
				 "in 1 x7 bc raw 0x88b5 => 2\n"
				 "in 1 x8 bc raw 0x88b5 => 2\n"
				 "in 1 x9 bc raw 0x88b5 => 2\n"
				 "count 1 fdb_full => 1\n"
				 "wait 301\n"
				 "in 1 x9 bc raw 0x88b5 => 2 # takes an aged one's place\n"
				 "count 1 fdb_full => 1\n"
				 "count 1 fdb_aged => 1\n"
				 "fdb => 1/x9=1\n");
}

static void vlans_map_to_networks(void **state)
{
	(void)state;
	script_run("net 1 9 100\n"
		   "net 2 9 4094\n"
		   "net 3 9 0\n"
		   "net 4 8 100\n"
		   "vnic 1 1 a1\n"
		   "vnic 2 2 a1 # the same MAC in another network\n"
		   "vnic 3 3 a3\n"
		   "vnic 4 4 a4\n"
		   "uplink 9\n"
		   "uplink 8\n"
		   "apply\n"
		   "in 9:100 x1 a1 raw 0x88b5 => 1\n"
		   "in 9:4094 x1 a1 raw 0x88b5 => 2\n"
		   "in 9 x1 bc raw 0x88b5 => 3\n"
		   "in 8:100 x1 bc raw 0x88b5 => 4\n"
		   "in 9:101 x1 bc raw 0x88b5 => drop_unknown_vlan\n"
		   "in 9:4095 x1 bc raw 0x88b5 => drop_unknown_vlan\n"
		   "in 9:65535 x1 bc raw 0x88b5 => drop_unknown_vlan\n"
		   "in 8 x1 bc raw 0x88b5 => drop_unknown_vlan\n"
		   "in 1:100 a1 bc raw 0x88b5 => drop_unknown_vlan\n"
		   "in 2 a1 x1 raw 0x88b5 => 9:4094\n"
		   "in 3 a3 bc raw 0x88b5 => 9\n"
		   "count 9 drop_unknown_vlan => 3\n"
		   "fdb => 1/a1=1* 1/x1=9 2/a1=2* 2/x1=9 3/a3=3* 3/x1=9 4/a4=4* 4/x1=8\n");
}

static void never_forwarded(void **state)
{
	(void)state;
	script_run("net 1 9 0\n"
		   "vnic 1 1 a1\n"
		   "vnic 2 1 a2\n"
		   "vnic 3 1 a3 down\n"
		   "uplink 9\n"
		   "apply\n"
		   "in 7 a1 bc raw 0x88b5 => drop_no_port\n"
		   "in 3 a3 bc raw 0x88b5 => drop_port_down\n"
		   "in 1 a1 a3 raw 0x88b5 => drop_egress_down\n"
		   "in 1 a1 a1 raw 0x88b5 => drop_hairpin\n"
		   "in 1 03:00:00:00:00:01 bc raw 0x88b5 => drop_source_multicast\n"
		   "in 9 ff:ff:ff:ff:ff:ff bc raw 0x88b5 => drop_source_multicast\n"
		   "in 1 a1 bc raw 0x8100 => drop_tagged\n"
		   "in 1 a1 bc raw 0x88a8 => drop_tagged\n"
		   "in 1 a1 bc raw 0x9100 => drop_tagged\n"
		   "in 9 x1 bc raw 0x8100 => drop_tagged\n"
		   "in 1 a1 01:80:c2:00:00:00 raw 0x88b5 => drop_reserved\n"
		   "in 9 x1 01:80:c2:00:00:0f raw 0x88b5 => drop_reserved\n"
		   "in 9 x1 01:80:c2:00:00:10 raw 0x88b5 => 1 2\n"
		   "in 9 a1 bc raw 0x88b5 => drop_source_pinned\n"
		   "in 1 a1 bc len 13 => drop_short\n"
		   "in 1 a1 bc len 14 => 2 9\n"
		   "in 1 a1 bc len 65550 => 2 9\n"
		   "in 1 a1 bc len 65551 => drop_long\n"
		   "count 1 rx_frames => 11\n"
		   "count 1 drop_tagged => 3\n"
		   "count 9 drop_source_pinned => 1\n");
}

static void empty_and_scattered_frames(void **state)
{
	struct sw *sw = sw_create(&(struct sw_limits){.ports = 1, .networks = 1, .fdb = 1});
	struct sw_network net = {.id = 1, .uplink = SW_NO_PORT};
	struct sw_port port = {.id = 1, .up = true, .network = 1};
	struct frame f = {0};
	struct sw_out out;

	(void)state;
	assert_int_equal(sw_apply(sw, &(struct sw_config){&net, 1, &port, 1}), 0);
	assert_int_equal(sw_input(sw, 1, 0, &f, 0, &out), 0);
	assert_int_equal(out.drop, SW_C_drop_short);
	/* A frame that says it is longer than its segments are. */
	f.len = 1000;
	assert_int_equal(sw_input(sw, 1, 0, &f, 0, &out), 0);
	assert_int_equal(out.drop, SW_C_drop_short);
	assert_int_equal(sw_counters(sw)[SW_C_drop_short], 2);
	assert_int_equal(sw_network_counters(sw, 1)[SW_C_drop_short], 2);
	assert_null(sw_network_counters(sw, 2));
	assert_null(sw_port_counters(sw, 2));
	sw_destroy(sw);
	sw_destroy(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(group_addresses_flood),
		cmocka_unit_test(unicast_follows_learning),
		cmocka_unit_test(unknown_unicast_with_nobody_to_ask),
		cmocka_unit_test(stations_move),
		cmocka_unit_test(stations_age),
		cmocka_unit_test(a_port_has_a_limit_of_stations),
		cmocka_unit_test(a_full_table_forwards_still),
		cmocka_unit_test(vlans_map_to_networks),
		cmocka_unit_test(never_forwarded),
		cmocka_unit_test(empty_and_scattered_frames),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Configurations: what is refused, what a refusal leaves alone, and what outlives a change. */
#include "script.h"

#define GOOD                                                                                                 \
	"net 1 9 100\n"                                                                                      \
	"net 2\n"                                                                                            \
	"vnic 1 1 a1\n"                                                                                      \
	"vnic 2 1 any\n"                                                                                     \
	"vnic 3 2 any\n"                                                                                     \
	"uplink 9\n"

static void refused_whole(void **state)
{
	static const char *const bad[][2] = {
		{"net 1\nnet 1\n", "EEXIST"},
		{"net 7\nnet 7\n", "EEXIST"},
		{"net 1\nvnic 1 1 a1\nvnic 1 1 a2\n", "EEXIST"},
		{"net 1\nvnic 7 1 a1\nuplink 7\n", "EEXIST"},
		{"net 1\nvnic 1 1 a1\nvnic 7 1 a1\n", "EEXIST"},
		{"net 1 9 5\nnet 7 9 5\nuplink 9\n", "EEXIST"},
		{"net 1 9 0\nnet 7 9 0\nuplink 9\n", "EEXIST"},
		{"net 1 9 4095\nuplink 9\n", "EINVAL"},
		{"net 1 8 1\nuplink 9\n", "ENOENT"},
		{"net 1 1 1\nvnic 1 1 a1\n", "ENOENT"},
		{"net 1\nvnic 1 7 a1\n", "ENOENT"},
		{"net 1\nvnic 1 1 bc\n", "EINVAL"},
		{"net 1\nvnic 1 1 00:00:00:00:00:00\n", "EINVAL"},
		{"net 1\nvnic 1 1 a1 ip 10.0.0.0/0\n", "EINVAL"},
		{"net 1\nvnic 1 1 a1 ip 10.0.0.0/33\n", "EINVAL"},
		{"net 1\nvnic 1 1 a1 ip ::/129\n", "EINVAL"},
		{"net 1\nvnic 4294967295 1 a1\n", "EINVAL"},
		{"uplink 7\nuplink 8\nuplink 9\n", "ENOSPC"},
		{"net 1\nnet 2\nnet 3\nnet 4\n", "ENOSPC"},
		{"net 1\nvnic 1 1 a1 ip 10.0.0.1 ip 10.0.0.2 ip 10.0.0.3\n", "ENOSPC"},
		{"net 1\nvnic 1 1 a1\nvnic 2 1 a2\nvnic 3 1 a3\nvnic 4 1 a4\nvnic 5 1 a5\n", "ENOSPC"},
	};
	struct sw_limits l = {.ports = 4, .uplinks = 2, .networks = 3, .addrs = 2, .fdb = 64, .seed = 5};

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		char text[2048];

		snprintf(text, sizeof text,
			 GOOD "apply\n"
			      "in 9:100 x1 a1 raw 0x88b5 => 1\n"
			      "%sapply => %s\n"
			      "fdb => 1/a1=1* 1/x1=9\n"
			      "in 1 a1 x1 raw 0x88b5 => 9:100\n"
			      "in 2 x2 bc raw 0x88b5 => 1 9:100\n"
			      "count 1 rx_frames => 1\n",
			 bad[i][0], bad[i][1]);
		script_run_limits(&l, text);
	}
}

static void what_stays_is_kept(void **state)
{
	(void)state;
	script_run(GOOD "apply\n"
			"in 9:100 x1 a1 raw 0x88b5 => 1\n"
			"in 2 x2 a1 raw 0x88b5 => 1\n"
			"in 3 x3 bc raw 0x88b5 => drop_no_member\n"
			/* The same in another order, with more before it. */
			"uplink 8\n"
			"uplink 9\n"
			"vnic 7 2 a7\n"
			"vnic 3 2 any\n"
			"vnic 2 1 any\n"
			"vnic 1 1 a1\n"
			"net 3\n"
			"net 2\n"
			"net 1 9 100\n"
			"apply\n"
			"fdb => 1/a1=1* 1/x1=9 1/x2=2 2/a7=7* 2/x3=3\n"
			"count 2 fdb_learned => 1\n"
			"count 9 rx_frames => 1\n"
			"count 7 rx_frames => 0\n"
			"in 7 a7 x3 raw 0x88b5 => 3\n");
}

static void what_went_is_forgotten(void **state)
{
	(void)state;
	/* Port 2 goes, port 4 comes and takes its slot, but neither its stations nor its counts. */
	script_run(GOOD "apply\n"
			"in 2 x2 a1 raw 0x88b5 => 1\n"
			"net 1 9 100\nnet 2\nvnic 1 1 a1\nvnic 4 1 any\nvnic 3 2 any\nuplink 9\napply\n"
			"fdb => 1/a1=1*\n"
			"count 4 rx_frames => 0\n"
			"in 2 x2 a1 raw 0x88b5 => drop_no_port\n"
			"in 1 a1 x2 raw 0x88b5 => 4 9:100\n");
	/* The same of networks. */
	script_run(GOOD "apply\n"
			"in 3 x3 bc raw 0x88b5 => drop_no_member\n"
			"net 1 9 100\nnet 4\nvnic 1 1 a1\nvnic 2 1 any\nvnic 3 4 any\nuplink 9\napply\n"
			"fdb => 1/a1=1*\n");
}

static void what_is_not_true_any_more(void **state)
{
	(void)state;
	/* Another network. */
	script_run(GOOD "apply\n"
			"in 2 x2 a1 raw 0x88b5 => 1\n"
			"net 1 9 100\nnet 2\nvnic 1 1 a1\nvnic 2 2 any\nuplink 9\napply\n"
			"fdb => 1/a1=1*\n");
	/* Another VLAN: other stations. */
	script_run(GOOD "apply\n"
			"in 9:100 x1 a1 raw 0x88b5 => 1\n"
			"net 1 9 101\nvnic 1 1 a1\nuplink 9\napply\n"
			"fdb => 1/a1=1*\n"
			"in 9:100 x1 a1 raw 0x88b5 => drop_unknown_vlan\n"
			"in 9:101 x1 a1 raw 0x88b5 => 1\n");
	/* The uplink went elsewhere. */
	script_run(GOOD "apply\n"
			"in 9:100 x1 a1 raw 0x88b5 => 1\n"
			"net 1 8 100\nvnic 1 1 a1\nuplink 9\nuplink 8\napply\n"
			"fdb => 1/a1=1*\n");
	/* A learned station becomes a pinned one of another port. */
	script_run(GOOD "apply\n"
			"in 9:100 a7 a1 raw 0x88b5 => 1\n"
			"net 1 9 100\nvnic 1 1 a1\nvnic 7 1 a7\nuplink 9\napply\n"
			"fdb => 1/a1=1* 1/a7=7*\n"
			"in 1 a1 a7 raw 0x88b5 => 7\n");
	/* A port may not have stations any more. */
	script_run(GOOD "apply\n"
			"in 2 x2 a1 raw 0x88b5 => 1\n"
			"net 1 9 100\nvnic 1 1 a1\nvnic 2 1 a2\nuplink 9\napply\n"
			"fdb => 1/a1=1* 1/a2=2*\n");
	/* An id that was a vNIC's is an uplink's now. */
	script_run(GOOD "apply\n"
			"in 2 x2 a1 raw 0x88b5 => 1\n"
			"net 1 2 100\nvnic 1 1 a1\nuplink 2\napply\n"
			"fdb => 1/a1=1*\n");
}

static void move_of_a_vnic_between_ports(void **state)
{
	(void)state;
	/* A virtual machine's MAC goes from port 1 to port 7: traffic follows at once. */
	script_run(GOOD "apply\n"
			"in 9:100 x1 a1 raw 0x88b5 => 1\n"
			"net 1 9 100\nvnic 7 1 a1\nvnic 2 1 any\nuplink 9\napply\n"
			"in 9:100 x1 a1 raw 0x88b5 => 7\n"
			"in 7 a1 x1 raw 0x88b5 => 9:100\n");
}

static void limits_of_create(void **state)
{
	(void)state;
	assert_null(sw_create(&(struct sw_limits){.ports = 0, .networks = 1}));
	assert_null(sw_create(&(struct sw_limits){.ports = 1, .networks = 0}));
	assert_null(sw_create(&(struct sw_limits){.ports = 65536, .networks = 1}));
	assert_null(sw_create(&(struct sw_limits){.ports = 1, .networks = 65536}));
	assert_null(sw_create(&(struct sw_limits){.ports = 1, .networks = 1, .uplinks = 2}));
	assert_null(sw_create(&(struct sw_limits){.ports = 1, .networks = 1, .fdb = 1u << 25}));
}

static void as_many_as_the_limits_say(void **state)
{
	enum { NETS = 300, PORTS = 1000 };
	struct sw_limits l = {.ports = PORTS, .uplinks = 1, .networks = NETS, .fdb = 64, .seed = 99};
	struct sw_network *nets = calloc(NETS, sizeof *nets);
	struct sw_port *ports = calloc(PORTS, sizeof *ports);
	struct sw *sw = sw_create(&l);

	(void)state;
	/* Three generations of ids: each takes all the slots of the one before. */
	for (uint32_t gen = 0; gen < 3; gen++) {
		uint32_t cursor = 0, rows = 0, n;
		struct sw_fdb_row row[7];

		for (uint32_t i = 0; i < NETS; i++)
			nets[i] = (struct sw_network){.id = gen * 10000 + i, .uplink = SW_NO_PORT};
		for (uint32_t i = 0; i < PORTS; i++) {
			ports[i] = (struct sw_port){.id = gen * 10000 + i,
						    .up = true,
						    .network = gen * 10000 + i % NETS,
						    .pinned = true};
			memcpy(ports[i].mac, (uint8_t[]){2, 0, 0, 0, (uint8_t)(i >> 8), (uint8_t)i}, 6);
		}
		assert_int_equal(sw_apply(sw, &(struct sw_config){nets, NETS, ports, PORTS}), 0);
		while ((n = sw_fdb_dump(sw, &cursor, row, 7, 0)))
			for (uint32_t i = 0; i < n; i++, rows++)
				assert_int_equal(row[i].port - gen * 10000,
						 row[i].mac[4] << 8 | row[i].mac[5]);
		assert_int_equal(rows, PORTS);
	}
	sw_destroy(sw);
	free(nets);
	free(ports);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refused_whole),
		cmocka_unit_test(what_stays_is_kept),
		cmocka_unit_test(what_went_is_forgotten),
		cmocka_unit_test(what_is_not_true_any_more),
		cmocka_unit_test(move_of_a_vnic_between_ports),
		cmocka_unit_test(limits_of_create),
		cmocka_unit_test(as_many_as_the_limits_say),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What a vNIC may claim to be, and what it may not. */
#include "script.h"

#define WORLD                                                                                                \
	"net 1 9 0\n"                                                                                        \
	"vnic 1 1 a1 ip 10.0.0.1 ip 2001:db8::1 ip 10.1.0.0/16 ip 2001:db8:1::/49\n"                         \
	"vnic 2 1 a2\n"                                                                                      \
	"vnic 3 1 a3 nospoof ip 10.0.0.3\n"                                                                  \
	"vnic 4 1 any\n"                                                                                     \
	"uplink 9\n"                                                                                         \
	"apply\n"

static void mac(void **state)
{
	(void)state;
	script_run(WORLD "in 1 a2 bc raw 0x88b5 => drop_spoof_mac\n"
			 "in 1 x1 bc raw 0x88b5 => drop_spoof_mac\n"
			 "in 3 x1 bc raw 0x88b5 => 1 2 4 9 # no check: learned\n"
			 "in 2 a2 x1 raw 0x88b5 => 3\n"
			 "in 3 a2 bc raw 0x88b5 => drop_source_pinned # not even then\n"
			 "in 4 a2 bc raw 0x88b5 => drop_source_pinned\n"
			 "in 4 x4 bc raw 0x88b5 => 1 2 3 9\n"
			 "count 1 drop_spoof_mac => 2\n");
}

static void arp(void **state)
{
	(void)state;
	script_run(WORLD "in 1 a1 bc arp a1 10.0.0.1 => 2 3 4 9\n"
			 "in 1 a1 bc arp a1 10.1.2.3 => 2 3 4 9 # of the prefix\n"
			 "in 1 a1 bc arp a1 0.0.0.0 => 2 3 4 9 # probe\n"
			 "in 1 a1 bc rarp a1 0.0.0.0 => 2 3 4 9\n"
			 "in 1 a1 bc arp a1 10.0.0.2 => drop_spoof_arp\n"
			 "in 1 a1 bc arp a2 10.0.0.1 => drop_spoof_arp\n"
			 "in 1 a1 bc rarp a2 0.0.0.0 => drop_spoof_arp\n"
			 "in 1 a1 bc raw 0x0806 => drop_spoof_arp # not ARP for Ethernet and IPv4\n"
			 "in 2 a2 bc arp a2 10.0.0.2 => 1 3 4 9 # no addresses listed\n"
			 "in 2 a2 bc arp a1 10.0.0.2 => drop_spoof_arp\n"
			 "in 3 a3 bc arp a1 10.0.0.9 => 1 2 4 9\n"
			 "in 4 x4 bc arp x4 10.0.0.9 => 1 2 3 9\n"
			 "in 4 x4 bc arp x5 10.0.0.9 => drop_spoof_arp # no pin, yet one MAC only\n"
			 "in 9 x1 bc arp x2 10.0.0.1 => 1 2 3 4 # uplinks are not checked\n"
			 "count 1 drop_spoof_arp => 4\n");
}

static void ipv4(void **state)
{
	(void)state;
	script_run(WORLD "in 1 a1 a2 ip4 10.0.0.1 => 2\n"
			 "in 1 a1 a2 ip4 10.1.255.255 => 2\n"
			 "in 1 a1 a2 ip4 10.2.0.0 => drop_spoof_ipv4\n"
			 "in 1 a1 bc ip4 0.0.0.0 => 2 3 4 9 # DHCP discover\n"
			 "in 1 a1 a2 ip4 10.0.0.2 => drop_spoof_ipv4\n"
			 "in 1 a1 a2 raw 0x0800 => drop_spoof_ipv4 # version 0\n"
			 "in 2 a2 a1 ip4 10.0.0.1 => 1\n"
			 "in 3 a3 a1 ip4 10.0.0.9 => 1\n");
}

static void ipv6(void **state)
{
	(void)state;
	script_run(WORLD "in 1 a1 a2 ip6 2001:db8::1 => 2\n"
			 "in 1 a1 a2 ip6 2001:db8:1:7fff::9 => 2\n"
			 "in 1 a1 a2 ip6 2001:db8:1:8000::9 => drop_spoof_ipv6 # bit 49\n"
			 "in 1 a1 a2 ip6 2001:db8::2 => drop_spoof_ipv6\n"
			 "in 1 a1 a2 ip6 :: => 2\n"
			 "in 1 a1 a2 ip6 fe80::ff:fe00:1 => 2\n"
			 "in 1 a1 a2 ip6 fe80::ff:fe00:2 => drop_spoof_ipv6\n"
			 "in 1 a1 a2 raw 0x86dd => drop_spoof_ipv6\n"
			 "in 2 a2 a1 ip6 2001:db8::1 => 1\n"
			 "in 3 a3 a1 ip6 2001:db8::1 => 1\n");
}

static void neighbour_discovery(void **state)
{
	(void)state;
	script_run(WORLD "in 1 a1 a2 nd 135 2001:db8::1 2001:db8::9 a1 => 2\n"
			 "in 1 a1 a2 nd 135 2001:db8::1 2001:db8::9 - => 2\n"
			 "in 1 a1 a2 nd 135 :: 2001:db8::1 - => 2 # DAD\n"
			 "in 1 a1 a2 nd 135 2001:db8::1 2001:db8::9 a2 => drop_spoof_nd\n"
			 "in 1 a1 a2 nd 135 2001:db8::9 2001:db8::1 a1 => drop_spoof_ipv6\n"
			 "in 1 a1 a2 nd 136 2001:db8::1 2001:db8::1 a1 => 2\n"
			 "in 1 a1 a2 nd 136 2001:db8::1 fe80::ff:fe00:1 a1 => 2\n"
			 "in 1 a1 a2 nd 136 2001:db8::1 2001:db8::9 a1 => drop_spoof_nd # not its target\n"
			 "in 1 a1 a2 nd 136 2001:db8::1 2001:db8::1 a2 => drop_spoof_nd\n"
			 "in 1 a1 a2 nd 133 fe80::ff:fe00:1 - a1 => 2\n"
			 "in 1 a1 a2 nd 133 fe80::ff:fe00:1 - a2 => drop_spoof_nd\n"
			 "in 1 a1 a2 nd 134 fe80::ff:fe00:1 - a1 => 2\n"
			 "in 1 a1 a2 nd 134 fe80::ff:fe00:1 - x1 => drop_spoof_nd\n"
			 "in 1 a1 a2 nd 137 fe80::ff:fe00:1 2001:db8::9 a1 => drop_spoof_nd # redirect\n"
			 "in 1 a1 a2 nd 128 2001:db8::1 2001:db8::9 a2 => 2 # echo has no options\n"
			 "in 2 a2 a1 nd 136 2001:db8::2 2001:db8::9 a2 => 1 # no addresses listed\n"
			 "in 2 a2 a1 nd 136 2001:db8::2 2001:db8::9 a1 => drop_spoof_nd\n"
			 "in 3 a3 a1 nd 136 2001:db8::2 2001:db8::9 a1 => 1\n"
			 "count 1 drop_spoof_nd => 6\n");
}

/* ---- ND that hides ---- */

struct hidden {
	const char *why;
	uint8_t next;	  /* of the IPv6 header */
	uint8_t ext[104]; /* extension headers */
	uint32_t ext_len;
	const char *want; /* for an NA with somebody else's link-layer address behind them */
	bool truth;	  /* with its own address there */
};

static const struct hidden hidden[] = {
	{"none", 58, {0}, 0, "drop_spoof_nd", false},
	{"hop-by-hop", 0, {58, 0}, 8, "drop_spoof_nd", false},
	{"destination options of 104 bytes: beyond the head", 60, {58, 12}, 104, "drop_spoof_nd", false},
	{"authentication header, in units of four", 51, {58, 4}, 24, "drop_spoof_nd", false},
	{"routing, then hop-by-hop", 43, {0, 0, 0, 0, 0, 0, 0, 0, 58, 0}, 16, "drop_spoof_nd", false},
	{"first fragment", 44, {58, 0, 0, 1}, 8, "drop_spoof_nd", false},
	{"a fragment that tells the truth", 44, {58, 0, 0, 1}, 8, "drop_spoof_nd", true},
	{"hop-by-hop and the truth", 0, {58, 0}, 8, "2", true},
	{"later fragment: has no ICMPv6 header", 44, {58, 0, 0, 8}, 8, "2", false},
	{"extension longer than the packet", 0, {58, 255}, 8, "drop_spoof_nd", false},
	{"nine extension headers", 0, {0}, 72, "drop_spoof_nd", false},
	{"not ICMPv6", 17, {0}, 0, "2", false},
};

static void neighbour_discovery_that_hides(void **state)
{
	struct sw *sw = sw_create(&(struct sw_limits){.ports = 2, .networks = 1, .fdb = 1});
	struct sw_network net = {.id = 1, .uplink = SW_NO_PORT};
	struct sw_port ports[2] = {
		{.id = 1,
		 .up = true,
		 .network = 1,
		 .pinned = true,
		 .mac = {2, 0, 0, 0, 0, 1},
		 .anti_spoof = true},
		{.id = 2, .up = true, .network = 1, .pinned = true, .mac = {2, 0, 0, 0, 0, 2}},
	};

	(void)state;
	assert_int_equal(sw_apply(sw, &(struct sw_config){&net, 1, ports, 2}), 0);
	for (size_t i = 0; i < sizeof hidden / sizeof hidden[0]; i++) {
		for (uint32_t piece = 0; piece < 12; piece += 3) {
			uint8_t b[512] = {0}, *eth = b + 12, *nd;
			char got[64];
			struct frame f;
			struct sw_out out;

			memcpy(eth, (uint8_t[]){2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x86, 0xdd}, 14);
			script_ip6(eth + 14, "2001:db8::1", hidden[i].next,
				   (uint16_t)(hidden[i].ext_len + 32));
			memcpy(eth + 54, hidden[i].ext, hidden[i].ext_len);
			nd = eth + 54 + hidden[i].ext_len;
			nd[0] = 136;
			memcpy(nd + 24, (uint8_t[]){2, 1, 2, 0, 0, 0, 0, hidden[i].truth ? 1 : 2}, 8);
			script_frame(&f, b, (uint32_t)(nd + 32 - b), piece);
			sw_input(sw, 1, 0, &f, 0, &out);
			script_outs(&out, got, sizeof got);
			if (strcmp(got, hidden[i].want))
				fail_msg("%s: wanted %s, got %s", hidden[i].why, hidden[i].want, got);
		}
	}
	sw_destroy(sw);
}

static void options_are_followed_to_the_end(void **state)
{
	struct sw *sw = sw_create(&(struct sw_limits){.ports = 2, .networks = 1, .fdb = 1});
	struct sw_network net = {.id = 1, .uplink = SW_NO_PORT};
	struct sw_port ports[2] = {
		{.id = 1,
		 .up = true,
		 .network = 1,
		 .pinned = true,
		 .mac = {2, 0, 0, 0, 0, 1},
		 .anti_spoof = true},
		{.id = 2, .up = true, .network = 1, .pinned = true, .mac = {2, 0, 0, 0, 0, 2}},
	};
	uint8_t b[512] = {0}, *eth = b + 12, *opt = eth + 54 + 16;
	struct frame f;
	struct sw_out out;

	(void)state;
	assert_int_equal(sw_apply(sw, &(struct sw_config){&net, 1, ports, 2}), 0);
	memcpy(eth, (uint8_t[]){2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x86, 0xdd}, 14);
	script_ip6(eth + 14, "fe80::1", 58, 16 + 64 + 8);
	eth[54] = 134;
	/* A router advertisement: two prefixes, then the source's link-layer address. */
	opt[0] = opt[32] = 3;
	opt[1] = opt[33] = 4;
	memcpy(opt + 64, (uint8_t[]){1, 1, 2, 0, 0, 0, 0, 1}, 8);
	script_frame(&f, b, 12 + 54 + 16 + 72, 5);
	assert_int_equal(sw_input(sw, 1, 0, &f, 0, &out), 1);
	opt[71] = 9;
	assert_int_equal(sw_input(sw, 1, 0, &f, 0, &out), 0);
	assert_int_equal(out.drop, SW_C_drop_spoof_nd);
	opt[71] = 1;
	/* An option of length 0 would never end; a piece of an option cannot be read. */
	opt[33] = 0;
	assert_int_equal(sw_input(sw, 1, 0, &f, 0, &out), 0);
	opt[33] = 4;
	script_frame(&f, b, 12 + 54 + 16 + 68, 5);
	assert_int_equal(sw_input(sw, 1, 0, &f, 0, &out), 0);
	/* An unfinished checksum could be put into the option after the check. */
	script_frame(&f, b, 12 + 54 + 16 + 72, 5);
	b[0] = 1;
	b[6] = 54;
	b[8] = 2;
	assert_int_equal(sw_input(sw, 1, 0, &f, 0, &out), 0);
	assert_int_equal(out.drop, SW_C_drop_bad_offload);
	sw_destroy(sw);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mac),
		cmocka_unit_test(arp),
		cmocka_unit_test(ipv4),
		cmocka_unit_test(ipv6),
		cmocka_unit_test(neighbour_discovery),
		cmocka_unit_test(neighbour_discovery_that_hides),
		cmocka_unit_test(options_are_followed_to_the_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

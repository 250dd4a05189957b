/* SPDX-License-Identifier: Apache-2.0 */
/* The virtio_net_hdr must describe the frame behind it. */
#include "script.h"

struct row {
	const char *why;
	uint8_t flags, gso_type;
	uint16_t hdr_len, gso_size, csum_start, csum_offset;
	uint16_t ethertype;
	uint8_t proto;
	uint32_t len; /* of the Ethernet frame */
	bool pass;
};

static const struct row rows[] = {
	{"plain", 0, 0, 0, 0, 0, 0, 0x0800, 6, 100, true},
	{"fields without their flag are ignored", 0, 0, 60000, 9, 60000, 60000, 0x0800, 6, 100, true},
	{"unknown flags are ignored", 0xf8, 0, 0, 0, 0, 0, 0x0800, 6, 100, true},
	{"TCP checksum", 1, 0, 0, 0, 34, 16, 0x0800, 6, 100, true},
	{"checksum ends with the frame", 1, 0, 0, 0, 34, 64, 0x0800, 6, 100, true},
	{"checksum one byte beyond", 1, 0, 0, 0, 34, 65, 0x0800, 6, 100, false},
	{"start and offset do not wrap", 1, 0, 0, 0, 65535, 65535, 0x0800, 6, 100, false},
	{"into the IPv4 source", 1, 0, 0, 0, 14, 12, 0x0800, 6, 100, false},
	{"one before the payload", 1, 0, 0, 0, 33, 16, 0x0800, 6, 100, false},
	{"into the IPv6 source", 1, 0, 0, 0, 14, 8, 0x86dd, 6, 100, false},
	{"IPv6 checksum", 1, 0, 0, 0, 54, 16, 0x86dd, 6, 100, true},
	{"into the source MAC", 1, 0, 0, 0, 0, 6, 0x88b5, 0, 100, false},
	{"other protocols behind the header", 1, 0, 0, 0, 14, 0, 0x88b5, 0, 100, true},
	{"ARP has no checksum", 1, 0, 0, 0, 42, 0, 0x0806, 0, 100, false},
	{"RARP neither", 1, 0, 0, 0, 42, 0, 0x8035, 0, 100, false},
	{"IPv4 header cut short", 1, 0, 0, 0, 20, 0, 0x0800, 6, 33, false},
	{"TSO", 1, 1, 54, 1448, 34, 16, 0x0800, 6, 60000, true},
	{"TSO with ECN", 1, 0x81, 54, 1448, 34, 16, 0x0800, 6, 60000, true},
	{"TSO of segment size 0", 1, 1, 54, 0, 34, 16, 0x0800, 6, 60000, false},
	{"TSO header as long as the frame", 1, 1, 100, 9, 34, 16, 0x0800, 6, 100, true},
	{"TSO header longer than the frame", 1, 1, 101, 9, 34, 16, 0x0800, 6, 100, false},
	{"TSO of UDP", 1, 1, 54, 1448, 34, 16, 0x0800, 17, 60000, false},
	{"TSO of IPv6 as IPv4", 1, 1, 54, 1448, 54, 16, 0x86dd, 6, 60000, false},
	{"TSO6", 1, 4, 74, 1428, 54, 16, 0x86dd, 6, 60000, true},
	{"TSO6 of IPv4", 1, 4, 54, 1428, 34, 16, 0x0800, 6, 60000, false},
	{"UFO", 1, 3, 42, 1472, 34, 6, 0x0800, 17, 60000, true},
	{"USO", 1, 5, 42, 1472, 34, 6, 0x86dd, 17, 60000, false},
	{"USO of IPv6", 1, 5, 62, 1452, 54, 6, 0x86dd, 17, 60000, true},
	{"segmented ARP", 0, 5, 42, 1472, 0, 0, 0x0806, 0, 60000, false},
	{"gso_type 2", 1, 2, 54, 1448, 34, 16, 0x0800, 6, 60000, false},
	{"gso_type 6", 1, 6, 54, 1448, 34, 16, 0x0800, 6, 60000, false},
	{"ECN without a kind", 1, 0x80, 54, 1448, 34, 16, 0x0800, 6, 60000, false},
};

static void table(void **state)
{
	static uint8_t b[FRAME_MAX];
	struct sw *sw = sw_create(&(struct sw_limits){.ports = 2, .networks = 1, .fdb = 8});
	struct sw_network net = {.id = 1, .uplink = SW_NO_PORT};
	struct sw_port ports[2] = {{.id = 1, .up = true, .network = 1}, {.id = 2, .up = true, .network = 1}};
	uint64_t passed = 0, gso = 0, n = sizeof rows / sizeof rows[0];

	(void)state;
	assert_int_equal(sw_apply(sw, &(struct sw_config){&net, 1, ports, 2}), 0);
	for (const struct row *r = rows; r < rows + n; r++) {
		uint16_t fields[4] = {r->hdr_len, r->gso_size, r->csum_start, r->csum_offset};
		struct frame f;
		struct sw_out out;

		memset(b, 0, 256);
		b[0] = r->flags;
		b[1] = r->gso_type;
		memcpy(b + 2, fields, 8);
		memset(b + 12, 255, 6);
		b[18] = 2;
		b[24] = (uint8_t)(r->ethertype >> 8);
		b[25] = (uint8_t)r->ethertype;
		b[26] = r->ethertype == 0x0800 ? 0x45 : 0x60;
		b[r->ethertype == 0x0800 ? 35 : 32] = r->proto;
		script_frame(&f, b, 12 + r->len, 5);
		sw_input(sw, 1, 0, &f, 0, &out);
		if (out.n != r->pass || (!r->pass && out.drop != SW_C_drop_bad_offload))
			fail_msg("%s: %s", r->why, out.n ? "passed" : sw_counter_names[out.drop]);
		passed += r->pass;
		gso += r->pass && r->gso_type;
	}
	assert_int_equal(sw_counters(sw)[SW_C_drop_bad_offload], n - passed);
	assert_int_equal(sw_port_counters(sw, 2)[SW_C_tx_frames], passed);
	assert_int_equal(sw_port_counters(sw, 2)[SW_C_tx_gso], gso);
	sw_destroy(sw);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(table)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

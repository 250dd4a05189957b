/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz-rooms: appliance/switch */
/*
 * Frames from hostile guests and from the LAN. The input is a run of records: port (1 byte), time
 * step in seconds (1), bytes per segment (1), length (2, little endian), then the frame with its
 * virtio_net_hdr. Beyond memory safety this checks what a verdict promises.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "appliance/switch/switch.h"

#define RECORD 5u

static const struct sw_addr addrs[] = {
	{4, 32, {10, 0, 0, 1}},
	{6, 64, {0x20, 0x01, 0x0d, 0xb8}},
};
static const struct sw_network nets[] = {{1, 9, 100}, {2, 9, 0}};
static const struct sw_port ports[] = {
	{.id = 1,
	 .up = true,
	 .network = 1,
	 .pinned = true,
	 .mac = {2, 0, 0, 0, 0, 1},
	 .anti_spoof = true,
	 .addrs = addrs,
	 .naddrs = 2},
	{.id = 2, .up = true, .network = 1, .pinned = true, .mac = {2, 0, 0, 0, 0, 2}, .anti_spoof = true},
	{.id = 3, .up = true, .network = 1, .max_macs = 3},
	{.id = 4, .up = true, .network = 2, .anti_spoof = true},
	{.id = 9, .kind = SW_UPLINK, .up = true},
};

static void must(int ok)
{
	if (!ok)
		abort();
}

static void build(struct frame *f, const uint8_t *data, uint32_t len, uint32_t piece)
{
	memset(f, 0, sizeof *f);
	while (f->len < len) {
		uint32_t n = len - f->len;

		if (piece && n > piece && f->nseg < FRAME_SEGS - 1)
			n = piece;
		must(frame_add(f, data + f->len, n, NULL) == 0);
	}
}

static void check(uint32_t port, const uint8_t *data, const struct sw_out *out)
{
	if (out->n == 0) {
		must(out->drop >= SW_C_drop_no_port && out->drop < SW_NCOUNTERS);
		return;
	}
	for (uint32_t i = 0; i < out->n; i++)
		must(out->to[i].port != port);
	/* The pinned ones speak for themselves alone. */
	if (port == 1 || port == 2)
		must(memcmp(data + 18, ports[port - 1].mac, 6) == 0);
	/* Nobody else in their network speaks for them. */
	if (port == 3)
		must(memcmp(data + 18, ports[0].mac, 6) && memcmp(data + 18, ports[1].mac, 6));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sw_limits l = {.ports = 5, .uplinks = 1, .networks = 2, .addrs = 2, .fdb = 8, .seed = 1};
	struct sw *sw = sw_create(&l);
	const uint64_t *c = sw_counters(sw);
	uint64_t now = 0, frames = 0, forwarded = 0, drops = 0;

	must(sw_apply(sw, &(struct sw_config){nets, 2, ports, 5}) == 0);
	while (size >= RECORD) {
		uint32_t port = data[0] % 16u, len = data[3] | (uint32_t)data[4] << 8;
		uint16_t vlan = data[0] & 0x80 ? 100 : data[0] & 0x40 ? 4095 : 0;
		struct frame f;
		struct sw_out out;

		if (len > size - RECORD)
			len = (uint32_t)(size - RECORD);
		now += data[1] * 1000000000ull;
		build(&f, data + RECORD, len, data[2]);
		must(sw_input(sw, port, vlan, &f, now, &out) == out.n);
		check(port, data + RECORD, &out);
		frames++;
		forwarded += out.n > 0;
		data += RECORD + len;
		size -= RECORD + len;
	}
	for (int i = SW_C_drop_no_port; i < SW_NCOUNTERS; i++)
		drops += c[i];
	must(frames == forwarded + drops);
	must(sw_fdb_count(sw) <= 8);
	sw_destroy(sw);
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The port on DPDK's ring device, whose transmit queue is its own receive queue: no root, no
 * interface, ordinary memory.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <errno.h>
#include <sched.h>
#include <string.h>
#include <cmocka.h>

#include <rte_ethdev.h>

#include "appliance/port/eal.h"
#include "appliance/port/port_dpdk.h"

#define FRAMES 64

struct fixture {
	struct frame_pool *frames;
	struct buf_pool *bufs;
	struct port *port;
	cpu_set_t cpus; /* before the EAL */
};

static int open_port(void **state)
{
	static struct fixture x;
	struct eal_cfg eal = {.memory = EAL_MEMORY_PLAIN, .memory_mb = 32};
	struct port_dpdk_cfg cfg = {.dev = "net_ring0", .mbufs = 1023};
	char why[300] = "";
	int err;

	sched_getaffinity(0, sizeof(x.cpus), &x.cpus);
	if (eal_start(&eal, why, sizeof(why)))
		fail_msg("%s", why);
	x.frames = cfg.frames = frame_pool_create(FRAMES);
	x.bufs = buf_pool_create(4, FRAME_MAX);
	x.port = port_dpdk_create(&cfg, &err, why, sizeof(why));
	if (!x.port)
		fail_msg("%s", why);
	*state = &x;
	return 0;
}

static int close_port(void **state)
{
	struct fixture *x = *state;

	x->port->ops->destroy(x->port);
	frame_pool_destroy(x->frames); /* asserts that all are back */
	buf_pool_destroy(x->bufs);
	eal_stop();
	return 0;
}

/* A frame of len bytes behind the virtio header, dst and src MAC 2 and 4, a counting body. */
static struct frame *make(struct fixture *x, uint32_t len)
{
	struct buf *b = buf_get(x->bufs);
	struct frame *f = frame_get(x->frames);

	memset(b->base, 0, 12);
	for (uint32_t i = 0; i < len; i++)
		b->base[12 + i] = (uint8_t)(i < 6 ? 2 : i < 12 ? 4 : i);
	memcpy(b->base + 24, "\x88\xb5", 2); /* local experiments */
	frame_add(f, b->base, 5, b);	     /* in three pieces */
	frame_add(f, b->base + 5, 20, b);
	frame_add(f, b->base + 25, len - 13, b);
	buf_put(b);
	return f;
}

static void port_dpdk__round_trip_with_and_without_tag(void **state)
{
	struct fixture *x = *state;
	struct port *p = x->port;
	uint8_t was[1600], is[1600];

	for (unsigned vlan = 0; vlan <= 4094; vlan += 4094 / 2) {
		struct frame *f = make(x, 1514);
		struct port_tx tx = {.frame = f, .vlan = (uint16_t)vlan};
		struct port_rx rx[4];

		assert_int_equal(p->ops->send(p, &tx, 1), 1);
		assert_int_equal(p->ops->recv(p, rx, 4), 1);
		assert_int_equal(rx[0].vlan, vlan);
		assert_int_equal(frame_read(rx[0].frame, 0, is, sizeof(is)), 12 + 1514);
		assert_int_equal(is[10], 1); /* num_buffers */
		frame_read(f, 0, was, sizeof(was));
		assert_memory_equal(is + 12, was + 12, 1514);
		is[10] = 0;
		assert_memory_equal(is, was, 12);
		frame_put(rx[0].frame);
		frame_put(f);
		assert_int_equal(p->ops->recv(p, rx, 4), 0);
	}
}

static void port_dpdk__priority_is_not_part_of_the_vlan(void **state)
{
	struct fixture *x = *state;
	struct port *p = x->port;
	struct frame *f = make(x, 100);
	/* The sender writes the tag as it is given: priority 5, then VLAN 0 as a priority tag. */
	struct port_tx tx[2] = {{.frame = f, .vlan = 5 << 13 | 100}, {.frame = f, .vlan = 5 << 13}};
	struct port_rx rx[4];

	assert_int_equal(p->ops->send(p, tx, 2), 2);
	assert_int_equal(p->ops->recv(p, rx, 4), 2);
	assert_int_equal(rx[0].vlan, 100);
	assert_int_equal(rx[1].vlan, PORT_VLAN_NONE);
	assert_int_equal(rx[1].frame->len, f->len);
	frame_put(rx[0].frame);
	frame_put(rx[1].frame);
	frame_put(f);
}

static void port_dpdk__received_bytes_live_as_long_as_the_frame(void **state)
{
	struct fixture *x = *state;
	struct port *p = x->port;
	struct frame *f = make(x, 60);
	struct port_tx tx = {.frame = f};
	struct port_rx rx;
	struct frame *clone;
	uint8_t b[72];

	p->ops->send(p, &tx, 1);
	assert_int_equal(p->ops->recv(p, &rx, 1), 1);
	clone = frame_clone(rx.frame);
	frame_put(rx.frame);
	/* The mbuf must not have come round again. */
	for (int i = 0; i < 2000; i++) {
		p->ops->send(p, &tx, 1);
		assert_int_equal(p->ops->recv(p, &rx, 1), 1);
		assert_ptr_not_equal(rx.frame->seg[0].data, clone->seg[0].data);
		frame_put(rx.frame);
	}
	assert_int_equal(frame_read(clone, 0, b, sizeof(b)), 72);
	assert_int_equal(b[71], 59);
	frame_put(clone);
	frame_put(f);
}

static void port_dpdk__drops_have_names(void **state)
{
	struct fixture *x = *state;
	struct port *p = x->port;
	struct frame *f = make(x, 1515), *held[FRAMES];
	struct port_tx tx = {.frame = f};
	struct port_rx rx[4];
	uint8_t mac[6];
	int n = 0;

	assert_int_equal(p->ops->send(p, &tx, 1), 0);
	assert_int_equal(p->counters[PORT_C_drop_tx_oversize], 1);
	frame_put(f);

	f = make(x, 60);
	tx.frame = f;
	((uint8_t *)(uintptr_t)f->seg[0].data)[1] = 77; /* gso_type */
	assert_int_equal(p->ops->send(p, &tx, 1), 0);
	assert_int_equal(p->counters[PORT_C_drop_tx_header], 1);
	((uint8_t *)(uintptr_t)f->seg[0].data)[1] = 0;

	memcpy((uint8_t *)(uintptr_t)f->seg[0].data + 24, "\x81\x00", 2);
	assert_int_equal(p->ops->send(p, &tx, 1), 0);
	assert_int_equal(p->counters[PORT_C_drop_tx_tagged], 1);
	memcpy((uint8_t *)(uintptr_t)f->seg[0].data + 24, "\x88\xb5", 2);

	/* Our own MAC as source comes back from the wire. */
	p->ops->mac(p, mac);
	memcpy((uint8_t *)(uintptr_t)f->seg[0].data + 18, mac, 6);
	assert_int_equal(p->ops->send(p, &tx, 1), 1);
	assert_int_equal(p->ops->recv(p, rx, 4), 0);
	assert_int_equal(p->counters[PORT_C_drop_rx_loop], 1);
	memset((uint8_t *)(uintptr_t)f->seg[0].data + 18, 4, 6);

	while ((held[n] = frame_get(x->frames)))
		n++;
	assert_int_equal(p->ops->send(p, &tx, 1), 1);
	assert_int_equal(p->ops->recv(p, rx, 4), 0);
	assert_int_equal(p->counters[PORT_C_drop_rx_noframe], 1);
	while (n)
		frame_put(held[--n]);

	/* Buffers go out until none is left; all of them come back. */
	for (n = 0; n < 3000 && p->ops->send(p, &tx, 1) == 1; n++)
		;
	assert_in_range(n, 500, 1023);
	assert_int_equal(p->counters[PORT_C_drop_tx_nobuf] + p->counters[PORT_C_drop_tx_full], 1);
	for (int got; (got = p->ops->recv(p, rx, 4)) > 0; n -= got)
		for (int i = 0; i < got; i++)
			frame_put(rx[i].frame);
	assert_int_equal(n, 0);
	frame_put(f);
}

static void eal__starts_once_and_gives_the_cpus_back(void **state)
{
	struct fixture *x = *state;
	struct eal_cfg eal = {.memory = EAL_MEMORY_PLAIN};
	char why[300] = "";
	cpu_set_t now;

	sched_getaffinity(0, sizeof(now), &now);
	assert_true(CPU_EQUAL(&now, &x->cpus));
	assert_int_equal(eal_start(&eal, why, sizeof(why)), -EALREADY);
	assert_non_null(strstr(why, "before"));
}

static void port_dpdk__create_says_why_not(void **state)
{
	struct fixture *x = *state;
	static const struct {
		const char *dev;
		uint32_t mtu;
		const char *says;
	} bad[] = {
		{"net_ring0", 0, "in use"},
		{"af_packet:", 0, "no interface name"},
		{"af_xdp:nosuchif0", 0, "no interface"},
		{"net_nosuch0", 0, "no such device"},
		{"af_xdp:lo", 9000, "at most"},
		{"af_packet:lo", 100, "not within"},
		{"af_packet:lo,iface=x", 0, "no interface name"},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct port_dpdk_cfg cfg = {.dev = bad[i].dev, .mtu = bad[i].mtu, .frames = x->frames};
		char why[300] = "";
		int err = 0;

		assert_null(port_dpdk_create(&cfg, &err, why, sizeof(why)));
		assert_true(err < 0);
		if (!strstr(why, bad[i].says))
			fail_msg("%s: %s", bad[i].dev, why);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(port_dpdk__round_trip_with_and_without_tag),
		cmocka_unit_test(port_dpdk__priority_is_not_part_of_the_vlan),
		cmocka_unit_test(port_dpdk__received_bytes_live_as_long_as_the_frame),
		cmocka_unit_test(port_dpdk__drops_have_names),
		cmocka_unit_test(eal__starts_once_and_gives_the_cpus_back),
		cmocka_unit_test(port_dpdk__create_says_why_not),
	};

	return cmocka_run_group_tests(tests, open_port, close_port);
}

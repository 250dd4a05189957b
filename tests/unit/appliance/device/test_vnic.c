/* SPDX-License-Identifier: Apache-2.0 */
/* The virtual NIC over both ends of a real tunnel: credit, its queue, attachments that come and go. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "appliance/device/vnic.h"
#include "tests/lib/vqt_world.h"

#define WIRE	7
#define SEC	1000000000ull
#define LEN	1000u
#define SOURCES 64
#define WAITING 512

struct fixture {
	struct vw w;
	struct fake_ring rx, tx;
	struct vqt_hdev *hd;
	struct vnic *v;
	struct vnic_world world;
	uint32_t epoch;
	struct frame_pool *frames; /* of the world: what waits */
	struct buf_pool *waiting, *shape;
	struct frame_pool *src_frames; /* what a port or another session received */
	struct buf_pool *src_bufs;
	unsigned forwarded;
	uint64_t forwarded_bytes;
};

static void forward(void *ctx, uint32_t port, struct frame *f)
{
	struct fixture *x = ctx;

	assert_int_equal(port, 3);
	x->forwarded++;
	x->forwarded_bytes += f->len - VQT_NET_HDR;
	frame_put(f);
}

static void touched(void *session)
{
	(void)session;
}

static void bind(struct fixture *x)
{
	struct vqt_bind b = {.wire = WIRE, .epoch = ++x->epoch, .rel = RT_REL_FULL};

	assert_int_equal(
		vnic_bind(x->v, &x->world, x->w.peer, x, WIRE, x->epoch, VQT_WINDOW_MIN, RT_REL_FULL), 0);
	assert_int_equal(vqt_hdev_bind(x->hd, &b), 0);
	vnic_guest(x->v, 0, 1);
}

static void unbind(struct fixture *x)
{
	vnic_unbind(x->v);
	vqt_hdev_unbind(x->hd);
}

static int setup(void **state)
{
	struct fixture *x = calloc(1, sizeof(*x));
	struct vw_cfg wc = {.dev_ops = &device_tunnel_ops};
	struct vnic_cfg vc = {.port = 3, .mtu = 1500, .pairs = 1};
	void *rings[2] = {&x->rx, &x->tx};
	struct vqt_hdev_cfg hc = {.type = VQT_NET,
				  .user = &x->w,
				  .ring_ops = &fake_ring_ops,
				  .nvq = 2,
				  .rings = rings,
				  .window = VQT_WINDOW_MIN};
	int err;

	vw_init(&x->w, &wc);
	fake_ring_init(&x->rx);
	fake_ring_init(&x->tx);
	x->frames = frame_pool_create(8192);
	x->waiting = buf_pool_create(WAITING, 2048);
	x->shape = buf_pool_create(4, 66 << 10);
	x->src_frames = frame_pool_create(SOURCES);
	x->src_bufs = buf_pool_create(SOURCES, 70000);
	x->world = (struct vnic_world){.forward = forward,
				       .touched = touched,
				       .ctx = x,
				       .frames = x->frames,
				       .bufs = x->shape,
				       .waiting = x->waiting};
	x->v = vnic_create(&vc);
	x->hd = vqt_host_attach(x->w.host, &hc, &err);
	assert_non_null(x->hd);
	bind(x);
	assert_int_equal(vqt_host_queue_start(x->hd, 0, true), 0);
	assert_int_equal(vqt_host_queue_start(x->hd, 1, true), 0);
	*state = x;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *x = *state;

	vnic_unbind(x->v);
	vnic_destroy(x->v);
	vqt_host_detach(x->hd);
	vw_fini(&x->w);
	fake_ring_fini(&x->rx);
	fake_ring_fini(&x->tx);
	/* These assert that everything is back. */
	frame_pool_destroy(x->frames);
	buf_pool_destroy(x->waiting);
	buf_pool_destroy(x->shape);
	frame_pool_destroy(x->src_frames);
	buf_pool_destroy(x->src_bufs);
	free(x);
	return 0;
}

/* A frame as a link delivers it: it refers to the link's memory. */
static void deliver(struct fixture *x, uint32_t len, uint32_t number)
{
	struct frame *f = frame_get(x->src_frames);
	struct buf *b = buf_get(x->src_bufs);

	assert_non_null(f);
	assert_non_null(b);
	memset(b->base, 0, VQT_NET_HDR + len);
	memcpy(b->base + VQT_NET_HDR + 14, &number, 4);
	frame_add(f, b->base, VQT_NET_HDR + len, b);
	buf_put(b);
	vnic_deliver(x->v, f, x->w.now);
}

static void give_buffers(struct fixture *x, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		fake_ring_add1(&x->rx, NULL, 0, 2048);
	vqt_host_kick(x->hd, 0);
}

/* Frames that the guest has received since, in order from *next on. */
static unsigned received(struct fixture *x, uint32_t *next)
{
	struct fake_chain *c;
	unsigned n = 0;

	for (; (c = fake_ring_used(&x->rx)); n++) {
		uint32_t number;

		assert_int_equal(c->written, VQT_NET_HDR + LEN);
		fake_chain_read(c, VQT_NET_HDR + 14, &number, 4);
		assert_int_equal(number, *next);
		(*next)++;
	}
	return n;
}

static uint64_t value(const struct fixture *x, enum vnic_counter c)
{
	return counter_get(&vnic_counters(x->v)[c]);
}

static void frames_of_the_guest_reach_the_switch(void **state)
{
	struct fixture *x = *state;
	static uint8_t bytes[VQT_NET_HDR + 60000];

	fake_ring_add1(&x->tx, bytes, VQT_NET_HDR + 60, 0);
	fake_ring_add1(&x->tx, bytes, VQT_NET_HDR + 60000, 0);
	vqt_host_kick(x->hd, 1);
	vw_run(&x->w, SEC);
	assert_int_equal(x->forwarded, 2);
	assert_int_equal(x->forwarded_bytes, 60060);
	assert_int_equal(value(x, VNIC_C_tx_frames), 2);
	assert_int_equal(value(x, VNIC_C_tx_super), 1);
}

/* A guest that is paused: what comes for it waits, but in memory of its own. */
static void what_waits_holds_nothing_of_the_link(void **state)
{
	struct fixture *x = *state;
	uint32_t next = 0, sent = 0;

	/* Beyond the credit: 256 KiB in steps of 64 bytes. */
	while (value(x, VNIC_C_rx_queued) < 100) {
		deliver(x, LEN, sent++);
		vw_run(&x->w, SEC);
		assert_true(sent < 1000);
	}
	assert_int_equal(frame_pool_available(x->src_frames), SOURCES);
	assert_int_equal(buf_pool_available(x->src_bufs), SOURCES);
	assert_int_equal(buf_pool_available(x->waiting), WAITING - 100);
	/* It goes on: everything comes, in order, and nothing overtakes. */
	for (unsigned rounds = 0; next < sent && rounds < 200; rounds++) {
		give_buffers(x, 16);
		vw_run(&x->w, SEC);
		if (rounds == 3)
			deliver(x, LEN, sent++);
		received(x, &next);
	}
	assert_int_equal(next, sent);
	assert_int_equal(buf_pool_available(x->waiting), WAITING);
	assert_int_equal(value(x, VNIC_C_rx_frames), sent);
}

static void a_queue_takes_its_share_and_no_more(void **state)
{
	struct fixture *x = *state;

	for (uint32_t i = 0; i < 3000; i++)
		deliver(x, LEN, i);
	/* A quarter of what is left: a fifth of all. */
	assert_in_range(buf_pool_available(x->waiting), WAITING * 4 / 5 - 2, WAITING * 4 / 5 + 2);
	assert_in_range(value(x, VNIC_C_drop_rx_no_memory), 1, 3000);
	assert_int_equal(value(x, VNIC_C_rx_frames) + value(x, VNIC_C_rx_queued) +
				 value(x, VNIC_C_drop_rx_no_memory),
			 3000);
	/* Frames of 64 KiB too: all their pieces count. */
	for (uint32_t i = 0; i < 100; i++)
		deliver(x, 1500, i);
	assert_in_range(buf_pool_available(x->waiting), WAITING * 4 / 5 - 2, WAITING);
}

static void a_queue_is_bounded_in_frames(void **state)
{
	struct fixture *x = *state;
	struct buf_pool *plenty = buf_pool_create(16384, 2048);

	unbind(x);
	x->world.waiting = plenty;
	bind(x);
	for (uint32_t i = 0; i < 6000; i++)
		deliver(x, 60, i);
	assert_int_equal(value(x, VNIC_C_rx_queued), VNIC_QUEUE_MAX);
	assert_int_equal(value(x, VNIC_C_drop_rx_queue_full),
			 6000 - VNIC_QUEUE_MAX - value(x, VNIC_C_rx_frames));
	unbind(x);
	assert_int_equal(value(x, VNIC_C_drop_rx_detached), VNIC_QUEUE_MAX);
	buf_pool_destroy(plenty); /* asserts that all are back */
}

static void nothing_is_sent_to_a_guest_that_is_not_there(void **state)
{
	struct fixture *x = *state;

	vnic_guest(x->v, 0, 0);
	deliver(x, LEN, 0);
	unbind(x);
	deliver(x, LEN, 1);
	assert_int_equal(value(x, VNIC_C_drop_rx_detached), 2);
	assert_int_equal(value(x, VNIC_C_rx_frames), 0);
}

static void an_attachment_ends_with_frames_under_way_and_the_next_one_works(void **state)
{
	struct fixture *x = *state;
	uint32_t next = 0;

	for (int turn = 0; turn < 5; turn++) {
		uint32_t got;

		for (uint32_t i = 0; i < 400; i++)
			deliver(x, LEN, i);
		give_buffers(x, 8);
		vw_run(&x->w, 30000); /* not to the end */
		unbind(x);
		vw_run(&x->w, SEC);
		next = 0;
		received(x, &next); /* in order as far as it came */
		assert_int_equal(buf_pool_available(x->waiting), WAITING);
		bind(x);
		next = 7000;
		for (uint32_t i = 0; i < 20; i++)
			deliver(x, LEN, next + i);
		give_buffers(x, 40);
		vw_run(&x->w, SEC);
		got = received(x, &next);
		assert_int_equal(got, 20);
	}
}

static void counters_add_up_over_attachments(void **state)
{
	struct fixture *x = *state;
	const uint64_t *t = vnic_tunnel_counters(x->v);
	uint32_t next = 0;

	for (uint32_t turn = 1; turn <= 3; turn++) {
		give_buffers(x, 10);
		for (uint32_t i = 0; i < 10; i++)
			deliver(x, LEN, next + i);
		vw_run(&x->w, SEC);
		assert_int_equal(received(x, &next), 10);
		vnic_publish(x->v);
		assert_int_equal(counter_get(&t[VQT_D_tx_frames]), 10 * turn);
		vnic_publish(x->v);
		unbind(x);
		assert_int_equal(counter_get(&t[VQT_D_tx_frames]), 10 * turn);
		vnic_publish(x->v);
		bind(x);
	}
	assert_int_equal(vnic_bind(x->v, &x->world, x->w.peer, x, WIRE, 99, 0, RT_REL_FULL), -EALREADY);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(frames_of_the_guest_reach_the_switch),
		T(what_waits_holds_nothing_of_the_link),
		T(a_queue_takes_its_share_and_no_more),
		T(a_queue_is_bounded_in_frames),
		T(nothing_is_sent_to_a_guest_that_is_not_there),
		T(an_attachment_ends_with_frames_under_way_and_the_next_one_works),
		T(counters_add_up_over_attachments),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

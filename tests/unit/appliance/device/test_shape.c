/* SPDX-License-Identifier: Apache-2.0 */
/* Frames brought into the form that a guest negotiated. */
#include <linux/virtio_net.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "appliance/device/shape.h"

#define ALL                                                                                                  \
	(1ull << VIRTIO_NET_F_GUEST_CSUM | 1ull << VIRTIO_NET_F_GUEST_TSO4 | 1ull << VIRTIO_NET_F_GUEST_TSO6)

static struct frame_pool *frames;
static struct buf_pool *bufs;
static uint8_t bytes[70000];

struct out {
	unsigned n;
	uint32_t len[64];
	uint8_t first[2048];
	uint32_t payload; /* TCP bytes of all */
};

static int setup(void **state)
{
	(void)state;
	frames = frame_pool_create(128);
	bufs = buf_pool_create(128, 66 << 10);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	frame_pool_destroy(frames); /* asserts that all are back */
	buf_pool_destroy(bufs);
	return 0;
}

static void take(void *ctx, struct frame *f)
{
	struct out *o = ctx;

	if (!o->n)
		frame_read(f, 0, o->first, sizeof(o->first));
	o->len[o->n++] = f->len;
	o->payload += f->len - 12 - 14 - 40;
	frame_put(f);
}

/* A TCPv4 frame with `payload` bytes; the pseudo-header sum is in the checksum field, as a guest leaves it.
 */
static struct frame *tcp4(uint32_t payload, uint8_t gso, uint16_t gso_size, uint8_t flags)
{
	struct frame *f = frame_get(frames);
	uint8_t *h = bytes, *ip = bytes + 26, *tcp = bytes + 46;
	uint32_t sum;

	memset(bytes, 0, sizeof(bytes));
	h[0] = flags;
	h[1] = gso;
	h[2] = 54;
	h[4] = (uint8_t)gso_size;
	h[5] = (uint8_t)(gso_size >> 8);
	h[6] = 34; /* csum_start */
	h[8] = 16; /* csum_offset */
	bytes[12 + 12] = 8;
	ip[0] = 0x45;
	ip[2] = (uint8_t)((40 + payload) >> 8);
	ip[3] = (uint8_t)(40 + payload);
	ip[8] = 64;
	ip[9] = 6;
	memcpy(ip + 12, "\x0a\0\0\x01\x0a\0\0\x02", 8);
	sum = 0x0a00 + 0x0001 + 0x0a00 + 0x0002 + 6 + 20 + payload;
	sum = (sum & 0xffff) + (sum >> 16);
	tcp[12] = 0x50;
	tcp[16] = (uint8_t)(sum >> 8);
	tcp[17] = (uint8_t)sum;
	for (uint32_t i = 0; i < payload; i++)
		tcp[20 + i] = (uint8_t)(i * 7);
	assert_int_equal(frame_add(f, bytes, 66 + payload, NULL), 0);
	return f;
}

static uint16_t sum16(const uint8_t *p, uint32_t n, uint32_t sum)
{
	for (uint32_t i = 0; i < n; i++)
		sum += i & 1 ? p[i] : (uint32_t)p[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

static void as_it_is(void **state)
{
	struct out o = {0};
	struct frame *f = tcp4(100, VIRTIO_NET_HDR_GSO_NONE, 0, 0);

	(void)state;
	assert_int_equal(shape_for_guest(f, 0, 1500, frames, bufs, take, &o), SHAPE_AS_IT_IS);
	frame_put(f);
	f = tcp4(30000, VIRTIO_NET_HDR_GSO_TCPV4, 1460, VIRTIO_NET_HDR_F_NEEDS_CSUM);
	assert_int_equal(shape_for_guest(f, ALL, 1500, frames, bufs, take, &o), SHAPE_AS_IT_IS);
	frame_put(f);
	assert_int_equal(o.n, 0);
}

static void checksum_is_finished(void **state)
{
	struct out o = {0};
	struct frame *f = tcp4(101, VIRTIO_NET_HDR_GSO_NONE, 0, VIRTIO_NET_HDR_F_NEEDS_CSUM);
	const uint8_t *tcp = o.first + 46;

	(void)state;
	assert_int_equal(shape_for_guest(f, 0, 1500, frames, bufs, take, &o), SHAPE_CHECKSUMMED);
	frame_put(f);
	assert_int_equal(o.n, 1);
	assert_int_equal(o.len[0], 66 + 101);
	assert_int_equal(o.first[0], 0);
	assert_int_equal(o.first[10], 1);
	/* RFC 9293 section 3.1: with the pseudo-header the sum of all words is all ones. */
	assert_int_equal(sum16(tcp, 121, 0x0a00 + 1 + 0x0a00 + 2 + 6 + 121), 0xffff);
}

static void super_frame_is_cut(void **state)
{
	struct out o = {0};
	struct frame *f = tcp4(30000, VIRTIO_NET_HDR_GSO_TCPV4, 1460, VIRTIO_NET_HDR_F_NEEDS_CSUM);

	(void)state;
	assert_int_equal(shape_for_guest(f, 1ull << VIRTIO_NET_F_GUEST_CSUM, 1500, frames, bufs, take, &o),
			 SHAPE_SEGMENTED);
	frame_put(f);
	assert_int_equal(o.n, 21);
	assert_int_equal(o.payload, 30000);
	for (unsigned i = 0; i < o.n; i++)
		assert_true(o.len[i] <= 12 + 14 + 1500);
}

static void nonsense_fails_and_leaks_nothing(void **state)
{
	static const uint8_t types[] = {2, 3, 5, 0x7f, 0x83};
	struct out o = {0};
	struct frame *f;

	(void)state;
	for (unsigned i = 0; i < sizeof(types); i++) {
		f = tcp4(3000, types[i], 1460, VIRTIO_NET_HDR_F_NEEDS_CSUM);
		assert_int_equal(shape_for_guest(f, 0, 1500, frames, bufs, take, &o), SHAPE_FAILED);
		frame_put(f);
	}
	f = tcp4(30000, VIRTIO_NET_HDR_GSO_TCPV4, 0, VIRTIO_NET_HDR_F_NEEDS_CSUM);
	assert_int_equal(shape_for_guest(f, 0, 1500, frames, bufs, take, &o), SHAPE_FAILED);
	frame_put(f);
	assert_int_equal(o.n, 0);
	assert_int_equal(frame_pool_available(frames), 128);
}

/* When buffers run out in the middle, what was given out was given, and the rest is nobody's leak. */
static void no_buffers(void **state)
{
	struct buf *held[126];
	struct out o = {0};
	struct frame *f = tcp4(30000, VIRTIO_NET_HDR_GSO_TCPV4, 1460, VIRTIO_NET_HDR_F_NEEDS_CSUM);

	(void)state;
	for (int i = 0; i < 126; i++)
		held[i] = buf_get(bufs);
	assert_int_equal(buf_pool_available(bufs), 2);
	assert_int_equal(shape_for_guest(f, 0, 1500, frames, bufs, take, &o),
			 SHAPE_SEGMENTED); /* taken back at once */
	{
		struct buf *last[2] = {buf_get(bufs), buf_get(bufs)};

		o.n = 0;
		assert_int_equal(shape_for_guest(f, 0, 1500, frames, bufs, take, &o), SHAPE_FAILED);
		assert_int_equal(o.n, 0);
		buf_put(last[0]);
		buf_put(last[1]);
	}
	for (int i = 0; i < 126; i++)
		buf_put(held[i]);
	frame_put(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(as_it_is, setup, teardown),
		cmocka_unit_test_setup_teardown(checksum_is_finished, setup, teardown),
		cmocka_unit_test_setup_teardown(super_frame_is_cut, setup, teardown),
		cmocka_unit_test_setup_teardown(nonsense_fails_and_leaks_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(no_buffers, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

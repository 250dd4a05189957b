/* SPDX-License-Identifier: Apache-2.0 */
/* Net headers: what goes up has 12 bytes whatever the guest negotiated, however it cut its descriptors. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/lib/vhost_env.h"

#define ALL (VIRTIO_RING_F_EVENT_IDX | VIRTIO_RING_F_INDIRECT | VIRTIO_F_VERSION_1 | VIRTIO_NET_F_MRG_RXBUF)

static const struct vhost_config net = {.net = true, .nqueues = 2, .queue_size = 256, .features = ALL};

static struct vhost_env env;
static struct vfront *const front = &env.front;
static struct vqt_chain c;

static size_t gather(const struct iovec *iov, unsigned n, uint8_t *to)
{
	size_t at = 0;

	for (unsigned i = 0; i < n; i++) {
		memcpy(to + at, iov[i].iov_base, iov[i].iov_len);
		at += iov[i].iov_len;
	}
	return at;
}

static void scatter(const struct iovec *iov, unsigned n, const uint8_t *from)
{
	for (unsigned i = 0; i < n; i++) {
		memcpy(iov[i].iov_base, from, iov[i].iov_len);
		from += iov[i].iov_len;
	}
}

/* Cut [gpa, gpa + total) after each byte whose bit is set in cuts; zero-length pieces where `zeros`. */
static unsigned cut(struct vfront_seg *segs, uint64_t gpa, uint32_t total, unsigned cuts, bool zeros)
{
	unsigned n = 0;
	uint32_t from = 0;

	for (uint32_t i = 1; i <= total; i++) {
		if (i < total && !(i <= 14 && cuts & (1u << (i - 1))))
			continue;
		if (zeros)
			segs[n++] = (struct vfront_seg){gpa, 0};
		segs[n++] = (struct vfront_seg){gpa + from, i - from};
		from = i;
	}
	return n;
}

/* One frame out: header of hdr bytes 1.., then payload; cut every way. */
static void tx_case(unsigned hdr, unsigned cuts, bool zeros, bool indirect)
{
	uint64_t gpa = vfront_alloc(front, 64, 1);
	uint8_t *p = vfront_ptr(front, gpa), got[80];
	struct vfront_seg segs[64];
	unsigned n;

	for (unsigned i = 0; i < hdr + 20; i++)
		p[i] = (uint8_t)(i + 1);
	n = cut(segs, gpa, hdr + 20, cuts, zeros);
	vfront_add(front, 1, segs, n, 0, indirect);
	assert_int_equal(vhost_ring_ops.pop(vhost_ring(env.v, 1), &c), 1);
	assert_int_equal(c.out_len, 32);
	assert_int_equal(c.nin, 0);
	assert_int_equal(gather(c.iov, c.nout, got), 32);
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(got[i], i + 1);
	if (hdr == 10)
		assert_int_equal(got[10] | got[11], 0);
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(got[12 + i], hdr + i + 1);
	vhost_ring_ops.push(vhost_ring(env.v, 1), &c, 0);
	vhost_ring_ops.flush(vhost_ring(env.v, 1));
	front->brk = gpa;
}

/* One frame in: what lands in guest memory, and the length told. */
static void rx_case(unsigned hdr, unsigned cuts, bool zeros, bool indirect)
{
	uint64_t gpa = vfront_alloc(front, 64, 1);
	uint8_t *p = vfront_ptr(front, gpa), frame[32];
	struct vfront_seg segs[64];
	uint32_t head, len;
	unsigned n;

	memset(p, 0xee, 64);
	n = cut(segs, gpa, hdr + 20, cuts, zeros);
	vfront_add(front, 0, segs, 0, n, indirect);
	assert_int_equal(vhost_ring_ops.pop(vhost_ring(env.v, 0), &c), 1);
	assert_int_equal(c.in_len, 32);
	assert_int_equal(c.nout, 0);
	for (unsigned i = 0; i < sizeof(frame); i++)
		frame[i] = (uint8_t)(i + 1);
	scatter(c.iov, c.nin, frame);
	vhost_ring_ops.push(vhost_ring(env.v, 0), &c, 32);
	vhost_ring_ops.flush(vhost_ring(env.v, 0));
	assert_true(vfront_used(front, 0, &head, &len));
	assert_int_equal(len, hdr + 20);
	for (unsigned i = 0; i < hdr; i++)
		assert_int_equal(p[i], i + 1);
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(p[hdr + i], 12 + i + 1);
	assert_int_equal(p[hdr + 20], 0xee);
	front->brk = gpa;
}

static void all_cuts(uint64_t features, unsigned hdr)
{
	bool indirect = features & VIRTIO_RING_F_INDIRECT;

	vhost_env_init(&env, &net);
	vhost_env_run(&env, features, 2, 256);
	for (unsigned cuts = 0; cuts < 1u << 13; cuts++) {
		uint64_t brk = front->brk;

		tx_case(hdr, cuts, cuts % 3 == 0, indirect && cuts % 2);
		rx_case(hdr, cuts, cuts % 3 == 1, indirect && cuts % 2);
		front->brk = brk;
	}
	assert_string_equal(vhost_env_log(&env), "");
	vhost_env_fini(&env);
}

static void header__of_12_bytes_passes_unchanged(void **state)
{
	(void)state;
	all_cuts(ALL, 12);
	all_cuts(VIRTIO_NET_F_MRG_RXBUF, 12);
	all_cuts(VIRTIO_F_VERSION_1 | VIRTIO_RING_F_EVENT_IDX, 12);
}

static void header__of_10_bytes_is_widened(void **state)
{
	(void)state;
	all_cuts(0, 10);
	all_cuts(VIRTIO_RING_F_INDIRECT | VIRTIO_RING_F_EVENT_IDX, 10);
}

static void header__shorter_is_left_for_the_layer_above(void **state)
{
	uint64_t gpa;
	uint32_t head, len;

	(void)state;
	vhost_env_init(&env, &net);
	vhost_env_run(&env, 0, 2, 64);
	gpa = vfront_alloc(front, 64, 1);
	vfront_add1(front, 1, gpa, 9, 0, 0);
	assert_int_equal(vhost_ring_ops.pop(vhost_ring(env.v, 1), &c), 1);
	assert_int_equal(c.out_len, 9);
	/* Told less than a header was written: nothing of ours is counted. */
	vfront_add1(front, 0, 0, 0, gpa, 64);
	for (uint32_t written = 0; written < 13; written++) {
		assert_int_equal(vhost_ring_ops.pop(vhost_ring(env.v, 0), &c), 1);
		vhost_ring_ops.push(vhost_ring(env.v, 0), &c, written);
		vhost_ring_ops.flush(vhost_ring(env.v, 0));
		assert_true(vfront_used(front, 0, &head, &len));
		assert_int_equal(len, written < 10 ? written : 10);
		vfront_add1(front, 0, 0, 0, gpa, 64);
	}
	vhost_env_fini(&env);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(header__of_12_bytes_passes_unchanged),
		cmocka_unit_test(header__of_10_bytes_is_widened),
		cmocka_unit_test(header__shorter_is_left_for_the_layer_above),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* FRAMES: small frames, many in a message, both ways. */
#include "tests/unit/fabric/vqt/vqt_frames.h"

#include <errno.h>

#define RUN_MAX 8192u

static uint8_t run_bytes[RUN_MAX];

/* The i-th frame's length: mostly small, some at the limit, some beyond it. */
static uint32_t len_of(uint32_t i)
{
	static const uint32_t lens[] = {76,   26, 192, 76, 193, 100, 76,   76,
					1526, 27, 191, 76, 76,	76,  4000, 150};

	return lens[i % (sizeof(lens) / sizeof(lens[0]))];
}

static void send(struct setup *s, uint32_t len, uint32_t seed)
{
	vw_pattern(buf, len, seed);
	fake_ring_add1(&s->ring[1], buf, len, 0);
	vqt_host_kick(s->hd, 1);
}

/* A run of n frames of `len` bytes in run_bytes; its length. */
static uint32_t make_run(uint32_t n, uint32_t len, uint32_t seed)
{
	uint32_t at = 0;

	for (uint32_t i = 0; i < n; i++) {
		vqt_small_put_len(run_bytes + at, len);
		vw_pattern(run_bytes + at + VQT_SMALL_LEN, len, seed + i);
		at += VQT_SMALL_LEN + len;
	}
	return at;
}

/* Bytes [off, off + len) of run_bytes, to one end. */
static void piece(struct setup *s, bool host, uint32_t psn, uint32_t pos, uint32_t total, uint32_t off,
		  uint32_t len)
{
	struct rt_rec r = {.kind = VQT_FRAMES,
			   .dev = WIRE,
			   .aux = (uint16_t)EPOCH,
			   .id = pos,
			   .total = total,
			   .offset = off,
			   .len = (uint16_t)len};
	uint8_t *exact = malloc(len);

	assert_non_null(exact);
	memcpy(exact, run_bytes + off, len);
	if (host)
		vqt_host_record(s->w.host, RT_NET, psn, &r, exact);
	else
		vqt_peer_record(s->w.peer, RT_NET, psn, &r, exact, NULL);
	free(exact);
}

static void guest_to_appliance_in_few_messages(void **state)
{
	struct setup *s = fresh_nic(NULL, VQT_WINDOW_MIN);

	(void)state;
	for (uint32_t i = 0; i < 160; i++)
		send(s, 76, i);
	run(s);
	assert_int_equal(s->w.ngot, 160);
	for (uint32_t i = 0; i < 160; i++)
		frame_is(s->w.got[i], 76, i);
	assert_true(vqt_peer_counters(s->w.peer)[VQT_PEER_records] <= 16);
	assert_int_equal(vw_hd(s->hd, VQT_HD_tx_frames), 160);
	assert_int_equal(vw_hd(s->hd, VQT_HD_tx_bytes), 160 * 76);
	assert_int_equal(vw_hd(s->hd, VQT_HD_tx_copied_bytes), 160 * 76);
	assert_int_equal(vw_d(s->d, VQT_D_rx_frames), 160);
	assert_int_equal(vw_d(s->d, VQT_D_rx_bytes), 160 * 76);
	/* Linked, not copied. */
	assert_int_equal(vw_d(s->d, VQT_D_rx_copied), 0);
	teardown(s);
}

static void large_frames_keep_their_place_among_small_ones(void **state)
{
	struct setup *s = fresh_nic(NULL, VQT_WINDOW_MIN);

	(void)state;
	s->w.loss[0] = s->w.loss[1] = 20000;
	s->w.reorder = 50000;
	for (uint32_t i = 0; i < 400; i++)
		send(s, len_of(i), i);
	post(s, 1200, 512);
	run(s);
	assert_int_equal(s->w.ngot, 400);
	for (uint32_t i = 0; i < 400; i++)
		frame_is(s->w.got[i], len_of(i), i);
	for (uint32_t i = 0; i < 400; i++) {
		while (push(s, len_of(i), i) == -EAGAIN)
			run(s);
		if (i % 7 == 0)
			run(s);
	}
	run(s);
	for (uint32_t i = 0; i < 400; i++)
		guest_got(s, len_of(i), i);
	teardown(s);
}

/* What is sent after the message was, or behind something else, begins another one. */
static void a_run_ends_with_its_packet(void **state)
{
	struct setup *s = fresh_nic(NULL, VQT_WINDOW_MIN);

	(void)state;
	for (uint32_t i = 0; i < 5; i++) {
		send(s, 76, i);
		run(s);
	}
	assert_int_equal(vqt_peer_counters(s->w.peer)[VQT_PEER_records], 5);
	post(s, 5, 512);
	for (uint32_t i = 0; i < 5; i++) {
		assert_int_equal(push(s, 76, i), 0);
		run(s);
		guest_got(s, 76, i);
	}
	assert_int_equal(s->w.ngot, 5);
	teardown(s);
}

/* The guest has buffers for some frames of a run only; the stage's end is crossed many times. */
static void buffers_run_out_inside_a_run(void **state)
{
	struct setup *s = fresh_nic(NULL, VQT_WINDOW_MIN);
	uint32_t sent = 0, seen = 0;

	(void)state;
	while (seen < 12000) {
		while (sent < seen + 1000 && !push(s, 76, sent))
			sent++;
		post(s, 7, 512);
		run(s);
		for (unsigned i = 0; i < 7; i++)
			guest_got(s, 76, seen++);
		assert_null(fake_ring_used(&s->ring[0]));
	}
	assert_int_equal(vw_hd(s->hd, VQT_HD_rx_frames), seen);
	assert_int_equal(vw_hd(s->hd, VQT_HD_rx_direct) + vw_hd(s->hd, VQT_HD_rx_staged), seen);
	assert_true(vw_hd(s->hd, VQT_HD_rx_staged) > 0);
	teardown(s);
}

/* Buffers of several pieces, or several buffers: the long way. */
static void buffers_in_pieces(void **state)
{
	struct setup *s = fresh_nic(NULL, VQT_WINDOW_MIN);
	uint32_t ins[] = {12, 30, 100};

	(void)state;
	for (unsigned i = 0; i < 8; i++)
		fake_ring_add(&s->ring[0], NULL, NULL, 0, ins, 3);
	post(s, 8, 40);
	for (uint32_t i = 0; i < 12; i++)
		assert_int_equal(push(s, 76, i), 0);
	vqt_host_kick(s->hd, 0);
	run(s);
	for (uint32_t i = 0; i < 12; i++)
		guest_got(s, 76, i);
	assert_int_equal(s->ring[0].taken, 0);
	teardown(s);
}

static void too_small_a_buffer_costs_one_frame(void **state)
{
	struct setup *s = fresh_nic(NULL, VQT_WINDOW_MIN);

	(void)state;
	vqt_host_queue_stop(s->hd, 0, VQT_STOP_FENCE);
	assert_int_equal(vqt_host_queue_start(s->hd, 0, false), 0);
	post(s, 3, 100);
	assert_int_equal(push(s, 76, 0), 0);
	assert_int_equal(push(s, 150, 1), 0);
	assert_int_equal(push(s, 76, 2), 0);
	assert_int_equal(push(s, 76, 3), 0);
	run(s);
	guest_got(s, 76, 0);
	guest_got(s, 76, 2);
	guest_got(s, 76, 3);
	assert_int_equal(vw_hd(s->hd, VQT_HD_drop_rx_small), 1);
	teardown(s);
}

static void stopped_inside_a_run(void **state)
{
	struct setup *s = fresh_nic(NULL, VQT_WINDOW_MIN);
	unsigned flushes;

	(void)state;
	post(s, 2, 512);
	for (uint32_t i = 0; i < 5; i++)
		assert_int_equal(push(s, 76, i), 0);
	run(s);
	guest_got(s, 76, 0);
	guest_got(s, 76, 1);
	vqt_host_queue_stop(s->hd, 0, VQT_STOP_FENCE);
	assert_int_equal(vqt_host_queue_start(s->hd, 0, true), 0);
	post(s, 4, 512);
	assert_int_equal(push(s, 76, 9), 0);
	run(s);
	guest_got(s, 76, 9);
	assert_null(fake_ring_used(&s->ring[0]));
	/* What was given before the ring broke is not shown either: nothing touches it again. */
	flushes = s->ring[0].flushes;
	s->ring[0].good = 2;
	for (uint32_t i = 0; i < 4; i++)
		assert_int_equal(push(s, 76, 10 + i), 0);
	run(s);
	assert_string_equal(s->w.log, "stopped 0; broken 0; ");
	assert_int_equal(s->ring[0].flushes, flushes);
	teardown(s);
}

/* A packet that was cut for a wider path comes in pieces, in any order. */
static void pieces_in_any_order(void **state)
{
	struct setup *s = fresh_nic(NULL, VQT_WINDOW_MIN);
	uint32_t total = make_run(10, 76, 50), next = vqt_span(total);

	(void)state;
	post(s, 20, 512);
	for (int host = 0; host < 2; host++) {
		piece(s, host, 2, 0, total, 700, total - 700);
		piece(s, host, 1, 0, total, 64, 636);
		assert_int_equal(s->w.ngot, host ? 11 : 0);
		piece(s, host, 0, 0, total, 0, 64);
		piece(s, host, 3, next, 78, 0, 78);
	}
	vqt_host_service(s->w.host, 1000, s->w.now);
	assert_int_equal(s->w.ngot, 11);
	for (uint32_t i = 0; i < 10; i++) {
		frame_is(s->w.got[i], 76, 50 + i);
		guest_got(s, 76, 50 + i);
	}
	guest_got(s, 76, 50);
	teardown(s);
}

/* Frames before the fault are taken, the rest is dropped, and what comes behind has its place. */
static void malformed(void **state)
{
	static const struct {
		uint32_t at, value; /* of a 16-bit length */
		uint32_t total, good;
	} rows[] = {
		{0, 0, 780, 0},	   {0, 25, 780, 0},   {78, VQT_SMALL + 1, 780, 1}, {78, 0xffff, 780, 1},
		{702, 77, 780, 9}, {702, 76, 779, 9}, {702, 76, 703, 9},	   {0, 0, 28, 0},
	};
	struct setup *s;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint32_t next = vqt_span(rows[i].total);

		s = fresh_nic(NULL, VQT_WINDOW_MIN);
		post(s, 20, 512);
		for (int host = 0; host < 2; host++) {
			make_run(10, 76, 0);
			vqt_small_put_len(run_bytes + rows[i].at, rows[i].value);
			piece(s, host, 0, 0, rows[i].total, 0, rows[i].total);
			make_run(1, 76, 99);
			piece(s, host, 1, next, 78, 0, 78);
		}
		vqt_host_service(s->w.host, 1000, s->w.now);
		assert_int_equal(s->w.ngot, rows[i].good + 1);
		for (uint32_t k = 0; k < rows[i].good; k++)
			guest_got(s, 76, k);
		guest_got(s, 76, 99);
		assert_null(fake_ring_used(&s->ring[0]));
		assert_int_equal(vw_hd(s->hd, VQT_HD_drop_rx_malformed), 1);
		assert_int_equal(vw_d(s->d, VQT_D_drop_rx_malformed), 1);
		teardown(s);
	}
	s = fresh_nic(NULL, VQT_WINDOW_MIN);
	piece(s, true, 0, 0, RT_CHUNK_MAX + 1, 0, 64);
	piece(s, false, 0, 0, RT_CHUNK_MAX + 1, 0, 64);
	assert_int_equal(vw_hd(s->hd, VQT_HD_drop_rx_malformed), 1);
	assert_int_equal(vw_d(s->d, VQT_D_drop_rx_malformed), 1);
	teardown(s);
}

/* A message at one position is one frame or many, not both. */
static void one_kind_at_a_position(void **state)
{
	struct setup *s = fresh_nic(NULL, VQT_WINDOW_MIN);
	uint32_t total = make_run(10, 76, 0);
	struct rt_rec r = {.kind = VQT_FRAME,
			   .dev = WIRE,
			   .aux = (uint16_t)EPOCH,
			   .total = total,
			   .offset = 64,
			   .len = 64};

	(void)state;
	for (int host = 0; host < 2; host++)
		piece(s, host, 0, 0, total, 0, 64);
	vqt_host_record(s->w.host, RT_NET, 1, &r, run_bytes + 64);
	vqt_peer_record(s->w.peer, RT_NET, 1, &r, run_bytes + 64, NULL);
	assert_int_equal(vw_hd(s->hd, VQT_HD_drop_rx_malformed), 1);
	assert_int_equal(vw_d(s->d, VQT_D_drop_rx_malformed), 1);
	teardown(s);
}

/* No more is sent than the agent has room for, also by a run that grows. */
static void credit(void **state)
{
	struct setup *s = fresh_nic(NULL, VQT_WINDOW_MIN);
	uint32_t n = 0, seen = 0;

	(void)state;
	while (!push(s, 76, n))
		n++;
	/* 16 to a message of 1248 bytes, which takes 1280. */
	assert_in_range(n, VQT_WINDOW_MIN / 1280 * 16, VQT_WINDOW_MIN / 80 + 1);
	run(s);
	assert_int_equal(vw_hd(s->hd, VQT_HD_drop_rx_credit), 0);
	assert_int_equal(push(s, 76, n), -EAGAIN);
	post(s, n, 128);
	run(s);
	for (; seen < n; seen++)
		guest_got(s, 76, seen);
	assert_int_equal(push(s, 76, n), 0);
	teardown(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(guest_to_appliance_in_few_messages),
		cmocka_unit_test(large_frames_keep_their_place_among_small_ones),
		cmocka_unit_test(a_run_ends_with_its_packet),
		cmocka_unit_test(buffers_run_out_inside_a_run),
		cmocka_unit_test(buffers_in_pieces),
		cmocka_unit_test(too_small_a_buffer_costs_one_frame),
		cmocka_unit_test(stopped_inside_a_run),
		cmocka_unit_test(pieces_in_any_order),
		cmocka_unit_test(malformed),
		cmocka_unit_test(one_kind_at_a_position),
		cmocka_unit_test(credit),
	};

	if (cmocka_run_group_tests_name("in bursts", tests, NULL, NULL))
		return 1;
	one_by_one = true;
	return cmocka_run_group_tests_name("one by one", tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "tests/tools/relay/lane.h"

static struct lane lane;

static void open_lane(const struct lane_cfg *cfg)
{
	assert_int_equal(lane_init(&lane, cfg), 0);
}

static void offer(uint32_t len, uint8_t mark, uint64_t now)
{
	struct lane_frame *f = lane_blank(&lane);

	assert_non_null(f);
	memset(&f->vnet, 0, sizeof(f->vnet));
	f->len = len;
	memset(f->data, mark, len);
	lane_offer(&lane, f, now);
}

/* The mark of the next frame that is due, or -1. */
static int take(uint64_t now)
{
	struct lane_frame *f = lane_take(&lane, now);
	int mark = f ? f->data[0] : -1;

	if (f)
		lane_return(&lane, f);
	return mark;
}

static void lane__a_frame_takes_its_time(void **state)
{
	/* 1 Gb/s: 101 bytes and 24 around them last 1 us. */
	const struct lane_cfg cfg = {.impair = {.delay_ns = 10000}, .rate_bps = 1000000000};

	(void)state;
	open_lane(&cfg);
	offer(101, 1, 5000);
	offer(101, 2, 5000);
	assert_int_equal(lane_due(&lane), 16000);
	assert_int_equal(take(15999), -1);
	assert_int_equal(take(16000), 1);
	assert_int_equal(lane_due(&lane), 17000);
	assert_int_equal(take(17000), 2);
	assert_int_equal(lane_due(&lane), UINT64_MAX);
	lane_fini(&lane);
}

static void lane__a_full_queue_drops_what_comes_last(void **state)
{
	const struct lane_cfg cfg = {.rate_bps = 1000000000, .queue_bytes = 300};

	(void)state;
	open_lane(&cfg);
	for (uint8_t i = 0; i < 10; i++)
		offer(101, i, 0);
	/* 125 B each on the wire: 0, 125, 250 stand before the first three, 375 before the fourth. */
	assert_int_equal(lane.stats.queue_full, 7);
	for (int i = 0; i < 3; i++)
		assert_int_equal(take(1000000), i);
	assert_int_equal(take(1000000), -1);
	lane_fini(&lane);
}

static void lane__a_cut_lets_nothing_in_and_what_was_under_way_out(void **state)
{
	struct lane_cfg cfg = {.impair = {.delay_ns = 100}};

	(void)state;
	open_lane(&cfg);
	offer(60, 1, 0);
	cfg.cut = true;
	lane_set(&lane, &cfg);
	offer(60, 2, 0);
	cfg.cut = false;
	lane_set(&lane, &cfg);
	offer(60, 3, 0);
	assert_int_equal(take(100), 1);
	assert_int_equal(take(100), 3);
	assert_int_equal(take(100), -1);
	assert_int_equal(lane.stats.cut, 1);
	lane_fini(&lane);
}

/* Which of 1000 frames are lost, as a sum that tells sequences apart. */
static uint64_t losses(uint64_t seed)
{
	const struct lane_cfg cfg = {.impair = {.drop_ppm = 100000, .seed = seed}};
	uint64_t sum = 0;

	open_lane(&cfg);
	for (uint32_t i = 0; i < 1000; i++) {
		uint64_t before = lane.stats.lost;

		offer(60, 0, 0);
		if (lane.stats.lost > before)
			sum = sum * 31 + i;
		take(0);
	}
	assert_in_range(lane.stats.lost, 60, 140);
	lane_fini(&lane);
	return sum;
}

static void lane__the_seed_says_what_is_lost(void **state)
{
	(void)state;
	assert_true(losses(1) == losses(1));
	assert_true(losses(1) != losses(2));
}

static void lane__reordered_and_doubled_frames_arrive_when_due(void **state)
{
	const struct lane_cfg cfg = {.impair = {.reorder_ppm = 300000, .dup_ppm = 200000, .seed = 3}};
	uint64_t due, last = 0, taken = 0;

	(void)state;
	open_lane(&cfg);
	for (uint32_t i = 0; i < 1000; i++)
		offer(60, (uint8_t)i, i * 1000);
	while ((due = lane_due(&lane)) != UINT64_MAX) {
		assert_true(due >= last);
		assert_int_not_equal(take(due), -1);
		last = due;
		taken++;
	}
	assert_int_equal(taken, 1000 + lane.stats.duplicated);
	assert_in_range(lane.stats.duplicated, 120, 280);
	assert_in_range(lane.stats.reordered, 220, 380);
	lane_fini(&lane);
}

static void lane__damage_is_behind_the_header_and_not_hidden_by_a_later_checksum(void **state)
{
	const struct lane_cfg cfg = {.impair = {.corrupt_ppm = 1000000, .seed = 9}};

	(void)state;
	open_lane(&cfg);
	for (int i = 0; i < 200; i++) {
		struct lane_frame *f = lane_blank(&lane);
		uint32_t flipped = 0;

		f->len = 60;
		memset(f->data, 0, f->len);
		f->vnet = (struct virtio_net_hdr){
			.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 34, .csum_offset = 6};
		f->data[40] = 7; /* what stands there is part of the sum */
		lane_offer(&lane, f, 0);
		f = lane_take(&lane, 0);
		assert_non_null(f);
		assert_int_equal(f->vnet.flags, 0);
		for (uint32_t k = 0; k < 14; k++)
			flipped += f->data[k] != 0;
		assert_int_equal(flipped, 0);
		for (uint32_t k = 14; k < f->len; k++)
			flipped += (uint32_t)__builtin_popcount(f->data[k]);
		/* The finished checksum is ~0x0700; one bit is off. */
		assert_true(flipped == 13 - 1 || flipped == 13 + 1);
		lane_return(&lane, f);
	}
	lane_fini(&lane);
}

static void lane__no_more_frames_than_there_is_room_for(void **state)
{
	const struct lane_cfg cfg = {.impair = {.delay_ns = 1}};

	(void)state;
	open_lane(&cfg);
	for (uint32_t i = 0; i < LANE_FRAMES; i++)
		offer(60, 0, 0);
	assert_null(lane_blank(&lane));
	assert_int_equal(take(1), 0);
	assert_non_null(lane_blank(&lane));
	lane_fini(&lane);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lane__a_frame_takes_its_time),
		cmocka_unit_test(lane__a_full_queue_drops_what_comes_last),
		cmocka_unit_test(lane__a_cut_lets_nothing_in_and_what_was_under_way_out),
		cmocka_unit_test(lane__the_seed_says_what_is_lost),
		cmocka_unit_test(lane__reordered_and_doubled_frames_arrive_when_due),
		cmocka_unit_test(lane__damage_is_behind_the_header_and_not_hidden_by_a_later_checksum),
		cmocka_unit_test(lane__no_more_frames_than_there_is_room_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

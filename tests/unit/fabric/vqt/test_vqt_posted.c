/* SPDX-License-Identifier: Apache-2.0 */
/* Frames into the buffers that the guest posted: no byte is copied, no chain is used for two frames or out of
 * its turn, and what was posted comes back whatever ends it. */
#include <errno.h>

#include "tests/unit/fabric/vqt/vqt_posted.h"

/* ---- the way of a frame ---- */

static void a_large_frame_is_copied_by_nobody(void **state)
{
	static const uint32_t lens[] = {65535, 2048, 9000, 60, 1526, FRAME_MAX, 4096};
	struct setup *s = fresh_on(128);
	uint64_t copied;

	(void)state;
	for (unsigned round = 0; round < 30; round++) {
		copied = hd(s, VQT_HD_rx_copied_bytes);
		for (unsigned i = 0; i < 7; i++)
			assert_int_equal(push(s, lens[i], round + i), 0);
		run(s);
		for (unsigned i = 0; i < 7; i++)
			guest_got(s, lens[i], round + i);
		/* 17 + 1 + 3 + 1 + 1 + 17 + 1 buffers of 4096; what came behind a frame on its way was
		 * staged. */
		post(s, 41, BUFFER);
		run(s);
		assert_in_range(hd(s, VQT_HD_rx_copied_bytes) - copied, 60 + 1526, 2 * (62 + 1526));
	}
	assert_int_equal(hd(s, VQT_HD_rx_posted), 1 + 30 * 5);
	assert_int_equal(vw_d(s->d, VQT_D_tx_posted), 1 + 30 * 5);
	assert_int_equal(hd(s, VQT_HD_rx_chains_skipped) + hd(s, VQT_HD_rx_recalls), 0);
	assert_int_equal(vw_d(s->d, VQT_D_tx_no_chains), 0);
	end(s);
}

static void small_frames_alone_post_nothing(void **state)
{
	struct setup *s = fresh_rel(RT_REL_FULL);

	(void)state;
	post(s, 64, BUFFER);
	for (unsigned i = 0; i < 40; i++)
		assert_int_equal(push(s, 60 + i * 50, i), 0);
	run(s);
	for (unsigned i = 0; i < 40; i++)
		guest_got(s, 60 + i * 50, i);
	assert_int_equal(hd(s, VQT_HD_rx_chains_posted), 0);
	assert_int_equal(s->ring[0].taken, 0);
	end(s);
}

/* Chains of several pieces, and frames that end within one. */
static void chains_are_taken_whole(void **state)
{
	static const uint32_t ins[] = {12, 100, 2000, 1};
	struct setup *s = fresh_on(64);

	(void)state;
	for (unsigned i = 0; i < 64; i++)
		fake_ring_add(&s->ring[0], NULL, NULL, 0, ins, 4);
	vqt_host_kick(s->hd, 0);
	for (unsigned i = 0; i < 30; i++)
		passes(s, 2048 + 97 * i, i);
	assert_int_equal(hd(s, VQT_HD_rx_posted), 31);
	end(s);
}

/* Of what is adjacent one write is made, whatever chains it belongs to. */
static void adjacent_buffers_are_one_place(void **state)
{
	struct setup *s = fresh_on(4);
	struct fake_chain *c[8];
	static uint8_t page[8 * BUFFER];

	(void)state;
	/* What is left of the buffers that do not touch. */
	passes(s, 4 * BUFFER, 1);
	for (unsigned i = 0; i < 8; i++) {
		c[i] = fake_ring_add1(&s->ring[0], NULL, 0, BUFFER);
		free(c[i]->iov[0].iov_base);
		c[i]->iov[0].iov_base = page + i * BUFFER;
	}
	vqt_host_kick(s->hd, 0);
	run(s);
	s->w.places_posted = 0;
	passes(s, 7 * BUFFER + 9, 2);
	assert_int_equal(s->w.places_posted, 1);
	for (unsigned i = 0; i < 8; i++)
		c[i]->iov[0].iov_base = malloc(1);
	end(s);
}

static void a_frame_waits_for_buffers_at_the_appliance(void **state)
{
	struct setup *s = fresh_on(16);

	(void)state;
	/* More than are left, less than half of what there were: the agent sees no need to look for more. */
	passes(s, 5 * BUFFER, 1);
	assert_int_equal(push(s, 12 * BUFFER, 2), -EAGAIN);
	run(s);
	assert_int_equal(vw_d(s->d, VQT_D_tx_no_chains), 1);
	assert_int_equal(s->w.writable, 0);
	post(s, 1, BUFFER);
	run(s);
	assert_int_equal(s->w.writable, 1);
	passes(s, 12 * BUFFER, 2);
	/* And one of a byte. */
	assert_int_equal(push(s, 60, 3), -EAGAIN);
	run(s);
	post(s, 1, BUFFER);
	run(s);
	assert_int_equal(s->w.writable, 2);
	passes(s, 60, 3);
	end(s);
}

/* It begins when the guest has next to nothing: no frame has used any since, and what the guest gives then is
 * what the next one waits for. */
static void it_begins_with_too_few_buffers(void **state)
{
	struct setup *s = fresh_rel(RT_REL_FULL);

	(void)state;
	post(s, 3 + 2, BUFFER);
	run(s);
	passes(s, 9000, 1); /* the first asks */
	assert_int_equal(hd(s, VQT_HD_rx_chains_posted), 2);
	assert_int_equal(push(s, 3 * BUFFER, 2), -EAGAIN);
	run(s);
	assert_int_equal(s->w.writable, 0);
	for (unsigned i = 0; i < 3; i++) {
		post(s, 1, BUFFER);
		run(s);
	}
	assert_true(s->w.writable > 0);
	passes(s, 5 * BUFFER, 2);
	end(s);
}

static void what_cannot_be_placed_goes_another_way(void **state)
{
	struct setup *s = fresh_on(128);
	static const uint32_t ins[4] = {30, 30, 30, 30};

	(void)state;
	s->w.no_posts = true; /* the stage */
	passes(s, 9000, 1);
	s->w.moves_refuse = -ENOTCONN; /* a message */
	passes(s, 9000, 2);
	s->w.moves_refuse = 0;
	s->w.no_posts = false;
	/* More pieces than a place may have: all that is left of the others, then of those. */
	for (unsigned i = 0; i < 128; i++)
		fake_ring_add(&s->ring[0], NULL, NULL, 0, ins, 4);
	vqt_host_kick(s->hd, 0);
	for (unsigned i = 0; i < 45; i++) {
		passes(s, 9000, i);
		post(s, i > 30 ? 3 : 0, BUFFER);
	}
	assert_true(vw_d(s->d, VQT_D_tx_placed) > vw_d(s->d, VQT_D_tx_posted) + 2);
	end(s);
}

/* Buffers so small that no frame may be spread over as many: it is dropped, and holds up no other. */
static void a_frame_in_too_many_buffers_is_dropped(void **state)
{
	static const uint32_t ins[] = {10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10};
	struct setup *s = fresh_on(3);

	(void)state;
	passes(s, 3 * BUFFER, 1);
	post(s, 200, 100);
	run(s);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(push(s, 20000, i), 0);
	passes(s, 5000, 3);
	assert_int_equal(hd(s, VQT_HD_drop_rx_split), 3);
	/* Likewise, in few chains of many pieces. */
	assert_int_equal(push(s, 12800, 4), 0);
	assert_int_equal(push(s, 2200, 4), 0);
	run(s);
	guest_got(s, 12800, 4);
	guest_got(s, 2200, 4);
	for (unsigned i = 0; i < 120; i++)
		fake_ring_add(&s->ring[0], NULL, NULL, 0, ins, 16);
	vqt_host_kick(s->hd, 0);
	run(s);
	assert_int_equal(push(s, 19000, 5), 0);
	passes(s, 3000, 6);
	assert_int_equal(hd(s, VQT_HD_drop_rx_split), 4);
	/* And in so many that the agent cannot post all of them: 1024 is no multiple of 15. */
	for (unsigned i = 0; i < 120; i++)
		fake_ring_add(&s->ring[0], NULL, NULL, 0, ins, 15);
	vqt_host_kick(s->hd, 0);
	run(s);
	for (unsigned i = 0; i < 6; i++)
		passes(s, 3000, i);
	assert_int_equal(push(s, 17000, 7), 0);
	passes(s, 3000, 8);
	assert_int_equal(hd(s, VQT_HD_drop_rx_split), 5);
	end(s);
}

/* ---- what fails ---- */

static void a_placing_that_fails_is_resent_to_its_chains(void **state)
{
	struct setup *s = fresh_on(64);

	(void)state;
	s->w.moves_wait = true;
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(push(s, i == 2 ? 100 : 30000, i), 0);
	run(s);
	s->w.moves_fail = 1;
	vw_moves(&s->w, 3);
	run(s);
	for (unsigned i = 0; i < 4; i++)
		guest_got(s, i == 2 ? 100 : 30000, i);
	assert_int_equal(s->w.fences, 1);
	assert_int_equal(hd(s, VQT_HD_rx_chains_skipped), 0);
	assert_int_equal(hd(s, VQT_HD_rx_posted), 1 + 2);
	end(s);
}

/* Frames that are lost leave their chains behind: they go back empty as soon as the appliance is heard of. */
static void chains_of_lost_frames_come_back(void **state)
{
	struct setup *s = fresh_rel(RT_REL_NONE);
	unsigned empty = 0;

	(void)state;
	post(s, 32, BUFFER);
	for (unsigned i = 0; i < 2; i++)
		passes(s, 9000, i);
	s->w.loss[1] = 1000000;
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(push(s, 1500, i), 0);
	vqt_peer_service(s->w.peer, s->w.now);
	vw_run(&s->w, 100000);
	s->w.loss[1] = 0;
	assert_int_equal(push(s, 9000, 7), 0);
	run(s);
	for (struct fake_chain *c; (c = fake_ring_used(&s->ring[0])) && !c->written;)
		empty++;
	s->ring[0].seen--;
	assert_int_equal(empty, 5);
	guest_got(s, 9000, 7);
	assert_int_equal(hd(s, VQT_HD_rx_chains_skipped), 5);
	/* All others likewise, when there are too few for the next. */
	s->w.loss[1] = 1000000;
	for (unsigned i = 0; i < 18; i++)
		assert_int_equal(push(s, 1500, i), 0);
	assert_int_equal(push(s, 60, 8), -EAGAIN);
	vqt_peer_service(s->w.peer, s->w.now);
	vw_run(&s->w, 100000);
	s->w.loss[1] = 0;
	run(s);
	assert_int_equal(hd(s, VQT_HD_rx_chains_skipped), 5 + 18);
	while (fake_ring_used(&s->ring[0]))
		;
	post(s, 4, BUFFER);
	run(s);
	passes(s, 9000, 9);
	end(s);
}

static void keys_that_do_not_reach_end_it(void **state)
{
	struct setup *s = fresh_on(8);

	(void)state;
	s->w.no_keys = true;
	for (unsigned i = 0; i < 30; i++) {
		post(s, 3, BUFFER);
		run(s);
		passes(s, 9000, i);
	}
	assert_int_equal(hd(s, VQT_HD_rx_recalls), 1);
	assert_int_equal(vw_d(s->d, VQT_D_tx_posts_ended), 1);
	s->w.no_keys = false;
	for (unsigned i = 0; i < 80; i++) {
		post(s, 3, BUFFER);
		passes(s, 9000, i);
	}
	assert_true(hd(s, VQT_HD_rx_posted) > 20);
	assert_int_equal(hd(s, VQT_HD_rx_recalls), 1);
	end(s);
}

static void buffers_that_are_not_mergeable_are_not_posted(void **state)
{
	struct setup *s = fresh_rel(RT_REL_FULL);

	(void)state;
	vqt_host_queue_start(s->hd, 0, false);
	post(s, 16, 65600);
	for (unsigned i = 0; i < 10; i++)
		passes(s, 60000, i);
	assert_int_equal(hd(s, VQT_HD_rx_chains_posted), 0);
	end(s);
}

/* ---- what ends it ---- */

static void it_ends_where_no_large_frames_come(void **state)
{
	struct setup *s = fresh_on(128);

	(void)state;
	for (unsigned i = 0; i < 6000; i++) {
		post(s, 1, BUFFER);
		assert_int_equal(push(s, 60, i), 0);
		if (i % 50 == 49)
			run(s);
	}
	run(s);
	for (unsigned i = 0; i < 6000; i++)
		guest_got(s, 60, i);
	assert_int_equal(hd(s, VQT_HD_rx_recalls), 1);
	assert_int_equal(vqt_hdev_inflight(s->hd), 0);
	for (unsigned i = 0; i < 3; i++)
		passes(s, 9000, i);
	assert_int_equal(hd(s, VQT_HD_rx_posted), 3);
	end(s);
}

static void a_drain_waits_for_what_is_being_written(void **state)
{
	struct setup *s = fresh_on(32);

	(void)state;
	s->w.moves_wait = true;
	assert_int_equal(push(s, 9000, 1), 0);
	run(s);
	vqt_host_queue_stop(s->hd, 0, VQT_STOP_DRAIN);
	run(s);
	assert_string_equal(s->w.log, "");
	assert_true(vqt_hdev_inflight(s->hd) > 0);
	assert_int_equal(vqt_host_queue_start(s->hd, 0, true), -EBUSY);
	vw_moves(&s->w, 1);
	run(s);
	assert_string_equal(s->w.log, "stopped 0; ");
	assert_int_equal(s->w.revoked, 0);
	assert_int_equal(vqt_hdev_inflight(s->hd), 0);
	assert_int_equal(hd(s, VQT_HD_drop_rx_stopped), 1);
	/* A new start takes the same chains, and posts them under other numbers. */
	fake_ring_retake(&s->ring[0]);
	assert_int_equal(vqt_host_queue_start(s->hd, 0, true), 0);
	s->w.moves_wait = false;
	for (unsigned i = 0; i < 3; i++)
		passes(s, 9000, i);
	assert_int_equal(hd(s, VQT_HD_rx_posted), 1 + 2);
	end(s);
}

/* Nothing is written to memory that was fenced, also of what is under way. */
static void a_fence_takes_the_buffers_back(void **state)
{
	struct setup *s = fresh_on(32);
	struct fake_chain *c = s->ring[0].chains[6];
	uint8_t old[BUFFER], now[BUFFER];

	(void)state;
	s->w.moves_wait = true;
	assert_int_equal(push(s, 9000, 1), 0);
	assert_int_equal(push(s, 60, 2), 0);
	run(s);
	fake_chain_read(c, 0, old, BUFFER);
	vqt_host_queue_stop(s->hd, 0, VQT_STOP_FENCE);
	assert_string_equal(s->w.log, "stopped 0; ");
	assert_int_equal(s->w.revoked, 1);
	s->ring[0].closed = true;
	vw_moves(&s->w, 1);
	run(s);
	s->w.moves_wait = false;
	fake_chain_read(c, 0, now, BUFFER);
	assert_memory_equal(old, now, BUFFER);
	assert_int_equal(vqt_hdev_inflight(s->hd), 0);
	assert_int_equal(hd(s, VQT_HD_drop_rx_stopped), 2);
	s->ring[0].closed = false;
	fake_ring_retake(&s->ring[0]);
	assert_int_equal(vqt_host_queue_start(s->hd, 0, true), 0);
	for (unsigned i = 0; i < 3; i++)
		passes(s, 9000, i);
	assert_int_equal(hd(s, VQT_HD_rx_posted), 1 + 2);
	end(s);
}

/* The queue is back before the appliance has heard of it: what it still sends to the old chains is dropped.
 */
static void a_fence_and_a_start_at_once(void **state)
{
	struct setup *s = fresh_on(32);
	unsigned n = 0;

	(void)state;
	vqt_host_queue_stop(s->hd, 0, VQT_STOP_FENCE);
	fake_ring_retake(&s->ring[0]);
	assert_int_equal(vqt_host_queue_start(s->hd, 0, true), 0);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(push(s, 9000, i), 0);
	run(s);
	for (unsigned i = 0; i < 4; i++, n++)
		assert_int_equal(push(s, 9000, 10 + i), 0);
	run(s);
	/* Those that were under way came as messages, for the old keys are gone. */
	for (unsigned i = 0; i < 4; i++)
		guest_got(s, 9000, i);
	for (unsigned i = 0; i < 4; i++)
		guest_got(s, 9000, 10 + i);
	end(s);
}

static void a_lost_session_gives_the_chains_back(void **state)
{
	struct vw_cfg cfg = {.bulk = true};
	struct setup *s = fresh_on(32);

	(void)state;
	s->w.moves_wait = true;
	assert_int_equal(push(s, 9000, 1), 0);
	run(s);
	vw_session_down(&s->w);
	assert_int_equal(s->w.revoked, 1);
	vw_moves(&s->w, 1);
	s->w.moves_wait = false;
	vw_session_up(&s->w, &cfg);
	setup_bind(s);
	run(s);
	for (unsigned i = 0; i < 6; i++)
		passes(s, 9000, i);
	assert_int_equal(hd(s, VQT_HD_rx_posted), 1 + 5);
	end(s);
}

static void a_drain_ends_with_its_session(void **state)
{
	struct setup *s = fresh_on(32);

	(void)state;
	vqt_host_queue_stop(s->hd, 0, VQT_STOP_DRAIN);
	assert_string_equal(s->w.log, "");
	vw_session_down(&s->w);
	assert_string_equal(s->w.log, "stopped 0; ");
	assert_int_equal(s->w.revoked, 1);
	assert_int_equal(vqt_hdev_inflight(s->hd), 0);
	ring_is_in_order(s);
	teardown(s);
}

static void a_broken_ring_takes_the_buffers_back(void **state)
{
	struct setup *s = fresh_on(32);

	(void)state;
	s->ring[0].broken = true;
	while (!push(s, 9000, 1))
		;
	run(s);
	assert_string_equal(s->w.log, "broken 0; ");
	assert_int_equal(s->w.revoked, 1);
	teardown(s);
}

/* ---- all of it ---- */

/* Frames that say which they are, so that what is lost shows. */
static void fill(uint32_t number, uint32_t len)
{
	vw_pattern(buf, len, number);
	memcpy(buf + 12, &number, 4);
	memcpy(buf + 16, &len, 4);
}

static bool send_number(struct setup *s, uint32_t number, uint32_t len)
{
	struct frame *f;
	int rc;

	fill(number, len);
	f = vw_frame(&s->w, buf, len);
	rc = vqt_dev_send(s->d, 0, f, s->w.now);
	frame_put(f);
	return !rc;
}

/* All that came: whole, in order, each at most once. Gives their number; *next: the least that may come. */
static uint32_t receive(struct setup *s, uint32_t *next, uint32_t sent)
{
	const struct fake_ring *ring = &s->ring[0];
	uint32_t len, number, said, n;

	for (n = 0;; n++) {
		while (ring->seen < ring->nused && !ring->chains[ring->used[ring->seen]]->written)
			fake_ring_used(&s->ring[0]);
		len = guest_frame(&s->ring[0], got);
		if (!len)
			return n;
		memcpy(&number, got + 12, 4);
		memcpy(&said, got + 16, 4);
		assert_int_equal(said, len);
		assert_true(number >= *next && number < sent);
		*next = number + 1;
		fill(number, len);
		assert_frame(got, len, buf, len);
	}
}

/* The guest stops its queue and starts it again. */
static void restart(struct setup *s, enum vqt_stop how)
{
	vqt_host_queue_stop(s->hd, 0, how);
	run(s);
	fake_ring_ops.flush(&s->ring[0]);
	fake_ring_retake(&s->ring[0]);
	assert_int_equal(vqt_host_queue_start(s->hd, 0, true), 0);
}

/* A wire that loses, an adapter that fails, a guest that gives buffers when it likes, stops that drain and
 * stops that do not. */
static void any_history(enum rt_rel rel, uint64_t seed)
{
	struct setup *s = fresh_rel(rel);
	uint32_t sent = 0, next = 0, arrived = 0;
	struct rng r;

	rng_init(&r, seed);
	s->w.loss[0] = s->w.loss[1] = 30000;
	s->w.reorder = 200000;
	for (unsigned round = 0; round < 300; round++) {
		post(s, (unsigned)rng_below(&r, 60), 1500 + (uint32_t)rng_below(&r, 3000));
		for (uint64_t n = rng_below(&r, 8); n; n--)
			sent += send_number(s, sent,
					    60 + (uint32_t)rng_below(&r, rng_below(&r, 2) ? 200 : 20000));
		s->w.moves_fail = rng_below(&r, 3) ? 0 : 1;
		s->w.moves_wait = rng_below(&r, 2);
		vw_run(&s->w, rng_below(&r, 2) ? MS : 20000);
		s->w.moves_wait = false;
		if (!rng_below(&r, 20))
			restart(s, rng_below(&r, 2) ? VQT_STOP_DRAIN : VQT_STOP_FENCE);
		arrived += receive(s, &next, sent);
		ring_is_in_order(s);
	}
	post(s, 200, 4096);
	run(s);
	arrived += receive(s, &next, sent);
	assert_true(arrived > sent / 2);
	assert_true(hd(s, VQT_HD_rx_posted) > 50);
	assert_int_equal(hd(s, VQT_HD_drop_rx_malformed), 0);
	end(s);
}

static void histories_of_reliable_frames(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 6; seed++)
		any_history(RT_REL_FULL, seed);
}

static void histories_of_frames_that_are_lost(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 6; seed++)
		any_history(seed % 2 ? RT_REL_NONE : RT_REL_BOUNDED, seed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_large_frame_is_copied_by_nobody),
		cmocka_unit_test(small_frames_alone_post_nothing),
		cmocka_unit_test(chains_are_taken_whole),
		cmocka_unit_test(adjacent_buffers_are_one_place),
		cmocka_unit_test(a_frame_waits_for_buffers_at_the_appliance),
		cmocka_unit_test(it_begins_with_too_few_buffers),
		cmocka_unit_test(what_cannot_be_placed_goes_another_way),
		cmocka_unit_test(a_frame_in_too_many_buffers_is_dropped),
		cmocka_unit_test(a_placing_that_fails_is_resent_to_its_chains),
		cmocka_unit_test(chains_of_lost_frames_come_back),
		cmocka_unit_test(keys_that_do_not_reach_end_it),
		cmocka_unit_test(buffers_that_are_not_mergeable_are_not_posted),
		cmocka_unit_test(it_ends_where_no_large_frames_come),
		cmocka_unit_test(a_drain_waits_for_what_is_being_written),
		cmocka_unit_test(a_fence_takes_the_buffers_back),
		cmocka_unit_test(a_fence_and_a_start_at_once),
		cmocka_unit_test(a_lost_session_gives_the_chains_back),
		cmocka_unit_test(a_drain_ends_with_its_session),
		cmocka_unit_test(a_broken_ring_takes_the_buffers_back),
		cmocka_unit_test(histories_of_reliable_frames),
		cmocka_unit_test(histories_of_frames_that_are_lost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

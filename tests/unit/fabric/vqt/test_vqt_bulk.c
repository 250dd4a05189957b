/* SPDX-License-Identifier: Apache-2.0 */
/* Frames by key, in both directions: what is lent comes back when it may, and nothing is lost with a move. */
#include <errno.h>

#include "tests/unit/fabric/vqt/vqt_frames.h"

static struct setup *fresh_with(const struct vw_cfg *cfg)
{
	struct setup *s = fresh_nic(cfg, 0);

	s->w.stage_of = s->hd;
	return s;
}

static struct setup *fresh(void)
{
	return fresh_with(&(struct vw_cfg){.bulk = true});
}

/* ---- guest to appliance ---- */

/* A frame as Linux lays it out: headers, then pieces of pages. */
static void put(struct setup *s, uint32_t len, uint32_t seed)
{
	uint32_t outs[8] = {78}, n = 1;

	vw_pattern(buf, len, seed);
	for (uint32_t left = len > 78 ? len - 78 : 0; left; n++) {
		outs[n] = left < 16384 ? left : 16384;
		left -= outs[n];
	}
	if (len <= 78)
		outs[0] = len;
	fake_ring_add(&s->ring[1], buf, outs, n, NULL, 0);
	vqt_host_kick(s->hd, 1);
}

static unsigned back(struct setup *s)
{
	unsigned n = 0;

	while (fake_ring_used(&s->ring[1]))
		n++;
	return n;
}

static void payload_is_fetched_and_headers_come_along(void **state)
{
	struct setup *s = fresh();
	static const uint32_t lens[] = {60, 4096, 1514, 65535, 2048, FRAME_MAX, 64};

	(void)state;
	for (unsigned i = 0; i < 7; i++)
		put(s, lens[i], i);
	run(s);
	assert_int_equal(s->w.ngot, 7);
	for (unsigned i = 0; i < 7; i++)
		frame_is(s->w.got[i], lens[i], i);
	assert_int_equal(back(s), 7);
	assert_int_equal(vw_hd(s->hd, VQT_HD_tx_lent), 4);
	assert_int_equal(vw_d(s->d, VQT_D_rx_fetched), 4);
	/* Copied: the small ones, and the headers of the others. */
	assert_int_equal(vw_hd(s->hd, VQT_HD_tx_copied_bytes), 60 + 1514 + 64 + 4 * 78);
	assert_int_equal(vw_d(s->d, VQT_D_rx_copied_bytes), 4 * 78);
	assert_int_equal(vqt_hdev_inflight(s->hd), 0);
	teardown(s);
}

static void a_chain_goes_back_when_its_bytes_are_fetched_and_in_its_turn(void **state)
{
	struct setup *s = fresh();

	(void)state;
	s->w.moves_wait = true;
	put(s, 9000, 1);
	put(s, 60, 2);
	put(s, 9000, 3);
	run(s);
	assert_int_equal(back(s), 0);
	assert_int_equal(s->w.ngot, 0);
	assert_int_equal(vqt_hdev_inflight(s->hd), 3);
	assert_int_equal(vw_moves(&s->w, 1), 1);
	run(s);
	assert_int_equal(s->w.ngot, 2);
	assert_int_equal(back(s), 2);
	assert_int_equal(vw_moves(&s->w, 1), 1);
	run(s);
	assert_int_equal(s->w.ngot, 3);
	assert_int_equal(back(s), 1);
	for (unsigned i = 0; i < 3; i++)
		frame_is(s->w.got[i], i == 1 ? 60 : 9000, i + 1);
	teardown(s);
}

/* That a frame is lost was known while one before it was fetched: no packet says so again. */
static void a_loss_behind_a_fetch(void **state)
{
	struct setup *s = calloc(1, sizeof(*s));

	(void)state;
	assert_non_null(s);
	s->rel = RT_REL_NONE;
	setup(s, VQT_NET, &(struct vw_cfg){.bulk = true});
	s->w.moves_wait = true;
	put(s, 9000, 1);
	run(s);
	s->w.loss[0] = 1000000;
	put(s, 1000, 2);
	run(s);
	s->w.loss[0] = 0;
	put(s, 9000, 3);
	run(s);
	assert_int_equal(s->w.ngot, 0);
	assert_int_equal(vw_moves(&s->w, 2), 2);
	run(s);
	assert_int_equal(s->w.ngot, 2);
	frame_is(s->w.got[0], 9000, 1);
	frame_is(s->w.got[1], 9000, 3);
	assert_int_equal(vw_d(s->d, VQT_D_drop_rx_lost), 1);
	assert_int_equal(back(s), 3);
	teardown(s);
}

/* Likewise, when the answer is that it is gone: of a queue that was fenced. */
static void a_loss_behind_what_is_gone(void **state)
{
	struct setup *s = calloc(1, sizeof(*s));

	(void)state;
	assert_non_null(s);
	s->rel = RT_REL_NONE;
	setup(s, VQT_NET, &(struct vw_cfg){.bulk = true});
	s->w.moves_wait = true;
	put(s, 9000, 1);
	run(s);
	s->w.loss[0] = 1000000;
	put(s, 1000, 2);
	run(s);
	s->w.loss[0] = 0;
	put(s, 9000, 3);
	run(s);
	vqt_host_queue_stop(s->hd, 1, VQT_STOP_FENCE);
	s->w.moves_fail = 1;
	vw_moves(&s->w, 2);
	run(s);
	assert_int_equal(vw_d(s->d, VQT_D_drop_rx_gone), 1);
	assert_int_equal(vw_d(s->d, VQT_D_drop_rx_lost), 1);
	assert_int_equal(s->w.ngot, 1);
	frame_is(s->w.got[0], 9000, 3);
	teardown(s);
}

static void what_cannot_be_fetched_comes_as_a_message_in_its_place(void **state)
{
	struct setup *s = fresh();

	(void)state;
	s->w.moves_fail = 2;
	for (unsigned i = 0; i < 4; i++)
		put(s, 20000, i);
	put(s, 60, 4);
	run(s);
	assert_int_equal(s->w.ngot, 5);
	for (unsigned i = 0; i < 5; i++)
		frame_is(s->w.got[i], i == 4 ? 60 : 20000, i);
	assert_int_equal(back(s), 5);
	assert_int_equal(vw_d(s->d, VQT_D_rx_fetch_failed), 2);
	assert_int_equal(vw_hd(s->hd, VQT_HD_tx_again), 2);
	/* No path that could. */
	s->w.moves_refuse = -ENOTCONN;
	put(s, 20000, 5);
	run(s);
	assert_int_equal(s->w.ngot, 6);
	frame_is(s->w.got[5], 20000, 5);
	teardown(s);
}

static void an_appliance_without_adapters_asks_for_messages(void **state)
{
	struct setup *s = fresh_with(&(struct vw_cfg){.bulk = true, .no_door = true});

	(void)state;
	put(s, 20000, 1);
	put(s, 60, 2);
	run(s);
	assert_int_equal(s->w.ngot, 2);
	frame_is(s->w.got[0], 20000, 1);
	frame_is(s->w.got[1], 60, 2);
	assert_int_equal(back(s), 2);
	teardown(s);
}

static void a_fetch_that_cannot_begin_waits(void **state)
{
	struct setup *s = fresh();

	(void)state;
	s->w.moves_refuse = -EAGAIN;
	put(s, 20000, 1);
	run(s);
	assert_int_equal(s->w.ngot, 0);
	s->w.moves_refuse = 0;
	run(s);
	assert_int_equal(s->w.ngot, 1);
	frame_is(s->w.got[0], 20000, 1);
	assert_int_equal(back(s), 1);
	assert_int_equal(vw_hd(s->hd, VQT_HD_tx_again), 0);
	teardown(s);
}

/* More than may be lent at a time: the rest waits in the ring, and nothing is copied for it. */
static void a_guest_lends_no_more_than_its_share(void **state)
{
	struct setup *s = fresh();

	(void)state;
	s->w.moves_wait = true;
	for (unsigned i = 0; i < 60; i++)
		put(s, 60000, i);
	run(s);
	assert_true(s->w.nmoves * 60000 <= 2u << 20);
	assert_true(s->w.nmoves >= 32);
	s->w.moves_wait = false;
	run(s);
	assert_int_equal(s->w.ngot, 60);
	assert_int_equal(back(s), 60);
	assert_int_equal(vw_hd(s->hd, VQT_HD_tx_lent), 60);
	teardown(s);
}

static void a_drain_waits_for_what_is_lent(void **state)
{
	struct setup *s = fresh();

	(void)state;
	s->w.moves_wait = true;
	put(s, 9000, 1);
	run(s);
	vqt_host_queue_stop(s->hd, 1, VQT_STOP_DRAIN);
	run(s);
	assert_string_equal(s->w.log, "");
	vw_moves(&s->w, 1);
	run(s);
	assert_string_equal(s->w.log, "stopped 1; ");
	assert_int_equal(back(s), 1);
	assert_int_equal(vqt_host_queue_start(s->hd, 1, true), 0);
	teardown(s);
}

/* The memory of a fenced queue is not touched again; who asks for its frames is told, and goes on. */
static void a_fence_forgets_what_is_lent(void **state)
{
	struct setup *s = fresh();

	(void)state;
	s->w.moves_wait = true;
	put(s, 9000, 1);
	put(s, 60, 2);
	put(s, 9000, 3);
	run(s);
	vqt_host_queue_stop(s->hd, 1, VQT_STOP_FENCE);
	assert_string_equal(s->w.log, "stopped 1; ");
	assert_int_equal(s->w.revoked, 1);
	assert_int_equal(vqt_hdev_inflight(s->hd), 0);
	fake_ring_retake(&s->ring[1]);
	s->ring[1].closed = true;
	s->w.moves_fail = 1;
	vw_moves(&s->w, 2);
	s->w.moves_wait = false;
	run(s);
	assert_int_equal(vw_d(s->d, VQT_D_drop_rx_gone), 1);
	assert_int_equal(s->w.ngot, 2);
	s->ring[1].closed = false;
	assert_int_equal(vqt_host_queue_start(s->hd, 1, true), 0);
	run(s);
	/* All three again, as a new start of the ring. */
	assert_int_equal(s->w.ngot, 5);
	frame_is(s->w.got[4], 9000, 3);
	assert_int_equal(back(s), 3);
	teardown(s);
}

static void a_lost_session_gives_back_what_was_lent(void **state)
{
	struct vw_cfg cfg = {.bulk = true};
	struct setup *s = fresh();

	(void)state;
	s->w.moves_wait = true;
	put(s, 9000, 1);
	put(s, 60, 2);
	run(s);
	vw_session_down(&s->w);
	assert_int_equal(s->w.revoked, 1);
	assert_int_equal(vqt_hdev_inflight(s->hd), 0);
	vw_moves(&s->w, 1); /* and nobody is there to be told */
	s->w.moves_wait = false;
	vw_session_up(&s->w, &cfg);
	setup_bind(s);
	run(s);
	assert_int_equal(back(s), 2);
	put(s, 9000, 3);
	run(s);
	assert_int_equal(s->w.ngot, 1);
	frame_is(s->w.got[0], 9000, 3);
	teardown(s);
}

/* A device that is detached has its moves dropped; their memory lives until the adapter is through. */
static void a_detached_device_drops_its_moves(void **state)
{
	struct setup *s = fresh();

	(void)state;
	s->w.moves_wait = true;
	put(s, 9000, 1);
	run(s);
	assert_int_equal(s->w.nmoves, 1);
	vqt_peer_detach(s->d);
	assert_int_equal(vw_moves(&s->w, 1), 1);
	assert_int_equal(s->w.ngot, 0);
	teardown(s);
}

static void keys_that_make_no_sense_are_dropped(void **state)
{
	struct setup *s = fresh();
	struct vqt_lent k = {.len = 9000, .n = 1, .key = {{1, 8999, 0}}};
	uint8_t bytes[VQT_LENT_MSG];
	struct iovec iov = {bytes, vqt_lent_put(bytes, &k)};
	struct rt_rec rec = {
		.kind = VQT_LENT, .dev = WIRE, .aux = (uint16_t)EPOCH, .total = (uint32_t)iov.iov_len};

	(void)state;
	assert_int_equal(rt_send(s->w.rt[0], RT_NET, RT_REL_FULL, &rec, &iov, 1, s->w.now), 0);
	rt_flush(s->w.rt[0], s->w.now);
	run(s);
	assert_int_equal(vw_d(s->d, VQT_D_drop_rx_malformed), 1);
	assert_int_equal(s->w.nmoves, 0);
	teardown(s);
}

/* ---- appliance to guest ---- */

static void frames_are_placed_and_copied_once(void **state)
{
	struct setup *s = fresh();
	static const uint32_t lens[] = {65535, 2048, 9000, 60, 1526, FRAME_MAX};
	uint32_t sum = 0;

	(void)state;
	s->w.no_keys = true; /* else the guest's own buffers are asked for */
	post(s, 8, 65600);
	run(s);
	for (unsigned round = 0; round < 5; round++) {
		for (unsigned i = 0; i < 6; i++) {
			assert_int_equal(push(s, lens[i], round + i), 0);
			sum += lens[i];
		}
		post(s, 6, 65600);
		run(s);
		for (unsigned i = 0; i < 6; i++)
			guest_got(s, lens[i], round + i);
	}
	assert_int_equal(vw_d(s->d, VQT_D_tx_placed), 20);
	assert_int_equal(vw_d(s->d, VQT_D_tx_copied_bytes), 5 * (60 + 1526));
	assert_int_equal(vw_hd(s->hd, VQT_HD_rx_placed), 20);
	assert_true(vw_hd(s->hd, VQT_HD_rx_copied_bytes) >= sum);
	teardown(s);
}

static void bulk_alone_needs_no_reservation(void **state)
{
	struct setup *s = fresh();

	(void)state;
	post(s, 16, 65600);
	for (unsigned i = 0; i < 12; i++)
		assert_int_equal(push(s, 60000, i), 0);
	run(s);
	for (unsigned i = 0; i < 12; i++)
		guest_got(s, 60000, i);
	assert_int_equal(vw_d(s->d, VQT_D_tx_place_reserved), 0);
	teardown(s);
}

/* What stands behind a frame that is being placed waits for it, and is not taken for what followed a loss. */
static void a_frame_on_its_way_is_not_lost(void **state)
{
	struct setup *s = fresh();

	(void)state;
	post(s, 8, 65600);
	s->w.moves_wait = true;
	assert_int_equal(push(s, 9000, 1), 0);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(push(s, 100, 2 + i), 0);
	run(s);
	assert_int_equal(guest_frame(&s->ring[0], got), 0);
	assert_int_equal(vw_d(s->d, VQT_D_tx_place_reserved), 1);
	vw_moves(&s->w, 1);
	run(s);
	guest_got(s, 9000, 1);
	for (unsigned i = 0; i < 4; i++)
		guest_got(s, 100, 2 + i);
	assert_int_equal(vw_hd(s->hd, VQT_HD_drop_rx_lost) + vw_hd(s->hd, VQT_HD_drop_rx_partial), 0);
	teardown(s);
}

/* Two paths, and the later frame is there first: of the earlier one is said that it comes. */
static void frames_placed_out_of_order_arrive_in_order(void **state)
{
	struct setup *s = fresh();
	struct vw_move *first;

	(void)state;
	post(s, 8, 65600);
	s->w.moves_wait = true;
	assert_int_equal(push(s, 9000, 1), 0);
	assert_int_equal(push(s, 9000, 2), 0);
	assert_int_equal(push(s, 9000, 3), 0);
	first = s->w.moves[0];
	s->w.moves[0] = s->w.moves[1];
	s->w.moves[1] = first;
	vw_moves(&s->w, 1);
	run(s);
	assert_int_equal(guest_frame(&s->ring[0], got), 0);
	assert_int_equal(vw_d(s->d, VQT_D_tx_place_reserved), 1);
	vw_moves(&s->w, 2);
	run(s);
	for (unsigned i = 1; i <= 3; i++)
		guest_got(s, 9000, i);
	teardown(s);
}

static void a_placing_that_fails_is_fenced_and_resent(void **state)
{
	struct setup *s = fresh();

	(void)state;
	post(s, 8, 65600);
	s->w.moves_wait = true;
	assert_int_equal(push(s, 30000, 1), 0);
	assert_int_equal(push(s, 30000, 2), 0);
	assert_int_equal(push(s, 100, 3), 0);
	run(s);
	s->w.moves_fail = 1;
	vw_moves(&s->w, 2);
	run(s);
	guest_got(s, 30000, 1);
	guest_got(s, 30000, 2);
	guest_got(s, 100, 3);
	assert_int_equal(s->w.fences, 1);
	assert_int_equal(s->w.fence.path, 2);
	assert_int_equal(s->w.fence.qpn, 77);
	assert_int_equal(vw_d(s->d, VQT_D_tx_place_failed), 1);
	assert_int_equal(vw_hd(s->hd, VQT_HD_rx_placed), 1);
	teardown(s);
}

/* The bytes that come instead count only when the fence has been heard of. */
static void resent_bytes_wait_for_the_fence(void **state)
{
	struct setup *s = fresh();
	struct rt_rec rec = {.kind = VQT_RESENT, .dev = WIRE, .aux = (uint16_t)EPOCH, .total = 200};
	struct vqt_placed p = {.len = 200, .state = VQT_PLACE_FAILED, .fence = {1, 5}};
	uint8_t bytes[VQT_PLACED_LEN];
	struct iovec iov = {buf, 200};

	(void)state;
	post(s, 4, 65600);
	vw_pattern(buf, 200, 9);
	assert_int_equal(rt_send(s->w.rt[1], RT_NET, RT_REL_FULL, &rec, &iov, 1, s->w.now), 0);
	rt_flush(s->w.rt[1], s->w.now);
	run(s);
	assert_int_equal(guest_frame(&s->ring[0], got), 0);
	vqt_placed_put(bytes, &p);
	iov = (struct iovec){bytes, sizeof(bytes)};
	rec.kind = VQT_PLACED;
	rec.total = VQT_PLACED_LEN;
	assert_int_equal(rt_send(s->w.rt[1], RT_NET, RT_REL_FULL, &rec, &iov, 1, s->w.now), 0);
	rt_flush(s->w.rt[1], s->w.now);
	run(s);
	assert_int_equal(s->w.fences, 1);
	guest_got(s, 200, 9);
	teardown(s);
}

/* What came in part as a message, or was reserved with another length, lies in no stage. */
static void only_what_was_reserved_is_placed(void **state)
{
	struct setup *s = fresh();
	struct rt_rec rec = {
		.kind = VQT_FRAME, .dev = WIRE, .aux = (uint16_t)EPOCH, .total = 200, .len = 100};
	struct vqt_placed p = {.len = 200};
	uint8_t bytes[VQT_PLACED_LEN];

	(void)state;
	post(s, 4, 65600);
	vw_pattern(buf, 200, 9);
	vqt_host_record(s->w.host, RT_NET, 1, &rec, buf);
	rec.kind = VQT_PLACED;
	rec.total = rec.len = VQT_PLACED_LEN;
	vqt_placed_put(bytes, &p);
	vqt_host_record(s->w.host, RT_NET, 2, &rec, bytes);
	assert_int_equal(vw_hd(s->hd, VQT_HD_drop_rx_malformed), 1);
	p.state = VQT_PLACE_RESERVED;
	rec.id = 256;
	vqt_placed_put(bytes, &p);
	vqt_host_record(s->w.host, RT_NET, 3, &rec, bytes);
	p.state = VQT_PLACE_DONE;
	p.len = 300;
	vqt_placed_put(bytes, &p);
	vqt_host_record(s->w.host, RT_NET, 4, &rec, bytes);
	assert_int_equal(vw_hd(s->hd, VQT_HD_drop_rx_malformed), 2);
	run(s);
	assert_int_equal(guest_frame(&s->ring[0], got), 0);
	rec = (struct rt_rec){.kind = VQT_FRAME,
			      .dev = WIRE,
			      .aux = (uint16_t)EPOCH,
			      .total = 200,
			      .len = 100,
			      .offset = 100};
	vqt_host_record(s->w.host, RT_NET, 5, &rec, buf + 100);
	run(s);
	guest_got(s, 200, 9);
	teardown(s);
}

/* Both directions, losses and reordering on the wire, moves that fail now and then: all arrives, in order. */
static void nothing_is_lost_with_a_wire_and_an_adapter_that_fail(void **state)
{
	struct setup *s = fresh();
	uint32_t sent = 0, arrived = 0;
	struct rng r;

	(void)state;
	rng_init(&r, 7);
	s->w.loss[0] = s->w.loss[1] = 50000;
	s->w.reorder = 200000;
	post(s, 64, 65600);
	for (unsigned round = 0; round < 150; round++) {
		unsigned n = 1 + (unsigned)rng_below(&r, 6);

		for (unsigned i = 0; i < n; i++)
			put(s, 60 + (uint32_t)rng_below(&r, 2) * 9000, round * 8 + i);
		for (unsigned i = 0; i < n; i++)
			if (!push(s, 60 + (sent * 7919u) % 20000, sent))
				sent++;
		s->w.moves_fail = (unsigned)rng_below(&r, 3);
		s->w.moves_wait = rng_below(&r, 2);
		vw_run(&s->w, MS);
		s->w.moves_wait = false;
		for (uint32_t len; (len = guest_frame(&s->ring[0], got)); arrived++) {
			uint32_t want = 60 + (arrived * 7919u) % 20000;

			vw_pattern(buf, want, arrived);
			assert_frame(got, len, buf, want);
			post(s, 1, 65600);
		}
		run(s);
		assert_int_equal(vqt_hdev_inflight(s->hd), 0);
	}
	for (uint32_t len; (len = guest_frame(&s->ring[0], got)); arrived++)
		assert_int_equal(len, 60 + (arrived * 7919u) % 20000);
	assert_int_equal(arrived, sent);
	assert_int_equal(s->w.ngot, vw_hd(s->hd, VQT_HD_tx_frames));
	assert_int_equal(vw_hd(s->hd, VQT_HD_drop_rx_malformed) + vw_d(s->d, VQT_D_drop_rx_malformed), 0);
	assert_true(vw_d(s->d, VQT_D_tx_place_failed) && vw_d(s->d, VQT_D_rx_fetch_failed));
	teardown(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(payload_is_fetched_and_headers_come_along),
		cmocka_unit_test(a_chain_goes_back_when_its_bytes_are_fetched_and_in_its_turn),
		cmocka_unit_test(a_loss_behind_a_fetch),
		cmocka_unit_test(a_loss_behind_what_is_gone),
		cmocka_unit_test(what_cannot_be_fetched_comes_as_a_message_in_its_place),
		cmocka_unit_test(an_appliance_without_adapters_asks_for_messages),
		cmocka_unit_test(a_fetch_that_cannot_begin_waits),
		cmocka_unit_test(a_guest_lends_no_more_than_its_share),
		cmocka_unit_test(a_drain_waits_for_what_is_lent),
		cmocka_unit_test(a_fence_forgets_what_is_lent),
		cmocka_unit_test(a_lost_session_gives_back_what_was_lent),
		cmocka_unit_test(a_detached_device_drops_its_moves),
		cmocka_unit_test(keys_that_make_no_sense_are_dropped),
		cmocka_unit_test(frames_are_placed_and_copied_once),
		cmocka_unit_test(bulk_alone_needs_no_reservation),
		cmocka_unit_test(a_frame_on_its_way_is_not_lost),
		cmocka_unit_test(frames_placed_out_of_order_arrive_in_order),
		cmocka_unit_test(a_placing_that_fails_is_fenced_and_resent),
		cmocka_unit_test(resent_bytes_wait_for_the_fence),
		cmocka_unit_test(only_what_was_reserved_is_placed),
		cmocka_unit_test(nothing_is_lost_with_a_wire_and_an_adapter_that_fail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Appliance to guest: frames into posted buffers, in order, within credit. */
#include "tests/unit/fabric/vqt/vqt_frames.h"

#include <errno.h>

/* One piece of a frame, straight into the host end. */
static void piece(struct setup *s, uint32_t psn, uint32_t pos, uint32_t total, uint32_t off, uint32_t len,
		  uint32_t seed)
{
	struct rt_rec r = {.kind = VQT_FRAME,
			   .dev = WIRE,
			   .aux = (uint16_t)s->epoch,
			   .id = pos,
			   .total = total,
			   .offset = off,
			   .len = (uint16_t)len};
	uint8_t *exact = malloc(len);

	assert_non_null(exact);
	vw_pattern(buf, total, seed);
	memcpy(exact, buf + off, len);
	vqt_host_record(s->w.host, RT_NET, psn, &r, exact);
	free(exact);
}

static void serve(struct setup *s)
{
	vqt_host_service(s->w.host, 1000, s->w.now);
}

static void mergeable_over_1_to_64_buffers(void **state)
{
	struct setup *s = fresh_nic(NULL, VQT_WINDOW_MIN);

	(void)state;
	for (uint32_t n = 1; n <= 64; n++) {
		uint32_t total = 64 * 47;
		uint32_t size = (total + n - 1) / n, need = (total + size - 1) / size;

		post(s, need, size);
		assert_int_equal(push(s, total, n), 0);
		run(s);
		assert_int_equal(s->ring[0].taken, 0);
		guest_got(s, total, n);
		assert_int_equal(got[10] + 256 * got[11], need);
		assert_null(fake_ring_used(&s->ring[0]));
	}
	assert_int_equal(vw_hd(s->hd, VQT_HD_rx_frames), 64);
	/* Whole and multi-piece frames alike went straight to the guest. */
	assert_int_equal(vw_hd(s->hd, VQT_HD_rx_direct), 64);
	teardown(s);
}

/* The header, and num_buffers itself, over buffers as small as one byte; zero-length ones among them. */
static void header_over_tiny_buffers(void **state)
{
	struct setup *s = fresh_nic(NULL, VQT_WINDOW_MIN);

	(void)state;
	for (uint32_t first = 0; first <= 14; first++) {
		uint32_t n = 0;
		uint8_t flat[200];

		fake_ring_add(&s->ring[0], NULL, NULL, 0, &first, 1);
		for (unsigned i = 0; i < 14; i++)
			fake_ring_add1(&s->ring[0], NULL, 0, 1);
		fake_ring_add1(&s->ring[0], NULL, 0, 100);
		vqt_host_kick(s->hd, 0);
		assert_int_equal(push(s, 60, first), 0);
		run(s);
		for (struct fake_chain *c; (c = fake_ring_used(&s->ring[0])) != NULL; n += c->written)
			fake_chain_read(c, 0, flat + n, c->written);
		vw_pattern(buf, 60, first);
		assert_frame(flat, n, buf, 60);
		assert_int_equal(flat[10] + 256 * flat[11], 16);
	}
	teardown(s);
}

static void a_buffer_of_many_iovecs(void **state)
{
	struct setup *s = fresh_nic(NULL, VQT_WINDOW_MIN);
	uint32_t ins[200], rest = FRAME_MAX;

	(void)state;
	for (unsigned i = 0; i < 200; i++) {
		ins[i] = i == 199 ? rest : 1 + i;
		rest -= ins[i];
	}
	fake_ring_add(&s->ring[0], NULL, NULL, 0, ins, 200);
	vqt_host_kick(s->hd, 0);
	assert_int_equal(push(s, FRAME_MAX, 3), 0);
	run(s);
	guest_got(s, FRAME_MAX, 3);
	assert_int_equal(got[10], 1);
	teardown(s);
}

static void more_buffers_than_a_frame_may_take(void **state)
{
	struct setup *s = fresh_nic(NULL, VQT_WINDOW_MIN);

	(void)state;
	post(s, 200, 10);
	assert_int_equal(push(s, 1281, 1), 0); /* 129 buffers */
	assert_int_equal(push(s, 1280, 2), 0); /* 128 */
	run(s);
	guest_got(s, 1280, 2);
	assert_int_equal(vw_hd(s->hd, VQT_HD_drop_rx_split), 1);
	assert_int_equal(s->ring[0].taken, 0);
	teardown(s);
}

static void not_mergeable(void **state)
{
	struct setup *s = fresh_nic(NULL, VQT_WINDOW_MIN);

	(void)state;
	assert_int_equal(vqt_host_queue_start(s->hd, 0, false), 0);
	post(s, 1, 1000);
	post(s, 1, 70000);
	assert_int_equal(push(s, 1001, 1), 0);
	assert_int_equal(push(s, 1000, 2), 0);
	assert_int_equal(push(s, FRAME_MAX, 3), 0);
	run(s);
	guest_got(s, 1000, 2);
	assert_int_equal(got[10] + 256 * got[11], 1);
	guest_got(s, FRAME_MAX, 3);
	assert_int_equal(got[10] + 256 * got[11], 1);
	assert_int_equal(vw_hd(s->hd, VQT_HD_drop_rx_small), 1);
	teardown(s);
}

/* The guest posts nothing: the credit runs out, nothing is dropped; it posts: everything comes, in order. */
static void credit_runs_out_and_comes_back(void **state)
{
	struct setup *s = fresh_nic(NULL, VQT_WINDOW_MIN);
	unsigned sent = 0, seen = 0;

	(void)state;
	while (push(s, 5000, sent) == 0)
		sent++;
	assert_int_equal(sent, VQT_WINDOW_MIN / vqt_span(5000));
	assert_true(vqt_dev_credit(s->d, 0) < vqt_span(5000));
	run(s);
	assert_int_equal(s->w.writable, 0);
	assert_int_equal(vw_d(s->d, VQT_D_marks), 1);
	for (unsigned round = 0; round < 40; round++) {
		post(s, 40, 1526);
		run(s);
		while (sent < 200 && push(s, 5000, sent) == 0)
			sent++;
		run(s);
		while (guest_frame(&s->ring[0], got)) {
			vw_pattern(buf, 5000, seen++);
			assert_frame(got, 5000, buf, 5000);
		}
	}
	assert_int_equal(sent, 200);
	assert_int_equal(seen, 200);
	assert_true(s->w.writable > 0);
	assert_true(vw_hd(s->hd, VQT_HD_credits) > 0);
	assert_true(vw_hd(s->hd, VQT_HD_rx_staged) > 0);
	assert_int_equal(vw_hd(s->hd, VQT_HD_drop_rx_credit), 0);
	teardown(s);
}

/* A whole window is lost on the wire: without MARK the sender would wait for ever. */
static void credit_of_lost_frames_comes_back(void **state)
{
	struct setup *s = calloc(1, sizeof(*s));
	unsigned n = 0;

	(void)state;
	assert_non_null(s);
	s->rel = RT_REL_NONE;
	s->window = VQT_WINDOW_MIN;
	setup(s, VQT_NET, NULL);
	post(s, 300, 2000);
	s->w.cut = true;
	while (push(s, 5000, n) == 0)
		n++;
	vw_run(&s->w, 3 * MS);
	s->w.cut = false;
	run(s);
	assert_int_equal(s->w.writable, 1);
	/* What had not left the sender when the wire was whole again came. */
	while (guest_frame(&s->ring[0], got))
		n--;
	assert_true(n > 10);
	assert_int_equal(push(s, 5000, 77), 0);
	run(s);
	guest_got(s, 5000, 77);
	assert_int_equal(s->ring[0].taken, 0);
	assert_true(vw_hd(s->hd, VQT_HD_drop_rx_lost) > 0);
	teardown(s);
}

static void pieces_in_any_order(void **state)
{
	static const uint8_t order[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
	struct setup *s = fresh_nic(NULL, VQT_WINDOW_MIN);
	uint32_t pos = 0;

	(void)state;
	for (unsigned k = 0; k < 6; k++) {
		post(s, 2, 1526);
		for (unsigned i = 0; i < 3; i++)
			piece(s, 10 + k * 3 + order[k][i], pos, 3000, order[k][i] * 1000u, 1000, k);
		serve(s);
		guest_got(s, 3000, k);
		pos += vqt_span(3000);
		assert_int_equal(s->ring[0].taken, 0);
	}
	assert_int_equal(vw_hd(s->hd, VQT_HD_rx_direct), 6);
	teardown(s);
}

/* Frames out of order are staged; the guest gets them in order, each once. */
static void frames_in_any_order(void **state)
{
	struct setup *s = fresh_nic(NULL, VQT_WINDOW_MIN);

	(void)state;
	post(s, 20, 1526);
	piece(s, 3, 3 * 128, 100, 0, 100, 3);
	piece(s, 2, 2 * 128, 100, 50, 50, 2);
	piece(s, 1, 128, 100, 0, 100, 1);
	assert_int_equal(s->ring[0].npushed, 0);
	piece(s, 0, 0, 100, 0, 100, 0);
	serve(s);
	guest_got(s, 100, 0);
	guest_got(s, 100, 1);
	assert_int_equal(guest_frame(&s->ring[0], got), 0);
	piece(s, 2, 2 * 128, 100, 0, 50, 2);
	serve(s);
	guest_got(s, 100, 2);
	guest_got(s, 100, 3);
	/* Late and repeated pieces are nothing. */
	piece(s, 2, 2 * 128, 100, 0, 50, 2);
	assert_int_equal(vw_hd(s->hd, VQT_HD_drop_rx_late), 1);
	assert_int_equal(vw_hd(s->hd, VQT_HD_rx_frames), 4);
	/* The last place within the credit, and the first beyond it. */
	piece(s, 9, VQT_WINDOW_MIN - 64, 60, 0, 60, 1);
	assert_int_equal(vw_hd(s->hd, VQT_HD_drop_rx_credit), 0);
	piece(s, 9, VQT_WINDOW_MIN - 64, 70, 0, 60, 1);
	piece(s, 9, VQT_WINDOW_MIN, 60, 0, 60, 1);
	assert_int_equal(vw_hd(s->hd, VQT_HD_drop_rx_credit), 2);
	teardown(s);
}

static void what_never_came_is_given_up_when_settled(void **state)
{
	struct setup *s = fresh_nic(NULL, VQT_WINDOW_MIN);

	(void)state;
	post(s, 20, 1526);
	/* 0 lost whole, 1 in part, 2 there; packets 10, 11, 12. */
	piece(s, 11, 128, 100, 0, 60, 1);
	piece(s, 12, 256, 100, 0, 100, 2);
	vqt_host_settled(s->w.host, RT_NET, 11);
	assert_int_equal(s->ring[0].npushed, 0);
	vqt_host_settled(s->w.host, RT_CMD, 100);
	assert_int_equal(s->ring[0].npushed, 0);
	/* 11 is settled: 0 will not come; 1 might still have bytes in 12. */
	vqt_host_settled(s->w.host, RT_NET, 12);
	assert_int_equal(vw_hd(s->hd, VQT_HD_drop_rx_lost), 1);
	assert_int_equal(vw_hd(s->hd, VQT_HD_drop_rx_partial), 0);
	vqt_host_settled(s->w.host, RT_NET, 13);
	assert_int_equal(vw_hd(s->hd, VQT_HD_drop_rx_partial), 1);
	serve(s);
	guest_got(s, 100, 2);
	assert_int_equal(s->ring[0].taken, 0);
	/* The head of which the middle is lost is given up by its own last piece. */
	piece(s, 20, 384, 3000, 0, 1000, 3);
	assert_int_equal(s->ring[0].taken, 2);
	piece(s, 22, 384, 3000, 2000, 1000, 3);
	vqt_host_settled(s->w.host, RT_NET, 22);
	assert_int_equal(s->ring[0].taken, 2);
	vqt_host_settled(s->w.host, RT_NET, 23);
	assert_int_equal(s->ring[0].taken, 0);
	piece(s, 24, 384 + vqt_span(3000), 100, 0, 100, 4);
	serve(s);
	guest_got(s, 100, 4);
	teardown(s);
}

/* That a frame is lost was known while another waited for the guest's buffers before it: nobody says so
 * again. */
static void a_loss_behind_a_frame_that_waits(void **state)
{
	struct setup *s = fresh_nic(NULL, VQT_WINDOW_MIN);

	(void)state;
	piece(s, 10, 0, 100, 0, 100, 1);
	piece(s, 12, 256, 100, 0, 60, 2); /* 128 is lost; of this one there is a part */
	piece(s, 14, 384, 100, 0, 100, 3);
	vqt_host_settled(s->w.host, RT_NET, 15);
	assert_int_equal(vw_hd(s->hd, VQT_HD_drop_rx_lost), 0);
	post(s, 2, 1526);
	serve(s);
	guest_got(s, 100, 1);
	guest_got(s, 100, 3);
	assert_int_equal(vw_hd(s->hd, VQT_HD_drop_rx_lost), 1);
	assert_int_equal(vw_hd(s->hd, VQT_HD_drop_rx_partial), 1);
	teardown(s);

	/* Nor when its driver goes, instead of giving buffers. */
	s = fresh_nic(NULL, VQT_WINDOW_MIN);
	piece(s, 10, 0, 100, 0, 100, 1);
	piece(s, 14, 384, 100, 0, 100, 3);
	vqt_host_settled(s->w.host, RT_NET, 15);
	serve(s);
	vqt_host_queue_stop(s->hd, 0, VQT_STOP_DRAIN);
	serve(s);
	assert_int_equal(vw_hd(s->hd, VQT_HD_drop_rx_lost), 1);
	assert_int_equal(vw_hd(s->hd, VQT_HD_drop_rx_stopped), 2);
	teardown(s);
}

/* What was settled of another session says nothing of this one's packets. */
static void a_new_session_settles_anew(void **state)
{
	struct setup *s = fresh_nic(NULL, VQT_WINDOW_MIN);

	(void)state;
	post(s, 4, 1526);
	vqt_host_settled(s->w.host, RT_NET, 1000);
	vw_session_down(&s->w);
	vw_session_up(&s->w, NULL);
	s->epoch++;
	setup_bind(s);
	piece(s, 12, 128, 100, 0, 100, 2);
	serve(s);
	assert_int_equal(vw_hd(s->hd, VQT_HD_drop_rx_lost), 0);
	piece(s, 11, 0, 100, 0, 100, 1);
	serve(s);
	guest_got(s, 100, 1);
	guest_got(s, 100, 2);
	teardown(s);
}

static void a_mark_settles_what_was_before_it(void **state)
{
	struct setup *s = fresh_nic(NULL, VQT_WINDOW_MIN);
	struct rt_rec mark = {.kind = VQT_MARK, .dev = WIRE, .aux = (uint16_t)EPOCH, .id = 1280};

	(void)state;
	post(s, 20, 1526);
	piece(s, 5, 640, 100, 0, 60, 1);
	vqt_host_record(s->w.host, RT_NET, 6, &mark, NULL);
	vqt_host_settled(s->w.host, RT_NET, 6);
	assert_int_equal(s->ring[0].taken, 0);
	vqt_host_settled(s->w.host, RT_NET, 7);
	assert_int_equal(vw_hd(s->hd, VQT_HD_drop_rx_partial), 1);
	assert_int_equal(vw_hd(s->hd, VQT_HD_drop_rx_lost), 2);
	piece(s, 8, 1280, 100, 0, 100, 2);
	serve(s);
	guest_got(s, 100, 2);
	/* A mark for what is long past, and one without sense. */
	vqt_host_record(s->w.host, RT_NET, 9, &mark, NULL);
	mark.id = 1280 + 3 * VQT_WINDOW_MIN;
	vqt_host_record(s->w.host, RT_NET, 9, &mark, NULL);
	assert_int_equal(vw_hd(s->hd, VQT_HD_drop_rx_malformed), 1);
	teardown(s);
}

/* A stopped queue gives chains up without touching the ring, drops what comes, and credit goes on. */
static void stop_and_start(void **state)
{
	struct setup *s = fresh_nic(NULL, VQT_WINDOW_MIN);
	unsigned sent = 0;

	(void)state;
	post(s, 4, 1526);
	piece(s, 1, 0, 3000, 0, 1000, 1);
	assert_int_equal(s->ring[0].taken, 2);
	s->ring[0].closed = true;
	vqt_host_queue_stop(s->hd, 0, VQT_STOP_FENCE);
	assert_string_equal(s->w.log, "stopped 0; ");
	piece(s, 2, 0, 3000, 1000, 2000, 1);
	assert_int_equal(vw_hd(s->hd, VQT_HD_drop_rx_stopped), 1);
	teardown(s);

	s = fresh_nic(NULL, VQT_WINDOW_MIN);
	vqt_host_queue_stop(s->hd, 0, VQT_STOP_DRAIN);
	s->ring[0].closed = true;
	for (unsigned i = 0; i < 1000; i++) {
		if (push(s, 5000, i) == 0)
			sent++;
		else
			run(s);
	}
	run(s);
	assert_true(sent > 900);
	assert_int_equal(vw_hd(s->hd, VQT_HD_drop_rx_stopped), sent);
	s->ring[0].closed = false;
	assert_int_equal(vqt_host_queue_start(s->hd, 0, true), 0);
	post(s, 4, 1526);
	assert_int_equal(push(s, 5000, 5), 0);
	run(s);
	guest_got(s, 5000, 5);
	teardown(s);
}

static void a_broken_ring_takes_nobody_along(void **state)
{
	struct setup *s = fresh_nic(NULL, VQT_WINDOW_MIN);

	(void)state;
	post(s, 1, 1526);
	s->ring[0].broken = true;
	piece(s, 1, 0, 3000, 0, 1000, 1);
	assert_string_equal(s->w.log, "broken 0; ");
	s->ring[0].closed = true;
	piece(s, 1, 0, 3000, 1000, 2000, 1);
	piece(s, 2, vqt_span(3000), 100, 0, 100, 1);
	serve(s);
	/* The other direction works on. */
	vw_pattern(buf, 60, 1);
	fake_ring_add1(&s->ring[1], buf, 60, 0);
	vqt_host_kick(s->hd, 1);
	run(s);
	assert_int_equal(s->w.ngot, 1);
	teardown(s);
}

static void bad_wires(void **state)
{
	static const enum rt_rel rels[] = {RT_REL_NONE, RT_REL_BOUNDED, RT_REL_FULL};

	(void)state;
	for (unsigned k = 0; k < 3; k++) {
		struct setup *s = calloc(1, sizeof(*s));
		struct rng rng;
		uint32_t lens[600], sent = 0, next = 0, seen = 0, n;

		assert_non_null(s);
		s->rel = rels[k];
		s->window = VQT_WINDOW_MIN;
		s->pos = 0u - 64 * 1000;
		setup(s, VQT_NET, NULL);
		rng_init(&rng, k);
		s->w.loss[0] = s->w.loss[1] = 50000;
		s->w.reorder = 300000;
		while (sent < 600) {
			struct frame *f;
			int rc;

			lens[sent] = 40 + (uint32_t)rng_below(&rng, rng_chance(&rng, 300000) ? 65000 : 1500);
			vw_pattern(buf, lens[sent], sent);
			memcpy(buf, &sent, 4);
			f = vw_frame(&s->w, buf, lens[sent]);
			rc = vqt_dev_send(s->d, 0, f, s->w.now);
			frame_put(f);
			if (rc == 0 && ++sent % 7)
				continue;
			post(s, 60, 1526);
			run(s);
		}
		for (unsigned i = 0; i < 100; i++) {
			post(s, 60, 1526);
			run(s);
		}
		while ((n = guest_frame(&s->ring[0], got)) != 0) {
			uint32_t id;

			memcpy(&id, got, 4);
			assert_true(id >= next && id < 600);
			next = id + 1;
			vw_pattern(buf, lens[id], id);
			memcpy(buf, &id, 4);
			assert_frame(got, n, buf, lens[id]);
			seen++;
		}
		if (rels[k] == RT_REL_FULL)
			assert_int_equal(seen, 600);
		if (rels[k] == RT_REL_NONE)
			assert_true(seen < 600);
		assert_true(seen > 300);
		teardown(s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mergeable_over_1_to_64_buffers),
		cmocka_unit_test(header_over_tiny_buffers),
		cmocka_unit_test(a_buffer_of_many_iovecs),
		cmocka_unit_test(more_buffers_than_a_frame_may_take),
		cmocka_unit_test(not_mergeable),
		cmocka_unit_test(credit_runs_out_and_comes_back),
		cmocka_unit_test(credit_of_lost_frames_comes_back),
		cmocka_unit_test(pieces_in_any_order),
		cmocka_unit_test(frames_in_any_order),
		cmocka_unit_test(what_never_came_is_given_up_when_settled),
		cmocka_unit_test(a_loss_behind_a_frame_that_waits),
		cmocka_unit_test(a_new_session_settles_anew),
		cmocka_unit_test(a_mark_settles_what_was_before_it),
		cmocka_unit_test(stop_and_start),
		cmocka_unit_test(a_broken_ring_takes_nobody_along),
		cmocka_unit_test(bad_wires),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Requests: every byte there and back, once, within the limits of both ends. */
#include "tests/unit/fabric/vqt/vqt_requests.h"

#include <errno.h>

static void read_write_flush(void **state)
{
	/* out, in: flush, 4 KiB read, 4 KiB write, exact unscheduled limit, one more, the largest both ways.
	 */
	static const uint32_t shapes[][2] = {
		{16, 1},	   {16, 4097},	   {4112, 1}, {65536, 1}, {65537, 1}, {VQT_REQ_MAX, 256},
		{16, VQT_REQ_MAX}, {65536, 70000}, {0, 0},    {0, 1},	  {1, 0}};
	struct setup *s = fresh_disk(NULL);

	(void)state;
	for (unsigned i = 0; i < 11; i++) {
		struct fake_chain *c = put(s, i % 2, shapes[i][0], shapes[i][1], i), *u;

		run(s);
		assert_int_equal(s->w.nreqs, i + 1);
		assert_int_equal(vqt_hdev_inflight(s->hd), 1);
		assert_int_equal(vqt_dev_outstanding(s->d), 1);
		answer(s, req(s, i, shapes[i][0], shapes[i][1], i), 100 + i);
		run(s);
		u = fake_ring_used(&s->ring[i % 2]);
		assert_ptr_equal(u, c);
		assert_int_equal(u->written, shapes[i][1]);
		vw_pattern(buf, u->written, 100 + i);
		fake_chain_read(u, 0, got, u->written);
		if (u->written)
			assert_memory_equal(got, buf, u->written);
		assert_int_equal(vqt_hdev_inflight(s->hd), 0);
		assert_int_equal(s->w.mem_live, 0);
	}
	assert_int_equal(vw_d(s->d, VQT_D_grants), 2);
	assert_int_equal(s->w.idle, 11);
	teardown(s);
}

/* An error sends its last byte only, and what is before stays as the guest had it. */
static void an_error_sends_the_status_alone(void **state)
{
	struct setup *s = fresh_disk(NULL);
	struct fake_chain *c = put(s, 0, 16, 4097, 1);
	uint8_t untouched[4096];

	(void)state;
	run(s);
	s->w.reqs[0]->in[4096] = 1;
	vqt_dev_complete(s->w.reqs[0], 1, 1, s->w.now);
	run(s);
	assert_ptr_equal(fake_ring_used(&s->ring[0]), c);
	assert_int_equal(c->written, 1);
	memset(untouched, FAKE_RING_FILL, sizeof(untouched));
	fake_chain_read(c, 0, got, 4097);
	assert_memory_equal(got, untouched, 4096);
	assert_int_equal(got[4096], 1);
	teardown(s);
}

static void scattered_chains(void **state)
{
	struct setup *s = fresh_disk(NULL);
	uint32_t outs[130], ins[130], total_out = 0, total_in = 0;
	struct fake_chain *c;

	(void)state;
	for (unsigned i = 0; i < 130; i++) {
		outs[i] = i % 7 ? i * 3 : 0;
		ins[i] = i % 5 ? i * 7 : 0;
		total_out += outs[i];
		total_in += ins[i];
	}
	vw_pattern(buf, total_out, 4);
	c = fake_ring_add(&s->ring[0], buf, outs, 130, ins, 130);
	vqt_host_kick(s->hd, 0);
	run(s);
	answer(s, req(s, 0, total_out, total_in, 4), 5);
	run(s);
	assert_ptr_equal(fake_ring_used(&s->ring[0]), c);
	fake_chain_read(c, 0, got, total_in);
	vw_pattern(buf, total_in, 5);
	assert_memory_equal(got, buf, total_in);
	teardown(s);
}

/* Many at once, over a bad wire, answered in another order: each exactly once. */
static void hundreds_over_a_bad_wire(void **state)
{
	struct setup *s = fresh_disk(NULL);
	struct rng rng;
	unsigned done = 0;

	(void)state;
	rng_init(&rng, 3);
	s->w.loss[0] = s->w.loss[1] = 50000;
	s->w.reorder = 300000;
	for (uint32_t i = 0; i < 300; i++) {
		bool write = rng_chance(&rng, 500000);
		uint32_t n = (uint32_t)rng_below(&rng, i % 10 ? 8192 : 1u << 20);

		put(s, i % 2, write ? 16 + n : 16, write ? 1 : 1 + n, i);
	}
	while (done < 300) {
		run(s);
		assert_true(s->w.nreqs > 0);
		while (s->w.nreqs) {
			unsigned k = (unsigned)rng_below(&rng, s->w.nreqs);
			struct vqt_req *r = s->w.reqs[k];

			s->w.reqs[k] = s->w.reqs[--s->w.nreqs];
			answer(s, r, r->in_len);
			done++;
		}
	}
	run(s);
	assert_int_equal(s->ring[0].nused + s->ring[1].nused, 300);
	assert_int_equal(vw_hd(s->hd, VQT_HD_completions), 300);
	for (unsigned q = 0; q < 2; q++)
		for (struct fake_chain *c; (c = fake_ring_used(&s->ring[q])) != NULL;) {
			fake_chain_read(c, 0, got, c->in_len);
			vw_pattern(buf, c->in_len, c->in_len);
			assert_memory_equal(got, buf, c->in_len);
		}
	assert_int_equal(s->w.mem_live, 0);
	assert_null(vqt_peer_bad(s->w.peer));
	teardown(s);
}

/* The session's memory is short: grants and reads wait, nobody starves, nobody overtakes. */
static void grants_wait_for_memory(void **state)
{
	struct vw_cfg tight = {.mem_max = 4ull * VQT_REQ_MAX};
	struct setup *s = fresh_disk(&tight);

	(void)state;
	for (unsigned i = 0; i < 10; i++)
		put(s, 0, VQT_REQ_MAX, 1, i);
	put(s, 0, 16, 4097, 10);
	put(s, 0, 16, 1, 11); /* needs no memory: may overtake */
	run(s);
	assert_int_equal(s->w.nreqs, 5);
	assert_true(vw_d(s->d, VQT_D_grants_waited) > 0);
	assert_true(s->w.mem_live <= tight.mem_max + 10 * 65536);
	for (unsigned i = 0; i < 12; i++) {
		run(s);
		assert_true(i < s->w.nreqs);
		answer(s, s->w.reqs[i], 1);
	}
	run(s);
	assert_int_equal(s->w.nreqs, 12);
	assert_int_equal(s->ring[0].nused, 12);
	assert_int_equal(s->w.mem_live, 0);
	teardown(s);
}

/* The door has no memory for a while. */
static void the_door_is_empty(void **state)
{
	struct setup *s = fresh_disk(NULL);

	(void)state;
	put(s, 0, 16, 4097, 1);
	s->w.mem_fail_after = 2; /* the 16 bytes are had, the read's buffer is not */
	run(s);
	assert_int_equal(s->w.nreqs, 0);
	s->w.mem_fail_after = 0;
	run(s);
	assert_int_equal(s->w.nreqs, 1);
	answer(s, s->w.reqs[0], 1);
	/* Not even for unscheduled bytes: they cannot be asked for again, so the session ends. */
	s->w.mem_fail_after = 1;
	put(s, 0, 16, 1, 1);
	run(s);
	assert_non_null(vqt_peer_bad(s->w.peer));
	assert_int_equal(vw_d(s->d, VQT_D_drop_req_no_mem), 1);
	teardown(s);
}

/* More than max_inflight stays at the host; queues take turns. */
static void max_inflight_is_kept(void **state)
{
	struct setup *s = calloc(1, sizeof(*s));

	(void)state;
	assert_non_null(s);
	s->max_inflight = 2 * VQT_UNSCHED;
	setup(s, VQT_BLK, NULL);
	for (unsigned i = 0; i < 12; i++)
		put(s, i % 2, 65536, 1, i);
	for (unsigned i = 0; i < 12; i++) {
		run(s);
		assert_int_equal(s->w.nreqs, i + 2 > 12 ? 12 : i + 2);
		answer(s, s->w.reqs[i], 1);
	}
	run(s);
	assert_int_equal(s->ring[0].nused, 6);
	assert_int_equal(s->ring[1].nused, 6);
	assert_null(vqt_peer_bad(s->w.peer));
	teardown(s);
}

static void depth_is_kept(void **state)
{
	struct setup *s = calloc(1, sizeof(*s));

	(void)state;
	assert_non_null(s);
	s->depth = 3;
	setup(s, VQT_BLK, NULL);
	for (unsigned i = 0; i < 10; i++)
		put(s, 0, 16, 1, i);
	for (unsigned i = 0; i < 10; i++) {
		run(s);
		assert_int_equal(s->w.nreqs, i + 3 > 10 ? 10 : i + 3);
		assert_int_equal(vqt_hdev_inflight_vq(s->hd, 0), i + 3 > 10 ? 10 - i : 3);
		answer(s, s->w.reqs[i], 1);
	}
	run(s);
	assert_int_equal(s->ring[0].nused, 10);
	teardown(s);
}

static void too_long_requests_break_their_queue_alone(void **state)
{
	struct setup *s = fresh_disk(NULL);

	(void)state;
	put(s, 0, 16, 4097, 1);
	run(s);
	put(s, 0, VQT_REQ_MAX + 1, 1, 0);
	vqt_host_service(s->w.host, 100, s->w.now);
	assert_string_equal(s->w.log, "broken 0; ");
	s->ring[0].closed = true;
	/* The request at the backend is answered: the guest's memory stays as it is. */
	answer(s, s->w.reqs[0], 1);
	run(s);
	assert_int_equal(vw_hd(s->hd, VQT_HD_drop_cpl_fenced), 1);
	put(s, 1, 16, 1, 2);
	run(s);
	assert_int_equal(s->w.nreqs, 2);
	answer(s, s->w.reqs[1], 1);
	run(s);
	assert_int_equal(s->ring[1].nused, 1);
	put(s, 1, 65537, 257, 2);
	run(s);
	assert_string_equal(s->w.log, "broken 0; broken 1; ");
	teardown(s);
}

static void a_drain_waits(void **state)
{
	struct setup *s = fresh_disk(NULL);

	(void)state;
	put(s, 0, 16, 4097, 1);
	put(s, 0, VQT_REQ_MAX, 1, 2);
	run(s);
	put(s, 0, 16, 1, 3);
	vqt_host_queue_stop(s->hd, 0, VQT_STOP_DRAIN);
	assert_int_equal(vqt_host_queue_start(s->hd, 0, false), -EBUSY);
	assert_string_equal(s->w.log, "");
	run(s);
	assert_int_equal(s->w.nreqs, 2);
	answer(s, s->w.reqs[0], 1);
	run(s);
	assert_string_equal(s->w.log, "");
	answer(s, s->w.reqs[1], 1);
	run(s);
	assert_string_equal(s->w.log, "stopped 0; ");
	/* Published before stopped() was called. */
	assert_int_equal(s->ring[0].nused, 2);
	vqt_host_queue_start(s->hd, 0, false);
	run(s);
	assert_int_equal(s->w.nreqs, 3);
	answer(s, s->w.reqs[2], 1);
	run(s);
	assert_int_equal(s->ring[0].nused, 3);
	teardown(s);
}

/* The guest goes away with requests at the backend and a write half sent: nothing of it is touched, and its
 * next life has to wait until the last of them is over. */
static void a_fence_and_the_next_life(void **state)
{
	struct setup *s = fresh_disk(NULL);
	struct fake_chain *old = put(s, 0, 16, 4097, 1);
	uint8_t untouched[4097];

	(void)state;
	memset(untouched, FAKE_RING_FILL, sizeof(untouched));
	run(s);
	put(s, 0, VQT_REQ_MAX, 1, 2);
	vqt_host_service(s->w.host, 1, s->w.now); /* the unscheduled part is under way */
	s->ring[0].closed = true;
	vqt_host_queue_stop(s->hd, 0, VQT_STOP_FENCE);
	assert_string_equal(s->w.log, "stopped 0; ");
	assert_int_equal(vqt_hdev_inflight(s->hd), 0);
	fake_ring_retake(&s->ring[0]);
	s->ring[0].closed = false;
	run(s);
	assert_int_equal(vw_hd(s->hd, VQT_HD_cancels), 1);
	assert_int_equal(vw_d(s->d, VQT_D_cancels), 1);
	assert_int_equal(s->w.nreqs, 1);
	vqt_host_queue_start(s->hd, 0, false);
	run(s);
	assert_int_equal(s->ring[0].taken, 0); /* the old read is still out */
	answer(s, s->w.reqs[0], 1);
	run(s);
	assert_int_equal(vw_hd(s->hd, VQT_HD_drop_cpl_fenced), 2);
	fake_chain_read(old, 0, got, 4097);
	assert_memory_equal(got, untouched, 4097);
	assert_int_equal(s->w.nreqs, 3);
	answer(s, req(s, 1, 16, 4097, 1), 1);
	answer(s, req(s, 2, VQT_REQ_MAX, 1, 2), 1);
	run(s);
	assert_int_equal(s->ring[0].nused, 2);
	assert_int_equal(s->w.mem_live, 0);
	teardown(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(read_write_flush),
		cmocka_unit_test(an_error_sends_the_status_alone),
		cmocka_unit_test(scattered_chains),
		cmocka_unit_test(hundreds_over_a_bad_wire),
		cmocka_unit_test(grants_wait_for_memory),
		cmocka_unit_test(the_door_is_empty),
		cmocka_unit_test(max_inflight_is_kept),
		cmocka_unit_test(depth_is_kept),
		cmocka_unit_test(too_long_requests_break_their_queue_alone),
		cmocka_unit_test(a_drain_waits),
		cmocka_unit_test(a_fence_and_the_next_life),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

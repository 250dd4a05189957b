/* SPDX-License-Identifier: Apache-2.0 */
/* Requests by key: bytes go between the memories, once, and nothing comes after its time. */
#include "tests/unit/fabric/vqt/vqt_requests.h"

#include <errno.h>

static struct adapter adapter;

static struct setup *fresh_with(uint64_t mem_max)
{
	struct vw_cfg cfg = {.adapter = &adapter, .mem_max = mem_max};

	adapter_init(&adapter);
	return fresh_disk(&cfg);
}

static struct setup *fresh(void)
{
	return fresh_with(0);
}

static void done(struct setup *s)
{
	teardown(s);
	adapter_fini(&adapter);
}

static void expect(struct setup *s, struct fake_chain *c, uint32_t seed)
{
	assert_ptr_equal(fake_ring_used(&s->ring[0]), c);
	vw_pattern(buf, c->in_len, seed);
	fake_chain_read(c, 0, got, c->in_len);
	assert_int_equal(c->written, c->in_len);
	assert_memory_equal(got, buf, c->in_len);
	assert_null(fake_ring_used(&s->ring[0]));
	assert_int_equal(s->w.mem_live, 0);
}

static void one(struct setup *s, uint32_t out_len, uint32_t in_len, uint32_t seed)
{
	struct fake_chain *c = put(s, 0, out_len, in_len, seed);
	unsigned n = s->w.nreqs;

	run(s);
	assert_int_equal(s->w.nreqs, n + 1);
	answer(s, req(s, n, out_len, in_len, seed), seed + 1000);
	run(s);
	expect(s, c, seed + 1000);
}

static const uint32_t shapes[][2] = {
	{16, 4097},	  {16 + 4096, 1},  {16, VQT_REQ_MAX},	    {VQT_REQ_MAX, 1},
	{16 + 2048, 300}, {16 + 65536, 1}, {16 + 3000, 70000 - 16}, {16, 2049}};

static void no_byte_of_payload_is_in_a_message(void **state)
{
	struct setup *s = fresh();

	(void)state;
	for (unsigned i = 0; i < 8; i++)
		one(s, shapes[i][0], shapes[i][1], i);
	assert_int_equal(vw_hd(s->hd, VQT_HD_requests_keyed), 8);
	assert_int_equal(vw_d(s->d, VQT_D_requests_keyed), 8);
	assert_int_equal(vw_hd(s->hd, VQT_HD_request_copied_bytes), 0);
	assert_int_equal(vw_hd(s->hd, VQT_HD_completion_copied_bytes), 0);
	assert_int_equal(vw_d(s->d, VQT_D_request_copied_bytes), 0);
	assert_int_equal(vw_d(s->d, VQT_D_completion_copied_bytes), 0);
	assert_int_equal(vw_d(s->d, VQT_D_grants), 0);
	done(s);
}

static void short_ones_go_in_messages(void **state)
{
	static const uint32_t small[][2] = {{16, 1},   {16, 21},   {0, 0},
					    {0, 5000}, {15, 4097}, {16 + 2047, 2048}};
	struct setup *s = fresh();

	(void)state;
	for (unsigned i = 0; i < 6; i++)
		one(s, small[i][0], small[i][1], i);
	assert_int_equal(vw_hd(s->hd, VQT_HD_requests_keyed), 0);
	assert_int_equal(adapter.moves, 0);
	done(s);
}

static void scattered(void **state)
{
	struct setup *s = fresh();
	uint32_t outs[40], ins[80], total_out = 0, total_in = 0;
	struct fake_chain *c;

	(void)state;
	for (unsigned n = 30; n <= 36; n += 6) {
		total_out = total_in = 0;
		for (unsigned i = 0; i < n; i++)
			total_out += outs[i] = i ? 100 + i : 16;
		for (unsigned i = 0; i < n; i++)
			total_in += ins[i] = 200 + i;
		vw_pattern(buf, total_out, n);
		c = fake_ring_add(&s->ring[0], buf, outs, n, ins, n);
		vqt_host_kick(s->hd, 0);
		run(s);
		answer(s, req(s, s->w.nreqs - 1, total_out, total_in, n), 99);
		run(s);
		expect(s, c, 99);
	}
	/* 29 + 30 places fit into a message; of 35 + 36 the first do, and the answer comes in messages. */
	assert_int_equal(vw_hd(s->hd, VQT_HD_requests_keyed), 2);
	assert_int_equal(vw_hd(s->hd, VQT_HD_request_copied_bytes), 0);
	assert_int_equal(vw_hd(s->hd, VQT_HD_completion_copied_bytes), total_in - VQT_TAIL);
	assert_int_equal(adapter.moves, 3);
	done(s);
}

static void an_error_sends_the_status_alone(void **state)
{
	struct setup *s = fresh();
	struct fake_chain *c = put(s, 0, 16, 4097, 1);
	uint8_t untouched[4096];

	(void)state;
	run(s);
	s->w.reqs[0]->in[4096] = 1;
	vqt_dev_complete(s->w.reqs[0], 1, 1, s->w.now);
	run(s);
	assert_ptr_equal(fake_ring_used(&s->ring[0]), c);
	memset(untouched, FAKE_RING_FILL, sizeof(untouched));
	fake_chain_read(c, 0, got, 4097);
	assert_memory_equal(got, untouched, 4096);
	assert_int_equal(got[4096], 1);
	assert_int_equal(adapter.moves, 0);
	done(s);
}

/* A READ that fails, or cannot be started: the bytes are asked for. */
static void fetching_falls_back(void **state)
{
	struct setup *s = fresh();

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		adapter.fail = i == 0;
		adapter.down_there = i == 1;
		one(s, 16 + 4096, 1, 5);
		one(s, VQT_REQ_MAX, 1, 6);
		assert_int_equal(vw_d(s->d, VQT_D_grants), 1 + 2 * i);
	}
	assert_int_equal(adapter.failed, 1);
	assert_int_equal(adapter.fences, 0);
	assert_int_equal(vw_d(s->d, VQT_D_moves_refused), 2);
	assert_int_equal(vw_d(s->d, VQT_D_request_copied_bytes), 4096 + 4096 + VQT_REQ_MAX - 16);
	assert_int_equal(vw_hd(s->hd, VQT_HD_request_copied_bytes), 4096 + 4096 + VQT_REQ_MAX - 16);
	done(s);
}

/* A WRITE that fails, and comes all the same after the guest has its buffer back. */
static void placing_falls_back_and_nothing_lands_late(void **state)
{
	struct setup *s = fresh();
	struct fake_chain *c = put(s, 0, 16, 4097, 1), *next;

	(void)state;
	run(s);
	adapter.fail = 1;
	adapter.late = true;
	answer(s, req(s, 0, 16, 4097, 1), 7);
	run(s);
	expect(s, c, 7);
	assert_int_equal(adapter.fences, 1);
	assert_int_equal(vw_hd(s->hd, VQT_HD_completions_torn), 1);
	/* The guest uses the buffer for something else. */
	memset(c->iov[1].iov_base, 0x5a, 4097);
	assert_int_equal(adapter_land(&adapter), 0);
	fake_chain_read(c, 0, got, 4097);
	memset(buf, 0x5a, 4097);
	assert_memory_equal(got, buf, 4097);
	/* By the next connection. */
	next = put(s, 0, 16, 4097, 2);
	run(s);
	answer(s, req(s, 1, 16, 4097, 2), 8);
	run(s);
	expect(s, next, 8);
	assert_int_equal(adapter.fences, 1);
	/* Refused: there is nothing to fence. */
	adapter.down_there = true;
	next = put(s, 0, 16, 4097, 3);
	run(s);
	answer(s, req(s, 2, 16, 4097, 3), 9);
	run(s);
	expect(s, next, 9);
	assert_int_equal(adapter.fences, 1);
	done(s);
}

static void give_back(struct setup *s)
{
	fake_ring_retake(&s->ring[0]);
}

/* The session is lost while a WRITE is under way: it is taken up in the next one, and answered once. */
static void a_lost_session_leaves_nothing_under_way(void **state)
{
	struct setup *s = fresh();
	struct vw_cfg cfg = {.adapter = &adapter};
	struct fake_chain *c = put(s, 0, 16, 4097, 1);
	struct vqt_req *old;

	(void)state;
	run(s);
	adapter.hold = true;
	old = req(s, 0, 16, 4097, 1);
	answer(s, old, 7);
	run(s);
	assert_int_equal(adapter.n, 1);
	/* Session and device go at both ends; the adapter has not said a word. */
	vw_session_down(&s->w);
	assert_int_equal(adapter.revokes, 1);
	assert_int_equal(s->w.drained, 0);
	vw_session_up(&s->w, &cfg);
	s->epoch++;
	setup_bind(s);
	run(s);
	answer(s, req(s, 1, 16, 4097, 1), 8);
	adapter.hold = false;
	run(s);
	/* The first was stale, and its memory went with it. */
	assert_int_equal(s->w.drained, 1);
	assert_int_equal(adapter.failed, 1);
	expect(s, c, 8);
	done(s);
}

/* The guest's queue is fenced with requests by key under way in both directions. */
static void a_fenced_queue_has_no_keys(void **state)
{
	struct setup *s = fresh();
	struct fake_chain *r = put(s, 0, 16, 4097, 1), *w;

	(void)state;
	run(s);
	adapter.hold = true;
	answer(s, req(s, 0, 16, 4097, 1), 7);
	w = put(s, 0, 16 + 4096, 1, 2);
	run(s);
	assert_int_equal(adapter.n, 2);
	vqt_host_queue_stop(s->hd, 0, VQT_STOP_FENCE);
	assert_int_equal(adapter.revokes, 1);
	/* The guest's memory is somebody else's now. */
	memset(r->iov[1].iov_base, 0x5a, 4097);
	memset(w->iov[0].iov_base, 0x5a, 16 + 4096);
	adapter.hold = false;
	run(s);
	assert_int_equal(adapter.failed, 2);
	fake_chain_read(r, 0, got, 4097);
	memset(buf, 0x5a, 4097);
	assert_memory_equal(got, buf, 4097);
	/* The write never reached the backend, and both slots are free. */
	assert_int_equal(s->w.nreqs, 1);
	assert_int_equal(vw_d(s->d, VQT_D_cancels), 1);
	assert_int_equal(vw_hd(s->hd, VQT_HD_drop_cpl_fenced), 2);
	give_back(s);
	assert_int_equal(vqt_host_queue_start(s->hd, 0, true), 0);
	run(s);
	assert_int_equal(s->w.nreqs, 3);
	vqt_dev_complete(s->w.reqs[1], 1, 1, s->w.now);
	vqt_dev_complete(s->w.reqs[2], 1, 1, s->w.now);
	run(s);
	assert_ptr_equal(fake_ring_used(&s->ring[0]), r);
	assert_ptr_equal(fake_ring_used(&s->ring[0]), w);
	/* Idle, there is nothing to revoke. */
	vqt_host_queue_stop(s->hd, 0, VQT_STOP_FENCE);
	assert_int_equal(adapter.revokes, 1);
	done(s);
}

/* The device is detached with a READ and a WRITE under way: drained when the adapter is done, not before. */
static void detaching_waits_for_the_adapter(void **state)
{
	struct setup *s = fresh();

	(void)state;
	put(s, 0, 16, 4097, 1);
	run(s);
	adapter.hold = true;
	answer(s, req(s, 0, 16, 4097, 1), 7);
	put(s, 0, 16 + 4096, 1, 2);
	run(s);
	assert_int_equal(vqt_dev_outstanding(s->d), 2);
	assert_int_equal(vqt_peer_detach(s->d), 2);
	vqt_hdev_unbind(s->hd);
	adapter.hold = false;
	assert_int_equal(adapter_run(&adapter), 2);
	assert_int_equal(s->w.drained, 1);
	assert_int_equal(s->w.nreqs, 1);
	assert_int_equal(s->w.mem_live, 0);
	done(s);
}

/* Memory of the session bounds those by key as others; whoever waits is served. */
static void memory_is_bounded(void **state)
{
	struct setup *s = fresh_with(4ull * VQT_REQ_MAX);
	unsigned answered = 0;

	(void)state;
	for (unsigned i = 0; i < 12; i++)
		put(s, 0, i % 2 ? 16 : VQT_REQ_MAX, i % 2 ? VQT_REQ_MAX : 1, i);
	run(s);
	while (answered < 12) {
		assert_true(s->w.nreqs > answered && s->w.nreqs - answered <= 4);
		vqt_dev_complete(s->w.reqs[answered], s->w.reqs[answered]->in_len,
				 s->w.reqs[answered]->in_len, s->w.now);
		answered++;
		run(s);
	}
	assert_true(vw_d(s->d, VQT_D_grants_waited) > 0);
	assert_int_equal(s->w.mem_live, 0);
	done(s);
}

/* ---- what an honest agent does not say ---- */

static void send_keyed(struct setup *s, struct vqt_req_head h, const struct vqt_seg *seg, unsigned n,
		       uint32_t total)
{
	uint8_t bytes[VQT_HEAD + VQT_LEAD + (VQT_SEGS_MAX + 1) * VQT_SEG] = {0};
	struct rt_rec rec = {.kind = VQT_KEYED, .dev = WIRE, .aux = (uint16_t)s->epoch, .total = total};
	struct iovec iov = {bytes, total};

	vqt_req_head_put(bytes, &h);
	for (unsigned i = 0; i < n; i++)
		vqt_seg_put(bytes + VQT_HEAD + VQT_LEAD + i * VQT_SEG, &seg[i]);
	assert_int_equal(rt_send(s->w.rt[0], RT_CMD, RT_REL_FULL, &rec, &iov, 1, s->w.now), 0);
	rt_flush(s->w.rt[0], s->w.now);
	run(s);
}

static void false_messages_end_the_session(void **state)
{
	enum { ONE = VQT_HEAD + VQT_LEAD + VQT_SEG };
	static const struct {
		uint32_t out, in, nout, nin, more;
		struct vqt_seg seg;
		uint32_t total;
	} bad[] = {
		{16 + 4096, 1, 1, 0, 0, {1000, 4095, 0}, ONE}, /* sums */
		{16 + 4096, 1, 1, 0, 0, {1000, 4097, 0}, ONE},
		{16, 4097, 0, 1, 0, {1000, 4097, 0}, ONE},
		{16, 4097, 1, 0, 0, {1000, 4096, 0}, ONE}, /* which side */
		{16 + 4096, 1, 0, 1, 0, {1000, 4096, 0}, ONE},
		{15, 4097, 0, 1, 0, {1000, 4096, 0}, ONE}, /* no room for a command */
		{16, 200, 0, 1, 0, {1000, 199, 0}, ONE},   /* too little to place */
		{16, 4097, 0, 2, 0, {1000, 4096, 0}, ONE}, /* numbers */
		{16, 4097, 0, 0, 0, {1000, 4096, 0}, ONE},
		{16, 4097, 0, 1, 1u << 16, {1000, 4096, 0}, ONE},	     /* flags */
		{16, 4097, 0, 1, 0, {1000, 4096, UINT64_MAX}, ONE},	     /* wraps */
		{16 + 4096, 1, 1, 0, 0, {1000, 0, 0}, ONE},		     /* empty */
		{16, VQT_REQ_MAX + 1, 0, 1, 0, {1000, VQT_REQ_MAX, 0}, ONE}, /* too long */
		{16, 4097, 0, 1, 0, {1000, 4096, 0}, ONE - 1},		     /* half a piece */
		{16, 4097, 0, 1, 0, {1000, 4096, 0}, VQT_HEAD + VQT_LEAD},
		{16, 4097, 0, 65, 0, {1000, 4096, 0}, VQT_HEAD + VQT_LEAD + 65 * VQT_SEG},
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct setup *s = fresh();
		struct vqt_req_head h = {s->epoch, bad[i].out, bad[i].in,
					 VQT_KEYED_FLAGS(bad[i].nout, bad[i].nin) | bad[i].more};

		send_keyed(s, h, &bad[i].seg, 1, bad[i].total);
		if (!vqt_peer_bad(s->w.peer))
			fail_msg("message %u was taken", i);
		assert_int_equal(s->w.nreqs, 0);
		assert_int_equal(adapter.moves, 0);
		done(s);
	}
}

/* The same message with nothing wrong in it, and with a stale epoch. */
static void a_true_message_is_taken(void **state)
{
	struct setup *s = fresh();
	uint8_t guest[4096];
	struct vqt_seg seg = {adapter.key, 4096, (uintptr_t)guest};
	struct vqt_req_head h = {s->epoch, 16 + 4096, 1, VQT_KEYED_FLAGS(1, 0)};

	(void)state;
	vw_pattern(guest, sizeof(guest), 3);
	h.epoch--;
	send_keyed(s, h, &seg, 1, VQT_HEAD + VQT_LEAD + VQT_SEG);
	assert_int_equal(s->w.nreqs, 0);
	assert_int_equal(vw_d(s->d, VQT_D_drop_req_epoch), 1);
	h.epoch++;
	send_keyed(s, h, &seg, 1, VQT_HEAD + VQT_LEAD + VQT_SEG);
	assert_null(vqt_peer_bad(s->w.peer));
	assert_int_equal(s->w.nreqs, 1);
	assert_memory_equal(s->w.reqs[0]->out + 16, guest, 4096);
	vqt_dev_complete(s->w.reqs[0], 1, 1, s->w.now);
	run(s);
	done(s);
}

/* Loss, reordering, moves that fail, keys that come and go: each request once, with its bytes. */
static void random_faults(void **state)
{
	struct setup *s = fresh();
	struct rng rng;
	struct fake_chain *c[200];
	unsigned used = 0, answered = 0;

	(void)state;
	rng_init(&rng, 7);
	s->w.loss[0] = s->w.loss[1] = 20000;
	s->w.reorder = 50000;
	adapter.late = true;
	for (unsigned i = 0; i < 200; i++) {
		bool write = rng_below(&rng, 2);
		uint32_t len = 4096u << rng_below(&rng, 6);

		c[i] = put(s, 0, write ? 16 + len : 16, write ? 1 : len + 1, i);
		adapter.up = !rng_chance(&rng, 200000);
		adapter.down_there = rng_chance(&rng, 100000);
		adapter.fail = rng_chance(&rng, 200000);
		run(s);
		for (; answered < s->w.nreqs; answered++)
			answer(s, s->w.reqs[answered], 5000 + answered);
		run(s);
		while (fake_ring_used(&s->ring[0]))
			used++;
		assert_int_equal(used, i + 1);
		fake_chain_read(c[i], 0, got, c[i]->in_len);
		vw_pattern(buf, c[i]->in_len, 5000 + i);
		assert_memory_equal(got, buf, c[i]->in_len);
		/* The guest's again: whatever comes late would be seen. */
		assert_int_equal(adapter_land(&adapter), 0);
	}
	assert_true(adapter.failed > 10 && adapter.refused > 5 && adapter.fences > 5);
	done(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_byte_of_payload_is_in_a_message),
		cmocka_unit_test(short_ones_go_in_messages),
		cmocka_unit_test(scattered),
		cmocka_unit_test(an_error_sends_the_status_alone),
		cmocka_unit_test(fetching_falls_back),
		cmocka_unit_test(placing_falls_back_and_nothing_lands_late),
		cmocka_unit_test(a_lost_session_leaves_nothing_under_way),
		cmocka_unit_test(a_fenced_queue_has_no_keys),
		cmocka_unit_test(detaching_waits_for_the_adapter),
		cmocka_unit_test(memory_is_bounded),
		cmocka_unit_test(false_messages_end_the_session),
		cmocka_unit_test(a_true_message_is_taken),
		cmocka_unit_test(random_faults),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

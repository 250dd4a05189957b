/* SPDX-License-Identifier: Apache-2.0 */
/* The packed ring: what it has beyond test_split.c's common cases. Long chains in any order, bases, guests
 * that break it, and net rings that go on after our death. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "fabric/base/rng.h"
#include "tests/lib/vhost_env.h"

#define NUM	 64
#define EVENT	 VIRTIO_RING_F_EVENT_IDX
#define INDIR	 VIRTIO_RING_F_INDIRECT
#define V1	 VIRTIO_F_VERSION_1
#define PACKED	 VIRTIO_F_RING_PACKED
#define ALL	 (EVENT | INDIR | V1 | PACKED)
#define PF	 VHOST_F_PROTOCOL_FEATURES
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static uint8_t saved[32768] __attribute__((aligned(64)));
static const struct vhost_config blk = {.nqueues = 2, .queue_size = 256, .features = ALL};
static const struct vhost_config net = {
	.net = true, .nqueues = 2, .queue_size = 256, .features = ALL, .saved = saved};

static struct vhost_env env;
static struct vfront *const front = &env.front;
static struct vhost_ring *ring;
static uint64_t buffer;
static struct vqt_chain c;

static void begin(const struct vhost_config *cfg, uint64_t features)
{
	assert_true(vhost_saved_size(&net) <= sizeof(saved));
	memset(saved, 0, sizeof(saved));
	vhost_env_init(&env, cfg);
	vhost_env_run(&env, features | PACKED, 2, NUM);
	ring = vhost_ring(env.v, 0);
	buffer = vfront_alloc(front, 65536, 4096);
	vfront_calls(front, 0);
}

static void end(void)
{
	vhost_env_fini(&env);
}

static int pop(void)
{
	return vhost_ring_ops.pop(ring, &c);
}

static void push(const struct vqt_chain *done, uint32_t written)
{
	vhost_ring_ops.push(ring, done, written);
}

static void flush(void)
{
	vhost_ring_ops.flush(ring);
}

/* A chain of n pieces whose first bytes are its number. */
static uint16_t add(uint32_t number, unsigned n, bool indirect)
{
	struct vfront_seg segs[8];

	assert_true(n <= COUNT(segs));
	for (unsigned i = 0; i < n; i++)
		segs[i] = (struct vfront_seg){buffer + 8 * (number % 1000), 4};
	*(uint32_t *)vfront_ptr(front, buffer + 8 * (number % 1000)) = number;
	if (indirect)
		front->brk = 0x100000 + 128 * (number % 1000);
	return vfront_add(front, 0, segs, n, 0, indirect);
}

static uint32_t number(const struct vqt_chain *chain)
{
	uint32_t v = 0;

	if (chain->nout && chain->iov[0].iov_len >= sizeof(v))
		memcpy(&v, chain->iov[0].iov_base, sizeof(v));
	return v;
}

static uint32_t down(void)
{
	struct vhost_vring_state s = {0, 0};

	assert_int_equal(vfront_send(front, VHOST_GET_VRING_BASE, 0, &s, sizeof(s), NULL, 0), 0);
	vhost_drained(env.v, 0);
	assert_int_equal(env.reply_len, VHOST_HDR_LEN + sizeof(s));
	memcpy(&s, env.reply + VHOST_HDR_LEN, sizeof(s));
	env.reply_len = 0;
	front->q[0].base = s.num;
	return s.num;
}

/* Chains of one to five descriptors, completed in any order, some put back, many times round the ring. */
static void long_chains__complete_in_any_order(void **state)
{
	static struct vqt_chain held[NUM];
	static uint32_t of_id[NUM];
	uint32_t head, len, made = 0, done = 0;
	unsigned used = 0, nheld = 0, size_of[NUM], n;
	struct rng r;
	bool top_done = false; /* the last one taken is completed: nothing may be put back */

	(void)state;
	rng_init(&r, 5);
	begin(&blk, ALL);
	while (done < 50000) {
		n = 1 + (unsigned)rng_below(&r, 5);
		if (made < done + NUM && used + n <= NUM) {
			bool indirect = rng_chance(&r, 200000);
			uint16_t id = add(made, n, indirect);

			of_id[id] = made++;
			size_of[id] = indirect ? 1 : n;
			used += size_of[id];
		}
		if (nheld < NUM && rng_chance(&r, 700000) && vhost_ring_ops.pop(ring, &held[nheld]) == 1)
			top_done = false, nheld++;
		if (nheld > 1 && !top_done && rng_chance(&r, 100000)) {
			vhost_ring_ops.unpop(ring, 1);
			nheld--;
			top_done = true;
		}
		if (nheld && rng_chance(&r, 600000)) {
			unsigned at = (unsigned)rng_below(&r, nheld);

			top_done |= at == nheld - 1;
			push(&held[at], number(&held[at]));
			memmove(&held[at], &held[at + 1], (nheld - at - 1) * sizeof(held[0]));
			nheld--;
		}
		if (rng_chance(&r, 300000))
			flush();
		while (vfront_used(front, 0, &head, &len)) {
			assert_int_equal(len, of_id[head]);
			used -= size_of[head];
			done++;
		}
	}
	assert_string_equal(vhost_env_log(&env), "");
	end();
}

static void base__is_where_it_goes_on(void **state)
{
	static const uint16_t at[] = {0, 1, NUM - 1};
	uint32_t head, len;

	(void)state;
	for (size_t i = 0; i < COUNT(at) * 2; i++) {
		struct vfront_queue *vq = &front->q[0];
		uint16_t pos = (uint16_t)(at[i / 2] + (i % 2) * NUM);
		uint32_t wire = at[i / 2] | (i % 2 ? 0 : 0x8000u);

		begin(&blk, ALL);
		down();
		vfront_queue_up(front, 0, NUM, true);
		down();
		vq->avail_idx = vq->used_seen = pos;
		vq->base = wire | wire << 16;
		/* The upper half may be missing: other front-ends know no used index. */
		if (i == 3)
			vq->base = wire;
		vfront_queue_up(front, 0, NUM, false);
		for (uint32_t k = 0; k < 3 * NUM; k++) {
			add(k, 1, false);
			assert_int_equal(pop(), 1);
			assert_int_equal(number(&c), k);
			push(&c, k);
			flush();
			assert_true(vfront_used(front, 0, &head, &len));
			assert_int_equal(len, k);
		}
		pos = (uint16_t)((pos + 3 * NUM) % (2 * NUM));
		wire = pos % NUM | (pos < NUM ? 0x8000u : 0);
		assert_int_equal(down(), wire | wire << 16);
		end();
	}
	begin(&blk, ALL);
	down();
	front->q[0].base = NUM;
	vhost_env_log(&env);
	vfront_queue_up(front, 0, NUM, false);
	assert_non_null(strstr(vhost_env_log(&env), "broken 0 base outside the ring"));
	end();
}

static void call__is_as_the_guest_wants_it(void **state)
{
	struct vring_packed_event *want;

	(void)state;
	begin(&blk, V1);
	want = front->q[0].driver;
	for (unsigned k = 0; k < 3; k++) {
		want->flags = (uint16_t)k; /* DESC without EVENT_IDX asks for every one */
		add(k, 1, false);
		assert_int_equal(pop(), 1);
		push(&c, 0);
		flush();
		flush();
		assert_int_equal(vfront_calls(front, 0), k != VRING_EVENT_DISABLE);
	}
	end();
	/* At a descriptor, in this round and in the next. */
	begin(&blk, V1 | EVENT);
	want = front->q[0].driver;
	for (uint16_t k = 0; k < 6 * NUM; k++) {
		uint16_t event = (uint16_t)((k + 6) / 7 * 7); /* every seventh */

		*want = (struct vring_packed_event){(uint16_t)(event % NUM | (event & NUM ? 0 : 0x8000)),
						    VRING_EVENT_DESC};
		add(k, 1, false);
		assert_int_equal(pop(), 1);
		push(&c, 0);
		flush();
		assert_int_equal(vfront_calls(front, 0), k == event);
		front->q[0].used_seen++;
		memset(front->q[0].ndesc, 0, sizeof(front->q[0].ndesc));
	}
	end();
}

/* --- guests that break the ring --- */

static void expect_broken(const char *reason)
{
	char want[128];

	snprintf(want, sizeof(want), "broken 0 %s; ", reason);
	assert_int_equal(pop(), -EBADMSG);
	assert_string_equal(vhost_env_log(&env), want);
	assert_int_equal(pop(), -EBADMSG);
	vfront_add1(front, 1, buffer, 5, 0, 0);
	assert_int_equal(vhost_ring_ops.pop(vhost_ring(env.v, 1), &c), 1);
	end();
}

static void set_desc(unsigned i, uint64_t addr, uint32_t len, unsigned flags)
{
	front->q[0].pdesc[i] = (struct vring_packed_desc){
		addr, len, 0, (uint16_t)(flags | vfront_packed_flags(&front->q[0], (uint16_t)i))};
}

static void broken__chains(void **state)
{
	struct vring_packed_desc *t;

	(void)state;
	begin(&blk, V1);
	for (unsigned i = 0; i < NUM; i++)
		set_desc(i, buffer, 1, VRING_DESC_NEXT);
	expect_broken("chain longer than the ring");
	begin(&blk, V1);
	set_desc(0, VFRONT_MEM - 1, 2, 0);
	expect_broken("descriptor outside guest memory");
	begin(&blk, V1);
	set_desc(0, buffer, 1, VRING_DESC_WRITE | VRING_DESC_NEXT);
	set_desc(1, buffer, 1, 0);
	expect_broken("readable descriptor after a writable one");
	begin(&blk, V1);
	set_desc(0, buffer, 16, VRING_DESC_INDIRECT);
	expect_broken("indirect descriptor not negotiated");
	begin(&blk, V1 | INDIR);
	set_desc(0, buffer, 16, VRING_DESC_INDIRECT | VRING_DESC_NEXT);
	expect_broken("indirect descriptor with a next");
	begin(&blk, V1 | INDIR);
	set_desc(0, buffer, 24, VRING_DESC_INDIRECT);
	expect_broken("indirect table of a bad size");
	begin(&blk, V1 | INDIR);
	set_desc(0, buffer, 257 * 16, VRING_DESC_INDIRECT);
	expect_broken("indirect table too long");
	begin(&blk, V1 | INDIR);
	t = vfront_ptr(front, buffer);
	t[0] = (struct vring_packed_desc){buffer, 16, 0, VRING_DESC_INDIRECT};
	set_desc(0, buffer, 16, VRING_DESC_INDIRECT);
	expect_broken("indirect table in an indirect table");
}

/* The next round made available over descriptors that are with us. */
static void broken__ring_overrun(void **state)
{
	const struct vhost_config *both[] = {&blk, &net};

	(void)state;
	for (int i = 0; i < 2; i++) {
		begin(both[i], V1);
		for (uint32_t k = 0; k < NUM; k++)
			add(k, 1, false);
		for (int k = 0; k < NUM; k++)
			assert_int_equal(pop(), 1);
		/* A net queue's completions are the ring's until they are published. */
		if (i)
			push(&c, 0);
		set_desc(0, buffer, 1, 0);
		front->q[0].pdesc[0].flags = VRING_DESC_USED;
		expect_broken("more chains than the ring holds");
	}
}

/* --- after our death --- */

static void die(void)
{
	vhost_env_restart(&env, &net);
	vfront_negotiate(front, ALL | PF, ~0ull);
	assert_int_equal(vfront_mem_table(front), 0);
	vfront_queue_up(front, 0, NUM, false); /* with the stale base of the first start */
	ring = vhost_ring(env.v, 0);
}

/* Kill at any moment: the driver gets every chain back once, in order, and none is stuck. */
static void death__net_ring_goes_on_where_it_was(void **state)
{
	static struct vqt_chain held[NUM];
	uint32_t head, len, made = 0, done = 0;
	unsigned nheld = 0, used = 0, n, deaths = 0, size_of[NUM];
	struct rng r;

	(void)state;
	rng_init(&r, 9);
	begin(&net, ALL);
	while (done < 30000) {
		n = 1 + (unsigned)rng_below(&r, 3);
		if (used + n <= NUM) {
			uint16_t id = add(made++, n, false);

			size_of[id] = n;
			used += n;
		}
		if (nheld < NUM && rng_chance(&r, 800000) && vhost_ring_ops.pop(ring, &held[nheld]) == 1)
			nheld++;
		if (nheld && rng_chance(&r, 600000)) {
			push(&held[0], number(&held[0]));
			memmove(held, held + 1, (--nheld) * sizeof(held[0]));
		}
		if (rng_chance(&r, 200000))
			flush();
		if (rng_chance(&r, 10000)) {
			die();
			deaths++;
			nheld = 0;
		}
		while (vfront_used(front, 0, &head, &len)) {
			assert_int_equal(len, done);
			used -= size_of[head];
			done++;
		}
	}
	assert_true(deaths > 100);
	end();
}

/* A frame in several buffers appears whole, also when we die between push and flush. */
static void death__before_the_flush_publishes_the_burst(void **state)
{
	uint32_t head, len;

	(void)state;
	begin(&net, ALL);
	for (uint32_t k = 0; k < 6; k++)
		add(k, 1, false);
	for (uint32_t k = 0; k < 4; k++) {
		assert_int_equal(pop(), 1);
		push(&c, 100 + k);
		assert_false(vfront_used(front, 0, &head, &len));
	}
	die();
	assert_int_equal(vhost_counters(env.v)[VHOST_C_rings_recovered], 1);
	for (uint32_t k = 0; k < 4; k++) {
		assert_true(vfront_used(front, 0, &head, &len));
		assert_int_equal(len, 100 + k);
	}
	assert_int_equal(pop(), 1);
	assert_int_equal(number(&c), 4);
	end();
}

/* Dead in the middle of publishing: all but the first are written. */
static void death__in_the_middle_of_a_burst(void **state)
{
	struct vring_packed_desc copy;
	uint32_t head, len;

	(void)state;
	for (int first = 0; first < 2; first++) {
		begin(&net, ALL);
		for (uint32_t k = 0; k < 3; k++)
			add(k, 1, false);
		copy = front->q[0].pdesc[0];
		for (int k = 0; k < 3; k++) {
			assert_int_equal(pop(), 1);
			push(&c, 7);
		}
		{
			uint8_t before[sizeof(saved)];

			memcpy(before, saved, sizeof(saved));
			flush();
			memcpy(saved, before, sizeof(saved)); /* its end was not noted */
		}
		if (!first)
			front->q[0].pdesc[0] = copy;
		die();
		for (int k = 0; k < 3; k++)
			assert_true(vfront_used(front, 0, &head, &len));
		assert_false(vfront_used(front, 0, &head, &len));
		add(9, 1, false);
		assert_int_equal(pop(), 1);
		assert_int_equal(number(&c), 9);
		end();
	}
}

/* Published, its end not noted, and the driver has used the slots again: they are its chains now. */
static void death__after_a_burst_that_was_taken_up(void **state)
{
	uint8_t before[sizeof(saved)];
	uint32_t head, len;

	(void)state;
	begin(&net, ALL);
	for (uint32_t k = 0; k < NUM; k++)
		add(k, 1, false);
	for (int k = 0; k < NUM; k++) {
		assert_int_equal(pop(), 1);
		push(&c, 7);
	}
	memcpy(before, saved, sizeof(saved));
	flush();
	memcpy(saved, before, sizeof(saved));
	for (uint32_t k = 0; k < NUM; k++) {
		assert_true(vfront_used(front, 0, &head, &len));
		add(100 + k, 1, false);
	}
	die();
	assert_false(vfront_used(front, 0, &head, &len));
	for (uint32_t k = 0; k < NUM; k++) {
		assert_int_equal(pop(), 1);
		assert_int_equal(number(&c), 100 + k);
	}
	end();
}

static void death__and_a_guest_reset_starts_anew(void **state)
{
	(void)state;
	begin(&net, ALL);
	for (uint32_t k = 0; k < 5; k++) {
		add(k, 1, false);
		assert_int_equal(pop(), 1);
		push(&c, 0);
		flush();
	}
	vhost_env_restart(&env, &net);
	vfront_negotiate(front, ALL | PF, ~0ull);
	assert_int_equal(vfront_mem_table(front), 0);
	vfront_queue_up(front, 0, NUM, true); /* cleared, the same addresses and base */
	ring = vhost_ring(env.v, 0);
	assert_int_equal(vhost_counters(env.v)[VHOST_C_rings_recovered], 0);
	add(77, 1, false);
	assert_int_equal(pop(), 1);
	assert_int_equal(number(&c), 77);
	end();
}

static void death__with_a_record_that_is_not_of_this_ring(void **state)
{
	(void)state;
	/* Each byte of the record's head, bent: it is not used, or harms nobody. */
	for (unsigned at = 0; at < 64; at++) {
		begin(&net, ALL);
		for (uint32_t k = 0; k < 5; k++) {
			add(k, 1, false);
			assert_int_equal(pop(), 1);
			push(&c, 0);
		}
		saved[at] ^= 0x5a;
		die();
		for (int k = 0; k < 2 * NUM && pop() == 1; k++)
			push(&c, 0);
		flush();
		end();
	}
	/* A record of garbage. */
	for (unsigned k = 0; k < 200; k++) {
		struct rng r;

		rng_init(&r, k);
		begin(&net, ALL);
		add(1, 1, false);
		for (unsigned at = 48; at < 1024; at++)
			saved[at] = (uint8_t)rng_u64(&r);
		die();
		while (pop() == 1)
			push(&c, 0);
		flush();
		end();
	}
}

/* An orderly stop: the base alone counts, the record of before does not. */
static void stop__goes_on_at_the_base(void **state)
{
	uint32_t head, len;

	(void)state;
	begin(&net, ALL);
	for (uint32_t k = 0; k < 100; k++) {
		add(k, 1, false);
		assert_int_equal(pop(), 1);
		assert_int_equal(number(&c), k);
		push(&c, 0);
		flush();
		assert_true(vfront_used(front, 0, &head, &len));
		if (k % 10 == 0) {
			down();
			vfront_queue_up(front, 0, NUM, false);
		}
		if (k % 25 == 0)
			die();
	}
	end();
}

static void saved__size_is_for_packed_nics_alone(void **state)
{
	struct vhost_config cfg = net;

	(void)state;
	assert_true(vhost_saved_size(&cfg) >= 2 * 256 * 8);
	cfg.features &= ~PACKED;
	assert_int_equal(vhost_saved_size(&cfg), 0);
	assert_int_equal(vhost_saved_size(&blk), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(long_chains__complete_in_any_order),
		cmocka_unit_test(base__is_where_it_goes_on),
		cmocka_unit_test(call__is_as_the_guest_wants_it),
		cmocka_unit_test(broken__chains),
		cmocka_unit_test(broken__ring_overrun),
		cmocka_unit_test(death__net_ring_goes_on_where_it_was),
		cmocka_unit_test(death__before_the_flush_publishes_the_burst),
		cmocka_unit_test(death__in_the_middle_of_a_burst),
		cmocka_unit_test(death__after_a_burst_that_was_taken_up),
		cmocka_unit_test(death__and_a_guest_reset_starts_anew),
		cmocka_unit_test(death__with_a_record_that_is_not_of_this_ring),
		cmocka_unit_test(stop__goes_on_at_the_base),
		cmocka_unit_test(saved__size_is_for_packed_nics_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

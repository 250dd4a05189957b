/* SPDX-License-Identifier: Apache-2.0 */
/* The inflight region of packed block queues: what survives our death, where it is cut off, and regions that
 * lie. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <cmocka.h>

#include "fabric/base/rng.h"
#include "tests/lib/vhost_env.h"

#define RINGS (VIRTIO_RING_F_EVENT_IDX | VIRTIO_RING_F_INDIRECT | VIRTIO_F_VERSION_1 | VIRTIO_F_RING_PACKED)
#define PF    VHOST_F_PROTOCOL_FEATURES
#define NUM   64

static const struct vhost_config blk = {.nqueues = 2, .queue_size = 256, .features = RINGS};

static struct vhost_env env;
static struct vfront *const front = &env.front;
static struct inflight_packed *region;
static struct vqt_chain c;

static void connect_again(void)
{
	vhost_env_restart(&env, &blk);
	vfront_negotiate(front, RINGS | PF, ~0ull);
	assert_int_equal(vfront_mem_table(front), 0);
	vfront_inflight_set(front);
	vfront_queue_up(front, 0, NUM, false); /* the base is stale */
}

static void begin(void)
{
	vhost_env_init(&env, &blk);
	vfront_negotiate(front, RINGS | PF, ~0ull);
	assert_int_equal(vfront_mem_table(front), 0);
	vfront_inflight_get(front, 2, 256);
	vfront_inflight_set(front);
	vfront_queue_up(front, 0, NUM, true);
	vhost_env_log(&env);
	region = mmap(NULL, front->inflight.mmap_size, PROT_READ | PROT_WRITE, MAP_SHARED, front->inflight_fd,
		      0);
	assert_true(region != MAP_FAILED);
}

static void end(void)
{
	munmap(region, front->inflight.mmap_size);
	vhost_env_fini(&env);
}

static uint16_t add(uint32_t tag, unsigned n, bool indirect)
{
	uint64_t at = 0x80000 + 8 * (tag % 4096);
	struct vfront_seg segs[8];

	for (unsigned i = 0; i < n; i++)
		segs[i] = (struct vfront_seg){at, 4};
	*(uint32_t *)vfront_ptr(front, at) = tag;
	front->brk = 0x100000 + 128 * (tag % 4096);
	return vfront_add(front, 0, segs, n, 0, indirect);
}

static int pop(void)
{
	return vhost_ring_ops.pop(vhost_ring(env.v, 0), &c);
}

static uint32_t tag(const struct vqt_chain *chain)
{
	uint32_t v = 0;

	if (chain->nout && chain->iov[0].iov_len >= sizeof(v))
		memcpy(&v, chain->iov[0].iov_base, sizeof(v));
	return v;
}

static void push(const struct vqt_chain *done)
{
	vhost_ring_ops.push(vhost_ring(env.v, 0), done, tag(done));
}

static void region__has_32_bytes_for_each_descriptor(void **state)
{
	(void)state;
	begin();
	assert_int_equal(front->inflight.mmap_size, 2 * (32 + 256 * 32 + 32)); /* to the next 64 */
	assert_int_equal(region->version, 1);
	assert_int_equal(region->desc_num, 256);
	end();
}

static void crash__requests_come_again_first_in_their_order(void **state)
{
	struct vqt_chain held[6];

	(void)state;
	begin();
	for (uint32_t i = 0; i < 10; i++)
		add(i, 1 + i % 3, i % 4 == 3);
	for (int i = 0; i < 6; i++)
		assert_int_equal(vhost_ring_ops.pop(vhost_ring(env.v, 0), &held[i]), 1);
	/* Their used descriptors overwrite those of 0 and 1 or 2 in the ring. */
	push(&held[4]);
	push(&held[1]);
	for (int round = 0; round < 3; round++) {
		connect_again();
		for (uint32_t want = 0; want < 10; want++) {
			if (want == 4 || want == 1)
				continue;
			assert_int_equal(pop(), 1);
			assert_int_equal(tag(&c), want);
			assert_int_equal(c.nout, 1 + want % 3);
		}
		assert_int_equal(pop(), 0);
	}
	assert_int_equal(vhost_counters(env.v)[VHOST_C_chains_resubmitted], 8);
	end();
}

static void fresh__region_takes_the_base_of_the_front_end(void **state)
{
	(void)state;
	vhost_env_init(&env, &blk);
	vfront_negotiate(front, RINGS | PF, ~0ull);
	assert_int_equal(vfront_mem_table(front), 0);
	vfront_inflight_get(front, 2, 256);
	vfront_inflight_set(front);
	vfront_queue_up(front, 0, NUM, true);
	vhost_env_restart(&env, &blk);
	vfront_negotiate(front, RINGS | PF, ~0ull);
	assert_int_equal(vfront_mem_table(front), 0);
	vfront_inflight_get(front, 2, 256); /* as after a migration */
	vfront_inflight_set(front);
	front->q[0].base = 5 | 5 << 16; /* second round, slot 5 */
	front->q[0].avail_idx = front->q[0].used_seen = NUM + 5;
	vfront_queue_up(front, 0, NUM, false);
	add(42, 2, false);
	assert_int_equal(pop(), 1);
	assert_int_equal(tag(&c), 42);
	vhost_env_fini(&env);
}

/* Killed at random moments: every request is completed exactly once. */
static void crash__many_times_completes_each_once(void **state)
{
	static uint8_t times[5000];
	static struct vqt_chain held[NUM];
	uint32_t made = 0, done = 0, head, len;
	unsigned nheld = 0, used = 0, n, deaths = 0;
	unsigned size_of[NUM];
	struct rng r;
	bool top_done = false; /* the last one taken is completed: nothing may be put back */

	(void)state;
	rng_init(&r, 11);
	memset(times, 0, sizeof(times));
	begin();
	while (done < 5000) {
		n = 1 + (unsigned)rng_below(&r, 4);
		if (made < 5000 && used + n <= NUM) {
			bool indirect = rng_chance(&r, 300000);
			uint16_t id = add(made++, n, indirect);

			size_of[id] = indirect ? 1 : n;
			used += size_of[id];
		}
		if (nheld < NUM && rng_chance(&r, 600000) &&
		    vhost_ring_ops.pop(vhost_ring(env.v, 0), &held[nheld]) == 1)
			top_done = false, nheld++;
		if (nheld > 1 && !top_done && rng_chance(&r, 50000)) {
			vhost_ring_ops.unpop(vhost_ring(env.v, 0), 1);
			nheld--;
			top_done = true;
		}
		if (nheld && rng_chance(&r, 500000)) {
			unsigned at = (unsigned)rng_below(&r, nheld);

			top_done |= at == nheld - 1;
			push(&held[at]);
			memmove(&held[at], &held[at + 1], (nheld - at - 1) * sizeof(held[0]));
			nheld--;
		}
		while (vfront_used(front, 0, &head, &len)) {
			times[len]++;
			used -= size_of[head];
			done++;
		}
		if (rng_chance(&r, 30000)) {
			nheld = 0;
			deaths++;
			connect_again();
		}
	}
	for (int i = 0; i < 5000; i++)
		assert_int_equal(times[i], 1);
	assert_true(deaths > 50);
	end();
}

/* Cut a completion off after each of its stores: before the used descriptor it happens again, after it not.
 * The region's state of each moment is put together from what it was before and after. */
static void crash__inside_a_completion(void **state)
{
	enum { LINKED, COUNTED, PUBLISHED, UNMARKED, LISTED, MOMENTS };

	(void)state;
	for (int moment = 0; moment < MOMENTS; moment++) {
		struct vring_packed_desc ring[NUM];
		struct inflight_packed *before, *after;
		struct vqt_chain held[3];
		size_t size;
		uint16_t head;
		uint32_t id, len;

		begin();
		size = front->inflight.mmap_size;
		before = malloc(size);
		after = malloc(size);
		for (uint32_t i = 0; i < 3; i++)
			add(i, 2, false);
		for (int i = 0; i < 3; i++)
			assert_int_equal(vhost_ring_ops.pop(vhost_ring(env.v, 0), &held[i]), 1);
		memcpy(before, region, size);
		memcpy(ring, front->q[0].pdesc, sizeof(ring));
		push(&held[1]);
		memcpy(after, region, size);
		head = (uint16_t)held[1].token;
		/* All at the end, then what comes after the moment undone. */
		if (moment < LISTED)
			region->old_free_head = before->old_free_head;
		region->old_used_idx = before->old_used_idx;
		region->old_used_wrap = before->old_used_wrap;
		if (moment < UNMARKED)
			region->desc[head].inflight = 1;
		if (moment < PUBLISHED)
			memcpy(front->q[0].pdesc, ring, sizeof(ring));
		if (moment < COUNTED) {
			region->used_idx = before->used_idx;
			region->used_wrap = before->used_wrap;
		}
		connect_again();
		assert_int_equal(pop(), 1);
		assert_int_equal(tag(&c), 0);
		assert_int_equal(pop(), 1);
		assert_int_equal(tag(&c), moment < PUBLISHED ? 1 : 2);
		assert_int_equal(vfront_used(front, 0, &id, &len), moment >= PUBLISHED);
		push(&c);
		assert_true(vfront_used(front, 0, &id, &len));
		assert_int_equal(len, moment < PUBLISHED ? 1 : 2);
		for (uint32_t k = 10; k < 300; k++) {
			add(k, 2, false);
			while (pop() == 1 && tag(&c) != k)
				push(&c);
			push(&c);
			while (vfront_used(front, 0, &id, &len))
				;
		}
		free(before);
		free(after);
		end();
	}
}

/* Between the mark of a chain and the free list without it. */
static void crash__inside_a_take(void **state)
{
	uint16_t free_head;

	(void)state;
	begin();
	add(1, 2, false);
	free_head = region->free_head;
	assert_int_equal(pop(), 1);
	region->free_head = region->old_free_head = free_head;
	connect_again();
	assert_int_equal(vhost_counters(env.v)[VHOST_C_chains_resubmitted], 0);
	assert_int_equal(pop(), 1);
	assert_int_equal(tag(&c), 1);
	assert_int_equal(vhost_counters(env.v)[VHOST_C_chains_resubmitted], 0);
	assert_int_equal(pop(), 0);
	end();
}

static void unpop__unmarks_new_chains_and_keeps_old_ones(void **state)
{
	(void)state;
	begin();
	add(1, 3, false);
	assert_int_equal(pop(), 1);
	connect_again();
	add(2, 2, false);
	assert_int_equal(pop(), 1);
	assert_int_equal(pop(), 1);
	assert_int_equal(tag(&c), 2);
	vhost_ring_ops.unpop(vhost_ring(env.v, 0), 2);
	assert_int_equal(pop(), 1);
	assert_int_equal(tag(&c), 1);
	connect_again();
	assert_int_equal(pop(), 1);
	assert_int_equal(tag(&c), 1);
	assert_int_equal(pop(), 1);
	assert_int_equal(tag(&c), 2);
	assert_int_equal(pop(), 0);
	end();
}

static void use_up(void)
{
	for (int i = 0; i < 4 * NUM && pop() == 1; i++)
		push(&c);
	vhost_ring_ops.flush(vhost_ring(env.v, 0));
}

static void lies__inside_the_region(void **state)
{
	struct rng r;

	(void)state;
	rng_init(&r, 1);
	for (int round = 0; round < 3000; round++) {
		uint8_t *bytes;

		begin();
		bytes = (uint8_t *)region;
		for (uint32_t i = 0; i < 5; i++)
			add(i, 1 + i % 3, false);
		for (int i = 0; i < 3; i++)
			assert_int_equal(pop(), 1);
		/* Version and size stay, or it would not be looked at. */
		for (int i = 0; i < 1 + round % 40; i++) {
			uint64_t at = 12 + rng_below(&r, 32 + NUM * 32 - 12);

			bytes[at] = round % 2 ? (uint8_t)rng_u64(&r) : (uint8_t)rng_below(&r, NUM);
		}
		connect_again();
		use_up();
		end();
	}
}

static void lies__of_loops_and_overlaps_break_the_ring(void **state)
{
	(void)state;
	for (int how = 0; how < 5; how++) {
		begin();
		add(1, 3, false);
		add(2, 3, false);
		assert_int_equal(pop(), 1);
		assert_int_equal(pop(), 1);
		if (how == 0)
			region->desc[0].next = 0; /* a loop */
		if (how == 1)
			region->desc[3].next = 1; /* into the other */
		if (how == 2)
			region->desc[0].next = NUM;
		if (how == 3)
			region->desc[0].num = 0;
		if (how == 4)
			region->used_idx = NUM;
		connect_again();
		assert_non_null(strstr(vhost_env_log(&env), "broken 0 inflight region does not fit"));
		assert_int_equal(pop(), -EBADMSG);
		end();
	}
}

/* Made for a split ring, used for a packed one: shorter than its layout needs. */
static void region__of_the_other_layout_is_not_used(void **state)
{
	(void)state;
	vhost_env_init(&env, &blk);
	vfront_negotiate(front, (RINGS | PF) & ~VIRTIO_F_RING_PACKED, ~0ull);
	assert_int_equal(vfront_mem_table(front), 0);
	vfront_inflight_get(front, 2, 256);
	vfront_inflight_set(front);
	vfront_negotiate(front, RINGS | PF, ~0ull);
	vfront_queue_up(front, 1, NUM, true);
	assert_non_null(strstr(vhost_env_log(&env), "broken 1 inflight region does not fit"));
	vhost_env_fini(&env);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(region__has_32_bytes_for_each_descriptor),
		cmocka_unit_test(crash__requests_come_again_first_in_their_order),
		cmocka_unit_test(fresh__region_takes_the_base_of_the_front_end),
		cmocka_unit_test(crash__many_times_completes_each_once),
		cmocka_unit_test(crash__inside_a_completion),
		cmocka_unit_test(crash__inside_a_take),
		cmocka_unit_test(unpop__unmarks_new_chains_and_keeps_old_ones),
		cmocka_unit_test(lies__inside_the_region),
		cmocka_unit_test(lies__of_loops_and_overlaps_break_the_ring),
		cmocka_unit_test(region__of_the_other_layout_is_not_used),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The inflight region: what survives our death, where it is cut off, and regions that lie. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "fabric/base/rng.h"
#include "tests/lib/vhost_env.h"

#define RINGS (VIRTIO_RING_F_EVENT_IDX | VIRTIO_RING_F_INDIRECT | VIRTIO_F_VERSION_1)
#define PF    VHOST_F_PROTOCOL_FEATURES
#define NUM   64

static const struct vhost_config blk = {.nqueues = 2, .queue_size = 256, .features = RINGS};

static struct vhost_env env;
static struct vfront *const front = &env.front;
static struct vqt_chain c;

static void connect_again(void)
{
	vhost_env_restart(&env, &blk);
	vfront_negotiate(front, RINGS | PF, ~0ull);
	assert_int_equal(vfront_mem_table(front), 0);
	vfront_inflight_set(front);
	vfront_queue_up(front, 0, NUM, false);
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
}

static void end(void)
{
	vhost_env_fini(&env);
}

static uint16_t add(uint32_t tag)
{
	uint64_t at = vfront_alloc(front, 4, 4);

	*(uint32_t *)vfront_ptr(front, at) = tag;
	return vfront_add1(front, 0, at, 4, 0, 0);
}

static int pop(void)
{
	return vhost_ring_ops.pop(vhost_ring(env.v, 0), &c);
}

static uint32_t tag(void)
{
	return *(uint32_t *)c.iov[0].iov_base;
}

static void push(const struct vqt_chain *done)
{
	vhost_ring_ops.push(vhost_ring(env.v, 0), done, 0);
}

static struct inflight_queue *region(void)
{
	void *p = mmap(NULL, front->inflight.mmap_size, PROT_READ | PROT_WRITE, MAP_SHARED,
		       front->inflight_fd, 0);

	assert_true(p != MAP_FAILED);
	return p;
}

static void region__is_as_large_as_asked_and_cannot_shrink(void **state)
{
	(void)state;
	begin();
	/* 16 + 256 x 16 to the next 64, for two queues. */
	assert_int_equal(front->inflight.mmap_size, 2 * 4160);
	assert_int_equal(front->inflight.mmap_offset, 0);
	assert_int_equal(front->inflight.num_queues, 2);
	assert_int_equal(ftruncate(front->inflight_fd, 100), -1);
	end();
}

static void crash__requests_come_again_first_in_their_order(void **state)
{
	struct vqt_chain held[6];

	(void)state;
	begin();
	for (uint32_t i = 0; i < 10; i++)
		add(i);
	for (int i = 0; i < 6; i++)
		assert_int_equal(vhost_ring_ops.pop(vhost_ring(env.v, 0), &held[i]), 1);
	push(&held[4]);
	push(&held[1]);
	connect_again();
	for (uint32_t want = 0; want < 10; want++) {
		if (want == 4 || want == 1)
			continue;
		assert_int_equal(pop(), 1);
		assert_int_equal(tag(), want);
	}
	assert_int_equal(pop(), 0);
	assert_int_equal(vhost_counters(env.v)[VHOST_C_chains_resubmitted], 4);
	end();
}

/* Heads come in any order: the counter is the order, not the head. */
static void crash__order_is_that_of_taking(void **state)
{
	static const uint16_t heads[] = {9, 2, 40, 3, 0};

	(void)state;
	begin();
	for (size_t i = 0; i < 5; i++) {
		uint64_t at = vfront_alloc(front, 4, 4);

		front->q[0].desc[heads[i]] = (struct vring_desc){at, 4, 0, 0};
		vfront_publish(front, 0, heads[i]);
		assert_int_equal(pop(), 1);
	}
	for (int round = 0; round < 2; round++) {
		connect_again();
		for (size_t i = 0; i < 5; i++) {
			assert_int_equal(pop(), 1);
			assert_int_equal(c.token, heads[i]);
		}
	}
	end();
}

static void crash__between_used_idx_and_mark_is_not_done_twice(void **state)
{
	struct inflight_queue *q;
	uint16_t head;

	(void)state;
	begin();
	head = add(1);
	add(2);
	assert_int_equal(pop(), 1);
	assert_int_equal(pop(), 1);
	/* As push() stands after used->idx and before the mark is cleared. */
	q = region();
	front->q[0].used->ring[0] = (struct vring_used_elem){head, 0};
	q->last_batch_head = head;
	front->q[0].used->idx = 1;
	munmap(q, front->inflight.mmap_size);
	connect_again();
	assert_int_equal(pop(), 1);
	assert_int_equal(tag(), 2);
	assert_int_equal(pop(), 0);
	push(&c);
	assert_int_equal(front->q[0].used->idx, 2);
	end();
}

static void crash__before_used_idx_is_done_again(void **state)
{
	struct inflight_queue *q;
	uint16_t head;

	(void)state;
	begin();
	head = add(1);
	assert_int_equal(pop(), 1);
	q = region();
	front->q[0].used->ring[0] = (struct vring_used_elem){head, 0};
	q->last_batch_head = head;
	munmap(q, front->inflight.mmap_size);
	connect_again();
	assert_int_equal(pop(), 1);
	assert_int_equal(tag(), 1);
	end();
}

static void crash__after_a_guest_reset_forgets_the_marks(void **state)
{
	(void)state;
	begin();
	for (uint32_t i = 0; i < 20; i++) {
		add(i);
		assert_int_equal(pop(), 1);
		if (i < 10)
			push(&c);
	}
	vhost_env_restart(&env, &blk);
	vfront_negotiate(front, RINGS | PF, ~0ull);
	assert_int_equal(vfront_mem_table(front), 0);
	vfront_inflight_set(front);
	vfront_queue_up(front, 0, NUM, true); /* used->idx is 0 again */
	assert_int_equal(pop(), 0);
	add(99);
	assert_int_equal(pop(), 1);
	assert_int_equal(tag(), 99);
	end();
}

/* One completion can be between used->idx and the region, not two. */
static void crash__ring_that_went_on_without_us_forgets_the_marks(void **state)
{
	(void)state;
	begin();
	add(1);
	add(2);
	add(3);
	assert_int_equal(pop(), 1);
	front->q[0].used->idx = 2;
	connect_again();
	assert_int_equal(pop(), 1);
	assert_int_equal(tag(), 3);
	assert_int_equal(pop(), 0);
	end();
}

static void unpop__unmarks_new_chains_and_keeps_old_ones(void **state)
{
	struct inflight_queue *q;

	(void)state;
	begin();
	add(1);
	assert_int_equal(pop(), 1);
	connect_again();
	add(2);
	assert_int_equal(pop(), 1);
	assert_int_equal(pop(), 1);
	assert_int_equal(tag(), 2);
	vhost_ring_ops.unpop(vhost_ring(env.v, 0), 2);
	q = region();
	assert_int_equal(q->desc[0].inflight, 1);
	assert_int_equal(q->desc[1].inflight, 0);
	munmap(q, front->inflight.mmap_size);
	assert_int_equal(pop(), 1);
	assert_int_equal(tag(), 1);
	assert_int_equal(pop(), 1);
	assert_int_equal(tag(), 2);
	end();
}

static void stop__with_requests_given_up_takes_them_again(void **state)
{
	struct vhost_vring_state s = {0, 0};

	(void)state;
	begin();
	add(1);
	add(2);
	assert_int_equal(pop(), 1);
	assert_int_equal(vfront_send(front, VHOST_GET_VRING_BASE, 0, &s, sizeof(s), NULL, 0), 0);
	vhost_drained(env.v, 0);
	env.reply_len = 0;
	vfront_queue_up(front, 0, NUM, false);
	assert_int_equal(pop(), 1);
	assert_int_equal(tag(), 1);
	assert_int_equal(pop(), 1);
	assert_int_equal(tag(), 2);
	end();
}

/* Kill at random moments, many times: every request is completed exactly once in the used ring. */
static void crash__many_times_completes_each_once(void **state)
{
	static uint8_t times[5000];
	static struct vqt_chain held[NUM];
	uint32_t made = 0, done = 0, nheld = 0, head, len;
	uint32_t tag_of[NUM];
	struct rng r;

	(void)state;
	rng_init(&r, 11);
	memset(times, 0, sizeof(times));
	begin();
	while (done < 5000) {
		if (made < 5000 && made - done < NUM / 2) {
			front->brk = 0x80000 + 4 * (made % 1000);
			tag_of[add(made)] = made;
			made++;
		}
		if (nheld < NUM && rng_chance(&r, 600000) &&
		    vhost_ring_ops.pop(vhost_ring(env.v, 0), &held[nheld]) == 1)
			nheld++;
		/* In order of descriptors, since the driver reuses them round the ring. */
		if (nheld && rng_chance(&r, 500000)) {
			push(&held[0]);
			memmove(held, held + 1, (--nheld) * sizeof(held[0]));
			vhost_ring_ops.flush(vhost_ring(env.v, 0));
		}
		while (vfront_used(front, 0, &head, &len)) {
			times[tag_of[head]]++;
			done++;
		}
		if (rng_chance(&r, 20000)) {
			nheld = 0;
			connect_again();
		}
	}
	for (int i = 0; i < 5000; i++)
		assert_int_equal(times[i], 1);
	end();
}

static uint64_t set(const struct vhost_inflight_desc *d)
{
	return vfront_tell(front, VHOST_SET_INFLIGHT_FD, d, sizeof(*d), &front->inflight_fd, 1);
}

static void lies__of_size_and_shape_are_refused(void **state)
{
	struct vhost_inflight_desc d, got;
	int fd = -1;

	(void)state;
	vhost_env_init(&env, &blk);
	vfront_negotiate(front, RINGS | PF, ~0ull);
	vfront_inflight_get(front, 2, 256);
	d = front->inflight;
	d.mmap_size++; /* beyond the file */
	assert_int_equal(set(&d), 1);
	d = front->inflight;
	d.mmap_size = UINT64_MAX;
	assert_int_equal(set(&d), 1);
	d = front->inflight;
	d.mmap_offset = 8;
	assert_int_equal(set(&d), 1);
	d.mmap_offset = UINT64_MAX - 7;
	assert_int_equal(set(&d), 1);
	d = front->inflight;
	d.mmap_size--; /* less than its queues need */
	assert_int_equal(set(&d), 1);
	d = front->inflight;
	d.num_queues = 3;
	assert_int_equal(set(&d), 1);
	d.num_queues = 0;
	assert_int_equal(set(&d), 1);
	d = front->inflight;
	d.queue_size = 512;
	assert_int_equal(set(&d), 1);
	d.queue_size = 0;
	assert_int_equal(set(&d), 1);
	/* Asking for what we cannot keep: no descriptor, size 0. */
	d = (struct vhost_inflight_desc){.num_queues = 500, .queue_size = 65535};
	assert_int_equal(vfront_ask(front, VHOST_GET_INFLIGHT_FD, &d, sizeof(d), &got, sizeof(got), &fd),
			 sizeof(d));
	assert_int_equal(fd, -1);
	assert_int_equal(got.mmap_size, 0);
	assert_int_equal(set(&front->inflight), 0);
	end();
}

static void lies__inside_the_region(void **state)
{
	static const struct {
		uint16_t version, desc_num;
	} bad[] = {{2, 256}, {1, 255}, {1, 0}, {1, 65535}, {65535, 256}};
	struct inflight_queue *q;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		begin();
		q = region();
		q->version = bad[i].version;
		q->desc_num = bad[i].desc_num;
		connect_again();
		assert_non_null(
			strstr(vhost_env_log(&env), "broken 0 inflight region does not fit the ring; "));
		assert_int_equal(pop(), -EBADMSG);
		munmap(q, front->inflight.mmap_size);
		end();
	}
	/* Every mark set, last head out of bounds: as many as the ring holds, each validated when popped. */
	begin();
	q = region();
	for (int i = 0; i < 256; i++)
		q->desc[i].inflight = 1;
	q->last_batch_head = 0xffff;
	q->used_idx = 0xffff; /* one less than used->idx */
	munmap(q, front->inflight.mmap_size);
	memset(front->q[0].desc, 0, NUM * sizeof(struct vring_desc));
	connect_again();
	for (int i = 0; i < NUM; i++)
		assert_int_equal(pop(), 1);
	front->q[0].avail->idx = NUM;
	assert_int_equal(pop(), 0);
	end();
}

static void ring__larger_than_the_region_does_not_start(void **state)
{
	(void)state;
	vhost_env_init(&env, &blk);
	vfront_negotiate(front, RINGS | PF, ~0ull);
	assert_int_equal(vfront_mem_table(front), 0);
	vfront_inflight_get(front, 1, 32);
	vfront_inflight_set(front);
	vfront_queue_up(front, 0, NUM, true);
	assert_non_null(strstr(vhost_env_log(&env), "broken 0 inflight region"));
	vfront_queue_up(front, 1, 32, true); /* not among the region's queues */
	assert_non_null(strstr(vhost_env_log(&env), "broken 1 inflight region"));
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(region__is_as_large_as_asked_and_cannot_shrink),
		cmocka_unit_test(crash__requests_come_again_first_in_their_order),
		cmocka_unit_test(crash__order_is_that_of_taking),
		cmocka_unit_test(crash__ring_that_went_on_without_us_forgets_the_marks),
		cmocka_unit_test(crash__between_used_idx_and_mark_is_not_done_twice),
		cmocka_unit_test(crash__before_used_idx_is_done_again),
		cmocka_unit_test(crash__after_a_guest_reset_forgets_the_marks),
		cmocka_unit_test(unpop__unmarks_new_chains_and_keeps_old_ones),
		cmocka_unit_test(stop__with_requests_given_up_takes_them_again),
		cmocka_unit_test(crash__many_times_completes_each_once),
		cmocka_unit_test(lies__of_size_and_shape_are_refused),
		cmocka_unit_test(lies__inside_the_region),
		cmocka_unit_test(ring__larger_than_the_region_does_not_start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

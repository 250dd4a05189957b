/* SPDX-License-Identifier: Apache-2.0 */
/* Rings: chains, order, notification both ways, over packed and EVENT_IDX on and off; and guests that break a
 * split one (test_packed.c has the others).
 */
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
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const struct vhost_config blk = {
	.nqueues = 2, .queue_size = 256, .features = EVENT | INDIR | V1 | PACKED};
static const uint64_t combinations[] = {
	V1,	     V1 | EVENT,	  V1 | INDIR,	       V1 | EVENT | INDIR,
	V1 | PACKED, V1 | PACKED | EVENT, V1 | PACKED | INDIR, V1 | PACKED | EVENT | INDIR};

static struct vhost_env env;
static struct vfront *const front = &env.front;
static struct vhost_ring *ring;
static uint64_t buffer; /* guest memory for chains, 64 KiB */
static struct vqt_chain c;

static void begin(uint64_t features)
{
	vhost_env_init(&env, &blk);
	vhost_env_run(&env, features, 2, NUM);
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

static void push_flush(uint32_t written)
{
	vhost_ring_ops.push(ring, &c, written);
	vhost_ring_ops.flush(ring);
}

static void chain__arrives_as_it_was_made(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(combinations); i++) {
		/* The zero-length pieces vanish; the third piece crosses the regions. */
		struct vfront_seg segs[] = {{0, 16}, {0, 0},   {VFRONT_MEM / 2 - 100, 300},
					    {0, 0},  {0, 512}, {0, 1}};
		uint32_t head, len;
		uint16_t want;

		begin(combinations[i]);
		segs[0].gpa = buffer;
		segs[4].gpa = buffer + 4096;
		segs[5].gpa = buffer + 8192;
		memset(vfront_ptr(front, VFRONT_MEM / 2 - 100), 'a', 100);
		memset(vfront_ptr(front, VFRONT_MEM / 2), 'b', 200);
		want = vfront_add(front, 0, segs, 3, 3, combinations[i] & INDIR);
		assert_int_equal(pop(), 1);
		assert_int_equal(c.nout, 3);
		assert_int_equal(c.nin, 2);
		assert_int_equal(c.out_len, 316);
		assert_int_equal(c.in_len, 513);
		assert_int_equal(c.iov[1].iov_len, 100);
		assert_int_equal(((char *)c.iov[1].iov_base)[99], 'a');
		assert_int_equal(c.iov[2].iov_len, 200);
		assert_int_equal(((char *)c.iov[2].iov_base)[0], 'b');
		memset(c.iov[3].iov_base, 'z', 512);
		assert_int_equal(*(char *)vfront_ptr(front, buffer + 4096 + 511), 'z');
		assert_int_equal(pop(), 0);
		assert_false(vfront_used(front, 0, &head, &len));
		push_flush(513);
		assert_true(vfront_used(front, 0, &head, &len));
		assert_int_equal(head, want);
		assert_int_equal(len, 513);
		assert_int_equal(vfront_calls(front, 0), 1);
		end();
	}
}

static void many__go_round_the_ring_in_any_order(void **state)
{
	struct rng r;

	(void)state;
	rng_init(&r, 3);
	for (size_t i = 0; i < COUNT(combinations); i++) {
		static struct vqt_chain held[NUM];
		uint32_t head, len, made = 0, done = 0, nheld = 0, seen = 0;

		begin(combinations[i]);
		while (seen < 70000) {
			/* One descriptor per chain: as many as the ring holds may be out. */
			while (made - seen < NUM && rng_chance(&r, 700000)) {
				*(uint32_t *)vfront_ptr(front, buffer + 4 * (made % NUM)) = made;
				vfront_add1(front, 0, buffer + 4 * (made % NUM), 4, 0, 0);
				made++;
			}
			while (nheld < NUM && rng_chance(&r, 700000) &&
			       vhost_ring_ops.pop(ring, &held[nheld]) == 1)
				nheld++;
			if (nheld && rng_chance(&r, 300000)) {
				uint32_t n = (uint32_t)rng_below(&r, nheld) / 4;

				vhost_ring_ops.unpop(ring, n);
				nheld -= n;
			}
			/* In order here, since one descriptor each is reused by position. */
			for (uint32_t n = (uint32_t)rng_below(&r, nheld + 1); n; n--) {
				assert_int_equal(*(uint32_t *)held[0].iov[0].iov_base, done);
				vhost_ring_ops.push(ring, &held[0], done);
				memmove(held, held + 1, (--nheld) * sizeof(held[0]));
				done++;
			}
			vhost_ring_ops.flush(ring);
			while (vfront_used(front, 0, &head, &len))
				assert_int_equal(len, seen++);
			assert_int_equal(seen, done);
		}
		assert_string_equal(vhost_env_log(&env), "");
		end();
	}
}

static unsigned pop_burst(struct vqt_piece *p, unsigned n, bool in, uint32_t max)
{
	return vhost_ring_ops.pop_burst(ring, p, n, in, max);
}

static const struct vhost_config net = {
	.net = true, .nqueues = 2, .queue_size = 256, .features = EVENT | INDIR | V1 | PACKED};

/* Of a NIC: bursts are for what has no inflight region. */
static void begin_net(uint64_t features)
{
	vhost_env_init(&env, &net);
	vhost_env_run(&env, features, 2, NUM);
	ring = vhost_ring(env.v, 0);
	buffer = vfront_alloc(front, 65536, 4096);
	vfront_calls(front, 0);
}

static void burst__goes_round_the_ring_as_one_by_one(void **state)
{
	struct rng r;

	(void)state;
	rng_init(&r, 4);
	for (size_t i = 0; i < COUNT(combinations); i++) {
		uint32_t head, len, made = 0, done = 0, seen = 0;
		uint64_t bursts = 0;

		begin_net(combinations[i]);
		while (seen < 70000) {
			struct vqt_piece p[VQT_BURST];
			unsigned got, back;

			while (made - seen < NUM && rng_chance(&r, 900000)) {
				*(uint32_t *)vfront_ptr(front, buffer + 4 * (made % NUM)) = made;
				vfront_add1(front, 0, buffer + 4 * (made % NUM), 4, 0, 0);
				made++;
			}
			got = pop_burst(p, 1 + (unsigned)rng_below(&r, VQT_BURST), false, 4);
			bursts += got > 1;
			if (!got) {
				assert_int_equal(made, done);
				assert_int_equal(pop(), 0);
				assert_int_equal(pop_burst(p, 1, false, 4), 0);
			}
			back = (unsigned)rng_below(&r, got + 1) / 3;
			vhost_ring_ops.unpop(ring, back);
			for (unsigned k = 0; k < got - back; k++) {
				assert_int_equal(p[k].len, 4);
				assert_int_equal(*(uint32_t *)(void *)p[k].at, done);
				p[k].written = done++;
			}
			if (rng_chance(&r, 300000) && pop() == 1) {
				assert_int_equal(*(uint32_t *)c.iov[0].iov_base, done);
				vhost_ring_ops.unpop(ring, 1);
			}
			vhost_ring_ops.push_burst(ring, p, got - back);
			vhost_ring_ops.flush(ring);
			while (vfront_used(front, 0, &head, &len))
				assert_int_equal(len, seen++);
			assert_int_equal(seen, done);
		}
		assert_true(bursts > 1000);
		assert_int_equal(vhost_counters(env.v)[VHOST_C_chains] >= seen, 1);
		assert_string_equal(vhost_env_log(&env), "");
		end();
	}
}

/* What is not one piece of that direction and size is left for pop(). */
static void burst__ends_before_what_is_another_kind(void **state)
{
	static const struct vfront_seg two[] = {{0, 8}, {64, 8}}, over[] = {{VFRONT_MEM / 2 - 4, 8}};
	struct vqt_piece p[VQT_BURST];

	(void)state;
	for (size_t i = 0; i < COUNT(combinations); i++) {
		for (unsigned kind = 0; kind < 5; kind++) {
			begin_net(combinations[i]);
			for (unsigned k = 0; k < 3; k++)
				vfront_add1(front, 0, buffer, 8, 0, 0);
			if (kind == 0)
				vfront_add(front, 0, two, 2, 0, false);
			else if (kind == 1)
				vfront_add(front, 0, two, 2, 0, combinations[i] & INDIR);
			else if (kind == 2)
				vfront_add(front, 0, over, 1, 0, false);
			else
				vfront_add1(front, 0, buffer, kind == 3 ? 9 : 0, buffer, kind == 4 ? 8 : 0);
			vfront_add1(front, 0, buffer, 8, 0, 0);
			assert_int_equal(pop_burst(p, VQT_BURST, false, 8), 3);
			vhost_ring_ops.push_burst(ring, p, 0);
			assert_int_equal(pop_burst(p + 3, 4, false, 8), 0);
			assert_int_equal(pop(), 1);
			assert_int_equal(c.nout + c.nin, kind < 3 ? 2 : 1);
			assert_int_equal(pop_burst(p + 3, 4, false, 8), 1);
			assert_int_equal(pop_burst(p + 4, 4, false, 8), 0);
			assert_int_equal(pop(), 0);
			end();
		}
	}
	/* Nor is anything taken while pages that change are kept account of. */
	begin_net(V1);
	vfront_log_set(front, VFRONT_MEM / VHOST_LOG_PAGE / 8);
	vfront_add1(front, 0, buffer, 8, 0, 0);
	assert_int_equal(pop_burst(p, 4, false, 8), 0);
	assert_int_equal(pop(), 1);
	end();
}

static void burst__wakes_the_guest_and_is_kicked_as_one_by_one(void **state)
{
	struct vqt_piece p[VQT_BURST];

	(void)state;
	for (size_t i = 0; i < COUNT(combinations); i++) {
		uint16_t old;

		begin_net(combinations[i]);
		assert_int_equal(pop(), 0); /* asleep */
		old = front->q[0].avail_idx;
		vfront_add1(front, 0, 0, 0, buffer, 100);
		assert_true(vfront_kick(front, 0, old));
		assert_int_equal(pop_burst(p, 4, true, 100), 1); /* busy from here on */
		old = front->q[0].avail_idx;
		vfront_add1(front, 0, 0, 0, buffer, 100);
		assert_false(vfront_kick(front, 0, old));
		assert_int_equal(pop_burst(p + 1, 4, true, 100), 1);
		p[0].written = p[1].written = 7;
		vhost_ring_ops.push_burst(ring, p, 2);
		vhost_ring_ops.push_burst(ring, p, 2); /* once is enough */
		vhost_ring_ops.flush(ring);
		assert_int_equal(vfront_calls(front, 0), 1);
		assert_int_equal(pop_burst(p, 4, true, 100), 0);
		assert_int_equal(pop(), 0);
		old = front->q[0].avail_idx;
		vfront_add1(front, 0, 0, 0, buffer, 100);
		assert_true(vfront_kick(front, 0, old));
		end();
	}
}

static void sleep__no_kick_is_lost_and_none_is_wanted_while_busy(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(combinations); i++) {
		uint16_t old;

		begin(combinations[i]);
		assert_int_equal(pop(), 0); /* asleep */
		old = front->q[0].avail_idx;
		vfront_add1(front, 0, buffer, 1, 0, 0);
		assert_true(vfront_kick(front, 0, old));
		assert_int_equal(pop(), 1); /* busy from here on */
		for (int k = 0; k < 10; k++) {
			old = front->q[0].avail_idx;
			vfront_add1(front, 0, buffer, 1, 0, 0);
			assert_false(vfront_kick(front, 0, old));
		}
		for (int k = 0; k < 10; k++)
			assert_int_equal(pop(), 1);
		assert_int_equal(pop(), 0);
		old = front->q[0].avail_idx;
		vfront_add1(front, 0, buffer, 1, 0, 0);
		assert_true(vfront_kick(front, 0, old));
		end();
	}
}

/* Some buffers are there but not enough: they go back, and the next one must kick. */
static void unpop__still_kicks_at_the_first_one_not_there_yet(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(combinations); i++) {
		uint16_t old;

		begin(combinations[i]);
		for (int k = 0; k < 5; k++)
			vfront_add1(front, 0, 0, 0, buffer, 1500);
		for (int round = 0; round < 20; round++) {
			int got = 0;

			while (pop() == 1)
				got++;
			assert_int_equal(got, 5 + round);
			vhost_ring_ops.unpop(ring, (unsigned)got);
			old = front->q[0].avail_idx;
			vfront_add1(front, 0, 0, 0, buffer, 1500);
			assert_true(vfront_kick(front, 0, old));
		}
		end();
	}
}

static void unpop__gives_the_same_chains_in_the_same_order(void **state)
{
	uint16_t heads[6];

	(void)state;
	begin(V1 | EVENT);
	for (int k = 0; k < 6; k++)
		heads[k] = vfront_add1(front, 0, buffer, (uint32_t)k + 1, 0, 0);
	for (int k = 0; k < 6; k++)
		assert_int_equal(pop(), 1);
	vhost_ring_ops.unpop(ring, 4);
	for (int k = 2; k < 6; k++) {
		assert_int_equal(pop(), 1);
		assert_int_equal(c.token, heads[k]);
		assert_int_equal(c.out_len, k + 1);
	}
	vhost_ring_ops.unpop(ring, 100); /* no more than were taken */
	assert_int_equal(pop(), 1);
	assert_int_equal(c.token, heads[0]);
	end();
}

static void call__is_as_the_guest_wants_it(void **state)
{
	uint32_t head, len;

	(void)state;
	/* With event indexes: once per burst, and only if the guest waits for one of its chains. */
	begin(V1 | EVENT);
	for (int k = 0; k < 8; k++)
		vfront_add1(front, 0, buffer, 1, 0, 0);
	front->q[0].avail->ring[NUM] = 2; /* used_event */
	for (int k = 0; k < 2; k++) {
		assert_int_equal(pop(), 1);
		push_flush(0);
		assert_int_equal(vfront_calls(front, 0), 0);
	}
	for (int k = 0; k < 3; k++) {
		assert_int_equal(pop(), 1);
		vhost_ring_ops.push(ring, &c, 0);
	}
	vhost_ring_ops.flush(ring);
	vhost_ring_ops.flush(ring);
	assert_int_equal(vfront_calls(front, 0), 1);
	end();
	/* Without: by the flag. */
	begin(V1);
	vfront_add1(front, 0, buffer, 1, 0, 0);
	vfront_add1(front, 0, buffer, 1, 0, 0);
	front->q[0].avail->flags = VRING_AVAIL_NO_INTERRUPT;
	assert_int_equal(pop(), 1);
	push_flush(0);
	assert_int_equal(vfront_calls(front, 0), 0);
	front->q[0].avail->flags = 0;
	assert_int_equal(pop(), 1);
	push_flush(0);
	assert_int_equal(vfront_calls(front, 0), 1);
	assert_true(vfront_used(front, 0, &head, &len));
	end();
}

/* --- guests that break the ring --- */

static void expect_broken(const char *reason)
{
	char want[128];

	snprintf(want, sizeof(want), "broken 0 %s; ", reason);
	assert_int_equal(pop(), -EBADMSG);
	assert_string_equal(vhost_env_log(&env), want);
	assert_int_equal(pop(), -EBADMSG); /* told once */
	assert_string_equal(vhost_env_log(&env), "");
	/* The neighbour lives. */
	vfront_add1(front, 1, buffer, 5, 0, 0);
	assert_int_equal(vhost_ring_ops.pop(vhost_ring(env.v, 1), &c), 1);
	end();
}

static void set_desc(unsigned i, uint64_t addr, uint32_t len, unsigned flags, unsigned next)
{
	front->q[0].desc[i] = (struct vring_desc){addr, len, (uint16_t)flags, (uint16_t)next};
}

/* A burst takes nothing that is wrong, and leaves it to pop() to say so. */
static void broken__in_a_burst(void **state)
{
	struct vqt_piece p[VQT_BURST];

	(void)state;
	begin_net(V1 | EVENT);
	vfront_add1(front, 0, buffer, 1, 0, 0);
	vfront_publish(front, 0, NUM);
	assert_int_equal(pop_burst(p, 8, false, 8), 1);
	assert_int_equal(pop_burst(p, 8, false, 8), 0);
	expect_broken("head outside the ring");

	begin_net(V1 | EVENT);
	front->q[0].avail->idx = NUM + 1;
	assert_int_equal(pop_burst(p, 8, false, 8), 0);
	expect_broken("more chains than the ring holds");

	begin_net(V1 | EVENT);
	vfront_publish(front, 0, vfront_add1(front, 0, buffer, 1, 0, 0));
	assert_int_equal(pop_burst(p, 8, false, 8), 1);
	expect_broken("head made available while in use");

	begin_net(V1);
	vfront_add1(front, 0, buffer, 1, 0, 0);
	set_desc(1, VFRONT_MEM - 1, 2, 0, 0);
	vfront_publish(front, 0, 1);
	assert_int_equal(pop_burst(p, 8, false, 8), 1);
	expect_broken("descriptor outside guest memory");
}

static void broken__rings(void **state)
{
	(void)state;
	begin(V1 | EVENT);
	vfront_publish(front, 0, NUM);
	expect_broken("head outside the ring");

	begin(V1 | EVENT);
	front->q[0].avail->idx = NUM + 1;
	expect_broken("more chains than the ring holds");

	begin(V1 | EVENT);
	vfront_add1(front, 0, buffer, 1, 0, 0);
	assert_int_equal(pop(), 1);
	vfront_publish(front, 0, (uint16_t)c.token);
	expect_broken("head made available while in use");
}

static void broken__chains(void **state)
{
	(void)state;
	begin(V1);
	set_desc(0, buffer, 1, VRING_DESC_NEXT, 1);
	set_desc(1, buffer, 1, VRING_DESC_NEXT, 0);
	vfront_publish(front, 0, 0);
	expect_broken("loop in a chain");

	begin(V1);
	set_desc(0, buffer, 1, VRING_DESC_NEXT, NUM);
	vfront_publish(front, 0, 0);
	expect_broken("next outside the ring");

	begin(V1);
	set_desc(0, VFRONT_MEM - 1, 2, 0, 0);
	vfront_publish(front, 0, 0);
	expect_broken("descriptor outside guest memory");

	begin(V1);
	set_desc(0, UINT64_MAX - 5, 100, 0, 0);
	vfront_publish(front, 0, 0);
	expect_broken("descriptor outside guest memory");

	begin(V1);
	set_desc(0, buffer, 1, VRING_DESC_WRITE | VRING_DESC_NEXT, 1);
	set_desc(1, buffer, 1, 0, 0);
	vfront_publish(front, 0, 0);
	expect_broken("readable descriptor after a writable one");

	begin(V1);
	set_desc(0, buffer, 16, VRING_DESC_INDIRECT, 0);
	vfront_publish(front, 0, 0);
	expect_broken("indirect descriptor not negotiated");
}

static void indirect_case(uint64_t addr, uint32_t len, unsigned flags, const char *reason)
{
	set_desc(0, addr, len, VRING_DESC_INDIRECT | flags, 1);
	vfront_publish(front, 0, 0);
	expect_broken(reason);
}

static void broken__indirect_tables(void **state)
{
	struct vring_desc *t;

	(void)state;
	begin(V1 | INDIR);
	indirect_case(buffer, 16, VRING_DESC_NEXT, "indirect descriptor with a next");
	begin(V1 | INDIR);
	indirect_case(buffer, 0, 0, "indirect table of a bad size");
	begin(V1 | INDIR);
	indirect_case(buffer, 24, 0, "indirect table of a bad size");
	begin(V1 | INDIR);
	indirect_case(buffer, 16 * 257, 0, "indirect table too long");
	begin(V1 | INDIR);
	indirect_case(buffer, 0xfffffff0, 0, "indirect table too long");
	begin(V1 | INDIR);
	indirect_case(VFRONT_MEM - 8, 16, 0, "indirect table outside guest memory");
	begin(V1 | INDIR);
	t = vfront_ptr(front, buffer);
	t[0] = (struct vring_desc){buffer, 1, VRING_DESC_NEXT, 1};
	t[1] = (struct vring_desc){buffer, 1, VRING_DESC_NEXT, 0};
	indirect_case(buffer, 32, 0, "loop in an indirect table");
	begin(V1 | INDIR);
	t = vfront_ptr(front, buffer);
	t[0] = (struct vring_desc){buffer, 1, VRING_DESC_NEXT, 1};
	indirect_case(buffer, 16, 0, "next outside the indirect table");
	begin(V1 | INDIR);
	t = vfront_ptr(front, buffer);
	t[0] = (struct vring_desc){buffer, 16, VRING_DESC_INDIRECT, 0};
	indirect_case(buffer, 32, 0, "indirect table in an indirect table");
}

static void long__chains(void **state)
{
	struct vfront_seg segs[257];

	(void)state;
	/* A table of 256 is taken though the ring has 64; a table may lie across two regions. */
	begin(V1 | INDIR);
	for (int i = 0; i < 257; i++)
		segs[i] = (struct vfront_seg){buffer + (uint64_t)i, 1};
	front->brk = VFRONT_MEM / 2 - 16 * 100;
	vfront_add(front, 0, segs, 200, 56, true);
	assert_int_equal(pop(), 1);
	assert_int_equal(c.nout, 200);
	assert_int_equal(c.nin, 56);
	end();
	/* Each piece crosses the regions: more iovecs than a chain has. */
	begin(V1 | INDIR);
	for (int i = 0; i < 150; i++)
		segs[i] = (struct vfront_seg){VFRONT_MEM / 2 - 1, 2};
	vfront_add(front, 0, segs, 150, 0, true);
	expect_broken("chain too long");
	/* Large pieces count in full. */
	begin(V1 | INDIR);
	for (int i = 0; i < 256; i++)
		segs[i] = (struct vfront_seg){0, VFRONT_MEM / 2};
	vfront_add(front, 0, segs, 128, 128, true);
	assert_int_equal(pop(), 1);
	assert_int_equal(c.out_len, 64u * VFRONT_MEM);
	end();
}

/* What was popped before may be completed; a broken ring shows nothing more. */
static void broken__takes_completions_silently(void **state)
{
	uint32_t head, len;
	struct vqt_chain held;

	(void)state;
	begin(V1);
	vfront_add1(front, 0, buffer, 1, 0, 0);
	assert_int_equal(vhost_ring_ops.pop(ring, &held), 1);
	vfront_publish(front, 0, NUM);
	assert_int_equal(pop(), -EBADMSG);
	vhost_ring_ops.push(ring, &held, 0);
	vhost_ring_ops.push(ring, &held, 0);
	vhost_ring_ops.flush(ring);
	assert_false(vfront_used(front, 0, &head, &len));
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(chain__arrives_as_it_was_made),
		cmocka_unit_test(many__go_round_the_ring_in_any_order),
		cmocka_unit_test(burst__goes_round_the_ring_as_one_by_one),
		cmocka_unit_test(burst__ends_before_what_is_another_kind),
		cmocka_unit_test(burst__wakes_the_guest_and_is_kicked_as_one_by_one),
		cmocka_unit_test(broken__in_a_burst),
		cmocka_unit_test(sleep__no_kick_is_lost_and_none_is_wanted_while_busy),
		cmocka_unit_test(unpop__still_kicks_at_the_first_one_not_there_yet),
		cmocka_unit_test(unpop__gives_the_same_chains_in_the_same_order),
		cmocka_unit_test(call__is_as_the_guest_wants_it),
		cmocka_unit_test(broken__rings),
		cmocka_unit_test(broken__chains),
		cmocka_unit_test(broken__indirect_tables),
		cmocka_unit_test(long__chains),
		cmocka_unit_test(broken__takes_completions_silently),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that a peer reaches by key, and moves between it and local memory. */
#include "tests/unit/fabric/link/verbs/verbs_pair.h"

#define ARENA  65536u
#define CANARY 0x5a

/* b's guest, between canaries, and a's arena. */
struct memory {
	struct verbs_mem *arena, *region;
	uint8_t a[ARENA];
	struct {
		uint8_t before[4096], region[ARENA], after[4096];
	} b;
	struct verbs_seg seg[VERBS_SEGS_MAX];
	struct verbs_move m;
	int result;
	bool over;
};

static struct memory mem;

static void move_done(struct verbs_move *m, int err)
{
	(void)m;
	assert_false(mem.over);
	mem.over = true;
	mem.result = err;
}

static void add_memory(struct pair *p)
{
	char why[200];

	memset(&mem, 0, sizeof(mem));
	memset(&mem.b, CANARY, sizeof(mem.b));
	for (unsigned i = 0; i < ARENA; i++)
		mem.a[i] = (uint8_t)(i * 7 + i / 256);
	assert_int_equal(
		link_verbs_mem_add(p->l[0], mem.a, ARENA, VERBS_MEM_LOCAL, 1, &mem.arena, why, sizeof(why)),
		0);
	assert_int_equal(link_verbs_mem_add(p->l[1], mem.b.region, ARENA, VERBS_MEM_PEERS, 0x123456789abcdef,
					    &mem.region, why, sizeof(why)),
			 0);
}

/* n pieces of len bytes each, every other one left out; the result of starting it. */
static int start_move(struct pair *p, bool write, unsigned n, uint32_t len)
{
	struct verbs_key k = link_verbs_mem_key(mem.region);

	for (unsigned i = 0; i < n; i++)
		mem.seg[i] = (struct verbs_seg){k.base + 2ull * i * len, k.rkey, len};
	mem.over = false;
	mem.m = (struct verbs_move){
		.write = write, .local = mem.a, .n = n, .seg = mem.seg, .done = move_done};
	return link_verbs_move(p->l[0], ids[0], &mem.m);
}

static void expect_move(struct pair *p, int result)
{
	for (int i = 0; i < 10 && !mem.over; i++)
		assert_int_equal(drain(p, 0), 0);
	assert_true(mem.over);
	assert_int_equal(mem.result, result);
}

static void expect_canaries(void)
{
	uint8_t want[4096];

	memset(want, CANARY, sizeof(want));
	assert_memory_equal(mem.b.before, want, 4096);
	assert_memory_equal(mem.b.after, want, 4096);
}

static void test_moves_cross(void **state)
{
	struct pair *p = *state;

	add_memory(p);
	for (unsigned n = 1; n <= VERBS_SEGS_MAX; n += 21) {
		assert_int_equal(start_move(p, true, n, 500), 0);
		expect_move(p, 0);
		for (unsigned i = 0; i < n; i++) {
			assert_memory_equal(mem.b.region + 1000 * i, mem.a + 500 * i, 500);
			assert_int_equal(mem.b.region[1000 * i + 500], CANARY);
		}
		memset(mem.a, 0, ARENA);
		assert_int_equal(start_move(p, false, n, 500), 0);
		expect_move(p, 0);
		for (unsigned i = 0; i < n; i++)
			assert_memory_equal(mem.b.region + 1000 * i, mem.a + 500 * i, 500);
		memset(mem.b.region, CANARY, ARENA);
	}
	expect_canaries();
	assert_int_equal(count(p, 0, VERBS_C_moves), 8);
	assert_int_equal(count(p, 0, VERBS_C_write_bytes), (1 + 22 + 43 + 64) * 500);
	assert_int_equal(count(p, 0, VERBS_C_tx_doorbells), 8);
	assert_int_equal(vd_counts().writes, 1 + 22 + 43 + 64);
	/* One each to be sure that what was written can be seen. */
	assert_int_equal(vd_counts().reads, 1 + 22 + 43 + 64 + 4);
}

static void test_moves_that_cannot_be(void **state)
{
	struct pair *p = *state;

	add_memory(p);
	assert_int_equal(start_move(p, true, 0, 500), -EINVAL);
	assert_int_equal(start_move(p, true, VERBS_SEGS_MAX + 1 - 1, 0), -EINVAL);
	assert_int_equal(start_move(p, true, 2, ARENA / 2 + 1), -EFAULT);
	assert_int_equal(link_verbs_move(p->l[0], 4711, &mem.m), -ENOTCONN);
	link_verbs_mem_del(p->l[0], mem.arena);
	assert_int_equal(start_move(p, true, 1, 1), -EFAULT);
	link_verbs_close(p->l[0], ids[0]);
	assert_int_equal(start_move(p, true, 1, 1), -ENOTCONN);
	expect_canaries();
}

/* What a peer may not: a queue pair in error at both ends, and nothing touched. */
static void test_hostile_keys(void **state)
{
	struct pair *p = *state;

	for (unsigned kind = 0; kind < 7; kind++) {
		struct verbs_key k;
		uint8_t local[64] = {1, 2, 3};
		uint32_t len = 64;
		bool write = true;

		add_memory(p);
		k = link_verbs_mem_key(mem.region);
		if (kind == 0)
			k.rkey += 0x100; /* made up */
		else if (kind == 1)
			k.base--; /* before */
		else if (kind == 2)
			k.base += ARENA - len + 1; /* beyond */
		else if (kind == 3)
			len = UINT32_MAX;
		else if (kind == 4)
			k = link_verbs_mem_key(mem.arena); /* its own */
		else if (kind == 5)
			link_verbs_mem_del(p->l[1], mem.region); /* stale */
		else
			k.base = (uintptr_t)mem.b.region; /* guessed */
		assert_int_equal(vd_access(p->end[0].qpn, write, k.base, k.rkey, local, len),
				 IBV_WC_REM_ACCESS_ERR);
		assert_int_equal(vd_access(p->end[0].qpn, false, k.base, k.rkey, local, len),
				 IBV_WC_RETRY_EXC_ERR); /* its end is broken */
		for (unsigned i = 0; i < ARENA; i++)
			assert_int_equal(mem.b.region[i], CANARY);
		expect_canaries();
		fall_asleep(p, 1);
		for (int i = 0; i < 200; i++)
			drain(p, 1);
		assert_int_equal(broken(p->l[1]), ids[1]);
		join(p);
		drain(p, 0);
		drain(p, 1);
		link_verbs_mem_del(p->l[0], mem.arena);
		if (kind != 5)
			link_verbs_mem_del(p->l[1], mem.region);
	}
}

/* A new registration has other keys and other addresses. */
static void test_keys_are_not_used_again(void **state)
{
	struct pair *p = *state;
	struct verbs_key old, now;
	char why[200];

	add_memory(p);
	old = link_verbs_mem_key(mem.region);
	link_verbs_mem_del(p->l[1], mem.region);
	assert_int_equal(link_verbs_mem_add(p->l[1], mem.b.region, ARENA, VERBS_MEM_PEERS, 99ull << 40,
					    &mem.region, why, sizeof(why)),
			 0);
	now = link_verbs_mem_key(mem.region);
	assert_int_not_equal(old.rkey, now.rkey);
	assert_true(old.base != now.base);
	/* The same place in a page, for the device's sake. */
	assert_int_equal(now.base % 4096, (uintptr_t)mem.b.region % 4096);
	assert_int_equal(vd_access(p->end[0].qpn, true, old.base, now.rkey, mem.a, 8), IBV_WC_REM_ACCESS_ERR);
	expect_canaries();
}

static void test_memory_is_kept_apart(void **state)
{
	struct pair *p = *state;
	struct verbs_mem *m[40], *no;
	static uint8_t many[40][128];
	char why[200];

	for (unsigned i = 0; i < 40; i++)
		assert_int_equal(link_verbs_mem_add(p->l[0], many[(i * 7) % 40], 128, VERBS_MEM_LOCAL, i,
						    &m[i], why, sizeof(why)),
				 0);
	assert_int_equal(
		link_verbs_mem_add(p->l[0], many[3] + 100, 64, VERBS_MEM_LOCAL, 0, &no, why, sizeof(why)),
		-EEXIST);
	assert_int_equal(link_verbs_mem_add(p->l[0], many[3], 0, VERBS_MEM_LOCAL, 0, &no, why, sizeof(why)),
			 -EINVAL);
	for (unsigned i = 0; i < 40; i += 2)
		link_verbs_mem_del(p->l[0], m[i]);
	link_verbs_mem_del(p->l[0], NULL);
	assert_int_equal(link_verbs_mem_add(p->l[0], many[0], 128, VERBS_MEM_LOCAL, 0, &no, why, sizeof(why)),
			 0);
}

static void test_memory_that_may_not_be_locked(void **state)
{
	struct pair *p = *state;
	struct verbs_mem *m;
	char why[200];

	vd_memlock(1, 1);
	assert_int_equal(link_verbs_mem_add(p->l[1], mem.a, ARENA, VERBS_MEM_PEERS, 0, &m, why, sizeof(why)),
			 -ENOMEM);
	assert_non_null(strstr(why, "LimitMEMLOCK"));
	assert_non_null(strstr(why, "ulimit -l"));
	assert_int_equal(count(p, 1, VERBS_C_mem_failed), 1);
	assert_int_equal(send_one(p, 1, "goes", 4), 1);
	assert_int_equal(drain(p, 0), 1);
}

static const enum ibv_wc_status move_failures[] = {IBV_WC_RETRY_EXC_ERR, IBV_WC_RNR_RETRY_EXC_ERR,
						   IBV_WC_REM_ACCESS_ERR, IBV_WC_REM_INV_REQ_ERR,
						   IBV_WC_LOC_PROT_ERR};

static void test_a_failed_move_breaks_the_path_alone(void **state)
{
	struct pair *p = *state;

	add_memory(p);
	for (unsigned i = 0; i < 5; i++) {
		vd_fail_next(move_failures[i]);
		assert_int_equal(start_move(p, i % 2, 3, 100), 0);
		expect_move(p, -EIO);
		assert_int_equal(mem.m.qpn, p->end[1].qpn);
		assert_int_equal(broken(p->l[0]), ids[0]);
		join(p);
		assert_int_equal(start_move(p, i % 2, 3, 100), 0);
		expect_move(p, 0);
		drain(p, 1);
	}
	assert_int_equal(count(p, 0, VERBS_C_moves_failed), 5);
}

/* Those before the one that failed are over; its own memory and that of those behind is the device's until
 * all came back. */
static void test_flushed_moves_come_back_late(void **state)
{
	struct pair *p = *state;

	add_memory(p);
	vd_hold();
	assert_int_equal(start_move(p, true, 3, 100), 0);
	vd_fail_next(IBV_WC_RETRY_EXC_ERR);
	assert_int_equal(send_one(p, 0, "x", 1), 1);
	vd_release(1);
	drain(p, 0);
	assert_true(mem.over && !mem.result);
	vd_hold();
	vd_release(100);
	drain(p, 0);
	assert_int_equal(broken(p->l[0]), ids[0]);
	join(p);
	vd_hold();
	vd_fail_next(IBV_WC_RETRY_EXC_ERR);
	assert_int_equal(start_move(p, false, 3, 100), 0);
	vd_release(1);
	drain(p, 0);
	assert_false(mem.over);
	vd_release(1000);
	drain(p, 0);
	assert_true(mem.over && mem.result == -EIO);
}

/* One of which the device never says anything: it ends with its queue pair, after which nothing is written.
 */
static void test_a_move_that_is_forgotten(void **state)
{
	struct pair *p = *state;

	add_memory(p);
	vd_hold();
	assert_int_equal(start_move(p, false, 3, 100), 0);
	seconds(p, 0, 9);
	assert_false(mem.over);
	seconds(p, 0, 8);
	assert_true(mem.over && mem.result == -EIO);
	assert_int_equal(mem.m.qpn, p->end[1].qpn);
	assert_int_equal(broken(p->l[0]), ids[0]);
	assert_int_equal(count(p, 0, VERBS_C_qp_stuck), 2);
	vd_release(1000);
	assert_int_equal(drain(p, 0), 0);
}

static unsigned finished;

static void count_done(struct verbs_move *m, int err)
{
	(void)m;
	assert_int_equal(err, 0);
	finished++;
}

/* More than the queue holds: they wait, and messages find room beside them. */
static void test_moves_wait_for_room(void **state)
{
	static struct verbs_seg seg[VERBS_SEGS_MAX];
	static struct verbs_move m[32];
	struct pair *p = *state;
	struct verbs_key k;

	add_memory(p);
	finished = 0;
	k = link_verbs_mem_key(mem.region);
	for (unsigned i = 0; i < VERBS_SEGS_MAX; i++)
		seg[i] = (struct verbs_seg){k.base + 16ull * i, k.rkey, 16};
	vd_hold();
	for (unsigned i = 0; i < 32; i++) {
		m[i] = (struct verbs_move){
			.write = true, .local = mem.a, .n = VERBS_SEGS_MAX, .seg = seg, .done = count_done};
		assert_int_equal(link_verbs_move(p->l[0], ids[0], &m[i]), 0);
	}
	assert_int_equal(vd_counts().writes, 2 * VERBS_SEGS_MAX);
	assert_int_equal(send_one(p, 0, "x", 1), 1);
	for (unsigned i = 0; finished < 32; i++) {
		assert_true(i < 1000);
		vd_release(1);
		vd_hold();
		drain(p, 0);
	}
	vd_release(1000);
	assert_int_equal(vd_counts().writes, 32 * VERBS_SEGS_MAX);
	assert_int_equal(drain(p, 1), 1);
}

/* A move that ends wakes who sleeps, and one that ends just before the arming is not slept over. */
static void test_moves_wake(void **state)
{
	struct pair *p = *state;

	add_memory(p);
	fall_asleep(p, 0);
	vd_hold();
	assert_int_equal(start_move(p, true, 1, 10), 0);
	drain(p, 0);
	fall_asleep(p, 0);
	assert_false(readable(p, 0));
	vd_release(10);
	assert_true(readable(p, 0));
	expect_move(p, 0);
	fall_asleep(p, 0);
	assert_int_equal(start_move(p, true, 1, 10), 0);
	assert_int_equal(p->l[0]->ops->deadline(p->l[0]) == 0 || readable(p, 0), 1);
	expect_move(p, 0);
}

/* A WRITE that the sender has given up for lost arrives late: not after the fence. */
static void test_fence(void **state)
{
	struct pair *p = *state;

	for (int fenced = 0; fenced < 2; fenced++) {
		add_memory(p);
		vd_delay_write();
		assert_int_equal(start_move(p, true, 1, 100), 0);
		expect_move(p, -EIO);
		link_verbs_fence(p->l[1], ids[1], mem.m.qpn + 1000); /* an older one */
		if (fenced)
			link_verbs_fence(p->l[1], ids[1], mem.m.qpn);
		assert_int_equal(vd_land(), !fenced);
		assert_int_equal(mem.b.region[0] == mem.a[0], !fenced);
		assert_int_equal(broken(p->l[1]), fenced ? ids[1] : 0);
		join(p);
		link_verbs_mem_del(p->l[0], mem.arena);
		link_verbs_mem_del(p->l[1], mem.region);
		drain(p, 0);
		drain(p, 1);
	}
	assert_int_equal(count(p, 1, VERBS_C_qp_fenced), 1);
}

/* The link goes with moves under way, and each is told of. */
static void test_goes_with_moves(void **state)
{
	struct pair *p = *state;

	add_memory(p);
	vd_hold();
	assert_int_equal(start_move(p, false, 4, 10), 0);
	p->l[0]->ops->destroy(p->l[0]);
	p->l[0] = NULL;
	assert_true(mem.over && mem.result == -EIO);
}

static void test_a_device_that_goes_with_moves(void **state)
{
	struct pair *p = *state;

	add_memory(p);
	vd_hold();
	assert_int_equal(start_move(p, false, 4, 10), 0);
	fall_asleep(p, 0);
	vd_async(0, IBV_EVENT_DEVICE_FATAL, 0);
	for (int i = 0; i < 200 && !mem.over; i++)
		drain(p, 0);
	assert_true(mem.over && mem.result == -EIO);
	assert_int_equal(start_move(p, false, 4, 10), -ENOTCONN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD(test_moves_cross),
		WORLD(test_moves_that_cannot_be),
		WORLD(test_hostile_keys),
		WORLD(test_keys_are_not_used_again),
		WORLD(test_memory_is_kept_apart),
		WORLD(test_memory_that_may_not_be_locked),
		WORLD(test_a_failed_move_breaks_the_path_alone),
		WORLD(test_flushed_moves_come_back_late),
		WORLD(test_a_move_that_is_forgotten),
		WORLD(test_moves_wait_for_room),
		WORLD(test_fence),
		WORLD(test_goes_with_moves),
		WORLD(test_a_device_that_goes_with_moves),
		SLEEPERS(test_moves_cross),
		WORLD(test_moves_wake),
		SLEEPERS(test_moves_wake),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

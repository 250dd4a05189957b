/* SPDX-License-Identifier: Apache-2.0 */
/* Frames moved by an adapter: the door of one session, over devices in memory that fail on purpose. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "appliance/dataplane/worker_impl.h"
#include "tests/lib/verbs_double.h"

#define ID     7u
#define DEV    5u
#define PATH   2u
#define REGION 3u
#define MEMORY (1u << 20)
#define BUFS   128u
#define SLOTS  512u

static struct {
	struct worker *w;
	struct wsession s;
	struct buf_pool *pool[2];
	struct link *agent;
	uint8_t *memory, *stage;
	struct vqt_bulk door;
	/* What was told. */
	unsigned done, good;
	struct vqt_fence fence;
	struct frame *back;
} t;

static struct link *make(const char *name, struct buf_pool **pool, bool serves)
{
	struct link_verbs_cfg cfg = {
		.api = &verbs_double, .rx_depth = 32, .max_peers = 2, .spins = 8, .serves = serves};
	struct link *l;
	char why[256];
	int err;

	cfg.pool = *pool = buf_pool_create(BUFS, VERBS_BUF_SIZE);
	assert_int_equal(verbs_port_parse(&cfg.port, name, why, sizeof(why)), 0);
	l = link_verbs_create(&cfg, &err, why, sizeof(why));
	assert_non_null(l);
	return l;
}

static void join(void)
{
	struct verbs_end a, b;

	assert_int_equal(link_verbs_open(t.w->verbs[0], ID, 1, &a), 0);
	assert_int_equal(link_verbs_open(t.agent, 1, 2, &b), 0);
	assert_int_equal(link_verbs_connect(t.w->verbs[0], ID, &b), 0);
	assert_int_equal(link_verbs_connect(t.agent, 1, &a), 0);
}

static struct guest_region announce(uint8_t *at, uint32_t id, unsigned stage, uint64_t random)
{
	struct guest_region r = {.id = id, .stage = stage, .length = MEMORY, .paths = 1u << PATH};
	struct verbs_mem *mem;
	char why[256];

	assert_int_equal(
		link_verbs_mem_add(t.agent, at, MEMORY, VERBS_MEM_PEERS, random, &mem, why, sizeof(why)), 0);
	r.key[PATH] = link_verbs_mem_key(mem);
	return r;
}

static int setup(void **state)
{
	struct guest_region r[2];

	(void)state;
	memset(&t, 0, sizeof(t));
	vd_world(2);
	t.w = calloc(1, sizeof(*t.w));
	list_init(&t.w->marked);
	list_init(&t.w->starved);
	t.w->frames = frame_pool_create(2048);
	t.w->verbs[0] = make("vd0", &t.pool[0], false);
	t.agent = make("vd1", &t.pool[1], true);
	join();
	assert_int_equal(worker_bulk_open(t.w), 0);
	t.s.w = t.w;
	t.s.id = ID;
	t.s.verbs[PATH] = t.w->verbs[0];
	list_init(&t.s.marked);
	list_init(&t.s.starved);
	worker_memory_init(&t.s, 1);
	t.memory = aligned_alloc(4096, MEMORY);
	t.stage = aligned_alloc(4096, MEMORY);
	for (unsigned i = 0; i < MEMORY; i++)
		t.memory[i] = (uint8_t)(i * 2654435761u >> 24);
	memset(t.stage, 0, MEMORY);
	r[0] = announce(t.memory, REGION, 0, 0x1234567890abull);
	r[1] = announce(t.stage, REGION + 1, 1, 0x234567890abcull);
	assert_int_equal(worker_session_memory(t.w, &t.s, DEV, r, 2), 0);
	t.door = worker_bulk_door(&t.s);
	assert_non_null(t.door.ops);
	return 0;
}

/* Every slot, frame and object is back, whatever happened. */
static int teardown(void **state)
{
	(void)state;
	frame_put(t.back);
	list_del(&t.s.starved);
	list_del(&t.s.marked);
	worker_memory_fini(&t.s);
	t.w->verbs[0]->ops->destroy(t.w->verbs[0]);
	t.agent->ops->destroy(t.agent);
	assert_int_equal(t.s.slots, 0);
	assert_int_equal(buf_pool_available(worker_bulk_slots(t.w)), SLOTS);
	worker_bulk_close(t.w);
	assert_int_equal(frame_pool_available(t.w->frames), 2048);
	frame_pool_destroy(t.w->frames);
	for (int i = 0; i < 2; i++)
		buf_pool_destroy(t.pool[i]);
	free(t.memory);
	free(t.stage);
	free(t.w);
	assert_int_equal(vd_leaks(), 0);
	return 0;
}

static void told(void *arg, bool ok, const struct vqt_fence *fence, struct frame *f)
{
	assert_ptr_equal(arg, &t);
	t.done++;
	t.good += ok;
	t.fence = *fence;
	if (f)
		t.back = f;
}

static const struct vqt_bulk_end end = {told, &t};

static void poll(void)
{
	struct link_rx rx[8];

	for (int i = 0; i < 4; i++)
		t.w->verbs[0]->ops->recv(t.w->verbs[0], rx, 8);
}

/* A frame of two pieces behind a head of 10 bytes. */
static const struct vqt_lent lent = {
	.len = 9010, .head = 10, .n = 2, .key = {{REGION, 5000, 100}, {REGION, 4000, 200000}}};

static int fetch(struct frame *f, const struct vqt_lent *k, void **op)
{
	return t.door.ops->fetch(t.door.ctx, DEV, f, k, (const uint8_t *)"0123456789", &end, op);
}

static struct frame *fetched(void)
{
	struct frame *f = frame_get(t.w->frames);
	void *op;

	assert_int_equal(fetch(f, &lent, &op), 0);
	poll();
	assert_int_equal(t.good, 1);
	t.done = t.good = 0;
	return f;
}

static void expect_bytes(const struct frame *f)
{
	assert_int_equal(f->len, 9010);
	assert_int_equal(f->nseg, 1);
	assert_memory_equal(f->seg[0].data, "0123456789", 10);
	assert_memory_equal(f->seg[0].data + 10, t.memory + 100, 5000);
	assert_memory_equal(f->seg[0].data + 5010, t.memory + 200000, 4000);
}

static void a_frame_is_fetched_whole(void **state)
{
	struct frame *f = fetched();

	(void)state;
	expect_bytes(f);
	assert_false(list_empty(&t.s.marked));
	assert_int_equal(buf_pool_available(worker_bulk_slots(t.w)), SLOTS - 1);
	frame_put(f);
}

static void nothing_is_fetched_that_was_not_announced(void **state)
{
	static const struct vqt_lent bad[] = {
		{.len = 100, .n = 1, .key = {{REGION + 9, 100, 0}}},
		{.len = 100, .n = 1, .key = {{REGION, 100, MEMORY - 99}}},
		{.len = 100, .n = 1, .key = {{REGION, 100, UINT64_MAX - 50}}},
		{.len = 100, .n = 1, .key = {{REGION + 1, 100, 0}}}, /* the stage */
		{.len = 100, .n = 1, .key = {{1u << 31, 100, 0}}},   /* by its other name */
	};
	struct frame *f = frame_get(t.w->frames);
	unsigned before = vd_counts().posts;
	void *op;

	(void)state;
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(fetch(f, &bad[i], &op), -ENOTCONN);
	assert_int_equal(vd_counts().posts, before);
	assert_int_equal(f->nseg, 0);
	frame_put(f);
}

static int place(const struct frame *f, uint32_t pos, void **op)
{
	return t.door.ops->place(t.door.ctx, DEV, 0, pos, f, NULL, 0, &end, op);
}

/* From one guest's memory through a slot to the stage, over its end, and no processor touched it. */
static void what_was_fetched_is_placed_from_where_it_is(void **state)
{
	struct frame *f = fetched();
	void *op;

	(void)state;
	assert_int_equal(place(f, 3 * MEMORY - 6000, &op), 0);
	frame_put(f);
	poll();
	assert_int_equal(t.good, 1);
	assert_memory_equal(t.stage + MEMORY - 6000 + 10, t.memory + 100, 5000);
	assert_memory_equal(t.stage, t.memory + 200000 + 990, 3010);
	assert_int_equal(t.w->counters[WORKER_C_bulk_copied_bytes], 0);
}

static void what_lies_elsewhere_is_copied_once(void **state)
{
	struct frame *f = frame_get(t.w->frames);
	void *op;

	(void)state;
	frame_add(f, t.memory, 3000, NULL);
	frame_add(f, t.memory + 10000, 3000, NULL);
	assert_int_equal(place(f, 64, &op), 0);
	frame_put(f);
	poll();
	assert_int_equal(t.good, 1);
	assert_memory_equal(t.stage + 64, t.memory, 3000);
	assert_memory_equal(t.stage + 3064, t.memory + 10000, 3000);
	assert_int_equal(t.w->counters[WORKER_C_bulk_copied_bytes], 6000);
}

static void no_stage_no_placing(void **state)
{
	struct frame *f = fetched();
	void *op;

	(void)state;
	assert_int_equal(t.door.ops->place(t.door.ctx, DEV, 1, 0, f, NULL, 0, &end, &op), -ENOTCONN);
	assert_int_equal(t.door.ops->place(t.door.ctx, DEV + 1, 0, 0, f, NULL, 0, &end, &op), -ENOTCONN);
	frame_put(f);
}

/* Into the buffers of a guest, three of them; the bytes around them stay what they were. */
static void a_frame_is_placed_in_pieces(void **state)
{
	static const struct vqt_seg to[] = {
		{REGION, 9, 500001}, {REGION, 5001, 600000}, {REGION, 4000, 700000}};
	uint8_t *want = malloc(MEMORY);
	struct frame *f = fetched();
	void *op;

	(void)state;
	memcpy(want, t.memory, MEMORY);
	memcpy(want + 500001, f->seg[0].data, 9);
	memcpy(want + 600000, f->seg[0].data + 9, 5001);
	memcpy(want + 700000, f->seg[0].data + 5010, 4000);
	assert_int_equal(t.door.ops->place(t.door.ctx, DEV, 0, 0, f, to, 3, &end, &op), 0);
	frame_put(f);
	poll();
	assert_int_equal(t.good, 1);
	assert_memory_equal(t.memory, want, MEMORY);
	assert_int_equal(t.w->counters[WORKER_C_bulk_copied_bytes], 0);
	free(want);
}

static void nothing_is_placed_where_nothing_was_announced(void **state)
{
	static const struct vqt_seg bad[][2] = {
		{{REGION, 9000, 0}, {REGION + 9, 10, 0}},
		{{REGION, 9000, 0}, {REGION, 10, MEMORY - 9}},
		{{REGION, 10, 0}, {REGION, 9000, UINT64_MAX - 50}},
		{{REGION, 9000, 0}, {REGION + 1, 10, 0}}, /* the stage */
		{{REGION, 9000, 0}, {1u << 31, 10, 0}},	  /* by its other name */
	};
	struct frame *f = fetched();
	unsigned before = vd_counts().posts;
	void *op;

	(void)state;
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(t.door.ops->place(t.door.ctx, DEV, 0, 0, f, bad[i], 2, &end, &op),
				 -ENOTCONN);
	assert_int_equal(t.door.ops->place(t.door.ctx, DEV + 1, 0, 0, f, bad[0], 1, &end, &op), -ENOTCONN);
	assert_int_equal(vd_counts().posts, before);
	frame_put(f);
}

/* What could not be placed comes back, with what has to be fenced; a connection that is gone says so at once.
 */
static void a_move_that_fails_is_told_once(void **state)
{
	struct frame *f = fetched();
	void *op;

	(void)state;
	vd_fail_next(IBV_WC_RETRY_EXC_ERR);
	assert_int_equal(place(f, 0, &op), 0);
	frame_put(f);
	poll();
	assert_int_equal(t.done, 1);
	assert_int_equal(t.good, 0);
	assert_int_equal(t.fence.path, PATH);
	assert_true(t.fence.qpn != 0);
	assert_non_null(t.back);
	expect_bytes(t.back);
	assert_int_equal(place(t.back, 0, &op), -ENOTCONN);
	f = frame_get(t.w->frames);
	assert_int_equal(fetch(f, &lent, &op), -ENOTCONN);
	frame_put(f);
	/* Both again, over a fresh connection. */
	join();
	assert_int_equal(place(t.back, 0, &op), 0);
	poll();
	assert_int_equal(t.good, 1);
}

/* The adapter keeps what it may still touch; nobody is told. */
static void a_dropped_move_keeps_its_memory(void **state)
{
	struct frame *f = frame_get(t.w->frames);
	void *op;

	(void)state;
	vd_hold();
	assert_int_equal(fetch(f, &lent, &op), 0);
	t.door.ops->drop(t.door.ctx, op);
	frame_put(f);
	assert_int_equal(buf_pool_available(worker_bulk_slots(t.w)), SLOTS - 1);
	vd_release(1000);
	poll();
	assert_int_equal(t.done, 0);
	assert_int_equal(buf_pool_available(worker_bulk_slots(t.w)), SLOTS);
}

static void a_session_holds_half_at_most(void **state)
{
	static struct frame *f[SLOTS];
	unsigned n = 0;
	void *op;

	(void)state;
	vd_hold();
	while (n < SLOTS) {
		f[n] = frame_get(t.w->frames);
		if (fetch(f[n++], &lent, &op) == -EAGAIN)
			break;
	}
	assert_int_equal(n, SLOTS / 2 + 1);
	assert_false(list_empty(&t.s.starved));
	for (int i = 0; i < 400; i++) {
		vd_release(1000);
		vd_hold();
		poll();
	}
	vd_release(1000);
	poll();
	assert_int_equal(t.good, SLOTS / 2);
	worker_bulk_serve(t.w);
	assert_true(list_empty(&t.s.starved));
	while (n)
		frame_put(f[--n]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
		TEST(a_frame_is_fetched_whole),
		TEST(nothing_is_fetched_that_was_not_announced),
		TEST(what_was_fetched_is_placed_from_where_it_is),
		TEST(what_lies_elsewhere_is_copied_once),
		TEST(no_stage_no_placing),
		TEST(a_frame_is_placed_in_pieces),
		TEST(nothing_is_placed_where_nothing_was_announced),
		TEST(a_move_that_fails_is_told_once),
		TEST(a_dropped_move_keeps_its_memory),
		TEST(a_session_holds_half_at_most),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

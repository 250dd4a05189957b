/* SPDX-License-Identifier: Apache-2.0 */
/* The dirty log: each page that changes is marked, whatever the ring and the device; and logs that lie. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "fabric/base/rng.h"
#include "tests/lib/vhost_env.h"

#define NUM	 64
#define EVENT	 VIRTIO_RING_F_EVENT_IDX
#define INDIR	 VIRTIO_RING_F_INDIRECT
#define V1	 VIRTIO_F_VERSION_1
#define PACKED	 VIRTIO_F_RING_PACKED
#define ALL	 (EVENT | INDIR | V1 | PACKED)
#define PAGE	 VHOST_LOG_PAGE
#define PAGES	 (VFRONT_MEM / PAGE)
#define LOG	 (PAGES / 8)
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static uint8_t saved[32768] __attribute__((aligned(64)));
static const struct vhost_config blk = {.nqueues = 2, .queue_size = 256, .features = ALL};
static const struct vhost_config net = {
	.net = true, .nqueues = 2, .queue_size = 256, .features = ALL, .saved = saved};

static struct vhost_env env;
static struct vfront *const front = &env.front;
static struct vqt_chain c;
static uint8_t before[VFRONT_MEM];
static unsigned fds_before;

static void begin(const struct vhost_config *cfg, uint64_t features)
{
	fds_before = vhost_env_fds();
	memset(saved, 0, sizeof(saved));
	vhost_env_init(&env, cfg);
	vhost_env_run(&env, features, 2, NUM);
}

static void end(void)
{
	vhost_env_fini(&env);
	assert_int_equal(vhost_env_fds(), fds_before);
}

static uint64_t counter(enum vhost_counter which)
{
	return vhost_counters(env.v)[which];
}

static unsigned marked(void)
{
	unsigned n = 0;

	for (uint64_t i = 0; i < front->log_len; i++)
		n += (unsigned)__builtin_popcount(front->log[i]);
	return n;
}

/* What the guest itself writes is no business of the log's: look at what the device does alone. */
static void look(void)
{
	memcpy(before, front->mem, VFRONT_MEM);
	memset(front->log, 0, front->log_len);
}

static void each_change_is_marked(void)
{
	for (uint64_t at = 0; at < VFRONT_MEM; at += PAGE)
		if (memcmp(before + at, front->mem + at, PAGE))
			assert_true(vfront_log_dirty(front, at));
}

static void take_and_fill(struct vhost_ring *ring)
{
	assert_int_equal(vhost_ring_ops.pop(ring, &c), 1);
	for (unsigned i = c.nout; i < (unsigned)c.nout + c.nin; i++)
		memset(c.iov[i].iov_base, 0xd7, c.iov[i].iov_len);
}

/* Buffers anywhere, over the middle of memory where one descriptor is two pieces, in both queues. */
static void random_bursts(uint64_t features)
{
	struct rng r;

	rng_init(&r, features);
	for (unsigned burst = 0; burst < 40; burst++) {
		unsigned q = (unsigned)rng_below(&r, 2), n = 1 + (unsigned)rng_below(&r, 8);
		uint32_t head, len;

		front->brk = 0x80000;
		for (unsigned i = 0; i < n; i++) {
			struct vfront_seg s[3];
			bool spread = rng_chance(&r, 500000);

			for (unsigned k = 0; k < 3; k++)
				s[k] = (struct vfront_seg){
					0x100000 + rng_below(&r, VFRONT_MEM - 0x100000 - 20000),
					12 + (uint32_t)rng_below(&r, spread ? 12 : 20000)};
			if (rng_chance(&r, 100000))
				s[2].gpa = VFRONT_MEM / 2 - 6;
			vfront_add(front, q, s, 1, 2, features & INDIR && rng_chance(&r, 500000));
		}
		look();
		for (unsigned i = 0; i < n; i++) {
			take_and_fill(vhost_ring(env.v, q));
			vhost_ring_ops.push(vhost_ring(env.v, q), &c, c.in_len);
		}
		vhost_ring_ops.flush(vhost_ring(env.v, q));
		assert_int_equal(vhost_ring_ops.pop(vhost_ring(env.v, q), &c), 0);
		each_change_is_marked();
		assert_true(marked() > 0);
		while (vfront_used(front, q, &head, &len))
			;
	}
}

static void each_ring_and_device__marks_all_that_changes(void **state)
{
	static const uint64_t features[] = {0, V1, EVENT | V1, INDIR | V1, EVENT | INDIR | V1};

	(void)state;
	for (unsigned i = 0; i < 4 * COUNT(features); i++) {
		uint64_t f = features[i % COUNT(features)] | (i % 2 ? PACKED : 0);

		begin(i / COUNT(features) % 2 ? &net : &blk, f);
		assert_int_equal(front->features & PACKED, f & PACKED);
		vfront_log_set(front, LOG);
		vfront_log_run(front, true);
		random_bursts(f);
		assert_int_equal(counter(VHOST_C_pages_beyond_log), 0);
		end();
	}
}

/* No more than what was written: a whole buffer's pages would be a migration that does not end. */
static void a_short_frame__marks_its_page_and_the_ring(void **state)
{
	struct vfront_seg s = {0x200000, 65536};

	(void)state;
	for (unsigned packed = 0; packed < 2; packed++) {
		begin(&net, V1 | (packed ? PACKED : 0));
		vfront_log_set(front, LOG);
		vfront_log_run(front, true);
		vfront_add(front, 0, &s, 0, 1, false);
		look();
		take_and_fill(vhost_ring(env.v, 0));
		vhost_ring_ops.push(vhost_ring(env.v, 0), &c, 100);
		vhost_ring_ops.flush(vhost_ring(env.v, 0));
		assert_true(vfront_log_dirty(front, 0x200000));
		assert_true(vfront_log_dirty(front, 0x8000));
		assert_int_equal(vfront_log_dirty(front, 0), packed);
		assert_int_equal(marked(), packed ? 3 : 2);
		end();
	}
}

/* The used ring lies over the end of a page, as a guest's may: flags and index; elements; avail_event. */
static void parts_of_the_used_ring__are_marked_each(void **state)
{
	const uint64_t page = 0x300000;
	struct vhost_vring_addr a = {.index = 0,
				     .flags = VHOST_VRING_F_LOG,
				     .desc_uva = vfront_uva(0),
				     .avail_uva = vfront_uva(0x4000),
				     .used_uva = vfront_uva(0x8000)};

	(void)state;
	begin(&blk, EVENT | V1);
	vfront_log_set(front, LOG);
	a.log = page - sizeof(struct vring_used);
	assert_int_equal(vfront_tell(front, VHOST_SET_VRING_ADDR, &a, sizeof(a), NULL, 0), 0);
	vfront_add1(front, 0, 0x100000, 16, 0x200000, 16);
	take_and_fill(vhost_ring(env.v, 0));
	look();
	vhost_ring_ops.push(vhost_ring(env.v, 0), &c, 16);
	assert_true(vfront_log_dirty(front, page) && marked() == 1);
	look();
	vhost_ring_ops.flush(vhost_ring(env.v, 0));
	assert_true(vfront_log_dirty(front, page - 1) && marked() == 1);
	a.log = page - sizeof(struct vring_used) - NUM * sizeof(struct vring_used_elem);
	assert_int_equal(vfront_tell(front, VHOST_SET_VRING_ADDR, &a, sizeof(a), NULL, 0), 0);
	look();
	assert_int_equal(vhost_ring_ops.pop(vhost_ring(env.v, 0), &c), 0);
	assert_true(vfront_log_dirty(front, page) && marked() == 1);
	end();
}

/* A disk that answers with its status alone: the last byte, wherever it is. */
static void a_status__is_marked_where_it_is(void **state)
{
	struct vfront_seg s[3] = {{0x100000, 16}, {0x200000, 3 * PAGE}, {0x300000, 1}};

	(void)state;
	begin(&blk, V1);
	vfront_log_set(front, LOG);
	vfront_log_run(front, true);
	vfront_add(front, 0, s, 1, 2, false);
	look();
	assert_int_equal(vhost_ring_ops.pop(vhost_ring(env.v, 0), &c), 1);
	*(uint8_t *)c.iov[c.nout + c.nin - 1].iov_base = 1;
	vhost_ring_ops.push(vhost_ring(env.v, 0), &c, 1);
	each_change_is_marked();
	assert_true(vfront_log_dirty(front, 0x300000));
	end();
}

static void nothing_is_marked__before_it_is_asked_for_and_after(void **state)
{
	(void)state;
	begin(&blk, EVENT | V1);
	vfront_log_set(front, LOG);
	for (unsigned turn = 0; turn < 3; turn++) {
		if (turn)
			vfront_log_run(front, turn == 1);
		vfront_add1(front, 0, 0x100000, 16, 0x200000, 16);
		look();
		take_and_fill(vhost_ring(env.v, 0));
		vhost_ring_ops.push(vhost_ring(env.v, 0), &c, 16);
		vhost_ring_ops.flush(vhost_ring(env.v, 0));
		assert_int_equal(marked(), turn == 1 ? 2 : 0);
	}
	assert_string_equal(vhost_env_log(&env),
			    "reply 6; reply 2; reply 9; reply 9; reply 2; reply 9; reply 9; ");
	end();
}

/* What a running ring may not change is refused as before. */
static void other_features__wait_for_the_rings(void **state)
{
	uint64_t f;

	(void)state;
	begin(&blk, EVENT | V1);
	f = (front->features | VHOST_F_LOG_ALL) & ~EVENT;
	assert_int_equal(vfront_tell(front, VHOST_SET_FEATURES, &f, 8, NULL, 0), 1);
	assert_string_equal(vhost_env_log(&env), "reply 2; ");
	end();
}

/* The front-end enlarges its log when memory is added: the old one gets no mark more. */
static void a_new_log__takes_over(void **state)
{
	uint8_t *old;
	int fd;

	(void)state;
	begin(&blk, V1);
	vfront_log_set(front, LOG);
	vfront_log_run(front, true);
	fd = dup(front->log_fd);
	old = mmap(NULL, LOG, PROT_READ, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(old, MAP_FAILED);
	vfront_log_set(front, 2 * LOG);
	memset(before, 0, LOG);
	vfront_add1(front, 0, 0x100000, 16, 0x200000, 16);
	look();
	take_and_fill(vhost_ring(env.v, 0));
	vhost_ring_ops.push(vhost_ring(env.v, 0), &c, 16);
	assert_true(vfront_log_dirty(front, 0x200000));
	assert_int_equal(old[0x200000 / PAGE / 8], 0);
	munmap(old, LOG);
	close(fd);
	end();
}

/* Seventeen bytes are told, and the file has a page: not a bit behind them is touched. */
static void a_log_too_short__is_counted_and_not_passed(void **state)
{
	struct vhost_log_desc d = {17, 8};
	uint8_t *file;
	int fd = memfd_create("log", MFD_CLOEXEC);

	(void)state;
	assert_true(fd >= 0 && !ftruncate(fd, PAGE));
	file = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(file, MAP_FAILED);
	begin(&blk, V1);
	fds_before--; /* the one at hand goes first */
	assert_int_equal(vfront_send(front, VHOST_SET_LOG_BASE, 0, &d, sizeof(d), &fd, 1), 0);
	env.reply_len = 0;
	close(fd);
	vfront_log_run(front, true);
	for (uint64_t gpa = 0x80000; gpa < VFRONT_MEM; gpa += 8 * PAGE) {
		vfront_add1(front, 0, 0x40000, 16, gpa, PAGE);
		take_and_fill(vhost_ring(env.v, 0));
		vhost_ring_ops.push(vhost_ring(env.v, 0), &c, PAGE);
		vhost_ring_ops.flush(vhost_ring(env.v, 0));
	}
	assert_true(counter(VHOST_C_pages_beyond_log) > 50);
	for (unsigned i = 0; i < PAGE; i++)
		assert_true(i >= 8 && i < 8 + 17 ? true : !file[i]);
	assert_int_equal(file[8 + 16] & 1, 1);
	munmap(file, PAGE);
	end();
}

/* An address for the used ring that no page number holds. */
static void used_ring_logged_at_the_end_of_all__marks_nothing_wrong(void **state)
{
	static const uint64_t at[] = {UINT64_MAX, UINT64_MAX - 5, UINT64_MAX - 4096, 1ull << 63,
				      VFRONT_MEM - 1};

	(void)state;
	for (unsigned i = 0; i < COUNT(at); i++) {
		struct vhost_vring_addr a = {.index = 0,
					     .flags = VHOST_VRING_F_LOG,
					     .desc_uva = vfront_uva(0),
					     .avail_uva = vfront_uva(0x4000),
					     .used_uva = vfront_uva(0x8000),
					     .log = at[i]};

		begin(&blk, V1);
		vfront_log_set(front, LOG);
		assert_int_equal(vfront_tell(front, VHOST_SET_VRING_ADDR, &a, sizeof(a), NULL, 0), 0);
		vfront_add1(front, 0, 0x100000, 16, 0x200000, 16);
		take_and_fill(vhost_ring(env.v, 0));
		vhost_ring_ops.push(vhost_ring(env.v, 0), &c, 16);
		vhost_ring_ops.flush(vhost_ring(env.v, 0));
		assert_int_equal(marked(), at[i] == VFRONT_MEM - 1 ? 1 : 0);
		end();
	}
}

static void logs_that_lie__cost_the_connection(void **state)
{
	static const struct vhost_log_desc lies[] = {{0, 0},	      {PAGE + 1, 0},
						     {PAGE, 1},	      {UINT64_MAX, 1},
						     {1, UINT64_MAX}, {UINT64_MAX, UINT64_MAX},
						     {1ull << 62, 0}, {16, PAGE}};
	int fd, pipes[2];

	(void)state;
	for (unsigned i = 0; i < COUNT(lies); i++) {
		begin(&blk, V1);
		fd = memfd_create("log", MFD_CLOEXEC);
		assert_true(fd >= 0 && !ftruncate(fd, PAGE));
		assert_int_equal(vfront_send(front, VHOST_SET_LOG_BASE, 0, &lies[i], sizeof(lies[i]), &fd, 1),
				 -1);
		close(fd);
		end();
	}
	begin(&blk, V1);
	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(vfront_send(front, VHOST_SET_LOG_BASE, 0, &lies[1], 16, pipes, 1), -1);
	assert_int_equal(vfront_send(front, VHOST_SET_LOG_BASE, 0, &lies[1], 16, pipes, 2), -1);
	assert_int_equal(vfront_send(front, VHOST_SET_LOG_BASE, 0, &lies[1], 16, NULL, 0), -1);
	assert_int_equal(vfront_send(front, VHOST_SET_LOG_BASE, 0, &lies[1], 8, pipes, 1), -1);
	assert_int_equal(vfront_send(front, VHOST_SET_LOG_FD, 0, NULL, 0, pipes, 1), -1);
	assert_int_equal(vfront_send(front, VHOST_SET_LOG_FD, 0, NULL, 0, NULL, 0), -1);
	close(pipes[0]);
	close(pipes[1]);
	end();
}

static void a_log_that_shrinks__costs_its_device_alone(void **state)
{
	(void)state;
	begin(&blk, V1);
	vfront_log_set(front, LOG);
	vfront_log_run(front, true);
	vfront_add1(front, 0, 0x100000, 16, 0x200000, 16);
	take_and_fill(vhost_ring(env.v, 0));
	vhost_env_log(&env);
	assert_int_equal(ftruncate(front->log_fd, 0), 0);
	vhost_ring_ops.push(vhost_ring(env.v, 0), &c, 16);
	vhost_ring_ops.flush(vhost_ring(env.v, 0));
	assert_int_equal(vhost_ring_ops.pop(vhost_ring(env.v, 0), &c), -EBADMSG);
	assert_string_equal(vhost_env_log(&env), "fault; broken 0 guest memory vanished; ");
	end();
}

static void the_log_descriptor__hears_once_of_a_burst(void **state)
{
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	uint64_t n = 0;

	(void)state;
	assert_true(fd >= 0);
	begin(&blk, V1);
	fds_before--;
	vfront_log_set(front, LOG);
	assert_int_equal(vfront_tell(front, VHOST_SET_LOG_FD, NULL, 0, &fd, 1), 0);
	assert_int_equal(vfront_tell(front, VHOST_SET_LOG_FD, NULL, 0, &fd, 1), 0);
	vfront_log_run(front, true);
	for (unsigned i = 0; i < 5; i++) {
		vfront_add1(front, 0, 0x100000, 16, 0x200000, 16);
		take_and_fill(vhost_ring(env.v, 0));
		vhost_ring_ops.push(vhost_ring(env.v, 0), &c, 16);
	}
	vhost_ring_ops.flush(vhost_ring(env.v, 0));
	vhost_ring_ops.flush(vhost_ring(env.v, 0));
	assert_int_equal(read(fd, &n, sizeof(n)), sizeof(n));
	assert_int_equal(n, 1);
	close(fd);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_ring_and_device__marks_all_that_changes),
		cmocka_unit_test(a_short_frame__marks_its_page_and_the_ring),
		cmocka_unit_test(parts_of_the_used_ring__are_marked_each),
		cmocka_unit_test(a_status__is_marked_where_it_is),
		cmocka_unit_test(nothing_is_marked__before_it_is_asked_for_and_after),
		cmocka_unit_test(other_features__wait_for_the_rings),
		cmocka_unit_test(a_new_log__takes_over),
		cmocka_unit_test(a_log_too_short__is_counted_and_not_passed),
		cmocka_unit_test(used_ring_logged_at_the_end_of_all__marks_nothing_wrong),
		cmocka_unit_test(logs_that_lie__cost_the_connection),
		cmocka_unit_test(a_log_that_shrinks__costs_its_device_alone),
		cmocka_unit_test(the_log_descriptor__hears_once_of_a_burst),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

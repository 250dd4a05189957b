/* SPDX-License-Identifier: Apache-2.0 */
/* Life of a queue: what starts it, what stops it, and what waits for the drain. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/lib/vhost_env.h"

#define RINGS (VIRTIO_RING_F_EVENT_IDX | VIRTIO_RING_F_INDIRECT | VIRTIO_F_VERSION_1)
#define PF    VHOST_F_PROTOCOL_FEATURES

static const struct vhost_config blk = {.nqueues = 4, .queue_size = 256, .features = RINGS};
static const struct vhost_config net = {.net = true, .nqueues = 4, .queue_size = 256, .features = RINGS};

static struct vhost_env env;
static unsigned fds_before;

static int setup(void **state)
{
	(void)state;
	fds_before = vhost_env_fds();
	vhost_env_init(&env, &blk);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	vhost_env_fini(&env);
	assert_int_equal(vhost_env_fds(), fds_before);
	return 0;
}

static void tell_state(uint32_t request, uint32_t q, uint32_t num)
{
	struct vhost_vring_state s = {q, num};

	assert_int_equal(vfront_send(&env.front, request, 0, &s, sizeof(s), NULL, 0), 0);
}

static void start__needs_kick_and_enable_of_this_queue_alone(void **state)
{
	(void)state;
	vfront_negotiate(&env.front, RINGS | PF, 0);
	assert_int_equal(vfront_mem_table(&env.front), 0);
	vhost_env_log(&env);
	vfront_queue_up(&env.front, 2, 64, true);
	assert_string_equal(vhost_env_log(&env), "watch 2; start 2; ");
	assert_int_equal(vfront_calls(&env.front, 2), 1);
}

static void start__without_protocol_features_needs_no_enable(void **state)
{
	(void)state;
	vfront_negotiate(&env.front, RINGS, 0);
	assert_int_equal(vfront_mem_table(&env.front), 0);
	vfront_queue_up(&env.front, 0, 64, true);
	assert_string_equal(vhost_env_log(&env), "reply 1; features 130000000; watch 0; start 0; ");
}

static void start__signals_once_when_the_call_comes_late(void **state)
{
	uint64_t u = 0;

	(void)state;
	vfront_negotiate(&env.front, RINGS, 0);
	vfront_mem_table(&env.front);
	/* queue_up() sends KICK, which starts the queue, before CALL. */
	vfront_queue_up(&env.front, 0, 64, true);
	assert_int_equal(vfront_calls(&env.front, 0), 1);
	/* A vector masked or unmasked later swaps the descriptor and nothing else. */
	vhost_env_log(&env);
	assert_int_equal(vfront_send(&env.front, VHOST_SET_VRING_CALL, 0, &u, 8, &env.front.q[0].call, 1), 0);
	assert_string_equal(vhost_env_log(&env), "");
	assert_int_equal(vfront_calls(&env.front, 0), 0);
	u = VHOST_VRING_NOFD;
	assert_int_equal(vfront_send(&env.front, VHOST_SET_VRING_CALL, 0, &u, 8, NULL, 0), 0);
}

static void stop__answers_after_the_drain(void **state)
{
	struct vhost_vring_state s = {0, 0}, got;
	struct vqt_chain c;
	int fd;

	(void)state;
	vhost_env_run(&env, RINGS, 1, 64);
	vfront_add1(&env.front, 0, vfront_alloc(&env.front, 64, 1), 64, 0, 0);
	assert_int_equal(vhost_ring_ops.pop(vhost_ring(env.v, 0), &c), 1);
	assert_int_equal(vfront_send(&env.front, VHOST_GET_VRING_BASE, 0, &s, sizeof(s), NULL, 0), 0);
	assert_string_equal(vhost_env_log(&env), "unwatch 0; stop 0; ");
	assert_true(vhost_blocked(env.v));
	assert_int_equal(vhost_ring_ops.pop(vhost_ring(env.v, 0), &c), 0);
	vhost_ring_ops.push(vhost_ring(env.v, 0), &c, 0);
	vhost_drained(env.v, 1);
	vhost_drained(env.v, 77);
	assert_true(vhost_blocked(env.v));
	vhost_drained(env.v, 0);
	assert_false(vhost_blocked(env.v));
	assert_string_equal(vhost_env_log(&env), "reply 11; ");
	assert_true(env.front.wire.recv(&env, &env.log, sizeof(env.log), &fd) == 20);
	memcpy(&got, env.log + VHOST_HDR_LEN, sizeof(got));
	env.log[0] = '\0';
	assert_int_equal(got.num, 1);
	/* What was pushed is visible, flushed or not. */
	assert_int_equal(env.front.q[0].used->idx, 1);
	vhost_drained(env.v, 0);
	assert_string_equal(vhost_env_log(&env), "");
}

static void stop__of_a_queue_that_never_ran_gives_its_base_back(void **state)
{
	(void)state;
	vfront_negotiate(&env.front, RINGS | PF, 0);
	tell_state(VHOST_SET_VRING_BASE, 3, 77);
	assert_int_equal(vfront_queue_down(&env.front, 3), 77);
}

static void stop__needs_a_new_kick_to_start_again(void **state)
{
	struct vhost_vring_state s = {1, 0};

	(void)state;
	vhost_env_run(&env, RINGS, 2, 64);
	assert_int_equal(vfront_send(&env.front, VHOST_GET_VRING_BASE, 0, &s, sizeof(s), NULL, 0), 0);
	vhost_drained(env.v, 1);
	env.reply_len = 0;
	vhost_env_log(&env);
	tell_state(VHOST_SET_VRING_ENABLE, 1, 1);
	assert_string_equal(vhost_env_log(&env), "");
	vfront_queue_up(&env.front, 1, 128, true);
	assert_non_null(strstr(vhost_env_log(&env), "start 1; "));
}

static void enable__off_and_on_while_draining_starts_again(void **state)
{
	struct vqt_chain c;

	(void)state;
	vhost_env_run(&env, RINGS, 1, 64);
	vfront_add1(&env.front, 0, vfront_alloc(&env.front, 64, 1), 64, 0, 0);
	assert_int_equal(vhost_ring_ops.pop(vhost_ring(env.v, 0), &c), 1);
	tell_state(VHOST_SET_VRING_ENABLE, 0, 0);
	assert_string_equal(vhost_env_log(&env), "stop 0; ");
	assert_false(vhost_blocked(env.v)); /* no reply hangs on it */
	tell_state(VHOST_SET_VRING_ENABLE, 0, 1);
	assert_string_equal(vhost_env_log(&env), "");
	vhost_drained(env.v, 0);
	assert_string_equal(vhost_env_log(&env), "start 0; ");
	/* The chain that was given up is there again. */
	assert_int_equal(vhost_ring_ops.pop(vhost_ring(env.v, 0), &c), 1);
	assert_int_equal(c.out_len, 64);
}

static void running__refuses_to_be_moved(void **state)
{
	struct vhost_vring_state s = {0, 32};
	struct vhost_vring_addr a = {.index = 0, .desc_uva = vfront_uva(0x1000)};
	uint64_t f = VIRTIO_F_VERSION_1;

	(void)state;
	vhost_env_run(&env, RINGS, 1, 64);
	assert_int_equal(vfront_tell(&env.front, VHOST_SET_VRING_NUM, &s, sizeof(s), NULL, 0), 1);
	assert_int_equal(vfront_tell(&env.front, VHOST_SET_VRING_BASE, &s, sizeof(s), NULL, 0), 1);
	assert_int_equal(vfront_tell(&env.front, VHOST_SET_VRING_ADDR, &a, sizeof(a), NULL, 0), 1);
	assert_int_equal(vfront_tell(&env.front, VHOST_SET_FEATURES, &f, sizeof(f), NULL, 0), 1);
	/* The same features again are what QEMU sends for each queue pair. */
	assert_int_equal(vfront_tell(&env.front, VHOST_SET_FEATURES, &env.front.features, 8, NULL, 0), 0);
	assert_null(strstr(vhost_env_log(&env), "stop"));
}

static void memory__new_table_keeps_buffers_in_flight(void **state)
{
	uint64_t at = vfront_alloc(&env.front, 64, 1);
	struct vqt_chain c, d;

	(void)state;
	vhost_env_run(&env, RINGS, 1, 64);
	memset(vfront_ptr(&env.front, at), 'x', 64);
	vfront_add1(&env.front, 0, at, 64, 0, 0);
	assert_int_equal(vhost_ring_ops.pop(vhost_ring(env.v, 0), &c), 1);
	assert_int_equal(vfront_mem_table(&env.front), 0);
	assert_memory_equal(c.iov[0].iov_base, vfront_ptr(&env.front, at), 64); /* still mapped */
	vfront_add1(&env.front, 0, at, 32, 0, 0);
	assert_int_equal(vhost_ring_ops.pop(vhost_ring(env.v, 0), &d), 1);
	assert_true(c.iov[0].iov_base != d.iov[0].iov_base);
	vhost_ring_ops.push(vhost_ring(env.v, 0), &c, 0);
	vhost_ring_ops.push(vhost_ring(env.v, 0), &d, 0);
	vhost_ring_ops.flush(vhost_ring(env.v, 0));
	assert_int_equal(env.front.q[0].used->idx, 2);
}

static void memory__new_table_without_the_ring_breaks_it(void **state)
{
	struct vhost_mem_desc d = {1, 0, {{VFRONT_MEM / 2, 4096, vfront_uva(VFRONT_MEM / 2), 0}}};
	struct vqt_chain c;

	(void)state;
	vhost_env_run(&env, RINGS, 1, 64);
	assert_int_equal(vfront_tell(&env.front, VHOST_SET_MEM_TABLE, &d, 40, &env.front.memfd, 1), 0);
	assert_string_equal(vhost_env_log(&env), "broken 0 ring outside the new memory table; reply 5; ");
	assert_int_equal(vhost_ring_ops.pop(vhost_ring(env.v, 0), &c), -EBADMSG);
}

static void ring__outside_memory_does_not_start_but_can_be_mended(void **state)
{
	struct vhost_vring_addr a = {.index = 0, .desc_uva = 16, .avail_uva = 2, .used_uva = 4};
	struct vqt_chain c;

	(void)state;
	vhost_env_run(&env, RINGS, 1, 64);
	vfront_send(&env.front, VHOST_GET_VRING_BASE, 0, &(struct vhost_vring_state){0, 0}, 8, NULL, 0);
	vhost_drained(env.v, 0);
	env.reply_len = 0;
	assert_int_equal(vfront_tell(&env.front, VHOST_SET_VRING_ADDR, &a, sizeof(a), NULL, 0), 0);
	assert_int_equal(
		vfront_tell(&env.front, VHOST_SET_VRING_KICK, &(uint64_t){0}, 8, &env.front.q[0].kick, 1), 0);
	assert_non_null(strstr(vhost_env_log(&env), "broken 0 ring outside guest memory; "));
	assert_int_equal(vhost_ring_ops.pop(vhost_ring(env.v, 0), &c), -EBADMSG);
	vfront_queue_up(&env.front, 0, 64, true);
	assert_non_null(strstr(vhost_env_log(&env), "start 0; "));
	assert_int_equal(vhost_ring_ops.pop(vhost_ring(env.v, 0), &c), 0);
}

static void ring__alignment_is_checked(void **state)
{
	static const struct vhost_vring_addr bad[] = {
		{.desc_uva = VFRONT_UVA + 8,
		 .avail_uva = VFRONT_UVA + 0x4000,
		 .used_uva = VFRONT_UVA + 0x8000},
		{.desc_uva = VFRONT_UVA, .avail_uva = VFRONT_UVA + 0x4001, .used_uva = VFRONT_UVA + 0x8000},
		{.desc_uva = VFRONT_UVA, .avail_uva = VFRONT_UVA + 0x4000, .used_uva = VFRONT_UVA + 0x8002},
	};
	struct vhost_vring_state s = {0, 64};

	(void)state;
	vfront_negotiate(&env.front, RINGS, 0);
	vfront_mem_table(&env.front);
	assert_int_equal(vfront_send(&env.front, VHOST_SET_VRING_NUM, 0, &s, sizeof(s), NULL, 0), 0);
	env.front.q[0].kick = eventfd(0, EFD_CLOEXEC);
	assert_int_equal(
		vfront_send(&env.front, VHOST_SET_VRING_KICK, 0, &(uint64_t){0}, 8, &env.front.q[0].kick, 1),
		0);
	for (int i = 0; i < 3; i++) {
		vhost_env_log(&env);
		assert_int_equal(
			vfront_send(&env.front, VHOST_SET_VRING_ADDR, 0, &bad[i], sizeof(bad[i]), NULL, 0),
			0);
		assert_string_equal(vhost_env_log(&env), "broken 0 ring outside guest memory; ");
	}
}

static void disconnect__leaves_nothing(void **state)
{
	struct vqt_chain c;

	(void)state;
	vhost_env_run(&env, RINGS, 3, 64);
	vfront_add1(&env.front, 0, vfront_alloc(&env.front, 64, 1), 64, 0, 0);
	assert_int_equal(vhost_ring_ops.pop(vhost_ring(env.v, 0), &c), 1);
	vhost_disconnect(env.v);
	assert_string_equal(vhost_env_log(&env), "unwatch 0; unwatch 1; unwatch 2; ");
	/* Calls with what the layer above still holds do nothing. */
	vhost_ring_ops.push(vhost_ring(env.v, 0), &c, 0);
	vhost_ring_ops.unpop(vhost_ring(env.v, 0), 5);
	vhost_ring_ops.flush(vhost_ring(env.v, 0));
	assert_int_equal(vhost_ring_ops.pop(vhost_ring(env.v, 0), &c), 0);
	/* And the next front-end starts from nothing. */
	env.front.proto = 0;
	vhost_env_run(&env, RINGS, 3, 64);
	assert_int_equal(vhost_ring_ops.pop(vhost_ring(env.v, 0), &c), 0);
}

static void create__refuses_bad_configurations(void **state)
{
	struct vhost_config bad[] = {
		{.nqueues = 0, .queue_size = 64},
		{.nqueues = VHOST_QUEUES_MAX + 1, .queue_size = 64},
		{.nqueues = 1, .queue_size = 0},
		{.nqueues = 1, .queue_size = 96},
		{.nqueues = 1, .queue_size = 2048},
		{.net = true, .nqueues = 3, .queue_size = 64},
		{.nqueues = 1, .queue_size = 64, .features = VHOST_F_LOG_ALL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_null(vhost_create(&bad[i], &vhost_sys_linux, NULL, NULL, NULL));
	vhost_destroy(NULL);
	vhost_destroy(vhost_create(&net, &vhost_sys_linux, NULL, NULL, NULL));
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(start__needs_kick_and_enable_of_this_queue_alone),
		T(start__without_protocol_features_needs_no_enable),
		T(start__signals_once_when_the_call_comes_late),
		T(stop__answers_after_the_drain),
		T(stop__of_a_queue_that_never_ran_gives_its_base_back),
		T(stop__needs_a_new_kick_to_start_again),
		T(enable__off_and_on_while_draining_starts_again),
		T(running__refuses_to_be_moved),
		T(memory__new_table_keeps_buffers_in_flight),
		T(memory__new_table_without_the_ring_breaks_it),
		T(ring__outside_memory_does_not_start_but_can_be_mended),
		T(ring__alignment_is_checked),
		T(disconnect__leaves_nothing),
		cmocka_unit_test(create__refuses_bad_configurations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

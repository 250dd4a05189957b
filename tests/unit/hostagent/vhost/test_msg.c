/* SPDX-License-Identifier: Apache-2.0 */
/* Messages: what each one gives, and what happens to those that do not fit. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "fabric/base/rng.h"
#include "tests/lib/vhost_env.h"

#define RINGS (VIRTIO_RING_F_EVENT_IDX | VIRTIO_RING_F_INDIRECT | VIRTIO_F_VERSION_1)
#define PF    VHOST_F_PROTOCOL_FEATURES

static const struct vhost_config blk = {.nqueues = 4, .queue_size = 256, .features = RINGS};
static const struct vhost_config net = {
	.net = true, .nqueues = 4, .queue_size = 256, .mtu = 9000, .features = RINGS};

static struct vhost_env env;
static unsigned fds_before;

static int setup_blk(void **state)
{
	(void)state;
	fds_before = vhost_env_fds();
	vhost_env_init(&env, &blk);
	return 0;
}

static int setup_net(void **state)
{
	(void)state;
	fds_before = vhost_env_fds();
	vhost_env_init(&env, &net);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	vhost_env_fini(&env);
	assert_int_equal(vhost_env_fds(), fds_before);
	return 0;
}

static void features__offers_and_takes_a_subset(void **state)
{
	uint64_t f = RINGS | 1;

	(void)state;
	assert_int_equal(vfront_ask_u64(&env.front, VHOST_GET_FEATURES), RINGS | PF | VHOST_F_LOG_ALL);
	assert_int_equal(vfront_send(&env.front, VHOST_SET_FEATURES, 0, &f, 8, NULL, 0), -1);
	assert_int_equal(env.error, -EINVAL);
	f = VIRTIO_F_VERSION_1 | PF;
	assert_int_equal(vfront_send(&env.front, VHOST_SET_FEATURES, 0, &f, 8, NULL, 0), 0);
	assert_string_equal(vhost_env_log(&env), "reply 1; features 100000000; ");
}

static void protocol_features__are_those_of_the_kind(void **state)
{
	uint64_t f = 1ull << 2;

	(void)state;
	/* MQ, LOG_SHMFD, REPLY_ACK, BACKEND_REQ, CONFIG, INFLIGHT_SHMFD */
	assert_int_equal(vfront_ask_u64(&env.front, VHOST_GET_PROTOCOL_FEATURES), 0x122b);
	assert_int_equal(vfront_send(&env.front, VHOST_SET_PROTOCOL_FEATURES, 0, &f, 8, NULL, 0), -1);
}

static void protocol_features__of_a_nic(void **state)
{
	(void)state;
	/* MQ, LOG_SHMFD, RARP, REPLY_ACK, MTU, BACKEND_REQ */
	assert_int_equal(vfront_ask_u64(&env.front, VHOST_GET_PROTOCOL_FEATURES), 0x3f);
}

static void queue_num__counts_rings_or_pairs(void **state)
{
	(void)state;
	vfront_negotiate(&env.front, RINGS | PF, VHOST_PF_MQ);
	assert_int_equal(vfront_ask_u64(&env.front, VHOST_GET_QUEUE_NUM), 4);
	vhost_env_restart(&env, &net);
	vfront_negotiate(&env.front, RINGS | PF, VHOST_PF_MQ);
	assert_int_equal(vfront_ask_u64(&env.front, VHOST_GET_QUEUE_NUM), 2);
}

static void needs_feature__is_unknown_without(void **state)
{
	(void)state;
	vfront_negotiate(&env.front, RINGS | PF, 0);
	assert_int_equal(vfront_send(&env.front, VHOST_GET_QUEUE_NUM, 0, NULL, 0, NULL, 0), -1);
	assert_int_equal(env.error, -EOPNOTSUPP);
}

static void unknown__is_answered_when_asked_else_fatal(void **state)
{
	uint64_t x = 0;

	(void)state;
	vfront_negotiate(&env.front, RINGS | PF, VHOST_PF_REPLY_ACK);
	assert_int_equal(vfront_tell(&env.front, 40, &x, 8, NULL, 0), 1);
	assert_int_equal(vfront_tell(&env.front, 0, NULL, 0, NULL, 0), 1);
	assert_int_equal(vfront_tell(&env.front, 12345678, NULL, 0, NULL, 0), 1);
	assert_int_equal(vfront_send(&env.front, 40, 0, &x, 8, NULL, 0), -1);
	/* NEED_REPLY means nothing before REPLY_ACK was negotiated. */
	vhost_env_restart(&env, &blk);
	assert_int_equal(vfront_send(&env.front, 40, VHOST_FLAG_NEED_REPLY, &x, 8, NULL, 0), -1);
}

static void header__must_be_right(void **state)
{
	struct vhost_hdr h = {VHOST_GET_FEATURES, VHOST_FLAG_VERSION, 0};

	(void)state;
	assert_int_equal(vhost_message(env.v, &h, 11, NULL, 0), -EPROTO);
	h.size = 1;
	assert_int_equal(vhost_message(env.v, &h, sizeof(h), NULL, 0), -EPROTO);
	h = (struct vhost_hdr){VHOST_GET_FEATURES, 2, 0};
	assert_int_equal(vhost_message(env.v, &h, sizeof(h), NULL, 0), -EPROTO);
	h.flags = VHOST_FLAG_VERSION | VHOST_FLAG_REPLY;
	assert_int_equal(vhost_message(env.v, &h, sizeof(h), NULL, 0), -EPROTO);
	assert_string_equal(vhost_env_log(&env), "");
}

static void config__answers_any_size_with_that_size(void **state)
{
	static const uint32_t sizes[] = {0, 1, 8, 57, 60, 255, 256};
	struct vhost_config_desc d, got;
	uint8_t bytes[60];

	(void)state;
	memset(bytes, 7, sizeof(bytes));
	assert_int_equal(vhost_set_config(env.v, bytes, sizeof(bytes)), -ENOTSUP);
	assert_int_equal(vhost_set_config(env.v, bytes, 257), -EMSGSIZE);
	vfront_negotiate(&env.front, RINGS | PF, VHOST_PF_CONFIG);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		uint32_t n = sizes[i];

		memset(&d, 0xee, sizeof(d));
		d.offset = 0;
		d.size = n;
		assert_int_equal(
			vfront_ask(&env.front, VHOST_GET_CONFIG, &d, 12 + n, &got, sizeof(got), NULL),
			12 + n);
		assert_int_equal(got.size, n);
		for (uint32_t k = 0; k < n; k++)
			assert_int_equal(got.bytes[k], k < sizeof(bytes) ? 7 : 0);
	}
	/* Beyond the space, or a size that is not the message's: no payload says error. */
	d.offset = 200;
	d.size = 57;
	assert_int_equal(vfront_ask(&env.front, VHOST_GET_CONFIG, &d, 12 + 57, &got, sizeof(got), NULL), 0);
	d.offset = UINT32_MAX;
	assert_int_equal(vfront_ask(&env.front, VHOST_GET_CONFIG, &d, 12 + 57, &got, sizeof(got), NULL), 0);
	d.offset = 0;
	d.size = 58;
	assert_int_equal(vfront_ask(&env.front, VHOST_GET_CONFIG, &d, 12 + 57, &got, sizeof(got), NULL), 0);
	/* The driver may write nothing, and is not cut off for trying. */
	d.size = 1;
	assert_int_equal(vfront_send(&env.front, VHOST_SET_CONFIG, 0, &d, 13, NULL, 0), 0);
}

static void config__change_is_told_on_the_back_channel(void **state)
{
	struct vhost_hdr h;
	int sv[2];

	(void)state;
	vfront_negotiate(&env.front, RINGS | PF, ~0ull);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	assert_int_equal(vfront_tell(&env.front, VHOST_SET_BACKEND_REQ_FD, NULL, 0, &sv[0], 1), 0);
	assert_int_equal(vfront_tell(&env.front, VHOST_SET_BACKEND_REQ_FD, NULL, 0, &sv[0], 1), 0);
	assert_int_equal(vhost_set_config(env.v, "x", 1), 0);
	assert_int_equal(read(sv[1], &h, sizeof(h)), sizeof(h));
	assert_int_equal(h.request, VHOST_BACKEND_CONFIG_CHANGE);
	assert_int_equal(h.flags, VHOST_FLAG_VERSION); /* never with NEED_REPLY */
	assert_int_equal(h.size, 0);
	close(sv[0]);
	close(sv[1]);
	assert_int_equal(vhost_set_config(env.v, "x", 1), -ENOTSUP);
}

static void net__mtu_and_rarp(void **state)
{
	uint64_t u;

	(void)state;
	vfront_negotiate(&env.front, RINGS | PF, ~0ull);
	u = 1500;
	assert_int_equal(vfront_tell(&env.front, VHOST_NET_SET_MTU, &u, 8, NULL, 0), 0);
	u = 9001;
	assert_int_equal(vfront_tell(&env.front, VHOST_NET_SET_MTU, &u, 8, NULL, 0), 1);
	u = 67;
	assert_int_equal(vfront_tell(&env.front, VHOST_NET_SET_MTU, &u, 8, NULL, 0), 1);
	assert_int_equal(vfront_send(&env.front, VHOST_NET_SET_MTU, 0, &u, 8, NULL, 0), 0);
	vhost_env_log(&env);
	u = 0x060504030201;
	assert_int_equal(vfront_tell(&env.front, VHOST_SEND_RARP, &u, 8, NULL, 0), 0);
	assert_string_equal(vhost_env_log(&env), "rarp 01:06; reply 19; ");
}

static void rings__are_bounded(void **state)
{
	static const struct {
		uint32_t index, num;
	} bad[] = {{4, 64}, {0, 0}, {0, 63}, {0, 512}, {0, 1u << 31}, {UINT32_MAX, 64}};
	struct vhost_vring_addr a = {.index = 4};
	int pipefd[2];
	uint64_t u;

	(void)state;
	vfront_negotiate(&env.front, RINGS | PF, ~0ull);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(vfront_tell(&env.front, VHOST_SET_VRING_NUM, &bad[i], 8, NULL, 0), 1);
	assert_int_equal(vfront_tell(&env.front, VHOST_SET_VRING_ADDR, &a, sizeof(a), NULL, 0), 1);
	a = (struct vhost_vring_addr){.flags = 2};
	assert_int_equal(vfront_tell(&env.front, VHOST_SET_VRING_ADDR, &a, sizeof(a), NULL, 0), 1);
	assert_int_equal(vfront_tell(&env.front, VHOST_SET_VRING_ENABLE, &(struct vhost_vring_state){0, 2}, 8,
				     NULL, 0),
			 1);
	/* Only an eventfd is written to; polling is not offered; flags and descriptors must agree. */
	assert_int_equal(pipe2(pipefd, O_CLOEXEC), 0);
	u = 0;
	assert_int_equal(vfront_tell(&env.front, VHOST_SET_VRING_CALL, &u, 8, &pipefd[1], 1), 1);
	assert_int_equal(vfront_tell(&env.front, VHOST_SET_VRING_KICK, &u, 8, NULL, 0), 1);
	u = VHOST_VRING_NOFD;
	assert_int_equal(vfront_tell(&env.front, VHOST_SET_VRING_KICK, &u, 8, NULL, 0), 1);
	assert_int_equal(vfront_tell(&env.front, VHOST_SET_VRING_ERR, &u, 8, &pipefd[1], 1), 1);
	u = 1u << 9;
	assert_int_equal(vfront_tell(&env.front, VHOST_SET_VRING_CALL, &u, 8, NULL, 0), 1);
	close(pipefd[0]);
	close(pipefd[1]);
}

static void memory__files_are_checked(void **state)
{
	struct vhost_mem_desc d = {1, 0, {{0, VFRONT_MEM, 0, 0}}};
	int pipefd[2];

	(void)state;
	vfront_negotiate(&env.front, RINGS | PF, ~0ull);
	assert_int_equal(vfront_tell(&env.front, VHOST_SET_MEM_TABLE, &d, 40, &env.front.memfd, 1), 0);
	d.regions[0].offset = 1; /* one byte beyond the file */
	assert_int_equal(vfront_tell(&env.front, VHOST_SET_MEM_TABLE, &d, 40, &env.front.memfd, 1), 1);
	d.regions[0].offset = 0;
	d.regions[0].size = VFRONT_MEM + 1;
	assert_int_equal(vfront_tell(&env.front, VHOST_SET_MEM_TABLE, &d, 40, &env.front.memfd, 1), 1);
	assert_int_equal(pipe2(pipefd, O_CLOEXEC), 0);
	d.regions[0].size = 4096;
	assert_int_equal(vfront_tell(&env.front, VHOST_SET_MEM_TABLE, &d, 40, &pipefd[0], 1), 1);
	close(pipefd[0]);
	close(pipefd[1]);
	/* Numbers that disagree: regions, descriptors, bytes. */
	assert_int_equal(vfront_tell(&env.front, VHOST_SET_MEM_TABLE, &d, 40, NULL, 0), 1);
	assert_int_equal(vfront_tell(&env.front, VHOST_SET_MEM_TABLE, &d, 72, &env.front.memfd, 1), 1);
	d.nregions = UINT32_MAX;
	assert_int_equal(vfront_tell(&env.front, VHOST_SET_MEM_TABLE, &d, 40, &env.front.memfd, 1), 1);
}

static const uint8_t requests[] = {1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15, 16, 17, 18,
				   19, 20, 21, 22, 23, 24, 25, 26, 31, 32, 33, 34, 37, 39, 40, 63, 64};
static const uint16_t sizes[] = {0, 1, 7, 8, 9, 12, 13, 20, 24, 39, 40, 41, 72, 264, 268};

/* A state to try messages in: 0 fresh, 1 negotiated, 2 running, 3 running and broken. */
static void reach(int stage, const struct vhost_config *cfg)
{
	uint16_t bad = 999;

	if (stage >= 1)
		vfront_negotiate(&env.front, RINGS | PF, ~0ull);
	if (stage >= 2) {
		assert_int_equal(vfront_mem_table(&env.front), 0);
		for (unsigned q = 0; q < cfg->nqueues; q++)
			vfront_queue_up(&env.front, q, 64, true);
	}
	if (stage >= 3) {
		struct vqt_chain c;

		vfront_publish(&env.front, 0, bad);
		assert_int_equal(vhost_ring_ops.pop(vhost_ring(env.v, 0), &c), -EBADMSG);
	}
}

static void drain_all(void)
{
	for (unsigned q = 0; q < 4; q++)
		vhost_drained(env.v, q);
	if (env.reply_len && env.reply_fd >= 0)
		close(env.reply_fd);
	env.reply_len = 0;
	env.log[0] = '\0';
}

static void one_stray(uint8_t request, uint16_t size, unsigned nfds, bool need_reply)
{
	uint8_t payload[VHOST_PAYLOAD_MAX] = {0};
	int fds[17];

	for (unsigned i = 0; i < nfds; i++)
		fds[i] = i % 2 ? env.front.memfd : env.front.q[0].kick >= 0 ? env.front.q[0].kick : 0;
	vfront_send(&env.front, request, need_reply ? VHOST_FLAG_NEED_REPLY : 0, payload, size, fds, nfds);
	if (env.error)
		vhost_disconnect(env.v);
	drain_all();
	if (env.error) {
		env.front.proto = env.front.features = 0;
		env.error = 0;
	}
}

/* Every request, in every state, with 0 to 16 descriptors and many sizes: nothing leaks (teardown counts). */
static void strays__leak_nothing(void **state)
{
	(void)state;
	for (int stage = 0; stage < 4; stage++) {
		for (size_t r = 0; r < sizeof(requests); r++) {
			for (unsigned nfds = 0; nfds <= 16; nfds++) {
				unsigned before;

				vhost_disconnect(env.v);
				env.front.proto = 0;
				reach(stage, &blk);
				drain_all();
				vhost_disconnect(env.v);
				before = vhost_env_fds();
				reach(stage, &blk);
				for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++)
					one_stray(requests[r], sizes[s], nfds, s % 2);
				vhost_disconnect(env.v);
				assert_int_equal(vhost_env_fds(), before);
			}
		}
	}
}

/* Random payloads in a random order, on both kinds: the sanitizers judge. */
static void random__messages(void **state)
{
	struct rng r;

	(void)state;
	rng_init(&r, 7);
	reach(2, &blk);
	for (int i = 0; i < 30000; i++) {
		uint8_t payload[VHOST_PAYLOAD_MAX];
		unsigned nfds = (unsigned)rng_below(&r, 3);
		int fds[2] = {env.front.memfd, env.front.q[0].kick};
		uint32_t size = sizes[rng_below(&r, sizeof(sizes) / sizeof(sizes[0]))];

		for (size_t k = 0; k < sizeof(payload); k++)
			payload[k] = rng_chance(&r, 800000) ? 0 : (uint8_t)rng_u64(&r);
		vfront_send(&env.front, requests[rng_below(&r, sizeof(requests))],
			    rng_chance(&r, 500000) ? 8 : 0, payload, size, fds, nfds);
		drain_all();
		if (env.error && rng_chance(&r, 100000)) {
			vhost_disconnect(env.v);
			env.front.proto = 0;
			reach((int)rng_below(&r, 3), &blk);
		}
	}
	vhost_disconnect(env.v);
}

#define TB(f) cmocka_unit_test_setup_teardown(f, setup_blk, teardown)
#define TN(f) cmocka_unit_test_setup_teardown(f, setup_net, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TB(features__offers_and_takes_a_subset),
		TB(protocol_features__are_those_of_the_kind),
		TN(protocol_features__of_a_nic),
		TB(queue_num__counts_rings_or_pairs),
		TB(needs_feature__is_unknown_without),
		TB(unknown__is_answered_when_asked_else_fatal),
		TB(header__must_be_right),
		TB(config__answers_any_size_with_that_size),
		TB(config__change_is_told_on_the_back_channel),
		TN(net__mtu_and_rarp),
		TB(rings__are_bounded),
		TB(memory__files_are_checked),
		TB(strays__leak_nothing),
		TB(random__messages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

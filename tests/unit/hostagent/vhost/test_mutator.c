/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest that rewrites its ring, descriptors and tables from another processor all the time. Whatever is
 * popped must lie in guest memory and add up; the sanitizers judge the rest. About a second.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "fabric/base/rng.h"
#include "tests/lib/vhost_env.h"

#define RINGS (VIRTIO_RING_F_EVENT_IDX | VIRTIO_RING_F_INDIRECT | VIRTIO_F_VERSION_1 | VIRTIO_F_RING_PACKED)
#define NUM   64

static const struct vhost_config net = {.net = true, .nqueues = 2, .queue_size = 256, .features = RINGS};
static struct vhost_env env;
static volatile int stop;

/* Chains that were taken, and rings that broke, before it is enough; and how long a starved machine may need.
 */
#define CHAINS	    500
#define BREAKS	    30
#define PATIENCE_MS 120000

/* No synchronisation at all: that is the point. */
__attribute__((no_sanitize("thread"))) static void *mutate(void *arg)
{
	volatile struct vring_desc *desc = (volatile struct vring_desc *)env.front.q[1].desc;
	volatile struct vring_desc *table = vfront_ptr(&env.front, 0x80000);
	volatile uint16_t *avail = (volatile uint16_t *)env.front.q[1].avail;
	struct rng r;

	(void)arg;
	rng_init(&r, 5);
	while (!stop) {
		uint64_t x = rng_u64(&r);
		volatile struct vring_desc *d = x & 1 ? &desc[x >> 8 & 63] : &table[x >> 8 & 63];

		d->addr = x & 2 ? 0x80000 : rng_below(&r, VFRONT_MEM + 64);
		d->len = x & 4 ? 16 * (uint32_t)rng_below(&r, 70) : (uint32_t)rng_below(&r, 5000);
		/* The last 16 bits: next of a split descriptor, flags of a packed one. */
		d->flags = (uint16_t)(x >> 16 & 7 & (x & 8 ? 7 : 1));
		d->next = vfront_packed(&env.front)
				  ? (uint16_t)((x >> 40 & (x & 8 ? 7 : 1)) | (x >> 50 & 1 ? 0x80 : 0x8000))
				  : (uint16_t)rng_below(&r, 66);
		if ((x >> 20 & 63) == 0)
			avail[2 + (x >> 32 & 63)] = (uint16_t)rng_below(&r, 65);
	}
	return NULL;
}

static bool in_guest(const struct vqt_chain *c)
{
	uint64_t out = 0, in = 0;

	for (unsigned i = 0; i < (unsigned)c->nout + c->nin; i++) {
		volatile uint8_t *p = c->iov[i].iov_base;

		/* Touch both ends: they are mapped. */
		(void)p[0];
		(void)p[c->iov[i].iov_len - 1];
		if (i < c->nout)
			out += c->iov[i].iov_len;
		else
			in += c->iov[i].iov_len;
	}
	return out == c->out_len && in == c->in_len;
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void mutate_while(uint64_t features)
{
	uint64_t end = now_ms() + PATIENCE_MS, popped = 0, broken = 0;
	pthread_t thread;

	stop = 0;
	vhost_env_init(&env, &net);
	vhost_env_run(&env, features, 2, NUM);
	assert_int_equal(pthread_create(&thread, NULL, mutate, NULL), 0);
	while ((popped < CHAINS || broken < BREAKS) && now_ms() < end) {
		struct vhost_ring *ring = vhost_ring(env.v, 1);
		struct vqt_chain c;
		int got;

		if (!vfront_packed(&env.front))
			vfront_publish(&env.front, 1, (uint16_t)(popped % NUM));
		got = vhost_ring_ops.pop(ring, &c);
		if (got == 0) {
			sched_yield(); /* packed: until the mutator makes one available */
			continue;
		}
		if (got == 1) {
			assert_true(in_guest(&c));
			vhost_ring_ops.push(ring, &c, 0);
			vhost_ring_ops.flush(ring);
			popped++;
			continue;
		}
		/* Dead until the guest sets it up again, which it does. */
		broken++;
		vhost_disconnect(env.v);
		env.front.proto = 0;
		env.log[0] = '\0';
		vhost_env_run(&env, features, 2, NUM);
	}
	stop = 1;
	pthread_join(thread, NULL);
	vhost_env_fini(&env);
	assert_true(popped >= CHAINS);
	assert_true(broken >= BREAKS);
}

static void mutating__guest_hurts_itself_alone(void **state)
{
	(void)state;
	mutate_while(RINGS & ~VIRTIO_F_RING_PACKED);
	mutate_while(RINGS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(mutating__guest_hurts_itself_alone)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

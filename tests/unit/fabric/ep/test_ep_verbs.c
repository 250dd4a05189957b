/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A session over RDMA, over RDMA and datagrams mixed, and over RDMA that breaks all the time: real transport,
 * real link, devices in memory (tests/lib/verbs_double.h). Every message arrives once and whole, seeded.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fabric/base/rng.h"
#include "fabric/ep/ep.h"
#include "fabric/link/link_loop.h"
#include "fabric/link/verbs/verbs.h"
#include "tests/lib/verbs_double.h"

#define MSEC	 1000000ull
#define MESSAGES 2000u
#define LEN_MAX	 6000u
#define RDMA	 2u /* paths 0 and 1; path 2 is the loop */
#define BUFS	 256u
#define ID	 5u

/* One end. */
struct side {
	struct ep *ep;
	struct ep_session *s;
	struct link *verbs[RDMA];
	struct buf_pool *pool[RDMA + 1];
	struct link_addr addr; /* on the loop */
};

static struct side side[2]; /* agent, appliance */
static uint64_t now;
static uint32_t got[MESSAGES];
static uint32_t lost_at[RDMA]; /* turn that a path's connection is made anew */

static uint32_t length_of(uint32_t id)
{
	return 1 + id * 2654435761u % LEN_MAX;
}

static uint8_t byte_of(uint32_t id, uint32_t off)
{
	return (uint8_t)(id * 31 + off * 7);
}

static void on_record(void *ctx, enum rt_class cls, uint32_t psn, const struct rt_rec *rec,
		      const uint8_t *data, struct buf *owner)
{
	(void)ctx, (void)cls, (void)psn, (void)owner;
	assert_true(rec->id < MESSAGES);
	assert_int_equal(rec->total, length_of(rec->id));
	for (uint32_t i = 0; i < rec->len; i++)
		assert_int_equal(data[i], byte_of(rec->id, rec->offset + i));
	got[rec->id] += rec->len;
	assert_true(got[rec->id] <= rec->total);
}

static void on_settled(void *ctx, enum rt_class cls, uint32_t base)
{
	(void)ctx, (void)cls, (void)base;
}

static void on_writable(void *ctx, enum rt_class cls)
{
	(void)ctx, (void)cls;
}

static const struct rt_ops ops = {.record = on_record, .settled = on_settled, .writable = on_writable};

/* A peer whose queue pair broke; what else is told is read and left. */
static uint64_t broken(struct link *l)
{
	struct verbs_news news;

	while (link_verbs_news(l, &news))
		if (news.what == VERBS_BROKEN)
			return news.id;
	return 0;
}

static void make_link(struct side *s, unsigned i, unsigned device)
{
	struct link_verbs_cfg cfg = {.api = &verbs_double, .rx_depth = BUFS / 2};
	char name[8], why[200];
	int err;

	snprintf(name, sizeof(name), "vd%u", device);
	assert_int_equal(verbs_port_parse(&cfg.port, name, why, sizeof(why)), 0);
	cfg.pool = s->pool[i] = buf_pool_create(BUFS, VERBS_BUF_SIZE);
	s->verbs[i] = link_verbs_create(&cfg, &err, why, sizeof(why));
	assert_non_null(s->verbs[i]);
	assert_int_equal(ep_link_add(s->ep, s->verbs[i]), (int)i);
}

/* As the control session does it. */
static void connect_path(unsigned i)
{
	struct verbs_end end[2];

	for (int k = 0; k < 2; k++)
		assert_int_equal(link_verbs_open(side[k].verbs[i], ID, 77, &end[k]), 0);
	for (int k = 1; k >= 0; k--)
		assert_int_equal(link_verbs_connect(side[k].verbs[i], ID, &end[!k]), 0);
}

static void add_session(int k, bool loop)
{
	struct rt_cfg rc = {.ops = &ops,
			    .aead = &aead_gcm,
			    .chunk = RT_CHUNK_DEFAULT,
			    .chunk_max = RT_CHUNK_MAX,
			    .lost_ns = 1000000 * MSEC,
			    .active = !k};
	struct link_addr peer;
	struct rt *rt;
	int err;

	rt = rt_create(&rc, now, &err);
	assert_non_null(rt);
	side[k].s = ep_session_add(side[k].ep, rt, NULL);
	assert_non_null(side[k].s);
	for (unsigned i = 0; i < RDMA + loop; i++) {
		struct rt_path_cfg pc = {.tx_spi = 100 + i, .rx_spi = 100 + i, .backup = i == RDMA};

		memset(k ? pc.rx_key : pc.tx_key, 1 + (int)i, AEAD_KEY_LEN);
		memset(k ? pc.tx_key : pc.rx_key, 101 + (int)i, AEAD_KEY_LEN);
		link_verbs_address(&peer, ID);
		if (i == RDMA)
			peer = side[!k].addr;
		assert_int_equal(ep_session_path(side[k].s, i, i, &pc, k ? NULL : &peer, now), 0);
	}
}

static void world(bool loop)
{
	struct link_loop_cfg lc = {.depth = 512, .max_payload = RT_CHUNK_MAX + 64};
	struct link *l[2];

	vd_world(4);
	now = 1000 * MSEC;
	memset(side, 0, sizeof(side));
	memset(got, 0, sizeof(got));
	memset(lost_at, 0, sizeof(lost_at));
	for (int k = 0; k < 2; k++) {
		assert_int_equal(link_addr_parse(&side[k].addr, k ? "10.0.0.1:1" : "10.0.0.2:2", 0), 0);
		side[k].ep = ep_create((uint64_t)k);
		for (unsigned i = 0; i < RDMA; i++)
			make_link(&side[k], i, 2 * i + (unsigned)k);
		side[k].pool[RDMA] = buf_pool_create(BUFS, RT_CHUNK_MAX + 64);
		lc.end[k] = (struct link_loop_end){side[k].addr, side[k].pool[RDMA]};
	}
	if (loop) {
		assert_int_equal(link_loop_create(&lc, l), 0);
		for (int k = 0; k < 2; k++)
			assert_int_equal(ep_link_add(side[k].ep, l[k]), (int)RDMA);
	}
	for (int k = 0; k < 2; k++)
		add_session(k, loop);
}

static void end_world(void)
{
	for (int k = 0; k < 2; k++) {
		ep_destroy(side[k].ep);
		for (unsigned i = 0; i <= RDMA; i++) {
			assert_int_equal(buf_pool_available(side[k].pool[i]), BUFS);
			buf_pool_destroy(side[k].pool[i]);
		}
	}
	assert_int_equal(vd_leaks(), 0);
}

static bool say(uint32_t id)
{
	static uint8_t bytes[LEN_MAX];
	struct iovec iov = {bytes, length_of(id)};
	struct rt_rec rec = {.kind = 1, .id = id, .total = length_of(id)};

	for (uint32_t i = 0; i < rec.total; i++)
		bytes[i] = byte_of(id, i);
	if (rt_send(ep_session_rt(side[id % 2].s), RT_CMD, RT_REL_FULL, &rec, &iov, 1, now))
		return false;
	ep_session_touch(side[id % 2].s);
	return true;
}

static void turn(void)
{
	now += MSEC / 10;
	for (int k = 0; k < 2; k++) {
		ep_poll(side[k].ep, &now);
		ep_flush(side[k].ep, false, now);
	}
}

/* What can happen to a path's devices and connection. */
static void hurt(struct rng *rng, uint32_t number)
{
	unsigned i = (unsigned)rng_below(rng, RDMA), k = (unsigned)rng_below(rng, 2);

	switch (rng_below(rng, 6)) {
	case 0:
		vd_fail_next(IBV_WC_RETRY_EXC_ERR);
		break;
	case 1:
		vd_fail_next(IBV_WC_RNR_RETRY_EXC_ERR);
		break;
	case 2:
		link_verbs_close(side[1].verbs[i], ID);
		break;
	case 3:
		vd_hold();
		break;
	case 4:
		vd_async(2 * i + k, number % 2 ? IBV_EVENT_PORT_ERR : IBV_EVENT_PORT_ACTIVE, 0);
		break;
	default:
		vd_release((unsigned)rng_below(rng, 50));
		break;
	}
}

/* The agent notices, and some turns later there is a new connection. */
static void mend(uint32_t number)
{
	for (unsigned i = 0; i < RDMA; i++) {
		if (broken(side[0].verbs[i]) && !lost_at[i])
			lost_at[i] = number + 20;
		broken(side[1].verbs[i]);
		if (lost_at[i] && number >= lost_at[i]) {
			lost_at[i] = 0;
			vd_release(10000);
			connect_path(i);
		}
	}
}

static uint32_t run(uint64_t seed, unsigned hurts_per_1000, bool loop)
{
	uint32_t next = 0, number = 0, limit = 200000;
	struct rng rng;

	rng_init(&rng, seed);
	world(loop);
	for (unsigned i = 0; i < RDMA; i++)
		connect_path(i);
	for (uint32_t done = 0; done < MESSAGES && number < limit; number++) {
		while (next < MESSAGES && rng_below(&rng, 4) && say(next))
			next++;
		if (rng_below(&rng, 1000) < hurts_per_1000)
			hurt(&rng, number);
		/* A world that is hurt for ever has pauses. */
		if (hurts_per_1000 && number % 200 == 0) {
			vd_release(10000);
			for (unsigned d = 0; d < 4; d++)
				vd_async(d, IBV_EVENT_PORT_ACTIVE, 0);
		}
		mend(number);
		turn();
		for (done = 0; done < MESSAGES && got[done] == length_of(done); done++)
			;
	}
	assert_true(number < limit);
	return number;
}

static void messages_cross_rdma(void **state)
{
	uint64_t bytes = 0;

	(void)state;
	run(1, 0, false);
	for (int k = 0; k < 2; k++)
		for (unsigned i = 0; i < RDMA; i++)
			bytes += side[k].verbs[i]->counters[LINK_C_tx_bytes];
	assert_true(bytes > MESSAGES * LEN_MAX / 3);
	end_world();
}

/* Beside RDMA the datagrams' path is a backup: it carries probes. */
static void rdma_goes_first(void **state)
{
	const struct link *loop;

	(void)state;
	run(2, 0, true);
	loop = ep_link(side[0].ep, RDMA);
	assert_true(loop->counters[LINK_C_tx_packets] > 0);
	assert_true(loop->counters[LINK_C_tx_bytes] < MESSAGES * 20);
	end_world();
}

static void nothing_is_lost_when_connections_break(void **state)
{
	(void)state;
	for (uint64_t seed = 10; seed < 16; seed++) {
		uint64_t broken = 0;

		run(seed, 10, seed % 2);
		for (int k = 0; k < 2; k++)
			for (unsigned i = 0; i < RDMA; i++)
				broken += link_verbs_counters(side[k].verbs[i])[VERBS_C_qp_broken];
		assert_true(broken > 0);
		vd_release(10000);
		end_world();
	}
}

/* Without any RDMA the datagrams carry all. */
static void datagrams_take_over(void **state)
{
	(void)state;
	world(true);
	for (uint32_t id = 0; id < MESSAGES; id++)
		while (!say(id))
			turn();
	for (int i = 0; i < 2000; i++)
		turn();
	for (uint32_t id = 0; id < MESSAGES; id++)
		assert_int_equal(got[id], length_of(id));
	end_world();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(messages_cross_rdma),
		cmocka_unit_test(rdma_goes_first),
		cmocka_unit_test(nothing_is_lost_when_connections_break),
		cmocka_unit_test(datagrams_take_over),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

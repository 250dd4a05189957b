/* SPDX-License-Identifier: Apache-2.0 */
/* Two endpoints over a loop: demultiplexing by SPI, what is dropped and under which name, learning of
 * addresses. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fabric/ep/ep.h"
#include "fabric/link/link_loop.h"

#define SESSIONS 3
#define MSEC	 1000000ull

struct side {
	struct ep *ep;
	struct link *link;
	struct buf_pool *pool;
	struct link_addr addr;
	struct ep_session *s[SESSIONS];
	uint64_t got[SESSIONS]; /* bytes received */
	uint32_t last_id[SESSIONS];
	struct {
		struct side *side;
		int n;
	} ctx[SESSIONS];
};

static struct side agent, appliance;
static uint64_t now;

static void on_record(void *ctx, enum rt_class cls, uint32_t psn, const struct rt_rec *rec,
		      const uint8_t *data, struct buf *owner)
{
	struct {
		struct side *side;
		int n;
	} *c = ctx;

	(void)cls;
	(void)psn;
	(void)data;
	(void)owner;
	c->side->got[c->n] += rec->len;
	c->side->last_id[c->n] = rec->id;
}

static void on_settled(void *ctx, enum rt_class cls, uint32_t base)
{
	(void)ctx;
	(void)cls;
	(void)base;
}

static void on_writable(void *ctx, enum rt_class cls)
{
	(void)ctx;
	(void)cls;
}

static const struct rt_ops ops = {.record = on_record, .settled = on_settled, .writable = on_writable};

static void session(struct side *me, int n, bool active, const struct link_addr *peer)
{
	struct rt_cfg rc = {.ops = &ops,
			    .ctx = &me->ctx[n],
			    .aead = &aead_gcm,
			    .chunk = RT_CHUNK_DEFAULT,
			    .active = active};
	struct rt_path_cfg pc = {.tx_spi = (uint32_t)(100 + n), .rx_spi = (uint32_t)(100 + n)};
	struct rt *rt;
	int err;

	me->ctx[n].side = me;
	me->ctx[n].n = n;
	memset(active ? pc.tx_key : pc.rx_key, 1 + n, AEAD_KEY_LEN);
	memset(active ? pc.rx_key : pc.tx_key, 101 + n, AEAD_KEY_LEN);
	rt = rt_create(&rc, now, &err);
	assert_non_null(rt);
	me->s[n] = ep_session_add(me->ep, rt, me);
	assert_non_null(me->s[n]);
	assert_ptr_equal(ep_session_rt(me->s[n]), rt);
	assert_int_equal(ep_session_path(me->s[n], 0, 0, &pc, peer, now), 0);
}

static int setup(void **state)
{
	struct link_loop_cfg lc = {.depth = 512, .max_payload = 1500};
	struct link *l[2];

	(void)state;
	now = 1000 * MSEC;
	memset(&agent, 0, sizeof(agent));
	memset(&appliance, 0, sizeof(appliance));
	assert_int_equal(link_addr_parse(&agent.addr, "10.0.0.2:9999", 0), 0);
	assert_int_equal(link_addr_parse(&appliance.addr, "10.0.0.1:4793", 0), 0);
	agent.pool = buf_pool_create(1024, 2048);
	appliance.pool = buf_pool_create(1024, 2048);
	lc.end[0] = (struct link_loop_end){agent.addr, agent.pool};
	lc.end[1] = (struct link_loop_end){appliance.addr, appliance.pool};
	assert_int_equal(link_loop_create(&lc, l), 0);
	agent.link = l[0];
	appliance.link = l[1];
	agent.ep = ep_create(1);
	appliance.ep = ep_create(2);
	assert_int_equal(ep_link_add(agent.ep, l[0]), 0);
	assert_int_equal(ep_link_add(appliance.ep, l[1]), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	ep_destroy(agent.ep);
	ep_destroy(appliance.ep);
	buf_pool_destroy(agent.pool); /* asserts that all buffers are back */
	buf_pool_destroy(appliance.pool);
	return 0;
}

static void spin(int turns)
{
	for (int i = 0; i < turns; i++) {
		now += MSEC / 10;
		assert_true(ep_poll(agent.ep, &now) >= 0);
		ep_flush(agent.ep, false, now);
		assert_true(ep_poll(appliance.ep, &now) >= 0);
		ep_flush(appliance.ep, false, now);
	}
}

static void say(struct side *from, int n, uint32_t id, uint32_t len)
{
	static uint8_t bytes[4096];
	struct iovec iov = {bytes, len};
	struct rt_rec rec = {.kind = 1, .id = id, .total = len};

	assert_int_equal(rt_send(ep_session_rt(from->s[n]), RT_CMD, RT_REL_FULL, &rec, &iov, 1, now), 0);
	ep_session_touch(from->s[n]);
}

static void sessions_are_told_apart(void **state)
{
	struct link_addr peer;

	(void)state;
	for (int n = 0; n < SESSIONS; n++) {
		session(&agent, n, true, &appliance.addr);
		session(&appliance, n, false, NULL);
		assert_false(ep_session_peer(appliance.s[n], 0, &peer));
	}
	spin(5);
	/* The passive end has learned where the agent is. */
	for (int n = 0; n < SESSIONS; n++) {
		assert_true(ep_session_peer(appliance.s[n], 0, &peer));
		assert_true(link_addr_equal(&peer, &agent.addr));
	}
	say(&agent, 1, 7, 3000);
	say(&appliance, 2, 8, 100);
	spin(20);
	assert_int_equal(appliance.got[1], 3000);
	assert_int_equal(appliance.last_id[1], 7);
	assert_int_equal(appliance.got[0] + appliance.got[2], 0);
	assert_int_equal(agent.got[2], 100);
	assert_int_equal(agent.got[0] + agent.got[1], 0);
}

static uint64_t counted(const struct side *s, enum ep_counter c)
{
	return ep_counters(s->ep)[c];
}

static void strangers_are_dropped_and_counted(void **state)
{
	uint8_t junk[64];
	struct link_tx tx = {.data = junk, .len = sizeof(junk), .to = appliance.addr};
	struct link_addr peer;

	(void)state;
	session(&agent, 0, true, &appliance.addr);
	session(&appliance, 0, false, NULL);
	memset(junk, 0xee, sizeof(junk));
	agent.link->ops->send(agent.link, &tx, 1); /* an SPI that nobody has */
	tx.len = 5;
	agent.link->ops->send(agent.link, &tx, 1);
	/* The right SPI, not authentic: its sender's address must not be believed. */
	tx.len = sizeof(junk);
	junk[4] = 0;
	junk[5] = 0;
	junk[6] = 0;
	junk[7] = 100;
	agent.link->ops->send(agent.link, &tx, 1);
	assert_true(ep_poll(appliance.ep, &now) == 3);
	assert_int_equal(counted(&appliance, EP_C_drop_unknown_spi), 1);
	assert_int_equal(counted(&appliance, EP_C_drop_short), 1);
	assert_int_equal(counted(&appliance, EP_C_drop_auth), 1);
	assert_false(ep_session_peer(appliance.s[0], 0, &peer));
	assert_int_equal(buf_pool_available(appliance.pool), 1024);
	/* To whom nothing authentic was heard of yet, nothing is sent. */
	say(&appliance, 0, 1, 10);
	ep_flush(appliance.ep, false, now);
	assert_int_equal(agent.link->ops->recv(agent.link, (struct link_rx[1]){{0}}, 1), 0);
	spin(10);
	assert_int_equal(agent.got[0], 10);
}

static void an_spi_is_taken_once(void **state)
{
	struct rt_path_cfg pc = {.tx_spi = 100, .rx_spi = 100};

	(void)state;
	session(&appliance, 0, false, NULL);
	assert_int_equal(ep_session_path(appliance.s[0], 1, 0, &pc, NULL, now), -EEXIST);
	assert_int_equal(ep_session_path(appliance.s[0], 0, 0, &pc, NULL, now), -EEXIST);
	assert_int_equal(ep_session_path(appliance.s[0], RT_PATHS, 0, &pc, NULL, now), -EINVAL);
	assert_int_equal(ep_session_path(appliance.s[0], 1, 3, &pc, NULL, now), -EINVAL);
	ep_session_del(appliance.s[0]);
	session(&appliance, 0, false, NULL); /* free again */
}

static void nobody(struct ep_session *s, void *arg)
{
	(void)s;
	(void)arg;
	fail();
}

/* Keys change while messages flow; the old SPI is forgotten afterwards and can be used again. */
static void keys_change_under_load(void **state)
{
	struct rt_path_cfg a = {.tx_spi = 201, .rx_spi = 202}, b = {.tx_spi = 202, .rx_spi = 201};

	(void)state;
	session(&agent, 0, true, &appliance.addr);
	session(&appliance, 0, false, NULL);
	spin(20);
	memset(a.tx_key, 7, AEAD_KEY_LEN);
	memset(b.rx_key, 7, AEAD_KEY_LEN);
	memset(a.rx_key, 8, AEAD_KEY_LEN);
	memset(b.tx_key, 8, AEAD_KEY_LEN);
	for (int i = 0; i < 400; i++) {
		if (i == 100)
			assert_int_equal(ep_session_rekey(agent.s[0], 0, &a, false, now), 0);
		if (i == 110) {
			assert_int_equal(ep_session_rekey(appliance.s[0], 0, &b, true, now), 0);
			assert_int_equal(ep_session_rekey(appliance.s[0], 0, &b, true, now), -EBUSY);
		}
		say(&agent, 0, (uint32_t)i, 100);
		say(&appliance, 0, (uint32_t)i, 100);
		spin(2);
	}
	assert_int_equal(appliance.got[0], 40000);
	assert_int_equal(agent.got[0], 40000);
	assert_int_equal(counted(&appliance, EP_C_drop_auth) + counted(&appliance, EP_C_drop_unknown_spi), 0);
	assert_int_equal(counted(&agent, EP_C_drop_auth) + counted(&agent, EP_C_drop_unknown_spi), 0);
	for (int i = 0; i < 30; i++) {
		now += 100 * MSEC;
		spin(2);
		ep_reap(agent.ep, nobody, NULL);
		ep_reap(appliance.ep, nobody, NULL);
	}
	a.rx_spi = b.tx_spi = 100;
	a.tx_spi = b.rx_spi = 301;
	assert_int_equal(ep_session_rekey(agent.s[0], 0, &a, false, now), 0);
	assert_int_equal(ep_session_rekey(appliance.s[0], 7, &b, true, now), -ENOENT);
}

static void forget(struct ep_session *s, void *arg)
{
	(*(int *)arg)++;
	ep_session_del(s);
}

static void the_silent_are_reaped(void **state)
{
	int reaped = 0;

	(void)state;
	session(&agent, 0, true, &appliance.addr);
	session(&appliance, 0, false, NULL);
	spin(20);
	ep_reap(appliance.ep, forget, &reaped);
	assert_int_equal(reaped, 0);
	/* An idle endpoint wants to be woken for keepalives alone. */
	assert_true(ep_deadline(agent.ep) > now + 100 * MSEC);
	for (int i = 0; i < 40; i++) {
		now += 100 * MSEC;
		ep_poll(appliance.ep, &now);
		ep_flush(appliance.ep, false, now);
	}
	ep_reap(appliance.ep, forget, &reaped);
	assert_int_equal(reaped, 1);
}

/* While more is to come, what does not fill a train of UDP_SEGMENT (47 datagrams of 1392 bytes) waits for it.
 */
static void only_whole_trains_leave_amid_a_burst(void **state)
{
	(void)state;
	session(&agent, 0, true, &appliance.addr);
	session(&appliance, 0, false, NULL);
	spin(20);
	for (uint32_t i = 0; i < 8; i++) /* 24 full chunks and a part */
		say(&agent, 0, i, 4096);
	ep_flush(agent.ep, true, now);
	assert_int_equal(ep_poll(appliance.ep, &now), 0);
	for (uint32_t i = 0; i < 9; i++)
		say(&agent, 0, i, 4096);
	now += 10000;
	ep_flush(agent.ep, true, now);
	assert_int_equal(ep_poll(appliance.ep, &now), 47);
	ep_flush(agent.ep, true, now);
	assert_int_equal(ep_poll(appliance.ep, &now), 0);
	/* Not for long, though. */
	now += 41000;
	ep_flush(agent.ep, true, now);
	assert_int_equal(ep_poll(appliance.ep, &now), 6);
	assert_int_equal(appliance.got[0], 17 * 4096);
	/* And at the end of a burst at once. */
	say(&agent, 0, 1, 100);
	ep_flush(agent.ep, true, now);
	assert_int_equal(ep_poll(appliance.ep, &now), 0);
	ep_flush(agent.ep, false, now);
	assert_int_equal(ep_poll(appliance.ep, &now), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(sessions_are_told_apart, setup, teardown),
		cmocka_unit_test_setup_teardown(strangers_are_dropped_and_counted, setup, teardown),
		cmocka_unit_test_setup_teardown(an_spi_is_taken_once, setup, teardown),
		cmocka_unit_test_setup_teardown(keys_change_under_load, setup, teardown),
		cmocka_unit_test_setup_teardown(the_silent_are_reaped, setup, teardown),
		cmocka_unit_test_setup_teardown(only_whole_trains_leave_amid_a_burst, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Two ends of an RDMA port over the verbs double, joined before each test. A program that includes it need
 * not use all. */
#ifndef VERBS_PAIR_H
#define VERBS_PAIR_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "fabric/base/clock.h"
#include "fabric/base/rng.h"
#include "fabric/link/verbs/verbs.h"
#include "tests/lib/verbs_double.h"

#define BUFS 64u
#define RX   32u

/* Two links, one peer each; b answers to id 7 at a, a to id 9 at b. */
struct pair {
	struct buf_pool *pool[2];
	struct link *l[2];
	struct verbs_end end[2];
	struct link_addr to[2];
};

static const uint64_t ids[2] = {7, 9};
static uint32_t spins = 32;

/* A peer whose queue pair broke; what else is told is read and left. */
static inline uint64_t broken(struct link *l)
{
	struct verbs_news news;

	while (link_verbs_news(l, &news))
		if (news.what == VERBS_BROKEN)
			return news.id;
	return 0;
}

static inline struct link *make(const char *name, struct buf_pool *pool, int *err, char *why, size_t why_len)
{
	struct link_verbs_cfg cfg = {.api = &verbs_double,
				     .pool = pool,
				     .rx_depth = RX,
				     .max_peers = 2,
				     .spins = spins,
				     .serves = true};

	assert_int_equal(verbs_port_parse(&cfg.port, name, why, why_len), 0);
	return link_verbs_create(&cfg, err, why, why_len);
}

static inline void join(struct pair *p)
{
	for (int i = 0; i < 2; i++) {
		assert_int_equal(link_verbs_open(p->l[i], ids[i], 0x123456u + (uint32_t)i, &p->end[i]), 0);
		link_verbs_address(&p->to[i], ids[i]);
	}
	for (int i = 0; i < 2; i++)
		assert_int_equal(link_verbs_connect(p->l[i], ids[i], &p->end[!i]), 0);
}

static inline int setup(void **state)
{
	static struct pair p;
	char why[200];
	int err;

	vd_world(2);
	for (int i = 0; i < 2; i++) {
		p.pool[i] = buf_pool_create(BUFS, VERBS_BUF_SIZE);
		p.l[i] = make(i ? "vd1" : "vd0", p.pool[i], &err, why, sizeof(why));
		assert_non_null(p.l[i]);
	}
	join(&p);
	*state = &p;
	return 0;
}

/* Ends that sleep as soon as there is nothing. */
static inline int setup_sleepers(void **state)
{
	spins = 0;
	return setup(state);
}

/* Whatever happened, everything comes back. */
static inline int teardown(void **state)
{
	struct pair *p = *state;

	spins = 32;
	for (int i = 0; i < 2; i++) {
		if (p->l[i])
			p->l[i]->ops->destroy(p->l[i]);
		assert_int_equal(buf_pool_available(p->pool[i]), BUFS);
		buf_pool_destroy(p->pool[i]);
	}
	assert_int_equal(vd_leaks(), 0);
	return 0;
}

static inline int send_one(struct pair *p, int from, const void *data, uint32_t len)
{
	struct link_tx tx = {.data = data, .len = len, .to = p->to[from]};

	return p->l[from]->ops->send(p->l[from], &tx, 1);
}

static inline int recv_some(struct pair *p, int at, struct link_rx *rx, int max)
{
	return p->l[at]->ops->recv(p->l[at], rx, max);
}

/* Drops what came; the number, or the error. */
static inline int drain(struct pair *p, int at)
{
	struct link_rx rx[16];
	int total = 0, n;

	while ((n = recv_some(p, at, rx, 16)) > 0) {
		for (int i = 0; i < n; i++)
			buf_put(rx[i].buf);
		total += n;
	}
	return n < 0 ? n : total;
}

/* Looks at the link once a second. */
static inline void seconds(struct pair *p, int at, unsigned n)
{
	while (n--) {
		vd_pass(NSEC_PER_SEC);
		drain(p, at);
	}
}

static inline uint64_t count(struct pair *p, int at, enum verbs_counter c)
{
	return link_verbs_counters(p->l[at])[c];
}

static inline void expect_broken(struct pair *p, int at)
{
	assert_int_equal(broken(p->l[at]), ids[at]);
	assert_int_equal(broken(p->l[at]), 0);
	assert_int_equal(count(p, at, VERBS_C_qp_broken), 1);
	/* What goes there now is dropped by name. */
	assert_int_equal(send_one(p, at, "x", 1), 0);
	assert_int_equal(p->l[at]->counters[LINK_C_drop_tx_noroute], 1);
}

static inline bool readable(struct pair *p, int at)
{
	struct pollfd f = {.fd = p->l[at]->ops->fd(p->l[at]), .events = POLLIN};

	return poll(&f, 1, 0) == 1;
}

/* recv() in vain until the link sleeps; then nothing wakes it but news. */
static inline void fall_asleep(struct pair *p, int at)
{
	struct link *l = p->l[at];
	int turns = 0;

	while (l->ops->deadline(l) == 0) {
		assert_int_equal(drain(p, at), 0);
		assert_true(++turns < 1000);
	}
	assert_true(l->ops->deadline(l) == UINT64_MAX);
}

#define SLEEPERS(f) cmocka_unit_test_setup_teardown(f, setup_sleepers, teardown)
#define WORLD(f)    cmocka_unit_test_setup_teardown(f, setup, teardown)

#endif

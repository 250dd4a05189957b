/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two ends in one test, stepped by hand: what one end sends is taken as packets, which the test
 * gives to the other, or drops, or keeps. Effects of callbacks are appended to a text that a test compares.
 */
#ifndef OUTRIGGER_UNIT_RT_PAIR_H
#define OUTRIGGER_UNIT_RT_PAIR_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "fabric/rt/impl.h"

#define US 1000ull
#define MS 1000000ull

struct pkt {
	uint8_t data[WIRE_HDR_LEN + RT_CHUNK_MAX + AEAD_TAG_MAX];
	uint32_t len;
	unsigned path;
	struct wire_hdr h;
};

struct pair {
	struct rt *rt[2];
	uint64_t now;
	uint64_t lay;	    /* that datagrams lay at their receiver before they are given */
	char log[2][32768]; /* effects at each end */
	bool log_data;	    /* bytes too */
};

struct pair_ctx {
	struct pair *p;
	int side;
};

static struct pair pair;
static struct pair_ctx pair_ctx[2] = {{&pair, 0}, {&pair, 1}};
static struct pkt *pkts; /* of the last pair_take() */
static int npkts;
#define PKTS 4200

__attribute__((format(printf, 2, 3))) static inline void note(int side, const char *fmt, ...)
{
	size_t at = strlen(pair.log[side]);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(pair.log[side] + at, sizeof(pair.log[side]) - at, fmt, ap);
	va_end(ap);
}

static void on_record(void *ctx, enum rt_class cls, uint32_t psn, const struct rt_rec *rec,
		      const uint8_t *data, struct buf *owner)
{
	struct pair_ctx *c = ctx;

	(void)owner;
	note(c->side, "rec %d:%u id %u %u+%u/%u", (int)cls, psn, rec->id, rec->offset, rec->len, rec->total);
	if (c->p->log_data)
		note(c->side, " '%.*s'", (int)rec->len, (const char *)data);
	note(c->side, "; ");
}

static void on_settled(void *ctx, enum rt_class cls, uint32_t base)
{
	note(((struct pair_ctx *)ctx)->side, "settled %d:%u; ", (int)cls, base);
}

static void on_writable(void *ctx, enum rt_class cls)
{
	note(((struct pair_ctx *)ctx)->side, "writable %d; ", (int)cls);
}

static void on_path(void *ctx, unsigned path, enum rt_path_state state)
{
	static const char *const name[] = {"down", "probing", "up", "suspect"};

	note(((struct pair_ctx *)ctx)->side, "path %u %s; ", path, name[state]);
}

static const struct rt_ops pair_ops = {on_record, on_settled, on_writable, on_path};

static inline struct rt_cfg pair_cfg(void)
{
	return (struct rt_cfg){.ops = &pair_ops,
			       .aead = &aead_crc,
			       .chunk = RT_CHUNK_DEFAULT,
			       .rto_floor_ns = 200 * US,
			       .keepalive_ns = 1000 * MS};
}

static inline struct rt_path_cfg pair_path(int side, unsigned path)
{
	struct rt_path_cfg c = {.tx_spi = 0x1000u * (uint32_t)(2 - side) + path,
				.rx_spi = 0x1000u * (uint32_t)(1 + side) + path};

	memset(c.tx_key, 1 + side, sizeof(c.tx_key));
	memset(c.rx_key, 2 - side, sizeof(c.rx_key));
	return c;
}

static inline void pair_close(void)
{
	rt_destroy(pair.rt[0]);
	rt_destroy(pair.rt[1]);
	pair.rt[0] = pair.rt[1] = NULL;
	free(pkts);
	pkts = NULL;
}

/* Both ends, with npaths paths that are not probed yet. */
static inline void pair_open(const struct rt_cfg *cfg, unsigned npaths)
{
	int err;

	pair_close();
	memset(&pair, 0, sizeof(pair));
	pair.now = 1000 * MS;
	pkts = calloc(PKTS, sizeof(*pkts));
	assert_non_null(pkts);
	for (int side = 0; side < 2; side++) {
		struct rt_cfg c = *cfg;

		c.ctx = &pair_ctx[side];
		c.active = side == 0;
		pair.rt[side] = rt_create(&c, pair.now, &err);
		assert_non_null(pair.rt[side]);
		for (unsigned p = 0; p < npaths; p++) {
			struct rt_path_cfg pc = pair_path(side, p);

			assert_int_equal(rt_path_add(pair.rt[side], p, &pc, pair.now), 0);
		}
	}
}

/* All that side sends now, into pkts[]. Returns the number. */
static inline int pair_take(int side)
{
	struct rt_tx out[64];
	int n;

	npkts = 0;
	while ((n = rt_output(pair.rt[side], pair.now, out, 64)) > 0)
		for (int i = 0; i < n; i++) {
			struct pkt *k = &pkts[npkts++];

			assert_true(npkts < PKTS);
			memcpy(k->data, out[i].data, out[i].len);
			k->len = out[i].len;
			k->path = out[i].path;
			assert_int_equal(wire_hdr_decode(&k->h, k->data, k->len), 0);
		}
	return npkts;
}

/* A copy of a packet to side (opened in place, so that the packet can be given again). */
static inline int pair_give(int side, const struct pkt *k)
{
	static uint8_t copy[sizeof(k->data)];

	memcpy(copy, k->data, k->len);
	return rt_input_late(pair.rt[side], copy, k->len, NULL, false, pair.lay, pair.now);
}

static inline void pair_give_all(int side)
{
	for (int i = 0; i < npkts; i++)
		pair_give(side, &pkts[i]);
	rt_input_end(pair.rt[side], pair.now);
}

/* Everything both have to say, with a delay in each direction, until nobody speaks. */
static inline void pair_settle(uint64_t delay)
{
	for (bool more = true; more;) {
		more = false;
		for (int side = 0; side < 2; side++)
			if (pair_take(side)) {
				more = true;
				pair.now += delay;
				pair_give_all(!side);
			}
	}
}

/* Opens, brings all paths up with a round trip of 2 x delay, clears the logs. */
static inline void pair_up(const struct rt_cfg *cfg, unsigned npaths, uint64_t delay)
{
	pair_open(cfg, npaths);
	pair_settle(delay);
	for (unsigned p = 0; p < npaths; p++) {
		assert_int_equal(pair.rt[0]->path[p].state, RT_PATH_UP);
		assert_int_equal(pair.rt[1]->path[p].state, RT_PATH_UP);
	}
	pair.log[0][0] = pair.log[1][0] = 0;
}

/* Advances to the next deadline of side and ticks it there. */
static inline uint64_t pair_tick(int side)
{
	uint64_t at = rt_deadline(pair.rt[side]);

	assert_true(at != RT_NEVER);
	if (at > pair.now)
		pair.now = at;
	rt_tick(pair.rt[side], pair.now);
	return pair.now;
}

static inline int put(int side, enum rt_class cls, enum rt_rel rel, uint32_t id, uint32_t len)
{
	static uint8_t zeros[RT_SEND_MAX];
	struct rt_rec r = {.kind = 1, .id = id, .total = len};
	struct iovec iov = {zeros, len};

	return rt_send(pair.rt[side], cls, rel, &r, &iov, 1, pair.now);
}

static inline uint64_t counter(int side, enum rt_counter c)
{
	return rt_counters(pair.rt[side])[c];
}

static inline int pair_teardown(void **state)
{
	(void)state;
	pair_close();
	return 0;
}

#define assert_log(side, text) assert_string_equal(pair.log[side], text)

#endif

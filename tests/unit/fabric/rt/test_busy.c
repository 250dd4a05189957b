/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two hosts whose processors are elsewhere for up to 65 ms at a time, both at times of their own; a path and
 * a mere backup of it that is as slow as the control channel. In exact virtual time: the rate that is offered
 * arrives, by the path that is worth it.
 */
#include "pair.h"

#define STEP	    (20 * US)
#define AWAY_LEAST  (5 * MS)
#define AWAY	    (60 * MS) /* more, at most */
#define BETWEEN	    (100 * MS)
#define FRAME	    65000u
#define FRAMES	    1923u /* a second: 1 Gb/s */
#define PER_STEP    40	  /* packets that an end takes in a step: 2.6 Gb/s */
#define SECONDS	    4
#define DEPTH	    32768u
#define SLOW_DEPTH  256u
#define SLOW_NS(n)  ((n)*1000ull / 6) /* 6 MB/s */
#define TO_THE_SLOW 0		      /* the number of the backup */

struct flying {
	uint64_t at;
	uint32_t len;
	uint8_t data[WIRE_HDR_LEN + RT_CHUNK_DEFAULT + AEAD_TAG_MAX];
};

static struct line {
	struct flying *p;
	uint32_t head, tail;
	uint64_t free_at;
} line[2][2]; /* by receiver and path */

static struct host {
	uint64_t away_from, back_at;
} host[2];

static uint64_t arrived, over_slow, dice;

static void busy_record(void *ctx, enum rt_class cls, uint32_t psn, const struct rt_rec *rec,
			const uint8_t *data, struct buf *owner)
{
	(void)ctx;
	(void)cls;
	(void)psn;
	(void)data;
	(void)owner;
	arrived += rec->len;
}

static void busy_settled(void *ctx, enum rt_class cls, uint32_t base)
{
	(void)ctx;
	(void)cls;
	(void)base;
}

static void busy_writable(void *ctx, enum rt_class cls)
{
	(void)ctx;
	(void)cls;
}

static const struct rt_ops busy_ops = {busy_record, busy_settled, busy_writable, NULL};

static uint64_t roll(uint64_t below)
{
	dice ^= dice << 13;
	dice ^= dice >> 7;
	dice ^= dice << 17;
	return dice % below;
}

static void launch(int to, const struct rt_tx *out)
{
	struct line *l = &line[to][out->path];
	bool slow = out->path == TO_THE_SLOW;
	struct flying *f = &l->p[l->tail % DEPTH];

	if (l->tail - l->head >= (slow ? SLOW_DEPTH : DEPTH))
		return;
	if (slow) {
		l->free_at = (l->free_at > pair.now ? l->free_at : pair.now) + SLOW_NS(out->len);
		over_slow++;
	}
	l->tail++;
	f->at = (slow ? l->free_at : pair.now) + 10 * US;
	f->len = out->len;
	memcpy(f->data, out->data, out->len);
}

static void land(int side)
{
	int n = 0;

	for (int p = 0; p < 2; p++) {
		struct line *l = &line[side][p];

		for (; l->head != l->tail && n < PER_STEP; n++) {
			struct flying *f = &l->p[l->head % DEPTH];

			if (f->at > pair.now)
				break;
			l->head++;
			rt_input_late(pair.rt[side], f->data, f->len, NULL, false, pair.now - f->at,
				      pair.now);
		}
	}
	rt_input_end(pair.rt[side], pair.now);
}

static bool away(int side)
{
	struct host *h = &host[side];

	if (pair.now >= h->away_from) {
		h->back_at = pair.now + AWAY_LEAST + roll(AWAY);
		h->away_from = h->back_at + roll(BETWEEN);
	}
	return pair.now < h->back_at;
}

static void step(int side)
{
	struct rt *rt = pair.rt[side];
	struct rt_tx out[64];
	int n;

	land(side);
	if (rt_deadline(rt) <= pair.now)
		rt_tick(rt, pair.now);
	rt_flush(rt, pair.now);
	while ((n = rt_output(rt, pair.now, out, 64)) > 0)
		for (int i = 0; i < n; i++)
			launch(!side, &out[i]);
}

static void open_both(void)
{
	struct rt_cfg c = pair_cfg();

	c.ops = &busy_ops;
	c.rto_floor_ns = 0;
	c.delay_spare_ns = 10 * MS;
	c.ack_delay_ns = 250 * US;
	pair_open(&c, 0);
	for (unsigned p = 0; p < 2; p++)
		for (int side = 0; side < 2; side++) {
			struct rt_path_cfg k = pair_path(side, p);

			k.backup = p == TO_THE_SLOW;
			assert_int_equal(rt_path_add(pair.rt[side], p, &k, pair.now), 0);
			free(line[side][p].p);
			line[side][p] = (struct line){.p = calloc(DEPTH, sizeof(struct flying))};
			assert_non_null(line[side][p].p);
		}
	for (int side = 0; side < 2; side++)
		host[side] = (struct host){.away_from = pair.now + 200 * MS};
}

static void rate_of_hosts_that_are_busy(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 3; seed++) {
		uint64_t start, sent = 0;

		open_both();
		start = pair.now;
		arrived = over_slow = 0;
		dice = seed * 2654435761u + 88172645463325252ull;
		for (; pair.now - start < SECONDS * 1000 * MS; pair.now += STEP)
			for (int side = 0; side < 2; side++) {
				if (away(side))
					continue;
				while (!side && sent < (pair.now - start) * FRAMES / (1000 * MS) &&
				       !put(0, RT_NET, RT_REL_BOUNDED, (uint32_t)sent, FRAME))
					sent++;
				step(side);
			}
		assert_true(arrived > (uint64_t)SECONDS * FRAMES * FRAME / 10 * 9);
		assert_true(over_slow < 200);
	}
}

static int gone(void **state)
{
	for (int i = 0; i < 4; i++) {
		free(line[i / 2][i % 2].p);
		line[i / 2][i % 2].p = NULL;
	}
	return pair_teardown(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test_teardown(rate_of_hosts_that_are_busy, gone)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

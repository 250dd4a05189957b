/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "fabric/base/crc32c.h"
#include "fabric/link/link_impair.h"
#include "fabric/link/link_loop.h"

#define N    20000
#define BUFS 2048
#define MS   1000000ull

struct world {
	struct buf_pool *pool;
	struct link *a, *b; /* one of them is impaired */
	struct link *impaired;
	struct link_addr to_b;
	unsigned seen[N]; /* how often number i came, uncorrupted */
	unsigned got, damaged, inversions;
	uint32_t last;
	uint32_t history; /* sum over all that came, in order */
};

/* Impairs the sender (tx) or the receiver (rx). */
static void world_open(struct world *w, const struct link_impair_cfg *cfg, bool tx)
{
	struct link_loop_cfg loop = {.depth = BUFS, .max_payload = 1500};
	struct link *l[2];

	memset(w, 0, sizeof(*w));
	w->pool = buf_pool_create(BUFS, 1500);
	for (int i = 0; i < 2; i++) {
		loop.end[i].pool = w->pool;
		link_addr_parse(&loop.end[i].addr, i ? "[fd00::2]" : "[fd00::1]", 4793);
	}
	assert_int_equal(link_loop_create(&loop, l), 0);
	w->to_b = loop.end[1].addr;
	w->impaired = l[tx ? 0 : 1] = link_impair_create(l[tx ? 0 : 1], cfg);
	assert_non_null(w->impaired);
	w->a = l[0];
	w->b = l[1];
}

static void world_close(struct world *w)
{
	w->a->ops->destroy(w->a);
	w->b->ops->destroy(w->b);
	assert_int_equal(buf_pool_available(w->pool), BUFS);
	buf_pool_destroy(w->pool);
}

static void drain(struct world *w)
{
	struct link_rx rx[50];
	int n;

	while ((n = w->b->ops->recv(w->b, rx, 50)) > 0)
		for (int i = 0; i < n; i++) {
			uint32_t body[2];

			assert_int_equal(rx[i].len, 8);
			memcpy(body, rx[i].data, 8);
			w->history = crc32c(w->history, body, 8);
			w->got++;
			if (body[1] != ~body[0] || body[0] >= N) {
				w->damaged++;
			} else {
				w->seen[body[0]]++;
				w->inversions += body[0] < w->last;
				w->last = body[0];
			}
			memset(rx[i].data, 0xdd, 8); /* as decryption in place would */
			buf_put(rx[i].buf);
		}
}

/* N numbered datagrams, ten each 20 us; then until nothing is held. The time of the last arrival. */
static uint64_t run(struct world *w)
{
	uint64_t now = MS, due;
	uint32_t body[10][2];
	struct link_tx tx[10];

	for (uint32_t i = 0; i < N; now += 20000) {
		for (int k = 0; k < 10; k++, i++) {
			body[k][0] = i;
			body[k][1] = ~i;
			tx[k] = (struct link_tx){.data = (uint8_t *)body[k], .len = 8, .to = w->to_b};
		}
		link_impair_set_now(w->impaired, now);
		assert_int_equal(w->a->ops->send(w->a, tx, 10), 10);
		drain(w);
	}
	while ((due = w->impaired->ops->deadline(w->impaired)) != UINT64_MAX) {
		now = due > now ? due : now;
		link_impair_set_now(w->impaired, now);
		w->a->ops->send(w->a, tx, 0);
		drain(w);
	}
	drain(w);
	return now;
}

static unsigned missing(const struct world *w)
{
	unsigned n = 0;

	for (int i = 0; i < N; i++)
		n += w->seen[i] == 0;
	return n;
}

static struct world w;

static void link_impair__nothing_asked_nothing_done(void **state)
{
	struct link_impair_cfg cfg = {.seed = 1};

	(void)state;
	for (int tx = 0; tx < 2; tx++) {
		world_open(&w, &cfg, tx);
		run(&w);
		assert_int_equal(w.got, N);
		assert_int_equal(missing(&w), 0);
		assert_int_equal(w.inversions, 0);
		world_close(&w);
	}
}

static void link_impair__each_fault_alone(void **state)
{
	struct link_impair_stats rx, st;

	(void)state;
	for (int tx = 0; tx < 2; tx++) {
		struct link_impair_cfg cfg = {.seed = 2, .drop_ppm = 100000};

		world_open(&w, &cfg, tx);
		run(&w);
		link_impair_get_stats(w.impaired, tx ? &rx : &st, tx ? &st : &rx);
		assert_in_range(missing(&w), N / 10 - 300, N / 10 + 300);
		assert_int_equal(missing(&w), st.dropped);
		assert_int_equal(w.impaired->counters[LINK_C_drop_impaired], st.dropped);
		assert_int_equal(rx.dropped, 0);
		world_close(&w);

		cfg = (struct link_impair_cfg){.seed = 3, .dup_ppm = 50000};
		world_open(&w, &cfg, tx);
		run(&w);
		link_impair_get_stats(w.impaired, tx ? &rx : &st, tx ? &st : &rx);
		assert_in_range(st.duplicated, N / 20 - 300, N / 20 + 300);
		assert_int_equal(w.got, N + st.duplicated);
		assert_int_equal(missing(&w) + w.damaged, 0);
		world_close(&w);

		cfg = (struct link_impair_cfg){.seed = 4, .corrupt_ppm = 50000};
		world_open(&w, &cfg, tx);
		run(&w);
		link_impair_get_stats(w.impaired, tx ? &rx : &st, tx ? &st : &rx);
		assert_int_equal(w.got, N);
		assert_int_equal(w.damaged, st.corrupted);
		assert_int_equal(missing(&w), st.corrupted);
		assert_in_range(st.corrupted, N / 20 - 300, N / 20 + 300);
		world_close(&w);

		cfg = (struct link_impair_cfg){.seed = 5, .reorder_ppm = 10000};
		world_open(&w, &cfg, tx);
		run(&w);
		link_impair_get_stats(w.impaired, tx ? &rx : &st, tx ? &st : &rx);
		assert_int_equal(w.got, N);
		assert_int_equal(missing(&w), 0);
		assert_in_range(w.inversions, N / 200, N / 50);
		assert_in_range(st.reordered, N / 200, N / 50);
		world_close(&w);
	}
}

static void link_impair__delay_keeps_order_and_time(void **state)
{
	struct link_impair_cfg cfg = {.seed = 6, .delay_ns = 2 * MS};
	uint64_t end;

	(void)state;
	for (int tx = 0; tx < 2; tx++) {
		world_open(&w, &cfg, tx);
		end = run(&w);
		assert_int_equal(w.got, N);
		assert_int_equal(w.inversions, 0);
		/* The last ten were sent at 1 ms + (N / 10 - 1) * 20 us. */
		assert_true(end == MS + (N / 10 - 1) * 20000ull + 2 * MS);
		world_close(&w);
	}
}

static void link_impair__what_it_cannot_hold_is_counted(void **state)
{
	struct link_impair_cfg cfg = {.seed = 7, .delay_ns = 9000 * MS};

	(void)state;
	world_open(&w, &cfg, true);
	run(&w);
	assert_int_equal(w.got + w.impaired->counters[LINK_C_drop_tx_full], N);
	assert_in_range(w.got, 2048, IMPAIR_HELD); /* the far queue takes 2048 at once */
	world_close(&w);
	/* Destroyed while it holds: all comes back to the pool. */
	world_open(&w, &cfg, false);
	for (uint32_t i = 0; i < 100; i++) {
		struct link_tx tx = {.data = (uint8_t *)&i, .len = 4, .to = w.to_b};

		w.a->ops->send(w.a, &tx, 1);
	}
	drain(&w);
	assert_int_equal(w.got, 0);
	world_close(&w);
}

static void link_impair__same_seed_same_history(void **state)
{
	struct link_impair_cfg cfg = {.drop_ppm = 10000,
				      .dup_ppm = 20000,
				      .reorder_ppm = 30000,
				      .corrupt_ppm = 1000,
				      .delay_ns = MS,
				      .jitter_ns = MS / 2,
				      .seed = 8};
	uint32_t first;

	(void)state;
	world_open(&w, &cfg, true);
	run(&w);
	first = w.history;
	world_close(&w);
	world_open(&w, &cfg, true);
	run(&w);
	assert_int_equal(w.history, first);
	world_close(&w);
	cfg.seed++;
	world_open(&w, &cfg, true);
	run(&w);
	assert_int_not_equal(w.history, first);
	world_close(&w);
}

static void link_impair_parse__reads(void **state)
{
	struct link_impair_cfg c;
	char why[200];

	(void)state;
	assert_int_equal(link_impair_parse(&c,
					   "drop=1%,dup=0.1%,reorder=50ppm,delay=2ms,corrupt=0.01%,seed=7",
					   why, sizeof(why)),
			 0);
	assert_int_equal(c.drop_ppm, 10000);
	assert_int_equal(c.dup_ppm, 1000);
	assert_int_equal(c.reorder_ppm, 50);
	assert_int_equal(c.corrupt_ppm, 100);
	assert_true(c.delay_ns == 2 * MS);
	assert_true(c.jitter_ns == 0 && c.seed == 7);
	assert_int_equal(link_impair_parse(&c, "jitter=1.5us,drop=100%", NULL, 0), 0);
	assert_true(c.jitter_ns == 1500 && c.drop_ppm == 1000000 && c.seed == 0);
	assert_int_equal(link_impair_parse(&c, "delay=10s,seed=18446744073709551615", NULL, 0), 0);
	assert_true(c.delay_ns == IMPAIR_DELAY_MAX && c.seed == UINT64_MAX);
}

static void link_impair_parse__says_what_is_wrong(void **state)
{
	static const struct {
		const char *text, *says;
	} bad[] = {
		{"", "'' is none of"},
		{"drop", "'drop' is none of"},
		{"loss=1%", "'loss=1%' is none of"},
		{"drop=1", "wants a share"},
		{"drop=101%", "wants a share"},
		{"drop=-1%", "wants a share"},
		{"drop=%", "wants a share"},
		{"drop=.5%", "wants a share"},
		{"drop=0.00001%", "wants a share"},
		{"drop=99999999999999999999%", "wants a share"},
		{"delay=2", "wants a time"},
		{"delay=11s", "wants a time"},
		{"delay=2ms2", "wants a time"},
		{"delay=0.5ns", "wants a time"},
		{"seed=1.5", "wants a whole number"},
		{"seed=18446744073709551616", "wants a whole number"},
		{"drop=1%,drop=2%", "given twice"},
		{"drop=1%,", "last comma"},
		{"drop=1%,,dup=1%", "'' is none of"},
	};
	struct link_impair_cfg c = {.seed = 99}, before = c;
	char why[200];

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		why[0] = 0;
		assert_int_equal(link_impair_parse(&c, bad[i].text, why, sizeof(why)), -EINVAL);
		if (!strstr(why, bad[i].says))
			fail_msg("%s: %s", bad[i].text, why);
		assert_memory_equal(&c, &before, sizeof(c));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(link_impair__nothing_asked_nothing_done),
		cmocka_unit_test(link_impair__each_fault_alone),
		cmocka_unit_test(link_impair__delay_keeps_order_and_time),
		cmocka_unit_test(link_impair__what_it_cannot_hold_is_counted),
		cmocka_unit_test(link_impair__same_seed_same_history),
		cmocka_unit_test(link_impair_parse__reads),
		cmocka_unit_test(link_impair_parse__says_what_is_wrong),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

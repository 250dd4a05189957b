/* SPDX-License-Identifier: Apache-2.0 */
/* What comes in and must not: each refusal under its name, and nothing else changed by it. */
#include "forge.h"

/* A world with something in flight in both directions. */
static void busy(void)
{
	struct rt_cfg c = pair_cfg();

	pair_up(&c, 1, 10 * US);
	put(0, RT_DATA, RT_REL_FULL, 1, 10000);
	put(1, RT_DATA, RT_REL_FULL, 1, 10000);
	rt_flush(pair.rt[0], pair.now);
	rt_flush(pair.rt[1], pair.now);
	pair_take(1);
	pair_take(0);
	pair.log[0][0] = pair.log[1][0] = 0;
}

static void before_the_tag(void **state)
{
	struct pkt k;
	struct forge f;

	(void)state;
	busy();
	f = honest(1, WIRE_DATA, RT_DATA);
	seal(&f, 1, &k);
	for (uint32_t n = 0; n < WIRE_HDR_LEN + 4; n++) {
		struct pkt cut = k;

		cut.len = n;
		refused("short", &cut, RT_C_drop_short);
	}
	k.len = WIRE_HDR_LEN + RT_CHUNK_MAX + 5;
	refused("longer than any chunk", &k, RT_C_drop_short);
	seal(&f, 1, &k);
	k.data[0] = 0x21;
	refused("version", &k, RT_C_drop_version);
	k.data[0] = 0x10;
	refused("type 0", &k, RT_C_drop_type);
	seal(&f, 1, &k);
	k.data[1] = 0x80;
	refused("unknown flag", &k, RT_C_drop_type);
	seal(&f, 1, &k);
	k.data[2] = 4;
	refused("class", &k, RT_C_drop_class);
	seal(&f, 1, &k);
	k.data[7] ^= 1;
	refused("foreign spi", &k, RT_C_drop_spi);
	seal(&f, 1, &k);
	k.data[3] = 1;
	refused("spi of another path", &k, RT_C_drop_spi);
	f.h.txn = 0;
	seal(&f, 1, &k);
	refused("txn 0", &k, RT_C_drop_replay);
}

/* Every one-bit flip of packets of each type. */
static void bit_flips(void **state)
{
	(void)state;
	busy();
	struct pkt kept[3] = {pkts[0], pkts[npkts - 1], pkts[0]};
	struct forge f = honest(1, WIRE_PROBE, RT_CTL);
	struct print before;

	f.len = WIRE_PROBE_LEN;
	seal(&f, 1, &kept[2]);
	before = print_of(pair.rt[1]);
	for (int i = 0; i < 3; i++)
		for (uint32_t bit = 0; bit < kept[i].len * 8; bit++) {
			struct pkt k = kept[i];
			struct print after;

			k.data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
			assert_int_equal(pair_give(1, &k), -EBADMSG);
			after = print_of(pair.rt[1]);
			assert_memory_equal(&before, &after, sizeof(before));
		}
	assert_log(1, "");
	assert_int_equal(pair_give(1, &kept[0]), 0); /* and unharmed they are welcome */
}

static void replays(void **state)
{
	(void)state;
	busy();
	int n = npkts;

	pair_give_all(1);
	pair.log[1][0] = 0;
	for (int i = 0; i < n; i++)
		refused("replay", &pkts[i], RT_C_drop_replay);
}

/* Authentic, and still not believable. */
static void headers(void **state)
{
	struct forge f;
	struct pkt k;

	(void)state;
	busy();
	const struct tx_ring *t = &pair.rt[1]->tx[RT_DATA];
	const struct rx_win *w = &pair.rt[1]->rx[RT_DATA];

#define TRY(what, field, value, why)                                                                         \
	do {                                                                                                 \
		f = honest(1, WIRE_ACK, RT_DATA);                                                            \
		f.h.field = (value);                                                                         \
		seal(&f, 1, &k);                                                                             \
		refused(what, &k, why);                                                                      \
	} while (0)
	TRY("acknowledges what was not sent", cum_ack, t->next + 1, RT_C_drop_window);
	TRY("far more", cum_ack, t->next + 0x7fffffff, RT_C_drop_window);
	TRY("floor beyond the window", floor, w->cum + w->window + 1, RT_C_drop_window);
	TRY("floor above the number", floor, w->cum + 1, RT_C_drop_window);
	TRY("number beyond the window", psn, w->cum + w->window + 1, RT_C_drop_window);
	TRY("number half the circle away", psn, w->cum + 0x80000000, RT_C_drop_window);
	TRY("floor half the circle away", floor, w->cum + 0x80000000, RT_C_drop_window);
	TRY("no window", rwnd, 0, RT_C_drop_window);
#undef TRY
}

static void ack_to(struct forge *f, const struct wire_ack *a, const uint64_t *words)
{
	struct cur_w w;

	cur_w_init(&w, f->body + f->len, sizeof(f->body) - f->len);
	assert_true(wire_ack_encode(&w, a));
	for (uint32_t i = 0; i < a->nwords; i++)
		wire_ack_put_word(&w, words[i]);
	f->len = (uint32_t)(sizeof(f->body) - w.left);
}

static void forged_acks(void **state)
{
	struct forge f;
	struct pkt k;

	(void)state;
	busy();
	const struct rt *rt = pair.rt[1];
	uint32_t next = rt->tx[RT_DATA].next;
	const struct {
		const char *what;
		struct wire_ack a;
		uint64_t word;
	} rows[] = {
		{"cum not sent", {.cls = RT_DATA, .rwnd = 64, .cum_ack = next + 1}, 0},
		{"cum of an idle class", {.cls = RT_NET, .rwnd = 64, .cum_ack = 1}, 0},
		{"cum half the circle", {.cls = RT_DATA, .rwnd = 64, .cum_ack = next + 0x7fffffff}, 0},
		{"bit not sent", {.cls = RT_DATA, .rwnd = 64, .nwords = 1}, 1ull << next},
		{"last bit", {.cls = RT_DATA, .rwnd = 64, .nwords = 1}, 1ull << 63},
		{"echo of the future", {.cls = RT_DATA, .rwnd = 64, .largest_txn = rt->path[0].txn}, 0},
		{"echo on a path that is not", {.cls = RT_DATA, .rwnd = 64, .path = 2, .largest_txn = 1}, 0},
		{"no window", {.cls = RT_DATA, .rwnd = 0}, 0},
		{"more words than the window", {.cls = RT_CTL, .rwnd = 64, .nwords = 4}, 0},
		{"class", {.cls = RT_NCLASS, .rwnd = 64}, 0},
		{"path", {.cls = RT_DATA, .rwnd = 64, .path = RT_PATHS}, 0},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		static const struct wire_ack good = {.cls = RT_CMD, .rwnd = 64};
		uint64_t words[WIRE_ACK_WORDS] = {rows[i].word};

		f = honest(1, WIRE_ACK, RT_DATA);
		ack_to(&f, &rows[i].a, words);
		seal(&f, 1, &k);
		refused(rows[i].what, &k, RT_C_drop_ack);
		/* behind a good block, and riding on data */
		f = honest(1, WIRE_ACK, RT_DATA);
		ack_to(&f, &good, NULL);
		ack_to(&f, &rows[i].a, words);
		seal(&f, 1, &k);
		refused(rows[i].what, &k, RT_C_drop_ack);
		f.h = honest(1, WIRE_DATA, RT_DATA).h;
		f.h.flags = WIRE_F_ACKS;
		f.body[f.len + 1] = (uint8_t)f.len;
		f.len += 2;
		seal(&f, 1, &k);
		refused(rows[i].what, &k, RT_C_drop_ack);
	}
	f = honest(1, WIRE_ACK, RT_DATA);
	f.len = WIRE_ACK_LEN - 1;
	seal(&f, 1, &k);
	refused("truncated block", &k, RT_C_drop_ack);
	f = honest(1, WIRE_DATA, RT_DATA);
	f.h.flags = WIRE_F_ACKS;
	f.len = 1;
	seal(&f, 1, &k);
	refused("area too short", &k, RT_C_drop_ack);
	f = honest(1, WIRE_DATA, RT_DATA);
	f.h.flags = WIRE_F_ACKS;
	f.len = 30;
	f.body[29] = 29;
	seal(&f, 1, &k);
	refused("area longer than the payload", &k, RT_C_drop_ack);
}

static void bad_records(void **state)
{
	static const struct {
		const char *what;
		uint16_t len;
		uint32_t total, offset;
	} rows[] = {
		{"beyond the packet", 41, 100, 0},
		{"beyond the message", 40, 39, 0},
		{"offset beyond the message", 0, 1, 2},
		{"sum wraps", 40, 0xffffffff, 0xfffffff0},
	};
	struct forge f;
	struct pkt k;

	(void)state;
	busy();
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct wire_rec good = {.len = 10, .total = 10},
				bad = {.len = rows[i].len, .total = rows[i].total, .offset = rows[i].offset};

		f = honest(1, WIRE_DATA, RT_DATA);
		wire_rec_encode(&good, f.body);
		wire_rec_encode(&bad, f.body + 30);
		f.len = 90;
		seal(&f, 1, &k);
		refused(rows[i].what, &k, RT_C_drop_record);
	}
}

/* 0, 1, 2^n - 1, 2^n, 2^n + 1, the largest. */
static unsigned edges(uint32_t *out)
{
	unsigned n = 0;

	out[n++] = 0;
	out[n++] = 1;
	for (unsigned bit = 2; bit < 32; bit++)
		for (uint32_t d = 0; d < 3; d++)
			out[n++] = (1u << bit) - 1 + d;
	out[n++] = UINT32_MAX - 1;
	out[n++] = UINT32_MAX;
	return n;
}

/* A record of 40 bytes at most in the packet: it is taken exactly when its piece lies in both, the packet and
 * the message. */
static void record_edges(void **state)
{
	static const uint16_t lens[] = {0, 1, 19, 20, 39, 40, 41, 255, 256, 32767, 32768, 65535};
	uint32_t e[128];
	unsigned n = edges(e), taken = 0;
	struct pkt k;

	(void)state;
	busy();
	for (unsigned l = 0; l < sizeof(lens) / sizeof(lens[0]); l++)
		for (unsigned t = 0; t < n; t++)
			for (unsigned o = 0; o < n; o += 1 + (lens[l] > 40)) {
				struct wire_rec r = {
					.kind = 1, .len = lens[l], .total = e[t], .offset = e[o]};
				struct forge f = honest(1, WIRE_DATA, RT_DATA);
				bool good = lens[l] <= 40 && (uint64_t)e[o] + lens[l] <= e[t];

				wire_rec_encode(&r, f.body);
				f.len = WIRE_REC_LEN + 40;
				/* What is behind a shorter one is padding, or says nothing. */
				memset(f.body + WIRE_REC_LEN, 0, 40);
				seal(&f, 1, &k);
				if (!good) {
					refused("a record at the edge", &k, RT_C_drop_record);
					continue;
				}
				if (pair_give(1, &k))
					fail_msg("len %u, total %u, offset %u: refused", lens[l], e[t], e[o]);
				pair.log[1][0] = 0;
				taken++;
			}
	assert_true(taken > 1000);
}

/* Numbers of the header at every distance from where the ends stand: what is refused leaves no trace, what is
 * taken is within the window. */
static void header_edges(void **state)
{
	uint32_t e[128];
	unsigned n = edges(e), taken = 0;

	(void)state;
	for (unsigned field = 0; field < 3; field++)
		for (unsigned i = 0; i < 2 * n; i++) {
			uint32_t d = i < n ? e[i] : 0u - e[i - n];
			struct rt *rt;
			struct forge f;
			struct pkt k;
			uint32_t *at[] = {&f.h.psn, &f.h.floor, &f.h.cum_ack};

			if (!i || taken) /* one that was taken has moved things */
				busy();
			taken = 0;
			rt = pair.rt[1];
			f = honest(1, WIRE_ACK, RT_DATA);
			*at[field] += d;
			seal(&f, 1, &k);
			if ((field < 2 &&
			     psn_diff(*at[field], rt->rx[RT_DATA].cum + rt->rx[RT_DATA].window) > 0) ||
			    (field == 2 && psn_diff(*at[field], rt->tx[RT_DATA].next) > 0)) {
				refused("a number beyond the edge", &k, RT_C_drop_window);
				continue;
			}
			taken = 1;
			if (pair_give(1, &k) == 0)
				assert_true(psn_diff(rt->rx[RT_DATA].cum, rt->rx[RT_DATA].high) <= 0);
			for (unsigned c = 0; c < RT_NCLASS; c++)
				assert_true(rt->tx[c].next - rt->tx[c].base <= rt->tx[c].window);
		}
}

static void bad_probes(void **state)
{
	struct forge f;
	struct pkt k;

	(void)state;
	busy();
	f = honest(1, WIRE_PROBE, RT_CTL);
	f.len = WIRE_PROBE_LEN - 1;
	seal(&f, 1, &k);
	refused("short probe", &k, RT_C_drop_type);
	f = honest(1, WIRE_PROBE, RT_CTL);
	f.len = WIRE_PROBE_LEN;
	f.body[8] = 2;
	seal(&f, 1, &k);
	refused("probe of a strange state", &k, RT_C_drop_type);
}

/* An answer to a probe that was never sent says nothing about the round trip. */
static void false_reply(void **state)
{
	struct wire_probe b = {.stamp = 1, .usable = true};
	struct forge f;
	struct pkt k;
	uint64_t srtt;

	(void)state;
	busy();
	srtt = pair.rt[1]->path[0].srtt;
	for (int i = 0; i < 7; i++) {
		if (i == 4) { /* now one is out, but these answer others */
			pair.rt[1]->path[0].probe_due = true;
			pair_take(1);
		}
		b.stamp = i == 0   ? 1
			  : i == 1 ? pair.now
			  : i == 2 ? UINT64_MAX
			  : i == 3 ? 0
				   : pair.now + (uint64_t)i - 5;
		if (i == 5)
			continue;
		f = honest(1, WIRE_PROBE_REPLY, RT_CTL);
		f.len = WIRE_PROBE_LEN;
		wire_probe_encode(&b, f.body);
		seal(&f, 1, &k);
		assert_int_equal(pair_give(1, &k), 0);
		assert_true(pair.rt[1]->path[0].srtt == srtt);
	}
}

/* Duplicates under a new transmission number are counted, not delivered, and acknowledged. */
static void duplicates(void **state)
{
	(void)state;
	busy();
	pair_give(1, &pkts[0]);
	pair.log[1][0] = 0;
	pair_tick(0);
	assert_int_equal(pair_take(0), 1);
	assert_int_equal(pkts[0].h.flags, WIRE_F_RETRANSMIT | WIRE_F_ACK_NOW);
	assert_int_equal(pair_give(1, &pkts[0]), 0);
	assert_int_equal(counter(1, RT_C_drop_duplicate), 1);
	assert_log(1, "");
	assert_true(pair_take(1) > 0);
	assert_int_equal(pkts[npkts - 1].h.type, WIRE_ACK);
}

static void peek(void **state)
{
	uint8_t b[WIRE_HDR_LEN] = {0x11, 0, 0, 0, 1, 2, 3, 4};

	(void)state;
	assert_int_equal(rt_peek_spi(b, sizeof(b)), 0x01020304);
	assert_int_equal(rt_peek_spi(b, sizeof(b) - 1), 0);
	assert_int_equal(rt_peek_spi(b, 0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(before_the_tag), cmocka_unit_test(bit_flips),
		cmocka_unit_test(replays),	  cmocka_unit_test(headers),
		cmocka_unit_test(forged_acks),	  cmocka_unit_test(bad_records),
		cmocka_unit_test(record_edges),	  cmocka_unit_test(header_edges),
		cmocka_unit_test(bad_probes),	  cmocka_unit_test(false_reply),
		cmocka_unit_test(duplicates),	  cmocka_unit_test(peek),
	};

	return cmocka_run_group_tests(tests, NULL, pair_teardown);
}

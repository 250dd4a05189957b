/* SPDX-License-Identifier: Apache-2.0 */
/* Every type of packet in every state of a path, at both ends: what has not the form, or says what cannot be,
 * is refused under its name whatever the state is, and nothing but the path's own sign of life comes of it.
 */
#include "forge.h"

enum st { ADDED, UP, BUSY, SUSPECTED, DEAD, KEYS_FRESH, KEYS_CHANGED, REMOVED, STATES };
static const char *const names[STATES] = {"added", "up",	 "busy",	 "suspected",
					  "dead",  "fresh keys", "keys changed", "removed"};

static struct rt_path_cfg fresh_path(int side)
{
	struct rt_path_cfg c = pair_path(side, 0);

	c.tx_spi += 0x100;
	c.rx_spi += 0x100;
	memset(c.tx_key, 0x40 + side, sizeof(c.tx_key));
	memset(c.rx_key, 0x41 - side, sizeof(c.rx_key));
	return c;
}

/* Nothing of either end arrives, until the active one holds the path for that. */
static void cut_until(enum rt_path_state want)
{
	for (int i = 0; pair.rt[0]->path[0].state != want; i++) {
		assert_true(i < 100);
		pair_take(0);
		pair_take(1);
		pair_tick(0);
	}
}

static void rekey(bool change)
{
	for (int side = 0; side < 2; side++) {
		struct rt_path_cfg next = fresh_path(side);

		assert_int_equal(rt_path_rekey(pair.rt[side], 0, &next, pair.now), 0);
		if (change)
			assert_int_equal(rt_path_rekey_send(pair.rt[side], 0, pair.now), 0);
	}
	if (change)
		pair_settle(10 * US);
}

static void reach(enum st st)
{
	struct rt_cfg c = pair_cfg();

	if (st == ADDED) {
		pair_open(&c, 1);
		return;
	}
	pair_up(&c, 1, 10 * US);
	for (int side = 0; side < 2 && st >= BUSY && st != SUSPECTED && st != DEAD; side++) {
		put(side, RT_DATA, RT_REL_FULL, 1, 5000);
		put(side, RT_NET, RT_REL_BOUNDED, 2, 5000);
		rt_flush(pair.rt[side], pair.now);
		pair_take(side);
	}
	if (st == SUSPECTED || st == DEAD)
		cut_until(st == DEAD ? RT_PATH_DOWN : RT_PATH_SUSPECT);
	if (st == KEYS_FRESH || st == KEYS_CHANGED)
		rekey(st == KEYS_CHANGED);
	for (int side = 0; side < 2 && st == REMOVED; side++)
		assert_int_equal(rt_path_del(pair.rt[side], 0, pair.now), 0);
	pair.log[0][0] = pair.log[1][0] = 0;
}

/* What the end has of messages, acknowledgements and windows. */
static struct print deep(int side)
{
	struct print p = print_of(pair.rt[side]);

	/* An authentic packet shows that the path lives, whatever it says: that is not held against it. */
	memset(p.state, 0, sizeof(p.state));
	p.primary = 0;
	for (unsigned c = 0; c < RT_NCLASS; c++)
		p.tx[c].pto_from = 0;
	return p;
}

static void dropped(enum st st, int to, const struct pkt *k, enum rt_counter why, const char *what)
{
	uint64_t drops[RT_NCOUNTERS];
	struct print before = deep(to), after;

	memcpy(drops, rt_counters(pair.rt[to]), sizeof(drops));
	pair.log[to][0] = 0;
	if (pair_give(to, k) != -EBADMSG)
		fail_msg("%s, end %d: %s is taken", names[st], to, what);
	after = deep(to);
	if (memcmp(&before, &after, sizeof(before)))
		fail_msg("%s, end %d: %s changes the state", names[st], to, what);
	for (unsigned i = RT_C_drop_short; i < RT_NCOUNTERS; i++)
		if (rt_counters(pair.rt[to])[i] - drops[i] != (i == why))
			fail_msg("%s, end %d: %s counts %s", names[st], to, what, rt_counter_names[i]);
	if (strstr(pair.log[to], "rec") || strstr(pair.log[to], "settled"))
		fail_msg("%s, end %d: %s: %s", names[st], to, what, pair.log[to]);
}

/* Of no type, with unknown flags: refused before anything is believed. */
static void strange_types(enum st st, int to)
{
	for (unsigned type = 0; type < 16; type++)
		for (unsigned bit = 0; bit < 8; bit++) {
			struct forge f = honest(to, WIRE_DATA, RT_DATA);
			bool known = type >= WIRE_DATA && type <= WIRE_PROBE_REPLY;
			struct pkt k;

			if (known && (1u << bit & WIRE_F_KNOWN))
				continue;
			wire_hdr_encode(&f.h, k.data);
			k.data[0] = (uint8_t)(WIRE_VERSION << 4 | type);
			k.data[1] = (uint8_t)(1u << bit);
			k.len = WIRE_HDR_LEN + aead_crc.tag_len + 40;
			memset(k.data + WIRE_HDR_LEN, 0, k.len - WIRE_HDR_LEN);
			dropped(st, to, &k, RT_C_drop_type, "a strange type or flag");
		}
}

/* A body that is none of its type's: one record beyond the packet, half an acknowledgement, half a probe. */
static void broken_body(struct forge *f, uint8_t type)
{
	struct wire_rec bad = {.len = 41, .total = 100};

	if (type == WIRE_DATA) {
		wire_rec_encode(&bad, f->body);
		f->len = 60;
	} else {
		f->len = type == WIRE_ACK ? WIRE_ACK_LEN - 1 : WIRE_PROBE_LEN - 1;
	}
}

static void known_types(enum st st, int to)
{
	static const enum rt_counter why[] = {[WIRE_DATA] = RT_C_drop_record,
					      [WIRE_ACK] = RT_C_drop_ack,
					      [WIRE_PROBE] = RT_C_drop_type,
					      [WIRE_PROBE_REPLY] = RT_C_drop_type};

	for (uint8_t type = WIRE_DATA; type <= WIRE_PROBE_REPLY; type++)
		for (unsigned cls = 0; cls < RT_NCLASS; cls++)
			for (unsigned flag = 0; flag <= WIRE_F_KNOWN; flag++) {
				struct forge f = honest(to, type, cls);
				struct pkt k;

				f.h.flags = (uint8_t)flag & (uint8_t) ~(WIRE_F_ACKS | WIRE_F_PHASE);
				broken_body(&f, type);
				seal(&f, to, &k);
				dropped(st, to, &k, why[type], "a broken body");
				f = honest(to, type, cls);
				f.h.flags = (uint8_t)flag;
				f.h.cum_ack = pair.rt[to]->tx[cls].next + 1;
				seal(&f, to, &k);
				dropped(st, to, &k, RT_C_drop_window,
					"an acknowledgement of what was not sent");
				k.data[k.len - 1] ^= 1;
				dropped(st, to, &k, RT_C_drop_auth, "a false tag");
			}
}

/* Of a path that is gone: all of them are strangers. */
static void strangers(int to)
{
	for (uint8_t type = WIRE_DATA; type <= WIRE_PROBE_REPLY; type++) {
		struct forge f = honest(to, type, RT_DATA);
		struct pkt k;

		f.h.spi = pair_path(to, 0).rx_spi;
		wire_hdr_encode(&f.h, k.data);
		k.len = WIRE_HDR_LEN + WIRE_PROBE_LEN + aead_crc.tag_len;
		dropped(REMOVED, to, &k, RT_C_drop_spi, "a packet of a path that is gone");
	}
}

static void every_type_in_every_state(void **state)
{
	(void)state;
	for (enum st st = 0; st < STATES; st++)
		for (int to = 0; to < 2; to++) {
			reach(st);
			strange_types(st, to);
			if (st == REMOVED) {
				strangers(to);
				continue;
			}
			known_types(st, to);
		}
}

/* The states are what their names say. */
static void states_are_reached(void **state)
{
	static const enum rt_path_state want[STATES] = {
		[ADDED] = RT_PATH_PROBING,     [UP] = RT_PATH_UP,	 [BUSY] = RT_PATH_UP,
		[SUSPECTED] = RT_PATH_SUSPECT, [DEAD] = RT_PATH_DOWN,	 [KEYS_FRESH] = RT_PATH_UP,
		[KEYS_CHANGED] = RT_PATH_UP,   [REMOVED] = RT_PATH_DOWN,
	};

	(void)state;
	for (enum st st = 0; st < STATES; st++) {
		struct rt_path_info i;

		reach(st);
		rt_path_info(pair.rt[0], 0, &i);
		if (i.state != want[st])
			fail_msg("%s: state %d", names[st], (int)i.state);
		assert_true(i.rekeying == (st == KEYS_FRESH || st == KEYS_CHANGED));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(states_are_reached),
					   cmocka_unit_test(every_type_in_every_state)};

	return cmocka_run_group_tests(tests, NULL, pair_teardown);
}

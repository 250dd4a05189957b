/* SPDX-License-Identifier: Apache-2.0 */
/* Guest to appliance: chains become frames, in order, whatever the wire does. */
#include "tests/unit/fabric/vqt/vqt_frames.h"

static void put(struct setup *s, uint32_t len, uint32_t seed)
{
	vw_pattern(buf, len, seed);
	fake_ring_add1(&s->ring[1], buf, len, 0);
	vqt_host_kick(s->hd, 1);
}

/* The 12-byte header in every cutting into up to 12 descriptors (CVE-2022-2132), with zero-length ones. */
static void every_split_of_the_header(void **state)
{
	struct setup *s = fresh_nic(NULL, 0);

	(void)state;
	vw_pattern(buf, 60, 5);
	for (unsigned mask = 0; mask < 2048; mask++) {
		uint32_t outs[16], n = 0, run_len = 1;

		for (unsigned bit = 0; bit < 11; bit++) {
			if (mask >> bit & 1) {
				outs[n++] = run_len;
				run_len = 0;
			}
			run_len++;
		}
		outs[n++] = run_len;
		if (mask % 3 == 0)
			outs[n++] = 0;
		outs[n++] = 48;
		fake_ring_add(&s->ring[1], buf, outs, n, NULL, 0);
	}
	vqt_host_kick(s->hd, 1);
	run(s);
	assert_int_equal(s->w.ngot, 2048);
	for (unsigned i = 0; i < s->w.ngot; i++)
		frame_is(s->w.got[i], 60, 5);
	assert_int_equal(vw_hd(s->hd, VQT_HD_tx_frames), 2048);
	assert_int_equal(s->ring[1].taken, 0);
	teardown(s);
}

static void super_frames_cross_whole(void **state)
{
	struct setup *s = fresh_nic(NULL, 0);
	static const uint32_t lens[] = {26, 1526, 1527, 65535, FRAME_MAX};

	(void)state;
	for (unsigned i = 0; i < 5; i++)
		put(s, lens[i], i);
	run(s);
	assert_int_equal(s->w.ngot, 5);
	assert_true(vqt_hdev_news(s->hd));
	assert_false(vqt_hdev_news(s->hd));
	for (unsigned i = 0; i < 5; i++)
		frame_is(s->w.got[i], lens[i], i);
	assert_int_equal(vw_d(s->d, VQT_D_frames_super), 3);
	assert_int_equal(vw_hd(s->hd, VQT_HD_frames_super), 3);
	/* Linked, not copied. */
	assert_int_equal(vw_d(s->d, VQT_D_rx_copied), 0);
	/* A chain goes back as soon as its bytes are copied, with nothing written. */
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(fake_ring_used(&s->ring[1])->written, 0);
	teardown(s);
}

static void pieces_that_cannot_be_linked_are_copied(void **state)
{
	struct vw_cfg small = {.chunk = RT_CHUNK_MIN};
	struct setup *s = fresh_nic(&small, 0);

	(void)state;
	/* 64 KiB over 256-byte chunks are more pieces than a frame has segments. */
	put(s, FRAME_MAX, 1);
	run(s);
	assert_int_equal(s->w.ngot, 1);
	frame_is(s->w.got[0], FRAME_MAX, 1);
	assert_true(vw_d(s->d, VQT_D_rx_copied) > 200);
	teardown(s);
	s = fresh_nic(NULL, 0);
	s->w.no_owner = true;
	put(s, 60, 1);
	put(s, 9000, 2);
	run(s);
	assert_int_equal(s->w.ngot, 2);
	frame_is(s->w.got[0], 60, 1);
	frame_is(s->w.got[1], 9000, 2);
	teardown(s);
}

static void chains_that_are_no_frames(void **state)
{
	struct setup *s = fresh_nic(NULL, 0);
	uint32_t in = 8, zero = 0, long_out[2] = {FRAME_MAX, 1};
	static uint8_t big[FRAME_MAX + 1];

	(void)state;
	fake_ring_add(&s->ring[1], NULL, NULL, 0, NULL, 0);
	fake_ring_add(&s->ring[1], buf, &zero, 1, NULL, 0);
	fake_ring_add1(&s->ring[1], buf, 25, 0);
	fake_ring_add(&s->ring[1], NULL, NULL, 0, &in, 1);
	fake_ring_add1(&s->ring[1], buf, 100, 8);
	fake_ring_add(&s->ring[1], big, long_out, 2, NULL, 0);
	put(s, 60, 9);
	run(s);
	assert_int_equal(s->w.ngot, 1);
	frame_is(s->w.got[0], 60, 9);
	assert_int_equal(vw_hd(s->hd, VQT_HD_drop_tx_short), 3);
	assert_int_equal(vw_hd(s->hd, VQT_HD_drop_tx_writable), 2);
	assert_int_equal(vw_hd(s->hd, VQT_HD_drop_tx_long), 1);
	assert_int_equal(s->ring[1].nused, 7);
	teardown(s);
}

static void a_broken_ring_is_left_alone(void **state)
{
	struct setup *s = fresh_nic(NULL, 0);

	(void)state;
	s->ring[1].broken = true;
	vqt_host_kick(s->hd, 1);
	run(s);
	assert_string_equal(s->w.log, "broken 1; ");
	s->ring[1].closed = true;
	vqt_host_kick(s->hd, 1);
	run(s);
	/* The guest resets it. */
	vqt_host_queue_stop(s->hd, 1, VQT_STOP_DRAIN);
	assert_string_equal(s->w.log, "broken 1; stopped 1; ");
	s->ring[1].closed = s->ring[1].broken = false;
	assert_int_equal(vqt_host_queue_start(s->hd, 1, true), 0);
	put(s, 60, 1);
	run(s);
	assert_int_equal(s->w.ngot, 1);
	teardown(s);
}

/* A full transport holds the ring back; nothing is lost, nothing is taken twice. */
static void back_pressure(void **state)
{
	/* Large ones go one by one, the others in bursts. */
	static const struct {
		uint32_t len, n;
	} rows[] = {{60000, 200}, {1526, 2000}};

	(void)state;
	for (size_t k = 0; k < sizeof(rows) / sizeof(rows[0]); k++) {
		struct setup *s = fresh_nic(NULL, 0);
		uint32_t n = rows[k].n;

		for (unsigned i = 0; i < n; i++)
			put(s, rows[k].len, i);
		s->w.cut = true;
		vw_run(&s->w, MS);
		assert_true(vw_hd(s->hd, VQT_HD_tx_blocked) > 0);
		assert_true(s->ring[1].head < n);
		assert_int_equal(s->ring[1].taken, 0);
		s->w.cut = false;
		run(s);
		assert_int_equal(s->w.ngot, n);
		for (unsigned i = 0; i < n; i++)
			frame_is(s->w.got[i], rows[k].len, i);
		teardown(s);
	}
}

/* 500 frames of all sizes over a bad wire: what arrives is whole, in order, and all of it if reliable. */
static void bad_wires(void **state)
{
	static const enum rt_rel rels[] = {RT_REL_NONE, RT_REL_BOUNDED, RT_REL_FULL};

	(void)state;
	for (unsigned k = 0; k < 3; k++) {
		struct setup *s = calloc(1, sizeof(*s));
		struct rng rng;
		uint32_t lens[500], next = 0;
		unsigned missing;

		assert_non_null(s);
		s->pos = 0u - 64 * 1000; /* positions wrap on the way */
		s->rel = rels[k];
		setup(s, VQT_NET, NULL);
		rng_init(&rng, k);
		s->w.loss[0] = s->w.loss[1] = 50000;
		s->w.reorder = 200000;
		for (unsigned i = 0; i < 500; i++) {
			lens[i] = 40 + (uint32_t)(rng_chance(&rng, 300000) ? rng_below(&rng, 65000)
									   : rng_below(&rng, 1500));
			put(s, lens[i], i + 1);
			memcpy(s->ring[1].chains[i]->iov[0].iov_base, &i, 4);
			if (i % 50 == 49)
				run(s);
		}
		run(s);
		for (unsigned i = 0; i < s->w.ngot; i++) {
			uint32_t id;

			frame_read(s->w.got[i], 0, &id, 4);
			assert_true(id >= next && id < 500);
			next = id + 1;
			vw_pattern(buf, lens[id], id + 1);
			memcpy(buf, &id, 4);
			assert_int_equal(s->w.got[i]->len, lens[id]);
			frame_read(s->w.got[i], 0, got, lens[id]);
			assert_memory_equal(got, buf, lens[id]);
		}
		missing = 500 - s->w.ngot;
		if (rels[k] == RT_REL_FULL)
			assert_int_equal(missing, 0);
		if (rels[k] == RT_REL_NONE)
			assert_true(missing > 0);
		/* Nothing waits for ever: at most a tail after which nothing came. */
		assert_true(vw_d(s->d, VQT_D_rx_frames) == s->w.ngot);
		teardown(s);
	}
}

/* A frame that the guest never made, between two that it made. */
static void announcement(void **state)
{
	static const uint8_t mac[6] = {2, 0, 0x5e, 1, 2, 3};
	struct setup *s = fresh_nic(NULL, 0);

	(void)state;
	put(s, 60, 1);
	run(s);
	vqt_host_announce(s->hd, mac);
	put(s, 60, 2);
	run(s);
	assert_int_equal(s->w.ngot, 3);
	frame_is(s->w.got[0], 60, 1);
	frame_is(s->w.got[2], 60, 2);
	assert_int_equal(s->w.got[1]->len, 72);
	frame_read(s->w.got[1], 0, got, 72);
	assert_memory_equal(got, "\0\0\0\0\0\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff\2\0\x5e\1\2\3\x80\x35",
			    26);
	assert_memory_equal(got + 26, "\0\1\x8\0\6\4\0\3\2\0\x5e\1\2\3\0\0\0\0\2\0\x5e\1\2\3\0\0\0\0", 28);
	assert_int_equal(vw_hd(s->hd, VQT_HD_announced), 1);
	vqt_hdev_unbind(s->hd);
	vqt_host_announce(s->hd, mac);
	assert_int_equal(vw_hd(s->hd, VQT_HD_announced), 1);
	teardown(s);
}

/* A guest that always has more to send does not keep another waiting: each service takes some of both, and
 * ends after a part of what the busy one has. */
static void a_busy_guest_starves_nobody(void **state)
{
	struct setup *s = fresh_nic(NULL, 0);
	void *rings[2] = {&s->ring[2], &s->ring[3]};
	struct vqt_hdev_cfg hc = {
		.type = VQT_NET, .user = &s->w, .ring_ops = &fake_ring_ops, .nvq = 2, .rings = rings};
	struct vqt_dev_cfg dc = {
		.type = VQT_NET, .user = &s->w, .wire = WIRE + 1, .epoch = EPOCH, .nvq = 2, .rel = s->rel};
	struct vqt_bind b = {.wire = WIRE + 1, .epoch = EPOCH, .rel = s->rel};
	struct vqt_hdev *quiet;
	unsigned before = 0;
	int err;

	(void)state;
	quiet = vqt_host_attach(s->w.host, &hc, &err);
	assert_non_null(quiet);
	assert_non_null(vqt_peer_attach(s->w.peer, &dc, &err));
	assert_int_equal(vqt_hdev_bind(quiet, &b), 0);
	assert_int_equal(vqt_host_queue_start(quiet, 1, true), 0);
	run(s);
	for (unsigned i = 0; i < 40; i++)
		put(s, 60000, i);
	for (unsigned i = 0; i < 3; i++) {
		fake_ring_add1(&s->ring[3], buf, 60, 0);
		vqt_host_kick(quiet, 1);
		assert_true(vqt_host_service(s->w.host, 256, s->w.now));
		assert_int_equal(s->ring[3].nused, i + 1);
		assert_in_range(s->ring[1].nused, before + 1, before + 6);
		before = s->ring[1].nused;
	}
	run(s);
	assert_int_equal(s->w.ngot, 43);
	vqt_host_detach(quiet);
	teardown(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_split_of_the_header),
		cmocka_unit_test(announcement),
		cmocka_unit_test(a_busy_guest_starves_nobody),
		cmocka_unit_test(super_frames_cross_whole),
		cmocka_unit_test(pieces_that_cannot_be_linked_are_copied),
		cmocka_unit_test(chains_that_are_no_frames),
		cmocka_unit_test(a_broken_ring_is_left_alone),
		cmocka_unit_test(back_pressure),
		cmocka_unit_test(bad_wires),
	};

	if (cmocka_run_group_tests_name("in bursts", tests, NULL, NULL))
		return 1;
	one_by_one = true;
	return cmocka_run_group_tests_name("one by one", tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* One network or block device at both ends of a world; shared by the tests of this folder. */
#ifndef OUTRIGGER_TESTS_VQT_SETUP_H
#define OUTRIGGER_TESTS_VQT_SETUP_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/lib/vqt_world.h"

#define WIRE  7
#define EPOCH 0x30001u
#define MS    1000000ull

/* Rings of a front-end that has no bursts. */
static bool one_by_one;

struct setup {
	struct vw w;
	struct fake_ring ring[4];
	struct vqt_hdev *hd;
	struct vqt_dev *d;
	enum vqt_type type;
	unsigned nvq;
	uint32_t epoch, window, pos, depth, max_inflight;
	enum rt_rel rel;
};

static inline void setup_bind(struct setup *s)
{
	struct vqt_bind b = {.wire = WIRE,
			     .epoch = s->epoch,
			     .rel = s->rel,
			     .max_inflight = s->max_inflight,
			     .pos_start = s->pos};
	struct vqt_dev_cfg dc = {.type = s->type,
				 .user = &s->w,
				 .wire = WIRE,
				 .epoch = s->epoch,
				 .nvq = s->nvq,
				 .window = s->window,
				 .rel = s->rel,
				 .depth = s->depth,
				 .max_inflight = s->max_inflight,
				 .pos_start = s->pos};
	int err;

	s->d = vqt_peer_attach(s->w.peer, &dc, &err);
	assert_non_null(s->d);
	assert_int_equal(vqt_hdev_bind(s->hd, &b), 0);
}

static inline void setup_hdev(struct setup *s)
{
	void *rings[4] = {&s->ring[0], &s->ring[1], &s->ring[2], &s->ring[3]};
	struct vqt_hdev_cfg hc = {.type = s->type,
				  .user = &s->w,
				  .ring_ops = one_by_one ? &fake_ring_ops_single : &fake_ring_ops,
				  .nvq = s->nvq,
				  .rings = rings,
				  .depth = s->depth,
				  .keys = s->w.adapter ? &vw_keys
					  : s->w.bulk  ? &vw_bulk_keys
						       : NULL,
				  .window = s->window};
	int err;

	s->hd = vqt_host_attach(s->w.host, &hc, &err);
	assert_non_null(s->hd);
}

/* Fields that are 0 get their defaults (rel has none: RT_REL_NONE is 0); s must be zeroed first. */
static inline void setup(struct setup *s, enum vqt_type type, const struct vw_cfg *cfg)
{
	s->type = type;
	s->nvq = 2;
	s->epoch = EPOCH;
	s->depth = s->depth ? s->depth : 64;
	s->max_inflight = s->max_inflight ? s->max_inflight : 4u << 20;
	vw_init(&s->w, cfg);
	for (int i = 0; i < 4; i++)
		fake_ring_init(&s->ring[i]);
	setup_hdev(s);
	setup_bind(s);
	for (unsigned i = 0; i < s->nvq; i++)
		assert_int_equal(vqt_host_queue_start(s->hd, i, true), 0);
}

static inline void teardown(struct setup *s)
{
	if (s->hd)
		vqt_host_detach(s->hd);
	vw_fini(&s->w);
	for (int i = 0; i < 4; i++)
		fake_ring_fini(&s->ring[i]);
	free(s);
}

static inline void run(struct setup *s)
{
	vw_run(&s->w, 2000 * MS);
}

/* The guest's frame: in n writable buffers of the next used chains, as num_buffers says. false: none used. */
static inline uint32_t guest_frame(struct fake_ring *r, uint8_t *to)
{
	struct fake_chain *c = fake_ring_used(r);
	uint8_t nb[2];
	uint32_t len = 0;
	unsigned n = 1;

	if (!c)
		return 0;
	for (unsigned i = 0; i < n; i++) {
		assert_non_null(c);
		fake_chain_read(c, 0, to + len, c->written);
		len += c->written;
		if (i == 0 || len - c->written < 12) {
			memcpy(nb, to + 10, 2);
			if (len >= 12)
				n = nb[0] + 256u * nb[1];
			else
				n = i + 2; /* the header goes on */
		}
		if (i + 1 < n)
			c = fake_ring_used(r);
	}
	return len;
}

/* What the guest should see of pattern p: num_buffers is the host's to write. */
static inline void assert_frame(const uint8_t *got, uint32_t got_len, const uint8_t *want, uint32_t len)
{
	assert_int_equal(got_len, len);
	assert_memory_equal(got, want, 10);
	assert_memory_equal(got + 12, want + 12, len - 12);
}

#endif

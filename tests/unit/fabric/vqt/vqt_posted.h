/* SPDX-License-Identifier: Apache-2.0 */
/* A NIC whose guest posts buffers that the appliance writes to; shared by the tests of them. */
#ifndef OUTRIGGER_TESTS_VQT_POSTED_H
#define OUTRIGGER_TESTS_VQT_POSTED_H

#include "tests/unit/fabric/vqt/vqt_frames.h"

#define BUFFER 4096u

static inline struct setup *fresh_rel(enum rt_rel rel)
{
	struct setup *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	s->rel = rel;
	setup(s, VQT_NET, &(struct vw_cfg){.bulk = true});
	s->w.stage_of = s->hd;
	return s;
}

static inline uint64_t hd(const struct setup *s, enum vqt_hdev_counter c)
{
	return vw_hd(s->hd, c);
}

/* A frame goes all its way. */
static inline void passes(struct setup *s, uint32_t len, uint32_t seed)
{
	assert_int_equal(push(s, len, seed), 0);
	run(s);
	guest_got(s, len, seed);
}

/* Two large frames: the first asks, the second finds it agreed. */
static inline struct setup *fresh_on(unsigned chains)
{
	struct setup *s = fresh_rel(RT_REL_FULL);

	post(s, chains + 6, BUFFER);
	run(s);
	for (unsigned i = 0; i < 2; i++)
		passes(s, 9000, i);
	assert_int_equal(hd(s, VQT_HD_rx_posted), 1);
	return s;
}

/* All that the guest got back so far: in the order in which it gave it. */
static inline void ring_is_in_order(const struct setup *s)
{
	const struct fake_ring *r = &s->ring[0];

	for (uint32_t i = 0; i < r->npushed; i++)
		assert_int_equal(r->used[i], i);
}

static inline void end(struct setup *s)
{
	ring_is_in_order(s);
	assert_int_equal(hd(s, VQT_HD_drop_rx_posted) + vw_d(s->d, VQT_D_drop_posted), 0);
	teardown(s);
}

#endif

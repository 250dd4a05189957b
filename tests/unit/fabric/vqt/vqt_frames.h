/* SPDX-License-Identifier: Apache-2.0 */
/* A NIC at both ends of a world, and frames with a pattern that cross it; shared by the tests of frames. */
#ifndef OUTRIGGER_TESTS_VQT_FRAMES_H
#define OUTRIGGER_TESTS_VQT_FRAMES_H

#include "tests/unit/fabric/vqt/vqt_setup.h"

static uint8_t buf[FRAME_MAX + 64], got[FRAME_MAX + 64];

/* window: 0 for the default. Ends with teardown(). */
static inline struct setup *fresh_nic(const struct vw_cfg *cfg, uint32_t window)
{
	struct setup *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	s->rel = RT_REL_FULL;
	s->window = window;
	setup(s, VQT_NET, cfg);
	return s;
}

/* What came to the appliance is the pattern of this seed. */
static inline void frame_is(const struct frame *f, uint32_t len, uint32_t seed)
{
	vw_pattern(buf, len, seed);
	assert_int_equal(f->len, len);
	assert_int_equal(frame_read(f, 0, got, len), len);
	assert_memory_equal(got, buf, len);
}

/* The guest gives n receive buffers. */
static inline void post(struct setup *s, unsigned n, uint32_t size)
{
	while (n--)
		fake_ring_add1(&s->ring[0], NULL, 0, size);
	vqt_host_kick(s->hd, 0);
}

/* The appliance sends a frame to the guest; what vqt_dev_send() says. */
static inline int push(struct setup *s, uint32_t len, uint32_t seed)
{
	struct frame *f;
	int rc;

	vw_pattern(buf, len, seed);
	f = vw_frame(&s->w, buf, len);
	rc = vqt_dev_send(s->d, 0, f, s->w.now);
	frame_put(f);
	return rc;
}

/* The guest's next received frame is the pattern of this seed. */
static inline void guest_got(struct setup *s, uint32_t len, uint32_t seed)
{
	uint32_t n = guest_frame(&s->ring[0], got);

	vw_pattern(buf, len, seed);
	assert_frame(got, n, buf, len);
}

#endif

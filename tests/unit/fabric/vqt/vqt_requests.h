/* SPDX-License-Identifier: Apache-2.0 */
/* A disk at both ends of a world, and requests with a pattern; shared by the tests of requests. */
#ifndef OUTRIGGER_TESTS_VQT_REQUESTS_H
#define OUTRIGGER_TESTS_VQT_REQUESTS_H

#include "tests/unit/fabric/vqt/vqt_setup.h"

static uint8_t buf[VQT_REQ_MAX + 64], got[VQT_REQ_MAX + 64];

/* Ends with teardown(). */
static inline struct setup *fresh_disk(const struct vw_cfg *cfg)
{
	struct setup *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	setup(s, VQT_BLK, cfg);
	return s;
}

/* The guest asks: out_len bytes of the pattern of this seed, room for in_len. */
static inline struct fake_chain *put(struct setup *s, unsigned vq, uint32_t out_len, uint32_t in_len,
				     uint32_t seed)
{
	struct fake_chain *c;

	vw_pattern(buf, out_len, seed);
	c = fake_ring_add1(&s->ring[vq], buf, out_len, in_len);
	vqt_host_kick(s->hd, vq);
	return c;
}

/* The i-th request that was delivered: it has its bytes. */
static inline struct vqt_req *req(struct setup *s, unsigned i, uint32_t out_len, uint32_t in_len,
				  uint32_t seed)
{
	struct vqt_req *r;

	assert_true(i < s->w.nreqs);
	r = s->w.reqs[i];
	assert_int_equal(r->out_len, out_len);
	assert_int_equal(r->in_len, in_len);
	assert_int_equal(r->epoch, s->epoch);
	assert_ptr_equal(r->dev, s->d);
	vw_pattern(buf, out_len, seed);
	if (out_len)
		assert_memory_equal(r->out, buf, out_len);
	return r;
}

/* Answers as a read: all of in. */
static inline void answer(struct setup *s, struct vqt_req *r, uint32_t seed)
{
	if (r->in_len)
		vw_pattern(r->in, r->in_len, seed);
	vqt_dev_complete(r, r->in_len, r->in_len, s->w.now);
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Posted buffers and a peer that lies of them: each end gives up what it is told of, and nothing else. */
#include <errno.h>

#include "tests/unit/fabric/vqt/vqt_posted.h"

static void from_appliance(struct setup *s, uint8_t kind, uint32_t pos, const void *bytes, uint32_t len)
{
	struct iovec iov = {(void *)(uintptr_t)bytes, len};
	struct rt_rec rec = {.kind = kind, .dev = WIRE, .aux = (uint16_t)EPOCH, .id = pos, .total = len};

	assert_int_equal(rt_send(s->w.rt[1], RT_NET, RT_REL_FULL, &rec, &iov, 1, s->w.now), 0);
	rt_flush(s->w.rt[1], s->w.now);
	run(s);
}

static uint32_t at; /* the position that the appliance is at */

static void placed(struct setup *s, uint32_t len, uint32_t piece)
{
	struct vqt_placed p = {.len = len, .state = VQT_PLACE_POSTED, .piece = piece};
	uint8_t bytes[VQT_PLACED_LEN];

	vqt_placed_put(bytes, &p);
	from_appliance(s, VQT_PLACED, at, bytes, sizeof(bytes));
	at += vqt_span(len);
}

static void chains(struct setup *s, uint32_t on, uint32_t piece)
{
	struct vqt_chains c = {on, piece};
	uint8_t bytes[VQT_CHAINS_LEN];

	vqt_chains_put(bytes, &c);
	if (on > 1)
		bytes[3] = (uint8_t)on;
	from_appliance(s, VQT_CHAINS, at, bytes, sizeof(bytes));
	at += VQT_POS_ALIGN;
}

/* The guest gets no chain that does not hold the frame, is not its own turn's, or was had before. */
static void an_appliance_that_lies_of_chains(void **state)
{
	struct setup *s = fresh_on(32);
	uint32_t pushed;

	(void)state;
	at = 2 * vqt_span(9000) + VQT_POS_ALIGN;
	pushed = s->ring[0].npushed;
	placed(s, 9000, 0);	      /* had */
	placed(s, 9000, 2);	      /* had */
	placed(s, 9000, 3 + 32);      /* not posted */
	placed(s, 9000, 0x80000000u); /* nonsense */
	placed(s, 9000, 3 + 31);      /* the last alone does not hold it */
	assert_int_equal(hd(s, VQT_HD_drop_rx_posted), 5);
	assert_int_equal(s->ring[0].npushed, pushed);
	placed(s, 9000, 5); /* two are skipped */
	assert_int_equal(hd(s, VQT_HD_drop_rx_posted), 5);
	assert_int_equal(s->ring[0].npushed, pushed + 2 + 3);
	placed(s, 9000, 5); /* twice */
	assert_int_equal(hd(s, VQT_HD_drop_rx_posted), 6);
	chains(s, 1, 4); /* had */
	chains(s, 1, 99);
	chains(s, 2, 8);
	at -= VQT_POS_ALIGN;
	assert_int_equal(hd(s, VQT_HD_drop_rx_malformed), 3);
	chains(s, 1, 10);
	assert_int_equal(s->ring[0].npushed, pushed + 2 + 3 + 2);
	/* An end that nobody asked for, and chains afterwards. */
	chains(s, 0, 10);
	placed(s, 9000, 10);
	assert_int_equal(hd(s, VQT_HD_drop_rx_posted), 7);
	chains(s, 1, 10);
	assert_int_equal(hd(s, VQT_HD_drop_rx_malformed), 4);
	ring_is_in_order(s);
	teardown(s);
}

static void from_agent(struct setup *s, uint8_t kind, uint32_t id, const struct vqt_seg *seg, unsigned n,
		       uint32_t cut)
{
	uint8_t bytes[2048];
	struct iovec iov = {bytes, n * VQT_SEG - cut};
	struct rt_rec rec = {
		.kind = kind, .dev = WIRE, .aux = (uint16_t)EPOCH, .id = id, .total = n * VQT_SEG - cut};

	for (unsigned i = 0; i < n; i++)
		vqt_seg_put(bytes + i * VQT_SEG, &seg[i]);
	assert_int_equal(rt_send(s->w.rt[0], RT_CTL, RT_REL_FULL, &rec, &iov, n ? 1 : 0, s->w.now), 0);
	rt_flush(s->w.rt[0], s->w.now);
	run(s);
}

static void an_agent_that_lies_of_chains(void **state)
{
	struct setup *s = fresh_rel(RT_REL_FULL);
	struct vqt_seg seg[VQT_POSTED_PIECES + 1], bad[2] = {{1, 4096, 0}, {1, 0, 0}};
	uint64_t drops = 0;

	(void)state;
	for (unsigned i = 0; i <= VQT_POSTED_PIECES; i++)
		seg[i] = (struct vqt_seg){77, 4096 | VQT_POSTED_MORE, 4096 * i};
	from_agent(s, VQT_POSTED, 0, seg, 1, 0); /* not agreed */
	from_agent(s, VQT_RECALL, 0, seg, 0, 0);
	assert_int_equal(vw_d(s->d, VQT_D_drop_posted_late), 1);
	assert_int_equal(vw_d(s->d, VQT_D_drop_posted), drops += 1);
	from_agent(s, VQT_POSTED, 0xfffffff0u, seg, 0, 0);
	from_agent(s, VQT_POSTED, 0, seg, 0, 0); /* agreed already */
	from_agent(s, VQT_RECALL, 0, seg, 1, 0);
	from_agent(s, VQT_POSTED, 0xfffffff0u, seg, 2, 3);
	from_agent(s, VQT_POSTED, 0xfffffff0u, bad, 2, 0);
	from_agent(s, VQT_POSTED, 0xfffffff0u, seg, VQT_POSTED_PIECES + 1, 0);
	from_agent(s, VQT_POSTED, 0xffffffefu, seg, 2, 0); /* before the first */
	from_agent(s, VQT_POSTED, 0xfffffff0u + VQT_POSTED_MAX - 1, seg, 2, 0);
	assert_int_equal(vw_d(s->d, VQT_D_drop_posted_late), 2);
	assert_int_equal(vw_d(s->d, VQT_D_drop_posted), drops += 6);
	/* One chain that has no end: frames wait for it, until it is as long as there may be. */
	for (uint32_t i = 0; i < VQT_POSTED_FRAME - 64; i += 64)
		from_agent(s, VQT_POSTED, 0xfffffff0u + i, seg, 64, 0);
	from_agent(s, VQT_POSTED, 0xfffffff0u + 64, seg, 64, 0); /* twice */
	assert_int_equal(vw_d(s->d, VQT_D_drop_posted), drops += 1);
	assert_int_equal(push(s, 9000, 1), -EAGAIN);
	assert_int_equal(push(s, 60, 1), -EAGAIN);
	from_agent(s, VQT_POSTED, 0xfffffff0u + VQT_POSTED_FRAME - 64, seg, 64, 0);
	assert_int_equal(push(s, 9000, 1), 0);
	from_agent(s, VQT_RECALL, 0, seg, 0, 0);
	assert_int_equal(push(s, 60, 1), 0);
	/* Memory that it never announced, in chains: the door knows none of it. */
	from_agent(s, VQT_POSTED, 5, seg, 0, 0);
	for (unsigned i = 0; i < 64; i++)
		seg[i].len = 4096;
	from_agent(s, VQT_POSTED, 5, seg, 64, 0);
	assert_int_equal(push(s, 9000, 1), 0);
	run(s);
	assert_int_equal(vw_d(s->d, VQT_D_tx_posted), 0);
	assert_int_equal(vw_d(s->d, VQT_D_drop_posted), drops);
	teardown(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_appliance_that_lies_of_chains),
		cmocka_unit_test(an_agent_that_lies_of_chains),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

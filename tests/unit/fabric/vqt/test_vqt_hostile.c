/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records of every kind with every field at its edges, at both ends. Whatever they say: nothing outside its
 * bounds is touched (the sanitizers watch exact allocations), what a session holds stays bounded, a
 * device beside it works on, and at the end every pool is full.
 */
#include <errno.h>

#include "tests/unit/fabric/vqt/vqt_setup.h"

static const uint32_t edges[] = {
	0,	  1,	      12,	  13,	      16,	  17,	      25,	 26,
	63,	  64,	      65,	  128,	      255,	  256,	      257,	 1023,
	1024,	  4095,	      4096,	  65535,      65536,	  65537,      65551,	 65552,
	65553,	  65561,      65562,	  65563,      65599,	  65600,      65601,	 0x3ffff,
	0x40000,  0x40001,    0xfffff,	  0x100000,   0x100010,	  0x101000,   0x101001,	 0x101010,
	0x101011, 0x7fffffff, 0x80000000, 0x80000001, 0xffffffc0, 0xfffffffe, 0xffffffff};
#define NEDGES (sizeof(edges) / sizeof(edges[0]))

static uint8_t noise[1u << 16];

static uint32_t edge(struct rng *rng)
{
	return edges[rng_below(rng, NEDGES)];
}

/* A kind that may reach a device of this type, and its class. */
static uint8_t random_kind(struct rng *rng, enum vqt_type type, enum rt_class *cls)
{
	static const enum rt_class home[VQT_KIND_END] = {
		[VQT_FRAME] = RT_NET,  [VQT_MARK] = RT_NET,	[VQT_CREDIT] = RT_CTL, [VQT_REQ] = RT_CMD,
		[VQT_GRANT] = RT_CTL,  [VQT_REQDATA] = RT_DATA, [VQT_CANCEL] = RT_CTL, [VQT_CPL] = RT_DATA,
		[VQT_LENT] = RT_NET,   [VQT_TAKEN] = RT_CTL,	[VQT_AGAIN] = RT_CTL,  [VQT_GONE] = RT_CTL,
		[VQT_PLACED] = RT_NET, [VQT_RESENT] = RT_NET,	[VQT_KEYED] = RT_CMD,  [VQT_FRAMES] = RT_NET,
		[VQT_POSTED] = RT_CTL, [VQT_RECALL] = RT_CTL,	[VQT_CHAINS] = RT_NET};
	uint8_t kind = (uint8_t)rng_below(rng, type == VQT_NET ? VQT_KIND_END : VQT_LENT + 1);

	*cls = rng_chance(rng, 50000) ? (enum rt_class)rng_below(rng, RT_NCLASS) : home[kind];
	return kind;
}

/* Those that have one length, or some. */
static void true_length(struct rng *rng, struct rt_rec *r)
{
	uint32_t total = r->kind == VQT_PLACED	 ? VQT_PLACED_LEN
			 : r->kind == VQT_CHAINS ? VQT_CHAINS_LEN
			 : r->kind == VQT_POSTED ? VQT_SEG * (uint32_t)rng_below(rng, 5)
						 : 0;

	if (r->kind < VQT_TAKEN || r->kind == VQT_RESENT || r->kind == VQT_FRAMES || rng_chance(rng, 200000))
		return;
	r->total = r->len = (uint16_t)total;
	r->offset = 0;
}

static void random_record(struct rng *rng, enum vqt_type type, struct rt_rec *r, enum rt_class *cls,
			  uint32_t *psn)
{
	uint32_t most;

	*r = (struct rt_rec){.dev = WIRE, .aux = (uint16_t)EPOCH};
	r->kind = random_kind(rng, type, cls);
	*psn = (uint32_t)rng_below(rng, 64);
	r->queue = (uint8_t)(rng_chance(rng, 900000) ? rng_below(rng, 2) : edge(rng));
	r->id = rng_chance(rng, 500000) ? (uint32_t)rng_below(rng, 64) * 64 : edge(rng);
	if (r->kind >= VQT_REQ && r->kind < VQT_LENT)
		r->id = VQT_ID(rng_chance(rng, 800000) ? rng_below(rng, 4) : edge(rng) & 0xffff,
			       1 + rng_below(rng, 2));
	r->total = edge(rng);
	r->offset = rng_chance(rng, 500000) ? 0 : edge(rng);
	if (rng_chance(rng, 50000))
		r->dev = (uint16_t)edge(rng);
	if (r->kind == VQT_GRANT || rng_chance(rng, 50000))
		r->aux = (uint16_t)edge(rng);
	most = r->offset < r->total ? r->total - r->offset : 0;
	r->len = (uint16_t)(most > 65535 ? 65535 : most);
	if (rng_chance(rng, 400000))
		r->len = (uint16_t)edge(rng);
	true_length(rng, r);
}

/* Bytes in an allocation that ends where the record does. Now and then they are a true head. */
static uint8_t *bytes_of(struct rng *rng, const struct rt_rec *r)
{
	uint8_t *p = malloc(r->len ? r->len : 1);

	assert_non_null(p);
	memcpy(p, noise, r->len);
	if (r->len >= VQT_HEAD && !r->offset && rng_chance(rng, 700000)) {
		struct vqt_req_head h = {EPOCH, r->total - VQT_HEAD, edge(rng), rng_chance(rng, 50000)};

		if (r->kind == VQT_CPL)
			h = (struct vqt_req_head){EPOCH, 0, edge(rng), r->total - VQT_HEAD};
		vqt_req_head_put(p, &h);
	}
	return p;
}

static struct setup *fresh(enum vqt_type type)
{
	const struct vw_cfg cfg = {.mem_max = 4ull * VQT_REQ_MAX, .net_pending = 32, .bulk = type == VQT_NET};
	struct setup *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	s->rel = RT_REL_FULL;
	s->depth = 8;
	s->window = VQT_WINDOW_MIN;
	setup(s, type, &cfg);
	s->w.moves_refuse = -ENOTCONN; /* no adapter goes where nothing was announced */
	return s;
}

/* The other device of the same peer and host. */
struct bystander {
	struct vqt_hdev *hd;
	struct vqt_dev *d;
};

static struct bystander beside(struct setup *s)
{
	void *rings[1] = {&s->ring[3]};
	struct vqt_hdev_cfg hc = {.type = VQT_BLK,
				  .user = &s->w,
				  .ring_ops = &fake_ring_ops,
				  .nvq = 1,
				  .rings = rings,
				  .depth = 4};
	struct vqt_bind b = {.wire = 99, .epoch = 5, .max_inflight = VQT_INFLIGHT_MIN};
	struct vqt_dev_cfg dc = {.type = VQT_BLK,
				 .user = &s->w,
				 .wire = 99,
				 .epoch = 5,
				 .nvq = 1,
				 .depth = 4,
				 .max_inflight = VQT_INFLIGHT_MIN};
	struct bystander by;
	int err;

	by.hd = vqt_host_attach(s->w.host, &hc, &err);
	by.d = vqt_peer_attach(s->w.peer, &dc, &err);
	assert_non_null(by.hd);
	assert_non_null(by.d);
	assert_int_equal(vqt_hdev_bind(by.hd, &b), 0);
	assert_int_equal(vqt_host_queue_start(by.hd, 0, false), 0);
	return by;
}

static void answer_all(struct setup *s)
{
	for (unsigned i = 0; i < s->w.nreqs; i++) {
		struct vqt_req *r = s->w.reqs[i];

		if (r->in_len)
			memset(r->in, 1, r->in_len);
		vqt_dev_complete(r, r->in_len, r->in_len, s->w.now);
	}
	s->w.nreqs = 0;
}

static void bystander_works(struct setup *s, struct bystander *by)
{
	uint64_t before = vw_hd(by->hd, VQT_HD_completions);

	fake_ring_add1(&s->ring[3], noise, 4112, 1);
	vqt_host_kick(by->hd, 0);
	run(s);
	answer_all(s);
	run(s);
	assert_int_equal(vw_hd(by->hd, VQT_HD_completions), before + 1);
}

static void the_host_end(enum vqt_type type, uint64_t seed)
{
	struct setup *s = fresh(type);
	struct bystander by = beside(s);
	struct rng rng;

	rng_init(&rng, seed);
	for (unsigned i = 0; i < 60000; i++) {
		struct rt_rec r;
		enum rt_class cls;
		uint32_t psn;
		uint8_t *data;

		random_record(&rng, type, &r, &cls, &psn);
		data = bytes_of(&rng, &r);
		vqt_host_record(s->w.host, cls, psn, &r, data);
		free(data);
		if (i % 5 == 0) {
			unsigned vq = (unsigned)rng_below(&rng, 2);

			if (type == VQT_BLK)
				fake_ring_add1(&s->ring[vq], noise, 16, edge(&rng) % 70000);
			else if (vq == 0)
				fake_ring_add1(&s->ring[0], NULL, 0, edge(&rng) % 70000);
			vqt_host_kick(s->hd, vq);
			vqt_host_settled(s->w.host, cls, psn);
			vqt_host_service(s->w.host, 10, s->w.now);
		}
		if (i % 6000 == 5999) {
			assert_string_equal(s->w.log, "");
			bystander_works(s, &by);
		}
	}
	vqt_host_detach(by.hd);
	vw_session_down(&s->w);
	answer_all(s); /* orphans */
	teardown(s);
}

static void host_net(void **state)
{
	(void)state;
	the_host_end(VQT_NET, 1);
}

static void host_blk(void **state)
{
	(void)state;
	the_host_end(VQT_BLK, 2);
}

/* Unscheduled bytes of both queues' slots, and what mem_max allows. */
static void assert_bounded(const struct setup *s)
{
	assert_true(s->w.mem_live <= 4ull * VQT_REQ_MAX + s->max_inflight + VQT_INFLIGHT_MIN);
}

static unsigned the_device_end(enum vqt_type type, uint64_t seed, unsigned rounds)
{
	struct setup *s = fresh(type);
	unsigned i, bad;
	struct rng rng;

	rng_init(&rng, seed);
	for (i = 0; i < rounds && !vqt_peer_bad(s->w.peer); i++) {
		struct rt_rec r;
		enum rt_class cls;
		uint32_t psn;
		uint8_t *data;

		random_record(&rng, type, &r, &cls, &psn);
		/* Not every session shall end at once. */
		if (cls == RT_CMD && rng_chance(&rng, 990000))
			r.total = VQT_HEAD + r.len, r.offset = 0;
		data = bytes_of(&rng, &r);
		vqt_peer_record(s->w.peer, cls, psn, &r, data, NULL);
		free(data);
		assert_bounded(s);
		if (i % 16 == 0) {
			vqt_peer_settled(s->w.peer, cls, psn);
			vqt_peer_service(s->w.peer, s->w.now);
			answer_all(s);
			vw_forget(&s->w);
		}
	}
	bad = vqt_peer_bad(s->w.peer) != NULL;
	/* Nothing more is taken from a bad one. */
	if (bad) {
		struct rt_rec r = {
			.kind = VQT_FRAME, .dev = WIRE, .total = 60, .len = 60, .aux = (uint16_t)EPOCH};

		vqt_peer_record(s->w.peer, RT_NET, 0, &r, noise, NULL);
		assert_int_equal(vqt_peer_counters(s->w.peer)[VQT_PEER_drop_kind] > 0, 1);
	}
	answer_all(s);
	teardown(s);
	return bad;
}

static void device_net(void **state)
{
	(void)state;
	assert_int_equal(the_device_end(VQT_NET, 3, 60000), 0);
}

static void device_blk(void **state)
{
	unsigned bad = 0;

	(void)state;
	for (uint64_t seed = 0; seed < 60; seed++)
		bad += the_device_end(VQT_BLK, 100 + seed, 2000);
	assert_true(bad > 10);
}

/* Pieces whose lengths add up but leave a hole: the hole would be another guest's bytes. */
static void overlapping_pieces_of_a_write(void **state)
{
	struct setup *s = fresh(VQT_BLK);
	struct vqt_req_head h = {EPOCH, 4112, 1, 0};
	uint8_t msg[VQT_HEAD + 4112] = {0};
	struct rt_rec r = {.kind = VQT_REQ, .dev = WIRE, .aux = (uint16_t)EPOCH, .id = VQT_ID(0, 1)};

	(void)state;
	vqt_req_head_put(msg, &h);
	r.total = sizeof(msg);
	r.len = 2064;
	vqt_peer_record(s->w.peer, RT_CMD, 0, &r, msg, NULL);
	r.offset = 16;
	vqt_peer_record(s->w.peer, RT_CMD, 0, &r, msg + 16, NULL);
	assert_int_equal(s->w.nreqs, 0);
	assert_string_equal(vqt_peer_bad(s->w.peer), "pieces of a request overlap");
	assert_int_equal(s->w.mem_live, 0);
	teardown(s);
}

/* Data that was not granted, requests over the agreed limit, a second request in a busy slot. */
static void limits_of_requests(void **state)
{
	struct setup *s = calloc(1, sizeof(*s));
	struct vqt_req_head h = {EPOCH, 0, 1, 0};
	uint8_t msg[VQT_HEAD] = {0};
	struct rt_rec r = {.kind = VQT_REQ,
			   .dev = WIRE,
			   .aux = (uint16_t)EPOCH,
			   .id = VQT_ID(0, 1),
			   .total = 16,
			   .len = 16};

	(void)state;
	assert_non_null(s);
	s->max_inflight = VQT_INFLIGHT_MIN;
	s->depth = 4;
	setup(s, VQT_BLK, NULL);
	vqt_req_head_put(msg, &h);
	vqt_peer_record(s->w.peer, RT_CMD, 0, &r, msg, NULL);
	assert_int_equal(s->w.nreqs, 1);
	vqt_peer_record(s->w.peer, RT_CMD, 0, &r, msg, NULL);
	r.id = VQT_ID(0, 2);
	vqt_peer_record(s->w.peer, RT_CMD, 0, &r, msg, NULL);
	assert_int_equal(s->w.nreqs, 1);
	assert_int_equal(vw_d(s->d, VQT_D_drop_req_duplicate), 2);
	r = (struct rt_rec){.kind = VQT_REQDATA,
			    .dev = WIRE,
			    .aux = (uint16_t)EPOCH,
			    .id = VQT_ID(1, 1),
			    .total = 1u << 20,
			    .offset = VQT_UNSCHED,
			    .len = 100};
	vqt_peer_record(s->w.peer, RT_DATA, 0, &r, noise, NULL);
	assert_int_equal(vw_d(s->d, VQT_D_drop_req_ungranted), 1);
	assert_null(vqt_peer_bad(s->w.peer));
	r.kind = VQT_REQ;
	r.offset = 0;
	r.len = 1;
	vqt_peer_record(s->w.peer, RT_CMD, 0, &r, noise, NULL);
	assert_int_equal(vw_d(s->d, VQT_D_drop_req_limit), 1);
	assert_non_null(vqt_peer_bad(s->w.peer));
	answer_all(s);
	teardown(s);
}

/* A long write that waits for memory has room for its unscheduled bytes only: data before the grant is
 * dropped, and so is a piece that names the slot but not the request. */
static void data_before_the_grant(void **state)
{
	struct setup *s = fresh(VQT_BLK);
	struct vqt_req_head h = {EPOCH, 1u << 20, 1, 0};
	struct rt_rec r = {
		.kind = VQT_REQ, .dev = WIRE, .aux = (uint16_t)EPOCH, .total = VQT_HEAD + (1u << 20)};
	uint8_t head[VQT_HEAD];

	(void)state;
	vqt_req_head_put(head, &h);
	for (uint32_t slot = 0; slot < 6; slot++) {
		r.id = VQT_ID(slot, 1);
		r.offset = 0;
		r.len = VQT_HEAD;
		vqt_peer_record(s->w.peer, RT_CMD, 0, &r, head, NULL);
		r.offset = VQT_HEAD;
		r.len = 32768;
		if (slot == 5) {
			r.id = VQT_ID(slot, 2);
			vqt_peer_record(s->w.peer, RT_CMD, 0, &r, noise, NULL);
			assert_int_equal(vw_d(s->d, VQT_D_drop_req_duplicate), 1);
			r.id = VQT_ID(slot, 1);
		}
		vqt_peer_record(s->w.peer, RT_CMD, 0, &r, noise, NULL);
		r.offset += 32768;
		vqt_peer_record(s->w.peer, RT_CMD, 0, &r, noise, NULL);
	}
	assert_int_equal(vw_d(s->d, VQT_D_grants_waited), 2);
	r.kind = VQT_REQDATA;
	r.offset = r.total - 100;
	r.len = 100;
	for (uint32_t slot = 0; slot < 6; slot++) {
		r.id = VQT_ID(slot, 1);
		vqt_peer_record(s->w.peer, RT_DATA, 0, &r, noise, NULL);
	}
	assert_int_equal(vw_d(s->d, VQT_D_drop_req_ungranted), 6);
	assert_null(vqt_peer_bad(s->w.peer));
	teardown(s);
}

/* An agent that holds one frame back and sends all others: what is kept is bounded, the others go on. */
static void hoarding_frames(void **state)
{
	struct setup *s = fresh(VQT_NET);

	(void)state;
	for (uint32_t i = 1; i < 1000; i++) {
		struct rt_rec r = {.kind = VQT_FRAME,
				   .dev = WIRE,
				   .aux = (uint16_t)EPOCH,
				   .id = i * 64,
				   .total = 60,
				   .len = 60};

		vqt_peer_record(s->w.peer, RT_NET, i, &r, noise, NULL);
		assert_true(frame_pool_available(s->w.frames) + s->w.ngot >= VW_FRAMES - 32);
	}
	assert_true(s->w.ngot >= 999 - 32);
	assert_int_equal(vw_d(s->d, VQT_D_drop_rx_pending), 1);
	/* All of partial ones, the first piece only: each costs the one before it. */
	vw_forget(&s->w);
	for (uint32_t i = 2000; i < 3000; i++) {
		struct rt_rec r = {.kind = VQT_FRAME,
				   .dev = WIRE,
				   .aux = (uint16_t)EPOCH,
				   .id = i * 64,
				   .total = 60,
				   .len = 30};

		vqt_peer_record(s->w.peer, RT_NET, i, &r, noise, NULL);
		assert_true(frame_pool_available(s->w.frames) >= VW_FRAMES - 32);
	}
	assert_int_equal(s->w.ngot, 0);
	teardown(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(host_net),
		cmocka_unit_test(host_blk),
		cmocka_unit_test(device_net),
		cmocka_unit_test(device_blk),
		cmocka_unit_test(overlapping_pieces_of_a_write),
		cmocka_unit_test(limits_of_requests),
		cmocka_unit_test(data_before_the_grant),
		cmocka_unit_test(hoarding_frames),
	};

	for (size_t i = 0; i < sizeof(noise); i++)
		noise[i] = (uint8_t)(i * 31 + 7);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

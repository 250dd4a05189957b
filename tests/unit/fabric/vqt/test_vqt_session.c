/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions come and go; requests stay, epochs keep the old from meeting the new. */
#include "tests/unit/fabric/vqt/vqt_setup.h"

#include <errno.h>

static uint8_t buf[VQT_REQ_MAX];

static struct setup *fresh(enum vqt_type type)
{
	struct setup *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	s->rel = RT_REL_FULL;
	setup(s, type, NULL);
	return s;
}

static void put(struct setup *s, unsigned vq, uint32_t out_len, uint32_t in_len, uint32_t seed)
{
	vw_pattern(buf, out_len, seed);
	memcpy(buf, &seed, 4);
	fake_ring_add1(&s->ring[vq], buf, out_len, in_len);
	vqt_host_kick(s->hd, vq);
}

static uint32_t number(const struct vqt_req *r)
{
	uint32_t n;

	memcpy(&n, r->out, 4);
	return n;
}

static void answer_all(struct setup *s)
{
	for (unsigned i = 0; i < s->w.nreqs; i++) {
		memset(s->w.reqs[i]->in, 0, s->w.reqs[i]->in_len);
		vqt_dev_complete(s->w.reqs[i], s->w.reqs[i]->in_len, s->w.reqs[i]->in_len, s->w.now);
	}
	s->w.nreqs = 0;
}

static void requests_are_sent_again_in_their_order(void **state)
{
	struct setup *s = fresh(VQT_BLK);
	unsigned n = 0;

	(void)state;
	for (uint32_t i = 0; i < 8; i++)
		put(s, 0, i == 3 ? 1u << 20 : 16, 1, i);
	run(s);
	assert_int_equal(s->w.nreqs, 8);
	/* 1, 4 and 6 are answered (and the slots taken again, by 8 and 9, out of slot order). */
	for (unsigned i = 0; i < 8; i++)
		if (number(s->w.reqs[i]) == 1 || number(s->w.reqs[i]) == 4 || number(s->w.reqs[i]) == 6)
			vqt_dev_complete(s->w.reqs[i], 1, 1, s->w.now);
		else
			s->w.reqs[n++] = s->w.reqs[i];
	s->w.nreqs = n;
	run(s);
	put(s, 0, 16, 1, 8);
	put(s, 0, 16, 1, 9);
	run(s);
	assert_int_equal(s->ring[0].nused, 3);
	vw_session_down(&s->w);
	assert_int_equal(vqt_hdev_inflight(s->hd), 7);
	put(s, 0, 16, 1, 10); /* new ones wait in the ring */
	vqt_host_service(s->w.host, 100, s->w.now);
	assert_int_equal(s->ring[0].taken, 7);
	/* The backend's orphans of the old session end: nobody hears of them. */
	answer_all(s);
	vw_session_up(&s->w, NULL);
	s->epoch++;
	setup_bind(s);
	run(s);
	{
		/* The long write waits for its grant, so it may come last; the others keep their order. */
		static const uint32_t want[] = {0, 2, 5, 7, 8, 9, 10};
		unsigned k = 0;

		assert_int_equal(s->w.nreqs, 8);
		for (unsigned i = 0; i < 8; i++)
			if (number(s->w.reqs[i]) != 3)
				assert_int_equal(number(s->w.reqs[i]), want[k++]);
		assert_int_equal(k, 7);
	}
	assert_int_equal(vw_hd(s->hd, VQT_HD_requests_resent), 7);
	answer_all(s);
	run(s);
	assert_int_equal(s->ring[0].nused, 11);
	teardown(s);
}

/* Orphans keep their memory until the backend is done with it, and say when they are all over. */
static void orphans(void **state)
{
	struct setup *s = fresh(VQT_BLK);
	struct vqt_req *old[2];

	(void)state;
	put(s, 0, 16, 4097, 1);
	put(s, 0, 4112, 1, 2);
	run(s);
	assert_int_equal(vqt_dev_outstanding(s->d), 2);
	old[0] = s->w.reqs[0];
	old[1] = s->w.reqs[1];
	assert_int_equal(vqt_peer_detach(s->d), 2);
	memset(old[0]->in, 0, 4097);
	vqt_dev_complete(old[0], 4097, 4097, s->w.now);
	assert_int_equal(s->w.drained, 0);
	assert_true(s->w.mem_live > 0);
	vw_session_down(&s->w); /* they outlive the session, too */
	memset(old[1]->in, 0, 1);
	vqt_dev_complete(old[1], 1, 1, s->w.now);
	assert_int_equal(s->w.drained, 1);
	assert_int_equal(s->w.mem_live, 0);
	assert_int_equal(s->ring[0].nused, 0);
	/* The host still has both, and sends them in the next session. */
	s->w.nreqs = 0;
	vw_session_up(&s->w, NULL);
	s->epoch++;
	setup_bind(s);
	run(s);
	assert_int_equal(s->w.nreqs, 2);
	answer_all(s);
	run(s);
	assert_int_equal(s->ring[0].nused, 2);
	teardown(s);
}

/* A completion that left under the old epoch, or under an old generation, is not the new request's. */
static void old_completions_meet_nobody(void **state)
{
	struct setup *s = fresh(VQT_BLK);
	uint8_t msg[VQT_HEAD + 1] = {0};
	struct vqt_cpl_head head = {EPOCH, 0, 1, 1};
	struct rt_rec r = {.kind = VQT_CPL, .dev = WIRE, .aux = (uint16_t)EPOCH, .total = 17, .len = 17};

	(void)state;
	put(s, 0, 16, 1, 1);
	run(s);
	vqt_cpl_head_put(msg, &head);
	for (uint32_t gen = 0; gen < 65536; gen++) {
		r.id = VQT_ID(0, gen);
		if (gen != 1)
			vqt_host_record(s->w.host, RT_DATA, 0, &r, msg);
	}
	assert_int_equal(vw_hd(s->hd, VQT_HD_drop_cpl_unknown), 65535);
	r.id = VQT_ID(0, 1);
	r.aux++;
	vqt_host_record(s->w.host, RT_DATA, 0, &r, msg);
	assert_int_equal(vw_hd(s->hd, VQT_HD_drop_epoch), 1);
	/* The low half agrees, the epoch does not. */
	r.aux--;
	head.epoch += 0x10000;
	vqt_cpl_head_put(msg, &head);
	vqt_host_record(s->w.host, RT_DATA, 0, &r, msg);
	assert_int_equal(vw_hd(s->hd, VQT_HD_drop_cpl_epoch), 1);
	assert_int_equal(vqt_hdev_inflight(s->hd), 1);
	/* The true one is taken, once. */
	answer_all(s);
	run(s);
	assert_int_equal(s->ring[0].nused, 1);
	head.epoch = EPOCH;
	vqt_cpl_head_put(msg, &head);
	vqt_host_record(s->w.host, RT_DATA, 0, &r, msg);
	assert_int_equal(vw_hd(s->hd, VQT_HD_completions), 1);
	teardown(s);
}

static void requests_of_an_old_epoch_are_dropped(void **state)
{
	struct setup *s = fresh(VQT_BLK);
	struct vqt_req_head head = {EPOCH - 0x10000, 0, 1, 0};
	uint8_t msg[VQT_HEAD];
	struct rt_rec r = {.kind = VQT_REQ, .dev = WIRE, .aux = (uint16_t)EPOCH, .total = 16, .len = 16};

	(void)state;
	vqt_req_head_put(msg, &head);
	vqt_peer_record(s->w.peer, RT_CMD, 0, &r, msg, NULL);
	assert_int_equal(vw_d(s->d, VQT_D_drop_req_epoch), 1);
	r.aux--;
	vqt_peer_record(s->w.peer, RT_CMD, 0, &r, msg, NULL);
	assert_int_equal(vw_d(s->d, VQT_D_drop_epoch), 1);
	assert_int_equal(s->w.nreqs, 0);
	assert_null(vqt_peer_bad(s->w.peer));
	teardown(s);
}

static void frames_go_on_in_the_next_session(void **state)
{
	struct setup *s = fresh(VQT_NET);
	struct frame *f;

	(void)state;
	for (unsigned i = 0; i < 10; i++)
		put(s, 1, 5000, 0, i);
	run(s);
	assert_int_equal(s->w.ngot, 10);
	/* Half a frame stands in the guest's buffers when the session goes. */
	for (unsigned i = 0; i < 8; i++)
		fake_ring_add1(&s->ring[0], NULL, 0, 1526);
	vqt_host_record(
		s->w.host, RT_NET, 1,
		&(struct rt_rec){
			.kind = VQT_FRAME, .dev = WIRE, .aux = (uint16_t)EPOCH, .total = 5000, .len = 1000},
		buf);
	assert_int_equal(s->ring[0].taken, 4);
	vw_session_down(&s->w);
	assert_int_equal(s->ring[0].taken, 0);
	assert_int_equal(vw_hd(s->hd, VQT_HD_drop_rx_session), 1);
	put(s, 1, 5000, 0, 10);
	assert_false(vqt_host_service(s->w.host, 100, s->w.now));
	assert_int_equal(s->ring[1].head, 10);
	vw_session_up(&s->w, NULL);
	s->epoch++;
	setup_bind(s);
	run(s);
	assert_int_equal(s->w.ngot, 11);
	f = vw_frame(&s->w, buf, 5000);
	assert_int_equal(vqt_dev_send(s->d, 0, f, s->w.now), 0);
	frame_put(f);
	run(s);
	assert_int_equal(s->ring[0].nused, 4);
	teardown(s);
}

/* Binding, wire ids, and arguments out of range. */
/* A device goes to another host with what is in flight, and goes on there under the next epoch. */
static void a_device_changes_its_host(enum vqt_type type)
{
	struct setup *s = fresh(type);
	unsigned vq = type == VQT_NET;
	struct vqt_host *old = s->w.host;

	for (uint32_t i = 0; i < 6; i++)
		put(s, vq, 64, type == VQT_BLK, i);
	if (type == VQT_BLK) {
		run(s);
		vqt_dev_complete(s->w.reqs[0], 1, 1, s->w.now);
		s->w.nreqs--;
		memmove(s->w.reqs, s->w.reqs + 1, s->w.nreqs * sizeof(s->w.reqs[0]));
		run(s);
		assert_int_equal(s->ring[0].nused, 1);
	}
	/* Bound, with queues that are ready: it need not be told first. */
	put(s, vq, 64, type == VQT_BLK, 6);
	vqt_host_leave(s->hd);
	vqt_host_service(old, 100, s->w.now);
	vw_session_down(&s->w);
	answer_all(s);
	s->w.host = vw_host(99);
	vqt_host_join(s->w.host, s->hd);
	vqt_host_destroy(old);
	vqt_host_kick(s->hd, vq);
	vqt_host_service(s->w.host, 100, s->w.now);
	vw_session_up(&s->w, NULL);
	s->epoch++;
	setup_bind(s);
	run(s);
	assert_int_equal(vw_hd(s->hd, VQT_HD_requests_resent), type == VQT_BLK ? 5 : 0);
	assert_int_equal(s->w.nreqs, type == VQT_BLK ? 6 : 0);
	answer_all(s);
	run(s);
	assert_int_equal(s->ring[vq].nused, 7);
	teardown(s);
}

static void a_disk_changes_its_host(void **state)
{
	(void)state;
	a_device_changes_its_host(VQT_BLK);
}

static void a_vnic_changes_its_host(void **state)
{
	(void)state;
	a_device_changes_its_host(VQT_NET);
}

static void attach_and_bind(void **state)
{
	struct setup *s = fresh(VQT_BLK);
	struct vqt_bind b = {.wire = WIRE, .epoch = 1, .max_inflight = VQT_INFLIGHT_MIN};
	struct vqt_hdev *other;
	void *rings[1] = {&s->ring[3]};
	struct vqt_hdev_cfg c = {.type = VQT_BLK,
				 .user = &s->w,
				 .ring_ops = &fake_ring_ops,
				 .nvq = 1,
				 .rings = rings,
				 .depth = 4};
	struct vqt_dev_cfg dc = {
		.type = VQT_BLK, .wire = WIRE, .nvq = 1, .depth = 4, .max_inflight = VQT_INFLIGHT_MIN};
	int err = 0;

	(void)state;
	assert_int_equal(vqt_hdev_bind(s->hd, &b), -EALREADY);
	other = vqt_host_attach(s->w.host, &c, &err);
	assert_non_null(other);
	assert_int_equal(vqt_hdev_bind(other, &b), -EEXIST);
	b.wire = VQT_WIRE_MAX;
	assert_int_equal(vqt_hdev_bind(other, &b), -EINVAL);
	b.wire = VQT_WIRE_MAX - 1;
	b.max_inflight--;
	assert_int_equal(vqt_hdev_bind(other, &b), -EINVAL);
	b.max_inflight++;
	assert_int_equal(vqt_hdev_bind(other, &b), 0);
	assert_int_equal(vqt_host_queue_start(other, 1, false), -EINVAL);
	vqt_host_kick(other, 1);
	vqt_host_queue_stop(other, 1, VQT_STOP_FENCE);
	vqt_hdev_unbind(other);
	vqt_hdev_unbind(other);
	vqt_host_detach(other);
	c.depth = 0;
	assert_null(vqt_host_attach(s->w.host, &c, &err));
	assert_int_equal(err, -EINVAL);
	c.depth = VQT_DEPTH_MAX + 1;
	assert_null(vqt_host_attach(s->w.host, &c, &err));
	c.type = VQT_NET; /* an odd number of queues */
	assert_null(vqt_host_attach(s->w.host, &c, &err));
	assert_null(vqt_peer_attach(s->w.peer, &dc, &err));
	assert_int_equal(err, -EEXIST);
	dc.wire = VQT_WIRE_MAX;
	assert_null(vqt_peer_attach(s->w.peer, &dc, &err));
	assert_int_equal(err, -EINVAL);
	vw_session_down(&s->w);
	assert_int_equal(vqt_hdev_bind(s->hd, &b), -ENOTCONN);
	teardown(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests_are_sent_again_in_their_order),
		cmocka_unit_test(orphans),
		cmocka_unit_test(old_completions_meet_nobody),
		cmocka_unit_test(requests_of_an_old_epoch_are_dropped),
		cmocka_unit_test(frames_go_on_in_the_next_session),
		cmocka_unit_test(a_disk_changes_its_host),
		cmocka_unit_test(a_vnic_changes_its_host),
		cmocka_unit_test(attach_and_bind),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

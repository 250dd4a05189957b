/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vdisk_io: requests to a backend and back; back-pressure; every backend call failing in turn; owners that
 * change under load; hostile requests.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "appliance/bdev/bdev_filter.h"
#include "appliance/bdev/bdev_mem.h"
#include "appliance/device/vdisk_io.h"
#include "fabric/base/rng.h"
#include "tests/lib/blk_req.h"

#define SIZE (1u << 20)

/* vdisk_io -> fault -> delay -> mem, in a clock of its own. */
struct world {
	struct bdev_group *g;
	struct bdev *mem, *fault;
	struct blk_fence fence;
	struct vdisk_io *d;
	uint64_t now;
};

static struct vdisk_io_cfg config(struct world *w, uint64_t owner, uint64_t epoch, unsigned depth)
{
	return (struct vdisk_io_cfg){.bdev = w->fault,
				     .fence = &w->fence,
				     .owner = owner,
				     .epoch = epoch,
				     .acked = BLK_F_FLUSH,
				     .queues = 1,
				     .depth = depth,
				     .serial = "serial-of-20-bytes..",
				     .complete = blk_req_complete};
}

static struct vdisk_io *attach(struct world *w, uint64_t owner, unsigned depth)
{
	struct vdisk_io_cfg cfg;
	struct vdisk_io *d;
	uint64_t epoch;
	int err;

	assert_int_equal(blk_fence_claim(&w->fence, owner, &epoch), 0);
	assert_int_equal(blk_fence_confirm(&w->fence, epoch), 0);
	cfg = config(w, owner, epoch, depth);
	d = vdisk_io_create(&cfg, &err);
	assert_non_null(d);
	return d;
}

static void open_world(struct world *w, unsigned depth, uint64_t delay_ns)
{
	struct bdev *delay;
	int err;

	memset(w, 0, sizeof(*w));
	w->g = bdev_group_create(64, &err);
	assert_int_equal(bdev_mem_open(SIZE, 512, &w->mem), 0);
	assert_int_equal(bdev_delay_open(w->mem, 64, 0, delay_ns, 7, &delay), 0);
	assert_int_equal(bdev_fault_open(delay, 64, &w->fault), 0);
	assert_int_equal(bdev_join(w->fault, w->g), 0);
	blk_fence_init(&w->fence, 0);
	w->d = attach(w, 1, depth);
}

static void close_world(struct world *w)
{
	if (w->d)
		assert_true(vdisk_io_idle(w->d));
	vdisk_io_destroy(w->d);
	assert_true(blk_fence_quiet(&w->fence));
	bdev_leave(w->fault);
	bdev_close(w->fault);
	bdev_group_destroy(w->g);
}

static void turn(struct world *w)
{
	uint64_t due = bdev_group_deadline(w->g);

	w->now = due != UINT64_MAX && due > w->now ? due : w->now + 1;
	bdev_group_poll(w->g, w->now, 64);
	if (w->d)
		vdisk_io_service(w->d, w->now);
}

static void settle(struct world *w)
{
	for (int i = 0; i < 10000 && (bdev_outstanding(w->fault) || (w->d && vdisk_io_waiting(w->d))); i++)
		turn(w);
}

static uint8_t ask(struct world *w, struct blk_req *q)
{
	vdisk_io_request(w->d, &q->r, w->now);
	settle(w);
	return blk_req_status(q);
}

static uint64_t counter(const struct world *w, enum vdisk_io_counter c)
{
	return vdisk_io_counters(w->d)[c];
}

static void round_trips(void **state)
{
	static struct blk_req q;
	struct world w;

	(void)state;
	open_world(&w, 8, 0);
	blk_req_init(&q, BLK_T_OUT, 8, 4096, 0);
	memset(q.out + 16, 0x5a, 4096);
	assert_int_equal(ask(&w, &q), BLK_S_OK);
	assert_int_equal(q.sent, 1);
	assert_int_equal(q.written, 1);
	assert_int_equal(bdev_mem_bytes(w.mem)[8 * 512], 0x5a);

	blk_req_init(&q, BLK_T_IN, 8, 0, 4096);
	assert_int_equal(ask(&w, &q), BLK_S_OK);
	assert_int_equal(q.sent, 4097);
	assert_int_equal(q.written, 4097);
	assert_int_equal(q.in[4095], 0x5a);

	blk_req_init(&q, BLK_T_FLUSH, 0, 0, 0);
	assert_int_equal(ask(&w, &q), BLK_S_OK);

	blk_req_init(&q, BLK_T_GET_ID, 0, 0, 20);
	assert_int_equal(ask(&w, &q), BLK_S_OK);
	assert_memory_equal(q.in, "serial-of-20-bytes..", 20);
	blk_req_init(&q, BLK_T_GET_ID, 0, 0, 100);
	assert_int_equal(ask(&w, &q), BLK_S_OK);
	assert_int_equal(q.sent, 101);
	for (int i = 20; i < 100; i++)
		assert_int_equal(q.in[i], 0); /* nothing of what the memory held */

	blk_req_init(&q, BLK_T_WRITE_ZEROES, 0, 16, 0);
	blk_req_le(q.out + 16, 8, 8);
	blk_req_le(q.out + 24, 8, 4);
	assert_int_equal(ask(&w, &q), BLK_S_OK);
	assert_int_equal(bdev_mem_bytes(w.mem)[8 * 512], 0);
	blk_req_init(&q, BLK_T_DISCARD, 0, 16, 0);
	blk_req_le(q.out + 24, 8, 4);
	assert_int_equal(ask(&w, &q), BLK_S_OK);

	assert_int_equal(counter(&w, VDISK_IO_requests), 7);
	assert_int_equal(counter(&w, VDISK_IO_reads), 1);
	assert_int_equal(counter(&w, VDISK_IO_writes), 1);
	assert_int_equal(counter(&w, VDISK_IO_flushes), 1);
	assert_int_equal(counter(&w, VDISK_IO_discards), 1);
	assert_int_equal(counter(&w, VDISK_IO_write_zeroes), 1);
	assert_int_equal(counter(&w, VDISK_IO_read_bytes), 4096);
	assert_int_equal(counter(&w, VDISK_IO_write_bytes), 4096);
	close_world(&w);
}

static void refusals_have_names(void **state)
{
	static struct blk_req q;
	struct world w;

	(void)state;
	open_world(&w, 8, 0);
	blk_req_init(&q, BLK_T_IN, SIZE / 512, 0, 512);
	assert_int_equal(ask(&w, &q), BLK_S_IOERR);
	assert_int_equal(q.sent, 1); /* no data with an error, the status at its place */
	assert_int_equal(q.written, 0);
	assert_int_equal(q.in[512], BLK_S_IOERR);
	assert_int_equal(counter(&w, VDISK_IO_refused_out_of_range), 1);

	blk_req_init(&q, 99, 0, 0, 0);
	assert_int_equal(ask(&w, &q), BLK_S_UNSUPP);
	assert_int_equal(counter(&w, VDISK_IO_refused_bad_type), 1);

	blk_req_init(&q, BLK_T_IN, 0, 0, 0);
	q.r.out_len = 7;
	assert_int_equal(ask(&w, &q), BLK_S_IOERR);
	assert_int_equal(counter(&w, VDISK_IO_refused_short_header), 1);

	blk_req_init(&q, BLK_T_IN, 0, 0, 0);
	q.r.out = NULL;
	q.r.out_len = 0;
	assert_int_equal(ask(&w, &q), BLK_S_IOERR);

	blk_req_init(&q, BLK_T_GET_ID, 0, 0, 0);
	assert_int_equal(ask(&w, &q), BLK_S_IOERR);
	assert_int_equal(counter(&w, VDISK_IO_refused_no_data_room), 1);

	blk_req_init(&q, BLK_T_IN, 0, 0, 0);
	q.r.in = NULL;
	q.r.in_len = 0;
	vdisk_io_request(w.d, &q.r, w.now);
	assert_int_equal(q.completed, 1);
	assert_int_equal(q.sent, 0);
	assert_int_equal(counter(&w, VDISK_IO_refused_no_status), 1);
	close_world(&w);
}

static void bad_configurations(void **state)
{
	struct vdisk_io_cfg cfg;
	struct world w;
	int err;

	(void)state;
	open_world(&w, 8, 0);
	cfg = config(&w, 1, 1, 0);
	assert_null(vdisk_io_create(&cfg, &err));
	assert_int_equal(err, -EINVAL);
	cfg = config(&w, 0, 1, 8);
	assert_null(vdisk_io_create(&cfg, &err));
	cfg = config(&w, 1, 1, 8);
	cfg.acked = 1ull << 11;
	assert_null(vdisk_io_create(&cfg, &err));
	assert_int_equal(err, -EINVAL);
	assert_int_equal(vdisk_io_set_acked(w.d, 1ull << 40), -EINVAL);
	vdisk_io_destroy(NULL);
	close_world(&w);
}

#define MANY 40

static unsigned finish_order[MANY], finished;

static void note(struct blk_req *q)
{
	finish_order[finished++] = (unsigned)(uintptr_t)q->ctx;
}

/* More than the backend takes: the rest waits, goes in order of arrival, is done once. */
static void back_pressure_keeps_order(void **state)
{
	static struct blk_req q[MANY];
	struct world w;

	(void)state;
	open_world(&w, 1, 0);
	finished = 0;
	bdev_fault_set(w.fault, &(struct bdev_fault_cfg){.kind = BDEV_FAULT_BUSY, .nth = 1, .count = 7});
	for (unsigned i = 0; i < MANY; i++) {
		blk_req_init(&q[i], BLK_T_OUT, i, 512, 0);
		q[i].done = note;
		q[i].ctx = (void *)(uintptr_t)i;
		vdisk_io_request(w.d, &q[i].r, w.now);
	}
	/* The first found it busy; nobody overtakes it, though the backend would take them by now. */
	assert_int_equal(vdisk_io_outstanding(w.d), 0);
	assert_int_equal(vdisk_io_waiting(w.d), MANY);
	settle(&w);
	assert_int_equal(finished, MANY);
	for (unsigned i = 0; i < MANY; i++) {
		assert_int_equal(finish_order[i], i);
		assert_int_equal(blk_req_status(&q[i]), BLK_S_OK);
	}
	assert_int_equal(counter(&w, VDISK_IO_waited), MANY);
	assert_int_equal(bdev_fault_hits(w.fault), 7);
	close_world(&w);
}

static struct world *chain_world;

static void resubmit(struct blk_req *q)
{
	uint64_t left = (uint64_t)(uintptr_t)q->ctx;

	if (!left)
		return;
	blk_req_init(q, left % 3 ? BLK_T_OUT : 99, left, 512, 0);
	q->done = resubmit;
	q->ctx = (void *)(uintptr_t)(left - 1);
	vdisk_io_request(chain_world->d, &q->r, chain_world->now);
}

/* A completion may ask for the next request at once. */
static void completion_may_request(void **state)
{
	static struct blk_req q;
	struct world w;

	(void)state;
	open_world(&w, 1, 10);
	chain_world = &w;
	blk_req_init(&q, BLK_T_FLUSH, 0, 0, 0);
	q.done = resubmit;
	q.ctx = (void *)20;
	vdisk_io_request(w.d, &q.r, w.now);
	settle(&w);
	assert_int_equal(counter(&w, VDISK_IO_requests), 21);
	close_world(&w);
}

/* Promise: a backend error never becomes success. One workload, over and over; each time another call of
 * the backend fails, in another way. */
#define LOAD 48

static void load(struct blk_req *q, struct rng *r)
{
	for (unsigned i = 0; i < LOAD; i++) {
		uint64_t kind = rng_below(r, 8), sector = rng_below(r, SIZE / 512 - 16);

		if (kind < 3) {
			blk_req_init(&q[i], BLK_T_IN, sector, 0, 512 * (1 + (uint32_t)rng_below(r, 16)));
		} else if (kind < 6) {
			blk_req_init(&q[i], BLK_T_OUT, sector, 512 * (1 + (uint32_t)rng_below(r, 16)), 0);
		} else if (kind < 7) {
			blk_req_init(&q[i], BLK_T_FLUSH, 0, 0, 0);
		} else {
			blk_req_init(&q[i], rng_below(r, 2) ? BLK_T_DISCARD : BLK_T_WRITE_ZEROES, 0, 16, 0);
			blk_req_le(q[i].out + 16, sector, 8);
			blk_req_le(q[i].out + 24, 1 + rng_below(r, 16), 4);
		}
	}
}

static void run_with_fault(const struct bdev_fault_cfg *fault, uint64_t seed, bool struck)
{
	static struct blk_req q[LOAD];
	unsigned failed = 0;
	struct world w;
	struct rng r;

	rng_init(&r, seed);
	open_world(&w, 6, 50);
	bdev_fault_set(w.fault, fault);
	load(q, &r);
	for (unsigned i = 0; i < LOAD; i++) {
		vdisk_io_request(w.d, &q[i].r, w.now);
		if (rng_below(&r, 3) == 0)
			turn(&w);
	}
	settle(&w);
	for (unsigned i = 0; i < LOAD; i++) {
		uint8_t s = blk_req_status(&q[i]);

		failed += s != BLK_S_OK;
		if (s != BLK_S_OK)
			assert_int_equal(q[i].sent, 1);
	}
	assert_int_equal(failed, struck ? 1 : 0);
	assert_int_equal(bdev_fault_hits(w.fault), 1);
	assert_int_equal(counter(&w, VDISK_IO_errors_io) + counter(&w, VDISK_IO_errors_space) +
				 counter(&w, VDISK_IO_errors_timeout) +
				 counter(&w, VDISK_IO_errors_unsupported) +
				 counter(&w, VDISK_IO_errors_other),
			 failed);
	close_world(&w);
}

static void nth_backend_call_fails(void **state)
{
	static const struct {
		enum bdev_fault_kind kind;
		int err;
	} ways[] = {
		{BDEV_FAULT_ERROR, EIO},    {BDEV_FAULT_ERROR, ENOSPC}, {BDEV_FAULT_ERROR, EOPNOTSUPP},
		{BDEV_FAULT_ERROR, ENOMEM}, {BDEV_FAULT_SHORT, EIO},	{BDEV_FAULT_AFTER, EIO},
		{BDEV_FAULT_TIMEOUT, EIO},  {BDEV_FAULT_BUSY, EIO},
	};
	unsigned injections = 0;

	(void)state;
	for (uint64_t seed = 1; seed <= 28; seed++) {
		for (unsigned n = 1; n <= LOAD; n++) {
			for (size_t k = 0; k < sizeof(ways) / sizeof(*ways); k++) {
				struct bdev_fault_cfg fault = {.kind = ways[k].kind,
							       .nth = n,
							       .err = ways[k].err,
							       .timeout_ns = 1000};

				run_with_fault(&fault, seed, fault.kind != BDEV_FAULT_BUSY);
				injections++;
			}
		}
	}
	print_message("%u injections\n", injections);
	assert_true(injections >= 10000);
}

/* Another session takes the volume while requests are at the backend and in the queue. */
static void owner_changes_under_load(void **state)
{
	static struct blk_req a[12], b[3];
	struct vdisk_io *old;
	struct world w;

	(void)state;
	open_world(&w, 4, 100);
	for (unsigned i = 0; i < 12; i++) {
		blk_req_init(&a[i], BLK_T_OUT, i, 512, 0);
		memset(a[i].out + 16, 0xaa, 512);
		vdisk_io_request(w.d, &a[i].r, w.now);
	}
	old = w.d;
	w.d = attach(&w, 2, 4);
	assert_false(blk_fence_ready(&w.fence));
	for (unsigned i = 0; i < 3; i++) {
		blk_req_init(&b[i], BLK_T_OUT, i, 512, 0);
		memset(b[i].out + 16, 0xbb, 512);
		vdisk_io_request(w.d, &b[i].r, w.now);
	}
	assert_int_equal(vdisk_io_waiting(w.d), 3); /* older I/O first */
	assert_int_equal(vdisk_io_outstanding(w.d), 0);
	for (int i = 0; i < 100; i++) {
		turn(&w);
		vdisk_io_service(old, w.now);
		if (vdisk_io_outstanding(old))
			assert_int_equal(vdisk_io_outstanding(w.d), 0);
	}
	for (unsigned i = 0; i < 12; i++)
		assert_int_equal(a[i].completed, 0); /* neither done nor failed: nobody hears of them */
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(blk_req_status(&b[i]), BLK_S_OK);
	for (unsigned i = 0; i < 12; i++)
		assert_int_equal(bdev_mem_bytes(w.mem)[i * 512], i < 3 ? 0xbb : i < 4 ? 0xaa : 0);
	assert_int_equal(vdisk_io_counters(old)[VDISK_IO_kept], 12);
	assert_false(vdisk_io_idle(old));
	vdisk_io_stop(old, w.now);
	assert_true(vdisk_io_idle(old));
	for (unsigned i = 0; i < 12; i++)
		assert_int_not_equal(blk_req_status(&a[i]), BLK_S_OK);
	/* Late requests of the old owner's tunnel. */
	blk_req_init(&a[0], BLK_T_OUT, 0, 512, 0);
	vdisk_io_request(old, &a[0].r, w.now);
	assert_int_not_equal(blk_req_status(&a[0]), BLK_S_OK);
	assert_int_equal(bdev_mem_bytes(w.mem)[0], 0xbb);
	vdisk_io_destroy(old);
	close_world(&w);
}

/* Stop with requests at the backend: those end by themselves, once. */
static void stop_drains(void **state)
{
	static struct blk_req q[10];
	struct world w;

	(void)state;
	open_world(&w, 4, 100);
	for (unsigned i = 0; i < 10; i++) {
		blk_req_init(&q[i], BLK_T_OUT, i, 512, 0);
		vdisk_io_request(w.d, &q[i].r, w.now);
	}
	vdisk_io_stop(w.d, w.now);
	assert_int_equal(vdisk_io_outstanding(w.d), 4);
	assert_false(vdisk_io_idle(w.d));
	for (unsigned i = 4; i < 10; i++)
		assert_int_not_equal(blk_req_status(&q[i]), BLK_S_OK);
	settle(&w);
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(q[i].completed, 1);
	close_world(&w);
}

/* Any bytes at all: each is answered once, and nothing but writes of data changes the volume. */
static void hostile_requests(void **state)
{
	static struct blk_req q[4];
	struct world w;
	struct rng r;

	(void)state;
	rng_init(&r, 11);
	open_world(&w, 3, 20);
	for (int i = 0; i < 20000; i++) {
		struct blk_req *x = &q[i % 4];

		if (i >= 4)
			while (!x->completed)
				turn(&w);
		blk_req_init(x, 0, 0, 0, 0);
		x->r.out_len = (uint32_t)rng_below(&r, rng_below(&r, 2) ? 64 : sizeof(x->out));
		x->r.in_len = (uint32_t)rng_below(&r, rng_below(&r, 2) ? 4 : sizeof(x->in));
		for (unsigned k = 0; k < 32; k++)
			x->out[k] = (uint8_t)rng_u64(&r);
		if (rng_below(&r, 4)) {
			blk_req_le(x->out, rng_below(&r, 16), 4);
			blk_req_le(x->out + 8, rng_below(&r, SIZE / 512 + 2), 8);
		}
		vdisk_io_request(w.d, &x->r, w.now);
	}
	settle(&w);
	for (int i = 0; i < 4; i++)
		assert_int_equal(q[i].completed, 1);
	close_world(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_trips),
		cmocka_unit_test(refusals_have_names),
		cmocka_unit_test(bad_configurations),
		cmocka_unit_test(back_pressure_keeps_order),
		cmocka_unit_test(completion_may_request),
		cmocka_unit_test(nth_backend_call_fails),
		cmocka_unit_test(owner_changes_under_load),
		cmocka_unit_test(stop_drains),
		cmocka_unit_test(hostile_requests),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

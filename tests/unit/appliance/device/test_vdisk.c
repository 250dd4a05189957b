/* SPDX-License-Identifier: Apache-2.0 */
/* The virtual disk over both ends of a real tunnel and a backend that takes its time: attachments that end
 * with I/O in flight, the next owner, what is counted. */
#include <errno.h>
#include <linux/virtio_blk.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "appliance/bdev/bdev_filter.h"
#include "appliance/bdev/bdev_mem.h"
#include "appliance/device/vdisk.h"
#include "tests/lib/vqt_world.h"

#define WIRE  9
#define MS    1000000ull
#define SEC   (1000 * MS)
#define DELAY (5 * MS)
#define SIZE  (4u << 20)
#define BLOCK 4096u

struct fixture {
	struct vw w;
	struct vw_cfg wc;
	struct fake_ring ring;
	struct vqt_hdev *hd;
	struct bdev *mem, *b;
	struct bdev_group *group;
	struct vdisk *d;
	uint32_t epoch;
	unsigned unbound;
	struct list needy;
};

static void touched(void *session)
{
	assert_non_null(session);
}

static int bind_disk(struct fixture *x, uint32_t epoch)
{
	const struct vdisk_world world = {.touched = touched, .needy = &x->needy};

	return vdisk_bind(x->d, &world, x->w.peer, x, 77, WIRE, epoch);
}

static void bind_host(struct fixture *x)
{
	struct vqt_bind b = {.wire = WIRE, .epoch = x->epoch, .max_inflight = VDISK_MAX_INFLIGHT};

	assert_int_equal(vqt_hdev_bind(x->hd, &b), 0);
}

static int setup(void **state)
{
	struct fixture *x = calloc(1, sizeof(*x));
	void *rings[1] = {&x->ring};
	struct vqt_hdev_cfg hc = {.type = VQT_BLK,
				  .user = &x->w,
				  .ring_ops = &fake_ring_ops,
				  .nvq = 1,
				  .rings = rings,
				  .depth = VDISK_DEPTH};
	int err;

	list_init(&x->needy);
	x->wc.dev_ops = &device_tunnel_ops;
	vw_init(&x->w, &x->wc);
	fake_ring_init(&x->ring);
	x->group = bdev_group_create(64, &err);
	assert_int_equal(bdev_mem_open(SIZE, 512, &x->mem), 0);
	assert_int_equal(bdev_delay_open(x->mem, 16, DELAY, 0, 1, &x->b), 0);
	x->d = vdisk_create(x->b, 1, "serial");
	assert_int_equal(vdisk_join(x->d, x->group), 0);
	bdev_group_poll(x->group, x->w.now, 1);
	x->hd = vqt_host_attach(x->w.host, &hc, &err);
	assert_non_null(x->hd);
	x->epoch = 1;
	assert_int_equal(bind_disk(x, x->epoch), 0);
	bind_host(x);
	assert_int_equal(vqt_host_queue_start(x->hd, 0, false), 0);
	*state = x;
	return 0;
}

/* As the worker does: only a disk that asked for it is served. */
static void backends(struct fixture *x)
{
	if (bdev_group_poll(x->group, x->w.now, 256) > 0 && vdisk_next(&x->needy))
		vdisk_service(x->d, x->w.now);
}

/* As the worker's turns: what the backend completes goes on. */
static void turns(struct fixture *x, uint64_t ns)
{
	for (uint64_t end = x->w.now + ns; x->w.now < end;) {
		uint64_t before = x->w.now;

		vw_run(&x->w, MS / 10);
		backends(x);
		if (x->w.now == before)
			x->w.now += MS / 10; /* idle */
	}
}

static void on_unbound(void *arg)
{
	((struct fixture *)arg)->unbound++;
}

static int teardown(void **state)
{
	struct fixture *x = *state;

	vdisk_unbind(x->d, x->w.now, on_unbound, x);
	turns(x, 20 * DELAY);
	vdisk_leave(x->d);
	vdisk_destroy(x->d);
	bdev_close(x->b);
	bdev_group_destroy(x->group);
	vqt_host_detach(x->hd);
	vw_fini(&x->w); /* asserts that no request's memory is left */
	fake_ring_fini(&x->ring);
	free(x);
	return 0;
}

static struct fake_chain *put_write(struct fixture *x, uint32_t block, uint8_t fill, uint32_t len)
{
	static uint8_t bytes[16 + (1 << 20)];
	struct virtio_blk_outhdr h = {.type = VIRTIO_BLK_T_OUT, .sector = (uint64_t)block * BLOCK / 512};
	struct fake_chain *c;

	memcpy(bytes, &h, 16);
	memset(bytes + 16, fill, len);
	c = fake_ring_add1(&x->ring, bytes, 16 + len, 1);
	vqt_host_kick(x->hd, 0);
	return c;
}

static uint8_t status(const struct fake_chain *c)
{
	uint8_t s;

	assert_int_equal(c->state, FAKE_USED);
	fake_chain_read(c, c->in_len - 1, &s, 1);
	return s;
}

static void reads_back_what_was_written(void **state)
{
	struct fixture *x = *state;
	struct virtio_blk_outhdr h = {.type = VIRTIO_BLK_T_IN, .sector = 8};
	struct fake_chain *c = put_write(x, 1, 0x5a, BLOCK);
	uint8_t got[BLOCK];

	turns(x, 4 * DELAY);
	assert_int_equal(status(c), VIRTIO_BLK_S_OK);
	c = fake_ring_add1(&x->ring, &h, 16, BLOCK + 1);
	vqt_host_kick(x->hd, 0);
	turns(x, 4 * DELAY);
	assert_int_equal(status(c), VIRTIO_BLK_S_OK);
	fake_chain_read(c, 0, got, BLOCK);
	for (uint32_t i = 0; i < BLOCK; i++)
		assert_int_equal(got[i], 0x5a);
}

/* More than the backend (16) and the disk (256) take at once: nothing is refused, nothing is lost. */
static void what_the_backend_cannot_take_waits(void **state)
{
	struct fixture *x = *state;
	struct fake_chain *c[200];

	for (uint32_t i = 0; i < 200; i++)
		c[i] = put_write(x, i, (uint8_t)i, BLOCK);
	turns(x, 60 * DELAY);
	for (uint32_t i = 0; i < 200; i++) {
		assert_int_equal(status(c[i]), VIRTIO_BLK_S_OK);
		assert_int_equal(bdev_mem_bytes(x->mem)[i * BLOCK], (uint8_t)i);
	}
	vdisk_publish(x->d);
	assert_int_equal(counter_get(&vdisk_counters(x->d)[VDISK_IO_writes]), 200);
	assert_in_range(counter_get(&vdisk_counters(x->d)[VDISK_IO_waited]), 100, 200);
}

/* Rules E3 to E6: the old owner's I/O ends before the new one's begins, its completions reach nobody, and
 * what was not answered is done again. */
static void the_next_owner_waits_for_the_last_of_the_old(void **state)
{
	struct fixture *x = *state;
	struct fake_chain *c[40];

	for (uint32_t i = 0; i < 40; i++)
		c[i] = put_write(x, i, 0x11, BLOCK);
	turns(x, MS); /* at the backend, none done */
	assert_int_not_equal(bdev_outstanding(x->b), 0);
	vdisk_unbind(x->d, x->w.now, on_unbound, x);
	vqt_hdev_unbind(x->hd);
	assert_int_equal(x->unbound, 0);
	assert_int_equal(bind_disk(x, 2), -EALREADY);
	/* Asked again, it does not say that the end has come. */
	assert_int_equal(vdisk_unbind(x->d, x->w.now, on_unbound, x), -EALREADY);
	assert_int_equal(x->unbound, 0);
	turns(x, 4 * DELAY);
	assert_int_equal(x->unbound, 1);
	assert_int_equal(bdev_outstanding(x->b), 0);
	for (int i = 0; i < 40; i++)
		assert_int_not_equal(c[i]->state, FAKE_USED);
	x->epoch = 2;
	assert_int_equal(bind_disk(x, 2), 0);
	bind_host(x);
	turns(x, 20 * DELAY);
	for (uint32_t i = 0; i < 40; i++) {
		assert_int_equal(status(c[i]), VIRTIO_BLK_S_OK);
		assert_int_equal(bdev_mem_bytes(x->mem)[i * BLOCK], 0x11);
	}
	vdisk_publish(x->d);
	assert_int_equal(counter_get(&vdisk_tunnel_counters(x->d)[VQT_D_completions]), 40);
	/* At the backend twice: what it had of the first attachment. */
	assert_in_range(counter_get(&vdisk_counters(x->d)[VDISK_IO_writes]), 41, 80);
}

static void sessions_come_and_go_under_load(void **state)
{
	struct fixture *x = *state;
	struct fake_chain *c[240];
	unsigned n = 0;

	for (uint32_t turn = 0; turn < 8; turn++) {
		for (uint32_t i = 0; i < 30; i++, n++)
			c[n] = put_write(x, n, (uint8_t)(turn + 1),
					 turn % 2 ? BLOCK : BLOCK + (n % 20) * BLOCK);
		turns(x, (turn * 7 % 5) * MS);
		vdisk_unbind(x->d, x->w.now, on_unbound, x);
		vw_session_down(&x->w);
		for (int k = 0; x->unbound == turn && k < 1000; k++) {
			x->w.now += MS;
			backends(x);
		}
		assert_int_equal(x->unbound, turn + 1);
		vw_session_up(&x->w, &x->wc);
		x->epoch++;
		assert_int_equal(bind_disk(x, x->epoch), 0);
		bind_host(x);
	}
	turns(x, 200 * DELAY);
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(status(c[i]), VIRTIO_BLK_S_OK);
	vdisk_publish(x->d);
	assert_int_equal(counter_get(&vdisk_tunnel_counters(x->d)[VQT_D_drop_req_epoch]), 0);
}

static void an_epoch_is_never_nothing(void **state)
{
	struct fixture *x = *state;

	assert_int_equal(bind_disk(x, 5), -EALREADY);
	vdisk_unbind(x->d, x->w.now, on_unbound, x);
	assert_int_equal(x->unbound, 1); /* nothing in flight: at once */
	assert_int_equal(bind_disk(x, 0), -EINVAL);
	vdisk_unbind(x->d, x->w.now, on_unbound, x); /* not bound is fine */
	assert_int_equal(x->unbound, 2);
}

static void a_wire_id_in_use_leaves_the_disk_as_it_was(void **state)
{
	struct fixture *x = *state;
	struct vqt_dev_cfg other = {.type = VQT_BLK,
				    .user = NULL,
				    .wire = WIRE,
				    .nvq = 1,
				    .depth = 1,
				    .max_inflight = VQT_INFLIGHT_MIN};
	struct vqt_dev *o;
	int err;

	vdisk_unbind(x->d, x->w.now, on_unbound, x);
	o = vqt_peer_attach(x->w.peer, &other, &err);
	assert_non_null(o);
	assert_int_equal(bind_disk(x, 2), -EEXIST);
	vqt_peer_detach(o);
	assert_int_equal(bind_disk(x, 3), 0);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(reads_back_what_was_written),
		T(what_the_backend_cannot_take_waits),
		T(the_next_owner_waits_for_the_last_of_the_old),
		T(sessions_come_and_go_under_load),
		T(an_epoch_is_never_nothing),
		T(a_wire_id_in_use_leaves_the_disk_as_it_was),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

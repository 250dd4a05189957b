/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Power cuts. A guest writes stamped sectors through vdisk_io to a disk with a volatile cache
 * (tests/lib/crash_disk.h), sometimes flushing; then the power is cut at every instant, with every
 * small choice of what the cache had written back. Of each sector must be left: the newest version
 * that virtio had promised to be stable by then, or one written later.
 *
 * And the check has teeth: with a disk that lies about FUA or flushes it must find a loss.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "appliance/bdev/bdev_filter.h"
#include "appliance/bdev/bdev_mem.h"
#include "appliance/device/vdisk_io.h"
#include "fabric/base/rng.h"
#include "tests/lib/blk_req.h"
#include "tests/lib/crash_disk.h"

#define SECTORS 64u
#define REQS	90u
#define FLIGHT	6u

/* What the guest knows of one request. */
struct op {
	bool flush;
	unsigned sector, sectors;
	uint32_t version;
	unsigned sent, acked; /* instants of the disk; acked UINT_MAX: not yet */
};

struct guest {
	struct bdev_group *g;
	struct bdev *disk; /* crash disk */
	struct blk_fence fence;
	struct vdisk_io *d;
	uint64_t now;
	bool write_through;
	struct op ops[REQS];
	unsigned nops;
	struct blk_req reqs[FLIGHT];
	struct op *running[FLIGHT];
};

static struct guest *the_guest;

static void acked(struct blk_req *q)
{
	struct guest *u = the_guest;
	size_t i = (size_t)(q - u->reqs);

	assert_int_equal(blk_req_status(q), BLK_S_OK);
	u->running[i]->acked = crash_disk_now(u->disk);
	u->running[i] = NULL;
}

static bool overlaps(const struct guest *u, unsigned sector, unsigned n)
{
	for (unsigned i = 0; i < FLIGHT; i++) {
		const struct op *o = u->running[i];

		if (o && !o->flush && sector < o->sector + o->sectors && o->sector < sector + n)
			return true;
	}
	return false;
}

static void issue(struct guest *u, unsigned slot, struct rng *r)
{
	struct op *o = &u->ops[u->nops];
	struct blk_req *q = &u->reqs[slot];
	unsigned n = 1 + (unsigned)rng_below(r, 4), at = (unsigned)rng_below(r, SECTORS - n + 1);

	*o = (struct op){.version = ++u->nops, .sent = crash_disk_now(u->disk), .acked = UINT32_MAX};
	if (rng_below(r, 5) == 0 || overlaps(u, at, n)) {
		o->flush = true;
		blk_req_init(q, BLK_T_FLUSH, 0, 0, 0);
	} else {
		o->sector = at;
		o->sectors = n;
		blk_req_init(q, BLK_T_OUT, at, n * 512, 0);
		for (unsigned i = 0; i < n * 128; i++)
			memcpy(q->out + 16 + 4 * i, &o->version, 4);
	}
	q->done = acked;
	u->running[slot] = o;
	vdisk_io_request(u->d, &q->r, u->now);
}

static void turn(struct guest *u)
{
	uint64_t due = bdev_group_deadline(u->g);

	u->now = due != UINT64_MAX && due > u->now ? due : u->now + 1;
	bdev_group_poll(u->g, u->now, 64);
	vdisk_io_service(u->d, u->now);
}

static void run_guest(struct guest *u, uint64_t seed, bool write_through, enum crash_disk_lie lie)
{
	struct bdev *mem, *delay;
	struct vdisk_io_cfg cfg;
	uint64_t epoch;
	struct rng r;
	int err;

	memset(u, 0, sizeof(*u));
	the_guest = u;
	rng_init(&r, seed);
	u->write_through = write_through;
	u->g = bdev_group_create(16, &err);
	assert_int_equal(bdev_mem_open(SECTORS * 512, 512, &mem), 0);
	assert_int_equal(bdev_delay_open(mem, 16, 0, 100, seed, &delay), 0);
	assert_int_equal(crash_disk_open(delay, 16, REQS, lie, &u->disk), 0);
	assert_int_equal(bdev_join(u->disk, u->g), 0);
	blk_fence_init(&u->fence, 0);
	blk_fence_claim(&u->fence, 1, &epoch);
	blk_fence_confirm(&u->fence, epoch);
	cfg = (struct vdisk_io_cfg){.bdev = u->disk,
				    .fence = &u->fence,
				    .owner = 1,
				    .epoch = epoch,
				    .acked = write_through ? 0 : BLK_F_FLUSH,
				    .queues = 1,
				    .depth = FLIGHT - 1,
				    .complete = blk_req_complete};
	u->d = vdisk_io_create(&cfg, &err);
	assert_non_null(u->d);
	while (u->nops < REQS) {
		unsigned slot = (unsigned)rng_below(&r, FLIGHT);

		if (!u->running[slot])
			issue(u, slot, &r);
		if (rng_below(&r, 2))
			turn(u);
	}
	while (!vdisk_io_idle(u->d))
		turn(u);
}

static void end_guest(struct guest *u)
{
	vdisk_io_destroy(u->d);
	bdev_leave(u->disk);
	bdev_close(u->disk);
	bdev_group_destroy(u->g);
}

/* Has virtio promised, by this instant, that o is stable? Write-through: when it is acknowledged. Else when a
 * flush that was sent after its acknowledgement is acknowledged. */
static bool promised(const struct guest *u, const struct op *o, unsigned instant)
{
	if (o->flush || o->acked > instant)
		return false;
	if (u->write_through)
		return true;
	for (unsigned i = 0; i < u->nops; i++) {
		const struct op *f = &u->ops[i];

		if (f->flush && f > o && f->sent >= o->acked && f->acked <= instant)
			return true;
	}
	return false;
}

static int check(void *ctx, unsigned instant, const uint8_t *image)
{
	static unsigned at_instant;
	static uint32_t floor[SECTORS], ceiling[SECTORS];
	const struct guest *u = ctx;

	/* The same for all states of an instant. */
	if (instant != at_instant || instant == 0) {
		at_instant = instant;
		memset(floor, 0, sizeof(floor));
		memset(ceiling, 0, sizeof(ceiling));
		for (unsigned i = 0; i < u->nops; i++) {
			const struct op *o = &u->ops[i];
			bool stable = promised(u, o, instant);

			for (unsigned s = o->sector; s < o->sector + o->sectors; s++) {
				if (stable && o->version > floor[s])
					floor[s] = o->version;
				if (o->sent <= instant && o->version > ceiling[s])
					ceiling[s] = o->version;
			}
		}
	}
	for (unsigned s = 0; s < SECTORS; s++) {
		uint32_t first, last;

		memcpy(&first, image + s * 512, 4);
		memcpy(&last, image + s * 512 + 508, 4);
		if (first != last || first < floor[s] || first > ceiling[s])
			return 1;
	}
	return 0;
}

static uint64_t total_states;

static bool survives(uint64_t seed, bool write_through, enum crash_disk_lie lie)
{
	static struct guest u;
	uint64_t states;
	int bad;

	run_guest(&u, seed, write_through, lie);
	bad = crash_disk_replay(u.disk, check, &u, &states);
	assert_true(bad >= 0);
	total_states += states;
	end_guest(&u);
	return !bad;
}

static void nothing_promised_is_lost(void **state)
{
	(void)state;
	total_states = 0;
	for (uint64_t seed = 1; seed <= 10; seed++) {
		if (!survives(seed, false, CRASH_HONEST))
			fail_msg("seed %lu, write-back", (unsigned long)seed);
		if (!survives(seed, true, CRASH_HONEST))
			fail_msg("seed %lu, write-through", (unsigned long)seed);
	}
	print_message("%lu crash states\n", (unsigned long)total_states);
	assert_true(total_states >= 100000);
}

static unsigned caught(bool write_through, enum crash_disk_lie lie)
{
	unsigned n = 0;

	for (uint64_t seed = 1; seed <= 10; seed++)
		n += !survives(seed, write_through, lie);
	return n;
}

static void lies_are_caught(void **state)
{
	(void)state;
	assert_int_equal(caught(true, CRASH_FUA_IGNORED), 10);
	assert_int_equal(caught(false, CRASH_FLUSH_IGNORED), 10);
	assert_true(caught(false, CRASH_FLUSH_EARLY) >= 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_promised_is_lost),
		cmocka_unit_test(lies_are_caught),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

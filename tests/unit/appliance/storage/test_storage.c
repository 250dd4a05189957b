/* SPDX-License-Identifier: Apache-2.0 */
/* The volume door over directory and memory pools: what the API and virtual disks get from it. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include <cmocka.h>

#include "appliance/bdev/bdev_mem.h"
#include "appliance/storage/storage.h"

#define MIB (1ull << 20)

static struct storage *s;
static struct volume_ops v;
static char dir[64], why[256];

static int open_pool(const char *name, const char *path, uint64_t capacity)
{
	Outrigger__V1__StoragePool p = OUTRIGGER__V1__STORAGE_POOL__INIT;
	Outrigger__V1__DirectoryPool d = OUTRIGGER__V1__DIRECTORY_POOL__INIT;
	Outrigger__V1__MemoryPool m = OUTRIGGER__V1__MEMORY_POOL__INIT;

	why[0] = '\0';
	p.name = (char *)name;
	if (path) {
		d.path = (char *)path;
		p.kind_case = OUTRIGGER__V1__STORAGE_POOL__KIND_DIRECTORY;
		p.directory = &d;
	} else {
		m.capacity_bytes = capacity;
		p.kind_case = OUTRIGGER__V1__STORAGE_POOL__KIND_MEMORY;
		p.memory = &m;
	}
	return v.pool_open(v.ctx, &p, why, sizeof(why));
}

static int setup(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/outrigger-storage-XXXXXX");
	assert_non_null(mkdtemp(dir));
	s = storage_create();
	v = storage_volume_ops(s);
	assert_int_equal(open_pool("mem", NULL, 8 * MIB), 0);
	assert_int_equal(open_pool("dir", dir, 0), 0);
	return 0;
}

static int teardown(void **state)
{
	char cmd[128];

	(void)state;
	storage_destroy(s);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
	return system(cmd) ? -1 : 0;
}

static void volumes_come_and_go(void **state)
{
	static const char *const pools[] = {"mem", "dir"};

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct volume_bytes b;
		struct pool_bytes pb;
		struct bdev *d;

		assert_int_equal(v.create(v.ctx, pools[i], "a", MIB), 0);
		/* Once more with the same wish: made by one that a crash cut off. Another size is another's.
		 */
		assert_int_equal(v.create(v.ctx, pools[i], "a", MIB), 0);
		assert_int_equal(v.create(v.ctx, pools[i], "a", 2 * MIB), -EEXIST);
		assert_int_equal(v.stat(v.ctx, pools[i], "a", &b), 0);
		assert_int_equal(b.size, MIB);
		assert_int_equal(v.pool_bytes(v.ctx, pools[i], &pb), 0);
		assert_true(pb.capacity >= pb.used);
		assert_int_equal(storage_open(s, pools[i], "a", MIB, false, &d), 0);
		assert_int_equal(d->info.size, MIB);
		assert_int_equal(v.remove(v.ctx, pools[i], "a"), -EBUSY);
		storage_release(s, d);
		assert_int_equal(v.resize(v.ctx, pools[i], "a", 2 * MIB), i ? 0 : -EOPNOTSUPP);
		assert_int_equal(v.remove(v.ctx, pools[i], "a"), 0);
	}
}

static void unknown_names_are_said_so(void **state)
{
	struct pool_bytes pb;
	struct bdev *d;

	(void)state;
	assert_int_equal(v.create(v.ctx, "none", "a", MIB), -ENOENT);
	assert_int_equal(v.remove(v.ctx, "none", "a"), -ENOENT);
	assert_int_equal(v.resize(v.ctx, "none", "a", MIB), -ENOENT);
	assert_int_equal(v.pool_bytes(v.ctx, "none", &pb), -ENOENT);
	assert_int_equal(storage_open(s, "none", "a", MIB, false, &d), -ENOENT);
	assert_int_equal(storage_open(s, "dir", "none", MIB, false, &d), -ENOENT);
	v.pool_close(v.ctx, "none");
}

static void one_at_a_time_has_a_volume(void **state)
{
	static const char *const pools[] = {"mem", "dir"};

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct bdev *one, *two;

		assert_int_equal(v.create(v.ctx, pools[i], "a", MIB), 0);
		assert_int_equal(storage_open(s, pools[i], "a", MIB, false, &one), 0);
		assert_int_equal(storage_open(s, pools[i], "a", MIB, false, &two), -EBUSY);
		storage_release(s, one);
		assert_int_equal(storage_open(s, pools[i], "a", MIB, false, &two), 0);
		storage_release(s, two);
	}
}

/* Another process, one that was killed and whose I/O is not over. */
static void a_lock_of_somebody_else_is_busy(void **state)
{
	char path[128];
	struct bdev *d;
	int fd;

	(void)state;
	assert_int_equal(v.create(v.ctx, "dir", "a", MIB), 0);
	snprintf(path, sizeof(path), "%s/volumes/a.raw", dir);
	fd = open(path, O_RDWR);
	assert_true(fd >= 0);
	assert_int_equal(flock(fd, LOCK_EX), 0);
	assert_int_equal(storage_open(s, "dir", "a", MIB, false, &d), -EBUSY);
	close(fd);
	assert_int_equal(storage_open(s, "dir", "a", MIB, false, &d), 0);
	storage_release(s, d);
}

static void read_only_is_kept_by_both_kinds(void **state)
{
	static const char *const pools[] = {"mem", "dir"};

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct bdev *d;

		assert_int_equal(v.create(v.ctx, pools[i], "a", MIB), 0);
		assert_int_equal(storage_open(s, pools[i], "a", MIB, true, &d), 0);
		assert_true(d->info.read_only);
		storage_release(s, d);
		/* The next opener has its own say. */
		assert_int_equal(storage_open(s, pools[i], "a", MIB, false, &d), 0);
		assert_false(d->info.read_only);
		storage_release(s, d);
	}
}

static void memory_keeps_its_bytes_until_it_is_removed(void **state)
{
	struct bdev *d;

	(void)state;
	/* Not created since the start: the desired state has it, so it is there, empty. */
	assert_int_equal(storage_open(s, "mem", "old", MIB, false, &d), 0);
	bdev_mem_bytes(d)[77] = 7;
	storage_release(s, d);
	assert_int_equal(storage_open(s, "mem", "old", MIB, false, &d), 0);
	assert_int_equal(bdev_mem_bytes(d)[77], 7);
	storage_release(s, d);
	assert_int_equal(v.remove(v.ctx, "mem", "old"), 0);
	assert_int_equal(storage_open(s, "mem", "old", MIB, false, &d), 0);
	assert_int_equal(bdev_mem_bytes(d)[77], 0);
	storage_release(s, d);
}

static void a_memory_pool_ends_at_its_capacity(void **state)
{
	struct pool_bytes pb;

	(void)state;
	assert_int_equal(v.create(v.ctx, "mem", "a", 6 * MIB), 0);
	assert_int_equal(v.create(v.ctx, "mem", "b", 3 * MIB), -ENOSPC);
	assert_int_equal(v.create(v.ctx, "mem", "c", UINT64_MAX - 4095), -ENOSPC);
	assert_int_equal(v.create(v.ctx, "mem", "b", 2 * MIB), 0);
	assert_int_equal(v.pool_bytes(v.ctx, "mem", &pb), 0);
	assert_int_equal(pb.free, 0);
	assert_int_equal(v.resize(v.ctx, "mem", "a", 7 * MIB), -ENOSPC);
	assert_int_equal(v.remove(v.ctx, "mem", "b"), 0);
	assert_int_equal(v.resize(v.ctx, "mem", "a", 8 * MIB), 0);
}

static void a_directory_is_one_pool_of_one_process(void **state)
{
	(void)state;
	assert_int_equal(open_pool("again", dir, 0), -EBUSY);
	assert_non_null(strstr(why, "another process"));
	v.pool_close(v.ctx, "dir");
	assert_int_equal(open_pool("again", dir, 0), 0);
	assert_true(open_pool("bad", "/proc/outrigger-none/x", 0) < 0);
	assert_non_null(strstr(why, "/proc"));
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(volumes_come_and_go),
		T(unknown_names_are_said_so),
		T(one_at_a_time_has_a_volume),
		T(a_lock_of_somebody_else_is_busy),
		T(read_only_is_kept_by_both_kinds),
		T(memory_keeps_its_bytes_until_it_is_removed),
		T(a_memory_pool_ends_at_its_capacity),
		T(a_directory_is_one_pool_of_one_process),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* pool: names, sizes, space that is promised, what stays after errors and restarts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "appliance/bdev/bdev_uring.h"
#include "appliance/bdev/pool.h"

#define MIB (1ull << 20)

static char dir[64];

static int setup(void **state)
{
	struct pool *p;

	strcpy(dir, "build/outrigger-pool-XXXXXX");
	assert_non_null(mkdtemp(dir));
	assert_int_equal(pool_open(dir, 10 * MIB, &p), 0);
	*state = p;
	return 0;
}

static int teardown(void **state)
{
	char cmd[128];

	pool_close(*state);
	snprintf(cmd, sizeof(cmd), "rm -rf '%s'", dir);
	assert_int_equal(system(cmd), 0);
	return 0;
}

/* Files under a directory of the pool. */
static int entries(const char *sub)
{
	char path[128];
	struct dirent *e;
	int n = 0;
	DIR *d;

	snprintf(path, sizeof(path), "%s/%s", dir, sub);
	d = opendir(path);
	assert_non_null(d);
	while ((e = readdir(d)))
		n += e->d_name[0] != '.';
	closedir(d);
	return n;
}

static void names(void **state)
{
	static const char *const good[] = {"a", "0", "vol-1", "a.b_c-d", "A..B", "x.raw"};
	static const char *const bad[] = {"",	 ".",	     "..",  ".a",    "-a",	 "_a",
					  "a/b", "../a",     "a b", "a\n",   "/a",	 "a\\",
					  "a:b", "\xc3\xa9", "a%",  "a\x7f", "volumes/a"};
	char long_name[80];
	struct pool *p = *state;

	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
		assert_true(pool_name_ok(good[i]));
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		assert_false(pool_name_ok(bad[i]));
		assert_int_equal(pool_create(p, bad[i], MIB), -EINVAL);
		assert_int_equal(pool_delete(p, bad[i]), -EINVAL);
		assert_int_equal(pool_resize(p, bad[i], MIB), -EINVAL);
	}
	assert_false(pool_name_ok(NULL));
	memset(long_name, 'a', sizeof(long_name));
	long_name[64] = '\0';
	assert_false(pool_name_ok(long_name));
	assert_int_equal(pool_create(p, long_name, MIB), -EINVAL);
	long_name[63] = '\0';
	assert_int_equal(pool_create(p, long_name, MIB), 0);
	assert_int_equal(entries("volumes"), 1);
	assert_int_equal(entries("."), 3); /* lock, trash, volumes */
}

static void sizes(void **state)
{
	static const struct {
		uint64_t size;
		int gives;
	} t[] = {
		{0, -EINVAL},	    {1, -EINVAL},	   {511, -EINVAL},	  {513, -EINVAL},
		{512, 0},	    {1ull << 51, -EINVAL}, {UINT64_MAX, -EINVAL}, {UINT64_MAX - 511, -EINVAL},
		{11 * MIB, -ENOSPC}};
	struct pool *p = *state;

	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
		char name[8];

		snprintf(name, sizeof(name), "v%zu", i);
		assert_int_equal(pool_create(p, name, t[i].size), t[i].gives);
	}
	assert_int_equal(entries("volumes"), 1);
	assert_int_equal(entries("trash"), 0);
}

static void promises(void **state)
{
	struct pool *p = *state;
	struct pool_space s;

	assert_int_equal(pool_create(p, "a", 6 * MIB), 0);
	assert_int_equal(pool_create(p, "b", 5 * MIB), -ENOSPC);
	assert_int_equal(pool_create(p, "b", 4 * MIB), 0);
	assert_int_equal(pool_create(p, "c", 512), -ENOSPC);
	assert_int_equal(pool_resize(p, "a", 6 * MIB + 512), -ENOSPC);
	assert_int_equal(pool_resize(p, "a", 6 * MIB), 0);
	assert_int_equal(pool_space(p, &s), 0);
	assert_int_equal(s.capacity, 10 * MIB);
	assert_int_equal(s.reserved, 10 * MIB);
	assert_int_equal(s.volumes, 2);
	assert_true(s.used < MIB); /* sparse */
	assert_true(s.free > 0);
	assert_int_equal(pool_delete(p, "b"), 0);
	assert_int_equal(pool_resize(p, "a", 10 * MIB), 0);
	assert_int_equal(pool_resize(p, "a", 9 * MIB), -EINVAL);
	assert_int_equal(pool_resize(p, "a", 10 * MIB + 1), -EINVAL);
	assert_int_equal(pool_resize(p, "z", MIB), -ENOENT);
	assert_int_equal(pool_space(p, &s), 0);
	assert_int_equal(s.reserved, 10 * MIB);
}

static void create_twice_and_delete(void **state)
{
	struct pool *p = *state;
	struct pool_volume v;
	char path[128], small[8];

	assert_int_equal(pool_create(p, "a", MIB), 0);
	assert_int_equal(pool_create(p, "a", MIB), -EEXIST);
	assert_int_equal(pool_stat(p, "a", &v), 0);
	assert_string_equal(v.name, "a");
	assert_int_equal(v.size, MIB);
	assert_int_equal(pool_path(p, "a", path, sizeof(path)), 0);
	assert_int_equal(access(path, R_OK | W_OK), 0);
	assert_int_equal(pool_path(p, "a", small, sizeof(small)), -ENAMETOOLONG);
	assert_int_equal(pool_path(p, "b", path, sizeof(path)), -ENOENT);
	assert_int_equal(pool_delete(p, "a"), 0);
	assert_int_equal(pool_delete(p, "a"), -ENOENT);
	assert_int_equal(pool_stat(p, "a", &v), -ENOENT);
	assert_int_equal(entries("volumes") + entries("trash"), 0);
	assert_int_equal(pool_create(p, "a", 2 * MIB), 0);
}

static void open_volume_is_busy(void **state)
{
	struct bdev_uring_cfg cfg;
	struct pool *p = *state;
	char path[128];
	struct bdev *b;

	assert_int_equal(pool_create(p, "a", MIB), 0);
	assert_int_equal(pool_path(p, "a", path, sizeof(path)), 0);
	cfg = (struct bdev_uring_cfg){.path = path};
	assert_int_equal(bdev_uring_open(&cfg, &b), 0);
	assert_int_equal(pool_delete(p, "a"), -EBUSY);
	/* Growing is for volumes in use. */
	assert_int_equal(pool_resize(p, "a", 2 * MIB), 0);
	assert_int_equal(bdev_refresh(b), 0);
	assert_int_equal(b->info.size, 2 * MIB);
	bdev_close(b);
	assert_int_equal(pool_delete(p, "a"), 0);
}

static void what_is_not_ours_is_no_volume(void **state)
{
	struct pool *p = *state;
	struct pool_space space;
	struct pool_volume v;
	char path[128];
	int fd;

	assert_int_equal(pool_create(p, "b", 1024), 0);
	assert_int_equal(pool_create(p, "a-b", 512), 0);
	assert_int_equal(pool_create(p, "a", 1536), 0);
	snprintf(path, sizeof(path), "%s/volumes/.hidden.raw", dir);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	close(fd);
	snprintf(path, sizeof(path), "%s/volumes/dir.raw", dir);
	mkdir(path, 0700);
	snprintf(path, sizeof(path), "%s/volumes/link.raw", dir);
	assert_int_equal(symlink("/etc/passwd", path), 0);
	assert_int_equal(pool_stat(p, "a", &v), 0);
	assert_int_equal(v.size, 1536);
	assert_int_equal(pool_stat(p, "a-b", &v), 0);
	assert_string_equal(v.name, "a-b");
	assert_int_equal(pool_stat(p, "dir", &v), -EINVAL);
	assert_int_equal(pool_stat(p, "link", &v), -EINVAL);
	assert_int_equal(pool_space(p, &space), 0);
	assert_int_equal(space.volumes, 3);
	assert_int_equal(space.reserved, 1024 + 512 + 1536);
	assert_int_equal(pool_create(p, "link", 512), -EEXIST);
	assert_int_equal(pool_delete(p, "link"), -ELOOP);
	assert_int_equal(pool_path(p, "link", path, sizeof(path)), -EINVAL);
}

/* A restart finds the volumes, and sweeps up what a crash left half made or half deleted. */
static void reopening(void **state)
{
	struct pool *p = *state, *other;
	char path[128];
	int fd;

	assert_int_equal(pool_create(p, "a", MIB), 0);
	assert_int_equal(pool_open(dir, 0, &other), -EBUSY);
	pool_close(p);
	snprintf(path, sizeof(path), "%s/trash/3.new", dir);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	close(fd);
	assert_int_equal(pool_open(dir, 10 * MIB, &p), 0);
	*state = p;
	assert_int_equal(entries("trash"), 0);
	assert_int_equal(pool_create(p, "a", MIB), -EEXIST);
}

static void bad_directories(void **state)
{
	struct pool *p;

	(void)state;
	assert_int_equal(pool_open("build/no/such/parent", 0, &p), -ENOENT);
	assert_int_equal(pool_open("Makefile", 0, &p), -ENOTDIR);
	pool_close(NULL);
}

static void capacity_of_the_file_system(void **state)
{
	struct pool_space s;
	struct pool *p = *state;

	pool_close(p);
	assert_int_equal(pool_open(dir, 0, &p), 0);
	*state = p;
	assert_int_equal(pool_space(p, &s), 0);
	assert_true(s.capacity >= s.free && s.capacity > 10 * MIB);
	assert_int_equal(pool_create(p, "big", s.capacity - s.capacity % 512 + 512), -ENOSPC);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(names),
		T(sizes),
		T(promises),
		T(create_twice_and_delete),
		T(open_volume_is_busy),
		T(what_is_not_ours_is_no_volume),
		T(reopening),
		T(bad_directories),
		T(capacity_of_the_file_system),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

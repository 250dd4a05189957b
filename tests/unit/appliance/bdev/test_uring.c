/* SPDX-License-Identifier: Apache-2.0 */
/* bdev_uring: bytes on a real file, direct and buffered; queue limits; sleeping; errors; resize. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "appliance/bdev/bdev_uring.h"
#include "fabric/base/clock.h"
#include "fabric/base/rng.h"
#include "tests/lib/bdev_sync.h"

#define SIZE (4u << 20)

struct fixture {
	char path[64];
	struct bdev_group *g;
	struct bdev *b;
};

static void make(struct fixture *f, const char *dir, uint64_t size, bool buffered, unsigned depth)
{
	struct bdev_uring_cfg cfg = {.path = f->path, .buffered = buffered};
	int fd, err;

	snprintf(f->path, sizeof(f->path), "%s/outrigger-uring-XXXXXX", dir);
	fd = mkstemp(f->path);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	close(fd);
	f->g = bdev_group_create(depth, &err);
	assert_non_null(f->g);
	assert_int_equal(bdev_uring_open(&cfg, &f->b), 0);
	assert_int_equal(bdev_join(f->b, f->g), 0);
}

static void unmake(struct fixture *f)
{
	bdev_leave(f->b);
	bdev_close(f->b);
	bdev_group_destroy(f->g);
	unlink(f->path);
}

/* Random requests over memory that is aligned, not aligned and cut, against a flat array. */
static void exercise(struct fixture *f, uint64_t seed, int rounds)
{
	static uint8_t twin[SIZE], check[SIZE];
	uint8_t *mem = aligned_alloc(4096, 512 * 1024);
	struct rng r;
	int fd;

	assert_non_null(mem);
	memset(twin, 0, sizeof(twin));
	rng_init(&r, seed);
	for (int i = 0; i < rounds; i++) {
		uint64_t len = 512 * (1 + rng_below(&r, 256)),
			 at = 512 * rng_below(&r, (SIZE - len) / 512 + 1);
		uint8_t *buf = mem + (rng_below(&r, 2) ? 0 : rng_below(&r, 4096));
		uint64_t cut = rng_below(&r, 2) ? 512 * rng_below(&r, len / 512 + 1) : rng_below(&r, len + 1);
		struct iovec iov[2] = {{buf, cut}, {buf + cut, len - cut}};
		uint32_t fua = rng_below(&r, 8) ? 0 : BDEV_F_FUA;

		switch (rng_below(&r, 8)) {
		case 0:
		case 1:
		case 2:
			assert_int_equal(bdev_sync_iov(f->b, BDEV_READ, 0, at, iov, 2, len), 0);
			assert_memory_equal(buf, twin + at, len);
			break;
		case 3:
		case 4:
			for (uint64_t k = 0; k < len; k += 8) {
				uint64_t v = rng_u64(&r);

				memcpy(buf + k, &v, 8);
			}
			memcpy(twin + at, buf, len);
			assert_int_equal(bdev_sync_iov(f->b, BDEV_WRITE, fua, at, iov, 2, len), 0);
			break;
		case 5:
			assert_int_equal(bdev_sync(f->b, BDEV_FLUSH, 0, 0, NULL, 0), 0);
			break;
		case 6:
			memset(twin + at, 0, len);
			assert_int_equal(bdev_sync(f->b, BDEV_WRITE_ZEROES, fua | (i & 1 ? BDEV_F_UNMAP : 0),
						   at, NULL, len),
					 0);
			break;
		default:
			if (!f->b->info.can_discard)
				break;
			memset(twin + at, 0, len);
			assert_int_equal(bdev_sync(f->b, BDEV_DISCARD, 0, at, NULL, len), 0);
			break;
		}
	}
	fd = open(f->path, O_RDONLY);
	assert_int_equal(pread(fd, check, SIZE, 0), SIZE);
	close(fd);
	assert_memory_equal(check, twin, SIZE);
	free(mem);
}

static void bytes_direct(void **state)
{
	struct fixture f;

	(void)state;
	make(&f, "build", SIZE, false, 8);
	print_message("direct: %d\n", bdev_uring_is_direct(f.b));
	assert_true(f.b->info.write_cache);
	assert_int_equal(f.b->info.size, SIZE);
	assert_int_equal(f.b->info.block, 512);
	exercise(&f, 1, 400);
	unmake(&f);
}

static void bytes_buffered(void **state)
{
	struct fixture f;

	(void)state;
	make(&f, "build", SIZE, true, 8);
	assert_false(bdev_uring_is_direct(f.b));
	exercise(&f, 2, 400);
	unmake(&f);
}

/* tmpfs: no direct I/O, no FALLOC_FL_ZERO_RANGE. */
static void bytes_tmpfs(void **state)
{
	struct fixture f;

	(void)state;
	if (access("/dev/shm", W_OK) != 0)
		skip();
	make(&f, "/dev/shm", SIZE, false, 8);
	exercise(&f, 3, 400);
	unmake(&f);
}

static void count(struct bdev_io *io)
{
	assert_int_equal(io->result, 0);
	++*(unsigned *)io->ctx;
}

/* As many as the depth are taken, more are pushed back, all taken complete. */
static void full_queue_pushes_back(void **state)
{
	enum { DEPTH = 8 };
	uint8_t *mem = aligned_alloc(4096, 4096 * (DEPTH + 1));
	struct bdev_io io[DEPTH + 1];
	struct iovec iov[DEPTH + 1];
	struct fixture f;
	unsigned n = 0;

	(void)state;
	make(&f, "build", SIZE, false, DEPTH);
	for (int i = 0; i <= DEPTH; i++) {
		iov[i] = (struct iovec){mem + 4096 * i, 4096};
		io[i] = (struct bdev_io){.op = BDEV_READ,
					 .offset = 4096u * (unsigned)i,
					 .length = 4096,
					 .iov = &iov[i],
					 .niov = 1,
					 .done = count,
					 .ctx = &n};
		assert_int_equal(bdev_submit(f.b, &io[i]), i < DEPTH ? 0 : -EAGAIN);
	}
	assert_int_equal(bdev_outstanding(f.b), DEPTH);
	assert_int_equal(bdev_sync_drain(f.b), 0);
	assert_int_equal(n, DEPTH);
	assert_int_equal(bdev_submit(f.b, &io[DEPTH]), 0);
	assert_int_equal(bdev_sync_drain(f.b), 0);
	assert_int_equal(n, DEPTH + 1);
	unmake(&f);
	free(mem);
}

/* Bounce memory is bounded too: more misaligned requests than it has wait their turn. */
static void bounce_memory_pushes_back(void **state)
{
	enum { N = 64 };
	uint8_t *mem = aligned_alloc(4096, 8192 * N);
	struct bdev_io io[N];
	struct iovec iov[N];
	struct fixture f;
	unsigned n = 0, taken = 0;

	(void)state;
	make(&f, "build", SIZE, false, N);
	for (int i = 0; i < N; i++) {
		iov[i] = (struct iovec){mem + 8192 * i + 1, 4096};
		io[i] = (struct bdev_io){.op = BDEV_WRITE,
					 .offset = 4096u * (unsigned)i,
					 .length = 4096,
					 .iov = &iov[i],
					 .niov = 1,
					 .done = count,
					 .ctx = &n};
		memset(iov[i].iov_base, i + 1, 4096);
	}
	for (unsigned tries = 0; taken < N && tries < 1000; tries++) {
		if (bdev_submit(f.b, &io[taken]) == 0) {
			taken++;
			continue;
		}
		assert_true(bdev_uring_is_direct(f.b));
		assert_int_equal(bdev_sync_drain(f.b), 0);
	}
	assert_int_equal(bdev_sync_drain(f.b), 0);
	assert_int_equal(n, N);
	for (int i = 0; i < N; i++) {
		assert_int_equal(bdev_sync(f.b, BDEV_READ, 0, 4096u * (unsigned)i, mem, 4096), 0);
		assert_int_equal(mem[0], i + 1);
		assert_int_equal(mem[4095], i + 1);
	}
	unmake(&f);
	free(mem);
}

/* A request of more pieces than one transfer moves is continued to its end: RLIMIT_FSIZE cuts a write short.
 */
static void short_write_is_an_error_not_a_success(void **state)
{
	struct rlimit old, low;
	static uint8_t buf[65536];
	struct fixture f;

	(void)state;
	make(&f, "build", SIZE, true, 8);
	getrlimit(RLIMIT_FSIZE, &old);
	low = old;
	low.rlim_cur = 32768;
	setrlimit(RLIMIT_FSIZE, &low);
	/* The kernel raises SIGXFSZ only for the remainder, which starts at the limit. */
	sigaction(SIGXFSZ, &(struct sigaction){.sa_handler = SIG_IGN}, NULL);
	memset(buf, 7, sizeof(buf));
	assert_int_equal(bdev_sync(f.b, BDEV_WRITE, 0, 0, buf, sizeof(buf)), -EFBIG);
	setrlimit(RLIMIT_FSIZE, &old);
	assert_int_equal(bdev_sync(f.b, BDEV_WRITE, 0, 0, buf, sizeof(buf)), 0);
	unmake(&f);
}

static void shrunken_file_is_an_error(void **state)
{
	uint8_t *buf = aligned_alloc(4096, 65536);
	struct fixture f;

	(void)state;
	make(&f, "build", SIZE, false, 8);
	assert_int_equal(truncate(f.path, 32768), 0);
	assert_int_equal(bdev_sync(f.b, BDEV_READ, 0, 0, buf, 65536), -EIO);
	assert_int_equal(bdev_sync(f.b, BDEV_READ, 0, 65536, buf, 65536), -EIO);
	assert_int_equal(bdev_sync(f.b, BDEV_READ, 0, 0, buf, 32768), 0);
	unmake(&f);
	free(buf);
}

static void growing(void **state)
{
	uint8_t *buf = aligned_alloc(4096, 4096);
	struct fixture f;

	(void)state;
	make(&f, "build", SIZE, false, 8);
	assert_int_equal(bdev_sync(f.b, BDEV_READ, 0, SIZE, buf, 4096), -EINVAL);
	assert_int_equal(truncate(f.path, 2 * SIZE), 0);
	assert_int_equal(bdev_refresh(f.b), 0);
	assert_int_equal(f.b->info.size, 2 * SIZE);
	assert_int_equal(bdev_sync(f.b, BDEV_READ, 0, SIZE, buf, 4096), 0);
	assert_int_equal(truncate(f.path, SIZE), 0);
	assert_int_equal(bdev_refresh(f.b), 0);
	assert_int_equal(f.b->info.size, 2 * SIZE);
	unmake(&f);
	free(buf);
}

/* DISCARD gives space back, WRITE_ZEROES does so only when it may. */
static void space(void **state)
{
	static uint8_t buf[1 << 20];
	struct fixture f;
	struct stat st;

	(void)state;
	make(&f, "build", SIZE, true, 8);
	if (!f.b->info.can_discard) {
		unmake(&f);
		skip();
	}
	memset(buf, 1, sizeof(buf));
	assert_int_equal(bdev_sync(f.b, BDEV_WRITE, BDEV_F_FUA, 0, buf, sizeof(buf)), 0);
	assert_int_equal(bdev_sync(f.b, BDEV_WRITE_ZEROES, BDEV_F_FUA, 0, NULL, sizeof(buf)), 0);
	stat(f.path, &st);
	assert_true(st.st_blocks * 512 >= (long)sizeof(buf));
	assert_int_equal(bdev_sync(f.b, BDEV_WRITE_ZEROES, BDEV_F_UNMAP | BDEV_F_FUA, 0, NULL, 1 << 19), 0);
	stat(f.path, &st);
	assert_true(st.st_blocks * 512 < (long)sizeof(buf));
	assert_int_equal(bdev_sync(f.b, BDEV_DISCARD, 0, 0, NULL, sizeof(buf)), 0);
	stat(f.path, &st);
	assert_true(st.st_blocks * 512 < 65536);
	unmake(&f);
}

static void open_errors(void **state)
{
	struct bdev_uring_cfg cfg = {.path = "build/no such volume"};
	struct fixture f;
	struct bdev *b, *b2;

	(void)state;
	assert_int_equal(bdev_uring_open(&cfg, &b), -ENOENT);
	cfg.path = "/dev/null";
	assert_int_equal(bdev_uring_open(&cfg, &b), -EINVAL);
	cfg.path = "/tmp";
	assert_int_equal(bdev_uring_open(&cfg, &b), -EISDIR);
	make(&f, "build", SIZE, false, 8);
	cfg.path = f.path;
	assert_int_equal(bdev_uring_open(&cfg, &b), -EBUSY);
	cfg.read_only = true;
	assert_int_equal(bdev_uring_open(&cfg, &b), -EBUSY);
	bdev_leave(f.b);
	bdev_close(f.b);
	/* Readers share, and keep a writer out. */
	assert_int_equal(bdev_uring_open(&cfg, &b), 0);
	assert_int_equal(bdev_uring_open(&cfg, &b2), 0);
	assert_true(b->info.read_only && !b->info.can_discard);
	bdev_close(b2);
	cfg.read_only = false;
	assert_int_equal(bdev_uring_open(&cfg, &b2), -EBUSY);
	bdev_close(b);
	assert_int_equal(truncate(f.path, SIZE + 1), 0);
	assert_int_equal(bdev_uring_open(&cfg, &b), -EINVAL);
	assert_int_equal(truncate(f.path, 0), 0);
	assert_int_equal(bdev_uring_open(&cfg, &b), -EINVAL);
	assert_int_equal(truncate(f.path, SIZE + 512), 0);
	cfg.block = 4096;
	assert_int_equal(bdev_uring_open(&cfg, &b), -EINVAL);
	cfg.block = 512;
	assert_int_equal(bdev_uring_open(&cfg, &f.b), 0);
	assert_int_equal(bdev_join(f.b, f.g), 0);
	unmake(&f);
}

/* Two volumes of one group share the ring: each gets its own completions. */
static void volumes_share_a_group(void **state)
{
	uint8_t *mem = aligned_alloc(4096, 8192);
	struct fixture f, f2;

	(void)state;
	make(&f, "build", SIZE, false, 8);
	make(&f2, "build", SIZE, false, 8);
	bdev_leave(f2.b);
	assert_int_equal(bdev_join(f2.b, f.g), 0);
	memset(mem, 1, 4096);
	memset(mem + 4096, 2, 4096);
	assert_int_equal(bdev_sync(f.b, BDEV_WRITE, 0, 0, mem, 4096), 0);
	assert_int_equal(bdev_sync(f2.b, BDEV_WRITE, 0, 0, mem + 4096, 4096), 0);
	assert_int_equal(bdev_sync(f.b, BDEV_READ, 0, 0, mem + 4096, 4096), 0);
	assert_int_equal(mem[4096], 1);
	assert_int_equal(bdev_sync(f2.b, BDEV_READ, 0, 0, mem, 4096), 0);
	assert_int_equal(mem[0], 2);
	unmake(&f2);
	unmake(&f);
	free(mem);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_direct),
		cmocka_unit_test(bytes_buffered),
		cmocka_unit_test(bytes_tmpfs),
		cmocka_unit_test(full_queue_pushes_back),
		cmocka_unit_test(bounce_memory_pushes_back),
		cmocka_unit_test(short_write_is_an_error_not_a_success),
		cmocka_unit_test(shrunken_file_is_an_error),
		cmocka_unit_test(growing),
		cmocka_unit_test(space),
		cmocka_unit_test(open_errors),
		cmocka_unit_test(volumes_share_a_group),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

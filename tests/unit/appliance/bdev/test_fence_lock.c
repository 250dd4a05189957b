/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lock of bdev_uring fences a killed process: it is not released before the last of its requests
 * in flight has ended.
 *
 * First on a plain file: a child writes one growing mark all over it, is killed with its queue full, and
 * from the moment its lock is free nothing in the file may change any more. Then, as root, on a file system
 * that is frozen (fsfreeze(8)), so that the child's writes hang in the kernel for as long as the test wants:
 * the lock must stay taken until it thaws, though the process has long been killed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "appliance/bdev/bdev_uring.h"
#include "fabric/base/clock.h"
#include "fabric/base/crc32c.h"
#include "tests/lib/bdev_sync.h"

#define SIZE  (32u << 20)
#define DEPTH 32
#define CHUNK (256u << 10)

struct writer {
	struct bdev_io io;
	struct iovec iov;
	uint64_t *mark;
	struct bdev *b;
	unsigned index;
};

static void rewrite(struct bdev_io *io)
{
	struct writer *w = io->ctx;
	uint64_t *words = w->iov.iov_base;

	if (io->result)
		_exit(3);
	++*w->mark;
	for (unsigned i = 0; i < CHUNK / 8; i++)
		words[i] = *w->mark;
	w->io.offset = (*w->mark * CHUNK) % SIZE;
	if (bdev_submit(w->b, io))
		_exit(4);
}

/* Keeps DEPTH writes in flight for ever. A byte on `ready` once `after` of them have completed (0: at once,
 * when they are with the kernel). */
static void child(const char *path, int ready, uint64_t after)
{
	struct bdev_uring_cfg cfg = {.path = path};
	static struct writer w[DEPTH];
	struct bdev_group *g;
	uint64_t mark = 0;
	bool told = false;
	struct bdev *b;
	int err;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	g = bdev_group_create(DEPTH, &err);
	if (!g || bdev_uring_open(&cfg, &b) || bdev_join(b, g))
		_exit(2);
	for (unsigned i = 0; i < DEPTH; i++) {
		w[i].mark = &mark;
		w[i].b = b;
		w[i].iov = (struct iovec){aligned_alloc(4096, CHUNK), CHUNK};
		memset(w[i].iov.iov_base, 0, CHUNK);
		w[i].io = (struct bdev_io){.op = BDEV_WRITE,
					   .offset = i * CHUNK,
					   .length = CHUNK,
					   .iov = &w[i].iov,
					   .niov = 1,
					   .done = rewrite,
					   .ctx = &w[i]};
		if (bdev_submit(b, &w[i].io))
			_exit(5);
	}
	for (;;) {
		struct pollfd p = {.fd = bdev_group_fd(g), .events = POLLIN};

		bdev_group_poll(g, clock_now_ns(), DEPTH);
		if (!told && mark >= after) {
			told = write(ready, "x", 1) == 1;
			if (!told)
				_exit(6);
		}
		if (bdev_group_arm(g))
			poll(&p, 1, -1);
	}
}

static pid_t start(const char *path, uint64_t after)
{
	struct pollfd p = {.events = POLLIN};
	int ends[2];
	pid_t pid;

	assert_int_equal(pipe(ends), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		close(ends[0]);
		child(path, ends[1], after);
	}
	close(ends[1]);
	p.fd = ends[0];
	assert_int_equal(poll(&p, 1, 60000), 1);
	assert_true(p.revents & POLLIN);
	close(ends[0]);
	return pid;
}

static void make_file(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, SIZE), 0);
	close(fd);
}

/* Waits until the volume can be opened; how long it was busy, in ns. */
static uint64_t take_over(const char *path, struct bdev **b)
{
	struct bdev_uring_cfg cfg = {.path = path};
	uint64_t from = clock_now_ns(), waited;
	int err;

	while ((err = bdev_uring_open(&cfg, b)) == -EBUSY) {
		waited = clock_now_ns() - from;
		if (waited > 60 * NSEC_PER_SEC)
			fail_msg("the lock of a killed process was never released");
		poll(NULL, 0, 1);
	}
	assert_int_equal(err, 0);
	return clock_now_ns() - from;
}

static uint32_t checksum(const char *path)
{
	uint8_t *mem = malloc(SIZE);
	int fd = open(path, O_RDONLY);
	uint32_t crc;

	assert_int_equal(pread(fd, mem, SIZE, 0), SIZE);
	crc = crc32c(0, mem, SIZE);
	close(fd);
	free(mem);
	return crc;
}

static void nothing_changes_once_the_lock_is_free(void **state)
{
	const char *path = "build/outrigger-fence.raw";

	(void)state;
	make_file(path);
	for (int round = 0; round < 6; round++) {
		pid_t pid = start(path, 40 * (uint64_t)round);
		struct bdev_uring_cfg cfg = {.path = path};
		uint32_t first, second;
		uint64_t ns;
		struct bdev *b;

		assert_int_equal(bdev_uring_open(&cfg, &b), -EBUSY);
		kill(pid, SIGKILL);
		ns = take_over(path, &b);
		first = checksum(path);
		assert_int_equal(waitpid(pid, NULL, 0), pid);
		/* What should not come has no event to wait for: give it as long as the take-over took. */
		poll(NULL, 0, (int)(ns / NSEC_PER_MSEC) + 5);
		second = checksum(path);
		assert_int_equal(first, second);
		print_message("round %d: lock free %.1f ms after the kill\n", round, (double)ns / 1e6);
		bdev_close(b);
	}
	unlink(path);
}

static int run(const char *cmd)
{
	int st = system(cmd);

	return WIFEXITED(st) ? WEXITSTATUS(st) : -1;
}

#define IMAGE "build/outrigger-fence.img"
#define MOUNT "build/outrigger-fence.mnt"

static bool mount_slow_disk(void)
{
	if (geteuid() != 0 || unshare(CLONE_NEWNS) != 0 ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
		return false;
	return run("truncate -s 128M " IMAGE " && mkfs.ext4 -q -F " IMAGE
		   " >/dev/null 2>&1 && mkdir -p " MOUNT " && mount -o loop " IMAGE " " MOUNT
		   " 2>/dev/null") == 0;
}

static int freeze(bool on)
{
	int fd = open(MOUNT, O_RDONLY | O_DIRECTORY), err;

	if (fd < 0)
		return -errno;
	err = ioctl(fd, on ? FIFREEZE : FITHAW, 0) < 0 ? -errno : 0;
	close(fd);
	return err;
}

/* Asks for the lock alone: opening a volume would write, and hang. */
static bool is_busy(const char *path)
{
	int fd = open(path, O_RDONLY);
	bool busy = fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK;

	close(fd);
	return busy;
}

/* Whether the lock outlives a process that is killed while its file system is frozen. */
static bool killed_on_ice(const char *path)
{
	pid_t pid = start(path, 64);
	uint64_t end;
	bool busy;

	/* Waits for writes that run; what its victims submit from now on hangs inside the kernel. */
	assert_int_equal(freeze(true), 0);
	kill(pid, SIGKILL);
	/* Dead to everybody who looks at processes, and yet: */
	end = clock_now_ns() + 300 * NSEC_PER_MSEC;
	while ((busy = is_busy(path)) && clock_now_ns() < end)
		poll(NULL, 0, 5);
	/* Thawed before anything may fail: a frozen file system outlives the test. */
	assert_int_equal(freeze(false), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	return busy;
}

static void lock_outlives_the_killed_process(void **state)
{
	struct bdev_uring_cfg cfg = {.path = MOUNT "/vol.raw"};
	struct bdev *b;
	int rounds = 1;

	(void)state;
	if (!mount_slow_disk()) {
		print_message("skipped: needs root, a loop device and mkfs.ext4\n");
		skip();
	}
	make_file(cfg.path);
	/* One that got no processor between the ice and its death has nothing under way. */
	while (!killed_on_ice(cfg.path))
		assert_true(++rounds < 100);
	take_over(cfg.path, &b);
	bdev_close(b);
	run("umount " MOUNT "; rmdir " MOUNT "; rm -f " IMAGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_changes_once_the_lock_is_free),
		cmocka_unit_test(lock_outlives_the_killed_process),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

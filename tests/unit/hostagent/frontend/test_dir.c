/* SPDX-License-Identifier: Apache-2.0 */
/* The run directory: removed and made again under running devices; and the files of packed rings in it. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "hostagent/frontend/fe_saved.h"
#include "hostagent/frontend/frontend.h"
#include "tests/lib/vhost_sock.h"

static struct event_base *base;
static char dir[64], path[128], rings[128];
static int attached, gone;
static struct vhost_sock sock;

static void up_attached(void *arg, const struct fe_queue *queues, unsigned n)
{
	(void)arg;
	(void)queues;
	(void)n;
	attached++;
}
static void up_features(void *arg, uint64_t acked)
{
	(void)arg;
	(void)acked;
}
static void up_queue(void *arg, unsigned q)
{
	(void)arg;
	(void)q;
}
static void up_broken(void *arg, unsigned q, const char *reason)
{
	(void)arg;
	(void)q;
	(void)reason;
}
static void up_gone(void *arg)
{
	(void)arg;
	gone++;
}
static const struct fe_up up = {up_attached, up_features, up_queue, up_queue,
				up_queue,    up_broken,	  up_gone,  NULL};

static void pump(void *arg)
{
	(void)arg;
	event_base_loop(base, EVLOOP_NONBLOCK);
}

static bool is_there(void *arg)
{
	return access(arg, F_OK) == 0;
}

static bool is_attached(void *arg)
{
	return attached == *(int *)arg;
}

static int setup(void **state)
{
	(void)state;
	strcpy(dir, "/tmp/og-dir-XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/d.sock", dir);
	snprintf(rings, sizeof(rings), "%s/.d.rings", dir);
	base = event_base_new();
	attached = gone = 0;
	sock = (struct vhost_sock){-1, pump, NULL};
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	event_base_free(base);
	unlink(rings);
	assert_int_equal(rmdir(dir), 0);
	return 0;
}

static struct fe *make(enum fe_kind kind)
{
	const struct fe_config cfg = {.name = "d",
				      .kind = kind,
				      .dir = dir,
				      .nqueues = 2,
				      .queue_size = 256,
				      .features = 1ull << 32};
	struct fe *fe;

	assert_int_equal(fe_create(&fe_vhost_user, &fe, base, &cfg, &up, NULL), 0);
	return fe;
}

static void renew_directory(void)
{
	unlink(path);
	assert_int_equal(rmdir(dir), 0);
	for (int i = 0; i < 20; i++)
		pump(NULL);
	assert_int_equal(mkdir(dir, 0700), 0);
}

static void directory__made_again_gets_the_disks_socket_again(void **state)
{
	struct fe *fe = make(FE_BLK);
	int once = 1;

	(void)state;
	for (int round = 0; round < 2; round++) {
		renew_directory();
		assert_true(vhost_sock_until(&sock, is_there, path));
	}
	sock.fd = vhost_sock_connect(path);
	assert_true(sock.fd >= 0);
	assert_true(vhost_sock_until(&sock, is_attached, &once));
	close(sock.fd);
	fe_destroy(fe);
	assert_int_equal(access(path, F_OK), -1);
}

static void directory__made_again_is_watched_again_for_a_nic(void **state)
{
	struct fe *fe = make(FE_NET);
	int once = 1, lfd;

	(void)state;
	for (int i = 0; i < 20; i++)
		pump(NULL);
	renew_directory();
	lfd = vhost_sock_listen(path);
	assert_true(vhost_sock_until(&sock, is_attached, &once));
	close(lfd);
	fe_destroy(fe);
	unlink(path);
}

/* A connection that is there lives on without its name. */
static void directory__removed_ends_no_connection(void **state)
{
	struct fe *fe = make(FE_BLK);
	int once = 1;

	(void)state;
	sock.fd = vhost_sock_connect(path);
	assert_true(vhost_sock_until(&sock, is_attached, &once));
	renew_directory();
	assert_true(vhost_sock_until(&sock, is_there, path));
	assert_int_equal(gone, 0);
	close(sock.fd);
	fe_destroy(fe);
}

static void saved__is_there_again_and_zero_when_new(void **state)
{
	struct fe_saved s = {0};
	struct stat st;

	(void)state;
	assert_int_equal(fe_saved_open(&s, dir, "d", 8000), 0);
	for (int i = 0; i < 8000; i++)
		assert_int_equal(((char *)s.at)[i], 0);
	memset(s.at, 'x', 8000);
	fe_saved_close(&s, dir, "d", 0);
	assert_int_equal(stat(rings, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(fe_saved_open(&s, dir, "d", 8000), 0);
	assert_int_equal(((char *)s.at)[7999], 'x');
	fe_saved_close(&s, dir, "d", 0);
	/* Of another length: another device's. */
	assert_int_equal(fe_saved_open(&s, dir, "d", 4000), 0);
	assert_int_equal(((char *)s.at)[0], 0);
	fe_saved_close(&s, dir, "d", 1);
	assert_int_equal(access(rings, F_OK), -1);
}

/* What another user of the directory may have put there. */
static void saved__takes_no_file_that_is_not_ours_alone(void **state)
{
	char victim[128];
	struct fe_saved s = {0};
	char text[8] = "";
	int fd;

	(void)state;
	snprintf(victim, sizeof(victim), "%s/victim", dir);
	fd = open(victim, O_RDWR | O_CREAT, 0600);
	assert_int_equal(write(fd, "victims", 7), 7);
	for (int how = 0; how < 3; how++) {
		unlink(rings);
		if (how == 0)
			assert_int_equal(symlink(victim, rings), 0);
		if (how == 1)
			assert_int_equal(link(victim, rings), 0);
		if (how == 2) {
			assert_int_equal(close(open(rings, O_RDWR | O_CREAT, 0666)), 0);
			assert_int_equal(chmod(rings, 0666), 0);
			assert_int_equal(truncate(rings, 7), 0);
		}
		assert_int_equal(fe_saved_open(&s, dir, "d", 7), 0);
		assert_int_equal(((char *)s.at)[0], 0);
		memset(s.at, 'x', 7);
		fe_saved_close(&s, dir, "d", 0);
	}
	assert_int_equal(pread(fd, text, 7, 0), 7);
	assert_string_equal(text, "victims");
	close(fd);
	unlink(victim);
	unlink(rings);
	/* Something that cannot be replaced: no memory, no harm. */
	assert_int_equal(mkdir(rings, 0700), 0);
	assert_true(fe_saved_open(&s, dir, "d", 7) < 0);
	assert_null(s.at);
	rmdir(rings);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(directory__made_again_gets_the_disks_socket_again),
		T(directory__made_again_is_watched_again_for_a_nic),
		T(directory__removed_ends_no_connection),
		T(saved__is_there_again_and_zero_when_new),
		T(saved__takes_no_file_that_is_not_ours_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

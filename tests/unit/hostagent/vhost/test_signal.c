/* SPDX-License-Identifier: Apache-2.0 */
/* Notifications: they arrive, each counts, and a front-end that fills and blocks its eventfd holds up nobody.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <cmocka.h>

#include "hostagent/vhost/vhost_signal.h"

static uint64_t count_of(int fd)
{
	uint64_t n = 0;
	struct pollfd p = {fd, POLLIN, 0};

	if (poll(&p, 1, 0) == 1)
		assert_int_equal(read(fd, &n, sizeof(n)), sizeof(n));
	return n;
}

static void signal__adds_one_each_time(void **state)
{
	int fd = eventfd(0, EFD_CLOEXEC);

	(void)state;
	/* More than any ring of results holds. */
	for (int i = 0; i < 5000; i++)
		vhost_signal(fd);
	assert_int_equal(count_of(fd), 5000);
	assert_int_equal(count_of(fd), 0);
	vhost_signal(fd);
	assert_int_equal(count_of(fd), 1);
	close(fd);
}

static void signal__wakes_who_polls(void **state)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct pollfd p = {fd, POLLIN, 0};

	(void)state;
	assert_int_equal(poll(&p, 1, 0), 0);
	vhost_signal(fd);
	assert_int_equal(poll(&p, 1, 0), 1);
	close(fd);
}

/* Full, and blocking: a write() would wait for ever. */
static void signal__never_waits(void **state)
{
	int fd = eventfd(0, EFD_CLOEXEC);
	uint64_t full = UINT64_MAX - 1;

	(void)state;
	assert_int_equal(write(fd, &full, sizeof(full)), sizeof(full));
	alarm(60);
	for (int i = 0; i < 10; i++)
		vhost_signal(fd);
	alarm(0);
	assert_true(count_of(fd) >= full);
	close(fd);
}

static void signal__of_something_else_is_harmless(void **state)
{
	(void)state;
	vhost_signal(-1);
	vhost_signal(1 << 20);
}

/* What is held goes with one call, once to each; what cannot be told keeps nobody from being told. */
static void signal__held_ones_go_together(void **state)
{
	int fd[100];

	(void)state;
	for (unsigned i = 0; i < 100; i++)
		fd[i] = eventfd(0, EFD_CLOEXEC);
	vhost_signal_hold();
	for (unsigned i = 0; i < 10; i++) {
		vhost_signal(fd[i]);
		vhost_signal(fd[0]);
		vhost_signal(1 << 20);
	}
	assert_int_equal(count_of(fd[0]), 0);
	vhost_signal_go();
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(count_of(fd[i]), 1);
	vhost_signal_go();
	assert_int_equal(count_of(fd[0]), 0);
	vhost_signal_hold();
	for (unsigned i = 0; i < 100; i++) /* more than are held at a time */
		vhost_signal(fd[i]);
	assert_int_equal(count_of(fd[99]), 0);
	vhost_signal_go();
	for (unsigned i = 0; i < 100; i++) {
		assert_int_equal(count_of(fd[i]), 1);
		vhost_signal(fd[i]);
		assert_int_equal(count_of(fd[i]), 1);
		close(fd[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(signal__adds_one_each_time),
		cmocka_unit_test(signal__wakes_who_polls),
		cmocka_unit_test(signal__never_waits),
		cmocka_unit_test(signal__of_something_else_is_harmless),
		cmocka_unit_test(signal__held_ones_go_together),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

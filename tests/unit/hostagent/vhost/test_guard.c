/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that is cut off under a running ring fails that device alone. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "hostagent/vhost/vhost_guard.h"
#include "tests/lib/vhost_env.h"

#define RINGS (VIRTIO_RING_F_EVENT_IDX | VIRTIO_RING_F_INDIRECT | VIRTIO_F_VERSION_1)

static const struct vhost_config blk = {.nqueues = 1, .queue_size = 256, .features = RINGS};
static struct vhost_env victim, other;

static int setup(void **state)
{
	(void)state;
	vhost_env_init(&victim, &blk);
	vhost_env_init(&other, &blk);
	vhost_env_run(&victim, RINGS, 1, 64);
	vhost_env_run(&other, RINGS, 1, 64);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	vhost_env_fini(&victim);
	vhost_env_fini(&other);
	return 0;
}

/* The test runner sets its own handler before each test. */
static void guard(void)
{
	assert_int_equal(vhost_guard_install(), 0);
}

static int pop(struct vhost_env *e, struct vqt_chain *c)
{
	return vhost_ring_ops.pop(vhost_ring(e->v, 0), c);
}

static void truncated__under_the_ring(void **state)
{
	struct vqt_chain c;

	(void)state;
	guard();
	assert_int_equal(ftruncate(victim.front.memfd, 0), 0);
	assert_int_equal(pop(&victim, &c), 0); /* the access that faults reads zeros */
	assert_int_equal(pop(&victim, &c), -EBADMSG);
	assert_string_equal(vhost_env_log(&victim), "fault; broken 0 guest memory vanished; ");
	assert_int_equal(pop(&other, &c), 0);
	assert_string_equal(vhost_env_log(&other), "");
	assert_int_equal(vhost_counters(victim.v)[VHOST_C_memory_faults], 1);
}

static void truncated__under_a_buffer(void **state)
{
	uint64_t at = vfront_alloc(&victim.front, 4096, 4096);
	struct vqt_chain c;

	(void)state;
	guard();
	vfront_add1(&victim.front, 0, at, 100, at + 100, 100);
	assert_int_equal(pop(&victim, &c), 1);
	assert_int_equal(ftruncate(victim.front.memfd, 4096), 0);
	memset(c.iov[1].iov_base, 1, 100);
	assert_int_equal(((volatile uint8_t *)c.iov[0].iov_base)[0], 0);
	vhost_ring_ops.push(vhost_ring(victim.v, 0), &c, 100);
	vhost_ring_ops.flush(vhost_ring(victim.v, 0));
	assert_int_equal(pop(&victim, &c), -EBADMSG);
}

/* A region that the front-end made itself, and cuts off with a request in flight. */
static void truncated__under_the_inflight_region(void **state)
{
	struct vfront *front = &victim.front;
	struct vqt_chain c;
	int fd = memfd_create("inflight", MFD_CLOEXEC);

	(void)state;
	guard();
	vhost_disconnect(victim.v);
	front->proto = 0;
	vfront_negotiate(front, RINGS | VHOST_F_PROTOCOL_FEATURES, ~0ull);
	assert_int_equal(vfront_mem_table(front), 0);
	vfront_inflight_get(front, 1, 256);
	assert_int_equal(ftruncate(fd, (off_t)front->inflight.mmap_size), 0);
	close(front->inflight_fd);
	front->inflight_fd = fd;
	vfront_inflight_set(front);
	vfront_queue_up(front, 0, 64, true);
	vhost_env_log(&victim);
	vfront_add1(front, 0, vfront_alloc(front, 4, 4), 4, 0, 0);
	assert_int_equal(pop(&victim, &c), 1);
	assert_int_equal(ftruncate(fd, 0), 0);
	vhost_ring_ops.push(vhost_ring(victim.v, 0), &c, 0);
	assert_int_equal(pop(&victim, &c), -EBADMSG);
	assert_string_equal(vhost_env_log(&victim), "fault; broken 0 guest memory vanished; ");
	assert_int_equal(pop(&other, &c), 0);
	assert_string_equal(vhost_env_log(&other), "");
}

static void again__after_the_front_end_came_back(void **state)
{
	struct vqt_chain c;

	(void)state;
	truncated__under_the_ring(state);
	vhost_disconnect(victim.v);
	assert_int_equal(ftruncate(victim.front.memfd, VFRONT_MEM), 0);
	victim.front.proto = 0;
	vhost_env_run(&victim, RINGS, 1, 64);
	assert_int_equal(pop(&victim, &c), 0);
	assert_string_equal(vhost_env_log(&victim), "");
}

static void elsewhere__still_kills(void **state)
{
	int status;
	pid_t pid = fork();

	(void)state;
	if (pid == 0) {
		int fd = memfd_create("x", MFD_CLOEXEC);
		volatile char *p = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);

		signal(SIGBUS, SIG_DFL);
		guard();
		_exit(p[0]);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	/* A sanitizer's own handler turns the signal into an exit of its own. */
	assert_true((WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS) ||
		    (WIFEXITED(status) && WEXITSTATUS(status) != 0));
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(truncated__under_the_ring),
		T(truncated__under_a_buffer),
		T(truncated__under_the_inflight_region),
		T(again__after_the_front_end_came_back),
		T(elsewhere__still_kills),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vhost-user front-end over real unix sockets: a small front-end with a driver (tests/lib/vhost_front.h)
 * in the VM's place, an echo device in the tunnel's.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "hostagent/frontend/frontend.h"
#include "hostagent/vhost/vhost_guard.h"
#include "tests/lib/vhost_env.h"
#include "tests/lib/vhost_sock.h"

#define RINGS (VIRTIO_RING_F_EVENT_IDX | VIRTIO_RING_F_INDIRECT | VIRTIO_F_VERSION_1)
#define PF    VHOST_F_PROTOCOL_FEATURES
#define HOLD  8

static struct event_base *base;
static struct fe *fe;
static char dir[64], path[128], said[4096];
static struct vhost_sock sock;
static struct vfront front;
static unsigned fds_before;

/* The echo device. */
static struct {
	struct fe_queue q[FE_QUEUES_MAX];
	bool hold; /* keep what is popped */
	struct vqt_chain held[HOLD];
	unsigned nheld, held_q;
	bool stopping;
} dev;

static void say(const char *fmt, ...)
{
	size_t have = strlen(said);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(said + have, sizeof(said) - have, fmt, ap);
	va_end(ap);
}

static const char *heard(void)
{
	static char last[sizeof(said)];

	memcpy(last, said, sizeof(last));
	said[0] = '\0';
	return last;
}

static void echo(unsigned q, const struct vqt_chain *c)
{
	uint32_t n = c->nin && c->nout ? (uint32_t)c->iov[0].iov_len : 0;

	if (n)
		memcpy(c->iov[c->nout].iov_base, c->iov[0].iov_base, n);
	dev.q[q].ops->push(dev.q[q].ring, c, n);
}

static void serve(unsigned q)
{
	struct vqt_chain *c = &dev.held[dev.nheld];

	while (dev.nheld < HOLD - 1 && dev.q[q].ops->pop(dev.q[q].ring, c) == 1) {
		if (dev.hold) {
			dev.held_q = q;
			c = &dev.held[++dev.nheld];
		} else {
			echo(q, c);
		}
	}
	dev.q[q].ops->flush(dev.q[q].ring);
}

static void let_go(void)
{
	for (unsigned i = 0; i < dev.nheld; i++)
		echo(dev.held_q, &dev.held[i]);
	dev.nheld = 0;
	dev.q[dev.held_q].ops->flush(dev.q[dev.held_q].ring);
	if (dev.stopping)
		fe_queue_drained(fe, dev.held_q);
	dev.stopping = false;
}

static void up_attached(void *arg, const struct fe_queue *q, unsigned n)
{
	(void)arg;
	memcpy(dev.q, q, n * sizeof(*q));
	say("attached %u; ", n);
}
static void up_features(void *arg, uint64_t f)
{
	(void)arg;
	say("features %llx; ", (unsigned long long)f);
}
static void up_start(void *arg, unsigned q)
{
	(void)arg;
	say("start %u; ", q);
	serve(q);
}
static void up_stop(void *arg, unsigned q)
{
	(void)arg;
	say("stop %u; ", q);
	if (dev.nheld)
		dev.stopping = true;
	else
		fe_queue_drained(fe, q);
}
static void up_kick(void *arg, unsigned q)
{
	(void)arg;
	say("kick %u; ", q);
	serve(q);
}
static void up_broken(void *arg, unsigned q, const char *reason)
{
	(void)arg;
	say("broken %u %s; ", q, reason);
}
static void up_gone(void *arg)
{
	(void)arg;
	dev.nheld = 0;
	dev.stopping = false;
	say("gone; ");
}

static const struct fe_up up = {up_attached, up_features, up_start, up_stop,
				up_kick,     up_broken,	  up_gone,  NULL};

static void pump(void *arg)
{
	(void)arg;
	event_base_loop(base, EVLOOP_NONBLOCK);
}

static void pump_some(void)
{
	for (int i = 0; i < 50; i++)
		pump(NULL);
}

static bool contains(void *arg)
{
	return strstr(said, arg);
}

static bool until(const char *text)
{
	return vhost_sock_until(&sock, contains, (void *)(uintptr_t)text);
}

static const struct fe_config blk = {.name = "d",
				     .kind = FE_BLK,
				     .dir = dir,
				     .nqueues = 2,
				     .queue_size = 256,
				     .features = RINGS,
				     .config = "CONFIG",
				     .config_len = 6};
static const struct fe_config net = {
	.name = "d", .kind = FE_NET, .dir = dir, .nqueues = 2, .queue_size = 256, .features = RINGS};

static int setup(void **state)
{
	(void)state;
	fds_before = vhost_env_fds();
	strcpy(dir, "/tmp/og-fe-XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/d.sock", dir);
	base = event_base_new();
	fe = NULL;
	memset(&dev, 0, sizeof(dev));
	said[0] = '\0';
	sock = (struct vhost_sock){-1, pump, NULL};
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	fe_destroy(fe);
	assert_int_equal(access(path, F_OK), -1);
	event_base_free(base);
	if (sock.fd >= 0)
		close(sock.fd);
	rmdir(dir);
	assert_int_equal(vhost_env_fds(), fds_before);
	return 0;
}

static void connect_front(void)
{
	struct vfront_wire wire = vhost_sock_wire(&sock);

	sock.fd = vhost_sock_connect(path);
	assert_true(sock.fd >= 0);
	vfront_init(&front, &wire);
}

static void run_queues(unsigned n)
{
	vfront_negotiate(&front, RINGS | PF, ~0ull);
	assert_int_equal(vfront_mem_table(&front), 0);
	for (unsigned q = 0; q < n; q++)
		vfront_queue_up(&front, q, 64, true);
}

static bool used_one(void *arg)
{
	return front.q[*(unsigned *)arg].used->idx != front.q[*(unsigned *)arg].used_seen;
}

static void echo_one(unsigned q)
{
	uint64_t at = vfront_alloc(&front, 64, 64);
	uint16_t old = front.q[q].avail_idx;
	uint32_t head, len;

	memcpy(vfront_ptr(&front, at), "ping", 5);
	vfront_add1(&front, q, at, 5, at + 32, 5);
	vfront_kick(&front, q, old);
	assert_true(vhost_sock_until(&sock, used_one, &q));
	assert_true(vfront_used(&front, q, &head, &len));
	assert_int_equal(len, 5);
	assert_string_equal(vfront_ptr(&front, at + 32), "ping");
}

static void disk__serves_and_is_reconnected_to(void **state)
{
	struct vhost_config_desc d = {.size = 57};

	(void)state;
	assert_int_equal(fe_create(&fe_vhost_user, &fe, base, &blk, &up, NULL), 0);
	for (int round = 0; round < 3; round++) {
		connect_front();
		run_queues(2);
		assert_string_equal(heard(), "attached 2; features 130000000; start 0; start 1; ");
		assert_int_equal(vfront_ask(&front, VHOST_GET_CONFIG, &d, 12 + 57, &d, sizeof(d), NULL),
				 12 + 57);
		assert_memory_equal(d.bytes, "CONFIG\0", 7);
		for (int i = 0; i < 200; i++)
			echo_one((unsigned)i % 2);
		heard();
		close(sock.fd);
		sock.fd = -1;
		assert_true(until("gone; "));
		heard();
		vfront_fini(&front);
	}
}

/* A guest whose chains are served in a turn is notified at its end, once. */
static void turn__gathers_notifications(void **state)
{
	(void)state;
	assert_int_equal(fe_create(&fe_vhost_user, &fe, base, &blk, &up, NULL), 0);
	connect_front();
	run_queues(1);
	echo_one(0);
	vfront_calls(&front, 0);
	fe_turn_begin();
	for (int i = 0; i < 3; i++)
		echo_one(0);
	assert_int_equal(vfront_calls(&front, 0), 0);
	fe_turn_end();
	assert_int_equal(vfront_calls(&front, 0), 1);
	echo_one(0);
	assert_int_equal(vfront_calls(&front, 0), 1);
	vfront_fini(&front);
}

static void disk__socket_has_mode_and_refuses_a_second(void **state)
{
	struct vhost_sock second = {-1, pump, NULL};
	struct stat st;

	(void)state;
	assert_int_equal(fe_create(&fe_vhost_user, &fe, base, &blk, &up, NULL), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0660);
	connect_front();
	assert_true(until("attached"));
	second.fd = vhost_sock_connect(path);
	assert_true(second.fd >= 0);
	assert_true(vhost_sock_closed(&second));
	close(second.fd);
	run_queues(1);
	echo_one(0);
	vfront_fini(&front);
}

static void disk__stale_socket_is_replaced_and_a_live_one_kept(void **state)
{
	int fd = vhost_sock_listen(path);
	struct fe *twin = NULL;

	(void)state;
	assert_int_equal(fe_create(&fe_vhost_user, &fe, base, &blk, &up, NULL), -EEXIST);
	close(fd); /* its owner died */
	assert_int_equal(fe_create(&fe_vhost_user, &fe, base, &blk, &up, NULL), 0);
	assert_int_equal(fe_create(&fe_vhost_user, &twin, base, &blk, &up, NULL), -EEXIST);
	assert_int_equal(access(path, F_OK), 0);
	fe_destroy(fe);
	fe = NULL;
	/* A plain file is nobody's stale socket. */
	fclose(fopen(path, "w"));
	assert_int_equal(fe_create(&fe_vhost_user, &fe, base, &blk, &up, NULL), -EEXIST);
	unlink(path);
}

static void create__refuses(void **state)
{
	struct fe_config c = blk;
	char deep[160];

	(void)state;
	c.name = "../x";
	assert_int_equal(fe_create(&fe_vhost_user, &fe, base, &c, &up, NULL), -EINVAL);
	c.name = "";
	assert_int_equal(fe_create(&fe_vhost_user, &fe, base, &c, &up, NULL), -EINVAL);
	c = blk;
	c.queue_size = 100;
	assert_int_equal(fe_create(&fe_vhost_user, &fe, base, &c, &up, NULL), -EINVAL);
	c = blk;
	memset(deep, 'x', sizeof(deep));
	deep[0] = '/';
	deep[110] = '\0';
	c = blk;
	c.dir = deep;
	assert_int_equal(fe_create(&fe_vhost_user, &fe, base, &c, &up, NULL), -ENAMETOOLONG);
	c = net;
	c.dir = "/nonexistent";
	assert_int_equal(fe_create(&fe_vhost_user, &fe, base, &c, &up, NULL), -ENOENT);
}

static void nic__connects_when_the_socket_appears(void **state)
{
	struct vfront_wire wire = vhost_sock_wire(&sock);
	int lfd;

	(void)state;
	assert_int_equal(fe_create(&fe_vhost_user, &fe, base, &net, &up, NULL), 0);
	pump_some();
	for (int round = 0; round < 3; round++) {
		lfd = vhost_sock_listen(path);
		sock.fd = vhost_sock_accept(&sock, lfd);
		assert_true(sock.fd >= 0);
		vfront_init(&front, &wire);
		run_queues(2);
		echo_one(1);
		heard();
		/* QEMU ends: its socket file stays behind, or goes. */
		close(lfd);
		close(sock.fd);
		sock.fd = -1;
		assert_true(until("gone; "));
		heard();
		pump_some();
		unlink(path);
		vfront_fini(&front);
	}
}

static void stop__waits_for_the_device_and_blocks_nobody_else(void **state)
{
	struct fe_config other = blk;
	struct fe *fe2 = NULL;
	struct vhost_vring_state s = {0, 0};
	int none;

	(void)state;
	assert_int_equal(fe_create(&fe_vhost_user, &fe, base, &blk, &up, NULL), 0);
	other.name = "e";
	assert_int_equal(fe_create(&fe_vhost_user, &fe2, base, &other, &up, NULL), 0);
	connect_front();
	run_queues(1);
	dev.hold = true;
	vfront_add1(&front, 0, vfront_alloc(&front, 8, 8), 8, 0, 0);
	vfront_kick(&front, 0, (uint16_t)(front.q[0].avail_idx - 1));
	assert_true(until("kick 0"));
	assert_int_equal(dev.nheld, 1);
	vfront_send(&front, VHOST_GET_VRING_BASE, 0, &s, sizeof(s), NULL, 0);
	/* Sent behind it: not looked at before the answer. */
	vfront_send(&front, VHOST_GET_FEATURES, 0, NULL, 0, NULL, 0);
	assert_true(until("stop 0"));
	pump_some();
	assert_int_equal(recv(sock.fd, &none, sizeof(none), MSG_DONTWAIT | MSG_PEEK), -1);
	let_go();
	pump_some();
	{
		uint8_t both[20 + 20];
		struct vhost_hdr h;

		assert_int_equal(recv(sock.fd, both, sizeof(both), MSG_WAITALL), sizeof(both));
		memcpy(&h, both, sizeof(h));
		assert_int_equal(h.request, VHOST_GET_VRING_BASE);
		memcpy(&h, both + 20, sizeof(h));
		assert_int_equal(h.request, VHOST_GET_FEATURES);
	}
	fe_destroy(fe2);
	vfront_fini(&front);
}

static void stop__ends_when_the_peer_leaves_meanwhile(void **state)
{
	struct vhost_vring_state s = {0, 0};

	(void)state;
	assert_int_equal(fe_create(&fe_vhost_user, &fe, base, &blk, &up, NULL), 0);
	connect_front();
	run_queues(1);
	dev.hold = true;
	vfront_add1(&front, 0, vfront_alloc(&front, 8, 8), 8, 0, 0);
	vfront_kick(&front, 0, (uint16_t)(front.q[0].avail_idx - 1));
	assert_true(until("kick 0"));
	vfront_send(&front, VHOST_GET_VRING_BASE, 0, &s, sizeof(s), NULL, 0);
	assert_true(until("stop 0"));
	close(sock.fd);
	sock.fd = -1;
	assert_true(until("gone; "));
	fe_queue_drained(fe, 0);
	vfront_fini(&front);
}

static void broken__is_told_from_the_loop(void **state)
{
	(void)state;
	assert_int_equal(fe_create(&fe_vhost_user, &fe, base, &blk, &up, NULL), 0);
	connect_front();
	run_queues(2);
	heard();
	vfront_publish(&front, 0, 999);
	vfront_kick(&front, 0, (uint16_t)(front.q[0].avail_idx - 1));
	assert_true(until("broken"));
	assert_string_equal(heard(), "kick 0; broken 0 head outside the ring; ");
	echo_one(1);
	/* The guest resets the queue: stopped, and good again. */
	vfront_queue_down(&front, 0);
	vfront_queue_up(&front, 0, 64, true);
	echo_one(0);
	vfront_fini(&front);
}

static void memory__cut_off_drops_the_connection(void **state)
{
	(void)state;
	assert_int_equal(vhost_guard_install(), 0);
	assert_int_equal(fe_create(&fe_vhost_user, &fe, base, &blk, &up, NULL), 0);
	connect_front();
	run_queues(1);
	assert_int_equal(ftruncate(front.memfd, 0), 0);
	assert_int_equal(write(front.q[0].kick, &(uint64_t){1}, 8), 8);
	assert_true(until("kick 0; "));
	assert_int_equal(write(front.q[0].kick, &(uint64_t){1}, 8), 8);
	assert_true(until("gone; "));
	assert_true(vhost_sock_closed(&sock));
	assert_int_equal(ftruncate(front.memfd, VFRONT_MEM), 0);
	vfront_fini(&front);
}

static void hostile__bytes_and_silence(void **state)
{
	struct vhost_hdr h = {VHOST_SET_MEM_TABLE, VHOST_FLAG_VERSION, 264};
	unsigned baseline;
	int fds[17];

	(void)state;
	assert_int_equal(fe_create(&fe_vhost_user, &fe, base, &blk, &up, NULL), 0);
	baseline = vhost_env_fds();
	/* Half a header with stray descriptors, and silence: nothing happens, nothing is kept after it. */
	for (unsigned nfds = 0; nfds <= 16; nfds++) {
		for (size_t n = 1; n <= sizeof(h) + 1; n++) {
			uint8_t bytes[sizeof(h) + 1];
			struct vfront_wire wire = vhost_sock_wire(&sock);

			memcpy(bytes, &h, sizeof(h));
			sock.fd = vhost_sock_connect(path);
			for (unsigned i = 0; i < nfds; i++)
				fds[i] = 0;
			wire.send(&sock, bytes, n, fds, nfds);
			pump_some();
			close(sock.fd);
			assert_true(until("gone; "));
			heard();
			assert_int_equal(vhost_env_fds(), baseline);
		}
	}
	/* A size beyond bounds closes at once. */
	h.size = 269;
	sock.fd = vhost_sock_connect(path);
	assert_int_equal(send(sock.fd, &h, sizeof(h), 0), sizeof(h));
	pump_some();
	assert_int_equal(recv(sock.fd, fds, sizeof(fds), MSG_DONTWAIT), 0);
	/* Bytes one by one are as good as any. */
	close(sock.fd);
	connect_front();
	h = (struct vhost_hdr){VHOST_GET_FEATURES, VHOST_FLAG_VERSION, 0};
	for (size_t i = 0; i < sizeof(h); i++) {
		assert_int_equal(send(sock.fd, (uint8_t *)&h + i, 1, 0), 1);
		pump(NULL);
	}
	assert_int_equal(recv(sock.fd, fds, 20, 0), 20);
	vfront_fini(&front);
}

/* A peer that leaves half a message with its own end in it is open in us after its death. */
static void hostile__leaves_its_own_end_behind(void **state)
{
	struct vhost_hdr h = {VHOST_SET_MEM_TABLE, VHOST_FLAG_VERSION, 264};
	struct vfront_wire wire = vhost_sock_wire(&sock);

	(void)state;
	assert_int_equal(fe_create(&fe_vhost_user, &fe, base, &blk, &up, NULL), 0);
	sock.fd = vhost_sock_connect(path);
	wire.send(&sock, &h, sizeof(h), &sock.fd, 1);
	close(sock.fd);
	sock.fd = -1;
	assert_true(until("gone; "));
	heard();
	connect_front();
	run_queues(1);
	echo_one(0);
	vfront_fini(&front);
}

static void config__change_reaches_the_back_channel(void **state)
{
	int sv[2];
	struct vhost_hdr h;

	(void)state;
	assert_int_equal(fe_create(&fe_vhost_user, &fe, base, &blk, &up, NULL), 0);
	assert_int_equal(fe_set_config(fe, "new", 3), -ENOTSUP);
	connect_front();
	run_queues(1);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), 0);
	assert_int_equal(vfront_tell(&front, VHOST_SET_BACKEND_REQ_FD, NULL, 0, &sv[0], 1), 0);
	assert_int_equal(fe_set_config(fe, "new", 3), 0);
	assert_int_equal(recv(sv[1], &h, sizeof(h), MSG_DONTWAIT), sizeof(h));
	close(sv[0]);
	close(sv[1]);
	vfront_fini(&front);
}

static uint64_t counted(const char *want)
{
	uint64_t value;
	const char *name;

	for (unsigned i = 0; (name = fe_counter(fe, i, &value)); i++)
		if (!strcmp(name, want))
			return value;
	fail_msg("no counter %s", want);
	return 0;
}

static bool kick_until_muted(void *arg)
{
	uint64_t one = 1, n = *(uint64_t *)arg;

	assert_int_equal(write(front.q[0].kick, &one, sizeof(one)), sizeof(one));
	return counted("kicks_muted") > n;
}

/* A guest that kicks without work is not listened to for a while; its chains are served all the same, and
 * the other queue notices nothing. */
static void kicks__for_nothing_are_muted(void **state)
{
	(void)state;
	assert_int_equal(fe_create(&fe_vhost_user, &fe, base, &blk, &up, NULL), 0);
	connect_front();
	run_queues(2);
	for (int i = 0; i < 300; i++)
		echo_one(0);
	assert_int_equal(counted("kicks_muted"), 0);
	assert_true(fe_news(fe));
	assert_false(fe_news(fe));
	for (uint64_t round = 0; round < 3; round++) {
		assert_true(vhost_sock_until(&sock, kick_until_muted, &round));
		assert_true(fe_news(fe));
		assert_true(counted("kicks_useless") >= 64 * (round + 1));
		echo_one(1);
		echo_one(0);
	}
	/* A front-end that goes away, and comes back, while one is muted. */
	assert_true(vhost_sock_until(&sock, kick_until_muted, &(uint64_t){counted("kicks_muted")}));
	heard();
	close(sock.fd);
	sock.fd = -1;
	assert_true(until("gone; "));
	vfront_fini(&front);
	connect_front();
	run_queues(2);
	echo_one(0);
	vfront_fini(&front);
}

/* Nothing of it is left at the loop that it leaves. */
static void change_loop(void)
{
	struct event_base *old = base;

	pump_some();
	fe_leave(fe);
	assert_int_equal(event_base_get_num_events(old, EVENT_BASE_COUNT_ADDED | EVENT_BASE_COUNT_ACTIVE), 0);
	base = event_base_new();
	assert_int_equal(fe_join(fe, base), 0);
	event_base_free(old);
}

static void loop__changes_under_a_user(void **state)
{
	uint64_t at;
	uint16_t old;
	unsigned q = 1;

	(void)state;
	assert_int_equal(fe_create(&fe_vhost_user, &fe, base, &blk, &up, NULL), 0);
	change_loop(); /* the listener alone */
	connect_front();
	run_queues(2);
	echo_one(1);
	heard();
	for (int i = 0; i < 3; i++) {
		/* A kick that nobody has seen. */
		pump_some();
		at = vfront_alloc(&front, 64, 64);
		old = front.q[q].avail_idx;
		vfront_add1(&front, q, at, 5, at + 32, 5);
		vfront_kick(&front, q, old);
		change_loop();
		assert_true(vhost_sock_until(&sock, used_one, &q));
		front.q[q].used_seen = front.q[q].used->idx;
		echo_one(0);
		echo_one(1);
	}
	/* Its user is the same, and so are its queues. */
	assert_null(strstr(said, "attached"));
	assert_null(strstr(said, "gone"));
	assert_null(strstr(said, "st")); /* start, stop */
	heard();
	close(sock.fd);
	sock.fd = -1;
	change_loop();
	assert_true(until("gone; "));
	vfront_fini(&front);
	connect_front();
	run_queues(2);
	echo_one(0);
	vfront_fini(&front);
}

static void loop__changes_while_a_socket_is_waited_for(void **state)
{
	struct vfront_wire wire = vhost_sock_wire(&sock);
	int lfd;

	(void)state;
	assert_int_equal(fe_create(&fe_vhost_user, &fe, base, &net, &up, NULL), 0);
	pump_some();
	change_loop();
	pump_some();
	lfd = vhost_sock_listen(path);
	sock.fd = vhost_sock_accept(&sock, lfd);
	assert_true(sock.fd >= 0);
	vfront_init(&front, &wire);
	run_queues(2);
	change_loop();
	echo_one(1);
	close(lfd);
	unlink(path);
	vfront_fini(&front);
}

static bool put_off(void *arg)
{
	(void)arg;
	return counted("accepts_put_off") > 0;
}

/* Who connects while no descriptor is left waits, without keeping the loop busy, and is served later. */
static void accept__waits_for_a_descriptor(void **state)
{
	struct rlimit old, low;

	(void)state;
	assert_int_equal(fe_create(&fe_vhost_user, &fe, base, &blk, &up, NULL), 0);
	connect_front();
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	low = old;
	low.rlim_cur = (rlim_t)dup(0);
	close((int)low.rlim_cur);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	assert_true(vhost_sock_until(&sock, put_off, NULL));
	for (int i = 0; i < 20; i++)
		pump_some();
	assert_in_range(counted("accepts_put_off"), 1, 100);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_true(until("attached"));
	run_queues(1);
	echo_one(0);
	vfront_fini(&front);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(disk__serves_and_is_reconnected_to),
		T(turn__gathers_notifications),
		T(disk__socket_has_mode_and_refuses_a_second),
		T(disk__stale_socket_is_replaced_and_a_live_one_kept),
		T(create__refuses),
		T(nic__connects_when_the_socket_appears),
		T(stop__waits_for_the_device_and_blocks_nobody_else),
		T(stop__ends_when_the_peer_leaves_meanwhile),
		T(broken__is_told_from_the_loop),
		T(memory__cut_off_drops_the_connection),
		T(hostile__bytes_and_silence),
		T(hostile__leaves_its_own_end_behind),
		T(config__change_reaches_the_back_channel),
		T(kicks__for_nothing_are_muted),
		T(accept__waits_for_a_descriptor),
		T(loop__changes_under_a_user),
		T(loop__changes_while_a_socket_is_waited_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

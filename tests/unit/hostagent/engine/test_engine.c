/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent's engine with a real TAP in a network namespace of the test's own, and an appliance's end of the
 * tunnel played over loopback UDP: devices that outlive sessions, and those that do not.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fabric/base/clock.h"
#include "fabric/base/log.h"
#include "fabric/ep/ep.h"
#include "fabric/link/link_udp.h"
#include "fabric/vqt/vqt_dev.h"
#include "hostagent/engine/engine_impl.h"
#include "tests/lib/wait.h"

#define FEATURES (1ull << 32 | 1ull << 16 | 1ull << 5)
#define DEV	 5

static bool ok;
static char dir[64];
static struct event_base *base;
static struct event *nudge;
static struct engine *e;

/* What the engine said. */
static unsigned states, detached, lost;
static uint32_t state_dev, detached_dev;

/* The appliance's end. */
static struct side {
	struct ep *ep;
	struct buf_pool *rx, *bufs;
	struct frame_pool *frames;
	struct rt *rt;
	struct vqt_peer *peer;
	struct ep_session *s;
	struct vqt_dev *d;
	struct link_addr addr;
	bool came[256]; /* frames of the test, by mark; the stack sends some of its own */
	bool mute;	/* hears nothing, says nothing */
} A;

/* ---- the appliance ---- */

static void on_frame(void *user, unsigned pair, struct frame *f)
{
	uint8_t b[27];

	(void)user, (void)pair;
	if (f->len == 92 && frame_read(f, 0, b, sizeof(b)) == sizeof(b) && b[24] == 0x88 && b[25] == 0xb5)
		A.came[b[26]] = true;
	frame_put(f);
}

static void on_request(void *user, struct vqt_req *r)
{
	(void)user;
	vqt_dev_complete(r, 0, 0, 0);
}

static void on_writable(void *user, unsigned pair)
{
	(void)user, (void)pair;
}

static void on_drained(void *user)
{
	(void)user;
}

static const struct vqt_dev_ops dev_ops = {on_frame, on_request, on_writable, on_drained};

static void rec(void *ctx, enum rt_class cls, uint32_t psn, const struct rt_rec *r, const uint8_t *data,
		struct buf *owner)
{
	(void)ctx;
	vqt_peer_record(A.peer, cls, psn, r, data, owner);
}

static void settled(void *ctx, enum rt_class cls, uint32_t at)
{
	(void)ctx;
	vqt_peer_settled(A.peer, cls, at);
}

static void writable(void *ctx, enum rt_class cls)
{
	(void)ctx;
	vqt_peer_writable(A.peer, cls);
}

static const struct rt_ops rt_calls = {.record = rec, .settled = settled, .writable = writable};

static void *mem_get(void *ctx, size_t size, size_t off)
{
	(void)ctx, (void)off;
	return malloc(size);
}

static void mem_put(void *ctx, void *p, size_t size, size_t off)
{
	(void)ctx, (void)size, (void)off;
	free(p);
}

static void appliance_turn(evutil_socket_t fd, short what, void *arg)
{
	uint64_t now = clock_now_ns();

	(void)fd, (void)what, (void)arg;
	if (!A.s || A.mute)
		return;
	ep_poll(A.ep, &now);
	vqt_peer_service(A.peer, now);
	ep_session_touch(A.s);
	ep_flush(A.ep, false, now);
}

static void appliance_up(uint32_t spi)
{
	struct rt_cfg rc = {.ops = &rt_calls, .aead = &aead_crc, .chunk = RT_CHUNK_DEFAULT};
	struct rt_path_cfg keys = {.tx_spi = spi, .rx_spi = spi + 1};
	struct vqt_peer_cfg pc = {.ops = &dev_ops,
				  .frames = A.frames,
				  .bufs = A.bufs,
				  .mem = {mem_get, mem_put, NULL},
				  .mem_max = 64 << 20};
	int err;

	A.rt = pc.rt = rt_create(&rc, clock_now_ns(), &err);
	A.peer = vqt_peer_create(&pc, &err);
	A.s = ep_session_add(A.ep, A.rt, NULL);
	assert_int_equal(ep_session_path(A.s, 0, 0, &keys, NULL, clock_now_ns()), 0);
}

static void appliance_down(void)
{
	if (!A.s)
		return;
	vqt_peer_destroy(A.peer);
	ep_session_del(A.s);
	A.s = NULL;
	A.d = NULL;
}

static void appliance_bind(uint32_t dev, uint32_t epoch)
{
	struct vqt_dev_cfg c = {
		.type = VQT_NET, .wire = (uint16_t)dev, .epoch = epoch, .nvq = 2, .rel = RT_REL_FULL};
	int err;

	A.d = vqt_peer_attach(A.peer, &c, &err);
	assert_non_null(A.d);
}

/* ---- the engine's user ---- */

static void up_state(void *ctx, uint32_t dev)
{
	(void)ctx;
	states++;
	state_dev = dev;
}

static void up_detached(void *ctx, uint32_t dev)
{
	(void)ctx;
	detached++;
	detached_dev = dev;
}

static void up_lost(void *ctx, const char *reason)
{
	(void)ctx;
	assert_non_null(reason);
	lost++;
}

static bool up_carry(void *ctx, const uint8_t *data, uint32_t len)
{
	(void)ctx, (void)data, (void)len;
	return false;
}

static void up_memory(void *ctx, uint32_t dev)
{
	(void)ctx, (void)dev;
	fail();
}

static void up_rdma_news(void *ctx, unsigned path, const struct verbs_news *news)
{
	(void)ctx, (void)path, (void)news;
	fail();
}

static char came_uid[64];
static unsigned opened;

static void up_came(void *ctx, const char *uid)
{
	(void)ctx;
	snprintf(came_uid, sizeof(came_uid), "%s", uid);
}

static void up_opened(void *ctx)
{
	(void)ctx;
	opened++;
}

static const struct engine_up up = {up_state,  up_detached,  up_lost, up_carry,
				    up_memory, up_rdma_news, up_came, up_opened};

static int session_up(uint32_t spi, uint64_t lost_ns)
{
	struct engine_session es = {.aead = &aead_crc,
				    .chunk = RT_CHUNK_DEFAULT,
				    .keepalive_ns = 20 * NSEC_PER_MSEC,
				    .lost_ns = lost_ns,
				    .npaths = 1};

	es.path[0].peer = A.addr;
	es.path[0].keys = (struct rt_path_cfg){.tx_spi = spi + 1, .rx_spi = spi};
	return engine_session_up(e, &es);
}

static struct engine_dev_cfg dev_cfg(uint32_t epoch)
{
	static uint8_t config[12] = {2, 0, 0, 0, 0, 9, 1, 0, 1, 0, 0xdc, 5};

	return (struct engine_dev_cfg){.dev = DEV,
				       .uid = "uid-1",
				       .name = "nic",
				       .tap_name = "ogt0",
				       .kind = FE_NET,
				       .tap = true,
				       .nqueues = 2,
				       .queue_size = 256,
				       .features = FEATURES,
				       .config = config,
				       .config_len = sizeof(config),
				       .mac = {2, 0, 0, 0, 0, 9},
				       .mtu = 1500,
				       .epoch = epoch,
				       .credit = VQT_WINDOW,
				       .rel = RT_REL_FULL};
}

static int attach(struct engine_dev_cfg c)
{
	char endpoint[128] = "", why[256] = "";
	int r = engine_attach(e, &c, endpoint, why);

	if (!r)
		assert_string_equal(endpoint, c.tap_name);
	else if (r != -ENOTCONN && r != -EINPROGRESS)
		assert_string_not_equal(why, "");
	return r;
}

#define WAIT(cond) wait_until(base, cond)

static bool running(void)
{
	struct engine_dev_state s;

	return !engine_state(e, DEV, &s) && s.connected && s.running == 3;
}

/* The host's stack sends a frame: through the TAP, the tunnel, to the appliance. */
static void stack_sends(uint8_t mark)
{
	struct sockaddr_ll ll = {.sll_family = AF_PACKET, .sll_ifindex = (int)if_nametoindex("ogt0")};
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	uint8_t frame[80] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 0x88, 0xb5, mark};

	assert_true(fd >= 0 && ll.sll_ifindex);
	assert_int_equal(sendto(fd, frame, sizeof(frame), 0, (struct sockaddr *)&ll, sizeof(ll)),
			 sizeof(frame));
	close(fd);
}

static bool came(uint8_t mark)
{
	bool yes = A.came[mark];

	A.came[mark] = false;
	return yes;
}

/* ---- life ---- */

static void lo_up(void)
{
	struct ifreq r = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	ioctl(fd, SIOCSIFFLAGS, &r);
	close(fd);
}

static int start(void **state)
{
	(void)state;
	log_init("test", LOG_ERR);
	if (unshare(CLONE_NEWNET) && unshare(CLONE_NEWUSER | CLONE_NEWNET)) {
		print_message("skipped: no network namespace of its own without root (%s)\n",
			      strerror(errno));
		return 0;
	}
	if (access("/dev/net/tun", R_OK | W_OK)) {
		print_message("skipped: /dev/net/tun cannot be used (%s)\n", strerror(errno));
		return 0;
	}
	lo_up();
	ok = true;
	return 0;
}

static struct lanes *lanes;
static struct engine *lane[2]; /* e is one of them */

static int setup_with(uint64_t poll_ns)
{
	struct engine_cfg cfg = {.run_dir = dir, .poll_ns = poll_ns, .up = &up, .lanes = lanes};
	struct timeval ms = {.tv_usec = 1000};
	struct link_addr any;
	struct link *l;
	uint32_t payload;
	int err;

	if (!ok)
		return 0;
	snprintf(dir, sizeof(dir), "/tmp/outrigger-engine-XXXXXX");
	assert_non_null(mkdtemp(dir));
	base = cfg.base = event_base_new();
	states = detached = lost = 0;
	memset(&A, 0, sizeof(A));
	A.rx = buf_pool_create(16, LINK_UDP_BUF_SIZE);
	A.bufs = buf_pool_create(64, 2048);
	A.frames = frame_pool_create(2048);
	A.ep = ep_create(1);
	assert_int_equal(link_addr_parse(&any, "127.0.0.1:0", 0), 0);
	l = link_udp_create(&any, A.rx, &err);
	assert_non_null(l);
	l->ops->local(l, &A.addr, &payload);
	assert_int_equal(ep_link_add(A.ep, l), 0);
	nudge = event_new(base, -1, EV_PERSIST, appliance_turn, NULL);
	event_add(nudge, &ms);
	assert_int_equal(engine_create(&cfg, &e), 0);
	return 0;
}

static int setup(void **state)
{
	(void)state;
	return setup_with(0);
}

static int setup_polling(void **state)
{
	(void)state;
	return setup_with(60 * NSEC_PER_SEC);
}

/* Two lanes of one agent, on one loop here. */
static int setup_lanes(void **state)
{
	struct engine_cfg cfg = {.run_dir = dir, .up = &up, .lane = 1};

	(void)state;
	if (!ok)
		return 0;
	lanes = cfg.lanes = lanes_create(2);
	assert_non_null(lanes);
	setup_with(0);
	cfg.base = base;
	lane[0] = e;
	opened = 0;
	came_uid[0] = '\0';
	return engine_create(&cfg, &lane[1]);
}

static int teardown(void **state)
{
	(void)state;
	if (!ok)
		return 0;
	if (lanes) {
		engine_destroy(e == lane[0] ? lane[1] : lane[0]);
		lane[0] = lane[1] = NULL;
	}
	engine_destroy(e);
	lanes_destroy(lanes);
	lanes = NULL;
	assert_int_equal(if_nametoindex("ogt0"), 0); /* what it made is gone */
	appliance_down();
	ep_destroy(A.ep);
	buf_pool_destroy(A.rx);
	buf_pool_destroy(A.bufs);
	frame_pool_destroy(A.frames);
	event_free(nudge);
	event_base_free(base);
	return rmdir(dir);
}

static void live(uint32_t spi, uint32_t epoch)
{
	appliance_up(spi);
	assert_int_equal(session_up(spi, 10 * NSEC_PER_SEC), 0);
	appliance_bind(DEV, epoch);
	assert_int_equal(attach(dev_cfg(epoch)), 0);
	WAIT(running());
}

#define NEED()                                                                                               \
	do {                                                                                                 \
		if (!ok)                                                                                     \
			skip();                                                                              \
	} while (0)

static void counter_named(void *arg, uint32_t dev, const char *name, uint64_t value)
{
	uint64_t *out = arg;

	if (dev == UINT32_MAX && !strcmp(name, "polls_empty"))
		*out = value;
}

static uint64_t polls(void)
{
	uint64_t n = UINT64_MAX;

	engine_stats(e, counter_named, &n);
	assert_true(n != UINT64_MAX);
	return n;
}

static void of_device(void *arg, uint32_t dev, const char *name, uint64_t value)
{
	unsigned *n = arg;

	(void)name;
	(void)value;
	*n += dev == DEV;
}

static unsigned counters_told(void)
{
	unsigned n = 0;

	engine_stats(e, of_device, &n);
	return n;
}

/* A device is told of again when a counter of its front-end or of its end of the tunnel has changed, and not
 * before. */
static void statistics_tell_of_what_has_changed(void **state)
{
	(void)state;
	NEED();
	live(100, 1);
	assert_true(counters_told() > 0);
	WAIT(counters_told() == 0);
	stack_sends(1);
	WAIT(came(1));
	assert_true(counters_told() > 0);
	WAIT(counters_told() == 0);
}

/* Work soon after work: it looks for more without being woken. Without the option it never does. */
static void polling_goes_on_after_work(void **state)
{
	(void)state;
	NEED();
	live(100, 1);
	for (uint8_t i = 1; i < 4; i++) {
		stack_sends(i);
		WAIT(came(i));
	}
	WAIT(polls() > 100);
}

static void frames_cross_both_ways(void **state)
{
	struct sockaddr_ll ll = {.sll_family = AF_PACKET, .sll_protocol = htons(0x88b5)};
	uint8_t bytes[12 + 60] = {[12] = 2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1, 0x88, 0xb5, 0x77}, got[128];
	struct frame *f;
	struct buf *b;
	int fd;

	(void)state;
	NEED();
	live(100, 1);
	stack_sends(1);
	WAIT(came(1));
	fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, htons(0x88b5));
	ll.sll_ifindex = (int)if_nametoindex("ogt0");
	assert_int_equal(bind(fd, (struct sockaddr *)&ll, sizeof(ll)), 0);
	f = frame_get(A.frames);
	b = buf_get(A.bufs);
	memcpy(b->base, bytes, sizeof(bytes));
	frame_add(f, b->base, sizeof(bytes), b);
	buf_put(b);
	WAIT(vqt_dev_send(A.d, 0, f, clock_now_ns()) == 0);
	frame_put(f);
	WAIT(recv(fd, got, sizeof(got), 0) == 60);
	assert_int_equal(got[14], 0x77);
	close(fd);
	assert_int_equal(polls(), 0);
}

static void a_device_outlives_its_session(void **state)
{
	unsigned index;

	(void)state;
	NEED();
	live(100, 1);
	index = if_nametoindex("ogt0");
	for (uint32_t i = 2; i < 6; i++) {
		engine_session_down(e);
		appliance_down();
		stack_sends(99); /* waits in the TAP */
		settle(base, 5);
		live(100 * i, i);
		assert_int_equal(if_nametoindex("ogt0"), index);
		WAIT(came(99));
		stack_sends((uint8_t)i);
		WAIT(came((uint8_t)i));
	}
}

static void a_changed_device_is_another_one(void **state)
{
	struct engine_dev_cfg c = dev_cfg(2);
	unsigned index;

	(void)state;
	NEED();
	live(100, 1);
	index = if_nametoindex("ogt0");
	engine_session_down(e);
	appliance_down();
	appliance_up(200);
	assert_int_equal(session_up(200, 10 * NSEC_PER_SEC), 0);
	c.mac[5] = 10;
	assert_int_equal(attach(c), 0);
	assert_int_not_equal(if_nametoindex("ogt0"), index);
	engine_session_down(e);
	assert_int_equal(session_up(200, 10 * NSEC_PER_SEC), 0);
	c.tap_name = "ogt1";
	assert_int_equal(attach(c), 0);
	assert_int_equal(if_nametoindex("ogt0"), 0);
	assert_int_not_equal(if_nametoindex("ogt1"), 0);
}

static void what_is_not_attached_again_goes(void **state)
{
	(void)state;
	NEED();
	live(100, 1);
	engine_synced(e, 1);
	assert_int_not_equal(if_nametoindex("ogt0"), 0);
	engine_session_down(e);
	assert_int_not_equal(if_nametoindex("ogt0"), 0);
	assert_int_equal(session_up(100, 10 * NSEC_PER_SEC), 0);
	engine_synced(e, 1);
	assert_int_equal(if_nametoindex("ogt0"), 0);
}

static void a_detach_ends_in_word_and_deed(void **state)
{
	(void)state;
	NEED();
	live(100, 1);
	for (int i = 0; i < 20; i++)
		stack_sends(3);
	assert_int_equal(engine_detach(e, DEV), 0);
	WAIT(detached);
	assert_int_equal(detached_dev, DEV);
	assert_int_equal(if_nametoindex("ogt0"), 0);
	assert_int_equal(engine_detach(e, DEV), -ENOENT);
	/* And with a session that ends meanwhile: nobody is told, the device goes all the same. */
	vqt_peer_detach(A.d);
	appliance_bind(DEV, 2);
	assert_int_equal(attach(dev_cfg(2)), 0);
	WAIT(running());
	detached = 0;
	assert_int_equal(engine_detach(e, DEV), 0);
	engine_session_down(e);
	settle(base, 20);
	assert_int_equal(detached, 0);
	assert_int_equal(if_nametoindex("ogt0"), 0);
}

static void said_again_it_changes_nothing_but_the_configuration(void **state)
{
	struct engine_dev_cfg c = dev_cfg(1);
	uint8_t config[12];
	unsigned index;
	char path[64];
	FILE *f;
	int carrier = -1;

	(void)state;
	NEED();
	live(100, 1);
	index = if_nametoindex("ogt0");
	memcpy(config, c.config, sizeof(config));
	config[6] = 0; /* link down */
	c.config = config;
	assert_int_equal(attach(c), 0);
	assert_int_equal(if_nametoindex("ogt0"), index);
	assert_true(running());
	/* The carrier follows; sysfs shows it only where it is of this namespace. */
	snprintf(path, sizeof(path), "/sys/class/net/ogt0/carrier");
	f = fopen(path, "re");
	if (f) {
		if (fscanf(f, "%d", &carrier) == 1)
			assert_int_equal(carrier, 0);
		fclose(f);
	}
	/* Another device under this number, or a number out of range, is refused. */
	c.uid = "uid-2";
	assert_int_equal(attach(c), -EINVAL);
	c.dev = VQT_WIRE_MAX;
	assert_int_equal(attach(c), -EINVAL);
}

static void a_name_that_is_taken_is_said_so(void **state)
{
	struct engine_dev_cfg c = dev_cfg(1);

	(void)state;
	NEED();
	live(100, 1);
	c.uid = "uid-2";
	c.dev = DEV + 1;
	assert_int_equal(attach(c), -EEXIST);
	c.tap_name = "a-name-that-is-too-long";
	assert_int_equal(attach(c), -ENAMETOOLONG);
	assert_true(running());
}

static void silence_is_reported_once(void **state)
{
	(void)state;
	NEED();
	appliance_up(100);
	assert_int_equal(session_up(100, NSEC_PER_SEC), 0);
	settle(base, 1300);
	assert_int_equal(lost, 0); /* it is heard */
	A.mute = true;
	WAIT(lost);
	settle(base, 200);
	assert_int_equal(lost, 1);
	engine_session_down(e);
	assert_int_equal(attach(dev_cfg(1)), -ENOTCONN);
}

static void an_idle_engine_sleeps(void **state)
{
	uint64_t before, end;
	unsigned wakes = 0;

	(void)state;
	NEED();
	live(100, 1);
	event_del(nudge);
	A.mute = true;
	/* 300 ms with a keepalive of 20: a few probes, no more. */
	before = vqt_host_counters(e->host)[VQT_HOST_services];
	end = clock_now_ns() + 300 * NSEC_PER_MSEC;
	while (clock_now_ns() < end && wakes < 1000) {
		struct timeval left = {.tv_usec = 50000};

		event_base_loopexit(base, &left);
		event_base_dispatch(base);
		wakes++;
	}
	assert_in_range(vqt_host_counters(e->host)[VQT_HOST_services] - before, 1, 80);
}

/* To the other lane: it asks for the device, and takes it up as it is. */
static void next_lane(uint32_t spi, uint32_t epoch)
{
	engine_session_down(e);
	appliance_down();
	e = e == lane[0] ? lane[1] : lane[0];
	came_uid[0] = '\0';
	appliance_up(spi);
	assert_int_equal(session_up(spi, 10 * NSEC_PER_SEC), 0);
	appliance_bind(DEV, epoch);
	assert_int_equal(attach(dev_cfg(epoch)), -EINPROGRESS);
	WAIT(came_uid[0]);
	assert_string_equal(came_uid, "uid-1");
	assert_int_equal(attach(dev_cfg(epoch)), 0);
	WAIT(running());
}

static void a_device_changes_its_lane(void **state)
{
	unsigned index, from;

	(void)state;
	NEED();
	live(100, 1);
	index = if_nametoindex("ogt0");
	for (uint32_t i = 1; i < 7; i++) {
		from = e == lane[1];
		assert_int_equal(lanes_holder(lanes, "uid-1"), from);
		stack_sends((uint8_t)i);
		WAIT(came((uint8_t)i));
		/* Told to let go of it, or without a session. */
		if (i % 2)
			assert_int_equal(engine_release(e, DEV), 0);
		stack_sends((uint8_t)(100 + i)); /* waits in the TAP, or in its ring */
		next_lane(100 * (i + 1), i + 1);
		WAIT(came((uint8_t)(100 + i)) || i % 2 == 0);
		assert_int_equal(if_nametoindex("ogt0"), index);
		assert_int_equal(lanes_holder(lanes, "uid-1"), !from);
	}
	assert_int_equal(engine_release(e, DEV + 1), -ENOENT);
}

static void what_no_lane_was_told_of_goes(void **state)
{
	(void)state;
	NEED();
	live(100, 1);
	engine_synced(e, 7);
	/* It left after this lane had heard the round: it may be on its way. */
	assert_int_equal(engine_release(e, DEV), 0);
	engine_synced(lane[1], 7);
	settle(base, 20);
	assert_int_not_equal(if_nametoindex("ogt0"), 0);
	/* Only one of two has heard. */
	lanes_open(lanes, 2);
	engine_synced(e, 8);
	settle(base, 20);
	assert_int_equal(opened, 1);
	assert_int_not_equal(if_nametoindex("ogt0"), 0);
	/* Both have, but before they are told so one hears the next, and the device leaves after that. */
	assert_int_equal(attach(dev_cfg(2)), 0);
	engine_synced(lane[1], 8);
	engine_synced(e, 9);
	assert_int_equal(engine_release(e, DEV), 0);
	settle(base, 20);
	assert_int_not_equal(if_nametoindex("ogt0"), 0);
	engine_synced(lane[1], 9);
	engine_synced(e, 10);
	engine_synced(lane[1], 10);
	WAIT(!if_nametoindex("ogt0"));
	assert_int_equal(lanes_holder(lanes, "uid-1"), -1);
	/* What is asked for and is nowhere is made. */
	assert_int_equal(attach(dev_cfg(3)), 0);
	assert_int_not_equal(if_nametoindex("ogt0"), 0);
}

/* In the mail when the agent ends: it goes with it. */
static void a_device_in_the_mail_goes_with_the_agent(void **state)
{
	struct lane_letter *m;

	(void)state;
	NEED();
	live(100, 1);
	m = lanes_letter(LANE_WANT, 1, "uid-1");
	assert_non_null(m);
	assert_int_equal(lanes_post(lanes, 0, m), 0);
	engine_session_down(e);
	/* One turn for the letter alone: the answer waits at a lane that does not look. */
	event_del(lane[1]->letters);
	WAIT(lanes_holder(lanes, "uid-1") == 1);
	assert_int_not_equal(if_nametoindex("ogt0"), 0);
	/* One for a lane that is no more. */
	m = lanes_letter(LANE_WANT, 1, "uid-2");
	lanes_close(lanes, 0);
	assert_int_equal(lanes_post(lanes, 0, m), -ESHUTDOWN);
	free(m);
}

/* Its rings were told to stop for good: the lane that asks gets none, and makes it anew. */
static void a_device_that_is_to_go_is_given_to_nobody(void **state)
{
	struct lane_letter *m;

	(void)state;
	NEED();
	live(100, 1);
	m = lanes_letter(LANE_WANT, 1, "uid-1");
	assert_non_null(m);
	assert_int_equal(lanes_post(lanes, 0, m), 0);
	came_uid[0] = '\0';
	/* The letter is read first. */
	event_active(e->letters, EV_READ, 0);
	assert_int_equal(engine_detach(e, DEV), 0);
	WAIT(came_uid[0]);
	assert_int_equal(lanes_holder(lanes, "uid-1"), -1);
	assert_int_equal(if_nametoindex("ogt0"), 0);
}

static void only_its_holder_lets_a_device_go(void **state)
{
	struct lanes *l = lanes_create(2);

	(void)state;
	assert_non_null(l);
	assert_int_equal(lanes_hold(l, "a", 0), 0);
	assert_int_equal(lanes_hold(l, "a", 1), 0);
	lanes_let_go(l, "a", 0);
	assert_int_equal(lanes_holder(l, "a"), 1);
	lanes_let_go(l, "b", 1);
	lanes_let_go(l, "a", 1);
	assert_int_equal(lanes_holder(l, "a"), -1);
	lanes_destroy(l);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(frames_cross_both_ways),
		T(a_device_outlives_its_session),
		T(a_changed_device_is_another_one),
		T(what_is_not_attached_again_goes),
		T(a_detach_ends_in_word_and_deed),
		T(said_again_it_changes_nothing_but_the_configuration),
		T(a_name_that_is_taken_is_said_so),
		T(silence_is_reported_once),
		T(an_idle_engine_sleeps),
		T(statistics_tell_of_what_has_changed),
		cmocka_unit_test_setup_teardown(a_device_changes_its_lane, setup_lanes, teardown),
		cmocka_unit_test_setup_teardown(what_no_lane_was_told_of_goes, setup_lanes, teardown),
		cmocka_unit_test_setup_teardown(a_device_that_is_to_go_is_given_to_nobody, setup_lanes,
						teardown),
		cmocka_unit_test(only_its_holder_lets_a_device_go),
		cmocka_unit_test_setup_teardown(a_device_in_the_mail_goes_with_the_agent, setup_lanes,
						teardown),
		cmocka_unit_test_setup_teardown(polling_goes_on_after_work, setup_polling, teardown),
	};

	return cmocka_run_group_tests(tests, start, NULL);
}

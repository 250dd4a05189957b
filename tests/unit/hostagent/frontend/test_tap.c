/* SPDX-License-Identifier: Apache-2.0 */
/* The TAP front-end in a network namespace of its own; skipped where none can be made. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
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
#include <unistd.h>
#include <cmocka.h>

#include "hostagent/frontend/frontend.h"

#define HDR 12

static struct event_base *base;
static struct fe *fe;
static char said[4096];
static struct fe_queue queues[8];
static int raw = -1;
static struct vqt_chain c;

static void say(const char *text)
{
	if (strlen(said) + strlen(text) < sizeof(said))
		strcat(said, text);
}

static void up_attached(void *arg, const struct fe_queue *q, unsigned n)
{
	(void)arg;
	memcpy(queues, q, n * sizeof(*q));
	say("attached; ");
}
static void up_features(void *arg, uint64_t f)
{
	char text[32];

	(void)arg;
	snprintf(text, sizeof(text), "features %llx; ", (unsigned long long)f);
	say(text);
}
static void up_start(void *arg, unsigned q)
{
	(void)arg;
	say(q ? "start 1; " : "start 0; ");
}
static void up_kick(void *arg, unsigned q)
{
	(void)arg;
	say(q ? "kick 1; " : "kick 0; ");
}
static void up_stop(void *arg, unsigned q)
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
}

static const struct fe_up up = {up_attached, up_features, up_start, up_stop,
				up_kick,     up_broken,	  up_gone,  NULL};
static const struct fe_config cfg = {.name = "og0",
				     .kind = FE_NET,
				     .nqueues = 2,
				     .queue_size = 256,
				     .features = 1ull << 32 | 1ull << 15 | 1 | 1ull << 11 | 1ull << 5,
				     .mac = {2, 0, 0, 0, 0, 9},
				     .mtu = 1400};

static void pump(void)
{
	for (int i = 0; i < 20; i++)
		event_base_loop(base, EVLOOP_NONBLOCK);
}

static int setup(void **state)
{
	struct sockaddr_ll ll = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};

	(void)state;
	base = event_base_new();
	said[0] = '\0';
	if (fe_create(&fe_tap, &fe, base, &cfg, &up, NULL))
		return -1;
	pump();
	raw = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, htons(ETH_P_ALL));
	ll.sll_ifindex = (int)if_nametoindex("og0");
	return bind(raw, (struct sockaddr *)&ll, sizeof(ll));
}

static int teardown(void **state)
{
	(void)state;
	close(raw);
	fe_destroy(fe);
	event_base_free(base);
	return if_nametoindex("og0") ? -1 : 0;
}

/* Frames of our own type only: the kernel speaks on the interface too. */
static uint8_t *frame(unsigned tag, unsigned len)
{
	static uint8_t f[70000];

	memset(f, (int)tag, len);
	memset(f, 0xff, 6);
	memcpy(f + 6, "\2\0\0\0\0\1", 6);
	f[12] = 0x88;
	f[13] = 0xb5;
	return f;
}

static int pop(unsigned q)
{
	return queues[q].ops->pop(queues[q].ring, &c);
}

/* Pop until a frame of our type; 0: none. */
static int pop_ours(void)
{
	int got;

	while ((got = pop(1)) == 1) {
		const uint8_t *p = c.iov[0].iov_base;

		if (p[HDR + 12] == 0x88 && p[HDR + 13] == 0xb5)
			break;
		queues[1].ops->push(queues[1].ring, &c, 0);
	}
	return got;
}

static void up__says_what_it_is(void **state)
{
	struct ifreq ifr = {.ifr_name = "og0"};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	(void)state;
	/* MRG_RXBUF costs nothing: a chain holds any frame. */
	assert_memory_equal(said, "attached; features 100008821; start 0; start 1; ", 48);
	assert_int_equal(ioctl(fd, SIOCGIFHWADDR, &ifr), 0);
	assert_memory_equal(ifr.ifr_hwaddr.sa_data, cfg.mac, 6);
	assert_int_equal(ioctl(fd, SIOCGIFMTU, &ifr), 0);
	assert_int_equal(ifr.ifr_mtu, 1400);
	assert_int_equal(ioctl(fd, SIOCGIFFLAGS, &ifr), 0);
	assert_true(ifr.ifr_flags & IFF_UP);
	close(fd);
}

static void transmit__pops_frames_in_order_and_kicks(void **state)
{
	(void)state;
	while (pop(1) == 1)
		queues[1].ops->push(queues[1].ring, &c, 0);
	pump();
	said[0] = '\0';
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(send(raw, frame(i, 100 + i), 100 + i, 0), 100 + i);
	pump();
	assert_non_null(strstr(said, "kick 1; "));
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(pop_ours(), 1);
		assert_int_equal(c.nout, 1);
		assert_int_equal(c.nin, 0);
		assert_int_equal(c.out_len, HDR + 100 + i);
		assert_int_equal(((uint8_t *)c.iov[0].iov_base)[HDR + 99], i);
	}
	/* Put back and taken again in the same order. */
	queues[1].ops->unpop(queues[1].ring, 3);
	for (unsigned i = 2; i < 5; i++) {
		assert_int_equal(pop(1), 1);
		assert_int_equal(c.out_len, HDR + 100 + i);
	}
	assert_int_equal(pop_ours(), 0);
}

static void transmit__without_slots_waits_and_kicks_when_one_is_free(void **state)
{
	struct vqt_chain first;
	int got = 0;

	(void)state;
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(send(raw, frame(i, 100), 100, 0), 100);
	while (pop(1) == 1) {
		if (!got++)
			first = c;
	}
	assert_int_equal(got, 64);
	pump();
	said[0] = '\0';
	pump();
	assert_string_equal(said, "");
	queues[1].ops->push(queues[1].ring, &first, 0);
	pump();
	assert_string_equal(said, "kick 1; ");
	assert_int_equal(pop(1), 1);
}

static void receive__writes_on_flush(void **state)
{
	uint8_t got[2000];
	ssize_t n;
	int slots = 0, seen = 0;

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(pop(0), 1);
		assert_int_equal(c.nin, 1);
		assert_true(c.in_len >= 65562);
		memset(c.iov[0].iov_base, 0, HDR);
		memcpy((uint8_t *)c.iov[0].iov_base + HDR, frame(i + 1, 200), 200);
		queues[0].ops->push(queues[0].ring, &c, HDR + 200);
	}
	queues[0].ops->flush(queues[0].ring);
	while ((n = recv(raw, got, sizeof(got), 0)) > 0) {
		if (n == 200 && got[12] == 0x88 && got[13] == 0xb5)
			assert_int_equal(got[100], ++seen);
	}
	assert_int_equal(seen, 3);
	/* All slots taken: one given back by a flush is told. */
	while (pop(0) == 1)
		slots++;
	assert_int_equal(slots, 64);
	queues[0].ops->unpop(queues[0].ring, 1);
	assert_int_equal(pop(0), 1);
	assert_int_equal(pop(0), 0);
	pump();
	said[0] = '\0';
	queues[0].ops->push(queues[0].ring, &c, 0);
	queues[0].ops->flush(queues[0].ring);
	pump();
	assert_string_equal(said, "kick 0; ");
	/* What was never popped is ignored. */
	c.token = 9999;
	queues[0].ops->push(queues[0].ring, &c, 1);
}

/* Each pair is a queue of the interface: what any of them writes arrives, and flows are spread over all. */
static void pairs__are_queues_of_one_interface(void **state)
{
	struct fe_config many = cfg;
	struct sockaddr_ll ll = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
	struct fe *four = NULL;
	unsigned seen[4] = {0}, used = 0;
	uint8_t got[200];
	ssize_t n;
	int fd;

	(void)state;
	many.name = "og4";
	many.nqueues = 8;
	assert_int_equal(fe_create(&fe_tap, &four, base, &many, &up, NULL), 0);
	pump();
	assert_non_null(strstr(said, "attached; "));
	fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, htons(ETH_P_ALL));
	ll.sll_ifindex = (int)if_nametoindex("og4");
	assert_int_equal(bind(fd, (struct sockaddr *)&ll, sizeof(ll)), 0);
	for (unsigned q = 0; q < 8; q += 2) {
		assert_int_equal(pop(q), 1);
		memset(c.iov[0].iov_base, 0, HDR);
		memcpy((uint8_t *)c.iov[0].iov_base + HDR, frame(q + 1, 200), 200);
		queues[q].ops->push(queues[q].ring, &c, HDR + 200);
		queues[q].ops->flush(queues[q].ring);
	}
	while ((n = recv(fd, got, sizeof(got), 0)) > 0)
		used += n == 200 && got[12] == 0x88 && got[13] == 0xb5;
	assert_int_equal(used, 4);
	/* IPv4 and UDP of many flows. */
	for (unsigned i = 0; i < 200; i++) {
		uint8_t *f = frame(0, 60);

		f[12] = 8;
		f[13] = 0;
		memcpy(f + 14, "\x45\0\0\x2e\0\0\0\0\x40\x11\0\0\x0a\0\0\1\x0a\0\0\2", 20);
		f[34] = (uint8_t)i;
		f[35] = (uint8_t)(i * 7);
		assert_int_equal(send(fd, f, 60, 0), 60);
	}
	for (unsigned p = 0; p < 4; p++) {
		while (pop(2 * p + 1) == 1) {
			seen[p]++;
			queues[2 * p + 1].ops->push(queues[2 * p + 1].ring, &c, 0);
		}
	}
	used = 0;
	for (unsigned p = 0; p < 4; p++)
		used += seen[p] > 5;
	assert_true(used > 1);
	close(fd);
	fe_destroy(four);
	assert_int_equal(if_nametoindex("og4"), 0);
}

static void create__refuses(void **state)
{
	struct fe_config bad = cfg;
	struct fe *twin = NULL;

	(void)state;
	assert_int_equal(fe_create(&fe_tap, &twin, base, &cfg, &up, NULL), -EEXIST);
	bad.name = "a-name-longer-than-15";
	assert_int_equal(fe_create(&fe_tap, &twin, base, &bad, &up, NULL), -ENAMETOOLONG);
	bad = cfg;
	bad.kind = FE_BLK;
	assert_int_equal(fe_create(&fe_tap, &twin, base, &bad, &up, NULL), -EINVAL);
	bad = cfg;
	bad.nqueues = 3;
	assert_int_equal(fe_create(&fe_tap, &twin, base, &bad, &up, NULL), -EINVAL);
	bad.nqueues = FE_QUEUES_MAX + 2;
	assert_int_equal(fe_create(&fe_tap, &twin, base, &bad, &up, NULL), -EINVAL);
}

static const char *why_not;

static void loop__changes_and_the_interface_stays(void **state)
{
	struct event_base *old = base;
	unsigned index = if_nametoindex("og0");

	(void)state;
	while (pop(1) == 1)
		queues[1].ops->push(queues[1].ring, &c, 0);
	pump();
	fe_leave(fe);
	assert_int_equal(event_base_get_num_events(old, EVENT_BASE_COUNT_ADDED | EVENT_BASE_COUNT_ACTIVE), 0);
	/* Nobody hears of this one. */
	assert_int_equal(send(raw, frame(7, 100), 100, 0), 100);
	base = event_base_new();
	assert_int_equal(fe_join(fe, base), 0);
	event_base_free(old);
	said[0] = '\0';
	pump();
	assert_non_null(strstr(said, "kick 1; "));
	assert_null(strstr(said, "attached"));
	assert_int_equal(pop_ours(), 1);
	assert_int_equal(c.out_len, HDR + 100);
	queues[1].ops->push(queues[1].ring, &c, 0);
	assert_int_equal(if_nametoindex("og0"), index);
}

static void needs__a_namespace_and_tun(void **state)
{
	(void)state;
	print_message("skipped: %s\n", why_not);
	skip();
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(up__says_what_it_is),
		T(transmit__pops_frames_in_order_and_kicks),
		T(transmit__without_slots_waits_and_kicks_when_one_is_free),
		T(receive__writes_on_flush),
		T(pairs__are_queues_of_one_interface),
		T(loop__changes_and_the_interface_stays),
		T(create__refuses),
	};

	const struct CMUnitTest instead[] = {cmocka_unit_test(needs__a_namespace_and_tun)};

	if (unshare(CLONE_NEWNET) && unshare(CLONE_NEWUSER | CLONE_NEWNET))
		why_not = "no network namespace can be made here";
	else if (access("/dev/net/tun", R_OK | W_OK))
		why_not = "no /dev/net/tun here";
	if (why_not)
		return cmocka_run_group_tests(instead, NULL, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

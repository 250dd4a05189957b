/* SPDX-License-Identifier: Apache-2.0 */
/* Two links over the loopback interface: real sockets, no root. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <errno.h>
#include <poll.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <cmocka.h>

#include "fabric/base/clock.h"
#include "fabric/base/rng.h"
#include "fabric/link/link_udp.h"

#define BUFS 16

struct pair {
	struct buf_pool *pool;
	struct link *a, *b;
	struct link_addr to_a, to_b;
};

static void pair_open(struct pair *p, const char *addr, uint32_t buf_size)
{
	struct link_addr bind;
	uint32_t max;
	int err;

	p->pool = buf_pool_create(BUFS, buf_size);
	assert_int_equal(link_addr_parse(&bind, addr, 0), 0);
	p->a = link_udp_create(&bind, p->pool, &err);
	assert_non_null(p->a);
	p->b = link_udp_create(&bind, p->pool, &err);
	assert_non_null(p->b);
	p->a->ops->local(p->a, &p->to_a, &max);
	assert_int_not_equal(p->to_a.port, 0);
	assert_in_range(max, 1452, 65507);
	p->b->ops->local(p->b, &p->to_b, &max);
}

static void pair_close(struct pair *p)
{
	p->a->ops->destroy(p->a);
	p->b->ops->destroy(p->b);
	assert_int_equal(buf_pool_available(p->pool), BUFS);
	buf_pool_destroy(p->pool);
}

/* Waits for something, at most 5 s. */
static int recv_some(struct link *l, struct link_rx *rx, int max)
{
	struct pollfd pfd = {.fd = l->ops->fd(l), .events = POLLIN};

	if (!l->ops->deadline || l->ops->deadline(l) != 0)
		assert_int_equal(poll(&pfd, 1, 60000), 1);
	return l->ops->recv(l, rx, max);
}

/* Sends entries of the given lengths, cut from one memory, gap bytes apart; checks what comes out. */
static void round_trip(struct pair *p, const uint32_t *lens, int n, uint32_t gap, int max)
{
	static uint8_t bytes[1 << 20];
	struct link_tx tx[256];
	struct link_rx rx[256];
	uint32_t at = 0;
	struct rng r;
	int seen = 0;

	rng_init(&r, (uint64_t)n);
	for (int i = 0; i < n; i++) {
		tx[i] = (struct link_tx){.data = bytes + at, .len = lens[i], .to = p->to_b};
		for (uint32_t j = 0; j < lens[i]; j++)
			bytes[at++] = (uint8_t)rng_u64(&r);
		at += gap;
	}
	assert_int_equal(p->a->ops->send(p->a, tx, n), n);
	while (seen < n) {
		int got = recv_some(p->b, rx, max);

		assert_true(got > 0);
		for (int i = 0; i < got; i++, seen++) {
			assert_int_equal(rx[i].len, lens[seen]);
			assert_memory_equal(rx[i].data, tx[seen].data, lens[seen]);
			assert_true(link_addr_equal(&rx[i].from, &p->to_a));
			assert_false(rx[i].ce);
			buf_put(rx[i].buf);
		}
	}
	assert_int_equal(p->b->ops->recv(p->b, rx, max), 0);
	assert_true(p->b->ops->deadline(p->b) == UINT64_MAX);
}

static void train_shapes(const char *addr, uint32_t gap, int max)
{
	struct pair p;
	uint32_t lens[256];
	struct rng r;

	pair_open(&p, addr, LINK_UDP_BUF_SIZE);
	for (int i = 0; i < 256; i++)
		lens[i] = 1376;
	round_trip(&p, lens, 200, gap, max);
	lens[46] = 100; /* a short one in the middle, and at the end */
	lens[99] = 1;
	round_trip(&p, lens, 100, gap, max);
	lens[10] = 1377; /* a longer one begins a new train */
	round_trip(&p, lens, 50, gap, max);
	lens[0] = 64;
	round_trip(&p, lens, 1, gap, max);
	rng_init(&r, 5);
	for (int round = 0; round < 20; round++) {
		int n = 1 + (int)rng_below(&r, 100);

		for (int i = 0; i < n; i++)
			lens[i] = rng_below(&r, 3) ? 1376 : 1 + (uint32_t)rng_below(&r, 4000);
		round_trip(&p, lens, n, gap, max);
	}
	pair_close(&p);
}

static void link_udp__trains_keep_bytes_lengths_and_order(void **state)
{
	(void)state;
	train_shapes("127.0.0.1", 0, 256);
	train_shapes("127.0.0.1", 24, 256); /* memory in pieces */
	train_shapes("127.0.0.1", 0, 7);    /* rx smaller than a train */
	train_shapes("127.0.0.1", 0, 1);
	train_shapes("[::1]", 0, 64);
}

/* A socket without an address of its own has the NIC that leads to the peer. */
static void link_udp__nic_towards_a_peer(void **state)
{
	struct buf_pool *pool = buf_pool_create(BUFS, LINK_UDP_BUF_SIZE);
	struct link_addr any = {.ip = {[10] = 0xff, [11] = 0xff}}, peer;
	struct link_udp_info info;
	struct link *l;
	int err;

	(void)state;
	l = link_udp_create(&any, pool, &err);
	assert_non_null(l);
	link_udp_get_info(l, NULL, &info);
	assert_string_equal(info.ifname, "");
	assert_int_equal(link_addr_parse(&peer, "127.0.0.1:4793", 0), 0);
	link_udp_get_info(l, &peer, &info);
	assert_string_equal(info.ifname, "lo");
	assert_true(info.nic_gro); /* the loopback has it since it exists, and it cannot be taken away */
	l->ops->destroy(l);
	buf_pool_destroy(pool);
}

static void link_udp__a_train_is_one_call(void **state)
{
	struct link_udp_info info;
	uint32_t lens[47];
	struct pair p;

	(void)state;
	pair_open(&p, "127.0.0.1", LINK_UDP_BUF_SIZE);
	link_udp_get_info(p.a, NULL, &info);
	assert_string_equal(info.ifname, "lo");
	assert_true(info.rcvbuf > 0 && info.sndbuf > 0);
	for (int i = 0; i < 47; i++)
		lens[i] = 1376;
	round_trip(&p, lens, 47, 0, 64);
	assert_int_equal(p.a->counters[LINK_C_tx_packets], 47);
	assert_int_equal(p.a->counters[LINK_C_tx_bytes], 47 * 1376);
	assert_int_equal(p.b->counters[LINK_C_rx_packets], 47);
	assert_int_equal(p.b->counters[LINK_C_rx_bytes], 47 * 1376);
	if (info.gso)
		assert_int_equal(p.a->counters[LINK_C_tx_calls], 1);
	/* One call that got it (and found the socket empty), one that found nothing. */
	if (info.gro && info.gso)
		assert_int_equal(p.b->counters[LINK_C_rx_calls], 2);
	pair_close(&p);
}

static void link_udp__small_datagrams_share_a_buffer(void **state)
{
	struct link_rx rx[8];
	struct pair p;
	struct link_tx tx = {.data = (const uint8_t *)"x", .len = 1};

	(void)state;
	pair_open(&p, "127.0.0.1", LINK_UDP_BUF_SIZE);
	tx.to = p.to_b;
	for (int i = 0; i < 8; i++) {
		p.a->ops->send(p.a, &tx, 1);
		assert_int_equal(recv_some(p.b, rx + i, 1), 1);
	}
	for (int i = 0; i < 8; i++) {
		assert_ptr_equal(rx[i].buf, rx[0].buf);
		assert_int_equal(rx[i].data[0], 'x');
		assert_true(i == 0 || rx[i].data > rx[i - 1].data);
	}
	for (int i = 0; i < 8; i++)
		buf_put(rx[i].buf);
	/* All are back: the same warm memory is used again. */
	p.a->ops->send(p.a, &tx, 1);
	assert_int_equal(recv_some(p.b, rx + 1, 1), 1);
	assert_ptr_equal(rx[1].data, rx[1].buf->base);
	buf_put(rx[1].buf);
	pair_close(&p);
}

static void link_udp__empty_pool_drops_with_a_name(void **state)
{
	struct buf *held[BUFS];
	struct link_rx rx[8];
	struct link_tx tx[5];
	struct pair p;
	int n = 0;

	(void)state;
	pair_open(&p, "127.0.0.1", LINK_UDP_RX_ROOM);
	while (n < BUFS && (held[n] = buf_get(p.pool)))
		n++;
	for (int i = 0; i < 5; i++)
		tx[i] = (struct link_tx){.data = (const uint8_t *)"abcde", .len = 5, .to = p.to_b};
	p.a->ops->send(p.a, tx, 5);
	assert_int_equal(recv_some(p.b, rx, 8), 0);
	assert_int_equal(p.b->counters[LINK_C_drop_rx_nobuf], 5);
	while (n)
		buf_put(held[--n]);
	p.a->ops->send(p.a, tx, 2);
	assert_int_equal(recv_some(p.b, rx, 8), 2);
	buf_put(rx[0].buf);
	buf_put(rx[1].buf);
	pair_close(&p);
}

static void link_udp__errors_are_counted_not_fatal(void **state)
{
	static uint8_t big[65536];
	struct link_tx tx[3];
	struct link_rx rx[4];
	struct pair p;

	(void)state;
	pair_open(&p, "127.0.0.1", LINK_UDP_RX_ROOM);
	for (int i = 0; i < 3; i++)
		tx[i] = (struct link_tx){.data = big, .len = 100, .to = p.to_b};
	tx[0].len = 65508; /* no UDP datagram is that long */
	memset(tx[1].to.ip, 0, 16);
	tx[1].to.ip[15] = 1; /* [::1] from an IPv4 socket */
	assert_int_equal(p.a->ops->send(p.a, tx, 3), 1);
	assert_int_equal(p.a->counters[LINK_C_drop_tx_error], 1);
	assert_int_equal(p.a->counters[LINK_C_drop_tx_noroute], 1);
	assert_int_equal(recv_some(p.b, rx, 4), 1);
	buf_put(rx[0].buf);
	/* A peer that is gone: the kernel's ICMP must not break the link. */
	p.b->ops->destroy(p.b);
	assert_int_equal(p.a->ops->send(p.a, tx + 2, 1), 1);
	assert_int_equal(p.a->ops->recv(p.a, rx, 4), 0);
	assert_int_equal(p.a->ops->send(p.a, tx + 2, 1), 1);
	p.a->ops->destroy(p.a);
	buf_pool_destroy(p.pool);
}

static void link_udp__congestion_mark_and_empty_datagram(void **state)
{
	struct sockaddr_in to = {.sin_family = AF_INET};
	struct link_rx rx[4];
	struct pair p;
	int s = socket(AF_INET, SOCK_DGRAM, 0), tos = 3;

	(void)state;
	pair_open(&p, "127.0.0.1", LINK_UDP_RX_ROOM);
	to.sin_port = htons(p.to_b.port);
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	setsockopt(s, IPPROTO_IP, IP_TOS, &tos, sizeof(tos));
	assert_int_equal(sendto(s, "", 0, 0, (struct sockaddr *)&to, sizeof(to)), 0);
	assert_int_equal(recv_some(p.b, rx, 4), 0);
	assert_int_equal(p.b->counters[LINK_C_drop_rx_malformed], 1);
	assert_int_equal(sendto(s, "ce", 2, 0, (struct sockaddr *)&to, sizeof(to)), 2);
	assert_int_equal(recv_some(p.b, rx, 4), 1);
	assert_true(rx[0].ce);
	buf_put(rx[0].buf);
	pair_close(&p);
}

/* The kernel begins to stamp a moment after it was asked to: until then a datagram seems to have come when it
 * is taken. */
static void link_udp__says_how_long_a_datagram_lay(void **state)
{
	struct pair p;
	struct link_rx rx[1];
	struct link_tx tx = {.data = (const uint8_t *)"late", .len = 4};
	uint64_t lay = 0, began = clock_now_ns();

	(void)state;
	pair_open(&p, "127.0.0.1", LINK_UDP_BUF_SIZE);
	tx.to = p.to_b;
	while (lay < NSEC_PER_MSEC && clock_now_ns() - began < 60 * NSEC_PER_SEC) {
		struct pollfd pfd = {.fd = p.b->ops->fd(p.b), .events = POLLIN};
		uint64_t sent = clock_now_ns(), there;

		assert_int_equal(p.a->ops->send(p.a, &tx, 1), 1);
		assert_int_equal(poll(&pfd, 1, 60000), 1);
		there = clock_now_ns();
		while (clock_now_ns() - there < 2 * NSEC_PER_MSEC)
			;
		assert_int_equal(p.b->ops->recv(p.b, rx, 1), 1);
		lay = rx[0].lay;
		assert_true(lay <= clock_now_ns() - sent + NSEC_PER_MSEC); /* another clock */
		buf_put(rx[0].buf);
	}
	assert_true(lay >= NSEC_PER_MSEC);
	pair_close(&p);
}

static void link_udp__create_says_why_not(void **state)
{
	struct buf_pool *small = buf_pool_create(1, 2048), *pool = buf_pool_create(1, LINK_UDP_RX_ROOM);
	struct link_addr a;
	struct link *l;
	uint32_t max;
	int err = 0;

	(void)state;
	link_addr_parse(&a, "127.0.0.1", 0);
	assert_null(link_udp_create(&a, small, &err));
	assert_int_equal(err, -EINVAL);
	l = link_udp_create(&a, pool, &err);
	assert_non_null(l);
	l->ops->local(l, &a, &max);
	assert_null(link_udp_create(&a, pool, &err));
	assert_int_equal(err, -EADDRINUSE);
	link_addr_parse(&a, "192.0.2.1", 0);
	assert_null(link_udp_create(&a, pool, &err));
	assert_int_equal(err, -EADDRNOTAVAIL);
	l->ops->destroy(l);
	buf_pool_destroy(small);
	buf_pool_destroy(pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(link_udp__trains_keep_bytes_lengths_and_order),
		cmocka_unit_test(link_udp__a_train_is_one_call),
		cmocka_unit_test(link_udp__nic_towards_a_peer),
		cmocka_unit_test(link_udp__small_datagrams_share_a_buffer),
		cmocka_unit_test(link_udp__empty_pool_drops_with_a_name),
		cmocka_unit_test(link_udp__errors_are_counted_not_fatal),
		cmocka_unit_test(link_udp__congestion_mark_and_empty_datagram),
		cmocka_unit_test(link_udp__says_how_long_a_datagram_lay),
		cmocka_unit_test(link_udp__create_says_why_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fabric/base/clock.h"
#include "fabric/ep/ep.h"
#include "fabric/link/link_udp.h"
#include "proto/wire/wire.h"
#include "tests/bench/pump/pump.h"

#define RX_BUFFERS 64
#define SPI_SENDER 1u /* names the path at that end */
#define SPI_RECVER 2u

static uint8_t message[PUMP_MESSAGE];

struct flow {
	struct pump *p;
	struct ep *ep;
	struct buf_pool *pool;
	struct ep_session *s;
	uint64_t now;
	bool room;
};

__attribute__((noreturn)) static void die(const char *what, int err)
{
	fprintf(stderr, "pump: %s: %s\n", what, strerror(-err));
	exit(1);
}

static void on_record(void *ctx, enum rt_class cls, uint32_t psn, const struct rt_rec *rec,
		      const uint8_t *data, struct buf *owner)
{
	struct flow *f = ctx;

	(void)cls, (void)psn, (void)owner;
	/* A reader copies, as recv() does. */
	memcpy(message + rec->offset % (PUMP_MESSAGE / 2), data, rec->len);
	pump_count(f->p, rec->len, f->now);
}

static void on_settled(void *ctx, enum rt_class cls, uint32_t base)
{
	(void)ctx, (void)cls, (void)base;
}

static void on_writable(void *ctx, enum rt_class cls)
{
	struct flow *f = ctx;

	(void)cls;
	f->room = true;
}

static void open_flow(struct flow *f)
{
	static const struct rt_ops ops = {
		.record = on_record, .settled = on_settled, .writable = on_writable};
	struct pump *p = f->p;
	struct rt_cfg c = {.ops = &ops,
			   .ctx = f,
			   .aead = p->aead,
			   .chunk = RT_CHUNK_DEFAULT,
			   .active = p->sender,
			   .delay_spare_ns = RT_SPARE_SLEEPING_NS};
	struct rt_path_cfg path = {.tx_spi = p->sender ? SPI_RECVER : SPI_SENDER,
				   .rx_spi = p->sender ? SPI_SENDER : SPI_RECVER};
	struct link_addr own;
	struct link *l;
	struct rt *rt;
	int err = 0;

	memset(p->sender ? path.tx_key : path.rx_key, 1, AEAD_KEY_LEN);
	memset(p->sender ? path.rx_key : path.tx_key, 2, AEAD_KEY_LEN);
	f->pool = buf_pool_create(RX_BUFFERS, LINK_UDP_BUF_SIZE);
	f->ep = ep_create(1);
	if (!f->pool || !f->ep)
		die("memory", -12);
	l = link_udp_create(&p->own, f->pool, &err);
	if (!l)
		die("socket", err);
	/* As the daemons do. */
	ep_set_clock(f->ep, clock_now_ns);
	l->ops->local(l, &own, &c.chunk_max);
	c.chunk_max -= WIRE_HDR_LEN + p->aead->tag_len;
	ep_link_add(f->ep, l);
	rt = rt_create(&c, f->now, &err);
	if (!rt)
		die("rt", err);
	f->s = ep_session_add(f->ep, rt, f);
	if (!f->s)
		die("session", -12);
	err = ep_session_path(f->s, 0, 0, &path, p->sender ? &p->peer : NULL, f->now);
	if (err)
		die("path", err);
}

static void fill(struct flow *f)
{
	struct rt *rt = ep_session_rt(f->s);
	const struct iovec iov = {message, sizeof(message)};
	struct rt_rec rec = {.total = sizeof(message)};

	while (f->room &&
	       rt_send(rt, f->p->net ? RT_NET : RT_DATA, RT_REL_BOUNDED, &rec, &iov, 1, f->now) == 0)
		ep_session_touch(f->s);
	f->room = false;
}

static void nap(struct flow *f)
{
	struct link *l = ep_link(f->ep, 0);
	struct pollfd p = {l->ops->fd(l), POLLIN, 0};
	uint64_t due = ep_deadline(f->ep), now = clock_now_ns(), most = now + 100 * NSEC_PER_MSEC;
	struct timespec t;

	if (due <= now)
		return;
	if (due > most)
		due = most;
	t = (struct timespec){0, (long)(due - now)};
	ppoll(&p, 1, &t, NULL);
}

static void report(const struct flow *f)
{
	const struct rt *rt = ep_session_rt(f->s);
	const uint64_t *c = rt_counters(rt);
	struct rt_path_info i;

	rt_path_info(rt, 0, &i);
	printf("{\"rtt_us\":%.0f,\"min_rtt_us\":%.0f,\"sent_again\":%llu,\"sent\":%llu,\"given_up\":%llu}\n",
	       (double)i.srtt_ns / 1e3, (double)i.min_rtt_ns / 1e3,
	       (unsigned long long)c[RT_C_tx_retransmits], (unsigned long long)c[RT_C_tx_packets],
	       (unsigned long long)c[RT_C_tx_abandoned]);
}

void pump_rt(struct pump *p)
{
	struct flow f = {.p = p, .now = clock_now_ns(), .room = true};

	open_flow(&f);
	if (!p->sender) {
		puts("ready");
		fflush(stdout);
	}
	while (!pump_done(p, f.now) && !rt_lost(ep_session_rt(f.s))) {
		int n = ep_poll(f.ep, &f.now);

		if (n < 0)
			die("link", n);
		if (p->sender)
			fill(&f);
		ep_flush(f.ep, false, f.now);
		if (!n)
			nap(&f);
		f.now = clock_now_ns();
	}
	if (p->sender)
		report(&f);
	ep_destroy(f.ep);
	buf_pool_destroy(f.pool);
}

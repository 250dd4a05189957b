/* SPDX-License-Identifier: Apache-2.0 */
#include "fabric/link/link_loop.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fabric/base/counter.h"

struct loop_item {
	struct buf *buf;
	uint32_t len;
};

struct link_loop {
	struct link base;
	struct link_loop *peer; /* NULL: gone */
	struct link_addr addr, peer_addr;
	struct buf_pool *pool;
	uint32_t max_payload;
	uint32_t depth;
	uint32_t head, count; /* ring of what waits to be received */
	struct loop_item items[];
};

static void count(struct link_loop *l, enum link_counter c, uint64_t n)
{
	counter_add(&l->base.counters[c], n);
}

static int loop_recv(struct link *link, struct link_rx *rx, int max)
{
	struct link_loop *l = (struct link_loop *)link;
	int n = 0;

	count(l, LINK_C_rx_calls, 1);
	while (n < max && l->count) {
		struct loop_item *it = &l->items[l->head];

		rx[n++] = (struct link_rx){
			.data = it->buf->base, .len = it->len, .buf = it->buf, .from = l->peer_addr};
		count(l, LINK_C_rx_packets, 1);
		count(l, LINK_C_rx_bytes, it->len);
		l->head = (l->head + 1) % l->depth;
		l->count--;
	}
	return n;
}

static bool deliver(struct link_loop *l, const struct link_tx *tx)
{
	struct link_loop *to = l->peer;
	struct loop_item *it;

	if (!to || !link_addr_equal(&tx->to, &to->addr)) {
		count(l, LINK_C_drop_tx_noroute, 1);
		return false;
	}
	if (tx->len == 0 || tx->len > l->max_payload) {
		count(l, LINK_C_drop_tx_error, 1);
		return false;
	}
	if (to->count == to->depth) {
		count(l, LINK_C_drop_tx_full, 1);
		return false;
	}
	it = &to->items[(to->head + to->count) % to->depth];
	it->buf = buf_get(to->pool);
	if (!it->buf) {
		count(to, LINK_C_drop_rx_nobuf, 1);
		return true; /* it left this end */
	}
	memcpy(it->buf->base, tx->data, tx->len);
	it->len = tx->len;
	to->count++;
	return true;
}

static int loop_send(struct link *link, const struct link_tx *tx, int n)
{
	struct link_loop *l = (struct link_loop *)link;
	int taken = 0;

	count(l, LINK_C_tx_calls, 1);
	for (int i = 0; i < n; i++) {
		if (!deliver(l, &tx[i]))
			continue;
		count(l, LINK_C_tx_packets, 1);
		count(l, LINK_C_tx_bytes, tx[i].len);
		taken++;
	}
	return taken;
}

static int loop_fd(struct link *link)
{
	(void)link;
	return -1;
}

static void loop_local(struct link *link, struct link_addr *addr, uint32_t *max_payload)
{
	const struct link_loop *l = (const struct link_loop *)link;

	*addr = l->addr;
	*max_payload = l->max_payload;
}

static void loop_destroy(struct link *link)
{
	struct link_loop *l = (struct link_loop *)link;

	if (l->peer)
		l->peer->peer = NULL;
	for (; l->count; l->count--, l->head = (l->head + 1) % l->depth)
		buf_put(l->items[l->head].buf);
	free(l);
}

static const struct link_ops loop_ops = {
	.recv = loop_recv,
	.send = loop_send,
	.fd = loop_fd,
	.local = loop_local,
	.destroy = loop_destroy,
};

static struct link_loop *make_end(const struct link_loop_cfg *cfg, int i)
{
	struct link_loop *l = calloc(1, sizeof(*l) + cfg->depth * sizeof(l->items[0]));

	if (!l)
		return NULL;
	l->base.ops = &loop_ops;
	l->base.name = "loop";
	l->addr = cfg->end[i].addr;
	l->peer_addr = cfg->end[!i].addr;
	l->pool = cfg->end[i].pool;
	l->depth = cfg->depth;
	l->max_payload = cfg->max_payload;
	return l;
}

int link_loop_create(const struct link_loop_cfg *cfg, struct link *out[2])
{
	struct link_loop *a, *b;

	if (!cfg->depth || !cfg->max_payload || !cfg->end[0].pool || !cfg->end[1].pool)
		return -EINVAL;
	a = make_end(cfg, 0);
	b = make_end(cfg, 1);
	if (!a || !b) {
		free(a);
		free(b);
		return -ENOMEM;
	}
	a->peer = b;
	b->peer = a;
	out[0] = &a->base;
	out[1] = &b->base;
	return 0;
}

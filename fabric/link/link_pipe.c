/* SPDX-License-Identifier: Apache-2.0 */
#include "fabric/link/link_pipe.h"

#include <stdlib.h>
#include <string.h>

#include "fabric/base/counter.h"

struct waiting {
	struct buf *buf;
	uint32_t len;
	struct link_addr from;
};

struct link_pipe {
	struct link base; /* first */
	struct link_pipe_cfg cfg;
	uint32_t first, count;
	struct waiting ring[];
};

static void count(struct link *l, enum link_counter c, uint64_t n)
{
	counter_add(&l->counters[c], n);
}

static int pipe_recv(struct link *l, struct link_rx *rx, int max)
{
	struct link_pipe *p = (struct link_pipe *)l;
	int n = 0;

	for (; n < max && p->count; n++) {
		struct waiting *w = &p->ring[p->first];

		rx[n] = (struct link_rx){.data = w->buf->base, .len = w->len, .buf = w->buf, .from = w->from};
		p->first = (p->first + 1) % p->cfg.depth;
		p->count--;
	}
	if (n)
		count(l, LINK_C_rx_calls, 1);
	return n;
}

static int pipe_send(struct link *l, const struct link_tx *tx, int n)
{
	struct link_pipe *p = (struct link_pipe *)l;
	int taken = 0;

	for (int i = 0; i < n; i++) {
		if (!p->cfg.carry(p->cfg.ctx, &tx[i].to, tx[i].data, tx[i].len)) {
			count(l, LINK_C_drop_tx_full, 1);
			continue;
		}
		count(l, LINK_C_tx_packets, 1);
		count(l, LINK_C_tx_bytes, tx[i].len);
		taken++;
	}
	count(l, LINK_C_tx_calls, 1);
	return taken;
}

static int pipe_fd(struct link *l)
{
	(void)l;
	return -1;
}

static void pipe_local(struct link *l, struct link_addr *addr, uint32_t *max_payload)
{
	const struct link_pipe *p = (const struct link_pipe *)l;

	memset(addr, 0, sizeof(*addr));
	*max_payload = p->cfg.max_payload;
}

static void pipe_destroy(struct link *l)
{
	struct link_pipe *p = (struct link_pipe *)l;

	for (; p->count; p->count--) {
		buf_put(p->ring[p->first].buf);
		p->first = (p->first + 1) % p->cfg.depth;
	}
	free(p);
}

static const struct link_ops pipe_ops = {
	.recv = pipe_recv,
	.send = pipe_send,
	.fd = pipe_fd,
	.local = pipe_local,
	.destroy = pipe_destroy,
};

struct link *link_pipe_create(const struct link_pipe_cfg *cfg)
{
	struct link_pipe *p = calloc(1, sizeof(*p) + cfg->depth * sizeof(p->ring[0]));

	if (!p)
		return NULL;
	p->base.ops = &pipe_ops;
	p->base.name = "pipe";
	p->cfg = *cfg;
	return &p->base;
}

void link_pipe_push(struct link *l, const struct link_addr *from, const uint8_t *data, uint32_t len)
{
	struct link_pipe *p = (struct link_pipe *)l;
	struct waiting *w;
	struct buf *b;

	if (!len || len > p->cfg.max_payload) {
		count(l, LINK_C_drop_rx_truncated, 1);
		return;
	}
	b = p->count < p->cfg.depth ? buf_get(p->cfg.pool) : NULL;
	if (!b) {
		count(l, LINK_C_drop_rx_nobuf, 1);
		return;
	}
	memcpy(b->base, data, len);
	w = &p->ring[(p->first + p->count++) % p->cfg.depth];
	*w = (struct waiting){.buf = b, .len = len, .from = *from};
	count(l, LINK_C_rx_packets, 1);
	count(l, LINK_C_rx_bytes, len);
}

/* 100::/64, the discard prefix (RFC 6666): never a real peer's. */
void link_pipe_address(struct link_addr *a, uint64_t id)
{
	memset(a, 0, sizeof(*a));
	a->ip[0] = 1;
	for (int i = 0; i < 8; i++)
		a->ip[8 + i] = (uint8_t)(id >> (56 - 8 * i));
}

uint64_t link_pipe_id(const struct link_addr *a)
{
	uint64_t id = 0;

	for (int i = 0; i < 8; i++)
		id = id << 8 | a->ip[8 + i];
	return a->ip[0] == 1 ? id : 0;
}

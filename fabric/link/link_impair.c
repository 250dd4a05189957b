/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Held datagrams stand in one list per direction, sorted by the time they are due. Almost all
 * arrive in that order, so that insertion looks from the tail.
 */
#include "fabric/link/link_impair.h"

#include <stdlib.h>
#include <string.h>

#include "fabric/base/counter.h"
#include "fabric/base/list.h"
#include "fabric/base/rng.h"

#define BURST 64

struct held {
	struct list at;
	uint64_t due;
	struct link_rx d; /* of a datagram to send, `from` is where to */
};

struct side {
	struct list queue;
	struct link_impair_stats stats;
};

struct link_impair {
	struct link base;
	struct link *inner;
	struct link_impair_cfg cfg;
	struct rng rng;
	uint64_t now;
	struct buf_pool *copies;
	struct list unused;
	struct side rx, tx;
	struct link_rx in[BURST];
	struct link_tx out[BURST];
	struct buf *out_buf[BURST]; /* of out[i], when it is a copy */
	int nout;
	struct held held[IMPAIR_HELD];
};

static void count(struct link_impair *m, enum link_counter c, uint64_t n)
{
	counter_add(&m->base.counters[c], n);
}

static bool chance(struct link_impair *m, uint32_t ppm)
{
	return ppm && rng_chance(&m->rng, ppm);
}

/* How long this datagram is held back; 0: not at all. */
static uint64_t draw_delay(struct link_impair *m, struct side *s)
{
	uint64_t delay = m->cfg.delay_ns;

	if (m->cfg.jitter_ns)
		delay += rng_below(&m->rng, m->cfg.jitter_ns);
	if (delay)
		s->stats.delayed++;
	if (chance(m, m->cfg.reorder_ppm)) {
		delay += 1 + rng_below(&m->rng, IMPAIR_REORDER_NS);
		s->stats.reordered++;
	}
	return delay;
}

/* A copy of our own, with one reference; NULL: none is left. */
static struct buf *copy(struct link_impair *m, const uint8_t *data, uint32_t len)
{
	struct buf *b = len <= IMPAIR_DATAGRAM ? buf_get(m->copies) : NULL;

	if (b)
		memcpy(b->base, data, len);
	return b;
}

static void flip_bit(struct link_impair *m, uint8_t *data, uint32_t len)
{
	uint64_t bit = rng_below(&m->rng, 8ull * len);

	data[bit / 8] ^= (uint8_t)(1u << bit % 8);
}

/* Takes over the reference in d. False: the table is full, the reference is still the caller's. */
static bool hold(struct link_impair *m, struct side *s, uint64_t due, const struct link_rx *d)
{
	struct list *n = list_pop(&m->unused), *after = s->queue.prev;
	struct held *h;

	if (!n)
		return false;
	h = container_of(n, struct held, at);
	while (after != &s->queue && container_of(after, struct held, at)->due > due)
		after = after->prev;
	h->due = due;
	h->d = *d;
	list_add_between(n, after, after->next);
	return true;
}

/* The next one that is due, its reference with it. */
static bool release(struct link_impair *m, struct side *s, struct link_rx *d)
{
	struct held *h = container_of(s->queue.next, struct held, at);

	if (list_empty(&s->queue) || h->due > m->now)
		return false;
	list_del(&h->at);
	*d = h->d;
	list_add_head(&m->unused, &h->at);
	return true;
}

static void flush_out(struct link_impair *m)
{
	if (!m->nout)
		return;
	m->inner->ops->send(m->inner, m->out, m->nout);
	for (int i = 0; i < m->nout; i++)
		if (m->out_buf[i])
			buf_put(m->out_buf[i]);
	m->nout = 0;
}

/* b: the reference that holds data, or NULL when it is the caller's of send(). */
static void put_out(struct link_impair *m, const uint8_t *data, uint32_t len, const struct link_addr *to,
		    struct buf *b)
{
	m->out[m->nout] = (struct link_tx){.data = data, .len = len, .to = *to};
	m->out_buf[m->nout++] = b;
	if (m->nout == BURST)
		flush_out(m);
}

static void send_due(struct link_impair *m)
{
	struct link_rx d;

	while (release(m, &m->tx, &d))
		put_out(m, d.data, d.len, &d.from, d.buf);
	flush_out(m);
}

static void hold_tx(struct link_impair *m, const struct link_tx *tx, struct buf *b, uint64_t due)
{
	struct link_rx d = {.len = tx->len, .from = tx->to, .buf = b};

	if (!d.buf)
		d.buf = copy(m, tx->data, tx->len);
	if (d.buf)
		d.data = d.buf->base;
	if (!d.buf || !hold(m, &m->tx, due, &d)) {
		count(m, LINK_C_drop_tx_full, 1);
		if (d.buf)
			buf_put(d.buf);
	}
}

static void impair_tx(struct link_impair *m, const struct link_tx *tx)
{
	struct side *s = &m->tx;
	struct buf *b = NULL;
	uint64_t delay;

	if (chance(m, m->cfg.drop_ppm)) {
		s->stats.dropped++;
		count(m, LINK_C_drop_impaired, 1);
		return;
	}
	if (chance(m, m->cfg.dup_ppm)) {
		s->stats.duplicated++;
		hold_tx(m, tx, NULL, m->now + m->cfg.delay_ns + rng_below(&m->rng, IMPAIR_REORDER_NS));
	}
	if (tx->len && chance(m, m->cfg.corrupt_ppm)) {
		b = copy(m, tx->data, tx->len);
		if (b) {
			flip_bit(m, b->base, tx->len);
			s->stats.corrupted++;
		}
	}
	delay = draw_delay(m, s);
	if (delay)
		hold_tx(m, tx, b, m->now + delay);
	else
		put_out(m, b ? b->base : tx->data, tx->len, &tx->to, b);
}

static int impair_send(struct link *l, const struct link_tx *tx, int n)
{
	struct link_impair *m = (struct link_impair *)l;
	uint64_t bytes = 0;

	send_due(m);
	for (int i = 0; i < n; i++) {
		bytes += tx[i].len;
		impair_tx(m, &tx[i]);
	}
	flush_out(m);
	count(m, LINK_C_tx_calls, 1);
	count(m, LINK_C_tx_packets, (uint64_t)n);
	count(m, LINK_C_tx_bytes, bytes);
	return n; /* a network tells nobody what it loses */
}

/* True: *rx is to be given now. */
static bool impair_rx(struct link_impair *m, struct link_rx *rx)
{
	struct side *s = &m->rx;
	uint64_t delay;

	if (chance(m, m->cfg.drop_ppm)) {
		s->stats.dropped++;
		count(m, LINK_C_drop_impaired, 1);
		buf_put(rx->buf);
		return false;
	}
	if (chance(m, m->cfg.dup_ppm)) {
		struct link_rx d = *rx;

		/* A copy, because the receiver may decrypt in place. */
		d.buf = copy(m, rx->data, rx->len);
		if (d.buf) {
			d.data = d.buf->base;
			s->stats.duplicated++;
			if (!hold(m, s, m->now + m->cfg.delay_ns + rng_below(&m->rng, IMPAIR_REORDER_NS), &d))
				buf_put(d.buf);
		}
	}
	if (rx->len && chance(m, m->cfg.corrupt_ppm)) {
		flip_bit(m, rx->data, rx->len);
		s->stats.corrupted++;
	}
	delay = draw_delay(m, s);
	if (!delay)
		return true;
	if (!hold(m, s, m->now + delay, rx)) {
		count(m, LINK_C_drop_rx_nobuf, 1);
		buf_put(rx->buf);
	}
	return false;
}

static int impair_recv(struct link *l, struct link_rx *rx, int max)
{
	struct link_impair *m = (struct link_impair *)l;
	uint64_t bytes = 0;
	int n = 0, got = BURST;

	send_due(m);
	while (n < max && release(m, &m->rx, &rx[n]))
		n++;
	for (int want = 0; n < max && got >= want;) {
		want = max - n < BURST ? max - n : BURST;
		got = m->inner->ops->recv(m->inner, m->in, want);
		if (got < 0 && n == 0)
			return got;
		for (int i = 0; i < got; i++)
			if (impair_rx(m, &m->in[i]))
				rx[n++] = m->in[i];
	}
	for (int i = 0; i < n; i++)
		bytes += rx[i].len;
	count(m, LINK_C_rx_calls, 1);
	count(m, LINK_C_rx_packets, (uint64_t)n);
	count(m, LINK_C_rx_bytes, bytes);
	return n;
}

static int impair_fd(struct link *l)
{
	struct link_impair *m = (struct link_impair *)l;

	return m->inner->ops->fd(m->inner);
}

static uint64_t first_due(const struct side *s)
{
	return list_empty(&s->queue) ? UINT64_MAX : container_of(s->queue.next, struct held, at)->due;
}

static uint64_t impair_deadline(struct link *l)
{
	struct link_impair *m = (struct link_impair *)l;
	uint64_t a = first_due(&m->rx), b = first_due(&m->tx), c = UINT64_MAX;

	if (m->inner->ops->deadline)
		c = m->inner->ops->deadline(m->inner);
	a = a < b ? a : b;
	return a < c ? a : c;
}

static void impair_local(struct link *l, struct link_addr *addr, uint32_t *max_payload)
{
	struct link_impair *m = (struct link_impair *)l;

	m->inner->ops->local(m->inner, addr, max_payload);
}

static void impair_confirm(struct link *l, const struct link_rx *rx)
{
	struct link_impair *m = (struct link_impair *)l;

	if (m->inner->ops->confirm && rx->buf->owner != m->copies)
		m->inner->ops->confirm(m->inner, rx);
}

static void empty(struct side *s)
{
	struct list *n;

	while ((n = list_pop(&s->queue)))
		buf_put(container_of(n, struct held, at)->d.buf);
}

static void impair_destroy(struct link *l)
{
	struct link_impair *m = (struct link_impair *)l;

	empty(&m->rx);
	empty(&m->tx);
	m->inner->ops->destroy(m->inner);
	buf_pool_destroy(m->copies);
	free(m);
}

static const struct link_ops impair_ops = {
	.recv = impair_recv,
	.send = impair_send,
	.fd = impair_fd,
	.deadline = impair_deadline,
	.local = impair_local,
	.destroy = impair_destroy,
	.confirm = impair_confirm,
};

struct link *link_impair_create(struct link *inner, const struct link_impair_cfg *cfg)
{
	struct link_impair *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->copies = buf_pool_create(IMPAIR_HELD, IMPAIR_DATAGRAM);
	if (!m->copies) {
		free(m);
		return NULL;
	}
	m->base.ops = &impair_ops;
	m->base.name = "impair";
	m->inner = inner;
	list_init(&m->unused);
	list_init(&m->rx.queue);
	list_init(&m->tx.queue);
	for (unsigned i = 0; i < IMPAIR_HELD; i++)
		list_add_tail(&m->unused, &m->held[i].at);
	link_impair_set(&m->base, cfg);
	return &m->base;
}

void link_impair_set_now(struct link *l, uint64_t now)
{
	if (l->ops == &impair_ops)
		((struct link_impair *)l)->now = now;
}

void link_impair_set(struct link *l, const struct link_impair_cfg *cfg)
{
	struct link_impair *m = (struct link_impair *)l;

	m->cfg = *cfg;
	rng_init(&m->rng, cfg->seed);
}

void link_impair_get_stats(const struct link *l, struct link_impair_stats *rx, struct link_impair_stats *tx)
{
	const struct link_impair *m = (const struct link_impair *)l;

	*rx = m->rx.stats;
	*tx = m->tx.stats;
}

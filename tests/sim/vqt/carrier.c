/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bring-up carrier as the daemons have it: a path of its own with the production pipe at either end;
 * between them a stream that keeps order and loses nothing while the session lives.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/sim/vqt/vqt_sim.h"

#define STREAM_NS (60 * USEC)
#define WAITING	  4096u

struct carried {
	struct carried *next;
	uint64_t when;
	uint32_t session, len;
	uint8_t data[];
};

static bool carry(void *ctx, const struct link_addr *to, const uint8_t *data, uint32_t len)
{
	struct stream *from = ctx, *t = &from->w->stream[!from->to];
	struct carried *c = malloc(sizeof(*c) + len);

	sim_check(&t->w->s, c && link_pipe_id(to) == 1, "what is to be carried has no address");
	*c = (struct carried){.when = t->w->s.now + STREAM_NS, .session = t->w->session, .len = len};
	memcpy(c->data, data, len);
	if (t->first)
		t->last->next = c;
	else
		t->first = c;
	t->last = c;
	t->w->carried_packets++;
	return true;
}

void carrier_init(struct world *w)
{
	for (unsigned e = 0; w->carried && e < 2; e++) {
		struct link_pipe_cfg c = {.carry = carry,
					  .ctx = &w->stream[e],
					  .pool = w->wire,
					  .depth = WAITING,
					  .max_payload = 1536};

		w->stream[e] = (struct stream){.w = w, .to = e, .pipe = link_pipe_create(&c)};
		sim_check(&w->s, w->stream[e].pipe, "out of memory");
	}
}

static void drop_first(struct stream *t)
{
	struct carried *c = t->first;

	t->first = c->next;
	free(c);
}

void carrier_fini(struct world *w)
{
	for (unsigned e = 0; w->carried && e < 2; e++) {
		struct stream *t = &w->stream[e];

		while (t->first)
			drop_first(t);
		t->pipe->ops->destroy(t->pipe);
	}
}

void carrier_send(struct world *w, unsigned end, const uint8_t *data, uint32_t len)
{
	struct link *l = w->stream[end].pipe;
	struct link_tx tx = {.data = data, .len = len};

	link_pipe_address(&tx.to, 1);
	sim_check(&w->s, l->ops->send(l, &tx, 1) == 1, "the carrier refuses");
}

void carrier_poll(struct world *w, unsigned end)
{
	struct stream *t = &w->stream[end];
	struct link_addr from;
	struct link_rx rx[32];
	int n;

	if (!w->carried)
		return;
	link_pipe_address(&from, 1);
	for (; t->first && t->first->when <= w->s.now; drop_first(t))
		if (t->first->session == w->session) /* else its connection is gone */
			link_pipe_push(t->pipe, &from, t->first->data, t->first->len);
	while ((n = t->pipe->ops->recv(t->pipe, rx, 32)) > 0)
		for (int i = 0; i < n; i++) {
			rt_input(w->rt[end], rx[i].data, rx[i].len, rx[i].buf, rx[i].ce, w->s.now);
			buf_put(rx[i].buf);
		}
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For comparison only: a go-back-N sender as in eRPC (NSDI'19), on the same link and under the same loss.
 * 96 packets of 1344 B in flight (what the path holds and half of that again), cumulative acknowledgements,
 * one per drain of the receiver; a duplicate acknowledgement or 200 us without progress sends all again from
 * the first that is missing.
 */
#include <string.h>

#include "tests/sim/rt/modes.h"

#define WINDOW	96u
#define CHUNK	1344u
#define RTO_NS	200000u
#define HDR_LEN (32u + 16u)

struct gbn {
	struct sim s;
	struct sim_link there, back;
	uint32_t base, next; /* sender: first unacknowledged, next to send */
	uint32_t expected;   /* receiver */
	uint64_t rto_at, last_at, gap;
	uint32_t went_back; /* base when it last went back */
	bool ack_set, backed;
};

static struct gbn gbn;

static void timeout(struct sim *s, void *ctx, uint64_t arg);

static void push(struct gbn *g)
{
	static uint8_t data[HDR_LEN + CHUNK];

	while (g->next - g->base < WINDOW) {
		memcpy(data, &g->next, 4);
		g->next++;
		sim_link_send(&g->there, data, sizeof(data));
	}
}

static void restart_timer(struct gbn *g)
{
	g->rto_at = g->s.now + RTO_NS;
	sim_at(&g->s, g->rto_at, timeout, g, g->rto_at);
}

static void go_back(struct gbn *g)
{
	g->next = g->base;
	g->went_back = g->base;
	g->backed = true;
	push(g);
	restart_timer(g);
}

static void timeout(struct sim *s, void *ctx, uint64_t arg)
{
	struct gbn *g = ctx;

	(void)s;
	if (arg == g->rto_at)
		go_back(g);
}

static void ack_in(void *ctx, uint8_t *data, uint32_t len, bool ce)
{
	struct gbn *g = ctx;
	uint32_t cum;

	(void)len, (void)ce;
	memcpy(&cum, data, 4);
	if ((int32_t)(cum - g->base) > 0) {
		g->base = cum;
		if ((int32_t)(g->next - g->base) < 0)
			g->next = g->base;
		push(g);
		restart_timer(g);
	} else if (cum == g->base && data[4] && !(g->backed && g->went_back == cum)) {
		go_back(g);
	}
}

static void ack_out(struct sim *s, void *ctx, uint64_t arg)
{
	struct gbn *g = ctx;
	uint8_t data[HDR_LEN] = {0};

	(void)s, (void)arg;
	g->ack_set = false;
	memcpy(data, &g->expected, 4);
	data[4] = 1;
	sim_link_send(&g->back, data, sizeof(data));
}

static void data_in(void *ctx, uint8_t *data, uint32_t len, bool ce)
{
	struct gbn *g = ctx;
	uint32_t psn;

	(void)len, (void)ce;
	memcpy(&psn, data, 4);
	if (psn == g->expected) {
		g->expected++;
		if (g->s.now - g->last_at > g->gap)
			g->gap = g->s.now - g->last_at;
		g->last_at = g->s.now;
	}
	if (!g->ack_set) {
		g->ack_set = true;
		sim_at(&g->s, g->s.now + 1000, ack_out, g, 0);
	}
}

double gobackn_run(uint64_t seed, uint64_t rate_bps, uint64_t delay_ns, uint32_t overhead, uint32_t loss,
		   uint64_t warm_up, uint64_t span, uint64_t *gap)
{
	struct gbn *g = &gbn;
	struct sim_link_cfg l = {
		.rate_bps = rate_bps, .delay_ns = delay_ns, .loss = loss, .overhead = overhead};
	uint32_t from;

	memset(g, 0, sizeof(*g));
	sim_init(&g->s, seed, replay);
	sim_link_init(&g->there, &g->s, &l, data_in, g);
	sim_link_init(&g->back, &g->s, &l, ack_in, g);
	push(g);
	restart_timer(g);
	while (sim_step(&g->s, warm_up))
		;
	from = g->expected;
	g->gap = 0;
	g->last_at = g->s.now;
	while (sim_step(&g->s, warm_up + span))
		;
	*gap = g->s.now - g->last_at > g->gap ? g->s.now - g->last_at : g->gap;
	sim_fini(&g->s);
	return (double)(g->expected - from) * CHUNK * 8 / (double)span;
}

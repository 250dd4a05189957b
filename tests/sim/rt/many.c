/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sessions that share a bottleneck: host i ==> its own cable ==> one 25 Gb/s port ==> appliance, and back
 * through one 25 Gb/s port. Checks nothing of the bytes (world.c does), counts who gets what.
 */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fabric/rt/impl.h"
#include "tests/sim/rt/modes.h"

#define FLOWS 128
#define RXQ   512
#define MS    1000000ull

struct many;

struct node {
	struct many *m;
	unsigned flow, side;
	struct rt *rt;
	struct {
		uint8_t data[WIRE_HDR_LEN + RT_CHUNK_DEFAULT + AEAD_TAG_MAX];
		uint32_t len;
		bool ce;
		uint64_t at;
	} * rxq;
	uint32_t nrx;
	bool drain_set;
	uint64_t wake_at;
	uint64_t bytes[RT_NCLASS];
	uint32_t ids;
	uint64_t backlog[RT_NCLASS]; /* bytes to be sent; UINT64_MAX: without end */
};

struct many {
	struct sim s;
	unsigned flows;
	bool sleepy; /* both ends sleep, on busy hosts: see nap() */
	struct node node[FLOWS][2];
	struct sim_link cable[FLOWS], up, down;
	uint64_t ctl_sent, ctl_got, ctl_refused, ctl_worst, overrun;
	uint64_t peak; /* bytes that wait before the port */
};

static struct many many;

static void on_record(void *ctx, enum rt_class cls, uint32_t psn, const struct rt_rec *rec,
		      const uint8_t *data, struct buf *owner)
{
	struct node *n = ctx;
	uint64_t at;

	(void)psn, (void)owner;
	n->bytes[cls] += rec->len;
	if (cls != RT_CTL)
		return;
	memcpy(&at, data, sizeof(at));
	n->m->ctl_got++;
	if (n->m->s.now - at > n->m->ctl_worst)
		n->m->ctl_worst = n->m->s.now - at;
}

static void on_settled(void *ctx, enum rt_class cls, uint32_t base)
{
	(void)ctx, (void)cls, (void)base;
}

static void on_writable(void *ctx, enum rt_class cls)
{
	(void)ctx, (void)cls;
}

static const struct rt_ops ops = {.record = on_record, .settled = on_settled, .writable = on_writable};

static void fill(struct node *n)
{
	static uint8_t bytes[RT_SEND_MAX];

	for (unsigned c = RT_CMD; c < RT_NCLASS; c++)
		while (n->backlog[c]) {
			uint32_t len = n->backlog[c] < 65536 ? (uint32_t)n->backlog[c] : 65536;
			struct rt_rec rec = {.kind = 1, .id = n->ids, .total = len};
			struct iovec iov = {bytes, len};

			if (rt_send(n->rt, (enum rt_class)c, RT_REL_FULL, &rec, &iov, 1, n->m->s.now))
				break;
			n->ids++;
			if (n->backlog[c] != UINT64_MAX)
				n->backlog[c] -= len;
		}
}

/* From an event to the end that deals with it: a poller looks again and again; who sleeps is woken, mostly at
 * once, now and then after others have had the processor for a while. */
static uint64_t nap(struct many *m)
{
	uint64_t kind = rng_below(&m->s.rng, 100);

	if (!m->sleepy)
		return 500 + rng_below(&m->s.rng, 1000);
	return kind < 80   ? 5000 + rng_below(&m->s.rng, 45000)
	       : kind < 99 ? 50000 + rng_below(&m->s.rng, 950000)
			   : MS + rng_below(&m->s.rng, 7 * MS);
}

static void wake(struct sim *s, void *ctx, uint64_t arg);

static void pump(struct node *n)
{
	struct many *m = n->m;
	struct rt_tx out[64];
	uint64_t at;
	int k;

	fill(n);
	rt_flush(n->rt, m->s.now);
	while ((k = rt_output(n->rt, m->s.now, out, 64)) > 0)
		for (int i = 0; i < k; i++) {
			sim_note(&m->s, out[i].data, WIRE_HDR_LEN);
			sim_link_send(n->side ? &m->down : &m->cable[n->flow], out[i].data, out[i].len);
		}
	at = rt_deadline(n->rt);
	if (at < n->wake_at) {
		n->wake_at = at;
		sim_at(&m->s, m->sleepy && at < UINT64_MAX / 2 ? at + nap(m) : at, wake, n, at);
	}
}

static void wake(struct sim *s, void *ctx, uint64_t arg)
{
	struct node *n = ctx;

	if (arg != n->wake_at)
		return;
	n->wake_at = RT_NEVER;
	if (rt_deadline(n->rt) <= s->now)
		rt_tick(n->rt, s->now);
	pump(n);
}

static void drain(struct sim *s, void *ctx, uint64_t arg)
{
	struct node *n = ctx;

	(void)arg;
	n->drain_set = false;
	for (uint32_t i = 0; i < n->nrx; i++)
		rt_input_late(n->rt, n->rxq[i].data, n->rxq[i].len, NULL, n->rxq[i].ce,
			      n->m->sleepy ? s->now - n->rxq[i].at : 0, s->now);
	n->nrx = 0;
	rt_input_end(n->rt, s->now);
	pump(n);
}

static void arrive(struct node *n, const uint8_t *data, uint32_t len, bool ce)
{
	if (n->nrx == RXQ) {
		n->m->overrun++;
		return;
	}
	memcpy(n->rxq[n->nrx].data, data, len);
	n->rxq[n->nrx].len = len;
	n->rxq[n->nrx].at = n->m->s.now;
	n->rxq[n->nrx++].ce = ce;
	if (!n->drain_set) {
		n->drain_set = true;
		sim_at(&n->m->s, n->m->s.now + nap(n->m), drain, n, 0);
	}
}

static void at_port(void *ctx, uint8_t *data, uint32_t len, bool ce)
{
	struct many *m = ctx;
	uint64_t wait = m->up.free_at > m->s.now ? m->up.free_at - m->s.now : 0;

	(void)ce;
	if (wait * 25 / 8 > m->peak)
		m->peak = wait * 25 / 8;
	sim_link_send(&m->up, data, len);
}

/* SPIs count from 1: 2 per flow. */
static void at_end(void *ctx, uint8_t *data, uint32_t len, bool ce)
{
	struct many *m = ctx;
	uint32_t spi = rt_peek_spi(data, len) - 1;

	arrive(&m->node[spi / 2][spi % 2], data, len, ce);
}

static void many_init(struct many *m, const struct options *o, unsigned flows,
		      const struct sim_link_cfg *port, bool sleepy)
{
	struct sim_link_cfg cable = {.rate_bps = 25000000000ull, .jitter_ns = 2000, .overhead = 42 + 24};
	int err;

	memset(m, 0, sizeof(*m));
	sim_init(&m->s, o->seed, replay);
	m->s.now = 1000 * MS;
	m->flows = flows;
	m->sleepy = sleepy;
	sim_link_init(&m->up, &m->s, port, at_end, m);
	sim_link_init(&m->down, &m->s, port, at_end, m);
	for (unsigned f = 0; f < flows; f++) {
		cable.delay_ns = rng_below(&m->s.rng, 2000);
		sim_link_init(&m->cable[f], &m->s, &cable, at_port, m);
		for (unsigned side = 0; side < 2; side++) {
			struct node *n = &m->node[f][side];
			struct rt_cfg c = {.ops = &ops,
					   .ctx = n,
					   .aead = &aead_crc,
					   .chunk = RT_CHUNK_DEFAULT,
					   .rto_floor_ns = sleepy ? 0 : 200000,
					   .delay_spare_ns = sleepy ? 10 * MS : 0,
					   .active = !side};
			struct rt_path_cfg pc = {.tx_spi = 2 * f + !side + 1, .rx_spi = 2 * f + side + 1};

			*n = (struct node){.m = m, .flow = f, .side = side, .wake_at = RT_NEVER};
			n->rxq = calloc(RXQ, sizeof(*n->rxq));
			n->rt = rt_create(&c, m->s.now, &err);
			sim_check(&m->s, n->rxq && n->rt && !rt_path_add(n->rt, 0, &pc, m->s.now), "setup");
		}
	}
}

static uint64_t in_use(void)
{
	return mallinfo2().uordblks + mallinfo2().hblkhd;
}

/* Memory in use when the cables are gone and the sessions are not yet. */
static uint64_t many_fini(struct many *m)
{
	uint64_t bytes;

	sim_fini(&m->s);
	bytes = in_use();
	for (unsigned f = 0; f < m->flows; f++)
		for (unsigned side = 0; side < 2; side++) {
			rt_destroy(m->node[f][side].rt);
			free(m->node[f][side].rxq);
		}
	return bytes;
}

static void start(struct sim *s, void *ctx, uint64_t arg)
{
	struct node *n = ctx;

	(void)s;
	for (unsigned c = RT_CMD; c < RT_NCLASS; c++)
		if (arg >> c & 1)
			n->backlog[c] = UINT64_MAX;
	pump(n);
}

static uint64_t got(const struct many *m, unsigned f)
{
	const struct node *n = &m->node[f][1];

	return n->bytes[RT_CMD] + n->bytes[RT_DATA] + n->bytes[RT_NET];
}

static int by_size(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* 64 sessions that all want everything, come one after the other; one of them in all classes. Ends that sleep
 * are looked at for longer: who is woken late a few times more than others has less of half a second by that
 * alone. */
static void fair(const struct options *o, const char *what, const struct sim_link_cfg *port, bool sleepy)
{
	struct many *m = &many;
	const uint64_t span = sleepy ? 2000 * MS : 500 * MS;
	uint64_t from[FLOWS], sum = 0, share[FLOWS], greedy;
	unsigned flows = 64;

	many_init(m, o, flows, port, sleepy);
	for (unsigned f = 0; f < flows; f++)
		sim_at(&m->s, m->s.now + rng_below(&m->s.rng, 20 * MS), start, &m->node[f][0],
		       f ? 1u << RT_DATA : 1u << RT_CMD | 1u << RT_DATA | 1u << RT_NET);
	while (sim_step(&m->s, 1450 * MS))
		;
	for (unsigned f = 0; f < flows; f++)
		from[f] = got(m, f);
	m->peak = 0;
	while (sim_step(&m->s, 1450 * MS + span))
		;
	for (unsigned f = 0; f < flows; f++)
		sum += share[f] = got(m, f) - from[f];
	greedy = share[0];
	if (o->verbose)
		for (unsigned f = 0; f < flows; f++) {
			const struct path *p = &m->node[f][0].rt->path[0];

			printf("flow %u: %.1f %% of a share, window %.2f, srtt %llu, base %llu, cable %llu\n",
			       f, 100.0 * (double)share[f] * flows / (double)sum, p->cc.cwnd / 256.0,
			       (unsigned long long)p->srtt, (unsigned long long)path_base_rtt(p),
			       (unsigned long long)m->cable[f].cfg.delay_ns);
		}
	qsort(share + 1, flows - 1, sizeof(share[0]), by_size);
	printf("{\"bench\":\"fairness\",\"port\":\"%s\",\"sessions\":%u,\"gbps\":%.2f,\"worst_other_pct\":%."
	       "1f,"
	       "\"median_other_pct\":%.1f,\"greedy_pct\":%.1f,\"queue_peak_bytes\":%llu,\"port_drops\":%llu}"
	       "\n",
	       what, flows, (double)sum * 8 / (double)span, 100.0 * (double)share[1] * flows / (double)sum,
	       100.0 * (double)share[flows / 2] * flows / (double)sum,
	       100.0 * (double)greedy * flows / (double)sum, (unsigned long long)m->peak,
	       (unsigned long long)m->up.stats.queued_out);
	fflush(stdout);
	many_fini(m);
}

void mode_fair(const struct options *o)
{
	struct sim_link_cfg port = {
		.rate_bps = 25000000000ull, .delay_ns = 12000, .queue_bytes = 4u << 20, .overhead = 42 + 24};

	fair(o, "delay", &port, false);
	port.ecn_bytes = 100000;
	fair(o, "ecn", &port, false);
	port.ecn_bytes = 0;
	port.queue_bytes = 150000;
	fair(o, "shallow", &port, false);
	fair(o, "shallow, ends that sleep", &port, true);
}

/* One stream between ends that sleep, through a bottleneck with little room: what arrives. */
void mode_stream(const struct options *o)
{
	static const uint32_t loss[] = {0, 1000, 10000, 50000};
	struct sim_link_cfg port = {
		.rate_bps = 500000000, .delay_ns = 250000, .queue_bytes = 131072, .overhead = 42 + 24};

	for (unsigned i = 0; i < sizeof(loss) / sizeof(loss[0]); i++) {
		struct many *m = &many;
		uint64_t bytes, drops, span = 5000 * MS;

		port.loss = loss[i];
		many_init(m, o, 1, &port, true);
		sim_at(&m->s, m->s.now, start, &m->node[0][0], 1u << RT_DATA);
		while (sim_step(&m->s, 1500 * MS))
			;
		bytes = got(m, 0);
		drops = m->up.stats.queued_out;
		while (sim_step(&m->s, 1500 * MS + span))
			;
		bytes = got(m, 0) - bytes;
		drops = m->up.stats.queued_out - drops;
		printf("{\"bench\":\"stream\",\"loss_pct\":%.1f,\"gbps\":%.4f,\"of_port_pct\":%.1f,\"port_"
		       "drops_"
		       "pct\":%.2f}\n",
		       loss[i] / 10000.0, (double)bytes * 8 / (double)span,
		       100.0 * (double)bytes * 8e9 / ((double)span * (double)port.rate_bps),
		       100.0 * (double)drops * RT_CHUNK_DEFAULT / (double)bytes);
		fflush(stdout);
		many_fini(m);
	}
}

static void speak(struct sim *s, void *ctx, uint64_t arg)
{
	struct node *n = ctx;
	struct rt_rec rec = {.kind = 1, .id = n->ids++, .total = 64};
	uint8_t text[64] = {0};
	struct iovec iov = {text, sizeof(text)};

	memcpy(text, &s->now, sizeof(s->now));
	n->m->ctl_sent++;
	if (rt_send(n->rt, RT_CTL, RT_REL_FULL, &rec, &iov, 1, s->now)) {
		n->m->ctl_sent--;
		n->m->ctl_refused++;
	}
	if (arg % 10 == 0)
		n->backlog[RT_DATA] += 256u << 10;
	pump(n);
	if (arg < 200)
		sim_at(s, s->now + MS, speak, n, arg + 1);
}

/* 100 hosts begin 256 KiB at the same nanosecond, every 10 ms (84 % of the port), and say something in
 * class CTL each ms. */
void mode_incast(const struct options *o)
{
	struct sim_link_cfg port = {
		.rate_bps = 25000000000ull, .delay_ns = 12000, .queue_bytes = 4u << 20, .overhead = 42 + 24};
	static const uint32_t queue[] = {4u << 20, 1u << 20, 150000};

	for (unsigned i = 0; i < sizeof(queue) / sizeof(queue[0]); i++) {
		struct many *m = &many;
		uint64_t before, memory, held, data = 0, resent = 0;
		unsigned flows = 100;

		port.queue_bytes = queue[i];
		before = in_use();
		many_init(m, o, flows, &port, false);
		memory = in_use() - before;
		for (unsigned f = 0; f < flows; f++)
			sim_at(&m->s, 1010 * MS, speak, &m->node[f][0], 0);
		while (sim_step(&m->s, 1300 * MS))
			;
		for (unsigned f = 0; f < flows; f++) {
			data += got(m, f);
			resent += rt_counters(m->node[f][0].rt)[RT_C_tx_retransmits];
		}
		held = many_fini(m) - before;
		printf("{\"bench\":\"incast\",\"sessions\":%u,\"port_queue_bytes\":%u,\"ctl_sent\":%llu,"
		       "\"ctl_lost\":%llu,\"ctl_refused\":%llu,\"ctl_worst_us\":%.0f,\"data_bytes\":%llu,"
		       "\"data_missing\":%llu,\"port_drops\":%llu,\"sent_again\":%llu,\"queue_peak_bytes\":%"
		       "llu,"
		       "\"memory_per_end_bytes\":%llu,\"memory_grown_bytes\":%llu}\n",
		       flows, queue[i], (unsigned long long)m->ctl_sent,
		       (unsigned long long)(m->ctl_sent - m->ctl_got), (unsigned long long)m->ctl_refused,
		       (double)m->ctl_worst / 1e3, (unsigned long long)data,
		       (unsigned long long)(flows * 21ull * (256u << 10) - data),
		       (unsigned long long)m->up.stats.queued_out, (unsigned long long)resent,
		       (unsigned long long)m->peak, (unsigned long long)(memory / flows / 2),
		       (unsigned long long)(held > memory ? held - memory : 0));
		fflush(stdout);
	}
}

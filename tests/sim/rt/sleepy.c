/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two ends whose processors are busy with something else: whatever arrives or falls due is seen late, by up
 * to 0.1, 1 and 5 ms, all at one moment. What becomes of guests' frames (RT_NET, bounded) that are lost on
 * the cable and whose loss, timeouts and acknowledgements all show late? A frame may fail with the chance
 * that all transmissions of one of its packets are lost, and not because of the clock.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fabric/rt/impl.h"
#include "tests/sim/rt/modes.h"

#define MS  1000000ull
#define RXQ 4096

struct sleeper {
	struct sleepy *w;
	unsigned side;
	struct rt *rt;
	struct {
		uint8_t data[WIRE_HDR_LEN + RT_CHUNK_DEFAULT + AEAD_TAG_MAX];
		uint32_t len;
		uint64_t at;
	} rxq[RXQ];
	uint32_t nrx;
	uint64_t run_at;
};

struct sent {
	uint64_t at;
	uint32_t total, got;
};

struct sleepy {
	struct sim s;
	struct sleeper end[2];
	struct sim_link link[2];
	uint64_t late_ns; /* a processor comes back after this at most */
	uint32_t frame, frames, gap_ns;
	struct sent *sent; /* by id */
	double *delay;	   /* ms, of those that arrived */
	uint32_t nsent, ncame;
};

static struct sleepy sleepy;

static void on_record(void *ctx, enum rt_class cls, uint32_t psn, const struct rt_rec *rec,
		      const uint8_t *data, struct buf *owner)
{
	struct sleepy *w = ((struct sleeper *)ctx)->w;
	struct sent *f = &w->sent[rec->id];

	(void)cls, (void)psn, (void)data, (void)owner;
	f->got += rec->len;
	sim_check(&w->s, f->got <= f->total, "frame %u came twice", rec->id);
	if (f->got == f->total)
		w->delay[w->ncame++] = (double)(w->s.now - f->at) / 1e6;
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

static void run(struct sim *s, void *ctx, uint64_t arg);

/* Something happens at `at`; the processor comes to it later. */
static void wake(struct sleeper *e, uint64_t at)
{
	struct sleepy *w = e->w;

	at = (at > w->s.now ? at : w->s.now) + 1 + rng_below(&w->s.rng, w->late_ns);
	if (at >= e->run_at)
		return;
	e->run_at = at;
	sim_at(&w->s, at, run, e, at);
}

static void pump(struct sleeper *e)
{
	struct rt_tx out[64];
	int n;

	rt_flush(e->rt, e->w->s.now);
	while ((n = rt_output(e->rt, e->w->s.now, out, 64)) > 0)
		for (int i = 0; i < n; i++)
			sim_link_send(&e->w->link[e->side], out[i].data, out[i].len);
	if (rt_deadline(e->rt) != RT_NEVER)
		wake(e, rt_deadline(e->rt));
}

static void run(struct sim *s, void *ctx, uint64_t arg)
{
	struct sleeper *e = ctx;

	if (arg != e->run_at)
		return;
	e->run_at = RT_NEVER;
	for (uint32_t i = 0; i < e->nrx; i++)
		rt_input_late(e->rt, e->rxq[i].data, e->rxq[i].len, NULL, false, s->now - e->rxq[i].at,
			      s->now);
	e->nrx = 0;
	rt_input_end(e->rt, s->now);
	if (rt_deadline(e->rt) <= s->now)
		rt_tick(e->rt, s->now);
	pump(e);
}

static void arrive(void *ctx, uint8_t *data, uint32_t len, bool ce)
{
	struct sleeper *e = ctx;

	(void)ce;
	sim_check(&e->w->s, e->nrx < RXQ, "the socket is full");
	memcpy(e->rxq[e->nrx].data, data, len);
	e->rxq[e->nrx].at = e->w->s.now;
	e->rxq[e->nrx++].len = len;
	wake(e, e->w->s.now);
}

/* Frames both ways in turn. */
static void speak(struct sim *s, void *ctx, uint64_t arg)
{
	static const uint8_t bytes[65562];
	struct sleepy *w = ctx;
	struct sleeper *e = &w->end[arg & 1];
	struct rt_rec rec = {.kind = 1, .id = w->nsent, .total = w->frame};
	struct iovec iov = {(void *)(uintptr_t)bytes, w->frame};

	w->sent[w->nsent] = (struct sent){.at = s->now, .total = w->frame};
	sim_check(s, !rt_send(e->rt, RT_NET, RT_REL_BOUNDED, &rec, &iov, 1, s->now), "rt_send");
	pump(e);
	if (++w->nsent < w->frames)
		sim_at(s, s->now + w->gap_ns / 2 + rng_below(&s->rng, w->gap_ns), speak, w, arg + 1);
}

static void init(struct sleepy *w, uint64_t seed)
{
	const struct sim_link_cfg cable = {.rate_bps = 10000000000ull, .delay_ns = 20000, .overhead = 66};
	int err;

	sim_init(&w->s, seed, replay);
	w->s.now = 1000 * MS;
	w->nsent = w->ncame = 0;
	w->sent = calloc(w->frames, sizeof(*w->sent));
	w->delay = calloc(w->frames, sizeof(*w->delay));
	sim_check(&w->s, w->sent && w->delay, "out of memory");
	for (unsigned side = 0; side < 2; side++) {
		struct sleeper *e = &w->end[side];
		struct rt_cfg c = {.ops = &ops,
				   .ctx = e,
				   .aead = &aead_crc,
				   .chunk = RT_CHUNK_DEFAULT,
				   .delay_spare_ns = 10 * MS,
				   .ack_delay_ns = MS / 4,
				   .active = !side};
		struct rt_path_cfg pc = {.tx_spi = 2 - side, .rx_spi = 1 + side};

		e->w = w;
		e->side = side;
		e->nrx = 0;
		e->run_at = RT_NEVER;
		e->rt = rt_create(&c, w->s.now, &err);
		sim_check(&w->s, e->rt && !rt_path_add(e->rt, 0, &pc, w->s.now), "setup");
		sim_link_init(&w->link[side], &w->s, &cable, arrive, &w->end[!side]);
	}
	pump(&w->end[0]);
	while (sim_step(&w->s, 1100 * MS))
		;
	sim_check(&w->s, w->end[0].rt->path[0].state == RT_PATH_UP, "the path is not up");
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static void row(const struct options *o, uint32_t loss, uint64_t late, uint32_t frame)
{
	struct sleepy *w = &sleepy;
	uint32_t packets = frame / (RT_CHUNK_DEFAULT - WIRE_REC_LEN) + 1, lost;
	double expected = loss / 1e6;
	uint64_t again = 0, fell = 0;

	w->late_ns = late;
	w->frame = frame;
	w->frames = o->packets ? (uint32_t)o->packets : packets > 2 ? 4000 : 20000;
	w->gap_ns = packets > 2 ? 2 * MS : 20 * MS;
	init(w, o->seed);
	w->link[0].cfg.loss = w->link[1].cfg.loss = loss;
	sim_at(&w->s, w->s.now, speak, w, 0);
	while (w->nsent < w->frames)
		sim_step(&w->s, UINT64_MAX);
	for (uint64_t end = w->s.now + 2000 * MS; sim_step(&w->s, end);)
		;
	lost = w->frames - w->ncame;
	for (unsigned i = 0; i < RT_NET_RETRIES; i++)
		expected *= loss / 1e6;
	expected *= w->frames * packets;
	qsort(w->delay, w->ncame, sizeof(*w->delay), by_value);
	for (unsigned side = 0; side < 2; side++) {
		again += rt_counters(w->end[side].rt)[RT_C_tx_retransmits];
		fell += w->link[side].stats.lost;
	}
	printf("{\"bench\":\"sleepy\",\"loss_pct\":%.1f,\"late_us\":%llu,\"frame_bytes\":%u,\"frames\":%u,"
	       "\"lost\":%u,\"lost_pct\":%.4f,\"expected\":%.2f,\"sent_again\":%llu,\"fell\":%llu,"
	       "\"delay_ms_p50\":%.2f,\"delay_ms_p99\":%.2f,\"delay_ms_worst\":%.2f}\n",
	       loss / 1e4, (unsigned long long)late / 1000, frame, w->frames, lost, 100.0 * lost / w->frames,
	       expected, (unsigned long long)again, (unsigned long long)fell, w->delay[w->ncame / 2],
	       w->delay[w->ncame * 99 / 100], w->delay[w->ncame - 1]);
	fflush(stdout);
	sim_check(&w->s, lost <= 2 * expected + 8, "%u frames lost, %.2f expected", lost, expected);
	sim_fini(&w->s);
	for (unsigned side = 0; side < 2; side++)
		rt_destroy(w->end[side].rt);
	free(w->sent);
	free(w->delay);
}

void mode_sleepy(const struct options *o)
{
	static const uint32_t loss[] = {10000, 50000}, frame[] = {110, 1454, 65562};
	static const uint64_t late[] = {100000, MS, 5 * MS};

	for (unsigned f = 0; f < sizeof(frame) / sizeof(frame[0]); f++)
		for (unsigned l = 0; l < sizeof(loss) / sizeof(loss[0]); l++)
			for (unsigned k = 0; k < sizeof(late) / sizeof(late[0]); k++)
				if (o->loss < 0 || loss[l] == (uint32_t)o->loss)
					row(o, loss[l], late[k], frame[f]);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest keeps at most one request per block in flight, so each block is a register: a read must give
 * the last write that was completed. A write that an old session left behind and that lands late is seen so.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/sim/vqt/vqt_sim.h"

#define RX_BUFFER 1526u
#define SCARCE	  60u /* buffers, where there are few: 43 are FRAME_MAX */

struct head { /* of a request; the tunnel does not look at it */
	uint32_t write, lba;
	uint64_t stamp;
};

static uint32_t data_len(struct world *w)
{
	uint32_t n = (uint32_t)(rng_chance(&w->s.rng, 50000) ? 1 + rng_below(&w->s.rng, 131072)
							     : 1 + rng_below(&w->s.rng, 1024));

	return n * 8;
}

static void stamp_fill(uint8_t *p, uint32_t len, uint64_t stamp)
{
	for (uint32_t i = 0; i < len; i += 8)
		memcpy(p + i, &stamp, 8);
}

static void stamp_check(struct world *w, const uint8_t *p, uint32_t len, uint64_t stamp, const char *what)
{
	for (uint32_t i = 0; i < len; i += 8)
		sim_check(&w->s, !memcmp(p + i, &stamp, 8), "%s: wrong bytes at %u of %u", what, i, len);
}

/* The k-th request of a block, by the script. */
static void script_op(const struct script *t, uint32_t lba, uint32_t k, struct head *h, uint32_t *len)
{
	struct rng r;

	rng_init(&r, t->seed ^ (uint64_t)lba << 32 ^ k);
	rng_init(&r, rng_u64(&r));
	h->write = k == 0 || rng_chance(&r, 500000);
	h->stamp = h->write ? (uint64_t)(lba + 1) << 32 | k : 0;
	*len = 8 * (uint32_t)(1 + rng_below(&r, rng_chance(&r, 50000) ? 131072 : 1024));
}

uint32_t script_frame_len(const struct script *t, unsigned to_guest, uint32_t number)
{
	struct rng r;

	rng_init(&r, t->seed ^ (uint64_t)(to_guest + 1) << 48 ^ number);
	rng_init(&r, rng_u64(&r));
	return 26 + (uint32_t)rng_below(&r, rng_chance(&r, 100000) ? FRAME_MAX - 25 : 1500);
}

bool guest_done(const struct world *w)
{
	for (unsigned i = 0; i < LBAS; i++)
		if (w->g.lba[i].done < SCRIPT_OPS)
			return false;
	return w->g.tx == SCRIPT_FRAMES && w->tx == SCRIPT_FRAMES;
}

static void submit(struct world *w)
{
	static uint8_t out[sizeof(struct head) + (1u << 20)];
	struct guest *g = &w->g;
	uint32_t lba = (uint32_t)rng_below(&w->s.rng, LBAS), q = (uint32_t)rng_below(&w->s.rng, BLKQ);
	uint32_t len = data_len(w), outs[3], ins[3];
	struct head h = {rng_chance(&w->s.rng, 500000), lba, 0};

	if (g->lba[lba].busy || (w->script && g->lba[lba].done == SCRIPT_OPS))
		return;
	if (w->script)
		script_op(w->script, lba, g->lba[lba].done, &h, &len);
	g->lba[lba].busy = true;
	g->busy++;
	if (h.write) {
		if (!w->script)
			h.stamp = ++g->stamp;
		stamp_fill(out + sizeof(h), len, h.stamp);
	}
	memcpy(out, &h, sizeof(h));
	outs[0] = sizeof(h);
	outs[1] = h.write ? len / 16 * 8 : 0;
	outs[2] = h.write ? len - outs[1] : 0;
	ins[0] = h.write ? 0 : len / 16 * 8;
	ins[1] = h.write ? 0 : len - ins[0];
	ins[2] = 1;
	fake_ring_add(&w->blk[q], out, outs, 3, ins, 3);
	vqt_host_kick(w->hblk, q);
}

void backend_apply(struct world *w, struct vqt_req *r)
{
	struct head h;
	uint32_t data = r->in_len - 1;

	sim_check(&w->s, r->out_len >= sizeof(h) && r->in_len >= 1, "request without head or status");
	memcpy(&h, r->out, sizeof(h));
	sim_check(&w->s, h.lba < LBAS, "request of no block");
	if (h.write) {
		stamp_check(w, r->out + sizeof(h), r->out_len - (uint32_t)sizeof(h), h.stamp, "write");
		w->disk[h.lba] = h.stamp;
	} else {
		stamp_fill(r->in, data, w->disk[h.lba]);
	}
	r->in[data] = 0;
	vqt_dev_complete(r, r->in_len, r->in_len, w->s.now);
}

static void completed(struct world *w, struct fake_chain *c)
{
	static uint8_t in[(1u << 20) + 1];
	struct guest *g = &w->g;
	struct head h;

	memcpy(&h, c->iov[0].iov_base, sizeof(h));
	sim_check(&w->s, g->lba[h.lba].busy, "block %u completed twice", h.lba);
	sim_check(&w->s, c->written == c->in_len, "used %u of %u", c->written, c->in_len);
	fake_chain_read(c, 0, in, c->in_len);
	sim_check(&w->s, in[c->in_len - 1] == 0, "status");
	if (w->script) {
		memcpy(&w->script->seen[h.lba][g->lba[h.lba].done], h.write ? (uint8_t *)&h.stamp : in, 8);
		sim_check(&w->s, h.write || c->in_len > 8, "a read of nothing");
	}
	if (h.write)
		g->lba[h.lba].stamp = h.stamp;
	else
		stamp_check(w, in, c->in_len - 1, g->lba[h.lba].stamp, "read");
	g->lba[h.lba].done++;
	g->lba[h.lba].busy = false;
	g->busy--;
	g->done[h.write]++;
	sim_note(&w->s, &h, sizeof(h));
}

/* ---- frames ---- */

/* Byte i of frame n is n * 31 + i. */
static const uint8_t *bytes_of(uint32_t number)
{
	static uint8_t ramp[256 + FRAME_MAX];

	for (uint32_t i = 0; !ramp[1] && i < sizeof(ramp); i++)
		ramp[i] = (uint8_t)i;
	return ramp + (uint8_t)(number * 31);
}

void frame_fill(uint8_t *p, uint32_t len, uint32_t number)
{
	memcpy(p, bytes_of(number), len);
	memcpy(p, &number, 4);
	memcpy(p + 4, &len, 4);
}

uint32_t frame_number(struct world *w, const uint8_t *p, uint32_t len, bool to_guest)
{
	uint32_t number, said, from;

	memcpy(&number, p, 4);
	memcpy(&said, p + 4, 4);
	sim_check(&w->s, said == len, "frame %u of %u bytes came with %u", number, said, len);
	/* num_buffers is the host's. */
	from = to_guest ? VQT_NUM_BUFFERS + 2 : 8;
	sim_check(&w->s,
		  !memcmp(p + 8, bytes_of(number) + 8, VQT_NUM_BUFFERS - 8) &&
			  !memcmp(p + from, bytes_of(number) + from, len - from),
		  "bytes of frame %u", number);
	if (w->script)
		w->script->frame[to_guest][number] = true;
	return number;
}

static void transmit(struct world *w)
{
	static uint8_t p[FRAME_MAX];
	uint32_t len = (uint32_t)(rng_chance(&w->s.rng, w->flood ? 10000 : 200000)
					  ? 26 + rng_below(&w->s.rng, FRAME_MAX - 25)
					  : 26 + rng_below(&w->s.rng,
							   rng_chance(&w->s.rng, 500000) ? 200 : 1500));

	if (w->script)
		len = script_frame_len(w->script, 0, w->g.tx);
	frame_fill(p, len, w->g.tx++);
	fake_ring_add1(&w->net[1], p, len, 0);
	vqt_host_kick(w->hnet, 1);
}

/* What the guest puts into memory that is its own again: nobody else may write there from then on. */
#define OWN 0x3c

static void own(struct world *w, const struct fake_chain *c)
{
	for (unsigned i = 0; w->by_key && i < c->nin; i++)
		memset(c->iov[c->nout + i].iov_base, OWN, c->iov[c->nout + i].iov_len);
}

static void still_own(struct world *w, const struct fake_chain *c)
{
	for (unsigned i = 0; i < c->nin; i++) {
		const uint8_t *p = c->iov[c->nout + i].iov_base;
		size_t n = c->iov[c->nout + i].iov_len;

		sim_check(&w->s, !n || (p[0] == OWN && !memcmp(p, p + 1, n - 1)),
			  "buffer %u was written when it was the guest's again", c->token);
	}
}

void guest_owns(struct world *w)
{
	struct fake_ring *r = &w->net[0];

	w->g.owned = r->nchains;
	for (uint32_t i = 0; i < r->nchains; i++)
		if (r->chains[i]->state <= FAKE_TAKEN)
			own(w, r->chains[i]);
}

void guest_check(struct world *w)
{
	struct fake_ring *r = &w->net[0];

	for (uint32_t i = 0; w->by_key && i < r->seen; i++)
		still_own(w, r->chains[r->used[i]]);
	for (uint32_t i = 0; w->by_key && i < w->g.owned; i++)
		if (r->chains[i]->state <= FAKE_TAKEN)
			still_own(w, r->chains[i]);
	w->g.owned = 0;
}

static void receive(struct world *w)
{
	static uint8_t p[FRAME_MAX];
	struct fake_chain *c;

	while ((c = fake_ring_used(&w->net[0])) != NULL) {
		uint32_t len = 0, number;
		unsigned n = 1;

		sim_check(&w->s, c->token == w->net[0].seen - 1, "buffer %u came back as number %u", c->token,
			  w->net[0].seen - 1);
		if (!c->written) { /* of a frame that was lost */
			sim_check(&w->s, w->by_key && w->rel != RT_REL_FULL, "an empty buffer");
			w->g.posted--;
			own(w, c);
			continue;
		}
		for (unsigned i = 0; i < n; i++) {
			sim_check(&w->s, c != NULL, "num_buffers %u, %u are there", n, i);
			fake_chain_read(c, 0, p + len, c->written);
			len += c->written;
			if (!i)
				n = p[VQT_NUM_BUFFERS] + 256u * p[VQT_NUM_BUFFERS + 1];
			w->g.posted--;
			own(w, c);
			c = i + 1 < n ? fake_ring_used(&w->net[0]) : NULL;
		}
		number = frame_number(w, p, len, true);
		sim_check(&w->s, number >= w->g.rx, "frame %u after %u", number, w->g.rx - 1);
		w->g.rx = number + 1;
		w->g.received++;
		sim_note(&w->s, &number, sizeof(number));
	}
}

void guest_work(struct world *w)
{
	unsigned ring = w->scarce ? SCARCE : 256, most = ring;

	if (!w->calm && !w->flood)
		most = (unsigned)rng_below(&w->s.rng, ring);
	for (; w->g.posted < most && (most > 128 || w->scarce); w->g.posted++)
		fake_ring_add1(&w->net[0], NULL, 0, RX_BUFFER);
	vqt_host_kick(w->hnet, 0);
	if (w->calm)
		return;
	for (uint64_t n = w->flood ? 32 : rng_below(&w->s.rng, 4); n; n--)
		if (w->net[1].tail - w->net[1].head < 32 && !(w->script && w->g.tx == SCRIPT_FRAMES))
			transmit(w);
	if (w->flood)
		return;
	for (uint64_t n = rng_below(&w->s.rng, 4); n; n--)
		submit(w);
}

void guest_look(struct world *w)
{
	struct fake_chain *c;

	receive(w);
	while ((c = fake_ring_used(&w->net[1])) != NULL)
		for (unsigned i = 0; w->by_key && i < c->nout; i++)
			memset(c->iov[i].iov_base, OWN, c->iov[i].iov_len); /* not to be read later either */
	for (unsigned q = 0; q < BLKQ; q++)
		while ((c = fake_ring_used(&w->blk[q])) != NULL)
			completed(w, c);
}

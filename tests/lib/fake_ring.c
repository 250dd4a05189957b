/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/fake_ring.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void *grown(void *p, uint32_t *room, uint32_t need, size_t size)
{
	if (need <= *room)
		return p;
	*room = need < 64 ? 64 : 2 * need;
	p = realloc(p, *room * size);
	assert(p);
	return p;
}

void fake_ring_init(struct fake_ring *r)
{
	memset(r, 0, sizeof(*r));
}

void fake_ring_fini(struct fake_ring *r)
{
	for (uint32_t i = 0; i < r->nchains; i++) {
		struct fake_chain *c = r->chains[i];

		for (unsigned k = 0; k < c->nout + c->nin; k++)
			free(c->iov[k].iov_base);
		free(c);
	}
	free(r->chains);
	free(r->avail);
	free(r->used);
	memset(r, 0, sizeof(*r));
}

struct fake_chain *fake_ring_add(struct fake_ring *r, const void *out, const uint32_t *outs, unsigned nout,
				 const uint32_t *ins, unsigned nin)
{
	struct fake_chain *c = calloc(1, sizeof(*c));
	const uint8_t *from = out;

	assert(c && nout + nin <= VQT_CHAIN_IOV);
	for (unsigned i = 0; i < nout + nin; i++) {
		uint32_t len = i < nout ? outs[i] : ins[i - nout];

		c->iov[i] = (struct iovec){malloc(len ? len : 1), len};
		assert(c->iov[i].iov_base);
		if (i < nout) {
			if (len)
				memcpy(c->iov[i].iov_base, from, len);
			from += len;
			c->out_len += len;
		} else {
			memset(c->iov[i].iov_base, FAKE_RING_FILL, len);
			c->in_len += len;
		}
	}
	c->nout = (uint16_t)nout;
	c->nin = (uint16_t)nin;
	c->token = r->nchains;
	r->chains = grown(r->chains, &r->room, r->nchains + 1, sizeof(*r->chains));
	r->chains[r->nchains++] = c;
	r->avail = grown(r->avail, &r->avail_room, r->tail + 1, sizeof(*r->avail));
	r->avail[r->tail++] = c->token;
	return c;
}

struct fake_chain *fake_ring_add1(struct fake_ring *r, const void *out, uint32_t out_len, uint32_t in_len)
{
	return fake_ring_add(r, out, &out_len, out_len ? 1 : 0, &in_len, in_len ? 1 : 0);
}

static int op_pop(void *ring, struct vqt_chain *c)
{
	struct fake_ring *r = ring;
	struct fake_chain *k;

	assert(!r->closed);
	if (r->good && !--r->good)
		r->broken = true;
	else if (r->broken)
		return -EBADMSG;
	if (r->head == r->tail)
		return 0;
	k = r->chains[r->avail[r->head++]];
	assert(k->state == FAKE_AVAIL);
	k->state = FAKE_TAKEN;
	r->taken++;
	c->token = k->token;
	c->nout = k->nout;
	c->nin = k->nin;
	c->out_len = k->out_len;
	c->in_len = k->in_len;
	memcpy(c->iov, k->iov, (size_t)(k->nout + k->nin) * sizeof(struct iovec));
	return 1;
}

static unsigned op_pop_burst(void *ring, struct vqt_piece *p, unsigned n, bool in, uint32_t max)
{
	struct fake_ring *r = ring;
	unsigned i;

	assert(!r->closed && n && n <= VQT_BURST && max <= INT32_MAX);
	if (r->good || r->broken)
		return 0;
	for (i = 0; i < n && r->head != r->tail; i++) {
		struct fake_chain *k = r->chains[r->avail[r->head]];

		if (k->nout != !in || k->nin != in || !k->iov[0].iov_len || k->iov[0].iov_len > max)
			break;
		assert(k->state == FAKE_AVAIL);
		r->head++;
		k->state = FAKE_TAKEN;
		r->taken++;
		p[i] = (struct vqt_piece){
			.token = k->token, .len = (uint32_t)k->iov[0].iov_len, .at = k->iov[0].iov_base};
	}
	return i;
}

static void op_unpop(void *ring, unsigned n)
{
	struct fake_ring *r = ring;

	assert(!r->closed && n <= r->head);
	while (n--) {
		struct fake_chain *k = r->chains[r->avail[--r->head]];

		assert(k->state == FAKE_TAKEN);
		k->state = FAKE_AVAIL;
		r->taken--;
	}
}

static void op_push(void *ring, const struct vqt_chain *c, uint32_t written)
{
	struct fake_ring *r = ring;
	struct fake_chain *k;

	assert(!r->closed && c->token < r->nchains);
	k = r->chains[c->token];
	assert(k->state == FAKE_TAKEN && written <= k->in_len);
	k->state = FAKE_PUSHED;
	k->written = written;
	r->taken--;
	r->used = grown(r->used, &r->used_room, r->npushed + 1, sizeof(*r->used));
	r->used[r->npushed++] = k->token;
}

static void op_push_burst(void *ring, const struct vqt_piece *p, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct vqt_chain c;

		c.token = p[i].token;
		op_push(ring, &c, p[i].written);
	}
}

static void op_flush(void *ring)
{
	struct fake_ring *r = ring;

	assert(!r->closed);
	for (; r->nused < r->npushed; r->nused++)
		r->chains[r->used[r->nused]]->state = FAKE_USED;
	r->flushes++;
}

const struct vqt_ring_ops fake_ring_ops = {.pop = op_pop,
					   .unpop = op_unpop,
					   .push = op_push,
					   .flush = op_flush,
					   .pop_burst = op_pop_burst,
					   .push_burst = op_push_burst};

const struct vqt_ring_ops fake_ring_ops_single = {
	.pop = op_pop, .unpop = op_unpop, .push = op_push, .flush = op_flush};

struct fake_chain *fake_ring_used(struct fake_ring *r)
{
	return r->seen < r->nused ? r->chains[r->used[r->seen++]] : NULL;
}

void fake_ring_retake(struct fake_ring *r)
{
	uint32_t *rest = calloc(r->tail - r->head + r->taken + 1, sizeof(*rest)), n = 0;

	assert(rest);
	for (uint32_t i = 0; i < r->head; i++) {
		struct fake_chain *k = r->chains[r->avail[i]];

		if (k->state == FAKE_TAKEN) {
			k->state = FAKE_AVAIL;
			rest[n++] = k->token;
		}
	}
	for (uint32_t i = r->head; i < r->tail; i++)
		rest[n++] = r->avail[i];
	free(r->avail);
	r->avail = rest;
	r->avail_room = n;
	r->head = 0;
	r->tail = n;
	r->taken = 0;
}

void fake_chain_read(const struct fake_chain *c, uint32_t off, void *dst, uint32_t n)
{
	uint8_t *to = dst;

	for (unsigned i = c->nout; n && i < c->nout + c->nin; i++) {
		uint32_t len = (uint32_t)c->iov[i].iov_len, take;

		if (off >= len) {
			off -= len;
			continue;
		}
		take = len - off < n ? len - off : n;
		memcpy(to, (const uint8_t *)c->iov[i].iov_base + off, take);
		to += take;
		n -= take;
		off = 0;
	}
	assert(!n);
}

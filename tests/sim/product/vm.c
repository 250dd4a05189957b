/* SPDX-License-Identifier: Apache-2.0 */
/* Guests: their rings, which survive an agent, and their lives. */
#include <stdlib.h>
#include <string.h>

#include "tests/sim/product/product.h"

/* ---- the front-end's side of a ring ---- */

/* The ring a port may touch. */
static struct gring *ring_of(void *ring)
{
	struct gport *p = ring;
	struct gring *r = p->ring;

	sim_check(&r->vm->w->s, r->user == p, "vm %u: a front-end touches ring %u, which is not its",
		  r->vm->index, r->vq);
	return r;
}

/* Tokens name the life too: what was taken from a former one must never come back. */
static uint32_t token_of(const struct gring *r, const struct gslot *s)
{
	return r->vm->life << 8 | (uint32_t)(s - r->slot);
}

static int op_pop(void *ring, struct vqt_chain *c)
{
	struct gring *r = ring_of(ring);
	struct gslot *s;

	if (r->head == r->tail)
		return 0;
	s = &r->slot[r->avail[r->head++ % (4 * RING)]];
	sim_check(&r->vm->w->s, s->state == GS_AVAIL, "ring %u: popped twice", r->vq);
	s->state = GS_TAKEN;
	c->token = token_of(r, s);
	c->nout = s->nout;
	c->nin = s->nin;
	c->out_len = s->out_len;
	c->in_len = s->in_len;
	memcpy(c->iov, s->iov, sizeof(s->iov));
	return 1;
}

static void op_unpop(void *ring, unsigned n)
{
	struct gring *r = ring_of(ring);

	while (n--) {
		struct gslot *s = &r->slot[r->avail[--r->head % (4 * RING)]];

		sim_check(&r->vm->w->s, s->state == GS_TAKEN, "ring %u: unpop of what is not taken", r->vq);
		s->state = GS_AVAIL;
	}
}

static void op_push(void *ring, const struct vqt_chain *c, uint32_t written)
{
	struct gring *r = ring_of(ring);
	struct gslot *s = &r->slot[c->token & 0xff];

	sim_check(&r->vm->w->s, c->token == token_of(r, s) && s->state == GS_TAKEN,
		  "vm %u ring %u: a chain is completed that is not in flight", r->vm->index, r->vq);
	sim_check(&r->vm->w->s, written <= s->in_len, "ring %u: %u bytes written of %u", r->vq, written,
		  s->in_len);
	s->state = GS_PUSHED;
	s->written = written;
	r->used[r->pushed++ % (2 * RING)] = (uint16_t)(s - r->slot);
}

static void on_irq(struct sim *s, void *ctx, uint64_t arg)
{
	struct vm *vm = ctx;

	(void)s;
	if (arg == vm->life && vm->running)
		vm_poll(vm);
}

static void op_flush(void *ring)
{
	struct gring *r = ring_of(ring);
	struct world *w = r->vm->w;

	for (; r->published != r->pushed; r->published++)
		r->slot[r->used[r->published % (2 * RING)]].state = GS_USED;
	if (r->irq)
		return;
	r->irq = true;
	sim_at(&w->s, w->s.now + 500 + below(w, 5000), on_irq, r->vm, r->vm->life);
}

const struct vqt_ring_ops gring_ops = {.pop = op_pop, .unpop = op_unpop, .push = op_push, .flush = op_flush};

void gring_connect(struct gring *r, struct gport *p)
{
	uint16_t left[RING];
	uint32_t n = 0;

	r->user = p;
	if (!p)
		return;
	/* In the order in which the guest made them available. What was pushed and not published is in flight
	 * as far as the inflight region knows, and comes again. */
	r->pushed = r->published;
	for (uint32_t i = 0; i < RING; i++) {
		struct gslot *s = &r->slot[i];
		uint32_t k = n;

		if (s->state != GS_TAKEN && s->state != GS_AVAIL && s->state != GS_PUSHED)
			continue;
		s->state = GS_AVAIL;
		for (n++; k && r->slot[left[k - 1]].order > s->order; k--)
			left[k] = left[k - 1];
		left[k] = (uint16_t)i;
	}
	r->head = r->tail = 0;
	while (r->tail < n) {
		r->avail[r->tail] = left[r->tail];
		r->tail++;
	}
}

/* ---- the guest's side ---- */

struct gslot *gring_free_slot(struct gring *r)
{
	for (uint32_t i = 0; i < RING; i++)
		if (r->slot[i].state == GS_FREE)
			return &r->slot[i];
	return NULL;
}

static uint16_t cut(struct gring *r, struct iovec *iov, uint8_t *mem, uint32_t len, uint32_t most)
{
	uint16_t n = 0;

	while (len) {
		uint32_t part = n + 1u == most || chance(r->vm->w, 600000)
					? len
					: 1 + (uint32_t)below(r->vm->w, len);

		iov[n++] = (struct iovec){mem, part};
		mem += part;
		len -= part;
	}
	return n;
}

void gring_offer(struct gring *r, struct gslot *s, uint32_t out_len, uint32_t in_len)
{
	s->out_len = out_len;
	s->in_len = in_len;
	s->nout = cut(r, s->iov, s->mem, out_len, RING_IOV / 2);
	s->nin = cut(r, s->iov + s->nout, s->mem + out_len, in_len, RING_IOV / 2);
	memset(s->mem + out_len, 0xa5, in_len < 64 ? in_len : 64);
	s->order = r->order++;
	s->state = GS_AVAIL;
	r->avail[r->tail++ % (4 * RING)] = (uint16_t)(s - r->slot);
}

void gring_kick(struct gring *r)
{
	struct vm *vm = r->vm;

	agent_kick(agent_of(vm->w, vm->host), vm, r->net, r->vq);
}

static void slot_free(struct gslot *s)
{
	free(s->mem);
	s->mem = NULL;
	s->state = GS_FREE;
}

static void poll_blk(struct gring *r)
{
	for (; r->seen != r->published; r->seen++) {
		struct gslot *s = &r->slot[r->used[r->seen % (2 * RING)]];

		vm_blk_used(r->vm, r, s);
		slot_free(s);
	}
}

void vm_poll(struct vm *vm)
{
	for (unsigned q = 0; q < BLKQ; q++) {
		vm->blk[q].irq = false;
		poll_blk(&vm->blk[q]);
	}
	for (unsigned q = 0; q < NETQ; q++) {
		struct gring *r = &vm->eth[q];

		r->irq = false;
		if (q % 2 == 0) {
			vm_net_used(vm, r);
			continue;
		}
		for (; r->seen != r->published; r->seen++)
			slot_free(&r->slot[r->used[r->seen % (2 * RING)]]);
	}
	vm_net_fill(vm);
	if (!vm->w->quiet && !vm->rebooting)
		vm_blk_submit(vm);
}

static void ring_reset(struct gring *r)
{
	for (uint32_t i = 0; i < RING; i++) {
		struct gslot *s = &r->slot[i];

		if (!r->net && s->state != GS_FREE)
			vm_blk_give_up(r->vm, s);
		slot_free(s);
	}
	r->head = r->tail = r->pushed = r->published = r->seen = 0;
	r->irq = false;
	r->user = NULL;
}

static void reset(struct vm *vm)
{
	for (unsigned q = 0; q < BLKQ; q++)
		ring_reset(&vm->blk[q]);
	for (unsigned q = 0; q < NETQ; q++)
		ring_reset(&vm->eth[q]);
	vm->inflight = 0;
	vm->running = vm->rebooting = false;
	vm->life++;
}

void vm_kill(struct vm *vm)
{
	if (!vm->running)
		return;
	agent_gone(agent_of(vm->w, vm->host), vm);
	reset(vm);
}

static void work(struct sim *s, void *ctx, uint64_t arg)
{
	struct vm *vm = ctx;
	struct world *w = vm->w;

	if (arg != vm->life || !vm->running || w->quiet)
		return;
	if (!vm->rebooting) {
		vm_blk_submit(vm);
		vm_net_send(vm);
	}
	sim_at(s, s->now + 10000 + below(w, 300000), work, vm, vm->life);
}

void vm_start(struct vm *vm)
{
	struct world *w = vm->w;

	sim_check(&w->s, !vm->running, "started twice");
	vm->running = true;
	vm_net_fill(vm);
	agent_connect(agent_of(w, vm->host), vm);
	sim_at(&w->s, w->s.now + below(w, 100000), work, vm, vm->life);
}

/* Its queues are drained first, then all begins anew. */
static void try_reset(struct sim *s, void *ctx, uint64_t arg)
{
	struct vm *vm = ctx;

	if (arg != vm->life || !vm->running)
		return;
	if (!agent_drain(agent_of(vm->w, vm->host), vm)) {
		sim_at(s, s->now + 200000, try_reset, vm, vm->life);
		return;
	}
	vm_poll(vm);
	agent_gone(agent_of(vm->w, vm->host), vm);
	reset(vm);
	vm_start(vm);
}

void vm_reboot(struct vm *vm)
{
	if (!vm->running || vm->rebooting)
		return;
	vm->rebooting = true;
	try_reset(&vm->w->s, vm, vm->life);
}

void vm_init(struct vm *vm, struct world *w, unsigned index)
{
	*vm = (struct vm){.w = w, .index = index, .host = w->home[index], .net = w->small ? 0 : index % 2};
	vm->write_through = chance(w, 300000);
	vm->super = chance(w, 600000);
	vm->mergeable = chance(w, 700000);
	vm->depth = 1 + (uint32_t)below(w, 24);
	vm->base = (uint32_t)below(w, SECTORS - 40);
	for (unsigned q = 0; q < BLKQ; q++)
		vm->blk[q] = (struct gring){.vm = vm, .vq = q};
	for (unsigned q = 0; q < NETQ; q++)
		vm->eth[q] = (struct gring){.vm = vm, .vq = q, .net = true};
}

void vm_fini(struct vm *vm)
{
	for (unsigned q = 0; q < BLKQ; q++)
		for (uint32_t i = 0; i < RING; i++)
			free(vm->blk[q].slot[i].mem);
	for (unsigned q = 0; q < NETQ; q++)
		for (uint32_t i = 0; i < RING; i++)
			free(vm->eth[q].slot[i].mem);
	for (uint32_t i = 0; i < SECTORS; i++)
		free(vm->reg[i].w);
	free(vm->unstable);
}

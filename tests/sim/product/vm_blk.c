/* SPDX-License-Identifier: Apache-2.0 */
/* A guest's requests: drawn, checked when they end. */
#include <stdlib.h>
#include <string.h>

#include "tests/sim/product/product.h"

static void put_le(uint8_t *p, uint64_t v, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		p[i] = (uint8_t)(v >> 8 * i);
}

/* Most requests fight for a few sectors. */
static void draw_range(struct vm *vm, struct greq *q)
{
	struct world *w = vm->w;

	if (chance(w, 30000)) {
		q->count = 128 + (uint32_t)below(w, chance(w, 100000) ? 1920 : 200);
		q->lba = (uint32_t)below(w, SECTORS - q->count + 1);
		return;
	}
	q->count = 1 + (uint32_t)below(w, 8);
	q->lba = vm->base + (uint32_t)below(w, 33 - q->count);
}

static void draw(struct vm *vm, struct greq *q)
{
	struct world *w = vm->w;
	uint64_t k = below(w, 100);

	*q = (struct greq){.type = BLK_T_OUT, .inv = w->s.now, .tag = (uint64_t)(vm->index + 1) << 48};
	q->tag += ++vm->requests;
	draw_range(vm, q);
	if (k < 45)
		return;
	if (k < 88)
		q->type = BLK_T_IN;
	else if (k < 94)
		q->type = vm->write_through ? BLK_T_IN : BLK_T_FLUSH;
	else if (k < 96)
		q->type = BLK_T_WRITE_ZEROES;
	else if (k < 98)
		q->type = BLK_T_DISCARD;
	else if (k < 99)
		q->type = BLK_T_GET_ID;
	else
		q->invalid = true; /* beyond the end */
}

static bool is_write(const struct greq *q)
{
	return !q->invalid &&
	       (q->type == BLK_T_OUT || q->type == BLK_T_WRITE_ZEROES || q->type == BLK_T_DISCARD);
}

static void lengths(const struct greq *q, uint32_t *out, uint32_t *in)
{
	*out = BLK_HDR_LEN;
	*in = 1;
	if (q->type == BLK_T_OUT)
		*out += q->count * SECTOR;
	else if (q->type == BLK_T_IN)
		*in += q->count * SECTOR;
	else if (q->type == BLK_T_WRITE_ZEROES || q->type == BLK_T_DISCARD)
		*out += BLK_SEG_LEN;
	else if (q->type == BLK_T_GET_ID)
		*in += BLK_ID_LEN;
}

static void write_head(const struct greq *q, uint8_t *p)
{
	uint64_t lba = q->invalid ? SECTORS : q->lba;

	memset(p, 0, BLK_HDR_LEN);
	put_le(p, q->type, 4);
	if (q->type == BLK_T_OUT || q->type == BLK_T_IN)
		put_le(p + 8, lba, 8);
	p += BLK_HDR_LEN;
	if (q->type == BLK_T_WRITE_ZEROES || q->type == BLK_T_DISCARD) {
		put_le(p, lba, 8);
		put_le(p + 8, q->count, 4);
		put_le(p + 12, 0, 4);
	}
	for (uint32_t i = 0; q->type == BLK_T_OUT && i < q->count; i++)
		sector_fill(p + (size_t)i * SECTOR, q->lba + i, q->tag);
}

void vm_blk_submit(struct vm *vm)
{
	struct world *w = vm->w;

	while (vm->inflight < vm->depth && !chance(w, 200000)) {
		struct gring *r = &vm->blk[below(w, BLKQ)];
		struct gslot *s = gring_free_slot(r);
		uint32_t out, in;

		if (!s)
			return;
		draw(vm, &s->req);
		lengths(&s->req, &out, &in);
		s->mem = malloc(out + in);
		sim_check(&w->s, s->mem, "out of memory");
		write_head(&s->req, s->mem);
		for (uint32_t i = 0; is_write(&s->req) && i < s->req.count; i++)
			check_write(vm, s->req.lba + i, s->req.tag,
				    s->req.type == BLK_T_OUT ? s->req.tag : 0);
		gring_offer(r, s, out, in);
		gring_kick(r);
		vm->inflight++;
		stat_add(w, S_requests, 1);
		stat_add(w, S_writes, s->req.type == BLK_T_OUT);
		stat_add(w, S_long_writes, s->req.type == BLK_T_OUT && s->req.count > 128);
		stat_add(w, S_reads, s->req.type == BLK_T_IN);
		stat_add(w, S_flushes, s->req.type == BLK_T_FLUSH);
	}
}

/* 1: done well. 0: an error that the disk has made. */
static bool check_status(struct vm *vm, const struct greq *q, const struct gslot *s)
{
	uint8_t status = s->mem[s->out_len + s->in_len - 1];
	struct world *w = vm->w;

	if (q->invalid) {
		sim_check(&w->s, status == BLK_S_IOERR, "vm %u: status %u for a request beyond the end",
			  vm->index, status);
		return false;
	}
	if (status == BLK_S_IOERR) {
		vm->io_errors++;
		stat_add(w, S_io_errors, 1);
		sim_check(&w->s, vm->io_errors <= w->disk[vm->index].errors,
			  "vm %u: an I/O error that the disk did not make", vm->index);
		return false;
	}
	sim_check(&w->s, status == BLK_S_OK, "vm %u: status %u of request type %u", vm->index, status,
		  q->type);
	if (q->type == BLK_T_IN || q->type == BLK_T_GET_ID || s->in_len == 1)
		sim_check(&w->s, s->written == s->in_len, "vm %u: %u of %u bytes written", vm->index,
			  s->written, s->in_len);
	return true;
}

static void check_data(struct vm *vm, const struct greq *q, const uint8_t *in)
{
	for (uint32_t i = 0; i < q->count; i++) {
		uint64_t value;

		sim_check(&vm->w->s, sector_value(in + (size_t)i * SECTOR, q->lba + i, &value),
			  "vm %u: sector %u reads as bytes nobody wrote", vm->index, q->lba + i);
		check_read(vm, q->lba + i, value, q->inv);
	}
}

static void end_write(struct vm *vm, const struct greq *q, bool ok)
{
	/* A discard is a hint: it becomes stable by a flush alone. */
	bool stable = !vm->w->disk[vm->index].cache || (vm->write_through && q->type != BLK_T_DISCARD);

	for (uint32_t i = 0; i < q->count; i++)
		check_written(vm, q->lba + i, q->tag, ok, stable);
}

void vm_blk_used(struct vm *vm, struct gring *r, struct gslot *s)
{
	const struct greq *q = &s->req;
	const uint8_t *in = s->mem + s->out_len;
	bool ok = check_status(vm, q, s);

	(void)r;
	vm->inflight--;
	sim_note(&vm->w->s, &vm->w->s.now, sizeof(vm->w->s.now));
	sim_note(&vm->w->s, &q->tag, sizeof(q->tag));
	sim_note(&vm->w->s, &in[s->in_len - 1], 1);
	if (is_write(q))
		end_write(vm, q, ok);
	else if (ok && q->type == BLK_T_IN)
		check_data(vm, q, in);
	else if (ok && q->type == BLK_T_FLUSH)
		check_flushed(vm, q->inv);
	else if (ok && q->type == BLK_T_GET_ID)
		sim_check(&vm->w->s, in[0] == 'd' && in[1] == '0' + vm->index, "vm %u: the wrong disk",
			  vm->index);
}

void vm_blk_give_up(struct vm *vm, struct gslot *s)
{
	stat_add(vm->w, S_given_up, 1);
	if (is_write(&s->req))
		end_write(vm, &s->req, false);
}

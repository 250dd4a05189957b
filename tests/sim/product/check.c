/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Registers. A read may give what a write wrote unless the write is known to be over: overwritten by
 * a write that began after it had ended and that had ended (or had been read) before the read began; or
 * missed by a read that began after it had ended, for reads that begin after that one. A write whose guest
 * died has ended when the guest did: it may have happened or not, but whatever a later life does comes after
 * it.
 */
#include <stdlib.h>

#include "tests/sim/product/product.h"

/* It happened no later. A write that is pending may happen once more, when its session or its agent dies. */
static uint64_t effective(const struct wr *w)
{
	return w->rsp < w->seen ? w->rsp : w->seen;
}

static bool certain(const struct wr *w)
{
	return w->ok || w->seen != FOREVER;
}

/* Every volume starts as zeroes that were always there. */
static struct reg *reg_at(struct vm *vm, uint32_t lba)
{
	struct reg *r = &vm->reg[lba];

	if (r->n == r->room) {
		r->room = r->room ? 2 * r->room : 8;
		r->w = realloc(r->w, r->room * sizeof(*r->w));
		sim_check(&vm->w->s, r->w, "out of memory");
	}
	if (!r->n)
		r->w[r->n++] = (struct wr){.ok = true, .stable = true, .seen = FOREVER, .dead = FOREVER};
	return r;
}

void check_write(struct vm *vm, uint32_t lba, uint64_t tag, uint64_t value)
{
	struct reg *r = reg_at(vm, lba);

	r = reg_at(vm, lba); /* the first call may have filled the room */
	r->w[r->n++] = (struct wr){.tag = tag,
				   .value = value,
				   .inv = vm->w->s.now,
				   .rsp = FOREVER,
				   .seen = FOREVER,
				   .dead = FOREVER};
}

void check_written(struct vm *vm, uint32_t lba, uint64_t tag, bool ok, bool stable)
{
	struct reg *r = &vm->reg[lba];
	uint32_t i = r->n;

	while (r->w[--i].tag != tag)
		;
	sim_check(&vm->w->s, r->w[i].rsp == FOREVER, "vm %u: a write ended twice", vm->index);
	r->w[i].rsp = vm->w->s.now;
	r->w[i].ok = ok;
	r->w[i].stable = ok && stable;
	if (!ok || stable)
		return;
	if (vm->nunstable == vm->room) {
		vm->room = vm->room ? 2 * vm->room : 256;
		vm->unstable = realloc(vm->unstable, vm->room * sizeof(*vm->unstable));
		sim_check(&vm->w->s, vm->unstable, "out of memory");
	}
	vm->unstable[vm->nunstable++] = (uint64_t)lba << 32 | i;
}

static bool possible(const struct reg *r, const struct wr *w, uint64_t inv)
{
	if (w->dead < inv)
		return false;
	for (uint32_t i = 0; i < r->n; i++) {
		const struct wr *o = &r->w[i];

		if (certain(o) && o->inv > w->rsp && effective(o) < inv)
			return false;
	}
	return true;
}

void check_read(struct vm *vm, uint32_t lba, uint64_t value, uint64_t inv)
{
	struct reg *r = reg_at(vm, lba);
	struct wr *found = NULL;
	unsigned n = 0, same = 0;

	for (uint32_t i = 0; i < r->n; i++) {
		if (r->w[i].value != value)
			continue;
		same++;
		if (possible(r, &r->w[i], inv)) {
			found = &r->w[i];
			n++;
		}
	}
	sim_check(&vm->w->s, n, "vm %u: sector %u reads as %llx, %s (%u writes of it, last was %llx)",
		  vm->index, lba, (unsigned long long)value,
		  same ? "which was overwritten: a stale value" : "which nobody wrote", r->n,
		  (unsigned long long)r->w[r->n - 1].value);
	if (n > 1)
		return;
	if (vm->w->s.now < found->seen)
		found->seen = vm->w->s.now;
	for (uint32_t i = 0; i < r->n; i++)
		if (&r->w[i] != found && r->w[i].rsp < inv && vm->w->s.now < r->w[i].dead)
			r->w[i].dead = vm->w->s.now;
}

void check_flushed(struct vm *vm, uint64_t inv)
{
	uint32_t left = 0;

	for (uint32_t i = 0; i < vm->nunstable; i++) {
		struct wr *w = &vm->reg[vm->unstable[i] >> 32].w[(uint32_t)vm->unstable[i]];

		if (w->rsp < inv)
			w->stable = true;
		else
			vm->unstable[left++] = vm->unstable[i];
	}
	vm->nunstable = left;
}

/* What is not stable may be there or not; what only unstable writes had overwritten may be back. */
void check_power_cut(struct vm *vm)
{
	for (uint32_t lba = 0; lba < SECTORS; lba++) {
		struct reg *r = &vm->reg[lba];

		for (uint32_t i = 0; i < r->n; i++) {
			struct wr *w = &r->w[i];

			if (w->stable)
				continue;
			w->ok = false;
			w->seen = FOREVER;
		}
		for (uint32_t i = 0; i < r->n; i++) {
			r->w[i].dead = FOREVER;
			for (uint32_t k = 0; k < r->n; k++)
				if (r->w[k].stable && r->w[k].inv > r->w[i].rsp)
					r->w[i].dead = vm->w->s.now;
		}
	}
	vm->nunstable = 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "appliance/bdev/filter.h"
#include "tests/lib/crash_disk.h"

#define SECTOR	512u
#define NEVER	UINT32_MAX
#define MISSING 0, 0 /* the sectors of a write that are there: [from, to) */

struct rec {
	enum bdev_op op;
	bool fua;
	uint64_t offset;
	uint32_t sectors;
	uint8_t *data; /* NULL: zeroes */
	unsigned submitted, completed;
	unsigned stable; /* from this instant on */
};

struct crash_disk {
	struct filter f;
	enum crash_disk_lie lie;
	struct rec *recs;
	unsigned nrecs, max;
	unsigned now;
	unsigned last_completion;
};

/* The part of each write that a state has; recs of other kinds have none. */
struct span {
	uint32_t from, to;
};

static struct crash_disk *disk_of(const struct bdev *b)
{
	return container_of(filter_of((struct bdev *)(uintptr_t)b), struct crash_disk, f);
}

static bool writes(const struct rec *r)
{
	return r->op == BDEV_WRITE || r->op == BDEV_WRITE_ZEROES || r->op == BDEV_DISCARD;
}

/* A flush has completed: what had completed before it was submitted is stable now. */
static void flushed(struct crash_disk *d, const struct rec *flush)
{
	for (unsigned i = 0; i < d->nrecs; i++) {
		struct rec *r = &d->recs[i];

		if (!writes(r) || r->completed == NEVER || r->completed >= flush->submitted)
			continue;
		if (d->lie == CRASH_FLUSH_IGNORED ||
		    (d->lie == CRASH_FLUSH_EARLY && r->completed == d->last_completion))
			continue;
		if (r->stable > d->now)
			r->stable = d->now;
	}
}

static void disk_done(struct bdev_io *low)
{
	struct crash_disk *d = disk_of(filter_upper(low)->bdev);
	struct rec *r = low->ctx;

	if (r && low->result == 0) {
		r->completed = ++d->now;
		if (writes(r)) {
			d->last_completion = r->completed;
			if (r->fua && d->lie != CRASH_FUA_IGNORED)
				r->stable = r->completed;
		} else if (r->op == BDEV_FLUSH) {
			flushed(d, r);
		}
	}
	filter_end(low, low->result);
}

static int record(struct crash_disk *d, const struct bdev_io *io, struct rec **out)
{
	struct rec *r = &d->recs[d->nrecs];

	if (d->nrecs == d->max)
		return -ENOSPC;
	*r = (struct rec){.op = io->op,
			  .fua = io->flags & BDEV_F_FUA,
			  .offset = io->offset,
			  .sectors = (uint32_t)(io->length / SECTOR),
			  .completed = NEVER,
			  .stable = NEVER};
	if (io->op == BDEV_WRITE) {
		r->data = malloc(io->length);
		if (!r->data)
			return -ENOMEM;
		bdev_iov_gather(r->data, io->iov, io->niov, 0, io->length);
	}
	*out = r;
	return 0;
}

static int disk_submit(struct bdev *b, struct bdev_io *io)
{
	struct crash_disk *d = disk_of(b);
	struct bdev_io *low = filter_take(&d->f, io, disk_done);
	struct rec *r = NULL;
	int err;

	if (!low)
		return -EAGAIN;
	err = io->op == BDEV_READ ? 0 : record(d, io, &r);
	if (err) {
		filter_drop(low);
		bdev_complete(io, err);
		return 0;
	}
	low->ctx = r;
	err = filter_pass(low);
	if (!err && r) {
		r->submitted = ++d->now;
		d->nrecs++;
	} else if (r) {
		free(r->data);
	}
	return err;
}

static void disk_close(struct bdev *b)
{
	struct crash_disk *d = disk_of(b);

	filter_fini(&d->f);
	for (unsigned i = 0; i < d->nrecs; i++)
		free(d->recs[i].data);
	free(d->recs);
	free(d);
}

static const struct bdev_ops disk_ops = {
	.name = "crash",
	.submit = disk_submit,
	.join = filter_join,
	.leave = filter_leave,
	.refresh = filter_refresh,
	.close = disk_close,
};

int crash_disk_open(struct bdev *lower, unsigned depth, unsigned max_writes, enum crash_disk_lie lie,
		    struct bdev **out)
{
	struct crash_disk *d = calloc(1, sizeof(*d));
	int err;

	if (!d)
		return -ENOMEM;
	d->lie = lie;
	d->max = max_writes;
	d->recs = calloc(max_writes, sizeof(*d->recs));
	err = d->recs ? filter_init(&d->f, &disk_ops, lower, depth) : -ENOMEM;
	if (err) {
		free(d->recs);
		free(d);
		return err;
	}
	d->f.b.info.write_cache = true;
	*out = &d->f.b;
	return 0;
}

unsigned crash_disk_now(const struct bdev *b)
{
	return disk_of(b)->now;
}

struct replay {
	const struct crash_disk *d;
	int (*check)(void *ctx, unsigned instant, const uint8_t *image);
	void *ctx;
	unsigned instant;
	struct span *spans;
	unsigned *order; /* recs that exist at this instant, as the cache would write them */
	unsigned norder;
	unsigned *vol; /* recs that are volatile at this instant */
	unsigned nvol;
	uint8_t *image;
	uint64_t states;
};

static void apply(uint8_t *image, const struct rec *r, struct span s)
{
	uint8_t *at = image + r->offset + (uint64_t)s.from * SECTOR;
	size_t len = (size_t)(s.to - s.from) * SECTOR;

	if (r->data)
		memcpy(at, r->data + (size_t)s.from * SECTOR, len);
	else
		memset(at, 0, len);
}

static int visit(struct replay *p)
{
	memset(p->image, 0, p->d->f.b.info.size);
	for (unsigned i = 0; i < p->norder; i++)
		apply(p->image, &p->d->recs[p->order[i]], p->spans[p->order[i]]);
	p->states++;
	return p->check(p->ctx, p->instant, p->image);
}

static struct span whole(const struct replay *p, unsigned i)
{
	return (struct span){0, p->d->recs[i].sectors};
}

static void set_all(struct replay *p, bool there)
{
	for (unsigned v = 0; v < p->nvol; v++)
		p->spans[p->vol[v]] = there ? whole(p, p->vol[v]) : (struct span){MISSING};
}

/* One volatile write against the rest: alone in the cache's favour, or alone in its disfavour; torn. */
static int visit_single(struct replay *p, unsigned i, bool rest)
{
	uint32_t n = p->d->recs[i].sectors;
	int err;

	p->spans[i] = rest ? (struct span){MISSING} : whole(p, i);
	err = visit(p);
	for (uint32_t cut = 1; cut < n && !err; cut++) {
		p->spans[i] = (struct span){0, cut};
		err = visit(p);
		if (err)
			break;
		p->spans[i] = (struct span){cut, n};
		err = visit(p);
	}
	p->spans[i] = rest ? whole(p, i) : (struct span){MISSING};
	return err;
}

static int visit_pair(struct replay *p, unsigned i, unsigned j, bool rest)
{
	int err;

	p->spans[i] = rest ? (struct span){MISSING} : whole(p, i);
	p->spans[j] = rest ? (struct span){MISSING} : whole(p, j);
	err = visit(p);
	p->spans[i] = rest ? whole(p, i) : (struct span){MISSING};
	p->spans[j] = rest ? whole(p, j) : (struct span){MISSING};
	return err;
}

/* Completion decides which of two writes to a sector wins; what has not completed comes last. */
static bool before(const struct rec *a, const struct rec *b, unsigned instant)
{
	unsigned ca = a->completed <= instant ? a->completed : NEVER;
	unsigned cb = b->completed <= instant ? b->completed : NEVER;

	return ca != cb ? ca < cb : a->submitted < b->submitted;
}

static void gather(struct replay *p)
{
	p->norder = p->nvol = 0;
	for (unsigned i = 0; i < p->d->nrecs; i++) {
		const struct rec *r = &p->d->recs[i];
		unsigned at = p->norder;

		if (!writes(r) || r->submitted > p->instant)
			continue;
		for (; at > 0 && before(r, &p->d->recs[p->order[at - 1]], p->instant); at--)
			p->order[at] = p->order[at - 1];
		p->order[at] = i;
		p->norder++;
		p->spans[i] = whole(p, i);
		if (r->stable > p->instant)
			p->vol[p->nvol++] = i;
	}
}

static int visit_instant(struct replay *p)
{
	int err = 0;

	gather(p);
	for (int rest = 0; rest < 2 && !err; rest++) {
		set_all(p, rest);
		err = visit(p);
		for (unsigned i = 0; i < p->nvol && !err; i++) {
			err = visit_single(p, p->vol[i], rest);
			for (unsigned j = i + 1; j < p->nvol && !err; j++)
				err = visit_pair(p, p->vol[i], p->vol[j], rest);
		}
	}
	return err;
}

int crash_disk_replay(const struct bdev *b, int (*check)(void *ctx, unsigned instant, const uint8_t *image),
		      void *ctx, uint64_t *states)
{
	const struct crash_disk *d = disk_of(b);
	struct replay p = {.d = d, .check = check, .ctx = ctx};
	int err = -ENOMEM;

	p.spans = calloc(d->nrecs + 1, sizeof(*p.spans));
	p.order = calloc(d->nrecs + 1, sizeof(*p.order));
	p.vol = calloc(d->nrecs + 1, sizeof(*p.vol));
	p.image = malloc(b->info.size);
	if (p.spans && p.order && p.vol && p.image)
		for (p.instant = 0, err = 0; p.instant <= d->now && !err; p.instant++)
			err = visit_instant(&p);
	free(p.spans);
	free(p.order);
	free(p.vol);
	free(p.image);
	*states = p.states;
	return err;
}

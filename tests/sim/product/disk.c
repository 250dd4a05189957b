/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk that survives the appliance. A sector holds a value; its bytes follow from value and address,
 * and what is not such bytes was damaged on its way.
 *
 * A request takes effect in two halves at random instants, then completes. A write stays volatile
 * until it was FUA and completed, or a flush that was submitted after its completion has completed; a
 * cut of power keeps any prefix of what happened to each sector since.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/product/product.h"

static uint64_t mix(uint64_t z)
{
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

void sector_fill(uint8_t *p, uint32_t lba, uint64_t value)
{
	uint64_t k = mix(value + lba);

	if (!value) {
		memset(p, 0, SECTOR);
		return;
	}
	memcpy(p, &value, 8);
	for (unsigned i = 1; i < SECTOR / 8; i++) {
		k = k * 6364136223846793005ull + 1442695040888963407ull;
		memcpy(p + 8 * i, &k, 8);
	}
}

bool sector_value(const uint8_t *p, uint32_t lba, uint64_t *value)
{
	uint8_t want[SECTOR];

	memcpy(value, p, 8);
	sector_fill(want, lba, *value);
	return !memcmp(p, want, SECTOR);
}

/* Everything up to and with v[k] is on the medium. */
static void settle(struct sector *s, uint32_t k)
{
	s->durable = s->v[k].value;
	s->n -= k + 1;
	memmove(s->v, s->v + k + 1, s->n * sizeof(s->v[0]));
}

static uint64_t current(const struct sector *s)
{
	return s->n ? s->v[s->n - 1].value : s->durable;
}

static void put(struct disk *d, struct sector *s, uint64_t value, uint64_t id)
{
	if (s->n == VOLATILE || (s->n && chance(d->w, 50000)))
		settle(s, 0);
	s->v[s->n].value = value;
	s->v[s->n].id = id;
	s->v[s->n++].done = FOREVER;
}

/* Sectors [from, to) of the request happen. */
static void happen(struct disk_req *q, uint32_t from, uint32_t to)
{
	for (uint32_t i = from; i < to; i++) {
		struct sector *s = &q->d->s[q->lba + i];

		if (q->op == BDEV_READ)
			q->value[i] = current(s);
		else if (q->op != BDEV_FLUSH)
			put(q->d, s, q->value[i], q->id);
	}
}

static void write_done(struct disk_req *q)
{
	struct disk *d = q->d;

	d->seq++;
	for (uint32_t i = 0; i < q->count; i++) {
		struct sector *s = &d->s[q->lba + i];

		for (uint32_t k = s->n; k-- > 0;) {
			if (s->v[k].id != q->id)
				continue;
			s->v[k].done = d->seq;
			if (q->fua || !d->cache)
				settle(s, k);
			break;
		}
	}
}

static void flush_done(struct disk_req *q)
{
	for (uint32_t lba = 0; lba < SECTORS; lba++) {
		struct sector *s = &q->d->s[lba];

		for (uint32_t k = s->n; k-- > 0;) {
			if (s->v[k].done > q->flush_seq)
				continue;
			settle(s, k);
			break;
		}
	}
}

static void read_done(struct disk_req *q)
{
	uint8_t *bytes = malloc((size_t)q->count * SECTOR);

	sim_check(&q->d->w->s, bytes, "out of memory");
	for (uint32_t i = 0; i < q->count; i++)
		sector_fill(bytes + (size_t)i * SECTOR, q->lba + i, q->value[i]);
	bdev_iov_scatter(q->io->iov, q->io->niov, 0, bytes, (uint64_t)q->count * SECTOR);
	free(bytes);
}

static void req_free(struct disk_req *q)
{
	list_del(&q->node);
	q->d->nreqs--;
	free(q);
}

static void on_done(struct sim *s, void *ctx, uint64_t arg)
{
	struct disk *d = ctx;
	struct disk_req *q = NULL;

	(void)s;
	list_for_each (it, &d->reqs)
		if (container_of(it, struct disk_req, node)->id == arg)
			q = container_of(it, struct disk_req, node);
	if (!q)
		return; /* the power was cut */
	if (!q->failed) {
		happen(q, q->half, q->count);
		if (q->op == BDEV_FLUSH)
			flush_done(q);
		else if (q->op != BDEV_READ)
			write_done(q);
		else if (q->io)
			read_done(q);
	}
	if (q->io) {
		bdev_complete(q->io, q->failed ? -EIO : 0);
		app_wake(&d->w->app, d->w->s.now);
	} else {
		stat_add(d->w, S_late_ios, 1);
	}
	d->errors += q->failed && q->io;
	req_free(q);
}

static void on_half(struct sim *s, void *ctx, uint64_t arg)
{
	struct disk *d = ctx;

	(void)s;
	list_for_each (it, &d->reqs) {
		struct disk_req *q = container_of(it, struct disk_req, node);

		if (q->id == arg)
			happen(q, 0, q->half);
	}
}

struct simbdev {
	struct bdev b;
	struct disk *d;
};

static void take_values(struct disk_req *q, const struct bdev_io *io)
{
	uint8_t *bytes = malloc(io->length);

	sim_check(&q->d->w->s, bytes, "out of memory");
	bdev_iov_gather(bytes, io->iov, io->niov, 0, io->length);
	for (uint32_t i = 0; i < q->count; i++)
		sim_check(&q->d->w->s, sector_value(bytes + (size_t)i * SECTOR, q->lba + i, &q->value[i]),
			  "disk %u: sector %u is written with damaged bytes", q->d->index, q->lba + i);
	free(bytes);
}

static int submit(struct bdev *b, struct bdev_io *io)
{
	struct disk *d = container_of(b, struct simbdev, b)->d;
	struct world *w = d->w;
	uint32_t count = (uint32_t)(io->length / SECTOR);
	bool sick = w->s.now < d->sick_until;
	struct disk_req *q;
	uint64_t t1, t2;

	if (b->outstanding > 1 && chance(w, w->level == CALM ? 0 : 20000))
		return -EAGAIN;
	q = calloc(1, sizeof(*q) + count * sizeof(q->value[0]));
	sim_check(&w->s, q, "out of memory");
	*q = (struct disk_req){.d = d,
			       .io = io,
			       .op = io->op,
			       .fua = io->flags & BDEV_F_FUA,
			       .lba = (uint32_t)(io->offset / SECTOR),
			       .count = count,
			       .id = ++d->next_id,
			       .flush_seq = d->seq};
	list_add_tail(&d->reqs, &q->node);
	d->nreqs++;
	if (io->op == BDEV_WRITE)
		take_values(q, io);
	q->half = (uint32_t)below(w, count + 1);
	q->failed = !w->quiet && (chance(w, d->error) || (sick && d->fails && chance(w, 900000)));
	t1 = w->s.now + 1000 + below(w, d->latency);
	t2 = t1 + 1000 + below(w, d->latency);
	if (chance(w, d->slow) || (sick && !d->fails))
		t2 += below(w, 30 * MSEC);
	if (chance(w, d->slow))
		t1 = t2;
	sim_at(&w->s, t1, on_half, d, q->id);
	sim_at(&w->s, t2, on_done, d, q->id);
	return 0;
}

static void op_close(struct bdev *b)
{
	free(container_of(b, struct simbdev, b));
}

static const struct bdev_ops ops = {.name = "sim", .submit = submit, .close = op_close};

struct bdev *disk_open(struct disk *d)
{
	struct simbdev *b = calloc(1, sizeof(*b));

	sim_check(&d->w->s, b, "out of memory");
	b->d = d;
	b->b = (struct bdev){.ops = &ops,
			     .info = {.size = (uint64_t)SECTORS * SECTOR,
				      .block = SECTOR,
				      .phys_block = 4096,
				      .can_discard = true,
				      .can_write_zeroes = true,
				      .write_cache = d->cache}};
	return &b->b;
}

void disk_orphan(struct disk *d)
{
	list_for_each (it, &d->reqs) {
		struct disk_req *q = container_of(it, struct disk_req, node);

		if (q->io)
			bdev_complete(q->io, -EIO);
		q->io = NULL;
	}
}

void disk_power_cut(struct disk *d)
{
	list_for_each_safe (it, &d->reqs) {
		struct disk_req *q = container_of(it, struct disk_req, node);

		if (q->op != BDEV_READ && q->op != BDEV_FLUSH && chance(d->w, 500000))
			happen(q, 0, (uint32_t)below(d->w, q->count + 1));
		req_free(q);
	}
	for (uint32_t lba = 0; lba < SECTORS; lba++) {
		struct sector *s = &d->s[lba];
		uint32_t keep = s->n ? (uint32_t)below(d->w, s->n + 1) : 0;

		if (keep)
			s->durable = s->v[keep - 1].value;
		s->n = 0;
	}
}

void disk_init(struct disk *d, struct world *w, unsigned index)
{
	*d = (struct disk){.w = w, .index = index};
	list_init(&d->reqs);
	d->cache = chance(w, 700000);
	d->latency = 10000 + below(w, 400000);
	d->slow = w->level == FULL && chance(w, 500000) ? 50000 : 0;
	d->error = w->level == FULL && chance(w, 200000) ? 10000 : 0;
}

void disk_fini(struct disk *d)
{
	list_for_each_safe (it, &d->reqs)
		req_free(container_of(it, struct disk_req, node));
}

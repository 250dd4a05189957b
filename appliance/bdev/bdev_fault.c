/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>

#include "appliance/bdev/bdev_filter.h"
#include "appliance/bdev/filter.h"

struct fault {
	struct filter f;
	struct bdev_fault_cfg cfg;
	uint64_t seen, hits;
};

static struct fault *fault_of(struct bdev *b)
{
	return container_of(filter_of(b), struct fault, f);
}

static void pass_done(struct bdev_io *io)
{
	filter_end(io, io->result);
}

/* The backend did it; the caller is told otherwise. */
static void struck_done(struct bdev_io *io)
{
	struct fault *f = fault_of(filter_upper(io)->bdev);

	filter_end(io, -f->cfg.err);
}

/* The first half of a transfer, in whole blocks, under a cut iovec list. */
static int submit_half(struct fault *f, struct bdev_io *io)
{
	uint64_t half = io->length / 2 / io->bdev->info.block * io->bdev->info.block;
	struct bdev_io *low;
	uint64_t left = half;
	struct iovec *iov;
	unsigned n = 0;

	low = filter_take(&f->f, io, struck_done);
	if (!low)
		return -EAGAIN;
	iov = filter_iov(low);
	for (; left && n < io->niov && n < FILTER_IOV; n++) {
		iov[n] = io->iov[n];
		if (iov[n].iov_len > left)
			iov[n].iov_len = left;
		left -= iov[n].iov_len;
	}
	low->length = half - left;
	low->iov = iov;
	low->niov = n;
	if (left || low->length == 0) {
		/* Nothing is left of one block, or the list is too long to be cut: an error without effect.
		 */
		filter_drop(low);
		bdev_complete(io, -f->cfg.err);
		return 0;
	}
	return filter_pass(low);
}

static int strike(struct fault *f, struct bdev_io *io)
{
	struct bdev_io *low;

	switch (f->cfg.kind) {
	case BDEV_FAULT_SHORT:
		if (io->op == BDEV_READ || io->op == BDEV_WRITE)
			return submit_half(f, io);
		break;
	case BDEV_FAULT_AFTER:
		low = filter_take(&f->f, io, struck_done);
		return low ? filter_pass(low) : -EAGAIN;
	case BDEV_FAULT_TIMEOUT:
		bdev_complete_at(io, -ETIMEDOUT, bdev_group_now(io->bdev->group) + f->cfg.timeout_ns);
		return 0;
	case BDEV_FAULT_BUSY:
		return -EAGAIN;
	default:
		break;
	}
	bdev_complete(io, -f->cfg.err);
	return 0;
}

static int fault_submit(struct bdev *b, struct bdev_io *io)
{
	struct fault *f = fault_of(b);
	const struct bdev_fault_cfg *cfg = &f->cfg;
	struct bdev_io *low;
	int err;

	if (cfg->nth && (!cfg->ops || cfg->ops & 1u << io->op)) {
		uint64_t n = f->seen + 1;

		if (n >= cfg->nth && n - cfg->nth < cfg->count) {
			err = strike(f, io);
			/* A refusal that was not meant is no strike: the request comes again. */
			if (!err || cfg->kind == BDEV_FAULT_BUSY) {
				f->seen++;
				f->hits++;
			}
			return err;
		}
	}
	low = filter_take(&f->f, io, pass_done);
	err = low ? filter_pass(low) : -EAGAIN;
	if (!err && (!cfg->ops || cfg->ops & 1u << io->op))
		f->seen++;
	return err;
}

static void fault_close(struct bdev *b)
{
	struct fault *f = fault_of(b);

	filter_fini(&f->f);
	free(f);
}

static const struct bdev_ops fault_ops = {
	.name = "fault",
	.submit = fault_submit,
	.join = filter_join,
	.leave = filter_leave,
	.refresh = filter_refresh,
	.close = fault_close,
};

int bdev_fault_open(struct bdev *lower, unsigned depth, struct bdev **out)
{
	struct fault *f = calloc(1, sizeof(*f));
	int err;

	if (!f)
		return -ENOMEM;
	err = filter_init(&f->f, &fault_ops, lower, depth);
	if (err) {
		free(f);
		return err;
	}
	*out = &f->f.b;
	return 0;
}

void bdev_fault_set(struct bdev *b, const struct bdev_fault_cfg *cfg)
{
	struct fault *f = fault_of(b);

	f->cfg = *cfg;
	f->cfg.count = cfg->count ? cfg->count : 1;
	f->cfg.err = cfg->err ? cfg->err : EIO;
	f->seen = 0;
}

uint64_t bdev_fault_hits(const struct bdev *b)
{
	return fault_of((struct bdev *)(uintptr_t)b)->hits;
}

uint64_t bdev_fault_seen(const struct bdev *b)
{
	return fault_of((struct bdev *)(uintptr_t)b)->seen;
}

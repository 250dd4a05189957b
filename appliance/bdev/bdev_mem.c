/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "appliance/bdev/bdev_impl.h"
#include "appliance/bdev/bdev_mem.h"

struct mem {
	struct bdev b;
	uint8_t *bytes;
};

static struct mem *mem_of(struct bdev *b)
{
	return container_of(b, struct mem, b);
}

/* Give whole pages back to the kernel, which reads them as zeroes from then on; clear the rest. */
static void zero(struct mem *m, uint64_t offset, uint64_t length, bool unmap)
{
	uint64_t first = (offset + 4095) & ~4095ull;
	uint64_t end = (offset + length) & ~4095ull;

	if (!unmap || end <= first || madvise(m->bytes + first, end - first, MADV_DONTNEED) < 0) {
		memset(m->bytes + offset, 0, length);
		return;
	}
	memset(m->bytes + offset, 0, first - offset);
	memset(m->bytes + end, 0, offset + length - end);
}

static int mem_submit(struct bdev *b, struct bdev_io *io)
{
	struct mem *m = mem_of(b);

	switch (io->op) {
	case BDEV_READ:
		bdev_iov_scatter(io->iov, io->niov, 0, m->bytes + io->offset, io->length);
		break;
	case BDEV_WRITE:
		bdev_iov_gather(m->bytes + io->offset, io->iov, io->niov, 0, io->length);
		break;
	case BDEV_DISCARD:
		zero(m, io->offset, io->length, true);
		break;
	case BDEV_WRITE_ZEROES:
		zero(m, io->offset, io->length, io->flags & BDEV_F_UNMAP);
		break;
	default: /* FLUSH: there is nothing more stable to go to */
		break;
	}
	bdev_complete(io, 0);
	return 0;
}

static void mem_close(struct bdev *b)
{
	struct mem *m = mem_of(b);

	munmap(m->bytes, b->info.size);
	free(m);
}

static const struct bdev_ops mem_ops = {.name = "mem", .submit = mem_submit, .close = mem_close};

int bdev_mem_open(uint64_t size, uint32_t block, struct bdev **out)
{
	struct mem *m;

	if ((block != 512 && block != 4096) || size == 0 || size % block || size > (uint64_t)INT64_MAX)
		return -EINVAL;
	m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	m->bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
			0);
	if (m->bytes == MAP_FAILED) {
		free(m);
		return -ENOMEM;
	}
	m->b.ops = &mem_ops;
	m->b.info = (struct bdev_info){
		.size = size,
		.block = block,
		.phys_block = 4096,
		.can_discard = true,
		.can_write_zeroes = true,
	};
	*out = &m->b;
	return 0;
}

uint8_t *bdev_mem_bytes(struct bdev *b)
{
	return mem_of(b)->bytes;
}

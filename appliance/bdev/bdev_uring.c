/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "appliance/bdev/bdev_uring.h"
#include "appliance/bdev/uring_engine.h"

static struct uring_volume *volume_of(struct bdev *b)
{
	return container_of(b, struct uring_volume, b);
}

static int vol_submit(struct bdev *b, struct bdev_io *io)
{
	struct uring_volume *v = volume_of(b);

	return uring_engine_submit(v->engine, v, io);
}

static int vol_join(struct bdev *b)
{
	return uring_engine_of(b->group, &volume_of(b)->engine);
}

static void vol_leave(struct bdev *b)
{
	volume_of(b)->engine = NULL;
}

static int read_size(struct uring_volume *v, uint64_t *size)
{
	struct stat st;

	if (v->block_device)
		return ioctl(v->fd, BLKGETSIZE64, size) < 0 ? -errno : 0;
	if (fstat(v->fd, &st) < 0)
		return -errno;
	*size = (uint64_t)st.st_size;
	return 0;
}

static int vol_refresh(struct bdev *b)
{
	uint64_t size;
	int err = read_size(volume_of(b), &size);

	if (err)
		return err;
	/* Never smaller: requests beyond the end of a shrunken file end with errors of their own. */
	if (size > b->info.size)
		b->info.size = size - size % b->info.block;
	return 0;
}

static void vol_close(struct bdev *b)
{
	close(volume_of(b)->fd);
	free(volume_of(b));
}

static const struct bdev_ops vol_ops = {
	.name = "uring",
	.submit = vol_submit,
	.join = vol_join,
	.leave = vol_leave,
	.refresh = vol_refresh,
	.close = vol_close,
};

/* Direct I/O where it works at the volume's block: silence of the file system means that it
 * does not (tmpfs accepts the flag and buffers). */
static void try_direct(struct uring_volume *v)
{
	struct statx sx;
	int flags;

	if (statx(v->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &sx) < 0 || !(sx.stx_mask & STATX_DIOALIGN) ||
	    sx.stx_dio_offset_align == 0 || v->b.info.block % sx.stx_dio_offset_align)
		return;
	flags = fcntl(v->fd, F_GETFL);
	if (flags < 0 || fcntl(v->fd, F_SETFL, flags | O_DIRECT) < 0)
		return;
	v->direct = true;
	v->mem_align = sx.stx_dio_mem_align ? sx.stx_dio_mem_align : 1;
	v->len_align = sx.stx_dio_offset_align;
}

/* io_uring hands each transfer of such a file to a thread, since tmpfs cannot say that it would not wait. */
static bool is_in_memory(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) == 0 && (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC);
}

static int describe(struct uring_volume *v, const struct bdev_uring_cfg *cfg)
{
	struct bdev_info *info = &v->b.info;
	uint64_t size = 0;
	int logical = 512, err;
	unsigned physical = 4096;

	if (v->block_device &&
	    (ioctl(v->fd, BLKSSZGET, &logical) < 0 || ioctl(v->fd, BLKPBSZGET, &physical) < 0))
		return -errno;
	err = read_size(v, &size);
	if (err)
		return err;
	info->block = cfg->block ? cfg->block : (uint32_t)logical;
	if ((info->block != 512 && info->block != 4096) || info->block < (uint32_t)logical)
		return -EINVAL;
	if (size == 0 || size % info->block)
		return -EINVAL;
	info->size = size;
	info->phys_block = physical > info->block ? physical : info->block;
	info->read_only = cfg->read_only;
	info->write_cache = true;
	info->can_write_zeroes = true;
	/* Asked of a file behind its end, where a hole changes nothing. A device's discard need not read
	 * as zeroes, so devices offer none. */
	info->can_discard = !cfg->no_unmap && !cfg->read_only && !v->block_device &&
			    fallocate(v->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				      (off_t)((size + 4095) & ~4095ull), 4096) == 0;
	return 0;
}

static int open_locked(const struct bdev_uring_cfg *cfg, struct uring_volume *v)
{
	int flags = O_CLOEXEC | O_NONBLOCK | (cfg->read_only ? O_RDONLY : O_RDWR);
	struct stat st;

	/* A device that is mounted, or part of another one, is refused: EBUSY (open(2), O_EXCL). */
	if (!cfg->read_only && stat(cfg->path, &st) == 0 && S_ISBLK(st.st_mode))
		flags |= O_EXCL;
	v->fd = open(cfg->path, flags);
	if (v->fd < 0)
		return -errno;
	if (fstat(v->fd, &st) < 0)
		return -errno;
	v->block_device = S_ISBLK(st.st_mode);
	if (!v->block_device && !S_ISREG(st.st_mode))
		return -EINVAL;
	/* O_NONBLOCK was against blocking on a FIFO; requests must not see it. */
	if (fcntl(v->fd, F_SETFL, 0) < 0)
		return -errno;
	if (flock(v->fd, (cfg->read_only ? LOCK_SH : LOCK_EX) | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? -EBUSY : -errno;
	return 0;
}

int bdev_uring_open(const struct bdev_uring_cfg *cfg, struct bdev **out)
{
	struct uring_volume *v = calloc(1, sizeof(*v));
	int err;

	if (!v)
		return -ENOMEM;
	v->fd = -1;
	v->b.ops = &vol_ops;
	err = open_locked(cfg, v);
	if (!err)
		err = describe(v, cfg);
	if (err) {
		if (v->fd >= 0)
			close(v->fd);
		free(v);
		return err;
	}
	if (!cfg->buffered)
		try_direct(v);
	v->in_memory = !v->block_device && is_in_memory(v->fd);
	*out = &v->b;
	return 0;
}

bool bdev_uring_is_direct(const struct bdev *b)
{
	return b->ops == &vol_ops && container_of(b, struct uring_volume, b)->direct;
}

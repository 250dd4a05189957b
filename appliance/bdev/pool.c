/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "appliance/bdev/pool.h"

#define SUFFIX	     ".raw"
#define LOCK_WAIT_MS 1000u
#define LOCK_TRY_MS  5u
#define FILE_MAX     (POOL_NAME_MAX + sizeof(SUFFIX))

/* The file system is the state: sizes and names are read from it when asked, so nothing here can
 * disagree with it. */
struct pool {
	char *dir;
	int dir_fd;
	int volumes_fd;
	int trash_fd;
	int lock_fd;
	uint64_t capacity;
	uint64_t serial; /* of names in the trash */
};

bool pool_name_ok(const char *name)
{
	size_t n = name ? strnlen(name, POOL_NAME_MAX + 1) : 0;

	if (n == 0 || n > POOL_NAME_MAX)
		return false;
	for (size_t i = 0; i < n; i++) {
		char c = name[i];
		bool alnum = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');

		if (!alnum && (i == 0 || (c != '.' && c != '_' && c != '-')))
			return false;
	}
	return true;
}

static int file_name(const char *name, char out[FILE_MAX])
{
	if (!pool_name_ok(name))
		return -EINVAL;
	snprintf(out, FILE_MAX, "%s" SUFFIX, name);
	return 0;
}

/* NAME of NAME.raw, or false for what is no volume of ours. */
static bool volume_name(const char *file, char out[POOL_NAME_MAX + 1])
{
	size_t n = strlen(file), s = strlen(SUFFIX);

	if (n <= s || n - s > POOL_NAME_MAX || strcmp(file + n - s, SUFFIX) != 0)
		return false;
	memcpy(out, file, n - s);
	out[n - s] = '\0';
	return pool_name_ok(out);
}

static int sync_fd(int fd)
{
	return fsync(fd) < 0 ? -errno : 0;
}

static int sub_dir(int parent, const char *name)
{
	int fd;

	if (mkdirat(parent, name, 0700) < 0 && errno != EEXIST)
		return -errno;
	fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	return fd < 0 ? -errno : fd;
}

static DIR *read_dir(int dir_fd)
{
	/* An own open file description: positions are not shared. */
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);

	if (!d && fd >= 0)
		close(fd);
	return d;
}

static int empty_trash(int fd)
{
	DIR *d = read_dir(fd);
	struct dirent *e;
	int err = 0;

	if (!d)
		return -errno;
	while ((e = readdir(d))) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		if (unlinkat(fd, e->d_name, 0) < 0 && errno != ENOENT)
			err = -errno;
	}
	closedir(d);
	return err;
}

/* A predecessor that was killed holds the lock until the kernel has taken it down, some
 * milliseconds when it had I/O in flight. */
static int lock_pool(int fd)
{
	for (unsigned ms = 0;; ms += LOCK_TRY_MS) {
		if (flock(fd, LOCK_EX | LOCK_NB) == 0)
			return 0;
		if (errno != EWOULDBLOCK)
			return -errno;
		if (ms >= LOCK_WAIT_MS)
			return -EBUSY;
		poll(NULL, 0, LOCK_TRY_MS);
	}
}

static int open_dirs(struct pool *p)
{
	int err;

	if (mkdir(p->dir, 0700) < 0 && errno != EEXIST)
		return -errno;
	p->dir_fd = open(p->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (p->dir_fd < 0)
		return -errno;
	p->lock_fd = openat(p->dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (p->lock_fd < 0)
		return -errno;
	err = lock_pool(p->lock_fd);
	if (err)
		return err;
	p->volumes_fd = sub_dir(p->dir_fd, "volumes");
	if (p->volumes_fd < 0)
		return p->volumes_fd;
	p->trash_fd = sub_dir(p->dir_fd, "trash");
	if (p->trash_fd < 0)
		return p->trash_fd;
	return sync_fd(p->dir_fd);
}

int pool_open(const char *dir, uint64_t capacity, struct pool **out)
{
	struct pool *p = calloc(1, sizeof(*p));
	struct statvfs vfs;
	int err = -ENOMEM;

	if (!p)
		return err;
	p->dir_fd = p->volumes_fd = p->trash_fd = p->lock_fd = -1;
	p->dir = strdup(dir);
	if (p->dir)
		err = open_dirs(p);
	if (!err)
		err = empty_trash(p->trash_fd);
	if (!err && fstatvfs(p->dir_fd, &vfs) < 0)
		err = -errno;
	if (err) {
		pool_close(p);
		return err;
	}
	p->capacity = capacity ? capacity : (uint64_t)vfs.f_blocks * vfs.f_frsize;
	*out = p;
	return 0;
}

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

void pool_close(struct pool *p)
{
	if (!p)
		return;
	close_fd(p->trash_fd);
	close_fd(p->volumes_fd);
	close_fd(p->lock_fd);
	close_fd(p->dir_fd);
	free(p->dir);
	free(p);
}

static int stat_file(const struct pool *p, const char *file, struct pool_volume *out)
{
	struct stat st;

	if (!volume_name(file, out->name))
		return -EINVAL;
	if (fstatat(p->volumes_fd, file, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	out->size = (uint64_t)st.st_size;
	out->allocated = (uint64_t)st.st_blocks * 512;
	return 0;
}

int pool_stat(const struct pool *p, const char *name, struct pool_volume *out)
{
	char file[FILE_MAX];
	int err = file_name(name, file);

	return err ? err : stat_file(p, file, out);
}

int pool_space(const struct pool *p, struct pool_space *out)
{
	struct pool_volume v;
	struct statvfs vfs;
	struct dirent *e;
	DIR *d;

	if (fstatvfs(p->dir_fd, &vfs) < 0)
		return -errno;
	d = read_dir(p->volumes_fd);
	if (!d)
		return -errno;
	*out = (struct pool_space){.capacity = p->capacity, .free = (uint64_t)vfs.f_bavail * vfs.f_frsize};
	while ((e = readdir(d))) {
		if (stat_file(p, e->d_name, &v))
			continue;
		out->reserved += v.size;
		out->used += v.allocated;
		out->volumes++;
	}
	closedir(d);
	return 0;
}

/* Can the pool promise `more` bytes beside what it has promised? */
static int check_space(const struct pool *p, uint64_t more)
{
	struct pool_space s;
	int err = pool_space(p, &s);

	if (err)
		return err;
	return s.reserved > s.capacity || more > s.capacity - s.reserved ? -ENOSPC : 0;
}

static bool size_ok(uint64_t size)
{
	return size > 0 && size % 512 == 0 && size <= POOL_VOLUME_MAX;
}

/* Both directories of a rename. */
static int sync_dirs(const struct pool *p)
{
	int err = sync_fd(p->volumes_fd);

	return err ? err : sync_fd(p->trash_fd);
}

static int make_file(const struct pool *p, const char *tmp, uint64_t size)
{
	int fd = openat(p->trash_fd, tmp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	int err = 0;

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)size) < 0 || fsync(fd) < 0)
		err = -errno;
	close(fd);
	return err;
}

int pool_create(struct pool *p, const char *name, uint64_t size)
{
	char file[FILE_MAX], tmp[32];
	struct pool_volume v;
	int err = file_name(name, file);

	if (err || !size_ok(size))
		return -EINVAL;
	err = stat_file(p, file, &v);
	if (err != -ENOENT)
		return err == 0 || err == -EINVAL ? -EEXIST : err;
	err = check_space(p, size);
	if (err)
		return err;
	snprintf(tmp, sizeof(tmp), "%llu.new", (unsigned long long)p->serial++);
	err = make_file(p, tmp, size);
	if (!err && renameat2(p->trash_fd, tmp, p->volumes_fd, file, RENAME_NOREPLACE) < 0)
		err = -errno;
	if (err) {
		unlinkat(p->trash_fd, tmp, 0);
		return err;
	}
	err = sync_dirs(p);
	if (err)
		unlinkat(p->volumes_fd, file, 0);
	return err;
}

static int open_volume(const struct pool *p, const char *file)
{
	int fd = openat(p->volumes_fd, file, O_RDWR | O_CLOEXEC | O_NOFOLLOW);

	return fd < 0 ? -errno : fd;
}

int pool_delete(struct pool *p, const char *name)
{
	char file[FILE_MAX], tmp[32];
	int err = file_name(name, file), fd;

	if (err)
		return err;
	fd = open_volume(p, file);
	if (fd < 0)
		return fd;
	/* Whoever has it open as a bdev holds this lock. */
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		err = errno == EWOULDBLOCK ? -EBUSY : -errno;
		close(fd);
		return err;
	}
	snprintf(tmp, sizeof(tmp), "%llu.old", (unsigned long long)p->serial++);
	if (renameat(p->volumes_fd, file, p->trash_fd, tmp) < 0)
		err = -errno;
	close(fd);
	if (!err)
		err = sync_dirs(p);
	/* A crash before this leaves it to the next open. */
	if (!err && unlinkat(p->trash_fd, tmp, 0) < 0)
		err = -errno;
	return err;
}

int pool_resize(struct pool *p, const char *name, uint64_t size)
{
	char file[FILE_MAX];
	struct pool_volume v;
	int err = file_name(name, file), fd;

	if (!err)
		err = stat_file(p, file, &v);
	if (err)
		return err;
	if (!size_ok(size) || size < v.size)
		return -EINVAL;
	err = check_space(p, size - v.size);
	if (err || size == v.size)
		return size == v.size ? 0 : err;
	fd = open_volume(p, file);
	if (fd < 0)
		return fd;
	if (ftruncate(fd, (off_t)size) < 0) {
		err = -errno;
	} else if (fsync(fd) < 0) {
		err = -errno;
		/* Nobody has seen the new end yet; should this fail too, the volume is just larger. */
		if (ftruncate(fd, (off_t)v.size) < 0)
			err = -EIO;
	}
	close(fd);
	return err;
}

int pool_path(const struct pool *p, const char *name, char *buf, size_t size)
{
	struct pool_volume v;
	int err = pool_stat(p, name, &v), n;

	if (err)
		return err;
	n = snprintf(buf, size, "%s/volumes/%s" SUFFIX, p->dir, name);
	return n < 0 || (size_t)n >= size ? -ENAMETOOLONG : 0;
}

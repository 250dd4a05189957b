/* SPDX-License-Identifier: Apache-2.0 */
#include "hostagent/frontend/fe_saved.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int path_of(char path[512], const char *dir, const char *name)
{
	/* No device's name begins with a dot. */
	int n = snprintf(path, 512, "%s/.%s.rings", dir, name);

	return n > 0 && n < 512 ? 0 : -ENAMETOOLONG;
}

/* The file a predecessor left; -1: none that can be trusted. */
static int open_old(const char *path, size_t len)
{
	int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	struct stat st;

	if (fd < 0)
		return -1;
	if (!fstat(fd, &st) && S_ISREG(st.st_mode) && st.st_uid == geteuid() && !(st.st_mode & 077) &&
	    st.st_nlink == 1 && (size_t)st.st_size == len)
		return fd;
	close(fd);
	return -1;
}

static int open_new(const char *path, size_t len)
{
	int fd, err;

	if (unlink(path) && errno != ENOENT)
		return -errno;
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	/* All of it now: a full file system must not show as SIGBUS later. */
	err = posix_fallocate(fd, 0, (off_t)len);
	if (err) {
		unlink(path);
		close(fd);
		return -err;
	}
	return fd;
}

int fe_saved_open(struct fe_saved *s, const char *dir, const char *name, size_t len)
{
	char path[512];
	int err = path_of(path, dir, name), fd;

	if (err)
		return err;
	fd = open_old(path, len);
	if (fd < 0)
		fd = open_new(path, len);
	if (fd < 0)
		return fd;
	s->at = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	err = s->at == MAP_FAILED ? -errno : 0;
	close(fd);
	if (err)
		s->at = NULL;
	s->len = len;
	return err;
}

void fe_saved_close(struct fe_saved *s, const char *dir, const char *name, int remove)
{
	char path[512];

	if (!s->at)
		return;
	munmap(s->at, s->len);
	s->at = NULL;
	if (remove && !path_of(path, dir, name))
		unlink(path);
}

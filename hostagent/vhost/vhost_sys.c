/* SPDX-License-Identifier: Apache-2.0 */
/* struct vhost_sys over Linux: mmap with guard, memfd. vhost_signal.c has the eventfds. */
#include "hostagent/vhost/vhost_guard.h"
#include "hostagent/vhost/vhost_signal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static int sys_map(void *arg, int fd, uint64_t off, uint64_t len, struct vhost_map *m)
{
	struct stat st;
	uint64_t unit, start, end;
	void *p;
	int err;

	(void)arg;
	if (fstat(fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	if (len == 0 || off > UINT64_MAX - len || off + len > (uint64_t)st.st_size)
		return -ERANGE;
	/* Huge page files are mapped in whole huge pages, which is what their block size says. */
	unit = st.st_blksize >= 4096 && !(st.st_blksize & (st.st_blksize - 1)) ? (uint64_t)st.st_blksize
									       : 4096;
	start = off & ~(unit - 1);
	end = (off + len + unit - 1) & ~(unit - 1);
	p = mmap(NULL, end - start, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, (off_t)start);
	if (p == MAP_FAILED)
		return -errno;
	m->base = p;
	m->base_len = end - start;
	m->at = m->base + (off - start);
	m->len = len;
	err = vhost_guard_add(m);
	if (err) {
		munmap(p, m->base_len);
		return err;
	}
	/* A core dump of the agent must not carry the guests' memory. */
	(void)madvise(p, m->base_len, MADV_DONTDUMP);
	return 0;
}

static void sys_unmap(void *arg, struct vhost_map *m)
{
	(void)arg;
	vhost_guard_remove(m);
	munmap(m->base, m->base_len);
	m->at = m->base = NULL;
}

static int sys_memfd(void *arg, uint64_t len)
{
	int fd = memfd_create("outrigger-inflight", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	(void)arg;
	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)len) || fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL)) {
		int err = -errno;

		close(fd);
		return err;
	}
	return fd;
}

static void sys_close(void *arg, int fd)
{
	(void)arg;
	vhost_signal_go(); /* its number may be another's next */
	close(fd);
}

/* A front-end may hand over any file. */
static int sys_event(void *arg, int fd)
{
	static const char want[] = "anon_inode:[eventfd]";
	char path[32], is[sizeof(want)];
	ssize_t n;

	(void)arg;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, is, sizeof(is));
	return n == sizeof(want) - 1 && !memcmp(is, want, sizeof(want) - 1) ? 0 : -EINVAL;
}

static void sys_signal(void *arg, int fd)
{
	(void)arg;
	vhost_signal(fd);
}

static int sys_send(void *arg, int fd, const void *bytes, size_t len)
{
	ssize_t n = send(fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);

	(void)arg;
	if (n < 0)
		return -errno;
	return (size_t)n == len ? 0 : -EIO;
}

const struct vhost_sys vhost_sys_linux = {sys_map,   sys_unmap,	 sys_memfd, sys_close,
					  sys_event, sys_signal, sys_send};

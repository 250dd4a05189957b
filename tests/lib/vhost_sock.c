/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/vhost_sock.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_MS 60000

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static int sock_send(void *arg, const void *msg, size_t len, const int *fds, unsigned nfds)
{
	struct vhost_sock *s = arg;
	char control[CMSG_SPACE(64 * sizeof(int))] __attribute__((aligned(8))) = {0};
	struct iovec iov = {(void *)(uintptr_t)msg, len};
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n;

	if (nfds) {
		struct cmsghdr *c;

		mh.msg_control = control;
		mh.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
		c = CMSG_FIRSTHDR(&mh);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(nfds * sizeof(int));
		memcpy(CMSG_DATA(c), fds, nfds * sizeof(int));
	}
	n = sendmsg(s->fd, &mh, MSG_NOSIGNAL);
	s->pump(s->pump_arg);
	return n == (ssize_t)len ? 0 : -1;
}

/* want bytes, and the descriptor that came with them; a peer may send a reply in pieces. */
static bool take(struct vhost_sock *s, void *at, size_t want, int *fd)
{
	char control[CMSG_SPACE(sizeof(int))] __attribute__((aligned(8)));
	uint64_t end = now_ms() + PATIENCE_MS;

	for (size_t got = 0; got < want;) {
		struct iovec iov = {(uint8_t *)at + got, want - got};
		struct msghdr mh = {.msg_iov = &iov,
				    .msg_iovlen = 1,
				    .msg_control = control,
				    .msg_controllen = sizeof(control)};
		ssize_t n = recvmsg(s->fd, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		struct cmsghdr *c;

		if (n < 0 && errno == EAGAIN && now_ms() < end) {
			s->pump(s->pump_arg);
			continue;
		}
		if (n <= 0)
			return false;
		got += (size_t)n;
		c = CMSG_FIRSTHDR(&mh);
		if (c && c->cmsg_type == SCM_RIGHTS)
			memcpy(fd, CMSG_DATA(c), sizeof(*fd));
	}
	return true;
}

static int sock_recv(void *arg, void *msg, size_t room, int *fd)
{
	struct vhost_sock *s = arg;
	struct vhost_hdr h;

	*fd = -1;
	if (!take(s, &h, sizeof(h), fd))
		return -1;
	assert(sizeof(h) + h.size <= room);
	memcpy(msg, &h, sizeof(h));
	if (!take(s, (uint8_t *)msg + sizeof(h), h.size, fd))
		return -1;
	return (int)(sizeof(h) + h.size);
}

struct vfront_wire vhost_sock_wire(struct vhost_sock *s)
{
	return (struct vfront_wire){sock_send, sock_recv, s};
}

static struct sockaddr_un address(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};

	assert(strlen(path) < sizeof(a.sun_path));
	strcpy(a.sun_path, path);
	return a;
}

int vhost_sock_listen(const char *path)
{
	struct sockaddr_un a = address(path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	assert(fd >= 0);
	assert(!bind(fd, (struct sockaddr *)&a, sizeof(a)));
	assert(!listen(fd, 1));
	return fd;
}

int vhost_sock_connect(const char *path)
{
	struct sockaddr_un a = address(path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert(fd >= 0);
	if (connect(fd, (struct sockaddr *)&a, sizeof(a))) {
		close(fd);
		return -1;
	}
	return fd;
}

int vhost_sock_accept(struct vhost_sock *s, int lfd)
{
	uint64_t end = now_ms() + PATIENCE_MS;
	int fd;

	while ((fd = accept4(lfd, NULL, NULL, SOCK_CLOEXEC)) < 0 && now_ms() < end)
		s->pump(s->pump_arg);
	return fd;
}

static bool is_closed(void *arg)
{
	struct vhost_sock *s = arg;
	char x;
	ssize_t n = recv(s->fd, &x, 1, MSG_DONTWAIT | MSG_PEEK);

	return n == 0 || (n < 0 && errno != EAGAIN);
}

bool vhost_sock_closed(struct vhost_sock *s)
{
	return vhost_sock_until(s, is_closed, s);
}

bool vhost_sock_until(struct vhost_sock *s, bool (*cond)(void *arg), void *arg)
{
	uint64_t end = now_ms() + PATIENCE_MS;

	while (!cond(arg)) {
		if (now_ms() >= end)
			return false;
		s->pump(s->pump_arg);
	}
	return true;
}

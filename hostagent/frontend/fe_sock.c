/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The socket of one device. A NIC's is QEMU's (server=on): we connect when its name appears, and try
 * again with growing pauses while it refuses (bound but not listening yet, or left behind). A disk's is
 * ours: we listen, QEMU connects and reconnects; one connection at a time.
 *
 * Exactly one message is read at a time, with recvmsg() of the bytes that it still lacks: descriptors then
 * belong to it and to no other. A peer that sends half a message and waits holds one buffer, nothing else.
 */
#include "hostagent/frontend/fe_vu.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define RETRY_FIRST_MS 10u
#define RETRY_MAX_MS   30000u
/* Messages handled per wake-up: a front-end that sends without end shares the loop with all others. */
#define MESSAGES_PER_TURN 16
/* A message is sent in one piece. Who leaves one half said may even be gone, if what it said first was
 * a descriptor of its own end: that end is then open in us. */
#define STALL_S 2
/* A connection that cannot be taken (no descriptor is left) stays where it waits, and would wake the loop for
 * ever. */
#define ACCEPT_PAUSE_S 1

static void retry_later(struct fe_vu *f)
{
	struct timeval tv = {f->retry_ms / 1000, f->retry_ms % 1000 * 1000};

	evtimer_add(f->retry_ev, &tv);
	f->retry_ms = f->retry_ms * 2 < RETRY_MAX_MS ? f->retry_ms * 2 : RETRY_MAX_MS;
}

static void close_strays(struct fe_vu *f)
{
	for (unsigned i = 0; i < f->nfds; i++)
		close(f->fds[i]);
	f->nfds = 0;
	f->too_many_fds = false;
	f->got = 0;
}

static int adopt_fds(struct fe_vu *f, struct msghdr *mh)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c; c = CMSG_NXTHDR(mh, c)) {
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(fd), sizeof(fd));
			if (f->nfds < VHOST_FDS_MAX) {
				f->fds[f->nfds++] = fd;
			} else {
				close(fd);
				f->too_many_fds = true;
			}
		}
	}
	/* What did not fit the control buffer was closed by the kernel. */
	return mh->msg_flags & MSG_CTRUNC || f->too_many_fds ? -EPROTO : 0;
}

/* Up to `want` bytes of the message under way: how many, 0: nothing there now, -errno: it is over. */
static ssize_t receive(struct fe_vu *f, size_t want)
{
	char control[CMSG_SPACE(16 * sizeof(int))] __attribute__((aligned(__alignof__(struct cmsghdr))));
	struct iovec iov = {f->buf + f->got, want};
	struct msghdr mh = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(f->fd, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	if (adopt_fds(f, &mh))
		return -EPROTO;
	return n == 0 ? -ECONNRESET : n;
}

/* Read and handle one message at most: 1: one was handled, 0: more bytes must come, -errno: drop. */
static int one_message(struct fe_vu *f)
{
	for (;;) {
		size_t want = VHOST_HDR_LEN;
		struct vhost_hdr h;
		ssize_t n;
		int err;

		if (f->got >= VHOST_HDR_LEN) {
			memcpy(&h, f->buf, sizeof(h));
			if (h.size > VHOST_PAYLOAD_MAX)
				return -EPROTO;
			want += h.size;
		}
		if (f->got == want && f->got >= VHOST_HDR_LEN) {
			err = fe_vu_message(f);
			f->got = 0;
			f->nfds = 0;
			return err ? err : 1;
		}
		n = receive(f, want - f->got);
		if (n <= 0)
			return (int)n;
		f->got += (size_t)n;
	}
}

static void watch_for_stall(struct fe_vu *f)
{
	static const struct timeval patience = {STALL_S, 0};

	if (f->got == 0)
		event_del(f->stall_ev);
	else if (!evtimer_pending(f->stall_ev, NULL))
		evtimer_add(f->stall_ev, &patience);
}

static void on_stall(evutil_socket_t fd, short what, void *arg)
{
	struct fe_vu *f = arg;

	(void)fd;
	(void)what;
	fe_vu_count(f, FE_VU_C_protocol_errors);
	fe_sock_drop(f);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct fe_vu *f = arg;

	(void)fd;
	(void)what;
	for (int i = 0; i < MESSAGES_PER_TURN && f->fd >= 0 && !vhost_blocked(f->v); i++) {
		int got = one_message(f);

		if (got < 0) {
			if (got != -ECONNRESET)
				fe_vu_count(f, FE_VU_C_protocol_errors);
			fe_sock_drop(f);
			return;
		}
		if (got == 0)
			break;
		/* The first whole message: whoever is there is no stale file. */
		f->retry_ms = RETRY_FIRST_MS;
	}
	watch_for_stall(f);
	fe_sock_resume(f);
}

static void on_hangup(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	fe_sock_drop(arg);
}

void fe_sock_resume(struct fe_vu *f)
{
	bool pause = vhost_blocked(f->v);

	if (f->fd < 0 || pause == f->paused)
		return;
	f->paused = pause;
	/* While a reply is owed nothing is read, but a peer that leaves is noticed. */
	if (pause) {
		event_del(f->read_ev);
		event_add(f->hup_ev, NULL);
	} else {
		event_del(f->hup_ev);
		event_add(f->read_ev, NULL);
	}
}

static void end_connection(struct fe_vu *f)
{
	if (f->read_ev)
		event_free(f->read_ev);
	if (f->hup_ev)
		event_free(f->hup_ev);
	if (f->stall_ev)
		event_free(f->stall_ev);
	f->read_ev = f->hup_ev = f->stall_ev = NULL;
	f->paused = false;
	close_strays(f);
	if (f->fd >= 0)
		close(f->fd);
	f->fd = -1;
}

static void adopt_connection(struct fe_vu *f, int fd)
{
	f->fd = fd;
	f->read_ev = event_new(f->base, fd, EV_READ | EV_PERSIST, on_readable, f);
	f->hup_ev = event_new(f->base, fd, EV_CLOSED, on_hangup, f);
	f->stall_ev = evtimer_new(f->base, on_stall, f);
	if (!f->read_ev || !f->hup_ev || !f->stall_ev || event_add(f->read_ev, NULL)) {
		end_connection(f);
		if (f->kind == FE_NET)
			retry_later(f);
		return;
	}
	fe_vu_count(f, FE_VU_C_connections);
	fe_vu_connected(f);
}

void fe_sock_drop(struct fe_vu *f)
{
	end_connection(f);
	fe_vu_disconnected(f);
	if (f->kind == FE_NET)
		retry_later(f);
}

int fe_sock_send(struct fe_vu *f, const void *msg, size_t len, int fd)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = {(void *)(uintptr_t)msg, len};
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n;

	if (f->fd < 0)
		return -ENOTCONN;
	if (fd >= 0) {
		struct cmsghdr *c;

		memset(&control, 0, sizeof(control));
		mh.msg_control = control.bytes;
		mh.msg_controllen = sizeof(control.bytes);
		c = CMSG_FIRSTHDR(&mh);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(fd));
		memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	}
	/* Replies are small and one at a time: a peer whose socket is full does not read them. */
	n = sendmsg(f->fd, &mh, MSG_DONTWAIT | MSG_NOSIGNAL);
	return n == (ssize_t)len ? 0 : -EPIPE;
}

/* --- a NIC: connect --- */

static void try_connect(struct fe_vu *f)
{
	int fd;

	if (f->fd >= 0)
		return;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		retry_later(f);
		return;
	}
	if (connect(fd, (struct sockaddr *)&f->addr, sizeof(f->addr))) {
		bool absent = errno == ENOENT;

		close(fd);
		/* The directory's watch tells when it appears. */
		if (!absent)
			retry_later(f);
		return;
	}
	adopt_connection(f, fd);
}

/* A NIC connects again, a disk listens again. */
static void on_retry(evutil_socket_t fd, short what, void *arg)
{
	struct fe_vu *f = arg;

	(void)fd;
	(void)what;
	if (f->kind == FE_NET)
		try_connect(f);
	else if (f->listen_ev)
		event_add(f->listen_ev, NULL);
}

static void on_seen(void *arg)
{
	struct fe_vu *f = arg;

	f->retry_ms = RETRY_FIRST_MS;
	event_del(f->retry_ev);
	try_connect(f);
}

/* --- a disk: listen --- */

static void on_accept(evutil_socket_t lfd, short what, void *arg)
{
	static const struct timeval pause = {ACCEPT_PAUSE_S, 0};
	struct fe_vu *f = arg;
	int fd = accept4(lfd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	(void)what;
	if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)) {
		fe_vu_count(f, FE_VU_C_accepts_put_off);
		event_del(f->listen_ev);
		evtimer_add(f->retry_ev, &pause);
	}
	if (fd < 0)
		return;
	if (f->fd >= 0) {
		fe_vu_count(f, FE_VU_C_connections_refused);
		close(fd);
		return;
	}
	adopt_connection(f, fd);
}

/* Remove what a dead process left under our name. -EEXIST: it lives, or is no socket. */
static int clear_stale(struct fe_vu *f)
{
	struct stat st;
	int fd, alive;

	if (lstat(f->addr.sun_path, &st))
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	alive = !connect(fd, (struct sockaddr *)&f->addr, sizeof(f->addr)) || errno == EAGAIN;
	close(fd);
	if (alive)
		return -EEXIST;
	return unlink(f->addr.sun_path) && errno != ENOENT ? -errno : 0;
}

static int set_owner_mode(struct fe_vu *f)
{
	if (f->group && chown(f->addr.sun_path, (uid_t)-1, f->group))
		return -errno;
	return chmod(f->addr.sun_path, 0660) ? -errno : 0;
}

static int open_listener(struct fe_vu *f)
{
	int err = clear_stale(f);

	if (err)
		return err;
	f->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (f->listen_fd < 0)
		return -errno;
	if (bind(f->listen_fd, (struct sockaddr *)&f->addr, sizeof(f->addr)))
		return -errno;
	if (lstat(f->addr.sun_path, &f->listen_stat))
		return -errno;
	err = set_owner_mode(f);
	if (err)
		return err;
	if (listen(f->listen_fd, 4))
		return -errno;
	f->listen_ev = event_new(f->base, f->listen_fd, EV_READ | EV_PERSIST, on_accept, f);
	return f->listen_ev && !event_add(f->listen_ev, NULL) ? 0 : -ENOMEM;
}

static void close_listener(struct fe_vu *f)
{
	struct stat st;

	if (f->listen_ev)
		event_free(f->listen_ev);
	f->listen_ev = NULL;
	if (f->listen_fd < 0)
		return;
	if (f->listen_stat.st_ino && !lstat(f->addr.sun_path, &st) && st.st_ino == f->listen_stat.st_ino &&
	    st.st_dev == f->listen_stat.st_dev)
		unlink(f->addr.sun_path);
	close(f->listen_fd);
	f->listen_fd = -1;
}

/* The directory may be a new one without our socket, or somebody removed it. */
static void on_listener_seen(void *arg)
{
	struct fe_vu *f = arg;
	struct stat st;

	if (!lstat(f->addr.sun_path, &st) || errno != ENOENT)
		return;
	close_listener(f);
	if (open_listener(f))
		close_listener(f);
}

int fe_sock_open(struct fe_vu *f)
{
	static const struct timeval now;
	int n, err;

	f->addr.sun_family = AF_UNIX;
	n = snprintf(f->addr.sun_path, sizeof(f->addr.sun_path), "%s/%s", f->dir, f->name);
	if (n < 0 || (size_t)n >= sizeof(f->addr.sun_path))
		return -ENAMETOOLONG;
	f->retry_ms = RETRY_FIRST_MS;
	f->watcher = (struct fe_watcher){.name = f->name,
					 .seen = f->kind == FE_BLK ? on_listener_seen : on_seen,
					 .arg = f,
					 .own = f->kind == FE_BLK};
	f->retry_ev = evtimer_new(f->base, on_retry, f);
	if (!f->retry_ev)
		return -ENOMEM;
	if (f->kind == FE_BLK) {
		err = open_listener(f);
		return err ? err : fe_watch_add(f->base, f->dir, &f->watcher);
	}
	err = fe_watch_add(f->base, f->dir, &f->watcher);
	if (err)
		return err;
	return evtimer_add(f->retry_ev, &now) ? -ENOMEM : 0;
}

void fe_sock_leave(struct fe_vu *f)
{
	struct event *all[] = {f->read_ev, f->hup_ev, f->stall_ev, f->listen_ev, f->retry_ev};

	for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (all[i])
			event_del(all[i]);
	fe_watch_del(&f->watcher);
}

int fe_sock_join(struct fe_vu *f)
{
	static const struct timeval now;
	struct event *all[] = {f->read_ev, f->hup_ev, f->stall_ev, f->listen_ev, f->retry_ev};
	int r = 0;

	for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (all[i] && event_base_set(f->base, all[i]))
			return -EINVAL;
	if (f->fd >= 0) {
		r = event_add(f->paused ? f->hup_ev : f->read_ev, NULL);
		watch_for_stall(f);
	} else if (f->retry_ev) {
		r = evtimer_add(f->retry_ev, &now);
	}
	if (!r && f->listen_ev)
		r = event_add(f->listen_ev, NULL);
	return r ? -ENOMEM : fe_watch_add(f->base, f->dir, &f->watcher);
}

void fe_sock_close(struct fe_vu *f)
{
	end_connection(f);
	fe_watch_del(&f->watcher);
	if (f->retry_ev)
		event_free(f->retry_ev);
	f->retry_ev = NULL;
	close_listener(f);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <netinet/udp.h>
#include <string.h>
#include <time.h>

#include "fabric/link/link_udp_impl.h"

#define ALIGN	   64u
#define ECN_MASK   3
#define ECN_CE	   3
#define LAY_MAX_NS 1000000000ull

/* A place of LINK_UDP_RX_ROOM bytes for the slot's next train. */
static bool prepare(struct link_udp *u, struct udp_slot *s)
{
	if (s->buf && s->buf->refs == 1)
		s->at = 0; /* the receiver has let go of all of it */
	if (s->buf && s->buf->size - s->at < LINK_UDP_RX_ROOM) {
		buf_put(s->buf);
		s->buf = NULL;
	}
	if (!s->buf) {
		s->buf = buf_get(u->pool);
		s->at = 0;
	}
	return s->buf != NULL;
}

static int read_ecn(const struct cmsghdr *c)
{
	/* ip(7): one byte; ipv6(7): an int. */
	if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS)
		return *CMSG_DATA(c) & ECN_MASK;
	if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_TCLASS) {
		int tclass;

		memcpy(&tclass, CMSG_DATA(c), sizeof(tclass));
		return tclass & ECN_MASK;
	}
	return 0;
}

static uint64_t real_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

/* How long ago the kernel's stamp was. That clock may be set while a datagram waits: what is too long to be
 * believed is no news. */
static uint64_t read_lay(const struct cmsghdr *c, uint64_t now)
{
	struct timespec t;
	uint64_t at;

	memcpy(&t, CMSG_DATA(c), sizeof(t));
	at = (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
	return at < now && now - at < LAY_MAX_NS ? now - at : 0;
}

/* Bytes per datagram of a received message, its congestion mark, and how long it lay in the socket at now (of
 * the kernel's stamps). */
static uint32_t read_control(struct msghdr *m, uint32_t len, bool *ce, uint64_t *lay, uint64_t now)
{
	uint32_t cut = len;

	*ce = false;
	*lay = 0;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO) {
			int size;

			memcpy(&size, CMSG_DATA(c), sizeof(size));
			if (size > 0 && (uint32_t)size < len)
				cut = (uint32_t)size;
		} else if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMPNS) {
			*lay = read_lay(c, now);
		} else if (read_ecn(c) == ECN_CE) {
			*ce = true;
		}
	}
	return cut;
}

/* The pool is empty: what waits in the socket is dropped here, with a name, and not in the kernel. */
static int discard(struct link_udp *u)
{
	for (int i = 0; i < UDP_TRAIN_DATAGRAMS; i++) {
		union {
			struct cmsghdr align;
			char bytes[UDP_CMSG_BYTES];
		} control;
		struct msghdr m = {.msg_control = &control, .msg_controllen = sizeof(control)};
		ssize_t len = recvmsg(u->fd, &m, MSG_DONTWAIT | MSG_TRUNC);
		uint64_t lay;
		uint32_t cut;
		bool ce;

		if (len < 0)
			break;
		cut = read_control(&m, (uint32_t)len, &ce, &lay, 0);
		udp_count(u, LINK_C_drop_rx_nobuf, len ? ((uint32_t)len + cut - 1) / cut : 1);
	}
	return 0;
}

/* Is the socket still good after this error? */
static bool transient(int err)
{
	return err == EAGAIN || err == EWOULDBLOCK || err == EINTR || err == ENOMEM || err == ENOBUFS ||
	       err == ECONNREFUSED || err == EHOSTUNREACH || err == ENETUNREACH || err == EMSGSIZE ||
	       err == EPROTO;
}

static void accept_train(struct link_udp *u, unsigned i, uint64_t now)
{
	struct udp_slot *s = &u->slots[i];
	struct msghdr *m = &u->rx_hdrs[i].msg_hdr;
	uint32_t len = u->rx_hdrs[i].msg_len;

	s->left = 0;
	if (m->msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
		udp_count(u, LINK_C_drop_rx_truncated, 1);
		return;
	}
	if (len == 0) {
		udp_count(u, LINK_C_drop_rx_malformed, 1);
		return;
	}
	s->cut = read_control(m, len, &s->ce, &s->lay, now);
	s->next = s->at;
	s->left = len;
	s->at = (s->at + len + ALIGN - 1) & ~(ALIGN - 1);
	if (s->at > s->buf->size)
		s->at = s->buf->size;
	link_udp_from_sockaddr(&s->from, &u->rx_from[i]);
}

/* One system call. Trains received, 0 when there is nothing, or -errno. */
static int fill(struct link_udp *u, unsigned want)
{
	unsigned n = 0;
	uint64_t now;
	int got;

	for (; n < want && prepare(u, &u->slots[n]); n++) {
		u->rx_iovs[n] = (struct iovec){.iov_base = u->slots[n].buf->base + u->slots[n].at,
					       .iov_len = LINK_UDP_RX_ROOM};
		u->rx_hdrs[n].msg_hdr = (struct msghdr){.msg_name = &u->rx_from[n],
							.msg_namelen = sizeof(u->rx_from[n]),
							.msg_iov = &u->rx_iovs[n],
							.msg_iovlen = 1,
							.msg_control = &u->rx_control[n],
							.msg_controllen = sizeof(u->rx_control[n])};
	}
	if (n == 0)
		return discard(u);
	udp_count(u, LINK_C_rx_calls, 1);
	got = recvmmsg(u->fd, u->rx_hdrs, n, MSG_DONTWAIT, NULL);
	if (got < 0)
		return transient(errno) ? 0 : -errno;
	now = got ? real_now_ns() : 0;
	for (int i = 0; i < got; i++)
		accept_train(u, (unsigned)i, now);
	u->slot_first = 0;
	u->slot_count = (unsigned)got;
	return got;
}

/* Datagrams of one slot's train into rx; the number given. */
static int give(struct link_udp *u, struct udp_slot *s, struct link_rx *rx, int max)
{
	uint64_t bytes = 0;
	int n = 0;

	while (n < max && s->left) {
		uint32_t len = s->left < s->cut ? s->left : s->cut;

		buf_ref(s->buf);
		rx[n++] = (struct link_rx){.data = s->buf->base + s->next,
					   .len = len,
					   .buf = s->buf,
					   .from = s->from,
					   .ce = s->ce,
					   .lay = s->lay};
		s->next += len;
		s->left -= len;
		bytes += len;
	}
	udp_count(u, LINK_C_rx_packets, (uint64_t)n);
	udp_count(u, LINK_C_rx_bytes, bytes);
	return n;
}

int link_udp_recv(struct link *l, struct link_rx *rx, int max)
{
	struct link_udp *u = (struct link_udp *)l;
	bool drained = false;
	int n = 0;

	for (;;) {
		unsigned want;
		int got;

		while (n < max && u->slot_count) {
			struct udp_slot *s = &u->slots[u->slot_first];

			n += give(u, s, rx + n, max - n);
			if (s->left == 0) {
				u->slot_first++;
				u->slot_count--;
			}
		}
		if (n == max || drained)
			return n;
		want = (unsigned)(max - n) < LINK_UDP_RX_SLOTS ? (unsigned)(max - n) : LINK_UDP_RX_SLOTS;
		got = fill(u, want);
		if (got < 0 && n == 0)
			return got;
		/* Fewer than asked for: the kernel stopped because the socket is empty, no need to ask again.
		 */
		drained = got < (int)want;
	}
}

void link_udp_rx_fini(struct link_udp *u)
{
	for (unsigned i = 0; i < LINK_UDP_RX_SLOTS; i++)
		if (u->slots[i].buf)
			buf_put(u->slots[i].buf);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Entries are gathered into messages (a train, or one datagram) and messages into one sendmmsg()
 * of at most UDP_TX_MSGS. Memory that is contiguous across entries, as rt's chunks are, becomes
 * one iovec: a walk over 47 small ones costs as much as copying them.
 */
#include <errno.h>
#include <netinet/udp.h>
#include <string.h>

#include "fabric/link/link_udp_impl.h"

/* How far a train that starts at tx[0] reaches. */
static int train_length(const struct link_tx *tx, int n, uint32_t *bytes)
{
	int k = 1;

	*bytes = tx[0].len;
	while (k < n && k < UDP_TRAIN_DATAGRAMS && tx[k].len && tx[k].len <= tx[0].len &&
	       *bytes + tx[k].len <= UDP_TRAIN_BYTES && link_addr_equal(&tx[k].to, &tx[0].to)) {
		*bytes += tx[k].len;
		if (tx[k++].len < tx[0].len)
			break; /* a short one ends the train */
	}
	return k;
}

static void set_segment(struct msghdr *h, struct udp_tx_msg *m, uint16_t size)
{
	struct cmsghdr *c;

	h->msg_control = &m->control;
	h->msg_controllen = sizeof(m->control);
	c = CMSG_FIRSTHDR(h);
	c->cmsg_level = IPPROTO_UDP;
	c->cmsg_type = UDP_SEGMENT;
	c->cmsg_len = CMSG_LEN(sizeof(size));
	memcpy(CMSG_DATA(c), &size, sizeof(size));
}

/* Adds tx[0..count) as one message; false: no room among the iovecs. count > 1 only with gso. */
static bool add(struct link_udp *u, const struct link_tx *tx, int first, int count, uint32_t bytes,
		socklen_t addrlen)
{
	struct udp_tx_msg *m = &u->tx[u->ntx];
	struct msghdr *h = &u->tx_hdrs[u->ntx].msg_hdr;
	unsigned at = u->niov, begin = at;

	for (int i = 0; i < count; i++) {
		struct iovec *last = at > begin ? &u->tx_iovs[at - 1] : NULL;

		if (last && (const uint8_t *)last->iov_base + last->iov_len == tx[i].data) {
			last->iov_len += tx[i].len;
			continue;
		}
		if (at == UDP_TX_IOVS)
			return false;
		u->tx_iovs[at++] = (struct iovec){.iov_base = (void *)(uintptr_t)tx[i].data,
						  .iov_len = tx[i].len};
	}
	m->first = first;
	m->count = count;
	m->bytes = bytes;
	*h = (struct msghdr){.msg_name = &m->to,
			     .msg_namelen = addrlen,
			     .msg_iov = &u->tx_iovs[begin],
			     .msg_iovlen = at - begin};
	if (count > 1)
		set_segment(h, m, (uint16_t)tx[0].len);
	u->niov = at;
	u->ntx++;
	return true;
}

static void sent(struct link_udp *u, const struct udp_tx_msg *m)
{
	udp_count(u, LINK_C_tx_packets, (uint64_t)m->count);
	udp_count(u, LINK_C_tx_bytes, m->bytes);
}

/* The kernel refused a train: its datagrams one by one. The number taken. */
static int send_singly(struct link_udp *u, const struct link_tx *tx, const struct udp_tx_msg *m,
		       socklen_t addrlen)
{
	int taken = 0;

	for (int i = m->first; i < m->first + m->count; i++) {
		ssize_t r = sendto(u->fd, tx[i].data, tx[i].len, MSG_DONTWAIT | MSG_NOSIGNAL,
				   (const struct sockaddr *)&m->to, addrlen);

		udp_count(u, LINK_C_tx_calls, 1);
		if (r < 0) {
			bool full = errno == EAGAIN || errno == ENOBUFS;

			udp_count(u, full ? LINK_C_drop_tx_full : LINK_C_drop_tx_error, 1);
			continue;
		}
		taken++;
		udp_count(u, LINK_C_tx_packets, 1);
		udp_count(u, LINK_C_tx_bytes, tx[i].len);
	}
	return taken;
}

/* What to do with the first message of those left, after its error. The number of datagrams taken. */
static int failed(struct link_udp *u, const struct link_tx *tx, unsigned at, int err)
{
	struct udp_tx_msg *m = &u->tx[at];

	switch (err) {
	case EAGAIN:
	case ENOBUFS:
		udp_count(u, LINK_C_drop_tx_full, (uint64_t)m->count);
		return 0;
	case ENETUNREACH:
	case EHOSTUNREACH:
		udp_count(u, LINK_C_drop_tx_noroute, (uint64_t)m->count);
		return 0;
	case EIO:
	case EOPNOTSUPP:
		/* udp(7) has it not, the source does: EIO where the device cannot checksum what it segments.
		 */
		u->gso = false;
		break;
	default:
		break;
	}
	if (m->count > 1)
		return send_singly(u, tx, m, u->tx_hdrs[at].msg_hdr.msg_namelen);
	udp_count(u, LINK_C_drop_tx_error, (uint64_t)m->count);
	return 0;
}

/* Sends what was gathered. The number of datagrams taken. */
static int flush(struct link_udp *u, const struct link_tx *tx)
{
	int taken = 0;
	unsigned at = 0;

	while (at < u->ntx) {
		int r = sendmmsg(u->fd, u->tx_hdrs + at, u->ntx - at, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (r < 0 && errno == EINTR)
			continue;
		udp_count(u, LINK_C_tx_calls, 1);
		if (r < 0) {
			taken += failed(u, tx, at, errno);
			at++;
			continue;
		}
		for (; r > 0; r--, at++) {
			sent(u, &u->tx[at]);
			taken += u->tx[at].count;
		}
	}
	u->ntx = u->niov = 0;
	return taken;
}

int link_udp_send(struct link *l, const struct link_tx *tx, int n)
{
	struct link_udp *u = (struct link_udp *)l;
	int taken = 0;

	for (int i = 0; i < n;) {
		struct udp_tx_msg *m;
		uint32_t bytes = tx[i].len;
		socklen_t addrlen;
		int count = 1;

		if (u->ntx == UDP_TX_MSGS)
			taken += flush(u, tx);
		m = &u->tx[u->ntx];
		addrlen = link_udp_to_sockaddr(u->family, &m->to, &tx[i].to);
		if (!addrlen || bytes > UDP_TRAIN_BYTES) {
			udp_count(u, addrlen ? LINK_C_drop_tx_error : LINK_C_drop_tx_noroute, 1);
			i++;
			continue;
		}
		if (u->gso)
			count = train_length(tx + i, n - i, &bytes);
		if (!add(u, tx + i, i, count, bytes, addrlen)) {
			taken += flush(u, tx); /* and once more, with all the iovecs free */
			continue;
		}
		i += count;
	}
	return taken + flush(u, tx);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/tools/relay/wire.h"

#define SOCKET_BYTES (64 << 20)

static int set_up(const struct wire *w, unsigned index)
{
	const struct sockaddr_ll addr = {
		.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = (int)index};
	const struct packet_mreq all = {.mr_ifindex = (int)index, .mr_type = PACKET_MR_PROMISC};
	const int on = 1, bytes = SOCKET_BYTES;

	if (setsockopt(w->fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)) ||
	    setsockopt(w->fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof(on)) ||
	    setsockopt(w->fd, SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof(on)) ||
	    setsockopt(w->fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) ||
	    setsockopt(w->fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes)) ||
	    setsockopt(w->fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &all, sizeof(all)) ||
	    bind(w->fd, (const struct sockaddr *)&addr, sizeof(addr)))
		return -errno;
	return 0;
}

int wire_open(struct wire *w, const char *ifname)
{
	unsigned index = if_nametoindex(ifname);
	int r;

	*w = (struct wire){.ifname = ifname, .fd = -1};
	if (!index)
		return -errno;
	/* Protocol 0: nothing is received before bind() says from where. */
	w->fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (w->fd < 0)
		return -errno;
	r = set_up(w, index);
	if (r)
		close(w->fd);
	return r;
}

int wire_receive(struct wire *w, struct lane *l, uint64_t now)
{
	struct lane_frame *f[WIRE_BURST];
	struct mmsghdr m[WIRE_BURST];
	struct iovec iov[WIRE_BURST][2];
	unsigned want = 0;
	int n;

	for (; want < WIRE_BURST && (f[want] = lane_blank(l)); want++) {
		iov[want][0] = (struct iovec){&f[want]->vnet, sizeof(f[want]->vnet)};
		iov[want][1] = (struct iovec){f[want]->data, sizeof(f[want]->data)};
		m[want].msg_hdr = (struct msghdr){.msg_iov = iov[want], .msg_iovlen = 2};
	}
	n = want ? recvmmsg(w->fd, m, want, MSG_DONTWAIT, NULL) : 0;
	if (n < 0)
		n = errno == EAGAIN || errno == EINTR ? 0 : -errno;
	for (unsigned i = 0; i < want; i++) {
		bool got = n > 0 && i < (unsigned)n;

		if (got && f[i]->vnet.gso_type == VIRTIO_NET_HDR_GSO_NONE &&
		    !(m[i].msg_hdr.msg_flags & MSG_TRUNC)) {
			f[i]->len = m[i].msg_len - (uint32_t)sizeof(f[i]->vnet);
			lane_offer(l, f[i], now);
			continue;
		}
		w->super += got;
		lane_return(l, f[i]);
	}
	return n;
}

static void send_burst(struct wire *w, struct lane *l, struct lane_frame **f, unsigned n)
{
	struct mmsghdr m[WIRE_BURST];
	struct iovec iov[WIRE_BURST][2];
	unsigned at = 0;

	for (unsigned i = 0; i < n; i++) {
		iov[i][0] = (struct iovec){&f[i]->vnet, sizeof(f[i]->vnet)};
		iov[i][1] = (struct iovec){f[i]->data, f[i]->len};
		m[i].msg_hdr = (struct msghdr){.msg_iov = iov[i], .msg_iovlen = 2};
	}
	while (at < n) {
		int sent = sendmmsg(w->fd, m + at, n - at, MSG_DONTWAIT);

		if (sent <= 0) { /* the first of the rest is refused: it alone is given up */
			w->refused++;
			sent = 1;
		}
		at += (unsigned)sent;
	}
	for (unsigned i = 0; i < n; i++)
		lane_return(l, f[i]);
}

void wire_send(struct wire *w, struct lane *l, uint64_t now)
{
	struct lane_frame *f[WIRE_BURST];
	unsigned n;

	do {
		for (n = 0; n < WIRE_BURST && (f[n] = lane_take(l, now)); n++)
			;
		send_burst(w, l, f, n);
	} while (n == WIRE_BURST);
}

void wire_count(struct wire *w)
{
	struct tpacket_stats s;
	socklen_t len = sizeof(s);

	if (!getsockopt(w->fd, SOL_PACKET, PACKET_STATISTICS, &s, &len))
		w->overrun += s.tp_drops;
}

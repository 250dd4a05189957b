/* SPDX-License-Identifier: Apache-2.0 */
#include "fabric/link/link_udp.h"

#include <errno.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fabric/link/link_udp_impl.h"

#define IP_UDP_BYTES  28u /* IPv4 without options, UDP */
#define IP6_UDP_BYTES 48u
#define MTU_UNKNOWN   1500u
#define ECT0	      2 /* RFC 3168, 5 */
#define PAYLOAD_MAX   UDP_TRAIN_BYTES

socklen_t link_udp_to_sockaddr(int family, struct sockaddr_storage *ss, const struct link_addr *a)
{
	if (family == AF_INET) {
		struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(a->port)};

		if (!link_addr_is_v4(a))
			return 0;
		memcpy(&sin.sin_addr, a->ip + 12, 4);
		memcpy(ss, &sin, sizeof(sin));
		return sizeof(sin);
	} else {
		struct sockaddr_in6 sin6 = {.sin6_family = AF_INET6, .sin6_port = htons(a->port)};

		memcpy(&sin6.sin6_addr, a->ip, 16);
		memcpy(ss, &sin6, sizeof(sin6));
		return sizeof(sin6);
	}
}

void link_udp_from_sockaddr(struct link_addr *a, const struct sockaddr_storage *ss)
{
	if (ss->ss_family == AF_INET) {
		struct sockaddr_in sin;

		memcpy(&sin, ss, sizeof(sin));
		*a = (struct link_addr){.ip = {[10] = 0xff, [11] = 0xff}, .port = ntohs(sin.sin_port)};
		memcpy(a->ip + 12, &sin.sin_addr, 4);
	} else {
		struct sockaddr_in6 sin6;

		memcpy(&sin6, ss, sizeof(sin6));
		memcpy(a->ip, &sin6.sin6_addr, 16);
		a->port = ntohs(sin6.sin6_port);
	}
}

static void set(int fd, int level, int name, int value)
{
	/* Each of these has a kernel or a family that lacks it; the link works without. */
	(void)setsockopt(fd, level, name, &value, sizeof(value));
}

static void set_buffer(int fd, int force, int plain)
{
	int bytes = (int)LINK_UDP_SOCKET_BYTES;

	if (setsockopt(fd, SOL_SOCKET, force, &bytes, sizeof(bytes)))
		set(fd, SOL_SOCKET, plain, bytes); /* no CAP_NET_ADMIN: as much as net.core.?mem_max lets */
}

static uint32_t get(int fd, int level, int name)
{
	int value = 0;
	socklen_t len = sizeof(value);

	return getsockopt(fd, level, name, &value, &len) ? 0 : (uint32_t)value;
}

static void set_options(struct link_udp *u)
{
	int zero = 0, one = 1;

	set_buffer(u->fd, SO_RCVBUFFORCE, SO_RCVBUF);
	set_buffer(u->fd, SO_SNDBUFFORCE, SO_SNDBUF);
	/* On an AF_INET6 socket the IPv4 options are for IPv4-mapped peers. */
	set(u->fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO);
	set(u->fd, SOL_SOCKET, SO_TIMESTAMPNS, 1);
	set(u->fd, IPPROTO_IP, IP_RECVTOS, 1);
	set(u->fd, IPPROTO_IP, IP_TOS, ECT0);
	if (u->family == AF_INET6) {
		set(u->fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DO);
		set(u->fd, IPPROTO_IPV6, IPV6_RECVTCLASS, 1);
		set(u->fd, IPPROTO_IPV6, IPV6_TCLASS, ECT0);
	}
	u->gso = setsockopt(u->fd, IPPROTO_UDP, UDP_SEGMENT, &zero, sizeof(zero)) == 0;
	u->gro = setsockopt(u->fd, IPPROTO_UDP, UDP_GRO, &one, sizeof(one)) == 0;
}

static void udp_local(struct link *l, struct link_addr *addr, uint32_t *max_payload)
{
	struct link_udp *u = (struct link_udp *)l;
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	struct link_udp_nic nic;
	uint32_t headers;

	memset(&ss, 0, sizeof(ss));
	getsockname(u->fd, (struct sockaddr *)&ss, &len);
	link_udp_from_sockaddr(addr, &ss);
	link_udp_nic(addr->ip, &nic);
	if (!nic.mtu)
		nic.mtu = MTU_UNKNOWN;
	headers = u->family == AF_INET ? IP_UDP_BYTES : IP6_UDP_BYTES;
	*max_payload = nic.mtu - headers < PAYLOAD_MAX ? nic.mtu - headers : PAYLOAD_MAX;
}

/* The local address that the routes choose for a peer; false: none leads there. */
static bool source_for(int family, const struct link_addr *peer, struct sockaddr_storage *ss)
{
	struct sockaddr_storage to;
	socklen_t len = link_udp_to_sockaddr(family, &to, peer);
	int fd = len ? socket(family, SOCK_DGRAM | SOCK_CLOEXEC, IPPROTO_UDP) : -1;
	bool found = fd >= 0 && !connect(fd, (struct sockaddr *)&to, len);

	len = sizeof(*ss);
	if (found)
		found = !getsockname(fd, (struct sockaddr *)ss, &len);
	if (fd >= 0)
		close(fd);
	return found;
}

void link_udp_get_info(const struct link *l, const struct link_addr *peer, struct link_udp_info *info)
{
	const struct link_udp *u = (const struct link_udp *)l;
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	struct link_udp_nic nic;
	struct link_addr addr;

	*info = (struct link_udp_info){.gso = u->gso,
				       .gro = u->gro,
				       .rcvbuf = get(u->fd, SOL_SOCKET, SO_RCVBUF),
				       .sndbuf = get(u->fd, SOL_SOCKET, SO_SNDBUF)};
	memset(&ss, 0, sizeof(ss));
	if (!peer || !source_for(u->family, peer, &ss))
		getsockname(u->fd, (struct sockaddr *)&ss, &len);
	link_udp_from_sockaddr(&addr, &ss);
	link_udp_nic(addr.ip, &nic);
	info->uso = nic.uso;
	info->nic_gro = nic.gro;
	memcpy(info->ifname, nic.ifname, sizeof(info->ifname));
}

static int udp_fd(struct link *l)
{
	return ((struct link_udp *)l)->fd;
}

static uint64_t udp_deadline(struct link *l)
{
	return ((struct link_udp *)l)->slot_count ? 0 : UINT64_MAX;
}

static void udp_destroy(struct link *l)
{
	struct link_udp *u = (struct link_udp *)l;

	link_udp_rx_fini(u);
	close(u->fd);
	free(u);
}

static const struct link_ops udp_ops = {
	.recv = link_udp_recv,
	.send = link_udp_send,
	.fd = udp_fd,
	.deadline = udp_deadline,
	.local = udp_local,
	.destroy = udp_destroy,
};

static int open_socket(struct link_udp *u, const struct link_addr *addr)
{
	static const uint8_t any[16];
	struct sockaddr_storage ss;
	socklen_t len;

	u->family = link_addr_is_v4(addr) ? AF_INET : AF_INET6;
	u->fd = socket(u->family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_UDP);
	if (u->fd < 0)
		return -errno;
	if (u->family == AF_INET6)
		set(u->fd, IPPROTO_IPV6, IPV6_V6ONLY, memcmp(addr->ip, any, 16) != 0);
	set_options(u);
	len = link_udp_to_sockaddr(u->family, &ss, addr);
	if (bind(u->fd, (struct sockaddr *)&ss, len)) {
		int err = -errno;

		close(u->fd);
		return err;
	}
	return 0;
}

struct link *link_udp_create(const struct link_addr *addr, struct buf_pool *pool, int *err)
{
	struct buf *b = buf_get(pool);
	struct link_udp *u;

	*err = !b ? -ENOMEM : b->size < LINK_UDP_RX_ROOM ? -EINVAL : 0;
	if (b)
		buf_put(b);
	if (*err)
		return NULL;
	u = calloc(1, sizeof(*u));
	if (!u) {
		*err = -ENOMEM;
		return NULL;
	}
	u->base.ops = &udp_ops;
	u->base.name = "udp";
	u->pool = pool;
	*err = open_socket(u, addr);
	if (*err) {
		free(u);
		return NULL;
	}
	return &u->base;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "fabric/dpdk/netif.h"

#include <errno.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <bpf/libbpf.h>

int netif_xdp_off(const char *ifname)
{
	unsigned index = if_nametoindex(ifname);
	uint32_t id = 0;

	if (!index)
		return -ENODEV;
	/* No answer means no support for XDP: then there is nothing to remove. */
	if (bpf_xdp_query_id((int)index, 0, &id) || id == 0)
		return 0;
	return bpf_xdp_detach((int)index, 0, NULL);
}

static int with_flags(const char *ifname, unsigned long request, struct ifreq *ifr)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), err = 0;

	if (fd < 0)
		return -errno;
	strncpy(ifr->ifr_name, ifname, IFNAMSIZ - 1);
	if (ioctl(fd, request, ifr))
		err = -errno;
	close(fd);
	return err;
}

bool netif_running(const char *ifname)
{
	struct ifreq ifr = {0};
	const int want = IFF_UP | IFF_RUNNING;

	return with_flags(ifname, SIOCGIFFLAGS, &ifr) == 0 && (ifr.ifr_flags & want) == want;
}

unsigned netif_mtu(const char *ifname)
{
	struct ifreq ifr = {0};

	return with_flags(ifname, SIOCGIFMTU, &ifr) == 0 && ifr.ifr_mtu > 0 ? (unsigned)ifr.ifr_mtu : 0;
}

int netif_up(const char *ifname, unsigned mtu)
{
	struct ifreq ifr = {0};
	int err = with_flags(ifname, SIOCGIFMTU, &ifr);

	if (!err && (unsigned)ifr.ifr_mtu < mtu) {
		ifr.ifr_mtu = (int)mtu;
		err = with_flags(ifname, SIOCSIFMTU, &ifr);
	}
	if (err)
		return err;
	memset(&ifr, 0, sizeof(ifr));
	err = with_flags(ifname, SIOCGIFFLAGS, &ifr);
	if (err || (ifr.ifr_flags & IFF_UP))
		return err;
	ifr.ifr_flags = (short)(ifr.ifr_flags | IFF_UP);
	return with_flags(ifname, SIOCSIFFLAGS, &ifr);
}

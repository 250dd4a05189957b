/* SPDX-License-Identifier: Apache-2.0 */
#include <ifaddrs.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "fabric/link/link_udp_impl.h"

static bool find_name(const uint8_t ip[16], char ifname[IFNAMSIZ])
{
	struct ifaddrs *all, *i;
	bool found = false;

	if (getifaddrs(&all))
		return false;
	for (i = all; i && !found; i = i->ifa_next) {
		struct sockaddr_storage ss;
		struct link_addr a;

		if (!i->ifa_addr || (i->ifa_addr->sa_family != AF_INET && i->ifa_addr->sa_family != AF_INET6))
			continue;
		memset(&ss, 0, sizeof(ss));
		memcpy(&ss, i->ifa_addr,
		       i->ifa_addr->sa_family == AF_INET ? sizeof(struct sockaddr_in)
							 : sizeof(struct sockaddr_in6));
		link_udp_from_sockaddr(&a, &ss);
		if (memcmp(a.ip, ip, 16) == 0) {
			strncpy(ifname, i->ifa_name, IFNAMSIZ - 1);
			ifname[IFNAMSIZ - 1] = 0;
			found = true;
		}
	}
	freeifaddrs(all);
	return found;
}

static int ethtool(int fd, const char *ifname, void *data)
{
	struct ifreq ifr = {.ifr_data = data};

	memcpy(ifr.ifr_name, ifname, IFNAMSIZ);
	return ioctl(fd, SIOCETHTOOL, &ifr);
}

/* Index of a feature among the device's, or -1. */
static int feature_index(int fd, const char *ifname, const char *feature, uint32_t *count)
{
	union {
		struct ethtool_sset_info h;
		uint8_t space[sizeof(struct ethtool_sset_info) + sizeof(uint32_t)]; /* for data[0] */
	} info = {.h = {.cmd = ETHTOOL_GSSET_INFO, .sset_mask = 1ull << ETH_SS_FEATURES}};
	struct ethtool_gstrings *names;
	int found = -1;

	if (ethtool(fd, ifname, &info) || !info.h.sset_mask || info.h.data[0] > 1024)
		return -1;
	*count = info.h.data[0];
	names = calloc(1, sizeof(*names) + (size_t)info.h.data[0] * ETH_GSTRING_LEN);
	if (!names)
		return -1;
	names->cmd = ETHTOOL_GSTRINGS;
	names->string_set = ETH_SS_FEATURES;
	names->len = info.h.data[0];
	if (ethtool(fd, ifname, names) == 0)
		for (uint32_t i = 0; i < names->len && i < info.h.data[0] && found < 0; i++)
			if (!strncmp((char *)names->data + i * ETH_GSTRING_LEN, feature, ETH_GSTRING_LEN))
				found = (int)i;
	free(names);
	return found;
}

static bool feature_active(int fd, const char *ifname, const char *feature)
{
	struct ethtool_gfeatures *f;
	uint32_t count = 0, blocks;
	int index = feature_index(fd, ifname, feature, &count);
	bool on = false;

	if (index < 0)
		return false;
	blocks = (count + 31) / 32;
	f = calloc(1, sizeof(*f) + blocks * sizeof(f->features[0]));
	if (!f)
		return false;
	f->cmd = ETHTOOL_GFEATURES;
	f->size = blocks;
	if (ethtool(fd, ifname, f) == 0)
		on = f->features[index / 32].active >> (index % 32) & 1;
	free(f);
	return on;
}

void link_udp_nic(const uint8_t ip[16], struct link_udp_nic *nic)
{
	struct ifreq ifr = {0};
	int fd;

	memset(nic, 0, sizeof(*nic));
	if (!find_name(ip, nic->ifname))
		return;
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	memcpy(ifr.ifr_name, nic->ifname, IFNAMSIZ);
	if (ioctl(fd, SIOCGIFMTU, &ifr) == 0 && ifr.ifr_mtu >= 576)
		nic->mtu = (uint32_t)ifr.ifr_mtu;
	nic->uso = feature_active(fd, nic->ifname, "tx-udp-segmentation");
	nic->gro = feature_active(fd, nic->ifname, "rx-gro");
	close(fd);
}

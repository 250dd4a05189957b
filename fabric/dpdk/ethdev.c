/* SPDX-License-Identifier: Apache-2.0 */
#include "fabric/dpdk/ethdev.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <rte_dev.h>
#include <rte_errno.h>
#include <rte_ethdev.h>

#include <bpf/libbpf.h>
#include <xdp/libxdp.h>

#include "fabric/base/log.h"
#include "fabric/dpdk/mbuf.h"
#include "fabric/dpdk/netif.h"

#define MTU_DEFAULT 1500u
#define MTU_MAX	    9216u
#define ETHER	    14u
#define TAG	    4u
#define RING	    1024
#define CACHE	    128

/* An AF_XDP element is one page and holds: mempool's and the mbuf's own headers, our private area,
 * DPDK's headroom, the kernel's headroom (256), the frame. 3712 leaves room for the pool's padding. */
#define XDP_ROOM 3712u

/* Bytes for a frame, elsewhere. An af_packet ring's frame has 66 bytes of its own, and two of them are whole
 * pages. */
#define FRAME_ROOM	 2048u
#define FRAME_ROOM_JUMBO 10240u
#define FRAME_MTU	 1900u

enum kind { KIND_XDP, KIND_PACKET, KIND_OTHER };

__attribute__((format(printf, 4, 5))) static int complain(int err, char *why, size_t len, const char *fmt,
							  ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, len, fmt, ap);
	va_end(ap);
	return err;
}

/* "af_xdp:fab0" -> the kind, and the interface in e->ifname. */
static int read_name(struct ethdev *e, const char *dev, enum kind *kind, char *why, size_t len)
{
	static const char xdp[] = "af_xdp:", packet[] = "af_packet:";
	const char *ifname;

	*kind = KIND_OTHER;
	if (!strncmp(dev, xdp, sizeof(xdp) - 1)) {
		*kind = KIND_XDP;
		ifname = dev + sizeof(xdp) - 1;
	} else if (!strncmp(dev, packet, sizeof(packet) - 1)) {
		*kind = KIND_PACKET;
		ifname = dev + sizeof(packet) - 1;
	} else {
		return 0;
	}
	if (!*ifname || strlen(ifname) >= IFNAMSIZ || strchr(ifname, ','))
		return complain(-EINVAL, why, len, "%s: no interface name after the colon", dev);
	if (!if_nametoindex(ifname))
		return complain(-ENODEV, why, len, "%s: there is no interface %s", dev, ifname);
	strcpy(e->ifname, ifname);
	return 0;
}

static int make_devargs(struct ethdev *e, const struct ethdev_cfg *cfg, enum kind kind, char *out,
			size_t size, char *why, size_t len)
{
	unsigned frame = e->mtu > FRAME_MTU ? FRAME_ROOM_JUMBO : FRAME_ROOM;
	int n;

	switch (kind) {
	case KIND_XDP:
		snprintf(e->devname, sizeof(e->devname), "net_af_xdp_%s", e->ifname);
		/* busy_budget=0: an empty poll is a memory read and not a system call. */
		n = snprintf(out, size, "%s,iface=%s,busy_budget=0%s%s", e->devname, e->ifname,
			     cfg->xdp_prog ? ",xdp_prog=" : "", cfg->xdp_prog ? cfg->xdp_prog : "");
		break;
	case KIND_PACKET:
		snprintf(e->devname, sizeof(e->devname), "net_af_packet_%s", e->ifname);
		n = snprintf(out, size, "%s,iface=%s,blocksz=%u,framesz=%u,framecnt=%u", e->devname,
			     e->ifname, 2 * frame, frame, frame > FRAME_ROOM ? 512 : 2048);
		break;
	default:
		n = snprintf(out, size, "%s", cfg->dev);
		snprintf(e->devname, sizeof(e->devname), "%.*s", (int)strcspn(cfg->dev, ","), cfg->dev);
		break;
	}
	if (n < 0 || (size_t)n >= size)
		return complain(-EINVAL, why, len, "%s: the device's description is too long", cfg->dev);
	return 0;
}

/* The libraries under af_xdp print warnings that mean nothing here (no bpffs, no dispatcher). */
__attribute__((format(printf, 1, 0))) static void quiet(const char *fmt, va_list ap)
{
	char line[256];
	size_t n;

	vsnprintf(line, sizeof(line), fmt, ap);
	n = strcspn(line, "\n");
	if (n)
		log_debug("xdp: %.*s", (int)n, line);
}

__attribute__((format(printf, 2, 0))) static int quiet_bpf(enum libbpf_print_level level, const char *fmt,
							   va_list ap)
{
	(void)level;
	quiet(fmt, ap);
	return 0;
}

__attribute__((format(printf, 2, 0))) static int quiet_xdp(enum libxdp_print_level level, const char *fmt,
							   va_list ap)
{
	(void)level;
	quiet(fmt, ap);
	return 0;
}

static int prepare_netif(const struct ethdev *e, enum kind kind, const struct ethdev_cfg *cfg, char *why,
			 size_t len)
{
	int err;

	if (kind == KIND_OTHER)
		return 0;
	if (kind == KIND_XDP && cfg->xdp_prog && access(cfg->xdp_prog, R_OK))
		return complain(-errno, why, len, "%s: cannot read the XDP program %s: %s", cfg->dev,
				cfg->xdp_prog, strerror(errno));
	libbpf_set_print(quiet_bpf);
	libxdp_set_print(quiet_xdp);
	err = netif_up(e->ifname, e->mtu);
	if (err)
		return complain(err, why, len, "%s: cannot set %s up with MTU %u: %s", cfg->dev, e->ifname,
				e->mtu, strerror(-err));
	err = kind == KIND_XDP ? netif_xdp_off(e->ifname) : 0;
	if (err)
		return complain(err, why, len, "%s: cannot remove the old XDP program: %s", cfg->dev,
				strerror(-err));
	return 0;
}

static int make_pool(struct ethdev *e, const struct ethdev_cfg *cfg, enum kind kind, char *why, size_t len)
{
	bool jumbo = e->mtu > FRAME_MTU && kind != KIND_XDP; /* whose elements have one size */
	unsigned room = (jumbo ? FRAME_ROOM_JUMBO : FRAME_ROOM) + RTE_PKTMBUF_HEADROOM;
	unsigned count = cfg->mbufs ? cfg->mbufs : jumbo ? ETHDEV_MBUFS / 2 : ETHDEV_MBUFS;
	char name[RTE_MEMPOOL_NAMESIZE];

	if (kind == KIND_XDP)
		room = XDP_ROOM;
	snprintf(name, sizeof(name), "mb_%.20s", e->ifname[0] ? e->ifname : e->devname);
	e->pool = rte_pktmbuf_pool_create(name, count, CACHE, MBUF_PRIV, (uint16_t)room, SOCKET_ID_ANY);
	if (!e->pool)
		return complain(-ENOMEM, why, len,
				"%s: no memory for %u packet buffers of %u bytes: give DPDK more at start, "
				"or the port fewer",
				cfg->dev, count, room);
	return 0;
}

/* As much of what the device may check of received packets. Frames come in one piece. */
static uint64_t rx_offloads(const struct rte_eth_dev_info *info)
{
	return info->rx_offload_capa &
	       (RTE_ETH_RX_OFFLOAD_IPV4_CKSUM | RTE_ETH_RX_OFFLOAD_TCP_CKSUM | RTE_ETH_RX_OFFLOAD_UDP_CKSUM);
}

static int start(struct ethdev *e, const struct ethdev_cfg *cfg, enum kind kind)
{
	struct rte_eth_conf conf = {0};
	struct rte_eth_dev_info info;
	uint16_t nrx = RING, ntx = RING;
	struct rte_ether_addr mac;
	int err = rte_eth_dev_info_get(e->port_id, &info);

	if (err)
		return err;
	conf.rxmode.offloads = rx_offloads(&info);
	if (kind == KIND_OTHER)
		conf.rxmode.mtu = e->mtu;
	err = rte_eth_dev_configure(e->port_id, 1, 1, &conf);
	if (!err)
		err = rte_eth_dev_adjust_nb_rx_tx_desc(e->port_id, &nrx, &ntx);
	if (!err)
		err = rte_eth_rx_queue_setup(e->port_id, 0, nrx, SOCKET_ID_ANY, NULL, e->pool);
	if (!err)
		err = rte_eth_tx_queue_setup(e->port_id, 0, ntx, SOCKET_ID_ANY, NULL);
	if (!err)
		err = rte_eth_dev_start(e->port_id);
	if (err)
		return err;
	if (cfg->promiscuous)
		rte_eth_promiscuous_enable(e->port_id);
	rte_eth_macaddr_get(e->port_id, &mac);
	memcpy(e->mac, mac.addr_bytes, sizeof(e->mac));
	return 0;
}

uint32_t ethdev_interface_mtu(const char *dev)
{
	struct ethdev e = {0};
	enum kind kind;
	uint32_t mtu, most = MTU_MAX;
	char why[128];

	if (read_name(&e, dev, &kind, why, sizeof(why)) || kind == KIND_OTHER)
		return 0;
	if (kind == KIND_XDP)
		most = ETHDEV_XDP_FRAME - ETHER - TAG;
	mtu = netif_mtu(e.ifname);
	return mtu < most ? mtu : most;
}

int ethdev_open(struct ethdev *e, const struct ethdev_cfg *cfg, char *why, size_t len)
{
	char devargs[512];
	enum kind kind;
	int err;

	*e = (struct ethdev){.mtu = cfg->mtu ? cfg->mtu : MTU_DEFAULT};
	err = read_name(e, cfg->dev, &kind, why, len);
	if (err)
		return err;
	if (e->mtu < 576 || e->mtu > MTU_MAX)
		return complain(-EINVAL, why, len, "%s: MTU %u is not within 576..%u", cfg->dev, e->mtu,
				MTU_MAX);
	if (kind == KIND_XDP && e->mtu + ETHER + TAG > ETHDEV_XDP_FRAME)
		return complain(-EINVAL, why, len, "%s: af_xdp carries an MTU of at most %u, not %u",
				cfg->dev, ETHDEV_XDP_FRAME - ETHER - TAG, e->mtu);
	err = make_devargs(e, cfg, kind, devargs, sizeof(devargs), why, len);
	if (!err)
		err = prepare_netif(e, kind, cfg, why, len);
	if (err)
		return err;
	if (rte_eth_dev_get_port_by_name(e->devname, &e->port_id) == 0)
		return complain(-EBUSY, why, len, "%s: this device is in use already", cfg->dev);
	err = rte_dev_probe(devargs);
	if (err || rte_eth_dev_get_port_by_name(e->devname, &e->port_id))
		return complain(err ? err : -ENODEV, why, len, "%s: DPDK finds no such device (%s)", cfg->dev,
				rte_strerror(err ? -err : ENODEV));
	err = make_pool(e, cfg, kind, why, len);
	if (!err) {
		err = start(e, cfg, kind);
		if (err)
			complain(err, why, len, "%s: the device does not start: %s", cfg->dev,
				 rte_strerror(-err));
	}
	if (err)
		ethdev_close(e);
	return err;
}

void ethdev_close(struct ethdev *e)
{
	struct rte_eth_dev_info info;

	if (rte_eth_dev_info_get(e->port_id, &info) == 0) {
		rte_eth_dev_stop(e->port_id);
		rte_eth_dev_close(e->port_id);
		rte_dev_remove(info.device);
	}
	rte_mempool_free(e->pool);
	e->pool = NULL;
}

bool ethdev_link_up(const struct ethdev *e)
{
	struct rte_eth_link link;

	if (e->ifname[0])
		return netif_running(e->ifname);
	return rte_eth_link_get_nowait(e->port_id, &link) == 0 && link.link_status == RTE_ETH_LINK_UP;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What is asked of a kernel interface behind af_packet or af_xdp. */
#ifndef OUTRIGGER_DPDK_NETIF_H
#define OUTRIGGER_DPDK_NETIF_H

#include <stdbool.h>

/* Removes an XDP program from the interface, if it has one. 0, or -errno. */
int netif_xdp_off(const char *ifname);
/* Administratively up and with carrier. */
bool netif_running(const char *ifname);
unsigned netif_mtu(const char *ifname); /* 0: it cannot be asked */
/* Sets it up, and its MTU, if that is less. 0, or -errno. */
int netif_up(const char *ifname, unsigned mtu);

#endif

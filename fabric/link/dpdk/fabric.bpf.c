/* SPDX-License-Identifier: Apache-2.0 */
/*
 * On a fabric interface: UDP datagrams to the fabric's port go to the AF_XDP socket of the queue they came
 * on, all else goes on to the kernel, which keeps ARP, neighbour discovery, ICMP and TCP.
 *
 * Without a socket (the daemon is down) fabric datagrams are dropped: passed on, the kernel would
 * answer them with ICMP port unreachable. The destination address is left to the daemon, which knows it.
 *
 * Section xdp.frags: attaches at jumbo MTU too. The driver looks for a map named xsks_map.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define FABRIC_PORT 4793   /* LINK_FABRIC_PORT */
#define FRAGMENT    0x3fff /* MF and the offset, RFC 791 */
#define QUEUES	    64

struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, QUEUES);
	__type(key, __u32);
	__type(value, __u32);
} xsks_map SEC(".maps");

static __always_inline int is_fabric(void *at, void *end)
{
	struct udphdr *udp = at;

	return (void *)(udp + 1) <= end && udp->dest == bpf_htons(FABRIC_PORT);
}

SEC("xdp.frags")
int fabric(struct xdp_md *ctx)
{
	void *at = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = at;

	if ((void *)(eth + 1) > end)
		return XDP_PASS;
	at = eth + 1;
	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = at;

		if ((void *)(ip + 1) > end || ip->version != 4 || ip->ihl != 5 ||
		    ip->protocol != IPPROTO_UDP || (ip->frag_off & bpf_htons(FRAGMENT)))
			return XDP_PASS;
		at = ip + 1;
	} else if (eth->h_proto == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip6 = at;

		if ((void *)(ip6 + 1) > end || ip6->version != 6 || ip6->nexthdr != IPPROTO_UDP)
			return XDP_PASS;
		at = ip6 + 1;
	} else {
		return XDP_PASS;
	}
	if (!is_fabric(at, end))
		return XDP_PASS;
	return bpf_redirect_map(&xsks_map, ctx->rx_queue_index, XDP_DROP);
}

char _license[] SEC("license") = "Apache-2.0";

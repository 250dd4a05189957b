/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "appliance/port/offload/offload_impl.h"

/* struct virtio_net_hdr_v1 (virtio 1.2, 5.1.6), decoded. */
struct vnet {
	uint8_t flags;
	uint8_t gso_type;
	uint32_t gso_size, csum_start, csum_offset;
};

#define F_NEEDS_CSUM 1u
#define GSO_NONE     0u
#define GSO_TCPV4    1u
#define GSO_TCPV6    4u
#define GSO_UDP_L4   5u
#define GSO_ECN	     0x80u

#define ETH_IP4	   0x0800u
#define ETH_IP6	   0x86ddu
#define ETH_8021Q  0x8100u
#define ETH_8021AD 0x88a8u

static uint32_t le16(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8;
}

static void read_vnet(struct vnet *v, const struct frame *f)
{
	uint8_t h[VNET_HDR];

	frame_read(f, 0, h, sizeof(h));
	*v = (struct vnet){.flags = h[0],
			   .gso_type = h[1],
			   .gso_size = le16(h + 4),
			   .csum_start = le16(h + 6),
			   .csum_offset = le16(h + 8)};
}

/* Ethertype at the end of the link-layer header, whose length goes to o->l3; tags of the guest's own are
 * passed over. 0: cut off. */
static uint32_t find_l3(struct offload *o, uint32_t have)
{
	uint32_t at = 12;

	for (int tags = 0; tags < 3 && at + 2 <= have; tags++) {
		uint32_t type = get16(o->head + at);

		if (type != ETH_8021Q && type != ETH_8021AD) {
			o->l3 = at + 2;
			return type;
		}
		at += OFFLOAD_TAG;
	}
	return 0;
}

/* Is o->l4 where the headers say that `proto` begins? */
static bool ip4_leads_to_l4(const struct offload *o, uint32_t have, uint32_t proto)
{
	const uint8_t *ip = o->head + o->l3;

	if (o->l3 + IP4_BYTES > have || ip[0] >> 4 != 4 || (ip[0] & 15) < 5)
		return false;
	if (get16(ip + 6) & 0x3fff) /* MF or an offset: a fragment is not cut */
		return false;
	return ip[9] == proto && o->l3 + (uint32_t)(ip[0] & 15) * 4 == o->l4;
}

static bool ip6_leads_to_l4(const struct offload *o, uint32_t have, uint32_t proto)
{
	uint32_t at = o->l3 + IP6_BYTES, next;

	if (at > have || o->head[o->l3] >> 4 != 6)
		return false;
	next = o->head[o->l3 + 6];
	/* Hop-by-hop, routing, destination options: RFC 8200, 4. A fragment header (44) is not cut. */
	while (next == 0 || next == 43 || next == 60) {
		if (at + 8 > have)
			return false;
		next = o->head[at];
		at += ((uint32_t)o->head[at + 1] + 1) * 8;
	}
	return next == proto && at == o->l4;
}

static int plan_headers(struct offload *o, const struct vnet *v, uint32_t have)
{
	uint32_t type = find_l3(o, have), gso = v->gso_type & ~GSO_ECN;
	uint32_t proto = gso == GSO_UDP_L4 ? IPPROTO_UDP_ : IPPROTO_TCP_;
	bool four = type == ETH_IP4, six = type == ETH_IP6;

	o->l4 = v->csum_start;
	if ((gso == GSO_TCPV4 && !four) || (gso == GSO_TCPV6 && !six))
		return -EPROTO;
	if (!(four && ip4_leads_to_l4(o, have, proto)) && !(six && ip6_leads_to_l4(o, have, proto)))
		return -EPROTO;
	if (proto == IPPROTO_UDP_) {
		o->kind = four ? OFFLOAD_UDP4 : OFFLOAD_UDP6;
		o->headers = o->l4 + UDP_BYTES;
		return v->csum_offset == UDP_CSUM && o->headers <= have ? 0 : -EPROTO;
	}
	if (v->csum_offset != TCP_CSUM || o->l4 + TCP_BYTES > have)
		return -EPROTO;
	o->kind = four ? OFFLOAD_TCP4 : OFFLOAD_TCP6;
	o->headers = o->l4 + (uint32_t)(o->head[o->l4 + 12] >> 4) * 4;
	return o->headers >= o->l4 + TCP_BYTES && o->headers <= have ? 0 : -EPROTO;
}

static int plan_super(struct offload *o, const struct frame *f, const struct vnet *v, uint32_t mtu)
{
	uint32_t gso = v->gso_type & ~GSO_ECN;
	uint32_t have, room, payload;
	int err;

	if (gso != GSO_TCPV4 && gso != GSO_TCPV6 && gso != GSO_UDP_L4)
		return -EPROTO;
	if (!(v->flags & F_NEEDS_CSUM) || v->gso_size == 0)
		return -EPROTO;
	have = frame_read(f, VNET_HDR, o->head, o->len < OFFLOAD_HEADERS ? o->len : OFFLOAD_HEADERS);
	err = plan_headers(o, v, have);
	if (err)
		return err;
	if (o->headers - o->l3 >= mtu)
		return -EMSGSIZE;
	room = mtu - (o->headers - o->l3);
	o->part = v->gso_size;
	if (o->part > room) {
		/* Parts of a TCP stream may be of any size; UDP datagrams are what the guest made them. */
		if (gso == GSO_UDP_L4)
			return -EMSGSIZE;
		o->part = room;
	}
	payload = o->len - o->headers;
	o->packets = payload ? (payload + o->part - 1) / o->part : 1;
	return o->packets <= OFFLOAD_PACKETS_MAX ? 0 : -EPROTO;
}

static bool is_tagged(const struct frame *f)
{
	uint8_t type[2];

	frame_read(f, VNET_HDR + 12, type, sizeof(type));
	return get16(type) == ETH_8021Q || get16(type) == ETH_8021AD;
}

int offload_plan(struct offload *o, const struct frame *f, uint32_t mtu, uint16_t vlan)
{
	struct vnet v;

	if (f->len < VNET_HDR + OFFLOAD_ETHER)
		return -EINVAL;
	read_vnet(&v, f);
	o->kind = OFFLOAD_PLAIN;
	o->packets = 1;
	o->vlan = vlan;
	o->len = f->len - VNET_HDR;
	if (!vlan && is_tagged(f))
		return -EPERM;
	if (v.gso_type != GSO_NONE)
		return plan_super(o, f, &v, mtu);
	/* A tag of the guest's own does not count against the MTU, as with any switch. */
	if (o->len > mtu + OFFLOAD_ETHER + (is_tagged(f) ? OFFLOAD_TAG : 0))
		return -EMSGSIZE;
	if (!(v.flags & F_NEEDS_CSUM))
		return 0;
	o->kind = OFFLOAD_CSUM;
	o->csum_start = v.csum_start;
	o->csum_field = v.csum_start + v.csum_offset;
	if (o->csum_start < OFFLOAD_ETHER || o->csum_field + 2 > o->len)
		return -EPROTO;
	return 0;
}

uint32_t offload_longest(const struct offload *o)
{
	uint32_t tag = o->vlan ? OFFLOAD_TAG : 0;

	if (o->kind == OFFLOAD_PLAIN || o->kind == OFFLOAD_CSUM || o->packets == 1)
		return o->len + tag;
	return o->headers + o->part + tag;
}

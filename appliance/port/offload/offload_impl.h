/* SPDX-License-Identifier: Apache-2.0 */
/* What planning and writing share; nobody else includes this. */
#ifndef OUTRIGGER_PORT_OFFLOAD_IMPL_H
#define OUTRIGGER_PORT_OFFLOAD_IMPL_H

#include "appliance/port/offload/offload.h"

#define VNET_HDR 12u

#define IP4_BYTES 20u
#define IP6_BYTES 40u
#define TCP_BYTES 20u
#define UDP_BYTES 8u

#define IPPROTO_TCP_ 6u
#define IPPROTO_UDP_ 17u

#define TCP_FLAGS 13u /* offset in the header */
#define TCP_CSUM  16u
#define UDP_CSUM  6u

static inline uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static inline void put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static inline uint32_t get32(const uint8_t *p)
{
	return (uint32_t)get16(p) << 16 | get16(p + 2);
}

static inline void put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v);
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The codecs that every packet passes through, for wire.h alone to include: wire_hdr_*() and wire_rec_*() as
 * it says them.
 */
#ifndef OUTRIGGER_WIRE_WIRE_INLINE_H
#define OUTRIGGER_WIRE_WIRE_INLINE_H

#include <errno.h>

#include "proto/wire/wire.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "put and get swap");

/* Fields of a run of bytes whose bounds were checked as a whole. */
static inline void wire_put16(uint8_t *p, uint16_t v)
{
	v = __builtin_bswap16(v);
	memcpy(p, &v, sizeof(v));
}

static inline void wire_put32(uint8_t *p, uint32_t v)
{
	v = __builtin_bswap32(v);
	memcpy(p, &v, sizeof(v));
}

static inline void wire_put64(uint8_t *p, uint64_t v)
{
	v = __builtin_bswap64(v);
	memcpy(p, &v, sizeof(v));
}

static inline uint16_t wire_get16(const uint8_t *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return __builtin_bswap16(v);
}

static inline uint32_t wire_get32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return __builtin_bswap32(v);
}

static inline uint64_t wire_get64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return __builtin_bswap64(v);
}

static inline void wire_hdr_encode(const struct wire_hdr *h, uint8_t *out)
{
	out[0] = (uint8_t)(WIRE_VERSION << 4 | h->type);
	out[1] = h->flags;
	out[2] = h->cls;
	out[3] = h->path;
	wire_put32(out + WIRE_NONCE_AT, h->spi);
	wire_put64(out + WIRE_NONCE_AT + 4, h->txn);
	wire_put32(out + 16, h->psn);
	wire_put32(out + 20, h->cum_ack);
	wire_put32(out + 24, h->floor);
	wire_put16(out + 28, h->rwnd);
	wire_put16(out + 30, h->ce);
}

static inline int wire_hdr_decode(struct wire_hdr *h, const uint8_t *data, uint32_t len)
{
	if (len < WIRE_HDR_LEN)
		return -EBADMSG;
	if (data[0] >> 4 != WIRE_VERSION)
		return -EPROTONOSUPPORT;
	h->type = data[0] & 15;
	h->flags = data[1];
	h->cls = data[2];
	h->path = data[3];
	h->spi = wire_get32(data + WIRE_NONCE_AT);
	h->txn = wire_get64(data + WIRE_NONCE_AT + 4);
	h->psn = wire_get32(data + 16);
	h->cum_ack = wire_get32(data + 20);
	h->floor = wire_get32(data + 24);
	h->rwnd = wire_get16(data + 28);
	h->ce = wire_get16(data + 30);
	if (h->type < WIRE_DATA || h->type > WIRE_PROBE_REPLY || h->flags & ~WIRE_F_KNOWN)
		return -ENOMSG;
	if (h->cls >= WIRE_CLASSES || h->path >= WIRE_PATHS)
		return -ECHRNG;
	return h->txn ? 0 : -EBADMSG;
}

static inline void wire_rec_encode(const struct wire_rec *r, uint8_t *out)
{
	out[0] = r->kind;
	out[1] = r->queue;
	wire_put16(out + 2, r->dev);
	wire_put16(out + 4, r->len);
	wire_put16(out + 6, r->aux);
	wire_put32(out + 8, r->id);
	wire_put32(out + 12, r->total);
	wire_put32(out + 16, r->offset);
}

static inline void wire_rec_grow(uint8_t *out, uint16_t len)
{
	wire_put16(out + 4, len);
	wire_put32(out + 12, len);
}

static inline int wire_rec_next(struct cur_r *c, struct wire_rec *r, const uint8_t **data)
{
	const uint8_t *p = c->p;

	if (c->bad)
		return -EBADMSG;
	if (c->left < WIRE_REC_LEN)
		return 0;
	r->kind = p[0];
	r->queue = p[1];
	r->dev = wire_get16(p + 2);
	r->len = wire_get16(p + 4);
	r->aux = wire_get16(p + 6);
	r->id = wire_get32(p + 8);
	r->total = wire_get32(p + 12);
	r->offset = wire_get32(p + 16);
	if (r->len > c->left - WIRE_REC_LEN || (uint64_t)r->offset + r->len > r->total) {
		c->bad = true;
		return -EBADMSG;
	}
	*data = p + WIRE_REC_LEN;
	c->p += WIRE_REC_LEN + r->len;
	c->left -= WIRE_REC_LEN + r->len;
	return 1;
}

#endif

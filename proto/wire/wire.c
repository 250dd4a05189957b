/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/wire/wire.h"

#include <assert.h>
#include <errno.h>

static_assert(WIRE_HDR_LEN == 4 + 4 + 8 + 4 * 3 + 2 * 2, "base header");
static_assert(WIRE_REC_LEN == 2 + 2 * 3 + 4 * 3, "record header");
static_assert(sizeof(struct wire_rec) == WIRE_REC_LEN, "record struct has no holes");
static_assert(WIRE_ACK_LEN == 2 + 2 * 3 + 4 + 8, "ack block");
static_assert(WIRE_PROBE_LEN == 8 + 4, "probe body");

/* Fields of a run of bytes whose bounds were checked as a whole. */
static inline void put16(uint8_t *p, uint16_t v)
{
	v = __builtin_bswap16(v);
	memcpy(p, &v, sizeof(v));
}

static inline void put32(uint8_t *p, uint32_t v)
{
	v = __builtin_bswap32(v);
	memcpy(p, &v, sizeof(v));
}

static inline void put64(uint8_t *p, uint64_t v)
{
	v = __builtin_bswap64(v);
	memcpy(p, &v, sizeof(v));
}

static inline uint16_t get16(const uint8_t *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return __builtin_bswap16(v);
}

static inline uint32_t get32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return __builtin_bswap32(v);
}

static inline uint64_t get64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return __builtin_bswap64(v);
}

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "put and get swap");

void wire_hdr_encode(const struct wire_hdr *h, uint8_t *out)
{
	out[0] = (uint8_t)(WIRE_VERSION << 4 | h->type);
	out[1] = h->flags;
	out[2] = h->cls;
	out[3] = h->path;
	put32(out + 4, h->spi);
	put64(out + 8, h->txn);
	put32(out + 16, h->psn);
	put32(out + 20, h->cum_ack);
	put32(out + 24, h->floor);
	put16(out + 28, h->rwnd);
	put16(out + 30, h->ce);
}

int wire_hdr_decode(struct wire_hdr *h, const uint8_t *data, uint32_t len)
{
	struct cur_r c;
	const uint8_t *p;

	cur_r_init(&c, data, len);
	p = cur_take(&c, WIRE_HDR_LEN);
	if (!p)
		return -EBADMSG;
	if (p[0] >> 4 != WIRE_VERSION)
		return -EPROTONOSUPPORT;
	h->type = p[0] & 15;
	h->flags = p[1];
	h->cls = p[2];
	h->path = p[3];
	h->spi = get32(p + 4);
	h->txn = get64(p + 8);
	h->psn = get32(p + 16);
	h->cum_ack = get32(p + 20);
	h->floor = get32(p + 24);
	h->rwnd = get16(p + 28);
	h->ce = get16(p + 30);
	if (h->type < WIRE_DATA || h->type > WIRE_PROBE_REPLY || h->flags & ~WIRE_F_KNOWN)
		return -ENOMSG;
	if (h->cls >= WIRE_CLASSES || h->path >= WIRE_PATHS)
		return -ECHRNG;
	return h->txn ? 0 : -EBADMSG;
}

void wire_rec_encode(const struct wire_rec *r, uint8_t *out)
{
	out[0] = r->kind;
	out[1] = r->queue;
	put16(out + 2, r->dev);
	put16(out + 4, r->len);
	put16(out + 6, r->aux);
	put32(out + 8, r->id);
	put32(out + 12, r->total);
	put32(out + 16, r->offset);
}

int wire_rec_next(struct cur_r *c, struct wire_rec *r, const uint8_t **data)
{
	const uint8_t *p;

	if (c->bad)
		return -EBADMSG;
	if (c->left < WIRE_REC_LEN)
		return 0;
	p = cur_take(c, WIRE_REC_LEN);
	r->kind = p[0];
	r->queue = p[1];
	r->dev = get16(p + 2);
	r->len = get16(p + 4);
	r->aux = get16(p + 6);
	r->id = get32(p + 8);
	r->total = get32(p + 12);
	r->offset = get32(p + 16);
	*data = cur_take(c, r->len);
	if (!*data || r->offset > r->total || r->len > r->total - r->offset) {
		c->bad = true;
		return -EBADMSG;
	}
	return 1;
}

bool wire_ack_encode(struct cur_w *c, const struct wire_ack *a)
{
	uint8_t *p;

	if (c->left < WIRE_ACK_LEN + 8u * a->nwords)
		return false;
	p = cur_reserve(c, WIRE_ACK_LEN);
	if (!p)
		return false;
	p[0] = a->cls;
	p[1] = a->path;
	put16(p + 2, a->nwords);
	put16(p + 4, a->rwnd);
	put16(p + 6, a->delay_us);
	put32(p + 8, a->cum_ack);
	put64(p + 12, a->largest_txn);
	return true;
}

int wire_ack_next(struct cur_r *c, struct wire_ack *a)
{
	const uint8_t *p;

	if (c->bad)
		return -EBADMSG;
	if (!c->left)
		return 0;
	p = cur_take(c, WIRE_ACK_LEN);
	if (!p)
		return -EBADMSG;
	a->cls = p[0];
	a->path = p[1];
	a->nwords = get16(p + 2);
	a->rwnd = get16(p + 4);
	a->delay_us = get16(p + 6);
	a->cum_ack = get32(p + 8);
	a->largest_txn = get64(p + 12);
	if (a->cls < WIRE_CLASSES && a->path < WIRE_PATHS && a->nwords <= WIRE_ACK_WORDS)
		a->bitmap = cur_take(c, 8u * a->nwords);
	else
		a->bitmap = NULL;
	if (!a->bitmap) {
		c->bad = true;
		return -EBADMSG;
	}
	return 1;
}

uint64_t wire_ack_word(const struct wire_ack *a, uint32_t word)
{
	return word < a->nwords ? get64(a->bitmap + 8u * word) : 0;
}

int wire_ack_area(const uint8_t *payload, uint32_t *len, struct cur_r *acks)
{
	uint32_t n;

	if (*len < 2)
		return -EBADMSG;
	n = get16(payload + *len - 2);
	if (n > *len - 2)
		return -EBADMSG;
	*len -= 2 + n;
	cur_r_init(acks, payload + *len, n);
	return 0;
}

void wire_slice_encode(unsigned index, unsigned count, uint8_t *out)
{
	out[0] = (uint8_t)index;
	out[1] = (uint8_t)count;
	out[2] = out[3] = 0;
}

int wire_slice_decode(unsigned *index, unsigned *count, const uint8_t *data, uint32_t len)
{
	if (len < WIRE_SLICE_LEN || data[0] >= data[1] || data[1] > WIRE_SLICES_MAX || data[2] || data[3])
		return -EBADMSG;
	*index = data[0];
	*count = data[1];
	return 0;
}

void wire_probe_encode(const struct wire_probe *p, uint8_t *out)
{
	put64(out, p->stamp);
	out[8] = p->usable;
	memset(out + 9, 0, 3);
}

int wire_probe_decode(struct wire_probe *p, const uint8_t *data, uint32_t len)
{
	if (len < WIRE_PROBE_LEN || data[8] > 1 || data[9] || data[10] || data[11])
		return -EBADMSG;
	p->stamp = get64(data);
	p->usable = data[8];
	return 0;
}

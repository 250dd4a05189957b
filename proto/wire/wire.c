/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/wire/wire.h"

#include <assert.h>
#include <errno.h>

static_assert(WIRE_HDR_LEN == 4 + 4 + 8 + 4 * 3 + 2 * 2, "base header");
static_assert(WIRE_REC_LEN == 2 + 2 * 3 + 4 * 3, "record header");
static_assert(sizeof(struct wire_rec) == WIRE_REC_LEN, "record struct has no holes");
static_assert(WIRE_ACK_LEN == 2 + 2 * 3 + 4 + 8, "ack block");
static_assert(WIRE_PROBE_LEN == 8 + 4, "probe body");

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
	wire_put16(p + 2, a->nwords);
	wire_put16(p + 4, a->rwnd);
	wire_put16(p + 6, a->delay_us);
	wire_put32(p + 8, a->cum_ack);
	wire_put64(p + 12, a->largest_txn);
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
	a->nwords = wire_get16(p + 2);
	a->rwnd = wire_get16(p + 4);
	a->delay_us = wire_get16(p + 6);
	a->cum_ack = wire_get32(p + 8);
	a->largest_txn = wire_get64(p + 12);
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
	return word < a->nwords ? wire_get64(a->bitmap + 8u * word) : 0;
}

int wire_ack_area(const uint8_t *payload, uint32_t *len, struct cur_r *acks)
{
	uint32_t n;

	if (*len < 2)
		return -EBADMSG;
	n = wire_get16(payload + *len - 2);
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
	wire_put64(out, p->stamp);
	out[8] = p->usable;
	memset(out + 9, 0, 3);
}

int wire_probe_decode(struct wire_probe *p, const uint8_t *data, uint32_t len)
{
	if (len < WIRE_PROBE_LEN || data[8] > 1 || data[9] || data[10] || data[11])
		return -EBADMSG;
	p->stamp = wire_get64(data);
	p->usable = data[8];
	return 0;
}

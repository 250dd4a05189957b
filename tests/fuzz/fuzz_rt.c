/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz-rooms: fabric/rt fabric/aead fabric/buf proto/wire */
/*
 * A session against an authenticated, hostile peer. The input is a script of steps for one rt:
 * datagrams with any header and payload, which the harness seals with the right key so that they pass the
 * tag, messages to send, time that passes. Nothing may be read out of bounds, no piece may lie outside its
 * message, no number may be delivered twice, settled bases only grow, and calls come to an end.
 */
#include <stdlib.h>

#include "fabric/rt/rt.h"
#include "proto/wire/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHUNK  512u
#define RX_SPI 7u

struct side {
	uint32_t settled[RT_NCLASS];
	uint64_t seen[RT_NCLASS][4096 / 64];
	bool first; /* no record of this datagram was seen yet */
};

static void on_record(void *ctx, enum rt_class cls, uint32_t psn, const struct rt_rec *rec,
		      const uint8_t *data, struct buf *owner)
{
	struct side *s = ctx;
	uint64_t *word = &s->seen[cls][psn % 4096 / 64], bit = 1ull << (psn % 64);
	volatile uint8_t sum = 0;

	(void)owner;
	if ((int32_t)(psn - s->settled[cls]) < 0 || psn - s->settled[cls] >= 4096)
		abort();
	if (s->first && *word & bit)
		abort(); /* a number twice */
	s->first = false;
	if (rec->offset > rec->total || rec->len > rec->total - rec->offset)
		abort();
	for (uint32_t i = 0; i < rec->len; i++)
		sum = (uint8_t)(sum + data[i]);
	*word |= bit;
}

static void on_settled(void *ctx, enum rt_class cls, uint32_t base)
{
	struct side *s = ctx;

	if ((int32_t)(base - s->settled[cls]) <= 0)
		abort();
	for (; s->settled[cls] != base; s->settled[cls]++)
		s->seen[cls][s->settled[cls] % 4096 / 64] &= ~(1ull << (s->settled[cls] % 64));
}

static void on_writable(void *ctx, enum rt_class cls)
{
	(void)ctx;
	(void)cls;
}

static const struct rt_ops ops = {.record = on_record, .settled = on_settled, .writable = on_writable};

static void drain(struct rt *rt, uint64_t now)
{
	struct rt_tx out[16];
	int rounds = 0;

	while (rt_output(rt, now, out, 16) > 0)
		if (++rounds > 10000)
			abort(); /* it must come to an end */
}

/* A datagram: 28 bytes of header as they come (spi filled in, txn rising), then the payload. */
static void datagram(struct rt *rt, struct side *side, struct cur_r *in, struct aead_key *key, uint64_t *txn,
		     uint64_t now)
{
	static uint8_t d[WIRE_HDR_LEN + 2048 + AEAD_TAG_MAX];
	uint8_t nonce[AEAD_NONCE_LEN];
	uint32_t len = cur_u16(in) % 1500;
	const uint8_t *hdr = cur_take(in, 4), *rest;
	struct cur_w w;

	if (len > in->left)
		len = (uint32_t)in->left;
	if (len < 16 || !hdr)
		return;
	rest = cur_take(in, 16);
	len -= 16;
	*txn += 1 + (hdr[3] & 0x80 ? 5000 : 0);
	cur_w_init(&w, d, sizeof(d));
	cur_put_u8(&w, (uint8_t)(0x10 | (hdr[0] & 7)));
	cur_put_u8(&w, hdr[1] & (7 | WIRE_F_SLICE | WIRE_F_ACK_SOON));
	cur_put_u8(&w, hdr[2] & 3);
	cur_put_u8(&w, 0);
	cur_put_u32(&w, RX_SPI);
	cur_put_u64(&w, *txn);
	cur_put(&w, rest, 16);
	cur_put(&w, cur_take(in, len), len);
	cur_w_init(&w, nonce, sizeof(nonce));
	cur_put_u32(&w, RX_SPI);
	cur_put_u64(&w, *txn);
	aead_crc.seal(key, nonce, d, WIRE_HDR_LEN, d + WIRE_HDR_LEN, len, d + WIRE_HDR_LEN + len);
	side->first = true;
	rt_input(rt, d, WIRE_HDR_LEN + len + aead_crc.tag_len, NULL, hdr[3] & 1, now);
	/* and once more: a replay changes nothing */
	if (rt_input(rt, d, WIRE_HDR_LEN + len + aead_crc.tag_len, NULL, false, now) >= 0)
		abort();
}

static void step(struct rt *rt, struct side *side, struct cur_r *in, struct aead_key *key, uint64_t *txn,
		 uint64_t *now)
{
	static uint8_t bytes[RT_SEND_MAX];
	uint8_t what = cur_u8(in), arg = cur_u8(in);
	struct rt_rec rec = {.kind = arg, .total = cur_u16(in)};
	struct iovec iov = {bytes, rec.total};

	switch (what % 8) {
	case 0:
		rt_send(rt, (enum rt_class)(arg % RT_NCLASS), (enum rt_rel)(arg / 4 % 3), &rec, &iov, 1,
			*now);
		rt_flush(rt, *now);
		break;
	case 1:
		*now += (uint64_t)arg * 10000;
		rt_tick(rt, *now);
		break;
	case 2:
		if (rt_deadline(rt) > *now)
			*now = rt_deadline(rt);
		rt_tick(rt, *now);
		break;
	case 3:
		rt_input_end(rt, *now);
		break;
	default:
		datagram(rt, side, in, key, txn, *now);
	}
	drain(rt, *now);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct side side = {.first = true};
	struct rt_cfg cfg = {
		.ops = &ops, .ctx = &side, .aead = &aead_crc, .chunk = CHUNK, .chunk_max = 4 * CHUNK};
	struct rt_path_cfg pc = {.tx_spi = 9, .rx_spi = RX_SPI};
	struct aead_key *key = aead_crc.create(pc.rx_key);
	uint64_t now = 1000000000ull, txn = 0;
	struct cur_r in;
	struct rt *rt;
	int err;

	cur_r_init(&in, data, size);
	for (unsigned c = 0; c < RT_NCLASS; c++)
		cfg.window[c] = 64;
	cfg.active = cur_u8(&in) & 1;
	rt = rt_create(&cfg, now, &err);
	if (!rt || rt_path_add(rt, 0, &pc, now))
		abort();
	drain(rt, now);
	while (in.left && cur_ok(&in))
		step(rt, &side, &in, key, &txn, &now);
	rt_destroy(rt);
	aead_crc.destroy(key);
	return 0;
}

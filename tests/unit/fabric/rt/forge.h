/* SPDX-License-Identifier: Apache-2.0 */
/* Packets of a test's own making, and what an end must be after it refused one. */
#ifndef OUTRIGGER_UNIT_RT_FORGE_H
#define OUTRIGGER_UNIT_RT_FORGE_H

#include "pair.h"

/* A datagram of our own making, sealed with the key of path 0 towards side. */
struct forge {
	struct wire_hdr h;
	uint8_t body[2048];
	uint32_t len;
};

static inline struct forge honest(int to, uint8_t type, unsigned cls)
{
	static uint64_t txn = 1000;
	const struct rt *me = pair.rt[to];
	struct forge f = {.h = {.type = type,
				.cls = (uint8_t)cls,
				.spi = me->path[0].rx_spi,
				.txn = ++txn,
				.psn = me->rx[cls].cum,
				.cum_ack = me->tx[cls].peer_cum,
				.floor = me->rx[cls].cum,
				.rwnd = 64}};

	return f;
}

static inline void seal(const struct forge *f, int to, struct pkt *k)
{
	uint8_t nonce[AEAD_NONCE_LEN];
	struct cur_w c;

	wire_hdr_encode(&f->h, k->data);
	memcpy(k->data + WIRE_HDR_LEN, f->body, f->len);
	cur_w_init(&c, nonce, sizeof(nonce));
	cur_put_u32(&c, f->h.spi);
	cur_put_u64(&c, f->h.txn);
	aead_crc.seal(pair.rt[to]->path[0].rx_key, nonce, k->data, WIRE_HDR_LEN, k->data + WIRE_HDR_LEN,
		      f->len, k->data + WIRE_HDR_LEN + f->len);
	k->len = WIRE_HDR_LEN + f->len + aead_crc.tag_len;
}

/* Everything of an rt that a refused packet must not change; an authentic one may show that the path lives.
 */
struct print {
	struct tx_ring tx[RT_NCLASS];
	struct rx_win rx[RT_NCLASS];
	int primary;
	uint8_t state[RT_PATHS];
	uint32_t cwnd[RT_PATHS], inflight[RT_PATHS];
	uint64_t srtt[RT_PATHS];
};

static inline struct print print_of(const struct rt *rt)
{
	struct print p;

	memset(&p, 0, sizeof(p));
	memcpy(p.tx, rt->tx, sizeof(p.tx));
	memcpy(p.rx, rt->rx, sizeof(p.rx));
	p.primary = rt->primary;
	for (unsigned i = 0; i < RT_PATHS; i++) {
		p.state[i] = rt->path[i].state;
		p.cwnd[i] = rt->path[i].cc.cwnd;
		p.inflight[i] = rt->path[i].inflight;
		p.srtt[i] = rt->path[i].srtt;
	}
	return p;
}

/* Gives k to side 1, which must drop it and count it as why, once, and only so. */
static inline void refused(const char *what, const struct pkt *k, enum rt_counter why)
{
	struct print before = print_of(pair.rt[1]), after;
	uint64_t drops[RT_NCOUNTERS];

	memcpy(drops, rt_counters(pair.rt[1]), sizeof(drops));
	if (pair_give(1, k) != -EBADMSG)
		fail_msg("%s: taken", what);
	after = print_of(pair.rt[1]);
	if (memcmp(&before, &after, sizeof(before)))
		fail_msg("%s: state changed", what);
	for (unsigned i = RT_C_drop_short; i < RT_NCOUNTERS; i++)
		if (rt_counters(pair.rt[1])[i] - drops[i] != (i == why))
			fail_msg("%s: %s counted %d", what, rt_counter_names[i],
				 (int)(rt_counters(pair.rt[1])[i] - drops[i]));
	assert_log(1, "");
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fabric/rt/impl.h"
#include "tests/sim/rt/modes.h"

/* The price of a packet without its bytes' cipher: two ends, back to back, in this thread. */
static void null_seal(struct aead_key *k, const uint8_t *nonce, const uint8_t *hdr, size_t hdr_len,
		      uint8_t *data, size_t len, uint8_t *tag)
{
	(void)k, (void)nonce, (void)hdr, (void)hdr_len, (void)data, (void)len, (void)tag;
}

static int null_open(struct aead_key *k, const uint8_t *nonce, const uint8_t *hdr, size_t hdr_len,
		     uint8_t *data, size_t len, const uint8_t *tag)
{
	(void)k, (void)nonce, (void)hdr, (void)hdr_len, (void)data, (void)len, (void)tag;
	return 0;
}

static uint64_t codec_bytes;

static void codec_record(void *ctx, enum rt_class cls, uint32_t psn, const struct rt_rec *rec,
			 const uint8_t *data, struct buf *owner)
{
	(void)ctx, (void)cls, (void)psn, (void)data, (void)owner;
	codec_bytes += rec->len;
}

static void codec_settled(void *ctx, enum rt_class cls, uint32_t base)
{
	(void)ctx, (void)cls, (void)base;
}

static void codec_writable(void *ctx, enum rt_class cls)
{
	(void)ctx, (void)cls;
}

struct codec {
	struct rt *rt[2];
	uint64_t now, packets;
	struct rng rng;
	uint32_t loss;
	bool cipher;
};

/* What from has to send now, to the other end, a burst at a time. */
static bool codec_move(struct codec *k, unsigned from)
{
	struct rt_tx out[64];
	int n = rt_output(k->rt[from], k->now, out, 64);

	for (int i = 0; i < n; i++) {
		static uint8_t copy[2048];

		if (k->loss && rng_chance(&k->rng, k->loss))
			continue;
		if (k->cipher) /* opened in place, and the sender may want it again */
			memcpy(copy, out[i].data, out[i].len);
		rt_input(k->rt[!from], k->cipher ? copy : out[i].data, out[i].len, NULL, false, k->now);
	}
	k->packets += (uint64_t)n;
	return n > 0;
}

static double codec_run(struct codec *k, uint64_t packets, uint32_t len)
{
	static uint8_t bytes[RT_SEND_MAX];
	struct rt_rec rec = {.total = len};
	struct iovec iov = {bytes, len};
	struct timespec a, b;

	k->packets = 0;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &a);
	while (k->packets < packets) {
		while (rt_send(k->rt[0], RT_DATA, RT_REL_FULL, &rec, &iov, 1, k->now) == 0)
			rec.id++;
		for (int i = 0; i < 4 && codec_move(k, 0); i++)
			;
		k->now += 10000;
		rt_input_end(k->rt[1], k->now);
		codec_move(k, 1);
		k->now += 10000;
		rt_input_end(k->rt[0], k->now);
		if (rt_deadline(k->rt[0]) <= k->now)
			rt_tick(k->rt[0], k->now);
	}
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &b);
	return ((double)(b.tv_sec - a.tv_sec) * 1e9 + (double)(b.tv_nsec - a.tv_nsec)) / (double)k->packets;
}

void mode_codec(const struct options *o)
{
	static const struct rt_ops ops = {
		.record = codec_record, .settled = codec_settled, .writable = codec_writable};
	static const uint32_t loss[] = {0, 10000, 50000};

	(void)o;

	for (unsigned i = 0; i < sizeof(loss) / sizeof(loss[0]); i++)
		for (unsigned j = 0; j < 2; j++) {
			struct aead_ops none = {"none",		  0,	     aead_crc.create,
						aead_crc.destroy, null_seal, null_open};
			struct codec k = {.now = 1000000000ull, .loss = loss[i], .cipher = j};
			int err;

			rng_init(&k.rng, 1);
			for (unsigned side = 0; side < 2; side++) {
				struct rt_cfg c = {.ops = &ops,
						   .aead = j ? &aead_gcm : &none,
						   .chunk = RT_CHUNK_DEFAULT,
						   .rto_floor_ns = 200000,
						   .active = !side};
				struct rt_path_cfg pc = {.tx_spi = 2 - side, .rx_spi = 1 + side};

				k.rt[side] = rt_create(&c, k.now, &err);
				if (!k.rt[side] || rt_path_add(k.rt[side], 0, &pc, k.now))
					exit(1);
			}
			codec_move(&k, 0);
			codec_move(&k, 1);
			codec_run(&k, 200000, 65562);
			printf("{\"bench\":\"codec\",\"cipher\":\"%s\",\"loss_pct\":%.0f,\"ns_per_packet_"
			       "both_ends\":%.0f}\n",
			       j ? "aes-128-gcm" : "none", loss[i] / 10000.0, codec_run(&k, 2000000, 65562));
			rt_destroy(k.rt[0]);
			rt_destroy(k.rt[1]);
		}
}

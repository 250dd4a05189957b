/* SPDX-License-Identifier: Apache-2.0 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fabric/rt/impl.h"
#include "tests/sim/rt/modes.h"

#define MESSAGE 65562u	/* a frame of the largest size, with its header */
#define PACKETS 262144u /* of each round */
#define ROUNDS	9u
#define RUNS	6u

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

static double cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static uint8_t codec_message[RT_SEND_MAX];

/* Nanoseconds per packet. */
static double codec_run(struct codec *k)
{
	struct rt_rec rec = {.total = MESSAGE};
	struct iovec iov = {codec_message, MESSAGE};
	double from = cpu_ns();

	k->packets = 0;
	while (k->packets < PACKETS) {
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
	return (cpu_ns() - from) / (double)k->packets;
}

/* What no transport is spared: a window of packets, the message's bytes copied there, headers written and
 * read, a bit set when it came and cleared when it was acknowledged. */
static double bare_run(void)
{
	static uint8_t window[1024][WIRE_HDR_LEN + RT_CHUNK_DEFAULT + AEAD_TAG_MAX];
	static uint64_t bits[1024 / 64];
	const uint32_t len = RT_CHUNK_DEFAULT - WIRE_REC_LEN, burst = 64;
	double from = cpu_ns();

	for (uint32_t at = 0; at < PACKETS; at += burst) {
		for (uint32_t i = at; i < at + burst; i++) {
			struct wire_hdr h = {.type = WIRE_DATA, .txn = i + 1, .psn = i, .rwnd = 1024};
			struct wire_rec r = {.len = (uint16_t)len, .id = i, .total = len};
			uint8_t *p = window[i % 1024];

			memcpy(p + WIRE_HDR_LEN + WIRE_REC_LEN, codec_message + i % 48 * len, len);
			wire_rec_encode(&r, p + WIRE_HDR_LEN);
			wire_hdr_encode(&h, p);
		}
		for (uint32_t i = at; i < at + burst; i++) {
			const uint8_t *p = window[i % 1024], *data;
			struct wire_hdr h;
			struct wire_rec r;
			struct cur_r c;

			cur_r_init(&c, p + WIRE_HDR_LEN, RT_CHUNK_DEFAULT);
			if (wire_hdr_decode(&h, p, sizeof(window[0])) || wire_rec_next(&c, &r, &data) != 1)
				exit(1);
			bits[h.psn / 64 % 16] |= 1ull << h.psn % 64;
			codec_bytes += r.len;
		}
		while (bits[at / 64 % 16])
			bits[at / 64 % 16] &= bits[at / 64 % 16] - 1;
	}
	return (cpu_ns() - from) / PACKETS;
}

static void codec_open(struct codec *k, struct aead_ops *none)
{
	static const struct rt_ops ops = {
		.record = codec_record, .settled = codec_settled, .writable = codec_writable};
	int err;

	rng_init(&k->rng, 1);
	k->now = 1000000000ull;
	*none = (struct aead_ops){"none", 0, aead_crc.create, aead_crc.destroy, null_seal, null_open};
	for (unsigned side = 0; side < 2; side++) {
		struct rt_cfg c = {.ops = &ops,
				   .aead = k->cipher ? aead_gcm_best() : none,
				   .chunk = RT_CHUNK_DEFAULT,
				   .rto_floor_ns = 200000,
				   .active = !side};
		struct rt_path_cfg pc = {.tx_spi = 2 - side, .rx_spi = 1 + side};

		k->rt[side] = rt_create(&c, k->now, &err);
		if (!k->rt[side] || rt_path_add(k->rt[side], 0, &pc, k->now))
			exit(1);
	}
	codec_move(k, 0);
	codec_move(k, 1);
	codec_run(k);
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void codec_say(const char *cipher, double loss, double *ns)
{
	qsort(ns, ROUNDS, sizeof(*ns), by_value);
	printf("{\"bench\":\"codec\",\"cipher\":\"%s\",\"loss_pct\":%.0f,\"ns_per_packet_both_ends\":%.0f,"
	       "\"ns_least\":%.0f,\"ns_most\":%.0f}\n",
	       cipher, loss, ns[ROUNDS / 2], ns[0], ns[ROUNDS - 1]);
}

/* In turns, so that what else the machine does meets all of them. */
void mode_codec(const struct options *o)
{
	static const uint32_t loss[] = {0, 10000, 50000};
	static double ns[RUNS][ROUNDS], bare[ROUNDS];
	static struct codec k[RUNS];
	struct aead_ops none;

	(void)o;
	for (unsigned i = 0; i < RUNS; i++) {
		k[i].loss = loss[i / 2];
		k[i].cipher = i % 2;
		codec_open(&k[i], &none);
	}
	for (unsigned r = 0; r < ROUNDS; r++) {
		for (unsigned i = 0; i < RUNS; i++)
			ns[i][r] = codec_run(&k[i]);
		bare[r] = bare_run();
	}
	for (unsigned i = 0; i < RUNS; i++) {
		codec_say(k[i].cipher ? "aes-128-gcm" : "none", k[i].loss / 10000.0, ns[i]);
		rt_destroy(k[i].rt[0]);
		rt_destroy(k[i].rt[1]);
	}
	codec_say("bare", 0, bare);
}

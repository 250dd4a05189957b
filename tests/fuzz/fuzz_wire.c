/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz-rooms: proto/wire */
/*
 * Every decoder of the fabric's packed headers on arbitrary bytes: nothing outside the input is
 * read, and what decodes encodes to the same bytes again.
 */
#include <stdlib.h>

#include "proto/wire/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void same(const void *a, const void *b, size_t n)
{
	if (memcmp(a, b, n))
		abort();
}

static void records(const uint8_t *p, uint32_t len)
{
	struct cur_r c;
	struct wire_rec r;
	const uint8_t *bytes;
	uint8_t out[WIRE_REC_LEN];

	cur_r_init(&c, p, len);
	while (wire_rec_next(&c, &r, &bytes) == 1) {
		if (bytes < p || bytes + r.len > p + len || (uint64_t)r.offset + r.len > r.total)
			abort();
		wire_rec_encode(&r, out);
		same(out, bytes - WIRE_REC_LEN, sizeof(out));
	}
}

static void acks(struct cur_r *c)
{
	static uint8_t out[WIRE_ACK_LEN + 8 * WIRE_ACK_WORDS];
	struct wire_ack a;
	struct cur_w w;

	for (const uint8_t *at = c->p; wire_ack_next(c, &a) == 1; at = c->p) {
		cur_w_init(&w, out, sizeof(out));
		if (!wire_ack_encode(&w, &a))
			abort();
		for (uint32_t i = 0; i < a.nwords; i++)
			wire_ack_put_word(&w, wire_ack_word(&a, i));
		same(out, at, sizeof(out) - w.left);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct wire_hdr h;
	struct wire_probe p;
	struct cur_r c;
	uint8_t out[WIRE_HDR_LEN];
	uint32_t len = (uint32_t)size;

	if (wire_hdr_decode(&h, data, len) == 0) {
		wire_hdr_encode(&h, out);
		same(out, data, sizeof(out));
	}
	if (wire_probe_decode(&p, data, len) == 0) {
		wire_probe_encode(&p, out);
		same(out, data, WIRE_PROBE_LEN);
	}
	cur_r_init(&c, data, len);
	acks(&c);
	if (wire_ack_area(data, &len, &c) == 0)
		acks(&c);
	records(data, len);
	return 0;
}

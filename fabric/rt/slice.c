/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packets that were cut for a wider path than there is now, in slices that fit every path.
 *
 * A packet keeps its number, whatever becomes of the path, so that each of its bytes is delivered once:
 * nobody can tell whether it arrived while its acknowledgement was lost. Its records are cut again into
 * datagrams of that same number (wire.h); records say which bytes they are, so each slice is delivered when
 * it comes. The receiver keeps a bit per slice until all are there. From its first slice on a packet is not
 * taken whole any more, and is not sent whole any more.
 */
#include <string.h>

#include "fabric/base/guard.h"
#include "fabric/rt/impl.h"

void slice_begin(struct slicer *s, const uint8_t *payload, uint32_t len)
{
	s->left = false;
	cur_r_init(&s->c, payload, len);
}

static bool record_left(struct slicer *s)
{
	while (!s->left && wire_rec_next(&s->c, &s->r, &s->data) == 1)
		s->left = s->r.len || !s->r.total; /* else it is filler */
	return s->left;
}

uint32_t slice_next(struct slicer *s, uint8_t *out, uint32_t room)
{
	uint32_t at = 0;

	while (record_left(s)) {
		uint32_t len = s->r.len;
		struct wire_rec piece = s->r;

		if (room - at < WIRE_REC_LEN + (len < RT_PIECE_MIN ? len : RT_PIECE_MIN))
			break;
		if (len > room - at - WIRE_REC_LEN)
			len = room - at - WIRE_REC_LEN;
		piece.len = (uint16_t)len;
		if (out) {
			wire_rec_encode(&piece, out + at);
			memcpy(out + at + WIRE_REC_LEN, s->data, len);
		}
		at += WIRE_REC_LEN + len;
		s->data += len;
		s->r.offset += len;
		s->r.len = (uint16_t)(s->r.len - len);
		s->left = s->r.len;
	}
	return at;
}

unsigned slice_count(const uint8_t *payload, uint32_t len, uint32_t room)
{
	struct slicer s;
	unsigned n = 0;

	slice_begin(&s, payload, len);
	while (slice_next(&s, NULL, room))
		n++;
	return n;
}

enum rx_verdict slice_take(struct rx_win *w, uint32_t psn, unsigned index, unsigned count, bool *all)
{
	uint16_t *have = &w->slices[psn & w->mask];
	enum rx_verdict v = rx_look(w, psn);

	*all = false;
	if (v != RX_NEW)
		return v;
	if (!GUARD(slice_dedupe, !(*have >> index & 1)))
		return RX_DUPLICATE;
	*have |= (uint16_t)(1u << index);
	*all = *have == (1u << count) - 1;
	if (*all)
		*have = 0;
	return RX_NEW;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire: the packed headers of the fabric's datagrams. One encode/decode pair each, big-endian,
 * golden bytes in tests/unit/proto/wire. Nothing here knows a session: a decoder says whether
 * the bytes have the form; whether the values are believable is rt's business.
 *
 * A datagram (all of it authenticated, the payload encrypted unless the session says otherwise):
 *
 *	+--------------------+----------------------------------------+---------+
 *	| base header, 32 B  | payload, by type                       | AEAD tag|
 *	+--------------------+----------------------------------------+---------+
 *	 WIRE_DATA           records, then (WIRE_F_ACKS) an ack area
 *	 WIRE_ACK            ack blocks, perhaps none
 *	 WIRE_PROBE, _REPLY  probe body, padding
 *
 * Records: {header 20 B, len bytes} until fewer than WIRE_REC_LEN bytes are left, which are
 * padding. A record with len 0 and total > 0 carries nothing and is skipped (filler): with
 * padding and filler every chunk of a train but the last has the full size.
 *
 * Slices: a packet that was cut for a wider path than there is now goes in up to WIRE_SLICES_MAX datagrams of
 *one psn (WIRE_F_SLICE). Each begins with WIRE_SLICE_LEN bytes, 0 index, 1 count, 2 zero, then records; how a
 * packet is cut never changes, and its number has arrived when all its slices have.
 *
 * Ack area: ack blocks, then a u16 that says how many bytes of blocks precede it. It stands
 * at the very end of the payload, in the room that the last chunk of a burst leaves.
 *
 * Pure functions, any thread. Errors: 0 / -EBADMSG on decode; encode never fails where the
 * caller gives the documented room.
 */
#ifndef OUTRIGGER_WIRE_WIRE_H
#define OUTRIGGER_WIRE_WIRE_H

#include <stdbool.h>
#include <stdint.h>

#include "fabric/base/cursor.h"

#define WIRE_VERSION   1
#define WIRE_HDR_LEN   32u
#define WIRE_NONCE_AT  4u /* of the base header: spi and txn, which are the AEAD's nonce */
#define WIRE_REC_LEN   20u
#define WIRE_ACK_LEN   20u /* without bitmap words */
#define WIRE_PROBE_LEN 12u
#define WIRE_SLICE_LEN 4u
#define WIRE_CLASSES   4u
#define WIRE_PATHS     4u
/* Bitmap words of an ack block: a window of 4096 that starts inside a word. */
#define WIRE_ACK_WORDS	65u
#define WIRE_SLICES_MAX 16u

enum wire_type { WIRE_DATA = 1, WIRE_ACK = 2, WIRE_PROBE = 3, WIRE_PROBE_REPLY = 4 };

#define WIRE_F_ACK_NOW	  0x01u /* acknowledge this class without waiting for more */
#define WIRE_F_RETRANSMIT 0x02u /* this psn was sent before; for counters and captures */
#define WIRE_F_ACKS	  0x04u /* DATA: the payload ends with an ack area */
#define WIRE_F_PHASE	  0x08u /* changes when the sender's clock says that all who send to it shall pause */
#define WIRE_F_SLICE	  0x10u /* DATA: one slice of its packet; no ack area */
#define WIRE_F_ACK_SOON	  0x20u /* the sender's window is filling: acknowledge at the end of this burst */
#define WIRE_F_KNOWN	  0x3fu /* the rest must be 0 */

/* Byte offsets: 0 version<<4|type, 1 flags, 2 class, 3 path, 4 spi, 8 txn, 16 psn, 20 cum_ack, 24 floor,
 * 28 rwnd, 30 ce. */
struct wire_hdr {
	uint8_t type;	  /* enum wire_type */
	uint8_t flags;	  /* WIRE_F_* */
	uint8_t cls;	  /* message class, < WIRE_CLASSES; psn, cum_ack, floor and rwnd are of it */
	uint8_t path;	  /* number of the path, < WIRE_PATHS */
	uint32_t spi;	  /* chosen by the receiver: names session and path there */
	uint64_t txn;	  /* per path, +1 on every transmission; AEAD nonce = spi || txn; never 0 */
	uint32_t psn;	  /* DATA: this packet's number; others: that of the next new DATA packet */
	uint32_t cum_ack; /* reverse direction: every number below was received or given up */
	uint32_t floor;	  /* lowest psn that may still come: what is missing below was given up */
	uint16_t rwnd;	  /* packets from cum_ack on that the sender of this header accepts */
	uint16_t ce;	  /* ECN Congestion Experienced marks seen on this path, modulo 2^16 */
};

/* Byte offsets: 0 kind, 1 queue, 2 dev, 4 len, 6 aux, 8 id, 12 total, 16 offset. */
struct wire_rec {
	uint8_t kind, queue;
	uint16_t dev, len, aux;
	uint32_t id, total, offset;
};

/* One class as its receiver sees it. Byte offsets: 0 class, 1 path, 2 nwords, 4 rwnd, 6 delay_us,
 * 8 cum_ack, 12 largest_txn, 20 bitmap. */
struct wire_ack {
	uint8_t cls, path;
	uint16_t nwords;      /* u64 words of the bitmap, <= WIRE_ACK_WORDS */
	uint16_t rwnd;	      /* as in the base header */
	uint16_t delay_us;    /* from the arrival of largest_txn to this acknowledgement; 65535: or more */
	uint32_t cum_ack;     /* as in the base header */
	uint64_t largest_txn; /* largest transmission number of the class that arrived on path; 0: none */
	/* Bit i of word w says that psn (cum_ack & ~63) + 64 w + i was received; bits below cum_ack are
	 * 0. Decoded: points into the datagram, read with wire_ack_word(). */
	const uint8_t *bitmap;
};

/* PROBE and PROBE_REPLY. Byte offsets: 0 stamp, 8 usable, 9 zero. More bytes may follow (path MTU probes). */
struct wire_probe {
	uint64_t stamp; /* the prober's, opaque; the reply gives it back */
	bool usable;	/* the sender holds the path for usable */
};

/* out: WIRE_HDR_LEN bytes. */
static inline void wire_hdr_encode(const struct wire_hdr *h, uint8_t *out);
/* Checks version, type, flags, class, path, txn > 0. -EPROTONOSUPPORT (version), -ENOMSG (type or flags),
 * -ECHRNG (class or path), -EBADMSG (short, txn 0). */
static inline int wire_hdr_decode(struct wire_hdr *h, const uint8_t *data, uint32_t len);

/* out: WIRE_REC_LEN bytes. */
static inline void wire_rec_encode(const struct wire_rec *r, uint8_t *out);
/* The record at out, all of a message, has len bytes now. */
static inline void wire_rec_grow(uint8_t *out, uint16_t len);
/* The next record of c and its bytes. 1: *r and *data; 0: no more; -EBADMSG: len beyond the payload, or
 * offset + len beyond total. Filler is returned like any record (len 0, total > 0). */
static inline int wire_rec_next(struct cur_r *c, struct wire_rec *r, const uint8_t **data);

/* Header of a block (nwords words must follow, wire_ack_put_word()); false: no room. */
bool wire_ack_encode(struct cur_w *c, const struct wire_ack *a);
static inline void wire_ack_put_word(struct cur_w *c, uint64_t bits)
{
	cur_put_u64(c, bits);
}
/* The next block of c. 1, 0 (no more) or -EBADMSG (truncated, class, path or nwords out of range). */
int wire_ack_next(struct cur_r *c, struct wire_ack *a);
uint64_t wire_ack_word(const struct wire_ack *a, uint32_t word);

/* Splits an ack area off the end of a DATA payload of *len bytes: *acks is set to its blocks and *len is
 * lowered. 0 or -EBADMSG. */
int wire_ack_area(const uint8_t *payload, uint32_t *len, struct cur_r *acks);

/* out: WIRE_SLICE_LEN bytes. */
void wire_slice_encode(unsigned index, unsigned count, uint8_t *out);
/* 0, or -EBADMSG: short, index >= count, count of none or more than there can be. */
int wire_slice_decode(unsigned *index, unsigned *count, const uint8_t *data, uint32_t len);

/* out: WIRE_PROBE_LEN bytes. */
void wire_probe_encode(const struct wire_probe *p, uint8_t *out);
int wire_probe_decode(struct wire_probe *p, const uint8_t *data, uint32_t len);

#include "proto/wire/wire_inline.h"

#endif

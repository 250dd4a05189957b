/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtio-blk device, without its queues and without its backend. A pure core.
 *
 * A request comes in as bytes the driver wrote (16-byte header, then data) and a number of bytes
 * it can take; blk_plan() checks everything and says what the backend has to do, or answers at
 * once. blk_status() is the one place where a backend's errno becomes a virtio status.
 *
 * Durability promised to the guest (virtio 1.2 section 5.2.6.2): a driver that negotiated VIRTIO_BLK_F_FLUSH
 * sees a volatile write-back cache: a completed write is stable after a later FLUSH. A driver that
 * did not sees write-through: a write is stable when it completes, so its plan asks for FUA.
 * VIRTIO_BLK_F_CONFIG_WCE is not offered: the mode does not change while a driver runs. Whoever does not
 * know what the driver acked passes 0, which is safe: only BLK_F_FLUSH changes a plan, and only so. What the
 * volume can do is done for any driver that asks.
 *
 * Nothing here trusts a guest: every field of the header and every segment of a discard is checked
 * against the volume with arithmetic that cannot overflow, on the caller's private copy.
 *
 * Thread rule: no state, any thread.
 * Source: virtio 1.2, sections 5.2.3 (features), 5.2.4 (configuration), 5.2.6 (operation).
 */
#ifndef OUTRIGGER_BLOCK_BLK_H
#define OUTRIGGER_BLOCK_BLK_H

#include <stdbool.h>
#include <stdint.h>

/* Feature bits (5.2.3). */
#define BLK_F_SIZE_MAX	   (1ull << 1)
#define BLK_F_SEG_MAX	   (1ull << 2)
#define BLK_F_RO	   (1ull << 5)
#define BLK_F_BLK_SIZE	   (1ull << 6)
#define BLK_F_FLUSH	   (1ull << 9)
#define BLK_F_TOPOLOGY	   (1ull << 10)
#define BLK_F_MQ	   (1ull << 12)
#define BLK_F_DISCARD	   (1ull << 13)
#define BLK_F_WRITE_ZEROES (1ull << 14)

/* Request types and statuses (5.2.6). */
enum blk_type {
	BLK_T_IN = 0,
	BLK_T_OUT = 1,
	BLK_T_FLUSH = 4,
	BLK_T_GET_ID = 8,
	BLK_T_DISCARD = 11,
	BLK_T_WRITE_ZEROES = 13,
};
enum blk_status { BLK_S_OK = 0, BLK_S_IOERR = 1, BLK_S_UNSUPP = 2 };

#define BLK_SECTOR     512u
#define BLK_HDR_LEN    16u /* le32 type, le32 reserved, le64 sector */
#define BLK_SEG_LEN    16u /* of DISCARD and WRITE_ZEROES: le64 sector, le32 sectors, le32 flags */
#define BLK_ID_LEN     20u
#define BLK_CONFIG_LEN 60u /* struct virtio_blk_config up to and with write_zeroes */

/* SEG_MAX segments of SIZE_MAX bytes are 1 008 KiB: with header and status a request of a well-behaved
 * driver stays below 1 MiB. What is larger is refused. */
#define BLK_SIZE_MAX 8192u
#define BLK_SEG_MAX  126u
#define BLK_DATA_MAX (1u << 20) /* bytes of one IN or OUT */

/* One segment per request, so that a request is one operation of the backend. */
#define BLK_DISCARD_SECTORS_MAX	     (1u << 21) /* 1 GiB */
#define BLK_WRITE_ZEROES_SECTORS_MAX (1u << 16) /* 32 MiB: where the backend cannot, zeroes are written */

struct blk_volume {
	uint64_t size;	     /* bytes, multiple of block */
	uint32_t block;	     /* logical block, 512 or 4096 */
	uint32_t phys_block; /* power of 2, >= block */
	uint32_t opt_io;     /* preferred transfer, bytes; 0: unknown */
	uint16_t queues;     /* >= 1 */
	bool read_only;
	bool can_discard;
	bool can_write_zeroes;
	bool write_cache;	 /* completed writes are volatile until a flush */
	char serial[BLK_ID_LEN]; /* padded with NUL; a full one has no NUL */
};

/* The device's own feature bits. Offered for good: FLUSH whatever the cache, so that a volume can change its
 * backend without the guest noticing. */
uint64_t blk_features(const struct blk_volume *v);
/* 0, or -EINVAL when a driver acked what was not offered. */
int blk_features_check(const struct blk_volume *v, uint64_t acked);
void blk_config(const struct blk_volume *v, uint8_t out[BLK_CONFIG_LEN]);

enum blk_do {
	BLK_DO_READ,
	BLK_DO_WRITE,
	BLK_DO_FLUSH,
	BLK_DO_DISCARD,
	BLK_DO_WRITE_ZEROES,
	BLK_DO_ID,	/* answer with the serial: id_len bytes, then the status */
	BLK_DO_STATUS,	/* answer with plan.status at once */
	BLK_DO_NOTHING, /* no room even for a status: complete with 0 bytes */
};

/* Why a request was refused; each has a counter. */
#define BLK_REFUSALS(X)                                                                                      \
	X(none)                                                                                              \
	X(no_status)                                                                                         \
	X(short_header)                                                                                      \
	X(bad_type)                                                                                          \
	X(bad_length) X(misaligned) X(out_of_range) X(read_only) X(bad_segments) X(bad_flags) X(no_data_room)
#define BLK_REFUSAL_ENUM(name) BLK_R_##name,
enum blk_refusal { BLK_REFUSALS(BLK_REFUSAL_ENUM) BLK_NREFUSALS };
extern const char *const blk_refusal_names[BLK_NREFUSALS];

struct blk_plan {
	enum blk_do what;
	enum blk_refusal refusal; /* with STATUS and NOTHING */
	uint8_t status;		  /* with STATUS */
	bool fua;		  /* WRITE, WRITE_ZEROES: stable before the acknowledgement */
	bool unmap;		  /* WRITE_ZEROES: space may be given back */
	uint64_t offset;	  /* bytes into the volume */
	uint64_t length;	  /* bytes */
	uint32_t data_at;	  /* WRITE: where in the readable bytes the data starts */
	uint32_t status_at; /* where in the writable bytes the status byte goes: the last of them. READ data
			       and the serial start at 0 and end there */
	uint32_t id_len;    /* ID: bytes of serial */
};

/* head: the first head_len bytes of the readable part, in private memory: at least
 * min(readable, BLK_HEAD_LEN) of them. readable, writable: bytes in all. acked: features the driver has. */
#define BLK_HEAD_LEN (BLK_HDR_LEN + BLK_SEG_LEN)
void blk_plan(const struct blk_volume *v, uint64_t acked, const uint8_t *head, uint32_t head_len,
	      uint32_t readable, uint32_t writable, struct blk_plan *out);

/* errno (negative, or 0) of a backend -> virtio status. */
uint8_t blk_status(int err);

#endif

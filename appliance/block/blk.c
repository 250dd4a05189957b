/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "appliance/block/blk.h"
#include "fabric/base/counter.h"
#include "fabric/base/guard.h"

const char *const blk_refusal_names[] = {BLK_REFUSALS(COUNTER_NAME_)};

#define SEG_F_UNMAP 1u

static uint64_t get_le(const uint8_t *p, unsigned n)
{
	uint64_t v = 0;

	while (n--)
		v = v << 8 | p[n];
	return v;
}

static void put_le(uint8_t *p, uint64_t v, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		p[i] = (uint8_t)(v >> 8 * i);
}

uint64_t blk_features(const struct blk_volume *v)
{
	uint64_t f = BLK_F_SIZE_MAX | BLK_F_SEG_MAX | BLK_F_BLK_SIZE | BLK_F_FLUSH | BLK_F_TOPOLOGY;

	if (v->queues > 1)
		f |= BLK_F_MQ;
	if (v->read_only)
		return f | BLK_F_RO;
	if (v->can_discard)
		f |= BLK_F_DISCARD;
	if (v->can_write_zeroes)
		f |= BLK_F_WRITE_ZEROES;
	return f;
}

int blk_features_check(const struct blk_volume *v, uint64_t acked)
{
	return acked & ~blk_features(v) ? -EINVAL : 0;
}

static uint8_t log2_of(uint32_t n)
{
	uint8_t bits = 0;

	while (n >>= 1)
		bits++;
	return bits;
}

void blk_config(const struct blk_volume *v, uint8_t out[BLK_CONFIG_LEN])
{
	uint32_t opt = v->opt_io / v->block;

	memset(out, 0, BLK_CONFIG_LEN);
	put_le(out + 0, v->size / BLK_SECTOR, 8);
	put_le(out + 8, BLK_SIZE_MAX, 4);
	put_le(out + 12, BLK_SEG_MAX, 4);
	put_le(out + 20, v->block, 4);
	out[24] = log2_of(v->phys_block / v->block);   /* physical_block_exp */
	put_le(out + 26, v->phys_block / v->block, 2); /* min_io_size, in blocks */
	put_le(out + 28, opt, 4);		       /* opt_io_size, in blocks */
	out[32] = v->write_cache;		       /* writeback; read only with CONFIG_WCE */
	put_le(out + 34, v->queues, 2);
	if (v->can_discard && !v->read_only) {
		put_le(out + 36, BLK_DISCARD_SECTORS_MAX, 4);
		put_le(out + 40, 1, 4);
		put_le(out + 44, v->phys_block / BLK_SECTOR, 4); /* discard_sector_alignment */
	}
	if (v->can_write_zeroes && !v->read_only) {
		put_le(out + 48, BLK_WRITE_ZEROES_SECTORS_MAX, 4);
		put_le(out + 52, 1, 4);
		out[56] = v->can_discard; /* write_zeroes_may_unmap */
	}
}

static void refuse(struct blk_plan *out, enum blk_refusal why, uint8_t status)
{
	out->what = BLK_DO_STATUS;
	out->refusal = why;
	out->status = status;
}

/* [sector, sector + length / 512) lies in the volume and on its blocks. Fills offset and length. */
static enum blk_refusal check_range(const struct blk_volume *v, uint64_t sector, uint64_t length,
				    struct blk_plan *out)
{
	if (length == 0)
		return BLK_R_bad_length;
	if (length % v->block)
		return BLK_R_misaligned;
	/* Compared in sectors: sector * 512 could overflow. */
	if (!GUARD(range, sector <= v->size / BLK_SECTOR && length <= v->size - sector * BLK_SECTOR))
		return BLK_R_out_of_range;
	if (sector * BLK_SECTOR % v->block)
		return BLK_R_misaligned;
	out->offset = sector * BLK_SECTOR;
	out->length = length;
	return BLK_R_none;
}

/* Data goes one way only: with bytes for both the driver and we would disagree about the request. */
static void plan_data(const struct blk_volume *v, bool write, uint64_t sector, uint32_t out_len,
		      uint32_t in_len, bool fua, struct blk_plan *out)
{
	uint32_t length = write ? out_len : in_len;
	enum blk_refusal why = BLK_R_none;

	if (write && v->read_only)
		why = BLK_R_read_only;
	else if ((write ? in_len : out_len) || length > BLK_DATA_MAX)
		why = BLK_R_bad_length;
	else
		why = check_range(v, sector, length, out);
	if (why != BLK_R_none) {
		refuse(out, why, BLK_S_IOERR);
		return;
	}
	out->what = write ? BLK_DO_WRITE : BLK_DO_READ;
	out->data_at = BLK_HDR_LEN;
	out->fua = write && fua;
}

/* DISCARD and WRITE_ZEROES: exactly one segment. 5.2.6.2: unknown flags, and unmap on a discard, are
 * UNSUPP. */
static void plan_segment(const struct blk_volume *v, bool discard, const uint8_t *seg, uint32_t data_len,
			 bool fua, struct blk_plan *out)
{
	uint32_t sectors, flags, max = discard ? BLK_DISCARD_SECTORS_MAX : BLK_WRITE_ZEROES_SECTORS_MAX;
	enum blk_refusal why;

	if (!(discard ? v->can_discard : v->can_write_zeroes)) {
		refuse(out, BLK_R_bad_type, BLK_S_UNSUPP);
		return;
	}
	if (v->read_only) {
		refuse(out, BLK_R_read_only, BLK_S_IOERR);
		return;
	}
	if (data_len != BLK_SEG_LEN) {
		refuse(out, BLK_R_bad_segments, BLK_S_IOERR);
		return;
	}
	sectors = (uint32_t)get_le(seg + 8, 4);
	flags = (uint32_t)get_le(seg + 12, 4);
	if (flags & (discard ? ~0u : ~SEG_F_UNMAP)) {
		refuse(out, BLK_R_bad_flags, BLK_S_UNSUPP);
		return;
	}
	why = sectors > max ? BLK_R_bad_length
			    : check_range(v, get_le(seg, 8), (uint64_t)sectors * BLK_SECTOR, out);
	if (why != BLK_R_none) {
		refuse(out, why, BLK_S_IOERR);
		return;
	}
	out->what = discard ? BLK_DO_DISCARD : BLK_DO_WRITE_ZEROES;
	out->unmap = !discard && flags & SEG_F_UNMAP && v->can_discard;
	out->fua = !discard && fua;
}

static void plan_id(uint32_t room, struct blk_plan *out)
{
	if (room == 0) {
		refuse(out, BLK_R_no_data_room, BLK_S_IOERR);
		return;
	}
	out->what = BLK_DO_ID;
	out->id_len = room < BLK_ID_LEN ? room : BLK_ID_LEN;
}

void blk_plan(const struct blk_volume *v, uint64_t acked, const uint8_t *head, uint32_t head_len,
	      uint32_t readable, uint32_t writable, struct blk_plan *out)
{
	uint32_t want = readable < BLK_HEAD_LEN ? readable : BLK_HEAD_LEN, data_len, type;
	/* Without FLUSH the driver takes a completed write for stable. */
	bool fua = !GUARD(write_through, !v->write_cache || acked & BLK_F_FLUSH);
	uint64_t sector;

	memset(out, 0, sizeof(*out));
	if (writable == 0) {
		out->what = BLK_DO_NOTHING;
		out->refusal = BLK_R_no_status;
		return;
	}
	out->status_at = writable - 1;
	if (readable < BLK_HDR_LEN || head_len < want) {
		refuse(out, BLK_R_short_header, BLK_S_IOERR);
		return;
	}
	data_len = readable - BLK_HDR_LEN;
	sector = get_le(head + 8, 8);
	type = (uint32_t)get_le(head, 4);
	switch (type) {
	case BLK_T_IN:
	case BLK_T_OUT:
		plan_data(v, type == BLK_T_OUT, sector, data_len, writable - 1, fua, out);
		break;
	case BLK_T_FLUSH:
		/* The sector means nothing (5.2.6.1), and a flush is not lost over stray bytes. */
		out->what = BLK_DO_FLUSH;
		break;
	case BLK_T_GET_ID:
		plan_id(writable - 1, out);
		break;
	case BLK_T_DISCARD:
	case BLK_T_WRITE_ZEROES:
		plan_segment(v, type == BLK_T_DISCARD, head + BLK_HDR_LEN, data_len, fua, out);
		break;
	default:
		refuse(out, BLK_R_bad_type, BLK_S_UNSUPP);
		break;
	}
}

uint8_t blk_status(int err)
{
	if (GUARD(backend_error, err == 0))
		return BLK_S_OK;
	switch (err) {
	case -EOPNOTSUPP:
		return BLK_S_UNSUPP;
	default:
		return BLK_S_IOERR;
	}
}

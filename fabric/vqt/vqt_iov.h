/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes at an offset of a scatter list. A `struct vqt_at` remembers where the last access was, so
 * that pieces that come in order do not walk the list from its start each time; zero it when the list
 * changes. Nothing outside the list is ever touched: what does not fit is not copied.
 */
#ifndef OUTRIGGER_VQT_IOV_H
#define OUTRIGGER_VQT_IOV_H

#include <stdint.h>
#include <string.h>
#include <sys/uio.h>

struct vqt_at {
	uint32_t index; /* of an iovec */
	uint32_t base;	/* bytes before it */
};

/* Copy len bytes to offset off of the list; the number copied. */
uint32_t vqt_iov_write(const struct iovec *iov, unsigned n, struct vqt_at *at, uint32_t off, const void *src,
		       uint32_t len);
/* The iovecs of [off, off + len) into out (as many entries as n suffice); their number. */
unsigned vqt_iov_slice(const struct iovec *iov, unsigned n, struct vqt_at *at, uint32_t off, uint32_t len,
		       struct iovec *out);

/* memcpy() of what is short, VQT_COPY_MIN bytes at least: a compiler that sees the bounds of len makes of it
 * a string instruction, which takes longer to begin than the frame to copy, and one that does not makes a
 * call. */
#define VQT_COPY_MIN 16u
static inline void vqt_copy_short(uint8_t *to, const uint8_t *from, uint32_t len)
{
	uint32_t at = 0;

	for (; at + VQT_COPY_MIN < len; at += VQT_COPY_MIN)
		memcpy(to + at, from + at, VQT_COPY_MIN);
	memcpy(to + len - VQT_COPY_MIN, from + len - VQT_COPY_MIN, VQT_COPY_MIN);
}

#endif

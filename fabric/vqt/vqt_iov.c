/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "fabric/vqt/vqt_iov.h"

/* Move *at to the iovec that holds off; the offset inside it. */
static size_t seek(const struct iovec *iov, unsigned n, struct vqt_at *at, uint32_t off)
{
	if (off < at->base)
		*at = (struct vqt_at){0, 0};
	while (at->index < n && off - at->base >= iov[at->index].iov_len) {
		at->base += (uint32_t)iov[at->index].iov_len;
		at->index++;
	}
	return off - at->base;
}

uint32_t vqt_iov_write(const struct iovec *iov, unsigned n, struct vqt_at *at, uint32_t off, const void *src,
		       uint32_t len)
{
	size_t skip = seek(iov, n, at, off);
	const uint8_t *from = src;
	uint32_t left = len;

	for (unsigned i = at->index; i < n && left; i++, skip = 0) {
		size_t take = iov[i].iov_len - skip;

		if (take > left)
			take = left;
		if (take)
			memcpy((uint8_t *)iov[i].iov_base + skip, from, take);
		from += take;
		left -= (uint32_t)take;
	}
	return len - left;
}

unsigned vqt_iov_slice(const struct iovec *iov, unsigned n, struct vqt_at *at, uint32_t off, uint32_t len,
		       struct iovec *out)
{
	size_t skip = seek(iov, n, at, off);
	unsigned count = 0;

	for (unsigned i = at->index; i < n && len; i++, skip = 0) {
		size_t take = iov[i].iov_len - skip;

		if (take > len)
			take = len;
		if (!take)
			continue;
		out[count++] = (struct iovec){(uint8_t *)iov[i].iov_base + skip, take};
		len -= (uint32_t)take;
	}
	return count;
}

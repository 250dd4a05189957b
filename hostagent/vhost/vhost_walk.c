/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One descriptor chain becomes iovecs (virtio 1.2 sections 2.7.5 to 2.7.7; what packed rings share with that
 * is told apart below). The guest may rewrite any descriptor at any moment: each is read once into a private
 * copy, and only the copy is judged and used. The number of steps is bounded before the walk: a chain in the
 * ring by the ring's size, an indirect table by its length, which is bounded too. Linux makes indirect tables
 * longer than the ring (section 2.7.5.3.1 forbids it), so their bound is the chain's, not the ring's.
 */
#include "hostagent/vhost/vhost_int.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#define NET_HDR_FULL 12u
#define NET_HDR_PAD  2u

/* What an unused num_buffers field of a transmitted header reads as. */
static const uint8_t zero_pad[NET_HDR_PAD];

static struct walk_desc table_desc(const struct vring_desc *d)
{
	return (struct walk_desc){le64toh(d->addr), le32toh(d->len), le16toh(d->flags), le16toh(d->next)};
}

const char *walk_add(const struct vhost_mem *m, struct vqt_chain *c, const struct walk_desc *d)
{
	unsigned used = (unsigned)c->nout + c->nin;
	bool in = d->flags & VRING_DESC_WRITE;
	uint32_t *total = in ? &c->in_len : &c->out_len;
	int n;

	if (!in && c->nin)
		return "readable descriptor after a writable one";
	/* Room is kept for splitting a short net header: two more. */
	n = vhost_mem_iov(m, d->addr, d->len, &c->iov[used], VQT_CHAIN_IOV - 2 - used);
	if (n < 0)
		return n == -EFAULT ? "descriptor outside guest memory" : "chain too long";
	if (d->len > UINT32_MAX - NET_HDR_PAD - *total)
		return "chain over 4 GiB";
	*total += d->len;
	if (in)
		c->nin = (uint16_t)(c->nin + n);
	else
		c->nout = (uint16_t)(c->nout + n);
	return NULL;
}

/* Copy n bytes of guest memory at gpa; false if they are not all there. */
static bool copy_in(const struct vhost_mem *m, uint64_t gpa, void *dst, uint32_t n)
{
	struct iovec iov[VHOST_REGIONS_MAX];
	int pieces = vhost_mem_iov(m, gpa, n, iov, VHOST_REGIONS_MAX);
	uint8_t *to = dst;

	if (pieces < 0)
		return false;
	for (int i = 0; i < pieces; i++) {
		memcpy(to, iov[i].iov_base, iov[i].iov_len);
		to += iov[i].iov_len;
	}
	return true;
}

const char *walk_table(const struct vhost_ring *r, const struct walk_desc *at, void *table, uint32_t *n)
{
	*n = at->len / (uint32_t)sizeof(struct vring_desc);
	if (!r->indirect)
		return "indirect descriptor not negotiated";
	if (at->flags & VRING_DESC_NEXT)
		return "indirect descriptor with a next";
	if (*n == 0 || at->len % sizeof(struct vring_desc))
		return "indirect table of a bad size";
	if (*n > INDIRECT_MAX)
		return "indirect table too long";
	return copy_in(r->v->mem, at->addr, table, at->len) ? NULL : "indirect table outside guest memory";
}

static const char *walk_indirect(const struct vhost_ring *r, const struct walk_desc *at, struct vqt_chain *c)
{
	struct vring_desc table[INDIRECT_MAX];
	uint32_t n, i = 0;
	const char *err = walk_table(r, at, table, &n);

	for (uint32_t steps = 0; !err && steps < n; steps++) {
		struct walk_desc d = table_desc(&table[i]);

		if (d.flags & VRING_DESC_INDIRECT)
			return "indirect table in an indirect table";
		err = walk_add(r->v->mem, c, &d);
		if (err || !(d.flags & VRING_DESC_NEXT))
			return err;
		if (d.next >= n)
			return "next outside the indirect table";
		i = d.next;
	}
	return err ? err : "loop in an indirect table";
}

/*
 * A guest with neither VERSION_1 nor MRG_RXBUF has a net header of 10 bytes (section 5.1.6.1). Put two bytes
 * of ours after byte 10 of iov[0 .. n): how many iovecs were added. Parts shorter than the
 * header are left alone: the layer above refuses them.
 */
static uint16_t widen(struct iovec *iov, unsigned n, unsigned tail, void *pad)
{
	size_t need = NET_HDR_FULL - NET_HDR_PAD;
	unsigned i = 0;

	while (i < n && iov[i].iov_len < need)
		need -= iov[i++].iov_len;
	if (i == n)
		return 0;
	if (iov[i].iov_len == need) {
		memmove(&iov[i + 2], &iov[i + 1], (n + tail - i - 1) * sizeof(*iov));
		iov[i + 1] = (struct iovec){pad, NET_HDR_PAD};
		return 1;
	}
	memmove(&iov[i + 3], &iov[i + 1], (n + tail - i - 1) * sizeof(*iov));
	iov[i + 2] = (struct iovec){(uint8_t *)iov[i].iov_base + need, iov[i].iov_len - need};
	iov[i + 1] = (struct iovec){pad, NET_HDR_PAD};
	iov[i].iov_len = need;
	return 2;
}

/* The header leads the out part on a transmit queue, the in part on a receive queue. */
void walk_end(struct vhost_ring *r, struct vqt_chain *c)
{
	uint16_t n;

	if (!r->pad)
		return;
	if (r->index % 2) {
		n = widen(c->iov, c->nout, c->nin, (void *)(uintptr_t)zero_pad);
		c->nout = (uint16_t)(c->nout + n);
		c->out_len += n ? NET_HDR_PAD : 0;
	} else {
		n = widen(&c->iov[c->nout], c->nin, 0, r->sink);
		c->nin = (uint16_t)(c->nin + n);
		c->in_len += n ? NET_HDR_PAD : 0;
	}
}

const char *split_walk(struct vhost_ring *r, uint16_t head, struct vqt_chain *c)
{
	uint16_t i = head;

	c->token = head;
	c->nout = c->nin = 0;
	c->out_len = c->in_len = 0;
	for (uint32_t steps = 0; steps < r->num; steps++) {
		struct walk_desc d = ring_desc(&r->desc[i]);
		bool last = !(d.flags & VRING_DESC_NEXT);
		const char *err;

		if (d.flags & VRING_DESC_INDIRECT) {
			err = walk_indirect(r, &d, c);
			last = true;
		} else {
			err = walk_add(r->v->mem, c, &d);
		}
		if (err)
			return err;
		if (last) {
			walk_end(r, c);
			return NULL;
		}
		if (d.next >= r->num)
			return "next outside the ring";
		i = d.next;
	}
	return "loop in a chain";
}

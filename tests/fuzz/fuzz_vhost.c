/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz-rooms: hostagent/vhost */
/*
 * The vhost-user back-end with a hostile front-end: messages, descriptors, memory and ring operations in any
 * order. The system is faked: "files" are a few blocks of heap memory with their true sizes, so that the
 * address sanitizer sees an access one byte outside what was told; descriptors are counted, and all must be
 * closed at the end.
 *
 * Input: byte 0: bits 0 net, 1 large queues, 2 nothing saved, 3 something saved; then records: an op byte and
 * its bytes (see step()).
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hostagent/vhost/vhost.h"

#define FILES	  4
#define FILE_SIZE 8192u
#define HELD	  64

struct world {
	struct vhost *v;
	uint8_t *files[FILES];
	int open;   /* descriptors not yet closed */
	int mapped; /* mappings not yet undone */
	uint32_t stopping;
	bool gone;
	struct vqt_chain held[HELD];
	unsigned held_q[HELD], nheld;
};

static struct world w;
static uint8_t saved[65536] __attribute__((aligned(64)));

static int fake_map(void *arg, int fd, uint64_t off, uint64_t len, struct vhost_map *m)
{
	(void)arg;
	if (len == 0 || off > FILE_SIZE || len > FILE_SIZE - off)
		return -ERANGE;
	m->at = w.files[fd % FILES] + off;
	m->len = len;
	w.mapped++;
	return 0;
}

static void fake_unmap(void *arg, struct vhost_map *m)
{
	(void)arg;
	m->at = NULL;
	w.mapped--;
}

static int fake_memfd(void *arg, uint64_t len)
{
	(void)arg;
	/* 32 queues of 1024 at most. */
	assert(len <= 32 * 32832);
	w.open++;
	return 3;
}

static void fake_close(void *arg, int fd)
{
	(void)arg;
	assert(fd >= 0 && w.open > 0);
	w.open--;
}

static int fake_event(void *arg, int fd)
{
	(void)arg;
	return fd % 8 == 7 ? -EINVAL : 0;
}

static void fake_signal(void *arg, int fd)
{
	(void)arg;
	assert(fd >= 0);
}

static int fake_send(void *arg, int fd, const void *bytes, size_t len)
{
	(void)arg;
	(void)bytes;
	(void)len;
	return fd % 2 ? -EPIPE : 0;
}

static const struct vhost_sys sys = {fake_map,	 fake_unmap,  fake_memfd, fake_close,
				     fake_event, fake_signal, fake_send};

static void fx_reply(void *arg, const void *msg, size_t len, int fd)
{
	struct vhost_hdr h;

	(void)arg;
	(void)fd;
	memcpy(&h, msg, sizeof(h));
	assert(len == sizeof(h) + h.size && len <= VHOST_MSG_MAX);
}
static void fx_features(void *arg, uint64_t acked)
{
	(void)arg;
	(void)acked;
}
static void fx_kick_fd(void *arg, unsigned q, int fd)
{
	(void)arg;
	(void)q;
	(void)fd;
}
static void fx_start(void *arg, unsigned q)
{
	(void)arg;
	assert(!(w.stopping & (1u << q)));
}
static void fx_stop(void *arg, unsigned q)
{
	(void)arg;
	w.stopping |= 1u << q;
}
static void fx_broken(void *arg, unsigned q, const char *reason)
{
	(void)arg;
	(void)q;
	assert(reason);
}
static void fx_rarp(void *arg, const uint8_t mac[6])
{
	(void)arg;
	(void)mac;
}
static void fx_fault(void *arg)
{
	(void)arg;
}

static const struct vhost_fx fx = {fx_reply, fx_features, fx_kick_fd, fx_start,
				   fx_stop,  fx_broken,	  fx_rarp,    fx_fault};

struct input {
	const uint8_t *p;
	size_t left;
};

static uint8_t byte(struct input *in)
{
	if (!in->left)
		return 0;
	in->left--;
	return *in->p++;
}

static void bytes(struct input *in, void *to, size_t n)
{
	size_t have = n < in->left ? n : in->left;

	memset(to, 0, n);
	if (have)
		memcpy(to, in->p, have);
	in->p += have;
	in->left -= have;
}

static void drop_held(unsigned q, bool all)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < w.nheld; i++) {
		if (all || w.held_q[i] == q)
			continue;
		w.held[kept] = w.held[i];
		w.held_q[kept++] = w.held_q[i];
	}
	w.nheld = kept;
}

static void drain(unsigned q)
{
	if (!(w.stopping & (1u << q)))
		return;
	w.stopping &= ~(1u << q);
	drop_held(q, false);
	vhost_drained(w.v, q);
}

static void disconnect(void)
{
	vhost_disconnect(w.v);
	w.stopping = 0;
	drop_held(0, true);
	assert(w.mapped == 0);
	assert(w.open == 0);
}

static void message(struct input *in)
{
	uint8_t m[VHOST_MSG_MAX];
	struct vhost_hdr h;
	uint8_t how = byte(in);
	unsigned nfds = how & 15;
	int fds[16];

	for (unsigned q = 0; vhost_blocked(w.v) && q < VHOST_QUEUES_MAX; q++)
		drain(q);
	h.request = byte(in);
	h.flags = VHOST_FLAG_VERSION | (how & 16 ? VHOST_FLAG_NEED_REPLY : 0);
	h.size = byte(in);
	h.size = h.size * (how & 32 ? 4u : 1u);
	h.size = h.size > VHOST_PAYLOAD_MAX ? VHOST_PAYLOAD_MAX : h.size;
	bytes(in, m + sizeof(h), h.size);
	memcpy(m, &h, sizeof(h));
	for (unsigned i = 0; i < nfds; i++)
		fds[i] = (int)i;
	w.open += (int)nfds;
	if (vhost_message(w.v, m, sizeof(h) + h.size - (how & 64 && h.size ? 1 : 0), fds, nfds))
		disconnect();
}

/* A chain's memory is what it says: the sanitizer sees if it is not. */
static void touch(const struct vqt_chain *c)
{
	uint64_t out = 0, in = 0;

	for (unsigned i = 0; i < (unsigned)c->nout + c->nin; i++) {
		volatile uint8_t *p = c->iov[i].iov_base;

		assert(c->iov[i].iov_len > 0);
		(void)p[0];
		(void)p[c->iov[i].iov_len - 1];
		if (i < c->nout) {
			out += c->iov[i].iov_len;
		} else {
			in += c->iov[i].iov_len;
			p[0] = 0xa5;
		}
	}
	assert(out == c->out_len && in == c->in_len);
}

static void ring_op(struct input *in, unsigned q, uint8_t op)
{
	struct vhost_ring *r = vhost_ring(w.v, q);
	unsigned at;

	if (!r)
		return;
	switch (op & 3) {
	case 0:
		if (w.nheld == HELD)
			break;
		if (vhost_ring_ops.pop(r, &w.held[w.nheld]) == 1) {
			touch(&w.held[w.nheld]);
			w.held_q[w.nheld++] = q;
		}
		break;
	case 1:
		if (!w.nheld)
			break;
		at = byte(in) % w.nheld;
		vhost_ring_ops.push(vhost_ring(w.v, w.held_q[at]), &w.held[at], byte(in));
		w.nheld--;
		w.held[at] = w.held[w.nheld];
		w.held_q[at] = w.held_q[w.nheld];
		break;
	case 2:
		vhost_ring_ops.flush(r);
		break;
	default:
		/* Only the last one taken, if it is this queue's. */
		if (w.nheld && w.held_q[w.nheld - 1] == q) {
			vhost_ring_ops.unpop(r, 1);
			w.nheld--;
		}
	}
}

static void step(struct input *in)
{
	uint8_t op = byte(in);
	uint16_t at;

	switch (op >> 5) {
	case 0:
	case 1:
		message(in);
		break;
	case 2: /* the guest writes its memory */
	case 3:
		bytes(in, &at, sizeof(at));
		bytes(in, w.files[op % FILES] + at % (FILE_SIZE - 32), 16);
		break;
	case 4:
	case 5:
		ring_op(in, op >> 2 & 3, op);
		break;
	case 6:
		drain(op & 31);
		break;
	default:
		if (op == 0xff)
			disconnect();
		else
			vhost_set_config(w.v, w.files[0], op & 31);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	uint8_t how = byte(&in);
	struct vhost_config cfg = {.net = how & 1,
				   .nqueues = 4,
				   .queue_size = how & 2 ? 256 : 16,
				   .saved = how & 4 ? NULL : saved,
				   .features = VIRTIO_RING_F_EVENT_IDX | VIRTIO_RING_F_INDIRECT |
					       VIRTIO_F_VERSION_1 | VIRTIO_NET_F_MRG_RXBUF |
					       VIRTIO_F_RING_PACKED};

	memset(&w, 0, sizeof(w));
	/* What a predecessor left may be anything. */
	memset(saved, 0, sizeof(saved));
	if (how & 8)
		bytes(&in, saved, in.left < 512 ? in.left / 2 : 256);
	assert(vhost_saved_size(&cfg) <= sizeof(saved));
	for (int i = 0; i < FILES; i++) {
		/* malloc gives 16 bytes of alignment, as the rings want. */
		w.files[i] = calloc(1, FILE_SIZE);
	}
	w.v = vhost_create(&cfg, &sys, NULL, &fx, NULL);
	assert(w.v);
	while (in.left)
		step(&in);
	disconnect();
	vhost_destroy(w.v);
	for (int i = 0; i < FILES; i++)
		free(w.files[i]);
	return 0;
}

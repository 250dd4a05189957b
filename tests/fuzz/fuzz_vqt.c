/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz-rooms: fabric/vqt fabric/rt fabric/aead */
/*
 * Both ends of the tunnel, each with a network and a block device, driven by arbitrary records and by
 * arbitrary guests, backends and sessions in any order. The transports are real but carry nothing: what one
 * end says never reaches the other. Both move bytes by key: what an adapter is told to move is checked, and
 * ends when the input says so. Checked: every access (exact allocations), the ring's rules (only chains taken
 * are given back, once), bounded memory, and that all pools are full at the end.
 */
#include <errno.h>
#include <stdlib.h>

#include "fabric/vqt/vqt_dev.h"
#include "fabric/vqt/vqt_host.h"

#define FRAMES	24
#define BUFS	96
#define MEM_MAX (4ull * VQT_REQ_MAX)
#define REQS	64
#define CHAINS	256

#define BULKS 192

#define GUEST (2u << 20) /* bytes that the adapter reaches */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A guest's ring: a chain is one allocation of readable and one of writable bytes. */
struct ring {
	struct {
		uint8_t *out, *in;
		uint32_t out_len, in_len;
		enum { AVAIL, TAKEN, DONE } state;
	} c[CHAINS];
	unsigned added, head, order[2 * CHAINS], norder;
	bool broken;
};

struct world {
	struct rt *rt[2];
	struct vqt_host *host;
	struct vqt_hdev *hnet, *hblk;
	struct vqt_peer *peer;
	struct vqt_dev *dnet, *dblk;
	struct ring ring[4]; /* receive, transmit, two of requests */
	struct vqt_req *reqs[REQS];
	unsigned nreqs;
	struct vqt_move *moves[REQS];
	unsigned nmoves;
	struct bulk {
		bool used, place;
		uint32_t len;
		struct vqt_bulk_end end;
	} bulk[BULKS];
	int bulk_refuses;
	uint64_t mem;
	struct frame_pool *frames;
	struct buf_pool *bufs;
	uint64_t now;
};

static void must(bool ok)
{
	if (!ok)
		abort();
}

/* ---- doors ---- */

static int pop(void *ring, struct vqt_chain *c)
{
	struct ring *r = ring;
	unsigned k;

	if (r->broken)
		return -74;
	if (r->head == r->norder)
		return 0;
	k = r->order[r->head++];
	must(r->c[k].state == AVAIL);
	r->c[k].state = TAKEN;
	c->token = k;
	c->nout = r->c[k].out != NULL;
	c->nin = r->c[k].in != NULL;
	c->out_len = r->c[k].out_len;
	c->in_len = r->c[k].in_len;
	c->iov[0] = (struct iovec){r->c[k].out, c->out_len};
	c->iov[c->nout] = (struct iovec){r->c[k].in, c->in_len};
	return 1;
}

static void unpop(void *ring, unsigned n)
{
	struct ring *r = ring;

	while (n--) {
		must(r->head > 0);
		r->head--;
		must(r->c[r->order[r->head]].state == TAKEN);
		r->c[r->order[r->head]].state = AVAIL;
	}
}

static void push(void *ring, const struct vqt_chain *c, uint32_t written)
{
	struct ring *r = ring;

	must(c->token < r->added && r->c[c->token].state == TAKEN && written <= r->c[c->token].in_len);
	r->c[c->token].state = DONE;
	/* The guest takes its memory back: nobody may touch it again. */
	free(r->c[c->token].out);
	free(r->c[c->token].in);
	r->c[c->token].out = r->c[c->token].in = NULL;
}

static void flush(void *ring)
{
	(void)ring;
}

static const struct vqt_ring_ops ring_ops = {.pop = pop, .unpop = unpop, .push = push, .flush = flush};

static void add(struct ring *r, uint32_t out_len, uint32_t in_len)
{
	unsigned k = r->added;

	if (k == CHAINS)
		return;
	r->added++;
	r->c[k].out_len = out_len;
	r->c[k].in_len = in_len;
	r->c[k].out = out_len ? calloc(1, out_len) : NULL;
	r->c[k].in = in_len ? calloc(1, in_len) : NULL;
	r->order[r->norder++] = k;
}

static void ring_free(struct ring *r)
{
	for (unsigned i = 0; i < r->added; i++) {
		free(r->c[i].out);
		free(r->c[i].in);
	}
}

/* What was taken and not given back is void after a stop: it will not be popped again here. */
static void broken(void *user, unsigned vq, const char *reason)
{
	(void)user;
	(void)vq;
	(void)reason;
}

static void quiet(void *user, unsigned vq)
{
	(void)user;
	(void)vq;
}

static void quiet0(void *user)
{
	(void)user;
}

static const struct vqt_host_ops host_ops = {.broken = broken, .stopped = quiet, .idle = quiet0};

static void got_frame(void *user, unsigned pair, struct frame *f)
{
	static uint8_t flat[FRAME_MAX];

	(void)user;
	must(pair == 0 && f->len >= VQT_FRAME_MIN && f->len <= FRAME_MAX);
	must(frame_read(f, 0, flat, sizeof(flat)) == f->len);
	frame_put(f);
}

static void got_request(void *user, struct vqt_req *r)
{
	struct world *w = user;

	must(w->nreqs < REQS);
	for (uint32_t i = 0; i < r->in_len; i++)
		r->in[i] = r->out_len ? r->out[i % r->out_len] : 0;
	w->reqs[w->nreqs++] = r;
}

static const struct vqt_dev_ops dev_ops = {got_frame, got_request, quiet, quiet0};

static void *get(void *ctx, size_t size, size_t off)
{
	struct world *w = ctx;

	(void)off;
	w->mem += size;
	must(w->mem <= MEM_MAX + 3 * VQT_INFLIGHT_MIN);
	return calloc(1, size);
}

static void put(void *ctx, void *p, size_t size, size_t off)
{
	(void)off;
	((struct world *)ctx)->mem -= size;
	free(p);
}

/* An adapter that reaches a region of GUEST bytes, when it is told to. */
static unsigned pieces(void *user, const struct iovec *iov, unsigned n, struct vqt_seg *out, unsigned max)
{
	(void)user;
	for (unsigned i = 0; i < n && n <= max; i++)
		out[i] = (struct vqt_seg){1, (uint32_t)iov[i].iov_len, 0};
	return n <= max ? n : 0;
}

static void fence(void *user, unsigned path, uint32_t qpn)
{
	(void)user;
	must(path < 128 && qpn < 1u << 24);
}

static const struct vqt_key_ops keys = {pieces, quiet0, fence};

/* What PLACED names is the appliance's word. */
static void fence_any(void *user, unsigned path, uint32_t qpn)
{
	(void)user;
	(void)path;
	(void)qpn;
}

static const struct vqt_key_ops net_keys = {pieces, quiet0, fence_any};

static const uint8_t zeroes[FRAME_MAX];

static int bulk_start(struct world *w, uint32_t len, bool place, const struct vqt_bulk_end *end, void **op)
{
	unsigned i = 0;

	while (i < BULKS && w->bulk[i].used)
		i++;
	if (w->bulk_refuses || i == BULKS)
		return w->bulk_refuses ? w->bulk_refuses : -EAGAIN;
	w->bulk[i] = (struct bulk){true, place, len, *end};
	*op = &w->bulk[i];
	return 0;
}

static int bulk_fetch(void *ctx, uint16_t dev, struct frame *f, const struct vqt_lent *k, const uint8_t *head,
		      const struct vqt_bulk_end *end, void **op)
{
	uint64_t sum = k->head;
	uint8_t all = 0;
	int rc;

	must(dev == 1 && k->n && k->n <= VQT_KEYS_MAX && k->head <= VQT_HEAD_MAX && !f->len);
	for (unsigned i = 0; i < k->head; i++)
		all |= head[i];
	for (unsigned i = 0; i < k->n; i++)
		sum += k->key[i].len;
	must(sum == k->len && k->len >= VQT_FRAME_MIN && k->len <= FRAME_MAX && all < 255);
	rc = bulk_start(ctx, k->len, false, end, op);
	if (!rc)
		must(!frame_add(f, zeroes, k->len, NULL));
	return rc;
}

static int bulk_place(void *ctx, uint16_t dev, uint16_t pair, uint32_t pos, const struct frame *f,
		      const struct vqt_seg *seg, unsigned n, const struct vqt_bulk_end *end, void **op)
{
	uint64_t sum = 0;

	must(dev == 1 && !pair && !(pos % VQT_POS_ALIGN) && n <= VQT_PLACE_SEGS && f->len <= FRAME_MAX);
	for (unsigned i = 0; i < n; i++) {
		must(seg[i].len && !(seg[i].len & VQT_POSTED_MORE));
		sum += seg[i].len;
	}
	must(!n || sum == f->len);
	return bulk_start(ctx, f->len, true, end, op);
}

static void bulk_drop(void *ctx, void *op)
{
	(void)ctx;
	must(((struct bulk *)op)->used);
	((struct bulk *)op)->used = false;
}

static const struct vqt_bulk_ops bulk_ops = {bulk_fetch, bulk_place, bulk_drop};

static void bulk_over(struct world *w, uint8_t k)
{
	struct vqt_fence theirs = {k, k};
	struct frame *f = NULL;
	unsigned i = k % BULKS, n = 0;
	struct bulk b;

	for (; n < BULKS && !w->bulk[i].used; n++)
		i = (i + 1) % BULKS;
	if (n == BULKS)
		return;
	b = w->bulk[i];
	/* A placing that failed needs a frame of its own; the frames are few here. */
	if (k & 1 && b.place)
		f = frame_get(w->frames);
	if (f)
		must(!frame_add(f, zeroes, b.len, NULL));
	w->bulk[i].used = false;
	b.end.done(b.end.arg, !(k & 1) || (b.place && !f), &theirs, f);
}

static int start_move(void *ctx, struct vqt_move *m)
{
	struct world *w = ctx;
	uint64_t sum = 0;

	must(m->n && m->n <= VQT_SEGS_MAX && m->wire == 2);
	for (unsigned i = 0; i < m->n; i++) {
		must(m->seg[i].len);
		sum += m->seg[i].len;
		if (m->seg[i].len > GUEST || m->seg[i].off > GUEST - m->seg[i].len)
			return -2;
	}
	must(sum == m->len && w->nmoves < REQS);
	w->moves[w->nmoves++] = m;
	return 0;
}

/* All of the local bytes are there to be read or written until now. */
static void end_move(struct world *w, unsigned k, bool good)
{
	struct vqt_move *m = w->moves[k];
	uint8_t sum = 0;

	w->moves[k] = w->moves[--w->nmoves];
	for (uint32_t i = 0; i < m->len; i++)
		sum ^= m->local[i];
	if (!m->write)
		memset(m->local, sum, m->len);
	m->path = 1;
	m->qpn = 5;
	vqt_dev_moved(m, good ? 0 : -5);
}

/* ---- the world ---- */

static struct rt *make_rt(const struct rt_ops *ops, void *ctx)
{
	struct rt_cfg c = {.ops = ops, .ctx = ctx, .aead = &aead_crc, .chunk = RT_CHUNK_DEFAULT};
	struct rt *rt;
	int err;

	for (int i = 0; i < RT_NCLASS; i++)
		c.window[i] = 64;
	rt = rt_create(&c, 0, &err);
	must(rt != NULL);
	return rt;
}

static void session_up(struct world *w)
{
	struct vqt_bind b = {.wire = 1, .epoch = 1, .rel = RT_REL_BOUNDED, .max_inflight = VQT_INFLIGHT_MIN};
	struct vqt_peer_cfg pc = {.ops = &dev_ops,
				  .frames = w->frames,
				  .bufs = w->bufs,
				  .mem = {get, put, w},
				  .move = {start_move, w},
				  .bulk = {&bulk_ops, w},
				  .mem_max = MEM_MAX,
				  .net_pending = 8,
				  .seed = 1};
	struct vqt_dev_cfg dc = {.type = VQT_NET,
				 .user = w,
				 .wire = 1,
				 .epoch = 1,
				 .nvq = 2,
				 .window = VQT_WINDOW_MIN,
				 .depth = 4,
				 .max_inflight = VQT_INFLIGHT_MIN};
	int err;

	w->rt[0] = make_rt(&vqt_host_rt_ops, w->host);
	w->rt[1] = make_rt(&vqt_peer_rt_ops, NULL);
	pc.rt = w->rt[1];
	w->peer = vqt_peer_create(&pc, &err);
	must(w->peer != NULL);
	vqt_host_session(w->host, w->rt[0]);
	w->dnet = vqt_peer_attach(w->peer, &dc, &err);
	dc.wire = 2;
	dc.type = VQT_BLK;
	w->dblk = vqt_peer_attach(w->peer, &dc, &err);
	must(w->dnet && w->dblk);
	must(vqt_hdev_bind(w->hnet, &b) == 0);
	b.wire = 2;
	must(vqt_hdev_bind(w->hblk, &b) == 0);
}

static void session_down(struct world *w)
{
	vqt_host_session(w->host, NULL);
	vqt_peer_destroy(w->peer);
	rt_destroy(w->rt[0]);
	rt_destroy(w->rt[1]);
	while (w->nmoves)
		end_move(w, 0, w->nmoves & 1);
	while (w->nreqs)
		vqt_dev_complete(w->reqs[--w->nreqs], 0, 0, w->now);
	must(w->mem == 0);
}

static void init(struct world *w)
{
	void *rings[4] = {&w->ring[0], &w->ring[1], &w->ring[2], &w->ring[3]};
	struct vqt_hdev_cfg c = {.type = VQT_NET,
				 .user = w,
				 .ring_ops = &ring_ops,
				 .nvq = 2,
				 .rings = rings,
				 .depth = 4,
				 .keys = &net_keys,
				 .window = VQT_WINDOW_MIN};
	int err;

	w->frames = frame_pool_create(FRAMES);
	w->bufs = buf_pool_create(BUFS, 2048);
	w->host = vqt_host_create(&host_ops, 2);
	w->hnet = vqt_host_attach(w->host, &c, &err);
	c.type = VQT_BLK;
	c.keys = &keys;
	c.rings = rings + 2;
	w->hblk = vqt_host_attach(w->host, &c, &err);
	must(w->hnet && w->hblk);
	for (unsigned q = 0; q < 2; q++) {
		vqt_host_queue_start(w->hnet, q, true);
		vqt_host_queue_start(w->hblk, q, false);
	}
	session_up(w);
}

static void fini(struct world *w)
{
	session_down(w);
	vqt_host_destroy(w->host);
	for (int i = 0; i < 4; i++)
		ring_free(&w->ring[i]);
	frame_pool_destroy(w->frames);
	buf_pool_destroy(w->bufs);
}

/* ---- the input ---- */

/* Lengths near where things change, or anything. */
static uint32_t length(struct cur_r *c)
{
	static const uint32_t near[] = {0,     16,    26,    60,    1514,     1526,	  4112,
					65536, 65552, 65562, 65600, 1u << 20, VQT_REQ_MAX};
	uint8_t k = cur_u8(c);

	return k < 104 ? near[k % 13] + k / 13 - 1 : cur_u32(c);
}

/* A message by key of one piece, the readable bytes' or the writable ones'. */
static void keyed(uint8_t *bytes, uint32_t len, uint8_t k)
{
	bool in = k & 1;
	struct vqt_req_head h = {1, in ? VQT_LEAD : VQT_LEAD + len, in ? len + VQT_TAIL : 1 + k / 8,
				 VQT_KEYED_FLAGS(!in, in)};
	struct vqt_seg seg = {1, len, k & 2 ? GUEST - (k & 4) * 1000u : 0};

	vqt_req_head_put(bytes, &h);
	vqt_seg_put(bytes + VQT_HEAD + VQT_LEAD, &seg);
}

static uint32_t word(struct cur_r *c, uint8_t how)
{
	return how ? how * 8u : cur_u32(c);
}

/* What the kinds for frames by key say, near the truth: position and pieces count from 0 in a session. */
static uint32_t by_key(struct cur_r *c, struct rt_rec *r, uint8_t *bytes)
{
	uint8_t k = cur_u8(c), n = 1 + k % 8;
	struct vqt_seg seg = {1, 0, 0};

	if (r->kind == VQT_PLACED) {
		struct vqt_placed p = {length(c), k % 5, {k, k}, word(c, k >> 3)};

		vqt_placed_put(bytes, &p);
		return VQT_PLACED_LEN;
	}
	if (r->kind == VQT_CHAINS) {
		struct vqt_chains s = {k & 1, word(c, k >> 3) / 8};

		vqt_chains_put(bytes, &s);
		return VQT_CHAINS_LEN;
	}
	if (r->kind == VQT_LENT) {
		struct vqt_lent l = {.head = k & 16 ? 12 : 0, .n = n};

		l.len = l.head;
		for (unsigned i = 0; i < n; i++) {
			l.key[i] = (struct vqt_seg){1, length(c) % 40000, 0};
			l.len += l.key[i].len;
		}
		if (k >= 240)
			l.len++;
		r->total = vqt_lent_put(bytes, &l);
		memset(bytes + r->total, k & 15, l.head);
		return r->total + l.head;
	}
	r->id = word(c, k >> 3) / 8;
	for (unsigned i = 0; i < n && k != 255; i++) {
		seg.len = length(c) % 70000;
		seg.off = i * 4096u;
		if (k & 64)
			seg.len |= VQT_POSTED_MORE;
		vqt_seg_put(bytes + i * VQT_SEG, &seg);
	}
	return k == 255 || k % 16 == 3 ? 0 : n * VQT_SEG;
}

static void say(struct world *w, bool to_host, uint8_t cls, uint32_t psn, const struct rt_rec *r,
		uint8_t *bytes)
{
	if (to_host)
		vqt_host_record(w->host, cls % RT_NCLASS, psn, r, bytes);
	else
		vqt_peer_record(w->peer, cls % RT_NCLASS, psn, r, bytes, NULL);
	free(bytes);
}

/* One record; its bytes are what follows in the input, or a head and zeroes, in an exact allocation. */
static void record(struct world *w, struct cur_r *c, bool to_host)
{
	struct rt_rec r = {.kind = cur_u8(c) % VQT_KIND_END, .dev = 1, .aux = 1};
	uint8_t cls = cur_u8(c), flags = cur_u8(c);
	uint32_t psn = cur_u8(c), head[4] = {1, 0, 0, 0};
	uint8_t *bytes;

	bool block = r.kind == VQT_KEYED || (r.kind >= VQT_REQ && r.kind <= VQT_CPL);

	if (block)
		r.dev = 2;
	r.queue = flags & 1;
	r.id = !block ? cur_u16(c) * 64u : VQT_ID(cur_u8(c) % 5, cur_u8(c) % 4);
	r.total = r.kind == VQT_KEYED && flags & 64 ? VQT_HEAD + VQT_LEAD + VQT_SEG : length(c);
	r.offset = flags & 2 ? length(c) : 0;
	r.len = (uint16_t)(r.offset < r.total ? (r.total - r.offset < 65535 ? r.total - r.offset : 65535)
					      : 0);
	if (flags & 4)
		r.len = (uint16_t)length(c);
	if (flags & 8 || r.kind == VQT_GRANT)
		r.aux = cur_u8(c);
	if (flags & 16)
		r.id = cur_u32(c);
	if (flags & 32 &&
	    (r.kind == VQT_LENT || r.kind == VQT_PLACED || r.kind == VQT_POSTED || r.kind == VQT_CHAINS)) {
		uint8_t shaped[VQT_LENT_MSG];

		r.total = by_key(c, &r, shaped);
		r.len = (uint16_t)r.total;
		r.offset = 0;
		bytes = malloc(r.len ? r.len : 1);
		must(bytes != NULL);
		memcpy(bytes, shaped, r.len);
		say(w, to_host, cls, psn, &r, bytes);
		return;
	}
	bytes = calloc(1, r.len ? r.len : 1);
	must(bytes != NULL);
	if (flags & 32 && r.len >= VQT_HEAD) {
		head[1] = r.kind == VQT_CPL ? 0 : r.total - VQT_HEAD;
		head[2] = length(c);
		head[3] = r.kind == VQT_CPL ? r.total - VQT_HEAD : 0;
		if (r.kind == VQT_CPL && flags & 64)
			head[1] = VQT_CPL_TORN(1, 5);
		vqt_put_words(bytes, head);
	}
	if (r.kind == VQT_KEYED && flags & 64 && r.len == r.total)
		keyed(bytes, length(c), cur_u8(c));
	say(w, to_host, cls, psn, &r, bytes);
}

static void guest(struct world *w, struct cur_r *c)
{
	uint8_t k = cur_u8(c);
	unsigned i = k & 3;
	uint32_t out = length(c), in = length(c);
	struct vqt_hdev *d = i < 2 ? w->hnet : w->hblk;

	if (out > 2u << 20 || in > 2u << 20)
		return;
	add(&w->ring[i], out, in);
	vqt_host_kick(d, i & 1);
	if (k & 4)
		vqt_host_service(w->host, k, w->now);
}

/* Stop and start, now and then over a ring that the guest broke. */
static void driver(struct world *w, uint8_t k)
{
	unsigned i = k & 3;
	struct vqt_hdev *d = i < 2 ? w->hnet : w->hblk;

	if (k & 4)
		vqt_host_queue_stop(d, i & 1, k & 8 ? VQT_STOP_FENCE : VQT_STOP_DRAIN);
	if (k & 16)
		vqt_host_queue_start(d, i & 1, k & 32);
	w->ring[i].broken = k >= 250;
}

static void backend(struct world *w, struct cur_r *c)
{
	static const int refusals[] = {0, 0, -EAGAIN, -ENOTCONN};
	uint8_t k = cur_u8(c);

	if (k & 128) {
		w->bulk_refuses = k < 136 ? refusals[k & 3] : w->bulk_refuses;
		bulk_over(w, k / 2);
	} else if (w->nmoves && k & 2) {
		end_move(w, k % w->nmoves, k & 4);
	} else if (w->nreqs) {
		struct vqt_req *r = w->reqs[k % w->nreqs];

		w->reqs[k % w->nreqs] = w->reqs[w->nreqs - 1];
		w->nreqs--;
		vqt_dev_complete(r, k & 1 ? r->in_len : 0, r->in_len, w->now);
	}
}

static void send_frame(struct world *w, struct cur_r *c)
{
	struct frame *f = frame_get(w->frames);
	uint32_t n = length(c) % 100000;

	if (!f)
		return;
	while (f->len < n && !frame_add(f, zeroes, n - f->len < 2048 ? n - f->len : 2048, NULL))
		;
	vqt_dev_send(w->dnet, 0, f, w->now);
	frame_put(f);
}

static void step(struct world *w, struct cur_r *c)
{
	uint8_t op = cur_u8(c);

	w->now += 1000;
	switch (op % 12) {
	case 0:
	case 1:
	case 2:
		record(w, c, true);
		break;
	case 3:
	case 4:
	case 5:
		record(w, c, false);
		break;
	case 6:
		guest(w, c);
		break;
	case 7:
		driver(w, cur_u8(c));
		break;
	case 8:
		backend(w, c);
		break;
	case 9:
		send_frame(w, c);
		break;
	case 10:
		vqt_host_settled(w->host, RT_NET, cur_u8(c));
		vqt_peer_settled(w->peer, RT_NET, c->left ? c->p[0] : 0);
		break;
	default:
		vqt_host_writable(w->host, op % RT_NCLASS);
		vqt_peer_writable(w->peer, op % RT_NCLASS);
		vqt_host_service(w->host, op, w->now);
		vqt_peer_service(w->peer, w->now);
		if (op >= 240) {
			session_down(w);
			session_up(w);
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct world *w = calloc(1, sizeof(*w));
	struct cur_r c;

	must(w != NULL);
	init(w);
	cur_r_init(&c, data, size);
	for (int i = 0; i < 2000 && c.left && cur_ok(&c); i++)
		step(w, &c);
	fini(w);
	free(w);
	return 0;
}

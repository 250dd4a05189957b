/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/vqt_world.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DATAGRAMS 24576

/* ---- callbacks ---- */

static void note(struct vw *w, const char *what, unsigned vq)
{
	size_t n = strlen(w->log);

	snprintf(w->log + n, sizeof(w->log) - n, "%s %u; ", what, vq);
}

static void host_broken(void *user, unsigned vq, const char *reason)
{
	(void)reason;
	note(user, "broken", vq);
}

static void host_stopped(void *user, unsigned vq)
{
	note(user, "stopped", vq);
}

static void host_idle(void *user)
{
	((struct vw *)user)->idle++;
}

static const struct vqt_host_ops host_ops = {
	.broken = host_broken, .stopped = host_stopped, .idle = host_idle};

/* Memory of the host is one region, an address its offset; another one after it was revoked. */
static unsigned bulk_pieces(void *user, const struct iovec *iov, unsigned n, struct vqt_seg *out,
			    unsigned max)
{
	const struct vw *w = user;

	if (n > max || w->no_keys)
		return 0;
	for (unsigned i = 0; i < n; i++)
		out[i] = (struct vqt_seg){1 + w->revoked, (uint32_t)iov[i].iov_len,
					  (uintptr_t)iov[i].iov_base};
	return n;
}

static void bulk_revoke(void *user)
{
	((struct vw *)user)->revoked++;
}

static void bulk_fence(void *user, unsigned path, uint32_t qpn)
{
	((struct vw *)user)->fences++;
	((struct vw *)user)->fence = (struct vqt_fence){path, qpn};
}

const struct vqt_key_ops vw_bulk_keys = {bulk_pieces, bulk_revoke, bulk_fence};

static void dev_frame(void *user, unsigned pair, struct frame *f)
{
	struct vw *w = user;

	(void)pair;
	assert(w->ngot < VW_FRAMES);
	w->got[w->ngot++] = f;
}

static void dev_request(void *user, struct vqt_req *r)
{
	struct vw *w = user;

	assert(w->nreqs < VW_LOG);
	w->reqs[w->nreqs++] = r;
}

static void dev_writable(void *user, unsigned pair)
{
	(void)pair;
	((struct vw *)user)->writable++;
}

static void dev_drained(void *user)
{
	((struct vw *)user)->drained++;
}

static const struct vqt_dev_ops dev_ops = {dev_frame, dev_request, dev_writable, dev_drained};

static void *mem_get(void *ctx, size_t size, size_t off)
{
	struct vw *w = ctx;
	uint8_t *p;

	w->mem_gets++;
	if (w->mem_fail_after && w->mem_gets >= w->mem_fail_after)
		return NULL;
	/* The end is where the sanitizer watches. */
	(void)off;
	p = malloc(size);
	assert(p && size);
	w->mem_live += size;
	return p;
}

static void mem_put(void *ctx, void *p, size_t size, size_t off)
{
	(void)off;
	((struct vw *)ctx)->mem_live -= size;
	free(p);
}

/* ---- the adapter ---- */

static struct vw_move *add_move(struct vw *w, const struct vqt_bulk_end *m, void **op)
{
	struct vw_move *v = calloc(1, sizeof(*v));

	assert(v && w->nmoves < VW_MOVES);
	v->m = *m;
	w->moves[w->nmoves++] = v;
	*op = v;
	return v;
}

static int fake_fetch(void *ctx, uint16_t dev, struct frame *f, const struct vqt_lent *k, const uint8_t *head,
		      const struct vqt_bulk_end *m, void **op)
{
	struct vw *w = ctx;
	struct vw_move *v;

	(void)dev;
	if (w->moves_refuse)
		return w->moves_refuse;
	v = add_move(w, m, op);
	v->keys = *k;
	v->frame = frame_get(w->frames);
	for (uint32_t at = 0; at < k->len; at += 2048) {
		struct buf *b = buf_get(w->bufs);
		uint32_t n = k->len - at < 2048 ? k->len - at : 2048;

		memset(b->base, 0xee, n);
		if (!at && k->head)
			memcpy(b->base, head, k->head);
		frame_add(f, b->base, n, b);
		frame_add(v->frame, b->base, n, b);
		buf_put(b);
	}
	return 0;
}

static int fake_place(void *ctx, uint16_t dev, uint16_t pair, uint32_t pos, const struct frame *f,
		      const struct vqt_seg *seg, unsigned n, const struct vqt_bulk_end *m, void **op)
{
	struct vw *w = ctx;
	struct vw_move *v;

	(void)dev;
	if (w->moves_refuse || !w->stage_of)
		return w->moves_refuse ? w->moves_refuse : -ENOTCONN;
	for (unsigned i = 0; i < n; i++)
		if (w->no_posts || seg[i].region != 1 + w->revoked)
			return -ENOTCONN;
	v = add_move(w, m, op);
	v->place = true;
	if (n)
		memcpy(v->seg, seg, n * sizeof(*seg));
	else
		v->stage = vqt_hdev_stage(w->stage_of, pair, &v->stage_len);
	v->nseg = n;
	v->keys_of = w->revoked;
	w->places_posted += n;
	v->frame = frame_clone(f);
	v->pos = pos;
	return 0;
}

static void fake_drop(void *ctx, void *op)
{
	(void)ctx;
	((struct vw_move *)op)->dropped = true;
}

static const struct vqt_bulk_ops fake_bulk = {fake_fetch, fake_place, fake_drop};

/* The bytes, at the last moment: who took his memory back before sees it. */
static void move(struct vw_move *v)
{
	uint32_t at = v->keys.head, seg = 0;

	for (uint32_t i = 0; v->stage && i < v->frame->len; i++)
		frame_read(v->frame, i, &v->stage[(v->pos + i) % v->stage_len], 1);
	for (unsigned k = 0, from = 0; k < v->nseg; from += v->seg[k++].len)
		frame_read(v->frame, from, (uint8_t *)(uintptr_t)v->seg[k].off, v->seg[k].len);
	for (unsigned k = 0; k < v->keys.n; k++)
		for (uint32_t i = 0; i < v->keys.key[k].len; i++) {
			((uint8_t *)(uintptr_t)v->frame->seg[seg].data)[at++] =
				((const uint8_t *)(uintptr_t)v->keys.key[k].off)[i];
			if (at == v->frame->seg[seg].len) {
				seg++;
				at = 0;
			}
		}
}

unsigned vw_moves(struct vw *w, unsigned n)
{
	static const struct vqt_fence broke = {2, 77};
	unsigned done = 0;

	for (; done < n && w->nmoves; done++) {
		struct vw_move *v = w->moves[0];
		bool ok = !w->moves_fail;

		w->moves_fail -= !ok;
		/* Keys that are gone break the connection. */
		ok &= !v->nseg || v->keys_of == w->revoked;
		memmove(w->moves, w->moves + 1, --w->nmoves * sizeof(w->moves[0]));
		/* Of what was dropped the bytes come all the same, while there is memory. */
		if (ok && !(v->dropped && v->stage))
			move(v);
		if (v->place && !ok && !v->dropped) {
			v->m.done(v->m.arg, false, &broke, v->frame);
			v->frame = NULL;
		} else if (!v->dropped) {
			v->m.done(v->m.arg, ok, NULL, NULL);
		}
		frame_put(v->frame);
		free(v);
	}
	return done;
}

static unsigned keys_pieces(void *user, const struct iovec *iov, unsigned n, struct vqt_seg *out,
			    unsigned max)
{
	return adapter_pieces(((struct vw *)user)->adapter, iov, n, out, max);
}

static void keys_revoke(void *user)
{
	adapter_revoke(((struct vw *)user)->adapter);
}

static void keys_fence(void *user, unsigned path, uint32_t qpn)
{
	adapter_fence(((struct vw *)user)->adapter, path, qpn);
}

const struct vqt_key_ops vw_keys = {keys_pieces, keys_revoke, keys_fence};

static int move_start(void *ctx, struct vqt_move *m)
{
	return adapter_start(ctx, m);
}

/* ---- sessions ---- */

static const struct rt_ops *rt_ops_of(unsigned end)
{
	return end ? &vqt_peer_rt_ops : &vqt_host_rt_ops;
}

/* The peer is made after its rt: its rt's context is the world. */
static void rec1(void *ctx, enum rt_class cls, uint32_t psn, const struct rt_rec *rec, const uint8_t *data,
		 struct buf *owner)
{
	struct vw *w = ctx;

	rt_ops_of(1)->record(w->peer, cls, psn, rec, data, w->no_owner ? NULL : owner);
}

static void settled1(void *ctx, enum rt_class cls, uint32_t base)
{
	rt_ops_of(1)->settled(((struct vw *)ctx)->peer, cls, base);
}

static void writable1(void *ctx, enum rt_class cls)
{
	rt_ops_of(1)->writable(((struct vw *)ctx)->peer, cls);
}

static const struct rt_ops ops1 = {.record = rec1, .settled = settled1, .writable = writable1};

static struct rt *make_rt(struct vw *w, unsigned end, const struct vw_cfg *cfg)
{
	struct rt_cfg c = {
		.ops = end ? &ops1 : rt_ops_of(0),
		.ctx = end ? (void *)w : (void *)w->host,
		.aead = &aead_crc,
		.chunk = cfg && cfg->chunk ? cfg->chunk : RT_CHUNK_DEFAULT,
		.active = !end,
	};
	struct rt_path_cfg p = {.tx_spi = 100 + !end, .rx_spi = 100 + end};
	int err;
	struct rt *rt = rt_create(&c, w->now, &err);

	assert(rt);
	err = rt_path_add(rt, 0, &p, w->now);
	assert(!err);
	return rt;
}

void vw_session_up(struct vw *w, const struct vw_cfg *cfg)
{
	struct vqt_peer_cfg pc = {
		.ops = cfg && cfg->dev_ops ? cfg->dev_ops : &dev_ops,
		.frames = w->frames,
		.bufs = w->bufs,
		.mem = {mem_get, mem_put, w},
		.mem_max = cfg && cfg->mem_max ? cfg->mem_max : 64u << 20,
		.net_pending = cfg ? cfg->net_pending : 0,
		.seed = 4711,
		.bulk = {cfg && cfg->bulk && !cfg->no_door ? &fake_bulk : NULL, w},
	};
	int err;

	w->adapter = cfg ? cfg->adapter : NULL;
	if (w->adapter)
		pc.move = (struct vqt_move_door){move_start, w->adapter};
	for (unsigned e = 0; e < 2; e++)
		w->rt[e] = make_rt(w, e, cfg);
	pc.rt = w->rt[1];
	w->peer = vqt_peer_create(&pc, &err);
	assert(w->peer);
	vqt_host_session(w->host, w->rt[0]);
	vw_run(w, 20000000);
}

void vw_session_down(struct vw *w)
{
	vqt_host_session(w->host, NULL);
	vqt_peer_destroy(w->peer);
	w->peer = NULL;
	for (unsigned e = 0; e < 2; e++) {
		rt_destroy(w->rt[e]);
		w->rt[e] = NULL;
	}
}

struct vqt_host *vw_host(uint64_t seed)
{
	return vqt_host_create(&host_ops, seed);
}

void vw_init(struct vw *w, const struct vw_cfg *cfg)
{
	memset(w, 0, sizeof(*w));
	w->now = 1000000000;
	rng_init(&w->rng, 1);
	w->host = vw_host(815);
	w->bulk = cfg && cfg->bulk;
	w->frames = frame_pool_create(VW_FRAMES);
	w->bufs = buf_pool_create(4096, 2048);
	w->datagrams = buf_pool_create(DATAGRAMS, (cfg && cfg->chunk ? cfg->chunk : RT_CHUNK_DEFAULT) + 128);
	assert(w->host && w->frames && w->bufs && w->datagrams);
	vw_session_up(w, cfg);
}

void vw_forget(struct vw *w)
{
	for (unsigned i = 0; i < w->ngot; i++)
		frame_put(w->got[i]);
	w->ngot = 0;
}

/* All pools are full again, or their destroy functions say so. */
void vw_fini(struct vw *w)
{
	if (w->rt[0])
		vw_session_down(w);
	vqt_host_destroy(w->host);
	vw_moves(w, VW_MOVES);
	vw_forget(w);
	assert(w->mem_live == 0);
	frame_pool_destroy(w->frames);
	buf_pool_destroy(w->bufs);
	buf_pool_destroy(w->datagrams);
}

/* ---- the wire ---- */

/* Every datagram that end has to send now, onto the wire. */
static unsigned take(struct vw *w, unsigned end, struct vw_datagram *wire, unsigned n)
{
	struct rt_tx tx[64];
	int k;

	while ((k = rt_output(w->rt[end], w->now, tx, 64)) > 0)
		for (int i = 0; i < k; i++) {
			if (w->cut || rng_chance(&w->rng, w->loss[end]))
				continue;
			assert(n < DATAGRAMS);
			wire[n].from = end;
			wire[n].len = tx[i].len;
			wire[n].buf = buf_get(w->datagrams);
			assert(wire[n].buf && tx[i].len <= wire[n].buf->size);
			memcpy(wire[n].buf->base, tx[i].data, tx[i].len);
			n++;
		}
	return n;
}

static void shuffle(struct vw *w, struct vw_datagram *wire, unsigned n)
{
	for (unsigned i = 0; w->reorder && i + 1 < n; i++) {
		unsigned j = i + (unsigned)rng_below(&w->rng, n - i < 8 ? n - i : 8);
		struct vw_datagram t = wire[i];

		if (!rng_chance(&w->rng, w->reorder))
			continue;
		wire[i] = wire[j];
		wire[j] = t;
	}
}

/* One round trip; true: something moved. */
static bool exchange(struct vw *w, struct vw_datagram *wire)
{
	unsigned n = 0;
	bool moved = false;

	while (vqt_host_service(w->host, 256, w->now))
		n = take(w, 0, wire, n);
	if (!w->moves_wait && vw_moves(w, VW_MOVES))
		moved = true;
	if (w->adapter)
		adapter_run(w->adapter);
	vqt_peer_service(w->peer, w->now);
	n = take(w, 0, wire, n);
	n = take(w, 1, wire, n);
	shuffle(w, wire, n);
	w->now += 10000;
	for (unsigned i = 0; i < n; i++) {
		unsigned to = !wire[i].from;

		rt_input(w->rt[to], wire[i].buf->base, wire[i].len, wire[i].buf, false, w->now);
		buf_put(wire[i].buf);
	}
	rt_input_end(w->rt[0], w->now);
	rt_input_end(w->rt[1], w->now);
	return n != 0 || moved || (w->nmoves && !w->moves_wait);
}

void vw_run(struct vw *w, uint64_t ns)
{
	struct vw_datagram *wire = calloc(DATAGRAMS, sizeof(*wire));
	uint64_t end = w->now + ns;

	assert(wire);
	while (w->now < end) {
		uint64_t a, b, next;

		if (exchange(w, wire))
			continue;
		if (rt_idle(w->rt[0]) && rt_idle(w->rt[1]))
			break;
		a = rt_deadline(w->rt[0]);
		b = rt_deadline(w->rt[1]);
		next = a < b ? a : b;
		w->now = next > w->now ? next : w->now + 1000;
		rt_tick(w->rt[0], w->now);
		rt_tick(w->rt[1], w->now);
	}
	free(wire);
}

/* ---- content ---- */

uint64_t vw_hd(const struct vqt_hdev *d, enum vqt_hdev_counter c)
{
	return counter_get(&vqt_hdev_counters(d)[c]);
}

uint64_t vw_d(const struct vqt_dev *d, enum vqt_dev_counter c)
{
	return counter_get(&vqt_dev_counters(d)[c]);
}

void vw_pattern(uint8_t *p, uint32_t len, uint32_t seed)
{
	uint32_t x = seed * 2654435761u + 12345;

	for (uint32_t i = 0; i < len; i++) {
		x = x * 1664525u + 1013904223u;
		p[i] = (uint8_t)(x >> 24);
	}
}

struct frame *vw_frame(struct vw *w, const uint8_t *p, uint32_t len)
{
	struct frame *f = frame_get(w->frames);

	assert(f);
	for (uint32_t off = 0; off < len; off += 2048) {
		struct buf *b = buf_get(w->bufs);
		uint32_t n = len - off < 2048 ? len - off : 2048;
		int rc;

		assert(b);
		memcpy(b->base, p + off, n);
		rc = frame_add(f, b->base, n, b);
		assert(!rc);
		buf_put(b);
	}
	return f;
}

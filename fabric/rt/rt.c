/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fabric/rt/impl.h"

COUNTERS_DEFINE(rt, RT_COUNTERS)

static_assert(RT_NCLASS == WIRE_CLASSES, "classes on the wire");
static_assert(RT_PATHS == WIRE_PATHS, "paths on the wire");
static_assert(sizeof(struct rt_rec) == sizeof(struct wire_rec), "record on the wire");

static const uint32_t default_window[RT_NCLASS] = {
	[RT_CTL] = 128, [RT_CMD] = 512, [RT_DATA] = 1024, [RT_NET] = 1024};

/* The window asked for, made large enough for the longest message, or 0 if it cannot be. */
static uint32_t window_for(const struct rt_cfg *cfg, unsigned cls)
{
	uint32_t w = cfg->window[cls] ? cfg->window[cls] : default_window[cls];
	uint32_t per = cfg->chunk - WIRE_REC_LEN;
	uint32_t need = (RT_SEND_MAX + per - 1) / per + 1;

	if (w & (w - 1) || w < RT_WINDOW_MIN || w > RT_WINDOW_MAX)
		return 0;
	/* Control must take RT_CTL_RESERVE messages, each of which may begin in one chunk and end in the
	 * next. */
	if (cls == RT_CTL && need < 2 * RT_CTL_RESERVE)
		need = 2 * RT_CTL_RESERVE;
	while (w < need)
		w *= 2;
	/* One datagram holds the acknowledgement of a whole window. */
	if (WIRE_ACK_LEN * RT_PATHS + 8 * (w / 64 + 1) > cfg->chunk)
		return 0;
	return w;
}

static bool cfg_ok(const struct rt_cfg *cfg)
{
	if (!cfg->ops || !cfg->ops->record || !cfg->ops->settled || !cfg->ops->writable || !cfg->aead ||
	    cfg->aead->tag_len > AEAD_TAG_MAX)
		return false;
	if (cfg->chunk < RT_CHUNK_MIN || cfg->chunk > RT_CHUNK_MAX || cfg->chunk_max > RT_CHUNK_MAX ||
	    cfg->txn_start > UINT64_MAX / 2)
		return false;
	for (unsigned c = 0; c < RT_NCLASS; c++)
		if (!window_for(cfg, c))
			return false;
	return true;
}

struct rt *rt_create(const struct rt_cfg *cfg, uint64_t now, int *err)
{
	struct rt *rt;
	int r = 0;

	*err = -EINVAL;
	if (!cfg_ok(cfg))
		return NULL;
	*err = -ENOMEM;
	rt = calloc(1, sizeof(*rt));
	if (!rt)
		return NULL;
	rt->cfg = *cfg;
	rt->tag = cfg->aead->tag_len;
	if (!rt->cfg.rto_floor_ns)
		rt->cfg.rto_floor_ns = 1000000ull;
	if (!rt->cfg.delay_spare_ns)
		rt->cfg.delay_spare_ns = rt->cfg.rto_floor_ns / 2;
	if (!rt->cfg.keepalive_ns)
		rt->cfg.keepalive_ns = 1000000000ull;
	if (!rt->cfg.lost_ns)
		rt->cfg.lost_ns = 3000000000ull;
	rt->primary = -1;
	rt->keep_at = rt->pace_at = rt->ack_at = RT_NEVER;
	rt->last_rx = now;
	if (rt->cfg.chunk_max < cfg->chunk)
		rt->cfg.chunk_max = cfg->chunk;
	if (rt->cfg.chunk_max > RT_CHUNK_TIMES * cfg->chunk)
		rt->cfg.chunk_max = RT_CHUNK_TIMES * cfg->chunk;
	rt->chunk = cfg->chunk;
	rt->scratch_stride = WIRE_HDR_LEN + rt->cfg.chunk_max + rt->tag;
	rt->scratch = calloc(RT_SCRATCH, rt->scratch_stride);
	for (unsigned c = 0; c < RT_NCLASS; c++) {
		uint32_t w = window_for(cfg, c);

		r |= tx_init(&rt->tx[c], w, cfg->chunk, rt->cfg.chunk_max, rt->tag, cfg->psn_start);
		r |= rx_init(&rt->rx[c], w, cfg->psn_start, rt->cfg.chunk_max > cfg->chunk);
	}
	if (r || !rt->scratch) {
		rt_destroy(rt);
		return NULL;
	}
	*err = 0;
	return rt;
}

void rt_destroy(struct rt *rt)
{
	if (!rt)
		return;
	for (unsigned i = 0; i < RT_PATHS; i++) {
		rt->cfg.aead->destroy(rt->path[i].tx_key);
		rt->cfg.aead->destroy(rt->path[i].rx_key);
		rt->cfg.aead->destroy(rt->path[i].fresh.tx_key);
		rt->cfg.aead->destroy(rt->path[i].fresh.rx_key);
		rt->cfg.aead->destroy(rt->path[i].old.tx_key);
		rt->cfg.aead->destroy(rt->path[i].old.rx_key);
	}
	for (unsigned c = 0; c < RT_NCLASS; c++) {
		tx_fini(&rt->tx[c]);
		rx_fini(&rt->rx[c]);
	}
	free(rt->scratch);
	free(rt);
}

int rt_path_add(struct rt *rt, unsigned path, const struct rt_path_cfg *cfg, uint64_t now)
{
	struct path *p;

	if (path >= RT_PATHS || !cfg->tx_spi || !cfg->rx_spi)
		return -EINVAL;
	p = &rt->path[path];
	if (p->used)
		return -EEXIST;
	if (key_known(rt, cfg->rx_spi))
		return -EEXIST;
	p->tx_key = rt->cfg.aead->create(cfg->tx_key);
	p->rx_key = rt->cfg.aead->create(cfg->rx_key);
	if (!p->tx_key || !p->rx_key) {
		rt->cfg.aead->destroy(p->tx_key);
		rt->cfg.aead->destroy(p->rx_key);
		p->tx_key = p->rx_key = NULL;
		return -ENOMEM;
	}
	p->tx_spi = cfg->tx_spi;
	p->rx_spi = cfg->rx_spi;
	if (!p->txn)
		p->txn = rt->cfg.txn_start ? rt->cfg.txn_start : 1;
	p->wipe_at = RT_NEVER;
	p->state = RT_PATH_PROBING;
	p->probe_gap = RT_PROBE_FIRST;
	p->probe_at = RT_NEVER;
	p->probe_due = rt->cfg.active;
	p->last_rx = now;
	p->phase_peer = 2;
	cc_init(&p->cc, rt->cfg.delay_spare_ns);
	p->backup = cfg->backup;
	p->used = true;
	if (path >= rt->npath)
		rt->npath = path + 1;
	mtu_start(rt, path, now);
	if (rt->keep_at == RT_NEVER) {
		rt->keep_at = now + rt->cfg.keepalive_ns;
		rt->last_rx = now;
	}
	return 0;
}

void rt_path_info(const struct rt *rt, unsigned path, struct rt_path_info *info)
{
	static const struct path none;
	const struct path *p = path < RT_PATHS ? &rt->path[path] : &none;

	*info = (struct rt_path_info){
		.state = p->used ? p->state : RT_PATH_DOWN,
		.srtt_ns = p->srtt,
		.min_rtt_ns = p->min_rtt,
		.tx_packets = p->tx_packets,
		.rx_packets = p->rx_packets,
		.retransmits = p->retransmits,
		.last_rx_ns = p->last_rx,
		.base_rtt_ns = path_base_rtt(p),
		.loss_ppm = (uint32_t)(p->cc.loss * 1000000ull >> 16),
		.share_permille = p->share_permille,
		.window = cc_window(&p->cc),
		.chunk = p->proven,
		.backup = p->backup,
		.rekeying = p->fresh.rx_key || p->fresh.tx_key || p->old.rx_key || p->old.tx_key,
	};
}

int rt_send(struct rt *rt, enum rt_class cls, enum rt_rel rel, const struct rt_rec *rec,
	    const struct iovec *iov, int niov, uint64_t now)
{
	size_t len = 0;
	int r;

	(void)now;
	if ((unsigned)cls >= RT_NCLASS)
		return -EINVAL;
	for (int i = 0; i < niov; i++) {
		if (iov[i].iov_len > RT_SEND_MAX - len)
			return -EMSGSIZE;
		len += iov[i].iov_len;
	}
	if (rec->offset > rec->total || len > rec->total - rec->offset)
		return -EMSGSIZE;
	if (!len && rec->total)
		return -EINVAL; /* would be filler */
	r = tx_put(&rt->tx[cls], cls == RT_NET ? rel : RT_REL_FULL, rec, iov, (uint32_t)len);
	rt->wanted |= r == -EAGAIN;
	return r;
}

int rt_begin(struct rt *rt, enum rt_class cls, enum rt_rel rel, const struct rt_rec *rec, uint32_t len,
	     uint8_t **at)
{
	struct tx_ring *t = &rt->tx[cls];

	if (!len || len > t->chunk - WIRE_REC_LEN)
		return -EMSGSIZE;
	*at = tx_begin(t, cls == RT_NET ? rel : RT_REL_FULL, rec, len);
	if (*at)
		return 0;
	rt->wanted = true;
	return -EAGAIN;
}

uint8_t *rt_growth(const struct rt *rt, enum rt_class cls, const struct rt_rec *rec, uint32_t *room)
{
	return tx_growth(&rt->tx[cls], rec, room);
}

uint8_t *rt_grow(struct rt *rt, enum rt_class cls, const struct rt_rec *rec, uint32_t len)
{
	return tx_grow(&rt->tx[cls], rec, len);
}

uint32_t rt_room(const struct rt *rt, enum rt_class cls)
{
	const struct tx_ring *t = &rt->tx[cls];
	uint32_t left = t->used ? t->chunk - t->used : 0, per = t->chunk - WIRE_REC_LEN;
	uint64_t room = (uint64_t)tx_avail(t) * per;

	if (left >= WIRE_REC_LEN + RT_PIECE_MIN)
		room += left - WIRE_REC_LEN;
	return room < RT_SEND_MAX ? (uint32_t)room : RT_SEND_MAX;
}

uint32_t rt_datagram(const struct rt *rt)
{
	return WIRE_HDR_LEN + rt->chunk + rt->tag;
}

uint32_t rt_queued(const struct rt *rt)
{
	uint32_t n = 0;

	for (unsigned c = 0; c < RT_NCLASS; c++)
		n += rt->tx[c].tail - rt->tx[c].next;
	return n;
}

void rt_flush(struct rt *rt, uint64_t now)
{
	(void)now;
	for (unsigned c = 0; c < RT_NCLASS; c++)
		rt->tx[c].flushed = rt->tx[c].used > 0;
}

uint64_t rt_deadline(const struct rt *rt)
{
	uint64_t loss = loss_deadline(rt), path = path_deadline(rt);

	uint64_t mtu = mtu_deadline(rt);

	if (path < loss)
		loss = path;
	if (mtu < loss)
		loss = mtu;
	if (rt->ack_at < loss)
		loss = rt->ack_at;
	return rt->pace_at < loss ? rt->pace_at : loss;
}

void rt_tick(struct rt *rt, uint64_t now)
{
	path_tick(rt, now);
	loss_tick(rt, now);
	ack_tick(rt, now);
	tx_wake(rt);
}

bool rt_lost(const struct rt *rt)
{
	return rt->lost;
}

bool rt_idle(const struct rt *rt)
{
	for (unsigned c = 0; c < RT_NCLASS; c++) {
		const struct tx_ring *t = &rt->tx[c];

		if (!tx_empty(t) || t->peer_cum != t->base || t->floor_owed)
			return false;
	}
	for (unsigned i = 0; i < RT_PATHS; i++)
		if (rt->path[i].reply_due || rt->path[i].probe_due)
			return false;
	return !ack_any_owed(rt);
}

const uint64_t *rt_counters(const struct rt *rt)
{
	return rt->counters;
}

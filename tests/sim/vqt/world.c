/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "tests/sim/vqt/vqt_sim.h"

#define POLL	    (20 * USEC)
#define SPI(w, end) (4 * (w)->session + 4 + (end)) /* of datagrams; those of the carrier are 2 more */

/* ---- callbacks of both ends ---- */

static void host_broken(void *user, unsigned vq, const char *reason)
{
	sim_fail(&((struct world *)user)->s, "virtqueue %u broken: %s", vq, reason);
}

static void host_stopped(void *user, unsigned vq)
{
	struct world *w = user;

	if (vq || w->fencing) /* a disk's */
		return;
	w->rx_stopped = true;
	guest_owns(w);
}

static void host_idle(void *user)
{
	(void)user;
}

static const struct vqt_host_ops host_ops = {
	.broken = host_broken, .stopped = host_stopped, .idle = host_idle};

static void dev_frame(void *user, unsigned pair, struct frame *f)
{
	static uint8_t p[FRAME_MAX];
	struct world *w = user;
	uint32_t number;

	(void)pair;
	frame_read(f, 0, p, f->len);
	number = frame_number(w, p, f->len, false);
	sim_check(&w->s, number >= w->rx, "frame %u after %u", number, w->rx - 1);
	w->rx = number + 1;
	w->rx_count++;
	frame_put(f);
}

/* The backend is done with op arg. */
static void backend_done(struct sim *s, void *ctx, uint64_t arg)
{
	struct world *w = ctx;

	(void)s;
	w->ops[arg].used = false;
	w->pending--;
	backend_apply(w, w->ops[arg].r);
}

static void dev_request(void *user, struct vqt_req *r)
{
	struct world *w = user;
	uint64_t i = 0, slow = rng_chance(&w->s.rng, 20000) ? w->slow_ns : 100 * USEC;

	while (i < OPS && w->ops[i].used)
		i++;
	sim_check(&w->s, i < OPS, "too many requests at the backend");
	sim_check(&w->s, r->epoch == w->epoch, "epoch %u in %u", r->epoch, w->epoch);
	w->ops[i] = (struct op){r, true};
	w->pending++;
	sim_at(&w->s, w->s.now + 1 + rng_below(&w->s.rng, slow), backend_done, w, i);
}

static void dev_writable(void *user, unsigned pair)
{
	(void)user;
	(void)pair;
}

static void dev_drained(void *user)
{
	(void)user;
}

static const struct vqt_dev_ops dev_ops = {dev_frame, dev_request, dev_writable, dev_drained};

static void *mem_get(void *ctx, size_t size, size_t off)
{
	(void)off;
	((struct world *)ctx)->mem += size;
	return malloc(size);
}

static void mem_put(void *ctx, void *p, size_t size, size_t off)
{
	(void)off;
	((struct world *)ctx)->mem -= size;
	free(p);
}

/* ---- sessions ---- */

static void peer_record(void *ctx, enum rt_class cls, uint32_t psn, const struct rt_rec *rec,
			const uint8_t *data, struct buf *owner)
{
	vqt_peer_rt_ops.record(((struct world *)ctx)->peer, cls, psn, rec, data, owner);
}

static void peer_settled(void *ctx, enum rt_class cls, uint32_t base)
{
	vqt_peer_rt_ops.settled(((struct world *)ctx)->peer, cls, base);
}

static void peer_writable(void *ctx, enum rt_class cls)
{
	vqt_peer_rt_ops.writable(((struct world *)ctx)->peer, cls);
}

static const struct rt_ops peer_ops = {
	.record = peer_record, .settled = peer_settled, .writable = peer_writable};

static struct rt *make_rt(struct world *w, unsigned end)
{
	struct rt_cfg c = {.ops = end ? &peer_ops : &vqt_host_rt_ops,
			   .ctx = end ? (void *)w : (void *)w->host,
			   .aead = &aead_crc,
			   .chunk = RT_CHUNK_DEFAULT,
			   .rto_floor_ns = 200 * USEC,
			   .ack_delay_ns = 50 * USEC,
			   .psn_start = 0u - 1000,
			   .active = !end};
	struct rt_path_cfg p = {.tx_spi = SPI(w, !end), .rx_spi = SPI(w, end)};
	int err;
	struct rt *rt = rt_create(&c, w->s.now, &err);

	sim_check(&w->s, rt && !rt_path_add(rt, 0, &p, w->s.now), "rt_create");
	if (w->carried) {
		p = (struct rt_path_cfg){.tx_spi = p.tx_spi + 2, .rx_spi = p.rx_spi + 2, .backup = true};
		sim_check(&w->s, !rt_path_add(rt, CARRIER_PATH, &p, w->s.now), "rt_path_add");
	}
	return rt;
}

static void bind_devices(struct world *w)
{
	struct vqt_dev_cfg c = {.type = VQT_NET,
				.user = w,
				.wire = NET_WIRE,
				.epoch = w->epoch,
				.nvq = 2,
				.window = w->window,
				.rel = w->rel,
				.depth = DEPTH,
				.max_inflight = w->max_inflight,
				.pos_start = 0u - 64 * 500};
	struct vqt_bind b = {.wire = NET_WIRE,
			     .epoch = w->epoch,
			     .rel = w->rel,
			     .max_inflight = w->max_inflight,
			     .pos_start = c.pos_start};
	int err;

	w->dnet = vqt_peer_attach(w->peer, &c, &err);
	c.type = VQT_BLK;
	c.wire = BLK_WIRE;
	c.nvq = BLKQ;
	w->dblk = vqt_peer_attach(w->peer, &c, &err);
	sim_check(&w->s, w->dnet && w->dblk && !vqt_hdev_bind(w->hnet, &b), "bind");
	b.wire = BLK_WIRE;
	sim_check(&w->s, !vqt_hdev_bind(w->hblk, &b), "bind");
}

static void session_up(struct sim *s, void *ctx, uint64_t arg)
{
	struct world *w = ctx;
	struct vqt_peer_cfg pc = {.ops = &dev_ops,
				  .frames = w->frames,
				  .bufs = w->bufs,
				  .mem = {mem_get, mem_put, w},
				  .mem_max = w->mem_max,
				  .bulk = w->bulk,
				  .seed = 99};
	int err;

	(void)arg;
	/* I/O of the old epoch must be over before the first of the new one. */
	if (w->pending && !w->skip_drain) {
		sim_at(s, s->now + 100 * USEC, session_up, w, 0);
		return;
	}
	w->session++;
	w->epoch++;
	w->rt[0] = make_rt(w, 0);
	w->rt[1] = make_rt(w, 1);
	pc.rt = w->rt[1];
	w->peer = vqt_peer_create(&pc, &err);
	sim_check(s, w->peer != NULL, "peer");
	vqt_host_session(w->host, w->rt[0]);
	bind_devices(w);
}

/* Nothing that only a hostile peer can bring about was seen. */
static void check_honest(struct world *w)
{
	static const enum vqt_hdev_counter h[] = {VQT_HD_drop_rx_credit,     VQT_HD_drop_rx_malformed,
						  VQT_HD_drop_cpl_malformed, VQT_HD_drop_cpl_epoch,
						  VQT_HD_drop_cpl_unknown,   VQT_HD_drop_grant,
						  VQT_HD_drop_queue,	     VQT_HD_drop_rx_posted};
	static const enum vqt_dev_counter d[] = {VQT_D_drop_rx_malformed,  VQT_D_drop_credit,
						 VQT_D_drop_req_epoch,	   VQT_D_drop_req_duplicate,
						 VQT_D_drop_req_malformed, VQT_D_drop_req_limit,
						 VQT_D_drop_queue,	   VQT_D_drop_posted};

	for (unsigned i = 0; i < sizeof(h) / sizeof(h[0]); i++)
		sim_check(&w->s, !vqt_hdev_counters(w->hnet)[h[i]] && !vqt_hdev_counters(w->hblk)[h[i]],
			  "host: %s", vqt_hdev_counter_names[h[i]]);
	for (unsigned i = 0; w->peer && i < sizeof(d) / sizeof(d[0]); i++)
		sim_check(&w->s, !vqt_dev_counters(w->dnet)[d[i]] && !vqt_dev_counters(w->dblk)[d[i]],
			  "device: %s", vqt_dev_counter_names[d[i]]);
	sim_check(&w->s, !w->peer || !vqt_peer_bad(w->peer), "peer: %s", vqt_peer_bad(w->peer));
	sim_check(&w->s, w->mem <= w->mem_max + w->max_inflight + OPS * 1200000ull, "memory");
}

static void session_down(struct world *w)
{
	check_honest(w);
	w->posted += vqt_dev_counters(w->dnet)[VQT_D_tx_posted];
	vqt_host_session(w->host, NULL);
	vqt_peer_destroy(w->peer);
	w->peer = NULL;
	for (unsigned e = 0; e < 2; e++) {
		rt_destroy(w->rt[e]);
		w->rt[e] = NULL;
	}
}

/* ---- the host ---- */

static void host_start(struct world *w)
{
	void *net[2] = {&w->net[0], &w->net[1]}, *blk[BLKQ] = {&w->blk[0], &w->blk[1]};
	struct vqt_hdev_cfg c = {.type = VQT_NET,
				 .user = w,
				 .ring_ops = &fake_ring_ops,
				 .nvq = 2,
				 .rings = net,
				 .depth = DEPTH,
				 .keys = w->key_ops,
				 .window = w->window};
	int err;

	w->host = vqt_host_create(&host_ops, 11);
	sim_check(&w->s, w->host != NULL, "host");
	w->hnet = vqt_host_attach(w->host, &c, &err);
	c.type = VQT_BLK;
	c.keys = NULL;
	c.nvq = BLKQ;
	c.rings = blk;
	w->hblk = vqt_host_attach(w->host, &c, &err);
	sim_check(&w->s, w->hnet && w->hblk, "attach");
	for (unsigned q = 0; q < 2; q++) {
		vqt_host_queue_start(w->hnet, q, true);
		vqt_host_queue_start(w->hblk, q, false);
	}
}

static void retake(struct fake_ring *r)
{
	fake_ring_ops.flush(
		r); /* what was pushed is published: the last entry is repaired by the next agent */
	fake_ring_retake(r);
}

static void host_kill(struct world *w)
{
	w->resent += vqt_hdev_counters(w->hblk)[VQT_HD_requests_resent];
	vqt_host_destroy(w->host);
	w->keys++;
	w->incarnation++;
	for (unsigned q = 0; q < 2; q++) {
		retake(&w->net[q]);
		retake(&w->blk[q]);
	}
	/* What was lent goes out again. */
	if (w->by_key)
		w->rx = 0;
	w->rx_stopping = false;
	guest_check(w);
	host_start(w);
}

/* ---- faults ---- */

static void unfence(struct sim *s, void *ctx, uint64_t arg)
{
	struct world *w = ctx;

	(void)s;
	(void)arg;
	for (unsigned q = 0; w->fenced && q < BLKQ; q++)
		vqt_host_queue_start(w->hblk, q, false);
	w->fenced = false;
}

/* The user of the disk goes away and comes back; what was taken is taken again. */
static void fence(struct world *w)
{
	w->fences++;
	w->fenced = true;
	w->fencing = true;
	for (unsigned q = 0; q < BLKQ; q++) {
		vqt_host_service(w->host, 0, w->s.now);
		vqt_host_queue_stop(w->hblk, q, VQT_STOP_FENCE);
		retake(&w->blk[q]);
	}
	w->fencing = false;
	sim_at(&w->s, w->s.now + rng_below(&w->s.rng, 2 * MSEC), unfence, w, 0);
}

static void start_again(struct sim *s, void *ctx, uint64_t arg)
{
	struct world *w = ctx;

	if (!w->rx_stopping || arg != w->stops)
		return; /* with its agent */
	if (!w->rx_stopped) {
		sim_at(s, s->now + 100 * USEC, start_again, w, arg);
		return;
	}
	retake(&w->net[0]);
	guest_check(w);
	sim_check(s, !vqt_host_queue_start(w->hnet, 0, true), "start");
	w->rx_stopping = false;
}

/* The guest's driver stops receiving, or goes, and begins anew. */
static void stop_receiving(struct world *w)
{
	bool drain = rng_chance(&w->s.rng, 500000);

	w->stops++;
	w->rx_stopping = true;
	w->rx_stopped = false;
	vqt_host_service(w->host, 0, w->s.now);
	vqt_host_queue_stop(w->hnet, 0, drain ? VQT_STOP_DRAIN : VQT_STOP_FENCE);
	sim_at(&w->s, w->s.now + rng_below(&w->s.rng, rng_below(&w->s.rng, 2) ? 2 : MSEC), start_again, w,
	       w->stops);
}

/* Datagrams do not come through, or do again. */
static void block(struct world *w, bool blocked)
{
	w->blocked = w->link[0].cfg.cut = w->link[1].cfg.cut = blocked;
}

static void fault(struct sim *s, void *ctx, uint64_t arg)
{
	struct world *w = ctx;
	uint64_t kind = rng_below(&s->rng, w->by_key ? 9 : 6);

	(void)arg;
	if (w->calm)
		return;
	sim_at(s, s->now + 1 + rng_below(&s->rng, 15 * MSEC), fault, w, 0);
	if (w->switching) {
		block(w, !w->blocked);
	} else if (kind == 0) {
		w->link[0].cfg.cut = w->link[1].cfg.cut = !w->link[0].cfg.cut;
	} else if (kind <= 2 && w->peer) {
		w->cuts++;
		session_down(w);
		if (kind == 2) {
			w->kills++;
			w->fenced = false;
			host_kill(w);
		}
		block(w, false);
		sim_at(s, s->now + rng_below(&s->rng, 2 * MSEC), session_up, w, 0);
	} else if (kind == 3 && !w->fenced) {
		fence(w);
	} else if (kind >= 6 && !w->rx_stopping) {
		stop_receiving(w);
	}
}

/* ---- the cable and the loop ---- */

static void deliver(void *ctx, uint8_t *data, uint32_t len, bool ce)
{
	struct sim_link *l = *(struct sim_link **)ctx;
	struct world *w = (struct world *)(void *)l->s;
	unsigned to = l == &w->link[0];
	struct buf *b;

	/* A datagram of an older session finds nobody. */
	if (!w->rt[to] || rt_peek_spi(data, len) != SPI(w, to))
		return;
	b = buf_get(w->wire);
	sim_check(&w->s, b && len <= b->size, "wire buffers");
	memcpy(b->base, data, len);
	rt_input(w->rt[to], b->base, len, b, ce, w->s.now);
	buf_put(b);
}

static void send_all(struct world *w, unsigned end)
{
	struct rt_tx tx[32];
	int n;

	while ((n = rt_output(w->rt[end], w->s.now, tx, 32)) > 0)
		for (int i = 0; i < n; i++) {
			if (tx[i].path == CARRIER_PATH)
				carrier_send(w, end, tx[i].data, tx[i].len);
			else
				sim_link_send(&w->link[end], tx[i].data, tx[i].len);
		}
}

/* Frames to the guest. One that is refused is the next again. */
static void appliance_sends(struct world *w)
{
	static uint8_t p[FRAME_MAX];

	for (uint64_t n = w->calm ? w->refused > 0 : w->flood ? 32 : rng_below(&w->s.rng, 4); n; n--) {
		bool large = w->flood ? rng_chance(&w->s.rng, 10000) : n == 1;
		bool small = !large && rng_chance(&w->s.rng, 500000);
		uint32_t len = 26 + (uint32_t)rng_below(&w->s.rng, large   ? FRAME_MAX - 25
								   : small ? 200
									   : 1500);
		struct frame *f;

		if (w->script && w->tx == SCRIPT_FRAMES)
			return;
		if (w->script)
			len = script_frame_len(w->script, 1, w->tx);
		else if (w->refused && !w->flood)
			len = w->refused;
		f = frame_get(w->frames);
		if (!f)
			return; /* all of them wait to be sent */
		frame_fill(p, len, w->tx);
		frame_add(f, p, len, NULL);
		w->refused = vqt_dev_send(w->dnet, 0, f, w->s.now) ? len : 0;
		w->tx += !w->refused;
		frame_put(f);
	}
}

static void poll_all(struct sim *s, void *ctx, uint64_t arg)
{
	struct world *w = ctx;

	(void)arg;
	guest_work(w);
	while (vqt_host_service(w->host, 64, s->now))
		;
	guest_look(w);
	if (w->peer) {
		appliance_sends(w);
		for (unsigned e = 0; e < 2; e++) {
			carrier_poll(w, e);
			rt_input_end(w->rt[e], s->now);
			if (rt_deadline(w->rt[e]) <= s->now)
				rt_tick(w->rt[e], s->now);
		}
		vqt_peer_service(w->peer, s->now);
		send_all(w, 0);
		send_all(w, 1);
	}
	sim_at(s, s->now + POLL, poll_all, w, 0);
}

/* ---- start and end ---- */

static void draw_links(struct world *w)
{
	static struct sim_link *at[2];
	struct rng *r = &w->s.rng;

	for (unsigned e = 0; e < 2; e++) {
		struct sim_link_cfg c = {
			.delay_ns = 1000 + rng_below(r, 50000),
			.loss = rng_chance(r, 600000) ? (uint32_t)rng_below(r, 100000) : 0,
			.reorder = rng_chance(r, 500000) ? (uint32_t)rng_below(r, 200000) : 0,
			.reorder_ns = 1000 + rng_below(r, 200000),
			.dup = rng_chance(r, 300000) ? (uint32_t)rng_below(r, 100000) : 0,
			.corrupt = rng_chance(r, 200000) ? 5000 : 0,
		};

		if (w->flood) /* one packet in a hundred falls */
			c = (struct sim_link_cfg){.rate_bps = 25000000000ull,
						  .delay_ns = c.delay_ns,
						  .loss = 10000,
						  .reorder = 20000,
						  .reorder_ns = 50000,
						  .dup = 1000};
		if (w->script)
			c.cut = w->blocked;
		at[e] = &w->link[e];
		sim_link_init(&w->link[e], &w->s, &c, deliver, &at[e]);
	}
}

void world_init(struct world *w, uint64_t seed, const char *replay, const struct world_cfg *cfg)
{
	memset(w, 0, sizeof(*w));
	sim_init(&w->s, seed, replay);
	w->s.now = 1000 * MSEC;
	w->skip_drain = cfg->skip_drain;
	w->flood = cfg->flood;
	w->script = cfg->script;
	w->carried = cfg->over != DATAGRAMS;
	w->switching = cfg->over == SWITCHING;
	w->blocked = cfg->over == CARRIER;
	w->rel = w->flood ? RT_REL_BOUNDED : w->script ? RT_REL_FULL : (enum rt_rel)rng_below(&w->s.rng, 3);
	w->window = VQT_WINDOW_MIN << rng_below(&w->s.rng, 3);
	w->max_inflight = VQT_INFLIGHT_MIN << rng_below(&w->s.rng, 5);
	w->mem_max = rng_chance(&w->s.rng, 500000) ? 4ull * VQT_REQ_MAX : 64ull << 20;
	w->slow_ns = 20 * MSEC;
	w->frames = frame_pool_create(2048);
	w->bufs = buf_pool_create(64, 2048);
	w->wire = buf_pool_create(8192, 1536);
	for (unsigned q = 0; q < 2; q++) {
		fake_ring_init(&w->net[q]);
		fake_ring_init(&w->blk[q]);
	}
	draw_links(w);
	w->by_key = !w->script && !w->flood && rng_chance(&w->s.rng, 500000);
	w->scarce = w->by_key && rng_chance(&w->s.rng, 500000);
	adapter_init(w);
	carrier_init(w);
	host_start(w);
	session_up(&w->s, w, 0);
	sim_at(&w->s, w->s.now, poll_all, w, 0);
	if (w->switching || !(cfg->steady || cfg->flood))
		sim_at(&w->s, w->s.now + 5 * MSEC, fault, w, 0);
}

void world_run(struct world *w, uint64_t ns)
{
	uint64_t end = w->s.now + ns;

	while (sim_step(&w->s, end))
		;
}

void world_finish(struct world *w)
{
	uint64_t end;

	w->calm = true;
	/* The largest frame, whatever came before. */
	if (!w->script)
		w->refused = FRAME_MAX;
	for (unsigned e = 0; e < 2; e++) {
		w->link[e].cfg = (struct sim_link_cfg){.delay_ns = 5000, .cut = w->blocked && !w->switching};
	}
	end = w->s.now + 3000 * MSEC;
	while ((w->g.busy || w->pending || !w->peer || w->mem || w->refused || w->net[1].taken ||
		w->net[1].head != w->net[1].tail) &&
	       w->s.now < end)
		world_run(w, MSEC);
	sim_check(&w->s, w->net[1].head == w->net[1].tail && !w->net[1].taken,
		  "frames of the guest wait for ever");
	sim_check(&w->s, !w->refused, "a frame of %u bytes waits for ever", w->refused);
	sim_check(&w->s, !w->g.busy, "%u requests never ended", w->g.busy);
	sim_check(&w->s, w->mem == 0, "memory is still held");
	guest_check(w);
	check_honest(w);
	w->resent += vqt_hdev_counters(w->hblk)[VQT_HD_requests_resent];
}

void world_fini(struct world *w)
{
	session_down(w);
	vqt_host_destroy(w->host);
	for (unsigned q = 0; q < 2; q++) {
		fake_ring_fini(&w->net[q]);
		fake_ring_fini(&w->blk[q]);
	}
	adapter_fini(w);
	frame_pool_destroy(w->frames); /* both assert that all is back */
	buf_pool_destroy(w->bufs);
	carrier_fini(w);
	buf_pool_destroy(w->wire);
	sim_fini(&w->s);
}

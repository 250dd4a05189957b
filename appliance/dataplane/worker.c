/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The worker's loop and everything it owns. One turn:
 *
 *	letters -> fabric in -> uplinks in -> backends -> tunnels -> fabric out -> uplinks out -> sleep?
 *
 * A frame or completion that one step makes for another session marks that session; marked
 * sessions are served at the end of the turn, so that a burst leaves as a train.
 */
#include <assert.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <rte_eal.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "appliance/dataplane/worker_impl.h"
#include "fabric/base/clock.h"
#include "fabric/base/log.h"
#include "fabric/link/link_pipe.h"

COUNTERS_DEFINE(worker, WORKER_COUNTERS)

#define BDEV_DEPTH	1024u
#define FRAMES		8192u
#define WAITING_BUFS	16384u
#define WAITING_SIZE	2048u
#define SHAPE_BUFS	256u
#define SHAPE_BUF_SIZE	(66u << 10)
#define BDEV_BURST	256
#define MEM_PER_SESSION (64ull << 20)
/* Frames of a session whose parts have not all come, those before a gap, and those on their way through the
 * switch; memory for frames that are copied. */
#define SESSION_PENDING 1024u
#define SESSION_FRAMES	(SESSION_PENDING + 256u)
#define SESSION_BUFS	1024u
/* With fewer receive buffers left than this none is kept longer than a burst. */
#define RX_BUFS_LOW 64u
/* Without news for so many turns the worker sleeps. */
#define IDLE_TURNS 16u
/* Ports without interrupts are looked at so often at least; the wait doubles while nothing comes. */
#define PORT_WAIT_MIN_NS (50 * NSEC_PER_USEC)
#define PORT_WAIT_MAX_NS NSEC_PER_MSEC
#define WAIT_MAX_NS	 NSEC_PER_SEC
/* Packets of control channels that wait for one turn. */
#define PIPE_DEPTH   512u
#define PIPE_PAYLOAD (RT_CHUNK_MAX + 64u)
#define TICK_NS	     (100 * NSEC_PER_MSEC)

static void count(struct worker *w, enum worker_counter c, uint64_t n)
{
	counter_add(&w->counters[c], n);
}

void worker_mark(struct wsession *s)
{
	if (list_empty(&s->marked))
		list_add_tail(&s->w->marked, &s->marked);
}

static void touched(void *session)
{
	worker_mark(session);
}

/* ---- frames ---- */

static void to_vnic(struct worker *w, uint32_t port, struct frame *f)
{
	struct vnic *v = w->config && port < w->config->nvnics ? w->config->vnics[port] : NULL;

	if (!v) {
		frame_put(f);
		return;
	}
	vnic_deliver(v, f, w->now);
}

void worker_forward(struct worker *w, uint32_t from, uint16_t vlan, struct frame *f)
{
	struct sw_out out;
	uint32_t n = sw_input(w->sw, from, vlan, f, w->now, &out);

	count(w, WORKER_C_frames_in, 1);
	if (!n) {
		frame_put(f);
		return;
	}
	for (uint32_t i = 0; i < n; i++) {
		struct frame *copy = i + 1 < n ? frame_clone(f) : f;

		if (!copy) {
			count(w, WORKER_C_drop_no_frame, 1);
			continue;
		}
		if (out.to[i].port >= DP_UPLINK_BASE)
			uplink_send(w, out.to[i].port, out.to[i].vlan, copy);
		else
			to_vnic(w, out.to[i].port, copy);
	}
}

static void from_vnic(void *ctx, uint32_t port, struct frame *f)
{
	worker_forward(ctx, port, 0, f);
}

/* ---- sessions ---- */

static void on_record(void *ctx, enum rt_class cls, uint32_t psn, const struct rt_rec *rec,
		      const uint8_t *data, struct buf *owner)
{
	struct wsession *s = ctx;
	struct buf_pool const *const *rx = s->w->rx_bufs;

	for (; *rx; rx++)
		if (buf_pool_available(*rx) < RX_BUFS_LOW)
			owner = NULL;
	vqt_peer_record(s->peer, cls, psn, rec, data, owner);
	worker_mark(s);
}

static void on_settled(void *ctx, enum rt_class cls, uint32_t base)
{
	struct wsession *s = ctx;

	vqt_peer_settled(s->peer, cls, base);
	worker_mark(s);
}

static void on_writable(void *ctx, enum rt_class cls)
{
	struct wsession *s = ctx;

	vqt_peer_writable(s->peer, cls);
	worker_mark(s);
}

static const struct rt_ops rt_calls = {
	.record = on_record,
	.settled = on_settled,
	.writable = on_writable,
};

/* No frame of a guest outlives the turn it came in, but those that the session itself keeps: what waits for
 * another guest is copied, and ports take what they send. */
static void session_free(struct wsession *s)
{
	worker_memory_fini(s);
	buf_pool_destroy(s->bufs);
	frame_pool_destroy(s->frames);
	free(s);
}

static int session_path(struct worker *w, struct wsession *s, const struct wsession_cfg *cfg, unsigned i)
{
	struct rt_path_cfg keys = cfg->keys[i];
	bool carrier = cfg->link[i] == DP_CARRIER;
	int r;

	keys.backup = cfg->rank[i];
	r = ep_session_path(s->eps, cfg->path[i], carrier ? w->pipe_index : cfg->link[i], &keys, NULL,
			    w->now);
	OPENSSL_cleanse(&keys, sizeof(keys));
	return r;
}

int worker_session_add(struct worker *w, const struct wsession_cfg *cfg, struct wsession **out)
{
	struct wsession *s = calloc(1, sizeof(*s));
	struct vqt_peer_cfg pc = {
		.ops = &device_tunnel_ops,
		.mem = reqmem_door(&w->reqmem),
		.move = {.start = w->moves ? worker_move : NULL, .ctx = s},
		.mem_max = MEM_PER_SESSION,
		.net_pending = SESSION_PENDING,
		.seed = cfg->seed,
	};
	struct rt_cfg rc = cfg->rt;
	int r = -ENOMEM;

	if (!s)
		return r;
	list_init(&s->marked);
	worker_memory_init(s, cfg->seed);
	s->w = w;
	s->id = cfg->id;
	list_init(&s->starved);
	for (unsigned i = 0; i < cfg->npaths; i++)
		if (cfg->link[i] != DP_CARRIER)
			s->verbs[cfg->path[i]] = w->verbs[cfg->link[i]];
	pc.bulk = worker_bulk_door(s);
	pc.frames = s->frames = frame_pool_create(SESSION_FRAMES);
	pc.bufs = s->bufs = buf_pool_create(SESSION_BUFS, WAITING_SIZE);
	if (!s->frames || !s->bufs)
		goto fail;
	rc.ops = &rt_calls;
	rc.ctx = s;
	s->rt = rt_create(&rc, w->now, &r);
	if (!s->rt)
		goto fail;
	pc.rt = s->rt;
	s->peer = vqt_peer_create(&pc, &r);
	if (!s->peer)
		goto fail;
	s->eps = ep_session_add(w->ep, s->rt, s);
	r = s->eps ? 0 : -ENOMEM;
	for (unsigned i = 0; !r && i < cfg->npaths; i++)
		r = session_path(w, s, cfg, i);
	if (r)
		goto fail;
	list_add_tail(&w->sessions, &s->node);
	*out = s;
	return 0;
fail:
	vqt_peer_destroy(s->peer);
	if (s->eps)
		ep_session_del(s->eps);
	else
		rt_destroy(s->rt);
	session_free(s);
	return r;
}

void worker_session_del(struct worker *w, struct wsession *s)
{
	(void)w;
	list_del(&s->node);
	list_del(&s->marked);
	list_del(&s->starved);
	worker_rdma_close(s);
	list_for_each_safe (it, &s->moves)
		container_of(it, struct wmove, node)->s = NULL;
	vqt_peer_destroy(s->peer);
	ep_session_del(s->eps);
	session_free(s);
}

int worker_session_rekey(struct worker *w, struct wsession *s, unsigned path, const struct rt_path_cfg *next)
{
	worker_mark(s);
	return ep_session_rekey(s->eps, path, next, true, w->now);
}

struct rt *wsession_rt(struct wsession *s)
{
	return s->rt;
}

const uint64_t *wsession_tunnel_counters(const struct wsession *s)
{
	return vqt_peer_counters(s->peer);
}

bool wsession_peer(const struct wsession *s, unsigned path, struct link_addr *peer)
{
	return ep_session_peer(s->eps, path, peer);
}

/* Tells control, once, that a session is over. */
static void give_up(struct wsession *s, const char *reason)
{
	if (s->given_up)
		return;
	s->given_up = true;
	dp_session_over(s->w->dp, s->id, reason);
}

static void on_lost(struct ep_session *eps, void *arg)
{
	(void)arg;
	give_up(ep_session_ctx(eps), "its transport was silent for too long");
}

static void serve_sessions(struct worker *w)
{
	struct list *it;

	while ((it = list_pop(&w->marked))) {
		struct wsession *s = container_of(it, struct wsession, marked);
		const char *bad;

		vqt_peer_service(s->peer, w->now);
		ep_session_touch(s->eps);
		bad = vqt_peer_bad(s->peer);
		if (bad)
			give_up(s, bad);
	}
}

/* ---- devices ---- */

int worker_vnic_bind(struct worker *w, struct wsession *s, struct vnic *v, uint16_t wire, uint32_t epoch,
		     uint32_t window, enum rt_rel rel)
{
	struct vnic_world world = {
		.forward = from_vnic,
		.touched = touched,
		.ctx = w,
		.frames = w->frames,
		.bufs = w->shape_bufs,
		.waiting = w->waiting,
		.kept = worker_bulk_slots(w),
	};

	return vnic_bind(v, &world, s->peer, s, wire, epoch, window, rel);
}

void worker_vnic_unbind(struct worker *w, struct vnic *v)
{
	(void)w;
	vnic_unbind(v);
}

int worker_vdisk_add(struct worker *w, struct vdisk *d)
{
	int r;

	if (w->ndisks == WORKER_DISKS)
		return -ENOSPC;
	r = vdisk_join(d, w->bdevs);
	if (r)
		return r;
	w->disks[w->ndisks++] = d;
	return 0;
}

void worker_vdisk_del(struct worker *w, struct vdisk *d)
{
	for (unsigned i = 0; i < w->ndisks; i++) {
		if (w->disks[i] == d) {
			w->disks[i] = w->disks[--w->ndisks];
			vdisk_leave(d);
			return;
		}
	}
}

int worker_vdisk_bind(struct worker *w, struct wsession *s, struct vdisk *d, uint16_t wire, uint32_t epoch)
{
	const struct vdisk_world world = {.touched = touched, .needy = &w->needy};

	return vdisk_bind(d, &world, s->peer, s, s->id, wire, epoch);
}

int worker_vdisk_unbind(struct worker *w, struct vdisk *d, void (*unbound)(void *arg), void *arg)
{
	return vdisk_unbind(d, w->now, unbound, arg);
}

int worker_publish(struct worker *w, const struct dp_config *next, const struct dp_config **prev)
{
	int r = sw_apply(w->sw, &next->sw);

	if (r)
		return r;
	uplinks_release(w, true);
	uplinks_out(w);
	*prev = w->config;
	w->config = next;
	w->has_uplinks = false;
	for (uint32_t i = 0; i < DP_UPLINKS; i++)
		if (next->uplinks[i])
			w->has_uplinks = true;
	return 0;
}

void worker_counters(struct worker *w)
{
	for (uint32_t i = 0; w->config && i < w->config->nvnics; i++)
		if (w->config->vnics[i])
			vnic_publish(w->config->vnics[i]);
	for (unsigned i = 0; i < w->ndisks; i++)
		vdisk_publish(w->disks[i]);
}

const uint64_t *worker_switch_counters(struct worker *w, uint32_t port)
{
	return sw_port_counters(w->sw, port);
}

const uint64_t *worker_network_counters(struct worker *w, uint32_t network)
{
	return sw_network_counters(w->sw, network);
}

/* ---- the loop ---- */

/* Complete what the backends have done, and let go on what waited for that. */
static int backends(struct worker *w)
{
	int n = bdev_group_poll(w->bdevs, w->now, BDEV_BURST);
	struct list needy, *it;
	struct vdisk *d;

	if (n <= 0 && !w->moved)
		return n;
	w->moved = false;
	list_init(&needy);
	/* Those that need it once more go on the list that is walked next time. */
	while ((it = list_pop(&w->needy)) != NULL)
		list_add_tail(&needy, it);
	while ((d = vdisk_next(&needy)) != NULL)
		vdisk_service(d, w->now);
	return n;
}

static int turn(struct worker *w)
{
	int news = (int)mailbox_drain(&w->down), n;
	bool more, tick;

	n = ep_poll(w->ep, &w->now);
	if (n < 0 && !w->link_broken) {
		w->link_broken = true;
		log_err("fabric: receiving failed (%s)", strerror(-n));
	}
	news += n > 0 ? n : 0;
	more = n >= EP_BURST;
	news += uplinks_in(w);
	uplinks_release(w, false);
	news += backends(w);
	news += !list_empty(&w->marked);
	serve_sessions(w);
	/* What the tunnels just handed over goes to the kernel now, not a turn later. */
	news += backends(w);
	worker_bulk_serve(w);
	serve_sessions(w);
	more |= bdev_group_more(w->bdevs);
	ep_flush(w->ep, more, w->now);
	uplinks_out(w);
	tick = w->now >= w->tick_at;
	if (tick) {
		w->tick_at = w->now + TICK_NS;
		sw_tick(w->sw, w->now, 64);
		ep_reap(w->ep, on_lost, NULL);
	}
	if (tick || !list_empty(&w->rdma_waits))
		worker_rdma_news(w);
	return news;
}

static void sleep_until_news(struct worker *w)
{
	struct epoll_event ev[8];
	uint64_t now = clock_now_ns(), wait = WAIT_MAX_NS, at;
	struct timespec ts;
	int n;

	uplinks_release(w, true);
	if (!bdev_group_arm(w->bdevs) || !mailbox_empty(&w->down) || !list_empty(&w->marked))
		return;
	at = ep_deadline(w->ep);
	if (bdev_group_deadline(w->bdevs) < at)
		at = bdev_group_deadline(w->bdevs);
	if (at <= now)
		return;
	if (at - now < wait)
		wait = at - now;
	if (w->polled || w->has_uplinks) {
		if (w->port_wait < wait)
			wait = w->port_wait;
		w->port_wait = w->port_wait * 2 > PORT_WAIT_MAX_NS ? PORT_WAIT_MAX_NS : w->port_wait * 2;
	}
	ts.tv_sec = (time_t)(wait / NSEC_PER_SEC);
	ts.tv_nsec = (long)(wait % NSEC_PER_SEC);
	count(w, WORKER_C_sleeps, 1);
	n = epoll_pwait2(w->epoll, ev, 8, &ts, NULL);
	for (int i = 0; i < n; i++)
		if (ev[i].data.fd == mailbox_fd(&w->down))
			mailbox_clear(&w->down);
}

int worker_main(void *arg)
{
	struct worker *w = arg;
	unsigned idle = 0;

	while (!w->stop) {
		w->now = clock_now_ns();
		count(w, WORKER_C_loops, 1);
		if (turn(w)) {
			count(w, WORKER_C_busy_loops, 1);
			w->port_wait = PORT_WAIT_MIN_NS;
			idle = 0;
			continue;
		}
		if (w->sleep_idle && ++idle >= IDLE_TURNS)
			sleep_until_news(w);
	}
	return 0;
}

static int watch(struct worker *w, int fd)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.fd = fd};

	return epoll_ctl(w->epoll, EPOLL_CTL_ADD, fd, &ev) ? -errno : 0;
}

int worker_init(struct worker *w, const struct dp_cfg *cfg, struct dp *dp, uint64_t seed)
{
	struct link_pipe_cfg pc = {
		.carry = dp_carry, .ctx = dp, .depth = PIPE_DEPTH, .max_payload = PIPE_PAYLOAD};
	int r, fd;

	memset(w, 0, sizeof(*w));
	list_init(&w->sessions);
	list_init(&w->marked);
	list_init(&w->needy);
	list_init(&w->starved);
	w->dp = dp;
	w->sleep_idle = cfg->sleep_idle;
	w->now = clock_now_ns();
	w->port_wait = PORT_WAIT_MIN_NS;
	list_init(&w->rdma_waits);
	reqmem_init(&w->reqmem);
	list_init(&w->free_moves);
	r = mailbox_init(&w->down);
	if (r)
		return r;
	w->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (w->epoll < 0)
		return -errno;
	w->frames = frame_pool_create(FRAMES);
	w->waiting = buf_pool_create(WAITING_BUFS, WAITING_SIZE);
	for (unsigned i = 0, n = 0; i <= EP_LINKS; i++) {
		const struct buf_pool *p = i ? cfg->rdma_bufs[i - 1] : cfg->rx_bufs;

		if (p)
			w->rx_bufs[n++] = p;
	}
	w->shape_bufs = buf_pool_create(SHAPE_BUFS, SHAPE_BUF_SIZE);
	w->sw = sw_create(&cfg->limits);
	w->ep = ep_create(seed);
	w->pipe_bufs = buf_pool_create(PIPE_DEPTH, PIPE_PAYLOAD);
	pc.pool = w->pipe_bufs;
	w->pipe = pc.pool ? link_pipe_create(&pc) : NULL;
	r = uplinks_open(w, cfg->gro_hold_ns);
	if (r)
		return r;
	w->bdevs = bdev_group_create(BDEV_DEPTH, &r);
	if (!w->frames || !w->waiting || !w->shape_bufs || !w->pipe || !w->sw || !w->ep || !w->bdevs)
		return w->bdevs ? -ENOMEM : r;
	ep_set_clock(w->ep, clock_now_ns);
	memcpy(w->verbs, cfg->verbs, sizeof(w->verbs));
	worker_arena_open(w, seed);
	r = worker_bulk_open(w);
	if (r)
		return r;
	for (unsigned i = 0; i < cfg->nlinks; i++) {
		r = ep_link_add(w->ep, cfg->link[i]);
		if (r < 0)
			return r;
		fd = cfg->link[i]->ops->fd(cfg->link[i]);
		if (fd < 0)
			w->polled = true;
		r = fd < 0 ? 0 : watch(w, fd);
		if (r)
			return r;
	}
	r = ep_link_add(w->ep, w->pipe);
	if (r < 0)
		return r;
	w->pipe_index = (unsigned)r;
	r = watch(w, mailbox_fd(&w->down));
	if (!r)
		r = watch(w, bdev_group_fd(w->bdevs));
	return r;
}

void worker_fini(struct worker *w)
{
	uplinks_close(w);
	bdev_group_destroy(w->bdevs);
	ep_destroy(w->ep);
	worker_bulk_close(w);
	sw_destroy(w->sw);
	buf_pool_destroy(w->shape_bufs);
	buf_pool_destroy(w->pipe_bufs);
	buf_pool_destroy(w->waiting);
	frame_pool_destroy(w->frames);
	worker_arena_close(w);
	reqmem_fini(&w->reqmem);
	if (w->epoll > 0)
		close(w->epoll);
	mailbox_fini(&w->down);
}

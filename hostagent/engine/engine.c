/* SPDX-License-Identifier: Apache-2.0 */
#include "hostagent/engine/engine_impl.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "fabric/base/clock.h"
#include "fabric/base/log.h"
#include "fabric/link/link_pipe.h"
#include "fabric/link/link_udp.h"

/* Chains and KiB per turn; then what was copied is sealed and sent, while it is in the nearest cache, and the
 * sockets are looked at again, so that neither direction starves. */
#define SERVICE_BUDGET 256u
/* Turns before the loop looks at its other events: kicks of other guests, control session. About 1 MiB. */
#define RUN_TURNS 4
/* Nearer deadlines need more than a timer of whole milliseconds: not the probe timeouts, which move with each
 * burst. */
#define SOON_NS (500 * NSEC_PER_USEC)
/* Received trains that may be held at once: frames in reassembly, bursts. */
#define RX_BUFS 48u

/* Packets of the control channel that wait for one turn of the loop. */
#define PIPE_DEPTH   256u
#define PIPE_PAYLOAD (RT_CHUNK_MAX + 64u)

COUNTERS_DEFINE(engine, ENGINE_COUNTERS)

void engine_wake(struct engine *e)
{
	event_active(e->work, EV_TIMEOUT, 0);
}

/* For the run itself. An event that is made active from its own callback runs again before the loop looks at
 * any descriptor: no other guest's kick would be seen, and no timer, while one guest always has more. */
static void wake_next(struct engine *e)
{
	static const struct timeval at_once;

	event_add(e->work, &at_once);
}

/* One look too many costs less than a call for each deadline that is put off. */
static void arm_soon(struct engine *e, uint64_t at, uint64_t now)
{
	struct itimerspec t = {.it_value = {(time_t)(at / NSEC_PER_SEC), (long)(at % NSEC_PER_SEC) | 1}};

	if (e->soon_at > now && e->soon_at <= at)
		return;
	e->soon_at = at;
	timerfd_settime(e->soon_fd, TFD_TIMER_ABSTIME, &t, NULL);
}

static void arm(struct engine *e, uint64_t now)
{
	uint64_t at = e->ep ? ep_deadline(e->ep) : UINT64_MAX, wait;
	struct timeval tv;

	if (at == e->timer_at) /* although it is near by now */
		return;
	if (at < now + SOON_NS) {
		arm_soon(e, at, now);
		return;
	}
	e->timer_at = at;
	if (at == UINT64_MAX) {
		evtimer_del(e->timer);
		return;
	}
	wait = (at - now) / NSEC_PER_USEC + 1;
	tv.tv_sec = (time_t)(wait / 1000000);
	tv.tv_usec = (suseconds_t)(wait % 1000000);
	evtimer_add(e->timer, &tv);
}

static void lost(struct ep_session *s, void *arg)
{
	(void)s;
	*(bool *)arg = true;
}

/* Whether to look again at once although nothing is ready. Work came less than poll_ns after the work before
 * it, so the next is about as near: then a sleep would cost more than it saves. Seldom work never polls. */
static bool poll_on(struct engine *e, bool worked, uint64_t now)
{
	if (!e->poll_ns)
		return false;
	if (worked) {
		e->poll_until = now - e->worked_at < e->poll_ns ? now + e->poll_ns : 0;
		e->worked_at = now;
	} else {
		counter_add(&e->counters[ENGINE_C_polls_empty], 1);
	}
	return now < e->poll_until;
}

/* Everything that is ready, in both directions, until nothing is. */
static void run(evutil_socket_t fd, short what, void *arg)
{
	struct engine *e = arg;
	uint64_t now = clock_now_ns();
	bool more = true, gone = false, worked = e->kicked;
	int n = 0;

	(void)fd;
	(void)what;
	e->kicked = false;
	counter_add(&e->counters[ENGINE_C_runs], 1);
	for (int turn = 0; more && turn < RUN_TURNS; turn++) {
		n = e->ep ? ep_poll(e->ep, &now) : 0;
		if (n < 0)
			break;
		fe_turn_begin();
		more = vqt_host_service(e->host, SERVICE_BUDGET, now) || n > 0;
		fe_turn_end();
		worked |= more;
		if (e->ep) {
			ep_session_touch(e->session);
			ep_flush(e->ep, more, now);
		}
		now = clock_now_ns();
	}
	if (poll_on(e, worked, now) || more)
		wake_next(e);
	arm(e, now);
	engine_settle(e);
	engine_rdma_settle(e);
	if (!e->ep || e->lost)
		return;
	ep_reap(e->ep, lost, &gone);
	if (gone || n < 0) {
		e->lost = true;
		e->up->lost(e->ctx, n < 0 ? "the fabric socket is broken"
					  : "the fabric is silent: the appliance answers on its "
					    "control port but not on UDP; look at the path between");
	}
}

static void on_link(evutil_socket_t fd, short what, void *arg)
{
	run(fd, what, arg);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct engine *e = arg;

	if (fd == e->soon_fd)
		e->soon_at = 0;
	else
		e->timer_at = 0;
	run(fd, what, arg);
}

int engine_create(const struct engine_cfg *cfg, struct engine **out)
{
	struct engine *e = calloc(1, sizeof(*e));
	uint64_t seed;

	if (!e)
		return -ENOMEM;
	RAND_bytes((uint8_t *)&seed, sizeof(seed));
	list_init(&e->devs);
	e->base = cfg->base;
	e->poll_ns = cfg->poll_ns;
	e->up = cfg->up;
	e->ctx = cfg->ctx;
	e->lanes = cfg->lanes;
	e->lane = cfg->lane;
	e->run_dir = strdup(cfg->run_dir);
	e->group = cfg->group;
	if (cfg->impair) {
		e->impair = *cfg->impair;
		e->impaired = true;
	}
	for (; e->nrdma < cfg->nrdma && e->nrdma < ENGINE_RDMA_PORTS; e->nrdma++)
		e->rdma_port[e->nrdma] = cfg->rdma[e->nrdma];
	e->host = vqt_host_create(&edev_tunnel_calls, seed);
	e->bufs = buf_pool_create(RX_BUFS, LINK_UDP_BUF_SIZE);
	e->work = event_new(cfg->base, -1, 0, run, e);
	e->timer = evtimer_new(cfg->base, on_timer, e);
	/* Edge-triggered, it need not be read. */
	e->soon_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	e->soon = e->soon_fd < 0
			  ? NULL
			  : event_new(cfg->base, e->soon_fd, EV_READ | EV_PERSIST | EV_ET, on_timer, e);
	if (!e->run_dir || !e->host || !e->bufs || !e->work || !e->timer || !e->soon ||
	    event_add(e->soon, NULL) || engine_lane_up(e)) {
		engine_destroy(e);
		return -ENOMEM;
	}
	*out = e;
	return 0;
}

void engine_destroy(struct engine *e)
{
	if (!e)
		return;
	engine_session_down(e);
	engine_lane_down(e);
	list_for_each_safe (it, &e->devs)
		edev_destroy(container_of(it, struct edev, node));
	if (e->host)
		vqt_host_destroy(e->host);
	buf_pool_destroy(e->bufs);
	buf_pool_destroy(e->pipe_bufs);
	if (e->work)
		event_free(e->work);
	if (e->timer)
		event_free(e->timer);
	if (e->soon)
		event_free(e->soon);
	if (e->soon_fd >= 0)
		close(e->soon_fd);
	free(e->run_dir);
	free(e);
}

static bool carry(void *ctx, const struct link_addr *to, const uint8_t *data, uint32_t len)
{
	struct engine *e = ctx;

	(void)to;
	return e->up->carry(e->ctx, data, len);
}

/* The path inside the control channel, for where UDP does not come through. */
static int carrier_up(struct engine *e, const struct engine_path *p, uint64_t now)
{
	struct link_pipe_cfg pc = {
		.carry = carry, .ctx = e, .depth = PIPE_DEPTH, .max_payload = PIPE_PAYLOAD};
	struct rt_path_cfg keys = p->keys;
	struct link_addr peer;
	int i, r;

	if (!e->pipe_bufs)
		e->pipe_bufs = buf_pool_create(PIPE_DEPTH, PIPE_PAYLOAD);
	pc.pool = e->pipe_bufs;
	e->pipe = pc.pool ? link_pipe_create(&pc) : NULL;
	if (!e->pipe)
		return -ENOMEM;
	i = ep_link_add(e->ep, e->pipe);
	if (i < 0) {
		e->pipe->ops->destroy(e->pipe);
		e->pipe = NULL;
		return i;
	}
	/* Of an appliance that gives no ranks. */
	if (!keys.backup)
		keys.backup = 1;
	link_pipe_address(&peer, 1);
	r = ep_session_path(e->session, p->index, (unsigned)i, &keys, &peer, now);
	OPENSSL_cleanse(&keys, sizeof(keys));
	return r;
}

int engine_rekey(struct engine *e, unsigned path, const struct rt_path_cfg *next)
{
	int r = e->ep ? ep_session_rekey(e->session, path, next, false, clock_now_ns()) : -ENOTCONN;

	engine_wake(e);
	return r;
}

void engine_carried(struct engine *e, const uint8_t *data, size_t len)
{
	struct link_addr from;

	if (!e->pipe || len > PIPE_PAYLOAD)
		return;
	link_pipe_address(&from, 1);
	link_pipe_push(e->pipe, &from, data, (uint32_t)len);
	engine_wake(e);
}

/* What kernel or NIC lack, once per path and life: it decides what a byte costs. */
static void tell_offloads(struct engine *e, const struct engine_path *p, const struct link *l)
{
	struct link_udp_info i;

	if (e->told_offloads >> p->index & 1)
		return;
	e->told_offloads |= 1u << p->index;
	link_udp_get_info(l, &p->peer, &i);
	if (!i.gso || !i.gro)
		log_warn("fabric: the kernel lacks UDP %s: expect several times the CPU per byte; Linux 5.0 "
			 "or newer has it",
			 i.gso ? "GRO" : "segmentation offload");
	if (!i.ifname[0])
		return;
	if (i.gso && !i.uso)
		log_warn("fabric: %s does not segment UDP: the kernel sends each datagram by itself, for "
			 "about "
			 "three times the CPU per byte sent. If the NIC can: ethtool -K %s tx on "
			 "tx-udp-segmentation on",
			 i.ifname, i.ifname);
	if (i.gro && !i.nic_gro)
		log_warn("fabric: %s does not gather received datagrams: each comes up by itself, for three "
			 "to "
			 "ten times the CPU per byte received; ethtool -K %s gro on",
			 i.ifname, i.ifname);
}

/* One UDP socket per path: its port is the path's entropy. */
static int path_up(struct engine *e, const struct engine_path *p, uint64_t now)
{
	struct link_addr any = {.port = 0};
	struct link *l;
	int r;

	if (!memcmp(p->peer.ip, "\0\0\0\0\0\0\0\0\0\0\xff\xff", 12))
		any.ip[10] = any.ip[11] = 0xff;
	l = link_udp_create(&any, e->bufs, &r);
	if (!l) {
		log_err("fabric: cannot open a UDP socket (%s)", strerror(-r));
		return r;
	}
	tell_offloads(e, p, l);
	return engine_link_up(e, l, p, &p->peer, now);
}

int engine_link_up(struct engine *e, struct link *l, const struct engine_path *p,
		   const struct link_addr *peer, uint64_t now)
{
	int i;

	if (e->impaired) {
		struct link *under = l;

		l = link_impair_create(under, &e->impair);
		if (!l) {
			under->ops->destroy(under);
			return -ENOMEM;
		}
	}
	i = ep_link_add(e->ep, l);
	if (i < 0) {
		l->ops->destroy(l);
		return i;
	}
	e->link_ev[i] = event_new(e->base, l->ops->fd(l), EV_READ | EV_PERSIST, on_link, e);
	if (!e->link_ev[i] || event_add(e->link_ev[i], NULL))
		return -ENOMEM;
	return ep_session_path(e->session, p->index, (unsigned)i, &p->keys, peer, now);
}

int engine_session_up(struct engine *e, const struct engine_session *cfg)
{
	uint64_t now = clock_now_ns(), seed;
	struct rt_cfg rc = {
		.ops = &vqt_host_rt_ops,
		.ctx = e->host,
		.aead = cfg->aead,
		.chunk = cfg->chunk,
		.chunk_max = cfg->chunk_max,
		.keepalive_ns = cfg->keepalive_ns,
		.lost_ns = cfg->lost_ns,
		.delay_spare_ns = RT_SPARE_SLEEPING_NS,
		.ack_delay_ns = RT_ACK_DELAY_SLEEPING_NS,
		.active = true,
	};
	struct rt *rt;
	unsigned up = 0;
	int r;

	if (e->ep)
		return -EALREADY;
	rt = rt_create(&rc, now, &r);
	if (!rt)
		return r;
	RAND_bytes((uint8_t *)&seed, sizeof(seed));
	e->ep = ep_create(seed);
	e->session = e->ep ? ep_session_add(e->ep, rt, e) : NULL;
	if (!e->session) {
		rt_destroy(rt);
		ep_destroy(e->ep);
		e->ep = NULL;
		return -ENOMEM;
	}
	ep_set_clock(e->ep, clock_now_ns);
	e->lost = false;
	for (unsigned i = 0; i < cfg->npaths; i++) {
		const struct engine_path *p = &cfg->path[i];

		r = p->carrier	   ? carrier_up(e, p, now)
		    : p->rdma_port ? engine_rdma_up(e, p, now)
				   : path_up(e, p, now);
		if (r)
			log_warn("fabric: path %u cannot be opened (%s)", cfg->path[i].index, strerror(-r));
		else
			up++;
	}
	if (!up) {
		engine_session_down(e);
		return r;
	}
	vqt_host_session(e->host, rt);
	engine_wake(e);
	return 0;
}

void engine_session_down(struct engine *e)
{
	if (!e->ep)
		return;
	vqt_host_session(e->host, NULL);
	for (unsigned i = 0; i < EP_LINKS; i++) {
		if (e->link_ev[i])
			event_free(e->link_ev[i]);
		e->link_ev[i] = NULL;
	}
	ep_destroy(e->ep);
	e->ep = NULL;
	e->session = NULL;
	e->pipe = NULL;
	engine_rdma_down(e);
	list_for_each_safe (it, &e->devs)
		edev_session_down(container_of(it, struct edev, node));
	engine_wake(e);
}

void engine_stats(struct engine *e, void (*fn)(void *arg, uint32_t dev, const char *name, uint64_t value),
		  void *arg)
{
	struct timespec cpu;

	list_for_each (it, &e->devs) {
		struct edev *d = container_of(it, struct edev, node);
		const uint64_t *c = d->hdev ? vqt_hdev_counters(d->hdev) : NULL;
		bool news = (d->hdev && vqt_hdev_news(d->hdev)) | (d->fe && fe_news(d->fe));
		const char *name;
		uint64_t v;

		if (!d->known || (!news && d->told))
			continue;
		d->told = true;
		for (unsigned i = 0; c && i < VQT_HDEV_NCOUNTERS; i++)
			fn(arg, d->dev, vqt_hdev_counter_names[i], c[i]);
		for (unsigned i = 0; d->fe && (name = fe_counter(d->fe, i, &v)); i++)
			fn(arg, d->dev, name, v);
	}
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu);
	e->counters[ENGINE_C_cpu_us] = (uint64_t)cpu.tv_sec * 1000000 + (uint64_t)cpu.tv_nsec / 1000;
	for (unsigned i = 0; i < ENGINE_NCOUNTERS; i++)
		fn(arg, UINT32_MAX, engine_counter_names[i], e->counters[i]);
	for (unsigned i = 0; i < VQT_HOST_NCOUNTERS; i++)
		fn(arg, UINT32_MAX, vqt_host_counter_names[i], vqt_host_counters(e->host)[i]);
	if (!e->ep)
		return;
	for (unsigned i = 0; i < RT_NCOUNTERS; i++)
		fn(arg, UINT32_MAX, rt_counter_names[i], rt_counters(ep_session_rt(e->session))[i]);
	for (unsigned i = 0; i < EP_NCOUNTERS; i++)
		fn(arg, UINT32_MAX, ep_counter_names[i], ep_counters(e->ep)[i]);
	engine_rdma_stats(e, fn, arg);
}

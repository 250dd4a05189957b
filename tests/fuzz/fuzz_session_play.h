/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For fuzz_session.c alone: the room appliance/hosts, compiled in with its neighbours played. Their names are
 * taken over by the preprocessor; letters to the worker and back wait in two queues until the script lets
 * them go.
 */
#ifndef OUTRIGGER_FUZZ_SESSION_PLAY_H
#define OUTRIGGER_FUZZ_SESSION_PLAY_H

#define chan_close		f_chan_close
#define chan_queued		f_chan_queued
#define chan_set_user		f_chan_set_user
#define chan_user		f_chan_user
#define chan_listen		f_chan_listen
#define chan_listener_free	f_chan_listener_free
#define chan_listener_counters	f_chan_listener_counters
#define session_send		f_session_send
#define control_host_check	f_control_host_check
#define control_store		f_control_store
#define store_epoch_raise	f_store_epoch_raise
#define store_error		f_store_error
#define dp_call			f_dp_call
#define dp_reply		f_dp_reply
#define dp_carried		f_dp_carried
#define dp_control_drain	f_dp_control_drain
#define dp_control_fd		f_dp_control_fd
#define dp_counters		f_dp_counters
#define dp_ep_counters		f_dp_ep_counters
#define dp_frames		f_dp_frames
#define dp_link			f_dp_link
#define port_dpdk_create	f_port_dpdk_create
#define worker_counters		f_worker_counters
#define worker_network_counters f_worker_network_counters
#define worker_switch_counters	f_worker_switch_counters
#define worker_publish		f_worker_publish
#define worker_session_add	f_worker_session_add
#define worker_session_del	f_worker_session_del
#define worker_session_rekey	f_worker_session_rekey
#define worker_session_rdma	f_worker_session_rdma
#define worker_session_memory	f_worker_session_memory
#define worker_vdisk_add	f_worker_vdisk_add
#define worker_vdisk_bind	f_worker_vdisk_bind
#define worker_vdisk_del	f_worker_vdisk_del
#define worker_vdisk_unbind	f_worker_vdisk_unbind
#define worker_vnic_bind	f_worker_vnic_bind
#define worker_vnic_unbind	f_worker_vnic_unbind
#define wsession_peer		f_wsession_peer
#define wsession_rt		f_wsession_rt
#define rt_path_info		f_rt_path_info
#define storage_open		f_storage_open
#define storage_release		f_storage_release
#define log_msg			f_log_msg

#include <assert.h>

#include "appliance/bdev/bdev_mem.h"

#include "appliance/hosts/attach.c"
#include "appliance/hosts/device.c"
#include "appliance/hosts/device_say.c"
#include "appliance/hosts/devmodel.c"
#include "appliance/hosts/hosts.c"
#include "appliance/hosts/lane_balance.c"
#include "appliance/hosts/lanes.c"
#include "appliance/hosts/publish.c"
#include "appliance/hosts/session.c"
#include "appliance/hosts/session_memory.c"
#include "appliance/hosts/session_rdma.c"
#include "appliance/hosts/session_rekey.c"

#define CHANS	6
#define LETTERS 4096
#define BINDS	64

struct chan {
	bool up;
	void *user;
	unsigned host;
};

struct wsession {
	unsigned bound;
};

/* What is bound at the played worker. */
struct bind {
	const void *dev;
	struct wsession *ws;
};

struct fifo {
	struct dp_call *c[LETTERS];
	unsigned head, tail;
};

static struct play {
	struct hosts *h;
	struct event_base *base;
	struct model *m;
	struct chan *chan[CHANS];
	struct chan *in; /* inside its message(): freed afterwards */
	struct fifo down, up;
	struct bind bind[BINDS];
	const void *joined[BINDS];
	struct {
		void (*fn)(void *arg);
		void *arg;
	} draining[BINDS];
	const struct dp_config *config;
	uint64_t epoch, bound_epoch;
	uint64_t last_id; /* of a session that was welcomed */
	unsigned sessions, bdevs;
	/* What goes wrong, set by the input. */
	bool send_fails, store_fails, open_fails, bind_fails, publish_fails, host_refused, slow_drain;
	int session_error;
	bool applying, shut;
} P;

/* ---- the neighbours ---- */

void f_log_msg(enum log_level level, const char *fmt, ...)
{
	char line[4096];
	va_list ap;

	(void)level;
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap); /* every argument is looked at */
	va_end(ap);
}

void f_chan_set_user(struct chan *c, void *user)
{
	c->user = user;
}

void *f_chan_user(const struct chan *c)
{
	return c->user;
}

size_t f_chan_queued(const struct chan *c)
{
	return c->up ? 0 : 1;
}

void f_chan_close(struct chan *c)
{
	if (!c || !c->up)
		return;
	c->up = false;
	for (int i = 0; i < CHANS; i++)
		if (P.chan[i] == c)
			P.chan[i] = NULL;
	session_chan_ops.down(P.h, c, "closed");
	if (P.in != c)
		free(c);
}

int f_chan_listen(const struct chan_listen_cfg *cfg, struct chan_listener **out)
{
	(void)cfg, (void)out;
	return -ENOMEM;
}

void f_chan_listener_free(struct chan_listener *l)
{
	assert(!l);
}

const uint64_t *f_chan_listener_counters(const struct chan_listener *l)
{
	(void)l;
	return NULL;
}

int f_session_send(struct chan *c, const Outrigger__Session__V1__Message *m)
{
	size_t len = outrigger__session__v1__message__get_packed_size(m);
	uint8_t *bytes = malloc(len + 1);
	Outrigger__Session__V1__Message *copy;

	assert(c->up);
	outrigger__session__v1__message__pack(m, bytes);
	copy = session_unpack(bytes, len);
	assert(copy && copy->body_case == m->body_case);
	if (copy->body_case == OUTRIGGER__SESSION__V1__MESSAGE__BODY_WELCOME)
		P.last_id = copy->welcome->session_id;
	outrigger__session__v1__message__free_unpacked(copy, NULL);
	free(bytes);
	return P.send_fails ? -ENOBUFS : 0;
}

int f_control_host_check(struct control *c, const char *name, const uint8_t fingerprint[32])
{
	(void)c, (void)name, (void)fingerprint;
	return P.host_refused ? -EACCES : 0;
}

struct store *f_control_store(struct control *c)
{
	(void)c;
	return NULL;
}

int f_store_epoch_raise(struct store *s, const char *volume, uint64_t *out)
{
	(void)s, (void)volume;
	if (P.store_fails)
		return -EIO;
	*out = ++P.epoch;
	return 0;
}

const char *f_store_error(const struct store *s)
{
	(void)s;
	return "full";
}

int f_storage_open(struct storage *s, const char *pool, const char *volume, uint64_t size, bool read_only,
		   struct bdev **out)
{
	(void)s, (void)pool, (void)volume, (void)read_only;
	if (P.open_fails || P.bdevs) /* one opener at a time */
		return -EBUSY;
	assert(!bdev_mem_open(size, 512, out));
	P.bdevs++;
	return 0;
}

void f_storage_release(struct storage *s, struct bdev *b)
{
	(void)s;
	P.bdevs--;
	bdev_close(b);
}

struct port *f_port_dpdk_create(const struct port_dpdk_cfg *cfg, int *err, char *why, size_t why_len)
{
	snprintf(why, why_len, "no port %s", cfg->dev);
	*err = -ENODEV;
	return NULL;
}

/* ---- the worker ---- */

static void put(struct fifo *f, struct dp_call *c)
{
	assert(f->tail - f->head < LETTERS);
	f->c[f->tail++ % LETTERS] = c;
}

void f_dp_call(struct dp *dp, struct dp_call *c)
{
	(void)dp;
	put(&P.down, c);
}

void f_dp_reply(struct dp_call *c)
{
	put(&P.up, c);
}

void f_dp_carried(struct dp *dp, uint64_t id, const uint8_t *data, size_t len)
{
	(void)dp, (void)id;
	for (size_t i = 0; i < len; i++)
		P.epoch += data[i] & 0; /* read */
}

void f_dp_control_drain(struct dp *dp)
{
	(void)dp;
}

int f_dp_control_fd(struct dp *dp)
{
	(void)dp;
	return -1;
}

struct frame_pool *f_dp_frames(struct dp *dp)
{
	(void)dp;
	return NULL;
}

static struct bind *bind_of(const void *dev)
{
	for (int i = 0; i < BINDS; i++)
		if (P.bind[i].dev == dev)
			return &P.bind[i];
	return NULL;
}

static int bind_to(const void *dev, struct wsession *ws)
{
	struct bind *b = bind_of(NULL);

	assert(!bind_of(dev) && b);
	if (P.bind_fails)
		return -ENOMEM;
	*b = (struct bind){dev, ws};
	ws->bound++;
	return 0;
}

static void unbind_from(const void *dev)
{
	struct bind *b = bind_of(dev);

	if (!b)
		return;
	b->ws->bound--;
	*b = (struct bind){NULL, NULL};
}

int f_worker_vnic_bind(struct worker *w, struct wsession *s, struct vnic *v, uint16_t wire, uint32_t epoch,
		       uint32_t window, enum rt_rel rel)
{
	(void)w, (void)epoch, (void)window, (void)rel;
	assert(wire && wire <= DEVICES_MAX && vnic_counters(v));
	return bind_to(v, s);
}

void f_worker_vnic_unbind(struct worker *w, struct vnic *v)
{
	(void)w;
	unbind_from(v);
}

static const void **joined_slot(const void *d)
{
	for (int i = 0; i < BINDS; i++)
		if (P.joined[i] == d)
			return &P.joined[i];
	return NULL;
}

int f_worker_vdisk_add(struct worker *w, struct vdisk *d)
{
	(void)w;
	assert(!joined_slot(d));
	*joined_slot(NULL) = d;
	return 0;
}

void f_worker_vdisk_del(struct worker *w, struct vdisk *d)
{
	(void)w;
	assert(!bind_of(d));
	if (joined_slot(d))
		*joined_slot(d) = NULL;
}

int f_worker_vdisk_bind(struct worker *w, struct wsession *s, struct vdisk *d, uint16_t wire, uint32_t epoch)
{
	(void)w, (void)wire;
	assert(joined_slot(d) && epoch > P.bound_epoch);
	P.bound_epoch = epoch;
	return bind_to(d, s);
}

int f_worker_vdisk_unbind(struct worker *w, struct vdisk *d, void (*unbound)(void *arg), void *arg)
{
	(void)w;
	unbind_from(d);
	for (int i = 0; P.slow_drain && i < BINDS; i++) {
		if (!P.draining[i].fn) {
			P.draining[i].fn = unbound;
			P.draining[i].arg = arg;
			return 0;
		}
	}
	unbound(arg);
	return 0;
}

static void drain_backends(void)
{
	for (int i = 0; i < BINDS; i++) {
		if (!P.draining[i].fn)
			continue;
		P.draining[i].fn(P.draining[i].arg);
		P.draining[i].fn = NULL;
	}
}

int f_worker_session_add(struct worker *w, const struct wsession_cfg *cfg, struct wsession **out)
{
	(void)w;
	assert(cfg->id && cfg->npaths && cfg->npaths <= RT_PATHS && cfg->rt.chunk >= RT_CHUNK_MIN &&
	       cfg->rt.chunk <= RT_CHUNK_MAX);
	for (unsigned i = 0; i < cfg->npaths; i++)
		assert(cfg->path[i] < RT_PATHS && cfg->keys[i].rx_spi && cfg->keys[i].tx_spi);
	if (P.session_error)
		return P.session_error;
	*out = calloc(1, sizeof(**out));
	P.sessions++;
	return 0;
}

int f_worker_session_rekey(struct worker *w, struct wsession *s, unsigned path,
			   const struct rt_path_cfg *next)
{
	(void)w;
	(void)s;
	return next->tx_spi && next->rx_spi && path < RT_PATHS ? 0 : -EINVAL;
}

int f_worker_session_rdma(struct worker *w, struct rdma_wait *wait, const struct verbs_end *theirs,
			  uint32_t psn, struct verbs_end *ours)
{
	(void)w;
	assert(wait->s && wait->path < RT_PATHS && theirs->mtu >= 1 && theirs->mtu <= 5);
	*ours = (struct verbs_end){.qpn = 1, .psn = psn & 0xffffff, .mtu = 3};
	if (P.bind_fails)
		return -ENOSPC;
	wait->done(wait, 0);
	return 0;
}

int f_worker_session_memory(struct worker *w, struct wsession *s, uint32_t dev,
			    const struct guest_region *regions, unsigned n)
{
	(void)w;
	assert(s && dev <= DEVICES_MAX && n <= GUEST_REGIONS);
	for (unsigned i = 0; i < n; i++)
		assert(regions[i].id && regions[i].length);
	return P.bind_fails ? -ENOSPC : 0;
}

void f_worker_session_del(struct worker *w, struct wsession *s)
{
	(void)w;
	assert(!s->bound);
	P.sessions--;
	free(s);
}

int f_worker_publish(struct worker *w, const struct dp_config *next, const struct dp_config **prev)
{
	(void)w;
	if (P.publish_fails)
		return -ENOSPC;
	*prev = P.config;
	P.config = next;
	return 0;
}

void f_worker_counters(struct worker *w)
{
	(void)w;
}

const uint64_t *f_worker_switch_counters(struct worker *w, uint32_t port)
{
	(void)w, (void)port;
	return NULL;
}

const uint64_t *f_worker_network_counters(struct worker *w, uint32_t network)
{
	(void)w, (void)network;
	return NULL;
}

bool f_wsession_peer(const struct wsession *s, unsigned path, struct link_addr *peer)
{
	(void)path, (void)peer;
	return s->bound > 1000; /* reads it */
}

struct rt *f_wsession_rt(struct wsession *s)
{
	return s->bound > 1000 ? (struct rt *)s : NULL;
}

void f_rt_path_info(const struct rt *rt, unsigned path, struct rt_path_info *info)
{
	(void)rt, (void)path, (void)info;
}

static bool worker_step(void)
{
	struct dp_call *c;

	if (P.down.head == P.down.tail)
		return false;
	c = P.down.c[P.down.head++ % LETTERS];
	if (c->fn(NULL, c) == DP_DONE)
		put(&P.up, c);
	for (uint32_t i = 0; P.config && i < P.config->nvnics; i++)
		if (P.config->vnics[i])
			assert(vnic_counters(P.config->vnics[i])[0] == 0);
	return true;
}

static bool control_step(void)
{
	struct dp_call *c;

	if (P.up.head == P.up.tail)
		return false;
	c = P.up.c[P.up.head++ % LETTERS];
	c->done(c);
	return true;
}

static void loop(void)
{
	event_base_loop(P.base, EVLOOP_NONBLOCK);
}

static void run_all(void)
{
	do {
		while (worker_step() || control_step())
			;
		loop();
	} while (P.down.head != P.down.tail || P.up.head != P.up.tail);
}

#endif

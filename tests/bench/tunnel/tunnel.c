/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/tunnel/tunnel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fabric/base/clock.h"

#define TRAIN_MAX   47u
#define TRAIN_BYTES (TRAIN_MAX * 1400u) /* received at a time */
#define TRAINS	    256u

uint64_t tunnel_now = 1000000000;

/* What is on the wire. */
struct train {
	struct buf *buf;
	uint32_t len[TRAIN_MAX];
	int n;
};

static const char *program;
static struct buf_pool *trains;
static struct train wire[TRAINS];
static unsigned on_wire;
static uint64_t spent[TUNNEL_STAGES], mark;

void tunnel_init(const char *name)
{
	program = name;
	trains = buf_pool_create(TRAINS, TRAIN_BYTES);
	if (!trains)
		tunnel_fail("out of memory");
}

void tunnel_fail(const char *what)
{
	fprintf(stderr, "%s: %s\n", program, what);
	exit(1);
}

/* ---- the host end's callbacks ---- */

static void broken(void *user, unsigned vq, const char *reason)
{
	(void)user;
	(void)vq;
	tunnel_fail(reason);
}

static void stopped(void *user, unsigned vq)
{
	(void)user;
	(void)vq;
}

static void idle(void *user)
{
	(void)user;
}

/* ---- the appliance's transport, which is made before its peer ---- */

static void record(void *ctx, enum rt_class cls, uint32_t psn, const struct rt_rec *rec, const uint8_t *data,
		   struct buf *owner)
{
	vqt_peer_record(((struct tunnel *)ctx)->peer, cls, psn, rec, data, owner);
}

static void settled(void *ctx, enum rt_class cls, uint32_t base)
{
	vqt_peer_settled(((struct tunnel *)ctx)->peer, cls, base);
}

static void writable(void *ctx, enum rt_class cls)
{
	vqt_peer_writable(((struct tunnel *)ctx)->peer, cls);
}

/* ---- making it ---- */

static struct rt *make_rt(const struct rt_ops *ops, void *ctx, const struct aead_ops *aead, bool active)
{
	struct rt_cfg c = {.ops = ops, .ctx = ctx, .aead = aead, .chunk = RT_CHUNK_DEFAULT, .active = active};
	struct rt_path_cfg p = {.tx_spi = active ? 1 : 2, .rx_spi = active ? 2 : 1};
	int err;
	struct rt *rt = rt_create(&c, tunnel_now, &err);

	if (!rt || rt_path_add(rt, 0, &p, tunnel_now))
		tunnel_fail("no transport");
	return rt;
}

void tunnel_open(struct tunnel *t, const struct tunnel_cfg *cfg)
{
	static const struct vqt_host_ops host_ops = {broken, stopped, idle};
	static const struct rt_ops peer_ops = {.record = record, .settled = settled, .writable = writable};
	enum rt_rel rel = cfg->host.type == VQT_NET ? RT_REL_BOUNDED : RT_REL_FULL;
	struct vqt_bind b = cfg->bind;
	struct vqt_dev_cfg d = cfg->dev;
	struct vqt_peer_cfg p = {.ops = cfg->ops,
				 .frames = cfg->frames,
				 .bufs = trains,
				 .mem = cfg->mem,
				 .mem_max = 64u << 20,
				 .seed = 3};
	int err;

	b.wire = d.wire = 1;
	b.epoch = d.epoch = 1;
	b.rel = d.rel = rel;
	t->host = vqt_host_create(&host_ops, 7);
	t->hdev = t->host ? vqt_host_attach(t->host, &cfg->host, &err) : NULL;
	if (!t->hdev)
		tunnel_fail("no host end");
	t->rt[0] = make_rt(&vqt_host_rt_ops, t->host, cfg->aead, true);
	t->rt[1] = make_rt(&peer_ops, t, cfg->aead, false);
	p.rt = t->rt[1];
	t->peer = vqt_peer_create(&p, &err);
	t->dev = t->peer ? vqt_peer_attach(t->peer, &d, &err) : NULL;
	if (!t->dev)
		tunnel_fail("no device end");
	vqt_host_session(t->host, t->rt[0]);
	if (vqt_hdev_bind(t->hdev, &b))
		tunnel_fail("no binding");
	for (unsigned q = 0; q < cfg->host.nvq; q++)
		if (vqt_host_queue_start(t->hdev, q, cfg->host.type == VQT_NET))
			tunnel_fail("a queue does not start");
}

/* ---- the fabric ---- */

void tunnel_send(struct rt *from)
{
	struct rt_tx out[TRAIN_MAX];
	int n;

	while ((n = rt_output(from, tunnel_now, out, TRAIN_MAX)) > 0) {
		struct train *t = &wire[on_wire];
		uint32_t at = 0;

		if (on_wire++ == TRAINS)
			tunnel_fail("too much on the wire");
		t->buf = buf_get(trains);
		t->n = n;
		for (int i = 0; i < n; at += out[i++].len) {
			memcpy(t->buf->base + at, out[i].data, out[i].len);
			t->len[i] = out[i].len;
		}
	}
}

bool tunnel_receive(struct rt *to)
{
	bool any = on_wire;

	for (unsigned k = 0; k < on_wire; k++) {
		struct train *t = &wire[k];
		uint32_t at = 0;

		for (int i = 0; i < t->n; at += t->len[i++])
			rt_input(to, t->buf->base + at, t->len[i], t->buf, false, tunnel_now);
		buf_put(t->buf);
	}
	on_wire = 0;
	if (any)
		rt_input_end(to, tunnel_now);
	return any;
}

static bool ship(struct rt *from, struct rt *to)
{
	tunnel_send(from);
	return tunnel_receive(to);
}

void tunnel_settle(struct tunnel *t)
{
	for (unsigned i = 0; i < 2; i++)
		if (rt_deadline(t->rt[i]) <= tunnel_now)
			rt_tick(t->rt[i], tunnel_now);
	while (ship(t->rt[0], t->rt[1]) | ship(t->rt[1], t->rt[0]))
		;
}

void tunnel_serve(struct tunnel *t)
{
	while (vqt_host_service(t->host, TUNNEL_BUDGET, tunnel_now))
		;
}

/* ---- laps ---- */

void tunnel_start(void)
{
	mark = clock_now_ns();
}

void tunnel_lap(unsigned stage)
{
	uint64_t t = clock_now_ns();

	spent[stage] += t - mark;
	mark = t;
	tunnel_now += TUNNEL_TICK;
}

void tunnel_forget(void)
{
	memset(spent, 0, sizeof(spent));
}

void tunnel_print(const char *what, uint64_t count, const char *const *names, unsigned n)
{
	printf("{\"%s\": %llu", what, (unsigned long long)count);
	for (unsigned i = 0; i < n; i++)
		printf(", \"%s\": %.2f", names[i], (double)spent[i] / (double)count);
	printf("}\n");
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the own code costs a frame, without kernel and scheduler: guest, agent, appliance, agent and guest in
 *one process, one stage after the other, with rings of the real back-end and the real transport; what the
 *fabric would carry is copied from one end to the other. The clock is a number. The same work each time:
 *callgrind counts its instructions, bench_host_frames.py does.
 *
 *	bench_frames [LEN] [BURSTS] [clear|sealed] [packed] [ring=256]
 *
 * A line of JSON: nanoseconds per frame of each stage. A stage is a function of its own, so that a profile
 *has its name.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fabric/aead/aead.h"
#include "fabric/base/clock.h"
#include "fabric/vqt/vqt_dev.h"
#include "fabric/vqt/vqt_host.h"
#include "tests/bench/guest/gring.h"
#include "tests/lib/vhost_env.h"

#define STAGE	    __attribute__((noinline))
#define RX	    0
#define TX	    1
#define VNET_HDR    12u
#define LEN_MAX	    1514u
#define BUF	    2048u
#define BUDGET	    256u   /* as the agent's engine */
#define STEP_NS	    20000u /* of the clock, per stage */
#define TRAIN_MAX   47u
#define TRAIN_BYTES (TRAIN_MAX * 1400u) /* received at a time */
#define TRAINS	    64u
#define FRAMES	    4096u
#define FEATURES                                                                                             \
	(VIRTIO_F_VERSION_1 | VIRTIO_RING_F_INDIRECT | VIRTIO_RING_F_EVENT_IDX | 1ull << 15 /* MRG_RXBUF */)

/* A guest, its agent, and the appliance's end of its session. */
struct side {
	struct vhost_env env;
	struct gring ring[2];
	uint64_t mem[2]; /* of the guest: a buffer per slot */
	struct vqt_host *host;
	struct vqt_hdev *hdev;
	struct vqt_peer *peer;
	struct vqt_dev *dev;
	struct rt *rt[2]; /* agent's, appliance's */
};

static struct side side[2];
static struct buf_pool *trains;
static struct frame_pool *frames;
static uint64_t now = 1000000000;
static uint32_t len = 64;
static uint64_t sent, received;

static void fail(const char *what)
{
	fprintf(stderr, "bench_frames: %s\n", what);
	exit(1);
}

/* ---- callbacks ---- */

static void host_broken(void *user, unsigned vq, const char *reason)
{
	(void)user;
	(void)vq;
	fail(reason);
}

static void host_stopped(void *user, unsigned vq)
{
	(void)user;
	(void)vq;
}

static void host_idle(void *user)
{
	(void)user;
}

/* To the other side's guest, as a switch of two ports would. */
static void dev_frame(void *user, unsigned pair, struct frame *f)
{
	struct side *to = user == &side[0] ? &side[1] : &side[0];

	if (vqt_dev_send(to->dev, pair, f, now))
		fail("no credit");
	frame_put(f);
}

static void dev_request(void *user, struct vqt_req *r)
{
	(void)user;
	vqt_dev_complete(r, 0, 0, now);
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

static void *mem_get(void *ctx, size_t size, size_t off)
{
	(void)ctx;
	(void)off;
	return malloc(size);
}

static void mem_put(void *ctx, void *p, size_t size, size_t off)
{
	(void)ctx;
	(void)size;
	(void)off;
	free(p);
}

/* Of the appliance's transport, which is made before its peer. */
static void peer_record(void *ctx, enum rt_class cls, uint32_t psn, const struct rt_rec *rec,
			const uint8_t *data, struct buf *owner)
{
	vqt_peer_record(((struct side *)ctx)->peer, cls, psn, rec, data, owner);
}

static void peer_settled(void *ctx, enum rt_class cls, uint32_t base)
{
	vqt_peer_settled(((struct side *)ctx)->peer, cls, base);
}

static void peer_writable(void *ctx, enum rt_class cls)
{
	vqt_peer_writable(((struct side *)ctx)->peer, cls);
}

static const struct rt_ops peer_ops = {
	.record = peer_record, .settled = peer_settled, .writable = peer_writable};

/* ---- the fabric ---- */

/* What is on the wire. */
struct train {
	struct buf *buf;
	uint32_t len[TRAIN_MAX];
	int n;
};
static struct train wire[TRAINS];
static unsigned on_wire;

/* Everything that rt has to send. */
static void send_all(struct rt *rt)
{
	struct rt_tx out[TRAIN_MAX];
	int n;

	while ((n = rt_output(rt, now, out, TRAIN_MAX)) > 0) {
		struct train *t = &wire[on_wire++];
		uint32_t at = 0;

		t->buf = buf_get(trains);
		t->n = n;
		for (int i = 0; i < n; at += out[i++].len) {
			memcpy(t->buf->base + at, out[i].data, out[i].len);
			t->len[i] = out[i].len;
		}
	}
}

/* And as it is received. True: something came. */
static bool receive_all(struct rt *rt)
{
	bool any = on_wire;

	for (unsigned k = 0; k < on_wire; k++) {
		struct train *t = &wire[k];
		uint32_t at = 0;

		for (int i = 0; i < t->n; at += t->len[i++])
			rt_input(rt, t->buf->base + at, t->len[i], t->buf, false, now);
		buf_put(t->buf);
	}
	on_wire = 0;
	if (any)
		rt_input_end(rt, now);
	return any;
}

static bool ship(struct rt *from, struct rt *to)
{
	send_all(from);
	return receive_all(to);
}

static void settle(struct side *s)
{
	for (unsigned i = 0; i < 2; i++)
		if (rt_deadline(s->rt[i]) <= now)
			rt_tick(s->rt[i], now);
	while (ship(s->rt[0], s->rt[1]) | ship(s->rt[1], s->rt[0]))
		;
}

/* ---- stages ---- */

static STAGE void guest_sends(struct side *s)
{
	struct gring *r = &s->ring[TX];
	uint16_t slot;
	uint32_t used;

	while (gring_used(r, &slot, &used))
		;
	while (gring_room(r)) {
		slot = gring_take(r);
		gring_put(r, slot, s->mem[TX] + (uint64_t)slot * BUF, VNET_HDR + len, 0);
		sent++;
	}
	gring_publish(r);
}

static STAGE void agent_takes(struct side *s)
{
	vqt_host_kick(s->hdev, TX);
	while (vqt_host_service(s->host, BUDGET, now))
		;
}

static STAGE void agent_sends(struct side *s)
{
	send_all(s->rt[0]);
}

/* With the way through the appliance: from one session into another. */
static STAGE void appliance_receives(struct side *s)
{
	receive_all(s->rt[1]);
}

static STAGE void appliance_sends(struct side *s)
{
	vqt_peer_service(s->peer, now);
	send_all(s->rt[1]);
}

static STAGE void agent_receives(struct side *s)
{
	receive_all(s->rt[0]);
	while (vqt_host_service(s->host, BUDGET, now))
		;
}

static STAGE void guest_receives(struct side *s)
{
	struct gring *r = &s->ring[RX];
	uint16_t slot;
	uint32_t used;

	while (gring_used(r, &slot, &used))
		received++;
	while (gring_room(r)) {
		slot = gring_take(r);
		gring_put(r, slot, s->mem[RX] + (uint64_t)slot * BUF, BUF, VRING_DESC_WRITE);
	}
	gring_publish(r);
	vqt_host_kick(s->hdev, RX);
}

static STAGE void acknowledge(void)
{
	settle(&side[0]);
	settle(&side[1]);
}

/* ---- making it ---- */

static void make_guest(struct side *s, uint16_t ring, bool packed)
{
	struct vhost_config c = {
		.net = true, .nqueues = 2, .queue_size = ring, .features = FEATURES | VIRTIO_F_RING_PACKED};

	vhost_env_init(&s->env, &c);
	vhost_env_run(&s->env, FEATURES | (packed ? VIRTIO_F_RING_PACKED : 0), 2, ring);
	for (unsigned q = 0; q < 2; q++) {
		gring_init(&s->ring[q], &s->env.front, q);
		s->mem[q] = vfront_alloc(&s->env.front, (uint64_t)ring * BUF, 4096);
	}
}

static struct rt *make_rt(const struct rt_ops *ops, void *ctx, const struct aead_ops *aead, bool active)
{
	struct rt_cfg c = {.ops = ops, .ctx = ctx, .aead = aead, .chunk = RT_CHUNK_DEFAULT, .active = active};
	struct rt_path_cfg p = {.tx_spi = active ? 1 : 2, .rx_spi = active ? 2 : 1};
	int err;
	struct rt *rt = rt_create(&c, now, &err);

	if (!rt || rt_path_add(rt, 0, &p, now))
		fail("no transport");
	return rt;
}

static void make_side(struct side *s, const struct aead_ops *aead, uint16_t ring, bool packed)
{
	static const struct vqt_host_ops host_ops = {host_broken, host_stopped, host_idle};
	static const struct vqt_dev_ops dev_ops = {dev_frame, dev_request, dev_writable, dev_drained};
	struct vqt_bind b = {.wire = 1, .epoch = 1, .rel = RT_REL_BOUNDED};
	struct vqt_dev_cfg d = {
		.type = VQT_NET, .user = s, .wire = 1, .epoch = 1, .nvq = 2, .rel = RT_REL_BOUNDED};
	struct vqt_peer_cfg p = {.ops = &dev_ops,
				 .frames = frames,
				 .bufs = trains,
				 .mem = {mem_get, mem_put, NULL},
				 .mem_max = 64u << 20,
				 .seed = 3};
	int err;

	make_guest(s, ring, packed);
	void *rings[2] = {vhost_ring(s->env.v, 0), vhost_ring(s->env.v, 1)};
	struct vqt_hdev_cfg h = {
		.type = VQT_NET, .user = s, .ring_ops = &vhost_ring_ops, .nvq = 2, .rings = rings};

	s->host = vqt_host_create(&host_ops, 7);
	s->hdev = s->host ? vqt_host_attach(s->host, &h, &err) : NULL;
	if (!s->hdev)
		fail("no host end");
	s->rt[0] = make_rt(&vqt_host_rt_ops, s->host, aead, true);
	s->rt[1] = make_rt(&peer_ops, s, aead, false);
	p.rt = s->rt[1];
	s->peer = vqt_peer_create(&p, &err);
	s->dev = s->peer ? vqt_peer_attach(s->peer, &d, &err) : NULL;
	if (!s->dev)
		fail("no device end");
	vqt_host_session(s->host, s->rt[0]);
	if (vqt_hdev_bind(s->hdev, &b))
		fail("no binding");
	for (unsigned q = 0; q < 2; q++)
		vqt_host_queue_start(s->hdev, q, true);
}

enum { GUEST_TX, AGENT_TAKES, AGENT_TX, APPLIANCE_RX, APPLIANCE_TX, AGENT_RX, GUEST_RX, ACKS, NSTAGES };
static const char *const names[NSTAGES] = {"guest_sends",	 "agent_takes",	    "agent_sends",
					   "appliance_receives", "appliance_sends", "agent_receives",
					   "guest_receives",	 "acknowledge"};
static uint64_t spent[NSTAGES], mark;

static void lap(unsigned stage)
{
	uint64_t t = clock_now_ns();

	spent[stage] += t - mark;
	mark = t;
	now += STEP_NS;
}

static STAGE void burst(void)
{
	mark = clock_now_ns();
	guest_sends(&side[0]);
	lap(GUEST_TX);
	agent_takes(&side[0]);
	lap(AGENT_TAKES);
	agent_sends(&side[0]);
	lap(AGENT_TX);
	appliance_receives(&side[0]);
	lap(APPLIANCE_RX);
	appliance_sends(&side[1]);
	lap(APPLIANCE_TX);
	agent_receives(&side[1]);
	lap(AGENT_RX);
	guest_receives(&side[1]);
	lap(GUEST_RX);
	acknowledge();
	lap(ACKS);
}

int main(int argc, char **argv)
{
	unsigned bursts = 2000, ring = 256;
	bool packed = false;
	const struct aead_ops *aead = &aead_crc;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "sealed"))
			aead = aead_gcm_best();
		packed |= !strcmp(argv[i], "packed");
		(void)sscanf(argv[i], "ring=%u", &ring);
		(void)sscanf(argv[i], "len=%u", &len);
		(void)sscanf(argv[i], "bursts=%u", &bursts);
	}
	if (len < 14 || len > LEN_MAX || ring > 512)
		fail("usage: bench_frames [len=64] [bursts=2000] [ring=256] [sealed] [packed]");
	frames = frame_pool_create(FRAMES);
	trains = buf_pool_create(TRAINS, TRAIN_BYTES);
	for (unsigned i = 0; i < 2; i++)
		make_side(&side[i], aead, (uint16_t)ring, packed);
	guest_receives(&side[0]);
	guest_receives(&side[1]);
	for (unsigned i = 0; i < 1000; i++, now += STEP_NS)
		acknowledge();
	burst();
	memset(spent, 0, sizeof(spent));
	for (unsigned i = 0; i < bursts; i++)
		burst();
	/* Those that a pause of the transport held back. */
	for (unsigned i = 0; i < 1000 && received < sent; i++, now += STEP_NS) {
		agent_takes(&side[0]);
		acknowledge();
		agent_receives(&side[1]);
		guest_receives(&side[1]);
	}
	if (received != sent)
		fail("frames were lost");
	printf("{\"frames\": %u", bursts * ring);
	for (unsigned i = 0; i < NSTAGES; i++)
		printf(", \"%s\": %.2f", names[i], (double)spent[i] / bursts / ring);
	printf("}\n");
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the own code costs a frame, without kernel and scheduler: guest, agent, appliance, agent and guest in
 * one process, one stage after the other, with rings of the real back-end and the real transport; what the
 * fabric would carry is copied from one end to the other. The clock is a number. The same work each time:
 * callgrind counts its instructions, bench_host_frames.py does.
 *
 *	bench_frames [len=64] [bursts=2000] [ring=256] [sealed] [packed]
 *
 * A line of JSON: nanoseconds per frame of each stage. A stage is a function of its own, so that a profile
 * has its name.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/bench/guest/gring.h"
#include "tests/bench/tunnel/tunnel.h"
#include "tests/lib/vhost_env.h"

#define RX	 0
#define TX	 1
#define VNET_HDR 12u
#define LEN_MAX	 1514u
#define BUF	 2048u
#define FRAMES	 4096u
#define FEATURES                                                                                             \
	(VIRTIO_F_VERSION_1 | VIRTIO_RING_F_INDIRECT | VIRTIO_RING_F_EVENT_IDX | 1ull << 15 /* MRG_RXBUF */)

/* A guest, and its agent's session. */
struct side {
	struct vhost_env env;
	struct gring ring[2];
	uint64_t mem[2]; /* of the guest: a buffer per slot */
	struct tunnel t;
};

static struct side side[2];
static struct frame_pool *frames;
static uint32_t len = 64;
static uint64_t sent, received;

/* ---- the appliance ---- */

/* To the other side's guest, as a switch of two ports would. */
static void dev_frame(void *user, unsigned pair, struct frame *f)
{
	struct side *to = user == &side[0] ? &side[1] : &side[0];

	if (vqt_dev_send(to->t.dev, pair, f, tunnel_now))
		tunnel_fail("no credit");
	frame_put(f);
}

static void dev_request(void *user, struct vqt_req *r)
{
	(void)user;
	vqt_dev_complete(r, 0, 0, tunnel_now);
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
	vqt_host_kick(s->t.hdev, TX);
	tunnel_serve(&s->t);
}

static STAGE void agent_sends(struct side *s)
{
	tunnel_send(s->t.rt[0]);
}

/* With the way through the appliance: from one session into another. */
static STAGE void appliance_receives(struct side *s)
{
	tunnel_receive(s->t.rt[1]);
}

static STAGE void appliance_sends(struct side *s)
{
	vqt_peer_service(s->t.peer, tunnel_now);
	tunnel_send(s->t.rt[1]);
}

static STAGE void agent_receives(struct side *s)
{
	tunnel_receive(s->t.rt[0]);
	tunnel_serve(&s->t);
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
	vqt_host_kick(s->t.hdev, RX);
}

static STAGE void acknowledge(void)
{
	tunnel_settle(&side[0].t);
	tunnel_settle(&side[1].t);
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

static void make_side(struct side *s, const struct aead_ops *aead, uint16_t ring, bool packed)
{
	static const struct vqt_dev_ops ops = {dev_frame, dev_request, dev_writable, dev_drained};

	make_guest(s, ring, packed);
	void *rings[2] = {vhost_ring(s->env.v, 0), vhost_ring(s->env.v, 1)};
	struct tunnel_cfg c = {
		.aead = aead,
		.ops = &ops,
		.host = {.type = VQT_NET, .user = s, .ring_ops = &vhost_ring_ops, .nvq = 2, .rings = rings},
		.dev = {.type = VQT_NET, .user = s, .nvq = 2},
		.mem = {mem_get, mem_put, NULL},
		.frames = frames};

	tunnel_open(&s->t, &c);
}

enum { GUEST_TX, AGENT_TAKES, AGENT_TX, APPLIANCE_RX, APPLIANCE_TX, AGENT_RX, GUEST_RX, ACKS, NSTAGES };
static const char *const names[NSTAGES] = {"guest_sends",	 "agent_takes",	    "agent_sends",
					   "appliance_receives", "appliance_sends", "agent_receives",
					   "guest_receives",	 "acknowledge"};

static STAGE void burst(void)
{
	tunnel_start();
	guest_sends(&side[0]);
	tunnel_lap(GUEST_TX);
	agent_takes(&side[0]);
	tunnel_lap(AGENT_TAKES);
	agent_sends(&side[0]);
	tunnel_lap(AGENT_TX);
	appliance_receives(&side[0]);
	tunnel_lap(APPLIANCE_RX);
	appliance_sends(&side[1]);
	tunnel_lap(APPLIANCE_TX);
	agent_receives(&side[1]);
	tunnel_lap(AGENT_RX);
	guest_receives(&side[1]);
	tunnel_lap(GUEST_RX);
	acknowledge();
	tunnel_lap(ACKS);
}

int main(int argc, char **argv)
{
	unsigned bursts = 2000, ring = 256;
	bool packed = false;
	const struct aead_ops *aead = &aead_crc;

	tunnel_init("bench_frames");
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "sealed"))
			aead = aead_gcm_best();
		packed |= !strcmp(argv[i], "packed");
		(void)sscanf(argv[i], "ring=%u", &ring);
		(void)sscanf(argv[i], "len=%u", &len);
		(void)sscanf(argv[i], "bursts=%u", &bursts);
	}
	if (len < 14 || len > LEN_MAX || ring > 512)
		tunnel_fail("usage: bench_frames [len=64] [bursts=2000] [ring=256] [sealed] [packed]");
	frames = frame_pool_create(FRAMES);
	for (unsigned i = 0; i < 2; i++)
		make_side(&side[i], aead, (uint16_t)ring, packed);
	guest_receives(&side[0]);
	guest_receives(&side[1]);
	for (unsigned i = 0; i < 1000; i++, tunnel_now += TUNNEL_TICK)
		acknowledge();
	burst();
	tunnel_forget();
	for (unsigned i = 0; i < bursts; i++)
		burst();
	/* Those that a pause of the transport held back. */
	for (unsigned i = 0; i < 1000 && received < sent; i++, tunnel_now += TUNNEL_TICK) {
		agent_takes(&side[0]);
		acknowledge();
		agent_receives(&side[1]);
		guest_receives(&side[1]);
	}
	if (received != sent)
		tunnel_fail("frames were lost");
	tunnel_print("frames", (uint64_t)bursts * ring, names, NSTAGES);
	return 0;
}

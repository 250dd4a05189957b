/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the own code costs a request, without kernel, scheduler and volume: guest, agent and appliance in
 * one process, one stage after the other, with a ring of the real back-end and the real transport; what
 * the fabric would carry is copied from one end to the other, and the appliance answers from memory. The
 * clock is a number. The same work each time: callgrind counts its instructions, bench_store_code.py does.
 *
 *	bench_disks [size=4096] [depth=32] [bursts=2000] [write] [sealed] [packed]
 *
 * A line of JSON: nanoseconds per request of each stage. A stage is a function of its own, so that a
 * profile has its name.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/bench/guest/gring.h"
#include "tests/bench/tunnel/tunnel.h"
#include "tests/lib/vhost_env.h"

#define RING	    256u
#define REQUEST_MAX (128u << 10)
#define PLACES	    512u /* for requests, at the appliance */
#define FEATURES    (VIRTIO_F_VERSION_1 | VIRTIO_RING_F_INDIRECT | VIRTIO_RING_F_EVENT_IDX)

static struct vhost_env env;
static struct gring ring;
static uint64_t table[RING]; /* of the guest: an indirect table per request */
static uint8_t *status[RING];
static struct tunnel tunnel;
static uint8_t *place[PLACES]; /* a stack of those that are free */
static unsigned nplaces;
static uint32_t size = 4096;
static unsigned depth = 32, slots = 16; /* of the ring: a power of 2, as many as are under way or more */
static bool is_write;
static uint64_t sent, done;

/* ---- the appliance ---- */

static void dev_frame(void *user, unsigned pair, struct frame *f)
{
	(void)user;
	(void)pair;
	frame_put(f);
}

/* Done at once: the data is what the memory has. */
static void dev_request(void *user, struct vqt_req *r)
{
	(void)user;
	r->in[r->in_len - 1] = 0;
	vqt_dev_complete(r, r->in_len, r->in_len, tunnel_now);
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

/* The last that came back goes out first, as from the appliance's own store. */
static void *mem_get(void *ctx, size_t bytes, size_t off)
{
	(void)ctx;
	if (bytes + 4096 > REQUEST_MAX + 8192 || !nplaces)
		tunnel_fail("no memory for a request");
	return place[--nplaces] + 4096 - off;
}

static void mem_put(void *ctx, void *p, size_t bytes, size_t off)
{
	(void)ctx;
	(void)bytes;
	place[nplaces++] = (uint8_t *)p - 4096 + off;
}

/* ---- stages ---- */

static STAGE void guest_asks(void)
{
	for (unsigned i = 0; i < depth; i++) {
		uint16_t slot = gring_take(&ring);

		*status[slot] = 0xff;
		gring_put(&ring, slot, table[slot], 3 * sizeof(struct vring_desc), VRING_DESC_INDIRECT);
		sent++;
	}
	gring_publish(&ring);
}

static STAGE void agent_takes(void)
{
	vqt_host_kick(tunnel.hdev, 0);
	tunnel_serve(&tunnel);
}

static STAGE void agent_sends(void)
{
	tunnel_send(tunnel.rt[0]);
}

static STAGE void appliance_receives(void)
{
	tunnel_receive(tunnel.rt[1]);
}

static STAGE void appliance_sends(void)
{
	vqt_peer_service(tunnel.peer, tunnel_now);
	tunnel_send(tunnel.rt[1]);
}

static STAGE void agent_receives(void)
{
	tunnel_receive(tunnel.rt[0]);
	tunnel_serve(&tunnel);
}

static STAGE void guest_hears(void)
{
	uint16_t slot;
	uint32_t used;

	while (gring_used(&ring, &slot, &used)) {
		if (*status[slot])
			tunnel_fail("a request failed");
		done++;
	}
}

static STAGE void acknowledge(void)
{
	tunnel_settle(&tunnel);
}

/* ---- making it ---- */

/* One request as a Linux guest lays it out: head, data, status in an indirect table (virtio 1.2, 5.2.6). */
static void make_request(unsigned i, bool packed)
{
	struct vfront *f = &env.front;
	uint64_t head = vfront_alloc(f, 16, 16), data = vfront_alloc(f, size, 4096),
		 end = vfront_alloc(f, 16, 16);
	struct vfront_seg seg[3] = {{head, 16}, {data, size}, {end, 1}};
	uint32_t op = is_write;

	memcpy(vfront_ptr(f, head), &op, sizeof(op));
	status[i] = vfront_ptr(f, end);
	table[i] = vfront_alloc(f, 3 * sizeof(struct vring_desc), 16);
	for (unsigned k = 0; k < 3; k++) {
		uint16_t in = k == 2 || (k == 1 && !is_write) ? VRING_DESC_WRITE : 0;
		uint16_t more = k < 2 ? VRING_DESC_NEXT : 0;

		if (packed)
			((struct vring_packed_desc *)vfront_ptr(f, table[i]))[k] = (struct vring_packed_desc){
				seg[k].gpa, seg[k].len, 0, in};
		else
			((struct vring_desc *)vfront_ptr(f, table[i]))[k] = (struct vring_desc){
				seg[k].gpa, seg[k].len, (uint16_t)(in | more), (uint16_t)(more ? k + 1 : 0)};
	}
}

static void make_guest(bool packed)
{
	uint64_t features = FEATURES | (packed ? VIRTIO_F_RING_PACKED : 0);
	struct vhost_config c = {
		.nqueues = 1, .queue_size = RING, .features = FEATURES | VIRTIO_F_RING_PACKED};

	vhost_env_init(&env, &c);
	vhost_env_run(&env, features, 1, (uint16_t)slots);
	gring_init(&ring, &env.front, 0);
	for (unsigned i = 0; i < slots; i++)
		make_request(i, packed);
}

static void make_tunnel(const struct aead_ops *aead)
{
	static const struct vqt_dev_ops ops = {dev_frame, dev_request, dev_writable, dev_drained};
	void *rings[1] = {vhost_ring(env.v, 0)};
	struct tunnel_cfg c = {.aead = aead,
			       .ops = &ops,
			       .host = {.type = VQT_BLK,
					.ring_ops = &vhost_ring_ops,
					.nvq = 1,
					.rings = rings,
					.depth = RING},
			       .dev = {.type = VQT_BLK, .nvq = 1, .max_inflight = 1 << 20, .depth = RING},
			       .bind = {.max_inflight = 1 << 20},
			       .mem = {mem_get, mem_put, NULL},
			       .frames = frame_pool_create(64)};

	tunnel_open(&tunnel, &c);
}

enum { GUEST_TX, AGENT_TAKES, AGENT_TX, APPLIANCE_RX, APPLIANCE_TX, AGENT_RX, GUEST_RX, ACKS, NSTAGES };
static const char *const names[NSTAGES] = {"guest_asks",	 "agent_takes",	    "agent_sends",
					   "appliance_receives", "appliance_sends", "agent_receives",
					   "guest_hears",	 "acknowledge"};

static STAGE void burst(void)
{
	tunnel_start();
	guest_asks();
	tunnel_lap(GUEST_TX);
	agent_takes();
	tunnel_lap(AGENT_TAKES);
	agent_sends();
	tunnel_lap(AGENT_TX);
	appliance_receives();
	tunnel_lap(APPLIANCE_RX);
	appliance_sends();
	tunnel_lap(APPLIANCE_TX);
	agent_receives();
	tunnel_lap(AGENT_RX);
	guest_hears();
	tunnel_lap(GUEST_RX);
	acknowledge();
	tunnel_lap(ACKS);
}

/* What a pause or the window of the transport held back. */
static void finish(void)
{
	for (unsigned i = 0; i < 1000 && done < sent; i++, tunnel_now += TUNNEL_TICK) {
		agent_takes();
		acknowledge();
		appliance_sends();
		agent_receives();
		guest_hears();
	}
	if (done != sent)
		tunnel_fail("a request has no answer");
}

int main(int argc, char **argv)
{
	unsigned bursts = 2000;
	bool packed = false;
	const struct aead_ops *aead = &aead_crc;

	tunnel_init("bench_disks");
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "sealed"))
			aead = aead_gcm_best();
		packed |= !strcmp(argv[i], "packed");
		is_write |= !strcmp(argv[i], "write");
		(void)sscanf(argv[i], "size=%u", &size);
		(void)sscanf(argv[i], "depth=%u", &depth);
		(void)sscanf(argv[i], "bursts=%u", &bursts);
	}
	while (slots < depth)
		slots *= 2;
	if (size < 512 || size > REQUEST_MAX || depth < 1 || depth > RING ||
	    slots * (size + 4096) > VFRONT_MEM)
		tunnel_fail(
			"usage: bench_disks [size=4096] [depth=32] [bursts=2000] [write] [sealed] [packed]");
	for (; nplaces < PLACES; nplaces++)
		if (posix_memalign((void **)&place[nplaces], 4096, REQUEST_MAX + 8192))
			tunnel_fail("memory");
	make_guest(packed);
	make_tunnel(aead);
	for (unsigned i = 0; i < 1000; i++, tunnel_now += TUNNEL_TICK)
		acknowledge();
	burst();
	finish();
	tunnel_forget();
	for (unsigned i = 0; i < bursts; i++) {
		burst();
		if (done < sent)
			finish();
	}
	tunnel_print("requests", (uint64_t)bursts * depth, names, NSTAGES);
	return 0;
}

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

#include "fabric/aead/aead.h"
#include "fabric/base/clock.h"
#include "fabric/vqt/vqt_dev.h"
#include "fabric/vqt/vqt_host.h"
#include "tests/bench/guest/gring.h"
#include "tests/lib/vhost_env.h"

#define STAGE	    __attribute__((noinline))
#define RING	    256u
#define REQUEST_MAX (128u << 10)
#define BUDGET	    256u   /* as the agent's engine */
#define STEP_NS	    20000u /* of the clock, per stage */
#define TRAIN_MAX   47u
#define TRAIN_BYTES (TRAIN_MAX * 1400u) /* received at a time */
#define TRAINS	    256u
#define PLACES	    512u /* for requests, at the appliance */
#define FEATURES    (VIRTIO_F_VERSION_1 | VIRTIO_RING_F_INDIRECT | VIRTIO_RING_F_EVENT_IDX)

static struct vhost_env env;
static struct gring ring;
static uint64_t table[RING]; /* of the guest: an indirect table per request */
static uint8_t *status[RING];
static struct vqt_host *host;
static struct vqt_hdev *hdev;
static struct vqt_peer *peer;
static struct vqt_dev *dev;
static struct rt *rt[2]; /* agent's, appliance's */
static struct buf_pool *trains;
static struct frame_pool *frames;
static uint8_t *place[PLACES]; /* a stack of those that are free */
static unsigned nplaces;
static uint64_t now = 1000000000;
static uint32_t size = 4096;
static unsigned depth = 32, slots = 16; /* of the ring: a power of 2, as many as are under way or more */
static bool is_write;
static uint64_t sent, done;

static void fail(const char *what)
{
	fprintf(stderr, "bench_disks: %s\n", what);
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
	vqt_dev_complete(r, r->in_len, r->in_len, now);
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
		fail("no memory for a request");
	return place[--nplaces] + 4096 - off;
}

static void mem_put(void *ctx, void *p, size_t bytes, size_t off)
{
	(void)ctx;
	(void)bytes;
	place[nplaces++] = (uint8_t *)p - 4096 + off;
}

/* Of the appliance's transport, which is made before its peer. */
static void peer_record(void *ctx, enum rt_class cls, uint32_t psn, const struct rt_rec *rec,
			const uint8_t *data, struct buf *owner)
{
	(void)ctx;
	vqt_peer_record(peer, cls, psn, rec, data, owner);
}

static void peer_settled(void *ctx, enum rt_class cls, uint32_t base)
{
	(void)ctx;
	vqt_peer_settled(peer, cls, base);
}

static void peer_writable(void *ctx, enum rt_class cls)
{
	(void)ctx;
	vqt_peer_writable(peer, cls);
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
static void send_all(struct rt *from)
{
	struct rt_tx out[TRAIN_MAX];
	int n;

	while ((n = rt_output(from, now, out, TRAIN_MAX)) > 0) {
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
static bool receive_all(struct rt *to)
{
	bool any = on_wire;

	for (unsigned k = 0; k < on_wire; k++) {
		struct train *t = &wire[k];
		uint32_t at = 0;

		for (int i = 0; i < t->n; at += t->len[i++])
			rt_input(to, t->buf->base + at, t->len[i], t->buf, false, now);
		buf_put(t->buf);
	}
	on_wire = 0;
	if (any)
		rt_input_end(to, now);
	return any;
}

static bool ship(struct rt *from, struct rt *to)
{
	send_all(from);
	return receive_all(to);
}

static void acknowledge_all(void)
{
	for (unsigned i = 0; i < 2; i++)
		if (rt_deadline(rt[i]) <= now)
			rt_tick(rt[i], now);
	while (ship(rt[0], rt[1]) | ship(rt[1], rt[0]))
		;
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
	vqt_host_kick(hdev, 0);
	while (vqt_host_service(host, BUDGET, now))
		;
}

static STAGE void agent_sends(void)
{
	send_all(rt[0]);
}

static STAGE void appliance_receives(void)
{
	receive_all(rt[1]);
}

static STAGE void appliance_sends(void)
{
	vqt_peer_service(peer, now);
	send_all(rt[1]);
}

static STAGE void agent_receives(void)
{
	receive_all(rt[0]);
	while (vqt_host_service(host, BUDGET, now))
		;
}

static STAGE void guest_hears(void)
{
	uint16_t slot;
	uint32_t used;

	while (gring_used(&ring, &slot, &used)) {
		if (*status[slot])
			fail("a request failed");
		done++;
	}
}

static STAGE void acknowledge(void)
{
	acknowledge_all();
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

static struct rt *make_rt(const struct rt_ops *ops, void *ctx, const struct aead_ops *aead, bool active)
{
	struct rt_cfg c = {.ops = ops, .ctx = ctx, .aead = aead, .chunk = RT_CHUNK_DEFAULT, .active = active};
	struct rt_path_cfg p = {.tx_spi = active ? 1 : 2, .rx_spi = active ? 2 : 1};
	int err;
	struct rt *made = rt_create(&c, now, &err);

	if (!made || rt_path_add(made, 0, &p, now))
		fail("no transport");
	return made;
}

static void make_ends(const struct aead_ops *aead)
{
	static const struct vqt_host_ops host_ops = {host_broken, host_stopped, host_idle};
	static const struct vqt_dev_ops dev_ops = {dev_frame, dev_request, dev_writable, dev_drained};
	struct vqt_bind b = {.wire = 1, .epoch = 1, .rel = RT_REL_FULL, .max_inflight = 1 << 20};
	struct vqt_dev_cfg d = {.type = VQT_BLK,
				.wire = 1,
				.epoch = 1,
				.nvq = 1,
				.rel = RT_REL_FULL,
				.max_inflight = 1 << 20,
				.depth = RING};
	struct vqt_peer_cfg p = {.ops = &dev_ops,
				 .frames = frames,
				 .bufs = trains,
				 .mem = {mem_get, mem_put, NULL},
				 .mem_max = 64u << 20,
				 .seed = 3};
	void *rings[1] = {vhost_ring(env.v, 0)};
	struct vqt_hdev_cfg h = {
		.type = VQT_BLK, .ring_ops = &vhost_ring_ops, .nvq = 1, .rings = rings, .depth = RING};
	int err;

	host = vqt_host_create(&host_ops, 7);
	hdev = host ? vqt_host_attach(host, &h, &err) : NULL;
	if (!hdev)
		fail("no host end");
	rt[0] = make_rt(&vqt_host_rt_ops, host, aead, true);
	rt[1] = make_rt(&peer_ops, NULL, aead, false);
	p.rt = rt[1];
	peer = vqt_peer_create(&p, &err);
	dev = peer ? vqt_peer_attach(peer, &d, &err) : NULL;
	if (!dev)
		fail("no device end");
	vqt_host_session(host, rt[0]);
	if (vqt_hdev_bind(hdev, &b) || vqt_host_queue_start(hdev, 0, false))
		fail("no binding");
}

enum { GUEST_TX, AGENT_TAKES, AGENT_TX, APPLIANCE_RX, APPLIANCE_TX, AGENT_RX, GUEST_RX, ACKS, NSTAGES };
static const char *const names[NSTAGES] = {"guest_asks",	 "agent_takes",	    "agent_sends",
					   "appliance_receives", "appliance_sends", "agent_receives",
					   "guest_hears",	 "acknowledge"};
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
	guest_asks();
	lap(GUEST_TX);
	agent_takes();
	lap(AGENT_TAKES);
	agent_sends();
	lap(AGENT_TX);
	appliance_receives();
	lap(APPLIANCE_RX);
	appliance_sends();
	lap(APPLIANCE_TX);
	agent_receives();
	lap(AGENT_RX);
	guest_hears();
	lap(GUEST_RX);
	acknowledge();
	lap(ACKS);
}

/* What a pause or the window of the transport held back. */
static void finish(void)
{
	for (unsigned i = 0; i < 1000 && done < sent; i++, now += STEP_NS) {
		agent_takes();
		acknowledge();
		appliance_sends();
		agent_receives();
		guest_hears();
	}
	if (done != sent)
		fail("a request has no answer");
}

int main(int argc, char **argv)
{
	unsigned bursts = 2000;
	bool packed = false;
	const struct aead_ops *aead = &aead_crc;

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
		fail("usage: bench_disks [size=4096] [depth=32] [bursts=2000] [write] [sealed] [packed]");
	frames = frame_pool_create(64);
	trains = buf_pool_create(TRAINS, TRAIN_BYTES);
	for (; nplaces < PLACES; nplaces++)
		if (posix_memalign((void **)&place[nplaces], 4096, REQUEST_MAX + 8192))
			fail("memory");
	make_guest(packed);
	make_ends(aead);
	for (unsigned i = 0; i < 1000; i++, now += STEP_NS)
		acknowledge();
	burst();
	finish();
	memset(spent, 0, sizeof(spent));
	for (unsigned i = 0; i < bursts; i++) {
		burst();
		if (done < sent)
			finish();
	}
	printf("{\"requests\": %u", bursts * depth);
	for (unsigned i = 0; i < NSTAGES; i++)
		printf(", \"%s\": %.2f", names[i], (double)spent[i] / bursts / depth);
	printf("}\n");
	return 0;
}

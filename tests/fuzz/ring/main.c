/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ring fuzzer: guests that rewrite their rings, descriptors, tables and buffers from another processor
 *while the device works on them.
 *
 *	fuzz-ring CHAINS [SEED]
 *
 * It goes through every combination of device type, split and packed, EVENT_IDX, INDIRECT, VERSION_1 and
 *MRG_RXBUF, inflight region or saved record, each in short rounds. In a round a driver adds well-formed
 *chains (the virtio-net header split over the first descriptors in every way), so that the device gets far;
 *the mutating thread spoils some of them at any moment; and the device pops, checks that each byte lies in
 *guest memory, puts back, completes in any order and notifies, half of the time with a dirty log, often too
 *short. A broken ring, and now and then a sound one, is taken down as by a front-end that resets,
 *disconnects, or comes back to a new process. The sanitizers judge the rest: guest memory is mapped between
 *pages that cannot be touched.
 *
 * Fails (abort) when a chain is not what its lengths say, or when descriptors or mappings are left over.
 */
#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "fabric/base/rng.h"
#include "tests/lib/vhost_env.h"

#define NUM	   64
#define CHAINS_MAX 500 /* of one round */
#define HELD	   NUM
#define COMBOS	   64u
#define NET_HDR	   12u

static struct vhost_env env;
static uint8_t saved[65536] __attribute__((aligned(64)));
/* Chains are large: held[] is their order. */
static struct vqt_chain chains[HELD];
static struct vqt_chain *held[HELD];
static unsigned nheld;
static struct rng chance;
static struct {
	uint64_t chains, broken, rounds, resubmitted, recovered, splits, logged, bursts;
} sum;

/* What the mutator may write: the rings of two queues, and the pages of chains and tables. */
static struct {
	pthread_t thread;
	volatile int stop;

	uint32_t share; /* writes per million steps */
} mutator;

/* No synchronisation at all: that is the point. */
__attribute__((no_sanitize("thread"))) static void *mutate(void *arg)
{
	volatile uint8_t *mem = env.front.mem;
	struct rng r;

	rng_init(&r, *(uint64_t *)arg);
	while (!mutator.stop) {
		uint64_t x = rng_u64(&r);
		uint64_t at = x & 3 ? (x >> 2 & 1) * 0x10000 + (x >> 3 & 3) * 0x4000 + (x >> 5 & 0x3ff)
				    : 0x80000 + (x >> 5 & 0xffff);

		if (!rng_chance(&r, mutator.share))
			continue;
		if (x >> 40 & 1)
			mem[at] = (uint8_t)(x >> 48);
		else if (x >> 41 & 1)
			mem[at] ^= (uint8_t)(1u << (x >> 48 & 7));
		else /* a whole descriptor, plausible */
			*(volatile uint64_t *)&mem[at & ~7ull] = x >> 42 & 1
									 ? rng_below(&r, VFRONT_MEM + 64)
									 : rng_below(&r, 5000) |
										   (x & 0x80ff0000ull) << 32;
	}
	return NULL;
}

/* ---- the driver ---- */

/* A frame or a request: the header cut in each way in turn, bit i saying that it is cut behind byte i, then
 * data. */
static void add_chain(unsigned q, uint64_t features)
{
	static uint32_t turn;
	struct vfront *f = &env.front;
	bool plain = rng_chance(&chance, 500000); /* one piece, as most are: they go in bursts */
	uint32_t hdr = NET_HDR, part = 1, cuts = plain ? 0 : turn++,
		 data = (uint32_t)rng_below(&chance, 3000);
	struct vfront_seg segs[NET_HDR + 4];
	bool out = q % 2,
	     indirect = features & VIRTIO_RING_F_INDIRECT && !plain && rng_chance(&chance, 500000);
	unsigned n = 0;

	if (!(features & (VIRTIO_F_VERSION_1 | VIRTIO_NET_F_MRG_RXBUF)))
		hdr = 10;
	for (uint32_t i = 0; i < hdr; i++, part++) {
		if (i + 1 < hdr && !(cuts >> i & 1))
			continue;
		/* Buffers lie anywhere, over the middle of memory too; now and then one is of no bytes. */
		segs[n++] = (struct vfront_seg){rng_below(&chance, VFRONT_MEM - 4096), part};
		part = 0;
	}
	if (!plain && n < NET_HDR && rng_chance(&chance, 50000))
		segs[n++] = (struct vfront_seg){rng_below(&chance, VFRONT_MEM - 4096), 0};
	sum.splits += n > 1;
	/* The last piece of the header and the data may share a descriptor. */
	if (plain || rng_chance(&chance, 300000))
		segs[n - 1].len += data;
	else
		segs[n++] = (struct vfront_seg){rng_below(&chance, VFRONT_MEM - 4096), data};
	f->brk = 0x80000 + (rng_below(&chance, 200) << 8);
	vfront_add(f, q, segs, out ? n : 0, out ? 0 : n, indirect);
}

/* Positions of a well-behaved driver, whatever became of what it had added: nobody waits for it. */
static void forget_used(unsigned q)
{
	memset(env.front.q[q].ndesc, 0, sizeof(env.front.q[q].ndesc));
}

/* ---- the device ---- */

static void check(const struct vqt_chain *c)
{
	uint64_t out = 0, in = 0;

	assert(c->token < NUM && c->nout + c->nin <= VQT_CHAIN_IOV);
	for (unsigned i = 0; i < (unsigned)c->nout + c->nin; i++) {
		volatile uint8_t *p = c->iov[i].iov_base;

		assert(c->iov[i].iov_len);
		(void)p[0];
		(void)p[c->iov[i].iov_len - 1];
		if (i < c->nout) {
			out += c->iov[i].iov_len;
		} else {
			in += c->iov[i].iov_len;
			p[c->iov[i].iov_len - 1] = 0x5a;
		}
	}
	assert(out == c->out_len && in == c->in_len);
}

/* A burst into held[], as chains. */
static void take_burst(struct vhost_ring *ring, bool in)
{
	struct vqt_piece p[VQT_BURST];
	unsigned n = 1 + (unsigned)rng_below(&chance, VQT_BURST);

	if (n > HELD - nheld)
		n = HELD - nheld;
	n = vhost_ring_ops.pop_burst(ring, p, n, in, (uint32_t)rng_below(&chance, 4000));
	for (unsigned i = 0; i < n; i++) {
		struct vqt_chain *c = held[nheld++];

		c->token = p[i].token;
		c->nout = !in;
		c->nin = in;
		c->out_len = in ? 0 : p[i].len;
		c->in_len = in ? p[i].len : 0;
		c->iov[0] = (struct iovec){p[i].at, p[i].len};
		check(c);
	}
	sum.chains += n;
	sum.bursts += n > 1;
}

/* One turn of the layer above; false: the ring is dead. */
static bool serve(struct vhost_ring *ring, bool in)
{
	while (nheld < HELD) {
		int got;

		if (rng_chance(&chance, 500000))
			take_burst(ring, in);
		if (nheld == HELD)
			break;
		got = vhost_ring_ops.pop(ring, held[nheld]);

		if (got < 0)
			return false;
		if (!got)
			break;
		check(held[nheld++]);
		sum.chains++;
		if (rng_chance(&chance, 100000))
			break;
	}
	if (nheld && rng_chance(&chance, 100000)) {
		unsigned n = 1 + (unsigned)rng_below(&chance, nheld);

		vhost_ring_ops.unpop(ring, n);
		nheld -= n;
	}
	while (nheld && !rng_chance(&chance, 50000)) {
		unsigned at = rng_chance(&chance, 200000) ? (unsigned)rng_below(&chance, nheld) : 0;
		struct vqt_chain *c = held[at];

		vhost_ring_ops.push(ring, c, (uint32_t)rng_below(&chance, 4000));
		memmove(&held[at], &held[at + 1], (nheld - at - 1) * sizeof(held[0]));
		held[nheld - 1] = c;
		nheld--;
	}
	vhost_ring_ops.flush(ring);
	return true;
}

/* ---- rounds ---- */

static uint64_t features_of(unsigned combo)
{
	return (combo & 1 ? VIRTIO_F_RING_PACKED : 0) | (combo & 2 ? VIRTIO_RING_F_EVENT_IDX : 0) |
	       (combo & 4 ? VIRTIO_RING_F_INDIRECT : 0) | (combo & 8 ? VIRTIO_F_VERSION_1 : 0) |
	       (combo & 16 ? VIRTIO_NET_F_MRG_RXBUF : 0);
}

static void connect_front(uint64_t features, bool net, bool fresh)
{
	struct vfront *f = &env.front;

	vfront_negotiate(f, features | VHOST_F_PROTOCOL_FEATURES, ~0ull);
	assert(vfront_mem_table(f) == 0);
	if (!net && fresh)
		vfront_inflight_get(f, 2, 256);
	if (!net)
		vfront_inflight_set(f);
	for (unsigned q = 0; q < 2; q++)
		vfront_queue_up(f, q, NUM, fresh);
	env.log[0] = '\0';
}

/* A migration begins, changes its log, or ends. */
static void bend_log(void)
{
	struct vfront *f = &env.front;

	if (!f->log || rng_chance(&chance, 300000))
		vfront_log_set(f, 1 + rng_below(&chance, 2 * VFRONT_MEM / VHOST_LOG_PAGE / 8));
	vfront_log_run(f, rng_chance(&chance, 700000));
}

/* Behind a log's end, in its last page, nothing was marked. */
static void check_log(void)
{
	const struct vfront *f = &env.front;
	bool any = false;

	for (uint64_t i = 0; f->log && i < VHOST_LOG_PAGE; i++) {
		assert(i < f->log_len || !f->log[i]);
		any |= f->log[i];
	}
	sum.logged += any;
}

/* Before a death: what the successor finds was changed too, at times. */
static void bend_records(void)
{
	for (uint64_t n = rng_below(&chance, 4); n; n--) {
		uint8_t b = (uint8_t)rng_u64(&chance);
		ssize_t put = 1;

		saved[rng_below(&chance, 1024)] = b;
		if (env.front.inflight_fd >= 0)
			put = pwrite(env.front.inflight_fd, &b, 1, (off_t)rng_below(&chance, 32 + NUM * 32));
		assert(put == 1);
	}
}

static void round_of(unsigned combo, const struct vhost_config *cfg)
{
	uint64_t features = features_of(combo);
	unsigned q = (unsigned)rng_below(&chance, 2);
	uint64_t end = sum.chains + CHAINS_MAX;

	env.front.proto = env.front.features = 0;
	env.front.logging = false;
	connect_front(features, cfg->net, true);
	if (rng_chance(&chance, 500000))
		bend_log();
	mutator.share = (uint32_t)(1u << rng_below(&chance, 20));
	nheld = 0;
	for (unsigned turn = 0; sum.chains < end && turn < CHAINS_MAX; turn++) {
		for (uint64_t n = 1 + rng_below(&chance, 8); n; n--)
			add_chain(q, features);
		forget_used(q);
		if (!serve(vhost_ring(env.v, q), q % 2 == 0)) {
			sum.broken++;
			break;
		}
		if (rng_chance(&chance, 10000))
			bend_log();
		if (!rng_chance(&chance, 10000))
			continue;
		bend_records();
		sum.resubmitted += vhost_counters(env.v)[VHOST_C_chains_resubmitted];
		sum.recovered += vhost_counters(env.v)[VHOST_C_rings_recovered];
		vhost_env_restart(&env, cfg);
		env.front.logging = false;
		connect_front(features, cfg->net, false);
		nheld = 0;
	}
	check_log();
	sum.rounds++;
	sum.resubmitted += vhost_counters(env.v)[VHOST_C_chains_resubmitted];
	sum.recovered += vhost_counters(env.v)[VHOST_C_rings_recovered];
	vhost_disconnect(env.v);
}

/* All combinations of one device type, one guest each. */
static void sweep(bool net, uint64_t seed, uint64_t goal)
{
	struct vhost_config cfg = {
		.net = net, .nqueues = 2, .queue_size = 256, .features = features_of(31), .saved = saved};
	unsigned fds = vhost_env_fds();

	vhost_env_init(&env, &cfg);
	mutator.stop = 0;
	assert(!pthread_create(&mutator.thread, NULL, mutate, &seed));
	for (unsigned combo = 0; combo < COMBOS / 2; combo++) {
		uint64_t end = sum.chains + goal / COMBOS + 1;

		while (sum.chains < end) {
			vhost_destroy(env.v);
			env.v = NULL;
			vhost_env_restart(&env, &cfg);
			round_of(combo, &cfg);
		}
	}
	mutator.stop = 1;
	pthread_join(mutator.thread, NULL);
	vhost_env_fini(&env);
	assert(vhost_env_fds() == fds);
}

int main(int argc, char **argv)
{
	uint64_t goal = argc > 1 ? strtoull(argv[1], NULL, 0) : 2000000;
	uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 1, slice = 1000000;
	time_t started = time(NULL);

	rng_init(&chance, seed);
	for (unsigned i = 0; i < HELD; i++)
		held[i] = &chains[i];
	while (sum.chains < goal) {
		uint64_t part = goal - sum.chains < slice ? goal - sum.chains : slice;

		sweep(false, rng_u64(&chance), part);
		sweep(true, rng_u64(&chance), part);
	}
	printf("fuzz-ring: %llu chains in %llu rounds, %llu rings broken, %llu chains taken again, %llu "
	       "rings "
	       "recovered, "
	       "%llu headers split, %llu bursts, %llu rounds logged, %ld s\n",
	       (unsigned long long)sum.chains, (unsigned long long)sum.rounds, (unsigned long long)sum.broken,
	       (unsigned long long)sum.resubmitted, (unsigned long long)sum.recovered,
	       (unsigned long long)sum.splits, (unsigned long long)sum.bursts, (unsigned long long)sum.logged,
	       (long)(time(NULL) - started));
	return 0;
}

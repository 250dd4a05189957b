/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The TAP front-end: the host's own network stack is the guest. Pairs of queues, as virtio-net has them, each
 *pair a queue of the TAP with a descriptor of its own (the kernel spreads flows over them):
 *
 *	odd queue (transmit): pop() reads one frame from the TAP into a slot; push() frees the slot
 *	even queue (receive): pop() gives an empty slot that holds any frame; push() keeps the frame for
 *		flush(), which writes it to the TAP
 *
 * Slots are private memory, taken last-in first-out so that few of them are ever touched. With no slot
 * free pop() gives 0 and the freeing of one is the kick. The TAP is watched edge-triggered: a frame
 * that arrives after a read() that found none wakes us, and one that nobody has credit for does not
 * wake us again and again.
 *
 * TUN_F_* say what the kernel may hand us, which is what the device offers its driver in HOST_* and CSUM
 *(virtio 1.2 section 5.1.3); what we may hand the kernel (GUEST_*) it takes always.
 */
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fabric/base/counter.h"
#include "hostagent/frontend/frontend.h"

#define TAP_HDR	     12
#define SLOT_BYTES   65600u /* header, Ethernet, VLAN tag, the largest IP packet */
#define SLOTS	     64
#define TAP_PAIRS    (FE_QUEUES_MAX / 2)
#define NET_F(bit)   (1ull << (bit))
#define F_CSUM	     NET_F(0)
#define F_GUEST_CSUM NET_F(1)
#define F_MTU	     NET_F(3)
#define F_MAC	     NET_F(5)
#define F_GUEST_TSO4 NET_F(7)
#define F_GUEST_TSO6 NET_F(8)
#define F_GUEST_ECN  NET_F(9)
#define F_HOST_TSO4  NET_F(11)
#define F_HOST_TSO6  NET_F(12)
#define F_HOST_ECN   NET_F(13)
#define F_MRG_RXBUF  NET_F(15)
#define F_STATUS     NET_F(16)
#define F_VERSION_1  NET_F(32)
#define TAP_FEATURES                                                                                         \
	(F_CSUM | F_GUEST_CSUM | F_MTU | F_MAC | F_GUEST_TSO4 | F_GUEST_TSO6 | F_GUEST_ECN | F_HOST_TSO4 |   \
	 F_HOST_TSO6 | F_HOST_ECN | F_MRG_RXBUF | F_STATUS | F_VERSION_1)

#define FE_TAP_COUNTERS(X)                                                                                   \
	X(tap_read_frames)                                                                                   \
	X(tap_written_frames)                                                                                \
	X(drop_tap_write)                                                                                    \
	X(tap_wakeups)
#define FE_TAP_COUNTER_ENUM(name) FE_TAP_C_##name,
enum fe_tap_counter { FE_TAP_COUNTERS(FE_TAP_COUNTER_ENUM) FE_TAP_NCOUNTERS };
static const COUNTERS_DEFINE(fe_tap, FE_TAP_COUNTERS)

	/* A slot number waits on exactly one of these stacks. */
	struct stack {
	unsigned n;
	uint8_t slot[SLOTS];
};

struct tap_ring {
	struct fe_tap *t;
	struct tap_pair *pair;
	const struct vqt_ring_ops *ops; /* of its direction */
	uint8_t *bytes;			/* SLOTS x SLOT_BYTES */
	uint32_t len[SLOTS];		/* of the frame in the slot */
	struct stack idle;
	struct stack held; /* given to the layer above, oldest first */
	struct stack back; /* transmit: put back, next one on top. Receive: pushed, oldest first */
	bool starved;	   /* pop() gave 0 for want of a slot */
};

struct tap_pair {
	struct fe_tap *t;
	unsigned rx, tx; /* queues */
	int fd;
	struct event *read_ev, *rx_ev;
};

struct fe_tap {
	struct fe fe;
	const struct fe_up *up;
	void (*memory)(void *arg, void *at, uint64_t len, bool there); /* as fe_config.memory */
	void *arg;
	uint64_t features;
	bool started;
	struct event *start_ev;
	unsigned npairs;
	struct tap_pair pairs[TAP_PAIRS];
	struct tap_ring rings[FE_QUEUES_MAX];
	struct fe_queue queues[FE_QUEUES_MAX];
	bool news; /* a counter has changed */
	uint64_t counters[FE_TAP_NCOUNTERS];
};

static void tap_count(struct fe_tap *t, enum fe_tap_counter c)
{
	counter_add(&t->counters[c], 1);
	t->news = true;
}

static void put(struct stack *s, uint8_t slot)
{
	s->slot[s->n++] = slot;
}

static uint8_t get(struct stack *s)
{
	return s->slot[--s->n];
}

/* Take slot out of s, the others keep their order; false: not there. */
static bool pull(struct stack *s, uint32_t slot)
{
	for (unsigned i = 0; i < s->n; i++) {
		if (s->slot[i] != slot)
			continue;
		memmove(&s->slot[i], &s->slot[i + 1], s->n - i - 1);
		s->n--;
		return true;
	}
	return false;
}

static uint8_t *slot_bytes(struct tap_ring *r, uint8_t slot)
{
	return r->bytes + (size_t)slot * SLOT_BYTES;
}

static void give(struct tap_ring *r, struct vqt_chain *c, uint8_t slot, bool out)
{
	c->token = slot;
	c->nout = out;
	c->nin = !out;
	c->out_len = out ? r->len[slot] : 0;
	c->in_len = out ? 0 : SLOT_BYTES;
	c->iov[0] = (struct iovec){slot_bytes(r, slot), out ? r->len[slot] : SLOT_BYTES};
	put(&r->held, slot);
}

static void unstarve(struct tap_ring *r, struct event *kick)
{
	if (r->starved)
		event_active(kick, EV_READ, 0);
	r->starved = false;
}

/* --- transmit --- */

static int tx_pop(void *ring, struct vqt_chain *c)
{
	struct tap_ring *r = ring;
	ssize_t n;
	uint8_t slot;

	if (r->back.n) {
		give(r, c, get(&r->back), true);
		return 1;
	}
	if (!r->idle.n) {
		r->starved = true;
		return 0;
	}
	slot = r->idle.slot[r->idle.n - 1];
	n = read(r->pair->fd, slot_bytes(r, slot), SLOT_BYTES);
	if (n < TAP_HDR)
		return 0;
	r->idle.n--;
	r->len[slot] = (uint32_t)n;
	tap_count(r->t, FE_TAP_C_tap_read_frames);
	give(r, c, slot, true);
	return 1;
}

static void tx_unpop(void *ring, unsigned n)
{
	struct tap_ring *r = ring;

	while (n-- && r->held.n)
		put(&r->back, get(&r->held));
}

static void tx_push(void *ring, const struct vqt_chain *c, uint32_t written)
{
	struct tap_ring *r = ring;

	(void)written;
	if (!pull(&r->held, c->token))
		return;
	put(&r->idle, (uint8_t)c->token);
	unstarve(r, r->pair->read_ev);
}

static void tx_flush(void *ring)
{
	(void)ring;
}

/* --- receive --- */

static int rx_pop(void *ring, struct vqt_chain *c)
{
	struct tap_ring *r = ring;

	if (!r->idle.n) {
		r->starved = true;
		return 0;
	}
	give(r, c, get(&r->idle), false);
	return 1;
}

static void rx_unpop(void *ring, unsigned n)
{
	struct tap_ring *r = ring;

	while (n-- && r->held.n)
		put(&r->idle, get(&r->held));
}

static void rx_push(void *ring, const struct vqt_chain *c, uint32_t written)
{
	struct tap_ring *r = ring;

	if (!pull(&r->held, c->token))
		return;
	r->len[c->token] = written < SLOT_BYTES ? written : SLOT_BYTES;
	put(&r->back, (uint8_t)c->token);
}

static void rx_flush(void *ring)
{
	struct tap_ring *r = ring;
	struct fe_tap *t = r->t;

	for (unsigned i = 0; i < r->back.n; i++) {
		uint8_t slot = r->back.slot[i];
		ssize_t n = r->len[slot] ? write(r->pair->fd, slot_bytes(r, slot), r->len[slot]) : 0;

		/* The kernel refuses headers that make no sense, and frames while the interface is down. */
		if (n)
			tap_count(t, n < 0 ? FE_TAP_C_drop_tap_write : FE_TAP_C_tap_written_frames);
		put(&r->idle, slot);
	}
	if (r->back.n)
		unstarve(r, r->pair->rx_ev);
	r->back.n = 0;
}

static const struct vqt_ring_ops tx_ops = {
	.pop = tx_pop, .unpop = tx_unpop, .push = tx_push, .flush = tx_flush};
static const struct vqt_ring_ops rx_ops = {
	.pop = rx_pop, .unpop = rx_unpop, .push = rx_push, .flush = rx_flush};

/* All queues of a device share one ops table (vqt_host.h): pass on to the ring's own direction. */

static int ring_pop(void *ring, struct vqt_chain *c)
{
	return ((struct tap_ring *)ring)->ops->pop(ring, c);
}

static void ring_unpop(void *ring, unsigned n)
{
	((struct tap_ring *)ring)->ops->unpop(ring, n);
}

static void ring_push(void *ring, const struct vqt_chain *c, uint32_t written)
{
	((struct tap_ring *)ring)->ops->push(ring, c, written);
}

static void ring_flush(void *ring)
{
	((struct tap_ring *)ring)->ops->flush(ring);
}

static const struct vqt_ring_ops ring_ops = {
	.pop = ring_pop, .unpop = ring_unpop, .push = ring_push, .flush = ring_flush};

/* --- events --- */

static void on_start(evutil_socket_t fd, short what, void *arg)
{
	struct fe_tap *t = arg;

	(void)fd;
	(void)what;
	/* Frames to the network stand where they were read until they are given back, those to the host where
	 * they are written from. */
	for (unsigned q = 0; t->memory && q < 2 * t->npairs; q++)
		t->memory(t->arg, t->rings[q].bytes, (uint64_t)SLOTS * SLOT_BYTES, true);
	t->up->attached(t->arg, t->queues, 2 * t->npairs);
	t->up->features(t->arg, t->features);
	t->started = true;
	for (unsigned q = 0; q < 2 * t->npairs; q++)
		t->up->queue_start(t->arg, q);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct tap_pair *p = arg;
	struct fe_tap *t = p->t;

	(void)fd;
	(void)what;
	tap_count(t, FE_TAP_C_tap_wakeups);
	if (t->started)
		t->up->kick(t->arg, p->tx);
}

static void on_rx_free(evutil_socket_t fd, short what, void *arg)
{
	struct tap_pair *p = arg;

	(void)fd;
	(void)what;
	p->t->up->kick(p->t->arg, p->rx);
}

/* --- the interface --- */

/* The first pair makes the interface, the others join it. */
static int open_tun(struct fe_tap *t, struct tap_pair *p, const char *name)
{
	int multi = t->npairs > 1 ? IFF_MULTI_QUEUE : 0, first = p == t->pairs ? IFF_TUN_EXCL : 0;
	struct ifreq ifr = {.ifr_flags = (short)(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | multi | first)};
	int hdr = TAP_HDR;
	unsigned offload = 0;

	p->fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (p->fd < 0)
		return -errno;
	memcpy(ifr.ifr_name, name, strlen(name));
	if (ioctl(p->fd, TUNSETIFF, &ifr))
		return errno == EBUSY ? -EEXIST : -errno;
	if (t->features & F_CSUM) {
		offload |= TUN_F_CSUM;
		offload |= t->features & F_HOST_TSO4 ? TUN_F_TSO4 : 0;
		offload |= t->features & F_HOST_TSO6 ? TUN_F_TSO6 : 0;
		if (t->features & F_HOST_ECN && t->features & (F_HOST_TSO4 | F_HOST_TSO6))
			offload |= TUN_F_TSO_ECN;
	}
	if (ioctl(p->fd, TUNSETVNETHDRSZ, &hdr) || ioctl(p->fd, TUNSETOFFLOAD, offload))
		return -errno;
	return 0;
}

static int bring_up(const struct fe_config *cfg)
{
	static const uint8_t none[6];
	struct ifreq ifr = {0};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), err = 0;

	if (fd < 0)
		return -errno;
	memcpy(ifr.ifr_name, cfg->name, strlen(cfg->name));
	if (memcmp(cfg->mac, none, sizeof(none))) {
		ifr.ifr_hwaddr.sa_family = ARPHRD_ETHER;
		memcpy(ifr.ifr_hwaddr.sa_data, cfg->mac, sizeof(none));
		err = ioctl(fd, SIOCSIFHWADDR, &ifr);
	}
	if (!err && cfg->mtu) {
		ifr.ifr_mtu = cfg->mtu;
		err = ioctl(fd, SIOCSIFMTU, &ifr);
	}
	if (!err)
		err = ioctl(fd, SIOCGIFFLAGS, &ifr);
	ifr.ifr_flags |= IFF_UP;
	if (!err)
		err = ioctl(fd, SIOCSIFFLAGS, &ifr);
	err = err ? -errno : 0;
	close(fd);
	return err;
}

static int open_events(struct fe_tap *t, struct event_base *base)
{
	for (unsigned i = 0; i < t->npairs; i++) {
		struct tap_pair *p = &t->pairs[i];

		p->read_ev = event_new(base, p->fd, EV_READ | EV_PERSIST | EV_ET, on_readable, p);
		p->rx_ev = event_new(base, -1, 0, on_rx_free, p);
		if (!p->read_ev || !p->rx_ev || event_add(p->read_ev, NULL))
			return -ENOMEM;
	}
	t->start_ev = event_new(base, -1, 0, on_start, t);
	if (!t->start_ev)
		return -ENOMEM;
	event_active(t->start_ev, EV_TIMEOUT, 0);
	return 0;
}

static int open_ring(struct fe_tap *t, unsigned q)
{
	struct tap_ring *r = &t->rings[q];

	r->t = t;
	r->pair = &t->pairs[q / 2];
	r->ops = q % 2 ? &tx_ops : &rx_ops;
	r->bytes = aligned_alloc(4096, (size_t)SLOTS * SLOT_BYTES);
	for (unsigned i = 0; i < SLOTS; i++)
		put(&r->idle, (uint8_t)(SLOTS - 1 - i));
	t->queues[q] = (struct fe_queue){&ring_ops, r};
	return r->bytes ? 0 : -ENOMEM;
}

/* --- the door --- */

static void tap_destroy(struct fe *fe)
{
	struct fe_tap *t = (struct fe_tap *)fe;

	if (t->start_ev)
		event_free(t->start_ev);
	for (unsigned i = 0; i < t->npairs; i++) {
		struct tap_pair *p = &t->pairs[i];

		if (p->rx_ev)
			event_free(p->rx_ev);
		if (p->read_ev)
			event_free(p->read_ev);
		if (p->fd >= 0)
			close(p->fd); /* the last one removes the interface */
	}
	for (unsigned q = 0; q < 2 * t->npairs; q++)
		free(t->rings[q].bytes);
	free(t);
}

static int tap_open(struct fe_tap *t, struct event_base *base, const struct fe_config *cfg)
{
	int err = 0;

	for (unsigned q = 0; !err && q < 2 * t->npairs; q++)
		err = open_ring(t, q);
	for (unsigned i = 0; !err && i < t->npairs; i++)
		err = open_tun(t, &t->pairs[i], cfg->name);
	if (!err)
		err = bring_up(cfg);
	return err ? err : open_events(t, base);
}

static int tap_create(struct fe **out, struct event_base *base, const struct fe_config *cfg,
		      const struct fe_up *up, void *arg)
{
	struct fe_tap *t;
	int err;

	if (cfg->kind != FE_NET || !cfg->nqueues || cfg->nqueues % 2 || cfg->nqueues > FE_QUEUES_MAX ||
	    !cfg->name || !*cfg->name)
		return -EINVAL;
	if (strlen(cfg->name) >= IFNAMSIZ)
		return -ENAMETOOLONG;
	t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	t->fe.ops = &fe_tap;
	t->up = up;
	t->memory = cfg->memory;
	t->arg = arg;
	t->npairs = cfg->nqueues / 2u;
	for (unsigned i = 0; i < t->npairs; i++)
		t->pairs[i] = (struct tap_pair){.t = t, .rx = 2 * i, .tx = 2 * i + 1, .fd = -1};
	t->features = cfg->features & TAP_FEATURES;
	err = tap_open(t, base, cfg);
	if (err) {
		tap_destroy(&t->fe);
		return err;
	}
	*out = &t->fe;
	return 0;
}

static void tap_leave(struct fe *fe)
{
	struct fe_tap *t = (struct fe_tap *)fe;

	event_del(t->start_ev);
	for (unsigned i = 0; i < t->npairs; i++) {
		event_del(t->pairs[i].read_ev);
		event_del(t->pairs[i].rx_ev);
	}
}

static int tap_join(struct fe *fe, struct event_base *base)
{
	struct fe_tap *t = (struct fe_tap *)fe;

	if (event_base_set(base, t->start_ev))
		return -EINVAL;
	if (!t->started)
		event_active(t->start_ev, EV_TIMEOUT, 0);
	for (unsigned i = 0; i < t->npairs; i++) {
		struct tap_pair *p = &t->pairs[i];

		if (event_base_set(base, p->read_ev) || event_base_set(base, p->rx_ev) ||
		    event_add(p->read_ev, NULL))
			return -ENOMEM;
		/* Either may have been due. */
		if (t->started) {
			event_active(p->read_ev, EV_READ, 0);
			event_active(p->rx_ev, EV_READ, 0);
		}
	}
	return 0;
}

static void tap_drained(struct fe *fe, unsigned q)
{
	(void)fe;
	(void)q;
}

/* virtio 1.2 section 5.1.4: status is at byte 6, bit 0 says that the link is up. */
static int tap_set_config(struct fe *fe, const void *config, uint16_t len)
{
	struct fe_tap *t = (struct fe_tap *)fe;
	int carrier;

	if (len > FE_CONFIG_MAX)
		return -EMSGSIZE;
	if (len < 8 || !(t->features & F_STATUS))
		return 0;
	carrier = ((const uint8_t *)config)[6] & 1;
	return ioctl(t->pairs[0].fd, TUNSETCARRIER, &carrier) ? -errno : 0;
}

static const char *tap_counter(const struct fe *fe, unsigned n, uint64_t *value)
{
	const struct fe_tap *t = (const struct fe_tap *)fe;

	if (n >= FE_TAP_NCOUNTERS)
		return NULL;
	*value = counter_get(&t->counters[n]);
	return fe_tap_counter_names[n];
}

static bool tap_news(struct fe *fe)
{
	struct fe_tap *t = (struct fe_tap *)fe;
	bool news = t->news;

	t->news = false;
	return news;
}

const struct fe_ops fe_tap = {"tap",	   tap_create,	   tap_destroy, tap_leave, tap_join,
			      tap_drained, tap_set_config, tap_counter, tap_news};

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest's frames: IPv4 and TCP headers that the switch can judge, then who sent it to whom as
 * which of its frames, then bytes that follow from that.
 */
#include <linux/virtio_net.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/product/product.h"

#define AT_ETH	    VQT_NET_HDR
#define AT_IP	    (AT_ETH + 14)
#define AT_TCP	    (AT_IP + 20)
#define AT_MARK	    (AT_TCP + 20)
#define MARK	    32u
#define FRAME_LEAST (AT_MARK + MARK)
#define GROUP	    VMS
#define CALM_NET    (20 * MSEC)

struct mark {
	uint32_t src, pair, dst, spoofed;
	uint64_t seq, len;
};
_Static_assert(sizeof(struct mark) == MARK, "the mark is written as it is");

void vm_mac(uint8_t mac[6], unsigned index)
{
	memcpy(mac, (const uint8_t[6]){0x02, 0, 0, 0, 1, (uint8_t)index}, 6);
}

static void be16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void fill(uint8_t *p, uint32_t len, uint64_t key)
{
	for (uint32_t word; len; p += 4, len -= len < 4 ? len : 4) {
		key = key * 6364136223846793005ull + 1442695040888963407ull;
		word = (uint32_t)(key >> 32);
		memcpy(p, &word, len < 4 ? len : 4);
	}
}

static uint64_t key_of(const struct mark *m)
{
	return m->seq * 1000003 + m->src * 101 + m->pair * 11 + m->dst;
}

static void write_frame(uint8_t *p, const struct mark *m)
{
	uint32_t len = (uint32_t)m->len, ip_len = len - AT_IP;
	unsigned who = m->spoofed == 1 ? 77 : m->src;

	memset(p, 0, FRAME_LEAST);
	p[0] = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	p[6] = 34; /* csum_start, csum_offset: of TCP */
	p[8] = 16;
	if (len > VQT_FRAME_SUPER) {
		p[1] = VIRTIO_NET_HDR_GSO_TCPV4;
		p[2] = 54;
		p[4] = 1448 & 0xff;
		p[5] = 1448 >> 8;
	}
	vm_mac(p + AT_ETH, m->dst);
	if (m->dst == GROUP)
		memset(p + AT_ETH, 0xff, 6);
	vm_mac(p + AT_ETH + 6, who);
	be16(p + AT_ETH + 12, 0x0800);
	p[AT_IP] = 0x45;
	be16(p + AT_IP + 2, ip_len & 0xffff);
	p[AT_IP + 8] = 64;
	p[AT_IP + 9] = 6;
	memcpy(p + AT_IP + 12, (const uint8_t[4]){10, 0, m->spoofed == 2, (uint8_t)(1 + m->src)}, 4);
	memcpy(p + AT_IP + 16, (const uint8_t[4]){10, 0, 0, (uint8_t)(1 + m->dst)}, 4);
	p[AT_TCP + 12] = 0x50;
	memcpy(p + AT_MARK, m, MARK);
	fill(p + FRAME_LEAST, len - FRAME_LEAST, key_of(m));
}

static uint32_t draw_len(struct vm *vm)
{
	struct world *w = vm->w;

	if (vm->super && chance(w, w->small ? 50000 : 150000))
		return FRAME_LEAST + (uint32_t)below(w, 65536 - 14 - FRAME_LEAST);
	return FRAME_LEAST + (uint32_t)below(w, 1500 - 100);
}

static void send_one(struct vm *vm, unsigned pair)
{
	struct world *w = vm->w;
	struct gring *r = &vm->eth[2 * pair + 1];
	struct gslot *s = gring_free_slot(r);
	struct mark m = {.src = vm->index, .pair = pair, .dst = (uint32_t)below(w, w->vms + 1)};

	if (!s || m.dst == vm->index)
		return;
	if (m.dst == w->vms)
		m.dst = GROUP;
	m.len = draw_len(vm);
	if (chance(w, 30000))
		m.spoofed = 1 + (uint32_t)below(w, 2);
	m.seq = ++vm->tx_seq[pair][m.dst];
	s->mem = malloc(m.len);
	sim_check(&w->s, s->mem, "out of memory");
	write_frame(s->mem, &m);
	gring_offer(r, s, (uint32_t)m.len, 0);
	gring_kick(r);
	vm->frames++;
	stat_add(w, S_frames_sent, 1);
	stat_add(w, S_frames_super, m.len > VQT_FRAME_SUPER);
	stat_add(w, S_frames_spoofed, m.spoofed != 0);
	if (m.spoofed)
		return;
	for (unsigned v = 0; v < w->vms; v++)
		if (v != vm->index && w->vm[v].net == vm->net && (m.dst == v || m.dst == GROUP))
			vm->sent_to[v]++;
}

void vm_net_send(struct vm *vm)
{
	/* In a calm world no frame may be lost: none is sent before everybody is attached. */
	if (vm->w->level == CALM && vm->w->s.now < vm->w->start + CALM_NET)
		return;
	for (uint64_t n = below(vm->w, vm->w->small ? 3 : 5); n; n--)
		send_one(vm, (unsigned)below(vm->w, PAIRS));
}

void vm_net_fill(struct vm *vm)
{
	uint32_t len = vm->mergeable ? 4096 : FRAME_MAX;
	uint32_t most = vm->mergeable ? RING - 8 : 12;

	for (unsigned q = 0; q < NETQ; q += 2) {
		struct gring *r = &vm->eth[q];
		uint32_t posted = 0;
		struct gslot *s;
		bool some = false;

		for (uint32_t i = 0; i < RING; i++)
			posted += r->slot[i].state != GS_FREE;
		while (posted++ < most && (s = gring_free_slot(r))) {
			s->mem = malloc(len);
			sim_check(&vm->w->s, s->mem, "out of memory");
			gring_offer(r, s, 0, len);
			some = true;
		}
		if (some && vm->running)
			gring_kick(r);
	}
}

static void received(struct vm *vm, const uint8_t *p, uint32_t len)
{
	struct world *w = vm->w;
	struct mark m;
	uint8_t *want;
	uint64_t *last;

	sim_check(&w->s, len >= FRAME_LEAST, "vm %u: a frame of %u bytes", vm->index, len);
	memcpy(&m, p + AT_MARK, MARK);
	sim_check(&w->s, m.src < w->vms && m.pair < PAIRS && m.len == len, "vm %u: a garbled frame",
		  vm->index);
	sim_check(&w->s, !m.spoofed, "vm %u: a spoofed frame (%u)", vm->index, m.spoofed);
	sim_check(&w->s,
		  m.src != vm->index && w->vm[m.src].net == vm->net && (m.dst == vm->index || m.dst == GROUP),
		  "vm %u: a frame from %u to %u", vm->index, m.src, m.dst);
	want = malloc(len);
	sim_check(&w->s, want, "out of memory");
	write_frame(want, &m);
	want[VQT_NUM_BUFFERS] = p[VQT_NUM_BUFFERS];
	sim_check(&w->s, !memcmp(want, p, len), "vm %u: bytes of a frame changed", vm->index);
	free(want);
	last = &vm->rx_seq[m.src][m.pair][m.dst == GROUP];
	sim_check(&w->s, m.seq > *last, "vm %u: frame %llu of %u after %llu", vm->index,
		  (unsigned long long)m.seq, m.src, (unsigned long long)*last);
	*last = m.seq;
	w->vm[m.src].got_from[vm->index]++;
	stat_add(w, S_frames_received, 1);
	sim_note(&w->s, &w->s.now, sizeof(w->s.now));
	sim_note(&w->s, &m, sizeof(m));
}

/* A frame is as many used buffers as its first one says. */
void vm_net_used(struct vm *vm, struct gring *r)
{
	static uint8_t frame[FRAME_MAX];

	while (r->seen != r->published) {
		struct gslot *s = &r->slot[r->used[r->seen % (2 * RING)]];
		uint32_t n = s->mem[VQT_NUM_BUFFERS] | s->mem[VQT_NUM_BUFFERS + 1] << 8, len = 0;

		sim_check(&vm->w->s, n && n <= r->published - r->seen, "vm %u: num_buffers %u", vm->index, n);
		for (; n; n--, r->seen++) {
			s = &r->slot[r->used[r->seen % (2 * RING)]];
			sim_check(&vm->w->s, s->written <= FRAME_MAX - len, "a frame too long");
			memcpy(frame + len, s->mem, s->written);
			len += s->written;
			free(s->mem);
			s->mem = NULL;
			s->state = GS_FREE;
		}
		received(vm, frame, len);
	}
}

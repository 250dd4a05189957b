/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Somebody on the cable. Of packets on their way he changes each bit, cuts them short, makes them longer and
 * sends them back where they came from, all before the packet itself arrives; he records everything that was
 * taken and sends it again, soon and late, while the session goes on, loses packets, changes its keys and its
 * paths. Each such datagram is refused and counted under one name, and the transport is what it was before,
 * to the byte.
 */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fabric/rt/impl.h"
#include "tests/sim/nonce.h"
#include "tests/sim/rt/modes.h"
#include "tests/sim/seeds.h"

#define DATAGRAM (WIRE_HDR_LEN + RT_CHUNK_MAX + AEAD_TAG_MAX)
#define SOON	 5000u	/* the last so many packets are sent again ... */
#define EVERY	 20000u /* ... each time so many were recorded */
#define PIECE	 (64u << 20)

struct taken {
	uint8_t *data;
	uint16_t len;
	uint8_t side;
};

static struct tape {
	struct taken *p;
	uint64_t n, max;
	uint8_t *memory[64];
	uint32_t nmemory;
	size_t used; /* of the last memory */
	uint64_t flip_left, flip_of;
	struct rng rng;
	uint64_t flipped, flips, cuts, reflected, replays;
} tape;

/* All of an end but its counters: the rt itself, and what it points to, which costs more to look at. */
static struct rt before;

static uint64_t deep(const struct rt *rt)
{
	uint64_t h = 0;

	for (unsigned c = 0; c < RT_NCLASS; c++) {
		const struct tx_ring *t = &rt->tx[c];
		const struct rx_win *w = &rt->rx[c];
		const uint64_t *slots = (const uint64_t *)t->slots;

		for (size_t i = 0; i < t->window * sizeof(*t->slots) / 8; i++)
			h = (h ^ slots[i]) * 0x9e3779b97f4a7c15ull;
		for (uint32_t i = 0; i < t->window / 64; i++)
			h = (h ^ t->done[i]) * 0x9e3779b97f4a7c15ull;
		for (uint32_t i = 0; i < w->window / 64; i++)
			h = (h ^ w->bits[i]) * 0x9e3779b97f4a7c15ull;
	}
	return h;
}

static void refused(struct end *e, const char *what, const uint8_t *data, uint32_t len)
{
	static uint8_t copy[DATAGRAM + 64];
	uint64_t counted = 0;
	int r;

	memcpy(copy, data, len);
	e->w->forged++;
	r = rt_input(e->rt, copy, len, NULL, true, e->w->s.now);
	sim_check(&e->w->s, r == -EBADMSG, "%s is taken (%d)", what, r);
	sim_check(&e->w->s, !memcmp(e->rt, &before, offsetof(struct rt, counters)), "%s changes the state",
		  what);
	for (unsigned i = 0; i < RT_NCOUNTERS; i++) {
		uint64_t more = e->rt->counters[i] - before.counters[i];

		sim_check(&e->w->s, !more || i >= RT_C_drop_short, "%s is counted as %s", what,
			  rt_counter_names[i]);
		counted += more;
	}
	sim_check(&e->w->s, counted == 1, "%s is counted %llu times", what, (unsigned long long)counted);
	memcpy(before.counters, e->rt->counters, sizeof(before.counters));
}

/* Around a number of refused(). */
static uint64_t attack(struct end *e)
{
	e->w->hostile = true;
	before = *e->rt;
	return deep(e->rt);
}

static void attacked(struct end *e, uint64_t was)
{
	sim_check(&e->w->s, deep(e->rt) == was, "a forged packet changed a slot or a window");
	e->w->hostile = false;
}

static void tamper(struct end *e, const uint8_t *data, uint32_t len)
{
	static uint8_t k[DATAGRAM + 64];
	struct end *sender = &e->w->end[!e->side];
	uint64_t was = attack(e);

	memcpy(k, data, len);
	for (uint32_t bit = 0; bit < len * 8; bit++) {
		k[bit / 8] ^= (uint8_t)(1u << bit % 8);
		refused(e, "a flipped bit", k, len);
		k[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	tape.flips += len * 8;
	for (uint32_t n = 0; n < len; n += n < 64 ? 1 : 1 + len / 64, tape.cuts++)
		refused(e, "a cut packet", k, n);
	memset(k + len, 0, 64);
	for (uint32_t n = 1; n <= 64 && len + n <= DATAGRAM; n *= 2, tape.cuts++)
		refused(e, "a lengthened packet", k, len + n);
	attacked(e, was);
	was = attack(sender);
	refused(sender, "a reflected packet", data, len);
	attacked(sender, was);
	tape.reflected++;
	tape.flipped++;
}

static void again(struct world *w, uint64_t from, uint64_t to)
{
	for (unsigned side = 0; side < 2; side++) {
		uint64_t was = attack(&w->end[side]);

		for (uint64_t i = from; i < to; i++)
			if (tape.p[i].side == side) {
				refused(&w->end[side], "a replay", tape.p[i].data, tape.p[i].len);
				tape.replays++;
			}
		attacked(&w->end[side], was);
	}
}

static void record(struct end *e, const uint8_t *data, uint32_t len)
{
	struct taken *p = &tape.p[tape.n];

	if (!tape.nmemory || tape.used + len > PIECE) {
		sim_check(&e->w->s, tape.nmemory < sizeof(tape.memory) / sizeof(tape.memory[0]),
			  "the tape is full");
		tape.memory[tape.nmemory] = malloc(PIECE);
		sim_check(&e->w->s, tape.memory[tape.nmemory], "out of memory");
		tape.nmemory++;
		tape.used = 0;
	}
	*p = (struct taken){.data = tape.memory[tape.nmemory - 1] + tape.used,
			    .len = (uint16_t)len,
			    .side = (uint8_t)e->side};
	memcpy(p->data, data, len);
	tape.used += len;
	tape.n++;
	sim_progress("sim-rt, hostile", tape.n, tape.max);
	if (tape.n % EVERY == 0)
		again(e->w, tape.n - SOON, tape.n);
}

static void on_cable(struct end *e, const uint8_t *data, uint32_t len, bool taken)
{
	if (taken && tape.n < tape.max) {
		record(e, data, len);
		return;
	}
	/* As many of the packets that are left on the tape as are left to be flipped. */
	if (taken || !tape.flip_left || tape.n == tape.max ||
	    rng_below(&tape.rng, tape.max - tape.n) >= tape.flip_left)
		return;
	tape.flip_left--;
	tamper(e, data, len);
}

static void attack_world(const struct options *o, const char *name, const struct aead_ops *aead)
{
	struct world_cfg c;
	struct rng r;

	memset(&tape, 0, sizeof(tape));
	tape.max = o->packets ? o->packets : 50000;
	tape.flip_left = o->seeds;
	rng_init(&tape.rng, o->seed);
	tape.p = calloc(tape.max, sizeof(*tape.p));
	for (uint64_t seed = o->seed; tape.n < tape.max; seed++) {
		uint64_t from = tape.n, until;

		rng_init(&r, seed);
		draw_world(&c, o, &r);
		c.rt.aead = aead;
		c.rt.chunk = rng_chance(&r, 400000) ? RT_CHUNK_DEFAULT : RT_CHUNK_MIN;
		c.rt.chunk_max = 0;
		/* The cable damages nothing: the attacker's bit could be the one that mends it. */
		c.link[0].corrupt = c.link[1].corrupt = 0;
		for (unsigned side = 0; side < 2; side++)
			for (unsigned k = 0; k < RT_NCLASS; k++)
				c.traffic[side].len_max[k] = k == RT_CTL ? 64 : 1000;
		world_init(&world, seed, &c, replay);
		sim_check(&world.s, tape.p, "out of memory");
		world.tap = on_cable;
		sim_at(&world.s, world.s.now + 1000000, meddle, &world, 0);
		until = tape.n + 100000 < tape.max ? tape.n + 100000 : tape.max;
		while (tape.n < until && world.packets < 1000000 && sim_step(&world.s, UINT64_MAX))
			;
		again(&world, from, tape.n);
		for (unsigned p = 0; p < c.npaths; p++)
			world_rekey(&world, p);
		world_run(&world, world.packets + 1000, world.s.now + 20000000);
		again(&world, from, tape.n);
		world.tap = NULL;
		world_finish(&world);
		world_fini(&world);
	}
	printf("{\"sim\":\"hostile\",\"protection\":\"%s\",\"packets\":%llu,\"flipped_packets\":%llu,"
	       "\"flips\":%"
	       "llu,\"cuts\":%llu,\"reflected\":%llu,\"replays\":%llu,\"violations\":0}\n",
	       name, (unsigned long long)tape.n, (unsigned long long)tape.flipped,
	       (unsigned long long)tape.flips, (unsigned long long)tape.cuts,
	       (unsigned long long)tape.reflected, (unsigned long long)tape.replays);
	fflush(stdout);
	while (tape.nmemory)
		free(tape.memory[--tape.nmemory]);
	free(tape.p);
}

void mode_hostile(const struct options *o)
{
	char *end = strstr(replay, " --hostile");

	/* The whole run: what happens in a world depends on those before it. */
	snprintf(end, sizeof(replay) - (size_t)(end - replay),
		 " --hostile --seed %llu --seeds %llu --packets %llu", (unsigned long long)o->seed,
		 (unsigned long long)o->seeds, (unsigned long long)o->packets);
	attack_world(o, "gcm", aead_gcm_best());
	attack_world(o, "crc32c", &nonce_crc);
}

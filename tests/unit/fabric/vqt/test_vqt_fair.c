/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Busy guests and a quiet one: how much of the busy ones' work is done between the quiet one's kick and its
 * frame being sent, counted in chains and bytes. On one host (one I/O thread) it is a turn of each busy queue
 * and the turn that is under way; on a host of its own it is nothing.
 */
#include "tests/unit/fabric/vqt/vqt_setup.h"

#define BUSY	    4u /* devices, each with a full transmit queue */
#define BACKLOG	    300u
#define ROUNDS	    20u
#define TURN_CHAINS 32u /* of a queue, before the next one's */
#define TURN_BYTES  (64u << 10)

struct guest {
	struct fake_ring ring[2];
	struct vqt_hdev *hd;
	unsigned chains; /* sent since the quiet guest's kick */
	uint64_t bytes;
};

static uint8_t bytes[65536];
static struct guest busy[BUSY], quiet;
static unsigned backlog, sent, kick_at; /* by the busy ones, of this round */
static bool kicked, served;

static void send(struct guest *g, uint32_t len)
{
	fake_ring_add1(&g->ring[1], bytes, len, 0);
	vqt_host_kick(g->hd, 1);
}

/* A guest's queue that notes what is sent; in the midst of it the quiet one comes. */
static void push(void *ring, const struct vqt_chain *c, uint32_t written)
{
	fake_ring_ops.push(ring, c, written);
	if (ring == &quiet.ring[1])
		served = true;
	for (unsigned i = 0; i < BUSY; i++) {
		if (ring != &busy[i].ring[1])
			continue;
		if (kicked && !served) {
			busy[i].chains++;
			busy[i].bytes += c->out_len;
		}
		if (++sent == kick_at) {
			kicked = true;
			send(&quiet, 64);
		}
	}
}

static void push_burst(void *ring, const struct vqt_piece *p, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct vqt_chain c;

		c.token = p[i].token;
		c.out_len = p[i].len;
		push(ring, &c, p[i].written);
	}
}

static struct vqt_ring_ops ops;

static void meet(struct vw *w, struct guest *g, uint16_t wire)
{
	void *rings[2] = {&g->ring[0], &g->ring[1]};
	struct vqt_hdev_cfg hc = {.type = VQT_NET, .user = w, .ring_ops = &ops, .nvq = 2, .rings = rings};
	struct vqt_dev_cfg dc = {
		.type = VQT_NET, .user = w, .wire = wire, .epoch = EPOCH, .nvq = 2, .rel = RT_REL_FULL};
	struct vqt_bind b = {.wire = wire, .epoch = EPOCH, .rel = RT_REL_FULL};
	int err;

	ops = fake_ring_ops;
	ops.push = push;
	ops.push_burst = push_burst;
	for (int i = 0; i < 2; i++)
		fake_ring_init(&g->ring[i]);
	g->hd = vqt_host_attach(w->host, &hc, &err);
	assert_non_null(g->hd);
	assert_non_null(vqt_peer_attach(w->peer, &dc, &err));
	assert_int_equal(vqt_hdev_bind(g->hd, &b), 0);
	assert_int_equal(vqt_host_queue_start(g->hd, 1, true), 0);
}

static void part(struct guest *g)
{
	vqt_host_detach(g->hd);
	for (int i = 0; i < 2; i++)
		fake_ring_fini(&g->ring[i]);
}

static void one_round(struct vw *w, uint32_t len, unsigned at)
{
	/* What the world's wire holds at once. */
	backlog = len > 2000 ? 16 : BACKLOG;
	sent = 0;
	kick_at = 1 + at % (BUSY * backlog / 2);
	kicked = served = false;
	for (unsigned i = 0; i < BUSY; i++) {
		busy[i].chains = 0;
		busy[i].bytes = 0;
		for (unsigned n = 0; n < backlog; n++)
			send(&busy[i], len);
	}
	for (unsigned i = 0; sent < BUSY * backlog; i++) {
		assert_true(i < 1000);
		vw_run(w, 2000 * MS);
		vw_forget(w);
	}
	assert_true(kicked);
}

static void a_busy_guest_does_not_starve_a_quiet_one(void **state)
{
	static const uint32_t lengths[] = {64, 1514, 65000};
	struct vw *w = calloc(1, sizeof(*w));

	(void)state;
	assert_non_null(w);
	vw_init(w, NULL);
	for (unsigned i = 0; i < BUSY; i++)
		meet(w, &busy[i], (uint16_t)(10 + i));
	meet(w, &quiet, 20);
	for (unsigned i = 0; i < ROUNDS * 3; i++) {
		uint32_t len = lengths[i % 3];
		unsigned chains = TURN_BYTES / len + 1 < TURN_CHAINS ? TURN_BYTES / len + 1 : TURN_CHAINS;

		one_round(w, len, 37 * i);
		assert_true(served);
		for (unsigned k = 0; k < BUSY; k++) {
			assert_in_range(busy[k].chains, 0, 2 * chains);
			assert_true(busy[k].bytes <= 2 * (TURN_BYTES + len));
		}
	}
	for (unsigned i = 0; i < BUSY; i++)
		part(&busy[i]);
	part(&quiet);
	vw_fini(w);
	free(w);
}

/* Two hosts, as two I/O threads have them: what the busy guests have is no part of the other's turn. */
static void on_a_host_of_its_own_it_waits_for_nobody(void **state)
{
	struct vw *w = calloc(2, sizeof(*w));

	(void)state;
	assert_non_null(w);
	vw_init(&w[0], NULL);
	vw_init(&w[1], NULL);
	for (unsigned i = 0; i < BUSY; i++)
		meet(&w[0], &busy[i], (uint16_t)(10 + i));
	meet(&w[1], &quiet, 10);
	one_round(&w[0], 64, 100);
	assert_false(served);
	/* One service, while the others have a backlog again. */
	for (unsigned n = 0; n < BUSY * BACKLOG; n++)
		send(&busy[n % BUSY], 64);
	sent = 0;
	vqt_host_service(w[1].host, 16, w[1].now);
	assert_true(served);
	assert_int_equal(sent, 0);
	for (unsigned i = 0; i < BUSY; i++)
		part(&busy[i]);
	part(&quiet);
	vw_fini(&w[0]);
	vw_fini(&w[1]);
	free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_busy_guest_does_not_starve_a_quiet_one),
		cmocka_unit_test(on_a_host_of_its_own_it_waits_for_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

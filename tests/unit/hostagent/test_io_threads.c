/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An agent with several I/O threads, real ones, against an appliance that is played over TLS channels: disks
 * are attached to one and moved to the others, many at once, and their sockets stay what they are.
 */
#include "tests/unit/hostagent/played_appliance.h"

#include "fabric/base/log.h"
#include "fabric/base/rng.h"
#include "hostagent/io_threads.h"

#define LANES 3u
#define DISKS 12u
#define MOVES 1500u

static unsigned lanes_taken; /* what the played appliance says of lanes */
static bool over;	     /* the agent has ended: what it said before is of no matter */

static struct {
	struct chan *chan;
	unsigned hellos, boot, held;
	uint64_t stats;
} lane[LANES];

static struct {
	unsigned at, to; /* lanes */
	enum { ATTACHING, THERE, LEAVING } state;
	uint32_t epoch;
	unsigned moves;
	ino_t socket;
} disk[DISKS];
static unsigned moves;
static struct rng rng;

/* ---- what the appliance says ---- */

static void say_attach(unsigned d)
{
	char uid[16], name[16];

	snprintf(uid, sizeof(uid), "uid-%u", d);
	snprintf(name, sizeof(name), "d%u", d);
	disk[d].state = ATTACHING;
	tell_attach(lane[disk[d].at].chan, d, uid, name, ++disk[d].epoch);
}

static void say_detach(unsigned d, bool keep)
{
	message m = OUTRIGGER__SESSION__V1__MESSAGE__INIT;
	Outrigger__Session__V1__Detach det = OUTRIGGER__SESSION__V1__DETACH__INIT;

	det.dev = d;
	det.keep = keep;
	m.body_case = M(DETACH);
	m.detach = &det;
	disk[d].state = LEAVING;
	tell(lane[disk[d].at].chan, &m);
}

static void say_synced(uint64_t round)
{
	message m = OUTRIGGER__SESSION__V1__MESSAGE__INIT;
	Outrigger__Session__V1__Synced s = OUTRIGGER__SESSION__V1__SYNCED__INIT;

	s.round = round;
	m.body_case = M(SYNCED);
	m.synced = &s;
	for (unsigned i = 0; i < LANES; i++)
		tell(lane[i].chan, &m);
}

/* ---- what it hears ---- */

static ino_t socket_of(unsigned d)
{
	char path[128];
	struct stat st;

	snprintf(path, sizeof(path), "%s/d%u.sock", run_dir, d);
	return stat(path, &st) ? 0 : st.st_ino;
}

static void on_hello(struct chan *c, const Outrigger__Session__V1__Hello *h)
{
	assert_int_equal(h->lanes, LANES);
	assert_in_range(h->lane, 0, LANES - 1);
	lane[h->lane].chan = c;
	lane[h->lane].hellos++;
	lane[h->lane].held = (unsigned)h->n_held;
	lane[h->lane].boot = h->boot_id.data[0] | (unsigned)h->boot_id.data[1] << 8;
	chan_set_user(c, &lane[h->lane]);
	tell_welcome(c, 100 + h->lane, false, lanes_taken);
}

static void on_attached(const Outrigger__Session__V1__Attached *a)
{
	assert_string_equal(a->error, "");
	assert_in_range(a->dev, 0, DISKS - 1);
	disk[a->dev].state = THERE;
	if (!disk[a->dev].socket)
		disk[a->dev].socket = socket_of(a->dev);
	assert_true(disk[a->dev].socket && socket_of(a->dev) == disk[a->dev].socket);
}

static void on_message(void *ctx, struct chan *c, const uint8_t *bytes, size_t len)
{
	message *m = session_unpack(bytes, len);
	uint32_t d;

	(void)ctx;
	assert_non_null(m);
	switch (over ? M(_NOT_SET) : m->body_case) {
	case M(HELLO):
		on_hello(c, m->hello);
		break;
	case M(ATTACHED):
		on_attached(m->attached);
		break;
	case M(DETACHED):
		d = m->detached->dev;
		assert_int_equal(disk[d].state, LEAVING);
		disk[d].at = disk[d].to;
		if (disk[d].to < LANES)
			say_attach(d);
		break;
	case M(STATS):
		((typeof(&lane[0]))chan_user(c))->stats = m->stats->id;
		break;
	default:
		break;
	}
	outrigger__session__v1__message__free_unpacked(m, NULL);
}

static void on_up(void *ctx, struct chan *c, const struct chan_peer *peer)
{
	(void)ctx, (void)c, (void)peer;
}

static void on_down(void *ctx, struct chan *c, const char *reason)
{
	(void)ctx, (void)reason;
	for (unsigned i = 0; i < LANES; i++)
		if (lane[i].chan == c)
			lane[i].chan = NULL;
}

static const struct chan_ops ops = {on_up, on_message, on_down};

/* ---- tests ---- */

static struct io_threads *agent(void)
{
	static const int any[LANES] = {-1, -1, -1};
	struct agent_session_cfg cfg = agent_cfg();
	struct io_threads *t = NULL;

	memset(lane, 0, sizeof(lane));
	memset(disk, 0, sizeof(disk));
	moves = 0;
	over = false;
	assert_int_equal(io_threads_start(&cfg, LANES, any, &t), 0);
	return t;
}

static bool none(void)
{
	for (unsigned i = 0; i < LANES; i++)
		if (lane[i].chan)
			return false;
	return true;
}

static void end(struct io_threads *t)
{
	io_threads_stop(t);
	over = true;
	for (unsigned d = 0; d < DISKS; d++)
		assert_int_equal(socket_of(d), 0);
	WAIT(none());
}

static bool all_in(int state)
{
	for (unsigned d = 0; d < DISKS; d++)
		if ((int)disk[d].state != state)
			return false;
	return true;
}

static bool all_lanes(void)
{
	for (unsigned i = 0; i < LANES; i++)
		if (!lane[i].chan)
			return false;
	return true;
}

static void move_what_is_there(void)
{
	/* As the appliance does: when every device is attached; the next moves may overtake it. */
	if (all_in(THERE))
		say_synced(1 + moves);
	for (unsigned d = 0; d < DISKS; d++) {
		if (disk[d].state != THERE || moves >= MOVES)
			continue;
		disk[d].to = (disk[d].at + 1 + (unsigned)rng_below(&rng, LANES - 1)) % LANES;
		say_detach(d, true);
		moves++;
		if (moves % 50 == 0)
			assert_int_equal(ask_stats(lane[moves / 50 % LANES].chan, moves), 0);
	}
}

static void devices_go_from_thread_to_thread(void **state)
{
	struct io_threads *t;
	unsigned gone = 0;

	(void)state;
	lanes_taken = LANES;
	rng_init(&rng, 3);
	t = agent();
	WAIT(all_lanes());
	assert_int_equal(lane[0].boot, lane[1].boot);
	assert_int_equal(lane[0].boot, lane[2].boot);
	for (unsigned d = 0; d < DISKS; d++) {
		disk[d].at = d % LANES;
		say_attach(d);
	}
	WAIT(all_in(THERE));
	while (moves < MOVES) {
		move_what_is_there();
		settle(base, 1);
	}
	WAIT(all_in(THERE));
	/* One lane begins again: it says what all of them hold. */
	chan_close(lane[1].chan);
	WAIT(lane[1].hellos == 2);
	assert_int_equal(lane[1].held, DISKS);
	/* For good, from a lane whose session knows it. */
	while (gone < DISKS && disk[gone].at == 1)
		gone++;
	assert_in_range(gone, 0, DISKS - 1);
	disk[gone].to = LANES;
	say_detach(gone, false);
	WAIT(!socket_of(gone));
	end(t);
}

/* In the midst of it: whatever is in the mail goes with the agent. */
static void an_agent_may_end_at_any_time(void **state)
{
	(void)state;
	lanes_taken = LANES;
	for (unsigned round = 0; round < 10; round++) {
		struct io_threads *t = agent();

		if (round > 1) {
			WAIT(all_lanes());
			for (unsigned d = 0; d < DISKS; d++) {
				disk[d].at = d % LANES;
				say_attach(d);
			}
			WAIT(all_in(THERE));
			move_what_is_there();
			settle(base, (uint64_t)round);
		}
		end(t);
	}
}

/* An appliance that takes but one thread: the others wait. */
static void one_lane_is_enough(void **state)
{
	struct io_threads *t;

	(void)state;
	lanes_taken = 0;
	t = agent();
	WAIT(lane[0].chan);
	settle(base, 200);
	assert_int_equal(lane[1].hellos + lane[2].hellos, 0);
	/* It is upgraded. */
	lanes_taken = 2;
	chan_close(lane[0].chan);
	WAIT(lane[1].chan);
	assert_int_equal(lane[2].hellos, 0);
	end(t);
}

static int group_setup(void **state)
{
	(void)state;
	return appliance_begin(&ops);
}

static int group_teardown(void **state)
{
	(void)state;
	return appliance_end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(devices_go_from_thread_to_thread),
		cmocka_unit_test(an_agent_may_end_at_any_time),
		cmocka_unit_test(one_lane_is_enough),
	};

	log_init("test_io_threads", LOG_ERR);
	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}

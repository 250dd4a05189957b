/* SPDX-License-Identifier: Apache-2.0 */
/* An agent with several I/O threads: where its devices are attached, and how they move. */
#include "tests/unit/appliance/hosts/hosts_world.h"

#define N     3u
#define VNICS 5u

static struct agent lane[N], other;
static char uid[VNICS + 1][64];
static uint8_t boot;

static void before(void)
{
	char name[8];

	make_host(&lane[0], "one");
	make_host(&other, "two");
	make_profile("p", "one");
	for (unsigned i = 0; i < VNICS; i++) {
		snprintf(name, sizeof(name), "v%u", i);
		make_vnic(name, "p");
	}
	make_vdisk("d", "p", "mem");
	for (unsigned i = 1; i < N; i++)
		lane[i] = lane[0];
	for (unsigned i = 0; i < N; i++) {
		lane[i].lane = i;
		lane[i].lanes = N;
	}
}

static struct hdev *nth(unsigned i)
{
	char name[8];
	struct hdev *d;

	snprintf(name, sizeof(name), "v%u", i);
	d = i < VNICS ? device_find(W.h, KIND_VNIC, name) : device_find(W.h, KIND_VDISK, "d");
	assert_non_null(d);
	return d;
}

/* The lane whose session it is bound to, and which was told; N: none. */
static unsigned lane_of(const struct hdev *d)
{
	for (unsigned i = 0; i < N; i++)
		if (d->a.state == ATTACH_BOUND && lane[i].chan && d->a.session == lane[i].session &&
		    agent_dev(&lane[i], d->name))
			return i;
	return N;
}

static unsigned count(unsigned l)
{
	unsigned n = 0;

	for (unsigned i = 0; i <= VNICS; i++)
		n += lane_of(nth(i)) == l;
	return n;
}

static bool all_attached(void)
{
	return count(N) == 0;
}

static void begin(unsigned i)
{
	if (lane[i].chan)
		chan_close(lane[i].chan);
	WAIT(!lane[i].chan);
	agent_connect(&lane[i]);
	say_lane(&lane[i], boot);
}

static bool same_round(void)
{
	for (unsigned i = 0; i < N; i++)
		if (!lane[i].synced || lane[i].round != lane[0].round)
			return false;
	return true;
}

static void all_live(void)
{
	boot++;
	for (unsigned i = 0; i < N; i++)
		begin(i);
	WAIT(all_attached() && same_round());
}

static void all_quit(void)
{
	for (unsigned i = 0; i < N; i++)
		agent_quit(&lane[0]); /* the first that is there */
	WAIT(list_empty(&W.h->sessions));
}

/* Not placed yet, as after a start of the appliance. */
static void forget(void)
{
	for (unsigned i = 0; i <= VNICS; i++)
		nth(i)->lane = LANES;
}

static void devices_are_spread(void **state)
{
	struct status_host st = {.connected = false};
	uint64_t round;

	(void)state;
	NEED_WORLD();
	all_live();
	for (unsigned i = 0; i < N; i++)
		assert_int_equal(count(i), (VNICS + 1) / N);
	assert_true(W.status.host(W.status.ctx, "one", &st));
	assert_int_equal(st.nthreads, N);
	assert_int_equal(st.session_id, lane[0].session);
	assert_true(st.threads[0].connected && st.threads[2].connected);
	round = lane[0].round;
	/* Another agent process takes all of it; where things were they are again. */
	all_live();
	assert_true(lane[0].round != round);
	for (unsigned i = 0; i < N; i++)
		assert_int_equal(count(i), (VNICS + 1) / N);
	assert_int_equal(lane[0].kept + lane[1].kept + lane[2].kept, 0);
	all_quit();
}

static void set_thread(unsigned vnic, unsigned number)
{
	Outrigger__V1__VNic v = OUTRIGGER__V1__VNIC__INIT;

	v.name = nth(vnic)->name;
	v.io_thread = number;
	update(KIND_VNIC, &v, "io_thread");
	apply_ok();
}

static void a_device_moves_when_told(void **state)
{
	Outrigger__V1__VDisk d = OUTRIGGER__V1__VDISK__INIT;
	uint64_t epoch;

	(void)state;
	NEED_WORLD();
	all_live();
	for (unsigned turn = 0; turn < 2 * N; turn++) {
		unsigned from = lane_of(nth(VNICS)), to = turn % N, kept;

		epoch = nth(VNICS)->epoch;
		kept = lane[from].kept;
		d.name = (char *)"d";
		d.io_thread = to + 1;
		update(KIND_VDISK, &d, "io_thread");
		apply_ok();
		WAIT(lane_of(nth(VNICS)) == to);
		/* It stays on the host, and no request of the old epoch will do anything. */
		assert_int_equal(lane[from].kept, kept + (from != to));
		if (from != to)
			assert_true(nth(VNICS)->epoch > epoch);
	}
	/* To another host it goes as ever. */
	agent_live(&other);
	place_profile("p", "two");
	apply_ok();
	WAIT(agent_dev(&other, "d"));
	place_profile("p", "one");
	apply_ok();
	WAIT(all_attached());
	assert_int_equal(other.kept, 0);
	assert_int_equal(lane_of(nth(VNICS)), 2);
	d.io_thread = 0;
	update(KIND_VDISK, &d, "io_thread");
	apply_ok();
	assert_int_equal(lane_of(nth(VNICS)), 2);
	agent_quit(&other);
	all_quit();
}

/* Its lane is told to keep it for another, but then it goes there no more: the agent hears of that. */
static void what_is_kept_and_not_attached_again(void **state)
{
	Outrigger__V1__VDisk v = OUTRIGGER__V1__VDISK__INIT;
	struct hdev *d;
	uint64_t round;
	unsigned from;

	(void)state;
	NEED_WORLD();
	all_live();
	d = nth(VNICS);
	from = lane_of(d);
	round = lane[from].round;
	lane[from].deaf = true;
	lanes_move(d, (from + 1) % N);
	WAIT(lane[from].kept);
	evtimer_del(d->late); /* deaf for as long as this takes */
	v.name = (char *)"d";
	v.admin_state = OUTRIGGER__V1__ADMIN_STATE__ADMIN_STATE_DOWN;
	update(KIND_VDISK, &v, "admin_state");
	begin_apply(control_model(W.ctl));
	lane[from].deaf = false;
	memset(&lane[from].devs[d->slot], 0, sizeof(lane[from].devs[0]));
	say_detached(&lane[from], d->slot);
	WAIT(W.applied);
	WAIT(same_round() && lane[from].round != round);
	assert_int_equal(lane_of(d), N);
	v.admin_state = OUTRIGGER__V1__ADMIN_STATE__ADMIN_STATE_UP;
	update(KIND_VDISK, &v, "admin_state");
	apply_ok();
	WAIT(all_attached());
	all_quit();
}

static void what_a_lane_holds_it_gets(void **state)
{
	(void)state;
	NEED_WORLD();
	forget();
	for (unsigned i = 0; i < 4; i++) {
		snprintf(uid[i], sizeof(uid[i]), "%s", nth(i)->uid);
		lane[0].held[i] = uid[i];
	}
	lane[0].held_lane = 2;
	all_live();
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(lane_of(nth(i)), 2);
	assert_int_equal(count(0), 1);
	assert_int_equal(count(1), 1);
	memset(lane[0].held, 0, sizeof(lane[0].held));
	all_quit();
}

/* For a device whose lane is gone, however long the loop takes for it. */
static bool no_time_passes(void)
{
	for (unsigned i = 0; i <= VNICS; i++)
		nth(i)->waits = 0;
	return true;
}

/* One lane's trouble is its own devices', and not for long. */
static void a_lane_that_is_gone(void **state)
{
	uint64_t session[2];
	unsigned there;

	(void)state;
	NEED_WORLD();
	forget();
	all_live();
	session[0] = lane[0].session;
	session[1] = lane[2].session;
	there = count(1);
	assert_int_equal(there, 2);
	session_end(session_by_id(W.h, lane[1].session), "the test wants it so");
	WAIT(no_time_passes() && lane[1].gone);
	WAIT(no_time_passes() && count(N) == there); /* they are waited for */
	agent_connect(&lane[1]);
	say_lane(&lane[1], boot);
	WAIT(no_time_passes() && all_attached() && same_round());
	assert_int_equal(count(1), there);
	session_end(session_by_id(W.h, lane[1].session), "the test wants it so");
	WAIT(lane[1].gone);
	WAIT(all_attached()); /* elsewhere */
	assert_int_equal(count(0), 3);
	assert_int_equal(lane[0].session, session[0]);
	assert_int_equal(lane[2].session, session[1]);
	/* It comes back, and nothing is moved for it: that is the balance's part, or the administrator's. */
	begin(1);
	WAIT(same_round());
	assert_int_equal(count(1), 0);
	set_thread(0, 2);
	WAIT(lane_of(nth(0)) == 1);
	session_end(session_by_id(W.h, lane[1].session), "the test wants it so");
	WAIT(lane[1].gone);
	WAIT(all_attached());
	/* What is to be there, and is served elsewhere, stays where it is till then. */
	there = lane[0].detaches + lane[2].detaches;
	set_thread(1, 2);
	assert_true(all_attached());
	assert_int_equal(lane[0].detaches + lane[2].detaches, there);
	begin(1);
	WAIT(lane_of(nth(0)) == 1 && lane_of(nth(1)) == 1); /* where it is to be */
	assert_int_equal(lane[0].detaches + lane[2].detaches, there + 2);
	set_thread(1, 0);
	set_thread(0, 0);
	all_quit();
}

static void wrong_hellos(void **state)
{
	static const struct {
		unsigned lane, lanes;
	} wrong[] = {{0, LANES + 1}, {1, 1}, {16, 16}, {UINT32_MAX, 2}};

	(void)state;
	NEED_WORLD();
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct agent a = lane[0];

		a.lane = wrong[i].lane;
		a.lanes = wrong[i].lanes;
		agent_connect(&a);
		say_lane(&a, 1);
		WAIT(a.gone);
		assert_false(a.welcomed);
	}
	/* With two lanes where there were three: another agent. */
	all_live();
	{
		static struct agent a;

		a = lane[0];
		a.lanes = 2;
		agent_connect(&a);
		say_lane(&a, boot);
		WAIT(lane[0].gone && lane[1].gone && lane[2].gone);
		WAIT(a.synced);
		agent_quit(&a);
	}
	WAIT(list_empty(&W.h->sessions));
}

/* ---- load ---- */

static void report(unsigned l, uint64_t cpu_us, const uint64_t *frames)
{
	message m = OUTRIGGER__SESSION__V1__MESSAGE__INIT;
	Outrigger__Session__V1__Stats s = OUTRIGGER__SESSION__V1__STATS__INIT;
	Outrigger__Session__V1__Counter c = OUTRIGGER__SESSION__V1__COUNTER__INIT, *cs = &c;
	Outrigger__Session__V1__Counter f[VNICS], *fs[VNICS];
	Outrigger__Session__V1__DeviceStats d[VNICS], *ds[VNICS];

	for (unsigned i = 0; i < VNICS; i++) {
		uint32_t dev = agent_dev(&lane[l], nth(i)->name);

		if (!dev)
			continue;
		outrigger__session__v1__counter__init(fs[i] = &f[i]);
		f[i].name = (char *)"tx_frames";
		f[i].value = frames[i];
		outrigger__session__v1__device_stats__init(ds[s.n_devices] = &d[i]);
		d[i].dev = dev;
		d[i].n_counters = 1;
		d[i].counters = &fs[i];
		s.n_devices++;
	}
	s.devices = ds;
	c.name = (char *)"cpu_us";
	c.value = cpu_us;
	s.fabric = &cs;
	s.n_fabric = 1;
	m.body_case = M(STATS);
	m.stats = &s;
	say(&lane[l], &m);
}

/* Thread 1 has all the work, until something leaves it: by two findings, and no faster. */
static void a_busy_thread_is_relieved(void **state)
{
	static const struct timeval second = {1, 0};
	uint64_t frames[VNICS] = {0}, cpu = 0;
	unsigned moves = 0;

	(void)state;
	NEED_WORLD();
	event_del(W.h->tick); /* time is the test's */
	for (unsigned i = 0; i <= VNICS; i++)
		nth(i)->lane = 0;
	all_live();
	assert_int_equal(count(0), VNICS + 1);
	for (unsigned round = 0; round < 12 && moves < 2; round++) {
		for (unsigned i = 0; i < VNICS; i++)
			frames[i] += 1000;
		/* More than any time that passed here. */
		cpu += 1000000000000;
		for (unsigned l = 0; l < N; l++)
			report(l, l ? 0 : cpu, frames);
		WAIT(session_by_id(W.h, lane[0].session)->load.cpu_us == cpu);
		if (round)
			assert_true(session_by_id(W.h, lane[0].session)->load.busy == 1000);
		W.h->ticks += STATS_EVERY - W.h->ticks % STATS_EVERY + STATS_EVERY / 2;
		lanes_tick(W.h);
		WAIT(all_attached());
		if (count(0) < VNICS + 1 - moves) {
			assert_int_equal(count(0), VNICS - moves);
			moves++;
			assert_true(round + 1 >= 2 * moves);
		}
	}
	assert_int_equal(moves, 2);
	event_add(W.h->tick, &second);
	all_quit();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(devices_are_spread),
		cmocka_unit_test(a_device_moves_when_told),
		cmocka_unit_test(what_is_kept_and_not_attached_again),
		cmocka_unit_test(what_a_lane_holds_it_gets),
		cmocka_unit_test(a_lane_that_is_gone),
		cmocka_unit_test(wrong_hellos),
		cmocka_unit_test(a_busy_thread_is_relieved),
	};
	int failed = world_start(before);

	if (failed)
		return failed;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	world_stop();
	return failed;
}

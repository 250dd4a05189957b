/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent's session against an appliance without manners, over a real TLS channel: every type of message in
 * every state. What does not belong there ends the session or is passed over, as session.c says; the device
 * of another's making stays what it was.
 */
#include "tests/unit/hostagent/played_appliance.h"

#include <unistd.h>

#include "fabric/base/log.h"

#define TYPES 16u /* of message.body: NOT_SET, HELLO .. REKEYED */
#define DEV   5u

/* Of the session, as the appliance sees it. WAITING: its channel broke, and it asks to go on. */
enum st { CONNECTED, LIVE, ATTACHED, WAITING, STATES };
static const char *const names[STATES] = {"connected", "live", "attached", "waiting"};

static struct agent_session *agent;
static char sock[128];

/* What the played appliance has heard. */
static struct {
	struct chan *chan;
	unsigned ups, downs, seen[TYPES];
	uint64_t resume, stats, session;
	size_t devices;
	char error[256];
} A;

static void on_up(void *ctx, struct chan *c, const struct chan_peer *peer)
{
	(void)ctx;
	assert_string_equal(peer->name, "h1");
	A.chan = c;
	A.ups++;
}

static void on_message(void *ctx, struct chan *c, const uint8_t *bytes, size_t len)
{
	message *m = session_unpack(bytes, len);

	(void)ctx, (void)c;
	assert_non_null(m);
	assert_in_range(m->body_case, 1, TYPES - 1);
	A.seen[m->body_case]++;
	if (m->body_case == M(HELLO))
		A.resume = m->hello->resume;
	if (m->body_case == M(STATS)) {
		A.stats = m->stats->id;
		A.devices = m->stats->n_devices;
	}
	if (m->body_case == M(ATTACHED))
		snprintf(A.error, sizeof(A.error), "%s", m->attached->error);
	outrigger__session__v1__message__free_unpacked(m, NULL);
}

static void on_down(void *ctx, struct chan *c, const char *reason)
{
	(void)ctx, (void)c, (void)reason;
	A.chan = NULL;
	A.downs++;
}

static const struct chan_ops ops = {on_up, on_message, on_down};

static void say_welcome(bool resumed)
{
	tell_welcome(A.chan, A.session, resumed, 0);
}

static void say_attach(void)
{
	tell_attach(A.chan, DEV, "uid-of-disk", "disk", 3);
}

/* A message of that type with nothing in it, as a peer may well form it. */
static void say_empty(unsigned type)
{
	const uint8_t known[] = {(uint8_t)(type << 3 | 2), 0}; /* that field of `body`, of length 0 */
	static const uint8_t later[] = {0xa0, 0x06, 1};	       /* field 100 */

	assert_int_equal(
		type ? chan_send(A.chan, known, sizeof(known)) : chan_send(A.chan, later, sizeof(later)), 0);
}

static void stats(uint64_t id)
{
	if (A.chan)
		ask_stats(A.chan, id);
}

static void fresh(void)
{
	struct agent_session_cfg cfg = agent_cfg();

	agent_session_destroy(agent);
	agent = NULL;
	WAIT(!A.chan);
	memset(&A, 0, sizeof(A));
	A.session = 0x1234;
	assert_int_equal(agent_session_create(&cfg, &agent), 0);
	WAIT(A.seen[M(HELLO)] == 1);
	assert_true(A.resume == 0);
}

static void reach(enum st st)
{
	fresh();
	if (st == CONNECTED)
		return;
	say_welcome(false);
	if (st == ATTACHED || st == WAITING) {
		say_attach();
		WAIT(A.seen[M(ATTACHED)]);
		assert_string_equal(A.error, "");
		assert_int_equal(access(sock, F_OK), 0);
	}
	stats(1);
	WAIT(A.stats == 1);
	if (st != WAITING)
		return;
	chan_close(A.chan);
	WAIT(A.seen[M(HELLO)] == 2);
	assert_true(A.resume == A.session);
}

enum fate { ENDS, STAYS, ANSWERED };

/* What an empty message of each type does. Only a session that is live takes any but the welcome. */
static enum fate expected(enum st st, unsigned type)
{
	if (st == CONNECTED || st == WAITING)
		return ENDS;
	switch (type) {
	case M(WELCOME): /* twice */
	case M(REFUSE):
	case M(REKEY): /* without SPI and key */
		return ENDS;
	case M(ATTACH):
	case M(DETACH):
	case M(STATS_REQUEST):
		return ANSWERED;
	default:
		return STAYS;
	}
}

static void one(enum st st, unsigned type)
{
	enum fate want = expected(st, type);
	unsigned before[TYPES];
	unsigned downs;

	reach(st);
	memcpy(before, A.seen, sizeof(before));
	downs = A.downs;
	say_empty(type);
	if (want == ENDS) {
		WAIT(A.downs > downs);
	} else {
		stats(99);
		WAIT(A.stats == 99 || A.downs > downs);
		if (A.downs > downs)
			fail_msg("%s: an empty message %u ends the session", names[st], type);
		for (unsigned i = 0; i < TYPES; i++) {
			unsigned more = A.seen[i] - before[i] - (i == M(STATS));
			bool answer = (type == M(ATTACH) && i == M(ATTACHED)) ||
				      (type == M(DETACH) && i == M(DETACHED)) ||
				      (type == M(STATS_REQUEST) && i == M(STATS));

			if (more != (want == ANSWERED && answer))
				fail_msg("%s: an empty message %u is answered by %u of %u", names[st], type,
					 more, i);
		}
		if (type == M(ATTACH))
			assert_string_not_equal(A.error, "");
	}
	/* The device is there, whatever came. */
	if (st == ATTACHED || st == WAITING)
		assert_int_equal(access(sock, F_OK), 0);
}

static void every_message_in_every_state(void **state)
{
	(void)state;
	for (enum st st = 0; st < STATES; st++)
		for (unsigned type = 0; type < TYPES; type++)
			one(st, type);
}

static void bytes_that_are_no_message(void **state)
{
	(void)state;
	for (enum st st = 0; st < STATES; st++) {
		unsigned downs;

		reach(st);
		downs = A.downs;
		assert_int_equal(chan_send(A.chan, "\xff\xff\xff", 3), 0);
		WAIT(A.downs > downs);
	}
}

/* A session that waits for its channel goes on, and only as itself. */
static void resumed(void **state)
{
	unsigned downs;

	(void)state;
	reach(WAITING);
	say_welcome(true);
	stats(7);
	WAIT(A.stats == 7);
	assert_int_equal(access(sock, F_OK), 0);
	reach(WAITING);
	A.session++;
	downs = A.downs;
	say_welcome(true);
	WAIT(A.downs > downs);
	reach(CONNECTED);
	say_welcome(true); /* it has none */
	WAIT(A.downs > 0);
}

/* A quiet device's counters are told once to whom has been told of the device. */
static void counters_are_told_when_they_have_changed(void **state)
{
	(void)state;
	reach(ATTACHED);
	assert_int_equal(A.devices, 1);
	stats(2);
	WAIT(A.stats == 2);
	assert_int_equal(A.devices, 0);
	say_attach();
	WAIT(A.seen[M(ATTACHED)] == 2);
	stats(3);
	WAIT(A.stats == 3);
	assert_int_equal(A.devices, 1);
}

static void fields_out_of_range(void **state)
{
	static const struct {
		uint32_t path, spi, key, config;
	} rows[] = {{RT_PATHS, 1, 16, 0}, {UINT32_MAX, 1, 16, 0}, {0, 0, 16, 0},
		    {0, 1, 15, 0},	  {0, 1, 17, 0},	  {0, 1, 0, 0}};
	static uint8_t bytes[4096];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		message m = OUTRIGGER__SESSION__V1__MESSAGE__INIT;
		Outrigger__Session__V1__Rekey k = OUTRIGGER__SESSION__V1__REKEY__INIT;

		reach(LIVE);
		k.index = rows[i].path;
		k.rx_spi = rows[i].spi;
		k.key.data = bytes;
		k.key.len = rows[i].key;
		m.body_case = M(REKEY);
		m.rekey = &k;
		tell(A.chan, &m);
		WAIT(A.downs == 1);
		assert_int_equal(A.seen[M(REKEYED)], 0);
	}
	for (size_t len = 0; len < sizeof(bytes); len = len ? len * 2 : 1) {
		message m = OUTRIGGER__SESSION__V1__MESSAGE__INIT;
		Outrigger__Session__V1__Carrier c = OUTRIGGER__SESSION__V1__CARRIER__INIT;

		reach(LIVE);
		c.packet.data = bytes;
		c.packet.len = len;
		m.body_case = M(CARRIER); /* there is no such path: passed over */
		m.carrier = &c;
		tell(A.chan, &m);
		stats(8);
		WAIT(A.stats == 8);
	}
}

static int group_setup(void **state)
{
	int r = appliance_begin(&ops);

	(void)state;
	snprintf(sock, sizeof(sock), "%s/disk.sock", run_dir);
	return r;
}

static int group_teardown(void **state)
{
	(void)state;
	agent_session_destroy(agent);
	return appliance_end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_message_in_every_state),
		cmocka_unit_test(bytes_that_are_no_message),
		cmocka_unit_test(resumed),
		cmocka_unit_test(counters_are_told_when_they_have_changed),
		cmocka_unit_test(fields_out_of_range),
	};

	log_init("test_session", LOG_ERR);
	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}

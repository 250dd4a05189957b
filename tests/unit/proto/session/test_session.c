/* SPDX-License-Identifier: Apache-2.0 */
/* Session messages: what was said is what is heard; bytes of a stranger do no harm. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fabric/base/rng.h"
#include "proto/session/session.h"

typedef Outrigger__Session__V1__Message message;

static uint8_t bytes[4096];

static size_t pack(const message *m)
{
	size_t n = outrigger__session__v1__message__get_packed_size(m);

	assert_in_range(n, 1, sizeof(bytes));
	return outrigger__session__v1__message__pack(m, bytes);
}

static size_t state_bytes(void)
{
	message m = OUTRIGGER__SESSION__V1__MESSAGE__INIT;
	Outrigger__Session__V1__DeviceState s = OUTRIGGER__SESSION__V1__DEVICE_STATE__INIT;

	s.dev = 4095;
	s.connected = true;
	s.features = 1ull << 63;
	s.queues_running = UINT64_MAX;
	s.broken = (char *)"queue 1: loops";
	m.body_case = OUTRIGGER__SESSION__V1__MESSAGE__BODY_DEVICE_STATE;
	m.device_state = &s;
	return pack(&m);
}

static void what_was_said_is_heard(void **state)
{
	message *m = session_unpack(bytes, state_bytes());

	(void)state;
	assert_non_null(m);
	assert_int_equal(m->body_case, OUTRIGGER__SESSION__V1__MESSAGE__BODY_DEVICE_STATE);
	assert_int_equal(m->device_state->dev, 4095);
	assert_int_equal(m->device_state->features, 1ull << 63);
	assert_int_equal(m->device_state->queues_running, UINT64_MAX);
	assert_string_equal(m->device_state->broken, "queue 1: loops");
	outrigger__session__v1__message__free_unpacked(m, NULL);
}

/* The bytes themselves: another build must read them. */
static void the_form_on_the_wire_stays(void **state)
{
	static const uint8_t golden[] = {0x42, 0x27, 0x08, 0xff, 0x1f, 0x10, 0x01, 0x19, 0,    0,    0,
					 0,    0,    0,	   0,	 0x80, 0x21, 0xff, 0xff, 0xff, 0xff, 0xff,
					 0xff, 0xff, 0xff, 0x2a, 0x0e, 'q',  'u',  'e',	 'u',  'e',  ' ',
					 '1',  ':',  ' ',  'l',	 'o',  'o',  'p',  's'};

	(void)state;
	assert_int_equal(state_bytes(), sizeof(golden));
	assert_memory_equal(bytes, golden, sizeof(golden));
}

static void of_a_newer_peer_it_is_no_message_but_no_error(void **state)
{
	static const uint8_t newer[] = {0xfa, 0x3f, 0x02, 0x08, 0x01}; /* field 1023, a message */
	message *m = session_unpack(newer, sizeof(newer));

	(void)state;
	assert_non_null(m);
	assert_int_equal(m->body_case, OUTRIGGER__SESSION__V1__MESSAGE__BODY__NOT_SET);
	outrigger__session__v1__message__free_unpacked(m, NULL);
	m = session_unpack(newer, 0);
	assert_non_null(m);
	outrigger__session__v1__message__free_unpacked(m, NULL);
}

static void what_is_cut_or_damaged_is_refused_or_read_within_its_bounds(void **state)
{
	struct rng r;
	size_t n = state_bytes();

	(void)state;
	for (size_t len = 1; len < n; len++) {
		uint8_t *cut = malloc(len); /* its end is where the sanitizers watch */

		memcpy(cut, bytes, len);
		assert_null(session_unpack(cut, len));
		free(cut);
	}
	rng_init(&r, 1);
	for (int i = 0; i < 20000; i++) {
		uint8_t *bad = malloc(n);
		message *m;

		memcpy(bad, bytes, n);
		for (uint64_t k = 1 + rng_below(&r, 3); k; k--)
			bad[rng_below(&r, n)] = (uint8_t)rng_below(&r, 256);
		m = session_unpack(bad, n);
		if (m)
			outrigger__session__v1__message__free_unpacked(m, NULL);
		free(bad);
	}
}

/* The same field twice, and two different ones: the last of them counts, and nothing is freed twice. */
static void a_message_that_says_two_things_says_the_last(void **state)
{
	static const uint8_t two[] = {0x32, 0x02, 0x08, 0x05, 0x32, 0x02, 0x08, 0x06, 0x3a, 0x02, 0x08, 0x07};
	message *m = session_unpack(two, sizeof(two));

	(void)state;
	assert_non_null(m);
	assert_int_equal(m->body_case, OUTRIGGER__SESSION__V1__MESSAGE__BODY_DETACHED);
	assert_int_equal(m->detached->dev, 7);
	outrigger__session__v1__message__free_unpacked(m, NULL);
}

static void nothing_is_sent_without_a_channel(void **state)
{
	message m = OUTRIGGER__SESSION__V1__MESSAGE__INIT;

	(void)state;
	assert_int_equal(session_send(NULL, &m), -ENOTCONN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_said_is_heard),
		cmocka_unit_test(the_form_on_the_wire_stays),
		cmocka_unit_test(of_a_newer_peer_it_is_no_message_but_no_error),
		cmocka_unit_test(what_is_cut_or_damaged_is_refused_or_read_within_its_bounds),
		cmocka_unit_test(a_message_that_says_two_things_says_the_last),
		cmocka_unit_test(nothing_is_sent_without_a_channel),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

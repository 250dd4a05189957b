/* SPDX-License-Identifier: Apache-2.0 */
/* The life of an attachment, told as text: events in, steps out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "appliance/hosts/attach.h"
#include "fabric/base/rng.h"

static const char *const step_names[] = {"-", "bind", "attach", "detach", "unbind", "free"};

/* Events: w<N> want, c changed, r removed, d<N> session down, b bound, B bind failed, t<N> detached, u
 * unbound. */
static enum attach_step event(struct attach *a, const char *e)
{
	uint64_t n = strtoull(e + 1, NULL, 10);

	switch (e[0]) {
	case 'w':
		return attach_want(a, n);
	case 'c':
		return attach_changed(a);
	case 'r':
		return attach_remove(a);
	case 'd':
		return attach_session_down(a, n);
	case 'b':
		return attach_bound(a, true);
	case 'B':
		return attach_bound(a, false);
	case 't':
		return attach_detached(a, n);
	default:
		return attach_unbound(a);
	}
}

static void story(const char *events, const char *expect)
{
	char log[256] = "", text[256];
	struct attach a;
	char *save = NULL;

	attach_init(&a);
	snprintf(text, sizeof(text), "%s", events);
	for (char *e = strtok_r(text, " ", &save); e; e = strtok_r(NULL, " ", &save)) {
		if (log[0])
			strcat(log, " ");
		strcat(log, step_names[event(&a, e)]);
	}
	assert_string_equal(log, expect);
}

static void stories(void **state)
{
	(void)state;
	story("w1 b", "bind attach");
	/* Moved to another host: the old agent first, then the drain, then the new one. */
	story("w1 b w2 t1 u b", "bind attach detach unbind bind attach");
	/* The old host is dead. */
	story("w1 b d1 u w2 b", "bind attach unbind - bind attach");
	/* It comes back while the drain goes on: nothing binds before its end. */
	story("w1 b d1 w2 u b", "bind attach unbind - bind attach");
	/* The agent dies while it should detach. */
	story("w1 b w2 d1 u b", "bind attach detach unbind bind attach");
	/* An answer of a former session means nothing. */
	story("w1 b w2 t7 t1", "bind attach detach - unbind");
	/* Wanted elsewhere while the bind is under way. */
	story("w1 w2 b u b", "bind - unbind bind attach");
	story("w1 d1 b u", "bind - unbind -");
	/* Binding failed: no loop, another event tries again. */
	story("w1 B w1 b", "bind - bind attach");
	/* Changed parameters: detached and attached once more, on the same session. */
	story("w1 b c t1 u b", "bind attach detach unbind bind attach");
	story("w1 c b u b", "bind - unbind bind attach");
	story("r", "free");
	story("w1 b r t1 u", "bind attach detach unbind free");
	story("w1 r b u", "bind - unbind free");
	story("w1 r B", "bind - free");
	/* Twice the same. */
	story("w1 w1 b w1", "bind - attach -");
	story("u b t1", "- - -");
}

/* Random events; a glue that answers every step, late. Never two sessions at once; it always settles. */
static void random_walk(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 2000; seed++) {
		struct rng r;
		struct attach a;
		enum attach_step todo = ATTACH_NOTHING;
		uint64_t live = 0, next_session = 1, bound_to = 0;

		rng_init(&r, seed);
		attach_init(&a);
		for (int i = 0; i < 400; i++) {
			enum attach_step s = ATTACH_NOTHING;
			bool wild = i < 300;

			switch (wild ? rng_below(&r, 6) : 5) {
			case 0:
				live = next_session++;
				s = attach_want(&a, live);
				break;
			case 1:
				s = attach_session_down(&a, live ? live : 1);
				live = 0;
				break;
			case 2:
				s = attach_changed(&a);
				break;
			default:
				switch (todo) {
				case ATTACH_BIND:
					assert_int_equal(bound_to, 0);
					bound_to = a.session;
					todo = ATTACH_NOTHING;
					s = attach_bound(&a, true);
					break;
				case ATTACH_SEND_DETACH:
					todo = ATTACH_NOTHING;
					s = attach_detached(&a, a.session);
					break;
				case ATTACH_UNBIND:
					assert_int_not_equal(bound_to, 0);
					bound_to = 0;
					todo = ATTACH_NOTHING;
					s = attach_unbound(&a);
					break;
				default:
					break;
				}
			}
			/* A step replaces a pending detach alone; anything else awaited must have been
			 * answered. */
			if (s != ATTACH_NOTHING && s != ATTACH_SEND_ATTACH) {
				assert_true(todo == ATTACH_NOTHING || todo == ATTACH_SEND_DETACH);
				todo = s;
			}
		}
		assert_true(attach_settled(&a));
		assert_int_equal(bound_to, a.want);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(stories), cmocka_unit_test(random_walk)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Waiting in a test that has an event loop: for a condition, with a limit that no busy machine reaches. The
 * limit tells what never comes from what is slow. Let a time pass, with settle(), only where nothing may
 * happen meanwhile.
 *
 * For the thread whose loop `base` is, in a program with cmocka.
 */
#ifndef TESTS_LIB_WAIT_H
#define TESTS_LIB_WAIT_H

#include <event2/event.h>

#include "fabric/base/clock.h"

#define PATIENCE_S 60

/* Runs the loop until cond holds or ms are over; what cond is then. What no event announces is looked at
 * every 5 ms. */
#define wait_ms(base, cond, ms)                                                                              \
	({                                                                                                   \
		uint64_t until_ = clock_now_ns() + (ms)*NSEC_PER_MSEC;                                       \
		bool holds_;                                                                                 \
		while (!(holds_ = (cond)) && clock_now_ns() < until_) {                                      \
			struct timeval tv_ = {0, 5000};                                                      \
			event_base_loopexit(base, &tv_);                                                     \
			event_base_loop(base, EVLOOP_ONCE);                                                  \
		}                                                                                            \
		holds_;                                                                                      \
	})

#define wait_until(base, cond) assert_true(wait_ms(base, cond, PATIENCE_S * 1000))
#define settle(base, ms)       (void)wait_ms(base, false, ms)

#endif

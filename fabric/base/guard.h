/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guards that tests can remove. A guard is a condition that keeps a promise: GUARD(name, condition) is
 * the plain condition. Only a build for mutants (OUTRIGGER_MUTANTS, see tests/sim/rules.mk) asks, once
 * per place, whether the test has removed the guard; then it holds whatever the condition says.
 * `make mutants` removes each in turn and expects some test to notice.
 *
 * The condition is evaluated in every case.
 */
#ifndef OUTRIGGER_BASE_GUARD_H
#define OUTRIGGER_BASE_GUARD_H

#ifdef OUTRIGGER_MUTANTS
#include <stdbool.h>

bool guard_removed(const char *name); /* tests/lib/guard.c */
#define GUARD(name, cond)                                                                                    \
	({                                                                                                   \
		static int removed_ = -1;                                                                    \
		bool holds_ = (cond);                                                                        \
		if (removed_ < 0)                                                                            \
			removed_ = guard_removed(#name);                                                     \
		holds_ || removed_;                                                                          \
	})
#else
#define GUARD(name, cond) (cond)
#endif

#endif

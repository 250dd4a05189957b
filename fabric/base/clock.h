/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one place that reads a clock. Cores never include this header: they take `now`
 * (nanoseconds, monotonic, no epoch) as an argument. Glue reads it once per burst.
 */
#ifndef OUTRIGGER_BASE_CLOCK_H
#define OUTRIGGER_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

#define NSEC_PER_USEC 1000ull
#define NSEC_PER_MSEC 1000000ull
#define NSEC_PER_SEC  1000000000ull

static inline uint64_t clock_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

#endif

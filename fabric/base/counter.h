/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Named counters. A room lists its counters once with an X-macro, which makes the enum and
 * the name table together, so that a drop without a name cannot exist:
 *
 *	#define RT_COUNTERS(X) X(rx_packets) X(drop_auth) ...
 *	enum rt_counter { RT_COUNTERS(RT_COUNTER_ENUM) RT_NCOUNTERS };   header; with
 *	#define RT_COUNTER_ENUM(name) RT_C_##name,
 *	COUNTERS_DEFINE(rt, RT_COUNTERS)                                 .c: rt_counter_names[]
 *
 * Values are uint64_t arrays indexed by the enum, one array per owner. Writer: the owning
 * thread alone, with counter_add(). Readers: any thread, with counter_get(), which sees a
 * recent value of each counter (not one instant of all).
 */
#ifndef OUTRIGGER_BASE_COUNTER_H
#define OUTRIGGER_BASE_COUNTER_H

#include <stdint.h>

#define COUNTER_NAME_(name) #name,

#define COUNTERS_DEFINE(room, LIST) const char *const room##_counter_names[] = {LIST(COUNTER_NAME_)};

static inline void counter_add(uint64_t *c, uint64_t n)
{
	/* One writer: a plain read is enough, the store must not tear for readers. */
	__atomic_store_n(c, *c + n, __ATOMIC_RELAXED);
}

static inline uint64_t counter_get(const uint64_t *c)
{
	return __atomic_load_n(c, __ATOMIC_RELAXED);
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RDMA devices in memory below link/verbs, for tests: any number of devices "vd0", "vd1", ... on one fabric,
 * whose queue pairs find each other by number. What is posted is delivered at once, in order, with the
 * library's rules (states, keys, lengths, flushes) kept or, where a test says so, broken on purpose.
 * Everything is deterministic; nothing sleeps. One world at a time.
 */
#ifndef OUTRIGGER_TESTS_VERBS_DOUBLE_H
#define OUTRIGGER_TESTS_VERBS_DOUBLE_H

#include <stdbool.h>
#include <stdint.h>

#include "fabric/link/verbs/verbs_api.h"

#define VD_DEVICES 4

extern const struct verbs_api verbs_double;

/* A fresh world of n devices; everything of the last one must have been given back (vd_leaks). */
void vd_world(unsigned n);
/* Objects that were made and not destroyed, of all kinds. */
unsigned vd_leaks(void);

/* Port state and GIDs of a device, as they are asked for next. */
void vd_port(unsigned device, bool active, unsigned ngids);
/* Bytes that may be registered on a device; 0: no limit. */
void vd_memlock(unsigned device, uint64_t bytes);
/* The largest inline size that create_qp takes. */
void vd_max_inline(uint32_t bytes);

/* From now on completions wait until vd_release(). */
void vd_hold(void);
/* The oldest n of those that were held; their number. */
unsigned vd_release(unsigned n);
/* The next send of any queue pair ends with this status, and with it the queue pair. */
void vd_fail_next(enum ibv_wc_status status);
/* The next WRITE ends with IBV_WC_RETRY_EXC_ERR while its packets are still under way: they arrive at
 * vd_land(), if the end that they were sent to is still there. true: they were written. */
void vd_delay_write(void);
bool vd_land(void);
/* A READ or WRITE of one piece by a peer that posts what it likes: the connection of that queue pair. */
enum ibv_wc_status vd_access(uint32_t qpn, bool write, uint64_t addr, uint32_t rkey, void *local,
			     uint32_t len);
/* Whether memory of a device need not be locked. */
void vd_odp(unsigned device, bool on);
/* A receive completion that no send made, of the queue pair of that number: a device gone mad, or a peer that
 * is not ours. Takes a posted buffer. */
void vd_inject(uint32_t qpn, enum ibv_wc_opcode opcode, enum ibv_wc_status status, uint32_t len,
	       unsigned flags);
/* What happens to a queue pair, a port or a device by itself. */
void vd_async(unsigned device, enum ibv_event_type type, uint32_t qpn);
/* The peer's end disappears without a word: sends to it exhaust their retries. */
void vd_vanish(uint32_t qpn);

/* Jobs that wait (verbs_api.spawn) are done at once; from now on they wait, until one is let go: the oldest;
 * false: there is none. Who joins one that waits lets it go. */
void vd_hold_jobs(void);
bool vd_run_job(void);
/* The next queue pair that is to be made ready to receive is not: nobody answers for its address. */
void vd_unreachable(void);

/* So much time passes, of verbs_api.now. */
void vd_pass(uint64_t ns);

/* Called once, when a completion queue is about to be armed: what comes then gives no event. */
void vd_before_notify(void (*fn)(void *arg), void *arg);

/* Counts since vd_world(). */
struct vd_counts {
	unsigned posts, sends, inlined, signalled, recv_posts, notifies, rnr, reads, writes;
};
struct vd_counts vd_counts(void);

#endif

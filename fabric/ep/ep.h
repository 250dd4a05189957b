/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Endpoint: the glue between links and transport sessions, the same in both daemons.
 *
 * An ep owns links and knows sessions (one `struct rt` each, which it owns too). It moves bursts:
 * datagrams from links to the rt that their SPI names, and what the rts want to send to the
 * links. It sleeps nowhere: the caller polls it, waits on ep_fd()s and ep_deadline().
 *
 *	ep_poll()   one burst from every link -> rt_input_late(); due rt_tick()s
 *	            (the rt callbacks run inside)
 *	ep_flush()  rt_flush() and rt_output() of every session touched -> link send
 *
 * A caller that goes on at once with more input says so: then only whole trains leave, and the rest
 * waits for more, 50 us at the longest. A short train costs what a whole one does.
 *
 * A datagram that names no session, or is not authentic, is counted and dropped; nothing is
 * allocated or remembered for it. The peer's address of a path of a passive session is learned
 * from authentic packets alone.
 *
 * Thread rule: one thread per ep. Errors: 0 / -errno.
 */
#ifndef OUTRIGGER_EP_EP_H
#define OUTRIGGER_EP_EP_H

#include "fabric/link/link.h"
#include "fabric/rt/rt.h"

/* rt_cfg.delay_spare_ns between an agent that sleeps in epoll on a busy host and an appliance: wake-ups take
 * milliseconds there, and a queue of less is left to the kernel's and the switch's own limits. */
#define RT_SPARE_SLEEPING_NS 10000000ull
/* Likewise for rt_cfg.ack_delay_ns: below the least probe timeout between them, and far enough for an agent's
 * timer of whole milliseconds, which needs no system call. */
#define RT_ACK_DELAY_SLEEPING_NS 600000ull

#define EP_LINKS 5   /* RT_PATHS, and the carrier */
#define EP_BURST 256 /* datagrams of one link in one ep_poll() */

#define EP_COUNTERS(X) X(drop_short) X(drop_unknown_spi) X(drop_no_address) X(drop_auth)

#define EP_COUNTER_ENUM(name) EP_C_##name,
enum ep_counter { EP_COUNTERS(EP_COUNTER_ENUM) EP_NCOUNTERS };
extern const char *const ep_counter_names[EP_NCOUNTERS];

struct ep;
struct ep_session;

/* seed: random, keys the SPI table. NULL: no memory. */
struct ep *ep_create(uint64_t seed);
/* Destroys links and sessions too. NULL is fine. */
void ep_destroy(struct ep *ep);

/* Takes ownership of the link. Its index, or -ENOSPC. */
int ep_link_add(struct ep *ep, struct link *l);
struct link *ep_link(struct ep *ep, unsigned index); /* NULL: none */

/* Takes ownership of rt. NULL: no memory (rt stays the caller's). */
struct ep_session *ep_session_add(struct ep *ep, struct rt *rt, void *ctx);
/* Destroys the rt. Must not be called from inside an rt callback. NULL is fine. */
void ep_session_del(struct ep_session *s);
struct rt *ep_session_rt(struct ep_session *s);
void *ep_session_ctx(struct ep_session *s);
/* peer: where the path's packets go; NULL: learn it from the first authentic packet. -EEXIST: the SPI is
 * taken. */
int ep_session_path(struct ep_session *s, unsigned path, unsigned link, const struct rt_path_cfg *cfg,
		    const struct link_addr *peer, uint64_t now);
/* Fresh SPIs and keys for a path (rt_path_rekey); the old SPI is forgotten when rt no longer needs it.
 * sending: the peer is known to have them, so send under them at once. Errors of rt_path_rekey(). */
int ep_session_rekey(struct ep_session *s, unsigned path, const struct rt_path_cfg *next, bool sending,
		     uint64_t now);
bool ep_session_peer(const struct ep_session *s, unsigned path, struct link_addr *peer);
/* rt_send() was called on it: ep_flush() must look at it. Cheap, idempotent. */
void ep_session_touch(struct ep_session *s);

/* How late it is, in the unit and from the origin of every `now`. Optional: without it the datagrams that
 * ep_poll() receives are taken to have come at *now, though the caller may have lost the processor since it
 * looked at the clock, and round trips then seem shorter than light. */
void ep_set_clock(struct ep *ep, uint64_t (*clock)(void));
/* Number of datagrams received; < 0: -errno, every link is broken. With a clock, *now is set to when they had
 * been received. */
int ep_poll(struct ep *ep, uint64_t *now);
/* more: ep_poll() gave EP_BURST, or the caller has more to send, and calls again at once. */
void ep_flush(struct ep *ep, bool more, uint64_t now);
uint64_t ep_deadline(
	const struct ep *ep); /* absolute; when ep_poll() must be called although no fd is readable */

/* Now and then: calls fn for every session that rt_lost(), fn may delete that session; forgets old SPIs. */
void ep_reap(struct ep *ep, void (*fn)(struct ep_session *s, void *arg), void *arg);

const uint64_t *ep_counters(const struct ep *ep);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pump: one stream at full rate, by the fabric's transport or by the kernel's TCP, so that both cross
 * the same wire and are counted by the same hand.
 *
 *	pump recv rt|tcp ADDR [WORD...]		prints "ready", "start" and its figures
 *	pump send rt|tcp ADDR PEER [WORD...]	runs until the peer is gone or a signal; prints its figures
 *
 *	seconds=3 warm=0.5	of the receiver: what is counted, and what goes before it
 *	cc=bbr			of the TCP sender
 *	aead=best|openssl|crc	of rt
 *	class=data|net		of rt
 *
 * Figures are one line of JSON. CPU time is the process's own, from /proc/self/schedstat: the kernel's work
 * in its name is inside, that in other contexts is not.
 */
#ifndef OUTRIGGER_PUMP_H
#define OUTRIGGER_PUMP_H

#include <stdbool.h>
#include <stdint.h>

#include "fabric/aead/aead.h"
#include "fabric/link/link.h"

#define PUMP_PORT    5201
#define PUMP_MESSAGE 65536u /* bytes handed over at once, to either */

struct pump {
	bool sender;
	struct link_addr own, peer;
	uint64_t seconds_ns, warm_ns;
	const char *cc;
	const struct aead_ops *aead;
	bool net; /* class NET instead of DATA */
	/* The receiver's window of counting. */
	uint64_t start, end; /* 0: nothing has come yet */
	uint64_t bytes, last, longest_gap;
	uint64_t cpu_start;
};

extern volatile bool pump_stopped; /* a signal came */

/* len bytes arrived. */
void pump_count(struct pump *p, uint64_t len, uint64_t now);
bool pump_done(const struct pump *p, uint64_t now);
uint64_t pump_cpu_ns(void);

/* Until done; exit with a line on standard error when it cannot. */
void pump_rt(struct pump *p);
void pump_tcp(struct pump *p);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which device, if any, is to change from one I/O thread of a host to another. A pure core: loads in, one
 * move out.
 *
 * A thread is hot that is busy for at least 80 % of a processor's time while another is less busy by 40 %.
 * Then that of its devices goes whose share makes the busier of both least busy, if that gives at least a
 * tenth of a processor; so one device that fills a thread alone stays where it is, and the others go. The
 * caller sees to the rest of the calm: two such findings in a row, one move at a time, no device again so
 * soon.
 */
#ifndef OUTRIGGER_HOSTS_LANE_BALANCE_H
#define OUTRIGGER_HOSTS_LANE_BALANCE_H

#include <stdbool.h>
#include <stdint.h>

#define LANE_HOT_PERMILLE  800u
#define LANE_GAP_PERMILLE  400u
#define LANE_GAIN_PERMILLE 100u

struct lane_device {
	unsigned lane;
	uint64_t work; /* what it did of late, in any unit that is the same for all */
	bool fixed;    /* not to be moved */
};

/* busy: permille of a processor, of each of n lanes. The index of the device to move, and where to; -1: none.
 */
int lane_balance(const unsigned *busy, unsigned n, const struct lane_device *devs, unsigned ndevs,
		 unsigned *to);

#endif

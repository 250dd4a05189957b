/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the control thread publishes to the data plane: an immutable snapshot of the network
 * configuration. The worker adopts it between two bursts and from then on uses no part of the
 * one before, which goes back to the control thread to be freed (dp_publish()'s receipt).
 *
 * Ownership: a snapshot and its arrays are the control thread's, read-only for the worker while
 * it is published. The vNICs and ports that it names must outlive it.
 */
#ifndef OUTRIGGER_DATAPLANE_PUBLISH_H
#define OUTRIGGER_DATAPLANE_PUBLISH_H

#include <stdint.h>

#include "appliance/switch/switch.h"

struct vnic;
struct port;

/* Port ids of the switch: below this number vNICs, from it on uplinks. */
#define DP_UPLINK_BASE 4096u
#define DP_UPLINKS     16u

struct dp_config {
	uint64_t revision;
	struct sw_config sw;
	struct vnic **vnics; /* indexed by port id < nvnics; NULL: none */
	uint32_t nvnics;
	struct port *uplinks[DP_UPLINKS]; /* indexed by port id - DP_UPLINK_BASE; NULL: none */
};

#endif

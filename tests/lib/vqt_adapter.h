/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An adapter that moves bytes between the appliance's memory and guests', for tests of requests by key: both
 * doors of fabric/vqt (vqt_key_ops, vqt_move_door) over plain memory. All of memory is one region, whose
 * number is the key: revoking makes it stale. One queue pair, numbered; fencing gives the next one another
 * number. Moves wait until adapter_run(); they fail on purpose, and what failed may still land later.
 */
#ifndef OUTRIGGER_TESTS_VQT_ADAPTER_H
#define OUTRIGGER_TESTS_VQT_ADAPTER_H

#include "fabric/vqt/vqt_dev.h"
#include "fabric/vqt/vqt_host.h"

#define ADAPTER_MOVES 1024
#define ADAPTER_PATH  3u

struct adapter {
	bool up;	   /* keys are known to both ends */
	bool down_there;   /* the appliance's end refuses to start moves */
	bool hold;	   /* adapter_run() does nothing */
	unsigned fail;	   /* so many of the next moves fail, */
	bool late;	   /* and if they WRITE do so later, at adapter_land() */
	unsigned max_segs; /* pieces() gives up beyond; 0: VQT_SEGS_MAX */
	uint32_t key, qpn;
	unsigned moves, failed, refused, revokes, fences;
	unsigned n, nlate;
	struct adapter_move {
		struct vqt_move *m;
		unsigned n;
		uint32_t qpn; /* it was posted on */
		struct vqt_seg seg[VQT_SEGS_MAX];
		uint8_t *data; /* late: what it writes */
	} move[ADAPTER_MOVES], landing[ADAPTER_MOVES];
};

/* Both get the adapter as user and ctx. */
unsigned adapter_pieces(struct adapter *a, const struct iovec *iov, unsigned n, struct vqt_seg *out,
			unsigned max);
int adapter_start(struct adapter *a, struct vqt_move *m);
void adapter_revoke(struct adapter *a);
void adapter_fence(struct adapter *a, unsigned path, uint32_t qpn);

void adapter_init(struct adapter *a);
void adapter_fini(struct adapter *a);
/* Carries out what waits; the number. */
unsigned adapter_run(struct adapter *a);
/* Of the writes that failed late: those whose queue pair and key still are reach memory now; their number. */
unsigned adapter_land(struct adapter *a);

#endif

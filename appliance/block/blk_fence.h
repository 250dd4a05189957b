/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may write to a volume: its epoch and its owner. A pure core, one per volume.
 *
 * Every change of owner raises the volume's epoch. Rules, and where they are kept:
 *	- the epoch is raised and durable before the first I/O of a new owner: claim() names the new
 *	  epoch, the caller stores it, and only confirm() makes it count;
 *	- a request carries the epoch of its owner's attachment and is compared at the write path, when first
 *	  submitted and when tried again: admit();
 *	- I/O of older epochs that the backend still has is drained before the new owner's first I/O: admit()
 *	  gives -EAGAIN until the last of them has ended;
 *	- a completion of an older epoch reaches nobody: end() says so.
 *
 *	FREE --claim--> FREE+claim --confirm--> OWNED(n+1)
 *	OWNED(n) --claim--> OWNED(n)+claim --confirm--> DRAINING(n+1) --last old end--> OWNED(n+1)
 *	any+claim --cancel--> as before (the store failed: traffic of the present owner goes on)
 *	OWNED, DRAINING --release--> FREE
 *
 * A claim by the present owner is a new attachment of the same session (its agent restarted): the
 * same rules. An epoch is never used twice: a cancelled claim's number may have reached the disk,
 * but nobody ever held it.
 *
 * What a new epoch means for what was in flight in the old one:
 *	- reads, flushes: the agent sends them again, they run again;
 *	- writes, discards, write-zeroes: what was answered is never sent again. What was not is sent again
 *	  in the order of the ring, after all I/O of the old epoch has ended, so that no late twin of it can
 *	  overwrite anything newer. It may have run before: running it again leaves the same bytes. Of
 *	  writes to one sector that a guest keeps in flight together either may be the last, as on any disk
 *	  (virtio 1.2, 5.2.6.2 promises no order between them); across an epoch one that was already seen
 *	  may be seen once more after the other. A guest that waits for its completions cannot tell;
 *	- commands that must not run twice (SCSI COMPARE AND WRITE, PERSISTENT RESERVE OUT; SBC-3 5.2, SPC-4
 *	  5.13): never sent again. They end with UNIT ATTENTION, I_T NEXUS LOSS OCCURRED (29h/07h), and the
 *	  initiator reads back what became of them. virtio-blk has none of them;
 *	- reservations: belong to the initiator port, which is the VM's and not the session's. A new epoch of
 *	  the same VM keeps its registrations, wherever it runs now; nobody else's are touched.
 *
 * Thread rule: the worker that owns the volume; claim, confirm, cancel and release reach it by mailbox.
 */
#ifndef OUTRIGGER_BLOCK_BLK_FENCE_H
#define OUTRIGGER_BLOCK_BLK_FENCE_H

#include <stdbool.h>
#include <stdint.h>

struct blk_fence {
	uint64_t epoch;	  /* of the last confirmed claim; 0: never owned */
	uint64_t owner;	  /* session id, 0: nobody */
	uint64_t claimed; /* epoch being stored, 0: no claim */
	uint64_t claimant;
	uint32_t current; /* I/O of `epoch` at the backend */
	uint32_t old;	  /* I/O of older epochs at the backend */
};

/* epoch: what the store has for the volume, 0 for a new one. */
void blk_fence_init(struct blk_fence *f, uint64_t epoch);

/* A session wants the volume. *epoch: to be made durable now. -EINVAL: owner 0. -EALREADY: a claim is being
 * stored; wait for its end. -EOVERFLOW: epochs are used up (2^64). */
int blk_fence_claim(struct blk_fence *f, uint64_t owner, uint64_t *epoch);
/* The claim is durable. -EINVAL: epoch is not what was claimed. */
int blk_fence_confirm(struct blk_fence *f, uint64_t epoch);
/* It could not be stored, or is not wanted any more. No claim is fine. */
void blk_fence_cancel(struct blk_fence *f);
/* The owner of this epoch lets go, or was thrown out. -ESTALE: it has not been its owner any more. */
int blk_fence_release(struct blk_fence *f, uint64_t owner, uint64_t epoch);

/* May this request go to the backend? 0: yes, and it counts until end(). -EPERM: another's volume.
 * -ESTALE: another epoch. -EAGAIN: the owner is right, older I/O is being drained; try again later. */
int blk_fence_admit(struct blk_fence *f, uint64_t owner, uint64_t epoch);
/* An admitted request has ended at the backend (or could not be given to it). True: its completion
 * may be sent to its owner. */
bool blk_fence_end(struct blk_fence *f, uint64_t epoch);

/* The owner may do I/O. */
static inline bool blk_fence_ready(const struct blk_fence *f)
{
	return f->owner && !f->old;
}
/* Nothing is at the backend: the volume may be closed. */
static inline bool blk_fence_quiet(const struct blk_fence *f)
{
	return !f->old && !f->current;
}

#endif

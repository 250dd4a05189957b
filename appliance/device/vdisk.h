/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtual disk: one volume, and whoever owns it now. Joins the tunnel of a session to the
 * volume's backend through vdisk_io.h, which does the work; here is the life of attachments:
 *
 *	vdisk_bind(epoch, durable already)  ->  requests flow  ->  vdisk_unbind()
 *		-> the tunnel end is detached at once, what the backend still has is drained,
 *		   then unbound() is called: only now may the next epoch be bound (rules E2 to E4).
 *
 * What a guest may rely on when its attachment changes while it has requests in flight:
 *	- a write that was answered is not done again, and nothing older lands on it: the last of the old
 *epoch's I/O has ended before the first of the new one's;
 *	- a write that was not answered is sent again in the new epoch, perhaps a second time to the backend,
 *in the order of the ring. Until its answer comes a reader may find the old bytes, the new ones, or, of a
 *long write, some of each;
 *	- between writes that overlap and are in flight together no order is kept, as on any disk (virtio 1.2
 *section 5.2.6.2). One that was answered can be covered again by another that was in flight with it and is
 *done a second time. Who needs an order waits for the answer, as Linux and Windows do for each page.
 *
 * Ownership: the control thread allocates, and frees after the worker has let go.
 */
#ifndef OUTRIGGER_DEVICE_VDISK_H
#define OUTRIGGER_DEVICE_VDISK_H

#include "appliance/bdev/bdev.h"
#include "appliance/block/blk.h"
#include "appliance/device/device.h"
#include "appliance/device/vdisk_io.h"

#define VDISK_DEPTH	   256u	       /* requests in flight per queue, the ring's size */
#define VDISK_MAX_INFLIGHT (16u << 20) /* unscheduled bytes per session and disk */

struct vdisk;

/* Control thread. NULL: no memory. The bdev is the caller's and outlives the disk. */
struct vdisk *vdisk_create(struct bdev *b, unsigned queues, const char *serial);
void vdisk_destroy(struct vdisk *d); /* unbound and left; NULL is fine */
/* Offered to the guest; valid before the worker has it, and between its calls. */
uint64_t vdisk_features(const struct vdisk *d);
void vdisk_config(const struct vdisk *d, uint8_t out[BLK_CONFIG_LEN]);
/* Sums over all attachments, as of the last vdisk_publish(): VDISK_IO_NCOUNTERS and VQT_DEV_NCOUNTERS values.
 */
const uint64_t *vdisk_counters(const struct vdisk *d);
const uint64_t *vdisk_tunnel_counters(const struct vdisk *d);

/* ---- worker ---- */

struct vdisk_world {
	void (*touched)(void *session);
	/* Disks for which vdisk_service() has something to do: the worker's, who takes each from it with
	 * vdisk_next() and serves it. NULL: it serves all. */
	struct list *needy;
};

int vdisk_join(struct vdisk *d, struct bdev_group *g);
void vdisk_leave(struct vdisk *d); /* unbound */

/* owner: the session's id, not 0. epoch: greater than any before, durable. 0, -EALREADY (bound or draining),
 * or vqt_peer_attach()'s and vdisk_io_create()'s errors. */
int vdisk_bind(struct vdisk *d, const struct vdisk_world *world, struct vqt_peer *peer, void *session,
	       uint64_t owner, uint16_t wire, uint32_t epoch);
/* 0: unbound(arg) is called when the last request has ended, perhaps before this returns. -EALREADY: an
 * earlier unbind is still waiting for that; unbound(arg) is not called, and nothing may be taken to have
 * ended. */
int vdisk_unbind(struct vdisk *d, uint64_t now, void (*unbound)(void *arg), void *arg);
void vdisk_guest(struct vdisk *d, uint64_t features);
void vdisk_refresh(struct vdisk *d); /* the volume has grown */
/* Bring the counters up to date for readers of other threads. */
void vdisk_publish(struct vdisk *d);
/* The next of the worker's list, taken from it; NULL: none. */
struct vdisk *vdisk_next(struct list *needy);
/* After each poll of the group that completed something: that is when what waits can go on. A disk that
 * needs another is on the list again. */
void vdisk_service(struct vdisk *d, uint64_t now);

#endif

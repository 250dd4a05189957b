/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A vDisk's requests: from the tunnel (struct vqt_req) through the block core and the fence of the
 * volume's owners to a backend (struct bdev), and back.
 *
 *	tunnel's request()	-> vdisk_io_request(d, r, now)
 *	after each bdev_group_poll() that completed something, while vdisk_io_waiting(d):
 *				-> vdisk_io_service(d, now)
 *	a request is done	-> cfg.complete(r, sent, written, now), that is vqt_dev_complete()
 *
 * Every request is completed exactly once, with success only if the backend said success.
 * What the backend cannot take now (-EAGAIN), and what waits for older epochs to drain, stands in
 * one FIFO made of the requests themselves: no memory of its own, and as long as the tunnel
 * allows requests in flight.
 *
 * End of an attachment. When the fence has gone to another owner, requests and late completions of this
 * one are neither done nor answered with an error: the guest must not see one. They are kept, until
 *	vqt_peer_detach(dev)	so that completions reach nobody
 *	vdisk_io_stop(d, now)	completes what waits and what is kept; nothing new goes to the backend
 *	... vdisk_io_idle(d)	the backend has ended the rest
 *	vdisk_io_destroy(d)	not from inside complete()
 *
 * Thread rule: the worker of the bdev's group. No allocation after create.
 */
#ifndef OUTRIGGER_DEVICE_VDISK_IO_H
#define OUTRIGGER_DEVICE_VDISK_IO_H

#include <stdbool.h>
#include <stdint.h>

#include "appliance/bdev/bdev.h"
#include "appliance/block/blk.h"
#include "appliance/block/blk_fence.h"
#include "fabric/base/counter.h"
#include "fabric/vqt/vqt_dev.h"

#define VDISK_IO_COUNTERS(X)                                                                                 \
	X(requests)                                                                                          \
	X(reads)                                                                                             \
	X(writes)                                                                                            \
	X(flushes)                                                                                           \
	X(discards)                                                                                          \
	X(write_zeroes)                                                                                      \
	X(read_bytes)  /* of reads that succeeded */                                                         \
	X(write_bytes) /* likewise */                                                                        \
	X(waited)      /* requests that found the backend full or draining */                                \
	X(kept)	       /* of an epoch that is over: not done, or not answered */                             \
	X(latency_ns)  /* sum over requests that went to the backend */                                      \
	X(errors_io)                                                                                         \
	X(errors_space)                                                                                      \
	X(errors_timeout)                                                                                    \
	X(errors_unsupported)                                                                                \
	X(errors_other)                                                                                      \
	X(refused_no_status) /* from here on in the order of enum blk_refusal */                             \
	X(refused_short_header)                                                                              \
	X(refused_bad_type)                                                                                  \
	X(refused_bad_length)                                                                                \
	X(refused_misaligned)                                                                                \
	X(refused_out_of_range)                                                                              \
	X(refused_read_only)                                                                                 \
	X(refused_bad_segments)                                                                              \
	X(refused_bad_flags)                                                                                 \
	X(refused_no_data_room)

#define VDISK_IO_COUNTER_ENUM(name) VDISK_IO_##name,
enum vdisk_io_counter { VDISK_IO_COUNTERS(VDISK_IO_COUNTER_ENUM) VDISK_IO_NCOUNTERS };
extern const char *const vdisk_io_counter_names[VDISK_IO_NCOUNTERS];

struct vdisk_io_cfg {
	struct bdev *bdev;	 /* joined to the worker's group; outlives the vdisk_io */
	struct blk_fence *fence; /* of the volume; outlives it too, shared by all attachments of the volume */
	uint64_t owner;		 /* the session and the epoch its claim got */
	uint64_t epoch;
	uint64_t acked;		 /* features the driver acked; 0: not known (see blk.h) */
	uint16_t queues;	 /* virtqueues offered, >= 1 */
	unsigned depth;		 /* requests at the backend at once, 1..1024; the rest waits */
	char serial[BLK_ID_LEN]; /* what GET_ID says, padded with NUL */
	/* vqt_dev_complete(), or a test's. May call vdisk_io_request(). */
	void (*complete)(struct vqt_req *r, uint32_t sent, uint32_t written, uint64_t now);
};

struct vdisk_io;

/* What the guest will see of a volume; for the attach message before there is a vdisk_io. */
void vdisk_io_volume(const struct bdev_info *info, uint16_t queues, const char serial[BLK_ID_LEN],
		     struct blk_volume *out);

/* NULL and *err: -EINVAL, -ENOMEM. */
struct vdisk_io *vdisk_io_create(const struct vdisk_io_cfg *cfg, int *err);
void vdisk_io_destroy(struct vdisk_io *d); /* idle (asserted); NULL is fine */

/* The driver has negotiated (again). -EINVAL: what was never offered. */
int vdisk_io_set_acked(struct vdisk_io *d, uint64_t acked);
/* The volume has grown: after bdev_refresh(). The guest's configuration space is the caller's. */
void vdisk_io_resized(struct vdisk_io *d);

/* Takes the request over until complete(). r->priv[0..1] are ours. */
void vdisk_io_request(struct vdisk_io *d, struct vqt_req *r, uint64_t now);
/* Try what waits again. The number still waiting. */
unsigned vdisk_io_service(struct vdisk_io *d, uint64_t now);
unsigned vdisk_io_waiting(const struct vdisk_io *d);
unsigned vdisk_io_outstanding(const struct vdisk_io *d); /* at the backend */

/* See above. What the backend still has is completed as it ends. */
void vdisk_io_stop(struct vdisk_io *d, uint64_t now);
/* Nothing at the backend, nothing waiting, nothing kept. */
bool vdisk_io_idle(const struct vdisk_io *d);

const uint64_t *vdisk_io_counters(const struct vdisk_io *d); /* VDISK_IO_NCOUNTERS values */

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#include "appliance/device/vdisk.h"
#include "fabric/base/guard.h"

#include <assert.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>

struct vdisk {
	struct device dev; /* first */
	struct bdev *bdev;
	struct blk_fence fence;
	unsigned queues;
	char serial[BLK_ID_LEN];
	struct vdisk_world world;
	void *session;
	struct vqt_dev *tun;
	struct vdisk_io *io; /* of the present attachment, or of the one being drained */
	uint64_t owner, epoch;
	struct list needy; /* on world.needy: requests wait, or it is being drained */
	bool tunnel_busy;  /* detached, and drained() has not come */
	void (*unbound)(void *arg);
	void *unbound_arg;
	uint64_t io_sum[VDISK_IO_NCOUNTERS], io_base[VDISK_IO_NCOUNTERS];
	uint64_t tun_sum[VQT_DEV_NCOUNTERS], tun_base[VQT_DEV_NCOUNTERS];
};

/* sum = what former attachments counted + what this one has. */
static void add_up(uint64_t *sum, const uint64_t *base, const uint64_t *now, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		counter_add(&sum[i], base[i] + now[i] - sum[i]);
}

void vdisk_publish(struct vdisk *d)
{
	if (d->io)
		add_up(d->io_sum, d->io_base, vdisk_io_counters(d->io), VDISK_IO_NCOUNTERS);
	if (d->tun)
		add_up(d->tun_sum, d->tun_base, vqt_dev_counters(d->tun), VQT_DEV_NCOUNTERS);
}

static void need_service(struct vdisk *d)
{
	if (d->world.needy && list_empty(&d->needy))
		list_add_tail(d->world.needy, &d->needy);
}

struct vdisk *vdisk_next(struct list *needy)
{
	struct list *it = list_pop(needy);

	return it ? container_of(it, struct vdisk, needy) : NULL;
}

static void request(struct device *dev, struct vqt_req *r)
{
	struct vdisk *d = (struct vdisk *)dev;

	vdisk_io_request(d->io, r, bdev_group_now(d->bdev->group));
	if (vdisk_io_waiting(d->io))
		need_service(d);
}

static void complete(struct vqt_req *r, uint32_t sent, uint32_t written, uint64_t now)
{
	struct vdisk *d = (struct vdisk *)r->user;

	vqt_dev_complete(r, sent, written, now);
	if (d->tun)
		d->world.touched(d->session);
}

/* The last step of an unbind, once nothing is left anywhere. */
static void try_finish(struct vdisk *d)
{
	if (d->tun || !d->io || !GUARD(drain, !d->tunnel_busy && vdisk_io_idle(d->io)))
		return;
	vdisk_publish(d);
	memcpy(d->io_base, d->io_sum, sizeof(d->io_base));
	vdisk_io_destroy(d->io);
	d->io = NULL;
	blk_fence_release(&d->fence, d->owner, d->epoch);
	d->owner = 0;
	if (d->unbound)
		d->unbound(d->unbound_arg);
	d->unbound = NULL;
}

static void drained(struct device *dev)
{
	struct vdisk *d = (struct vdisk *)dev;

	d->tunnel_busy = false; /* try_finish() follows from vdisk_service(), outside of callbacks */
}

static void no_frame(struct device *dev, unsigned pair, struct frame *f)
{
	(void)dev;
	(void)pair;
	frame_put(f); /* cannot come on a block device; the tunnel refuses it */
}

static void no_writable(struct device *dev, unsigned pair)
{
	(void)dev;
	(void)pair;
}

static const struct device_ops vdisk_ops = {
	.frame = no_frame,
	.writable = no_writable,
	.request = request,
	.drained = drained,
};

struct vdisk *vdisk_create(struct bdev *b, unsigned queues, const char *serial)
{
	struct vdisk *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->dev.ops = &vdisk_ops;
	list_init(&d->needy);
	d->bdev = b;
	d->queues = queues;
	memcpy(d->serial, serial, strnlen(serial, BLK_ID_LEN));
	blk_fence_init(&d->fence, 0);
	return d;
}

void vdisk_destroy(struct vdisk *d)
{
	assert(!d || (!d->io && !d->tun));
	free(d);
}

static void volume(const struct vdisk *d, struct blk_volume *v)
{
	vdisk_io_volume(&d->bdev->info, (uint16_t)d->queues, d->serial, v);
}

uint64_t vdisk_features(const struct vdisk *d)
{
	struct blk_volume v;

	volume(d, &v);
	return blk_features(&v) | 1ull << VIRTIO_RING_F_INDIRECT_DESC | 1ull << VIRTIO_RING_F_EVENT_IDX |
	       1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_F_RING_PACKED;
}

void vdisk_config(const struct vdisk *d, uint8_t out[BLK_CONFIG_LEN])
{
	struct blk_volume v;

	volume(d, &v);
	blk_config(&v, out);
}

const uint64_t *vdisk_counters(const struct vdisk *d)
{
	return d->io_sum;
}

const uint64_t *vdisk_tunnel_counters(const struct vdisk *d)
{
	return d->tun_sum;
}

int vdisk_join(struct vdisk *d, struct bdev_group *g)
{
	return bdev_join(d->bdev, g);
}

void vdisk_leave(struct vdisk *d)
{
	list_del(&d->needy);
	bdev_leave(d->bdev);
}

int vdisk_bind(struct vdisk *d, const struct vdisk_world *world, struct vqt_peer *peer, void *session,
	       uint64_t owner, uint16_t wire, uint32_t epoch)
{
	struct vqt_dev_cfg tc = {
		.type = VQT_BLK,
		.user = &d->dev,
		.wire = wire,
		.epoch = epoch,
		.nvq = d->queues,
		.depth = VDISK_DEPTH,
		.max_inflight = VDISK_MAX_INFLIGHT,
	};
	struct vdisk_io_cfg ic = {
		.bdev = d->bdev,
		.fence = &d->fence,
		.owner = owner,
		.epoch = epoch,
		.queues = (uint16_t)d->queues,
		.depth = VDISK_DEPTH,
		.complete = complete,
	};
	uint64_t claimed;
	int r;

	if (d->io || !epoch)
		return d->io ? -EALREADY : -EINVAL;
	/* Nothing is in flight of anybody, and the store knows this epoch already. */
	blk_fence_init(&d->fence, epoch - 1);
	r = blk_fence_claim(&d->fence, owner, &claimed);
	if (!r)
		r = blk_fence_confirm(&d->fence, epoch);
	if (r)
		return r;
	memcpy(ic.serial, d->serial, sizeof(ic.serial));
	d->io = vdisk_io_create(&ic, &r);
	if (!d->io)
		goto release;
	d->world = *world;
	d->session = session;
	d->owner = owner;
	d->epoch = epoch;
	d->tunnel_busy = false;
	d->tun = vqt_peer_attach(peer, &tc, &r);
	if (d->tun)
		return 0;
	vdisk_io_destroy(d->io);
	d->io = NULL;
release:
	blk_fence_release(&d->fence, owner, epoch);
	return r;
}

int vdisk_unbind(struct vdisk *d, uint64_t now, void (*unbound)(void *arg), void *arg)
{
	if (!d->tun && GUARD(unbind_again, d->io))
		return -EALREADY;
	if (!d->tun) {
		unbound(arg);
		return 0;
	}
	vdisk_publish(d);
	memcpy(d->tun_base, d->tun_sum, sizeof(d->tun_base));
	d->unbound = unbound;
	d->unbound_arg = arg;
	d->tunnel_busy = true;
	if (!vqt_peer_detach(d->tun))
		d->tunnel_busy = false;
	d->tun = NULL;
	d->session = NULL;
	vdisk_io_stop(d->io, now);
	try_finish(d);
	if (d->io)
		need_service(d);
	return 0;
}

void vdisk_guest(struct vdisk *d, uint64_t features)
{
	/* Bits 0 to 23 are the device type's (virtio 1.2 section 2.2), the rest the transport's. */
	if (d->io)
		vdisk_io_set_acked(d->io, features & 0xffffff);
}

void vdisk_refresh(struct vdisk *d)
{
	if (!bdev_refresh(d->bdev) && d->io)
		vdisk_io_resized(d->io);
}

void vdisk_service(struct vdisk *d, uint64_t now)
{
	if (!d->io)
		return;
	if (vdisk_io_waiting(d->io))
		vdisk_io_service(d->io, now);
	if (!d->tun)
		try_finish(d);
	if (d->io && (!d->tun || vdisk_io_waiting(d->io)))
		need_service(d);
}

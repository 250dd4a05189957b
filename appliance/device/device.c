/* SPDX-License-Identifier: Apache-2.0 */
#include "appliance/device/device.h"

static void frame(void *user, unsigned pair, struct frame *f)
{
	struct device *d = user;

	d->ops->frame(d, pair, f);
}

static void request(void *user, struct vqt_req *r)
{
	struct device *d = user;

	d->ops->request(d, r);
}

static void writable(void *user, unsigned pair)
{
	struct device *d = user;

	d->ops->writable(d, pair);
}

static void drained(void *user)
{
	struct device *d = user;

	d->ops->drained(d);
}

const struct vqt_dev_ops device_tunnel_ops = {
	.frame = frame,
	.request = request,
	.writable = writable,
	.drained = drained,
};

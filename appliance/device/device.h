/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The door to a device model: what the tunnel's device end (fabric/vqt/vqt_dev.h) tells whoever
 * stands behind a queue. A vNIC joins a tunnel to a switch port, a vDisk joins one to a volume.
 *
 * The `user` of a vqt_dev is a `struct device`; models embed one as their first member.
 * Thread rule: the worker.
 */
#ifndef OUTRIGGER_DEVICE_DEVICE_H
#define OUTRIGGER_DEVICE_DEVICE_H

#include "fabric/vqt/vqt_dev.h"

struct device;

struct device_ops {
	/* vNIC: a frame of the guest; ownership passes. */
	void (*frame)(struct device *d, unsigned pair, struct frame *f);
	/* vNIC: what vqt_dev_send() refused may be tried again. */
	void (*writable)(struct device *d, unsigned pair);
	/* vDisk: a request, to be completed once. */
	void (*request)(struct device *d, struct vqt_req *r);
	/* The last request of a detached tunnel end was completed. */
	void (*drained)(struct device *d);
};

struct device {
	const struct device_ops *ops;
};

/* For vqt_peer_cfg.ops: forwards to the device that `user` is. */
extern const struct vqt_dev_ops device_tunnel_ops;

#endif

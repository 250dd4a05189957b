/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One io_uring per group, shared by all its uring volumes. A request runs as a chain of steps,
 * each one submission: transfer (again while short), allocate or punch, zero by writing, sync.
 * Internal to bdev_uring. Thread rule: the group's worker.
 */
#ifndef OUTRIGGER_BDEV_URING_ENGINE_H
#define OUTRIGGER_BDEV_URING_ENGINE_H

#include "appliance/bdev/bdev_impl.h"

struct uring_engine;

struct uring_volume {
	struct bdev b;
	int fd;
	bool direct;
	bool in_memory; /* the file system has no device: transfers never wait */
	bool block_device;
	uint32_t mem_align;	     /* of memory addresses, when direct */
	uint32_t len_align;	     /* of each piece of memory, when direct */
	struct uring_engine *engine; /* while joined */
};

/* The group's engine, made when there is none. -ENOSYS, -EPERM, -ENOMEM. */
int uring_engine_of(struct bdev_group *g, struct uring_engine **out);
/* 0; -EAGAIN: no slot or no bounce memory. */
int uring_engine_submit(struct uring_engine *u, struct uring_volume *v, struct bdev_io *io);

#endif

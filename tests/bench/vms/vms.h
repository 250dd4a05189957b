/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guests without a processor of their own: virtqueues in memory, driven by one loop as Linux's drivers drive
 * them (indirect requests, event index, one interrupt per burst). Their vhost-user back-end is under test:
 * ours or any other.
 *
 * One thread has all guests. It sleeps on one eventfd, which is every queue's interrupt, and on a tick when
 * the load is paced. Times are CLOCK_MONOTONIC ns.
 */
#ifndef OUTRIGGER_BENCH_VMS_H
#define OUTRIGGER_BENCH_VMS_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/lib/vhost_sock.h"

#define DISK_STAMP 4096u /* each so many bytes of a volume begin with the number of the block */

/* Latencies in classes of 1/16 of an octave: an error of 6 % at most. */
#define HIST_CLASSES (64 * 16)
struct hist {
	uint64_t n[HIST_CLASSES];
};
void hist_add(struct hist *h, uint64_t ns);
uint64_t hist_percentile(const struct hist *h, double part);

struct disk_cfg {
	const char *path; /* of the back-end's socket */
	bool write;
	bool verify;	   /* reads must begin with what the volume was filled with */
	uint32_t size;	   /* of a request */
	unsigned depth;	   /* requests in flight at most */
	uint64_t span;	   /* bytes of the volume that are used */
	bool sequential;   /* else random */
	bool packed;	   /* ring; a back-end without it is an error */
	uint64_t think_ns; /* work before each request, which is then submitted by itself */
	int call;	   /* interrupt */
	struct hist *hist; /* latencies; NULL: none */
};

struct disk_slot {
	uint64_t at; /* submitted */
	uint64_t block;
	uint64_t table; /* packed: the indirect one */
	uint32_t *head; /* struct virtio_blk_req as two words and a sector */
	uint64_t *data;
	uint8_t *status;
};

struct disk {
	struct disk_cfg cfg;
	struct vfront f;
	struct vhost_sock sock;
	struct disk_slot slots[256];
	uint16_t free[256];
	unsigned nfree;
	uint64_t random, next;
	uint64_t done, kicks, errors;
	double due; /* requests that pacing allows */
};

/* Connects and sets up; dies with a line if it cannot. */
void disk_open(struct disk *d, const struct disk_cfg *cfg, uint64_t seed);
void disk_close(struct disk *d);
/* Submit up to n requests; how many. */
unsigned disk_submit(struct disk *d, unsigned n, uint64_t now);
unsigned disk_reap(struct disk *d, uint64_t now);
bool disk_ready(const struct disk *d); /* completions wait */

struct nic_cfg {
	const char *path; /* of our socket: the back-end connects */
	uint8_t mac[6], peer[6];
	uint32_t frame; /* bytes, without the virtio_net_hdr; more than NIC_FRAME: TCP super-frames */
	int call;
	struct hist *hist; /* round trips; NULL: none */
};

#define NIC_RING      256u
#define NIC_FRAME     1514u
#define NIC_FRAME_MAX 65535u

struct nic {
	struct nic_cfg cfg;
	struct vfront f;
	struct vhost_sock sock;
	int listener;
	uint16_t tx_buffers, tx_free;
	/* Of the frame that is being received: buffers that are missing, bytes that came. */
	uint16_t parts;
	uint32_t got;
	uint64_t asked; /* when its question left; see nic_ping() */
	uint64_t sent, received, received_bytes, kicks, errors;
	double due;
};

/* Listen first for all, then wait for the back-end to connect to each. */
void nic_listen(struct nic *n, const struct nic_cfg *cfg);
void nic_open(struct nic *n);
void nic_close(struct nic *n);
unsigned nic_submit(struct nic *n, unsigned frames);
unsigned nic_reap(struct nic *n);
bool nic_ready(const struct nic *n);
/* As many frames as go. Whether there was something to do. */
bool nic_flood(struct nic *n);
/* One frame at a time, after the answer to the one before. Whether there was something to do. */
bool nic_ping(struct nic *n, uint64_t now);
/* Sends as many as came. */
bool nic_answer(struct nic *n);

void die(const char *what, const char *which) __attribute__((noreturn));

#endif

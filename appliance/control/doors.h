/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The three doors through which the API reaches the rest of the appliance. The program fills
 * them; tests fill them with fakes. All are called in the control thread.
 */
#ifndef OUTRIGGER_CONTROL_DOORS_H
#define OUTRIGGER_CONTROL_DOORS_H

#include <stdbool.h>
#include <stdint.h>

#include "appliance/control/model.h"

/* Effects downward. */
struct control_ops {
	void *ctx;
	/*
	 * After a committed change: make the data plane work by m. Returns 0 and calls done exactly
	 * once, at once or later, with err 0 when every worker works by it; the call of the API is
	 * answered then, and no other change is begun before. err or a negative return (done is
	 * not called) means that this change cannot be applied (a port that does not exist): it is taken
	 * back, in the store too, apply is called once more with the old state, and the client gets msg.
	 * Trouble that is not this change's must not be reported here.
	 */
	int (*apply)(void *ctx, const struct model *m, void (*done)(void *arg, int err, const char *msg),
		     void *arg);
	/* The certificate of this host is no longer good: end its session. May be NULL. */
	void (*host_revoked)(void *ctx, const char *host);
};

/* Status upward: what is, for what is wanted. Each may be NULL; false: nothing is known. */
struct status_path {
	char local[64], remote[64];
	enum status_path_state {
		STATUS_PATH_UP,
		STATUS_PATH_DOWN,
		STATUS_PATH_PROBING,
		STATUS_PATH_SUSPECT
	} state;
	uint32_t rtt_us, mtu;
	uint32_t loss_ppm, share_permille;
	uint64_t tx_packets, rx_packets, retransmits; /* by the appliance */
};
struct status_host {
	bool connected;
	uint64_t session_id;
	int64_t connected_since; /* Unix seconds */
	char agent_version[64];
	unsigned npaths;
	struct status_path paths[8];
	unsigned nthreads; /* I/O threads of the agent; 0: but one */
	struct status_thread {
		bool connected;
		unsigned paths_up, busy_permille;
	} threads[16];
};
enum status_link { STATUS_LINK_UNKNOWN, STATUS_LINK_UP, STATUS_LINK_DOWN };
struct status_device {
	enum status_link link;
	char host[RESOURCE_NAME_MAX + 1]; /* attached there; "": nowhere */
	char socket_path[108];
	unsigned io_thread; /* of the host's agent, from 1; 0: not attached */
};
struct status_port {
	enum status_link link;
	char mac[18];
	uint32_t speed_mbps;
};
/* scope NULL: that of the object asked for; else "worker/0" and the like. */
typedef void (*status_counter_fn)(void *arg, const char *scope, const char *name, uint64_t value);

struct status_ops {
	void *ctx;
	bool (*host)(void *ctx, const char *name, struct status_host *out);
	bool (*vnic)(void *ctx, const char *name, struct status_device *out);
	bool (*vdisk)(void *ctx, const char *name, struct status_device *out);
	bool (*port)(void *ctx, const char *name, struct status_port *out);
	/* Calls fn for each counter of the object; KIND_NONE (name NULL): of the appliance itself. */
	void (*counters)(void *ctx, enum kind kind, const char *name, status_counter_fn fn, void *arg);
};

/* Storage. All block; 0 or -errno. */
struct volume_bytes {
	uint64_t size, allocated;
};
struct volume_ops {
	void *ctx;
	/* Called for every pool at start, and before a new one is stored. why: room for a line. */
	int (*pool_open)(void *ctx, const Outrigger__V1__StoragePool *pool, char *why, size_t why_size);
	void (*pool_close)(void *ctx, const char *pool);
	int (*pool_bytes)(void *ctx, const char *pool, struct pool_bytes *out);
	/* create is called before the volume is stored; -EEXIST with the same size is taken as made (left
	 * by a crash in between). remove after the volume has left the store. */
	int (*create)(void *ctx, const char *pool, const char *name, uint64_t size);
	int (*remove)(void *ctx, const char *pool, const char *name);
	int (*resize)(void *ctx, const char *pool, const char *name, uint64_t size);
	int (*stat)(void *ctx, const char *pool, const char *name, struct volume_bytes *out);
};

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hosts: what joins the desired state to the data plane. It speaks the control session with agents
 * (proto/session/session.proto), keeps every device attached where its profile is placed, and
 * publishes the network configuration to the worker.
 *
 *	control (API, model)  --apply-->  hosts  --letters-->  data plane
 *	agents  <--session.proto-->       hosts  --status--->  API
 *
 * Protobuf structs of the model and the session end here: workers never see one.
 *
 * Thread rule: the control thread. Errors: 0 / -errno.
 */
#ifndef OUTRIGGER_HOSTS_HOSTS_H
#define OUTRIGGER_HOSTS_HOSTS_H

#include <stdbool.h>
#include <stdint.h>

#include "appliance/control/control.h"
#include "appliance/control/doors.h"
#include "appliance/dataplane/dataplane.h"
#include "appliance/storage/storage.h"

struct event_base;
struct hosts;

/* Fabric links of an appliance at most: one path of a session is the carrier's. */
#define HOSTS_FABRICS (RT_PATHS - 1)

struct hosts_cfg {
	struct event_base *base;
	struct storage *storage;
	struct link_addr fabric[HOSTS_FABRICS]; /* where agents send: the address of each fabric link */
	unsigned nfabrics;
	const char *
		rdma[HOSTS_FABRICS]; /* fabric link i is this RDMA port and has no address; NULL: it is not */
	uint32_t chunk;		     /* payload bytes per packet that every fabric port carries */
	uint32_t chunk_max;	     /* probe paths for up to so many; 0: do not */
	unsigned lost_ms;	     /* a fabric so long silent ends the session; 3000 suits */
	unsigned rekey_s;	     /* each path gets fresh keys so often; 0: never */
	bool clear;		     /* integrity only, no encryption: a physically isolated fabric */
};

int hosts_create(const struct hosts_cfg *cfg, struct hosts **out);
/* Before anything is applied. */
void hosts_set_dp(struct hosts *h, struct dp *dp);
void hosts_set_control(struct hosts *h, struct control *c);
/* Accept agents on this address too. tls: control_session_tls(). -ENOSPC: more than HOSTS_FABRICS. */
int hosts_listen(struct hosts *h, const char *address, uint16_t port, SSL_CTX *tls);
/* Ends the sessions and takes everything back from the data plane, then calls done. */
void hosts_shutdown(struct hosts *h, void (*done)(void *arg), void *arg);
/* After the shutdown is done and the data plane is stopped. NULL is fine. */
void hosts_destroy(struct hosts *h);

/* The doors of control (doors.h). ctx is the hosts. */
struct control_ops hosts_control_ops(struct hosts *h);
struct status_ops hosts_status_ops(struct hosts *h);
/* For dp_cfg. ctx is the hosts. */
void hosts_carry(void *ctx, uint64_t session_id, const uint8_t *data, uint32_t len);
void hosts_session_lost(void *ctx, uint64_t session_id, const char *reason);

#endif

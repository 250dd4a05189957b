/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The management side of the appliance as one object: state directory, CA, store, model and
 * API server. Order at start:
 *
 *	control_init(&cfg, &ctl, ...)   state directory and CA made or loaded, desired state in memory
 *	(the program applies control_model(ctl) to the data plane)
 *	control_listen(ctl, ...)        the API answers from now on
 *	...
 *	control_fini(ctl)
 *
 * State directory (0700): pki/ (CA and server key), state.db, and admin/ with what outriggerctl needs:
 *	admin/ca.crt admin/admin.crt admin/admin.key    client certificate, OU network-admin
 *	admin/token                                     bearer token, one line
 *	admin/api                                       HOST:PORT of the API, one line, rewritten by
 *control_listen() Thread rule: the thread of the event base.
 */
#ifndef OUTRIGGER_CONTROL_H
#define OUTRIGGER_CONTROL_H

#include <stddef.h>
#include <stdint.h>
#include <openssl/ssl.h>

#include "appliance/control/doors.h"
#include "appliance/control/model.h"
#include "appliance/control/store.h"

#define CONTROL_STATE_DIR    "/var/lib/outrigger"
#define CONTROL_API_PORT     7443
#define CONTROL_SESSION_PORT 7444

struct event_base;
struct control;

struct control_cfg {
	struct event_base *base;
	const char *state_dir;	 /* NULL: CONTROL_STATE_DIR; made when missing (not its parents) */
	const char *api_address; /* numeric; NULL: every address */
	uint16_t api_port;	 /* 0: the system chooses */
	uint16_t session_port;	 /* told to agents that enrol */
	const char *const *sans; /* further names and addresses of the server certificate */
	size_t nsans;		 /* 127.0.0.1, ::1, localhost, the host name and api_address are always in */
	struct control_ops ops;	 /* copied, as are the next two */
	struct status_ops status;
	struct volume_ops volumes;
};

/* 0, or -errno and a line that says what to do in why. */
int control_init(const struct control_cfg *cfg, struct control **out, char *why, size_t why_size);
int control_listen(struct control *c, char *why, size_t why_size);
/* Closes the listener and every connection; calls that wait for apply are dropped. NULL is fine. */
void control_fini(struct control *c);

const struct model *control_model(const struct control *c);
struct store *control_store(struct control *c); /* for store_epoch_raise() */
uint16_t control_api_port(const struct control *c);
/* A context for chan_listen() on the session port; the caller frees it. */
SSL_CTX *control_session_tls(struct control *c, char *why, size_t why_size);
/* Whether a peer with a certificate of our CA is a host that is enrolled with exactly that certificate:
 * 0, -ENOENT (no such host), -EACCES (revoked, or a newer certificate was issued). */
int control_host_check(struct control *c, const char *name, const uint8_t fingerprint[32]);

#endif

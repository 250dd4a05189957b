/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The services of outrigger.v1 on model, store and doors. Reads answer at once. Changes
 * go one at a time through: prepare, storage, store, model, apply, answer; what fails before the store
 * has changed nothing, what apply refuses is taken back.
 * Thread rule: the control thread.
 */
#ifndef OUTRIGGER_CONTROL_API_H
#define OUTRIGGER_CONTROL_API_H

#include "appliance/control/connect.h"
#include "appliance/control/doors.h"
#include "appliance/control/model.h"
#include "appliance/control/store.h"
#include "fabric/chan/pki.h"

struct api;

struct api_cfg {
	struct model *model; /* all pointers outlive the api */
	struct store *store;
	struct pki *pki;
	struct control_ops ops;
	struct status_ops status;
	struct volume_ops volumes;
	uint16_t session_port;
	const char *uid;
};

int api_new(const struct api_cfg *cfg, struct api **out);
/* Calls that wait are answered `unavailable`. An apply under way may still call done. NULL is fine. */
void api_free(struct api *a);
/* For connect_cfg: methods, ctx is the api. */
const struct connect_method *api_methods(size_t *n);
bool api_token_ok(void *api, const uint8_t sha256[32]);
/* So that the counters of the server can be listed. NULL: none. */
void api_set_server(struct api *a, const struct connect_server *s);

#endif

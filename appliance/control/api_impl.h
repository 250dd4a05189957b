/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by api*.c alone. */
#ifndef OUTRIGGER_CONTROL_API_IMPL_H
#define OUTRIGGER_CONTROL_API_IMPL_H

#include "appliance/control/api.h"
#include "fabric/base/list.h"

struct op;

struct api {
	struct api_cfg cfg;
	const struct connect_server *server;
	struct op *running; /* the change that is being made */
	struct list queue;  /* of changes behind it */
	bool pumping;
	uint64_t started_ns;
};

/* Handlers, by the type of connect_method.fn. */
#define API_HANDLER(name)                                                                                    \
	void name(void *ctx, struct connect_call *call, const struct connect_method *m,                      \
		  const ProtobufCMessage *req)
API_HANDLER(api_get);
API_HANDLER(api_list);
API_HANDLER(api_change); /* Create, Update, Delete */
API_HANDLER(api_create_enroll_token);
API_HANDLER(api_revoke_host);
API_HANDLER(api_enroll);
API_HANDLER(api_get_appliance);
API_HANDLER(api_list_counters);

/* The field of a request with this number (they stand in order of number). */
const ProtobufCMessage *req_message(const ProtobufCMessage *req, unsigned id); /* NULL: not set */
const char *req_string(const ProtobufCMessage *req, unsigned id);

/* A copy of obj with its status filled in; NULL: no memory. */
ProtobufCMessage *api_describe(struct api *a, enum kind k, const ProtobufCMessage *obj);

/* Answers. */
void api_answer_error(struct connect_call *call, enum api_code code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void api_answer_object(struct api *a, struct connect_call *call, enum kind k, const char *name);

#endif

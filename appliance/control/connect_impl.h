/* SPDX-License-Identifier: Apache-2.0 */
/* Between connect.c (connections) and connect_call.c (one request). */
#ifndef OUTRIGGER_CONTROL_CONNECT_IMPL_H
#define OUTRIGGER_CONTROL_CONNECT_IMPL_H

#include <event2/http.h>

#include "appliance/control/connect.h"
#include "fabric/base/list.h"

struct gate;

struct connect_server {
	struct connect_cfg cfg;
	struct evhttp *http;
	struct gate *gate;
	struct list calls; /* handed out and not answered */
	uint16_t port;
	uint64_t counters[CONNECT_NCOUNTERS];
};

void connect_on_request(struct evhttp_request *req, void *server); /* evhttp's general callback */
/* The call of this list node loses its request: answering it later does nothing but free it. */
void connect_forget(struct list *node);

#endif

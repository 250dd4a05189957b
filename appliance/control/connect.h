/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A server of the Connect protocol (connectrpc.com/docs/protocol): unary calls over HTTP/1.1 with TLS 1.3,
 * bodies in JSON or binary protobuf, errors as JSON.
 *
 *	POST /outrigger.v1.SERVICE/METHOD
 *
 * Who may call: every method that is not `open` needs a client certificate of our CA with
 * OU network-admin, or `Authorization: Bearer TOKEN` that token_ok() knows; else the answer is 401
 * `unauthenticated` (403 with a certificate of another role). GET /healthz answers 200 to anybody.
 *
 * Bounds: bodies 4 MiB (413), headers 16 KiB, connections_max at once (more wait in the
 * kernel's queue), 10 s for a handshake, 60 s of silence. A message whose length is told in two
 * ways, or by a transfer coding other than chunked, gets 400 and the connection is closed (RFC 9112
 * section 6.3: it would let one request hide in another).
 *
 * A call belongs to the handler until it answers it once, now or later, with connect_reply() or
 * connect_fail(), also when the client or the server is gone meanwhile.
 * Thread rule: the thread of the event base.
 */
#ifndef OUTRIGGER_CONTROL_CONNECT_H
#define OUTRIGGER_CONTROL_CONNECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/ssl.h>
#include <protobuf-c/protobuf-c.h>

#include "appliance/control/apierr.h"

struct event_base;
struct connect_call;
struct connect_server;

struct connect_method {
	const ProtobufCServiceDescriptor *service;
	const char *name; /* of the method: its messages are found by the descriptor */
	bool open;	  /* needs no credential */
	/* req is valid until the call is answered. */
	void (*fn)(void *ctx, struct connect_call *call, const struct connect_method *m,
		   const ProtobufCMessage *req);
	int arg; /* for fn */
};

#define CONNECT_COUNTERS(X)                                                                                  \
	X(requests)                                                                                          \
	X(replies)                                                                                           \
	X(errors)                                                                                            \
	X(drop_framing)                                                                                      \
	X(drop_path)                                                                                         \
	X(drop_media)                                                                                        \
	X(drop_unauthenticated)                                                                              \
	X(drop_body)                                                                                         \
	X(drop_handshake_timeout)                                                                            \
	X(accepts_put_off) /* no descriptor was left for a connection: it waits */
#define CONNECT_COUNTER_ENUM(name) CONNECT_C_##name,
enum connect_counter { CONNECT_COUNTERS(CONNECT_COUNTER_ENUM) CONNECT_NCOUNTERS };
extern const char *const connect_counter_names[];

struct connect_cfg {
	struct event_base *base;
	const char *address; /* numeric; NULL: every address */
	uint16_t port;	     /* 0: the system chooses */
	SSL_CTX *tls;	     /* pki_server_ctx(..., PKI_CLIENT_OPTIONAL); a reference is taken */
	const struct connect_method *methods; /* kept, not copied */
	size_t nmethods;
	void *ctx; /* for fn and token_ok */
	bool (*token_ok)(void *ctx, const uint8_t sha256[32]);
	unsigned connections_max; /* default 256 */
};

/* -EADDRINUSE, -EACCES, -EINVAL (address, or a method without descriptor), -ENOMEM. */
int connect_listen(const struct connect_cfg *cfg, struct connect_server **out);
uint16_t connect_port(const struct connect_server *s);
const uint64_t *connect_counters(const struct connect_server *s);
void connect_free(struct connect_server *s); /* NULL is fine */

void connect_reply(struct connect_call *call, const ProtobufCMessage *resp);
void connect_fail(struct connect_call *call, const struct api_err *err);
/* For the log: "admin at 192.0.2.1", "token at 192.0.2.1". Valid until the call is answered. */
const char *connect_caller(const struct connect_call *call);

#endif

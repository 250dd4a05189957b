/* SPDX-License-Identifier: Apache-2.0 */
/* One request: what it is, whether it may, its body, its answer. */
#include "appliance/control/connect_impl.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/queue.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/keyvalq_struct.h>
#include <jansson.h>
#include <openssl/sha.h>

#include "appliance/control/json.h"
#include "fabric/base/counter.h"
#include "fabric/chan/pki.h"

#define PACKAGE "outrigger.v1."

struct connect_call {
	struct list link;
	struct connect_server *server;
	struct evhttp_request *http; /* NULL: the server is gone */
	const struct connect_method *method;
	const ProtobufCMethodDescriptor *desc;
	ProtobufCMessage *req;
	bool json;
	bool close; /* the connection with the answer: its framing cannot be trusted */
	char caller[160];
};

static void count(struct connect_call *c, enum connect_counter which)
{
	if (c->server)
		counter_add(&c->server->counters[which], 1);
}

static void release(struct connect_call *c)
{
	list_del(&c->link);
	if (c->req)
		protobuf_c_message_free_unpacked(c->req, NULL);
	free(c);
}

void connect_forget(struct list *node)
{
	struct connect_call *c = container_of(node, struct connect_call, link);

	list_del(node);
	/* evhttp has let go of the request of a client that went away: then it is ours to free. */
	if (c->http && !evhttp_request_get_connection(c->http))
		evhttp_request_free(c->http);
	c->http = NULL;
	c->server = NULL;
}

/* Takes text (malloc'ed). */
static void send_bytes(struct connect_call *c, int status, const char *type, char *bytes, size_t len)
{
	struct evkeyvalq *headers = c->http ? evhttp_request_get_output_headers(c->http) : NULL;
	struct evbuffer *body = headers ? evbuffer_new() : NULL;

	if (headers) {
		evhttp_add_header(headers, "Content-Type", type);
		evhttp_add_header(headers, "Cache-Control", "no-store");
		if (c->close)
			evhttp_add_header(headers, "Connection", "close");
		if (body && len)
			evbuffer_add(body, bytes, len);
		/* A client that went away meanwhile is evhttp's business: it drops the answer. */
		evhttp_send_reply(c->http, status, NULL, body);
	}
	if (body)
		evbuffer_free(body);
	free(bytes);
	release(c);
}

void connect_fail(struct connect_call *c, const struct api_err *err)
{
	json_t *j = json_pack("{s:s, s:s}", "code", api_code_name(err->code), "message", err->msg);
	char *text;

	if (!j) /* a message that quotes bytes which are not UTF-8 */
		j = json_pack("{s:s}", "code", api_code_name(err->code));
	text = j ? json_dumps(j, JSON_COMPACT) : NULL;
	json_decref(j);
	count(c, CONNECT_C_errors);
	if (c->http && err->code == API_UNAUTHENTICATED)
		evhttp_add_header(evhttp_request_get_output_headers(c->http), "WWW-Authenticate", "Bearer");
	send_bytes(c, api_code_http(err->code), "application/json", text, text ? strlen(text) : 0);
}

void connect_reply(struct connect_call *c, const ProtobufCMessage *resp)
{
	struct api_err err;
	char *bytes;
	size_t len;

	if (c->json) {
		bytes = json_encode(resp);
		len = bytes ? strlen(bytes) : 0;
	} else {
		len = protobuf_c_message_get_packed_size(resp);
		bytes = malloc(len ? len : 1);
		if (bytes)
			protobuf_c_message_pack(resp, (uint8_t *)bytes);
	}
	if (!bytes) {
		api_fail(&err, API_INTERNAL, "the answer cannot be encoded");
		connect_fail(c, &err);
		return;
	}
	count(c, CONNECT_C_replies);
	send_bytes(c, 200, c->json ? "application/json" : "application/proto", bytes, len);
}

const char *connect_caller(const struct connect_call *c)
{
	return c->caller;
}

/* An answer outside the protocol: a bare HTTP status with a line of JSON. */
static void refuse_http(struct connect_call *c, int status, enum connect_counter which, const char *code,
			const char *message)
{
	json_t *j = json_pack("{s:s, s:s}", "code", code, "message", message);
	char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;

	json_decref(j);
	count(c, which);
	send_bytes(c, status, "application/json", text, text ? strlen(text) : 0);
}

/* evhttp itself takes the first Content-Length it finds and any Transfer-Encoding that is "chunked"; what
 * is told twice or otherwise must not reach a handler. */
static bool framing_ok(struct evhttp_request *req)
{
	unsigned lengths = 0, codings = 0;
	struct evkeyval *h;

	TAILQ_FOREACH(h, evhttp_request_get_input_headers(req), next)
	{
		if (!strcasecmp(h->key, "Content-Length")) {
			lengths++;
			if (!h->value[0] || strspn(h->value, "0123456789") != strlen(h->value))
				return false;
		} else if (!strcasecmp(h->key, "Transfer-Encoding")) {
			codings++;
			if (strcasecmp(h->value, "chunked") != 0)
				return false;
		}
	}
	return lengths + codings <= 1;
}

static const struct connect_method *find_method(const struct connect_server *s, const char *path,
						const ProtobufCMethodDescriptor **desc)
{
	for (size_t i = 0; i < s->cfg.nmethods; i++) {
		const struct connect_method *m = &s->cfg.methods[i];
		size_t n = strlen(m->service->name);

		if (path[0] == '/' && !strncmp(path + 1, m->service->name, n) && path[1 + n] == '/' &&
		    !strcmp(path + 2 + n, m->name)) {
			*desc = protobuf_c_service_descriptor_get_method_by_name(m->service, m->name);
			return m;
		}
	}
	return NULL;
}

static const char *header(struct connect_call *c, const char *name)
{
	return evhttp_find_header(evhttp_request_get_input_headers(c->http), name);
}

static SSL *ssl_of(struct evhttp_request *req)
{
	struct evhttp_connection *conn = evhttp_request_get_connection(req);
	struct bufferevent *bev = conn ? evhttp_connection_get_bufferevent(conn) : NULL;

	return bev ? bufferevent_openssl_get_ssl(bev) : NULL;
}

/* Fills c->caller; false: answered. */
static bool authorize(struct connect_call *c)
{
	const char *bearer = header(c, "Authorization");
	char name[65], role[65], *address = NULL;
	uint8_t fingerprint[PKI_FINGERPRINT_LEN], hash[SHA256_DIGEST_LENGTH];
	struct api_err err;
	uint16_t port;
	int rc = pki_peer(ssl_of(c->http), name, role, fingerprint);

	evhttp_connection_get_peer(evhttp_request_get_connection(c->http), &address, &port);
	if (rc == 0 && !strcmp(role, PKI_ROLE_ADMIN)) {
		snprintf(c->caller, sizeof(c->caller), "%s at %.64s", name, address ? address : "?");
		return true;
	}
	if (bearer && !strncasecmp(bearer, "Bearer ", 7) && c->server->cfg.token_ok) {
		SHA256((const uint8_t *)bearer + 7, strlen(bearer + 7), hash);
		if (c->server->cfg.token_ok(c->server->cfg.ctx, hash)) {
			snprintf(c->caller, sizeof(c->caller), "token at %.64s", address ? address : "?");
			return true;
		}
	}
	snprintf(c->caller, sizeof(c->caller), "%.64s", address ? address : "?");
	if (c->method->open)
		return true;
	count(c, CONNECT_C_drop_unauthenticated);
	if (rc == 0 && !bearer)
		api_fail(&err, API_PERMISSION_DENIED,
			 "a certificate with OU \"%s\" may not manage; OU \"%s\" may", role, PKI_ROLE_ADMIN);
	else
		api_fail(&err, API_UNAUTHENTICATED, "%s",
			 bearer ? "the bearer token is not known"
				: "an administrator's client certificate or a bearer token is needed");
	connect_fail(c, &err);
	return false;
}

/* application/json or application/proto, parameters (charset) ignored. */
static bool media_type(struct connect_call *c)
{
	const char *type = header(c, "Content-Type");
	size_t n = type ? strcspn(type, "; ") : 0;

	c->json = n == 16 && !strncasecmp(type, "application/json", n);
	return c->json || (n == 17 && !strncasecmp(type, "application/proto", n));
}

static int check_headers(struct connect_call *c, struct api_err *err)
{
	const char *version = header(c, "Connect-Protocol-Version"), *coding = header(c, "Content-Encoding");
	const char *timeout = header(c, "Connect-Timeout-Ms");

	if (version && strcmp(version, "1") != 0)
		return api_fail(err, API_INVALID_ARGUMENT, "connect-protocol-version must be \"1\"");
	if (coding && coding[0] && strcasecmp(coding, "identity") != 0)
		return api_fail(err, API_UNIMPLEMENTED, "content-encoding: only identity is supported");
	if (timeout &&
	    (!timeout[0] || strlen(timeout) > 10 || strspn(timeout, "0123456789") != strlen(timeout)))
		return api_fail(err, API_INVALID_ARGUMENT, "connect-timeout-ms must be 1 to 10 digits");
	return 0;
}

static int decode_body(struct connect_call *c, struct api_err *err)
{
	struct evbuffer *in = evhttp_request_get_input_buffer(c->http);
	size_t len = evbuffer_get_length(in);
	const uint8_t *bytes = len ? evbuffer_pullup(in, -1) : (const uint8_t *)"";

	if (!bytes)
		return api_fail(err, API_UNAVAILABLE, "out of memory");
	if (c->json)
		return json_decode((const char *)bytes, len, c->desc->input, &c->req, err) ||
				       message_check_strings(c->req, err)
			       ? -1
			       : 0;
	c->req = protobuf_c_message_unpack(c->desc->input, NULL, len, bytes);
	if (!c->req)
		return api_fail(err, API_INVALID_ARGUMENT, "the body is not a %s", c->desc->input->name);
	return message_check_strings(c->req, err);
}

static void handle(struct connect_call *c)
{
	const char *path = evhttp_uri_get_path(evhttp_request_get_evhttp_uri(c->http));
	struct api_err err;

	path = path ? path : "";
	if (!framing_ok(c->http)) {
		c->close = true;
		refuse_http(c, 400, CONNECT_C_drop_framing, "invalid_argument",
			    "the length of the request is told in more than one way");
		return;
	}
	if (evhttp_request_get_command(c->http) == EVHTTP_REQ_GET) {
		bool health = !strcmp(path, "/healthz");

		send_bytes(c, health ? 200 : 405, "text/plain", strdup(health ? "ok\n" : "POST only\n"),
			   health ? 3 : 10);
		return;
	}
	c->method = find_method(c->server, path, &c->desc);
	if (!c->method) {
		bool ours = !strncmp(path, "/" PACKAGE, 1 + strlen(PACKAGE));

		refuse_http(c, ours ? 501 : 404, CONNECT_C_drop_path, ours ? "unimplemented" : "not_found",
			    ours ? "there is no such method" : "there is no such path");
		return;
	}
	if (!media_type(c)) {
		evhttp_add_header(evhttp_request_get_output_headers(c->http), "Accept-Post",
				  "application/json, application/proto");
		refuse_http(c, 415, CONNECT_C_drop_media, "invalid_argument",
			    "content-type must be application/json or application/proto");
		return;
	}
	if (!authorize(c))
		return;
	if (check_headers(c, &err) || decode_body(c, &err)) {
		count(c, CONNECT_C_drop_body);
		connect_fail(c, &err);
		return;
	}
	c->method->fn(c->server->cfg.ctx, c, c->method, c->req);
}

void connect_on_request(struct evhttp_request *req, void *arg)
{
	struct connect_server *s = arg;
	struct connect_call *c = ssl_of(req) ? calloc(1, sizeof(*c)) : NULL;

	if (!c) {
		evhttp_add_header(evhttp_request_get_output_headers(req), "Connection", "close");
		evhttp_send_reply(req, 503, NULL, NULL);
		return;
	}
	counter_add(&s->counters[CONNECT_C_requests], 1);
	c->server = s;
	c->http = req;
	list_add_tail(&s->calls, &c->link);
	handle(c);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Connections of the API server: how many, for how long, and their TLS. */
#include "appliance/control/connect_impl.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/event.h>
#include <event2/listener.h>

#include "fabric/base/counter.h"
#include "fabric/base/log.h"

COUNTERS_DEFINE(connect, CONNECT_COUNTERS)

#define CONNECTIONS_MAX_DEFAULT 256u
#define HEADERS_MAX		(16 << 10)
#define BODY_MAX		(4 << 20)
#define SILENCE_S		60
#define HANDSHAKE_S		10
#define BACKLOG			128
#define RESUME_S		1

/*
 * Counts connections from the first byte to the release of their SSL object, which may
 * outlive the server: libevent frees a bufferevent from the loop. While the count is at its limit the
 * listener is off, and for a while after there was no descriptor for a connection.
 */
struct gate {
	struct gate *next; /* of this thread */
	struct event_base *base;
	struct evconnlistener *listener; /* NULL once the server is gone */
	struct connect_server *server;	 /* likewise */
	struct event *resume;
	SSL_CTX *tls;
	unsigned count, max;
	unsigned refs;
};

/* One connection's place in the gate. */
struct slot {
	struct gate *gate;
	struct event *timer; /* ends a handshake that takes too long */
	SSL *ssl;
};

/* evhttp keeps the listener's callback argument for itself: this is how an error finds its gate. */
static _Thread_local struct gate *gates;

static void gate_put(struct gate *g)
{
	struct gate **at = &gates;

	if (--g->refs)
		return;
	while (*at && *at != g)
		at = &(*at)->next;
	if (*at)
		*at = g->next;
	if (g->resume)
		event_free(g->resume);
	SSL_CTX_free(g->tls);
	free(g);
}

/* Called by SSL_free(). */
static void slot_release(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx, long argl, void *argp)
{
	struct slot *s = ptr;

	(void)parent, (void)ad, (void)idx, (void)argl, (void)argp;
	if (!s)
		return;
	if (s->gate->count-- == s->gate->max && s->gate->listener)
		evconnlistener_enable(s->gate->listener);
	if (s->timer)
		event_free(s->timer);
	gate_put(s->gate);
	free(s);
}

static int slot_index(void)
{
	static int index = -1; /* one per process; the control thread makes it */

	if (index < 0)
		index = SSL_get_ex_new_index(0, NULL, NULL, NULL, slot_release);
	return index;
}

static void on_handshake_timer(evutil_socket_t fd, short what, void *arg)
{
	struct slot *s = arg;

	(void)fd, (void)what;
	if (SSL_is_init_finished(s->ssl))
		return;
	if (s->gate->server)
		counter_add(&s->gate->server->counters[CONNECT_C_drop_handshake_timeout], 1);
	/* evhttp owns the connection: it sees the end of file. */
	shutdown(SSL_get_fd(s->ssl), SHUT_RDWR);
}

static SSL *new_ssl(struct gate *g)
{
	struct timeval tv = {.tv_sec = HANDSHAKE_S};
	struct slot *s = calloc(1, sizeof(*s));
	SSL *ssl = SSL_new(g->tls);

	if (!s || !ssl || slot_index() < 0 || !SSL_set_ex_data(ssl, slot_index(), s)) {
		SSL_free(ssl);
		free(s);
		return NULL;
	}
	s->gate = g;
	s->ssl = ssl;
	g->refs++;
	if (++g->count == g->max)
		evconnlistener_disable(g->listener);
	s->timer = evtimer_new(g->base, on_handshake_timer, s);
	if (s->timer)
		event_add(s->timer, &tv);
	return ssl;
}

/* evhttp takes a plain connection when this gives NULL; connect_on_request() answers none without TLS. */
static struct bufferevent *make_bev(struct event_base *base, void *arg)
{
	SSL *ssl = new_ssl(arg);
	struct bufferevent *bev;

	if (!ssl)
		return NULL;
	bev = bufferevent_openssl_socket_new(base, -1, ssl, BUFFEREVENT_SSL_ACCEPTING, BEV_OPT_CLOSE_ON_FREE);
	if (bev)
		bufferevent_openssl_set_allow_dirty_shutdown(bev, 1);
	else
		SSL_free(ssl);
	return bev;
}

static int resolve(const struct connect_cfg *cfg, struct sockaddr_storage *ss, socklen_t *len)
{
	struct sockaddr_in *in = (struct sockaddr_in *)(void *)ss;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)(void *)ss;

	memset(ss, 0, sizeof(*ss));
	if (cfg->address && inet_pton(AF_INET, cfg->address, &in->sin_addr) == 1) {
		in->sin_family = AF_INET;
		in->sin_port = htons(cfg->port);
		*len = sizeof(*in);
		return 0;
	}
	memset(ss, 0, sizeof(*ss));
	if (cfg->address && inet_pton(AF_INET6, cfg->address, &in6->sin6_addr) != 1)
		return -EINVAL;
	in6->sin6_family = AF_INET6;
	in6->sin6_port = htons(cfg->port);
	*len = sizeof(*in6);
	return 0;
}

static void on_resume(evutil_socket_t fd, short what, void *arg)
{
	struct gate *g = arg;

	(void)fd, (void)what;
	if (g->listener && g->count < g->max)
		evconnlistener_enable(g->listener);
}

/* Out of descriptors, most likely: without a pause accept would spin. */
static void on_accept_error(struct evconnlistener *ev, void *arg)
{
	struct timeval tv = {.tv_sec = RESUME_S};

	(void)arg;
	for (struct gate *g = gates; g; g = g->next) {
		if (g->listener != ev)
			continue;
		counter_add(&g->server->counters[CONNECT_C_accepts_put_off], 1);
		log_warn("API: cannot accept connections: %s; trying again in %d s", strerror(errno),
			 RESUME_S);
		evconnlistener_disable(ev);
		event_add(g->resume, &tv);
	}
}

static int bind_listener(struct connect_server *s)
{
	struct sockaddr_storage ss;
	const int one = 1;
	socklen_t len;
	int rc = resolve(&s->cfg, &ss, &len);

	if (rc)
		return rc;
	s->gate->listener = evconnlistener_new_bind(
		s->cfg.base, NULL, NULL, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_REUSEABLE,
		BACKLOG, (struct sockaddr *)&ss, (int)len);
	if (!s->gate->listener)
		return errno ? -errno : -EIO;
	len = sizeof(ss);
	/* Connections have it from here. An answer is two records; Nagle's algorithm would keep the second
	 * until the caller's delayed acknowledgement: 40 ms of each call on a connection that is kept. */
	setsockopt(evconnlistener_get_fd(s->gate->listener), IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (getsockname(evconnlistener_get_fd(s->gate->listener), (struct sockaddr *)&ss, &len))
		return -errno;
	s->port = ntohs(ss.ss_family == AF_INET ? ((struct sockaddr_in *)(void *)&ss)->sin_port
						: ((struct sockaddr_in6 *)(void *)&ss)->sin6_port);
	if (!evhttp_bind_listener(s->http, s->gate->listener)) {
		evconnlistener_free(s->gate->listener);
		s->gate->listener = NULL;
		return -ENOMEM;
	}
	evconnlistener_set_error_cb(s->gate->listener, on_accept_error);
	return 0;
}

static int check_methods(const struct connect_cfg *cfg)
{
	for (size_t i = 0; i < cfg->nmethods; i++)
		if (!protobuf_c_service_descriptor_get_method_by_name(cfg->methods[i].service,
								      cfg->methods[i].name))
			return -EINVAL;
	return 0;
}

static int start(struct connect_server *s)
{
	s->gate = calloc(1, sizeof(*s->gate));
	s->http = evhttp_new(s->cfg.base);
	if (!s->gate || !s->http)
		return -ENOMEM;
	SSL_CTX_up_ref(s->cfg.tls);
	*s->gate = (struct gate){
		.next = gates,
		.base = s->cfg.base,
		.server = s,
		.tls = s->cfg.tls,
		.max = s->cfg.connections_max ? s->cfg.connections_max : CONNECTIONS_MAX_DEFAULT,
		.refs = 1,
	};
	gates = s->gate;
	s->gate->resume = evtimer_new(s->cfg.base, on_resume, s->gate);
	if (!s->gate->resume)
		return -ENOMEM;
	evhttp_set_bevcb(s->http, make_bev, s->gate);
	evhttp_set_gencb(s->http, connect_on_request, s);
	evhttp_set_max_headers_size(s->http, HEADERS_MAX);
	evhttp_set_max_body_size(s->http, BODY_MAX);
	evhttp_set_timeout(s->http, SILENCE_S);
	evhttp_set_allowed_methods(s->http, EVHTTP_REQ_POST | EVHTTP_REQ_GET);
	return bind_listener(s);
}

int connect_listen(const struct connect_cfg *cfg, struct connect_server **out)
{
	struct connect_server *s;
	int rc = check_methods(cfg);

	if (rc)
		return rc;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->cfg = *cfg;
	list_init(&s->calls);
	rc = start(s);
	if (rc) {
		connect_free(s);
		return rc;
	}
	*out = s;
	return 0;
}

uint16_t connect_port(const struct connect_server *s)
{
	return s->port;
}

const uint64_t *connect_counters(const struct connect_server *s)
{
	return s->counters;
}

void connect_free(struct connect_server *s)
{
	if (!s)
		return;
	/* evhttp_free() releases the requests of calls that nobody answered yet. */
	while (!list_empty(&s->calls))
		connect_forget(list_pop(&s->calls));
	if (s->gate) {
		s->gate->server = NULL;
		s->gate->listener = NULL; /* freed by evhttp_free() */
		if (s->gate->resume)
			event_del(s->gate->resume);
	}
	if (s->http)
		evhttp_free(s->http);
	if (s->gate)
		gate_put(s->gate);
	free(s);
}

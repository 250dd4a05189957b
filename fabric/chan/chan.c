/* SPDX-License-Identifier: Apache-2.0 */
/* One channel: handshake, frames both ways, its end. */
#include "fabric/chan/chan_impl.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/buffer.h>
#include <event2/bufferevent_ssl.h>
#include <openssl/err.h>

#include "fabric/base/counter.h"
#include "fabric/base/cursor.h"
#include "fabric/chan/pki.h"

#define HANDSHAKE_MS_DEFAULT 10000u
#define STALL_MS_DEFAULT     30000u
#define QUEUE_MAX_DEFAULT    ((size_t)4 << 20)
/* A peer whose machine is gone is noticed after about this many seconds. */
#define KEEPALIVE_IDLE_S     10
#define KEEPALIVE_INTERVAL_S 5
#define KEEPALIVE_COUNT	     3

static struct timeval ms_tv(unsigned ms)
{
	return (struct timeval){.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000};
}

static void count(struct chan *c, enum chan_counter which)
{
	if (c->listener)
		counter_add(&c->listener->counters[which], 1);
}

struct chan *chan_alloc(const struct chan_ops *ops, void *ctx, const char *role, unsigned stall_ms,
			size_t queue_max)
{
	struct chan *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	list_init(&c->link);
	c->ops = ops;
	c->ctx = ctx;
	c->role = role;
	c->stall_ms = stall_ms ? stall_ms : STALL_MS_DEFAULT;
	c->queue_max = queue_max ? queue_max : QUEUE_MAX_DEFAULT;
	return c;
}

static void release(struct chan *c)
{
	if (c->timer)
		event_free(c->timer);
	if (c->bev)
		bufferevent_free(c->bev);
	c->timer = NULL;
	c->bev = NULL;
	c->ssl = NULL;
	if (c->depth == 0)
		free(c);
}

void chan_discard(struct chan *c)
{
	list_del(&c->link);
	if (c->listener)
		chan_listener_gone(c->listener, c);
	c->state = CHAN_DEAD;
	release(c);
}

/* The one way out: tells the user if it knows the channel, then lets go of everything. */
static void end(struct chan *c, const char *reason)
{
	enum chan_state was = c->state;
	bool known = !c->listener || was == CHAN_UP;

	if (was == CHAN_DEAD)
		return;
	c->state = CHAN_DEAD;
	bufferevent_disable(c->bev, EV_READ | EV_WRITE);
	list_del(&c->link);
	if (c->listener) {
		if (was == CHAN_HANDSHAKE)
			chan_listener_handshake_over(c->listener, c, false, reason);
		chan_listener_gone(c->listener, c);
	}
	if (was != CHAN_HANDSHAKE && evbuffer_get_length(bufferevent_get_output(c->bev)) == 0)
		SSL_shutdown(c->ssl); /* a farewell where it costs no waiting; the peer needs none */
	ERR_clear_error();
	c->depth++;
	if (known)
		c->ops->down(c->ctx, c, reason);
	c->depth--;
	release(c);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct chan *c = arg;

	(void)fd, (void)what;
	count(c, CHAN_C_drop_handshake_timeout);
	end(c, "no handshake in time");
}

static void describe_error(struct chan *c, char *buf, size_t size)
{
	unsigned long e, last = 0;
	long verify = SSL_get_verify_result(c->ssl);

	/* Among the errors is SSL_get_error()'s code, which has no words. */
	while ((e = bufferevent_get_openssl_error(c->bev)))
		if (ERR_reason_error_string(e))
			last = e;
	if (verify != X509_V_OK)
		snprintf(buf, size, "peer's certificate: %s", X509_verify_cert_error_string(verify));
	else if (last)
		snprintf(buf, size, "TLS: %s", ERR_reason_error_string(last));
	else if (errno)
		snprintf(buf, size, "%s", strerror(errno));
	else
		snprintf(buf, size, "connection lost");
}

static void become_up(struct chan *c)
{
	struct chan_peer peer;
	struct timeval stall = ms_tv(c->stall_ms);
	int rc = pki_peer(c->ssl, peer.name, peer.role, peer.fingerprint);

	if (rc || strcmp(peer.role, c->role) != 0 || !peer.name[0]) {
		char reason[200];

		count(c, CHAN_C_drop_role);
		snprintf(reason, sizeof(reason), "peer's certificate is for role \"%s\", not \"%s\"",
			 peer.role, c->role);
		end(c, reason);
		return;
	}
	snprintf(peer.address, sizeof(peer.address), "%s", c->address);
	event_free(c->timer);
	c->timer = NULL;
	c->state = CHAN_UP;
	/* Messages have lengths: an end without close_notify cuts nothing short unnoticed. Not before, for it
	 * hides why a connection could not be made. */
	bufferevent_openssl_set_allow_dirty_shutdown(c->bev, 1);
	if (c->listener)
		chan_listener_handshake_over(c->listener, c, true, NULL);
	bufferevent_set_timeouts(c->bev, NULL, &stall);
	c->ops->up(c->ctx, c, &peer);
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
	struct chan *c = arg;
	char reason[256];
	int saved = errno;

	(void)bev;
	if (c->state == CHAN_DEAD)
		return;
	c->depth++;
	if (what & BEV_EVENT_CONNECTED) {
		become_up(c);
	} else if (what & BEV_EVENT_TIMEOUT) {
		count(c, CHAN_C_drop_stalled);
		end(c, what & BEV_EVENT_READING ? "peer stopped within a message"
						: "peer takes nothing off the connection");
	} else if (what & BEV_EVENT_EOF) {
		end(c, "closed by the peer");
	} else {
		errno = saved;
		describe_error(c, reason, sizeof(reason));
		end(c, reason);
	}
	if (--c->depth == 0 && c->state == CHAN_DEAD && !c->bev)
		free(c);
}

/* Delivers one message if a whole one is there. False: not now, or never again. */
static bool deliver(struct chan *c)
{
	struct evbuffer *in = bufferevent_get_input(c->bev);
	size_t have = evbuffer_get_length(in);
	struct timeval stall = ms_tv(c->stall_ms);
	uint8_t header[CHAN_HEADER];
	struct cur_r cur;
	uint32_t len;

	if (have < CHAN_HEADER) {
		bufferevent_set_timeouts(c->bev, have ? &stall : NULL, &stall);
		return false;
	}
	evbuffer_copyout(in, header, sizeof(header));
	cur_r_init(&cur, header, sizeof(header));
	len = cur_u32(&cur);
	if (len == 0 || len > CHAN_MESSAGE_MAX) {
		count(c, CHAN_C_drop_frame);
		end(c, "message length out of range");
		return false;
	}
	if (have < CHAN_HEADER + len) {
		bufferevent_setwatermark(c->bev, EV_READ, CHAN_HEADER + len, CHAN_HEADER + CHAN_MESSAGE_MAX);
		bufferevent_set_timeouts(c->bev, &stall, &stall);
		return false;
	}
	c->ops->message(c->ctx, c, evbuffer_pullup(in, CHAN_HEADER + len) + CHAN_HEADER, len);
	if (c->state == CHAN_DEAD)
		return false;
	evbuffer_drain(in, CHAN_HEADER + len);
	return true;
}

static void on_read(struct bufferevent *bev, void *arg)
{
	struct chan *c = arg;

	if (c->state != CHAN_UP)
		return;
	bufferevent_setwatermark(bev, EV_READ, 0, CHAN_HEADER + CHAN_MESSAGE_MAX);
	c->depth++;
	while (c->state == CHAN_UP && deliver(c))
		;
	if (--c->depth == 0 && c->state == CHAN_DEAD)
		free(c);
}

int chan_start(struct event_base *base, int fd, SSL_CTX *tls, bool server, unsigned handshake_ms,
	       struct chan *c)
{
	struct timeval tv = ms_tv(handshake_ms ? handshake_ms : HANDSHAKE_MS_DEFAULT);
	int one = 1, idle = KEEPALIVE_IDLE_S, interval = KEEPALIVE_INTERVAL_S, probes = KEEPALIVE_COUNT;
	unsigned user_ms = (KEEPALIVE_IDLE_S + KEEPALIVE_INTERVAL_S * KEEPALIVE_COUNT) * 1000;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
	setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_ms, sizeof(user_ms));
	c->ssl = SSL_new(tls);
	c->timer = evtimer_new(base, on_timer, c);
	if (c->ssl && c->timer)
		c->bev = bufferevent_openssl_socket_new(
			base, fd, c->ssl, server ? BUFFEREVENT_SSL_ACCEPTING : BUFFEREVENT_SSL_CONNECTING,
			BEV_OPT_CLOSE_ON_FREE);
	if (!c->bev) {
		SSL_free(c->ssl);
		c->ssl = NULL;
		close(fd);
		return -ENOMEM;
	}
	bufferevent_setcb(c->bev, on_read, NULL, on_event, c);
	bufferevent_setwatermark(c->bev, EV_READ, 0, CHAN_HEADER + CHAN_MESSAGE_MAX);
	bufferevent_enable(c->bev, EV_READ | EV_WRITE);
	event_add(c->timer, &tv);
	return 0;
}

static int dial(const struct chan_connect_cfg *cfg, int *out)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *ai = NULL;
	char port[8];
	int fd, rc;

	snprintf(port, sizeof(port), "%u", cfg->port);
	if (getaddrinfo(cfg->host, port, &hints, &ai) || !ai)
		return -ENOENT;
	fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	rc = fd < 0 || (connect(fd, ai->ai_addr, ai->ai_addrlen) && errno != EINPROGRESS) ? -errno : 0;
	freeaddrinfo(ai);
	if (rc && fd >= 0)
		close(fd);
	*out = fd;
	return rc;
}

int chan_connect(const struct chan_connect_cfg *cfg, struct chan **out)
{
	struct chan *c;
	int fd, rc = dial(cfg, &fd);

	if (rc)
		return rc;
	c = chan_alloc(cfg->ops, cfg->ctx, cfg->peer_role ? cfg->peer_role : PKI_ROLE_APPLIANCE,
		       cfg->stall_ms, cfg->queue_max);
	if (!c) {
		close(fd);
		return -ENOMEM;
	}
	snprintf(c->address, sizeof(c->address), "%.50s:%u", cfg->host, cfg->port);
	rc = chan_start(cfg->base, fd, cfg->tls, false, cfg->handshake_ms, c);
	if (rc) {
		chan_discard(c);
		return rc;
	}
	*out = c;
	return 0;
}

int chan_send(struct chan *c, const void *bytes, size_t len)
{
	uint8_t header[CHAN_HEADER];
	struct evbuffer *out;
	struct cur_w cur;

	if (len == 0 || len > CHAN_MESSAGE_MAX)
		return -EMSGSIZE;
	if (c->state != CHAN_UP)
		return -ENOTCONN;
	out = bufferevent_get_output(c->bev);
	if (evbuffer_get_length(out) + CHAN_HEADER + len > c->queue_max ||
	    evbuffer_expand(out, CHAN_HEADER + len))
		return -ENOBUFS;
	cur_w_init(&cur, header, sizeof(header));
	cur_put_u32(&cur, (uint32_t)len);
	evbuffer_add(out, header, sizeof(header));
	evbuffer_add(out, bytes, len);
	return 0;
}

size_t chan_queued(const struct chan *c)
{
	return c->bev ? evbuffer_get_length(bufferevent_get_output(c->bev)) : 0;
}

void chan_close(struct chan *c)
{
	if (c)
		end(c, "closed");
}

void chan_set_user(struct chan *c, void *user)
{
	c->user = user;
}

void *chan_user(const struct chan *c)
{
	return c->user;
}

void chan_backoff_init(struct chan_backoff *b, uint32_t min_ms, uint32_t max_ms)
{
	*b = (struct chan_backoff){.min_ms = min_ms, .max_ms = max_ms, .next_ms = min_ms};
}

uint32_t chan_backoff_next(struct chan_backoff *b, struct rng *rng)
{
	uint32_t ms = b->next_ms;

	b->next_ms = ms > b->max_ms / 2 ? b->max_ms : ms * 2;
	return ms - (uint32_t)rng_below(rng, ms / 4 + 1);
}

void chan_backoff_reset(struct chan_backoff *b)
{
	b->next_ms = b->min_ms;
}

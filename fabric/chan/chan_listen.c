/* SPDX-License-Identifier: Apache-2.0 */
/* The accepting side: a bounded number of handshakes, a bounded number of channels. */
#include "fabric/chan/chan_impl.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/listener.h>

#include "fabric/base/clock.h"
#include "fabric/base/counter.h"
#include "fabric/base/log.h"
#include "fabric/chan/pki.h"

COUNTERS_DEFINE(chan, CHAN_LISTENER_COUNTERS)

#define HANDSHAKES_MAX_DEFAULT 64u
#define CHANNELS_MAX_DEFAULT   1024u
#define BACKLOG		       128
#define SEGMENT		       1400 /* bytes of a TCP segment: an MTU of 1500, IPv6, options */
#define RESUME_S	       1
#define REFUSAL_PERIOD_S       10
#define REFUSAL_LINES	       20u

static void format_address(const struct sockaddr *sa, char *buf, size_t size)
{
	char ip[INET6_ADDRSTRLEN] = "?";

	if (sa->sa_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)sa;

		inet_ntop(AF_INET, &in->sin_addr, ip, sizeof(ip));
		snprintf(buf, size, "%s:%u", ip, ntohs(in->sin_port));
	} else {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)sa;

		inet_ntop(AF_INET6, &in6->sin6_addr, ip, sizeof(ip));
		snprintf(buf, size, "[%s]:%u", ip, ntohs(in6->sin6_port));
	}
}

static void on_accept(struct evconnlistener *ev, evutil_socket_t fd, struct sockaddr *sa, int len, void *arg)
{
	struct chan_listener *l = arg;
	struct chan *c;

	(void)ev, (void)len;
	counter_add(&l->counters[CHAN_C_accepted], 1);
	if (l->handshaking >= l->cfg.handshakes_max) {
		counter_add(&l->counters[CHAN_C_drop_handshake_cap], 1);
		close(fd);
		return;
	}
	if (l->count >= l->cfg.channels_max) {
		counter_add(&l->counters[CHAN_C_drop_channel_cap], 1);
		close(fd);
		return;
	}
	c = chan_alloc(l->cfg.ops, l->cfg.ctx, l->cfg.peer_role, l->cfg.stall_ms, l->cfg.queue_max);
	if (!c) {
		close(fd);
		return;
	}
	format_address(sa, c->address, sizeof(c->address));
	c->listener = l;
	list_add_tail(&l->channels, &c->link);
	l->count++;
	l->handshaking++;
	counter_add(&l->counters[CHAN_C_handshakes], 1);
	if (chan_start(l->base, fd, l->tls, true, l->cfg.handshake_ms, c)) {
		chan_listener_handshake_over(l, c, false, "no memory");
		chan_discard(c);
	}
}

/* Anybody can cause a refusal: a few lines in each period, the rest as one number. */
static void log_refusal(struct chan_listener *l, const char *address, const char *reason)
{
	uint64_t now = clock_now_ns();

	if (now - l->period_start >= REFUSAL_PERIOD_S * NSEC_PER_SEC) {
		if (l->refusals > REFUSAL_LINES)
			log_warn("control channel: %u more refused in between", l->refusals - REFUSAL_LINES);
		l->period_start = now;
		l->refusals = 0;
	}
	if (l->refusals++ < REFUSAL_LINES)
		log_warn("control channel: %s refused: %s", address, reason);
}

void chan_listener_handshake_over(struct chan_listener *l, struct chan *c, bool up, const char *reason)
{
	l->handshaking--;
	counter_add(&l->counters[up ? CHAN_C_up : CHAN_C_drop_handshake_failed], 1);
	if (!up)
		log_refusal(l, c->address, reason);
}

void chan_listener_gone(struct chan_listener *l, struct chan *c)
{
	(void)c;
	l->count--;
}

static void on_resume(evutil_socket_t fd, short what, void *arg)
{
	struct chan_listener *l = arg;

	(void)fd, (void)what;
	evconnlistener_enable(l->ev);
}

/* Out of descriptors, most likely: without a pause accept would spin. */
static void on_accept_error(struct evconnlistener *ev, void *arg)
{
	struct chan_listener *l = arg;
	struct timeval tv = {.tv_sec = RESUME_S};

	log_warn("control channel: cannot accept connections: %s; trying again in %d s", strerror(errno),
		 RESUME_S);
	evconnlistener_disable(ev);
	event_add(l->resume, &tv);
}

static int parse_address(const char *address, uint16_t port, struct sockaddr_storage *ss, socklen_t *len)
{
	struct sockaddr_in *in = (struct sockaddr_in *)(void *)ss;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)(void *)ss;

	memset(ss, 0, sizeof(*ss));
	if (address && inet_pton(AF_INET, address, &in->sin_addr) == 1) {
		in->sin_family = AF_INET;
		in->sin_port = htons(port);
		*len = sizeof(*in);
		return 0;
	}
	memset(ss, 0, sizeof(*ss));
	if (address && inet_pton(AF_INET6, address, &in6->sin6_addr) != 1)
		return -EINVAL;
	in6->sin6_family = AF_INET6; /* the unspecified address takes IPv4 too */
	in6->sin6_port = htons(port);
	*len = sizeof(*in6);
	return 0;
}

static int bind_listener(struct chan_listener *l)
{
	struct sockaddr_storage ss;
	socklen_t len;
	int rc = parse_address(l->cfg.address, l->cfg.port, &ss, &len), segment = SEGMENT;

	if (rc)
		return rc;
	l->ev = evconnlistener_new_bind(l->base, on_accept, l,
					LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_REUSEABLE,
					BACKLOG, (struct sockaddr *)&ss, (int)len);
	if (!l->ev)
		return errno ? -errno : -EIO;
	/* Both directions of what is accepted keep to it: a fabric that says jumbo and carries less would
	 * swallow every full segment, and the session with them. */
	setsockopt(evconnlistener_get_fd(l->ev), IPPROTO_TCP, TCP_MAXSEG, &segment, sizeof(segment));
	evconnlistener_set_error_cb(l->ev, on_accept_error);
	len = sizeof(ss);
	if (getsockname(evconnlistener_get_fd(l->ev), (struct sockaddr *)&ss, &len))
		return -errno;
	l->port = ntohs(ss.ss_family == AF_INET ? ((struct sockaddr_in *)(void *)&ss)->sin_port
						: ((struct sockaddr_in6 *)(void *)&ss)->sin6_port);
	return 0;
}

int chan_listen(const struct chan_listen_cfg *cfg, struct chan_listener **out)
{
	struct chan_listener *l = calloc(1, sizeof(*l));
	int rc;

	if (!l)
		return -ENOMEM;
	l->base = cfg->base;
	l->cfg = *cfg;
	if (!l->cfg.peer_role)
		l->cfg.peer_role = PKI_ROLE_HOST;
	if (!l->cfg.handshakes_max)
		l->cfg.handshakes_max = HANDSHAKES_MAX_DEFAULT;
	if (!l->cfg.channels_max)
		l->cfg.channels_max = CHANNELS_MAX_DEFAULT;
	list_init(&l->channels);
	SSL_CTX_up_ref(cfg->tls);
	l->tls = cfg->tls;
	l->resume = evtimer_new(l->base, on_resume, l);
	rc = l->resume ? bind_listener(l) : -ENOMEM;
	if (rc) {
		chan_listener_free(l);
		return rc;
	}
	*out = l;
	return 0;
}

uint16_t chan_listener_port(const struct chan_listener *l)
{
	return l->port;
}

const uint64_t *chan_listener_counters(const struct chan_listener *l)
{
	return l->counters;
}

void chan_listener_free(struct chan_listener *l)
{
	if (!l)
		return;
	if (l->ev)
		evconnlistener_free(l->ev);
	while (!list_empty(&l->channels)) {
		struct chan *c = container_of(l->channels.next, struct chan, link);

		if (c->state == CHAN_HANDSHAKE)
			chan_discard(c);
		else
			chan_close(c);
	}
	if (l->resume)
		event_free(l->resume);
	SSL_CTX_free(l->tls);
	free(l);
}

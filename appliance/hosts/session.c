/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The appliance's side of the control session with one agent.
 *
 *	NEW --Hello--> STARTING --worker has the transport--> LIVE --end--> ENDING --> freed
 *
 * A live session may lose its channel: it goes on while packets are heard, and the agent comes back with a
 * Hello that resumes it. It ends when its transport is lost, when its host opens another one, or when one
 * of both ends it (session_end). What hangs on it at the worker is then taken down in order: devices are
 * unbound and drained first, then the transport goes.
 */
#include <errno.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "appliance/hosts/hosts_impl.h"
#include "fabric/base/clock.h"
#include "fabric/base/log.h"

#define KEEPALIVE_MS 1000u
/* What an agent may send in a second: many times what an honest one of a full host has to say. */
#define MESSAGES_MAX 20000u
#define BYTES_MAX    (16u << 20)
/* Lines of log on an agent's account in a second. */
#define LINES_MAX 5u

struct session_call {
	struct dp_call call; /* first */
	struct session *s;
	int result;
};

struct session *session_by_id(struct hosts *h, uint64_t id)
{
	list_for_each (it, &h->sessions) {
		struct session *s = container_of(it, struct session, node);

		if (s->id == id)
			return s;
	}
	return NULL;
}

struct session *session_of_host(struct hosts *h, const char *name)
{
	struct session *first = NULL;

	list_for_each (it, &h->sessions) {
		struct session *s = container_of(it, struct session, node);

		if (s->state == SESSION_LIVE && !strcmp(s->name, name) && (!first || s->lane < first->lane))
			first = s;
	}
	return first;
}

void session_text(char *out, size_t size, const char *text)
{
	size_t n = 0;

	for (; text[n] && n + 1 < size; n++)
		out[n] = text[n] >= ' ' && text[n] <= '~' ? text[n] : '?';
	out[n] = '\0';
}

bool session_may_log(struct session *s)
{
	return s->lines++ < LINES_MAX;
}

int session_say(struct session *s, const Outrigger__Session__V1__Message *m)
{
	int r = s->chan ? session_send(s->chan, m) : -ENOTCONN;

	if (r && s->chan)
		session_end(s, "it does not take what it is sent");
	return r;
}

/* Callers up the stack may still hold s: it is freed from the loop. */
static void over(struct session *s)
{
	s->state = SESSION_ENDING;
	devices_session_down(s);
	hosts_wake(s->h);
}

void session_end(struct session *s, const char *reason)
{
	if (s->state == SESSION_ENDING)
		return;
	log_warn("host %s: ending its session: %s", s->name, reason);
	s->ended = true;
	if (s->chan)
		chan_close(s->chan);
	else
		over(s);
}

static void close_later(evutil_socket_t fd, short what, void *arg)
{
	struct session *s = arg;

	(void)fd;
	(void)what;
	if (s->chan)
		chan_close(s->chan);
}

/* Says why, and gives the agent a second to read it. */
static void refuse(struct session *s, const char *reason)
{
	Outrigger__Session__V1__Message m = OUTRIGGER__SESSION__V1__MESSAGE__INIT;
	Outrigger__Session__V1__Refuse r = OUTRIGGER__SESSION__V1__REFUSE__INIT;
	struct timeval second = {.tv_sec = 1};

	log_warn("host %s at %s: refused: %s", s->name, s->address, reason);
	r.reason = (char *)reason;
	m.body_case = OUTRIGGER__SESSION__V1__MESSAGE__BODY_REFUSE;
	m.refuse = &r;
	session_say(s, &m);
	if (!s->chan)
		return;
	s->closer = evtimer_new(s->h->cfg.base, close_later, s);
	if (s->closer)
		evtimer_add(s->closer, &second);
	else
		chan_close(s->chan);
}

static void session_free(struct session *s)
{
	struct hosts *h = s->h;

	list_del(&s->node);
	if (s->closer)
		event_free(s->closer);
	OPENSSL_cleanse(&s->cfg, sizeof(s->cfg));
	OPENSSL_cleanse(s->next, sizeof(s->next));
	free(s->remote);
	free(s);
	hosts_wake(h);
}

static enum dp_verdict worker_del(struct worker *w, struct dp_call *c)
{
	struct session_call *sc = (struct session_call *)c;

	worker_session_del(w, sc->s->ws);
	return DP_DONE;
}

static void worker_deleted(struct dp_call *c)
{
	struct session_call *sc = (struct session_call *)c;

	session_free(sc->s);
	free(sc);
}

void session_del_if_done(struct session *s)
{
	struct session_call *c;

	if (s->state != SESSION_ENDING || s->letter || s->rekeying || s->chan)
		return;
	list_for_each (it, &s->h->devs) {
		struct hdev *d = container_of(it, struct hdev, node);

		if (d->a.session == s->id && s->id)
			return;
	}
	if (!s->ws) {
		session_free(s);
		return;
	}
	c = calloc(1, sizeof(*c));
	if (!c)
		return; /* tried again with the next event */
	s->letter = true;
	c->s = s;
	c->call.fn = worker_del;
	c->call.done = worker_deleted;
	dp_call(s->h->dp, &c->call);
}

static void welcome(struct session *s, bool resumed)
{
	Outrigger__Session__V1__Message m = OUTRIGGER__SESSION__V1__MESSAGE__INIT;
	Outrigger__Session__V1__Welcome w = OUTRIGGER__SESSION__V1__WELCOME__INIT;
	Outrigger__Session__V1__Path path[RT_PATHS], *paths[RT_PATHS];
	char address[RT_PATHS][LINK_ADDR_STR];

	for (unsigned i = 0; !resumed && i < s->cfg.npaths; i++) {
		outrigger__session__v1__path__init(&path[i]);
		path[i].index = s->cfg.path[i];
		path[i].carrier = s->cfg.link[i] == DP_CARRIER;
		path[i].rank = s->cfg.rank[i];
		path[i].rdma_port = s->rdma_port[i];
		if (!path[i].carrier && !path[i].rdma_port) {
			link_addr_format(&s->h->cfg.fabric[s->cfg.link[i]], address[i]);
			path[i].address = address[i];
		}
		path[i].rx_spi = s->cfg.keys[i].rx_spi;
		path[i].key.data = s->cfg.keys[i].rx_key;
		path[i].key.len = AEAD_KEY_LEN;
		paths[i] = &path[i];
	}
	w.version = SESSION_VERSION;
	w.software = (char *)OUTRIGGER_VERSION;
	w.session_id = s->id;
	w.n_paths = resumed ? 0 : s->cfg.npaths;
	w.resumed = resumed;
	w.paths = paths;
	w.chunk = s->cfg.rt.chunk;
	w.chunk_max = s->cfg.rt.chunk_max;
	w.protection = s->h->cfg.clear ? OUTRIGGER__SESSION__V1__PROTECTION__CRC32C
				       : OUTRIGGER__SESSION__V1__PROTECTION__AES_128_GCM;
	w.keepalive_ms = KEEPALIVE_MS;
	w.lost_ms = s->h->cfg.lost_ms;
	w.host = s->name;
	w.lanes = s->lanes;
	m.body_case = OUTRIGGER__SESSION__V1__MESSAGE__BODY_WELCOME;
	m.welcome = &w;
	session_say(s, &m);
}

static enum dp_verdict worker_add(struct worker *w, struct dp_call *c)
{
	struct session_call *sc = (struct session_call *)c;

	sc->result = worker_session_add(w, &sc->s->cfg, &sc->s->ws);
	return DP_DONE;
}

static void start(struct session *s);

static void worker_added(struct dp_call *c)
{
	struct session_call *sc = (struct session_call *)c;
	struct session *s = sc->s;
	int r = sc->result;

	free(sc);
	s->letter = false;
	if (s->state == SESSION_ENDING) {
		hosts_wake(s->h);
		return;
	}
	if (r) {
		s->state = SESSION_NEW;
		refuse(s, r == -ENOMEM ? "the appliance is out of memory for sessions" : strerror(-r));
		return;
	}
	s->state = SESSION_LIVE;
	log_info("host %s at %s: session %016llx, agent %s", s->name, s->address, (unsigned long long)s->id,
		 s->agent_version);
	welcome(s, false);
	if (s->chan)
		devices_session_up(s);
}

/* Keys and SPIs are fresh for every session: what an earlier incarnation sent can never be taken. */
static void start(struct session *s)
{
	struct session_call *c = calloc(1, sizeof(*c));

	if (!c) {
		refuse(s, "the appliance is out of memory");
		return;
	}
	for (unsigned i = 0; i < s->cfg.npaths; i++) {
		struct rt_path_cfg *k = &s->cfg.keys[i];

		if (spi_issue(&s->h->issuer, &k->rx_spi, k->rx_key)) {
			free(c);
			refuse(s, "the appliance's cryptographic library gives no keys");
			return;
		}
	}
	s->state = SESSION_STARTING;
	s->letter = true;
	c->s = s;
	c->call.fn = worker_add;
	c->call.done = worker_added;
	dp_call(s->h->dp, &c->call);
}

/* Other channels of the same host are over, but for those of the same agent's other lanes; what has not said
 * hello may become one of them. */
static void end_others(struct session *s)
{
	list_for_each (it, &s->h->sessions) {
		struct session *old = container_of(it, struct session, node);

		if (old != s && old->state != SESSION_ENDING && !strcmp(old->name, s->name) &&
		    !lanes_siblings(old, s) && !(old->state == SESSION_NEW && s->lanes > 1))
			session_end(old, "the host has opened a new one");
	}
}

/* A host holds as many channels that wait for their hello as an agent has lanes, not all there are. */
static void end_waiting(struct session *s)
{
	struct session *oldest = NULL;
	unsigned n = 0;

	list_for_each (it, &s->h->sessions) {
		struct session *old = container_of(it, struct session, node);

		if (old == s || old->state != SESSION_NEW || strcmp(old->name, s->name))
			continue;
		oldest = oldest ? oldest : old;
		n++;
	}
	if (n >= LANES)
		session_end(oldest, "the host has opened a new one");
}

/* The fabric link for the session's next path: the next that the agent can use, the carrier after all of
 * them; false: no more. RDMA goes first, then what else there is, then the carrier. */
static bool next_link(struct session *s, uint32_t rdma_ports, unsigned *at, unsigned *nrdma)
{
	unsigned n = s->cfg.npaths;

	for (; *at < s->h->cfg.nfabrics; ++*at) {
		bool rdma = s->h->cfg.rdma[*at];

		if (rdma && *nrdma >= rdma_ports)
			continue;
		s->cfg.link[n] = *at;
		s->rdma_port[n] = rdma ? ++*nrdma : 0;
		s->cfg.rank[n] = rdma ? 0 : 1;
		++*at;
		return true;
	}
	s->cfg.link[n] = DP_CARRIER;
	s->rdma_port[n] = 0;
	s->cfg.rank[n] = 2;
	return (*at)++ == s->h->cfg.nfabrics;
}

/* A path for each fabric link that the agent has an offer for, and the carrier. NULL, or what is wrong. */
static const char *take_paths(struct session *s, const Outrigger__Session__V1__Hello *m)
{
	unsigned seen = 0, at = 0, nrdma = 0;

	s->cfg.npaths = 0;
	for (size_t i = 0; i < m->n_paths && s->cfg.npaths < RT_PATHS; i++) {
		const Outrigger__Session__V1__PathOffer *o = m->paths[i];
		unsigned n = s->cfg.npaths;

		if (!next_link(s, m->rdma_ports, &at, &nrdma))
			break;
		if (o->index >= RT_PATHS || !o->rx_spi || o->key.len != AEAD_KEY_LEN || seen >> o->index & 1)
			return "a hello with a path out of range, without SPI and key, or twice the same";
		seen |= 1u << o->index;
		s->cfg.path[n] = o->index;
		s->cfg.keys[n].tx_spi = o->rx_spi;
		memcpy(s->cfg.keys[n].tx_key, o->key.data, AEAD_KEY_LEN);
		s->cfg.npaths++;
	}
	return s->cfg.npaths ? NULL : "a hello without a path";
}

/* A channel for a session that has lost its own, or whose own is dead and nobody noticed yet. */
static bool resume(struct session *s, uint64_t id)
{
	struct session *old = id ? session_by_id(s->h, id) : NULL;
	struct chan *c = s->chan;

	if (!old || old->state != SESSION_LIVE || strcmp(old->name, s->name))
		return false;
	if (old->chan) {
		chan_set_user(old->chan, NULL);
		chan_close(old->chan);
	}
	old->chan = c;
	chan_set_user(c, old);
	snprintf(old->address, sizeof(old->address), "%s", s->address);
	s->chan = NULL;
	over(s);
	log_info("host %s at %s: session %016llx goes on", old->name, old->address,
		 (unsigned long long)old->id);
	welcome(old, true);
	if (old->chan)
		devices_say_again(old);
	return true;
}

static const char *on_hello(struct session *s, const Outrigger__Session__V1__Hello *m)
{
	struct hosts *h = s->h;
	const char *bad;

	if (s->state != SESSION_NEW)
		return "a second hello";
	if (m->version_min > SESSION_VERSION || m->version_max < SESSION_VERSION_MIN) {
		refuse(s,
		       "agent and appliance have no protocol version in common: upgrade the older of them");
		return NULL;
	}
	bad = take_paths(s, m);
	if (bad)
		return bad;
	if (m->max_chunk < RT_CHUNK_MIN)
		return "a hello with a chunk size out of range";
	if (resume(s, m->resume))
		return NULL;
	bad = lanes_hello(s, m);
	if (bad)
		return bad;
	/* The host's agent, or this lane of it, was restarted. */
	end_others(s);
	lanes_held(s, m);
	session_text(s->agent_version, sizeof(s->agent_version), m->software);
	RAND_bytes((uint8_t *)&s->id, sizeof(s->id));
	s->id |= 1; /* never 0 */
	RAND_bytes((uint8_t *)&s->cfg.seed, sizeof(s->cfg.seed));
	s->cfg.id = s->id;
	s->cfg.rt.aead = h->cfg.clear ? &aead_crc : aead_gcm_best();
	s->cfg.rt.chunk = m->max_chunk < h->cfg.chunk ? m->max_chunk : h->cfg.chunk;
	s->cfg.rt.chunk_max = m->max_chunk < h->cfg.chunk_max ? m->max_chunk : h->cfg.chunk_max;
	s->cfg.rt.keepalive_ns = KEEPALIVE_MS * NSEC_PER_MSEC;
	s->cfg.rt.lost_ns = h->cfg.lost_ms * NSEC_PER_MSEC;
	s->cfg.rt.delay_spare_ns = RT_SPARE_SLEEPING_NS;
	s->cfg.rt.ack_delay_ns = RT_ACK_DELAY_SLEEPING_NS;
	s->since = (int64_t)time(NULL);
	s->rekeyed = h->ticks;
	start(s);
	return NULL;
}

static void take_counters(struct remote_counter **out, size_t *n, Outrigger__Session__V1__Counter **in,
			  size_t nin)
{
	struct remote_counter *c;

	if (nin > 256)
		nin = 256;
	c = calloc(nin ? nin : 1, sizeof(*c));
	if (!c)
		return;
	for (size_t i = 0; i < nin; i++) {
		session_text(c[i].name, sizeof(c[i].name), in[i]->name);
		c[i].value = in[i]->value;
	}
	free(*out);
	*out = c;
	*n = nin;
}

static void on_stats(struct session *s, const Outrigger__Session__V1__Stats *m)
{
	lanes_stats(s, m);
	if (m->n_fabric)
		take_counters(&s->remote, &s->nremote, m->fabric, m->n_fabric);
	for (size_t i = 0; i < m->n_devices; i++) {
		uint32_t dev = m->devices[i]->dev;
		struct hdev *d = dev <= DEVICES_MAX ? s->h->slots[dev] : NULL;

		if (d && d->a.session == s->id)
			take_counters(&d->remote, &d->nremote, m->devices[i]->counters,
				      m->devices[i]->n_counters);
	}
}

/* NULL, or what was wrong: the session ends. */
static const char *dispatch(struct session *s, const Outrigger__Session__V1__Message *m)
{
	if (m->body_case == OUTRIGGER__SESSION__V1__MESSAGE__BODY_HELLO)
		return on_hello(s, m->hello);
	if (s->state != SESSION_LIVE)
		return s->closer ? NULL : "a message before the session was up";
	switch (m->body_case) {
	case OUTRIGGER__SESSION__V1__MESSAGE__BODY_ATTACHED:
		device_on_attached(s, m->attached);
		return NULL;
	case OUTRIGGER__SESSION__V1__MESSAGE__BODY_DETACHED:
		device_on_detached(s, m->detached->dev);
		return NULL;
	case OUTRIGGER__SESSION__V1__MESSAGE__BODY_DEVICE_STATE:
		device_on_state(s, m->device_state);
		return NULL;
	case OUTRIGGER__SESSION__V1__MESSAGE__BODY_STATS:
		on_stats(s, m->stats);
		return NULL;
	case OUTRIGGER__SESSION__V1__MESSAGE__BODY_REKEYED:
		return session_on_rekeyed(s, m->rekeyed);
	case OUTRIGGER__SESSION__V1__MESSAGE__BODY_RDMA_OPEN:
		return session_on_rdma_open(s, m->rdma_open);
	case OUTRIGGER__SESSION__V1__MESSAGE__BODY_RDMA_MEMORY:
		return session_on_rdma_memory(s, m->rdma_memory);
	case OUTRIGGER__SESSION__V1__MESSAGE__BODY_CARRIER:
		/* Bounded on its own way (dp_carried), and no matter of the control channel's limits. */
		s->messages--;
		s->bytes -= s->bytes < m->carrier->packet.len ? s->bytes : (uint32_t)m->carrier->packet.len;
		dp_carried(s->h->dp, s->id, m->carrier->packet.data, m->carrier->packet.len);
		return NULL;
	case OUTRIGGER__SESSION__V1__MESSAGE__BODY__NOT_SET:
		return NULL; /* of a newer agent */
	default:
		return "a message that only an appliance sends";
	}
}

void session_poll_stats(struct session *s)
{
	Outrigger__Session__V1__Message m = OUTRIGGER__SESSION__V1__MESSAGE__INIT;
	Outrigger__Session__V1__StatsRequest r = OUTRIGGER__SESSION__V1__STATS_REQUEST__INIT;

	m.body_case = OUTRIGGER__SESSION__V1__MESSAGE__BODY_STATS_REQUEST;
	m.stats_request = &r;
	session_say(s, &m);
}

static void chan_up(void *ctx, struct chan *c, const struct chan_peer *peer)
{
	struct hosts *h = ctx;
	struct session *s = calloc(1, sizeof(*s));
	int r;

	if (!s) {
		chan_close(c);
		return;
	}
	s->h = h;
	s->chan = c;
	s->born = h->ticks;
	snprintf(s->name, sizeof(s->name), "%.63s", peer->name);
	snprintf(s->address, sizeof(s->address), "%s", peer->address);
	list_add_tail(&h->sessions, &s->node);
	chan_set_user(c, s);
	end_waiting(s);
	r = strcmp(peer->role, "host") ? -EPERM
				       : control_host_check(h->control, peer->name, peer->fingerprint);
	if (!r)
		return;
	refuse(s, r == -ENOENT	 ? "no host of this name is configured: create it and enrol again"
		  : r == -EACCES ? "its certificate was revoked or replaced: enrol again"
				 : "its certificate is not a host's");
}

static void chan_message(void *ctx, struct chan *c, const uint8_t *bytes, size_t len)
{
	struct session *s = chan_user(c);
	Outrigger__Session__V1__Message *m;
	const char *bad;

	(void)ctx;
	if (!s || s->closer)
		return;
	s->bytes += (uint32_t)len;
	if (++s->messages > MESSAGES_MAX || s->bytes > BYTES_MAX) {
		session_end(s, "its agent floods the control channel");
		return;
	}
	m = session_unpack(bytes, len);
	bad = m ? dispatch(s, m) : "a message that cannot be decoded";
	if (m)
		outrigger__session__v1__message__free_unpacked(m, NULL);
	if (bad)
		session_end(s, bad);
}

static void chan_down(void *ctx, struct chan *c, const char *reason)
{
	struct session *s = chan_user(c);

	(void)ctx;
	if (!s)
		return;
	s->chan = NULL;
	if (s->closer)
		evtimer_del(s->closer);
	if (s->state == SESSION_LIVE && !s->ended) {
		log_info("host %s: session %016llx has lost its control channel: %s", s->name,
			 (unsigned long long)s->id, reason);
		return;
	}
	if (s->state == SESSION_LIVE)
		log_info("host %s: session %016llx is over: %s", s->name, (unsigned long long)s->id, reason);
	over(s);
}

const struct chan_ops session_chan_ops = {.up = chan_up, .message = chan_message, .down = chan_down};

/* SPDX-License-Identifier: Apache-2.0 */
#include "hostagent/control/session.h"

#include <errno.h>
#include <event2/event.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fabric/base/clock.h"
#include "fabric/base/log.h"
#include "fabric/aead/spi.h"
#include "fabric/chan/chan.h"
#include "hostagent/control/session_dev.h"
#include "hostagent/control/session_lane.h"
#include "hostagent/control/session_memory.h"
#include "hostagent/control/session_rdma.h"
#include "hostagent/control/session_stats.h"
#include "hostagent/engine/engine.h"
#include "proto/session/session.h"

#define SESSION_WORKED_NS (2 * NSEC_PER_SEC)
#define CARRIED_QUEUE	  (1u << 20)

struct agent_session {
	struct event_base *base;
	SSL_CTX *tls;
	struct agent_target target[AGENT_TARGETS]; /* hosts are ours */
	unsigned ntargets, at;			   /* at: in use, or to be tried next */
	uint32_t chunk;
	struct engine *engine;
	struct chan *chan; /* NULL: not even trying */
	bool connected;	   /* TLS is up */
	bool welcomed;
	uint64_t id;	/* of the session; 0: none */
	bool suspended; /* its channel broke, its transport lives: to be resumed */
	bool ended;	/* its channel was closed for a reason that a new one does not mend */
	struct event *retry;
	struct chan_backoff backoff;
	uint64_t since; /* when the appliance welcomed us */
	struct rng rng;
	uint8_t boot_id[16];
	struct spi_issuer issuer;
	uint32_t spi[RT_PATHS]; /* offered in Hello, with their keys */
	uint8_t key[RT_PATHS][AEAD_KEY_LEN];
	struct session_rdma rdma;
	unsigned nrdma;
	struct session_lane lane;
	struct session_dev dev;
	uint64_t rounds; /* of an appliance that does not count them */
	bool quiet;	 /* the same failure was logged already */
	char last_reason[256];
};

static void send_message(struct agent_session *s, Outrigger__Session__V1__Message *m)
{
	int r = session_send(s->chan, m);

	if (r) {
		log_err("session: cannot send to the appliance (%s); ending the session", strerror(-r));
		chan_close(s->chan);
	}
}

/* For answers, which must arrive: what cannot be sent ends the channel. */
static bool say(void *ctx, Outrigger__Session__V1__Message *m)
{
	struct agent_session *s = ctx;

	if (!s->welcomed)
		return false;
	send_message(s, m);
	return true;
}

static void hello(struct agent_session *s)
{
	Outrigger__Session__V1__Message m = OUTRIGGER__SESSION__V1__MESSAGE__INIT;
	Outrigger__Session__V1__Hello h = OUTRIGGER__SESSION__V1__HELLO__INIT;
	Outrigger__Session__V1__PathOffer offer[RT_PATHS], *offers[RT_PATHS];

	for (unsigned i = 0; i < RT_PATHS; i++) {
		outrigger__session__v1__path_offer__init(&offer[i]);
		offer[i].index = i;
		if (spi_issue(&s->issuer, &s->spi[i], s->key[i])) {
			log_err("session: the cryptographic library gives no keys");
			chan_close(s->chan);
			return;
		}
		offer[i].rx_spi = s->spi[i];
		offer[i].key.data = s->key[i];
		offer[i].key.len = AEAD_KEY_LEN;
		offers[i] = &offer[i];
	}
	h.version_min = SESSION_VERSION_MIN;
	h.version_max = SESSION_VERSION;
	h.software = (char *)OUTRIGGER_VERSION;
	h.boot_id.data = s->boot_id;
	h.boot_id.len = sizeof(s->boot_id);
	h.n_paths = RT_PATHS;
	h.paths = offers;
	h.max_chunk = s->chunk;
	h.resume = s->suspended ? s->id : 0;
	h.rdma_ports = s->nrdma;
	session_lane_hello(&s->lane, &h);
	m.body_case = OUTRIGGER__SESSION__V1__MESSAGE__BODY_HELLO;
	m.hello = &h;
	send_message(s, &m);
	session_lane_hello_done(&h);
}

static const char *take_path(const struct agent_session *s, const Outrigger__Session__V1__Path *p,
			     struct engine_path *out)
{
	if (p->index >= RT_PATHS)
		return "a path index is out of range";
	if (!p->carrier && !p->rdma_port && link_addr_parse(&out->peer, p->address, LINK_FABRIC_PORT))
		return "a path's address cannot be read";
	if (!p->rx_spi || p->key.len != AEAD_KEY_LEN)
		return "a path's SPI or key has a wrong size";
	if (p->rdma_port > s->nrdma || p->rank > UINT8_MAX)
		return "a path's RDMA port or rank is out of range";
	out->index = p->index;
	out->carrier = p->carrier;
	out->rdma_port = p->rdma_port;
	out->keys.backup = (uint8_t)p->rank;
	out->keys.tx_spi = p->rx_spi;
	out->keys.rx_spi = s->spi[p->index];
	memcpy(out->keys.tx_key, p->key.data, AEAD_KEY_LEN);
	memcpy(out->keys.rx_key, s->key[p->index], AEAD_KEY_LEN);
	return NULL;
}

/* The session that waited for its channel is over: the appliance does not know it any more, or it was lost.
 */
static void drop_suspended(struct agent_session *s)
{
	if (!s->suspended)
		return;
	s->suspended = false;
	s->id = 0;
	session_lane_down(&s->lane);
	session_rdma_stop(&s->rdma);
	engine_session_down(s->engine);
}

static const char *on_resumed(struct agent_session *s, const Outrigger__Session__V1__Welcome *w)
{
	if (!s->suspended || w->session_id != s->id)
		return "a session was resumed that this agent does not have";
	s->suspended = false;
	s->welcomed = true;
	s->quiet = false;
	s->last_reason[0] = '\0';
	s->since = clock_now_ns();
	log_info("session %016llx goes on over a new control channel", (unsigned long long)s->id);
	session_rdma_again(&s->rdma);
	engine_memory_again(s->engine);
	return NULL;
}

static const char *on_welcome(struct agent_session *s, const Outrigger__Session__V1__Welcome *w)
{
	struct engine_session es = {.chunk = w->chunk, .chunk_max = w->chunk_max};
	unsigned rdma = 0;
	const char *bad;
	int r;

	if (s->welcomed)
		return "welcomed twice";
	bad = session_lane_welcome(&s->lane, w);
	if (bad)
		return bad;
	if (w->resumed)
		return on_resumed(s, w);
	drop_suspended(s);
	if (w->version < SESSION_VERSION_MIN || w->version > SESSION_VERSION)
		return "the appliance chose a protocol version that this agent does not speak: upgrade one "
		       "of them";
	if (w->chunk < RT_CHUNK_MIN || w->chunk > RT_CHUNK_MAX || w->chunk_max > RT_CHUNK_MAX)
		return "the chunk size is out of range";
	if (!w->n_paths || w->n_paths > RT_PATHS)
		return "the number of paths is out of range";
	if (w->protection == OUTRIGGER__SESSION__V1__PROTECTION__AES_128_GCM)
		es.aead = aead_gcm_best();
	else if (w->protection == OUTRIGGER__SESSION__V1__PROTECTION__CRC32C)
		es.aead = &aead_crc;
	else
		return "the packet protection is unknown to this agent";
	es.keepalive_ns = w->keepalive_ms * NSEC_PER_MSEC;
	es.lost_ns = w->lost_ms * NSEC_PER_MSEC;
	for (size_t i = 0; i < w->n_paths; i++) {
		bad = take_path(s, w->paths[i], &es.path[es.npaths++]);
		if (bad)
			return bad;
		rdma |= w->paths[i]->rdma_port ? 1u << w->paths[i]->index : 0;
	}
	r = engine_session_up(s->engine, &es);
	OPENSSL_cleanse(&es, sizeof(es));
	OPENSSL_cleanse(s->key, sizeof(s->key));
	if (r) {
		log_err("session: cannot set up the fabric (%s)", strerror(-r));
		return "the fabric could not be set up";
	}
	s->welcomed = true;
	s->id = w->session_id;
	s->quiet = false;
	s->last_reason[0] = '\0';
	s->since = clock_now_ns();
	log_info("session %016llx with the appliance (%s): %zu path%s, %s, chunks of %u to %u bytes",
		 (unsigned long long)w->session_id, w->software, w->n_paths, w->n_paths == 1 ? "" : "s",
		 es.aead == &aead_crc ? "integrity only" : "encrypted", w->chunk,
		 w->chunk_max > w->chunk ? w->chunk_max : w->chunk);
	session_rdma_start(&s->rdma, rdma);
	return NULL;
}

static const char *on_rekey(struct agent_session *s, const Outrigger__Session__V1__Rekey *k)
{
	Outrigger__Session__V1__Message m = OUTRIGGER__SESSION__V1__MESSAGE__INIT;
	Outrigger__Session__V1__Rekeyed reply = OUTRIGGER__SESSION__V1__REKEYED__INIT;
	struct rt_path_cfg next = {.tx_spi = k->rx_spi};
	int r;

	if (k->index >= RT_PATHS || !k->rx_spi || k->key.len != AEAD_KEY_LEN)
		return "a rekeying with a path, SPI or key out of range";
	memcpy(next.tx_key, k->key.data, AEAD_KEY_LEN);
	if (spi_issue(&s->issuer, &next.rx_spi, next.rx_key))
		return "the cryptographic library gives no keys";
	r = engine_rekey(s->engine, k->index, &next);
	if (!r) {
		reply.index = k->index;
		reply.rx_spi = next.rx_spi;
		reply.key.data = next.rx_key;
		reply.key.len = AEAD_KEY_LEN;
		m.body_case = OUTRIGGER__SESSION__V1__MESSAGE__BODY_REKEYED;
		m.rekeyed = &reply;
		send_message(s, &m);
	}
	OPENSSL_cleanse(&next, sizeof(next));
	/* One still under way: the appliance will ask again. */
	return NULL;
}

/* NULL, or what was wrong with the message: the session ends. */
static const char *dispatch(struct agent_session *s, const Outrigger__Session__V1__Message *m)
{
	if (m->body_case == OUTRIGGER__SESSION__V1__MESSAGE__BODY_WELCOME)
		return on_welcome(s, m->welcome);
	if (m->body_case == OUTRIGGER__SESSION__V1__MESSAGE__BODY_REFUSE) {
		snprintf(s->last_reason, sizeof(s->last_reason), "refused by the appliance: %s",
			 m->refuse->reason);
		drop_suspended(s);
		return s->last_reason;
	}
	if (!s->welcomed)
		return "a message came before the welcome";
	switch (m->body_case) {
	case OUTRIGGER__SESSION__V1__MESSAGE__BODY_ATTACH:
		session_dev_attach(&s->dev, m->attach);
		return NULL;
	case OUTRIGGER__SESSION__V1__MESSAGE__BODY_DETACH:
		session_dev_detach(&s->dev, m->detach);
		return NULL;
	case OUTRIGGER__SESSION__V1__MESSAGE__BODY_CONFIGURE:
		return session_dev_configure(&s->dev, m->configure);
	case OUTRIGGER__SESSION__V1__MESSAGE__BODY_REKEY:
		return on_rekey(s, m->rekey);
	case OUTRIGGER__SESSION__V1__MESSAGE__BODY_RDMA_OPENED:
		return session_rdma_opened(&s->rdma, m->rdma_opened);
	case OUTRIGGER__SESSION__V1__MESSAGE__BODY_RDMA_MEMORY_TAKEN:
		engine_memory_taken(s->engine, m->rdma_memory_taken->dev, m->rdma_memory_taken->serial);
		return NULL;
	case OUTRIGGER__SESSION__V1__MESSAGE__BODY_CARRIER:
		engine_carried(s->engine, m->carrier->packet.data, m->carrier->packet.len);
		return NULL;
	case OUTRIGGER__SESSION__V1__MESSAGE__BODY_SYNCED:
		engine_synced(s->engine, m->synced->round ? m->synced->round : ++s->rounds);
		return NULL;
	case OUTRIGGER__SESSION__V1__MESSAGE__BODY_STATS_REQUEST:
		session_stats_tell(s->engine, m->stats_request->id, say, s);
		return NULL;
	default:
		return NULL; /* of a newer appliance, and not needed by this version */
	}
}

static void chan_up(void *ctx, struct chan *c, const struct chan_peer *peer)
{
	struct agent_session *s = ctx;

	(void)c;
	s->connected = true;
	log_debug("session: connected to %s (%s)", peer->address, peer->name);
	hello(s);
}

static void chan_message(void *ctx, struct chan *c, const uint8_t *bytes, size_t len)
{
	struct agent_session *s = ctx;
	Outrigger__Session__V1__Message *m = session_unpack(bytes, len);
	const char *bad = m ? dispatch(s, m) : "a message cannot be decoded";

	if (m)
		outrigger__session__v1__message__free_unpacked(m, NULL);
	if (!bad || !s->chan)
		return;
	if (bad != s->last_reason)
		snprintf(s->last_reason, sizeof(s->last_reason), "%s", bad);
	s->ended = true;
	chan_close(c);
}

static void schedule(struct agent_session *s)
{
	uint32_t ms = chan_backoff_next(&s->backoff, &s->rng);
	struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = (ms % 1000) * 1000};

	if (session_lane_shut(&s->lane))
		return;
	s->at = (s->at + 1) % s->ntargets;
	evtimer_add(s->retry, &tv);
}

static void chan_down(void *ctx, struct chan *c, const char *reason)
{
	struct agent_session *s = ctx;
	const char *why = s->last_reason[0] ? s->last_reason : reason;

	(void)c;
	if (s->welcomed && !s->ended)
		log_warn("session: the control channel to %s port %u broke: %s; traffic goes on, connecting "
			 "again",
			 s->target[s->at].host, s->target[s->at].port, why);
	else if (!s->quiet)
		log_warn("session: no appliance at %s port %u: %s; %s, trying again", s->target[s->at].host,
			 s->target[s->at].port, why, s->suspended ? "traffic goes on" : "guests' rings wait");
	s->quiet = true;
	s->last_reason[0] = '\0';
	s->chan = NULL;
	s->connected = false;
	if (s->welcomed) {
		s->welcomed = false;
		s->quiet = false;
		/* One that ends at once, again and again, must not be tried without pause. */
		if (clock_now_ns() - s->since > SESSION_WORKED_NS)
			chan_backoff_reset(&s->backoff);
		/* The transport may live: then only the channel is to be made anew. */
		s->suspended = true;
		if (s->ended)
			drop_suspended(s);
	}
	s->ended = false;
	schedule(s);
}

static const struct chan_ops chan_calls = {.up = chan_up, .message = chan_message, .down = chan_down};

static void try_connect(evutil_socket_t fd, short what, void *arg)
{
	struct agent_session *s = arg;
	struct chan_connect_cfg cfg = {
		.base = s->base,
		.host = s->target[s->at].host,
		.port = s->target[s->at].port,
		.tls = s->tls,
		.ops = &chan_calls,
		.ctx = s,
	};
	int r;

	(void)fd;
	(void)what;
	r = chan_connect(&cfg, &s->chan);
	if (!r)
		return;
	s->chan = NULL;
	if (!s->quiet)
		log_warn("session: cannot reach the appliance at %s port %u (%s); trying again",
			 s->target[s->at].host, s->target[s->at].port, strerror(-r));
	s->quiet = true;
	schedule(s);
}

static void engine_device_state(void *ctx, uint32_t dev)
{
	struct agent_session *s = ctx;

	if (s->welcomed)
		session_dev_state(&s->dev, dev);
}

static void engine_detached(void *ctx, uint32_t dev)
{
	struct agent_session *s = ctx;

	if (s->welcomed)
		session_dev_detached(&s->dev, dev);
}

static void engine_lost(void *ctx, const char *reason)
{
	struct agent_session *s = ctx;

	if (s->suspended) {
		log_warn("session %016llx is lost: %s", (unsigned long long)s->id, reason);
		drop_suspended(s);
		return;
	}
	if (!s->chan)
		return;
	snprintf(s->last_reason, sizeof(s->last_reason), "%s", reason);
	s->ended = true;
	chan_close(s->chan);
}

/* What the channel's queue has no room for is lost like any packet; most of the queue is kept for what must
 * not be. */
static bool engine_carry(void *ctx, const uint8_t *data, uint32_t len)
{
	struct agent_session *s = ctx;
	Outrigger__Session__V1__Message m = OUTRIGGER__SESSION__V1__MESSAGE__INIT;
	Outrigger__Session__V1__Carrier c = OUTRIGGER__SESSION__V1__CARRIER__INIT;

	if (!s->welcomed || chan_queued(s->chan) > CARRIED_QUEUE)
		return false;
	c.packet.data = (uint8_t *)data;
	c.packet.len = len;
	m.body_case = OUTRIGGER__SESSION__V1__MESSAGE__BODY_CARRIER;
	m.carrier = &c;
	return !session_send(s->chan, &m);
}

static void engine_rdma_news(void *ctx, unsigned path, const struct verbs_news *news)
{
	struct agent_session *s = ctx;

	session_rdma_news(&s->rdma, path, news);
}

static bool rdma_say(void *ctx, Outrigger__Session__V1__Message *m)
{
	struct agent_session *s = ctx;

	return s->welcomed && !session_send(s->chan, m);
}

static void engine_memory_news(void *ctx, uint32_t dev)
{
	struct agent_session *s = ctx;

	session_memory_tell(s->engine, dev, rdma_say, s);
}

/* The device that an attach waited for is here, or nowhere. */
static void engine_came(void *ctx, const char *uid)
{
	struct agent_session *s = ctx;
	Outrigger__Session__V1__Attach *a = session_lane_came(&s->lane, uid);

	if (!a)
		return;
	if (s->welcomed)
		session_dev_attach(&s->dev, a);
	outrigger__session__v1__attach__free_unpacked(a, NULL);
}

static void engine_opened(void *ctx)
{
	static const struct timeval now;
	struct agent_session *s = ctx;

	if (session_lane_opened(&s->lane))
		evtimer_add(s->retry, &now);
}

static const struct engine_up engine_calls = {
	.came = engine_came,
	.opened = engine_opened,
	.memory = engine_memory_news,
	.rdma_news = engine_rdma_news,
	.device_state = engine_device_state,
	.detached = engine_detached,
	.lost = engine_lost,
	.carry = engine_carry,
};

int agent_session_create(const struct agent_session_cfg *cfg, struct agent_session **out)
{
	struct agent_session *s = calloc(1, sizeof(*s));
	struct engine_cfg ecfg = {
		.base = cfg->base,
		.run_dir = cfg->run_dir,
		.group = cfg->group,
		.impair = cfg->impair,
		.poll_ns = cfg->poll_ns,
		.rdma = cfg->rdma,
		.nrdma = cfg->nrdma,
		.lanes = cfg->lanes,
		.lane = cfg->lane,
		.up = &engine_calls,
		.ctx = s,
	};
	struct timeval now = {0};
	uint64_t seed;
	int r;

	if (!s)
		return -ENOMEM;
	s->base = cfg->base;
	s->chunk = cfg->chunk ? cfg->chunk : RT_CHUNK_MAX;
	s->tls = cfg->tls;
	SSL_CTX_up_ref(s->tls);
	for (; s->ntargets < cfg->ntargets; s->ntargets++) {
		s->target[s->ntargets] = cfg->target[s->ntargets];
		s->target[s->ntargets].host = strdup(cfg->target[s->ntargets].host);
		if (!s->target[s->ntargets].host)
			break;
	}
	s->retry = evtimer_new(cfg->base, try_connect, s);
	session_lane_init(&s->lane, cfg->lanes, cfg->lane);
	s->dev = (struct session_dev){.lane = &s->lane, .say = say, .ctx = s};
	if (cfg->lanes)
		memcpy(s->boot_id, lanes_boot_id(cfg->lanes), sizeof(s->boot_id));
	else
		RAND_bytes(s->boot_id, sizeof(s->boot_id));
	r = spi_issuer_init(&s->issuer);
	RAND_bytes((uint8_t *)&seed, sizeof(seed));
	rng_init(&s->rng, seed);
	chan_backoff_init(&s->backoff, 50, 2000);
	if (s->ntargets != cfg->ntargets || !s->retry)
		r = -ENOMEM;
	s->nrdma = cfg->nrdma;
	if (!r)
		r = session_rdma_init(&s->rdma, cfg->base, seed);
	if (!r)
		r = engine_create(&ecfg, &s->engine);
	s->dev.engine = s->rdma.engine = s->engine;
	s->rdma.say = rdma_say;
	s->rdma.ctx = s;
	if (r) {
		agent_session_destroy(s);
		return r;
	}
	if (!session_lane_shut(&s->lane))
		evtimer_add(s->retry, &now);
	*out = s;
	return 0;
}

void agent_session_destroy(struct agent_session *s)
{
	if (!s)
		return;
	s->quiet = true;
	if (s->chan)
		chan_close(s->chan);
	if (s->retry)
		event_free(s->retry);
	session_rdma_fini(&s->rdma);
	session_lane_down(&s->lane);
	engine_destroy(s->engine);
	SSL_CTX_free(s->tls);
	for (unsigned i = 0; i < s->ntargets; i++)
		free((char *)s->target[i].host);
	spi_issuer_fini(&s->issuer);
	OPENSSL_cleanse(s->key, sizeof(s->key));
	free(s);
}

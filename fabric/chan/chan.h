/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control channel between an agent and its appliance: whole messages, in order, over
 * TLS 1.3 on TCP, both ends authenticated by certificates of one CA (pki.h).
 *
 *	struct chan_ops ops = {.up = ..., .message = ..., .down = ...};
 *	appliance:  chan_listen(&cfg, &listener)     then ops.up(ctx, c, peer) per agent
 *	agent:      chan_connect(&cfg, &c)           then ops.up() or ops.down() once
 *	both:       chan_send(c, bytes, n)           chan_close(c)
 *
 * On the wire a message is its length (32-bit big-endian, 1..CHAN_MESSAGE_MAX) and its bytes.
 * A length out of range ends the channel; nothing is allocated for a length, only for bytes
 * that came.
 *
 * In TLS 1.3 a client is through before the server has judged its certificate: an agent that the appliance
 * refuses sees `up` and then `down`. The first message from the appliance says that it was accepted.
 *
 * Before its handshake is over a peer costs one connection of a bounded number
 * (handshakes_max; more are closed at once and counted) for handshake_ms at most. `up` is
 * called only with a peer whose certificate the CA signed.
 *
 * A slow reader: up to queue_max bytes wait to be sent; chan_send() beyond that gives
 * -ENOBUFS and sends nothing, the caller decides. A peer that takes nothing for
 * stall_ms while bytes wait is dropped.
 *
 * Ownership: the channel is the room's until `down` returns; after it the pointer is dead.
 * `down` comes exactly once per channel the user knows (one made by chan_connect, or one
 * announced by `up`), also when the user calls chan_close(): then before chan_close()
 * returns. Callbacks may call chan_send() and chan_close() of the same channel.
 * Thread rule: the thread of the event base. Errors are 0 or -errno.
 */
#ifndef OUTRIGGER_CHAN_H
#define OUTRIGGER_CHAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <openssl/ssl.h>

#include "fabric/base/rng.h"

struct event_base;
struct chan;
struct chan_listener;

#define CHAN_MESSAGE_MAX     (1u << 20)
#define CHAN_FINGERPRINT_LEN 32

/* Who is at the other end, from its verified certificate. Valid during the callback. */
struct chan_peer {
	char name[65];				   /* common name: the host's name */
	char role[65];				   /* organizational unit: "host", "appliance" */
	uint8_t fingerprint[CHAN_FINGERPRINT_LEN]; /* SHA-256 of the certificate */
	char address[64];			   /* ADDRESS:PORT, for logs */
};

struct chan_ops {
	void (*up)(void *ctx, struct chan *c, const struct chan_peer *peer);
	/* One whole message; the bytes are the room's and valid during the call. */
	void (*message)(void *ctx, struct chan *c, const uint8_t *bytes, size_t len);
	/* reason: one line for the log. */
	void (*down)(void *ctx, struct chan *c, const char *reason);
};

/* clang-format off */
#define CHAN_LISTENER_COUNTERS(X) \
	X(accepted) X(handshakes) X(up) X(drop_handshake_cap) X(drop_channel_cap) X(drop_handshake_timeout) \
	X(drop_handshake_failed) X(drop_role) X(drop_frame) X(drop_stalled)
/* clang-format on */
#define CHAN_COUNTER_ENUM(name) CHAN_C_##name,
enum chan_counter { CHAN_LISTENER_COUNTERS(CHAN_COUNTER_ENUM) CHAN_NCOUNTERS };
extern const char *const chan_counter_names[];

/* 0 in a number below means its default. */
struct chan_listen_cfg {
	struct event_base *base;
	const char *address;   /* numeric IPv4 or IPv6; NULL: every address */
	uint16_t port;	       /* 0: the system chooses, see chan_listener_port() */
	SSL_CTX *tls;	       /* pki_server_ctx(..., PKI_CLIENT_REQUIRED); a reference is taken */
	const char *peer_role; /* OU that a peer must have; NULL: "host" */
	const struct chan_ops *ops;
	void *ctx;
	unsigned handshakes_max; /* default 64 */
	unsigned channels_max;	 /* default 1024 */
	unsigned handshake_ms;	 /* default 10000 */
	unsigned stall_ms;	 /* default 30000 */
	size_t queue_max;	 /* bytes, default 4 MiB */
};

/* -EADDRINUSE, -EACCES, -EINVAL (address), -ENOMEM. */
int chan_listen(const struct chan_listen_cfg *cfg, struct chan_listener **out);
uint16_t chan_listener_port(const struct chan_listener *l);
const uint64_t *chan_listener_counters(const struct chan_listener *l);
/* Ends all its channels (down is called for each that is up). NULL is fine. */
void chan_listener_free(struct chan_listener *l);

struct chan_connect_cfg {
	struct event_base *base;
	const char *host; /* numeric address, or a name for the system resolver (which may block) */
	uint16_t port;
	SSL_CTX *tls; /* pki_client_ctx(); a reference is taken */
	/* OU that the peer's certificate must have; NULL: "appliance". Addresses are not compared: the CA is
	 * the appliance's own and signs no other server. */
	const char *peer_role;
	const struct chan_ops *ops;
	void *ctx;
	unsigned handshake_ms; /* TCP and TLS together, default 10000 */
	unsigned stall_ms;     /* default 30000 */
	size_t queue_max;      /* bytes, default 4 MiB */
};

/* Begins; the outcome comes as ops.up or ops.down, never before this returns. -ENOENT (name not
 * found), -ENOMEM, or the error of connect(2). */
int chan_connect(const struct chan_connect_cfg *cfg, struct chan **out);

/* -EMSGSIZE (0 or too long), -ENOTCONN (not up), -ENOBUFS (queue full). */
int chan_send(struct chan *c, const void *bytes, size_t len);
size_t chan_queued(const struct chan *c); /* bytes waiting to be sent */
/* What is queued may be lost. Calls down("closed") unless that has happened. */
void chan_close(struct chan *c);
/* For the user's own per-channel state. */
void chan_set_user(struct chan *c, void *user);
void *chan_user(const struct chan *c);

/*
 * When to try again: doubles from min_ms to max_ms, each with a random quarter off, so that
 * a rack of hosts does not come back in one instant. Pure.
 */
struct chan_backoff {
	uint32_t min_ms, max_ms, next_ms;
};
void chan_backoff_init(struct chan_backoff *b, uint32_t min_ms, uint32_t max_ms);
uint32_t chan_backoff_next(struct chan_backoff *b, struct rng *rng); /* ms to wait before the next attempt */
void chan_backoff_reset(struct chan_backoff *b);		     /* after a session that worked */

#endif

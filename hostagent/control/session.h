/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent's side of the control session (proto/session/session.proto): connects to the
 * appliance, presents the host's certificate, offers its paths, and from then on does what
 * the appliance says: attach, detach, configure. Tries again for ever, with back-off.
 *
 * This room is the only place of the agent that sees protobuf messages of the session.
 * Thread rule: the event base's thread.
 */
#ifndef OUTRIGGER_HOSTAGENT_SESSION_H
#define OUTRIGGER_HOSTAGENT_SESSION_H

#include <openssl/ssl.h>
#include <stdint.h>

struct event_base;
struct agent_session;
struct lanes;

#define AGENT_TARGETS 4

struct agent_session_cfg {
	struct event_base *base;
	/* Where the appliance's control port is: one is used, the next when it does not answer. */
	struct agent_target {
		const char *host; /* numeric address or name */
		uint16_t port;
	} target[AGENT_TARGETS];
	unsigned ntargets; /* at least 1 */
	SSL_CTX *tls;	   /* a reference is taken */
	const char *run_dir;
	gid_t group;			      /* of the guests' sockets; 0: the process's */
	const struct link_impair_cfg *impair; /* NULL: none */
	uint32_t chunk;		       /* largest packet payload to try, RT_CHUNK_MIN..MAX; 0: RT_CHUNK_MAX */
	uint64_t poll_ns;	       /* engine_cfg.poll_ns */
	const struct verbs_port *rdma; /* RDMA ports */
	unsigned nrdma;
	struct lanes *lanes; /* NULL: this session is the agent's only one */
	unsigned lane;	     /* this one, from 0; all but the first wait for it to be welcomed */
};

int agent_session_create(const struct agent_session_cfg *cfg, struct agent_session **out);
/* Ends the session; front-ends go. NULL is fine. */
void agent_session_destroy(struct agent_session *s);

#endif

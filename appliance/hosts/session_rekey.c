/* SPDX-License-Identifier: Apache-2.0 */
/* Fresh keys under load: ours are issued and told, the agent answers with its own, the worker changes. */
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "appliance/hosts/hosts_impl.h"
#include "fabric/base/log.h"

struct rekey_call {
	struct dp_call call; /* first */
	struct wsession *ws;
	unsigned path;
	struct rt_path_cfg next;
	struct session *s; /* lives while its `rekeying` counts this letter */
	int result;
};

void session_rekey(struct session *s)
{
	s->rekeyed = s->h->ticks;
	for (unsigned i = 0; i < s->cfg.npaths && s->chan; i++) {
		Outrigger__Session__V1__Message m = OUTRIGGER__SESSION__V1__MESSAGE__INIT;
		Outrigger__Session__V1__Rekey k = OUTRIGGER__SESSION__V1__REKEY__INIT;

		if (spi_issue(&s->h->issuer, &s->next[i].rx_spi, s->next[i].rx_key)) {
			s->next[i].rx_spi = 0;
			continue;
		}
		k.index = s->cfg.path[i];
		k.rx_spi = s->next[i].rx_spi;
		k.key.data = s->next[i].rx_key;
		k.key.len = AEAD_KEY_LEN;
		m.body_case = OUTRIGGER__SESSION__V1__MESSAGE__BODY_REKEY;
		m.rekey = &k;
		session_say(s, &m);
	}
}

static enum dp_verdict w_rekey(struct worker *w, struct dp_call *c)
{
	struct rekey_call *k = (struct rekey_call *)c;

	k->result = worker_session_rekey(w, k->ws, k->path, &k->next);
	return DP_DONE;
}

static void rekeyed(struct dp_call *c)
{
	struct rekey_call *k = (struct rekey_call *)c;

	k->s->rekeying--;
	if (k->result && session_may_log(k->s))
		log_warn("host %s: path %u keeps its keys: %s", k->s->name, k->path, strerror(-k->result));
	hosts_wake(k->s->h);
	OPENSSL_cleanse(&k->next, sizeof(k->next));
	free(k);
}

const char *session_on_rekeyed(struct session *s, const Outrigger__Session__V1__Rekeyed *m)
{
	struct rekey_call *k;
	unsigned i = 0;

	while (i < s->cfg.npaths && s->cfg.path[i] != m->index)
		i++;
	if (i == s->cfg.npaths || !s->next[i].rx_spi || !m->rx_spi || m->key.len != AEAD_KEY_LEN)
		return "an answer to no rekeying, or one out of range";
	k = calloc(1, sizeof(*k));
	if (!k)
		return "the appliance is out of memory";
	k->s = s;
	k->ws = s->ws;
	k->path = m->index;
	k->next = s->next[i];
	k->next.tx_spi = m->rx_spi;
	memcpy(k->next.tx_key, m->key.data, AEAD_KEY_LEN);
	OPENSSL_cleanse(&s->next[i], sizeof(s->next[i]));
	s->rekeying++;
	k->call.fn = w_rekey;
	k->call.done = rekeyed;
	dp_call(s->h->dp, &k->call);
	return NULL;
}

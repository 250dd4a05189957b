/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions on RDMA ports: each has one queue pair per path, named by the session's id. */
#include <errno.h>

#include "appliance/dataplane/worker_impl.h"
#include "fabric/base/log.h"

int worker_session_rdma(struct worker *w, struct rdma_wait *wait, const struct verbs_end *theirs,
			uint32_t psn, struct verbs_end *ours)
{
	struct wsession *s = wait->s;
	struct link *l = wait->path < RT_PATHS ? s->verbs[wait->path] : NULL;
	int r;

	if (!l)
		return -ENOENT;
	r = link_verbs_open(l, s->id, psn, ours);
	if (!r)
		r = link_verbs_connect(l, s->id, theirs);
	if (!r)
		list_add_tail(&w->rdma_waits, &wait->node);
	return r;
}

void worker_rdma_close(struct wsession *s)
{
	for (unsigned i = 0; i < RT_PATHS; i++)
		if (s->verbs[i])
			link_verbs_close(s->verbs[i], s->id);
}

/* Once of a session: it breaks again and again. */
static void say_unanswered(struct worker *w, const struct verbs_news *news)
{
	list_for_each_safe (it, &w->sessions) {
		struct wsession *s = container_of(it, struct wsession, node);

		if (s->id != news->id || s->mtu_said)
			continue;
		s->mtu_said = true;
		log_warn("fabric: session %016llx: RDMA packets of %u bytes had no answer, shorter ones had: "
			 "raise the network's MTU (4200 holds all), or set mtu= of the ports",
			 (unsigned long long)s->id, news->unanswered);
	}
}

/* One that breaks later: the agent asks for a new one when its own end does; here it is enough that the
 * transport finds out. */
static void told(struct worker *w, const struct link *l, const struct verbs_news *news)
{
	list_for_each_safe (it, &w->rdma_waits) {
		struct rdma_wait *wait = container_of(it, struct rdma_wait, node);

		if (news->what == VERBS_PORT_UP || wait->s->id != news->id || wait->s->verbs[wait->path] != l)
			continue;
		list_del(it);
		wait->done(wait, news->what == VERBS_CONNECTED ? 0 : news->err ? news->err : -ECONNRESET);
	}
}

static void hear(struct worker *w, const struct link *l, const struct verbs_news *news)
{
	if (news->what == VERBS_BROKEN && news->unanswered)
		say_unanswered(w, news);
	told(w, l, news);
}

void worker_rdma_news(struct worker *w)
{
	struct verbs_news news;

	for (unsigned i = 0; i < EP_LINKS; i++)
		while (w->verbs[i] && link_verbs_news(w->verbs[i], &news))
			hear(w, w->verbs[i], &news);
}

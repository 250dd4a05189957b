/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions on RDMA ports: each has one queue pair per path, named by the session's id. */
#include <errno.h>

#include "appliance/dataplane/worker_impl.h"

int worker_session_rdma(struct worker *w, struct wsession *s, unsigned path, const struct verbs_end *theirs,
			uint32_t psn, struct verbs_end *ours)
{
	struct link *l = path < RT_PATHS ? s->verbs[path] : NULL;
	int r;

	(void)w;
	if (!l)
		return -ENOENT;
	r = link_verbs_open(l, s->id, psn, ours);
	return r ? r : link_verbs_connect(l, s->id, theirs);
}

void worker_rdma_close(struct wsession *s)
{
	for (unsigned i = 0; i < RT_PATHS; i++)
		if (s->verbs[i])
			link_verbs_close(s->verbs[i], s->id);
}

/* The agent asks for a new one when its own end breaks; here it is enough that the transport finds out. */
void worker_rdma_tick(struct worker *w)
{
	for (unsigned i = 0; i < EP_LINKS; i++)
		while (w->verbs[i] && link_verbs_broken(w->verbs[i]))
			;
}

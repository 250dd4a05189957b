/* SPDX-License-Identifier: Apache-2.0 */
#include "appliance/hosts/attach.h"
#include "fabric/base/guard.h"

void attach_init(struct attach *a)
{
	*a = (struct attach){.state = ATTACH_IDLE};
}

/* What to do from a state in which nothing is awaited. */
static enum attach_step next(struct attach *a)
{
	switch (a->state) {
	case ATTACH_IDLE:
		if (a->removed)
			return ATTACH_FREE;
		if (!a->want)
			return ATTACH_NOTHING;
		a->state = ATTACH_BINDING;
		a->session = a->want;
		a->again = false;
		return ATTACH_BIND;
	case ATTACH_BOUND:
		if (a->want == a->session && !a->again && !a->removed)
			return ATTACH_NOTHING;
		a->state = ATTACH_DETACHING;
		return ATTACH_SEND_DETACH;
	default:
		return ATTACH_NOTHING;
	}
}

enum attach_step attach_want(struct attach *a, uint64_t session)
{
	a->want = session;
	return next(a);
}

enum attach_step attach_changed(struct attach *a)
{
	/* What is being bound may or may not carry the change: do it once more. */
	a->again = a->state == ATTACH_BINDING || a->state == ATTACH_BOUND;
	return next(a);
}

enum attach_step attach_remove(struct attach *a)
{
	a->removed = true;
	a->want = 0;
	return next(a);
}

enum attach_step attach_session_down(struct attach *a, uint64_t session)
{
	if (a->want == session)
		a->want = 0;
	if (a->session != session)
		return next(a);
	if (a->state != ATTACH_BOUND && a->state != ATTACH_DETACHING)
		return ATTACH_NOTHING; /* attach_bound() or attach_unbound() is on its way */
	a->state = ATTACH_UNBINDING;
	return ATTACH_UNBIND;
}

enum attach_step attach_bound(struct attach *a, bool ok)
{
	if (a->state != ATTACH_BINDING)
		return ATTACH_NOTHING;
	if (!ok) {
		/* Not bound anywhere. Trying at once would fail at once: wait for the next event. */
		a->state = ATTACH_IDLE;
		a->session = 0;
		return a->removed ? ATTACH_FREE : ATTACH_NOTHING;
	}
	if (!GUARD(attach_stale, a->want == a->session && !a->again && !a->removed)) {
		/* The agent has not heard of it yet: nothing to detach there. */
		a->state = ATTACH_UNBINDING;
		return ATTACH_UNBIND;
	}
	a->state = ATTACH_BOUND;
	return ATTACH_SEND_ATTACH;
}

enum attach_step attach_detached(struct attach *a, uint64_t session)
{
	if (a->state != ATTACH_DETACHING || a->session != session)
		return ATTACH_NOTHING;
	a->state = ATTACH_UNBINDING;
	return ATTACH_UNBIND;
}

enum attach_step attach_unbound(struct attach *a)
{
	if (a->state != ATTACH_UNBINDING)
		return ATTACH_NOTHING;
	a->state = ATTACH_IDLE;
	a->session = 0;
	return next(a);
}

bool attach_settled(const struct attach *a)
{
	if (a->state == ATTACH_BOUND)
		return a->want == a->session && !a->again && !a->removed;
	return a->state == ATTACH_IDLE && !a->want && !a->removed;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Life of a queue. ring_eval() compares what the messages so far ask for with the ring's state, and is
 * called after each change: there is no other place that starts or stops a ring.
 */
#include "hostagent/vhost/vhost_msg.h"

#include <errno.h>
#include <string.h>

void ring_init(struct vhost *v, uint16_t index)
{
	struct vhost_ring *r = &v->rings[index];

	memset(r, 0, sizeof(*r));
	r->v = v;
	r->index = index;
	r->kick_fd = r->call_fd = r->err_fd = -1;
}

static void replace_fd(struct vhost_ring *r, int *slot, int fd)
{
	if (*slot >= 0)
		r->v->sys->close(r->v->sys_arg, *slot);
	*slot = fd;
}

static void set_kick(struct vhost_ring *r, int fd)
{
	if (r->kick_fd >= 0)
		r->v->fx->kick_fd(r->v->fx_arg, r->index, -1);
	replace_fd(r, &r->kick_fd, fd);
	if (fd >= 0)
		r->v->fx->kick_fd(r->v->fx_arg, r->index, fd);
}

void ring_reset(struct vhost_ring *r)
{
	struct vhost *v = r->v;
	uint16_t index = r->index;

	set_kick(r, -1);
	replace_fd(r, &r->call_fd, -1);
	replace_fd(r, &r->err_fd, -1);
	if (r->state != RING_IDLE)
		ring_stop(r);
	ring_free(r);
	ring_init(v, index);
}

bool ring_any_active(const struct vhost *v)
{
	for (unsigned q = 0; q < v->cfg.nqueues; q++) {
		if (v->rings[q].state != RING_IDLE)
			return true;
	}
	return false;
}

void ring_break(struct vhost_ring *r, const char *reason)
{
	struct vhost *v = r->v;

	if (r->broken)
		return;
	r->broken = true;
	vhost_count(v, VHOST_C_queues_broken);
	if (r->err_fd >= 0)
		v->sys->signal(v->sys_arg, r->err_fd);
	v->fx->broken(v->fx_arg, r->index, reason);
}

static bool wanted(const struct vhost_ring *r)
{
	const struct vhost *v = r->v;
	/* Without this feature bit there is no enable message: rings start enabled. */
	bool enabled = v->acked & VHOST_F_PROTOCOL_FEATURES ? r->enabled : true;

	return enabled && r->num && r->have_addr && r->kick_fd >= 0 && v->mem && !vhost_faulted(v);
}

void ring_eval(struct vhost_ring *r)
{
	struct vhost *v = r->v;

	if (r->state == RING_IDLE && wanted(r) && !r->broken) {
		int err = ring_start(r);

		if (err) {
			ring_break(r, err == -EPROTO   ? "inflight region does not fit the ring"
				      : err == -ENOMEM ? "out of memory"
				      : err == -ERANGE ? "base outside the ring"
						       : "ring outside guest memory");
			return;
		}
		r->state = RING_RUNNING;
		ring_signal_start(r);
		v->fx->start(v->fx_arg, r->index);
	} else if (r->state == RING_RUNNING && !wanted(r)) {
		r->state = RING_STOPPING;
		v->fx->stop(v->fx_arg, r->index);
	}
}

static struct vhost_ring *ring_of(struct vhost *v, uint32_t index)
{
	return index < v->cfg.nqueues ? &v->rings[index] : NULL;
}

int vring_num(struct vhost *v, struct vhost_call *c)
{
	const struct vhost_vring_state *s = &c->p.state;
	struct vhost_ring *r = ring_of(v, s->index);

	if (!r || s->num == 0 || s->num > v->cfg.queue_size || (s->num & (s->num - 1)))
		return -EINVAL;
	if (r->num == s->num)
		return 0;
	if (r->state != RING_IDLE)
		return -EBUSY;
	r->num = (uint16_t)s->num;
	ring_eval(r);
	return 0;
}

static void log_where(struct vhost_ring *r, const struct vhost_vring_addr *a)
{
	r->log_used = a->flags & VHOST_VRING_F_LOG;
	r->log_gpa = a->log;
}

int vring_addr(struct vhost *v, struct vhost_call *c)
{
	const struct vhost_vring_addr *a = &c->p.addr;
	struct vhost_ring *r = ring_of(v, a->index);

	if (!r || a->flags & ~VHOST_VRING_F_LOG)
		return -EINVAL;
	if (r->state != RING_IDLE) {
		bool same = r->desc_uva == a->desc_uva && r->avail_uva == a->avail_uva &&
			    r->used_uva == a->used_uva;

		if (!same)
			return -EBUSY;
		log_where(r, a);
		return 0;
	}
	log_where(r, a);
	r->desc_uva = a->desc_uva;
	r->avail_uva = a->avail_uva;
	r->used_uva = a->used_uva;
	r->have_addr = true;
	r->broken = false;
	ring_eval(r);
	return 0;
}

int vring_base(struct vhost *v, struct vhost_call *c)
{
	const struct vhost_vring_state *s = &c->p.state;
	struct vhost_ring *r = ring_of(v, s->index);

	if (!r)
		return -EINVAL;
	if (r->state != RING_IDLE)
		return -EBUSY;
	/* Where a split ring goes on stands in the ring itself (used->idx) and in the inflight region, and is
	 * right after a crash of either side too. A packed ring starts here unless something knows better. */
	r->base = r->told = s->num;
	return 0;
}

static void reply_base(struct vhost_ring *r)
{
	struct vhost_vring_state s = {r->index, r->base};

	r->told = r->base;
	vhost_reply(r->v, VHOST_GET_VRING_BASE, &s, sizeof(s), -1);
}

int vring_get_base(struct vhost *v, struct vhost_call *c)
{
	struct vhost_ring *r = ring_of(v, c->p.state.index);

	if (!r)
		return -EINVAL;
	/* This message ends the ring's run: the next one needs a new kick descriptor. */
	set_kick(r, -1);
	ring_eval(r);
	if (r->state == RING_STOPPING) {
		r->reply_base = true;
		v->waiting++;
		return 0;
	}
	r->broken = false;
	reply_base(r);
	return 0;
}

void vhost_drained(struct vhost *v, unsigned q)
{
	struct vhost_ring *r = ring_of(v, q);

	if (!r || r->state != RING_STOPPING)
		return;
	vhost_ring_ops.flush(r);
	ring_stop(r);
	r->state = RING_IDLE;
	if (r->reply_base) {
		r->reply_base = false;
		r->broken = false;
		v->waiting--;
		reply_base(r);
	}
	ring_eval(r); /* enabled again meanwhile */
}

/* The ring and the descriptor of a KICK, CALL or ERR message. 0 or -EINVAL. */
static int vring_fd(struct vhost *v, struct vhost_call *c, struct vhost_ring **r, int *fd)
{
	uint64_t u = c->p.u64;
	bool none = u & VHOST_VRING_NOFD;

	*r = ring_of(v, u & VHOST_VRING_INDEX_MASK);
	if (!*r || u & ~(uint64_t)(VHOST_VRING_INDEX_MASK | VHOST_VRING_NOFD) || none != (c->nfds == 0))
		return -EINVAL;
	if (!none && v->sys->event(v->sys_arg, c->fds[0]))
		return -EINVAL;
	*fd = call_take_fd(c);
	return 0;
}

int vring_kick(struct vhost *v, struct vhost_call *c)
{
	struct vhost_ring *r;
	int fd, err = vring_fd(v, c, &r, &fd);

	if (err)
		return err;
	/* No descriptor asks us to poll the ring: an agent that sleeps does not. */
	if (fd < 0)
		return -EOPNOTSUPP;
	set_kick(r, fd);
	ring_eval(r);
	return 0;
}

int vring_call(struct vhost *v, struct vhost_call *c)
{
	struct vhost_ring *r;
	int fd, err = vring_fd(v, c, &r, &fd);

	if (err)
		return err;
	/* On a running ring this is a vector being masked or unmasked: swap, nothing else. */
	replace_fd(r, &r->call_fd, fd);
	if (r->state == RING_RUNNING)
		ring_signal_start(r);
	return 0;
}

int vring_err(struct vhost *v, struct vhost_call *c)
{
	struct vhost_ring *r;
	int fd, err = vring_fd(v, c, &r, &fd);

	if (err)
		return err;
	replace_fd(r, &r->err_fd, fd);
	return 0;
}

int vring_enable(struct vhost *v, struct vhost_call *c)
{
	const struct vhost_vring_state *s = &c->p.state;
	struct vhost_ring *r = ring_of(v, s->index);

	if (!r || s->num > 1)
		return -EINVAL;
	r->enabled = s->num;
	ring_eval(r);
	return 0;
}

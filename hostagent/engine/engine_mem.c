/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guests' memory at the RDMA adapters.
 *
 * Each region of a vhost-user device is registered with every RDMA path of the session (a protection domain
 * each), and deregistered before it is unmapped, which is when the last chain in it was given back. It
 * may be reached by the appliance, under keys that are told on the control session and used for nothing but
 * that device. So are the stages of a NIC's receive queues, which are ours. What cannot be registered stays
 * with the copied path.
 *
 * A request that was sent names regions, and until it is answered the appliance may write there; so do
 * receive buffers that were posted. The guest gets them back with the answer or the frame alone, or when the
 * keys are gone: see emem_revoke().
 */
#include <errno.h>
#include <openssl/rand.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "fabric/base/log.h"
#include "hostagent/engine/engine_impl.h"

/* Of regions and of their lists, the last that were given: of the process, as devices change their engine. */
static _Atomic uint32_t last_id, last_serial;

static void news(struct edev *d)
{
	d->mem_news = d->e->unsettled = true;
	engine_wake(d->e);
}

static void unregister(struct engine *e, struct emem *m)
{
	for (unsigned i = 0; i < RT_PATHS; i++) {
		if (e->rdma[i] && m->on[i])
			link_verbs_mem_del(e->rdma[i], m->on[i]);
		m->on[i] = NULL;
	}
	m->id = 0;
}

static void add(struct edev *d, void *at, uint64_t len, unsigned stage)
{
	struct emem *m = calloc(1, sizeof(*m));

	if (!m)
		return; /* it is copied then */
	m->at = at;
	m->len = len;
	m->stage = stage;
	/* The latest first: when there are more than a list takes, the rest is on its way out. */
	list_add_head(&d->mem, &m->node);
	news(d);
}

void emem_stages(struct edev *d)
{
	uint32_t len;
	uint8_t *at;

	for (unsigned i = 0; i < ENGINE_STAGES; i++) {
		at = vqt_hdev_stage(d->hdev, i, &len);
		if (at)
			add(d, at, len, i + 1);
	}
}

void emem_memory(void *arg, void *at, uint64_t len, bool there)
{
	struct edev *d = arg;
	struct emem *m;

	if (there) {
		add(d, at, len, 0);
		return;
	}
	list_for_each_safe (it, &d->mem) {
		m = container_of(it, struct emem, node);
		if (m->at != at)
			continue;
		unregister(d->e, m);
		list_del(it);
		free(m);
		news(d);
	}
}

void emem_revoke(struct edev *d)
{
	list_for_each (it, &d->mem) {
		struct emem *m = container_of(it, struct emem, node);

		if (m->stage)
			continue;
		if (m->id)
			news(d);
		unregister(d->e, m);
	}
}

void emem_withdraw(struct edev *d)
{
	list_for_each (it, &d->mem)
		unregister(d->e, container_of(it, struct emem, node));
	d->mem_news = false;
}

void emem_free(struct edev *d)
{
	list_for_each_safe (it, &d->mem) {
		struct emem *m = container_of(it, struct emem, node);

		unregister(d->e, m);
		list_del(it);
		free(m);
	}
}

void emem_session(struct edev *d, bool up)
{
	if (up && !list_empty(&d->mem))
		news(d);
	if (up)
		return;
	d->mem_news = false;
	list_for_each (it, &d->mem) {
		struct emem *m = container_of(it, struct emem, node);

		/* The links have taken it with them. */
		for (unsigned i = 0; i < RT_PATHS; i++)
			m->on[i] = NULL;
		m->id = 0;
	}
}

static void register_one(struct edev *d, struct emem *m)
{
	struct engine *e = d->e;
	char why[256];
	uint64_t random;

	for (unsigned i = 0; i < RT_PATHS; i++) {
		if (!e->rdma[i] || !link_verbs_moves(e->rdma[i]))
			continue;
		if (!m->id)
			m->id = ++last_id;
		RAND_bytes((uint8_t *)&random, sizeof(random));
		if (!link_verbs_mem_add(e->rdma[i], m->at, m->len, VERBS_MEM_PEERS, random, &m->on[i], why,
					sizeof(why)))
			continue;
		if (!d->mem_said)
			log_warn("device %s: its data is copied, not moved by the RDMA adapter: %s", d->name,
				 why);
		d->mem_said = true;
	}
}

bool emem_settle(struct edev *d)
{
	bool any = false;

	d->mem_news = false;
	for (unsigned i = 0; i < RT_PATHS; i++)
		any |= d->e->rdma[i] != NULL;
	if (!any)
		return false;
	list_for_each (it, &d->mem) {
		struct emem *m = container_of(it, struct emem, node);

		if (!m->id)
			register_one(d, m);
	}
	d->mem_serial = ++last_serial;
	return true;
}

/* ---- for requests ---- */

/* The region that all of it lies in, reached by a path that is up; NULL: none. */
static const struct emem *find(const struct edev *d, const uint8_t *at, size_t len)
{
	list_for_each (it, &d->mem) {
		const struct emem *m = container_of(it, struct emem, node);

		if (m->stage || at < m->at || (size_t)(at - m->at) >= m->len)
			continue;
		for (unsigned i = 0; m->id && len <= m->len - (size_t)(at - m->at) && i < RT_PATHS; i++)
			if (m->on[i] && d->e->rdma_up >> i & 1)
				return m;
		return NULL;
	}
	return NULL;
}

static unsigned keys_pieces(void *user, const struct iovec *iov, unsigned n, struct vqt_seg *out,
			    unsigned max)
{
	const struct edev *d = user;
	unsigned count = 0;

	if (!d->e->rdma_up || d->mem_news || d->mem_taken != d->mem_serial)
		return 0;
	for (unsigned i = 0; i < n; i++) {
		const uint8_t *at = iov[i].iov_base;
		const struct emem *m = find(d, at, iov[i].iov_len);
		struct vqt_seg *last = count ? &out[count - 1] : NULL;

		if (!m)
			return 0;
		if (last && last->region == m->id && last->off + last->len == (uint64_t)(at - m->at)) {
			last->len += (uint32_t)iov[i].iov_len;
			continue;
		}
		if (count == max)
			return 0;
		out[count++] = (struct vqt_seg){m->id, (uint32_t)iov[i].iov_len, (uint64_t)(at - m->at)};
	}
	return count;
}

static void keys_revoke(void *user)
{
	emem_revoke(user);
}

static void keys_fence(void *user, unsigned path, uint32_t qpn)
{
	const struct edev *d = user;

	engine_rdma_fence(d->e, path, qpn);
}

const struct vqt_key_ops emem_keys = {.pieces = keys_pieces, .revoke = keys_revoke, .fence = keys_fence};

/* ---- what the session tells ---- */

static void describe(const struct emem *m, struct engine_region *r)
{
	*r = (struct engine_region){.id = m->id, .stage = m->stage, .length = m->len};
	for (unsigned i = 0; i < RT_PATHS; i++) {
		if (!m->on[i])
			continue;
		r->key[r->nkeys].path = i;
		r->key[r->nkeys++].key = link_verbs_mem_key(m->on[i]);
	}
}

int engine_memory(const struct engine *e, uint32_t dev, struct engine_region out[ENGINE_REGIONS], unsigned *n,
		  uint32_t *serial)
{
	const struct edev *d = edev_find(e, dev);

	*n = 0;
	if (!d)
		return -ENOENT;
	*serial = d->mem_serial;
	list_for_each (it, &d->mem) {
		if (*n == ENGINE_REGIONS)
			break;
		describe(container_of(it, struct emem, node), &out[*n]);
		*n += out[*n].nkeys > 0;
	}
	return 0;
}

void engine_memory_taken(struct engine *e, uint32_t dev, uint32_t serial)
{
	struct edev *d = edev_find(e, dev);

	if (d && serial == d->mem_serial)
		d->mem_taken = serial;
}

void engine_memory_again(struct engine *e)
{
	list_for_each (it, &e->devs) {
		struct edev *d = container_of(it, struct edev, node);

		if (d->known && d->mem_taken != d->mem_serial)
			news(d);
	}
}

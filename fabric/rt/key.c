/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys of paths: finding, changing and wiping them.
 *
 * A change under load has three moments at each end: fresh keys are installed (both SPIs are received);
 * sending changes; a grace time later, when nothing of before can still be on the way, the old ones are
 * wiped. Packets in the ring that were sealed with a key which goes are opened before, and stay so until
 * they are sent again.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fabric/rt/impl.h"

#define REKEY_GRACE_NS (1000000000ull)

struct aead_key *key_changing(const struct path *p, uint32_t spi)
{
	if (!p->used)
		return NULL;
	if (p->fresh.rx_key && p->fresh.rx_spi == spi)
		return p->fresh.rx_key;
	return p->old.rx_key && p->old.rx_spi == spi ? p->old.rx_key : NULL;
}

bool key_known(const struct rt *rt, uint32_t spi)
{
	for (int i = 0; i < RT_PATHS; i++)
		if (key_find(&rt->path[i], spi))
			return true;
	return false;
}

static bool changing(const struct path *p)
{
	return p->fresh.rx_key || p->fresh.tx_key || p->old.rx_key || p->old.tx_key;
}

static void change_done(struct path *p, uint64_t now)
{
	if (!p->fresh.rx_key && !p->fresh.tx_key)
		p->wipe_at = now + REKEY_GRACE_NS;
}

static void change_tx(struct path *p, uint64_t now)
{
	p->old.tx_key = p->tx_key;
	p->old.tx_spi = p->tx_spi;
	p->tx_key = p->fresh.tx_key;
	p->tx_spi = p->fresh.tx_spi;
	p->fresh.tx_key = NULL;
	p->gen++;
	p->probe_due |= !p->stamp; /* so that the peer hears of it soon */
	change_done(p, now);
}

void key_heard(struct rt *rt, struct path *p, uint32_t spi, uint64_t now)
{
	(void)rt;
	if (!p->fresh.rx_key || spi != p->fresh.rx_spi)
		return;
	p->old.rx_key = p->rx_key;
	p->old.rx_spi = p->rx_spi;
	p->rx_key = p->fresh.rx_key;
	p->rx_spi = p->fresh.rx_spi;
	p->fresh.rx_key = NULL;
	if (p->fresh.tx_key)
		change_tx(p, now);
	else
		change_done(p, now);
}

void key_reopen(struct rt *rt, struct tx_ring *t, uint32_t psn)
{
	struct tx_slot *s = &t->slots[psn & t->mask];
	const struct path *p = &rt->path[s->path];
	bool old = s->gen != p->gen;
	uint8_t *data = tx_mem(t, psn);

	if (s->plain)
		return;
	if (rt->cfg.aead->open(old ? p->old.tx_key : p->tx_key, key_nonce(data), data, WIRE_HDR_LEN,
			       data + WIRE_HDR_LEN, s->sealed, data + WIRE_HDR_LEN + s->sealed))
		abort(); /* our own memory was overwritten: nothing it says may go out */
	s->plain = true;
}

/* Opens what was sealed with the keys of path that go: the old ones, or all. */
static void open_all(struct rt *rt, unsigned path, bool all)
{
	for (unsigned c = 0; c < RT_NCLASS; c++) {
		struct tx_ring *t = &rt->tx[c];

		for (uint32_t psn = t->base; psn != t->next; psn++) {
			const struct tx_slot *s = &t->slots[psn & t->mask];

			if (s->state != SLOT_DONE && s->path == path && (all || s->gen != rt->path[path].gen))
				key_reopen(rt, t, psn);
		}
	}
}

static void wipe(struct rt *rt, struct path_keys *k)
{
	rt->cfg.aead->destroy(k->tx_key);
	rt->cfg.aead->destroy(k->rx_key);
	*k = (struct path_keys){0};
}

void key_tick(struct rt *rt, unsigned path, uint64_t now)
{
	struct path *p = &rt->path[path];

	if (now < p->wipe_at)
		return;
	p->wipe_at = RT_NEVER;
	open_all(rt, path, false);
	wipe(rt, &p->old);
}

int rt_path_rekey(struct rt *rt, unsigned path, const struct rt_path_cfg *next, uint64_t now)
{
	struct path *p = path < RT_PATHS ? &rt->path[path] : NULL;

	(void)now;
	if (!p || !p->used)
		return -ENOENT;
	if (!next->tx_spi || !next->rx_spi || next->tx_spi == p->tx_spi)
		return -EINVAL;
	if (changing(p))
		return -EBUSY;
	if (key_known(rt, next->rx_spi))
		return -EEXIST;
	p->fresh = (struct path_keys){.tx_spi = next->tx_spi,
				      .rx_spi = next->rx_spi,
				      .tx_key = rt->cfg.aead->create(next->tx_key),
				      .rx_key = rt->cfg.aead->create(next->rx_key)};
	if (p->fresh.tx_key && p->fresh.rx_key)
		return 0;
	wipe(rt, &p->fresh);
	return -ENOMEM;
}

int rt_path_rekey_send(struct rt *rt, unsigned path, uint64_t now)
{
	if (path >= RT_PATHS || !rt->path[path].used || !rt->path[path].fresh.tx_key)
		return -ENOENT;
	change_tx(&rt->path[path], now);
	return 0;
}

int rt_path_del(struct rt *rt, unsigned path, uint64_t now)
{
	struct path *p = path < RT_PATHS ? &rt->path[path] : NULL;
	bool any = false;

	if (!p || !p->used)
		return -ENOENT;
	p->state = RT_PATH_DOWN;
	path_choose(rt);
	loss_move(rt, path, now);
	open_all(rt, path, true);
	rt->cfg.aead->destroy(p->tx_key);
	rt->cfg.aead->destroy(p->rx_key);
	wipe(rt, &p->fresh);
	wipe(rt, &p->old);
	/* Late acknowledgements name the path's numbers: they are never used again. */
	*p = (struct path){.txn = p->txn, .wipe_at = RT_NEVER, .probe_at = RT_NEVER};
	cc_init(&p->cc, rt->cfg.rto_floor_ns / 2);
	mtu_update(rt);
	for (unsigned i = 0; i < RT_PATHS; i++)
		any |= rt->path[i].used;
	if (!any)
		rt->keep_at = RT_NEVER;
	if (rt->cfg.ops->path)
		rt->cfg.ops->path(rt->cfg.ctx, path, RT_PATH_DOWN);
	return 0;
}

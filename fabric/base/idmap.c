/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linear probing, at most 3/4 full. Removal moves later members of the run back (Knuth, TAOCP
 * volume 3, 6.4, algorithm R), so that no tombstones collect.
 */
#include "fabric/base/idmap.h"

#include <errno.h>
#include <stdlib.h>

#define FIRST_SLOTS 16

/* SplitMix64's finaliser over key and seed. */
static uint64_t mix(uint64_t key, uint64_t seed)
{
	uint64_t z = key ^ seed;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull ^ seed;
	z *= 0x9e3779b97f4a7c15ull;
	return z ^ (z >> 31);
}

static size_t home(const struct idmap *m, uint64_t key)
{
	return (size_t)mix(key, m->seed) & m->mask;
}

/* The slot that has the key, or the empty slot where it belongs. */
static struct idmap_slot *find(const struct idmap *m, uint64_t key)
{
	size_t i = home(m, key);

	while (m->slots[i].value && m->slots[i].key != key)
		i = (i + 1) & m->mask;
	return &m->slots[i];
}

static int grow(struct idmap *m)
{
	size_t old_n = m->slots ? m->mask + 1 : 0;
	size_t n = old_n ? old_n * 2 : FIRST_SLOTS;
	struct idmap_slot *old = m->slots;
	struct idmap_slot *slots = calloc(n, sizeof(*slots));

	if (!slots)
		return -ENOMEM;
	m->slots = slots;
	m->mask = n - 1;
	for (size_t i = 0; i < old_n; i++)
		if (old[i].value)
			*find(m, old[i].key) = old[i];
	free(old);
	return 0;
}

void idmap_init(struct idmap *m, uint64_t seed)
{
	*m = (struct idmap){.seed = seed};
}

void idmap_fini(struct idmap *m)
{
	free(m->slots);
	*m = (struct idmap){.seed = m->seed};
}

int idmap_insert(struct idmap *m, uint64_t key, void *value)
{
	struct idmap_slot *s;

	if (idmap_get(m, key))
		return -EEXIST;
	if (!m->slots || (m->count + 1) * 4 > (m->mask + 1) * 3) {
		int err = grow(m);

		if (err)
			return err;
	}
	s = find(m, key);
	s->key = key;
	s->value = value;
	m->count++;
	return 0;
}

void *idmap_get(const struct idmap *m, uint64_t key)
{
	return m->slots ? find(m, key)->value : NULL;
}

void *idmap_remove(struct idmap *m, uint64_t key)
{
	struct idmap_slot *s;
	void *value;
	size_t hole;

	if (!m->slots)
		return NULL;
	s = find(m, key);
	value = s->value;
	if (!value)
		return NULL;
	m->count--;
	hole = (size_t)(s - m->slots);
	for (size_t i = (hole + 1) & m->mask; m->slots[i].value; i = (i + 1) & m->mask) {
		size_t h = home(m, m->slots[i].key);

		/* It may fill the hole unless its home lies behind the hole, on the way to it. */
		if (((i - h) & m->mask) < ((i - hole) & m->mask))
			continue;
		m->slots[hole] = m->slots[i];
		hole = i;
	}
	m->slots[hole].value = NULL;
	return value;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Linear probing over at least twice as many slots as keys: a put always finds room. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "appliance/switch/internal.h"

uint64_t sw_hash(uint64_t key, uint64_t seed)
{
	key ^= seed;
	key *= 0xff51afd7ed558ccdull;
	key ^= key >> 32;
	key *= 0xc4ceb9fe1a85ec53ull;
	return key ^ key >> 29;
}

int sw_map_init(struct sw_map *m, uint32_t max, uint64_t seed)
{
	uint32_t size = 2;

	while (size < 2 * max)
		size *= 2;
	m->mask = size - 1;
	m->seed = seed;
	m->keys = calloc(size, sizeof *m->keys);
	m->values = calloc(size, sizeof *m->values);
	return m->keys && m->values ? 0 : -ENOMEM;
}

void sw_map_fini(struct sw_map *m)
{
	free(m->keys);
	free(m->values);
}

void sw_map_clear(struct sw_map *m)
{
	memset(m->keys, 0, ((size_t)m->mask + 1) * sizeof *m->keys);
}

int sw_map_put(struct sw_map *m, uint64_t key, uint32_t value)
{
	uint32_t i = (uint32_t)sw_hash(key, m->seed) & m->mask;

	for (; m->keys[i]; i = (i + 1) & m->mask)
		if (m->keys[i] == key)
			return -EEXIST;
	m->keys[i] = key;
	m->values[i] = value;
	return 0;
}

uint32_t sw_map_get(const struct sw_map *m, uint64_t key)
{
	uint32_t i = (uint32_t)sw_hash(key, m->seed) & m->mask;

	for (; m->keys[i]; i = (i + 1) & m->mask)
		if (m->keys[i] == key)
			return m->values[i];
	return NO_VALUE;
}

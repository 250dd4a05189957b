/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Map from a 64-bit key to a pointer: open addressing, grows by doubling (on insert alone).
 * For control planes and for tables filled at attach time; keys may be chosen by a peer, so
 * the hash is keyed with a random seed given at init. Not thread-safe.
 */
#ifndef OUTRIGGER_BASE_IDMAP_H
#define OUTRIGGER_BASE_IDMAP_H

#include <stddef.h>
#include <stdint.h>

struct idmap_slot {
	uint64_t key;
	void *value; /* NULL: empty */
};

struct idmap {
	struct idmap_slot *slots;
	size_t mask; /* slots - 1, or 0 when nothing is allocated */
	size_t count;
	uint64_t seed;
};

void idmap_init(struct idmap *m, uint64_t seed);
void idmap_fini(struct idmap *m); /* frees the table, not the values */

/* -EEXIST if the key is there, -ENOMEM; value must not be NULL. */
int idmap_insert(struct idmap *m, uint64_t key, void *value);
void *idmap_get(const struct idmap *m, uint64_t key);
void *idmap_remove(struct idmap *m, uint64_t key); /* the value, or NULL */

#endif

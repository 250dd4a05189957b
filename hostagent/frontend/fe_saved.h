/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory that outlives the process: the file DIR/.NAME.rings, mapped shared. The stores of a killed process
 * stand in it; a reboot of the host, which ends the guests too, may lose it.
 *
 * The directory may be writable for the guests' own processes. What they could have put there is not used:
 * the file must be a plain one of ours alone, with one name, or it is replaced.
 */
#ifndef OUTRIGGER_FE_SAVED_H
#define OUTRIGGER_FE_SAVED_H

#include <stddef.h>

struct fe_saved {
	void *at; /* NULL: none */
	size_t len;
};

/* Map the file of this device, as it was left if it has this length, zeroed otherwise. -errno: none. */
int fe_saved_open(struct fe_saved *s, const char *dir, const char *name, size_t len);
/* remove: the user is gone, nobody will go on from it. */
void fe_saved_close(struct fe_saved *s, const char *dir, const char *name, int remove);

#endif

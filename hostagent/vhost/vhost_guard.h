/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guard against files that shrink under a mapping. A front-end may truncate the file of its guest's
 * memory at any time; the next access raises SIGBUS. The process-wide handler finds the guarded mapping
 * that holds the address, puts zero pages of our own in its place and sets the mapping's fault flag:
 * the access goes on, and that one device is given up at the next look at its flag. A SIGBUS elsewhere
 * goes to the handler that was there before, or kills the process as it should.
 *
 * Thread rule: any thread; the handler takes no lock. A mapping is removed only by the thread that uses it.
 */
#ifndef OUTRIGGER_VHOST_GUARD_H
#define OUTRIGGER_VHOST_GUARD_H

#include "hostagent/vhost/vhost.h"

#define VHOST_GUARDS_MAX 16384 /* mappings in the process: 256 VMs x 2 devices x 9, and room */

/* Install the handler, unless it is there. -errno of sigaction. */
int vhost_guard_install(void);
/* m's base, base_len and fault must be set, and stay put until removal. -ENOSPC: VHOST_GUARDS_MAX in use. */
int vhost_guard_add(struct vhost_map *m);
void vhost_guard_remove(struct vhost_map *m);

#endif

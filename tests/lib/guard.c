/* SPDX-License-Identifier: Apache-2.0 */
/* Which guard a test has removed, in a build for mutants: GUARD_OFF=name in its environment. */
#include "fabric/base/guard.h"

#ifdef OUTRIGGER_MUTANTS
#include <stdlib.h>
#include <string.h>

bool guard_removed(const char *name)
{
	const char *off = getenv("GUARD_OFF");

	return off && !strcmp(off, name);
}
#else
typedef int guard_nothing; /* no guard can be removed from this build */
#endif

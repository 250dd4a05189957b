/* SPDX-License-Identifier: Apache-2.0 */
#include "fabric/base/nofile.h"

#include <sys/resource.h>

unsigned long nofile_raise(void)
{
	struct rlimit files, most;

	if (getrlimit(RLIMIT_NOFILE, &files))
		return 0;
	most = files;
	most.rlim_cur = files.rlim_max;
	if (!setrlimit(RLIMIT_NOFILE, &most))
		files = most;
	return files.rlim_cur;
}

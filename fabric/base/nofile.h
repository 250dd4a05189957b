/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Open files. The soft limit that most systems start a process with, 1024, is for those that use select(2): a
 * daemon here does not, and takes what it may have (getrlimit(2), RLIMIT_NOFILE).
 */
#ifndef OUTRIGGER_BASE_NOFILE_H
#define OUTRIGGER_BASE_NOFILE_H

/* Raises the soft limit to the hard one; what may be open from now on. Once, at start. */
unsigned long nofile_raise(void);

#endif

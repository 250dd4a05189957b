/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The I/O threads of an agent, each an event loop with one session. The first runs on the caller's loop and
 * thread. Thread rule: the caller's thread.
 *
 * A thread owns its loop, session, engine, links, buffers and the devices that its engine has, with their
 * front-ends and what is mapped of their guests. What is the process's, and who may touch it:
 *
 *	struct lanes		any thread, under its lock; a device in a letter is its receiver's
 *	SSL_CTX of the host	made before the threads, used by all: OpenSSL locks what changes in it
 *	agent_session_cfg	read alone, and copied by each session
 *	log			one write() for each line; its settings are made before the threads
 *	guards (vhost_guard.h)	atomic slots; a slot is the thread's whose front-end took it
 *	numbers of RDMA keys	atomic counters (engine_mem.c)
 *	libipsec-mb's manager	made once, a table of functions after that
 *	directory watches, held kicks	a set for each thread (fe_watch.c, vhost_signal.c)
 */
#ifndef OUTRIGGER_HOSTAGENT_IO_THREADS_H
#define OUTRIGGER_HOSTAGENT_IO_THREADS_H

#include "hostagent/control/session.h"

struct io_threads;

/* n: 1 to LANES_MAX. cpus: n processors, or -1 each for any. 0 / -errno. */
int io_threads_start(const struct agent_session_cfg *cfg, unsigned n, const int *cpus,
		     struct io_threads **out);
/* All of them end: their sessions, front-ends. NULL is fine. */
void io_threads_stop(struct io_threads *t);

#endif

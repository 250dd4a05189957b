/* SPDX-License-Identifier: Apache-2.0 */
/*
 * "Tell me when this name appears in that directory": one inotify instance per event base and
 * directory, shared by all who ask (the kernel grants a user 128 of them).
 *
 * A directory that is removed and made again (a service manager does so with its run directory) is found
 * again within a second, and everybody is told: sockets of ours in it are gone, and what appeared meanwhile
 * was missed. Thread rule: the base's thread; watches are that thread's own.
 */
#ifndef OUTRIGGER_FE_WATCH_H
#define OUTRIGGER_FE_WATCH_H

#include <stdbool.h>

#include "fabric/base/list.h"

struct event_base;
struct fe_watch;

/* The caller's; name must stay valid until fe_watch_del(). */
struct fe_watcher {
	struct list link;
	struct fe_watch *on;
	const char *name; /* file name without directory */
	/* Created, moved in, or its permissions changed; or the directory is new. Spurious calls happen. */
	void (*seen)(void *arg);
	void *arg;
	bool own; /* we made it: seen() means that it may be gone */
};

/* 0, -ENOENT: no such directory, or another -errno. seen() comes from the loop alone. */
int fe_watch_add(struct event_base *base, const char *dir, struct fe_watcher *w);
void fe_watch_del(struct fe_watcher *w); /* harmless when not added (w zeroed) */

#endif

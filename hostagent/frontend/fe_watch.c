/* SPDX-License-Identifier: Apache-2.0 */
#include "hostagent/frontend/fe_watch.h"

#include <errno.h>
#include <event2/event.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

struct fe_watch {
	struct list link;
	struct event_base *base;
	char *dir;
	int fd, wd;
	struct event *ev, *again_ev;
	struct list watchers;
};

#define EVENTS (IN_CREATE | IN_MOVED_TO | IN_ATTRIB | IN_ONLYDIR | IN_MOVE_SELF | IN_DELETE)
/* From a sign that the directory goes to a look whether it is there (again). Not at once: who removes it is
 * not to find it filled again half way. */
static const struct timeval pause_between = {0, 500000};

/* Shared by design, of one thread: see the header. */
static _Thread_local struct list watches;

static void tell(struct fe_watch *wt, const char *name)
{
	list_for_each_safe (it, &wt->watchers) {
		struct fe_watcher *w = container_of(it, struct fe_watcher, link);

		if (!name || (!w->own && strcmp(w->name, name) == 0))
			w->seen(w->arg);
	}
}

static bool known(const struct fe_watch *wt, const char *name)
{
	list_for_each (it, &wt->watchers) {
		if (!strcmp(container_of(it, struct fe_watcher, link)->name, name))
			return true;
	}
	return false;
}

static void look_later(struct fe_watch *wt)
{
	if (!evtimer_pending(wt->again_ev, NULL))
		evtimer_add(wt->again_ev, &pause_between);
}

/* The kernel gives a directory it knows the number it had, and another one a new number. A directory that is
 * gone is not always told: a socket bound in it keeps it. */
static void on_again(evutil_socket_t fd, short what, void *arg)
{
	struct fe_watch *wt = arg;
	int wd = inotify_add_watch(wt->fd, wt->dir, EVENTS);

	(void)fd;
	(void)what;
	if (wd < 0) {
		look_later(wt);
		return;
	}
	if (wd != wt->wd)
		inotify_rm_watch(wt->fd, wt->wd);
	wt->wd = wd;
	tell(wt, NULL);
}

static void on_event(evutil_socket_t fd, short what, void *arg)
{
	char buf[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
	struct fe_watch *wt = arg;
	ssize_t n = read(fd, buf, sizeof(buf));

	(void)what;
	for (char *p = buf; n > 0 && p < buf + n;) {
		struct inotify_event *e = (void *)p;

		p += sizeof(*e) + e->len;
		if (e->mask & IN_Q_OVERFLOW)
			tell(wt, NULL);
		else if (e->wd != wt->wd)
			continue; /* of a directory lost before */
		else if (e->mask & (IN_IGNORED | IN_MOVE_SELF | IN_UNMOUNT))
			look_later(wt);
		else if (e->mask & IN_DELETE && e->len && known(wt, e->name))
			look_later(wt);
		else if (e->len && !(e->mask & IN_DELETE))
			tell(wt, e->name);
	}
}

static void watch_free(struct fe_watch *wt)
{
	list_del(&wt->link);
	if (wt->ev)
		event_free(wt->ev);
	if (wt->again_ev)
		event_free(wt->again_ev);
	if (wt->fd >= 0)
		close(wt->fd);
	free(wt->dir);
	free(wt);
}

static int watch_open(struct event_base *base, const char *dir, struct fe_watch **out)
{
	struct fe_watch *wt = calloc(1, sizeof(*wt));
	int err;

	if (!wt)
		return -ENOMEM;
	list_init(&wt->watchers);
	list_add_tail(&watches, &wt->link);
	wt->base = base;
	wt->dir = strdup(dir);
	wt->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	wt->wd = wt->fd < 0 ? -1 : inotify_add_watch(wt->fd, dir, EVENTS);
	if (wt->wd < 0 || !wt->dir) {
		err = wt->dir ? -errno : -ENOMEM;
		watch_free(wt);
		return err;
	}
	wt->ev = event_new(base, wt->fd, EV_READ | EV_PERSIST, on_event, wt);
	wt->again_ev = evtimer_new(base, on_again, wt);
	if (!wt->ev || !wt->again_ev || event_add(wt->ev, NULL)) {
		watch_free(wt);
		return -ENOMEM;
	}
	*out = wt;
	return 0;
}

int fe_watch_add(struct event_base *base, const char *dir, struct fe_watcher *w)
{
	struct fe_watch *wt = NULL;
	int err;

	if (!watches.next)
		list_init(&watches);
	list_for_each (it, &watches) {
		struct fe_watch *have = container_of(it, struct fe_watch, link);

		if (have->base == base && strcmp(have->dir, dir) == 0)
			wt = have;
	}
	if (!wt) {
		err = watch_open(base, dir, &wt);
		if (err)
			return err;
	}
	w->on = wt;
	list_add_tail(&wt->watchers, &w->link);
	return 0;
}

void fe_watch_del(struct fe_watcher *w)
{
	struct fe_watch *wt = w->on;

	if (!wt)
		return;
	w->on = NULL;
	list_del(&w->link);
	if (list_empty(&wt->watchers))
		watch_free(wt);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "hostagent/frontend/fe_watch.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

struct fe_watch {
	struct list link;
	struct event_base *base;
	char *dir;
	int fd;
	struct event *ev;
	struct list watchers;
};

/* Shared by design: see the header. */
static struct list watches = {&watches, &watches};

static void tell(struct fe_watch *wt, const char *name)
{
	list_for_each_safe (it, &wt->watchers) {
		struct fe_watcher *w = container_of(it, struct fe_watcher, link);

		if (!name || strcmp(w->name, name) == 0)
			w->seen(w->arg);
	}
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
		else if (e->len)
			tell(wt, e->name);
	}
}

static void watch_free(struct fe_watch *wt)
{
	list_del(&wt->link);
	if (wt->ev)
		event_free(wt->ev);
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
	if (wt->fd < 0 || !wt->dir ||
	    inotify_add_watch(wt->fd, dir, IN_CREATE | IN_MOVED_TO | IN_ATTRIB | IN_ONLYDIR) < 0) {
		err = wt->dir ? -errno : -ENOMEM;
		watch_free(wt);
		return err;
	}
	wt->ev = event_new(base, wt->fd, EV_READ | EV_PERSIST, on_event, wt);
	if (!wt->ev || event_add(wt->ev, NULL)) {
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

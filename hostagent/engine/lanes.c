/* SPDX-License-Identifier: Apache-2.0 */
#include "hostagent/engine/lanes.h"

#include <errno.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "fabric/base/guard.h"

struct holding {
	struct list node;
	unsigned lane;
	char uid[];
};

struct lanes {
	pthread_mutex_t lock;
	unsigned n, open;
	uint8_t boot_id[16];
	struct list held;
	struct lane {
		int fd;
		bool closed;
		struct list mail;
		uint64_t round;
	} lane[LANES_MAX];
};

struct lanes *lanes_create(unsigned n)
{
	struct lanes *l = n && n <= LANES_MAX ? calloc(1, sizeof(*l)) : NULL;
	bool bad = false;

	if (!l)
		return NULL;
	pthread_mutex_init(&l->lock, NULL);
	l->n = n;
	l->open = 1;
	list_init(&l->held);
	RAND_bytes(l->boot_id, sizeof(l->boot_id));
	for (unsigned i = 0; i < n; i++) {
		list_init(&l->lane[i].mail);
		l->lane[i].fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		bad |= l->lane[i].fd < 0;
	}
	if (!bad)
		return l;
	lanes_destroy(l);
	return NULL;
}

void lanes_destroy(struct lanes *l)
{
	struct list *it;

	if (!l)
		return;
	for (unsigned i = 0; i < l->n; i++) {
		while ((it = list_pop(&l->lane[i].mail)) != NULL)
			free(container_of(it, struct lane_letter, node));
		if (l->lane[i].fd >= 0)
			close(l->lane[i].fd);
	}
	while ((it = list_pop(&l->held)) != NULL)
		free(container_of(it, struct holding, node));
	pthread_mutex_destroy(&l->lock);
	free(l);
}

unsigned lanes_count(const struct lanes *l)
{
	return l->n;
}

const uint8_t *lanes_boot_id(const struct lanes *l)
{
	return l->boot_id;
}

/* ---- letters ---- */

int lanes_fd(const struct lanes *l, unsigned own)
{
	return l->lane[own].fd;
}

struct lane_letter *lanes_next(struct lanes *l, unsigned own)
{
	struct list *it;
	eventfd_t n;

	pthread_mutex_lock(&l->lock);
	it = list_pop(&l->lane[own].mail);
	if (!it)
		eventfd_read(l->lane[own].fd, &n);
	pthread_mutex_unlock(&l->lock);
	return it ? container_of(it, struct lane_letter, node) : NULL;
}

struct lane_letter *lanes_letter(enum lane_letter_kind kind, unsigned from, const char *uid)
{
	size_t len = strlen(uid) + 1;
	struct lane_letter *m = calloc(1, sizeof(*m) + len);

	if (!m)
		return NULL;
	list_init(&m->node);
	m->kind = kind;
	m->from = from;
	memcpy(m->uid, uid, len);
	return m;
}

int lanes_post(struct lanes *l, unsigned to, struct lane_letter *m)
{
	int r = 0;

	pthread_mutex_lock(&l->lock);
	if (!GUARD(lane_closed, !l->lane[to].closed)) {
		r = -ESHUTDOWN;
	} else {
		list_add_tail(&l->lane[to].mail, &m->node);
		eventfd_write(l->lane[to].fd, 1);
	}
	pthread_mutex_unlock(&l->lock);
	return r;
}

void lanes_close(struct lanes *l, unsigned own)
{
	pthread_mutex_lock(&l->lock);
	l->lane[own].closed = true;
	pthread_mutex_unlock(&l->lock);
}

/* ---- who has what ---- */

static struct holding *find(struct lanes *l, const char *uid)
{
	list_for_each (it, &l->held) {
		struct holding *h = container_of(it, struct holding, node);

		if (!strcmp(h->uid, uid))
			return h;
	}
	return NULL;
}

int lanes_holder(struct lanes *l, const char *uid)
{
	struct holding *h;
	int lane;

	pthread_mutex_lock(&l->lock);
	h = find(l, uid);
	lane = h ? (int)h->lane : -1;
	pthread_mutex_unlock(&l->lock);
	return lane;
}

int lanes_hold(struct lanes *l, const char *uid, unsigned own)
{
	size_t len = strlen(uid) + 1;
	struct holding *h;

	pthread_mutex_lock(&l->lock);
	h = find(l, uid);
	if (!h) {
		h = malloc(sizeof(*h) + len);
		if (h) {
			list_init(&h->node);
			memcpy(h->uid, uid, len);
			list_add_tail(&l->held, &h->node);
		}
	}
	if (h)
		h->lane = own;
	pthread_mutex_unlock(&l->lock);
	return h ? 0 : -ENOMEM;
}

void lanes_let_go(struct lanes *l, const char *uid, unsigned own)
{
	struct holding *h;

	pthread_mutex_lock(&l->lock);
	h = find(l, uid);
	if (h && GUARD(lane_let_go, h->lane == own)) {
		list_del(&h->node);
		free(h);
	}
	pthread_mutex_unlock(&l->lock);
}

void lanes_each(struct lanes *l, void (*fn)(void *arg, const char *uid, unsigned lane), void *arg)
{
	pthread_mutex_lock(&l->lock);
	list_for_each (it, &l->held) {
		struct holding *h = container_of(it, struct holding, node);

		fn(arg, h->uid, h->lane);
	}
	pthread_mutex_unlock(&l->lock);
}

/* ---- what the appliance takes and says ---- */

void lanes_open(struct lanes *l, unsigned n)
{
	struct lane_letter *m;

	n = n < 1 ? 1 : n > l->n ? l->n : n;
	pthread_mutex_lock(&l->lock);
	l->open = n;
	pthread_mutex_unlock(&l->lock);
	for (unsigned i = 1; i < n; i++) {
		m = lanes_letter(LANE_OPEN, 0, "");
		if (m && lanes_post(l, i, m))
			free(m);
	}
}

bool lanes_heard(struct lanes *l, unsigned own, uint64_t round)
{
	bool all = true;

	pthread_mutex_lock(&l->lock);
	l->lane[own].round = round;
	for (unsigned i = 0; i < l->open; i++)
		all &= GUARD(lane_round, l->lane[i].round == round);
	pthread_mutex_unlock(&l->lock);
	return all;
}
